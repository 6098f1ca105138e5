"""TUN and TAP links against the Linux kernel: what each writes the other reads, with offloads and without."""

from __future__ import annotations

import fcntl
import os
import random
import socket
import sys
from typing import Any

import pytest
from tests.interop.netns import Inbox, Namespace, namespace, remove_stale

from plankroad.link import netlink, tunctl
from plankroad.link.device import DeviceLink
from plankroad.link.netlink import RouteSocket
from plankroad.link.segmentation import segment
from plankroad.link.tap import TapLink
from plankroad.link.tun import TunLink
from plankroad.wire.address import ip_to_bytes
from plankroad.wire.arp import build_arp, parse_arp
from plankroad.wire.checksum import complete
from plankroad.wire.ethernet import build_ethernet
from plankroad.wire.icmp import build_icmp, parse_icmp
from plankroad.wire.icmpv6 import build_icmpv6, parse_icmpv6
from plankroad.wire.ipv4 import build_ipv4, parse_ipv4
from plankroad.wire.ipv6 import build_ipv6, parse_ipv6
from plankroad.wire.packet import GSO_TCPV4, GSO_TCPV6, GSO_UDP_L4, Packet
from plankroad.wire.segment import ACK, PSH, RST, SYN, Segment
from plankroad.wire.tcp import build_tcp, parse_tcp, tcp_checksum_ok
from plankroad.wire.udp import build_udp, parse_udp, udp_checksum_ok

pytestmark = [pytest.mark.root, pytest.mark.xdist_group("root")]

KERNEL = {4: "10.7.0.1", 6: "fd07::1"}
STACK = {4: "10.7.0.2", 6: "fd07::2"}
ADDRESSES = ["10.7.0.1/24", "fd07::1/64"]
FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}
HEADER = {4: 20, 6: 40}

UDP_SEGMENT = 103


def pattern(length: int) -> bytes:
    return random.Random(length).randbytes(length)


def ours(version: int, protocol: int, length: int) -> bytes:
    """The IP header of a packet from the stack to the kernel."""
    src, dst = ip_to_bytes(STACK[version]), ip_to_bytes(KERNEL[version])
    if version == 4:
        return build_ipv4(src, dst, protocol, length, dont_fragment=True)
    return build_ipv6(src, dst, protocol, length)


def pseudo(version: int) -> tuple[bytes, bytes]:
    """Source and destination of a packet from the stack."""
    return ip_to_bytes(STACK[version]), ip_to_bytes(KERNEL[version])


def is_protocol(packet: Packet, version: int, protocol: int, start: int = 0) -> bool:
    """Whether it is such a packet from the kernel's address to the stack's; other chatter of the kernel is not."""
    head = packet.head[start:]
    if len(head) < HEADER[version] or head[0] >> 4 != version:
        return False
    dst = ip_to_bytes(STACK[version])
    if version == 4:
        return head[9] == protocol and head[16:20] == dst
    return head[6] == protocol and head[24:40] == dst


# Devices come and go


def test_a_device_is_made_set_up_and_vanishes_with_its_link(ns: Namespace) -> None:
    link = ns.open_tun("plank0", mtu=1400, kernel_address=ADDRESSES, kernel_routes=["10.8.0.0/16", "fd08::/64"])
    assert (link.name, link.mtu, link.ethernet, link.created) == ("plank0", 1400, False, True)
    shown = ns.run("ip", "addr", "show", "dev", "plank0")
    for part in ("mtu 1400", "UP", "inet 10.7.0.1/24", "inet6 fd07::1/64"):
        assert part in shown
    assert "tentative" not in shown
    assert "10.8.0.0/16 dev plank0" in ns.run("ip", "route")
    assert "fd08::/64 dev plank0" in ns.run("ip", "-6", "route")
    link.close()
    assert "plank0" not in ns.run("ip", "link")


def test_the_kernel_numbers_devices_without_a_name(ns: Namespace) -> None:
    assert [ns.open_tun().name, ns.open_tun().name, ns.open_tap().name] == ["tun0", "tun1", "tap0"]


def test_settings_can_be_changed_from_outside_of_the_namespace(ns: Namespace) -> None:
    link = ns.open_tun("plank0")
    link.set_mtu(9000)
    assert link.mtu == 9000
    assert "mtu 9000" in ns.run("ip", "link", "show", "plank0")
    link.set_up(False)
    assert "state DOWN" in ns.run("ip", "link", "show", "plank0")
    link.add_kernel_address("10.7.0.1/24")
    link.add_kernel_address("10.7.0.1/24")
    with pytest.raises(OSError, match="plank0: mtu 100000: "):
        link.set_mtu(100_000)
    assert link.mtu == 9000
    with pytest.raises(ValueError, match=r"10\.7\.0\.300"):
        link.add_kernel_address("10.7.0.300/24")


def test_a_persistent_device_is_attached_to_and_left_as_it_was(ns: Namespace) -> None:
    ns.run("ip", "tuntap", "add", "dev", "stays", "mode", "tun")
    ns.run("ip", "link", "set", "stays", "mtu", "1300")
    ns.run("ip", "addr", "add", "10.7.0.1/24", "dev", "stays")
    link = ns.open_tun("stays", kernel_address=["10.7.0.1/24", "fd07::1/64"], kernel_routes=["10.8.0.0/16"])
    assert (link.mtu, link.created) == (1300, False)
    assert "fd07::1/64" in ns.run("ip", "addr", "show", "dev", "stays")
    link.close()
    shown = ns.run("ip", "addr", "show", "dev", "stays")
    assert "10.7.0.1/24" in shown, "it was there before"
    assert "fd07::1/64" not in shown
    assert "10.8.0.0" not in ns.run("ip", "route")


def test_a_device_can_be_made_to_stay(ns: Namespace) -> None:
    ns.open_tun("stays", persistent=True).close()
    assert "stays" in ns.run("ip", "link")


def test_a_failed_set_up_leaves_nothing(ns: Namespace) -> None:
    for persistent in (False, True):
        with pytest.raises(ValueError, match="nonsense"):
            ns.open_tun("plank0", persistent=persistent, kernel_address=["10.7.0.1/24", "nonsense"])
        assert "plank0" not in ns.run("ip", "link")


def test_a_passed_descriptor_makes_a_link(ns: Namespace) -> None:
    def attach() -> int:
        fd, name, vnet = tunctl.open_device("given", tunctl.IFF_TUN, True)
        assert (name, vnet) == ("given", True)
        return fd

    fd = ns.call(attach)
    with pytest.raises(ValueError, match="other kind"):
        TapLink.from_fd(fd)
    with pytest.raises(ValueError, match="say its mtu"):
        TunLink.from_fd(fd)
    link = TunLink.from_fd(fd, mtu=1280)
    try:
        assert (link.name, link.mtu, link.tx_csum, link.gso_max_size) == ("given", 1280, True, 65535)
    finally:
        link.close()


def test_a_passed_descriptor_in_its_own_namespace_tells_the_mtu(ns: Namespace) -> None:
    ns.run("ip", "tuntap", "add", "dev", "given", "mode", "tap")
    ns.run("ip", "link", "set", "given", "mtu", "1234")
    fd, _, _ = ns.call(tunctl.open_device, "given", tunctl.IFF_TAP, False)
    link = ns.call(TapLink.from_fd, fd, mac=b"\x02\0\0\0\0\x07")
    try:
        assert (link.name, link.mtu, link.mac) == ("given", 1234, b"\x02\0\0\0\0\x07")
        assert (link.vnet_header, link.gso_max_size, link.join) == (False, 65535, True)
    finally:
        link.close()


def test_routes_through_a_gateway_are_taken_away_again(ns: Namespace) -> None:
    ns.run("ip", "tuntap", "add", "dev", "stays", "mode", "tap")
    ns.run("ip", "link", "set", "stays", "up")
    ns.run("ip", "addr", "add", "10.7.0.1/24", "dev", "stays")
    link = ns.open_tap("stays")
    for _ in range(2):
        link.add_kernel_route("10.8.0.0/16", "10.7.0.2")
    assert "10.8.0.0/16 via 10.7.0.2 dev stays" in ns.run("ip", "route")
    with pytest.raises(ValueError, match="other family"):
        link.add_kernel_route("10.8.0.0/16", "fd07::2")
    with pytest.raises(OSError, match=r"stays: route 10\.9\.0\.0/16: .*unreachable"):
        link.add_kernel_route("10.9.0.0/16", "192.0.2.1")
    link.close()
    assert "10.8.0.0" not in ns.run("ip", "route")


def test_an_ipv6_address_is_in_use_when_open_returns(ns: Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel answers before it puts an IPv6 address to use: who binds to it or is sent to it could lose a race. The
    race is seldom lost, so what is looked at is that its end is waited for, and that this ends.
    """
    waited: list[str] = []
    really = netlink._wait_for_local_route

    def wait(news: socket.socket, address: bytes) -> None:
        really(news, address)
        waited.append(socket.inet_ntop(socket.AF_INET6, address))

    monkeypatch.setattr(netlink, "_wait_for_local_route", wait)
    link = ns.open_tun(kernel_address=["10.7.0.1/24", "fd07::1/64"])
    link.add_kernel_address("fd07::1/64")
    assert waited == ["fd07::1"]
    link.set_up(False)
    link.add_kernel_address("fd07::9/64")
    assert waited == ["fd07::1"], "on a device that is down there is nothing to wait for"


# What goes wrong says what to do


def test_another_link_on_the_device_is_refused(ns: Namespace) -> None:
    ns.open_tun("plank0")
    with pytest.raises(OSError, match="in use by another process"):
        ns.open_tun("plank0")


def test_a_device_of_another_kind_is_refused(ns: Namespace) -> None:
    ns.run("ip", "tuntap", "add", "dev", "stays", "mode", "tap")
    with pytest.raises(OSError, match="no TUN device"):
        ns.open_tun("stays")


#: A process that gives up its rights once it has loaded what another user might not be allowed to read.
REFUSED = """
import os, sys
from plankroad.link.tun import TunLink
if sys.argv[1] == "user":
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
try:
    TunLink.open("plank0")
except PermissionError as error:
    print("refused:", error)
"""


@pytest.mark.parametrize("who", ["user", "root without the capability"])
def test_without_permission_the_error_says_what_to_do(ns: Namespace, who: str) -> None:
    drop = [] if who == "user" else ["setpriv", "--bounding-set", "-net_admin", "--inh-caps", "-net_admin"]
    output = ns.run(*drop, *_python(REFUSED, who))
    assert "refused: " in output
    assert "root or CAP_NET_ADMIN" in output
    assert "ip tuntap add dev plank0 mode tun user $USER" in output


#: What a user does with the device that root made for it.
ATTACHED = """
from plankroad.link.tun import TunLink
from plankroad.wire.packet import Packet
link = TunLink.open("stays")
print("attached:", link.name, link.mtu, link.tx_csum, link.created)
try:
    link.set_mtu(1300)
except PermissionError as error:
    print("refused:", error)
link.close()
"""


def test_a_device_that_root_made_for_a_user_needs_no_rights(ns: Namespace) -> None:
    """The owner is user 0 here, which has no CAP_NET_ADMIN any more: /dev/net/tun itself may be closed to others."""
    ns.run("ip", "tuntap", "add", "dev", "stays", "mode", "tun", "user", "0")
    ns.run("ip", "link", "set", "stays", "up", "mtu", "1400")
    output = ns.run("setpriv", "--bounding-set", "-net_admin", "--inh-caps", "-net_admin", *_python(ATTACHED))
    assert "attached: stays 1400 True False" in output
    assert "let root do: ip link set stays mtu 1300" in output


def _python(program: str, *arguments: str) -> list[str]:
    paths = os.pathsep.join(p for p in sys.path if p)
    return ["env", f"PYTHONPATH={paths}", sys.executable, "-c", program, *arguments]


def test_without_the_driver_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tunctl, "DEVICE", "/dev/net/nothing-of-that-name")
    with pytest.raises(FileNotFoundError, match="modprobe tun"):
        TunLink.open()


def test_a_device_that_goes_away_is_told_once_and_for_all(ns: Namespace) -> None:
    link = ns.open_tun("plank0", kernel_address=ADDRESSES)
    ns.run("ip", "link", "del", "plank0")
    with pytest.raises(OSError, match="plank0: the device has gone"):
        Inbox(link).next(lambda _: False)
    assert link.send(Packet(ours(4, 1, 8) + build_icmp(8, 0, 0, b"")))
    assert link.counters.tx_dropped == 1


def test_a_device_that_is_down_loses_packets(ns: Namespace) -> None:
    link = ns.open_tun("plank0", kernel_address=ADDRESSES, up=False)
    assert link.send(Packet(ours(4, 1, 8) + build_icmp(8, 0, 0, b"")))
    assert link.counters.tx_dropped == 1
    link.set_up(True)
    assert link.send(Packet(ours(4, 1, 8) + build_icmp(8, 0, 0, b"")))
    Inbox(link).next(lambda p: is_protocol(p, 4, 1))


# Packets


@pytest.mark.parametrize("offload", [True, False])
def test_ping_answered_by_the_kernel(ns: Namespace, offload: bool) -> None:
    link = ns.open_tun(offload=offload, kernel_address=ADDRESSES)
    assert link.vnet_header is offload
    inbox = Inbox(link)
    body = pattern(1000)
    assert link.send(Packet(ours(4, 1, 8 + len(body)), build_icmp(8, 0, 0x00010002, body)))
    answer = inbox.next(lambda p: is_protocol(p, 4, 1)).head
    header = parse_ipv4(answer)
    message = parse_icmp(answer, header.payload_start, header.payload_end)
    assert (message.type, message.rest, message.body) == (0, 0x00010002, body)

    src, dst = pseudo(6)
    assert link.send(Packet(ours(6, 58, 8 + len(body)), build_icmpv6(src, dst, 128, 0, 0x00010002, body)))
    answer = inbox.next(lambda p: is_protocol(p, 6, 58) and p.head[40] == 129).head
    header6 = parse_ipv6(answer)
    message6 = parse_icmpv6(answer, header6.payload_start, header6.payload_end, dst, src)
    assert (message6.type, message6.rest, message6.body) == (129, 0x00010002, body)


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("offload", [True, False])
def test_datagrams_both_ways(ns: Namespace, version: int, offload: bool) -> None:
    link = ns.open_tun(offload=offload, kernel_address=ADDRESSES)
    kernel = ns.socket(FAMILY[version], socket.SOCK_DGRAM)
    kernel.bind((KERNEL[version], 7))
    payload = pattern(1200)
    src, dst = pseudo(version)
    header = build_udp(src, dst, 5000, 7, payload, partial=True)
    network = ours(version, 17, 8 + len(payload))
    assert link.send(Packet(network + header, payload, csum_start=len(network), csum_offset=6))
    data, peer = kernel.recvfrom(2000)
    assert (data, peer[:2]) == (payload, (STACK[version], 5000))

    kernel.sendto(payload[::-1], (STACK[version], 5000))
    got = Inbox(link).next(lambda p: is_protocol(p, version, 17))
    start = HEADER[version]
    if offload:
        assert (got.csum_start, got.csum_offset) == (start, 6), "the kernel leaves the checksum to us"
        got = complete(got)
    else:
        assert got.csum_start == 0
    data = got.to_bytes()
    assert udp_checksum_ok(data, start, len(data), dst, src)
    assert parse_udp(data, start, len(data)).payload == payload[::-1]


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("offload", [True, False])
def test_many_datagrams_in_one_piece_arrive_one_by_one(ns: Namespace, version: int, offload: bool) -> None:
    link = ns.open_tun(offload=offload, kernel_address=ADDRESSES)
    kernel = ns.socket(FAMILY[version], socket.SOCK_DGRAM)
    kernel.bind((KERNEL[version], 7))
    payload = pattern(9500)
    src, dst = pseudo(version)
    header = build_udp(src, dst, 5000, 7, payload, partial=True)
    network = ours(version, 17, 8 + len(payload))
    assert link.send(Packet(network + header, payload, 0, GSO_UDP_L4, 1000, len(network), 6))
    parts = [payload[i : i + 1000] for i in range(0, len(payload), 1000)]
    assert [kernel.recv(70000) for _ in parts] == parts

    # The other way: what a program gives the kernel in one piece comes to us as datagrams.
    kernel.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 1000)
    kernel.sendto(payload, (STACK[version], 5000))
    got: list[bytes] = []

    def collect(packet: Packet) -> bool:
        if is_protocol(packet, version, 17):
            data = complete(packet).to_bytes()
            assert udp_checksum_ok(data, HEADER[version], len(data), dst, src)
            got.append(parse_udp(data, HEADER[version], len(data)).payload)
        return len(got) == len(parts)

    Inbox(link).next(collect)
    assert got == parts


class HandmadePeer:
    """The least of TCP that makes the kernel's socket an established one, for tests of links alone."""

    def __init__(self, ns: Namespace, link: DeviceLink, version: int, mss: int = 1400) -> None:
        self.link = link
        self.inbox = Inbox(link)
        self.version = version
        self.start = HEADER[version]
        self.src, self.dst = pseudo(version)
        listener = ns.socket(FAMILY[version])
        listener.bind((KERNEL[version], 80))
        listener.listen()
        self.seq = 1000
        syn = Segment(5000, 80, self.seq, 0, SYN, 65535)
        syn.mss = mss
        syn.wscale = 8
        self.send(syn)
        self.seq += 1
        answer = self.receive()
        assert answer.flags == SYN | ACK
        self.ack = (answer.seq + 1) & 0xFFFFFFFF
        self.send(self.make(ACK))
        self.socket, _ = listener.accept()
        self.socket.settimeout(20)
        listener.close()

    def close(self) -> None:
        """End the kernel's side by a reset, so that its port is free at once."""
        self.send(self.make(RST))
        self.socket.close()

    def make(self, flags: int, payload: bytes = b"") -> Segment:
        return Segment(5000, 80, self.seq, self.ack, flags, 65535, payload)

    def packet(self, seg: Segment) -> Packet:
        header = build_tcp(seg, self.src, self.dst, partial=True)
        network = ours(self.version, 6, len(header) + len(seg.payload))
        return Packet(network + header, seg.payload, csum_start=len(network), csum_offset=16)

    def send(self, seg: Segment) -> None:
        assert self.link.send(self.packet(seg))

    def receive_packet(self) -> Packet:
        return self.inbox.next(lambda p: is_protocol(p, self.version, 6))

    def receive(self) -> Segment:
        return parse_tcp((packet := self.receive_packet()).head, self.start, len(packet))


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("offload", [True, False])
def test_a_super_segment_we_send_arrives_whole(ns: Namespace, version: int, offload: bool) -> None:
    link = ns.open_tun(offload=offload, kernel_address=ADDRESSES)
    peer = HandmadePeer(ns, link, version)
    payload = pattern(40_000)
    packet = peer.packet(peer.make(ACK | PSH, payload))
    packet.gso_type = GSO_TCPV4 if version == 4 else GSO_TCPV6
    packet.gso_size = 1400
    writes = link.counters.tx_packets
    assert link.send(packet)
    assert link.counters.tx_packets - writes == (1 if offload else 29)
    got = b""
    while len(got) < len(payload):
        got += peer.socket.recv(65536)
    assert got == payload
    peer.close()


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("offload", [True, False])
def test_a_super_segment_of_the_kernel_arrives_whole(ns: Namespace, version: int, offload: bool) -> None:
    """10,000 bytes are within the kernel's initial window of ten segments: it can send them at once."""
    # One that does not pace: bbr sends two segments at a time to a peer whose path it does not know.
    ns.sysctl("net/ipv4/tcp_congestion_control", "reno")
    link = ns.open_tun(offload=offload, join=False, kernel_address=ADDRESSES)
    peer = HandmadePeer(ns, link, version, mss=1000)
    payload = pattern(10_000)
    peer.socket.send(payload)
    got = b""
    largest = 0
    while len(got) < len(payload):
        packet = peer.receive_packet()
        largest = max(largest, len(packet))
        if offload:
            assert (packet.csum_start, packet.csum_offset) == (peer.start, 16)
        for part in segment(packet):
            data = part.to_bytes()
            assert len(data) <= peer.start + 20 + 1000
            assert tcp_checksum_ok(data, peer.start, len(data), peer.dst, peer.src)
            seg = parse_tcp(data, peer.start, len(data))
            if seg.payload:
                assert seg.seq == (peer.ack + len(got)) & 0xFFFFFFFF
                got += seg.payload
    assert got == payload
    assert (largest > 5000) is offload
    if offload:
        assert link.counters.rx_super_segments >= 1
    peer.close()


@pytest.mark.parametrize("version", [4, 6])
def test_the_kernel_cuts_as_we_do(ns: Namespace, version: int) -> None:
    """A super-segment that the kernel forwards to a device without offloads comes out as `segment` makes it."""
    near = ns.open_tun("near", kernel_address=ADDRESSES)
    far = ns.open_tun("far", offload=False, join=False, kernel_address=["10.17.0.1/24", "fd17::1/64"])
    ns.sysctl("net/ipv4/ip_forward", "1")
    ns.sysctl("net/ipv6/conf/all/forwarding", "1")
    src = ip_to_bytes(STACK[version])
    dst = ip_to_bytes("10.17.0.2" if version == 4 else "fd17::2")
    seg = Segment(5000, 80, 0xFFFFF000, 77, ACK | PSH, 501, pattern(20_000))
    seg.has_ts = True
    seg.ts_val = 12345
    header = build_tcp(seg, src, dst, partial=True)
    length = len(header) + len(seg.payload)
    build = (lambda ttl: build_ipv4(src, dst, 6, length, ttl=ttl, ident=0xFFF8)) if version == 4 else None
    networks = [build(ttl) if build else build_ipv6(src, dst, 6, length, hop_limit=ttl) for ttl in (64, 63)]
    gso_type = GSO_TCPV4 if version == 4 else GSO_TCPV6

    def whole(network: bytes) -> Packet:
        return Packet(network + header, seg.payload, 0, gso_type, 1400, len(network), 16)

    expected = [p.to_bytes() for p in segment(whole(networks[1]))]
    assert near.send(whole(networks[0]))
    assert near.counters.tx_super_segments == 1
    got: list[bytes] = []

    def collect(packet: Packet) -> bool:
        if packet.head[0] >> 4 == version and packet.head[6 if version == 6 else 9] == 6:
            got.append(packet.to_bytes())
        return len(got) == len(expected)

    Inbox(far).next(collect)
    assert got == expected


def test_a_super_segment_the_kernel_will_not_have_is_cut_here(ns: Namespace) -> None:
    """A kernel before 6.2 answers EINVAL to UDP segmentation; so does any to a header it finds fault with."""
    link = ns.open_tun(kernel_address=ADDRESSES)
    kernel = ns.socket(socket.AF_INET, socket.SOCK_DGRAM)
    kernel.bind((KERNEL[4], 7))
    src, dst = pseudo(4)
    payload = pattern(130 * 8)
    header = build_udp(src, dst, 5000, 7, payload, partial=True)
    network = ours(4, 17, 8 + len(payload))
    # More parts than UDP_MAX_SEGMENTS is what the kernel refuses in any version.
    assert link.send(Packet(network + header, payload, 0, GSO_UDP_L4, 8, len(network), 6))
    got = [kernel.recv(100) for _ in range(130)]
    assert got == [payload[i : i + 8] for i in range(0, len(payload), 8)]


@pytest.mark.parametrize("refused", range(len(tunctl.OFFLOAD_STEPS)))
def test_offloads_are_given_up_step_by_step(ns: Namespace, monkeypatch: pytest.MonkeyPatch, refused: int) -> None:
    """A kernel that refuses the first steps gets the next; sending still cuts nothing, as that is another matter."""
    really = fcntl.ioctl

    def older_kernel(fd: int, request: int, argument: Any = 0) -> Any:
        if request == tunctl.TUNSETOFFLOAD and argument in tunctl.OFFLOAD_STEPS[:refused]:
            raise OSError(22, "Invalid argument")
        return really(fd, request, argument)

    monkeypatch.setattr(fcntl, "ioctl", older_kernel)
    link = ns.open_tun(kernel_address=ADDRESSES)
    assert link.offloads == tunctl.OFFLOAD_STEPS[refused]
    assert link.udp_segmentation is (refused == 0)
    assert link.send(Packet(ours(4, 1, 8) + build_icmp(8, 0, 0, b"")))
    Inbox(link).next(lambda p: is_protocol(p, 4, 1))


def test_a_kernel_without_virtio_net_headers_is_done_without(
    ns: Namespace, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    really = fcntl.ioctl

    def older_kernel(fd: int, request: int, argument: Any = 0) -> Any:
        if request == tunctl.TUNGETFEATURES:
            return (tunctl.IFF_TUN | tunctl.IFF_TAP | tunctl.IFF_NO_PI).to_bytes(4, sys.byteorder)
        return really(fd, request, argument)

    monkeypatch.setattr(fcntl, "ioctl", older_kernel)
    link = ns.open_tun(kernel_address=ADDRESSES)
    assert (link.vnet_header, link.offloads, link.join) == (False, 0, True)
    assert "super-segments are cut in software" in caplog.text
    assert link.send(Packet(ours(4, 1, 8) + build_icmp(8, 0, 0, b"")))
    Inbox(link).next(lambda p: is_protocol(p, 4, 1))


# Ethernet


@pytest.mark.parametrize("offload", [True, False])
def test_frames_both_ways(ns: Namespace, offload: bool) -> None:
    kernel_mac = b"\x02\x11\x22\x33\x44\x55"
    link = ns.open_tap(
        "plank0", rng=random.Random(1), kernel_mac=kernel_mac, offload=offload, kernel_address=ADDRESSES
    )
    assert (link.ethernet, link.mtu) == (True, 1500)
    assert link.mac[0] & 3 == 2
    assert "02:11:22:33:44:55" in ns.run("ip", "link", "show", "plank0")
    inbox = Inbox(link)
    kernel = ns.socket(socket.AF_INET, socket.SOCK_DGRAM)
    kernel.bind((KERNEL[4], 7))

    # The kernel asks who has our address.
    kernel.sendto(b"who are you", (STACK[4], 5000))
    asked = inbox.next(lambda p: p.head[12:14] == b"\x08\x06")
    arp = parse_arp(asked.head, 14)
    assert (arp.operation, arp.sender_mac, arp.target_ip) == (1, kernel_mac, ip_to_bytes(STACK[4]))
    reply = build_arp(2, link.mac, arp.target_ip, arp.sender_mac, arp.sender_ip)
    assert link.send(Packet(build_ethernet(arp.sender_mac, link.mac, 0x0806) + reply))
    got = inbox.next(lambda p: is_protocol(p, 4, 17, 14))
    assert got.head[:12] == link.mac + kernel_mac
    if offload:
        assert (got.csum_start, got.csum_offset) == (34, 6)
    data = complete(got).to_bytes()
    assert udp_checksum_ok(data, 34, len(data), *reversed(pseudo(4)))
    assert parse_udp(data, 34, len(data)).payload == b"who are you"

    # A super-segment of ours.
    payload = pattern(5000)
    src, dst = pseudo(4)
    header = build_udp(src, dst, 5000, 7, payload, partial=True)
    network = build_ethernet(kernel_mac, link.mac, 0x0800) + ours(4, 17, 8 + len(payload))
    assert link.send(Packet(network + header, payload, 0, GSO_UDP_L4, 1000, len(network), 6))
    assert [kernel.recv(2000) for _ in range(5)] == [payload[i : i + 1000] for i in range(0, 5000, 1000)]


@pytest.mark.parametrize("offload", [True, False])
def test_a_tcp_super_segment_in_a_frame(ns: Namespace, offload: bool) -> None:
    """What the kernel sends on TAP is cut after its Ethernet header."""
    near = ns.open_tap("near", offload=offload, join=False, kernel_address=ADDRESSES)
    inbox = Inbox(near)
    kernel_mac = bytes.fromhex(ns.run("cat", "/sys/class/net/near/address").strip().replace(":", ""))
    src, dst = pseudo(4)
    ns.run("ip", "neigh", "add", STACK[4], "lladdr", near.mac.hex(":"), "dev", "near")
    ns.sysctl("net/ipv4/tcp_congestion_control", "reno")
    listener = ns.socket()
    listener.bind((KERNEL[4], 80))
    listener.listen()
    network = build_ethernet(kernel_mac, near.mac, 0x0800)

    def send(seg: Segment, gso_size: int = 0) -> None:
        header = build_tcp(seg, src, dst, partial=True)
        head = network + ours(4, 6, len(header) + len(seg.payload)) + header
        assert near.send(Packet(head, seg.payload, 0, GSO_TCPV4 if gso_size else 0, gso_size, 34, 16))

    def segments(packet: Packet) -> list[Segment]:
        assert packet.head[:12] == near.mac + kernel_mac
        parts = [part.to_bytes() for part in segment(packet, ethernet=True)]
        assert all(tcp_checksum_ok(data, 34, len(data), dst, src) for data in parts)
        return [parse_tcp(data, 34, len(data)) for data in parts]

    syn = Segment(5000, 80, 1000, 0, SYN, 65535)
    syn.mss = 1000
    send(syn)
    (answer,) = segments(inbox.next(lambda p: is_protocol(p, 4, 6, 14)))
    ack = (answer.seq + 1) & 0xFFFFFFFF
    payload = pattern(20_000)
    send(Segment(5000, 80, 1001, ack, ACK | PSH, 65535, payload), 1000)
    kernel, _ = listener.accept()
    kernel.settimeout(10)
    data = b""
    while len(data) < len(payload):
        data += kernel.recv(65536)
    assert data == payload
    kernel.send(payload[:10_000])
    got = b""
    while len(got) < 10_000:
        for seg in segments(inbox.next(lambda p: is_protocol(p, 4, 6, 14))):
            if seg.payload and seg.seq == (ack + len(got)) & 0xFFFFFFFF:
                got += seg.payload
    assert got == payload[:10_000]
    assert bool(near.counters.rx_super_segments) is offload
    assert bool(near.counters.tx_super_segments) is offload
    kernel.close()
    listener.close()


# The namespaces themselves


def test_a_namespace_ends_its_processes_and_vanishes() -> None:
    with namespace() as ns:
        name = ns.name
        process = ns.start("sh", "-c", "echo started; setsid sleep 1000 & exec sleep 1000")
        process.wait_for("started")
        link = ns.open_tun()
        kernel = ns.socket()
    assert process.popen.returncode is not None
    assert link.fileno() == kernel.fileno() == -1
    assert not os.path.exists(f"/run/netns/{name}")


def test_a_namespace_vanishes_when_its_block_fails() -> None:
    names = []

    def block() -> None:
        with namespace() as ns:
            names.append(ns.name)
            ns.start("sleep", "1000")
            raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"):
        block()
    assert not os.path.exists(f"/run/netns/{names[0]}")


def test_namespaces_of_killed_runs_are_removed(ns: Namespace) -> None:
    gone = ns.start("true")
    gone.wait()
    name = f"plankroad-{gone.pid}-1"
    ns.run("ip", "netns", "add", name)
    removed = remove_stale()
    assert name in removed
    assert ns.name not in removed


def test_what_the_kernel_says_of_a_device(ns: Namespace) -> None:
    routes = ns.call(RouteSocket)
    info = routes.link("lo")
    assert info is not None
    assert (info.index, info.mtu, info.up, info.mac) == (1, 65536, True, bytes(6))
    assert routes.link("nothing") is None
    routes.close()


def test_waits_have_limits(ns: Namespace) -> None:
    quiet = ns.start("sleep", "1000")
    with pytest.raises(TimeoutError, match="took too long"):
        quiet.wait_for("never", limit=0.05)
    with pytest.raises(EOFError, match="without saying"):
        ns.start("echo", "other").wait_for("never")
    with pytest.raises(AssertionError, match="exit status 1"):
        ns.run("false")
    link = ns.open_tun(up=False)
    with pytest.raises(TimeoutError):
        Inbox(link).next(lambda _: True, limit=0.05)
