"""Packets to own addresses, host models, addresses and routes."""

from __future__ import annotations

import random

import pytest
from tests.stack.net import A4, B4, B6, Lone, Net, tcp

from plankroad.stack.config import StackConfig
from plankroad.stack.stack import Stack
from plankroad.units import MILLISECOND, SECOND
from plankroad.wire.address import ip_to_bytes
from plankroad.wire.ipv4 import build_ipv4
from plankroad.wire.ipv6 import build_ipv6
from plankroad.wire.packet import Packet
from plankroad.wire.segment import SYN, Segment
from plankroad.wire.udp import build_udp


@pytest.mark.parametrize("own", ["127.0.0.1", "127.5.6.7", "::1", "10.0.0.2", "fd00::2"])
def test_a_host_speaks_with_itself_without_a_link(own: str) -> None:
    net = Lone()
    remote = ip_to_bytes(own)
    listener = net.b.listen(0, b"", 80)
    client = net.b.connect(0, remote, 80)
    assert net.take() == []
    server = listener.accept()
    assert server is not None
    data = bytes(range(256)) * 4000
    sent = 0
    got = b""
    while len(got) < len(data):
        sent += client.send(net.now, data[sent:])
        assert net.pass_time(10 * MILLISECOND) == net.take() == []
        got += server.receive(net.now, 1 << 22)
    assert got == data
    assert client.tcb.path_mss == 65535 - (40 if len(remote) == 4 else 60)
    client.close(net.now)
    net.take()
    server.close(net.now)
    net.take()
    listener.close(net.now)
    net.finish()
    assert net.b.is_idle()
    assert net.b.counters.ip.sent == 0


def test_udp_and_ping_to_oneself() -> None:
    net = Lone()
    server = net.b.bind_udp(b"", 53)
    client = net.b.bind_udp()
    ping = net.b.open_ping()
    for number, own in enumerate((ip_to_bytes("127.0.0.1"), B4, B6)):
        client.send_to(0, bytes(60_000), own, 53)
        client.send_to(0, b"", own, 54)
        ping.send(0, own, number, bytes(2000))
        assert net.take() == []
        got = server.receive_from()
        reply = ping.poll_reply()
        error = client.poll_error()
        assert got is not None
        assert reply is not None
        assert error is not None
        assert (len(got.data), len(reply.data), error.port) == (60_000, 2000, 54)


def test_the_queue_to_oneself_is_bounded() -> None:
    net = Lone(StackConfig(loopback_queue=5))
    for seq in range(20):
        ping = net.b.open_ping()
        ping.send(0, B4, seq)
    assert len(net.b.loopback_queue) == 5
    assert net.b.counters.ip.output_queue_full == 15


def test_loopback_addresses_never_come_from_a_link_or_go_to_one() -> None:
    """RFC 1122 section 3.2.1.3 (g)."""
    net = Lone()
    net.b.listen(0, b"", 80)
    inside = ip_to_bytes("127.0.0.1")
    assert net.give(tcp(Segment(1, 80, 1, 0, SYN, 9), A4, inside)) == []
    assert net.give(tcp(Segment(1, 80, 1, 0, SYN, 9), inside, B4)) == []
    assert not net.b.connections
    udp = net.b.bind_udp(inside, 9)
    with pytest.raises(OSError, match="Invalid"):
        udp.send_to(0, b"x", A4, 5)


def two_links(config: StackConfig | None = None) -> tuple[Stack, Net]:
    net = Net()
    stack = net.add(1, config)
    for number in (1, 2):
        stack.add_interface(f"e{number}", 1500)
        stack.add_address(stack.interfaces[-1], f"10.{number}.0.1/24")
    return stack, net


@pytest.mark.requirement("RFC1122-3.1-c", "RFC1122-3.3.4.2-c")
@pytest.mark.parametrize("strong", [False, True])
def test_the_weak_and_the_strong_host_model(strong: bool) -> None:
    """RFC 1122 section 3.3.4.2."""
    stack, _ = two_links(StackConfig(strong_host=strong))
    endpoint = stack.bind_udp(b"", 53)
    src, dst = ip_to_bytes("10.1.0.9"), ip_to_bytes("10.2.0.1")
    data = build_ipv4(src, dst, 17, 8) + build_udp(src, dst, 1, 53, b"")
    stack.receive(0, Packet(data, interface=0))
    assert (endpoint.receive_from() is None) == strong
    assert stack.counters.ip.not_for_us == int(strong)
    # Within the host all addresses are reached either way.
    endpoint.send_to(0, b"x", dst, 53)
    assert stack.poll_transmit(0) is None
    assert endpoint.receive_from() is not None


def test_link_local_addresses_are_of_one_link() -> None:
    """RFC 4007 section 4."""
    stack, _ = two_links()
    stack.add_address(stack.interfaces[1], "fe80::1/64")
    src, dst = ip_to_bytes("fe80::9"), ip_to_bytes("fe80::1")
    endpoint = stack.bind_udp(b"", 53)
    data = build_ipv6(src, dst, 17, 8) + build_udp(src, dst, 1, 53, b"")
    for index, heard in ((0, False), (1, True)):
        stack.receive(0, Packet(data, interface=index))
        assert (endpoint.receive_from() is not None) == heard


@pytest.mark.requirement("RFC1122-3.3.1.2-e")
def test_routes_and_sources_by_longest_prefix_metric_and_state() -> None:
    stack, net = two_links()
    stack.add_route("0.0.0.0/0", gateway="10.1.0.254", metric=1)
    backup = stack.add_route("0.0.0.0/0", gateway="10.2.0.254", metric=2)
    stack.add_route("198.51.100.0/24", gateway="10.2.0.254")
    far, near = ip_to_bytes("192.0.2.1"), ip_to_bytes("198.51.100.1")
    assert (stack.source_of(far), stack.source_of(near)) == (ip_to_bytes("10.1.0.1"), ip_to_bytes("10.2.0.1"))
    stack.set_interface_up(net.now, stack.interfaces[0], False)
    assert stack.source_of(far) == ip_to_bytes("10.2.0.1")
    assert stack.remove_route(backup)
    assert stack.source_of(far) == b""
    assert not stack.remove_route(backup)


def test_configuration_refuses_what_makes_no_sense() -> None:
    stack, net = two_links()
    with pytest.raises(ValueError, match="no interface has an address in the subnet"):
        stack.add_route("0.0.0.0/0", gateway="192.0.2.1")
    with pytest.raises(ValueError, match="a gateway or an interface"):
        stack.add_route("0.0.0.0/0")
    with pytest.raises(ValueError, match="this host itself"):
        stack.add_route("0.0.0.0/0", gateway="10.1.0.1")
    with pytest.raises(ValueError, match="already"):
        stack.add_address(stack.interfaces[0], "10.1.0.1/24")
    with pytest.raises(ValueError, match="MTU"):
        stack.set_mtu(net.now, stack.interfaces[0], 67)
    with pytest.raises(ValueError, match="does not have"):
        stack.remove_address(stack.interfaces[0], "10.1.0.9/24")
    with pytest.raises(ValueError, match="16 bytes or more"):
        Stack(StackConfig(), random.Random(1), b"short")


def test_the_subnets_route_goes_with_the_last_address_of_it() -> None:
    stack, _ = two_links()
    first = stack.interfaces[0]
    stack.add_address(first, "10.1.0.2/24")
    other = ip_to_bytes("10.1.0.77")
    stack.remove_address(first, "10.1.0.1/24")
    assert stack.source_of(other) == ip_to_bytes("10.1.0.2")
    stack.remove_address(first, "10.1.0.2/24")
    assert stack.source_of(other) == b""


def test_an_interface_that_is_down_takes_nothing() -> None:
    net = Lone()
    endpoint = net.b.bind_udp(b"", 53)
    data = build_ipv4(A4, B4, 17, 8) + build_udp(A4, B4, 1, 53, b"")
    net.b.set_interface_up(0, net.interface, False)
    net.give(data)
    assert endpoint.receive_from() is None
    net.b.set_interface_up(0, net.interface, True)
    net.give(data)
    assert endpoint.receive_from() is not None


def test_packets_may_come_in_two_parts() -> None:
    net = Lone()
    endpoint = net.b.bind_udp(b"", 53)
    head = build_ipv4(A4, B4, 17, 12) + build_udp(A4, B4, 1, 53, b"body")
    net.b.receive(0, Packet(head, b"body"))
    got = endpoint.receive_from()
    assert got is not None
    assert got.data == b"body"


def test_two_runs_with_one_seed_are_the_same() -> None:
    def run() -> list[bytes]:
        net = Lone()
        out = []
        for port in range(80, 90):
            net.b.connect(net.now, A4, port)
            net.b.bind_udp().send_to(net.now, b"x" * 3000, A4, port)
            net.b.open_ping().send(net.now, A4, port)
            out += net.take() + net.pass_time(SECOND)
        return out

    assert run() == run()
