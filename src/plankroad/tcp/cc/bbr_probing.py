"""BBR's state machine: Startup, Drain, the four phases of ProbeBW, ProbeRTT.

Section numbers are those of draft-ietf-ccwg-bbr-06.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from plankroad.tcp.cc.bbr_contended import down_rounds, judge_before_probe, judge_probe_rtt
from plankroad.tcp.cc.bbr_loss import (
    by_chance,
    end_recovery,
    is_clear,
    is_inflight_too_high,
    is_marking_too_high,
    loss_allowance,
    reset_congestion_signals,
    reset_shortterm_model,
    restore_cwnd,
    restore_model,
    save_cwnd,
    set_inflight_too_high,
    startup_loss_bound,
)
from plankroad.tcp.cc.bbr_model import (
    advance_max_bw_filter,
    bdp_multiple,
    inflight,
    inflight_with_headroom,
    is_cwnd_limited,
    min_rtt_tolerance,
    reset_full_bw,
    start_round,
    target_inflight,
)
from plankroad.tcp.cc.bbr_state import (
    ACKS_INIT,
    ACKS_PROBE_FEEDBACK,
    ACKS_PROBE_STARTING,
    ACKS_PROBE_STOPPING,
    ACKS_REFILLING,
    CONTENDED_ROUNDS,
    DRAIN,
    INFINITE,
    LOSS_THRESH,
    MIN_PIPE_SEGMENTS,
    NO_STATE,
    PROBE_BW_CRUISE,
    PROBE_BW_DOWN,
    PROBE_BW_REFILL,
    PROBE_BW_UP,
    PROBE_RTT,
    PROBE_RTT_DURATION,
    RENO_ROUNDS,
    STARTUP,
    STARTUP_FULL_LOSS_COUNT,
    enter_state,
)
from plankroad.units import SECOND

if TYPE_CHECKING:
    from plankroad.tcp.cc.base import AckSample
    from plankroad.tcp.cc.bbr_state import BbrState

#: Section 5.3.2: how long Drain may take, in rounds.
_DRAIN_ROUNDS: Final = 3
#: Multiplicative hashing: 2^64 divided by the golden ratio.
_GOLDEN: Final = 0x9E3779B97F4A7C15
_MASK: Final = 0xFFFF_FFFF_FFFF_FFFF


# --- Startup and Drain (sections 5.3.1 and 5.3.2) --------------------------------------------------------------------


def check_startup_high_loss(b: BbrState, sample: AckSample) -> None:
    """CheckStartupHighLoss (section 5.3.1.3), at the end of a round in which losses were found."""
    if b.state != STARTUP or b.full_bw_reached or not b.is_loss_in_round or not sample.in_recovery:
        return
    lost = b.loss_round_lost
    if b.has_selective_acks:
        if b.round_count <= b.recovery_round or b.loss_round_events < STARTUP_FULL_LOSS_COUNT:
            return
        total = lost + b.delivered - b.loss_round_start_delivered
        queued = b.loss_round_queued_lost
        if queued <= by_chance(b, total) + LOSS_THRESH * total and lost <= loss_allowance(b, total, False):
            return
    elif b.loss_round_queued_lost <= 0:
        # "exits Startup based on packet loss if any packet loss is detected during fast recovery"
        return
    b.undo_state = STARTUP
    b.full_bw_reached = True
    b.inflight_longterm = startup_loss_bound(b)


def check_startup_done(b: BbrState) -> None:
    if b.state == STARTUP and b.full_bw_reached:
        enter_state(b, DRAIN)
        b.drain_start_round = b.round_count


def check_drain_done(b: BbrState, now: int) -> None:
    if b.state == DRAIN and (
        b.in_flight <= inflight(b, b.bw, 1.0) or b.round_count > b.drain_start_round + _DRAIN_ROUNDS
    ):
        start_probe_bw_down(b, now)


# --- ProbeBW (section 5.3.3) -----------------------------------------------------------------------------------------


def pick_probe_wait(b: BbrState, now: int) -> None:
    """PickProbeWait: two to three seconds, and whether 62 or 63 round trips.

    The choice shall differ between flows and from time to time. No random numbers reach an algorithm; a hash of the
    time in nanoseconds and of what was delivered differs as well.
    """
    number = ((now ^ (b.delivered << 20)) & _MASK) * _GOLDEN & _MASK
    b.rounds_since_probe_up = number >> 63
    b.bw_probe_wait = 2 * SECOND + ((number >> 32) & 0x3FFF_FFFF) * SECOND // 0x4000_0000


def start_probe_bw_down(b: BbrState, now: int) -> None:
    reset_congestion_signals(b)
    b.probe_up_acked_per_inc = INFINITE
    pick_probe_wait(b, now)
    b.cycle_stamp = now
    b.ack_phase = ACKS_PROBE_STOPPING
    b.down_start_round = b.round_count
    start_round(b)
    enter_state(b, PROBE_BW_DOWN)


def start_probe_bw_refill(b: BbrState) -> None:
    reset_shortterm_model(b)
    b.bw_probe_up_rounds = 0
    b.bw_probe_up_acked = 0
    b.prev_probe_precautionary = False
    b.ack_phase = ACKS_REFILLING
    start_round(b)
    enter_state(b, PROBE_BW_REFILL)


def start_probe_bw_up(b: BbrState, sample: AckSample) -> None:
    judge_before_probe(b)
    b.ack_phase = ACKS_PROBE_STARTING
    b.up_start_round = b.round_count
    start_round(b)
    reset_full_bw(b)
    b.full_bw = sample.delivery_rate
    enter_state(b, PROBE_BW_UP)
    raise_inflight_longterm_slope(b)


def update_probe_bw_cycle_phase(b: BbrState, sample: AckSample) -> None:
    """UpdateProbeBWCyclePhase (section 5.3.3.9)."""
    if not b.full_bw_reached or adapt_longterm_model(b, sample):
        return
    now = sample.now
    state = b.state
    if state == PROBE_BW_DOWN:
        if not is_time_to_probe_bw(b, now) and is_time_to_cruise(b):
            enter_state(b, PROBE_BW_CRUISE)
    elif state == PROBE_BW_CRUISE:
        is_time_to_probe_bw(b, now)
    elif state == PROBE_BW_REFILL:
        # After one round of REFILL, start UP.
        if b.round_start:
            b.is_bw_probe_sample = True
            start_probe_bw_up(b, sample)
    elif state == PROBE_BW_UP and is_time_to_go_down(b, sample):
        b.prev_probe_too_high = False
        start_probe_bw_down(b, now)


def is_time_to_probe_bw(b: BbrState, now: int) -> bool:
    """IsTimeToProbeBW (section 5.3.3.8): after two to three seconds, or as often as Reno would lose a segment."""
    most = CONTENDED_ROUNDS if b.contended else RENO_ROUNDS
    reno_rounds = min(max(target_inflight(b) // b.smss, MIN_PIPE_SEGMENTS), most)
    if now > b.cycle_stamp + b.bw_probe_wait or b.rounds_since_probe_up >= reno_rounds:
        start_probe_bw_refill(b)
        return True
    return False


def is_time_to_cruise(b: BbrState) -> bool:
    if b.in_flight <= inflight_with_headroom(b) and (b.in_flight <= inflight(b, b.max_bw, 1.0) or is_clear(b)):
        return True
    # A queue that others keep full is not worth waiting for.
    return b.contended and b.round_count > b.down_start_round + down_rounds(b)


def is_time_to_go_down(b: BbrState, sample: AckSample) -> bool:
    if b.contended and b.round_count > b.up_start_round + 1:
        # Nothing bounds what is in flight but twice the BDP: a quarter of one is added, and drained again.
        return True
    # Precautionary bandwidth probing: deceleration (section 5.3.3.6).
    # Before the ACK, and to the segment: cwnd bounds what is in flight by whole ones.
    if b.prev_probe_too_high and sample.prior_in_flight + b.smss > b.inflight_longterm:
        b.prev_probe_precautionary = True
        return True
    if is_cwnd_limited(b) and b.cwnd >= b.inflight_longterm:
        # Bandwidth is limited by inflight_longterm: what is measured is no plateau of the path.
        reset_full_bw(b)
        b.full_bw = sample.delivery_rate
        return False
    return b.full_bw_now


def raise_inflight_longterm_slope(b: BbrState) -> None:
    growth_this_round = 1 << b.bw_probe_up_rounds
    b.bw_probe_up_rounds = min(b.bw_probe_up_rounds + 1, 30)
    b.probe_up_acked_per_inc = max(b.cwnd // growth_this_round, b.smss)


def probe_inflight_longterm_upward(b: BbrState, sample: AckSample) -> None:
    """Section 5.3.3.5: by 1, 2, 4, 8 ... segments a round trip, as long as the bound is in use."""
    if not is_cwnd_limited(b) or b.cwnd < b.inflight_longterm:
        return
    b.bw_probe_up_acked += sample.newly_delivered
    if b.bw_probe_up_acked >= b.probe_up_acked_per_inc:
        delta = b.bw_probe_up_acked // b.probe_up_acked_per_inc
        b.bw_probe_up_acked -= delta * b.probe_up_acked_per_inc
        b.inflight_longterm += delta * b.smss
    if b.round_start:
        raise_inflight_longterm_slope(b)


def adapt_longterm_model(b: BbrState, sample: AckSample) -> bool:
    """AdaptLongTermModel: follow the phases of the ACKs, and raise the bounds while losses allow it.

    Returns True if it decided a change of state.
    """
    if b.ack_phase == ACKS_PROBE_STARTING and b.round_start:
        b.ack_phase = ACKS_PROBE_FEEDBACK
    if b.ack_phase == ACKS_PROBE_STOPPING and b.round_start:
        # End of samples from the bandwidth probing phase.
        b.is_bw_probe_sample = False
        b.ack_phase = ACKS_INIT
        if b.is_in_probe_bw():
            if not b.sample_app_limited:
                advance_max_bw_filter(b)
            # Precautionary bandwidth probing: acceleration.
            if b.prev_probe_precautionary and not b.prev_probe_too_high:
                start_probe_bw_refill(b)
                return True
    if b.is_bw_probe_sample and is_marking_too_high(b, sample):
        handle_inflight_too_high(b, sample.now, sample.tx_in_flight, b.sample_app_limited)
        return True
    if b.inflight_longterm < INFINITE and not is_inflight_too_high(b, sample.rate_lost, sample.tx_in_flight):
        # Loss rate is safe. Adjust upper bounds upward.
        b.inflight_longterm = max(b.inflight_longterm, sample.tx_in_flight)
        if b.state == PROBE_BW_UP:
            probe_inflight_longterm_upward(b, sample)
    return False


def handle_inflight_too_high(b: BbrState, now: int, tx_in_flight: int, app_limited: bool) -> None:
    """HandleInflightTooHigh (section 5.5.10.2): react once to each bandwidth probe."""
    set_inflight_too_high(b, tx_in_flight, app_limited)
    if b.state == PROBE_BW_UP:
        b.undo_state = PROBE_BW_UP
        start_probe_bw_down(b, now)


# --- ProbeRTT (section 5.3.4) ----------------------------------------------------------------------------------------


def probe_rtt_cwnd(b: BbrState) -> int:
    """ProbeRTTCwnd (section 5.6.4.5)."""
    return max(bdp_multiple(b, b.bw, 0.5), b.min_pipe_cwnd())


def check_probe_rtt(b: BbrState, sample: AckSample) -> None:
    if b.state != PROBE_RTT and b.probe_rtt_expired and not b.idle_restart:
        save_cwnd(b)
        enter_state(b, PROBE_RTT)
        b.probe_rtt_done_stamp = 0
        b.probe_rtt_before = b.recent_rtt.best()
        b.probe_rtt_least = INFINITE
        b.ack_phase = ACKS_PROBE_STOPPING
        start_round(b)
        b.app_limited_from = b.delivered
    if b.state == PROBE_RTT:
        _handle_probe_rtt(b, sample)
    if sample.newly_delivered > 0:
        b.idle_restart = False


def _handle_probe_rtt(b: BbrState, sample: AckSample) -> None:
    now = sample.now
    # MarkConnectionAppLimited: what is sent from now on until all of that has arrived says little of the bandwidth.
    b.app_limited_until = b.delivered + b.in_flight
    if b.probe_rtt_done_stamp == 0:
        if b.in_flight <= probe_rtt_cwnd(b):
            # Wait for at least ProbeRTTDuration, and for at least one round, to elapse.
            b.probe_rtt_done_stamp = now + PROBE_RTT_DURATION
            b.probe_rtt_round_done = False
            start_round(b)
        return
    if b.round_start:
        b.probe_rtt_round_done = True
    if b.probe_rtt_round_done:
        if sample.rtt > 0:
            b.probe_rtt_least = min(b.probe_rtt_least, sample.rtt)
            if sample.rtt <= b.min_rtt + min_rtt_tolerance(b):
                # After a round trip with half of the BDP in flight a packet met no queue: there is no more to be found,
                # and no other flow needs time to join in.
                b.probe_rtt_done_stamp = min(b.probe_rtt_done_stamp, now - 1)
        check_probe_rtt_done(b, now)


def check_probe_rtt_done(b: BbrState, now: int) -> None:
    if b.probe_rtt_done_stamp == 0 or now <= b.probe_rtt_done_stamp:
        return
    # Schedule the next ProbeRTT.
    b.probe_rtt_min_stamp = now
    restore_cwnd(b)
    # ExitProbeRTT (section 5.3.4.4).
    reset_shortterm_model(b)
    judge_probe_rtt(b)
    if b.full_bw_reached:
        start_probe_bw_down(b, now)
        enter_state(b, PROBE_BW_CRUISE)
    else:
        enter_state(b, STARTUP)


# --- undo (section 5.5.11.2) -----------------------------------------------------------------------------------------


def handle_spurious_loss_detection(b: BbrState) -> None:
    """HandleSpuriousLossDetection: nothing was lost."""
    end_recovery(b)
    restore_model(b)
    if b.undo_state == STARTUP and b.state != STARTUP:
        b.full_bw_reached = False
        if b.state != PROBE_RTT:
            enter_state(b, STARTUP)
    elif b.undo_state == PROBE_BW_UP and b.state not in (PROBE_BW_UP, PROBE_RTT):
        start_probe_bw_refill(b)
    b.undo_state = NO_STATE
