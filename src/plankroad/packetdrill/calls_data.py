"""System calls that move data: buffers and vectors of a script, and what came in against what it expects."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from plankroad.packetdrill.binding import (
    Arguments,
    Binder,
    Check,
    Prepared,
    check_count,
    check_name,
    descriptor,
    filler,
    name_in,
)
from plankroad.packetdrill.errors import BadScriptError
from plankroad.packetdrill.expressions import ANYTHING, Anything, Record, Text, Value, differences
from plankroad.packetdrill.structures import control_value, sock_name
from plankroad.testing.call import BadBuffer, Call, SockName

#: The largest buffer that a call may have.
_MOST: Final = 1 << 30


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
    prepared.arguments = [descriptor(binder, prepared, args), _room(args, 1, args.number(2))]
    if prepared.kind != "read":
        prepared.arguments.append(args.number(3))
    prepared.checks.append(_check_data(args.values[1]))
    if prepared.kind == "recvfrom":
        check = check_name(args, 4)
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
    check_count(args, 2, len(vector))
    prepared.arguments = [descriptor(binder, prepared, args), _counts(vector)]
    prepared.checks.append(_check_vector(vector))


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
    prepared.arguments = [descriptor(binder, prepared, args), _counts(vector), args.number(2), room]
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
    fd = descriptor(binder, prepared, args)
    data = _bytes_of(binder, prepared, args, 1, args.values[1], args.number(2), 0)
    prepared.arguments = [fd, data]
    if isinstance(data, bytes):
        prepared.writes = data
    if prepared.kind != "write":
        prepared.arguments.append(args.number(3))
    if prepared.kind == "sendto":
        prepared.arguments.append(name_in(binder, args, 4, binder.peer_name()))


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
    fd = descriptor(binder, prepared, args)
    pieces = _pieces(binder, prepared, args, 1, args.values[1])
    check_count(args, 2, len(pieces))
    prepared.arguments = [fd, pieces]


def _sendmsg(binder: Binder, prepared: Prepared, args: Arguments) -> None:
    args.count(3)
    message = _message(args, 1)
    fd = descriptor(binder, prepared, args)
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
        descriptor(binder, prepared, args),
        binder.descriptors.get(args.number(1)),
        _offset(args, 2),
        args.number(3),
    ]


def _splice(binder: Binder, prepared: Prepared, args: Arguments) -> None:
    args.count(6)
    prepared.arguments = [
        descriptor(binder, prepared, args),
        _offset(args, 1),
        binder.descriptors.get(args.number(2)),
        _offset(args, 3),
        args.number(4),
        args.number(5),
    ]


MAKERS: Final[dict[str, Callable[[Binder, Prepared, Arguments], None]]] = {
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
    "open": _open,
    "pipe": _pipe,
    "sendfile": _sendfile,
    "splice": _splice,
}
