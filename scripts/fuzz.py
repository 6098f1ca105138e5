#!/usr/bin/env python3
"""Fuzz plankroad, guided by coverage, with atheris: `make fuzz ARGS="--seconds 600"`.

Each target of tests/fuzz/targets.py gets an equal share of the time, one after the other. What reaches new code is kept
in build/fuzz/TARGET/corpus, where the next run goes on; one input for each different failure, and each that is slow, in
build/fuzz/TARGET/found. At the end: how many executions, how fast, how much new coverage, how many failures.

    scripts/fuzz.py run [TARGET...] --seconds 600
    scripts/fuzz.py show TARGET FILE                 run one input again; what happened in it
    scripts/fuzz.py keep TARGET FILE NAME "WORDS"    make it a case of tests/fuzz/cases, which every `make test` runs
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "src"), str(ROOT)]

BUILD = ROOT / "build" / "fuzz"

#: Seconds after which an input counts as slow, and after which libFuzzer gives up on it.
SLOW = 2.0
HANG = 120

_STATUS = re.compile(rb"cov: (\d+) ft: (\d+) corp: (\d+)")


class Found:
    """The failures of one run: one input for each place where they come from."""

    def __init__(self, target: str, function: Callable[[bytes], object]) -> None:
        self.place = BUILD / target / "found"
        self.place.mkdir(parents=True, exist_ok=True)
        self.function = function
        self.executions = 0
        self.failures: dict[str, int] = {}
        self.slowest = 0.0
        self.start = time.monotonic()

    def one_input(self, data: bytes) -> None:
        """What the fuzzer calls."""
        self.executions += 1
        begin = time.process_time()
        try:
            self.function(data)
        except Exception as error:
            self.keep(signature(error), data, error)
        took = time.process_time() - begin
        if took > self.slowest:
            self.slowest = took
            if took > SLOW:
                self.keep(f"slow {int(took)}", data, None)
        if self.executions % 100 == 0:
            self.report()

    def keep(self, name: str, data: bytes, error: Exception | None) -> None:
        """Count a failure; the first of its kind is written down."""
        known = self.failures.get(name, 0)
        self.failures[name] = known + 1
        if known:
            return
        path = self.place / hashlib.sha256(name.encode()).hexdigest()[:16]
        path.write_bytes(data)
        text = name if error is None else "".join(traceback.format_exception(error))
        path.with_suffix(".txt").write_text(f"{name}\n{text}\n")
        print(f"found: {name}: {path}", flush=True)

    def report(self) -> None:
        """Leave the figures for whoever started this process."""
        figures = {
            "executions": self.executions,
            "seconds": time.monotonic() - self.start,
            "slowest": self.slowest,
            "failures": self.failures,
        }
        (self.place.parent / "figures.json").write_text(json.dumps(figures))


def signature(error: BaseException) -> str:
    """Where an error comes from: its kind and the innermost lines of our own code."""
    while error.__cause__ is not None:
        error = error.__cause__
    frames = [f for f in traceback.extract_tb(error.__traceback__) if str(ROOT) in f.filename]
    where = " < ".join(f"{Path(f.filename).name}:{f.lineno}" for f in reversed(frames[-2:]))
    words = re.sub(r"[0-9a-f.:]*\d[0-9a-f.:]*", "N", str(error).partition("\n")[0])[:60]
    return f"{type(error).__name__} {words} at {where}"


def child(target: str, seconds: int) -> None:
    """Fuzz one target in this process; libFuzzer ends it."""
    import atheris  # noqa: PLC0415 - only here is it needed

    with atheris.instrument_imports(include=["plankroad"]):
        from tests.fuzz.targets import TARGETS  # noqa: PLC0415
    from tests.fuzz.seeds import seeds  # noqa: PLC0415

    corpus = BUILD / target / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for data in seeds(target):
        (corpus / hashlib.sha1(data).hexdigest()).write_bytes(data)
    found = Found(target, TARGETS[target])
    found.report()
    arguments = [
        f"-max_total_time={seconds}",
        f"-timeout={HANG}",
        "-rss_limit_mb=3000",
        "-max_len=4096",
        "-len_control=20",
        "-print_final_stats=1",
        f"-artifact_prefix={found.place}/",
    ]
    atheris.Setup([sys.argv[0], *arguments, str(corpus)], found.one_input, internal_libfuzzer=True)
    atheris.Fuzz()


def run(names: list[str], seconds: int) -> int:
    """Fuzz the targets in turn; a table of what came of it. The exit status is 1 where there were failures."""
    rows: list[tuple[str, ...]] = []
    failed = 0
    for name in names:
        share = max(5, seconds // len(names))
        print(f"{name}: {share} s", flush=True)
        log = BUILD / name / "log.txt"
        log.parent.mkdir(parents=True, exist_ok=True)
        with open(log, "wb") as out:
            done = subprocess.run(
                [sys.executable, __file__, "child", name, str(share)],
                stdout=out,
                stderr=subprocess.STDOUT,
                check=False,
            )
        said = log.read_bytes()
        for line in said.decode(errors="replace").splitlines():
            if line.startswith("found: "):
                print("   ", line)
        figures = json.loads((BUILD / name / "figures.json").read_text())
        marks = [tuple(map(int, match)) for match in _STATUS.findall(said)]
        first, last = (marks[0], marks[-1]) if marks else ((0, 0, 0), (0, 0, 0))
        failures = len(figures["failures"])
        if done.returncode:
            failures += 1
            print(f"    the fuzzer itself ended with status {done.returncode}: {log} says why")
        failed += failures
        per_second = figures["executions"] / max(figures["seconds"], 0.001)
        rows.append(
            (
                name,
                f"{figures['executions']:,}",
                f"{per_second:,.0f}",
                f"{last[0]:,} (+{last[0] - first[0]:,})",
                f"{last[2]:,}",
                f"{figures['slowest'] * 1000:,.0f} ms",
                str(failures),
            )
        )
    head = ("target", "executions", "a second", "coverage (new)", "corpus", "slowest", "failures")
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    for row in [head, *rows]:
        print("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())
    return 1 if failed else 0


def show(target: str, path: str) -> int:
    """Run one input again."""
    from tests.fuzz.targets import TARGETS  # noqa: PLC0415

    begin = time.process_time()
    try:
        result: Any = TARGETS[target](Path(path).read_bytes())
    except Exception:
        traceback.print_exc()
        return 1
    if hasattr(result, "tell"):
        print(result.tell())
    print(f"no failure, {time.process_time() - begin:.3f} s")
    return 0


def keep(target: str, path: str, name: str, words: str) -> int:
    """Make an input a case of the test-suite."""
    from tests.fuzz.cases import write_case  # noqa: PLC0415

    print(write_case(target, name, words, Path(path).read_bytes()))
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("run", help="fuzz")
    one.add_argument("targets", nargs="*", help="which (default: all)")
    one.add_argument("--seconds", type=int, default=300, help="for all of them together")
    one = commands.add_parser("show", help="run one input again")
    one.add_argument("target")
    one.add_argument("file")
    one = commands.add_parser("keep", help="make an input a case of the tests")
    for argument in ("target", "file", "name", "words"):
        one.add_argument(argument)
    one = commands.add_parser("child")
    one.add_argument("target")
    one.add_argument("seconds", type=int)
    arguments = parser.parse_args()
    if arguments.command == "child":
        child(arguments.target, arguments.seconds)
        return 0
    from tests.fuzz.targets import TARGETS  # noqa: PLC0415

    if arguments.command == "run":
        unknown = [name for name in arguments.targets if name not in TARGETS]
        if unknown:
            parser.error(f"there is no target {unknown[0]!r}; there are {', '.join(TARGETS)}")
        try:
            import atheris  # noqa: F401, PLC0415
        except ImportError:
            print(
                "fuzz.py: atheris is not installed; `make fuzz` installs it, or pip install atheris", file=sys.stderr
            )
            return 2
        os.nice(5)
        return run(arguments.targets or list(TARGETS), arguments.seconds)
    if arguments.target not in TARGETS:
        parser.error(f"there is no target {arguments.target!r}; there are {', '.join(TARGETS)}")
    if arguments.command == "show":
        return show(arguments.target, arguments.file)
    return keep(arguments.target, arguments.file, arguments.name, arguments.words)


if __name__ == "__main__":
    raise SystemExit(main())
