"""Opening: what a SYN says and agrees to, and the steps to ESTABLISHED."""

from __future__ import annotations

import errno

from plankroad.endpoint import EVENT_CONNECTED, EVENT_READABLE, EVENT_WRITABLE
from plankroad.tcp import ecn, pacing, tlp
from plankroad.tcp.autotune import begin as begin_autotuning
from plankroad.tcp.cc.base import MAX_CWND, SLOW_START_LIMIT
from plankroad.tcp.cc.registry import create
from plankroad.tcp.constants import (
    ESTABLISHED,
    FAST_OPEN_PASSIVE,
    FIN_WAIT_1,
    MAX_WIND_SHIFT,
    SYN_RECEIVED,
    SYN_SENT,
    TIMER_RETRANSMIT,
    TIMER_USER,
    TIMESTAMP_LEN,
)
from plankroad.tcp.ending import end_connection, set_state
from plankroad.tcp.fastopen import begin_client, on_answer
from plankroad.tcp.output import acknowledge, arm_retransmit
from plankroad.tcp.receive import queue
from plankroad.tcp.seq import MASK32, unwrap
from plankroad.tcp.tcb import Tcb
from plankroad.tcp.timers import arm_keepalive
from plankroad.tcp.window import hold_limit, shift_for
from plankroad.units import MILLISECOND, NEVER, SECOND
from plankroad.wire.segment import ACE, ACK, RST, SYN, Segment


def begin_active(t: Tcb, now: int) -> None:
    """Active OPEN (RFC 9293 section 3.10.1): send a SYN, enter SYN_SENT."""
    t.opened_at = now
    t.last_received = now
    t.rcv_wind_shift = shift_for(t.config.largest_rcv_buf()) if t.ws_ok else 0
    ecn.ask(t)
    t.syn_pending = not begin_client(t, now)
    t.counters.active_opens += 1
    set_state(t, now, SYN_SENT)


def begin_passive(t: Tcb, now: int, seg: Segment) -> None:
    """A SYN for a listener (RFC 9293 section 3.10.7.2): answer with SYN, ACK, enter SYN_RECEIVED."""
    t.opened_at = now
    t.last_received = now
    t.passive = True
    t.counters.passive_opens += 1
    accept_syn(t, now, seg)
    t.syn_pending = True
    set_state(t, now, SYN_RECEIVED)


def begin_fast(t: Tcb, now: int, seg: Segment) -> None:
    """`begin_passive` for a SYN with a good cookie: "Buffer the data and notify the application" (RFC 7413 4.2.2).

    From here on data goes both ways, as if the handshake were over: SND.UNA is that of the data, and the SYN-ACK is
    awaited beside it. What the state SYN_RECEIVED still means is that the peer's ACK has to come.
    """
    begin_passive(t, now, seg)
    t.fast_open = FAST_OPEN_PASSIVE
    t.counters.fast_open_passive += 1
    t.snd_nxt = t.snd_max = t.iss + 1
    _begin_data(t, now, t.iss + 1)
    for piece in t.reassembly.pop(t.rcv_nxt):
        t.syn_data += len(piece)
        queue(t, piece)
        t.events |= EVENT_READABLE
    t.events |= EVENT_WRITABLE


def accept_syn(t: Tcb, now: int, seg: Segment) -> None:
    """Take in the peer's SYN: its sequence number, window and options."""
    t.irs = seg.seq
    t.rcv_nxt = seg.seq + 1
    t.rcv_adv = t.rcv_nxt + min(t.rcv_buf, 65535)
    t.rcv_up = t.rcv_nxt
    t.last_ack_sent = t.rcv_nxt
    negotiate(t, now, seg)
    # RFC 7323 section 2.2: the window of a SYN is not scaled.
    t.snd_wnd = seg.wnd
    t.max_snd_wnd = seg.wnd
    t.snd_wl1 = seg.seq
    t.snd_wl2 = t.snd_una
    if seg.payload:
        # RFC 9293 section 3.10.7.2: text with the SYN is held until the connection is established.
        data = seg.payload[: t.rcv_adv - t.rcv_nxt]
        t.reassembly.insert(t.rcv_nxt, data, hold_limit(t))


def negotiate(t: Tcb, now: int, seg: Segment) -> None:
    """Agree on options: each is in force when both SYNs have it."""
    if seg.mss:
        t.peer_mss = max(seg.mss, t.config.least_mss)
    if t.ws_ok and seg.wscale >= 0:
        # RFC 7323 section 2.3: "If a Window Scale option is received with a shift.cnt value larger than 14, the TCP
        # SHOULD log the error but MUST use 14 instead of the specified value."
        t.snd_wind_shift = min(seg.wscale, MAX_WIND_SHIFT)
        if t.state != SYN_SENT:
            # Ours was told in our SYN, and stays.
            t.rcv_wind_shift = shift_for(t.config.largest_rcv_buf())
    else:
        t.ws_ok = False
        t.snd_wind_shift = 0
        t.rcv_wind_shift = 0
    t.ts_ok = t.ts_ok and seg.has_ts
    if t.ts_ok:
        t.ts_recent = seg.ts_val
        t.ts_recent_at = now
    t.sack_ok = t.sack_ok and seg.sack_permitted
    adopt_user_timeout(t, seg)
    t.update_mss()
    start_congestion_control(t)
    if t.ecn is not None or seg.flags & ACE:
        ecn.negotiate(t, now, seg)


def start_congestion_control(t: Tcb) -> None:
    """A new instance of the algorithm that is configured."""
    t.cc = create(t.config.congestion_control, t.snd_mss, initial_window(t))
    t.cc.paced = t.config.pacing and t.cc.paced
    limit = t.config.slow_start_limit
    if limit != SLOW_START_LIMIT:
        # The program's choice; the default leaves an algorithm's own alone.
        t.cc.slow_start_limit = limit if limit else MAX_CWND


def adopt_user_timeout(t: Tcb, seg: Segment) -> None:
    """RFC 5482 section 3.1: "USER_TIMEOUT = min(U_LIMIT, max(ADV_UTO, REMOTE_UTO, L_LIMIT))", if changeable."""
    if seg.user_timeout <= 0 or not t.config.user_timeout_changeable or t.config.user_timeout:
        return
    value = seg.user_timeout & 0x7FFF
    remote = (value * 60 if seg.user_timeout & 0x8000 else value) * SECOND
    if remote:
        t.adopted_user_timeout = min(t.config.user_timeout_max, max(remote, t.config.user_timeout_min))


def initial_window(t: Tcb) -> int:
    """IW in bytes: RFC 6928 section 2, "min (10*MSS, max (2*MSS, 14600))", for the ten that are the default."""
    mss = t.snd_mss
    if t.retries > 1:
        # RFC 6928 section 2: one segment where more than one SYN or SYN/ACK was lost.
        return mss
    segments = t.initial_window
    return min(segments * mss, max(2 * mss, segments * 1460))


def syn_acknowledged(t: Tcb, now: int, seg: Segment, ack: int) -> None:
    """The peer acknowledged our SYN, by `ack`: the first measurement of the round trip, and no timer any more."""
    t.timers[TIMER_RETRANSMIT] = NEVER
    t.timers[TIMER_USER] = NEVER
    t.unanswered_since = -1
    if not t.syn_retransmitted and t.syn_sent_at >= 0:
        t.rtt.sample(now, now - t.syn_sent_at, 1)
    elif t.ts_ok and seg.has_ts and seg.ts_ecr:
        t.rtt.sample(now, ((t.ts_now(now) - seg.ts_ecr) & MASK32) * MILLISECOND, 1)
    elif t.syn_retransmitted:
        # RFC 6298 (5.7): "the RTO ... MUST be re-initialized to 3 seconds when data transmission begins".
        t.rtt.base_rto = max(t.rtt.min_rto, min(t.rtt.max_rto, 3 * t.config.initial_rto))
        t.rtt.backoff = 0
    if t.fast_open == FAST_OPEN_PASSIVE:
        # Data was sent long ago; what is acknowledged of it comes next.
        t.retries = 0
        t.trouble_reported = False
        t.soft_error = 0
        if not t.scoreboard.is_empty():
            arm_retransmit(t, now)
            tlp.schedule(t, now)
        return
    if t.retries > 1:
        start_congestion_control(t)
    t.retries = 0
    t.trouble_reported = False
    t.soft_error = 0
    _settle_syn_data(t, now, ack)


def _settle_syn_data(t: Tcb, now: int, ack: int) -> None:
    """Data of our SYN that the peer took is done with; the rest is lost, which is no sign of congestion: the peer has
    thrown it away, or a SYN without it came in its place.

    RFC 7413 section 4.2.2: "The client SHOULD retransmit any unacknowledged data in the first ACK packet".
    """
    start = t.iss + 1
    end = max(t.snd_nxt, start)
    una = max(start, min(ack, end))
    t.snd_nxt = t.snd_max = end
    _begin_data(t, now, una)
    if end == start:
        return
    taken = una - start
    t.snd_buf.release(una)
    t.syn_data = taken
    t.delivered += taken
    t.bytes_acked += taken
    t.bytes_sent += end - start
    t.counters.bytes_sent += end - start
    if una == end:
        return
    board = t.scoreboard
    # Its acknowledgement may still answer the SYN (Karn); and the window of the SYN,ACK counts for it.
    board.add(una, end, t.syn_sent_at).ever_retransmitted = True
    board.mark_all_lost()
    board.fresh_losses.clear()
    t.syn_data_end = end
    arm_retransmit(t, now)


def _begin_data(t: Tcb, now: int, una: int) -> None:
    """Data of ours begins at `una`, and nothing is outstanding."""
    t.snd_una = una
    t.cwnd_filled_at = now
    t.recover = t.iss
    t.reno_recover = t.iss
    t.round_end = una
    t.snd_sml = una
    t.scoreboard.begin(una)


def establish(t: Tcb, now: int) -> None:
    """Enter ESTABLISHED (or FIN_WAIT_1, where CLOSE was called before)."""
    # RFC 9293 section 3.7.5: at least 10 segments fit a window that is to be of use; quick ACKs open the sender's.
    set_state(t, now, ESTABLISHED)
    t.established_at = now
    t.events |= EVENT_CONNECTED | EVENT_WRITABLE
    t.rcv_mss = min(t.link_mss, max(536, t.peer_mss)) - (TIMESTAMP_LEN if t.ts_ok else 0)
    begin_autotuning(t, now)
    arm_keepalive(t, now)
    t.cc.on_established(now, t.rtt.latest)
    pacing.update_rate(t)
    if t.close_requested:
        set_state(t, now, FIN_WAIT_1)
    listener = t.listener
    if listener is not None:
        t.listener = None
        listener.half_open_done(t)


def handle_syn_sent(t: Tcb, now: int, seg: Segment) -> bool:
    """RFC 9293 section 3.10.7.3. Returns whether the segment's text and FIN are to be processed further."""
    ack_ok = False
    if seg.flags & ACK:
        ack = unwrap(seg.ack, t.snd_una)
        # "If SEG.ACK =< ISS or SEG.ACK > SND.NXT, send a reset (unless the RST bit is set ...) <SEQ=SEG.ACK><CTL=RST>
        # and discard the segment."
        if ack <= t.iss or ack > t.snd_nxt:
            if not seg.flags & RST:
                t.send_reset = True
                t.reset_seq = seg.ack
                t.reset_with_ack = False
            return False
        if not seg.flags & RST and _echoes_another(t, now, seg):
            t.counters.paws_rejected += 1
            t.send_reset = True
            t.reset_seq = seg.ack
            t.reset_with_ack = False
            return False
        ack_ok = True
    if seg.flags & RST:
        t.counters.resets_received += 1
        if ack_ok:
            end_connection(t, now, errno.ECONNREFUSED)
        else:
            t.counters.resets_ignored += 1
        return False
    if not seg.flags & SYN:
        return False
    accept_syn(t, now, seg)
    if ack_ok:
        more = t.snd_buf.end > max(t.snd_max, t.iss + 1)
        on_answer(t, now, seg, ack - t.iss - 1, False)
        syn_acknowledged(t, now, seg, ack)
        t.snd_wl2 = t.snd_una
        if more:
            # What waits takes the ACK of this along.
            t.last_text = now
        establish(t, now)
        if t.ecn is not None:
            ecn.established(t, now, None)
        acknowledge(t)
        return True
    # Simultaneous open (MUST-10): "Otherwise, enter SYN-RECEIVED, form a SYN,ACK segment and send it."
    t.counters.simultaneous_opens += 1
    t.timers[TIMER_RETRANSMIT] = NEVER
    t.syn_pending = True
    set_state(t, now, SYN_RECEIVED)
    return False


def _echoes_another(t: Tcb, now: int, seg: Segment) -> bool:
    """Does this SYN,ACK echo a timestamp that none of our SYNs had? Then it is no answer to one.

    RFC 7323 section 3.2: "When the ACK bit is set in an outgoing segment, the sender MUST echo a recently received
    TSval". Zero is let pass: there are hosts that do not echo that of a SYN.
    """
    if not t.ts_ok or not seg.has_ts or seg.ts_ecr == 0 or t.syn_sent_at < 0:
        return False
    first = t.ts_now(t.syn_sent_at)
    return (seg.ts_ecr - first) & MASK32 > (t.ts_now(now) - first) & MASK32
