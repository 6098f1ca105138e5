"""What a capture file holds, whatever its format: interfaces and packets."""

from __future__ import annotations

from typing import Final

# Link types, from the registry at tcpdump.org/linktypes.html.
LINKTYPE_NULL: Final = 0
LINKTYPE_ETHERNET: Final = 1
LINKTYPE_RAW: Final = 101
LINKTYPE_LOOP: Final = 108
LINKTYPE_LINUX_SLL: Final = 113
LINKTYPE_IPV4: Final = 228
LINKTYPE_IPV6: Final = 229
LINKTYPE_LINUX_SLL2: Final = 276

#: Directions; the values are those of the lowest two bits of epb_flags.
UNKNOWN: Final = 0
INBOUND: Final = 1
OUTBOUND: Final = 2


class CaptureError(ValueError):
    """The bytes are not a capture file, or stop being one; the message says where and why."""


class CaptureInterface:
    """An interface of a capture. `snaplen`: at most so many bytes of a packet were kept, 0 = all.

    `units`: ticks a second of its time stamps; `offset`: seconds to add to them. Packets have nanoseconds already.
    """

    __slots__ = ("description", "index", "link_type", "mac", "name", "offset", "snaplen", "units")

    def __init__(
        self,
        index: int,
        link_type: int,
        *,
        name: str = "",
        description: str = "",
        snaplen: int = 0,
        mac: bytes = b"",
        units: int = 1_000_000_000,
        offset: int = 0,
    ) -> None:
        self.index = index
        self.link_type = link_type
        self.name = name
        self.description = description
        self.snaplen = snaplen
        self.mac = mac
        self.units = units
        self.offset = offset

    def __repr__(self) -> str:
        return f"<CaptureInterface {self.index} {self.name!r} link type {self.link_type}>"


class CapturedPacket:
    """A packet of a capture.

    `number`: counted from 1, as Wireshark does. `time`: nanoseconds since the epoch of the capture (1970, or the
    start of a simulation); 0 where the file has none. `data`: the bytes kept; `original_length`: how many there were.
    `direction`: UNKNOWN, INBOUND or OUTBOUND. `comments`: what was noted about it.
    """

    __slots__ = ("comments", "data", "direction", "interface", "number", "original_length", "time")

    def __init__(
        self, number: int, time: int, data: bytes, *, original_length: int, interface: CaptureInterface
    ) -> None:
        self.number = number
        self.time = time
        self.data = data
        self.original_length = original_length
        self.interface = interface
        self.direction = UNKNOWN
        self.comments: list[str] = []

    def __repr__(self) -> str:
        return f"<CapturedPacket {self.number} at {self.time} ns, {self.original_length} bytes>"
