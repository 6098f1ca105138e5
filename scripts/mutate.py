#!/usr/bin/env python3
"""Mutation testing of src/plankroad/tcp with tests/tcp, at a cost that a busy machine can bear.

    make mutate ARGS="--minutes 30 --seed 1 --files input.py,ack.py"

The mutants are those of mutmut's operators (one small change each: a comparison, a number, an argument, a keyword, an
assigned value), less those of texts and of the event log. For each, the tests that run its line are tried, the quickest
first, until one fails. All happens in forks of one process that has imported and collected everything: a mutant is the
code of one function, compiled and put in its place in the child. So a mutant costs its tests and nothing else.

A whole run takes many hours. `--minutes` bounds it: of each file mutants are drawn at random (`--seed`), the files in
turns, so that what was tried is a fair sample. Results gather in build/mutation/results.json and hold until the file
changes. The quickest tests are worth little where many run a line: `--again 30` tries what survived with further
ones. `--report` only shows the results, `--survivors` with the changes that no test noticed.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import os
import random
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from types import CodeType
from typing import Any, Final

import coverage
import pytest
from libcst import BaseString, FormattedString
from libcst.metadata import MetadataWrapper, PositionProvider
from mutmut.mutation.file_mutation import create_mutations

ROOT: Final = Path(__file__).resolve().parent.parent
SRC: Final = ROOT / "src"
TCP: Final = SRC / "plankroad" / "tcp"
STORE: Final = ROOT / "build" / "mutation"
RESULTS: Final = STORE / "results.json"
HITS: Final = STORE / "hits.json"

#: The files where a mistake costs most come first in each round.
FIRST: Final = (
    "input.py",
    "ack.py",
    "handshake.py",
    "receive.py",
    "output.py",
    "timers.py",
    "recovery.py",
    "rack.py",
    "window.py",
)
#: Seconds of tests for one mutant, as they took without one; what is slower than `SLOW` is left out altogether.
CAP: Final = 4.0
SLOW: Final = 0.6
#: Tests that take so many times their time, and these seconds of the processor more, hang. A mutant has this memory.
PATIENCE: Final = 5
GRACE: Final = 5
MEMORY: Final = 2 << 30

NETWORKS: Final = ("cc", "test_autotune.py", "test_ecn_network.py", "test_undo_paths.py", "test_conformance_wrap.py")

KILLED: Final = "killed"
HANGS: Final = "killed by time"
SURVIVED: Final = "survived"
UNCOVERED: Final = "not run by any test"
SAME: Final = "the same code"


class Mutant:
    """One change: the file below tcp/, whose `lines` [start, end) become `new`."""

    __slots__ = ("end", "file", "key", "lines", "new", "start")

    def __init__(self, file: str, lines: list[str], start: int, end: int, new: list[str], stamp: str) -> None:
        self.file = file
        self.lines = lines
        self.start = start
        self.end = end
        self.new = new
        self.key = hashlib.sha256(f"{file}:{stamp}:{start}:{new}".encode()).hexdigest()

    @property
    def line(self) -> int:
        """Where it stands, counted from 1."""
        return self.start + 1

    @property
    def change(self) -> str:
        """What a reader sees of it."""
        old = [f"-{line}" for line in self.lines[self.start : self.end]]
        return "\n".join(old + [f"+{line}" for line in self.new])

    def code(self) -> tuple[str, CodeType] | None:
        """The function that it changes, by qualified name, and its code; None where that is the same as before."""
        name = str(TCP / self.file)
        text = "\n".join([*self.lines[: self.start], *self.new, *self.lines[self.end :]])
        try:
            after = functions(compile(text, name, "exec"))
        except SyntaxError:
            return None
        before = functions(compile("\n".join(self.lines), name, "exec"))
        differing = [
            name for name, code in after.items() if name in before and essence(code) != essence(before[name])
        ]
        return (differing[0], after[differing[0]]) if len(differing) == 1 else None


def essence(code: CodeType) -> tuple[object, ...]:
    """What tells two functions apart, wherever they stand."""
    return (code.co_code, code.co_consts, code.co_names, code.co_varnames)


def functions(code: CodeType) -> dict[str, CodeType]:
    """The functions and methods of a module, by qualified name."""
    found: dict[str, CodeType] = {}
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            if constant.co_flags & 2:  # CO_NEWLOCALS: a function, not a class
                found[constant.co_qualname] = constant
            else:
                found.update(functions(constant))
    return found


def log_lines(source: str) -> set[int]:
    """Lines that write the event log: what they say is no behaviour of TCP."""
    found: set[int] = set()
    depth = -1
    for number, line in enumerate(source.splitlines(), 1):
        indent = len(line) - len(line.lstrip())
        if depth >= 0 and line.strip() and indent <= depth:
            depth = -1
        if depth < 0 and line.strip().startswith(("if t.log is not None", "if log is not None")):
            depth = indent
        if depth >= 0:
            found.add(number)
    return found


def mutants_of(path: Path) -> list[Mutant]:
    """Every mutant of a file, in the order of the source. Some turn out to be the same code."""
    source = path.read_text(encoding="utf-8")
    module, mutations, _, _ = create_mutations(str(path), source)
    positions = MetadataWrapper(module, unsafe_skip_copy=True).resolve(PositionProvider)
    lines = source.splitlines()
    skipped = log_lines(source)
    stamp = stamp_of(path)
    found: dict[str, Mutant] = {}
    for mutation in mutations:
        if mutation.contained_by_top_level_function is None:
            continue
        if isinstance(mutation.original_node, BaseString | FormattedString):
            continue
        place = positions[mutation.original_node]
        first, last = place.start.line - 1, place.end.line
        if first + 1 in skipped:
            continue
        text = module.code_for_node(mutation.mutated_node)
        new = f"{lines[first][: place.start.column]}{text}{lines[last - 1][place.end.column :]}".split("\n")
        mutant = Mutant(path.relative_to(TCP).as_posix(), lines, first, last, new, stamp)
        found.setdefault(mutant.key, mutant)
    return list(found.values())


def stamp_of(path: Path) -> str:
    """Results hold for this source."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def put_in_place(file: str, qualname: str, code: CodeType) -> None:
    """Make the running process the mutant."""
    module: Any = importlib.import_module("plankroad.tcp." + file[:-3].replace("/", "."))
    target: Any = module
    for part in qualname.split("."):
        target = vars(target)[part] if isinstance(target, type) else getattr(target, part)
    if isinstance(target, staticmethod | classmethod):
        target = target.__func__
    target.__code__ = code


class Session:
    """A pytest plugin: instead of running the tests once it runs some of them for each mutant."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.items: list[pytest.Item] = []
        self.known: dict[str, dict[str, Any]] = {}
        self.failed = False

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.failed = self.failed or report.failed

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Everything."""
        if session.testsfailed:
            raise session.Interrupted("the tests cannot be collected")
        self.items = session.items
        hits = self.hits()
        by_line: dict[tuple[str, int], list[tuple[float, str]]] = {}
        for test, (duration, lines) in hits.items():
            for file, numbers in lines.items():
                for number in numbers:
                    by_line.setdefault((file, number), []).append((duration, test))
        end = time.monotonic() + 60 * self.options.minutes
        known = load_results()
        self.known = known
        order = [mutant for mutant in schedule(self.options) if self.is_wanted(mutant)]
        print(f"{len(order)} mutants; {len(hits)} tests; seed {self.options.seed}", flush=True)
        jobs = self.options.jobs
        in_parallel(
            jobs, lambda number: self.work(order[number::jobs], by_line, end, RESULTS.with_suffix(f".{number}"))
        )
        for number in range(jobs):
            part = RESULTS.with_suffix(f".{number}")
            known.update(json.loads(part.read_text(encoding="utf-8")))
            part.unlink()
        RESULTS.write_text(json.dumps(known), encoding="utf-8")
        return True

    def is_wanted(self, mutant: Mutant) -> bool:
        """Not judged yet; with `--again`: survived what was tried, and there is more."""
        before = self.known.get(mutant.key)
        if not self.options.again:
            return before is None
        return before is not None and before["verdict"] == SURVIVED and bool(before["left"])

    def work(
        self, order: list[Mutant], by_line: dict[tuple[str, int], list[tuple[float, str]]], end: float, into: Path
    ) -> None:
        """Judge mutants until time is over; what is found is written `into` a file after each."""
        items = {item.nodeid: item for item in self.items}
        results: dict[str, dict[str, Any]] = {}
        into.write_text("{}", encoding="utf-8")
        for mutant in order:
            if time.monotonic() > end:
                break
            made = mutant.code()
            if made is None:
                results[mutant.key] = {"file": mutant.file, "stamp": stamp_of(TCP / mutant.file), "verdict": SAME}
                continue
            tests = sorted(
                {each for n in range(mutant.start, mutant.end) for each in by_line.get((mutant.file, n + 1), [])}
            )
            tried = self.known[mutant.key]["tests"] if self.options.again else 0
            verdict, test, count = self.judge(mutant, made, tests[tried:], items)
            if verdict == UNCOVERED and tried:
                verdict = SURVIVED
            count += tried
            results[mutant.key] = {
                "file": mutant.file,
                "stamp": stamp_of(TCP / mutant.file),
                "line": mutant.line,
                "function": made[0],
                "change": mutant.change,
                "verdict": verdict,
                "test": test,
                "tests": count,
                "left": max(0, len(tests) - count),
            }
            into.write_text(json.dumps(results), encoding="utf-8")
            if self.options.verbose:
                print(f"{mutant.file}:{mutant.line}: {verdict} {test}", flush=True)

    def judge(
        self,
        mutant: Mutant,
        made: tuple[str, CodeType],
        tests: list[tuple[float, str]],
        items: dict[str, pytest.Item],
    ) -> tuple[str, str, int]:
        """The verdict, the test that noticed, and how many were tried."""
        chosen: list[pytest.Item] = []
        spent = 0.0
        for duration, test in tests:
            if test not in items or spent > (self.options.again or CAP):
                continue
            spent += duration
            chosen.append(items[test])
        if not chosen:
            return UNCOVERED, "", 0
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            self.in_child(mutant.file, made, chosen, writing, GRACE + PATIENCE * spent)
        os.close(writing)
        with os.fdopen(reading, encoding="utf-8") as file:
            told = file.read().splitlines()
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGPROF:
            return HANGS, told[-1], len(told)
        if told and told[-1] == "all passed":
            return SURVIVED, "", len(chosen)
        return KILLED, told[-1] if told else "the process died", len(told)

    def in_child(
        self, file: str, made: tuple[str, CodeType], chosen: list[pytest.Item], writing: int, limit: float
    ) -> None:
        """Run tests until one fails; never returns."""
        try:
            silent = os.open(os.devnull, os.O_WRONLY)
            os.dup2(silent, 1)
            os.dup2(silent, 2)
            # The signal's default is the end of the process.
            signal.setitimer(signal.ITIMER_PROF, limit)
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
            put_in_place(file, *made)
            for item in chosen:
                os.write(writing, (item.nodeid + "\n").encode())
                item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)
                if self.failed:
                    os._exit(1)
            os.write(writing, b"all passed\n")
        finally:
            os._exit(0)

    def hits(self) -> dict[str, tuple[float, dict[str, list[int]]]]:
        """Test -> how long it takes, and the lines of tcp/ that it runs; slow and failing ones are left out."""
        stamp = hashlib.sha256()
        for path in [*sorted(TCP.rglob("*.py")), *sorted((ROOT / "tests" / "tcp").rglob("*.py"))]:
            stamp.update(path.read_bytes())
        stamp.update("\n".join(item.nodeid for item in self.items).encode())
        if HITS.exists():
            stored = json.loads(HITS.read_text(encoding="utf-8"))
            if stored["stamp"] == stamp.hexdigest():
                tests: dict[str, tuple[float, dict[str, list[int]]]] = stored["tests"]
                return tests
        print(f"which of {len(self.items)} tests runs which line?", flush=True)
        # Begun here, for it takes longer than many a test; nothing of tcp/ runs in this process.
        cover = coverage.Coverage(data_file=None, include=[f"{TCP}/*"], config_file=False)
        cover.start()
        jobs = self.options.jobs
        in_parallel(
            jobs, lambda number: self.measure_all(self.items[number::jobs], cover, HITS.with_suffix(f".{number}"))
        )
        cover.stop()
        measured: dict[str, tuple[float, dict[str, list[int]]]] = {}
        for number in range(jobs):
            part = HITS.with_suffix(f".{number}")
            measured.update(json.loads(part.read_text(encoding="utf-8")))
            part.unlink()
        HITS.write_text(json.dumps({"stamp": stamp.hexdigest(), "tests": measured}), encoding="utf-8")
        return measured

    def measure_all(self, items: list[pytest.Item], cover: coverage.Coverage, into: Path) -> None:
        """`measure` some tests."""
        found = {item.nodeid: self.measure(item, cover) for item in items}
        into.write_text(
            json.dumps({test: each for test, each in found.items() if each is not None}), encoding="utf-8"
        )

    def measure(self, item: pytest.Item, cover: coverage.Coverage) -> tuple[float, dict[str, list[int]]] | None:
        """Run one test under coverage, in a child; None where it fails or is slow."""
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                silent = os.open(os.devnull, os.O_WRONLY)
                os.dup2(silent, 1)
                os.dup2(silent, 2)
                signal.setitimer(signal.ITIMER_PROF, 1.5 * SLOW)
                began = time.process_time()
                item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)
                cover.stop()
                took = round(time.process_time() - began, 4)
                if not self.failed and took <= SLOW:
                    data = cover.get_data()
                    lines = {
                        Path(each).relative_to(TCP).as_posix(): data.lines(each) for each in data.measured_files()
                    }
                    with os.fdopen(writing, "w", encoding="utf-8") as file:
                        json.dump([took, lines], file)
            finally:
                os._exit(0)
        os.close(writing)
        with os.fdopen(reading, encoding="utf-8") as answer:
            told = answer.read()
        os.waitpid(child, 0)
        if not told:
            return None
        took, lines = json.loads(told)
        return took, lines


def schedule(options: argparse.Namespace) -> list[Mutant]:
    """The mutants of the chosen files, of each in random order, the files in turns."""
    piles: list[list[Mutant]] = []
    for path in chosen_files(options.files):
        pile = mutants_of(path)
        random.Random(f"{options.seed}:{path.name}").shuffle(pile)
        piles.append(pile)
    order: list[Mutant] = []
    for turn in range(max((len(pile) for pile in piles), default=0)):
        order += [pile[turn] for pile in piles if turn < len(pile)]
    return order


def chosen_files(names: str) -> list[Path]:
    """The files of tcp/ to look at: those named, separated by commas, or all; the first of `FIRST` first."""
    paths = [path for path in sorted(TCP.glob("*.py")) if path.name != "__init__.py"]
    if names:
        wanted = names.split(",")
        unknown = set(wanted) - {path.name for path in paths}
        if unknown:
            raise SystemExit(f"there is no {', '.join(sorted(unknown))} in src/plankroad/tcp")
        paths = [path for path in paths if path.name in wanted]
    return sorted(paths, key=lambda path: (FIRST.index(path.name) if path.name in FIRST else len(FIRST), path.name))


def load_results() -> dict[str, dict[str, Any]]:
    """What earlier runs found."""
    if not RESULTS.exists():
        return {}
    results: dict[str, dict[str, Any]] = json.loads(RESULTS.read_text(encoding="utf-8"))
    return results


def in_parallel(jobs: int, work: Callable[[int], None]) -> None:
    """Do `work(0)` to `work(jobs - 1)`, each in a child; SystemExit where one of them fails."""
    children = []
    for number in range(jobs):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                work(number)
                status = 0
            except Exception:
                traceback.print_exc()
            finally:
                os._exit(status)
        children.append(child)
    if any(os.waitpid(child, 0)[1] for child in children):
        raise SystemExit("a worker failed; its own words are above")


def report(options: argparse.Namespace) -> None:
    """A line a file: how many mutants there are, were tried and were noticed."""
    results = load_results()
    lines = ["| file | mutants | tried | noticed | survived | not run | score |", "|---|---|---|---|---|---|---|"]
    total = [0, 0, 0, 0, 0]
    survivors: list[dict[str, Any]] = []
    for path in chosen_files(options.files):
        stamp = stamp_of(path)
        found = [each for each in results.values() if each["file"] == path.name and each["stamp"] == stamp]
        judged = [each for each in found if each["verdict"] != SAME]
        if not judged:
            continue
        mutants = mutants_of(path)
        noticed = sum(each["verdict"] in (KILLED, HANGS) for each in judged)
        survived = [each for each in judged if each["verdict"] == SURVIVED]
        not_run = sum(each["verdict"] == UNCOVERED for each in judged)
        survivors += sorted(survived, key=lambda each: int(each["line"]))
        row = [len(mutants), len(judged), noticed, len(survived), not_run]
        total = [a + b for a, b in zip(total, row, strict=True)]
        lines.append(f"| {path.name} | {' | '.join(map(str, row))} | {noticed / len(judged):.0%} |")
    if total[1]:
        lines.append(f"| all | {' | '.join(map(str, total))} | {total[2] / total[1]:.0%} |")
    print("\n".join(lines))
    if options.survivors:
        for each in survivors:
            print(f"\n{each['file']}:{each['line']} {each['function']} ({each['tests']} tests, {each['left']} left)")
            print(each["change"])


def main() -> int:
    """Mutate, test, report."""
    parser = argparse.ArgumentParser(description="Mutation testing of src/plankroad/tcp with tests/tcp.")
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", default="1")
    parser.add_argument("--again", type=float, default=0, metavar="SECONDS", help="survivors: try more tests on them")
    parser.add_argument("--jobs", type=int, default=1, help="processes side by side")
    parser.add_argument("--files", default="", help="input.py,ack.py: only these")
    parser.add_argument("--report", action="store_true", help="only show what earlier runs found")
    parser.add_argument("--survivors", action="store_true", help="show the changes that nobody noticed")
    parser.add_argument("--verbose", action="store_true", help="a line for each mutant")
    options = parser.parse_args()
    STORE.mkdir(parents=True, exist_ok=True)
    os.chdir(ROOT)
    status = 0
    if not options.report:
        arguments = ["-p", "no:xdist", "-p", "no:cacheprovider", "-p", "no:cov", "-p", "no:timeout", "-q", "-o"]
        arguments += ["addopts=--import-mode=importlib", "-o", "timeout=0", "tests/tcp"]
        # Whole networks: each of their tests is too slow.
        arguments += [f"--ignore=tests/tcp/{name}" for name in NETWORKS]
        status = pytest.main(arguments, plugins=[Session(options)])
    report(options)
    return int(status not in (0, 5))


if __name__ == "__main__":
    sys.exit(main())
