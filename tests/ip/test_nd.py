"""Neighbour solicitations and advertisements (RFC 4861 section 7)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from plankroad.ip.routes import Route
from plankroad.units import SECOND
from plankroad.wire.address import ip_to_bytes as ip
from plankroad.wire.address import solicited_node
from plankroad.wire.ndp import (
    NdpOptions,
    NeighborAdvertisement,
    NeighborSolicitation,
    RouterAdvertisement,
    RouterSolicitation,
    build_neighbor_advertisement,
    build_neighbor_solicitation,
    build_router_advertisement,
    build_router_solicitation,
)

if TYPE_CHECKING:
    from .conftest import Bench

MAC = b"\x02\0\0\0\0\x01"
PEER_MAC = b"\x02\0\0\0\0\x02"
OTHER_MAC = b"\x02\0\0\0\0\x03"
US = ip("fe80::1")
PEER = ip("fe80::2")
ALL = ip("ff02::1")


def test_a_solicitation_goes_to_the_solicited_node_group(bench: Bench) -> None:
    # RFC 4861 section 7.2.2
    bench.queue(PEER)
    ((mac, src, dst, message),) = bench.messages()
    assert isinstance(message, NeighborSolicitation)
    assert (mac, dst) == (b"\x33\x33\xff\0\0\2", solicited_node(PEER))
    # "If the source address of the packet prompting the solicitation is the same as one of the addresses assigned"
    assert src == ip("fd00::1")
    assert (message.target, message.options.source_mac) == (PEER, MAC)


def test_a_solicitation_for_a_forwarded_packet_has_an_own_source(bench: Bench) -> None:
    bench.interface.remove_address(ip("fd00::1"))
    bench.queue(PEER)
    assert bench.messages()[0][1] == US


def test_without_an_address_nobody_is_asked(bench: Bench) -> None:
    # From :: it would be duplicate address detection.
    bench.interface.remove_address(ip("fd00::1"))
    bench.interface.remove_address(US)
    packet = bench.queue(PEER)
    assert bench.frames() == []
    bench.run(bench.now + 10 * SECOND)
    assert bench.cache.failures() == [packet]


def test_a_probe_is_unicast(bench: Bench) -> None:
    bench.solicit(US)
    bench.frames()
    bench.cache.resolve(bench.now, PEER)
    bench.run(bench.now + 5 * SECOND)
    ((mac, _, dst, message),) = bench.messages()
    assert isinstance(message, NeighborSolicitation)
    assert (mac, dst) == (PEER_MAC, PEER)


@pytest.mark.parametrize("router", [False, True])
def test_a_solicitation_for_us_is_answered_and_its_sender_learnt(bench: Bench, router: bool) -> None:
    # RFC 4861 sections 7.2.3 and 7.2.4
    bench.interface.set_forwarding(router)
    assert bench.solicit(ip("fd00::1"))
    ((mac, src, dst, message),) = bench.messages()
    assert isinstance(message, NeighborAdvertisement)
    assert (mac, src, dst) == (PEER_MAC, ip("fd00::1"), PEER)
    assert (message.target, message.options.target_mac) == (ip("fd00::1"), MAC)
    assert (message.solicited, message.override, message.router) == (True, True, router)
    # "its reachability state MUST be set to STALE"
    assert bench.state(PEER) == "DELAY"


def test_a_solicitation_from_the_unspecified_address_is_answered_to_all(bench: Bench) -> None:
    # RFC 4861 section 7.2.4
    bench.solicit(US, bytes(16), b"")
    ((mac, _, dst, message),) = bench.messages()
    assert isinstance(message, NeighborAdvertisement)
    assert (mac, dst, message.solicited) == (b"\x33\x33\0\0\0\1", ALL, False)


def test_a_sender_that_gives_no_mac_address_is_asked_for_it_first(bench: Bench) -> None:
    bench.solicit(US, PEER, b"")
    ((_, _, dst, message),) = bench.messages()
    assert isinstance(message, NeighborSolicitation)
    assert dst == solicited_node(PEER)
    bench.advertise()
    ((mac, _, dst, answer),) = bench.messages()
    assert isinstance(answer, NeighborAdvertisement)
    assert (mac, dst, answer.solicited) == (PEER_MAC, PEER, True)


def test_a_known_sender_with_another_mac_address_is_updated(bench: Bench) -> None:
    # RFC 4861 section 7.2.3
    bench.queue(PEER)
    bench.advertise()
    bench.frames()
    bench.solicit(US, PEER, OTHER_MAC)
    assert bench.messages()[0][0] == OTHER_MAC
    assert bench.state(PEER) == "DELAY"
    bench.cache.confirm(bench.now, PEER)
    bench.solicit(US, PEER, OTHER_MAC)
    assert bench.state(PEER) == "REACHABLE"


def test_solicitations_for_others_are_not_answered(bench: Bench) -> None:
    assert bench.solicit(ip("fe80::77"))
    assert bench.frames() == []
    assert not bench.cache.entries


@pytest.mark.parametrize("mac", [b"\x33\x33\0\0\0\1", bytes(6)])
def test_mac_addresses_that_are_no_stations_are_not_learnt(bench: Bench, mac: bytes) -> None:
    bench.solicit(US, PEER, mac)
    assert bench.state(PEER) in ("", "INCOMPLETE")
    bench.frames()
    bench.queue(ip("fe80::5"))
    assert not bench.advertise(ip("fe80::5"), mac)
    assert bench.state(ip("fe80::5")) == "INCOMPLETE"


def test_messages_that_came_by_a_router_are_refused(bench: Bench) -> None:
    # RFC 4861 section 7.1: hop limit 255
    dst = solicited_node(US)
    message = build_neighbor_solicitation(PEER, dst, US, PEER_MAC)
    assert not bench.message(PEER, dst, message, 254)
    assert bench.frames() == []
    assert bench.cache.counters.bad_ndp == 1
    assert not bench.cache.handle_ndp(bench.now, message, 0, 7, PEER, dst, 255)
    assert not bench.cache.handle_ndp(bench.now, message, 0, len(message) + 1, PEER, dst, 255)


def test_our_own_solicitation_sent_back_is_ignored(bench: Bench) -> None:
    bench.solicit(ip("fd00::1"), US, MAC)
    assert bench.frames() == []
    assert not bench.cache.entries


class TestAdvertisements:
    """RFC 4861 section 7.2.5, case by case, and the table of appendix C."""

    def test_without_an_entry_it_is_discarded(self, bench: Bench) -> None:
        assert bench.advertise()
        assert not bench.cache.entries

    def test_incomplete_and_no_mac_address(self, bench: Bench) -> None:
        bench.queue(PEER)
        bench.advertise(mac=b"")
        assert bench.state(PEER) == "INCOMPLETE"

    @pytest.mark.parametrize("override", [False, True])
    def test_incomplete_and_solicited(self, bench: Bench, override: bool) -> None:
        bench.queue(PEER)
        bench.frames()
        bench.advertise(override=override, router=True)
        assert bench.state(PEER) == "REACHABLE"
        assert bench.cache.entries[PEER].router
        assert len(bench.frames()) == 1

    def test_incomplete_and_unsolicited(self, bench: Bench) -> None:
        bench.queue(PEER)
        bench.frames()
        bench.advertise(solicited=False)
        # STALE, and at once used for the packet that waited.
        assert bench.state(PEER) == "DELAY"
        assert len(bench.frames()) == 1

    def reachable(self, bench: Bench) -> None:
        bench.queue(PEER)
        bench.advertise()
        bench.frames()

    @pytest.mark.parametrize("solicited", [False, True])
    def test_another_mac_address_without_override(self, bench: Bench, solicited: bool) -> None:
        self.reachable(bench)
        bench.advertise(mac=OTHER_MAC, override=False, solicited=solicited)
        # I. a.: STALE and not updated in any other way
        assert bench.state(PEER) == "STALE"
        assert bench.cache.entries[PEER].mac == PEER_MAC
        # I. b.: in any other state ignored
        bench.cache.resolve(bench.now, PEER)
        bench.advertise(mac=OTHER_MAC, override=False, solicited=solicited, router=True)
        assert bench.state(PEER) == "DELAY"
        assert bench.cache.entries[PEER].mac == PEER_MAC
        assert not bench.cache.entries[PEER].router

    @pytest.mark.parametrize(("solicited", "state"), [(True, "REACHABLE"), (False, "STALE")])
    def test_another_mac_address_with_override(self, bench: Bench, solicited: bool, state: str) -> None:
        self.reachable(bench)
        bench.advertise(mac=OTHER_MAC, solicited=solicited)
        assert bench.cache.entries[PEER].mac == OTHER_MAC
        assert bench.state(PEER) == state

    @pytest.mark.parametrize("mac", [PEER_MAC, b""])
    @pytest.mark.parametrize("override", [False, True])
    def test_the_same_mac_address_or_none(self, bench: Bench, mac: bytes, override: bool) -> None:
        self.reachable(bench)
        bench.now += 60 * SECOND
        bench.cache.resolve(bench.now, PEER)
        bench.advertise(mac=mac, solicited=False, override=override, router=True)
        assert bench.state(PEER) == "DELAY"
        assert bench.cache.entries[PEER].router
        bench.advertise(mac=mac, override=override)
        assert bench.state(PEER) == "REACHABLE"
        assert bench.cache.entries[PEER].mac == PEER_MAC

    def test_no_longer_a_router(self, bench: Bench) -> None:
        # "the node MUST remove that router from the Default Router List"
        discover(bench)
        assert bench.routes.lookup(ip("2001:db8::1")) is not None
        bench.advertise(router=True)
        assert bench.routes.lookup(ip("2001:db8::1")) is not None
        bench.advertise(router=False)
        assert bench.routes.lookup(ip("2001:db8::1")) is None


def discover(bench: Bench) -> None:
    bench.cache.start_router_discovery(bench.now)
    options = NdpOptions(PEER_MAC)
    message = RouterAdvertisement(0, False, False, 0, 1800, 0, 0, options)
    assert bench.message(PEER, ALL, build_router_advertisement(PEER, ALL, message))


def test_retransmission_and_reachable_time_follow_the_routers_numbers(bench: Bench) -> None:
    # RFC 4861 section 6.3.4
    bench.cache.start_router_discovery(bench.now)
    message = RouterAdvertisement(0, False, False, 0, 1800, 2_000, 300, NdpOptions())
    bench.message(PEER, ALL, build_router_advertisement(PEER, ALL, message))
    bench.queue(ip("fe80::5"))
    assert bench.cache.next_timeout() == bench.now + 300_000_000
    bench.advertise(ip("fe80::5"))
    # ReachableTime: 1 to 3 seconds
    until = bench.cache.entries[ip("fe80::5")].reachable_until - bench.now
    assert SECOND <= until <= 3 * SECOND


def test_a_router_learns_hosts_from_their_solicitations(bench: Bench) -> None:
    # RFC 4861 section 6.2.6
    solicitation = build_router_solicitation(PEER, ip("ff02::2"), RouterSolicitation(NdpOptions(PEER_MAC)))
    assert bench.message(PEER, ip("ff02::2"), solicitation)
    assert not bench.cache.entries
    bench.interface.set_forwarding(True)
    assert bench.message(PEER, ip("ff02::2"), solicitation)
    assert bench.state(PEER) == "STALE"


def test_an_unsolicited_advertisement_tells_our_address_to_all(bench: Bench) -> None:
    # RFC 4861 section 7.2.6
    bench.cache.announce(bench.now, US)
    ((mac, src, dst, message),) = bench.messages()
    assert isinstance(message, NeighborAdvertisement)
    assert (mac, src, dst) == (b"\x33\x33\0\0\0\1", US, ALL)
    assert (message.target, message.options.target_mac, message.solicited, message.override) == (US, MAC, False, True)


def test_a_dead_ipv6_router_is_avoided(bench: Bench) -> None:
    # RFC 4861 sections 6.3.6 and 7.3.3
    other = ip("fe80::3")
    bench.routes.add(Route(bytes(16), 0, PEER, bench.interface))
    bench.routes.add(Route(bytes(16), 0, other, bench.interface, metric=9))
    bench.queue(PEER)
    bench.run(bench.now + 3 * SECOND)
    found = bench.routes.lookup(ip("2001:db8::1"))
    assert found is not None
    assert found.gateway == other
    # It asks for us: so it is there again.
    bench.solicit(US)
    found = bench.routes.lookup(ip("2001:db8::1"))
    assert found is not None
    assert found.gateway == PEER


def test_an_advertisement_for_our_address_is_a_conflict(bench: Bench) -> None:
    # RFC 4862 section 5.4.4 leaves open what to do: it is counted, and defended once in a while
    dst = ALL
    message = build_neighbor_advertisement(US, dst, US, PEER_MAC, False, False, True)
    bench.message(US, dst, message)
    bench.message(US, dst, message)
    assert bench.cache.counters.address_conflicts == 2
    assert len(bench.messages()) == 1
    assert bench.interface.owns(US)
