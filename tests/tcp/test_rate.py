"""Delivery-rate samples (draft-ietf-ccwg-bbr section 4.1) and pacing."""

from __future__ import annotations

import pytest
from tests.tcp.flight import MSS, RTT, at, flight

from plankroad.tcp.cc import AckSample, CongestionControl, register
from plankroad.tcp.config import TcpConfig
from plankroad.tcp.constants import TIMER_PACING
from plankroad.testing.pair import Pair
from plankroad.testing.scripted import ScriptedPeer
from plankroad.units import MILLISECOND, NEVER, SECOND


class Fixed(CongestionControl):
    """A wide window at a fixed rate; keeps a copy of what it is told."""

    def __init__(self, smss: int, initial_window: int) -> None:
        super().__init__(smss, initial_window)
        self.cwnd = 1 << 20
        self.pacing_rate = 1_000_000
        self.samples: list[tuple[int, int, int, bool]] = []

    def on_ack(self, sample: AckSample) -> None:
        self.samples.append((sample.now, sample.delivery_rate, sample.rate_interval, sample.app_limited))

    def on_congestion(self, now: int, signal: int, in_flight: int) -> None:
        pass


register("fixed", Fixed)


def fixed(peer: ScriptedPeer) -> Fixed:
    cc = peer.conn.tcb.cc
    assert isinstance(cc, Fixed)
    return cc


def test_the_rate_of_a_flight_that_arrives_evenly_is_found() -> None:
    # Ten segments leave at once; the path delivers one each 10 ms: 100 kB/s.
    peer = flight(10, congestion_control="fixed")
    for i in range(1, 31):
        peer.segment(".", ack=at(i))
        peer.send(bytes(MSS))
        peer.advance(10 * MILLISECOND)
    rates = [rate for _, rate, _, _ in fixed(peer).samples[20:]]
    assert len(rates) == 10
    assert all(abs(rate - 100_000) <= 10_000 for rate in rates)
    assert abs(peer.conn.tcb.delivery_rate - 100_000) <= 10_000


def test_acks_that_come_compressed_do_not_raise_the_rate() -> None:
    # "Use the longer of the send_elapsed and ack_elapsed": the data left over 100 ms, whatever the ACKs do.
    peer = flight(10, spacing=10 * MILLISECOND, congestion_control="fixed")
    peer.advance(10 * RTT)
    for i in range(1, 11):
        peer.segment(".", ack=at(i))
    assert max(rate for _, rate, _, _ in fixed(peer).samples) <= 110_000


def test_what_the_program_did_not_send_is_no_limit_of_the_path() -> None:
    # Section 4.1.2.4.
    peer = flight(2, congestion_control="fixed", snd_buf=100 * MSS)
    fixed(peer).cwnd = 2 * MSS
    peer.conn.send(peer.now, bytes(2 * MSS))
    for i in range(1, 5):
        peer.segment(".", ack=at(i))
        peer.advance(RTT)
    # The first two were written to an idle connection; the next waited for cwnd.
    assert [limited for _, _, _, limited in fixed(peer).samples] == [True, True, False, False]
    fixed(peer).cwnd = 100 * MSS
    peer.send(bytes(MSS))
    peer.advance(RTT)
    peer.segment(".", ack=at(5))
    assert fixed(peer).samples[-1][3]
    assert peer.conn.info(peer.now)["delivery_rate_app_limited"] == 1


def test_sacked_and_acknowledged_octets_count_once() -> None:
    peer = flight(10)
    peer.segment(".", ack=at(0), sack=[(at(1), at(5))])
    assert peer.conn.tcb.delivered == 4 * MSS
    peer.segment(".", ack=at(3), sack=[(at(3), at(5))])
    assert peer.conn.tcb.delivered == 5 * MSS
    peer.segment(".", ack=at(10))
    assert peer.conn.tcb.delivered == 10 * MSS


def paced(rate: int = 1_000_000, **options: object) -> ScriptedPeer:
    config = TcpConfig(congestion_control="fixed", timestamps=False)
    for name, value in options.items():
        setattr(config, name, value)
    peer = ScriptedPeer(config, pacing=True)
    peer.establish(mss=MSS, wnd=65535)
    fixed(peer).pacing_rate = rate
    peer.conn.tcb.pacing_rate = rate
    return peer


def test_after_the_first_flight_data_leaves_at_the_rate_in_small_bursts() -> None:
    peer = paced()
    first = peer.send(bytes(60 * MSS))
    # RFC 6928: an initial window may leave at once.
    assert len(first) == 10
    assert peer.conn.tcb.timers[TIMER_PACING] == peer.now + 10 * MILLISECOND
    began = peer.now
    times = []
    for _ in range(20):
        out = peer.next_timer()
        assert len(out) == 2
        times.append(peer.now - began)
    # 2,000 octets each 2 ms: 1,000,000 a second.
    assert times == [10 * MILLISECOND + i * 2 * MILLISECOND for i in range(20)]


def test_a_wake_up_that_comes_late_is_made_up_for() -> None:
    peer = paced()
    peer.send(bytes(60 * MSS))
    peer.next_timer()
    due = peer.conn.next_timeout()
    peer.now = due + 1_900_000
    peer.conn.handle_timeout(peer.now)
    peer.output()
    # Not from when it was done, but from when it was due.
    assert peer.conn.tcb.timers[TIMER_PACING] == due + 2 * MILLISECOND


def test_a_long_pause_gives_no_credit_for_a_burst() -> None:
    peer = paced()
    peer.send(bytes(12 * MSS))
    while peer.conn.tcb.snd_nxt - peer.conn.tcb.iss < at(12):
        peer.next_timer()
    peer.advance(10 * RTT)
    out = peer.send(bytes(40 * MSS))
    assert len(out) <= 6


@pytest.mark.parametrize("rate", [10_000_000, 100_000_000, 1_000_000_000])
def test_a_burst_is_a_millisecond_of_the_rate(rate: int) -> None:
    peer = paced(rate)
    peer.conn.tcb.pace_at = peer.now
    out = peer.send(bytes(1000))
    peer.advance(10 * MILLISECOND)
    peer.conn.send(peer.now, bytes(60 * MSS))
    out = peer.output()
    assert sum(len(s.payload) for s in out) >= min(60 * MSS, rate // 1000)
    assert sum(len(s.payload) for s in out) <= max(3 * rate // 1000 + 2 * MSS, 2 * MSS) + MSS


def test_acknowledgements_are_not_paced() -> None:
    peer = paced()
    peer.send(bytes(60 * MSS))
    out = peer.segment(".", seq=1, ack=1, data=b"x")
    assert [s.payload for s in out] == [b""]
    assert out[0].ack == 2


def test_pacing_off_sends_all_that_the_window_allows() -> None:
    peer = ScriptedPeer(TcpConfig(congestion_control="newreno"), pacing=False)
    peer.establish()
    assert len(peer.send(bytes(40 * 1460))) == 10
    assert peer.conn.tcb.timers[TIMER_PACING] == NEVER


def test_a_paced_window_leaves_spread_over_the_round_trip() -> None:
    # Through a whole transfer: no more than a millisecond's worth, or the first window, leaves in one moment.
    pair = Pair(TcpConfig(congestion_control="newreno", initial_window=4), delay=50 * MILLISECOND)
    pair.connect()
    sender = pair.a.connection
    assert sender is not None
    sender.tcb.cc.ssthresh = 100_000
    pair.a.send(bytes(2_000_000))
    pair.run()
    per_moment: dict[int, int] = {}
    for when, seg in pair.a.sent:
        per_moment[when] = per_moment.get(when, 0) + len(seg.payload)
    assert max(per_moment.values()) <= 5 * 1460
    assert pair.now < 20 * SECOND
