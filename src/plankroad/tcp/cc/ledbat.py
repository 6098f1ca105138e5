"""LEDBAT (RFC 6817): background transport, which uses what others leave and gets out of their way.

It adds no more than `target` of queueing delay, so that a flow which fills the queue further drives it down to its
smallest window. What RFC 6817 leaves open is taken from its successor, draft-irtf-iccrg-ledbat-plus-plus ("LEDBAT++"
below): the round-trip time as the measure, a gain that keeps it weaker than TCP where the queue is shorter than the
target, a decrease in proportion to the window and regular slowdowns, without which the flow that came last wins.
"""

from __future__ import annotations

from typing import Final

from plankroad.compat import mypyc_attr
from plankroad.tcp.cc.base import INITIAL_SSTHRESH, MAX_CWND, AckSample, CongestionControl
from plankroad.units import MILLISECOND, NEVER, SECOND

#: RFC 6817 section 3.3: "TARGET MUST be 100 milliseconds or less". LEDBAT++ section 4.1 has 60 ms.
TARGET: Final = 60 * MILLISECOND
#: RFC 6817 section 2.4.2: ALLOWED_INCREASE and MIN_CWND, segments.
ALLOWED_INCREASE: Final = 1
MIN_CWND: Final = 2
#: RFC 6817 section 2.4.2: the base delay is the smallest of the last BASE_HISTORY minutes.
BASE_HISTORY: Final = 10
HISTORY_STEP: Final = 60 * SECOND
#: The current delay is the smallest of so many samples (CURRENT_FILTER).
CURRENT_FILTER: Final = 4
#: LEDBAT++ section 4.2: GAIN = 1 / min (16, CEIL (2 * TARGET / base)).
MAX_GAIN_DIVISOR: Final = 16
#: LEDBAT++ section 4.4: a slowdown keeps cwnd at its least for two round trips, and after it there is none for nine
#: times as long as it took.
SLOWDOWN_ROUNDS: Final = 2
SLOWDOWN_PAUSE: Final = 9


@mypyc_attr(allow_interpreted_subclasses=True)
class Ledbat(CongestionControl):
    """`target`: the queueing delay to add, ns, up to 100 ms. A subclass that sets another one can be registered.

    `base_delay`: the shortest round trip of the last ten minutes; `queue_delay`: what the newest ones are above it.
    """

    __slots__ = (
        "base_delay",
        "base_history",
        "credit",
        "current",
        "current_at",
        "frozen_until",
        "history_at",
        "next_slowdown",
        "queue_delay",
        "slowdown_at",
        "target",
    )

    def __init__(self, smss: int, initial_window: int) -> None:
        # RFC 6817 section 2.4.2: INIT_CWND is two segments.
        super().__init__(smss, min(initial_window, 2 * smss))
        self.target: int = TARGET
        self.base_delay: int = NEVER
        self.base_history: list[int] = []
        self.history_at: int = 0
        self.current: list[int] = []
        self.current_at: int = 0
        self.queue_delay: int = 0
        # Growth below one byte that is still owed.
        self.credit: float = 0.0
        self.frozen_until: int = NEVER
        self.slowdown_at: int = NEVER
        self.next_slowdown: int = NEVER

    # --- delay -----------------------------------------------------------------------------------------------------

    def measure(self, now: int, rtt: int) -> None:
        """RFC 6817 section 2.4.2, update_base_delay and update_current_delay."""
        history = self.base_history
        if not history or now - self.history_at >= HISTORY_STEP:
            self.history_at = now
            history.append(rtt)
            if len(history) > BASE_HISTORY:
                del history[0]
            self.base_delay = min(history)
        elif rtt < history[-1]:
            history[-1] = rtt
            self.base_delay = min(self.base_delay, rtt)
        current = self.current
        if len(current) < CURRENT_FILTER:
            current.append(rtt)
        else:
            current[self.current_at] = rtt
            self.current_at = (self.current_at + 1) % CURRENT_FILTER
        self.queue_delay = min(current) - self.base_delay

    def gain(self) -> float:
        """LEDBAT++ section 4.2; RFC 6817 section 2.4.2 asks for no more than 1."""
        base = self.base_delay
        if base <= 0 or base == NEVER:
            return 1.0
        return 1.0 / min(MAX_GAIN_DIVISOR, -(-2 * self.target // base))

    # --- hooks -----------------------------------------------------------------------------------------------------

    def on_established(self, now: int, rtt: int) -> None:
        if rtt > 0:
            self.measure(now, rtt)

    def on_ack(self, sample: AckSample) -> None:
        now = sample.now
        if sample.rtt > 0:
            self.measure(now, sample.rtt)
        if self.frozen_until != NEVER:
            if now < self.frozen_until:
                return
            self.frozen_until = NEVER
        if self.slowdown_at != NEVER and self.cwnd >= self.ssthresh:
            # The window is what it was: that was the slowdown.
            self.next_slowdown = now + SLOWDOWN_PAUSE * (now - self.slowdown_at)
            self.slowdown_at = NEVER
        elif now >= self.next_slowdown and not sample.in_recovery:
            self.slow_down(now, sample.srtt)
            return
        super().on_ack(sample)

    def slow_down(self, now: int, srtt: int) -> None:
        """LEDBAT++ section 4.4: let the queue drain, so that everyone who shares it sees the delay of the bare path."""
        self.next_slowdown = NEVER
        self.slowdown_at = now
        self.frozen_until = now + SLOWDOWN_ROUNDS * srtt
        self.ssthresh = max(self.cwnd, 2 * self.smss)
        self.cwnd = min(self.cwnd, MIN_CWND * self.smss)

    def slow_start(self, sample: AckSample, acked: int) -> int:
        """LEDBAT++ section 4.3: as TCP's, with the gain; the first one ends where the delay is 3/4 of the target."""
        if self.ssthresh == INITIAL_SSTHRESH and 4 * self.queue_delay > 3 * self.target:
            self.ssthresh = max(self.cwnd, 2 * self.smss)
            self.timeout_slow_start = False
            return 0
        grown = acked * self.gain() + self.credit
        whole = int(grown)
        self.credit = grown - whole
        return super().slow_start(sample, whole)

    def avoid_congestion(self, sample: AckSample, acked: int) -> None:
        """LEDBAT++ section 4.2: in a round trip by GAIN segments up, and by (delay / target - 1) of the window down.

        RFC 6817 section 2.4.2 goes up and down by GAIN * off_target: there flows with the same delay keep what they
        have, be it ever so different.
        """
        if self.next_slowdown == NEVER and self.slowdown_at == NEVER:
            # LEDBAT++ section 4.4: the first slowdown comes two round trips after the first slow start.
            self.next_slowdown = sample.now + SLOWDOWN_ROUNDS * sample.srtt
        cwnd = self.cwnd
        smss = self.smss
        acked = min(acked, cwnd)
        change = self.gain() * acked * smss / cwnd + self.credit
        excess = self.queue_delay / self.target - 1.0
        if excess > 0.0:
            change -= min(excess, 0.5) * acked
        whole = int(change)
        self.credit = change - whole
        if whole > 0:
            # "max_allowed_cwnd = flightsize + ALLOWED_INCREASE * MSS"
            allowed = max(cwnd, sample.prior_in_flight + ALLOWED_INCREASE * smss)
            self.cwnd = min(cwnd + whole, allowed, MAX_CWND)
        else:
            self.cwnd = max(cwnd + whole, min(cwnd, MIN_CWND * smss))
            self.ssthresh = max(min(self.ssthresh, self.cwnd), 2 * smss)

    def on_congestion(self, now: int, signal: int, in_flight: int) -> None:
        # A slowdown that meets congestion is over.
        if self.slowdown_at != NEVER:
            self.next_slowdown = now + SLOWDOWN_PAUSE * (now - self.slowdown_at)
            self.slowdown_at = NEVER
        self.frozen_until = NEVER
        super().on_congestion(now, signal, in_flight)
