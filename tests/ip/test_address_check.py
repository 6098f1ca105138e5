"""Duplicate address detection (RFC 4862 section 5.4) and IPv4 address conflict detection (RFC 5227)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from plankroad.ip.interface import ADDRESS_DUPLICATE, ADDRESS_PREFERRED, ADDRESS_TENTATIVE
from plankroad.ip.neighbour_entry import NeighbourConfig
from plankroad.units import SECOND
from plankroad.wire.address import ip_to_bytes as ip
from plankroad.wire.address import solicited_node
from plankroad.wire.ndp import NeighborSolicitation

if TYPE_CHECKING:
    from .conftest import Bench

MAC = b"\x02\0\0\0\0\x01"
PEER_MAC = b"\x02\0\0\0\0\x02"
NEW4 = ip("10.0.0.7")
NEW6 = ip("fd00::7")


def begin(bench: Bench, address: bytes) -> None:
    bench.interface.add_address(address, 24 if len(address) == 4 else 64)
    bench.cache.start_address_check(bench.now, address)
    assert bench.interface.by_ip[address].state == ADDRESS_TENTATIVE
    assert not bench.interface.owns(address)


def step(bench: Bench) -> int:
    """To the next timer; how long that was."""
    before = bench.now
    bench.run(bench.cache.next_timeout())
    return bench.now - before


def test_an_ipv6_address_is_solicited_once_and_then_used(bench: Bench) -> None:
    # RFC 4862 sections 5.4.2 and 5.4
    begin(bench, NEW6)
    assert step(bench) <= SECOND
    ((mac, src, dst, message),) = bench.messages()
    assert isinstance(message, NeighborSolicitation)
    assert (mac, src, dst) == (b"\x33\x33\xff\0\0\7", bytes(16), solicited_node(NEW6))
    assert (message.target, message.options.source_mac) == (NEW6, b"")
    assert bench.interface.by_ip[NEW6].state == ADDRESS_TENTATIVE
    assert step(bench) == SECOND
    assert bench.cache.poll_address_events() == [(NEW6, ADDRESS_PREFERRED)]
    assert bench.cache.poll_address_events() == []
    assert bench.interface.owns(NEW6)
    assert bench.frames() == []
    assert bench.idle()
    assert not bench.cache.checks


def test_an_ipv4_address_is_probed_and_announced(bench: Bench) -> None:
    # RFC 5227 sections 2.1.1 and 2.3
    begin(bench, NEW4)
    waits = []
    probes = []
    while bench.interface.by_ip[NEW4].state == ADDRESS_TENTATIVE:
        waits.append(step(bench))
        probes += bench.arps()
    assert [(a.operation, a.sender_ip, a.target_ip, a.target_mac) for _, a in probes[:3]] == [
        (1, bytes(4), NEW4, bytes(6))
    ] * 3
    assert all(mac == b"\xff" * 6 for mac, _ in probes)
    assert waits[0] <= SECOND
    assert SECOND <= waits[1] <= 2 * SECOND
    assert SECOND <= waits[2] <= 2 * SECOND
    assert waits[3] == 2 * SECOND
    assert bench.cache.poll_address_events() == [(NEW4, ADDRESS_PREFERRED)]
    assert step(bench) == 2 * SECOND
    announcements = probes[3:] + bench.arps()
    assert [(a.operation, a.sender_ip, a.target_ip) for _, a in announcements] == [(1, NEW4, NEW4)] * 2
    assert bench.idle()


def assert_duplicate(bench: Bench, address: bytes) -> None:
    assert bench.interface.by_ip[address].state == ADDRESS_DUPLICATE
    assert bench.cache.poll_address_events() == [(address, ADDRESS_DUPLICATE)]
    assert bench.cache.counters.duplicate_addresses == 1
    bench.frames()
    assert bench.idle()
    assert not bench.interface.owns(address)


@pytest.mark.parametrize("operation", [1, 2])
@pytest.mark.parametrize("steps", [0, 1, 3])
def test_an_ipv4_address_that_another_uses_is_not_taken(bench: Bench, operation: int, steps: int) -> None:
    # RFC 5227 section 2.1.1: "any ARP packet (Request *or* Reply)", from the beginning until ANNOUNCE_WAIT is over
    begin(bench, NEW4)
    for _ in range(steps):
        step(bench)
    bench.arp(operation, PEER_MAC, NEW4, bytes(6), ip("10.0.0.2"))
    assert_duplicate(bench, NEW4)


def test_an_ipv4_address_that_another_probes_for_is_not_taken(bench: Bench) -> None:
    # RFC 5227 section 2.1.1
    begin(bench, NEW4)
    bench.arp(1, MAC, bytes(4), bytes(6), NEW4)
    assert bench.interface.by_ip[NEW4].state == ADDRESS_TENTATIVE
    bench.arp(1, PEER_MAC, bytes(4), bytes(6), NEW4)
    assert_duplicate(bench, NEW4)


def test_a_tentative_ipv4_address_is_not_answered_for(bench: Bench) -> None:
    begin(bench, NEW4)
    bench.arp(1, PEER_MAC, ip("10.0.0.2"), bytes(6), NEW4)
    assert bench.frames() == []
    assert bench.interface.by_ip[NEW4].state == ADDRESS_TENTATIVE


@pytest.mark.parametrize("steps", [0, 1])
def test_an_ipv6_address_that_another_solicits_is_not_taken(bench: Bench, steps: int) -> None:
    # RFC 4862 section 5.4.3
    begin(bench, NEW6)
    for _ in range(steps):
        step(bench)
    bench.frames()
    bench.solicit(NEW6, bytes(16), b"")
    assert_duplicate(bench, NEW6)


def test_an_ipv6_address_that_another_advertises_is_not_taken(bench: Bench) -> None:
    # RFC 4862 section 5.4.4
    begin(bench, NEW6)
    bench.advertise(NEW6, solicited=False)
    assert_duplicate(bench, NEW6)


def test_resolving_a_tentative_ipv6_address_is_ignored(bench: Bench) -> None:
    # RFC 4862 section 5.4.3
    begin(bench, NEW6)
    bench.solicit(NEW6)
    assert bench.frames() == []
    assert bench.interface.by_ip[NEW6].state == ADDRESS_TENTATIVE


def test_our_own_solicitation_sent_back_is_no_duplicate(bench: Bench) -> None:
    # RFC 7527 section 4.2
    begin(bench, NEW6)
    step(bench)
    (frame,) = bench.frames()
    bench.cache.handle_ndp(bench.now, frame, 54, len(frame), bytes(16), solicited_node(NEW6), 255)
    assert bench.interface.by_ip[NEW6].state == ADDRESS_TENTATIVE
    step(bench)
    assert bench.interface.owns(NEW6)


def test_an_address_in_use_is_defended_once_in_ten_seconds(bench: Bench) -> None:
    # RFC 5227 section 2.4 (c)
    us = ip("10.0.0.1")
    bench.arp(1, PEER_MAC, us, bytes(6), ip("10.0.0.9"))
    ((mac, arp),) = bench.arps()
    assert (mac, arp.operation, arp.sender_ip, arp.target_ip) == (b"\xff" * 6, 1, us, us)
    bench.now += 9 * SECOND
    bench.arp(2, PEER_MAC, us, MAC, us)
    assert bench.frames() == []
    bench.now += SECOND
    bench.arp(2, PEER_MAC, us, MAC, us)
    assert len(bench.arps()) == 1
    assert bench.cache.counters.address_conflicts == 3
    assert bench.interface.owns(us)
    assert not bench.cache.entries


def test_after_a_duplicate_the_other_host_is_a_neighbour_like_any(bench: Bench) -> None:
    begin(bench, NEW4)
    bench.arp(1, PEER_MAC, NEW4, bytes(6), ip("10.0.0.1"))
    bench.frames()
    bench.arp(1, PEER_MAC, NEW4, bytes(6), ip("10.0.0.1"))
    assert len(bench.arps()) == 1
    assert bench.state(NEW4) == "STALE"


@pytest.mark.parametrize("address", [NEW4, NEW6])
def test_without_probes_an_address_is_used_at_once(make_bench: Callable[..., Bench], address: bytes) -> None:
    # RFC 4862 section 5.1: DupAddrDetectTransmits 0
    config = NeighbourConfig()
    config.check_probes_ipv4 = config.check_probes_ipv6 = 0
    bench = make_bench(config)
    bench.interface.add_address(address, 24)
    bench.cache.start_address_check(bench.now, address)
    assert bench.interface.owns(address)
    assert bench.cache.poll_address_events() == [(address, ADDRESS_PREFERRED)]


def test_several_solicitations(make_bench: Callable[..., Bench]) -> None:
    config = NeighbourConfig()
    config.check_probes_ipv6 = 3
    bench = make_bench(config)
    begin(bench, NEW6)
    bench.run(bench.now + 10 * SECOND)
    messages = [message for _, _, _, message in bench.messages()]
    assert len(messages) == 3


def test_two_hosts_do_not_speak_at_once(make_bench: Callable[..., Bench]) -> None:
    # RFC 4862 section 5.4.2: a random delay
    waits = set()
    for seed in range(10):
        bench = make_bench(None, seed)
        begin(bench, NEW6)
        waits.add(step(bench))
    assert len(waits) == 10


@pytest.mark.parametrize("address", [NEW4, NEW6])
def test_the_check_of_an_address_that_is_taken_away_ends(bench: Bench, address: bytes) -> None:
    begin(bench, address)
    bench.interface.remove_address(address)
    bench.run(bench.now + 10 * SECOND)
    assert bench.frames() == []
    assert bench.cache.poll_address_events() == []
    assert not bench.cache.checks


def test_an_address_that_is_not_there_is_refused(bench: Bench) -> None:
    with pytest.raises(ValueError, match="does not have"):
        bench.cache.start_address_check(bench.now, NEW4)


def test_an_announcement_that_a_link_failure_cut_short_is_made_up_for(bench: Bench) -> None:
    # RFC 5227 section 2.3
    begin(bench, NEW4)
    while not bench.interface.owns(NEW4):
        step(bench)
    bench.frames()
    assert bench.cache.checks
    bench.interface.up = False
    bench.run(bench.now + 10 * SECOND)
    assert bench.frames() == []
    bench.interface.up = True
    bench.cache.start_again(bench.now)
    ((_, announcement),) = bench.arps()
    assert announcement.sender_ip == announcement.target_ip == NEW4
    assert bench.interface.owns(NEW4)
    assert not bench.cache.checks
    assert bench.idle()
