"""ARP: RFC 826 and the rules of RFC 1122 section 2.3.2."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from plankroad.units import SECOND
from plankroad.wire.address import ip_to_bytes as ip

if TYPE_CHECKING:
    from .conftest import Bench

MAC = b"\x02\0\0\0\0\x01"
PEER_MAC = b"\x02\0\0\0\0\x02"
OTHER_MAC = b"\x02\0\0\0\0\x03"
BROADCAST = b"\xff" * 6
US = ip("10.0.0.1")
PEER = ip("10.0.0.2")


def test_a_request_is_broadcast_from_the_address_of_the_packet(bench: Bench) -> None:
    bench.interface.add_address(ip("10.0.0.9"), 24)
    bench.queue(PEER)
    ((dst, arp),) = bench.arps()
    assert dst == BROADCAST
    assert (arp.operation, arp.sender_mac, arp.sender_ip, arp.target_mac, arp.target_ip) == (
        1,
        MAC,
        US,
        bytes(6),
        PEER,
    )


def test_a_request_for_a_forwarded_packet_is_from_an_address_of_the_subnet(bench: Bench) -> None:
    bench.interface.add_address(ip("192.168.0.1"), 24)
    packet_for = ip("192.168.0.7")
    bench.queue(packet_for)
    ((_, first),) = bench.arps()
    # The packet is from an own address, so it is that.
    assert first.sender_ip == US
    bench.interface.remove_address(US)
    bench.run(bench.now + SECOND)
    ((_, second),) = bench.arps()
    assert second.sender_ip == ip("192.168.0.1")


def test_a_request_for_us_is_answered_and_its_sender_learnt(bench: Bench) -> None:
    bench.arp(1, PEER_MAC, PEER, bytes(6), US)
    ((dst, arp),) = bench.arps()
    assert dst == PEER_MAC
    assert (arp.operation, arp.sender_mac, arp.sender_ip, arp.target_mac, arp.target_ip) == (
        2,
        MAC,
        US,
        PEER_MAC,
        PEER,
    )
    assert bench.state(PEER) == "STALE"
    assert bench.idle()
    assert bench.cache.resolve(bench.now, PEER) == PEER_MAC


def test_requests_for_others_are_not_answered_and_teach_nothing_new(bench: Bench) -> None:
    bench.arp(1, PEER_MAC, PEER, bytes(6), ip("10.0.0.77"))
    assert bench.frames() == []
    assert bench.state(PEER) == ""


def test_a_reply_that_nobody_asked_for_makes_no_entry(bench: Bench) -> None:
    bench.arp(2, PEER_MAC, PEER, MAC, US)
    assert bench.state(PEER) == ""


def test_hosts_beyond_the_link_are_answered_but_not_learnt(bench: Bench) -> None:
    bench.arp(1, PEER_MAC, ip("172.16.0.1"), bytes(6), US)
    assert len(bench.arps()) == 1
    assert bench.state(ip("172.16.0.1")) == ""


def test_what_is_known_is_updated_by_any_packet(bench: Bench) -> None:
    # RFC 826: the merge flag. A changed address is to be verified.
    bench.queue(PEER)
    bench.arp(2, PEER_MAC, PEER, MAC, US)
    assert bench.state(PEER) == "REACHABLE"
    bench.frames()
    bench.arp(1, OTHER_MAC, PEER, bytes(6), PEER)
    assert bench.cache.entries[PEER].mac == OTHER_MAC
    assert bench.state(PEER) == "STALE"
    # The same again says nothing new.
    bench.cache.confirm(bench.now, PEER)
    bench.arp(1, OTHER_MAC, PEER, bytes(6), ip("10.0.0.77"))
    assert bench.state(PEER) == "REACHABLE"


def test_a_request_from_one_we_ask_for_resolves_it_unconfirmed(bench: Bench) -> None:
    packet = bench.queue(PEER)
    bench.frames()
    bench.arp(1, PEER_MAC, PEER, bytes(6), ip("10.0.0.77"))
    assert [f[14:] for f in bench.frames()] == [packet.head]
    assert bench.state(PEER) == "DELAY"


def test_a_stray_reply_does_not_confirm(bench: Bench) -> None:
    bench.arp(1, PEER_MAC, PEER, bytes(6), US)
    bench.arp(2, PEER_MAC, PEER, MAC, US)
    assert bench.state(PEER) == "STALE"


def test_a_probe_for_our_address_is_answered_and_not_learnt(bench: Bench) -> None:
    # RFC 5227 section 2.1.1: the sender address is all zero
    bench.arp(1, PEER_MAC, bytes(4), bytes(6), US)
    ((dst, arp),) = bench.arps()
    assert (dst, arp.operation, arp.sender_ip) == (PEER_MAC, 2, US)
    assert not bench.cache.entries


@pytest.mark.parametrize(
    ("mac", "sender"),
    [
        (BROADCAST, PEER),
        (b"\x01\0\x5e\0\0\1", PEER),
        (bytes(6), PEER),
        (PEER_MAC, ip("224.0.0.1")),
        (PEER_MAC, ip("255.255.255.255")),
        (PEER_MAC, ip("127.0.0.1")),
    ],
)
def test_senders_that_are_no_hosts_are_ignored(bench: Bench, mac: bytes, sender: bytes) -> None:
    bench.arp(1, mac, sender, bytes(6), US)
    assert bench.frames() == []
    assert not bench.cache.entries
    assert bench.cache.counters.bad_arp == 1


def test_the_subnets_broadcast_address_is_no_neighbour(bench: Bench) -> None:
    bench.arp(1, PEER_MAC, ip("10.0.0.255"), bytes(6), US)
    assert not bench.cache.entries


def test_other_operations_and_broken_packets_are_counted(bench: Bench) -> None:
    bench.arp(3, PEER_MAC, PEER, bytes(6), US)
    bench.cache.handle_arp(bench.now, bytes(20), 14)
    assert bench.cache.counters.bad_arp == 2
    assert bench.frames() == []


def test_our_own_packets_sent_back_are_ignored(bench: Bench) -> None:
    bench.arp(1, MAC, US, bytes(6), US)
    assert bench.frames() == []
    assert bench.cache.counters.address_conflicts == 0


def test_an_announcement_tells_our_address_to_all(bench: Bench) -> None:
    # RFC 5227 section 2.3
    bench.cache.announce(bench.now, US)
    ((dst, arp),) = bench.arps()
    assert (dst, arp.operation, arp.sender_ip, arp.target_ip, arp.target_mac) == (BROADCAST, 1, US, US, bytes(6))
