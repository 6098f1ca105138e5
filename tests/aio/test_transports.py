"""Transports: windows, packets, contexts."""

from __future__ import annotations

import asyncio
import contextvars
import random

from tests.aio.nets import Net, Recorder, pair, with_net

from plankroad.stack.config import StackConfig
from plankroad.tcp.config import TcpConfig


def test_pausing_closes_the_window_and_memory_is_bounded() -> None:
    # RFC 9293 section 3.8.6.2.2: the window is what the receiver has room for.
    config = StackConfig(tcp=TcpConfig(snd_buf=100_000, rcv_buf=50_000))

    async def main(net: Net) -> None:
        client, server, _ = await pair(net)
        server.transport.pause_reading()
        client.transport.write(bytes(1_000_000))
        await asyncio.sleep(60)
        tcb = client.transport.get_extra_info("connection").tcb
        assert tcb.snd_wnd < 2000
        assert len(tcb.snd_buf) <= 100_000
        assert server.transport.get_extra_info("connection").tcb.rcv_queued <= 50_000
        assert client.transport.get_write_buffer_size() >= 850_000
        assert client.log == ["made", "pause"]
        server.transport.resume_reading()
        await server.until(lambda: len(server.received) == 1_000_000)
        assert client.log == ["made", "pause", "resume"]

    with_net(main, config=config)


def test_a_full_link_loses_nothing() -> None:
    async def main(net: Net) -> None:
        client, server, _ = await pair(net)
        data = random.Random(7).randbytes(2_000_000)
        client.transport.write(data)
        server.transport.write(data)
        await server.until(lambda: len(server.received) == len(data))
        await client.until(lambda: len(client.received) == len(data))
        assert bytes(server.received) == data == bytes(client.received)
        assert net.client.driver.links[0].counters.tx_refused > 0
        assert client.transport.get_extra_info("connection").tcb.bytes_retransmitted == 0

    with_net(main, queue_packets=3)


def test_super_segments_carry_the_same_bytes() -> None:
    async def main(net: Net) -> None:
        client, server, _ = await pair(net)
        data = random.Random(9).randbytes(5_000_000)
        client.transport.write(data)
        await server.until(lambda: len(server.received) == len(data))
        assert bytes(server.received) == data
        assert net.client.driver.links[0].counters.tx_super_segments > 0

    with_net(main, gso=True)


def test_a_small_write_is_one_packet_sent_at_once() -> None:
    async def main(net: Net) -> None:
        client, _, _ = await pair(net)
        await asyncio.sleep(1)
        counters = net.client.driver.links[0].counters
        for i in range(3):
            before = counters.tx_packets
            client.transport.write(b"x")
            # No turn of the loop is needed, and no earlier write has to be acknowledged first.
            assert counters.tx_packets == before + 1, i

    with_net(main)


def test_writes_from_data_received_leave_together() -> None:
    class Chatty(Recorder):
        def data_received(self, data: bytes) -> None:
            for _ in range(10):
                self.transport.write(b"0123456789")

    async def main(net: Net) -> None:
        listening = await net.server.create_server(Chatty, net.host, 0)
        client = Recorder()
        await net.client.create_connection(lambda: client, net.host, listening.sockets[0].getsockname()[1])
        await asyncio.sleep(1)
        counters = net.server.driver.links[0].counters
        before = counters.tx_packets
        client.transport.write(b"?")
        await client.until(lambda: len(client.received) == 100)
        # One with the data, beside an acknowledgement.
        assert counters.tx_packets <= before + 2

    with_net(main)


def test_callbacks_run_in_the_context_in_which_the_transport_was_made() -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="none")

    class Looks(Recorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self.note(variable.get())

        def connection_lost(self, exc: Exception | None) -> None:
            self.note(variable.get())
            super().connection_lost(exc)

    async def main(net: Net) -> None:
        variable.set("server")
        server = Looks()
        listening = await net.server.create_server(lambda: server, net.host, 0)
        variable.set("client")
        client = Looks()
        port = listening.sockets[0].getsockname()[1]
        await net.client.create_connection(lambda: client, net.host, port)
        variable.set("afterwards")
        await server.until(lambda: "made" in server.log)
        client.transport.write(b"x")
        await server.until(lambda: "data" in server.log)
        server.transport.write(b"x")
        await client.until(lambda: "data" in client.log)
        client.transport.close()
        await client.lost()
        await server.lost()
        assert client.log == ["made", "data", "client", "client", ("lost", None)]
        assert server.log == ["made", "data", "server", "eof", "server", ("lost", None)]

    with_net(main)


def test_the_repr_says_where_and_what() -> None:
    async def main(net: Net) -> None:
        client, _, listening = await pair(net)
        text = repr(client.transport)
        assert "10.0.0.2" in text
        assert "read=polling" in text
        client.transport.pause_reading()
        assert "read=idle" in repr(client.transport)
        client.transport.close()
        assert "clos" in repr(client.transport)
        assert "10.0.0.1" in repr(listening)
        assert "memory" in repr(net.client)

    with_net(main)
