"""Small things that mutation testing found nobody to notice (docs/mutation.md)."""

from __future__ import annotations

import errno

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
