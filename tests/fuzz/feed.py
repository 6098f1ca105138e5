"""Bytes as a source of choices: what a fuzzer mutates, and what a failing case is kept as."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Feed:
    """Takes choices from `data`, front to back. Where it has ended every choice is the first one: 0, False."""

    __slots__ = ("at", "data")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def ended(self) -> bool:
        """Is nothing left to take?"""
        return self.at >= len(self.data)

    def byte(self) -> int:
        """0 to 255."""
        at = self.at
        if at >= len(self.data):
            return 0
        self.at = at + 1
        return self.data[at]

    def number(self, size: int) -> int:
        """An unsigned number of `size` bytes."""
        value = 0
        for _ in range(size):
            value = value << 8 | self.byte()
        return value

    def below(self, limit: int) -> int:
        """0 to `limit` - 1, of as few bytes as that needs."""
        size = 1
        while limit > 1 << 8 * size:
            size += 1
        return self.number(size) % limit

    def flag(self) -> bool:
        """True or False."""
        return bool(self.byte() & 1)

    def pick(self, choices: Sequence[T]) -> T:
        """One of them."""
        return choices[self.below(len(choices))]

    def some(self, limit: int) -> bytes:
        """Up to `limit` bytes as they stand."""
        size = self.below(limit + 1)
        piece = self.data[self.at : self.at + size]
        self.at += len(piece)
        return piece
