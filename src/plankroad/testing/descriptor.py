"""What file descriptors stand for: open descriptions, and the system calls that wait on them.

Theory of operation. A system call is an `Operation`, whose `step` does as much as can be done now and returns the
call's value, or None where it has to wait. Whoever waits is on the `waiters` of the descriptions it `watched`; when
one of these changes (an event of its endpoint, another call of the program), `Description.changed` has the table take
the step again. Nothing calls back into the program, and nothing polls.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from plankroad.aio.sockopt import os_error
from plankroad.testing.abi import O_NONBLOCK, POLLHUP, POLLIN, POLLOUT
from plankroad.testing.call import BadBuffer, Call, SockName
from plankroad.units import NEVER

if TYPE_CHECKING:
    from plankroad.testing.epoll import Interest
    from plankroad.testing.syscalls import SyscallTable


class Operation:
    """A system call under way. `timeout`: nanoseconds that it waits at most, NEVER for no limit; 0: it does not."""

    __slots__ = ("call", "deadline", "timeout", "watched")

    def __init__(self, call: Call, watched: tuple[Description, ...], timeout: int = NEVER) -> None:
        self.call = call
        self.watched = watched
        self.timeout = timeout
        self.deadline = NEVER

    def step(self) -> int | None:
        """Go on: the value to return, None to wait. Raises OSError for a call that fails."""
        raise NotImplementedError

    def handshake_over(self) -> bool:
        """It is a write that waited for a handshake, which is over."""
        return False

    def expire(self) -> int:
        """Waiting is over, or was not wanted: the value to return, EAGAIN unless there is a better one."""
        raise os_error(errno.EAGAIN)


class Description:
    """An open file, without anything yet. `refs`: descriptors and calls under way that hold it."""

    def __init__(self, table: SyscallTable) -> None:
        self.table = table
        self.flags = 0
        self.refs = 0
        self.released = False
        self.waiters: list[Operation] = []
        self.interests: list[Interest] = []

    @property
    def nonblocking(self) -> bool:
        """O_NONBLOCK is set."""
        return bool(self.flags & O_NONBLOCK)

    def changed(self, events: int = POLLIN | POLLOUT | POLLHUP) -> None:
        """Something happened that `events` tell of: whoever waits looks again."""
        for interest in self.interests:
            interest.notify(events)
        if self.waiters:
            self.table.retry(self.waiters)

    # What a kind of file may have. The errno of those that it has not is Linux's.

    def poll(self) -> int:
        """The POLL bits that hold now, of all that there are."""
        return POLLIN | POLLOUT

    def read(self, call: Call, count: int | BadBuffer, flags: int, control: bool) -> Operation:
        """read, recv and the like; with `control` there is room for control messages."""
        raise os_error(errno.EINVAL)

    def write(self, call: Call, data: bytes, flags: int, name: SockName | None) -> Operation:
        """write, send and the like."""
        raise os_error(errno.EINVAL)

    def ioctl(self, request: int) -> int:
        """The number that an ioctl gives."""
        raise os_error(errno.ENOTTY)

    def release(self) -> Operation | None:
        """The last descriptor is closed: give everything back. An operation where close waits for something."""
        return None
