"""Source and destination selection: the examples of RFC 6724 section 10 and IPv4's own rules."""

from __future__ import annotations

import pytest

from plankroad.ip.interface import ADDRESS_DEPRECATED, ADDRESS_TENTATIVE, Interface
from plankroad.ip.source import common_prefix_len, policy_of, scope, select_source, sort_destinations
from plankroad.wire.address import bytes_to_ip, parse_prefix
from plankroad.wire.address import ip_to_bytes as ip


def interface(*addresses: str, index: int = 0) -> Interface:
    made = Interface(index, f"i{index}", 1500)
    for text in addresses:
        made.add_address(*parse_prefix(text))
    return made


def chosen(dst: str, made: Interface, others: list[Interface] | None = None) -> str:
    found = select_source(ip(dst), made, others)
    return bytes_to_ip(found) if found else ""


@pytest.mark.parametrize(
    ("dst", "addresses", "expected"),
    [
        # RFC 6724 section 10.1, as far as the rules there have no temporary or home addresses.
        ("2001:db8:1::1", ["2001:db8:3::1/64", "fe80::1/64"], "2001:db8:3::1"),
        ("ff05::1", ["2001:db8:3::1/64", "fe80::1/64"], "2001:db8:3::1"),
        ("2001:db8:1::1", ["2001:db8:1::1/64", "2001:db8:2::1/64"], "2001:db8:1::1"),
        ("fe80::1", ["fe80::2/64", "2001:db8:1::1/64"], "fe80::2"),
        ("2001:db8:1::1", ["2001:db8:1::2/64", "2001:db8:3::2/64"], "2001:db8:1::2"),
        (
            "2002:c633:6401::1",
            ["2002:c633:6401::d5e3:7953:13eb:22e8/64", "2001:db8:1::2/64"],
            "2002:c633:6401:0:d5e3:7953:13eb:22e8",
        ),
        # Rule 6 before rule 8: unique local to unique local.
        ("fd99::1", ["2001:db8::1/64", "fd00::1/64"], "fd00::1"),
        ("ff02::1", ["2001:db8:3::1/64", "fe80::1/64"], "fe80::1"),
        # Rule 8 counts no more than the prefix: the interface identifier of ::5 says nothing.
        ("2001:db8::5", ["2001:db8::8/64", "2001:db8::4/64"], "2001:db8::8"),
    ],
)
def test_rfc_6724_section_5(dst: str, addresses: list[str], expected: str) -> None:
    assert chosen(dst, interface(*addresses)) == expected
    # The order of the addresses does not matter where a rule decides.
    if expected != "2001:db8::8":
        assert chosen(dst, interface(*reversed(addresses))) == expected


def test_deprecated_addresses_are_avoided() -> None:
    # Rule 3
    made = interface("2001:db8:1::1/64", "2001:db8:2::1/64")
    made.addresses[0].state = ADDRESS_DEPRECATED
    assert chosen("2001:db8:1::9", made) == "2001:db8:2::1"
    made.addresses[1].state = ADDRESS_TENTATIVE
    assert chosen("2001:db8:1::9", made) == "2001:db8:1::1"


def test_ipv4_takes_the_address_of_the_subnet_then_the_primary_one() -> None:
    # RFC 1122 section 3.3.4.3
    made = interface("192.168.1.1/24", "10.0.0.1/8", "10.1.0.1/16")
    assert chosen("10.1.2.3", made) == "10.1.0.1"
    assert chosen("10.2.2.3", made) == "10.0.0.1"
    assert chosen("8.8.8.8", made) == "192.168.1.1"


def test_ipv4_link_local_is_for_the_link() -> None:
    # RFC 3927 section 2.6: a routable address is preferred for destinations beyond
    made = interface("169.254.1.1/16", "10.0.0.1/8")
    assert chosen("8.8.8.8", made) == "10.0.0.1"
    assert chosen("169.254.9.9", made) == "169.254.1.1"


def test_an_unnumbered_interface_borrows_an_address() -> None:
    # RFC 1122 section 3.3.4.2, the weak model
    bare = interface(index=0)
    link_local_only = interface("fe80::1/64", index=1)
    numbered = interface("10.0.0.1/8", "2001:db8::1/64", index=2)
    assert chosen("8.8.8.8", bare, [bare, numbered]) == "10.0.0.1"
    assert chosen("8.8.8.8", bare) == ""
    assert chosen("2001:db8:9::1", link_local_only, [link_local_only, numbered]) == "2001:db8::1"
    assert chosen("fe80::9", link_local_only, [link_local_only, numbered]) == "fe80::1"
    numbered.up = False
    assert chosen("8.8.8.8", bare, [numbered]) == ""


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("fe80::1", 2),
        ("::1", 2),
        ("fec0::1", 5),
        ("2001:db8::1", 14),
        ("ff02::1", 2),
        ("ff05::1", 5),
        ("ff01::1", 1),
        ("127.0.0.1", 2),
        ("169.254.0.1", 2),
        ("10.0.0.1", 14),
        ("224.0.0.1", 2),
        ("239.255.0.1", 5),
        ("232.0.0.1", 14),
    ],
)
def test_scopes(text: str, value: int) -> None:
    assert scope(ip(text)) == value


@pytest.mark.parametrize(
    ("text", "precedence", "label"),
    [
        ("::1", 50, 0),
        ("2001:db8::1", 40, 1),
        ("10.0.0.1", 35, 4),
        ("::ffff:10.0.0.1", 35, 4),
        ("2002::1", 30, 2),
        ("2001:0:1::1", 5, 5),
        ("fd00::1", 3, 13),
        ("::9", 1, 3),
        ("fec0::1", 1, 11),
        ("3ffe::1", 1, 12),
    ],
)
def test_the_policy_table(text: str, precedence: int, label: int) -> None:
    # RFC 6724 section 2.1
    policy = policy_of(ip(text))
    assert (policy.precedence, policy.label) == (precedence, label)


def test_common_prefix_len_stops_at_64_bits() -> None:
    assert common_prefix_len(ip("2001:db8::1"), ip("2001:db8::1")) == 64
    assert common_prefix_len(ip("2001:db8::"), ip("2001:db9::")) == 31
    assert common_prefix_len(ip("10.0.0.1"), ip("10.0.0.1")) == 32


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        # RFC 6724 section 10.2
        ([("198.51.100.121", "198.51.100.117"), ("2001:db8:1::1", "2001:db8:1::2")], "2001:db8:1::1"),
        ([("2001:db8:1::1", "fe80::1"), ("198.51.100.121", "198.51.100.117")], "198.51.100.121"),
        ([("10.1.2.3", "10.1.2.4"), ("2001:db8:1::1", "2001:db8:1::2")], "2001:db8:1::1"),
        ([("2001:db8:1::1", "2001:db8:1::2"), ("fe80::1", "fe80::2")], "fe80::1"),
        ([("2001:db8:1::1", "2001:db8:3f44::2"), ("2001:db8:3ffe::1", "2001:db8:3f44::2")], "2001:db8:3ffe::1"),
        ([("2002:c633:6401::1", "2002:c633:6401::2"), ("2001:db8:1::1", "2001:db8:1::2")], "2001:db8:1::1"),
        # Rule 1
        ([("2001:db8:1::1", ""), ("198.51.100.121", "198.51.100.117")], "198.51.100.121"),
    ],
)
def test_rfc_6724_section_6(pairs: list[tuple[str, str]], expected: str) -> None:
    for order in (pairs, pairs[::-1]):
        sources = [ip(source) if source else b"" for _, source in order]
        result = sort_destinations([ip(dst) for dst, _ in order], sources)
        assert bytes_to_ip(result[0]) == expected
        assert len(result) == len(order)


def test_equal_destinations_keep_their_order() -> None:
    # Rule 10
    destinations = [ip(f"198.51.100.{i}") for i in (9, 3, 7)]
    assert sort_destinations(destinations, [ip("198.51.100.1")] * 3) == destinations
    with pytest.raises(ValueError, match="one source"):
        sort_destinations(destinations, [])
