"""A system call, as one that can take time: what it will have given back once it is done.

The table of calls, their arguments in order and what they leave in the `Call` (numbers are Linux's, names `SockName`;
a time-out is in milliseconds and negative for none; a `count` or `data` may be a `BadBuffer`, a value or name None,
for a pointer to no memory). `value` is the return value of the call, -1 with `errno` where it fails.

| call | arguments | besides `value` |
|---|---|---|
| `socket` | family, kind, protocol | |
| `bind`, `connect` | fd, name | |
| `listen` | fd, backlog | |
| `accept`, `accept4` | fd; accept4: flags | `name` of the peer |
| `read`, `recv`, `recvfrom` | fd, count; recv, recvfrom: flags | `data`, `name` |
| `readv` | fd, counts (a list) | `data` |
| `recvmsg` | fd, counts, flags, size of the control buffer | `data`, `name`, `control`, `flags` |
| `write`, `send`, `sendto` | fd, data; send, sendto: flags; sendto: name or None | |
| `writev` | fd, pieces (a list of bytes) | |
| `sendmsg` | fd, pieces, flags, name or None, control | |
| `fcntl` | fd, command, argument | |
| `ioctl` | fd, request | `number` |
| `close`, `shutdown` | fd; shutdown: how | |
| `getsockopt` | fd, level, option, size of the buffer | `data` |
| `setsockopt` | fd, level, option, value (bytes) | |
| `poll` | pairs of (fd, events), time-out | `ready`: pairs of (fd, revents), all of them |
| `epoll_create`, `epoll_create1` | size; flags | |
| `epoll_ctl` | epfd, operation, fd, events, 64 bits of the program | |
| `epoll_wait` | epfd, most events, time-out | `ready`: pairs of (the program's 64 bits, events) |
| `open` | path, flags | |
| `sendfile` | out fd, in fd, offset or None, count | `number`: the offset afterwards |
| `pipe` | | `fds`: read end, write end |
| `splice` | in fd, offset or None, out fd, offset or None, count, flags | |
"""

from __future__ import annotations

from typing import NamedTuple


class SockName(NamedTuple):
    """A socket's name: `family` AF_INET, AF_INET6 or AF_UNSPEC, `address` of 4 or 16 bytes (b"" for AF_UNSPEC)."""

    family: int
    address: bytes
    port: int
    scope: int = 0


class BadBuffer:
    """Stands for a pointer that is no memory of the program, NULL say, with `size` bytes said to be there."""

    __slots__ = ("size",)

    def __init__(self, size: int) -> None:
        self.size = size


class Call:
    """One system call. `done` says whether it has returned; `started` and `ended` are nanoseconds."""

    __slots__ = (
        "arguments",
        "control",
        "data",
        "done",
        "ended",
        "errno",
        "fds",
        "flags",
        "kind",
        "name",
        "number",
        "ready",
        "started",
        "value",
    )

    def __init__(self, kind: str, arguments: tuple[object, ...], started: int) -> None:
        self.kind = kind
        self.arguments = arguments
        self.started = started
        self.done = False
        self.ended = -1
        self.value = 0
        self.errno = 0
        self.data = b""
        self.name: SockName | None = None
        #: Control messages: level, type, data.
        self.control: list[tuple[int, int, bytes]] = []
        #: `msg_flags` of recvmsg.
        self.flags = 0
        self.number = 0
        self.ready: list[tuple[int, int]] = []
        self.fds: tuple[int, int] = (-1, -1)

    def __repr__(self) -> str:
        what = f"= {self.value}" + (f" errno {self.errno}" if self.errno else "") if self.done else "goes on"
        return f"<Call {self.kind}{self.arguments} {what}>"
