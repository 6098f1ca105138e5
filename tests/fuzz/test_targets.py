"""Every target of the fuzzers takes random bytes, and the cases of old, without a defect.

`make fuzz` looks for bytes with more in them: see docs/fuzzing.md.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from tests.fuzz.cases import CASES, read_case
from tests.fuzz.seeds import seeds
from tests.fuzz.targets import TARGETS
from tests.volume import volume

ROUNDS = {"pair": volume(200, 40), "connection": volume(1000, 200), "stack": volume(300, 80)}


def some_bytes(rng: random.Random) -> bytes:
    """Bytes of which many are small: those mean the usual."""
    size = rng.randrange(200)
    small = rng.random()
    return bytes(rng.randrange(8) if rng.random() < small else rng.randrange(256) for _ in range(size))


@pytest.mark.parametrize("target", TARGETS)
def test_random_bytes(target: str) -> None:
    for seed in range(ROUNDS.get(target, volume(500, 100))):
        data = some_bytes(random.Random(f"{target} {seed}"))
        try:
            TARGETS[target](data)
        except Exception as error:
            raise AssertionError(f"target {target}, seed {seed}, bytes {data.hex()}: {error}") from error


@pytest.mark.parametrize("target", TARGETS)
def test_damaged_examples(target: str) -> None:
    rng = random.Random(f"damaged {target}")
    examples = seeds(target)
    for turn in range(volume(300, 40) if target not in ROUNDS else 5):
        data = bytearray(rng.choice(examples))
        for _ in range(rng.randrange(4)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        try:
            TARGETS[target](bytes(data))
        except Exception as error:
            raise AssertionError(f"target {target}, turn {turn}, bytes {data.hex()}: {error}") from error


@pytest.mark.parametrize("path", sorted(CASES.glob("*.txt")), ids=lambda path: str(path.stem))
def test_cases_of_old(path: Path) -> None:
    target, data = read_case(path)
    TARGETS[target](data)
