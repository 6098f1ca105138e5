"""An interface's addresses, broadcasts and groups."""

from __future__ import annotations

import pytest

from plankroad.ip.interface import ADDRESS_DUPLICATE, ADDRESS_TENTATIVE, Interface
from plankroad.wire.address import ip_to_bytes as ip
from plankroad.wire.address import solicited_node

MAC = b"\x02\0\0\0\0\x01"


def test_bad_interfaces_are_refused() -> None:
    with pytest.raises(ValueError, match="MTU"):
        Interface(0, "x", 67)
    with pytest.raises(ValueError, match="MTU"):
        Interface(0, "x", 65536)
    with pytest.raises(ValueError, match="MAC"):
        Interface(0, "x", 1500, True, b"")
    with pytest.raises(ValueError, match="MAC"):
        Interface(0, "x", 1500, True, b"\x01\0\0\0\0\x01")


@pytest.mark.requirement("RFC1122-3.2.1.3-e")
@pytest.mark.parametrize(
    ("address", "length"),
    [
        ("224.0.0.1", 24),
        ("255.255.255.255", 32),
        ("10.0.0.255", 24),
        ("10.0.0.0", 24),
        ("0.0.0.0", 0),
        ("ff02::1", 64),
    ],
)
def test_group_and_broadcast_addresses_are_no_own_addresses(address: str, length: int) -> None:
    # RFC 1122 section 3.2.1.3
    with pytest.raises(ValueError, match="no interface's own"):
        Interface(0, "x", 1500).add_address(ip(address), length)


def test_a_prefix_of_31_bits_has_two_hosts() -> None:
    # RFC 3021
    interface = Interface(0, "x", 1500)
    interface.add_address(ip("10.0.0.0"), 31)
    assert interface.owns(ip("10.0.0.0"))
    assert not interface.is_broadcast(ip("10.0.0.1"))


def test_the_same_address_twice_is_refused() -> None:
    interface = Interface(0, "x", 1500)
    interface.add_address(ip("10.0.0.1"), 24)
    with pytest.raises(ValueError, match="already"):
        interface.add_address(ip("10.0.0.1"), 16)


def test_tentative_and_duplicate_addresses_are_not_own() -> None:
    # RFC 4862 section 5.4: a tentative address receives nothing
    interface = Interface(0, "x", 1500)
    address = interface.add_address(ip("10.0.0.1"), 24, ADDRESS_TENTATIVE)
    assert not interface.owns(ip("10.0.0.1"))
    assert interface.on_link(ip("10.0.0.2")) is None
    address.state = ADDRESS_DUPLICATE
    assert not interface.owns(ip("10.0.0.1"))


@pytest.mark.requirement("RFC1122-3.3.6-a", "RFC1122-3.3.6-d")
def test_broadcast_addresses_of_all_forms_are_recognized() -> None:
    # RFC 1122 section 3.3.6
    interface = Interface(0, "x", 1500)
    interface.add_address(ip("10.1.2.3"), 24)
    interface.add_address(ip("172.16.0.1"), 16)
    for text in ("255.255.255.255", "10.1.2.255", "10.1.2.0", "172.16.255.255", "0.0.0.0"):
        assert interface.is_broadcast(ip(text)), text
    for text in ("10.1.2.3", "10.1.3.255", "fd00::ff"):
        assert not interface.is_broadcast(ip(text)), text


def test_on_link_finds_the_longest_prefix() -> None:
    interface = Interface(0, "x", 1500)
    interface.add_address(ip("10.1.2.3"), 8)
    narrow = interface.add_address(ip("10.1.2.4"), 24)
    assert interface.on_link(ip("10.1.2.9")) is narrow
    assert interface.on_link(ip("11.0.0.1")) is None


def test_removing_an_address_removes_its_solicited_node_group() -> None:
    interface = Interface(0, "x", 1500)
    interface.add_address(ip("fd00::1"), 64)
    interface.add_address(ip("fd01::1"), 64)
    group = solicited_node(ip("fd00::1"))
    assert interface.groups[group] == 2
    assert interface.remove_address(ip("fd00::1"))
    assert group in interface.groups
    assert interface.remove_address(ip("fd01::1"))
    assert group not in interface.groups
    assert not interface.remove_address(ip("fd01::1"))


def test_groups_are_counted() -> None:
    interface = Interface(0, "x", 1500)
    group = ip("239.1.1.1")
    assert interface.join(group)
    assert not interface.join(group)
    assert not interface.leave(group)
    assert interface.leave(group)
    assert not interface.leave(group)
    with pytest.raises(ValueError, match="multicast"):
        interface.join(ip("10.0.0.1"))


@pytest.mark.requirement("RFC1122-3.3.7-c")
def test_hosts_listen_to_all_hosts_and_routers_to_all_routers() -> None:
    # RFC 1122 section 3.3.7; RFC 4291 section 2.8
    interface = Interface(0, "x", 1500)
    assert ip("224.0.0.1") in interface.groups
    assert ip("ff02::1") in interface.groups
    assert ip("ff02::2") not in interface.groups
    interface.set_forwarding(True)
    interface.set_forwarding(True)
    assert ip("ff02::2") in interface.groups
    interface.set_forwarding(False)
    assert ip("ff02::2") not in interface.groups
