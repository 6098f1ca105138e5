"""Differences in the handshake."""

from __future__ import annotations

from typing import Final

from tests.fuzz.differential.dialogue import PACKET
from tests.fuzz.differential.difference import Difference, Explanation

from plankroad.wire.segment import ACK, FIN, RST, SYN


def _syn_in_syn_received(d: Difference) -> bool:
    if not d.is_packet() or not d.step.flags & SYN or d.is_open():
        return False
    # With text or FIN it reaches into the window: we return to LISTEN, Linux acknowledges.
    text = (
        bool(d.step.flags & ACK and (d.step.length or d.step.flags & FIN)) and not d.ours and d.linux_acknowledges()
    )
    return text or all(answer.flags & RST for answer in d.linux)


def _bad_ack_before_window(d: Difference) -> bool:
    answers_reset = bool(d.linux) and all(a.flags & RST for a in d.linux)
    bare = len(d.ours) == 1 and not d.ours[0].flags & (SYN | RST | FIN) and not d.ours[0].length
    return d.is_packet() and not d.is_open() and bool(d.step.flags & ACK) and answers_reset and bare


def _echo_in_syn_received(d: Difference) -> bool:
    """The handshake's last ACK echoes the timestamp of a challenge ACK, not that of the SYN,ACK."""
    challenged = bool(d.said) and any(
        answer.flags == ACK and not answer.length for answers in d.said[-4:] for answer in answers
    )
    if d.is_open() or not challenged:
        return False
    if d.step.kind != PACKET:
        # Both have acknowledged what came, text out of order; but only our program has a connection.
        last = d.before[-1] if d.before else d.step
        waits = last.kind == PACKET and last.flags & (SYN | ACK | RST) == ACK and last.ts is not None
        return waits and last.ack == 1 and last.seq > d.acked()
    bare = len(d.linux) == 1 and d.linux[0].flags == ACK and d.linux[0].ts_ecr is not None
    return d.is_packet() and bare and d.step.ts is not None


def _syn_data(d: Difference) -> bool:
    return any(step.kind == PACKET and step.flags & SYN and step.length for step in d.before)


def _syn_fin(d: Difference) -> bool:
    return d.is_packet() and d.step.flags & (SYN | FIN) == SYN | FIN and not d.linux and bool(d.ours)


OPENING: Final[tuple[Explanation, ...]] = (
    Explanation(
        "a SYN in SYN-RECEIVED",
        'RFC 9293 section 3.10.7.4, fourth: "If the connection was initiated with a passive OPEN, then return this '
        'connection to the LISTEN state and return"; Linux sends the reset of RFC 793. A SYN,ACK at the number of '
        "the first SYN lies before the window and is acknowledged here; with text or FIN it reaches in, and Linux "
        "acknowledges that too.",
        _syn_in_syn_received,
        parts=True,
    ),
    Explanation(
        "an old segment with a wrong ACK in SYN-RECEIVED",
        'RFC 9293 section 3.10.7.4 checks the sequence number first: "If an incoming segment is not acceptable, an '
        'acknowledgment should be sent in reply"; Linux resets for the ACK (section 3.5.2, group 2).',
        _bad_ack_before_window,
    ),
    Explanation(
        "text in a SYN",
        'RFC 9293 section 3.10.7.2, third: "any other control or text should be queued for processing later"; Linux '
        "drops it unless Fast Open allows it.",
        _syn_data,
        parts=True,
    ),
    Explanation(
        "SYN and FIN in one segment",
        "RFC 9293 section 3.10.7.2 looks at RST, ACK and SYN; a FIN with them is no reason to ignore a SYN. Linux "
        "does, as some firewalls do.",
        _syn_fin,
        parts=True,
    ),
    Explanation(
        "the echo in a handshake",
        "RFC 7323 has no check of TSecr; Linux takes in SYN-RECEIVED only those that its SYN,ACKs had, not those of "
        "challenge ACKs in between.",
        _echo_in_syn_received,
        parts=True,
    ),
)
