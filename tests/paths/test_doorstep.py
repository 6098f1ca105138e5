"""The door between hosts and a path that a kernel's hosts share: when what they send enters."""

from __future__ import annotations

import pytest

from plankroad.paths.cell import MTU, parse_cell
from plankroad.paths.doorstep import WAIT, Doorstep, door
from plankroad.paths.emulator import Clock, Emulator
from plankroad.paths.sharing import SharedRun
from plankroad.sim.conditions import Conditions
from plankroad.sim.events import Simulator
from plankroad.sim.link import Direction
from plankroad.sim.pipe import Pipe, Sink
from plankroad.units import MICROSECOND, MILLISECOND, SECOND
from plankroad.wire.packet import Packet

ORIGIN = 3 * SECOND


class LateClock(Clock):
    """Real time, `late` ns after the simulator's."""

    def __init__(self, simulator: Simulator, late: int) -> None:
        self.simulator = simulator
        self.late = late

    def now(self) -> int:
        return ORIGIN + self.simulator.now + self.late


class Ends(Sink):
    """Notes what arrives when."""

    def __init__(self, simulator: Simulator) -> None:
        self.simulator = simulator
        self.found: list[tuple[int, int]] = []

    def arrive(self, packet: Packet, port: int) -> None:
        self.found.append((self.simulator.now, packet.head[-1]))


def made(late: int, *, simulated: bool, wait: int = 0, seed: int = 1) -> tuple[Emulator, Pipe, Ends]:
    """An emulator, the door to a path without a rate or a delay, and the path's end."""
    simulator = Simulator()
    emulator = Emulator(simulator, LateClock(simulator, late))
    emulator.origin = ORIGIN
    end = Ends(simulator)
    path = Direction(simulator, seed, "path", 0, end, 0, Conditions(), ethernet=False).pipe
    return emulator, door("host", 1, MTU, emulator, path, simulated=simulated, seed=seed, wait=wait), end


def packet(mark: int) -> Packet:
    return Packet(b"\x45" + bytes(39) + bytes([mark]))


def test_what_a_simulated_host_sends_enters_when_it_was_really_sent() -> None:
    emulator, pipe, end = made(130 * MICROSECOND, simulated=True)
    emulator.simulator.call_at(2 * MILLISECOND, lambda: pipe.send(packet(7)))
    emulator.simulator.run_until(SECOND)
    assert end.found == [(2 * MILLISECOND + 130 * MICROSECOND, 7)]
    assert list(emulator.timing.late) == [130 * MICROSECOND]


def test_what_a_kernel_sends_is_in_real_time_already() -> None:
    emulator, pipe, end = made(130 * MICROSECOND, simulated=False)
    emulator.simulator.call_at(2 * MILLISECOND, lambda: pipe.send(packet(7)))
    emulator.simulator.run_until(SECOND)
    assert end.found == [(2 * MILLISECOND, 7)]
    assert not emulator.timing.late


@pytest.mark.parametrize("simulated", [True, False])
def test_the_while_is_as_long_as_it_should_be_on_average(simulated: bool) -> None:
    emulator, pipe, end = made(0, simulated=simulated, wait=WAIT)
    count, apart = 2000, 100 * MILLISECOND
    for number in range(count):
        emulator.simulator.call_at(number * apart, pipe.send, packet(number & 0xFF))
    emulator.simulator.run_until(count * apart)
    waits = sorted(when - number * apart for number, (when, _) in enumerate(end.found))
    assert len(waits) == count
    # Of an exponential distribution: mean, median and what one in ten exceeds.
    assert sum(waits) / count == pytest.approx(WAIT, rel=0.1)
    assert waits[count // 2] == pytest.approx(0.693 * WAIT, rel=0.1)
    assert waits[count * 9 // 10] == pytest.approx(2.303 * WAIT, rel=0.1)


def test_packets_of_a_host_keep_their_order() -> None:
    emulator, pipe, end = made(0, simulated=True, wait=WAIT)
    for number in range(200):
        emulator.simulator.call_at(number * 50 * MICROSECOND, pipe.send, packet(number))
    emulator.simulator.run_until(SECOND)
    assert [mark for _, mark in end.found] == list(range(200))
    assert [when for when, _ in end.found] == sorted(when for when, _ in end.found)


def test_each_host_of_ours_goes_through_a_door_of_its_own() -> None:
    run = SharedRun(parse_cell(rate="10Mbit", rtt="20ms", flows="2", seconds="1", algorithm="cubic", seed="1"), [1])
    doors = {}
    for host, pipe in zip(run.network.hosts, (run.there, run.back), strict=True):
        # Both ways out of a host: the driver's, and the short one of packets that no program hears of.
        out = host.arrivals.pipes[0]
        port = host.driver.links[0]
        assert getattr(port, "pipe", None) is out
        step = out.sink
        assert isinstance(step, Doorstep)
        assert step.pipe is pipe
        assert step.simulated
        doors[host.name] = step.wait
    assert doors == {"sender": WAIT, "receiver": 0}


def test_the_kernels_data_waits_as_ours_does() -> None:
    run = SharedRun(parse_cell(rate="10Mbit", rtt="20ms", flows="2", seconds="1", algorithm="cubic", seed="1"), [1])
    run.attach(3, 4)
    step = run.emulator.ports[3].pipe.sink
    assert isinstance(step, Doorstep)
    assert step.pipe is run.there
    assert (step.simulated, step.wait) == (False, WAIT)
    # Its acknowledgements, as ours, do not.
    assert run.emulator.ports[4].pipe is run.back
