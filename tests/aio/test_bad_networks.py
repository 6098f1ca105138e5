"""Transports over simulated networks that lose, reorder, repeat and damage packets, with programs that dawdle."""

from __future__ import annotations

import asyncio
import itertools
import random
from typing import Any

import pytest

from plankroad.sim.topology import Network
from plankroad.stack.config import StackConfig
from plankroad.tcp.config import TcpConfig


class Dawdler(asyncio.Protocol):
    """Writes its data in random pieces, honouring pause_writing; stops reading now and then; half-closes at the end."""

    def __init__(self, rng: random.Random, data: bytes) -> None:
        self.rng = rng
        self.data = data
        self.at = 0
        self.received = bytearray()
        self.log: list[Any] = []
        self.may_write = asyncio.Event()
        self.may_write.set()
        self.lost = asyncio.Event()
        self.eof = False
        self.most = 0
        self.transport: Any = None
        self.tasks: list[asyncio.Task[None]] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.log.append("made")
        loop = asyncio.get_running_loop()
        self.tasks = [loop.create_task(self.write()), loop.create_task(self.read())]

    async def write(self) -> None:
        while self.at < len(self.data):
            await self.may_write.wait()
            size = self.rng.choice((1, 100, 1448, 5000, 70_000))
            piece = self.data[self.at : self.at + size]
            self.at += len(piece)
            if self.rng.random() < 0.3:
                self.transport.writelines([piece[:7], bytearray(piece[7:])])
            else:
                self.transport.write(piece)
            self.most = max(self.most, self.transport.get_write_buffer_size())
            if self.rng.random() < 0.1:
                await asyncio.sleep(self.rng.random())
        self.transport.write_eof()
        self.finish()

    async def read(self) -> None:
        while not self.eof:
            await asyncio.sleep(self.rng.random())
            self.transport.pause_reading()
            before = len(self.received)
            await asyncio.sleep(self.rng.random())
            assert len(self.received) == before
            self.transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        assert not self.eof
        self.received += data

    def eof_received(self) -> bool:
        self.log.append("eof")
        self.eof = True
        self.finish()
        return True

    def finish(self) -> None:
        """Close when both halves are."""
        if self.eof and self.at == len(self.data):
            asyncio.get_running_loop().call_soon(self.transport.close)

    def pause_writing(self) -> None:
        self.may_write.clear()

    def resume_writing(self) -> None:
        self.may_write.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.log.append(("lost", exc))
        self.lost.set()


@pytest.mark.parametrize("seed", range(8))
def test_every_byte_arrives_once_in_order_and_everything_ends(seed: int) -> None:
    print(f"seed {seed}")
    rng = random.Random(seed)
    config = StackConfig(tcp=TcpConfig(snd_buf=100_000, rcv_buf=60_000, msl=0))
    net = Network(seed)
    a, b = net.host("a", config), net.host("b", config)
    net.link(
        a,
        b,
        rate="20Mbit/s",
        delay="10ms",
        loss=rng.choice((0.0, 0.02, 0.1)),
        duplicate=rng.choice((0.0, 0.05)),
        reorder=rng.choice((0.0, 0.1)),
        reorder_delay="15ms",
        corrupt=rng.choice((0.0, 0.02)),
    )
    there, back = rng.randbytes(rng.randrange(600_000)), rng.randbytes(rng.randrange(600_000))
    client, server = Dawdler(random.Random(seed + 1), there), Dawdler(random.Random(seed + 2), back)

    async def main() -> None:
        async with asyncio.timeout(3600):
            listening = await b.aio.create_server(lambda: server, b.address, 7)
            await a.aio.create_connection(lambda: client, b.address, 7)
            await client.lost.wait()
            await server.lost.wait()
            await asyncio.gather(*client.tasks, *server.tasks)
            listening.close()
            while a.aio.active or b.aio.active:
                await asyncio.sleep(1)

    net.run(main())
    assert bytes(server.received) == there
    assert bytes(client.received) == back
    assert client.log == server.log == ["made", "eof", ("lost", None)]
    # 64 KiB is the limit, 70,000 the largest write.
    assert max(client.most, server.most) <= 65536 + 70_000
    net.run_for(200)
    assert not any(a.stack.leftovers().values())
    assert not any(b.stack.leftovers().values())


def test_traceroute_shows_each_router() -> None:
    net = Network(1)
    a, b = net.host("a"), net.host("b")
    routers = [net.router(f"r{i}") for i in range(3)]
    chain = [a, *routers, b]
    for left, right in itertools.pairwise(chain):
        net.link(left, right, delay="5ms")

    async def main() -> list[Any]:
        return [hop async for hop in a.aio.traceroute("b", probes=2)]

    hops = net.run(main(), host=a)
    assert [hop.ttl for hop in hops] == [1, 2, 3, 4]
    assert [hop.reached for hop in hops] == [False, False, False, True]
    for hop, router in zip(hops, routers, strict=False):
        assert set(hop.addresses) <= set(router.addresses)
        assert len(hop.addresses) == 1
        assert all(result.error is not None for result in hop.results)
    assert hops[3].addresses[0] in b.addresses
    trips = [hop.results[0].round_trip for hop in hops]
    assert trips == pytest.approx([0.01, 0.02, 0.03, 0.04], rel=0.1)


def test_ping_shows_an_unreachable_host_and_loss() -> None:
    net = Network(3)
    a, r, b = net.host("a"), net.router("r"), net.host("b")
    net.link(a, r, delay="5ms")
    link = net.link(r, b, delay="5ms", loss=0.5)

    async def main() -> list[Any]:
        return [result async for result in a.aio.ping(b.address, 40, interval=0.1)]

    results = net.run(main(), host=a)
    answered = sum(result.answered for result in results)
    assert 0 < answered < 40
    assert all(result.round_trip == pytest.approx(0.02, rel=0.1) for result in results if result.answered)
    assert link is not None
