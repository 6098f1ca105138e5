"""Packet-hops a second in the simulator: `PYTHONPATH=src python -m tests.sim.hops`.

Two figures: fake packets over three links without any stack (the core alone), and a bulk TCP transfer through two
routers (10 Gbit/s - 100 Mbit/s with 20 ms - 10 Gbit/s), all stacks included.
"""

from __future__ import annotations

import asyncio
import time

from plankroad._build import version
from plankroad.sim.events import Event, Simulator
from plankroad.sim.pipe import Pipe, Sink
from plankroad.sim.queue import DropTail
from plankroad.sim.rng import stream
from plankroad.sim.topology import Network
from plankroad.wire.packet import Packet


class PassOn(Sink):
    """Sends what arrives into the next pipe."""

    def __init__(self, pipe: Pipe | None) -> None:
        self.pipe = pipe

    def arrive(self, packet: Packet, port: int) -> None:
        if self.pipe is not None:
            self.pipe.send(packet)


class Source(Event):
    """Sends a packet every `gap` nanoseconds."""

    def __init__(self, sim: Simulator, pipe: Pipe, count: int, gap: int) -> None:
        super().__init__()
        self.sim = sim
        self.pipe = pipe
        self.count = count
        self.gap = gap
        self.data = bytes(1500)

    def run(self) -> None:
        self.pipe.send(Packet(self.data))
        self.count -= 1
        if self.count:
            self.sim.schedule(self, self.sim.now + self.gap)


def core(packets: int) -> tuple[int, float]:
    """Hops, and the seconds of processor time that they took."""
    sim = Simulator()
    sink = PassOn(None)
    pipe: Pipe | None = None
    for number, rate in ((2, 10**10), (1, 10**8), (0, 10**10)):
        pipe = Pipe(sim, f"p{number}", number, sink, 0, stream(1, "j"), DropTail(1000), 1500, rate, 10**7)
        sink = PassOn(pipe)
    assert pipe is not None
    sim.schedule(Source(sim, pipe, packets, 120_000), 0)
    start = time.process_time()
    sim.run()
    return packets * 3, time.process_time() - start


def bulk(size: int) -> tuple[int, float, float]:
    """Hops, processor seconds, virtual seconds of a TCP transfer of `size` bytes."""
    net = Network(1, ipv6=False)
    client, server = net.host("client"), net.host("server")
    r1, r2 = net.router("r1"), net.router("r2")
    net.link(client, r1, rate="10Gbit/s")
    net.link(r1, r2, rate="100Mbit/s", delay="20ms")
    net.link(r2, server, rate="10Gbit/s")

    async def main() -> int:
        received = 0
        done = asyncio.Event()

        async def drain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal received
            while data := await reader.read(1 << 18):
                received += len(data)
            writer.close()
            done.set()

        with server.here():
            await asyncio.start_server(drain, "server", 80)
        _, writer = await asyncio.open_connection("server", 80)
        chunk = bytes(100_000)
        for _ in range(size // len(chunk)):
            writer.write(chunk)
            await writer.drain()
        writer.close()
        await done.wait()
        return received

    start = time.process_time()
    assert net.run(main(), host=client) == size
    return net.counters()["arrived"], time.process_time() - start, net.now


if __name__ == "__main__":
    print(version())
    hops, seconds = core(100_000)
    print(f"core alone:    {hops / seconds:12,.0f} packet-hops/s")
    hops, seconds, virtual = bulk(20_000_000)
    rate = hops / seconds
    print(f"TCP, 3 links:  {rate:12,.0f} packet-hops/s, {virtual / seconds:.2f} virtual seconds a second")
