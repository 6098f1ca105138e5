"""A UDP socket as a program's system calls see it, on the stack's `UdpEndpoint`."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from plankroad.aio.sockopt import os_error
from plankroad.endpoint import EVENT_ERROR, EVENT_READABLE, EVENT_SOFT_ERROR, EVENT_WRITABLE
from plankroad.testing.abi import (
    AF_UNSPEC,
    MSG_DONTWAIT,
    MSG_ERRQUEUE,
    MSG_OOB,
    MSG_PEEK,
    MSG_TRUNC,
    POLLERR,
    POLLHUP,
    POLLIN,
    POLLOUT,
    POLLRDHUP,
    POLLRDNORM,
    POLLWRNORM,
    SHUT_RD,
    SHUT_RDWR,
    SHUT_WR,
    SIOCINQ,
    SIOCOUTQ,
    SOCK_DGRAM,
)
from plankroad.testing.call import BadBuffer, Call, SockName
from plankroad.testing.descriptor import Description, Operation
from plankroad.testing.names import from_wire, to_wire, wildcard
from plankroad.units import NEVER

if TYPE_CHECKING:
    from plankroad.testing.syscalls import SyscallTable
    from plankroad.udp.endpoint import UdpEndpoint


class UdpSocket(Description):
    """See the module. The endpoint is made when the socket gets a port. `chosen`: fields of `UdpEndpoint` by name."""

    kind = SOCK_DGRAM

    def __init__(self, table: SyscallTable, family: int) -> None:
        super().__init__(table)
        self.family = family
        self.endpoint: UdpEndpoint | None = None
        self.chosen: dict[str, int] = {}
        self.reuse = False
        self.v6only = False
        self.rcv_timeout = NEVER
        self.snd_timeout = NEVER
        self.read_shut = False
        self.write_shut = False
        self.stored: dict[tuple[int, int], int] = {}

    def handle_events(self, events: int) -> None:
        """The stack's events of the endpoint."""
        bits = 0
        if events & EVENT_READABLE:
            bits |= POLLIN | POLLRDNORM
        if events & EVENT_WRITABLE:
            bits |= POLLOUT | POLLWRNORM
        if events & (EVENT_ERROR | EVENT_SOFT_ERROR):
            bits |= POLLIN | POLLOUT | POLLERR
        self.changed(bits)

    def poll(self) -> int:
        endpoint = self.endpoint
        if endpoint is None:
            return POLLOUT | POLLWRNORM
        mask = POLLIN | POLLRDNORM if endpoint.rcv_queue else 0
        if 2 * endpoint.snd_queued <= endpoint.snd_buf:
            mask |= POLLOUT | POLLWRNORM
        else:
            endpoint.send_blocked = True
        if endpoint.error:
            mask |= POLLERR
        if self.read_shut:
            mask |= POLLIN | POLLRDNORM | POLLRDHUP
            if self.write_shut:
                mask |= POLLHUP
        return mask

    # Names

    def local_name(self) -> SockName:
        """getsockname."""
        if self.endpoint is None:
            return from_wire(self.family, b"", 0)
        return from_wire(self.family, self.endpoint.local_addr, self.endpoint.local_port)

    def remote_name(self) -> SockName:
        """getpeername. Raises OSError with ENOTCONN."""
        if self.endpoint is None or not self.endpoint.remote_addr:
            raise os_error(errno.ENOTCONN)
        return from_wire(self.family, self.endpoint.remote_addr, self.endpoint.remote_port)

    def bind(self, name: SockName) -> None:
        """Take an address and port. Raises OSError: EINVAL (it has one), EADDRNOTAVAIL, EADDRINUSE, EAFNOSUPPORT."""
        local, port = to_wire(self.family, name, self.v6only)
        if self.endpoint is not None:
            raise os_error(errno.EINVAL)
        if not any(local):
            local = wildcard(self.family, self.v6only, local)
        self._make(local, port)

    def connect(self, name: SockName) -> None:
        """Have one peer only; AF_UNSPEC: none again. Raises what `UdpEndpoint.connect` does."""
        if name.family == AF_UNSPEC:
            if self.endpoint is not None and self.endpoint.remote_addr:
                self.endpoint.connect(b"", 0)
            return
        remote, port = to_wire(self.family, name, self.v6only)
        self.bound_endpoint().connect(remote, port)

    def bound_endpoint(self) -> UdpEndpoint:
        """The endpoint, at a port of the stack's choice where it had none."""
        if self.endpoint is None:
            self._make(wildcard(self.family, self.v6only, b""), 0)
        assert self.endpoint is not None
        return self.endpoint

    def _make(self, local: bytes, port: int) -> None:
        self.endpoint = self.table.stack.bind_udp(local, port, reuse=self.reuse)
        self.endpoint.owner = self
        for field, value in self.chosen.items():
            setattr(self.endpoint, field, value)

    # Calls

    def read(self, call: Call, count: int | BadBuffer, flags: int, control: bool) -> Operation:
        return UdpRead(call, self, count, flags)

    def write(self, call: Call, data: bytes, flags: int, name: SockName | None) -> Operation:
        if self.write_shut:
            raise os_error(errno.EPIPE)
        if flags & MSG_OOB:
            raise os_error(errno.EOPNOTSUPP)
        if len(data) > 0xFFFF:
            raise os_error(errno.EMSGSIZE)
        return UdpWrite(call, self, data, flags, name)

    def shutdown(self, how: int) -> None:
        """End one direction or both. Raises OSError: EINVAL, ENOTCONN."""
        if how not in (SHUT_RD, SHUT_WR, SHUT_RDWR):
            raise os_error(errno.EINVAL)
        if self.endpoint is None or not self.endpoint.remote_addr:
            raise os_error(errno.ENOTCONN)
        if how in (SHUT_RD, SHUT_RDWR):
            self.read_shut = True
        if how in (SHUT_WR, SHUT_RDWR):
            self.write_shut = True
        self.changed()

    def ioctl(self, request: int) -> int:
        endpoint = self.endpoint
        if request == SIOCINQ:
            return len(endpoint.rcv_queue[0].data) if endpoint is not None and endpoint.rcv_queue else 0
        if request == SIOCOUTQ:
            return endpoint.snd_queued if endpoint is not None else 0
        raise os_error(errno.ENOTTY)

    def release(self) -> Operation | None:
        if self.endpoint is not None:
            self.endpoint.owner = None
            self.endpoint.close(self.table.now())
            self.endpoint = None
        return None


class UdpRead(Operation):
    """read, recv and the like: one datagram."""

    __slots__ = ("bad", "count", "flags", "sock")

    def __init__(self, call: Call, sock: UdpSocket, count: int | BadBuffer, flags: int) -> None:
        waits = not (sock.nonblocking or flags & MSG_DONTWAIT)
        super().__init__(call, (sock,), sock.rcv_timeout if waits else 0)
        self.sock = sock
        self.bad = isinstance(count, BadBuffer)
        self.count = count.size if isinstance(count, BadBuffer) else count
        self.flags = flags

    def step(self) -> int | None:
        sock = self.sock
        endpoint = sock.endpoint
        if self.flags & MSG_OOB:
            raise os_error(errno.EOPNOTSUPP)
        if self.flags & MSG_ERRQUEUE:
            raise os_error(errno.EAGAIN)
        if endpoint is None:
            return None
        if not endpoint.rcv_queue:
            error = endpoint.take_error()
            if error:
                raise os_error(error)
            return 0 if sock.read_shut else None
        if self.bad:
            raise os_error(errno.EFAULT)
        datagram = endpoint.rcv_queue[0] if self.flags & MSG_PEEK else endpoint.receive_from()
        assert datagram is not None
        call = self.call
        call.data = datagram.data[: self.count]
        call.name = from_wire(sock.family, datagram.addr, datagram.port)
        if len(datagram.data) > self.count:
            call.flags |= MSG_TRUNC
        return len(datagram.data) if self.flags & MSG_TRUNC else len(call.data)


class UdpWrite(Operation):
    """write, send and the like: one datagram."""

    __slots__ = ("data", "name", "sock")

    def __init__(self, call: Call, sock: UdpSocket, data: bytes, flags: int, name: SockName | None) -> None:
        waits = not (sock.nonblocking or flags & MSG_DONTWAIT)
        super().__init__(call, (sock,), sock.snd_timeout if waits else 0)
        self.sock = sock
        self.data = data
        self.name = name

    def step(self) -> int | None:
        sock = self.sock
        remote, port = (b"", 0) if self.name is None else to_wire(sock.family, self.name, sock.v6only)
        if not remote and (sock.endpoint is None or not sock.endpoint.remote_addr):
            raise os_error(errno.EDESTADDRREQ)
        endpoint = sock.bound_endpoint()
        error = endpoint.take_error()
        if error:
            raise os_error(error)
        try:
            endpoint.send_to(sock.table.now(), self.data, remote, port)
        except BlockingIOError:
            return None
        return len(self.data)
