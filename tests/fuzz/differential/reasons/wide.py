"""Differences that come of what happened before more than of the step. They are asked last, for they fit much."""

from __future__ import annotations

from typing import Final

from tests.fuzz.differential.dialogue import SHUTDOWN, WRITE
from tests.fuzz.differential.difference import Difference, Explanation
from tests.fuzz.differential.peer import Answer

from plankroad.wire.segment import FIN


def _fin_and_text(d: Difference) -> bool:
    return d.contradicts() and (d.is_packet() or d.our_program.key() != d.linux_program.key())


def _amount_of_data(d: Difference) -> bool:
    """How much of what waits is sent at once."""
    waits = any(step.kind == WRITE for step in [*d.before, d.step])

    def others(answers: list[Answer]) -> list[tuple[object, ...]]:
        return [answer.key()[3:] for answer in answers if not answer.length and not answer.flags & FIN]

    data = any(answer.length for answer in [*d.ours, *d.linux])
    return (
        waits
        and data
        and d.our_program.key() == d.linux_program.key()
        and (others(d.ours) == others(d.linux) or not others(d.ours) or not others(d.linux))
    )


def _shutdown_at_the_end(d: Difference) -> bool:
    return d.step.kind == SHUTDOWN and not d.ours and not d.linux


WIDE: Final[tuple[Explanation, ...]] = (
    Explanation(
        "a FIN and text behind it",
        'RFC 9293 section 3.10.7.4 says of text behind a FIN: "This should not occur". While the FIN is not reached, '
        "which of the two counts is each stack's own.",
        _fin_and_text,
        parts=True,
    ),
    Explanation(
        "how much is sent at once",
        "Congestion control, limited transmit (RFC 3042), and silly-window avoidance (RFC 9293 section 3.8.6.2.1) "
        "are each stack's own.",
        _amount_of_data,
        parts=True,
    ),
    Explanation(
        "shutdown of a connection that has ended",
        "What a socket's call says then is not TCP's.",
        _shutdown_at_the_end,
    ),
)
