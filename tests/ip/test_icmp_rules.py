"""When ICMP errors may be sent, and what they look like (RFC 1122 section 3.2.2, RFC 1812 section 4.3.2, RFC 4443)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plankroad.ip.icmp_rules import (
    build_error_ipv4,
    build_error_ipv6,
    may_send_error_ipv4,
    may_send_error_ipv6,
    rest_for_pointer,
)
from plankroad.ip.interface import Interface
from plankroad.wire.address import ip_to_bytes as ip
from plankroad.wire.icmp import build_icmp, parse_icmp
from plankroad.wire.icmpv6 import build_icmpv6, parse_icmpv6
from plankroad.wire.ipv4 import build_ipv4, parse_ipv4
from plankroad.wire.ipv4_options import IPOPT_LSRR, RouteOption, build_route, find_source_route
from plankroad.wire.ipv6 import build_destination, build_fragment, build_ipv6, parse_ipv6

US = Interface(0, "x", 1500)
US.add_address(ip("10.0.0.1"), 24)


def allowed4(
    src: str, dst: str, protocol: int = 17, payload: bytes = bytes(8), at: int = 0, link: bool = False
) -> bool:
    packet = build_ipv4(ip(src), ip(dst), protocol, len(payload), fragment_offset=at) + payload
    return may_send_error_ipv4(packet, parse_ipv4(packet), US, link)


def test_ordinary_packets_are_answered() -> None:
    assert allowed4("10.0.0.2", "10.0.0.1")
    assert allowed4("8.8.8.8", "10.0.0.1", 6)


@pytest.mark.requirement("RFC1122-3.2.2-g", "RFC1122-3.2.2-j")
@pytest.mark.parametrize(
    ("src", "dst"),
    [
        ("10.0.0.2", "224.0.0.1"),
        ("10.0.0.2", "255.255.255.255"),
        ("10.0.0.2", "10.0.0.255"),
        ("10.0.0.2", "10.0.0.0"),
        ("10.0.0.2", "250.0.0.1"),
        ("0.0.0.0", "10.0.0.1"),
        ("0.1.2.3", "10.0.0.1"),
        ("127.0.0.1", "10.0.0.1"),
        ("224.0.0.1", "10.0.0.1"),
        ("255.255.255.255", "10.0.0.1"),
        ("10.0.0.255", "10.0.0.1"),
        ("240.0.0.1", "10.0.0.1"),
    ],
)
def test_addresses_that_are_no_single_hosts_get_no_error(src: str, dst: str) -> None:
    # RFC 1122 section 3.2.2
    assert not allowed4(src, dst)


@pytest.mark.requirement("RFC1122-3.2.2-h", "RFC1122-3.2.2-i")
def test_link_broadcasts_and_later_fragments_get_no_error() -> None:
    # RFC 1122 section 3.2.2
    assert not allowed4("10.0.0.2", "10.0.0.1", link=True)
    assert not allowed4("10.0.0.2", "10.0.0.1", at=8)


def test_within_the_host_loopback_addresses_get_errors() -> None:
    packet = build_ipv4(ip("127.0.0.1"), ip("127.0.0.1"), 17, 8) + bytes(8)
    assert may_send_error_ipv4(packet, parse_ipv4(packet), None)
    assert not may_send_error_ipv4(packet, parse_ipv4(packet), US)


@pytest.mark.requirement("RFC1122-3.2.2-f")
@pytest.mark.parametrize("kind", range(20))
def test_icmp_errors_get_no_error_and_queries_do(kind: int) -> None:
    # RFC 1122 section 3.2.2; a type that is not known may be an error
    message = build_icmp(kind, 0, 0, bytes(28))
    query = kind in (0, 8, 9, 10, 13, 14, 15, 16, 17, 18)
    assert allowed4("10.0.0.2", "10.0.0.1", 1, message) == query
    assert not allowed4("10.0.0.2", "10.0.0.1", 1, b"")


def allowed6(src: str, dst: str, protocol: int, payload: bytes, link: bool = False, multicast: bool = False) -> bool:
    packet = build_ipv6(ip(src), ip(dst), protocol, len(payload)) + payload
    return may_send_error_ipv6(packet, parse_ipv6(packet), link, multicast)


def test_ipv6_rules_on_addresses() -> None:
    # RFC 4443 section 2.4 (e.3) to (e.6)
    assert allowed6("fd00::1", "fd00::2", 17, bytes(8))
    assert not allowed6("::", "fd00::2", 17, bytes(8))
    assert not allowed6("ff02::1", "fd00::2", 17, bytes(8))
    assert not allowed6("::1", "fd00::2", 17, bytes(8))
    assert not allowed6("fd00::1", "ff02::1", 17, bytes(8))
    assert not allowed6("fd00::1", "fd00::2", 17, bytes(8), link=True)
    # The exceptions: packet too big, and the option whose type asks for it.
    assert allowed6("fd00::1", "ff02::1", 17, bytes(8), multicast=True)
    assert allowed6("fd00::1", "fd00::2", 17, bytes(8), link=True, multicast=True)
    assert not allowed6("::", "ff02::1", 17, bytes(8), multicast=True)
    packet = build_ipv6(ip("::1"), ip("::1"), 17, 8) + bytes(8)
    assert may_send_error_ipv6(packet, parse_ipv6(packet), looped_back=True)


@pytest.mark.parametrize(
    ("kind", "expected"), [(1, False), (2, False), (127, False), (128, True), (135, True), (137, False)]
)
def test_ipv6_errors_and_redirects_get_no_error(kind: int, expected: bool) -> None:
    # RFC 4443 section 2.4 (e.1) and (e.2)
    src, dst = "fd00::1", "fd00::2"
    message = build_icmpv6(ip(src), ip(dst), kind, 0, 0, bytes(40))
    assert allowed6(src, dst, 58, message) == expected
    assert allowed6(src, dst, 60, build_destination(58, []) + message) == expected
    first = build_fragment(58, 0, True, 1) + message
    assert allowed6(src, dst, 44, first) == expected
    later = build_fragment(58, 8, True, 1) + message
    assert not allowed6(src, dst, 44, later)
    assert not allowed6(src, dst, 58, b"")


@pytest.mark.requirement("RFC1122-3.2.2-b", "RFC1122-3.2.2-c", "RFC1122-3.2.2-e", "RFC1122-3.4-f")
@given(st.integers(0, 1400), st.integers(0, 10))
def test_an_ipv4_error_quotes_as_much_as_fits(size: int, words: int) -> None:
    # RFC 1812 section 4.3.2.3: 576 bytes at most; RFC 1122 section 3.2.2: "Included octets same as received"
    original = build_ipv4(ip("10.0.0.2"), ip("10.0.0.1"), 17, size, 9, 0x23, 5, options=b"\x01" * 4 * words)
    original += bytes(i & 255 for i in range(size))
    error = build_error_ipv4(ip("10.0.0.1"), 3, 3, 0, b"xx" + original + b"pad", parse_ipv4(b"xx" + original, 2))
    header = parse_ipv4(error)
    assert header.total_length == len(error) <= 576
    assert (header.src, header.dst, header.protocol, header.ttl) == (ip("10.0.0.1"), ip("10.0.0.2"), 1, 64)
    assert header.dont_fragment
    # RFC 1812 section 4.3.2.5: internetwork control; RFC 1122 section 3.2.2: TOS 0
    assert header.tos == 0xC0
    message = parse_icmp(error, header.payload_start, header.payload_end)
    assert (message.type, message.code, message.rest) == (3, 3, 0)
    assert original.startswith(message.body)
    assert len(message.body) == min(len(original), 548)


def test_an_error_about_a_source_routed_packet_goes_back_its_way() -> None:
    # RFC 1812 section 4.3.2.6
    hops = [ip("10.1.0.1"), ip("10.2.0.1"), ip("10.3.0.1")]
    options = build_route(RouteOption(IPOPT_LSRR, 12, hops)) + b"\0"
    original = build_ipv4(ip("10.0.0.2"), ip("10.0.0.1"), 17, 8, options=options) + bytes(8)
    parsed = parse_ipv4(original)
    header = parse_ipv4(build_error_ipv4(ip("10.0.0.1"), 11, 0, 0, original, parsed))
    assert header.dst == ip("10.2.0.1")
    route = find_source_route(header.options)
    assert route is not None
    assert route.route == [ip("10.1.0.1"), ip("10.0.0.2")]
    # Not where it complains of the source route itself, but where of anything else.
    about = build_error_ipv4(ip("10.0.0.1"), 12, 0, rest_for_pointer(22), original, parsed)
    assert parse_ipv4(about).dst == ip("10.0.0.2")
    assert parse_ipv4(about).options == b""
    other = build_error_ipv4(ip("10.0.0.1"), 12, 0, rest_for_pointer(8), original, parsed)
    assert parse_ipv4(other).dst == ip("10.2.0.1")


def test_wrong_options_do_not_stop_an_error() -> None:
    original = build_ipv4(ip("10.0.0.2"), ip("10.0.0.1"), 17, 8, options=b"\x83\x50\x04\x00") + bytes(8)
    error = build_error_ipv4(ip("10.0.0.1"), 12, 0, rest_for_pointer(21), original, parse_ipv4(original))
    message = parse_icmp(error, 20, len(error))
    assert message.rest == 21 << 24
    assert message.body == original


@given(st.integers(0, 1500))
def test_an_ipv6_error_quotes_as_much_as_fits(size: int) -> None:
    # RFC 4443 section 2.4 (c)
    src, dst = ip("fd00::1"), ip("fd00::2")
    original = build_ipv6(src, dst, 17, size) + bytes(i & 255 for i in range(size))
    error = build_error_ipv6(dst, 2, 0, 1280, b"x" + original + b"pad", parse_ipv6(b"x" + original, 1), 77)
    header = parse_ipv6(error)
    assert (header.src, header.dst, header.hop_limit) == (dst, src, 77)
    message = parse_icmpv6(error, 40, len(error), dst, src)
    assert (message.type, message.code, message.rest) == (2, 0, 1280)
    assert message.body == original[:1232]
    assert len(error) <= 1280
