"""Cases of old: bytes that once showed a defect, kept as text that can be read.

A file of `cases/` is named `TARGET-what_it_was.txt`: lines with # say what went wrong, the others are the bytes in hex.
`scripts/fuzz.py keep` writes one; `test_targets.py` runs them all.
"""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Final

CASES: Final = Path(__file__).parent / "cases"


def read_case(path: Path) -> tuple[str, bytes]:
    """The target of a case, and its bytes. Raises ValueError for a file that is none."""
    target, dash, _ = path.stem.partition("-")
    if not dash:
        raise ValueError(f"{path.name}: a case is named TARGET-what_it_was.txt")
    lines = path.read_text().splitlines()
    return target, bytes.fromhex("".join(line for line in lines if not line.startswith("#")))


def write_case(target: str, name: str, words: str, data: bytes) -> Path:
    """Keep `data` as a case; the file's path."""
    path = CASES / f"{target}-{name}.txt"
    path.parent.mkdir(exist_ok=True)
    said = [f"# {line}".rstrip() for line in textwrap.wrap(words, 110)]
    path.write_text("\n".join([*said, *textwrap.wrap(data.hex(), 112)]) + "\n")
    return path
