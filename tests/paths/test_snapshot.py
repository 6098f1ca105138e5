"""The table of throughput against loss is as it was reviewed."""

from __future__ import annotations

from pathlib import Path

import pytest

from plankroad.paths.snapshot import LOSSES, ROUND_TRIPS, cells, heading, part

FILE = Path(__file__).resolve().parents[2] / "docs" / "snapshots" / "throughput-against-loss.txt"


@pytest.mark.parametrize("rtt", ROUND_TRIPS)
def test_throughput_against_loss_is_as_reviewed(rtt: str) -> None:
    """Where a change of TCP is meant to show here: `make snapshots`, look at the difference, commit it."""
    above, *blocks = FILE.read_text(encoding="utf-8").split("\n\n")
    assert above == heading()
    kept = {block.split(maxsplit=1)[0]: block.splitlines() for block in blocks}
    assert sorted(kept) == sorted(ROUND_TRIPS)
    assert part(rtt) == [line.rstrip() for line in kept[rtt]]


def test_the_table_has_every_loss_and_algorithm() -> None:
    found = cells(ROUND_TRIPS[0])
    assert len({cell.loss for cell in found}) == len(LOSSES)
    assert {cell.algorithm_text for cell in found} >= {"cubic", "newreno"}
