"""One direction of a link: queue, transmission, the way, faults on it, and the arrival.

All that happens to a packet is decided when it comes (transmission is in order, so when it will be over is known), but
a packet that is lost on the way travels on as its own ghost: it is told to the observers at the time at which it would
have arrived, among those that do. So a capture shows every packet once, with what became of it, in order of time.
"""

from __future__ import annotations

from collections import deque
from random import Random
from typing import Final

from plankroad.compat import mypyc_attr
from plankroad.link.segmentation import segment
from plankroad.sim.events import Event, Simulator
from plankroad.sim.fate import (
    ARRIVED,
    CORRUPTED,
    DUPLICATE,
    LOST_BURST,
    LOST_CUT,
    LOST_INVALID,
    LOST_MASK,
    LOST_MTU,
    LOST_NOBODY,
    LOST_QUEUE,
    LOST_RANDOM,
    LOST_RULE,
    MARKED,
)
from plankroad.sim.faults import Fault, Transit
from plankroad.sim.queue import MARK, REFUSE, Queue
from plankroad.units import SECOND
from plankroad.wire.checksum import update
from plankroad.wire.packet import Packet

#: The Ethernet header, which an MTU does not count, and that of one 802.1Q tag.
ETHERNET_HEADER: Final = 14
VLAN_TAG: Final = 4

#: RFC 3168 section 5: the two bits of the traffic class that tell of congestion.
ECN_MASK: Final = 0x03
ECN_CE: Final = 0x03


@mypyc_attr(allow_interpreted_subclasses=True)
class Sink:
    """Where a pipe ends: a host, a router, a switch."""

    __slots__ = ()

    def arrive(self, packet: Packet, port: int) -> None:
        """Take a packet that has arrived at `port`: the sink owns it from now on."""
        raise NotImplementedError


@mypyc_attr(allow_interpreted_subclasses=True)
class Observer:
    """Is told of every packet when it arrives or is lost."""

    __slots__ = ()

    def packet(self, pipe: Pipe, now: int, sent: int, packet: Packet, fate: int, note: str) -> None:
        """`packet` came to `pipe` at `sent`, and at `now` `fate` (see `sim.fate`) is accomplished.

        The packet may hold a partial checksum. It must not be changed and not be kept: its bytes may be.
        """
        raise NotImplementedError


@mypyc_attr(allow_interpreted_subclasses=True)
class QueueObserver:
    """Is told how long each packet waited before a pipe with a rate; see `sim.queue_delay.QueueDelay` for one."""

    __slots__ = ()

    def waited(self, pipe: Pipe, packet: Packet, came: int, begins: int, ends: int) -> None:
        """`packet` came at `came`; its transmission begins at `begins` and ends at `ends` (ns).

        Told as soon as that is certain, in order of transmission: when the packet comes where the queue decides then,
        and when its transmission begins where the queue holds packets. The packet must not be changed and not be kept.
        """
        raise NotImplementedError


class PipeCounters:
    """Counts of one direction.

    `packets`, `bytes`: what came to be sent (a super-segment counts as the packets it is cut into).
    `arrived`, `arrived_bytes`: what got to the other end, copies and damaged packets included.
    `lost_*`: by cause. `corrupted`, `duplicated`, `marked`: what was done to packets. `reordered`: packets that arrived
    after one that was sent later.
    """

    __slots__ = (
        "arrived",
        "arrived_bytes",
        "bytes",
        "corrupted",
        "duplicated",
        "lost_burst",
        "lost_cut",
        "lost_invalid",
        "lost_mtu",
        "lost_nobody",
        "lost_queue",
        "lost_random",
        "lost_rule",
        "marked",
        "packets",
        "reordered",
    )

    def __init__(self) -> None:
        self.packets: int = 0
        self.bytes: int = 0
        self.arrived: int = 0
        self.arrived_bytes: int = 0
        self.lost_random: int = 0
        self.lost_burst: int = 0
        self.lost_queue: int = 0
        self.lost_cut: int = 0
        self.lost_mtu: int = 0
        self.lost_rule: int = 0
        self.lost_invalid: int = 0
        self.lost_nobody: int = 0
        self.corrupted: int = 0
        self.duplicated: int = 0
        self.reordered: int = 0
        self.marked: int = 0

    def lose(self, cause: int) -> None:
        """Count a loss."""
        if cause == LOST_RANDOM:
            self.lost_random += 1
        elif cause == LOST_BURST:
            self.lost_burst += 1
        elif cause == LOST_QUEUE:
            self.lost_queue += 1
        elif cause == LOST_CUT:
            self.lost_cut += 1
        elif cause == LOST_MTU:
            self.lost_mtu += 1
        elif cause == LOST_RULE:
            self.lost_rule += 1
        elif cause == LOST_NOBODY:
            self.lost_nobody += 1
        else:
            self.lost_invalid += 1

    def lost(self) -> int:
        """All losses."""
        return (
            self.lost_random
            + self.lost_burst
            + self.lost_queue
            + self.lost_cut
            + self.lost_mtu
            + self.lost_rule
            + self.lost_invalid
            + self.lost_nobody
        )

    def as_dict(self) -> dict[str, int]:
        """Every count by its name."""
        return {
            "packets": self.packets,
            "bytes": self.bytes,
            "arrived": self.arrived,
            "arrived_bytes": self.arrived_bytes,
            "lost_random": self.lost_random,
            "lost_burst": self.lost_burst,
            "lost_queue": self.lost_queue,
            "lost_cut": self.lost_cut,
            "lost_mtu": self.lost_mtu,
            "lost_rule": self.lost_rule,
            "lost_invalid": self.lost_invalid,
            "lost_nobody": self.lost_nobody,
            "corrupted": self.corrupted,
            "duplicated": self.duplicated,
            "reordered": self.reordered,
            "marked": self.marked,
        }


class Straggler(Event):
    """The arrival of one packet that does not keep its place in the row."""

    __slots__ = ("fate", "note", "packet", "pipe", "place", "sent")

    def __init__(self, pipe: Pipe, packet: Packet, sent: int, fate: int, note: str, place: int) -> None:
        super().__init__()
        self.pipe = pipe
        self.packet = packet
        self.sent = sent
        self.fate = fate
        self.note = note
        self.place = place

    def run(self) -> None:
        del self.pipe.stragglers[self.place]
        self.pipe.end(self.packet, self.sent, self.fate, self.note, self.place)


class Pipe(Event):
    """One direction of a link.

    `rate`: bits per second, 0 = no limit; then no packet waits and `queue` is not asked. `delay`: ns from the end of
    the transmission to the arrival. `jitter`: ns by which it varies, both ways, evenly; packets keep their order
    nevertheless, unless `jitter_reorders`. `mtu`: the largest IP packet that is carried. `overhead`: bytes added to
    each packet on the wire, for the transmission time only. `number`: the pipe's in its network, `port`: at its sink.
    `before` are the faults that decide whether, and how often, a packet arrives; `behind` those that each copy meets.
    `down`: the link is cut. `nobody`: there is no one at the other end. Changes act on packets that come afterwards,
    but these two on those that are under way as well.
    """

    __slots__ = (
        "before",
        "behind",
        "busy_until",
        "counters",
        "delay",
        "down",
        "ethernet",
        "jitter",
        "jitter_reorders",
        "jitter_rng",
        "last_arrival",
        "latest_place",
        "mtu",
        "name",
        "nobody",
        "number",
        "observers",
        "overhead",
        "port",
        "queue",
        "queue_observers",
        "rate",
        "row",
        "sim",
        "sink",
        "stragglers",
    )

    def __init__(
        self,
        sim: Simulator,
        name: str,
        number: int,
        sink: Sink,
        port: int,
        jitter_rng: Random,
        queue: Queue,
        mtu: int = 1500,
        rate: int = 0,
        delay: int = 0,
        ethernet: bool = False,
    ) -> None:
        super().__init__()
        self.sim = sim
        self.name = name
        self.number = number
        self.sink = sink
        self.port = port
        self.jitter_rng = jitter_rng
        self.queue = queue
        self.mtu = mtu
        self.rate = rate
        self.delay = delay
        self.ethernet = ethernet
        self.jitter: int = 0
        self.jitter_reorders: bool = False
        self.overhead: int = 0
        self.down: bool = False
        self.nobody: bool = False
        self.before: list[Fault] = []
        self.behind: list[Fault] = []
        self.observers: list[Observer] = []
        self.queue_observers: list[QueueObserver] = []
        self.counters = PipeCounters()
        self.busy_until: int = 0
        self.last_arrival: int = 0
        self.latest_place: int = 0  # the place of the latest of the packets that have arrived
        # What is on the way, in order: (arrival, place, packet, when it came, fate, note). The event is for the first.
        self.row: deque[tuple[int, int, Packet, int, int, str]] = deque()
        self.stragglers: dict[int, Straggler] = {}

    def send(self, packet: Packet) -> None:
        """Take a packet; the pipe owns it from now on. What becomes of it shows at the other end."""
        if packet.gso_type:
            try:
                parts = segment(packet, self.ethernet, packet.csum_start > 0)
            except ValueError:
                self.counters.packets += 1
                self.end(packet, self.sim.now, LOST_INVALID, "a super-segment that cannot be cut", 0)
                return
            for part in parts:
                self._enter(part)
        else:
            self._enter(packet)

    def _enter(self, packet: Packet) -> None:
        sim = self.sim
        now = sim.now
        if packet.payload:
            packet.head = packet.head + packet.payload
            packet.payload = b""
        size = len(packet.head)
        counters = self.counters
        counters.packets += 1
        counters.bytes += size
        if self.down:
            self.end(packet, now, LOST_CUT, "", 0)
            return
        if size > self.mtu and (not self.ethernet or size > self.mtu + self._frame_header(packet.head)):
            self.end(packet, now, LOST_MTU, f"{size} bytes, MTU {self.mtu}", 0)
            return
        fate = ARRIVED
        departure = now
        rate = self.rate
        if rate:
            queue = self.queue
            queue.depart(now)
            start = self.busy_until if self.busy_until > now else now
            verdict = queue.admit(now, size, start)
            if verdict == REFUSE:
                self.end(packet, now, LOST_QUEUE, "", 0)
                return
            if verdict == MARK and self._mark(packet):
                fate = MARKED
                counters.marked += 1
            departure = start + ((size + self.overhead) * 8 * SECOND + rate - 1) // rate
            self.busy_until = departure
            queue.enter(size, departure)
            if self.queue_observers:
                for observer in self.queue_observers:
                    observer.waited(self, packet, now, start, departure)
        if self.before or self.behind:
            self._through_faults(packet, now, departure, fate)
        else:
            self._travel(packet, now, departure + self.delay, fate, "", False)

    def _through_faults(self, packet: Packet, now: int, departure: int, fate: int) -> None:
        transit = Transit(packet, fate)
        for fault in self.before:
            fault.apply(now, transit)
        copies = transit.copies
        lost = transit.fate & LOST_MASK != 0
        arrival = departure + self.delay + transit.extra
        original = transit.packet
        first_note = transit.note
        first_fate = transit.fate
        first_overtaken = transit.overtaken
        self._last_stretch(transit, now, arrival)
        if lost:
            return
        for _ in range(copies):
            self.counters.duplicated += 1
            copy = Packet(
                original.head,
                b"",
                original.interface,
                0,
                0,
                original.csum_start,
                original.csum_offset,
                original.csum_valid,
            )
            other = Transit(copy, first_fate | DUPLICATE)
            other.note = first_note
            other.exempt = transit.exempt
            other.overtaken = first_overtaken
            self._last_stretch(other, now, arrival)

    def _last_stretch(self, transit: Transit, now: int, arrival: int) -> None:
        transit.extra = 0
        for fault in self.behind:
            fault.apply(now, transit)
        self._travel(transit.packet, now, arrival + transit.extra, transit.fate, transit.note, transit.overtaken)

    def _travel(self, packet: Packet, now: int, arrival: int, fate: int, note: str, overtaken: bool) -> None:
        """Put the packet on the way."""
        sim = self.sim
        if self.jitter:
            jitter: float = self.jitter_rng.random()
            arrival += int((2.0 * jitter - 1.0) * self.jitter)
            if arrival < now:
                arrival = now
        place = sim.last_order + 1
        sim.last_order = place
        if overtaken or self.jitter_reorders:
            straggler = Straggler(self, packet, now, fate, note, place)
            self.stragglers[place] = straggler
            sim.schedule_as(straggler, arrival, place)
            return
        if arrival < self.last_arrival:
            arrival = self.last_arrival
        else:
            self.last_arrival = arrival
        row = self.row
        if not row:
            sim.schedule_as(self, arrival, place)
        row.append((arrival, place, packet, now, fate, note))

    def run(self) -> None:
        """The first of the row arrives."""
        row = self.row
        _, place, packet, sent, fate, note = row.popleft()
        if row:
            following = row[0]
            self.sim.schedule_as(self, following[0], following[1])
        self.end(packet, sent, fate, note, place)

    def end(self, packet: Packet, sent: int, fate: int, note: str, place: int) -> None:
        """It is decided: the packet is lost, or it arrives."""
        counters = self.counters
        if fate & CORRUPTED:
            counters.corrupted += 1
        if self.nobody and not fate & LOST_MASK:
            fate |= LOST_NOBODY
        if fate & LOST_MASK:
            counters.lose(fate & LOST_MASK)
            self._tell(packet, sent, fate, note)
            return
        if place < self.latest_place:
            counters.reordered += 1
        else:
            self.latest_place = place
        # Before the packet is handed over: its new owner may change it, and what it does comes later.
        if self.observers:
            self._tell(packet, sent, fate, note)
        counters.arrived += 1
        counters.arrived_bytes += len(packet.head)
        self.sink.arrive(packet, self.port)

    def _tell(self, packet: Packet, sent: int, fate: int, note: str) -> None:
        now = self.sim.now
        for observer in self.observers:
            observer.packet(self, now, sent, packet, fate, note)

    def cut(self) -> None:
        """Carry nothing more; what waits or is under way is lost."""
        if self.down:
            return
        self.down = True
        sim = self.sim
        sim.cancel(self)
        lost: dict[int, tuple[Packet, int, int, str]] = {}
        for entry in self.row:
            lost[entry[1]] = (entry[2], entry[3], entry[4], entry[5])
        for place, straggler in self.stragglers.items():
            sim.cancel(straggler)
            lost[place] = (straggler.packet, straggler.sent, straggler.fate, straggler.note)
        self.row.clear()
        self.stragglers.clear()
        self.queue.clear()
        self.busy_until = sim.now
        self.last_arrival = sim.now
        for place in sorted(lost):
            packet, sent, fate, note = lost[place]
            if not fate & LOST_MASK:
                fate |= LOST_CUT
            self.end(packet, sent, fate, note, place)

    def heal(self) -> None:
        """Carry packets again."""
        self.down = False

    def on_the_way(self) -> int:
        """Packets that have come and not arrived, those that will be lost included."""
        return len(self.row) + len(self.stragglers)

    def backlog(self, now: int) -> tuple[int, int]:
        """Packets and bytes in the queue at `now`, the packet in transmission included."""
        queue = self.queue
        queue.depart(now)
        return len(queue.leaving), queue.queued_bytes

    def _frame_header(self, frame: bytes) -> int:
        """The bytes of Ethernet header that come on top of the MTU."""
        length = ETHERNET_HEADER
        while len(frame) >= length and (frame[length - 2] << 8 | frame[length - 1]) in (0x8100, 0x88A8):
            length += VLAN_TAG
        return length

    def _mark(self, packet: Packet) -> bool:
        """Set congestion experienced in an IP packet whose sender takes part (RFC 3168 section 5); False otherwise."""
        head = packet.head
        start = self._frame_header(head) if self.ethernet else 0
        if start and (len(head) < start or (head[start - 2] << 8 | head[start - 1]) not in (0x0800, 0x86DD)):
            return False
        if len(head) < start + 20:
            return False
        old = head[start] << 8 | head[start + 1]
        version = old >> 12
        if version == 4:
            if old & ECN_MASK == 0:
                return False
            new = old | ECN_CE
            check = update(head[start + 10] << 8 | head[start + 11], old, new)
            packet.head = (
                head[:start]
                + new.to_bytes(2, "big")
                + head[start + 2 : start + 10]
                + check.to_bytes(2, "big")
                + head[start + 12 :]
            )
            return True
        # RFC 8200 section 3: the traffic class lies 4 bits after the start.
        if version == 6 and (old >> 4) & ECN_MASK:
            packet.head = head[:start] + (old | ECN_CE << 4).to_bytes(2, "big") + head[start + 2 :]
            return True
        return False
