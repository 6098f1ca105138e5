"""Differences in windows, acknowledgements, urgent data, and in what is sent when."""

from __future__ import annotations

from copy import copy
from typing import Final

from tests.fuzz.differential.dialogue import PACKET, READ
from tests.fuzz.differential.difference import Difference, Explanation
from tests.fuzz.differential.windows import send_windows

from plankroad.wire.segment import ACK, FIN, RST, SYN, URG


def _urgent_mark(d: Difference) -> bool:
    """Linux's reads end at the urgent mark."""
    urgent = any(step.kind == PACKET and step.flags & URG for step in d.before)
    ours, linux = d.our_program.data, d.linux_program.data
    return d.step.kind == READ and urgent and len(linux) < len(ours) and ours.startswith(linux)


def _without_ack(d: Difference) -> bool:
    return d.is_packet() and not d.step.flags & (ACK | RST | SYN) and not d.linux and len(d.ours) == 1


def _beyond_edge(d: Difference) -> bool:
    crosses = d.step.seq <= 0 and d.step.seq + d.step.length >= 0
    return d.is_packet() and d.step.from_edge and (crosses or abs(d.step.seq) <= 1)


def _beyond_what_was_told(d: Difference) -> bool:
    """Behind the edge, where no scale was agreed to: Linux takes it, we acknowledge."""
    scaled = any("wscale" in answer.options.split() for answers in d.said for answer in answers)
    if scaled or not d.is_packet() or not d.step.from_edge or d.step.seq <= 0 or d.step.flags & (SYN | RST):
        return False
    if len(d.ours) != 1 or d.ours[0].flags != ACK or d.ours[0].length:
        return False
    held = [(f"edge{d.step.seq:+d}", f"edge{d.step.seq + d.step.length:+d}"), *d.ours[0].sack]
    return d.differ_in("sack") and list(d.linux[0].sack) == held if d.step.length else not d.linux


def _before_window(d: Difference) -> bool:
    """The segment ends exactly at RCV.NXT: Linux still takes its ACK, window and flags."""
    length = d.step.length + bool(d.step.flags & SYN) + bool(d.step.flags & FIN)
    ends = not d.step.from_edge and length > 0 and d.step.seq + length == d.acked()
    return d.is_packet() and d.is_open() and ends and not d.differ_in("sack")


def _whose_window(d: Difference) -> bool:
    """Only one of the two sends text or FIN, and each does what its rule for the window says: see `windows`."""
    if d.our_program.key() != d.linux_program.key():
        return False
    ours, linux = (any(a.length or a.flags & FIN for a in answers) for answers in (d.ours, d.linux))
    return ours != linux and any(
        ours == (windows.nxt < windows.ours) and linux == (windows.nxt < windows.linux) for windows in send_windows(d)
    )


def _acknowledged_first(d: Difference) -> bool:
    """The same text or FIN of both, and an acknowledgement before it of Linux's that says nothing more."""
    if len(d.ours) != 1 or len(d.linux) != 2:
        return False
    first, second = d.linux
    bare = first.flags == ACK and not first.length
    # A duplicate is reported once, by the first that goes.
    joined = copy(second)
    joined.sack = first.sack
    says = (first.seq, first.ack, first.ts_ecr) == (second.seq, second.ack, second.ts_ecr) and d.ours[0] == joined
    return d.is_packet() and bare and says and bool(second.length or second.flags & FIN)


def _sequence_of_bare_ack(d: Difference) -> bool:
    """The peer took back window that we had used: Linux's bare acknowledgements stay within what is left."""
    pair = d.one_each()
    if pair is None or not d.differ_in("seq") or pair[0].length:
        return False
    ours, linux = pair[0].seq, pair[1].seq
    return any(ours == windows.nxt > windows.linux == linux for windows in send_windows(d))


def _old_ack(d: Difference) -> bool:
    return d.is_packet() and d.step.ack is not None and d.step.ack < 1 and d.differ_in("ack", "ts_ecr", "sack")


FLOW: Final[tuple[Explanation, ...]] = (
    Explanation(
        "no ACK, RST or SYN",
        'RFC 9293 section 3.10.7.4, first, comes before fifth ("if the ACK bit is off, drop the segment"): one '
        "outside of the window is answered. Linux drops it first.",
        _without_ack,
    ),
    Explanation(
        "text at or beyond the window's right edge",
        'RFC 9293 section 3.10.7.4: what begins at the edge is outside; what crosses it is trimmed ("trimming off '
        'any portions that lie outside the window"). Linux has one octet more at the edge, and discards all that '
        "crosses.",
        _beyond_edge,
        parts=True,
    ),
    Explanation(
        "text beyond what an unscaled window can tell",
        "RFC 9293 section 3.10.7.4: what lies behind RCV.NXT+RCV.WND is not acceptable; RCV.WND is what was offered. "
        "Where no scale is agreed to, Linux's own window may be larger than the 65,535 that it can tell the peer.",
        _beyond_what_was_told,
        parts=True,
    ),
    Explanation(
        "a segment that ends at RCV.NXT",
        "RFC 9293 section 3.4: not acceptable, so only acknowledged. Linux goes on to its flags, ACK and window.",
        _before_window,
        parts=True,
    ),
    Explanation(
        "data with an acknowledgement from before the SYN",
        'RFC 5961 section 5.2: "MUST be discarded and an ACK sent back"; Linux\' quick path takes text and timestamp '
        "first.",
        _old_ack,
        parts=True,
    ),
    Explanation(
        "the sequence number of an acknowledgement behind a window that was taken back",
        "RFC 9293 section 3.10.7.4: <SEQ=SND.NXT>; Linux stays within the window that is left.",
        _sequence_of_bare_ack,
    ),
    Explanation(
        "which segment's window counts",
        "RFC 9293 section 3.10.7.4, fifth, has SND.WL1 and SND.WL2 say whose window counts, and of a segment that is "
        "not acceptable none does. Linux also takes that of a segment that acknowledges something new, of one after "
        "text in order, whatever stood ahead before, of one that ends at RCV.NXT or begins at the right edge, and of "
        "one whose timestamp is missing; but no smaller one of the same number.",
        _whose_window,
        parts=True,
    ),
    Explanation(
        "an acknowledgement before text or FIN",
        'RFC 9293 section 3.10.7.4, seventh: "This acknowledgment should be piggybacked on a segment being '
        'transmitted if possible without incurring undue delay"; Linux sends it by itself, and then what an opened '
        "window allows.",
        _acknowledged_first,
    ),
    Explanation(
        "a read at the urgent mark",
        "RFC 9293 section 3.8.5 leaves the interface open; reads of Linux's sockets end at the mark.",
        _urgent_mark,
        parts=True,
    ),
)
