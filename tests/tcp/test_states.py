"""Every state of RFC 9293 section 3.3.2, and every way through them."""

from __future__ import annotations

import errno

import pytest

from plankroad.endpoint import EVENT_CLOSED, EVENT_CONNECTED, EVENT_EOF, EVENT_ERROR
from plankroad.tcp.config import TcpConfig
from plankroad.testing.pair import Pair
from plankroad.testing.scripted import ScriptedPeer, flags_of
from plankroad.units import MILLISECOND, NEVER, SECOND
from plankroad.wire.segment import Segment


def test_three_way_handshake() -> None:
    pair = Pair()
    pair.connect()
    lines = pair.story().splitlines()[1:]
    assert [line.split()[1:5] for line in lines] == [
        ["a", "S", "seq", "0:0"],
        ["b", "S.", "seq", "0:0"],
        ["a", ".", "seq", "1:1"],
    ]
    assert pair.a.events & EVENT_CONNECTED
    assert pair.b.events & EVENT_CONNECTED
    assert pair.listener is not None
    assert pair.listener.accept() is pair.b.connection


@pytest.mark.requirement("idle-costs-nothing")
def test_an_idle_connection_has_no_timer() -> None:
    pair = Pair()
    pair.connect()
    pair.a.send(b"hello")
    pair.run()
    assert pair.a.conn.next_timeout() == NEVER
    assert pair.b.conn.next_timeout() == NEVER


@pytest.mark.requirement("MUST-12", "MUST-13")
def test_four_way_close_passes_every_state_and_data_flows_in_the_open_direction() -> None:
    pair = Pair()
    pair.connect()
    pair.a.send(b"request")
    pair.a.close()
    assert pair.a.state == "FIN_WAIT_1"
    pair.run_until(lambda: pair.a.state == "FIN_WAIT_2")
    assert pair.b.state == "CLOSE_WAIT"
    assert pair.b.events & EVENT_EOF
    assert pair.b.conn.at_eof()
    # Half-close: the other direction goes on.
    pair.b.send(bytes(100_000))
    pair.run()
    assert len(pair.a.received) == 100_000
    pair.b.close()
    assert pair.b.state == "LAST_ACK"
    pair.run_until(lambda: pair.b.state == "CLOSED")
    assert pair.a.state == "TIME_WAIT"
    assert pair.a.events & EVENT_CLOSED
    began = pair.now
    pair.run()
    # MUST-13: 2 MSL after the last acknowledgement.
    assert pair.a.state == "CLOSED"
    assert pair.now - began == pytest.approx(60 * SECOND, abs=20 * MILLISECOND)
    assert (pair.a.conn.error, pair.b.conn.error) == (0, 0)


@pytest.mark.requirement("MUST-12", "MAY-1")
def test_half_close_in_the_other_order() -> None:
    pair = Pair()
    pair.connect()
    pair.b.close()
    pair.run_until(lambda: pair.b.state == "FIN_WAIT_2")
    assert pair.a.events & EVENT_EOF
    assert pair.a.conn.at_eof()
    pair.a.send(b"still flowing")
    pair.run()
    assert pair.b.received == b"still flowing"
    pair.a.close()
    pair.run()
    assert pair.both_closed()


def test_simultaneous_close() -> None:
    pair = Pair()
    pair.connect()
    pair.a.send(b"from a")
    pair.b.send(b"from b")
    pair.a.close()
    pair.b.close()
    pair.run_until(lambda: pair.a.state == "CLOSING")
    assert pair.b.state == "CLOSING"
    pair.run_until(lambda: pair.a.state == "TIME_WAIT" and pair.b.state == "TIME_WAIT")
    assert pair.a.received == b"from b"
    assert pair.b.received == b"from a"
    pair.run()
    assert pair.both_closed()


def test_a_listener_takes_no_syn_ack_for_a_simultaneous_open() -> None:
    """RFC 9293 section 3.10.7.4, first: it lies before the window. One answer, and the handshake goes on."""
    for ack in (1, 2, 1000):
        peer = ScriptedPeer()
        peer.listen()
        peer.segment("S", seq=0, mss=1460)
        [answer] = peer.segment("S.", seq=0, ack=ack, mss=1460)
        assert (flags_of(answer), answer.seq, answer.ack) == (".", 1, 1)
        assert peer.state == "SYN_RECEIVED"
        peer.segment(".", seq=1, ack=1)
        assert peer.state == "ESTABLISHED"


def test_a_syn_ack_with_a_wrong_acknowledgement_has_one_answer_in_a_simultaneous_open() -> None:
    """RFC 9293 section 3.10.7.4, fifth: a reset, and no acknowledgement beside it."""
    peer = ScriptedPeer()
    peer.open()
    peer.segment("S", seq=0, mss=1460)
    [answer] = peer.segment("S.", seq=0, ack=1000, mss=1460)
    assert (flags_of(answer), answer.seq) == ("R", 1000)
    assert peer.state == "SYN_RECEIVED"


def test_a_fin_that_is_not_reached_does_not_cut_off_the_stream() -> None:
    """Somebody who guesses a number in the window forges a FIN: what comes after it is the peer's all the same."""
    peer = ScriptedPeer()
    peer.establish()
    peer.segment("F.", seq=101, ack=1)
    peer.segment(".", seq=1, ack=1, data=bytes(60))
    [ack] = peer.segment(".", seq=61, ack=1, data=bytes(60))
    assert ack.ack == 121
    assert peer.state == "ESTABLISHED"
    assert not peer.conn.at_eof()
    [ack] = peer.segment("F.", seq=121, ack=1)
    assert ack.ack == 122
    assert peer.state == "CLOSE_WAIT"
    assert len(peer.received) == 120


def test_a_fin_in_order_counts_though_another_is_held() -> None:
    peer = ScriptedPeer()
    peer.establish()
    peer.segment("F.", seq=5001, ack=1)
    [ack] = peer.segment("F.", seq=1, ack=1, data=b"all")
    assert ack.ack == 5
    assert peer.state == "CLOSE_WAIT"
    assert peer.received == b"all"


def test_an_acknowledgement_behind_a_fin_that_is_not_reached_does_not_take_it_back() -> None:
    """Text is lost, the FIN behind it arrives, and so does an acknowledgement with the number that follows the FIN:
    RFC 9293 section 3.4, "the FIN is considered to occur after the last actual data octet".
    """
    peer = ScriptedPeer()
    peer.establish()
    peer.segment("F.", seq=101, ack=1)
    peer.send(b"ours")
    peer.segment(".", seq=102, ack=5)
    [ack] = peer.segment(".", seq=1, ack=5, data=bytes(100))
    assert ack.ack == 102
    assert peer.state == "CLOSE_WAIT"
    assert len(peer.received) == 100


def test_text_after_a_fin_is_ignored() -> None:
    """RFC 9293 section 3.10.7.4, seventh: "Ignore the segment text." """
    peer = ScriptedPeer()
    peer.establish()
    peer.segment("F.", seq=1, ack=1)
    assert peer.state == "CLOSE_WAIT"
    assert peer.segment(".", seq=2, ack=1, data=b"more") == []
    assert peer.segment("F.", seq=2, ack=1) == []
    assert peer.received == b""
    [again] = peer.segment("F.", seq=1, ack=1)
    assert again.ack == 2


@pytest.mark.requirement("MUST-10")
def test_simultaneous_open() -> None:
    # MUST-10; RFC 9293 section 3.5, figure 7.
    peer = ScriptedPeer()
    [syn] = peer.open()
    assert flags_of(syn) == "S"
    [answer] = peer.segment("S", seq=0, mss=1460)
    assert flags_of(answer) == "S."
    assert (answer.seq, answer.ack) == (0, 1)
    assert peer.state == "SYN_RECEIVED"
    peer.segment("S.", seq=0, ack=1, mss=1460)
    assert peer.state == "ESTABLISHED"
    assert peer.counters.simultaneous_opens == 1
    [data] = peer.send(b"x")
    assert (data.seq, data.ack) == (1, 1)


@pytest.mark.requirement("MUST-10")
def test_simultaneous_open_of_two_real_ends() -> None:
    pair = Pair()
    pair.listener = None
    a = pair.a
    b = pair.b
    b.connection = Pair(start=pair.now + 1).client(80)
    b.conn.local_addr, b.conn.remote_addr = pair.b_addr, pair.a_addr
    b.conn.tcb.local_port = b.conn.local_port = 80
    b.conn.tcb.remote_port = b.conn.remote_port = 40000
    a.conn.open(pair.now)
    b.conn.open(pair.now)
    pair.run_until(lambda: a.state == "ESTABLISHED" and b.state == "ESTABLISHED")
    a.send(b"ping")
    b.send(b"pong")
    pair.run()
    assert a.received == b"pong"
    assert b.received == b"ping"
    a.close()
    b.close()
    pair.run()
    assert pair.both_closed()


def test_close_before_the_syn_is_answered_forgets_the_connection() -> None:
    peer = ScriptedPeer()
    peer.open()
    assert peer.close() == []
    assert peer.state == "CLOSED"
    assert peer.conn.next_timeout() == NEVER


def test_close_in_syn_received_waits_for_the_handshake() -> None:
    peer = ScriptedPeer()
    peer.listen()
    peer.segment("S", seq=0, mss=1460)
    assert peer.state == "SYN_RECEIVED"
    peer.conn.close(peer.now)
    assert peer.output() == []
    out = peer.segment(".", seq=1, ack=1)
    assert [flags_of(s) for s in out] == ["F."]
    assert peer.state == "FIN_WAIT_1"


def test_the_fin_leaves_with_the_last_data() -> None:
    peer = ScriptedPeer()
    peer.establish()
    peer.conn.send(peer.now, b"last words")
    peer.conn.close(peer.now)
    [seg] = peer.output()
    assert flags_of(seg) == "FP."
    assert seg.payload == b"last words"


def test_fin_received_out_of_order_is_held_until_its_data_came() -> None:
    peer = ScriptedPeer()
    peer.establish()
    [dup] = peer.segment("F.", seq=6, ack=1)
    assert dup.ack == 1
    assert peer.state == "ESTABLISHED"
    [ack] = peer.segment(".", seq=1, ack=1, data=b"hello")
    assert ack.ack == 7
    assert peer.state == "CLOSE_WAIT"
    assert peer.received == b"hello"


def test_nothing_is_taken_after_the_peers_fin() -> None:
    peer = ScriptedPeer()
    peer.establish()
    peer.segment("F.", seq=1, ack=1)
    peer.segment(".", seq=2, ack=1, data=b"more")
    assert peer.received == b""
    assert peer.conn.at_eof()


@pytest.mark.requirement("MUST-13")
def test_time_wait_acknowledges_a_repeated_fin_and_begins_anew() -> None:
    peer = ScriptedPeer()
    peer.establish()
    peer.close()
    peer.segment(".", seq=1, ack=2)
    peer.segment("F.", seq=1, ack=2)
    assert peer.state == "TIME_WAIT"
    peer.advance(50 * SECOND)
    [ack] = peer.segment("F.", seq=1, ack=2)
    assert (flags_of(ack), ack.ack) == (".", 2)
    peer.advance(50 * SECOND)
    assert peer.state == "TIME_WAIT"
    peer.advance(10 * SECOND)
    assert peer.state == "CLOSED"


@pytest.mark.requirement("time-wait-resets")
def test_a_reset_does_not_end_time_wait() -> None:
    # RFC 1337.
    peer = ScriptedPeer()
    peer.establish()
    peer.close()
    peer.segment("F.", seq=1, ack=2)
    assert peer.state == "TIME_WAIT"
    peer.segment("R", seq=2)
    assert peer.state == "TIME_WAIT"
    assert peer.counters.resets_ignored == 1


@pytest.mark.requirement("SHLD-4", "time-wait-reuse")
def test_time_wait_gives_way_to_a_newer_syn_only() -> None:
    # RFC 6191 section 2.
    peer = ScriptedPeer()
    peer.establish(ts=True)
    peer.close()
    peer.segment("F.", seq=1, ack=2)
    assert peer.state == "TIME_WAIT"

    def syn(seq: int, ts_val: int) -> Segment:
        seg = Segment(80, 40000, (peer.peer_iss + seq) & 0xFFFFFFFF, 0, 0x02, 1000)
        seg.has_ts = True
        seg.ts_val = ts_val
        return seg

    recent = peer.conn.tcb.ts_recent
    assert peer.conn.may_reuse(peer.now, syn(-1000, recent + 1))
    assert not peer.conn.may_reuse(peer.now, syn(-1000, recent))
    assert peer.conn.may_reuse(peer.now, syn(1000, recent))
    assert not peer.conn.may_reuse(peer.now, syn(1000, recent - 1))
    without = Segment(80, 40000, (peer.peer_iss + 1000) & 0xFFFFFFFF, 0, 0x02, 1000)
    assert peer.conn.may_reuse(peer.now, without)


def test_abort_sends_a_reset_with_the_next_sequence_number() -> None:
    peer = ScriptedPeer()
    peer.establish()
    peer.send(b"12345")
    peer.conn.abort(peer.now)
    [rst] = peer.output()
    assert flags_of(rst) == "R."
    assert rst.seq == 6
    assert peer.state == "CLOSED"


@pytest.mark.requirement("MUST-12")
def test_abort_reaches_the_other_program_as_a_reset() -> None:
    # MUST-12.
    pair = Pair()
    pair.connect()
    pair.a.abort()
    pair.run()
    assert pair.b.state == "CLOSED"
    assert pair.b.conn.error == errno.ECONNRESET
    assert pair.b.events & EVENT_ERROR


@pytest.mark.requirement("SHLD-3")
def test_unread_data_at_release_is_a_reset() -> None:
    # SHLD-3: RFC 9293 section 3.6.1.
    pair = Pair()
    pair.connect()
    pair.b.reads = False
    pair.a.send(b"nobody reads this")
    pair.run()
    pair.b.release()
    pair.run()
    assert pair.a.conn.error == errno.ECONNRESET


@pytest.mark.requirement("SHLD-3")
def test_data_after_release_is_a_reset() -> None:
    pair = Pair()
    pair.connect()
    pair.b.release()
    pair.run_until(lambda: pair.a.state == "CLOSE_WAIT")
    pair.a.send(b"too late")
    pair.run()
    assert pair.a.conn.error == errno.ECONNRESET
    assert pair.b_counters.data_after_close == 1


def test_fin_wait_2_of_a_released_connection_ends() -> None:
    pair = Pair(TcpConfig(fin_timeout=5 * SECOND))
    pair.connect()
    pair.a.release()
    pair.run_until(lambda: pair.a.state == "FIN_WAIT_2")
    began = pair.now
    pair.run()
    assert pair.a.state == "CLOSED"
    assert pair.now - began >= 5 * SECOND
    # Without a word: the peer may still be reading.
    assert pair.b.state == "CLOSE_WAIT"
    assert pair.b.conn.error == 0


def test_a_half_closed_connection_waits_as_long_as_the_program_reads() -> None:
    pair = Pair()
    pair.connect()
    pair.a.close()
    pair.run()
    assert pair.a.state == "FIN_WAIT_2"
    pair.run_for(7200 * SECOND)
    assert pair.a.state == "FIN_WAIT_2"


@pytest.mark.requirement("linger")
def test_linger_zero_resets_at_once_and_linger_gives_up_in_time() -> None:
    pair = Pair(TcpConfig(linger=0))
    pair.connect()
    pair.a.release()
    pair.run()
    assert pair.b.conn.error == errno.ECONNRESET

    pair = Pair(TcpConfig(linger=2 * SECOND), rule=lambda n, who, seg: [] if n > 3 else [0])
    pair.connect()
    pair.a.send(b"never acknowledged")
    began = pair.now
    pair.a.release()
    pair.run_until(lambda: pair.a.state == "CLOSED")
    assert pair.now - began == 2 * SECOND


def test_refused() -> None:
    peer = ScriptedPeer()
    peer.open()
    peer.segment("R.", seq=0, ack=1)
    assert peer.state == "CLOSED"
    assert peer.conn.error == errno.ECONNREFUSED
    assert peer.events & EVENT_ERROR


def test_commands_in_the_wrong_state_are_errors() -> None:
    peer = ScriptedPeer()
    with pytest.raises(OSError, match="not open") as not_open:
        peer.conn.send(peer.now, b"x")
    assert not_open.value.errno == errno.ENOTCONN
    peer.establish()
    with pytest.raises(OSError, match="opened before"):
        peer.conn.open(peer.now)
    peer.close()
    with pytest.raises(BrokenPipeError):
        peer.conn.send(peer.now, b"x")


def test_a_send_after_a_reset_raises_the_connections_error() -> None:
    peer = ScriptedPeer()
    peer.establish()
    peer.segment("R.", seq=1, ack=1)
    with pytest.raises(ConnectionResetError):
        peer.conn.send(peer.now, b"x")
