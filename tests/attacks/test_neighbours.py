"""Attacks from the link and by way of it: neighbour-cache exhaustion (RFC 6583), floods of ARP, ND, advertisements and
group queries."""

from __future__ import annotations

import random
from collections.abc import Callable

from tests.attacks.kit import Figure, allocated, attack, growth, hold
from tests.stack.net import Net, tcp
from tests.volume import volume

from plankroad.ip.interface import Interface
from plankroad.ip.neighbour import NeighbourCache
from plankroad.ip.router_discovery import MAX_ADDRESSES, MAX_PREFIXES, MAX_ROUTERS
from plankroad.stack.config import StackConfig
from plankroad.stack.stack import Stack
from plankroad.units import MILLISECOND, SECOND
from plankroad.wire.address import ip_to_bytes
from plankroad.wire.arp import build_arp
from plankroad.wire.constants import PROTO_ICMPV6
from plankroad.wire.icmpv6 import build_icmpv6
from plankroad.wire.ipv6 import build_ipv6
from plankroad.wire.ndp import (
    NdpOptions,
    PrefixInfo,
    RouterAdvertisement,
    build_neighbor_advertisement,
    build_neighbor_solicitation,
    build_router_advertisement,
)
from plankroad.wire.packet import Packet
from plankroad.wire.segment import ACK, Segment

MAC = b"\x02\0\0\0\0\x01"
FRIEND_MAC = b"\x02\0\0\0\0\x02"
EVIL_MAC = b"\x02\0\0\0\0\x66"
FRIEND = ip_to_bytes("fd01::2")
FRIEND4 = ip_to_bytes("10.5.0.2")
OWN = ip_to_bytes("fd01::1")
OWN_LOCAL = ip_to_bytes("fe80::1")
EVIL_LOCAL = ip_to_bytes("fe80::66")
ALL_NODES = ip_to_bytes("ff02::1")


class Link(Net):
    """A host, or a router with a second interface, on an Ethernet link that the test speaks on."""

    def __init__(self, forwarding: bool = False) -> None:
        super().__init__()
        self.now = 10 * SECOND
        self.stack: Stack = self.add(1, StackConfig(forwarding=forwarding))
        self.interface: Interface = self.stack.add_interface("e0", 1500, ethernet=True, mac=MAC)
        for address in ("fd01::1/64", "fe80::1/64", "10.5.0.1/16"):
            self.stack.add_address(self.interface, address)
        if forwarding:
            far = self.stack.add_interface("e1", 1500)
            self.stack.add_address(far, "fd02::1/64")
        self.frames_in = 0
        self.frames_out = 0

    @property
    def cache(self) -> NeighbourCache:
        cache = self.interface.neighbours
        assert cache is not None
        return cache

    def frame(self, body: bytes, ethertype: int = 0x86DD, src: bytes = EVIL_MAC, dst: bytes = MAC) -> list[bytes]:
        """A frame comes in; what goes out."""
        self.frames_in += 1
        self.stack.receive(self.now, Packet(dst + src + ethertype.to_bytes(2, "big") + body))
        return self.out()

    def out(self) -> list[bytes]:
        found: list[bytes] = []
        while (packet := self.stack.poll_transmit(self.now)) is not None:
            found.append(packet.to_bytes())
        self.frames_out += len(found)
        return found

    def wait(self, duration: int) -> list[bytes]:
        end = self.now + duration
        found: list[bytes] = []
        while (when := self.stack.next_timeout()) <= end:
            self.now = max(self.now, when)
            self.stack.handle_timeout(self.now)
            found += self.out()
        self.now = end
        return found

    def icmp6(
        self, message: bytes, src: bytes = EVIL_LOCAL, dst: bytes = ALL_NODES, hop_limit: int = 255
    ) -> list[bytes]:
        mac = MAC if dst[0] != 0xFF else b"\x33\x33" + dst[12:]
        return self.frame(build_ipv6(src, dst, PROTO_ICMPV6, len(message), hop_limit) + message, dst=mac)

    def friend_answers(self) -> None:
        """The friend is a neighbour that was seen."""
        message = build_neighbor_solicitation(FRIEND, OWN, OWN, FRIEND_MAC)
        packet = build_ipv6(FRIEND, OWN, PROTO_ICMPV6, len(message), 255) + message
        self.frame(packet, src=FRIEND_MAC)
        message = build_neighbor_advertisement(FRIEND, OWN, FRIEND, FRIEND_MAC, False, True, True)
        packet = build_ipv6(FRIEND, OWN, PROTO_ICMPV6, len(message), 255) + message
        self.frame(packet, src=FRIEND_MAC)

    def reaches_friend(self) -> bool:
        """An echo of the friend is answered straight to it."""
        message = build_icmpv6(FRIEND, OWN, 128, 0, 1, b"hello")
        packet = build_ipv6(FRIEND, OWN, PROTO_ICMPV6, len(message)) + message
        out = self.frame(packet, src=FRIEND_MAC)
        return any(frame[:6] == FRIEND_MAC and frame[54:55] == b"\x81" for frame in out)


def scanned(count: int) -> bytes:
    return FRIEND[:8] + (1 << 32 | count * 7).to_bytes(8, "big")


@attack("neighbour-cache exhaustion (RFC 6583)")
def scan() -> list[Figure]:
    """A stranger scans a router's /64: each packet is for another address that nobody has."""
    net = Link(forwarding=True)
    net.friend_answers()
    start = net.frames_out
    count = volume(20_000, 2500)
    most = incomplete = waiting = 0

    def pour() -> None:
        nonlocal most, incomplete, waiting
        for i in range(count):
            packet = tcp(Segment(1, 80, 1, 1, ACK, 1), ip_to_bytes("fd02::9"), scanned(i))
            net.stack.receive(net.now, Packet(packet, interface=1))
            net.out()
            if i % 10 == 9:
                net.wait(MILLISECOND)
            most = max(most, len(net.cache.entries))
            incomplete = max(incomplete, len(net.cache.incomplete))
            waiting = max(waiting, net.cache.waiting)

    grown = allocated(pour)
    return [
        Figure("entries at the most", most, net.cache.config.cache_limit),
        Figure("of them being asked for", incomplete, net.cache.config.incomplete_limit),
        Figure("bytes that wait for an answer", waiting, net.cache.config.queue_bytes_total, "bytes"),
        Figure("memory, by tracemalloc", grown, 2 << 20, "bytes"),
        Figure("frames sent for one packet", (net.frames_out - start) / count, 1.05),
        Figure("neighbours in use that cannot be reached", int(not net.reaches_friend()), 0),
    ]


def test_a_scan_leaves_neighbours_in_use_alone() -> None:
    hold(scan())


def claims(n: int) -> Callable[[], None]:
    """A cache of n entries, and solicitations of ever more."""
    net = Link()
    net.cache.config.cache_limit = n

    def claim(i: int) -> None:
        source = scanned(i)
        message = build_neighbor_solicitation(source, OWN, OWN, EVIL_MAC)
        net.frame(build_ipv6(source, OWN, PROTO_ICMPV6, len(message), 255) + message)

    for i in range(n + 10):
        claim(i)

    def act() -> None:
        for i in range(64):
            claim(100_000 + i)

    return act


@attack("floods of neighbour solicitations and ARP requests")
def claims_flood() -> list[Figure]:
    """Ever new neighbours introduce themselves; each gets its answer, and the cache stays as it is."""
    net = Link()
    net.friend_answers()
    count = volume(6000, 1500)
    start_in, start_out = net.frames_in, net.frames_out
    for i in range(count):
        source = scanned(i)
        message = build_neighbor_solicitation(source, OWN, OWN, EVIL_MAC)
        net.frame(build_ipv6(source, OWN, PROTO_ICMPV6, len(message), 255) + message)
        sender = bytes((10, 5, 1 + i // 250 % 200, 1 + i % 250))
        net.frame(build_arp(1, EVIL_MAC, sender, bytes(6), ip_to_bytes("10.5.0.1")), 0x0806)
    answers = (net.frames_out - start_out) / (net.frames_in - start_in)
    few, many = (100, 1000)
    return [
        Figure("entries", len(net.cache.entries), net.cache.config.cache_limit),
        Figure("frames sent for one received", answers, 1.0),
        growth(claims, few, many),
    ]


def test_neighbours_that_introduce_themselves_are_bounded() -> None:
    hold(claims_flood())


@attack("neighbour spoofing without being asked")
def unsolicited() -> list[Figure]:
    """Advertisements and ARP replies that nobody asked for, in the names of many (RFC 4861 section 7.2.5)."""
    net = Link()
    before = len(net.cache.entries)
    for i in range(500):
        source = scanned(i)
        net.icmp6(build_neighbor_advertisement(source, ALL_NODES, source, EVIL_MAC, False, False, True), source)
        sender = bytes((10, 5, 1 + i // 250, 1 + i % 250))
        net.frame(build_arp(2, EVIL_MAC, sender, MAC, ip_to_bytes("10.5.0.1")), 0x0806)
    return [
        Figure("entries made by them", len(net.cache.entries) - before, 0),
        Figure("frames sent in answer", net.frames_out, 0),
    ]


def test_what_nobody_asked_for_makes_no_entry() -> None:
    hold(unsolicited())


@attack("router advertisement flood")
def advertisements() -> list[Figure]:
    """Ever new routers with ever new prefixes, of which addresses are to be made (flood_router6)."""
    seed = 3
    print("seed", seed)
    rng = random.Random(seed)
    net = Link()
    net.stack.autoconfigure(net.now, net.interface)
    net.wait(10 * SECOND)
    routes = len(net.stack.routes.routes())
    start_out = net.frames_out
    count = volume(2000, 400)
    for _ in range(count):
        router = ip_to_bytes("fe80::")[:8] + rng.randbytes(8)
        options = NdpOptions(EVIL_MAC)
        options.prefixes = [
            PrefixInfo(b"\x20\x01" + rng.randbytes(6) + bytes(8), 64, True, True, 86400, 14400) for _ in range(10)
        ]
        message = build_router_advertisement(
            router, ALL_NODES, RouterAdvertisement(64, False, False, 0, 1800, 0, 0, options)
        )
        net.icmp6(message, router)
        net.wait(MILLISECOND)
    out = (net.frames_out - start_out) / count
    mtu = net.interface.mtu
    return [
        Figure("routes made", len(net.stack.routes.routes()) - routes, MAX_ROUTERS + MAX_PREFIXES),
        Figure("addresses", len(net.interface.addresses), MAX_ADDRESSES + 4),
        Figure("entries of neighbours", len(net.cache.entries), net.cache.config.cache_limit),
        Figure("frames sent for one received", out, 1.0),
        Figure("octets by which the MTU is smaller", 1500 - mtu, 0, "bytes"),
    ]


def test_advertisements_of_many_routers_are_bounded() -> None:
    hold(advertisements())


@attack("group query flood (IGMP, MLD)")
def queries() -> list[Figure]:
    """Queries of groups by the thousand, which are to make a host report each."""
    net = Link()
    endpoint = net.stack.bind_udp()
    for i in range(10):
        endpoint.join(net.now, ip_to_bytes(f"ff05::{i + 1:x}"), 0)
    net.wait(20 * SECOND)
    groups = net.stack.groups
    assert groups is not None
    start = net.frames_out
    count = volume(5000, 1000)
    for i in range(count):
        group = ip_to_bytes(f"ff05::{i % 10 + 1:x}")
        message = build_icmpv6(EVIL_LOCAL, ALL_NODES, 130, 0, 1000 << 16, group)
        net.icmp6(message, EVIL_LOCAL, ALL_NODES, 1)
    deadlines = len(groups.heap)
    net.wait(20 * SECOND)
    return [
        Figure("deadlines", deadlines, 100),
        Figure("reports for one query", (net.frames_out - start) / count, 0.2),
    ]


def test_queries_leave_few_deadlines_and_bring_few_reports() -> None:
    hold(queries())
