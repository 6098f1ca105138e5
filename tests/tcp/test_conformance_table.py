"""docs/conformance.md names a test for each requirement: they exist, and no requirement is left out."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TABLE = (ROOT / "docs" / "conformance.md").read_text(encoding="utf-8")
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in TABLE.splitlines() if line.startswith("| ")]
STATUS = re.compile(r"(yes|deviation|not yet|not taken|programs')( \(.+\))?")


def names(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def test_every_test_named_in_the_table_exists() -> None:
    named = {name for row in ROWS for name in names(row[-1])}
    assert len(named) > 100
    for name in sorted(named):
        path, _, function = name.partition("::")
        text = (ROOT / path).read_text(encoding="utf-8")
        assert re.search(rf"^(async )?def {function}\(", text, re.MULTILINE), name


def test_every_requirement_of_rfc_9293_has_one_row_and_a_status() -> None:
    # Appendix B: MUST-1 to MUST-69, SHLD-1 to SHLD-31, MAY-1 to MAY-18, REC-1.
    wanted = [
        f"{kind}-{i}"
        for kind, last in (("MUST", 69), ("SHLD", 31), ("MAY", 18), ("REC", 1))
        for i in range(1, last + 1)
    ]
    found = [row[0] for row in ROWS if re.fullmatch(r"[A-Z]+-\d+", row[0])]
    assert sorted(found) == sorted(wanted)


def test_what_is_done_has_a_proof_and_no_must_is_missing() -> None:
    for row in ROWS:
        status = row[-2]
        if status in ("status", "---"):
            continue
        assert STATUS.fullmatch(status), row
        if status.startswith(("yes", "deviation")):
            assert names(row[-1]), row
        if row[0].startswith("MUST"):
            assert status.startswith(("yes", "deviation")), row
