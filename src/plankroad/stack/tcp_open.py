"""OPEN, active and passive (RFC 9293 section 3.9.1.1): who may connect from where, who may listen."""

from __future__ import annotations

import errno
from typing import Final

from plankroad.stack.host import Host
from plankroad.stack.output import is_group
from plankroad.stack.ports import ANY4, ANY6
from plankroad.stack.routing import find_route, scope_of, source_fits, source_for
from plankroad.stack.tcp_input import set_source_route
from plankroad.stack.tcp_output import forget, refresh, register
from plankroad.tcp.config import TcpConfig
from plankroad.tcp.connection import Connection
from plankroad.tcp.constants import TIME_WAIT
from plankroad.tcp.cookies import SynCookies
from plankroad.tcp.listen import Listener
from plankroad.udp.endpoint import os_error
from plankroad.units import SECOND
from plankroad.wire.address import is_broadcast, is_multicast, is_unspecified

#: So many ports are asked after before one whose connection is in TIME-WAIT is as good as a free one. Else a host that
#: has used all of them towards a destination would look through the whole range for each connection.
FREE_PORT_TRIES: Final = 256

#: RFC 6191 section 2: the new incarnation's timestamps are greater than the last that the old one sent. The clock ticks
#: every millisecond; Linux waits a second too.
TIME_WAIT_AGE: Final = SECOND

#: How far past the old incarnation's last octet the new one begins at least: more than a window without scale.
ISN_STEP: Final = 65535 + 2


class TcpPortProbe:
    """Whether a local port is taken for a connection to one remote end, as `PortAllocator.allocate` asks.

    `spare`: a port that only a connection in TIME-WAIT holds, of those met the one that heard of its peer longest ago
    (at `spare_since`), so that it may be taken over; 0 where none was met.
    """

    __slots__ = ("asked", "host", "local", "now", "remote", "remote_port", "spare", "spare_since", "take_over")

    def __init__(
        self, host: Host, now: int, local: bytes, remote: bytes, remote_port: int, take_over: bool = False
    ) -> None:
        self.host = host
        self.now = now
        self.take_over = take_over
        self.local = local
        self.remote = remote
        self.remote_port = remote_port
        self.asked: int = 0
        self.spare: int = 0
        self.spare_since: int = 0

    def in_use(self, port: int) -> bool:
        """The four-tuple is in the table, or somebody listens at the port."""
        host = self.host
        self.asked += 1
        path = host.connections.get((self.local, port, self.remote, self.remote_port))
        if path is not None:
            if not self.take_over or not may_take_over(self.now, path.connection):
                return True
            if host.tcp_bound.conflict(self.local, port):
                return True
            since = path.connection.tcb.ts_recent_at
            if self.spare == 0 or since < self.spare_since:
                self.spare = port
                self.spare_since = since
            return self.asked <= FREE_PORT_TRIES
        # A connection of the host to the very port it would get, at the same address, would be to itself.
        if port == self.remote_port and self.local == self.remote:
            return True
        return host.tcp_bound.conflict(self.local, port)


def may_take_over(now: int, connection: Connection) -> bool:
    """Whether a new connection may have the four-tuple of this one, which is in TIME-WAIT.

    RFC 6191 section 2 seen from the sender (Linux' tcp_tw_reuse): with timestamps the peer can tell the incarnations
    apart, since ours go on growing (`IsnGenerator.ts_offset` depends on the four-tuple alone).
    """
    t = connection.tcb
    return t.state == TIME_WAIT and t.ts_ok and now - t.ts_recent_at > TIME_WAIT_AGE


def select_port(host: Host, now: int, local: bytes, remote: bytes, port: int, timestamps: bool) -> int:
    """A local port for a connection to `remote`, `port`. Raises OSError with EADDRNOTAVAIL where there is none."""
    probe = TcpPortProbe(host, now, local, remote, port, timestamps)
    try:
        return host.tcp_ports.allocate(local, remote, port, probe.in_use)
    except OSError:
        if probe.spare == 0:
            raise
        return probe.spare


def connect(
    host: Host,
    now: int,
    remote: bytes,
    port: int,
    local: bytes,
    local_port: int,
    config: TcpConfig | None,
    interface: int,
    fast_open: bool,
) -> Connection:
    """Open a connection. `Stack.connect` says what is what."""
    settings = host.config.tcp if config is None else config
    settings.validate()
    if len(remote) not in (4, 16) or not 1 <= port <= 65535 or not 0 <= local_port <= 65535:
        raise os_error(errno.EINVAL)
    if local and is_unspecified(local):
        if len(local) != len(remote):
            raise os_error(errno.EAFNOSUPPORT)
        local = b""
    if local and len(local) != len(remote):
        raise os_error(errno.EAFNOSUPPORT)
    # RFC 9293 section 3.9.2.3, MUST-46: "A TCP implementation MUST reject as an error a local OPEN call for an
    # invalid remote IP address (e.g., a broadcast or multicast address)". The errno is Linux's.
    if is_multicast(remote) or is_broadcast(remote) or is_unspecified(remote):
        raise os_error(errno.ENETUNREACH)
    hops = settings.source_route
    first = hops[0] if hops and len(remote) == 4 else remote
    scope = interface if interface >= 0 else scope_of(host, local, remote, -1)
    route = find_route(host, first, 0, scope)
    if route is None or is_group(route.interface, remote):
        raise os_error(errno.ENETUNREACH)
    if local:
        if host.owner(local) is None:
            raise os_error(errno.EADDRNOTAVAIL)
        if not source_fits(host, local, route):
            raise os_error(errno.EINVAL)
    else:
        # MUST-44: "the TCP implementation MUST ask the IP layer for an IP address".
        local = source_for(host, first, route)
        if not local:
            raise os_error(errno.EADDRNOTAVAIL)
    if local_port:
        old = host.connections.get((local, local_port, remote, port))
        if old is not None and not (settings.timestamps and may_take_over(now, old.connection)):
            raise os_error(errno.EADDRINUSE)
    else:
        local_port = select_port(host, now, local, remote, port, settings.timestamps)
        old = host.connections.get((local, local_port, remote, port))
    iss = host.isn.isn(now, local, local_port, remote, port)
    if old is not None:
        # What the old incarnation sent may have overtaken the clock that initial sequence numbers are made from.
        least = old.connection.tcb.snd_max + ISN_STEP
        if iss - least & 0xFFFFFFFF >= 0x80000000:
            iss = least & 0xFFFFFFFF
        old.connection.drop(now)
        forget(host, old.connection)
    mtu = host.pmtu.get(now, first, route.path_mtu())
    connection = Connection(
        settings,
        host.counters.tcp,
        local,
        local_port,
        remote,
        port,
        iss,
        host.isn.ts_offset(local, local_port, remote, port),
        route.offered_mtu(),
        mtu,
        host.work,
        host.log,
    )
    if route.initial_window:
        connection.tcb.initial_window = route.initial_window
    path = register(host, now, connection, -1)
    if interface >= 0:
        path.scope = interface
    if hops:
        set_source_route(path, hops)
    refresh(host, now, path)
    connection.open(now, host.fast_open if fast_open or settings.fast_open else None)
    return connection


def listen(
    host: Host, local: bytes, port: int, backlog: int, config: TcpConfig | None, v6only: bool, fast_open: int
) -> Listener:
    """Listen for connections. `Stack.listen` says what is what."""
    settings = host.config.tcp if config is None else config
    if len(local) not in (0, 4, 16) or not 0 <= port <= 65535:
        raise os_error(errno.EINVAL)
    if local == ANY6 and not v6only:
        local = b""
    if local and local not in (ANY4, ANY6) and host.owner(local) is None:
        raise os_error(errno.EADDRNOTAVAIL)
    if port == 0:
        probe = TcpPortProbe(host, 0, local, b"", 0)
        try:
            port = host.tcp_ports.allocate(local, b"", 0, probe.in_use)
        except OSError:
            raise os_error(errno.EADDRINUSE) from None
    elif host.tcp_bound.conflict(local, port):
        sweep_listeners(host)
        if host.tcp_bound.conflict(local, port):
            raise os_error(errno.EADDRINUSE)
    listener = Listener(
        settings,
        host.counters.tcp,
        local,
        port,
        backlog,
        host.isn,
        SynCookies(host.secret),
        host.work,
        host.log,
        host.fast_open_keys,
    )
    if fast_open >= 0:
        listener.fast_open_queue = fast_open
    host.listeners[(local, port)] = listener
    host.tcp_bound.add(local, port)
    return listener


def sweep_listeners(host: Host) -> None:
    """Take out the listeners that were closed and not polled since."""
    for key, listener in list(host.listeners.items()):
        if listener.closed:
            del host.listeners[key]
            host.tcp_bound.remove(key[0], key[1])
