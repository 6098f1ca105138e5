"""Resets for segments that belong to no connection: a pure function of the segment."""

from __future__ import annotations

from plankroad.tcp.seq import MASK32
from plankroad.wire.segment import ACK, RST, Segment


def reset_for(seg: Segment) -> Segment | None:
    """The answer of a CLOSED connection (RFC 9293 section 3.10.7.1); None for a segment that is itself a reset."""
    # "An incoming segment not containing a RST causes a RST to be sent in response."
    if seg.flags & RST:
        return None
    if seg.flags & ACK:
        # "If the ACK bit is on, <SEQ=SEG.ACK><CTL=RST>"
        return Segment(seg.dst_port, seg.src_port, seg.ack, 0, RST, 0)
    # "If the ACK bit is off, sequence number zero is used, <SEQ=0><ACK=SEG.SEQ+SEG.LEN><CTL=RST,ACK>"
    return Segment(seg.dst_port, seg.src_port, 0, (seg.seq + seg.length()) & MASK32, RST | ACK, 0)
