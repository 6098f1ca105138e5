"""One direction of a link: queue, transmission, the way, faults on it, and the arrival.

Packets take one of two ways through the queue. The fast one decides all that happens to a packet when it comes:
transmission is in order, so when it will be over is known. Where the queue is a `HoldingQueue` a packet is put into it,
and a `Transmitter` takes the next one out each time the link gets free; the rest is decided then.

A packet that is lost on the way travels on as its own ghost: it is told to the observers at the time at which it would
have arrived, among those that do. So a capture shows every packet once, with what became of it, in order of time.
"""

from __future__ import annotations

from collections import deque
from random import Random

from plankroad.compat import mypyc_attr
from plankroad.link.segmentation import segment
from plankroad.sim.events import Event, Simulator
from plankroad.sim.fate import (
    ARRIVED,
    CORRUPTED,
    DUPLICATE,
    LOST_CUT,
    LOST_INVALID,
    LOST_MASK,
    LOST_MTU,
    LOST_NOBODY,
    LOST_QUEUE,
    MARKED,
)
from plankroad.sim.faults import Fault, Transit
from plankroad.sim.pipe_counters import PipeCounters
from plankroad.sim.queue import MARK, REFUSE, REFUSE_EARLY, Queue
from plankroad.sim.queue_held import Held, HoldingQueue
from plankroad.sim.queue_packet import frame_header, ip_start, mark_ce
from plankroad.units import SECOND
from plankroad.wire.packet import Packet


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


class Transmitter(Event):
    """The end of a transmission, where a queue holds packets: the next one's begins."""

    __slots__ = ("pipe",)

    def __init__(self, pipe: Pipe) -> None:
        super().__init__()
        self.pipe = pipe

    def run(self) -> None:
        self.pipe.transmit()


class Pipe(Event):
    """One direction of a link.

    `rate`: bits per second, 0 = no limit; then no packet waits and `queue` is not asked. `delay`: ns from the end of
    the transmission to the arrival. `jitter`: ns by which it varies, both ways, evenly; packets keep their order
    nevertheless, unless `jitter_reorders`. `mtu`: the largest IP packet that is carried. `overhead`: bytes added to
    each packet on the wire, for the transmission time only. `number`: the pipe's in its network, `port`: at its sink.
    `before` are the faults that decide whether, and how often, a packet arrives; `behind` those that each copy meets.
    `down`: the link is cut. `nobody`: there is no one at the other end. Changes act on packets that come afterwards
    (where the queue holds packets: whose transmission begins afterwards), but these two on those that are under way as
    well. `queue` is changed by `set_queue` only; no two pipes have the same.
    """

    __slots__ = (
        "before",
        "behind",
        "busy_until",
        "counters",
        "delay",
        "down",
        "ethernet",
        "holding",
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
        "transmitter",
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
        self.holding: HoldingQueue | None = queue if isinstance(queue, HoldingQueue) else None
        self.transmitter = Transmitter(self)
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
        if size > self.mtu and (not self.ethernet or size > self.mtu + frame_header(packet.head)):
            self.end(packet, now, LOST_MTU, f"{size} bytes, MTU {self.mtu}", 0)
            return
        queue = self.queue
        rate = self.rate
        if queue.holds and (rate or self.on_hold()):
            self._hold(packet, now, size)
            return
        fate = ARRIVED
        departure = now
        if rate:
            queue.depart(now)
            start = self.busy_until if self.busy_until > now else now
            verdict = queue.admit(now, size, start)
            if verdict:
                fate = self._obey(verdict, packet, now)
                if fate & LOST_MASK:
                    return
            departure = start + ((size + self.overhead) * 8 * SECOND + rate - 1) // rate
            self.busy_until = departure
            queue.enter(size, departure)
            if self.queue_observers:
                self._tell_wait(packet, now, start, departure)
        if self.before or self.behind:
            self._through_faults(packet, now, departure, fate)
        else:
            self._travel(packet, now, departure + self.delay, fate, "", False)

    def _obey(self, verdict: int, packet: Packet, now: int) -> int:
        """Mark or lose a packet, as the queue wants it; the packet's fate."""
        if verdict not in (REFUSE, REFUSE_EARLY) and self._mark(packet):
            self.counters.marked += 1
            return MARKED
        if verdict == MARK:
            return ARRIVED
        early = verdict != REFUSE
        if early:
            self.counters.dropped_early += 1
        name = self.queue.name
        self.end(packet, now, LOST_QUEUE, f"{name}: {'early' if early else 'full'}" if name else "", 0)
        return LOST_QUEUE

    def _tell_wait(self, packet: Packet, came: int, begins: int, ends: int) -> None:
        for observer in self.queue_observers:
            observer.waited(self, packet, came, begins, ends)

    # Queues that hold packets

    def _hold(self, packet: Packet, now: int, size: int) -> None:
        """Put a packet into the queue; if the link is free, transmission begins."""
        queue = self.holding
        assert queue is not None
        queue.depart(now)  # a transmission that ends at this very moment makes room, though the next has not begun
        queue.put(now, Held(packet, now, size, ip_start(packet.head, self.ethernet)))
        if queue.dropped:
            self._lose_dropped(queue)
        self._go_on()

    def transmit(self) -> None:
        """The link may be free: begin to transmit what is next in the queue, until it is not."""
        queue = self.holding
        if queue is None:
            return
        now = self.sim.now
        while self.busy_until <= now:
            queue.depart(now)
            held = queue.take(now)
            if queue.dropped:
                self._lose_dropped(queue)
            if held is None:
                return
            rate = self.rate
            departure = now
            if rate:
                departure += ((held.size + self.overhead) * 8 * SECOND + rate - 1) // rate
            self._transmit_held(held, now, departure)
        self._go_on()

    def _go_on(self) -> None:
        """Come back when the link gets free, if anything waits."""
        queue = self.holding
        if queue is None or not queue.waiting_packets:
            return
        if self.busy_until <= self.sim.now:
            self.transmit()
        elif not self.transmitter.order or self.transmitter.when != self.busy_until:
            self.sim.schedule(self.transmitter, self.busy_until)

    def _transmit_held(self, held: Held, begins: int, departure: int) -> None:
        self.busy_until = departure
        self.queue.enter(held.size, departure)
        if held.fate & MARKED:
            self.counters.marked += 1
        if self.queue_observers:
            self._tell_wait(held.packet, held.came, begins, departure)
        if self.before or self.behind:
            self._through_faults(held.packet, held.came, departure, held.fate)
        else:
            self._travel(held.packet, held.came, departure + self.delay, held.fate, "", False)

    def _lose_dropped(self, queue: HoldingQueue) -> None:
        dropped = queue.dropped
        queue.dropped = []
        for held in dropped:
            if held.early:
                self.counters.dropped_early += 1
            self._lose_held(held, LOST_QUEUE)

    def _lose_held(self, held: Held, cause: int) -> None:
        if held.fate & MARKED:
            self.counters.marked += 1
        self.end(held.packet, held.came, held.fate | cause, held.note, 0)

    def set_queue(self, queue: Queue) -> None:
        """Let another queue stand before the link. What waits goes on waiting in it, as far as it takes it.

        A queue that decides at arrival takes all of it. Raises ValueError for a queue that another pipe uses.
        """
        old = self.queue
        if queue is old:
            return
        new_holding = queue if isinstance(queue, HoldingQueue) else None
        if queue.leaving or (new_holding is not None and new_holding.waiting_packets):
            raise ValueError("a queue that is in use cannot be that of another pipe; make one for each")
        now = self.sim.now
        waiting: list[Held] = [] if self.holding is None else self.holding.release()
        old.depart(now)
        queue.leaving.extend(old.leaving)
        queue.queued_bytes = old.queued_bytes
        old.clear()
        self.queue = queue
        self.holding = new_holding
        if new_holding is not None:
            for held in waiting:
                new_holding.put(now, held)
            if new_holding.dropped:
                self._lose_dropped(new_holding)
            self._go_on()
            return
        self.sim.cancel(self.transmitter)
        for held in waiting:
            begins = self.busy_until if self.busy_until > now else now
            rate = self.rate
            departure = begins
            if rate:
                departure += ((held.size + self.overhead) * 8 * SECOND + rate - 1) // rate
            self._transmit_held(held, begins, departure)

    # The way

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
            if arrival < sim.now:
                arrival = sim.now
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
        if fate or self.nobody:
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
        waiting: list[Held] = []
        if self.holding is not None:
            waiting = self.holding.release()
            sim.cancel(self.transmitter)
        self.queue.clear()
        self.busy_until = sim.now
        self.last_arrival = sim.now
        for place in sorted(lost):
            packet, sent, fate, note = lost[place]
            if not fate & LOST_MASK:
                fate |= LOST_CUT
            self.end(packet, sent, fate, note, place)
        for held in waiting:
            self._lose_held(held, LOST_CUT)

    def heal(self) -> None:
        """Carry packets again."""
        self.down = False

    def on_the_way(self) -> int:
        """Packets that have come and not arrived, those that will be lost included."""
        return len(self.row) + len(self.stragglers) + self.on_hold()

    def on_hold(self) -> int:
        """Packets that a queue holds, and whose transmission has not begun."""
        return 0 if self.holding is None else self.holding.waiting_packets

    def backlog(self, now: int) -> tuple[int, int]:
        """Packets and bytes in the queue at `now`, the packet in transmission included."""
        queue = self.queue
        queue.depart(now)
        holding = self.holding
        if holding is None:
            return len(queue.leaving), queue.queued_bytes
        return len(queue.leaving) + holding.waiting_packets, queue.queued_bytes + holding.waiting_bytes

    def _mark(self, packet: Packet) -> bool:
        """Set congestion experienced, where the packet's sender takes part (RFC 3168 section 5); False otherwise."""
        start = ip_start(packet.head, self.ethernet)
        return start >= 0 and mark_ce(packet, start)
