"""The emulator: the simulator's pipes driven by a clock, between descriptors. The clock is made up; no kernel's TCP."""

from __future__ import annotations

import contextlib
import gc
import os
import select
import socket
from collections.abc import Callable, Iterator, Sequence

import pytest

from plankroad.paths.emulator import BATCH, HEARTBEAT, Clock, DeviceSink, Emulator, Hurry, Timing
from plankroad.sim.conditions import Conditions
from plankroad.sim.events import Simulator
from plankroad.sim.link import Direction
from plankroad.units import MILLISECOND, SECOND

ORIGIN = 7 * SECOND


class MadeUpClock(Clock):
    """Time passes only in `wait`, and by `step` in each look at the clock. Who waits is woken `delay()` too late."""

    def __init__(self, delay: Callable[[], int] = lambda: 0, step: int = 0) -> None:
        self.time = ORIGIN
        self.delay = delay
        self.step = step
        self.calls: list[tuple[int, int, Callable[[], object]]] = []

    def at(self, when: int, call: Callable[[], object]) -> None:
        """Do something once virtual time is `when`."""
        self.calls.append((-ORIGIN - when, -len(self.calls), call))
        self.calls.sort()

    def now(self) -> int:
        self.time += self.step
        return self.time

    def wait(self, fds: Sequence[int], limit: int) -> Sequence[int]:
        end = self.time + max(5_000, limit)  # to look takes time, too
        while True:
            while self.calls and -self.calls[-1][0] <= self.time:
                self.calls.pop()[2]()
            readable = select.select(fds, (), (), 0)[0]
            if readable or self.time >= end:
                self.time += self.delay()
                return readable
            self.time = max(self.time, min(end, -self.calls[-1][0] if self.calls else end))


class Path:
    """An emulator with two pipes between two devices, socket pairs; `left` and `right` are the hosts' ends."""

    def __init__(self, clock: Clock, conditions: Conditions, seed: int = 1) -> None:
        self.simulator = Simulator()
        self.emulator = Emulator(self.simulator, clock)
        self.left, left_device = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.right, right_device = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.devices = (left_device, right_device)
        for one in (self.left, self.right, *self.devices):
            one.setblocking(False)
        there, back = (
            DeviceSink(self.emulator, right_device.fileno()),
            DeviceSink(self.emulator, left_device.fileno()),
        )
        self.there = direction(self.simulator, there, conditions, seed)
        self.back = Direction(
            self.simulator, seed, "right->left", 1, back, 0, Conditions(delay=conditions.delay), False
        )
        self.emulator.add_port(left_device.fileno(), self.there.pipe)
        self.emulator.add_port(right_device.fileno(), self.back.pipe)

    def close(self) -> None:
        for one in (self.left, self.right, *self.devices):
            one.close()


def direction(simulator: Simulator, sink: DeviceSink, conditions: Conditions, seed: int) -> Direction:
    return Direction(simulator, seed, "left->right", 0, sink, 0, conditions, False)


@contextlib.contextmanager
def path(clock: Clock, conditions: Conditions, seed: int = 1) -> Iterator[Path]:
    made = Path(clock, conditions, seed)
    try:
        yield made
    finally:
        made.close()


def read_all(sock: socket.socket) -> list[bytes]:
    found = []
    with contextlib.suppress(BlockingIOError):
        while True:
            found.append(sock.recv(65536))
    return found


def test_a_packet_arrives_after_transmission_and_delay_as_in_virtual_time() -> None:
    clock = MadeUpClock()
    arrivals: list[int] = []
    with path(clock, Conditions(rate=1_000_000, delay=20 * MILLISECOND)) as made:
        clock.at(3 * MILLISECOND, lambda: made.left.send(bytes(1000)))
        clock.at(3 * MILLISECOND, lambda: made.left.send(bytes(500)))
        for t in range(0, 50_000_000, 10_000):
            clock.at(t, lambda t=t: arrivals.extend([t] * len(read_all(made.right))))  # type: ignore[misc]
        assert not made.emulator.run(ORIGIN, 50 * MILLISECOND)
    # 8 and 4 ms of transmission, one after the other.
    assert arrivals == pytest.approx([31 * MILLISECOND, 35 * MILLISECOND], abs=20_000)
    assert made.emulator.timing.kept(40 * MILLISECOND)


def test_both_ways_at_once() -> None:
    clock = MadeUpClock()
    with path(clock, Conditions(delay=5 * MILLISECOND)) as made:
        for i in range(20):
            clock.at(i * MILLISECOND, lambda i=i: made.left.send(bytes([1, i])))  # type: ignore[misc]
            clock.at(i * MILLISECOND, lambda i=i: made.right.send(bytes([2, i])))  # type: ignore[misc]
        made.emulator.run(ORIGIN, 40 * MILLISECOND)
        assert read_all(made.right) == [bytes([1, i]) for i in range(20)]
        assert read_all(made.left) == [bytes([2, i]) for i in range(20)]


def test_the_same_packets_are_lost_as_in_virtual_time() -> None:
    conditions = Conditions(rate=10_000_000, delay=MILLISECOND, loss=0.3)
    clock = MadeUpClock()
    with path(clock, conditions, seed=42) as made:
        for i in range(500):
            clock.at(i * MILLISECOND, lambda i=i: made.left.send(i.to_bytes(2, "big")))  # type: ignore[misc]
        arrived: list[bytes] = []
        for i in range(0, 600, 5):
            clock.at(i * MILLISECOND, lambda: arrived.extend(read_all(made.right)))
        made.emulator.run(ORIGIN, 600 * MILLISECOND)
    rng = direction(Simulator(), DeviceSink(made.emulator, -1), conditions, 42)._loss.rng
    expected = [i.to_bytes(2, "big") for i in range(500) if rng.random() >= 0.3]
    assert 300 < len(expected) < 400
    assert arrived == expected


def test_an_emulator_that_is_woken_late_has_not_kept_real_time() -> None:
    turns = iter(range(1_000_000))
    for delay, kept in ((lambda: 0, True), (lambda: 2_100_000 if next(turns) % 20 == 0 else 0, False)):
        clock = MadeUpClock(delay)
        with path(clock, Conditions(rate=10_000_000, delay=5 * MILLISECOND)) as made:
            for i in range(200):
                clock.at(i * MILLISECOND, lambda: made.left.send(bytes(1000)))
                clock.at(i * MILLISECOND, lambda: read_all(made.right))
            made.emulator.run(ORIGIN, 300 * MILLISECOND)
        timing = made.emulator.timing
        assert timing.kept(10 * MILLISECOND) is kept, timing.as_dict()
        # 5 % of the round trip is the limit on a long path.
        assert timing.kept(100 * MILLISECOND)


def test_an_emulator_without_traffic_still_sees_that_it_is_woken_late() -> None:
    clock = MadeUpClock(lambda: 3 * MILLISECOND)
    with path(clock, Conditions(delay=5 * MILLISECOND)) as made:
        made.emulator.run(ORIGIN, SECOND)
    assert len(made.emulator.timing.late) >= SECOND // (2 * HEARTBEAT)
    assert not made.emulator.timing.kept(10 * MILLISECOND)


def test_packets_that_waited_to_be_read_are_known_to_have_waited() -> None:
    # Each look at the clock takes 0.1 ms: the last of a burst is read many of those after it came.
    clock = MadeUpClock(step=100_000)
    with path(clock, Conditions(delay=5 * MILLISECOND)) as made:
        for _ in range(2 * BATCH):
            clock.at(5 * MILLISECOND, lambda: made.left.send(bytes(100)))
        made.emulator.run(ORIGIN, SECOND)
    timing = made.emulator.timing
    assert len(timing.unread) == 2 * BATCH
    assert max(timing.unread) >= 2 * BATCH * 100_000
    assert not timing.kept(10 * MILLISECOND)


def test_one_long_stall_is_enough() -> None:
    timing = Timing()
    timing.late.extend([0] * 10_000)
    timing.late.append(21 * MILLISECOND)
    assert timing.late_share(MILLISECOND) < 0.001
    assert not timing.kept(10 * MILLISECOND)
    assert timing.kept(100 * MILLISECOND)  # less than half a round trip


def test_a_device_that_drops_has_not_kept_real_time() -> None:
    clock = MadeUpClock()
    with path(clock, Conditions(delay=MILLISECOND)) as made:
        clock.at(0, lambda: made.left.send(bytes(100)))
        clock.at(0, made.right.close)
        made.emulator.run(ORIGIN, 10 * MILLISECOND)
    assert made.emulator.timing.dropped == 1
    assert not made.emulator.timing.kept(SECOND)


class Watched(MadeUpClock):
    """How long, in all, was waited without sleeping."""

    spun = 0

    def wait(self, fds: Sequence[int], limit: int) -> Sequence[int]:
        before = self.time
        readable = super().wait(fds, limit)
        if limit == 0:
            self.spun += self.time - before
        return readable


def test_it_does_not_take_a_whole_core_where_the_next_event_is_always_near() -> None:
    clock = Watched()
    with path(clock, Conditions(delay=MILLISECOND)) as made:
        for when in range(0, SECOND, 100_000):
            made.simulator.call_at(when, lambda: None)
        made.emulator.run(ORIGIN, SECOND)
    assert 0.1 * SECOND < clock.spun < 0.3 * SECOND


def test_what_is_due_at_the_end_happens() -> None:
    clock = MadeUpClock()
    seen: list[int] = []
    with path(clock, Conditions(delay=MILLISECOND)) as made:
        made.simulator.call_at(50 * MILLISECOND, lambda: seen.append(made.simulator.now))
        clock.at(50 * MILLISECOND - 1, lambda: made.left.send(b"."))  # read at the very end
        clock.delay = lambda: 2
        assert not made.emulator.run(ORIGIN, 50 * MILLISECOND)
    assert seen == [50 * MILLISECOND]


def test_it_stops_when_it_is_told_to() -> None:
    clock = MadeUpClock()
    ours, theirs = os.pipe()
    with path(clock, Conditions(delay=MILLISECOND)) as made:
        made.emulator.stop_fds.append(ours)
        clock.at(30 * MILLISECOND, lambda: os.write(theirs, b"."))
        assert made.emulator.run(ORIGIN, SECOND)
        assert 30 * MILLISECOND <= clock.time - ORIGIN < 40 * MILLISECOND
    os.close(ours)
    os.close(theirs)


def test_the_collector_runs_again_afterwards() -> None:
    assert gc.isenabled()
    with path(MadeUpClock(), Conditions(delay=MILLISECOND)) as made:
        made.emulator.run(ORIGIN, MILLISECOND)
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0


def test_hurry_ends_with_its_block() -> None:
    before = os.sched_getscheduler(0)
    with Hurry():
        pass
    assert os.sched_getscheduler(0) == before
