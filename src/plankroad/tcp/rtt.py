"""Round-trip time and the retransmission timeout: RFC 6298, with RFC 7323 appendix G for many samples a round trip."""

from __future__ import annotations

from typing import Final

from plankroad.units import MILLISECOND, NEVER, SECOND

#: G of RFC 6298: what we take for the granularity of a peer's and our own clock.
GRANULARITY: Final = 1 * MILLISECOND

#: For how long the least round trip holds.
MIN_RTT_WINDOW: Final = 300 * SECOND


class RttEstimator:
    """SRTT, RTTVAR and RTO, in nanoseconds. `min_rtt`: the least of the last minutes, NEVER without a sample.

    `strict`: RFC 6298 to the letter, see `TcpConfig.strict_rto`.
    """

    __slots__ = (
        "_min_at",
        "_next_at",
        "_next_min",
        "backoff",
        "base_rto",
        "latest",
        "max_rto",
        "min_rto",
        "min_rtt",
        "rttvar",
        "samples",
        "srtt",
        "strict",
    )

    def __init__(self, initial_rto: int, min_rto: int, max_rto: int, strict: bool = False) -> None:
        self.srtt: int = 0
        self.rttvar: int = 0
        self.latest: int = -1
        self.min_rtt: int = NEVER
        self._min_at: int = 0
        self._next_min: int = NEVER  # the least since the second half of the window began
        self._next_at: int = 0
        self.samples: int = 0
        self.base_rto: int = initial_rto
        self.min_rto: int = min_rto
        self.max_rto: int = max_rto
        self.strict: bool = strict
        self.backoff: int = 0  # how often the timeout was doubled

    def sample(self, now: int, rtt: int, expected_samples: int) -> None:
        """Take a measurement in. `expected_samples`: how many of them a round trip brings (1 without timestamps)."""
        rtt = max(rtt, 1)
        self.latest = rtt
        self.samples += 1
        self._least(now, rtt)
        if self.srtt == 0:
            # RFC 6298 (2.2): "SRTT <- R, RTTVAR <- R/2".
            self.srtt = rtt
            self.rttvar = rtt >> 1
        else:
            # RFC 6298 (2.3) with alpha = 1/8 and beta = 1/4; RFC 7323 appendix G divides both by the expected
            # number of samples, so that the history stays as long as with one sample a round trip.
            n = max(1, expected_samples)
            error = rtt - self.srtt
            deviation = error if error >= 0 else -error
            self.rttvar += (deviation - self.rttvar) // (4 * n)
            self.srtt += error // (8 * n)
        self._set_rto()
        self.backoff = 0

    def restart(self, srtt: int, rttvar: int) -> None:
        """Go on from these (RFC 4015 section 3.3: after a timeout that was a mistake)."""
        self.srtt = srtt
        self.rttvar = rttvar
        self._set_rto()

    def _set_rto(self) -> None:
        if self.strict:
            # RFC 6298 (2.3) and (2.4): "Whenever RTO is computed, if it is less than 1 second, then the RTO SHOULD be
            # rounded up to 1 second."
            least = self.srtt + max(GRANULARITY, 4 * self.rttvar)
            self.base_rto = min(self.max_rto, max(self.min_rto, least))
            return
        # RFC 6298 (2.3): "RTO <- SRTT + max (G, K*RTTVAR)". The lower bound of (2.4) is put on the variance, not on the
        # sum: what it guards against, delayed acknowledgements and the like, comes on top of any round trip. While a
        # queue fills the round trip doubles within one, and a mean of many samples lags behind: the latest counts too.
        srtt = max(self.srtt, self.latest)
        self.base_rto = min(self.max_rto, srtt + max(GRANULARITY, self.min_rto, 4 * self.rttvar))

    def _least(self, now: int, rtt: int) -> None:
        """RFC 8985 section 6.2, step 1: "a windowed min-filtered estimate of recent RTT measurements that can adapt
        when migrating to significantly longer paths".
        """
        if rtt <= self.min_rtt:
            self.min_rtt = rtt
            self._min_at = now
            self._next_min = NEVER
            self._next_at = now
            return
        if rtt <= self._next_min:
            self._next_min = rtt
        if now - self._next_at > MIN_RTT_WINDOW // 2:
            if now - self._min_at > MIN_RTT_WINDOW:
                self.min_rtt = self._next_min
                self._min_at = self._next_at
            self._next_min = rtt
            self._next_at = now

    def rto(self) -> int:
        """The timeout to arm now, backed off (RFC 6298 (5.5)) and bounded."""
        if self.backoff == 0:
            return self.base_rto
        return min(self.max_rto, self.base_rto << min(self.backoff, 30))
