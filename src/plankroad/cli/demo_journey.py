"""One segment on its way down through the layers of a host, over the routers, and up through those of the other."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from plankroad.sim.fate import CORRUPTED, DUPLICATE, LOST_MASK
from plankroad.sim.link import Link
from plankroad.sim.pipe import Observer, Pipe
from plankroad.units import SECOND
from plankroad.wire.address import bytes_to_ip
from plankroad.wire.constants import PROTO_TCP
from plankroad.wire.errors import BadPacket
from plankroad.wire.ipv4 import parse_ipv4
from plankroad.wire.packet import Packet
from plankroad.wire.tcp import parse_tcp

#: So many passages are kept: enough for a segment that is lost again and again.
MOST_PASSAGES: Final = 24


class Passage:
    """The segment crossed, or was lost on, one link."""

    __slots__ = ("fate", "link", "now", "sent", "ttl", "where")

    def __init__(self, where: str, link: str, sent: int, now: int, ttl: int, fate: str) -> None:
        self.where = where
        self.link = link
        self.sent = sent
        self.now = now
        self.ttl = ttl
        self.fate = fate


class Journey(Observer):
    """Follows the first segment with data that leaves `start`, until a copy of it arrives at `end`."""

    def __init__(self, start: str, end: str, links: Iterable[Link]) -> None:
        self.start = start
        self.end = end
        self.passages: list[Passage] = []
        self.arrived = False
        self.transport = ""
        self.internet = ""
        self.octets = 0
        self._key: tuple[bytes, bytes, int, int, int] | None = None
        self._ways: dict[Pipe, tuple[str, str, str]] = {}
        for link in links:
            a, b = (node.name for node in link.ends)
            self._ways[link.there.pipe] = (a, b, link.name)
            self._ways[link.back.pipe] = (b, a, link.name)

    def packet(self, pipe: Pipe, now: int, sent: int, packet: Packet, fate: int, note: str) -> None:
        way = self._ways.get(pipe)
        if self.arrived or way is None or fate & (CORRUPTED | DUPLICATE) or len(self.passages) >= MOST_PASSAGES:
            return
        where, to, name = way
        if self._key is None and where != self.start:
            return
        data = packet.to_bytes()
        try:
            header = parse_ipv4(data)
            if header.protocol != PROTO_TCP:
                return
            seg = parse_tcp(data, header.payload_start, header.payload_end)
        except BadPacket:
            return
        key = (header.src, header.dst, seg.src_port, seg.dst_port, seg.seq)
        if self._key is None and seg.payload:
            self._key = key
            self.octets = len(seg.payload)
            self.transport = f"TCP {seg.src_port} > {seg.dst_port}  seq {seg.seq}  ack {seg.ack}  window {seg.wnd}"
            self.internet = f"IPv4 {bytes_to_ip(header.src)} > {bytes_to_ip(header.dst)}  {len(data):,} bytes"
        if key != self._key or not seg.payload:
            return
        lost = fate & LOST_MASK != 0
        self.passages.append(Passage(where, name, sent, now, header.ttl, (note or "lost") if lost else ""))
        self.arrived = not lost and to == self.end

    def drawn(self) -> str:
        """The layers, a line each; empty where there was no such segment."""
        if not self.passages:
            return ""
        rows = [
            (self.start, "application", f"{self.octets:,} bytes of what the program wrote"),
            ("", "transport", self.transport),
        ]
        for passage in self.passages:
            if passage.where == self.start:
                rows.append(("", "internet", f"{self.internet}  ttl {passage.ttl}"))
            else:
                rows.append((passage.where, "internet", f"a router: ttl is {passage.ttl} now, on by {passage.link}"))
            fate = (
                f"lost: {passage.fate}; TCP will send it again" if passage.fate else f"{passage.now / SECOND:.6f} s"
            )
            rows.append(("", "link", f"{passage.link}  {passage.sent / SECOND:.6f} s to {fate}"))
        if self.arrived:
            rows += [
                (self.end, "internet", "it is for this host"),
                ("", "transport", "the checksum is right; put in its place in the stream"),
                ("", "application", f"{self.octets:,} bytes read"),
            ]
        return "\n".join(f"  {where:8} {layer:12} {text}" for where, layer, text in rows)
