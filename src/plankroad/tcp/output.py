"""What a connection would send now: one segment a call, until there is none.

The order is: a reset; the SYN; retransmissions; new data and the FIN; a probe; a bare acknowledgement. Every segment
carries the latest acknowledgement, so that many inputs are answered by one.
"""

from __future__ import annotations

from typing import Final

from plankroad.tcp import ecn, pacing, plpmtud, prr, rate, tlp, undo
from plankroad.tcp.config import NAGLE_CLASSIC, WINDOW_PROBE_EMPTY
from plankroad.tcp.constants import (
    CLOSED,
    CWR,
    FAST_OPEN_PASSIVE,
    FIN_WAIT_2,
    LOSS,
    OPEN,
    RESIZE,
    SYN_RECEIVED,
    SYN_SENT,
    TIME_WAIT,
    TIMER_CORK,
    TIMER_PERSIST,
    TIMER_PROBE,
    TIMER_RETRANSMIT,
    TIMER_USER,
)
from plankroad.tcp.frto import FRTO_OFF, FRTO_SECOND
from plankroad.tcp.limits import account
from plankroad.tcp.scoreboard import Sent
from plankroad.tcp.segments import bare_ack, reset, segment, syn
from plankroad.tcp.tcb import Tcb
from plankroad.units import MILLISECOND, NEVER, SECOND
from plankroad.wire.segment import ACK, FIN, PSH, Segment

# Tcb.probe_due
PROBE_NONE: Final = 0
PROBE_WINDOW: Final = 1  #: one octet into a zero window (MUST-36)
PROBE_KEEPALIVE: Final = 2
PROBE_TAIL: Final = 3  #: RFC 8985 section 7

#: The override of silly-window avoidance, RFC 9293 section 3.8.6.2.1: "in the range 0.1 - 1.0 seconds".
_SWS_OVERRIDE: Final = 200 * MILLISECOND


def poll_transmit(t: Tcb, now: int) -> Segment | None:
    """The next segment to send, or None."""
    state = t.state
    if t.send_reset:
        return reset(t, now)
    if state == CLOSED:
        return None
    if state in (SYN_SENT, SYN_RECEIVED):
        if t.syn_pending:
            return syn(t, now)
        if t.fast_open == FAST_OPEN_PASSIVE and not t.syn_retransmitted and t.snd_wnd > 0:
            # RFC 7413 section 3: the server "may send the response data before the handshake finishes". Once its
            # SYN-ACK seems lost it waits: what follows one that did not arrive is thrown away by the client.
            seg = _data(t, now)
            if seg is not None:
                return seg
        if t.ack_now:
            return bare_ack(t, now)
        return None
    if t.ecn is not None:
        if t.ecn.early_acks:
            return ecn.early_ack(t, now)
        if t.ecn.handshake_ack and t.ack_now and not t.reassembly.intervals:
            # RFC 9768 section 3.2.2.1: before data "it SHOULD first send a pure ACK".
            return bare_ack(t, now)
    if state not in (FIN_WAIT_2, TIME_WAIT):
        seg = _data(t, now)
        if seg is not None:
            return seg
    if t.probe_due and state != TIME_WAIT:
        return _probe(t, now)
    if t.ack_now:
        return bare_ack(t, now)
    account(t, now)
    return None


def acknowledge(t: Tcb) -> None:
    """An acknowledgement is due at once."""
    if t.ack_now == 0:
        t.ack_now = 1


def arm_retransmit(t: Tcb, now: int) -> None:
    """RFC 6298 (5.1): "Every time a packet containing data is sent ..., if the timer is not running, start it"."""
    if t.timers[TIMER_RETRANSMIT] == NEVER:
        t.timers[TIMER_RETRANSMIT] = now + t.rtt.rto()
    if t.unanswered_since < 0:
        t.unanswered_since = now
        if t.user_timeout or t.adopted_user_timeout:
            t.timers[TIMER_USER] = now + t.timeout_limit()


def _data(t: Tcb, now: int) -> Segment | None:
    """A retransmission, or new data, as congestion control and the peer's window allow."""
    if t.pacing_rate and not t.force_retransmit and pacing.is_blocked(t, now):
        return None
    mss = t.snd_mss
    pipe = t.pipe()
    room = t.window() - pipe
    window_end = t.snd_una + t.snd_wnd
    if t.frto == FRTO_SECOND:
        if t.frto_new > 0:
            t.frto_new -= 1
            seg = _new_data(t, now, mss, max(room, mss), pipe, window_end)
            if seg is not None:
                return seg
        if t.snd_nxt == t.high_new:
            # Step 2b of RFC 5682: "If the TCP sender does not have any new data to send, or the advertised window
            # prohibits new transmissions, the recommended action is to skip steps 3 and 4".
            t.frto = FRTO_OFF
        else:
            return None
    if t.scoreboard.lost > 0:
        seg = _retransmission(t, now, mss, room, pipe, window_end)
        if seg is not None:
            return seg
    else:
        t.force_retransmit = False
    return _new_data(t, now, mss, room, pipe, window_end)


def _retransmission(t: Tcb, now: int, mss: int, room: int, pipe: int, window_end: int) -> Segment | None:
    """What is deemed lost and was not sent again, in order."""
    board = t.scoreboard
    sent = board.next_lost()
    if sent is None:
        return None
    length = sent.end - sent.start
    probe = 0
    if now >= t.mtu_probe_at and t.congestion != OPEN:
        probe = plpmtud.repair_length(t, length, room)
    if probe > 0:
        length = probe
        mss = probe
    elif t.force_retransmit or pipe <= 0:
        # RFC 9937 section 6: "Force a fast retransmit upon entering recovery", whatever the pipe holds.
        length = min(length, mss)
    else:
        if room < min(length, mss):
            t.cwnd_limited = True
            return None
        limit = _most(t, mss)
        if length > room:
            length = room - room % mss if room > mss else room
        length = min(length, limit)
    if sent.start + length > window_end and sent.ever_retransmitted:
        # RFC 7323 section 2.4 (4) and (5): the first retransmission does not regard the window, nor does what lies
        # outside by less than its granularity; later ones stay inside (SHLD-16), and the probe waits for it to open.
        length = min(length, window_end + _granularity(t) - sent.start)
        if length <= 0:
            return None
        if 0 < length < probe:
            probe = 0
            mss = t.snd_mss
            length = min(length, mss)
    t.force_retransmit = False
    if sent.start + length <= t.syn_data_end and t.congestion == OPEN:
        t.counters.retransmitted_syn += 1
    elif t.congestion == LOSS:
        t.counters.retransmitted_timeout += 1
    elif t.congestion == RESIZE:
        t.counters.retransmitted_path_mtu += 1
    else:
        t.counters.retransmitted_fast += 1
    if probe > 0:
        plpmtud.on_probe_sent(t, now, sent.start, sent.start + length)
    return _resend(t, now, sent, length, mss, pipe)


def _most(t: Tcb, mss: int) -> int:
    """The largest payload of one segment or super-segment now: whole segments."""
    limit = t.gso_max
    if limit <= mss or (t.ecn is not None and ecn.no_super_segments(t)):
        return mss
    if t.pacing_rate:
        limit = min(limit, max(t.pace_burst, pacing.quantum(t)))
    if t.config.push_bursts:
        limit = min(limit, pacing.push_burst(t))
    return max(limit - limit % mss, mss)


def _granularity(t: Tcb) -> int:
    """By how much less than what it meant the peer's scaled window may tell."""
    return (1 << t.snd_wind_shift) - 1


def _resend(t: Tcb, now: int, sent: Sent, length: int, mss: int, pipe: int) -> Segment:
    start = sent.start
    why = _why(t, sent)
    t.scoreboard.resent(sent, length, now)
    rate.on_sent(t, sent, now, pipe)
    undo.on_retransmit(t, length)
    if t.prr.active:
        prr.on_sent(t, length)
    if t.pacing_rate:
        pacing.on_sent(t, now, length, pipe)
    if start == t.snd_una and t.congestion != OPEN:
        # RFC 6675 section 6: the timer is started anew when the first unacknowledged segment is sent again: it is the
        # answer to this one that it waits for now.
        t.timers[TIMER_RETRANSMIT] = now + t.rtt.rto()
    t.counters.retransmitted += 1
    t.counters.bytes_retransmitted += length
    t.bytes_retransmitted += length
    t.retransmitted_segments += 1
    if t.log is not None:
        t.log.event(now, t.name(), "retransmit", {"seq": start - t.iss, "length": length, "why": why})
    return _data_segment(t, now, start, start + length, mss)


def _why(t: Tcb, sent: Sent) -> str:
    """Why a range is sent again, for the event log."""
    if t.congestion == LOSS:
        return "timeout"
    if t.congestion == RESIZE:
        return "path mtu"
    if sent.end <= t.syn_data_end and t.congestion == OPEN:
        return "fast open"
    return "lost" if sent.lost else "tail probe"


def _new_data(t: Tcb, now: int, mss: int, room: int, pipe: int, window_end: int) -> Segment | None:
    """Data not sent before, and the FIN behind the last of it."""
    start = t.snd_nxt
    if t.fin_seq >= 0 and start > t.fin_seq:
        return None
    available = t.snd_buf.end - start
    fin = t.close_requested
    if available < mss and room > 0 and not t.app_limited:
        rate.mark_app_limited(t, pipe)
    if t.snd_buf.records:
        # A record that the program has ended shares no segment with what follows.
        available = t.snd_buf.stop_after(start) - start
    if available <= 0 and not fin:
        t.cwnd_limited = False
        return None
    usable = window_end - start
    if usable <= 0:
        t.cwnd_limited = False
        _wait_for_window(t, now, t.rtt.rto())
        return None
    if t.congestion == OPEN and pipe == 0 and available > 0 and t.last_sent >= 0:
        room = _restart_after_idle(t, now, room)
    length = min(available, usable)
    probe = 0
    if now >= t.mtu_probe_at and t.congestion == OPEN:
        probe = plpmtud.probe_length(t, now, available, usable, room)
    if probe > 0:
        # One packet larger than the others.
        length = probe
        mss = probe
    elif probe < 0:
        t.cwnd_limited = True
        return None
    elif length >= mss:
        length = min(length, _most(t, mss))
        if room < length:
            # Whole segments only: cwnd does not cut crumbs.
            length = room - room % mss
            if length <= 0:
                if pipe > 0:
                    t.cwnd_limited = True
                    return None
                length = mss
        rest = length % mss
        if rest and (length < available or not _small_may_go(t, now, rest, available - length + rest)):
            length -= rest
    elif available > 0:
        if pipe > 0 and room < length:
            t.cwnd_limited = True
            return None
        if length < available:
            # The window, not the data, is small: silly-window avoidance of the sender (MUST-38), RFC 9293 section
            # 3.8.6.2.1: send if min(D,U) >= Fs * Max(SND.WND), with Fs = 1/2, "or the override timeout occurs".
            if length < t.max_snd_wnd >> 1 and not t.sws_override:
                t.cwnd_limited = False
                _wait_for_window(t, now, min(max(_SWS_OVERRIDE, t.rtt.rto()), SECOND))
                return None
        elif not _small_may_go(t, now, length, available):
            t.cwnd_limited = False
            return None
        if length < mss:
            t.snd_sml = start + length
    t.sws_override = False
    end = start + length
    if fin and end == t.snd_buf.end and usable > length:
        t.fin_seq = end
        end += 1
    elif length <= 0:
        return None
    t.timers[TIMER_PERSIST] = NEVER
    t.timers[TIMER_CORK] = NEVER
    t.cork_expired = False
    if length % mss:
        t.snd_sml = start + length
    if pipe == 0 and start == t.snd_una:
        # Nothing was outstanding: what follows begins a new history.
        t.scoreboard.begin(start)
        t.round_end = start
    rate.on_sent(t, t.scoreboard.add(start, end, now), now, pipe)
    t.snd_nxt = end
    t.snd_max = max(t.snd_max, end)
    t.last_sent = now
    if t.config.interactive_acks and t.last_text >= 0 and now - t.last_text < t.config.delayed_ack:
        t.interactive = True
    if pipe + length > t.flight_most or pipe == 0:
        # After all had been acknowledged a flight begins anew, and what the one before it filled says nothing of it.
        t.flight_most = pipe + length
    if t.probe_due == PROBE_TAIL:
        # This is news enough.
        t.probe_due = PROBE_NONE
    if t.congestion == OPEN and (t.dup_acks or t.scoreboard.sacked):
        t.limited_sent += length
    if t.prr.active:
        prr.on_sent(t, length)
    if t.pacing_rate:
        pacing.on_sent(t, now, length, pipe)
    t.counters.bytes_sent += length
    t.bytes_sent += length
    t.cc.on_sent(now, length, pipe + length)
    _validate_cwnd(t, now, pipe + length)
    if probe > 0:
        plpmtud.on_probe_sent(t, now, start, end)
    return _data_segment(t, now, start, end, mss)


def _small_may_go(t: Tcb, now: int, length: int, available: int) -> bool:
    """May the last `length` octets of the data, less than a segment, leave now? Nagle, Minshall and cork."""
    if length < available:
        return False
    if t.close_requested or (t.snd_urgent and t.snd_up > t.snd_nxt):
        return True
    if t.snd_buf.records and t.snd_buf.stop_after(t.snd_nxt) < t.snd_buf.end:
        # The end of a record with another behind it: nothing can be put to it any more.
        return True
    if (t.config.cork or t.more) and not t.cork_expired:
        # Corked data does not wait for ever (MUST-60).
        if t.timers[TIMER_CORK] == NEVER:
            t.timers[TIMER_CORK] = now + t.config.cork_limit
        return False
    if t.nodelay():
        return True
    if t.config.nagle == NAGLE_CLASSIC:
        # RFC 9293 section 3.7.4: "If there is unacknowledged data (i.e., SND.NXT > SND.UNA), then the sending TCP
        # endpoint buffers all user data ... until the outstanding data has been acknowledged or until the TCP
        # endpoint can send a full-sized segment".
        return t.snd_nxt == t.snd_una
    # Minshall: only an earlier *small* segment still unacknowledged holds the next small one back, so that the end of
    # a large write does not wait for the acknowledgement of its full segments.
    return t.snd_sml <= t.snd_una


def _wait_for_window(t: Tcb, now: int, interval: int) -> None:
    """Data waits for the peer's window and nothing in flight will bring news of it: the persist timer will ask.

    SHLD-29: the first probe is sent when the window was zero for a retransmission timeout period.
    """
    if t.scoreboard.is_empty() and t.timers[TIMER_PERSIST] == NEVER:
        t.timers[TIMER_PERSIST] = now + interval


def _restart_after_idle(t: Tcb, now: int, room: int) -> int:
    """RFC 5681 section 4.1: nothing was sent for more than a retransmission timeout: begin from the restart window."""
    idle = now - t.last_sent
    if t.config.idle_restart and idle > t.rtt.rto():
        before = t.cc.cwnd
        t.cc.after_idle(now, idle, t.rtt.rto())
        if t.cc.cwnd < before:
            t.counters.idle_restarts += 1
        room += t.cc.cwnd - before
    return room


def _validate_cwnd(t: Tcb, now: int, in_flight: int) -> None:
    """RFC 2861 section 3.2: a window that the program did not fill for a retransmission timeout is not known to fit."""
    if in_flight + t.snd_mss > t.cc.cwnd:
        t.cwnd_filled_at = now
        t.cwnd_used = 0
        return
    t.cwnd_used = max(t.cwnd_used, in_flight)
    if t.snd_nxt >= t.snd_buf.end and now - t.cwnd_filled_at >= t.rtt.rto():
        # Only the program's own slowness counts: the peer's window is another limit.
        if t.config.idle_restart and t.congestion == OPEN:
            t.cc.on_app_limited(now, t.cwnd_used)
        t.cwnd_filled_at = now
        t.cwnd_used = 0


def _data_segment(t: Tcb, now: int, start: int, end: int, mss: int) -> Segment:
    """A segment of the octets [start, end), whose last is the FIN if it lies there."""
    flags = ACK
    data_end = end
    if t.fin_seq >= 0 and end > t.fin_seq:
        flags |= FIN
        data_end = t.fin_seq
    payload = t.snd_buf.slice(start, data_end - start) if data_end > start else b""
    # MUST-61: "a TCP MUST set the PSH bit in the last buffered segment (i.e., when there is no more queued data)".
    # Where the program has said that more follows it is no end.
    if payload and data_end == t.snd_buf.end and (data_end != t.more_end or t.more):
        flags |= PSH
    elif payload and (data_end == t.syn_data_end or data_end in t.snd_buf.records):
        # What a SYN brings is given to the program at once (RFC 7413 section 4.2.2), and so is this in its place. The
        # end of a record is one of a SEND with PUSH.
        flags |= PSH
    seg = segment(t, now, start, flags, payload)
    if len(payload) > mss:
        seg.gso_size = mss
        if t.config.push_bursts:
            seg.flags |= PSH
    if t.ecn is not None:
        ecn.mark_data(t, seg, start, end)
    arm_retransmit(t, now)
    if t.congestion in (OPEN, CWR) and end >= t.snd_nxt:
        # A FIN is news too.
        tlp.schedule(t, now)
    return seg


def _probe(t: Tcb, now: int) -> Segment | None:
    """A segment that makes the peer answer."""
    kind = t.probe_due
    t.probe_due = PROBE_NONE
    if kind == PROBE_TAIL:
        return _tail_probe(t, now)
    if kind == PROBE_KEEPALIVE:
        # RFC 9293 section 3.8.4: "SEG.SEQ = SND.NXT-1"; SHLD-12: without data.
        t.counters.keepalive_probes += 1
        return segment(t, now, t.snd_nxt - 1, ACK, b"")
    t.counters.zero_window_probes += 1
    seq = t.snd_una
    if t.config.window_probe == WINDOW_PROBE_EMPTY and t.scoreboard.is_empty():
        return segment(t, now, seq - 1, ACK, b"")
    if seq < t.snd_buf.end:
        # RFC 9293 section 3.8.6.1: "The sending TCP peer MUST regularly transmit at least one octet of new data (if
        # available), or retransmit to the receiving TCP peer even if the send window is zero, in order to 'probe'
        # the window." SND.NXT stays: the octet is in no range until the peer takes it.
        length = 1
        first = t.scoreboard.first()
        if first is not None:
            # The window shrank over what was sent. If only its scale made it, the peer takes a granule at least.
            first.ever_retransmitted = True
            length = max(1, min(_granularity(t), first.end - seq, t.snd_buf.end - seq, t.snd_mss))
        t.snd_max = max(t.snd_max, seq + 1)
        return segment(t, now, seq, ACK | PSH, t.snd_buf.slice(seq, length))
    if t.close_requested and (t.fin_seq < 0 or t.fin_seq == seq):
        t.fin_seq = seq
        t.snd_max = max(t.snd_max, seq + 1)
        return segment(t, now, seq, ACK | FIN, b"")
    return segment(t, now, t.snd_nxt - 1, ACK, b"")


def _tail_probe(t: Tcb, now: int) -> Segment | None:
    """TLP_send_probe () (RFC 8985 section 7.3): new data beyond cwnd, or the last segment once more."""
    seg = None
    if tlp.is_due(t) and t.congestion in (OPEN, CWR):
        mss = t.snd_mss
        pipe = t.pipe()
        seg = _new_data(t, now, mss, mss, pipe, t.snd_una + t.snd_wnd)
        if seg is not None:
            tlp.on_sent(t, False)
        else:
            sent = t.scoreboard.last(mss)
            if sent is not None and sent.end <= t.snd_una + t.snd_wnd:
                seg = _resend(t, now, sent, sent.end - sent.start, mss, pipe)
                tlp.on_sent(t, True)
                t.counters.retransmitted_probe += 1
    t.timers[TIMER_PROBE] = NEVER
    if not t.scoreboard.is_empty():
        # "Rearm RTO timer to fire at timeout = now + RTO".
        t.timers[TIMER_RETRANSMIT] = now + t.rtt.rto()
    return seg
