"""TCP Fast Open with the Linux kernel, as client and as server; its own counters (TcpExt) are the judges."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from tests.interop.ground import FAMILY_NAMES, INET, LIMIT, in_thread, kernels, on_tun, ours, until
from tests.interop.netns import Namespace

from plankroad.aio.stack import AsyncStack
from plankroad.stack.config import StackConfig

pytestmark = [pytest.mark.root, pytest.mark.xdist_group("root")]

REQUEST = b"GET / HTTP/1.0\r\n\r\n"
ANSWER = b"HTTP/1.0 200 OK\r\n\r\nhello"
BOTH = pytest.mark.parametrize("family", INET, ids=FAMILY_NAMES)


def with_fast_open(
    ns: Namespace, work: Callable[[AsyncStack], Awaitable[None]], config: StackConfig | None = None
) -> None:
    """Run `work` with a stack on a TUN device; the kernel in `ns` does Fast Open as client and as server."""
    ns.sysctl("net/ipv4/tcp_fastopen", "3")
    # Failures are counted, and do not make the kernel stop: each test has its own.
    ns.sysctl("net/ipv4/tcp_fastopen_blackhole_timeout_sec", "0")
    on_tun(ns, work, config)


def kernel_counts(ns: Namespace) -> dict[str, int]:
    """The kernel's TCPFastOpen counters, without that word, that do not stand at 0."""
    lines = ns.call(Path("/proc/thread-self/net/netstat").read_text).splitlines()
    found: dict[str, int] = {}
    for names, values in zip(lines[::2], lines[1::2], strict=True):
        for name, value in zip(names.split(), values.split(), strict=True):
            if name.startswith("TCPFastOpen") and int(value):
                found[name.removeprefix("TCPFastOpen")] = int(value)
    return found


def our_counts(stack: AsyncStack) -> dict[str, int]:
    """Ours, likewise."""
    counters = stack.counters()["tcp"]
    return {
        name.removeprefix("fast_open_"): count
        for name, count in counters.items()
        if name.startswith("fast_open_") and count
    }


async def page(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(ANSWER)
    writer.close()


def kernel_client(ns: Namespace, family: int) -> socket.socket:
    """A socket that the kernel itself blocks: with Python's time-outs sendto would not wait for the handshake."""
    client = ns.socket(family)
    client.settimeout(None)
    limit = struct.pack("@ll", int(LIMIT), 0)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
    return client


async def kernel_fetches(ns: Namespace, family: int, port: int = 80, request: bytes = REQUEST) -> bytes:
    """The kernel as a client: the request goes with the SYN if it has a cookie."""
    client = kernel_client(ns, family)

    def fetch() -> bytes:
        client.sendto(request, socket.MSG_FASTOPEN, (ours(family), port))
        data = b""
        while piece := client.recv(65536):
            data += piece
        client.close()
        return data

    return await in_thread(fetch)


def kernel_server(ns: Namespace, family: int, queue: int) -> socket.socket:
    listener = ns.socket(family)
    listener.settimeout(LIMIT)
    listener.bind((kernels(family), 5000))
    if queue:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, queue)
    listener.listen(16)
    return listener


async def we_fetch(stack: AsyncStack, listener: socket.socket, request: bytes = REQUEST) -> bytes:
    """Ours as a client, one request; the kernel's program answers it."""

    def serve() -> None:
        connection, _ = listener.accept()
        connection.settimeout(LIMIT)
        data = b""
        while len(data) < len(request):
            data += connection.recv(65536)
        assert data == request
        connection.sendall(ANSWER)
        connection.close()

    serving = asyncio.ensure_future(in_thread(serve))
    reader, writer = await stack.open_connection(*listener.getsockname()[:2], fast_open=True)
    writer.write(request)
    answer = await reader.read()
    await serving
    writer.close()
    await writer.wait_closed()
    return answer


@BOTH
def test_the_kernels_request_comes_with_its_syn(ns: Namespace, family: int) -> None:
    async def work(stack: AsyncStack) -> None:
        async with await stack.start_server(page, None, 80, fast_open=16):
            assert await kernel_fetches(ns, family) == ANSWER
            assert our_counts(stack) == {"cookie_requests": 1}
            for _ in range(3):
                assert await kernel_fetches(ns, family) == ANSWER
            assert our_counts(stack) == {"cookie_requests": 1, "passive": 3}
            assert kernel_counts(ns) == {"Active": 3}
            # An answer in the middle of the handshake is no reason for anything to be sent again.
            assert stack.counters()["tcp"]["retransmitted"] == 0

    with_fast_open(ns, work)


@BOTH
def test_a_long_request_of_the_kernel_comes_in_part_with_its_syn(ns: Namespace, family: int) -> None:
    received: list[bytes] = []

    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.append(await reader.readexactly(100_000))
        writer.write(ANSWER)
        writer.close()

    async def work(stack: AsyncStack) -> None:
        data = bytes(range(250)) * 400
        async with await stack.start_server(swallow, None, 80, fast_open=16):
            for _ in range(2):
                client = kernel_client(ns, family)

                def send(client: socket.socket = client) -> bytes:
                    sent = client.sendto(data, socket.MSG_FASTOPEN, (ours(family), 80))
                    client.sendall(data[sent:])
                    return client.recv(65536)

                assert await in_thread(send) == ANSWER
                client.close()
        assert received == [data, data]
        assert kernel_counts(ns) == {"Active": 1}

    with_fast_open(ns, work)


def test_the_kernel_takes_a_new_cookie_in_place_of_an_old_one(ns: Namespace) -> None:
    async def work(stack: AsyncStack) -> None:
        async with await stack.start_server(page, None, 80, fast_open=16):
            assert await kernel_fetches(ns, socket.AF_INET) == ANSWER
            stack.stack.set_fast_open_key(b"another key, nobody knew")
            assert await kernel_fetches(ns, socket.AF_INET) == ANSWER
            assert our_counts(stack) == {"cookie_requests": 1, "cookie_invalid": 1}
            assert kernel_counts(ns) == {"ActiveFail": 1}
            assert await kernel_fetches(ns, socket.AF_INET) == ANSWER
            assert kernel_counts(ns) == {"ActiveFail": 1, "Active": 1}
            # With the key before still good nothing is lost.
            stack.stack.set_fast_open_key(b"a third one, nobody knows", b"another key, nobody knew")
            assert await kernel_fetches(ns, socket.AF_INET) == ANSWER
            stack.stack.set_fast_open_key(b"a third one, nobody knows")
            assert await kernel_fetches(ns, socket.AF_INET) == ANSWER
            assert kernel_counts(ns) == {"ActiveFail": 1, "Active": 3}

    with_fast_open(ns, work)


def test_the_kernel_asks_in_the_experimental_form_where_the_other_was_not_answered(ns: Namespace) -> None:
    async def work(stack: AsyncStack) -> None:
        async with await stack.start_server(page, None, 80) as server:
            assert await kernel_fetches(ns, socket.AF_INET) == ANSWER
            assert our_counts(stack) == {}
            server.sockets[0].setsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, 16)
            for _ in range(2):
                assert await kernel_fetches(ns, socket.AF_INET) == ANSWER
            assert our_counts(stack) == {"cookie_requests": 1, "passive": 1}
            assert kernel_counts(ns) == {"Active": 1}

    with_fast_open(ns, work)


@BOTH
def test_our_request_goes_with_our_syn_to_the_kernel(ns: Namespace, family: int) -> None:
    async def work(stack: AsyncStack) -> None:
        listener = kernel_server(ns, family, 16)
        assert await we_fetch(stack, listener) == ANSWER
        assert our_counts(stack) == {"cookies_received": 1}
        assert kernel_counts(ns) == {"CookieReqd": 1}
        for _ in range(3):
            assert await we_fetch(stack, listener) == ANSWER
        assert our_counts(stack) == {"cookies_received": 1, "active": 3}
        assert kernel_counts(ns) == {"CookieReqd": 1, "Passive": 3}
        assert stack.counters()["tcp"]["retransmitted"] == 0
        listener.close()

    with_fast_open(ns, work)


@BOTH
def test_a_long_request_of_ours_goes_in_part_with_our_syn(ns: Namespace, family: int) -> None:
    async def work(stack: AsyncStack) -> None:
        listener = kernel_server(ns, family, 16)
        data = bytes(range(250)) * 400
        for _ in range(3):
            assert await we_fetch(stack, listener, data) == ANSWER
        assert kernel_counts(ns) == {"CookieReqd": 1, "Passive": 2}
        assert our_counts(stack) == {"cookies_received": 1, "active": 2}
        listener.close()

    with_fast_open(ns, work)


def test_the_kernels_new_cookie_takes_the_place_of_its_old_one(ns: Namespace) -> None:
    async def work(stack: AsyncStack) -> None:
        listener = kernel_server(ns, socket.AF_INET, 16)
        assert await we_fetch(stack, listener) == ANSWER
        ns.sysctl("net/ipv4/tcp_fastopen_key", "01234567-89abcdef-01234567-89abcdef")
        assert await we_fetch(stack, listener) == ANSWER
        assert our_counts(stack) == {"cookies_received": 2, "rejected": 1}
        assert kernel_counts(ns) == {"CookieReqd": 1, "PassiveFail": 1}
        assert await we_fetch(stack, listener) == ANSWER
        assert our_counts(stack) == {"cookies_received": 2, "rejected": 1, "active": 1}
        listener.close()

    with_fast_open(ns, work)


def test_a_kernel_without_fast_open_is_served_the_ordinary_way(ns: Namespace) -> None:
    async def work(stack: AsyncStack) -> None:
        listener = kernel_server(ns, socket.AF_INET, 0)
        for _ in range(2):
            assert await we_fetch(stack, listener) == ANSWER
        assert our_counts(stack) == {}
        # It counts what it does not answer; and we ask once only.
        assert kernel_counts(ns) == {"CookieReqd": 1}
        listener.close()

    with_fast_open(ns, work)


def test_a_kernel_that_has_given_it_up_gets_the_data_with_the_first_ack(ns: Namespace) -> None:
    async def work(stack: AsyncStack) -> None:
        listener = kernel_server(ns, socket.AF_INET, 16)
        assert await we_fetch(stack, listener) == ANSWER
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, 0)
        assert await we_fetch(stack, listener) == ANSWER
        assert our_counts(stack) == {"cookies_received": 1, "rejected": 1}
        # From then on, for a while, it gets an ordinary SYN.
        assert await we_fetch(stack, listener) == ANSWER
        assert our_counts(stack) == {"cookies_received": 1, "rejected": 1}
        assert kernel_counts(ns) == {"CookieReqd": 1}
        listener.close()

    with_fast_open(ns, work)


def test_linux_and_we_close_as_soon_as_we_wrote(ns: Namespace) -> None:
    async def work(stack: AsyncStack) -> None:
        listener = kernel_server(ns, socket.AF_INET, 16)
        assert await we_fetch(stack, listener) == ANSWER

        def serve() -> bytes:
            connection, _ = listener.accept()
            connection.settimeout(LIMIT)
            data = b""
            while piece := connection.recv(65536):
                data += piece
            connection.close()
            return data

        serving = asyncio.ensure_future(in_thread(serve))
        _, writer = await stack.open_connection(*listener.getsockname()[:2], fast_open=True)
        writer.write(REQUEST)
        writer.close()
        assert await serving == REQUEST
        await until(lambda: not stack.active)
        assert kernel_counts(ns)["Passive"] == 1
        listener.close()

    with_fast_open(ns, work)
