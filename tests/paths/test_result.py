"""Results: to JSON and back, and the median over seeds."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from plankroad.paths.cell import parse_cell
from plankroad.paths.result import FlowResult, Result, median, utilisation

CELL = parse_cell(rate="10Mbit", rtt="40ms")
FLOW = FlowResult("cubic", 0.0, 10_000_000, 8e6, None, 7000, 14480, 10, 2)
RESULT = Result(
    cell=CELL,
    stack="plankroad",
    goodput_bps=8e6,
    utilisation=0.83,
    completion_s=None,
    delivered_bytes=10_000_000,
    sent_segments=7000,
    retransmitted_bytes=14480,
    retransmitted_segments=10,
    spurious=2,
    rtos=0,
    queue_delay_ms=20.5,
    queue_delay_p95_ms=39.0,
    queue_delay_max_ms=40.0,
    lost_queue=8,
    lost_random=0,
    marked=0,
    jain=1.0,
    convergence_s=None,
    per_flow=(FLOW,),
    time_s=10.0,
    real_s=0.5,
)


def seeds(*goodputs: float) -> list[Result]:
    return [
        replace(RESULT, cell=replace(CELL, seed=seed), goodput_bps=goodput, rtos=seed)
        for seed, goodput in enumerate(goodputs, 1)
    ]


def test_a_result_survives_json() -> None:
    both = replace(RESULT, linux=replace(RESULT, stack="linux", kept_real_time=True), notes=("a note",))
    found = json.loads(json.dumps(both.as_dict()))
    assert Result.of_dict(found) == both
    for name in ("goodput_bps", "utilisation", "retransmitted_bytes", "rtos", "spurious", "queue_delay_ms", "jain"):
        assert isinstance(found[name], int | float)
        assert found["linux"][name] == found[name]
    assert found["linux"]["kept_real_time"] is True


def test_utilisation_counts_headers_once() -> None:
    assert utilisation(10e6 * 1448 / 1500, 10_000_000) == pytest.approx(1.0)


def test_the_median_is_taken_field_by_field() -> None:
    found = median(seeds(9e6, 7e6, 8e6))
    assert (found.goodput_bps, found.rtos) == (8e6, 2)
    assert found.cell.seed == 1
    assert found.seeds == (1, 2, 3)
    assert (found.time_s, found.real_s) == (30.0, 1.5)
    assert median(seeds(9e6, 7e6)).goodput_bps == 8e6


def test_what_half_of_the_runs_did_not_reach_has_no_median() -> None:
    runs = seeds(1, 2, 3, 4)
    runs[0] = replace(runs[0], completion_s=1.0)
    runs[1] = replace(runs[1], completion_s=2.0)
    assert median(runs).completion_s is None
    runs[2] = replace(runs[2], completion_s=6.0)
    assert median(runs).completion_s == 2.0


def test_runs_that_did_not_keep_real_time_are_not_counted() -> None:
    kernel = [replace(one, kept_real_time=one.cell.seed != 3) for one in seeds(9e6, 7e6, 1e6)]
    ours = [replace(one, linux=other) for one, other in zip(seeds(9e6, 7e6, 8e6), kernel, strict=True)]
    found = median(ours).linux
    assert found is not None
    assert found.goodput_bps == 8e6
    assert found.seeds == (1, 2)
    assert found.kept_real_time is True
    assert found.notes == ("1 of 3 runs did not keep real time and are not counted",)
    none = median([replace(one, kept_real_time=False) for one in kernel])
    assert none.kept_real_time is False
    assert none.goodput_bps == 7e6


def test_nothing_has_no_median() -> None:
    with pytest.raises(ValueError, match="no median of nothing"):
        median([])
