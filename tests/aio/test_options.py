"""Socket options act, or are refused."""

from __future__ import annotations

import asyncio
import errno
import socket
import struct

import pytest
from tests.aio.nets import Net, Recorder, pair, with_net

from plankroad.aio.tcpinfo import pack_tcp_info
from plankroad.tcp.config import TcpConfig
from plankroad.units import SECOND


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
        # The lower two bits of the type of service are ECN's: a program's are passed over.
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, 0xBA)
        assert sock.getsockopt(socket.IPPROTO_IP, socket.IP_TOS) == 0xB8
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
