"""A packet as a rule's condition sees it: taken apart, as far as that is possible, when it is asked."""

from __future__ import annotations

import contextlib

from plankroad.wire.address import bytes_to_ip
from plankroad.wire.constants import ETHERTYPE_IPV4, ETHERTYPE_IPV6, PROTO_TCP, PROTO_UDP
from plankroad.wire.errors import BadPacket
from plankroad.wire.ethernet import parse_ethernet
from plankroad.wire.ipv4 import parse_ipv4
from plankroad.wire.ipv6 import parse_ipv6
from plankroad.wire.packet import Packet
from plankroad.wire.segment import Segment
from plankroad.wire.tcp import parse_tcp
from plankroad.wire.udp import UdpDatagram, parse_udp


class PacketView:
    """What is in a packet.

    `now`: when it comes to the link (ns). `link`: the name of the direction, as "a->b". `size`: in bytes.
    `version`: 4 or 6, 0 where there is no readable IP header; then `src` and `dst` are empty and `protocol` is -1.
    `src`, `dst`: addresses as text. `protocol`: IP's number for what follows, extension headers left out.
    `fragment`: it is a fragment; then `tcp` and `udp` are None even in the first.
    `tcp`, `udp`: the segment or datagram, None where there is none. Checksums are not looked at.
    `ethertype`: that of an Ethernet frame, 0 on links without Ethernet.
    """

    __slots__ = (
        "dst",
        "ethertype",
        "fragment",
        "link",
        "now",
        "packet",
        "payload",
        "protocol",
        "size",
        "src",
        "tcp",
        "udp",
        "version",
    )

    def __init__(self, now: int, link: str, packet: Packet, ethernet: bool) -> None:
        self.now = now
        self.link = link
        self.packet = packet
        self.size: int = len(packet)
        self.version: int = 0
        self.src: str = ""
        self.dst: str = ""
        self.protocol: int = -1
        self.fragment: bool = False
        self.tcp: Segment | None = None
        self.udp: UdpDatagram | None = None
        self.payload: bytes = b""
        self.ethertype: int = 0
        with contextlib.suppress(BadPacket):  # damaged before: what could be read was
            self._read(packet.to_bytes(), ethernet)

    def _read(self, buf: bytes, ethernet: bool) -> None:
        offset = 0
        version = buf[0] >> 4 if buf else 0
        if ethernet:
            frame = parse_ethernet(buf)
            self.ethertype = frame.ethertype
            offset = frame.payload_start
            self.payload = buf[offset:]
            version = {ETHERTYPE_IPV4: 4, ETHERTYPE_IPV6: 6}.get(frame.ethertype, 0)
        start = end = 0
        if version == 4:
            v4 = parse_ipv4(buf, offset)
            self.src, self.dst, self.protocol = bytes_to_ip(v4.src), bytes_to_ip(v4.dst), v4.protocol
            self.fragment = v4.more_fragments or v4.fragment_offset > 0
            start, end = v4.payload_start, v4.payload_end
        elif version == 6:
            v6 = parse_ipv6(buf, offset)
            self.src, self.dst, self.protocol = bytes_to_ip(v6.src), bytes_to_ip(v6.dst), v6.protocol
            self.fragment = v6.fragmented
            start, end = v6.payload_start, v6.payload_end
        else:
            return
        self.version = version
        self.payload = buf[start:end]
        if self.fragment:
            return
        if self.protocol == PROTO_TCP:
            self.tcp = parse_tcp(buf, start, end)
            self.payload = self.tcp.payload
        elif self.protocol == PROTO_UDP:
            self.udp = parse_udp(buf, start, end)
            self.payload = self.udp.payload
