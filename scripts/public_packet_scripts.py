#!/usr/bin/env python3
"""Run the public packet scripts of google/packetdrill (or a kernel's selftests) from a checkout, and count by class.

    scripts/public_packet_scripts.py gtests/net/tcp --classes classes.tsv
    scripts/public_packet_scripts.py gtests/net/tcp --classes classes.tsv --class RFC --failures

The checkout is not part of the project. `--classes`: tab-separated lines with a header that has the columns `script`
(the path below the folder) and `class`; `--suite` takes only the lines with this value in the column `suite`. Without
it all scripts are of one class. A script whose name ends with v6 runs over IPv6, the others as `--ip-version` says,
each with the options and defines that these scripts are made for. Exit status: 0 where every script passed or is not
applicable.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections import Counter, defaultdict
from itertools import chain
from pathlib import Path

from plankroad.packetdrill.ground import IPV4, IPV6, MAPPED
from plankroad.packetdrill.outcome import FAILED, NOT_APPLICABLE, PASSED, Outcome
from plankroad.packetdrill.suite import RunOptions, find_scripts, run_files

UNCLASSED = "(none)"

#: What the scripts leave to those who run them: Fast Open's cookie for their addresses and key, the ICMP code that
#: means EHOSTUNREACH, and how errors are told.
DEFINES = {
    IPV4: {
        "TFO_COOKIE": "3021b9d889017eeb",
        "TFO_COOKIE_ZERO": "b7c12350a90dc8f5",
        "CODE": "host_unreachable",
        "CMSG_LEVEL_IP": "SOL_IP",
        "CMSG_TYPE_RECVERR": "IP_RECVERR",
    },
    IPV6: {
        "TFO_COOKIE": "c1d1e9742a47a9bc",
        "TFO_COOKIE_ZERO": "82af1a8f9a205c34",
        "CODE": "address_unreachable",
        "CMSG_LEVEL_IP": "SOL_IPV6",
        "CMSG_TYPE_RECVERR": "IPV6_RECVERR",
    },
}
DEFINES[MAPPED] = DEFINES[IPV4] | {"CMSG_LEVEL_IP": "SOL_IPV6", "CMSG_TYPE_RECVERR": "IPV6_RECVERR"}
#: The addresses and sizes that they expect; with this MTU IPv6 has the MSS that IPv4 has.
OPTIONS: dict[str, list[tuple[str, str]]] = {
    IPV4: [],
    IPV6: [("mtu", "1520"), ("remote_ip", "fd3d:fa7b:d17d::1")],
    MAPPED: [],
}


def read_classes(path: Path, suite: str) -> dict[str, str]:
    """Script -> class. SystemExit with a line where the table cannot be read."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = csv.DictReader(file, delimiter="\t")
        missing = {"script", "class"} - set(rows.fieldnames or ())
        if missing:
            sys.exit(f"{path}: the table has no column {', '.join(sorted(missing))}")
        return {row["script"]: row["class"] for row in rows if not suite or row.get("suite") == suite}


def table(counts: dict[str, Counter[str]]) -> str:
    """A line a class, and the sum."""
    lines = [f"{'class':<24}{'scripts':>8}{'passed':>8}{'failed':>8}{'not applicable':>16}"]
    total: Counter[str] = Counter()
    for name in sorted(counts):
        total += counts[name]
        lines.append(_line(name, counts[name]))
    lines.append(_line("all", total))
    return "\n".join(lines)


def _line(name: str, count: Counter[str]) -> str:
    return f"{name:<24}{count.total():>8}{count[PASSED]:>8}{count[FAILED]:>8}{count[NOT_APPLICABLE]:>16}"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("folder", type=Path, help="the folder with the scripts, as gtests/net/tcp of a checkout")
    parser.add_argument("--classes", type=Path, metavar="TSV", help="table with the columns script and class")
    parser.add_argument("--suite", default="", help="only the lines of the table with this suite")
    parser.add_argument("--class", dest="only", action="append", default=[], help="only scripts of this class")
    parser.add_argument("--profile", default="linux", help="what the scripts assume  [linux]")
    parser.add_argument("--ip-version", default=RunOptions().ip_version)
    parser.add_argument("--jobs", type=int, default=0, help="processes at once  [all cores]")
    parser.add_argument("--failures", action="store_true", help="tell of each that failed why")
    parser.add_argument("--reasons", action="store_true", help="tell of each that is not applicable why")
    arguments = parser.parse_args()
    if not arguments.folder.is_dir():
        parser.error(f"{arguments.folder} is no folder")
    classes = read_classes(arguments.classes, arguments.suite) if arguments.classes else {}

    def name_of(path: str) -> str:
        return Path(path).relative_to(arguments.folder).as_posix()

    files = find_scripts([str(arguments.folder)])
    if classes:
        files = [path for path in files if name_of(path) in classes]
        absent = set(classes) - {name_of(path) for path in files}
        if absent:
            print(f"{len(absent)} scripts of the table are not in the folder, {min(absent)} among them")
    if arguments.only:
        files = [path for path in files if classes.get(name_of(path), UNCLASSED) in arguments.only]
    six = [path for path in files if Path(path).stem.endswith("v6")]
    four = [path for path in files if path not in six]
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    outcomes = chain(
        run_files(four, run_options(arguments.profile, arguments.ip_version, True), arguments.jobs),
        run_files(six, run_options(arguments.profile, IPV6, False), arguments.jobs),
    )
    for outcome in outcomes:
        name = name_of(outcome.file)
        counts[classes.get(name, UNCLASSED)][outcome.status] += 1
        if shown(outcome, arguments.failures, arguments.reasons):
            print(f"[{classes.get(name, UNCLASSED)}] {name}{outcome.text().removeprefix(outcome.file)}")
    print(table(counts))
    return 1 if any(count[FAILED] for count in counts.values()) else 0


def run_options(profile: str, ip_version: str, sized: bool) -> RunOptions:
    """How scripts over `ip_version` are run; those for IPv6 alone are made for an ordinary MTU (not `sized`)."""
    options = OPTIONS[ip_version] if sized else []
    return RunOptions(profile, defines=DEFINES[ip_version], options=options, strict_end=False, ip_version=ip_version)


def shown(outcome: Outcome, failures: bool, reasons: bool) -> bool:
    """Whether to tell of it by itself."""
    return (failures and outcome.status == FAILED) or (reasons and outcome.status == NOT_APPLICABLE)


if __name__ == "__main__":
    sys.exit(main())
