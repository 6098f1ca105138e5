"""When events are due, and what comes too early or too late."""

from __future__ import annotations

import pytest

from plankroad.packetdrill.parser import parse_script
from plankroad.packetdrill.syntax import Event
from plankroad.packetdrill.timing import Due, Timeline, seconds, time_text, wrong_time

pytestmark = pytest.mark.either

MS = 1_000_000
INJECTED = "< . 1:1(0) ack 1 win 5"
EXPECTED = "> . 1:1(0) ack 1"


def events(*lines: str) -> list[Event]:
    return parse_script("\n".join(lines), "t").events


def dues(lines: list[str], happened: list[int], percent: float = 0) -> list[Due]:
    """When each is due where they happen at the times given (ms)."""
    timeline = Timeline(percent=percent)
    now = 0
    found: list[Due] = []
    for event, at in zip(events(*lines), happened, strict=True):
        due = timeline.due(event, now)
        found.append(due)
        now = at * MS
        timeline.over(event, due, now)
    return found


def test_absolute_times_are_the_script_s() -> None:
    found = dues([f"0.5 {EXPECTED}", f"0.6 {EXPECTED}"], [510, 600])
    assert [(due.start, due.end) for due in found] == [(500 * MS, 500 * MS), (600 * MS, 600 * MS)]


def test_relative_times_count_from_when_the_event_before_was_over() -> None:
    found = dues([f"0.5 {EXPECTED}", f"+.1 {EXPECTED}", f"+0 {INJECTED}", "+.2 close(3) = 0"], [510, 600, 601, 802])
    assert [due.start // MS for due in found] == [500, 610, 600, 801]


def test_injected_packets_in_a_row_count_from_when_the_one_before_was_due() -> None:
    found = dues([f"0.5 {INJECTED}", f"+.1 {INJECTED}", f"+.1 {EXPECTED}", f"+.1 {INJECTED}"], [503, 609, 707, 805])
    assert [due.start // MS for due in found] == [500, 600, 709, 807]


def test_after_whatever_time_the_next_counts_from_it() -> None:
    found = dues([f"* {EXPECTED}", f"+.1 {EXPECTED}"], [1234, 1334])
    assert found[0].any_time
    assert not found[1].any_time
    assert found[1].start == 1334 * MS


def test_ranges() -> None:
    found = dues([f"0.1~0.2 {EXPECTED}", f"+.1~+.3 {EXPECTED}"], [150, 300])
    assert [(due.start // MS, due.end // MS) for due in found] == [(100, 200), (250, 450)]


def test_a_blocking_call_ends_in_the_same_base_as_it_begins() -> None:
    found = dues(["0.1...0.3 read(3, ..., 1) = 1", "+.1...0.2 read(3, ..., 1) = 1"], [300, 500])
    assert [(due.start // MS, (due.call_end or 0) // MS) for due in found] == [(100, 300), (400, 500)]


@pytest.mark.parametrize(
    ("time", "at", "right"),
    [
        ("0.5", 500, True),
        ("0.5", 496, True),
        ("0.5", 504, True),
        ("0.5", 495, False),
        ("0.5", 505, False),
        ("+.5", 504, True),
        ("+.5", 505, False),
        ("0.5~0.6", 495, False),
        ("0.5~0.6", 496, True),
        ("0.5~0.6", 550, True),
        ("0.5~0.6", 604, True),
        ("0.5~0.6", 605, False),
        ("+.5~+.6", 604, True),
        ("+.5~+.6", 605, False),
        ("*", 0, True),
        ("*", 10**6, True),
    ],
)
def test_what_is_in_time(time: str, at: int, right: bool) -> None:
    (event,) = events(f"{time} {EXPECTED}")
    due = Timeline(percent=0).due(event, 0)
    assert (wrong_time(due, at * MS) == "") is right


def test_the_edge_of_the_tolerance_is_within() -> None:
    due = Due(500 * MS, 500 * MS, 4 * MS)
    assert wrong_time(due, 504 * MS) == ""
    assert wrong_time(due, 504 * MS + 1) != ""
    assert wrong_time(due, 496 * MS) == ""
    assert wrong_time(due, 496 * MS - 1) != ""


def test_the_tolerance_grows_with_the_time_since_the_event_before() -> None:
    found = dues(
        [f"0.1 {INJECTED}", f"+.01 {EXPECTED}", f"+1 {EXPECTED}", f"2.11 {EXPECTED}"], [100, 110, 1110, 2110], 12.5
    )
    assert [due.tolerance / MS for due in found] == [12.5, 4, 125, 125]


def test_what_is_wrong_is_told_in_seconds() -> None:
    assert wrong_time(Due(500 * MS, 500 * MS, 4 * MS), 510 * MS) == (
        "expected at 0.500000 s, came at 0.510000 s: 0.010000 s too late, tolerance 0.004000 s"
    )
    assert wrong_time(Due(500 * MS, 600 * MS, 4 * MS), 0) == (
        "expected at 0.500000~0.600000 s, came at 0.000000 s: 0.500000 s too early, tolerance 0.004000 s"
    )
    assert seconds(-1_500_000_000) == "-1.500000"


@pytest.mark.parametrize("text", ["0", "0.5", "+0", "+0.000001", "0.1~0.25", "+1~+2", "*", "12.000000001"])
def test_times_are_told_as_written(text: str) -> None:
    (event,) = events(f"{text} {EXPECTED}")
    assert time_text(event.time) == text
