"""What a link counts."""

from __future__ import annotations


class LinkCounters:
    """Counts of one link since it was opened. "rx" is from the network to the stack, "tx" the other way.

    `*_packets`, `*_bytes`: packets that passed, a super-segment being one, and their bytes from the first header on.
    `*_super_segments`: how many of them stood for several packets.
    `*_dropped`: lost for want of room. `*_errors`: lost because they were refused, too large or not understood.
    `rx_batches`: calls of `receive` that returned something; `rx_packets / rx_batches` is the packets a wake-up.
    `tx_refused`: calls of `send` that answered False; the packet was offered again, so nothing was lost.
    `tx_cut`: super-segments cut in software. `tx_completed`: checksums completed in software.
    """

    __slots__ = (
        "rx_batches",
        "rx_bytes",
        "rx_dropped",
        "rx_errors",
        "rx_packets",
        "rx_super_segments",
        "tx_bytes",
        "tx_completed",
        "tx_cut",
        "tx_dropped",
        "tx_errors",
        "tx_packets",
        "tx_refused",
        "tx_super_segments",
    )

    def __init__(self) -> None:
        self.rx_packets: int = 0
        self.rx_bytes: int = 0
        self.rx_super_segments: int = 0
        self.rx_batches: int = 0
        self.rx_dropped: int = 0
        self.rx_errors: int = 0
        self.tx_packets: int = 0
        self.tx_bytes: int = 0
        self.tx_super_segments: int = 0
        self.tx_cut: int = 0
        self.tx_completed: int = 0
        self.tx_refused: int = 0
        self.tx_dropped: int = 0
        self.tx_errors: int = 0

    def as_dict(self) -> dict[str, int]:
        """Every count by its name."""
        return {
            "rx_packets": self.rx_packets,
            "rx_bytes": self.rx_bytes,
            "rx_super_segments": self.rx_super_segments,
            "rx_batches": self.rx_batches,
            "rx_dropped": self.rx_dropped,
            "rx_errors": self.rx_errors,
            "tx_packets": self.tx_packets,
            "tx_bytes": self.tx_bytes,
            "tx_super_segments": self.tx_super_segments,
            "tx_cut": self.tx_cut,
            "tx_completed": self.tx_completed,
            "tx_refused": self.tx_refused,
            "tx_dropped": self.tx_dropped,
            "tx_errors": self.tx_errors,
        }
