"""Queues before a link: who gets in.

A pipe with a rate sends in order of arrival, so the moment at which a packet's transmission ends is known when it
comes. A queue therefore keeps no packets: it keeps the times at which those in it will have left, and their sizes.
Queues that decide later than that, or change the order, are `sim.queue_held.HoldingQueue`s.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from plankroad.compat import mypyc_attr

#: Answers of `Queue.admit`.
ADMIT: Final = 0
REFUSE: Final = 1
MARK: Final = 2  #: let it in, with congestion experienced set where the packet allows it
REFUSE_EARLY: Final = 3  #: refuse it although there is room
MARK_OR_REFUSE: Final = 4  #: mark it and let it in, or refuse it (early) where it cannot be marked


@mypyc_attr(allow_interpreted_subclasses=True)
class Queue:
    """Decides on each packet that comes to a pipe with a rate. Base of all queues; this one never refuses.

    The packet that is being transmitted counts as in the queue. `name` is that of the discipline, for the notes of
    packets that it drops; empty: such packets have none. `holds`: it is a `HoldingQueue`.
    """

    __slots__ = ("holds", "leaving", "name", "queued_bytes")

    def __init__(self) -> None:
        self.holds: bool = False
        self.name: str = ""
        self.leaving: deque[tuple[int, int]] = deque()  # (when its transmission ends, bytes)
        self.queued_bytes: int = 0

    def admit(self, now: int, size: int, start: int) -> int:
        """What to do with a packet of `size` bytes whose transmission would start at `start`."""
        return ADMIT

    def enter(self, size: int, leaves: int) -> None:
        """A packet was let in; its transmission ends at `leaves`."""
        self.leaving.append((leaves, size))
        self.queued_bytes += size

    def depart(self, now: int) -> None:
        """Forget those whose transmission has ended."""
        leaving = self.leaving
        while leaving:
            first = leaving[0]
            if first[0] > now:
                return
            self.queued_bytes -= first[1]
            leaving.popleft()

    def clear(self) -> None:
        """The link was cut: what waited is lost."""
        self.leaving.clear()
        self.queued_bytes = 0


@mypyc_attr(allow_interpreted_subclasses=True)
class DropTail(Queue):
    """Refuses what does not fit: more than `max_packets` packets or `max_bytes` bytes (0 = no such limit).

    With `mark_packets` or `mark_bytes` above 0 packets that find at least that much before them are marked
    (RFC 3168 section 5; a threshold on the instantaneous length as RFC 8257 section 3.1 wants it).
    """

    __slots__ = ("mark_bytes", "mark_packets", "max_bytes", "max_packets")

    def __init__(self, max_packets: int = 0, max_bytes: int = 0, mark_packets: int = 0, mark_bytes: int = 0) -> None:
        super().__init__()
        check_limits(max_packets, max_bytes)
        check_limits(mark_packets, mark_bytes)
        self.max_packets = max_packets
        self.max_bytes = max_bytes
        self.mark_packets = mark_packets
        self.mark_bytes = mark_bytes

    def admit(self, now: int, size: int, start: int) -> int:
        length = len(self.leaving)
        queued = self.queued_bytes
        if self.max_packets and length >= self.max_packets:
            return REFUSE
        # An empty queue takes any packet: a limit below one packet would be a link that carries nothing.
        if self.max_bytes and length and queued + size > self.max_bytes:
            return REFUSE
        if (self.mark_packets and length >= self.mark_packets) or (self.mark_bytes and queued >= self.mark_bytes):
            return MARK
        return ADMIT


def check_limits(packets: int, size: int) -> None:
    """Raise ValueError for what cannot be a limit."""
    if packets < 0 or size < 0:
        raise ValueError("the limits of a queue are numbers of packets and bytes, 0 for none")
