"""Choices of `TcpConfig` that profiles of other systems need: each acts, and its default is what it was."""

from __future__ import annotations

import errno

import pytest

from plankroad.tcp.config import TcpConfig
from plankroad.testing.scripted import ScriptedPeer, flags_of
from plankroad.units import MILLISECOND, SECOND


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("snd_buf_start", 0),
        ("rcv_buf_start", 1023),
        ("slow_start_limit", -1),
        ("max_ack_delay", SECOND + 1),
        ("syn_retries", -1),
    ],
)
def test_a_value_out_of_bounds_is_refused_by_name(name: str, value: int) -> None:
    config = TcpConfig()
    setattr(config, name, value)
    with pytest.raises(ValueError, match=name):
        config.validate()


def test_the_first_window_offered_is_the_starting_buffer() -> None:
    peer = ScriptedPeer(TcpConfig(rcv_buf_start=20_000))
    peer.establish()
    assert peer.conn.tcb.rcv_buf == 20_000
    assert peer.conn.tcb.rcv_adv - peer.conn.tcb.rcv_nxt == 20_000


def test_the_send_buffer_begins_as_told_and_keeps_as_much_beside_two_windows() -> None:
    peer = ScriptedPeer(TcpConfig(snd_buf_start=5000))
    peer.establish()
    assert peer.conn.send(peer.now, bytes(50_000)) == 5000
    peer.output()
    peer.segment(".", ack=5001)
    t = peer.conn.tcb
    assert t.snd_buf_limit == 2 * min(t.cc.cwnd, t.max_snd_wnd) + 5000


def grown(limit: int, algorithm: str) -> int:
    """By how many segments cwnd grows with one ACK for ten, in slow start without pacing."""
    peer = ScriptedPeer(TcpConfig(congestion_control=algorithm, slow_start_limit=limit))
    peer.establish(mss=1460)
    before = peer.conn.tcb.cc.cwnd
    peer.send(bytes(30_000))
    peer.segment(".", ack=14_601)
    return (peer.conn.tcb.cc.cwnd - before) // 1460


def test_slow_start_adds_as_many_segments_an_ack_as_the_limit_says() -> None:
    """RFC 3465 section 2.3: L; 0 lifts it."""
    assert [grown(limit, "newreno") for limit in (2, 5, 0)] == [2, 5, 10]


def test_the_limit_of_hystart_is_lifted_too() -> None:
    """RFC 9406 section 4.3: L is 8 in the first slow start of a sender that does not pace."""
    assert [grown(limit, "cubic") for limit in (2, 9, 0)] == [8, 9, 10]


def probed(config: TcpConfig, wait: int) -> bool:
    """Whether a tail loss probe goes out within `wait` after a segment, on a path with a round trip of 20 ms."""
    peer = ScriptedPeer(config)
    peer.establish(rtt=20 * MILLISECOND)
    peer.send(b"y" * 100)
    peer.advance(wait)
    return peer.counters.tail_loss_probes > 0


def test_a_tail_loss_probe_waits_for_the_peers_longest_delay() -> None:
    """RFC 8985 section 7.2: with one segment in flight "PTO += TLP.max_ack_delay"."""
    assert probed(TcpConfig(), 100 * MILLISECOND)
    patient = TcpConfig(max_ack_delay=100 * MILLISECOND)
    assert not probed(patient, 100 * MILLISECOND)
    assert probed(patient, 150 * MILLISECOND)


def test_tail_loss_probes_can_be_switched_off() -> None:
    assert not probed(TcpConfig(tail_loss_probes=False), 10 * SECOND)


def test_a_number_of_syns_ends_an_attempt_to_connect() -> None:
    peer = ScriptedPeer(TcpConfig(syn_retries=2))
    sent = peer.open()
    while not peer.conn.error:
        sent += peer.next_timer()
    assert [flags_of(seg) for seg in sent] == ["S"] * 3
    assert peer.conn.error == errno.ETIMEDOUT
    assert peer.now - peer.conn.tcb.opened_at == (1 + 2 + 4) * SECOND


@pytest.mark.parametrize(("accurate", "answer"), [(True, "S.W"), (False, "S.E")])
def test_accurate_ecn_may_be_refused_to_peers(accurate: bool, answer: str) -> None:
    """RFC 9768 table 2: a server that knows RFC 3168 only answers (AE,CWR,ECE) = (1,1,1) with (0,0,1)."""
    peer = ScriptedPeer(TcpConfig(accurate_ecn=accurate))
    peer.listen()
    [seg] = peer.segment("SEWe", seq=0)
    assert flags_of(seg) == answer


def test_without_frto_a_timeout_is_repaired_without_asking() -> None:
    """RFC 5682 off: the ACK after the timeout lets retransmissions out, and no new data."""
    answered = {}
    for frto in (True, False):
        peer = ScriptedPeer(TcpConfig(frto=frto, tail_loss_probes=False, congestion_control="newreno"))
        peer.establish()
        peer.send(bytes(60_000))
        assert [seg.seq for seg in peer.timeout()] == [1]
        answered[frto] = [seg.seq for seg in peer.segment(".", ack=1461)]
    assert answered[True][0] > 14_600
    assert answered[False][0] == 1461


@pytest.mark.parametrize(
    ("options", "syn_ack", "first", "second"),
    [
        ("due", True, True, False),
        ("always", True, True, True),
        ("never", False, False, False),
    ],
)
def test_options_of_accurate_feedback_are_sent_as_asked_for(
    options: str, syn_ack: bool, first: bool, second: bool
) -> None:
    """RFC 9768 section 3.2.3: "TCP implementers are encouraged to send them"; the first data tests the path."""
    peer = ScriptedPeer(TcpConfig(accurate_ecn_options=options))
    peer.listen()
    [seg] = peer.segment("SEWe", seq=0, mss=1460)
    assert (seg.accecn is not None) == syn_ack
    peer.segment(".W", seq=1, ack=1)
    [ack] = peer.segment("P.We", seq=1, ack=1, data=b"x" * 100, tos=2)
    assert (ack.accecn is not None) == first
    [data] = peer.send(b"y" * 100)
    peer.segment(".We", seq=101, ack=101)
    [data] = peer.send(b"y" * 100)
    assert (data.accecn is not None) == second
