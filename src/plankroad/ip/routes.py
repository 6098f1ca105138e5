"""The routing table of both families: longest prefix, metrics, equal-cost multipath, a destination cache.

Theory of operation. Routes with the same prefix are kept together, under a key that is the prefix as a number; there
is one dict a prefix length, and a list of the lengths in use, longest first. So a lookup costs one dict lookup for
each distinct length, whatever the number of routes. What it finds is kept in a destination cache (the route cache
that RFC 1122 section 3.3.1.2 asks for), which any change of the table empties.
"""

from __future__ import annotations

from typing import Final
from zlib import crc32

from plankroad.ip.interface import Interface

#: Which of several equal routes a packet takes.
MULTIPATH_PER_FLOW: Final = 0  #: all packets of a flow take one of them (RFC 2992)
MULTIPATH_PER_PACKET: Final = 1  #: packets take them in turn, by weight

#: Where a route came from.
ROUTE_STATIC: Final = 0  #: set by hand
ROUTE_CONNECTED: Final = 1  #: the subnet of an address of an interface
ROUTE_ADVERTISED: Final = 2  #: from a router advertisement (RFC 4861 section 6.3.4)
ROUTE_REDIRECT: Final = 3  #: from a redirect (RFC 1122 section 3.2.2.2, RFC 4861 section 8.3)


class Route:
    """A route: packets to `prefix`/`prefix_len` leave by `interface`, to `gateway` (b"": the destination is on-link).

    `metric`: the lower wins. `weight` (1 or more): the share of packets or flows among equal routes.
    `source`: the source address to prefer, b"" for none. `mtu`: of this path where it is known, 0 = the interface's.
    `adv_mss`: the most that connections by this route offer as MSS, 0 = what the link carries; `initial_window`: with
    how many segments they begin, 0 = `TcpConfig.initial_window`.
    `origin` is one of `ROUTE_`. `reachable` is kept by the table (`RouteTable.set_gateway_reachable`).
    Host bits in `prefix` are cleared. Raises ValueError for lengths and families that do not fit.
    """

    __slots__ = (
        "adv_mss",
        "credit",
        "gateway",
        "initial_window",
        "interface",
        "metric",
        "mtu",
        "origin",
        "prefix",
        "prefix_len",
        "reachable",
        "source",
        "weight",
    )

    def __init__(
        self,
        prefix: bytes,
        prefix_len: int,
        gateway: bytes,
        interface: Interface,
        metric: int = 0,
        weight: int = 1,
        source: bytes = b"",
        mtu: int = 0,
        origin: int = ROUTE_STATIC,
    ) -> None:
        size = len(prefix)
        if size not in (4, 16):
            raise ValueError("a prefix has 4 or 16 bytes")
        if not 0 <= prefix_len <= size * 8:
            raise ValueError(f"no prefix length for {size} bytes of address: {prefix_len}")
        if gateway and len(gateway) != size:
            raise ValueError("gateway and prefix are of different families")
        if source and len(source) != size:
            raise ValueError("source and prefix are of different families")
        if weight < 1:
            raise ValueError("a route's weight is 1 or more")
        bits = size * 8 - prefix_len
        self.prefix: bytes = (int.from_bytes(prefix, "big") >> bits << bits).to_bytes(size, "big")
        self.prefix_len = prefix_len
        self.gateway = gateway
        self.interface = interface
        self.metric = metric
        self.weight = weight
        self.source = source
        self.mtu = mtu
        self.origin = origin
        self.adv_mss: int = 0
        self.initial_window: int = 0
        self.reachable: bool = True
        self.credit: int = 0

    def next_hop(self, dst: bytes) -> bytes:
        """The neighbour that a packet to `dst` is handed to."""
        return self.gateway if self.gateway else dst

    def offered_mtu(self) -> int:
        """The size of packets that the MSS we offer stands for: what the link carries, or less."""
        mtu = self.interface.mtu
        offered = self.adv_mss + (40 if len(self.prefix) == 4 else 60)
        return offered if self.adv_mss > 0 and offered < mtu else mtu

    def path_mtu(self) -> int:
        """The MTU of the first hop: the interface's, or less where the route says so."""
        mtu = self.interface.mtu
        return self.mtu if 0 < self.mtu < mtu else mtu


class RouteGroup:
    """The routes a destination has, all equally good. `total`: the sum of their weights."""

    __slots__ = ("routes", "total")

    def __init__(self, routes: list[Route]) -> None:
        self.routes = routes
        self.total: int = 0
        for route in routes:
            self.total += route.weight


def flow_hash(src: bytes, dst: bytes, protocol: int, src_port: int = 0, dst_port: int = 0) -> int:
    """A number below 2**32 for a flow, the same in every run and process; for `RouteTable.lookup`.

    A CRC mixes well enough here and is one call; unlike `hash` it does not change from run to run.
    """
    ports = (protocol << 32 | src_port << 16 | dst_port).to_bytes(5, "big")
    return crc32(ports, crc32(dst, crc32(src)))


def mix(value: int, seed: int) -> int:
    """32 well-spread bits (multiply and xor-shift): close flows and a CRC's linearity leave no pattern."""
    value = (value ^ seed) & 0xFFFFFFFF
    value = (value ^ value >> 16) * 0x7FEB352D & 0xFFFFFFFF
    value = (value ^ value >> 15) * 0x846CA68B & 0xFFFFFFFF
    return value ^ value >> 16


class RouteTable:
    """Routes of one host, IPv4 and IPv6.

    `policy` is `MULTIPATH_PER_FLOW` or `MULTIPATH_PER_PACKET`. `seed` makes two routers in a row split flows
    differently (else the second would see only flows that the first sent the same way).
    `generation` grows with every change: who keeps a route asks again when it is another.
    `cache_size`: destinations remembered; the oldest is forgotten first.
    """

    __slots__ = (
        "by_gateway",
        "cache",
        "cache_size",
        "generation",
        "lengths4",
        "lengths6",
        "policy",
        "prefixes4",
        "prefixes6",
        "redirects",
        "seed",
    )

    def __init__(self, policy: int = MULTIPATH_PER_FLOW, seed: int = 0, cache_size: int = 4096) -> None:
        if policy not in (MULTIPATH_PER_FLOW, MULTIPATH_PER_PACKET):
            raise ValueError(f"no multipath policy: {policy}")
        if cache_size < 1:
            raise ValueError("the destination cache holds 1 or more")
        self.policy = policy
        self.seed = seed
        self.generation: int = 1
        self.cache_size = cache_size
        self.cache: dict[bytes, RouteGroup] = {}
        self.lengths4: list[int] = []
        self.lengths6: list[int] = []
        self.prefixes4: dict[int, dict[int, list[Route]]] = {}
        self.prefixes6: dict[int, dict[int, list[Route]]] = {}
        #: The routes through each gateway.
        self.by_gateway: dict[bytes, list[Route]] = {}
        #: Those of redirects, oldest first (see `ip.redirect`).
        self.redirects: list[Route] = []

    # Changing the table.

    def add(self, route: Route) -> None:
        """Add a route. Raises ValueError for a second one with the same prefix, gateway, interface and metric."""
        prefixes = self.prefixes4 if len(route.prefix) == 4 else self.prefixes6
        key = int.from_bytes(route.prefix, "big") >> (len(route.prefix) * 8 - route.prefix_len)
        table = prefixes.get(route.prefix_len)
        if table is None:
            table = {}
            prefixes[route.prefix_len] = table
            lengths = self.lengths4 if len(route.prefix) == 4 else self.lengths6
            lengths.append(route.prefix_len)
            lengths.sort(reverse=True)
        routes = table.get(key)
        if routes is None:
            routes = []
            table[key] = routes
        for other in routes:
            if other.gateway == route.gateway and other.interface is route.interface and other.metric == route.metric:
                raise ValueError("the route is there already")
        routes.append(route)
        if route.origin == ROUTE_REDIRECT:
            self.redirects.append(route)
        if route.gateway:
            through = self.by_gateway.get(route.gateway)
            if through is None:
                self.by_gateway[route.gateway] = [route]
            else:
                through.append(route)
        self.invalidate()

    def remove(self, route: Route) -> bool:
        """Remove this very route; False where it is not in the table."""
        prefixes = self.prefixes4 if len(route.prefix) == 4 else self.prefixes6
        table = prefixes.get(route.prefix_len)
        if table is None:
            return False
        key = int.from_bytes(route.prefix, "big") >> (len(route.prefix) * 8 - route.prefix_len)
        routes = table.get(key)
        if routes is None:
            return False
        for i in range(len(routes)):
            if routes[i] is route:
                del routes[i]
                break
        else:
            return False
        if not routes:
            del table[key]
            if not table:
                del prefixes[route.prefix_len]
                lengths = self.lengths4 if len(route.prefix) == 4 else self.lengths6
                lengths.remove(route.prefix_len)
        if route.origin == ROUTE_REDIRECT:
            self.redirects = [other for other in self.redirects if other is not route]
        if route.gateway:
            through = [other for other in self.by_gateway[route.gateway] if other is not route]
            if through:
                self.by_gateway[route.gateway] = through
            else:
                del self.by_gateway[route.gateway]
        self.invalidate()
        return True

    def remove_interface(self, interface: Interface) -> int:
        """Remove all routes through an interface; how many there were."""
        count = 0
        for route in self.routes():
            if route.interface is interface and self.remove(route):
                count += 1
        return count

    def routes(self) -> list[Route]:
        """All routes, IPv4 first, longest prefix first, then by prefix and metric."""
        found: list[Route] = []
        for lengths, prefixes in ((self.lengths4, self.prefixes4), (self.lengths6, self.prefixes6)):
            for length in lengths:
                table = prefixes[length]
                for key in sorted(table):
                    routes = list(table[key])
                    routes.sort(key=route_metric)
                    found.extend(routes)
        return found

    def find(self, prefix: bytes, prefix_len: int) -> list[Route]:
        """The routes to exactly this prefix."""
        bits = len(prefix) * 8 - prefix_len
        prefixes = self.prefixes4 if len(prefix) == 4 else self.prefixes6
        table = prefixes.get(prefix_len)
        if table is None or bits < 0:
            return []
        return list(table.get(int.from_bytes(prefix, "big") >> bits, []))

    def invalidate(self) -> None:
        """Forget all that was looked up: routes changed, or an interface went up or down."""
        self.generation += 1
        self.cache.clear()

    def set_gateway_reachable(self, gateway: bytes, interface: Interface, reachable: bool) -> bool:
        """Note that a gateway is dead, or alive again; True where that changes a route.

        RFC 1122 section 3.3.1.4: a host detects the failure of a next-hop gateway; section 3.3.1.5: it then uses
        another one. RFC 4861 section 6.3.6: routers that are reachable are preferred.
        """
        changed = False
        for route in self.by_gateway.get(gateway, []):
            if route.interface is interface and route.reachable != reachable:
                route.reachable = reachable
                changed = True
        if changed:
            self.invalidate()
        return changed

    def is_gateway(self, ip: bytes, interface: Interface) -> bool:
        """Whether any route of `interface` goes through `ip`."""
        for route in self.by_gateway.get(ip, []):  # noqa: SIM110 - a loop compiles without a generator
            if route.interface is interface:
                return True
        return False

    # Looking up.

    def lookup(self, dst: bytes, flow: int = 0) -> Route | None:
        """The route of a packet to `dst`; None where there is none.

        The longest prefix wins, of these the lowest metric; routes through interfaces that are down are skipped, and
        those through dead gateways unless nothing else is left. Among equal routes the table's policy decides;
        `flow` is then the packet's `flow_hash` (without one, all packets to a destination take one way).
        """
        group = self.cache.get(dst)
        if group is None:
            group = self.search(dst, None)
            if group is None:
                return None
            cache = self.cache
            if len(cache) >= self.cache_size:
                for oldest in cache:
                    del cache[oldest]
                    break
            cache[dst] = group
        routes = group.routes
        if len(routes) == 1:
            return routes[0]
        return self.choose(group, dst, flow)

    def lookup_on(self, dst: bytes, interface: Interface, flow: int = 0) -> Route | None:
        """`lookup` among the routes of one interface: for scoped destinations and sockets bound to an interface."""
        group = self.search(dst, interface)
        if group is None:
            return None
        if len(group.routes) == 1:
            return group.routes[0]
        return self.choose(group, dst, flow)

    def next_hops(self, dst: bytes) -> list[Route]:
        """All equal-cost routes to `dst`, in the order they were added; empty where there is none."""
        group = self.search(dst, None)
        return [] if group is None else list(group.routes)

    def search(self, dst: bytes, interface: Interface | None) -> RouteGroup | None:
        """The best usable routes to `dst`, by the table itself; only those of `interface` where one is given."""
        if len(dst) == 4:
            lengths = self.lengths4
            prefixes = self.prefixes4
            size = 32
        elif len(dst) == 16:
            lengths = self.lengths6
            prefixes = self.prefixes6
            size = 128
        else:
            raise ValueError("an IP address has 4 or 16 bytes")
        value = int.from_bytes(dst, "big")
        fallback: list[Route] | None = None
        for length in lengths:
            routes = prefixes[length].get(value >> (size - length))
            if routes is None:
                continue
            best = usable_routes(routes, interface, True)
            if best:
                return RouteGroup(best)
            if fallback is None:
                dead = usable_routes(routes, interface, False)
                if dead:
                    fallback = dead
        # RFC 4861 section 6.3.6: where no router is known to be reachable, they are still tried.
        return None if fallback is None else RouteGroup(fallback)

    def choose(self, group: RouteGroup, dst: bytes, flow: int) -> Route:
        """One of several equal routes."""
        routes = group.routes
        if self.policy == MULTIPATH_PER_PACKET:
            # Each route earns its weight and the richest pays the sum: in turn, and evenly spread for any weights.
            best = routes[0]
            for route in routes:
                route.credit += route.weight
                if route.credit > best.credit:
                    best = route
            best.credit -= group.total
            return best
        # RFC 2992, hash-threshold: the space of hashes is cut into regions as wide as the weights.
        if flow == 0:
            flow = crc32(dst)
        rest = mix(flow, self.seed) * group.total >> 32
        for route in routes:
            rest -= route.weight
            if rest < 0:
                return route
        return routes[-1]


def route_metric(route: Route) -> int:
    """Sorting key."""
    return route.metric


def usable_routes(routes: list[Route], interface: Interface | None, reachable: bool) -> list[Route]:
    """Those of the lowest metric among the routes whose interface is up (and, if asked, whose gateway is alive)."""
    best: list[Route] = []
    for route in routes:
        if not route.interface.up or (interface is not None and route.interface is not interface):
            continue
        if reachable and not route.reachable:
            continue
        if not best or route.metric < best[0].metric:
            best = [route]
        elif route.metric == best[0].metric:
            best.append(route)
    return best
