"""Random streams from one seed."""

from __future__ import annotations

import os
import subprocess
import sys

from plankroad.sim.rng import below, digest, stream


def draws(seed: int, name: str) -> list[float]:
    rng = stream(seed, name)
    return [rng.random() for _ in range(20)]


def test_a_stream_depends_on_seed_and_name_alone() -> None:
    assert draws(1, "link a loss") == draws(1, "link a loss")
    assert draws(1, "link a loss") != draws(2, "link a loss")
    assert draws(1, "link a loss") != draws(1, "link b loss")
    assert draws(11, "1") != draws(1, "11")


def test_streams_are_the_same_in_another_process_with_another_hash_seed() -> None:
    code = "from plankroad.sim.rng import stream; print(repr(stream(7, 'x').random()))"
    for hash_seed in ("1", "2"):
        env = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join(sys.path)}
        out = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
        assert out.stdout.strip() == repr(stream(7, "x").random())


def test_below_is_even_and_within_bounds() -> None:
    rng = stream(3, "even")
    counts = [0] * 8
    for _ in range(8000):
        counts[below(rng, 8)] += 1
    assert min(counts) > 850


def test_digest_has_the_size_asked_for() -> None:
    assert len(digest(1, "secret", 16)) == 16
    assert digest(1, "secret") != digest(1, "other")
