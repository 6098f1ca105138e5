"""Segments find their connection, their listener, or get a reset."""

from __future__ import annotations

import gc
import sys
from types import FrameType

import pytest
from tests.stack.net import A4, A6, B4, B6, Lone, Pair, segment_of, tcp

from plankroad.stack.config import StackConfig
from plankroad.stack.ports import ANY4, ANY6
from plankroad.tcp.config import TcpConfig
from plankroad.tcp.counters import TcpCounters
from plankroad.units import MILLISECOND, SECOND
from plankroad.wire.address import ip_to_bytes
from plankroad.wire.packet import Packet
from plankroad.wire.segment import ACK, FIN, RST, SYN, Segment


@pytest.mark.parametrize("remote", [B4, B6])
@pytest.mark.parametrize(("tx_csum", "gso"), [(False, 0), (True, 0), (True, 65535)])
def test_a_stream_arrives_whole_over_plain_and_offloading_links(remote: bytes, tx_csum: bool, gso: int) -> None:
    net = Pair(tx_csum=tx_csum, gso_max_size=gso)
    client, server, _ = net.connected(remote)
    data = bytes(range(256)) * 2000
    sent = 0
    got = b""
    while len(got) < len(data):
        sent += client.send(net.now, data[sent:])
        net.run(10 * MILLISECOND)
        got += server.receive(net.now, 1 << 20)
    assert got == data
    sizes = [len(packet) for sender, packet in net.wire.seen if sender is net.a]
    if gso:
        assert max(sizes) > 20_000
    else:
        assert max(sizes) == 1500
    assert all((packet.csum_offset == 16) == tx_csum for _, packet in net.wire.seen)


def test_many_connections_between_two_hosts_are_told_apart() -> None:
    net = Pair()
    listener = net.b.listen(0, b"", 80, backlog=500)
    clients = [net.a.connect(net.now, B4, 80) for _ in range(500)]
    assert len({client.local_port for client in clients}) == 500
    net.run()
    servers = {}
    while (server := listener.accept()) is not None:
        servers[server.remote_port] = server
    for client in clients:
        client.send(net.now, b"from %d" % client.local_port)
    net.run()
    for client in clients:
        assert servers[client.local_port].receive(net.now, 100) == b"from %d" % client.local_port


def test_the_most_specific_listener_gets_the_syn() -> None:
    net = Pair()
    net.b.add_address(net.b.interfaces[0], "10.0.0.3/24")
    specific = net.b.listen(0, B4, 80)
    third = net.b.listen(0, ip_to_bytes("10.0.0.3"), 80)
    other_port = net.b.listen(0, b"", 81)
    v6 = net.b.listen(0, ANY6, 80)
    for remote, port in ((B4, 80), (ip_to_bytes("10.0.0.3"), 80), (B4, 81), (B6, 81), (B6, 80)):
        net.a.connect(0, remote, port)
    net.run()
    assert [len(one.ready) for one in (specific, third, other_port, v6)] == [1, 1, 2, 1]


def test_a_family_wildcard_hears_its_family_only() -> None:
    net = Pair()
    listener = net.b.listen(0, ANY4, 80)
    client4 = net.a.connect(0, B4, 80)
    client6 = net.a.connect(0, B6, 80)
    net.run()
    assert client4.state() == "ESTABLISHED"
    assert client6.state() == "CLOSED"
    assert client6.error
    assert len(listener.ready) == 1


@pytest.mark.parametrize(("src", "dst"), [(A4, B4), (A6, B6)])
def test_a_segment_for_nobody_is_answered_by_a_reset(src: bytes, dst: bytes) -> None:
    """RFC 9293 section 3.10.7.1."""
    net = Lone()
    syn = Segment(1000, 80, 5000, 0, SYN, 1000, b"xyz")
    out = [segment_of(packet) for packet in net.give(tcp(syn, src, dst))]
    assert [(s.src_port, s.dst_port, s.seq, s.ack, s.flags) for s in out] == [(80, 1000, 0, 5004, RST | ACK)]
    stray = Segment(1000, 80, 5000, 777, ACK, 1000)
    out = [segment_of(packet) for packet in net.give(tcp(stray, src, dst))]
    assert [(s.seq, s.flags) for s in out] == [(777, RST)]
    assert net.give(tcp(Segment(1000, 80, 5000, 0, RST, 0), src, dst)) == []
    assert net.b.counters.tcp.no_connection == 3
    assert net.b.counters.tcp.resets_sent == 2


@pytest.mark.requirement("MUST-57")
@pytest.mark.parametrize("dst", ["255.255.255.255", "10.0.0.255", "10.0.0.0", "224.0.0.1"])
def test_a_syn_to_a_broadcast_or_multicast_address_is_dropped_in_silence(dst: str) -> None:
    """MUST-57."""
    net = Lone()
    listener = net.b.listen(0, b"", 80)
    assert net.give(tcp(Segment(1000, 80, 1, 0, SYN, 1000), A4, ip_to_bytes(dst))) == []
    assert not listener.half_open
    assert net.b.counters.ip.bad_address == 1


@pytest.mark.requirement("MUST-57")
def test_a_syn_to_an_ipv6_group_is_dropped_in_silence() -> None:
    """MUST-57."""
    net = Lone()
    net.b.listen(0, b"", 80)
    assert net.give(tcp(Segment(1000, 80, 1, 0, SYN, 1000), A6, ip_to_bytes("ff02::1"))) == []
    assert not net.b.connections


@pytest.mark.requirement("MUST-63", "RFC1122-3.2.1.3-d")
@pytest.mark.parametrize(
    "src", ["255.255.255.255", "10.0.0.255", "224.0.0.9", "0.0.0.0", "127.0.0.1", "240.0.0.1", "10.0.0.2"]
)
def test_a_syn_from_an_invalid_source_is_ignored(src: str) -> None:
    """MUST-63."""
    net = Lone()
    net.b.listen(0, b"", 80)
    assert net.give(tcp(Segment(1000, 80, 1, 0, SYN, 1000), ip_to_bytes(src), B4)) == []
    assert not net.b.connections


@pytest.mark.requirement("MUST-63")
@pytest.mark.parametrize("src", ["ff02::9", "::", "::1", "fd00::2"])
def test_a_syn_from_an_invalid_ipv6_source_is_ignored(src: str) -> None:
    """MUST-63."""
    net = Lone()
    net.b.listen(0, b"", 80)
    assert net.give(tcp(Segment(1000, 80, 1, 0, SYN, 1000), ip_to_bytes(src), B6)) == []
    assert not net.b.connections


@pytest.mark.requirement("MUST-3")
def test_a_wrong_checksum_is_counted_and_goes_no_further() -> None:
    """MUST-3."""
    net = Lone()
    net.b.listen(0, b"", 80)
    good = tcp(Segment(1000, 80, 1, 0, SYN, 1000), A4, B4)
    assert net.give(good[:-1] + bytes([good[-1] ^ 1])) == []
    assert net.b.counters.tcp.bad_checksum == 1
    assert net.give(good[:-1] + bytes([good[-1] ^ 1]), csum_valid=True) != []


def test_a_bad_header_is_counted_and_goes_no_further() -> None:
    net = Lone()
    good = bytearray(tcp(Segment(1000, 80, 1, 0, SYN, 1000), A4, B4))
    good[32] = 0x40
    assert net.give(bytes(good), csum_valid=True) == []
    assert net.b.counters.tcp.bad_header == 1


@pytest.mark.requirement(
    "MUST-48", "MUST-49", "SHLD-22", "RFC1122-3.2.1.6-a", "RFC1122-3.2.1.7-c", "RFC1122-3.2.1.7-d"
)
def test_the_tos_a_program_sets_is_on_its_packets_and_so_is_the_ttl() -> None:
    """MUST-48, MUST-49, SHLD-22."""
    net = Pair()
    net.b.listen(0, b"", 80)
    for remote in (B4, B6):
        net.wire.seen.clear()
        net.a.connect(0, remote, 80, config=TcpConfig(ttl=7, tos=0xB8))
        net.run()
        packets = net.wire.sent_by(net.a)
        assert packets
        for packet in packets:
            if remote == B4:
                assert (packet[1] & 0xFC, packet[8]) == (0xB8, 7)
            else:
                assert ((packet[0] << 8 | packet[1]) >> 4 & 0xFC, packet[7]) == (0xB8, 7)


@pytest.mark.requirement("MAY-4")
def test_ipv4_segments_are_atomic() -> None:
    """RFC 6864 section 4.1: Don't Fragment set, no fragment."""
    net = Pair()
    net.connected()
    assert all(packet[6:8] == b"\x40\x00" for packet in net.wire.sent_by(net.a))


@pytest.mark.requirement("SHLD-4", "MAY-2")
def test_a_syn_for_a_connection_in_time_wait_opens_a_new_one() -> None:
    """MAY-2, RFC 6191."""
    net = Pair()
    listener = net.b.listen(0, b"", 80)
    client = net.a.connect(0, B4, 80, local_port=4000)
    net.run(SECOND)
    server = listener.accept()
    assert server is not None
    server.close(net.now)
    net.run()
    client.close(net.now)
    net.run()
    assert server.state() == "TIME_WAIT"
    assert client.state() == "CLOSED"
    net.run(SECOND)
    again = net.a.connect(net.now, B4, 80, local_port=4000)
    net.run()
    assert again.state() == "ESTABLISHED"
    assert server.state() == "CLOSED"
    assert net.b.counters.tcp.time_wait_reused == 1
    assert len(net.b.connections) == 1


def test_time_wait_stays_when_nobody_listens_any_more() -> None:
    net = Pair()
    client, server, listener = net.connected()
    server.close(net.now)
    net.run()
    client.close(net.now)
    net.run()
    listener.close(net.now)
    net.run(SECOND)
    again = net.a.connect(net.now, B4, 80, local_port=client.local_port)
    net.run()
    assert server.state() == "TIME_WAIT"
    assert again.state() == "SYN_SENT"


def test_a_listening_port_with_connections_in_time_wait_can_be_listened_to_again() -> None:
    net = Pair()
    client, server, listener = net.connected()
    server.close(net.now)
    net.run()
    client.close(net.now)
    net.run()
    listener.close(net.now)
    net.run()
    assert server.state() == "TIME_WAIT"
    net.b.listen(net.now, b"", 80)


def test_a_closed_connection_leaves_every_table_at_once() -> None:
    net = Pair()
    client, server, listener = net.connected()
    client.abort(net.now)
    net.run()
    assert server.state() == "CLOSED"
    assert not net.a.connections
    assert not net.b.connections
    assert not net.a.paths
    assert len(net.a.timers) == len(net.b.timers) == 0
    listener.close(net.now)
    net.finish()
    assert net.a.is_idle()
    assert net.b.is_idle()


def test_an_orderly_end_leaves_nothing_behind_after_time_wait() -> None:
    net = Pair()
    client, server, listener = net.connected()
    client.close(net.now)
    net.run()
    server.close(net.now)
    net.run()
    assert client.state() == "TIME_WAIT"
    assert net.a.leftovers()["connections"] == 1
    assert not net.b.connections
    listener.close(net.now)
    net.finish()
    assert net.a.leftovers() == dict.fromkeys(net.a.leftovers(), 0)
    assert net.b.is_idle()


def test_an_idle_connection_has_no_timer() -> None:
    net = Pair()
    client, server, _ = net.connected()
    client.send(net.now, b"hello")
    net.run(10 * SECOND)
    server.receive(net.now, 100)
    net.run(10 * SECOND)
    assert len(net.a.timers) == len(net.b.timers) == 0
    assert net.a.next_timeout() == net.b.next_timeout() >= 1 << 61


@pytest.mark.requirement("syn-cookies")
def test_syn_cookies_and_their_connections_pass_through_the_stack() -> None:
    """RFC 4987 section 3.6."""
    config = StackConfig(tcp=TcpConfig(syn_backlog=0))
    net = Pair(other=config)
    listener = net.b.listen(0, b"", 80)
    client = net.a.connect(0, B4, 80)
    net.run()
    assert client.state() == "ESTABLISHED"
    assert net.b.counters.tcp.syn_cookies_sent == 1
    client.send(net.now, b"hello")
    net.run()
    server = listener.accept()
    assert server is not None
    assert server.receive(net.now, 10) == b"hello"


def calls_of_one_segment(connections: int) -> int:
    """Python calls that one data segment costs, of a host with so many connections."""
    net = Pair()
    net.b.listen(0, b"", 80, backlog=connections + 1)
    clients = [net.a.connect(0, B4, 80) for _ in range(connections)]
    net.run()
    net.run(SECOND)
    clients[connections // 2].send(net.now, b"x")
    packet = net.a.poll_transmit(net.now)
    assert packet is not None
    count = 0

    def profile(frame: FrameType, event: str, arg: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    gc.disable()  # hypothesis has a callback on collections, which would be counted
    sys.setprofile(profile)
    try:
        net.b.receive(net.now, Packet(packet.to_bytes()))
        while net.b.poll_transmit(net.now) is not None:
            pass
        net.b.next_timeout()
    finally:
        sys.setprofile(None)
        gc.enable()
    return count


def test_a_segment_costs_the_same_with_few_and_with_many_connections() -> None:
    assert calls_of_one_segment(10) == calls_of_one_segment(1000)


def test_endpoints_are_served_in_turn_one_segment_each() -> None:
    net = Pair()
    net.b.listen(0, b"", 80, backlog=10)
    clients = [net.a.connect(0, B4, 80) for _ in range(4)]
    net.run()
    for client in clients:
        client.send(net.now, b"x" * 14_000)
    ports = []
    while (packet := net.a.poll_transmit(net.now)) is not None:
        ports.append(segment_of(packet.to_bytes()).src_port)
    assert len(ports) >= 32
    for at in range(0, 32, 4):
        assert sorted(ports[at : at + 4]) == sorted(client.local_port for client in clients)


def test_answers_to_strangers_are_bounded() -> None:
    net = Lone(StackConfig(output_queue=50))
    for port in range(1, 200):
        net.b.receive(0, Packet(tcp(Segment(port, 80, 1, 0, SYN, 1000), A4, B4)))
    assert len(net.take()) == 50
    assert net.b.counters.ip.output_queue_full == 149


def test_a_fin_for_nobody_is_reset_with_its_length_counted() -> None:
    net = Lone()
    out = net.give(tcp(Segment(1000, 80, 10, 0, FIN, 10, b"abc"), A4, B4))
    assert segment_of(out[0]).ack == 14


@pytest.mark.requirement("RFC1122-3.1-h")
def test_counters_of_every_layer_are_told_by_name() -> None:
    net = Pair()
    net.connected()
    counters = net.a.counters.as_dict()
    assert set(counters) == {"ip", "icmp", "tcp", "udp"}
    assert counters["tcp"]["active_opens"] == 1
    assert counters["ip"]["sent"] == net.b.counters.ip.received == 2
    assert set(counters["tcp"]) == set(TcpCounters().as_dict())


def test_time_wait_stays_while_the_accept_queue_is_full() -> None:
    net = Pair()
    listener = net.b.listen(0, b"", 80, backlog=1)
    client = net.a.connect(0, B4, 80, local_port=4000)
    net.run()
    server = listener.accept()
    assert server is not None
    server.close(net.now)
    net.run()
    client.close(net.now)
    net.run(SECOND)
    net.a.connect(net.now, B4, 80)
    net.run()
    assert len(listener.ready) == 1
    net.a.connect(net.now, B4, 80, local_port=4000)
    net.run()
    assert server.state() == "TIME_WAIT"


def test_a_closed_listener_answers_by_reset_at_once() -> None:
    net = Lone()
    net.b.listen(0, b"", 80).close(0)
    net.b.receive(0, Packet(tcp(Segment(9, 80, 1, 0, SYN, 99), A4, B4)))
    (answer,) = net.take()
    assert segment_of(answer).flags == RST | ACK
