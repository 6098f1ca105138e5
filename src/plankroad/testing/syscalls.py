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
from plankroad.testing import calls_data, calls_ready, calls_socket
from plankroad.testing.call import Call
from plankroad.testing.descriptor import Description, Operation
from plankroad.testing.portbook import PortBook
from plankroad.testing.tcpsocket import TcpSocket
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

    def open(self, description: Description) -> int:
        """Open `description` at the lowest free descriptor, which is returned. Raises OSError with EMFILE."""
        return self.install(self.reserve_fd(), description)

    def close(self, fd: int) -> Operation | None:
        """Close `fd`: what is to be waited for, None where it is closed at once. Raises OSError with EBADF."""
        description = self.get(fd)
        del self.fds[fd]
        return self._unref(description)

    def socket(self, fd: int) -> TcpSocket | UdpSocket:
        """The socket at `fd`. Raises OSError: EBADF, ENOTSOCK."""
        description = self.get(fd)
        if not isinstance(description, TcpSocket | UdpSocket):
            raise os_error(errno.ENOTSOCK)
        return description

    def new_tcp(self, family: int) -> TcpSocket:
        """A fresh TCP socket that has no descriptor yet."""
        return TcpSocket(self, family)

    # Inside

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


def _known_calls() -> dict[str, tuple[Callable[..., int | Operation], int, int]]:
    """Each call by its name: what carries it out, and how many arguments it takes at least and at most."""
    found: dict[str, tuple[Callable[..., int | Operation], int, int]] = {}
    for name, function in {**calls_socket.CALLS, **calls_data.CALLS, **calls_ready.CALLS}.items():
        parameters = list(inspect.signature(function).parameters.values())[2:]
        least = sum(parameter.default is parameter.empty for parameter in parameters)
        found[name] = (function, least, len(parameters))
    return found


_CALLS: Final = _known_calls()
