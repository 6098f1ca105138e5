"""Differences after a FIN, a RST or the program's close."""

from __future__ import annotations

from errno import ECONNRESET, EPIPE
from typing import Final

from tests.fuzz.differential.dialogue import CLOSE, PACKET, SHUTDOWN, WRITE
from tests.fuzz.differential.difference import Difference, Explanation

from plankroad.wire.segment import FIN, RST


def _text_after_fin(d: Difference) -> bool:
    beyond = d.step.from_edge or d.step.seq + d.step.length > d.acked() - 1
    return d.is_packet() and d.ended() and beyond and all(a.flags & RST for a in d.linux) and bool(d.linux)


def _reset_before_fin(d: Difference) -> bool:
    """Some RST of the peer stood just below the number that was awaited, after its FIN."""
    acked = d.acked()
    return d.ended() and any(
        step.kind == PACKET and step.flags & RST and step.seq == acked - 1 for step in [*d.before, d.step]
    )


def _reset_behind_held(d: Difference) -> bool:
    """The number behind the last octet that is held out of order."""
    held = [right for answers in d.said for answer in answers for _, right in answer.sack if isinstance(right, int)]
    return d.is_packet() and bool(d.step.flags & RST) and not d.linux and d.step.seq == max(held, default=-1)


def _fin_ahead_after_close(d: Difference) -> bool:
    closed = any(step.kind == CLOSE for step in d.before)
    ahead = bool(d.step.flags & FIN) and not d.step.length and (d.step.from_edge or d.step.seq > d.acked())
    return d.is_packet() and closed and ahead and bool(d.linux) and all(a.flags & RST for a in d.linux)


def _after_close(d: Difference) -> bool:
    closed = any(step.kind == CLOSE for step in d.before)
    resets = [*d.ours, *d.linux]
    return d.is_packet() and closed and bool(d.ours) and bool(d.linux) and all(a.flags & RST for a in resets)


def _held_at_close(d: Difference) -> bool:
    acked = d.acked()
    held = any(step.kind == PACKET and step.length and (step.from_edge or step.seq > acked) for step in d.before)
    return d.step.kind == CLOSE and held and bool(d.ours) and bool(d.ours[-1].flags & RST)


def _fin_and_text(d: Difference) -> bool:
    return d.contradicts() and (d.is_packet() or d.our_program.key() != d.linux_program.key())


def _shutdown_at_the_end(d: Difference) -> bool:
    return d.step.kind == SHUTDOWN and not d.ours and not d.linux


def _written_after_reset(d: Difference) -> bool:
    """A write, after a FIN of the peer's and a RST behind it."""
    kinds = [step.flags for step in d.before if step.kind == PACKET]
    fins = [at for at, flags in enumerate(kinds) if flags & FIN]
    return (
        d.step.kind == WRITE
        and (d.our_program.error, d.linux_program.error) == (ECONNRESET, EPIPE)
        and bool(fins)
        and any(flags & RST for flags in kinds[fins[0] + 1 :])
    )


ENDING: Final[tuple[Explanation, ...]] = (
    Explanation(
        "text after the peer's FIN",
        'RFC 9293 section 3.10.7.4, seventh: "This should not occur since a FIN has been received from the remote '
        "side. "
        'Ignore the segment text"; Linux resets where it begins before RCV.NXT.',
        _text_after_fin,
        parts=True,
    ),
    Explanation(
        "a reset just below RCV.NXT after a FIN",
        "RFC 5961 section 3.2: only the exact number resets. Linux also takes the number of the FIN, which some "
        "systems "
        "send.",
        _reset_before_fin,
        parts=True,
    ),
    Explanation(
        "a write after a FIN and a reset",
        'RFC 9293 section 3.10.7.4, second: "any outstanding RECEIVEs and SEND should receive "reset" responses"; in '
        "CLOSE-WAIT Linux says EPIPE.",
        _written_after_reset,
    ),
    Explanation(
        "a reset behind what is held",
        "RFC 5961 section 3.2: only RCV.NXT resets. Linux also takes the right edge of the highest SACK block.",
        _reset_behind_held,
        parts=True,
    ),
    Explanation(
        "the form of a reset after close",
        "RFC 9293 section 3.6.1 (SHLD-3) wants a reset; section 3.10.5 has it as <SEQ=SND.NXT>, Linux answers as a "
        "CLOSED "
        "connection would.",
        _after_close,
    ),
    Explanation(
        "a FIN behind a hole after close",
        'RFC 9293 section 3.6.1 (SHLD-3) is about "new data"; Linux resets for a FIN alone that is not the next in '
        "order.",
        _fin_ahead_after_close,
        parts=True,
    ),
    Explanation(
        "text that is held at close",
        'RFC 9293 section 3.6.1 (SHLD-3): "while received data is still pending"; we count what is held behind a '
        "hole.",
        _held_at_close,
        parts=True,
    ),
    Explanation(
        "a FIN and text behind it",
        'RFC 9293 section 3.10.7.4 says of text behind a FIN: "This should not occur". While the FIN is not '
        "reached, which of "
        "the two counts is each stack's own.",
        _fin_and_text,
        parts=True,
    ),
    Explanation(
        "shutdown of a connection that has ended",
        "What a socket's call says then is not TCP's.",
        _shutdown_at_the_end,
    ),
)
