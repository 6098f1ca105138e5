"""The learning switch (IEEE 802.1D section 7)."""

from __future__ import annotations

from tests.sim.kit import Arrivals

from plankroad.sim.events import Simulator
from plankroad.sim.pipe import Pipe
from plankroad.sim.queue import DropTail
from plankroad.sim.rng import stream
from plankroad.sim.switch import AGEING_TIME, Switch
from plankroad.wire.ethernet import build_ethernet
from plankroad.wire.packet import Packet

A, B, C = (bytes([2, 0, 0, 0, 0, i]) for i in range(3))
EVERYBODY = b"\xff" * 6


class Lan:
    """A switch with three ports."""

    def __init__(self) -> None:
        self.sim = Simulator()
        self.switch = Switch(self.sim)
        self.stations = [Arrivals(self.sim) for _ in range(3)]
        for i, station in enumerate(self.stations):
            pipe = Pipe(self.sim, f"port {i}", i, station, 0, stream(1, "j"), DropTail(), ethernet=True)
            assert self.switch.add_port(pipe) == i

    def frame(self, port: int, src: bytes, dst: bytes, data: bytes = b"data") -> list[int]:
        """A frame comes in by `port`; the ports by which it left."""
        for station in self.stations:
            station.packets.clear()
            station.objects.clear()
        self.switch.arrive(Packet(build_ethernet(dst, src, 0x0800) + data), port)
        self.sim.run()
        return [i for i, station in enumerate(self.stations) if station.packets]


def test_unknown_addresses_and_groups_go_everywhere_but_back() -> None:
    lan = Lan()
    assert lan.frame(0, A, B) == [1, 2]
    assert lan.frame(0, A, EVERYBODY) == [1, 2]
    assert lan.frame(1, B, b"\x33\x33\0\0\0\1") == [0, 2]
    assert lan.switch.flooded == 3


def test_known_addresses_go_by_their_port_alone() -> None:
    lan = Lan()
    lan.frame(0, A, EVERYBODY)
    assert lan.frame(1, B, A) == [0]
    assert lan.frame(0, A, B) == [1]
    assert lan.frame(0, C, A) == []  # both behind one port
    lan.frame(2, A, EVERYBODY)  # A has moved
    assert lan.frame(1, B, A) == [2]


def test_what_is_not_confirmed_is_forgotten() -> None:
    lan = Lan()
    lan.frame(0, A, EVERYBODY)
    lan.sim.run_until(AGEING_TIME - 1)
    assert lan.frame(1, B, A) == [0]
    lan.sim.run_until(AGEING_TIME)
    assert lan.frame(1, B, A) == [0, 2]
    lan.frame(0, A, EVERYBODY)
    lan.switch.forget(0)
    assert lan.frame(1, B, A) == [0, 2]


def test_reserved_groups_and_stumps_are_not_relayed() -> None:
    lan = Lan()
    assert lan.frame(0, A, b"\x01\x80\xc2\x00\x00\x0e") == []
    lan.switch.arrive(Packet(b"short"), 0)
    assert lan.switch.discarded == 2
    assert lan.frame(0, A, b"\x01\x80\xc2\x00\x00\x10") == [1, 2]


def test_a_group_is_no_source() -> None:
    lan = Lan()
    lan.frame(0, EVERYBODY, B)
    assert not lan.switch.table


def test_copies_of_a_flooded_frame_are_separate_and_keep_partial_checksums() -> None:
    lan = Lan()
    packet = Packet(build_ethernet(EVERYBODY, A, 0x0800) + bytes(60), csum_start=34, csum_offset=16)
    lan.switch.arrive(packet, 0)
    lan.sim.run()
    first, second = lan.stations[1].objects[0], lan.stations[2].objects[0]
    assert first is not second
    assert (first.csum_start, second.csum_offset) == (34, 16)
