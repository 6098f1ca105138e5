"""Windows that grow, against the kernel's: its receive window and our send buffer, its sender and our receive window;
and a black hole between the two."""

from __future__ import annotations

import asyncio
import socket

import pytest
from tests.interop.ground import (
    KERNEL,
    KERNEL4,
    KERNEL6,
    LIMIT,
    in_thread,
    listening,
    on_link,
    on_tun,
    read_to_end,
    receive_all,
    send_all,
    stream,
    write_all,
)
from tests.interop.netns import Namespace

from plankroad.aio.stack import AsyncStack
from plankroad.link.base import Link
from plankroad.tcp.config import INITIAL_RCV_BUF, INITIAL_SND_BUF
from plankroad.tcp.plpmtud import effective_mtu
from plankroad.wire.packet import Packet

pytestmark = [pytest.mark.root, pytest.mark.xdist_group("root")]

MB = 1_000_000
SIZE = 60 * MB


def test_our_window_grows_ahead_of_a_kernel_that_sends(ns: Namespace) -> None:
    pieces, expected = stream(SIZE)
    listener = listening(ns, socket.AF_INET, 80)

    def serve() -> None:
        peer, _ = listener.accept()
        with peer:
            peer.settimeout(LIMIT)
            send_all(peer, pieces)

    async def work(stack: AsyncStack) -> None:
        serving = asyncio.create_task(in_thread(serve))
        reader, writer = await stack.open_connection(KERNEL4, 80)
        (path,) = stack.stack.connections.values()
        t = path.connection.tcb
        assert await read_to_end(reader) == (SIZE, expected)
        await serving
        assert t.rcv_buf > INITIAL_RCV_BUF
        writer.close()

    on_tun(ns, work)


def test_our_send_buffer_follows_the_window_that_a_kernel_opens(ns: Namespace) -> None:
    pieces, expected = stream(SIZE)
    listener = listening(ns, socket.AF_INET, 80)

    def serve() -> tuple[int, str]:
        peer, _ = listener.accept()
        with peer:
            peer.settimeout(LIMIT)
            return receive_all(peer)

    async def work(stack: AsyncStack) -> None:
        serving = asyncio.create_task(in_thread(serve))
        _, writer = await stack.open_connection(KERNEL4, 80)
        (path,) = stack.stack.connections.values()
        t = path.connection.tcb
        await write_all(writer, pieces)
        assert await serving == (SIZE, expected)
        assert t.max_snd_wnd > 65535
        assert t.snd_buf_limit >= INITIAL_SND_BUF + min(t.max_snd_wnd, t.cc.cwnd)
        writer.close()

    on_tun(ns, work)


class Hole(Link):
    """A link that swallows packets above `carried` bytes on the way out."""

    def __init__(self, link: Link, carried: int) -> None:
        super().__init__(link.name, link.mtu, tx_csum=link.tx_csum, gso_max_size=link.gso_max_size)
        self.link = link
        self.counters = link.counters
        self.carried = carried
        self.swallowed = 0

    def fileno(self) -> int:
        return self.link.fileno()

    def receive(self) -> list[Packet]:
        return self.link.receive()

    def send(self, packet: Packet) -> bool:
        size = len(packet.head) + (packet.gso_size or len(packet.payload))
        if size > self.carried:
            self.swallowed += 1
            return True
        return self.link.send(packet)

    def close(self) -> None:
        self.link.close()


@pytest.mark.parametrize("offload", [True, False], ids=["offload", "plain"])
@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6], ids=["ipv4", "ipv6"])
def test_an_upload_to_a_kernel_survives_a_black_hole(ns: Namespace, family: int, offload: bool) -> None:
    # RFC 4821 section 7.7: no message ever comes.
    size = 5 * MB
    pieces, expected = stream(size)
    listener = listening(ns, family, 80)

    def serve() -> tuple[int, str]:
        peer, _ = listener.accept()
        with peer:
            peer.settimeout(LIMIT)
            return receive_all(peer)

    hole = Hole(ns.open_tun(kernel_address=KERNEL, offload=offload), 1400)

    async def work(stack: AsyncStack) -> None:
        serving = asyncio.create_task(in_thread(serve))
        _, writer = await stack.open_connection(KERNEL4 if family == socket.AF_INET else KERNEL6, 80)
        (path,) = stack.stack.connections.values()
        await write_all(writer, pieces)
        assert await serving == (size, expected)
        tcp = stack.stack.counters.tcp
        assert hole.swallowed > 0
        assert tcp.mtu_black_holes >= 1
        assert tcp.timeouts <= 4
        assert effective_mtu(path.connection.tcb) <= 1400
        writer.close()

    on_link(hole, work)
