"""ICMP and ICMPv6 against the Linux kernel: its ping and ours, routes found out hop by hop, errors of its routers."""

from __future__ import annotations

import errno
import re
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from tests.interop.ground import (
    FAMILY_NAMES,
    INET,
    KERNEL4,
    OURS4,
    OURS6,
    Chain,
    Mailbox,
    chain,
    driver_link,
    in_thread,
    kernels,
    on_tun,
    ours,
    until,
)
from tests.interop.netns import Namespace, Process

from plankroad.aio.ping import Hop, PingResult
from plankroad.aio.stack import AsyncStack
from plankroad.stack.config import StackConfig
from plankroad.tcp.config import TcpConfig
from plankroad.units import SECOND

pytestmark = [pytest.mark.root, pytest.mark.xdist_group("root")]

families = pytest.mark.parametrize("family", INET, ids=FAMILY_NAMES)
offloads = pytest.mark.parametrize("offload", [True, False], ids=["offload", "plain"])


@pytest.fixture
def net() -> Iterator[Chain]:
    with chain() as made:
        yield made


async def finished(process: Process) -> str:
    """All that it says, once it has ended well."""
    status = await in_thread(process.wait, 30)
    assert status == 0, process.output
    return process.output


async def pings(stack: AsyncStack, host: str, count: int, **kwds: Any) -> list[PingResult]:
    return [result async for result in stack.ping(host, count, interval=0, timeout=10, **kwds)]


# The kernel's ping


@pytest.mark.needs("ping")
@offloads
@families
@pytest.mark.parametrize("size", [0, 1, 56, 1452, 1453, 1472, 1473, 9000, 60_000, 65_507])
def test_the_kernels_ping_is_answered(ns: Namespace, family: int, size: int, offload: bool) -> None:
    """RFC 1122 section 3.2.2.6: "data received in an ICMP Echo Request MUST be entirely included"; ping compares."""

    async def work(stack: AsyncStack) -> None:
        for _ in range(3):
            # One by one: the buffer of ping's socket has no room for two large answers.
            said = await finished(ns.start("ping", "-c", "1", "-W", "10", "-s", str(size), ours(family)))
            assert f"{size + 8} bytes from {ours(family)}: icmp_seq=1" in said
            assert "wrong data" not in said
        icmp = stack.stack.counters.icmp
        assert icmp.echo_requests_received == icmp.echo_replies_sent == 3
        whole = size + (28 if family == socket.AF_INET else 48) <= 1500
        assert stack.stack.counters.ip.reassembled == stack.stack.counters.ip.fragmented == (0 if whole else 3)

    on_tun(ns, work, offload=offload)


@pytest.mark.needs("ping")
@families
def test_a_flood_of_pings_is_answered(ns: Namespace, family: int) -> None:
    async def work(stack: AsyncStack) -> None:
        said = await finished(ns.start("ping", "-f", "-q", "-c", "2000", "-W", "10", ours(family)))
        assert "2000 packets transmitted, 2000 received, 0% packet loss" in said
        assert stack.stack.counters.icmp.echo_replies_sent == 2000

    on_tun(ns, work)


@pytest.mark.needs("ping")
def test_record_route_and_timestamp_options_are_filled_in(ns: Namespace) -> None:
    """RFC 1122 section 3.2.2.6: they SHOULD be updated to include the current host."""

    async def work(stack: AsyncStack) -> None:
        said = await finished(ns.start("ping", "-n", "-R", "-c", "1", "-W", "10", OURS4))
        recorded = re.findall(r"10\.77\.0\.\d", said.partition("RR:")[2])
        assert recorded[:2] == [KERNEL4, OURS4]
        said = await finished(ns.start("ping", "-n", "-T", "tsandaddr", "-c", "1", "-W", "10", OURS4))
        assert OURS4 in said.partition("TS:")[2]

    on_tun(ns, work)


@pytest.mark.needs("ping")
def test_pings_to_groups_are_answered_as_configured(ns: Namespace) -> None:
    """RFC 1122 section 3.2.2.6 for broadcasts (MAY be discarded: so by default), RFC 4443 section 4.2."""

    async def work(stack: AsyncStack) -> None:
        name = driver_link(stack.driver).name
        unanswered = ns.start("ping", "-b", "-c", "1", "-W", "10", "10.77.0.255")
        icmp = stack.stack.counters.icmp
        await until(lambda: icmp.echo_requests_ignored == 1)
        unanswered.stop()
        assert icmp.echo_replies_sent == 0
        said = await finished(ns.start("ping", "-6", "-c", "1", "-W", "10", f"ff02::1%{name}"))
        assert "1 received" in said
        stack.stack.config.echo_broadcast = True
        said = await finished(ns.start("ping", "-b", "-c", "1", "-W", "10", "10.77.0.255"))
        assert f"from {OURS4}" in said

    on_tun(ns, work)


# Our ping


@offloads
@families
def test_the_kernel_answers_our_pings(ns: Namespace, family: int, offload: bool) -> None:
    async def work(stack: AsyncStack) -> None:
        sizes = (0, 1, 56, 1452, 1453, 1472, 1473, 9000, 60_000, 65_507)
        for size in sizes:
            results = await pings(stack, kernels(family), 3, size=size)
            assert [result.error for result in results] == [None] * 3
            assert [(r.answered, r.reached, r.address, r.size, r.ttl, r.seq) for r in results] == [
                (True, True, kernels(family), size, 64, seq) for seq in (1, 2, 3)
            ]
            assert all(result.round_trip is not None and 0 < result.round_trip < 10 for result in results)
        icmp = stack.stack.counters.icmp
        assert icmp.echo_requests_sent == icmp.echo_replies_received == 3 * len(sizes)
        assert icmp.ignored == 0

    on_tun(ns, work, offload=offload)


def test_a_ping_that_must_not_be_cut_is_refused_when_too_large(ns: Namespace) -> None:
    async def work(stack: AsyncStack) -> None:
        (fits,) = await pings(stack, KERNEL4, 1, size=1472, dont_fragment=True)
        assert fits.answered
        (refused,) = await pings(stack, KERNEL4, 1, size=1473, dont_fragment=True)
        assert refused.error is not None
        assert refused.error.errno == errno.EMSGSIZE

    on_tun(ns, work)


# Through routers


@families
def test_our_traceroute_finds_the_kernels_routers(net: Chain, family: int) -> None:
    async def work(stack: AsyncStack) -> None:
        hops: list[Hop] = [hop async for hop in stack.traceroute(net.far_address[family], timeout=10)]
        assert [hop.addresses for hop in hops] == [
            [net.near_address[family]],
            [net.middle_address[family]],
            [net.far_address[family]],
        ]
        assert [hop.reached for hop in hops] == [False, False, True]
        # "Time exceeded" of both routers, three probes each.
        assert stack.stack.counters.icmp.time_exceeded_received == 6
        assert stack.stack.counters.icmp.errors_unmatched == 0
        # The answer of the third came through two routers.
        assert {result.ttl for result in hops[2].results} == {62}
        (result,) = await pings(stack, net.far_address[family], 1, size=20_000)
        assert (result.answered, result.size, result.ttl) == (True, 20_000, 62)

    on_tun(net.near, work)


@families
def test_a_datagram_that_dies_on_the_way_is_told_to_its_program(net: Chain, family: int) -> None:
    async def work(stack: AsyncStack) -> None:
        transport, box = await stack.create_datagram_endpoint(Mailbox, remote_addr=(net.far_address[family], 9))
        sock = transport.get_extra_info("socket")
        if family == socket.AF_INET:
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 2)
        else:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, 2)
        transport.sendto(b"too far")
        error = await box.errors.get()
        assert isinstance(error, OSError)
        assert error.errno == errno.EHOSTUNREACH
        transport.close()

    on_tun(net.near, work)


@families
@pytest.mark.parametrize(
    ("reject", "error4", "error6"),
    [
        # Linux answers for an IPv6 route of this kind with code 0, no route to destination.
        ("unreachable", errno.EHOSTUNREACH, errno.ENETUNREACH),
        ("prohibit", errno.EHOSTUNREACH, errno.EHOSTUNREACH),
    ],
)
def test_what_a_kernel_router_refuses_has_the_right_name(
    net: Chain, family: int, reject: str, error4: int, error6: int
) -> None:
    """RFC 1812 section 5.2.7.1 and RFC 4443 section 3.1, told to ping, UDP and TCP."""
    net.near.run("ip", "route", "add", reject, "10.99.0.0/16")
    net.near.run("ip", "route", "add", reject, "fd99::/64")
    host, expected = ("10.99.0.1", error4) if family == socket.AF_INET else ("fd99::1", error6)

    async def work(stack: AsyncStack) -> None:
        (result,) = await pings(stack, host, 1)
        assert result.error is not None
        assert result.address == net.near_address[family]
        assert not result.reached
        transport, box = await stack.create_datagram_endpoint(Mailbox, remote_addr=(host, 9))
        transport.sendto(b"anybody?")
        error = await box.errors.get()
        assert isinstance(error, OSError)
        assert [result.error.errno, error.errno] == [expected] * 2
        with pytest.raises(OSError, match="Connect call failed") as caught:
            await stack.open_connection(host, 80)
        assert caught.value.errno == expected
        transport.close()

    on_tun(net.near, work, StackConfig(tcp=TcpConfig(initial_rto=SECOND // 20)))


# What the kernel learns of us


@families
def test_an_unknown_protocol_is_refused(ns: Namespace, family: int) -> None:
    """RFC 1122 section 3.2.2.1: protocol unreachable; RFC 4443 section 3.4: unrecognized next header."""

    async def work(stack: AsyncStack) -> None:
        protocol = 253  # for experiments: RFC 3692
        raw = ns.socket(family, socket.SOCK_RAW, protocol)
        raw.connect((ours(family), 0))
        level = socket.IPPROTO_IP if family == socket.AF_INET else socket.IPPROTO_IPV6
        raw.setsockopt(level, 11 if family == socket.AF_INET else 25, 1)  # IP_RECVERR, IPV6_RECVERR
        raw.send(b"what is this?")
        with pytest.raises(OSError, match="Protocol") as caught:
            await in_thread(raw.recv, 100)
        assert caught.value.errno == (errno.ENOPROTOOPT if family == socket.AF_INET else errno.EPROTO)
        assert stack.stack.counters.ip.unknown_protocol == 1

    on_tun(ns, work)


@families
def test_our_errors_are_rate_limited(ns: Namespace, family: int) -> None:
    """RFC 1812 section 4.3.2.8, RFC 4443 section 2.4 (f): six at once to one host, by default."""

    async def work(stack: AsyncStack) -> None:
        client = ns.socket(family, socket.SOCK_DGRAM)
        for port in range(9000, 9100):
            client.sendto(b"anybody?", (ours(family), port))
        await until(lambda: stack.stack.counters.udp.no_port == 100)
        icmp = stack.stack.counters.icmp
        assert icmp.unreachable_sent + icmp.errors_rate_limited == 100
        assert 6 <= icmp.unreachable_sent < 30

    on_tun(ns, work)


def test_a_host_is_no_router(ns: Namespace) -> None:
    """RFC 1122 section 3.3.1.1 and 3.3.4.2: what is for others is dropped without a word."""
    ns.sysctl("net/ipv6/conf/all/forwarding", "1")

    async def work(stack: AsyncStack) -> None:
        link = driver_link(stack.driver)
        ns.run("ip", "route", "add", "10.99.0.0/16", "via", OURS4)
        ns.run("ip", "route", "add", "fd99::/64", "via", OURS6, "dev", link.name)
        client, client6 = ns.socket(socket.AF_INET, socket.SOCK_DGRAM), ns.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        _, box = await stack.create_datagram_endpoint(Mailbox, local_addr=(OURS6, 7))
        before = stack.stack.counters.ip.not_for_us
        client.sendto(b"pass it on", ("10.99.0.1", 7))
        client6.sendto(b"pass it on", ("fd99::1", 7))
        client6.sendto(b"keep it", (OURS6, 7))
        assert await box.next() == b"keep it"
        assert box.datagrams.empty()
        # The kernel's own talk to groups may have come in between.
        assert stack.stack.counters.ip.not_for_us >= before + 2
        assert stack.stack.counters.icmp.errors_sent == 0
        assert stack.stack.counters.ip.forwarded == 0

    on_tun(ns, work)


def test_answers_come_from_the_address_that_was_asked(ns: Namespace) -> None:
    """RFC 1122 section 3.2.2.6: the source of a reply "MUST be the same as the specific-destination address"."""

    async def work(stack: AsyncStack) -> None:
        interface = stack.stack.interfaces[0]
        stack.stack.add_address(interface, "10.77.0.9/24")
        stack.stack.add_address(interface, "fd77::9/64")
        for address in ("10.77.0.9", OURS4, "fd77::9", OURS6):
            said = await finished(ns.start("ping", "-n", "-c", "1", "-W", "10", address))
            assert f"from {address}" in said

    on_tun(ns, work)
