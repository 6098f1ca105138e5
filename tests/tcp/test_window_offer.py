"""The window we offer: its scale, its field, its edge."""

from __future__ import annotations

import pytest

from plankroad.tcp.config import TcpConfig
from plankroad.tcp.window import hold_limit, shift_for
from plankroad.testing.scripted import ScriptedPeer, flags_of

MB = 1 << 20


@pytest.mark.requirement("window-scale")
@pytest.mark.parametrize(
    ("buffer", "shift"),
    [
        (1, 0),
        (65_535, 0),
        (65_536, 0),  # the octet that the field cannot tell is not worth a granularity
        (65_537, 1),
        (131_072, 1),
        (131_073, 2),
        (1 << 30, 14),
        (1 << 31, 14),  # RFC 7323 section 2.3: no more
    ],
)
def test_the_shift_is_the_least_that_can_tell_of_all_the_buffer(buffer: int, shift: int) -> None:
    assert shift_for(buffer) == shift


@pytest.mark.requirement("window-scale")
def test_the_window_of_a_syn_is_never_scaled() -> None:
    # RFC 7323 section 2.2.
    peer = ScriptedPeer(TcpConfig(rcv_buf=10_000))
    [syn] = peer.open()
    assert (syn.wnd, syn.wscale) == (10_000, 0)
    peer = ScriptedPeer(TcpConfig(rcv_buf=MB))
    [syn] = peer.open()
    assert (syn.wnd, syn.wscale) == (65_535, 4)


@pytest.mark.requirement("window-scale")
def test_what_the_field_of_a_syn_cannot_tell_is_not_offered_yet() -> None:
    peer = ScriptedPeer(TcpConfig(rcv_buf=MB))
    peer.listen()
    [answer] = peer.segment("S", seq=0, mss=1460, wscale=7)
    assert (answer.wnd, answer.wscale) == (65_535, 4)
    peer.segment(".", seq=65_536, ack=1, data=b"x")
    assert peer.counters.out_of_order_received == 0
    [ack] = peer.segment(".", seq=65_535, ack=1, data=b"x")
    assert peer.counters.out_of_order_received == 1
    assert ack.wnd << 4 == MB - 16


@pytest.mark.requirement("SHLD-14")
def test_a_repeated_syn_ack_takes_nothing_back_of_what_a_challenge_ack_told() -> None:
    peer = ScriptedPeer(TcpConfig(rcv_buf=MB))
    peer.listen()
    peer.segment("S", seq=0, mss=1460, wscale=7)
    [challenge] = peer.segment("S", seq=-1, mss=1460, wscale=7)
    assert (flags_of(challenge), challenge.wnd << 4) == (".", MB - 16)
    [again] = peer.segment("S", seq=0, mss=1460, wscale=7)
    assert (flags_of(again), again.wnd) == ("S.", 65_535)
    peer.segment(".", seq=1, ack=1)
    peer.segment(".", seq=500_001, ack=1, data=b"x")
    assert peer.counters.out_of_order_received == 1


@pytest.mark.requirement("window-scale")
def test_the_field_holds_the_window_less_what_the_scale_cannot_tell() -> None:
    peer = ScriptedPeer(TcpConfig(rcv_buf=MB, timestamps=False))
    peer.establish(wscale=0)
    peer.reads = False
    fields: list[int] = []
    at = 1
    for size in (16, 1, 15, 1):
        peer.segment(".", seq=at, ack=1, data=bytes(size), poll=False)
        at += size
        [ack] = peer.segment("S", seq=at)  # a challenge says where we are
        assert ack.ack == at
        fields.append(ack.wnd)
    # The edge is where it was, 65,535 times sixteen octets from the beginning.
    assert fields == [65_534, 65_533, 65_533, 65_532]


def test_without_a_scale_the_field_is_all_there_is() -> None:
    peer = ScriptedPeer(TcpConfig(rcv_buf=MB, timestamps=False))
    peer.establish()
    assert peer.conn.tcb.rcv_wind_shift == 0
    [ack] = peer.segment("S", seq=1)
    assert ack.wnd == 65_535
    # It follows the text: the buffer would have room for more.
    [ack] = peer.segment(".", seq=1, ack=1, data=bytes(1460), poll=True)
    assert (ack.ack, ack.wnd) == (1461, 65_535)


def test_each_segment_that_tells_of_a_closed_window_is_counted() -> None:
    peer = ScriptedPeer(TcpConfig(rcv_buf=4000, timestamps=False))
    peer.establish(wscale=0)
    peer.reads = False
    out = peer.segment(".", seq=1, ack=1, data=bytes(3000))
    assert peer.counters.zero_windows_sent == 0
    out = peer.segment(".", seq=3001, ack=1, data=bytes(1000))
    out += peer.segment(".", seq=4001, ack=1, data=b"x")
    out += peer.segment(".", seq=4001, ack=1, data=b"x")
    closed = sum(seg.wnd == 0 for seg in out)
    assert peer.counters.zero_windows_sent == closed >= 2


def test_the_edge_is_fixed_until_half_the_buffer_or_a_segment_is_free() -> None:
    # RFC 9293 section 3.8.6.2.2: "keep RCV.NXT+RCV.WND fixed until the reduction satisfies ...".
    peer = ScriptedPeer(TcpConfig(rcv_buf=20_000, window_scaling=False, timestamps=False))
    peer.establish()
    peer.reads = False
    t = peer.conn.tcb
    edge = t.rcv_adv
    peer.segment(".", seq=1, ack=1, data=bytes(5000))
    peer.conn.receive(peer.now, 1459)
    [ack] = peer.segment("S", seq=5001)
    assert (ack.ack + ack.wnd, t.rcv_adv) == (20_001, edge)
    peer.conn.receive(peer.now, 1)
    [ack] = peer.segment("S", seq=5001)
    assert (ack.ack + ack.wnd, t.rcv_adv) == (21_461, edge + 1460)


@pytest.mark.parametrize(
    ("buffer", "limit"), [(10_000, 20_000), (4 * MB, 8 * MB), (4 * MB + 1, 8 * MB + 1), (64 * MB, 68 * MB)]
)
def test_holding_pieces_may_cost_as_much_again_as_the_window_but_four_megabytes_at_most(
    buffer: int, limit: int
) -> None:
    peer = ScriptedPeer(TcpConfig(rcv_buf=buffer))
    peer.establish()
    assert hold_limit(peer.conn.tcb) == limit
