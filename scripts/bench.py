"""How fast plankroad is on this machine: `make bench`, or `python scripts/bench.py [NAME ...] [--json]`.

Each figure names what was measured; `make bench` prints all of them for the pure and for the compiled build. Figures
of `tun` need root: they are taken in a network namespace of their own, against the kernel's TCP (CUBIC).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import os
import random
import statistics
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

from plankroad._build import build
from plankroad.aio.open import open_link
from plankroad.endpoint import EVENT_READABLE
from plankroad.sim.events import Simulator
from plankroad.sim.pipe import Pipe, Sink
from plankroad.sim.queue import DropTail
from plankroad.sim.rng import stream
from plankroad.sim.topology import Network
from plankroad.stack.config import StackConfig
from plankroad.stack.stack import Stack
from plankroad.tcp.connection import Connection
from plankroad.tcp.listen import Listener
from plankroad.units import MILLISECOND, NEVER
from plankroad.wire.packet import Packet

ROOT = Path(__file__).resolve().parent.parent

#: (what, value, unit)
Figure = tuple[str, float, str]

SERVER = "10.9.0.2"
KERNEL = "10.9.0.1"
PORT = 5001
CHUNK = 256 * 1024


# --- two stacks in virtual time -------------------------------------------------------------------------------------


class World:
    """Two stacks, `delay` ns apart each way; nothing is lost. The smallest network there can be."""

    def __init__(self, mtu: int = 1500, gso: int = 0, delay: int = 5 * MILLISECOND) -> None:
        self.now = 1_000_000_000
        self.delay = delay
        self.packets = 0
        self.stacks = []
        for number in (1, 2):
            stack = Stack(StackConfig(), random.Random(number), bytes([number]) * 32)
            interface = stack.add_interface("eth0", mtu, tx_csum=True, gso_max_size=gso)
            stack.add_address(interface, f"10.0.0.{number}/24")
            self.stacks.append(stack)
        self.wires: list[list[tuple[int, Packet]]] = [[], []]
        self.listener: Listener = self.stacks[1].listen(self.now, b"", PORT, backlog=1 << 16)

    def connect(self) -> Connection:
        return self.stacks[0].connect(self.now, bytes((10, 0, 0, 2)), PORT)

    def step(self) -> bool:
        """Let all that can be sent be sent, then go to the next arrival or deadline; False where there is none."""
        when = NEVER
        for stack, wire in zip(self.stacks, self.wires, strict=True):
            while (packet := stack.poll_transmit(self.now)) is not None:
                wire.append((self.now + self.delay, packet))
            when = min(when, stack.next_timeout())
            if wire:
                when = min(when, wire[0][0])
        if when == NEVER:
            return False
        self.now = max(self.now, when)
        for number, wire in enumerate(self.wires):
            other = self.stacks[1 - number]
            arrived = 0
            while arrived < len(wire) and wire[arrived][0] <= self.now:
                packet = wire[arrived][1]
                packet.interface = 0
                other.receive(self.now, packet)
                arrived += 1
            del wire[:arrived]
            self.packets += arrived
        for stack in self.stacks:
            stack.handle_timeout(self.now)
        return True

    def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            if not self.step():
                raise RuntimeError("nothing is left to happen")


def bulk(size: int, gso: int) -> tuple[float, int, int]:
    """Carry `size` bytes from one stack to the other: real seconds, packets both ways, segments of MSS size."""
    world = World(gso=gso)
    client = world.connect()
    accepted: list[Connection] = []

    def connected() -> bool:
        world.stacks[1].poll_endpoint()
        server = world.listener.accept()
        if server is not None:
            accepted.append(server)
        return bool(accepted)

    world.until(connected)
    server = accepted[0]
    data = bytes(CHUNK)
    sent = received = 0
    begin = time.perf_counter()
    while received < size:
        while sent < size:
            taken = client.send(world.now, data[: size - sent])
            sent += taken
            if taken < CHUNK:
                break
        world.step()
        for stack in world.stacks:
            while (endpoint := stack.poll_endpoint()) is not None:
                events = endpoint.poll_events()
                if endpoint is server and events & EVENT_READABLE:
                    received += len(server.receive(world.now, 1 << 30))
    seconds = time.perf_counter() - begin
    return seconds, world.packets, -(-size // 1448)


def segments() -> Iterator[Figure]:
    """TCP in virtual time, both ends and their IP counted."""
    size = 40_000_000
    seconds, packets, count = bulk(size, 0)
    yield "two stacks, MTU 1500: a data segment and its share of ACKs", seconds / count * 1e6, "us"
    yield "the same, per packet", seconds / packets * 1e6, "us"
    yield "the same, throughput", size * 8 / seconds / 1e9, "Gbit/s"
    seconds, _, _ = bulk(size * 4, 65535)
    yield "two stacks, super-segments of 64 KiB: throughput", size * 4 * 8 / seconds / 1e9, "Gbit/s"


def idle() -> Iterator[Figure]:
    """Memory of an idle established connection: one end, its place in the stack's tables included."""
    count = 2000
    world = World()
    gc.collect()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    clients: list[Connection] = []
    servers: list[Connection] = []
    # In small groups: the backlog and the wire never hold many.
    while len(clients) < count:
        clients.extend(world.connect() for _ in range(50))

        def all_accepted(wanted: int = len(clients)) -> bool:
            while world.stacks[1].poll_endpoint() is not None:
                pass
            while (server := world.listener.accept()) is not None:
                servers.append(server)
            return len(servers) == wanted

        world.until(all_accepted)
        while world.step():
            pass
    gc.collect()
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    yield "memory of one idle connection", (after - before) / count / 2 / 1024, "KiB"
    waiting = sum(stack.leftovers()["timers"] for stack in world.stacks)
    yield f"timers of {2 * count} idle connections", float(waiting), ""


# --- the simulator --------------------------------------------------------------------------------------------------


class Hop(Sink):
    """Hands each packet to the next pipe; the last hop hands it back to the first, `left` times in all."""

    def __init__(self) -> None:
        self.next: Pipe | None = None
        self.left = 0

    def arrive(self, packet: Packet, port: int) -> None:
        if self.left and self.next is not None:
            self.left -= 1
            self.next.send(packet)


def simulator() -> Iterator[Figure]:
    """Packet-hops a second: links alone, then TCP over routers; ns-3 does about 90,000 in the same dumbbell."""
    sim = Simulator()
    hops = [Hop() for _ in range(3)]
    pipes = [
        Pipe(sim, f"pipe{n}", n, hop, 0, stream(1, f"pipe{n}"), DropTail(1000), 1500, 100_000_000, MILLISECOND)
        for n, hop in enumerate(hops)
    ]
    each = 100_000
    for number, hop in enumerate(hops):
        hop.next = pipes[(number + 1) % 3]
        hop.left = each
    for _ in range(100):
        pipes[0].send(Packet(bytes([0x45, 0, 5, 220]) + bytes(1496)))
    begin = time.perf_counter()
    sim.run()
    yield "simulator, three links without hosts", 3 * each / (time.perf_counter() - begin), "hops/s"

    net = Network(seed=1)
    client, server = net.host("client"), net.host("server")
    west, east = net.router("west"), net.router("east")
    net.link(client, west, rate="10Gbit/s", delay="1us", queue=10000)
    net.link(west, east, rate="100Mbit/s", delay="20ms", queue=1000)
    net.link(east, server, rate="10Gbit/s", delay="1us", queue=10000)
    size = 25_000_000

    async def transfer() -> None:
        await server.aio.create_server(Receiver, port=PORT)
        sender = Sender(size)
        transport, _ = await client.aio.create_connection(lambda: sender, "server", PORT)
        await sender.written
        transport.write_eof()
        await sender.done

    begin = time.perf_counter()
    net.run(transfer())
    seconds = time.perf_counter() - begin
    yield "simulator, dumbbell of 100 Mbit/s, one TCP flow", net.counters()["arrived"] / seconds, "hops/s"
    yield "the same, virtual seconds in a second", net.now / seconds, ""


# --- a TUN device and the kernel ------------------------------------------------------------------------------------

KERNEL_SENDS = f"""
import socket, sys
server = socket.create_server(({KERNEL!r}, {PORT}))
print("ready", flush=True)
left = int(sys.argv[1])
peer, _ = server.accept()
data = bytes({CHUNK})
while left > 0:
    left -= peer.send(data[:left])
peer.shutdown(socket.SHUT_WR)
peer.recv(1)
"""

KERNEL_RECEIVES = f"""
import socket, sys
server = socket.create_server(({KERNEL!r}, {PORT}))
print("ready", flush=True)
left = int(sys.argv[1])
peer, _ = server.accept()
room = bytearray(1 << 20)
while left > 0:
    left -= peer.recv_into(room)
peer.sendall(b"!")
peer.recv(1)
"""


class Receiver(asyncio.BufferedProtocol):
    """Counts what arrives until the peer is done."""

    def __init__(self) -> None:
        self.room = bytearray(1 << 20)
        self.received = 0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def get_buffer(self, sizehint: int) -> bytearray:
        return self.room

    def buffer_updated(self, nbytes: int) -> None:
        self.received += nbytes

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def eof_received(self) -> None:
        self.transport.write(b"!")
        self.done.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(exc or ConnectionError("closed early"))


class Sender(asyncio.Protocol):
    """Writes `size` bytes as fast as it may; done when the peer has said that it has all of them."""

    def __init__(self, size: int) -> None:
        self.left = size
        self.data = bytes(CHUNK)
        self.may_write = True
        self.written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.write()

    def write(self) -> None:
        while self.left and self.may_write:
            data = self.data if self.left >= CHUNK else self.data[: self.left]
            self.left -= len(data)
            self.transport.write(data)
            if not self.left:
                self.written.set_result(None)

    def pause_writing(self) -> None:
        self.may_write = False

    def resume_writing(self) -> None:
        self.may_write = True
        self.write()

    def data_received(self, data: bytes) -> None:
        self.done.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(exc or ConnectionError("closed early"))


def tun_once(offload: bool, outward: bool, size: int, peer_stack: bool = False) -> float:
    """Real seconds for `size` bytes through a TUN device of MTU 1500, from the first SYN to the last byte's receipt.

    `peer_stack`: the kernel's own TCP takes plankroad's place, under the same asyncio program, over loopback.
    """
    from tests.interop.netns import namespace  # noqa: PLC0415  # root only

    async def transfer() -> float:
        loop = asyncio.get_running_loop()
        protocol: Sender | Receiver = Sender(size) if outward else Receiver()
        transport: asyncio.BaseTransport
        if peer_stack:
            own = ns.socket()
            own.setblocking(False)
            begin = loop.time()
            await loop.sock_connect(own, (KERNEL, PORT))
            transport, _ = await loop.create_connection(lambda: protocol, sock=own)
            await protocol.done
            seconds = loop.time() - begin
            transport.close()
            return seconds
        async with open_link(link, address=f"{SERVER}/24") as stack:
            begin = loop.time()
            transport, _ = await stack.create_connection(lambda: protocol, KERNEL, PORT)
            await protocol.done
            seconds = loop.time() - begin
            transport.close()
        return seconds

    with namespace() as ns:
        for key in ("tcp_rmem", "tcp_wmem"):
            ns.sysctl(f"net/ipv4/{key}", "4096 1048576 16777216")
        with contextlib.suppress(OSError):
            ns.sysctl("net/ipv4/tcp_congestion_control", "cubic")
        link = ns.open_tun(kernel_address=f"{KERNEL}/24", offload=offload)
        peer = ns.start(sys.executable, "-c", KERNEL_RECEIVES if outward else KERNEL_SENDS, str(size))
        peer.wait_for("ready")
        return asyncio.run(transfer())


def tun() -> Iterator[Figure]:
    """Through a TUN device, against the kernel; the median of three."""
    if os.geteuid() != 0:
        print("tun: left out, it needs root", file=sys.stderr)
        return
    for offload, megabytes in ((True, 1000), (False, 60)):
        for outward in (False, True):
            size = megabytes * 1_000_000
            # In turn with the peer, so that both meet the same weather on this machine.
            pairs = [(tun_once(offload, outward, size), tun_once(offload, outward, size, True)) for _ in range(3)]
            seconds = statistics.median(own for own, _ in pairs)
            way = "plankroad -> kernel" if outward else "kernel -> plankroad"
            ending = "with offloads" if offload else "without offloads"
            yield f"TUN, MTU 1500, {ending}: {way}", size * 8 / seconds / 1e9, "Gbit/s"
            ratio = statistics.median(kernel / own for own, kernel in pairs)
            yield "  of what the kernel does in its place over loopback", ratio, "times"


# --- the demo -------------------------------------------------------------------------------------------------------


def demo() -> Iterator[Figure]:
    """The demo's own figures: 50 MB at 5 % loss, in the simulator."""
    command = [sys.executable, "-m", "plankroad", "demo", "--bytes", "50000000", "--loss", "5%", "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    result = json.loads(done.stdout)
    if not result["equal"]:
        raise RuntimeError("the demo's bytes differ")
    yield "demo, 50 MB at 5 % loss: virtual time", result["virtual_seconds"], "s"
    yield "demo, 50 MB at 5 % loss: real time", result["real_seconds"], "s"


MEASUREMENTS: dict[str, Callable[[], Iterator[Figure]]] = {
    "segments": segments,
    "idle": idle,
    "simulator": simulator,
    "tun": tun,
    "demo": demo,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(MEASUREMENTS)}; all without any")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    options = parser.parse_args()
    unknown = [name for name in options.names if name not in MEASUREMENTS]
    if unknown:
        parser.error(f"nobody measures {', '.join(unknown)}; there are {', '.join(MEASUREMENTS)}")
    sys.path.insert(0, str(ROOT))  # for tests.interop.netns
    figures: dict[str, dict[str, float | str]] = {}
    python = f"Python {sys.version.split()[0]}"
    if not options.json:
        print(f"plankroad, {build()}, {python}")
    for name in options.names or MEASUREMENTS:
        for what, value, unit in MEASUREMENTS[name]():
            figures[what] = {"value": value, "unit": unit}
            if not options.json:
                print(f"  {what:60} {value:14,.2f} {unit}", flush=True)
    if options.json:
        print(json.dumps({"build": build(), "python": python, "figures": figures}, indent=2))


if __name__ == "__main__":
    main()
