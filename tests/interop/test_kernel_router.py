"""The stack as a router between two kernels: what one sends the other gets, super-segments and all."""

from __future__ import annotations

import asyncio
import errno
import socket
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.interop.ground import (
    FAMILY_NAMES,
    INET,
    LIMIT,
    RIGHT4,
    RIGHT6,
    ROUTER_LEFT4,
    ROUTER_LEFT6,
    Road,
    in_thread,
    lefts,
    listening,
    receive_all,
    rights,
    router_lefts,
    send_all,
    stream,
)
from tests.interop.netns import Namespace, namespace

from plankroad.stack.config import StackConfig
from plankroad.stack.stack import Stack

pytestmark = [pytest.mark.root, pytest.mark.xdist_group("root")]

families = pytest.mark.parametrize("family", INET, ids=FAMILY_NAMES)

MB = 1_000_000
IP_RECVERR, IPV6_RECVERR = 11, 25
SO_EE_ORIGIN_ICMP, SO_EE_ORIGIN_ICMP6 = 2, 3
UDP_SEGMENT = 103


@pytest.fixture
def left() -> Iterator[Namespace]:
    with namespace() as made:
        yield made


@pytest.fixture
def right() -> Iterator[Namespace]:
    with namespace() as made:
        yield made


async def download(road: Road, family: int, size: int) -> None:
    """The kernel to the left fetches `size` octets from the one to the right, after it has sent as many."""
    down, down_hash = stream(size)
    listener = listening(road.right, family, 80)
    client = road.left.socket(family)
    client.settimeout(LIMIT)

    def serve() -> tuple[int, str]:
        peer, addr = listener.accept()
        with peer:
            assert addr[0] == lefts(family)
            peer.settimeout(LIMIT)
            send_all(peer, down)
            return receive_all(peer)

    def fetch() -> tuple[int, str]:
        client.connect((rights(family), 80))
        got = receive_all(client)
        send_all(client, [b"thank you"])
        return got

    serving = asyncio.create_task(in_thread(serve))
    assert await in_thread(fetch) == (size, down_hash)
    assert (await serving)[0] == len(b"thank you")
    client.close()


@pytest.mark.slow
@families
@pytest.mark.parametrize(
    ("left_offload", "right_offload"),
    [(True, True), (False, False), (True, False), (False, True)],
    ids=["offload", "plain", "offload-left", "offload-right"],
)
def test_a_download_through_us_arrives(
    left: Namespace, right: Namespace, family: int, left_offload: bool, right_offload: bool
) -> None:
    """50 MB. Super-segments and partial checksums go through as they are, and are finished where a link can't."""
    size = 50 * MB
    road = Road(left, right, left_offload=left_offload, right_offload=right_offload)

    async def work(stack: Stack) -> None:
        await download(road, family, size)
        ip = stack.counters.ip
        assert ip.no_route == ip.ttl_exceeded == ip.too_big == ip.fragmented == ip.output_queue_full == 0
        came, went = road.right_link.counters, road.left_link.counters
        if right_offload:
            # The kernel makes them as large as they can be: 65,535 bytes.
            assert size // 65_535 < came.rx_super_segments < size // 20_000
            assert ip.forwarded < size // 1448
        else:
            assert came.rx_super_segments == 0
        if left_offload and right_offload:
            assert went.tx_super_segments == came.rx_super_segments
            assert went.tx_cut == went.tx_completed == 0
        if not left_offload:
            assert went.tx_super_segments == 0
            if right_offload:
                assert went.tx_cut == came.rx_super_segments
                assert went.tx_completed >= size // 1448

    road.run(work)


@families
@pytest.mark.parametrize(
    ("left_kind", "right_kind"),
    [("tap", "tun"), ("tun", "tap"), ("tap", "tap")],
    ids=["tap-tun", "tun-tap", "tap-tap"],
)
@pytest.mark.parametrize("offload", [True, False], ids=["offload", "plain"])
def test_links_of_different_kinds(
    left: Namespace, right: Namespace, family: int, left_kind: str, right_kind: str, offload: bool
) -> None:
    road = Road(left, right, left_kind=left_kind, right_kind=right_kind, left_offload=offload, right_offload=offload)

    async def work(stack: Stack) -> None:
        await download(road, family, 3 * MB)

    road.run(work)


@families
def test_a_hundred_connections_through_us(left: Namespace, right: Namespace, family: int) -> None:
    count = 100
    road = Road(left, right)

    async def work(stack: Stack) -> None:
        listener = listening(right, family, 80)
        listener.listen(count)

        def serve() -> None:
            peers = [listener.accept()[0] for _ in range(count)]
            for peer in peers:
                with peer:
                    peer.settimeout(LIMIT)
                    data = b""
                    while part := peer.recv(65536):
                        data += part
                    peer.sendall(data[::-1])

        def fetch(number: int) -> bool:
            data = bytes([number]) * 5000 + b"end"
            with left.socket(family) as client:
                client.settimeout(LIMIT)
                client.connect((rights(family), 80))
                send_all(client, [data])
                answer = b""
                while part := client.recv(65536):
                    answer += part
            return answer == data[::-1]

        serving = asyncio.create_task(in_thread(serve))
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(count) as pool:
            assert all(await asyncio.gather(*(loop.run_in_executor(pool, fetch, i) for i in range(count))))
        await serving
        assert not stack.connections  # a router keeps nothing of them

    road.run(work)


@pytest.mark.needs("ping")
@families
def test_a_ping_through_us(left: Namespace, right: Namespace, family: int) -> None:
    road = Road(left, right)

    async def work(stack: Stack) -> None:
        for size in (56, 1453, 1473, 20_000, 60_000):
            ping = left.start("ping", "-n", "-c", "1", "-W", "10", "-s", str(size), rights(family))
            assert await in_thread(ping.wait) == 0, ping.output
            # Two kernels of 64, and one router between them.
            assert f"{size + 8} bytes from {rights(family)}: icmp_seq=1 ttl=63 " in ping.output
        # A router does not put fragments together (RFC 1812 section 4.2.2.7, RFC 8200 section 4.5).
        assert stack.counters.ip.reassembled == stack.counters.ip.fragmented == 0

    road.run(work)


@pytest.mark.needs("ping")
@families
def test_the_kernels_ping_sees_a_packet_die_here(left: Namespace, right: Namespace, family: int) -> None:
    """RFC 1812 section 5.3.1: the source is told, by an address of the interface it came in by."""
    road = Road(left, right)

    async def work(stack: Stack) -> None:
        ping = left.start("ping", "-n", "-c", "1", "-W", "10", "-t", "1", rights(family))
        await in_thread(ping.wait)
        assert f"From {router_lefts(family)} icmp_seq=1 Time" in ping.output
        ping = left.start("ping", "-n", "-c", "1", "-W", "10", "-t", "2", rights(family))
        assert await in_thread(ping.wait) == 0
        assert f"from {rights(family)}" in ping.output
        assert stack.counters.icmp.time_exceeded_sent == 1

    road.run(work)


def error_queue(sock: socket.socket) -> tuple[int, int, int, int, str]:
    """errno, origin, type, code and sender of the oldest ICMP error that the kernel has for a socket (ip(7))."""
    _, ancillary, _, _ = sock.recvmsg(2000, 1000, socket.MSG_ERRQUEUE)
    ((_, _, data),) = [each for each in ancillary if each[1] in (IP_RECVERR, IPV6_RECVERR)]
    number, origin, type_, code = struct.unpack_from("=IBBB", data)
    family = struct.unpack_from("=H", data, 16)[0]
    where = data[20:24] if family == socket.AF_INET else data[24:40]
    return number, origin, type_, code, socket.inet_ntop(family, where)


@families
def test_a_traceroute_of_the_kernels_sockets(left: Namespace, right: Namespace, family: int) -> None:
    """As traceroute does it: datagrams with a growing time to live, the errors read from the socket's queue."""
    road = Road(left, right)

    async def work(stack: Stack) -> None:
        hops = []
        for ttl in (1, 2):
            with left.socket(family, socket.SOCK_DGRAM) as sock:
                if family == socket.AF_INET:
                    sock.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
                    sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ttl)
                else:
                    sock.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVERR, 1)
                    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, ttl)
                sock.sendto(b"how far?", (rights(family), 33434))
                with pytest.raises(OSError, match=r"No route to host|Connection refused"):
                    await in_thread(sock.recv, 100)
                hops.append(error_queue(sock))
        if family == socket.AF_INET:
            assert hops == [
                (errno.EHOSTUNREACH, SO_EE_ORIGIN_ICMP, 11, 0, ROUTER_LEFT4),
                (errno.ECONNREFUSED, SO_EE_ORIGIN_ICMP, 3, 3, RIGHT4),
            ]
        else:
            assert hops == [
                (errno.EHOSTUNREACH, SO_EE_ORIGIN_ICMP6, 3, 0, ROUTER_LEFT6),
                (errno.ECONNREFUSED, SO_EE_ORIGIN_ICMP6, 1, 4, RIGHT6),
            ]

    road.run(work)


@families
def test_where_no_route_leads_the_kernel_is_told(left: Namespace, right: Namespace, family: int) -> None:
    """RFC 1812 section 5.2.7.1 and RFC 4443 section 3.1, for datagrams and for connections."""
    road = Road(left, right)
    nowhere = "10.99.0.1" if family == socket.AF_INET else "fd99::1"

    async def work(stack: Stack) -> None:
        datagrams = left.socket(family, socket.SOCK_DGRAM)
        datagrams.connect((nowhere, 9))
        if family == socket.AF_INET:
            datagrams.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
        else:
            datagrams.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVERR, 1)
        datagrams.send(b"anybody?")
        with pytest.raises(OSError, match="unreachable"):
            await in_thread(datagrams.recv, 100)
        number, _, type_, code, sender = error_queue(datagrams)
        assert (number, sender) == (errno.ENETUNREACH, router_lefts(family))
        assert (type_, code) == ((3, 0) if family == socket.AF_INET else (1, 0))
        assert stack.counters.ip.no_route == 1

    road.run(work)


@families
def test_datagrams_through_us(left: Namespace, right: Namespace, family: int) -> None:
    """Small ones, fragments of large ones, and the kernel's super-segments of many."""
    road = Road(left, right)

    async def work(stack: Stack) -> None:
        server = right.socket(family, socket.SOCK_DGRAM)
        server.bind((rights(family), 7))
        client = left.socket(family, socket.SOCK_DGRAM)
        for size in (0, 1, 1400, 1472, 5000, 60_000):
            sent = (bytes(range(251)) * 240)[:size]
            client.sendto(sent, (rights(family), 7))
            data, addr = await in_thread(server.recvfrom, 70_000)
            assert data == sent
            server.sendto(data, addr)
            assert await in_thread(client.recv, 70_000) == data
        data = b"".join(struct.pack("!I", number) * 300 for number in range(30))
        client.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 1200)
        client.sendto(data, (rights(family), 7))
        got = [await in_thread(server.recv, 70_000) for _ in range(30)]
        assert got == [data[at : at + 1200] for at in range(0, len(data), 1200)]

    road.run(work)


@families
def test_a_program_on_the_router_is_reached_from_both_sides(left: Namespace, right: Namespace, family: int) -> None:
    """A router is a host too, by each of its addresses from either side (the weak model of RFC 1122)."""
    road = Road(left, right)
    level = socket.IPPROTO_IP if family == socket.AF_INET else socket.IPPROTO_IPV6

    async def work(stack: Stack) -> None:
        endpoint = stack.bind_udp(b"", 7)
        for ns in (left, right):
            for address in ("10.71.0.2", "10.72.0.2") if family == socket.AF_INET else ("fd71::2", "fd72::2"):
                client = ns.socket(family, socket.SOCK_DGRAM)
                client.connect((address, 9))
                client.setsockopt(level, IP_RECVERR if family == socket.AF_INET else IPV6_RECVERR, 1)
                client.send(b"refuse me")
                with pytest.raises(ConnectionRefusedError):
                    await in_thread(client.recv, 100)
                assert error_queue(client)[4] == address  # RFC 1122 section 3.2.2: the address that was asked
        endpoint.close(0)

    road.run(work)


def test_without_forwarding_nothing_passes(left: Namespace, right: Namespace) -> None:
    road = Road(left, right, config=StackConfig(forwarding=False))

    async def work(stack: Stack) -> None:
        server = right.socket(socket.AF_INET, socket.SOCK_DGRAM)
        server.bind((RIGHT4, 7))
        client = left.socket(socket.AF_INET, socket.SOCK_DGRAM)
        client.sendto(b"pass it on", (RIGHT4, 7))
        client.connect((ROUTER_LEFT4, 9))
        client.send(b"refuse me")
        with pytest.raises(ConnectionRefusedError):
            await in_thread(client.recv, 100)
        assert stack.counters.ip.forwarded == 0
        assert stack.counters.ip.not_for_us >= 1
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.recv(100)

    road.run(work)
