"""`AsyncStack` beyond what it has in common with an event loop: closing, names, options, servers as of Python 3.13."""

from __future__ import annotations

import asyncio
import contextvars
import errno
import functools
import random
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tests.aio.nets import Net, Recorder, contexts, given, plank_net, run_virtual

from plankroad.aio.open import neighbour_address, open_link
from plankroad.aio.stack import AsyncStack
from plankroad.aio.tcpinfo import pack_tcp_info
from plankroad.link.memory import MemoryLink
from plankroad.stack.config import StackConfig
from plankroad.tcp.config import TcpConfig
from plankroad.units import SECOND


def with_net(main: Callable[[Net], Awaitable[Any]], **kwds: Any) -> Any:
    """Run `main` on two stacks in virtual time; both must be empty in the end."""

    async def inside() -> Any:
        complaints: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: complaints.append(context))
        async with asyncio.timeout(600), plank_net(**kwds) as net:
            result = await main(net)
        assert complaints == []
        assert net.client.active == 0
        assert net.server.active == 0
        return result

    return run_virtual(inside())


async def pair(net: Net, **kwds: Any) -> tuple[Recorder, Recorder, Any]:
    """Two connected recorders and the server."""
    client, server = Recorder(), Recorder()
    listening = await net.server.create_server(lambda: server, net.host, 0)
    port = listening.sockets[0].getsockname()[1]
    await net.client.create_connection(lambda: client, net.host, port, **kwds)
    await server.until(lambda: "made" in server.log)
    return client, server, listening


# Closing


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

    with_net(main)


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


# Connecting


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
        with pytest.raises(OSError, match=r"Multiple exceptions: .*10\.0\.0\.1.*fd00::1"):
            await net.client.create_connection(Recorder, "server.test", 81)
        with pytest.raises(ExceptionGroup) as caught:
            await net.client.create_connection(Recorder, "server.test", 81, all_errors=True)
        assert [type(exc) for exc in caught.value.exceptions] == [ConnectionRefusedError] * 2

    with_net(main)


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


# Servers


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


# Transports


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


# Options


def test_socket_options_act() -> None:
    async def main(net: Net) -> None:
        client, _, _ = await pair(net)
        sock = client.transport.get_extra_info("socket")
        connection = client.transport.get_extra_info("connection")
        tcp = socket.IPPROTO_TCP
        assert sock.getsockopt(tcp, socket.TCP_NODELAY) == 1
        for level, option, value, field, expected in (
            (tcp, socket.TCP_NODELAY, 0, "nagle", "minshall"),
            (tcp, socket.TCP_NODELAY, 1, "nagle", "off"),
            (tcp, socket.TCP_CORK, 1, "cork", True),
            (tcp, socket.TCP_KEEPIDLE, 7, "keepalive_idle", 7 * SECOND),
            (tcp, socket.TCP_KEEPINTVL, 5, "keepalive_interval", 5 * SECOND),
            (tcp, socket.TCP_KEEPCNT, 4, "keepalive_count", 4),
            (tcp, socket.TCP_USER_TIMEOUT, 1500, "user_timeout", 1500_000_000),
            (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1, "keepalive", True),
            (socket.SOL_SOCKET, socket.SO_SNDBUF, 65536, "snd_buf", 65536),
            (socket.IPPROTO_IP, socket.IP_TTL, 9, "ttl", 9),
            (socket.IPPROTO_IP, socket.IP_TOS, 16, "tos", 16),
        ):
            sock.setsockopt(level, option, value)
            assert getattr(connection.tcb.config, field) == expected, field
            assert sock.getsockopt(level, option) == value
            sock.setsockopt(level, option, struct.pack("i", value))
            assert sock.getsockopt(level, option, 4) == struct.pack("i", value)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 3))
        assert connection.tcb.config.linger == 3 * SECOND
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8) == struct.pack("ii", 1, 3)
        assert sock.getsockopt(tcp, socket.TCP_CONGESTION, 16).rstrip(b"\0") == b"cubic"
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)

    with_net(main)


def test_keepalive_by_option_finds_a_dead_peer() -> None:
    async def main(net: Net) -> None:
        client, _, _ = await pair(net)
        sock = client.transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 10)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 2)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
        net.server.driver.close()
        loop = asyncio.get_running_loop()
        before = loop.time()
        await client.lost()
        assert client.log[-1] == ("lost", "TimeoutError")
        assert loop.time() - before == pytest.approx(16, abs=2)
        net.server.close()

    with_net(main)


def test_unknown_options_and_bad_values_are_refused() -> None:
    async def main(net: Net) -> None:
        client, _, listening = await pair(net)
        for sock in (client.transport.get_extra_info("socket"), listening.sockets[0]):
            for call, args, number in (
                (sock.setsockopt, (socket.IPPROTO_TCP, 999, 1), errno.ENOPROTOOPT),
                (sock.getsockopt, (socket.IPPROTO_TCP, 999), errno.ENOPROTOOPT),
                (sock.setsockopt, (socket.IPPROTO_IP, socket.IP_TTL, 999), errno.EINVAL),
                (sock.setsockopt, (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, b""), errno.EINVAL),
                (sock.setsockopt, (socket.SOL_SOCKET, socket.SO_LINGER, b""), errno.EINVAL),
            ):
                with pytest.raises(OSError, match=r".") as caught:
                    call(*args)
                assert caught.value.errno == number
            assert sock.fileno() == -1
            with pytest.raises(ValueError, match="blocking"):
                sock.setblocking(True)
            with pytest.raises(ValueError, match="timeout"):
                sock.settimeout(5)
            sock.setblocking(False)
            sock.settimeout(0)

    with_net(main)


def test_options_of_a_listener_are_inherited() -> None:
    async def main(net: Net) -> None:
        server = Recorder()
        listening = await net.server.create_server(lambda: server, net.host, 0, keep_alive=True)
        listening.sockets[0].setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 33)
        await net.client.create_connection(Recorder, net.host, listening.sockets[0].getsockname()[1])
        await server.until(lambda: "made" in server.log)
        config = server.transport.get_extra_info("connection").tcb.config
        assert config.keepalive
        assert config.keepalive_idle == 33 * SECOND
        assert config.nagle == "off"
        assert not net.server.stack.config.tcp.keepalive

    with_net(main)


def test_a_configuration_of_its_own() -> None:
    async def main(net: Net) -> None:
        client, _, _ = await pair(net, config=TcpConfig(congestion_control="newreno", nagle="classic"))
        sock = client.transport.get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 0
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).rstrip(b"\0") == b"newreno"
        with pytest.raises(ValueError, match=r"TcpConfig\.ttl"):
            await pair(net, config=TcpConfig(ttl=0))

    with_net(main)


def test_tcp_info_is_linuxs_struct() -> None:
    async def main(net: Net) -> bytes:
        client, server, _ = await pair(net)
        client.transport.write(bytes(10000))
        await server.until(lambda: len(server.received) == 10000)
        sock = client.transport.get_extra_info("socket")
        raw = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
        assert isinstance(raw, bytes)
        return raw

    raw = with_net(main)
    assert raw[0] == 1  # TCP_ESTABLISHED
    (rto,) = struct.unpack_from("I", raw, 8)
    (mss,) = struct.unpack_from("I", raw, 16)
    assert rto >= 200_000  # microseconds
    assert mss in (1448, 1460)


def test_tcp_info_has_each_field_in_its_place() -> None:
    # Offsets of include/uapi/linux/tcp.h
    for name, offset, code in (
        ("state", 0, "B"),
        ("retransmits", 2, "B"),
        ("rto", 8, "I"),
        ("rtt", 68, "I"),
        ("snd_cwnd", 80, "I"),
        ("total_retrans", 100, "I"),
        ("pacing_rate", 104, "Q"),
        ("bytes_acked", 120, "Q"),
        ("segs_out", 136, "I"),
        ("min_rtt", 148, "I"),
        ("delivery_rate", 160, "Q"),
        ("bytes_sent", 200, "Q"),
        ("snd_wnd", 228, "I"),
    ):
        value = 8 if name == "state" else 77
        packed = pack_tcp_info({"tcpi_" + name: "CLOSE_WAIT" if name == "state" else value})
        assert struct.unpack_from(code, packed, offset)[0] == value, name
        assert len(packed) == 232
    assert pack_tcp_info({"tcpi_rto": 1 << 60})[8:12] == b"\xff" * 4


# Datagrams


class Datagrams(asyncio.DatagramProtocol):
    """Keeps what comes."""

    def __init__(self) -> None:
        self.log: list[Any] = []
        self.changed = asyncio.Event()

    def note(self, entry: Any) -> None:
        self.log.append(entry)
        self.changed.set()

    async def until(self, count: int) -> None:
        while len(self.log) < count:
            self.changed.clear()
            await self.changed.wait()

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.note((data, addr))

    def error_received(self, exc: Exception) -> None:
        self.note(exc)

    def pause_writing(self) -> None:
        self.note("pause")

    def resume_writing(self) -> None:
        self.note("resume")

    def connection_lost(self, exc: Exception | None) -> None:
        self.note(("lost", exc))


def test_icmp_errors_reach_an_unconnected_endpoint_with_their_destination() -> None:
    # RFC 1122 section 4.1.3.3
    async def main(net: Net) -> None:
        transport, protocol = await net.client.create_datagram_endpoint(Datagrams, local_addr=("10.0.0.2", 0))
        transport.sendto(b"hello?", ("10.0.0.1", 99))
        await protocol.until(1)
        assert isinstance(protocol.log[0], ConnectionRefusedError)
        assert "('10.0.0.1', 99)" in str(protocol.log[0])
        transport.close()

    with_net(main)


def test_empty_datagrams_arrive() -> None:
    async def main(net: Net) -> None:
        server, protocol = await net.server.create_datagram_endpoint(Datagrams, local_addr=(net.host, 0))
        client, _ = await net.client.create_datagram_endpoint(
            Datagrams, remote_addr=server.get_extra_info("sockname")
        )
        client.sendto(b"")
        await protocol.until(1)
        assert protocol.log == [(b"", client.get_extra_info("sockname"))]

    with_net(main)


def test_datagrams_over_ipv6_and_by_name() -> None:
    async def main(net: Net) -> None:
        _, protocol = await net.server.create_datagram_endpoint(Datagrams, local_addr=("fd00::1", 5353))
        client, _ = await net.client.create_datagram_endpoint(
            Datagrams, remote_addr=("server.test", 5353), family=socket.AF_INET6
        )
        assert client.get_extra_info("peername") == ("fd00::1", 5353, 0, 0)
        client.sendto(b"six")
        await protocol.until(1)
        assert protocol.log == [(b"six", client.get_extra_info("sockname"))]
        assert client.get_extra_info("socket").type == socket.SOCK_DGRAM

    with_net(main)


def test_back_pressure_on_datagrams() -> None:
    async def main(net: Net) -> None:
        server, received = await net.server.create_datagram_endpoint(Datagrams, local_addr=(net.host, 0))
        client, protocol = await net.client.create_datagram_endpoint(
            Datagrams, remote_addr=server.get_extra_info("sockname")
        )
        client.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 5000)
        server.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        client.set_write_buffer_limits(2000)
        for i in range(60):
            client.sendto(bytes([i]) * 1000)
        assert "pause" in protocol.log
        assert client.get_write_buffer_size() > 2000
        await received.until(60)
        assert [entry[0] for entry in received.log] == [bytes([i]) * 1000 for i in range(60)]
        assert protocol.log == ["pause", "resume"]
        assert client.get_write_buffer_size() == 0

    with_net(main, queue_packets=2)


def test_a_datagram_endpoint_sends_what_it_has_before_it_closes() -> None:
    async def main(net: Net) -> None:
        server, received = await net.server.create_datagram_endpoint(Datagrams, local_addr=(net.host, 0))
        client, protocol = await net.client.create_datagram_endpoint(
            Datagrams, remote_addr=server.get_extra_info("sockname")
        )
        client.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 3000)
        for i in range(20):
            client.sendto(bytes([i]) * 1000)
        client.close()
        await received.until(20)
        await protocol.until(1)
        assert protocol.log == [("lost", None)]

    with_net(main, queue_packets=2)


def test_broadcast_needs_permission() -> None:
    async def main(net: Net) -> None:
        transport, protocol = await net.client.create_datagram_endpoint(Datagrams, local_addr=("10.0.0.2", 0))
        transport.sendto(b"x", ("10.0.0.255", 9))
        await protocol.until(1)
        assert protocol.log[0].errno == errno.EACCES
        allowed, quiet = await net.client.create_datagram_endpoint(
            Datagrams, local_addr=("10.0.0.2", 0), allow_broadcast=True
        )
        assert allowed.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST) == 1
        allowed.sendto(b"x", ("10.0.0.255", 9))
        await asyncio.sleep(1)
        assert quiet.log == []

    with_net(main)


def test_addresses_of_datagrams_are_numeric() -> None:
    async def main(net: Net) -> None:
        transport, _ = await net.client.create_datagram_endpoint(Datagrams, local_addr=("10.0.0.2", 0))
        for address in (("server.test", 9), "10.0.0.1", ("10.0.0.1",), None, 5):
            with pytest.raises(ValueError, match="address"):
                transport.sendto(b"x", address)

    with_net(main)


# Ping


def test_ping_tells_the_round_trip() -> None:
    async def main(net: Net) -> None:
        results = [result async for result in net.client.ping("server.test", 3, interval=2.0)]
        assert [result.seq for result in results] == [1, 2, 3]
        assert all(result.answered and result.address == "10.0.0.1" and result.ttl == 64 for result in results)
        assert asyncio.get_running_loop().time() >= 4
        (result,) = [r async for r in net.client.ping("server.test", 1, family=socket.AF_INET6, size=3000)]
        assert result.answered
        assert result.address == "fd00::1"
        assert result.size == 3000

    with_net(main)


def test_ping_without_answer() -> None:
    async def main(net: Net) -> None:
        results = [result async for result in net.client.ping("10.0.0.77", 2, timeout=3.0)]
        assert [(result.answered, result.round_trip) for result in results] == [(False, None)] * 2
        with pytest.raises(ValueError, match="size"):
            _ = [result async for result in net.client.ping("10.0.0.1", 2, size=-1)]

    with_net(main)


def test_traceroute_ends_at_the_destination() -> None:
    async def main(net: Net) -> None:
        hops = [hop async for hop in net.client.traceroute(net.host)]
        assert [(hop.ttl, hop.addresses, hop.reached) for hop in hops] == [(1, ["10.0.0.1"], True)]
        assert len(hops[0].results) == 3

    with_net(main)


# Opening


def test_the_kernels_end_of_a_network() -> None:
    assert neighbour_address("10.0.0.2/24") == "10.0.0.1/24"
    assert neighbour_address("10.0.0.1/24") == "10.0.0.2/24"
    assert neighbour_address("10.0.0.4/31") == "10.0.0.5/31"
    assert neighbour_address("10.0.0.5/31") == "10.0.0.4/31"
    assert neighbour_address("10.0.0.5/32") == ""
    assert neighbour_address("fd00::2/64") == "fd00::1/64"
    with pytest.raises(ValueError, match="10"):
        neighbour_address("10.0.0.300/24")


def test_open_link_closes_the_link_where_it_fails() -> None:
    async def main() -> None:
        link = MemoryLink.pair()[0]
        with pytest.raises(ValueError, match=r"."):
            open_link(link, address="nonsense")
        assert link._peer is None

    run_virtual(main())
    with pytest.raises(RuntimeError, match="event loop"):
        open_link(MemoryLink.pair()[0], address="10.0.0.1/24")


def test_gateways_and_routes() -> None:
    async def main() -> None:
        link, _ = MemoryLink.pair(ethernet=True)
        async with open_link(
            link,
            address=["10.0.0.2/24", "fd00::2/64"],
            gateway=["10.0.0.1", "fd00::1"],
            routes=[("192.0.2.0/24", "10.0.0.3"), ("198.51.100.0/24", None)],
        ) as stack:
            assert isinstance(stack, AsyncStack)
            routes = {(r.prefix, r.prefix_len): r.gateway for r in stack.stack.routes.routes()}
            assert routes[bytes(4), 0] == b"\x0a\0\0\1"
            assert routes[bytes(16), 0][-1] == 1
            assert routes[b"\xc0\0\2\0", 24] == b"\x0a\0\0\3"
            assert routes[b"\xc6\x33\x64\0", 24] == b""

    run_virtual(main())
