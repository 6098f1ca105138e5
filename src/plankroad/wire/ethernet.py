"""Ethernet II frames (RFC 894), 802.1Q and 802.1ad tags, and IEEE 802.3 with SNAP (RFC 1042)."""

from __future__ import annotations

from typing import Final

from plankroad.wire.constants import ETHERTYPE_QINQ, ETHERTYPE_VLAN
from plankroad.wire.errors import BadPacket

#: A frame with more tags than this is refused.
MAX_VLAN_TAGS: Final = 8

#: The smallest frame without its check sequence: 14 bytes of header and 46 of data (RFC 894).
MIN_FRAME: Final = 60


class EthernetHeader:
    """The header of a frame.

    `vlans`: the tags from the outermost in, each (TPID, TCI): 0x8100 or 0x88A8, then 16 bits of priority (3), drop
    eligibility (1) and VLAN identifier (12).
    `ethertype`: the type of what begins at `payload_start`. An IEEE 802.3 frame with SNAP and a zero organization
    code has the type behind its SNAP header (RFC 1042); any other 802.3 frame has its length here: 1500 or less.
    `payload_end`: the end of the frame, or what the 802.3 length says.
    """

    __slots__ = ("dst", "ethertype", "payload_end", "payload_start", "src", "vlans")

    def __init__(
        self,
        dst: bytes,
        src: bytes,
        ethertype: int,
        vlans: list[tuple[int, int]],
        payload_start: int,
        payload_end: int,
    ) -> None:
        self.dst = dst
        self.src = src
        self.ethertype = ethertype
        self.vlans = vlans
        self.payload_start = payload_start
        self.payload_end = payload_end


def parse_ethernet(buf: bytes, offset: int = 0) -> EthernetHeader:
    """The frame that `buf` holds from `offset` on, without a check sequence.

    Raises BadPacket for a truncated header or tag, an 802.3 length past the end, and more than `MAX_VLAN_TAGS`.
    """
    size = len(buf)
    at = offset + 14
    if size < at:
        raise BadPacket("Ethernet header is truncated")
    ethertype = buf[at - 2] << 8 | buf[at - 1]
    vlans: list[tuple[int, int]] = []
    while ethertype in (ETHERTYPE_VLAN, ETHERTYPE_QINQ):
        if size < at + 4:
            raise BadPacket("VLAN tag is truncated")
        if len(vlans) >= MAX_VLAN_TAGS:
            raise BadPacket("too many VLAN tags")
        vlans.append((ethertype, buf[at] << 8 | buf[at + 1]))
        ethertype = buf[at + 2] << 8 | buf[at + 3]
        at += 4
    end = size
    if ethertype <= 1500:
        end = at + ethertype
        if end > size:
            raise BadPacket("IEEE 802.3 length is wrong")
        # RFC 1122 section 2.3.3: a host SHOULD be able to receive RFC 1042 packets, intermixed with RFC 894 ones.
        if ethertype >= 8 and buf[at : at + 6] == b"\xaa\xaa\x03\x00\x00\x00":
            ethertype = buf[at + 6] << 8 | buf[at + 7]
            at += 8
    return EthernetHeader(buf[offset : offset + 6], buf[offset + 6 : offset + 12], ethertype, vlans, at, end)


def build_ethernet(dst: bytes, src: bytes, ethertype: int, vlans: list[tuple[int, int]] | None = None) -> bytes:
    """The header of an Ethernet II frame. `vlans` as in `EthernetHeader`.

    Raises ValueError where an address has not 6 bytes.
    """
    if len(dst) != 6 or len(src) != 6:
        raise ValueError("Ethernet addresses have 6 bytes")
    tags = b""
    if vlans:
        for tpid, tci in vlans:
            tags += (tpid << 16 | tci).to_bytes(4, "big")
    return dst + src + tags + ethertype.to_bytes(2, "big")


def pad_frame(frame: bytes) -> bytes:
    """The frame, padded with zeros to the 60 bytes that a wire needs (RFC 894)."""
    return frame if len(frame) >= MIN_FRAME else frame + bytes(MIN_FRAME - len(frame))
