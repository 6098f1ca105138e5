"""The ACK field: the fifth check of RFC 9293 section 3.10.7.4, with RFC 5961 section 5, RFC 2018 and RFC 5681."""

from __future__ import annotations

from plankroad.endpoint import EVENT_WRITABLE
from plankroad.tcp import ecn, pacing, plpmtud, rate, tlp, undo
from plankroad.tcp.autotune import follow_window
from plankroad.tcp.cc.base import AckSample
from plankroad.tcp.challenge import challenge_ack
from plankroad.tcp.config import TcpConfig
from plankroad.tcp.constants import (
    CLOSING,
    CWR,
    ESTABLISHED,
    FAST_OPEN_PASSIVE,
    FIN_WAIT_1,
    FIN_WAIT_2,
    LAST_ACK,
    OPEN,
    RECOVERY,
    SYN_RECEIVED,
    TIMER_KEEPALIVE,
    TIMER_LINGER,
    TIMER_PERSIST,
    TIMER_PROBE,
    TIMER_RETRANSMIT,
    TIMER_TIME_WAIT,
    TIMER_USER,
)
from plankroad.tcp.ending import end_connection, enter_time_wait, set_state
from plankroad.tcp.fastopen import on_answer
from plankroad.tcp.handshake import adopt_user_timeout, establish, syn_acknowledged
from plankroad.tcp.recovery import after_ack, on_mark
from plankroad.tcp.seq import HALF32, MASK32, unwrap
from plankroad.tcp.tcb import Tcb
from plankroad.units import MILLISECOND, NEVER
from plankroad.wire.segment import FIN, SYN, Segment


def least_ack(t: Tcb) -> int:
    """RFC 5961 section 5.2: SND.UNA - MAX.SND.WND, the oldest acknowledgement that may be an old duplicate; but none is
    older than that of our SYN.
    """
    return max(t.snd_una - max(t.max_snd_wnd, 65535), t.iss + 1)


def handle_ack(t: Tcb, now: int, seg: Segment, start: int) -> bool:
    """Take in SEG.ACK, SEG.WND and SACK of an acceptable segment; returns whether to go on with its text."""
    ack = unwrap(seg.ack, t.snd_una)
    if t.state == SYN_RECEIVED:
        # "If SND.UNA < SEG.ACK =< SND.NXT, then enter ESTABLISHED state ... If the segment acknowledgment is not
        # acceptable, form a reset segment <SEQ=SEG.ACK><CTL=RST>."
        if not t.iss < ack <= t.snd_max:
            t.send_reset = True
            t.reset_seq = ack
            t.reset_with_ack = False
            return False
        listener = t.listener
        if listener is not None and t.fast_open != FAST_OPEN_PASSIVE and not listener.has_room():
            # The program does not accept: let the peer send its ACK again later, as other stacks do.
            t.counters.accept_queue_overflow += 1
            return False
        on_answer(t, now, seg, ack - t.iss - 1, True)
        syn_acknowledged(t, now, seg, ack)
        t.snd_wl1 = start
        t.snd_wl2 = ack
        t.snd_wnd = _window(t, seg)
        t.max_snd_wnd = max(t.max_snd_wnd, t.snd_wnd)
        establish(t, now)
        if t.ecn is not None:
            ecn.established(t, now, seg)
        if ack <= t.snd_una:
            return True
    if ack > t.snd_max or ack < least_ack(t):
        # RFC 5961 section 5.2: "All incoming segments whose ACK value doesn't satisfy the above condition MUST be
        # discarded and an ACK sent back."
        t.counters.ack_out_of_range += 1
        challenge_ack(t, now)
        return False

    if seg.user_timeout > 0:
        adopt_user_timeout(t, seg)
    flight = t.pipe()
    had_outstanding = t.snd_nxt > t.snd_una
    window_changed = _update_window(t, now, seg, start, ack)
    acked = ack - t.snd_una
    board = t.scoreboard
    if t.bytes_retransmitted:
        _whose_answer(t, now, seg)
    board.begin_ack()
    t.fresh_acked = 0
    t.dsack_end = -1
    sacked = _take_sacks(t, now, seg, ack) if t.sack_ok and seg.sack else 0
    duplicate = False
    if acked > 0:
        _advance(t, now, seg, ack, acked)
    else:
        acked = 0
        # RFC 5681 section 2, "duplicate acknowledgment": (a) to (e).
        duplicate = (
            had_outstanding
            and not seg.payload
            and not seg.flags & FIN
            and ack == t.snd_una
            and not window_changed
            and not t.probes  # it answers a probe
        )
        if duplicate:
            t.counters.duplicate_acks_received += 1
    if acked or sacked or duplicate or t.dsack_end >= 0:
        # Where there is SACK a duplicate that says more by it is not one that only repeats.
        _control(t, now, seg, start, acked, sacked, duplicate and not (t.sack_ok and seg.sack), flight)
        if acked or sacked:
            tlp.schedule(t, now)
    elif t.ecn is not None and ecn.feedback(t, now, seg, start, 0, 0):
        on_mark(t, now)
    if t.probes and acked == 0:
        # The peer answered a probe: it lives, and owes nothing (MUST-37).
        t.unanswered_since = -1
        t.timers[TIMER_USER] = NEVER
    if acked and t.fin_seq >= 0 and ack > t.fin_seq:
        return _fin_acknowledged(t, now)
    return True


def _window(t: Tcb, seg: Segment) -> int:
    """SND.WND in bytes. RFC 7323 section 2.2: that of a SYN is never scaled."""
    return seg.wnd if seg.flags & SYN else seg.wnd << t.snd_wind_shift


def _update_window(t: Tcb, now: int, seg: Segment, start: int, ack: int) -> bool:
    """SND.WND by the newest segment only; returns whether it changed."""
    if ack < t.snd_una or not (t.snd_wl1 < start or (t.snd_wl1 == start and t.snd_wl2 <= ack)):
        return False
    window = _window(t, seg)
    t.snd_wl1 = start
    t.snd_wl2 = ack
    if window == t.snd_wnd:
        return False
    if ack + window < t.snd_una + t.snd_wnd and ack == t.snd_una:
        # MUST-34: the usable window may become negative; what was sent beyond stays sent.
        t.counters.window_shrunk_by_peer += 1
    opened = ack + window > t.snd_una + t.snd_wnd
    t.snd_wnd = window
    t.max_snd_wnd = max(t.max_snd_wnd, window)
    if opened and window > 0:
        # Data that waited for the window goes now, and a probe is not needed.
        t.timers[TIMER_PERSIST] = NEVER
        if t.probes:
            t.probes = 0
            t.rtt.backoff = 0
            if not t.scoreboard.is_empty():
                t.timers[TIMER_RETRANSMIT] = now + t.rtt.rto()
                t.unanswered_since = now
    return True


def _whose_answer(t: Tcb, now: int, seg: Segment) -> None:
    """When a range that was sent again must have been sent, at the latest, for this ACK to be the answer to that.

    RFC 8985 section 6.2, step 2: "If ACK.ts_option.echo_reply < Segment.xmit_ts: Continue. If rtt < RACK.min_rtt:
    Continue". The echo tells of what SND.UNA moves over; for a segment out of order it is that of an earlier one (RFC
    7323 section 4.3), and says nothing of what SACK reports.
    """
    limit = now - t.rtt.min_rtt if t.rtt.samples else now
    t.scoreboard.sack_limit = limit
    if t.ts_ok and seg.has_ts:
        age = (t.ts_now(now) - seg.ts_ecr) & MASK32
        if age < HALF32:
            # The echoed tick lasts until the next one begins.
            limit = min(limit, (now // MILLISECOND - age + 1) * MILLISECOND - 1)
    t.scoreboard.ack_limit = limit


def _take_sacks(t: Tcb, now: int, seg: Segment, ack: int) -> int:
    """Mark what the SACK blocks report; returns the octets newly reported."""
    sacked = 0
    board = t.scoreboard
    most = 64 + 2 * (t.snd_nxt - t.snd_una) // t.snd_mss
    first = True
    for wire_left, wire_right in seg.sack:
        left = unwrap(wire_left, ack)
        right = unwrap(wire_right, ack)
        is_first = first
        first = False
        if left >= right:
            continue
        if right <= ack:
            # RFC 2883 section 4: a first block below the cumulative ACK reports a duplicate. Others are old news.
            if is_first and left >= t.snd_una - max(t.max_snd_wnd, 65535):
                _dsack(t, now, left, right)
            continue
        if is_first and len(seg.sack) > 1 and _covers(seg.sack[1], left, right, ack):
            # RFC 2883 section 4 (4): a duplicate above the cumulative ACK is reported first; the second block, which
            # contains it, says what is held.
            _dsack(t, now, left, right)
            continue
        if right > t.snd_nxt or left < t.snd_una:
            continue
        sacked += board.sack(max(left, ack), right, t.snd_mss, most)
    return sacked


def _covers(block: tuple[int, int], left: int, right: int, ack: int) -> bool:
    return unwrap(block[0], ack) <= left and right <= unwrap(block[1], ack)


def _dsack(t: Tcb, now: int, left: int, right: int) -> None:
    """Octets arrived twice (RFC 2883): the retransmission, or what made us send it, was a mistake."""
    t.counters.dsack_received += 1
    t.dsacks_received += 1
    t.dsack_end = right
    t.dsack_of_recovery = undo.on_dsack(t, now, left, right)


def _advance(t: Tcb, now: int, seg: Segment, ack: int, acked: int) -> None:
    """SND.UNA moves on."""
    board = t.scoreboard
    t.fresh_acked = board.ack(ack)
    data_end = min(ack, t.snd_buf.end)
    if data_end > t.snd_buf.start:
        t.bytes_acked += data_end - t.snd_buf.start
        t.snd_buf.release(data_end)
    t.snd_una = ack
    t.snd_nxt = max(t.snd_nxt, ack)
    t.retries = 0
    if not t.config.strict_rto:
        # Progress ends the back-off, sample or no sample, as in Linux and BSD: see docs/deviations.md.
        t.rtt.backoff = 0
    t.trouble_reported = False
    t.soft_error = 0
    t.probes = 0
    if t.snd_urgent and ack >= t.snd_up:
        t.snd_urgent = False

    _measure(t, now, seg)
    if t.congestion != OPEN and t.ts_ok and seg.has_ts:
        undo.on_progress(t, now, seg.ts_ecr)

    if board.is_empty():
        # RFC 6298 (5.2): "When all outstanding data has been acknowledged, turn off the retransmission timer."
        t.timers[TIMER_RETRANSMIT] = NEVER
        t.timers[TIMER_PROBE] = NEVER
        t.timers[TIMER_USER] = NEVER
        t.unanswered_since = -1
        _wait_for_silence(t, now)
    else:
        # RFC 6298 (5.3): "When an ACK is received that acknowledges new data, restart the retransmission timer."
        t.timers[TIMER_RETRANSMIT] = now + t.rtt.rto()
        t.unanswered_since = now
        if t.timers[TIMER_USER] != NEVER:
            t.timers[TIMER_USER] = now + t.timeout_limit()
    t.more = False
    if ack >= t.mtu_watch:
        plpmtud.on_acked(t, now)
    if t.snd_buf_auto:
        follow_window(t)
    if t.send_blocked and 3 * len(t.snd_buf) <= 2 * t.snd_buf_limit:
        t.send_blocked = False
        t.events |= EVENT_WRITABLE


def _wait_for_silence(t: Tcb, now: int) -> None:
    config: TcpConfig = t.config
    if config.keepalive:
        t.timers[TIMER_KEEPALIVE] = now + config.keepalive_idle


def _measure(t: Tcb, now: int, seg: Segment) -> None:
    """A sample of the round trip: by our own clock from octets sent once (Karn), else by the echoed timestamp."""
    board = t.scoreboard
    expected = _samples_a_round(t)
    if board.acked_first_sent_at >= 0 and not board.acked_ever_retransmitted:
        t.rtt.sample(now, now - board.acked_first_sent_at, expected)
    elif t.ts_ok and seg.has_ts and seg.ts_ecr and board.acked_ever_retransmitted:
        # RFC 7323 section 4.1: the echoed timestamp tells which transmission is answered.
        elapsed = (t.ts_now(now) - seg.ts_ecr) & MASK32
        if elapsed < 0x7FFFFFFF:
            t.rtt.sample(now, max(elapsed, 1) * MILLISECOND, expected)


def _samples_a_round(t: Tcb) -> int:
    """RFC 7323 appendix G: ExpectedSamples = ceiling(FlightSize / (SMSS * 2))."""
    return max(1, t.flight_size() // (2 * t.snd_mss)) if t.ts_ok else 1


def _control(
    t: Tcb, now: int, seg: Segment, start: int, acked: int, sacked: int, duplicate: bool, flight: int
) -> None:
    """Loss recovery first, then congestion control hears of it."""
    board = t.scoreboard
    if sacked and not acked and board.newest is not None and not board.newest_retransmitted:
        # In a recovery SACKs are all the news there is for a round trip or more.
        t.rtt.sample(now, now - board.newest_sent_at, _samples_a_round(t))
    # Without SACK duplicate ACKs have told already that some of what is acknowledged left the network.
    told = 0 if t.sack_ok else min(t.reno_sacked, max(0, t.fresh_acked - t.snd_mss))
    lost = after_ack(t, now, acked, sacked, duplicate, t.dsack_end)
    if t.ecn is not None and ecn.feedback(t, now, seg, start, t.fresh_acked + sacked, acked):
        on_mark(t, now, acked, sacked)
    if not acked and not sacked:
        return
    sample: AckSample = t.sample
    sample.now = now
    sample.acked = acked
    sample.sacked = sacked
    sample.newly_delivered = t.fresh_acked + sacked
    sample.fresh = t.fresh_acked - told
    sample.newly_lost = lost
    has_rtt = board.newest is not None and not board.newest_retransmitted and not board.acked_ever_retransmitted
    sample.rtt = now - board.newest_sent_at if has_rtt else -1
    sample.srtt = t.rtt.srtt
    sample.min_rtt = t.rtt.min_rtt if t.rtt.samples else 0
    sample.prior_in_flight = flight
    sample.in_flight = t.pipe()
    # A window is "used" when it stopped the sender, or, in slow start where it doubles, when half of it was filled in
    # the round trip that is acknowledged: each of its ACKs says the same of the path (RFC 7661 section 4.3: pipeACK).
    sample.cwnd_limited = t.cwnd_limited or (t.cc.cwnd < t.cc.ssthresh and 2 * t.flight_most > t.cc.cwnd)
    sample.in_recovery = t.congestion in (RECOVERY, CWR)
    sample.round_start = acked > 0 and t.snd_una >= t.round_end
    if sample.round_start:
        t.round_end = t.snd_nxt
        t.flight_most = flight
    if t.ecn is not None:
        sample.ce_bytes = ecn.take_ce(t)
        if t.ecn.hold:
            sample.cwnd_limited = False
    rate.on_ack(t, now, sample.newly_delivered)
    sample.delivered = t.delivered
    sample.lost = t.lost_total
    before = t.cc.cwnd
    t.cc.on_ack(sample)
    pacing.update_rate(t)
    if t.log is not None and t.cc.cwnd != before:
        t.log.event(
            now,
            t.name(),
            "cwnd",
            {"cwnd": t.cc.cwnd, "ssthresh": t.cc.ssthresh, "srtt": t.rtt.srtt, "in_flight": t.pipe()},
        )


def _fin_acknowledged(t: Tcb, now: int) -> bool:
    """Our FIN arrived: the transitions of RFC 9293 section 3.10.7.4, fifth."""
    t.timers[TIMER_LINGER] = NEVER
    state = t.state
    if state in (FIN_WAIT_1, ESTABLISHED):
        set_state(t, now, FIN_WAIT_2)
        if t.released:
            t.timers[TIMER_TIME_WAIT] = now + t.config.fin_timeout
            # A program that lingers waits for this.
            t.events |= EVENT_WRITABLE
    elif state == CLOSING:
        enter_time_wait(t, now)
    elif state == LAST_ACK:
        end_connection(t, now, 0)
        return False
    return True
