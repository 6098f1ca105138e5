"""The routing table: longest prefix, metrics, dead links and gateways, multipath."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plankroad.ip.interface import Interface
from plankroad.ip.routes import MULTIPATH_PER_FLOW, MULTIPATH_PER_PACKET, Route, RouteTable, flow_hash
from plankroad.wire.address import bytes_to_ip, in_prefix, parse_prefix
from plankroad.wire.address import ip_to_bytes as ip

A = Interface(0, "a", 1500)
B = Interface(1, "b", 1400)


@pytest.fixture(autouse=True)
def both_up() -> None:
    A.up = True
    B.up = True


def route(prefix: str, gateway: str = "", interface: Interface = A, metric: int = 0, weight: int = 1) -> Route:
    address, length = parse_prefix(prefix)
    return Route(address, length, ip(gateway) if gateway else b"", interface, metric, weight)


def find(table: RouteTable, dst: str, flow: int = 0) -> Route:
    found = table.lookup(ip(dst), flow)
    assert found is not None
    return found


@pytest.mark.requirement("RFC1122-3.3.1.2-c")
@pytest.mark.parametrize(
    ("wide", "narrow", "inside", "outside"),
    [
        ("10.0.0.0/8", "10.1.0.0/16", "10.1.2.3", "10.2.0.1"),
        ("fd00::/8", "fd00:1::/32", "fd00:1::5", "fd00:2::5"),
        ("0.0.0.0/0", "10.0.0.1/32", "10.0.0.1", "10.0.0.2"),
        ("::/0", "fd00::1/128", "fd00::1", "fd00::2"),
    ],
)
def test_the_longest_prefix_wins(wide: str, narrow: str, inside: str, outside: str) -> None:
    table = RouteTable()
    long = route(narrow, interface=B, metric=100)
    short = route(wide)
    table.add(long)
    table.add(short)
    assert find(table, inside) is long
    assert find(table, outside) is short


def test_families_are_apart() -> None:
    table = RouteTable()
    table.add(route("0.0.0.0/0"))
    assert table.lookup(ip("::1")) is None
    with pytest.raises(ValueError, match="4 or 16"):
        table.lookup(b"12345")


def test_the_lowest_metric_wins() -> None:
    table = RouteTable()
    worse = route("10.0.0.0/8", metric=20)
    better = route("10.0.0.0/8", interface=B, metric=10)
    table.add(worse)
    table.add(better)
    assert find(table, "10.0.0.1") is better
    assert table.remove(better)
    assert find(table, "10.0.0.1") is worse


def test_a_link_that_is_down_is_routed_around() -> None:
    table = RouteTable()
    narrow = route("10.1.0.0/16")
    wide = route("10.0.0.0/8", interface=B)
    table.add(narrow)
    table.add(wide)
    assert find(table, "10.1.0.1") is narrow
    A.up = False
    table.invalidate()
    assert find(table, "10.1.0.1") is wide
    B.up = False
    table.invalidate()
    assert table.lookup(ip("10.1.0.1")) is None
    A.up = True
    table.invalidate()
    assert find(table, "10.1.0.1") is narrow


def test_a_dead_gateway_is_avoided_while_there_is_another() -> None:
    # RFC 1122 sections 3.3.1.4 and 3.3.1.5, RFC 4861 section 6.3.6
    table = RouteTable()
    first = route("0.0.0.0/0", "10.0.0.1")
    second = route("0.0.0.0/0", "10.0.0.2", metric=10)
    table.add(first)
    table.add(second)
    generation = table.generation
    assert find(table, "8.8.8.8") is first
    assert table.set_gateway_reachable(ip("10.0.0.1"), A, False)
    assert table.generation > generation
    assert find(table, "8.8.8.8") is second
    assert table.set_gateway_reachable(ip("10.0.0.2"), A, False)
    # Nothing else is left: it is tried.
    assert find(table, "8.8.8.8") is first
    assert not table.set_gateway_reachable(ip("10.0.0.1"), B, True)
    assert table.set_gateway_reachable(ip("10.0.0.2"), A, True)
    assert find(table, "8.8.8.8") is second


@pytest.mark.requirement("RFC1122-3.3.1.2-a")
def test_every_change_empties_the_destination_cache() -> None:
    table = RouteTable()
    wide = route("10.0.0.0/8")
    table.add(wide)
    assert find(table, "10.0.0.1") is wide
    narrow = route("10.0.0.0/24", interface=B)
    table.add(narrow)
    assert find(table, "10.0.0.1") is narrow
    table.remove(narrow)
    assert find(table, "10.0.0.1") is wide


@pytest.mark.requirement("RFC1122-3.3.1.2-a")
def test_the_destination_cache_is_bounded() -> None:
    table = RouteTable(cache_size=10)
    table.add(route("10.0.0.0/8"))
    for i in range(1000):
        table.lookup(bytes([10, 0, i >> 8, i & 255]))
    assert len(table.cache) == 10
    # Destinations without a route take no place.
    table.lookup(ip("11.0.0.1"))
    assert ip("11.0.0.1") not in table.cache


def test_lookup_does_not_look_at_routes_of_other_prefixes() -> None:
    """The cost of a lookup is that of the distinct prefix lengths, not of the routes."""
    table = RouteTable()
    for i in range(2000):
        table.add(route(f"10.{i >> 8}.{i & 255}.0/24"))
    assert table.lengths4 == [24]
    assert len(table.prefixes4[24]) == 2000
    assert bytes_to_ip(find(table, "10.3.7.9").prefix) == "10.3.7.0"


def test_per_packet_multipath_takes_routes_in_turn() -> None:
    table = RouteTable(MULTIPATH_PER_PACKET)
    first = route("0.0.0.0/0", "10.0.0.1")
    second = route("0.0.0.0/0", "10.0.0.2", B)
    table.add(first)
    table.add(second)
    taken = [find(table, "8.8.8.8", 77) for _ in range(6)]
    assert taken == [taken[0], taken[1]] * 3
    assert taken[0] is not taken[1]


def test_per_packet_multipath_by_weight_is_even() -> None:
    table = RouteTable(MULTIPATH_PER_PACKET)
    heavy = route("0.0.0.0/0", "10.0.0.1", weight=3)
    light = route("0.0.0.0/0", "10.0.0.2", B)
    table.add(heavy)
    table.add(light)
    taken = [find(table, "8.8.8.8") for _ in range(40)]
    assert taken.count(heavy) == 30
    for i in range(37):
        assert taken[i : i + 4].count(light) == 1


def test_per_flow_multipath_keeps_a_flow_on_one_route() -> None:
    # RFC 2992
    table = RouteTable(MULTIPATH_PER_FLOW)
    routes = [route("0.0.0.0/0", f"10.0.0.{i}", weight=i) for i in (1, 2, 3)]
    for one in routes:
        table.add(one)
    counts: Counter[int] = Counter()
    for port in range(6000):
        flow = flow_hash(ip("10.0.0.9"), ip("8.8.8.8"), 6, 32768 + port, 80)
        chosen = find(table, "8.8.8.8", flow)
        assert find(table, "8.8.8.8", flow) is chosen
        counts[chosen.weight] += 1
    for weight in (1, 2, 3):
        assert 0.85 * weight * 1000 < counts[weight] < 1.15 * weight * 1000


def test_two_routers_with_other_seeds_split_flows_differently() -> None:
    def choices(seed: int) -> list[bytes]:
        table = RouteTable(MULTIPATH_PER_FLOW, seed)
        for i in (1, 2):
            table.add(route("0.0.0.0/0", f"10.0.0.{i}"))
        return [find(table, "8.8.8.8", flow_hash(ip("1.1.1.1"), ip("8.8.8.8"), 6, p, 80)).gateway for p in range(400)]

    same = sum(a == b for a, b in zip(choices(1), choices(2), strict=True))
    assert 140 < same < 260
    assert choices(1) == choices(1)


def test_flow_hash_is_the_same_in_every_process() -> None:
    assert flow_hash(ip("10.0.0.1"), ip("10.0.0.2"), 6, 1, 2) == 1652793012


def test_lookup_on_one_interface() -> None:
    table = RouteTable()
    a = route("fe80::/64")
    b = route("fe80::/64", interface=B)
    table.add(a)
    table.add(b)
    assert table.lookup_on(ip("fe80::5"), B) is b
    assert table.lookup_on(ip("fe80::5"), A) is a
    assert table.lookup_on(ip("fd00::5"), A) is None
    assert table.next_hops(ip("fe80::5")) == [a, b]


def test_bad_routes_are_refused() -> None:
    with pytest.raises(ValueError, match="famil"):
        Route(bytes(4), 0, bytes(16), A)
    with pytest.raises(ValueError, match="prefix length"):
        Route(bytes(4), 33, b"", A)
    with pytest.raises(ValueError, match="weight"):
        Route(bytes(4), 0, b"", A, 0, 0)
    with pytest.raises(ValueError, match="4 or 16"):
        Route(bytes(5), 0, b"", A)
    table = RouteTable()
    table.add(route("10.0.0.0/8"))
    with pytest.raises(ValueError, match="already"):
        table.add(route("10.0.0.0/8"))
    assert not table.remove(route("10.0.0.0/8"))
    assert not table.remove(route("11.0.0.0/8"))


def test_the_mtu_and_next_hop_of_a_route() -> None:
    direct = route("10.0.0.0/8", interface=B)
    assert direct.next_hop(ip("10.0.0.7")) == ip("10.0.0.7")
    assert direct.path_mtu() == 1400
    through = Route(bytes(4), 0, ip("10.0.0.1"), A, mtu=1300)
    assert through.next_hop(ip("8.8.8.8")) == ip("10.0.0.1")
    assert through.path_mtu() == 1300


def test_removing_an_interface_removes_its_routes() -> None:
    table = RouteTable()
    table.add(route("10.0.0.0/8"))
    table.add(route("::/0", "fe80::1"))
    kept = route("10.0.0.0/8", interface=B)
    table.add(kept)
    assert table.remove_interface(A) == 2
    assert table.routes() == [kept]
    assert not table.is_gateway(ip("fe80::1"), A)


@pytest.mark.requirement("RFC1122-3.3.1.2-e")
@given(st.integers(0, 2**32))
def test_lookup_agrees_with_a_search_through_all_routes(seed: int) -> None:
    rng = random.Random(seed)
    size = rng.choice([4, 16])
    table = RouteTable(cache_size=4)
    routes: list[Route] = []
    for _ in range(rng.randrange(1, 30)):
        if routes and rng.random() < 0.3:
            gone = routes.pop(rng.randrange(len(routes)))
            assert table.remove(gone)
        one = Route(
            rng.choice([b"\x0a\x00", b"\x0a\x01"]) + rng.randbytes(size - 2),
            rng.randrange(0, size * 8 + 1),
            b"",
            rng.choice([A, B]),
            rng.randrange(3),
        )
        try:
            table.add(one)
        except ValueError:
            continue
        routes.append(one)
        dst = one.prefix if rng.random() < 0.5 else b"\x0a\x00" + rng.randbytes(size - 2)
        matching = [r for r in routes if in_prefix(dst, r.prefix, r.prefix_len)]
        found = table.lookup(dst)
        if not matching:
            assert found is None
            continue
        assert found in matching
        assert found is not None
        best = max(matching, key=lambda r: (r.prefix_len, -r.metric))
        assert (found.prefix_len, found.metric) == (best.prefix_len, best.metric)
    assert sorted(map(id, table.routes())) == sorted(map(id, routes))
