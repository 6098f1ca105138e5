"""sendfile and splice: bytes from one description to another without a program's buffer in between."""

from __future__ import annotations

import errno

from plankroad.aio.sockopt import os_error
from plankroad.testing.abi import MSG_DONTWAIT, MSG_MORE, SPLICE_F_MORE, SPLICE_F_NONBLOCK
from plankroad.testing.call import Call
from plankroad.testing.descriptor import Description, Operation
from plankroad.testing.plainfile import PipeEnd, PlainFile
from plankroad.testing.tcpio import TcpRead, TcpWrite
from plankroad.testing.tcpsocket import TcpSocket
from plankroad.units import NEVER


class SendFile(Operation):
    """sendfile: a write of what is in the file; the file's own offset, or the one that was given, goes on."""

    __slots__ = ("offset", "own", "source", "write")

    def __init__(self, call: Call, sock: TcpSocket, source: PlainFile, offset: int | None, count: int) -> None:
        super().__init__(call, (sock,), 0 if sock.nonblocking else sock.snd_timeout)
        self.source = source
        self.own = offset is None
        self.offset = source.offset if offset is None else offset
        if self.offset < 0 or count < 0:
            raise os_error(errno.EINVAL)
        self.write = TcpWrite(call, sock, source.take(self.offset, count), 0)

    def step(self) -> int | None:
        value = self.write.step()
        return None if value is None else self._done(value)

    def expire(self) -> int:
        return self._done(self.write.expire())

    def _done(self, value: int) -> int:
        self.call.number = self.offset + value
        if self.own:
            self.source.offset = self.offset + value
        return value


class Splice(Operation):
    """splice between a socket or file and a pipe."""

    __slots__ = ("count", "flags", "out", "source")

    def __init__(self, call: Call, source: Description, out: Description, count: int, flags: int) -> None:
        if not isinstance(source, PipeEnd) and not isinstance(out, PipeEnd):
            raise os_error(errno.EINVAL)
        for end, reads in ((source, True), (out, False)):
            if isinstance(end, PipeEnd) and end.reads is not reads:
                raise os_error(errno.EBADF)
        nonblocking = bool(flags & SPLICE_F_NONBLOCK) or source.nonblocking or out.nonblocking
        super().__init__(call, (source, out), 0 if nonblocking else NEVER)
        self.source = source
        self.out = out
        self.count = count
        self.flags = flags

    def step(self) -> int | None:
        source, out, count = self.source, self.out, self.count
        if isinstance(out, PipeEnd):
            if out.other.closed:
                raise os_error(errno.EPIPE)
            count = min(count, out.room())
            if count == 0:
                return None
            data = self._get(count)
            if data is None:
                return None
            out.put(data)
            return len(data)
        assert isinstance(source, PipeEnd)
        if not source.data:
            return 0 if source.other.closed else None
        more = MSG_MORE if self.flags & SPLICE_F_MORE else 0
        piece = bytes(source.data[:count])
        if not isinstance(out, TcpSocket):
            raise os_error(errno.EINVAL)
        write = TcpWrite(Call("write", (), self.call.started), out, piece, MSG_DONTWAIT | more)
        value = write.step()
        if value is None:
            value = write.at
        if not value:
            return None
        source.take(value)
        return value

    def _get(self, count: int) -> bytes | None:
        """What the source has: None to wait, b"" at its end."""
        source = self.source
        if isinstance(source, PipeEnd):
            if not source.data:
                return b"" if source.other.closed else None
            return source.take(count)
        if isinstance(source, PlainFile):
            data = source.take(source.offset, count)
            source.offset += len(data)
            return data
        if not isinstance(source, TcpSocket):
            raise os_error(errno.EINVAL)
        call = Call("read", (), self.call.started)
        value = TcpRead(call, source, count, MSG_DONTWAIT, False).step()
        return None if value is None else call.data
