"""Reading pcapng (draft-ietf-opsawg-pcapng): every block with packets, any byte order, several sections."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

from plankroad.pcap.pcap_reader import MAX_PACKET
from plankroad.pcap.pcapng_writer import (
    BYTE_ORDER_MAGIC,
    ENHANCED_PACKET,
    EPB_FLAGS,
    IF_DESCRIPTION,
    IF_MAC,
    IF_NAME,
    IF_TSOFFSET,
    IF_TSRESOL,
    INTERFACE_DESCRIPTION,
    OBSOLETE_PACKET,
    OPT_COMMENT,
    OPT_END,
    SECTION_HEADER,
    SIMPLE_PACKET,
)
from plankroad.pcap.records import CapturedPacket, CaptureError, CaptureInterface
from plankroad.pcap.source import Source
from plankroad.units import SECOND

#: Blocks may be as large as a packet and what is said of it.
MAX_BLOCK: Final = MAX_PACKET + (1 << 20)


class _Section:
    """The byte order and the interfaces of one section."""

    __slots__ = ("interfaces", "order")

    def __init__(self, order: str) -> None:
        self.order = order
        self.interfaces: list[CaptureInterface] = []


def read_pcapng(source: Source, interfaces: list[CaptureInterface]) -> Iterator[CapturedPacket]:
    """The packets of all sections; interfaces are appended to `interfaces` as they are met.

    Raises CaptureError at the first block that is cut off or makes no sense.
    """
    section = _Section("<")
    number = 0
    while source.peek(1):
        at = source.position
        head = source.peek(12)
        if head[:4] == b"\x0a\x0d\x0d\x0a":
            section = _Section(_byte_order(head, at))
        kind, total = struct.unpack(section.order + "II", source.take(8, "the header of a block"))
        if total < 12 or total & 3 or total > MAX_BLOCK:
            raise CaptureError(f"the block at byte {at} claims a length of {total}: the file is damaged")
        body = source.take(total - 8, "a block")
        if struct.unpack_from(section.order + "I", body, total - 12)[0] != total:
            raise CaptureError(f"the block at byte {at} has two different lengths: the file is damaged")
        body = body[:-4]
        try:
            packet = _block(section, kind, body, number + 1, interfaces)
        except (struct.error, IndexError) as error:
            raise CaptureError(f"the block at byte {at} (type {kind}) is damaged: {error}") from error
        if packet is not None:
            number += 1
            yield packet


def _byte_order(head: bytes, at: int) -> str:
    for order in ("<", ">"):
        if len(head) == 12 and struct.unpack_from(order + "I", head, 8)[0] == BYTE_ORDER_MAGIC:
            return order
    raise CaptureError(f"the section at byte {at} has no byte-order magic: the file is damaged")


def _block(
    section: _Section, kind: int, body: bytes, number: int, interfaces: list[CaptureInterface]
) -> CapturedPacket | None:
    """Take in one block; the packet if it holds one."""
    order = section.order
    if kind == SECTION_HEADER:
        major = struct.unpack_from(order + "H", body, 4)[0]
        if major != 1:
            raise CaptureError(f"pcapng version {major} is not known, 1 is")
    elif kind == INTERFACE_DESCRIPTION:
        interface = _interface(section, body)
        section.interfaces.append(interface)
        interfaces.append(interface)
    elif kind == ENHANCED_PACKET:
        index, high, low, kept, length = struct.unpack_from(order + "IIIII", body)
        return _packet(section, body, 20, (index, high << 32 | low, kept, length, number))
    elif kind == OBSOLETE_PACKET:
        index, _drops, high, low, kept, length = struct.unpack_from(order + "HHIIII", body)
        return _packet(section, body, 20, (index, high << 32 | low, kept, length, number))
    elif kind == SIMPLE_PACKET:
        length = struct.unpack_from(order + "I", body)[0]
        # Section 4.4: no interface, which is the first; no time; what was kept is what snaplen let through.
        snaplen = section.interfaces[0].snaplen
        kept = min(length, snaplen) if snaplen else length
        return _packet(section, body, 4, (0, -1, kept, length, number))
    # Section 4: blocks of other types are skipped.
    return None


def _interface(section: _Section, body: bytes) -> CaptureInterface:
    link_type, _reserved, snaplen = struct.unpack_from(section.order + "HHI", body)
    interface = CaptureInterface(len(section.interfaces), link_type, snaplen=snaplen, units=1_000_000)
    for code, value in _options(section, body, 8):
        if code == IF_NAME:
            interface.name = _text(value)
        elif code == IF_DESCRIPTION:
            interface.description = _text(value)
        elif code == IF_MAC and len(value) == 6:
            interface.mac = value
        elif code == IF_TSRESOL and len(value) == 1:
            # "If the Most Significant Bit is equal to zero, the remaining bits indicate the resolution as a negative
            # power of 10 (...). If it is equal to one, (...) as a negative power of 2."
            interface.units = 2 ** (value[0] & 0x7F) if value[0] & 0x80 else 10 ** value[0]
        elif code == IF_TSOFFSET and len(value) == 8:
            interface.offset = struct.unpack(section.order + "q", value)[0]
    return interface


def _packet(section: _Section, body: bytes, start: int, fields: tuple[int, int, int, int, int]) -> CapturedPacket:
    index, ticks, kept, length, number = fields
    if index >= len(section.interfaces):
        raise IndexError(f"it names interface {index}, of {len(section.interfaces)} described")
    if start + kept > len(body):
        raise IndexError(f"it claims a packet of {kept} bytes and holds {len(body) - start}")
    interface = section.interfaces[index]
    time = 0 if ticks < 0 else ticks * SECOND // interface.units + interface.offset * SECOND
    packet = CapturedPacket(number, time, body[start : start + kept], original_length=length, interface=interface)
    for code, value in _options(section, body, start + (kept + 3 & ~3)):
        if code == OPT_COMMENT:
            packet.comments.append(_text(value))
        elif code == EPB_FLAGS and len(value) == 4:
            packet.direction = struct.unpack(section.order + "I", value)[0] & 3
    return packet


def _options(section: _Section, body: bytes, i: int) -> list[tuple[int, bytes]]:
    """The options from offset `i`. IndexError where one is longer than the block."""
    result: list[tuple[int, bytes]] = []
    while i + 4 <= len(body):
        code, length = struct.unpack_from(section.order + "HH", body, i)
        if code == OPT_END:
            break
        i += 4
        if i + length > len(body):
            raise IndexError(f"option {code} claims {length} bytes and {len(body) - i} are left")
        result.append((code, body[i : i + length]))
        i += length + 3 & ~3
    return result


def _text(value: bytes) -> str:
    return value.rstrip(b"\0").decode("utf-8", "replace")
