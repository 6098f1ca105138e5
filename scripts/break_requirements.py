#!/usr/bin/env python3
"""Break the stack, requirement by requirement, and see whether the tests that claim them notice.

    scripts/break_requirements.py [ID...] [--file WORD] [--claims]

Each break of tests/conformance/breaks_*.toml (all, or those of the ids given) is made in a copy of src, and the tests
that claim its ids run against that copy. A break that no test of one of its ids notices is a defect of the tests: it is
told, and the exit status is 1. `--file`: only breaks of source files whose path has this word. `--claims`: also tell
which claims no break has shown, test by test.

Every run is a fork of a process that has pytest loaded, so that a break takes about a second.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
# The broken copy is imported, never this one.
sys.path[:] = [place for place in sys.path if Path(place or ".").resolve() != ROOT / "src"]

import pytest  # noqa: E402
from tests.conformance import breaks, claims  # noqa: E402

#: Seconds for one test: a break may make an endless loop.
LIMIT: Final = 60


class Outcome:
    """What pytest saw: tests that failed in their own course, and whatever kept them from running."""

    def __init__(self) -> None:
        self.failed: set[str] = set()
        self.passed: set[str] = set()
        self.errors: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        name = report.nodeid.partition("[")[0]
        if report.when == "call":
            (self.failed if report.failed else self.passed).add(name)
        elif report.failed:
            self.errors.append(f"{name}: {report.when}")

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.errors.append(f"{report.nodeid}: {report.longreprtext.splitlines()[-1]}")


class Workshop:
    """A copy of src in which one file at a time is broken."""

    def __init__(self, place: Path) -> None:
        self.src = place / "src"
        shutil.copytree(ROOT / "src", self.src, ignore=shutil.ignore_patterns("*.so", "__pycache__", "*.egg-info"))
        self.results = place / "result.json"
        self.output = place / "output.txt"

    def run(self, tests: list[str], each: breaks.Break | None) -> Outcome:
        """The outcome of `tests` with `each` in place; None: with nothing broken."""
        path = self.src / "plankroad" / each.file if each is not None else None
        original = b""
        if path is not None and each is not None:
            original = path.read_bytes()
            path.write_text(each.apply(original.decode("utf-8")), encoding="utf-8")
            for stale in (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"):
                stale.unlink()
        try:
            self._fork(tests, each is not None)
        finally:
            if path is not None:
                path.write_bytes(original)
        found = json.loads(self.results.read_text(encoding="utf-8"))
        outcome = Outcome()
        outcome.failed = set(found["failed"])
        outcome.passed = set(found["passed"]) - outcome.failed
        outcome.errors = found["errors"]
        return outcome

    def _fork(self, tests: list[str], broken: bool) -> None:
        self.results.unlink(missing_ok=True)
        child = os.fork()
        if child:
            _, status = os.waitpid(child, 0)
            if not self.results.exists():
                raise SystemExit(f"pytest died with status {status}; its last words:\n{self._words()}")
            return
        try:
            self._child(tests, broken)
        finally:
            os._exit(0)

    def _words(self) -> str:
        return "\n".join(self.output.read_text(encoding="utf-8", errors="replace").splitlines()[-30:])

    def _child(self, tests: list[str], broken: bool) -> None:
        # What is compiled with nothing broken serves all; what is broken leaves nothing behind.
        sys.dont_write_bytecode = broken
        out = os.open(self.output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(out, 1)
        os.dup2(out, 2)
        os.chdir(ROOT)
        os.environ["PYTHONPATH"] = str(self.src)
        os.environ.pop("CI", None)
        sys.path.insert(0, str(self.src))
        outcome = Outcome()
        arguments = ["-p", "no:xdist", "-p", "no:cacheprovider", f"--timeout={LIMIT}", "--tb=short", *tests]
        pytest.main(arguments, plugins=[outcome])
        self.results.write_text(
            json.dumps(
                {
                    "failed": sorted(outcome.failed),
                    "passed": sorted(outcome.passed),
                    "errors": outcome.errors,
                }
            ),
            encoding="utf-8",
        )
        os._exit(0)


def wanted(ids: list[str], word: str) -> list[breaks.Break]:
    """The breaks to make."""
    return [each for each in breaks.load() if word in each.file and (not ids or set(ids) & set(each.ids))]


def main() -> int:
    """Run, tell, and return the exit status."""
    parser = argparse.ArgumentParser(description="Break the stack and see whether the tests notice.")
    parser.add_argument("ids", nargs="*", metavar="ID")
    parser.add_argument("--file", default="", metavar="WORD")
    parser.add_argument("--claims", action="store_true")
    options = parser.parse_args()
    chosen = wanted(options.ids, options.file)
    if not chosen:
        print("There is no such break.", file=sys.stderr)
        return 2
    proofs = claims.by_requirement(claims.by_test())
    runnable = {identifier: [test for test in tests if "::" in test] for identifier, tests in proofs.items()}
    shown: set[tuple[str, str]] = set()
    survived = 0
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="plankroad-breaks-") as place:
        shop = Workshop(Path(place))
        everything = sorted({test for each in chosen for identifier in each.ids for test in runnable[identifier]})
        before = shop.run(everything, None)
        if before.failed or before.errors:
            print("These fail with nothing broken:", *sorted(before.failed), *before.errors, sep="\n  ")
            return 1
        for each in chosen:
            tests = sorted({test for identifier in each.ids for test in runnable[identifier]})
            outcome = shop.run(tests, each)
            if outcome.errors:
                survived += 1
                print(f"BAD BREAK  {each.where} {each.number}: {each.what}", *outcome.errors[:5], sep="\n           ")
                continue
            for identifier in each.ids:
                killers = [test for test in runnable[identifier] if test in outcome.failed]
                shown.update((identifier, test) for test in killers)
                if killers:
                    count = f"{len(killers)} of {len(runnable[identifier])}"
                    print(f"{identifier}: {each.what}: noticed by {count}: {killers[0].rpartition('::')[2]}")
                else:
                    survived += 1
                    print(f"SURVIVES   {identifier}: {each.what} ({each.where} {each.number}, {each.file})")
            sys.stdout.flush()
    ids = {identifier for each in chosen for identifier in each.ids}
    if options.claims:
        for identifier in sorted(ids):
            for test in runnable[identifier]:
                if (identifier, test) not in shown:
                    print(f"not shown  {identifier}: {test}")
    seconds = time.monotonic() - began
    print(f"{len(chosen)} breaks of {len(ids)} requirements; {survived} not noticed; {seconds:.0f} s.")
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main())
