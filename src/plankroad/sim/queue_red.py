"""RED: random early detection (Floyd and Jacobson 1993), with the gentle variant and ECN.

The average of the queue's length tells of congestion that lasts. While it is between two thresholds, packets are
dropped, or marked, at random, the more the longer it is, and spread evenly rather than in clusters.
"""

from __future__ import annotations

from random import Random

from plankroad.compat import mypyc_attr
from plankroad.sim.queue import ADMIT, MARK_OR_REFUSE, REFUSE, REFUSE_EARLY, Queue, check_limits


@mypyc_attr(allow_interpreted_subclasses=True)
class RedQueue(Queue):
    """A queue under RED. The numbers are those of the paper's section 4.

    `min_threshold`, `max_threshold` (min_th, max_th): of the average, in packets, or in bytes with `by_bytes`.
    `weight` (w_q): of the current length in the average. `max_probability` (max_p): at max_th. `gentle`: from there on
    the probability rises to 1 at twice max_th (Floyd 2000); without it all packets are dropped at once.
    `mean_packet`: bytes, for how many packets could have left while the queue was empty.
    The probability does not depend on a packet's size (RFC 7141 section 2.2).
    `average`: what it is now. `count`: packets since the last that was dropped or marked.
    """

    __slots__ = (
        "average",
        "by_bytes",
        "count",
        "ecn",
        "gentle",
        "last_leaves",
        "max_bytes",
        "max_packets",
        "max_probability",
        "max_threshold",
        "mean_packet",
        "min_threshold",
        "rng",
        "start",
        "typical_time",
        "weight",
    )

    def __init__(
        self,
        rng: Random,
        min_threshold: int,
        max_threshold: int,
        by_bytes: bool = False,
        max_packets: int = 0,
        max_bytes: int = 0,
        weight: float = 0.002,
        max_probability: float = 0.1,
        gentle: bool = True,
        ecn: bool = True,
        mean_packet: int = 1000,
    ) -> None:
        super().__init__()
        check_limits(max_packets, max_bytes)
        if not 0 < min_threshold < max_threshold:
            raise ValueError(f"RED: thresholds of {min_threshold} and {max_threshold}; it is 0 < min < max")
        if not 0 < weight <= 1 or not 0 < max_probability <= 1:
            raise ValueError("RED: weight and probability are numbers above 0 and up to 1")
        if mean_packet < 1:
            raise ValueError("RED: a mean packet has 1 byte or more")
        self.name = "RED"
        self.rng = rng
        self.min_threshold = min_threshold
        self.max_threshold = max_threshold
        self.by_bytes = by_bytes
        self.max_packets = max_packets
        self.max_bytes = max_bytes
        self.weight = weight
        self.max_probability = max_probability
        self.gentle = gentle
        self.ecn = ecn
        self.mean_packet = mean_packet
        self.average: float = 0.0
        self.count: int = -1
        self.start: int = 0  # when the transmission of the packet that is asked for would begin
        self.last_leaves: int = 0  # when the last packet's transmission ends: then the queue is empty
        self.typical_time: int = 0  # the paper's s: the transmission time of a mean packet, ns; 0: not known yet

    def admit(self, now: int, size: int, start: int) -> int:
        self.start = start
        packets = len(self.leaving)
        length = self.queued_bytes if self.by_bytes else packets
        if packets:
            self.average += self.weight * (length - self.average)
        elif self.typical_time:
            # The queue was empty: as if so many small packets had found it so.
            self.average *= power(1.0 - self.weight, (now - self.last_leaves) // self.typical_time)
        if self.max_packets and packets >= self.max_packets:
            self.count = 0
            return REFUSE
        if self.max_bytes and packets and self.queued_bytes + size > self.max_bytes:
            self.count = 0
            return REFUSE
        average = self.average
        if average < self.min_threshold:
            self.count = -1
            return ADMIT
        probability = self.probability(average)
        if probability >= 1.0:
            self.count = 0
            return REFUSE_EARLY
        self.count += 1
        # Section 4: p_a = p_b / (1 - count * p_b), so that the gaps between drops are even.
        left = 1.0 - self.count * probability
        if left > probability:
            chance: float = self.rng.random()
            if chance * left >= probability:
                return ADMIT
        self.count = 0
        # RFC 3168 section 19.1: the router should drop rather than mark packets that arrive while the average exceeds
        # the maximum threshold.
        return MARK_OR_REFUSE if self.ecn and average <= self.max_threshold else REFUSE_EARLY

    def probability(self, average: float) -> float:
        """The paper's p_b for an average of min_th or more: the chance of a drop or mark before it is spread."""
        low = self.min_threshold
        high = self.max_threshold
        if average <= high:
            return self.max_probability * (average - low) / (high - low)
        if not self.gentle:
            return 1.0
        return self.max_probability + (1.0 - self.max_probability) * (average - high) / high

    def enter(self, size: int, leaves: int) -> None:
        super().enter(size, leaves)
        self.last_leaves = leaves
        if size:
            self.typical_time = (leaves - self.start) * self.mean_packet // size

    def clear(self) -> None:
        super().clear()
        self.average = 0.0
        self.count = -1
        self.last_leaves = 0
        self.typical_time = 0


def power(base: float, exponent: int) -> float:
    """`base` to an `exponent` of 0 or more, by multiplication alone: the same on every machine."""
    result = 1.0
    while exponent > 0:
        if exponent & 1:
            result *= base
        base *= base
        exponent >>= 1
    return result
