"""The head of a packet script: the comment lines that it begins with, and what they say for machines to read.

    // SYN-SENT, RST without ACK: dropped.                       what the script shows, in words
    // Source: RFC 9293 section 3.10.7.3, second                 where it is written
    // Requirement: MUST-12, MUST-46                             ids of the RFC's table that it shows to be kept
    // Linux: differs, it answers with a RST                     it must fail on the kernel, and why
    // Linux: long, TIME-WAIT lasts a minute                     it is not run on the kernel in tests, and why
    // Linux: since 6.15, which has tcp_rto_max_ms               it is not run on an older kernel, and why

A field may stand on several lines, each beginning with its name. The head ends with the first line that is no comment.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

#: What `Head.linux` may begin with.
DIFFERS: Final = "differs"
LONG: Final = "long"
SINCE: Final = "since"

_FIELD: Final = re.compile(r"(Source|Requirement|Linux): *(.*)")
_SINCE: Final = re.compile(r"since (\d+)\.(\d+)")
_ID: Final = re.compile(r"(MUST|SHLD|MAY|REC)-\d+")


class Head:
    """`shows`: what the script shows. `sources` and `requirements` in the order of the text.

    `linux`: "" where the kernel passes, or `DIFFERS`, `LONG` or `SINCE`; `reason` why. `since`: the kernel's version.
    """

    __slots__ = ("linux", "reason", "requirements", "shows", "since", "sources")

    def __init__(self) -> None:
        self.shows = ""
        self.sources: list[str] = []
        self.requirements: list[str] = []
        self.linux = ""
        self.reason = ""
        self.since = (0, 0)


def parse_head(text: str) -> Head:
    """The head of a script's text. Raises ValueError for a field that cannot be read."""
    head = Head()
    words: list[str] = []
    for line in text.splitlines():
        if not line.startswith("//"):
            break
        comment = line[2:].strip()
        match = _FIELD.fullmatch(comment)
        if match is None:
            words.append(comment)
        elif match[1] == "Source":
            head.sources.append(match[2])
        elif match[1] == "Requirement":
            ids = [one.strip() for one in match[2].split(",")]
            for one in ids:
                if not _ID.fullmatch(one):
                    raise ValueError(f"{one!r} is no requirement's id, as MUST-12 or SHLD-3")
            head.requirements += ids
        else:
            head.linux, _, head.reason = (part.strip() for part in match[2].partition(","))
            since = _SINCE.fullmatch(head.linux)
            if since:
                head.linux = SINCE
                head.since = (int(since[1]), int(since[2]))
            if not (since or head.linux in (DIFFERS, LONG)) or not head.reason:
                raise ValueError(
                    f'"Linux: {match[2]}": it must be "{DIFFERS}, why", "{LONG}, why" or "{SINCE} 6.15, why"'
                )
    head.shows = " ".join(words)
    return head


def read_head(path: Path) -> Head:
    """The head of a script. Raises ValueError with the file's name for a field that cannot be read."""
    try:
        return parse_head(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
