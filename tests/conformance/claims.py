"""Which test claims which requirement, read off the sources of the tests.

A test function claims by a marker, `@pytest.mark.requirement("MUST-58", "SHLD-31")`; a packet script (`.pkt`) by a line
`// Requirement: MUST-58, SHLD-31`.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
TESTS: Final = ROOT / "tests"
MARKER: Final = "pytest.mark.requirement"
_SCRIPT_LINE: Final = re.compile(r"^[ \t]*//[ \t]*Requirements?:(.*)$", re.MULTILINE)


class ClaimError(Exception):
    """A claim that cannot be read: the message says where and what is wrong."""


def _ids(path: Path, call: ast.Call) -> list[str]:
    found = []
    for argument in call.args:
        if not isinstance(argument, ast.Constant) or not isinstance(argument.value, str):
            raise ClaimError(f"{path}:{call.lineno}: {MARKER} takes the ids themselves, as strings")
        found.append(argument.value)
    if not found or call.keywords:
        raise ClaimError(f"{path}:{call.lineno}: {MARKER} takes one id or several, and nothing else")
    return found


def of_module(path: Path, name: str) -> dict[str, list[str]]:
    """Of a module of tests: test (`name::function`) -> ids. ClaimError for a marker that belongs to no test."""
    source = path.read_text(encoding="utf-8")
    if MARKER not in source:
        return {}
    tree = ast.parse(source, filename=str(path))
    claimed: dict[str, list[str]] = {}
    used = 0
    for node in tree.body:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or not node.name.startswith("test_"):
            continue
        for decorator in node.decorator_list:
            for call in ast.walk(decorator):
                if isinstance(call, ast.Call) and ast.unparse(call.func) == MARKER:
                    used += 1
                    claimed.setdefault(f"{name}::{node.name}", []).extend(_ids(path, call))
    everywhere = sum(isinstance(node, ast.Attribute) and ast.unparse(node) == MARKER for node in ast.walk(tree))
    if everywhere != used:
        raise ClaimError(f"{path}: {MARKER} stands somewhere else than above a test function")
    return claimed


def of_script(path: Path) -> list[str]:
    """Of a packet script: its ids."""
    lines = _SCRIPT_LINE.findall(path.read_text(encoding="utf-8", errors="replace"))
    return [identifier for line in lines for identifier in re.split(r"[,\s]+", line.strip()) if identifier]


def by_test() -> dict[str, list[str]]:
    """Every test that claims something -> its ids, in the order of the files."""
    claimed: dict[str, list[str]] = {}
    for path in sorted(TESTS.rglob("*.py")):
        claimed.update(of_module(path, path.relative_to(ROOT).as_posix()))
    for path in sorted(TESTS.rglob("*.pkt")):
        identifiers = of_script(path)
        if identifiers:
            claimed[path.relative_to(ROOT).as_posix()] = identifiers
    return claimed


def by_requirement(claimed: dict[str, list[str]]) -> dict[str, list[str]]:
    """Id -> the tests that claim it."""
    found: dict[str, list[str]] = {}
    for test, identifiers in claimed.items():
        for identifier in identifiers:
            tests = found.setdefault(identifier, [])
            if test not in tests:
                tests.append(test)
    return found
