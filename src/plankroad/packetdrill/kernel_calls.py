"""The kernel's system calls with the arguments of `plankroad.testing.call`'s table, made through the C library.

`perform` makes one and gives back what it left, by the names of `Call`'s attributes. It blocks as the call does. The C
library is called, not Python's socket module, so that every argument reaches the kernel as the script has it: wrong
descriptors, lengths and pointers too.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Callable
from typing import Any, Final

from plankroad.testing.call import BadBuffer, SockName

_AF_INET: Final = 2
_AF_INET6: Final = 10
_NAME_SIZE: Final = 128
_EPOLL_PACKED: Final = os.uname().machine in ("x86_64", "i686")

_libc = ctypes.CDLL(None, use_errno=True)


class _Iovec(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class _Msghdr(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_void_p),
        ("namelen", ctypes.c_uint32),
        ("iov", ctypes.POINTER(_Iovec)),
        ("iovlen", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("controllen", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class _Pollfd(ctypes.Structure):
    _fields_ = (("fd", ctypes.c_int), ("events", ctypes.c_short), ("revents", ctypes.c_short))


class _EpollEvent(ctypes.Structure):
    if _EPOLL_PACKED:
        _pack_ = 1
    _fields_ = (("events", ctypes.c_uint32), ("data", ctypes.c_uint64))


def pack_name(name: SockName | None) -> bytes:
    """`struct sockaddr` of a name; b"" for none."""
    if name is None:
        return b""
    if name.family == _AF_INET:
        return struct.pack("=H", _AF_INET) + struct.pack("!H", name.port) + name.address + bytes(8)
    if name.family == _AF_INET6:
        head = struct.pack("=H", _AF_INET6) + struct.pack("!HI", name.port, 0)
        return head + name.address + struct.pack("=I", name.scope)
    return struct.pack("=H14x", name.family)


def unpack_name(data: bytes) -> SockName | None:
    """The name in a `struct sockaddr`; None where there is none."""
    if len(data) < 8:
        return None
    (family,) = struct.unpack_from("=H", data)
    (port,) = struct.unpack_from("!H", data, 2)
    if family == _AF_INET:
        return SockName(family, data[4:8], port)
    if family == _AF_INET6 and len(data) >= 28:
        return SockName(family, data[8:24], port, struct.unpack_from("=I", data, 24)[0])
    return SockName(family, b"", 0)


def _address(buffer: Any) -> int | None:
    return ctypes.addressof(buffer) if buffer is not None else None


class _Room:
    """Memory for a call: a pointer (None for a `BadBuffer`) and its size. What it holds stays as long as it does."""

    def __init__(self, what: object) -> None:
        self.buffer: Any = None
        if isinstance(what, BadBuffer):
            self.size = what.size
        elif isinstance(what, bytes):
            self.size = len(what)
            self.buffer = ctypes.create_string_buffer(what, max(1, len(what)))
        else:
            assert isinstance(what, int)
            self.size = what
            self.buffer = ctypes.create_string_buffer(max(1, what))

    @property
    def pointer(self) -> ctypes.c_void_p:
        return ctypes.c_void_p(_address(self.buffer))

    def data(self, count: int) -> bytes:
        """The first `count` bytes of it."""
        if self.buffer is None or count <= 0:
            return b""
        return bytes(self.buffer.raw[: min(count, self.size)])


def _result(value: int, **more: Any) -> dict[str, Any]:
    answer = {"value": int(value), **more}
    if value < 0:
        answer["errno"] = ctypes.get_errno()
    return answer


def _call(name: str, *arguments: Any) -> int:
    function = getattr(_libc, name)
    function.restype = ctypes.c_ssize_t if name in _LONG else ctypes.c_int
    ctypes.set_errno(0)
    return int(function(*arguments))


_LONG: Final = frozenset(
    "read readv recv recvfrom recvmsg write writev send sendto sendmsg sendfile splice".split()  # noqa: SIM905
)


def _size(count: int) -> ctypes.c_size_t:
    return ctypes.c_size_t(count)


# The calls, by name. Arguments are the table's.


def _socket(family: int, kind: int, protocol: int) -> dict[str, Any]:
    return _result(_call("socket", family, kind, protocol))


def _with_name(name: str) -> Callable[..., dict[str, Any]]:
    def call(fd: int, sock_name: SockName | None) -> dict[str, Any]:
        packed = pack_name(sock_name)
        room = _Room(packed if packed else BadBuffer(0))
        return _result(_call(name, fd, room.pointer, room.size))

    return call


def _listen(fd: int, backlog: int) -> dict[str, Any]:
    return _result(_call("listen", fd, backlog))


def _accept(fd: int, flags: int = 0) -> dict[str, Any]:
    room = _Room(_NAME_SIZE)
    length = ctypes.c_uint32(_NAME_SIZE)
    value = _call("accept4", fd, room.pointer, ctypes.byref(length), flags)
    return _result(value, name=unpack_name(room.data(length.value)) if value >= 0 else None)


def _read(fd: int, count: object) -> dict[str, Any]:
    room = _Room(count)
    value = _call("read", fd, room.pointer, _size(room.size))
    return _result(value, data=room.data(value))


def _recv(fd: int, count: object, flags: int) -> dict[str, Any]:
    room = _Room(count)
    value = _call("recv", fd, room.pointer, _size(room.size), flags)
    return _result(value, data=room.data(value))


def _recvfrom(fd: int, count: object, flags: int) -> dict[str, Any]:
    room, name = _Room(count), _Room(_NAME_SIZE)
    length = ctypes.c_uint32(_NAME_SIZE)
    value = _call("recvfrom", fd, room.pointer, _size(room.size), flags, name.pointer, ctypes.byref(length))
    return _result(value, data=room.data(value), name=unpack_name(name.data(length.value)) if value >= 0 else None)


class _Vector:
    """Several rooms as one argument."""

    def __init__(self, pieces: list[object]) -> None:
        self.rooms = [_Room(piece) for piece in pieces]
        self.iovecs = (_Iovec * max(1, len(pieces)))()
        for iovec, room in zip(self.iovecs, self.rooms, strict=False):
            iovec.base, iovec.length = _address(room.buffer), room.size

    def data(self, count: int) -> bytes:
        """What a read of `count` bytes left in them."""
        parts = []
        for room in self.rooms:
            part = room.data(count)
            parts.append(part)
            count -= len(part)
        return b"".join(parts)


def _vectored(name: str) -> Callable[..., dict[str, Any]]:
    def call(fd: int, pieces: list[object]) -> dict[str, Any]:
        vector = _Vector(pieces)
        value = _call(name, fd, vector.iovecs, len(pieces))
        return _result(value, data=vector.data(value) if name == "readv" else b"")

    return call


def _control_list(data: bytes) -> list[tuple[int, int, bytes]]:
    found = []
    at = 0
    head = struct.calcsize("@Nii")
    while at + head <= len(data):
        length, level, kind = struct.unpack_from("@Nii", data, at)
        if length < head:
            break
        found.append((level, kind, data[at + head : at + length]))
        at += (length + 7) & ~7
    return found


def _pack_control(control: list[Any]) -> bytes:
    data = b""
    for level, kind, value in control:
        data += struct.pack("@Nii", struct.calcsize("@Nii") + len(value), level, kind) + value
        data += bytes(-len(data) & 7)
    return data


def _recvmsg(fd: int, counts: list[object], flags: int, control_size: int) -> dict[str, Any]:
    vector, name, control = _Vector(counts), _Room(_NAME_SIZE), _Room(control_size)
    message = _Msghdr(
        _address(name.buffer), _NAME_SIZE, vector.iovecs, len(counts), _address(control.buffer), control_size, 0
    )
    value = _call("recvmsg", fd, ctypes.byref(message), flags)
    if value < 0:
        return _result(value)
    return _result(
        value,
        data=vector.data(value),
        name=unpack_name(name.data(message.namelen)),
        control=_control_list(control.data(message.controllen)),
        flags=message.flags,
    )


def _write(fd: int, data: object) -> dict[str, Any]:
    room = _Room(data)
    return _result(_call("write", fd, room.pointer, _size(room.size)))


def _send(fd: int, data: object, flags: int) -> dict[str, Any]:
    room = _Room(data)
    return _result(_call("send", fd, room.pointer, _size(room.size), flags))


def _sendto(fd: int, data: object, flags: int, name: SockName | None) -> dict[str, Any]:
    room = _Room(data)
    packed = pack_name(name)
    to = _Room(packed if packed else BadBuffer(0))
    return _result(_call("sendto", fd, room.pointer, _size(room.size), flags, to.pointer, to.size))


def _sendmsg(fd: int, pieces: list[object], flags: int, name: SockName | None, control: list[Any]) -> dict[str, Any]:
    vector = _Vector(pieces)
    packed, extra = pack_name(name), _pack_control(control)
    to, more = _Room(packed if packed else BadBuffer(0)), _Room(extra if extra else BadBuffer(0))
    message = _Msghdr(_address(to.buffer), to.size, vector.iovecs, len(pieces), _address(more.buffer), more.size, 0)
    return _result(_call("sendmsg", fd, ctypes.byref(message), flags))


def _fcntl(fd: int, command: int, argument: int = 0) -> dict[str, Any]:
    return _result(_call("fcntl", fd, command, ctypes.c_long(argument)))


def _ioctl(fd: int, request: int) -> dict[str, Any]:
    number = ctypes.c_int(0)
    value = _call("ioctl", fd, ctypes.c_ulong(request), ctypes.byref(number))
    return _result(value, number=number.value)


def _close(fd: int) -> dict[str, Any]:
    return _result(_call("close", fd))


def _shutdown(fd: int, how: int) -> dict[str, Any]:
    return _result(_call("shutdown", fd, how))


def _getsockopt(fd: int, level: int, option: int, size: object) -> dict[str, Any]:
    room = _Room(size)
    length = ctypes.c_uint32(room.size)
    value = _call("getsockopt", fd, level, option, room.pointer, ctypes.byref(length))
    return _result(value, data=room.data(length.value) if value == 0 else b"")


def _setsockopt(fd: int, level: int, option: int, data: object) -> dict[str, Any]:
    room = _Room(data)
    return _result(_call("setsockopt", fd, level, option, room.pointer, room.size))


def _poll(pairs: list[Any], timeout: int) -> dict[str, Any]:
    array = (_Pollfd * max(1, len(pairs)))()
    for one, (fd, events) in zip(array, pairs, strict=False):
        one.fd, one.events = fd, events
    value = _call("poll", array, ctypes.c_ulong(len(pairs)), timeout)
    ready = [(array[i].fd, array[i].revents) for i in range(len(pairs))]
    return _result(value, ready=ready)


def _epoll_create(size: int) -> dict[str, Any]:
    return _result(_call("epoll_create", size))


def _epoll_create1(flags: int) -> dict[str, Any]:
    return _result(_call("epoll_create1", flags))


def _epoll_ctl(epfd: int, operation: int, fd: int, events: int, data: int) -> dict[str, Any]:
    event = _EpollEvent(events, data)
    return _result(_call("epoll_ctl", epfd, operation, fd, ctypes.byref(event)))


def _epoll_wait(epfd: int, most: int, timeout: int) -> dict[str, Any]:
    array = (_EpollEvent * max(1, most))()
    value = _call("epoll_wait", epfd, array, most, timeout)
    return _result(value, ready=[(array[i].data, array[i].events) for i in range(max(0, value))])


def _open(path: str, flags: int) -> dict[str, Any]:
    return _result(_call("open", path.encode(), flags, 0o600))


def _sendfile(out: int, source: int, offset: int | None, count: int) -> dict[str, Any]:
    at = ctypes.c_int64(offset or 0)
    value = _call("sendfile", out, source, None if offset is None else ctypes.byref(at), _size(count))
    return _result(value, number=at.value)


def _pipe() -> dict[str, Any]:
    pair = (ctypes.c_int * 2)()
    value = _call("pipe", pair)
    return _result(value, fds=(pair[0], pair[1]))


def _splice(
    source: int, source_at: int | None, out: int, out_at: int | None, count: int, flags: int
) -> dict[str, Any]:
    ends = [None if at is None else ctypes.byref(ctypes.c_int64(at)) for at in (source_at, out_at)]
    return _result(_call("splice", source, ends[0], out, ends[1], _size(count), flags))


_CALLS: Final[dict[str, Callable[..., dict[str, Any]]]] = {
    "socket": _socket,
    "bind": _with_name("bind"),
    "connect": _with_name("connect"),
    "listen": _listen,
    "accept": _accept,
    "accept4": _accept,
    "read": _read,
    "recv": _recv,
    "recvfrom": _recvfrom,
    "readv": _vectored("readv"),
    "recvmsg": _recvmsg,
    "write": _write,
    "send": _send,
    "sendto": _sendto,
    "writev": _vectored("writev"),
    "sendmsg": _sendmsg,
    "fcntl": _fcntl,
    "ioctl": _ioctl,
    "close": _close,
    "shutdown": _shutdown,
    "getsockopt": _getsockopt,
    "setsockopt": _setsockopt,
    "poll": _poll,
    "epoll_create": _epoll_create,
    "epoll_create1": _epoll_create1,
    "epoll_ctl": _epoll_ctl,
    "epoll_wait": _epoll_wait,
    "open": _open,
    "sendfile": _sendfile,
    "pipe": _pipe,
    "splice": _splice,
}

#: The calls that `perform` knows.
CALLS: Final = frozenset(_CALLS)


def perform(kind: str, arguments: list[Any]) -> dict[str, Any]:
    """Make the call; what it left, by the names of `Call`. Arguments that are not the table's: an errno of EINVAL."""
    try:
        return _CALLS[kind](*arguments)
    except (TypeError, ValueError, ctypes.ArgumentError) as error:
        return {"value": -1, "errno": errno.EINVAL, "problem": f"{kind}: {error}"}
