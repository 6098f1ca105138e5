"""`Packet`: what goes between a stack and a link, with what each may leave for the other to do."""

from __future__ import annotations

from typing import Final

# The values are virtio-net's (Virtual I/O Device specification 1.2, section 5.1.6), so a TUN link passes them on.
GSO_NONE: Final = 0
GSO_TCPV4: Final = 1
GSO_TCPV6: Final = 4
GSO_UDP_L4: Final = 5


class Packet:
    """One packet (an IP packet, or an Ethernet frame on an Ethernet link), whole or a super-segment.

    `head`: the headers, or everything. A received packet has all of its bytes here and an empty `payload`.
    `payload`: what follows `head`; kept apart so that a vectored write needs no copy.
    `gso_type`, `gso_size`: `GSO_NONE` and 0, or the kind of super-segment and the payload bytes of each segment it
    is to be cut into (the last may be shorter).
    `csum_start`, `csum_offset`: 0 and 0 where the transport checksum is complete. Otherwise it is partial: the
    16 bits at `csum_start + csum_offset` hold the folded pseudo-header sum, not complemented, and whoever puts the
    packet on a wire must finish it over all bytes from `csum_start` (an offset from the start of `head`).
    `csum_valid`: on receive, the link vouches for the transport checksum; it is not verified again. A packet with
    a partial checksum needs no verification either.
    `interface`: index of the stack's interface it leaves by (set by the stack) or came in by.
    """

    __slots__ = (
        "csum_offset",
        "csum_start",
        "csum_valid",
        "gso_size",
        "gso_type",
        "head",
        "interface",
        "payload",
    )

    def __init__(
        self,
        head: bytes,
        payload: bytes = b"",
        interface: int = 0,
        gso_type: int = GSO_NONE,
        gso_size: int = 0,
        csum_start: int = 0,
        csum_offset: int = 0,
        csum_valid: bool = False,
    ) -> None:
        self.head = head
        self.payload = payload
        self.interface = interface
        self.gso_type = gso_type
        self.gso_size = gso_size
        self.csum_start = csum_start
        self.csum_offset = csum_offset
        self.csum_valid = csum_valid

    def __len__(self) -> int:
        return len(self.head) + len(self.payload)

    def to_bytes(self) -> bytes:
        """All bytes in one object; a partial checksum stays partial (see `wire.checksum.complete`)."""
        return self.head + self.payload if self.payload else self.head
