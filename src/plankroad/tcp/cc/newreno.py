"""NewReno: RFC 5681 with appropriate byte counting (RFC 3465) and the milder answer to marks of ABE (RFC 8511)."""

from __future__ import annotations

from plankroad.compat import mypyc_attr
from plankroad.tcp.cc.base import ECN, MAX_CWND, AckSample, CongestionControl


@mypyc_attr(allow_interpreted_subclasses=True)
class NewReno(CongestionControl):
    """Additive increase of one segment a round trip, multiplicative decrease by half."""

    __slots__ = ("bytes_acked",)

    def __init__(self, smss: int, initial_window: int) -> None:
        super().__init__(smss, initial_window)
        #: Bytes acknowledged in congestion avoidance and not yet turned into growth.
        self.bytes_acked: int = 0

    def reduced_ssthresh(self, now: int, signal: int, in_flight: int) -> int:
        """Half of what was in flight, or four fifths after a mark."""
        if signal == ECN and self.cwnd >= self.ssthresh:
            # RFC 8511 section 3: beta_ecn = 0.8, in congestion avoidance: a mark means that the queue is managed and
            # short.
            return in_flight * 4 // 5
        return super().reduced_ssthresh(now, signal, in_flight)

    def avoid_congestion(self, sample: AckSample, acked: int) -> None:
        """RFC 3465 section 2.1: one segment for each cwnd of bytes acknowledged."""
        bytes_acked = self.bytes_acked + acked
        cwnd = self.cwnd
        if bytes_acked >= cwnd:
            # One segment for one ACK at the most; what a giant ACK leaves over counts for one more.
            bytes_acked = min(bytes_acked - cwnd, cwnd)
            self.cwnd = min(cwnd + self.smss, MAX_CWND)
        self.bytes_acked = bytes_acked

    def on_congestion(self, now: int, signal: int, in_flight: int) -> None:
        super().on_congestion(now, signal, in_flight)
        self.bytes_acked = 0
