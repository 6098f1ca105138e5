"""Counters as text and as a dict: `netstat -s` for this stack.

Counters objects have `as_dict() -> dict[str, int]` and names that say the cause (`bad_checksum`, `timeouts`); that
is all that is known of them here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol


class Counted(Protocol):
    """What has counters."""

    def as_dict(self) -> dict[str, int]:
        """The counters by name."""


def collect(groups: Mapping[str, Counted]) -> dict[str, dict[str, int]]:
    """A copy of all counters now: `{"tcp": {"segments_received": 5, ...}, ...}`, in the order given."""
    result: dict[str, dict[str, int]] = {}
    for name, counters in groups.items():
        result[name] = dict(counters.as_dict())
    return result


def difference(
    before: Mapping[str, Mapping[str, int]], after: Mapping[str, Mapping[str, int]]
) -> dict[str, dict[str, int]]:
    """What happened between two `collect`s. A counter that was not there before counts from 0."""
    result: dict[str, dict[str, int]] = {}
    for group, counters in after.items():
        old = before.get(group, {})
        result[group] = {name: value - old.get(name, 0) for name, value in counters.items()}
    return result


def add(total: dict[str, dict[str, int]], more: Mapping[str, Mapping[str, int]]) -> None:
    """Add the counters of another stack to `total`, in place."""
    for group, counters in more.items():
        into = total.setdefault(group, {})
        for name, value in counters.items():
            into[name] = into.get(name, 0) + value


def format_counters(groups: Mapping[str, Mapping[str, int]], *, zeros: bool = False) -> str:
    """Text like that of `netstat -s`, a line a counter, with thousands set apart.

    Counters that stand at 0 are left out unless `zeros`; a group without any line says so.

        Tcp:
            1,204 segments received
                3 bad checksum
    """
    width = 1
    for counters in groups.values():
        for value in counters.values():
            if value or zeros:
                width = max(width, len(f"{value:,}"))
    lines: list[str] = []
    for group, counters in groups.items():
        lines.append(f"{title(group)}:")
        found = False
        for name, value in counters.items():
            if value or zeros:
                lines.append(f"    {value:>{width},} {name.replace('_', ' ')}")
                found = True
        if not found:
            lines.append("    nothing")
    return "\n".join(lines)


def title(group: str) -> str:
    """`tcp` as `Tcp`, as netstat has it; a name with capitals of its own stays."""
    return group[:1].upper() + group[1:] if group.islower() else group
