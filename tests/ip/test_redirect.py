"""Redirects (RFC 1122 section 3.2.2.2, RFC 4861 section 8)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from plankroad.ip.neighbour_entry import NeighbourConfig
from plankroad.ip.redirect import MAX_REDIRECTS, handle_redirect_ipv4
from plankroad.ip.routes import ROUTE_REDIRECT, Route
from plankroad.units import SECOND
from plankroad.wire.address import ip_to_bytes as ip
from plankroad.wire.icmp import IcmpMessage
from plankroad.wire.ipv4 import build_ipv4
from plankroad.wire.ndp import NdpOptions, Redirect, build_redirect

if TYPE_CHECKING:
    from .conftest import Bench

GATEWAY = ip("10.0.0.254")
BETTER = ip("10.0.0.253")
DST = ip("8.8.8.8")
ROUTER6 = ip("fe80::fe")
BETTER6 = ip("fe80::fd")
DST6 = ip("2001:db8::1")
MAC = b"\x02\0\0\0\0\xfd"


@pytest.fixture
def host(bench: Bench) -> Bench:
    bench.routes.add(Route(bytes(4), 0, GATEWAY, bench.interface))
    bench.routes.add(Route(bytes(16), 0, ROUTER6, bench.interface))
    return bench


def redirect4(
    host: Bench, sender: bytes = GATEWAY, target: bytes = BETTER, dst: bytes = DST, code: int = 1, src: bytes = b""
) -> bool:
    quoted = build_ipv4(src or ip("10.0.0.1"), dst, 17, 8) + bytes(8)
    message = IcmpMessage(5, code, int.from_bytes(target, "big"), quoted)
    return handle_redirect_ipv4(host.routes, host.interface, sender, message)


def redirect6(
    host: Bench, sender: bytes = ROUTER6, target: bytes = BETTER6, dst: bytes = DST6, mac: bytes = MAC
) -> bool:
    us = ip("fd00::1")
    return host.message(sender, us, build_redirect(sender, us, Redirect(target, dst, NdpOptions(b"", mac))))


def first_hop(host: Bench, dst: bytes) -> bytes:
    found = host.routes.lookup(dst)
    assert found is not None
    return found.next_hop(dst)


@pytest.mark.requirement("RFC1122-3.2.2.2-c", "RFC1122-3.3.1.2-b", "RFC1122-3.3.1.3-a")
@pytest.mark.parametrize("code", [0, 1, 2, 3])
def test_an_ipv4_redirect_is_used_for_its_destination(host: Bench, code: int) -> None:
    # Network redirects are treated as host redirects.
    assert redirect4(host, code=code)
    assert first_hop(host, DST) == BETTER
    assert first_hop(host, ip("8.8.8.9")) == GATEWAY
    # The new one may send us on, the old one has nothing to say any more.
    assert not redirect4(host, target=ip("10.0.0.252"))
    assert redirect4(host, sender=BETTER, target=ip("10.0.0.252"))
    assert first_hop(host, DST) == ip("10.0.0.252")
    assert len(host.routes.redirects) == 1


@pytest.mark.requirement("RFC1122-3.2.2.2-d")
def test_ipv4_redirects_that_are_not_to_be_believed(host: Bench) -> None:
    assert not redirect4(host, sender=ip("10.0.0.66"))  # not the current first hop
    assert not redirect4(host, target=ip("172.16.0.1"))  # not on this subnet
    assert not redirect4(host, target=ip("10.0.0.1"))  # ourselves
    assert not redirect4(host, target=ip("10.0.0.255"))
    assert not redirect4(host, target=ip("224.0.0.1"))
    assert not redirect4(host, target=bytes(4))
    assert not redirect4(host, target=GATEWAY)
    assert not redirect4(host, dst=ip("224.0.0.1"))
    assert not redirect4(host, code=4)
    assert not redirect4(host, src=ip("10.0.0.77"))  # about a packet that is not ours
    assert not handle_redirect_ipv4(
        host.routes, host.interface, GATEWAY, IcmpMessage(5, 1, int.from_bytes(BETTER, "big"), bytes(10))
    )
    assert host.routes.redirects == []
    host.interface.set_forwarding(True)
    assert not redirect4(host)  # RFC 1812 section 5.2.7.2: not by a router


@pytest.mark.requirement("RFC1122-3.3.1.2-f")
def test_a_host_route_set_by_hand_is_not_overridden(host: Bench) -> None:
    # RFC 1122 section 3.3.1.2
    host.routes.add(Route(DST, 32, GATEWAY, host.interface))
    assert not redirect4(host)
    assert first_hop(host, DST) == GATEWAY


def test_an_ipv6_redirect_is_used_and_its_target_learnt(host: Bench) -> None:
    # RFC 4861 section 8.3
    assert redirect6(host)
    assert first_hop(host, DST6) == BETTER6
    assert host.cache.entries[BETTER6].mac == MAC
    assert host.cache.entries[BETTER6].router
    assert host.state(BETTER6) == "STALE"


def test_an_ipv6_redirect_to_the_destination_makes_it_on_link(host: Bench) -> None:
    # RFC 4861 section 8.3
    assert redirect6(host, target=DST6)
    assert first_hop(host, DST6) == DST6
    assert host.cache.entries[DST6].mac == MAC
    assert not host.cache.entries[DST6].router


def test_ipv6_redirects_that_are_not_to_be_believed(host: Bench, make_bench: Callable[..., Bench]) -> None:
    assert not redirect6(host, sender=ip("fe80::66"))
    assert not redirect6(host, sender=ip("2001:db8::66"))
    assert not redirect6(host, target=ip("2001:db8::5"))
    assert not redirect6(host, dst=ip("ff02::1"))
    assert not redirect6(host, target=ip("fe80::1"))
    assert host.routes.redirects == []
    assert BETTER6 not in host.cache.entries
    config = NeighbourConfig()
    config.accept_redirects = False
    other = make_bench(config)
    other.routes.add(Route(bytes(16), 0, ROUTER6, other.interface))
    assert not redirect6(other)


def test_redirects_are_bounded(host: Bench) -> None:
    for i in range(MAX_REDIRECTS + 10):
        assert redirect4(host, dst=bytes([8, 8, i >> 8, i & 255]))
    assert len(host.routes.redirects) == MAX_REDIRECTS
    assert first_hop(host, ip("8.8.0.0")) == GATEWAY
    assert first_hop(host, ip("8.8.0.50")) == BETTER


def test_a_redirect_to_a_gateway_that_is_dead_is_forgotten(host: Bench) -> None:
    assert redirect4(host)
    host.queue(BETTER)
    host.run(host.now + 3 * SECOND)
    assert first_hop(host, DST) == GATEWAY
    assert host.routes.redirects == []


def test_of_equal_routes_any_gateway_may_redirect(host: Bench) -> None:
    host.routes.add(Route(bytes(4), 0, ip("10.0.0.252"), host.interface))
    assert redirect4(host)
    assert redirect4(host, sender=ip("10.0.0.252"), dst=ip("8.8.4.4"))
    assert all(route.origin == ROUTE_REDIRECT for route in host.routes.redirects)
