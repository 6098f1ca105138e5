"""Mutations of good packets on every kind of interface: nothing raises, and little leads to little."""

from __future__ import annotations

import random

import pytest
from tests.stack.net import A4, A6, B4, Lone, host, tcp
from tests.stack.samples import SAMPLES

from plankroad.ip.interface import Interface
from plankroad.link.segmentation import segment
from plankroad.stack.config import StackConfig
from plankroad.stack.stack import Stack
from plankroad.units import SECOND
from plankroad.wire.address import ip_to_bytes
from plankroad.wire.checksum import checksum, pseudo_sum
from plankroad.wire.ipv4 import build_ipv4
from plankroad.wire.packet import Packet
from plankroad.wire.segment import SYN, Segment
from plankroad.wire.udp import build_udp

#: Where packets go to: hosts near and far, broadcasts, groups, own addresses, what must not be.
NEAR4 = ("10.0.0.2", "10.0.1.2", "10.0.1.9", "8.8.8.8", "10.0.1.255", "10.0.0.255", "224.0.0.1", "224.1.2.3")
ODD4 = ("127.0.0.1", "0.0.0.0", "255.255.255.255", "240.0.0.1", "169.254.1.1")
NEAR6 = ("fd00::2", "fd01::2", "fd01::9", "2000::1", "ff02::1", "ff05::99", "fe80::1", "fe80::2")
ODD6 = ("::1", "::", "::ffff:10.0.0.2")
TO4 = [ip_to_bytes(text) for text in NEAR4 + ODD4]
TO6 = [ip_to_bytes(text) for text in NEAR6 + ODD6]
FROM4 = [A4, *TO4]
FROM6 = [A6, *TO6]
PEER_MAC = b"\x02\0\0\0\0\x78"
CONFIGS = (
    StackConfig(),
    StackConfig(forwarding=True),
    StackConfig(forwarding=True, source_route=True, icmp_timestamp=True, echo_broadcast=True),
    StackConfig(strong_host=True, output_queue=20, reassembly_memory=65536, reassembly_memory_source=65536),
)


def build(rng: random.Random, ethernet: bool) -> tuple[Stack, list[Interface]]:
    """A host with something of everything, on two links of which the second is narrower."""
    stack = host(1, rng.choice(CONFIGS))
    interfaces: list[Interface] = []
    for number in range(2):
        interface = stack.add_interface(
            f"e{number}",
            (1500, 600)[number],
            ethernet=ethernet,
            mac=bytes((2, 0, 0, 0, 0, number + 1)) if ethernet else b"",
            tx_csum=True,
            gso_max_size=rng.choice((0, 65535)),
        )
        for address in (f"10.0.{number}.2/24", f"fd0{number}::2/64", f"fe80::{number + 1}/64"):
            stack.add_address(interface, address)
        interfaces.append(interface)
    stack.add_route("0.0.0.0/0", gateway="10.0.1.1")
    stack.add_route("::/0", gateway="fd01::1")
    if ethernet:
        stack.autoconfigure(0, interfaces[0])
        cache = interfaces[0].neighbours
        assert cache is not None
        cache.add_static(A4, PEER_MAC)
        cache.add_static(A6, PEER_MAC)
    stack.listen(0, b"", 80)
    endpoint = stack.bind_udp(b"", 53)
    endpoint.join(0, ip_to_bytes("224.1.2.3"), 0)
    endpoint.join(0, ip_to_bytes("ff05::99"), 0)
    stack.bind_udp(b"", 54, A4, 7)
    stack.open_ping(5)
    stack.connect(0, A4, 9)
    stack.connect(0, A6, 9)
    return stack, interfaces


def right_checksum(data: bytearray) -> None:
    """Make the checksum of an ICMP message right that follows a header without options."""
    if len(data) > 24 and data[0] == 0x45 and data[9] == 1:
        data[22:24] = b"\0\0"
        data[22:24] = checksum(bytes(data[20:])).to_bytes(2, "big")
    elif len(data) > 44 and data[0] >> 4 == 6 and data[6] == 58:
        data[42:44] = b"\0\0"
        pseudo = pseudo_sum(bytes(data[8:24]), bytes(data[24:40]), 58, len(data) - 40)
        data[42:44] = checksum(bytes(data[40:]), pseudo).to_bytes(2, "big")


def mutate(rng: random.Random) -> bytes:
    """A good packet made larger, sent elsewhere, damaged or cut; its IPv4 header checksum is mostly right."""
    data = bytearray(rng.choice(SAMPLES))
    version = data[0] >> 4
    if rng.random() < 0.2:
        data += bytes(rng.randrange(3000))
        if version == 4:
            data[2:4] = len(data).to_bytes(2, "big")
        else:
            data[4:6] = (len(data) - 40).to_bytes(2, "big")
    if rng.random() < 0.4:
        if version == 4:
            data[16:20] = rng.choice(TO4)
        else:
            data[24:40] = rng.choice(TO6)
    if rng.random() < 0.2:
        if version == 4:
            data[12:16] = rng.choice(FROM4)
        else:
            data[8:24] = rng.choice(FROM6)
    for _ in range(rng.choice((0, 0, 1, 2, 3))):
        data[rng.randrange(min(len(data), 80))] = rng.choice(
            (0, 1, 4, 6, 17, 43, 44, 58, 60, 255, rng.randrange(256))
        )
    if rng.random() < 0.1:
        del data[rng.randrange(len(data)) :]
    if rng.random() < 0.8:
        right_checksum(data)
    if len(data) >= 20 and data[0] >> 4 == 4 and rng.random() < 0.95:
        size = min((data[0] & 15) * 4, len(data))
        data[10:12] = b"\0\0"
        total = int.from_bytes(data[:size], "big") % 65535
        data[10:12] = (0xFFFF - total if total else 0).to_bytes(2, "big")
    return bytes(data)


def arriving(rng: random.Random, data: bytes, interface: Interface) -> Packet:
    """The packet as a link gives it, with whatever marks."""
    at = 0
    if interface.ethernet:
        mac = rng.choice((interface.mac, interface.mac, b"\xff" * 6, b"\x33\x33\0\0\0\x01"))
        data = mac + PEER_MAC + (b"\x08\0" if data[:1] and data[0] >> 4 == 4 else b"\x86\xdd") + data
        at = 14
    packet = Packet(data, b"", interface.index, csum_valid=rng.random() < 0.8)
    if rng.random() < 0.15:
        packet.csum_start = rng.choice((at + 20, at + 40, at + 24, 0, -5, rng.randrange(100)))
        packet.csum_offset = rng.choice((16, 6, 0, rng.randrange(100)))
    if rng.random() < 0.15:
        packet.gso_type = rng.choice((1, 3, 4, 5))
        packet.gso_size = rng.choice((0, 1, 8, 536, 1400))
    if rng.random() < 0.1:
        cut = rng.randrange(len(packet.head) + 1)
        packet.head, packet.payload = packet.head[:cut], packet.head[cut:]
    return packet


@pytest.mark.parametrize("seed", range(8))
def test_mutations_never_raise_and_never_amplify(seed: int) -> None:
    rng = random.Random(seed)
    ethernet = seed % 2 == 1
    stack, interfaces = build(rng, ethernet)
    while stack.poll_transmit(0) is not None:
        pass
    now = 0
    for number in range(4000):
        data = mutate(rng)
        packet = arriving(rng, data, rng.choice(interfaces))
        try:
            stack.receive(now, packet)
            out = 0
            while (sent := stack.poll_transmit(now)) is not None:
                # A link must be able to cut and sum whatever is passed on.
                out += sum(len(part) for part in segment(sent, ethernet))
            if number % 4 == 0:
                now += rng.randrange(SECOND // 4)
                stack.handle_timeout(now)
                while (sent := stack.poll_transmit(now)) is not None:
                    segment(sent, ethernet)
        except Exception as exc:
            marks = (packet.gso_type, packet.gso_size, packet.csum_start, packet.csum_offset)
            raise AssertionError(f"seed {seed}, packet {number}: {data.hex()} {marks}") from exc
        headers = len(data) // packet.gso_size * 100 if packet.gso_size > 0 else 0
        # An ICMP error has the packet within and headers before it; a joined neighbour may be asked for.
        assert out <= 2 * len(data) + 300 + headers, (seed, number, data.hex())
        while (endpoint := stack.poll_endpoint()) is not None:
            endpoint.poll_events()
    sizes = {
        "sources": len(stack.sources),
        "neighbours": sum(len(each.neighbours.entries) for each in interfaces if each.neighbours is not None),
        "fragments": stack.fragments.memory,
        "output": len(stack.output),
        "loopback": len(stack.loopback_queue),
        "connections": len(stack.connections),
    }
    limits = {
        "sources": 4096,
        "neighbours": 2048,
        "fragments": stack.config.reassembly_memory,
        "output": 0,
        "loopback": 0,
        "connections": stack.config.tcp.syn_backlog + 128 + 2,
    }
    for name, size in sizes.items():
        assert size <= limits[name], (seed, name, size)


def test_a_flood_from_everywhere_fills_no_table() -> None:
    """SYNs, datagrams for nobody and lone fragments, each from another source."""
    rng = random.Random(3)
    net = Lone(StackConfig(reassembly_memory=1 << 20, reassembly_memory_source=1 << 18))
    net.b.listen(0, b"", 80)
    for number in range(6000):
        src = bytes((rng.randrange(11, 120), *rng.randbytes(3)))
        net.give(tcp(Segment(9, rng.choice((80, 81)), 1, 0, SYN, 999), src, B4))
        net.give(build_ipv4(src, B4, 17, 8) + build_udp(src, B4, 7, 53, b""))
        net.give(build_ipv4(src, B4, 17, 24, more_fragments=True, ident=number) + bytes(24))
    stack = net.b
    assert len(stack.connections) == len(stack.timers) == stack.config.tcp.syn_backlog
    assert len(stack.timers.heap) <= 2 * len(stack.timers) + 64
    assert (len(stack.routes.cache), len(stack.icmp_limit.buckets)) == (4096, 1024)
    assert len(stack.sources) <= 4096
    assert len(stack.fragments.sources) <= len(stack.fragments)
    assert stack.fragments.memory <= 1 << 20
    assert not stack.pmtu.entries
    net.finish()
    assert sum(stack.leftovers().values()) == 2  # the listener and its port
