"""TCP Fast Open through asyncio's doors: what it saves, to the nanosecond of virtual time, and what trouble costs."""

from __future__ import annotations

import asyncio
import random
import socket
import ssl
from typing import Any

import pytest
from tests.aio.nets import TLS, Net, Recorder, with_net

from plankroad.sim.host import Host
from plankroad.sim.rules import DROP
from plankroad.sim.topology import Network
from plankroad.sim.view import PacketView
from plankroad.stack.config import StackConfig
from plankroad.tcp.config import TcpConfig
from plankroad.units import MILLISECOND, SECOND
from plankroad.wire.segment import SYN

RTT = 100 * MILLISECOND
REQUEST = b"GET / HTTP/1.0\r\n\r\n"
ANSWER = b"HTTP/1.0 200 OK\r\n\r\nhello"


async def page(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """An answer, as soon as there is a request."""
    await reader.readuntil(b"\r\n\r\n")
    writer.write(ANSWER)
    writer.close()


def two_hosts(config: StackConfig | None = None) -> tuple[Network, Host, Host]:
    """A client and a server, `RTT` apart on a link that is so fast that bytes take no time."""
    net = Network(seed=1)
    client, server = net.host("client", config=config), net.host("server")
    net.link(client, server, delay="50ms")
    return net, client, server


async def fetch(client: Host, net: Network, port: int = 80, **kwds: Any) -> tuple[bytes, int, int]:
    """One request; the answer, and the nanoseconds until its first octet and until its end."""
    begin = net.simulator.now
    reader, writer = await client.aio.open_connection("server", port, **kwds)
    writer.write(REQUEST)
    first = await reader.read(1)
    first_at = net.simulator.now - begin
    rest = await reader.read()
    end_at = net.simulator.now - begin
    writer.close()
    await writer.wait_closed()
    return first + rest, first_at, end_at


def tcp(client: Host, name: str) -> int:
    return client.aio.counters()["tcp"][name]


def test_a_request_in_the_syn_is_answered_after_one_round_trip() -> None:
    # RFC 7413 section 3: the handshake costs nothing any more.
    net, client, server = two_hosts()

    async def main() -> None:
        await server.aio.start_server(page, port=80, fast_open=16)
        answer, first, end = await fetch(client, net, fast_open=True)
        assert (answer, first, end) == (ANSWER, 2 * RTT, 2 * RTT)  # the first brings the cookie
        for _ in range(3):
            answer, first, end = await fetch(client, net, fast_open=True)
            assert (answer, first, end) == (ANSWER, RTT, RTT)
        answer, first, end = await fetch(client, net)
        assert (answer, first, end) == (ANSWER, 2 * RTT, 2 * RTT)
        assert tcp(client, "fast_open_active") == tcp(server, "fast_open_passive") == 3
        assert tcp(server, "fast_open_cookie_requests") == tcp(client, "fast_open_cookies_received") == 1
        assert tcp(client, "retransmitted") == tcp(server, "retransmitted") == 0

    net.run(main())


def test_programs_that_do_not_ask_for_it_do_without() -> None:
    net, client, server = two_hosts()

    async def main() -> None:
        await server.aio.start_server(page, port=80)
        for kwds in ({}, {"fast_open": True}, {"fast_open": True}):
            _, first, _ = await fetch(client, net, **kwds)
            assert first == 2 * RTT
        assert tcp(client, "fast_open_active") == tcp(server, "fast_open_passive") == 0
        assert tcp(server, "fast_open_cookie_requests") == 0

    net.run(main())


def test_a_configuration_may_ask_for_it_as_well() -> None:
    net, client, server = two_hosts()
    config = TcpConfig(fast_open=True, fast_open_queue=4)

    async def main() -> None:
        await server.aio.start_server(page, port=80, config=config)
        for rtts in (2, 1, 1):
            _, first, _ = await fetch(client, net, config=config)
            assert first == rtts * RTT

    net.run(main())


def test_opening_returns_at_once_where_the_next_write_goes_into_the_syn() -> None:
    net, client, server = two_hosts()

    async def main() -> None:
        await server.aio.start_server(page, port=80, fast_open=16)
        await fetch(client, net, fast_open=True)
        begin = net.simulator.now
        reader, writer = await asyncio.wait_for(client.aio.open_connection("server", 80, fast_open=True), 1)
        assert net.simulator.now == begin
        assert writer.get_extra_info("tcp_info")["state"] == "SYN_SENT"
        assert writer.get_extra_info("peername")[1] == 80
        writer.write(REQUEST)
        writer.close()  # even this early nothing is lost
        await writer.wait_closed()
        await asyncio.sleep(1)
        assert tcp(server, "fast_open_passive") == 1
        assert tcp(server, "bytes_received") == 2 * len(REQUEST)
        assert reader.at_eof()

    net.run(main())


def test_a_program_that_waits_for_the_server_to_speak_first_is_served() -> None:
    net, client, server = two_hosts()

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 ready\r\n")
        await reader.read()
        writer.close()

    async def main() -> None:
        await server.aio.start_server(greet, port=25, fast_open=16)
        # The server knows the client by its cookie, and speaks at once. A SYN that waits for a write waits 2 ms.
        for expected in (2 * RTT, RTT + 2 * MILLISECOND):
            begin = net.simulator.now
            reader, writer = await client.aio.open_connection("server", 25, fast_open=True)
            assert await reader.readline() == b"220 ready\r\n"
            assert net.simulator.now - begin == expected
            writer.close()
            await writer.wait_closed()

    net.run(main())


def test_tls_begins_in_the_syn() -> None:
    # RFC 7413 section 6.3.2: "it is safe and useful to include a TLS client_hello in the SYN packet".
    net, client, server = two_hosts()
    below = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    below.load_cert_chain(TLS / "cert.pem", TLS / "key.pem")
    above = ssl.create_default_context(cafile=str(TLS / "cert.pem"))
    kwds: dict[str, Any] = {"ssl": above, "server_hostname": "server.test", "fast_open": True}

    async def main() -> None:
        await server.aio.start_server(page, port=443, ssl=below, fast_open=16)
        _, first, _ = await fetch(client, net, 443, **kwds)
        assert first == 3 * RTT
        _, first, _ = await fetch(client, net, 443, **kwds)
        assert first == 2 * RTT

    net.run(main())


def test_a_long_request_fills_the_syn_and_goes_on() -> None:
    net, client, server = two_hosts()
    received: list[bytes] = []

    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.append(await reader.read())
        writer.write(b"done")
        writer.close()

    async def main() -> None:
        await server.aio.start_server(swallow, port=80, fast_open=16)
        data = random.Random(1).randbytes(100_000)
        for _ in range(2):
            reader, writer = await client.aio.open_connection("server", 80, fast_open=True)
            writer.write(data)
            writer.write_eof()
            assert await reader.read() == b"done"
            writer.close()
        assert received == [data, data]
        assert tcp(client, "fast_open_active") == 1

    net.run(main())


def test_nobody_there_is_told_when_it_is_known() -> None:
    net, client, server = two_hosts()

    async def main() -> None:
        listening = await server.aio.start_server(page, port=80, fast_open=16)
        await fetch(client, net, fast_open=True)
        listening.close()
        reader, writer = await client.aio.open_connection("server", 80, fast_open=True)
        writer.write(REQUEST)
        with pytest.raises(ConnectionRefusedError):
            await reader.read()
        # Next time the ordinary way, and the error at its ordinary place.
        with pytest.raises(ConnectionRefusedError):
            await client.aio.open_connection("server", 80, fast_open=True)

    net.run(main())


@pytest.mark.parametrize("what", ["data", "option"])
def test_a_middlebox_that_drops_such_syns_costs_one_timeout_and_then_nothing(what: str) -> None:
    # RFC 7413 section 7.1: "6% of the probed paths on the Internet drop SYN packets with data or with unknown TCP
    # options. The TFO protocol deals with this problem by falling back to the regular TCP handshake".
    net, client, server = two_hosts()
    link = net.links[0]

    def blocked(view: PacketView) -> bool:
        seg = view.tcp
        if seg is None or not seg.flags & SYN:
            return False
        return bool(seg.payload) if what == "data" else seg.fast_open is not None

    async def main() -> None:
        await server.aio.start_server(page, port=80, fast_open=16)
        if what == "data":
            await fetch(client, net, fast_open=True)
        link.rule(DROP, blocked)
        answer, first, _ = await fetch(client, net, fast_open=True)
        assert (answer, first) == (ANSWER, SECOND + 2 * RTT)
        assert tcp(client, "fast_open_syn_lost") == 1
        for _ in range(3):
            answer, first, _ = await fetch(client, net, fast_open=True)
            assert (answer, first) == (ANSWER, 2 * RTT)
        # It is tried again, and rests twice as long.
        await asyncio.sleep(60)
        _, first, _ = await fetch(client, net, fast_open=True)
        assert first > SECOND
        await asyncio.sleep(100)
        _, first, _ = await fetch(client, net, fast_open=True)
        assert first == 2 * RTT

    net.run(main())


@pytest.mark.parametrize("seed", range(8))
def test_in_bad_networks_everything_arrives_once(seed: int) -> None:
    net = Network(seed=seed)
    client, server = net.host("client"), net.host("server")
    net.link(client, server, rate="5Mbit/s", delay="20ms", jitter="30ms", loss=0.1, duplicate=0.1, corrupt=0.02)
    requests: list[bytes] = []

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        data = await reader.read()
        requests.append(data[:4])
        writer.write(data)
        writer.close()

    async def main() -> None:
        await server.aio.start_server(echo, port=80, fast_open=64)
        rng = random.Random(seed)
        for number in range(30):
            data = number.to_bytes(4, "big") + rng.randbytes(rng.choice((0, 10, 1000, 1400, 20_000)))
            reader, writer = await client.aio.open_connection("server", 80, fast_open=True)
            writer.write(data)
            writer.write_eof()
            assert await reader.read() == data, f"seed {seed}"
            writer.close()
            client.stack.fast_open._rests.clear()  # try again, however badly it went
            client.stack.fast_open._failed.clear()
        assert sorted(requests) == [number.to_bytes(4, "big") for number in range(30)], f"seed {seed}"
        assert tcp(client, "fast_open_active") > 5

    net.run(main())


def test_the_socket_of_a_listener_has_the_option() -> None:
    async def main(net: Net) -> None:
        server = await net.server.create_server(Recorder, net.host, 0, fast_open=5)
        [sock] = server.sockets
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN) == 5
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, 7)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN) == 7
        with pytest.raises(OSError, match="nvalid"):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, -1)
        server.close()
        await server.wait_closed()
        with pytest.raises(ValueError, match="fast_open_queue"):
            await net.server.create_server(Recorder, net.host, 0, fast_open=-1)

    with_net(main)


def test_two_servers_behind_one_key_take_each_others_cookies() -> None:
    # RFC 7413 section 6.3.4.
    net, client, server = two_hosts()

    async def main() -> None:
        await server.aio.start_server(page, port=80, fast_open=16)
        server.stack.set_fast_open_key(b"k" * 16)
        await fetch(client, net, fast_open=True)
        server.stack.set_fast_open_key(b"n" * 16, b"k" * 16)
        _, first, _ = await fetch(client, net, fast_open=True)
        assert first == RTT
        # It was told the new cookie on the way.
        server.stack.set_fast_open_key(b"n" * 16)
        _, first, _ = await fetch(client, net, fast_open=True)
        assert first == RTT
        server.stack.set_fast_open_key(b"x" * 16)
        _, first, _ = await fetch(client, net, fast_open=True)
        assert first == 2 * RTT
        with pytest.raises(ValueError, match="16 bytes"):
            server.stack.set_fast_open_key(b"short")

    net.run(main())


def test_the_bits_of_tcp_info_say_that_the_syn_had_data() -> None:
    net, client, server = two_hosts()

    async def main() -> None:
        await server.aio.start_server(page, port=80, fast_open=16)
        await fetch(client, net, fast_open=True)
        reader, writer = await client.aio.open_connection("server", 80, fast_open=True)
        writer.write(REQUEST)
        await reader.read()
        raw = writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 8)
        assert raw[5] & 32  # TCPI_OPT_SYN_DATA
        assert raw[5] & 7 == 7
        writer.close()

    net.run(main())


def test_a_host_may_have_no_memory_for_it() -> None:
    net, client, server = two_hosts(StackConfig(fast_open_cache=0))

    async def main() -> None:
        await server.aio.start_server(page, port=80, fast_open=16)
        for _ in range(3):
            _, first, _ = await fetch(client, net, fast_open=True)
            assert first == 2 * RTT

    net.run(main())


@pytest.mark.parametrize("ecn", ["off", "on", "accecn"])
def test_it_goes_together_with_ecn(ecn: str) -> None:
    # RFC 3168 section 6.1.1: a SYN, data or not, is not ECT; what the server sends behind its SYN-ACK may be.
    net, client, server = two_hosts()
    config = TcpConfig(fast_open=True, fast_open_queue=4, ecn=ecn)

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(bytes(200_000))
        writer.close()

    async def main() -> None:
        await server.aio.start_server(flood, port=80, config=config)
        for rtts in (2, 1, 1):
            answer, first, _ = await fetch(client, net, config=config)
            assert first == rtts * RTT
            assert len(answer) == 200_000
        assert tcp(client, "fast_open_active") == 2
        assert tcp(server, "retransmitted") == 0

    net.run(main())
