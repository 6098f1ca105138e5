"""Proportional rate reduction: RFC 9937, and what may be in flight in a recovery."""

from __future__ import annotations

import pytest
from tests.tcp.flight import MSS, RTT, at, flight

from plankroad.tcp.config import TcpConfig
from plankroad.tcp.constants import OPEN, RECOVERY
from plankroad.testing.pair import Pair
from plankroad.units import MILLISECOND
from plankroad.wire.segment import Segment


@pytest.mark.requirement("prr")
def test_sending_goes_on_through_recovery_at_the_rate_of_arrivals_times_the_reduction() -> None:
    # RFC 9937 section 6: sndcnt = CEIL(prr_delivered * ssthresh / RecoverFS) - prr_out. One segment of twenty is lost.
    # The rest arrive one by one, and half of them are answered by one segment each (ssthresh is half of the flight).
    peer = flight(20)
    peer.conn.send(peer.now, bytes(40 * MSS))
    sent = [peer.segment(".", ack=at(0), sack=[(at(1), at(i + 1))]) for i in range(1, 20)]
    t = peer.conn.tcb
    assert t.congestion == RECOVERY
    began = next(i for i, out in enumerate(sent) if out and out[0].seq == at(0))
    after = [len(out) for out in sent[began + 1 :]]
    assert max(after) <= 1
    assert len(after) // 2 - 2 <= sum(after) <= len(after) // 2 + 2
    # "At the end of recovery as close as possible to ssthresh".
    assert abs(t.pipe() - t.cc.ssthresh) <= 2 * MSS
    peer.advance(RTT)
    peer.segment(".", ack=t.recover - t.iss)
    assert t.congestion == OPEN
    assert t.cc.ssthresh <= t.cc.cwnd <= t.cc.ssthresh + MSS


@pytest.mark.requirement("prr")
def test_heavy_losses_are_repaired_no_faster_than_data_arrives_until_it_goes_well() -> None:
    # PRR-CRB: "sndcnt = MAX(prr_delivered - prr_out, DeliveredData)"; 15 of 20 are lost, so pipe is below ssthresh.
    peer = flight(20)
    out = peer.segment(".", ack=at(0), sack=[(at(15), at(18))])
    assert sum(len(s.payload) for s in out) <= 3 * MSS
    out = peer.segment(".", ack=at(0), sack=[(at(15), at(20))])
    assert sum(len(s.payload) for s in out) == 2 * MSS
    # PRR-SSRB: SND.UNA moves and nothing more is found lost: one more, as in slow start.
    peer.advance(RTT)
    out = peer.segment(".", ack=at(1), sack=[(at(15), at(20))])
    assert sum(len(s.payload) for s in out) == 2 * MSS


def test_an_ack_that_shows_more_loss_gets_no_bonus() -> None:
    peer = flight(20)
    peer.segment(".", ack=at(0), sack=[(at(10), at(13))])
    peer.advance(RTT)
    out = peer.segment(".", ack=at(1), sack=[(at(16), at(17)), (at(10), at(13))])
    assert peer.conn.tcb.scoreboard.lost > 0
    assert sum(len(s.payload) for s in out) <= 2 * MSS


def test_the_first_retransmission_goes_whatever_is_in_flight() -> None:
    # "Force a fast retransmit upon entering recovery".
    peer = flight(30)
    out = peer.segment(".", ack=at(0), sack=[(at(27), at(30))])
    assert out[0].seq == at(0)


def test_prr_works_without_sack() -> None:
    peer = flight(20, sack=False)
    peer.conn.send(peer.now, bytes(40 * MSS))
    for _ in range(3):
        peer.segment(".", ack=at(0))
    assert peer.conn.tcb.congestion == RECOVERY
    more = sum(len(peer.segment(".", ack=at(0))) for _ in range(16))
    assert 4 <= more <= 10


def test_the_window_closes_in_recovery_and_the_loss_is_still_repaired() -> None:
    # The peer's window shuts while a hole is being repaired: what was sent goes again, new data waits.
    peer = flight(10)
    peer.conn.send(peer.now, bytes(10 * MSS))
    out = peer.segment(".", ack=at(0), sack=[(at(1), at(10))], wnd=10 * MSS)
    assert [s.seq for s in out] == [at(0)]
    peer.advance(RTT)
    assert peer.segment(".", ack=at(10), wnd=0) == []
    assert peer.conn.tcb.congestion == OPEN
    probes = []
    for _ in range(2):
        probes += peer.next_timer()
    assert all(len(s.payload) <= 1 for s in probes)
    out = peer.segment(".", ack=at(10), wnd=65535)
    assert out[0].seq == at(10)
    assert peer.counters.timeouts == 0


@pytest.mark.parametrize("every", [2, 4, 8, 16])
def test_stretch_acks_and_lost_acks_do_not_stall_a_transfer(every: int) -> None:
    # Of the receiver's ACKs one in `every` comes through, or the first after a pause; one data segment in a hundred is
    # lost.
    count = 0
    passed = 0

    def rule(number: int, sender: str, seg: Segment) -> list[int]:
        nonlocal count, passed
        if sender == "b" and not seg.payload and not seg.flags & 0x03:
            count += 1
            if count % every and pair.now - passed < 30 * MILLISECOND:
                return []
            passed = pair.now
            return [0]
        return [] if sender == "a" and seg.payload and number % 100 == 37 else [0]

    pair = Pair(TcpConfig(), rule=rule, delay=20 * MILLISECOND)
    pair.connect()
    data = bytes(range(256)) * 4000
    began = pair.now
    pair.a.send(data)
    pair.run_until(lambda: len(pair.b.received) == len(data))
    assert pair.b.received == data
    assert pair.now - began < 10_000 * MILLISECOND
