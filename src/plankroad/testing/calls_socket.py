"""System calls about descriptors and sockets themselves: opening, names, options, closing.

What each is given and leaves in `call` is told in `plankroad.testing.call`.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

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
    O_APPEND,
    O_NONBLOCK,
    O_RDWR,
    SOCK_CLOEXEC,
    SOCK_DGRAM,
    SOCK_NONBLOCK,
    SOCK_STREAM,
    SOCK_TYPE_MASK,
)
from plankroad.testing.call import Call, SockName
from plankroad.testing.descriptor import Operation
from plankroad.testing.tcpio import Accept, Connect
from plankroad.testing.tcpsocket import TcpSocket
from plankroad.testing.udpsocket import UdpSocket

if TYPE_CHECKING:
    from plankroad.testing.syscalls import SyscallTable


def sys_socket(table: SyscallTable, call: Call, family: int, kind: int, protocol: int) -> int:
    if family not in (AF_INET, AF_INET6):
        raise os_error(errno.EAFNOSUPPORT)
    if kind & ~(SOCK_TYPE_MASK | SOCK_NONBLOCK | SOCK_CLOEXEC):
        raise os_error(errno.EINVAL)
    sock: TcpSocket | UdpSocket
    if kind & SOCK_TYPE_MASK == SOCK_STREAM:
        if protocol not in (0, IPPROTO_TCP):
            raise os_error(errno.EPROTONOSUPPORT)
        sock = TcpSocket(table, family)
    elif kind & SOCK_TYPE_MASK == SOCK_DGRAM:
        if protocol not in (0, IPPROTO_UDP):
            raise os_error(errno.EPROTONOSUPPORT)
        sock = UdpSocket(table, family)
    else:
        raise os_error(errno.ESOCKTNOSUPPORT)
    sock.flags = O_RDWR | (kind & SOCK_NONBLOCK)
    return table.open(sock)


def sys_bind(table: SyscallTable, call: Call, fd: int, name: SockName | None) -> int:
    sock = table.socket(fd)
    if name is None:
        raise os_error(errno.EFAULT)
    sock.bind(name)
    return 0


def sys_listen(table: SyscallTable, call: Call, fd: int, backlog: int) -> int:
    sock = table.socket(fd)
    if isinstance(sock, UdpSocket):
        raise os_error(errno.EOPNOTSUPP)
    sock.listen(backlog)
    return 0


def sys_accept(table: SyscallTable, call: Call, fd: int) -> Operation:
    return sys_accept4(table, call, fd, 0)


def sys_accept4(table: SyscallTable, call: Call, fd: int, flags: int) -> Operation:
    sock = table.socket(fd)
    if flags & ~(SOCK_NONBLOCK | SOCK_CLOEXEC):
        raise os_error(errno.EINVAL)
    if isinstance(sock, UdpSocket):
        raise os_error(errno.EOPNOTSUPP)
    if sock.listener is None:
        raise os_error(errno.EINVAL)
    return Accept(call, sock, flags)


def sys_connect(table: SyscallTable, call: Call, fd: int, name: SockName | None) -> int | Operation:
    sock = table.socket(fd)
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


def sys_fcntl(table: SyscallTable, call: Call, fd: int, command: int, argument: int = 0) -> int:
    description = table.get(fd)
    if command == F_GETFL:
        return description.flags
    if command == F_SETFL:
        settable = O_NONBLOCK | O_APPEND
        description.flags = (description.flags & ~settable) | (argument & settable)
        return 0
    if command in (F_GETFD, F_SETFD):
        return 0
    raise os_error(errno.EINVAL)


def sys_ioctl(table: SyscallTable, call: Call, fd: int, request: int, argument: int = 0) -> int:
    description = table.get(fd)
    if request == FIONBIO:
        description.flags = description.flags & ~O_NONBLOCK | (O_NONBLOCK if argument else 0)
        return 0
    call.number = description.ioctl(request)
    return 0


def sys_close(table: SyscallTable, call: Call, fd: int) -> int | Operation:
    waits = table.close(fd)
    if waits is None:
        return 0
    waits.call = call
    return waits


def sys_shutdown(table: SyscallTable, call: Call, fd: int, how: int) -> int:
    table.socket(fd).shutdown(how)
    return 0


def sys_getsockname(table: SyscallTable, call: Call, fd: int) -> int:
    call.name = table.socket(fd).local_name()
    return 0


def sys_getpeername(table: SyscallTable, call: Call, fd: int) -> int:
    call.name = table.socket(fd).remote_name()
    return 0


def sys_getsockopt(table: SyscallTable, call: Call, fd: int, level: int, option: int, size: int) -> int:
    options.get_option(table.get(fd), call, level, option, size)
    return 0


def sys_setsockopt(table: SyscallTable, call: Call, fd: int, level: int, option: int, value: bytes | None) -> int:
    options.set_option(table.get(fd), level, option, value)
    return 0


CALLS: Final[dict[str, Callable[..., int | Operation]]] = {
    "socket": sys_socket,
    "bind": sys_bind,
    "listen": sys_listen,
    "accept": sys_accept,
    "accept4": sys_accept4,
    "connect": sys_connect,
    "fcntl": sys_fcntl,
    "ioctl": sys_ioctl,
    "close": sys_close,
    "shutdown": sys_shutdown,
    "getsockname": sys_getsockname,
    "getpeername": sys_getpeername,
    "getsockopt": sys_getsockopt,
    "setsockopt": sys_setsockopt,
}
