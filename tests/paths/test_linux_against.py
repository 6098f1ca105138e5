"""Ours beside the kernel's: how many run at once, what is tried again, what is said of the comparison."""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from plankroad.paths.against import cost, measure_against, noted, ratio, run_kernels, summary
from plankroad.paths.cell import Cell
from plankroad.paths.ground import KernelError
from plankroad.paths.pool import cores
from plankroad.paths.result import Result
from plankroad.paths.sharing import run_shared
from plankroad.units import MILLISECOND

LOG = "PLANKROAD_TEST_RUNS"


def made_up(cell: Cell, goodput: float = 1e6, kept: bool | None = True, rtos: int = 0) -> Result:
    return Result(
        cell=cell,
        stack="linux",
        goodput_bps=goodput,
        utilisation=0.5,
        completion_s=None,
        delivered_bytes=1000,
        sent_segments=10,
        retransmitted_bytes=0,
        retransmitted_segments=0,
        spurious=0,
        rtos=rtos,
        queue_delay_ms=1.0,
        queue_delay_p95_ms=1.0,
        queue_delay_max_ms=1.0,
        lost_queue=0,
        lost_random=0,
        marked=0,
        jain=1.0,
        convergence_s=None,
        per_flow=(),
        time_s=1.0,
        real_s=1.0,
        kept_real_time=kept,
        seeds=(cell.seed,),
    )


def path(rate: int, seed: int = 1, **kwds: object) -> Cell:
    return replace(Cell(rate=rate, rtt=10 * MILLISECOND, seconds=1.0, seed=seed), **kwds)  # type: ignore[arg-type]


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where runs, which are in other processes, tell of themselves."""
    file = tmp_path / "runs"
    monkeypatch.setenv(LOG, str(file))
    return file


def tell(kind: str, cell: Cell) -> list[tuple[str, int]]:
    """Add a line to the log; all that had been told before."""
    with open(os.environ[LOG], "a+") as file:
        file.seek(0)
        before = [tuple(json.loads(line)) for line in file]
        file.write(json.dumps([kind, cell.seed]) + "\n")
    return before


def once_late(cell: Cell) -> Result:
    """Real time is kept from the second time on, but by seed 3 never."""
    before = tell("run", cell)
    return made_up(cell, kept=("run", cell.seed) in before and cell.seed != 3)


def told(cell: Cell) -> Result:
    """Tells when it begins and ends; it takes its time, as a cell does."""
    tell("begin", cell)
    time.sleep(0.2)
    tell("end", cell)
    return made_up(cell)


def failing(cell: Cell) -> Result:
    """Each seed has a trouble of its own."""
    if cell.seed == 1:
        raise KernelError("no such thing")
    if cell.seed == 2:
        os._exit(3)
    if cell.seed == 3:
        raise ZeroDivisionError("oh")
    return made_up(cell)


def test_what_did_not_keep_real_time_is_tried_once_more(log: Path) -> None:
    cells = [path(1_000_000, seed) for seed in (1, 2, 3)]
    found = dict(run_kernels(cells, run=once_late))
    assert [one.kept_real_time for one in (found[0], found[1], found[2]) if isinstance(one, Result)] == [
        True,
        True,
        False,
    ]
    assert len(log.read_text().splitlines()) == 6


def most_at_once(log: Path) -> int:
    running = most = 0
    for line in log.read_text().splitlines():
        running += 1 if json.loads(line)[0] == "begin" else -1
        most = max(most, running)
    return most


def test_low_rates_run_at_once_and_high_ones_alone(log: Path) -> None:
    list(run_kernels([path(1_000_000, seed) for seed in range(8)], run=told))
    assert 1 < most_at_once(log) <= 0.5 * cores() / cost(path(1_000_000)) + 1
    log.unlink()
    list(run_kernels([path(100_000_000, seed) for seed in range(2 * cores())], run=told))
    assert most_at_once(log) <= max(1, cores() // 2)
    log.unlink()
    list(run_kernels([path(1_000_000, seed) for seed in range(3)], jobs=1, run=told))
    assert most_at_once(log) == 1


def test_one_that_fails_does_not_keep_the_others() -> None:
    found = dict(run_kernels([path(1_000_000, seed) for seed in (1, 2, 3, 4)], run=failing))
    assert found[0] == "no such thing"
    assert found[1] == "its process has ended"
    assert found[2] == "ZeroDivisionError: oh"
    assert isinstance(found[3], Result)


def test_only_what_counts_is_compared() -> None:
    ours = made_up(path(1_000_000), 2e6, None)
    assert ratio(ours) is None
    assert ratio(replace(ours, linux=made_up(ours.cell, 4e6))) == 0.5
    assert ratio(replace(ours, linux=made_up(ours.cell, 4e6, False))) is None
    assert ratio(replace(ours, linux=made_up(ours.cell, 0.0))) is None


def test_the_comparison_in_words() -> None:
    cells = [path(rate * 1_000_000) for rate in (1, 2, 3, 4)]
    results = [
        replace(made_up(cells[0], 1.5e6), linux=made_up(cells[0], 1e6)),
        replace(made_up(cells[1], 0.8e6, rtos=2), linux=made_up(cells[1], 1e6, rtos=1)),
        replace(made_up(cells[2], 1e6), linux=made_up(cells[2], 1e6, False)),
        noted(made_up(cells[3], 1e6), "it is not there"),
    ]
    (line,) = summary(results)
    assert line.startswith(
        "cubic: ours / Linux is 1.0 or more in 1 of 2 cells (50 %), the median 1.150, the least 0.800"
    )
    assert "2 Mbit/s" in line
    assert "more RTOs than Linux in 1; 2 not compared" in line
    assert results[3].notes == ("no Linux: it is not there",)
    assert summary(results[3:]) == []


def test_who_may_not_have_a_kernel_hears_it_before_anything_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(KernelError, match="root"):
        next(measure_against([path(1_000_000)]))


@pytest.mark.root
def test_a_grid_beside_the_kernels() -> None:
    cells = [path(2_000_000), path(200_000_000, seconds=0.1), path(2_000_000, algorithms=("ledbat",))]
    done: list[Cell] = []
    found = {number: result for number, result, _ in measure_against(cells, 2, 1, after_kernel=done.append)}
    linux = found[0].linux
    assert linux is not None
    assert found[0].seeds == (1, 2)
    compared = ratio(found[0])
    if linux.kept_real_time:
        # Of the seeds those count whose run kept real time.
        assert linux.seeds in ((1, 2), (1,), (2,))
        assert compared is not None
        assert 0.7 < compared < 1.5
    else:
        # A machine with too much to do, twice: that is said, and nothing is compared.
        assert compared is None
        assert any("did not keep real time" in note for note in (*linux.notes, *found[0].notes))
    assert found[1].linux is None
    assert found[1].notes == ("no Linux: the emulator keeps real time up to 100 Mbit/s",)
    assert found[2].linux is None
    assert "no congestion control 'ledbat'" in found[2].notes[0]
    assert len(done) == 6


@pytest.mark.root
def test_ours_and_a_kernels_flow_share_a_queue() -> None:
    for seed, names in ((1, ["newreno", "newreno of Linux"]), (2, ["newreno of Linux", "newreno"])):
        result = run_shared(path(5_000_000, seed, seconds=6.0, algorithms=("newreno",), rtt=20 * MILLISECOND))
        assert [flow.algorithm for flow in result.per_flow] == names
        assert result.stack == "plankroad and linux"
        assert result.utilisation > 0.85
        assert result.delivered_bytes == sum(flow.delivered_bytes for flow in result.per_flow)
        assert min(flow.goodput_bps for flow in result.per_flow) > 1_000_000
        assert all(flow.sent_segments > 500 for flow in result.per_flow)
        assert 0.8 < result.jain <= 1
        assert result.kept_real_time is not None


def test_a_shared_path_is_timed() -> None:
    with pytest.raises(ValueError, match="timed"):
        run_shared(path(1_000_000, size=1000))
