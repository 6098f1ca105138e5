"""A capture of a simulated network: pcapng, one interface a link, a comment on each packet that met with something."""

from __future__ import annotations

from plankroad.link.capture import CaptureWriter
from plankroad.pcap.records import INBOUND, OUTBOUND
from plankroad.sim.fate import describe
from plankroad.sim.pipe import Observer, Pipe
from plankroad.wire.packet import Packet


class CaptureObserver(Observer):
    """Writes each packet when it arrives, or when it is lost: what is lost on the way, when it would have arrived.

    The interface of a link is seen from the link's first end: what goes to the second is outbound.
    """

    def __init__(self, writer: CaptureWriter) -> None:
        self.writer = writer
        self._interfaces: dict[int, tuple[int, int]] = {}

    def add_link(self, name: str, first: str, second: str, there: Pipe, back: Pipe) -> None:
        """Describe a link between the nodes `first` and `second`, and watch it."""
        index = self.writer.add_interface(
            name, ethernet=there.ethernet, description=f"simulated link, seen from {first}; outbound is to {second}"
        )
        self._interfaces[there.number] = (index, OUTBOUND)
        self._interfaces[back.number] = (index, INBOUND)
        there.observers.append(self)
        back.observers.append(self)

    def packet(self, pipe: Pipe, now: int, sent: int, packet: Packet, fate: int, note: str) -> None:
        index, direction = self._interfaces[pipe.number]
        self.writer.write(now, index, packet, describe(fate, note), direction)
