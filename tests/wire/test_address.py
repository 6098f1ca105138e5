"""Addresses as bytes."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plankroad.wire import address as a

ANY_IP = st.one_of(st.binary(min_size=4, max_size=4), st.binary(min_size=16, max_size=16))


@given(ANY_IP)
def test_text_and_back(ip: bytes) -> None:
    assert a.ip_to_bytes(a.bytes_to_ip(ip)) == ip
    assert a.ip_to_bytes(ip_address(ip)) == ip


@pytest.mark.parametrize(
    ("text", "ip"),
    [
        ("192.0.2.1", bytes([192, 0, 2, 1])),
        ("::", bytes(16)),
        ("2001:db8::1:0:0:1", bytes.fromhex("20010db8000000000001000000000001")),
        ("::ffff:192.0.2.1", bytes(10) + b"\xff\xff\xc0\x00\x02\x01"),
    ],
)
def test_text_is_that_of_rfc_5952(text: str, ip: bytes) -> None:
    assert a.bytes_to_ip(ip) == text
    assert a.ip_to_bytes(text) == ip


def test_a_zone_is_left_out() -> None:
    assert a.ip_to_bytes("fe80::1%eth0") == a.ip_to_bytes("fe80::1")


@pytest.mark.parametrize("text", ["", "1.2.3", "1.2.3.256", "1::2::3", "host", ":"])
def test_text_that_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        a.ip_to_bytes(text)


@pytest.mark.parametrize("length", [0, 3, 5, 15, 17])
def test_bytes_that_are_no_address_are_refused(length: int) -> None:
    with pytest.raises(ValueError, match="4 or 16"):
        a.bytes_to_ip(bytes(length))


def test_prefix_text() -> None:
    assert a.parse_prefix("10.0.0.1/24") == (b"\x0a\0\0\1", 24)
    assert a.parse_prefix("10.0.0.1") == (b"\x0a\0\0\1", 32)
    assert a.parse_prefix("fd00::/0") == (a.ip_to_bytes("fd00::"), 0)
    assert a.parse_prefix("fd00::1/128") == (a.ip_to_bytes("fd00::1"), 128)


@pytest.mark.parametrize("text", ["10.0.0.1/33", "10.0.0.1/", "10.0.0.1/-1", "10.0.0.1/1/2", "fd00::/129", "::/²"])
def test_prefix_text_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        a.parse_prefix(text)


def test_mac_text() -> None:
    assert a.mac_to_bytes("02:00:00:aB:0:1") == b"\x02\0\0\xab\0\1"
    assert a.mac_to_bytes("02-00-00-00-00-01") == b"\x02\0\0\0\0\1"
    assert a.bytes_to_mac(b"\x02\0\0\xab\0\1") == "02:00:00:ab:00:01"


@pytest.mark.parametrize(
    "text", ["", "02:00:00:00:00", "02:00:00:00:00:01:02", "02:00:00:00:00:0g", "2:::::", "002:0:0:0:0:0"]
)
def test_mac_text_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no MAC"):
        a.mac_to_bytes(text)


@given(ANY_IP, st.integers(0, 128))
def test_prefix_arithmetic_is_that_of_ipaddress(ip: bytes, prefix_len: int) -> None:
    prefix_len %= len(ip) * 8 + 1
    network = ip_network((ip, prefix_len), strict=False)
    assert a.network_of(ip, prefix_len) == network.network_address.packed
    assert a.in_prefix(ip, network.network_address.packed, prefix_len)
    assert a.in_prefix(network.broadcast_address.packed, ip, prefix_len)
    if prefix_len:
        flipped = bytes([ip[0] ^ 0x80]) + ip[1:]
        assert not a.in_prefix(flipped, ip, prefix_len)


def test_no_prefix_holds_addresses_of_the_other_family() -> None:
    assert not a.in_prefix(bytes(4), bytes(16), 0)


@given(ANY_IP)
def test_kinds_are_those_of_ipaddress(ip: bytes) -> None:
    known = ip_address(ip)
    assert a.is_multicast(ip) == known.is_multicast
    assert a.is_unspecified(ip) == known.is_unspecified
    assert a.is_link_local(ip) == known.is_link_local
    assert a.is_loopback(ip) == known.is_loopback


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("0.0.0.0", {"unspecified"}),
        ("127.1.2.3", {"loopback"}),
        ("255.255.255.255", {"broadcast"}),
        ("240.0.0.1", {"class_e"}),
        ("224.0.0.1", {"multicast", "link_local_multicast"}),
        ("224.0.1.1", {"multicast"}),
        ("239.255.0.1", {"multicast"}),
        ("169.254.1.1", {"link_local"}),
        ("8.8.8.8", set()),
        ("::", {"unspecified"}),
        ("::1", {"loopback"}),
        ("fe80::1", {"link_local"}),
        ("febf::1", {"link_local"}),
        ("fec0::1", set()),
        ("ff02::1", {"multicast", "link_local_multicast"}),
        ("ff01::1", {"multicast", "link_local_multicast"}),
        ("ff0e::1", {"multicast"}),
        ("::ffff:1.2.3.4", {"ipv4_mapped"}),
        ("2001:db8::1", set()),
    ],
)
def test_kinds(text: str, kinds: set[str]) -> None:
    ip = a.ip_to_bytes(text)
    found = {
        "unspecified": a.is_unspecified(ip),
        "loopback": a.is_loopback(ip),
        "broadcast": a.is_broadcast(ip),
        "class_e": a.is_class_e(ip),
        "multicast": a.is_multicast(ip),
        "link_local_multicast": a.is_link_local_multicast(ip),
        "link_local": a.is_link_local(ip),
        "ipv4_mapped": a.is_ipv4_mapped(ip),
    }
    assert {kind for kind, is_it in found.items() if is_it} == kinds


@pytest.mark.parametrize(
    ("text", "network", "prefix_len", "expected"),
    [
        ("10.1.2.255", "10.1.2.1", 24, True),
        ("10.1.2.0", "10.1.2.1", 24, True),  # RFC 1122 section 3.3.6: the 4.2BSD form is recognized too
        ("10.1.2.254", "10.1.2.1", 24, False),
        ("10.1.3.255", "10.1.2.1", 24, False),
        ("10.1.3.255", "10.1.2.1", 23, True),
        ("10.1.2.1", "10.1.2.0", 31, False),  # RFC 3021
        ("10.1.2.1", "10.1.2.1", 32, False),
    ],
)
def test_directed_broadcast(text: str, network: str, prefix_len: int, expected: bool) -> None:
    assert a.is_directed_broadcast(a.ip_to_bytes(text), a.ip_to_bytes(network), prefix_len) is expected


def test_ipv6_has_no_broadcast() -> None:
    assert not a.is_directed_broadcast(b"\xff" * 16, b"\xff" * 16, 64)


def test_derived_addresses() -> None:
    # RFC 4291 section 2.7.1 has this example.
    assert a.solicited_node(a.ip_to_bytes("4037::01:800:200E:8C6C")) == a.ip_to_bytes("FF02::1:FF0E:8C6C")
    assert a.multicast_mac(a.ip_to_bytes("ff02::1:ff0e:8c6c")) == b"\x33\x33\xff\x0e\x8c\x6c"
    # RFC 1112 section 6.4: the low 23 bits only.
    assert a.multicast_mac(a.ip_to_bytes("239.129.2.3")) == b"\x01\x00\x5e\x01\x02\x03"
    # RFC 4291 appendix A: the universal/local bit is inverted.
    assert a.link_local_of(b"\x34\x56\x78\x9a\xbc\xde") == a.ip_to_bytes("fe80::3656:78ff:fe9a:bcde")
    assert a.ip_to_bytes(IPv4Address("1.2.3.4")) == b"\1\2\3\4"
    assert a.ip_to_bytes(IPv6Address("::1")) == a.IPV6_LOOPBACK
