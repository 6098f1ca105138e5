"""Cells: from text, what follows from them, and back from JSON."""

from __future__ import annotations

import json
import re

import pytest

from plankroad.paths.cell import LEAST_QUEUE, MTU, Cell, CellBurst, CellQueue, CellReorder, parse_cell, parse_queue
from plankroad.units import MILLISECOND, SECOND


def test_the_cell_of_the_issue_is_read() -> None:
    cell = parse_cell(
        rate="50Mbit", rtt="40ms", loss="0.01", queue="1bdp", algorithm="cubic", flows="1", seconds="20"
    )
    assert (cell.rate, cell.rtt, cell.loss) == (50_000_000, 40 * MILLISECOND, 0.01)
    assert (cell.algorithms, cell.flows, cell.seconds, cell.seed) == (("cubic",), 1, 20.0, 1)
    assert cell.bdp == cell.queue_bytes == 250_000
    assert cell.forth + cell.back == cell.rtt


@pytest.mark.parametrize(
    ("text", "queue"),
    [
        ("1bdp", CellQueue("bdp", 1.0)),
        ("1/4bdp", CellQueue("bdp", 0.25)),
        (" .25 BDP ", CellQueue("bdp", 0.25)),
        ("64KiB", CellQueue("bytes", 65536.0)),
        ("100packets", CellQueue("packets", 100.0)),
        ("100", CellQueue("packets", 100.0)),
        ("fq-codel", CellQueue("fq_codel", 0.0)),
        ("codel", CellQueue("codel", 0.0)),
    ],
)
def test_queues_are_read_and_written(text: str, queue: CellQueue) -> None:
    assert parse_queue(text) == queue == parse_queue(str(queue))


def test_a_queue_holds_some_packets_however_short_the_path() -> None:
    cell = parse_cell(rate="1Mbit", rtt="1ms", queue="0.25bdp")
    assert cell.bdp == 125
    assert cell.queue_bytes == LEAST_QUEUE * MTU
    assert parse_cell(rate="1Mbit", rtt="1ms", queue="codel").queue_bytes == 0


def test_buffers_hold_the_path_and_its_queue_several_times() -> None:
    assert parse_cell(rate="1Gbit", rtt="300ms", queue="4bdp").buffer_bytes == 4 * 5 * 37_500_000


def test_a_cell_survives_json() -> None:
    cell = Cell(
        rate=1_234_567,
        rtt=1_500_000,
        loss=0.001,
        burst=CellBurst(0.01, 8),
        reorder=CellReorder(1 / 3, 5 * MILLISECOND),
        queue=CellQueue("bdp", 1 / 3),
        algorithms=("cubic", "newreno"),
        flows=3,
        size=100_000,
        seed=7,
        ecn=True,
    )
    assert Cell.of_dict(json.loads(json.dumps(cell.as_dict()))) == cell


def test_flows_start_within_the_first_fifth_and_each_seed_has_its_own_starts() -> None:
    cell = parse_cell(rate="10Mbit", rtt="40ms", flows="4", seconds="20", seed="3")
    starts = cell.starts()
    assert starts == cell.starts() == sorted(starts)
    assert starts[0] == 0
    assert starts[-1] < 4 * SECOND
    assert all(0 <= start - flow * SECOND < cell.rtt for flow, start in enumerate(starts) if flow)
    assert parse_cell(rate="10Mbit", rtt="40ms", flows="4", seconds="20", seed="4").starts() != starts


def test_flows_take_the_algorithms_in_turn() -> None:
    cell = parse_cell(rate="10Mbit", rtt="40ms", flows="3", algorithm="cubic+newreno")
    assert [cell.algorithm(flow) for flow in range(3)] == ["cubic", "newreno", "cubic"]


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"rate": "fast"}, "rate: 'fast' is no rate"),
        ({"rate": "unlimited"}, "rate: 0 bit/s is not within"),
        ({"rtt": "40 parsecs"}, "rtt: '40 parsecs' is no time"),
        ({"loss": "150%"}, "loss: '150%' is not from 0 % to 100 %"),
        ({"loss": "1"}, "where all is lost"),
        ({"loss": "1/0%"}, "loss: '1/0%' is no share"),
        ({"burst": "1%"}, "burst: '1%' is not understood; write"),
        ({"burst": "60%:1"}, "burst: 0.6:1 cannot be"),
        ({"reorder": "1%"}, "reorder: '1%' is not understood"),
        ({"reorder": "1%:0ms"}, "changes nothing"),
        ({"queue": "0bdp"}, "queue: 0 bdp is no room"),
        ({"queue": "1/0bdp"}, "queue: '1/0bdp' is not understood; write 1bdp"),
        ({"queue": "sfq"}, "queue: 'sfq' is not understood; write 1bdp, 0.25bdp, 64KiB, 100packets or one of codel"),
        ({"algorithm": "cubic+"}, "algorithm: name at least one"),
        ({"flows": "0"}, "flows: 0 is not within"),
        ({"flows": "two"}, "flows: 'two' is no whole number"),
        ({"seconds": "0"}, "seconds: 0 is not above 0"),
        ({"seed": "x"}, "seed: 'x' is no whole number"),
        ({"ecn": "maybe"}, "ecn: 'maybe' is neither on nor off"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(given: dict[str, str], complaint: str) -> None:
    with pytest.raises(ValueError, match=re.escape(complaint)):
        parse_cell(**{"rate": "10Mbit", "rtt": "40ms", **given})


def test_unknown_names_are_refused() -> None:
    with pytest.raises(TypeError, match="a cell has no 'delay'; it has algorithm, burst, bytes"):
        parse_cell(rate="1Mbit", rtt="1ms", delay="3ms")
