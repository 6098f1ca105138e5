"""docs/conformance-ip.md names a test for each requirement of RFC 1122: they exist, and none is left out."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TABLE = (ROOT / "docs" / "conformance-ip.md").read_text(encoding="utf-8")
LINES = [line for line in TABLE.splitlines() if re.match(r"\| [34]\.", line)]
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in LINES]
STATUS = re.compile(r"(yes|deviation|not yet|not taken|programs')( \(.+\))?")
#: What goes with a MAY that is not taken: asking for address masks, and for the time.
WITH_A_MAY = ("3.2.2.8", "3.2.2.9")


def names(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def test_every_test_named_in_the_table_exists() -> None:
    for name in sorted({name for row in ROWS for name in names(row[4])}):
        path, _, function = name.partition("::")
        text = (ROOT / path).read_text(encoding="utf-8")
        assert re.search(rf"^def {function}\(", text, re.MULTILINE), name


def test_every_row_has_a_status_and_what_is_done_has_a_proof() -> None:
    # Those of RFC 1122's tables in sections 3.5 and 4.1.5.
    assert len(ROWS) == 164
    for section, level, _, status, proof in ROWS:
        assert STATUS.fullmatch(status), status
        if status.startswith(("yes", "deviation")):
            assert names(proof), (section, status)
        elif level.startswith("MUST"):
            assert section in WITH_A_MAY or status == "programs'", (section, status)
