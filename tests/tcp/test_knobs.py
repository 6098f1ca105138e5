"""Choices of `TcpConfig` that profiles of other systems need: each acts, and its default is what it was."""

from __future__ import annotations

import errno

import pytest

from plankroad.tcp.config import TcpConfig
from plankroad.tcp.icmp import HOST_UNREACHABLE
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


def burst(peer: ScriptedPeer, data: int) -> list[tuple[int, int, str]]:
    """What goes out of `data` octets on a link that takes super-segments: start, length, flags."""
    peer.conn.tcb.gso_max = 60_000
    return [(seg.seq, len(seg.payload), flags_of(seg)) for seg in peer.send(bytes(data))]


def test_pushed_bursts_have_so_many_segments_and_end_with_psh() -> None:
    """RFC 9293 section 3.9.1.2: PSH may be set wherever the sender likes (MAY-15); the last has it always (MUST-61)."""
    peer = ScriptedPeer(TcpConfig(push_bursts=2))
    peer.establish(mss=1000)
    assert burst(peer, 6000) == [(1, 2000, "P."), (2001, 2000, "P."), (4001, 2000, "P.")]
    peer = ScriptedPeer(TcpConfig(push_bursts=100))
    peer.establish(mss=1000)
    # Half of cwnd at most.
    half = peer.conn.tcb.cc.cwnd // 2 // 1000 * 1000
    assert burst(peer, 30_000)[0] == (1, half, "P.")
    peer = ScriptedPeer()
    peer.establish(mss=1000)
    assert burst(peer, 30_000)[0] == (1, 10_000, ".")


@pytest.mark.parametrize(("source", "segments"), [("flight", 2), ("cwnd", 7)])
def test_a_loss_is_reckoned_from_flight_or_window(source: str, segments: int) -> None:
    """RFC 9438 section 4.6; RFC 5681 equation (4)."""
    peer = ScriptedPeer(TcpConfig(reduce_from=source))
    peer.establish(mss=1000)
    peer.send(bytes(1000))
    peer.timeout()
    assert peer.conn.tcb.cc.ssthresh == segments * 1000


@pytest.mark.parametrize(("probe", "seq", "data"), [("octet", 1, b"x"), ("empty", 0, b"")])
def test_a_closed_window_is_asked_with_an_octet_or_without(probe: str, seq: int, data: bytes) -> None:
    """RFC 9293 section 3.8.6.1. A segment from before the window is answered, too (section 3.10.7.4, first)."""
    peer = ScriptedPeer(TcpConfig(window_probe=probe))
    peer.establish()
    peer.segment(".", ack=1, wnd=0)
    assert peer.send(b"x" * 100) == []
    [seg] = peer.next_timer()
    assert (seg.seq, seg.payload) == (seq, data)
    [first] = peer.segment(".", ack=1, wnd=5000)
    assert first.payload == b"x" * 100


@pytest.mark.parametrize("required", [True, False])
def test_segments_without_timestamps_may_be_taken(required: bool) -> None:
    """RFC 7323 section 3.2: "a TCP SHOULD silently drop the segment"."""
    peer = ScriptedPeer(TcpConfig(timestamps_required=required))
    peer.establish(ts=True)
    peer.ts = False
    peer.segment("P.", seq=1, ack=1, data=b"bare")
    assert bytes(peer.received) == (b"" if required else b"bare")


def test_the_mss_that_is_offered_may_follow_the_path() -> None:
    for follows, expected in ((False, 1460), (True, 960)):
        peer = ScriptedPeer(TcpConfig(offer_path_mss=follows))
        peer.conn.set_path_mtu(peer.now, 1000, 1500)
        [syn] = peer.open()
        assert syn.mss == expected


def test_a_search_for_the_path_mtu_does_not_lower_the_mss_that_is_offered() -> None:
    peer = ScriptedPeer(TcpConfig(offer_path_mss=True, mtu_probing="on"), mtu=1400)
    [syn] = peer.open()
    assert peer.conn.tcb.path_mss < 1360
    assert syn.mss == 1360


def test_a_user_timeout_need_not_be_told() -> None:
    peer = ScriptedPeer(TcpConfig(user_timeout=200 * SECOND, user_timeout_offered=False))
    [syn] = peer.open()
    assert syn.user_timeout < 0
    peer.segment("S.", seq=0, ack=1, mss=1460)
    peer.conn.set_option(peer.now, "user_timeout", 300 * SECOND)
    [data] = peer.send(b"x")
    assert data.user_timeout < 0


@pytest.mark.parametrize("interactive", [True, False])
def test_a_program_that_answers_takes_acknowledgements_along(interactive: bool) -> None:
    """RFC 9293 section 3.8.6.3: an ACK is delayed 0.5 s at most (MUST-40), and sent for every second full segment."""
    peer = ScriptedPeer(TcpConfig(interactive_acks=interactive))
    peer.establish()
    assert [flags_of(s) for s in peer.segment("P.", seq=1, ack=1, data=b"q" * 10)] == ["."]
    peer.send(b"a" * 10)
    answered = peer.segment("P.", seq=11, ack=11, data=b"q" * 10)
    assert [flags_of(s) for s in answered] == ([] if interactive else ["."])
    if interactive:
        # Nothing was said: the ACK goes by itself, and the next are quick again.
        assert [flags_of(s) for s in peer.advance(40 * MILLISECOND)] == ["."]
        assert [flags_of(s) for s in peer.segment("P.", seq=21, ack=11, data=b"q" * 10)] == ["."]


@pytest.mark.parametrize(("retries", "over"), [(2, False), (0, False), (-1, True)])
def test_any_icmp_error_may_end_an_attempt_at_once(retries: int, over: bool) -> None:
    """RFC 5461 section 4.1."""
    peer = ScriptedPeer(TcpConfig(syn_soft_error_retries=retries))
    peer.open()
    peer.conn.handle_icmp(peer.now, HOST_UNREACHABLE, peer.conn.tcb.iss & 0xFFFFFFFF)
    assert (peer.conn.error == errno.EHOSTUNREACH) == over
    peer = ScriptedPeer(TcpConfig(syn_soft_error_retries=retries))
    peer.establish()
    peer.send(b"x")
    peer.conn.handle_icmp(peer.now, HOST_UNREACHABLE, (peer.conn.tcb.iss + 1) & 0xFFFFFFFF)
    assert peer.conn.error == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [("reduce_from", "half"), ("window_probe", "two"), ("accurate_ecn_options", "often"), ("push_bursts", -1)],
)
def test_words_that_are_no_choice_are_refused(name: str, value: object) -> None:
    config = TcpConfig()
    setattr(config, name, value)
    with pytest.raises(ValueError, match=name):
        config.validate()
