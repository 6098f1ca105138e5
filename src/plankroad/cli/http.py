"""An HTTP/1.1 file server on asyncio streams: requests are read and replies sent, one after the other, with h11.

A connection is a task. It waits for a request, answers it, waits for the next; what a client sends ahead stays in the
connection's buffers, so that it is never more than these hold. Every wait has a limit: see `Limits`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import h11

from plankroad._build import __version__
from plankroad.cli.http_rules import http_date, log_date
from plankroad.cli.http_site import REASONS, Reply, error, reply_to
from plankroad.cli.http_tree import Tree

#: Bytes read from a file, and given to the connection, at once.
CHUNK: Final = 1 << 20

#: Bytes of requests taken from a connection at once.
READ: Final = 64 * 1024

#: Bytes of a request's body, which nobody wants, that are read to keep the connection.
MAX_BODY: Final = 1 << 20

#: Bytes of a request's line and fields.
MAX_HEAD: Final = 32 * 1024


@dataclass(frozen=True)
class Limits:
    """Seconds. `idle`: for the next request to begin. `head`: from its first byte to the end of its fields, or of its
    body. `stall`: without any byte taken by a client to which a reply is sent. `linger`: for the client to close, after
    the server did. `connections`: how many there may be at once; further ones are answered 503.
    """

    idle: float = 60.0
    head: float = 20.0
    stall: float = 60.0
    linger: float = 2.0
    connections: int = 1000


#: A line of the access log.
Log = Callable[[str], None]


class FileServer:
    """Serves `tree` on connections that come from any `start_server`: give it `handle`."""

    def __init__(self, tree: Tree, log: Log, limits: Limits | None = None) -> None:
        self.tree = tree
        self.log = log
        self.limits = Limits() if limits is None else limits
        self.stopping = False
        self._clients: dict[asyncio.Task[Any], Client] = {}

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, from its beginning to its end."""
        task = asyncio.current_task()
        assert task is not None
        client = Client(self, reader, writer)
        full = len(self._clients) >= self.limits.connections
        self._clients[task] = client
        try:
            await client.run(full)
        finally:
            del self._clients[task]

    async def stop(self, grace: float) -> int:
        """Idle connections are closed, replies under way are finished; those that take longer than `grace` seconds are
        reset. How many those were.
        """
        self.stopping = True
        for client in self._clients.values():
            client.close_if_idle()
        if not self._clients:
            return 0
        _, late = await asyncio.wait(self._clients, timeout=grace)
        for client in self._clients.values():
            client.abort()
        if late:
            await asyncio.wait(late)
        return len(late)


class Client:
    """One connection."""

    def __init__(self, server: FileServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.server = server
        self.limits = server.limits
        self.reader = reader
        self.writer = writer
        self.peer = str((writer.get_extra_info("peername") or ("unknown",))[0])
        self.h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)
        self.idle = False

    async def run(self, full: bool) -> None:
        """Answer requests until either side has enough. `full`: say that there are too many connections."""
        try:
            if full:
                await self._refuse(error(503, "too many connections", [("Retry-After", "1")]))
            else:
                while await self._exchange():
                    pass
            await self._linger()
        except (OSError, TimeoutError, h11.ProtocolError):
            # The client has gone, or stands still; or it broke the protocol in the midst of its own request.
            self.abort()
        except asyncio.CancelledError:
            # The program ends. asyncio of Python 3.11 would write a traceback for a handler that ends so.
            self.abort()
        finally:
            self.writer.close()

    def close_if_idle(self) -> None:
        """Close unless a request is being read or answered."""
        if self.idle:
            self.writer.close()

    def abort(self) -> None:
        """Reset the connection."""
        self.writer.transport.abort()

    # Requests

    async def _exchange(self) -> bool:
        """One request and its reply; whether another may follow."""
        try:
            request = await self._next_request()
        except h11.RemoteProtocolError as exc:
            text = str(exc).partition(": bytearray(")[0]  # not the line itself, as Python shows it
            await self._refuse(error(exc.error_status_hint if exc.error_status_hint in REASONS else 400, text))
            return False
        except TimeoutError:
            if self.idle or self.h11.our_state is not h11.IDLE:
                return False
            await self._refuse(error(408, "the request took too long"))
            return False
        if request is None:
            return False
        method = request.method.decode("ascii")
        target = request.target.decode("ascii")
        reply = await asyncio.to_thread(reply_to, self.server.tree, method, target, joined(request))
        try:
            await self._send(reply, request)
        finally:
            reply.close()
        if not await self._finish_request():
            return False
        if self.h11.our_state is not h11.DONE or self.h11.their_state is not h11.DONE or self.server.stopping:
            return False
        self.h11.start_next_cycle()
        return True

    async def _next_request(self) -> h11.Request | None:
        """The next request; None at the end of the connection. Raises TimeoutError, h11.RemoteProtocolError."""
        event = self.h11.next_event()
        try:
            if event is h11.NEED_DATA and not self.h11.trailing_data[0]:
                self.idle = True
                if self.server.stopping:
                    return None
                async with asyncio.timeout(self.limits.idle):
                    self.h11.receive_data(await self.reader.read(READ))
                self.idle = False
                event = self.h11.next_event()
            async with asyncio.timeout(self.limits.head):
                while event is h11.NEED_DATA:
                    self.h11.receive_data(await self.reader.read(READ))
                    event = self.h11.next_event()
        except ConnectionError:
            return None
        if isinstance(event, h11.Request):
            return event
        assert isinstance(event, h11.ConnectionClosed)
        return None

    async def _finish_request(self) -> bool:
        """Read what is left of a request that was answered; False where that is too much."""
        if self.h11.they_are_waiting_for_100_continue:
            return False  # the body may come nevertheless, or not: nobody can tell
        size = 0
        try:
            async with asyncio.timeout(self.limits.head):
                while self.h11.their_state is h11.SEND_BODY:
                    event = self.h11.next_event()
                    if event is h11.NEED_DATA:
                        self.h11.receive_data(await self.reader.read(READ))
                    elif isinstance(event, h11.Data):
                        size += len(event.data)
                        if size > MAX_BODY:
                            return False
        except (TimeoutError, h11.RemoteProtocolError):
            return False
        return True

    # Replies

    async def _send(self, reply: Reply, request: h11.Request | None) -> None:
        begin = time.time()
        headers = [
            ("Date", http_date(begin)),
            ("Server", f"plankroad/{__version__}"),
            *reply.headers,
        ]
        if reply.status != 304:
            headers.append(("Content-Length", str(reply.length)))
        if request is None or self.server.stopping or self.h11.they_are_waiting_for_100_continue:
            headers.append(("Connection", "close"))
        response = h11.Response(status_code=reply.status, reason=REASONS[reply.status], headers=headers)
        sent = 0
        try:
            self._write(self.h11.send(response))
            if request is None or request.method != b"HEAD":
                for part in reply.parts:
                    if isinstance(part, bytes):
                        self._write(self.h11.send(h11.Data(data=part)))
                        sent += len(part)
                        continue
                    offset, left = part
                    while left:
                        # Files may lie on slow disks: the stack goes on while they are read.
                        assert reply.entry is not None
                        data = await asyncio.to_thread(os.pread, reply.entry.fd, min(left, CHUNK), offset)
                        if not data:
                            raise ConnectionAbortedError("the file became shorter while it was sent")
                        self._write(self.h11.send(h11.Data(data=data)))
                        await self._drain()
                        sent += len(data)
                        offset += len(data)
                        left -= len(data)
            self._write(self.h11.send(h11.EndOfMessage()))
            await self._drain()
        finally:
            self._note(request, reply.status, sent, begin)

    async def _refuse(self, reply: Reply) -> None:
        """Send a reply to what is no request, where that is still possible."""
        if self.h11.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            await self._send(reply, None)

    def _write(self, data: bytes | None) -> None:
        if data:
            self.writer.write(data)

    async def _drain(self) -> None:
        """Wait until the client has taken enough; TimeoutError where it takes nothing for too long."""
        before = self._progress()
        while True:
            try:
                async with asyncio.timeout(self.limits.stall):
                    await self.writer.drain()
                return
            except TimeoutError:
                now = self._progress()
                if now == before:
                    raise
                before = now

    def _progress(self) -> tuple[int, int]:
        """Something that changes when the client has taken bytes: what waits here, what was acknowledged."""
        waiting = self.writer.transport.get_write_buffer_size()
        connection = self.writer.get_extra_info("connection")
        return waiting, 0 if connection is None else connection.tcb.snd_una

    async def _linger(self) -> None:
        """Close our direction and wait for the client to close its own, so that no reset overtakes the last reply
        (RFC 9112 section 9.6).
        """
        with contextlib.suppress(TimeoutError):
            if self.writer.can_write_eof() and not self.writer.is_closing():
                self.writer.write_eof()
                async with asyncio.timeout(self.limits.linger):
                    while await self.reader.read(READ):
                        pass

    def _note(self, request: h11.Request | None, status: int, sent: int, begin: float) -> None:
        line = "-"
        if request is not None:
            version = request.http_version.decode("ascii")
            line = f"{request.method.decode('ascii')} {request.target.decode('ascii')} HTTP/{version}"
        line = line.replace("\\", "\\\\").replace('"', '\\"')
        self.server.log(f'{self.peer} - - [{log_date(begin)}] "{line}" {status} {sent} {time.time() - begin:.3f}s')


def joined(request: h11.Request) -> dict[str, str]:
    """The fields by lower-case name; repeated ones are one list (RFC 9110 section 5.3)."""
    found: dict[str, str] = {}
    for name, value in request.headers:
        key, text = name.decode("latin-1"), value.decode("latin-1")
        found[key] = f"{found[key]}, {text}" if key in found else text
    return found
