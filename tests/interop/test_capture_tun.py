"""Captures of what plankroad and the Linux kernel said to each other, as Wireshark's tshark reads them."""

from __future__ import annotations

import asyncio
import socket
import time
from pathlib import Path

import pytest
from tests.interop.ground import (
    FAMILY_NAMES,
    INET,
    KERNEL,
    KERNEL4,
    LEFT4,
    LIMIT,
    OURS4,
    RIGHT4,
    Echo,
    Mailbox,
    Road,
    in_thread,
    kernels,
    listening,
    on_link,
    ours,
    read_to_end,
    receive_all,
    rights,
    send_all,
    stream,
    write_all,
)
from tests.interop.netns import Namespace, namespace
from tests.pcap.test_tshark import BAD, fields, tshark

from plankroad.aio.stack import AsyncStack
from plankroad.link.capture import CaptureLink, CaptureWriter
from plankroad.pcap import INBOUND, OUTBOUND
from plankroad.pcap.flows import rebuild
from plankroad.pcap.reader import read_capture
from plankroad.stack.stack import Stack

pytestmark = [pytest.mark.root, pytest.mark.xdist_group("root"), pytest.mark.needs("tshark")]

families = pytest.mark.parametrize("family", INET, ids=FAMILY_NAMES)
offloads = pytest.mark.parametrize("offload", [True, False], ids=["offload", "plain"])

SIZE = 1_000_000

#: Wrong to tshark alone: the kernel quotes a datagram in an ICMP error as it got it from us, its checksum not
#: yet finished; and where it finishes one itself, it writes 0xffff for 0 into TCP too, which is the same number.
QUOTED = "(icmp.checksum.status == 1 || icmpv6.checksum.status == 1) && udp"
WRONG = f"({BAD}) && !({QUOTED}) && !(tcp.checksum == 0xffff && frame.packet_flags_direction == 1)"

#: What there is only where packets are missing from the capture.
HOLES = "tcp.analysis.ack_lost_segment || tcp.analysis.lost_segment"


async def exchange(ns: Namespace, stack: AsyncStack, family: int) -> None:
    """SIZE octets there and back by TCP, datagrams of several sizes, a ping, a refused port."""
    up, up_hash = stream(SIZE)
    listener = listening(ns, family, 50011)

    def serve() -> tuple[int, str]:
        peer, _ = listener.accept()
        with peer:
            peer.settimeout(LIMIT)
            got = receive_all(peer)
            send_all(peer, up)
            return got

    serving = asyncio.create_task(in_thread(serve))
    reader, writer = await stack.open_connection(kernels(family), 50011)
    await write_all(writer, up)
    assert await read_to_end(reader) == await serving == (SIZE, up_hash)
    writer.close()
    await writer.wait_closed()
    transport, _ = await stack.create_datagram_endpoint(Echo, local_addr=(ours(family), 50007))
    client = ns.socket(family, socket.SOCK_DGRAM)
    client.connect((ours(family), 50007))
    for size in (0, 1, 1400, 5000, 40_000):
        client.send(bytes(range(200)) * (size // 200) + bytes(size % 200))
        assert len(await in_thread(client.recv, 70_000)) == size
    (result,) = [result async for result in stack.ping(kernels(family), 1, size=3000, timeout=10)]
    assert result.answered
    refused, box = await stack.create_datagram_endpoint(Mailbox, remote_addr=(kernels(family), 50009))
    refused.sendto(b"anybody?")
    assert isinstance(await box.errors.get(), ConnectionRefusedError)
    refused.close()
    transport.close()


def check_capture(path: Path, name: str, family: int, begin: int, end: int) -> None:
    """Nothing malformed, no bad checksum, nothing missing; names, directions and times as they were."""
    assert tshark(path, "-Y", WRONG) == []
    assert tshark(path, "-Y", "icmp.checksum.status == 0 || icmpv6.checksum.status == 0") == []
    assert tshark(path, "-Y", HOLES) == []
    # The checks bite: no segment and no datagram of ours went unverified.
    for protocol in ("tcp", "udp"):
        unverified = f"{protocol}.checksum && {protocol}.checksum.status != 1 && !icmp && !icmpv6"
        assert tshark(path, "-Y", f"{unverified} && frame.packet_flags_direction == 2") == []
        assert tshark(path, "-Y", f"{protocol}.checksum.status == 1")
    found = fields(path, "frame.time_epoch", "frame.interface_name", "frame.packet_flags_direction", "frame.comment")
    ours_read = read_capture(path)
    assert len(found) == len(ours_read) > 50
    assert {row[1] for row in found} == {name}
    # "0x00000002" is outbound, "0x00000001" inbound.
    assert [int(row[2], 16) & 3 for row in found] == [
        {INBOUND: 1, OUTBOUND: 2}[packet.direction] for packet in ours_read
    ]
    assert {row[3] for row in found} == {""}
    # tshark has every nanosecond of what the clock said.
    times = [int(row[0].replace(".", "")) for row in found]
    assert times == [packet.time for packet in ours_read]
    assert begin <= times[0] <= times[-1] <= end
    assert times == sorted(times)
    assert any(moment % 1000 for moment in times)
    # Both streams are in the capture to the last octet.
    for side in ("src", "dst"):
        chosen = f"tcp.{side}port == 50011 && tcp.len > 0 && !icmp && !icmpv6"
        rows = tshark(path, "-Y", chosen, "-T", "fields", "-e", "tcp.seq", "-e", "tcp.len")
        reached = 1
        for seq, length in sorted((int(row.split("\t")[0]), int(row.split("\t")[1])) for row in rows):
            assert seq <= reached
            reached = max(reached, seq + length)
        assert reached == SIZE + 1
    assert [flow.is_complete() for flow in rebuild(ours_read).tcp] == [True]
    # Fragments were put together by tshark too: their datagrams' checksums are right.
    assert len(tshark(path, "-Y", "udp.checksum.status == 1 && udp.length == 40008")) == 2


@offloads
@families
def test_a_transfer_over_tun(ns: Namespace, tmp_path: Path, family: int, offload: bool) -> None:
    path = tmp_path / "tun.pcapng"
    begin = time.time_ns()
    with CaptureWriter(path, comment="plankroad and a kernel") as writer:
        link = CaptureLink(ns.open_tun("plank7", kernel_address=KERNEL, offload=offload), writer)
        on_link(link, lambda stack: exchange(ns, stack, family))
        assert link.failed is None
    check_capture(path, "plank7", family, begin, time.time_ns())
    largest = max(int(row[0]) for row in fields(path, "frame.len"))
    assert largest > (20_000 if offload else 1400)
    assert tshark(path, "-Y", "icmp || icmpv6")


@offloads
@families
def test_a_transfer_over_tap(ns: Namespace, tmp_path: Path, family: int, offload: bool) -> None:
    """Frames: ARP and neighbour discovery are in the capture, and the MAC of the interface."""
    path = tmp_path / "tap.pcapng"
    begin = time.time_ns()
    with CaptureWriter(path) as writer:
        link = CaptureLink(ns.open_tap("plank8", kernel_address=KERNEL, offload=offload), writer)
        on_link(link, lambda stack: exchange(ns, stack, family))
    check_capture(path, "plank8", family, begin, time.time_ns())
    if family == socket.AF_INET:
        (asked, *_), (answered, *_) = tshark(path, "-Y", "arp.opcode == 1"), tshark(path, "-Y", "arp.opcode == 2")
        assert f"Who has {KERNEL4}? Tell {OURS4}" in asked
        assert f"{KERNEL4} is at" in answered
    else:
        assert tshark(path, "-Y", "icmpv6.type == 135")
        assert tshark(path, "-Y", "icmpv6.type == 136")
    macs = {row[0] for row in fields(path, "eth.src")}
    assert link.mac.hex(":") in macs
    assert len(macs) == 2


def test_a_router_in_one_capture_of_two_links(tmp_path: Path) -> None:
    """Each packet twice, on either side: with one time to live less, its checksums right on both."""
    path = tmp_path / "router.pcapng"
    size = 1_000_000
    up, up_hash = stream(size)
    with namespace() as left, namespace() as right, CaptureWriter(path) as writer:
        road = Road(left, right)
        road.left_link = CaptureLink(road.left_link, writer)
        road.right_link = CaptureLink(road.right_link, writer)

        async def work(stack: Stack) -> None:
            listener = listening(right, socket.AF_INET, 80)
            client = left.socket()
            accepting = asyncio.create_task(in_thread(listener.accept))
            await in_thread(client.connect, (rights(socket.AF_INET), 80))
            peer, _ = await accepting
            peer.settimeout(LIMIT)
            serving = asyncio.create_task(in_thread(receive_all, peer))
            await in_thread(send_all, client, up)
            assert await serving == (size, up_hash)

        road.run(work)
    assert tshark(path, "-Y", WRONG) == []
    rows = fields(path, "frame.interface_name", "ip.src", "ip.ttl", "tcp.dstport", "tcp.seq_raw", "tcp.len")
    seen = {
        side: [(row[1], row[3], row[4], row[5], int(row[2])) for row in rows if row[0] == side and row[3]]
        for side in ("left", "right")
    }
    assert len(seen["left"]) == len(seen["right"]) > 20
    # What came from the left at 64 left to the right at 63, and the other way round.
    there = [each for each in seen["left"] if each[0] == LEFT4]
    assert [(*each[:4], each[4] - 1) for each in there] == [each for each in seen["right"] if each[0] == LEFT4]
    back = [each for each in seen["right"] if each[0] == RIGHT4]
    assert [(*each[:4], each[4] - 1) for each in back] == [each for each in seen["left"] if each[0] == RIGHT4]
