"""Peers that hold a host's resources by doing nothing: sockstress, slow reading, slow closing, TIME-WAIT."""

from __future__ import annotations

import asyncio
import errno

import pytest
from tests.aio.nets import plank_net, run_virtual
from tests.attacks.kit import ATTACKER, Figure, Peer, Target, address, attack, hold
from tests.volume import volume

from plankroad.endpoint import EVENT_ERROR
from plankroad.stack.config import StackConfig
from plankroad.tcp.config import TcpConfig
from plankroad.tcp.connection import Connection
from plankroad.tcp.memory import CONNECTION_COST, RANGE_COST
from plankroad.units import SECOND

PAGE = bytes(20_000)


def answer_probes(peers: list[Peer], net: Target, packets: list[bytes], wnd: int = 0) -> None:
    """Each probe is acknowledged, and its window stays as it is: the connection lives (MUST-37)."""
    by_port = {peer.port: peer for peer in peers}
    for packet in packets:
        port = int.from_bytes(packet[22:24], "big")
        peer = by_port.get(port)
        if peer is not None:
            net.give(peer.packet(".", ack=1, wnd=wnd))


def zero_windows(net: Target, count: int, first: int = 1024) -> tuple[list[Peer], list[Connection]]:
    """Peers that ask for a page and never open their windows."""
    peers = [Peer(net, ATTACKER, first + number) for number in range(count)]
    servers: list[Connection] = []
    for peer in peers:
        assert peer.open(wnd=0)
        server = net.listener.accept()
        assert server is not None
        server.send(net.now, PAGE)
        servers.append(server)
    net.poll()
    return peers, servers


@attack("sockstress: zero windows")
def sockstress() -> list[Figure]:
    """Thousands of peers with zero windows, which answer every probe; after two minutes the program sheds them."""
    count = volume(3000, 300)
    net = Target()
    peers, servers = zero_windows(net, count)
    good = Peer(net, address(1))
    good.open()
    friend = net.listener.accept()
    assert friend is not None
    before_in, before_out = net.packets_in, net.packets_out
    for _ in range(120):
        answer_probes(peers, net, net.pass_time(SECOND))
    lost = sum(1 for server in servers if server.error)
    probes = (net.packets_out - before_out) / count
    answers = (net.packets_in - before_in) / count
    held = net.used() / count
    listed = net.b.stalled(net.now, 60 * SECOND, zero_window=True)
    shed = net.b.shed_stalled(net.now, 60 * SECOND, zero_window=True)
    net.poll()
    good.send(".", data=b"x" * 100)
    return [
        Figure("connections lost while their peers answered (MUST-37)", lost, 0),
        Figure("probes to one peer in two minutes", probes, 10),
        Figure("packets sent for one received", probes / answers, 1.1),
        Figure("memory a peer", held, CONNECTION_COST + len(PAGE) + RANGE_COST, "bytes"),
        Figure("of them not listed", count - len(listed), 0),
        Figure("of them not shed", count - shed, 0),
        Figure("memory left afterwards", net.used(), CONNECTION_COST + 100, "bytes"),
        Figure("octets that a good peer lost", 100 - len(friend.receive(net.now, 200)), 0),
    ]


def test_thousands_of_zero_windows_cost_little_and_can_be_shed() -> None:
    # RFC 6429 section 4.
    hold(sockstress())


def test_shedding_takes_the_oldest_first_and_the_program_hears_why() -> None:
    net = Target()
    peers, servers = zero_windows(net, 6)
    for _ in range(30):
        answer_probes(peers, net, net.pass_time(SECOND))
    more_peers, more = zero_windows(net, 1, 5000)
    for _ in range(5):
        answer_probes(peers + more_peers, net, net.pass_time(SECOND))
    assert net.b.shed_stalled(net.now, 10 * SECOND, zero_window=True, most=2) == 2
    assert [server.error for server in servers[:3]] == [errno.ETIMEDOUT, errno.ETIMEDOUT, 0]
    assert servers[0].poll_events() & EVENT_ERROR
    assert "kept its window closed for 34 s, and the program gave it up" in servers[0].tcb.reason
    resets = [packet for packet in net.poll() if packet[33] & 4]
    assert len(resets) == 2
    assert net.b.shed_stalled(net.now, 10 * SECOND, zero_window=True) == 4
    assert more[0].error == 0
    assert net.total("tcp", "stalled_connections_shed") == 6


def test_a_persist_timeout_does_the_same_by_itself() -> None:
    net = Target(StackConfig(tcp=TcpConfig(persist_timeout=45 * SECOND)))
    peers, [server] = zero_windows(net, 1)
    for _ in range(45):
        answer_probes(peers, net, net.pass_time(SECOND))
    assert server.error == 0
    net.pass_time(2 * SECOND)
    assert server.error == errno.ETIMEDOUT
    assert server.tcb.reason == "the peer kept its window closed for 45 s"
    assert net.total("tcp", "persist_timeouts") == 1


def test_a_window_that_opens_in_time_is_no_reason() -> None:
    net = Target(StackConfig(tcp=TcpConfig(persist_timeout=45 * SECOND)))
    [peer], [server] = zero_windows(net, 1, 5000)
    for _ in range(5):
        for _ in range(40):
            answer_probes([peer], net, net.pass_time(SECOND))
        peer.send(".", ack=server.tcb.snd_una - server.tcb.iss, wnd=1000)
        peer.send(".", ack=server.tcb.snd_nxt - server.tcb.iss, wnd=0)
    assert server.error == 0


@attack("slow reading")
def slow_read() -> list[Figure]:
    """Peers read ten octets a second of a page (slow read, HTTP): no zero window for long, no progress either."""
    count = volume(200, 40)
    net = Target()
    peers, servers = zero_windows(net, count)
    for second in range(60):
        net.pass_time(SECOND)
        for peer, server in zip(peers, servers, strict=True):
            acked = min(1 + 10 * second, server.tcb.snd_max - server.tcb.iss)
            net.give(peer.packet(".", ack=acked, wnd=10))
    listed = len(net.b.stalled(net.now, 50 * SECOND))
    held = net.used() / count
    net.b.shed_stalled(net.now, 50 * SECOND)
    net.poll()
    return [
        Figure("memory a peer", held, CONNECTION_COST + len(PAGE) + 4 * RANGE_COST, "bytes"),
        Figure("of them not listed", count - listed, 0),
        Figure("memory left after shedding", net.used(), 0, "bytes"),
    ]


def test_slow_readers_are_found_and_can_be_shed() -> None:
    hold(slow_read())


@attack("slow closing: connections without a program")
def orphans() -> list[Figure]:
    """The program answers and is gone; the peers acknowledge probes and nothing else, for ever (RFC 6429 section 3)."""
    count = volume(600, 120)
    limit = count // 2
    net = Target(StackConfig(orphan_limit=limit))
    peers, servers = zero_windows(net, count)
    most = 0
    for server in servers:
        server.release(net.now)
        net.poll()
        most = max(most, len(net.b.orphans))
    shed = net.total("tcp", "orphans_overflow")
    for _ in range(125):
        answer_probes(peers, net, net.pass_time(SECOND))
    return [
        Figure("connections without a program at the most", most, limit),
        Figure("of those too many not reset", max(0, count - limit - shed), 0),
        Figure("left after the orphan timeout, 120 s", len(net.b.connections), 0),
        Figure("memory left", net.used(), 0, "bytes"),
    ]


def test_connections_without_a_program_are_bounded_in_number_and_time() -> None:
    hold(orphans())


def test_orphans_that_make_progress_stay() -> None:
    net = Target(StackConfig(orphan_limit=20))
    _, stuck = zero_windows(net, 16)
    reader = Peer(net, address(1))
    reader.open(wnd=4000)
    friend = net.listener.accept()
    assert friend is not None
    friend.send(net.now, PAGE)
    for each in [friend, *stuck]:
        each.release(net.now)
    net.poll()
    for _ in range(4):
        net.pass_time(SECOND)
        reader.send(".", ack=friend.tcb.snd_nxt - friend.tcb.iss, wnd=4000)
    late = [Peer(net, ATTACKER, 9000 + number) for number in range(6)]
    for peer in late:
        peer.open(wnd=0)
        server = net.listener.accept()
        assert server is not None
        server.send(net.now, PAGE)
        server.release(net.now)
        net.poll()
    assert friend.error == 0
    assert len(net.b.orphans) <= 20
    assert net.total("tcp", "orphans_overflow") >= 3


@pytest.mark.parametrize("state", ["FIN_WAIT_1", "FIN_WAIT_2", "LAST_ACK"])
def test_a_silent_peer_does_not_hold_a_closed_connection_for_ever(state: str) -> None:
    net = Target()
    peer = Peer(net)
    peer.open()
    server = net.listener.accept()
    assert server is not None
    if state == "LAST_ACK":
        peer.send("F.")
    server.release(net.now)
    net.poll()
    if state == "FIN_WAIT_2":
        peer.send(".", ack=2)
    assert server.state() == state
    net.pass_time(1000 * SECOND)
    assert not net.b.connections
    assert net.used() == 0


@attack("TIME-WAIT exhaustion")
def time_waits() -> list[Figure]:
    """Connections that we close first, one after another, from one address and many ports."""
    count = volume(3000, 400)
    limit = count // 4
    net = Target(StackConfig(time_wait_limit=limit))
    most = 0
    for number in range(count):
        peer = Peer(net, ATTACKER, 1024 + number)
        peer.open()
        server = net.listener.accept()
        assert server is not None
        server.release(net.now)
        net.poll()
        peer.send("F.", ack=2)
        most = max(most, len(net.b.time_waits))
    assert net.total("tcp", "time_wait_overflow") == count - limit
    # What was recycled gives no one a connection by an old segment, and a new one is opened as ever.
    recycled = Peer(net, ATTACKER, 1024)
    stray = recycled.send(".", seq=1, ack=1, data=b"old")
    again = recycled.open()
    memory = net.used() / (limit + 1)
    net.pass_time(61 * SECOND)
    return [
        Figure("connections in TIME-WAIT at the most", most, limit),
        Figure("memory of one", memory, CONNECTION_COST, "bytes"),
        Figure("old segments of recycled ones not reset", int(not stray), 0),
        Figure("new connections refused", int(not again), 0),
        Figure("left after 2 MSL, beside the new one", len(net.b.connections) - 1, 0),
    ]


def test_time_wait_is_bounded_and_the_oldest_makes_place() -> None:
    hold(time_waits())


def test_a_recycled_four_tuple_begins_above_what_the_old_one_sent() -> None:
    # RFC 6528 section 3, RFC 6191: what made TIME-WAIT safe to leave early.
    net = Target(StackConfig(time_wait_limit=1))
    first = Peer(net, ATTACKER, 5000, ts=True)
    first.open()
    server = net.listener.accept()
    assert server is not None
    sent = server.tcb.snd_nxt
    stamp = first.ts_ecr
    server.release(net.now)
    net.poll()
    first.send("F.", ack=2)
    other = Peer(net, ATTACKER, 5001)
    other.open()
    second = net.listener.accept()
    assert second is not None
    second.release(net.now)
    net.poll()
    other.send("F.", ack=2)
    assert len(net.b.time_waits) == 1
    net.pass_time(SECOND)
    again = Peer(net, ATTACKER, 5000, iss=90_000, ts=True)
    assert again.open()
    third = net.listener.accept()
    assert third is not None
    assert 0 < (third.tcb.iss - sent) & 0xFFFFFFFF < 0x80000000
    assert 0 < (again.ts_ecr - stamp) & 0xFFFFFFFF < 0x80000000


def test_asyncio_programs_shed_zero_windows_and_hear_of_it() -> None:
    async def scenario() -> None:
        async with plank_net() as net:
            failures: list[BaseException | None] = []

            async def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                writer.write(bytes(1_000_000))
                try:
                    await writer.drain()
                    failures.append(None)
                except OSError as error:
                    failures.append(error)

            server = await net.serve(serve)
            port = server.sockets[0].getsockname()[1]
            clients = []
            for _ in range(3):
                reader, writer = await net.streams(port, limit=1000)
                clients.append((reader, writer))
            await asyncio.sleep(100)
            listed = net.server.stalled(60, zero_window=True)
            assert len(listed) == 3
            assert all(entry["held"] > 200_000 and entry["zero_window"] >= 60 for entry in listed)
            assert net.server.stalled(1000) == []
            assert net.server.abort_stalled(60, zero_window=True, most=2) == 2
            await asyncio.sleep(1)
            assert net.server.abort_stalled(60) == 1
            await asyncio.sleep(1)
            assert len(failures) == 3
            assert all(isinstance(failure, TimeoutError) for failure in failures)
            assert "window closed" in str(failures[0])
            assert "no progress" in str(failures[2])
            assert net.server.counters()["tcp"]["stalled_connections_shed"] == 3
            assert "3 stalled connections shed" in net.server.netstat()
            assert net.server.memory_use()["used"] == 0
            for _, writer in clients:
                writer.transport.abort()
            server.close()

    run_virtual(scenario())
