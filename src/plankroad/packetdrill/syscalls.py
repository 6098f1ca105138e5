"""System calls of a script: their arguments as a `Ground` takes them, and what they left against what was expected.

`prepare` turns a `Syscall` into a `Prepared` one: the ground's arguments, and the checks on what comes back.
Descriptors are the script's numbers; which of the ground's they stand for is in `Descriptors`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

from plankroad.packetdrill.constants import ERRORS, error_name
from plankroad.packetdrill.errors import BadScriptError
from plankroad.packetdrill.expressions import (
    ANYTHING,
    Anything,
    Record,
    Text,
    Value,
    differences,
    evaluate,
)
from plankroad.packetdrill.flow import pattern
from plankroad.packetdrill.ground import IPV4, Settings
from plankroad.packetdrill.structures import (
    control_value,
    option_bytes,
    option_differences,
    sock_name,
)
from plankroad.packetdrill.syntax import Location, Symbol, Syscall
from plankroad.testing.abi import AF_UNSPEC
from plankroad.testing.call import BadBuffer, Call, SockName

#: A check: lines that say what is not as expected, [] where all is.
Check: TypeAlias = Callable[[Call], list[str]]

_AF_INET: Final = 2
_AF_INET6: Final = 10

#: The largest buffer that a call may have.
_MOST: Final = 1 << 30


class Descriptors:
    """The script's descriptors and the ground's. `epolls`: what a script's epoll descriptor watches is told by it."""

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

    def fresh(self, fd: int, count: int) -> bytes:
        """`count` bytes that continue what was written to `fd`."""
        return filler(self.written.get(fd, 0), count)


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
    """Makes `Prepared` calls for one run."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.descriptors = Descriptors()
        self.streams = Streams()

    def prepare(self, syscall: Syscall) -> Prepared:
        """Raises BadScriptError for a call that the language does not have, and for arguments that are not its."""
        maker = _MAKERS.get(syscall.name)
        if maker is None:
            raise BadScriptError(
                syscall.where, f'found the system call "{syscall.name}", expected one of {", ".join(sorted(_MAKERS))}'
            )
        prepared = Prepared(syscall.name)
        prepared.expected = evaluate(syscall.result)
        values = [evaluate(argument) for argument in syscall.arguments]
        maker(self, prepared, Arguments(values, syscall))
        return prepared

    def finish(self, syscall: Syscall, prepared: Prepared, call: Call) -> list[str]:
        """The call has returned: note what it opened and closed, and say how it is not what the script expects."""
        found = _result_differences(syscall, prepared, call)
        if prepared.closes >= 0 and call.value == 0:
            self.descriptors.forget(prepared.closes)
        if prepared.gives_fd and call.value >= 0 and isinstance(prepared.expected, int) and prepared.expected >= 0:
            self.descriptors.bind(prepared.expected, call.value)
        if prepared.opens is not None and call.value == 0:
            self.descriptors.bind(prepared.opens[0], call.fds[0])
            self.descriptors.bind(prepared.opens[1], call.fds[1])
        if prepared.writes and call.value > 0:
            written = self.streams.written
            written[prepared.fd] = written.get(prepared.fd, 0) + call.value
        if prepared.gives_fd and isinstance(prepared.expected, int):
            self.streams.written.pop(prepared.expected, None)
        if not found:
            for check in prepared.checks:
                found += check(call)
        return found

    # Names

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


def _result_differences(syscall: Syscall, prepared: Prepared, call: Call) -> list[str]:
    """The return value and errno against what the script expects."""
    expected = prepared.expected
    if isinstance(expected, Anything):
        return []
    if not isinstance(expected, int):
        raise BadScriptError(syscall.where, f"found {expected!r} as the result of {syscall.name}, expected a number")
    got = str(call.value)
    if call.value < 0:
        got += f" {error_name(call.errno)}"
    if prepared.gives_fd and expected >= 0 and call.value >= 0:
        return []
    if expected != call.value:
        wanted = f"{expected} {syscall.errno}".rstrip()
        return [f"{syscall.name} returned {got}, expected {wanted}"]
    if syscall.errno:
        number = ERRORS.get(syscall.errno)
        if number is None:
            raise BadScriptError(syscall.where, f'found the error "{syscall.errno}", expected one that Linux has')
        if expected != -1:
            raise BadScriptError(syscall.where, f'found the error "{syscall.errno}" with the result {expected}')
        if number != call.errno:
            return [f"{syscall.name} failed with {error_name(call.errno)}, expected {syscall.errno}"]
    return []


# What each call makes of its arguments.


def _fd(binder: Binder, prepared: Prepared, args: Arguments, at: int = 0) -> int:
    script = args.number(at)
    if at == 0:
        prepared.fd = script
    return binder.descriptors.get(script)


def _socket(binder: Binder, prepared: Prepared, args: Arguments) -> None:
    args.count(3)
    prepared.gives_fd = True
    prepared.arguments = [args.number(0, binder.family()), args.number(1), args.number(2, 0)]


def _name_in(binder: Binder, args: Arguments, at: int, default: SockName) -> SockName | None:
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


def _check_name(args: Arguments, at: int) -> Check | None:
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


def _bind(binder: Binder, prepared: Prepared, args: Arguments) -> None:
    args.count(3)
    prepared.arguments = [_fd(binder, prepared, args), _name_in(binder, args, 1, binder.own_name())]


def _connect(binder: Binder, prepared: Prepared, args: Arguments) -> None:
    args.count(3)
    prepared.arguments = [_fd(binder, prepared, args), _name_in(binder, args, 1, binder.peer_name())]


def _listen(binder: Binder, prepared: Prepared, args: Arguments) -> None:
    args.count(2)
    prepared.arguments = [_fd(binder, prepared, args), args.number(1)]


def _accept(binder: Binder, prepared: Prepared, args: Arguments) -> None:
    four = prepared.kind == "accept4"
    args.count(4 if four else 3)
    prepared.gives_fd = True
    prepared.arguments = [_fd(binder, prepared, args)]
    if four:
        prepared.arguments.append(args.number(3))
    check = _check_name(args, 1)
    if check is not None:
        prepared.checks.append(check)


def _room(args: Arguments, at: int, count: int) -> int | BadBuffer:
    """The buffer of a call that reads."""
    if not 0 <= count <= _MOST:
        raise args.wrong(at, f"a size of 0 to {_MOST} bytes")
    return BadBuffer(count) if args.is_null(at) else count


def _check_data(expected: Value) -> Check:
    def check(call: Call) -> list[str]:
        if call.value < 0 or isinstance(expected, Anything) or expected == 0:
            return []
        return differences(expected, call.data, "the data")

    return check


def _read(binder: Binder, prepared: Prepared, args: Arguments) -> None:
    args.count({"read": 3, "recv": 4, "recvfrom": 6}[prepared.kind])
    prepared.arguments = [_fd(binder, prepared, args), _room(args, 1, args.number(2))]
    if prepared.kind != "read":
        prepared.arguments.append(args.number(3))
    prepared.checks.append(_check_data(args.values[1]))
    if prepared.kind == "recvfrom":
        check = _check_name(args, 4)
        if check is not None:
            prepared.checks.append(check)


def _vector(args: Arguments, at: int, value: Value) -> list[tuple[Value, int]]:
    """The buffers of an iovec: what is in each, and its size."""
    if not isinstance(value, list):
        raise args.wrong(at, "a vector such as [{..., 1000}]")
    found: list[tuple[Value, int]] = []
    for item in value:
        if not isinstance(item, Record) or len(item.items) != 2 or not isinstance(item.items[1], int):
            raise args.wrong(at, "a vector such as [{..., 1000}]")
        if not 0 <= item.items[1] <= _MOST:
            raise args.wrong(at, f"sizes of 0 to {_MOST} bytes")
        found.append((item.items[0], item.items[1]))
    return found


def _counts(vector: list[tuple[Value, int]]) -> list[int | BadBuffer]:
    return [BadBuffer(size) if base == 0 and isinstance(base, int) else size for base, size in vector]


def _check_vector(vector: list[tuple[Value, int]]) -> Check:
    def check(call: Call) -> list[str]:
        found: list[str] = []
        at = 0
        for i, (expected, size) in enumerate(vector):
            piece = call.data[at : at + size]
            at += size
            if isinstance(expected, Text) and call.value >= 0:
                found += differences(expected, piece, f"buffer {i + 1}")
        return found

    return check


def _readv(binder: Binder, prepared: Prepared, args: Arguments) -> None:
    args.count(3)
    vector = _vector(args, 1, args.values[1])
    _check_count(args, 2, len(vector))
    prepared.arguments = [_fd(binder, prepared, args), _counts(vector)]
    prepared.checks.append(_check_vector(vector))


def _check_count(args: Arguments, at: int, count: int) -> None:
    if args.number(at, count) != count:
        raise args.wrong(at, f"{count}, as many as there are")


def _message(args: Arguments, at: int) -> Record:
    value = args.values[at]
    if not isinstance(value, Record) or "msg_iov" not in value.named:
        raise args.wrong(at, "a msghdr such as {msg_name(...)=..., msg_iov(1)=[{..., 1000}], msg_flags=0}")
    known = ("msg_name", "msg_iov", "msg_flags", "msg_control")
    for name in value.named:
        if name not in known:
            raise BadScriptError(args.place(at), f'found "{name}" in a msghdr, expected {", ".join(known)}')
    return value


def _recvmsg(binder: Binder, prepared: Prepared, args: Arguments) -> None:
    args.count(3)
    message = _message(args, 1)
    vector = _vector(args, 1, message.named["msg_iov"])
    control = message.named.get("msg_control", 0)
    room = 0 if control == 0 else 4096
    prepared.arguments = [_fd(binder, prepared, args), _counts(vector), args.number(2), room]
    prepared.checks.append(_check_vector(vector))
    flags = message.named.get("msg_flags", ANYTHING)
    name = message.named.get("msg_name", ANYTHING)

    def check(call: Call) -> list[str]:
        if call.value < 0:
            return []
        found = differences(flags, call.flags, "msg_flags")
        if isinstance(name, Record):
            expected = sock_name(name, args.place(1))
            if call.name != expected:
                found.append(f"msg_name: expected {expected}, got {call.name}")
        if control != 0:
            found += differences(control, [control_value(*one) for one in call.control], "msg_control")
        return found

    prepared.checks.append(check)


def _bytes_of(
    binder: Binder, prepared: Prepared, args: Arguments, at: int, base: Value, count: int, ahead: int
) -> bytes | BadBuffer:
    """What a buffer of a writing call holds; `ahead` bytes of the same call come before it."""
    if not 0 <= count <= _MOST:
        raise args.wrong(at, f"a size of 0 to {_MOST} bytes")
    if isinstance(base, Anything):
        return filler(binder.streams.written.get(prepared.fd, 0) + ahead, count)
    if isinstance(base, Text):
        if len(base.data) < count and not base.open_end:
            raise args.wrong(at, f"a string of at least {count} bytes")
        return base.data[:count] + bytes(max(0, count - len(base.data)))
    if isinstance(base, int) and base == 0:
        return BadBuffer(count)
    raise args.wrong(at, "a string, NULL or ...")


def _write(binder: Binder, prepared: Prepared, args: Arguments) -> None:
    args.count({"write": 3, "send": 4, "sendto": 6}[prepared.kind])
    fd = _fd(binder, prepared, args)
    data = _bytes_of(binder, prepared, args, 1, args.values[1], args.number(2), 0)
    prepared.arguments = [fd, data]
    if isinstance(data, bytes):
        prepared.writes = data
    if prepared.kind != "write":
        prepared.arguments.append(args.number(3))
    if prepared.kind == "sendto":
        prepared.arguments.append(_name_in(binder, args, 4, binder.peer_name()))


def _pieces(binder: Binder, prepared: Prepared, args: Arguments, at: int, value: Value) -> list[bytes | BadBuffer]:
    pieces: list[bytes | BadBuffer] = []
    ahead = 0
    for base, size in _vector(args, at, value):
        pieces.append(_bytes_of(binder, prepared, args, at, base, size, ahead))
        ahead += size
    prepared.writes = b"".join(piece for piece in pieces if isinstance(piece, bytes))
    return pieces


def _writev(binder: Binder, prepared: Prepared, args: Arguments) -> None:
    args.count(3)
    fd = _fd(binder, prepared, args)
    pieces = _pieces(binder, prepared, args, 1, args.values[1])
    _check_count(args, 2, len(pieces))
    prepared.arguments = [fd, pieces]


def _sendmsg(binder: Binder, prepared: Prepared, args: Arguments) -> None:
    args.count(3)
    message = _message(args, 1)
    fd = _fd(binder, prepared, args)
    pieces = _pieces(binder, prepared, args, 1, message.named["msg_iov"])
    name = message.named.get("msg_name", ANYTHING)
    target: SockName | None = None
    if isinstance(name, Anything):
        target = binder.peer_name()
    elif isinstance(name, Record):
        target = sock_name(name, args.place(1))
    control = message.named.get("msg_control", [])
    if control not in ([], 0):
        raise BadScriptError(args.place(1), "found msg_control in sendmsg, expected none: it has no meaning here")
    prepared.arguments = [fd, pieces, args.number(2), target, []]


def _fcntl(binder: Binder, prepared: Prepared, args: Arguments) -> None:
    args.count(2, 3)
    prepared.arguments = [_fd(binder, prepared, args), args.number(1), args.number(2) if len(args.values) == 3 else 0]


def _ioctl(binder: Binder, prepared: Prepared, args: Arguments) -> None:
    args.count(2, 3)
    prepared.arguments = [_fd(binder, prepared, args), args.number(1)]
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
    prepared.arguments = [_fd(binder, prepared, args)]
    prepared.closes = args.number(0)


def _shutdown(binder: Binder, prepared: Prepared, args: Arguments) -> None:
    args.count(2)
    prepared.arguments = [_fd(binder, prepared, args), args.number(1)]


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
    prepared.arguments = [_fd(binder, prepared, args), level, option, size]
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
    prepared.arguments = [_fd(binder, prepared, args), args.number(1), args.number(2), data]


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
    _check_count(args, 1, len(pairs))
    prepared.arguments = [pairs, args.number(2)]

    def check(call: Call) -> list[str]:
        found: list[str] = []
        for i, expected in enumerate(wanted):
            got = call.ready[i][1] if i < len(call.ready) else 0
            if not isinstance(expected, Anything) and expected != got:
                found.append(f"revents of entry {i + 1}: expected {poll_text(expected)}, got {poll_text(got)}")
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


def poll_text(bits: object) -> str:
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
        _fd(binder, prepared, args),
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
    prepared.arguments = [_fd(binder, prepared, args), args.number(2), args.number(3)]

    def check(call: Call) -> list[str]:
        found: list[str] = []
        for i, (events, data) in enumerate(wanted):
            got = call.ready[i] if i < len(call.ready) else (0, 0)
            if not isinstance(events, Anything) and events != got[1]:
                found.append(f"event {i + 1}: expected {poll_text(events)}, got {poll_text(got[1])}")
            if not isinstance(data, Anything) and data != got[0]:
                found.append(f"data of event {i + 1}: expected {data!r}, got {got[0]}")
        return found

    prepared.checks.append(check)


def _open(binder: Binder, prepared: Prepared, args: Arguments) -> None:
    args.count(2, 3)
    path = args.values[0]
    if not isinstance(path, Text):
        raise args.wrong(0, "a path")
    prepared.gives_fd = True
    prepared.arguments = [path.data.decode("utf-8", "surrogateescape"), args.number(1)]


def _pipe(binder: Binder, prepared: Prepared, args: Arguments) -> None:
    args.count(1)
    value = args.values[0]
    if not isinstance(value, list) or len(value) != 2:
        raise args.wrong(0, "an array of two numbers")
    reader, writer = value
    if not isinstance(reader, int) or not isinstance(writer, int):
        raise args.wrong(0, "an array of two numbers")
    prepared.opens = (reader, writer)


def _offset(args: Arguments, at: int) -> int | None:
    value = args.values[at]
    if args.is_null(at):
        return None
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], int):
        return value[0]
    raise args.wrong(at, "an offset in an array, or NULL")


def _sendfile(binder: Binder, prepared: Prepared, args: Arguments) -> None:
    args.count(4)
    prepared.arguments = [
        _fd(binder, prepared, args),
        binder.descriptors.get(args.number(1)),
        _offset(args, 2),
        args.number(3),
    ]


def _splice(binder: Binder, prepared: Prepared, args: Arguments) -> None:
    args.count(6)
    prepared.arguments = [
        _fd(binder, prepared, args),
        _offset(args, 1),
        binder.descriptors.get(args.number(2)),
        _offset(args, 3),
        args.number(4),
        args.number(5),
    ]


_MAKERS: Final[dict[str, Callable[[Binder, Prepared, Arguments], None]]] = {
    "socket": _socket,
    "bind": _bind,
    "listen": _listen,
    "accept": _accept,
    "accept4": _accept,
    "connect": _connect,
    "read": _read,
    "readv": _readv,
    "recv": _read,
    "recvfrom": _read,
    "recvmsg": _recvmsg,
    "write": _write,
    "writev": _writev,
    "send": _write,
    "sendto": _write,
    "sendmsg": _sendmsg,
    "fcntl": _fcntl,
    "ioctl": _ioctl,
    "close": _close,
    "shutdown": _shutdown,
    "getsockopt": _getsockopt,
    "setsockopt": _setsockopt,
    "poll": _poll,
    "epoll_create": _epoll_create,
    "epoll_create1": _epoll_create,
    "epoll_ctl": _epoll_ctl,
    "epoll_wait": _epoll_wait,
    "open": _open,
    "pipe": _pipe,
    "sendfile": _sendfile,
    "splice": _splice,
}
