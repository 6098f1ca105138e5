"""The structured event log: one JSON object a line, filters, memory, subclasses."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plankroad.trace.eventlog import Event, EventLog


def test_a_line_is_one_json_object_with_time_subject_kind_and_fields() -> None:
    out = io.StringIO()
    log = EventLog(out)
    log.event(1_200_000, "10.0.0.1.80 > 10.0.0.2.40001", "state", {"from": "LISTEN", "to": "SYN_RECEIVED"})
    log.event(1_300_000, "eth0", "drop", {"why": 'a "quoted"\nreason', "bytes": 60})
    lines = out.getvalue().splitlines()
    assert [json.loads(line) for line in lines] == [
        {
            "time": 1_200_000,
            "subject": "10.0.0.1.80 > 10.0.0.2.40001",
            "kind": "state",
            "from": "LISTEN",
            "to": "SYN_RECEIVED",
        },
        {"time": 1_300_000, "subject": "eth0", "kind": "drop", "why": 'a "quoted"\nreason', "bytes": 60},
    ]
    assert out.getvalue().endswith("\n")
    assert list(log.events) == []


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.tuples(inner) | st.dictionaries(st.integers() | st.text(), inner),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), values))
def test_any_value_makes_a_line_of_strict_json(fields: dict[str, object]) -> None:
    def refuse(name: str) -> object:
        raise AssertionError(f"{name} is not JSON")

    out = io.StringIO()
    EventLog(out).event(5, "s", "k", fields)
    line = out.getvalue()
    assert line.count("\n") == 1
    parsed = json.loads(line, parse_constant=refuse)
    assert (parsed["time"], parsed["subject"], parsed["kind"]) == (5, "s", "k")
    assert len(parsed) == 3 + len({n + "_" if n in {"time", "subject", "kind"} else n for n in fields})


def test_bytes_are_hexadecimal_and_strangers_are_text() -> None:
    event = Event(
        0, "s", "k", {"a": b"\x01\xff", "b": (1, [b"x"]), "c": {1: bytearray(b"\x02")}, "d": 1j, "e": {"time": 1}}
    )
    assert event.as_dict() == {
        "time": 0,
        "subject": "s",
        "kind": "k",
        "a": "01ff",
        "b": [1, ["78"]],
        "c": {"1": "02"},
        "d": "1j",
        "e": {"time": 1},
    }
    assert "01ff" in repr(event)


def test_a_field_cannot_hide_the_time_nor_the_kind() -> None:
    event = Event(7, "s", "k", {"time": 1, "kind": 2})
    assert event.as_dict() == {"time": 7, "subject": "s", "kind": "k", "time_": 1, "kind_": 2}


def test_without_a_sink_everything_is_kept_and_with_keep_the_latest() -> None:
    log = EventLog()
    ring = EventLog(keep=3)
    none = EventLog(keep=0)
    both = EventLog(io.StringIO(), keep=2)
    for i in range(10):
        for each in (log, ring, none, both):
            each.event(i, "s", "k", {"i": i})
    assert [e.time for e in log.events] == list(range(10))
    assert [e.time for e in ring.events] == [7, 8, 9]
    assert list(none.events) == []
    assert [e.time for e in both.events] == [8, 9]
    log.clear()
    assert list(log.events) == []


@pytest.mark.parametrize(
    ("kinds", "subjects", "expected"),
    [
        ((), (), ["a1", "b1", "a2", "ab3"]),
        (("state",), (), ["a1", "a2"]),
        (("rto", "drop"), (), ["b1", "ab3"]),
        (("s*",), (), ["a1", "a2"]),
        ((), ("b",), ["b1"]),
        ((), ("a*",), ["a1", "a2", "ab3"]),
        ((), ("*b",), ["b1", "ab3"]),
        ((), ("*b*",), ["b1", "ab3"]),
        (("state", "drop"), ("a",), ["a1", "a2"]),
        ((), ("*",), ["a1", "b1", "a2", "ab3"]),
        (("nothing",), (), []),
    ],
)
def test_filters_by_kind_and_subject(kinds: tuple[str, ...], subjects: tuple[str, ...], expected: list[str]) -> None:
    log = EventLog(kinds=kinds, subjects=subjects)
    for subject, kind, n in (("a", "state", 1), ("b", "rto", 1), ("a", "state", 2), ("ab", "drop", 3)):
        log.event(n, subject, kind, {})
    assert [f"{e.subject}{e.time}" for e in log.events] == expected
    assert log.wants("a", "state") is ("a1" in expected)


def test_find_picks_from_what_was_kept() -> None:
    log = EventLog()
    for i in range(6):
        log.event(i, f"conn{i % 2}", "odd" if i % 3 else "third", {})
    assert [e.time for e in log.find("third")] == [0, 3]
    assert [e.time for e in log.find(subject="conn1")] == [1, 3, 5]
    assert [e.time for e in log.find("o*", "*0")] == [2, 4]


def test_a_subclass_in_plain_python_gets_the_events() -> None:
    class Counting(EventLog):
        def __init__(self) -> None:
            super().__init__(kinds=["state"])
            self.count: dict[str, int] = {}

        def record(self, event: Event) -> None:
            self.count[event.kind] = self.count.get(event.kind, 0) + 1

    log = Counting()
    for kind in ("state", "rto", "state"):
        log.event(0, "s", kind, {})
    assert log.count == {"state": 2}


def test_mistakes_are_told() -> None:
    with pytest.raises(ValueError, match="keep must be"):
        EventLog(keep=-2)
    with pytest.raises(TypeError, match="not one string"):
        EventLog(kinds="state")
    with pytest.raises(TypeError, match=r"sink is a file object, such as open\('events.jsonl', 'w'\), not str"):
        EventLog("events.jsonl")  # type: ignore[arg-type]
