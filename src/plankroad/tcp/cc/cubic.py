"""CUBIC (RFC 9438), with HyStart++ (RFC 9406) in the first slow start.

Windows are kept in bytes here and times in nanoseconds; the RFC's formulas in segments and seconds carry over with
`smss` put in where a segment stands. Section numbers below are RFC 9438's.
"""

from __future__ import annotations

import math
from typing import Final

from plankroad.compat import mypyc_attr
from plankroad.tcp.cc.base import ECN, MAX_CWND, TIMEOUT, AckSample, CongestionControl
from plankroad.tcp.cc.hystart import CONSERVATIVE, CSS_GROWTH_DIVISOR, DONE, HyStart
from plankroad.units import NEVER

#: Section 4.1.1: aggressiveness, segments a second cubed (section 5 sets it).
C: Final = 0.4
#: Section 4.6: multiplicative decrease.
BETA: Final = 0.7
#: RFC 8511 section 3: beta_ecn, the decrease on a congestion mark, with ALPHA as it is.
BETA_ECN: Final = 0.85
#: Section 4.3: additive increase in the Reno-friendly region, 3 * (1 - beta) / (1 + beta).
ALPHA: Final = 3.0 * (1.0 - BETA) / (1.0 + BETA)


@mypyc_attr(allow_interpreted_subclasses=True)
class Cubic(CongestionControl):
    """The window follows a cubic of the time since the last congestion, never slower than Reno would be.

    `fast_convergence` (section 4.7): let go of bandwidth early when the saturation point sinks.
    `w_max`, `w_est`, `cwnd_epoch`, `cwnd_prior` are bytes, `k` and `t_epoch` nanoseconds; `t_epoch` is NEVER outside
    of a congestion avoidance stage. `hystart` is None once the first slow start is over; set it to None at the start
    for the standard slow start.
    """

    __slots__ = (
        "credit",
        "cwnd_epoch",
        "cwnd_prior",
        "fast_convergence",
        "hystart",
        "k",
        "last_ack",
        "limited_since",
        "plateau",
        "t_epoch",
        "undo_cwnd_prior",
        "undo_hystart",
        "undo_k",
        "undo_plateau",
        "undo_t_epoch",
        "undo_w_est",
        "undo_w_max",
        "w_est",
        "w_max",
    )

    def __init__(self, smss: int, initial_window: int) -> None:
        super().__init__(smss, initial_window)
        self.fast_convergence: bool = True
        self.hystart: HyStart | None = HyStart()
        self.w_max: float = 0.0
        self.w_est: float = 0.0
        self.k: int = 0
        self.t_epoch: int = NEVER
        self.cwnd_epoch: int = 0
        self.cwnd_prior: int = 0
        # The next stage starts on the plateau: K = 0, W_max = cwnd (sections 4.8 and 4.10).
        self.plateau: bool = True
        # Growth below one byte that is still owed.
        self.credit: float = 0.0
        # Since when cwnd has not been updated for want of data; NEVER while it is.
        self.limited_since: int = NEVER
        self.last_ack: int = 0
        self.undo_cwnd_prior: int = 0
        self.undo_w_max: float = 0.0
        self.undo_k: int = 0
        self.undo_t_epoch: int = NEVER
        self.undo_w_est: float = 0.0
        self.undo_plateau: bool = True
        self.undo_hystart: HyStart | None = None

    # --- growth ----------------------------------------------------------------------------------------------------

    def on_sent(self, now: int, nbytes: int, in_flight: int) -> None:
        if in_flight <= nbytes:
            # Nothing was in flight: since the last ACK the program had nothing to say.
            if self.t_epoch != NEVER and self.limited_since == NEVER:
                self.limited_since = self.last_ack
            self.expire_window(now)

    def on_ack(self, sample: AckSample) -> None:
        now = sample.now
        if sample.acked > 0 and not sample.in_recovery and self.t_epoch != NEVER:
            if not sample.cwnd_limited:
                if self.limited_since == NEVER:
                    self.limited_since = now
            elif self.limited_since != NEVER:
                # Section 4.2: "The elapsed time t in Figure 1 MUST NOT include periods during which cwnd has not been
                # updated due to application-limited behavior".
                self.t_epoch += now - self.limited_since
                self.limited_since = NEVER
        self.last_ack = now
        hystart = self.hystart
        if hystart is not None and self.cwnd < self.ssthresh:
            hystart.on_ack(sample)
            if hystart.phase == DONE:
                # RFC 9406 section 4.2: "If CSS_ROUNDS rounds are complete, enter congestion avoidance by setting the
                # ssthresh to the current cwnd." Section 4.10: "CUBIC sets cwnd_prior = cwnd".
                self.hystart = None
                self.ssthresh = self.cwnd
                self.cwnd_prior = self.cwnd
                self.plateau = True
        super().on_ack(sample)

    def slow_start(self, sample: AckSample, acked: int) -> int:
        """Section 4.10: HyStart++ in the first slow start, standard slow start in later ones."""
        hystart = self.hystart
        if hystart is None:
            return super().slow_start(sample, acked)
        # RFC 9406 section 4.2: cwnd = cwnd + min(N, L * SMSS), a quarter of it in CSS. L is infinite with pacing.
        increment = acked if self.paced else min(acked, max(hystart.limit, self.slow_start_limit) * self.smss)
        if self.slow_start_limit >= MAX_CWND and sample.fresh >= 0:
            increment = min(increment, sample.fresh)
        if hystart.phase == CONSERVATIVE:
            increment = max(increment // CSS_GROWTH_DIVISOR, 1)
        self.cwnd = min(self.cwnd + increment, MAX_CWND, self.ssthresh)
        return 0

    def start_epoch(self, now: int) -> None:
        """A congestion avoidance stage begins (section 4.2)."""
        cwnd = self.cwnd
        self.t_epoch = now
        self.limited_since = NEVER
        self.cwnd_epoch = cwnd
        self.credit = 0.0
        # Section 4.3: "W_est is set equal to cwnd_epoch at the start of the congestion avoidance stage."
        self.w_est = float(cwnd)
        if self.plateau or self.w_max <= cwnd:
            self.plateau = False
            self.k = 0
            self.w_max = float(cwnd)
        else:
            # Equation 2: K = cbrt((W_max - cwnd_epoch) / C), rounded to nanoseconds.
            self.k = round(math.cbrt((self.w_max - cwnd) / self.smss / C) * 1e9)

    def w_cubic(self, t: int) -> float:
        """Equation 1: W_cubic(t) = C * (t - K)^3 + W_max, in bytes; `t` in nanoseconds since `t_epoch`."""
        x = (t - self.k) / 1e9
        return C * x * x * x * self.smss + self.w_max

    def avoid_congestion(self, sample: AckSample, acked: int) -> None:
        """Sections 4.2 to 4.5. What is said there of each new ACK is done for each segment that it acknowledges."""
        now = sample.now
        if self.t_epoch == NEVER:
            self.start_epoch(now)
        cwnd = self.cwnd
        smss = self.smss
        acked = min(acked, cwnd)
        t = now - self.t_epoch
        # Equation 4: W_est = W_est + alpha * segments_acked / cwnd; alpha is 1 once W_est has reached cwnd_prior.
        alpha = 1.0 if self.w_est >= self.cwnd_prior else ALPHA
        self.w_est += alpha * acked * smss / cwnd
        if self.w_cubic(t) < self.w_est:
            # Section 4.3, the Reno-friendly region: "cwnd SHOULD be set to W_est".
            if self.w_est >= cwnd + 1:
                self.cwnd = min(int(self.w_est), MAX_CWND)
                self.credit = 0.0
            return
        # Section 4.2: target is W_cubic(t + RTT), within [cwnd, 1.5 * cwnd].
        target = min(max(self.w_cubic(t + sample.srtt), float(cwnd)), 1.5 * cwnd)
        # Sections 4.4 and 4.5: "cwnd MUST be incremented by (target - cwnd) / cwnd".
        credit = self.credit + (target - cwnd) * acked / cwnd
        whole = int(credit)
        self.credit = credit - whole
        self.cwnd = min(cwnd + whole, MAX_CWND)

    # --- reduction -------------------------------------------------------------------------------------------------

    def reduced_ssthresh(self, now: int, signal: int, in_flight: int) -> int:
        """Sections 4.6 and 4.7, and what section 4.9.2 has saved for undo."""
        cwnd = self.cwnd
        self.undo_cwnd_prior = self.cwnd_prior
        self.undo_w_max = self.w_max
        self.undo_k = self.k
        self.undo_t_epoch = self.t_epoch
        self.undo_w_est = self.w_est
        self.undo_plateau = self.plateau
        self.undo_hystart = self.hystart
        # RFC 9406 section 4.2: a loss or a mark at any time ends it.
        self.hystart = None
        self.cwnd_prior = cwnd
        # What was not in use is no saturation point to come back to (RFC 7661 section 4.4.1).
        reached = min(cwnd, in_flight) if self.window_unused() else cwnd
        if self.fast_convergence and reached < self.w_max:
            self.w_max = reached * (1.0 + BETA) / 2.0
        else:
            self.w_max = float(reached)
        # Section 4.8: the first stage after a timeout has K = 0 and W_max = the window that it starts with.
        self.plateau = signal == TIMEOUT
        self.t_epoch = NEVER
        self.limited_since = NEVER
        if signal == ECN and cwnd >= self.ssthresh:
            # RFC 8511 section 3: a mark means that the queue is managed and short, so a smaller step back keeps the
            # path full; in congestion avoidance only: slow start may have overshot by far.
            return in_flight * 17 // 20
        # Figure 5: ssthresh = flight_size * beta_cubic. With section 4.6, what the path has carried lately counts where
        # a program that writes in bursts has little in flight at the moment.
        if signal != TIMEOUT:
            in_flight = max(in_flight, min(self.validation.used(0), cwnd))
        # To the nearest whole segment: whole segments are what is sent, and where a window is a handful of them the
        # rest of one would wait a round trip for company.
        smss = self.smss
        return (in_flight * 7 // 10 + smss // 2) // smss * smss

    def on_spurious(self, now: int) -> None:
        """Section 4.9: everything as it was, if cwnd is still lower than before the mistake."""
        if self.undo_possible and self.cwnd < self.cwnd_prior:
            self.cwnd_prior = self.undo_cwnd_prior
            self.w_max = self.undo_w_max
            self.k = self.undo_k
            self.t_epoch = self.undo_t_epoch
            self.w_est = self.undo_w_est
            self.plateau = self.undo_plateau
            self.hystart = self.undo_hystart
            super().on_spurious(now)
        else:
            # "CUBIC SHOULD continue to use the current and the most recent values of these variables."
            self.undo_possible = False

    def on_recovery_exit(self, now: int) -> None:
        super().on_recovery_exit(now)
        # W_est follows the window down, or the first ACK would take the deflation back at once.
        self.w_est = min(self.w_est, float(self.cwnd))

    def after_idle(self, now: int, idle_ns: int, rto_ns: int) -> None:
        before = self.cwnd
        super().after_idle(now, idle_ns, rto_ns)
        if self.cwnd < before:
            # Slow start comes first; the stage after it is a new one.
            self.t_epoch = NEVER
            if self.hystart is not None:
                self.hystart = HyStart()

    def expire_window(self, now: int) -> None:
        before = self.cwnd
        super().expire_window(now)
        if self.cwnd < before:
            self.t_epoch = NEVER

    def set_smss(self, smss: int) -> None:
        old = self.smss
        super().set_smss(smss)
        if smss < old:
            self.w_max = self.w_max * smss / old
            self.w_est = self.w_est * smss / old
            self.cwnd_prior = self.cwnd_prior * smss // old
            self.undo_w_max = self.undo_w_max * smss / old
            self.undo_w_est = self.undo_w_est * smss / old
            self.undo_cwnd_prior = self.undo_cwnd_prior * smss // old
        # K is a function of the segment size: the stage begins anew.
        if smss != old:
            self.t_epoch = NEVER
