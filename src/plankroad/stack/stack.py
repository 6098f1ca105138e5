"""`Stack`: a host, or a router. Packets and the time go in; packets, events and the next deadline come out.

Inputs: `receive`, `handle_timeout`. Commands of the program: `connect`, `listen`, `bind_udp`, `open_ping`, and the
methods of what these return. Outputs, to be drained after any of those, in this order: `poll_transmit` until it
returns None, `poll_endpoint` until it returns None (`poll_events` of each says what happened), `next_timeout`.
"""

from __future__ import annotations

import errno
from random import Random

from plankroad.endpoint import Endpoint
from plankroad.ip.interface import Interface
from plankroad.ip.routes import Route
from plankroad.stack import configure, groups, tcp_open, udp_host
from plankroad.stack.config import StackConfig
from plankroad.stack.groups import GroupReports
from plankroad.stack.host import Host
from plankroad.stack.icmp_output import send_error4, send_error6
from plankroad.stack.ping import PingEndpoint
from plankroad.stack.receive import receive
from plankroad.stack.routing import find_route, source_for
from plankroad.stack.shed import Stalled, memory_use, shed_stalled, stalled
from plankroad.stack.work import advise, neighbour_failures, poll, poll_local
from plankroad.tcp.config import TcpConfig
from plankroad.tcp.connection import Connection
from plankroad.tcp.listen import Listener
from plankroad.trace.eventlog import EventLog
from plankroad.udp.endpoint import UdpEndpoint, os_error
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

    def poll_local(self, now: int) -> None:
        """Instead of `poll_transmit` while no link takes a packet: serve what needs none, the host's own traffic."""
        poll_local(self, now)

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
                advise(self, endpoint)
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
        return configure.add_interface(self, name, mtu, ethernet, mac, tx_csum, gso_max_size)

    def add_address(self, interface: Interface, address: str) -> None:
        """Give an interface an address, `10.0.0.1/24` or `fd00::1/64`; the subnet's route comes with it.

        Raises ValueError for text that is no address, one the interface has, and no host's address.
        """
        configure.add_address(self, interface, address)

    def check_address(self, now: int, interface: Interface, address: str) -> None:
        """Give an Ethernet interface an address once it is known that no other host has it; tentative until then.

        RFC 4862 section 5.4, RFC 5227 section 2.1. Raises ValueError as `add_address`, and without Ethernet.
        """
        configure.check_address(self, now, interface, address)

    def autoconfigure(self, now: int, interface: Interface) -> None:
        """Make a link-local address, ask for routers and follow them: addresses, default routes (RFC 4862, RFC 4861).

        Raises ValueError without Ethernet.
        """
        configure.autoconfigure(self, now, interface)

    def remove_address(self, interface: Interface, address: str) -> None:
        """Take an address away, with its last address the subnet's route too. Raises ValueError if it is not there."""
        configure.remove_address(self, interface, address)

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
        return configure.add_route(self, prefix, gateway, interface, metric, weight)

    def remove_route(self, route: Route) -> bool:
        """Take a route away that `add_route` gave; False where it is gone already."""
        return self.routes.remove(route)

    def set_interface_up(self, now: int, interface: Interface, up: bool) -> None:
        """Say that a link works or does not: routes through it count or do not."""
        configure.set_interface_up(self, now, interface, up)

    def set_mtu(self, now: int, interface: Interface, mtu: int) -> None:
        """Change what the link takes, in bytes of an IP packet. Connections learn of it before they send again."""
        configure.set_mtu(self, now, interface, mtu)

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
        fast_open: bool = False,
    ) -> Connection:
        """Open a connection to `remote`, `port` (RFC 9293 section 3.9.1.1). EVENT_CONNECTED or EVENT_ERROR follow.

        `local`, `local_port`: b"" (or all zeros) and 0 to have them selected. `interface`: index of the one to use for
        link-local addresses. `fast_open`: as `TcpConfig.fast_open`, which may ask for it too; where `awaits_write` of
        the connection is then true, its first `send` goes out in the SYN.

        Raises OSError: EINVAL, EAFNOSUPPORT, ENETUNREACH (no route; MUST-46: a broadcast or multicast address),
        EADDRNOTAVAIL (`local` is not this host's, no port is left), EADDRINUSE (the local port is used towards that
        remote end). A connection in TIME-WAIT makes place where no port is left, or its port is asked for, if
        timestamps tell the two apart (RFC 6191). Raises ValueError for a bad configuration.
        """
        return tcp_open.connect(self, now, remote, port, local, local_port, config, interface, fast_open)

    def listen(
        self,
        now: int,
        local: bytes,
        port: int,
        backlog: int = 128,
        config: TcpConfig | None = None,
        v6only: bool = True,
        fast_open: int = -1,
    ) -> Listener:
        """Listen for connections to `port` (0 = have one selected: `Listener.local_port`).

        `local`: b"" for any address of both families, all zeros for any of one (with `v6only` off, :: is both), or an
        own address. Connections in TIME-WAIT do not keep anyone from listening, two listeners do: as on Linux, on the
        same address or where one of them is the wildcard. Raises OSError: EINVAL, EADDRNOTAVAIL, EADDRINUSE; ValueError
        for a bad configuration.
        `fast_open`: in place of `TcpConfig.fast_open_queue`, -1 = what that says.
        """
        return tcp_open.listen(self, local, port, backlog, config, v6only, fast_open)

    def set_fast_open_key(self, key: bytes, previous: bytes = b"") -> None:
        """Make Fast Open cookies with `key` from now on, and take those made with `previous` too: for servers that
        share an address (RFC 7413 section 6.3.4). Keys do not change by themselves any more.

        Raises ValueError for keys shorter than 16 bytes.
        """
        self.fast_open_keys.set_key(key, previous)

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
        return udp_host.bind(self, local, port, remote, remote_port, reuse, rcv_buf, snd_buf)

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
        return udp_host.source(self, endpoint, dst, local, interface)

    def udp_limit(self, now: int, endpoint: UdpEndpoint, dst: bytes, interface: int) -> int:
        """See `UdpHost`."""
        return udp_host.limit(self, now, endpoint, dst, interface)

    def udp_connect(self, endpoint: UdpEndpoint, addr: bytes, port: int) -> None:
        """See `UdpHost`. As on Linux a wild local address becomes the one that is used towards the peer."""
        udp_host.connect(self, endpoint, addr, port)

    def udp_join(self, now: int, endpoint: UdpEndpoint, group: bytes, interface: int) -> int:
        """See `UdpHost`."""
        return udp_host.join(self, now, endpoint, group, interface)

    def udp_leave(self, now: int, endpoint: UdpEndpoint, group: bytes, interface: int) -> None:
        """See `UdpHost`."""
        udp_host.leave(self, now, endpoint, group, interface)

    def udp_unbind(self, endpoint: UdpEndpoint) -> None:
        """See `UdpHost`."""
        udp_host.unbind(self, endpoint)

    # Looking

    def leftovers(self) -> dict[str, int]:
        """How much of everything is there that ends: all zeros where every connection and endpoint is gone."""
        tcp_open.sweep_listeners(self)
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
            "work": len(self.work) + len(self.turn) - self.turn_at + len(self.remote),
            "ready": len(self.ready),
        }

    def memory_use(self) -> dict[str, int]:
        """What `StackConfig.memory` is used for now, bytes: "limit", "used", and of that "send", "receive",
        "out_of_order", "fragments" and "overhead".
        """
        return memory_use(self)

    def stalled(self, now: int, least: int = 0, zero_window: bool = False) -> list[Stalled]:
        """Connections that hold data of which for `least` ns not an eighth got through, the longest first.

        `zero_window`: only those whose peers keep their windows closed and answer probes (RFC 6429), by that time.
        """
        return stalled(self, now, least, zero_window)

    def shed_stalled(self, now: int, least: int, zero_window: bool = False, most: int = -1) -> int:
        """Reset up to `most` (-1: all) of `stalled`, the longest first; returns how many.

        Their programs hear of ETIMEDOUT. RFC 6429 section 4: a TCP must not, but its program may.
        """
        return shed_stalled(self, now, least, zero_window, most)

    def is_idle(self) -> bool:
        """Nothing is left: no connection, listener, endpoint, timer, fragment or packet."""
        return not any(self.leftovers().values())

    def source_of(self, dst: bytes) -> bytes:
        """The address this host would use towards `dst`, b"" where there is none (for sorting destinations)."""
        route = find_route(self, dst)
        return b"" if route is None else source_for(self, dst, route)

    # Inside

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
