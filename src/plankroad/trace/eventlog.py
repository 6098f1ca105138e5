"""The structured event log: what the stack did and why, one JSON object a line.

A line has `time` (nanoseconds, of the clock that drives the stack), `subject` (the connection, endpoint or interface
it is about), `kind` (what happened) and the fields of that kind:

    {"time": 1200000, "subject": "10.0.0.1.80 > 10.0.0.2.40001", "kind": "state", "from": "SYN_SENT", "to": "CLOSED"}

The core holds an `EventLog` or None; with None an event costs one comparison.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable
from typing import Final, TextIO

from plankroad.compat import mypyc_attr

#: Names that a field cannot have; one that does gets an underscore.
RESERVED: Final = ("time", "subject", "kind")


class Event:
    """One event as it is kept in memory. `time`: nanoseconds."""

    __slots__ = ("fields", "kind", "subject", "time")

    def __init__(self, time: int, subject: str, kind: str, fields: dict[str, object]) -> None:
        self.time = time
        self.subject = subject
        self.kind = kind
        self.fields = fields

    def as_dict(self) -> dict[str, object]:
        """The line's object, its values made fit for JSON: bytes as hexadecimal digits, what JSON lacks as text."""
        result: dict[str, object] = {"time": self.time, "subject": self.subject, "kind": self.kind}
        for name, value in self.fields.items():
            result[name + "_" if name in RESERVED else name] = plain(value)
        return result

    def as_json(self) -> str:
        """The line, without its end."""
        return json.dumps(self.as_dict(), ensure_ascii=False)

    def __repr__(self) -> str:
        return f"<Event {self.as_json()}>"


def plain(value: object) -> object:
    """`value` as something that JSON can hold."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        # JSON has no infinity and no NaN.
        return value if value - value == 0.0 else str(value)
    if isinstance(value, (bytes, bytearray)):
        return value.hex()
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    return str(value)


@mypyc_attr(allow_interpreted_subclasses=True)
class EventLog:
    """Takes events, passes over those that nobody asked for, writes or keeps the others.

    `sink`: a text file object that gets a line for each event. It is the caller's: opened, flushed and closed by him.
    `keep`: how many of the latest events stay in `events`; by default all where there is no `sink`, else none.
    `kinds`, `subjects`: what is wanted; empty = everything. A name that ends in `*` stands for all that begin so; for
    subjects one that begins with `*` for all that end so, with both for all that have it inside.

    Subclasses override `record` (or `event`, to see what the filters leave out).
    """

    __slots__ = ("events", "kinds", "sink", "subjects", "wanted_kinds")

    def __init__(
        self,
        sink: TextIO | None = None,
        *,
        keep: int = -1,
        kinds: Iterable[str] = (),
        subjects: Iterable[str] = (),
    ) -> None:
        """ValueError for `keep` below -1; TypeError for a bare string where several names are expected, and for a
        `sink` that is no file object.
        """
        if keep < -1:
            raise ValueError(f"keep must be -1 (all) or a number of events, not {keep}")
        if isinstance(kinds, str) or isinstance(subjects, str):
            raise TypeError("kinds and subjects are collections of names, not one string")
        if sink is not None and not hasattr(sink, "write"):
            raise TypeError(f"sink is a file object, such as open({str(sink)!r}, 'w'), not {type(sink).__name__}")
        if keep == -1 and sink is not None:
            keep = 0
        self.sink: TextIO | None = sink
        self.events: deque[Event] = deque(maxlen=None if keep == -1 else keep)
        self.kinds: tuple[str, ...] = tuple(kinds)
        self.subjects: tuple[str, ...] = tuple(subjects)
        # There are few kinds: each is compared with the patterns once.
        self.wanted_kinds: dict[str, bool] = {}

    def event(self, now: int, subject: str, kind: str, fields: dict[str, object]) -> None:
        """Something happened at `now` (nanoseconds). `fields` belongs to the log from here on."""
        if self.wants(subject, kind):
            self.record(Event(now, subject, kind, fields))

    def wants(self, subject: str, kind: str) -> bool:
        """True if the filters let it through: lets a caller skip what is dear to compute."""
        if self.kinds:
            wanted = self.wanted_kinds.get(kind)
            if wanted is None:
                wanted = matches_any(kind, self.kinds)
                self.wanted_kinds[kind] = wanted
            if not wanted:
                return False
        return not self.subjects or matches_any(subject, self.subjects)

    def record(self, event: Event) -> None:
        """Write and keep an event that passed the filters."""
        if self.sink is not None:
            self.sink.write(event.as_json() + "\n")
        self.events.append(event)

    def find(self, kind: str = "", subject: str = "") -> list[Event]:
        """The kept events of this kind and subject (patterns as in the filters; empty = any), oldest first."""
        result: list[Event] = []
        for event in self.events:
            if kind and not matches(event.kind, kind):
                continue
            if subject and not matches(event.subject, subject):
                continue
            result.append(event)
        return result

    def clear(self) -> None:
        """Forget the kept events."""
        self.events.clear()


def matches_any(name: str, patterns: tuple[str, ...]) -> bool:
    """True if one of the patterns stands for `name`."""
    for pattern in patterns:  # noqa: SIM110  (a generator is what the compiler does worst)
        if matches(name, pattern):
            return True
    return False


def matches(name: str, pattern: str) -> bool:
    """`pattern` is the name itself, or has a `*` at its begin, its end or both."""
    if pattern in {"*", "**"}:
        return True
    if pattern.startswith("*"):
        if pattern.endswith("*"):
            return pattern[1:-1] in name
        return name.endswith(pattern[1:])
    if pattern.endswith("*"):
        return name.startswith(pattern[:-1])
    return name == pattern
