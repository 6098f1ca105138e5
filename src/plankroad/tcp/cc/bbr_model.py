"""BBR's model of the path: rounds, bandwidth, aggregation, round-trip time, and what they make of the BDP.

Section numbers are those of draft-ietf-ccwg-bbr-06.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from plankroad.tcp.cc.bbr_state import (
    EXTRA_ACKED_FILTER_LEN,
    FULL_BW_GROWTH,
    FULL_BW_ROUNDS,
    HEADROOM,
    INFINITE,
    MIN_RTT_FILTER_LEN,
    PROBE_BW_UP,
    PROBE_RTT_INTERVAL,
)
from plankroad.units import SECOND

if TYPE_CHECKING:
    from plankroad.tcp.cc.base import AckSample
    from plankroad.tcp.cc.bbr_state import BbrState


# --- rounds (section 5.5.1) ------------------------------------------------------------------------------------------


def start_round(b: BbrState) -> None:
    b.next_round_delivered = b.delivered


def update_round(b: BbrState, sample: AckSample) -> None:
    """A round ends with the ACK of a packet that was sent after it began."""
    if sample.newly_delivered <= 0 or sample.prior_delivered < b.next_round_delivered:
        b.round_start = False
        return
    start_round(b)
    b.round_count += 1
    b.rounds_since_probe_up += 1
    b.round_start = True
    b.cwnd_limited_last_round = b.cwnd_limited_this_round
    b.cwnd_limited_this_round = False


def is_cwnd_limited(b: BbrState) -> bool:
    """C.is_cwnd_limited (section 2.2): cwnd was filled at some point in the last round trip."""
    return b.cwnd_limited_this_round or b.cwnd_limited_last_round


# --- bandwidth (sections 5.5.2 to 5.5.6) -----------------------------------------------------------------------------


def update_max_bw(b: BbrState, sample: AckSample) -> None:
    """UpdateMaxBw: a sample of a flow that its program limits counts only if it says more than is known."""
    rate = sample.delivery_rate
    if rate > 0 and (rate >= b.max_bw or not b.sample_app_limited):
        b.max_bw_filter.update(rate)
        b.max_bw = b.max_bw_filter.best()


def advance_max_bw_filter(b: BbrState) -> None:
    """AdvanceMaxBwFilter: one round trip after ProbeBW_UP a new cycle of the filter begins."""
    b.max_bw_filter.advance()


def bound_bw_for_model(b: BbrState) -> None:
    """BoundBWForModel of section 5.5.10.3."""
    b.bw = min(b.max_bw, b.bw_shortterm)


# --- the full pipe (section 5.3.1.2) ---------------------------------------------------------------------------------


def reset_full_bw(b: BbrState) -> None:
    b.full_bw = 0
    b.full_bw_count = 0
    b.full_bw_now = False


def check_full_bw_reached(b: BbrState, sample: AckSample) -> None:
    """Three rounds in which the delivery rate grew by less than a quarter: the pipe is full."""
    if b.full_bw_now or not b.round_start or b.sample_app_limited or sample.delivery_rate <= 0:
        return
    if sample.delivery_rate >= b.full_bw * FULL_BW_GROWTH:
        reset_full_bw(b)
        b.full_bw = sample.delivery_rate
        return
    b.full_bw_count += 1
    if b.full_bw_count >= FULL_BW_ROUNDS:
        b.full_bw_now = True
        b.full_bw_reached = True


# --- aggregation (section 5.5.9) -------------------------------------------------------------------------------------


def update_ack_aggregation(b: BbrState, sample: AckSample) -> None:
    """How much more arrives at once than the bandwidth explains: cwnd must carry the flow over the silence after it."""
    now = sample.now
    expected = b.bw * (now - b.extra_acked_interval_start) // SECOND
    if b.extra_acked_delivered <= expected:
        # The ACKs are slower than expected: the burst is over.
        b.extra_acked_delivered = 0
        b.extra_acked_interval_start = now
        expected = 0
    b.extra_acked_delivered += sample.newly_delivered
    extra = min(b.extra_acked_delivered - expected, b.cwnd)
    window = EXTRA_ACKED_FILTER_LEN if b.full_bw_reached else 1
    b.extra_acked = b.extra_acked_filter.update(extra, b.round_count, window)


# --- round-trip time (sections 5.3.4.3 and 5.5.7) --------------------------------------------------------------------


def min_rtt_tolerance(b: BbrState) -> int:
    """By how much a round trip without a queue may exceed the minimum: 1/64, or the time of a burst of two segments."""
    tolerance = b.probe_rtt_min_delay // 64
    if b.max_bw > 0:
        tolerance = max(tolerance, 2 * b.smss * SECOND // b.max_bw)
    return tolerance


def update_min_rtt(b: BbrState, sample: AckSample) -> None:
    """UpdateMinRTT: the least of ten seconds, and the least of five, whose age calls for ProbeRTT."""
    now = sample.now
    rtt = sample.rtt
    # Each costs half of the share: beside flows that never yield no more often than theirs, ten seconds.
    interval = MIN_RTT_FILTER_LEN if b.contended else PROBE_RTT_INTERVAL
    b.probe_rtt_expired = now > b.probe_rtt_min_stamp + interval
    if rtt > 0:
        if b.probe_rtt_min_delay >= INFINITE:
            # The first sample of data: that of the handshake was of smaller packets.
            b.min_rtt = rtt
            b.min_rtt_stamp = now
        if rtt < b.probe_rtt_min_delay or b.probe_rtt_expired:
            b.probe_rtt_min_delay = rtt
            b.probe_rtt_min_stamp = now
        elif rtt <= b.probe_rtt_min_delay + min_rtt_tolerance(b):
            # As low as the minimum: there is no queue, and ProbeRTT would find nothing else. The minimum stays.
            b.probe_rtt_min_stamp = now
    if b.probe_rtt_min_delay < b.min_rtt or now > b.min_rtt_stamp + MIN_RTT_FILTER_LEN:
        b.min_rtt = b.probe_rtt_min_delay
        b.min_rtt_stamp = b.probe_rtt_min_stamp


# --- volumes (section 5.6.4.2) ---------------------------------------------------------------------------------------


def bdp_multiple(b: BbrState, bw: int, gain: float) -> int:
    """BDPMultiple."""
    if b.min_rtt >= INFINITE:
        return b.initial_window
    b.bdp = bw * b.min_rtt // SECOND
    return int(gain * b.bdp)


def quantization_budget(b: BbrState, inflight_cap: int) -> int:
    """QuantizationBudget: room for a burst on its way out, one in the network and one that waits for its ACK."""
    # Section 5.5.8: BBR.offload_budget = 3 * C.send_quantum.
    inflight_cap = max(inflight_cap, 3 * b.send_quantum, b.min_pipe_cwnd())
    if b.state == PROBE_BW_UP:
        inflight_cap += 2 * b.smss
    return inflight_cap


def inflight(b: BbrState, bw: int, gain: float) -> int:
    """Inflight(gain)."""
    return quantization_budget(b, bdp_multiple(b, bw, gain))


def update_max_inflight(b: BbrState) -> None:
    """UpdateMaxInflight."""
    b.max_inflight = quantization_budget(b, bdp_multiple(b, b.bw, b.cwnd_gain) + b.extra_acked)


def target_inflight(b: BbrState) -> int:
    """TargetInflight of section 5.3.3.8: the estimated BDP, unless congestion cut cwnd."""
    return min(b.bdp, b.cwnd)


def filling_volume(b: BbrState) -> int:
    """What must be in flight to fill the path: the BDP, and what bursts and delayed ACKs keep on the way besides."""
    return bdp_multiple(b, b.max_bw, 1.0) + 3 * b.send_quantum


def inflight_with_headroom(b: BbrState) -> int:
    """InflightWithHeadroom of section 5.3.3.9: leave a part of what fits to others, but use what fills the path."""
    longterm = b.inflight_longterm
    if longterm >= INFINITE:
        return INFINITE
    headroom = max(b.smss, int(HEADROOM * longterm))
    return max(longterm - headroom, min(longterm, filling_volume(b)), b.min_pipe_cwnd())
