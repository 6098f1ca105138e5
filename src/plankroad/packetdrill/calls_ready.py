"""System calls that ask which descriptors are ready: poll and epoll."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from plankroad.packetdrill.binding import (
    Arguments,
    Binder,
    Prepared,
    check_count,
    descriptor,
)
from plankroad.packetdrill.errors import BadScriptError
from plankroad.packetdrill.expressions import ANYTHING, Anything, Record, Value
from plankroad.testing.call import Call


def _poll(binder: Binder, prepared: Prepared, args: Arguments) -> None:
    args.count(3)
    entries = args.values[0]
    if not isinstance(entries, list):
        raise args.wrong(0, "an array of pollfd, such as [{fd=4, events=POLLIN, revents=POLLIN}]")
    pairs: list[tuple[int, int]] = []
    wanted: list[Value] = []
    for entry in entries:
        if not isinstance(entry, Record):
            raise args.wrong(0, "an array of pollfd, such as [{fd=4, events=POLLIN, revents=POLLIN}]")
        fd, events = entry.named.get("fd"), entry.named.get("events")
        if not isinstance(fd, int) or not isinstance(events, int):
            raise args.wrong(0, "numbers as fd and events")
        pairs.append((binder.descriptors.get(fd), events))
        wanted.append(entry.named.get("revents", ANYTHING))
    check_count(args, 1, len(pairs))
    prepared.arguments = [pairs, args.number(2)]

    def check(call: Call) -> list[str]:
        found: list[str] = []
        for i, expected in enumerate(wanted):
            got = call.ready[i][1] if i < len(call.ready) else 0
            if not isinstance(expected, Anything) and expected != got:
                found.append(f"revents of entry {i + 1}: expected {_poll_text(expected)}, got {_poll_text(got)}")
        return found

    prepared.checks.append(check)


_POLL_NAMES: Final = (
    (1, "POLLIN"),
    (2, "POLLPRI"),
    (4, "POLLOUT"),
    (8, "POLLERR"),
    (16, "POLLHUP"),
    (32, "POLLNVAL"),
    (0x2000, "POLLRDHUP"),
)


def _poll_text(bits: object) -> str:
    """Events of poll and epoll in words."""
    if not isinstance(bits, int):
        return repr(bits)
    names = [name for bit, name in _POLL_NAMES if bits & bit]
    rest = bits & ~sum(bit for bit, _ in _POLL_NAMES)
    if rest or not names:
        names.append(hex(rest) if rest else "0")
    return "|".join(names)


def _epoll_create(binder: Binder, prepared: Prepared, args: Arguments) -> None:
    args.count(1)
    prepared.gives_fd = True
    prepared.arguments = [args.number(0)]


_EPOLL_DATA: Final = ("fd", "ptr", "u32", "u64")


def _epoll_event(args: Arguments, at: int, value: Value) -> tuple[Value, Value]:
    """Events and the program's number of an epoll_event."""
    if not isinstance(value, Record):
        raise args.wrong(at, "an epoll_event such as {events=EPOLLIN, fd=4}")
    data: Value = ANYTHING
    for name in value.named:
        if name in _EPOLL_DATA:
            data = value.named[name]
        elif name != "events":
            raise BadScriptError(args.place(at), f'found "{name}" in an epoll_event, expected events and fd')
    return value.named.get("events", ANYTHING), data


def _epoll_ctl(binder: Binder, prepared: Prepared, args: Arguments) -> None:
    args.count(4)
    events: Value = 0
    data: Value = 0
    if not args.is_null(3):
        events, data = _epoll_event(args, 3, args.values[3])
    if not isinstance(events, int) or not isinstance(data, int):
        raise args.wrong(3, "numbers as events and data")
    prepared.arguments = [
        descriptor(binder, prepared, args),
        args.number(1),
        binder.descriptors.get(args.number(2)),
        events,
        data,
    ]


def _epoll_wait(binder: Binder, prepared: Prepared, args: Arguments) -> None:
    args.count(4)
    value = args.values[1]
    if isinstance(value, Anything):
        wanted = []
    else:
        wanted = [_epoll_event(args, 1, item) for item in (value if isinstance(value, list) else [value])]
    prepared.arguments = [descriptor(binder, prepared, args), args.number(2), args.number(3)]

    def check(call: Call) -> list[str]:
        found: list[str] = []
        for i, (events, data) in enumerate(wanted):
            got = call.ready[i] if i < len(call.ready) else (0, 0)
            if not isinstance(events, Anything) and events != got[1]:
                found.append(f"event {i + 1}: expected {_poll_text(events)}, got {_poll_text(got[1])}")
            if not isinstance(data, Anything) and data != got[0]:
                found.append(f"data of event {i + 1}: expected {data!r}, got {got[0]}")
        return found

    prepared.checks.append(check)


MAKERS: Final[dict[str, Callable[[Binder, Prepared, Arguments], None]]] = {
    "poll": _poll,
    "epoll_create": _epoll_create,
    "epoll_create1": _epoll_create,
    "epoll_ctl": _epoll_ctl,
    "epoll_wait": _epoll_wait,
}
