"""Redirects of both families: a router says that another first hop is the better one for a destination.

A believed redirect becomes a host route; the number of these is bounded, the oldest goes first.
"""

from __future__ import annotations

from typing import Final

from plankroad.ip.interface import Interface
from plankroad.ip.routes import ROUTE_REDIRECT, Route, RouteTable
from plankroad.wire.address import is_link_local, is_multicast, is_unspecified
from plankroad.wire.constants import ICMP_REDIRECT_HOST_TOS, ICMP_REDIRECT_NET
from plankroad.wire.errors import BadPacket
from plankroad.wire.icmp import IcmpMessage
from plankroad.wire.quoted import parse_quoted

#: Host routes from redirects that a table keeps.
MAX_REDIRECTS: Final = 256


def apply_redirect(routes: RouteTable, interface: Interface, sender: bytes, dst: bytes, target: bytes) -> bool:
    """Use `target` as the first hop to `dst`, as `sender` says who is it now; False where that is not to be believed.

    `target` equal to `dst` says that `dst` is on-link. RFC 1122 section 3.2.2.2: "A Redirect message SHOULD be
    silently discarded if the new gateway address it specifies is not on the same connected (sub-) net through which
    the Redirect arrived ..., or if the source of the Redirect is not the current first-hop gateway for the specified
    destination"; RFC 4861 section 8.1 asks for the latter too. A router does not use them (RFC 1812 section 5.2.7.2).
    """
    if interface.forwarding or len(sender) != len(dst) or len(target) != len(dst):
        return False
    if is_multicast(dst) or is_unspecified(dst) or is_multicast(target) or is_unspecified(target):
        return False
    if interface.owns(target) or interface.owns(dst) or interface.is_broadcast(dst) or interface.is_broadcast(target):
        return False
    # Link-local IPv6 targets are on-link by themselves; that `target` is link-local or `dst` was checked in parsing.
    if len(target) == 4 and interface.on_link(target) is None:
        return False
    current = routes.lookup_on(dst, interface)
    if current is None or current.gateway != sender:
        # Of equal routes any gateway may have been used.
        current = None
        for route in routes.next_hops(dst):
            if route.interface is interface and route.gateway == sender:
                current = route
                break
        if current is None:
            return False
    bits = len(dst) * 8
    gateway = b"" if target == dst else target
    if gateway == sender:
        return False
    for route in routes.find(dst, bits):
        if route.interface is interface:
            # A host route set by hand is not overridden (RFC 1122 section 3.3.1.2's flag for static routes).
            if route.origin != ROUTE_REDIRECT:
                return False
            routes.remove(route)
    if len(routes.redirects) >= MAX_REDIRECTS:
        routes.remove(routes.redirects[0])
    routes.add(Route(dst, bits, gateway, interface, current.metric, 1, current.source, 0, ROUTE_REDIRECT))
    return True


def handle_redirect_ipv4(routes: RouteTable, interface: Interface, sender: bytes, message: IcmpMessage) -> bool:
    """Apply an ICMP redirect that `sender` sent; False where it is malformed or not to be believed.

    RFC 1122 section 3.2.2.2: network redirects are treated as host redirects for the destination quoted.
    """
    if not ICMP_REDIRECT_NET <= message.code <= ICMP_REDIRECT_HOST_TOS:
        return False
    try:
        quoted = parse_quoted(message.body)
    except BadPacket:
        return False
    # It must be about a packet of ours.
    if quoted.version != 4 or not interface.owns(quoted.src) or is_link_local(quoted.dst):
        return False
    return apply_redirect(routes, interface, sender, quoted.dst, message.rest.to_bytes(4, "big"))


def forget_redirects(routes: RouteTable, gateway: bytes, interface: Interface) -> int:
    """Remove the redirected routes through a gateway that turned out to be dead; how many there were."""
    dead: list[Route] = []
    for route in routes.by_gateway.get(gateway, []):
        if route.origin == ROUTE_REDIRECT and route.interface is interface:
            dead.append(route)
    for route in dead:
        routes.remove(route)
    return len(dead)
