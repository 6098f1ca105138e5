"""`DatagramTransport`: an `asyncio.DatagramTransport` on a `UdpEndpoint`."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import os
from collections import deque
from typing import TYPE_CHECKING, Any, Final, cast

from plankroad.aio.errors import os_error, to_bytes
from plankroad.aio.flow import WriteLimits
from plankroad.aio.names import socket_name
from plankroad.aio.udpsocket import DatagramSocket
from plankroad.endpoint import EVENT_ERROR, EVENT_READABLE, EVENT_SOFT_ERROR, EVENT_WRITABLE
from plankroad.wire.address import ip_to_bytes

if TYPE_CHECKING:
    from plankroad.aio.driver import Driver
    from plankroad.aio.registry import Registry
    from plankroad.udp.endpoint import UdpEndpoint

logger = logging.getLogger("plankroad")

#: Writes to a closed connected endpoint after which the log says so, as in asyncio.
LOST_WRITES_LOGGED: Final = 5


class DatagramTransport(asyncio.DatagramTransport):
    """A datagram transport. Made by `AsyncStack.create_datagram_endpoint`, never by programs.

    `error_received` gets an OSError for each ICMP error about a datagram that was sent (RFC 1122 section 4.1.3.3),
    connected or not. Where the endpoint is not connected the error's text names the destination.
    """

    __slots__ = (
        "__weakref__",
        "_buffer",
        "_buffer_size",
        "_closing",
        "_conn_lost",
        "_context",
        "_driver",
        "_early",
        "_limits",
        "_loop",
        "_protocol",
        "_registry",
        "_socket",
        "_started",
        "_udp",
    )

    def __init__(
        self,
        driver: Driver,
        loop: asyncio.AbstractEventLoop,
        endpoint: UdpEndpoint,
        protocol: asyncio.DatagramProtocol,
        registry: Registry,
    ) -> None:
        super().__init__()
        self._driver = driver
        self._loop = loop
        self._udp = endpoint
        self._protocol: asyncio.DatagramProtocol | None = protocol
        self._registry = registry
        self._context = contextvars.copy_context()
        self._socket = DatagramSocket(endpoint, driver)
        self._limits = WriteLimits()
        self._buffer: deque[tuple[bytes, bytes, int]] = deque()  # data, address, port; what the endpoint has refused
        self._buffer_size = 0
        self._closing = False
        self._conn_lost = 0
        self._started = False
        self._early = 0  # events before connection_made
        endpoint.owner = self
        registry.add(self)

    def start(self) -> None:
        """Call `connection_made`; datagrams follow in the loop's next turn."""
        self._context.run(self._make)
        self._loop.call_soon(self._begin)

    def __repr__(self) -> str:
        state = "closed" if self._conn_lost else "closing" if self._closing else "open"
        return f"<{self.__class__.__name__} {state} {self._socket!r}>"

    # What a program may ask

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """`socket`, `sockname`, `peername` (None unless connected)."""
        udp = self._udp
        if name == "socket":
            return self._socket
        if name == "sockname":
            return socket_name(udp.local_addr, udp.local_port)
        if name == "peername":
            return socket_name(udp.remote_addr, udp.remote_port) if udp.remote_addr else None
        return default

    def is_closing(self) -> bool:
        return self._closing

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol  # type: ignore[return-value]  # None after connection_lost, as in asyncio

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol  # type: ignore[assignment]

    def get_write_buffer_size(self) -> int:
        """Bytes of datagrams that the endpoint has not taken."""
        return self._buffer_size

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return (self._limits.low, self._limits.high)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._limits.set(high, low)
        self._after_write()

    # What a program may do

    def sendto(self, data: Any, addr: Any = None) -> None:
        """Send a datagram, an empty one too, to `addr`: `(host, port)` with a numeric host, None where connected.

        Raises ValueError for an address other than the connected one, or one that is not numeric. What the network or
        the stack refuses goes to `error_received`.
        """
        payload = to_bytes(data)
        udp = self._udp
        if udp.remote_addr:
            peer = socket_name(udp.remote_addr, udp.remote_port)
            if addr is not None and tuple(addr)[:2] != peer[:2]:
                raise ValueError(f"Invalid address: must be None or {peer}")
            host, port = b"", 0
            if self._conn_lost:
                if self._conn_lost >= LOST_WRITES_LOGGED:
                    logger.warning("datagram to a closed endpoint: %r", self)
                self._conn_lost += 1
                return
        else:
            if addr is None:
                raise ValueError("an address is needed: the endpoint is not connected")
            host, port = _address(addr)
            if self._conn_lost:
                return
        if not self._buffer:
            try:
                udp.send_to(self._driver.scheduler.now(), payload, host, port)
            except BlockingIOError:
                pass
            except OSError as exc:
                self._error(exc)
                return
            else:
                self._driver.push()
                return
        self._buffer.append((payload, host, port))
        self._buffer_size += len(payload)
        self._after_write()

    def close(self) -> None:
        """Send what is buffered, then give the port back; nothing is received any more."""
        if self._closing:
            return
        self._closing = True
        if not self._buffer:
            self._lose(None)

    def abort(self) -> None:
        """Throw away what is buffered."""
        self._force_close(None)

    # Events of the endpoint, from the driver

    def handle_events(self, events: int) -> None:
        """See `EventHandler`."""
        if not self._started:
            self._early |= events
        elif not self._conn_lost:
            self._context.run(self._on_events, events)

    def _make(self) -> None:
        assert self._protocol is not None
        try:
            self._protocol.connection_made(self)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:
            self._report(exc, "protocol.connection_made() failed")

    def _begin(self) -> None:
        self._started = True
        if not self._conn_lost:
            self._context.run(self._on_events, self._early | self._udp.poll_events())
            self._driver.push()

    def _on_events(self, events: int) -> None:
        if events & (EVENT_ERROR | EVENT_SOFT_ERROR):
            self._on_errors()
        if events & EVENT_WRITABLE:
            self._on_writable()
        if events & EVENT_READABLE:
            self._on_readable()

    def _on_readable(self) -> None:
        udp = self._udp
        while not self._closing:
            datagram = udp.receive_from()
            if datagram is None:
                return
            protocol = self._protocol
            assert protocol is not None
            try:
                protocol.datagram_received(datagram.data, socket_name(datagram.addr, datagram.port))
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as exc:
                # asyncio's loop reports it and goes on with the next datagram.
                self._report(exc, "protocol.datagram_received() failed")

    def _on_errors(self) -> None:
        udp = self._udp
        while not self._closing:
            error = udp.poll_error()
            if error is None:
                break
            if udp.remote_addr:
                self._error(os_error(error.errno))
            else:
                name = socket_name(error.addr, error.port)
                self._error(os_error(error.errno, f"{os.strerror(error.errno)} (datagram to {name})"))
        udp.take_error()

    def _on_writable(self) -> None:
        now = self._driver.scheduler.now()
        while self._buffer:
            payload, host, port = self._buffer[0]
            try:
                self._udp.send_to(now, payload, host, port)
            except BlockingIOError:
                break
            except OSError as exc:
                self._error(exc)
            self._buffer.popleft()
            self._buffer_size -= len(payload)
        if self._protocol is not None:
            self._limits.after_send(self._buffer_size, self._loop, self._protocol, self)  # may write
        if not self._buffer and self._closing and not self._conn_lost:
            self._lose(None)

    def _after_write(self) -> None:
        if self._protocol is not None:
            self._limits.after_write(self._buffer_size, self._loop, self._protocol, self)

    def _error(self, exc: OSError) -> None:
        assert self._protocol is not None
        try:
            self._protocol.error_received(exc)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as failure:
            self._report(failure, "protocol.error_received() failed")

    # The end

    def _force_close(self, exc: BaseException | None) -> None:
        if self._conn_lost:
            return
        self._buffer.clear()
        self._buffer_size = 0
        self._closing = True
        self._lose(exc)

    def _lose(self, exc: BaseException | None) -> None:
        self._conn_lost += 1
        self._loop.call_soon(self._call_connection_lost, exc, context=self._context)

    def _call_connection_lost(self, exc: BaseException | None) -> None:
        protocol = self._protocol
        self._protocol = None
        try:
            if protocol is not None:
                protocol.connection_lost(cast("Exception | None", exc))
        finally:
            self._udp.owner = None
            self._udp.close(self._driver.scheduler.now())
            self._driver.push()
            self._registry.discard(self)

    def _report(self, exc: BaseException, message: str) -> None:
        self._loop.call_exception_handler(
            {"message": message, "exception": exc, "transport": self, "protocol": self._protocol}
        )


def _address(addr: Any) -> tuple[bytes, int]:
    """Address and port of a socket-style tuple with a numeric host."""
    try:
        host, port = addr[0], addr[1]
        return ip_to_bytes(str(host).partition("%")[0]), int(port)
    except (TypeError, IndexError, ValueError):
        raise ValueError(f"a datagram's address is (numeric host, port), not {addr!r}") from None
