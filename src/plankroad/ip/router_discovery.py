"""Routers, prefixes and addresses of a host, from router advertisements (RFC 4861 section 6.3, RFC 4862 section 5).

What they say becomes routes (`ROUTE_ADVERTISED`), addresses of the interface, and parameters of its neighbour cache.
Everything is bounded: an advertisement is not authenticated, and anybody on the link can send them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from plankroad.ip.address_check import start_check, stop_check
from plankroad.ip.interface import (
    ADDRESS_DEPRECATED,
    ADDRESS_PREFERRED,
    ADDRESS_TENTATIVE,
    Interface,
    InterfaceAddress,
)
from plankroad.ip.neighbour_entry import PERMANENT, usable_mac
from plankroad.ip.nud import learn
from plankroad.ip.routes import ROUTE_ADVERTISED, ROUTE_CONNECTED, Route
from plankroad.ip.solicit import send_router_solicitation
from plankroad.units import MILLISECOND, NEVER, SECOND
from plankroad.wire.address import IPV6_ANY, in_prefix, is_link_local, is_multicast, link_local_of
from plankroad.wire.ndp import INFINITE_LIFETIME, PrefixInfo, RouterAdvertisement

if TYPE_CHECKING:
    from plankroad.ip.neighbour import NeighbourCache

LINK_LOCAL_PREFIX: Final = b"\xfe\x80" + bytes(14)

#: RFC 4861 section 6.3.4: "a host MUST retain at least two router addresses and SHOULD retain more."
MAX_ROUTERS: Final = 16
MAX_PREFIXES: Final = 32
MAX_ADDRESSES: Final = 16

#: Metrics of default routes by preference, medium, high, reserved (as medium), low (RFC 4191 section 2.1).
ROUTER_METRICS: Final[list[int]] = [1024, 1023, 1024, 1025]
PREFIX_METRIC: Final = 256

#: MAX_RTR_SOLICITATION_DELAY (RFC 4861 section 10).
SOLICITATION_DELAY: Final = SECOND
TWO_HOURS: Final = 7200 * SECOND
#: AdvReachableTime is an hour at most (RFC 4861 section 6.2.1); the same limit for the other.
MAX_TIMER: Final = 3600 * SECOND


class Advertised:
    """A default router or an on-link prefix: its route, and when it is over (ns, `NEVER`)."""

    __slots__ = ("expires", "route")

    def __init__(self, route: Route, expires: int) -> None:
        self.route = route
        self.expires = expires


def deadline(now: int, seconds: int) -> int:
    """When a lifetime of an advertisement is over."""
    return NEVER if seconds == INFINITE_LIFETIME else now + seconds * SECOND


class RouterDiscovery:
    """What one interface knows of its routers. `link_mtu`: what the link takes, whatever a router says.

    `managed`, `other_config`: the flags of the last advertisement, which call for DHCPv6.
    """

    __slots__ = (
        "disabled",
        "link_mtu",
        "managed",
        "next_solicitation",
        "other_config",
        "prefixes",
        "routers",
        "solicitations",
        "started",
        "timer",
    )

    def __init__(self, link_mtu: int) -> None:
        self.link_mtu = link_mtu
        self.started: bool = False
        self.disabled: bool = False
        self.managed: bool = False
        self.other_config: bool = False
        self.timer: int = 0
        self.solicitations: int = 0
        self.next_solicitation: int = NEVER
        self.routers: dict[bytes, Advertised] = {}
        self.prefixes: dict[bytes, Advertised] = {}

    def start(self, cache: NeighbourCache, now: int) -> None:
        """Form a link-local address where there is none (RFC 4862 section 5.3), and solicit routers as a host."""
        interface = cache.interface
        if self.disabled:
            return
        self.started = True
        have = False
        for address in interface.addresses:
            if len(address.ip) == 16 and is_link_local(address.ip):
                have = True
        if not have:
            address = interface.add_address(link_local_of(interface.mac), 64)
            address.automatic = True
            start_check(cache, now, address.ip)
        on_link = False
        for route in cache.routes.find(LINK_LOCAL_PREFIX, 64):
            if route.interface is interface:
                on_link = True
        if not on_link:
            cache.routes.add(Route(LINK_LOCAL_PREFIX, 64, b"", interface, PREFIX_METRIC, 1, b"", 0, ROUTE_CONNECTED))
        if not interface.forwarding and cache.config.accept_ra and cache.config.router_solicitations > 0:
            # RFC 4861 section 6.3.7: "it SHOULD delay the transmission for a random amount of time between 0 and
            # MAX_RTR_SOLICITATION_DELAY."
            self.solicitations = cache.config.router_solicitations
            self.next_solicitation = now + cache.rng.randrange(SOLICITATION_DELAY + 1)
        self.schedule(cache)

    def disable(self, cache: NeighbourCache) -> None:
        """Another station has our MAC address: no IPv6 here (RFC 4862 section 5.4.5)."""
        self.disabled = True
        self.started = False
        self.solicitations = 0
        self.next_solicitation = NEVER
        for ip in list(self.routers):
            self.forget_router(cache, ip)
        for prefix in list(self.prefixes):
            cache.routes.remove(self.prefixes.pop(prefix).route)
        for address in list(cache.interface.addresses):
            if address.automatic and not is_link_local(address.ip):
                self.remove_address(cache, address)
        self.schedule(cache)

    def handle_advertisement(self, cache: NeighbourCache, now: int, message: RouterAdvertisement, src: bytes) -> bool:
        """RFC 4861 section 6.3.4; False where it is not used: by a router, or where nobody asked for it."""
        interface = cache.interface
        if not self.started or interface.forwarding or not cache.config.accept_ra or interface.owns(src):
            return False
        # Section 6.3.7: "Once the host sends a Router Solicitation, and receives a valid Router Advertisement with a
        # non-zero Router Lifetime, the host MUST desist from sending additional solicitations".
        if message.lifetime > 0:
            self.solicitations = 0
            self.next_solicitation = NEVER
        self.managed = message.managed
        self.other_config = message.other_config
        if message.hop_limit > 0:
            interface.hop_limit = message.hop_limit
        reachable = message.reachable_time * MILLISECOND
        if 0 < reachable <= MAX_TIMER and reachable != cache.base_reachable_time:
            cache.base_reachable_time = reachable
            cache.renew_at = 0
        retrans = message.retrans_timer * MILLISECOND
        if 0 < retrans <= MAX_TIMER:
            cache.retrans_timer = retrans
        self.update_router(cache, now, src, message)
        mac = message.options.source_mac
        entry = cache.entries.get(src)
        if usable_mac(mac) and mac != interface.mac:
            if entry is None:
                entry = cache.create(now, src)
            learn(cache, now, entry, mac, False)
        if entry is not None and entry.state != PERMANENT:
            entry.router = True
        mtu = message.options.mtu
        if 1280 <= mtu <= self.link_mtu and mtu != interface.mtu:
            interface.mtu = mtu
            cache.routes.invalidate()
        for info in message.options.prefixes:
            # "If the prefix is the link-local prefix, silently ignore the Prefix Information option."
            if is_multicast(info.prefix) or (info.prefix_len >= 10 and is_link_local(info.prefix)):
                continue
            if info.on_link:
                self.update_prefix(cache, now, info)
            if info.autonomous:
                self.update_address(cache, now, info)
        self.schedule(cache)
        return True

    def update_router(self, cache: NeighbourCache, now: int, src: bytes, message: RouterAdvertisement) -> None:
        """Put the sender on the Default Router List, or take it off it."""
        if message.lifetime == 0:
            self.forget_router(cache, src)
            return
        expires = now + message.lifetime * SECOND
        metric = ROUTER_METRICS[message.preference & 3]
        known = self.routers.get(src)
        if known is not None:
            known.expires = expires
            if known.route.metric == metric:
                return
            reachable = known.route.reachable
            cache.routes.remove(known.route)
        else:
            if len(self.routers) >= MAX_ROUTERS:
                return
            reachable = True
        route = Route(IPV6_ANY, 0, src, cache.interface, metric, 1, b"", 0, ROUTE_ADVERTISED)
        route.reachable = reachable
        for other in cache.routes.find(IPV6_ANY, 0):
            if other.gateway == src and other.interface is cache.interface and other.metric == metric:
                # Somebody set the same route by hand: it stays, whatever is advertised.
                return
        cache.routes.add(route)
        self.routers[src] = Advertised(route, expires)

    def update_prefix(self, cache: NeighbourCache, now: int, info: PrefixInfo) -> None:
        """The Prefix List: destinations that are on-link."""
        route = Route(info.prefix, info.prefix_len, b"", cache.interface, PREFIX_METRIC, 1, b"", 0, ROUTE_ADVERTISED)
        key = route.prefix + bytes([info.prefix_len])
        known = self.prefixes.get(key)
        if known is not None:
            if info.valid_lifetime == 0:
                cache.routes.remove(known.route)
                del self.prefixes[key]
            else:
                known.expires = deadline(now, info.valid_lifetime)
            return
        if info.valid_lifetime == 0 or len(self.prefixes) >= MAX_PREFIXES:
            return
        for other in cache.routes.find(info.prefix, info.prefix_len):
            if not other.gateway and other.interface is cache.interface and other.metric == PREFIX_METRIC:
                return
        cache.routes.add(route)
        self.prefixes[key] = Advertised(route, deadline(now, info.valid_lifetime))

    def update_address(self, cache: NeighbourCache, now: int, info: PrefixInfo) -> None:
        """Addresses from an autonomous prefix (RFC 4862 section 5.5.3)."""
        # (c) and the length of (d): interface identifiers on Ethernet have 64 bits (RFC 2464 section 4).
        if info.preferred_lifetime > info.valid_lifetime or info.prefix_len != 64:
            return
        interface = cache.interface
        known: InterfaceAddress | None = None
        automatic = 0
        for address in interface.addresses:
            if address.automatic and not is_link_local(address.ip):
                automatic += 1
                if in_prefix(address.ip, info.prefix, 64):
                    known = address
        if known is None:
            # (d)
            ip = info.prefix[:8] + link_local_of(interface.mac)[8:]
            if info.valid_lifetime == 0 or automatic >= MAX_ADDRESSES or ip in interface.by_ip:
                return
            known = interface.add_address(ip, 64)
            known.automatic = True
            known.preferred_until = deadline(now, info.preferred_lifetime)
            known.valid_until = deadline(now, info.valid_lifetime)
            start_check(cache, now, ip)
            return
        # (e)
        known.preferred_until = deadline(now, info.preferred_lifetime)
        valid_until = deadline(now, info.valid_lifetime)
        if valid_until > now + TWO_HOURS or valid_until > known.valid_until:
            known.valid_until = valid_until
        elif known.valid_until > now + TWO_HOURS:
            known.valid_until = now + TWO_HOURS
        self.update_state(cache, now, known)

    def update_state(self, cache: NeighbourCache, now: int, address: InterfaceAddress) -> None:
        """Preferred or deprecated, by its lifetime (RFC 4862 section 5.5.4)."""
        state = ADDRESS_PREFERRED if address.preferred_until > now else ADDRESS_DEPRECATED
        if address.usable() and address.state != state:
            address.state = state
            cache.address_events.append((address.ip, state))

    def remove_address(self, cache: NeighbourCache, address: InterfaceAddress) -> None:
        """An automatic address is over."""
        stop_check(cache, address.ip)
        cache.interface.remove_address(address.ip)
        cache.address_events.append((address.ip, -1))

    def forget_router(self, cache: NeighbourCache, ip: bytes) -> None:
        """Take a router off the Default Router List (RFC 4861 section 6.3.5)."""
        known = self.routers.pop(ip, None)
        if known is not None:
            cache.routes.remove(known.route)

    def handle_timeout(self, cache: NeighbourCache, now: int) -> None:
        """Solicit, and drop what is over."""
        if self.solicitations > 0 and self.next_solicitation <= now:
            self.solicitations -= 1
            send_router_solicitation(cache, now, self.solicitation_source(cache.interface))
            self.next_solicitation = (
                now + cache.config.router_solicitation_interval if self.solicitations > 0 else NEVER
            )
        for ip in list(self.routers):
            if self.routers[ip].expires <= now:
                self.forget_router(cache, ip)
        for prefix in list(self.prefixes):
            if self.prefixes[prefix].expires <= now:
                cache.routes.remove(self.prefixes.pop(prefix).route)
        for address in list(cache.interface.addresses):
            if address.automatic:
                if address.valid_until <= now:
                    self.remove_address(cache, address)
                else:
                    self.update_state(cache, now, address)
        self.schedule(cache)

    def solicitation_source(self, interface: Interface) -> bytes:
        """RFC 4861 section 4.1: an address of the interface, or :: where there is none yet."""
        for address in interface.addresses:
            if len(address.ip) == 16 and address.usable() and is_link_local(address.ip):
                return address.ip
        return IPV6_ANY

    def schedule(self, cache: NeighbourCache) -> None:
        """Set the timer to what is next. All that it looks at is bounded."""
        when = self.next_solicitation if self.solicitations > 0 else NEVER
        for router in self.routers.values():
            when = min(when, router.expires)
        for prefix in self.prefixes.values():
            when = min(when, prefix.expires)
        for address in cache.interface.addresses:
            if address.automatic:
                when = min(when, address.valid_until)
                if address.state in (ADDRESS_PREFERRED, ADDRESS_TENTATIVE):
                    when = min(when, address.preferred_until)
        cache.start_router_timer(when)
