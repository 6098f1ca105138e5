"""Looking at a queue: its backlog, and how long packets waited."""

from __future__ import annotations

import random

import pytest
from tests.sim.kit import make, numbered

from plankroad.sim.events import Simulator
from plankroad.sim.pipe import Pipe, QueueObserver
from plankroad.sim.queue import DropTail
from plankroad.sim.queue_delay import QueueDelay
from plankroad.sim.topology import Network
from plankroad.units import MILLISECOND
from plankroad.wire.packet import Packet


def test_the_backlog_is_what_has_come_and_not_left(sim: Simulator) -> None:
    pipe, _ = make(sim, rate=1_000_000, delay=50 * MILLISECOND, queue=DropTail(4))
    assert pipe.backlog(0) == (0, 0)
    for i in range(5):
        pipe.send(Packet(numbered(i, 125)))  # 1 ms each; the fifth is dropped
    assert pipe.backlog(0) == (4, 500)
    sim.run_until(2 * MILLISECOND)
    assert pipe.backlog(sim.now) == (2, 250)
    assert pipe.backlog(4 * MILLISECOND) == (0, 0)


def test_the_delay_is_the_time_until_transmission_begins(sim: Simulator) -> None:
    """RFC 8289 section 3.1: the sojourn time is that of the packet in the queue."""
    pipe, _ = make(sim, rate=1_000_000, queue=DropTail(4))
    delay = QueueDelay()
    pipe.queue_observers.append(delay)
    for i in range(6):
        pipe.send(Packet(numbered(i, 125)))
    sim.run_until(10 * MILLISECOND)
    pipe.send(Packet(numbered(6, 125)))
    sim.run()
    # 0, 1, 2, 3 ms, two that were dropped, and one that found the queue empty
    assert (delay.count, delay.bytes, delay.total, delay.maximum) == (5, 625, 6 * MILLISECOND, 3 * MILLISECOND)
    assert delay.mean() == 1.2 * MILLISECOND
    delay.reset()
    assert (delay.count, delay.maximum, delay.mean(), delay.percentile(95)) == (0, 0, 0.0, 0)


def test_percentiles_are_within_1_in_128_of_the_exact_ones() -> None:
    seed = 20250807
    print(f"seed {seed}")
    rng = random.Random(seed)
    for top in (10, 1000, 10**6, 10**10):
        delay = QueueDelay()
        values = sorted(int(rng.random() ** 3 * top) for _ in range(2000))
        for value in values:
            delay.add(value)
        for share in (0.05, 1, 25, 50, 90, 95, 99.9, 100):
            exact = values[-(-int(share * 2000) // 100) - 1]
            assert exact <= delay.percentile(share) <= exact + exact / 128
        assert delay.percentile(100) == delay.maximum == values[-1]


@pytest.mark.parametrize("share", [-1, 100.1])
def test_percentiles_that_there_are_not(share: float) -> None:
    with pytest.raises(ValueError, match="0 to 100"):
        QueueDelay().percentile(share)


def test_a_program_may_watch_each_packet_wait(sim: Simulator) -> None:
    seen: list[tuple[int, int, int, int]] = []

    class Watcher(QueueObserver):
        def waited(self, pipe: Pipe, packet: Packet, came: int, begins: int, ends: int) -> None:
            seen.append((len(packet), came, begins, ends))

    pipe, _ = make(sim, rate=8_000_000)
    pipe.queue_observers.append(Watcher())
    pipe.send(Packet(numbered(0, 1000)))
    sim.run_until(400_000)
    pipe.send(Packet(numbered(1, 500)))
    sim.run()
    assert seen == [(1000, 0, 0, 1_000_000), (500, 400_000, 1_000_000, 1_500_000)]


def test_a_direction_of_a_link_measures_by_itself() -> None:
    net = Network(1, ipv6=False)
    link = net.link(net.host("a"), net.host("b"), rate="1Mbit/s")
    there, back = link.direction("b").measure_queue(), link.direction("a").measure_queue()
    for i in range(3):
        link.there.pipe.send(Packet(numbered(i, 125)))
    net.run_for("10ms")
    assert (there.count, there.maximum, back.count) == (3, 2 * MILLISECOND, 0)
    link.there.pipe.queue_observers.remove(there)
    link.there.pipe.send(Packet(numbered(3, 125)))
    assert there.count == 3
