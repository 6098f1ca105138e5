"""Descriptors that are no sockets: pipes, and files that a program sends from."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from plankroad.aio.sockopt import os_error
from plankroad.testing.abi import (
    FIONREAD,
    O_ACCMODE,
    O_APPEND,
    O_RDONLY,
    O_RDWR,
    O_TRUNC,
    O_WRONLY,
    PIPE_SIZE,
    POLLERR,
    POLLHUP,
    POLLIN,
    POLLOUT,
    POLLRDNORM,
    POLLWRNORM,
)
from plankroad.testing.call import BadBuffer, Call, SockName
from plankroad.testing.descriptor import Description, Operation
from plankroad.units import NEVER

if TYPE_CHECKING:
    from plankroad.testing.syscalls import SyscallTable


class PipeEnd(Description):
    """One end of a pipe; `other` is the other. The read end has the bytes."""

    def __init__(self, table: SyscallTable, reads: bool) -> None:
        super().__init__(table)
        self.flags = O_RDONLY if reads else O_WRONLY
        self.reads = reads
        self.data = bytearray()
        self.closed = False
        self.other: PipeEnd = self

    def poll(self) -> int:
        if self.reads:
            mask = POLLIN | POLLRDNORM if self.data else 0
            return mask | (POLLHUP if self.other.closed else 0)
        mask = POLLOUT | POLLWRNORM if self.room() else 0
        return mask | (POLLERR if self.other.closed else 0)

    def room(self) -> int:
        """Bytes that the pipe still takes."""
        reader = self if self.reads else self.other
        return PIPE_SIZE - len(reader.data)

    def put(self, data: bytes) -> None:
        """Into the pipe; there is room."""
        reader = self if self.reads else self.other
        reader.data += data
        reader.changed()

    def take(self, count: int) -> bytes:
        """Out of the pipe."""
        data = bytes(self.data[:count])
        del self.data[:count]
        self.other.changed()
        return data

    def read(self, call: Call, count: int | BadBuffer, flags: int, control: bool) -> Operation:
        if not self.reads:
            raise os_error(errno.EBADF)
        if isinstance(count, BadBuffer):
            raise os_error(errno.EFAULT)
        return PipeRead(call, self, count)

    def write(self, call: Call, data: bytes, flags: int, name: SockName | None) -> Operation:
        if self.reads:
            raise os_error(errno.EBADF)
        return PipeWrite(call, self, data)

    def ioctl(self, request: int) -> int:
        if request == FIONREAD:
            return len((self if self.reads else self.other).data)
        raise os_error(errno.ENOTTY)

    def release(self) -> Operation | None:
        self.closed = True
        self.other.changed()
        return None


class PipeRead(Operation):
    """read from a pipe."""

    __slots__ = ("count", "end")

    def __init__(self, call: Call, end: PipeEnd, count: int) -> None:
        super().__init__(call, (end,), 0 if end.nonblocking else NEVER)
        self.end = end
        self.count = count

    def step(self) -> int | None:
        if not self.end.data and not self.end.other.closed and self.count:
            return None
        self.call.data = self.end.take(self.count)
        return len(self.call.data)


class PipeWrite(Operation):
    """write to a pipe."""

    __slots__ = ("at", "data", "end")

    def __init__(self, call: Call, end: PipeEnd, data: bytes) -> None:
        super().__init__(call, (end,), 0 if end.nonblocking else NEVER)
        self.end = end
        self.data = data
        self.at = 0

    def step(self) -> int | None:
        if self.end.other.closed:
            raise os_error(errno.EPIPE)
        piece = self.data[self.at : self.at + self.end.room()]
        self.end.put(piece)
        self.at += len(piece)
        return self.at if self.at == len(self.data) else None

    def expire(self) -> int:
        if self.at:
            return self.at
        raise os_error(errno.EAGAIN)


class PlainFile(Description):
    """A file of the table (`SyscallTable.files`), open at an offset of its own."""

    def __init__(self, table: SyscallTable, content: bytearray, flags: int) -> None:
        super().__init__(table)
        self.flags = flags
        self.content = content
        self.offset = 0
        if flags & O_TRUNC and flags & O_ACCMODE != O_RDONLY:
            content.clear()

    def take(self, offset: int, count: int) -> bytes:
        """Bytes from `offset` on."""
        return bytes(self.content[offset : offset + count])

    def read(self, call: Call, count: int | BadBuffer, flags: int, control: bool) -> Operation:
        if self.flags & O_ACCMODE == O_WRONLY:
            raise os_error(errno.EBADF)
        if isinstance(count, BadBuffer):
            raise os_error(errno.EFAULT)
        call.data = self.take(self.offset, count)
        self.offset += len(call.data)
        return Done(call, len(call.data))

    def write(self, call: Call, data: bytes, flags: int, name: SockName | None) -> Operation:
        if self.flags & O_ACCMODE not in (O_WRONLY, O_RDWR):
            raise os_error(errno.EBADF)
        if self.flags & O_APPEND:
            self.offset = len(self.content)
        self.content[self.offset : self.offset + len(data)] = data
        self.offset += len(data)
        return Done(call, len(data))

    def ioctl(self, request: int) -> int:
        if request == FIONREAD:
            return max(0, len(self.content) - self.offset)
        raise os_error(errno.ENOTTY)


class Done(Operation):
    """A call that never waits."""

    __slots__ = ("value",)

    def __init__(self, call: Call, value: int) -> None:
        super().__init__(call, ())
        self.value = value

    def step(self) -> int | None:
        return self.value
