"""UDP through the stack: RFC 768, RFC 1122 section 4.1."""

from __future__ import annotations

import errno

import pytest
from tests.stack.net import A4, A6, B4, B6, Lone, Net, Pair, header4

from plankroad.endpoint import EVENT_ERROR, EVENT_READABLE, EVENT_SOFT_ERROR, EVENT_WRITABLE
from plankroad.stack.config import StackConfig
from plankroad.stack.ports import ANY4, ANY6
from plankroad.tcp.icmp import (
    FRAGMENTATION_NEEDED,
    HOST_UNREACHABLE,
    PARAMETER_PROBLEM,
    PORT_UNREACHABLE,
    TIME_EXCEEDED,
)
from plankroad.udp.endpoint import MAX_ERRORS, OVERHEAD, PMTU_DO, PMTU_DONT, PMTU_PROBE, UdpEndpoint
from plankroad.wire.address import ip_to_bytes
from plankroad.wire.icmp import build_icmp
from plankroad.wire.ipv4 import build_ipv4
from plankroad.wire.ipv6 import build_ipv6
from plankroad.wire.packet import GSO_UDP_L4, Packet
from plankroad.wire.udp import build_udp

ALL4 = ip_to_bytes("255.255.255.255")
GROUP4 = ip_to_bytes("239.1.2.3")
GROUP6 = ip_to_bytes("ff02::1234")


def udp(src: bytes, sport: int, dst: bytes, dport: int, data: bytes, ttl: int = 64, tos: int = 0) -> bytes:
    head = build_udp(src, dst, sport, dport, data)
    if len(src) == 4:
        return build_ipv4(src, dst, 17, 8 + len(data), ttl, tos) + head + data
    return build_ipv6(src, dst, 17, 8 + len(data), ttl, tos) + head + data


def received(endpoint: UdpEndpoint) -> list[bytes]:
    found = []
    while (datagram := endpoint.receive_from()) is not None:
        found.append(datagram.data)
    return found


@pytest.mark.requirement("RFC1122-3.2.1.6-b", "RFC1122-3.4-b", "RFC1122-4.1.3.5-a", "RFC1122-4.1.4-c")
@pytest.mark.parametrize(("src", "dst"), [(A4, B4), (A6, B6)])
def test_a_datagram_arrives_with_all_that_is_known_of_it(src: bytes, dst: bytes) -> None:
    """RFC 1122 section 4.1.3.5: the specific-destination address goes to the program; 4.1.4: TTL and TOS."""
    net = Lone()
    endpoint = net.b.bind_udp(b"", 53)
    assert net.give(udp(src, 1000, dst, 53, b"hello", 33, 0x28)) == []
    got = net.b.poll_endpoint()
    assert got is endpoint
    assert got.poll_events() == EVENT_READABLE
    datagram = endpoint.receive_from()
    assert datagram is not None
    fields = (datagram.data, datagram.addr, datagram.port, datagram.local_addr, datagram.interface)
    assert fields == (b"hello", src, 1000, dst, 0)
    assert (datagram.ttl, datagram.tos) == (33, 0x28)
    assert endpoint.receive_from() is None


@pytest.mark.requirement("RFC1122-3.3.3-b")
@pytest.mark.parametrize("tx_csum", [False, True])
@pytest.mark.parametrize("size", [0, 1, 1472, 1473, 9000, 65000])
@pytest.mark.parametrize("dst", [B4, B6])
def test_datagrams_of_every_size_arrive_in_fragments_if_need_be(size: int, dst: bytes, tx_csum: bool) -> None:
    net = Pair(tx_csum=tx_csum)
    server = net.b.bind_udp(b"", 53)
    client = net.a.bind_udp()
    data = bytes(range(251)) * 260
    client.send_to(0, data[:size], dst, 53)
    net.run()
    assert received(server) == [data[:size]]
    assert max(len(packet) for _, packet in net.wire.seen) <= 1500
    assert net.b.is_idle() == (net.b.leftovers()["udp"] == 0)


@pytest.mark.requirement("RFC1122-3.1-c", "RFC1122-3.3.4.2-a", "RFC1122-4.1.3.5-b")
def test_answers_go_back_by_the_address_that_was_asked() -> None:
    """RFC 1122 section 4.1.3.5: the program chooses the source."""
    net = Lone()
    net.b.add_address(net.interface, "10.0.0.9/24")
    endpoint = net.b.bind_udp(b"", 53)
    net.give(udp(A4, 1000, ip_to_bytes("10.0.0.9"), 53, b"q"))
    question = endpoint.receive_from()
    assert question is not None
    endpoint.send_to(0, b"a", question.addr, question.port, local=question.local_addr)
    (answer,) = net.take()
    assert (answer[12:16], answer[16:20]) == (ip_to_bytes("10.0.0.9"), A4)


@pytest.mark.requirement("RFC1122-3.3.8-a", "RFC1122-3.2.2.1-a", "RFC1122-3.4-d", "RFC1122-4.1.3.1-a")
def test_port_unreachable_is_sent_where_nobody_listens() -> None:
    """RFC 1122 section 4.1.3.1."""
    net = Lone()
    packet = udp(A4, 1000, B4, 54, b"x" * 100)
    (answer,) = net.give(packet)
    assert (answer[20], answer[21], answer[12:16], answer[16:20]) == (3, 3, B4, A4)
    assert answer[28:] == packet
    (answer6,) = net.give(udp(A6, 1000, B6, 54, b"x"))
    assert (answer6[40], answer6[41]) == (1, 4)


def test_port_unreachable_is_not_sent_for_groups_and_broadcasts() -> None:
    """RFC 1122 section 3.2.2."""
    net = Lone()
    for dst in (ALL4, ip_to_bytes("10.0.0.255"), ip_to_bytes("224.0.0.1")):
        assert net.give(udp(A4, 1000, dst, 54, b"x")) == []
    assert net.give(udp(A6, 1000, ip_to_bytes("ff02::1"), 54, b"x")) == []
    assert net.b.counters.udp.no_port == 4


def test_port_unreachable_is_rate_limited() -> None:
    net = Lone(StackConfig(icmp_peer_rate=10, icmp_peer_burst=6))
    answers = 0
    for _ in range(100):
        answers += len(net.give(udp(A4, 1000, B4, 54, b"x")))
    assert answers == 6
    assert net.b.counters.icmp.errors_rate_limited == 94


@pytest.mark.requirement("RFC1122-4.1.3.3-a")
def test_a_connected_endpoint_hears_of_a_refusal_as_an_error() -> None:
    """RFC 1122 section 4.1.3.3."""
    net = Pair()
    client = net.a.bind_udp(remote=B4, remote_port=54)
    client.send_to(0, b"x")
    net.run()
    assert client.poll_events() == EVENT_ERROR
    assert client.error == errno.ECONNREFUSED
    error = client.poll_error()
    assert error is not None
    assert (error.kind, error.errno, error.addr, error.port) == (PORT_UNREACHABLE, errno.ECONNREFUSED, B4, 54)
    assert error.offender == B4
    assert client.poll_error() is None
    assert client.take_error() == errno.ECONNREFUSED
    assert client.take_error() == 0


@pytest.mark.requirement("RFC1122-3.2.2-d", "RFC1122-4.1.3.3-a")
def test_an_unconnected_endpoint_hears_which_destination_refused() -> None:
    net = Pair()
    net.b.bind_udp(b"", 53)
    client = net.a.bind_udp()
    for remote, port in ((B4, 53), (B4, 54), (B6, 55)):
        client.send_to(0, b"x", remote, port)
    net.run()
    assert client.poll_events() == EVENT_SOFT_ERROR
    assert client.error == 0
    errors = [client.poll_error(), client.poll_error()]
    assert [(e.addr, e.port) for e in errors if e] == [(B4, 54), (B6, 55)]
    assert client.poll_error() is None


def test_errors_nobody_asks_for_are_bounded() -> None:
    net = Pair(other=StackConfig(icmp_rate=0, icmp_peer_rate=0))
    client = net.a.bind_udp()
    for port in range(1, MAX_ERRORS + 20):
        client.send_to(0, b"x", B4, port)
    net.run()
    assert len(client.errors) == MAX_ERRORS
    first = client.poll_error()
    assert first is not None
    assert first.port == 20


def test_an_error_about_a_packet_that_was_not_sent_reaches_nobody() -> None:
    """RFC 5927: what is quoted must be of this host."""
    net = Lone()
    endpoint = net.b.bind_udp(b"", 53)
    for quote in (udp(B4, 52, A4, 99, b""), udp(ip_to_bytes("10.0.0.77"), 53, A4, 99, b"")):
        message = build_icmp(3, 3, 0, quote)
        net.give(build_ipv4(A4, B4, 1, len(message)) + message)
    assert endpoint.poll_error() is None
    assert net.b.counters.icmp.errors_unmatched == 2


def test_a_connected_endpoint_hears_its_peer_only_and_comes_first() -> None:
    net = Lone()
    anyone = net.b.bind_udp(b"", 53, reuse=True)
    peer = net.b.bind_udp(b"", 53, A4, 1000, reuse=True)
    assert peer.local_addr == B4
    net.give(udp(A4, 1000, B4, 53, b"peer"))
    net.give(udp(A4, 1001, B4, 53, b"other"))
    assert received(peer) == [b"peer"]
    assert received(anyone) == [b"other"]
    alone = net.b.bind_udp(b"", 55, A4, 1000)
    net.give(udp(A4, 1001, B4, 55, b"stranger"))
    assert received(alone) == []


@pytest.mark.requirement("RFC1122-4.1.3.5-d")
def test_connect_again_and_disconnect() -> None:
    net = Lone()
    endpoint = net.b.bind_udp(b"", 53, A4, 1000)
    endpoint.connect(A6, 2000)
    assert endpoint.local_addr == B6
    net.give(udp(A4, 1000, B4, 53, b"old"))
    net.give(udp(A6, 2000, B6, 53, b"new"))
    assert received(endpoint) == [b"new"]
    endpoint.connect(b"", 0)
    assert endpoint.local_addr == b""
    net.give(udp(A4, 1000, B4, 53, b"anyone"))
    assert received(endpoint) == [b"anyone"]
    with pytest.raises(OSError, match="Destination address required") as caught:
        endpoint.send_to(0, b"x")
    assert caught.value.errno == errno.EDESTADDRREQ
    endpoint.close(0)
    net.take()
    net.finish()
    assert net.b.is_idle()


def test_the_latest_of_those_who_share_a_port_gets_the_unicasts() -> None:
    net = Lone()
    first = net.b.bind_udp(b"", 53, reuse=True)
    second = net.b.bind_udp(b"", 53, reuse=True)
    net.give(udp(A4, 1000, B4, 53, b"x"))
    assert (received(first), received(second)) == ([], [b"x"])
    second.close(0)
    net.give(udp(A4, 1000, B4, 53, b"y"))
    assert received(first) == [b"y"]


@pytest.mark.parametrize(
    ("addr", "port", "size", "number"),
    [
        (A4, 0, 1, errno.EINVAL),
        (A4, 65536, 1, errno.EINVAL),
        (b"\x01", 5, 1, errno.EINVAL),
        (ANY4, 5, 1, errno.EINVAL),
        (A4, 5, 65508, errno.EMSGSIZE),
        (A6, 5, 65528, errno.EMSGSIZE),
        (ALL4, 5, 1, errno.EACCES),
        (ip_to_bytes("10.0.0.255"), 5, 1, errno.EACCES),
    ],
)
def test_bad_sends_get_the_right_errno(addr: bytes, port: int, size: int, number: int) -> None:
    net = Lone()
    endpoint = net.b.bind_udp(b"", 53)
    with pytest.raises(OSError) as caught:  # noqa: PT011 - the errno is the point
        endpoint.send_to(0, bytes(size), addr, port)
    assert caught.value.errno == number
    assert net.take() == []


@pytest.mark.requirement("RFC1122-4.1.3.6-b")
def test_sending_without_a_route_or_after_close_is_refused() -> None:
    net = Pair()
    endpoint = net.a.bind_udp()
    with pytest.raises(OSError, match="unreachable") as caught:
        endpoint.send_to(0, b"x", ip_to_bytes("192.0.2.1"), 5)
    assert caught.value.errno == errno.ENETUNREACH
    with pytest.raises(OSError, match="family") as caught:
        net.a.bind_udp(A4, 7).send_to(0, b"x", B6, 5)
    assert caught.value.errno == errno.EAFNOSUPPORT
    with pytest.raises(OSError, match="assign") as caught:
        endpoint.send_to(0, b"x", B4, 5, local=ip_to_bytes("10.0.0.99"))
    assert caught.value.errno == errno.EADDRNOTAVAIL
    endpoint.close(0)
    endpoint.close(0)
    with pytest.raises(OSError, match="file descriptor") as caught:
        endpoint.send_to(0, b"x", B4, 5)
    assert caught.value.errno == errno.EBADF


@pytest.mark.requirement("RFC1122-3.3.2-d")
def test_the_largest_datagrams_are_sent() -> None:
    net = Pair()
    server = net.b.bind_udp(b"", 53)
    client = net.a.bind_udp(snd_buf=1 << 20)
    client.send_to(0, bytes(65507), B4, 53)
    client.send_to(0, bytes(65527), B6, 53)
    net.run()
    assert [len(data) for data in received(server)] == [65507, 65527 - 0]


@pytest.mark.requirement("RFC1122-3.2.2.3-a")
def test_the_receive_buffer_is_bounded_and_drops_are_counted() -> None:
    net = Lone()
    endpoint = net.b.bind_udp(b"", 53, rcv_buf=10 * (100 + OVERHEAD))
    for _ in range(25):
        net.give(udp(A4, 1000, B4, 53, bytes(100)))
    assert len(received(endpoint)) == 10
    assert endpoint.dropped == 15
    assert net.b.counters.udp.receive_buffer_full == 15
    for _ in range(10_000):
        net.give(udp(A4, 1000, B4, 53, b""))
    assert len(endpoint.rcv_queue) == 10 * (100 + OVERHEAD) // OVERHEAD


def test_a_full_send_buffer_says_so_and_when_there_is_room() -> None:
    net = Lone()
    endpoint = net.b.bind_udp(b"", 53, snd_buf=4 * (1000 + OVERHEAD))
    for _ in range(4):
        endpoint.send_to(0, bytes(1000), A4, 5)
    with pytest.raises(BlockingIOError):
        endpoint.send_to(0, bytes(1000), A4, 5)
    assert len(net.take()) == 4
    assert net.b.poll_endpoint() is endpoint
    assert endpoint.poll_events() == EVENT_WRITABLE
    endpoint.send_to(0, bytes(1000), A4, 5)


def test_what_was_sent_before_close_still_goes_out() -> None:
    net = Lone()
    endpoint = net.b.bind_udp(b"", 53)
    endpoint.send_to(0, b"last", A4, 5)
    endpoint.close(0)
    (packet,) = net.take()
    assert packet.endswith(b"last")
    assert net.b.is_idle()


@pytest.mark.requirement("RFC1122-4.1.3.4-b", "RFC1122-4.1.3.4-e")
def test_checksum_none_is_right_over_ipv4_and_wrong_over_ipv6() -> None:
    """RFC 768; RFC 8200 section 8.1."""
    net = Lone()
    endpoint = net.b.bind_udp(b"", 53)
    packet = bytearray(udp(A4, 1000, B4, 53, b"x"))
    packet[26:28] = b"\0\0"
    net.give(bytes(packet))
    packet = bytearray(udp(A6, 1000, B6, 53, b"x"))
    packet[46:48] = b"\0\0"
    assert net.give(bytes(packet)) == []
    assert received(endpoint) == [b"x"]
    assert net.b.counters.udp.bad_checksum == 1
    packet = bytearray(udp(A4, 1000, B4, 53, b"x"))
    packet[-1] ^= 1
    assert net.give(bytes(packet)) == []
    assert net.b.counters.udp.bad_checksum == 2


def test_a_wrong_length_is_counted() -> None:
    net = Lone()
    net.b.bind_udp(b"", 53)
    packet = bytearray(udp(A4, 1000, B4, 53, b"x"))
    packet[25] = 200
    assert net.give(bytes(packet), csum_valid=True) == []
    assert net.b.counters.udp.bad_header == 1


@pytest.mark.requirement("RFC1122-4.1.3.4-c")
def test_a_program_may_do_without_a_checksum_over_ipv4_only() -> None:
    """RFC 1122 section 4.1.3.4."""
    net = Lone()
    endpoint = net.b.bind_udp(b"", 53)
    endpoint.no_checksum = True
    endpoint.send_to(0, b"x", A4, 5)
    endpoint.send_to(0, b"x", A6, 5)
    four, six = net.take()
    assert four[26:28] == b"\0\0"
    assert six[46:48] != b"\0\0"


@pytest.mark.requirement(
    "RFC1122-3.2.1.6-a",
    "RFC1122-3.2.1.7-c",
    "RFC1122-3.2.1.8-a",
    "RFC1122-3.4-a",
    "RFC1122-4.1.3.2-b",
    "RFC1122-4.1.3.2-c",
    "RFC1122-4.1.4-a",
    "RFC1122-4.1.4-b",
)
def test_ttl_tos_and_options_are_the_programs() -> None:
    """RFC 1122 section 4.1.4."""
    net = Lone(StackConfig(ttl=99))
    endpoint = net.b.bind_udp(b"", 53)
    endpoint.send_to(0, b"x", A4, 5)
    endpoint.ttl = 3
    endpoint.tos = 0xB8
    endpoint.options = b"\x94\x04\0\0"
    endpoint.send_to(0, b"x", A4, 5)
    endpoint.send_to(0, b"x", A6, 5)
    first, second, third = net.take()
    assert (first[8], header4(second).ttl, header4(second).tos) == (99, 3, 0xB8)
    assert header4(second).options == b"\x94\x04\0\0"
    assert (third[7], third[0] << 4 & 0xF0 | third[1] >> 4) == (3, 0xB8)


@pytest.mark.requirement("RFC1122-3.2.1.8-b", "RFC1122-3.4-c", "RFC1122-4.1.3.2-a")
def test_received_options_reach_the_program() -> None:
    """RFC 1122 section 4.1.3.2."""
    net = Lone()
    endpoint = net.b.bind_udp(b"", 53)
    head = build_udp(A4, B4, 1, 53, b"x")
    net.give(build_ipv4(A4, B4, 17, 9, options=b"\x94\x04\0\0") + head + b"x")
    datagram = endpoint.receive_from()
    assert datagram is not None
    assert datagram.options == b"\x94\x04\0\0"


@pytest.mark.requirement("RFC1122-3.3.3-a", "RFC1122-3.3.3-c", "RFC1122-3.4-a", "RFC1122-4.1.4-a")
def test_path_mtu_policies() -> None:
    net = Lone()
    net.b.pmtu.update(0, A4, 1000)
    flags = {}
    for policy in (PMTU_DONT, 1, PMTU_DO, PMTU_PROBE):
        for size in (500, 1400, 1500):
            endpoint = net.b.bind_udp()
            endpoint.pmtu = policy
            try:
                endpoint.send_to(0, bytes(size), A4, 5)
            except OSError as exc:
                flags[policy, size] = [exc.errno]
                continue
            flags[policy, size] = [len(packet) | (packet[6] & 0x60) << 16 for packet in net.take()]
    df, mf = 0x40 << 16, 0x20 << 16
    refused = [errno.EMSGSIZE]
    assert flags[PMTU_DONT, 500] == [528]
    assert flags[PMTU_DONT, 1400] == [1428]
    assert flags[PMTU_DONT, 1500] == [1500 | mf, 48]
    assert flags[1, 500] == [528 | df]
    assert flags[1, 1400] == [996 | mf, 452]
    assert flags[PMTU_DO, 500] == [528 | df]
    assert flags[PMTU_DO, 1400] == flags[PMTU_DO, 1500] == flags[PMTU_PROBE, 1500] == refused
    assert flags[PMTU_PROBE, 1400] == [1428 | df]


def test_fragmentation_needed_is_an_error_only_where_fragments_are_refused() -> None:
    for policy, told in ((1, False), (PMTU_DO, True)):
        net = Lone()
        endpoint = net.b.bind_udp(b"", 50 + policy)
        endpoint.pmtu = policy
        endpoint.send_to(0, bytes(1400), A4, 5)
        (packet,) = net.take()
        message = build_icmp(3, 4, 1200 - policy, packet[:28])
        net.give(build_ipv4(ip_to_bytes("10.0.0.254"), B4, 1, len(message)) + message)
        assert net.b.pmtu.get(0, A4, 1500) == 1200 - policy
        error = endpoint.poll_error()
        assert (error is not None) == told
        if error is not None:
            assert (error.kind, error.mtu) == (FRAGMENTATION_NEEDED, 1200 - policy)
    with pytest.raises(OSError, match="too long"):
        endpoint.send_to(0, bytes(1400), A4, 5)


@pytest.mark.requirement("RFC1122-3.2.2.1-b", "RFC1122-3.2.2.5-c", "RFC1122-3.4-e")
def test_routers_errors_reach_the_endpoint_with_the_routers_address() -> None:
    net = Lone()
    endpoint = net.b.bind_udp(b"", 53)
    router = ip_to_bytes("10.0.0.254")
    endpoint.send_to(0, b"x", ip_to_bytes("192.0.2.1"), 33434)
    (packet,) = net.take()
    for type_, code, kind in ((11, 0, TIME_EXCEEDED), (3, 1, HOST_UNREACHABLE), (12, 0, PARAMETER_PROBLEM)):
        message = build_icmp(type_, code, 0, packet[:28])
        net.give(build_ipv4(router, B4, 1, len(message)) + message)
        error = endpoint.poll_error()
        assert error is not None
        assert (error.kind, error.offender, error.port) == (kind, router, 33434)


@pytest.mark.requirement("RFC1122-3.3.6-a")
@pytest.mark.parametrize("dst", ["255.255.255.255", "0.0.0.0", "10.0.0.255", "10.0.0.0"])
def test_every_form_of_broadcast_address_is_received(dst: str) -> None:
    net = Lone()
    endpoint = net.b.bind_udp(b"", 53)
    assert net.give(udp(A4, 1000, ip_to_bytes(dst), 53, b"all")) == []
    assert received(endpoint) == [b"all"]


def test_broadcast_reaches_all_who_have_the_port_and_the_sender_too() -> None:
    net = Pair()
    one = net.b.bind_udp(b"", 53, reuse=True)
    two = net.b.bind_udp(ANY4, 53, reuse=True)
    six = net.b.bind_udp(ANY6, 54)
    bound = net.b.bind_udp(B4, 53, reuse=True)
    own = net.a.bind_udp(b"", 53)
    own.broadcast = True
    for dst in (ALL4, ip_to_bytes("10.0.0.255")):
        own.send_to(0, b"all", dst, 53)
    own.send_to(0, b"other port", ALL4, 54)
    net.run()
    assert received(one) == received(two) == [b"all", b"all"]
    assert received(six) == received(bound) == []
    assert received(own) == [b"all", b"all"]


@pytest.mark.requirement("RFC1122-3.3.7-a", "RFC1122-3.3.7-d")
@pytest.mark.parametrize("group", [GROUP4, GROUP6])
def test_a_group_is_heard_by_those_who_joined_it_only(group: bytes) -> None:
    net = Pair()
    member = net.b.bind_udp(b"", 53, reuse=True)
    other = net.b.bind_udp(b"", 53, reuse=True)
    sender = net.a.bind_udp(b"", 60)
    sender.send_to(0, b"before", group, 53)
    net.run()
    member.join(0, group)
    sender.send_to(0, b"during", group, 53)
    net.run()
    member.leave(0, group)
    sender.send_to(0, b"after", group, 53)
    net.run()
    assert received(member) == [b"during"]
    assert received(other) == []
    packets = [packet for packet in net.wire.sent_by(net.a) if packet.endswith(b"during")]
    assert [packet[8] if len(group) == 4 else packet[7] for packet in packets] == [1]
    with pytest.raises(OSError, match="assign"):
        member.leave(0, group)
    with pytest.raises(OSError, match="Invalid"):
        member.join(0, B4)
    with pytest.raises(OSError, match="No such device"):
        member.join(0, group, 7)
    member.join(0, group)
    with pytest.raises(OSError, match="in use"):
        member.join(0, group)


def test_members_on_the_sending_host_hear_it_unless_switched_off() -> None:
    """RFC 1112 section 6.1."""
    net = Pair()
    member = net.a.bind_udp(b"", 53)
    member.join(0, GROUP4)
    sender = net.a.bind_udp()
    sender.send_to(0, b"one", GROUP4, 53)
    sender.multicast_loop = False
    net.run()
    sender.send_to(0, b"two", GROUP4, 53)
    net.run()
    assert received(member) == [b"one"]


def test_closing_leaves_the_groups() -> None:
    net = Lone()
    endpoint = net.b.bind_udp(b"", 53)
    endpoint.join(0, GROUP4)
    assert GROUP4 in net.interface.groups
    endpoint.close(0)
    assert GROUP4 not in net.interface.groups


@pytest.mark.requirement("RFC1122-3.3.6-c")
def test_a_host_without_an_address_may_broadcast() -> None:
    """RFC 1122 section 3.2.1.3 (a): DHCP."""
    net = Net()
    stack = net.add()
    stack.add_interface("e0", 1500)
    endpoint = stack.bind_udp(b"", 68)
    endpoint.broadcast = True
    endpoint.send_to(0, b"discover", ALL4, 67, interface=0)
    packet = stack.poll_transmit(0)
    assert packet is not None
    assert packet.head[12:20] == ANY4 + ALL4
    # And the answer reaches it.
    stack.receive(0, Packet(udp(ip_to_bytes("10.0.0.254"), 67, ALL4, 68, b"offer")))
    while stack.poll_transmit(0) is not None:
        pass
    assert b"offer" in received(endpoint)


@pytest.mark.parametrize("dst", [B4, B6])
def test_super_segments_leave_whole_where_the_link_takes_them(dst: bytes) -> None:
    net = Pair(tx_csum=True, gso_max_size=65535)
    server = net.b.bind_udp(b"", 53)
    client = net.a.bind_udp()
    data = bytes(range(250)) * 20
    client.send_to(0, data, dst, 53, gso_size=1200)
    net.run()
    assert [(packet.gso_type, packet.gso_size) for _, packet in net.wire.seen] == [(GSO_UDP_L4, 1200)]
    assert received(server) == [data[at : at + 1200] for at in range(0, 5000, 1200)]
    assert net.b.counters.udp.received == 5


def test_super_segments_leave_as_datagrams_where_it_does_not() -> None:
    for config in (None, StackConfig(udp_gso=False)):
        net = Pair(tx_csum=config is not None, gso_max_size=0 if config is None else 65535, config=config)
        server = net.b.bind_udp(b"", 53)
        client = net.a.bind_udp()
        data = bytes(range(250)) * 20
        client.send_to(0, data, B4, 53, gso_size=1200)
        net.run()
        assert [len(packet) for _, packet in net.wire.seen] == [1228, 1228, 1228, 1228, 228]
        assert received(server) == [data[at : at + 1200] for at in range(0, 5000, 1200)]
        with pytest.raises(OSError, match="Invalid"):
            client.send_to(0, bytes(6500), B4, 53, gso_size=100)


def test_a_route_lost_between_call_and_packet_drops_the_datagram() -> None:
    net = Lone()
    endpoint = net.b.bind_udp(b"", 53)
    endpoint.send_to(0, b"x", A4, 5)
    net.b.set_interface_up(0, net.interface, False)
    assert net.take() == []
    assert net.b.counters.udp.unroutable == 1


def test_port_unreachable_comes_from_the_address_that_was_asked() -> None:
    """RFC 1122 section 3.2.2: the specific-destination address."""
    net = Lone()
    for other, src in (("10.0.0.9/24", A4), ("fd00::9/64", A6)):
        net.b.add_address(net.interface, other)
        ip = ip_to_bytes(other.partition("/")[0])
        (answer,) = net.give(udp(src, 1000, ip, 54, b"x"))
        assert answer[12:16] == ip if len(ip) == 4 else answer[8:24] == ip


def test_super_segments_to_a_group_leave_as_datagrams() -> None:
    net = Pair(tx_csum=True, gso_max_size=65535)
    member = net.b.bind_udp(b"", 53)
    member.join(0, GROUP4)
    net.run()
    net.wire.seen.clear()
    net.a.bind_udp().send_to(0, bytes(3000), GROUP4, 53, gso_size=1000)
    net.run()
    assert [packet.gso_type for _, packet in net.wire.seen] == [0, 0, 0]
    assert received(member) == [bytes(1000)] * 3
