"""Timers that end something: when it is given up, when not, and what the program is told."""

from __future__ import annotations

import errno

import pytest

from plankroad.endpoint import EVENT_SOFT_ERROR
from plankroad.tcp import icmp
from plankroad.tcp.config import TcpConfig
from plankroad.testing.scripted import ScriptedPeer, flags_of
from plankroad.units import MILLISECOND, SECOND

HOUR = 3600 * SECOND


def established(**fields: object) -> ScriptedPeer:
    peer = ScriptedPeer(TcpConfig(timestamps=False, **fields))  # type: ignore[arg-type]
    peer.establish()
    return peer


def test_a_host_that_slept_tries_once_more_before_it_gives_up() -> None:
    # R2 is long over when the clock goes on; but nothing was sent again, and the peer may be there.
    peer = established(r2=100 * SECOND, tail_loss_probes=False)
    peer.send(b"hello?")
    peer.now += HOUR
    peer.conn.handle_timeout(peer.now)
    [again] = peer.output()
    assert again.payload == b"hello?"
    assert peer.state == "ESTABLISHED"
    peer.next_timer()
    assert peer.state == "CLOSED"
    assert peer.conn.error == errno.ETIMEDOUT


def test_an_error_that_explains_the_silence_is_what_the_program_hears() -> None:
    # RFC 1122 section 4.2.3.9: what routers say stands while the peer does not answer.
    peer = established(r2=100 * SECOND)
    peer.send(b"hello?")
    peer.conn.handle_icmp(peer.now, icmp.NETWORK_UNREACHABLE, peer.conn.tcb.iss + 1)
    peer.output()
    assert peer.events & EVENT_SOFT_ERROR
    peer.events = 0
    peer.advance(HOUR)
    assert not peer.events & EVENT_SOFT_ERROR, "it was told when it came"
    assert peer.conn.error == errno.ENETUNREACH


def test_trouble_is_told_once_until_the_peer_answers() -> None:
    peer = established(r1=2, r2=HOUR, tail_loss_probes=False)
    peer.send(b"hello?")
    told = []
    for _ in range(5):
        peer.events = 0
        peer.timeout()
        told.append(bool(peer.events & EVENT_SOFT_ERROR))
    assert told == [False, True, False, False, False]
    peer.segment(".", ack=7)
    assert peer.conn.tcb.soft_error == 0
    peer.send(b"again?")
    told = []
    for _ in range(3):
        peer.events = 0
        peer.timeout()
        told.append(bool(peer.events & EVENT_SOFT_ERROR))
    assert told == [False, True, False]


def test_each_retransmission_doubles_the_wait_for_the_next_one() -> None:
    peer = established(tail_loss_probes=False)
    peer.send(b"hello?")
    waits: list[int] = []
    before = peer.now
    for _ in range(5):
        peer.next_timer()
        waits.append(peer.now - before)
        before = peer.now
    assert waits == [waits[0] << i for i in range(5)]
    assert waits[0] == peer.conn.tcb.rtt.base_rto


def test_probes_of_a_closed_window_are_further_and_further_apart() -> None:
    # SHLD-30; they are bounded as retransmissions are.
    peer = established(max_rto=4 * SECOND)
    peer.segment(".", ack=1, wnd=0)
    peer.send(b"hello?")
    waits: list[int] = []
    before = peer.now
    for _ in range(7):
        peer.next_timer()
        waits.append(peer.now - before)
        before = peer.now
        peer.segment(".", ack=1, wnd=0)
    base = peer.conn.tcb.rtt.base_rto
    assert waits == [min(base << i, 4 * SECOND) for i in range(7)]


def test_a_window_that_stays_closed_is_given_up_when_the_program_said_so() -> None:
    # RFC 6429 section 4: on behalf of the program; answered probes do not count.
    peer = established(persist_timeout=60 * SECOND)
    peer.segment(".", ack=1, wnd=0)
    peer.send(b"hello?")
    peer.next_timer()
    began = peer.now
    while peer.state == "ESTABLISHED":
        peer.segment(".", ack=1, wnd=0)
        peer.next_timer()
    assert peer.now - began == 60 * SECOND
    assert peer.conn.error == errno.ETIMEDOUT
    assert peer.counters.persist_timeouts == 1


def test_keepalives_end_by_the_user_timeout_where_there_is_one() -> None:
    # RFC 1122 leaves the count open; a program that named a time means that time.
    peer = established(
        keepalive=True,
        keepalive_idle=10 * SECOND,
        keepalive_interval=SECOND,
        keepalive_count=3,
        user_timeout=30 * SECOND,
    )
    heard = peer.conn.tcb.last_received
    while peer.state == "ESTABLISHED":
        peer.next_timer()
    assert peer.now - heard == 30 * SECOND
    assert peer.counters.keepalive_drops == 1


def test_keepalives_wait_while_something_is_unsent() -> None:
    # MUST-26: nothing is outstanding, nor held back by a closed window.
    peer = established(keepalive=True, keepalive_idle=10 * SECOND, keepalive_interval=SECOND)
    peer.segment(".", ack=1, wnd=0)
    peer.send(b"hello?")
    for _ in range(100):
        peer.next_timer()
        peer.segment(".", ack=1, wnd=0)
    assert peer.counters.keepalive_probes == 0


@pytest.mark.parametrize(("acks", "waited"), [(0, 40), (1, 0)])
def test_a_delayed_acknowledgement_is_counted_and_one_that_went_before_is_not(acks: int, waited: int) -> None:
    peer = established(quick_acks=acks, delayed_ack=40 * MILLISECOND)
    began = peer.now
    out = peer.segment("P.", seq=1, ack=1, data=b"x")
    if not out:
        out = peer.next_timer()
    assert [flags_of(seg) for seg in out] == ["."]
    assert peer.now - began == waited * MILLISECOND
    assert peer.counters.delayed_acks == (1 if waited else 0)


def test_a_peer_that_never_closes_is_left_in_silence() -> None:
    # FIN_WAIT_2 with nobody to read: after `fin_timeout` the connection is gone, and nothing is said.
    peer = established(fin_timeout=60 * SECOND)
    peer.conn.release(peer.now)
    peer.output()
    peer.segment(".", ack=2)
    assert peer.state == "FIN_WAIT_2"
    began = peer.now
    assert peer.next_timer() == []
    assert (peer.state, peer.now - began) == ("CLOSED", 60 * SECOND)
    assert peer.conn.error == 0
