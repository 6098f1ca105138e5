"""System calls that ask which descriptors are ready: poll and epoll.

What each is given and leaves in `call` is told in `plankroad.testing.call`.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from plankroad.aio.sockopt import os_error
from plankroad.testing.abi import SOCK_CLOEXEC
from plankroad.testing.call import Call
from plankroad.testing.descriptor import Operation
from plankroad.testing.epoll import Epoll, EpollWait, Poll
from plankroad.testing.plainfile import PlainFile

if TYPE_CHECKING:
    from plankroad.testing.syscalls import SyscallTable


def sys_poll(table: SyscallTable, call: Call, entries: Sequence[tuple[int, int]], timeout: int) -> Operation:
    return Poll(call, [(fd, events, table.fds.get(fd)) for fd, events in entries], timeout)


def sys_epoll_create(table: SyscallTable, call: Call, size: int) -> int:
    if size <= 0:
        raise os_error(errno.EINVAL)
    return table.open(Epoll(table))


def sys_epoll_create1(table: SyscallTable, call: Call, flags: int) -> int:
    if flags & ~SOCK_CLOEXEC:
        raise os_error(errno.EINVAL)
    return table.open(Epoll(table))


def sys_epoll_ctl(table: SyscallTable, call: Call, epfd: int, operation: int, fd: int, events: int, data: int) -> int:
    epoll = table.get(epfd)
    description = table.get(fd)
    if not isinstance(epoll, Epoll):
        raise os_error(errno.EINVAL)
    if isinstance(description, PlainFile):
        raise os_error(errno.EPERM)
    epoll.control(operation, fd, description, events, data)
    return 0


def sys_epoll_wait(table: SyscallTable, call: Call, epfd: int, limit: int, timeout: int) -> Operation:
    epoll = table.get(epfd)
    if not isinstance(epoll, Epoll) or limit <= 0:
        raise os_error(errno.EINVAL)
    return EpollWait(call, epoll, limit, timeout)


CALLS: Final[dict[str, Callable[..., int | Operation]]] = {
    "poll": sys_poll,
    "epoll_create": sys_epoll_create,
    "epoll_create1": sys_epoll_create1,
    "epoll_ctl": sys_epoll_ctl,
    "epoll_wait": sys_epoll_wait,
}
