"""Opening connections: names, addresses, Happy Eyeballs, and how they fail."""

from __future__ import annotations

import asyncio
import errno
import functools
import random
import socket

import pytest
from tests.aio.nets import Net, Recorder, given, pair, run_virtual, with_net

from plankroad.aio.open import open_link
from plankroad.link.memory import MemoryLink
from plankroad.stack.config import StackConfig
from plankroad.tcp.config import TcpConfig
from plankroad.units import SECOND


def test_a_host_that_does_not_answer_is_a_timeout() -> None:
    config = StackConfig(tcp=TcpConfig(syn_timeout=30 * SECOND))

    async def main(net: Net) -> None:
        await net.server.aclose()
        before = asyncio.get_running_loop().time()
        with pytest.raises(TimeoutError) as caught:
            await net.client.create_connection(asyncio.Protocol, "10.0.0.1", 80)
        assert caught.value.errno == errno.ETIMEDOUT
        assert "('10.0.0.1', 80)" in str(caught.value)
        assert asyncio.get_running_loop().time() - before >= 30

    with_net(main, config=config)


def test_a_peer_that_vanishes_is_a_timeout() -> None:
    config = StackConfig(tcp=TcpConfig(r2=100 * SECOND))

    async def main(net: Net) -> None:
        client, _, _ = await pair(net)
        net.server.driver.close()
        client.transport.write(b"hello?")
        await client.lost()
        assert client.log == ["made", ("lost", "TimeoutError")]
        net.server.close()

    with_net(main, config=config)


def test_no_route_is_an_error_at_once() -> None:
    async def main() -> None:
        async with open_link(MemoryLink.pair()[0], address="10.0.0.2/24") as stack:
            with pytest.raises(OSError, match="Connect call failed") as caught:
                await stack.create_connection(asyncio.Protocol, "fd00::1", 80)
            assert caught.value.errno in (errno.ENETUNREACH, errno.EADDRNOTAVAIL)

    run_virtual(main())


def test_addresses_are_tried_one_after_the_other() -> None:
    async def main(net: Net) -> None:
        listening = await net.server.create_server(Recorder, "10.0.0.1", 0)
        port = listening.sockets[0].getsockname()[1]
        # Nobody listens on the IPv6 address.
        transport, _ = await net.client.create_connection(Recorder, "dual", port)
        assert transport.get_extra_info("peername") == ("10.0.0.1", port)
        transport.close()

    with_net(main, hosts={"dual": ["fd00::1", "10.0.0.1"]})


def test_all_errors_are_told() -> None:
    async def main(net: Net) -> None:
        with pytest.raises(ConnectionRefusedError, match=r"Multiple exceptions: .*10\.0\.0\.1.*fd00::1") as refused:
            await net.client.create_connection(Recorder, "server.test", 81)
        assert refused.value.errno == errno.ECONNREFUSED
        with pytest.raises(ExceptionGroup) as caught:
            await net.client.create_connection(Recorder, "server.test", 81, all_errors=True)
        assert [type(exc) for exc in caught.value.exceptions] == [ConnectionRefusedError] * 2

    with_net(main)


def test_errors_of_several_kinds_are_of_none() -> None:
    async def main(net: Net) -> None:
        with pytest.raises(OSError, match="Multiple exceptions") as caught:
            await net.client.create_connection(Recorder, "mixed", 81)
        assert type(caught.value) is OSError
        assert caught.value.errno is None

    with_net(main, hosts={"mixed": ["10.0.0.1", "255.255.255.255"]})


def test_happy_eyeballs_does_not_wait_for_a_dead_address() -> None:
    # RFC 8305 section 5
    async def main(net: Net) -> None:
        loop = asyncio.get_running_loop()
        listening = await net.server.create_server(Recorder, "10.0.0.1", 0)
        port = listening.sockets[0].getsockname()[1]
        before = loop.time()
        transport, _ = await net.client.create_connection(Recorder, "half", port, happy_eyeballs_delay=0.25)
        assert loop.time() - before == pytest.approx(0.25, abs=0.05)
        assert transport.get_extra_info("peername")[0] == "10.0.0.1"
        transport.close()
        await asyncio.sleep(0)
        # The attempt that lost is gone.
        assert all(key[2] == b"\x0a\0\0\1" for key in net.client.stack.connections)

    with_net(main, hosts={"half": ["fd00::77", "10.0.0.1"]})


def test_happy_eyeballs_goes_on_at_once_after_a_refusal() -> None:
    async def main(net: Net) -> None:
        loop = asyncio.get_running_loop()
        listening = await net.server.create_server(Recorder, "10.0.0.1", 0)
        port = listening.sockets[0].getsockname()[1]
        before = loop.time()
        transport, _ = await net.client.create_connection(Recorder, "dual", port, happy_eyeballs_delay=5.0)
        assert loop.time() - before < 1
        transport.close()
        with pytest.raises(OSError, match="Multiple exceptions"):
            await net.client.create_connection(Recorder, "dual", port + 1, happy_eyeballs_delay=5.0)

    with_net(main, hosts={"dual": ["fd00::1", "10.0.0.1"]})


def test_the_local_address_is_chosen() -> None:
    async def main(net: Net) -> None:
        client, server, _ = await pair(net, local_addr=("10.0.0.2", 5555))
        assert server.transport.get_extra_info("peername") == ("10.0.0.2", 5555)
        client.transport.close()
        with pytest.raises(OSError, match="error while attempting to bind") as caught:
            await pair(net, local_addr=("10.0.0.99", 0))
        assert caught.value.errno == errno.EADDRNOTAVAIL
        with pytest.raises(OSError, match="no matching local address"):
            await pair(net, local_addr=("fd00::2", 0))

    with_net(main)


def test_ipv6_names_have_four_parts() -> None:
    async def main(net: Net) -> None:
        server = Recorder()
        listening = await net.server.create_server(lambda: server, "fd00::1", 0)
        port = listening.sockets[0].getsockname()[1]
        assert listening.sockets[0].getsockname() == ("fd00::1", port, 0, 0)
        transport, _ = await net.client.create_connection(Recorder, "fd00::1", port)
        assert transport.get_extra_info("peername") == ("fd00::1", port, 0, 0)
        assert transport.get_extra_info("socket").family == socket.AF_INET6
        transport.close()

    with_net(main)


def test_kernel_sockets_are_refused() -> None:
    async def main(net: Net) -> None:
        with socket.socket() as kernels:
            for call in (
                net.client.create_connection(asyncio.Protocol, sock=kernels),
                net.client.create_server(asyncio.Protocol, sock=kernels),
                net.client.create_datagram_endpoint(asyncio.DatagramProtocol, sock=kernels),
            ):
                with pytest.raises(TypeError, match="host and port"):
                    await call

    with_net(main)


def test_a_factory_that_fails_resets_the_connection() -> None:
    async def main(net: Net) -> None:
        server = Recorder()
        listening = await net.server.create_server(lambda: server, net.host, 0)

        def fail() -> asyncio.Protocol:
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await net.client.create_connection(fail, net.host, listening.sockets[0].getsockname()[1])
        await server.lost()
        assert server.log == ["made", ("lost", "ConnectionResetError")]

    with_net(main)


def test_a_stack_talks_to_itself() -> None:
    async def main(net: Net) -> None:
        for host in ("127.0.0.1", "::1", "localhost", "10.0.0.1", "fd00::1"):
            server = Recorder()
            listening = await net.server.create_server(functools.partial(given, server), host, 0)
            port = listening.sockets[0].getsockname()[1]
            reader, writer = await net.server.open_connection(host, port)
            data = random.Random(5).randbytes(3_000_000)
            writer.write(data)
            writer.write_eof()
            assert await reader.read() == b""
            assert bytes(server.received) == data
            writer.close()
            listening.close()

    with_net(main)
