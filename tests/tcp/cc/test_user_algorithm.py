"""An algorithm of the user's own: plain Python, subclassing a class that may be compiled."""

from __future__ import annotations

from plankroad.tcp.cc import LOSS, TIMEOUT, AckSample, CongestionControl, create, names, register

SMSS = 1000


class Delay(CongestionControl):
    """Holds about four segments in the queue of the bottleneck, by delay alone; halves on loss."""

    def __init__(self, smss: int, initial_window: int) -> None:
        super().__init__(smss, initial_window)
        self.queued = 0.0
        self.sent = 0

    def on_sent(self, now: int, nbytes: int, in_flight: int) -> None:
        self.sent += nbytes

    def avoid_congestion(self, sample: AckSample, acked: int) -> None:
        if sample.rtt <= 0 or sample.min_rtt <= 0:
            return
        self.queued = self.cwnd * (1 - sample.min_rtt / sample.rtt)
        if self.queued < 4 * self.smss:
            self.cwnd += self.smss * acked // self.cwnd
        elif self.queued > 5 * self.smss:
            self.cwnd -= self.smss * acked // self.cwnd

    def on_ack(self, sample: AckSample) -> None:
        super().on_ack(sample)
        if sample.srtt:
            self.pacing_rate = self.cwnd * 1_000_000_000 // sample.srtt


class Fixed(CongestionControl):
    """Whole hooks overridden: a constant window."""

    def on_ack(self, sample: AckSample) -> None:
        pass

    def on_congestion(self, now: int, signal: int, in_flight: int) -> None:
        pass


def test_a_user_algorithm_settles_at_its_own_aim() -> None:
    register("test-delay", Delay)
    assert "test-delay" in names()
    cc = create("test-delay", SMSS, 10 * SMSS)
    assert isinstance(cc, Delay)
    cc.ssthresh = 10 * SMSS
    base = 20_000_000
    rate = 1_000_000  # bytes a second: 20 segments fill the pipe, the rest stands in the queue
    now = 0
    for _ in range(200):
        rtt = max(base, cc.cwnd * 1_000_000_000 // rate)
        now += rtt
        for _ in range(cc.cwnd // SMSS):
            cc.on_sent(now, SMSS, cc.cwnd)
            cc.on_ack(AckSample(now=now, acked=SMSS, rtt=rtt, srtt=rtt, min_rtt=base))
    assert 23 * SMSS <= cc.cwnd <= 26 * SMSS
    assert cc.sent > 0
    assert abs(cc.pacing_rate - rate) < rate // 100
    cc.on_congestion(now, LOSS, cc.cwnd)
    assert cc.cwnd <= 13 * SMSS
    cc.on_congestion(now, TIMEOUT, cc.cwnd)
    assert cc.cwnd == SMSS


def test_whole_hooks_can_be_overridden() -> None:
    register("test-fixed", Fixed)
    cc = create("test-fixed", SMSS, 10 * SMSS)
    cc.on_ack(AckSample(acked=SMSS))
    cc.on_congestion(0, TIMEOUT, SMSS)
    assert cc.cwnd == 10 * SMSS
