"""Random streams: each source of chance has its own, all from one seed.

A stream depends on the seed and on its name alone. So what one link draws does not move what another draws, and a
fault that is added to a scenario leaves all others as they were.
"""

from __future__ import annotations

from hashlib import blake2b
from random import Random


def digest(seed: int, name: str, size: int = 32) -> bytes:
    """`size` bytes (up to 64) that stand for `name` under `seed`, the same in every process and on every machine."""
    return blake2b(f"{seed}\0{name}".encode(), digest_size=size, person=b"plankroad sim").digest()


def stream(seed: int, name: str) -> Random:
    """The random stream of the source called `name`.

    Draw from it with `random()` only (see `below`): of all methods that one is promised to give the same numbers in
    every version of Python.
    """
    return Random(int.from_bytes(digest(seed, name), "big"))


def below(rng: Random, limit: int) -> int:
    """A whole number from 0 to `limit` - 1, evenly, for limits up to 2**40."""
    return int(rng.random() * limit)
