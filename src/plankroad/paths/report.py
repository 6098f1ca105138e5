"""Results in rows: for tables of people and of programs."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from typing import Any, TextIO

from plankroad.paths.cell import show_rate
from plankroad.paths.result import MEASURED, Result
from plankroad.units import MILLISECOND


def flat(result: Result) -> dict[str, Any]:
    """One result in one row: the cell, what was measured, and the same of a kernel where there is that."""
    row = result.cell.as_dict()
    row["seeds"] = " ".join(str(seed) for seed in result.seeds)
    row |= {name: getattr(result, name) for name in MEASURED}
    if result.linux is not None:
        row |= {f"linux_{name}": getattr(result.linux, name) for name in (*MEASURED, "kept_real_time")}
    row["notes"] = "; ".join(result.notes)
    return row


def write_csv(results: Sequence[Result], target: TextIO) -> None:
    """All results with one line of names above; what there is not stays empty."""
    rows = [flat(result) for result in results]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.DictWriter(target, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)


class Column:
    """A column of a table: its heading in one or two lines, whether it is a number."""

    __slots__ = ("heading", "number")

    def __init__(self, heading: str, number: bool = True) -> None:
        self.heading = heading
        self.number = number


def table(results: Sequence[Result]) -> tuple[list[Column], list[list[str]]]:
    """The table for people: columns, and a row of texts a result. Columns that would say nothing are left out."""
    columns: list[Column] = []
    rows: list[list[str]] = [[] for _ in results]

    def add(heading: str, texts: Iterable[str], number: bool = True) -> None:
        columns.append(Column(heading, number))
        for row, text in zip(rows, texts, strict=True):
            row.append(text)

    cells = [result.cell for result in results]
    add("rate", (show_rate(cell.rate) for cell in cells))
    add("rtt\nms", (f"{cell.rtt / MILLISECOND:g}" for cell in cells))
    add("loss\n%", (f"{cell.loss * 100:g}" for cell in cells))
    if any(cell.burst for cell in cells):
        add("burst", (str(cell.burst or "") for cell in cells), False)
    if any(cell.reorder for cell in cells):
        add("reorder", (str(cell.reorder or "") for cell in cells), False)
    add("queue", (str(cell.queue) for cell in cells), False)
    add("algorithm", (cell.algorithm_text + (" ecn" if cell.ecn else "") for cell in cells), False)
    add("flows", (str(cell.flows) for cell in cells))
    if len({cell.seed for cell in cells}) > 1:
        add("seed", (str(cell.seed) for cell in cells))
    if any(cell.size for cell in cells):
        add("bytes", (str(cell.size or "") for cell in cells))
        add("done\ns", (_maybe(result, result.completion_s, ".3f") for result in results))
    add("goodput\nMbit/s", (_both(result, "goodput_bps", 1e-6, ".2f") for result in results))
    if any(result.linux is not None for result in results):
        add("ours /\nLinux", (_ratio(result) for result in results))
    add("used\n%", (_both(result, "utilisation", 100, ".1f") for result in results))
    add("resent\n%", (_pair(result, _resent(result), _resent(result.linux), ".2f") for result in results))
    add("RTOs", (_both(result, "rtos", 1, "d") for result in results))
    add("spurious", (_both(result, "spurious", 1, "d") for result in results))
    add("queue ms\nmean", (_both(result, "queue_delay_ms", 1, ".1f") for result in results))
    add("queue ms\n95 %", (_both(result, "queue_delay_p95_ms", 1, ".1f") for result in results))
    if any(result.marked or (result.linux and result.linux.marked) for result in results):
        add("marked", (_both(result, "marked", 1, "d") for result in results))
    if any(cell.flows > 1 for cell in cells):
        add("Jain", (_both(result, "jain", 1, ".3f") if result.cell.flows > 1 else "" for result in results))
        add("fair\nafter s", (_maybe(result, result.convergence_s, ".1f") for result in results))
    return columns, rows


def _resent(result: Result | None) -> float | None:
    """The share of segments that were sent again, in per cent."""
    if result is None:
        return None
    return 100 * result.retransmitted_segments / result.sent_segments if result.sent_segments else 0.0


def _both(result: Result, name: str, factor: float, form: str) -> str:
    """Ours, and after a slash the kernel's."""
    ours = getattr(result, name) * factor
    other = None if result.linux is None else getattr(result.linux, name) * factor
    return _pair(result, ours, other, form)


def _pair(result: Result, ours: float | None, other: float | None, form: str) -> str:
    text = "" if ours is None else format(ours, form)
    return f"{text} / {'-' if other is None else format(other, form)}" if result.linux is not None else text


def _maybe(result: Result, value: float | None, form: str) -> str:
    return ("" if result.cell.flows == 1 and not result.cell.size else "-") if value is None else format(value, form)


def _ratio(result: Result) -> str:
    linux = result.linux
    if linux is None:
        return ""
    if linux.kept_real_time is False:
        return "too slow"
    return f"{result.goodput_bps / linux.goodput_bps:.2f}" if linux.goodput_bps else "-"
