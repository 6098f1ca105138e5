"""Captured conversations for the tests, put together by `wire`."""

from __future__ import annotations

from plankroad.pcap import LINKTYPE_ETHERNET, LINKTYPE_RAW, CapturedPacket, CaptureInterface
from plankroad.wire.ethernet import build_ethernet
from plankroad.wire.icmp import build_icmp
from plankroad.wire.icmpv6 import build_icmpv6
from plankroad.wire.ipv4 import build_ipv4
from plankroad.wire.ipv6 import build_fragment, build_ipv6
from plankroad.wire.segment import ACK, FIN, SYN, Segment
from plankroad.wire.tcp import build_tcp
from plankroad.wire.udp import build_udp

CLIENT4, SERVER4 = bytes((192, 0, 2, 1)), bytes((192, 0, 2, 80))
CLIENT6, SERVER6 = bytes.fromhex("fd00" + "00" * 13 + "01"), bytes.fromhex("fd00" + "00" * 13 + "50")
MAC_A, MAC_B = b"\x02\0\0\0\0\x0a", b"\x02\0\0\0\0\x0b"


def ip(src: bytes, dst: bytes, protocol: int, payload: bytes) -> bytes:
    if len(src) == 4:
        return build_ipv4(src, dst, protocol, len(payload), ident=7, dont_fragment=True) + payload
    return build_ipv6(src, dst, protocol, len(payload)) + payload


def tcp(src: bytes, dst: bytes, ports: tuple[int, int], seq: int, ack: int, flags: int, data: bytes = b"") -> bytes:
    seg = Segment(ports[0], ports[1], seq % 2**32, ack % 2**32, flags, 65535, data)
    if flags & SYN:
        seg.mss, seg.wscale, seg.sack_permitted, seg.has_ts = 1460, 7, True, True
    return ip(src, dst, 6, build_tcp(seg, src, dst) + data)


def udp(src: bytes, dst: bytes, src_port: int, dst_port: int, data: bytes) -> bytes:
    return ip(src, dst, 17, build_udp(src, dst, src_port, dst_port, data) + data)


def ping4(data: bytes) -> bytes:
    return ip(CLIENT4, SERVER4, 1, build_icmp(8, 0, 0x00010001, data))


def ping6(data: bytes) -> bytes:
    return ip(CLIENT6, SERVER6, 58, build_icmpv6(CLIENT6, SERVER6, 128, 0, 0x00010001, data))


def frame(packet: bytes, vlan: int = 0) -> bytes:
    tags = [(0x8100, vlan)] if vlan else []
    return build_ethernet(MAC_B, MAC_A, 0x0800 if packet[0] >> 4 == 4 else 0x86DD, tags) + packet


def fragments4(packet: bytes, size: int) -> list[bytes]:
    """An IPv4 packet without options cut into fragments with `size` bytes of payload, a multiple of 8."""
    payload = packet[20:]
    return [
        build_ipv4(
            packet[12:16],
            packet[16:20],
            packet[9],
            len(payload[i : i + size]),
            ident=99,
            more_fragments=i + size < len(payload),
            fragment_offset=i,
        )
        + payload[i : i + size]
        for i in range(0, len(payload), size)
    ]


def fragments6(packet: bytes, size: int) -> list[bytes]:
    payload = packet[40:]
    return [
        build_ipv6(packet[8:24], packet[24:40], 44, 8 + len(payload[i : i + size]))
        + build_fragment(packet[6], i, i + size < len(payload), 0xABCD)
        + payload[i : i + size]
        for i in range(0, len(payload), size)
    ]


ETHERNET = CaptureInterface(0, LINKTYPE_ETHERNET, name="eth0")
RAW = CaptureInterface(1, LINKTYPE_RAW, name="tun0")


def captured(packets: list[bytes], interface: CaptureInterface = RAW, comment: str = "") -> list[CapturedPacket]:
    """As a reader gives them, a millisecond apart."""
    found = []
    for n, data in enumerate(packets):
        packet = CapturedPacket(n + 1, n * 1_000_000, data, original_length=len(data), interface=interface)
        if comment:
            packet.comments.append(comment)
        found.append(packet)
    return found


def conversation(
    client: bytes,
    server: bytes,
    request: bytes,
    answer: bytes,
    *,
    isn: int = 1000,
    port: int = 40000,
    mss: int = 1000,
) -> list[bytes]:
    """A whole connection: handshake, a request, an answer, four-way close. The server's ISN is twice `isn`."""
    a, b = isn, 2 * isn
    there, back = (port, 80), (80, port)
    packets = [
        tcp(client, server, there, a, 0, SYN),
        tcp(server, client, back, b, a + 1, SYN | ACK),
        tcp(client, server, there, a + 1, b + 1, ACK),
    ]
    a += 1
    b += 1
    for i in range(0, len(request), mss):
        packets.append(tcp(client, server, there, a, b, ACK, request[i : i + mss]))
        a += len(request[i : i + mss])
    packets.append(tcp(client, server, there, a, b, ACK | FIN))
    a += 1
    for i in range(0, len(answer), mss):
        packets.append(tcp(server, client, back, b, a, ACK, answer[i : i + mss]))
        b += len(answer[i : i + mss])
    packets.append(tcp(server, client, back, b, a, ACK | FIN))
    packets.append(tcp(client, server, there, a, b + 1, ACK))
    return packets
