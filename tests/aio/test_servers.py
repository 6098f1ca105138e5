"""Servers as of Python 3.13."""

from __future__ import annotations

import asyncio
import errno
from typing import Any

import pytest
from tests.aio.nets import Net, Recorder, pair, with_net


def test_port_0_is_one_free_port_for_both_families() -> None:
    async def main(net: Net) -> None:
        listening = await net.server.create_server(Recorder, None, 0)
        names = [sock.getsockname() for sock in listening.sockets]
        assert [name[0] for name in names] == ["0.0.0.0", "::"]
        assert names[0][1] == names[1][1] > 0
        for host in ("10.0.0.1", "fd00::1"):
            transport, _ = await net.client.create_connection(Recorder, host, names[0][1])
            transport.close()

    with_net(main)


def test_several_hosts() -> None:
    async def main(net: Net) -> None:
        listening = await net.server.create_server(Recorder, ["10.0.0.1", "10.0.0.1", "fd00::1"], 8080)
        assert [sock.getsockname()[0] for sock in listening.sockets] == ["10.0.0.1", "fd00::1"]
        with pytest.raises(OSError, match=r"10\.0\.0\.9") as caught:
            await net.server.create_server(Recorder, ["10.0.0.9"], 8081)
        assert caught.value.errno == errno.EADDRNOTAVAIL
        # One that fails leaves none behind.
        with pytest.raises(OSError, match="bind on address") as caught:
            await net.server.create_server(Recorder, ["127.0.0.1", "10.0.0.1"], 8080)
        assert caught.value.errno == errno.EADDRINUSE
        await net.server.create_server(Recorder, ["127.0.0.1"], 8080)

    with_net(main)


def test_a_server_that_does_not_serve_yet_lets_connections_wait() -> None:
    async def main(net: Net) -> None:
        server = Recorder()
        listening = await net.server.create_server(lambda: server, net.host, 0, start_serving=False)
        port = listening.sockets[0].getsockname()[1]
        assert not listening.is_serving()
        client = Recorder()
        transport, _ = await net.client.create_connection(lambda: client, net.host, port)
        transport.write(b"early")
        await asyncio.sleep(1)
        assert server.log == []
        await listening.start_serving()
        assert listening.is_serving()
        await server.until(lambda: bytes(server.received) == b"early")
        await listening.start_serving()
        transport.close()

    with_net(main)


def test_wait_closed_waits_for_the_connections() -> None:
    async def main(net: Net) -> None:
        _, server, listening = await pair(net)
        waiting = asyncio.ensure_future(listening.wait_closed())
        await asyncio.sleep(1)
        assert not waiting.done()
        listening.close()
        assert listening.sockets == ()
        await asyncio.sleep(1)
        assert not waiting.done()
        listening.close_clients()
        await waiting
        assert server.log == ["made", ("lost", None)]
        await listening.wait_closed()

    with_net(main)


def test_abort_clients() -> None:
    async def main(net: Net) -> None:
        client, _, listening = await pair(net)
        listening.abort_clients()
        await client.lost()
        assert client.log == ["made", ("lost", "ConnectionResetError")]

    with_net(main)


def test_serve_forever_ends_by_cancellation_and_closes() -> None:
    async def main(net: Net) -> None:
        listening = await net.server.create_server(Recorder, net.host, 0, start_serving=False)
        task = asyncio.ensure_future(listening.serve_forever())
        await asyncio.sleep(1)
        assert listening.is_serving()
        with pytest.raises(RuntimeError, match="already being awaited"):
            await listening.serve_forever()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not listening.is_serving()
        with pytest.raises(RuntimeError, match="closed"):
            await listening.serve_forever()

    with_net(main)


def test_a_server_is_a_context_manager() -> None:
    async def main(net: Net) -> None:
        async with await net.server.create_server(Recorder, net.host, 8080) as listening:
            assert listening.is_serving()
            assert listening.get_loop() is asyncio.get_running_loop()
        assert not listening.is_serving()
        with pytest.raises(ConnectionRefusedError):
            await net.client.create_connection(Recorder, net.host, 8080)

    with_net(main)


def test_connections_in_the_backlog_are_reset_when_the_server_closes() -> None:
    async def main(net: Net) -> None:
        listening = await net.server.create_server(Recorder, net.host, 0, start_serving=False)
        client = Recorder()
        await net.client.create_connection(lambda: client, net.host, listening.sockets[0].getsockname()[1])
        listening.close()
        await client.lost()
        assert client.log == ["made", ("lost", "ConnectionResetError")]

    with_net(main)


def test_a_factory_that_fails_is_reported_and_its_connection_reset() -> None:
    # asyncio reports it in debug mode only, and leaves the socket to the garbage collector.
    async def main(net: Net) -> None:
        told: list[Any] = []
        loop = asyncio.get_running_loop()
        handler = loop.get_exception_handler()
        loop.set_exception_handler(lambda loop, context: told.append(type(context["exception"])))

        def factory() -> asyncio.Protocol:
            raise ZeroDivisionError

        listening = await net.server.create_server(factory, net.host, 0)
        client = Recorder()
        await net.client.create_connection(lambda: client, net.host, listening.sockets[0].getsockname()[1])
        await client.lost()
        assert client.log == ["made", ("lost", "ConnectionResetError")]
        assert told == [ZeroDivisionError]
        loop.set_exception_handler(handler)

    with_net(main)
