"""What losses and marks say to BBR: how the model is lowered, and restored where they were a mistake.

Section numbers are those of draft-ietf-ccwg-bbr-06 unless another is told.

The draft takes each loss for a sign of too much in flight: 2 % while it probes, any loss while it does not. On a path
that loses 3 % whatever is in flight (radio, a bad cable) it therefore starves. Here a loss must have a cause first:

- A drop-tail queue that overflows is a full queue, and an AQM that drops has a standing one. Either shows in the
  round-trip time of the packets around the loss: the least of the last of them lies above the path's minimum by
  `queue_threshold` or more. Losses of which that is true are congestion, as are marks.
- Losses without such a delay are counted as the path's own: their share of the bytes is `baseline`. What comes with a
  queue counts as congestion only beyond this share, for what is lost anyway is lost then too.
- Losses without a delay can still be congestion: a policer drops without a queue, and a very short queue hardly shows.
  They are taken as such where they go far beyond the baseline (`POLICER_THRESH`), again and again in one round trip. An
  overflow in ProbeBW_UP costs a fifth of what is sent, a policer more.

Beside flows that yield neither to a queue nor to losses all of this is void: see `bbr_contended`.

A flow that pays no heed to `baseline` could be led on by losses of its own making; so the share is bounded
(`MAX_BASELINE`), it is learned only where the flow doesn't probe, and rounds that lost far more than it are left out.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from plankroad.tcp.cc.bbr_model import bdp_multiple, filling_volume, reset_full_bw, target_inflight
from plankroad.tcp.cc.bbr_state import (
    ACKS_INIT,
    ACKS_REFILLING,
    BETA,
    DRAIN,
    HEADROOM,
    INFINITE,
    LOSS_THRESH,
    NO_STATE,
    PROBE_BW_CRUISE,
    PROBE_RTT,
    STARTUP,
)
from plankroad.units import MILLISECOND, SECOND

if TYPE_CHECKING:
    from plankroad.tcp.cc.base import AckSample
    from plankroad.tcp.cc.bbr_state import BbrState

#: A queue stands where the round-trip time is this much above the minimum: an eighth of it, but 4 ms at the most (CoDel
#: lets 5 ms stand, RFC 8289 section 4.4); on slow paths a segment's time, for that is what a burst of two makes, but no
#: more than a quarter.
QUEUE_RTT_DIVISOR: Final = 8
QUEUE_RTT_MAX: Final = 4 * MILLISECOND
BURST_RTT_DIVISOR: Final = 4
#: Loss without a queue that is congestion nevertheless: this share of the bytes beyond the baseline.
POLICER_THRESH: Final = 0.05
#: ... and at so many moments. A burst of losses on a radio link is found at one or two.
LOSS_EVENTS: Final = 3
EVENT_SEGMENTS: Final = 8
#: The largest loss taken to be the path's own.
MAX_BASELINE: Final = 0.10
#: The baseline is that of the last so many segments and is reckoned as if there had been so many at the least.
QUIET_SEGMENTS_MAX: Final = 4000
QUIET_SEGMENTS_MIN: Final = 200
#: How many standard deviations of the losses expected are left to chance.
CHANCE: Final = 3.0
#: Round trips with a queue all the time, while cruising, after which the flow yields.
QUEUED_ROUNDS: Final = 2
#: ECN: the gain of the average share of marks (RFC 8257 section 3.3) and how much of it is taken off inflight.
CE_GAIN: Final = 1.0 / 16.0
CE_FACTOR: Final = 1.0 / 3.0


# --- is there a queue? -----------------------------------------------------------------------------------------------


def queue_threshold(b: BbrState) -> int:
    threshold = min(b.min_rtt // QUEUE_RTT_DIVISOR, QUEUE_RTT_MAX)
    if b.max_bw > 0:
        threshold = max(threshold, min(b.smss * SECOND // b.max_bw, b.min_rtt // BURST_RTT_DIVISOR))
    return threshold


def is_queued(b: BbrState) -> bool:
    """Do all packets of late tell of a queue?"""
    recent = b.recent_rtt.best()
    return recent >= 0 and b.min_rtt < INFINITE and recent >= b.min_rtt + queue_threshold(b)


def is_clear(b: BbrState) -> bool:
    """Is there next to no queue? Between this and `is_queued` losses tell nothing."""
    return b.recent_rtt.best() < b.min_rtt + queue_threshold(b) // 2


def by_chance(b: BbrState, nbytes: int) -> float:
    """How much of `nbytes` may be lost without any reason but the path's own losses."""
    if b.baseline <= 0.0:
        return 0.0
    expected = b.baseline * nbytes
    return expected + CHANCE * math.sqrt(expected * b.smss)


def _is_quiet(b: BbrState) -> bool:
    """Do the ACKs of now tell of data that was sent without probing?"""
    if b.state == STARTUP:
        return b.full_bw_count == 0
    return b.state != DRAIN and (b.ack_phase in (ACKS_INIT, ACKS_REFILLING))


def note_delivery(b: BbrState, sample: AckSample) -> None:
    """Each ACK, before anything else: its round-trip time, and what it counts for the baseline."""
    if sample.rtt > 0:
        span = sample.srtt // QUEUE_RTT_DIVISOR if b.min_rtt >= INFINITE else b.min_rtt // QUEUE_RTT_DIVISOR
        b.recent_rtt.update(sample.rtt, sample.now, span)
    if sample.sacked > 0:
        b.has_selective_acks = True
    if b.recovering and sample.delivered >= b.recovering_until:
        # All that was outstanding at the timeout has arrived.
        b.recovering_until = INFINITE
        end_recovery(b)
    b.round_delivered += sample.newly_delivered
    if _is_quiet(b):
        # With a queue or not: where one stands, losses count for nothing, and the share sinks rather than rises.
        b.round_quiet_delivered += sample.newly_delivered


def end_round(b: BbrState) -> None:
    """A packet-timed round is over: its losses join the baseline, if they are like those before."""
    lost = b.round_quiet_lost
    total = lost + b.round_quiet_delivered
    if total > 0 and lost <= by_chance(b, total) + POLICER_THRESH * total + LOSS_EVENTS * b.smss:
        b.quiet_lost += lost
        b.quiet_delivered += b.round_quiet_delivered
        total = b.quiet_lost + b.quiet_delivered
        if total > 0:
            b.baseline = min(b.quiet_lost / max(total, QUIET_SEGMENTS_MIN * b.smss), MAX_BASELINE)
        if total > QUIET_SEGMENTS_MAX * b.smss:
            b.quiet_lost //= 2
            b.quiet_delivered //= 2
    b.round_quiet_lost = 0
    b.round_quiet_delivered = 0
    b.round_delivered = 0
    b.previous_loss_events = b.loss_events
    b.loss_events = 0


# --- losses ----------------------------------------------------------------------------------------------------------


def note_loss(b: BbrState, now: int, nbytes: int) -> None:
    """NoteLoss of section 5.5.10.2, and the counts of the round."""
    queued = is_queued(b)
    if not b.is_loss_in_round:
        b.loss_round_delivered = b.delivered
        b.loss_round_start_delivered = b.delivered
        b.loss_round_lost = 0
        b.loss_round_queued_lost = 0
        b.loss_round_events = 0
        b.is_loss_in_round = True
        if not b.recovering and now != b.last_loss_at:
            save_state_upon_loss(b)
    if now != b.last_loss_at:
        # The draft counts discontiguous sequence ranges; what one ACK or timer finds lost stands for a range here.
        b.last_loss_at = now
        b.loss_events += 1
        b.loss_round_events += 1
    b.loss_round_lost += nbytes
    if queued:
        b.loss_round_queued_lost += nbytes
    elif _is_quiet(b) and is_clear(b):
        b.round_quiet_lost += nbytes


def loss_allowance(b: BbrState, volume: int, queued: bool) -> float:
    """How much of `volume` may be lost before it was too much: LossThresh beyond what the path loses anyway."""
    if queued:
        # Section 5.3.1.3: without SACK one loss in a round trip is all that can be seen.
        return by_chance(b, volume) + (LOSS_THRESH * volume if b.has_selective_acks else 0.0)
    return by_chance(b, volume) + POLICER_THRESH * volume


def events_needed(b: BbrState, volume: int) -> int:
    """At how many moments losses must be found: fewer where a round trip has but a few packets."""
    return min(max(volume // (EVENT_SEGMENTS * b.smss), 1), LOSS_EVENTS)


def is_inflight_too_high(b: BbrState, lost: int, volume: int) -> bool:
    """IsInflightTooHigh: `lost` of `volume` in flight were lost (RS.lost, RS.tx_in_flight)."""
    if lost <= 0:
        return False
    if b.has_selective_acks and b.loss_events + b.previous_loss_events < events_needed(b, volume):
        return False
    return lost > loss_allowance(b, volume, is_queued(b))


def inflight_at_loss(b: BbrState, size: int, lost: int, tx_in_flight: int) -> int:
    """InflightAtLoss: how much was in flight when losses went beyond the allowance, within a burst of `size`."""
    inflight_prev = tx_in_flight - size
    thresh = LOSS_THRESH if is_queued(b) else POLICER_THRESH
    lost_prefix = (thresh * inflight_prev + by_chance(b, inflight_prev) - (lost - size)) / (1.0 - thresh)
    return inflight_prev + min(max(int(lost_prefix), 0), size)


def set_inflight_too_high(b: BbrState, tx_in_flight: int, app_limited: bool) -> None:
    """The part of HandleInflightTooHigh that lowers the model."""
    b.prev_probe_too_high = True
    b.is_bw_probe_sample = False
    if app_limited or b.contended:
        return
    # What others shall find room in is left at once, but not so much that cruising could not fill the path.
    least = min(tx_in_flight, filling_volume(b))
    bound = max(int(tx_in_flight * (1.0 - HEADROOM)), least, int(target_inflight(b) * BETA))
    if not is_queued(b) and b.ce_in_round == 0:
        # Without a queue what is in flight did not exceed what the path holds: the rate did. The bound leaves the BDP.
        bound = max(bound, filling_volume(b))
    b.inflight_longterm = bound


# --- once a round (section 5.5.10.3) ---------------------------------------------------------------------------------


def reset_congestion_signals(b: BbrState) -> None:
    b.is_loss_in_round = False
    b.ce_in_loss_round = False
    b.bw_latest = 0
    b.inflight_latest = 0


def reset_shortterm_model(b: BbrState) -> None:
    b.bw_shortterm = INFINITE
    b.inflight_shortterm = INFINITE
    b.policed = False


def update_latest_delivery_signals(b: BbrState, sample: AckSample) -> None:
    """UpdateLatestDeliverySignals."""
    if not is_queued(b):
        b.queued_rounds = -1
        if not is_clear(b):
            b.clear_round = False
    else:
        b.clear_round = False
    b.loss_round_start = False
    if sample.newly_delivered <= 0:
        return
    b.bw_latest = max(b.bw_latest, sample.delivery_rate)
    b.inflight_latest = max(b.inflight_latest, sample.rate_delivered)
    if sample.prior_delivered >= b.loss_round_delivered:
        b.loss_round_delivered = b.delivered
        b.loss_round_start = True


def advance_latest_delivery_signals(b: BbrState, sample: AckSample) -> None:
    """AdvanceLatestDeliverySignals."""
    if b.loss_round_start:
        b.bw_latest = sample.delivery_rate
        b.inflight_latest = sample.rate_delivered


def is_loss_round_congested(b: BbrState) -> bool:
    """Were the losses of the round that ends more than the path's own?"""
    if not b.is_loss_in_round:
        return False
    lost = b.loss_round_lost
    total = lost + b.delivered - b.loss_round_start_delivered
    if b.loss_round_queued_lost > by_chance(b, total):
        return True
    if b.loss_round_events >= events_needed(b, total) and lost > loss_allowance(b, total, False):
        b.policed = True
        return True
    return False


def _raise_lower_bounds(b: BbrState) -> None:
    """A round trip without loss, mark or queue: the queue that the short-term model was lowered for is gone."""
    b.bw_shortterm += b.bw_shortterm >> 3
    if b.inflight_shortterm < INFINITE:
        b.inflight_shortterm += b.inflight_shortterm >> 3
    if b.bw_shortterm >= b.max_bw:
        reset_shortterm_model(b)


def is_startup_overflowing(b: BbrState) -> bool:
    """So far in this round, are losses those of a full queue?"""
    if not b.is_loss_in_round or b.loss_round_queued_lost <= 0:
        return False
    total = b.loss_round_lost + b.delivered - b.loss_round_start_delivered
    return b.loss_round_events >= events_needed(b, total) and b.loss_round_queued_lost > loss_allowance(
        b, total, True
    )


def adapt_lower_bounds_from_congestion(b: BbrState) -> None:
    """AdaptLowerBoundsFromCongestion: slow down towards what was delivered in the last round trip."""
    if b.is_probing_bw() or b.contended:
        return
    lossy = is_loss_round_congested(b)
    if b.state != PROBE_BW_CRUISE:
        b.queued_rounds = -1
    elif not lossy:
        b.queued_rounds += 1
        if b.queued_rounds >= QUEUED_ROUNDS:
            b.bw_shortterm = max(min(b.bw_shortterm, b.bw_latest), int(BETA * b.bw))
    if not lossy and not b.ce_in_loss_round:
        if b.clear_round and not b.policed and b.bw_shortterm < INFINITE:
            _raise_lower_bounds(b)
        b.clear_round = True
        return
    b.clear_round = True
    # InitLowerBounds
    if b.bw_shortterm >= INFINITE:
        b.bw_shortterm = b.max_bw
    if b.inflight_shortterm >= INFINITE:
        b.inflight_shortterm = b.cwnd
    # LossLowerBounds
    latest = b.bw_latest
    if b.pacing_gain < 1.0:
        # What arrives of a flow that holds itself back says how much of what it sends the path takes, no more.
        latest = min(int(latest / b.pacing_gain), b.bw)
    b.bw_shortterm = max(latest, int(BETA * b.bw_shortterm))
    b.inflight_shortterm = max(b.inflight_latest, int(BETA * b.inflight_shortterm))
    if b.ce_in_loss_round:
        # Section 3.7: "the congestion controller response MUST treat any CE marks as congestion". What is delivered
        # does not shrink by a mark, so the window does, by a part of the share that was marked (as RFC 8257 section
        # 3.3 does it).
        b.inflight_shortterm = int(b.inflight_shortterm * (1.0 - CE_FACTOR * b.ce_alpha))


# --- marks -----------------------------------------------------------------------------------------------------------


def note_marks(b: BbrState, sample: AckSample) -> None:
    """Bytes that arrived with a congestion mark."""
    if sample.ce_bytes > 0:
        b.ce_in_round += sample.ce_bytes
        b.ce_in_loss_round = True
    if b.round_start:
        if b.round_delivered > 0:
            share = min(b.ce_in_round / b.round_delivered, 1.0)
            b.ce_alpha += (share - b.ce_alpha) * CE_GAIN
        b.ce_in_round = sample.ce_bytes


def is_marking_too_high(b: BbrState, sample: AckSample) -> bool:
    """While probing: marks are held against the same threshold as losses."""
    return b.ce_in_round > LOSS_THRESH * sample.tx_in_flight


# --- recovery and undo (sections 5.5.11 and 5.6.4.4) -----------------------------------------------------------------


def save_cwnd(b: BbrState) -> None:
    if not b.recovering and b.state != PROBE_RTT:
        b.prior_cwnd = b.cwnd
    else:
        b.prior_cwnd = max(b.prior_cwnd, b.cwnd)


def restore_cwnd(b: BbrState) -> None:
    b.cwnd = max(b.cwnd, b.prior_cwnd)


def save_state_upon_loss(b: BbrState) -> None:
    """SaveStateUponLoss, once a recovery: what a later round of it would save has been lowered by it already."""
    save_cwnd(b)
    b.undo_possible = True
    b.undo_state = NO_STATE
    b.undo_bw_shortterm = b.bw_shortterm
    b.undo_inflight_shortterm = b.inflight_shortterm
    b.undo_inflight_longterm = b.inflight_longterm


def end_recovery(b: BbrState) -> None:
    if b.recovering:
        b.recovering = False
        restore_cwnd(b)


def restore_model(b: BbrState) -> None:
    """The part of HandleSpuriousLossDetection that restores the model."""
    restore_cwnd(b)
    b.is_loss_in_round = False
    reset_full_bw(b)
    b.bw_shortterm = max(b.bw_shortterm, b.undo_bw_shortterm)
    b.inflight_shortterm = max(b.inflight_shortterm, b.undo_inflight_shortterm)
    b.inflight_longterm = max(b.inflight_longterm, b.undo_inflight_longterm)


def startup_loss_bound(b: BbrState) -> int:
    """Section 5.3.1.3: max(BBR.bdp, BBR.inflight_latest)."""
    bdp_multiple(b, b.max_bw, 1.0)
    return max(b.bdp, b.inflight_latest)
