"""Breaks: changes of the source, each of which takes a required behaviour away, kept as data in breaks_*.toml.

    [[break]]
    ids = ["MUST-1"]                 # what it breaks
    file = "tcp/ack.py"              # below src/plankroad
    old = '''...'''                  # stands there exactly once
    new = '''...'''
    what = "the window field is taken for a signed number"

scripts/break_requirements.py makes each in a copy and runs the tests that claim its ids.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).resolve().parent
PACKAGE: Final = HERE.parents[1] / "src" / "plankroad"


class Break:
    """One change: replace `old`, which stands in `file` exactly once, by `new`."""

    __slots__ = ("file", "ids", "new", "number", "old", "what", "where")

    def __init__(self, where: str, number: int, fields: dict[str, object]) -> None:
        self.where = where
        self.number = number
        unknown = set(fields) - {"ids", "file", "old", "new", "what"}
        if unknown:
            raise ValueError(f"{where}, break {number}: unknown {', '.join(sorted(unknown))}")
        ids = fields["ids"]
        assert isinstance(ids, list)
        self.ids: list[str] = [str(each) for each in ids]
        self.file = str(fields["file"])
        self.old = str(fields["old"])
        self.new = str(fields["new"])
        self.what = str(fields["what"])

    def apply(self, source: str) -> str:
        """The broken source; ValueError where `old` does not stand in it exactly once."""
        count = source.count(self.old)
        if count != 1:
            raise ValueError(
                f"{self.where}, break {self.number} ({self.what}): {self.file} has its text {count} times"
            )
        return source.replace(self.old, self.new)


def load() -> list[Break]:
    """All breaks, in the order of the files."""
    found = []
    for path in sorted(HERE.glob("breaks_*.toml")):
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        found += [Break(path.name, number, fields) for number, fields in enumerate(table.get("break", []), 1)]
    return found
