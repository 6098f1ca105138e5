"""Text, urgent pointer and FIN of a segment: the sixth to eighth steps of RFC 9293 section 3.10.7.4."""

from __future__ import annotations

import errno
from typing import Final

from plankroad.endpoint import EVENT_EOF, EVENT_READABLE, EVENT_URGENT
from plankroad.tcp.autotune import on_data, on_taken
from plankroad.tcp.constants import (
    CLOSE_WAIT,
    CLOSING,
    ESTABLISHED,
    FIN_WAIT_1,
    FIN_WAIT_2,
    TIMER_DELAYED_ACK,
)
from plankroad.tcp.ending import abort_connection, enter_time_wait, set_state
from plankroad.tcp.output import acknowledge
from plankroad.tcp.seq import unwrap
from plankroad.tcp.tcb import Tcb
from plankroad.tcp.window import hold_limit
from plankroad.units import NEVER
from plankroad.wire.segment import URG, Segment

_JOIN_BELOW: Final = 4096


def handle_text(t: Tcb, now: int, seg: Segment, start: int, payload: bytes, fin: bool) -> None:
    """Take in what begins at `start`, no earlier than RCV.NXT and inside of the window."""
    if t.rcv_eof:
        # "This should not occur since a FIN has been received from the remote side. Ignore the segment text."
        return
    if seg.flags & URG:
        _urgent(t, unwrap(seg.seq, t.rcv_nxt), seg.urgent)
    end = start + len(payload)
    if fin and (t.rcv_fin_seq < 0 or end < t.rcv_fin_seq):
        t.rcv_fin_seq = end
    elif t.rcv_fin_seq >= 0 and end > t.rcv_fin_seq:
        if fin:
            # Nothing comes after a FIN.
            payload = payload[: max(0, t.rcv_fin_seq - start)]
        elif payload:
            # Text after a FIN that we hold and have not reached: one of the two is forged. If it is the FIN, it must
            # not cut off the stream; if it is the text, the FIN comes again. What has no text stands behind the FIN by
            # right: RFC 9293 section 3.4, "the FIN is considered to occur after the last actual data octet in a segment
            # in which it occurs", so that every acknowledgement after it has the number that follows.
            t.rcv_fin_seq = -1
    if t.reassembly.intervals and t.reassembly.intervals[0].start <= t.rcv_nxt:
        # Text that came with the SYN.
        _take_reassembled(t)
        acknowledge(t)
        if start < t.rcv_nxt:
            payload = payload[t.rcv_nxt - start :]
            start = t.rcv_nxt
    if payload:
        if t.released:
            # RFC 9293 section 3.6.1 (SHLD-3): "If such a host issues a CLOSE call while received data is still
            # pending, or if new data is received after CLOSE is called, its TCP implementation SHOULD send a RST to
            # show that data was lost."
            t.counters.data_after_close += 1
            abort_connection(t, now, errno.ECONNRESET)
            # Section 3.5.2: "If the incoming segment has an ACK field, the reset takes its sequence number from the ACK
            # field of the segment". A peer that missed our FIN takes no other (RFC 5961 section 3.2).
            t.reset_seq = seg.ack
            t.reset_with_ack = False
            return
        if start == t.rcv_nxt:
            _in_order(t, now, seg, payload)
        else:
            _out_of_order(t, start, payload)
            space = t.rcv_space
            if space.on and (now >= space.due or t.rcv_nxt - t.rcv_queued + t.reassembly.octets >= space.grow_at):
                on_taken(t, now)
    if t.rcv_nxt > t.rcv_fin_seq:
        # A FIN below text that we held: the peer contradicts itself; what it sent first counts.
        t.rcv_fin_seq = -1
    if t.rcv_fin_seq >= 0:
        if t.rcv_nxt == t.rcv_fin_seq:
            _fin(t, now)
        elif fin:
            # The FIN came before its data: say at once what is missing.
            acknowledge(t)


def _in_order(t: Tcb, now: int, seg: Segment, payload: bytes) -> None:
    length = len(payload)
    queue(t, payload)
    t.last_text = now
    size = seg.gso_size if seg.gso_size else length
    if size > t.rcv_mss:
        t.rcv_mss = size
    space = t.rcv_space
    if space.on and (seg.ts_ecr != space.echo or t.rcv_nxt > space.edge):
        on_data(t, now, seg)
    t.ack_octets += length
    t.ack_segments += 1
    filled_gap = False
    if t.reassembly.intervals:
        filled_gap = True
        first = t.reassembly.intervals[0]
        if first.start < t.rcv_nxt and t.sack_ok and t.config.dsack and not t.dsacks:
            # RFC 2883 section 4: part of it was here already. One segment, one answer.
            t.dsacks.append((first.start, min(first.end, t.rcv_nxt)))
        _take_reassembled(t)
    t.events |= EVENT_READABLE
    # RFC 5681 section 4.2: "an ACK SHOULD be generated for at least every second full-sized segment", "a TCP receiver
    # SHOULD send an immediate ACK when it receives a data segment that fills in all or part of a gap".
    if filled_gap or t.ack_octets >= 2 * t.rcv_mss:
        acknowledge(t)
    elif t.quick_acks > 0 and not t.interactive:
        t.quick_acks -= 1
        acknowledge(t)
    elif t.timers[TIMER_DELAYED_ACK] == NEVER:
        t.timers[TIMER_DELAYED_ACK] = now + t.config.delayed_ack


def _out_of_order(t: Tcb, start: int, payload: bytes) -> None:
    """Hold it (SHLD-31) and acknowledge at once (RFC 5681 section 4.2; MAY-13)."""
    t.counters.out_of_order_received += 1
    end = start + len(payload)
    held = t.reassembly.covering(start, end)
    if held is not None:
        t.counters.duplicates_received += 1
        t.reassembly.touch(held)
        if t.sack_ok and t.config.dsack and len(t.dsacks) < 8:
            t.dsacks.append((start, end))
    elif t.reassembly.insert(start, payload, hold_limit(t)) == 0:
        t.counters.out_of_order_dropped += 1
    t.counters.duplicate_acks_sent += 1
    if t.sack_ok:
        acknowledge(t)
    elif t.ack_now < 64:
        # Without SACK the sender counts duplicates: each segment is worth one, batch or no batch.
        t.ack_now += 1


def queue(t: Tcb, payload: bytes) -> None:
    """Put octets that begin at RCV.NXT where the program reads them."""
    length = len(payload)
    queue = t.rcv_queue
    if len(queue) > t.rcv_queue_head and len(queue[-1]) + length <= _JOIN_BELOW:
        queue[-1] += payload
    else:
        queue.append(payload)
    t.rcv_queued += length
    t.rcv_nxt += length
    t.bytes_received += length
    t.counters.bytes_received += length


def _take_reassembled(t: Tcb) -> None:
    """What was held and now follows without a gap."""
    for piece in t.reassembly.pop(t.rcv_nxt):
        queue(t, piece)
    t.events |= EVENT_READABLE


def _urgent(t: Tcb, start: int, pointer: int) -> None:
    """RCV.UP <- max(RCV.UP, SEG.UP); tell the program when it moves (MUST-32). RFC 6093: the octet after the last."""
    up = start + pointer
    if up > t.rcv_up:
        t.rcv_up = up
        if up > t.rcv_nxt - t.rcv_queued:
            t.rcv_urgent = True
            t.counters.urgent_received += 1
            t.events |= EVENT_URGENT


def _fin(t: Tcb, now: int) -> None:
    """Everything before the FIN is here: the eighth step."""
    t.rcv_nxt += 1
    t.rcv_adv = max(t.rcv_adv, t.rcv_nxt)
    t.rcv_eof = True
    # Nothing urgent comes after the end.
    t.rcv_up = min(t.rcv_up, t.rcv_nxt - 1)
    if t.rcv_up <= t.rcv_nxt - 1 - t.rcv_queued:
        t.rcv_urgent = False
    t.reassembly.clear()
    t.events |= EVENT_EOF | EVENT_READABLE
    acknowledge(t)
    state = t.state
    if state == ESTABLISHED:
        set_state(t, now, CLOSE_WAIT)
    elif state == FIN_WAIT_1:
        # Our FIN is not acknowledged, or this segment's ACK would have brought us to FIN_WAIT_2.
        set_state(t, now, CLOSING)
    elif state == FIN_WAIT_2:
        enter_time_wait(t, now)
