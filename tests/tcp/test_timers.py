"""How long a connection waits: R1 and R2, user timeout, keep-alive. RFC 9293 sections 3.8.3 and 3.8.4, RFC 5482."""

from __future__ import annotations

import errno

import pytest

from plankroad.endpoint import EVENT_SOFT_ERROR
from plankroad.tcp.config import TcpConfig
from plankroad.testing.pair import Pair
from plankroad.testing.scripted import ScriptedPeer, flags_of
from plankroad.units import NEVER, SECOND


def peer_with(**options: object) -> ScriptedPeer:
    config = TcpConfig()
    for name, value in options.items():
        setattr(config, name, value)
    peer = ScriptedPeer(config)
    peer.establish()
    return peer


@pytest.mark.requirement("MUST-20", "SHLD-9", "SHLD-10")
def test_trouble_is_told_at_r1_and_the_connection_ends_at_r2() -> None:
    # MUST-20, SHLD-9, SHLD-10, SHLD-11.
    peer = peer_with(r2=100 * SECOND)
    began = peer.now
    peer.send(b"hello?")
    for _ in range(2):
        peer.timeout()
    assert not peer.events & EVENT_SOFT_ERROR
    peer.timeout()
    assert peer.events & EVENT_SOFT_ERROR
    assert peer.state == "ESTABLISHED"
    out = peer.advance(300 * SECOND)
    assert flags_of(out[-1]) == "R."
    assert peer.state == "CLOSED"
    assert peer.conn.error == errno.ETIMEDOUT
    assert peer.conn.tcb.counters.retransmission_giveups == 1
    assert peer.now - began >= 100 * SECOND


@pytest.mark.requirement("SHLD-10", "SHLD-11")
def test_the_default_r1_is_three_retransmissions_and_r2_more_than_a_hundred_seconds() -> None:
    peer = peer_with()
    peer.send(b"hello?")
    retransmissions = 0
    while not peer.events & EVENT_SOFT_ERROR:
        retransmissions += len(peer.timeout())
    assert retransmissions >= 3
    peer.advance(100 * SECOND)
    assert peer.state == "ESTABLISHED"


@pytest.mark.requirement("MUST-21")
def test_an_infinite_r2() -> None:
    # MUST-21.
    peer = peer_with(r2=0)
    peer.send(b"hello?")
    peer.advance(7 * 24 * 3600 * SECOND)
    assert peer.state == "ESTABLISHED"


@pytest.mark.requirement("MUST-21")
def test_the_user_timeout_ends_the_connection_on_time() -> None:
    peer = peer_with(user_timeout=5 * SECOND)
    began = peer.now
    peer.send(b"hello?")
    while peer.state == "ESTABLISHED":
        peer.next_timer()
    assert peer.now - began == 5 * SECOND
    assert peer.conn.error == errno.ETIMEDOUT


def test_progress_restarts_the_user_timeout() -> None:
    peer = peer_with(user_timeout=5 * SECOND)
    peer.send(bytes(3000))
    peer.advance(4 * SECOND)
    peer.segment(".", ack=1461)
    peer.advance(4 * SECOND)
    assert peer.state == "ESTABLISHED"
    peer.advance(2 * SECOND)
    assert peer.state == "CLOSED"


@pytest.mark.requirement("user-timeout-option")
def test_the_user_timeout_option_is_offered_and_adopted_within_bounds() -> None:
    # RFC 5482 section 3.1.
    pair = Pair(TcpConfig(user_timeout=300 * SECOND), TcpConfig())
    pair.connect()
    assert pair.b.conn.tcb.adopted_user_timeout == 300 * SECOND
    assert next(seg for _, seg in pair.a.sent).user_timeout == 300
    pair.a.send(b"x")
    pair.run()
    assert [seg.user_timeout for _, seg in pair.a.sent if seg.payload] == [-1]  # it went with the handshake's ACK

    pair = Pair(TcpConfig(user_timeout=2 * SECOND), TcpConfig())
    pair.connect()
    assert pair.b.conn.tcb.adopted_user_timeout == 100 * SECOND

    pair = Pair(TcpConfig(user_timeout=40_000 * SECOND), TcpConfig())
    pair.connect()
    assert next(seg for _, seg in pair.a.sent).user_timeout == 0x8000 | 667
    assert pair.b.conn.tcb.adopted_user_timeout == 1800 * SECOND

    pair = Pair(TcpConfig(user_timeout=300 * SECOND), TcpConfig(user_timeout_changeable=False))
    pair.connect()
    assert pair.b.conn.tcb.adopted_user_timeout == 0


@pytest.mark.requirement("MUST-25")
def test_keepalive_is_off_by_default() -> None:
    # MUST-25.
    peer = peer_with()
    assert peer.conn.next_timeout() == NEVER


@pytest.mark.requirement("MUST-28")
def test_the_default_keepalive_interval_is_two_hours() -> None:
    # MUST-28.
    peer = peer_with(keepalive=True)
    assert peer.conn.next_timeout() == peer.now + 7200 * SECOND


@pytest.mark.requirement("MUST-26", "MUST-27", "SHLD-12", "MAY-6")
def test_keepalive_probes_carry_no_data_and_an_answer_begins_anew() -> None:
    # MUST-26, MUST-27, SHLD-12.
    peer = peer_with(keepalive=True, keepalive_idle=10 * SECOND, keepalive_interval=2 * SECOND)
    began = peer.now
    for _ in range(3):
        [probe] = peer.next_timer()
        assert (probe.seq, probe.payload, flags_of(probe)) == (0, b"", ".")
        assert peer.now - began == 10 * SECOND
        peer.segment(".", ack=1)
        out = peer.next_timer()  # the timer looks again when the silence would have been long enough
        while not out:
            out = peer.next_timer()
        assert peer.now - began == 20 * SECOND
        peer.segment(".", ack=1)
        peer.advance(0)
        began = peer.now
        break


@pytest.mark.requirement("MUST-29")
def test_unanswered_keepalive_probes_end_the_connection_but_one_does_not() -> None:
    # MUST-29.
    peer = peer_with(keepalive=True, keepalive_idle=10 * SECOND, keepalive_interval=2 * SECOND, keepalive_count=4)
    began = peer.now
    probes = 0
    while peer.state == "ESTABLISHED":
        probes += sum(flags_of(s) == "." for s in peer.next_timer())
    assert probes == 4
    assert peer.now - began == 18 * SECOND
    assert peer.conn.error == errno.ETIMEDOUT
    assert peer.counters.keepalive_drops == 1


@pytest.mark.requirement("MUST-26")
def test_no_keepalive_while_data_is_outstanding() -> None:
    # MUST-26.
    peer = peer_with(keepalive=True, keepalive_idle=10 * SECOND)
    peer.send(b"x")
    out = peer.advance(60 * SECOND)
    assert out
    assert all(s.payload == b"x" for s in out)


@pytest.mark.requirement("MUST-24")
def test_keepalive_can_be_switched() -> None:
    # MUST-24.
    peer = peer_with()
    peer.conn.set_option(peer.now, "keepalive", True)
    assert peer.conn.next_timeout() == peer.now + 7200 * SECOND
    peer.conn.set_option(peer.now, "keepalive_idle", 60 * SECOND)
    assert peer.conn.next_timeout() == peer.now + 60 * SECOND
    peer.conn.set_option(peer.now, "keepalive", False)
    assert peer.conn.next_timeout() == NEVER


@pytest.mark.requirement("MAY-5")
def test_a_dead_peer_is_found_by_keepalive_in_a_pair() -> None:
    cut = [False]
    config = TcpConfig(keepalive=True, keepalive_idle=30 * SECOND, keepalive_interval=SECOND, keepalive_count=3)
    pair = Pair(config, TcpConfig(), rule=lambda n, who, seg: [] if cut[0] else [0])
    pair.connect()
    pair.run_for(600 * SECOND)
    assert pair.a.state == "ESTABLISHED"
    assert pair.a_counters.keepalive_probes >= 10
    cut[0] = True
    pair.run_for(60 * SECOND)
    assert pair.a.state == "CLOSED"
    assert pair.a.conn.error == errno.ETIMEDOUT
