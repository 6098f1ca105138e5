"""What always holds between two calls; tests check it after every event."""

from __future__ import annotations

from plankroad.tcp.constants import (
    CLOSED,
    ESTABLISHED,
    STATE_NAMES,
    SYN_RECEIVED,
    SYN_SENT,
    TIME_WAIT,
    TIMER_PACING,
    TIMER_PERSIST,
    TIMER_RETRANSMIT,
)
from plankroad.tcp.reassembly import INTERVAL_COST
from plankroad.tcp.tcb import Tcb
from plankroad.tcp.window import hold_limit
from plankroad.units import NEVER


def check(t: Tcb) -> None:
    """Raise AssertionError that names the rule and the values, if one is broken.

    To be called when output was polled dry: some rules speak of timers that sending arms.
    """
    for rule, holds in (
        ("snd_una <= snd_nxt <= snd_max", t.snd_una <= t.snd_nxt <= t.snd_max),
        ("snd_max <= snd_nxt + 1", t.snd_max <= t.snd_nxt + 1),
        (
            "the send buffer begins at snd_una",
            t.state in (SYN_SENT, SYN_RECEIVED, CLOSED, TIME_WAIT) or _buffer_start(t),
        ),
        ("the send buffer is within its limit", len(t.snd_buf) <= t.snd_buf_limit),
        ("rcv_nxt <= rcv_adv", t.state in (CLOSED, SYN_SENT) or t.rcv_nxt <= t.rcv_adv + (1 if t.rcv_eof else 0)),
        ("unread octets are within rcv_buf", t.rcv_queued <= t.rcv_buf),
        ("unread octets are counted", t.rcv_queued == sum(len(c) for c in t.rcv_queue[t.rcv_queue_head :])),
        ("out-of-order memory is bounded", t.reassembly.memory() <= hold_limit(t) + INTERVAL_COST),
        ("an MTU probe lies in what is outstanding", t.state == CLOSED or _probe_is_outstanding(t)),
        ("cwnd is positive", t.cc.cwnd > 0),
        ("pipe is not negative", t.pipe() >= 0),
        ("soft state is gone when CLOSED", t.state != CLOSED or (min(t.timers) == NEVER and len(t.snd_buf) == 0)),
    ):
        if not holds:
            raise AssertionError(f"{t.name()} {STATE_NAMES[t.state]}: broken: {rule}: {dump(t)}")
    _check_scoreboard(t)
    _check_reassembly(t)
    if t.state >= ESTABLISHED and t.state != TIME_WAIT:
        _check_progress(t)


def dump(t: Tcb) -> str:
    """The variables that matter, relative to the initial sequence numbers."""
    return (
        f"una={t.snd_una - t.iss} nxt={t.snd_nxt - t.iss} max={t.snd_max - t.iss} wnd={t.snd_wnd} "
        f"buf=[{t.snd_buf.start - t.iss},{t.snd_buf.end - t.iss}) rcv_nxt={t.rcv_nxt - t.irs} adv={t.rcv_adv - t.irs} "
        f"queued={t.rcv_queued} held={t.reassembly.octets} cwnd={t.cc.cwnd} ssthresh={t.cc.ssthresh} pipe={t.pipe()} "
        f"sacked={t.scoreboard.sacked} lost={t.scoreboard.lost} resent={t.scoreboard.retransmitted} "
        f"congestion={t.congestion} timers={t.timers}"
    )


def _buffer_start(t: Tcb) -> bool:
    return t.snd_buf.start == min(t.snd_una, t.snd_buf.end)


def _probe_is_outstanding(t: Tcb) -> bool:
    p = t.plpmtud
    return p is None or p.end < 0 or (t.snd_una < p.end <= t.snd_nxt and t.mtu_watch == p.end)


def _check_scoreboard(t: Tcb) -> None:
    board = t.scoreboard
    sacked = lost = resent = 0
    position = -1
    for i in range(board.head(), len(board.ranges)):
        sent = board.ranges[i]
        if position >= 0 and sent.start != position:
            raise AssertionError(f"{t.name()}: ranges do not follow each other: {dump(t)}")
        if sent.start >= sent.end:
            raise AssertionError(f"{t.name()}: an empty range: {dump(t)}")
        if position < 0 and sent.start != t.snd_una:
            raise AssertionError(f"{t.name()}: ranges begin at {sent.start - t.iss}, not at snd_una: {dump(t)}")
        position = sent.end
        length = sent.end - sent.start
        if sent.sacked:
            sacked += length
            if sent.lost or sent.retransmitted:
                raise AssertionError(f"{t.name()}: a sacked range is marked lost: {dump(t)}")
        if sent.lost:
            lost += length
        if sent.retransmitted:
            resent += length
    if position >= 0 and position != t.snd_nxt:
        raise AssertionError(f"{t.name()}: ranges end at {position - t.iss}, not at snd_nxt: {dump(t)}")
    _check_order(t)
    if (sacked, lost, resent) != (board.sacked, board.lost, board.retransmitted):
        raise AssertionError(f"{t.name()}: sums are wrong, should be {sacked} {lost} {resent}: {dump(t)}")


def _check_order(t: Tcb) -> None:
    """What is in flight is threaded in the order of sending, each range once."""
    board = t.scoreboard
    threaded = 0
    sent = board.oldest
    older = None
    while sent is not None:
        threaded += 1
        if sent.older is not older or not sent.in_order or (older is not None and older.sent_at > sent.sent_at):
            raise AssertionError(f"{t.name()}: the order of sending is broken: {dump(t)}")
        older = sent
        sent = sent.newer
    flying = 0
    for i in range(board.head(), len(board.ranges)):
        one = board.ranges[i]
        if not one.sacked and (not one.lost or one.retransmitted):
            flying += 1
    if threaded != flying or board.youngest is not older:
        raise AssertionError(f"{t.name()}: {flying} ranges in flight, {threaded} in order: {dump(t)}")


def _check_reassembly(t: Tcb) -> None:
    position = t.rcv_nxt
    octets = 0
    for interval in t.reassembly.intervals:
        if interval.start <= position and t.state >= ESTABLISHED:
            raise AssertionError(f"{t.name()}: held intervals touch or overlap: {dump(t)}")
        if sum(len(piece) for piece in interval.pieces) != interval.end - interval.start:
            raise AssertionError(f"{t.name()}: pieces do not fill their interval: {dump(t)}")
        octets += interval.end - interval.start
        position = interval.end
    if octets != t.reassembly.octets:
        raise AssertionError(f"{t.name()}: held octets are miscounted: {dump(t)}")


def _check_progress(t: Tcb) -> None:
    """A connection that waits for its peer has a timer, or it could wait for ever."""
    if not t.scoreboard.is_empty() and t.timers[TIMER_RETRANSMIT] == NEVER:
        raise AssertionError(f"{t.name()}: data in flight and no retransmission timer: {dump(t)}")
    blocked = t.snd_buf.end > t.snd_nxt and t.scoreboard.is_empty() and t.snd_wnd == 0
    # Paced data is looked at again when its time has come, and the window with it.
    if blocked and t.timers[TIMER_PERSIST] == NEVER and t.timers[TIMER_PACING] == NEVER:
        raise AssertionError(f"{t.name()}: a zero window and no probe timer: {dump(t)}")
