"""Captures of links: what goes through a `Link`, or through a simulated network, as pcapng.

Packets are written as they are handed over: a super-segment is one large packet in the capture, as in a capture on
Linux with offloads, and a partial checksum is finished in the copy that is written.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType

from plankroad.link.base import Link
from plankroad.pcap.pcapng_writer import PcapngWriter
from plankroad.pcap.records import INBOUND, LINKTYPE_ETHERNET, LINKTYPE_RAW, OUTBOUND, UNKNOWN
from plankroad.pcap.sink import Target
from plankroad.wire.checksum import complete
from plankroad.wire.packet import Packet


class CaptureWriter:
    """A pcapng file of one or many links.

    `snaplen`: keep so many bytes of a packet, 0 = all. `time_offset`: nanoseconds added to every time, to bring a
    clock that starts at 0 to a date. `packets`: how many were written.
    """

    def __init__(self, target: Target, *, snaplen: int = 0, time_offset: int = 0, comment: str = "") -> None:
        """`target`: a path or a binary file object. Raises OSError where it cannot be written."""
        self.snaplen = snaplen
        self.time_offset = time_offset
        self.packets = 0
        self._file = PcapngWriter(target, comment=comment)
        self._by_name: dict[str, int] = {}

    def add_interface(self, name: str, *, ethernet: bool = False, description: str = "", mac: bytes = b"") -> int:
        """Describe a link; its number, which `write` takes as well as its name. ValueError if the name is taken."""
        if name in self._by_name:
            raise ValueError(f"the capture has an interface {name!r} already")
        index = self._file.add_interface(
            name,
            LINKTYPE_ETHERNET if ethernet else LINKTYPE_RAW,
            snaplen=self.snaplen,
            description=description,
            mac=mac,
        )
        self._by_name[name] = index
        return index

    def write(
        self, now: int, interface: int | str, packet: Packet | bytes, comment: str = "", direction: int = UNKNOWN
    ) -> None:
        """`packet` passed `interface` at `now` (nanoseconds). A name not yet described becomes a link of IP packets.

        `comment`: what befell it; "dropped: " and the reason where it was not delivered, "damaged: " where its bytes
        were changed. `direction`: `pcap.INBOUND` or `OUTBOUND`, as the interface's owner sees it. Raises OSError
        where the file cannot be written.
        """
        if isinstance(interface, str):
            index = self._by_name.get(interface, -1)
            if index < 0:
                index = self.add_interface(interface)
        else:
            index = interface
        if isinstance(packet, Packet):
            if packet.csum_start:
                try:
                    packet = complete(packet)
                except ValueError:
                    # Its checksum field is not where it is said to be: shown as it is.
                    comment = comment or "the checksum field lies outside of the headers"
            data = packet.to_bytes()
        else:
            data = packet
        self._file.write(now + self.time_offset, index, data, comment=comment, direction=direction)
        self.packets += 1

    def close(self) -> None:
        """End the capture. Twice is harmless."""
        self._file.close()

    def __enter__(self) -> CaptureWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class CaptureLink(Link):
    """A link with a tap: everything that comes in or is taken for sending is written to `writer`.

    `clock`: nanoseconds for the time stamps; by default the time of day. Several links may share a writer.
    A capture that cannot be written (disk full) stops, with the reason in `failed`; the packets go on.
    """

    def __init__(self, link: Link, writer: CaptureWriter, *, clock: Callable[[], int] = time.time_ns) -> None:
        """`writer` stays the caller's to close. ValueError if it has an interface of this name."""
        super().__init__(
            link.name,
            link.mtu,
            ethernet=link.ethernet,
            mac=link.mac,
            tx_csum=link.tx_csum,
            gso_max_size=link.gso_max_size,
        )
        self.link = link
        self.counters = link.counters
        self.failed: OSError | ValueError | None = None
        self._writer = writer
        self._clock = clock
        self._index = writer.add_interface(link.name, ethernet=link.ethernet, mac=link.mac)

    def fileno(self) -> int:
        return self.link.fileno()

    def set_notify(self, callback: Callable[[], None] | None) -> None:
        self.link.set_notify(callback)

    def receive(self) -> list[Packet]:
        packets = self.link.receive()
        for packet in packets:
            self._note(packet, INBOUND)
        return packets

    def send(self, packet: Packet) -> bool:
        taken = self.link.send(packet)
        if taken:
            self._note(packet, OUTBOUND)
        return taken

    def close(self) -> None:
        self.link.close()

    def _note(self, packet: Packet, direction: int) -> None:
        if self.failed is None:
            try:
                self._writer.write(self._clock(), self._index, packet, direction=direction)
            except (OSError, ValueError) as error:
                self.failed = error
