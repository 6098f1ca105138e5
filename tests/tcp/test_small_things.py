"""Small things that mutation testing found nobody to notice (docs/mutation.md)."""

from __future__ import annotations

import errno

import pytest

from plankroad.endpoint import EVENT_EOF, EVENT_READABLE, EVENT_URGENT, EVENT_WRITABLE
from plankroad.tcp import icmp
from plankroad.tcp.config import TcpConfig
from plankroad.testing.scripted import ScriptedPeer, flags_of
from plankroad.units import SECOND

MSS = 1000


def test_a_simultaneous_open_goes_on_as_long_as_any_active_one() -> None:
    # The limit of SYN,ACKs is a listener's; R2 of a SYN (MUST-23) is that of who opened.
    peer = ScriptedPeer(TcpConfig(synack_retries=2))
    peer.open()
    peer.segment("S", seq=0, mss=MSS)
    repeated = peer.advance(100 * SECOND)
    assert len(repeated) > 2
    assert {flags_of(seg) for seg in repeated} == {"S."}
    assert peer.state == "SYN_RECEIVED"


def test_a_standing_soft_error_ends_an_attempt_after_three_syns() -> None:
    # RFC 5461 section 4.1: `syn_soft_error_retries` of 2.
    peer = ScriptedPeer()
    syns = len(peer.open())
    peer.conn.handle_icmp(peer.now, icmp.HOST_UNREACHABLE, peer.conn.tcb.iss)
    while peer.state == "SYN_SENT":
        syns += len(peer.next_timer())
    assert syns == 3
    assert peer.conn.error == errno.EHOSTUNREACH


def test_text_that_came_with_a_syn_is_taken_off_what_repeats_it() -> None:
    peer = ScriptedPeer()
    peer.listen()
    peer.segment("S", seq=0, mss=MSS, data=b"hello")
    peer.segment("P.", seq=1, ack=1, data=b"hello, world")
    assert peer.received == b"hello, world"


def test_a_fast_retransmission_is_counted_once() -> None:
    peer = ScriptedPeer(TcpConfig(timestamps=False, congestion_control="newreno"))
    peer.establish(mss=MSS)
    peer.send(bytes(8 * MSS))
    for i in range(2, 5):
        peer.segment(".", ack=1, sack=[(1 + MSS, 1 + i * MSS)])
    assert peer.counters.retransmitted_fast == peer.counters.retransmitted == 1
    assert peer.counters.bytes_retransmitted == MSS


def test_what_was_not_told_yet_is_told_with_the_end() -> None:
    peer = ScriptedPeer()
    peer.establish()
    peer.reads = False
    peer.events = 0
    peer.segment("U.", seq=1, ack=1, data=b"now", urgent=3, poll=False)
    peer.segment("F.", seq=4, ack=1)
    assert peer.events & (EVENT_URGENT | EVENT_READABLE | EVENT_EOF) == EVENT_URGENT | EVENT_READABLE | EVENT_EOF


def test_of_two_fins_the_earlier_one_ends_the_text() -> None:
    peer = ScriptedPeer()
    peer.establish()
    peer.segment("F.", seq=6, ack=1)
    peer.segment("F.", seq=1, ack=1, data=b"hello, world")
    assert peer.received == b"hello"
    assert peer.state == "CLOSE_WAIT"


@pytest.mark.parametrize("dsack", [True, False])
def test_a_duplicate_out_of_order_is_counted_and_reported_only_where_that_was_chosen(dsack: bool) -> None:
    peer = ScriptedPeer(TcpConfig(timestamps=False, dsack=dsack))
    peer.establish()
    peer.segment(".", seq=301, ack=1, data=bytes(200))
    assert peer.counters.duplicates_received == 0
    [ack] = peer.segment(".", seq=301, ack=1, data=bytes(100))
    assert ack.sack == ([(301, 401), (301, 501)] if dsack else [(301, 501)])
    assert peer.counters.duplicates_received == 1


def test_the_window_opens_by_exactly_a_segment() -> None:
    # RFC 9293 section 3.8.6.2.2: ">= min( Fr * RCV.BUFF, Eff.snd.MSS )".
    peer = ScriptedPeer(TcpConfig(rcv_buf=4000, window_scaling=False))
    peer.establish()
    peer.reads = False
    peer.segment(".", seq=1, ack=1, data=bytes(4000))
    [closed] = peer.segment(".", seq=4001, ack=1, data=b"x")
    assert closed.wnd == 0
    assert peer.counters.zero_windows_sent > 0
    assert len(peer.conn.receive(peer.now, 1459)) == 1459
    assert peer.output() == []
    assert len(peer.conn.receive(peer.now, 1)) == 1
    [update] = peer.output()
    assert update.wnd == 1460


def test_acknowledgements_of_an_idle_connection_are_no_duplicates() -> None:
    # RFC 5681 section 2: "(a) the receiver of the ACK has outstanding data".
    peer = ScriptedPeer()
    peer.establish()
    for _ in range(5):
        peer.segment(".", ack=1)
    assert peer.counters.duplicate_acks_received == 0
    peer.send(b"x")
    peer.segment(".", ack=1)
    assert peer.counters.duplicate_acks_received == 1


def test_a_third_of_the_send_buffer_free_is_room() -> None:
    peer = ScriptedPeer(TcpConfig(snd_buf=6000, timestamps=False))
    peer.establish(mss=MSS)
    assert peer.conn.send(peer.now, bytes(7000)) == 6000
    peer.output()
    peer.events = 0
    peer.segment(".", ack=1001)
    assert not peer.events & EVENT_WRITABLE
    peer.segment(".", ack=2001)
    assert peer.events & EVENT_WRITABLE
