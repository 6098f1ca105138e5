"""A segment arrives: RFC 9293 section 3.10.7, with the checks of RFC 5961 and RFC 7323.

The rules, in the order in which a segment of a synchronized state meets them:

    PAWS                    RFC 7323 section 5.3 R1       `_paws_rejects`
    sequence number         RFC 9293 3.10.7.4 first       `handle_segment`, `_unacceptable`
    RST                     second, RFC 5961 section 3    `_reset_received`
    SYN                     fourth, RFC 5961 section 4    `_syn_received`
    ACK                     fifth                         `ack.handle_ack`
    URG, text, FIN          sixth to eighth               `receive.handle_text`
"""

from __future__ import annotations

import errno
from typing import Final

from plankroad.tcp import ecn
from plankroad.tcp.accecn import duplicate_arrived
from plankroad.tcp.ack import handle_ack, least_ack
from plankroad.tcp.challenge import challenge_ack
from plankroad.tcp.constants import (
    CLOSED,
    CLOSING,
    LAST_ACK,
    LISTEN,
    PAWS_IDLE_LIMIT,
    STATE_NAMES,
    SYN_RECEIVED,
    SYN_SENT,
    TIME_WAIT,
)
from plankroad.tcp.ending import end_connection, restart_time_wait
from plankroad.tcp.handshake import handle_syn_sent
from plankroad.tcp.output import acknowledge
from plankroad.tcp.receive import handle_text
from plankroad.tcp.segments import log_segment
from plankroad.tcp.seq import HALF32, MASK32, unwrap
from plankroad.tcp.tcb import Tcb
from plankroad.wire.segment import ACK, FIN, RST, SYN, Segment

_MAX_DSACKS: Final = 8


def handle_segment(t: Tcb, now: int, seg: Segment) -> None:
    """Take in a segment whose checksum and four-tuple were right."""
    t.segments_received += 1
    t.counters.segments_received += 1
    if t.log is not None:
        log_segment(t, now, "receive", seg)
    state = t.state
    if state in (CLOSED, LISTEN):
        return
    if state == SYN_SENT:
        t.last_received = now
        if handle_syn_sent(t, now, seg):
            start = t.irs + 1
            payload = seg.payload[: t.rcv_adv - start]
            handle_text(t, now, seg, start, payload, bool(seg.flags & FIN) and len(payload) == len(seg.payload))
        return

    flags = seg.flags
    if t.ts_ok and not flags & RST:
        if not seg.has_ts:
            # RFC 7323 section 3.2: "If a non-<RST> segment is received without a TSopt, a TCP SHOULD silently drop the
            # segment."
            if t.config.timestamps_required and not (flags & SYN and state == SYN_RECEIVED):
                t.counters.paws_rejected += 1
                if flags & SYN:
                    # RFC 5961 section 4: a SYN is challenged "irrespective of the sequence number". A peer that began
                    # anew and has no timestamps now would never come through.
                    challenge_ack(t, now)
                return
        elif _paws_rejects(t, now, seg):
            return

    # First, the sequence number.
    start = unwrap(seg.seq, t.rcv_nxt)
    payload = seg.payload
    if t.rcv_nxt - t.rcv_buf <= start <= t.rcv_adv:
        # A sign of life; what a stranger sends blindly is none.
        t.last_received = now
        t.keepalive_probes = 0
    simultaneous = False
    if state == SYN_RECEIVED and flags & SYN and start == t.irs:
        if not flags & ACK:
            # Their SYN once more: our SYN, ACK was lost, or is on its way.
            if t.ecn is None or ecn.repeated_syn(t, now, seg):
                t.syn_pending = True
            return
        if not t.passive:
            # Simultaneous open (RFC 9293 section 3.5, figure 7): the SYN was taken in before; what is new is the ACK.
            simultaneous = True
            flags &= ~SYN
            start += 1
    length = len(payload)
    end = start + length
    if flags & SYN:
        end += 1
    if flags & FIN:
        end += 1
    edge = t.rcv_adv
    if start > t.rcv_nxt:
        # A bare acknowledgement may stand right at the edge: its sender has filled the window (docs/deviations.md).
        acceptable = start < edge or (start == edge and end == start)
    else:
        acceptable = start == t.rcv_nxt or end > t.rcv_nxt
    if not acceptable:
        _unacceptable(t, now, seg, flags, start, end)
        return

    # Second, RST.
    if flags & RST:
        _reset_received(t, now, start)
        return

    # Fourth, SYN. (The third check, security, belongs to RFC 793's option, which nobody sends: docs/deviations.md.)
    if flags & SYN:
        if state == SYN_RECEIVED and t.passive:
            # "If the connection was initiated with a passive OPEN, then return this connection to the LISTEN state."
            end_connection(t, now, errno.ECONNRESET)
        else:
            challenge_ack(t, now)
        return

    # Fifth, ACK.
    if not flags & ACK:
        return
    if state == TIME_WAIT:
        # RFC 6191 section 2 compares a SYN's timestamp with the last one of this connection.
        _record_timestamp(t, now, seg, start)
        # "The only thing that can arrive in this state is a retransmission of the remote FIN", and that lies before
        # the window: see `_unacceptable`. Anything else in the window is no part of this connection.
        if payload or flags & FIN:
            challenge_ack(t, now)
        return
    if not handle_ack(t, now, seg, start):
        return
    # RFC 7323 section 5.3, R3. Only now: who knows no acknowledgement number shall not set the clock by which the true
    # peer's segments are judged (RFC 5961's sense).
    _record_timestamp(t, now, seg, start)
    if simultaneous:
        # The peer waits for ours.
        acknowledge(t)
    if t.ecn is not None:
        ecn.arrived(t, seg)

    # Sixth to eighth.
    if t.state in (CLOSED, CLOSING, LAST_ACK, TIME_WAIT):
        return
    # Only what lies in the window is processed: trim the segment at both sides.
    fin = bool(flags & FIN)
    if start < t.rcv_nxt:
        duplicate_end = min(start + length, t.rcv_nxt)
        if length:
            _duplicate(t, start, duplicate_end)
        payload = payload[t.rcv_nxt - start :] if t.rcv_nxt - start < length else b""
        start = t.rcv_nxt
    if start + len(payload) > edge:
        t.counters.out_of_window += 1
        payload = payload[: max(0, edge - start)]
        fin = False
        acknowledge(t)
    handle_text(t, now, seg, start, payload, fin)


def may_reuse(t: Tcb, now: int, seg: Segment) -> bool:
    """May this SYN open a new connection in place of one in TIME-WAIT? RFC 6191 section 2; MAY-2 without timestamps."""
    if t.state != TIME_WAIT or seg.flags & (SYN | ACK | RST | FIN) != SYN:
        return False
    newer_seq = unwrap(seg.seq, t.rcv_nxt) > t.rcv_nxt - 1
    if t.ts_ok and seg.has_ts:
        step = (seg.ts_val - t.ts_recent) & MASK32
        if 0 < step < HALF32:
            return True
        return step == 0 and newer_seq
    if not t.ts_ok and seg.has_ts and t.config.timestamps:
        return True
    return newer_seq


def _record_timestamp(t: Tcb, now: int, seg: Segment, start: int) -> None:
    """RFC 7323 section 4.3 (2): "If: SEG.TSval >= TS.recent and SEG.SEQ <= Last.ACK.sent then SEG.TSval is copied to
    TS.Recent; otherwise, it is ignored."
    """
    if t.ts_ok and seg.has_ts and start <= t.last_ack_sent and ((seg.ts_val - t.ts_recent) & MASK32) < HALF32:
        t.ts_recent = seg.ts_val
        t.ts_recent_at = now


def _paws_rejects(t: Tcb, now: int, seg: Segment) -> bool:
    """RFC 7323 section 5.3 R1: an old timestamp marks an old duplicate."""
    if ((seg.ts_val - t.ts_recent) & MASK32) < HALF32:
        return False
    if now - t.ts_recent_at > PAWS_IDLE_LIMIT:
        # Section 5.5: TS.Recent is too old to be compared with: "the segment is accepted regardless of the failure of
        # the timestamp check, and rule R3 updates TS.Recent with the TSval from the new segment."
        t.ts_recent = (seg.ts_val - 1) & MASK32
        return False
    t.counters.paws_rejected += 1
    # "If the segment is not acceptable ... send an acknowledgment in reply as specified in RFC 793 page 69 and drop
    # the segment."
    if seg.payload:
        start = unwrap(seg.seq, t.rcv_nxt)
        if start + len(seg.payload) <= t.rcv_nxt:
            _duplicate(t, start, start + len(seg.payload))
        acknowledge(t)
    else:
        challenge_ack(t, now)
    return True


def _unacceptable(t: Tcb, now: int, seg: Segment, flags: int, start: int, end: int) -> None:
    """Outside of the window: acknowledge what we have, and drop it."""
    if flags & RST:
        t.counters.resets_ignored += 1
        return
    if t.state == TIME_WAIT and t.rcv_nxt - t.rcv_buf <= start and end <= t.rcv_nxt and (flags & FIN or seg.payload):
        # RFC 9293 section 3.10.7.4, eighth, TIME-WAIT: "Restart the 2 MSL time-wait timeout." A peer that lost our
        # last ACK may begin with the data before its FIN.
        restart_time_wait(t, now)
        acknowledge(t)
        return
    if t.rcv_nxt - t.rcv_buf <= start and end <= t.rcv_nxt and flags & ACK and _ack_is_known(t, seg):
        # The ACK answers this copy, not the one of long ago: or the sender, having lost our first ACK, would take the
        # wait for its own timer as a round trip.
        _record_timestamp(t, now, seg, start)
    if flags & SYN:
        if flags & ACK and t.ecn is not None and start == t.irs:
            ecn.repeated_syn_ack(t, seg)
        challenge_ack(t, now)
        return
    if end <= t.rcv_nxt and seg.payload:
        _duplicate(t, start, min(end, start + len(seg.payload)))
        acknowledge(t)
        return
    t.counters.out_of_window += 1
    if seg.payload or flags & FIN:
        acknowledge(t)
    else:
        # Without a limit two ends that disagree would acknowledge each other for ever.
        challenge_ack(t, now)


def _ack_is_known(t: Tcb, seg: Segment) -> bool:
    """RFC 5961 section 5.2, asked of a segment whose sequence number proves little."""
    ack = unwrap(seg.ack, t.snd_una)
    return least_ack(t) <= ack <= t.snd_max


def _duplicate(t: Tcb, start: int, end: int) -> None:
    """Octets that we have already: count them, and report them (RFC 2883 section 4)."""
    t.counters.duplicates_received += 1
    if t.ecn is not None:
        duplicate_arrived(t.ecn)
    if t.sack_ok and t.config.dsack and end > start and len(t.dsacks) < _MAX_DSACKS:
        t.dsacks.append((start, end))
    acknowledge(t)


def _reset_received(t: Tcb, now: int, start: int) -> None:
    """RFC 5961 section 3: only the exact sequence number resets; one inside the window is asked for proof."""
    t.counters.resets_received += 1
    if t.state == TIME_WAIT:
        # RFC 1337: a reset must not cut TIME-WAIT short, or old segments could disturb the next incarnation.
        t.counters.resets_ignored += 1
        return
    if start < t.rcv_nxt or (start >= t.rcv_adv and start != t.rcv_nxt):
        # RFC 9293 section 3.10.7.4, second: "If the RST bit is set and the sequence number is outside the current
        # receive window, silently drop the segment." Text that reaches into the window does not make it another.
        t.counters.resets_ignored += 1
        return
    if start != t.rcv_nxt:
        challenge_ack(t, now)
        return
    if t.log is not None:
        t.log.event(now, t.name(), "reset", {"state": STATE_NAMES[t.state]})
    if t.state == SYN_RECEIVED:
        end_connection(t, now, errno.ECONNRESET if t.passive else errno.ECONNREFUSED)
    elif t.state in (CLOSING, LAST_ACK) and t.snd_una >= t.snd_nxt - 1:
        # Both sides are done: a reset in place of the last acknowledgement takes nothing away.
        end_connection(t, now, 0)
    else:
        t.counters.established_resets += 1
        end_connection(t, now, errno.ECONNRESET)
