"""Hosts joined by wires without delay, in virtual time; what goes over a wire can be looked at and changed."""

from __future__ import annotations

import random
from collections.abc import Callable

from plankroad.ip.interface import Interface
from plankroad.stack.config import StackConfig
from plankroad.stack.stack import Stack
from plankroad.tcp.connection import Connection
from plankroad.tcp.listen import Listener
from plankroad.units import NEVER, SECOND
from plankroad.wire.address import ip_to_bytes
from plankroad.wire.checksum import complete
from plankroad.wire.ethernet import parse_ethernet
from plankroad.wire.ipv4 import Ipv4Header, build_ipv4, parse_ipv4
from plankroad.wire.ipv6 import Ipv6Header, build_ipv6, parse_ipv6
from plankroad.wire.packet import Packet
from plankroad.wire.segment import Segment
from plankroad.wire.tcp import build_tcp, parse_tcp

A4 = ip_to_bytes("10.0.0.1")
B4 = ip_to_bytes("10.0.0.2")
A6 = ip_to_bytes("fd00::1")
B6 = ip_to_bytes("fd00::2")

Filter = Callable[[Packet], list[Packet]]


def host(seed: int = 1, config: StackConfig | None = None) -> Stack:
    """A stack with its own random numbers and secret."""
    return Stack(StackConfig() if config is None else config, random.Random(seed), bytes([seed]) * 16)


class Wire:
    """Two ends; each an interface of a stack. `filter` sees every packet and says what arrives instead."""

    def __init__(self, net: Net, one: tuple[Stack, Interface], other: tuple[Stack, Interface]) -> None:
        self.net = net
        self.ends = (one, other)
        self.filter: Filter | None = None
        self.seen: list[tuple[Stack, Packet]] = []  # who sent it, what

    def carry(self, sender: Stack, packet: Packet) -> None:
        one, other = self.ends
        receiver, interface = other if one[0] is sender and one[1].index == packet.interface else one
        self.seen.append((sender, packet))
        arriving = [packet] if self.filter is None else self.filter(packet)
        for each in arriving:
            copy = Packet(
                each.head,
                each.payload,
                interface.index,
                each.gso_type,
                each.gso_size,
                each.csum_start,
                each.csum_offset,
                each.csum_valid,
            )
            receiver.receive(self.net.now, copy)

    def sent_by(self, stack: Stack) -> list[bytes]:
        """The packets a stack put on this wire, checksums complete."""
        return [complete(packet).to_bytes() for sender, packet in self.seen if sender is stack]


class Net:
    """Stacks, wires and a clock."""

    def __init__(self) -> None:
        self.now = 0
        self.stacks: list[Stack] = []
        self.wires: dict[tuple[int, int], Wire] = {}  # by the stack's identity and the interface's index

    def add(self, seed: int = 0, config: StackConfig | None = None) -> Stack:
        stack = host(seed or len(self.stacks) + 1, config)
        self.stacks.append(stack)
        return stack

    def join(
        self,
        one: Stack,
        addresses: list[str],
        other: Stack,
        other_addresses: list[str],
        mtu: int = 1500,
        ethernet: bool = False,
        tx_csum: bool = False,
        gso_max_size: int = 0,
    ) -> Wire:
        ends = []
        for number, (stack, owned) in enumerate(((one, addresses), (other, other_addresses))):
            index = len(stack.interfaces)
            mac = bytes([2, 0, 0, self.stacks.index(stack) + 1, index, number]) if ethernet else b""
            interface = stack.add_interface(
                f"e{index}", mtu, ethernet=ethernet, mac=mac, tx_csum=tx_csum, gso_max_size=gso_max_size
            )
            for address in owned:
                stack.add_address(interface, address)
            ends.append((stack, interface))
        wire = Wire(self, ends[0], ends[1])
        for stack, interface in ends:
            self.wires[(id(stack), interface.index)] = wire
        return wire

    def settle(self, limit: int = 100_000) -> int:
        """Let everything go that can go now; the number of packets."""
        count = 0
        busy = True
        while busy:
            busy = False
            for stack in self.stacks:
                while (packet := stack.poll_transmit(self.now)) is not None:
                    busy = True
                    count += 1
                    assert count < limit, "packets without end"
                    wire = self.wires.get((id(stack), packet.interface))
                    if wire is not None:
                        wire.carry(stack, packet)
        return count

    def run(self, duration: int = 0) -> None:
        """Let time pass, deadline by deadline."""
        end = self.now + duration
        self.settle()
        while True:
            when = min([stack.next_timeout() for stack in self.stacks], default=NEVER)
            if when > end:
                break
            self.now = max(self.now, when)
            for stack in self.stacks:
                stack.handle_timeout(self.now)
            self.settle()
        self.now = end

    def finish(self) -> None:
        """Let time pass until no deadline is left, and take all events."""
        for _ in range(1000):
            self.run(600 * SECOND)
            for stack in self.stacks:
                while (endpoint := stack.poll_endpoint()) is not None:
                    endpoint.poll_events()
            if min(stack.next_timeout() for stack in self.stacks) >= NEVER:
                return
        raise AssertionError("deadlines without end")


class Pair(Net):
    """Two hosts on one wire: a (10.0.0.1, fd00::1) and b (10.0.0.2, fd00::2)."""

    def __init__(
        self,
        mtu: int = 1500,
        ethernet: bool = False,
        tx_csum: bool = False,
        gso_max_size: int = 0,
        config: StackConfig | None = None,
        other: StackConfig | None = None,
    ) -> None:
        super().__init__()
        self.a = self.add(1, config)
        self.b = self.add(2, other)
        self.wire = self.join(
            self.a,
            ["10.0.0.1/24", "fd00::1/64"],
            self.b,
            ["10.0.0.2/24", "fd00::2/64"],
            mtu,
            ethernet,
            tx_csum,
            gso_max_size,
        )

    def connected(self, remote: bytes = B4, port: int = 80) -> tuple[Connection, Connection, Listener]:
        """A connection from a to b, both ends established."""
        listener = self.b.listen(self.now, b"", port)
        client = self.a.connect(self.now, remote, port)
        self.run()
        server = listener.accept()
        assert server is not None
        assert client.state() == server.state() == "ESTABLISHED"
        return client, server, listener


class Lone(Net):
    """One host, b (10.0.0.2/24, fd00::2/64), whose wire ends in the test: packets are handed in and looked at."""

    def __init__(self, config: StackConfig | None = None, mtu: int = 1500, tx_csum: bool = False) -> None:
        super().__init__()
        self.b = self.add(2, config)
        self.interface = self.b.add_interface("e0", mtu, tx_csum=tx_csum)
        self.b.add_address(self.interface, "10.0.0.2/24")
        self.b.add_address(self.interface, "fd00::2/64")
        self.b.add_route("0.0.0.0/0", gateway="10.0.0.1")
        self.b.add_route("::/0", gateway="fd00::1")

    def give(self, data: bytes, **fields: bool) -> list[bytes]:
        """Hand a packet in; what comes out."""
        self.b.receive(self.now, Packet(data, csum_valid=fields.get("csum_valid", False)))
        return self.take()

    def take(self) -> list[bytes]:
        out: list[bytes] = []
        while (packet := self.b.poll_transmit(self.now)) is not None:
            out.append(complete(packet).to_bytes())
        return out

    def pass_time(self, duration: int) -> list[bytes]:
        """Let time pass; what comes out."""
        end = self.now + duration
        out: list[bytes] = []
        while (when := self.b.next_timeout()) <= end:
            self.now = max(self.now, when)
            self.b.handle_timeout(self.now)
            out += self.take()
        self.now = end
        return out


def tcp(seg: Segment, src: bytes, dst: bytes, ttl: int = 64, options: bytes = b"") -> bytes:
    """A whole packet with a segment."""
    head = build_tcp(seg, src, dst)
    length = len(head) + len(seg.payload)
    if len(src) == 4:
        ip = build_ipv4(src, dst, 6, length, ttl, seg.tos, 0, True, options=options)
    else:
        ip = build_ipv6(src, dst, 6, length, ttl, seg.tos)
    return ip + head + seg.payload


def header4(packet: bytes) -> Ipv4Header:
    return parse_ipv4(packet)


def header6(packet: bytes) -> Ipv6Header:
    return parse_ipv6(packet)


def segment_of(packet: bytes) -> Segment:
    """The segment in an IP packet."""
    if packet[0] >> 4 == 4:
        ip4 = parse_ipv4(packet)
        return parse_tcp(packet, ip4.payload_start, ip4.payload_end)
    ip6 = parse_ipv6(packet)
    return parse_tcp(packet, ip6.payload_start, ip6.payload_end)


def body_of_frame(frame: bytes) -> bytes:
    """The IP packet in a frame."""
    header = parse_ethernet(frame)
    return frame[header.payload_start : header.payload_end]
