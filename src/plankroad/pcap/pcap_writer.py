"""Writing classic pcap (draft-ietf-opsawg-pcap) with nanoseconds: one link type, no interfaces, no comments."""

from __future__ import annotations

import struct
from types import TracebackType
from typing import Final

from plankroad.pcap.records import LINKTYPE_RAW
from plankroad.pcap.sink import Sink, Target
from plankroad.units import SECOND

MAGIC_MICROSECONDS: Final = 0xA1B2C3D4
MAGIC_NANOSECONDS: Final = 0xA1B23C4D
#: Records with eight more bytes each, from patched libpcaps of the 1990s that are still met.
MAGIC_MODIFIED: Final = 0xA1B2CD34

_RECORD: Final = struct.Struct("<IIII")


class PcapWriter:
    """A classic capture file being written, little-endian, nanosecond magic."""

    def __init__(self, target: Target, link_type: int = LINKTYPE_RAW, *, snaplen: int = 262144) -> None:
        """`target`: a path or a binary file object. `snaplen`: keep so many bytes of a packet."""
        if not 0 <= link_type <= 0xFFFF or not 1 <= snaplen <= 0x7FFFFFFF:
            raise ValueError(f"link type {link_type} or snaplen {snaplen} out of range")
        self.link_type = link_type
        self.snaplen = snaplen
        self._sink = Sink(target)
        self._sink.write(struct.pack("<IHHiIII", MAGIC_NANOSECONDS, 2, 4, 0, 0, snaplen, link_type))

    def write(self, time: int, data: bytes, *, length: int = -1) -> None:
        """A packet at `time` (nanoseconds; ValueError beyond 2**32 seconds). `length`: that on the wire."""
        if not 0 <= time < SECOND << 32:
            raise ValueError(f"a time stamp of {time} ns does not fit a capture")
        original = len(data) if length < 0 else length
        data = data[: self.snaplen]
        self._sink.write(_RECORD.pack(time // SECOND, time % SECOND, len(data), original) + data)

    def close(self) -> None:
        """Close what was opened by its path. Twice is harmless."""
        self._sink.close()

    def __enter__(self) -> PcapWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
