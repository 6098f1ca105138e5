"""System calls that move data, and those that open files and pipes to move it from and to.

What each is given and leaves in `call` is told in `plankroad.testing.call`.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from plankroad.aio.sockopt import os_error
from plankroad.testing.abi import (
    AF_UNSPEC,
    MSG_FASTOPEN,
    MSG_ZEROCOPY,
    O_ACCMODE,
    O_APPEND,
    O_CREAT,
    O_NONBLOCK,
    O_RDONLY,
    O_RDWR,
)
from plankroad.testing.call import BadBuffer, Call, SockName
from plankroad.testing.descriptor import Operation
from plankroad.testing.plainfile import Done, PipeEnd, PlainFile
from plankroad.testing.tcpio import FastOpenWrite, TcpRead, TcpWrite
from plankroad.testing.tcpsocket import TcpSocket
from plankroad.testing.transfer import SendFile, Splice

if TYPE_CHECKING:
    from plankroad.testing.syscalls import SyscallTable


def sys_read(table: SyscallTable, call: Call, fd: int, count: int | BadBuffer) -> Operation:
    return _read(table, call, fd, count, 0, False)


def sys_recv(table: SyscallTable, call: Call, fd: int, count: int | BadBuffer, flags: int) -> Operation:
    table.socket(fd)
    return _read(table, call, fd, count, flags, False)


def sys_recvfrom(table: SyscallTable, call: Call, fd: int, count: int | BadBuffer, flags: int) -> Operation:
    table.socket(fd)
    return _read(table, call, fd, count, flags, False)


def sys_readv(table: SyscallTable, call: Call, fd: int, counts: Sequence[int | BadBuffer]) -> Operation:
    return _read(table, call, fd, _total(counts), 0, False)


def sys_recvmsg(
    table: SyscallTable, call: Call, fd: int, counts: Sequence[int | BadBuffer], flags: int, control: int
) -> Operation:
    table.socket(fd)
    return _read(table, call, fd, _total(counts), flags, control > 0)


def _read(table: SyscallTable, call: Call, fd: int, count: int | BadBuffer, flags: int, control: bool) -> Operation:
    description = table.get(fd)
    if isinstance(count, int) and count < 0:
        raise os_error(errno.EINVAL)
    if isinstance(description, TcpSocket):
        return TcpRead(call, description, count, flags, control)
    return description.read(call, count, flags, control)


def sys_write(table: SyscallTable, call: Call, fd: int, data: bytes | BadBuffer) -> Operation:
    return _write(table, call, fd, data, 0, None)


def sys_writev(table: SyscallTable, call: Call, fd: int, pieces: Sequence[bytes | BadBuffer]) -> Operation:
    return _write(table, call, fd, _joined(pieces), 0, None)


def sys_send(table: SyscallTable, call: Call, fd: int, data: bytes | BadBuffer, flags: int) -> Operation:
    table.socket(fd)
    return _write(table, call, fd, data, flags, None)


def sys_sendto(
    table: SyscallTable, call: Call, fd: int, data: bytes | BadBuffer, flags: int, name: SockName | None
) -> Operation:
    table.socket(fd)
    return _write(table, call, fd, data, flags, name)


def sys_sendmsg(
    table: SyscallTable,
    call: Call,
    fd: int,
    pieces: Sequence[bytes | BadBuffer],
    flags: int,
    name: SockName | None,
    control: Sequence[tuple[int, int, bytes]],
) -> Operation:
    table.socket(fd)
    if control:
        # No control message has a meaning here.
        raise os_error(errno.EINVAL)
    return _write(table, call, fd, _joined(pieces), flags, name)


def _write(
    table: SyscallTable, call: Call, fd: int, data: bytes | BadBuffer, flags: int, name: SockName | None
) -> Operation:
    description = table.get(fd)
    if isinstance(data, BadBuffer):
        fresh = isinstance(description, TcpSocket) and description.conn is None and description.deferred is None
        raise os_error(errno.EPIPE if fresh and not flags & MSG_FASTOPEN else errno.EFAULT)
    if not isinstance(description, TcpSocket):
        return description.write(call, data, flags, name)
    flags &= ~MSG_ZEROCOPY  # without SO_ZEROCOPY, which this stack does not have, it means nothing
    if flags & MSG_FASTOPEN:
        if not table.policy.fast_open_client or (name is not None and name.family == AF_UNSPEC):
            raise os_error(errno.EOPNOTSUPP)
        if description.deferred is not None:
            name = description.deferred
        if name is None:
            raise os_error(errno.EINVAL)
        return FastOpenWrite(call, description, data, flags, name)
    if description.deferred is not None:
        return FastOpenWrite(call, description, data, flags, description.deferred)
    return TcpWrite(call, description, data, flags)


def sys_open(table: SyscallTable, call: Call, path: str, flags: int) -> int:
    content = table.files.get(path)
    if content is None:
        if not flags & O_CREAT:
            raise os_error(errno.ENOENT)
        content = table.files.setdefault(path, bytearray())
    return table.open(PlainFile(table, content, flags & (O_ACCMODE | O_APPEND | O_NONBLOCK)))


def sys_pipe(table: SyscallTable, call: Call) -> int:
    reader, writer = PipeEnd(table, True), PipeEnd(table, False)
    reader.other, writer.other = writer, reader
    call.fds = (table.open(reader), table.open(writer))
    return 0


def sys_sendfile(
    table: SyscallTable, call: Call, out_fd: int, in_fd: int, offset: int | None, count: int
) -> Operation:
    out = table.get(out_fd)
    source = table.get(in_fd)
    if not isinstance(source, PlainFile):
        raise os_error(errno.EINVAL)
    if source.flags & O_ACCMODE not in (O_RDONLY, O_RDWR):
        raise os_error(errno.EBADF)
    if not isinstance(out, TcpSocket):
        raise os_error(errno.EINVAL)
    return SendFile(call, out, source, offset, count)


def sys_splice(
    table: SyscallTable,
    call: Call,
    in_fd: int,
    in_offset: int | None,
    out_fd: int,
    out_offset: int | None,
    count: int,
    flags: int,
) -> Operation:
    source = table.get(in_fd)
    out = table.get(out_fd)
    if in_offset is not None or out_offset is not None:
        raise os_error(errno.ESPIPE)
    if count == 0:
        return Done(call, 0)
    return Splice(call, source, out, count, flags)


def _total(counts: Sequence[int | BadBuffer]) -> int | BadBuffer:
    """How many bytes a vector of buffers takes; bad where one is that would be used."""
    total = sum(one.size if isinstance(one, BadBuffer) else one for one in counts)
    bad = any(isinstance(one, BadBuffer) and one.size for one in counts)
    return BadBuffer(total) if bad else total


def _joined(pieces: Sequence[bytes | BadBuffer]) -> bytes | BadBuffer:
    data = b""
    for piece in pieces:
        if isinstance(piece, BadBuffer):
            return piece
        data += piece
    return data


CALLS: Final[dict[str, Callable[..., int | Operation]]] = {
    "read": sys_read,
    "recv": sys_recv,
    "recvfrom": sys_recvfrom,
    "readv": sys_readv,
    "recvmsg": sys_recvmsg,
    "write": sys_write,
    "writev": sys_writev,
    "send": sys_send,
    "sendto": sys_sendto,
    "sendmsg": sys_sendmsg,
    "open": sys_open,
    "pipe": sys_pipe,
    "sendfile": sys_sendfile,
    "splice": sys_splice,
}
