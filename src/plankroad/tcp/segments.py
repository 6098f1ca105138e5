"""Segments as they leave: header, acknowledgement and options of each kind."""

from __future__ import annotations

from typing import Final

from plankroad.tcp import ecn
from plankroad.tcp.constants import (
    SYN_RECEIVED,
    TIMER_DELAYED_ACK,
    TIMER_RETRANSMIT,
    TIMER_USER,
)
from plankroad.tcp.fastopen import load_syn
from plankroad.tcp.plpmtud import header_length
from plankroad.tcp.seq import MASK32
from plankroad.tcp.tcb import Tcb
from plankroad.tcp.window import window_field
from plankroad.units import NEVER, SECOND
from plankroad.wire.segment import ACK, RST, SYN, URG, Segment

#: RFC 5482 section 3: granularity bit for minutes.
_UTO_MINUTES: Final = 0x8000


def segment(t: Tcb, now: int, seq: int, flags: int, payload: bytes) -> Segment:
    """A segment of a synchronized connection with all that it always carries; takes pending acknowledgements along."""
    seg = Segment(
        t.local_port, t.remote_port, seq & MASK32, t.rcv_nxt & MASK32, flags, window_field(t, True), payload
    )
    seg.tos = t.tos
    if t.ts_ok:
        seg.has_ts = True
        seg.ts_val = t.ts_now(now)
        seg.ts_ecr = t.ts_recent
    acknowledged = True
    if t.sack_ok and (t.reassembly.intervals or t.dsacks):
        if t.ecn is not None and t.ecn.ack_of_ack and not payload:
            # RFC 9768 section 3.2.2.5.1: "these ACKs of ACKs MUST NOT contain any SACK blocks".
            pass
        elif not payload or len(payload) + _sack_length(t) <= t.snd_mss:
            seg.sack = _sack_blocks(t)
        else:
            # A full segment has no room for blocks, and is not cut for them: they go by themselves, after it.
            acknowledged = False
    elif t.user_timeout_due and len(payload) + 4 <= t.snd_mss:
        # RFC 5482 section 3.1: it is sent in the SYN and again once the connection is synchronized.
        t.user_timeout_due = False
        seg.user_timeout = user_timeout_option(t.user_timeout)
    if t.snd_urgent and t.snd_up > seq:
        # MUST-62: the pointer is that of the octet following the urgent data.
        if t.snd_up - seq <= 0xFFFF:
            seg.flags |= URG
            seg.urgent = t.snd_up - seq
        elif t.snd_up - seq <= 0xFFFF + len(payload):
            # The end is not in reach of 16 bits: point as far as they go.
            seg.flags |= URG
            seg.urgent = 0xFFFF
    if acknowledged:
        t.ack_now = 0 if t.ack_now <= 1 else t.ack_now - 1
        if t.dsacks and t.ack_now == 0:
            t.ack_now = 1
    t.ack_octets = 0
    t.ack_segments = 0
    t.timers[TIMER_DELAYED_ACK] = NEVER
    t.last_ack_sent = t.rcv_nxt
    if t.ecn is not None:
        ecn.stamp(t, seg)
    t.segments_sent += 1
    t.counters.segments_sent += 1
    if t.log is not None:
        log_segment(t, now, "send", seg)
    return seg


def user_timeout_option(nanoseconds: int) -> int:
    """The option's 16 bits for a timeout (RFC 5482 section 3): seconds, or minutes where they do not fit."""
    seconds = (nanoseconds + SECOND - 1) // SECOND
    if seconds < _UTO_MINUTES:
        return seconds
    return _UTO_MINUTES | min((seconds + 59) // 60, 0x7FFF)


def log_segment(t: Tcb, now: int, kind: str, seg: Segment) -> None:
    """One event a segment; only called where there is a log."""
    if t.log is None:
        return
    fields: dict[str, object] = {
        "seq": seg.seq,
        "ack": seg.ack,
        "flags": seg.flags,
        "wnd": seg.wnd,
        "length": len(seg.payload),
    }
    if seg.sack:
        fields["sack"] = seg.sack
    if kind == "send":
        fields["cwnd"] = t.cc.cwnd
        fields["in_flight"] = t.pipe()
    t.log.event(now, t.name(), kind, fields)


def _sack_length(t: Tcb) -> int:
    """Bytes that the SACK option takes in a segment sent now, NOPs and all."""
    blocks = min(len(t.reassembly.intervals) + (1 if t.dsacks else 0), _sack_room(t))
    return 4 + 8 * blocks


def _sack_room(t: Tcb) -> int:
    """Blocks that the header and the path's smallest packets have room for (MTU 68: one or none)."""
    return max(0, min(3 if t.ts_ok else 4, (t.snd_mss - 4) // 8))


def _sack_blocks(t: Tcb) -> list[tuple[int, int]]:
    """The option's blocks as they go on the wire: a duplicate first (RFC 2883 section 4), then what is held."""
    room = _sack_room(t)
    if room == 0:
        t.dsacks.clear()
        return []
    blocks: list[tuple[int, int]] = []
    if t.dsacks:
        left, right = t.dsacks.pop(0)
        blocks.append((left & MASK32, right & MASK32))
        t.counters.dsack_sent += 1
        room -= 1
    for left, right in t.reassembly.sack_blocks(room):
        blocks.append((left & MASK32, right & MASK32))
    return blocks


def bare_ack(t: Tcb, now: int) -> Segment:
    """An acknowledgement by itself."""
    return segment(t, now, t.snd_nxt, ACK, b"")


def reset(t: Tcb, now: int) -> Segment:
    """The RST that is due."""
    t.send_reset = False
    seg = Segment(t.local_port, t.remote_port, t.reset_seq & MASK32, 0, RST, 0)
    if t.reset_with_ack:
        seg.flags = RST | ACK
        seg.ack = t.rcv_nxt & MASK32
        if t.ts_ok:
            # RFC 7323 section 5.2: "If an <RST> is being generated because of a user abort, and Snd.TS.OK is set, then
            # a Timestamps option SHOULD be included in the <RST>."
            seg.has_ts = True
            seg.ts_val = t.ts_now(now)
            seg.ts_ecr = t.ts_recent
    seg.tos = t.tos
    t.counters.resets_sent += 1
    t.counters.segments_sent += 1
    t.segments_sent += 1
    if t.log is not None:
        log_segment(t, now, "send", seg)
    return seg


def syn(t: Tcb, now: int) -> Segment:
    """<SYN>, or <SYN,ACK> in SYN_RECEIVED, with the options we want or agreed to."""
    t.syn_pending = False
    answering = t.state == SYN_RECEIVED
    flags = SYN | ACK if answering else SYN
    ack = t.rcv_nxt & MASK32 if answering else 0
    # RFC 7323 section 2.2: "The window field in a segment where the SYN bit is set ... MUST NOT be scaled."
    seg = Segment(t.local_port, t.remote_port, t.iss & MASK32, ack, flags, _syn_window(t, answering))
    seg.tos = t.tos
    config = t.config
    # MUST-14, SHLD-5; MUST-67: from what the link can carry to us.
    seg.mss = max(min(t.link_mss, 65535), 1)
    if config.offer_path_mss:
        # What a search for the path's MTU begins with says nothing of the way here.
        p = t.plpmtud
        seg.mss = max(min(seg.mss, t.path_mss if p is None else p.told - header_length(t)), 1)
    if config.max_segment:
        seg.mss = min(seg.mss, config.max_segment)
    if t.ws_ok:
        seg.wscale = t.rcv_wind_shift
    seg.sack_permitted = t.sack_ok
    if t.ts_ok:
        seg.has_ts = True
        seg.ts_val = t.ts_now(now)
        seg.ts_ecr = t.ts_recent if answering else 0
    if t.user_timeout and t.user_timeout_due:
        seg.user_timeout = user_timeout_option(t.user_timeout)
    if t.syn_sent_at < 0:
        # Before ECN, whose option takes what room there is.
        load_syn(t, seg)
    if t.ecn is not None:
        ecn.set_syn_flags(t, seg, answering)
    if t.syn_sent_at < 0:
        t.syn_sent_at = now
    else:
        # RFC 7413 section 4.2.2: what is sent again is without data and option, "for compatibility reasons".
        t.syn_retransmitted = True
        t.counters.retransmitted += 1
        t.counters.retransmitted_syn += 1
        t.retransmitted_segments += 1
    t.snd_nxt = max(t.snd_nxt, t.iss + 1 + len(seg.payload))
    t.snd_max = max(t.snd_max, t.snd_nxt)
    t.ack_now = 0
    t.last_ack_sent = t.rcv_nxt
    if t.timers[TIMER_RETRANSMIT] == NEVER:
        t.timers[TIMER_RETRANSMIT] = now + t.rtt.rto()
    if t.unanswered_since < 0:
        t.unanswered_since = now
        if t.user_timeout:
            t.timers[TIMER_USER] = now + t.user_timeout
    t.segments_sent += 1
    t.counters.segments_sent += 1
    if t.log is not None:
        log_segment(t, now, "send", seg)
    return seg


def _syn_window(t: Tcb, answering: bool) -> int:
    if answering:
        return window_field(t, False)
    return min(t.rcv_buf, 65535)
