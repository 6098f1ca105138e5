"""Acknowledgements that lie: optimistic ACKs, ACK division, duplicates out of nothing, ghosts; and storms of them.

S. Savage et al., "TCP congestion control with a misbehaving receiver" (1999); RFC 5681 section 5; RFC 3465.
"""

from __future__ import annotations

import pytest
from tests.attacks.kit import ATTACKER, SERVER4, Figure, Target, address, attack, hold
from tests.stack.net import A4, B4, Pair, segment_of, tcp
from tests.volume import volume

from plankroad.tcp.config import TcpConfig
from plankroad.testing.scripted import ScriptedPeer, flags_of
from plankroad.units import MILLISECOND, SECOND
from plankroad.wire.packet import Packet
from plankroad.wire.segment import ACK, FIN, PSH, Segment

RTT = 100 * MILLISECOND


def sender(octets: int = 4_000_000, algorithm: str = "cubic", pacing: bool = False) -> ScriptedPeer:
    peer = ScriptedPeer(TcpConfig(congestion_control=algorithm, snd_buf=octets), pacing=pacing)
    peer.establish(wscale=7, rtt=RTT)
    peer.conn.send(peer.now, bytes(octets))
    return peer


@attack("ACK division")
def division() -> list[Figure]:
    """The first window is acknowledged octet by octet; beside it one that is acknowledged segment by segment."""
    windows: list[int] = []
    sent: list[int] = []
    for pieces in (1, 1460):
        peer = sender()
        flight = sum(len(seg.payload) for seg in peer.output())
        peer.advance(RTT)
        segments = 0
        for end in range(1 + 1460 // pieces, flight + 2, 1460 // pieces):
            segments += len(peer.segment(".", ack=end))
        windows.append(peer.conn.tcb.cc.cwnd)
        sent.append(segments)
    return [
        Figure("window gained by division, to one without", windows[1] / windows[0], 1.01, "x"),
        Figure("segments sent for it, to without", sent[1] / sent[0], 1.01, "x"),
    ]


def test_acknowledging_in_pieces_gains_nothing() -> None:
    # RFC 3465: octets are counted, not acknowledgements.
    hold(division())


@attack("duplicate ACKs out of nothing")
def spoofed_duplicates() -> list[Figure]:
    """Without SACK: hundreds of duplicates for one segment, each of which says that one has left the network."""
    peer = ScriptedPeer(TcpConfig(snd_buf=4_000_000))
    peer.establish(wscale=7, rtt=RTT, sack=False)
    peer.conn.send(peer.now, bytes(4_000_000))
    flight = sum(len(seg.payload) for seg in peer.output())
    window = peer.conn.tcb.cc.cwnd
    peer.advance(RTT)
    sent = 0
    for _ in range(2000):
        sent += sum(len(seg.payload) for seg in peer.segment(".", ack=1))
    return [
        # What can have left the network in a round trip is what was in it, and the first segment is repeated.
        Figure("octets sent for 2,000 duplicates in a round trip, to the flight", sent / flight, 1.5, "x"),
        Figure("duplicates of them that counted", 2000 - peer.counters.duplicate_acks_ignored, 20),
        Figure("window afterwards, to before", peer.conn.tcb.cc.cwnd / window, 1.0, "x"),
    ]


def test_duplicates_do_not_inflate_what_is_in_flight() -> None:
    hold(spoofed_duplicates())


@attack("ghost ACKs: of what was never sent")
def ghosts() -> list[Figure]:
    """Acknowledgements from just beyond SND.MAX to half the sequence space beyond (RFC 5961 section 5.2)."""
    peer = sender()
    peer.output()
    t = peer.conn.tcb
    before = (t.snd_una, t.cc.cwnd, t.snd_wnd)
    answers = 0
    count = volume(5000, 1500)
    for i in range(count):
        beyond = t.snd_max - t.iss + 1 + i * (0x7FFFFFFF // count)
        answers += len(peer.segment(".", ack=beyond, wnd=1))
    changed = int((t.snd_una, t.cc.cwnd, t.snd_wnd) != before)
    # And those of no connection at all: one reset each, no more than was asked for.
    net = Target()
    for i in range(200):
        seg = Segment(9, 80 + i % 3, 1, 12345 + i, ACK, 1000)
        net.give(tcp(seg, address(i), SERVER4))
    return [
        Figure(f"variables that {count:,} of them changed", changed, 0),
        Figure("challenge ACKs in one second", answers, 10),
        Figure("of them not counted", count - t.counters.ack_out_of_range, 0),
        Figure("resets for one ACK to nobody", net.packets_out / net.packets_in, 1),
    ]


def test_what_was_never_sent_cannot_be_acknowledged() -> None:
    hold(ghosts())


@attack("optimistic ACKs")
def optimistic() -> list[Figure]:
    """What is in flight is acknowledged before it can have arrived, a millisecond after it was sent.

    No TCP can tell this from a short path. What is bounded: nothing beyond SND.MAX, never more in flight than the send
    buffer, and who acknowledges what it did not get has lost it.
    """
    octets = 20_000_000
    peer = sender(octets)
    t = peer.conn.tcb
    peer.output()
    most = 0
    for _ in range(300):
        peer.advance(MILLISECOND)
        if t.snd_nxt == t.snd_una:
            break
        peer.segment(".", ack=t.snd_nxt - t.iss)
        most = max(most, t.snd_nxt - t.snd_una)
    limit = min(t.snd_buf_limit, t.max_snd_wnd)
    again = 0
    peer.segment(".", ack=1)
    again += sum(len(seg.payload) for seg in peer.output() if seg.seq < t.snd_una - t.iss)
    return [
        Figure("most in flight, to the peer's window or the send buffer", most / limit, 1.0, "x"),
        Figure("octets sent again to whoever acknowledged them", again, 0),
    ]


def test_optimistic_acknowledgements_are_bounded_by_window_and_buffer() -> None:
    hold(optimistic())


# --- storms -------------------------------------------------------------------------------------------------------


def desynchronised() -> tuple[Pair, int]:
    """Two hosts whose connection a hijacker has moved apart: to each the other seems to send from elsewhere."""
    net = Pair()
    client, server, _ = net.connected()
    net.run(SECOND)
    # Data in the other's name, taken in by both.
    for stack, own, other, src, dst in (
        (net.a, client, server, B4, A4),
        (net.b, server, client, A4, B4),
    ):
        t = own.tcb
        seg = Segment(
            other.local_port, own.local_port, t.rcv_nxt & 0xFFFFFFFF, t.snd_una & 0xFFFFFFFF, ACK | PSH, 60000
        )
        seg.payload = bytes(700)
        seg.has_ts = True
        seg.ts_val = t.ts_recent
        seg.ts_ecr = t.ts_now(net.now)
        stack.receive(net.now, Packet(tcp(seg, src, dst)))
        assert own.receive(net.now, 1000) == bytes(700)
    before = len(net.wire.seen)
    return net, before


@attack("ACK storm")
def ack_storm() -> list[Figure]:
    """A desynchronised pair (R. Joncheray, 1995): every ACK that cannot be right is answered by one. For how long?"""
    net, before = desynchronised()
    quiet = net.settle(100_000)
    first = len(net.wire.seen) - before
    net.run(60 * SECOND)
    rest = len(net.wire.seen) - before - first
    # One side then writes: its data is refused, acknowledged, and sent again with ever longer pauses.
    client = next(iter(net.a.connections.values())).connection
    client.send(net.now, b"x")
    start = len(net.wire.seen)
    net.run(60 * SECOND)
    return [
        Figure("packets in the first moment", quiet, 44),
        Figure("packets in the minute after", rest, 0),
        Figure("packets in a minute with data that is refused", len(net.wire.seen) - start, 200),
    ]


def test_two_ends_that_disagree_fall_silent() -> None:
    hold(ack_storm())


@attack("storms of resets and challenges between two hosts")
def reset_storm() -> list[Figure]:
    """One forged packet that makes one host answer what makes the other answer (RFC 5961 section 7)."""
    figures: list[Figure] = []
    for name, flags, known in (
        ("SYN into a connection", 2, True),
        ("RST into its window", 4, True),
        ("FIN beyond its window", 1 | 16, True),
        ("ACK to a closed port", 16, False),
        ("SYN, ACK to a closed port", 18, False),
        ("FIN to a closed port", 1, False),
    ):
        net = Pair()
        client, server, _ = net.connected()
        net.run(SECOND)
        port = client.local_port if known else 999
        seq = (server.tcb.rcv_nxt + 1000 + (10_000_000 if flags & FIN and known else 0)) & 0xFFFFFFFF
        start = len(net.wire.seen)
        net.b.receive(net.now, Packet(tcp(Segment(port, 80 if known else 998, seq, 5, flags, 100), A4, B4)))
        net.run(10 * SECOND)
        figures.append(Figure(f"packets for one {name}", len(net.wire.seen) - start, 2))
        assert client.state() == server.state() == "ESTABLISHED"
    return figures


def test_one_forged_packet_makes_two_at_the_most() -> None:
    hold(reset_storm())


@pytest.mark.parametrize("flags", range(64))
def test_no_flags_make_two_stacks_answer_each_other_for_ever(flags: int) -> None:
    net = Pair()
    client, _server, _ = net.connected()
    net.run(SECOND)
    start = len(net.wire.seen)
    for seq, ack in ((1, 1), (0x40000000, 1), (1, 0x40000000), (0x80000000, 0x80000000)):
        seg = Segment(client.local_port, 80, seq, ack, flags, 100, b"data")
        net.b.receive(net.now, Packet(tcp(seg, A4, B4)))
        seg = Segment(999, 998, seq, ack, flags, 100, b"data")
        net.b.receive(net.now, Packet(tcp(seg, A4, B4)))
        net.run(SECOND)
    assert len(net.wire.seen) - start <= 16
    answers = [flags_of(segment_of(packet)) for packet in net.wire.sent_by(net.a)[start:]]
    assert len(answers) <= 8


def test_resets_are_never_answered() -> None:
    net = Target()
    for flags in range(64):
        if flags & 4:
            seg = Segment(9, 81, 5, 6, flags, 0, b"x")
            assert net.give(tcp(seg, ATTACKER, SERVER4)) == []
