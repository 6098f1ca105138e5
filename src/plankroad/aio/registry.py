"""Which transports of a stack are not finished yet: the ones that `AsyncStack.close` has to wait for."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Protocol


class Closable(Protocol):
    """What can be asked to end."""

    def close(self) -> None: ...

    def abort(self) -> None: ...


class Registry:
    """A set of transports that tells when it becomes empty.

    A TCP transport stays in it after `connection_lost`, until its connection is CLOSED or in TIME-WAIT.
    """

    __slots__ = ("_members", "_waiters")

    def __init__(self) -> None:
        self._members: set[Closable] = set()
        self._waiters: list[asyncio.Future[None]] = []

    def __len__(self) -> int:
        return len(self._members)

    def __iter__(self) -> Iterator[Closable]:
        return iter(list(self._members))

    def add(self, member: Closable) -> None:
        """Count `member` in."""
        self._members.add(member)

    def discard(self, member: Closable) -> None:
        """`member` is finished."""
        self._members.discard(member)
        if not self._members:
            waiters, self._waiters = self._waiters, []
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)

    async def wait_empty(self) -> None:
        """Return when no member is left."""
        while self._members:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            await waiter
