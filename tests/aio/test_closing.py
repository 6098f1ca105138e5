"""Closing a stack: in order, by force, and what is left."""

from __future__ import annotations

import asyncio

import pytest
from tests.aio.nets import Net, Recorder, contexts, pair, with_net

from plankroad.stack.config import StackConfig
from plankroad.tcp.config import TcpConfig


def test_aclose_ends_connections_in_order_at_both_ends() -> None:
    async def main(net: Net) -> None:
        client, server, _ = await pair(net)
        client.transport.write(bytes(1 << 20))
        await net.client.aclose()
        await server.lost()
        assert len(server.received) == 1 << 20
        assert client.log == ["made", ("lost", None)]
        assert server.log == ["made", "data", "eof", ("lost", None)]
        assert net.client.closed
        assert net.client.driver.links == []

    with_net(main, config=StackConfig(tcp=TcpConfig(snd_buf=1 << 20)))


def test_aclose_ends_tls_in_order() -> None:
    async def main(net: Net) -> None:
        client_context, server_context = contexts()
        client, server = Recorder(), Recorder()
        listening = await net.server.create_server(lambda: server, net.host, 0, ssl=server_context)
        port = listening.sockets[0].getsockname()[1]
        await net.client.create_connection(
            lambda: client, net.host, port, ssl=client_context, server_hostname="server.test"
        )
        client.transport.write(b"secret")
        await net.client.aclose()
        await server.lost()
        assert bytes(server.received) == b"secret"
        assert client.log[-1] == ("lost", None)
        # The close_notify came before the FIN.
        assert server.log == ["made", "data", "eof", ("lost", None)]

    with_net(main)


def test_aclose_tells_a_protocol_whose_connection_has_ended_already() -> None:
    async def main(net: Net) -> None:
        client, server, _ = await pair(net)
        client.keep_open = server.keep_open = True
        client.transport.write_eof()
        server.transport.write_eof()
        await client.until(lambda: "eof" in client.log)
        await server.until(lambda: "eof" in server.log)
        await asyncio.sleep(1)
        assert client.transport.get_extra_info("connection").state() in ("TIME_WAIT", "CLOSED")
        assert not client.transport.is_closing()
        await net.client.aclose()
        assert client.log == ["made", "eof", ("lost", None)]

    with_net(main)


def test_aclose_resets_what_does_not_end_in_time() -> None:
    async def main(net: Net) -> None:
        client, server, _ = await pair(net)
        server.transport.pause_reading()
        client.transport.write(bytes(64 << 20))
        loop = asyncio.get_running_loop()
        before = loop.time()
        await net.client.aclose(3.0)
        assert loop.time() - before == pytest.approx(3.0, abs=0.1)
        server.transport.resume_reading()
        await server.lost()
        assert server.log[-1] == ("lost", "ConnectionResetError")
        assert client.log[-1] == ("lost", None)

    with_net(main)


def test_close_resets_at_once() -> None:
    async def main(net: Net) -> None:
        client, server, _ = await pair(net)
        net.client.close()
        net.client.close()
        await client.lost()
        await server.lost()
        assert server.log == ["made", ("lost", "ConnectionResetError")]

    with_net(main)


def test_a_closed_stack_opens_nothing() -> None:
    async def main(net: Net) -> None:
        await net.client.aclose()
        await net.client.aclose()
        for call in (
            net.client.create_connection(asyncio.Protocol, net.host, 1),
            net.client.create_server(asyncio.Protocol, net.host, 1),
            net.client.create_datagram_endpoint(asyncio.DatagramProtocol, local_addr=("10.0.0.2", 0)),
        ):
            with pytest.raises(RuntimeError, match="closed"):
                await call

    with_net(main)


def test_nothing_is_left_in_the_stack_after_both_ends_closed() -> None:
    config = StackConfig(tcp=TcpConfig(msl=0))

    async def main(net: Net) -> None:
        client, server, listening = await pair(net)
        client.transport.close()
        await server.lost()
        listening.close()
        transport, _ = await net.client.create_datagram_endpoint(asyncio.DatagramProtocol, remote_addr=(net.host, 9))
        transport.close()
        async for _ in net.client.ping(net.host, 1):
            pass
        await asyncio.sleep(1)
        assert not any(net.client.stack.leftovers().values())
        assert not any(net.server.stack.leftovers().values())

    with_net(main, config=config)


def test_a_cancelled_connect_leaves_nothing() -> None:
    async def main(net: Net) -> None:
        task = asyncio.ensure_future(net.client.create_connection(asyncio.Protocol, "10.0.0.77", 80))
        await asyncio.sleep(2)
        assert net.client.stack.connections
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(0)
        assert not net.client.stack.connections

    with_net(main)


def test_aclose_closes_servers_that_do_not_serve_yet() -> None:
    async def main(net: Net) -> None:
        listening = await net.server.create_server(Recorder, net.host, 0, start_serving=False)
        client = Recorder()
        await net.client.create_connection(lambda: client, net.host, listening.sockets[0].getsockname()[1])
        await net.server.aclose()
        assert listening.sockets == ()
        await client.lost()
        assert client.log == ["made", ("lost", "ConnectionResetError")]

    with_net(main)


def test_a_program_that_closes_in_connection_made_after_the_peer_reset() -> None:
    class Leaves(Recorder):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            transport.close()

    class Resets(Recorder):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            assert isinstance(transport, asyncio.Transport)
            transport.abort()

    async def main(net: Net) -> None:
        # Within one stack the reset is there before `create_connection` goes on.
        listening = await net.server.create_server(Resets, "127.0.0.1", 0)
        client = Leaves()
        await net.server.create_connection(lambda: client, "127.0.0.1", listening.sockets[0].getsockname()[1])
        await client.lost()
        listening.close()
        await asyncio.sleep(1)
        assert net.server.active == 0
        assert client.log[-1][0] == "lost"

    with_net(main)
