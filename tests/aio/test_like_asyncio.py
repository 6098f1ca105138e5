"""The same scenario over the kernel's sockets under asyncio and over ours gives the same callbacks in the same order.

A scenario waits on events of its protocols, or turns the loop until a socket has what it must have; it never sleeps.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import functools
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tests.aio.nets import LIMIT, Net, Recorder, contexts, given, kernel_net, plank_net, run, run_virtual

Scenario = Callable[[Net], Awaitable[Any]]
SCENARIOS: list[Scenario] = []

#: Linux: bytes that can be read.
FIONREAD = 0x541B


def scenario(function: Scenario) -> Scenario:
    """Register: run on both grounds, results compared."""
    SCENARIOS.append(function)
    return function


async def play(function: Scenario, ground: Any) -> tuple[Any, list[str]]:
    """The scenario's result, and what the loop's exception handler was told."""
    told: list[str] = []

    def note(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        told.append(type(context.get("exception")).__name__)

    asyncio.get_running_loop().set_exception_handler(note)
    async with asyncio.timeout(LIMIT), ground() as net:
        result = await function(net)
    return result, told


async def connected(net: Net, client: Recorder, server: Recorder, **kwds: Any) -> tuple[Any, Any]:
    """Connect two recorders; the server object and the client's transport."""
    listening = await net.server.create_server(lambda: server, net.host, 0, **kwds)
    port = listening.sockets[0].getsockname()[1]
    transport, _ = await net.client.create_connection(lambda: client, net.host, port)
    await server.until(lambda: "made" in server.log)
    return listening, transport


def contains(log: list[Any], entry: str) -> bool:
    """A condition for `until`."""
    return entry in log


async def arrived(transport: Any, count: int) -> None:
    """Until `count` bytes wait to be read."""
    while waiting(transport) < count:
        await asyncio.sleep(0)


def waiting(transport: Any) -> int:
    """Bytes that arrived and were not read."""
    connection = transport.get_extra_info("connection")
    if connection is not None:
        return int(connection.tcb.rcv_queued)
    return int(struct.unpack("i", fcntl.ioctl(transport.get_extra_info("socket").fileno(), FIONREAD, bytes(4)))[0])


async def reset(transport: Any) -> None:
    """Until the connection is CLOSED, though its transport does not know yet."""
    while transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1) != b"\x07":
        await asyncio.sleep(0)


def linger_zero(transport: asyncio.BaseTransport) -> None:
    """Make close a reset."""
    sock = transport.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@scenario
async def request_and_answer(net: Net) -> Any:
    client, server = Recorder(), Recorder()
    listening, transport = await connected(net, client, server)
    transport.write(b"question")
    await server.until(lambda: bytes(server.received) == b"question")
    server.transport.write(b"answer")
    await client.until(lambda: bytes(client.received) == b"answer")
    transport.close()
    await client.lost()
    await server.lost()
    listening.close()
    return client.log, server.log


@scenario
async def close_sends_what_was_written(net: Net) -> Any:
    client, server = Recorder(), Recorder()
    listening, transport = await connected(net, client, server)
    data = bytes(range(256)) * 20000
    transport.write(data)
    transport.close()
    closing = transport.is_closing()
    await server.lost()
    await client.lost()
    listening.close()
    return closing, server.log, client.log[-1], bytes(server.received) == data


@scenario
async def half_close_by_the_client(net: Net) -> Any:
    client, server = Recorder(), Recorder(keep_open=True)
    listening, transport = await connected(net, client, server)
    can = transport.can_write_eof()
    transport.write(b"all there is")
    transport.write_eof()
    transport.write_eof()
    await server.until(lambda: "eof" in server.log)
    closing = server.transport.is_closing()
    for _ in range(3):
        server.transport.write(b"answer")
    await client.until(lambda: bytes(client.received) == b"answer" * 3)
    server.transport.close()
    await client.lost()
    await server.lost()
    listening.close()
    return can, closing, client.log, server.log, bytes(server.received)


@scenario
async def half_close_by_the_server(net: Net) -> Any:
    client, server = Recorder(keep_open=True), Recorder()
    listening, transport = await connected(net, client, server)
    server.transport.write_eof()
    await client.until(lambda: "eof" in client.log)
    transport.write(b"still")
    await server.until(lambda: bytes(server.received) == b"still")
    transport.close()
    await server.lost()
    await client.lost()
    listening.close()
    return client.log, server.log


@scenario
async def eof_closes_unless_told_otherwise(net: Net) -> Any:
    client, server = Recorder(), Recorder(keep_open=False)
    listening, transport = await connected(net, client, server)
    transport.write_eof()
    await server.lost()
    await client.lost()
    listening.close()
    return client.log, server.log


@scenario
async def both_ends_close_at_once(net: Net) -> Any:
    client, server = Recorder(), Recorder()
    listening, transport = await connected(net, client, server)
    transport.close()
    server.transport.close()
    transport.close()
    await client.lost()
    await server.lost()
    listening.close()
    return client.log, server.log


@scenario
async def writing_is_refused_after_eof(net: Net) -> Any:
    client, server = Recorder(), Recorder(keep_open=True)
    listening, transport = await connected(net, client, server)
    transport.write_eof()
    errors = []
    for call, data in ((transport.write, b"late"), (transport.writelines, [b"late"])):
        try:
            call(data)
        except RuntimeError as exc:
            errors.append(type(exc).__name__)
    for bad in ("text", 5, None, [1]):
        try:
            transport.write(bad)
        except TypeError as exc:
            errors.append(type(exc).__name__)
    transport.abort()
    await client.lost()
    listening.close()
    return errors, client.log


@scenario
async def writes_after_close_are_ignored(net: Net) -> Any:
    client, server = Recorder(), Recorder()
    listening, transport = await connected(net, client, server)
    transport.close()
    transport.write(b"late")
    await client.lost()
    transport.write(b"too late")
    transport.close()
    transport.abort()
    await server.lost()
    listening.close()
    return client.log, server.log, transport.is_closing()


@scenario
async def a_reset_is_a_connection_reset_error(net: Net) -> Any:
    client, server = Recorder(), Recorder()
    listening, transport = await connected(net, client, server)
    linger_zero(transport)
    transport.abort()
    await server.lost()
    await client.lost()
    listening.close()
    return client.log, server.log


@scenario
async def closing_with_unread_data_is_a_reset(net: Net) -> Any:
    client, server = Recorder(), Recorder()
    listening, transport = await connected(net, client, server)
    server.transport.pause_reading()
    transport.write(b"nobody reads this")
    await arrived(server.transport, 17)
    server.transport.close()
    await client.lost()
    await server.lost()
    listening.close()
    return client.log, server.log


@scenario
async def what_came_before_a_reset_is_read_first(net: Net) -> Any:
    client, server = Recorder(), Recorder()
    listening, transport = await connected(net, client, server)
    server.transport.pause_reading()
    transport.write(b"before")
    await arrived(server.transport, 6)
    linger_zero(transport)
    transport.abort()
    await reset(server.transport)
    await asyncio.sleep(0)
    quiet = list(server.log)
    server.transport.resume_reading()
    await server.lost()
    listening.close()
    return quiet, server.log, bytes(server.received)


@scenario
async def writing_to_a_reset_connection(net: Net) -> Any:
    client, server = Recorder(), Recorder()
    listening, transport = await connected(net, client, server)
    server.transport.pause_reading()
    linger_zero(transport)
    transport.abort()
    await reset(server.transport)
    server.transport.write(b"x")
    server.transport.write(b"y")
    await server.lost()
    listening.close()
    return server.log[0], len(server.log)


@scenario
async def back_pressure_reaches_the_writer(net: Net) -> Any:
    client, server = Recorder(), Recorder()
    listening, transport = await connected(net, client, server)
    server.transport.pause_reading()
    server.transport.pause_reading()
    data = bytes(1 << 20)
    written = 0
    while not client.pauses:
        transport.write(data)
        written += len(data)
        await asyncio.sleep(0)
        assert written < 1 << 28
    reading = server.transport.is_reading()
    waiting = transport.get_write_buffer_size() > transport.get_write_buffer_limits()[1]
    before = len(server.received)
    server.transport.resume_reading()
    server.transport.resume_reading()
    await client.until(lambda: client.log[-1] == "resume")
    await server.until(lambda: len(server.received) == written)
    transport.close()
    await client.lost()
    await server.lost()
    listening.close()
    return reading, waiting, before, client.log, server.log


class PausesItself(Recorder):
    """Reads one piece, and then nothing until it is told to."""

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self.transport.pause_reading()


@scenario
async def the_end_waits_for_a_program_that_does_not_read(net: Net) -> Any:
    client, server = Recorder(keep_open=True), PausesItself(keep_open=True)
    listening, transport = await connected(net, client, server)
    transport.write(b"data")
    transport.write_eof()
    await server.until(lambda: "data" in server.log)
    while transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1) != b"\x05":
        await asyncio.sleep(0)  # until the FIN is acknowledged: FIN_WAIT_2
    quiet = list(server.log)
    server.transport.resume_reading()
    await server.until(lambda: "eof" in server.log)
    server.transport.close()
    await client.until(lambda: "eof" in client.log)
    transport.close()
    await client.lost()
    listening.close()
    return quiet, server.log[:3], client.log


@scenario
async def write_buffer_limits(net: Net) -> Any:
    client, server = Recorder(), Recorder()
    listening, transport = await connected(net, client, server)
    results: list[Any] = [transport.get_write_buffer_limits()]
    for high, low in ((None, None), (1000, None), (None, 100), (0, None), (100, 100), (10, 20), (-1, None)):
        try:
            transport.set_write_buffer_limits(high, low)
            results.append(transport.get_write_buffer_limits())
        except ValueError:
            results.append("ValueError")
    results.append(transport.get_write_buffer_size())
    transport.close()
    await client.lost()
    listening.close()
    return results


@scenario
async def limits_of_zero_pause_as_soon_as_anything_waits(net: Net) -> Any:
    client, server = Recorder(), Recorder()
    listening, transport = await connected(net, client, server)
    server.transport.pause_reading()
    transport.set_write_buffer_limits(0)
    small = bytes(100)
    transport.write(small)
    first = list(client.log)
    while not client.pauses:
        transport.write(bytes(1 << 20))
    server.transport.resume_reading()
    await client.until(lambda: client.log[-1] == "resume")
    size = transport.get_write_buffer_size()
    transport.close()
    await client.lost()
    listening.close()
    return first, size, client.log


@scenario
async def buffers_of_any_kind(net: Net) -> Any:
    client, server = Recorder(), Recorder()
    listening, transport = await connected(net, client, server)
    mutable = bytearray(b"<bytearray>")
    transport.write(mutable)
    mutable[:] = b"-overwritten"
    transport.write(memoryview(b"0<memoryview>0")[1:-1])
    transport.write(b"")
    transport.writelines([b"one", bytearray(b"two"), memoryview(b"three"), b""])
    transport.writelines([])
    transport.write(b".")
    await server.until(lambda: server.received.endswith(b"."))
    transport.close()
    await client.lost()
    listening.close()
    return bytes(server.received), server.log


@scenario
async def another_protocol_on_a_live_transport(net: Net) -> Any:
    client, server = Recorder(), Recorder()
    listening, transport = await connected(net, client, server)
    transport.write(b"first")
    await server.until(lambda: bytes(server.received) == b"first")
    server.transport.pause_reading()
    transport.write(b"second")
    await arrived(server.transport, 6)
    second = Recorder()
    second.log.append("put in place")
    server.transport.set_protocol(second)
    same = server.transport.get_protocol() is second
    server.transport.resume_reading()
    await second.until(lambda: bytes(second.received) == b"second")
    transport.close()
    await second.lost()
    listening.close()
    return same, server.log, second.log


class Buffered(asyncio.BufferedProtocol):
    """Takes what comes into a buffer of its own, three octets at a time."""

    def __init__(self, size: int) -> None:
        self.buffer = bytearray(size)
        self.received = bytearray()
        self.log: list[Any] = []
        self.done = asyncio.Event()
        self.asked: set[int] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.log.append("made")

    def get_buffer(self, sizehint: int) -> Any:
        self.asked.add(sizehint)
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        assert 0 < nbytes <= len(self.buffer)
        self.received += self.buffer[:nbytes]

    def eof_received(self) -> None:
        self.log.append("eof")

    def connection_lost(self, exc: Exception | None) -> None:
        self.log.append(("lost", exc))
        self.done.set()


@scenario
async def a_buffered_protocol(net: Net) -> Any:
    results = []
    for size in (3, 100_000):
        client, server = Recorder(), Buffered(size)
        listening = await net.server.create_server(functools.partial(given, server), net.host, 0)
        port = listening.sockets[0].getsockname()[1]
        transport, _ = await net.client.create_connection(functools.partial(given, client), net.host, port)
        data = bytes(range(256)) * 40
        transport.write(data)
        transport.close()
        await server.done.wait()
        listening.close()
        results.append((bytes(server.received) == data, server.log, server.asked))
    return results


class Failing(Recorder):
    """Raises in one of its callbacks."""

    def __init__(self, where: str) -> None:
        super().__init__()
        self.where = where

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if self.where == "made":
            raise ZeroDivisionError

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.where == "data":
            raise ZeroDivisionError

    def eof_received(self) -> bool | None:
        super().eof_received()
        if self.where == "eof":
            raise ZeroDivisionError
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self.where == "lost":
            raise ZeroDivisionError


@scenario
async def a_protocol_that_fails(net: Net) -> Any:
    results = []
    for where in ("made", "data", "eof", "lost"):
        client, server = Recorder(), Failing(where)
        listening, transport = await connected(net, client, server)
        transport.write(b"data")
        await server.until(functools.partial(contains, server.log, "data"))
        transport.write_eof()
        await server.lost()
        await client.lost()
        listening.close()
        results.append((where, server.log))
    return results


@scenario
async def a_port_where_nobody_listens(net: Net) -> Any:
    listening = await net.server.create_server(asyncio.Protocol, net.host, 0)
    port = listening.sockets[0].getsockname()[1]
    listening.close()
    await asyncio.sleep(0)
    try:
        await net.client.create_connection(asyncio.Protocol, net.host, port)
    except OSError as exc:
        name = f"({net.host!r}, {port})"
        return type(exc).__name__, exc.errno == errno.ECONNREFUSED, str(exc).replace(name, "<name>")
    return None


@scenario
async def a_port_that_is_taken(net: Net) -> Any:
    listening = await net.server.create_server(asyncio.Protocol, net.host, 0)
    port = listening.sockets[0].getsockname()[1]
    try:
        await net.server.create_server(asyncio.Protocol, net.host, port)
    except OSError as exc:
        # What follows the name depends on Python's version.
        return exc.errno, str(exc).partition(f"('{net.host}', {port})")[0]
    finally:
        listening.close()
    return None


@scenario
async def bad_arguments(net: Net) -> Any:
    calls: list[Awaitable[Any]] = [
        net.client.create_connection(asyncio.Protocol),
        net.client.create_connection(asyncio.Protocol, net.host, 1, server_hostname="x"),
        net.client.create_connection(asyncio.Protocol, net.host, 1, ssl_handshake_timeout=1),
        net.client.create_connection(asyncio.Protocol, port=1, ssl=True),
        net.server.create_server(asyncio.Protocol),
        net.server.create_server(asyncio.Protocol, net.host, 0, ssl=True),
        net.server.create_server(asyncio.Protocol, net.host, 0, ssl_handshake_timeout=1),
        net.client.create_datagram_endpoint(asyncio.DatagramProtocol),
    ]
    results = []
    for call in calls:
        try:
            await call
        except (ValueError, TypeError) as exc:
            results.append((type(exc).__name__, str(exc)))
    return results


@scenario
async def names_and_sockets(net: Net) -> Any:
    client, server = Recorder(), Recorder()
    listening, transport = await connected(net, client, server)
    sock = transport.get_extra_info("socket")
    result = [
        transport.get_extra_info("peername") == listening.sockets[0].getsockname(),
        server.transport.get_extra_info("sockname") == transport.get_extra_info("peername"),
        server.transport.get_extra_info("peername") == transport.get_extra_info("sockname"),
        sock.getpeername() == transport.get_extra_info("peername"),
        sock.getsockname() == transport.get_extra_info("sockname"),
        transport.get_extra_info("sockname")[1] > 0,
        transport.get_extra_info("nothing"),
        transport.get_extra_info("nothing", 5),
        sock.family,
        sock.type,
        sock.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE),
        sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR),
        sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0,
        sock.gettimeout(),
        listening.is_serving(),
        listening.sockets[0].family,
    ]
    transport.close()
    await client.lost()
    listening.close()
    return *result, listening.is_serving(), listening.sockets


@scenario
async def streams(net: Net) -> Any:
    seen: list[Any] = []
    done = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            seen.append(line)
            writer.write(line.upper())
            await writer.drain()
        writer.write(b"bye")
        writer.close()
        await writer.wait_closed()
        done.set()

    listening = await net.serve(talk)
    reader, writer = await net.streams(listening.sockets[0].getsockname()[1])
    for line in (b"one\n", b"two\n", b"x" * 60000 + b"\n"):
        writer.write(line)
        await writer.drain()
        seen.append(await reader.readline())
    writer.write_eof()
    seen.append(await reader.read())
    seen.append(reader.at_eof())
    writer.close()
    await writer.wait_closed()
    await done.wait()
    listening.close()
    return seen


@scenario
async def a_file_through_sendfile(net: Net) -> Any:
    client, server = Recorder(), Recorder()
    listening, transport = await connected(net, client, server)
    with open(__file__, "rb") as file:
        content = file.read()
        file.seek(0)
        count = await asyncio.get_running_loop().sendfile(transport, file)
    transport.write(b"after")
    transport.close()
    await server.lost()
    listening.close()
    return count == len(content), bytes(server.received) == content + b"after", server.log


@scenario
async def tls_from_the_beginning(net: Net) -> Any:
    client_context, server_context = contexts()
    client, server = Recorder(), Recorder()
    listening = await net.server.create_server(lambda: server, net.host, 0, ssl=server_context)
    port = listening.sockets[0].getsockname()[1]
    transport, _ = await net.client.create_connection(
        lambda: client, net.host, port, ssl=client_context, server_hostname="server.test"
    )
    transport.write(b"secret" * 50000)
    await server.until(lambda: len(server.received) == 300000)
    server.transport.write(b"answer")
    await client.until(lambda: bytes(client.received) == b"answer")
    extras = [transport.get_extra_info(name) is not None for name in ("ssl_object", "cipher", "peercert", "socket")]
    transport.close()
    await client.lost()
    await server.lost()
    listening.close()
    return client.log, server.log, extras, transport.get_extra_info("nothing")


@scenario
async def tls_with_the_wrong_name(net: Net) -> Any:
    client_context, server_context = contexts()
    server = Recorder()
    listening = await net.server.create_server(lambda: server, net.host, 0, ssl=server_context)
    port = listening.sockets[0].getsockname()[1]
    try:
        await net.client.create_connection(Recorder, net.host, port, ssl=client_context, server_hostname="other.test")
    except ssl.SSLCertVerificationError as exc:
        return exc.reason
    finally:
        listening.close()
    return None


@scenario
async def tls_begun_later(net: Net) -> Any:
    client_context, server_context = contexts()
    lines: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines.append(await reader.readline())
        writer.write(b"go ahead\n")
        await writer.drain()
        await writer.start_tls(server_context)
        lines.append(await reader.readline())
        writer.write(b"heard\n")
        await writer.drain()
        writer.close()

    listening = await net.serve(talk)
    reader, writer = await net.streams(listening.sockets[0].getsockname()[1])
    writer.write(b"starttls\n")
    lines.append(await reader.readline())
    await writer.start_tls(client_context, server_hostname="server.test")
    writer.write(b"in secret\n")
    lines.append(await reader.readline())
    lines.append(await reader.read())
    writer.close()
    await writer.wait_closed()
    listening.close()
    return lines


class Datagrams(asyncio.DatagramProtocol):
    """Writes down each callback."""

    def __init__(self) -> None:
        self.log: list[Any] = []
        self.changed = asyncio.Event()
        self.transport: Any = None
        self.peers: list[Any] = []

    def note(self, entry: Any) -> None:
        self.log.append(entry)
        self.changed.set()

    async def until(self, count: int) -> None:
        while len(self.log) < count:
            self.changed.clear()
            await self.changed.wait()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.note("made")

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.peers.append(addr)
        self.note(("datagram", data))

    def error_received(self, exc: Exception) -> None:
        self.note(("error", type(exc).__name__, getattr(exc, "errno", None)))

    def connection_lost(self, exc: Exception | None) -> None:
        self.note(("lost", exc))


@scenario
async def datagrams_there_and_back(net: Net) -> Any:
    server, _ = await net.server.create_datagram_endpoint(Datagrams, local_addr=(net.host, 0))
    name = server.get_extra_info("sockname")
    client, _ = await net.client.create_datagram_endpoint(Datagrams, remote_addr=name)
    a, b = client.get_protocol(), server.get_protocol()
    client.sendto(b"one")
    client.sendto(b"two", name)
    client.sendto(bytearray(b"x" * 9000))
    await b.until(4)
    same = b.peers[0] == client.get_extra_info("sockname")
    server.sendto(b"answer", b.peers[0])
    await a.until(2)
    results: list[Any] = [a.peers[0] == name, client.get_extra_info("peername") == name]
    results.append(server.get_extra_info("peername"))
    for bad in ((net.host, 1), ("203.0.113.5", name[1])):
        try:
            client.sendto(b"elsewhere", bad)
        except ValueError as exc:
            results.append(type(exc).__name__)
    try:
        client.sendto("text")
    except TypeError as exc:
        results.append(type(exc).__name__)
    client.close()
    client.close()
    server.abort()
    await a.until(3)
    await b.until(5)
    return same, a.log, b.log, results, client.is_closing()


@scenario
async def a_datagram_nobody_takes(net: Net) -> Any:
    server, _ = await net.server.create_datagram_endpoint(Datagrams, local_addr=(net.host, 0))
    name = server.get_extra_info("sockname")
    server.close()
    await server.get_protocol().until(2)
    client, _ = await net.client.create_datagram_endpoint(Datagrams, remote_addr=name)
    client.sendto(b"hello?")
    await client.get_protocol().until(2)
    protocol = client.get_protocol()
    client.close()
    await protocol.until(3)
    return protocol.log


@scenario
async def a_datagram_that_is_too_large(net: Net) -> Any:
    client, protocol = await net.client.create_datagram_endpoint(Datagrams, remote_addr=(net.host, 9))
    client.sendto(bytes(70000))
    await protocol.until(2)
    client.close()
    await protocol.until(3)
    return protocol.log


@pytest.fixture(scope="module")
def over_the_kernel() -> dict[str, tuple[Any, list[str]]]:
    """Results of the kernel's sockets, each scenario played once."""
    return {}


@pytest.mark.parametrize("runner", [run_virtual, run], ids=["virtual", "real"])
@pytest.mark.parametrize("function", SCENARIOS, ids=lambda function: function.__name__)
def test_as_over_the_kernels_sockets(
    function: Scenario, runner: Callable[..., Any], over_the_kernel: dict[str, tuple[Any, list[str]]]
) -> None:
    name = function.__name__
    if name not in over_the_kernel:
        over_the_kernel[name] = run(play(function, kernel_net))
    got, told = runner(play(function, plank_net))
    assert got == over_the_kernel[name][0]
    assert told == over_the_kernel[name][1]
