"""Vegas: keep two to four segments in the queue of the bottleneck, by the round-trip time alone.

L. S. Brakmo, L. L. Peterson, "TCP Vegas: End to End Congestion Avoidance on a Global Internet", IEEE Journal on
Selected Areas in Communications 13 (8), 1995. Short queues where all flows are like it; beside loss-based flows it gets
little, for it takes their queue for its own.
"""

from __future__ import annotations

from typing import Final

from plankroad.compat import mypyc_attr
from plankroad.tcp.cc.base import MAX_CWND, AckSample, CongestionControl
from plankroad.units import NEVER

#: Section 3.2 of the paper: fewer segments than ALPHA in the queue: grow; more than BETA: shrink.
ALPHA: Final = 2
BETA: Final = 4
#: Section 3.3: more than GAMMA in the queue ends slow start.
GAMMA: Final = 1


@mypyc_attr(allow_interpreted_subclasses=True)
class Vegas(CongestionControl):
    """One decision a round trip. `base_rtt`: the shortest round trip seen; `last_rtt`: that at the end of the last one,
    the least of three samples, of which `newer_rtt` and `older_rtt` are the latest. Nanoseconds, NEVER where unknown.
    """

    __slots__ = ("base_rtt", "doubling", "due", "last_rtt", "newer_rtt", "older_rtt")

    def __init__(self, smss: int, initial_window: int) -> None:
        super().__init__(smss, initial_window)
        self.base_rtt: int = NEVER
        self.last_rtt: int = NEVER
        self.newer_rtt: int = NEVER
        self.older_rtt: int = NEVER
        # A round trip is over and nothing was decided yet.
        self.due: bool = False
        self.doubling: bool = True

    def on_established(self, now: int, rtt: int) -> None:
        # The handshake has seen the path without our own data in its queue.
        if rtt > 0:
            self.base_rtt = min(self.base_rtt, rtt)

    def on_ack(self, sample: AckSample) -> None:
        rtt = sample.rtt
        if rtt > 0:
            self.base_rtt = min(self.base_rtt, rtt)
            if sample.round_start:
                # The paper's distinguished segment: sent when the round trip began, acknowledged now. The least of the
                # samples of the whole round trip would say how the queue was when it began.
                self.last_rtt = min(rtt, self.newer_rtt, self.older_rtt)
                self.due = True
            self.older_rtt = self.newer_rtt
            self.newer_rtt = rtt
        super().on_ack(sample)

    def queued(self) -> int:
        """Bytes that stood in the queue in the last round trip: (Expected - Actual) * BaseRTT; -1 where unknown."""
        rtt = self.last_rtt
        if rtt == NEVER:
            return -1
        return self.cwnd * (rtt - self.base_rtt) // rtt

    def slow_start(self, sample: AckSample, acked: int) -> int:
        """Doubles every other round trip, so that there is a steady one to measure; ends when a queue stands."""
        if self.due:
            self.due = False
            queued = self.queued()
            # Pairs of segments leave at once, so that one stands behind the other without a queue.
            if queued > (GAMMA + 1) * self.smss and not self.doubling:
                # The window goes back to what fills the path, and a segment.
                self.cwnd = max(self.cwnd - queued + self.smss, 2 * self.smss)
                self.ssthresh = self.cwnd
                self.timeout_slow_start = False
                return 0
            if queued >= 0:
                self.doubling = not self.doubling
        if not self.doubling:
            return 0
        return super().slow_start(sample, acked)

    def avoid_congestion(self, sample: AckSample, acked: int) -> None:
        if not self.due:
            return
        self.due = False
        queued = self.queued()
        smss = self.smss
        if queued < 0:
            return
        if queued < ALPHA * smss:
            self.cwnd = min(self.cwnd + smss, MAX_CWND)
        elif queued > BETA * smss:
            self.cwnd = max(self.cwnd - smss, 2 * smss)
            # Slow start is not to take it back.
            self.ssthresh = min(self.ssthresh, self.cwnd)
