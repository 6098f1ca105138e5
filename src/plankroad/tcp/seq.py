"""Sequence numbers: 32 bits on the wire, unbounded inside.

A number that arrives is unwrapped, once, to the value congruent to it that is nearest to a number we hold; then plain
`<` compares, and the wrap at 4 GiB cannot be forgotten anywhere. `& MASK32` turns it back.
"""

from __future__ import annotations

from typing import Final

MASK32: Final = 0xFFFFFFFF
HALF32: Final = 0x80000000


def unwrap(value: int, near: int) -> int:
    """The integer congruent to `value` modulo 2**32 in [near - 2**31, near + 2**31)."""
    return near - HALF32 + ((value - near + HALF32) & MASK32)
