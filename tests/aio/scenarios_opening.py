"""Scenarios: opening, names, streams, files, TLS."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections.abc import Awaitable
from typing import Any

from tests.aio.nets import Net, Recorder, contexts
from tests.aio.scenario import connected, scenario


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
