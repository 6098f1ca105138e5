"""The repository's own packet scripts on the kernel of this machine: the judge of our judgement.

All run at once, each in a namespace of its own. Those whose head says "Linux: differs" must fail there, so that no such
mark outlives its reason; all others must pass. Docs: docs/packet-scripts.md, "Where Linux does otherwise".
"""

from __future__ import annotations

import platform
import re
from pathlib import Path

import pytest

from plankroad.packetdrill.head import DIFFERS, LONG, read_head
from plankroad.packetdrill.outcome import Outcome
from plankroad.packetdrill.suite import LINUX, RunOptions, run_file, run_files

FOLDER = Path(__file__).parent / "scripts"
HEADS = {path: read_head(path) for path in sorted(FOLDER.rglob("*.pkt"))}
#: This kernel's version, (6, 15) say.
VERSION = tuple(int(part) for part in re.findall(r"\d+", platform.release())[:2])
SCRIPTS = [path for path, head in HEADS.items() if head.linux != LONG and head.since <= VERSION]
NAMES = [str(path.relative_to(FOLDER))[:-4] for path in SCRIPTS]
KERNEL = RunOptions(against=LINUX)

#: Runs by itself that a script gets where it failed among the others: in real time a busy machine makes packets late.
_ONCE_MORE = 3


@pytest.fixture(scope="module")
def outcomes() -> dict[Path, Outcome]:
    found = run_files([str(path) for path in SCRIPTS], KERNEL)
    return dict(zip(SCRIPTS, found, strict=True))


@pytest.mark.root
@pytest.mark.either
@pytest.mark.parametrize("path", SCRIPTS, ids=NAMES)
def test_the_script_on_the_kernel(path: Path, outcomes: dict[Path, Outcome]) -> None:
    outcome = outcomes[path]
    if HEADS[path].linux == DIFFERS:
        assert not outcome.passed, f"it passes on the kernel, though it is marked: {HEADS[path].reason}"
        return
    for _ in range(_ONCE_MORE):
        if outcome.passed:
            break
        outcome = run_file(str(path), KERNEL)
    assert outcome.passed, outcome.text()
