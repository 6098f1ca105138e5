"""Which sockets of a table hold which TCP ports: what bind and listen refuse, by Linux's rules for SO_REUSEADDR."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from plankroad.aio.sockopt import os_error
from plankroad.stack.ports import overlap
from plankroad.stack.tcp_open import TcpPortProbe

if TYPE_CHECKING:
    from plankroad.stack.stack import Stack
    from plankroad.tcp.listen import Listener
    from plankroad.testing.syscalls import SyscallTable
    from plankroad.testing.tcpsocket import TcpSocket


class PortBook:
    """The TCP ports of one table's sockets. Those that are bound and do not listen yet are reserved in the stack."""

    def __init__(self, table: SyscallTable) -> None:
        self.table = table
        self.holders: dict[int, list[TcpSocket]] = {}

    @property
    def stack(self) -> Stack:
        """The table's."""
        return self.table.stack

    def bind(self, sock: TcpSocket, local: bytes, port: int) -> tuple[bytes, int]:
        """Give `sock` the port (0: a free one). Raises OSError: EADDRNOTAVAIL, EADDRINUSE."""
        if any(local) and not sock.free_bind and self.stack.owner(local) is None:
            raise os_error(errno.EADDRNOTAVAIL)
        if port == 0:
            probe = TcpPortProbe(self.stack, self.table.now(), local, b"", 0)
            try:
                port = self.stack.tcp_ports.allocate(local, b"", 0, probe.in_use)
            except OSError:
                raise os_error(errno.EADDRINUSE) from None
        elif self._conflict(sock, local, port):
            raise os_error(errno.EADDRINUSE)
        self.holders.setdefault(port, []).append(sock)
        self._reserve(sock, local, port)
        return local, port

    def unbind(self, sock: TcpSocket) -> None:
        """`sock` is closed."""
        if sock.bound is None:
            return
        port = sock.bound[1]
        self._free(sock)
        there = self.holders.get(port)
        if there is not None and sock in there:
            there.remove(sock)
            if not there:
                del self.holders[port]

    def listen(self, sock: TcpSocket, local: bytes, port: int, backlog: int) -> Listener:
        """A listener at the port that `sock` has. Raises OSError with EADDRINUSE where another one listens there."""
        waiting = [other for other in self.holders.get(port, []) if other.reserved]
        for other in waiting:
            self._free(other)
        try:
            # b"" and :: are told apart by `wildcard` already.
            return self.stack.listen(self.table.now(), local, port, backlog, sock.config())
        finally:
            for other in waiting:
                if other is not sock and other.bound is not None:
                    self._reserve(other, *other.bound)

    def closed(self, listener: Listener) -> None:
        """`listener` was closed: its port is free at once, not when the stack comes by it."""
        key = (listener.local_addr, listener.local_port)
        if self.stack.listeners.get(key) is listener:
            del self.stack.listeners[key]
            self.stack.tcp_bound.remove(listener.local_addr, listener.local_port)

    def _reserve(self, sock: TcpSocket, local: bytes, port: int) -> None:
        sock.reserved = True
        self.stack.tcp_bound.add(local, port)

    def _free(self, sock: TcpSocket) -> None:
        if sock.reserved and sock.bound is not None:
            sock.reserved = False
            self.stack.tcp_bound.remove(*sock.bound)

    def _conflict(self, sock: TcpSocket, local: bytes, port: int) -> bool:
        """Linux's inet_csk_bind_conflict: only sockets that all allow reuse, and of which none listens, share."""
        mine = self.holders.get(port, [])
        for other in mine:
            assert other.bound is not None
            if overlap(local, other.bound[0]):
                if sock.reuse and other.reuse and other.listener is None:
                    continue
                if sock.reuse_port and other.reuse_port:
                    continue
                return True
        if not mine and self.stack.tcp_bound.conflict(local, port):
            return True
        # Connections that nobody holds any more, and those that were accepted.
        for (address, local_port, _, _), path in self.stack.connections.items():
            if local_port == port and overlap(local, address):
                reuse = getattr(path.connection.owner, "reuse", False)
                if not (sock.reuse and reuse):
                    return True
        return False
