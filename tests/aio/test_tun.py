"""The asyncio face against the Linux kernel, through a TUN device in a namespace of its own."""

from __future__ import annotations

import asyncio
import hashlib
import random
import socket
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from tests.interop.netns import Namespace, namespace

from plankroad.aio.open import open_tun
from plankroad.aio.stack import AsyncStack

pytestmark = [pytest.mark.root, pytest.mark.xdist_group("root")]

LIMIT = 30.0
KERNEL, OURS = "10.9.0.1", "10.9.0.2"
KERNEL6, OURS6 = "fd09::1", "fd09::2"

Main = Callable[[AsyncStack], Coroutine[Any, Any, Any]]


def inside(main: Main, **kwds: Any) -> Any:
    """Run `main` on a thread that lives in a new namespace, with a stack on a TUN device there."""

    async def limited(ns: Namespace) -> Any:
        async with asyncio.timeout(LIMIT):
            async with open_tun("plank0", address=[f"{OURS}/24", f"{OURS6}/64"], **kwds) as stack:
                result = await main(stack)
            assert "plank0" not in socket_names()
            return result

    with namespace() as ns:
        return ns.call(asyncio.run, limited(ns))


def socket_names() -> list[str]:
    """Network interfaces of the thread's namespace."""
    return [name for _, name in socket.if_nameindex()]


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send back what comes, until it ends."""
    while data := await reader.read(1 << 18):
        writer.write(data)
        await writer.drain()
    writer.close()


async def through(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, data: bytes) -> bytes:
    """Send `data`, close that half, read the rest."""

    async def send() -> None:
        writer.write(data)
        await writer.drain()
        writer.write_eof()

    sending = asyncio.ensure_future(send())
    received = await reader.read()
    await sending
    writer.close()
    await writer.wait_closed()
    return received


@pytest.mark.parametrize("offload", [True, False])
@pytest.mark.parametrize(("kernel", "ours"), [(KERNEL, OURS), (KERNEL6, OURS6)])
def test_bytes_both_ways_as_server_and_as_client(offload: bool, kernel: str, ours: str) -> None:
    data = random.Random(1).randbytes(4_000_000)
    digest = hashlib.sha256(data).digest()

    async def main(stack: AsyncStack) -> None:
        ours_listens = await stack.start_server(echo, ours, 7)
        received = await through(*await asyncio.open_connection(ours, 7), data)
        assert hashlib.sha256(received).digest() == digest
        ours_listens.close()
        kernel_listens = await asyncio.start_server(echo, kernel, 7)
        received = await through(*await stack.open_connection(kernel, 7), data)
        assert hashlib.sha256(received).digest() == digest
        kernel_listens.close()

    inside(main, offload=offload)


def test_many_connections_at_once() -> None:
    async def main(stack: AsyncStack) -> None:
        await stack.start_server(echo, OURS, 7)
        await asyncio.start_server(echo, KERNEL, 7)

        async def one(i: int) -> bytes:
            opened = await (asyncio.open_connection(OURS, 7) if i % 2 else stack.open_connection(KERNEL, 7))
            return await through(*opened, b"%d" % i * 1000)

        results = await asyncio.gather(*[one(i) for i in range(100)])
        assert results == [b"%d" % i * 1000 for i in range(100)]

    inside(main)


def test_errors_have_their_names() -> None:
    async def main(stack: AsyncStack) -> None:
        with pytest.raises(ConnectionRefusedError):
            await stack.open_connection(KERNEL, 9)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(OURS, 9)
        # A kernel's program that is killed with unread data resets.
        listening = socket.create_server((KERNEL, 0))
        listening.setblocking(False)
        loop = asyncio.get_running_loop()
        reader, writer = await stack.open_connection(KERNEL, listening.getsockname()[1])
        accepted, _ = await loop.sock_accept(listening)
        writer.write(b"unread")
        await loop.sock_recv(accepted, 1)
        accepted.close()
        with pytest.raises(ConnectionResetError):
            await reader.read()
        listening.close()
        writer.close()

    inside(main)


def test_datagrams_and_their_errors() -> None:
    class Keeps(asyncio.DatagramProtocol):
        def __init__(self) -> None:
            self.got: asyncio.Queue[Any] = asyncio.Queue()

        def datagram_received(self, data: bytes, addr: Any) -> None:
            self.got.put_nowait(data)

        def error_received(self, exc: Exception) -> None:
            self.got.put_nowait(exc)

    async def main(stack: AsyncStack) -> None:
        loop = asyncio.get_running_loop()
        kernels, at_kernel = await loop.create_datagram_endpoint(Keeps, local_addr=(KERNEL, 0))
        name = kernels.get_extra_info("sockname")
        ours, at_ours = await stack.create_datagram_endpoint(Keeps, remote_addr=name)
        ours.sendto(b"x" * 5000)
        assert await at_kernel.got.get() == b"x" * 5000
        kernels.sendto(b"answer", ours.get_extra_info("sockname"))
        assert await at_ours.got.get() == b"answer"
        kernels.close()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        ours.sendto(b"gone")
        assert isinstance(await at_ours.got.get(), ConnectionRefusedError)
        away, at_away = await loop.create_datagram_endpoint(Keeps, remote_addr=(OURS, 9))
        away.sendto(b"nobody")
        assert isinstance(await at_away.got.get(), ConnectionRefusedError)
        away.close()

    inside(main)


def test_ping_both_ways() -> None:
    async def main(stack: AsyncStack) -> None:
        for host in (KERNEL, KERNEL6):
            results = [result async for result in stack.ping(host, 3, interval=0.0, size=2000)]
            assert [result.answered for result in results] == [True] * 3
            assert [result.address for result in results] == [host] * 3
        hops = [hop async for hop in stack.traceroute(KERNEL)]
        assert [hop.addresses for hop in hops] == [[KERNEL]]

    inside(main)


def test_the_device_goes_with_the_stack() -> None:
    async def main(stack: AsyncStack) -> AsyncStack:
        assert "plank0" in socket_names()
        return stack

    stack = inside(main)
    assert stack.closed
