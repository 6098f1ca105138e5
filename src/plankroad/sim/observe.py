"""Those who watch the packets of a network: a hash of all that happens, and counts by name."""

from __future__ import annotations

from hashlib import blake2b

from plankroad.sim.pipe import Observer, Pipe
from plankroad.wire.packet import Packet


class TraceHash(Observer):
    """A hash of every packet's time, link, fate and bytes: equal for two runs if and only if nothing differed.

    Partial checksums are hashed as they travel. `packets` counts what went in.
    """

    __slots__ = ("hasher", "packets")

    def __init__(self) -> None:
        self.hasher = blake2b(digest_size=16)
        self.packets: int = 0

    def packet(self, pipe: Pipe, now: int, sent: int, packet: Packet, fate: int, note: str) -> None:
        self.packets += 1
        head = packet.head
        update = self.hasher.update
        update(
            now.to_bytes(8, "big")
            + sent.to_bytes(8, "big")
            + (pipe.number << 48 | fate << 32 | len(packet)).to_bytes(12, "big")
        )
        update(head)
        if packet.payload:
            update(packet.payload)

    def hexdigest(self) -> str:
        """The hash of what has happened up to now, in 32 hexadecimal digits."""
        return self.hasher.hexdigest()
