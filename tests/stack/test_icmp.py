"""ICMP through the stack: echo, errors to connections, ping and traceroute."""

from __future__ import annotations

import errno

import pytest
from tests.stack.net import A4, A6, B4, B6, Lone, Net, Pair, segment_of, tcp

from plankroad.endpoint import EVENT_READABLE, EVENT_SOFT_ERROR
from plankroad.stack.config import StackConfig
from plankroad.stack.ping import ECHO_REPLY
from plankroad.tcp.config import TcpConfig
from plankroad.tcp.connection import Connection
from plankroad.tcp.icmp import HOST_UNREACHABLE, PORT_UNREACHABLE, TIME_EXCEEDED
from plankroad.units import SECOND
from plankroad.wire.address import ip_to_bytes
from plankroad.wire.icmp import build_icmp, parse_icmp
from plankroad.wire.icmpv6 import build_icmpv6
from plankroad.wire.ipv4 import build_ipv4, parse_ipv4
from plankroad.wire.ipv4_options import RouteOption, build_route
from plankroad.wire.ipv6 import build_ipv6
from plankroad.wire.packet import Packet
from plankroad.wire.segment import ACK, SYN, Segment
from plankroad.wire.udp import build_udp, udp_checksum_ok

ROUTER4 = ip_to_bytes("10.0.0.254")
ROUTER6 = ip_to_bytes("fd00::fe")
FAR4 = ip_to_bytes("192.0.2.1")
FAR6 = ip_to_bytes("2001:db8::1")


def icmp4(src: bytes, dst: bytes, type_: int, code: int, rest: int, body: bytes, options: bytes = b"") -> bytes:
    message = build_icmp(type_, code, rest, body)
    return build_ipv4(src, dst, 1, len(message), options=options) + message


def icmp6(src: bytes, dst: bytes, type_: int, code: int, rest: int, body: bytes) -> bytes:
    message = build_icmpv6(src, dst, type_, code, rest, body)
    return build_ipv6(src, dst, 58, len(message)) + message


def connecting(net: Lone, remote: bytes, config: TcpConfig | None = None) -> tuple[Connection, bytes]:
    """A connection in SYN_SENT, and its SYN."""
    connection = net.b.connect(net.now, remote, 80, config=config)
    (syn,) = net.take()
    return connection, syn


def established(net: Lone, remote: bytes) -> tuple[Connection, bytes]:
    """A connection with data in flight, and the packet that carries it."""
    connection, syn = connecting(net, remote)
    seg = segment_of(syn)
    answer = Segment(80, seg.src_port, 1000, seg.seq + 1 & 0xFFFFFFFF, SYN | ACK, 65535)
    answer.mss = 1460
    net.give(tcp(answer, remote, connection.local_addr))
    assert connection.state() == "ESTABLISHED"
    connection.send(net.now, bytes(1400))
    (data,) = net.take()
    return connection, data


@pytest.mark.requirement("RFC1122-3.1-a", "RFC1122-3.2.2.6-a", "RFC1122-3.2.2.6-f")
def test_echo_requests_are_answered_with_the_same_data() -> None:
    """RFC 1122 section 3.2.2.6; RFC 4443 section 4.2."""
    net = Lone()
    body = bytes(range(200))
    (answer,) = net.give(icmp4(A4, B4, 8, 0, 0x12340007, body))
    message = parse_icmp(answer, 20, len(answer))
    assert (answer[12:16], answer[16:20]) == (B4, A4)
    assert (message.type, message.code, message.rest, message.body) == (0, 0, 0x12340007, body)
    (answer,) = net.give(icmp6(A6, B6, 128, 0, 0x12340007, body))
    assert answer[8:40] == B6 + A6
    assert (answer[40], answer[44:]) == (129, b"\x12\x34\x00\x07" + body)


@pytest.mark.requirement("RFC1122-3.2.2.6-f")
@pytest.mark.parametrize(("src", "dst"), [(A4, B4), (A6, B6)])
def test_large_echoes_go_in_fragments_both_ways(src: bytes, dst: bytes) -> None:
    net = Pair()
    ping = net.a.open_ping()
    data = bytes(range(250)) * 36
    ping.send(0, dst, 1, data)
    net.run()
    reply = ping.poll_reply()
    assert reply is not None
    assert (reply.kind, reply.addr, reply.data) == (ECHO_REPLY, dst, data)
    assert net.b.counters.ip.reassembled == net.a.counters.ip.reassembled == 1


@pytest.mark.requirement("RFC1122-3.2.2.6-c", "RFC1122-3.2.2.6-d")
def test_echo_to_groups_by_configuration() -> None:
    for broadcast, multicast in ((False, True), (True, False)):
        net = Lone(StackConfig(echo_broadcast=broadcast, echo_multicast=multicast))
        out = net.give(icmp4(A4, ip_to_bytes("10.0.0.255"), 8, 0, 1, b""))
        assert [packet[12:16] for packet in out] == ([B4] if broadcast else [])
        out = net.give(icmp6(A6, ip_to_bytes("ff02::1"), 128, 0, 1, b""))
        assert [packet[8:24] for packet in out] == ([B6] if multicast else [])
    net = Lone(StackConfig(echo=False))
    assert net.give(icmp4(A4, B4, 8, 0, 1, b"")) == net.give(icmp6(A6, B6, 128, 0, 1, b"")) == []
    assert net.b.counters.icmp.echo_requests_ignored == 2


@pytest.mark.requirement("RFC1122-3.2.2.6-c", "RFC1122-3.2.2.6-d")
@pytest.mark.parametrize("group", ["10.0.0.255", "255.255.255.255", "224.0.0.1"])
def test_echo_to_groups_is_not_answered_by_default(group: str) -> None:
    net = Lone()
    assert net.give(icmp4(A4, ip_to_bytes(group), 8, 0, 1, b"")) == []
    assert net.b.counters.icmp.echo_requests_ignored == 1


@pytest.mark.requirement("RFC1122-3.2.2.6-h", "RFC1122-3.2.2.6-i")
def test_echo_reflects_record_route_and_reverses_a_source_route() -> None:
    """RFC 1122 section 3.2.2.6."""
    net = Lone(StackConfig(source_route=True))
    record = build_route(RouteOption(7, 8, [ROUTER4, bytes(4)])) + b"\x01"
    (answer,) = net.give(icmp4(A4, B4, 8, 0, 1, b"", record))
    assert parse_ipv4(answer).options[:11] == build_route(RouteOption(7, 12, [ROUTER4, B4]))
    source = build_route(RouteOption(131, 12, [ip_to_bytes("10.0.0.7"), ROUTER4])) + b"\x01"
    (answer,) = net.give(icmp4(A4, B4, 8, 0, 1, b"", source))
    header = parse_ipv4(answer)
    assert header.dst == ROUTER4
    assert header.options == build_route(RouteOption(131, 4, [ip_to_bytes("10.0.0.7"), A4])) + b"\x00"


@pytest.mark.requirement("RFC1122-3.2.2-a")
def test_bad_and_unknown_messages_are_dropped_in_silence() -> None:
    """RFC 1122 section 3.2.2."""
    net = Lone()
    bad = bytearray(icmp4(A4, B4, 8, 0, 1, b"abc"))
    bad[-1] ^= 1
    assert net.give(bytes(bad)) == []
    assert net.give(build_ipv4(A4, B4, 1, 4) + b"\x08\0\0\0") == []
    assert net.give(icmp4(A4, B4, 77, 0, 1, b"abc")) == []
    assert net.give(icmp6(A6, B6, 200, 0, 1, b"abc")) == []
    icmp = net.b.counters.icmp
    assert (icmp.bad_checksum, icmp.bad_message, icmp.unknown_type) == (1, 1, 2)


@pytest.mark.requirement("RFC1122-3.2.2.8-b")
def test_every_timestamp_request_is_answered_as_soon_as_it_comes() -> None:
    """RFC 1122 section 3.2.2.8: "designed for minimum variability in delay": no limit of rate holds answers back."""
    net = Lone(StackConfig(icmp_timestamp=True))
    stamps: list[int] = []
    for number in range(100):
        net.now += SECOND // 1000
        (answer,) = net.give(icmp4(A4, B4, 13, 0, number, bytes(12)))
        stamps.append(int.from_bytes(answer[32:36], "big") & 0x7FFFFFFF)
    assert stamps == list(range(1, 101))


@pytest.mark.requirement("RFC1122-3.2.2.8-a", "RFC1122-3.2.2.8-g")
def test_timestamps_are_answered_where_the_configuration_says_so() -> None:
    """RFC 1122 section 3.2.2.8."""
    assert Lone().give(icmp4(A4, B4, 13, 0, 1, bytes(12))) == []
    net = Lone(StackConfig(icmp_timestamp=True))
    net.now = 3 * SECOND
    (answer,) = net.give(icmp4(A4, B4, 13, 0, 1, b"\0\0\0\x05" + bytes(8)))
    stamp = (3000 | 1 << 31).to_bytes(4, "big")
    assert (answer[20], answer[28:]) == (14, b"\0\0\0\x05" + stamp + stamp)


@pytest.mark.requirement("RFC1122-3.2.2.8-h")
def test_timestamps_tell_the_time_of_day_to_who_knows_it() -> None:
    day = 24 * 3600 * SECOND
    for midnight, now, told in ((5 * SECOND, 7 * SECOND, 2000), (20 * SECOND, 7 * SECOND, 86_400_000 - 13_000)):
        net = Lone(StackConfig(icmp_timestamp=True, midnight=midnight))
        net.now = now + 3 * day
        (answer,) = net.give(icmp4(A4, B4, 13, 0, 1, bytes(12)))
        assert answer[32:36] == answer[36:40] == told.to_bytes(4, "big")


@pytest.mark.requirement("RFC1122-3.2.2.8-c", "RFC1122-3.2.2.8-d")
@pytest.mark.parametrize("group", ["10.0.0.255", "255.255.255.255", "224.0.0.1"])
def test_timestamp_requests_to_groups_are_dropped(group: str) -> None:
    net = Lone(StackConfig(icmp_timestamp=True))
    assert net.give(icmp4(A4, ip_to_bytes(group), 13, 0, 1, bytes(12))) == []


@pytest.mark.requirement("RFC1122-3.3.4.2-a", "RFC1122-3.2.2.6-e", "RFC1122-3.2.2.8-e")
def test_echo_and_timestamp_replies_come_from_the_address_that_was_asked() -> None:
    """RFC 1122 section 3.2.2.6: "MUST be the same as the specific-destination address"."""
    net = Lone(StackConfig(icmp_timestamp=True))
    net.b.add_address(net.interface, "10.0.0.7/24")
    for asked in (B4, ip_to_bytes("10.0.0.7")):
        for type_ in (8, 13):
            (answer,) = net.give(icmp4(A4, asked, type_, 0, 1, bytes(12)))
            assert answer[12:16] == asked


@pytest.mark.requirement("RFC1122-3.2.2.6-j", "RFC1122-3.2.2.8-f")
def test_timestamp_replies_reflect_record_route_and_reverse_a_source_route() -> None:
    net = Lone(StackConfig(icmp_timestamp=True, source_route=True))
    record = build_route(RouteOption(7, 8, [ROUTER4, bytes(4)])) + b"\x01"
    (answer,) = net.give(icmp4(A4, B4, 13, 0, 1, bytes(12), record))
    assert parse_ipv4(answer).options[:11] == build_route(RouteOption(7, 12, [ROUTER4, B4]))
    source = build_route(RouteOption(131, 12, [ip_to_bytes("10.0.0.7"), ROUTER4])) + b"\x01"
    (answer,) = net.give(icmp4(A4, B4, 13, 0, 1, bytes(12), source))
    header = parse_ipv4(answer)
    assert header.dst == ROUTER4
    assert header.options == build_route(RouteOption(131, 4, [ip_to_bytes("10.0.0.7"), A4])) + b"\x00"


@pytest.mark.requirement("MUST-54", "SHLD-26", "RFC1122-3.2.2-d", "RFC1122-3.2.2.1-c")
@pytest.mark.parametrize(("code", "error"), [(2, errno.ENOPROTOOPT), (3, errno.ECONNREFUSED)])
def test_a_hard_error_ends_an_attempt_to_connect(code: int, error: int) -> None:
    """SHLD-26."""
    net = Lone()
    connection, syn = connecting(net, FAR4)
    net.give(icmp4(ROUTER4, B4, 3, code, 0, syn[:28]))
    assert connection.error == error
    assert not net.b.connections


@pytest.mark.requirement(
    "MUST-47",
    "MUST-54",
    "MUST-56",
    "SHLD-25",
    "RFC1122-3.2.2.1-b",
    "RFC1122-3.2.2.1-c",
    "RFC1122-3.2.2.1-d",
    "RFC1122-3.2.2.4-a",
    "RFC1122-3.2.2.5-b",
    "RFC1122-3.4-e",
)
@pytest.mark.parametrize(
    ("type_", "code", "number"),
    [
        (3, 0, errno.ENETUNREACH),
        (3, 1, errno.EHOSTUNREACH),
        (3, 5, errno.EOPNOTSUPP),
        (3, 13, errno.EHOSTUNREACH),
        (11, 0, errno.EHOSTUNREACH),
        (12, 0, errno.EPROTO),
    ],
)
def test_soft_errors_are_told_and_end_nothing(type_: int, code: int, number: int) -> None:
    """MUST-54, MUST-56, SHLD-25."""
    net = Lone()
    connection, data = established(net, FAR4)
    connection.poll_events()
    net.give(icmp4(ROUTER4, B4, type_, code, 0, data[:28]))
    assert connection.state() == "ESTABLISHED"
    assert connection.soft_error == number
    assert connection.poll_events() == EVENT_SOFT_ERROR


@pytest.mark.parametrize(
    ("type_", "code", "number"),
    [
        (1, 0, errno.ENETUNREACH),
        (1, 1, errno.EHOSTUNREACH),
        (1, 3, errno.EHOSTUNREACH),
        (1, 4, errno.ECONNREFUSED),
        (3, 0, errno.EHOSTUNREACH),
        (4, 0, errno.EPROTO),
        (4, 1, errno.ENOPROTOOPT),
        (100, 0, errno.EHOSTUNREACH),
    ],
)
def test_icmpv6_errors_are_told(type_: int, code: int, number: int) -> None:
    net = Lone()
    connection, data = established(net, FAR6)
    net.give(icmp6(ROUTER6, B6, type_, code, 0, data[:60]))
    assert connection.state() == "ESTABLISHED"
    assert connection.soft_error == number


@pytest.mark.requirement("MUST-54", "RFC1122-3.2.2-d")
@pytest.mark.parametrize("far", [FAR4, FAR6])
def test_an_error_reaches_the_connection_whose_segment_it_quotes_and_no_other(far: bytes) -> None:
    net = Lone()
    pairs = [established(net, far) for _ in range(3)]
    quote = pairs[1][1]
    if far == FAR4:
        net.give(icmp4(ROUTER4, B4, 3, 1, 0, quote[:28]))
    else:
        net.give(icmp6(ROUTER6, B6, 1, 3, 0, quote[:60]))
    assert [connection.soft_error for connection, _ in pairs] == [0, errno.EHOSTUNREACH, 0]


@pytest.mark.requirement("MUST-55", "RFC1122-3.2.2.3-b", "RFC1122-3.2.2.3-c")
def test_source_quench_is_dropped_in_silence() -> None:
    """MUST-55."""
    net = Lone()
    connection, data = established(net, FAR4)
    before = connection.tcb.cc.cwnd
    net.give(icmp4(ROUTER4, B4, 4, 0, 0, data[:28]))
    assert (connection.soft_error, connection.tcb.cc.cwnd) == (0, before)
    assert net.b.counters.tcp.source_quench_ignored == 1


@pytest.mark.requirement("icmp-checks")
def test_an_error_whose_sequence_number_is_not_in_flight_is_not_believed() -> None:
    """RFC 5927 section 4.1."""
    net = Lone()
    connection, data = established(net, FAR4)
    forged = data[:24] + (segment_of(data).seq - 1 & 0xFFFFFFFF).to_bytes(4, "big") + data[28:]
    for type_, code, rest in ((3, 1, 0), (3, 4, 700)):
        net.give(icmp4(ROUTER4, B4, type_, code, rest, forged[:28]))
    assert connection.soft_error == 0
    assert net.b.pmtu.get(0, FAR4, 1500) == 1500
    assert net.b.counters.tcp.icmp_rejected == 2


@pytest.mark.parametrize(("mtu", "result"), [(1000, 1000), (552, 552), (0, 1006), (1500, 1500), (9000, 1500)])
def test_fragmentation_needed_lowers_the_path_mtu_and_sends_again(mtu: int, result: int) -> None:
    """RFC 1191; section 7.1 for routers that do not tell."""
    net = Lone()
    connection, data = established(net, FAR4)
    assert len(data) == 1440
    out = net.give(icmp4(ROUTER4, B4, 3, 4, mtu, data[:28]))
    assert net.b.pmtu.get(0, FAR4, 1500) == result
    if result == 1500:
        assert out == []
    else:
        assert max(len(packet) for packet in out) == result
        assert b"".join(segment_of(packet).payload for packet in out) == bytes(1400)
        assert connection.tcb.snd_mss == result - 40


def test_a_path_mtu_below_the_floor_lets_routers_fragment_instead() -> None:
    net = Lone()
    connection, data = established(net, FAR4)
    out = net.give(icmp4(ROUTER4, B4, 3, 4, 100, data[:28]))
    assert connection.tcb.snd_mss == 552 - 40
    assert max(len(packet) for packet in out) == 552
    assert all(packet[6] & 0x40 == 0 for packet in out)
    assert len({packet[4:6] for packet in out}) == len(out)


def test_packet_too_big_below_1280_is_not_believed() -> None:
    """RFC 8201 section 4."""
    net = Lone()
    connection, data = established(net, FAR6)
    assert net.give(icmp6(ROUTER6, B6, 2, 0, 1279, data[:60])) == []
    assert connection.tcb.snd_mss == 1440
    out = net.give(icmp6(ROUTER6, B6, 2, 0, 1280, data[:60]))
    assert connection.tcb.snd_mss == 1220
    assert max(len(packet) for packet in out) == 1280


def test_other_connections_to_the_destination_learn_before_they_send() -> None:
    net = Lone()
    _, data = established(net, FAR4)
    other, _ = established(net, FAR4)
    elsewhere, _ = established(net, ip_to_bytes("192.0.2.2"))
    net.give(icmp4(ROUTER4, B4, 3, 4, 1000, data[:28]))
    for connection, size in ((other, 1000), (elsewhere, 1500)):
        connection.send(net.now, bytes(5000))
        assert max(len(packet) for packet in net.take()) == size


@pytest.mark.requirement("RFC1122-3.2.2.4-a")
@pytest.mark.parametrize(("network", "dst"), [("10.0.0", "10.9.0.1"), ("fd00:", "fd09::1")])
def test_traceroute_hears_each_router_by_its_address(network: str, dst: str) -> None:
    v6 = ":" in network
    net = Net()
    router = StackConfig(forwarding=True)
    a, r1, r2, b = net.add(1), net.add(2, router), net.add(3, router), net.add(4)
    prefixes = ["fd01::", "fd02::", "fd09::"] if v6 else ["10.1.0.", "10.2.0.", "10.9.0."]
    size = "/64" if v6 else "/24"
    chain = [a, r1, r2, b]
    for number, prefix in enumerate(prefixes):
        last = number == 2
        left, right = (f"{prefix}fe", f"{prefix}1") if v6 and last else (f"{prefix}1", f"{prefix}2")
        if last and not v6:
            left, right = f"{prefix}254", f"{prefix}1"
        net.join(chain[number], [left + size], chain[number + 1], [right + size])
    everything = "::/0" if v6 else "0.0.0.0/0"
    for stack, hop in ((a, 0), (r1, 1)):
        stack.add_route(everything, gateway=f"{prefixes[hop]}2")
    b.add_route(everything, gateway=f"{prefixes[2]}fe" if v6 else f"{prefixes[2]}254")
    r2.add_route(everything, gateway=f"{prefixes[1]}1")
    ping = a.open_ping()
    found = []
    for ttl in (1, 2, 3):
        ping.send(net.now, ip_to_bytes(dst), ttl, b"probe", ttl=ttl)
        net.run(SECOND)
        reply = ping.poll_reply()
        assert reply is not None
        assert reply.seq == ttl
        found.append((reply.kind, reply.addr))
    assert found == [
        (TIME_EXCEEDED, ip_to_bytes(f"{prefixes[0]}2")),
        (TIME_EXCEEDED, ip_to_bytes(f"{prefixes[1]}2")),
        (ECHO_REPLY, ip_to_bytes(dst)),
    ]
    # And by UDP, as the classic traceroute does.
    udp = a.bind_udp()
    for ttl in (1, 2, 3):
        udp.ttl = ttl
        udp.send_to(net.now, b"probe", ip_to_bytes(dst), 33433 + ttl)
        net.run(SECOND)
    errors = [udp.poll_error() for _ in range(3)]
    assert [error.kind for error in errors if error] == [TIME_EXCEEDED, TIME_EXCEEDED, PORT_UNREACHABLE]
    assert [error.offender for error in errors if error] == [addr for _, addr in found]


@pytest.mark.requirement("RFC1122-3.2.2.6-a", "RFC1122-3.2.2.6-b", "RFC1122-3.2.2.6-g")
def test_ping_replies_tell_the_round_trip_and_duplicates() -> None:
    net = Pair()
    net.wire.filter = lambda packet: [packet, packet]
    ping = net.a.open_ping(77)
    ping.send(5, B4, 1, b"data", ttl=9, tos=0x20)
    net.now = 25
    net.settle()
    replies = [ping.poll_reply() for _ in range(4)]
    assert [(r.duplicate, r.received_at - r.sent_at, r.data) for r in replies if r] == [
        (number > 0, 20, b"data") for number in range(4)
    ]
    assert ping.poll_events() == EVENT_READABLE
    first = net.wire.sent_by(net.a)[0]
    assert (first[8], first[1], first[24:26]) == (9, 0x20, b"\0\x4d")


def test_ping_refuses_what_it_cannot_do() -> None:
    net = Lone()
    ping = net.b.open_ping(5)
    with pytest.raises(OSError, match="in use"):
        net.b.open_ping(5)
    cases = [
        (ip_to_bytes("0.0.0.0"), b"", False, errno.EINVAL),
        (A4, bytes(65508), False, errno.EMSGSIZE),
        (A4, bytes(1473), True, errno.EMSGSIZE),
    ]
    for dst, data, dont_fragment, number in cases:
        with pytest.raises(OSError) as caught:  # noqa: PT011 - the errno is the point
            ping.send(0, dst, 1, data, dont_fragment=dont_fragment)
        assert caught.value.errno == number
    with pytest.raises(OSError, match="assign"):
        ping.send(0, A4, 1, local=A4)
    ping.close(0)
    with pytest.raises(OSError, match="descriptor"):
        ping.send(0, A4, 1)
    net.take()
    assert net.b.is_idle()


def test_stray_replies_reach_nobody_and_kept_ones_are_bounded() -> None:
    net = Lone(StackConfig(ping_queue=10))
    ping = net.b.open_ping(5)
    net.give(icmp4(A4, B4, 0, 0, 5 << 16 | 9, b""))
    assert ping.poll_reply() is None
    for seq in range(30):
        ping.send(0, A4, seq)
        net.give(icmp4(A4, B4, 0, 0, 5 << 16 | seq, b""))
    assert len(ping.queue) == len(ping.requests) == 10
    assert ping.dropped == 20


@pytest.mark.requirement("RFC1122-3.3.8-a", "RFC1122-3.2.2.1-a")
def test_an_unknown_protocol_is_told() -> None:
    """RFC 1122 section 3.2.2.1; RFC 8200 section 4."""
    net = Lone()
    (answer,) = net.give(build_ipv4(A4, B4, 99, 4) + b"abcd")
    assert answer[20:22] == b"\x03\x02"
    (answer,) = net.give(build_ipv6(A6, B6, 99, 4) + b"abcd")
    assert (answer[40:42], answer[44:48]) == (b"\x04\x01", (6).to_bytes(4, "big"))
    assert net.give(build_ipv6(A6, B6, 59, 0)) == []


@pytest.mark.requirement("RFC1122-3.2.2.5-a")
def test_a_wrong_option_is_told_with_a_pointer() -> None:
    """RFC 1122 section 3.2.2.5."""
    net = Lone()
    (answer,) = net.give(build_ipv4(A4, B4, 17, 8, options=b"\x01\x07\x01\x00") + bytes(8))
    assert (answer[20:22], answer[24]) == (b"\x0c\x00", 22)
    assert net.b.counters.ip.bad_option == 1


@pytest.mark.parametrize(
    ("kind", "group", "told"),
    [
        (0x1E, False, None),
        (0x5E, False, []),
        (0x9E, False, 42),
        (0x9E, True, 42),
        (0xDE, False, 42),
        (0xDE, True, []),
    ],
)
def test_unknown_ipv6_options_do_what_their_type_says(kind: int, group: bool, told: int | list[int] | None) -> None:
    """RFC 8200 section 4.2."""
    net = Lone()
    dst = ip_to_bytes("ff02::1") if group else B6
    echo = build_icmpv6(A6, dst, 128, 0, 1, b"")
    for first in (0, 60):
        options = bytes([58, 0, kind, 4]) + bytes(4)
        out = net.give(build_ipv6(A6, dst, first, 16) + options + echo)
        if told is None:
            assert [packet[40] for packet in out] == [129]
        elif told == []:
            assert out == []
        else:
            assert [(p[40:42], int.from_bytes(p[44:48], "big")) for p in out] == [(b"\x04\x02", told)]


def test_a_routing_header_with_segments_left_is_refused() -> None:
    """RFC 5095, RFC 8200 section 4.4."""
    net = Lone()
    echo = build_icmpv6(A6, B6, 128, 0, 1, b"")
    for left in (0, 1):
        routing = bytes([58, 2, 0, left]) + bytes(4) + A6
        (out,) = net.give(build_ipv6(A6, B6, 43, 24 + len(echo)) + routing + echo)
        if left:
            assert (out[40:42], out[44:48]) == (b"\x04\x00", (42).to_bytes(4, "big"))
        else:
            assert out[40] == 129


@pytest.mark.requirement("RFC1122-3.3.2-e")
def test_reassembly_that_times_out_is_told() -> None:
    """RFC 1122 section 3.3.2; RFC 8200 section 4.5."""
    net = Lone()
    first = build_ipv4(A4, B4, 17, 16, ident=5, more_fragments=True) + bytes(16)
    assert net.give(first) == []
    first6 = build_ipv6(A6, B6, 44, 24) + bytes([17, 0, 0, 1, 0, 0, 0, 9]) + bytes(16)
    assert net.give(first6) == []
    assert net.b.leftovers()["fragments"] == 2
    (told,) = net.pass_time(31 * SECOND)
    assert told[20:22] == b"\x0b\x01"
    assert told[28:] == first
    (told,) = net.pass_time(31 * SECOND)
    assert (told[40:42], told[48:]) == (b"\x03\x01", first6)
    assert net.b.is_idle()


@pytest.mark.requirement("RFC1122-3.3.2-f")
def test_reassembly_may_time_out_after_the_sixty_seconds_of_the_rfc() -> None:
    net = Lone(StackConfig(ipv4_reassembly=60 * SECOND))
    first = build_ipv4(A4, B4, 17, 16, ident=5, more_fragments=True) + bytes(16)
    assert net.give(first) == []
    assert net.pass_time(59 * SECOND) == []
    (told,) = net.pass_time(2 * SECOND)
    assert told[20:22] == b"\x0b\x01"


@pytest.mark.requirement("RFC1122-3.2.2.2-b")
def test_redirects_are_followed_by_hosts() -> None:
    """RFC 1122 section 3.2.2.2."""
    better = ip_to_bytes("10.0.0.253")
    for config, followed in ((StackConfig(), True), (StackConfig(accept_redirects=False), False)):
        net = Lone(config)
        connection, data = established(net, FAR4)
        net.give(icmp4(A4, B4, 5, 1, int.from_bytes(better, "big"), data[:28]))
        route = net.b.routes.lookup(FAR4)
        assert route is not None
        assert route.gateway == (better if followed else A4)
        connection.send(net.now, b"x")
        net.take()
        path = net.b.paths[connection]
        assert path.next_hop == route.gateway
        # Only the router in use may say so.
        net.give(icmp4(ROUTER4, B4, 5, 1, int.from_bytes(A4, "big"), data[:28]))
        assert net.b.routes.lookup(FAR4) is route


def test_errors_are_not_answered_by_errors() -> None:
    """RFC 1122 section 3.2.2, RFC 4443 section 2.4 (e)."""
    net = Lone()
    stray = tcp(Segment(5, 6, 7, 8, ACK, 9), B4, FAR4)
    assert net.give(icmp4(ROUTER4, B4, 3, 1, 0, stray[:28])) == []
    assert net.b.counters.icmp.errors_unmatched == 1
    assert net.give(icmp4(ROUTER4, B4, 3, 1, 0, b"")) == []
    assert net.b.counters.icmp.bad_message == 1


def test_no_neighbour_is_a_soft_error_of_the_connection() -> None:
    """RFC 1122 section 2.4; RFC 4861 section 7.2.2."""
    net = Pair(ethernet=True)
    for remote in ("10.0.0.99", "fd00::99"):
        client = net.a.connect(net.now, ip_to_bytes(remote), 80)
        udp = net.a.bind_udp()
        udp.send_to(net.now, b"x", ip_to_bytes(remote), 5)
        ping = net.a.open_ping()
        ping.send(net.now, ip_to_bytes(remote), 1)
        net.run(20 * SECOND)
        assert client.state() in ("SYN_SENT", "CLOSED")
        assert errno.EHOSTUNREACH in (client.soft_error, client.error)
        error = udp.poll_error()
        assert error is not None
        assert error.kind == HOST_UNREACHABLE
        reply = ping.poll_reply()
        assert reply is not None
        assert reply.kind == HOST_UNREACHABLE


def test_a_router_tells_when_the_last_hop_does_not_answer() -> None:
    net = Net()
    a, r = net.add(1), net.add(2, StackConfig(forwarding=True))
    net.join(a, ["10.1.0.1/24", "fd01::1/64"], r, ["10.1.0.254/24", "fd01::fe/64"])
    b = net.add(3)
    net.join(r, ["10.2.0.254/24", "fd02::fe/64"], b, ["10.2.0.1/24"], ethernet=True)
    a.add_route("0.0.0.0/0", gateway="10.1.0.254")
    a.add_route("::/0", gateway="fd01::fe")
    for dst, router in (("10.2.0.9", "10.1.0.254"), ("fd02::9", "fd01::fe")):
        ping = a.open_ping()
        ping.send(net.now, ip_to_bytes(dst), 1)
        net.run(20 * SECOND)
        reply = ping.poll_reply()
        assert reply is not None
        assert (reply.kind, reply.addr) == (HOST_UNREACHABLE, ip_to_bytes(router))


def test_no_route_any_more_is_a_soft_error() -> None:
    net = Lone()
    connection, _ = established(net, FAR4)
    net.b.set_interface_up(net.now, net.interface, False)
    connection.send(net.now, bytes(5000))
    assert net.take() == []
    assert connection.soft_error == errno.ENETUNREACH
    net.b.set_interface_up(net.now, net.interface, True)
    assert net.pass_time(2 * SECOND) != []


def test_a_packet_for_an_unknown_interface_is_ignored() -> None:
    net = Lone()
    net.b.receive(0, Packet(icmp4(A4, B4, 8, 0, 1, b""), interface=7))
    net.b.receive(0, Packet(icmp4(A4, B4, 8, 0, 1, b""), interface=-1))
    assert net.take() == []


def test_a_quoted_packet_has_a_whole_checksum() -> None:
    """What a link was still to finish is finished before it is quoted: captures show no wrong checksum in errors."""
    net = Lone()
    data = b"nobody listens"
    head = build_udp(A4, B4, 1000, 9, data, partial=True)
    ip = build_ipv4(A4, B4, 17, len(head) + len(data))
    net.b.receive(net.now, Packet(ip + head + data, csum_start=20, csum_offset=6))
    [error] = net.take()
    quoted = error[28:]
    assert udp_checksum_ok(quoted, 20, len(quoted), A4, B4)
