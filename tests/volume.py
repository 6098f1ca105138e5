"""How much a heavy test does.

`make test` runs the suite twice. The compiled run, several times faster, does the full volume; the pure one, which
shows that the same source behaves the same, a part of it. PLANKROAD_FULL=1 asks for the full volume in any run.
"""

from __future__ import annotations

import os

import plankroad


def volume(full: int, reduced: int) -> int:
    """`full` in a compiled run or where PLANKROAD_FULL is set, else `reduced`.

    For counts of seeds, bytes or rounds: `@pytest.mark.parametrize("seed", range(volume(500, 60)))`.
    """
    return full if plankroad.is_compiled() or os.environ.get("PLANKROAD_FULL") else reduced
