"""A capture of a simulated network: pcapng, one interface a link, a comment on each packet that met with something."""

from __future__ import annotations

import logging
from collections.abc import Callable

from plankroad.link.capture import CaptureWriter
from plankroad.pcap.records import INBOUND, OUTBOUND
from plankroad.pcap.sink import Target
from plankroad.sim.fate import describe
from plankroad.sim.pipe import Observer, Pipe
from plankroad.wire.packet import Packet

logger = logging.getLogger("plankroad")


class NetworkCapture(CaptureWriter):
    """What `Network.capture` returns. Once it is closed the network goes on without it."""

    def __init__(self, target: Target, *, comment: str = "") -> None:
        super().__init__(target, comment=comment)
        self.on_close: Callable[[], None] | None = None

    def close(self) -> None:
        if self.on_close is not None:
            self.on_close()
        super().close()


class CaptureObserver(Observer):
    """Writes each packet when it arrives, or when it is lost: what is lost on the way, when it would have arrived.

    The interface of a link is seen from the link's first end: what goes to the second is outbound.
    A capture that cannot be written (disk full) stops with a warning in the log; `failed` is the reason.
    """

    def __init__(self, writer: CaptureWriter) -> None:
        self.writer = writer
        self.failed: OSError | ValueError | None = None
        self._interfaces: dict[int, tuple[int, int]] = {}
        self._pipes: list[Pipe] = []

    def add_link(self, name: str, first: str, second: str, there: Pipe, back: Pipe) -> None:
        """Describe a link between the nodes `first` and `second`, and watch it."""
        index = self.writer.add_interface(
            name, ethernet=there.ethernet, description=f"simulated link, seen from {first}; outbound is to {second}"
        )
        self._interfaces[there.number] = (index, OUTBOUND)
        self._interfaces[back.number] = (index, INBOUND)
        for pipe in (there, back):
            self._pipes.append(pipe)
            pipe.observers = [*pipe.observers, self]

    def detach(self) -> None:
        """Watch no link any more."""
        for pipe in self._pipes:
            pipe.observers = [observer for observer in pipe.observers if observer is not self]
        self._pipes.clear()

    def packet(self, pipe: Pipe, now: int, sent: int, packet: Packet, fate: int, note: str) -> None:
        index, direction = self._interfaces[pipe.number]
        try:
            self.writer.write(now, index, packet, describe(fate, note), direction)
        except (OSError, ValueError) as error:
            self.failed = error
            logger.warning("the capture of the simulated network ends here: %s", error)
            self.detach()
