"""Datagram transports beyond what they have in common with asyncio's."""

from __future__ import annotations

import asyncio
import errno
import socket
from typing import Any

import pytest
from tests.aio.nets import Net, with_net
from tests.aio.scenarios_datagrams import Log


class Datagrams(Log, asyncio.DatagramProtocol):
    """Keeps what comes."""

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
