"""UDP against the Linux kernel: every size, fragments, checksums, errors, groups, super-segments."""

from __future__ import annotations

import asyncio
import errno
import socket
import struct

import pytest
from tests.interop.ground import (
    FAMILY_NAMES,
    INET,
    KERNEL4,
    OURS4,
    Echo,
    Mailbox,
    driver_link,
    in_thread,
    kernels,
    on_tun,
    ours,
    snmp,
    until,
)
from tests.interop.netns import Namespace

from plankroad.aio.stack import AsyncStack
from plankroad.stack.config import StackConfig
from plankroad.wire.address import ip_to_bytes

pytestmark = [pytest.mark.root, pytest.mark.xdist_group("root")]

families = pytest.mark.parametrize("family", INET, ids=FAMILY_NAMES)
offloads = pytest.mark.parametrize("offload", [True, False], ids=["offload", "plain"])

#: Around every edge of a packet of 1500 bytes; the largest there is comes on top (`sizes`).
SIZES = (0, 1, 2, 3, 1452, 1453, 1472, 1473, 1480, 1481, 2952, 2953, 8192, 32_768, 65_000)

#: Options of sockets that Python's `socket` does not name.
SO_NO_CHECK = 11
SO_RCVBUFFORCE = 33
UDP_NO_CHECK6_TX = 101
UDP_SEGMENT = 103


def sizes(family: int) -> list[int]:
    """RFC 768 and 791: 65,535 less both headers; the IPv6 payload length does not count the IPv6 header."""
    return [*SIZES, 65_507 if family == socket.AF_INET else 65_527]


def text(size: int) -> bytes:
    """Of that size, no two alike and no repetition within."""
    return b"".join(struct.pack("!I", size * 7 + at) for at in range(0, size + 3, 4))[:size]


def udp_socket(ns: Namespace, family: int, port: int = 0) -> socket.socket:
    """A kernel's UDP socket on every address."""
    made = ns.socket(family, socket.SOCK_DGRAM)
    made.bind(("" if family == socket.AF_INET else "::", port))
    return made


@offloads
@families
def test_the_kernel_gets_back_datagrams_of_every_size(ns: Namespace, family: int, offload: bool) -> None:
    async def work(stack: AsyncStack) -> None:
        transport, echo = await stack.create_datagram_endpoint(Echo, local_addr=(ours(family), 7))
        client = udp_socket(ns, family)
        client.connect((ours(family), 7))
        for size in sizes(family):
            await in_thread(client.send, text(size))
            assert await in_thread(client.recv, 70_000) == text(size), size
        assert echo.count == len(sizes(family))
        # RFC 1122 section 3.3.2 and 3.3.3: what is larger than a packet went in fragments, both ways.
        large = sum(size > (1472 if family == socket.AF_INET else 1452) for size in sizes(family))
        ip = stack.stack.counters.ip
        assert ip.reassembled == large
        assert ip.fragmented == large
        assert ip.fragments_refused == ip.fragments_overlapping == ip.fragments_duplicate == 0
        counted = snmp(ns)
        where = "Ip." if family == socket.AF_INET else "Ip6"
        assert counted[where + "ReasmOKs"] == counted[where + "FragOKs"] == large
        transport.close()

    on_tun(ns, work, offload=offload)


@offloads
@families
def test_the_kernel_sends_back_datagrams_of_every_size(ns: Namespace, family: int, offload: bool) -> None:
    server = udp_socket(ns, family, 7)

    def echo() -> None:
        for _ in sizes(family):
            data, addr = server.recvfrom(70_000)
            server.sendto(data, addr)

    async def work(stack: AsyncStack) -> None:
        echoing = asyncio.create_task(in_thread(echo))
        transport, box = await stack.create_datagram_endpoint(Mailbox, remote_addr=(kernels(family), 7))
        for size in sizes(family):
            transport.sendto(text(size))
            assert await box.next() == text(size), size
        await echoing
        assert box.errors.empty()
        transport.close()

    on_tun(ns, work, offload=offload)
    counted = snmp(ns)
    assert counted["Udp.InCsumErrors"] == counted["Udp6InCsumErrors"] == 0


@families
def test_one_byte_more_than_udp_takes_is_refused(ns: Namespace, family: int) -> None:
    async def work(stack: AsyncStack) -> None:
        transport, box = await stack.create_datagram_endpoint(Mailbox, remote_addr=(kernels(family), 7))
        transport.sendto(bytes(sizes(family)[-1] + 1))
        error = await box.errors.get()
        assert isinstance(error, OSError)
        assert error.errno == errno.EMSGSIZE
        client = udp_socket(ns, family)
        with pytest.raises(OSError, match="too long") as caught:  # as the kernel has it
            client.sendto(bytes(sizes(family)[-1] + 1), (ours(family), 7))
        assert caught.value.errno == errno.EMSGSIZE

    on_tun(ns, work)


@pytest.mark.slow
@offloads
@families
def test_ten_thousand_datagrams_there_and_back_without_a_loss(ns: Namespace, family: int, offload: bool) -> None:
    """At most 100 are on their way, so that no queue has to drop one; each comes back once and in order."""
    total, window = 10_000, 100
    client = udp_socket(ns, family)
    # The kernel charges a small datagram more than 2 KiB, its default buffer holds fewer than 100.
    client.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 20)

    def talk() -> int:
        client.connect((ours(family), 7))
        sent = received = 0
        while received < total:
            while sent < min(total, received + window):
                client.send(struct.pack("!I", sent) * (1 + sent % 300))
                sent += 1
            assert client.recv(2000) == struct.pack("!I", received) * (1 + received % 300)
            received += 1
        return received

    async def work(stack: AsyncStack) -> None:
        transport, echo = await stack.create_datagram_endpoint(Echo, local_addr=(ours(family), 7))
        before = snmp(ns)
        assert await in_thread(talk) == total
        assert echo.count == total
        udp = stack.stack.counters.udp
        assert (udp.received, udp.sent) == (total, total)
        assert udp.receive_buffer_full == udp.bad_checksum == udp.no_port == 0
        after = snmp(ns)
        names = ("Udp.InDatagrams", "Udp.OutDatagrams") if family == socket.AF_INET else ("Udp6InDatagrams",)
        assert [after[name] - before[name] for name in names] == [total] * len(names)
        assert after["Udp.InErrors"] == after["Udp6InErrors"] == 0
        if not offload:
            assert driver_link(stack.driver).counters.tx_completed >= total
        transport.close()

    on_tun(ns, work, offload=offload)


@families
def test_a_kernel_socket_hears_that_nobody_listens(ns: Namespace, family: int) -> None:
    async def work(stack: AsyncStack) -> None:
        client = udp_socket(ns, family)
        client.connect((ours(family), 9))
        client.send(b"anybody?")
        with pytest.raises(ConnectionRefusedError):
            await in_thread(client.recv, 100)
        assert stack.stack.counters.udp.no_port == 1
        assert stack.stack.counters.icmp.unreachable_sent == 1

    on_tun(ns, work)


@families
def test_our_endpoints_hear_that_nobody_listens(ns: Namespace, family: int) -> None:
    """RFC 1122 section 4.1.3.3: an ICMP error goes to the application, which we tell whether connected or not."""

    async def work(stack: AsyncStack) -> None:
        connected, box = await stack.create_datagram_endpoint(Mailbox, remote_addr=(kernels(family), 9))
        connected.sendto(b"anybody?")
        assert isinstance(await box.errors.get(), ConnectionRefusedError)
        free, other = await stack.create_datagram_endpoint(Mailbox, local_addr=(ours(family), 0))
        free.sendto(b"anybody?", (kernels(family), 9))
        error = await other.errors.get()
        assert isinstance(error, ConnectionRefusedError)
        assert kernels(family) in str(error)
        # Both go on being of use.
        server = udp_socket(ns, family, 9)
        for transport in (connected, free):
            transport.sendto(b"now?", None if transport is connected else (kernels(family), 9))
            data, addr = await in_thread(server.recvfrom, 100)
            assert data == b"now?"
            server.sendto(b"yes", addr)
        assert [await box.next(), await other.next()] == [b"yes", b"yes"]

    on_tun(ns, work)


@families
def test_connected_endpoints_hear_their_peer_only(ns: Namespace, family: int) -> None:
    async def work(stack: AsyncStack) -> None:
        peer, stranger = udp_socket(ns, family, 5000), udp_socket(ns, family, 5001)
        transport, box = await stack.create_datagram_endpoint(
            Mailbox, local_addr=(ours(family), 6000), remote_addr=(kernels(family), 5000)
        )
        stranger.connect((ours(family), 6000))
        stranger.send(b"from a stranger")
        with pytest.raises(ConnectionRefusedError):
            await in_thread(stranger.recv, 100)
        peer.sendto(b"from the peer", (ours(family), 6000))
        assert await box.next() == b"from the peer"
        assert box.datagrams.empty()
        # The other way round: the kernel's socket is connected to port 6001, and port 6000 is the stranger.
        peer.connect((ours(family), 6001))
        transport.sendto(b"from a stranger")
        assert isinstance(await box.errors.get(), ConnectionRefusedError)
        right, _ = await stack.create_datagram_endpoint(Mailbox, local_addr=(ours(family), 6001))
        right.sendto(b"from the peer", (kernels(family), 5000))
        assert await in_thread(peer.recv, 100) == b"from the peer"

    on_tun(ns, work)


@offloads
def test_an_ipv4_datagram_may_do_without_a_checksum(ns: Namespace, offload: bool) -> None:
    """RFC 1122 section 4.1.3.4: both ways, where the program asks for it."""

    async def work(stack: AsyncStack) -> None:
        transport, box = await stack.create_datagram_endpoint(Mailbox, local_addr=(OURS4, 7))
        client = udp_socket(ns, socket.AF_INET)
        client.setsockopt(socket.SOL_SOCKET, SO_NO_CHECK, 1)
        client.sendto(b"unchecked", (OURS4, 7))
        data, addr = await box.datagrams.get()
        assert data == b"unchecked"
        transport.close()
        endpoint = stack.stack.bind_udp(ip_to_bytes(OURS4), 8)
        endpoint.no_checksum = True
        endpoint.send_to(0, b"likewise", ip_to_bytes(KERNEL4), addr[1])
        stack.driver.push()
        assert await in_thread(client.recv, 100) == b"likewise"
        endpoint.close(0)

    on_tun(ns, work, offload=offload)


@offloads
def test_an_ipv6_datagram_without_a_checksum_is_refused(ns: Namespace, offload: bool) -> None:
    """RFC 8200 section 8.1: "IPv6 receivers must discard UDP packets containing a zero checksum"."""

    async def work(stack: AsyncStack) -> None:
        transport, box = await stack.create_datagram_endpoint(Mailbox, local_addr=(ours(socket.AF_INET6), 7))
        client = udp_socket(ns, socket.AF_INET6)
        client.setsockopt(socket.IPPROTO_UDP, UDP_NO_CHECK6_TX, 1)
        client.sendto(b"unchecked", (ours(socket.AF_INET6), 7))
        client.setsockopt(socket.IPPROTO_UDP, UDP_NO_CHECK6_TX, 0)
        client.sendto(b"checked", (ours(socket.AF_INET6), 7))
        assert await box.next() == b"checked"
        udp = stack.stack.counters.udp
        assert (udp.bad_checksum, udp.received) == (1, 1)
        udp.bad_checksum = 0  # `on_link` takes any other for a fault
        transport.close()

    on_tun(ns, work, offload=offload)


@offloads
@families
def test_a_super_segment_of_the_kernel_is_many_datagrams(ns: Namespace, family: int, offload: bool) -> None:
    size, count = 1000, 33
    data = text(size * count - 1)

    async def work(stack: AsyncStack) -> None:
        transport, box = await stack.create_datagram_endpoint(Mailbox, local_addr=(ours(family), 7))
        client = udp_socket(ns, family)
        client.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, size)
        client.sendto(data, (ours(family), 7))
        got = [await box.next() for _ in range(count)]
        assert got == [data[at : at + size] for at in range(0, len(data), size)]
        link = driver_link(stack.driver)
        # Handed to us in one piece by kernels that know USO on TUN (6.2 on).
        assert link.counters.rx_super_segments == int(getattr(link, "udp_segmentation", False))
        transport.close()

    on_tun(ns, work, offload=offload)


@offloads
@families
def test_a_super_segment_of_ours_is_many_datagrams(ns: Namespace, family: int, offload: bool) -> None:
    size, count = 1200, 40
    data = text(size * count - 7)

    async def work(stack: AsyncStack) -> None:
        server = udp_socket(ns, family, 7)
        endpoint = stack.stack.bind_udp(ip_to_bytes(ours(family)), 0)
        endpoint.send_to(0, data, ip_to_bytes(kernels(family)), 7, gso_size=size)
        stack.driver.push()
        got = [await in_thread(server.recv, 70_000) for _ in range(count)]
        assert got == [data[at : at + size] for at in range(0, len(data), size)]
        endpoint.close(0)

    on_tun(ns, work, offload=offload)
    counted = snmp(ns)
    assert counted["Udp.InErrors"] == counted["Udp6InErrors"] == 0


@pytest.mark.parametrize("to", ["10.77.0.255", "255.255.255.255"])
def test_broadcasts_both_ways(ns: Namespace, to: str) -> None:
    async def work(stack: AsyncStack) -> None:
        transport, box = await stack.create_datagram_endpoint(
            Mailbox, local_addr=("0.0.0.0", 67), allow_broadcast=True
        )
        kernel = udp_socket(ns, socket.AF_INET, 68)
        kernel.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        kernel.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, driver_link(stack.driver).name.encode())
        kernel.sendto(b"to everyone", (to, 67))
        assert await box.datagrams.get() == (b"to everyone", (KERNEL4, 68))
        transport.sendto(b"and back", (to, 68))
        assert await in_thread(kernel.recvfrom, 100) == (b"and back", (OURS4, 67))
        # Nobody answers a broadcast with an error (RFC 1122 section 3.2.2).
        kernel.sendto(b"to everyone", (to, 69))
        kernel.sendto(b"the last", (OURS4, 67))
        assert await box.next() == b"the last"
        assert stack.stack.counters.icmp.errors_sent == 0
        # SO_BROADCAST has to be asked for.
        strict, other = await stack.create_datagram_endpoint(Mailbox, local_addr=("0.0.0.0", 0))
        strict.sendto(b"to everyone", (to, 68))
        assert isinstance(await other.errors.get(), PermissionError)

    on_tun(ns, work)


@families
def test_groups_both_ways(ns: Namespace, family: int) -> None:
    group = "239.7.7.7" if family == socket.AF_INET else "ff05::7:7"
    level = socket.IPPROTO_IP if family == socket.AF_INET else socket.IPPROTO_IPV6

    async def work(stack: AsyncStack) -> None:
        name = driver_link(stack.driver).name
        index = ns.call(socket.if_nametoindex, name)
        kernel = udp_socket(ns, family, 5000)
        transport, box = await stack.create_datagram_endpoint(
            Mailbox, local_addr=("0.0.0.0" if family == socket.AF_INET else "::", 6000)
        )
        sock = transport.get_extra_info("socket")
        if family == socket.AF_INET:
            packed = socket.inet_pton(family, group)
            kernel.setsockopt(level, socket.IP_MULTICAST_IF, struct.pack("=4s4si", b"\0" * 4, b"\0" * 4, index))
            join = struct.pack("=4s4si", packed, b"\0" * 4, index)
            kernel.setsockopt(level, socket.IP_ADD_MEMBERSHIP, join)
            ask, forget = socket.IP_ADD_MEMBERSHIP, socket.IP_DROP_MEMBERSHIP
            request = packed + socket.inet_pton(family, OURS4)
        else:
            packed = socket.inet_pton(family, group)
            kernel.setsockopt(level, socket.IPV6_MULTICAST_IF, index)
            kernel.setsockopt(level, socket.IPV6_JOIN_GROUP, packed + struct.pack("=i", index))
            ask, forget = socket.IPV6_JOIN_GROUP, socket.IPV6_LEAVE_GROUP
            request = packed + struct.pack("=i", 0)
        kernel.sendto(b"too early", (group, 6000))
        kernel.sendto(b"first", (ours(family), 6000))
        assert await box.next() == b"first"
        sock.setsockopt(level, ask, request)
        kernel.sendto(b"to the group", (group, 6000))
        assert await box.next() == b"to the group"
        transport.sendto(b"to the kernel's group", (group, 5000))
        assert await in_thread(kernel.recv, 100) == b"to the kernel's group"
        sock.setsockopt(level, forget, request)
        kernel.sendto(b"too late", (group, 6000))
        kernel.sendto(b"the last", (ours(family), 6000))
        assert await box.next() == b"the last"
        transport.close()

    on_tun(ns, work)


def test_a_full_receive_buffer_drops_and_counts(ns: Namespace) -> None:
    async def work(stack: AsyncStack) -> None:
        endpoint = stack.stack.bind_udp(ip_to_bytes(OURS4), 7, rcv_buf=10_000)
        client = udp_socket(ns, socket.AF_INET)
        for _ in range(100):
            client.sendto(bytes(1000), (OURS4, 7))
        udp = stack.stack.counters.udp
        await until(lambda: udp.received + udp.receive_buffer_full == 100)
        assert udp.receive_buffer_full == endpoint.dropped == 92  # 1000 bytes and what a datagram costs beside
        assert len(endpoint.rcv_queue) == 8
        endpoint.close(0)

    on_tun(ns, work, StackConfig(group_reports=False))
