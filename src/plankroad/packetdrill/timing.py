"""When events are due, and whether something came in time.

Times are ns since the script's start. A relative time counts from when the event before was over: a packet from when it
came, a system call from when it returned. Of two packets injected one after the other the second counts from when the
first was due. `*` is due whenever it comes.

A packet or a return may be off its time by the tolerance: `--tolerance_usecs` (4 ms), or `--tolerance_percent` (12.5)
of the time since the event before, whichever is more. What comes within a range, or within the tolerance of its ends,
is in time too.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from plankroad.packetdrill.syntax import (
    ABSOLUTE,
    ANY,
    INBOUND,
    RELATIVE,
    RELATIVE_RANGE,
    Event,
    EventTime,
    Packet,
    Syscall,
)

_SECOND: Final = 10**9
DEFAULT_TOLERANCE: Final = 4_000_000
DEFAULT_PERCENT: Final = 12.5


class Due(NamedTuple):
    """When an event is due: `start` to `end`, and `tolerance` on both sides. `any_time`: there is no limit.

    `call_end`: when a blocking system call must return; None where it must at once.
    """

    start: int
    end: int
    tolerance: int
    any_time: bool = False
    call_end: int | None = None

    @property
    def earliest(self) -> int:
        return self.start - self.tolerance

    @property
    def latest(self) -> int:
        """After this it is late; without meaning for `any_time`."""
        return self.end + self.tolerance


class Timeline:
    """Goes along with the events of a script: `due` for each, then `over` when it has happened."""

    __slots__ = ("_last", "_last_injected", "percent", "tolerance")

    def __init__(self, tolerance: int = DEFAULT_TOLERANCE, percent: float = DEFAULT_PERCENT) -> None:
        self.tolerance = tolerance
        self.percent = percent
        #: When the event before was due, and whether it was an injected packet.
        self._last = 0
        self._last_injected = False

    def due(self, event: Event, now: int) -> Due:
        """When `event` is due; `now` is when the event before was over."""
        time = event.time
        base = 0
        if time.kind in {RELATIVE, RELATIVE_RANGE, ANY}:
            base = self._last if self._last_injected and _is_injected(event) else now
        start, end = base + time.start, base + time.end
        call_end = None
        if isinstance(event.action, Syscall) and event.action.end is not None:
            call_end = base + event.action.end
        return Due(start, end, self.allowed(start), time.kind == ANY, call_end)

    def allowed(self, start: int) -> int:
        """The tolerance for something due at `start`."""
        return max(self.tolerance, int((start - self._last) * self.percent / 100))

    def over(self, event: Event, due: Due, at: int) -> None:
        """`event`, which was `due`, happened at `at`."""
        self._last = at if due.any_time else due.start
        self._last_injected = _is_injected(event)


def _is_injected(event: Event) -> bool:
    return isinstance(event.action, Packet) and event.action.direction == INBOUND


def wrong_time(due: Due, at: int) -> str:
    """What is wrong with `at` for what was `due`, in words; "" where it is in time."""
    if due.any_time or due.earliest <= at <= due.latest:
        return ""
    early_by = due.start - at
    late_by = at - due.end
    off = f"{seconds(early_by)} s too early" if early_by > 0 else f"{seconds(late_by)} s too late"
    wanted = seconds(due.start) if due.start == due.end else f"{seconds(due.start)}~{seconds(due.end)}"
    return f"expected at {wanted} s, came at {seconds(at)} s: {off}, tolerance {seconds(due.tolerance)} s"


def seconds(time: int) -> str:
    """ns as seconds with six digits; rounded toward zero."""
    sign = "-" if time < 0 else ""
    whole, rest = divmod(abs(time), _SECOND)
    return f"{sign}{whole}.{rest // 1000:06d}"


def time_text(time: EventTime) -> str:
    """As a script writes it."""
    if time.kind == ANY:
        return "*"
    plus = "+" if time.kind in {RELATIVE, RELATIVE_RANGE} else ""
    text = plus + _plain(time.start)
    return text if time.kind in {ABSOLUTE, RELATIVE} else f"{text}~{plus}{_plain(time.end)}"


def _plain(time: int) -> str:
    whole, rest = divmod(time, _SECOND)
    return f"{whole}.{rest:09d}".rstrip("0").rstrip(".")
