"""What can become of a packet on a link: why it was lost, or what was done to it."""

from __future__ import annotations

from typing import Final

#: Why a packet was lost: the low 8 bits of a fate. 0: it arrived.
ARRIVED: Final = 0
LOST_RANDOM: Final = 1  #: random loss
LOST_BURST: Final = 2  #: loss of the Gilbert-Elliott model
LOST_QUEUE: Final = 3  #: no room in the queue before the link, or dropped by its management
LOST_CUT: Final = 4  #: the link was cut, or was cut while the packet was under way
LOST_MTU: Final = 5  #: larger than the link carries
LOST_RULE: Final = 6  #: a packet rule dropped it
LOST_INVALID: Final = 7  #: a super-segment or partial checksum that made no sense
LOST_NOBODY: Final = 8  #: nobody is at the other end: a crashed host, a switch that knows better
LOST_MASK: Final = 0xFF

#: What was done to it; any of these together.
CORRUPTED: Final = 0x100  #: bits were flipped
DUPLICATE: Final = 0x200  #: this is a copy that the network made
HELD_BACK: Final = 0x400  #: delayed so that later packets may overtake it
DELAYED: Final = 0x800  #: delayed by a packet rule
MARKED: Final = 0x1000  #: congestion experienced was set (RFC 3168)

CAUSES: Final = ("arrived", "loss", "burst", "queue", "cut", "mtu", "rule", "invalid", "nobody")

_LOSS_TEXT: Final = (
    "",
    "dropped: random loss",
    "dropped: burst loss",
    "dropped: queue full",
    "dropped: link cut",
    "dropped: larger than the link's MTU",
    "dropped: packet rule",
    "dropped: not a packet that can be sent",
    "dropped: nobody at the other end",
)


def describe(fate: int, note: str) -> str:
    """A comment for a capture; empty for a packet that arrived as it was sent."""
    if fate == 0:
        return note
    parts: list[str] = []
    if fate & LOST_MASK == LOST_QUEUE and note:
        parts.append("dropped: by the queue")  # the note says by which, and why
    elif fate & LOST_MASK:
        parts.append(_LOSS_TEXT[fate & LOST_MASK])
    if fate & CORRUPTED:
        parts.append("damaged")
    if fate & DUPLICATE:
        parts.append("duplicate made by the network")
    if fate & HELD_BACK:
        parts.append("held back to be overtaken")
    if fate & DELAYED:
        parts.append("delayed by a packet rule")
    if fate & MARKED:
        parts.append("congestion experienced marked")
    text = ", ".join(parts)
    return f"{text} ({note})" if note else text
