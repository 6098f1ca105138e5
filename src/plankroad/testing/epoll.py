"""poll and epoll over a table's descriptions: level- and edge-triggered, one shot."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final

from plankroad.aio.sockopt import os_error
from plankroad.testing.abi import (
    EPOLL_CTL_ADD,
    EPOLL_CTL_DEL,
    EPOLL_CTL_MOD,
    EPOLLET,
    EPOLLEXCLUSIVE,
    EPOLLONESHOT,
    EPOLLWAKEUP,
    POLLERR,
    POLLHUP,
    POLLIN,
    POLLNVAL,
    POLLRDNORM,
)
from plankroad.testing.call import Call
from plankroad.testing.descriptor import Description, Operation
from plankroad.units import MILLISECOND, NEVER

if TYPE_CHECKING:
    from plankroad.testing.syscalls import SyscallTable

#: Bits of `events` that are no events.
_MODES: Final = EPOLLET | EPOLLONESHOT | EPOLLEXCLUSIVE | EPOLLWAKEUP


def wait_limit(timeout: int) -> int:
    """Nanoseconds for the milliseconds of poll and epoll_wait; negative is for ever."""
    return NEVER if timeout < 0 else timeout * MILLISECOND


class Poll(Operation):
    """poll: all its descriptors are looked at whenever one of them changes."""

    __slots__ = ("entries",)

    def __init__(self, call: Call, entries: list[tuple[int, int, Description | None]], timeout: int) -> None:
        watched = tuple(description for _, _, description in entries if description is not None)
        super().__init__(call, watched, wait_limit(timeout))
        self.entries = entries

    def step(self) -> int | None:
        count = 0
        ready: list[tuple[int, int]] = []
        for fd, events, description in self.entries:
            if fd < 0:
                found = 0
            elif description is None:
                found = POLLNVAL
            else:
                found = description.poll() & (events | POLLERR | POLLHUP)
            ready.append((fd, found))
            count += found != 0
        self.call.ready = ready
        return count or None

    def expire(self) -> int:
        return 0


class Interest:
    """One descriptor that an epoll instance watches."""

    __slots__ = ("armed", "data", "description", "epoll", "events")

    def __init__(self, epoll: Epoll, description: Description, events: int, data: int) -> None:
        self.epoll = epoll
        self.description = description
        self.events = events
        self.data = data
        #: It may be reported: something happened since it last was, or it is level-triggered.
        self.armed = True

    def notify(self, events: int) -> None:
        """Something happened at the description."""
        if events & (self.events | POLLERR | POLLHUP):
            self.armed = True
            if self not in self.epoll.queue:
                self.epoll.queue.append(self)
            self.epoll.changed(POLLIN | POLLRDNORM)

    def ready(self) -> int:
        """The events to report now; 0 for none."""
        if not self.armed or not self.events & ~_MODES:
            return 0
        return self.description.poll() & (self.events | POLLERR | POLLHUP)


class Epoll(Description):
    """An epoll instance. `queue` holds the interests that may be ready, in the order in which they became so."""

    def __init__(self, table: SyscallTable) -> None:
        super().__init__(table)
        self.by_fd: dict[int, Interest] = {}
        self.queue: list[Interest] = []

    def poll(self) -> int:
        return POLLIN | POLLRDNORM if any(interest.ready() for interest in self.queue) else 0

    def control(self, operation: int, fd: int, description: Description, events: int, data: int) -> None:
        """epoll_ctl. Raises OSError: EEXIST, ENOENT, EINVAL."""
        if description is self:
            raise os_error(errno.EINVAL)
        found = self.by_fd.get(fd)
        if operation == EPOLL_CTL_ADD:
            if found is not None:
                raise os_error(errno.EEXIST)
            found = Interest(self, description, events, data)
            self.by_fd[fd] = found
            description.interests.append(found)
        elif operation == EPOLL_CTL_DEL:
            if found is None:
                raise os_error(errno.ENOENT)
            self.forget(fd)
            return
        elif operation == EPOLL_CTL_MOD:
            if found is None:
                raise os_error(errno.ENOENT)
            if events & EPOLLEXCLUSIVE or found.events & EPOLLEXCLUSIVE:
                raise os_error(errno.EINVAL)
            found.events = events
            found.data = data
        else:
            raise os_error(errno.EINVAL)
        found.armed = True
        if found.ready():
            found.notify(found.description.poll())

    def forget(self, fd: int) -> None:
        """Watch `fd` no more."""
        found = self.by_fd.pop(fd)
        found.description.interests.remove(found)
        if found in self.queue:
            self.queue.remove(found)

    def collect(self, limit: int) -> list[tuple[int, int]]:
        """Up to `limit` pairs of the program's number and events, of those that are ready."""
        found: list[tuple[int, int]] = []
        later: list[Interest] = []
        queue = self.queue
        while queue and len(found) < limit:
            interest = queue.pop(0)
            events = interest.ready()
            if not events:
                # Nothing is left of what happened; it comes back when something does.
                continue
            found.append((interest.data, events))
            if interest.events & EPOLLONESHOT:
                interest.events &= _MODES
            elif interest.events & EPOLLET:
                interest.armed = False
            else:
                later.append(interest)
        queue.extend(later)
        return found

    def release(self) -> Operation | None:
        for fd in list(self.by_fd):
            self.forget(fd)
        return None


class EpollWait(Operation):
    """epoll_wait."""

    __slots__ = ("epoll", "limit")

    def __init__(self, call: Call, epoll: Epoll, limit: int, timeout: int) -> None:
        super().__init__(call, (epoll,), wait_limit(timeout))
        self.epoll = epoll
        self.limit = limit

    def step(self) -> int | None:
        found = self.epoll.collect(self.limit)
        if not found:
            return None
        self.call.ready = found
        return len(found)

    def expire(self) -> int:
        return 0
