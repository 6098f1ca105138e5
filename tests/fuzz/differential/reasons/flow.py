"""Differences in windows, acknowledgements, urgent data, and in what is sent when."""

from __future__ import annotations

from typing import Final

from tests.fuzz.differential.dialogue import PACKET, READ, WRITE
from tests.fuzz.differential.difference import Difference, Explanation
from tests.fuzz.differential.peer import Answer

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


def _before_window(d: Difference) -> bool:
    """The segment ends exactly at RCV.NXT: Linux still takes its ACK, window and flags."""
    length = d.step.length + bool(d.step.flags & SYN) + bool(d.step.flags & FIN)
    return d.is_packet() and d.is_open() and length > 0 and d.step.seq + length == d.acked()


def _amount_of_data(d: Difference) -> bool:
    """How much of what waits is sent at once."""
    waits = any(step.kind == WRITE for step in [*d.before, d.step])

    def others(answers: list[Answer]) -> list[tuple[object, ...]]:
        return [answer.key()[3:] for answer in answers if not answer.length and not answer.flags & FIN]

    data = any(answer.length or answer.flags & FIN for answer in [*d.ours, *d.linux])
    return (
        waits
        and data
        and d.our_program.key() == d.linux_program.key()
        and (others(d.ours) == others(d.linux) or not others(d.ours) or not others(d.linux))
    )


def _sequence_of_bare_ack(d: Difference) -> bool:
    """The peer took back window that we had used: Linux's bare acknowledgements stay within what is left."""
    pair = d.one_each()
    shrunk = any(step.kind == PACKET and step.wnd < 10_000 for step in [*d.before, d.step])
    return pair is not None and d.differ_in("seq") and not pair[0].length and shrunk


def _old_ack(d: Difference) -> bool:
    return d.is_packet() and d.step.ack is not None and d.step.ack < 1 and d.differ_in("ack", "ts_ecr", "sack")


FLOW: Final[tuple[Explanation, ...]] = (
    Explanation(
        "no ACK, RST or SYN",
        'RFC 9293 section 3.10.7.4, first, comes before fifth ("if the ACK bit is off, drop the segment"): one '
        "outside of "
        "the window is answered. Linux drops it first.",
        _without_ack,
    ),
    Explanation(
        "text at or beyond the window's right edge",
        'RFC 9293 section 3.10.7.4: what begins at the edge is outside; what crosses it is trimmed ("trimming off any '
        'portions that lie outside the window"). Linux has one octet more at the edge, and discards all that crosses.',
        _beyond_edge,
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
        'RFC 5961 section 5.2: "MUST be discarded and an ACK sent back"; Linux\' quick path takes text and '
        "timestamp first.",
        _old_ack,
        parts=True,
    ),
    Explanation(
        "the sequence number of an acknowledgement behind a window that was taken back",
        "RFC 9293 section 3.10.7.4: <SEQ=SND.NXT>; Linux stays within the window that is left.",
        _sequence_of_bare_ack,
    ),
    Explanation(
        "a read at the urgent mark",
        "RFC 9293 section 3.8.5 leaves the interface open; reads of Linux's sockets end at the mark.",
        _urgent_mark,
        parts=True,
    ),
    Explanation(
        "how much is sent at once",
        "Congestion control, limited transmit (RFC 3042), and silly-window avoidance (RFC 9293 section 3.8.6.2.1) "
        "are each "
        "stack's own.",
        _amount_of_data,
        parts=True,
    ),
)
