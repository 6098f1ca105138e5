"""How fast a TUN link reads and writes, without a stack: `python -m tests.interop.bench_link` from the root, as root.

Only the link's own calls are timed, the kernel's work within them included; the other end does its part in between.
"""

from __future__ import annotations

import socket
import time

from tests.interop.netns import Namespace, namespace
from tests.interop.test_tun_link import ADDRESSES, KERNEL, STACK, HandmadePeer, is_protocol, ours, pseudo

from plankroad.link.coalesce import coalesce
from plankroad.link.segmentation import segment
from plankroad.wire.checksum import complete
from plankroad.wire.packet import GSO_TCPV4, Packet
from plankroad.wire.segment import ACK
from plankroad.wire.udp import build_udp


def report(what: str, packets: int, size: int, seconds: float) -> None:
    gigabits = size * 8 / seconds / 1e9
    each = seconds / packets * 1e9
    print(f"{what:46} {packets / seconds:10,.0f} packets/s {gigabits:8.2f} Gbit/s {each:8.0f} ns each")


def datagrams_in(ns: Namespace, offload: bool, length: int, rounds: int = 60) -> None:
    link = ns.open_tun(offload=offload, join=False, kernel_address=ADDRESSES)
    kernel = ns.socket(socket.AF_INET, socket.SOCK_DGRAM)
    kernel.connect((STACK[4], 5000))
    payload = bytes(length)
    seconds = 0.0
    packets = size = 0
    for _ in range(rounds):
        for _ in range(256):
            kernel.send(payload)
        begin = time.perf_counter()
        while batch := link.receive():
            packets += len(batch)
        seconds += time.perf_counter() - begin
    size = link.counters.rx_bytes
    report(f"read, {length + 28}-byte packets, {'offloads' if offload else 'no offloads'}", packets, size, seconds)
    link.close()


def datagrams_out(ns: Namespace, offload: bool, length: int, count: int = 15_000) -> None:
    link = ns.open_tun(offload=offload, kernel_address=ADDRESSES)
    kernel = ns.socket(socket.AF_INET, socket.SOCK_DGRAM)
    kernel.bind((KERNEL[4], 7))
    src, dst = pseudo(4)
    payload = bytes(length)
    network = ours(4, 17, 8 + length)
    packet = Packet(
        network + build_udp(src, dst, 5000, 7, payload, partial=True), payload, csum_start=len(network), csum_offset=6
    )
    if not offload:
        packet = complete(packet)
    begin = time.perf_counter()
    for _ in range(count):
        link.send(packet)
    seconds = time.perf_counter() - begin
    report(
        f"write, {length + 28}-byte packets, {'offloads' if offload else 'no offloads'}",
        count,
        count * len(packet),
        seconds,
    )
    link.close()
    kernel.close()


def super_segments_in(ns: Namespace, megabytes: int = 300) -> None:
    link = ns.open_tun(kernel_address=ADDRESSES)
    peer = HandmadePeer(ns, link, 4, mss=1448)
    peer.socket.setblocking(False)
    data = bytes(1 << 20)
    seconds = 0.0
    packets = size = 0
    while size < megabytes << 20:
        try:
            while True:
                peer.socket.send(data)
        except BlockingIOError:
            pass
        got: list[Packet] = []
        begin = time.perf_counter()
        while batch := link.receive():
            got += batch
        seconds += time.perf_counter() - begin
        for packet in got:
            if is_protocol(packet, 4, 6) and len(packet) > 40:
                peer.ack = (peer.ack + len(packet) - 40) & 0xFFFFFFFF
                peer.send(peer.make(ACK))
        packets += len(got)
        size = link.counters.rx_bytes
    report(f"read, TCP super-segments, {size // packets} bytes each", packets, size, seconds)
    peer.close()
    link.close()


def super_segments_out(ns: Namespace, offload: bool, count: int = 2000) -> None:
    link = ns.open_tun(offload=offload, kernel_address=ADDRESSES)
    peer = HandmadePeer(ns, link, 4, mss=1448)
    payload = bytes(1448 * 45)
    into = bytearray(1 << 20)
    seconds = 0.0
    size = 0
    for _ in range(count):
        packet = peer.packet(peer.make(ACK, payload))
        packet.gso_type = GSO_TCPV4
        packet.gso_size = 1448
        begin = time.perf_counter()
        link.send(packet)
        seconds += time.perf_counter() - begin
        size += len(packet)
        peer.seq = (peer.seq + len(payload)) & 0xFFFFFFFF
        left = len(payload)
        while left:
            left -= peer.socket.recv_into(into)
        while link.receive():
            pass
    report(f"write, TCP super-segments, {'offloads' if offload else 'cut in software'}", count, size, seconds)
    peer.close()
    link.close()


def in_software(ns: Namespace, count: int = 300) -> None:
    link = ns.open_tun(kernel_address=ADDRESSES)
    peer = HandmadePeer(ns, link, 4)
    packet = peer.packet(peer.make(ACK, bytes(range(256)) * 254))
    packet.gso_type = GSO_TCPV4
    packet.gso_size = 1448
    parts = segment(packet)
    for what, partial in (("segment, complete checksums", False), ("segment, partial checksums", True)):
        begin = time.perf_counter()
        for _ in range(count):
            segment(packet, False, partial)
        seconds = time.perf_counter() - begin
        report(what + ", per part", count * len(parts), count * len(packet), seconds)
    received = [part.to_bytes() for part in parts]
    for what, valid in (("coalesce", False), ("coalesce, checksums vouched for", True)):
        seconds = 0.0
        for _ in range(count):
            batch = [Packet(data, csum_valid=valid) for data in received]
            begin = time.perf_counter()
            coalesce(batch)
            seconds += time.perf_counter() - begin
        report(what + ", per segment", count * len(parts), count * len(packet), seconds)
    peer.close()
    link.close()


def main() -> None:
    with namespace() as ns:
        ns.sysctl("net/ipv4/tcp_congestion_control", "reno")
        for offload in (True, False):
            for length in (36, 1472):
                datagrams_in(ns, offload, length)
                datagrams_out(ns, offload, length)
        super_segments_in(ns)
        super_segments_out(ns, True)
        super_segments_out(ns, False)
        in_software(ns)


if __name__ == "__main__":
    main()
