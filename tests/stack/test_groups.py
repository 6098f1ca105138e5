"""Reports of multicast groups: IGMP version 2 (RFC 2236), MLD version 1 (RFC 2710)."""

from __future__ import annotations

import pytest
from tests.stack.net import A4, B4, Lone

from plankroad.stack.config import StackConfig
from plankroad.units import SECOND
from plankroad.wire.address import ip_to_bytes
from plankroad.wire.checksum import checksum
from plankroad.wire.icmpv6 import build_icmpv6, parse_icmpv6
from plankroad.wire.ipv4 import build_ipv4, parse_ipv4
from plankroad.wire.ipv6 import build_ipv6, parse_ipv6

GROUP4 = ip_to_bytes("239.1.2.3")
GROUP6 = ip_to_bytes("ff05::1234")
ALL_HOSTS = ip_to_bytes("224.0.0.1")
ALL_ROUTERS = ip_to_bytes("224.0.0.2")
ROUTER6 = ip_to_bytes("fe80::99")
OWN6 = ip_to_bytes("fe80::2")


def igmp(src: bytes, dst: bytes, type_: int, time: int, group: bytes) -> bytes:
    body = bytes((type_, time, 0, 0)) + group
    body = body[:2] + checksum(body).to_bytes(2, "big") + group
    return build_ipv4(src, dst, 2, 8, 1) + body


def read(packet: bytes) -> tuple[int, bytes, bytes]:
    """Type, group and destination of an IGMP or MLD message; its form is checked."""
    if packet[0] >> 4 == 4:
        header = parse_ipv4(packet)
        body = packet[header.payload_start : header.payload_end]
        assert (header.ttl, header.options, checksum(body)) == (1, b"\x94\x04\0\0", 0)
        return body[0], body[4:8], header.dst
    header6 = parse_ipv6(packet)
    message = parse_icmpv6(packet, header6.payload_start, header6.payload_end, header6.src, header6.dst)
    assert (header6.hop_limit, header6.src, header6.extensions[0][0]) == (1, OWN6, 0)
    return message.type, message.body, header6.dst


def member(config: StackConfig | None = None) -> Lone:
    net = Lone(config)
    net.b.add_address(net.interface, "fe80::2/64")
    return net


@pytest.mark.requirement("RFC1122-3.3.7-b")
def test_joining_is_reported_twice_and_leaving_once() -> None:
    net = member()
    endpoint = net.b.bind_udp(b"", 53)
    for group, report, leave, routers in (
        (GROUP4, 0x16, 0x17, ALL_ROUTERS),
        (GROUP6, 131, 132, ip_to_bytes("ff02::2")),
    ):
        endpoint.join(net.now, group, 0)
        assert [read(packet) for packet in net.take()] == [(report, group, group)]
        assert [read(packet) for packet in net.pass_time(11 * SECOND)] == [(report, group, group)]
        endpoint.leave(net.now, group)
        assert [read(packet) for packet in net.take()] == [(leave, group, routers)]
        assert net.pass_time(100 * SECOND) == []


def test_a_second_member_on_the_host_says_nothing() -> None:
    net = member()
    one, two = net.b.bind_udp(), net.b.bind_udp()
    one.join(0, GROUP4)
    net.pass_time(20 * SECOND)
    two.join(net.now, GROUP4)
    one.leave(net.now, GROUP4)
    assert net.pass_time(20 * SECOND) == net.take() == []


def test_queries_are_answered_after_a_wait_and_once() -> None:
    net = member()
    endpoint = net.b.bind_udp()
    endpoint.join(0, GROUP4)
    endpoint.join(0, GROUP6, 0)
    net.take()
    net.pass_time(20 * SECOND)
    for group in (bytes(4), GROUP4):
        assert net.give(igmp(A4, ALL_HOSTS if group != GROUP4 else GROUP4, 0x11, 100, group)) == []
        assert [read(packet) for packet in net.pass_time(10 * SECOND)] == [(0x16, GROUP4, GROUP4)]
    query = build_icmpv6(ROUTER6, ip_to_bytes("ff02::1"), 130, 0, 5000 << 16, bytes(16))
    assert net.give(build_ipv6(ROUTER6, ip_to_bytes("ff02::1"), 58, 24, 1) + query) == []
    reported = {read(packet)[1] for packet in net.pass_time(5 * SECOND)}
    # The groups of solicited nodes are answered for too (RFC 4861 section 7.2.1), those of all nodes are not.
    assert GROUP6 in reported
    assert ip_to_bytes("ff02::1") not in reported


def test_the_report_of_another_member_spares_ours() -> None:
    """RFC 2236 section 3."""
    net = member()
    endpoint = net.b.bind_udp()
    endpoint.join(0, GROUP4)
    net.take()
    net.give(igmp(A4, GROUP4, 0x16, 0, GROUP4))
    assert net.pass_time(20 * SECOND) == []
    endpoint.leave(net.now, GROUP4)
    assert net.take() == []


def test_version_1_is_spoken_to_a_version_1_router() -> None:
    """RFC 2236 section 4."""
    net = member()
    endpoint = net.b.bind_udp()
    endpoint.join(0, GROUP4)
    net.take()
    net.pass_time(20 * SECOND)
    net.give(igmp(A4, ALL_HOSTS, 0x11, 0, bytes(4)))
    assert [read(packet)[0] for packet in net.pass_time(10 * SECOND)] == [0x12]
    endpoint.leave(net.now, GROUP4)
    assert net.take() == []


def test_damaged_queries_and_those_of_strangers_are_ignored() -> None:
    net = member()
    endpoint = net.b.bind_udp()
    endpoint.join(0, GROUP4)
    endpoint.join(0, GROUP6, 0)
    net.take()
    net.pass_time(20 * SECOND)
    bad = igmp(A4, ALL_HOSTS, 0x11, 100, bytes(4))
    net.give(bad[:-1] + b"\x01")
    net.give(build_ipv4(A4, ALL_HOSTS, 2, 3) + b"\x11\0\0")
    far = ip_to_bytes("2001:db8::1")
    query = build_icmpv6(far, ip_to_bytes("ff02::1"), 130, 0, 0, bytes(16))
    net.give(build_ipv6(far, ip_to_bytes("ff02::1"), 58, 24, 1) + query)
    assert net.pass_time(20 * SECOND) == []


def test_reports_can_be_switched_off_and_an_address_is_needed() -> None:
    net = member(StackConfig(group_reports=False))
    net.b.bind_udp().join(0, GROUP4)
    assert net.pass_time(20 * SECOND) == net.take() == []
    assert B4 in net.interface.by_ip
