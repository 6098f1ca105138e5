"""Scenarios: buffers, limits, kinds of protocols, protocols that fail."""

from __future__ import annotations

import asyncio
import functools
from typing import Any

from tests.aio.nets import Net, Recorder, given
from tests.aio.scenario import arrived, connected, contains, scenario


@scenario
async def write_buffer_limits(net: Net) -> Any:
    client, server = Recorder(), Recorder()
    listening, transport = await connected(net, client, server)
    results: list[Any] = [transport.get_write_buffer_limits()]
    for high, low in ((None, None), (1000, None), (None, 100), (0, None), (100, 100), (10, 20), (-1, None)):
        try:
            transport.set_write_buffer_limits(high, low)
            results.append(transport.get_write_buffer_limits())
        except ValueError:
            results.append("ValueError")
    results.append(transport.get_write_buffer_size())
    transport.close()
    await client.lost()
    listening.close()
    return results


@scenario
async def limits_of_zero_pause_as_soon_as_anything_waits(net: Net) -> Any:
    client, server = Recorder(), Recorder()
    listening, transport = await connected(net, client, server)
    server.transport.pause_reading()
    transport.set_write_buffer_limits(0)
    small = bytes(100)
    transport.write(small)
    first = list(client.log)
    while not client.pauses:
        transport.write(bytes(1 << 20))
    server.transport.resume_reading()
    await client.until(lambda: client.log[-1] == "resume")
    size = transport.get_write_buffer_size()
    transport.close()
    await client.lost()
    listening.close()
    return first, size, client.log


@scenario
async def buffers_of_any_kind(net: Net) -> Any:
    client, server = Recorder(), Recorder()
    listening, transport = await connected(net, client, server)
    mutable = bytearray(b"<bytearray>")
    transport.write(mutable)
    mutable[:] = b"-overwritten"
    transport.write(memoryview(b"0<memoryview>0")[1:-1])
    transport.write(b"")
    transport.writelines([b"one", bytearray(b"two"), memoryview(b"three"), b""])
    transport.writelines([])
    transport.write(b".")
    await server.until(lambda: server.received.endswith(b"."))
    transport.close()
    await client.lost()
    listening.close()
    return bytes(server.received), server.log


@scenario
async def another_protocol_on_a_live_transport(net: Net) -> Any:
    client, server = Recorder(), Recorder()
    listening, transport = await connected(net, client, server)
    transport.write(b"first")
    await server.until(lambda: bytes(server.received) == b"first")
    server.transport.pause_reading()
    transport.write(b"second")
    await arrived(server.transport, 6)
    second = Recorder()
    second.log.append("put in place")
    server.transport.set_protocol(second)
    same = server.transport.get_protocol() is second
    server.transport.resume_reading()
    await second.until(lambda: bytes(second.received) == b"second")
    transport.close()
    await second.lost()
    listening.close()
    return same, server.log, second.log


class Buffered(asyncio.BufferedProtocol):
    """Takes what comes into a buffer of its own, three octets at a time."""

    def __init__(self, size: int) -> None:
        self.buffer = bytearray(size)
        self.received = bytearray()
        self.log: list[Any] = []
        self.done = asyncio.Event()
        self.asked: set[int] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.log.append("made")

    def get_buffer(self, sizehint: int) -> Any:
        self.asked.add(sizehint)
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        assert 0 < nbytes <= len(self.buffer)
        self.received += self.buffer[:nbytes]

    def eof_received(self) -> None:
        self.log.append("eof")

    def connection_lost(self, exc: Exception | None) -> None:
        self.log.append(("lost", exc))
        self.done.set()


@scenario
async def a_buffered_protocol(net: Net) -> Any:
    results = []
    for size in (3, 100_000):
        client, server = Recorder(), Buffered(size)
        listening = await net.server.create_server(functools.partial(given, server), net.host, 0)
        port = listening.sockets[0].getsockname()[1]
        transport, _ = await net.client.create_connection(functools.partial(given, client), net.host, port)
        data = bytes(range(256)) * 40
        transport.write(data)
        transport.close()
        await server.done.wait()
        listening.close()
        results.append((bytes(server.received) == data, server.log, server.asked))
    return results


class Failing(Recorder):
    """Raises in one of its callbacks."""

    def __init__(self, where: str) -> None:
        super().__init__()
        self.where = where

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if self.where == "made":
            raise ZeroDivisionError

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.where == "data":
            raise ZeroDivisionError

    def eof_received(self) -> bool | None:
        super().eof_received()
        if self.where == "eof":
            raise ZeroDivisionError
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self.where == "lost":
            raise ZeroDivisionError


@scenario
async def a_protocol_that_fails(net: Net) -> Any:
    results = []
    for where in ("made", "data", "eof", "lost"):
        client, server = Recorder(), Failing(where)
        listening, transport = await connected(net, client, server)
        transport.write(b"data")
        await server.until(functools.partial(contains, server.log, "data"))
        transport.write_eof()
        await server.lost()
        await client.lost()
        listening.close()
        results.append((where, server.log))
    return results
