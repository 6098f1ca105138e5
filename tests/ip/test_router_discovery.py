"""Router discovery and stateless address configuration of a host (RFC 4861 section 6.3, RFC 4862 section 5)."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from plankroad.ip.interface import ADDRESS_DEPRECATED, ADDRESS_DUPLICATE, ADDRESS_PREFERRED, Interface
from plankroad.ip.neighbour import NeighbourCache
from plankroad.ip.neighbour_entry import NeighbourConfig
from plankroad.ip.router_discovery import MAX_ADDRESSES, MAX_PREFIXES, MAX_ROUTERS
from plankroad.ip.routes import Route, RouteTable
from plankroad.units import NEVER, SECOND
from plankroad.wire.address import bytes_to_ip, parse_prefix
from plankroad.wire.address import ip_to_bytes as ip
from plankroad.wire.ndp import (
    INFINITE_LIFETIME,
    NdpMessage,
    NdpOptions,
    PrefixInfo,
    RouterAdvertisement,
    RouterSolicitation,
    build_neighbor_advertisement,
    build_router_advertisement,
)

if TYPE_CHECKING:
    from .conftest import Bench

MAC = b"\x02\0\0\0\0\x01"
ROUTER_MAC = b"\x02\0\0\0\0\x02"
ROUTER = ip("fe80::2")
ALL = ip("ff02::1")
# Made of MAC (RFC 4291 appendix A).
IDENTIFIER = "0:ff:fe00:1"


def advertise(
    bench: Bench,
    *prefixes: PrefixInfo,
    lifetime: int = 1800,
    src: bytes = ROUTER,
    mac: bytes = ROUTER_MAC,
    mtu: int = 0,
    preference: int = 0,
    hop_limit: int = 0,
) -> bool:
    options = NdpOptions(mac)
    options.prefixes = list(prefixes)
    options.mtu = mtu
    message = RouterAdvertisement(hop_limit, False, False, preference, lifetime, 0, 0, options)
    return bench.message(src, ALL, build_router_advertisement(src, ALL, message))


def prefix(text: str, valid: int = 86400, preferred: int = 14400, flags: str = "LA") -> PrefixInfo:
    address, length = parse_prefix(text)
    return PrefixInfo(address, length, "L" in flags, "A" in flags, valid, preferred)


def started(bench: Bench) -> Bench:
    bench.cache.start_router_discovery(bench.now)
    bench.frames()
    return bench


def routes(bench: Bench) -> set[str]:
    return {
        f"{bytes_to_ip(r.prefix)}/{r.prefix_len} {bytes_to_ip(r.gateway) if r.gateway else ''}".strip()
        for r in bench.routes.routes()
    }


def addresses(bench: Bench) -> set[str]:
    return {bytes_to_ip(a.ip) for a in bench.interface.addresses if a.automatic}


def test_a_link_local_address_is_formed_and_checked() -> None:
    # RFC 4862 section 5.3
    interface = Interface(0, "eth0", 1500, True, MAC)
    table = RouteTable()
    cache = NeighbourCache(interface, table, random.Random(1))
    cache.start_router_discovery(0)
    address = ip(f"fe80::{IDENTIFIER}")
    assert not interface.owns(address)
    while cache.next_timeout() < 3 * SECOND:
        cache.handle_timeout(cache.next_timeout())
    assert interface.owns(address)
    assert (address, ADDRESS_PREFERRED) in cache.poll_address_events()
    found = table.lookup(ip("fe80::99"))
    assert found is not None
    assert found.gateway == b""


def test_routers_are_solicited_three_times(bench: Bench) -> None:
    # RFC 4861 section 6.3.7
    bench.cache.start_router_discovery(bench.now)
    times = []
    while not bench.idle():
        bench.run(bench.cache.next_timeout())
        for mac, src, dst, message in bench.messages():
            assert isinstance(message, RouterSolicitation)
            assert (mac, src, dst) == (b"\x33\x33\0\0\0\2", ip("fe80::1"), ip("ff02::2"))
            assert message.options.source_mac == MAC
            times.append(bench.now)
    assert len(times) == 3
    assert [y - x for x, y in pairwise(times)] == [4 * SECOND, 4 * SECOND]


def test_without_an_address_the_solicitation_is_from_nobody(bench: Bench) -> None:
    # RFC 4861 section 4.1
    bench.interface.remove_address(ip("fe80::1"))
    bench.cache.start_router_discovery(bench.now)
    found: list[tuple[bytes, bytes, bytes, NdpMessage]] = []
    while len(found) < 1:
        bench.run(bench.cache.next_timeout())
        found = [m for m in bench.messages() if isinstance(m[3], RouterSolicitation)]
    if found[0][1] == bytes(16):
        assert found[0][3].options.source_mac == b""
    else:
        assert found[0][1] == ip(f"fe80::{IDENTIFIER}")


def test_an_answer_ends_the_soliciting(bench: Bench) -> None:
    # RFC 4861 section 6.3.7
    started(bench)
    advertise(bench)
    bench.run(bench.now + 60 * SECOND)
    assert not [m for m in bench.messages() if isinstance(m[3], RouterSolicitation)]


def test_an_answer_of_no_default_router_does_not(bench: Bench) -> None:
    started(bench)
    advertise(bench, lifetime=0)
    bench.run(bench.now + 60 * SECOND)
    assert len([m for m in bench.messages() if isinstance(m[3], RouterSolicitation)]) == 3


def test_the_sender_becomes_a_default_router_for_its_lifetime(bench: Bench) -> None:
    # RFC 4861 sections 6.3.4 and 6.3.5
    started(bench)
    advertise(bench, lifetime=100)
    assert "::/0 fe80::2" in routes(bench)
    assert bench.state(ROUTER) == "STALE"
    assert bench.cache.entries[ROUTER].router
    bench.run(bench.now + 99 * SECOND)
    assert "::/0 fe80::2" in routes(bench)
    advertise(bench, lifetime=100)
    bench.run(bench.now + 99 * SECOND)
    assert "::/0 fe80::2" in routes(bench)
    bench.run(bench.now + SECOND)
    assert "::/0 fe80::2" not in routes(bench)
    advertise(bench, lifetime=100)
    advertise(bench, lifetime=0)
    assert "::/0 fe80::2" not in routes(bench)


def test_preferences_decide_among_routers(bench: Bench) -> None:
    # RFC 4191 section 2.2: 1 high, 0 medium, 3 low
    started(bench)

    def best() -> bytes:
        found = bench.routes.lookup(ip("2001:db8::1"))
        assert found is not None
        return found.gateway

    advertise(bench, preference=3)
    advertise(bench, src=ip("fe80::3"), preference=0)
    assert best() == ip("fe80::3")
    advertise(bench, src=ip("fe80::4"), preference=1)
    assert best() == ip("fe80::4")
    advertise(bench, src=ip("fe80::4"), preference=3)
    assert best() == ip("fe80::3")


def test_an_on_link_prefix_becomes_a_route_for_its_lifetime(bench: Bench) -> None:
    # RFC 4861 section 6.3.4
    started(bench)
    advertise(bench, prefix("2001:db8::/48", 50, 50, "L"))
    assert "2001:db8::/48" in routes(bench)
    advertise(bench, prefix("2001:db8::/48", 0, 0, ""))
    assert "2001:db8::/48" in routes(bench)
    bench.run(bench.now + 50 * SECOND)
    assert "2001:db8::/48" not in routes(bench)
    advertise(bench, prefix("2001:db8::/48", INFINITE_LIFETIME, 0, "L"), lifetime=0)
    bench.run(bench.now + 10**6 * SECOND)
    assert "2001:db8::/48" in routes(bench)
    advertise(bench, prefix("2001:db8::/48", 0, 0, "L"), lifetime=0)
    assert "2001:db8::/48" not in routes(bench)


def test_the_link_local_and_multicast_prefixes_are_ignored(bench: Bench) -> None:
    started(bench)
    before = routes(bench)
    advertise(bench, prefix("fe80::/64"), prefix("ff00::/8"), lifetime=0)
    assert routes(bench) == before
    assert addresses(bench) == set()


def test_an_address_is_formed_from_an_autonomous_prefix(bench: Bench) -> None:
    # RFC 4862 section 5.5.3 (d)
    started(bench)
    advertise(bench, prefix("2001:db8:5::/64", 1000, 100))
    address = ip(f"2001:db8:5::{IDENTIFIER}")
    assert not bench.interface.owns(address)
    start = bench.now
    bench.run(start + 3 * SECOND)
    assert bench.interface.owns(address)
    assert bench.cache.poll_address_events() == [(address, ADDRESS_PREFERRED)]
    # Section 5.5.4
    bench.run(start + 100 * SECOND)
    assert bench.cache.poll_address_events() == [(address, ADDRESS_DEPRECATED)]
    assert bench.interface.owns(address)
    bench.run(start + 1000 * SECOND)
    assert bench.cache.poll_address_events() == [(address, -1)]
    assert address not in bench.interface.by_ip


def test_a_new_advertisement_prolongs_and_prefers_again(bench: Bench) -> None:
    # RFC 4862 section 5.5.3 (e)
    started(bench)
    advertise(bench, prefix("2001:db8:5::/64", 10000, 100))
    start = bench.now
    bench.run(start + 200 * SECOND)
    bench.cache.poll_address_events()
    advertise(bench, prefix("2001:db8:5::/64", 20000, 1000))
    address = bench.interface.by_ip[ip(f"2001:db8:5::{IDENTIFIER}")]
    assert address.state == ADDRESS_PREFERRED
    assert address.valid_until == bench.now + 20000 * SECOND
    assert len(addresses(bench)) == 1


@pytest.mark.parametrize(
    ("remaining", "received", "result"),
    [(10000, 9000, 9000), (10000, 100, 7200), (5000, 100, 5000), (5000, 6000, 6000), (10000, 0, 7200)],
)
def test_short_lifetimes_take_two_hours(bench: Bench, remaining: int, received: int, result: int) -> None:
    # RFC 4862 section 5.5.3 (e) 1 to 3
    started(bench)
    advertise(bench, prefix("2001:db8:5::/64", remaining, 0))
    advertise(bench, prefix("2001:db8:5::/64", received, 0))
    address = bench.interface.by_ip[ip(f"2001:db8:5::{IDENTIFIER}")]
    assert address.valid_until == bench.now + result * SECOND


@pytest.mark.parametrize(
    "info",
    [
        prefix("2001:db8:5::/64", flags="L"),
        prefix("2001:db8:5::/64", 100, 101),
        prefix("2001:db8:5::/64", 0, 0),
        prefix("2001:db8::/48"),
    ],
)
def test_prefixes_that_make_no_address(bench: Bench, info: PrefixInfo) -> None:
    # RFC 4862 section 5.5.3 (a), (c), (d)
    started(bench)
    advertise(bench, info)
    assert addresses(bench) == set()


def test_the_mtu_of_a_router_is_used_within_bounds(bench: Bench) -> None:
    # RFC 4861 section 6.3.4
    started(bench)
    generation = bench.routes.generation
    advertise(bench, mtu=1400, lifetime=0)
    assert bench.interface.mtu == 1400
    assert bench.routes.generation > generation
    for wrong in (1279, 1501, 9000):
        advertise(bench, mtu=wrong)
        assert bench.interface.mtu == 1400
    advertise(bench, mtu=1500)
    assert bench.interface.mtu == 1500


def test_the_hop_limit_of_a_router_is_used(bench: Bench) -> None:
    started(bench)
    advertise(bench, hop_limit=99)
    assert bench.interface.hop_limit == 99
    advertise(bench, hop_limit=0)
    assert bench.interface.hop_limit == 99


def test_routers_and_those_who_did_not_ask_ignore_advertisements(
    bench: Bench, make_bench: Callable[..., Bench]
) -> None:
    # RFC 4861 section 6.2.7
    assert not advertise(bench, prefix("2001:db8:5::/64"))
    assert bench.routes.routes() == []
    started(bench)
    bench.interface.set_forwarding(True)
    assert not advertise(bench, prefix("2001:db8:5::/64"))
    config = NeighbourConfig()
    config.accept_ra = False
    other = started(make_bench(config))
    assert not advertise(other)
    bench.run(bench.now + 20 * SECOND)
    other.run(other.now + 20 * SECOND)
    assert other.frames() == []


def test_nobody_can_fill_the_lists(bench: Bench) -> None:
    started(bench)
    for i in range(100):
        advertise(bench, prefix(f"2001:db8:{i:x}::/64"), src=ip(f"fe80::1:{i:x}"))
    discovery = bench.cache.router_discovery
    assert len(discovery.routers) == MAX_ROUTERS
    assert len(discovery.prefixes) == MAX_PREFIXES
    assert len(addresses(bench)) == MAX_ADDRESSES


def test_routes_set_by_hand_are_left_alone(bench: Bench) -> None:
    by_hand = Route(bytes(16), 0, ROUTER, bench.interface, 1024)
    on_link = Route(ip("2001:db8:5::"), 64, b"", bench.interface, 256)
    bench.routes.add(by_hand)
    bench.routes.add(on_link)
    started(bench)
    advertise(bench, prefix("2001:db8:5::/64", flags="L"))
    advertise(bench, prefix("2001:db8:5::/64", 0, 0, flags="L"), lifetime=0)
    assert by_hand in bench.routes.routes()
    assert on_link in bench.routes.routes()


def test_a_duplicate_of_the_own_mac_address_ends_ipv6() -> None:
    # RFC 4862 section 5.4.5
    interface = Interface(0, "eth0", 1500, True, MAC)
    cache = NeighbourCache(interface, RouteTable(), random.Random(1))
    cache.start_router_discovery(0)
    address = ip(f"fe80::{IDENTIFIER}")
    message = build_neighbor_advertisement(address, ALL, address, b"\x02\0\0\0\0\x09", False, False, True)
    assert cache.handle_ndp(0, message, 0, len(message), address, ALL, 255)
    assert interface.by_ip[address].state == ADDRESS_DUPLICATE
    assert cache.router_discovery.disabled
    assert cache.next_timeout() == NEVER
    cache.start_router_discovery(1)
    assert cache.next_timeout() == NEVER
