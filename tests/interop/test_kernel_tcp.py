"""TCP against the Linux kernel through a TUN device: what leaves one program arrives at the other, whoever is who."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import socket
import struct
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.interop.ground import (
    KERNEL4,
    KERNEL6,
    LIMIT,
    OURS4,
    OURS6,
    in_thread,
    on_tun,
    read_to_end,
    receive_all,
    send_all,
    stream,
    write_all,
)
from tests.interop.netns import Namespace

from plankroad.aio.stack import AsyncStack
from plankroad.stack.config import StackConfig
from plankroad.tcp.config import TcpConfig
from plankroad.tcp.connection import Connection
from plankroad.units import SECOND

pytestmark = [pytest.mark.root, pytest.mark.xdist_group("root")]

MB = 1_000_000


def with_stack(
    ns: Namespace,
    work: Callable[[AsyncStack], Awaitable[None]],
    config: StackConfig | None = None,
    offload: bool = True,
) -> None:
    """Run `work` with a stack on a TUN device in `ns`; at its end every connection has closed its sending side."""

    async def checked(stack: AsyncStack) -> None:
        await work(stack)
        for connection in connections(stack):
            assert connection.tcb.close_requested, f"still {connection.state()}"

    on_tun(ns, checked, config, offload=offload)


def connections(stack: AsyncStack) -> list[Connection]:
    """All that are in the table."""
    return [path.connection for path in stack.stack.connections.values()]


def kernel_socket(ns: Namespace, family: int = socket.AF_INET) -> socket.socket:
    made = ns.socket(family, socket.SOCK_STREAM)
    made.settimeout(LIMIT)
    return made


@pytest.mark.slow
@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6], ids=["ipv4", "ipv6"])
@pytest.mark.parametrize(("offload", "size"), [(True, 200 * MB), (False, 40 * MB)], ids=["offload", "plain"])
def test_a_kernel_client_gets_back_what_it_sends(ns: Namespace, family: int, offload: bool, size: int) -> None:
    """Both directions of one connection at once, each with its own stream."""
    up, up_hash = stream(size)
    down, down_hash = stream(size - 12345)

    async def work(stack: AsyncStack) -> None:
        served: asyncio.Future[tuple[int, str]] = asyncio.get_running_loop().create_future()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            reading = asyncio.create_task(read_to_end(reader))
            await write_all(writer, down)
            served.set_result(await reading)
            writer.close()

        async with await stack.start_server(serve, None, 80):
            client = kernel_socket(ns, family)
            address = (OURS4, 80) if family == socket.AF_INET else (OURS6, 80)
            await in_thread(client.connect, address)
            sending = asyncio.create_task(in_thread(send_all, client, up))
            assert await in_thread(receive_all, client) == (size - 12345, down_hash)
            await sending
            assert await served == (size, up_hash)
            client.close()

    with_stack(ns, work, offload=offload)


@pytest.mark.slow
@pytest.mark.parametrize("offload", [True, False], ids=["offload", "plain"])
def test_a_kernel_server(ns: Namespace, offload: bool) -> None:
    size = 200 * MB if offload else 40 * MB
    up, up_hash = stream(size)
    down, down_hash = stream(size + 1)

    async def work(stack: AsyncStack) -> None:
        listener = kernel_socket(ns)
        listener.bind((KERNEL4, 5000))
        listener.listen(1)

        def kernel() -> tuple[int, str]:
            peer, _ = listener.accept()
            with peer:
                peer.settimeout(LIMIT)
                got = receive_all(peer)
                send_all(peer, down)
                return got

        server = asyncio.create_task(in_thread(kernel))
        reader, writer = await stack.open_connection(KERNEL4, 5000)
        await write_all(writer, up)
        # Half-close: the kernel answers after our FIN.
        assert await read_to_end(reader) == (size + 1, down_hash)
        assert await server == (size, up_hash)
        writer.close()
        await writer.wait_closed()

    with_stack(ns, work, offload=offload)


def test_half_close_by_the_kernel_first(ns: Namespace) -> None:
    async def work(stack: AsyncStack) -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            question = await reader.read()
            writer.write(b"answer to " + question)
            await writer.drain()
            writer.close()

        async with await stack.start_server(serve, None, 80):
            client = kernel_socket(ns)
            await in_thread(client.connect, (OURS4, 80))
            client.sendall(b"question")
            client.shutdown(socket.SHUT_WR)
            assert (await in_thread(client.recv, 100)) == b"answer to question"
            assert (await in_thread(client.recv, 100)) == b""
            client.close()

    with_stack(ns, work)


@pytest.mark.parametrize("who_connects", ["kernel", "plankroad"])
def test_two_hundred_connections_at_once(ns: Namespace, who_connects: str) -> None:
    count = 200

    async def as_server(stack: AsyncStack) -> None:
        together = asyncio.Barrier(count)

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            data = await reader.readexactly(20_000)
            await together.wait()  # nobody is answered before all are connected
            writer.write(hashlib.sha256(data).digest())
            writer.close()

        def one(i: int) -> bool:
            data = bytes([i]) * 20_000
            client = kernel_socket(ns)
            with client:
                client.connect((OURS4, 80))
                client.sendall(data)
                answer = b""
                while part := client.recv(100):
                    answer += part
            return answer == hashlib.sha256(data).digest()

        async with await stack.start_server(serve, None, 80, backlog=count):
            loop = asyncio.get_running_loop()
            with ThreadPoolExecutor(count) as pool:
                results = await asyncio.gather(*(loop.run_in_executor(pool, one, i) for i in range(count)))
        assert results == [True] * count

    async def as_client(stack: AsyncStack) -> None:
        listener = kernel_socket(ns)
        listener.bind((KERNEL4, 5000))
        listener.listen(count)

        def echo_all() -> None:
            peers = [listener.accept()[0] for _ in range(count)]
            for peer in peers:
                peer.settimeout(LIMIT)
                with peer:
                    data = b""
                    while part := peer.recv(65536):
                        data += part
                    peer.sendall(data[::-1])

        server = asyncio.create_task(in_thread(echo_all))

        async def one(i: int) -> bool:
            reader, writer = await stack.open_connection(KERNEL4, 5000)
            data = bytes([i, 255 - i]) * 1000
            writer.write(data)
            writer.write_eof()
            answer = await reader.read()
            writer.close()
            return answer == data[::-1]

        assert await asyncio.gather(*(one(i) for i in range(count))) == [True] * count
        await server

    with_stack(ns, as_server if who_connects == "kernel" else as_client)


def test_a_port_where_nobody_listens_refuses_both_ways(ns: Namespace) -> None:
    async def work(stack: AsyncStack) -> None:
        client = kernel_socket(ns)
        with pytest.raises(ConnectionRefusedError):
            await in_thread(client.connect, (OURS4, 81))
        with pytest.raises(ConnectionRefusedError):
            await stack.open_connection(KERNEL4, 5001)
        with pytest.raises(ConnectionRefusedError):
            await stack.open_connection(KERNEL6, 5001)

    with_stack(ns, work)


def test_an_address_nobody_has_is_unreachable(ns: Namespace) -> None:
    # The kernel, as the router of a route it has not, answers with ICMP.
    async def work(stack: AsyncStack) -> None:
        stack.stack.add_route("10.99.0.0/16", gateway=KERNEL4)
        with pytest.raises(OSError, match="Connect call failed") as caught:
            await stack.open_connection("10.99.1.1", 80)
        assert caught.value.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH)

    ns.sysctl("net/ipv4/ip_forward", "1")
    with_stack(ns, work, StackConfig(tcp=TcpConfig(initial_rto=SECOND // 20)))


def test_a_killed_peer_resets(ns: Namespace) -> None:
    """The kernel closes the sockets of a process that was killed; with unread data that is a reset."""
    program = (
        "import socket,sys\n"
        f"s = socket.create_connection(({OURS4!r}, 80))\n"
        "s.sendall(b'hello')\n"
        "print('connected', flush=True)\n"
        "sys.stdin.read()\n"
    )

    async def work(stack: AsyncStack) -> None:
        ended: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                assert await reader.readexactly(5) == b"hello"
                writer.write(b"x" * 500_000)
                await reader.read()
                while True:
                    writer.write(b"x" * 500_000)
                    await writer.drain()
            except OSError as error:
                ended.set_result(error)

        async with await stack.start_server(serve, None, 80):
            process = ns.start("python3", "-c", program)
            await in_thread(process.wait_for, "connected")
            process.stop()
            error = await ended
        assert isinstance(error, ConnectionResetError | BrokenPipeError)

    with_stack(ns, work)


def test_a_kernel_socket_sees_our_abort_as_a_reset(ns: Namespace) -> None:
    async def work(stack: AsyncStack) -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readexactly(1)
            writer.transport.abort()

        async with await stack.start_server(serve, None, 80):
            client = kernel_socket(ns)
            await in_thread(client.connect, (OURS4, 80))
            client.sendall(b"x")
            with pytest.raises(ConnectionResetError):
                await in_thread(client.recv, 100)

    with_stack(ns, work)


def test_a_kernel_that_does_not_read_stops_our_writer_and_goes_on_when_it_reads(ns: Namespace) -> None:
    size = 30 * MB
    pieces, expected = stream(size)

    async def work(stack: AsyncStack) -> None:
        listener = kernel_socket(ns)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 20_000)
        listener.bind((KERNEL4, 5000))
        listener.listen(1)
        accepting = asyncio.create_task(in_thread(listener.accept))
        reader, writer = await stack.open_connection(KERNEL4, 5000)
        peer, _ = await accepting
        peer.settimeout(LIMIT)
        writing = asyncio.create_task(write_all(writer, pieces))
        connection = connections(stack)[0]
        while connection.tcb.snd_wnd > 0 or connection.tcb.probes == 0:
            await asyncio.sleep(0)  # the event is a probe into a closed window
        assert not writing.done()
        assert len(connection.tcb.snd_buf) <= connection.tcb.snd_buf_limit
        assert await in_thread(receive_all, peer) == (size, expected)
        await writing
        peer.close()
        assert await reader.read() == b""
        writer.close()

    with_stack(ns, work)


def test_the_kernel_and_we_agree_on_options(ns: Namespace) -> None:
    async def work(stack: AsyncStack) -> None:
        listener = kernel_socket(ns)
        listener.bind((KERNEL4, 5000))
        listener.listen(1)
        accepting = asyncio.create_task(in_thread(listener.accept))
        _, writer = await stack.open_connection(KERNEL4, 5000)
        peer, _ = await accepting
        info = connections(stack)[0].info(0)
        assert "ts" in str(info["options"])
        assert "sack" in str(info["options"])
        # struct tcp_info: tcpi_options is the sixth byte: TIMESTAMPS 1, SACK 2, WSCALE 4.
        kernels = peer.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
        assert kernels[5] & 7 == 7
        assert struct.unpack_from("I", kernels, 16)[0] == 1448  # tcpi_snd_mss
        assert info["snd_mss"] == 1448
        writer.close()
        peer.close()

    with_stack(ns, work)
