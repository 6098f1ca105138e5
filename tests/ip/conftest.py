"""A neighbour cache on a link whose other stations are played by the test."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from plankroad.ip.interface import Interface
from plankroad.ip.neighbour import NeighbourCache
from plankroad.ip.neighbour_entry import STATE_NAMES, NeighbourConfig
from plankroad.ip.routes import RouteTable
from plankroad.units import NEVER
from plankroad.wire.address import ip_to_bytes as ip
from plankroad.wire.address import solicited_node
from plankroad.wire.arp import ArpPacket, build_arp, parse_arp
from plankroad.wire.ethernet import build_ethernet, parse_ethernet
from plankroad.wire.icmpv6 import parse_icmpv6
from plankroad.wire.ipv6 import parse_ipv6
from plankroad.wire.ndp import NdpMessage, build_neighbor_advertisement, build_neighbor_solicitation, parse_ndp
from plankroad.wire.packet import Packet

MAC = b"\x02\0\0\0\0\x01"
PEER_MAC = b"\x02\0\0\0\0\x02"
PEER4 = ip("10.0.0.2")
PEER6 = ip("fe80::2")


class Bench:
    """A host with 10.0.0.1/24, fe80::1 and fd00::1 on one Ethernet interface. `now` is its clock, in ns."""

    def __init__(self, config: NeighbourConfig | None = None, seed: int = 1) -> None:
        self.interface = Interface(3, "eth0", 1500, True, MAC)
        self.interface.add_address(ip("10.0.0.1"), 24)
        self.interface.add_address(ip("fe80::1"), 64)
        self.interface.add_address(ip("fd00::1"), 64)
        self.routes = RouteTable()
        self.cache = NeighbourCache(self.interface, self.routes, random.Random(seed), config)
        self.interface.neighbours = self.cache
        self.now = 1_000_000_000_000

    def frames(self) -> list[bytes]:
        """What the host sent, checked to be frames of this interface."""
        out: list[bytes] = []
        while True:
            packet = self.cache.poll_transmit(self.now)
            if packet is None:
                return out
            assert packet.interface == 3
            frame = packet.to_bytes()
            assert frame[6:12] == MAC
            out.append(frame)

    def arps(self) -> list[tuple[bytes, ArpPacket]]:
        """The ARP packets that the host sent, each with the MAC address it went to; nothing else was sent."""
        found = []
        for frame in self.frames():
            header = parse_ethernet(frame)
            assert header.ethertype == 0x0806
            found.append((header.dst, parse_arp(frame, header.payload_start)))
        return found

    def messages(self) -> list[tuple[bytes, bytes, bytes, NdpMessage]]:
        """(MAC address, source, destination, message) of what the host sent; nothing but neighbour discovery was."""
        found = []
        for frame in self.frames():
            header = parse_ethernet(frame)
            assert header.ethertype == 0x86DD
            six = parse_ipv6(frame, header.payload_start)
            assert six.protocol == 58
            message = parse_icmpv6(frame, six.payload_start, six.payload_end, six.src, six.dst)
            found.append((header.dst, six.src, six.dst, parse_ndp(message, six.src, six.dst, six.hop_limit)))
        return found

    def arp(
        self,
        operation: int,
        sender_mac: bytes,
        sender_ip: bytes,
        target_mac: bytes,
        target_ip: bytes,
        start: int = 14,
    ) -> None:
        """An ARP packet comes in."""
        frame = build_ethernet(MAC, sender_mac, 0x0806) + build_arp(
            operation, sender_mac, sender_ip, target_mac, target_ip
        )
        self.cache.handle_arp(self.now, frame, start)

    def message(self, src: bytes, dst: bytes, message: bytes, hop_limit: int = 255) -> bool:
        """A neighbour discovery message comes in."""
        return self.cache.handle_ndp(self.now, message, 0, len(message), src, dst, hop_limit)

    def advertise(
        self,
        target: bytes = PEER6,
        mac: bytes = PEER_MAC,
        *,
        solicited: bool = True,
        override: bool = True,
        router: bool = False,
    ) -> bool:
        """The peer says that it is here."""
        dst = ip("fe80::1") if solicited else ip("ff02::1")
        return self.message(
            target, dst, build_neighbor_advertisement(target, dst, target, mac, router, solicited, override)
        )

    def solicit(self, target: bytes, src: bytes = PEER6, mac: bytes = PEER_MAC) -> bool:
        """The peer asks for `target`."""
        dst = solicited_node(target)
        return self.message(src, dst, build_neighbor_solicitation(src, dst, target, mac))

    def run(self, until: int) -> None:
        """Let time go on, with every timer at its time."""
        while self.cache.next_timeout() <= until:
            when = self.cache.next_timeout()
            assert when >= self.now
            self.now = when
            self.cache.handle_timeout(when)
            assert self.cache.next_timeout() > when
        self.now = until

    def idle(self) -> bool:
        """No timer runs."""
        return self.cache.next_timeout() == NEVER

    def state(self, neighbour: bytes) -> str:
        """The name of a neighbour's state, "" where it is not known."""
        entry = self.cache.entries.get(neighbour)
        return "" if entry is None else STATE_NAMES[entry.state]

    def queue(self, neighbour: bytes, size: int = 100, tag: int = 0) -> Packet:
        """A packet for a next hop whose MAC address is not known; from 10.0.0.1 or fd00::1."""
        if len(neighbour) == 4:
            head = bytes([0x45, tag]) + bytes(10) + ip("10.0.0.1") + neighbour
        else:
            head = bytes([0x60, tag]) + bytes(6) + ip("fd00::1") + neighbour
        packet = Packet(head + bytes(size - len(head)), b"", 3)
        assert self.cache.resolve(self.now, neighbour) == b""
        self.cache.queue(self.now, neighbour, packet)
        return packet


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.fixture
def make_bench() -> Callable[..., Bench]:
    return Bench
