"""Loss: what is done about it, whatever the congestion control.

With SACK losses are found by time (`rack`, RFC 8985) and the end of a flight is probed (`tlp`). Without SACK: NewReno,
RFC 6582, where the pipe is reckoned from duplicate acknowledgements (each says that a segment has left the network),
which is what inflating and deflating cwnd by hand comes to. In fast recovery proportional rate reduction (`prr`) says
how much is sent. After a timeout, the last resort: RFC 5681 section 3.1, what is lost is sent again in slow start. A
recovery that turns out to have been needless is undone (`undo`, `frto`).
"""

from __future__ import annotations

from plankroad.tcp import ecn, frto, plpmtud, prr, rack, tlp, undo
from plankroad.tcp.cc.base import ECN as SIGNAL_ECN
from plankroad.tcp.cc.base import LOSS as SIGNAL_LOSS
from plankroad.tcp.cc.base import TIMEOUT as SIGNAL_TIMEOUT
from plankroad.tcp.config import REDUCE_FROM_CWND
from plankroad.tcp.constants import (
    CWR,
    DUP_THRESH,
    LOSS,
    OPEN,
    RECOVERY,
    RESIZE,
    TIMER_REORDER,
    TIMER_RETRANSMIT,
)
from plankroad.tcp.tcb import Tcb
from plankroad.units import NEVER


def after_ack(t: Tcb, now: int, acked: int, sacked: int, duplicate: bool, dsack_end: int) -> int:
    """An acceptable ACK was taken in: `acked` octets cumulatively, `sacked` by SACK; `duplicate` as RFC 5681 has it;
    `dsack_end`: where its DSACK ends, -1 without one. Returns the octets that it showed to be lost.
    """
    board = t.scoreboard
    if t.tlp_end_seq >= 0:
        tlp.process_ack(t, now, duplicate, dsack_end)
    if t.frto:
        frto.on_ack(t, now, acked, sacked, duplicate)
    if t.congestion != OPEN and t.snd_una >= t.recover:
        _leave(t, now)
    if acked and t.congestion in (OPEN, CWR):
        t.dup_acks = 0
        t.reno_sacked = 0
        t.limited_sent = 0
    if dsack_end >= 0:
        rack.on_dsack(t)
    if t.sack_ok:
        rack.update(t, now)
    if board.is_empty():
        t.timers[TIMER_REORDER] = NEVER
        return 0
    lost = 0
    news = 0  # octets that left the network, as far as duplicates tell
    if t.sack_ok:
        lost = rack.detect_loss(t, now)
        if lost and not (t.mtu_watch != NEVER and _mtu_probe_lost(t, now)):
            _tell_losses(t, now)
            if t.congestion in (OPEN, CWR):
                _enter(t, now, acked, sacked)
    else:
        before = t.reno_sacked
        _without_sack(t, now, acked, duplicate)
        news = t.reno_sacked - before
    if t.prr.active:
        prr.on_ack(t, max(0, t.fresh_acked + sacked + news), acked > 0, lost)
    return lost


def on_reorder_timer(t: Tcb, now: int) -> None:
    """The reordering window of a segment is over, and it did not arrive (RFC 8985 section 6.2, step 5)."""
    lost = rack.detect_loss(t, now)
    if not lost or (t.mtu_watch != NEVER and _mtu_probe_lost(t, now)):
        return
    _tell_losses(t, now)
    if t.congestion in (OPEN, CWR):
        _enter(t, now, 0, 0)
    if t.prr.active:
        prr.on_ack(t, 0, False, lost)
    # RFC 8985 section 8: while this timer runs no other should; the last resort counts from here.
    t.timers[TIMER_RETRANSMIT] = now + t.rtt.rto()


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
        undo.begin(t, now, True)
    frto.begin(t, t.retries > 0 or t.congestion in (LOSS, RECOVERY) or not t.config.frto)
    tlp.cancel(t)
    t.timers[TIMER_REORDER] = NEVER
    t.congestion = LOSS
    t.prr.active = False
    if t.sack_ok:
        # RFC 8985 section 6.3: the first segment is lost, and of the others those "if the time elapsed since the
        # segment was transmitted is at least the sum of the recent RTT and the reordering window".
        board.mark_old_lost(now - t.rack.rtt - rack.reordering_window(t))
    else:
        board.mark_all_lost()
    _tell_losses(t, now)
    t.reno_sacked = 0
    t.dup_acks = 0
    _begin_credit(t, now)
    t.recover = t.snd_nxt
    t.reno_recover = t.snd_nxt
    t.force_retransmit = True
    t.timeouts += 1
    t.counters.timeouts += 1
    t.counters.recoveries_loss += 1
    t.cc.on_congestion(now, SIGNAL_TIMEOUT, in_flight)
    if t.ecn is not None:
        ecn.window_reduced(t)
    if t.log is not None:
        t.log.event(
            now,
            t.name(),
            "timeout",
            {"rto": t.rtt.rto(), "retries": t.retries, "cwnd": t.cc.cwnd, "ssthresh": t.cc.ssthresh},
        )


def on_mark(t: Tcb, now: int, acked: int = 0, sacked: int = 0) -> None:
    """The peer echoes a congestion mark: at most one reduction a round trip (RFC 3168 section 6.1.2).

    The ACK that brings the echo acknowledged `acked` octets cumulatively and `sacked` new ones by SACK.
    """
    if t.congestion != OPEN:
        return
    # The ACK that brings the echo has been taken off.
    in_flight = min(_flight_size(t) + t.fresh_acked, t.cc.cwnd)
    t.cc.on_congestion(now, SIGNAL_ECN, in_flight)
    if t.scoreboard.is_empty():
        # Nothing is left to be reduced by and by.
        return
    t.congestion = CWR
    t.recover = t.snd_nxt
    # No later insight makes a mark a mistake.
    t.cc.undo_possible = False
    # RFC 9937 section 5: PRR may lead this reduction as well. What this ACK says arrived counts, as in a recovery.
    prr.begin(t, acked, sacked)
    if t.prr.active and (acked or sacked):
        prr.on_ack(t, max(0, t.fresh_acked + sacked), acked > 0, 0)
    if t.log is not None:
        t.log.event(now, t.name(), "mark", {"cwnd": t.cc.cwnd, "ssthresh": t.cc.ssthresh})


def resend_all(t: Tcb, now: int) -> None:
    """Segments of the old size did not fit the path: send them again, smaller, which is no sign of congestion.

    RFC 1191 section 6.5 (and RFC 8201 section 5.4): a retransmission caused by a Packet Too Big message should not
    change the congestion window.
    """
    t.scoreboard.mark_all_lost()
    t.scoreboard.fresh_losses.clear()
    t.reno_sacked = 0
    t.dup_acks = 0
    t.force_retransmit = True
    t.frto = 0
    t.prr.active = False
    t.undo_marker = -1
    tlp.cancel(t)
    t.timers[TIMER_REORDER] = NEVER
    if t.congestion == RECOVERY:
        t.cc.on_recovery_exit(now)
    if t.congestion != LOSS:
        # What is marked lost is no reason for a recovery: a round trip from now all of it has been repeated.
        t.congestion = RESIZE
    t.recover = t.snd_nxt


def _flight_size(t: Tcb) -> int:
    """What ssthresh is reckoned from: FlightSize, or cwnd where that is what limited it.

    RFC 5681 section 3.2 (2): "additional data sent in limited transmit MUST NOT be included in this calculation".
    Pacing and whole segments leave a flight that fills cwnd a little below it; that is no lesser use of the path.
    """
    flight = t.flight_size() - t.limited_sent
    t.limited_sent = 0
    cwnd = t.cc.cwnd
    if t.config.reduce_from == REDUCE_FROM_CWND:
        return cwnd
    return cwnd if t.cwnd_limited or flight > cwnd else flight


def _mtu_probe_lost(t: Tcb, now: int) -> bool:
    """Is a probe of a larger packet all that is lost? It is repeated, in smaller segments, and nobody slows down."""
    if not plpmtud.only_probe_lost(t, now):
        return False
    t.scoreboard.fresh_losses.clear()
    t.force_retransmit = True
    tlp.cancel(t)
    return True


def _tell_losses(t: Tcb, now: int) -> None:
    """Congestion control hears of each range that was found lost."""
    board = t.scoreboard
    for sent in board.fresh_losses:
        length = sent.end - sent.start
        t.lost_total += length
        if sent.ever_retransmitted:
            t.counters.lost_retransmissions += 1
        t.cc.on_lost(now, length, max(sent.tx_in_flight, length), t.lost_total - sent.lost_before, sent.app_limited)
    board.fresh_losses.clear()


def _enter(t: Tcb, now: int, acked: int, sacked: int) -> None:
    """Fast retransmit and fast recovery: RFC 5681 section 3.2, RFC 6582 section 3.2 (2) and (3), RFC 9937."""
    reduced = t.congestion == CWR
    in_flight = _flight_size(t)
    t.congestion = RECOVERY
    t.recover = t.snd_nxt
    t.reno_recover = t.snd_nxt
    t.force_retransmit = True
    undo.begin(t, now, False)
    _begin_credit(t, now)
    tlp.cancel(t)
    if t.sack_ok:
        t.counters.recoveries_sack += 1
    else:
        t.counters.recoveries_newreno += 1
    if not reduced:
        # A mark of the same round trip has had its answer.
        t.cc.on_congestion(now, SIGNAL_LOSS, in_flight)
        prr.begin(t, acked, sacked)
        if t.ecn is not None:
            ecn.window_reduced(t)
    if t.log is not None:
        t.log.event(
            now,
            t.name(),
            "loss",
            {
                "why": "rack" if t.sack_ok else "duplicate acks",
                "seq": t.snd_una - t.iss,
                "lost": t.scoreboard.lost,
                "cwnd": t.cc.cwnd,
                "ssthresh": t.cc.ssthresh,
            },
        )


def _without_sack(t: Tcb, now: int, acked: int, duplicate: bool) -> None:
    """Duplicate acknowledgements and partial ones: RFC 5681 section 3.2, RFC 6582, RFC 3042."""
    mss = t.snd_mss
    most = max(0, t.flight_size() - mss)
    if t.congestion == RECOVERY:
        if acked:
            # RFC 6582 section 3.2, partial acknowledgements: "retransmit the first unacknowledged segment. Deflate the
            # congestion window by the amount of new data acknowledged ... If the partial ACK acknowledges at least one
            # SMSS of new data, then add back SMSS bytes to the congestion window."
            t.reno_sacked = min(max(0, t.reno_sacked - max(0, acked - mss)), most)
            if t.scoreboard.mark_first_lost(mss):
                _tell_losses(t, now)
                t.force_retransmit = True
        elif duplicate and _has_credit(t, now, mss):
            t.reno_sacked = min(t.reno_sacked + mss, most)
    elif t.congestion == LOSS:
        # What arrives beyond the gap has left the network here too, or a slow start that waits for room would wait for
        # the timer.
        if acked:
            t.reno_sacked = max(0, t.reno_sacked - acked)
        elif duplicate and _has_credit(t, now, mss):
            board = t.scoreboard
            t.reno_sacked = min(t.reno_sacked + mss, t.flight_size() - board.lost + board.retransmitted)
    elif duplicate:
        t.dup_acks += 1
        # RFC 3042: the first two duplicates each let one new segment out, for one has left the network.
        t.reno_sacked = min(min(t.dup_acks, DUP_THRESH) * mss, most)
        # RFC 6582 section 3.2 (2): "When the third duplicate ACK is received, the TCP sender first checks the value of
        # recover to see if the Cumulative Acknowledgment field covers more than recover."
        if t.dup_acks >= DUP_THRESH and t.snd_una > t.reno_recover:
            if t.scoreboard.mark_first_lost(mss):
                # Without SACK nobody knows what else is lost: an MTU probe's loss is a loss like others.
                plpmtud.only_probe_lost(t, now)
                _tell_losses(t, now)
            _enter(t, now, 0, 0)


def _begin_credit(t: Tcb, now: int) -> None:
    """A recovery begins: so much may duplicates say to have left the network in each of its round trips."""
    t.reno_flight = max(t.flight_size(), t.snd_mss)
    t.reno_credit = t.reno_flight
    t.reno_round_at = now


def _has_credit(t: Tcb, now: int, mss: int) -> bool:
    """Can this duplicate be the answer to something that was in flight?

    A receiver may make duplicates out of nothing, each of which lets a segment out. RFC 5681 section 3.2 (4): "A TCP
    MAY therefore limit the number of times cwnd is artificially inflated during loss recovery to the number of
    outstanding segments (or, an approximation thereof)". Here to what was in flight when the recovery began, each
    round trip.
    """
    if now - t.reno_round_at >= (t.rtt.min_rtt if t.rtt.samples else t.rtt.base_rto):
        t.reno_credit = t.reno_flight
        t.reno_round_at = now
    if t.reno_credit < mss:
        t.counters.duplicate_acks_ignored += 1
        return False
    t.reno_credit -= mss
    return True


def _leave(t: Tcb, now: int) -> None:
    """All that was outstanding when the recovery began is acknowledged."""
    was = t.congestion
    t.congestion = OPEN
    t.dup_acks = 0
    t.reno_sacked = 0
    t.force_retransmit = False
    t.frto = 0
    t.prr.active = False
    if was == RECOVERY:
        t.cc.on_recovery_exit(now)
    if was in (RECOVERY, LOSS):
        rack.on_exit(t)
    if t.log is not None:
        t.log.event(now, t.name(), "recovered", {"cwnd": t.cc.cwnd, "ssthresh": t.cc.ssthresh})
