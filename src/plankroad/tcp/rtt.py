"""Round-trip time and the retransmission timeout: RFC 6298, with RFC 7323 appendix G for many samples a round trip."""

from __future__ import annotations

from typing import Final

from plankroad.units import MILLISECOND, NEVER

#: G of RFC 6298: what we take for the granularity of a peer's and our own clock.
GRANULARITY: Final = 1 * MILLISECOND


class RttEstimator:
    """SRTT, RTTVAR and RTO, in nanoseconds."""

    __slots__ = ("backoff", "base_rto", "latest", "max_rto", "min_rto", "min_rtt", "rttvar", "samples", "srtt")

    def __init__(self, initial_rto: int, min_rto: int, max_rto: int) -> None:
        self.srtt: int = 0
        self.rttvar: int = 0
        self.latest: int = -1
        self.min_rtt: int = NEVER
        self.samples: int = 0
        self.base_rto: int = initial_rto
        self.min_rto: int = min_rto
        self.max_rto: int = max_rto
        self.backoff: int = 0  # how often the timeout was doubled

    def sample(self, rtt: int, expected_samples: int) -> None:
        """Take a measurement in. `expected_samples`: how many of them a round trip brings (1 without timestamps)."""
        rtt = max(rtt, 1)
        self.latest = rtt
        self.samples += 1
        self.min_rtt = min(self.min_rtt, rtt)
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
        # RFC 6298 (2.3): "RTO <- SRTT + max (G, K*RTTVAR)".
        self.base_rto = max(self.min_rto, min(self.max_rto, self.srtt + max(GRANULARITY, 4 * self.rttvar)))
        self.backoff = 0

    def rto(self) -> int:
        """The timeout to arm now, backed off (RFC 6298 (5.5)) and bounded."""
        if self.backoff == 0:
            return self.base_rto
        return min(self.max_rto, self.base_rto << min(self.backoff, 30))
