"""What a segment's text does on its way to the program: counts, acknowledgements, urgent octets, the end."""

from __future__ import annotations

import pytest

from plankroad.endpoint import EVENT_EOF, EVENT_READABLE, EVENT_URGENT
from plankroad.tcp.config import TcpConfig
from plankroad.testing.scripted import ScriptedPeer, flags_of

MSS = 1460


def receiver(mss: int = MSS, **fields: object) -> ScriptedPeer:
    """An established connection without timestamps whose program does not read by itself."""
    peer = ScriptedPeer(TcpConfig(timestamps=False, **fields))  # type: ignore[arg-type]
    peer.establish(mss=mss)
    peer.reads = False
    peer.events = 0
    return peer


# Out of order


def test_each_segment_out_of_order_is_counted_and_none_that_is_held_as_dropped() -> None:
    peer = receiver()
    for at in (201, 401, 601):
        peer.segment(".", seq=at, ack=1, data=bytes(100))
    assert (peer.counters.out_of_order_received, peer.counters.out_of_order_dropped) == (3, 0)
    assert peer.counters.duplicate_acks_sent == 3


def test_what_there_is_no_room_to_hold_is_counted_as_dropped() -> None:
    # Each hole costs more than the octet beside it: a small buffer is full of holes before the window is.
    peer = receiver(rcv_buf=2000, window_scaling=False)
    for at in range(3, 1900, 2):
        peer.segment(".", seq=at, ack=1, data=b"x")
    held = peer.conn.tcb.reassembly.octets
    received = len(range(3, 1900, 2))
    assert peer.counters.out_of_order_received == received
    assert peer.counters.out_of_order_dropped == received - held > 0


def test_the_gap_is_filled_by_what_was_held_in_the_right_order() -> None:
    peer = receiver()
    for at, letter in ((301, b"d"), (101, b"b"), (201, b"c")):
        peer.segment(".", seq=at, ack=1, data=letter * 100)
    [ack] = peer.segment(".", seq=1, ack=1, data=b"a" * 100)
    assert (ack.ack, ack.sack) == (401, [])
    assert peer.conn.receive(peer.now, 1000) == b"a" * 100 + b"b" * 100 + b"c" * 100 + b"d" * 100
    assert peer.conn.tcb.bytes_received == peer.counters.bytes_received == 400


def test_more_duplicates_than_can_be_told_are_not_kept() -> None:
    peer = receiver()
    peer.segment(".", seq=1001, ack=1, data=bytes(1000))
    for _ in range(20):
        peer.segment(".", seq=1001, ack=1, data=bytes(100), poll=False)
    assert len(peer.conn.tcb.dsacks) == 8
    assert peer.counters.duplicates_received == 20


# Acknowledgements


def test_a_super_segment_tells_the_size_of_its_segments_not_its_own() -> None:
    # RFC 5681 section 4.2 counts full-sized segments; one of those that it stands for is what the sender sends.
    peer = receiver(mss=800, quick_acks=0)
    [ack] = peer.segment(".", seq=1, ack=1, data=bytes(3000), gso_size=1000)
    assert ack.ack == 3001
    assert peer.conn.tcb.rcv_mss == 1000
    assert peer.segment(".", seq=3001, ack=1, data=bytes(1000)) == []
    [ack] = peer.segment(".", seq=4001, ack=1, data=bytes(1000))
    assert ack.ack == 5001


def test_octets_are_counted_not_segments_until_an_acknowledgement_is_due() -> None:
    peer = receiver(quick_acks=0)
    peer.segment(".", seq=1, ack=1, data=bytes(MSS))
    peer.segment(".", seq=1 + MSS, ack=1, data=bytes(MSS))
    at = 1 + 2 * MSS
    for _ in range(29):
        assert peer.segment(".", seq=at, ack=1, data=bytes(100)) == []
        at += 100
    [ack] = peer.segment(".", seq=at, ack=1, data=bytes(100))
    assert ack.ack == at + 100


def test_quick_acknowledgements_are_so_many_and_no_more() -> None:
    peer = receiver(quick_acks=3)
    answers = [len(peer.segment(".", seq=1 + at, ack=1, data=b"x")) for at in range(6)]
    assert answers == [1, 1, 1, 0, 0, 0]


# Urgent data


def test_the_same_urgent_pointer_is_told_once() -> None:
    # MUST-32: when it advances. All segments before the last urgent octet point at it.
    peer = receiver()
    peer.segment("U.", seq=1, ack=1, data=b"abc", urgent=6)
    assert peer.events & EVENT_URGENT
    peer.events = 0
    peer.segment("U.", seq=4, ack=1, data=b"def", urgent=3)
    assert not peer.events & EVENT_URGENT
    assert peer.counters.urgent_received == 1
    peer.segment("U.", seq=7, ack=1, data=b"g", urgent=1)
    assert peer.events & EVENT_URGENT
    assert peer.counters.urgent_received == 2


def test_news_of_urgent_data_hides_no_other_news() -> None:
    peer = receiver()
    peer.segment(".", seq=1, ack=1, data=b"abc", poll=False)
    peer.segment("U.", seq=4, ack=1, urgent=5)
    assert peer.events & (EVENT_READABLE | EVENT_URGENT) == EVENT_READABLE | EVENT_URGENT


def test_a_pointer_into_what_was_read_is_no_news() -> None:
    peer = receiver()
    peer.segment(".", seq=1, ack=1, data=b"abc")
    assert peer.conn.receive(peer.now, 3) == b"abc"
    peer.events = 0
    peer.segment("U.", seq=1, ack=1, data=b"abcd", urgent=3)
    assert not peer.conn.tcb.rcv_urgent
    assert not peer.events & EVENT_URGENT


@pytest.mark.parametrize(("read", "urgent"), [(0, True), (2, True), (3, False)])
def test_the_end_of_the_text_is_the_end_of_what_is_urgent(read: int, urgent: bool) -> None:
    # A pointer beyond the FIN points at nothing; octets before it that were not read are urgent still.
    peer = receiver()
    peer.segment("U.", seq=1, ack=1, data=b"abc", urgent=100)
    assert len(peer.conn.receive(peer.now, read)) == read
    peer.segment("F.", seq=4, ack=1)
    t = peer.conn.tcb
    assert t.rcv_eof
    assert t.rcv_urgent == urgent
    assert t.rcv_up - (t.rcv_nxt - 1) == 0


# The end


def test_a_fin_beyond_a_gap_is_answered_at_once_and_taken_when_the_gap_is_filled() -> None:
    peer = receiver()
    [ack] = peer.segment("F.", seq=101, ack=1)
    assert (ack.ack, peer.state) == (1, "ESTABLISHED")
    [ack] = peer.segment(".", seq=1, ack=1, data=bytes(100))
    assert (ack.ack, peer.state) == (102, "CLOSE_WAIT")
    assert peer.events & EVENT_EOF


def test_text_behind_the_end_is_ignored() -> None:
    peer = receiver()
    peer.segment("F.", seq=1, ack=1, data=b"all")
    out = peer.segment(".", seq=5, ack=1, data=b"more")
    assert {flags_of(seg) for seg in out} <= {"."}
    assert peer.conn.receive(peer.now, 100) == b"all"
    assert peer.conn.tcb.bytes_received == 3


def test_text_beyond_a_fin_that_was_not_reached_takes_the_fin_back() -> None:
    # One of the two is forged; a true FIN comes again.
    peer = receiver()
    peer.segment("F.", seq=101, ack=1)
    peer.segment(".", seq=201, ack=1, data=bytes(100))
    peer.segment(".", seq=1, ack=1, data=bytes(200))
    assert peer.state == "ESTABLISHED"
    assert len(peer.conn.receive(peer.now, 1000)) == 300
    peer.segment("F.", seq=301, ack=1)
    assert peer.state == "CLOSE_WAIT"
