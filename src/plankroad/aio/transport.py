"""`TcpTransport`: an `asyncio.Transport` on a `Connection`.

It keeps asyncio's rules: `connection_made` once, first; `data_received` any number of times; `eof_received` at most
once; `connection_lost` once, last, by `call_soon`. No callback but `pause_writing` is made from inside a call of the
program. Received bytes stay in the connection while reading is paused, so the offered window closes (RFC 9293 section
3.8.6.2.2); written bytes go into the connection until its send buffer is full, then into the transport's own buffer,
which is what the write limits are about.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from asyncio import constants as asyncio_constants
from asyncio.transports import _FlowControlMixin
from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final, cast

from plankroad.aio.errors import os_error, to_bytes
from plankroad.aio.names import socket_name
from plankroad.aio.socketview import ConnectionSocket
from plankroad.endpoint import EVENT_CLOSED, EVENT_ERROR, EVENT_WRITABLE

if TYPE_CHECKING:
    from plankroad.aio.driver import Driver
    from plankroad.aio.registry import Registry
    from plankroad.aio.server import Server
    from plankroad.tcp.connection import Connection

logger = logging.getLogger("plankroad")

#: Bytes handed to `data_received` at most at once.
READ_SIZE: Final = 256 * 1024

#: A received chunk of this size is handed over as it is; smaller ones are joined first.
LARGE_CHUNK: Final = 16 * 1024

#: Bytes of one buffered write offered to the connection at once; what it refuses of them is copied again later.
OFFER_SIZE: Final = 256 * 1024

#: Stands for the buffer of a transport that buffers nothing: a deque of its own takes 600 bytes.
_EMPTY: Final[deque[bytes]] = deque(maxlen=0)

#: Writes to a lost connection after which the log says so, as in asyncio.
LOST_WRITES_LOGGED: Final = 5


class TcpTransport(_FlowControlMixin):
    """A stream transport. Made by `AsyncStack` and `Server`, never by programs.

    Private attributes that asyncio itself looks at: `_start_tls_compatible` (`loop.start_tls`),
    `_sendfile_compatible` (`loop.sendfile` copies through `write`, and wants a `_FlowControlMixin`, which is also what
    keeps the write limits), `_force_close` (sslproto).
    """

    __slots__ = (
        "__weakref__",
        "_buffer",
        "_buffer_size",
        "_buffered_protocol",
        "_closing",
        "_conn",
        "_conn_lost",
        "_context",
        "_driver",
        "_early",
        "_ended",
        "_eof_received",
        "_error_deferred",
        "_offset",
        "_paused",
        "_protocol",
        "_read_scheduled",
        "_registry",
        "_released",
        "_server",
        "_socket",
        "_started",
        "_write_eof",
    )

    if TYPE_CHECKING:  # what the base class has
        _loop: asyncio.AbstractEventLoop

        def _maybe_pause_protocol(self) -> None: ...
        def _maybe_resume_protocol(self) -> None: ...

    _start_tls_compatible = True
    _sendfile_compatible = asyncio_constants._SendfileMode.FALLBACK

    def __init__(
        self,
        driver: Driver,
        loop: asyncio.AbstractEventLoop,
        connection: Connection,
        protocol: asyncio.BaseProtocol,
        registry: Registry,
        server: Server | None = None,
    ) -> None:
        super().__init__(None, loop)
        self._driver = driver
        self._conn = connection
        self._registry = registry
        self._server = server
        self._context = contextvars.copy_context()
        self._socket: ConnectionSocket | None = None
        self._buffer = _EMPTY  # what the connection has not taken
        self._offset = 0  # octets of the first chunk that it has taken
        self._buffer_size = 0
        self._closing = False  # close() or abort() was called
        self._conn_lost = 0  # connection_lost is scheduled; then counts the writes that came too late
        self._released = False  # the connection was told that the program is gone
        self._ended = False  # the connection is CLOSED or in TIME-WAIT
        self._paused = False  # pause_reading()
        self._write_eof = False  # write_eof()
        self._eof_received = False  # the protocol knows of the peer's FIN
        self._error_deferred = False  # the connection failed while reading was paused
        self._read_scheduled = False
        self._started = False
        self._early = 0  # events before connection_made
        self._protocol: asyncio.BaseProtocol | None = None
        self._buffered_protocol = False
        self.set_protocol(protocol)
        connection.owner = self
        registry.add(self)
        if server is not None:
            server._attach(self)

    def start(self, *, deliver: bool, events: int = 0) -> None:
        """Call `connection_made`, then begin to read: at once (`deliver`), or in the loop's next turn.

        `deliver` is for callers that are in a loop's callback, where `data_received` may be called. `events` is what
        an earlier owner of the connection was told.
        """
        self._early |= events
        self._context.run(self._make)
        if deliver:
            self._context.run(self._begin)
        else:
            self._schedule_read()

    def __repr__(self) -> str:
        info = [self.__class__.__name__]
        if self._conn_lost:
            info.append("closed")
        elif self._closing:
            info.append("closing")
        info.append(f"{self.get_extra_info('sockname')} -> {self.get_extra_info('peername')}")
        info.append("read=polling" if self.is_reading() else "read=idle")
        info.append(f"write=<bufsize={self._buffer_size}>")
        return f"<{' '.join(info)}>"

    # What a program may ask

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """`socket`, `peername`, `sockname`; `tcp_info`, a dict with the names of Linux's tcp_info, of this moment; and
        `connection`, the `Connection` itself.
        """
        conn = self._conn
        if name == "socket":
            if self._socket is None:
                self._socket = ConnectionSocket(conn, self._driver)
            return self._socket
        if name == "peername":
            return socket_name(conn.remote_addr, conn.remote_port)
        if name == "sockname":
            return socket_name(conn.local_addr, conn.local_port)
        if name == "tcp_info":
            return conn.info(self._driver.scheduler.now())
        if name == "connection":
            return conn
        return default

    def is_closing(self) -> bool:
        return self._closing

    def is_reading(self) -> bool:
        return not self._closing and not self._paused

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol  # type: ignore[return-value]  # None after connection_lost, as in asyncio

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Bytes that wait in the connection go to the new protocol."""
        self._protocol = protocol
        self._buffered_protocol = isinstance(protocol, asyncio.BufferedProtocol)

    def get_write_buffer_size(self) -> int:
        """Bytes that wait in the transport; those in the connection's send buffer are not counted."""
        return self._buffer_size

    # What a program may do

    def write(self, data: Any) -> None:
        """Send `data`, any buffer. Never blocks; see `pause_writing` for back-pressure."""
        if type(data) is not bytes:
            data = to_bytes(data)
        if self._write_eof:
            raise RuntimeError("Cannot call write() after write_eof()")
        if data and self._put(data):
            self._driver.push()

    def writelines(self, list_of_data: Iterable[Any]) -> None:
        """Send buffers one after the other, as one write."""
        parts = [to_bytes(data) for data in list_of_data]
        if self._write_eof:
            raise RuntimeError("Cannot call writelines() after write_eof()")
        taken = False
        for data in parts:
            if data:
                taken = self._put(data) or taken
        if taken:
            self._driver.push()

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        """Send FIN after what was written; reading goes on (RFC 9293 section 3.6: half-close)."""
        if self._closing or self._write_eof:
            return
        self._write_eof = True
        if not self._buffer:
            self._conn.close(self._driver.scheduler.now())
            self._driver.push()

    def pause_reading(self) -> None:
        if self.is_reading():
            self._paused = True

    def resume_reading(self) -> None:
        if self._paused and not self._closing:
            self._paused = False
            self._schedule_read()

    def close(self) -> None:
        """Send what is buffered, then FIN; nothing is received any more."""
        if self._closing:
            return
        self._closing = True
        if not self._buffer:
            self._lose(None)
            self._release()
            self._driver.push()

    def abort(self) -> None:
        """Throw away what is buffered and send RST."""
        self._force_close(None)

    def abort_connection(self) -> None:
        """As `abort`; also after `close`, when the protocol has been told and the connection is still closing."""
        self._force_close(None)
        if self._conn.owner is self:
            self._conn.abort(self._driver.scheduler.now())
            self._driver.push()
        self._registry.discard(self)

    # Events of the connection, from the driver

    def handle_events(self, events: int) -> None:
        """See `EventHandler`."""
        if not self._conn_lost:
            self._context.run(self._on_events, events)
        elif events & EVENT_CLOSED:
            self._on_closed()

    def _make(self) -> None:
        protocol = self._protocol
        assert protocol is not None
        try:
            protocol.connection_made(self)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:
            self._report(exc, "protocol.connection_made() failed")

    def _begin(self) -> None:
        if not self._started:
            self._started = True
            events, self._early = self._early, 0
            self._on_events(events | self._conn.poll_events())

    def _on_events(self, events: int) -> None:
        if not self._started:
            self._early |= events
            return
        if not self._conn_lost:
            if events & EVENT_WRITABLE and self._buffer:
                self._write_ready()
            if not self._paused and not self._closing:
                self._read_ready()
            if events & EVENT_ERROR:
                self._on_error()
        if events & EVENT_CLOSED:
            self._on_closed()

    def _on_closed(self) -> None:
        self._ended = True
        if self._conn_lost:
            self._registry.discard(self)

    def _on_error(self) -> None:
        if self._conn_lost:
            return
        if self._paused and not self._buffer and not self._closing:
            # A kernel's socket would not tell either: the program is not looking. What was received stays readable;
            # a write, or resume_reading, meets the error.
            self._error_deferred = True
            return
        self._fatal_error(os_error(self._conn.error, self._conn.tcb.reason), "the connection failed")

    def _read_ready(self) -> None:
        """Hand over all that can be read."""
        conn = self._conn
        now = self._driver.scheduler.now()
        while not self._paused and not self._closing:
            protocol = self._protocol
            if self._buffered_protocol:
                if not conn.readable():
                    break
                if not self._read_into(now, protocol):  # type: ignore[arg-type]
                    return
                continue
            first = conn.next_chunk()
            if not first:
                break
            data = conn.receive(now, first if first >= LARGE_CHUNK else READ_SIZE)
            try:
                protocol.data_received(data)  # type: ignore[union-attr]
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as exc:
                self._fatal_error(exc, "Fatal error: protocol.data_received() call failed.")
                return
        if not self._paused and not self._closing and not self._eof_received and conn.at_eof():
            self._on_eof()

    def _read_into(self, now: int, protocol: asyncio.BufferedProtocol) -> bool:
        """One turn of get_buffer and buffer_updated; False after a failure."""
        try:
            buffer = memoryview(protocol.get_buffer(-1)).cast("B")
            if not buffer:
                raise RuntimeError("get_buffer() returned an empty buffer")
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:
            self._fatal_error(exc, "Fatal error: protocol.get_buffer() call failed.")
            return False
        # Large chunks one by one into the program's buffer: each octet is copied once.
        conn = self._conn
        room = len(buffer)
        count = 0
        while count < room:
            first = conn.next_chunk()
            if not first:
                break
            data = conn.receive(now, min(first, room - count) if first >= LARGE_CHUNK else room - count)
            end = count + len(data)
            buffer[count:end] = data
            count = end
        buffer.release()
        try:
            protocol.buffer_updated(count)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:
            self._fatal_error(exc, "Fatal error: protocol.buffer_updated() call failed.")
            return False
        return True

    def _on_eof(self) -> None:
        self._eof_received = True
        try:
            keep_open = self._protocol.eof_received()  # type: ignore[union-attr]
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:
            self._fatal_error(exc, "Fatal error: protocol.eof_received() call failed.")
            return
        if not keep_open:
            self.close()

    def _schedule_read(self) -> None:
        if not self._read_scheduled:
            self._read_scheduled = True
            self._loop.call_soon(self._on_read_turn)

    def _on_read_turn(self) -> None:
        self._read_scheduled = False
        if self._conn_lost:
            if self._early & EVENT_CLOSED:  # it ended before connection_made, and the program closed in there
                self._on_closed()
            return
        if not self._started:
            self._context.run(self._begin)
        elif not self._paused and not self._closing:
            self._context.run(self._read_ready)
            if self._error_deferred and not self._paused:
                self._error_deferred = False
                self._context.run(self._on_error)
        self._driver.push()

    # Writing

    def _put(self, data: bytes) -> bool:
        """Hand `data` to the connection, or keep it. True if the connection took some."""
        if self._conn_lost:
            if self._conn_lost >= LOST_WRITES_LOGGED:
                logger.warning("write to a lost connection: %r", self)
            self._conn_lost += 1
            return False
        taken = 0
        if not self._buffer:
            try:
                taken = self._conn.send(self._driver.scheduler.now(), data)
            except OSError as exc:
                self._fatal_error(exc, "Fatal write error on socket transport")
                return False
            if taken == len(data):
                return True
            self._offset = taken
        if self._buffer is _EMPTY:
            self._buffer = deque()
        self._buffer.append(data)
        self._buffer_size += len(data) - taken
        self._maybe_pause_protocol()
        return taken > 0

    def _write_ready(self) -> None:
        """The connection has room again."""
        try:
            self._drain()
        except OSError as exc:
            self._fatal_error(exc, "Fatal write error on socket transport")
            return
        self._maybe_resume_protocol()  # may write
        if not self._buffer:
            if self._closing:
                if not self._conn_lost:
                    self._lose(None)
                    self._release()
            elif self._write_eof:
                self._conn.close(self._driver.scheduler.now())

    def _drain(self) -> None:
        conn = self._conn
        now = self._driver.scheduler.now()
        buffer = self._buffer
        while buffer:
            data = buffer[0]
            offset = self._offset
            piece = data if not offset and len(data) <= OFFER_SIZE else data[offset : offset + OFFER_SIZE]
            taken = conn.send(now, piece)
            self._buffer_size -= taken
            self._offset = offset + taken
            if self._offset == len(data):
                buffer.popleft()
                self._offset = 0
            if taken < len(piece):
                return

    # The end

    def _fatal_error(self, exc: BaseException, message: str = "Fatal error on transport") -> None:
        if isinstance(exc, OSError):
            if self._loop.get_debug():
                logger.debug("%r: %s", self, message, exc_info=exc)
        else:
            self._report(exc, message)
        self._force_close(exc)

    def _report(self, exc: BaseException, message: str) -> None:
        self._loop.call_exception_handler(
            {"message": message, "exception": exc, "transport": self, "protocol": self._protocol}
        )

    def _force_close(self, exc: BaseException | None) -> None:
        """Throw away what is buffered, send RST if the connection still stands, report `exc` to the protocol."""
        if self._conn_lost:
            return
        self._buffer = _EMPTY
        self._buffer_size = 0
        self._offset = 0
        self._closing = True
        self._lose(exc)
        self._released = True
        self._conn.abort(self._driver.scheduler.now())
        self._driver.push()

    def _lose(self, exc: BaseException | None) -> None:
        self._conn_lost += 1
        if self._ended:
            self._registry.discard(self)
        self._loop.call_soon(self._call_connection_lost, exc, context=self._context)

    def _release(self) -> None:
        """The program is gone: FIN after the last bytes; what the peer sends from now on is answered with RST."""
        if not self._released:
            self._released = True
            self._conn.release(self._driver.scheduler.now())

    def _call_connection_lost(self, exc: BaseException | None) -> None:
        protocol = self._protocol
        self._protocol = None
        try:
            if protocol is not None:
                protocol.connection_lost(cast("Exception | None", exc))
        finally:
            server = self._server
            if server is not None:
                self._server = None
                server._detach(self)
