"""A TCP socket as a program's system calls see it: one description, whatever becomes of it.

It is fresh at first, then either listens (`listener`) or has a connection (`conn`), which the stack made or is asked
to open. Return values and errnos are Linux's (net/ipv4/af_inet.c and tcp.c are what programs are written against).
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

from plankroad.aio.sockopt import os_error
from plankroad.endpoint import (
    EVENT_ACCEPT,
    EVENT_CLOSED,
    EVENT_CONNECTED,
    EVENT_EOF,
    EVENT_ERROR,
    EVENT_READABLE,
    EVENT_SOFT_ERROR,
    EVENT_URGENT,
    EVENT_WRITABLE,
)
from plankroad.tcp.constants import (
    CLOSED,
    CLOSING,
    ESTABLISHED,
    FAST_OPEN_PASSIVE,
    FIN_WAIT_1,
    LAST_ACK,
    SYN_RECEIVED,
    SYN_SENT,
    TIME_WAIT,
)
from plankroad.testing.abi import (
    AF_INET,
    AF_UNSPEC,
    POLLERR,
    POLLHUP,
    POLLIN,
    POLLOUT,
    POLLPRI,
    POLLRDHUP,
    POLLRDNORM,
    POLLWRNORM,
    SHUT_RD,
    SHUT_RDWR,
    SHUT_WR,
    SIOCATMARK,
    SIOCINQ,
    SIOCOUTQ,
    SIOCOUTQNSD,
    SOCK_STREAM,
)
from plankroad.testing.call import Call, SockName
from plankroad.testing.descriptor import Description, Operation
from plankroad.testing.names import from_wire, to_wire, wildcard
from plankroad.units import NEVER

if TYPE_CHECKING:
    from plankroad.tcp.config import TcpConfig
    from plankroad.tcp.connection import Connection
    from plankroad.tcp.listen import Listener
    from plankroad.testing.syscalls import SyscallTable

#: `notsent_lowat` of a socket that chose none: the policy's is in force.
NO_LOWAT = 0


class TcpSocket(Description):
    """See the module. `chosen` are the fields of `TcpConfig` that the program chose by options; the stack's
    configuration, as it is when the connection begins, has the rest.
    """

    kind = SOCK_STREAM

    def __init__(self, table: SyscallTable, family: int) -> None:
        super().__init__(table)
        self.family = family
        self.chosen: dict[str, Any] = {}
        self.bound: tuple[bytes, int] | None = None
        self.reserved = False
        self.listener: Listener | None = None
        self.backlog = 0
        self.conn: Connection | None = None
        self.connecting = False
        self.deferred: SockName | None = None
        self.error_taken = False
        self.read_shut = False
        self.write_shut = False
        self.reuse = False
        self.reuse_port = False
        self.v6only = False
        self.rcv_timeout = NEVER
        self.snd_timeout = NEVER
        self.rcv_lowat = 1
        self.notsent_lowat = NO_LOWAT
        self.oob_inline = False
        self.oob_taken = -1
        self.inq = False
        self.fast_open_connect = False
        self.fast_open_key = b""
        self.free_bind = False
        self.stored: dict[tuple[int, int], int] = {}

    # What the stack tells

    def handle_events(self, events: int) -> None:
        """The stack's events of the listener or connection."""
        bits = 0
        if events & (EVENT_ACCEPT | EVENT_READABLE | EVENT_EOF):
            bits |= POLLIN | POLLRDNORM
        if events & (EVENT_WRITABLE | EVENT_CONNECTED):
            bits |= POLLOUT | POLLWRNORM
        if events & EVENT_EOF:
            bits |= POLLRDHUP
        if events & EVENT_URGENT:
            bits |= POLLPRI
        if events & (EVENT_ERROR | EVENT_CLOSED | EVENT_CONNECTED | EVENT_SOFT_ERROR):
            bits |= POLLIN | POLLOUT | POLLERR | POLLHUP | POLLRDHUP | POLLRDNORM | POLLWRNORM
        self.changed(bits)

    # Looking

    @property
    def state(self) -> int:
        """The connection's state, CLOSED where there is none."""
        return self.conn.tcb.state if self.conn is not None else CLOSED

    def config(self) -> TcpConfig:
        """What a connection that began now would be configured with."""
        config = self.table.stack.config.tcp.copy()
        for name, value in self.chosen.items():
            setattr(config, name, value)
        policy = self.table.policy
        if not policy.fast_open_server:
            config.fast_open_queue = 0
        elif policy.fast_open_listeners and "fast_open_queue" not in self.chosen:
            config.fast_open_queue = self.backlog
        return config

    def pending_error(self) -> int:
        """The errno that the next call is to tell, 0 for none."""
        conn = self.conn
        if conn is None or self.error_taken:
            return 0
        error = conn.tcb.error
        if error == errno.ECONNRESET and conn.tcb.rcv_eof:
            # The peer has said that it will say no more, so that only a writer is hurt by the reset.
            return errno.EPIPE
        return error

    def take_error(self) -> int:
        """`pending_error`, which is told once."""
        error = self.pending_error()
        if error:
            self.error_taken = True
        return error

    def is_over(self) -> bool:
        """Both directions have ended: what Linux calls TCP_CLOSE."""
        return self.state in (CLOSED, TIME_WAIT)

    def readable(self) -> int:
        """Bytes that a read can have, urgent ones that are kept apart left out."""
        conn = self.conn
        return 0 if conn is None else conn.readable() - self.oob_ahead()

    def may_write(self) -> bool:
        """There is room for at least a byte."""
        conn = self.conn
        assert conn is not None
        t = conn.tcb
        return len(t.snd_buf) < t.snd_buf_limit and self.notsent() < self.lowat()

    def is_writable(self) -> bool:
        """There is room enough to wake a writer: a third, and little that was not sent yet."""
        conn = self.conn
        assert conn is not None
        t = conn.tcb
        return 3 * len(t.snd_buf) <= 2 * t.snd_buf_limit and self.notsent() < self.lowat()

    def lowat(self) -> int:
        """TCP_NOTSENT_LOWAT in force."""
        return self.notsent_lowat or self.table.policy.notsent_lowat

    def notsent(self) -> int:
        """Bytes written and not sent yet."""
        conn = self.conn
        assert conn is not None
        t = conn.tcb
        return max(0, t.snd_buf.end - max(t.snd_nxt, t.snd_buf.start))

    def poll(self) -> int:
        listener = self.listener
        if listener is not None:
            return POLLIN | POLLRDNORM if listener.ready else 0
        mask = 0
        if self.deferred is not None:
            return POLLOUT | POLLWRNORM
        conn = self.conn
        if conn is None:
            return POLLHUP | POLLOUT | POLLWRNORM
        t = conn.tcb
        over = self.is_over()
        read_ended = self.read_shut or t.rcv_eof or over
        if over or (read_ended and self.write_shut):
            mask |= POLLHUP
        if read_ended:
            mask |= POLLIN | POLLRDNORM | POLLRDHUP
        if t.state == SYN_SENT or (t.state == SYN_RECEIVED and t.fast_open != FAST_OPEN_PASSIVE):
            if t.state == SYN_SENT and conn.awaits_write():
                mask |= POLLOUT | POLLWRNORM
        else:
            if self.readable() >= self.rcv_lowat:
                mask |= POLLIN | POLLRDNORM
            if self.write_shut or over or self.is_writable():
                mask |= POLLOUT | POLLWRNORM
            else:
                t.send_blocked = True
            if self.oob_position() >= 0:
                mask |= POLLPRI
        if self.pending_error():
            mask |= POLLERR
        return mask

    # Names

    def wire_name(self, name: SockName) -> tuple[bytes, int]:
        """A name of this socket's family as the stack has it. Raises OSError: EAFNOSUPPORT, EINVAL."""
        return to_wire(self.family, name, self.v6only)

    def local_name(self) -> SockName:
        """getsockname."""
        if self.conn is not None:
            return from_wire(self.family, self.conn.local_addr, self.conn.local_port)
        if self.bound is not None:
            return from_wire(self.family, self.bound[0], self.bound[1])
        return from_wire(self.family, b"", 0)

    def remote_name(self) -> SockName:
        """getpeername. Raises OSError with ENOTCONN."""
        if self.conn is None or self.state in (CLOSED, SYN_SENT, TIME_WAIT):
            raise os_error(errno.ENOTCONN)
        return from_wire(self.family, self.conn.remote_addr, self.conn.remote_port)

    # Opening

    def bind(self, name: SockName) -> None:
        """Take an address and port. Raises OSError: EINVAL, EADDRNOTAVAIL, EADDRINUSE, EAFNOSUPPORT."""
        if name.family == AF_UNSPEC and self.family == AF_INET and not any(name.address):
            name = SockName(AF_INET, bytes(4), name.port)
        local, port = self.wire_name(name)
        if self.bound is not None or self.conn is not None or self.listener is not None:
            raise os_error(errno.EINVAL)
        if not any(local):
            local = wildcard(self.family, self.v6only, local)
        self.bound = self.table.ports.bind(self, local, port)

    def listen(self, backlog: int) -> None:
        """Accept connections, or change how many may wait. Raises OSError: EINVAL, EADDRINUSE."""
        backlog = min(max(backlog, 0) if backlog >= 0 else 1 << 30, self.table.policy.somaxconn)
        self.backlog = backlog
        # Linux lets one more connection wait than it is asked to.
        if self.listener is not None:
            self.listener.backlog = backlog + 1
            return
        if self.conn is not None or self.deferred is not None:
            raise os_error(errno.EINVAL)
        if self.bound is None:
            self.bound = self.table.ports.bind(self, wildcard(self.family, self.v6only, b""), 0)
        self.listener = self.table.ports.listen(self, self.bound[0], self.bound[1], backlog + 1)
        self.listener.owner = self
        if self.fast_open_key:
            self.listener.set_fast_open_key(self.fast_open_key[:16], self.fast_open_key[16:])

    def open(self, name: SockName, fast_open: bool) -> None:
        """Begin to connect. Raises what `Stack.connect` does, and EISCONN, EALREADY, EAFNOSUPPORT."""
        if self.listener is not None:
            raise os_error(errno.EISCONN)
        if self.conn is not None:
            if self.connecting and self.state in (SYN_SENT, SYN_RECEIVED):
                raise os_error(errno.EALREADY)
            if not self.is_over():
                raise os_error(errno.EISCONN)
        remote, port = self.wire_name(name)
        if not any(remote):
            remote = bytes((127, 0, 0, 1)) if len(remote) == 4 else bytes(15) + b"\x01"
        local, local_port = self.bound if self.bound is not None else (b"", 0)
        stack = self.table.stack
        self.conn = stack.connect(
            self.table.now(), remote, port, local, local_port, self.config(), fast_open=fast_open
        )
        self.conn.owner = self
        self.connecting = True
        self.error_taken = False
        self.read_shut = self.write_shut = False
        self.oob_taken = -1

    def has_cookie(self, name: SockName) -> bool:
        """Whether the SYN of a connection to `name` could take data along (RFC 7413)."""
        remote, port = self.wire_name(name)
        stack = self.table.stack
        local = self.bound[0] if self.bound is not None and any(self.bound[0]) else stack.source_of(remote)
        found = stack.fast_open.find(self.table.now(), local, remote, port)
        return found is not None and bool(found.cookie)

    def connected(self) -> bool:
        """A call that waits for the handshake can return. Raises OSError where it failed."""
        conn = self.conn
        assert conn is not None
        state = conn.tcb.state
        if state in (SYN_SENT, SYN_RECEIVED):
            return False
        self.connecting = False
        if state == CLOSED and not conn.tcb.rcv_eof:
            error = self.take_error() or errno.ECONNABORTED
            # The socket is as it was before.
            self.conn = None
            raise os_error(error)
        return True

    def disconnect(self) -> None:
        """connect to AF_UNSPEC: as a fresh socket again."""
        self.deferred = None
        if self.listener is not None:
            self.stop_listening()
        elif self.conn is not None:
            self.conn.owner = None
            if self.conn.tcb.state == SYN_SENT:
                self.conn.release(self.table.now())
            else:
                self.conn.abort(self.table.now())
        self.conn = None
        self.connecting = False
        self.error_taken = False
        self.read_shut = self.write_shut = False
        self.changed()

    def adopt(self, conn: Connection, parent: TcpSocket) -> None:
        """Be the socket of a connection that `parent` accepted."""
        self.conn = conn
        conn.owner = self
        conn.poll_events()
        self.chosen = dict(parent.chosen)
        self.bound = (conn.local_addr, conn.local_port)
        self.reuse = parent.reuse
        self.reuse_port = parent.reuse_port
        self.rcv_timeout = parent.rcv_timeout
        self.snd_timeout = parent.snd_timeout
        self.rcv_lowat = parent.rcv_lowat
        self.notsent_lowat = parent.notsent_lowat
        self.oob_inline = parent.oob_inline
        self.inq = parent.inq

    # Reading

    def oob_position(self) -> int:
        """How many bytes before the urgent one are to be read; -1 where none is pending or it was taken."""
        conn = self.conn
        if conn is None:
            return -1
        t = conn.tcb
        # RFC 6093: the pointer is that of the octet after the urgent one.
        if not t.rcv_urgent or t.rcv_up - 1 == self.oob_taken:
            return -1
        return t.rcv_up - 1 - self.read_up_to()

    def read_up_to(self) -> int:
        """Sequence number of the next octet that the program reads."""
        assert self.conn is not None
        t = self.conn.tcb
        return t.rcv_nxt - t.rcv_queued - (1 if t.rcv_eof else 0)

    def oob_ahead(self) -> int:
        """1 where an urgent byte is among those that wait to be read, and is kept apart."""
        conn = self.conn
        if conn is None or self.oob_inline or not conn.tcb.rcv_urgent:
            return 0
        at = conn.tcb.rcv_up - 1 - self.read_up_to()
        return 1 if 0 <= at < conn.tcb.rcv_queued else 0

    def peek(self, start: int, count: int) -> bytes:
        """Bytes that wait to be read, from the `start`th on; they stay."""
        assert self.conn is not None
        t = self.conn.tcb
        parts: list[bytes] = []
        for i in range(t.rcv_queue_head, len(t.rcv_queue)):
            piece = t.rcv_queue[i]
            if start >= len(piece):
                start -= len(piece)
                continue
            piece = piece[start : start + count]
            start = 0
            parts.append(piece)
            count -= len(piece)
            if count <= 0:
                break
        return b"".join(parts)

    def take(self, count: int, peek_from: int = -1) -> bytes:
        """Up to `count` bytes, not beyond an urgent one, which is passed over; those from `peek_from` on if not -1."""
        conn = self.conn
        assert conn is not None
        now = self.table.now()
        if not self.oob_inline and conn.tcb.rcv_urgent:
            at = conn.tcb.rcv_up - 1 - self.read_up_to()
            if at == 0 and conn.tcb.rcv_queued:
                if peek_from >= 0:
                    return self.peek(peek_from + 1, count)
                self.oob_taken = conn.tcb.rcv_up - 1
                conn.receive(now, 1)
            elif at > 0:
                count = min(count, at - max(0, peek_from))
        if peek_from >= 0:
            return self.peek(peek_from, count)
        return conn.receive(now, count)

    def take_oob(self, peek: bool) -> bytes:
        """The urgent byte. Raises OSError: EINVAL where there is none, EAGAIN where it is still to come."""
        at = self.oob_position()
        if at < 0 or self.oob_inline:
            raise os_error(errno.EINVAL)
        data = self.peek(at, 1)
        if not data:
            raise os_error(errno.EAGAIN)
        if not peek:
            assert self.conn is not None
            self.oob_taken = self.conn.tcb.rcv_up - 1
        return data

    # The rest

    def ioctl(self, request: int) -> int:
        conn = self.conn
        if self.listener is not None:
            raise os_error(errno.EINVAL)
        if request == SIOCATMARK:
            return int(conn is not None and conn.tcb.rcv_urgent and conn.tcb.rcv_up - 1 == self.read_up_to())
        if conn is None:
            if request in (SIOCINQ, SIOCOUTQ, SIOCOUTQNSD):
                return 0
            raise os_error(errno.ENOTTY)
        t = conn.tcb
        before = t.state in (SYN_SENT, SYN_RECEIVED)
        if request == SIOCINQ:
            return 0 if before else self.readable()
        # A FIN that was asked for counts as one more byte.
        fin = int(t.close_requested)
        if request == SIOCOUTQ:
            if before or self.is_over():
                return 0
            return max(0, t.snd_buf.end + fin - t.snd_una)
        if request == SIOCOUTQNSD:
            if before or self.is_over():
                return 0
            return max(0, t.snd_buf.end + fin - t.snd_nxt)
        raise os_error(errno.ENOTTY)

    def shutdown(self, how: int) -> None:
        """End one direction or both. Raises OSError: EINVAL, ENOTCONN."""
        if how not in (SHUT_RD, SHUT_WR, SHUT_RDWR):
            raise os_error(errno.EINVAL)
        now = self.table.now()
        if self.listener is not None:
            if how != SHUT_WR:
                self.stop_listening()
                self.changed()
            return
        conn = self.conn
        if conn is None or self.is_over():
            raise os_error(errno.ENOTCONN)
        if conn.tcb.state == SYN_SENT:
            self.disconnect()
            return
        if how in (SHUT_RD, SHUT_RDWR):
            self.read_shut = True
        if how in (SHUT_WR, SHUT_RDWR):
            self.write_shut = True
            conn.close(now)
        self.changed()

    def stop_listening(self) -> None:
        """The listener ends; connections that nobody accepted are reset."""
        listener = self.listener
        assert listener is not None
        self.listener = None
        listener.owner = None
        listener.close(self.table.now())
        self.table.ports.closed(listener)

    def release(self) -> Operation | None:
        now = self.table.now()
        self.table.ports.unbind(self)
        self.deferred = None
        if self.listener is not None:
            self.stop_listening()
            return None
        conn = self.conn
        if conn is None:
            return None
        lingers = conn.tcb.config.linger > 0 and not self.nonblocking
        conn.release(now)
        if lingers and self.still_closing():
            return Linger(Call("close", (), now), self, conn.tcb.config.linger)
        # Nobody listens to what becomes of it; who it was is still asked when its port is to be bound again.
        return None

    def still_closing(self) -> bool:
        """What was sent, the FIN included, is not all acknowledged."""
        return self.state in (FIN_WAIT_1, CLOSING, LAST_ACK, ESTABLISHED)


class Linger(Operation):
    """close of a socket with SO_LINGER: it waits until the peer has acknowledged everything, and fails never."""

    __slots__ = ("sock",)

    def __init__(self, call: Call, sock: TcpSocket, timeout: int) -> None:
        super().__init__(call, (sock,), timeout)
        self.sock = sock

    def step(self) -> int | None:
        return None if self.sock.still_closing() else 0

    def expire(self) -> int:
        return 0
