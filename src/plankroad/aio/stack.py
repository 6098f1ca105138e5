"""`AsyncStack`: the asyncio face of a stack. What a program holds."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl as ssl_module
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final, TypeVar

from plankroad.aio.connect import connect_any, interleave_families
from plankroad.aio.datagram import DatagramTransport
from plankroad.aio.names import socket_name
from plankroad.aio.ping import Hop, PingResult, ping, traceroute
from plankroad.aio.registry import Registry
from plankroad.aio.resolver import HostsResolver, Resolver, lookup, port_number
from plankroad.aio.server import Server
from plankroad.aio.tls import TlsOptions, app_transport
from plankroad.aio.transport import TcpTransport
from plankroad.tcp.config import NAGLE_OFF, TcpConfig
from plankroad.trace.netstat import format_counters
from plankroad.units import SECOND
from plankroad.wire.address import bytes_to_ip

if TYPE_CHECKING:
    from plankroad.aio.driver import Driver
    from plankroad.stack.stack import Stack
    from plankroad.tcp.connection import Connection
    from plankroad.tcp.listen import Listener

logger = logging.getLogger("plankroad")

#: asyncio's limit of a StreamReader.
STREAM_LIMIT: Final = 64 * 1024

#: Seconds that `aclose` waits for the peers.
CLOSE_TIMEOUT: Final = 5.0

P = TypeVar("P", bound=asyncio.BaseProtocol)
D = TypeVar("D", bound=asyncio.DatagramProtocol)
ClientCallback = Callable[[asyncio.StreamReader, asyncio.StreamWriter], "Awaitable[None] | None"]


class AsyncStack:
    """A stack for asyncio programs, with the signatures of asyncio's event loop and streams.

    `driver` runs the stack; `resolver` turns names into addresses (`HostsResolver()`: numeric addresses and
    localhost). Everything belongs to one event loop, the running one when it is first needed.

    Beside asyncio's arguments `config=` takes a `TcpConfig` for the connection, or for those a server accepts.
    Without one it is the stack's default with Nagle's algorithm off: asyncio switches it off on its sockets too.
    `sock=` is refused: a kernel's socket is none of this stack's.
    """

    def __init__(
        self,
        driver: Driver,
        *,
        resolver: Resolver | None = None,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self.driver = driver
        self.stack: Stack = driver.stack
        self.resolver = HostsResolver() if resolver is None else resolver
        self._loop = loop
        self._registry = Registry()
        self._closed = False

    def __repr__(self) -> str:
        links = ", ".join(link.name for link in self.driver.links) or "no link"
        return f"<AsyncStack on {links}{' closed' if self._closed else ''}>"

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop that all callbacks are called on."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        return self._loop

    @property
    def closed(self) -> bool:
        """Whether the stack was closed; nothing can be opened any more."""
        return self._closed

    @property
    def active(self) -> int:
        """Connections that are not CLOSED or in TIME-WAIT, datagram endpoints and servers."""
        return len(self._registry)

    # Looking inside

    def counters(self) -> dict[str, dict[str, int]]:
        """All counters now, by layer and cause: "ip", "icmp", "tcp", "udp", and "link NAME" for links that count."""
        found = self.stack.counters.as_dict()
        for link in self.driver.links:
            counters = link.counters.as_dict()
            if any(counters.values()):
                found[f"link {link.name}"] = counters
        return found

    def netstat(self) -> str:
        """`counters` as text, as `netstat -s` prints a kernel's; those that stand at 0 are left out."""
        return format_counters(self.counters())

    def connections(self) -> list[dict[str, int | str]]:
        """Every connection with its ends and what Linux's tcp_info would tell (`tcp.info`): `ss -ti` for this stack."""
        now = self.driver.scheduler.now()
        found = []
        for path in self.stack.connections.values():
            found.append(_described(path.connection, now))
        return found

    def memory_use(self) -> dict[str, int]:
        """What `StackConfig.memory` is used for now, bytes: "limit", "used", and of that "send", "receive",
        "out_of_order", "fragments" and "overhead".
        """
        return self.stack.memory_use()

    def stalled(self, least: float = 0.0, *, zero_window: bool = False) -> list[dict[str, int | float | str]]:
        """Connections that hold data of which for `least` seconds not an eighth got through, the longest first.

        Each as in `connections`, with "held" (bytes of memory), "stalled" (seconds without progress) and "zero_window"
        (seconds for which the peer has kept its window closed and answered probes; -1 where it has not). With
        `zero_window` only those whose peers have done so for `least` seconds, longest first (RFC 6429).
        """
        now = self.driver.scheduler.now()
        found: list[dict[str, int | float | str]] = []
        for one in self.stack.stalled(now, int(least * SECOND), zero_window):
            entry: dict[str, int | float | str] = dict(_described(one.connection, now))
            entry["held"] = one.held
            entry["stalled"] = one.duration / SECOND
            entry["zero_window"] = one.zero_window / SECOND if one.zero_window >= 0 else -1
            found.append(entry)
        return found

    def abort_stalled(self, least: float, *, zero_window: bool = False, most: int | None = None) -> int:
        """Reset `stalled` connections, up to `most`, the longest first; returns how many.

        Their protocols hear of `TimeoutError` in `connection_lost`, with the reason in its text. TCP by itself keeps
        such a connection as long as its peer answers (RFC 9293, MUST-37); RFC 6429 leaves it to the program, which may
        also set `TcpConfig.persist_timeout`.
        """
        now = self.driver.scheduler.now()
        count = self.stack.shed_stalled(now, int(least * SECOND), zero_window, -1 if most is None else most)
        self.driver.push()
        return count

    # Streams

    async def open_connection(
        self, host: str | None = None, port: int | str | None = None, *, limit: int = STREAM_LIMIT, **kwds: Any
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """As `asyncio.open_connection`; keywords as for `create_connection`."""
        loop = self.loop
        reader = asyncio.StreamReader(limit=limit, loop=loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        transport, _ = await self.create_connection(lambda: protocol, host, port, **kwds)
        return reader, asyncio.StreamWriter(transport, protocol, reader, loop)

    async def start_server(
        self,
        client_connected_cb: ClientCallback,
        host: str | Iterable[str] | None = None,
        port: int | str | None = None,
        *,
        limit: int = STREAM_LIMIT,
        **kwds: Any,
    ) -> Server:
        """As `asyncio.start_server`; keywords as for `create_server`."""
        loop = self.loop

        def factory() -> asyncio.StreamReaderProtocol:
            reader = asyncio.StreamReader(limit=limit, loop=loop)
            return asyncio.StreamReaderProtocol(reader, client_connected_cb, loop=loop)

        return await self.create_server(factory, host, port, **kwds)

    # Transports and protocols

    async def create_connection(
        self,
        protocol_factory: Callable[[], P],
        host: str | None = None,
        port: int | str | None = None,
        *,
        ssl: bool | ssl_module.SSLContext | None = None,
        family: int = 0,
        proto: int = 0,
        flags: int = 0,
        sock: object | None = None,
        local_addr: tuple[str, int] | None = None,
        server_hostname: str | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
        happy_eyeballs_delay: float | None = None,
        interleave: int | None = None,
        all_errors: bool = False,
        config: TcpConfig | None = None,
        fast_open: bool = False,
    ) -> tuple[asyncio.Transport, P]:
        """As `loop.create_connection`; `happy_eyeballs_delay` in seconds (RFC 8305 section 5).

        `fast_open`: TCP Fast Open (RFC 7413), for requests that may be answered twice (see `TcpConfig.fast_open`). The
        first connection to a server asks for a cookie. From then on this returns at once, before anything is sent; what
        is written next goes out in the SYN, and its answer is here a round trip sooner. Whether the server could be
        reached is then told by `connection_lost`, or by what reads and writes of streams raise.
        """
        self._check("sock", sock)
        tls = _client_tls(ssl, host, server_hostname, ssl_handshake_timeout, ssl_shutdown_timeout)
        if host is None and port is None:
            raise ValueError("host and port was not specified and no sock specified")
        remote_port = port_number(port)
        remotes = await lookup(self.resolver, host, family, passive=False)
        locals_: list[tuple[bytes, int]] = []
        if local_addr is not None:
            local_port = port_number(local_addr[1])
            found = await lookup(self.resolver, local_addr[0], family, passive=True)
            locals_ = [(address, local_port) for address in found]
        if happy_eyeballs_delay is not None and interleave is None:
            interleave = 1
        if interleave:
            remotes = interleave_families(remotes, interleave)
        self._check()
        attempt, errors = await connect_any(
            self.driver, remotes, remote_port, locals_, self._config(config), happy_eyeballs_delay, fast_open
        )
        if attempt is None:
            raise _combined(errors, all_errors)
        try:
            protocol = protocol_factory()
            waiter: asyncio.Future[None] | None = None
            below: asyncio.BaseProtocol = protocol
            if tls is not None:
                waiter = self.loop.create_future()
                below = tls.wrap(self.loop, protocol, waiter)
            transport = TcpTransport(self.driver, self.loop, attempt.connection, below, self._registry)
        except BaseException:
            attempt.give_up(self.driver)
            raise
        logger.debug("connected: %r", transport)
        transport.start(deliver=False, events=attempt.events)
        if waiter is None:
            return transport, protocol
        above = app_transport(below)
        assert above is not None
        try:
            await waiter
        except BaseException:
            above.close()
            raise
        return above, protocol

    async def create_server(
        self,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        host: str | Iterable[str] | None = None,
        port: int | str | None = None,
        *,
        family: int = socket.AF_UNSPEC,
        flags: int = socket.AI_PASSIVE,
        sock: object | None = None,
        backlog: int = 100,
        ssl: ssl_module.SSLContext | None = None,
        reuse_address: bool | None = None,
        reuse_port: bool | None = None,
        keep_alive: bool | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
        start_serving: bool = True,
        config: TcpConfig | None = None,
        fast_open: int | None = None,
    ) -> Server:
        """As `loop.create_server`. Port 0 takes a free port, the same one for all addresses where it can.

        `fast_open`: TCP Fast Open (RFC 7413) for clients that ask, with so many connections whose handshake is not over
        (`TcpConfig.fast_open_queue`; None: what the configuration says). Requests then come with the SYN; one that the
        network repeats late may come twice.
        `reuse_address` and `reuse_port` change nothing: a listener may bind beside connections in TIME-WAIT, and two
        listeners never share a port.
        """
        self._check("sock", sock)
        if isinstance(ssl, bool):
            raise TypeError("ssl argument must be an SSLContext or None")
        _check_tls_times(ssl, ssl_handshake_timeout, ssl_shutdown_timeout)
        if host is None and port is None:
            raise ValueError("Neither host/port nor sock were specified")
        wanted = port_number(port)
        hosts: list[object] = [host] if host is None or isinstance(host, str | bytes) else list(host)
        addresses: list[bytes] = []
        for one in hosts:
            addresses += await lookup(self.resolver, one, family, passive=True)
        self._check()
        settings = self._config(config)
        if keep_alive:
            settings = settings.copy()
            settings.keepalive = True
        if fast_open is not None:
            settings = settings.copy()
            settings.fast_open_queue = int(fast_open)
            settings.validate()
        tls = None
        if ssl is not None:
            tls = TlsOptions(
                ssl,
                server_side=True,
                handshake_timeout=ssl_handshake_timeout,
                shutdown_timeout=ssl_shutdown_timeout,
            )
        listeners = self._listen(list(dict.fromkeys(addresses)), wanted, backlog, settings)
        server = Server(self.driver, self.loop, self._registry, protocol_factory, tls)
        for listener, address in listeners:
            server.add_listener(listener, address, listener.local_port)
        if start_serving:
            await server.start_serving()
        logger.info("%r listens", server)
        return server

    async def create_datagram_endpoint(
        self,
        protocol_factory: Callable[[], D],
        local_addr: tuple[str, int] | None = None,
        remote_addr: tuple[str, int] | None = None,
        *,
        family: int = 0,
        proto: int = 0,
        flags: int = 0,
        reuse_port: bool | None = None,
        allow_broadcast: bool | None = None,
        sock: object | None = None,
    ) -> tuple[DatagramTransport, D]:
        """As `loop.create_datagram_endpoint`."""
        self._check("sock", sock)
        if local_addr is None and remote_addr is None and family == socket.AF_UNSPEC:
            raise ValueError("unexpected address family")
        pairs = await self._datagram_addresses(local_addr, remote_addr, family)
        self._check()
        failure: OSError | None = None
        for local, local_port, remote, remote_port in pairs:
            try:
                endpoint = self.stack.bind_udp(local, local_port, remote, remote_port, reuse=bool(reuse_port))
            except OSError as exc:
                failure = exc
                continue
            endpoint.broadcast = bool(allow_broadcast)
            try:
                protocol = protocol_factory()
                transport = DatagramTransport(self.driver, self.loop, endpoint, protocol, self._registry)
            except BaseException:
                endpoint.close(self.driver.scheduler.now())
                raise
            transport.start()
            return transport, protocol
        assert failure is not None
        raise failure

    # ICMP

    async def resolve(self, host: str, family: int = socket.AF_UNSPEC) -> list[str]:
        """The addresses that a connection to `host` would try. Raises `socket.gaierror`."""
        return [bytes_to_ip(found) for found in await lookup(self.resolver, host, family, passive=False)]

    async def ping(
        self, host: str, count: int | None = None, *, family: int = socket.AF_UNSPEC, **kwds: Any
    ) -> AsyncIterator[PingResult]:
        """Echo requests to `host`; `async for result in stack.ping("10.0.0.1", 4)`. Keywords are those of `ping.ping`:
        `interval`, `timeout` (seconds), `ttl`, `size` (bytes), `dont_fragment`.
        """
        self._check()
        address = (await lookup(self.resolver, host, family, passive=False))[0]
        async with aclosing(ping(self.driver, address, count=count, **kwds)) as results:
            async for result in results:
                yield result

    async def traceroute(self, host: str, *, family: int = socket.AF_UNSPEC, **kwds: Any) -> AsyncIterator[Hop]:
        """The way to `host`, hop by hop. Keywords are those of `ping.traceroute`: `max_hops`, `probes`, `timeout`."""
        self._check()
        address = (await lookup(self.resolver, host, family, passive=False))[0]
        async with aclosing(traceroute(self.driver, address, **kwds)) as hops:
            async for hop in hops:
                yield hop

    # The end

    async def aclose(self, timeout: float = CLOSE_TIMEOUT) -> None:
        """Close everything in order: servers, then connections with FIN; then take the links away.

        Connections that are not finished after `timeout` seconds are reset. Calling it twice is harmless.
        """
        if self._closed:
            return
        self._closed = True
        for member in self._registry:
            if isinstance(member, TcpTransport):
                (app_transport(member.get_protocol()) or member).close()
            else:
                member.close()
        try:
            await asyncio.wait_for(self._registry.wait_empty(), timeout)
        except TimeoutError:
            logger.warning("%d connections did not close within %s seconds: they are reset", self.active, timeout)
        finally:
            self._abort_all()
            await asyncio.sleep(0)  # connection_lost
            self._remove_links()

    def close(self) -> None:
        """Take everything away at once: connections are reset. `aclose` is the orderly way."""
        if self.driver.closed:
            return
        self._closed = True
        self._abort_all()
        self._remove_links()

    async def __aenter__(self) -> AsyncStack:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    # Inside

    def _abort_all(self) -> None:
        for member in self._registry:
            if isinstance(member, TcpTransport):
                member.abort_connection()
            else:
                member.abort()

    def _remove_links(self) -> None:
        links = self.driver.links
        self.driver.close()
        for link in links:
            link.close()

    def _check(self, name: str = "", sock: object | None = None) -> None:
        if self._closed:
            raise RuntimeError("the stack is closed")
        if sock is not None:
            raise TypeError(
                f"{name}= takes a socket of this stack, and {type(sock).__name__} objects belong to the kernel's: "
                "pass host and port instead"
            )

    def _config(self, config: TcpConfig | None) -> TcpConfig:
        if config is not None:
            config.validate()
            return config
        settings = self.stack.config.tcp.copy()
        settings.nagle = NAGLE_OFF
        return settings

    def _listen(
        self, addresses: list[bytes], port: int, backlog: int, config: TcpConfig
    ) -> list[tuple[Listener, bytes]]:
        """One listener an address; all or none."""
        listeners: list[tuple[Listener, bytes]] = []
        now = self.driver.scheduler.now()
        wanted = port
        failure: OSError | None = None
        for address in addresses:
            try:
                listener = self._listen_one(now, address, wanted, backlog, config, may_move=port == 0)
            except OSError as exc:
                name = socket_name(address, port)
                detail = f"error while attempting to bind on address {name!r}: {str(exc.strerror).lower()}"
                failure = OSError(exc.errno, detail)
                if exc.errno == errno.EADDRNOTAVAIL:
                    continue  # perhaps a family that the stack has no address of
                break
            listeners.append((listener, address))
            wanted = listener.local_port
        else:
            if listeners:
                return listeners
        for listener, _ in listeners:
            listener.close(now)
        assert failure is not None
        raise failure

    def _listen_one(
        self, now: int, address: bytes, port: int, backlog: int, config: TcpConfig, *, may_move: bool
    ) -> Listener:
        try:
            return self.stack.listen(now, address, port, backlog, config)
        except OSError as exc:
            if not may_move or not port or exc.errno != errno.EADDRINUSE:
                raise
        return self.stack.listen(now, address, 0, backlog, config)

    async def _datagram_addresses(
        self, local_addr: tuple[str, int] | None, remote_addr: tuple[str, int] | None, family: int
    ) -> list[tuple[bytes, int, bytes, int]]:
        """What to try: local address and port, remote address and port."""
        if remote_addr is None:
            host, port = local_addr if local_addr is not None else (None, 0)
            number = port_number(port)
            return [(address, number, b"", 0) for address in await lookup(self.resolver, host, family, passive=True)]
        remote_port = port_number(remote_addr[1])
        remotes = await lookup(self.resolver, remote_addr[0], family, passive=False)
        if local_addr is None:
            return [(bytes(len(remote)), 0, remote, remote_port) for remote in remotes]
        local_port = port_number(local_addr[1])
        locals_ = await lookup(self.resolver, local_addr[0], family, passive=True)
        pairs = [
            (local, local_port, remote, remote_port)
            for local in locals_
            for remote in remotes
            if len(local) == len(remote)
        ]
        if not pairs:
            raise ValueError("can not get address information")
        return pairs


def _described(connection: Connection, now: int) -> dict[str, int | str]:
    """A connection's ends and its tcp_info."""
    ends: dict[str, int | str] = {
        "local": bytes_to_ip(connection.local_addr),
        "local_port": connection.local_port,
        "remote": bytes_to_ip(connection.remote_addr),
        "remote_port": connection.remote_port,
    }
    return ends | connection.info(now)


def _client_tls(
    ssl: bool | ssl_module.SSLContext | None,
    host: str | None,
    server_hostname: str | None,
    handshake_timeout: float | None,
    shutdown_timeout: float | None,
) -> TlsOptions | None:
    _check_tls_times(ssl, handshake_timeout, shutdown_timeout)
    if not ssl:
        if server_hostname is not None:
            raise ValueError("server_hostname is only meaningful with ssl")
        return None
    if server_hostname is None:
        if not host:
            raise ValueError("You must set server_hostname when using ssl without a host")
        server_hostname = host
    return TlsOptions(
        None if isinstance(ssl, bool) else ssl,
        server_side=False,
        server_hostname=server_hostname,
        handshake_timeout=handshake_timeout,
        shutdown_timeout=shutdown_timeout,
    )


def _check_tls_times(ssl: object, handshake_timeout: float | None, shutdown_timeout: float | None) -> None:
    if not ssl and handshake_timeout is not None:
        raise ValueError("ssl_handshake_timeout is only meaningful with ssl")
    if not ssl and shutdown_timeout is not None:
        raise ValueError("ssl_shutdown_timeout is only meaningful with ssl")


def _combined(errors: list[OSError], all_errors: bool) -> Exception:
    """One exception for the failure of all attempts, as asyncio makes it; of their kind where all are of one kind."""
    if all_errors:
        return ExceptionGroup("create_connection failed", list(errors))
    texts = [str(exc) for exc in errors]
    if len(set(texts)) == 1:
        return errors[0]
    text = f"Multiple exceptions: {', '.join(texts)}"
    first = errors[0].errno
    if first and all(exc.errno == first for exc in errors):
        return OSError(first, text)  # ConnectionRefusedError and its like
    return OSError(text)
