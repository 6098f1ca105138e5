"""Flows in one queue: those of ours share it, and BBR holds its own beside the BBR of 2016, which never yields."""

from __future__ import annotations

import pytest
from tests.tcp.cc import bbr_of_2016
from tests.volume import volume

from plankroad.paths.cell import parse_cell
from plankroad.paths.virtual import run_virtual

#: Jain's index over the second half of the time in which both flows were under way.
FAIR = 0.95

RTTS = ("20ms", "40ms", "80ms")[: volume(3, 1)]


def jain(algorithm: str, rtt: str, seed: int, **texts: str) -> float:
    found = run_virtual(
        parse_cell(
            **{"rate": "10Mbit", "flows": "2", "seconds": "60", **texts},
            rtt=rtt,
            algorithm=algorithm,
            seed=str(seed),
        )
    )[0]
    assert found.utilisation > 0.95
    return found.jain


@pytest.mark.parametrize("rtt", RTTS)
@pytest.mark.parametrize("algorithm", ["cubic", "bbr"])
def test_two_flows_share_a_queue(algorithm: str, rtt: str) -> None:
    assert jain(algorithm, rtt, 1) > FAIR


OURS = f"bbr+{bbr_of_2016.NAME}"
THEIRS = f"{bbr_of_2016.NAME}+bbr"
#: Who comes first, on which path.
CASES = [(OURS, "20ms", "1bdp"), (THEIRS, "40ms", "1bdp"), (OURS, "80ms", "1bdp"), (THEIRS, "20ms", "4bdp")]
MORE = [(THEIRS, "20ms", "1bdp"), (OURS, "40ms", "1bdp"), (THEIRS, "80ms", "1bdp")]


@pytest.mark.parametrize(("algorithms", "rtt", "queue"), (CASES + MORE)[: volume(7, 1)])
def test_bbr_beside_the_bbr_of_2016(algorithms: str, rtt: str, queue: str) -> None:
    bbr_of_2016.available()
    # It takes our flow ten to forty seconds to know, and some more to come up.
    assert jain(algorithms, rtt, 1, queue=queue, seconds="90") > FAIR
