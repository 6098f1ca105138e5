"""What UDP endpoints ask of the host (`UdpHost`), and their binding to ports."""

from __future__ import annotations

import errno

from plankroad.stack import groups
from plankroad.stack.host import Host
from plankroad.stack.output import is_group
from plankroad.stack.ports import ANY4, ANY6
from plankroad.stack.routing import find_route, group_route, scope_of, source_fits, source_for
from plankroad.udp.endpoint import PMTU_PROBE, UdpEndpoint, os_error
from plankroad.wire.address import IPV4_BROADCAST, is_broadcast, is_multicast, is_unspecified


def bind(
    host: Host, local: bytes, port: int, remote: bytes, remote_port: int, reuse: bool, rcv_buf: int, snd_buf: int
) -> UdpEndpoint:
    """An endpoint at a port. `Stack.bind_udp` says what is what."""
    if len(local) not in (0, 4, 16) or not 0 <= port <= 65535:
        raise os_error(errno.EINVAL)
    if (
        local
        and local not in (ANY4, ANY6)
        and not is_multicast(local)
        and not is_any_broadcast(host, local)
        and host.owner(local) is None
    ):
        raise os_error(errno.EADDRNOTAVAIL)
    config = host.config
    if port == 0:
        port = host.udp.allocate(local, remote, remote_port)
    endpoint = UdpEndpoint(
        host,
        host.counters.udp,
        local,
        port,
        rcv_buf if rcv_buf else config.udp_rcv_buf,
        snd_buf if snd_buf else config.udp_snd_buf,
        host.work,
    )
    endpoint.reuse = reuse
    host.udp.bind(endpoint)
    if remote:
        try:
            endpoint.connect(remote, remote_port)
        except OSError:
            host.udp.unbind(endpoint)
            raise
    return endpoint


def source(host: Host, endpoint: UdpEndpoint, dst: bytes, local: bytes, interface: int) -> bytes:
    """The source address of a datagram to `dst`, `local` where it is given."""
    if is_unspecified(dst):
        raise os_error(errno.EINVAL)
    scope = interface if interface >= 0 else scope_of(host, local, dst, -1)
    route = find_route(host, dst, 0, scope)
    if route is None:
        raise os_error(errno.ENETUNREACH)
    broadcast = len(dst) == 4 and not is_multicast(dst) and is_group(route.interface, dst)
    if broadcast and not endpoint.broadcast:
        raise os_error(errno.EACCES)
    if local and not is_any_broadcast(host, local):
        # RFC 1122 section 4.1.3.6: only valid addresses of this host may be a source.
        if host.owner(local) is None:
            raise os_error(errno.EADDRNOTAVAIL)
        if not source_fits(host, local, route):
            raise os_error(errno.EINVAL)
        return local
    source = source_for(host, dst, route)
    if source:
        return source
    # RFC 1122 section 3.2.1.3 (a): who has no address yet may ask for one.
    if dst == IPV4_BROADCAST:
        return ANY4
    raise os_error(errno.EADDRNOTAVAIL)


def limit(host: Host, now: int, endpoint: UdpEndpoint, dst: bytes, interface: int) -> int:
    """The largest IP packet to `dst` that is not fragmented."""
    scope = interface if interface >= 0 else scope_of(host, endpoint.local_addr, dst, -1)
    route = find_route(host, dst, 0, scope)
    if route is None:
        return 0
    mtu = route.path_mtu()
    return mtu if endpoint.pmtu == PMTU_PROBE else host.pmtu.get(now, dst, mtu)


def connect(host: Host, endpoint: UdpEndpoint, addr: bytes, port: int) -> None:
    """Make `addr`, `port` the only peer; as on Linux a wild local address becomes the one used towards it."""
    if addr and (len(addr) not in (4, 16) or not 1 <= port <= 65535):
        raise os_error(errno.EINVAL)
    bound = endpoint.bound_addr
    local = b""
    if addr:
        if bound and len(bound) != len(addr):
            raise os_error(errno.EAFNOSUPPORT)
        wanted = bound if bound and not is_unspecified(bound) and not is_multicast(bound) else b""
        local = host.udp_source(endpoint, addr, wanted, -1)
    if endpoint.remote_addr:
        host.udp.disconnect(endpoint, endpoint.local_addr)
    if not addr or is_multicast(bound):
        local = bound
    if local != endpoint.local_addr:
        host.udp.unbind(endpoint)
        endpoint.local_addr = local
        host.udp.enter(endpoint)
    endpoint.remote_addr = addr
    endpoint.remote_port = port if addr else 0
    if addr:
        host.udp.connect(endpoint, local)


def join(host: Host, now: int, endpoint: UdpEndpoint, group: bytes, interface: int) -> int:
    """Listen to a group; the index of the interface where."""
    if interface < 0:
        route = group_route(host, group, -1)
        if route is None:
            raise os_error(errno.ENODEV)
        interface = route.interface.index
    at = host.interface_at(interface)
    if at is None:
        raise os_error(errno.ENODEV)
    if (group, interface) in endpoint.groups:
        raise os_error(errno.EADDRINUSE)
    if at.join(group):
        groups.joined(host, now, at, group)
    return interface


def leave(host: Host, now: int, endpoint: UdpEndpoint, group: bytes, interface: int) -> None:
    """Undo a `join`."""
    at = host.interface_at(interface)
    if at is not None and at.leave(group):
        groups.left(host, now, at, group)


def unbind(host: Host, endpoint: UdpEndpoint) -> None:
    """Take the endpoint out of the port table."""
    if endpoint.remote_addr:
        host.udp.disconnect(endpoint, endpoint.local_addr)
    host.udp.unbind(endpoint)


def is_any_broadcast(host: Host, ip: bytes) -> bool:
    """Whether `ip` is a broadcast address on any of the interfaces."""
    if len(ip) != 4 or is_unspecified(ip):
        return False
    if is_broadcast(ip):
        return True
    return any(interface.is_broadcast(ip) for interface in host.interfaces)
