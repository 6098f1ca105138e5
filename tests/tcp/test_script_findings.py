"""What public packet scripts showed: mechanisms that were not as the RFCs have them, or less kind than they may be."""

from __future__ import annotations

from plankroad.tcp.config import TcpConfig
from plankroad.testing.scripted import ScriptedPeer, flags_of
from plankroad.units import MILLISECOND


def test_the_reset_of_an_abort_has_timestamps() -> None:
    """RFC 7323 section 5.2: "a Timestamps option SHOULD be included in the <RST>"."""
    peer = ScriptedPeer()
    peer.establish(ts=True)
    peer.segment("P.", seq=1, ack=1, data=b"x")
    peer.conn.abort(peer.now)
    [reset] = peer.output()
    assert flags_of(reset) == "R."
    assert reset.has_ts
    assert reset.ts_ecr == peer.conn.tcb.ts_recent > 0
    peer = ScriptedPeer()
    peer.establish()
    peer.conn.abort(peer.now)
    [reset] = peer.output()
    assert not reset.has_ts


def test_data_after_close_is_answered_with_a_reset_that_the_peer_takes() -> None:
    """RFC 9293 section 3.5.2: it takes its number from the ACK field: a peer that missed the FIN expects no other."""
    peer = ScriptedPeer()
    peer.reads = False
    peer.establish()
    peer.conn.release(peer.now)
    assert [flags_of(s) for s in peer.output()] == ["F."]
    [reset] = peer.segment("P.", seq=1, ack=1, data=b"late")
    assert (flags_of(reset), reset.seq) == ("R", 1)


def test_a_timestamp_that_comes_with_an_impossible_ack_is_not_kept() -> None:
    """RFC 5961 section 5.2: such a segment is discarded; its timestamp would make PAWS reject the true peer."""
    peer = ScriptedPeer()
    peer.establish(ts=True)
    before = peer.conn.tcb.ts_recent
    peer.ts_base += 1_000_000
    peer.segment(".", seq=1, ack=99_999)
    assert peer.conn.tcb.ts_recent == before
    peer.ts_base -= 1_000_000
    peer.segment("P.", seq=1, ack=1, data=b"true")
    assert peer.received == b"true"


def test_a_fin_puts_the_tail_loss_probe_off() -> None:
    """RFC 8985 section 7.2: the timer is set anew "after transmitting new data", and a FIN is some."""
    peer = ScriptedPeer()
    peer.establish(rtt=10 * MILLISECOND)
    peer.send(bytes(5000))
    peer.advance(15 * MILLISECOND)
    sent = peer.close()
    assert [flags_of(s) for s in sent] == ["F."]
    assert peer.advance(15 * MILLISECOND) == []
    assert peer.counters.tail_loss_probes == 0


def test_each_ack_of_a_flight_that_filled_the_window_lets_it_grow() -> None:
    """RFC 5681 section 3.1, with RFC 7661 section 4.3: the window was used, whatever is left of it when ACKs come."""
    peer = ScriptedPeer(TcpConfig(congestion_control="newreno"))
    peer.establish(mss=1000, rtt=100 * MILLISECOND)
    peer.send(bytes(10_000))
    windows = []
    for ack in range(2001, 10_002, 2000):
        peer.segment(".", ack=ack)
        windows.append(peer.conn.tcb.cc.cwnd // 1000)
    first = windows[0]
    assert windows == [first, first + 2, first + 4, first + 6, first + 8]


def test_a_window_that_was_not_used_does_not_grow() -> None:
    """RFC 7661 section 4.4; the round trips before are forgotten."""
    peer = ScriptedPeer(TcpConfig(congestion_control="newreno"))
    peer.establish(mss=1000)
    at = 1
    for _ in range(6):
        peer.send(bytes(2000))
        at += 2000
        peer.segment(".", ack=at)
    assert peer.conn.tcb.cc.cwnd == peer.conn.tcb.cc.initial_window


def test_how_far_the_path_reorders_is_told_in_segments() -> None:
    peer = ScriptedPeer()
    peer.establish(mss=1000)
    assert peer.conn.info(peer.now)["reordering"] == 3
    peer.send(bytes(10_000))
    peer.advance(100 * MILLISECOND)
    peer.segment(".", ack=1, sack=[(9001, 10_001)])
    assert peer.conn.info(peer.now)["reord_seen"] == 0
    peer.segment(".", ack=1, sack=[(3001, 4001), (9001, 10_001)])
    peer.segment(".", ack=10_001)
    info = peer.conn.info(peer.now)
    assert (info["reordering"], info["reord_seen"]) == (10, 2)


def test_segments_are_counted_as_they_were_sent() -> None:
    """Two small ones are two, as in Linux's tcp_info."""
    peer = ScriptedPeer(TcpConfig(nagle="off"))
    peer.establish()
    for _ in range(3):
        peer.send(b"x" * 10)
    assert peer.conn.info(peer.now)["unacked"] == 3
    peer.segment(".", ack=1, sack=[(21, 31)])
    info = peer.conn.info(peer.now)
    assert (info["unacked"], info["sacked"], info["delivered"]) == (3, 1, 2)
    peer = ScriptedPeer()
    peer.open()
    assert peer.conn.info(peer.now)["unacked"] == 1
