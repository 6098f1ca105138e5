"""Loss: how it is found and what is done about it, whatever the congestion control.

With SACK: RFC 6675. Without: NewReno, RFC 6582, where the pipe is reckoned from duplicate acknowledgements (each says
that a segment has left the network), which is what inflating and deflating cwnd by hand comes to. After a timeout:
RFC 5681 section 3.1, all that is not sacked is sent again in slow start. A recovery that turns out to have been
needless is undone (RFC 3522 finds it by timestamps, RFC 4015 says what to restore).
"""

from __future__ import annotations

from plankroad.tcp.cc.base import LOSS as SIGNAL_LOSS
from plankroad.tcp.cc.base import TIMEOUT as SIGNAL_TIMEOUT
from plankroad.tcp.constants import DUP_THRESH, LOSS, OPEN, RECOVERY, RESIZE
from plankroad.tcp.seq import HALF32, MASK32
from plankroad.tcp.tcb import Tcb


def after_ack(t: Tcb, now: int, acked: int, sacked: int, duplicate: bool) -> None:
    """An acceptable ACK was taken in: `acked` octets cumulatively, `sacked` by SACK; `duplicate` as RFC 5681 has it."""
    if t.congestion == RECOVERY:
        if t.snd_una >= t.recover:
            _leave(t, now)
        else:
            _in_recovery(t, acked, sacked, duplicate)
        return
    if t.congestion in (LOSS, RESIZE):
        if t.snd_una >= t.recover:
            _leave(t, now)
        elif sacked:
            t.scoreboard.mark_lost(t.snd_mss)
        return
    if acked:
        t.dup_acks = 0
        t.reno_sacked = 0
        t.limited_sent = 0
    if t.scoreboard.is_empty():
        return
    if t.sack_ok:
        # RFC 6675 section 2: a duplicate acknowledgement is one "that carries a SACK block that identifies previously
        # unacknowledged and un-SACKed octets between HighACK and HighData".
        if sacked:
            if not acked:
                t.dup_acks += 1
            t.scoreboard.mark_lost(t.snd_mss)
        # RFC 6675 section 5 (1) and (2): "If DupAcks >= DupThresh, go to step (4)"; "If DupAcks < DupThresh but IsLost
        # (HighACK + 1) returns true ... go to step (4)".
        if t.scoreboard.lost > 0 or t.dup_acks >= DUP_THRESH:
            _enter(t, now)
    elif duplicate:
        t.dup_acks += 1
        # RFC 3042: the first two duplicates each let one new segment out, for one has left the network.
        t.reno_sacked = min(t.dup_acks * t.snd_mss, max(0, t.flight_size() - t.snd_mss))
        # RFC 6582 section 3.2 (2): "When the third duplicate ACK is received, the TCP sender first checks the value of
        # recover to see if the Cumulative Acknowledgment field covers more than recover."
        if t.dup_acks >= DUP_THRESH and t.snd_una > t.recover:
            _enter(t, now)


def on_timeout(t: Tcb, now: int) -> None:
    """The retransmission timer expired with data outstanding: RFC 6298 (5.4) to (5.6), RFC 5681 section 3.1."""
    board = t.scoreboard
    first = board.first()
    if first is not None and first.sacked:
        # What the peer said it has, it would have acknowledged by now: it reneged (RFC 2018 section 8).
        t.counters.sack_reneging += 1
        board.forget_sacks()
    in_flight = _flight_size(t)
    if t.retries == 0:
        # RFC 3522: remember when the first retransmission is made, to tell its ACK from the original's.
        t.eifel_ts = -1
        t.undo_recover = t.snd_nxt
    board.mark_all_lost()
    t.reno_sacked = 0
    t.dup_acks = 0
    t.congestion = LOSS
    t.recover = t.snd_nxt
    t.high_rxt = t.snd_una
    t.rescue_at = -1
    t.force_retransmit = True
    t.counters.timeouts += 1
    t.counters.recoveries_loss += 1
    t.cc.on_congestion(now, SIGNAL_TIMEOUT, in_flight)
    if t.log is not None:
        t.log.event(
            now,
            t.name(),
            "timeout",
            {"rto": t.rtt.rto(), "retries": t.retries, "cwnd": t.cc.cwnd, "ssthresh": t.cc.ssthresh},
        )


def resend_all(t: Tcb) -> None:
    """Segments of the old size did not fit the path: send them again, smaller, which is no sign of congestion.

    RFC 1191 section 6.5 (and RFC 8201 section 5.4): a retransmission caused by a Packet Too Big message should not
    change the congestion window.
    """
    t.scoreboard.mark_all_lost()
    t.reno_sacked = 0
    t.dup_acks = 0
    t.force_retransmit = True
    if t.congestion != LOSS:
        # What is marked lost is no reason for a recovery: a round trip from now all of it has been repeated.
        t.congestion = RESIZE
    t.recover = t.snd_nxt
    t.high_rxt = t.snd_una


def detect_spurious(t: Tcb, now: int, ts_ecr: int) -> None:
    """The first ACK of new data since a recovery began: does it answer the original, not the retransmission?

    RFC 3522 section 3.2 step (5): the retransmission was spurious if the echoed timestamp is smaller than that of the
    first retransmission.
    """
    if t.eifel_ts >= 0 and ((ts_ecr - t.eifel_ts) & MASK32) >= HALF32:
        t.counters.spurious_recoveries += 1
        t.cc.on_spurious(now)
        t.scoreboard.unmark_lost()
        t.congestion = OPEN
        t.dup_acks = 0
        t.force_retransmit = False
        if t.log is not None:
            t.log.event(now, t.name(), "spurious", {"cwnd": t.cc.cwnd, "ssthresh": t.cc.ssthresh})
    t.eifel_ts = -1
    t.undo_recover = -1


def _flight_size(t: Tcb) -> int:
    """FlightSize for ssthresh. RFC 5681 section 3.2 (2): "additional data sent in limited transmit MUST NOT be included
    in this calculation".
    """
    flight = t.flight_size() - t.limited_sent
    t.limited_sent = 0
    return flight


def _enter(t: Tcb, now: int) -> None:
    """Fast retransmit and fast recovery: RFC 6675 section 5 (4), RFC 6582 section 3.2 (2) and (3)."""
    t.congestion = RECOVERY
    t.recover = t.snd_nxt
    t.high_rxt = t.snd_una
    t.rescue_at = -1
    t.eifel_ts = -1
    t.undo_recover = t.snd_nxt
    in_flight = _flight_size(t)
    t.scoreboard.mark_first_lost(t.snd_mss)
    t.force_retransmit = True
    if t.sack_ok:
        t.counters.recoveries_sack += 1
    else:
        t.counters.recoveries_newreno += 1
    t.cc.on_congestion(now, SIGNAL_LOSS, in_flight)
    if t.log is not None:
        t.log.event(
            now,
            t.name(),
            "loss",
            {
                "why": "sack" if t.scoreboard.sacked else "duplicate acks",
                "seq": t.snd_una - t.iss,
                "dup_acks": t.dup_acks,
                "cwnd": t.cc.cwnd,
                "ssthresh": t.cc.ssthresh,
            },
        )


def _in_recovery(t: Tcb, acked: int, sacked: int, duplicate: bool) -> None:
    board = t.scoreboard
    if t.sack_ok:
        if sacked:
            board.mark_lost(t.snd_mss)
        return
    if acked:
        # RFC 6582 section 3.2, partial acknowledgements: "retransmit the first unacknowledged segment. Deflate the
        # congestion window by the amount of new data acknowledged ... If the partial ACK acknowledges at least one
        # SMSS of new data, then add back SMSS bytes to the congestion window."
        t.reno_sacked = max(0, t.reno_sacked - max(0, acked - t.snd_mss))
        t.reno_sacked = min(t.reno_sacked, max(0, t.flight_size() - t.snd_mss))
        if board.mark_first_lost(t.snd_mss):
            t.force_retransmit = True
    elif duplicate:
        t.reno_sacked = min(t.reno_sacked + t.snd_mss, max(0, t.flight_size() - t.snd_mss))


def _leave(t: Tcb, now: int) -> None:
    """All that was outstanding when the recovery began is acknowledged."""
    was_recovery = t.congestion == RECOVERY
    t.congestion = OPEN
    t.dup_acks = 0
    t.reno_sacked = 0
    t.force_retransmit = False
    t.rescue_at = -1
    if was_recovery:
        t.cc.on_recovery_exit(now)
    if t.log is not None:
        t.log.event(now, t.name(), "recovered", {"cwnd": t.cc.cwnd, "ssthresh": t.cc.ssthresh})
