"""ECN with the Linux kernel, classic and accurate: both agree, both mark, and each tells the other of its marks.

No queue marks here: a link between device and stack sets CE on some of the packets that are ECN-capable.
"""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest
from tests.interop.ground import (
    KERNEL,
    KERNEL4,
    KERNEL6,
    LIMIT,
    OURS4,
    OURS6,
    in_thread,
    on_link,
    read_to_end,
    receive_all,
    send_all,
    snmp,
    stream,
    write_all,
)
from tests.interop.netns import Namespace

from plankroad.aio.stack import AsyncStack
from plankroad.link.base import Link
from plankroad.stack.config import StackConfig
from plankroad.tcp.config import TcpConfig
from plankroad.tcp.connection import Connection
from plankroad.wire.checksum import update
from plankroad.wire.packet import Packet

pytestmark = [pytest.mark.root, pytest.mark.xdist_group("root")]

MB = 1_000_000
CE = 3

# struct tcp_info (include/uapi/linux/tcp.h)
TCPI_OPT_ECN = 8
TCPI_OPT_ECN_SEEN = 16


class MarkingLink(Link):
    """A link that sets CE on every `every`th ECN-capable packet of each direction, 0 for none."""

    def __init__(self, link: Link, every: int) -> None:
        super().__init__(link.name, link.mtu, tx_csum=link.tx_csum, gso_max_size=link.gso_max_size)
        self.link = link
        self.counters = link.counters
        self.every = every
        self.capable = {"in": 0, "out": 0}  # packets with ECT, each of a super-segment
        self.marked = {"in": 0, "out": 0}
        self.waiting: Packet | None = None

    def fileno(self) -> int:
        return self.link.fileno()

    def receive(self) -> list[Packet]:
        packets = self.link.receive()
        for packet in packets:
            self.see(packet, "in")
        return packets

    def send(self, packet: Packet) -> bool:
        if packet is not self.waiting:
            self.see(packet, "out")
        taken = self.link.send(packet)
        self.waiting = None if taken else packet
        return taken

    def close(self) -> None:
        self.link.close()

    def see(self, packet: Packet, way: str) -> None:
        head = packet.head
        word = head[0] << 8 | head[1]
        four = head[0] >> 4 == 4
        ecn = word & 3 if four else word >> 4 & 3
        if ecn in (0, CE):
            return
        size = len(packet) - (20 if four else 40) - 32
        count = 1 if not packet.gso_size else (size + packet.gso_size - 1) // packet.gso_size
        before = self.capable[way]
        self.capable[way] += count
        if not self.every or before // self.every == self.capable[way] // self.every:
            return
        self.marked[way] += count
        new = word | (CE if four else CE << 4)
        check = b""
        if four:
            check = update(head[10] << 8 | head[11], word, new).to_bytes(2, "big")
        packet.head = new.to_bytes(2, "big") + (head[2:10] + check + head[12:] if four else head[2:])


def kernel_options(sock: socket.socket) -> int:
    """tcpi_options of the kernel's TCP_INFO: the sixth byte."""
    return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)[5]


def kernel_counters(ns: Namespace) -> dict[str, int]:
    """The kernel's counters: "TcpExtTCPDeliveredCE", "IpExtInCEPkts", "Ip6InCEPkts" and the like."""
    found = snmp(ns)
    lines = ns.call(Path("/proc/thread-self/net/netstat").read_text).splitlines()
    for names, values in zip(lines[::2], lines[1::2], strict=True):
        group, *columns = names.split()
        for name, value in zip(columns, values.split()[1:], strict=True):
            found[group.rstrip(":") + name] = int(value)
    return found


class Outcome:
    """What both ends of a transfer say at its end."""

    def __init__(self) -> None:
        self.info: dict[str, int | str] = {}
        self.counters: dict[str, int] = {}
        self.kernel_options = 0
        self.netstat: dict[str, int] = {}
        self.link: Any = None


def transfer(
    ns: Namespace,
    connects: str,
    ecn: str,
    every: int,
    offload: bool,
    family: int = socket.AF_INET,
    size: int = 4 * MB,
) -> Outcome:
    """`size` bytes each way at once; who `connects`: "kernel" or "plankroad"."""
    up, up_hash = stream(size)
    down, down_hash = stream(size + 1)
    outcome = Outcome()
    four = family == socket.AF_INET

    def one(stack: AsyncStack) -> Connection:
        (path,) = stack.stack.connections.values()
        return path.connection

    async def work(stack: AsyncStack) -> None:
        loop = asyncio.get_running_loop()
        streams: asyncio.Future[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = loop.create_future()
        kernel = ns.socket(family, socket.SOCK_STREAM)
        kernel.settimeout(LIMIT)
        if connects == "kernel":

            async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                streams.set_result((reader, writer))

            server = await stack.start_server(serve, None, 80)
            await in_thread(kernel.connect, (OURS4 if four else OURS6, 80))
            peer = kernel
            server.close()
        else:
            kernel.bind((KERNEL4 if four else KERNEL6, 5000))
            kernel.listen(1)
            accepting = asyncio.create_task(in_thread(kernel.accept))
            streams.set_result(await stack.open_connection(KERNEL4 if four else KERNEL6, 5000))
            peer, _ = await accepting
            peer.settimeout(LIMIT)
        reader, writer = await streams
        connection = one(stack)
        receiving = asyncio.create_task(in_thread(receive_all, peer))
        sending = asyncio.create_task(in_thread(send_all, peer, down))
        reading = asyncio.create_task(read_to_end(reader))
        await write_all(writer, up)
        assert await receiving == (size, up_hash)
        await sending
        assert await reading == (size + 1, down_hash)
        outcome.info = connection.info(0)
        outcome.kernel_options = await in_thread(kernel_options, peer)
        outcome.netstat = kernel_counters(ns)
        outcome.counters = stack.stack.counters.tcp.as_dict()
        writer.close()
        peer.close()

    link = MarkingLink(ns.open_tun(kernel_address=KERNEL, offload=offload), every)
    outcome.link = link
    on_link(link, work, StackConfig(tcp=TcpConfig(ecn=ecn)))
    return outcome


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6], ids=["ipv4", "ipv6"])
@pytest.mark.parametrize("offload", [True, False], ids=["offload", "plain"])
@pytest.mark.parametrize(
    ("connects", "sysctl", "ecn"),
    [("kernel", "1", "passive"), ("plankroad", "2", "on"), ("plankroad", "2", "accecn"), ("plankroad", "1", "on")],
)
def test_classic_ecn(ns: Namespace, connects: str, sysctl: str, ecn: str, offload: bool, family: int) -> None:
    """RFC 3168, also where accurate ECN was asked of a kernel that does not do it."""
    ns.sysctl("net/ipv4/tcp_ecn", sysctl)
    got = transfer(ns, connects, ecn, 40, offload, family)
    assert "ecn ecnseen" in str(got.info["options"])
    assert got.kernel_options & (TCPI_OPT_ECN | TCPI_OPT_ECN_SEEN) == TCPI_OPT_ECN | TCPI_OPT_ECN_SEEN
    assert got.counters["ecn_classic"] == 1
    # Our marks reached the kernel and were echoed; the kernel's reached us, and it answered them.
    assert got.link.marked["out"] > 0
    assert got.netstat["IpExtInCEPkts" if family == socket.AF_INET else "Ip6InCEPkts"] > 0
    assert got.counters["ecn_echoes_received"] > 0
    assert got.counters["ecn_reductions"] > 0
    assert got.counters["ecn_ce_received"] == got.link.marked["in"] > 0
    assert got.netstat["TcpExtTCPDeliveredCE"] > 0
    assert got.counters["retransmitted"] == 0


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6], ids=["ipv4", "ipv6"])
@pytest.mark.parametrize("offload", [True, False], ids=["offload", "plain"])
@pytest.mark.parametrize(
    ("connects", "sysctl", "otherwise", "ecn"), [("kernel", "3", "1", "passive"), ("plankroad", "5", "2", "accecn")]
)
def test_the_best_that_the_kernel_has(
    ns: Namespace, connects: str, sysctl: str, otherwise: str, ecn: str, offload: bool, family: int
) -> None:
    """RFC 9768 where the kernel's sysctl takes the values for it, RFC 3168 where it refuses them."""
    accurate = True
    try:
        ns.sysctl("net/ipv4/tcp_ecn", sysctl)
    except OSError:
        accurate = False
        ns.sysctl("net/ipv4/tcp_ecn", otherwise)
    got = transfer(ns, connects, ecn, 40, offload, family)
    assert got.counters["ecn_accurate" if accurate else "ecn_classic"] == 1
    assert got.counters["ecn_mangled"] == got.counters["ecn_bleached"] == 0
    assert got.counters["retransmitted"] == 0
    assert got.counters["ecn_reductions"] > 0
    assert got.counters["ecn_ce_received"] == got.link.marked["in"] > 0
    assert got.netstat["TcpExtTCPDeliveredCE"] > 0
    if accurate:
        # Each end knows what the other received.
        assert got.info["delivered_ce"] == got.link.marked["out"] > 0
        assert got.netstat["TcpExtTCPDeliveredCE"] == got.info["received_ce"] == got.link.marked["in"]


@pytest.mark.parametrize(("connects", "sysctl", "ecn"), [("kernel", "1", "off"), ("plankroad", "0", "accecn")])
def test_no_ecn_where_one_end_does_not_want_it(ns: Namespace, connects: str, sysctl: str, ecn: str) -> None:
    ns.sysctl("net/ipv4/tcp_ecn", sysctl)
    got = transfer(ns, connects, ecn, 1, False, size=MB)
    assert "ecn" not in str(got.info["options"])
    assert got.kernel_options & TCPI_OPT_ECN == 0
    assert got.link.capable == {"in": 0, "out": 0}
