"""From a captured packet to its transport: the link header off, fragments put together, damage told."""

from __future__ import annotations

from plankroad.pcap.records import (
    LINKTYPE_ETHERNET,
    LINKTYPE_IPV4,
    LINKTYPE_IPV6,
    LINKTYPE_LINUX_SLL,
    LINKTYPE_LINUX_SLL2,
    LINKTYPE_LOOP,
    LINKTYPE_NULL,
    LINKTYPE_RAW,
    CapturedPacket,
)
from plankroad.wire.checksum import update
from plankroad.wire.constants import ETHERTYPE_IPV4, ETHERTYPE_IPV6
from plankroad.wire.errors import BadPacket
from plankroad.wire.ethernet import parse_ethernet
from plankroad.wire.ipv4 import parse_ipv4
from plankroad.wire.ipv6 import parse_ipv6, upper_layer

#: Raw IP has other numbers on some systems.
_RAW = {LINKTYPE_RAW, LINKTYPE_IPV4, LINKTYPE_IPV6, 12, 14}


class Transport:
    """The payload of an IP packet, whole: `buf[start:end]`, from `src` to `dst` (4 or 16 bytes each).

    `missing`: so many bytes at its end are zeros in place of what the capture left out.
    """

    __slots__ = ("buf", "dst", "end", "missing", "protocol", "src", "start")

    def __init__(self, src: bytes, dst: bytes, protocol: int, buf: bytes, start: int, end: int, missing: int) -> None:
        self.src = src
        self.dst = dst
        self.protocol = protocol
        self.buf = buf
        self.start = start
        self.end = end
        self.missing = missing


class Decoder:
    """Takes packets in the order of a capture and gives their transports. Keeps fragments until they are whole.

    `limit`: at most so many packets wait for fragments; the oldest is given up (captures may be of any length).
    """

    def __init__(self, limit: int = 1024) -> None:
        self.limit = limit
        self._next_header = -1
        self._waiting: dict[tuple[bytes, bytes, int, int], _Pieces] = {}

    def decode(self, packet: CapturedPacket) -> Transport | None:
        """The transport that this packet is or completes; None for what is not IP, or a fragment that completes none.

        Raises BadPacket for a packet that a receiver would discard for its link or IP header.
        """
        data = packet.data
        start = network_offset(packet)
        if start < 0:
            return None
        if len(data) <= start:
            raise BadPacket("the packet is empty")
        length = max(packet.original_length, len(data))
        version = data[start] >> 4
        if version == 4:
            return self._ipv4(data, start, length)
        if version == 6:
            return self._ipv6(data, start, length)
        raise BadPacket(f"IP version is {version}")

    def _ipv4(self, data: bytes, start: int, length: int) -> Transport | None:
        """`length`: of the whole packet, of which `data` may be only the beginning."""
        rest = length - start
        if len(data) - start >= 20 and data[start + 2 : start + 4] == b"\0\0" and rest <= 0xFFFF:
            # Captured before the card filled in the length of a segment that it was to cut.
            checksum = update(data[start + 10] << 8 | data[start + 11], 0, rest)
            data = (
                data[: start + 2]
                + rest.to_bytes(2, "big")
                + data[start + 4 : start + 10]
                + checksum.to_bytes(2, "big")
                + data[start + 12 :]
            )
        captured = len(data)
        data = _filled(data, start + int.from_bytes(data[start + 2 : start + 4], "big"), length)
        header = parse_ipv4(data, start)
        missing = max(header.payload_end - captured, 0)
        if header.more_fragments or header.fragment_offset:
            key = (header.src, header.dst, header.protocol, header.ident)
            part = data[header.payload_start : header.payload_end]
            whole = self._collect(key, header.fragment_offset, part, header.more_fragments, header.protocol, missing)
            if whole is None:
                return None
            return Transport(header.src, header.dst, header.protocol, whole, 0, len(whole), 0)
        return Transport(
            header.src, header.dst, header.protocol, data, header.payload_start, header.payload_end, missing
        )

    def _ipv6(self, data: bytes, start: int, length: int) -> Transport | None:
        captured = len(data)
        data = _filled(data, start + 40 + int.from_bytes(data[start + 4 : start + 6], "big"), length)
        header = parse_ipv6(data, start)
        missing = max(header.payload_end - captured, 0)
        if header.fragmented:
            key = (header.src, header.dst, -1, header.fragment_ident)
            part = data[header.payload_start : header.payload_end]
            first = header.protocol if header.fragment_offset == 0 else -1
            whole = self._collect(key, header.fragment_offset, part, header.more_fragments, first, missing)
            if whole is None:
                return None
            protocol, at = upper_layer(whole, 0, len(whole), self._next_header)
            if at < 0:
                raise BadPacket("the IPv6 extension headers are cut off")
            return Transport(header.src, header.dst, protocol, whole, at, len(whole), 0)
        return Transport(
            header.src, header.dst, header.protocol, data, header.payload_start, header.payload_end, missing
        )

    def _collect(
        self, key: tuple[bytes, bytes, int, int], offset: int, part: bytes, more: bool, protocol: int, missing: int
    ) -> bytes | None:
        if missing:
            # A fragment of which the capture has only a part: what it belongs to is never whole.
            return None
        pieces = self._waiting.get(key)
        if pieces is None:
            if len(self._waiting) >= self.limit:
                del self._waiting[next(iter(self._waiting))]
            pieces = self._waiting[key] = _Pieces()
        pieces.octets += len(part) - len(pieces.parts.get(offset, b""))
        pieces.parts[offset] = part
        if protocol >= 0:
            pieces.protocol = protocol
        if not more:
            pieces.total = offset + len(part)
        whole = pieces.whole()
        if whole is not None:
            self._next_header = pieces.protocol
            del self._waiting[key]
        return whole


def _filled(data: bytes, end: int, length: int) -> bytes:
    """`data` with zeros in place of what the capture left out, up to the packet's own `end`.

    Of the `length` that the capture file claims no more is believed: it may say four gigabytes.
    """
    return data + bytes(max(min(end, length) - len(data), 0))


class _Pieces:
    """The fragments of one packet so far."""

    __slots__ = ("octets", "parts", "protocol", "total")

    def __init__(self) -> None:
        self.parts: dict[int, bytes] = {}
        self.octets = 0  # in all parts
        self.total = -1
        self.protocol = -1

    def whole(self) -> bytes | None:
        """All of it, if all is there; overlapping fragments count as missing (RFC 5722)."""
        if self.total < 0 or self.octets < self.total:
            return None
        at = 0
        found: list[bytes] = []
        while at < self.total:
            part = self.parts.get(at)
            if not part:
                return None
            found.append(part)
            at += len(part)
        return b"".join(found) if at == self.total else None


def network_offset(packet: CapturedPacket) -> int:
    """Where the IP header begins in `packet.data`; -1 where the packet is not IP, or the link type is not known.

    Raises BadPacket where the link header is cut off.
    """
    data = packet.data
    kind = packet.interface.link_type
    if kind in _RAW:
        return 0
    if kind == LINKTYPE_ETHERNET:
        header = parse_ethernet(data)
        return header.payload_start if header.ethertype in {ETHERTYPE_IPV4, ETHERTYPE_IPV6} else -1
    if kind in {LINKTYPE_NULL, LINKTYPE_LOOP}:
        # The address family of the system that captured, in its byte order: the version is looked at instead.
        size, protocol = 4, (data[4] >> 4 if len(data) > 4 else 0)
        protocol = {4: ETHERTYPE_IPV4, 6: ETHERTYPE_IPV6}.get(protocol, 0)
    elif kind == LINKTYPE_LINUX_SLL:
        size, protocol = 16, int.from_bytes(data[14:16], "big")
    elif kind == LINKTYPE_LINUX_SLL2:
        size, protocol = 20, int.from_bytes(data[0:2], "big")
    else:
        return -1
    if len(data) < size:
        raise BadPacket("the link header is cut off")
    return size if protocol in {ETHERTYPE_IPV4, ETHERTYPE_IPV6} else -1
