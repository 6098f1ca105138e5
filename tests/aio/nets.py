"""Two grounds for the same scenario: the kernel's loopback under asyncio, and two stacks of ours joined by a link.

Ours run in virtual time (`run_virtual`), or on asyncio's own loop (`run`).

A `Net` has two ends. Each end has the methods of an event loop that open and serve; `host` is the server's address.
"""

from __future__ import annotations

import asyncio
import pathlib
import random
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from plankroad.aio.open import open_link
from plankroad.aio.stack import AsyncStack
from plankroad.link.memory import MemoryLink
from plankroad.sim.events import Simulator
from plankroad.sim.loop import SimulatedLoop
from plankroad.stack.config import StackConfig

#: Seconds that a scenario may take; none comes near it unless something hangs.
LIMIT = 20.0

#: A key and its certificate for server.test and 10.0.0.1, of nobody, valid until 2126.
TLS = pathlib.Path(__file__).parent / "tls"


class Net:
    """`client` and `server`: an event loop, or an `AsyncStack`. `kernel`: it is the former."""

    def __init__(self, client: Any, server: Any, host: str, *, kernel: bool) -> None:
        self.client = client
        self.server = server
        self.host = host
        self.kernel = kernel

    async def streams(self, port: int, **kwds: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """`open_connection` from the client's end."""
        if self.kernel:
            return await asyncio.open_connection(self.host, port, **kwds)
        opened: tuple[asyncio.StreamReader, asyncio.StreamWriter]
        opened = await self.client.open_connection(self.host, port, **kwds)
        return opened

    async def serve(self, callback: Callable[..., Any], **kwds: Any) -> Any:
        """`start_server` at the server's end, on a free port."""
        if self.kernel:
            return await asyncio.start_server(callback, self.host, 0, **kwds)
        return await self.server.start_server(callback, self.host, 0, **kwds)


@asynccontextmanager
async def kernel_net() -> AsyncIterator[Net]:
    """The kernel's loopback interface, under asyncio's own transports."""
    loop = asyncio.get_running_loop()
    yield Net(loop, loop, "127.0.0.1", kernel=True)


@asynccontextmanager
async def plank_net(
    *,
    mtu: int = 1500,
    config: StackConfig | None = None,
    gso: bool = False,
    queue_packets: int = 1024,
    hosts: dict[str, str] | None = None,
) -> AsyncIterator[Net]:
    """Two stacks, 10.0.0.1 (server) and 10.0.0.2 (client), also fd00::1 and fd00::2."""
    ends = MemoryLink.pair(mtu, tx_csum=gso, gso_max_size=65535 if gso else 0, queue_packets=queue_packets)
    stacks: list[AsyncStack] = []
    for i, link in enumerate(ends):
        stacks.append(
            open_link(
                link,
                address=[f"10.0.0.{i + 1}/24", f"fd00::{i + 1}/64"],
                config=config,
                rng=random.Random(i),
                secret=bytes([i]) * 32,
                hosts={"server.test": ["10.0.0.1", "fd00::1"], **(hosts or {})},
            )
        )
    try:
        yield Net(stacks[1], stacks[0], "10.0.0.1", kernel=False)
    finally:
        await asyncio.gather(stacks[0].aclose(2.0), stacks[1].aclose(2.0))


T = TypeVar("T")


def run_virtual(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in virtual time."""
    with asyncio.Runner(loop_factory=lambda: SimulatedLoop(Simulator())) as runner:
        return runner.run(main)


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on asyncio's own loop."""
    return asyncio.run(main)


def given(protocol: Any) -> Any:
    """`functools.partial(given, protocol)`: a factory of one protocol."""
    return protocol


def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """TLS for a client and for the server server.test."""
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(TLS / "cert.pem", TLS / "key.pem")
    return ssl.create_default_context(cafile=str(TLS / "cert.pem")), server


class Recorder(asyncio.Protocol):
    """Writes down each callback in order; data that comes in pieces is written down as one."""

    def __init__(self, *, keep_open: bool | None = None) -> None:
        self.log: list[Any] = []
        self.keep_open = keep_open
        self.transport: Any = None
        self.received = bytearray()
        self.changed = asyncio.Event()
        self.pauses = 0

    def note(self, *entry: Any) -> None:
        """Write down; wakes whoever waits in `until`."""
        self.log.append(entry if len(entry) > 1 else entry[0])
        self.changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for a condition that a callback brings about."""
        while not condition():
            self.changed.clear()
            await self.changed.wait()

    async def lost(self) -> None:
        """Wait for connection_lost."""
        await self.until(lambda: any(isinstance(e, tuple) and e[0] == "lost" for e in self.log))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.note("made")

    def data_received(self, data: bytes) -> None:
        assert data
        self.received += data
        if self.log[-1] != "data":
            self.note("data")
        self.changed.set()

    def eof_received(self) -> bool | None:
        self.note("eof")
        return self.keep_open

    def pause_writing(self) -> None:
        self.pauses += 1
        self.note("pause")

    def resume_writing(self) -> None:
        self.note("resume")

    def connection_lost(self, exc: Exception | None) -> None:
        self.note("lost", None if exc is None else type(exc).__name__)


def with_net(main: Callable[[Net], Awaitable[Any]], **kwds: Any) -> Any:
    """Run `main` on two stacks in virtual time; both must be empty in the end."""

    async def inside() -> Any:
        complaints: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: complaints.append(context))
        async with asyncio.timeout(600), plank_net(**kwds) as net:
            result = await main(net)
        assert complaints == []
        assert net.client.active == 0
        assert net.server.active == 0
        return result

    return run_virtual(inside())


async def pair(net: Net, **kwds: Any) -> tuple[Recorder, Recorder, Any]:
    """Two connected recorders and the server."""
    client, server = Recorder(), Recorder()
    listening = await net.server.create_server(lambda: server, net.host, 0)
    port = listening.sockets[0].getsockname()[1]
    await net.client.create_connection(lambda: client, net.host, port, **kwds)
    await server.until(lambda: "made" in server.log)
    return client, server, listening
