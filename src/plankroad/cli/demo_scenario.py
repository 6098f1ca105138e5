"""The demo's story: a network, a client and a server as anybody would write them with asyncio, and what came of it.

    client ── west ══ north ══ east ── server
                   ══ south ══

The client sends a file to the server, which sends back what it receives, while it receives it. When a third has
arrived the northern route dies; when two thirds are back it heals. When the client has everything back it closes its
direction; the server answers on the half-closed connection with the SHA-256 of what it got, and closes the other.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Final

from plankroad.cli.demo_journey import Journey
from plankroad.cli.demo_ladder import Watcher
from plankroad.sim.link import Link
from plankroad.sim.topology import Network
from plankroad.units import MILLISECOND, SECOND

PORT: Final = 7
CHUNK: Final = 64 * 1024

#: Virtual seconds for the last acknowledgements of a close; the two ends give up long before by themselves.
CLOSE_LIMIT: Final = 3600.0

#: The route stays dead for so long at least (virtual seconds), if the transfer lasts.
LEAST_CUT: Final = 0.3


@dataclass(frozen=True)
class Weather:
    """What the two routes are like. `rate`: bit/s each, 0 = no limit; `delay`: ns one way; the others: probabilities a
    packet on a route. `seed`: of everything that is random, the data too.
    """

    rate: int = 20_000_000
    delay: int = 20 * MILLISECOND
    loss: float = 0.02
    reorder: float = 0.01
    duplicate: float = 0.01
    corrupt: float = 0.005
    seed: int = 1

    def reorder_delay(self) -> int:
        """How long a packet is held back to be overtaken, in ns."""
        return max(self.delay // 4, MILLISECOND)

    def queue(self) -> int:
        """Packets that wait for a route: what it carries in a round trip, and no fewer than 50."""
        return max(50, self.rate * 2 * self.delay // SECOND // 8 // 1500)

    def access_rate(self) -> int:
        """Bits a second between hosts and routers: never what slows the transfer down."""
        return max(1_000_000_000, 8 * self.rate) if self.rate else 10_000_000_000


class Source:
    """What is sent: `size` bytes of a file, or random ones. `digest` is the SHA-256 of what was read so far."""

    def __init__(self, size: int, file: BinaryIO | None = None, seed: int = 0) -> None:
        self.size = size
        self.digest = hashlib.sha256()
        self._left = size
        self._file = file
        self._rng = random.Random(f"plankroad demo {seed}")

    def read(self, limit: int) -> bytes:
        """The next bytes, at most `limit`; b"" at the end. OSError where the file ends before its size."""
        count = min(limit, self._left)
        data = self._rng.randbytes(count) if self._file is None else self._file.read(count)
        if count and not data:
            raise OSError(f"the file became shorter while it was read: {self._left} bytes are missing")
        self._left -= len(data)
        self.digest.update(data)
        return data


@dataclass
class Outcome:
    """What happened. Times in virtual seconds unless they say otherwise; digests in hexadecimal.

    `sha256_at_server`: of what the server received, computed there; `sha256_reported`: the same as it reached the
    client over the network. `dropped`, `retransmitted`: packets and segments by cause.
    `cut_at`, `healed_at`: -1 for never.
    """

    bytes: int = 0
    bytes_back: int = 0
    sha256_sent: str = ""
    sha256_at_server: str = ""
    sha256_reported: str = ""
    sha256_received: str = ""
    virtual_seconds: float = 0.0
    transfer_seconds: float = 0.0
    real_seconds: float = 0.0
    cut_at: float = -1.0
    healed_at: float = -1.0
    packets: int = 0
    packets_north: int = 0
    packets_south: int = 0
    segments: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    corrupted: int = 0
    caught_ip: int = 0
    caught_tcp: int = 0
    duplicated: int = 0
    reordered: int = 0
    retransmitted: dict[str, int] = field(default_factory=dict)
    trace_hash: str = ""


def equal(outcome: Outcome) -> bool:
    """Whether every byte went there and back, in order, once."""
    return (
        outcome.bytes == outcome.bytes_back
        and outcome.sha256_sent != ""
        and outcome.sha256_sent == outcome.sha256_at_server == outcome.sha256_reported == outcome.sha256_received
    )


class Demo:
    """One run. `progress(done, now)` is called with the bytes that are back and the virtual time in seconds."""

    def __init__(
        self, weather: Weather, source: Source, progress: Callable[[int, float], None] | None = None
    ) -> None:
        self.weather = weather
        self.source = source
        self.outcome = Outcome(bytes=source.size)
        self.progress = progress
        self.net = net = Network(weather.seed, multipath="packet", ipv6=False, trace_hash=True)
        self.client, self.server = net.host("client"), net.host("server")
        west, east = net.router("west"), net.router("east")
        access: dict[str, Any] = {"rate": weather.access_rate(), "delay": "1ms", "queue": None}
        near = net.link(self.client, west, **access)
        far = net.link(east, self.server, **access)
        self.routes: list[Link] = [
            net.link(
                west,
                east,
                name=name,
                rate=weather.rate,
                delay=f"{weather.delay}ns",
                queue=weather.queue(),
                loss=weather.loss,
                reorder=weather.reorder,
                reorder_delay=f"{weather.reorder_delay()}ns",
                duplicate=weather.duplicate,
                corrupt=weather.corrupt,
            )
            for name in ("north", "south")
        ]
        self.north, self.south = self.routes
        self.watcher = Watcher("client", "server")
        self.watcher.attach(near.there.pipe, far.back.pipe, self.routes)
        self.journey = Journey("client", "server", net.links)
        net.observe(self.journey)

    def run(self, capture: str | None = None) -> Outcome:
        """Play the story. `capture`: a pcapng file to write. Raises OSError where a connection or a file fails."""
        started = time.perf_counter()
        with contextlib.nullcontext() if capture is None else self.net.capture(capture):
            try:
                self.net.run(self._story(), host=self.client)
            finally:
                self.outcome.real_seconds = time.perf_counter() - started
        self._count()
        return self.outcome

    # The programs: nothing in them knows of a simulation but `self.net.now`, and `_fate`, which is the storm.

    async def _story(self) -> None:
        listening = await self.server.create_task(self._listen())
        await self._client()
        listening.close()
        # The server's end first: it waits for the last acknowledgement, which the client's has to be there to give.
        await self.server.create_task(self.server.aio.aclose(CLOSE_LIMIT))
        await self.client.aio.aclose(CLOSE_LIMIT)
        self.outcome.virtual_seconds = self.net.now

    async def _listen(self) -> asyncio.AbstractServer:
        return await asyncio.start_server(self._serve, "server", PORT)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        digest = hashlib.sha256()
        arrived = 0
        try:
            while data := await reader.read(CHUNK):
                digest.update(data)
                arrived += len(data)
                self._fate(arrived, 0)
                writer.write(data)
                await writer.drain()
            self.outcome.sha256_at_server = digest.hexdigest()
            writer.write(digest.hexdigest().encode())
            writer.close()
            await writer.wait_closed()
        except OSError:
            writer.close()  # the client tells of it
        except asyncio.CancelledError:
            # Ctrl-C. asyncio of Python 3.11 would write a traceback for a handler that ends so.
            writer.transport.abort()

    async def _client(self) -> None:
        reader, writer = await asyncio.open_connection("server", PORT)
        begin = self.net.now
        sending = asyncio.create_task(self._send(writer))
        digest = hashlib.sha256()
        back = 0
        try:
            while back < self.source.size:
                data = await reader.read(min(CHUNK, self.source.size - back))
                if not data:
                    break
                digest.update(data)
                back += len(data)
                self._fate(0, back)
                if self.progress is not None:
                    self.progress(back, self.net.now)
            await sending
        except BaseException:
            sending.cancel()
            writer.transport.abort()
            raise
        self.outcome.transfer_seconds = self.net.now - begin
        writer.write_eof()
        self.outcome.sha256_reported = (await reader.read()).decode(errors="replace")
        writer.close()
        await writer.wait_closed()
        self.outcome.bytes_back = back
        self.outcome.sha256_sent = self.source.digest.hexdigest()
        self.outcome.sha256_received = digest.hexdigest()

    async def _send(self, writer: asyncio.StreamWriter) -> None:
        while data := self.source.read(CHUNK):
            writer.write(data)
            await writer.drain()

    def _fate(self, arrived: int, back: int) -> None:
        """Cut the northern route, or heal it."""
        outcome = self.outcome
        if outcome.cut_at < 0:
            if arrived * 3 >= self.source.size:
                self.north.cut()
                outcome.cut_at = self.net.now
        elif outcome.healed_at < 0 and (
            back == self.source.size
            or (back * 3 >= self.source.size * 2 and self.net.now >= outcome.cut_at + LEAST_CUT)
        ):
            self.north.heal()
            outcome.healed_at = self.net.now

    # Afterwards

    def _count(self) -> None:
        outcome, net = self.outcome, self.net
        counters = net.counters()
        outcome.packets = counters["packets"]
        outcome.packets_north = self.north.counters()["packets"]
        outcome.packets_south = self.south.counters()["packets"]
        outcome.dropped = net.dropped()
        outcome.corrupted = counters["corrupted"]
        outcome.duplicated = counters["duplicated"]
        outcome.reordered = counters["reordered"]
        outcome.trace_hash = net.trace_hash()
        tcp = [host.stack.counters.tcp for host in (self.client, self.server)]
        outcome.segments = sum(one.segments_sent for one in tcp)
        outcome.caught_tcp = sum(one.bad_checksum + one.bad_header for one in tcp)
        outcome.caught_ip = sum(host.stack.counters.ip.bad_header for host in net.hosts)
        causes = {
            "fast": sum(one.retransmitted_fast for one in tcp),
            "timeout": sum(one.retransmitted_timeout for one in tcp),
            "probe": sum(one.retransmitted_probe for one in tcp),
            "path_mtu": sum(one.retransmitted_path_mtu for one in tcp),
            "syn": sum(one.retransmitted_syn for one in tcp),
        }
        outcome.retransmitted = {name: count for name, count in causes.items() if count}
