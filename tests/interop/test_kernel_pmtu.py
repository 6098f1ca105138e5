"""Path MTU discovery with the Linux kernel: its routers tell us of a narrow link (RFC 1191, RFC 8201), ours tell it."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from tests.interop.ground import (
    FAMILY_NAMES,
    INET,
    LIMIT,
    Chain,
    Mailbox,
    Road,
    chain,
    in_thread,
    listening,
    on_tun,
    read_to_end,
    receive_all,
    rights,
    send_all,
    snmp,
    stream,
    until,
    write_all,
)
from tests.interop.netns import Namespace, namespace

from plankroad.aio.ping import PingResult
from plankroad.aio.stack import AsyncStack
from plankroad.stack.config import StackConfig
from plankroad.stack.stack import Stack

pytestmark = [pytest.mark.root, pytest.mark.xdist_group("root")]

families = pytest.mark.parametrize("family", INET, ids=FAMILY_NAMES)
offloads = pytest.mark.parametrize("offload", [True, False], ids=["offload", "plain"])

MB = 1_000_000
NARROW = 1400
#: Values of IP_MTU_DISCOVER and IPV6_MTU_DISCOVER.
DONT, WANT, DO = 0, 1, 2
IP_MTU_DISCOVER, IP_MTU = 10, 14
IPV6_MTU_DISCOVER, IPV6_MTU = 23, 24


@pytest.fixture
def net() -> Iterator[Chain]:
    with chain(NARROW) as made:
        yield made


@pytest.fixture
def wide() -> Iterator[Chain]:
    with chain(1500) as made:
        yield made


@pytest.fixture
def left() -> Iterator[Namespace]:
    with namespace() as made:
        yield made


@pytest.fixture
def right() -> Iterator[Namespace]:
    with namespace() as made:
        yield made


def ip_header(family: int) -> int:
    return 20 if family == socket.AF_INET else 40


def segment_size(family: int, mtu: int) -> int:
    """What a TCP segment with a timestamp takes of that MTU."""
    return mtu - ip_header(family) - 20 - 12


def set_discovery(sock: Any, family: int, value: int) -> None:
    """Of one of the kernel's sockets or of ours."""
    if family == socket.AF_INET:
        sock.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, value)
    else:
        sock.setsockopt(socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER, value)


def path_mtu(sock: socket.socket, family: int) -> int:
    """What the kernel takes for the path MTU of a connected socket."""
    if family == socket.AF_INET:
        return sock.getsockopt(socket.IPPROTO_IP, IP_MTU)
    return sock.getsockopt(socket.IPPROTO_IPV6, IPV6_MTU)


async def ping_once(stack: AsyncStack, host: str, **kwds: Any) -> PingResult:
    (result,) = [result async for result in stack.ping(host, 1, **kwds)]
    return result


# A kernel's router tells us


@offloads
@families
def test_an_upload_survives_a_narrow_link(net: Chain, family: int, offload: bool) -> None:
    """Both ends announce the segments of an MTU of 1500; what the router refuses is sent again, smaller."""
    size = 5 * MB
    up, up_hash = stream(size)
    down, down_hash = stream(size - 777)
    listener = listening(net.far, family, 80)

    def serve() -> tuple[int, str]:
        peer, _ = listener.accept()
        with peer:
            peer.settimeout(LIMIT)
            got = receive_all(peer)
            send_all(peer, down)
            return got

    async def work(stack: AsyncStack) -> None:
        serving = asyncio.create_task(in_thread(serve))
        reader, writer = await stack.open_connection(net.far_address[family], 80)
        (path,) = stack.stack.connections.values()
        assert path.connection.info(0)["snd_mss"] == segment_size(family, 1500)
        await write_all(writer, up)
        # The way back is narrow as well: the kernel's servers learn of it, and we get smaller segments.
        assert await read_to_end(reader) == (size - 777, down_hash)
        assert await serving == (size, up_hash)
        counters = stack.stack.counters
        assert counters.icmp.packet_too_big_received >= 1
        assert counters.icmp.errors_unmatched == 0
        assert counters.ip.path_mtu_decreased == 1
        # RFC 1191 section 6.4: what was lost is sent again in answer to the message; no timer has to find out.
        # On a busy machine a tail loss probe may ask first.
        again = counters.tcp.retransmitted - counters.tcp.retransmitted_probe
        assert 0 < again == counters.tcp.retransmitted_path_mtu
        assert counters.tcp.timeouts == counters.tcp.recoveries_sack == 0
        assert path.mtu == NARROW
        assert path.connection.info(0)["snd_mss"] == segment_size(family, NARROW)
        writer.close()

    on_tun(net.near, work, offload=offload)
    if family == socket.AF_INET:
        assert snmp(net.near)["Ip.FragOKs"] == 0  # none of ours was cut on the way: Don't Fragment was set


@offloads
@families
def test_a_path_may_become_narrower_while_data_flows(wide: Chain, family: int, offload: bool) -> None:
    size = 6 * MB
    up, up_hash = stream(size)
    listener = listening(wide.far, family, 80)

    async def work(stack: AsyncStack) -> None:
        accepting = asyncio.create_task(in_thread(listener.accept))
        reader, writer = await stack.open_connection(wide.far_address[family], 80)
        peer, _ = await accepting
        peer.settimeout(LIMIT)
        serving = asyncio.create_task(in_thread(receive_all, peer))
        (path,) = stack.stack.connections.values()
        writer.write(b"".join(up[:2]))
        await until(lambda: path.connection.tcb.snd_una > path.connection.tcb.iss + MB)
        await in_thread(wide.set_mtu, NARROW)
        writer.write(b"".join(up[2:4]))
        await until(lambda: path.mtu == NARROW)
        await in_thread(wide.set_mtu, 1300)
        await write_all(writer, up[4:])
        assert await serving == (size, up_hash)
        assert path.mtu == 1300
        assert stack.stack.counters.ip.path_mtu_decreased == 2
        peer.close()
        assert await reader.read() == b""
        writer.close()

    on_tun(wide.near, work, offload=offload)


def test_a_path_narrower_than_we_are_willing_to_go(net: Chain) -> None:
    """The floor of `min_path_mtu`: below 552 the segments stay that large, and routers may cut them."""
    size = 300_000
    up, up_hash = stream(size)
    net.set_mtu(296)  # RFC 791: 68 is the least; IPv6 has left this link
    listener = listening(net.far, socket.AF_INET, 80)

    def serve() -> tuple[int, str]:
        peer, _ = listener.accept()
        with peer:
            peer.settimeout(LIMIT)
            return receive_all(peer)

    async def work(stack: AsyncStack) -> None:
        serving = asyncio.create_task(in_thread(serve))
        reader, writer = await stack.open_connection(net.far_address[socket.AF_INET], 80)
        (path,) = stack.stack.connections.values()
        await write_all(writer, up)
        assert await serving == (size, up_hash)
        assert path.mtu == stack.stack.config.min_path_mtu == 552
        assert await reader.read() == b""
        writer.close()

    on_tun(net.near, work)
    counted = snmp(net.near)
    assert counted["Ip.FragOKs"] >= size // 552
    assert snmp(net.far)["Ip.ReasmOKs"] == counted["Ip.FragOKs"]


@offloads
@families
def test_a_datagram_is_cut_to_the_path_from_the_second_on(net: Chain, family: int, offload: bool) -> None:
    """IP_PMTUDISC_WANT, the default: the first finds the narrow link out and is lost, the next go in fragments."""
    server = net.far.socket(family, socket.SOCK_DGRAM)
    server.bind((net.far_address[family], 7))

    async def work(stack: AsyncStack) -> None:
        transport, box = await stack.create_datagram_endpoint(Mailbox, remote_addr=(net.far_address[family], 7))
        data = bytes(range(250)) * 5 + bytes(200)  # 1450
        transport.sendto(data)
        await until(lambda: stack.stack.counters.ip.path_mtu_decreased == 1)
        transport.sendto(data[::-1])
        assert await in_thread(server.recv, 2000) == data[::-1]
        assert stack.stack.counters.ip.fragments_created == 2
        assert box.errors.empty()  # nothing that the program has to know
        transport.close()

    on_tun(net.near, work, offload=offload)


@families
def test_a_program_that_wants_no_fragments_is_told(net: Chain, family: int) -> None:
    """IP_PMTUDISC_DO: EMSGSIZE when the router's message comes, and at once from then on."""
    server = net.far.socket(family, socket.SOCK_DGRAM)
    server.bind((net.far_address[family], 7))
    fits = NARROW - ip_header(family) - 8

    async def work(stack: AsyncStack) -> None:
        transport, box = await stack.create_datagram_endpoint(Mailbox, remote_addr=(net.far_address[family], 7))
        set_discovery(transport.get_extra_info("socket"), family, DO)
        for size in (1450, fits + 1):
            transport.sendto(bytes(size))
            error = await box.errors.get()
            assert isinstance(error, OSError)
            assert error.errno == errno.EMSGSIZE
        # Only the first was on the link.
        assert stack.stack.counters.icmp.packet_too_big_received == 1
        transport.sendto(bytes(fits))
        assert await in_thread(server.recv, 2000) == bytes(fits)
        assert stack.stack.counters.ip.fragmented == 0
        transport.close()

    on_tun(net.near, work)


def test_a_program_may_leave_the_cutting_to_routers(net: Chain) -> None:
    """IP_PMTUDISC_DONT: Don't Fragment is off, nothing is lost and nothing is learned."""
    server = net.far.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind((net.far_address[socket.AF_INET], 7))

    async def work(stack: AsyncStack) -> None:
        transport, _ = await stack.create_datagram_endpoint(Mailbox, remote_addr=(net.far_address[socket.AF_INET], 7))
        set_discovery(transport.get_extra_info("socket"), socket.AF_INET, DONT)
        for size in (1472, 10_000):  # one packet, and fragments that are cut again
            data = (bytes(range(251)) * 40)[:size]
            transport.sendto(data)
            assert await in_thread(server.recv, 20_000) == data
        assert stack.stack.counters.icmp.packet_too_big_received == 0
        transport.close()

    on_tun(net.near, work)
    assert snmp(net.near)["Ip.FragOKs"] >= 7


@families
def test_a_ping_measures_the_path(net: Chain, family: int) -> None:
    net.far.run("ip", "link", "set", "west", "mtu", str(NARROW))  # its answers need not find out anything

    async def work(stack: AsyncStack) -> None:
        host = net.far_address[family]
        header = ip_header(family) + 8
        result = await ping_once(stack, host, size=1500 - header, dont_fragment=True, timeout=10)
        assert result.error is not None
        assert result.error.errno == errno.EMSGSIZE
        assert result.address == net.near_address[family]
        result = await ping_once(stack, host, size=NARROW - header, dont_fragment=True, timeout=10)
        assert result.answered
        # What may be cut is, to the size of the path.
        assert (await ping_once(stack, host, size=10_000, timeout=10)).answered
        here = await ping_once(stack, host, size=NARROW - header + 1, dont_fragment=True)
        assert here.error is not None
        assert here.address == ""  # refused without asking anybody

    on_tun(net.near, work)


# We, as a router, tell the kernel


@pytest.mark.parametrize("kinds", [("tun", "tun"), ("tap", "tap")], ids=["tun", "tap"])
@offloads
@families
def test_the_kernel_believes_our_router(
    left: Namespace, right: Namespace, family: int, offload: bool, kinds: tuple[str, str]
) -> None:
    """An upload of the kernel over our narrow link: its super-segments are refused once, then they fit."""
    size = 5 * MB
    up, up_hash = stream(size)
    road = Road(
        left,
        right,
        left_kind=kinds[0],
        right_kind=kinds[1],
        left_offload=offload,
        right_offload=offload,
        right_mtu=NARROW,
    )

    async def work(stack: Stack) -> None:
        listener = listening(right, family, 80)
        client = left.socket(family)
        client.settimeout(LIMIT)
        accepting = asyncio.create_task(in_thread(listener.accept))
        await in_thread(client.connect, (rights(family), 80))
        assert path_mtu(client, family) == 1500
        peer, _ = await accepting
        peer.settimeout(LIMIT)
        serving = asyncio.create_task(in_thread(receive_all, peer))
        await in_thread(send_all, client, up)
        assert await serving == (size, up_hash)
        assert path_mtu(client, family) == NARROW
        counters = stack.counters
        assert counters.icmp.packet_too_big_sent >= 1
        assert counters.ip.too_big >= 1
        assert counters.ip.fragmented == 0
        peer.close()
        client.close()

    road.run(work)


@families
def test_a_datagram_socket_of_the_kernel_learns_the_path(left: Namespace, right: Namespace, family: int) -> None:
    road = Road(left, right, right_mtu=NARROW)
    fits = NARROW - ip_header(family) - 8

    async def work(stack: Stack) -> None:
        server = right.socket(family, socket.SOCK_DGRAM)
        server.bind((rights(family), 7))
        client = left.socket(family, socket.SOCK_DGRAM)
        client.connect((rights(family), 7))
        set_discovery(client, family, DO)
        client.send(bytes(1450))
        with pytest.raises(OSError, match="too long") as caught:
            await in_thread(client.recv, 100)
        assert caught.value.errno == errno.EMSGSIZE
        assert path_mtu(client, family) == NARROW
        with pytest.raises(OSError, match="too long"):
            client.send(bytes(fits + 1))
        client.send(bytes(fits))
        assert await in_thread(server.recv, 2000) == bytes(fits)
        # Another that lets the kernel cut: by now it knows to what size.
        other = left.socket(family, socket.SOCK_DGRAM)
        set_discovery(other, family, WANT)
        other.sendto(bytes(1450), (rights(family), 7))
        assert await in_thread(server.recv, 2000) == bytes(1450)
        assert stack.counters.icmp.packet_too_big_sent == 1

    road.run(work)


@offloads
def test_what_may_be_cut_is_cut_by_our_router(left: Namespace, right: Namespace, offload: bool) -> None:
    """RFC 1812 section 5.2.6, for datagrams, for fragments and for super-segments of TCP without Don't Fragment."""
    road = Road(left, right, right_mtu=576, left_offload=offload, right_offload=offload)
    up, up_hash = stream(MB)

    async def work(stack: Stack) -> None:
        server = right.socket(socket.AF_INET, socket.SOCK_DGRAM)
        server.bind((rights(socket.AF_INET), 7))
        client = left.socket(socket.AF_INET, socket.SOCK_DGRAM)
        set_discovery(client, socket.AF_INET, DONT)
        for size in (1, 1472, 5000, 30_000):
            data = (bytes(range(251)) * 120)[:size]
            client.sendto(data, (rights(socket.AF_INET), 7))
            assert await in_thread(server.recv, 70_000) == data
        assert stack.counters.ip.fragmented == 1 + 4 + 20  # the last piece of 30,000 fits
        listener = listening(right, socket.AF_INET, 80)
        accepting = asyncio.create_task(in_thread(listener.accept))
        stream_client = left.socket(socket.AF_INET)
        stream_client.settimeout(LIMIT)
        set_discovery(stream_client, socket.AF_INET, DONT)
        await in_thread(stream_client.connect, (rights(socket.AF_INET), 80))
        peer, _ = await accepting
        peer.settimeout(LIMIT)
        serving = asyncio.create_task(in_thread(receive_all, peer))
        await in_thread(send_all, stream_client, up)
        assert await serving == (MB, up_hash)
        assert stack.counters.icmp.packet_too_big_sent == 0
        assert stack.counters.ip.fragmentation_failed == 0
        peer.close()

    road.run(work)
    counted = snmp(right)
    assert counted["Ip.ReasmFails"] == 0
    assert counted["Tcp.InCsumErrors"] == counted["Udp.InCsumErrors"] == 0


def test_an_ipv6_packet_is_not_cut_on_the_way(left: Namespace, right: Namespace) -> None:
    """RFC 8200 section 5: by its source only."""
    road = Road(left, right, right_mtu=1280, config=StackConfig(forwarding=True))

    async def work(stack: Stack) -> None:
        server = right.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        server.bind((rights(socket.AF_INET6), 7))
        client = left.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        client.sendto(bytes(1450), (rights(socket.AF_INET6), 7))
        await until(lambda: stack.counters.icmp.packet_too_big_sent == 1)
        client.sendto(bytes(1451), (rights(socket.AF_INET6), 7))
        assert len(await in_thread(server.recv, 2000)) == 1451
        assert stack.counters.ip.fragmented == 0

    road.run(work)
    assert snmp(left)["Ip6FragOKs"] == 1
