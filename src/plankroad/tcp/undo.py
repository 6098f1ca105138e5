"""Recoveries that were a mistake, and how they are taken back.

Three ways to find out: the first ACK after a retransmission echoes a timestamp older than it (Eifel, RFC 3522); DSACKs
say of all that was sent again that it had arrived before (RFC 3708); after a timeout data arrives that was not sent
again (F-RTO, see `frto`). The response is RFC 4015's: the congestion state of before, and a wiser timer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from plankroad.tcp import plpmtud
from plankroad.tcp.constants import CWR, LOSS, OPEN, RECOVERY
from plankroad.tcp.seq import HALF32, MASK32

#: So many recoveries are taken back before the flight of the first of them is acknowledged. Each costs a walk over what
#: is in flight: a peer that never tires of saying that it got things twice must not have one with every ACK.
_MOST_A_FLIGHT: Final = 4

if TYPE_CHECKING:
    from plankroad.tcp.tcb import Tcb


def begin(t: Tcb, now: int, timeout: bool) -> None:
    """A recovery begins, by `timeout` or by news of a loss: nothing was sent again in it."""
    t.undo_begun_at = now
    # A timeout in the middle of a fast recovery, taken back, leaves that one as it was.
    t.undo_recover = t.recover if timeout and t.congestion == RECOVERY else -1
    t.undo_of_timeout = timeout
    if t.snd_una >= t.undone_flight:
        t.undone = 0
    t.undo_marker = t.snd_una if t.undone < _MOST_A_FLIGHT else -1
    t.undo_end = t.snd_nxt
    t.undo_octets = 0
    t.srtt_prev = t.rtt.srtt
    t.rttvar_prev = t.rtt.rttvar


def on_retransmit(t: Tcb, length: int) -> None:
    """Octets are sent again."""
    if t.undo_marker >= 0 and t.congestion != OPEN:
        t.undo_octets += length


def on_dsack(t: Tcb, now: int, left: int, right: int) -> bool:
    """The peer says that [left, right) arrived twice; returns whether that is what fast recovery sent again."""
    if t.undo_marker < 0 or left < t.undo_marker or right > t.undo_end or t.undo_octets == 0:
        return False
    fast = not t.undo_of_timeout
    t.undo_octets = max(0, t.undo_octets - (right - left))
    # RFC 3708 section 3: undo "if all retransmitted segments were acknowledged with DSACK".
    if t.undo_octets == 0:
        t.counters.undone_dsack += 1
        undo(t, now, "dsack")
    return fast


def on_progress(t: Tcb, now: int, ts_ecr: int) -> None:
    """SND.UNA moves over octets that were sent again in this recovery: which transmission is answered?

    RFC 3522 section 3.2 step (5): the retransmission was spurious if the echoed timestamp is smaller than its own. An
    ACK of anything else proves nothing of it.
    """
    at = t.scoreboard.acked_resent_at
    if t.undo_marker < 0 or at < t.undo_begun_at:
        return
    if ((ts_ecr - t.ts_now(at)) & MASK32) >= HALF32:
        t.counters.undone_eifel += 1
        undo(t, now, "eifel")
    elif t.congestion == LOSS:
        # The retransmission arrived and is what is answered: the loss was one.
        t.frto = 0


def undo(t: Tcb, now: int, why: str) -> None:
    """Nothing was lost: the state of before."""
    if t.undone == 0:
        t.undone_flight = t.snd_nxt
    t.undone += 1
    was_timeout = t.undo_of_timeout
    if not was_timeout and not t.rack.reordering_seen:
        # What was taken for lost had been overtaken.
        t.rack.reordering_seen = True
        t.counters.reordering_seen += 1
    t.counters.spurious_recoveries += 1
    t.cc.on_spurious(now)
    if t.congestion not in (OPEN, CWR):
        t.scoreboard.unmark_lost()
        t.congestion = OPEN
        t.prr.active = False
        t.dup_acks = 0
        t.reno_sacked = 0
        t.force_retransmit = False
        if t.undo_recover > t.snd_una:
            t.congestion = RECOVERY
            t.recover = t.undo_recover
    t.frto = 0
    if t.plpmtud is not None:
        plpmtud.on_spurious(t, now)
    if was_timeout:
        # RFC 4015 section 3.3: "SRTT <- max (SRTT_prev, RTT-SAMPLE)", "RTTVAR <- max (RTTVAR_prev, RTT-SAMPLE/2)": a
        # timer that fired too early learns from it.
        sample = t.rtt.latest
        if sample > 0:
            t.rtt.restart(max(t.srtt_prev, sample), max(t.rttvar_prev, sample >> 1))
    t.undo_marker = -1
    if t.log is not None:
        t.log.event(now, t.name(), "spurious", {"why": why, "cwnd": t.cc.cwnd, "ssthresh": t.cc.ssthresh})
