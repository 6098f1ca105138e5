"""DCTCP (RFC 8257): answer congestion marks by how many there are. For networks of one hand, as in a data centre.

A queue that marks early (RED with one threshold, say) stays as short as its threshold, and the flows still fill the
link. It needs ECN on both ends, and asks for it, and a receiver that tells of each mark: one with AccECN (RFC 9768)
does, and one that uses DCTCP itself. On a path with other
traffic that answers marks like losses, DCTCP takes more than its share (section 5 of the RFC): do not use it there.
"""

from __future__ import annotations

from typing import Final

from plankroad.compat import mypyc_attr
from plankroad.tcp.cc.base import ECN, AckSample
from plankroad.tcp.cc.newreno import NewReno

#: RFC 8257 section 4.2: the weight of a new window in alpha.
G: Final = 1.0 / 16.0


@mypyc_attr(allow_interpreted_subclasses=True)
class Dctcp(NewReno):
    """`alpha`: the share of marked bytes, smoothed over windows (DCTCP.Alpha). Losses are answered as NewReno does.

    `window_acked` and `window_marked` are bytes of the window of data that goes on.
    """

    __slots__ = ("alpha", "window_acked", "window_marked")

    def __init__(self, smss: int, initial_window: int) -> None:
        super().__init__(smss, initial_window)
        # RFC 8257 section 3.3: 1 at the start: the first mark, in slow start as a rule, halves the window.
        self.alpha: float = 1.0
        self.wants_ecn = True
        self.window_acked: int = 0
        self.window_marked: int = 0

    def on_ack(self, sample: AckSample) -> None:
        if sample.round_start:
            # RFC 8257 section 3.3, steps 5 to 8: once a window of data, M = BytesMarked / BytesAcked,
            # Alpha = Alpha * (1 - g) + g * M.
            if self.window_acked > 0:
                marked = min(self.window_marked / self.window_acked, 1.0)
                self.alpha += G * (marked - self.alpha)
            self.window_acked = 0
            self.window_marked = 0
        self.window_acked += sample.newly_delivered
        self.window_marked += sample.ce_bytes
        super().on_ack(sample)

    def reduced_ssthresh(self, now: int, signal: int, in_flight: int) -> int:
        """RFC 8257 section 3.3, step 9: cwnd = cwnd * (1 - Alpha / 2); section 3.5: losses as conventional TCP."""
        if signal == ECN:
            return int(self.cwnd * (1.0 - self.alpha / 2.0))
        return super().reduced_ssthresh(now, signal, in_flight)
