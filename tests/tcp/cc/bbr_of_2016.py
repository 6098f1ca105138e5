"""The BBR of 2016 as a neighbour: what Linux's `bbr` is, written from its publications.

Cardwell et al., "BBR: congestion-based congestion control", ACM Queue 14 number 5, and
draft-cardwell-iccrg-bbr-congestion-control-00: it answers neither to losses nor to a queue, has twice the BDP in flight
and drains it for 200 ms each ten seconds.
"""

from __future__ import annotations

from collections import deque

from plankroad.tcp.cc import TIMEOUT, AckSample, CongestionControl, register
from plankroad.units import MILLISECOND, SECOND

NAME = "bbr-2016"

STARTUP, DRAIN, PROBE_BW, PROBE_RTT = range(4)
HIGH_GAIN = 2 / 0.693
CYCLE = (1.25, 0.75, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0)
FILTER_ROUNDS = 10
RTPROP_FILTER = 10 * SECOND
PROBE_RTT_TIME = 200 * MILLISECOND
UNKNOWN = 1 << 60


class RoundMax:
    """The maximum of the last ten rounds."""

    def __init__(self) -> None:
        self.samples: deque[tuple[int, int]] = deque()

    def update(self, value: int, number: int) -> None:
        while self.samples and self.samples[-1][1] <= value:
            self.samples.pop()
        self.samples.append((number, value))
        self.expire(number)

    def expire(self, number: int) -> None:
        while self.samples and self.samples[0][0] <= number - FILTER_ROUNDS:
            self.samples.popleft()

    def best(self) -> int:
        return self.samples[0][1] if self.samples else 0


class BbrOf2016(CongestionControl):
    def __init__(self, smss: int, initial_window: int) -> None:
        super().__init__(smss, initial_window)
        self.uses_prr = False
        self.state = STARTUP
        self.gain = self.cwnd_gain = HIGH_GAIN
        self.bandwidth = RoundMax()
        self.round = 0
        self.next_round = 0
        self.rtprop = UNKNOWN
        self.rtprop_at = 0
        self.full_bandwidth = 0
        self.full_rounds = 0
        self.filled = False
        self.phase = 0
        self.phase_at = 0
        self.probe_rtt_until = 0
        self.probe_rtt_round = 0
        self.saved_cwnd = 0
        self.recovering = False
        self.conserving = False
        self.aggregated = RoundMax()
        self.aggregated_since = 0
        self.aggregated_bytes = 0
        self.send_quantum = 2 * smss

    def target(self, gain: float) -> int:
        if self.rtprop >= UNKNOWN:
            return self.initial_window
        extra = 2 * self.smss if self.state == PROBE_BW and self.phase == 0 else 0
        return int(gain * self.bandwidth.best() * self.rtprop / SECOND) + 3 * self.send_quantum + extra

    def on_established(self, now: int, rtt: int) -> None:
        self.pacing_rate = int(HIGH_GAIN * self.initial_window * SECOND / max(rtt, MILLISECOND))

    def on_ack(self, sample: AckSample) -> None:
        begins = sample.newly_delivered > 0 and sample.prior_delivered >= self.next_round
        if begins:
            self.next_round = sample.delivered
            self.round += 1
            self.conserving = False
        self._measure(sample)
        if self.state == PROBE_BW:
            self._cycle(sample)
        self._fill(sample, begins)
        self._drain_rtt(sample)
        rate = int(self.gain * self.bandwidth.best() * 0.99)
        if rate and (self.filled or rate > self.pacing_rate):
            self.pacing_rate = rate
        self._window(sample)

    def _measure(self, sample: AckSample) -> None:
        if sample.delivery_rate > 0 and (not sample.app_limited or sample.delivery_rate >= self.bandwidth.best()):
            self.bandwidth.update(sample.delivery_rate, self.round)
        self.bandwidth.expire(self.round)
        expected = self.bandwidth.best() * (sample.now - self.aggregated_since) // SECOND
        if self.aggregated_bytes <= expected:
            self.aggregated_bytes = expected = 0
            self.aggregated_since = sample.now
        self.aggregated_bytes += sample.newly_delivered
        self.aggregated.update(min(self.aggregated_bytes - expected, self.cwnd), self.round)

    def _cycle(self, sample: AckSample) -> None:
        over = sample.now - self.phase_at > self.rtprop
        gain = CYCLE[self.phase]
        if gain > 1:
            over = over and (sample.newly_lost > 0 or sample.prior_in_flight >= self.target(gain))
        elif gain < 1:
            over = over or sample.prior_in_flight <= self.target(1)
        if over:
            self.phase = (self.phase + 1) % len(CYCLE)
            self.phase_at = sample.now
        self.gain = CYCLE[self.phase]

    def _fill(self, sample: AckSample, begins: bool) -> None:
        if not self.filled and begins and not sample.app_limited:
            self.full_rounds += 1
            if self.bandwidth.best() >= self.full_bandwidth * 1.25:
                self.full_bandwidth = self.bandwidth.best()
                self.full_rounds = 0
            self.filled = self.full_rounds >= 3
        if self.state == STARTUP and self.filled:
            self.state = DRAIN
            self.gain = 1 / HIGH_GAIN
        if self.state == DRAIN and sample.in_flight <= self.target(1):
            self._probe_bandwidth(sample.now)

    def _drain_rtt(self, sample: AckSample) -> None:
        now = sample.now
        expired = now > self.rtprop_at + RTPROP_FILTER
        if sample.rtt > 0 and (sample.rtt < self.rtprop or expired):
            self.rtprop = sample.rtt
            self.rtprop_at = now
        if expired and self.state != PROBE_RTT:
            self.state = PROBE_RTT
            self.gain = self.cwnd_gain = 1
            self.saved_cwnd = self.cwnd
            self.probe_rtt_until = 0
        if self.state != PROBE_RTT:
            return
        if not self.probe_rtt_until:
            if sample.in_flight <= 4 * self.smss:
                self.probe_rtt_until = now + PROBE_RTT_TIME
                self.probe_rtt_round = self.round
                self.next_round = sample.delivered
        elif self.round > self.probe_rtt_round and now > self.probe_rtt_until:
            self.rtprop_at = now
            self.cwnd = max(self.cwnd, self.saved_cwnd)
            self.state = STARTUP
            self.gain = self.cwnd_gain = HIGH_GAIN
            if self.filled:
                self._probe_bandwidth(now)

    def _probe_bandwidth(self, now: int) -> None:
        self.state = PROBE_BW
        self.phase = 2 + now // 1000 % 6
        self.phase_at = now
        self.gain = CYCLE[self.phase]
        self.cwnd_gain = 2

    def _window(self, sample: AckSample) -> None:
        cwnd = max(self.cwnd - sample.newly_lost, self.smss)
        if sample.in_recovery and not self.recovering:
            self.recovering = self.conserving = True
            self.saved_cwnd = max(self.saved_cwnd, self.cwnd) if self.state == PROBE_RTT else self.cwnd
            self.next_round = sample.delivered
            cwnd = sample.in_flight + sample.newly_delivered
        elif self.recovering and not sample.in_recovery:
            self.recovering = self.conserving = False
            cwnd = max(cwnd, self.saved_cwnd)
        if self.conserving:
            cwnd = max(cwnd, sample.in_flight + sample.newly_delivered)
        else:
            target = self.target(self.cwnd_gain)
            if self.filled:
                cwnd = min(cwnd + sample.newly_delivered, target + self.aggregated.best())
            elif cwnd < target or sample.delivered < self.initial_window:
                cwnd += sample.newly_delivered
            cwnd = max(cwnd, 4 * self.smss)
        self.cwnd = min(cwnd, 4 * self.smss) if self.state == PROBE_RTT else cwnd

    def on_congestion(self, now: int, signal: int, in_flight: int) -> None:
        if signal == TIMEOUT:
            self.saved_cwnd = self.cwnd
            self.cwnd = self.smss

    def on_recovery_exit(self, now: int) -> None:
        """`on_ack` sees it."""

    def on_spurious(self, now: int) -> None:
        """Nothing was taken back but for a round trip."""

    def after_idle(self, now: int, idle_ns: int, rto_ns: int) -> None:
        """The window stays."""

    def on_app_limited(self, now: int, used: int) -> None:
        """The window stays."""


def available() -> None:
    """Make `NAME` a name of an algorithm, in this process."""
    register(NAME, BbrOf2016)
