"""Back-pressure towards a protocol: `pause_writing` above the high-water mark, `resume_writing` at the low one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

#: asyncio's own default.
HIGH_WATER: Final = 64 * 1024


class WriteLimits:
    """The two marks, and whether the protocol has been told to pause."""

    __slots__ = ("high", "low", "paused")

    def __init__(self) -> None:
        self.high = HIGH_WATER
        self.low = HIGH_WATER // 4
        self.paused = False

    def set(self, high: int | None, low: int | None) -> None:
        """As `asyncio.WriteTransport.set_write_buffer_limits`. Raises ValueError unless high >= low >= 0."""
        if high is None:
            high = HIGH_WATER if low is None else 4 * low
        if low is None:
            low = high // 4
        if not high >= low >= 0:
            raise ValueError(f"high ({high!r}) must be >= low ({low!r}) must be >= 0")
        self.high = high
        self.low = low

    def after_write(
        self,
        size: int,
        loop: asyncio.AbstractEventLoop,
        protocol: asyncio.BaseProtocol,
        transport: asyncio.BaseTransport,
    ) -> None:
        """`size` bytes are buffered, more than before."""
        if size > self.high and not self.paused:
            self.paused = True
            _tell("pause_writing", protocol.pause_writing, loop, protocol, transport)

    def after_send(
        self,
        size: int,
        loop: asyncio.AbstractEventLoop,
        protocol: asyncio.BaseProtocol,
        transport: asyncio.BaseTransport,
    ) -> None:
        """`size` bytes are buffered, fewer than before."""
        if self.paused and size <= self.low:
            self.paused = False
            _tell("resume_writing", protocol.resume_writing, loop, protocol, transport)


def _tell(
    name: str,
    method: Callable[[], None],
    loop: asyncio.AbstractEventLoop,
    protocol: asyncio.BaseProtocol,
    transport: asyncio.BaseTransport,
) -> None:
    """Call the protocol; what it raises goes to the loop's handler, as with asyncio's own transports."""
    try:
        method()
    except (SystemExit, KeyboardInterrupt):
        raise
    except BaseException as exc:
        message = f"protocol.{name}() failed"
        loop.call_exception_handler(
            {"message": message, "exception": exc, "transport": transport, "protocol": protocol}
        )
