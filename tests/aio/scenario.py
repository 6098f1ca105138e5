"""What scenarios are made of; see `test_like_asyncio`."""

from __future__ import annotations

import asyncio
import fcntl
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Any

from tests.aio.nets import LIMIT, Net, Recorder

Scenario = Callable[[Net], Awaitable[Any]]
SCENARIOS: list[Scenario] = []

#: Linux: bytes that can be read.
FIONREAD = 0x541B


def scenario(function: Scenario) -> Scenario:
    """Register: run on both grounds, results compared."""
    SCENARIOS.append(function)
    return function


async def play(function: Scenario, ground: Any) -> tuple[Any, list[str]]:
    """The scenario's result, and what the loop's exception handler was told."""
    told: list[str] = []

    def note(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        told.append(type(context.get("exception")).__name__)

    asyncio.get_running_loop().set_exception_handler(note)
    async with asyncio.timeout(LIMIT), ground() as net:
        result = await function(net)
    return result, told


async def connected(net: Net, client: Recorder, server: Recorder, **kwds: Any) -> tuple[Any, Any]:
    """Connect two recorders; the server object and the client's transport."""
    listening = await net.server.create_server(lambda: server, net.host, 0, **kwds)
    port = listening.sockets[0].getsockname()[1]
    transport, _ = await net.client.create_connection(lambda: client, net.host, port)
    await server.until(lambda: "made" in server.log)
    return listening, transport


def contains(log: list[Any], entry: str) -> bool:
    """A condition for `until`."""
    return entry in log


async def arrived(transport: Any, count: int) -> None:
    """Until `count` bytes wait to be read."""
    while waiting(transport) < count:
        await asyncio.sleep(0)


def waiting(transport: Any) -> int:
    """Bytes that arrived and were not read."""
    connection = transport.get_extra_info("connection")
    if connection is not None:
        return int(connection.tcb.rcv_queued)
    return int(struct.unpack("i", fcntl.ioctl(transport.get_extra_info("socket").fileno(), FIONREAD, bytes(4)))[0])


async def reset(transport: Any) -> None:
    """Until the connection is CLOSED, though its transport does not know yet."""
    while transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1) != b"\x07":
        await asyncio.sleep(0)


def linger_zero(transport: asyncio.BaseTransport) -> None:
    """Make close a reset."""
    sock = transport.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
