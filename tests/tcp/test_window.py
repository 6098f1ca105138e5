"""Flow control: windows, silly windows, Nagle, cork, probes, acknowledgements. RFC 9293 section 3.8.6, RFC 5681."""

from __future__ import annotations

import errno
import itertools

import pytest

from plankroad.endpoint import EVENT_URGENT, EVENT_WRITABLE
from plankroad.tcp.config import TcpConfig
from plankroad.tcp.constants import TIMER_DELAYED_ACK
from plankroad.testing.pair import Pair
from plankroad.testing.scripted import ScriptedPeer, flags_of
from plankroad.units import MILLISECOND, NEVER, SECOND

MSS = 1000


def sender(wnd: int = 65535, **options: object) -> ScriptedPeer:
    """A connection that sends in segments of 1000."""
    config = TcpConfig(timestamps=False)
    for name, value in options.items():
        setattr(config, name, value)
    peer = ScriptedPeer(config)
    peer.establish(mss=MSS, wnd=wnd)
    return peer


# Receiving


def test_a_program_that_does_not_read_closes_the_window_and_memory_stays_bounded() -> None:
    pair = Pair(TcpConfig(rcv_buf=20_000))
    pair.connect()
    pair.b.reads = False
    data = bytes(range(256)) * 1000
    sent = pair.a.send(data)
    pair.run_for(5 * SECOND)
    assert 0 < pair.b.conn.tcb.rcv_queued <= 20_000
    assert pair.a.conn.tcb.snd_wnd < 2000
    pair.b.reads = True
    pair.b.read()
    while sent < len(data):
        sent += pair.a.send(data[sent:])
        pair.step()
    pair.run()
    assert pair.b.received == data


@pytest.mark.requirement("SHLD-14")
def test_the_right_edge_never_moves_left() -> None:
    # SHLD-14.
    peer = ScriptedPeer(TcpConfig(rcv_buf=10_000, window_scaling=False))
    peer.establish()
    peer.reads = False
    edge = 0
    seq = 1
    for i in range(12):
        for out in peer.segment("P.", seq=seq, ack=1, data=bytes(700)):
            assert out.ack + out.wnd >= edge
            edge = out.ack + out.wnd
        seq += 700
        if i % 3 == 2:
            peer.conn.receive(peer.now, 300)
            for out in peer.output():
                assert out.ack + out.wnd >= edge
                edge = out.ack + out.wnd


@pytest.mark.requirement("MUST-39")
def test_the_window_does_not_open_by_crumbs() -> None:
    # MUST-39: RFC 9293 section 3.8.6.2.2.
    peer = ScriptedPeer(TcpConfig(rcv_buf=4000, window_scaling=False))
    peer.establish()
    peer.reads = False
    peer.segment(".", seq=1, ack=1, data=bytes(4000))
    [probe_answer] = peer.segment(".", seq=4001, ack=1, data=b"x")
    assert (probe_answer.ack, probe_answer.wnd) == (4001, 0)
    for _ in range(14):
        assert len(peer.conn.receive(peer.now, 100)) == 100
        assert peer.output() == []
        # A probe hears of no crumbs either.
        [probe_answer] = peer.segment(".", seq=4001, ack=1, data=b"x")
        assert (probe_answer.ack, probe_answer.wnd) == (4001, 0)
    assert len(peer.conn.receive(peer.now, 600)) == 600
    [update] = peer.output()
    assert update.wnd == 2000


@pytest.mark.parametrize(
    ("unread", "step"),
    [
        (20_000, 10_000),  # a quarter of the buffer
        (37_080, 10_000),  # two segments may still come
        (37_081, 1460),  # less than two: a segment
        (39_000, 1460),
    ],
)
def test_a_window_that_opened_by_enough_is_told_at_once(unread: int, step: int) -> None:
    peer = ScriptedPeer(TcpConfig(rcv_buf=40_000, window_scaling=False, timestamps=False))
    peer.establish()
    peer.reads = False
    for at in range(0, unread, 1460):
        peer.segment(".", seq=1 + at, ack=1, data=bytes(min(1460, unread - at)))
    peer.advance(SECOND)
    assert len(peer.conn.receive(peer.now, step - 1)) == step - 1
    assert peer.output() == []
    assert len(peer.conn.receive(peer.now, 1)) == 1
    [update] = peer.output()
    assert (update.ack, update.wnd) == (1 + unread, 40_000 - unread + step)


@pytest.mark.parametrize(("buffer", "step"), [(2000, 1000), (1200, 600)])
def test_a_small_buffer_tells_when_half_of_it_is_free(buffer: int, step: int) -> None:
    peer = ScriptedPeer(TcpConfig(rcv_buf=buffer, window_scaling=False, timestamps=False))
    peer.establish()
    peer.reads = False
    peer.segment(".", seq=1, ack=1, data=bytes(buffer))
    peer.advance(SECOND)
    assert len(peer.conn.receive(peer.now, step - 1)) == step - 1
    assert peer.output() == []
    assert len(peer.conn.receive(peer.now, 1)) == 1
    [update] = peer.output()
    assert update.wnd == step


def test_data_beyond_the_window_is_cut_off() -> None:
    peer = ScriptedPeer(TcpConfig(rcv_buf=2000, window_scaling=False))
    peer.establish()
    peer.reads = False
    [ack] = peer.segment(".", seq=1, ack=1, data=bytes(3000))
    assert (ack.ack, ack.wnd) == (2001, 0)


def test_a_segment_that_straddles_what_we_have_gives_only_the_new() -> None:
    peer = ScriptedPeer()
    peer.establish()
    peer.segment(".", seq=1, ack=1, data=b"abcde")
    peer.segment(".", seq=3, ack=1, data=b"cdefgh")
    assert peer.received == b"abcdefgh"


@pytest.mark.requirement("MUST-66")
def test_acknowledgements_urgent_and_resets_are_taken_into_a_zero_window() -> None:
    # MUST-66.
    peer = ScriptedPeer(TcpConfig(rcv_buf=1024, window_scaling=False))
    peer.establish()
    peer.reads = False
    peer.send(b"hello")
    peer.segment(".", seq=1, ack=1, data=bytes(1024))
    peer.segment(".", seq=1025, ack=6)
    assert peer.conn.tcb.snd_una == peer.conn.tcb.iss + 6
    peer.segment("U.", seq=1025, ack=6, urgent=10)
    assert peer.conn.tcb.rcv_urgent
    peer.segment("R.", seq=1025, ack=6)
    assert peer.state == "CLOSED"


# Acknowledging


@pytest.mark.requirement("MUST-40", "SHLD-18", "SHLD-19")
def test_quick_acks_at_the_start_then_every_second_segment_then_a_delay_below_half_a_second() -> None:
    # MUST-40, SHLD-18, SHLD-19.
    peer = ScriptedPeer(TcpConfig(timestamps=False, quick_acks=3))
    peer.establish(mss=1460)
    seq = 1
    for _ in range(3):
        assert len(peer.segment(".", seq=seq, ack=1, data=bytes(1460))) == 1
        seq += 1460
    assert peer.segment(".", seq=seq, ack=1, data=bytes(1460)) == []
    seq += 1460
    [ack] = peer.segment(".", seq=seq, ack=1, data=bytes(1460))
    seq += 1460
    assert ack.ack == seq
    assert peer.segment(".", seq=seq, ack=1, data=bytes(1460)) == []
    began = peer.now
    [late] = peer.next_timer()
    assert late.ack == seq + 1460
    assert peer.now - began == 40 * MILLISECOND
    assert peer.counters.delayed_acks == 1


@pytest.mark.requirement("MUST-40")
def test_no_delay_of_half_a_second_can_be_configured() -> None:
    TcpConfig(delayed_ack=499 * MILLISECOND).validate()
    with pytest.raises(ValueError, match="delayed_ack"):
        TcpConfig(delayed_ack=500 * MILLISECOND).validate()
    peer = sender()
    with pytest.raises(ValueError, match="delayed_ack"):
        peer.conn.set_option(peer.now, "delayed_ack", 500 * MILLISECOND)


@pytest.mark.requirement("MUST-58", "MUST-59")
def test_a_batch_is_answered_by_one_acknowledgement() -> None:
    # MUST-58, MUST-59.
    peer = ScriptedPeer(TcpConfig(timestamps=False))
    peer.establish()
    for i in range(8):
        peer.segment(".", seq=1 + i * 1000, ack=1, data=bytes(1000), poll=False)
    [ack] = peer.output()
    assert ack.ack == 8001


def test_an_acknowledgement_rides_on_data() -> None:
    peer = ScriptedPeer(TcpConfig(quick_acks=0))
    peer.establish()
    assert peer.segment("P.", seq=1, ack=1, data=b"question") == []
    [answer] = peer.send(b"answer")
    assert answer.ack == 9
    assert peer.conn.tcb.timers[TIMER_DELAYED_ACK] == NEVER


@pytest.mark.requirement("SHLD-31", "MAY-13")
def test_a_gap_and_its_filling_are_acknowledged_at_once() -> None:
    # RFC 5681 section 4.2.
    peer = ScriptedPeer(TcpConfig(quick_acks=0, timestamps=False))
    peer.establish()
    [dup] = peer.segment(".", seq=101, ack=1, data=bytes(100))
    assert (dup.ack, dup.sack) == (1, [(101, 201)])
    [filled] = peer.segment(".", seq=1, ack=1, data=bytes(100))
    assert (filled.ack, filled.sack) == (201, [])


def test_without_sack_each_segment_of_a_batch_is_worth_a_duplicate() -> None:
    peer = ScriptedPeer(TcpConfig(sack=False, timestamps=False))
    peer.establish(sack=False)
    for i in range(3):
        peer.segment(".", seq=1001 + i * 1000, ack=1, data=bytes(1000), poll=False)
    assert [s.ack for s in peer.output()] == [1, 1, 1]


@pytest.mark.requirement("dsack")
def test_a_duplicate_is_reported_first() -> None:
    # RFC 2883 section 4.
    peer = ScriptedPeer(TcpConfig(timestamps=False))
    peer.establish()
    peer.segment(".", seq=1, ack=1, data=bytes(100))
    peer.segment(".", seq=301, ack=1, data=bytes(100))
    [ack] = peer.segment(".", seq=1, ack=1, data=bytes(100))
    assert ack.ack == 101
    assert ack.sack == [(1, 101), (301, 401)]


@pytest.mark.requirement("dsack")
def test_a_duplicate_above_the_acknowledgement_is_reported_within_its_block() -> None:
    # RFC 2883 section 4.2.
    peer = ScriptedPeer(TcpConfig(timestamps=False))
    peer.establish()
    peer.segment(".", seq=301, ack=1, data=bytes(200))
    [ack] = peer.segment(".", seq=301, ack=1, data=bytes(100))
    assert ack.sack == [(301, 401), (301, 501)]


@pytest.mark.requirement("dsack")
def test_what_fills_a_gap_and_repeats_what_was_held_is_reported() -> None:
    """RFC 2883 section 4: of a segment in order the part that had come before."""
    peer = ScriptedPeer(TcpConfig(timestamps=False))
    peer.establish()
    peer.segment(".", seq=51, ack=1, data=bytes(100))
    [ack] = peer.segment(".", seq=1, ack=1, data=bytes(100))
    assert (ack.ack, ack.sack) == (151, [(51, 101)])
    peer.segment(".", seq=201, ack=1, data=bytes(10))
    [ack] = peer.segment(".", seq=151, ack=1, data=bytes(100))
    assert (ack.ack, ack.sack) == (251, [(201, 211)])
    # What ends where the held octets begin repeats nothing.
    peer.segment(".", seq=301, ack=1, data=bytes(10))
    [ack] = peer.segment(".", seq=251, ack=1, data=bytes(50))
    assert (ack.ack, ack.sack) == (311, [])


@pytest.mark.requirement("sack")
def test_three_sack_blocks_fit_beside_timestamps_and_four_without() -> None:
    # RFC 2018 section 3.
    for ts, fit in ((True, 3), (False, 4)):
        peer = ScriptedPeer()
        peer.establish(ts=ts)
        out = []
        for i in range(5):
            out = peer.segment(".", seq=1001 + 200 * i, ack=1, data=bytes(100))
        assert len(out[0].sack) == fit
        assert out[0].sack[0] == (1801, 1901)


def test_a_full_segment_is_not_cut_for_sack_blocks_which_follow_it() -> None:
    peer = ScriptedPeer()
    peer.establish(mss=1460, ts=True)
    peer.segment(".", seq=1001, ack=1, data=bytes(100), poll=False)
    peer.conn.send(peer.now, bytes(1448))
    full, ack = peer.output()
    assert (len(full.payload), full.sack) == (1448, [])
    assert (len(ack.payload), ack.sack) == (0, [(1001, 1101)])
    peer.segment(".", seq=2001, ack=1449, data=bytes(100), poll=False)
    peer.conn.send(peer.now, bytes(100))
    [small] = peer.output()
    assert small.sack == [(2001, 2101), (1001, 1101)]


# Sending


@pytest.mark.requirement("MUST-34")
def test_usable_window_is_respected_and_may_become_negative() -> None:
    # MUST-34.
    peer = sender(wnd=5000)
    out = peer.send(bytes(10_000))
    assert sum(len(s.payload) for s in out) == 5000
    assert peer.segment(".", ack=1001, wnd=2000) == []
    assert peer.segment(".", ack=3001, wnd=2000) == []
    out = peer.segment(".", ack=5001, wnd=2000)
    assert [s.seq for s in out] == [5001, 6001]


@pytest.mark.requirement("MUST-35", "SHLD-17")
def test_a_window_that_shrank_over_data_in_flight_is_probed_and_survived() -> None:
    # MUST-35, SHLD-17.
    peer = sender(wnd=5000, r2=20 * SECOND)
    peer.send(bytes(5000))
    peer.segment(".", ack=1001, wnd=0)
    cwnd = peer.conn.tcb.cc.cwnd
    for _ in range(12):
        [probe] = peer.next_timer()
        assert (probe.seq, len(probe.payload)) == (1001, 1)
        peer.segment(".", ack=1001, wnd=0)
    assert peer.state == "ESTABLISHED"
    assert peer.conn.tcb.cc.cwnd == cwnd
    peer.segment(".", ack=1001, wnd=5000)
    out = peer.next_timer()
    assert out[0].seq == 1001


@pytest.mark.requirement("MUST-36", "MUST-37", "SHLD-29", "SHLD-30")
def test_zero_window_probes_back_off_and_never_give_up_while_answered() -> None:
    # MUST-36, MUST-37, SHLD-29, SHLD-30.
    peer = sender(wnd=0, r2=100 * SECOND)
    assert peer.send(b"waiting") == []
    times = [peer.now]
    for _ in range(20):
        [probe] = peer.next_timer()
        assert (probe.seq, probe.payload) == (1, b"w")
        times.append(peer.now)
        assert peer.segment(".", ack=1, wnd=0) == []
    steps = [b - a for a, b in itertools.pairwise(times)]
    assert steps[0] == peer.conn.tcb.rtt.rto()
    assert all(b >= a for a, b in itertools.pairwise(steps))
    assert steps[3] == 2 * steps[2]
    assert steps[-1] == 60 * SECOND
    assert peer.state == "ESTABLISHED"
    assert peer.counters.zero_window_probes == 20
    [data] = peer.segment(".", ack=1, wnd=100)
    assert data.payload == b"waiting"


def test_zero_window_probes_that_nobody_answers_end_the_connection() -> None:
    peer = sender(wnd=0, r2=100 * SECOND)
    peer.send(b"waiting")
    peer.advance(400 * SECOND)
    assert peer.state == "CLOSED"
    assert peer.conn.error == errno.ETIMEDOUT


def test_the_octet_of_a_probe_may_be_taken() -> None:
    peer = sender(wnd=0)
    peer.send(b"waiting")
    peer.next_timer()
    out = peer.segment(".", ack=2, wnd=3)
    assert b"".join(s.payload for s in out) == b"" or out[0].payload == b"ait"
    peer.segment(".", ack=2, wnd=50)
    assert peer.conn.tcb.snd_una == peer.conn.tcb.iss + 2


def test_a_fin_waits_for_a_zero_window_and_is_probed() -> None:
    peer = sender(wnd=0)
    peer.close()
    assert peer.state == "FIN_WAIT_1"
    [probe] = peer.next_timer()
    assert flags_of(probe) == "F."
    peer.segment(".", ack=2, wnd=0)
    assert peer.state == "FIN_WAIT_2"


def test_a_fin_refused_by_a_zero_window_is_sent_again_when_it_opens() -> None:
    peer = sender(wnd=0)
    peer.close()
    peer.next_timer()
    peer.segment(".", ack=1, wnd=0)
    [fin] = peer.segment(".", ack=1, wnd=10)
    assert flags_of(fin) == "F."


@pytest.mark.requirement("MUST-38")
def test_silly_windows_are_not_filled_until_the_override() -> None:
    # MUST-38: RFC 9293 section 3.8.6.2.1.
    peer = sender(wnd=4000)
    peer.send(bytes(10_000))
    assert peer.segment(".", ack=4001, wnd=300) == []
    began = peer.now
    [crumb] = peer.next_timer()
    assert len(crumb.payload) == 300
    assert 100 * MILLISECOND <= peer.now - began <= SECOND


def test_half_of_the_largest_window_is_no_silly_window() -> None:
    peer = sender(wnd=800)
    peer.send(bytes(800))
    peer.conn.send(peer.now, bytes(5000))
    out = peer.segment(".", ack=801, wnd=500)
    assert [len(s.payload) for s in out] == [500]


@pytest.mark.requirement("MUST-17", "SHLD-7", "minshall")
@pytest.mark.parametrize(
    ("nagle", "sent"),
    [
        ("off", [1000, 1000, 300, 200]),  # MUST-17
        ("classic", [1000, 1000]),  # SHLD-7: nothing small while anything is unacknowledged
        ("minshall", [1000, 1000, 300]),  # nothing small while something small is unacknowledged
    ],
)
def test_nagle(nagle: str, sent: list[int]) -> None:
    peer = sender(nagle=nagle)
    out = peer.send(bytes(2300)) + peer.send(bytes(200))
    assert [len(s.payload) for s in out] == sent


@pytest.mark.requirement("MUST-60")
def test_nagle_lets_the_rest_go_with_the_acknowledgement() -> None:
    peer = sender(nagle="classic")
    [first] = peer.send(b"a")
    assert peer.send(b"b") == []
    assert peer.send(b"c") == []
    [rest] = peer.segment(".", ack=2)
    assert rest.payload == b"bc"
    assert first.payload == b"a"


@pytest.mark.requirement("MUST-17")
def test_nagle_can_be_switched_on_a_living_connection() -> None:
    peer = sender()
    peer.send(b"a")
    assert peer.send(b"b") == []
    peer.conn.set_nodelay(peer.now, True)
    [seg] = peer.output()
    assert seg.payload == b"b"


@pytest.mark.requirement("MUST-60", "cork")
def test_cork_holds_small_segments_but_not_for_ever() -> None:
    # MUST-60.
    peer = sender(cork=True)
    assert peer.send(bytes(300)) == []
    assert [len(s.payload) for s in peer.send(bytes(800))] == [1000]
    began = peer.now
    [rest] = peer.next_timer()
    assert len(rest.payload) == 100
    assert peer.now - began == 200 * MILLISECOND
    peer.send(bytes(10))
    peer.conn.set_option(peer.now, "cork", False)
    peer.segment(".", ack=1101)
    assert peer.conn.tcb.snd_nxt == peer.conn.tcb.iss + 1111


@pytest.mark.requirement("MUST-61")
def test_psh_is_on_the_last_segment_of_what_was_written() -> None:
    # MUST-61.
    peer = sender()
    out = peer.send(bytes(3000))
    assert [flags_of(s) for s in out] == [".", ".", "P."]


def test_a_full_send_buffer_refuses_and_tells_of_room() -> None:
    peer = sender(snd_buf=5000, wnd=10_000)
    assert peer.conn.send(peer.now, bytes(8000)) == 5000
    peer.output()
    assert peer.conn.send(peer.now, b"x") == 0
    peer.events = 0
    peer.segment(".", ack=1001)
    assert not peer.events & EVENT_WRITABLE
    peer.segment(".", ack=3001)
    assert peer.events & EVENT_WRITABLE


def test_super_segments_are_whole_segments_and_the_rest() -> None:
    peer = sender(nagle="off", initial_window=100)
    peer.conn.tcb.gso_max = 10_500
    out = peer.send(bytes(25_300))
    assert [(len(s.payload), s.gso_size) for s in out] == [(10_000, 1000), (10_000, 1000), (5300, 1000)]


@pytest.mark.requirement("idle-restart")
def test_after_an_idle_time_the_window_restarts() -> None:
    # RFC 5681 section 4.1.
    peer = sender()
    for i in range(10):
        sent = sum(len(s.payload) for s in peer.send(bytes(10_000)))
        peer.advance(10 * MILLISECOND)
        assert sent == 10_000
        peer.segment(".", ack=1 + (i + 1) * 10_000)
    assert peer.conn.tcb.cc.cwnd > 10_000
    peer.advance(10 * SECOND)
    assert sum(len(s.payload) for s in peer.send(bytes(60_000))) == 10_000
    assert peer.counters.idle_restarts == 1


@pytest.mark.requirement("window-validation")
def test_a_window_that_is_not_used_does_not_grow() -> None:
    # RFC 9438 section 5.8, RFC 2861, RFC 7661.
    peer = sender()
    before = peer.conn.tcb.cc.cwnd
    for i in range(100):
        peer.send(b"x")
        peer.advance(5 * MILLISECOND)
        peer.segment(".", ack=2 + i)
    assert peer.conn.tcb.cc.cwnd == before


@pytest.mark.requirement("MUST-30", "MUST-32", "MUST-33", "MUST-62")
def test_urgent_data() -> None:
    # MUST-30 to MUST-33, MUST-62; RFC 6093.
    pair = Pair()
    pair.connect()
    pair.b.reads = False
    pair.a.send(b"plain")
    pair.a.conn.send_urgent(pair.now, b"urgent")
    pair.run()
    marked = [seg for _, seg in pair.a.sent if seg.flags & 0x20]
    assert marked
    iss = pair.a.conn.tcb.iss
    assert all((seg.seq + seg.urgent - iss) & 0xFFFFFFFF == 12 for seg in marked)
    assert pair.b.events & 0x80
    assert pair.b.conn.urgent_remaining() == 11
    pair.b.read(5)
    assert pair.b.conn.urgent_remaining() == 6
    pair.b.read()
    assert pair.b.conn.urgent_remaining() == 0
    assert pair.b.received == b"plainurgent"


@pytest.mark.requirement("MUST-32", "MUST-33")
def test_the_program_hears_when_the_urgent_pointer_moves_on() -> None:
    peer = ScriptedPeer()
    peer.establish()
    peer.reads = False
    peer.segment("U.", seq=1, ack=1, data=b"abc", urgent=3)
    assert peer.events & EVENT_URGENT
    assert peer.conn.urgent_remaining() == 3
    peer.events = 0
    peer.segment("U.", seq=1, ack=1, urgent=3)
    assert not peer.events & EVENT_URGENT
    peer.segment("U.", seq=4, ack=1, data=b"defg", urgent=4)
    assert peer.events & EVENT_URGENT
    assert peer.conn.urgent_remaining() == 7


@pytest.mark.requirement("MUST-31")
def test_urgent_data_of_any_length() -> None:
    # MUST-31: longer than the 16 bits of the pointer.
    pair = Pair()
    pair.connect()
    data = bytes(range(256)) * 600
    pair.a.conn.send_urgent(pair.now, data)
    pair.run()
    assert pair.b.received == data
    assert pair.b_counters.urgent_received >= 2


def used_in_full(peer: ScriptedPeer) -> int:
    """Fill the window for three round trips of 10 ms; the next number to be acknowledged."""
    sent = 1
    for _ in range(3):
        while out := peer.send(bytes(min(peer.conn.tcb.cc.cwnd, 60_000) - peer.conn.tcb.pipe())):
            sent += sum(len(s.payload) for s in out)
        peer.advance(10 * MILLISECOND)
        peer.segment(".", ack=sent)
    return sent


@pytest.mark.requirement("window-validation")
def test_a_window_half_used_is_kept_and_shrinks_only_after_five_minutes() -> None:
    # RFC 7661 sections 4.4 and 4.4.3, with 100 requests a second.
    peer = sender()
    sent = used_in_full(peer)
    full = peer.conn.tcb.cc.cwnd
    assert full > 30_000
    for i in range(3030):
        sent += sum(len(s.payload) for s in peer.send(bytes(2000)))
        peer.advance(10 * MILLISECOND)
        peer.segment(".", ack=sent)
        peer.advance(90 * MILLISECOND)
        if i < 2950:
            assert peer.conn.tcb.cc.cwnd == full
    assert peer.conn.tcb.cc.cwnd == full // 2
    assert peer.conn.tcb.cc.ssthresh >= full - full // 4


def test_idle_restart_off_keeps_the_window_through_a_pause() -> None:
    # RFC 7661 sections 4.4 and 4.4.3: five minutes of silence halve it.
    for pause, share in ((10 * SECOND, 1), (310 * SECOND, 2)):
        peer = sender(idle_restart=False)
        used_in_full(peer)
        full = peer.conn.tcb.cc.cwnd
        peer.advance(pause)
        peer.send(b"x")
        assert peer.conn.tcb.cc.cwnd == full // share
        assert peer.counters.idle_restarts == 0


def test_congestion_control_and_segment_size_can_be_changed_on_a_living_connection() -> None:
    peer = sender()
    peer.conn.tcb.cc.cwnd = 33_000
    peer.conn.set_option(peer.now, "congestion_control", "newreno")
    assert type(peer.conn.tcb.cc).__name__ == "NewReno"
    assert peer.conn.tcb.cc.cwnd == 33_000
    peer.conn.set_option(peer.now, "max_segment", 500)
    assert {len(s.payload) for s in peer.send(bytes(5000))} == {500}
    with pytest.raises(ValueError, match="cubic"):
        peer.conn.set_option(peer.now, "congestion_control", "nonesuch")
    with pytest.raises(ValueError, match="these can"):
        peer.conn.set_option(peer.now, "timestamps", False)


def test_an_unknown_congestion_control_is_refused_before_anything_changes() -> None:
    with pytest.raises(ValueError, match=r"known are .*cubic, .*newreno, reno"):
        TcpConfig(congestion_control="nonesuch").validate()
    peer = sender()
    with pytest.raises(ValueError, match="nonesuch"):
        peer.conn.set_option(peer.now, "congestion_control", "nonesuch")
    assert peer.conn.tcb.config.congestion_control == "cubic"
