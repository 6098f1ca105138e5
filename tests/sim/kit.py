"""Sinks, observers and packets that the tests of the simulator share."""

from __future__ import annotations

from plankroad.sim.events import Simulator
from plankroad.sim.pipe import Observer, Pipe, Sink
from plankroad.sim.queue import DropTail, Queue
from plankroad.sim.rng import stream
from plankroad.wire.constants import PROTO_TCP
from plankroad.wire.ipv4 import build_ipv4
from plankroad.wire.packet import GSO_TCPV4, Packet
from plankroad.wire.segment import ACK, PSH, Segment
from plankroad.wire.tcp import build_tcp

A = bytes([10, 0, 0, 1])
B = bytes([10, 0, 0, 2])


class Arrivals(Sink):
    """Keeps what arrives."""

    def __init__(self, sim: Simulator) -> None:
        self.sim = sim
        self.packets: list[tuple[int, bytes]] = []
        self.objects: list[Packet] = []
        self.ports: list[int] = []

    def arrive(self, packet: Packet, port: int) -> None:
        self.packets.append((self.sim.now, packet.to_bytes()))
        self.objects.append(packet)
        self.ports.append(port)

    @property
    def times(self) -> list[int]:
        return [when for when, _ in self.packets]

    @property
    def contents(self) -> list[bytes]:
        return [data for _, data in self.packets]


class Reports(Observer):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[int, int, bytes, int, str]] = []

    def packet(self, pipe: Pipe, now: int, sent: int, packet: Packet, fate: int, note: str) -> None:
        self.told.append((now, sent, packet.to_bytes(), fate, note))


def make(
    sim: Simulator, rate: int = 0, delay: int = 0, queue: Queue | None = None, ethernet: bool = False
) -> tuple[Pipe, Arrivals]:
    sink = Arrivals(sim)
    pipe = Pipe(sim, "a->b", 1, sink, 3, stream(1, "jitter"), queue or DropTail(1000), 1500, rate, delay, ethernet)
    return pipe, sink


def numbered(number: int, size: int = 100) -> bytes:
    return number.to_bytes(4, "big") + bytes(size - 4)


def tcp_packet(data: bytes, tos: int = 0, partial: bool = False, gso: int = 0) -> Packet:
    seg = Segment(1000, 80, 5000, 77, ACK | PSH, 1024, data)
    tcp = build_tcp(seg, A, B, partial)
    ip = build_ipv4(A, B, PROTO_TCP, len(tcp) + len(data), tos=tos)
    packet = Packet(ip + tcp, data)
    if partial:
        packet.csum_start = 20
        packet.csum_offset = 16
    if gso:
        packet.gso_type = GSO_TCPV4
        packet.gso_size = gso
    return packet
