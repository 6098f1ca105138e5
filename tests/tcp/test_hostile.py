"""What a hostile or unlucky peer once got out of the machine, or into it."""

from __future__ import annotations

import errno

import pytest

from plankroad.tcp import icmp
from plankroad.tcp.config import TcpConfig
from plankroad.testing.pair import Pair
from plankroad.testing.scripted import ScriptedPeer, flags_of
from plankroad.units import MILLISECOND, NEVER, SECOND
from plankroad.wire.segment import SYN, Segment


def established(config: TcpConfig | None = None, ts: bool = False, wscale: int = -1, mtu: int = 1500) -> ScriptedPeer:
    peer = ScriptedPeer(config, mtu=mtu)
    peer.establish(ts=ts, wscale=wscale)
    return peer


def test_after_24_days_of_silence_the_new_timestamp_is_recorded() -> None:
    # RFC 7323 section 5.5.
    peer = established(TcpConfig(quick_acks=100), ts=True)
    peer.advance(25 * 24 * 3600 * SECOND)
    [ack] = peer.segment(".", seq=1, ack=1, data=b"x", ts_val=1)
    assert peer.received == b"x"
    assert ack.ts_ecr == 1


def test_the_window_of_a_syn_ack_is_not_scaled_in_a_simultaneous_open() -> None:
    # RFC 7323 section 2.2.
    peer = ScriptedPeer()
    peer.open()
    peer.segment("S", seq=0, mss=1460, wscale=14)
    peer.segment("S.", seq=0, ack=1, mss=1460, wscale=14, wnd=1000)
    assert peer.state == "ESTABLISHED"
    assert peer.conn.tcb.snd_wnd == 1000


def test_data_with_a_syn_ack_is_cut_at_the_window() -> None:
    peer = ScriptedPeer(TcpConfig(rcv_buf=1024))
    peer.reads = False
    peer.open()
    peer.segment("S.", seq=0, ack=1, mss=1460, data=bytes(3000))
    assert peer.conn.tcb.rcv_queued == 1024


def test_data_with_a_syn_is_acknowledged_when_the_connection_is_established() -> None:
    peer = ScriptedPeer()
    peer.listen()
    peer.segment("S", seq=0, mss=1460, data=b"hello")
    out = peer.segment(".", seq=1, ack=1) + peer.advance(SECOND)
    assert peer.received == b"hello"
    assert [s.ack for s in out] == [6]


def test_a_segment_from_far_before_the_window_does_not_set_the_timestamp_clock() -> None:
    peer = established(ts=True)
    good = peer.ts_clock()
    peer.segment(".", seq=-1_000_000_000, ack=0, data=b"z", ts_val=(good + (1 << 30)) & 0xFFFFFFFF)
    peer.advance(SECOND)
    peer.segment(".", seq=1, ack=1, data=b"legit")
    assert peer.received == b"legit"


def test_keepalive_goes_on_in_fin_wait_2() -> None:
    config = TcpConfig(keepalive=True, keepalive_idle=100 * SECOND, keepalive_interval=10 * SECOND, keepalive_count=3)
    peer = established(config)
    peer.close()
    peer.segment(".", seq=1, ack=2)
    assert peer.state == "FIN_WAIT_2"
    assert [flags_of(s) for s in peer.advance(101 * SECOND)] == ["."]


def test_linger_ends_when_everything_is_acknowledged() -> None:
    peer = established(TcpConfig(linger=5 * SECOND))
    peer.send(b"bye")
    peer.conn.release(peer.now)
    peer.output()
    peer.segment(".", seq=1, ack=5)
    assert peer.state == "FIN_WAIT_2"
    assert peer.advance(10 * SECOND) == []
    assert peer.state == "FIN_WAIT_2"


def test_our_window_shift_stays_that_of_our_syn() -> None:
    peer = ScriptedPeer(TcpConfig(rcv_buf=4 << 20))
    [syn] = peer.open()
    peer.conn.set_option(peer.now, "rcv_buf", 10_000)
    peer.segment("S.", seq=0, ack=1, mss=1460, wscale=0)
    assert peer.conn.tcb.rcv_wind_shift == syn.wscale == 6


def test_the_urgent_pointer_counts_from_the_segments_own_sequence_number() -> None:
    peer = established()
    peer.reads = False
    peer.segment(".", seq=1, ack=1, data=b"abcde")
    peer.segment("U.", seq=3, ack=1, data=b"cdeFGH", urgent=5)
    assert peer.conn.tcb.rcv_up - peer.conn.tcb.irs == 8
    assert peer.conn.urgent_remaining() == 7


@pytest.mark.parametrize("ts", [False, True])
def test_two_ends_in_time_wait_do_not_acknowledge_each_other(ts: bool) -> None:
    pair = Pair(TcpConfig(timestamps=ts))
    pair.connect()
    pair.rule = lambda n, who, seg: [0, 5 * MILLISECOND] if seg.flags & 1 else [0]
    pair.a.conn.close(pair.now)
    pair.b.conn.close(pair.now)
    pair.settle()
    before = pair.count
    pair.run()
    assert pair.both_closed()
    assert pair.count - before < 20


@pytest.mark.parametrize("mtu", [68, 80])
def test_sack_blocks_leave_room_for_data_on_the_smallest_paths(mtu: int) -> None:
    peer = established(ts=True, mtu=mtu)
    peer.send(bytes(200))
    for i in range(4):
        peer.segment(".", seq=100 + 20 * i, ack=1, data=b"x")
    peer.send(bytes(1000))
    out = peer.advance(10 * SECOND)
    assert out
    assert all(s.payload for s in out)


def test_a_user_timeout_set_on_a_closed_connection_arms_nothing() -> None:
    peer = established()
    peer.send(b"x")
    peer.conn.abort(peer.now)
    peer.output()
    peer.conn.set_option(peer.now, "user_timeout", 5 * SECOND)
    peer.output()
    assert peer.conn.next_timeout() == NEVER


def test_a_smaller_send_buffer_shows_as_it_empties() -> None:
    peer = established()
    peer.wnd = 1000
    peer.segment(".", ack=1)
    peer.conn.send(peer.now, bytes(100_000))
    peer.output()
    peer.conn.set_option(peer.now, "snd_buf", 5000)
    peer.output()  # checks the invariants
    assert peer.conn.send(peer.now, b"x") == 0


def test_an_option_of_a_wrong_type_is_refused() -> None:
    peer = established()
    with pytest.raises(ValueError, match="r1"):
        peer.conn.set_option(peer.now, "r1", "three")


def test_octets_that_arrive_backwards_share_pieces() -> None:
    peer = established(TcpConfig(rcv_buf=1 << 17), wscale=2)
    count = 30_000
    for i in range(count, 1, -1):
        peer.segment(".", seq=1 + i, ack=1, data=b"x", poll=False)
    peer.output()
    assert sum(len(i.pieces) for i in peer.conn.tcb.reassembly.intervals) < count // 10


def test_an_undo_is_not_undone_by_the_same_acknowledgement() -> None:
    # RFC 4015: what was marked lost in the spurious recovery is not lost.
    peer = ScriptedPeer()
    peer.establish(ts=True, mss=1012)
    out = peer.send(bytes(10_000))
    first_ts = out[0].ts_val
    mss = len(out[0].payload)
    peer.advance(50 * MILLISECOND)
    cwnd = peer.conn.tcb.cc.cwnd
    for k in range(5, 11):
        peer.segment(".", ack=1, sack=[(1 + 4 * mss, 1 + k * mss)], ts_ecr=first_ts)
    recoveries = peer.counters.recoveries_sack
    assert recoveries == 1
    peer.advance(5 * MILLISECOND)
    peer.segment(".", ack=1 + mss, sack=[(1 + 4 * mss, 1 + 10 * mss)], ts_ecr=first_ts)
    assert peer.counters.spurious_recoveries == 1
    assert peer.counters.recoveries_sack == recoveries
    assert peer.conn.tcb.cc.cwnd >= cwnd


def test_time_wait_is_not_lengthened_by_segments_out_of_the_blue() -> None:
    peer = established()
    peer.close()
    peer.segment("F.", seq=1, ack=2)
    end = peer.conn.next_timeout()
    peer.advance(10 * SECOND)
    peer.segment(".", seq=1_000_000_000, ack=2, data=b"zzz")
    assert peer.conn.next_timeout() == end


def test_a_host_that_slept_tries_once_more_before_it_gives_up() -> None:
    peer = established()
    peer.send(b"x")
    peer.now += 3600 * SECOND
    peer.conn.handle_timeout(peer.now)
    assert peer.output()
    assert peer.state == "ESTABLISHED"


def test_a_retransmission_at_the_scaled_edge_is_no_longer_than_what_was_sent() -> None:
    peer = established(wscale=4)
    peer.send(bytes(100))
    peer.next_timer()
    peer.segment(".", ack=1, wnd=6)  # 96 octets: less than the 100 in flight
    [again] = peer.next_timer()
    assert len(again.payload) <= 100


def test_a_syn_with_timestamps_follows_a_connection_without() -> None:
    # RFC 6191 section 2.
    peer = established()
    peer.close()
    peer.segment("F.", seq=1, ack=2)
    syn = Segment(80, 40000, (peer.peer_iss - 100_000) & 0xFFFFFFFF, 0, SYN, 1000)
    syn.has_ts = True
    syn.ts_val = 5
    assert peer.conn.may_reuse(peer.now, syn)


def test_a_peer_that_reports_single_octets_does_not_get_a_segment_for_each_of_the_others() -> None:
    peer = established(TcpConfig(timestamps=False, nagle="off"))
    peer.send(bytes(14_600))
    for i in range(0, 14_600 - 8, 8):
        peer.segment(".", ack=1, sack=[(2 + i + 2 * k, 3 + i + 2 * k) for k in range(4)])
    assert len(peer.conn.tcb.scoreboard.ranges) < 200
    assert len(peer.advance(3 * SECOND)) < 200


def test_what_a_stranger_sends_blindly_does_not_feed_keepalive() -> None:
    # MUST-26.
    peer = established(
        TcpConfig(keepalive=True, keepalive_idle=10 * SECOND, keepalive_interval=SECOND, keepalive_count=3)
    )
    for _ in range(40):
        peer.advance(SECOND // 2)
        peer.segment(".", seq=1_000_000_000, ack=1)
    assert peer.counters.keepalive_probes > 0


def test_an_unreachable_protocol_has_its_own_errno() -> None:
    peer = ScriptedPeer()
    peer.open()
    peer.conn.handle_icmp(peer.now, icmp.PROTOCOL_UNREACHABLE, peer.conn.tcb.iss)
    assert peer.conn.error == errno.ENOPROTOOPT


def test_answers_to_zero_window_probes_are_no_duplicate_acks() -> None:
    peer = ScriptedPeer(TcpConfig(timestamps=False))
    peer.establish(mss=1000, sack=False, wnd=5000)
    peer.send(bytes(5000))
    peer.segment(".", ack=1001, wnd=0)
    for _ in range(8):
        peer.next_timer()
        peer.segment(".", ack=1001, wnd=0)
    assert peer.counters.recoveries_newreno == 0


def test_the_user_timeout_bounds_the_syn_too() -> None:
    peer = ScriptedPeer(TcpConfig(user_timeout=5 * SECOND))
    peer.open()
    began = peer.now
    while peer.state != "CLOSED":
        peer.next_timer()
    assert peer.now - began == 5 * SECOND


def test_nothing_urgent_comes_after_the_end() -> None:
    peer = established()
    peer.reads = False
    peer.segment("FU.", seq=1, ack=1, data=b"abc", urgent=1000)
    assert peer.conn.urgent_remaining() == 3
    peer.conn.receive(peer.now, 2)
    assert peer.conn.urgent_remaining() == 1
    peer.conn.receive(peer.now, 100)
    assert peer.conn.at_eof()
    assert peer.conn.urgent_remaining() == 0


def test_a_fin_below_text_that_is_held_does_not_hang_the_stream() -> None:
    peer = established()
    peer.segment(".", seq=11, ack=1, data=bytes(40))
    peer.segment("F.", seq=21, ack=1)
    peer.segment(".", seq=1, ack=1, data=bytes(10))
    peer.segment("F.", seq=51, ack=1)
    assert peer.state == "CLOSE_WAIT"
    assert len(peer.received) == 50


def test_a_connection_opened_at_time_zero_is_not_opened_again() -> None:
    peer = ScriptedPeer(start=0)
    peer.open()
    peer.close()
    with pytest.raises(OSError, match="opened before"):
        peer.conn.open(peer.now)


def test_without_window_scaling_no_more_is_accepted_than_can_be_offered() -> None:
    peer = ScriptedPeer(TcpConfig(window_scaling=False, rcv_buf=1 << 20))
    peer.establish()
    peer.reads = False
    t = peer.conn.tcb
    for i in range(60):
        for out in peer.segment(".", seq=1 + 1000 * i, ack=1, data=bytes(1000)):
            assert t.rcv_adv - t.rcv_nxt <= 65535
            assert out.wnd == t.rcv_adv - t.rcv_nxt
