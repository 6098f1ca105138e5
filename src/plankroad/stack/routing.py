"""Which way a packet of this host goes, and from which address."""

from __future__ import annotations

from plankroad.ip.interface import Interface
from plankroad.ip.routes import MULTIPATH_PER_PACKET, Route
from plankroad.ip.source import select_source
from plankroad.stack.host import LOOPBACK_INDEX, Host
from plankroad.wire.address import IPV6_LOOPBACK, is_broadcast, is_link_local, is_loopback, is_multicast

LOOPBACK4 = b"\x7f\x00\x00\x01"


def find_route(host: Host, dst: bytes, flow: int = 0, interface: int = -1) -> Route | None:
    """The route of a packet from here to `dst`, None where there is none.

    `flow` is its `flow_hash`; `interface` the index of the one it must leave by, -1 = any. Own addresses are reached
    without a link, through the loopback interface.
    """
    if host.owner(dst) is not None:
        return host.loopback_route4 if len(dst) == 4 else host.loopback_route6
    if interface == LOOPBACK_INDEX:
        interface = -1
    if is_multicast(dst) or is_broadcast(dst):
        return group_route(host, dst, interface)
    if interface >= 0:
        chosen = host.interface_at(interface)
        if chosen is None or not chosen.up:
            return None
        return host.routes.lookup_on(dst, chosen, flow)
    if is_loopback(dst):
        return None
    return host.routes.lookup(dst, flow)


def group_route(host: Host, dst: bytes, interface: int) -> Route | None:
    """The route to a group or to everyone: on the link itself, never by a gateway.

    Without an interface it is the one that a route for the group names, else that of the default route, else the first
    that is up and has an address of the family (RFC 1122 section 3.3.4.3 leaves the choice open).
    """
    on_link = host.on_link4 if len(dst) == 4 else host.on_link6
    if interface >= 0:
        chosen = host.interface_at(interface)
        return on_link[interface] if chosen is not None and chosen.up else None
    route = host.routes.lookup(dst)
    if route is not None:
        return on_link[route.interface.index]
    for candidate in host.interfaces:
        if candidate.up and has_family(candidate, len(dst)):
            return on_link[candidate.index]
    return None


def has_family(interface: Interface, size: int) -> bool:
    """Whether the interface has a usable address of `size` bytes."""
    return any(len(address.ip) == size and address.usable() for address in interface.addresses)


def is_spread(host: Host, dst: bytes) -> bool:
    """Whether packets to `dst` take several routes in turn."""
    return host.routes.policy == MULTIPATH_PER_PACKET and len(host.routes.next_hops(dst)) > 1


def narrowest_mtu(host: Host, dst: bytes, route: Route) -> int:
    """The MTU of the first hop, the least of them where packets are spread over several."""
    mtu = route.path_mtu()
    if host.routes.policy == MULTIPATH_PER_PACKET and route.interface.index != LOOPBACK_INDEX:
        for other in host.routes.next_hops(dst):
            mtu = min(mtu, other.path_mtu())
    return mtu


def source_for(host: Host, dst: bytes, route: Route) -> bytes:
    """The source address of a packet to `dst` by `route` (RFC 6724, RFC 1122 section 3.3.4.3); b"" for none."""
    if route.interface.index == LOOPBACK_INDEX:
        # To an own address from the same one; within 127.0.0.0/8 from the usual one.
        if len(dst) == 4:
            return LOOPBACK4 if dst[0] == 127 else dst
        return dst
    if route.source:
        return route.source
    return select_source(dst, route.interface, host.interfaces)


def source_fits(host: Host, src: bytes, route: Route) -> bool:
    """RFC 1122 section 3.2.1.3 (g): a loopback address MUST NOT appear outside of the host."""
    return route.interface.index == LOOPBACK_INDEX or not is_loopback(src)


def scope_of(host: Host, local: bytes, remote: bytes, arrived: int) -> int:
    """The interface a pair of addresses is bound to: link-local IPv6 addresses mean something on one link only.

    `arrived`: index of the interface a packet came in by, -1 = this host begins.
    """
    if len(remote) == 4 or not (is_link_local(remote) or (remote[0] == 0xFF and remote[1] & 0x0F == 2)):
        return -1
    if arrived >= 0:
        return arrived
    if local and local != IPV6_LOOPBACK:
        interface = host.owner(local)
        if interface is not None and interface.index >= 0:
            return interface.index
    return -1
