"""`Server`: what `create_server` returns; asyncio's `Server` as of Python 3.13, on listeners of a stack."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from plankroad.aio.socketview import ListenerSocket
from plankroad.aio.tls import TlsOptions, app_transport
from plankroad.aio.transport import TcpTransport
from plankroad.endpoint import EVENT_ACCEPT

if TYPE_CHECKING:
    from plankroad.aio.driver import Driver
    from plankroad.aio.registry import Registry
    from plankroad.tcp.connection import Connection
    from plankroad.tcp.listen import Listener

logger = logging.getLogger("plankroad")


class Acceptor:
    """Owner of one listener of a server."""

    __slots__ = ("_server", "listener", "socket")

    def __init__(self, server: Server, listener: Listener, socket: ListenerSocket) -> None:
        self._server = server
        self.listener = listener
        self.socket = socket
        listener.owner = self

    def handle_events(self, events: int) -> None:
        """See `EventHandler`."""
        if events & EVENT_ACCEPT:
            self._server._accept_from(self.listener)


class Server(asyncio.AbstractServer):
    """A server: listeners, and the connections that they brought.

    The listeners stand from the beginning; until `start_serving` the connections that come wait in the backlog.
    """

    def __init__(
        self,
        driver: Driver,
        loop: asyncio.AbstractEventLoop,
        registry: Registry,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        tls: TlsOptions | None,
    ) -> None:
        self._driver = driver
        self._loop = loop
        self._registry = registry
        self._protocol_factory = protocol_factory
        self._tls = tls
        self._context = contextvars.copy_context()
        self._acceptors: list[Acceptor] | None = []
        self._clients: set[TcpTransport] = set()
        self._waiters: list[asyncio.Future[None]] | None = []
        self._serving = False
        self._forever: asyncio.Future[None] | None = None
        registry.add(self)

    def __repr__(self) -> str:
        return f"<plankroad.{self.__class__.__name__} sockets={self.sockets!r}>"

    @property
    def sockets(self) -> tuple[ListenerSocket, ...]:
        """Views of the listeners, with the names they are bound to; empty once closed."""
        return tuple(acceptor.socket for acceptor in self._acceptors or ())

    def get_loop(self) -> asyncio.AbstractEventLoop:
        return self._loop

    def is_serving(self) -> bool:
        return self._serving

    def add_listener(self, listener: Listener, address: bytes, port: int) -> None:
        """Serve `listener` too; `address` and `port` are what `sockets` tells."""
        assert self._acceptors is not None
        self._acceptors.append(Acceptor(self, listener, ListenerSocket(listener, address, port)))
        if self._serving:
            self._loop.call_soon(self._accept_from, listener)

    async def start_serving(self) -> None:
        self._start_serving()
        await asyncio.sleep(0)

    async def serve_forever(self) -> None:
        if self._forever is not None:
            raise RuntimeError(f"server {self!r} is already being awaited on serve_forever()")
        if self._acceptors is None:
            raise RuntimeError(f"server {self!r} is closed")
        self._start_serving()
        self._forever = self._loop.create_future()
        try:
            await self._forever
        except asyncio.CancelledError:
            self.close()
            await self.wait_closed()
            raise
        finally:
            self._forever = None

    def close(self) -> None:
        """Listen no more. Connections that were accepted go on; those still in the backlog are reset."""
        acceptors = self._acceptors
        if acceptors is None:
            return
        self._acceptors = None
        self._serving = False
        self._registry.discard(self)
        now = self._driver.scheduler.now()
        for acceptor in acceptors:
            acceptor.listener.owner = None
            acceptor.listener.close(now)
        self._driver.push()
        if self._forever is not None and not self._forever.done():
            self._forever.cancel()
        self._wake_up()

    def close_clients(self) -> None:
        """Close the connections that this server accepted."""
        for transport in list(self._clients):
            (app_transport(transport.get_protocol()) or transport).close()

    def abort_clients(self) -> None:
        """Abort the connections that this server accepted."""
        for transport in list(self._clients):
            transport.abort()

    def abort(self) -> None:
        """See `Closable`."""
        self.close()

    async def wait_closed(self) -> None:
        """Return when the server is closed and its connections are lost, whichever comes last."""
        if self._waiters is not None:
            waiter: asyncio.Future[None] = self._loop.create_future()
            self._waiters.append(waiter)
            await waiter

    async def __aenter__(self) -> Server:
        return self

    async def __aexit__(self, *exc: Any) -> None:
        self.close()
        await self.wait_closed()

    # For transports

    def _attach(self, transport: TcpTransport) -> None:
        self._clients.add(transport)

    def _detach(self, transport: TcpTransport) -> None:
        self._clients.discard(transport)
        self._wake_up()

    def _wake_up(self) -> None:
        if self._acceptors is None and not self._clients and self._waiters is not None:
            waiters, self._waiters = self._waiters, None
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)

    # Accepting

    def _start_serving(self) -> None:
        if self._serving or self._acceptors is None:
            return
        self._serving = True
        for acceptor in self._acceptors:
            self._loop.call_soon(self._accept_from, acceptor.listener)

    def _accept_from(self, listener: Listener) -> None:
        """Take all connections that wait."""
        while self._serving:
            connection = listener.accept()
            if connection is None:
                return
            self._context.run(self._accept, connection)

    def _accept(self, connection: Connection) -> None:
        try:
            protocol = self._protocol_factory()
            if self._tls is not None:
                protocol = self._tls.wrap(self._loop, protocol, None)
            transport = TcpTransport(self._driver, self._loop, connection, protocol, self._registry, self)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:
            self._loop.call_exception_handler(
                {"message": "Error on transport creation for incoming connection", "exception": exc}
            )
            connection.owner = None
            connection.abort(self._driver.scheduler.now())
            self._driver.push()
            return
        transport.start(deliver=True)
