"""BBR within the whole stack, on simulated paths in virtual time."""

from __future__ import annotations

import pytest

from plankroad.paths.cell import parse_cell
from plankroad.paths.result import Result
from plankroad.paths.virtual import VirtualRun


def run(
    rate: str, rtt: str, queue: str, loss: str = "0", algorithm: str = "bbr", seconds: int = 6, flows: int = 1
) -> tuple[Result, VirtualRun]:
    cell = parse_cell(
        rate=rate,
        rtt=rtt,
        queue=queue,
        loss=loss,
        algorithm=algorithm,
        flows=str(flows),
        seconds=str(seconds),
        seed="1",
    )
    path = VirtualRun(cell)
    return path.run(), path


@pytest.mark.parametrize(
    ("rate", "rtt", "queue", "loss", "least"),
    [
        ("10Mbit", "40ms", "0.25bdp", "0", 0.96),
        ("10Mbit", "40ms", "0.25bdp", "3%", 0.92),
        ("10Mbit", "40ms", "1bdp", "1%", 0.95),
        ("10Mbit", "40ms", "4bdp", "3%", 0.92),
        ("20Mbit", "100ms", "1bdp", "3%", 0.85),
        ("1Mbit", "10ms", "1bdp", "0", 0.98),
        ("1Mbit", "10ms", "1bdp", "3%", 0.94),
    ],
)
def test_the_path_is_used_without_timeouts(rate: str, rtt: str, queue: str, loss: str, least: float) -> None:
    result, path = run(rate, rtt, queue, loss)
    assert result.utilisation >= least
    assert result.rtos == 0
    assert result.spurious == 0
    assert path.sender.stack.counters.tcp.spurious_recoveries == 0


def test_a_short_queue_is_not_kept_overflowing() -> None:
    result, _ = run("10Mbit", "40ms", "0.25bdp", seconds=10)
    assert result.retransmitted_segments < 0.03 * result.sent_segments


def test_a_deep_queue_stays_nearly_empty() -> None:
    result, _ = run("10Mbit", "40ms", "4bdp", seconds=10)
    assert result.retransmitted_segments == 0
    assert result.queue_delay_ms < 12


def test_bbr_and_cubic_share_a_queue() -> None:
    result, _ = run("10Mbit", "40ms", "1bdp", algorithm="bbr+cubic", flows=2, seconds=15)
    shares = [flow.goodput_bps / 10e6 for flow in result.per_flow]
    assert sum(shares) > 0.9
    assert min(shares) >= 0.2


def test_two_flows_of_bbr_share_a_queue_equally() -> None:
    result, _ = run("10Mbit", "40ms", "1bdp", flows=2, seconds=20)
    assert result.utilisation > 0.93
    assert result.jain is not None
    assert result.jain >= 0.95


def test_losses_in_bursts_and_reordering_cost_little() -> None:
    for extra in ({"burst": "3%:5"}, {"reorder": "1%:5ms"}):
        path = VirtualRun(parse_cell(rate="10Mbit", rtt="40ms", queue="1bdp", algorithm="bbr", seconds="6", **extra))
        assert path.run().utilisation > 0.9


def test_an_aqm_that_marks_is_heeded() -> None:
    cell = parse_cell(rate="10Mbit", rtt="40ms", queue="codel", algorithm="bbr", seconds="6", ecn="yes")
    result = VirtualRun(cell).run()
    assert result.marked > 0
    assert result.retransmitted_segments == 0
    assert result.utilisation > 0.95
    assert result.queue_delay_ms < 12


def test_losses_do_not_run_the_send_buffer_dry() -> None:
    # What waits behind a gap fills a buffer of two windows, and a flow that sends on at its rate would come to a halt.
    path = VirtualRun(parse_cell(rate="10Mbit", rtt="200ms", queue="1bdp", loss="3%", algorithm="bbr", seconds="8"))
    assert path.run().utilisation > 0.79
