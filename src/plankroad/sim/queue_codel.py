"""CoDel: controlled delay (RFC 8289).

A good queue absorbs a burst and is empty soon after; a bad one stands. CoDel looks at the time that packets have waited
when they leave: once that has been above a target for a whole interval, it drops a packet, and then more of them at
intervals that shrink with the square root of their number, until the waiting time is below the target.
"""

from __future__ import annotations

from collections import deque
from math import sqrt

from plankroad.compat import mypyc_attr
from plankroad.sim.queue_held import Held, HoldingQueue
from plankroad.units import NEVER

#: RFC 8289 section 4.4: a drop rate that worked is begun with again if dropping begins anew within so many intervals.
MEMORY_INTERVALS = 16


@mypyc_attr(allow_interpreted_subclasses=True)
class CodelFlow:
    """One row of packets under CoDel, part of the queue `owner`; the names are those of RFC 8289 section 5.

    `target`, `interval`: ns. `ecn`: mark instead of drop where the packet allows it. `ce_threshold`: ns; what has
    waited longer is marked in any case (RFC 8290 section 5.2.8), `NEVER` for no such threshold.
    """

    __slots__ = (
        "bytes",
        "ce_threshold",
        "count",
        "drop_next",
        "dropping",
        "ecn",
        "first_above_time",
        "interval",
        "last_count",
        "max_packet",
        "ok_to_drop",
        "owner",
        "target",
        "waiting",
    )

    def __init__(
        self, owner: HoldingQueue, target: int, interval: int, ecn: bool = True, ce_threshold: int = NEVER
    ) -> None:
        if not 0 < target < interval:
            raise ValueError(
                f"{owner.name}: a target of {target} ns and an interval of {interval} ns; the target must be above 0 "
                "and below the interval, which is about the longest round trip (RFC 8289 section 3.2)"
            )
        self.owner = owner
        self.target = target
        self.interval = interval
        self.ecn = ecn
        self.ce_threshold = ce_threshold
        self.waiting: deque[Held] = deque()
        self.bytes: int = 0
        self.max_packet: int = 0  # the largest packet there was
        self.first_above_time: int = (
            0  # when the target will have been exceeded for an interval; 0: it is not exceeded
        )
        self.dropping: bool = False
        self.drop_next: int = 0
        self.count: int = 0  # drops since dropping began
        self.last_count: int = 0  # `count` when dropping began
        self.ok_to_drop: bool = False  # the second answer of `pop`

    def add(self, held: Held) -> None:
        """Put a packet at the end."""
        self.waiting.append(held)
        self.bytes += held.size
        if held.size > self.max_packet:
            self.max_packet = held.size
        self.owner.count_in(held)

    def remove_first(self) -> Held | None:
        """Take the first packet out, whatever it has waited."""
        if not self.waiting:
            return None
        held = self.waiting.popleft()
        self.bytes -= held.size
        self.owner.count_out(held)
        return held

    def take(self, now: int) -> Held | None:
        """The packet to be transmitted next: RFC 8289 section 5.5, the routine dequeue."""
        held = self.pop(now)
        if self.dropping:
            if not self.ok_to_drop:
                self.dropping = False
            # A large backlog may call for drops so close to each other that the next is due now as well.
            while self.dropping and now >= self.drop_next and held is not None:
                self.count += 1
                marked = self.ecn and held.mark()
                if not marked:
                    self.drop(held, now)
                    held = self.pop(now)
                    if not self.ok_to_drop:
                        self.dropping = False
                if self.dropping:
                    self.drop_next = self.control_law(self.drop_next, self.count)
                if marked:
                    break
        elif self.ok_to_drop and held is not None:
            if not (self.ecn and held.mark()):
                self.drop(held, now)
                held = self.pop(now)
            self.dropping = True
            # If dropping ended not long ago, the rate that controlled the queue then is a good one to begin with.
            recent = self.count - self.last_count
            self.count = recent if recent > 1 and now - self.drop_next < MEMORY_INTERVALS * self.interval else 1
            self.drop_next = self.control_law(now, self.count)
            self.last_count = self.count
        if held is not None and now - held.came > self.ce_threshold:
            held.mark()
        return held

    def pop(self, now: int) -> Held | None:
        """The first packet; `ok_to_drop` says whether it may be dropped: section 5.6, the routine dodequeue."""
        self.ok_to_drop = False
        held = self.remove_first()
        if held is None:
            self.first_above_time = 0
            return None
        # A queue of less than one packet is no standing queue, however slow the link is.
        if now - held.came < self.target or self.bytes <= self.max_packet:
            self.first_above_time = 0
        elif self.first_above_time == 0:
            self.first_above_time = now + self.interval
        elif now >= self.first_above_time:
            self.ok_to_drop = True
        return held

    def control_law(self, when: int, count: int) -> int:
        """When the next drop is due: section 4.3."""
        return when + int(self.interval / sqrt(count))

    def drop(self, held: Held, now: int) -> None:
        """Lose a packet that was taken out."""
        self.owner.drop(held, f"waited {(now - held.came) / 1e6:.1f} ms", True)

    def reset(self) -> None:
        """Forget all packets and all that was learnt."""
        self.waiting.clear()
        self.bytes = 0
        self.first_above_time = 0
        self.dropping = False
        self.drop_next = 0
        self.count = 0
        self.last_count = 0


@mypyc_attr(allow_interpreted_subclasses=True)
class CodelQueue(HoldingQueue):
    """A queue under CoDel: one `flow` of all packets. Times in ns."""

    __slots__ = ("flow",)

    def __init__(
        self,
        target: int,
        interval: int,
        max_packets: int = 0,
        max_bytes: int = 0,
        ecn: bool = True,
        ce_threshold: int = NEVER,
    ) -> None:
        super().__init__(max_packets, max_bytes)
        self.name = "CoDel"
        self.flow = CodelFlow(self, target, interval, ecn, ce_threshold)

    def put(self, now: int, held: Held) -> None:
        if self.fits(held.size):
            self.flow.add(held)
        else:
            self.drop(held, "full", False)

    def take(self, now: int) -> Held | None:
        return self.flow.take(now)

    def release(self) -> list[Held]:
        released = list(self.flow.waiting)
        self.flow.reset()
        self.waiting_packets = 0
        self.waiting_bytes = 0
        return released
