"""A bottleneck as a fluid: a round trip a step, for what flows do to each other over minutes, in milliseconds."""

from __future__ import annotations

from plankroad.tcp.cc import ECN, LOSS, AckSample, CongestionControl
from plankroad.units import SECOND

#: Acknowledgements a flow gets in a round trip, at the most.
ACKS = 12


class Fluid:
    """Flows share one queue. `rate`: bytes a second. `base`: ns. `limit`: bytes of queue. `mark`: bytes of queue above
    which all is marked, 0 for never. A flow that loses or is marked hears of it once a round trip.
    """

    def __init__(self, rate: int, base: int, limit: int, mark: int = 0) -> None:
        self.rate = rate
        self.base = base
        self.limit = limit
        self.mark = mark
        self.bdp = rate * base // SECOND
        self.now = SECOND
        self.queue = 0
        self.flows: list[CongestionControl] = []
        self.delivered: list[int] = []
        self.active: list[bool] = []

    def join(self, cc: CongestionControl) -> int:
        """A further flow; its number."""
        self.flows.append(cc)
        self.delivered.append(0)
        self.active.append(True)
        # Its first segment has only the queue of the others before it.
        cc.on_ack(AckSample(now=self.now, rtt=self.base + self.queue * SECOND // self.rate))
        return len(self.flows) - 1

    def round(self) -> int:
        """One round trip; how long it was, ns."""
        live = [i for i, active in enumerate(self.active) if active]
        total = sum(self.flows[i].cwnd for i in live)
        self.queue = max(0, total - self.bdp)
        lost = self.queue > self.limit
        self.queue = min(self.queue, self.limit)
        rtt = self.base + self.queue * SECOND // self.rate
        marked = self.mark > 0 and self.queue > self.mark
        for i in live:
            cc = self.flows[i]
            window = cc.cwnd
            acks = max(1, min(ACKS, window // cc.smss))
            for n in range(acks):
                share = window * (n + 1) // acks - window * n // acks
                self.delivered[i] += share
                cc.on_ack(
                    AckSample(
                        now=self.now + rtt * (n + 1) // acks,
                        acked=share,
                        newly_delivered=share,
                        rtt=rtt,
                        srtt=rtt,
                        min_rtt=self.base,
                        prior_in_flight=window,
                        in_flight=window - share,
                        round_start=n == 0,
                        ce_bytes=share if marked else 0,
                    )
                )
                cc.on_sent(self.now + rtt * (n + 1) // acks, share, window)
            if lost:
                cc.on_congestion(self.now + rtt, LOSS, cc.cwnd)
                cc.on_recovery_exit(self.now + rtt)
            elif marked:
                cc.on_congestion(self.now + rtt, ECN, cc.cwnd)
        self.now += rtt
        return rtt

    def run(self, seconds: float) -> list[float]:
        """Go on for so long; each flow's share of the rate in that time, and the last the mean queueing delay in ms."""
        start = self.now
        before = list(self.delivered)
        end = start + int(seconds * SECOND)
        delay = 0.0
        while self.now < end:
            rtt = self.round()
            delay += rtt * (rtt - self.base) / 1e6
        length = self.now - start
        shares = [(d - b) * SECOND / length / self.rate for d, b in zip(self.delivered, before, strict=True)]
        return [*shares, delay / length]
