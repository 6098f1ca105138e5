#!/usr/bin/env python3
"""Hold random dialogues with plankroad's listener and with the kernel's, and compare: needs root and /dev/net/tun.

    scripts/differential.py --seed 1 --runs 1000
    scripts/differential.py --seed 4711 --show       one dialogue, whatever comes of it

What is compared and what not: docs/fuzzing.md. The exit status is 1 where a difference has no explanation in
tests/fuzz/differential/reasons.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "src"), str(ROOT)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1, help="the first")
    parser.add_argument("--runs", type=int, default=1, help="so many seeds from there on")
    parser.add_argument("--show", action="store_true", help="print every dialogue")
    parser.add_argument("--stop", type=int, default=20, help="end after so many failures")
    arguments = parser.parse_args()
    if os.geteuid() != 0 or not os.path.exists("/dev/net/tun"):
        print(
            "differential.py: this needs root and /dev/net/tun, for a network namespace of its own", file=sys.stderr
        )
        return 2
    from tests.fuzz.differential.compare import Differential  # noqa: PLC0415
    from tests.fuzz.differential.hosts import LinuxHost  # noqa: PLC0415
    from tests.interop.netns import namespace  # noqa: PLC0415

    # What the kernel does with a packet happens on the processor that wrote it, and so in order.
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    failed: list[int] = []
    begin = time.monotonic()
    with namespace() as ns:
        both = Differential(LinuxHost(ns))
        for seed in range(arguments.seed, arguments.seed + arguments.runs):
            verdict = both.run(seed)
            if arguments.show or verdict.unexplained is not None:
                print(verdict.story(), end="\n\n", flush=True)
            if verdict.unexplained is not None:
                failed.append(seed)
                if len(failed) >= arguments.stop:
                    break
    print(
        f"{both.dialogues} dialogues, {both.steps} steps compared in {time.monotonic() - begin:.0f} s, "
        f"{both.again} held again because the machine was busy"
    )
    for name, count in both.explained.most_common():
        print(f"    {count:6} explained: {name}")
    print(f"{len(failed)} without an explanation{': seeds ' + ' '.join(map(str, failed)) if failed else ''}")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
