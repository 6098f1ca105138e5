"""Opening connections: one attempt, one after the other, or staggered (Happy Eyeballs, RFC 8305)."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Sequence
from typing import TYPE_CHECKING

from plankroad.aio.errors import os_error
from plankroad.aio.names import family_of, socket_name
from plankroad.endpoint import EVENT_CLOSED, EVENT_CONNECTED, EVENT_ERROR

if TYPE_CHECKING:
    from plankroad.aio.driver import Driver
    from plankroad.tcp.config import TcpConfig
    from plankroad.tcp.connection import Connection


class Attempt:
    """Owner of a connection until it is established and has a transport.

    `events`: what was raised meanwhile, for `TcpTransport.start`.
    """

    __slots__ = ("connection", "done", "events")

    def __init__(self, connection: Connection, loop: asyncio.AbstractEventLoop) -> None:
        self.connection = connection
        self.events = 0
        self.done: asyncio.Future[None] = loop.create_future()
        connection.owner = self

    def handle_events(self, events: int) -> None:
        """See `EventHandler`."""
        self.events |= events
        if self.done.done():
            return
        if events & EVENT_CONNECTED:
            self.done.set_result(None)
        elif events & (EVENT_ERROR | EVENT_CLOSED):
            conn = self.connection
            name = socket_name(conn.remote_addr, conn.remote_port)
            self.done.set_exception(os_error(conn.error or errno.ECONNREFUSED, f"Connect call failed {name}"))

    def give_up(self, driver: Driver) -> None:
        """Nobody wants the connection: reset it."""
        self.connection.owner = None
        self.connection.abort(driver.scheduler.now())
        driver.push()


async def connect_one(
    driver: Driver,
    remote: bytes,
    port: int,
    locals_: Sequence[tuple[bytes, int]],
    config: TcpConfig | None,
    fast_open: bool,
) -> Attempt:
    """An established connection to `remote`, from the first of `locals_` that is of its family and can be bound.

    With `fast_open` and a cookie it is one whose SYN waits for the first write (`Connection.awaits_write`): it is given
    back at once, and whether anybody answers is seen later.

    Raises OSError with the reason; on cancellation the attempt is given up.
    """
    local, local_port = b"", 0
    if locals_:
        matching = [pair for pair in locals_ if len(pair[0]) == len(remote)]
        if not matching:
            raise OSError(
                errno.EAFNOSUPPORT,
                f"no matching local address with family={family_of(remote).name} found",
            )
        local, local_port = matching[0]
        if not any(local):
            local = b""
    try:
        connection = driver.stack.connect(
            driver.scheduler.now(), remote, port, local, local_port, config, fast_open=fast_open
        )
    except OSError as exc:
        if exc.errno in (errno.EADDRINUSE, errno.EADDRNOTAVAIL) and locals_:
            name = socket_name(local, local_port) if local else local_port
            detail = f"error while attempting to bind on address {name!r}: {str(exc.strerror).lower()}"
            raise OSError(exc.errno, detail) from None
        raise OSError(exc.errno, f"Connect call failed {socket_name(remote, port)}: {exc.strerror}") from None
    attempt = Attempt(connection, asyncio.get_running_loop())
    driver.push()
    if connection.awaits_write():
        return attempt
    try:
        await attempt.done
    except asyncio.CancelledError:
        attempt.give_up(driver)
        raise
    return attempt


async def connect_any(
    driver: Driver,
    remotes: Sequence[bytes],
    port: int,
    locals_: Sequence[tuple[bytes, int]],
    config: TcpConfig | None,
    delay: float | None,
    fast_open: bool = False,
) -> tuple[Attempt | None, list[OSError]]:
    """The first connection to succeed, and the errors of the attempts that failed before it.

    `delay` None: one address after the other. Otherwise RFC 8305 section 5: the next attempt begins `delay` seconds
    after the last or when one fails; the first that succeeds ends the others.
    """
    errors: list[OSError] = []
    if delay is None:
        for remote in remotes:
            try:
                return await connect_one(driver, remote, port, locals_, config, fast_open), errors
            except OSError as exc:
                errors.append(exc)
        return None, errors
    return await _staggered(driver, remotes, port, locals_, config, delay, fast_open, errors)


async def _staggered(
    driver: Driver,
    remotes: Sequence[bytes],
    port: int,
    locals_: Sequence[tuple[bytes, int]],
    config: TcpConfig | None,
    delay: float,
    fast_open: bool,
    errors: list[OSError],
) -> tuple[Attempt | None, list[OSError]]:
    waiting = list(remotes)
    running: set[asyncio.Task[Attempt]] = set()
    winner: Attempt | None = None
    try:
        while waiting or running:
            if waiting:
                coroutine = connect_one(driver, waiting.pop(0), port, locals_, config, fast_open)
                running.add(asyncio.ensure_future(coroutine))
            done, running = await asyncio.wait(
                running, timeout=delay if waiting else None, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                exc = task.exception()
                if isinstance(exc, OSError):
                    errors.append(exc)
                elif exc is not None:
                    raise exc
                elif winner is None:
                    winner = task.result()
                else:
                    task.result().give_up(driver)
            if winner is not None:
                return winner, errors
        return None, errors
    except BaseException:
        if winner is not None:
            winner.give_up(driver)
        raise
    finally:
        for task in running:
            task.cancel()
        if running:
            for result in await asyncio.gather(*running, return_exceptions=True):
                if isinstance(result, Attempt):
                    result.give_up(driver)


def interleave_families(addresses: Sequence[bytes], first: int) -> list[bytes]:
    """RFC 8305 section 4: alternate families; `first` addresses of the first one's family come first."""
    leading = [address for address in addresses if len(address) == len(addresses[0])] if addresses else []
    other = [address for address in addresses if len(address) != len(addresses[0])] if addresses else []
    ordered = leading[: max(first - 1, 0)]
    leading = leading[max(first - 1, 0) :]
    for i in range(max(len(leading), len(other))):
        ordered += leading[i : i + 1]
        ordered += other[i : i + 1]
    return ordered
