"""What was measured in a cell, by whomever: the same words for ours and for a kernel's TCP.

Every field is told in docs/paths.md. Rates are bit/s, times what their names say; `None` stands for what there is not.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final

from plankroad.paths.cell import MTU, PAYLOAD, Cell


@dataclass(frozen=True)
class FlowResult:
    """One flow. `start_s`: after the first flow's start. `delivered_bytes`: what its receiving program got, in order.

    `goodput_bps`: that over the time from its own start to its end. `completion_s`: from its own start until all it was
    to carry was there; None for timed flows and for those that did not get there.
    """

    algorithm: str
    start_s: float
    delivered_bytes: int
    goodput_bps: float
    completion_s: float | None
    sent_segments: int
    retransmitted_bytes: int
    retransmitted_segments: int
    spurious: int

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {one.name: getattr(self, one.name) for one in fields(self)}


@dataclass(frozen=True)
class Result:
    """All that was measured in `cell`, its flows together. `Result.of_dict(result.as_dict()) == result`.

    `stack`: whose TCP it was, "plankroad" or "linux". `time_s`: how long the cell took by its own clock, `real_s` by
    ours. `linux`: what the kernel's TCP made of the same cell. `kept_real_time`: in a cell that runs in real time,
    whether the emulator kept up, so that the figures count; None in virtual time. `notes`: what else is to be known.
    """

    cell: Cell
    stack: str
    goodput_bps: float
    utilisation: float
    completion_s: float | None
    delivered_bytes: int
    sent_segments: int
    retransmitted_bytes: int
    retransmitted_segments: int
    spurious: int
    rtos: int
    queue_delay_ms: float
    queue_delay_p95_ms: float
    queue_delay_max_ms: float
    lost_queue: int
    lost_random: int
    marked: int
    jain: float
    convergence_s: float | None
    per_flow: tuple[FlowResult, ...]
    time_s: float
    real_s: float
    linux: Result | None = None
    kept_real_time: bool | None = None
    notes: tuple[str, ...] = ()
    seeds: tuple[int, ...] = field(default=())

    def as_dict(self) -> dict[str, Any]:
        """For JSON: the cell under `cell`, a kernel's result under `linux`."""
        found: dict[str, Any] = {"cell": self.cell.as_dict()}
        for one in fields(self):
            value = getattr(self, one.name)
            if one.name in ("cell", "linux", "per_flow"):
                continue
            found[one.name] = list(value) if isinstance(value, tuple) else value
        found["per_flow"] = [flow.as_dict() for flow in self.per_flow]
        found["linux"] = None
        if self.linux is not None:
            found["linux"] = {
                key: value for key, value in self.linux.as_dict().items() if key not in ("cell", "linux")
            }
        return found

    @classmethod
    def of_dict(cls, found: dict[str, Any]) -> Result:
        """The result that `as_dict` told."""
        values = {one.name: found[one.name] for one in fields(cls) if one.name not in ("cell", "linux", "per_flow")}
        values["notes"] = tuple(values["notes"])
        values["seeds"] = tuple(values["seeds"])
        cell = Cell.of_dict(found["cell"])
        linux = found["linux"]
        return cls(
            cell=cell,
            per_flow=tuple(FlowResult(**flow) for flow in found["per_flow"]),
            linux=None if linux is None else cls.of_dict({"cell": found["cell"], "linux": None, **linux}),
            **values,
        )


def utilisation(goodput_bps: float, rate: int) -> float:
    """The share of the link that carried, for the first time, what a program got: goodput with the headers that full
    segments have, over the rate. What is sent again or twice does not count, so 1 is the most there can be.
    """
    return goodput_bps * MTU / PAYLOAD / rate


#: What is measured of a stack: the median over seeds is taken of each by itself, and a CSV file has them in this order.
MEASURED: Final = (
    "goodput_bps",
    "utilisation",
    "completion_s",
    "delivered_bytes",
    "sent_segments",
    "retransmitted_bytes",
    "retransmitted_segments",
    "spurious",
    "rtos",
    "queue_delay_ms",
    "queue_delay_p95_ms",
    "queue_delay_max_ms",
    "lost_queue",
    "lost_random",
    "marked",
    "jain",
    "convergence_s",
)


def median(results: list[Result]) -> Result:
    """The median over runs of one cell with several seeds, field by field; flows are those of the run whose goodput is
    in the middle. Runs that did not keep real time are left out, and counted in `notes`; where none did, all are
    taken and `kept_real_time` is False. What did not happen in half of the runs (completion, convergence) is None.
    ValueError where there is no result.
    """
    if not results:
        raise ValueError("there is no median of nothing")
    counted = [one for one in results if one.kept_real_time is not False] or results
    middle = sorted(counted, key=lambda one: (one.goodput_bps, one.cell.seed))[(len(counted) - 1) // 2]
    values: dict[str, Any] = {}
    for name in MEASURED:
        found = [value for one in counted if (value := getattr(one, name)) is not None]
        if 2 * len(found) <= len(counted):
            values[name] = None
        else:
            whole = isinstance(found[0], int)
            values[name] = statistics.median_high(found) if whole else statistics.median(found)
    notes = list(dict.fromkeys(note for one in counted for note in one.notes))
    if len(counted) < len(results):
        notes.append(
            f"{len(results) - len(counted)} of {len(results)} runs did not keep real time and are not counted"
        )
    kernels = [one.linux for one in results if one.linux is not None]
    return replace(
        middle,
        **values,
        cell=replace(middle.cell, seed=results[0].cell.seed),
        seeds=tuple(one.cell.seed for one in counted),
        time_s=sum(one.time_s for one in results),
        real_s=sum(one.real_s for one in results),
        linux=median(kernels) if kernels else None,
        notes=tuple(notes),
    )
