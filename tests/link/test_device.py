"""Reading and writing a packet descriptor, on a pair of packet sockets in place of the kernel's device."""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator

import pytest
from tests.link.packets import frame, pattern, plain_data, tcp_parts, tcp_segment, tcp_super, udp_packet, udp_super

from plankroad.link import tunctl
from plankroad.link.device import DeviceLink
from plankroad.link.tap import TapLink, local_mac
from plankroad.link.tun import TunLink
from plankroad.link.vnet import PLAIN, VNET_SIZE
from plankroad.wire.packet import GSO_TCPV4, GSO_UDP_L4, Packet
from plankroad.wire.segment import ACK, PSH

SEGMENT = tcp_segment(1, ACK | PSH, pattern(4000))


class Kernel:
    """The other side of a link's descriptor."""

    def __init__(self) -> None:
        ours, self.socket = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        self.socket.setblocking(False)
        self.fd = ours.detach()
        self.links: list[DeviceLink] = []

    def link(
        self,
        *,
        vnet_header: bool = True,
        ethernet: bool = False,
        udp_segmentation: bool = True,
        join: bool = False,
        batch_packets: int = 64,
        batch_bytes: int = 1 << 20,
    ) -> DeviceLink:
        made = DeviceLink(
            self.fd,
            "tun0",
            1500,
            ethernet=ethernet,
            vnet_header=vnet_header,
            udp_segmentation=udp_segmentation,
            join=join,
            batch_packets=batch_packets,
            batch_bytes=batch_bytes,
        )
        self.links.append(made)
        return made

    def read(self) -> list[bytes]:
        got = []
        while True:
            try:
                got.append(self.socket.recv(70000))
            except BlockingIOError:
                return got


@pytest.fixture
def kernel() -> Iterator[Kernel]:
    made = Kernel()
    yield made
    for link in made.links:
        link.close()
    made.socket.close()


def vnet(*fields: int) -> bytes:
    return struct.pack("=BBHHHH", *fields)


def test_a_link_with_virtio_net_headers_takes_everything(kernel: Kernel) -> None:
    link = kernel.link()
    assert (link.tx_csum, link.gso_max_size) == (True, 65535)
    assert link.send(Packet(b"head", b"payload"))
    assert link.send(Packet(b"all"))
    assert link.send(tcp_super(4, SEGMENT, 1000))
    assert link.send(udp_super(4, pattern(3000), 1000))
    packet = tcp_super(4, SEGMENT, 1000)
    datagrams = udp_super(4, pattern(3000), 1000)
    assert kernel.read() == [
        PLAIN + b"headpayload",
        PLAIN + b"all",
        vnet(1, GSO_TCPV4, 40, 1000, 20, 16) + packet.to_bytes(),
        vnet(1, GSO_UDP_L4, 28, 1000, 20, 6) + datagrams.to_bytes(),
    ]
    assert (link.counters.tx_packets, link.counters.tx_super_segments) == (4, 2)


def test_a_link_without_them_cuts_and_completes(kernel: Kernel) -> None:
    link = kernel.link(vnet_header=False)
    assert (link.tx_csum, link.gso_max_size) == (True, 65535), "cutting here costs less than cutting in the stack"
    assert link.send(tcp_super(4, SEGMENT, 1000))
    assert link.send(Packet(b"head", b"payload"))
    single = tcp_super(4, tcp_segment(1, ACK, b"abc"), 0)
    single.gso_type = 0
    assert link.send(single)
    small = tcp_parts(4, tcp_segment(1, ACK, b"abc"), 1000)
    assert kernel.read() == [*tcp_parts(4, SEGMENT, 1000), b"headpayload", *small]
    assert (link.counters.tx_cut, link.counters.tx_packets, link.counters.tx_completed) == (1, 6, 5)


def test_udp_super_segments_are_cut_for_a_kernel_that_does_not_know_them(kernel: Kernel) -> None:
    link = kernel.link(udp_segmentation=False)
    assert link.send(udp_super(4, pattern(2000), 1000))
    cut = kernel.read()
    assert [c[:VNET_SIZE] for c in cut] == [vnet(1, 0, 0, 0, 20, 6)] * 2
    assert [c[VNET_SIZE + 28 :] for c in cut] == [pattern(2000)[:1000], pattern(2000)[1000:]]


def test_a_super_segment_with_a_complete_checksum_or_scattered_headers_is_cut_here(kernel: Kernel) -> None:
    link = kernel.link()
    packet = tcp_super(4, SEGMENT, 1000)
    data = packet.to_bytes()
    packet.head, packet.payload = data[:30], data[30:]
    assert link.send(packet)
    assert len(kernel.read()) == 4


def test_ethernet_frames_count_from_the_frame(kernel: Kernel) -> None:
    link = kernel.link(ethernet=True)
    assert link.send(tcp_super(4, SEGMENT, 1000, link_header=frame(4, [])))
    (data,) = kernel.read()
    assert data[:VNET_SIZE] == vnet(1, GSO_TCPV4, 54, 1000, 34, 16)


def test_reading_packets_with_virtio_net_headers(kernel: Kernel) -> None:
    link = kernel.link()
    for header, data in (
        (PLAIN, b"plain"),
        (vnet(1, 0, 0, 0, 20, 6), bytes(28)),
        (vnet(2, 0, 0, 0, 0, 0), b"checked"),
        (vnet(1, GSO_TCPV4, 40, 1000, 20, 16), tcp_super(4, SEGMENT, 1000).to_bytes()),
        (vnet(0, 3, 0, 100, 0, 0), b"unknown"),
    ):
        kernel.socket.send(header + data)
    plain, partial, checked, joined = link.receive()
    assert (plain.head, plain.csum_start, plain.csum_valid) == (b"plain", 0, False)
    assert (partial.csum_start, partial.csum_offset) == (20, 6)
    assert (checked.head, checked.csum_valid) == (b"checked", True)
    assert (joined.gso_type, joined.gso_size, len(joined)) == (GSO_TCPV4, 1000, 4040)
    assert link.counters.rx_errors == 1
    assert link.counters.rx_super_segments == 1
    assert link.receive() == []
    assert link.counters.rx_batches == 1


def test_received_udp_super_segments_become_datagrams(kernel: Kernel) -> None:
    link = kernel.link()
    kernel.socket.send(vnet(1, GSO_UDP_L4, 28, 1000, 20, 6) + udp_super(4, pattern(2500), 1000).to_bytes())
    got = link.receive()
    assert [p.payload or p.head[28:] for p in got] == [pattern(2500)[i : i + 1000] for i in (0, 1000, 2000)]
    assert all(p.csum_start == 20 and p.gso_type == 0 and not p.payload for p in got)


def test_reading_packets_alone(kernel: Kernel) -> None:
    link = kernel.link(vnet_header=False)
    kernel.socket.send(udp_packet(4, b"x" * 65000))
    kernel.socket.send(b"\x45")
    assert [len(p) for p in link.receive()] == [65028, 1]


def test_the_bytes_of_a_packet_are_its_own(kernel: Kernel) -> None:
    """The buffer that reads go to is used again."""
    link = kernel.link()
    kernel.socket.send(PLAIN + b"one")
    kernel.socket.send(PLAIN + b"two")
    first, second = link.receive()
    assert (first.head, second.head) == (b"one", b"two")


def test_a_batch_is_bounded_in_packets_and_bytes(kernel: Kernel) -> None:
    link = kernel.link(vnet_header=False, batch_packets=3, batch_bytes=2000)
    for _ in range(4):
        kernel.socket.send(bytes(10))
    assert [len(link.receive()), len(link.receive())] == [3, 1]
    for _ in range(4):
        kernel.socket.send(bytes(1000))
    assert [len(link.receive()), len(link.receive())] == [2, 2]


def test_joining_in_software(kernel: Kernel) -> None:
    for join in (False, True):
        other = Kernel() if join else kernel
        link = other.link(vnet_header=False, join=join)
        for start in range(0, 3000, 1000):
            other.socket.send(plain_data(pattern(1000), start))
        assert len(link.receive()) == (1 if join else 3)
        link.close()
        other.socket.close()


def test_a_full_descriptor_refuses_and_the_same_packet_goes_on_later(kernel: Kernel) -> None:
    link = kernel.link(vnet_header=False)
    packet = tcp_super(4, tcp_segment(1, ACK | PSH, pattern(60_000)), 100)
    expected = tcp_parts(4, tcp_segment(1, ACK | PSH, pattern(60_000)), 100)
    assert not link.send(packet), "600 packets do not fit in the socket"
    got = kernel.read()
    assert 0 < len(got) < len(expected)
    while not link.send(packet):
        got += kernel.read()
    got += kernel.read()
    assert got == expected
    assert link.counters.tx_refused >= 1
    assert link.counters.tx_packets == len(expected)
    assert link.send(Packet(b"next"))
    assert kernel.read() == [b"next"]


def test_another_packet_waits_for_the_rest_of_a_super_segment(kernel: Kernel) -> None:
    link = kernel.link(vnet_header=False)
    packet = tcp_super(4, tcp_segment(1, ACK | PSH, pattern(60_000)), 100)
    assert not link.send(packet)
    assert not link.send(Packet(b"other"))
    got: list[bytes] = []
    while True:
        got += kernel.read()
        if link.send(Packet(b"other")):
            break
    got += kernel.read()
    assert got == [*tcp_parts(4, tcp_segment(1, ACK | PSH, pattern(60_000)), 100), b"other"]


def test_a_full_descriptor_refuses_a_single_packet(kernel: Kernel) -> None:
    link = kernel.link()
    sent = 0
    while link.send(Packet(bytes(1000))):
        sent += 1
    assert len(kernel.read()) == sent
    assert link.counters.tx_refused == 1


def test_nonsense_is_lost_and_counted(kernel: Kernel) -> None:
    link = kernel.link(vnet_header=False)
    assert link.send(Packet(b"abc", gso_type=GSO_TCPV4, gso_size=1))
    assert link.send(Packet(b"abc", csum_start=20, csum_offset=16))
    assert kernel.read() == []
    assert link.counters.tx_errors == 2


def test_the_end_of_a_packet_socket_is_told_after_what_came_before(kernel: Kernel) -> None:
    link = kernel.link()
    kernel.socket.send(PLAIN + b"last")
    kernel.socket.close()
    assert [p.head for p in link.receive()] == [b"last"]
    with pytest.raises(OSError, match="the other end has gone"):
        link.receive()


def test_a_header_cut_short_or_wrong_is_counted(kernel: Kernel) -> None:
    link = kernel.link()
    for data in (b"short", vnet(1, 0, 0, 0, 20, 16) + bytes(37), vnet(1, 0, 0, 0, 20, 16) + bytes(38)):
        kernel.socket.send(data)
    assert [len(p) for p in link.receive()] == [38]
    assert link.counters.rx_errors == 2


def test_more_kinds_of_headers_than_are_kept(kernel: Kernel) -> None:
    """A peer that makes the kernel vary its headers costs no memory, and each still means what it says."""
    link = kernel.link()
    for start in range(14, 614):
        kernel.socket.send(vnet(1, 0, 0, 0, start, 6) + bytes(700))
        assert [(p.csum_start, p.csum_offset) for p in link.receive()] == [(start, 6)]
        assert link.send(Packet(bytes(700), csum_start=start, csum_offset=6))
        assert kernel.read() == [vnet(1, 0, 0, 0, start, 6) + bytes(700)]
    assert len(link._known) <= 256
    assert len(link._headers) <= 256


def test_after_close_nothing_passes(kernel: Kernel) -> None:
    link = kernel.link()
    link.close()
    link.close()
    assert link.fileno() == -1
    assert link.receive() == []
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(kernel.fd)
    assert link.send(Packet(b"x"))
    assert (link.counters.tx_dropped, link.counters.tx_packets) == (1, 0)


def test_a_link_on_a_strange_descriptor_sets_up_no_device(kernel: Kernel) -> None:
    link = kernel.link()
    with pytest.raises(OSError, match="ip link set tun0 mtu 1400"):
        link.set_mtu(1400)
    assert link.mtu == 1500
    with pytest.raises(ValueError, match="not attached to a TUN or TAP device"):
        TunLink.from_fd(kernel.fd)


def test_impossible_names_are_refused() -> None:
    for name in ("a-name-of-16-byte", "a b", "a/b", "a:b", ".", ".."):
        with pytest.raises(ValueError, match="no device name"):
            tunctl.open_device(name, tunctl.IFF_TUN, True)
        # Before anything is asked of the kernel, which needs no root to be told.
        with pytest.raises(ValueError, match="no device name"):
            TunLink.open(name)


def test_a_driver_that_is_closed_to_the_user_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    # A device that root made for the user does not help where /dev/net/tun itself is root's alone.
    def refused(path: str, flags: int) -> int:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)

    monkeypatch.setattr("plankroad.link.tunctl.os.open", refused)
    with pytest.raises(PermissionError, match="chmod 666 /dev/net/tun"):
        tunctl.open_device("stays", tunctl.IFF_TUN, True)


def test_an_mtu_that_is_too_small_for_ipv6_is_refused() -> None:
    # RFC 8200 section 5; the kernel would say "Invalid argument" to the address.
    with pytest.raises(ValueError, match="IPv6 needs an MTU of at least 1280"):
        TunLink.open("plank9", mtu=1279, kernel_address=("10.0.0.1/24", "fd00::1/64"))


def test_impossible_macs_are_refused() -> None:
    for mac in (b"\x01\0\0\0\0\0", b"\x02\0\0"):
        with pytest.raises(ValueError, match="no MAC"):
            TapLink.open(mac=mac)


def test_random_macs_are_local_and_of_one_station() -> None:
    macs = {local_mac() for _ in range(100)}
    assert len(macs) == 100
    assert all(mac[0] & 3 == 2 and len(mac) == 6 for mac in macs)


def test_offload_names() -> None:
    assert tunctl.offload_names(tunctl.OFFLOAD_STEPS[0]) == "csum tso4 tso6 tso_ecn uso4 uso6"
    assert tunctl.offload_names(0) == "none"
