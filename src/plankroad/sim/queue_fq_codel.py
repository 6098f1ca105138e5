"""FQ-CoDel: a row of packets for each flow, served in turn, and CoDel in each of them (RFC 8290)."""

from __future__ import annotations

from collections import deque
from hashlib import blake2b
from random import Random
from typing import Final

from plankroad.compat import mypyc_attr
from plankroad.sim.queue_codel import CodelFlow
from plankroad.sim.queue_held import Held, HoldingQueue
from plankroad.sim.queue_packet import flow_key
from plankroad.sim.rng import below
from plankroad.units import NEVER

#: RFC 8290 section 4.1: the most packets that are dropped at once.
DROP_BATCH: Final = 64

#: How many flows' numbers are remembered, so that they need not be hashed for each packet.
REMEMBERED: Final = 4096


class FqFlow(CodelFlow):
    """The packets of one flow (or of some whose hashes collide).

    `deficit`: the bytes it may still send in this round (RFC 8290 calls them credits). `listed`: it is among the new or
    the old flows.
    """

    __slots__ = ("deficit", "listed")

    def __init__(self, owner: HoldingQueue, target: int, interval: int, ecn: bool, ce_threshold: int) -> None:
        super().__init__(owner, target, interval, ecn, ce_threshold)
        self.deficit: int = 0
        self.listed: bool = False


@mypyc_attr(allow_interpreted_subclasses=True)
class FqCodelQueue(HoldingQueue):
    """Flows in turn, `quantum` bytes a round; those that were empty till now go first. Times in ns.

    `flow_count`: into how many rows flows are hashed. When there is more than the limits allow, packets at the head of
    the row with most bytes are dropped.
    """

    __slots__ = (
        "ce_threshold",
        "ecn",
        "flow_count",
        "flows",
        "interval",
        "new_flows",
        "numbers",
        "old_flows",
        "quantum",
        "salt",
        "target",
    )

    def __init__(
        self,
        rng: Random,
        target: int,
        interval: int,
        flow_count: int = 1024,
        quantum: int = 1514,
        max_packets: int = 0,
        max_bytes: int = 0,
        ecn: bool = True,
        ce_threshold: int = NEVER,
    ) -> None:
        super().__init__(max_packets, max_bytes)
        self.name = "FQ-CoDel"
        if flow_count < 1 or quantum < 1:
            raise ValueError("FQ-CoDel: at least 1 flow, and a quantum of 1 byte or more")
        CodelFlow(self, target, interval)  # says what is wrong with the times
        self.target = target
        self.interval = interval
        self.flow_count = flow_count
        self.quantum = quantum
        self.ecn = ecn
        self.ce_threshold = ce_threshold
        # RFC 8290 section 4.1.1: the hash is salted with a random number, so that nobody can choose his neighbours.
        self.salt: bytes = below(rng, 1 << 32).to_bytes(4, "big") + below(rng, 1 << 32).to_bytes(4, "big")
        self.numbers: dict[bytes, int] = {}
        self.flows: dict[int, FqFlow] = {}
        self.new_flows: deque[FqFlow] = deque()
        self.old_flows: deque[FqFlow] = deque()

    def flow_of(self, key: bytes) -> FqFlow:
        """The row of packets with this key (see `queue_packet.flow_key`)."""
        number = self.numbers.get(key, -1)
        if number < 0:
            if len(self.numbers) >= REMEMBERED:
                self.numbers.clear()
            hashed = int.from_bytes(blake2b(key, digest_size=8, key=self.salt).digest(), "big")
            number = hashed % self.flow_count
            self.numbers[key] = number
        flow = self.flows.get(number)
        if flow is None:
            flow = FqFlow(self, self.target, self.interval, self.ecn, self.ce_threshold)
            self.flows[number] = flow
        return flow

    def put(self, now: int, held: Held) -> None:
        """RFC 8290 section 4.1."""
        flow = self.flow_of(flow_key(held.packet.head, held.ip_start))
        flow.add(held)
        if not flow.listed:
            flow.listed = True
            flow.deficit = self.quantum
            self.new_flows.append(flow)
        # Section 4.1: half of the packets, 64 at most, are dropped from the head of the row with most bytes,
        # which need not be that of the packet which has just come.
        while self.overfull():
            largest = flow
            for other in self.new_flows:
                if other.bytes > largest.bytes:
                    largest = other
            for other in self.old_flows:
                if other.bytes > largest.bytes:
                    largest = other
            if not self.drop_batch(largest):
                return

    def drop_batch(self, flow: FqFlow) -> bool:
        """Drop the first half of a row's packets; False if it has none."""
        count = min((len(flow.waiting) + 1) // 2, DROP_BATCH)
        for _ in range(count):
            first = flow.remove_first()
            if first is None:
                break
            self.drop(first, "full", False)
        return count > 0

    def take(self, now: int) -> Held | None:
        """RFC 8290 section 4.2."""
        while True:
            fresh = len(self.new_flows) > 0
            rows = self.new_flows if fresh else self.old_flows
            if not rows:
                return None
            flow = rows[0]
            if flow.deficit <= 0:
                flow.deficit += self.quantum
                rows.popleft()
                self.old_flows.append(flow)
                continue
            held = flow.take(now)
            if held is not None:
                flow.deficit -= held.size
                return held
            rows.popleft()
            if fresh:
                # A new flow that is empty waits for its turn among the old ones before it may be new again: otherwise
                # one that sends a packet each time it is empty would starve all others.
                self.old_flows.append(flow)
            else:
                flow.listed = False

    def release(self) -> list[Held]:
        released: list[Held] = []
        for flow in self.flows.values():
            released.extend(flow.waiting)
        released.sort(key=_came)
        self.flows.clear()
        self.new_flows.clear()
        self.old_flows.clear()
        self.waiting_packets = 0
        self.waiting_bytes = 0
        return released


def _came(held: Held) -> int:
    return held.came
