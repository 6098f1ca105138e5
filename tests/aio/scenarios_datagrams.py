"""Scenarios: datagrams."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.aio.nets import Net
from tests.aio.scenario import scenario


class Log:
    """Entries, and a wait until there are so many."""

    def __init__(self) -> None:
        self.log: list[Any] = []
        self.changed = asyncio.Event()

    def note(self, entry: Any) -> None:
        self.log.append(entry)
        self.changed.set()

    async def until(self, count: int) -> None:
        while len(self.log) < count:
            self.changed.clear()
            await self.changed.wait()


class Datagrams(Log, asyncio.DatagramProtocol):
    """Writes down each callback."""

    def __init__(self) -> None:
        super().__init__()
        self.transport: Any = None
        self.peers: list[Any] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.note("made")

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.peers.append(addr)
        self.note(("datagram", data))

    def error_received(self, exc: Exception) -> None:
        self.note(("error", type(exc).__name__, getattr(exc, "errno", None)))

    def connection_lost(self, exc: Exception | None) -> None:
        self.note(("lost", exc))


@scenario
async def datagrams_there_and_back(net: Net) -> Any:
    server, _ = await net.server.create_datagram_endpoint(Datagrams, local_addr=(net.host, 0))
    name = server.get_extra_info("sockname")
    client, _ = await net.client.create_datagram_endpoint(Datagrams, remote_addr=name)
    a, b = client.get_protocol(), server.get_protocol()
    client.sendto(b"one")
    client.sendto(b"two", name)
    client.sendto(bytearray(b"x" * 9000))
    await b.until(4)
    same = b.peers[0] == client.get_extra_info("sockname")
    server.sendto(b"answer", b.peers[0])
    await a.until(2)
    results: list[Any] = [a.peers[0] == name, client.get_extra_info("peername") == name]
    results.append(server.get_extra_info("peername"))
    for bad in ((net.host, 1), ("203.0.113.5", name[1])):
        try:
            client.sendto(b"elsewhere", bad)
        except ValueError as exc:
            results.append(type(exc).__name__)
    try:
        client.sendto("text")
    except TypeError as exc:
        results.append(type(exc).__name__)
    client.close()
    client.close()
    server.abort()
    await a.until(3)
    await b.until(5)
    return same, a.log, b.log, results, client.is_closing()


@scenario
async def a_datagram_nobody_takes(net: Net) -> Any:
    server, _ = await net.server.create_datagram_endpoint(Datagrams, local_addr=(net.host, 0))
    name = server.get_extra_info("sockname")
    server.close()
    await server.get_protocol().until(2)
    client, _ = await net.client.create_datagram_endpoint(Datagrams, remote_addr=name)
    client.sendto(b"hello?")
    await client.get_protocol().until(2)
    protocol = client.get_protocol()
    client.close()
    await protocol.until(3)
    return protocol.log


@scenario
async def a_datagram_that_is_too_large(net: Net) -> Any:
    client, protocol = await net.client.create_datagram_endpoint(Datagrams, remote_addr=(net.host, 9))
    client.sendto(bytes(70000))
    await protocol.until(2)
    client.close()
    await protocol.until(3)
    return protocol.log
