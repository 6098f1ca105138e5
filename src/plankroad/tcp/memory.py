"""What connections hold, in bytes, and the one number that bounds it for all connections of a stack.

The sum is kept by who owns the connections (`stack.shed`), once each time that a connection was served, never by a
segment. Here is only what a connection must know: whether memory is short, and what it holds itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from plankroad.tcp.reassembly import INTERVAL_COST

if TYPE_CHECKING:
    from plankroad.tcp.tcb import Tcb

#: What a connection without any data costs, with its entries in the tables of a stack: 5.2 KB as measured by
#: tracemalloc on CPython 3.11 (6.9 KB half-open, with all that a SYN of a stranger leaves), 4.5 KB compiled.
CONNECTION_COST: Final = 7168
#: What a range of the scoreboard costs: 276 bytes, 160 compiled.
RANGE_COST: Final = 288


class Memory:
    """The account of a stack: bytes in use by connections, their bound, and where it begins to be short."""

    __slots__ = ("limit", "pressure", "used")

    def __init__(self, limit: int) -> None:
        """`limit`: bytes, `StackConfig.memory`."""
        self.limit: int = limit
        #: Above this buffers grow no more.
        self.pressure: int = limit - (limit >> 2)
        self.used: int = 0

    def is_short(self) -> bool:
        """Are three quarters in use?"""
        return self.used > self.pressure


def held_by(t: Tcb) -> int:
    """Bytes that a connection holds: itself, unacknowledged and unsent data, unread data, data out of order."""
    board = t.scoreboard
    buffer = t.snd_buf
    return (
        CONNECTION_COST
        + buffer.end
        - buffer.start
        + t.rcv_queued
        + t.reassembly.octets
        + INTERVAL_COST * len(t.reassembly.intervals)
        + RANGE_COST * (len(board.ranges) - board.head())
    )
