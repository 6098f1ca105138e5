"""ECN on a simulated network: a queue that marks loses nothing, its marks are answered, and the path stays full."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import random
from typing import Any

import pytest

from plankroad.sim.host import Host
from plankroad.sim.link import Link
from plankroad.sim.topology import Network
from plankroad.stack.config import StackConfig
from plankroad.tcp.config import TcpConfig

MBIT = 1_000_000


def two_hosts(client: TcpConfig, server: TcpConfig, **conditions: Any) -> tuple[Network, Host, Host, Link]:
    """A client and a server at the ends of 20 Mbit/s and 20 ms."""
    net = Network(1)
    a = net.host("a", config=StackConfig(tcp=client))
    b = net.host("b", config=StackConfig(tcp=server))
    link = net.link(a, b, **{"rate": "20Mbit/s", "delay": "10ms", "queue": 200, **conditions})
    return net, a, b, link


def upload(net: Network, a: Host, b: Host, size: int) -> float:
    """`size` bytes from `a` to `b`; returns the seconds that it took."""
    data = random.Random(5).randbytes(size)

    async def work() -> tuple[float, bytes]:
        arrived: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            arrived.set_result(hashlib.sha256(await reader.read(-1)).digest())
            writer.close()

        with b.here():
            server = await asyncio.start_server(serve, None, 80)
        begin = asyncio.get_running_loop().time()
        _, writer = await asyncio.open_connection("b", 80)
        writer.write(data)
        writer.write_eof()
        digest = await arrived
        took = asyncio.get_running_loop().time() - begin
        writer.close()
        server.close()
        return took, digest

    took, digest = net.run(work(), host=a)
    assert digest == hashlib.sha256(data).digest()
    return took


@pytest.mark.parametrize("ecn", ["on", "accecn"])
@pytest.mark.parametrize("algorithm", ["cubic", "newreno"])
@pytest.mark.parametrize("queue", [{"mark": 25}, {"queue": "codel"}])
def test_a_marking_queue_loses_nothing_and_stays_busy(ecn: str, algorithm: str, queue: dict[str, Any]) -> None:
    config = TcpConfig(ecn=ecn, congestion_control=algorithm)
    net, a, b, link = two_hosts(config, TcpConfig(), **queue)
    took = upload(net, a, b, 6_000_000)
    sender, receiver = a.stack.counters.tcp, b.stack.counters.tcp
    assert sender.retransmitted == 0
    assert link.there.pipe.counters.marked == receiver.ecn_ce_received > 0
    assert sender.ecn_echoes_received > 0
    assert 1 <= sender.ecn_reductions <= receiver.ecn_ce_received
    assert sender.ecn_mangled == sender.ecn_bleached == 0
    assert 8 * 6_000_000 / took > 0.85 * 20 * MBIT


def test_accurate_feedback_reports_every_mark() -> None:
    """RFC 9768: what the sender counts in the end is what the queue marked."""
    net, a, b, link = two_hosts(TcpConfig(ecn="accecn"), TcpConfig(), mark=25)
    ends: list[dict[str, int | str]] = []

    data = bytes(6_000_000)

    async def work() -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readexactly(len(data))
            writer.write(b"all of it")
            with contextlib.suppress(asyncio.CancelledError):
                await reader.read()

        with b.here():
            await asyncio.start_server(serve, None, 80)
        reader, writer = await asyncio.open_connection("b", 80)
        writer.write(data)
        assert await reader.readexactly(9) == b"all of it"
        ends.extend(path.connection.info(0) for host in (a, b) for path in host.stack.connections.values())
        writer.close()

    net.run(work(), host=a)
    sender, receiver = ends
    marked = link.there.pipe.counters.marked
    assert marked > 0
    assert sender["delivered_ce"] == receiver["received_ce"] == marked
    assert sender["delivered_ce_bytes"] == receiver["received_ce_bytes"]


@pytest.mark.parametrize("ecn", ["on", "accecn"])
def test_a_queue_that_drops_what_is_not_marked_in_time(ecn: str) -> None:
    """Marks and losses of one window together: nothing is lost for good."""
    net, a, b, link = two_hosts(TcpConfig(ecn=ecn), TcpConfig(), mark=10, queue=20, loss=0.01)
    upload(net, a, b, 1_000_000)
    assert link.there.pipe.counters.marked > 0
    assert a.stack.counters.tcp.retransmitted > 0


@pytest.mark.parametrize(("ecn", "accurate"), [("on", False), ("accecn", True)])
def test_both_ways_at_once(ecn: str, accurate: bool) -> None:
    """Data and echoes share segments; marks come from both sides."""
    net, a, b, _ = two_hosts(TcpConfig(ecn=ecn), TcpConfig(), mark=20)
    there, back = random.Random(1).randbytes(3_000_000), random.Random(2).randbytes(3_000_000)

    async def work() -> tuple[bytes, bytes]:
        got: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(back)
            writer.write_eof()
            got.set_result(await reader.read(-1))
            writer.close()

        with b.here():
            await asyncio.start_server(serve, None, 80)
        reader, writer = await asyncio.open_connection("b", 80)
        writer.write(there)
        writer.write_eof()
        received = await reader.read(-1)
        writer.close()
        return await got, received

    assert net.run(work(), host=a) == (there, back)
    for host in (a, b):
        counters = host.stack.counters.tcp
        assert counters.retransmitted == 0
        assert counters.ecn_reductions > 0
        assert counters.ecn_ce_received > 0
        assert counters.ecn_mangled == counters.ecn_bleached == 0
        assert (counters.ecn_accurate, counters.ecn_classic) == ((1, 0) if accurate else (0, 1))


def test_without_ecn_a_marking_queue_drops_when_it_is_full() -> None:
    """The default of a client does not ask."""
    net, a, b, link = two_hosts(TcpConfig(), TcpConfig(), mark=25, queue=50)
    upload(net, a, b, 3_000_000)
    assert link.there.pipe.counters.marked == 0
    assert a.stack.counters.tcp.retransmitted > 0


@pytest.mark.parametrize("ecn", ["passive", "on"])
def test_dctcp_keeps_the_queue_at_its_threshold(ecn: str) -> None:
    """RFC 8257: by accurate feedback, and by classic feedback from a receiver that does DCTCP too."""
    config = TcpConfig(ecn=ecn, congestion_control="dctcp")
    net, a, b, link = two_hosts(config, config.copy(), mark=17)
    waits = link.direction("b").measure_queue()
    took = upload(net, a, b, 6_000_000)
    sender, receiver = a.stack.counters.tcp, b.stack.counters.tcp
    assert (receiver.ecn_accurate, receiver.ecn_classic) == ((1, 0) if ecn == "passive" else (0, 1))
    assert sender.retransmitted == 0
    assert sender.ecn_reductions > 1
    assert 8 * 6_000_000 / took > 0.9 * 20 * MBIT
    # A packet takes 0.6 ms at this rate.
    assert waits.mean() < 25 * 600_000
