"""Hosts on Ethernet: ARP and neighbour discovery under TCP and UDP, address checks, router advertisements."""

from __future__ import annotations

import io
import json

import pytest
from tests.stack.net import B4, B6, Net, Pair, body_of_frame

from plankroad.ip.interface import ADDRESS_DUPLICATE, ADDRESS_PREFERRED, ADDRESS_TENTATIVE
from plankroad.trace.eventlog import EventLog
from plankroad.units import SECOND
from plankroad.wire.address import IPV6_ALL_NODES, ip_to_bytes, link_local_of, multicast_mac
from plankroad.wire.ethernet import parse_ethernet
from plankroad.wire.ipv6 import build_ipv6
from plankroad.wire.ndp import NdpOptions, PrefixInfo, RouterAdvertisement, build_router_advertisement
from plankroad.wire.packet import Packet

ROUTER_MAC = b"\x02\0\0\0\0\xfe"


def advertisement(lifetime: int = 1800, mtu: int = 0) -> Packet:
    """A router's, with the prefix 2001:db8::/64."""
    options = NdpOptions(ROUTER_MAC)
    options.mtu = mtu
    options.prefixes.append(PrefixInfo(ip_to_bytes("2001:db8::"), 64, True, True, 7200, 3600))
    src = link_local_of(ROUTER_MAC)
    message = build_router_advertisement(
        src, IPV6_ALL_NODES, RouterAdvertisement(33, False, False, 0, lifetime, 0, 0, options)
    )
    packet = build_ipv6(src, IPV6_ALL_NODES, 58, len(message), 255) + message
    return Packet(multicast_mac(IPV6_ALL_NODES) + ROUTER_MAC + b"\x86\xdd" + packet)


@pytest.mark.requirement("RFC1122-3.2.1.6-c")
@pytest.mark.parametrize(("remote", "protocol_at"), [(B4, 9), (B6, 6)])
def test_the_tos_of_a_packet_leaves_no_mark_on_its_frame(remote: bytes, protocol_at: int) -> None:
    net = Pair(ethernet=True)
    udp = net.a.bind_udp()
    marks = (0, 0x10, 0xB8, 0xFC)
    for tos in marks:
        udp.tos = tos
        udp.send_to(net.now, b"x", remote, 53)
    net.run()
    frames = [frame for frame in net.wire.sent_by(net.a) if body_of_frame(frame)[protocol_at] == 17]
    bodies = [body_of_frame(frame) for frame in frames]
    assert [(body[0] << 8 | body[1]) >> (0 if remote == B4 else 4) & 0xFF for body in bodies] == list(marks)
    assert len({frame[:14] for frame in frames}) == 1


@pytest.mark.requirement("RFC1122-3.3.1.1-b")
@pytest.mark.parametrize(("tx_csum", "gso"), [(False, 0), (True, 65535)])
@pytest.mark.parametrize("remote", [B4, B6])
def test_streams_and_datagrams_in_frames(remote: bytes, tx_csum: bool, gso: int) -> None:
    net = Pair(ethernet=True, tx_csum=tx_csum, gso_max_size=gso)
    client, server, _ = net.connected(remote)
    data = bytes(range(256)) * 400
    assert client.send(net.now, data) == len(data)
    udp = net.b.bind_udp(b"", 53)
    net.a.bind_udp().send_to(net.now, data[:9000], remote, 53)
    net.run(SECOND)
    assert server.receive(net.now, 1 << 20) == data
    got = udp.receive_from()
    assert got is not None
    assert got.data == data[:9000]
    for sender, packet in net.wire.seen:
        header = parse_ethernet(packet.head)
        assert header.src == sender.interfaces[0].mac
        if packet.csum_offset:
            assert (packet.csum_start, tx_csum) == (34 if remote == B4 else 54, True)


def test_the_first_datagram_waits_for_its_neighbour_and_is_not_lost() -> None:
    """RFC 1122 section 2.3.2.2."""
    net = Pair(ethernet=True)
    udp = net.b.bind_udp(b"", 53)
    net.a.bind_udp().send_to(0, bytes(60_000), B4, 53)
    net.run()
    got = udp.receive_from()
    assert got is not None
    assert len(got.data) == 60_000


@pytest.mark.requirement("RFC1122-3.3.1.4-e")
def test_progress_of_a_connection_spares_the_probes() -> None:
    """RFC 4861 section 7.3.1."""
    net = Pair(ethernet=True)
    client, server, _ = net.connected(B6)
    for _ in range(300):
        client.send(net.now, bytes(1000))
        net.run(SECOND)
        server.receive(net.now, 10_000)
        server.send(net.now, b"x")
        net.run(SECOND)
        client.receive(net.now, 10)
    solicitations = 0
    for sender, packet in net.wire.seen:
        body = body_of_frame(packet.head)
        if sender is net.a and body[6] == 58 and body[40] == 135:
            solicitations += 1
    assert solicitations == 1


def test_an_address_is_used_once_it_is_known_to_be_alone() -> None:
    """RFC 4862 section 5.4, RFC 5227 section 2.1."""
    net = Pair(ethernet=True)
    interface = net.a.interfaces[0]
    for text in ("fd00::77/64", "10.0.0.77/24"):
        ip = ip_to_bytes(text.partition("/")[0])
        net.a.check_address(net.now, interface, text)
        assert interface.by_ip[ip].state == ADDRESS_TENTATIVE
        assert net.a.owner(ip) is None
        net.run(20 * SECOND)
        assert interface.by_ip[ip].state == ADDRESS_PREFERRED
        assert net.a.owner(ip) is interface


def test_an_address_that_another_host_has_is_not_used() -> None:
    text = io.StringIO()
    net = Pair(ethernet=True)
    net.a.log = EventLog(text)
    interface = net.a.interfaces[0]
    for address, ip in (("fd00::2/64", B6), ("10.0.0.2/24", B4)):
        net.a.check_address(net.now, interface, address)
        net.run(20 * SECOND)
        assert interface.by_ip[ip].state == ADDRESS_DUPLICATE
        assert net.a.owner(ip) is None
    events = [json.loads(line) for line in text.getvalue().splitlines()]
    states = [event["state"] for event in events if event["kind"] == "address"]
    assert states == ["duplicate", "duplicate"]


def test_a_host_configures_itself_by_router_advertisements() -> None:
    """RFC 4862 section 5.5, RFC 4861 section 6.3.4."""
    net = Net()
    host = net.add(1)
    interface = host.add_interface("e0", 1500, ethernet=True, mac=b"\x02\0\0\0\0\x01")
    host.autoconfigure(0, interface)
    net.run(10 * SECOND)
    host.receive(net.now, advertisement(mtu=1400))
    net.run(10 * SECOND)
    own = ip_to_bytes("2001:db8::")[:8] + link_local_of(interface.mac)[8:]
    far = ip_to_bytes("2001:db8:ffff::1")
    assert host.source_of(far) == own
    udp = host.bind_udp()
    udp.send_to(net.now, b"x", far, 5)
    frame = host.poll_transmit(net.now)
    assert frame is not None
    assert (frame.head[:6], frame.head[14 + 7]) == (ROUTER_MAC, 33)
    client = host.connect(net.now, far, 80)
    assert client.tcb.path_mss == 1400 - 60
    # The router says good-bye.
    host.receive(net.now, advertisement(lifetime=0))
    assert host.source_of(far) == b""
    with pytest.raises(ValueError, match="no Ethernet interface"):
        host.autoconfigure(0, host.loopback)
    with pytest.raises(ValueError, match="no Ethernet interface"):
        host.check_address(0, host.loopback, "10.0.0.1/24")


def test_an_mtu_told_by_the_router_reaches_living_connections() -> None:
    net = Pair(ethernet=True)
    client, _, _ = net.connected(B6)
    net.a.autoconfigure(net.now, net.a.interfaces[0])
    net.run(10 * SECOND)
    net.a.receive(net.now, advertisement(mtu=1300))
    client.send(net.now, bytes(20_000))
    net.wire.seen.clear()
    net.run()
    assert max(len(packet) for packet in net.wire.sent_by(net.a)) == 1314


def test_neighbours_are_forgotten_when_the_link_goes_down() -> None:
    net = Pair(ethernet=True)
    net.connected()
    neighbours = net.a.interfaces[0].neighbours
    assert neighbours is not None
    assert B4 in neighbours.entries
    net.a.set_interface_up(net.now, net.a.interfaces[0], False)
    assert not neighbours.entries


def test_neighbour_discovery_in_fragments_is_ignored() -> None:
    """RFC 6980 section 5."""
    net = Pair(ethernet=True)
    net.a.autoconfigure(net.now, net.a.interfaces[0])
    net.run(10 * SECOND)
    frame = advertisement(mtu=1400).head
    packet = frame[14:]
    atomic = packet[:4] + (len(packet) - 40 + 8).to_bytes(2, "big") + b"\x2c" + packet[7:40]
    fragment = b"\x3a\0\0\0\0\0\0\x07"
    whole = frame[:14] + atomic + fragment + packet[40:]
    stack = net.a
    before = stack.counters.icmp.bad_message
    stack.receive(net.now, Packet(whole, b"", stack.interfaces[0].index))
    assert stack.counters.icmp.bad_message == before + 1
    assert stack.interfaces[0].mtu == 1500
    stack.receive(net.now, Packet(frame, b"", stack.interfaces[0].index))
    assert stack.interfaces[0].mtu == 1400


def test_a_router_is_believed_about_the_mtu_up_to_what_the_link_takes_now() -> None:
    net = Pair(ethernet=True)
    stack = net.a
    interface = stack.interfaces[0]
    stack.autoconfigure(net.now, interface)
    net.run(10 * SECOND)
    stack.set_mtu(net.now, interface, 9000)
    stack.receive(net.now, Packet(advertisement(mtu=4000).head, b"", interface.index))
    assert interface.mtu == 4000


def test_an_interface_that_is_down_asks_nothing_and_begins_anew_when_it_comes_up() -> None:
    """RFC 5227 section 2.1, RFC 4861 section 6.3.7."""
    net = Pair(ethernet=True)
    stack, interface = net.a, net.a.interfaces[0]
    stack.set_interface_up(0, interface, False)
    for address in ("10.0.0.77/24", "fd00::77/64", "10.0.0.2/24"):
        stack.check_address(0, interface, address)
    stack.autoconfigure(0, interface)
    net.run(60 * SECOND)
    assert net.wire.sent_by(stack) == []
    checked = [address for address in interface.addresses if address.state == ADDRESS_TENTATIVE]
    assert len(checked) == 4
    stack.set_interface_up(net.now, interface, True)
    net.run(20 * SECOND)
    kinds = [frame[54] for frame in net.wire.sent_by(stack) if frame[12:14] == b"\x86\xdd" and frame[20] == 58]
    assert kinds.count(133) == 3
    states = {address.ip: address.state for address in checked}
    assert states.pop(B4) == ADDRESS_DUPLICATE
    assert set(states.values()) == {ADDRESS_PREFERRED}
