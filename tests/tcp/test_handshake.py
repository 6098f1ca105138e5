"""What SYNs say and agree to, and how a handshake survives loss."""

from __future__ import annotations

import errno

import pytest

from plankroad.tcp.config import TcpConfig
from plankroad.testing.pair import Pair
from plankroad.testing.scripted import ScriptedPeer, flags_of
from plankroad.units import MILLISECOND, SECOND
from plankroad.wire.segment import SYN, Segment


@pytest.mark.requirement("MUST-14")
def test_the_syn_offers_everything() -> None:
    peer = ScriptedPeer()
    [syn] = peer.open()
    assert syn.mss == 1460  # MUST-14, MUST-67
    assert syn.sack_permitted
    assert syn.wscale == 10  # up to 64 MiB of receive buffer
    assert syn.has_ts
    assert syn.ts_ecr == 0
    assert syn.wnd == 65535  # not scaled: RFC 7323 section 2.2
    assert syn.ack == 0


@pytest.mark.requirement("MUST-67")
def test_the_mss_is_what_the_link_carries_and_ipv6_has_a_larger_header() -> None:
    peer = ScriptedPeer(ipv6=True, mtu=9000)
    [syn] = peer.open()
    assert syn.mss == 9000 - 60


@pytest.mark.requirement("MUST-15")
@pytest.mark.parametrize(("ipv6", "default"), [(False, 536), (True, 1220)])
def test_without_an_mss_option_the_default_is_assumed(ipv6: bool, default: int) -> None:
    # MUST-15.
    peer = ScriptedPeer(ipv6=ipv6)
    peer.establish(mss=0)
    out = peer.send(bytes(5000))
    assert max(len(s.payload) for s in out) == default


@pytest.mark.requirement("MUST-14", "MUST-16")
def test_options_shrink_the_segment() -> None:
    # MUST-16, RFC 6691.
    peer = ScriptedPeer()
    peer.establish(mss=1000, ts=True)
    out = peer.send(bytes(5000))
    assert {len(s.payload) for s in out[:-1]} == {988}


@pytest.mark.requirement("MUST-16")
def test_a_small_path_shrinks_the_segment() -> None:
    peer = ScriptedPeer()
    peer.conn.set_path_mtu(peer.now, 600)
    peer.establish()
    assert len(peer.send(bytes(5000))[0].payload) == 560


@pytest.mark.requirement("MUST-65")
def test_no_mss_option_outside_of_a_syn() -> None:
    # MUST-65.
    peer = ScriptedPeer()
    peer.establish()
    assert all(s.mss == 0 for s in peer.send(bytes(5000)))


@pytest.mark.parametrize("option", ["window_scaling", "timestamps", "sack"])
@pytest.mark.parametrize("whose", ["ours", "theirs"])
def test_an_option_that_one_side_lacks_is_not_used(option: str, whose: str) -> None:
    lacking = TcpConfig()
    setattr(lacking, option, False)
    full = TcpConfig()
    pair = Pair(lacking, full) if whose == "ours" else Pair(full, lacking)
    pair.connect()
    for end in (pair.a, pair.b):
        t = end.conn.tcb
        assert t.ws_ok == (option != "window_scaling")
        assert t.ts_ok == (option != "timestamps")
        assert t.sack_ok == (option != "sack")
    pair.a.send(bytes(200_000))
    pair.run()
    assert len(pair.b.received) == 200_000
    syn_ack = next(seg for _, seg in pair.b.sent)
    assert (syn_ack.wscale >= 0) == (option != "window_scaling")


@pytest.mark.requirement("window-scale")
def test_a_window_shift_over_14_is_taken_as_14() -> None:
    # RFC 7323 section 2.3.
    peer = ScriptedPeer()
    peer.establish(wscale=15, wnd=1)
    peer.segment(".", ack=1, wnd=1)
    assert peer.conn.tcb.snd_wnd == 1 << 14


def test_data_written_before_the_connection_is_established_follows_the_handshake() -> None:
    peer = ScriptedPeer()
    peer.open()
    peer.conn.send(peer.now, b"early")
    assert peer.output() == []
    out = peer.segment("S.", seq=0, ack=1, mss=1460)
    assert b"".join(s.payload for s in out) == b"early"


@pytest.mark.requirement("MUST-22", "MUST-23")
def test_the_syn_is_repeated_with_doubling_intervals_for_at_least_three_minutes() -> None:
    # MUST-22, MUST-23, RFC 6298.
    peer = ScriptedPeer()
    peer.open()
    began = peer.now
    times = []
    while peer.state == "SYN_SENT":
        for seg in peer.next_timer():
            assert flags_of(seg) == "S"
            times.append((peer.now - began) // SECOND)
    assert times == [1, 3, 7, 15, 31, 63, 123]
    assert peer.now - began >= 180 * SECOND
    assert peer.conn.error == errno.ETIMEDOUT


def test_a_lost_syn_ack_is_repeated() -> None:
    pair = Pair(rule=lambda n, who, seg: [] if n == 2 else [0])
    pair.connect()
    assert pair.b_counters.retransmitted_syn + pair.a_counters.retransmitted_syn >= 1


def test_a_repeated_syn_is_answered_again() -> None:
    peer = ScriptedPeer()
    peer.listen()
    [first] = peer.segment("S", seq=0, mss=1460)
    peer.advance(300 * MILLISECOND)
    [again] = peer.segment("S", seq=0, mss=1460)
    assert flags_of(again) == "S."
    assert again.seq == first.seq == 0 or again.seq == 0


def test_a_half_open_connection_is_forgotten_after_its_retries() -> None:
    peer = ScriptedPeer(TcpConfig(synack_retries=3))
    listener = peer.listen()
    peer.segment("S", seq=0, mss=1460)
    assert len(listener.half_open) == 1
    out = peer.advance(100 * SECOND)
    assert [flags_of(s) for s in out] == ["S."] * 3
    assert peer.state == "CLOSED"
    assert not listener.half_open


def test_the_first_round_trip_is_measured_by_the_syn() -> None:
    peer = ScriptedPeer()
    peer.establish(rtt=80 * MILLISECOND)
    assert peer.conn.tcb.rtt.srtt == 80 * MILLISECOND


def test_after_a_repeated_syn_without_timestamps_the_timeout_is_three_seconds() -> None:
    # RFC 6298 (5.7).
    peer = ScriptedPeer()
    peer.open()
    peer.advance(1500 * MILLISECOND)
    peer.segment("S.", seq=0, ack=1, mss=1460)
    assert peer.conn.tcb.rtt.samples == 0
    assert peer.conn.tcb.rtt.rto() == 3 * SECOND


def test_a_wrong_acknowledgement_of_our_syn_is_reset() -> None:
    # RFC 9293 section 3.10.7.3, first.
    peer = ScriptedPeer()
    peer.open()
    [rst] = peer.segment("S.", seq=0, ack=2)
    assert (flags_of(rst), rst.seq) == ("R", 2)
    assert peer.state == "SYN_SENT"
    peer.segment("S.", seq=0, ack=1, mss=1460)
    assert peer.state == "ESTABLISHED"


def test_a_reset_that_acknowledges_nothing_does_not_refuse() -> None:
    peer = ScriptedPeer()
    peer.open()
    peer.segment("R", seq=0)
    assert peer.state == "SYN_SENT"


@pytest.mark.requirement("initial-window")
def test_initial_window_is_ten_segments() -> None:
    # RFC 6928.
    peer = ScriptedPeer()
    peer.establish()
    assert sum(len(s.payload) for s in peer.send(bytes(100_000))) == 14600


@pytest.mark.requirement("initial-window")
def test_initial_window_is_one_segment_after_two_lost_syns() -> None:
    # RFC 6928 section 2.
    peer = ScriptedPeer()
    peer.open()
    peer.advance(4 * SECOND)
    peer.segment("S.", seq=0, ack=1, mss=1460)
    assert sum(len(s.payload) for s in peer.send(bytes(100_000))) == 1460


def test_data_with_the_syn_waits_for_the_handshake() -> None:
    # RFC 9293 section 3.10.7.2.
    peer = ScriptedPeer()
    peer.listen()
    peer.segment("S", seq=0, data=b"hello", mss=1460)
    assert peer.received == b""
    peer.segment(".", seq=6, ack=1)
    peer.segment(".", seq=1, ack=1, data=b"hello world")
    assert peer.received == b"hello world"


def test_the_listener_answers_an_acknowledgement_with_a_reset_and_ignores_a_reset() -> None:
    peer = ScriptedPeer()
    peer.listen()
    ack = Segment(80, 40000, 5, 77, 0x10, 1000)
    [rst] = peer.raw(ack)
    assert (rst.flags, rst.seq) == (0x04, 77)
    assert peer.raw(Segment(80, 40000, 5, 77, 0x04, 1000)) == []
    assert peer.connection is None


@pytest.mark.requirement("MUST-11")
def test_a_reset_brings_a_half_open_connection_back_to_listen() -> None:
    peer = ScriptedPeer()
    listener = peer.listen()
    peer.segment("S", seq=0, mss=1460)
    peer.segment("R", seq=1)
    assert (peer.state, peer.conn.error) == ("CLOSED", errno.ECONNRESET)
    assert not listener.half_open
    assert listener.accept() is None


def test_an_unacceptable_acknowledgement_in_syn_received_is_reset() -> None:
    peer = ScriptedPeer()
    peer.listen()
    peer.segment("S", seq=0, mss=1460)
    [rst] = peer.segment(".", seq=1, ack=5)
    assert (flags_of(rst), rst.seq) == ("R", 5)
    assert peer.state == "SYN_RECEIVED"


def _syn(port: int, seq: int) -> Segment:
    seg = Segment(port, 40000, seq, 0, SYN, 5000)
    seg.mss = 1460
    seg.sack_permitted = True
    seg.wscale = 5
    seg.has_ts = True
    seg.ts_val = 99
    return seg


@pytest.mark.requirement("syn-cookies")
def test_a_full_syn_queue_answers_with_cookies_that_make_connections() -> None:
    # RFC 4987 section 3.6.
    peer = ScriptedPeer(TcpConfig(syn_backlog=1))
    listener = peer.listen()
    assert listener.handle_segment(peer.now, _syn(1000, 1), peer.local, peer.remote, 1500, 1500).connection
    result = listener.handle_segment(peer.now, _syn(1001, 500), peer.local, peer.remote, 1500, 1500)
    assert result.connection is None
    cookie = result.reply
    assert cookie is not None
    assert cookie.flags == 0x12
    assert cookie.ack == 501
    assert len(listener.half_open) == 1  # nothing is remembered
    ack = Segment(1001, 40000, 501, (cookie.seq + 1) & 0xFFFFFFFF, 0x10, 200, b"hello")
    ack.has_ts = True
    ack.ts_val = 120
    ack.ts_ecr = cookie.ts_val
    made = listener.handle_segment(peer.now + SECOND, ack, peer.local, peer.remote, 1500, 1500).connection
    assert made is not None
    t = made.tcb
    assert made.state() == "ESTABLISHED"
    assert (t.ws_ok, t.snd_wind_shift, t.sack_ok, t.ts_ok) == (True, 5, True, True)
    assert t.snd_wnd == 200 << 5
    assert made.receive(peer.now, 100) == b"hello"
    assert listener.accept() is made
    assert peer.counters.syn_cookies_accepted == 1


def test_a_wrong_cookie_is_reset() -> None:
    peer = ScriptedPeer(TcpConfig(syn_backlog=0))
    listener = peer.listen()
    reply = listener.handle_segment(peer.now, _syn(1001, 500), peer.local, peer.remote, 1500, 1500).reply
    assert reply is not None
    ack = Segment(1001, 40000, 501, (reply.seq + 100) & 0xFFFFFFFF, 0x10, 200)
    result = listener.handle_segment(peer.now, ack, peer.local, peer.remote, 1500, 1500)
    assert result.connection is None
    assert result.reply is not None
    assert result.reply.flags == 0x04
    assert peer.counters.syn_cookies_failed == 1


@pytest.mark.requirement("accept-backlog")
def test_a_full_accept_queue_lets_the_client_wait() -> None:
    peer = ScriptedPeer()
    listener = peer.listen(backlog=1)
    peer.segment("S", seq=0, mss=1460)
    peer.segment(".", seq=1, ack=1)
    assert peer.state == "ESTABLISHED"
    dropped = listener.handle_segment(peer.now, _syn(1001, 500), peer.local, peer.remote, 1500, 1500)
    assert dropped.connection is None
    assert dropped.reply is None
    assert peer.counters.accept_queue_overflow == 1
    assert listener.accept() is peer.connection
    assert listener.handle_segment(peer.now, _syn(1001, 500), peer.local, peer.remote, 1500, 1500).connection


def test_closing_a_listener_resets_what_nobody_accepted() -> None:
    peer = ScriptedPeer()
    listener = peer.listen()
    peer.segment("S", seq=0, mss=1460)
    peer.segment(".", seq=1, ack=1)
    listener.close(peer.now)
    [rst] = peer.output()
    assert "R" in flags_of(rst)
    assert peer.state == "CLOSED"


def test_an_unknown_congestion_control_is_an_error_that_names_the_known() -> None:
    with pytest.raises(ValueError, match="cubic"):
        ScriptedPeer(TcpConfig(congestion_control="quibic"))
