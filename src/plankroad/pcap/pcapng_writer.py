"""Writing pcapng (draft-ietf-opsawg-pcapng): one section, an interface block a link, nanoseconds, comments."""

from __future__ import annotations

import struct
from types import TracebackType
from typing import Final

from plankroad.pcap.records import LINKTYPE_RAW, UNKNOWN, CaptureInterface
from plankroad.pcap.sink import Sink, Target

SECTION_HEADER: Final = 0x0A0D0D0A
INTERFACE_DESCRIPTION: Final = 1
OBSOLETE_PACKET: Final = 2
SIMPLE_PACKET: Final = 3
ENHANCED_PACKET: Final = 6
BYTE_ORDER_MAGIC: Final = 0x1A2B3C4D

# Options (section 3.5 and those of each block).
OPT_END: Final = 0
OPT_COMMENT: Final = 1
SHB_USERAPPL: Final = 4
IF_NAME: Final = 2
IF_DESCRIPTION: Final = 3
IF_MAC: Final = 6
IF_TSRESOL: Final = 9
IF_TSOFFSET: Final = 14
EPB_FLAGS: Final = 2

#: 10**-9 seconds.
NANOSECONDS: Final = 9

_BLOCK: Final = struct.Struct("<II")
_EPB: Final = struct.Struct("<IIIIIII")
_OPTION: Final = struct.Struct("<HH")
_FLAGS: Final = struct.Struct("<HHI")
_U32: Final = struct.Struct("<I")
_PAD: Final = (b"", b"\0\0\0", b"\0\0", b"\0")


def option(code: int, value: bytes) -> bytes:
    """One option, padded to 32 bits."""
    return _OPTION.pack(code, len(value)) + value + _PAD[len(value) & 3]


def text_option(code: int, text: str) -> bytes:
    """An option that holds UTF-8 of at most 65,535 bytes; a longer text is cut between characters."""
    value = text.encode("utf-8", "replace")
    if len(value) > 0xFFFF:
        value = value[:0xFFFF].decode("utf-8", "ignore").encode()
    return option(code, value)


def block(kind: int, body: bytes) -> bytes:
    """A block: its type and total length before, the length again behind; `body` is a multiple of four bytes."""
    total = len(body) + 12
    return _BLOCK.pack(kind, total) + body + _U32.pack(total)


class PcapngWriter:
    """A pcapng file being written, little-endian. Each block is written whole and at once (see `Sink`)."""

    def __init__(self, target: Target, *, application: str = "plankroad", comment: str = "") -> None:
        """`target`: a path or a binary file object. Raises OSError where it cannot be written."""
        self.interfaces: list[CaptureInterface] = []
        self._sink = Sink(target)
        options = b""
        if comment:
            options += text_option(OPT_COMMENT, comment)
        if application:
            options += text_option(SHB_USERAPPL, application)
        if options:
            options += option(OPT_END, b"")
        # The section's length is not known beforehand: -1.
        self._sink.write(block(SECTION_HEADER, struct.pack("<IHHq", BYTE_ORDER_MAGIC, 1, 0, -1) + options))

    def add_interface(
        self,
        name: str,
        link_type: int = LINKTYPE_RAW,
        *,
        snaplen: int = 0,
        description: str = "",
        mac: bytes = b"",
    ) -> int:
        """Describe an interface; its index, for `write`. `snaplen`: keep so many bytes of a packet, 0 = all."""
        if not 0 <= link_type <= 0xFFFF or not 0 <= snaplen <= 0xFFFFFFFF:
            raise ValueError(f"link type {link_type} or snaplen {snaplen} out of range")
        if mac and len(mac) != 6:
            raise ValueError("a MAC address has 6 bytes")
        body = struct.pack("<HHI", link_type, 0, snaplen)
        if name:
            body += text_option(IF_NAME, name)
        if description:
            body += text_option(IF_DESCRIPTION, description)
        if mac:
            body += option(IF_MAC, mac)
        body += option(IF_TSRESOL, bytes([NANOSECONDS]))
        body += option(OPT_END, b"")
        self._sink.write(block(INTERFACE_DESCRIPTION, body))
        index = len(self.interfaces)
        self.interfaces.append(
            CaptureInterface(index, link_type, name=name, description=description, snaplen=snaplen, mac=mac)
        )
        return index

    def write(
        self, time: int, interface: int, data: bytes, *, comment: str = "", direction: int = UNKNOWN, length: int = -1
    ) -> None:
        """A packet. `time`: nanoseconds, 0 to 2**64 - 1. `direction`: INBOUND, OUTBOUND or UNKNOWN.

        `length`: its length on the wire where `data` is not all of it. Raises IndexError for an interface that was
        not added, ValueError for a time out of range, OSError where the file cannot be written.
        """
        snaplen = self.interfaces[interface].snaplen
        if not 0 <= time < 1 << 64:
            raise ValueError(f"a time stamp of {time} ns does not fit a capture")
        original = len(data) if length < 0 else length
        if snaplen and len(data) > snaplen:
            data = data[:snaplen]
        options = b""
        if comment:
            options = text_option(OPT_COMMENT, comment)
        if direction != UNKNOWN:
            options += _FLAGS.pack(EPB_FLAGS, 4, direction)
        if options:
            options += b"\0\0\0\0"
        kept = len(data)
        pad = _PAD[kept & 3]
        total = 32 + kept + len(pad) + len(options)
        head = _EPB.pack(ENHANCED_PACKET, total, interface, time >> 32, time & 0xFFFFFFFF, kept, original)
        self._sink.write(b"".join((head, data, pad, options, _U32.pack(total))))

    def close(self) -> None:
        """Close what was opened by its path. Twice is harmless."""
        self._sink.close()

    def __enter__(self) -> PcapngWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
