"""Undo on simulated paths: a recovery that repaired real losses is not taken back."""

from __future__ import annotations

from plankroad.paths.cell import parse_cell
from plankroad.paths.virtual import VirtualRun


def test_a_retransmission_of_an_earlier_recovery_does_not_make_the_next_one_look_spurious() -> None:
    # RFC 3522 section 3.2 step (5) compares with the timestamp of the first retransmission. A segment sent again in one
    # recovery and acknowledged in the next echoes an older one. The path delivers in order: nothing is spurious.
    cell = parse_cell(rate="50Mbit", rtt="20ms", queue="0.25bdp", loss="1%", algorithm="cubic", seconds="5", seed="1")
    run = VirtualRun(cell)
    result = run.run()
    counters = run.sender.stack.counters.tcp
    assert counters.recoveries_sack > 5
    assert result.spurious == 0
    assert counters.spurious_recoveries == 0
