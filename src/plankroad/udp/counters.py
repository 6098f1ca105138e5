"""UDP's counters, named after causes. Datagrams unless the name says otherwise."""

from __future__ import annotations

from typing import Final

_NAMES: Final = (
    "received",
    "sent",
    "bytes_received",
    "bytes_sent",
    "bad_header",
    "bad_checksum",
    "no_port",
    "receive_buffer_full",
    "send_buffer_full",
    "too_big",
    "unroutable",
    "icmp_errors",
    "icmp_rejected",
)


class UdpCounters:
    """One a stack, shared by its endpoints.

    `no_port`: nobody listens there. `too_big`, `send_buffer_full`: refused to the program. `unroutable`: the route
    was lost between the program's call and the packet. `icmp_errors`: told to an endpoint; `icmp_rejected`: nobody's.
    """

    __slots__ = (
        "bad_checksum",
        "bad_header",
        "bytes_received",
        "bytes_sent",
        "icmp_errors",
        "icmp_rejected",
        "no_port",
        "receive_buffer_full",
        "received",
        "send_buffer_full",
        "sent",
        "too_big",
        "unroutable",
    )

    def __init__(self) -> None:
        self.received: int = 0
        self.sent: int = 0
        self.bytes_received: int = 0
        self.bytes_sent: int = 0
        self.bad_header: int = 0
        self.bad_checksum: int = 0
        self.no_port: int = 0
        self.receive_buffer_full: int = 0
        self.send_buffer_full: int = 0
        self.too_big: int = 0
        self.unroutable: int = 0
        self.icmp_errors: int = 0
        self.icmp_rejected: int = 0

    def as_dict(self) -> dict[str, int]:
        """Every counter by its name."""
        return {name: getattr(self, name) for name in _NAMES}
