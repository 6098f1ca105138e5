"""Pipes with queues that hold packets: the second way through a pipe, and that it is as good as the first."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.sim.kit import Arrivals, Reports, make, numbered, tcp_packet

from plankroad.sim.events import Simulator
from plankroad.sim.fate import LOST_CUT, LOST_MASK, LOST_QUEUE, MARKED, describe
from plankroad.sim.faults import Corruption, Duplication, RandomLoss, Reordering
from plankroad.sim.pipe import Pipe
from plankroad.sim.queue import DropTail, Queue
from plankroad.sim.queue_codel import CodelQueue
from plankroad.sim.queue_delay import QueueDelay
from plankroad.sim.queue_fq_codel import FqCodelQueue
from plankroad.sim.queue_held import Held, HoldingQueue
from plankroad.sim.queue_pie import PieQueue
from plankroad.sim.queue_red import RedQueue
from plankroad.sim.rng import stream
from plankroad.units import MILLISECOND
from plankroad.wire.ipv4 import parse_ipv4
from plankroad.wire.packet import Packet

Story = tuple[list[tuple[int, bytes]], list[tuple[int, int, bytes, int]], dict[str, int], QueueDelay]


def story(queue: Queue, seed: int, faults: bool, rates: tuple[int, ...] = (8_000_000,)) -> Story:
    """Send packets at times and of sizes that `seed` chooses, at about the rate of the pipe: what came of them."""
    sim = Simulator()
    pipe, sink = make(sim, rate=8_000_000, delay=3 * MILLISECOND, queue=queue)
    reports, delay = Reports(), QueueDelay()
    pipe.observers.append(reports)
    pipe.queue_observers.append(delay)
    if faults:
        pipe.jitter = MILLISECOND
        pipe.before = [RandomLoss(0.1, stream(seed, "loss")), Duplication(0.1, stream(seed, "dup"))]
        pipe.behind = [
            Corruption(0.05, 1, stream(seed, "corrupt"), stream(seed, "places")),
            Reordering(0.1, 2 * MILLISECOND, stream(seed, "reorder")),
        ]
    rng = random.Random(seed)
    when = 0
    for i in range(400):
        when += rng.choice((0, 0, 0, 100_000, 500_000, 1_000_000))  # multiples of a byte's time: many ties
        sim.call_at(when, pipe.send, Packet(numbered(i, rng.choice((40, 100, 500, 1000)))))
        if rng.random() < 0.02:
            sim.call_at(when + 700_000, setattr, pipe, "rate", rng.choice(rates))
    sim.run()
    told = sorted((sent, now, data, fate) for now, sent, data, fate, _ in reports.told)
    return sink.packets, told, pipe.counters.as_dict(), delay


@pytest.mark.parametrize("faults", [False, True])
@pytest.mark.parametrize("limits", [(8, 0), (0, 4000), (0, 0)])
@pytest.mark.parametrize("seed", range(6))
def test_a_fifo_that_holds_packets_does_the_same_as_one_that_does_not(
    seed: int, limits: tuple[int, int], faults: bool
) -> None:
    """As long as the rate stays: a change acts on packets that wait, where they are held."""
    fast = story(DropTail(*limits), seed, faults)
    held = story(HoldingQueue(*limits), seed, faults)
    assert held[:3] == fast[:3]
    assert (held[3].count, held[3].total, held[3].maximum) == (fast[3].count, fast[3].total, fast[3].maximum)
    assert (fast[2]["lost_queue"] > 0) == (limits != (0, 0))


def queues(seed: int) -> list[Queue]:
    """One of each kind, small enough to be full."""
    rng = stream(seed, "queue")
    return [
        DropTail(20),
        HoldingQueue(20),
        RedQueue(rng, 3, 9, max_packets=20, weight=0.1),
        CodelQueue(2 * MILLISECOND, 10 * MILLISECOND, 20),
        CodelQueue(MILLISECOND, 5 * MILLISECOND, 0, 8000),
        FqCodelQueue(rng, MILLISECOND, 10 * MILLISECOND, 4, 300, 20),
        PieQueue(rng, MILLISECOND, MILLISECOND, 2 * MILLISECOND, 20, alpha=20.0, beta=100.0),
    ]


@settings(max_examples=60, deadline=None)
@given(
    which=st.integers(0, 6),
    seed=st.integers(0, 2**32),
    sends=st.lists(st.tuples(st.integers(0, 3_000_000), st.integers(20, 1500), st.integers(0, 3)), max_size=120),
    cut=st.integers(0, 100_000_000),
    swap=st.one_of(st.none(), st.integers(0, 6)),
)
def test_nothing_is_made_and_nothing_forgotten(
    which: int, seed: int, sends: list[tuple[int, int, int]], cut: int, swap: int | None
) -> None:
    """in = out + lost + queued + under way, at any time, and all is told to observers once."""
    sim = Simulator()
    pipe, sink = make(sim, rate=8_000_000, delay=MILLISECOND, queue=queues(seed)[which])
    reports = Reports()
    pipe.observers.append(reports)
    when = 0
    for gap, size, tos in sends:
        when += gap if gap > 1_000_000 else 0
        packet = tcp_packet(bytes(size), tos=tos)
        sim.call_at(when, pipe.send, packet)
    sim.call_at(cut, pipe.cut)
    sim.call_at(cut + 5_000_000, pipe.heal)
    if swap is not None:
        sim.call_at(cut // 2, pipe.set_queue, queues(seed + 1)[swap])
    counters = pipe.counters
    while sim.step():
        on_the_way = pipe.on_the_way()
        assert counters.packets == counters.arrived + counters.lost() + on_the_way
        packets, size = pipe.backlog(sim.now)
        assert 0 <= packets <= on_the_way + 1
        assert (size > 0) == (packets > 0)
    assert pipe.on_the_way() == 0
    assert pipe.backlog(sim.now + 10**9) == (0, 0)
    assert counters.packets == len(sends) == len(reports.told)
    assert counters.arrived == len(sink.packets)
    assert counters.marked == sum(fate & MARKED != 0 for _, _, _, fate, _ in reports.told)
    assert counters.dropped_early <= counters.lost_queue


@pytest.mark.parametrize("which", range(7))
def test_the_same_seed_gives_the_same_story(which: int) -> None:
    def run(seed: int) -> object:
        return story(queues(seed)[which], 5, True, (4_000_000, 8_000_000, 16_000_000))[:3]

    assert run(1) == run(1)


@pytest.mark.parametrize("which", [2, 6])
def test_disciplines_of_chance_depend_on_their_stream(which: int) -> None:
    runs = [story(queues(seed)[which], 5, False)[2]["dropped_early"] for seed in range(8)]
    assert min(runs) > 0
    assert len(set(runs)) > 1


def test_an_idle_pipe_has_nothing_scheduled(sim: Simulator) -> None:
    pipe, _ = make(sim, rate=8_000_000, queue=HoldingQueue())
    pipe.send(Packet(numbered(0, 1000)))
    assert sim.pending() == 1  # the arrival: nobody waits, so the end of the transmission needs no event
    pipe.send(Packet(numbered(1, 1000)))
    assert sim.pending() == 2
    sim.run()
    assert sim.pending() == 0


def test_a_cut_loses_what_waits_and_heals_empty(sim: Simulator) -> None:
    pipe, sink = make(sim, rate=1_000_000, delay=5 * MILLISECOND, queue=HoldingQueue())
    reports = Reports()
    pipe.observers.append(reports)
    for i in range(10):
        pipe.send(Packet(numbered(i, 125)))  # 1 ms each
    sim.run_until(8 * MILLISECOND)
    assert len(sink.packets) == 3
    assert pipe.on_the_way() == 7
    pipe.cut()
    assert pipe.on_the_way() == 0
    assert pipe.counters.lost_cut == 7
    assert [entry[2][:4] for entry in reports.told] == [numbered(i)[:4] for i in range(10)]
    assert {entry[3] for entry in reports.told[3:]} == {LOST_CUT}
    assert sim.run() == 0
    pipe.heal()
    pipe.send(Packet(numbered(11, 125)))
    sim.run()
    assert sink.packets[3:] == [(14 * MILLISECOND, numbered(11, 125))]


def test_a_change_of_rate_acts_on_what_waits(sim: Simulator) -> None:
    pipe, sink = make(sim, rate=1_000_000, queue=HoldingQueue())
    for i in range(4):
        pipe.send(Packet(numbered(i, 125)))
    sim.run_until(MILLISECOND + 1)
    pipe.rate = 2_000_000
    sim.run()
    assert sink.times == [1_000_000, 2_000_000, 2_500_000, 3_000_000]


def test_without_a_rate_what_waited_leaves_at_once_and_in_order(sim: Simulator) -> None:
    pipe, sink = make(sim, rate=1_000_000, queue=HoldingQueue())
    for i in range(3):
        pipe.send(Packet(numbered(i, 125)))
    pipe.rate = 0
    sim.run_until(MILLISECOND // 2)
    pipe.send(Packet(numbered(3, 125)))
    sim.run()
    assert sink.packets == [(MILLISECOND, numbered(i, 125)) for i in range(4)]
    pipe.send(Packet(numbered(4, 125)))
    sim.run()
    assert sink.times[4] == MILLISECOND


def test_what_waits_moves_into_the_new_queue(sim: Simulator) -> None:
    pipe, sink = make(sim, rate=1_000_000, queue=DropTail())
    for i in range(3):
        pipe.send(Packet(numbered(i, 125)))
    pipe.set_queue(HoldingQueue(5))  # three are on their way out already, and count
    for i in range(3, 7):
        pipe.send(Packet(numbered(i, 125)))
    assert pipe.backlog(0) == (5, 625)
    sim.run_until(3 * MILLISECOND)
    pipe.set_queue(CodelQueue(5 * MILLISECOND, 100 * MILLISECOND))
    pipe.send(Packet(numbered(7, 125)))
    assert pipe.backlog(sim.now) == (3, 375)
    pipe.set_queue(DropTail(3))
    assert pipe.backlog(sim.now) == (3, 375)
    pipe.send(Packet(numbered(8, 125)))
    sim.run()
    assert sink.packets == [((k + 1) * MILLISECOND, numbered(i, 125)) for k, i in enumerate((0, 1, 2, 3, 4, 7))]
    assert pipe.counters.lost_queue == 3


def test_a_queue_is_of_one_pipe(sim: Simulator) -> None:
    queue = HoldingQueue()
    pipe, _ = make(sim, rate=1_000_000, queue=queue)
    other, _ = make(sim, rate=1_000_000)
    pipe.send(Packet(numbered(0)))
    pipe.set_queue(queue)  # it is that one
    with pytest.raises(ValueError, match="make one for each"):
        other.set_queue(queue)


def test_drops_say_which_discipline_it_was(sim: Simulator) -> None:
    reports = Reports()
    for queue in (DropTail(1), HoldingQueue(1), CodelQueue(MILLISECOND, 2 * MILLISECOND, 1)):
        pipe, _ = make(sim, rate=1_000_000, queue=queue)
        pipe.observers.append(reports)
        pipe.send(Packet(numbered(0)))
        pipe.send(Packet(numbered(1)))
    told = [describe(fate, note) for _, _, _, fate, note in reports.told if fate & LOST_MASK]
    assert told == ["dropped: queue full", "dropped: queue full", "dropped: by the queue (CoDel: full)"]
    assert LOST_QUEUE & LOST_MASK == LOST_QUEUE


class LastFirst(HoldingQueue):
    """A program's own discipline: last in, first out; and it marks all."""

    def take(self, now: int) -> Held | None:
        if not self.waiting:
            return None
        held = self.waiting.pop()
        self.count_out(held)
        held.mark()
        return held


def test_a_discipline_of_a_programs_own(sim: Simulator) -> None:
    pipe, sink = make(sim, rate=1_000_000, queue=LastFirst())
    for i in range(4):
        pipe.send(tcp_packet(bytes([i]) * 100, tos=2))
    sim.run()
    assert [data[-1] for data in sink.contents] == [0, 3, 2, 1]
    assert {parse_ipv4(data).tos for data in sink.contents} == {3}
    assert pipe.counters.marked == 4


def test_a_pipe_without_a_network_follows_a_clock_in_small_steps() -> None:
    """As a program does that carries real packets: the simulator is moved to now, then packets are put in."""
    sim = Simulator()
    sink = Arrivals(sim)
    queue = CodelQueue(5 * MILLISECOND, 100 * MILLISECOND)
    pipe = Pipe(sim, "up", 0, sink, 0, stream(1, "jitter"), queue, rate=8_000_000, delay=MILLISECOND)
    for i in range(50):
        sim.run_until(i * 370_000)
        pipe.send(Packet(numbered(i, 300)))
    assert pipe.on_the_way() > 0
    for i in range(50, 60):
        sim.run_until(i * 370_000)
    assert sink.times == [i * 370_000 + 1_300_000 for i in range(50)]
    assert sim.next_time() > sim.now
