"""An Ethernet switch that learns who is where (IEEE 802.1D section 7: relay, learning, ageing; no spanning tree)."""

from __future__ import annotations

from typing import Final

from plankroad.sim.events import Simulator
from plankroad.sim.pipe import Pipe, Sink
from plankroad.units import SECOND
from plankroad.wire.packet import Packet

#: IEEE 802.1D table 7-5: an entry that was not confirmed for so long is forgotten.
AGEING_TIME: Final = 300 * SECOND

#: IEEE 802.1D table 7-10: frames to 01-80-C2-00-00-00 to -0F stay on their link.
RESERVED_GROUP: Final = b"\x01\x80\xc2\x00\x00"


class Switch(Sink):
    """A switch. `ports` are the pipes out of it; frames that come in by a link have that link's port.

    `table` says by which port an address is reached and until when that is believed. `flooded`: frames that went out by
    all ports but their own. `discarded`: frames that were too short or not to be relayed.
    """

    __slots__ = ("discarded", "flooded", "ports", "sim", "table")

    def __init__(self, sim: Simulator) -> None:
        self.sim = sim
        self.ports: list[Pipe] = []
        self.table: dict[bytes, tuple[int, int]] = {}
        self.flooded: int = 0
        self.discarded: int = 0

    def add_port(self, pipe: Pipe) -> int:
        """A new port, whose frames leave by `pipe`; its number."""
        self.ports.append(pipe)
        return len(self.ports) - 1

    def arrive(self, packet: Packet, port: int) -> None:
        head = packet.head
        if len(head) < 14:
            self.discarded += 1
            return
        dst = head[:6]
        src = head[6:12]
        now = self.sim.now
        if not src[0] & 1:
            self.table[src] = (port, now + AGEING_TIME)
        if dst[0] & 1:
            if dst[:5] == RESERVED_GROUP and dst[5] < 16:
                self.discarded += 1
                return
        else:
            entry = self.table.get(dst)
            if entry is not None and entry[1] > now:
                if entry[0] == port:
                    self.discarded += 1  # both are behind the same port
                else:
                    self.ports[entry[0]].send(packet)
                return
        self.flooded += 1
        for i in range(len(self.ports)):
            if i != port:
                # A pipe owns what it is given.
                copy = Packet(
                    head,
                    b"",
                    0,
                    packet.gso_type,
                    packet.gso_size,
                    packet.csum_start,
                    packet.csum_offset,
                    packet.csum_valid,
                )
                self.ports[i].send(copy)

    def forget(self, port: int) -> None:
        """The link at `port` went down: nobody is known to be there."""
        for address in [address for address, entry in self.table.items() if entry[0] == port]:
            del self.table[address]
