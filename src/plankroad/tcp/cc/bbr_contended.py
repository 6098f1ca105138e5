"""Beside flows that never yield: how BBR knows them, and how long it does as they do.

There are flows that answer neither to a queue nor to losses, the BBR of 2016 first among them: they keep as much in the
queue as it takes, and whoever yields to them is left with a sixth of the path. Two things tell them from all others:

- Where the queue is long: when this flow is in ProbeRTT most of the queue stays, twice in a row.
- Where it is short: losses with a full queue go on while this flow cruises, more than `CRUISE_LOSS` of what it sends
  for ten seconds and longer. Flows that yield lose while one of them probes and in the first seconds after one joined.

Then the flow is `contended`, and does as they do: twice the BDP in flight, whatever is lost, a probe every eight round
trips, ProbeRTT every ten seconds; until for some seconds each probe began with an empty queue. Too many flows on a path
too short for their least windows look the same, and share it better so, at the price of more losses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from plankroad.tcp.cc.bbr_loss import by_chance, is_clear, is_queued, queue_threshold, reset_shortterm_model
from plankroad.tcp.cc.bbr_state import ACKS_INIT, ACKS_REFILLING, CONTENDED_ROUNDS, INFINITE
from plankroad.units import SECOND

if TYPE_CHECKING:
    from plankroad.tcp.cc.base import AckSample
    from plankroad.tcp.cc.bbr_state import BbrState

#: ProbeRTTs in a row that must find the queue full: one may meet a flow that does not know yet that it is not alone.
CONTENDED_PROBES: Final = 2
#: For how long probes must have begun with an empty queue: ten ProbeRTTs of such flows, and three probes of ours.
CONTENDED_MEMORY: Final = 2 * SECOND
#: The share of bytes lost beyond the path's own losses, averaged over a few spans: those before count half each time.
CRUISE_LOSS: Final = 0.03
CRUISE_SPAN: Final = 2 * SECOND
CRUISE_SPAN_RTTS: Final = 16
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
    if _cruises(b):
        b.cruise_delivered += sample.newly_delivered
    now = sample.now
    if now - b.cruise_since <= max(CRUISE_SPAN, CRUISE_SPAN_RTTS * b.min_rtt):
        return
    b.cruise_since = now
    total = b.cruise_lost + b.cruise_delivered
    if b.contended or total <= 0:
        b.cruise_spans = 0
        b.cruise_lost = 0
        b.cruise_delivered = 0
        return
    b.cruise_spans += 1
    if b.cruise_spans >= CRUISE_SPANS and b.cruise_lost > by_chance(b, total) + CRUISE_LOSS * total:
        _begin(b, now)
    b.cruise_lost //= 2
    b.cruise_delivered //= 2


def judge_probe_rtt(b: BbrState, now: int) -> None:
    """A ProbeRTT is over: did most of the queue stay? Then whoever shares it did not yield."""
    stayed = b.min_rtt + max(queue_threshold(b), (b.probe_rtt_before - b.min_rtt) // 2)
    if b.probe_rtt_least < stayed or b.probe_rtt_least >= INFINITE or not b.full_bw_reached:
        b.probe_rtt_full = 0
    else:
        b.probe_rtt_full += 1
    if b.probe_rtt_full >= CONTENDED_PROBES:
        _begin(b, now)


def judge_before_probe(b: BbrState, now: int) -> None:
    """ProbeBW_UP begins: is it over?"""
    if not b.contended:
        return
    if not is_clear(b):
        b.contended_at = now
    elif now > b.contended_at + max(CONTENDED_MEMORY, 3 * CONTENDED_ROUNDS * b.min_rtt):
        b.contended = False


def _begin(b: BbrState, now: int) -> None:
    b.contended = True
    b.contended_at = now
    b.inflight_longterm = INFINITE
    reset_shortterm_model(b)
