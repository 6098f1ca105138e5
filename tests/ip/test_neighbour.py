"""The neighbour cache: states (RFC 4861 section 7.3), queues, bounds, dead gateways. For ARP and ND alike."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from plankroad.ip.interface import Interface
from plankroad.ip.neighbour import NeighbourCache
from plankroad.ip.neighbour_entry import NeighbourConfig
from plankroad.ip.routes import Route, RouteTable
from plankroad.units import SECOND
from plankroad.wire.address import ip_to_bytes as ip
from plankroad.wire.packet import Packet

if TYPE_CHECKING:
    from .conftest import Bench

PEER4 = ip("10.0.0.2")
PEER6 = ip("fe80::2")
PEER_MAC = b"\x02\0\0\0\0\x02"
MAC = b"\x02\0\0\0\0\x01"

peers = pytest.mark.parametrize("peer", [PEER4, PEER6], ids=["arp", "nd"])


def answer(bench: Bench, peer: bytes, mac: bytes = PEER_MAC) -> None:
    if len(peer) == 4:
        bench.arp(2, mac, peer, MAC, ip("10.0.0.1"))
    else:
        bench.advertise(peer, mac)


@peers
def test_packets_wait_for_the_answer_and_go_in_order(bench: Bench, peer: bytes) -> None:
    sent = [bench.queue(peer, tag=tag) for tag in range(3)]
    assert len(bench.frames()) == 1
    answer(bench, peer)
    frames = bench.frames()
    assert [f[14:] for f in frames] == [p.head for p in sent]
    assert all(f[:6] == PEER_MAC for f in frames)
    assert {f[12:14] for f in frames} == {b"\x08\x00" if len(peer) == 4 else b"\x86\xdd"}
    assert bench.state(peer) == "REACHABLE"
    assert bench.cache.resolve(bench.now, peer) == PEER_MAC
    assert bench.idle()
    assert bench.cache.counters.resolved == 1


@peers
def test_offload_marks_move_with_the_bytes(bench: Bench, peer: bytes) -> None:
    packet = bench.queue(peer)
    packet.payload = b"payload"
    packet.csum_start = 40
    packet.csum_offset = 16
    packet.gso_type = 1
    packet.gso_size = 1448
    bench.frames()
    answer(bench, peer)
    framed = bench.cache.poll_transmit(bench.now)
    assert framed is not None
    assert (framed.csum_start, framed.csum_offset, framed.gso_type, framed.gso_size) == (54, 16, 1, 1448)
    assert (framed.head[14:], framed.payload) == (packet.head, b"payload")


@peers
def test_a_silent_neighbour_is_asked_three_times_a_second_apart_and_its_packets_fail(
    bench: Bench, peer: bytes
) -> None:
    # RFC 4861 section 7.2.2; RFC 1122 section 2.3.2.1: one request a second
    start = bench.now
    packets = [bench.queue(peer, tag=tag) for tag in range(2)]
    times = []
    while not bench.idle():
        times += [bench.now] * len(bench.frames())
        bench.run(bench.cache.next_timeout())
    assert times == [start, start + SECOND, start + 2 * SECOND]
    assert bench.now == start + 3 * SECOND
    assert bench.cache.failures() == packets
    assert bench.cache.failures() == []
    assert bench.state(peer) == ""
    assert bench.cache.counters.unreachable_dropped == 2


@pytest.mark.requirement("RFC1122-3.3.1.4-b")
@peers
def test_an_old_confirmation_is_noticed_when_the_neighbour_is_used(bench: Bench, peer: bytes) -> None:
    # RFC 4861 section 7.3.3: REACHABLE, STALE, DELAY, PROBE, REACHABLE
    bench.queue(peer)
    answer(bench, peer)
    bench.frames()
    bench.run(bench.now + 14 * SECOND)
    # ReachableTime is 15 to 45 s: still good.
    assert bench.cache.resolve(bench.now, peer) == PEER_MAC
    assert bench.state(peer) == "REACHABLE"
    assert bench.idle()
    bench.run(bench.now + 40 * SECOND)
    assert bench.cache.resolve(bench.now, peer) == PEER_MAC
    assert bench.state(peer) == "DELAY"
    assert bench.cache.next_timeout() == bench.now + 5 * SECOND
    assert bench.frames() == []
    bench.run(bench.now + 5 * SECOND)
    assert bench.state(peer) == "PROBE"
    probes = bench.frames()
    # "a unicast Neighbor Solicitation message to the neighbor using the cached link-layer address"
    assert [p[:6] for p in probes] == [PEER_MAC]
    assert bench.cache.resolve(bench.now, peer) == PEER_MAC
    answer(bench, peer)
    assert bench.state(peer) == "REACHABLE"
    assert bench.idle()


@peers
def test_a_neighbour_that_went_away_is_probed_and_forgotten(bench: Bench, peer: bytes) -> None:
    bench.queue(peer)
    answer(bench, peer)
    bench.run(bench.now + 60 * SECOND)
    bench.cache.resolve(bench.now, peer)
    bench.frames()
    start = bench.now
    bench.run(start + 60 * SECOND)
    assert len(bench.frames()) == 3
    assert bench.state(peer) == ""
    assert bench.idle()


@pytest.mark.requirement("RFC1122-3.3.1.4-c", "RFC1122-3.3.1.4-d")
@peers
def test_a_neighbour_is_not_asked_again_while_nothing_is_sent_to_it(bench: Bench, peer: bytes) -> None:
    """RFC 1122 section 3.3.1.4: pings "MUST NOT" go on all the time, and only when traffic is sent."""
    bench.queue(peer)
    answer(bench, peer)
    bench.frames()
    bench.run(bench.now + 600 * SECOND)
    assert bench.frames() == []
    bench.cache.resolve(bench.now, peer)
    bench.cache.confirm(bench.now, peer)
    bench.run(bench.now + 600 * SECOND)
    assert bench.frames() == []


@pytest.mark.requirement("RFC1122-3.3.1.4-e", "RFC1122-3.3.1.4-f")
@peers
def test_upper_layers_confirm(bench: Bench, peer: bytes) -> None:
    # RFC 4861 section 7.3.1
    bench.queue(peer)
    answer(bench, peer)
    bench.run(bench.now + 60 * SECOND)
    bench.cache.resolve(bench.now, peer)
    assert bench.state(peer) == "DELAY"
    bench.cache.confirm(bench.now, peer)
    assert bench.state(peer) == "REACHABLE"
    assert bench.idle()
    bench.run(bench.now + 14 * SECOND)
    bench.cache.resolve(bench.now, peer)
    assert bench.state(peer) == "REACHABLE"


@peers
def test_confirming_does_not_resolve(bench: Bench, peer: bytes) -> None:
    bench.cache.confirm(bench.now, peer)
    assert bench.state(peer) == ""
    bench.queue(peer)
    bench.cache.confirm(bench.now, peer)
    assert bench.state(peer) == "INCOMPLETE"


@peers
def test_the_oldest_packet_of_a_full_queue_is_dropped(make_bench: Callable[..., Bench], peer: bytes) -> None:
    # RFC 1122 section 2.3.2.2: the latest is saved; RFC 4861 section 7.2.2
    config = NeighbourConfig()
    config.queue_packets = 3
    config.queue_bytes = 1000
    bench = make_bench(config)
    for tag in range(5):
        bench.queue(peer, tag=tag)
    assert bench.cache.counters.queue_dropped == 2
    bench.queue(peer, size=850, tag=9)
    # 100 + 850 fit, two more do not.
    bench.frames()
    answer(bench, peer)
    assert [f[15] for f in bench.frames()] == [4, 9]
    other = ip("10.0.0.3") if len(peer) == 4 else ip("fe80::3")
    bench.queue(other, size=5000, tag=1)
    bench.frames()
    answer(bench, other, b"\x02\0\0\0\0\x03")
    assert len(bench.frames()) == 1


def test_asking_again_keeps_to_one_request_a_second(bench: Bench) -> None:
    # RFC 1122 section 2.3.2.1
    for _ in range(100):
        bench.queue(PEER4)
    assert len(bench.frames()) == 1


@pytest.mark.requirement("RFC1122-3.3.6-e")
def test_groups_and_broadcasts_are_mapped(bench: Bench) -> None:
    # RFC 1112 section 6.4, RFC 2464 section 7
    def mac(text: str) -> str:
        return bench.cache.resolve(bench.now, ip(text)).hex(":")

    assert mac("224.0.0.1") == "01:00:5e:00:00:01"
    assert mac("239.129.2.3") == "01:00:5e:01:02:03"
    assert mac("ff02::1:ff00:1") == "33:33:ff:00:00:01"
    assert mac("255.255.255.255") == "ff:ff:ff:ff:ff:ff"
    assert mac("10.0.0.255") == "ff:ff:ff:ff:ff:ff"
    assert mac("10.0.1.255") == ""
    assert not bench.cache.entries


def test_neighbours_set_by_hand_stay(bench: Bench) -> None:
    bench.queue(PEER4)
    bench.cache.add_static(PEER4, PEER_MAC)
    assert len(bench.frames()) == 2
    assert bench.idle()
    bench.arp(2, b"\x02\0\0\0\0\x66", PEER4, MAC, ip("10.0.0.1"))
    bench.run(bench.now + 3600 * SECOND)
    assert bench.cache.resolve(bench.now, PEER4) == PEER_MAC
    assert bench.state(PEER4) == "PERMANENT"
    bench.cache.clear()
    assert bench.state(PEER4) == "PERMANENT"
    assert bench.cache.remove(PEER4)
    assert not bench.cache.remove(PEER4)
    with pytest.raises(ValueError, match="6"):
        bench.cache.add_static(PEER4, b"12345")


def test_the_cache_is_bounded_and_keeps_what_is_used(make_bench: Callable[..., Bench]) -> None:
    config = NeighbourConfig()
    config.cache_limit = 20
    config.incomplete_limit = 5
    bench = make_bench(config)
    bench.cache.add_static(ip("10.0.0.250"), PEER_MAC)
    bench.queue(PEER4)
    answer(bench, PEER4)
    for i in range(3, 200):
        bench.now += SECOND
        host = bytes([10, 0, 0, i])
        bench.arp(1, bytes([2, 0, 0, 0, 1, i]), host, bytes(6), ip("10.0.0.1"))
        assert bench.cache.resolve(bench.now, PEER4) == PEER_MAC
        assert len(bench.cache.order) <= 20
    assert len(bench.cache.entries) == 21
    assert bench.cache.resolve(bench.now, ip("10.0.0.250")) == PEER_MAC
    assert bench.cache.counters.evicted > 150


def test_a_scan_does_not_push_out_neighbours(make_bench: Callable[..., Bench]) -> None:
    # RFC 6583
    config = NeighbourConfig()
    config.cache_limit = 50
    config.incomplete_limit = 10
    bench = make_bench(config)
    for i in range(2, 30):
        host = bytes([10, 0, 0, i])
        bench.arp(1, bytes([2, 0, 0, 0, 1, i]), host, bytes(6), ip("10.0.0.1"))
    bench.frames()
    for i in range(1000):
        bench.queue(ip("fd00::1:0:0:0")[:14] + i.to_bytes(2, "big"))
        assert len(bench.cache.incomplete) <= 10
    assert all(bench.cache.resolve(bench.now, bytes([10, 0, 0, i])) for i in range(2, 30))
    bench.run(bench.now + 10 * SECOND)
    assert not bench.cache.incomplete


def test_idle_neighbours_cost_nothing(bench: Bench) -> None:
    """No timer runs for what is only remembered, and the heap does not grow with what was."""
    for round_ in range(50):
        for i in range(2, 30):
            peer = bytes([10, 0, 0, i])
            if bench.cache.resolve(bench.now, peer) == b"":
                bench.queue(peer)
            bench.frames()
            answer(bench, peer, bytes([2, 0, 0, 0, 1, i]))
        bench.now += 60 * SECOND
        assert round_ >= 0
        assert len(bench.cache.heap) < 200
    bench.frames()
    bench.run(bench.now + 60 * SECOND)
    assert bench.idle()


def dead_gateway(bench: Bench) -> None:
    bench.routes.add(Route(bytes(4), 0, PEER4, bench.interface))
    bench.routes.add(Route(bytes(4), 0, ip("10.0.0.3"), bench.interface, metric=5))
    bench.queue(PEER4)
    bench.run(bench.now + 3 * SECOND)
    bench.frames()


def gateway(bench: Bench) -> bytes:
    found = bench.routes.lookup(ip("8.8.8.8"))
    assert found is not None
    return found.gateway


@pytest.mark.requirement("RFC1122-3.3.1.4-a")
def test_a_dead_gateway_is_avoided_and_taken_again_when_it_answers(bench: Bench) -> None:
    # RFC 1122 sections 3.3.1.4 and 3.3.1.5
    dead_gateway(bench)
    assert gateway(bench) == ip("10.0.0.3")
    assert bench.state(PEER4) == "FAILED"
    # Traffic goes on by the other: the dead one is asked for again after a while.
    start = bench.now
    bench.cache.resolve(bench.now + 25 * SECOND, ip("10.0.0.3"))
    bench.run(start + 30 * SECOND)
    requests = bench.arps()
    assert [arp.target_ip for _, arp in requests] == [PEER4]
    assert gateway(bench) == ip("10.0.0.3")
    answer(bench, PEER4)
    assert gateway(bench) == PEER4
    assert bench.state(PEER4) == "REACHABLE"


@pytest.mark.requirement("RFC1122-3.3.1.4-d")
def test_a_dead_gateway_is_not_asked_after_when_there_is_nothing_to_send(bench: Bench) -> None:
    # RFC 1122 section 3.3.1.4: gateways are asked after only while there is traffic
    dead_gateway(bench)
    bench.run(bench.now + 3600 * SECOND)
    assert bench.frames() == []
    assert bench.idle()
    # It may be tried again.
    assert gateway(bench) == PEER4


def test_a_dead_gateway_that_stays_dead_stays_avoided(bench: Bench) -> None:
    dead_gateway(bench)
    for _ in range(100):
        bench.run(bench.now + 5 * SECOND)
        bench.cache.resolve(bench.now, ip("10.0.0.3"))
        assert gateway(bench) == ip("10.0.0.3")
    # Three requests in 33 seconds.
    assert 40 < len(bench.arps()) < 50


def test_the_only_gateway_is_tried_again_by_the_next_packet(bench: Bench) -> None:
    bench.routes.add(Route(bytes(4), 0, PEER4, bench.interface))
    bench.queue(PEER4)
    bench.run(bench.now + 3 * SECOND)
    bench.frames()
    assert gateway(bench) == PEER4
    bench.queue(PEER4)
    assert len(bench.arps()) == 1
    answer(bench, PEER4)
    assert len(bench.frames()) == 1
    assert bench.routes.routes()[0].reachable


def test_clearing_drops_what_waits(bench: Bench) -> None:
    bench.queue(PEER4)
    bench.cache.clear()
    assert bench.idle()
    assert not bench.cache.entries
    assert bench.cache.counters.queue_dropped == 1


def test_send_frames_or_queues(bench: Bench) -> None:
    packet = Packet(bytes([0x45]) + bytes(19), b"", 3)
    bench.cache.send(bench.now, PEER4, packet)
    assert bench.state(PEER4) == "INCOMPLETE"
    answer(bench, PEER4)
    bench.frames()
    bench.cache.send(bench.now, PEER4, packet)
    assert [f[14:] for f in bench.frames()] == [packet.head]
    # Queueing for a neighbour that is known sends, too.
    bench.cache.queue(bench.now, PEER4, packet)
    assert len(bench.frames()) == 1


def test_numbers_that_make_no_sense_are_refused() -> None:
    interface = Interface(0, "eth0", 1500, True, MAC)
    for name in ("retrans_timer", "base_reachable_time", "multicast_solicits", "cache_limit", "queue_packets"):
        config = NeighbourConfig()
        setattr(config, name, 0)
        with pytest.raises(ValueError, match=r"\w"):
            NeighbourCache(interface, RouteTable(), random.Random(1), config)
    with pytest.raises(ValueError, match="no Ethernet"):
        NeighbourCache(Interface(0, "tun0", 1500), RouteTable(), random.Random(1))


def test_what_waits_for_all_neighbours_together_is_bounded(make_bench: Callable[..., Bench]) -> None:
    """RFC 6583: a scan of the subnet with large packets; RFC 1122 section 2.3.2.2: the latest of each is kept."""
    config = NeighbourConfig()
    config.queue_bytes_total = 100_000
    bench = make_bench(config)
    for number in range(2, 202):
        for _ in range(10):
            bench.queue(bytes((10, 0, 0, number)), 400)
    entries = bench.cache.entries.values()
    assert bench.cache.waiting == sum(entry.packets_size for entry in entries) <= 100_000 + 200 * 400
    assert all(entry.packets for entry in entries)
    bench.run(bench.now + 10 * SECOND)
    assert bench.cache.waiting == 0
    assert len(bench.cache.failures()) >= 200
