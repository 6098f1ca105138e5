"""How BBR knows a neighbour that never yields by what is lost while it cruises, and when it takes it to be gone."""

from __future__ import annotations

import pytest

from plankroad.tcp.cc import AckSample
from plankroad.tcp.cc.bbr import Bbr
from plankroad.tcp.cc.bbr_contended import (
    CRUISE_SPAN,
    CRUISE_SPANS,
    DOWN_ROUNDS,
    LONG_DOWN_ROUNDS,
    down_rounds,
    judge_before_probe,
    note_cruise_loss,
    watch_cruise,
)
from plankroad.tcp.cc.bbr_state import INFINITE, PROBE_BW_CRUISE, PROBE_BW_UP, enter_state
from plankroad.units import MILLISECOND

SMSS = 1000
MIN_RTT = 50 * MILLISECOND
#: Of a round trip with a full queue, and with one that is nearly empty.
FULL = 100 * MILLISECOND
LOW = 60 * MILLISECOND
ROUND = 100_000


class Cruise:
    """A flow that cruises, with `bdp` packets on the way. What it is told of comes round trip by round trip."""

    def __init__(self, bdp: int = 100) -> None:
        self.cc = Bbr(SMSS, 10 * SMSS)
        self.cc.min_rtt = MIN_RTT
        self.cc.bdp = bdp * SMSS
        self.cc.max_bw = 1_000_000
        self.cc.bw_shortterm = 500_000
        enter_state(self.cc, PROBE_BW_CRUISE)
        self.now = 0

    def spans(self, count: int, lost: float, rtt: int = FULL, low_rounds: int = 0) -> Cruise:
        """So many spans, of which a share is `lost`; `low_rounds` round trips of a hundred have a low queue."""
        for _ in range(count):
            end = self.now + CRUISE_SPAN + MILLISECOND
            number = 0
            while self.now < end:
                now_rtt = LOW if number % 100 < low_rounds else rtt
                self.cc.recent_rtt.update(now_rtt, self.now, 0)
                self.cc.recent_rtt.update(now_rtt, self.now, 0)
                self.cc.round_start = True
                note_cruise_loss(self.cc, int(ROUND * lost))
                self.now += 10 * MILLISECOND
                watch_cruise(
                    self.cc,
                    AckSample(now=self.now, newly_delivered=int(ROUND * (1 - lost)), rtt=now_rtt),
                )
                number += 1
        return self


def test_losses_that_go_on_with_a_full_queue_tell() -> None:
    flow = Cruise(bdp=5).spans(CRUISE_SPANS - 1, lost=0.04)
    assert not flow.cc.contended
    flow.spans(2, lost=0.04)
    assert flow.cc.contended
    assert flow.cc.inflight_longterm == flow.cc.bw_shortterm == INFINITE


def test_a_burst_of_losses_as_another_flow_joins_does_not() -> None:
    flow = Cruise(bdp=5).spans(2, lost=0.2).spans(20, lost=0.01)
    assert not flow.cc.contended


def test_losses_without_a_queue_do_not() -> None:
    flow = Cruise().spans(20, lost=0.1, rtt=MIN_RTT)
    assert not flow.cc.contended


@pytest.mark.parametrize(("bdp", "known"), [(100, True), (10, False)])
def test_fewer_losses_tell_where_many_packets_are_on_the_way_and_the_queue_stays(bdp: int, known: bool) -> None:
    # A flow of ten packets loses a larger share by each probe of another.
    assert Cruise(bdp).spans(CRUISE_SPANS + 2, lost=0.02).cc.contended is known


def test_a_queue_that_gets_short_now_and_then_is_shared_by_flows_that_yield() -> None:
    flow = Cruise()
    for _ in range(6):
        flow.spans(2, lost=0.02).spans(1, lost=0.02, low_rounds=40)
    assert not flow.cc.contended


def test_what_is_lost_by_probing_does_not_count() -> None:
    flow = Cruise(bdp=5)
    enter_state(flow.cc, PROBE_BW_UP)
    flow.cc.ack_phase = 2
    assert not flow.spans(20, lost=0.1).cc.contended


def test_two_empty_queues_after_long_drains_end_it() -> None:
    cc = Cruise(bdp=5).spans(CRUISE_SPANS + 1, lost=0.05).cc
    assert cc.contended
    drains = []
    for turn in range(9):
        # Somebody keeps it full at first.
        rtt = FULL if turn < 3 else MIN_RTT
        drains.append(down_rounds(cc))
        cc.recent_rtt.update(rtt, (turn + 1000) * CRUISE_SPAN, 0)
        cc.recent_rtt.update(rtt, (turn + 1000) * CRUISE_SPAN, 0)
        assert cc.contended
        judge_before_probe(cc)
    assert drains == [DOWN_ROUNDS, DOWN_ROUNDS, LONG_DOWN_ROUNDS] * 3
    assert not cc.contended
