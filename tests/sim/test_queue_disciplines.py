"""Queue disciplines as people write them, and on links of a network."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from random import Random
from typing import Any

import pytest

from plankroad.sim import CoDel, Discipline, FqCodel, Network, Pie, Red
from plankroad.sim.conditions import Conditions
from plankroad.sim.queue import DropTail, Queue
from plankroad.sim.queue_codel import CodelQueue
from plankroad.sim.queue_fq_codel import FqCodelQueue
from plankroad.sim.queue_held import HoldingQueue
from plankroad.sim.queue_pie import PieQueue
from plankroad.sim.queue_red import RedQueue
from plankroad.units import MILLISECOND


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("codel", CoDel()),
        ("fq_codel", FqCodel()),
        ("FQ-CoDel", FqCodel()),
        ("pie", Pie()),
        ("red", Red()),
        ("droptail", None),
        ("drop-tail", None),
        (CoDel(target="1ms"), CoDel(target="1ms")),
        (50, None),
    ],
)
def test_names_and_objects(name: Any, expected: Discipline | None) -> None:
    made = Conditions(discipline=Pie()).changed({"queue": name})
    assert made.discipline == expected
    assert made.queue_packets == (50 if name == 50 else 1000)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"queue": "cdel"}, "one of droptail, codel, fq_codel, pie, red"),
        ({"queue": object()}, "64KiB"),
        ({"queue": "3 parsecs"}, "is no size"),
        ({"queue": "0"}, "1 or more"),
        ({"queue": "0KiB"}, "less than 1 byte"),
        ({"queue": "codel", "mark": 20}, r"mark: .*CoDel\(limit="),
        ({"queue": "codel", "queue_packets": 20}, "queue_packets: "),
        ({"discipline": CoDel()}, "has no 'discipline'"),
    ],
)
def test_mistakes_are_told_with_what_to_do(given: dict[str, Any], text: str) -> None:
    with pytest.raises((ValueError, TypeError), match=text):
        Conditions().changed(given)


def test_marks_of_a_drop_tail_queue_end_with_it() -> None:
    made = Conditions().changed({"mark": 20}).changed({"queue": "codel"})
    assert made.mark_packets == 0
    with pytest.raises(ValueError, match="mark: "):
        made.changed({"mark": 5})
    assert made.changed({"queue": 30, "mark": 5}).mark_packets == 5


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: CoDel(target="soon"), "CoDel target: 'soon' is no time"),
        (lambda: CoDel(target="1s"), "below the interval"),
        (lambda: CoDel(limit=0), "CoDel limit: 0 packets"),
        (lambda: CoDel(ce_threshold="-1ms"), "ce_threshold"),
        (lambda: FqCodel(flows=0), "at least 1 flow"),
        (lambda: FqCodel(quantum="x"), "FQ-CoDel quantum"),
        (lambda: Pie(update=0), "PIE"),
        (lambda: Red(probability=2), "RED probability"),
        (lambda: Red(limit=None), "say where the thresholds are"),
        (lambda: Red(limit=None, max=30), "say where the thresholds are"),
        (lambda: Red(min=5, max="30kB"), "both"),
        (lambda: Red(max="30kB"), "all bytes"),
        (lambda: Red(min=20, max=10), "min < max"),
    ],
)
def test_what_makes_no_sense_is_refused_where_it_is_written(make: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        make()


def test_what_is_written_becomes_a_queue() -> None:
    rng = Random(1)
    codel = CoDel(target="1ms", interval=0.02, limit="30kB", ecn=False, ce_threshold="2ms").make(rng)
    flow = codel.flow
    assert (codel.max_packets, codel.max_bytes) == (0, 30_000)
    assert (flow.target, flow.interval, flow.ecn, flow.ce_threshold) == (1_000_000, 20_000_000, False, 2_000_000)
    fq = FqCodel(flows=7, quantum=300, limit=99).make(rng)
    assert (fq.flow_count, fq.quantum, fq.max_packets, fq.target) == (7, 300, 99, 5_000_000)
    pie = Pie(target="20ms", update="10ms", max_burst="0ms", limit=None, alpha=1, beta=2, max_marking=0.2).make(rng)
    assert (pie.target, pie.update, pie.max_burst, pie.max_packets) == (20_000_000, 10_000_000, 0, 0)
    assert (pie.alpha, pie.beta, pie.max_marking) == (1, 2, 0.2)
    red = Red(limit=120).make(rng)
    assert (red.min_threshold, red.max_threshold, red.by_bytes) == (10, 30, False)
    red = Red(limit="120kB").make(rng)
    assert (red.min_threshold, red.max_threshold, red.by_bytes) == (10_000, 30_000, True)
    red = Red(min="5kB", max="20kB", limit=100, gentle=False).make(rng)
    assert (red.min_threshold, red.max_threshold, red.by_bytes, red.gentle) == (5000, 20_000, True, False)
    red = Red(max=30, limit=100).make(rng)
    assert (red.min_threshold, red.max_threshold) == (10, 30)


def transfer(net: Network, size: int) -> float:
    """Carry `size` bytes from "a" to "b"; virtual seconds."""

    async def main() -> None:
        done = asyncio.Event()

        async def drain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while await reader.read(1 << 18):
                pass
            done.set()
            writer.close()

        with net.nodes["b"].here():  # type: ignore[attr-defined]
            await asyncio.start_server(drain, "b", 80)
        _, writer = await asyncio.open_connection("b", 80)
        writer.write(bytes(size))
        writer.write_eof()
        await done.wait()
        writer.close()

    before = net.now
    net.run(main(), host="a")
    return net.now - before


@pytest.mark.parametrize("queue", ["codel", "fq_codel", "pie", "red", 500])
def test_a_connection_over_each_of_them(queue: Any) -> None:
    """Drops and marks are for a TCP to react to: the delay stays far below that of a long drop-tail queue."""
    hashes: list[str] = []
    for _ in range(2):
        net = Network(3, ipv6=False, trace_hash=True)
        link = net.link(net.host("a"), net.host("b"), rate="20Mbit/s", delay="10ms", queue=queue)
        delay = link.there.measure_queue()
        net.at("1s", delay.reset)  # slow start is over
        seconds = transfer(net, 4_000_000)
        hashes.append(net.trace_hash())
        assert seconds < 4_000_000 * 8 / 20e6 * 1.6
        if queue == 500:
            assert delay.maximum > 150 * MILLISECOND
        elif queue != "red":
            assert delay.mean() < 100 * MILLISECOND
            assert link.there.pipe.counters.dropped_early + link.there.pipe.counters.marked > 0
    assert hashes[0] == hashes[1]


def test_the_queue_of_a_link_may_change_while_it_carries() -> None:
    net = Network(3, ipv6=False)
    link = net.link(net.host("a"), net.host("b"), rate="20Mbit/s", delay="10ms", queue=50, backward={"queue": "pie"})
    kinds: list[type[Queue]] = []
    for i, queue in enumerate(("codel", "fq_codel", Red(limit=60), "pie", 40, "64KiB", FqCodel(flows=2))):
        link.set(queue=queue, at=0.2 * (i + 1))
        net.at(0.2 * (i + 1) + 0.001, lambda: kinds.append(type(link.there.queue)))
    link.set(rate="10Mbit/s", at=1.45)
    transfer(net, 6_000_000)
    assert kinds == [CodelQueue, FqCodelQueue, RedQueue, PieQueue, DropTail, DropTail, FqCodelQueue]
    for pipe in (link.there.pipe, link.back.pipe):
        counters = pipe.counters
        assert counters.packets == counters.arrived + counters.lost() + pipe.on_the_way()


def test_a_change_of_something_else_leaves_the_queue_alone() -> None:
    net = Network(3)
    link = net.link(net.host("a"), net.host("b"), rate="20Mbit/s", queue="codel")
    queue = link.there.queue
    assert queue is not link.back.queue
    link.set(rate="10Mbit/s", loss=0.1)
    link.set(queue=CoDel())
    assert link.there.queue is queue
    link.set(queue=CoDel(limit=10), toward="b")
    assert link.there.queue is not queue
    assert isinstance(link.back.queue, CodelQueue)
    assert link.back.queue.max_packets == 1000


@dataclass(frozen=True)
class Short(Discipline):
    """A program's own."""

    length: int = 2

    def make(self, rng: Random) -> HoldingQueue:
        return HoldingQueue(self.length)


def test_a_discipline_of_a_programs_own() -> None:
    net = Network(3, ipv6=False)
    link = net.link(net.host("a"), net.host("b"), rate="20Mbit/s", delay="2ms", queue=Short(5))
    transfer(net, 500_000)
    assert link.there.pipe.counters.lost_queue > 0
    assert isinstance(link.there.queue, HoldingQueue)
