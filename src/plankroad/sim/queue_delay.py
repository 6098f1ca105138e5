"""How long packets wait before a link: count, mean, maximum and percentiles, in a fixed amount of memory.

    delay = link.direction(server).measure_queue()
    net.run(main(), host=client)
    print(delay.mean() / 1e6, delay.percentile(95) / 1e6, delay.maximum / 1e6)  # milliseconds

The delay of a packet is the time from its coming to the beginning of its transmission: what RFC 8289 section 3.1 calls
the sojourn time. Packets that the queue dropped have none; see `sim.pipe_counters.PipeCounters` for them.
"""

from __future__ import annotations

from typing import Final

from plankroad.compat import mypyc_attr
from plankroad.sim.pipe import Pipe, QueueObserver
from plankroad.wire.packet import Packet

#: Each doubling of the delay is divided into so many buckets, so that a percentile is off by less than 1 in 128.
BUCKET_BITS: Final = 7
BUCKETS_PER_DOUBLING: Final = 1 << BUCKET_BITS


@mypyc_attr(allow_interpreted_subclasses=True)
class QueueDelay(QueueObserver):
    """The delays of all packets since it was made or `reset`, in nanoseconds.

    `count` packets, the `total` of their delays, the largest (`maximum`), and how many bytes there were (`bytes`).
    """

    __slots__ = ("buckets", "bytes", "count", "maximum", "total")

    def __init__(self) -> None:
        self.count: int = 0
        self.total: int = 0
        self.maximum: int = 0
        self.bytes: int = 0
        self.buckets: dict[int, int] = {}

    def waited(self, pipe: Pipe, packet: Packet, came: int, begins: int, ends: int) -> None:
        self.add(begins - came)
        self.bytes += len(packet.head)

    def add(self, delay: int) -> None:
        """Count one packet that waited `delay` ns."""
        self.count += 1
        self.total += delay
        if delay > self.maximum:
            self.maximum = delay
        # The leading bits of the delay and how many were left out: exact below 128 ns, then in steps that double.
        shift = delay.bit_length() - BUCKET_BITS - 1
        bucket = delay if shift <= 0 else (shift << BUCKET_BITS) + (delay >> shift)
        buckets = self.buckets
        if bucket in buckets:
            buckets[bucket] += 1
        else:
            buckets[bucket] = 1

    def reset(self) -> None:
        """Begin anew, for example when a connection has left slow start."""
        self.count = 0
        self.total = 0
        self.maximum = 0
        self.bytes = 0
        self.buckets.clear()

    def mean(self) -> float:
        """The mean of all packets; 0 where there were none."""
        return self.total / self.count if self.count else 0.0

    def percentile(self, share: float) -> int:
        """The least delay that `share` % of the packets (0 to 100) did not exceed, to within 1 in 128; 0 for none.

        Raises ValueError for a share that is not within 0 and 100.
        """
        if not 0 <= share <= 100:
            raise ValueError(f"a percentile is a number from 0 to 100, not {share}")
        left = share * self.count / 100
        for bucket in sorted(self.buckets):
            left -= self.buckets[bucket]
            if left <= 0:
                return min(_upper_end(bucket), self.maximum)
        return self.maximum


def _upper_end(bucket: int) -> int:
    """The largest delay that falls into a bucket."""
    shift = (bucket >> BUCKET_BITS) - 1
    if shift <= 0:
        return bucket
    return (((bucket - (shift << BUCKET_BITS)) + 1) << shift) - 1
