"""A cell in virtual time: what is measured is what the path and TCP did, and the seed decides it all."""

from __future__ import annotations

import pytest

from plankroad.paths.cell import MTU, PAYLOAD, Cell, parse_cell
from plankroad.paths.result import Result
from plankroad.paths.virtual import comparable, run_virtual


def measured(**texts: str) -> Result:
    cell = parse_cell(**{"rate": "10Mbit", "rtt": "40ms", "seconds": "3", **texts})
    return run_virtual(cell)[0]


def test_a_clean_path_is_filled() -> None:
    found = measured(seconds="5")
    assert 0.93 < found.utilisation <= 1
    assert found.goodput_bps == pytest.approx(found.delivered_bytes * 8 / 5)
    assert found.utilisation == pytest.approx(found.goodput_bps * MTU / PAYLOAD / 10e6)
    assert found.per_flow[0].delivered_bytes == found.delivered_bytes
    assert found.lost_random == found.spurious == found.rtos == 0
    assert (found.jain, found.convergence_s, found.completion_s) == (1, None, None)
    # A queue of one product of bandwidth and delay is 40 ms long, the packet in transmission counted.
    assert 37 < found.queue_delay_max_ms <= 40
    assert 0 < found.queue_delay_ms < found.queue_delay_p95_ms <= found.queue_delay_max_ms
    assert found.stack == "plankroad"
    assert found.kept_real_time is None


def test_what_is_lost_is_sent_again_once() -> None:
    found = measured(loss="2%", queue="100bdp")
    assert found.lost_queue == 0
    assert found.lost_random > 10
    # Each lost segment is sent again, but for those of the last moments; what was not lost is not.
    assert found.lost_random - 5 <= found.retransmitted_segments - found.spurious <= found.lost_random
    assert found.retransmitted_bytes == pytest.approx(found.retransmitted_segments * PAYLOAD, rel=0.02)


def test_bytes_are_carried_and_timed() -> None:
    found = measured(bytes="100kB", seconds="60")
    assert found.delivered_bytes == 100_000
    # A handshake and slow start from ten segments: 10, 20, 39 of 70 segments. Not less than four round trips.
    assert found.completion_s is not None
    assert 0.16 < found.completion_s < 0.35
    assert found.per_flow[0].completion_s == found.completion_s == found.time_s
    assert found.goodput_bps == pytest.approx(800_000 / found.completion_s)


def test_bytes_that_take_too_long_are_given_up() -> None:
    found = measured(bytes="10MB", seconds="1")
    assert found.completion_s is None
    assert found.time_s == 1
    assert 0 < found.delivered_bytes < 10_000_000


def test_flows_start_one_after_the_other_and_add_up() -> None:
    found = measured(flows="3", seconds="5", algorithm="cubic+newreno")
    assert [flow.algorithm for flow in found.per_flow] == ["cubic", "newreno", "cubic"]
    starts = [flow.start_s for flow in found.per_flow]
    assert starts == [start / 1e9 for start in found.cell.starts()]
    for name in ("delivered_bytes", "sent_segments", "retransmitted_bytes", "retransmitted_segments", "spurious"):
        assert getattr(found, name) == sum(getattr(flow, name) for flow in found.per_flow)
    assert all(flow.delivered_bytes for flow in found.per_flow)
    assert 1 / 3 <= found.jain <= 1
    last = found.per_flow[2]
    assert last.goodput_bps == pytest.approx(last.delivered_bytes * 8 / (5 - last.start_s))


def test_the_same_cell_gives_the_same_figures_traced_or_not() -> None:
    cell = parse_cell(rate="10Mbit", rtt="40ms", loss="1%", burst="0.5%:4", reorder="1%:5ms", flows="2", seconds="3")
    first, nothing = run_virtual(cell)
    again, series = run_virtual(cell, trace=True)
    assert comparable(first) == comparable(again)
    assert nothing is None
    assert series is not None
    other = run_virtual(Cell(**{**cell.__dict__, "seed": 2}))[0]
    assert other.goodput_bps != first.goodput_bps


def test_rows_tell_what_happened_over_time() -> None:
    cell = parse_cell(rate="10Mbit", rtt="40ms", seconds="3", flows="2")
    result, series = run_virtual(cell, trace=True)
    assert series is not None
    rows = cell.duration // series.step
    assert len(series.queue) == len(series.drops) == rows
    assert 0 < max(series.queue) <= cell.queue_bytes
    assert series.drops[-1] == result.lost_queue > 0
    for flow, told in zip(series.flows, result.per_flow, strict=True):
        assert {len(row) for name, row in vars(flow).items() if name != "algorithm"} == {rows}
        assert flow.delivered == sorted(flow.delivered)
        assert flow.delivered[-1] == told.delivered_bytes
        begun = int(told.start_s * 1e9) // series.step
        assert max(flow.cwnd[:begun], default=0) == 0
        assert min(flow.cwnd[begun + 1 :]) > 0
        assert min(rtt for rtt in flow.rtt if rtt) >= cell.rtt
        assert 0 < max(flow.in_flight) < 4 * (cell.bdp + cell.queue_bytes)


@pytest.mark.parametrize("queue", ["codel", "fq_codel", "pie", "red"])
def test_disciplines_keep_the_queue_shorter_than_a_long_one(queue: str) -> None:
    long, short = measured(queue="4bdp", seconds="6"), measured(queue=queue, seconds="6")
    assert short.queue_delay_ms < long.queue_delay_ms / 2
    assert short.lost_queue > 0
    assert short.marked == 0


@pytest.mark.parametrize("algorithm", ["cubic", "dctcp"])
def test_with_ecn_a_discipline_marks_instead_of_dropping(algorithm: str) -> None:
    cell = parse_cell(rate="10Mbit", rtt="40ms", queue="codel", seconds="6", ecn="on", algorithm=algorithm)
    found = run_virtual(cell)[0]
    assert found.marked > 0
    assert found.lost_queue == found.retransmitted_segments == 0
    assert found.utilisation > 0.8


def test_reordering_alone_loses_nothing() -> None:
    found = measured(reorder="2%:3ms", queue="100bdp")
    assert found.lost_queue == found.lost_random == 0
    # What is sent again was not lost: it is spurious.
    assert found.spurious == found.retransmitted_segments


def test_an_algorithm_that_nobody_registered_is_refused() -> None:
    with pytest.raises(ValueError, match=r"algorithm: there is no 'qubic'; there are .*cubic"):
        measured(algorithm="qubic")
