"""What a congestion control algorithm is to the rest of TCP: a window, a threshold and a few hooks.

Loss recovery is not here. The recovery engine of `tcp/` finds what was lost, decides what is sent again and when,
and tells the algorithm of it by one `on_congestion` an episode. An algorithm only says how much may be in flight.

Writing one: subclass `CongestionControl`, override `reduced_ssthresh` and `avoid_congestion` (that is enough for a
loss-based one; slow start, timeouts, idle restart and undo are inherited), or override the hooks themselves, and
`register("name", YourClass)`. Subclasses may be plain Python, whether plankroad is compiled or not.
"""

from __future__ import annotations

from typing import Final

from plankroad.compat import mypyc_attr
from plankroad.tcp.cc.validation import NVP, WindowValidation

#: Signals of `on_congestion`.
LOSS: Final = 1  #: segments were lost; fast recovery begins (RFC 5681 section 3.2, RFC 6675)
TIMEOUT: Final = 2  #: the retransmission timer expired (RFC 5681 section 3.1)
ECN: Final = 3  #: the peer echoed a congestion mark (RFC 3168 section 6.1.2); at most one a round trip

#: RFC 5681 section 3.1: "The initial value of ssthresh SHOULD be set arbitrarily high".
INITIAL_SSTHRESH: Final = 0x7FFF_FFFF

#: No window of TCP is larger (RFC 7323 section 2.3), so no congestion window need be.
MAX_CWND: Final = 1 << 30

#: RFC 3465 section 2.3: "implementations MAY use L=2*SMSS bytes and MUST NOT use L > 2*SMSS bytes".
SLOW_START_LIMIT: Final = 2


class AckSample:
    """What one incoming ACK said. Bytes and nanoseconds.

    `now`: when it came.
    `acked`: bytes newly acknowledged cumulatively, those that SACK had reported before included. `sacked`: bytes newly
    acknowledged selectively. `newly_delivered`: bytes of which this ACK is the first news that they arrived.
    `fresh`: of those in `acked`, the bytes that nothing had told of, without SACK not even duplicate ACKs; -1 unknown.
    `newly_lost`: bytes that were found lost because of this ACK.
    `rtt`: the round trip measured by this ACK, -1 where it gave none. `srtt`, `min_rtt`: the connection's, 0 unknown.
    `prior_in_flight`: bytes in flight before this ACK; `in_flight`: after it, the losses it showed taken off.
    `cwnd_limited`: the sender filled cwnd; where False, cwnd was not tested by what was sent and must not grow.
    `in_recovery`: fast recovery is going on. It is False in the slow start that follows a timeout.
    `round_start`: this is the first ACK of a new round trip: it acknowledges something sent after the last such ACK.
    `delivered`, `lost`: all bytes so far that arrived, cumulatively or selectively known, each once; and all that were
    found lost, each time they were.
    `ce_bytes`: bytes that this ACK reports to have arrived with a congestion mark (AccECN; an estimate with RFC 3168).

    The delivery-rate sample (draft-ietf-ccwg-bbr section 4.1) is about the packet sent last among those that this ACK
    says arrived: `rate_interval`: over which time it was taken, -1 where there is no valid sample. `rate_delivered`:
    bytes that arrived in that time. `delivery_rate`: the quotient in bytes a second. `prior_delivered`: `delivered`
    when that packet was sent. `tx_in_flight`: bytes in flight when it was sent, itself included. `rate_lost`: bytes
    found lost since it was sent. `app_limited`: the sender had nothing to send then: the rate is a lower bound.
    """

    __slots__ = (
        "acked",
        "app_limited",
        "ce_bytes",
        "cwnd_limited",
        "delivered",
        "delivery_rate",
        "fresh",
        "in_flight",
        "in_recovery",
        "lost",
        "min_rtt",
        "newly_delivered",
        "newly_lost",
        "now",
        "prior_delivered",
        "prior_in_flight",
        "rate_delivered",
        "rate_interval",
        "rate_lost",
        "round_start",
        "rtt",
        "sacked",
        "srtt",
        "tx_in_flight",
    )

    def __init__(
        self,
        *,
        now: int = 0,
        acked: int = 0,
        sacked: int = 0,
        newly_delivered: int = 0,
        newly_lost: int = 0,
        rtt: int = -1,
        srtt: int = 0,
        min_rtt: int = 0,
        prior_in_flight: int = 0,
        in_flight: int = 0,
        cwnd_limited: bool = True,
        in_recovery: bool = False,
        round_start: bool = False,
        delivered: int = 0,
        lost: int = 0,
        ce_bytes: int = 0,
        rate_interval: int = -1,
        rate_delivered: int = 0,
        delivery_rate: int = 0,
        prior_delivered: int = 0,
        tx_in_flight: int = 0,
        rate_lost: int = 0,
        app_limited: bool = False,
        fresh: int = -1,
    ) -> None:
        self.now = now
        self.acked = acked
        self.sacked = sacked
        self.newly_delivered = newly_delivered
        self.newly_lost = newly_lost
        self.rtt = rtt
        self.srtt = srtt
        self.min_rtt = min_rtt
        self.prior_in_flight = prior_in_flight
        self.in_flight = in_flight
        self.cwnd_limited = cwnd_limited
        self.in_recovery = in_recovery
        self.round_start = round_start
        self.delivered = delivered
        self.lost = lost
        self.ce_bytes = ce_bytes
        self.rate_interval = rate_interval
        self.rate_delivered = rate_delivered
        self.delivery_rate = delivery_rate
        self.prior_delivered = prior_delivered
        self.tx_in_flight = tx_in_flight
        self.rate_lost = rate_lost
        self.app_limited = app_limited
        self.fresh = fresh


@mypyc_attr(allow_interpreted_subclasses=True)
class CongestionControl:
    """Base of every algorithm: Reno's window with the growth left open.

    `cwnd`, `ssthresh`, `smss`, `initial_window`: bytes.
    `slow_start_limit`: L of RFC 3465 section 2.3, in segments: the most that one ACK adds to cwnd in slow start, where
    nothing is paced.
    `validation`: whether the window is used as large as it is (RFC 7661).
    `pacing_rate`: bytes a second at which to send, 0: it is reckoned from cwnd and the round trip where `paced` is set.
    `paced`: sending is spread over the round trip. Off where the program wants none.
    `send_quantum`: how much leaves in one burst when paced, in bytes, 0: two segments. More does where the rate makes
    a millisecond's worth more than that, for an event loop is no finer.
    `uses_prr`: in fast recovery proportional rate reduction (RFC 9937) leads what is sent down to ssthresh, and cwnd
    takes effect after it. An algorithm that steers cwnd in recovery by itself switches it off.

    `ecn_by_sample`: congestion marks are answered from `AckSample.ce_bytes`; there is no `on_congestion(ECN)` then.
    `wants_ecn`: it is of little use without marks: a connection with `TcpConfig.ecn` "passive" asks for ECN all the
    same, and with classic feedback echoes the mark of each packet exactly, as RFC 8257 section 3.2 has it.

    The hooks are called in the order in which things happen; `now` never goes back.
    """

    __slots__ = (
        "cwnd",
        "ecn_by_sample",
        "initial_window",
        "paced",
        "pacing_rate",
        "prior_cwnd",
        "prior_ssthresh",
        "recovery_cwnd",
        "send_quantum",
        "slow_start_limit",
        "smss",
        "ssthresh",
        "timeout_slow_start",
        "timeout_unanswered",
        "undo_possible",
        "uses_prr",
        "validation",
        "wants_ecn",
    )

    def __init__(self, smss: int, initial_window: int) -> None:
        """`smss`: the sender's maximum segment size. `initial_window`: IW (RFC 6928). ValueError if not positive."""
        if smss <= 0 or initial_window <= 0:
            raise ValueError(f"smss and initial_window must be positive, not {smss} and {initial_window}")
        self.smss: int = smss
        self.initial_window: int = initial_window
        self.cwnd: int = initial_window
        self.ssthresh: int = INITIAL_SSTHRESH
        self.pacing_rate: int = 0
        self.paced: bool = True
        self.send_quantum: int = 0
        self.uses_prr: bool = True
        self.ecn_by_sample: bool = False
        self.wants_ecn: bool = False
        self.slow_start_limit: int = SLOW_START_LIMIT
        # What the last `on_congestion` changed, for `on_spurious`.
        self.prior_cwnd: int = 0
        self.prior_ssthresh: int = 0
        self.undo_possible: bool = False
        # The window of the fast recovery that is going on, 0 outside of one.
        self.recovery_cwnd: int = 0
        # The timer expired and nothing was acknowledged since; the slow start that follows it goes on.
        self.timeout_unanswered: bool = False
        self.timeout_slow_start: bool = False
        self.validation: WindowValidation = WindowValidation()

    # --- what an algorithm is made of ------------------------------------------------------------------------------

    def reduced_ssthresh(self, now: int, signal: int, in_flight: int) -> int:
        """The new ssthresh after `signal`, before its lower bound of two segments; called once an episode."""
        # RFC 5681 equation (4): ssthresh = max (FlightSize / 2, 2*SMSS)
        return in_flight // 2

    def avoid_congestion(self, sample: AckSample, acked: int) -> None:
        """Grow in congestion avoidance by `acked` bytes (what slow start has left of `sample.acked`)."""
        raise NotImplementedError

    # --- hooks -----------------------------------------------------------------------------------------------------

    def on_established(self, now: int, rtt: int) -> None:
        """The handshake is over; it took `rtt` ns, -1 where it could not be measured."""

    def on_sent(self, now: int, nbytes: int, in_flight: int) -> None:
        """`nbytes` of payload were sent; `in_flight` counts them."""
        # A flow that was silent for the whole period hears of its end here, whether idle restart is on or not.
        if in_flight <= nbytes:
            self.expire_window(now)

    def on_lost(self, now: int, nbytes: int, tx_in_flight: int, lost: int, app_limited: bool) -> None:
        """`nbytes` that were sent in one piece are found lost; called before the `on_ack` or `on_congestion` of it.

        `tx_in_flight`: bytes in flight when they were sent, themselves included. `lost`: bytes found lost since they
        were sent, themselves included. `app_limited`: the sender had nothing more to send then.
        """
        self.validation.lost += nbytes

    def on_ack(self, sample: AckSample) -> None:
        """An ACK that acknowledged something, cumulatively or selectively, came in.

        Who overrides it whole and keeps `on_congestion` clears `timeout_unanswered` on new cumulative ACKs.
        """
        acked = sample.acked
        if acked > 0:
            self.timeout_unanswered = False
        # RFC 7661 section 4.2: pipeACK is not updated in fast recovery.
        if acked <= 0 or sample.in_recovery:
            return
        validation = self.validation
        validation.lost = 0
        if sample.round_start:
            validation.end_round(sample.now, self.cwnd, sample.srtt)
            if not validation.validated:
                self.expire_window(sample.now)
        validation.acked_at = sample.now
        validation.round_acked += acked
        if not validation.validated and 2 * validation.round_acked >= validation.round_window:
            # RFC 7661 section 4.4: with a pipeACK of half of cwnd the sender enters the validated phase.
            validation.validated = True
            validation.validated_at = sample.now
        # RFC 7661 section 4.4: a sender that is not cwnd-limited must not increase cwnd. So too in the validated
        # phase: a window that was not filled says nothing about the path.
        if not sample.cwnd_limited:
            return
        if self.cwnd < self.ssthresh:
            acked = self.slow_start(sample, acked)
            if acked <= 0:
                return
        self.avoid_congestion(sample, acked)

    def on_congestion(self, now: int, signal: int, in_flight: int) -> None:
        """The network is congested: `LOSS`, `TIMEOUT` or `ECN`. `in_flight`: FlightSize of RFC 5681, in bytes."""
        smss = self.smss
        if signal == TIMEOUT and self.timeout_unanswered:
            # RFC 5681 section 3.1: "when a TCP sender detects segment loss using the retransmission timer and the
            # given segment has already been retransmitted by way of the retransmission timer at least once, the
            # value of ssthresh is held constant." What `on_spurious` restores is what was before the first.
            self.cwnd = smss
            return
        self.prior_cwnd = self.cwnd
        self.prior_ssthresh = self.ssthresh
        self.undo_possible = True
        validation = self.validation
        if signal != TIMEOUT and self.window_unused():
            # RFC 7661 section 4.4.1: the window of the recovery is half of Max (pipeACK, LossFlightSize), whatever the
            # algorithm's own factor is.
            used = validation.used(in_flight)
            ssthresh = min(self.reduced_ssthresh(now, signal, used), used // 2)
            if signal == LOSS:
                validation.loss_basis = used
        else:
            ssthresh = self.reduced_ssthresh(now, signal, in_flight)
        self.ssthresh = max(ssthresh, 2 * smss)
        if signal == TIMEOUT:
            # RFC 5681 section 3.1: "upon a timeout (...) cwnd MUST be set to no more than the loss window, LW, which
            # equals 1 full-sized segment (regardless of the value of IW)."
            self.timeout_unanswered = True
            self.timeout_slow_start = True
            self.recovery_cwnd = 0
            self.cwnd = smss
            # RFC 7661 section 4.4: a timeout ends the non-validated phase.
            validation.reset()
        elif signal == ECN:
            # RFC 3168 section 6.1.2 lets cwnd go down to one segment, RFC 9438 section 4.6 likewise. But a segment
            # alone waits for the peer's delayed acknowledgement, and where a queue marks all the time its flow starves.
            self.cwnd = min(self.cwnd, max(ssthresh, 2 * smss))
            validation.validated = True
        else:
            # FlightSize may be more than cwnd (limited transmit, a window reduced a moment ago), but congestion
            # never raises the window.
            self.cwnd = max(min(ssthresh, self.cwnd), 2 * smss)
            self.recovery_cwnd = self.cwnd
            self.timeout_slow_start = False

    def on_recovery_exit(self, now: int) -> None:
        """All that was outstanding when fast recovery began is acknowledged (RFC 6582 section 3.2 step 3)."""
        if self.recovery_cwnd > 0:
            # Whatever inflated or rationed the window inside recovery ends here.
            self.cwnd = self.recovery_cwnd
            self.recovery_cwnd = 0
        validation = self.validation
        if validation.loss_basis > 0:
            # RFC 7661 section 4.4.1: at the end of the recovery cwnd becomes (Max (pipeACK, LossFlightSize) - R) / 2,
            # at least one segment; R is what was lost. ssthresh goes with it.
            self.cwnd = min(self.cwnd, max((validation.loss_basis - validation.lost) // 2, self.smss))
            self.ssthresh = max(min(self.ssthresh, self.cwnd), 2 * self.smss)
        validation.reset()

    def on_spurious(self, now: int) -> None:
        """The last `on_congestion` was a mistake: nothing was lost (RFC 5682, RFC 3708, RFC 3522). Undo it, once."""
        if not self.undo_possible:
            return
        self.undo_possible = False
        self.recovery_cwnd = 0
        self.timeout_unanswered = False
        self.timeout_slow_start = False
        self.validation.reset()
        # Not below what has been learned since.
        self.cwnd = max(self.cwnd, self.prior_cwnd)
        self.ssthresh = max(self.ssthresh, self.prior_ssthresh)

    def after_idle(self, now: int, idle_ns: int, rto_ns: int) -> None:
        """About to send after `idle_ns` in which nothing was sent and nothing was in flight."""
        # RFC 5681 section 4.1: "a TCP SHOULD set cwnd to no more than RW before beginning transmission if the TCP
        # has not sent data in an interval exceeding the retransmission timeout", RW = min(IW, cwnd).
        if idle_ns > rto_ns and self.cwnd > self.initial_window:
            self.remember_window()
            self.cwnd = self.initial_window

    def on_app_limited(self, now: int, used: int) -> None:
        """For one retransmission timeout cwnd was never filled; `used`: the most that was in flight, in bytes."""
        # RFC 7661 section 4.4 keeps the window in the non-validated phase; RFC 2861, its forerunner, shrank it here.
        self.expire_window(now)

    def set_smss(self, smss: int) -> None:
        """The segment size has changed, by path MTU discovery as a rule. ValueError if not positive."""
        if smss <= 0:
            raise ValueError(f"smss must be positive, not {smss}")
        old = self.smss
        if smss == old:
            return
        self.smss = smss
        self.initial_window = max(self.initial_window * smss // old, smss)
        if smss < old:
            # RFC 5681 section 3.1: where path MTU discovery finds the segment size too large, "cwnd SHOULD be reduced
            # by the ratio of the old segment size to the new segment size", lest more, smaller segments burst out.
            # ssthresh goes with it: else slow start would bring that burst a round trip later.
            self.cwnd = self.cwnd * smss // old
            self.recovery_cwnd = self.recovery_cwnd * smss // old
            self.prior_cwnd = self.prior_cwnd * smss // old
            if self.ssthresh != INITIAL_SSTHRESH:
                self.ssthresh = self.ssthresh * smss // old
            if self.prior_ssthresh != INITIAL_SSTHRESH:
                self.prior_ssthresh = self.prior_ssthresh * smss // old
        self.cwnd = max(self.cwnd, smss)
        if self.recovery_cwnd > 0:
            self.recovery_cwnd = max(self.recovery_cwnd, smss)
        self.ssthresh = max(self.ssthresh, 2 * smss)
        self.prior_ssthresh = max(self.prior_ssthresh, 2 * smss)

    # --- parts to build with ---------------------------------------------------------------------------------------

    def in_slow_start(self) -> bool:
        """RFC 5681 section 3.1: slow start below ssthresh, avoidance above; at it the sender may choose."""
        return self.cwnd < self.ssthresh

    def slow_start(self, sample: AckSample, acked: int) -> int:
        """Byte counting up to ssthresh (RFC 3465 section 2.2). Returns the bytes left for congestion avoidance."""
        increment = acked
        if self.timeout_slow_start:
            # RFC 3465 section 2.3 has L = 1 segment in the slow start that follows a timeout, for an ACK may cover much
            # that arrived long ago. Where pacing spreads what it lets out, what has just arrived counts in full.
            known = sample.newly_delivered if self.paced else 0
            increment = min(acked, max(known, self.smss))
        elif not self.paced:
            # RFC 3465 section 2.3: L bounds the burst that one ACK lets out. With pacing there is none, and RFC 9406
            # section 4.3 has no limit then either.
            increment = min(acked, self.slow_start_limit * self.smss)
            if self.slow_start_limit >= MAX_CWND and sample.fresh >= 0:
                increment = min(increment, sample.fresh)
        room = self.ssthresh - self.cwnd
        if increment < room:
            self.cwnd = min(self.cwnd + increment, MAX_CWND)
            return 0
        self.cwnd = min(self.ssthresh, MAX_CWND)
        self.timeout_slow_start = False
        return increment - room

    def window_unused(self) -> bool:
        """The flow is in the non-validated phase (RFC 7661 section 4.3) and has more than an initial window."""
        return not self.validation.validated and self.cwnd > self.initial_window

    def expire_window(self, now: int) -> None:
        """Take a part of a window back that was not used for five minutes (RFC 7661 section 4.4.3)."""
        validation = self.validation
        since = validation.validated_at
        if since < 0 or now - since < NVP:
            return
        if self.cwnd > self.initial_window:
            # ssthresh = max (ssthresh, 3*cwnd/4), cwnd = max (cwnd/2, IW). Each further period takes another half.
            self.remember_window()
            while now - since >= NVP and self.cwnd > self.initial_window:
                since += NVP
                self.cwnd = max(self.cwnd // 2, self.initial_window)
        validation.validated_at = now if self.cwnd <= self.initial_window else since

    def remember_window(self) -> None:
        """Before cwnd is lowered without congestion: let slow start find most of it again (RFC 7661 section 4.4.3)."""
        self.ssthresh = max(self.ssthresh, self.cwnd - self.cwnd // 4)
