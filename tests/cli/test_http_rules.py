"""Conditions, ranges and dates of RFC 9110."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plankroad.cli.http_rules import (
    FAILED,
    MAX_RANGES,
    NOT_MODIFIED,
    PROCEED,
    Validators,
    check_conditions,
    http_date,
    parse_date,
    parse_ranges,
    range_applies,
)

pytestmark = pytest.mark.either

TIME = 784111777
FILE = Validators('"a-1"', TIME)
DATE = "Sun, 06 Nov 1994 08:49:37 GMT"
BEFORE = http_date(TIME - 1)
AFTER = http_date(TIME + 1)


@pytest.mark.parametrize("text", [DATE, "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"])
def test_all_three_forms_of_a_date_are_read(text: str) -> None:
    # RFC 9110 section 5.6.7: "A recipient that parses a timestamp value in an HTTP field MUST accept all three".
    assert parse_date(text) == TIME
    assert http_date(TIME) == DATE


@pytest.mark.parametrize(
    "text", ["", "yesterday", "Sun, 99 Nov 1994 08:49:37 GMT", "0", "Sun, 06 Nov 99999999 1:1:1 GMT"]
)
def test_what_is_no_date_is_none(text: str) -> None:
    assert parse_date(text) is None


@pytest.mark.parametrize(
    ("headers", "outcome"),
    [
        ({}, PROCEED),
        ({"if-none-match": '"a-1"'}, NOT_MODIFIED),
        ({"if-none-match": 'W/"a-1"'}, NOT_MODIFIED),
        ({"if-none-match": '"x", "y,z", "a-1"'}, NOT_MODIFIED),
        ({"if-none-match": "*"}, NOT_MODIFIED),
        ({"if-none-match": '"a-2"'}, PROCEED),
        ({"if-none-match": "a-1"}, PROCEED),
        ({"if-modified-since": DATE}, NOT_MODIFIED),
        ({"if-modified-since": AFTER}, NOT_MODIFIED),
        ({"if-modified-since": BEFORE}, PROCEED),
        ({"if-modified-since": "nonsense"}, PROCEED),
        # Section 13.1.3: If-Modified-Since is ignored where there is an If-None-Match.
        ({"if-none-match": '"a-2"', "if-modified-since": AFTER}, PROCEED),
        ({"if-match": '"a-1"'}, PROCEED),
        ({"if-match": "*"}, PROCEED),
        ({"if-match": '"a-2"'}, FAILED),
        # Section 13.1.1: the strong comparison.
        ({"if-match": 'W/"a-1"'}, FAILED),
        ({"if-unmodified-since": DATE}, PROCEED),
        ({"if-unmodified-since": BEFORE}, FAILED),
        ({"if-unmodified-since": "nonsense"}, PROCEED),
        # Section 13.2.2: If-Match decides before If-Unmodified-Since.
        ({"if-match": '"a-1"', "if-unmodified-since": BEFORE}, PROCEED),
        ({"if-match": '"a-2"', "if-none-match": '"a-1"'}, FAILED),
        ({"if-match": '"a-1"', "if-none-match": '"a-1"'}, NOT_MODIFIED),
    ],
)
def test_conditions_in_the_order_of_section_13_2_2(headers: dict[str, str], outcome: int) -> None:
    assert check_conditions(headers, FILE) == outcome


@pytest.mark.parametrize(
    ("field", "applies"),
    [(None, True), ('"a-1"', True), ('"a-2"', False), ('W/"a-1"', False), (DATE, True), (AFTER, False), ("x", False)],
)
def test_if_range_wants_the_very_same_state(field: str | None, applies: bool) -> None:
    assert range_applies({} if field is None else {"if-range": field}, FILE) == applies


@pytest.mark.parametrize(
    ("field", "ranges"),
    [
        # The examples of section 14.1.2, of 10000 bytes.
        ("bytes=0-499", [(0, 499)]),
        ("bytes=500-999", [(500, 999)]),
        ("bytes=-500", [(9500, 9999)]),
        ("bytes=9500-", [(9500, 9999)]),
        ("bytes=0-0,-1", [(0, 0), (9999, 9999)]),
        ("bytes= 0-999, 4500-5499, -1000", [(0, 999), (4500, 5499), (9000, 9999)]),
        ("BYTES=0-1,,3-4,", [(0, 1), (3, 4)]),
        ("bytes=0-99999", [(0, 9999)]),
        ("bytes=-99999", [(0, 9999)]),
        ("bytes=10000-", []),
        ("bytes=-0", []),
        ("bytes=10000-,5-6", [(5, 6)]),
        ("bytes=500-499", None),
        ("bytes=a-b", None),
        ("bytes=-", None),
        ("bytes=", None),
        ("bytes=5", None),
        ("bytes=1-2-3", None),
        ("bytes=+1-2", None),
        ("bytes=\u0661-2", None),
        ("lines=1-2", None),
        ("nonsense", None),
        ("bytes=" + ",".join(["0-0"] * (MAX_RANGES + 1)), None),
        ("bytes=0-,0-,0-", None),
        ("bytes=" + "9" * 100 + "-", None),
    ],
)
def test_ranges(field: str, ranges: list[tuple[int, int]] | None) -> None:
    assert parse_ranges(field, 10000) == ranges


def test_no_range_of_an_empty_file_can_be_satisfied() -> None:
    assert parse_ranges("bytes=0-", 0) == []
    assert parse_ranges("bytes=-1", 0) == []


@given(st.text(alphabet="bytes=0123456789-, \t", max_size=40), st.integers(0, 1000))
def test_whatever_is_asked_for_lies_within_the_file(text: str, size: int) -> None:
    for field in (text, "bytes=" + text):
        for first, last in parse_ranges(field, size) or []:
            assert 0 <= first <= last < size
