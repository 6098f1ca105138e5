"""Proportional rate reduction (RFC 9937): how much is sent in fast recovery.

What leaves is metered by what the ACKs say arrived, such that at the end of the recovery as much is in flight as
ssthresh allows: neither a pause of half a round trip at the start nor a burst at the end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from plankroad.tcp.tcb import Tcb


class Prr:
    """`window`: what the recovery lets be in flight now, in bytes; cwnd takes its place again at the end.

    `delivered`, `out`: prr_delivered and prr_out; `recover_fs`: RecoverFS. `active`: it leads at present.
    """

    __slots__ = ("active", "delivered", "out", "recover_fs", "window")

    def __init__(self) -> None:
        self.active: bool = False
        self.delivered: int = 0
        self.out: int = 0
        self.recover_fs: int = 0
        self.window: int = 0


def begin(t: Tcb, acked: int, sacked: int) -> None:
    """A recovery begins with an ACK that acknowledged `acked` octets and selectively `sacked` new ones."""
    prr = t.prr
    prr.active = t.cc.uses_prr
    prr.delivered = 0
    prr.out = 0
    # RFC 9937 section 6: "RecoverFS = SND.NXT - SND.UNA", less what SACK reported before this ACK, and with what this
    # ACK has taken off.
    flight = t.snd_nxt - t.snd_una
    prr.recover_fs = max(flight - (t.scoreboard.sacked - sacked) - t.reno_sacked + acked, t.snd_mss)
    prr.window = t.pipe()


def on_ack(t: Tcb, delivered: int, advanced: bool, lost: int) -> None:
    """An ACK in recovery: `delivered` octets are new, SND.UNA `advanced`, `lost` octets were found lost by it."""
    prr = t.prr
    prr.delivered += delivered
    pipe = t.pipe()
    ssthresh = t.cc.cwnd
    if pipe > ssthresh:
        # "sndcnt = CEIL(prr_delivered * ssthresh / RecoverFS) - prr_out"
        count = -(-prr.delivered * ssthresh // prr.recover_fs) - prr.out
    else:
        # PRR-CRB: "sndcnt = MAX(prr_delivered - prr_out, DeliveredData)"; PRR-SSRB where the recovery makes good
        # progress: "if (SafeACK) sndcnt += SMSS". "Attempt to catch up, as permitted".
        count = max(prr.delivered - prr.out, delivered)
        if advanced and lost == 0:
            count += t.snd_mss
        count = min(ssthresh - pipe, count)
    if prr.out == 0 and count <= 0:
        # "Force a fast retransmit upon entering recovery".
        count = t.snd_mss
    prr.window = pipe + max(count, 0)


def on_sent(t: Tcb, length: int) -> None:
    """`length` octets leave in recovery."""
    t.prr.out += length
