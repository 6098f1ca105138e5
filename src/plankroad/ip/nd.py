"""Neighbour discovery (RFC 4861 section 7) on a neighbour cache: solicitations and advertisements."""

from __future__ import annotations

from typing import TYPE_CHECKING

from plankroad.ip.address_check import check_advertisement, check_solicitation
from plankroad.ip.interface import ADDRESS_TENTATIVE
from plankroad.ip.neighbour_entry import FAILED, INCOMPLETE, PERMANENT, REACHABLE, STALE, Neighbour, usable_mac
from plankroad.ip.nud import learn
from plankroad.ip.redirect import apply_redirect
from plankroad.ip.solicit import send_advertisement
from plankroad.wire.address import IPV6_ALL_NODES, is_multicast, is_unspecified
from plankroad.wire.errors import BadPacket
from plankroad.wire.icmp import message_at
from plankroad.wire.ndp import (
    NeighborAdvertisement,
    NeighborSolicitation,
    Redirect,
    RouterAdvertisement,
    RouterSolicitation,
    parse_ndp,
)

if TYPE_CHECKING:
    from plankroad.ip.neighbour import NeighbourCache


def handle_nd_message(
    cache: NeighbourCache, now: int, packet: bytes, start: int, end: int, src: bytes, dst: bytes, hop_limit: int
) -> bool:
    """One of the five messages; False where it is not valid or not to be believed."""
    cache.counters.nd_received += 1
    try:
        if start < 0 or end > len(packet) or end - start < 8:
            raise BadPacket("ICMPv6 message is truncated")
        message = parse_ndp(message_at(packet, start, end), src, dst, hop_limit)
    except BadPacket:
        cache.counters.bad_ndp += 1
        return False
    if isinstance(message, NeighborSolicitation):
        return handle_solicitation(cache, now, message, src)
    if isinstance(message, NeighborAdvertisement):
        return handle_advertisement(cache, now, message)
    if isinstance(message, RouterAdvertisement):
        cache.icmp.router_advertisements_received += 1
        return cache.router_discovery.handle_advertisement(cache, now, message, src)
    if isinstance(message, RouterSolicitation):
        return handle_router_solicitation(cache, now, message, src)
    if isinstance(message, Redirect):
        cache.icmp.redirect_received += 1
        return handle_redirect(cache, now, message, src)
    return False


def handle_solicitation(cache: NeighbourCache, now: int, message: NeighborSolicitation, src: bytes) -> bool:
    """RFC 4861 section 7.2.3; RFC 4862 section 5.4.3 for tentative targets."""
    cache.icmp.neighbour_solicitations_received += 1
    interface = cache.interface
    mac = message.options.source_mac
    if mac == interface.mac and interface.owns(src):
        # Our own, sent back by the link.
        return True
    address = interface.by_ip.get(message.target)
    if address is None:
        return True
    if address.state == ADDRESS_TENTATIVE:
        check_solicitation(cache, message, src)
        return True
    if not address.usable():
        return True
    if is_unspecified(src):
        # Section 7.2.4: to all nodes, and not solicited.
        send_advertisement(cache, now, message.target, IPV6_ALL_NODES, False)
        return True
    # "If the Source Address is not the unspecified address and, on link layers that have addresses, the solicitation
    # includes a Source Link-Layer Address option, then the recipient SHOULD create or update the Neighbor Cache entry
    # for the IP Source Address of the solicitation."
    if usable_mac(mac) and mac != interface.mac and not interface.owns(src) and not is_multicast(src):
        learn_source(cache, now, src, mac)
    send_advertisement(cache, now, message.target, src, True)
    return True


def learn_source(cache: NeighbourCache, now: int, ip: bytes, mac: bytes) -> Neighbour:
    """Create or update a neighbour from a source or target link-layer address option: STALE where it is news."""
    entry = cache.entries.get(ip)
    if entry is None:
        entry = cache.create(now, ip)
    learn(cache, now, entry, mac, False)
    return entry


def handle_advertisement(cache: NeighbourCache, now: int, message: NeighborAdvertisement) -> bool:
    """RFC 4861 section 7.2.5; RFC 4862 section 5.4.4 for own addresses."""
    cache.icmp.neighbour_advertisements_received += 1
    mac = message.options.target_mac
    if mac and not usable_mac(mac):
        cache.counters.bad_ndp += 1
        return False
    if message.target in cache.interface.by_ip:
        check_advertisement(cache, now, message, mac)
        return True
    # "If no entry exists, the advertisement SHOULD be silently discarded."
    entry = cache.entries.get(message.target)
    if entry is None or entry.state == PERMANENT:
        return True
    if entry.state in (INCOMPLETE, FAILED):
        if not mac:
            return True
        set_router(cache, entry, message.router)
        learn(cache, now, entry, mac, message.solicited)
        return True
    if mac and mac != entry.mac and not message.override:
        # I. a. and b.
        if entry.state == REACHABLE:
            entry.state = STALE
            entry.timer = 0
        return True
    # II.
    learn(cache, now, entry, mac if mac else entry.mac, message.solicited)
    set_router(cache, entry, message.router)
    return True


def set_router(cache: NeighbourCache, entry: Neighbour, router: bool) -> None:
    """Note whether a neighbour is a router. "In those cases where the IsRouter flag changes from TRUE to FALSE as a
    result of this update, the node MUST remove that router from the Default Router List"."""
    if entry.router and not router:
        cache.router_discovery.forget_router(cache, entry.ip)
    entry.router = router


def handle_router_solicitation(cache: NeighbourCache, now: int, message: RouterSolicitation, src: bytes) -> bool:
    """RFC 4861 section 6.2.6: a router learns of the host; it is a host, "MUST be set to FALSE". A host ignores it."""
    mac = message.options.source_mac
    if not cache.interface.forwarding:
        return True
    if usable_mac(mac) and not is_unspecified(src):
        learn_source(cache, now, src, mac).router = False
    return True


def handle_redirect(cache: NeighbourCache, now: int, message: Redirect, src: bytes) -> bool:
    """RFC 4861 section 8.3."""
    if not cache.config.accept_redirects:
        return False
    if not apply_redirect(cache.routes, cache.interface, src, message.destination, message.target):
        return False
    mac = message.options.target_mac
    if usable_mac(mac):
        known = message.target in cache.entries
        entry = learn_source(cache, now, message.target, mac)
        # "If the Target Address is not the same as the Destination Address, the host MUST set IsRouter to TRUE for the
        # target."
        if message.target != message.destination:
            entry.router = True
        elif not known:
            entry.router = False
    return True
