"""The tables of docs/conformance*.md: nothing is left out or claimed in vain, and the pages are of today."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.conformance import breaks, claims, pages, requirements
from tests.conformance.requirements import DEVIATES, KEPT, KEPT_OPTIONALLY, LEVELS, NOT_TAKEN, PROGRAMS, STATUSES

pytestmark = pytest.mark.either

TABLES = [*requirements.rfc9293(), *requirements.rfc1122()]
CLAIMED = claims.by_test()
PROOFS = claims.by_requirement(CLAIMED)
DEVIATIONS = (pages.DOCS / "deviations.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(("page", "make"), [(pages.TCP_PAGE, pages.tcp_page), (pages.IP_PAGE, pages.ip_page)])
def test_the_pages_are_what_the_tests_claim_now(page: Path, make: object) -> None:
    assert callable(make)
    assert page.read_text(encoding="utf-8") == make(PROOFS), f"docs/{page.name} is old: run `make conformance`"


def test_every_requirement_of_rfc_9293_has_one_row() -> None:
    # Appendix B: MUST-1 to MUST-69, SHLD-1 to SHLD-31, MAY-1 to MAY-18, REC-1.
    wanted = [
        f"{kind}-{i}"
        for kind, last in (("MUST", 69), ("SHLD", 31), ("MAY", 18), ("REC", 1))
        for i in range(1, last + 1)
    ]
    assert sorted(each.id for each in requirements.rfc9293()) == sorted(wanted)


def test_every_row_of_rfc_1122_is_there() -> None:
    # Those of its tables in sections 3.5 and 4.1.5, less a joke.
    table = requirements.rfc1122()
    assert len(table) == 164
    for each in table:
        assert each.id.startswith(f"RFC1122-{each.section}-"), each.id
    known = {each.id for each in requirements.rfc9293()}
    assert {identifier for ids in requirements.replaced().values() for identifier in ids} <= known


def test_no_unknown_id_is_claimed() -> None:
    known = requirements.known_ids()
    unknown = {test: sorted(set(ids) - known) for test, ids in CLAIMED.items() if not set(ids) <= known}
    assert not unknown, "ids are in tests/conformance/*.toml"


@pytest.mark.parametrize("each", TABLES, ids=lambda each: each.id)
def test_a_row_makes_sense(each: requirements.Requirement) -> None:
    assert each.status in STATUSES
    assert each.level in LEVELS
    tests = PROOFS.get(each.id, [])
    if each.status in (KEPT, KEPT_OPTIONALLY):
        assert tests, "it is kept, and no test says so"
    elif each.status == PROGRAMS:
        assert not tests
    if each.status == KEPT_OPTIONALLY:
        assert "Config." in each.note, "it does not say by which setting"
    if each.status == NOT_TAKEN and each.kind != "MAY":
        may = next(other for other in TABLES if other.id == each.goes_with)
        assert may.kind == "MAY", "it goes with no MAY"
    if each.status == DEVIATES:
        assert each.note, "no reason"
    # What is not done, or not by default, though it is no MAY, has its line in docs/deviations.md.
    if each.kind != "MAY" and each.status in (KEPT_OPTIONALLY, DEVIATES):
        name = f"({each.id})" if not each.id.startswith("RFC1122") else f"1122 {each.section}"
        assert name in DEVIATIONS


def test_what_is_beyond_has_a_proof() -> None:
    assert not [each.id for each in requirements.beyond() if each.id not in PROOFS]


def test_every_requirement_that_is_kept_has_a_break() -> None:
    broken = {identifier for each in breaks.load() for identifier in each.ids}
    kept = {each.id for each in TABLES if each.status in (KEPT, KEPT_OPTIONALLY)}
    assert not sorted(kept - broken), "nothing shows that the tests that claim them would notice: breaks.py"


@pytest.mark.parametrize("each", breaks.load(), ids=lambda each: f"{each.where}-{each.number}")
def test_every_break_still_fits_the_source(each: breaks.Break) -> None:
    source = (breaks.PACKAGE / each.file).read_text(encoding="utf-8")
    broken = each.apply(source)
    assert broken != source
    compile(broken, each.file, "exec")
    for identifier in each.ids:
        assert identifier in PROOFS, f"no test claims {identifier}"


def test_a_marker_that_claims_nothing_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "test_x.py"
    for text in (
        "import pytest\n@pytest.mark.requirement()\ndef test_a(): ...\n",
        "import pytest\nN = 'MUST-1'\n@pytest.mark.requirement(N)\ndef test_a(): ...\n",
        "import pytest\n@pytest.mark.requirement('MUST-1')\ndef helper(): ...\n",
        "import pytest\npytestmark = pytest.mark.requirement('MUST-1')\n",
        "import pytest\nclass TestA:\n    @pytest.mark.requirement('MUST-1')\n    def test_a(self): ...\n",
    ):
        path.write_text(text)
        with pytest.raises(claims.ClaimError):
            claims.of_module(path, "test_x.py")
    path.write_text("import pytest\n@pytest.mark.requirement('MUST-1', 'MUST-2')\ndef test_a(): ...\n")
    assert claims.of_module(path, "test_x.py") == {"test_x.py::test_a": ["MUST-1", "MUST-2"]}


def test_a_packet_script_claims_by_a_comment(tmp_path: Path) -> None:
    path = tmp_path / "x.pkt"
    path.write_text(
        "// Requirement: MUST-1, MUST-2\n//Requirements: SHLD-3 MAY-4\n0 socket(...) = 3 // Requirement\n"
    )
    assert claims.of_script(path) == ["MUST-1", "MUST-2", "SHLD-3", "MAY-4"]
