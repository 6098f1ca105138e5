"""The repository's own packet scripts, each on plankroad's stack in virtual time; and none passes by leniency."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from tests.packetdrill.mutants import mutants

from plankroad.packetdrill.head import DIFFERS, parse_head, read_head
from plankroad.packetdrill.parser import parse_script
from plankroad.packetdrill.runner import Runner
from plankroad.packetdrill.suite import RunOptions, open_ground, run_file
from plankroad.packetdrill.syntax import Script

FOLDER = Path(__file__).parent / "scripts"
SCRIPTS = sorted(FOLDER.rglob("*.pkt"))
NAMES = [str(path.relative_to(FOLDER))[:-4] for path in SCRIPTS]
OPTIONS = RunOptions()


def run(script: Script) -> str:
    """The runner's verdict on a tree."""
    ground = open_ground(OPTIONS.settings(script), OPTIONS, Path(script.file).parent)
    try:
        return Runner(script, ground).run().status
    finally:
        ground.close()


def test_there_are_as_many_as_are_spoken_of() -> None:
    assert len(SCRIPTS) >= 150


@pytest.mark.parametrize("path", SCRIPTS, ids=NAMES)
def test_the_script_passes(path: Path) -> None:
    outcome = run_file(str(path), OPTIONS)
    assert outcome.passed, outcome.text()


@pytest.mark.parametrize("path", SCRIPTS, ids=NAMES)
def test_the_script_fails_when_it_expects_something_else(path: Path) -> None:
    script = parse_script(path.read_text(encoding="utf-8"), str(path))
    survivors = []
    count = 0
    for what, mutant in mutants(script):
        count += 1
        if run(mutant) != "failed":
            survivors.append(what)
    assert count, "it expects nothing"
    assert not survivors, f"it passes in spite of another {', another '.join(survivors)}"


@pytest.mark.either
@pytest.mark.parametrize("path", SCRIPTS, ids=NAMES)
def test_the_head_says_what_is_shown_and_where_it_is_written(path: Path) -> None:
    head = read_head(path)
    assert head.shows
    assert head.sources
    table = Path(__file__).parents[1] / "conformance" / "rfc9293.toml"
    known = tomllib.loads(table.read_text(encoding="utf-8"))
    assert set(head.requirements) <= set(known)


@pytest.mark.either
def test_the_page_names_the_scripts_that_linux_fails() -> None:
    page = (Path(__file__).parents[2] / "docs" / "packet-scripts.md").read_text(encoding="utf-8")
    table = page.split("## Where Linux does otherwise")[1]
    named = {name for name in re.findall(r"`(\w+/\w+)`", table) if name in NAMES}
    marked = {name for name, path in zip(NAMES, SCRIPTS, strict=True) if read_head(path).linux == DIFFERS}
    assert named == marked


@pytest.mark.either
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("// Requirement: MUST-1, nothing\n", "no requirement's id"),
        ("// Linux: perhaps, why not\n", "it must be"),
        ("// Linux: differs\n", "it must be"),
        ("// Linux: since, why\n", "it must be"),
    ],
)
def test_a_head_that_cannot_be_read_is_an_error(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_head(text)


@pytest.mark.either
def test_the_head_ends_with_the_first_line_that_is_no_comment() -> None:
    head = parse_head(
        "// One,\n// two.\n// Source: RFC 1\n// Requirement: MUST-1\n// Requirement: SHLD-2, MAY-3\n"
        "// Linux: long, it takes minutes\n0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3\n// Source: no more\n"
    )
    assert head.shows == "One, two."
    assert head.sources == ["RFC 1"]
    assert head.requirements == ["MUST-1", "SHLD-2", "MAY-3"]
    assert (head.linux, head.reason) == ("long", "it takes minutes")
    head = parse_head("// Linux: since 6.15, which has it\n")
    assert (head.linux, head.since, head.reason) == ("since", (6, 15), "which has it")
