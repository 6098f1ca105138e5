"""IPv4 source routes: RFC 1122 sections 3.2.1.8, 3.3.5 and 4.2.3.8."""

from __future__ import annotations

import pytest
from tests.stack.net import A4, B4, Lone, Net, tcp

from plankroad.stack.config import StackConfig
from plankroad.tcp.config import TcpConfig
from plankroad.units import SECOND
from plankroad.wire.address import ip_to_bytes
from plankroad.wire.ipv4 import build_ipv4, parse_ipv4
from plankroad.wire.ipv4_options import RouteOption, build_route
from plankroad.wire.packet import Packet
from plankroad.wire.segment import ACK, SYN, Segment
from plankroad.wire.udp import build_udp

HOP = ip_to_bytes("10.0.0.7")
OTHER = ip_to_bytes("10.0.0.8")
LSRR, SSRR = 131, 137


def route(hops: list[bytes], pointer: int, kind: int = LSRR) -> bytes:
    option = build_route(RouteOption(kind, pointer, hops))
    return option + bytes(-len(option) & 3)


@pytest.mark.requirement("MUST-51", "RFC1122-3.2.1.8-a")
def test_a_program_chooses_a_source_route() -> None:
    """MUST-51."""
    net = Lone()
    far = ip_to_bytes("192.0.2.1")
    client = net.b.connect(0, far, 80, config=TcpConfig(source_route=(HOP, OTHER)))
    (syn,) = net.take()
    header = parse_ipv4(syn)
    assert (header.dst, header.options) == (HOP, route([OTHER, far], 4))
    # RFC 9293 section 3.7.1: the IP options come off the segments.
    answer = Segment(80, client.local_port, 1000, client.tcb.iss + 1 & 0xFFFFFFFF, SYN | ACK, 65535)
    answer.mss = 1460
    net.give(tcp(answer, far, B4))
    client.send(0, bytes(4000))
    assert max(len(packet) for packet in net.take()) == 1500


@pytest.mark.requirement("MUST-53", "SHLD-24")
def test_the_answer_goes_back_the_way_the_syn_came() -> None:
    """MUST-53, SHLD-24."""
    net = Lone(StackConfig(source_route=True))
    net.b.listen(0, b"", 80)
    (answer,) = net.give(tcp(Segment(9, 80, 1, 0, SYN, 999), A4, B4, options=route([HOP, OTHER], 12)))
    header = parse_ipv4(answer)
    assert (header.dst, header.options) == (OTHER, route([HOP, A4], 4))
    # A later one overrides it: the segment comes by another way, and so goes the next answer.
    (again,) = net.give(tcp(Segment(9, 80, 1, 0, SYN, 999), A4, B4, options=route([HOP], 8)))
    header = parse_ipv4(again)
    assert (header.dst, header.options) == (HOP, route([A4], 4))


@pytest.mark.requirement("MUST-52")
def test_the_programs_route_overrides_the_received_one() -> None:
    """MUST-52."""
    net = Lone(StackConfig(source_route=True))
    net.b.listen(0, b"", 80, config=TcpConfig(source_route=(OTHER,)))
    for _ in range(2):
        (answer,) = net.give(tcp(Segment(9, 80, 1, 0, SYN, 999), A4, B4, options=route([HOP], 8)))
        header = parse_ipv4(answer)
        assert (header.dst, header.options) == (OTHER, route([A4], 4))


def test_source_routed_packets_are_dropped_unless_allowed() -> None:
    net = Lone()
    net.b.listen(0, b"", 80)
    assert net.give(tcp(Segment(9, 80, 1, 0, SYN, 999), A4, B4, options=route([HOP], 8))) == []
    assert net.b.counters.ip.source_routed == 1


@pytest.mark.requirement("MUST-50", "RFC1122-3.2.1.8-c")
def test_other_options_are_ignored() -> None:
    """MUST-50."""
    net = Lone()
    net.b.listen(0, b"", 80)
    options = b"\x94\x04\0\0" + b"\x9e\x04xx"
    (answer,) = net.give(tcp(Segment(9, 80, 1, 0, SYN, 999), A4, B4, options=options))
    assert parse_ipv4(answer).options == b""


@pytest.mark.requirement("RFC1122-3.3.5-d", "RFC1122-3.3.5-g", "RFC1122-3.3.5-j")
def test_a_host_that_does_not_pass_it_on_says_source_route_failed() -> None:
    """RFC 1122 section 3.3.5."""
    net = Lone()
    data = build_ipv4(A4, B4, 17, 8, options=route([OTHER], 4)) + build_udp(A4, OTHER, 1, 2, b"")
    (answer,) = net.give(data)
    assert answer[20:22] == b"\x03\x05"


@pytest.mark.requirement("RFC1122-3.3.5-h")
def test_a_router_follows_no_route_by_default() -> None:
    """RFC 1122 section 3.3.5: the switch "MUST default to disabling source routing"."""
    net = Net()
    router = net.add(1, StackConfig(forwarding=True))
    for number in (1, 2):
        router.add_interface(f"e{number}", 1500)
        router.add_address(router.interfaces[-1], f"10.{number}.0.254/24")
    src, own, near = ip_to_bytes("10.1.0.1"), ip_to_bytes("10.1.0.254"), ip_to_bytes("10.2.0.5")
    router.receive(0, Packet(build_ipv4(src, own, 17, 8, options=route([near], 4)) + build_udp(src, near, 1, 2, b"")))
    packet = router.poll_transmit(0)
    assert packet is not None
    at = parse_ipv4(packet.head).payload_start
    assert (packet.interface, packet.head[at : at + 2]) == (0, b"\x03\x05")


@pytest.mark.requirement("RFC1122-3.3.5-a", "RFC1122-3.3.5-c", "RFC1122-3.3.5-e", "RFC1122-3.3.5-g")
def test_a_router_follows_a_route_where_that_is_allowed() -> None:
    """RFC 791, RFC 1812 section 5.2.4.1."""
    net = Net()
    router = net.add(1, StackConfig(forwarding=True, source_route=True))
    for number in (1, 2):
        router.add_interface(f"e{number}", 1500)
        router.add_address(router.interfaces[-1], f"10.{number}.0.254/24")
    router.add_route("192.0.2.0/24", gateway="10.2.0.9")
    src, own, far = ip_to_bytes("10.1.0.1"), ip_to_bytes("10.1.0.254"), ip_to_bytes("192.0.2.1")
    near = ip_to_bytes("10.2.0.5")
    out = ip_to_bytes("10.2.0.254")
    for kind, target, passed in ((LSRR, far, True), (SSRR, far, False), (SSRR, near, True)):
        data = build_ipv4(src, own, 17, 8, options=route([target, HOP], 4, kind)) + build_udp(src, HOP, 1, 2, b"")
        router.receive(0, Packet(data))
        packet = router.poll_transmit(0)
        assert packet is not None
        if passed:
            header = parse_ipv4(packet.head)
            assert (packet.interface, header.src, header.dst, header.ttl) == (1, src, target, 63)
            assert header.options == route([out, HOP], 8, kind)
        else:
            header = parse_ipv4(packet.head)
            at = header.payload_start
            assert (packet.interface, packet.head[at : at + 2]) == (0, b"\x03\x05")


def test_a_source_routed_connection_works_end_to_end() -> None:
    config = StackConfig(source_route=True)
    net = Net()
    a, r, b = net.add(1, config), net.add(2, StackConfig(forwarding=True, source_route=True)), net.add(3, config)
    net.join(a, ["10.1.0.1/24"], r, ["10.1.0.254/24"])
    net.join(r, ["10.2.0.254/24"], b, ["10.2.0.1/24"])
    # Neither end has a route to the other: only the source route takes them there.
    far = ip_to_bytes("10.2.0.1")
    b.add_route("10.1.0.0/24", gateway="10.2.0.254")
    listener = b.listen(0, b"", 80)
    client = a.connect(0, far, 80, config=TcpConfig(source_route=(ip_to_bytes("10.1.0.254"),)))
    net.run()
    client.send(net.now, bytes(20_000))
    net.run(SECOND)
    server = listener.accept()
    assert server is not None
    assert len(server.receive(net.now, 1 << 20)) == 20_000
    assert b.paths[server].wire_dst == ip_to_bytes("10.2.0.254")
