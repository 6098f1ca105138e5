"""What was sent again, and whether it had to be: read from the packets at the bottleneck, by one ruler for all stacks.

A sender's own counters say what it believes. Here every data segment that comes to the bottleneck is known with its
fate. A segment is a retransmission if a byte of it was sent before, and spurious if every such byte had been sent
before in a segment that arrived (or was on its way and then did): sending it again helped nobody.

Theory of operation. Per flow: `cum`, below which every byte has arrived; above it pieces, disjoint and in order, each
of which has arrived or has not. Packets are told when they arrive or are lost, so the order may be another than that
of sending: a packet held back by the network is told after its own retransmission. A piece that has not arrived
therefore keeps the times at which its lost copies were sent; those sent later than the copy that arrives in the end
were spurious. (One that was held back for longer than it took to lose a second copy and to deliver a third counts one
too few.)
"""

from __future__ import annotations

from typing import Final

from plankroad.sim.fate import CORRUPTED, DUPLICATE, LOST_MASK
from plankroad.sim.pipe import Observer, Pipe
from plankroad.wire.packet import Packet

_HALF: Final = 1 << 31
_WHOLE: Final = 1 << 32

_TCP: Final = 6
_SYN: Final = 0x02


class Piece:
    """Bytes from `start` to `end` of which all or none arrived; `lost`: when those copies were sent that did not."""

    __slots__ = ("arrived", "end", "lost", "start")

    def __init__(self, start: int, end: int, arrived: bool) -> None:
        self.start = start
        self.end = end
        self.arrived = arrived
        self.lost: list[int] = []


class FlowMeter:
    """One direction of one connection. `segments` with data, their `octets` of data; of these sent before:
    `retransmitted` segments, `retransmitted_octets`, and `spurious` segments.

    `source`, `source_port`, `destination`, `destination_port`: whose it is.
    """

    __slots__ = (
        "base",
        "cum",
        "destination",
        "destination_port",
        "octets",
        "pieces",
        "retransmitted",
        "retransmitted_octets",
        "segments",
        "source",
        "source_port",
        "spurious",
        "top",
    )

    def __init__(self, source: bytes, source_port: int, destination: bytes, destination_port: int) -> None:
        self.source = source
        self.source_port = source_port
        self.destination = destination
        self.destination_port = destination_port
        self.segments: int = 0
        self.octets: int = 0
        self.retransmitted: int = 0
        self.retransmitted_octets: int = 0
        self.spurious: int = 0
        # Unwrapped: the first byte of data, the end of what arrived without a gap, the end of what was seen.
        self.base: int = -1
        self.cum: int = 0
        self.top: int = 0
        self.pieces: list[Piece] = []

    def begin(self, seq: int) -> None:
        """The first byte of data has the sequence number `seq` (32 bits)."""
        # Far from zero, so that what is unwrapped stays positive.
        self.base = seq + _WHOLE
        self.cum = self.top = self.base

    def segment(self, seq: int, length: int, sent: int, arrived: bool) -> None:
        """`length` bytes of data from `seq` (32 bits) on were sent at `sent`, and arrived or did not."""
        if self.base < 0:
            self.begin(seq)
        top = self.top
        offset = (seq - top) & 0xFFFFFFFF
        start = top + (offset if offset < _HALF else offset - _WHOLE)
        end = start + length
        self.segments += 1
        self.octets += length
        if start == top:
            # What nearly every segment is: the next.
            self.top = end
            if not arrived:
                piece = Piece(start, end, False)
                piece.lost.append(sent)
                self.pieces.append(piece)
            elif self.cum == start:
                self.cum = end
            elif self.pieces and self.pieces[-1].arrived and self.pieces[-1].end == start:
                self.pieces[-1].end = end
            else:
                self.pieces.append(Piece(start, end, True))
            return
        self._again(start, end, sent, arrived)

    def _again(self, start: int, end: int, sent: int, arrived: bool) -> None:
        """A segment that is not the next: in part or whole seen before, or in front of others on the way."""
        seen = 0  # bytes of it that were seen before
        needless = 0  # and had arrived
        at = start
        if at < self.cum:
            upto = min(end, self.cum)
            seen = needless = upto - at
            at = upto
        pieces = self.pieces
        i = self._find(at)
        while at < end:
            if i == len(pieces) or pieces[i].start >= end:
                self._insert(i, at, end, sent, arrived)
                break
            piece = pieces[i]
            if at < piece.start:
                self._insert(i, at, piece.start, sent, arrived)
                at = piece.start
                i += 1
                continue
            # Cut the piece to what the segment covers of it.
            if piece.start < at:
                i += 1
                self._split(i - 1, at)
                continue
            if piece.end > end:
                self._split(i, end)
            length = piece.end - piece.start
            seen += length
            if piece.arrived:
                needless += length
            elif arrived:
                self._arrives(piece, sent)
            else:
                piece.lost.append(sent)
            at = piece.end
            i += 1
        if end > self.top:
            self.top = end
        if seen:
            self.retransmitted += 1
            self.retransmitted_octets += seen
            if needless == seen:
                self.spurious += 1
        self._tidy(start)

    def _find(self, at: int) -> int:
        """Index of the first piece that ends above `at`."""
        pieces = self.pieces
        low, high = 0, len(pieces)
        while low < high:
            middle = (low + high) >> 1
            if pieces[middle].end <= at:
                low = middle + 1
            else:
                high = middle
        return low

    def _insert(self, i: int, start: int, end: int, sent: int, arrived: bool) -> None:
        piece = Piece(start, end, arrived)
        if not arrived:
            piece.lost.append(sent)
        self.pieces.insert(i, piece)

    def _split(self, i: int, at: int) -> None:
        piece = self.pieces[i]
        rest = Piece(at, piece.end, piece.arrived)
        rest.lost = list(piece.lost)
        piece.end = at
        self.pieces.insert(i + 1, rest)

    def _arrives(self, piece: Piece, sent: int) -> None:
        """The copy sent at `sent` is the first of the piece to arrive."""
        for other in piece.lost:
            if other > sent:
                self.spurious += 1
        piece.lost.clear()
        piece.arrived = True

    def _tidy(self, start: int) -> None:
        """Join what has arrived from about `start` on with its neighbours, and move `cum`."""
        pieces = self.pieces
        i = max(0, self._find(start - 1) - 1)
        while i + 1 < len(pieces) and pieces[i].start < self.top:
            one, other = pieces[i], pieces[i + 1]
            if one.arrived and other.arrived and one.end == other.start:
                one.end = other.end
                del pieces[i + 1]
            elif one.start > start:
                break
            else:
                i += 1
        done = 0
        while done < len(pieces) and pieces[done].arrived and pieces[done].start == self.cum:
            self.cum = pieces[done].end
            done += 1
        if done:
            del pieces[:done]


class Meter(Observer):
    """Watches the bottleneck's pipe for the direction of the data. `flows`: in order of their beginning."""

    __slots__ = ("flows", "table")

    def __init__(self) -> None:
        self.flows: list[FlowMeter] = []
        self.table: dict[bytes, FlowMeter] = {}

    def packet(self, pipe: Pipe, now: int, sent: int, packet: Packet, fate: int, note: str) -> None:
        self.feed(packet.head, sent, fate)

    def feed(self, head: bytes, sent: int, fate: int) -> None:
        """An IP packet came to the bottleneck at `sent`; now its `fate` (see `sim.fate`) is known.

        What is no TCP segment, what the network itself repeated and what it damaged is not looked at.
        """
        if fate & (CORRUPTED | DUPLICATE) or len(head) < 40:
            return
        version = head[0] >> 4
        if version == 4:
            # RFC 791 section 3.1. A fragment is no segment.
            if head[9] != _TCP or (head[6] << 8 | head[7]) & 0x3FFF:
                return
            start = (head[0] & 0x0F) * 4
            end = head[2] << 8 | head[3]
            addresses = head[12:20]
        elif version == 6:
            # RFC 8200 section 3. TCP of these senders follows the header at once.
            if head[6] != _TCP:
                return
            start = 40
            end = 40 + (head[4] << 8 | head[5])
            addresses = head[8:40]
        else:
            return
        if end > len(head) or end < start + 20:
            return
        # RFC 9293 section 3.1
        length = end - start - (head[start + 12] >> 4) * 4
        flags = head[start + 13]
        if length <= 0 and not flags & _SYN:
            return
        key = addresses + head[start : start + 4]
        flow = self.table.get(key)
        if flow is None:
            flow = self._new(key)
        seq = head[start + 4] << 24 | head[start + 5] << 16 | head[start + 6] << 8 | head[start + 7]
        if flags & _SYN:
            seq = (seq + 1) & 0xFFFFFFFF
            if flow.base < 0:
                flow.begin(seq)
        if length > 0:
            flow.segment(seq, length, sent, fate & LOST_MASK == 0)

    def _new(self, key: bytes) -> FlowMeter:
        half = (len(key) - 4) // 2
        ports = key[2 * half :]
        flow = FlowMeter(key[:half], ports[0] << 8 | ports[1], key[half : 2 * half], ports[2] << 8 | ports[3])
        self.table[key] = flow
        self.flows.append(flow)
        return flow

    def of_port(self, source_port: int, source: bytes = b"") -> FlowMeter:
        """The flow that is sent from a port (of `source`, an address in 4 or 16 bytes, where one is given).

        One that was never seen counts nothing.
        """
        for flow in self.flows:
            if flow.source_port == source_port and source in (b"", flow.source):
                return flow
        return FlowMeter(source, source_port, b"", 0)
