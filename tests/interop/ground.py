"""What tests against the Linux kernel share: stacks on its devices, its sockets and its counters.

Sockets are the kernel's and block: they are used in threads (`in_thread`), each call with a time-out. Nothing sleeps.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import random
import socket
import struct
from collections.abc import Awaitable, Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from tests.interop.netns import Namespace, namespace

from plankroad.aio.driver import Driver
from plankroad.aio.open import open_link
from plankroad.aio.scheduler import AsyncioScheduler
from plankroad.aio.stack import AsyncStack
from plankroad.link.base import Link
from plankroad.link.netlink import RouteSocket
from plankroad.link.tap import TapLink
from plankroad.link.tun import TunLink
from plankroad.stack.config import StackConfig
from plankroad.stack.stack import Stack
from plankroad.trace.eventlog import EventLog

#: Seconds until a test that hangs is ended; none of them waits for a clock.
LIMIT = 120.0

KERNEL4, OURS4 = "10.77.0.1", "10.77.0.2"
KERNEL6, OURS6 = "fd77::1", "fd77::2"
#: The kernel's addresses on the link to the stack, and the stack's.
KERNEL = (f"{KERNEL4}/24", f"{KERNEL6}/64")
OURS = (f"{OURS4}/24", f"{OURS6}/64")

INET = (socket.AF_INET, socket.AF_INET6)
FAMILY_NAMES = ("ipv4", "ipv6")

T = TypeVar("T")


def kernels(family: int) -> str:
    """The kernel's address of this family."""
    return KERNEL4 if family == socket.AF_INET else KERNEL6


def ours(family: int) -> str:
    """The stack's."""
    return OURS4 if family == socket.AF_INET else OURS6


def on_link(
    link: Link,
    work: Callable[[AsyncStack], Awaitable[T]],
    config: StackConfig | None = None,
    *,
    address: Iterable[str] = OURS,
    log: EventLog | None = None,
    **kwds: Any,
) -> T:
    """The result of `work` with a stack on `link`; no packet that came in may have been broken."""

    async def main() -> T:
        async with open_link(link, address=address, config=config, log=log, **kwds) as stack:
            result = await asyncio.wait_for(work(stack), LIMIT)
            check_sound(stack)
            return result

    return asyncio.run(main())


def on_tun(
    ns: Namespace,
    work: Callable[[AsyncStack], Awaitable[T]],
    config: StackConfig | None = None,
    *,
    offload: bool = True,
    mtu: int = 0,
    **kwds: Any,
) -> T:
    """`on_link` with a new TUN device in `ns`, IPv4 and IPv6."""
    return on_link(ns.open_tun(kernel_address=KERNEL, offload=offload, mtu=mtu), work, config, **kwds)


def check_sound(stack: AsyncStack) -> None:
    """Nothing that the kernel sent was malformed or had a wrong checksum, and nothing we sent was refused by it."""
    counted = stack.stack.counters.as_dict()
    broken = {
        f"{layer}.{name}": count
        for layer, counts in counted.items()
        for name, count in counts.items()
        if name.startswith("bad_") and count
    }
    assert not broken
    for link in stack.driver.links:
        assert not link.counters.tx_errors
        assert not link.counters.rx_errors


def driver_link(driver: Driver) -> Link:
    """The only link of a stack."""
    (link,) = driver.links
    return link


async def in_thread(function: Callable[..., T], *args: Any) -> T:
    """Call what blocks."""
    return await asyncio.get_running_loop().run_in_executor(None, function, *args)


async def until(condition: Callable[[], bool]) -> None:
    """Go on once something is so; the events that make it so are handled meanwhile. `on_link` sets the limit."""
    while not condition():
        await asyncio.sleep(0)


def snmp(ns: Namespace) -> dict[str, int]:
    """The kernel's counters in `ns`: "Ip.FragCreates", "Udp.InCsumErrors", "Ip6ReasmOKs" and the like."""
    found: dict[str, int] = {}
    lines = ns.call(Path("/proc/thread-self/net/snmp").read_text).splitlines()
    for names, values in zip(lines[::2], lines[1::2], strict=True):
        layer, *columns = names.split()
        for name, value in zip(columns, values.split()[1:], strict=True):
            found[layer.rstrip(":") + "." + name] = int(value)
    for line in ns.call(Path("/proc/thread-self/net/snmp6").read_text).splitlines():
        name, value = line.split()
        found[name] = int(value)
    return found


# Streams


def stream(size: int) -> tuple[list[bytes], str]:
    """`size` octets in pieces of a mebibyte, no two alike, and their SHA-256."""
    pattern = bytes(range(251)) * 4178
    pieces = []
    digest = hashlib.sha256()
    at = 0
    while at < size:
        piece = (struct.pack("!Q", at) + pattern[8:])[: size - at]
        digest.update(piece)
        pieces.append(piece)
        at += len(piece)
    return pieces, digest.hexdigest()


def receive_all(sock: socket.socket) -> tuple[int, str]:
    """How many octets until the end, and their SHA-256."""
    digest = hashlib.sha256()
    count = 0
    while data := sock.recv(1 << 18):
        digest.update(data)
        count += len(data)
    return count, digest.hexdigest()


def send_all(sock: socket.socket, pieces: list[bytes]) -> None:
    """All of them, and the end."""
    for piece in pieces:
        sock.sendall(piece)
    sock.shutdown(socket.SHUT_WR)


def listening(ns: Namespace, family: int, port: int) -> socket.socket:
    """A kernel socket in `ns` that listens on every address."""
    made = ns.socket(family, socket.SOCK_STREAM)
    made.settimeout(LIMIT)
    made.bind(("::" if family == socket.AF_INET6 else "0.0.0.0", port))
    made.listen(5)
    return made


async def read_to_end(reader: asyncio.StreamReader) -> tuple[int, str]:
    """How many octets until the end, and their SHA-256."""
    digest = hashlib.sha256()
    count = 0
    while data := await reader.read(1 << 18):
        digest.update(data)
        count += len(data)
    return count, digest.hexdigest()


async def write_all(writer: asyncio.StreamWriter, pieces: list[bytes]) -> None:
    """All of them, and the end."""
    for piece in pieces:
        writer.write(piece)
        await writer.drain()
    writer.write_eof()


# Datagrams


class Mailbox(asyncio.DatagramProtocol):
    """Keeps what comes: datagrams with their sender, and errors."""

    def __init__(self) -> None:
        self.datagrams: asyncio.Queue[tuple[bytes, tuple[Any, ...]]] = asyncio.Queue()
        self.errors: asyncio.Queue[Exception] = asyncio.Queue()

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        self.datagrams.put_nowait((data, addr))

    def error_received(self, exc: Exception) -> None:
        self.errors.put_nowait(exc)

    async def next(self) -> bytes:
        """The next datagram."""
        return (await self.datagrams.get())[0]


class Echo(asyncio.DatagramProtocol):
    """Sends back what comes."""

    transport: asyncio.DatagramTransport

    def __init__(self) -> None:
        self.count = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.DatagramTransport)
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        self.count += 1
        self.transport.sendto(data, addr)


# The stack as a router

LEFT4, LEFT6 = "10.71.0.1", "fd71::1"
RIGHT4, RIGHT6 = "10.72.0.1", "fd72::1"
#: The router's own addresses, to the left and to the right.
ROUTER_LEFT4, ROUTER_LEFT6 = "10.71.0.2", "fd71::2"
ROUTER_RIGHT4, ROUTER_RIGHT6 = "10.72.0.2", "fd72::2"


def lefts(family: int) -> str:
    """The address of the kernel to the left."""
    return LEFT4 if family == socket.AF_INET else LEFT6


def rights(family: int) -> str:
    """The address of the kernel to the right."""
    return RIGHT4 if family == socket.AF_INET else RIGHT6


def router_lefts(family: int) -> str:
    """The address that the kernel to the left knows the router by."""
    return ROUTER_LEFT4 if family == socket.AF_INET else ROUTER_LEFT6


class Road:
    """A stack that is a router between the kernels of two namespaces, which know each other through it alone.

    `left_mtu`, `right_mtu`: what the router takes its links for; the kernels at their ends believe 1500.
    """

    def __init__(
        self,
        left: Namespace,
        right: Namespace,
        *,
        left_kind: str = "tun",
        right_kind: str = "tun",
        left_offload: bool = True,
        right_offload: bool = True,
        right_mtu: int = 1500,
        config: StackConfig | None = None,
    ) -> None:
        self.left = left
        self.right = right
        self.right_mtu = right_mtu
        self.config = StackConfig(forwarding=True) if config is None else config
        #: To be wrapped, before `run`, by whoever wants to see the packets.
        self.left_link: Link = self._open(
            left, left_kind, "left", left_offload, (LEFT4, LEFT6), (ROUTER_LEFT4, ROUTER_LEFT6)
        )
        self.right_link: Link = self._open(
            right, right_kind, "right", right_offload, (RIGHT4, RIGHT6), (ROUTER_RIGHT4, ROUTER_RIGHT6)
        )

    @staticmethod
    def _open(
        ns: Namespace, kind: str, name: str, offload: bool, addresses: tuple[str, str], gateways: tuple[str, str]
    ) -> TunLink | TapLink:
        opened = ns.open_tun if kind == "tun" else ns.open_tap
        link = opened(name, kernel_address=[f"{addresses[0]}/24", f"{addresses[1]}/64"], offload=offload)
        link.add_kernel_route("0.0.0.0/0", gateways[0])
        link.add_kernel_route("::/0", gateways[1])
        return link

    def run(self, work: Callable[[Stack], Awaitable[T]]) -> T:
        """The result of `work` while the router works; no packet that came in may have been broken."""

        async def main() -> T:
            stack = Stack(self.config, random.Random(1), bytes(32))
            driver = Driver(stack, AsyncioScheduler(asyncio.get_running_loop()))
            async with AsyncStack(driver) as face:
                left = driver.attach(self.left_link)
                right = driver.attach(self.right_link)
                for address in (f"{ROUTER_LEFT4}/24", f"{ROUTER_LEFT6}/64"):
                    stack.add_address(left, address)
                for address in (f"{ROUTER_RIGHT4}/24", f"{ROUTER_RIGHT6}/64"):
                    stack.add_address(right, address)
                stack.set_mtu(driver.scheduler.now(), right, self.right_mtu)
                driver.push()
                result = await asyncio.wait_for(work(stack), LIMIT)
                check_sound(face)
                assert driver.counters()["packets_dropped"] == 0
                return result

        return asyncio.run(main())


# Networks of namespaces


def configure(ns: Namespace, device: str, addresses: Iterable[str], mtu: int = 0) -> None:
    """Take a device up and give it addresses; they can be used when this returns."""
    routes = ns.call(RouteSocket)
    try:
        info = routes.link(device)
        assert info is not None
        if mtu:
            routes.set_mtu(info.index, mtu)
        routes.set_up(info.index, True)
        for address in addresses:
            routes.add_address(info.index, address)
    finally:
        routes.close()


def cable(left: Namespace, right: Namespace, left_end: tuple[str, ...], right_end: tuple[str, ...], mtu: int) -> None:
    """A pair of devices: "east" in `left` and "west" in `right`, with these addresses."""
    left.run("ip", "link", "add", "east", "type", "veth", "peer", "name", "west", "netns", right.name)
    right.run("ip", "link", "set", "west", "up")
    configure(left, "east", left_end, mtu)
    configure(right, "west", right_end, mtu)


def make_router(ns: Namespace) -> None:
    """The kernel passes packets on in `ns`, and answers what it can't as often as it is asked."""
    ns.sysctl("net/ipv4/ip_forward", "1")
    ns.sysctl("net/ipv6/conf/all/forwarding", "1")
    ns.sysctl("net/ipv4/icmp_ratelimit", "0")
    ns.sysctl("net/ipv6/icmp/ratelimit", "0")


class Chain:
    """The stack's TUN device goes to `near`, a router; then comes `middle`, a router; then `far`, a host.

    The MTU is 1500 but between `near` and `middle`, where it is `mtu`: neither end knows of it.
    """

    def __init__(self, near: Namespace, middle: Namespace, far: Namespace, mtu: int = 1500) -> None:
        self.near = near
        self.middle = middle
        self.far = far
        #: By family: addresses of the routers, as the stack sees them, and of the host behind them.
        self.near_address: dict[int, str] = {socket.AF_INET: KERNEL4, socket.AF_INET6: KERNEL6}
        self.middle_address: dict[int, str] = {socket.AF_INET: "10.78.0.2", socket.AF_INET6: "fd78::2"}
        self.far_address: dict[int, str] = {socket.AF_INET: "10.79.0.2", socket.AF_INET6: "fd79::2"}
        for router in (near, middle):
            make_router(router)
        cable(near, middle, ("10.78.0.1/24", "fd78::1/64"), ("10.78.0.2/24", "fd78::2/64"), mtu)
        cable(middle, far, ("10.79.0.1/24", "fd79::1/64"), ("10.79.0.2/24", "fd79::2/64"), 1500)
        near.run("ip", "route", "add", "10.79.0.0/24", "via", "10.78.0.2")
        near.run("ip", "route", "add", "fd79::/64", "via", "fd78::2")
        middle.run("ip", "route", "add", "10.77.0.0/24", "via", "10.78.0.1")
        middle.run("ip", "route", "add", "fd77::/64", "via", "fd78::1")
        far.run("ip", "route", "add", "default", "via", "10.79.0.1")
        far.run("ip", "route", "add", "default", "via", "fd79::1")

    def set_mtu(self, mtu: int) -> None:
        """Make the link between the routers narrower or wider."""
        self.middle.run("ip", "link", "set", "west", "mtu", str(mtu))
        self.near.run("ip", "link", "set", "east", "mtu", str(mtu))


@contextlib.contextmanager
def chain(mtu: int = 1500) -> Iterator[Chain]:
    """A `Chain` for the block."""
    with namespace() as near, namespace() as middle, namespace() as far:
        yield Chain(near, middle, far, mtu)
