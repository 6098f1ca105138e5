"""The system calls of a program on a `Stack`: a table of file descriptors, blocking as on Linux, in anyone's time.

    table = SyscallTable(stack, clock, push)
    call = table.start("accept", 3)          # `plankroad.testing.call` has the table of calls and their arguments
    ...                                      # packets come, time goes on
    assert call.done and call.value == 4

Whoever drives the stack calls `settle` after its output was polled (it hands the stack's events to the sockets, whose
calls go on), `expire` when `next_deadline` has come, and may call `before_output`. `clock` tells the time; `push` is
called after a call that may have given the stack something to send. A call that must wait is `pending`; nothing here
waits itself.

The virtual ground of packet scripts and the Python face (`plankroad.testing.sockets`) both stand on this.
"""

from __future__ import annotations

import errno
import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, Protocol, cast

from plankroad.aio.sockopt import os_error
from plankroad.testing import options
from plankroad.testing.abi import (
    AF_INET,
    AF_INET6,
    AF_UNSPEC,
    F_GETFD,
    F_GETFL,
    F_SETFD,
    F_SETFL,
    FIONBIO,
    IPPROTO_TCP,
    IPPROTO_UDP,
    MSG_FASTOPEN,
    MSG_ZEROCOPY,
    O_ACCMODE,
    O_APPEND,
    O_CREAT,
    O_NONBLOCK,
    O_RDONLY,
    O_RDWR,
    SOCK_CLOEXEC,
    SOCK_DGRAM,
    SOCK_NONBLOCK,
    SOCK_STREAM,
    SOCK_TYPE_MASK,
)
from plankroad.testing.call import BadBuffer, Call, SockName
from plankroad.testing.descriptor import Description, Operation
from plankroad.testing.epoll import Epoll, EpollWait, Poll
from plankroad.testing.plainfile import Done, PipeEnd, PlainFile
from plankroad.testing.portbook import PortBook
from plankroad.testing.tcpio import Accept, Connect, FastOpenWrite, TcpRead, TcpWrite
from plankroad.testing.tcpsocket import TcpSocket
from plankroad.testing.transfer import SendFile, Splice
from plankroad.testing.udpsocket import UdpSocket
from plankroad.units import NEVER

if TYPE_CHECKING:
    from plankroad.stack.stack import Stack

#: Descriptors that a program has already when it begins: standard input, output and error.
_FIRST_FD: Final = 3

#: Descriptors at once, as Linux's usual limit.
_MAX_FDS: Final = 1 << 20


class _Handler(Protocol):
    def handle_events(self, events: int) -> None: ...


class SocketPolicy:
    """What a kernel decides for all its sockets, and is no part of TCP (Linux's net.core and net.ipv4 sysctls).

    `somaxconn`: the largest backlog. `wmem_max`, `rmem_max`: the largest buffers that a program may ask for.
    `fast_open_client`: MSG_FASTOPEN and TCP_FASTOPEN_CONNECT may be used; `fast_open_server`: TCP_FASTOPEN has effect;
    `fast_open_listeners`: a listener that did not choose has Fast Open, for as many as its backlog.
    `notsent_lowat`: TCP_NOTSENT_LOWAT of sockets that choose none. `syn_retries`: what TCP_SYNCNT says where nothing
    was chosen.
    """

    def __init__(self) -> None:
        self.somaxconn = 4096
        self.wmem_max = 1 << 30
        self.rmem_max = 1 << 30
        self.fast_open_client = True
        self.fast_open_server = True
        self.fast_open_listeners = False
        self.notsent_lowat = 0xFFFFFFFF
        self.syn_retries = 6


class CallError(ValueError):
    """There is no such call, or its arguments are not those of the table in `plankroad.testing.call`."""


class SyscallTable:
    """One program's descriptors. `files`: content by path, for `open`; a path that is not there is ENOENT."""

    def __init__(self, stack: Stack, clock: Callable[[], int], push: Callable[[], None]) -> None:
        self.stack = stack
        self.now = clock
        self.push = push
        self.policy = SocketPolicy()
        self.ports = PortBook(self)
        self.files: dict[str, bytearray] = {}
        self.fds: dict[int, Description | None] = {}
        self.pending: list[Operation] = []
        #: What is taken off the clock for the times of a `Call`.
        self.origin = 0
        #: Told of each call that has returned.
        self.on_return: Callable[[Call], object] | None = None

    # For whoever drives the stack

    def start(self, kind: str, *arguments: object) -> Call:
        """Begin a call. CallError for what is no call of the table; everything else is told by the `Call`."""
        known = _CALLS.get(kind)
        if known is None:
            raise CallError(f"there is no system call {kind!r} here; there are {', '.join(sorted(_CALLS))}")
        handler, least, most = known
        if not least <= len(arguments) <= most:
            raise CallError(f"{kind} takes {most} arguments, not {len(arguments)}")
        call = Call(kind, arguments, self.now() - self.origin)
        try:
            result = handler(self, call, *arguments)
        except OSError as exc:
            self._finish(call, -1, exc.errno or errno.EIO)
        else:
            if isinstance(result, Operation):
                self._begin(result)
            else:
                self._finish(call, result, 0)
        self.push()
        return call

    def settle(self) -> bool:
        """Hand the stack's events to the sockets; true where there was one, and output is to be polled again."""
        endpoint = self.stack.poll_endpoint()
        handled = False
        while endpoint is not None:
            owner = endpoint.owner
            events = endpoint.poll_events()
            if owner is not None and events:
                handled = True
                cast("_Handler", owner).handle_events(events)
            endpoint = self.stack.poll_endpoint()
        return handled

    def before_output(self) -> None:
        """To be called before the stack's output is polled: writers that waited for a handshake which is over go on, so
        that its last ACK carries their data (as on Linux, which saves an ACK where a writer waits).
        """
        for operation in self.pending:
            if operation.handshake_over():
                self.retry([operation])
                return

    def next_deadline(self) -> int:
        """When a pending call waits no longer; NEVER where none has a limit."""
        when = NEVER
        for operation in self.pending:
            if operation.deadline < when:
                when = operation.deadline
        return when

    def expire(self) -> None:
        """End the calls whose deadline has come."""
        now = self.now()
        for operation in [one for one in self.pending if one.deadline <= now]:
            if operation in self.pending:
                self._end(operation)
        self.push()

    def abandon(self, call: Call) -> None:
        """Nobody waits for `call` any more: it is taken out, and never done."""
        for operation in self.pending:
            if operation.call is call:
                self._remove(operation)
                return

    def close_all(self) -> None:
        """The program ends: what it has open is closed, what it waits for is forgotten."""
        for operation in list(self.pending):
            self._remove(operation)
        for fd in list(self.fds):
            description = self.fds.pop(fd)
            if description is not None:
                self._unref(description)
        for operation in list(self.pending):
            self._remove(operation)
        self.push()

    def refresh(self) -> None:
        """The stack's configuration was changed: listeners take it over, as connections that begin do by themselves."""
        for description in self.fds.values():
            if isinstance(description, TcpSocket) and description.listener is not None:
                self.refresh_listener(description)

    def refresh_listener(self, sock: TcpSocket) -> None:
        """Connections that `sock` accepts from now on are configured as it is now."""
        if sock.listener is not None:
            config = sock.config()
            sock.listener.config = config
            sock.listener.fast_open_queue = config.fast_open_queue

    def connection(self, fd: int) -> TcpSocket:
        """The TCP socket at `fd`. Raises OSError: EBADF, ENOTSOCK."""
        description = self.get(fd)
        if not isinstance(description, TcpSocket):
            raise os_error(errno.ENOTSOCK)
        return description

    # For descriptions

    def retry(self, waiters: Sequence[Operation]) -> None:
        """Something changed: take the step of each of these again."""
        for operation in list(waiters):
            if operation not in self.pending:
                continue
            try:
                value = operation.step()
            except OSError as exc:
                self._remove(operation)
                self._finish(operation.call, -1, exc.errno or errno.EIO)
            else:
                if value is not None:
                    self._remove(operation)
                    self._finish(operation.call, value, 0)
        self.push()

    def get(self, fd: int) -> Description:
        """What is open at `fd`. Raises OSError with EBADF."""
        description = self.fds.get(fd)
        if description is None:
            raise os_error(errno.EBADF)
        return description

    def reserve_fd(self) -> int:
        """The lowest free descriptor, taken. Raises OSError with EMFILE."""
        fd = _FIRST_FD
        while fd in self.fds:
            fd += 1
        if fd >= _MAX_FDS:
            raise os_error(errno.EMFILE)
        self.fds[fd] = None
        return fd

    def unreserve_fd(self, fd: int) -> None:
        """Give back what `reserve_fd` took."""
        if self.fds.get(fd, self) is None:
            del self.fds[fd]

    def install(self, fd: int, description: Description) -> int:
        """Open `description` at a reserved descriptor."""
        self.fds[fd] = description
        description.refs += 1
        return fd

    def new_tcp(self, family: int) -> TcpSocket:
        """A fresh TCP socket that has no descriptor yet."""
        return TcpSocket(self, family)

    # Inside

    def _open(self, description: Description) -> int:
        return self.install(self.reserve_fd(), description)

    def _finish(self, call: Call, value: int, error: int) -> None:
        call.value = value
        call.errno = error
        call.ended = self.now() - self.origin
        call.done = True
        if self.on_return is not None:
            self.on_return(call)

    def _begin(self, operation: Operation) -> None:
        call = operation.call
        try:
            value = operation.step()
            if value is None and operation.timeout <= 0:
                value = operation.expire()
        except OSError as exc:
            self._finish(call, -1, exc.errno or errno.EIO)
            return
        if value is not None:
            self._finish(call, value, 0)
            return
        if operation.timeout < NEVER:
            operation.deadline = self.now() + operation.timeout
        self.pending.append(operation)
        for description in operation.watched:
            description.waiters.append(operation)
            description.refs += 1

    def _end(self, operation: Operation) -> None:
        self._remove(operation)
        try:
            value = operation.expire()
        except OSError as exc:
            self._finish(operation.call, -1, exc.errno or errno.EIO)
        else:
            self._finish(operation.call, value, 0)

    def _remove(self, operation: Operation) -> None:
        self.pending.remove(operation)
        for description in operation.watched:
            description.waiters.remove(operation)
            self._unref(description)

    def _unref(self, description: Description) -> Operation | None:
        """One descriptor or call less holds it; without any it is released, which may take time."""
        description.refs -= 1
        if description.refs == 0 and not description.released:
            description.released = True
            for interest in list(description.interests):
                for fd, known in list(interest.epoll.by_fd.items()):
                    if known is interest:
                        interest.epoll.forget(fd)
            return description.release()
        return None

    def _socket(self, fd: int) -> TcpSocket | UdpSocket:
        description = self.get(fd)
        if not isinstance(description, TcpSocket | UdpSocket):
            raise os_error(errno.ENOTSOCK)
        return description

    # The calls: what they are given and what they leave in `call` is told in `plankroad.testing.call`.

    def sys_socket(self, call: Call, family: int, kind: int, protocol: int) -> int:
        if family not in (AF_INET, AF_INET6):
            raise os_error(errno.EAFNOSUPPORT)
        if kind & ~(SOCK_TYPE_MASK | SOCK_NONBLOCK | SOCK_CLOEXEC):
            raise os_error(errno.EINVAL)
        sock: TcpSocket | UdpSocket
        if kind & SOCK_TYPE_MASK == SOCK_STREAM:
            if protocol not in (0, IPPROTO_TCP):
                raise os_error(errno.EPROTONOSUPPORT)
            sock = TcpSocket(self, family)
        elif kind & SOCK_TYPE_MASK == SOCK_DGRAM:
            if protocol not in (0, IPPROTO_UDP):
                raise os_error(errno.EPROTONOSUPPORT)
            sock = UdpSocket(self, family)
        else:
            raise os_error(errno.ESOCKTNOSUPPORT)
        sock.flags = O_RDWR | (kind & SOCK_NONBLOCK)
        return self._open(sock)

    def sys_bind(self, call: Call, fd: int, name: SockName | None) -> int:
        sock = self._socket(fd)
        if name is None:
            raise os_error(errno.EFAULT)
        sock.bind(name)
        return 0

    def sys_listen(self, call: Call, fd: int, backlog: int) -> int:
        sock = self._socket(fd)
        if isinstance(sock, UdpSocket):
            raise os_error(errno.EOPNOTSUPP)
        sock.listen(backlog)
        return 0

    def sys_accept(self, call: Call, fd: int) -> Operation:
        return self.sys_accept4(call, fd, 0)

    def sys_accept4(self, call: Call, fd: int, flags: int) -> Operation:
        sock = self._socket(fd)
        if flags & ~(SOCK_NONBLOCK | SOCK_CLOEXEC):
            raise os_error(errno.EINVAL)
        if isinstance(sock, UdpSocket):
            raise os_error(errno.EOPNOTSUPP)
        if sock.listener is None:
            raise os_error(errno.EINVAL)
        return Accept(call, sock, flags)

    def sys_connect(self, call: Call, fd: int, name: SockName | None) -> int | Operation:
        sock = self._socket(fd)
        if name is None:
            raise os_error(errno.EFAULT)
        if isinstance(sock, UdpSocket):
            sock.connect(name)
            return 0
        if name.family == AF_UNSPEC:
            sock.disconnect()
            return 0
        if sock.deferred is not None:
            raise os_error(errno.EISCONN)
        if sock.conn is not None and sock.connecting:
            # A second connect asks how the first one goes.
            if not sock.connected():
                if sock.nonblocking:
                    raise os_error(errno.EALREADY)
                return Connect(call, sock)
            return 0
        if sock.fast_open_connect and sock.conn is None and sock.has_cookie(name):
            sock.deferred = name
            return 0
        sock.open(name, sock.fast_open_connect)
        return Connect(call, sock)

    def sys_read(self, call: Call, fd: int, count: int | BadBuffer) -> Operation:
        return self._read(call, fd, count, 0, False)

    def sys_recv(self, call: Call, fd: int, count: int | BadBuffer, flags: int) -> Operation:
        self._socket(fd)
        return self._read(call, fd, count, flags, False)

    def sys_recvfrom(self, call: Call, fd: int, count: int | BadBuffer, flags: int) -> Operation:
        self._socket(fd)
        return self._read(call, fd, count, flags, False)

    def sys_readv(self, call: Call, fd: int, counts: Sequence[int | BadBuffer]) -> Operation:
        return self._read(call, fd, _total(counts), 0, False)

    def sys_recvmsg(
        self, call: Call, fd: int, counts: Sequence[int | BadBuffer], flags: int, control: int
    ) -> Operation:
        self._socket(fd)
        return self._read(call, fd, _total(counts), flags, control > 0)

    def _read(self, call: Call, fd: int, count: int | BadBuffer, flags: int, control: bool) -> Operation:
        description = self.get(fd)
        if isinstance(count, int) and count < 0:
            raise os_error(errno.EINVAL)
        if isinstance(description, TcpSocket):
            return TcpRead(call, description, count, flags, control)
        return description.read(call, count, flags, control)

    def sys_write(self, call: Call, fd: int, data: bytes | BadBuffer) -> Operation:
        return self._write(call, fd, data, 0, None)

    def sys_writev(self, call: Call, fd: int, pieces: Sequence[bytes | BadBuffer]) -> Operation:
        return self._write(call, fd, _joined(pieces), 0, None)

    def sys_send(self, call: Call, fd: int, data: bytes | BadBuffer, flags: int) -> Operation:
        self._socket(fd)
        return self._write(call, fd, data, flags, None)

    def sys_sendto(
        self, call: Call, fd: int, data: bytes | BadBuffer, flags: int, name: SockName | None
    ) -> Operation:
        self._socket(fd)
        return self._write(call, fd, data, flags, name)

    def sys_sendmsg(
        self,
        call: Call,
        fd: int,
        pieces: Sequence[bytes | BadBuffer],
        flags: int,
        name: SockName | None,
        control: Sequence[tuple[int, int, bytes]],
    ) -> Operation:
        self._socket(fd)
        if control:
            # No control message has a meaning here.
            raise os_error(errno.EINVAL)
        return self._write(call, fd, _joined(pieces), flags, name)

    def _write(self, call: Call, fd: int, data: bytes | BadBuffer, flags: int, name: SockName | None) -> Operation:
        description = self.get(fd)
        if isinstance(data, BadBuffer):
            fresh = isinstance(description, TcpSocket) and description.conn is None and description.deferred is None
            raise os_error(errno.EPIPE if fresh and not flags & MSG_FASTOPEN else errno.EFAULT)
        if not isinstance(description, TcpSocket):
            return description.write(call, data, flags, name)
        flags &= ~MSG_ZEROCOPY  # without SO_ZEROCOPY, which this stack does not have, it means nothing
        if flags & MSG_FASTOPEN:
            if not self.policy.fast_open_client or (name is not None and name.family == AF_UNSPEC):
                raise os_error(errno.EOPNOTSUPP)
            if description.deferred is not None:
                name = description.deferred
            if name is None:
                raise os_error(errno.EINVAL)
            return FastOpenWrite(call, description, data, flags, name)
        if description.deferred is not None:
            return FastOpenWrite(call, description, data, flags, description.deferred)
        return TcpWrite(call, description, data, flags)

    def sys_fcntl(self, call: Call, fd: int, command: int, argument: int = 0) -> int:
        description = self.get(fd)
        if command == F_GETFL:
            return description.flags
        if command == F_SETFL:
            settable = O_NONBLOCK | O_APPEND
            description.flags = (description.flags & ~settable) | (argument & settable)
            return 0
        if command in (F_GETFD, F_SETFD):
            return 0
        raise os_error(errno.EINVAL)

    def sys_ioctl(self, call: Call, fd: int, request: int, argument: int = 0) -> int:
        description = self.get(fd)
        if request == FIONBIO:
            description.flags = description.flags & ~O_NONBLOCK | (O_NONBLOCK if argument else 0)
            return 0
        call.number = description.ioctl(request)
        return 0

    def sys_close(self, call: Call, fd: int) -> int | Operation:
        description = self.get(fd)
        del self.fds[fd]
        waits = self._unref(description)
        if waits is None:
            return 0
        waits.call = call
        return waits

    def sys_shutdown(self, call: Call, fd: int, how: int) -> int:
        self._socket(fd).shutdown(how)
        return 0

    def sys_getsockname(self, call: Call, fd: int) -> int:
        call.name = self._socket(fd).local_name()
        return 0

    def sys_getpeername(self, call: Call, fd: int) -> int:
        call.name = self._socket(fd).remote_name()
        return 0

    def sys_getsockopt(self, call: Call, fd: int, level: int, option: int, size: int) -> int:
        options.get_option(self.get(fd), call, level, option, size)
        return 0

    def sys_setsockopt(self, call: Call, fd: int, level: int, option: int, value: bytes | None) -> int:
        options.set_option(self.get(fd), level, option, value)
        return 0

    def sys_poll(self, call: Call, entries: Sequence[tuple[int, int]], timeout: int) -> Operation:
        return Poll(call, [(fd, events, self.fds.get(fd)) for fd, events in entries], timeout)

    def sys_epoll_create(self, call: Call, size: int) -> int:
        if size <= 0:
            raise os_error(errno.EINVAL)
        return self._open(Epoll(self))

    def sys_epoll_create1(self, call: Call, flags: int) -> int:
        if flags & ~SOCK_CLOEXEC:
            raise os_error(errno.EINVAL)
        return self._open(Epoll(self))

    def sys_epoll_ctl(self, call: Call, epfd: int, operation: int, fd: int, events: int, data: int) -> int:
        epoll = self.get(epfd)
        description = self.get(fd)
        if not isinstance(epoll, Epoll):
            raise os_error(errno.EINVAL)
        if isinstance(description, PlainFile):
            raise os_error(errno.EPERM)
        epoll.control(operation, fd, description, events, data)
        return 0

    def sys_epoll_wait(self, call: Call, epfd: int, limit: int, timeout: int) -> Operation:
        epoll = self.get(epfd)
        if not isinstance(epoll, Epoll) or limit <= 0:
            raise os_error(errno.EINVAL)
        return EpollWait(call, epoll, limit, timeout)

    def sys_open(self, call: Call, path: str, flags: int) -> int:
        content = self.files.get(path)
        if content is None:
            if not flags & O_CREAT:
                raise os_error(errno.ENOENT)
            content = self.files.setdefault(path, bytearray())
        return self._open(PlainFile(self, content, flags & (O_ACCMODE | O_APPEND | O_NONBLOCK)))

    def sys_pipe(self, call: Call) -> int:
        reader, writer = PipeEnd(self, True), PipeEnd(self, False)
        reader.other, writer.other = writer, reader
        call.fds = (self._open(reader), self._open(writer))
        return 0

    def sys_sendfile(self, call: Call, out_fd: int, in_fd: int, offset: int | None, count: int) -> Operation:
        out = self.get(out_fd)
        source = self.get(in_fd)
        if not isinstance(source, PlainFile):
            raise os_error(errno.EINVAL)
        if source.flags & O_ACCMODE not in (O_RDONLY, O_RDWR):
            raise os_error(errno.EBADF)
        if not isinstance(out, TcpSocket):
            raise os_error(errno.EINVAL)
        return SendFile(call, out, source, offset, count)

    def sys_splice(
        self,
        call: Call,
        in_fd: int,
        in_offset: int | None,
        out_fd: int,
        out_offset: int | None,
        count: int,
        flags: int,
    ) -> Operation:
        source = self.get(in_fd)
        out = self.get(out_fd)
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


def _known_calls() -> dict[str, tuple[Callable[..., int | Operation], int, int]]:
    """Each call by its name: what carries it out, and how many arguments it takes at least and at most."""
    found: dict[str, tuple[Callable[..., int | Operation], int, int]] = {}
    for name, function in vars(SyscallTable).items():
        if name.startswith("sys_"):
            parameters = list(inspect.signature(function).parameters.values())[2:]
            least = sum(parameter.default is parameter.empty for parameter in parameters)
            found[name[4:]] = (function, least, len(parameters))
    return found


_CALLS: Final = _known_calls()
