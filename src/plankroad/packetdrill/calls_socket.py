"""System calls about a socket itself: what a script's arguments become, and what is checked when they return."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from plankroad.packetdrill.binding import (
    Arguments,
    Binder,
    Prepared,
    check_name,
    descriptor,
    name_in,
)
from plankroad.packetdrill.expressions import Anything, differences
from plankroad.packetdrill.structures import option_bytes, option_differences
from plankroad.testing.call import Call


def _socket(binder: Binder, prepared: Prepared, args: Arguments) -> None:
    args.count(3)
    prepared.gives_fd = True
    prepared.arguments = [args.number(0, binder.family()), args.number(1), args.number(2, 0)]


def _bind(binder: Binder, prepared: Prepared, args: Arguments) -> None:
    args.count(3)
    prepared.arguments = [descriptor(binder, prepared, args), name_in(binder, args, 1, binder.own_name())]


def _connect(binder: Binder, prepared: Prepared, args: Arguments) -> None:
    args.count(3)
    prepared.arguments = [descriptor(binder, prepared, args), name_in(binder, args, 1, binder.peer_name())]


def _listen(binder: Binder, prepared: Prepared, args: Arguments) -> None:
    args.count(2)
    prepared.arguments = [descriptor(binder, prepared, args), args.number(1)]


def _accept(binder: Binder, prepared: Prepared, args: Arguments) -> None:
    four = prepared.kind == "accept4"
    args.count(4 if four else 3)
    prepared.gives_fd = True
    prepared.arguments = [descriptor(binder, prepared, args)]
    if four:
        prepared.arguments.append(args.number(3))
    check = check_name(args, 1)
    if check is not None:
        prepared.checks.append(check)


def _fcntl(binder: Binder, prepared: Prepared, args: Arguments) -> None:
    args.count(2, 3)
    prepared.arguments = [
        descriptor(binder, prepared, args),
        args.number(1),
        args.number(2) if len(args.values) == 3 else 0,
    ]


def _ioctl(binder: Binder, prepared: Prepared, args: Arguments) -> None:
    args.count(2, 3)
    prepared.arguments = [descriptor(binder, prepared, args), args.number(1)]
    if len(args.values) == 3 and not args.is_null(2):
        value = args.values[2]
        if not isinstance(value, Anything) and not (isinstance(value, list) and len(value) == 1):
            raise args.wrong(2, "an array of one number, NULL or ...")

        def check(call: Call) -> list[str]:
            if call.value < 0 or isinstance(value, Anything):
                return []
            return differences(value, [call.number], "the number")

        prepared.checks.append(check)


def _close(binder: Binder, prepared: Prepared, args: Arguments) -> None:
    args.count(1)
    prepared.arguments = [descriptor(binder, prepared, args)]
    prepared.closes = args.number(0)


def _shutdown(binder: Binder, prepared: Prepared, args: Arguments) -> None:
    args.count(2)
    prepared.arguments = [descriptor(binder, prepared, args), args.number(1)]


def _getsockopt(binder: Binder, prepared: Prepared, args: Arguments) -> None:
    args.count(5)
    level, option = args.number(1), args.number(2)
    length = args.values[4]
    size = 4
    if isinstance(length, list) and len(length) == 1 and isinstance(length[0], int):
        size = length[0]
    elif isinstance(length, Anything):
        size = 4096
    elif not args.is_null(4):
        raise args.wrong(4, "the size in an array, such as [4]")
    prepared.arguments = [descriptor(binder, prepared, args), level, option, size]
    expected = args.values[3]
    where = args.place(3)

    def check(call: Call) -> list[str]:
        if call.value < 0:
            return []
        found = option_differences(level, option, expected, call.data, where)
        if not isinstance(length, Anything) and len(call.data) != size and not found:
            found.append(f"the option has {len(call.data)} bytes, expected {size}")
        return found

    prepared.checks.append(check)


def _setsockopt(binder: Binder, prepared: Prepared, args: Arguments) -> None:
    args.count(5)
    value = args.values[3]
    if args.is_null(3):
        data: bytes | None = None
    else:
        data = option_bytes(args.number(1), args.number(2), value, args.place(3))
        size = args.number(4, len(data))
        if size < 0:
            raise args.wrong(4, "a size")
        data = data[:size].ljust(min(size, 4096), b"\0") if size > len(data) else data[:size]
    prepared.arguments = [descriptor(binder, prepared, args), args.number(1), args.number(2), data]


MAKERS: Final[dict[str, Callable[[Binder, Prepared, Arguments], None]]] = {
    "socket": _socket,
    "bind": _bind,
    "listen": _listen,
    "accept": _accept,
    "accept4": _accept,
    "connect": _connect,
    "fcntl": _fcntl,
    "ioctl": _ioctl,
    "close": _close,
    "shutdown": _shutdown,
    "getsockopt": _getsockopt,
    "setsockopt": _setsockopt,
}
