"""`Stack`: a host, or a router. Packets and the time go in; packets, events and the next deadline come out.

Inputs: `receive`, `handle_timeout`. Commands of the program: `connect`, `listen`, `bind_udp`, `open_ping`, and the
methods of what these return. Outputs, to be drained after any of those, in this order: `poll_transmit` until it
returns None, `poll_endpoint` until it returns None (`poll_events` of each says what happened), `next_timeout`.
"""

from __future__ import annotations

import errno
from random import Random

from plankroad.endpoint import Endpoint
from plankroad.ip.interface import MAX_MTU, MIN_MTU, Interface
from plankroad.ip.neighbour import NeighbourCache
from plankroad.ip.routes import ROUTE_CONNECTED, Route
from plankroad.stack import groups
from plankroad.stack.config import StackConfig
from plankroad.stack.groups import GroupReports
from plankroad.stack.host import Host
from plankroad.stack.icmp_output import send_error4, send_error6
from plankroad.stack.output import is_group
from plankroad.stack.ping import PingEndpoint
from plankroad.stack.ports import ANY4, ANY6
from plankroad.stack.receive import receive
from plankroad.stack.routing import find_route, group_route, scope_of, source_fits, source_for
from plankroad.stack.tcp_input import set_source_route
from plankroad.stack.tcp_output import refresh, register
from plankroad.stack.work import neighbour_failures, poll
from plankroad.tcp.config import TcpConfig
from plankroad.tcp.connection import Connection
from plankroad.tcp.cookies import SynCookies
from plankroad.tcp.listen import Listener
from plankroad.trace.eventlog import EventLog
from plankroad.udp.endpoint import PMTU_PROBE, UdpEndpoint, os_error
from plankroad.wire.address import (
    IPV4_BROADCAST,
    in_prefix,
    ip_to_bytes,
    is_broadcast,
    is_multicast,
    is_unspecified,
    network_of,
    parse_prefix,
)
from plankroad.wire.constants import (
    ICMP_REASSEMBLY_TIME_EXCEEDED,
    ICMP_TIME_EXCEEDED,
    ICMPV6_REASSEMBLY_TIME_EXCEEDED,
    ICMPV6_TIME_EXCEEDED,
)
from plankroad.wire.errors import BadPacket
from plankroad.wire.ipv4 import parse_ipv4
from plankroad.wire.ipv6 import parse_ipv6
from plankroad.wire.packet import Packet


class TcpPortProbe:
    """Whether a local port is taken for a connection to one remote end, as `PortAllocator.allocate` asks."""

    __slots__ = ("host", "local", "remote", "remote_port")

    def __init__(self, host: Host, local: bytes, remote: bytes, remote_port: int) -> None:
        self.host = host
        self.local = local
        self.remote = remote
        self.remote_port = remote_port

    def in_use(self, port: int) -> bool:
        """The four-tuple is in the table, or somebody listens at the port."""
        host = self.host
        if (self.local, port, self.remote, self.remote_port) in host.connections:
            return True
        # A connection of the host to the very port it would get, at the same address, would be to itself.
        if port == self.remote_port and self.local == self.remote:
            return True
        return host.tcp_bound.conflict(self.local, port)


class Stack(Host):
    """A host. See the module's text for the order of calls; `StackConfig.forwarding` makes it a router.

    `rng`: for what must not be guessed but need not be secret. `secret`: 16 bytes or more, for sequence numbers, ports
    and cookies. `log`: structured events, None for none. Raises ValueError for a bad configuration or secret.
    """

    __slots__ = ()

    def __init__(self, config: StackConfig, rng: Random, secret: bytes, log: EventLog | None = None) -> None:
        super().__init__(config, rng, secret, log)
        self.groups = GroupReports()

    # The world outside

    def receive(self, now: int, packet: Packet) -> None:
        """A packet (on an Ethernet interface a frame) came in by interface `packet.interface`. Never raises."""
        receive(self, now, packet)

    def poll_transmit(self, now: int) -> Packet | None:
        """The next packet to put on a link, that of interface `packet.interface`; None when there is no more."""
        return poll(self, now)

    def poll_endpoint(self) -> Endpoint | None:
        """An endpoint with events for the program, to be asked by `poll_events`; None when there is no more."""
        while self.ready:
            endpoint = self.ready.popleft()
            self.ready_set.discard(endpoint)
            if isinstance(endpoint, Connection):
                if endpoint.has_events():
                    return endpoint
            elif endpoint.events:
                return endpoint
        return None

    def next_timeout(self) -> int:
        """When `handle_timeout` is to be called; `NEVER` where nothing waits."""
        when = min(self.timers.next_timeout(), self.fragments.next_timeout())
        for interface in self.ethernets:
            neighbours = interface.neighbours
            if neighbours is not None:
                when = min(when, neighbours.next_timeout())
        reports = self.groups
        if reports is not None:
            when = min(when, reports.next_timeout())
        return when

    def handle_timeout(self, now: int) -> None:
        """The time is `now`: do all that is due. Too early a call does no harm."""
        endpoint = self.timers.pop_due(now)
        while endpoint is not None:
            if isinstance(endpoint, Connection):
                endpoint.handle_timeout(now)
            endpoint = self.timers.pop_due(now)
        if self.fragments.next_timeout() <= now:
            for packet in self.fragments.handle_timeout(now):
                self._reassembly_expired(now, packet)
        if self.ethernets:
            for interface in self.ethernets:
                neighbours = interface.neighbours
                if neighbours is not None:
                    neighbours.handle_timeout(now)
            neighbour_failures(self, now)
        groups.handle_timeout(self, now)

    # Configuration

    def add_interface(
        self,
        name: str,
        mtu: int,
        *,
        ethernet: bool = False,
        mac: bytes = b"",
        tx_csum: bool = False,
        gso_max_size: int = 0,
    ) -> Interface:
        """A new interface, up, without addresses. `mtu` counts IP packets. Raises ValueError for bad values."""
        index = len(self.interfaces)
        interface = Interface(index, name, mtu, ethernet, mac, tx_csum, gso_max_size)
        if self.config.forwarding:
            interface.set_forwarding(True)
        self.interfaces.append(interface)
        self.on_link4.append(Route(bytes(4), 0, b"", interface, origin=ROUTE_CONNECTED))
        self.on_link6.append(Route(bytes(16), 0, b"", interface, origin=ROUTE_CONNECTED))
        if ethernet:
            interface.neighbours = NeighbourCache(interface, self.routes, self.rng, None, self.counters.icmp)
            self.ethernets.append(interface)
        self.generation += 1
        return interface

    def add_address(self, interface: Interface, address: str) -> None:
        """Give an interface an address, `10.0.0.1/24` or `fd00::1/64`; the subnet's route comes with it.

        Raises ValueError for text that is no address, one the interface has, and no host's address.
        """
        ip, prefix_len = parse_prefix(address)
        interface.add_address(ip, prefix_len)
        if prefix_len < len(ip) * 8:
            for route in self.routes.find(network_of(ip, prefix_len), prefix_len):
                if route.interface is interface and not route.gateway and route.metric == 0:
                    break
            else:
                self.routes.add(Route(ip, prefix_len, b"", interface, origin=ROUTE_CONNECTED))
        self.routes.invalidate()

    def remove_address(self, interface: Interface, address: str) -> None:
        """Take an address away, with its last address the subnet's route too. Raises ValueError if it is not there."""
        ip, _ = parse_prefix(address)
        held = interface.by_ip.get(ip)
        if held is None:
            raise ValueError(f"{interface.name} does not have {address}")
        prefix_len = held.prefix_len
        interface.remove_address(ip)
        shared = False
        for other in interface.addresses:
            if other.prefix_len == prefix_len and in_prefix(other.ip, ip, prefix_len):
                shared = True
        if not shared:
            for route in self.routes.find(network_of(ip, prefix_len), prefix_len):
                if route.interface is interface and route.origin == ROUTE_CONNECTED:
                    self.routes.remove(route)
        self.routes.invalidate()

    def add_route(
        self,
        prefix: str,
        *,
        gateway: str | None = None,
        interface: Interface | None = None,
        metric: int = 0,
        weight: int = 1,
    ) -> Route:
        """Add a route to `prefix` (`0.0.0.0/0`, `::/0` for the default) by `gateway` or, with None, on the link.

        Without an interface it is the one whose subnet the gateway is in. `weight` is the share of this one among equal
        routes. Raises ValueError for bad values, a gateway that no subnet has, and a route that is there already.
        """
        network, prefix_len = parse_prefix(prefix)
        hop = b"" if gateway is None else ip_to_bytes(gateway)
        if interface is None:
            if not hop:
                raise ValueError("a route needs a gateway or an interface")
            for candidate in self.interfaces:
                if candidate.on_link(hop) is not None:
                    interface = candidate
                    break
            else:
                raise ValueError(f"no interface has an address in the subnet of {gateway}; name the interface")
        if hop and self.owner(hop) is not None:
            raise ValueError(f"{gateway} is this host itself")
        route = Route(network, prefix_len, hop, interface, metric, weight)
        self.routes.add(route)
        return route

    def remove_route(self, route: Route) -> bool:
        """Take a route away that `add_route` gave; False where it is gone already."""
        return self.routes.remove(route)

    def set_interface_up(self, now: int, interface: Interface, up: bool) -> None:
        """Say that a link works or does not: routes through it count or do not."""
        if interface.up == up:
            return
        interface.up = up
        self.generation += 1
        self.routes.invalidate()
        neighbours = interface.neighbours
        if neighbours is not None and not up:
            neighbours.clear()

    def set_mtu(self, now: int, interface: Interface, mtu: int) -> None:
        """Change what the link takes, in bytes of an IP packet. Connections learn of it before they send again."""
        if not MIN_MTU <= mtu <= MAX_MTU:
            raise ValueError(f"MTU of {interface.name} is not within {MIN_MTU} to {MAX_MTU}: {mtu}")
        if mtu == interface.mtu:
            return
        interface.mtu = mtu
        self.generation += 1
        # What is in flight may be too large now: no timer has to find out.
        for path in list(self.paths.values()):
            if path.interface is interface and path.mtu > mtu:
                refresh(self, now, path)

    # Programs: TCP

    def connect(
        self,
        now: int,
        remote: bytes,
        port: int,
        local: bytes = b"",
        local_port: int = 0,
        config: TcpConfig | None = None,
        interface: int = -1,
    ) -> Connection:
        """Open a connection to `remote`, `port` (RFC 9293 section 3.9.1.1). EVENT_CONNECTED or EVENT_ERROR follow.

        `local`, `local_port`: b"" (or all zeros) and 0 to have them selected. `interface`: index of the one to use for
        link-local addresses. Raises OSError: EINVAL, EAFNOSUPPORT, ENETUNREACH (no route; MUST-46: a broadcast or
        multicast address), EADDRNOTAVAIL (`local` is not this host's, no port is left), EADDRINUSE (the local port is
        used towards that remote end). Raises ValueError for a bad configuration.
        """
        settings = self.config.tcp if config is None else config
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
        scope = interface if interface >= 0 else scope_of(self, local, remote, -1)
        route = find_route(self, first, 0, scope)
        if route is None or is_group(route.interface, remote):
            raise os_error(errno.ENETUNREACH)
        if local:
            if self.owner(local) is None:
                raise os_error(errno.EADDRNOTAVAIL)
            if not source_fits(self, local, route):
                raise os_error(errno.EINVAL)
        else:
            # MUST-44: "the TCP implementation MUST ask the IP layer for an IP address".
            local = source_for(self, first, route)
            if not local:
                raise os_error(errno.EADDRNOTAVAIL)
        if local_port:
            if (local, local_port, remote, port) in self.connections:
                raise os_error(errno.EADDRINUSE)
        else:
            probe = TcpPortProbe(self, local, remote, port)
            local_port = self.tcp_ports.allocate(local, remote, port, probe.in_use)
        mtu = self.pmtu.get(now, first, route.path_mtu())
        connection = Connection(
            settings,
            self.counters.tcp,
            local,
            local_port,
            remote,
            port,
            self.isn.isn(now, local, local_port, remote, port),
            self.isn.ts_offset(local, local_port, remote, port),
            route.interface.mtu,
            mtu,
            self.work,
            self.log,
        )
        path = register(self, now, connection, -1)
        if interface >= 0:
            path.scope = interface
        if hops:
            set_source_route(path, hops)
        refresh(self, now, path)
        connection.open(now)
        return connection

    def listen(
        self,
        now: int,
        local: bytes,
        port: int,
        backlog: int = 128,
        config: TcpConfig | None = None,
        v6only: bool = True,
    ) -> Listener:
        """Listen for connections to `port` (0 = have one selected: `Listener.local_port`).

        `local`: b"" for any address of both families, all zeros for any of one (with `v6only` off, :: is both), or an
        own address. Connections in TIME-WAIT do not keep anyone from listening, two listeners do: as on Linux, on the
        same address or where one of them is the wildcard. Raises OSError: EINVAL, EADDRNOTAVAIL, EADDRINUSE; ValueError
        for a bad configuration.
        """
        settings = self.config.tcp if config is None else config
        if len(local) not in (0, 4, 16) or not 0 <= port <= 65535:
            raise os_error(errno.EINVAL)
        if local == ANY6 and not v6only:
            local = b""
        if local and local not in (ANY4, ANY6) and self.owner(local) is None:
            raise os_error(errno.EADDRNOTAVAIL)
        if port == 0:
            probe = TcpPortProbe(self, local, b"", 0)
            try:
                port = self.tcp_ports.allocate(local, b"", 0, probe.in_use)
            except OSError:
                raise os_error(errno.EADDRINUSE) from None
        elif self.tcp_bound.conflict(local, port):
            self._sweep_listeners()
            if self.tcp_bound.conflict(local, port):
                raise os_error(errno.EADDRINUSE)
        listener = Listener(
            settings,
            self.counters.tcp,
            local,
            port,
            backlog,
            self.isn,
            SynCookies(self.secret),
            self.work,
            self.log,
        )
        self.listeners[(local, port)] = listener
        self.tcp_bound.add(local, port)
        return listener

    def _sweep_listeners(self) -> None:
        """Take out the listeners that were closed and not polled since."""
        for key, listener in list(self.listeners.items()):
            if listener.closed:
                del self.listeners[key]
                self.tcp_bound.remove(key[0], key[1])

    # Programs: UDP and ping

    def bind_udp(
        self,
        local: bytes = b"",
        port: int = 0,
        remote: bytes = b"",
        remote_port: int = 0,
        *,
        reuse: bool = False,
        rcv_buf: int = 0,
        snd_buf: int = 0,
    ) -> UdpEndpoint:
        """A UDP endpoint at `local` (b"" or all zeros = any), `port` (0 = have one selected), connected if so asked.

        `reuse`: share the port with others that allow it too; groups are heard by all, the rest by the last.
        `rcv_buf`, `snd_buf`: bytes, 0 = the configuration's. Raises OSError: EINVAL, EADDRNOTAVAIL, EADDRINUSE and
        those of `UdpEndpoint.connect`.
        """
        if len(local) not in (0, 4, 16) or not 0 <= port <= 65535:
            raise os_error(errno.EINVAL)
        if (
            local
            and local not in (ANY4, ANY6)
            and not is_multicast(local)
            and not self._is_broadcast(local)
            and self.owner(local) is None
        ):
            raise os_error(errno.EADDRNOTAVAIL)
        config = self.config
        if port == 0:
            port = self.udp.allocate(local, remote, remote_port)
        endpoint = UdpEndpoint(
            self,
            self.counters.udp,
            local,
            port,
            rcv_buf if rcv_buf else config.udp_rcv_buf,
            snd_buf if snd_buf else config.udp_snd_buf,
            self.work,
        )
        endpoint.reuse = reuse
        self.udp.bind(endpoint)
        if remote:
            try:
                endpoint.connect(remote, remote_port)
            except OSError:
                self.udp.unbind(endpoint)
                raise
        return endpoint

    def open_ping(self, ident: int = 0) -> PingEndpoint:
        """An endpoint for echo requests. `ident`: its identifier, 0 = have one selected.

        Raises OSError: EINVAL, EADDRINUSE.
        """
        if not 0 <= ident <= 0xFFFF:
            raise os_error(errno.EINVAL)
        if ident == 0:
            ident = self.rng.randrange(1, 0x10000)
            for _ in range(0xFFFF):
                if ident not in self.pings:
                    break
                ident = ident % 0xFFFF + 1
        if ident in self.pings:
            raise os_error(errno.EADDRINUSE)
        endpoint = PingEndpoint(self, ident, self.config.ping_queue)
        self.pings[ident] = endpoint
        return endpoint

    # What UDP endpoints ask (`UdpHost`)

    def udp_source(self, endpoint: UdpEndpoint, dst: bytes, local: bytes, interface: int) -> bytes:
        """See `UdpHost`."""
        if is_unspecified(dst):
            raise os_error(errno.EINVAL)
        scope = interface if interface >= 0 else scope_of(self, local, dst, -1)
        route = find_route(self, dst, 0, scope)
        if route is None:
            raise os_error(errno.ENETUNREACH)
        broadcast = len(dst) == 4 and not is_multicast(dst) and is_group(route.interface, dst)
        if broadcast and not endpoint.broadcast:
            raise os_error(errno.EACCES)
        if local and not self._is_broadcast(local):
            # RFC 1122 section 4.1.3.6: only valid addresses of this host may be a source.
            if self.owner(local) is None:
                raise os_error(errno.EADDRNOTAVAIL)
            if not source_fits(self, local, route):
                raise os_error(errno.EINVAL)
            return local
        source = source_for(self, dst, route)
        if source:
            return source
        # RFC 1122 section 3.2.1.3 (a): who has no address yet may ask for one.
        if dst == IPV4_BROADCAST:
            return ANY4
        raise os_error(errno.EADDRNOTAVAIL)

    def udp_limit(self, now: int, endpoint: UdpEndpoint, dst: bytes, interface: int) -> int:
        """See `UdpHost`."""
        scope = interface if interface >= 0 else scope_of(self, endpoint.local_addr, dst, -1)
        route = find_route(self, dst, 0, scope)
        if route is None:
            return 0
        mtu = route.path_mtu()
        return mtu if endpoint.pmtu == PMTU_PROBE else self.pmtu.get(now, dst, mtu)

    def udp_connect(self, endpoint: UdpEndpoint, addr: bytes, port: int) -> None:
        """See `UdpHost`. As on Linux a wild local address becomes the one that is used towards the peer."""
        if addr and (len(addr) not in (4, 16) or not 1 <= port <= 65535):
            raise os_error(errno.EINVAL)
        bound = endpoint.bound_addr
        local = b""
        if addr:
            if bound and len(bound) != len(addr):
                raise os_error(errno.EAFNOSUPPORT)
            wanted = bound if bound and not is_unspecified(bound) and not is_multicast(bound) else b""
            local = self.udp_source(endpoint, addr, wanted, -1)
        if endpoint.remote_addr:
            self.udp.disconnect(endpoint, endpoint.local_addr)
        if not addr or is_multicast(bound):
            local = bound
        if local != endpoint.local_addr:
            self.udp.unbind(endpoint)
            endpoint.local_addr = local
            self.udp.enter(endpoint)
        endpoint.remote_addr = addr
        endpoint.remote_port = port if addr else 0
        if addr:
            self.udp.connect(endpoint, local)

    def udp_join(self, now: int, endpoint: UdpEndpoint, group: bytes, interface: int) -> int:
        """See `UdpHost`."""
        if interface < 0:
            route = group_route(self, group, -1)
            if route is None:
                raise os_error(errno.ENODEV)
            interface = route.interface.index
        at = self.interface_at(interface)
        if at is None:
            raise os_error(errno.ENODEV)
        if (group, interface) in endpoint.groups:
            raise os_error(errno.EADDRINUSE)
        if at.join(group):
            groups.joined(self, now, at, group)
        return interface

    def udp_leave(self, now: int, endpoint: UdpEndpoint, group: bytes, interface: int) -> None:
        """See `UdpHost`."""
        at = self.interface_at(interface)
        if at is not None and at.leave(group):
            groups.left(self, now, at, group)

    def udp_unbind(self, endpoint: UdpEndpoint) -> None:
        """See `UdpHost`."""
        if endpoint.remote_addr:
            self.udp.disconnect(endpoint, endpoint.local_addr)
        self.udp.unbind(endpoint)

    # Looking

    def leftovers(self) -> dict[str, int]:
        """How much of everything is there that ends: all zeros where every connection and endpoint is gone."""
        self._sweep_listeners()
        udp = 0
        for endpoints in self.udp.endpoints.values():
            udp += len(endpoints)
        return {
            "connections": len(self.connections),
            "paths": len(self.paths),
            "listeners": len(self.listeners),
            "bound_ports": len(self.tcp_bound.bound) + len(self.udp.bound.bound),
            "udp": udp,
            "udp_connected": len(self.udp.connected),
            "pings": len(self.pings),
            "timers": len(self.timers),
            "fragments": len(self.fragments),
            "output": len(self.output),
            "loopback": len(self.loopback_queue),
            "work": len(self.work) + len(self.turn) - self.turn_at,
            "ready": len(self.ready),
        }

    def is_idle(self) -> bool:
        """Nothing is left: no connection, listener, endpoint, timer, fragment or packet."""
        return not any(self.leftovers().values())

    def source_of(self, dst: bytes) -> bytes:
        """The address this host would use towards `dst`, b"" where there is none (for sorting destinations)."""
        route = find_route(self, dst)
        return b"" if route is None else source_for(self, dst, route)

    # Inside

    def _is_broadcast(self, ip: bytes) -> bool:
        if len(ip) != 4 or is_unspecified(ip):
            return False
        if is_broadcast(ip):
            return True
        return any(interface.is_broadcast(ip) for interface in self.interfaces)

    def _reassembly_expired(self, now: int, packet: bytes) -> None:
        """RFC 1122 section 3.3.2, RFC 8200 section 4.5: the source is told, if the first fragment came."""
        try:
            if packet[0] >> 4 == 4:
                code = ICMP_REASSEMBLY_TIME_EXCEEDED
                send_error4(self, now, packet, parse_ipv4(packet), -1, False, ICMP_TIME_EXCEEDED, code, 0)
            else:
                code = ICMPV6_REASSEMBLY_TIME_EXCEEDED
                send_error6(self, now, packet, parse_ipv6(packet), -1, False, ICMPV6_TIME_EXCEEDED, code, 0)
        except BadPacket:
            return
