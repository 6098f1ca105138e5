"""What strangers, guests and forged messages cannot make a host do."""

from __future__ import annotations

import errno

import pytest
from tests.stack.net import A4, A6, B4, B6, Lone, Net, segment_of, tcp

from plankroad.ip.fragment import fragment_ipv6
from plankroad.link.segmentation import segment
from plankroad.stack.config import StackConfig
from plankroad.units import SECOND
from plankroad.wire.address import ip_to_bytes
from plankroad.wire.checksum import checksum
from plankroad.wire.constants import PROTO_DESTINATION, PROTO_FRAGMENT, PROTO_UDP
from plankroad.wire.icmp import build_icmp
from plankroad.wire.icmpv6 import build_icmpv6
from plankroad.wire.ipv4 import build_ipv4, parse_ipv4
from plankroad.wire.ipv4_options import RouteOption, TimestampOption, build_route, build_timestamp
from plankroad.wire.ipv6 import build_fragment, build_ipv6
from plankroad.wire.packet import GSO_TCPV4, GSO_TCPV6, GSO_UDP_L4, Packet
from plankroad.wire.segment import ACK, SYN, Segment
from plankroad.wire.udp import build_udp

FAR4 = ip_to_bytes("192.0.2.1")
FAR6 = ip_to_bytes("2001:db8::1")


def router(second_mtu: int = 1500, output_queue: int = 1000) -> Net:
    """One stack that forwards between two interfaces, 10.0.0.0/24 and 10.9.0.0/24."""
    net = Net()
    stack = net.add(1, StackConfig(forwarding=True, source_route=True, output_queue=output_queue))
    first = stack.add_interface("e0", 1500)
    second = stack.add_interface("e1", second_mtu)
    for interface, addresses in ((first, ("10.0.0.2/24", "fd00::2/64")), (second, ("10.9.0.2/24", "fd09::2/64"))):
        for address in addresses:
            stack.add_address(interface, address)
    return net


def drain(net: Net) -> list[Packet]:
    found: list[Packet] = []
    while (packet := net.stacks[0].poll_transmit(net.now)) is not None:
        found.append(packet)
    return found


def udp4(src: bytes, dst: bytes, data: bytes, options: bytes = b"", more: bool = False) -> bytes:
    head = build_ipv4(src, dst, 17, 8 + len(data), options=options, more_fragments=more)
    return head + build_udp(src, dst, 7, 53, data) + data


SYN4 = tcp(Segment(9, 80, 1, 0, ACK, 999, bytes(100)), A4, ip_to_bytes("10.9.0.9"))
SYN6 = tcp(Segment(9, 80, 1, 0, ACK, 999, bytes(100)), A6, ip_to_bytes("fd09::9"))
DATAGRAM = udp4(A4, ip_to_bytes("10.9.0.9"), bytes(100))
PART = udp4(A4, ip_to_bytes("10.9.0.9"), bytes(96), more=True)


@pytest.mark.parametrize(
    ("data", "offloads"),
    [
        (SYN4, (GSO_TCPV6, 10, 20, 16)),
        (SYN6, (GSO_TCPV4, 10, 40, 16)),
        (DATAGRAM, (GSO_TCPV4, 10, 20, 6)),
        (SYN4, (GSO_UDP_L4, 10, 20, 16)),
        (SYN4, (GSO_TCPV4, 0, 20, 16)),
        (SYN4, (GSO_TCPV4, 10, 24, 16)),
        (SYN4, (3, 10, 20, 16)),
        (SYN4[:32] + b"\x10" + SYN4[33:], (GSO_TCPV4, 10, 20, 16)),
        (PART, (GSO_UDP_L4, 10, 0, 0)),
        (PART, (0, 0, 20, 6)),
        (SYN4, (0, 0, 20, 119)),
        (SYN4, (0, 0, 16, 16)),
        (SYN4, (0, 0, -20, 16)),
        (SYN4, (0, 0, 20, 6)),
        (DATAGRAM, (0, 0, 20, 16)),
        (build_ipv4(A4, ip_to_bytes("10.9.0.9"), 17, 4) + bytes(4), (GSO_UDP_L4, 1, 0, 0)),
    ],
)
def test_offloads_that_do_not_fit_the_headers_are_refused(data: bytes, offloads: tuple[int, int, int, int]) -> None:
    """Whoever passes such a packet on would make the next link fail."""
    net = router()
    gso_type, gso_size, start, offset = offloads
    net.stacks[0].receive(0, Packet(data, b"", 0, gso_type, gso_size, start, offset))
    assert drain(net) == []
    assert net.stacks[0].counters.ip.bad_header == 1


@pytest.mark.parametrize(
    ("data", "offloads"),
    [(SYN4, (GSO_TCPV4, 10, 20, 16)), (SYN6, (GSO_TCPV6, 10, 40, 16)), (DATAGRAM, (GSO_UDP_L4, 10, 20, 6))],
)
def test_offloads_that_fit_are_passed_on(data: bytes, offloads: tuple[int, int, int, int]) -> None:
    net = router()
    gso_type, gso_size, start, offset = offloads
    net.stacks[0].receive(0, Packet(data, b"", 0, gso_type, gso_size, start, offset))
    (packet,) = drain(net)
    assert len(segment(packet)) == 10


def test_the_partial_checksum_of_an_encapsulated_packet_is_passed_on() -> None:
    net = router()
    outer = build_ipv4(A4, ip_to_bytes("10.9.0.9"), 4, len(SYN4)) + SYN4
    net.stacks[0].receive(0, Packet(outer, csum_start=40, csum_offset=16))
    (packet,) = drain(net)
    assert (packet.csum_start, packet.csum_offset) == (40, 16)


@pytest.mark.requirement("RFC1122-3.2.1.3-d", "RFC1122-4.1.3.6-a")
def test_no_answer_goes_to_a_broadcast_address_of_another_interface() -> None:
    """RFC 1122 section 3.2.1.3, RFC 1812 section 5.3.7: such a source is invalid wherever it comes in."""
    net = router()
    stack = net.stacks[0]
    stack.listen(0, b"", 80)
    src = ip_to_bytes("10.9.0.255")
    echo = build_icmp(8, 0, 1, b"")
    for data in (
        tcp(Segment(9, 80, 1, 0, SYN, 999), src, B4),
        tcp(Segment(9, 81, 1, 0, SYN, 999), src, B4),
        build_ipv4(src, B4, 1, len(echo)) + echo,
        udp4(src, B4, b""),
    ):
        stack.receive(0, Packet(data))
    assert drain(net) == []
    assert stack.counters.ip.bad_address == 4


@pytest.mark.parametrize("src", ["::ffff:10.0.0.1", "::ffff:127.0.0.1"])
def test_ipv4_mapped_sources_are_refused(src: str) -> None:
    net = Lone()
    endpoint = net.b.bind_udp(b"", 53)
    source = ip_to_bytes(src)
    assert net.give(build_ipv6(source, B6, 17, 8) + build_udp(source, B6, 7, 53, b"")) == []
    assert endpoint.receive_from() is None


@pytest.mark.parametrize(("group", "heard"), [("ff00::7", False), ("ff01::7", False), ("ff02::7", True)])
def test_groups_of_the_interface_alone_are_not_heard_from_outside(group: str, heard: bool) -> None:
    """RFC 4291 section 2.7."""
    net = Lone()
    endpoint = net.b.bind_udp(b"", 53)
    dst = ip_to_bytes(group)
    endpoint.join(0, dst, 0)
    net.take()
    net.give(build_ipv6(A6, dst, 17, 8) + build_udp(A6, dst, 7, 53, b""))
    assert (endpoint.receive_from() is not None) == heard


def test_a_fragment_header_within_fragments_hides_nothing() -> None:
    """RFC 8200 section 4.1: each extension header occurs at most once."""
    net = Lone()
    endpoint = net.b.bind_udp(b"", 53)
    hidden = build_udp(A6, B6, 7, 53, b"data") + b"data"
    for inner in (build_fragment(PROTO_UDP, 0, False, 7), build_fragment(PROTO_UDP, 8, False, 7)):
        body = bytes((PROTO_FRAGMENT, 0, 1, 4, 0, 0, 0, 0)) + inner + hidden
        for offset, end in ((0, 24), (24, len(body))):
            head = build_fragment(PROTO_DESTINATION, offset, end < len(body), 5)
            data = body[offset:end]
            net.give(build_ipv6(A6, B6, PROTO_FRAGMENT, 8 + len(data)) + head + data)
    assert endpoint.receive_from() is None
    assert net.b.counters.icmp.unreachable_sent == 0


def source_routed(dst: bytes, hops: list[bytes]) -> bytes:
    option = build_route(RouteOption(131, 4, hops))
    return udp4(A4, dst, b"", option + b"\0")


@pytest.mark.requirement("RFC1122-3.3.5-b", "RFC1122-3.3.5-i")
@pytest.mark.parametrize("hop", ["10.9.0.255", "10.9.0.0", "255.255.255.255", "0.0.0.0", "169.254.1.1", "224.0.0.9"])
def test_a_source_route_does_not_end_where_no_packet_is_passed_on_to(hop: str) -> None:
    """RFC 1812 section 5.3.5, RFC 2644: a source route is no way around the rules of forwarding."""
    net = router()
    net.stacks[0].receive(0, Packet(source_routed(B4, [ip_to_bytes(hop)])))
    assert [packet.interface for packet in drain(net)] == [0]
    assert net.stacks[0].counters.icmp.unreachable_sent == 1
    assert net.stacks[0].counters.ip.forwarded == 0


@pytest.mark.requirement("RFC1122-3.3.5-b")
def test_a_group_is_no_stop_of_a_source_route() -> None:
    net = router()
    net.stacks[0].receive(0, Packet(source_routed(ip_to_bytes("224.0.0.1"), [ip_to_bytes("10.9.0.9")])))
    net.stacks[0].receive(0, Packet(source_routed(ip_to_bytes("10.0.0.255"), [ip_to_bytes("10.9.0.9")])))
    assert drain(net) == []
    assert net.stacks[0].counters.ip.source_routed == 2


def echo6(size: int) -> list[bytes]:
    message = build_icmpv6(FAR6, B6, 128, 0, 1, bytes(size))
    return fragment_ipv6(build_ipv6(FAR6, B6, 58, len(message)) + message, 1500, 1)


def test_large_answers_do_not_pile_up_while_nothing_is_sent() -> None:
    """Each is many packets; the queue's bound counts them all."""
    net = Lone(StackConfig(output_queue=100))
    for _ in range(50):
        for part in echo6(20_000):
            net.b.receive(0, Packet(part))
    assert 90 <= len(net.b.output) <= 100
    assert net.b.counters.ip.output_queue_full > 30
    # What is there is whole datagrams.
    assert len(net.b.output) % len(echo6(20_000)) == 0


def test_fragments_passed_on_go_whole_or_not_at_all() -> None:
    net = router(second_mtu=600, output_queue=10)
    data = udp4(A4, ip_to_bytes("10.9.0.9"), bytes(1400))
    for _ in range(10):
        net.stacks[0].receive(0, Packet(data))
    assert len(drain(net)) == 9
    assert net.stacks[0].counters.ip.output_queue_full == 7


def too_big(offender: bytes, quote: bytes, mtu: int) -> bytes:
    if len(offender) == 4:
        message = build_icmp(3, 4, mtu, quote[:548])
        return build_ipv4(offender, B4, 1, len(message)) + message
    message = build_icmpv6(offender, B6, 2, 0, mtu, quote[:1232])
    return build_ipv6(offender, B6, 58, len(message)) + message


def test_what_the_host_itself_answers_is_cut_to_the_path_mtu_of_ipv6() -> None:
    """RFC 8200 section 5: routers do not cut."""
    net = Lone()
    ping = net.b.open_ping()
    ping.send(0, FAR6, 1, bytes(1400))
    (request,) = net.take()
    net.give(too_big(ip_to_bytes("fd00::1"), request, 1300))
    ping.send(0, FAR6, 2, bytes(1400))
    assert max(len(packet) for packet in net.take()) <= 1300
    out: list[bytes] = []
    for part in echo6(5000):
        out += net.give(part)
    assert len(out) > 1
    assert max(len(packet) for packet in out) <= 1300


@pytest.mark.parametrize(("own", "far", "router_addr"), [(B4, FAR4, A4), (B6, FAR6, A6)])
def test_only_datagrams_that_were_sent_lower_a_path_mtu(own: bytes, far: bytes, router_addr: bytes) -> None:
    """RFC 8201 section 4, RFC 5927 section 7.2: a stranger who knows an open port cannot lower any path's MTU."""
    net = Lone()
    endpoint = net.b.bind_udp(b"", 53)
    data = bytes(1400)
    length = 8 + len(data)
    head = build_ipv4(own, far, 17, length) if len(own) == 4 else build_ipv6(own, far, 17, length)
    forged = head + build_udp(own, far, 53, 999, data) + data
    net.give(too_big(router_addr, forged, 1300))
    assert net.b.pmtu.get(0, far, 1500) == 1500
    endpoint.send_to(0, data, far, 999)
    net.take()
    net.give(too_big(router_addr, forged, 1300))
    assert net.b.pmtu.get(0, far, 1500) == 1300


def test_destinations_of_an_endpoint_are_remembered_in_bounds() -> None:
    net = Lone()
    endpoint = net.b.bind_udp(b"", 53)
    for number in range(3000):
        endpoint.send_to(0, b"", (0xC0000000 + number).to_bytes(4, "big"), 999)
        net.take()
    assert len(endpoint.recent) == 1024
    assert endpoint.has_sent((0xC0000000 + 2999).to_bytes(4, "big"), 999)
    assert not endpoint.has_sent((0xC0000000).to_bytes(4, "big"), 999)


def test_ipv6_redirects_obey_the_switch_of_the_stack() -> None:
    for accepted in (True, False):
        net = Net()
        stack = net.add(1, StackConfig(accept_redirects=accepted))
        interface = stack.add_interface("e0", 1500, ethernet=True, mac=b"\x02\0\0\0\0\x01")
        stack.add_address(interface, "fd00::2/64")
        stack.add_address(interface, "fe80::2/64")
        stack.add_route("::/0", gateway="fe80::1", interface=interface)
        src = ip_to_bytes("fe80::1")
        message = build_icmpv6(src, B6, 137, 0, 0, ip_to_bytes("fe80::7") + FAR6)
        frame = interface.mac + b"\x02\0\0\0\0\x09\x86\xdd" + build_ipv6(src, B6, 58, len(message), 255) + message
        stack.receive(0, Packet(frame))
        assert bool(stack.routes.redirects) == accepted


def test_queries_from_afar_are_not_answered() -> None:
    """RFC 2236 section 2, RFC 3810 section 6.2: on the link they have a TTL of 1."""
    net = Lone()
    net.b.add_address(net.interface, "fe80::2/64")
    endpoint = net.b.bind_udp()
    endpoint.join(0, ip_to_bytes("239.1.2.3"), 0)
    endpoint.join(0, ip_to_bytes("ff05::1234"), 0)
    net.pass_time(20 * SECOND)
    body = bytes((0x11, 10, 0, 0)) + bytes(4)
    query = body[:2] + checksum(body).to_bytes(2, "big") + body[4:]
    src = ip_to_bytes("fe80::99")
    message = build_icmpv6(src, B6, 130, 0, 1000 << 16, bytes(16))
    for ttl, answers in ((64, 0), (1, 1)):
        net.give(build_ipv4(A4, B4, 2, 8, ttl) + query)
        assert (len(net.pass_time(20 * SECOND)) > 0) == bool(answers)
        net.give(build_ipv6(src, B6, 58, len(message), ttl) + message)
        assert (len(net.pass_time(20 * SECOND)) > 0) == bool(answers)


def test_queries_leave_a_bounded_number_of_deadlines() -> None:
    net = Lone()
    net.b.add_address(net.interface, "fe80::2/64")
    endpoint = net.b.bind_udp()
    one, other = ip_to_bytes("ff05::1"), ip_to_bytes("ff05::2")
    endpoint.join(0, one, 0)
    endpoint.join(0, other, 0)
    net.pass_time(20 * SECOND)
    src = ip_to_bytes("fe80::99")
    # The first stays due for long, and what is out of date of the other lies behind it.
    for group, delay in [(one, 20_000)] + [(other, 65_535), (other, 1)] * 1000:
        message = build_icmpv6(src, B6, 130, 0, delay << 16, group)
        net.give(build_ipv6(src, B6, 58, len(message), 1) + message)
        if delay == 1:
            net.pass_time(SECOND // 500)
    assert net.b.groups is not None
    assert len(net.b.groups.heap) < 100


@pytest.mark.requirement("RFC1122-3.2.1.7-a")
def test_a_ttl_of_0_never_leaves_the_host() -> None:
    """RFC 1122 section 3.2.1.7: "A host MUST NOT send a datagram with a Time-to-Live (TTL) value of zero."."""
    net = Lone()
    endpoint = net.b.bind_udp()
    endpoint.ttl = 0
    with pytest.raises(OSError, match="Invalid") as caught:
        endpoint.send_to(0, b"", A4, 53)
    assert caught.value.errno == errno.EINVAL
    endpoint.ttl = -1
    endpoint.multicast_ttl = 0
    endpoint.send_to(0, b"", ip_to_bytes("224.0.0.9"), 53)
    assert net.take() == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ttl", 256),
        ("ttl", -2),
        ("tos", 256),
        ("multicast_ttl", 256),
        ("options", bytes(44)),
        ("options", b"\x07\x01"),
    ],
)
def test_choices_out_of_bounds_are_told_to_who_sends(name: str, value: int | bytes) -> None:
    """And not to whoever polls the stack, long after."""
    net = Lone()
    endpoint = net.b.bind_udp()
    setattr(endpoint, name, value)
    with pytest.raises(OSError, match="Invalid"):
        endpoint.send_to(0, b"", A4, 53)
    with pytest.raises(OSError, match="Invalid"):
        net.b.open_ping().send(0, A4, 1, tos=256)
    assert net.take() == []


@pytest.mark.requirement("RFC1122-3.2.2.6-h", "RFC1122-3.2.2.6-j")
def test_an_echo_reply_records_this_host() -> None:
    """RFC 1122 section 3.2.2.6: the options "SHOULD be updated to include the current host"."""
    net = Lone()
    net.now = 5 * SECOND
    times = TimestampOption(0, 5, 0, [(b"", 0), (b"", 0)])
    options = build_route(RouteOption(7, 4, [bytes(4), bytes(4)])) + build_timestamp(times)
    for dst, config in ((B4, StackConfig()), (ip_to_bytes("10.0.0.255"), StackConfig(echo_broadcast=True))):
        net = Lone(config)
        net.now = 5 * SECOND
        message = build_icmp(8, 0, 1, b"")
        (answer,) = net.give(build_ipv4(A4, dst, 1, len(message), options=options) + message)
        recorded = build_route(RouteOption(7, 8, [B4, bytes(4)]))
        stamped = build_timestamp(TimestampOption(0, 9, 0, [(b"", 0x80000000 | 5000), (b"", 0)]))
        assert parse_ipv4(answer).options[: len(options)] == recorded + stamped


@pytest.mark.requirement("RFC1122-3.2.1.3-b")
def test_no_packet_has_a_source_that_was_taken_away() -> None:
    """RFC 1122 section 3.2.1.3: the source "MUST be one of its own IP addresses"."""
    net = Lone()
    net.b.add_address(net.interface, "10.0.0.7/24")
    client = net.b.connect(0, A4, 80, local=ip_to_bytes("10.0.0.7"))
    (syn,) = net.take()
    seg = segment_of(syn)
    answer = Segment(80, seg.src_port, 1000, seg.seq + 1 & 0xFFFFFFFF, SYN | ACK, 65535)
    net.give(tcp(answer, A4, client.local_addr))
    assert client.state() == "ESTABLISHED"
    net.b.remove_address(net.interface, "10.0.0.7/24")
    client.send(net.now, b"data")
    assert net.take() == []
    assert net.pass_time(2 * SECOND) == []
    assert client.soft_error == errno.ENETUNREACH
    # It comes back, and the connection goes on.
    net.b.add_address(net.interface, "10.0.0.7/24")
    out = net.pass_time(60 * SECOND)
    assert segment_of(out[0]).payload == b"data"


@pytest.mark.requirement("RFC1122-3.2.2.3-c")
def test_source_quench_reaches_no_datagram_endpoint() -> None:
    """RFC 6633 section 5."""
    net = Lone()
    endpoint = net.b.bind_udp()
    ping = net.b.open_ping()
    endpoint.send_to(0, b"data", FAR4, 53)
    ping.send(0, FAR4, 1)
    for quoted in net.take():
        message = build_icmp(4, 0, 0, quoted)
        net.give(build_ipv4(A4, B4, 1, len(message)) + message)
    assert net.b.counters.icmp.source_quench_received == 2
    assert endpoint.poll_error() is None
    assert ping.poll_reply() is None
    assert net.b.poll_endpoint() is None


@pytest.mark.requirement("RFC1122-3.2.1.7-b")
@pytest.mark.parametrize("ttl", [0, 1])
def test_a_packet_for_the_host_may_have_a_ttl_that_ran_out(ttl: int) -> None:
    """RFC 1122 section 3.2.1.7: "MUST NOT discard a datagram just because it was received with TTL less than 2"."""
    net = Lone()
    endpoint = net.b.bind_udp(b"", 53)
    net.give(build_ipv4(A4, B4, 17, 8, ttl) + build_udp(A4, B4, 7, 53, b""))
    heard = endpoint.receive_from()
    assert heard is not None
    assert heard.ttl == ttl


@pytest.mark.requirement("RFC1122-3.2.2.7-a", "RFC1122-3.2.2.9-d", "RFC1122-3.2.2.9-i", "RFC1122-3.2.2.9-j")
@pytest.mark.parametrize("type_", [15, 16, 17, 18])
def test_information_and_address_mask_messages_are_ignored(type_: int) -> None:
    """RFC 1122 sections 3.2.2.7 and 3.2.2.9; RFC 6918 deprecates both."""
    net = Lone()
    message = build_icmp(type_, 0, 0x10001, bytes(4))
    assert net.give(build_ipv4(A4, B4, 1, len(message)) + message) == []
    assert net.b.counters.icmp.unknown_type == 1


@pytest.mark.requirement("RFC1122-3.2.2.2-a")
def test_no_redirect_is_sent() -> None:
    """RFC 1122 section 3.2.2.2: "A host SHOULD NOT send an ICMP Redirect message"; ours do not as routers either."""
    net = router()
    dst = ip_to_bytes("10.0.0.9")
    net.stacks[0].receive(0, Packet(udp4(A4, dst, b"back by the way it came")))
    (packet,) = drain(net)
    assert (packet.interface, packet.head[16:20]) == (0, dst)


@pytest.mark.requirement("RFC1122-3.2.1.3-e")
def test_a_broadcast_address_is_never_a_source() -> None:
    """RFC 1122 section 3.2.1.3."""
    net = Lone()
    for own in ("10.0.0.255", "255.255.255.255"):
        endpoint = net.b.bind_udp(ip_to_bytes(own), 53)
        endpoint.send_to(0, b"", A4, 53)
        (sent,) = net.take()
        assert sent[12:16] == B4
        with pytest.raises(OSError, match="assign") as caught:
            net.b.connect(0, A4, 80, local=ip_to_bytes(own))
        assert caught.value.errno == errno.EADDRNOTAVAIL
