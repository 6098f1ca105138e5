"""What a script's system call is bound to: its arguments' values, the ground's descriptors, the names that `...` means.

A `Prepared` call has the ground's arguments and the checks on what comes back; `syscalls` makes it, with the functions
of `calls_socket`, `calls_data` and `calls_ready`. Descriptors are the script's numbers; `Descriptors` tells which of
the ground's they stand for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

from plankroad.packetdrill.errors import BadScriptError
from plankroad.packetdrill.expressions import ANYTHING, Anything, Record, Value
from plankroad.packetdrill.flow import pattern
from plankroad.packetdrill.ground import IPV4, Settings
from plankroad.packetdrill.structures import sock_name
from plankroad.packetdrill.syntax import Location, Symbol, Syscall
from plankroad.testing.abi import AF_UNSPEC
from plankroad.testing.call import Call, SockName

#: A check: lines that say what is not as expected, [] where all is.
Check: TypeAlias = Callable[[Call], list[str]]

_AF_INET: Final = 2
_AF_INET6: Final = 10


class Descriptors:
    """The script's descriptors and the ground's."""

    def __init__(self) -> None:
        self.live: dict[int, int] = {}

    def get(self, fd: int) -> int:
        """The ground's number; one that nobody opened is the same there, and as wrong."""
        return self.live.get(fd, fd if fd < 0 else fd + _UNKNOWN)

    def bind(self, script: int, live: int) -> None:
        """The script's number `script` stands for `live` from now on."""
        self.live[script] = live

    def forget(self, script: int) -> None:
        """It was closed."""
        self.live.pop(script, None)


#: Added to a number that the script made up, so that it is nobody else's on the ground.
_UNKNOWN: Final = 100_000


class Prepared:
    """A call ready to be made. `opens`: the script's numbers for the descriptors that it gives, by the result or by
    `Call.fds`; `closes`: the script's number that is gone afterwards.
    """

    __slots__ = ("arguments", "checks", "closes", "expected", "fd", "gives_fd", "kind", "opens", "writes")

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.arguments: list[object] = []
        self.checks: list[Check] = []
        self.expected: Value = ANYTHING
        self.gives_fd = False
        self.opens: tuple[int, int] | None = None
        self.closes = -1
        #: The script's descriptor that it works on, -1 where there is none.
        self.fd = -1
        #: Bytes that it is to write.
        self.writes = b""


class Streams:
    """What the script's program has written to each of its descriptors, so that `...` can stand for new bytes."""

    def __init__(self) -> None:
        self.written: dict[int, int] = {}


def filler(offset: int, count: int) -> bytes:
    """The bytes that `...` stands for at `offset` of a stream."""
    if count <= 65536:
        return pattern(offset, count)
    parts = []
    while count > 0:
        piece = pattern(offset, min(count, 65536))
        parts.append(piece)
        offset += len(piece)
        count -= len(piece)
    return b"".join(parts)


class Binder:
    """What the calls of one run have in common."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.descriptors = Descriptors()
        self.streams = Streams()

    def family(self) -> int:
        """The family of `...` in socket()."""
        return _AF_INET if self.settings.ip_version == IPV4 else _AF_INET6

    def own_name(self) -> SockName:
        """What `...` means in bind()."""
        return self._name(self.settings.local, self.settings.bind_port)

    def peer_name(self) -> SockName:
        """What `...` means in connect()."""
        return self._name(self.settings.remote, self.settings.connect_port)

    def _name(self, address: bytes, port: int) -> SockName:
        if self.family() == _AF_INET:
            return SockName(_AF_INET, address, port)
        if len(address) == 4:
            address = bytes(10) + b"\xff\xff" + address
        return SockName(_AF_INET6, address, port)


class Arguments:
    """The values of a call's arguments, taken in order or by place; what is wrong is told with the place."""

    __slots__ = ("syscall", "values")

    def __init__(self, values: list[Value], syscall: Syscall) -> None:
        self.values = values
        self.syscall = syscall

    def count(self, *allowed: int) -> None:
        """There must be so many."""
        if len(self.values) not in allowed:
            wanted = " or ".join(str(number) for number in allowed)
            raise BadScriptError(
                self.syscall.where,
                f"found {len(self.values)} arguments of {self.syscall.name}, expected {wanted}",
            )

    def wrong(self, at: int, what: str) -> BadScriptError:
        """The error about argument number `at`."""
        return BadScriptError(
            self.place(at), f"found {self.values[at]!r} as argument {at + 1} of {self.syscall.name}, expected {what}"
        )

    def place(self, at: int) -> Location:
        """Where argument number `at` stands."""
        return self.syscall.arguments[at].where

    def number(self, at: int, default: int | None = None) -> int:
        """An int, `default` for `...` where there is one."""
        value = self.values[at]
        if isinstance(value, Anything) and default is not None:
            return default
        if not isinstance(value, int):
            raise self.wrong(at, "a number")
        return value

    def is_null(self, at: int) -> bool:
        """NULL stands there."""
        return self.values[at] == 0 and isinstance(self.values[at], int)


def descriptor(binder: Binder, prepared: Prepared, args: Arguments, at: int = 0) -> int:
    """The ground's number of the descriptor that is argument `at`."""
    script = args.number(at)
    if at == 0:
        prepared.fd = script
    return binder.descriptors.get(script)


def name_in(binder: Binder, args: Arguments, at: int, default: SockName) -> SockName | None:
    """A socket name that goes into a call; `...` is the default."""
    value = args.values[at]
    if isinstance(value, Anything):
        return default
    argument = args.syscall.arguments[at]
    if isinstance(argument, Symbol) and argument.name == "AF_UNSPEC":
        return SockName(AF_UNSPEC, b"", 0)
    if args.is_null(at):
        return None
    if isinstance(value, Record):
        return sock_name(value, args.place(at))
    raise args.wrong(at, "a socket name, NULL or ...")


def check_name(args: Arguments, at: int) -> Check | None:
    """A check on a socket name that comes out of a call."""
    value = args.values[at]
    if isinstance(value, Anything) or args.is_null(at):
        return None
    if not isinstance(value, Record):
        raise args.wrong(at, "a socket name, NULL or ...")
    expected = sock_name(value, args.place(at))

    def check(call: Call) -> list[str]:
        if call.value < 0 or call.name == expected:
            return []
        return [f"the name is {call.name}, expected {expected}"]

    return check


def check_count(args: Arguments, at: int, count: int) -> None:
    """Argument `at` says how many there are."""
    if args.number(at, count) != count:
        raise args.wrong(at, f"{count}, as many as there are")
