"""Memory across many connections: one bound for the stack, and the worst goes first."""

from __future__ import annotations

import errno

import pytest
from tests.attacks.kit import ATTACKER, Figure, Peer, Target, address, allocated, attack, hold
from tests.stack.net import Pair
from tests.volume import volume

from plankroad.endpoint import EVENT_ERROR
from plankroad.ip.fragment import fragment_ipv4
from plankroad.stack.config import StackConfig
from plankroad.tcp.connection import Connection
from plankroad.tcp.memory import CONNECTION_COST
from plankroad.units import MILLISECOND, SECOND
from plankroad.wire.ipv4 import build_ipv4

MEBIBYTE = 1 << 20


def target(limit: int = 2 * MEBIBYTE, mtu: int = 1500) -> Target:
    return Target(StackConfig(memory=limit), mtu=mtu)


def accepted(net: Target) -> Connection:
    connection = net.listener.accept()
    assert connection is not None
    return connection


@attack("reassembly queues of many connections")
def holes_in_many_windows() -> list[Figure]:
    """Each peer leaves holes in its window: data that nobody can be given. One peer behaves."""
    limit = MEBIBYTE
    net = target(limit, mtu=9000)
    good = Peer(net, address(1))
    good.open()
    server = accepted(net)
    good.send(".", seq=1, data=b"a" * 1000)
    peers = volume(120, 50)  # what connections cost by themselves leaves room for all of them
    most = 0

    def flood() -> None:
        nonlocal most
        for number in range(peers):
            peer = Peer(net, ATTACKER, 1024 + number)
            peer.open()
            for hole in range(7):
                peer.send(".", seq=2 + 8960 * hole, data=bytes(8959))
            most = max(most, net.used())

    grown = allocated(flood)
    # The good one goes on, though what it had out of order was for nothing.
    good.send(".", seq=1001, data=b"b" * 1000)
    lost = 2000 - len(server.receive(net.now, 4000))
    assert net.total("tcp", "memory_out_of_order_shed") > 0
    return [
        Figure("memory at the most, by the stack's account", most, limit, "bytes"),
        Figure("memory afterwards, by tracemalloc", grown, limit, "bytes"),
        Figure("connections that were reset for it", net.total("tcp", "memory_connections_shed"), 0),
        Figure("octets that a good peer lost", lost, 0),
    ]


def test_holes_in_many_windows_stay_within_the_bound_of_the_stack() -> None:
    hold(holes_in_many_windows())


@attack("unread data of many connections")
def unread_data() -> list[Figure]:
    """Peers fill windows that no program reads; one, whose program does read, came first."""
    limit = 4 * MEBIBYTE
    net = target(limit)
    good = Peer(net, address(1))
    good.open()
    server = accepted(net)
    most = 0
    got = 0
    at = 1
    for number in range(volume(150, 60)):
        peer = Peer(net, ATTACKER, 1024 + number)
        peer.open()
        for piece in range(48):
            peer.send(".", seq=1 + 1360 * piece, data=bytes(1360))
        net.pass_time(20 * MILLISECOND)
        good.send(".", seq=at, data=b"g" * 1000)
        at += 1000
        got += len(server.receive(net.now, 1 << 20))
        net.poll()
        most = max(most, net.used())
    return [
        Figure("memory at the most, by the stack's account", most, limit, "bytes"),
        Figure("octets that a program that reads lost", at - 1 - got, 0),
        Figure("its connection reset", int(server.error != 0), 0),
    ]


def test_programs_that_read_outlive_those_that_do_not() -> None:
    hold(unread_data())


@attack("fragments of many sources")
def fragments_of_many_sources() -> list[Figure]:
    """Datagrams that are never completed, of ever new sources, while a connection holds most of the memory."""
    limit = 1 * MEBIBYTE
    net = target(limit)
    most = 0
    for number in range(volume(2000, 700)):
        source = address(number)
        whole = build_ipv4(source, net.interface.addresses[0].ip, 17, 2000, 64, 0, number & 0xFFFF) + bytes(2000)
        net.give(fragment_ipv4(whole, 1500)[0])
        most = max(most, net.used())
    return [Figure("memory at the most, by the stack's account", most, limit // 4 + 4096, "bytes")]


def test_fragments_have_a_quarter_of_the_memory_at_the_most() -> None:
    hold(fragments_of_many_sources())


def fill(net: Target, peer: Peer, octets: int) -> None:
    """Unread data."""
    for begin in range(0, octets, 1400):
        peer.send(".", seq=1 + begin, data=bytes(min(1400, octets - begin)))


def test_who_held_most_for_longest_without_progress_goes_first_and_hears_why() -> None:
    net = target(1 * MEBIBYTE)
    peers = [Peer(net, ATTACKER, 1024 + number) for number in range(16)]
    servers: list[Connection] = []
    for number, peer in enumerate(peers):
        peer.open()
        servers.append(accepted(net))
        fill(net, peer, 20_000 if number == 5 else 56_000)
        net.pass_time(SECOND)
    assert net.total("tcp", "memory_connections_shed") == 0
    extra = Peer(net, ATTACKER, 3000)
    extra.open()
    fill(net, extra, 60_000)
    another = Peer(net, ATTACKER, 3001)
    another.open()
    fill(net, another, 60_000)
    gone = [number for number, server in enumerate(servers) if server.error]
    assert gone == [0, 1]
    victim = servers[0]
    assert victim.error == errno.ENOBUFS
    assert victim.poll_events() & EVENT_ERROR
    assert victim.readable() == 0
    with pytest.raises(
        OSError, match=r"StackConfig.memory is used up: this connection held 6\d{4} bytes and made no"
    ):
        victim.send(net.now, b"x")
    assert net.total("tcp", "memory_connections_shed") == 2


def test_time_wait_and_half_open_connections_go_before_living_ones() -> None:
    net = target(1 * MEBIBYTE)
    alive = Peer(net, address(1))
    alive.open()
    server = accepted(net)
    fill(net, alive, 50_000)
    # More connections than the memory is for: two of three are half-open.
    for number in range(400):
        Peer(net, ATTACKER, 1024 + number).syn()
    assert server.error == 0
    assert server.readable() == 50_000
    assert net.total("tcp", "memory_half_open_shed") > 200
    assert net.total("tcp", "memory_connections_shed") == 0
    assert net.used() <= MEBIBYTE


def test_progress_is_an_eighth_of_what_is_held_not_an_octet() -> None:
    # A peer that opens its window by an octet now and then makes none.
    net = Target()
    peer = Peer(net)
    peer.open(wnd=1000)
    server = accepted(net)
    server.send(net.now, bytes(100_000))
    net.poll()
    at = 1
    for _ in range(30):
        net.pass_time(SECOND)
        at += 1
        peer.send(".", ack=at, wnd=1000)
    [stalled] = net.b.stalled(net.now)
    assert stalled.connection is server
    assert stalled.duration >= 30 * SECOND
    for _ in range(20):
        net.pass_time(SECOND)
        peer.send(".", ack=server.tcb.snd_nxt - server.tcb.iss, wnd=1000)
    [stalled] = net.b.stalled(net.now)
    assert stalled.duration < 14 * SECOND


def test_buffers_do_not_grow_while_memory_is_short() -> None:
    sizes: list[int] = []
    for limit in (1 << 30, 1 << 20):
        net = Pair(config=StackConfig(memory=limit), other=StackConfig(memory=limit))
        client, server, _ = net.connected()
        # Another connection holds most of it.
        hog = net.a.connect(net.now, bytes((10, 0, 0, 2)), 80)
        net.run()
        net.a.memory.used += 800_000
        assert hog.state() == "ESTABLISHED"
        for _ in range(60):
            client.send(net.now, bytes(100_000))
            net.run(MILLISECOND)
            server.receive(net.now, 1 << 20)
        sizes.append(client.tcb.snd_buf_limit)
    assert sizes[1] == 256 * 1024
    assert sizes[0] > sizes[1]


def test_what_is_accounted_is_what_is_held() -> None:
    # Through data in all places and the end of connections the sum stays the sum.
    net = target(64 * MEBIBYTE)
    peers = [Peer(net, ATTACKER, 1024 + number) for number in range(20)]
    for number, peer in enumerate(peers):
        peer.open()
        server = accepted(net)
        server.send(net.now, bytes(1000 * number))
        net.poll()
        fill(net, peer, 700 * number)
        peer.send(".", seq=20_000, data=bytes(100 * number + 1))
    use = net.b.memory_use()
    assert use["send"] == 190_000
    assert use["receive"] == 133_000
    assert use["out_of_order"] >= 19_020
    assert use["used"] >= use["send"] + use["receive"] + use["out_of_order"] + 20 * CONNECTION_COST
    for peer in peers:
        peer.send("R", seq=1 + 700 * (peer.port - 1024))
    net.poll()
    assert net.b.memory_use() == {
        "limit": 64 * MEBIBYTE,
        "used": 0,
        "send": 0,
        "receive": 0,
        "out_of_order": 0,
        "fragments": 0,
        "overhead": 0,
    }
