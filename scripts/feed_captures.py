#!/usr/bin/env python3
"""Feed captures to plankroad as hostile input: `scripts/feed_captures.py FOLDER...`.

All files of the folders (and single files) that end in pcap, pcapng, cap, ntar or one of these and gz. What is done
with each packet stands in tests/fuzz/hostile.py. Prints totals and the slowest packet; the exit status is 1 where
anything was raised that is not a documented error, or where a packet took longer than --limit.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "src"), str(ROOT)]

_NAME = re.compile(r"\.(pcap|pcapng|cap|ntar|dmp|trc)\d*(\.gz)?$", re.IGNORECASE)


def main() -> int:
    from tests.fuzz.hostile import Totals, feed_file  # noqa: PLC0415

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--limit", type=float, default=1.0, help="seconds of processor that a packet may take")
    parser.add_argument("--verbose", action="store_true", help="name the files that are no captures or are damaged")
    arguments = parser.parse_args()
    failed = False
    for folder in arguments.folders:
        if not folder.exists():
            print(f"feed_captures.py: there is no {folder}", file=sys.stderr)
            return 2
        files = (
            [folder]
            if folder.is_file()
            else sorted(p for p in folder.rglob("*") if p.is_file() and _NAME.search(p.name))
        )
        totals = Totals()
        for path in files:
            feed_file(path, totals, str(path.relative_to(folder)) if folder.is_dir() else path.name)
        print(f"{folder}:\n{totals.report()}\n")
        if arguments.verbose:
            print("\n".join(["no captures:", *totals.refused, "damaged:", *totals.broken]))
        failed |= bool(totals.failures) or (bool(totals.slowest) and totals.slowest[0][0] > arguments.limit)
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
