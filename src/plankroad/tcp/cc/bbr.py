"""BBR version 3 (draft-ietf-ccwg-bbr-06): bandwidth and round-trip time are measured, and set the rate and the window.

A flow keeps a model of the path: the bandwidth it was seen to deliver (`max_bw`), the least round-trip time
(`min_rtt`), and how much in flight it bears without losing (`inflight_longterm`, and for the moment
`inflight_shortterm`, `bw_shortterm`). It sends at the bandwidth, with twice the product of the two in flight at the
most, and probes now and then for more bandwidth (ProbeBW_UP) and for less delay (ProbeRTT).

- `bbr_state`: the constants and the state;
- `bbr_filters`: windowed maxima and minima;
- `bbr_model`: what is measured;
- `bbr_loss`: what losses and marks say, and undo;
- `bbr_contended`: beside flows that never yield;
- `bbr_probing`: the state machine;
- here: the hooks, and the control parameters that follow from the model (section 5.6).

It differs from the draft where loss is judged: see `bbr_loss` and docs/deviations.md.
"""

from __future__ import annotations

from typing import Final

from plankroad.compat import mypyc_attr
from plankroad.tcp.cc.base import ECN, MAX_CWND, TIMEOUT, AckSample
from plankroad.tcp.cc.bbr_contended import note_cruise_loss, watch_cruise
from plankroad.tcp.cc.bbr_loss import (
    adapt_lower_bounds_from_congestion,
    advance_latest_delivery_signals,
    end_recovery,
    end_round,
    inflight_at_loss,
    is_inflight_too_high,
    is_queued,
    is_startup_overflowing,
    note_delivery,
    note_loss,
    note_marks,
    save_cwnd,
    save_state_upon_loss,
    update_latest_delivery_signals,
)
from plankroad.tcp.cc.bbr_model import (
    bdp_multiple,
    bound_bw_for_model,
    check_full_bw_reached,
    inflight_with_headroom,
    update_ack_aggregation,
    update_max_bw,
    update_max_inflight,
    update_min_rtt,
    update_round,
)
from plankroad.tcp.cc.bbr_probing import (
    check_drain_done,
    check_probe_rtt,
    check_probe_rtt_done,
    check_startup_done,
    check_startup_high_loss,
    handle_inflight_too_high,
    handle_spurious_loss_detection,
    probe_rtt_cwnd,
    update_probe_bw_cycle_phase,
)
from plankroad.tcp.cc.bbr_state import (
    INFINITE,
    PACING_MARGIN,
    PROBE_BW_CRUISE,
    PROBE_RTT,
    BbrState,
    initial_pacing_rate,
)
from plankroad.units import MILLISECOND, SECOND

#: Section 5.6.3: the largest send quantum.
_MAX_QUANTUM: Final = 64 * 1024
#: Below this rate single segments are sent, bytes a second (1.2 Mbit/s).
_SLOW: Final = 150_000


@mypyc_attr(allow_interpreted_subclasses=True)
class Bbr(BbrState):
    """BBRv3. Registered as `bbr`."""

    __slots__ = ()

    # --- hooks -----------------------------------------------------------------------------------------------------

    def on_established(self, now: int, rtt: int) -> None:
        self.extra_acked_interval_start = now
        self.min_rtt_stamp = now
        self.probe_rtt_min_stamp = now
        if rtt > 0:
            self._first_rtt(now, rtt)

    def _first_rtt(self, now: int, rtt: int) -> None:
        # Section 5.2.1: min_rtt = C.srtt; section 5.6.2, InitPacingRate. A connection may change to BBR in mid-life.
        self.has_seen_rtt = True
        self.min_rtt = rtt
        self.min_rtt_stamp = now
        self.probe_rtt_min_stamp = now
        self.pacing_rate = initial_pacing_rate(self.initial_window, rtt)

    def on_sent(self, now: int, nbytes: int, in_flight: int) -> None:
        if in_flight + self.smss > self.cwnd:
            self.cwnd_limited_this_round = True
        if in_flight <= nbytes and now > self.last_ack_at and not self.recovering:
            # Section 5.4, HandleRestartFromIdle: nothing was in flight, and no ACK has just made it so.
            self.idle_restart = True
            self.extra_acked_interval_start = now
            self.extra_acked_delivered = 0
            if self.is_in_probe_bw():
                self._set_pacing_rate(1.0)
            elif self.state == PROBE_RTT:
                check_probe_rtt_done(self, now)

    def on_lost(self, now: int, nbytes: int, tx_in_flight: int, lost: int, app_limited: bool) -> None:
        """HandleLostPacket of section 5.5.10.2."""
        note_loss(self, now, nbytes)
        note_cruise_loss(self, nbytes)
        if self.is_bw_probe_sample and is_inflight_too_high(self, lost, tx_in_flight):
            at_loss = inflight_at_loss(self, nbytes, lost, tx_in_flight)
            handle_inflight_too_high(self, now, at_loss, app_limited)

    def on_ack(self, sample: AckSample) -> None:
        """UpdateOnACK of section 5.2.3."""
        now = sample.now
        if sample.acked > 0:
            self.timeout_unanswered = False
        self.delivered = sample.delivered
        self.in_flight = sample.in_flight
        self.last_ack_at = now
        if not self.has_seen_rtt and sample.rtt > 0:
            self._first_rtt(now, sample.rtt)
        self.sample_app_limited = sample.app_limited or (
            self.app_limited_from <= sample.prior_delivered <= self.app_limited_until
        )
        note_delivery(self, sample)
        watch_cruise(self, sample)
        update_latest_delivery_signals(self, sample)
        update_round(self, sample)
        note_marks(self, sample)
        if self.round_start:
            end_round(self)
        update_max_bw(self, sample)
        if self.loss_round_start:
            # UpdateCongestionSignals of section 5.5.10.3: once a round.
            check_startup_high_loss(self, sample)
            adapt_lower_bounds_from_congestion(self)
            self.is_loss_in_round = False
            self.ce_in_loss_round = False
        update_ack_aggregation(self, sample)
        check_full_bw_reached(self, sample)
        check_startup_done(self)
        check_drain_done(self, now)
        update_probe_bw_cycle_phase(self, sample)
        update_min_rtt(self, sample)
        check_probe_rtt(self, sample)
        advance_latest_delivery_signals(self, sample)
        bound_bw_for_model(self)
        self._set_pacing_rate(self.pacing_gain)
        # Section 5.6.3, SetSendQuantum. Where a segment takes ten milliseconds two of them at once make a queue: "a BBR
        # implementation SHOULD attempt to use the smallest feasible quanta".
        least = self.smss if self.pacing_rate < _SLOW else 2 * self.smss
        self.send_quantum = max(min(self.pacing_rate * MILLISECOND // SECOND, _MAX_QUANTUM), least)
        self._set_cwnd(sample.newly_delivered)

    def on_congestion(self, now: int, signal: int, in_flight: int) -> None:
        """Section 5.6.4.4: what a recovery begins with; the model is lowered by `on_lost` and `on_ack`."""
        if signal == ECN:
            self.ce_in_loss_round = True
            return
        if self.last_loss_at != now and not self.recovering:
            # Nothing was told lost before this call: the state is still what it was.
            save_state_upon_loss(self)
        elif self.recovering:
            save_cwnd(self)
        self.undo_possible = True
        self.recovering = True
        self.recovery_round = self.round_count
        if signal == TIMEOUT:
            # OnEnterRTO: one segment may leave. RFC 5681 section 3.1: "cwnd MUST be set to no more than the loss
            # window, LW, which equals 1 full-sized segment".
            self.timeout_unanswered = True
            self.recovering_until = self.delivered + in_flight
            self.cwnd = self.smss
        else:
            self.recovering_until = INFINITE

    def on_recovery_exit(self, now: int) -> None:
        """Section 5.6.4.4: "When BBR exits loss recovery it restores C.cwnd"; the model bounds it as before."""
        end_recovery(self)
        self._bound_cwnd()

    def on_spurious(self, now: int) -> None:
        """Section 5.5.11.2."""
        if not self.undo_possible:
            return
        self.undo_possible = False
        self.timeout_unanswered = False
        handle_spurious_loss_detection(self)
        bound_bw_for_model(self)
        self._bound_cwnd()

    def after_idle(self, now: int, idle_ns: int, rto_ns: int) -> None:
        """Section 5.4.2: the window stays; what restarts is paced at the bandwidth. `on_sent` sees to it."""

    def on_app_limited(self, now: int, used: int) -> None:
        """The model ages by itself (section 5.4.2): a window that was not filled is kept."""

    def in_slow_start(self) -> bool:
        return not self.full_bw_reached

    def set_smss(self, smss: int) -> None:
        super().set_smss(smss)
        self.send_quantum = max(self.send_quantum, 2 * smss)

    # --- control parameters (section 5.6) --------------------------------------------------------------------------

    def _set_pacing_rate(self, gain: float) -> None:
        """SetPacingRateWithGain (section 5.6.2).

        The margin is to drain queues: it is kept where there is one. What the path loses in any case is sent in
        addition: the bandwidth is what shall arrive.
        """
        if is_queued(self):
            gain *= PACING_MARGIN
        rate = int(gain * self.bw / (1.0 - self.baseline))
        if rate > 0 and (self.full_bw_reached or rate > self.pacing_rate):
            self.pacing_rate = rate

    def _set_cwnd(self, newly_delivered: int) -> None:
        """SetCwnd (section 5.6.4.6)."""
        update_max_inflight(self)
        cwnd = self.cwnd
        if self.full_bw_reached:
            cwnd = min(cwnd + newly_delivered, self.max_inflight)
        elif cwnd < self.max_inflight or self.delivered < self.initial_window:
            cwnd += newly_delivered
        if not self.full_bw_reached and self.recovering and is_startup_overflowing(self):
            # Startup doubles until a round of losses is over: meanwhile a segment leaves for each that arrived, or
            # as many as the path holds.
            cwnd = min(cwnd, max(self.in_flight + newly_delivered, bdp_multiple(self, self.bw, 1.0)))
        self.cwnd = max(cwnd, self.min_pipe_cwnd())
        self._bound_cwnd_for_model()

    def _bound_cwnd(self) -> None:
        """After cwnd was restored: the bounds of SetCwnd."""
        if self.full_bw_reached:
            update_max_inflight(self)
            self.cwnd = min(self.cwnd, self.max_inflight)
        self._bound_cwnd_for_model()

    def _bound_cwnd_for_model(self) -> None:
        """BoundCwndForProbeRTT (section 5.6.4.5) and BoundCwndForModel (section 5.6.4.7)."""
        cap = INFINITE
        if self.state == PROBE_RTT:
            self.cwnd = min(self.cwnd, probe_rtt_cwnd(self))
            cap = inflight_with_headroom(self)
        elif self.state == PROBE_BW_CRUISE:
            cap = inflight_with_headroom(self)
        elif self.is_in_probe_bw():
            cap = self.inflight_longterm
        cap = max(min(cap, self.inflight_shortterm), self.min_pipe_cwnd())
        self.cwnd = min(self.cwnd, cap, MAX_CWND)
