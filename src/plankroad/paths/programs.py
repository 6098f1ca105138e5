"""The programs at both ends of a cell: one writes as much as is taken, the other reads as soon as it can.

They are owners of endpoints (see `aio.driver.EventHandler`) on the simulator's clock, without asyncio.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from plankroad.endpoint import (
    EVENT_ACCEPT,
    EVENT_CLOSED,
    EVENT_CONNECTED,
    EVENT_EOF,
    EVENT_ERROR,
    EVENT_READABLE,
    EVENT_WRITABLE,
)
from plankroad.sim.host import Host
from plankroad.tcp.config import TcpConfig
from plankroad.tcp.connection import Connection

#: What is sent: the same bytes again and again. The buffers of a connection hold references to it, no copies.
CHUNK: Final = bytes(range(256)) * 256


class SendingProgram:
    """Connects at `start`, writes `size` bytes (0: without end) as room comes up, and closes.

    `connection`: None before the start. `failed`: the errno that ended it, 0 as long as all is well.
    """

    def __init__(self, host: Host, remote: bytes, port: int, config: TcpConfig, size: int) -> None:
        self.host = host
        self.remote = remote
        self.port = port
        self.config = config
        self.size = size
        self.written = 0
        self.connection: Connection | None = None
        self.failed = 0

    def start(self) -> None:
        """Connect, now."""
        connection = self.host.stack.connect(self.host.now, self.remote, self.port, config=self.config)
        connection.owner = self
        self.connection = connection
        self.host.driver.push()

    def handle_events(self, events: int) -> None:
        """Write what there is room for."""
        connection = self.connection
        assert connection is not None
        if events & EVENT_ERROR:
            self.failed = connection.error
            return
        if not events & (EVENT_CONNECTED | EVENT_WRITABLE):
            return
        now = self.host.now
        while not self.size or self.written < self.size:
            left = self.size - self.written
            data = CHUNK if not self.size or left >= len(CHUNK) else CHUNK[:left]
            taken = connection.send(now, data)
            self.written += taken
            if taken < len(data):
                return
        connection.close(now)


class ReceivingProgram:
    """Reads all that comes. `delivered` bytes so far; `completed`: when `size` of them were there (ns), -1 before."""

    def __init__(self, host: Host, connection: Connection, size: int, done: Callable[[], None]) -> None:
        self.host = host
        self.connection = connection
        self.size = size
        self.done = done
        self.delivered = 0
        self.completed = -1
        connection.owner = self

    def handle_events(self, events: int) -> None:
        """Read what is there."""
        if not events & (EVENT_READABLE | EVENT_EOF | EVENT_CLOSED):
            return
        connection = self.connection
        now = self.host.now
        while chunk := connection.next_chunk():
            self.delivered += len(connection.receive(now, chunk))
        if self.size and self.completed < 0 and self.delivered >= self.size:
            self.completed = now
            self.done()
        if connection.at_eof():
            connection.close(now)


class ReceivingServer:
    """Listens, and gives every connection a `ReceivingProgram`; `readers` by the peer's port."""

    def __init__(self, host: Host, port: int, config: TcpConfig, size: int, done: Callable[[], None]) -> None:
        self.host = host
        self.size = size
        self.done = done
        self.readers: dict[int, ReceivingProgram] = {}
        self.listener = host.stack.listen(host.now, b"", port, config=config)
        self.listener.owner = self
        host.driver.push()

    def handle_events(self, events: int) -> None:
        """Accept all who wait."""
        if not events & EVENT_ACCEPT:
            return
        while (connection := self.listener.accept()) is not None:
            reader = ReceivingProgram(self.host, connection, self.size, self.done)
            self.readers[connection.remote_port] = reader
            reader.handle_events(EVENT_READABLE)
