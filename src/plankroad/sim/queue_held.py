"""Queues that hold packets, and decide when the transmitter takes the next one.

A `Queue` decides on a packet when it comes. Disciplines that look at how long a packet has waited, or that have more
than one row of packets, cannot: a pipe with a `HoldingQueue` puts each packet into it and takes the next one out at the
moment at which the link gets free. `HoldingQueue` itself is a drop-tail FIFO; disciplines override `put` and `take`.
"""

from __future__ import annotations

from collections import deque

from plankroad.compat import mypyc_attr
from plankroad.sim.fate import ARRIVED, MARKED
from plankroad.sim.queue import Queue, check_limits
from plankroad.sim.queue_packet import mark_ce
from plankroad.wire.packet import Packet


class Held:
    """A packet in a queue: when it `came` (ns), its `size` in bytes, where its IP header begins (-1: it has none).

    `fate` and `note` are as in `sim.fate`; `early`: it was dropped although there was room.
    """

    __slots__ = ("came", "early", "fate", "ip_start", "note", "packet", "size")

    def __init__(self, packet: Packet, came: int, size: int, ip_start: int) -> None:
        self.packet = packet
        self.came = came
        self.size = size
        self.ip_start = ip_start
        self.fate: int = ARRIVED
        self.note: str = ""
        self.early: bool = False

    def mark(self) -> bool:
        """Set congestion experienced, if the packet's sender takes part in ECN (RFC 3168 section 5); False if not."""
        if self.ip_start >= 0 and mark_ce(self.packet, self.ip_start):
            self.fate |= MARKED
            return True
        return False


@mypyc_attr(allow_interpreted_subclasses=True)
class HoldingQueue(Queue):
    """A queue that holds its packets: first in, first out, and what does not fit is dropped. Base of such queues.

    `max_packets`, `max_bytes`: limits, 0 = none; the packet in transmission counts, as in every queue.
    `waiting_packets`, `waiting_bytes`: what waits, without the packet in transmission. Whoever overrides `put` and
    `take` keeps them right (`count_in` and `count_out` do) and gives what is lost to `drop`.
    """

    __slots__ = ("dropped", "max_bytes", "max_packets", "waiting", "waiting_bytes", "waiting_packets")

    def __init__(self, max_packets: int = 0, max_bytes: int = 0) -> None:
        super().__init__()
        self.holds = True
        check_limits(max_packets, max_bytes)
        self.max_packets = max_packets
        self.max_bytes = max_bytes
        self.waiting: deque[Held] = deque()
        self.waiting_packets: int = 0
        self.waiting_bytes: int = 0
        self.dropped: list[Held] = []  # for the pipe, which empties it after each call

    def put(self, now: int, held: Held) -> None:
        """Take a packet in, or drop it (or others)."""
        if not self.fits(held.size):
            self.drop(held, "full", False)
            return
        self.count_in(held)
        self.waiting.append(held)

    def take(self, now: int) -> Held | None:
        """The packet to be transmitted next, None where there is none. May drop packets."""
        waiting = self.waiting
        if not waiting:
            return None
        held = waiting.popleft()
        self.count_out(held)
        return held

    def release(self) -> list[Held]:
        """Give all packets away, in the order in which they came; nothing waits afterwards."""
        released = list(self.waiting)
        self.waiting.clear()
        self.waiting_packets = 0
        self.waiting_bytes = 0
        return released

    def clear(self) -> None:
        super().clear()
        self.release()

    def fits(self, size: int) -> bool:
        """Whether there is room for a packet of `size` bytes."""
        packets = self.waiting_packets + len(self.leaving)
        if self.max_packets and packets >= self.max_packets:
            return False
        # An empty queue takes any packet: a limit below one packet would be a link that carries nothing.
        return not self.max_bytes or not packets or self.waiting_bytes + self.queued_bytes + size <= self.max_bytes

    def overfull(self) -> bool:
        """Whether there is more than fits, for queues that take a packet first and drop then."""
        packets = self.waiting_packets + len(self.leaving)
        if self.max_packets and packets > self.max_packets:
            return True
        return self.max_bytes > 0 and packets > 1 and self.waiting_bytes + self.queued_bytes > self.max_bytes

    def count_in(self, held: Held) -> None:
        """A packet begins to wait."""
        self.waiting_packets += 1
        self.waiting_bytes += held.size

    def count_out(self, held: Held) -> None:
        """A packet waits no more."""
        self.waiting_packets -= 1
        self.waiting_bytes -= held.size

    def drop(self, held: Held, why: str, early: bool) -> None:
        """Lose a packet that does not wait (any more). `early`: not because the queue was full."""
        held.note = f"{self.name}: {why}" if self.name else ""
        held.early = early
        self.dropped.append(held)
