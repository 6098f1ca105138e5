"""Ethernet with the Linux kernel on a TAP device: ARP and neighbour discovery both ways, and what needs them."""

from __future__ import annotations

import asyncio
import errno
import re
import socket
import struct

import pytest
from tests.interop.ground import (
    FAMILY_NAMES,
    INET,
    KERNEL,
    KERNEL4,
    LIMIT,
    OURS4,
    OURS6,
    Echo,
    Mailbox,
    driver_link,
    in_thread,
    kernels,
    listening,
    on_link,
    ours,
    read_to_end,
    receive_all,
    send_all,
    stream,
    until,
    write_all,
)
from tests.interop.netns import Namespace

from plankroad.aio.stack import AsyncStack
from plankroad.ip.interface import ADDRESS_DUPLICATE, ADDRESS_PREFERRED
from plankroad.ip.neighbour import NeighbourCache
from plankroad.link.tap import TapLink
from plankroad.stack.config import StackConfig
from plankroad.tcp.config import TcpConfig
from plankroad.units import SECOND
from plankroad.wire.address import ip_to_bytes

pytestmark = [pytest.mark.root, pytest.mark.xdist_group("root")]

families = pytest.mark.parametrize("family", INET, ids=FAMILY_NAMES)
offloads = pytest.mark.parametrize("offload", [True, False], ids=["offload", "plain"])

MB = 1_000_000
KERNEL_MAC = bytes.fromhex("02aa00000001")
OUR_MAC = bytes.fromhex("02bb00000002")
#: On the link, and nobody's.
NOBODY4, NOBODY6 = "10.77.0.99", "fd77::99"


def nobodys(family: int) -> str:
    return NOBODY4 if family == socket.AF_INET else NOBODY6


@pytest.fixture
def tap(ns: Namespace) -> TapLink:
    return open_tap(ns, True)


def open_tap(ns: Namespace, offload: bool) -> TapLink:
    return ns.open_tap("tap", mac=OUR_MAC, kernel_mac=KERNEL_MAC, kernel_address=KERNEL, offload=offload)


def cache(stack: AsyncStack) -> NeighbourCache:
    neighbours = stack.stack.interfaces[0].neighbours
    assert neighbours is not None
    return neighbours


def quicken(stack: AsyncStack) -> None:
    """A second of the neighbour cache's protocols lasts 50 ms."""
    neighbours = cache(stack)
    config = neighbours.config
    neighbours.retrans_timer = config.retrans_timer = SECOND // 20
    config.check_delay = config.probe_min = SECOND // 20
    config.probe_max = config.announce_wait = config.announce_interval = SECOND // 10


def kernel_entry(ns: Namespace, address: str) -> str:
    """The kernel's neighbour table about an address, "" where it has nothing."""
    return ns.run("ip", "neigh", "show", address, "dev", "tap").strip()


@offloads
@families
def test_twenty_megabytes_each_way(ns: Namespace, family: int, offload: bool) -> None:
    size = 20 * MB
    up, up_hash = stream(size)
    down, down_hash = stream(size - 4321)

    async def work(stack: AsyncStack) -> None:
        served: asyncio.Future[tuple[int, str]] = asyncio.get_running_loop().create_future()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            reading = asyncio.create_task(read_to_end(reader))
            await write_all(writer, down)
            served.set_result(await reading)
            writer.close()

        async with await stack.start_server(serve, None, 80):
            client = ns.socket(family)
            client.settimeout(LIMIT)
            await in_thread(client.connect, (ours(family), 80))
            sending = asyncio.create_task(in_thread(send_all, client, up))
            assert await in_thread(receive_all, client) == (size - 4321, down_hash)
            await sending
            assert await served == (size, up_hash)
            client.close()
        counted = driver_link(stack.driver).counters
        assert bool(counted.rx_super_segments) is offload
        assert bool(counted.tx_super_segments) is offload

    on_link(open_tap(ns, offload), work)


@families
def test_the_kernel_as_a_server(ns: Namespace, tap: TapLink, family: int) -> None:
    """We ask first: the address is resolved for our SYN."""
    size = 20 * MB
    up, up_hash = stream(size)
    listener = listening(ns, family, 5000)

    def serve() -> tuple[int, str]:
        peer, _ = listener.accept()
        with peer:
            peer.settimeout(LIMIT)
            got = receive_all(peer)
            send_all(peer, up)
            return got

    async def work(stack: AsyncStack) -> None:
        serving = asyncio.create_task(in_thread(serve))
        reader, writer = await stack.open_connection(kernels(family), 5000)
        await write_all(writer, up)
        assert await read_to_end(reader) == (size, up_hash)
        assert await serving == (size, up_hash)
        writer.close()

    on_link(tap, work)


# Resolution


@pytest.mark.needs("ping")
@families
def test_the_kernel_finds_us(ns: Namespace, tap: TapLink, family: int) -> None:
    async def work(stack: AsyncStack) -> None:
        assert kernel_entry(ns, ours(family)) == ""
        ping = ns.start("ping", "-n", "-c", "1", "-W", "10", ours(family))
        assert await in_thread(ping.wait) == 0, ping.output
        entry = await in_thread(kernel_entry, ns, ours(family))
        assert f"lladdr {OUR_MAC.hex(':')}" in entry
        assert "REACHABLE" in entry
        # RFC 826: whoever asks is known from then on; RFC 4861 section 7.2.3 likewise. We need not ask back.
        found = cache(stack).entries.get(ip_to_bytes(kernels(family)))
        assert found is not None
        assert found.mac == KERNEL_MAC

    on_link(tap, work)


@families
def test_we_find_the_kernel(ns: Namespace, tap: TapLink, family: int) -> None:
    async def work(stack: AsyncStack) -> None:
        assert cache(stack).entries.get(ip_to_bytes(kernels(family))) is None
        results = [result async for result in stack.ping(kernels(family), 3, interval=0, timeout=10)]
        assert [result.answered for result in results] == [True] * 3  # the first one waited for the answer
        found = cache(stack).entries.get(ip_to_bytes(kernels(family)))
        assert found is not None
        assert found.mac == KERNEL_MAC
        counted = cache(stack).counters
        assert counted.failed == counted.queue_dropped == 0
        if family == socket.AF_INET:
            assert counted.arp_requests_sent == 1
        else:
            assert stack.stack.counters.icmp.neighbour_solicitations_sent >= 1

    on_link(tap, work)


@families
def test_a_datagram_of_many_fragments_waits_for_its_neighbour(ns: Namespace, tap: TapLink, family: int) -> None:
    """RFC 1122 section 2.3.2.2: at least one packet is kept; here all of the first datagram's fragments are."""

    async def work(stack: AsyncStack) -> None:
        server = ns.socket(family, socket.SOCK_DGRAM)
        server.bind((kernels(family), 7))
        transport, _ = await stack.create_datagram_endpoint(Mailbox, remote_addr=(kernels(family), 7))
        transport.sendto(bytes(range(240)) * 250)
        transport.sendto(b"small")
        assert await in_thread(server.recv, 70_000) == bytes(range(240)) * 250
        assert await in_thread(server.recv, 70_000) == b"small"
        assert cache(stack).counters.queue_dropped == 0
        transport.close()

    on_link(tap, work)


@families
def test_an_address_nobody_answers_for_is_unreachable(ns: Namespace, tap: TapLink, family: int) -> None:
    """RFC 1122 section 2.3.2.1 and RFC 4861 section 7.2.2: three requests without an answer, then an error."""

    async def work(stack: AsyncStack) -> None:
        quicken(stack)
        transport, box = await stack.create_datagram_endpoint(Mailbox, remote_addr=(nobodys(family), 9))
        transport.sendto(b"anybody?")
        connecting = asyncio.create_task(stack.open_connection(nobodys(family), 80))
        error = await box.errors.get()
        assert isinstance(error, OSError)
        assert error.errno == errno.EHOSTUNREACH
        with pytest.raises(OSError, match="Connect call failed") as caught:
            await connecting
        assert caught.value.errno == errno.EHOSTUNREACH
        assert cache(stack).counters.failed >= 1
        assert stack.stack.counters.ip.neighbour_unreachable >= 2
        transport.close()

    on_link(tap, work, StackConfig(tcp=TcpConfig(initial_rto=SECOND // 20)))


@families
def test_we_answer_for_no_address_but_ours(ns: Namespace, tap: TapLink, family: int) -> None:
    """The kernel's own three requests remain without an answer."""
    for version in ("ipv4", "ipv6"):
        ns.sysctl(f"net/{version}/neigh/tap/retrans_time_ms", "50")

    async def work(stack: AsyncStack) -> None:
        client = ns.socket(family, socket.SOCK_STREAM)
        with pytest.raises(OSError, match="No route to host") as caught:
            await in_thread(client.connect, (nobodys(family), 80))
        assert caught.value.errno == errno.EHOSTUNREACH
        counted = cache(stack).counters
        if family == socket.AF_INET:
            assert counted.arp_received >= 3
            assert counted.arp_replies_sent == 0
        else:
            assert stack.stack.counters.icmp.neighbour_advertisements_sent == 0

    on_link(tap, work)


# Changes


@families
def test_a_checked_address_is_announced(ns: Namespace, tap: TapLink, family: int) -> None:
    """RFC 5227 section 2.3: once nobody objected, with a gratuitous ARP; the kernel notes who it has not asked for.

    IPv6 has no announcement for a new address: the solicitations of its check go unanswered, then it is in use.
    """
    ns.sysctl("net/ipv4/conf/tap/arp_accept", "1")
    added = "10.77.0.50" if family == socket.AF_INET else "fd77::50"

    async def work(stack: AsyncStack) -> None:
        quicken(stack)
        interface = stack.stack.interfaces[0]
        stack.stack.check_address(
            stack.driver.scheduler.now(), interface, f"{added}/{24 if family == socket.AF_INET else 64}"
        )
        stack.driver.push()
        address = interface.by_ip[ip_to_bytes(added)]
        await until(lambda: address.state == ADDRESS_PREFERRED)
        if family == socket.AF_INET:
            entry = ""
            while not entry:
                entry = await in_thread(kernel_entry, ns, added)
            assert f"lladdr {OUR_MAC.hex(':')}" in entry
        results = [result async for result in stack.ping(kernels(family), 1, timeout=10)]
        assert results[0].answered

    on_link(tap, work, address=())


@families
def test_the_kernel_believes_our_announcement(ns: Namespace, tap: TapLink, family: int) -> None:
    """RFC 4861 section 7.2.6, and ARP's counterpart: an address that moved to us from another MAC."""
    ns.sysctl("net/ipv4/neigh/tap/locktime", "0")
    ns.run("ip", "neigh", "replace", ours(family), "lladdr", "02:bb:00:00:00:99", "nud", "reachable", "dev", "tap")

    async def work(stack: AsyncStack) -> None:
        cache(stack).announce(stack.driver.scheduler.now(), ip_to_bytes(ours(family)))
        stack.driver.push()
        entry = ""
        while OUR_MAC.hex(":") not in entry:
            entry = await in_thread(kernel_entry, ns, ours(family))
        client = ns.socket(family, socket.SOCK_DGRAM)
        client.connect((ours(family), 9))
        client.send(b"refuse me")
        with pytest.raises(ConnectionRefusedError):
            await in_thread(client.recv, 100)

    on_link(tap, work)


@families
def test_an_address_that_the_kernel_has_is_not_taken(ns: Namespace, tap: TapLink, family: int) -> None:
    """RFC 5227 section 2.1.1 and RFC 4862 section 5.4: asked for, defended by the kernel, given up."""

    async def work(stack: AsyncStack) -> None:
        quicken(stack)
        interface = stack.stack.interfaces[0]
        length = 24 if family == socket.AF_INET else 64
        stack.stack.check_address(stack.driver.scheduler.now(), interface, f"{kernels(family)}/{length}")
        stack.driver.push()
        address = interface.by_ip[ip_to_bytes(kernels(family))]
        assert not address.usable()
        await until(lambda: address.state == ADDRESS_DUPLICATE)
        assert cache(stack).counters.duplicate_addresses == 1

    on_link(tap, work, address=())


def test_the_kernel_does_not_take_our_ipv6_address(ns: Namespace, tap: TapLink) -> None:
    """RFC 4862 section 5.4.3: a solicitation from the unspecified address is answered to all nodes."""
    ns.sysctl("net/ipv6/conf/tap/accept_dad", "1")

    async def work(stack: AsyncStack) -> None:
        assert stack.stack.interfaces[0].owns(ip_to_bytes(OURS6))
        await in_thread(ns.run, "ip", "addr", "add", f"{OURS6}/64", "dev", "tap")
        shown = ""
        while "dadfailed" not in shown:
            shown = await in_thread(ns.run, "ip", "-6", "addr", "show", "dev", "tap", "to", OURS6)
        assert stack.stack.interfaces[0].owns(ip_to_bytes(OURS6))

    on_link(tap, work)


@families
def test_we_follow_a_kernel_that_changes_its_mac(ns: Namespace, tap: TapLink, family: int) -> None:
    """Its gratuitous ARP or unsolicited advertisement (RFC 4861 section 7.2.6) makes us send to the new address."""
    ns.sysctl("net/ipv4/conf/tap/arp_notify", "1")
    ns.sysctl("net/ipv6/conf/tap/ndisc_notify", "1")
    other = bytes.fromhex("02cc00000003")

    async def work(stack: AsyncStack) -> None:
        transport, echo = await stack.create_datagram_endpoint(Echo, local_addr=(ours(family), 7))
        client = ns.socket(family, socket.SOCK_DGRAM)
        client.connect((ours(family), 7))
        client.send(b"before")
        assert await in_thread(client.recv, 100) == b"before"
        found = cache(stack).entries.get(ip_to_bytes(kernels(family)))
        assert found is not None
        assert found.mac == KERNEL_MAC
        await in_thread(ns.run, "ip", "link", "set", "tap", "address", other.hex(":"))
        await until(lambda: cache(stack).resolve(stack.driver.scheduler.now(), ip_to_bytes(kernels(family))) == other)
        client.send(b"after")
        assert await in_thread(client.recv, 100) == b"after"
        assert echo.count == 2
        transport.close()

    on_link(tap, work)


@families
def test_our_question_corrects_what_the_kernel_remembers(ns: Namespace, tap: TapLink, family: int) -> None:
    """RFC 826 and RFC 4861 section 7.2.3: the sender of a question is known from then on, by its new MAC."""
    ns.sysctl("net/ipv4/neigh/tap/locktime", "0")
    ns.run("ip", "neigh", "replace", ours(family), "lladdr", "02:bb:00:00:00:99", "nud", "stale", "dev", "tap")

    async def work(stack: AsyncStack) -> None:
        (result,) = [result async for result in stack.ping(kernels(family), 1, timeout=10)]
        assert result.answered
        assert OUR_MAC.hex(":") in await in_thread(kernel_entry, ns, ours(family))

    on_link(tap, work)


# Groups and broadcasts as frames


def test_broadcasts_and_groups_have_their_own_frames(ns: Namespace, tap: TapLink) -> None:
    async def work(stack: AsyncStack) -> None:
        transport, box = await stack.create_datagram_endpoint(
            Mailbox, local_addr=("0.0.0.0", 67), allow_broadcast=True
        )
        kernel = ns.socket(socket.AF_INET, socket.SOCK_DGRAM)
        kernel.bind(("", 68))
        kernel.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        kernel.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"tap")
        for to in ("10.77.0.255", "255.255.255.255"):
            kernel.sendto(b"to everyone", (to, 67))
            assert await box.datagrams.get() == (b"to everyone", (KERNEL4, 68))
            transport.sendto(b"and back", (to, 68))
            assert await in_thread(kernel.recvfrom, 100) == (b"and back", (OURS4, 67))
        group = socket.inet_aton("239.7.7.7")
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group + socket.inet_aton(OURS4))
        index = ns.call(socket.if_nametoindex, "tap")
        kernel.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, struct.pack("=4s4si", b"", b"", index))
        kernel.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, struct.pack("=4s4si", group, b"", index))
        kernel.sendto(b"to the group", ("239.7.7.7", 67))
        assert await box.next() == b"to the group"
        transport.sendto(b"and back", ("239.7.7.7", 68))
        assert await in_thread(kernel.recv, 100) == b"and back"
        # Nobody had to be asked for any of these.
        assert cache(stack).counters.arp_requests_sent == 0
        transport.close()

    on_link(tap, work)


# Setting up


def test_addresses_can_be_given_from_outside_of_the_namespace(ns: Namespace, tap: TapLink) -> None:
    """They can be used when the call returns: the kernel's news of them come from its namespace."""
    tap.add_kernel_address("fd88::1/64")
    tap.add_kernel_address("10.88.0.1/24")
    for family, address in ((socket.AF_INET6, "fd88::1"), (socket.AF_INET, "10.88.0.1")):
        bound = ns.socket(family, socket.SOCK_DGRAM)
        bound.bind((address, 0))
    tap.add_kernel_address("fd88::1/64")  # it has it already
    assert len(re.findall("fd88::1/64", ns.run("ip", "addr", "show", "dev", "tap"))) == 1
