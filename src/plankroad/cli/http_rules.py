"""What RFC 9110 says of requests for a file: conditions (section 13), ranges (section 14), dates (section 5.6.7)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import formatdate, parsedate_to_datetime
from typing import Final

#: Ranges of one request; more are many small ones, which RFC 9110 section 14.2 lets a server ignore.
MAX_RANGES: Final = 64

#: What a condition says: go on, answer 304, answer 412.
PROCEED: Final = 0
NOT_MODIFIED: Final = 304
FAILED: Final = 412


class Validators:
    """What tells one state of a file from another: a strong `etag`, and `modified`, in seconds since 1970."""

    __slots__ = ("etag", "modified")

    def __init__(self, etag: str, modified: int) -> None:
        self.etag = etag
        self.modified = modified


def http_date(seconds: float) -> str:
    """`Sun, 06 Nov 1994 08:49:37 GMT`."""
    return formatdate(seconds, usegmt=True)


def parse_date(text: str) -> int | None:
    """Seconds since 1970 of any of the three forms of a date; None for anything else."""
    try:
        date = parsedate_to_datetime(text)
        return int((date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp())
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def check_conditions(headers: Mapping[str, str], file: Validators) -> int:
    """The outcome of the conditions of a GET or HEAD, in the order of section 13.2.2: `PROCEED` or a status.

    `headers`: by lower-case name, repeated ones joined with commas.
    """
    if_match = headers.get("if-match")
    unmodified = headers.get("if-unmodified-since")
    if if_match is not None:
        if not _listed(if_match, file.etag, weak=False):
            return FAILED
    elif unmodified is not None:
        date = parse_date(unmodified)
        if date is not None and file.modified > date:
            return FAILED
    none_match = headers.get("if-none-match")
    modified = headers.get("if-modified-since")
    if none_match is not None:
        if _listed(none_match, file.etag, weak=True):
            return NOT_MODIFIED
    elif modified is not None:
        date = parse_date(modified)
        if date is not None and file.modified <= date:
            return NOT_MODIFIED
    return PROCEED


def _listed(field: str, etag: str, *, weak: bool) -> bool:
    """Whether `etag` is in a list of entity tags, or that is "*". Section 8.8.3.2: weak tags match only weakly."""
    if field.strip() == "*":
        return True
    return any(item == etag or (weak and item.removeprefix("W/") == etag) for item in _tags(field))


def _tags(field: str) -> list[str]:
    """The entity tags of a list. Commas may stand inside of them."""
    found: list[str] = []
    rest = field
    while rest:
        rest = rest.lstrip(" \t,")
        start = 2 if rest.startswith("W/") else 0
        if rest[start : start + 1] != '"':
            break
        end = rest.find('"', start + 1)
        if end < 0:
            break
        found.append(rest[: end + 1])
        rest = rest[end + 1 :]
    return found


def range_applies(headers: Mapping[str, str], file: Validators) -> bool:
    """Whether If-Range, where there is one, lets a Range count (section 13.1.5): the strong comparison."""
    field = headers.get("if-range")
    if field is None:
        return True
    field = field.strip()
    if field.startswith(('"', "W/")):
        return field == file.etag
    date = parse_date(field)
    return date is not None and date == file.modified


def parse_ranges(field: str, size: int) -> list[tuple[int, int]] | None:
    """The byte ranges that a Range field asks for, as (first, last) within `size` bytes, in the order asked for.

    None: the field is to be ignored (another unit, malformed, too many, or more bytes than the file has twice over).
    An empty list: none of the ranges can be satisfied, the answer is 416 (section 15.5.17).
    """
    unit, equals, rest = field.partition("=")
    if not equals or unit.strip().lower() != "bytes":
        return None
    asked = [part.strip(" \t") for part in rest.split(",")]
    asked = [part for part in asked if part]
    if not asked or len(asked) > MAX_RANGES:
        return None
    found: list[tuple[int, int]] = []
    for part in asked:
        first, dash, last = part.partition("-")
        if not dash or not (_digits(first) and _digits(last)) or not (first or last):
            return None
        if not first:
            # The last so many bytes.
            count = min(int(last), size)
            if count:
                found.append((size - count, size - 1))
            continue
        start = int(first)
        end = int(last) if last else size - 1
        if last and end < start:
            return None
        if start < size:
            found.append((start, min(end, size - 1)))
    # Section 17.15: overlapping ranges are a way to ask for far more than there is.
    if sum(last - first + 1 for first, last in found) > 2 * size:
        return None
    return found


def _digits(text: str) -> bool:
    return not text or (text.isascii() and text.isdigit() and len(text) <= 20)


def log_date(seconds: float) -> str:
    """`21/Nov/2025:04:47:00 +0000`, as access logs have it."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%d/%b/%Y:%H:%M:%S +0000")
