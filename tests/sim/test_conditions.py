"""How a link is, as people write it."""

from __future__ import annotations

from typing import Any

import pytest

from plankroad.sim.conditions import Burst, Conditions


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"queue": 7}, {"queue_packets": 7, "queue_bytes": 0}),
        ({"queue": "7"}, {"queue_packets": 7, "queue_bytes": 0}),
        ({"queue": "64KiB"}, {"queue_packets": 0, "queue_bytes": 65536}),
        ({"queue": None}, {"queue_packets": 0, "queue_bytes": 0}),
        ({"mark": 20}, {"mark_packets": 20, "mark_bytes": 0}),
        ({"mark": "30kB"}, {"mark_packets": 0, "mark_bytes": 30_000}),
        ({"queue_packets": 3, "queue_bytes": "5kB"}, {"queue_packets": 3, "queue_bytes": 5000}),
        ({"burst": (0.1, 0.5)}, {"burst": Burst(0.1, 0.5)}),
        ({"burst": None}, {"burst": None}),
        ({"jitter": "3ms", "jitter_reorders": 1}, {"jitter": 3_000_000, "jitter_reorders": True}),
        ({"overhead": 24}, {"overhead": 24}),
    ],
)
def test_what_is_given_becomes_the_simulators_units(given: dict[str, Any], expected: dict[str, Any]) -> None:
    made = Conditions().changed(given)
    assert {name: getattr(made, name) for name in expected} == expected


def test_what_is_not_given_stays() -> None:
    made = Conditions(rate=5, loss=0.1).changed({"loss": 0.2})
    assert (made.rate, made.loss) == (5, 0.2)


@pytest.mark.parametrize("given", [{"queue": 0}, {"mark": -1}, {"queue_packets": -1}, {"corrupt_bits": 1.5}])
def test_numbers_that_make_no_sense_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(given))):
        Conditions().changed(given)


def test_bursts_that_cannot_be() -> None:
    with pytest.raises(ValueError, match="loss must be below 1"):
        Burst.of(1.0, 5)
    with pytest.raises(ValueError, match="1 packet or more"):
        Burst.of(0.1, 0.5)
    with pytest.raises(ValueError, match="make them longer"):
        Burst.of(0.9, 1)
