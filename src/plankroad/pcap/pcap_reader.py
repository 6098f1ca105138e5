"""Reading classic pcap (draft-ietf-opsawg-pcap)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

from plankroad.pcap.pcap_writer import MAGIC_MICROSECONDS, MAGIC_MODIFIED, MAGIC_NANOSECONDS
from plankroad.pcap.records import CapturedPacket, CaptureError, CaptureInterface
from plankroad.pcap.source import Source
from plankroad.units import SECOND

#: No packet is larger; a length beyond it is damage.
MAX_PACKET: Final = 1 << 26


def read_pcap(source: Source, interfaces: list[CaptureInterface]) -> Iterator[CapturedPacket] | None:
    """The packets, or None where the magic is none of pcap's. Raises CaptureError for a broken header.

    The interface, there is but one, is appended to `interfaces`.
    """
    magic = source.peek(4)
    for order in ("<", ">"):
        if len(magic) == 4 and struct.unpack(order + "I", magic)[0] in {
            MAGIC_MICROSECONDS,
            MAGIC_NANOSECONDS,
            MAGIC_MODIFIED,
        }:
            break
    else:
        return None
    header = source.take(24, "the header of a pcap file")
    kind, major, minor, _zone, _digits, snaplen, network = struct.unpack(order + "IHHiIII", header)
    if major != 2 or minor > 4:
        raise CaptureError(f"pcap version {major}.{minor} is not known, 2.4 is")
    units = SECOND if kind == MAGIC_NANOSECONDS else 1_000_000
    # Section 4.1: the upper bits of the field tell of frame check sequences.
    interface = CaptureInterface(0, network & 0x03FFFFFF, snaplen=snaplen, units=units)
    interfaces.append(interface)
    return _records(source, order, interface, 24 if kind == MAGIC_MODIFIED else 16, minor)


def _records(
    source: Source, order: str, interface: CaptureInterface, header: int, minor: int
) -> Iterator[CapturedPacket]:
    record = struct.Struct(order + "IIII")
    number = 0
    while source.peek(1):
        at = source.position
        seconds, fraction, kept, length = record.unpack(source.take(header, "the header of a packet")[:16])
        # Before version 2.3 the two lengths stood the other way round; in 2.3 some writers still had them so.
        if minor < 3 or (minor == 3 and kept > length):
            kept, length = length, kept
        if kept > MAX_PACKET:
            raise CaptureError(f"the packet at byte {at} claims {kept} bytes: the file is damaged")
        data = source.take(kept, "a packet")
        number += 1
        time = seconds * SECOND + fraction * (SECOND // interface.units)
        yield CapturedPacket(number, time, data, original_length=length, interface=interface)
