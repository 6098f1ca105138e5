"""Beside flows that never yield: how BBR knows them, and how long it does as they do.

There are flows that answer neither to a queue nor to losses, the BBR of 2016 first among them: they keep as much in the
queue as it takes, and whoever yields to them is left with a sixth of the path. Three things tell them from all others:

- When this flow is in ProbeRTT most of the queue stays, twice in a row. That is so where the queue is long.
- Where it is short, losses with a full queue go on while this flow cruises: `CRUISE_LOSS` of what it sends, for ten
  seconds and longer. Flows that yield lose while one of them probes and in the first seconds after one joined.
- Where a path holds many packets less is lost, but the queue never gets short: `STEADY_SPANS` long it was, and
  something was lost all the same. Flows that yield empty it every few seconds, for all of them find ProbeRTT together.

Then the flow is `contended`, and does as they do: twice the BDP in flight, whatever is lost, a probe every eight round
trips, ProbeRTT every ten seconds; until it finds the queue empty again (`LONG_DOWN_EVERY`). Many flows of ours that
have just come, or too many for a short path, look the same at times. They share it as well then, and lose more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from plankroad.tcp.cc.bbr_loss import by_chance, is_clear, is_queued, queue_threshold, reset_shortterm_model
from plankroad.tcp.cc.bbr_state import ACKS_INIT, ACKS_REFILLING, INFINITE
from plankroad.units import SECOND

if TYPE_CHECKING:
    from plankroad.tcp.cc.base import AckSample
    from plankroad.tcp.cc.bbr_state import BbrState

#: ProbeRTTs in a row that must find the queue full: one may meet a flow that does not know yet that it is not alone.
CONTENDED_PROBES: Final = 2
#: How long ProbeBW_DOWN may take, in whole rounds. So the flow's own probes leave a little in the queue; each third
#: time all of it is drained, and where then twice in a row the queue is empty, nobody is there who keeps it full.
DOWN_ROUNDS: Final = 2
LONG_DOWN_ROUNDS: Final = 4
LONG_DOWN_EVERY: Final = 3
CLEAR_DRAINS: Final = 2
#: The share of bytes lost beyond the path's own losses, averaged over a few spans: those before count half each time.
CRUISE_LOSS: Final = 0.03
CRUISE_SPAN: Final = 2 * SECOND
CRUISE_SPAN_RTTS: Final = 16
#: ... where in so many spans in a row less than a quarter of the round trips had a queue of less than a third.
STEADY_LOSS: Final = 0.01
STEADY_SPANS: Final = 4
#: A flow with few packets on the way loses a larger share by each probe, its own or another's: this, in packets.
STEADY_PACKETS: Final = 0.5
#: The longest round trips are those of so many spans, or twice as many.
HIGH_SPANS: Final = 8
#: Before so many spans are over the flow, or another, has just come.
CRUISE_SPANS: Final = 6


def _cruises(b: BbrState) -> bool:
    """Do the ACKs of now tell of data that was sent without probing?"""
    return b.is_in_probe_bw() and b.ack_phase in (ACKS_INIT, ACKS_REFILLING)


def note_cruise_loss(b: BbrState, nbytes: int) -> None:
    """`nbytes` were found lost."""
    if _cruises(b) and is_queued(b):
        b.cruise_lost += nbytes


def watch_cruise(b: BbrState, sample: AckSample) -> None:
    """Each ACK: count what arrived, and judge when a span of time is over."""
    if sample.rtt > b.rtt_high:
        b.rtt_high = sample.rtt
    if _cruises(b):
        b.cruise_delivered += sample.newly_delivered
        if b.round_start:
            b.cruise_rounds += 1
            if 3 * (b.recent_rtt.best() - b.min_rtt) < max(b.rtt_high, b.rtt_high_before) - b.min_rtt:
                b.cruise_low += 1
    if sample.now - b.cruise_since > max(CRUISE_SPAN, CRUISE_SPAN_RTTS * b.min_rtt):
        _end_span(b, sample.now)


def _end_span(b: BbrState, now: int) -> None:
    b.cruise_since = now
    total = b.cruise_lost + b.cruise_delivered
    if b.contended or total <= 0:
        b.cruise_spans = b.cruise_steady = b.cruise_rounds = b.cruise_low = b.cruise_lost = b.cruise_delivered = 0
        return
    b.cruise_spans += 1
    b.cruise_steady = b.cruise_steady + 1 if 4 * b.cruise_low < b.cruise_rounds else 0
    share = CRUISE_LOSS
    if b.cruise_steady >= STEADY_SPANS:
        share = min(max(STEADY_LOSS, STEADY_PACKETS * b.smss / max(b.bdp, 1)), CRUISE_LOSS)
    if b.cruise_spans >= CRUISE_SPANS and b.cruise_lost > by_chance(b, total) + share * total:
        _begin(b)
    if b.cruise_spans % HIGH_SPANS == 0:
        b.rtt_high_before = b.rtt_high
        b.rtt_high = 0
    b.cruise_rounds = 0
    b.cruise_low = 0
    b.cruise_lost //= 2
    b.cruise_delivered //= 2


def judge_probe_rtt(b: BbrState) -> None:
    """A ProbeRTT is over: did most of the queue stay? Then whoever shares it did not yield."""
    stayed = b.min_rtt + max(queue_threshold(b), (b.probe_rtt_before - b.min_rtt) // 2)
    if b.probe_rtt_least < stayed or b.probe_rtt_least >= INFINITE or not b.full_bw_reached:
        b.probe_rtt_full = 0
    else:
        b.probe_rtt_full += 1
    if b.probe_rtt_full >= CONTENDED_PROBES:
        _begin(b)


def down_rounds(b: BbrState) -> int:
    """How long ProbeBW_DOWN may take, in rounds, whatever is in flight."""
    return DOWN_ROUNDS if b.contended_probes % LONG_DOWN_EVERY else LONG_DOWN_ROUNDS


def judge_before_probe(b: BbrState) -> None:
    """ProbeBW_UP begins: is it over?"""
    if not b.contended:
        return
    if b.contended_probes % LONG_DOWN_EVERY == 0:
        b.clear_drains = b.clear_drains + 1 if is_clear(b) else 0
        if b.clear_drains >= CLEAR_DRAINS:
            b.contended = False
    b.contended_probes += 1


def _begin(b: BbrState) -> None:
    if not b.contended:
        b.contended = True
        b.contended_probes = 1
        b.clear_drains = 0
    b.inflight_longterm = INFINITE
    reset_shortterm_model(b)
