"""`Link`: where packets leave the process and come in."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from plankroad.link.counters import LinkCounters
from plankroad.link.segmentation import segment
from plankroad.wire.checksum import complete
from plankroad.wire.packet import Packet

#: The Ethernet header and one 802.1Q tag, which `gso_max_size` and `mtu` do not count.
ETHERNET_OVERHEAD: int = 18


class Link(ABC):
    """One interface's way to the world: a device, a tunnel, a queue in memory.

    `name`: for people and logs. `mtu`: the largest IP packet in bytes, Ethernet header not counted.
    `ethernet`: whether packets are Ethernet frames (then `mac` is the 6-byte address of the stack's end) or IP.
    `tx_csum`: the stack leaves checksums to the link (`Packet.csum_start`), which finishes them or passes them on to
    one who does. `gso_max_size`: the largest IP packet that the stack may give it as a super-segment, 0 for none; the
    link cuts it or passes it on likewise (see `link.segmentation`). They say what pays; any link takes any `Packet`.

    Nothing here blocks. A link with a file descriptor (`fileno`) is watched by the owner of the event loop: readable
    means `receive`, writable means that a refused `send` may be tried again. One without tells by the callback of
    `set_notify`, which stands for both.
    """

    def __init__(
        self,
        name: str,
        mtu: int,
        *,
        ethernet: bool = False,
        mac: bytes = b"",
        tx_csum: bool = False,
        gso_max_size: int = 0,
    ) -> None:
        self.name = name
        self.mtu = mtu
        self.ethernet = ethernet
        self.mac = mac
        self.tx_csum = tx_csum
        self.gso_max_size = gso_max_size
        self.counters = LinkCounters()

    def fileno(self) -> int:
        """The descriptor to watch, or -1 where there is none."""
        return -1

    def set_notify(self, callback: Callable[[], None] | None) -> None:  # noqa: B027
        """Call `callback` when packets wait in `receive`, and when `send` may be tried again after it refused.

        It is called again while packets are left over after a `receive`. It may be called from inside another
        link's `send` or `receive`, so it must only take note (`loop.call_soon`) and not use a link itself.
        """

    @abstractmethod
    def receive(self) -> list[Packet]:
        """What has arrived, a bounded batch, oldest first; empty when nothing has. The caller owns the packets.

        Raises OSError (ENODEV) when the device has gone.
        """

    @abstractmethod
    def send(self, packet: Packet) -> bool:
        """Take `packet`, or answer False when full: the same object is then to be offered again, before any other.

        A packet that is taken may still be lost, as on any network; that is counted and raises nothing.
        """

    @abstractmethod
    def close(self) -> None:
        """Give back what the link holds. Calling it twice is harmless; `receive` then returns nothing."""

    def lower(self, packet: Packet) -> list[Packet]:
        """`packet` as what this link's far end takes: cut where it is too large a super-segment, checksums complete
        where nobody behind the link finishes them. For subclasses; a packet that makes no sense is counted and gives
        none.
        """
        try:
            if packet.gso_type:
                limit = self.gso_max_size + (ETHERNET_OVERHEAD if self.ethernet else 0)
                if self.gso_max_size and self.tx_csum and packet.csum_start and len(packet) <= limit:
                    return [packet]
                parts = segment(packet, self.ethernet, self.tx_csum)
                self.counters.tx_cut += 1
                return parts
            if packet.csum_start and not self.tx_csum:
                packet = complete(packet)
                self.counters.tx_completed += 1
        except ValueError:  # BadPacket, or a checksum field outside of the headers
            self.counters.tx_errors += 1
            return []
        return [packet]
