"""Reading, writing, connecting and accepting on TCP sockets: the system calls that may wait."""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING

from plankroad.aio.sockopt import os_error
from plankroad.tcp.constants import FAST_OPEN_PASSIVE, SYN_RECEIVED, SYN_SENT
from plankroad.tcp.fastopen import release_syn
from plankroad.testing.abi import (
    IPPROTO_TCP,
    MSG_DONTWAIT,
    MSG_EOR,
    MSG_ERRQUEUE,
    MSG_FASTOPEN,
    MSG_MORE,
    MSG_OOB,
    MSG_PEEK,
    MSG_TRUNC,
    MSG_WAITALL,
    SOCK_NONBLOCK,
    TCP_CM_INQ,
)
from plankroad.testing.call import BadBuffer, Call, SockName
from plankroad.testing.descriptor import Operation
from plankroad.testing.names import from_wire

if TYPE_CHECKING:
    from plankroad.testing.tcpsocket import TcpSocket


def _timeout(sock: TcpSocket, flags: int, limit: int) -> int:
    return 0 if sock.nonblocking or flags & MSG_DONTWAIT else limit


class Accept(Operation):
    """accept, accept4. The descriptor is chosen before it waits."""

    __slots__ = ("fd", "flags", "sock")

    def __init__(self, call: Call, sock: TcpSocket, flags: int) -> None:
        super().__init__(call, (sock,), 0 if sock.nonblocking else sock.rcv_timeout)
        self.sock = sock
        self.flags = flags
        self.fd = sock.table.reserve_fd()

    def step(self) -> int | None:
        sock = self.sock
        listener = sock.listener
        if listener is None:
            sock.table.unreserve_fd(self.fd)
            raise os_error(errno.EINVAL)
        connection = listener.accept()
        if connection is None:
            return None
        child = sock.table.new_tcp(sock.family)
        child.adopt(connection, sock)
        child.flags |= self.flags & SOCK_NONBLOCK
        sock.table.install(self.fd, child)
        self.call.name = from_wire(child.family, connection.remote_addr, connection.remote_port)
        return self.fd

    def expire(self) -> int:
        self.sock.table.unreserve_fd(self.fd)
        raise os_error(errno.EAGAIN)


class Connect(Operation):
    """connect, once the SYN is on its way."""

    __slots__ = ("sock",)

    def __init__(self, call: Call, sock: TcpSocket) -> None:
        super().__init__(call, (sock,), 0 if sock.nonblocking else sock.snd_timeout)
        self.sock = sock

    def step(self) -> int | None:
        return 0 if self.sock.conn is None or self.sock.connected() else None

    def expire(self) -> int:
        raise os_error(errno.EINPROGRESS)


class TcpRead(Operation):
    """read, recv and the like."""

    __slots__ = ("bad", "control", "count", "flags", "got", "sock", "target")

    def __init__(self, call: Call, sock: TcpSocket, count: int | BadBuffer, flags: int, control: bool) -> None:
        super().__init__(call, (sock,), _timeout(sock, flags, sock.rcv_timeout))
        self.sock = sock
        self.bad = isinstance(count, BadBuffer)
        self.count = count.size if isinstance(count, BadBuffer) else count
        self.flags = flags
        self.control = control
        self.got = bytearray()
        self.target = self.count if flags & MSG_WAITALL else min(sock.rcv_lowat, self.count)

    def step(self) -> int | None:
        sock = self.sock
        if sock.listener is not None or (sock.conn is None and sock.deferred is None):
            raise os_error(errno.ENOTCONN)
        if self.flags & MSG_ERRQUEUE:
            # Nothing that this stack does is told by the error queue.
            raise os_error(errno.EAGAIN)
        conn = sock.conn
        if conn is None:
            return None
        t = conn.tcb
        if self.flags & MSG_OOB:
            return self._done(sock.take_oob(bool(self.flags & MSG_PEEK)))
        want = self.count - len(self.got)
        if want > 0 and t.rcv_queued:
            if self.bad and not self.flags & MSG_TRUNC:
                raise os_error(errno.EFAULT)
            data = sock.take(want, len(self.got) if self.flags & MSG_PEEK else -1)
            self.got += data
        if self.got:
            ended = t.rcv_eof or sock.read_shut or sock.is_over()
            if len(self.got) >= self.target or (ended and sock.readable() <= 0) or sock.pending_error():
                return self._done(bytes(self.got))
            return None
        if self.count == 0 and t.rcv_queued:
            return self._done(b"")
        if t.rcv_eof:
            return self._done(b"")
        error = sock.take_error()
        if error:
            raise os_error(error)
        if sock.read_shut or sock.is_over():
            return self._done(b"")
        return None

    def expire(self) -> int:
        if self.got:
            return self._done(bytes(self.got))
        raise os_error(errno.EAGAIN)

    def _done(self, data: bytes) -> int:
        call = self.call
        if self.flags & MSG_OOB:
            call.flags = MSG_OOB
        # On a stream MSG_TRUNC means that the bytes are thrown away.
        if not self.flags & MSG_TRUNC:
            call.data = data
        sock = self.sock
        if self.control and sock.inq and sock.conn is not None:
            t = sock.conn.tcb
            # A FIN to be read makes it one more.
            call.control.append((IPPROTO_TCP, TCP_CM_INQ, struct.pack("i", t.rcv_queued + int(t.rcv_eof))))
        return len(data)


class TcpWrite(Operation):
    """write, send and the like."""

    __slots__ = ("at", "blocked", "data", "early", "flags", "sock")

    def __init__(self, call: Call, sock: TcpSocket, data: bytes, flags: int) -> None:
        super().__init__(call, (sock,), _timeout(sock, flags, sock.snd_timeout))
        self.sock = sock
        self.data = data
        self.flags = flags
        self.at = 0
        self.blocked = False
        self.early = False

    def handshake_over(self) -> bool:
        return self.early and self.sock.state not in (SYN_SENT, SYN_RECEIVED)

    def step(self) -> int | None:
        sock = self.sock
        conn = sock.conn
        if conn is None:
            raise os_error(errno.EPIPE)
        t = conn.tcb
        self.early = not conn.awaits_write() and (
            t.state == SYN_SENT or (t.state == SYN_RECEIVED and t.fast_open != FAST_OPEN_PASSIVE)
        )
        if self.early:
            return None
        if sock.pending_error() or sock.write_shut or sock.is_over():
            if self.at:
                return self.at
            raise os_error(sock.take_error() or errno.EPIPE)
        now = sock.table.now()
        if self.blocked and not sock.is_writable():
            t.send_blocked = True
            return None
        size = len(self.data)
        while self.at < size:
            if not sock.may_write():
                self.blocked = True
                t.send_blocked = True
                return None
            piece = self.data[self.at :] if self.at else self.data
            if sock.lowat() != 0xFFFFFFFF:
                # What is not sent yet is looked at after each segment.
                piece = piece[: t.snd_mss]
            if self.flags & MSG_OOB:
                self.at += conn.send_urgent(now, piece)
            elif self.flags & MSG_MORE:
                self.at += conn.send_more(now, piece)
            else:
                self.at += conn.send(now, piece)
            if self.flags & MSG_EOR and self.at == size:
                conn.end_record()
            if sock.lowat() != 0xFFFFFFFF:
                sock.table.push()
        return size

    def expire(self) -> int:
        if self.at:
            return self.at
        raise os_error(errno.EAGAIN)


class FastOpenWrite(Operation):
    """sendto with MSG_FASTOPEN, or the first write after a connect that TCP_FASTOPEN_CONNECT put off (RFC 7413).

    Where the SYN takes data along and the call must not wait it returns with what the SYN took; else it goes on, once
    the handshake is over, as a write, whose data is there before: the first ACK takes it along. On a socket whose
    handshake is over and was not heard of yet it is a write, as the second call of connect would succeed.
    """

    __slots__ = ("begun", "flags", "name", "sock", "write")

    def __init__(self, call: Call, sock: TcpSocket, data: bytes, flags: int, name: SockName) -> None:
        super().__init__(call, (sock,), _timeout(sock, flags, sock.snd_timeout))
        self.sock = sock
        self.name = name
        self.flags = flags
        self.begun = False
        self.write = TcpWrite(call, sock, data, flags & ~MSG_FASTOPEN)

    def handshake_over(self) -> bool:
        return self.sock.connecting and self.sock.state not in (SYN_SENT, SYN_RECEIVED)

    def step(self) -> int | None:
        sock = self.sock
        write = self.write
        if not self.begun and (sock.conn is None or not sock.connecting or not sock.connected()):
            sock.deferred = None
            if sock.conn is not None and sock.connecting and sock.connected():
                # The handshake is over, as this call is the first to be told: it is a write like any other.
                return write.step()
            sock.open(self.name, True)
            conn = sock.conn
            assert conn is not None
            table = sock.table
            waits = self.timeout > 0
            if write.data and (waits or conn.awaits_write()):
                write.at = conn.send(table.now(), write.data)
            elif conn.awaits_write():
                release_syn(conn.tcb)
                conn.wake()
            # The SYN leaves, and shows how much it takes.
            table.push()
            if not waits:
                write.at -= conn.take_back()
        self.begun = True
        if sock.connecting and not sock.connected():
            return None
        return write.step()

    def expire(self) -> int:
        if self.write.at:
            return self.write.at
        raise os_error(errno.EINPROGRESS if self.sock.connecting else errno.EAGAIN)
