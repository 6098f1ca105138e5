"""FQ-CoDel (RFC 8290): fair shares, new flows first, no starvation, drops from the longest, CoDel in each flow."""

from __future__ import annotations

from itertools import pairwise

import pytest
from tests.sim.kit import Reports, make, tcp_packet

from plankroad.sim.events import Simulator
from plankroad.sim.fate import LOST_MASK
from plankroad.sim.queue_fq_codel import FqCodelQueue
from plankroad.sim.queue_held import Held
from plankroad.sim.queue_packet import flow_key
from plankroad.sim.rng import stream
from plankroad.units import MILLISECOND
from plankroad.wire.constants import PROTO_UDP
from plankroad.wire.ipv4 import build_ipv4
from plankroad.wire.packet import Packet


def fq(seed: int = 1, flows: int = 1024, quantum: int = 1514, limit: int = 10240, **more: int) -> FqCodelQueue:
    return FqCodelQueue(
        stream(seed, "fq"),
        5 * MILLISECOND,
        100 * MILLISECOND,
        flows,
        quantum,
        limit,
        **more,  # type: ignore[arg-type]
    )


def packet(flow: int, size: int = 1000, tos: int = 0) -> Packet:
    """A UDP packet whose source port is `flow`."""
    payload = flow.to_bytes(2, "big") + bytes(size - 22)
    return Packet(build_ipv4(bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2]), PROTO_UDP, size - 20, tos=tos) + payload)


def flow_of(data: bytes) -> int:
    return int.from_bytes(data[20:22], "big")


def put(queue: FqCodelQueue, flow: int, count: int = 1, size: int = 1000, now: int = 0) -> None:
    for _ in range(count):
        queue.put(now, Held(packet(flow, size), now, size, 0))


def take(queue: FqCodelQueue, count: int, now: int = 0) -> list[int]:
    taken: list[int] = []
    for _ in range(count):
        held = queue.take(now)
        if held is None:
            break
        taken.append(flow_of(held.packet.head))
    return taken


def test_flows_take_turns_by_bytes_not_by_packets() -> None:
    """Section 4.2: a quantum each round; who has sent more waits until its deficit is made up."""
    queue = fq(quantum=1000)
    put(queue, 1, 100, size=1000)
    put(queue, 2, 400, size=250)
    order = take(queue, 200)
    assert order[:10] == [1, 2, 2, 2, 2, 1, 2, 2, 2, 2]
    assert order.count(2) == 4 * order.count(1)


def test_a_sparse_flow_goes_before_a_queue_of_others() -> None:
    queue = fq()
    put(queue, 1, 50)
    assert take(queue, 4) == [1, 1, 1, 1]
    put(queue, 2)
    assert take(queue, 2) == [2, 1]


def test_a_flow_that_is_empty_is_not_new_at_once() -> None:
    """Section 4.2: it waits for its turn among the old first, so that nobody starves."""
    queue = fq(quantum=4000)
    put(queue, 1, 50)
    assert take(queue, 5) == [1, 1, 1, 1, 1]
    order: list[int] = []
    for _ in range(3):
        put(queue, 2)  # another packet as soon as it was found to be empty
        order += take(queue, 2)
    assert order == [2, 1, 1, 1, 2, 2]  # not 2, 1, 2, 1, 2, 1


def test_a_mouse_waits_one_packet_beside_a_hog(sim: Simulator) -> None:
    pipe, sink = make(sim, rate=8_000_000, queue=fq())
    for i in range(3000):
        sim.call_at(i * 500_000, pipe.send, packet(1))  # twice the rate of the link
        if i % 20 == 0:
            sim.call_at(i * 500_000 + 100_000, pipe.send, packet(2, 100))
    sim.run()
    sent = [i * 500_000 + 100_000 for i in range(0, 3000, 20)]
    arrived = [when for when, data in sink.packets if flow_of(data) == 2]
    assert len(arrived) == 150
    waits = [b - a for a, b in zip(sent, arrived, strict=True)]
    assert waits[0] == 2_000_000  # at first the hog is as new
    assert max(waits[1:]) <= 1_100_000  # the packet in transmission, and its own


def test_two_greedy_flows_share_evenly_whatever_they_send(sim: Simulator) -> None:
    pipe, sink = make(sim, rate=8_000_000, queue=fq(limit=100))
    for i in range(4000):
        sim.call_at(i * 300_000, pipe.send, packet(1, 1200))
        sim.call_at(i * 300_000 + 1, pipe.send, packet(2, 300))
        sim.call_at(i * 300_000 + 2, pipe.send, packet(2, 300))
    sim.run_until(4000 * 300_000)
    shares = [sum(len(data) for data in sink.contents if flow_of(data) == flow) for flow in (1, 2)]
    assert shares[0] == pytest.approx(shares[1], rel=0.03)
    assert pipe.counters.lost_queue > 1000


def test_what_is_too_much_is_taken_from_the_head_of_the_longest() -> None:
    """Section 4.1: half of its packets, 64 at most."""
    queue = fq(limit=200)
    put(queue, 1, 150)
    put(queue, 2, 50, size=100)
    first = queue.flow_of(flow_key(packet(1).head, 0)).waiting[0]
    put(queue, 2, 1, size=100)
    assert len(queue.dropped) == 64
    assert queue.dropped[0] is first
    assert {flow_of(held.packet.head) for held in queue.dropped} == {1}
    assert {(held.note, held.early) for held in queue.dropped} == {("FQ-CoDel: full", False)}
    assert (queue.waiting_packets, queue.waiting_bytes) == (137, 86 * 1000 + 51 * 100)
    queue = fq(limit=4)
    put(queue, 1, 5)
    assert (len(queue.dropped), queue.waiting_packets) == (3, 2)


def test_a_limit_in_bytes() -> None:
    queue = fq(limit=0, max_bytes=5000)
    put(queue, 1, 5)
    assert not queue.dropped
    put(queue, 2)
    assert queue.waiting_bytes <= 5000
    huge = fq(limit=0, max_bytes=10)
    put(huge, 1)
    assert take(huge, 1) == [1]  # an empty queue takes anything


def test_codel_drops_of_the_flow_that_stands_alone(sim: Simulator) -> None:
    pipe, _ = make(sim, rate=8_000_000, queue=fq())
    reports = Reports()
    pipe.observers.append(reports)
    for i in range(2000):
        sim.call_at(i * 900_000, pipe.send, packet(1, 1000))
        if i % 10 == 0:
            sim.call_at(i * 900_000, pipe.send, packet(2, 200))
    sim.run()
    lost = {flow_of(data) for _, _, data, fate, _ in reports.told if fate & LOST_MASK}
    assert lost == {1}
    assert pipe.counters.dropped_early == pipe.counters.lost_queue > 20
    assert all(note.startswith("FQ-CoDel: waited") for _, _, _, fate, note in reports.told if fate & LOST_MASK)


def test_packets_that_take_part_are_marked_and_none_is_lost(sim: Simulator) -> None:
    pipe, sink = make(sim, rate=8_000_000, queue=fq())
    for i in range(2000):
        sim.call_at(i * 900_000, pipe.send, packet(1, 1000, tos=2))
    sim.run()
    assert len(sink.packets) == 2000
    assert pipe.counters.marked > 20


def test_the_packets_of_a_flow_keep_their_order(sim: Simulator) -> None:
    pipe, sink = make(sim, rate=8_000_000, queue=fq(flows=3))
    for i in range(300):
        sim.call_at(i * 400_000, pipe.send, tcp_packet(i.to_bytes(4, "big") + bytes(500)))
        sim.call_at(i * 400_000, pipe.send, packet(i % 7, 300))
    sim.run()
    numbers = [int.from_bytes(data[40:44], "big") for data in sink.contents if data[9] == 6]
    assert all(a < b for a, b in pairwise(numbers))
    assert len(numbers) > 200


def test_who_shares_a_row_depends_on_the_seed() -> None:
    """Section 4.1.1: the hash is perturbed at random, and the same in each run of one seed."""

    def rows(seed: int) -> list[list[int]]:
        queue = fq(seed, flows=8)
        for flow in range(30):
            put(queue, flow)
        return sorted([flow_of(held.packet.head) for held in row.waiting] for row in queue.flows.values())

    assert rows(1) == rows(1) != rows(2)
    assert len(rows(1)) == 8


def test_flows_without_number_do_not_fill_the_memory() -> None:
    queue = fq(flows=16)
    for flow in range(10_000):
        put(queue, flow)
        take(queue, 1)
    assert len(queue.numbers) <= 4096
    assert len(queue.flows) <= 16


def test_all_is_given_away_in_the_order_of_coming() -> None:
    queue = fq()
    for i in range(20):
        put(queue, i % 3, now=i)
    assert [held.came for held in queue.release()] == list(range(20))
    assert (queue.waiting_packets, queue.take(20)) == (0, None)


@pytest.mark.parametrize("values", [{"flows": 0}, {"quantum": 0}])
def test_what_makes_no_sense_is_refused(values: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="FQ-CoDel"):
        fq(**values)
