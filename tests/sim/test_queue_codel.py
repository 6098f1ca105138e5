"""CoDel (RFC 8289): when it begins to drop, how it goes on, when it stops, and marks in place of drops."""

from __future__ import annotations

from math import sqrt

import pytest
from tests.sim.kit import Reports, make, tcp_packet

from plankroad.sim.events import Simulator
from plankroad.sim.fate import LOST_MASK, LOST_QUEUE, MARKED, describe
from plankroad.sim.queue_codel import CodelQueue
from plankroad.sim.queue_held import Held
from plankroad.units import MILLISECOND, NEVER, SECOND
from plankroad.wire.packet import Packet

TARGET = 5 * MILLISECOND
INTERVAL = 100 * MILLISECOND


class Bench:
    """A queue of many packets that is asked for one each millisecond; each has waited `age` by then."""

    def __init__(self, ecn: bool = False, tos: int = 0, ce_threshold: int = NEVER) -> None:
        self.queue = CodelQueue(TARGET, INTERVAL, ecn=ecn, ce_threshold=ce_threshold)
        self.tos = tos
        self.now = 0
        self.dropped: list[int] = []
        self.marked: list[int] = []

    def run(self, until: int, age: int) -> None:
        flow = self.queue.flow
        while self.now < until:
            self.now += MILLISECOND
            while len(flow.waiting) < 20:
                self.queue.put(self.now, Held(tcp_packet(b"x", tos=self.tos), 0, 1000, 0))
            for held in flow.waiting:
                held.came = self.now - age
            taken = self.queue.take(self.now)
            assert taken is not None
            self.dropped += [self.now] * len(self.queue.dropped)
            self.queue.dropped.clear()
            if taken.fate & MARKED:
                self.marked.append(self.now)


def schedule(begin: int, until: int, count: int = 1) -> list[int]:
    """The times of drops by the control law (section 3.3), at the milliseconds at which packets leave."""
    times = [begin]
    due = begin + int(INTERVAL / sqrt(count))
    while True:
        when = -(-due // MILLISECOND) * MILLISECOND
        if when > until:
            return times
        times.append(when)
        count += 1
        due += int(INTERVAL / sqrt(count))


def test_nothing_is_dropped_before_the_target_was_exceeded_for_an_interval() -> None:
    bench = Bench()
    bench.run(100 * MILLISECOND, 50 * MILLISECOND)
    bench.run(101 * MILLISECOND, TARGET - 1)  # one packet that did not wait so long, and all begins anew
    bench.run(200 * MILLISECOND, 50 * MILLISECOND)
    assert not bench.dropped
    bench.run(202 * MILLISECOND, 50 * MILLISECOND)
    assert bench.dropped == [202 * MILLISECOND]


def test_a_wait_below_the_target_is_never_too_long() -> None:
    bench = Bench()
    bench.run(10 * SECOND, TARGET - 1)
    assert not bench.dropped


def test_drops_follow_each_other_by_the_inverse_square_root() -> None:
    """Section 3.3: the next drop comes INTERVAL / sqrt(count) after the last."""
    bench = Bench()
    bench.run(2 * SECOND, 20 * MILLISECOND)
    assert bench.dropped == schedule(101 * MILLISECOND, 2 * SECOND)
    gaps = [later - earlier for earlier, later in zip(bench.dropped, bench.dropped[1:], strict=False)]
    assert gaps[:4] == [100 * MILLISECOND, 71 * MILLISECOND, 58 * MILLISECOND, 50 * MILLISECOND]


def test_dropping_stops_with_the_first_packet_below_the_target() -> None:
    bench = Bench()
    bench.run(SECOND, 20 * MILLISECOND)
    before = len(bench.dropped)
    bench.run(SECOND + MILLISECOND, TARGET - 1)
    assert not bench.queue.flow.dropping
    bench.run(SECOND + 100 * MILLISECOND, 20 * MILLISECOND)
    assert len(bench.dropped) == before


def test_what_was_learnt_is_used_again_soon_but_not_late() -> None:
    """Section 5.5: within 16 intervals dropping goes on at about the rate that it had."""
    for pause, learnt in ((SECOND, True), (3 * SECOND, False)):
        bench = Bench()
        bench.run(SECOND, 20 * MILLISECOND)
        count = bench.queue.flow.count
        assert count > 10
        bench.run(SECOND + pause, 0)
        end = bench.now + 400 * MILLISECOND
        bench.dropped.clear()
        bench.run(end, 20 * MILLISECOND)
        begin = end - 299 * MILLISECOND
        assert bench.dropped == schedule(begin, end, count - 1 if learnt else 1)


def test_several_drops_may_be_due_at_once() -> None:
    """Section 5.5: hence the loop."""
    bench = Bench()
    bench.run(SECOND, 20 * MILLISECOND)
    before = len(bench.dropped)
    bench.now += 200 * MILLISECOND  # the link was busy with one packet
    bench.run(bench.now + MILLISECOND, 20 * MILLISECOND)
    assert len(bench.dropped) > before + 3


def test_a_queue_of_one_packet_is_none(sim: Simulator) -> None:
    """Section 5.6: a link on which each packet takes longer than the target still carries them."""
    pipe, sink = make(sim, rate=120_000, queue=CodelQueue(TARGET, INTERVAL))  # 100 ms a packet
    pipe.send(Packet(bytes(1500)))
    for i in range(100):
        sim.call_at(i * 100 * MILLISECOND, pipe.send, Packet(bytes(1500)))
    sim.run()
    assert len(sink.packets) == 101


def test_packets_that_take_part_are_marked_at_the_times_of_drops() -> None:
    """RFC 3168 section 5; the others are dropped."""
    for tos, ecn, marks in ((2, True, True), (1, True, True), (0, True, False), (2, False, False)):
        bench = Bench(ecn, tos)
        bench.run(2 * SECOND, 20 * MILLISECOND)
        expected = schedule(101 * MILLISECOND, 2 * SECOND)
        assert (bench.marked, bench.dropped) == ((expected, []) if marks else ([], expected))


def test_one_mark_a_packet_however_many_are_due() -> None:
    bench = Bench(True, 2)
    bench.run(SECOND, 20 * MILLISECOND)
    count = bench.queue.flow.count
    bench.now += 200 * MILLISECOND
    bench.run(bench.now + MILLISECOND, 20 * MILLISECOND)
    assert (bench.queue.flow.count, bench.marked[-1]) == (count + 1, bench.now)


def test_beyond_the_threshold_all_are_marked() -> None:
    """RFC 8290: CE_THRESHOLD, below CoDel's target."""
    bench = Bench(True, 2, MILLISECOND)
    bench.run(10 * MILLISECOND, MILLISECOND)
    assert not bench.marked
    bench.run(20 * MILLISECOND, MILLISECOND + 1)
    assert len(bench.marked) == 10
    assert not bench.dropped


@pytest.mark.parametrize(("target", "interval"), [(0, 100), (100, 100), (200, 100)])
def test_times_that_make_no_sense(target: int, interval: int) -> None:
    with pytest.raises(ValueError, match="below the interval"):
        CodelQueue(target, interval)


def test_a_standing_queue_is_brought_to_the_target(sim: Simulator) -> None:
    """An overload of 5 % that does not react: drop-tail would stand at its limit for ever."""
    pipe, _ = make(sim, rate=12_000_000, queue=CodelQueue(TARGET, INTERVAL, 1000))
    reports = Reports()
    pipe.observers.append(reports)
    for i in range(20_000):
        sim.call_at(i * 950_000, pipe.send, tcp_packet(bytes(1460)))
    sim.run_until(20_000 * 950_000)
    late = [sent for now, sent, _, fate, _ in reports.told if fate & LOST_MASK == LOST_QUEUE]
    assert pipe.counters.dropped_early == pipe.counters.lost_queue == len(late)
    assert 0.04 * 20_000 < len(late) < 0.06 * 20_000
    waits = [now - sent for now, sent, _, fate, _ in reports.told if not fate & LOST_MASK and now > 15 * SECOND]
    assert sum(waits) / len(waits) < 30 * MILLISECOND
    words = [describe(fate, note) for _, _, _, fate, note in reports.told if fate]
    assert words[0].startswith("dropped: by the queue (CoDel: waited ")
