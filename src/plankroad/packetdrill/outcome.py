"""`Outcome`: how a script ended, and why."""

from __future__ import annotations

from typing import Final

PASSED: Final = "passed"
FAILED: Final = "failed"
NOT_APPLICABLE: Final = "not_applicable"


class Outcome:
    """`status` is one of `PASSED`, `FAILED`, `NOT_APPLICABLE`; `why` is "" for the first.

    `line` is that of the script where it failed (0: of none); `detail` a table of what was expected and what came, or
    other lines that help.
    """

    __slots__ = ("detail", "file", "line", "status", "why")

    def __init__(self, file: str, status: str, why: str = "", line: int = 0, detail: str = "") -> None:
        self.file = file
        self.status = status
        self.why = why
        self.line = line
        self.detail = detail

    @property
    def passed(self) -> bool:
        """It did."""
        return self.status == PASSED

    @property
    def place(self) -> str:
        """`file:line`, or the file alone."""
        return f"{self.file}:{self.line}" if self.line else self.file

    def text(self) -> str:
        """For people: a line, and the detail under it."""
        if self.status == PASSED:
            return f"{self.file}: passed"
        head = f"{self.place}: {'not applicable: ' if self.status == NOT_APPLICABLE else ''}{self.why}"
        if not self.detail:
            return head
        return head + "\n" + "\n".join(f"    {line}" for line in self.detail.splitlines())

    def as_dict(self) -> dict[str, str]:
        """For programs: `file`, `status`, `why`."""
        why = self.why
        if self.status != PASSED and self.line:
            why = f"line {self.line}: {why}"
        if self.detail:
            why += "\n" + self.detail
        return {"file": self.file, "status": self.status, "why": why}

    def __repr__(self) -> str:
        return f"<Outcome {self.text()}>"


class NotMetError(Exception):
    """An expectation is not met: at which line, what is wrong, and what helps to see it."""

    def __init__(self, line: int, why: str, detail: str = "") -> None:
        super().__init__(why)
        self.line = line
        self.why = why
        self.detail = detail
