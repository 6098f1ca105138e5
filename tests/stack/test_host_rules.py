"""Rules of RFC 1122 for a host that no other test proves; docs/conformance-ip.md has the whole list."""

from __future__ import annotations

import errno

import pytest
from tests.stack.net import A4, B4, Lone, Net

from plankroad.stack.config import StackConfig
from plankroad.wire.address import ip_to_bytes
from plankroad.wire.checksum import checksum
from plankroad.wire.errors import BadPacket
from plankroad.wire.icmp import build_icmp
from plankroad.wire.ipv4 import build_ipv4, parse_ipv4
from plankroad.wire.packet import Packet
from plankroad.wire.udp import build_udp, udp_checksum_ok


def echo(src: bytes = A4, dst: bytes = B4, ttl: int = 64) -> bytes:
    """An echo request."""
    message = build_icmp(8, 0, 1, b"data")
    return build_ipv4(src, dst, 1, len(message), ttl) + message


def with_version(packet: bytes, version: int) -> bytes:
    """The IPv4 packet with another version, its header checksum right."""
    head = bytes((version << 4 | packet[0] & 15,)) + packet[1:10] + bytes(2) + packet[12:20]
    return head[:10] + checksum(head).to_bytes(2, "big") + head[12:] + packet[20:]


@pytest.mark.requirement("RFC1122-3.2.1.1-a")
@pytest.mark.parametrize("version", [0, 1, 2, 3, 5, 7, 8, 15])
def test_a_packet_of_another_version_is_dropped_in_silence(version: int) -> None:
    net = Lone()
    assert net.give(with_version(echo(), 4)) != []
    assert net.give(with_version(echo(), version)) == []
    assert net.b.counters.ip.bad_header == 1
    with pytest.raises(BadPacket, match="version"):
        parse_ipv4(with_version(echo(), version))


@pytest.mark.requirement("RFC1122-3.2.1.2-a")
def test_a_packet_with_a_wrong_header_checksum_is_dropped_in_silence() -> None:
    net = Lone()
    bad = bytearray(echo())
    bad[11] ^= 1
    assert net.give(bytes(bad)) == []
    assert net.b.counters.ip.bad_header == 1


@pytest.mark.requirement("RFC1122-3.1-e", "RFC1122-3.1-f", "RFC1122-3.1-g")
@pytest.mark.parametrize("forwarding", [False, True])
def test_a_host_with_several_interfaces_passes_on_only_where_it_was_told_to(forwarding: bool) -> None:
    net = Net()
    stack = net.add(1, StackConfig(forwarding=True) if forwarding else None)
    for number in range(1, 4):
        stack.add_address(stack.add_interface(f"e{number}", 1500), f"10.{number}.0.1/24")
    stack.receive(0, Packet(echo(ip_to_bytes("10.1.0.9"), ip_to_bytes("10.2.0.9"))))
    out = stack.poll_transmit(0)
    assert (out is not None) == forwarding


@pytest.mark.requirement("RFC1122-3.3.1.6-a")
def test_addresses_masks_and_gateways_are_set_by_hand() -> None:
    net = Net()
    stack = net.add(1)
    interface = stack.add_interface("e0", 1500)
    far = ip_to_bytes("192.0.2.1")
    with pytest.raises(OSError, match="unreachable") as caught:
        stack.connect(0, far, 80)
    assert caught.value.errno == errno.ENETUNREACH
    stack.add_address(interface, "10.0.0.2/8")
    stack.add_route("192.0.2.0/24", gateway="10.200.0.1")
    connection = stack.connect(0, far, 80)
    assert connection.local_addr == B4
    route = stack.routes.lookup(far)
    assert route is not None
    assert route.gateway == ip_to_bytes("10.200.0.1")


@pytest.mark.requirement("RFC1122-3.3.2-b", "RFC1122-3.3.2-d")
def test_a_datagram_of_the_largest_size_is_put_together() -> None:
    # MMS_R: 65535 less 20.
    net = Lone()
    endpoint = net.b.bind_udp(b"", 7)
    data = bytes(range(256)) * 255 + bytes(65507 - 65280)
    whole = build_udp(A4, B4, 9, 7, data) + data
    for start in range(0, len(whole), 1480):
        piece = whole[start : start + 1480]
        more = start + len(piece) < len(whole)
        net.give(build_ipv4(A4, B4, 17, len(piece), ident=5, more_fragments=more, fragment_offset=start) + piece)
    datagram = endpoint.receive_from()
    assert datagram is not None
    assert datagram.data == data


@pytest.mark.requirement("RFC1122-3.2.1.3-a", "RFC1122-3.2.2.9-a", "RFC1122-3.2.2.9-b", "RFC1122-3.3.1.1-a")
def test_the_mask_that_was_set_by_hand_says_what_is_on_the_link() -> None:
    net = Net()
    stack = net.add(1)
    for number, prefix in enumerate((24, 28)):
        interface = stack.add_interface(f"e{number}", 1500)
        stack.add_address(interface, f"10.{number}.0.2/{prefix}")
    stack.add_route("0.0.0.0/0", gateway="10.0.0.254")
    first, second = stack.interfaces
    for address, interface, gateway in (
        ("10.0.0.9", first, ""),
        ("10.0.1.9", first, "10.0.0.254"),
        ("10.1.0.9", second, ""),
        ("10.1.0.17", first, "10.0.0.254"),
    ):
        ip = ip_to_bytes(address)
        route = stack.routes.lookup(ip)
        assert route is not None
        assert (route.interface, route.gateway) == (interface, ip_to_bytes(gateway) if gateway else b"")
        assert (interface.on_link(ip) is not None) == (not gateway)


@pytest.mark.requirement("RFC1122-4.1.3.4-a", "RFC1122-4.1.3.4-d", "RFC1122-4.1.3.5-c")
@pytest.mark.parametrize("local", [b"", bytes(4), B4])
def test_a_datagram_has_a_checksum_and_a_source_though_the_program_asks_for_neither(local: bytes) -> None:
    net = Lone()
    net.b.add_address(net.interface, "10.0.0.7/24")
    net.b.bind_udp(local, 53).send_to(0, b"data", A4, 5)
    (packet,) = net.take()
    assert packet[12:16] == B4
    assert packet[26:28] != b"\0\0"
    assert udp_checksum_ok(packet, 20, len(packet), B4, A4)
