"""What the RFCs ask for, as data: the three TOML files beside this one."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).resolve().parent

KEPT: Final = "kept"
KEPT_OPTIONALLY: Final = "kept optionally"
DEVIATES: Final = "deviates"
NOT_TAKEN: Final = "not taken"
PROGRAMS: Final = "programs'"
STATUSES: Final = (KEPT, KEPT_OPTIONALLY, DEVIATES, NOT_TAKEN, PROGRAMS)

LEVELS: Final = ("MUST", "MUST NOT", "SHOULD", "SHOULD NOT", "RECOMMENDED", "MAY")
#: Levels that count as one in totals.
LEVEL_NAMES: Final = {
    "MUST": "MUST",
    "MUST NOT": "MUST",
    "SHOULD": "SHOULD",
    "SHOULD NOT": "SHOULD",
    "RECOMMENDED": "SHOULD",
    "MAY": "MAY",
}


class Requirement:
    """One requirement: `id`, the RFC's `section` and `level`, our words for it, what we do about it and why.

    `goes_with`: the id of the MAY without which it asks for nothing, or "".
    """

    __slots__ = ("goes_with", "id", "level", "note", "section", "status", "text")

    def __init__(self, identifier: str, fields: dict[str, str]) -> None:
        self.id = identifier
        self.section = fields["section"]
        self.level = fields["level"]
        self.text = fields["text"]
        self.status = fields["status"]
        self.note = fields.get("note", "")
        self.goes_with = fields.get("with", "")

    @property
    def kind(self) -> str:
        """MUST, SHOULD or MAY."""
        return LEVEL_NAMES[self.level]


class Beyond:
    """What we do without being asked to: a name of our own, words, and the RFC or nothing."""

    __slots__ = ("id", "source", "text")

    def __init__(self, identifier: str, fields: dict[str, str]) -> None:
        self.id = identifier
        self.text = fields["text"]
        self.source = fields["source"]


def _load(name: str) -> dict[str, dict[str, str]]:
    return tomllib.loads((HERE / name).read_text(encoding="utf-8"))


def rfc9293() -> list[Requirement]:
    """Appendix B of RFC 9293, all 119."""
    return [Requirement(identifier, fields) for identifier, fields in _load("rfc9293.toml").items()]


def rfc1122() -> list[Requirement]:
    """The tables of sections 3.5 and 4.1.5 of RFC 1122."""
    return [
        Requirement(identifier, fields)
        for identifier, fields in _load("rfc1122.toml").items()
        if identifier != "replaced"
    ]


def replaced() -> dict[str, list[str]]:
    """Sections of RFC 1122's 4.2 (TCP), and the ids of RFC 9293 that stand in their place."""
    table: dict[str, list[str]] = tomllib.loads((HERE / "rfc1122.toml").read_text(encoding="utf-8"))["replaced"]
    return table


def beyond() -> list[Beyond]:
    """What no requirement asks for."""
    return [Beyond(identifier, fields) for identifier, fields in _load("beyond.toml").items()]


def known_ids() -> set[str]:
    """Every id that a test may claim."""
    return {each.id for each in [*rfc9293(), *rfc1122()]} | {each.id for each in beyond()}
