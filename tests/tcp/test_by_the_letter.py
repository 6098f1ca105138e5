"""What RFC 9293 says where our defaults say otherwise (docs/deviations.md): each MUST is a matter of configuration."""

from __future__ import annotations

import pytest

from plankroad.tcp import icmp
from plankroad.tcp.config import TcpConfig
from plankroad.tcp.rtt import RttEstimator
from plankroad.testing.scripted import ScriptedPeer, flags_of
from plankroad.units import MILLISECOND, SECOND

MINUTE = 60 * SECOND


@pytest.mark.requirement("MUST-13")
def test_time_wait_of_twice_two_minutes() -> None:
    peer = ScriptedPeer(TcpConfig(msl=2 * MINUTE))
    peer.establish()
    peer.close()
    peer.segment("F.", seq=1, ack=2)
    peer.advance(3 * MINUTE)
    # A FIN that comes again is acknowledged, and the wait begins anew.
    [ack] = peer.segment("F.", seq=1, ack=2)
    assert (flags_of(ack), ack.ack) == (".", 2)
    peer.advance(4 * MINUTE - 1)
    assert peer.state == "TIME_WAIT"
    peer.advance(1)
    assert peer.state == "CLOSED"


@pytest.mark.requirement("MUST-16")
@pytest.mark.parametrize(
    ("least", "mss", "ts", "largest"),
    [(1, 20, False, 20), (1, 1, False, 1), (1, 40, True, 28), (48, 20, False, 48), (48, 100, False, 100)],
)
def test_a_peer_may_name_the_smallest_of_segments(least: int, mss: int, ts: bool, largest: int) -> None:
    peer = ScriptedPeer(TcpConfig(least_mss=least))
    peer.establish(mss=mss, ts=ts)
    sent = peer.send(bytes(200))
    assert sent
    assert max(len(seg.payload) for seg in sent) == largest


@pytest.mark.requirement("MUST-18")
@pytest.mark.parametrize(("rtt", "rto"), [(1, 1000), (300, 1000), (400, 1200)])
def test_the_timeout_is_three_round_trips_but_at_least_a_second(rtt: int, rto: int) -> None:
    # RFC 6298 (2.2): SRTT + 4 * RTTVAR of the first sample, and (2.4).
    peer = ScriptedPeer(TcpConfig(strict_rto=True, min_rto=SECOND, timestamps=False))
    peer.establish(rtt=rtt * MILLISECOND)
    peer.send(b"x")
    assert peer.conn.next_timeout() - peer.now <= rto * MILLISECOND  # a tail loss probe may come first
    assert peer.conn.tcb.rtt.rto() == rto * MILLISECOND


@pytest.mark.requirement("MUST-18")
def test_the_variance_follows_by_a_quarter_and_the_mean_by_an_eighth() -> None:
    # RFC 6298 (2.3): RTTVAR first, with the SRTT of before.
    rtt = RttEstimator(SECOND, SECOND, 60 * SECOND, True)
    rtt.sample(0, 800 * MILLISECOND, 1)
    rtt.sample(1, 1600 * MILLISECOND, 1)
    assert (rtt.rttvar, rtt.srtt) == (500 * MILLISECOND, 900 * MILLISECOND)
    assert rtt.rto() == 2900 * MILLISECOND
    rtt.sample(2, 900 * MILLISECOND, 1)
    assert (rtt.rttvar, rtt.srtt) == (375 * MILLISECOND, 900 * MILLISECOND)


@pytest.mark.requirement("MUST-18")
def test_a_timeout_stays_backed_off_until_there_is_a_sample() -> None:
    # RFC 6298 section 5, the note: only a new measurement collapses what was backed off.
    for strict, after in ((True, 4), (False, 1)):
        peer = ScriptedPeer(TcpConfig(strict_rto=strict, min_rto=SECOND, timestamps=False, tail_loss_probes=False))
        peer.establish(rtt=1 * MILLISECOND)
        base = peer.conn.tcb.rtt.rto()
        peer.send(b"first")
        peer.next_timer()
        peer.next_timer()
        peer.segment(".", ack=6)
        assert peer.conn.tcb.rtt.rto() == after * base
        peer.send(b"again")
        peer.advance(1 * MILLISECOND)
        peer.segment(".", ack=11)
        assert peer.conn.tcb.rtt.rto() == SECOND + (0 if strict else MILLISECOND)


@pytest.mark.requirement("MUST-23")
def test_a_syn_ack_is_repeated_for_three_minutes() -> None:
    peer = ScriptedPeer(TcpConfig(synack_retries=7))
    peer.listen()
    peer.segment("S", seq=0, mss=1460)
    repeated = peer.advance(182 * SECOND)
    assert [flags_of(seg) for seg in repeated] == ["S."] * 7
    assert peer.state == "SYN_RECEIVED"
    peer.advance(2 * SECOND)
    assert peer.state == "CLOSED"


@pytest.mark.requirement("MUST-56")
@pytest.mark.parametrize("kind", [icmp.NETWORK_UNREACHABLE, icmp.HOST_UNREACHABLE, icmp.SOURCE_ROUTE_FAILED])
def test_no_soft_error_ends_an_attempt_to_connect(kind: int) -> None:
    peer = ScriptedPeer(TcpConfig(syn_soft_error_retries=0))
    peer.open()
    peer.conn.handle_icmp(peer.now, kind, peer.conn.tcb.iss)
    peer.advance(150 * SECOND)
    assert peer.state == "SYN_SENT"
    peer.segment("S.", seq=0, ack=1, mss=1460)
    assert peer.state == "ESTABLISHED"
