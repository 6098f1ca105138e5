"""docs/security.md names every attack, its test and its counters; and nothing that is not there."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest
from tests.attacks.kit import ATTACKS

from plankroad.stack.counters import StackCounters

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "security.md"

pytestmark = pytest.mark.either


def rows() -> list[list[str]]:
    """The cells of the table of attacks."""
    text = PAGE.read_text(encoding="utf-8")
    table = text.partition("## The attacks")[2].partition("\n\nHash collisions")[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.strip().splitlines()[2:]]


def load() -> None:
    for path in sorted((ROOT / "tests" / "attacks").glob("test_*.py")):
        if path.name != "test_page.py":
            importlib.import_module(f"tests.attacks.{path.stem}")


def test_every_attack_has_a_row_and_every_row_an_attack() -> None:
    load()
    assert sorted(row[0] for row in rows()) == sorted(ATTACKS)


def test_the_file_of_each_row_has_the_attack() -> None:
    load()
    for name, _, _, where in rows():
        assert ATTACKS[name].__module__.endswith("." + where.strip("`").removesuffix(".py")), name


def test_every_counter_that_is_named_is_one() -> None:
    counters = {name for group in StackCounters().as_dict().values() for name in group}
    for row in rows():
        for name in re.findall(r"`(\w+)`", row[2]):
            assert name in counters, f"{row[0]}: no counter is called {name}"


def test_every_attack_has_its_figures() -> None:
    load()
    text = PAGE.read_text(encoding="utf-8").partition("## The figures")[2]
    for name in ATTACKS:
        assert f"| {name} |" in text, f"{name}: python scripts/attacks.py --write"
