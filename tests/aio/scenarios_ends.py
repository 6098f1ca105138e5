"""Scenarios: exchanges, half-closes, resets, back-pressure."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from tests.aio.nets import Net, Recorder
from tests.aio.scenario import arrived, connected, linger_zero, reset, scenario


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
