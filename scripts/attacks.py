"""Attack plankroad, and print what each attack cost it beside what docs/security.md promises.

    python scripts/attacks.py [NAME ...] [--write]

Runs the attacks of tests/attacks whose names contain one of the words given, all without any. `--write` puts the
figures into docs/security.md. Virtual time, seeds fixed; factors of cost are of Python lines executed in the pure
build, of seconds in the compiled one. PLANKROAD_FULL=1 attacks with as much as the compiled test run does. Exit status
1 where a bound does not hold.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.attacks.kit import ATTACKS, Figure, number  # noqa: E402

from plankroad._build import build  # noqa: E402

PAGE = ROOT / "docs" / "security.md"
BEGIN = "<!-- figures: python scripts/attacks.py --write -->"
END = "<!-- end of figures -->"

#: The files in the order of the page.
FILES = (
    "segments",
    "sack",
    "acks",
    "blind",
    "predict",
    "syn_flood",
    "stalled",
    "memory",
    "demux",
    "fragments",
    "options",
    "icmp",
    "neighbours",
)


def load() -> None:
    """Enter all attacks."""
    for name in FILES:
        importlib.import_module(f"tests.attacks.test_{name}")


def row(attack: str, figure: Figure) -> str:
    """A line of the table."""
    unit = figure.unit and " " + figure.unit
    # What is counted without a unit needs none.
    return f"| {attack} | {figure.what} | {number(figure.value)}{unit} | {number(figure.bound)}{unit} |"


def run(words: list[str]) -> tuple[list[str], int]:
    """The table's lines, and how many bounds did not hold."""
    lines = ["| attack | measured | figure | bound |", "|---|---|---|---|"]
    broken = 0
    for name, attack in ATTACKS.items():
        if words and not any(word.lower() in name.lower() for word in words):
            continue
        with contextlib.redirect_stdout(io.StringIO()):
            figures = attack()
        for figure in figures:
            lines.append(row(name, figure))
            print(lines[-1], flush=True)
            if figure.value > figure.bound:
                broken += 1
                print(f"{name}: the bound does not hold: {figure!r}", file=sys.stderr)
            name = ""  # noqa: PLW2901 - once is enough
    return lines, broken


def write(lines: list[str]) -> None:
    """Put the table into the page."""
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    table = "\n".join(lines)
    PAGE.write_text(f"{before}{BEGIN}\n\nBuild: {build()}.\n\n{table}\n\n{END}{after}", encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description="Attack plankroad and print what it cost.")
    parser.add_argument("names", nargs="*", help="words of names of attacks; all without")
    parser.add_argument("--write", action="store_true", help="put the figures into docs/security.md")
    options = parser.parse_args()
    if options.write and options.names:
        parser.error("--write puts all figures into the page: leave the names out")
    load()
    lines, broken = run(options.names)
    if len(lines) == 2:
        parser.error(f"no attack has one of these words in its name: {' '.join(options.names)}")
    if options.write:
        write(lines)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
