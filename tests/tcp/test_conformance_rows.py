"""Requirements of RFC 9293 that no other test proves; docs/conformance.md has the whole list."""

from __future__ import annotations

import errno

import pytest
from tests.stack.net import A4, A6, B4, B6, Lone, segment_of, tcp
from tests.stack.net import Pair as Hosts

from plankroad.endpoint import EVENT_SOFT_ERROR
from plankroad.tcp import icmp
from plankroad.tcp.config import TcpConfig
from plankroad.testing.scripted import ScriptedPeer, flags_of
from plankroad.units import SECOND
from plankroad.wire.segment import ACK, PSH, SYN, URG, Segment

MSS = 1000


def sender(wnd: int = 65535, wscale: int = -1, config: TcpConfig | None = None) -> ScriptedPeer:
    """A connection that sends in segments of 1000."""
    peer = ScriptedPeer(config if config is not None else TcpConfig(timestamps=False))
    peer.establish(mss=MSS, wnd=wnd, wscale=wscale)
    return peer


@pytest.mark.requirement("MUST-1", "REC-1", "window-scale")
def test_the_window_is_unsigned_and_kept_in_more_than_16_bits() -> None:
    # MUST-1, REC-1; RFC 7323 section 2.3: up to 2**30.
    peer = sender(wnd=65535)
    assert peer.conn.tcb.snd_wnd == 65535
    peer = sender(wnd=65535, wscale=14)
    peer.segment(".", ack=1, wnd=65535)
    assert peer.conn.tcb.snd_wnd == 65535 << 14
    peer.segment(".", ack=1, wnd=0x8000)
    assert peer.conn.tcb.snd_wnd == 0x8000 << 14


@pytest.mark.requirement("MUST-2")
@pytest.mark.parametrize("remote", [B4, B6])
def test_every_segment_leaves_with_a_right_checksum(remote: bytes) -> None:
    # MUST-2: SYN, data, FIN, RST of both sides, as they are on the wire; the other side verifies each (MUST-3).
    hosts = Hosts()
    client, server, _ = hosts.connected(remote)
    client.send(hosts.now, bytes(5000))
    hosts.run(SECOND)
    server.receive(hosts.now, 10_000)
    client.close(hosts.now)
    hosts.run(SECOND)
    server.abort(hosts.now)
    hosts.run(SECOND)
    for stack in (hosts.a, hosts.b):
        assert stack.counters.tcp.bad_checksum == 0
        assert stack.counters.tcp.segments_received > 2
    for packet in [*hosts.wire.sent_by(hosts.a), *hosts.wire.sent_by(hosts.b)]:
        start = 20 if packet[0] >> 4 == 4 else 40
        assert packet[start + 16 : start + 18] != b"\x00\x00"


@pytest.mark.requirement("MUST-5")
def test_options_are_taken_in_any_segment() -> None:
    # MUST-5: those of a SYN do no harm elsewhere, and change nothing there.
    peer = sender()
    before = peer.conn.tcb.snd_mss
    peer.segment(".", seq=1, ack=1, data=b"text", mss=100, wscale=9, sack_ok=True, user_timeout=200)
    assert peer.received == b"text"
    assert (peer.conn.tcb.snd_mss, peer.conn.tcb.snd_wind_shift) == (before, 0)
    assert peer.conn.tcb.adopted_user_timeout == 200 * SECOND


@pytest.mark.requirement("MUST-11")
def test_a_reset_in_syn_received_means_refused_after_an_active_open() -> None:
    # MUST-11: what a passive open makes of it is in test_handshake.
    peer = ScriptedPeer()
    peer.open()
    peer.segment("S", seq=0, mss=1460)
    assert peer.state == "SYN_RECEIVED"
    peer.segment("R", seq=1)
    assert peer.state == "CLOSED"
    assert peer.conn.error == errno.ECONNREFUSED


@pytest.mark.requirement("MUST-11")
@pytest.mark.parametrize("passive", [True, False])
def test_a_syn_in_syn_received_means_another_thing_after_a_passive_open(passive: bool) -> None:
    # RFC 9293 section 3.10.7.4, second and fourth: back to LISTEN, or RFC 5961's challenge.
    for flags, error in (("S", errno.ECONNRESET), ("R", errno.ECONNRESET if passive else errno.ECONNREFUSED)):
        peer = ScriptedPeer()
        if passive:
            peer.listen()
        else:
            peer.open()
        peer.segment("S", seq=0, mss=1460)
        assert peer.state == "SYN_RECEIVED"
        out = peer.segment(flags, seq=1)
        if passive or flags == "R":
            assert (peer.state, peer.conn.error, out) == ("CLOSED", error, [])
        else:
            assert (peer.state, [flags_of(seg) for seg in out]) == ("SYN_RECEIVED", ["."])


@pytest.mark.requirement("MUST-41", "MUST-42")
def test_a_passive_open_disturbs_no_connection_of_its_port() -> None:
    # MUST-41, MUST-42: LISTEN on the local port of connections in SYN_SENT, SYN_RECEIVED and ESTABLISHED.
    hosts = Lone()
    opening = hosts.b.connect(0, A4, 80, local_port=4000)
    crossed = hosts.b.connect(0, A4, 81, local_port=4000)
    living = hosts.b.connect(0, A4, 82, local_port=4000)
    hosts.take()
    hosts.give(tcp(Segment(81, 4000, 500, 0, SYN, 1000), A4, B4))
    hosts.give(tcp(Segment(82, 4000, 500, (living.tcb.iss + 1) & 0xFFFFFFFF, SYN | ACK, 1000), A4, B4))
    states = ["SYN_SENT", "SYN_RECEIVED", "ESTABLISHED"]
    assert [opening.state(), crossed.state(), living.state()] == states
    hosts.b.listen(0, b"", 4000)
    assert [opening.state(), crossed.state(), living.state()] == states
    hosts.give(tcp(Segment(80, 4000, 500, (opening.tcb.iss + 1) & 0xFFFFFFFF, SYN | ACK, 1000), A4, B4))
    assert opening.state() == "ESTABLISHED"


@pytest.mark.requirement("MUST-43")
def test_a_passive_open_takes_a_local_address() -> None:
    # MUST-43.
    hosts = Hosts()
    hosts.b.add_address(hosts.b.interfaces[-1], "10.0.0.9/24")
    listener = hosts.b.listen(0, b"\x0a\x00\x00\x09", 80)
    refused = hosts.a.connect(0, B4, 80)
    taken = hosts.a.connect(0, b"\x0a\x00\x00\x09", 80)
    hosts.run()
    assert refused.error == errno.ECONNREFUSED
    assert taken.state() == "ESTABLISHED"
    assert listener.accept() is not None


@pytest.mark.requirement("MUST-45")
@pytest.mark.parametrize(("source", "remote"), [(A4, B4), (A6, B6)])
def test_the_local_address_stays_when_another_is_added(source: bytes, remote: bytes) -> None:
    # MUST-44, MUST-45.
    hosts = Hosts()
    client, _, _ = hosts.connected(remote)
    hosts.a.add_address(hosts.a.interfaces[-1], "10.0.0.3/24")
    hosts.a.add_address(hosts.a.interfaces[-1], "fd00::3/64")
    client.send(hosts.now, b"x")
    client.close(hosts.now)
    hosts.run(SECOND)
    begin = 12 if len(source) == 4 else 8
    packets = hosts.wire.sent_by(hosts.a)
    tcp_packets = [p for p in packets if (p[9] if p[0] >> 4 == 4 else p[6]) == 6]
    assert len(tcp_packets) >= 3
    assert {p[begin : begin + len(source)] for p in tcp_packets} == {source}


@pytest.mark.requirement("SHLD-15", "SHLD-16")
def test_no_new_data_after_the_window_shrank_and_old_data_is_sent_again() -> None:
    # SHLD-15, SHLD-16, MAY-7 (the first retransmission of what lies beyond the edge).
    peer = sender(wnd=5000)
    assert len(peer.send(bytes(5000))) == 5
    peer.conn.send(peer.now, bytes(5000))
    peer.segment(".", ack=1, wnd=2000)
    assert peer.output() == []
    [first] = peer.timeout()
    assert (first.seq, len(first.payload)) == (1, MSS)
    again = peer.segment(".", ack=1001, wnd=2000)
    assert [seg.seq for seg in again] == [1001, 2001]
    peer.segment(".", ack=3001, wnd=2000)
    assert peer.conn.tcb.snd_nxt - peer.conn.tcb.iss == 5001


@pytest.mark.requirement("MAY-7")
def test_what_lies_beyond_a_window_that_shrank_is_sent_again_once() -> None:
    # RFC 7323 section 2.4 (4): the first retransmission does not regard the window.
    peer = sender(wnd=5000)
    peer.send(bytes(5000))
    assert peer.segment(".", ack=1, wnd=500) == []
    [first] = peer.timeout()
    assert (first.seq, len(first.payload)) == (1, MSS)
    [second] = peer.timeout()
    assert (second.seq, len(second.payload)) == (1, 500)


@pytest.mark.requirement("MUST-37", "MAY-8")
def test_a_window_that_stays_closed_for_a_day() -> None:
    # MAY-8 as the receiver, MUST-37 as the sender: nobody ends it.
    receiver = ScriptedPeer(TcpConfig(rcv_buf=1024, timestamps=False))
    receiver.establish()
    receiver.reads = False
    receiver.segment(".", seq=1, ack=1, data=bytes(1024))
    for _ in range(24 * 60):
        receiver.advance(60 * SECOND)
        [answer] = receiver.segment(".", seq=1025, ack=1, data=b"p")
        assert (answer.ack, answer.wnd) == (1025, 0)
    probed = sender(wnd=0)
    probed.send(b"patience")
    end = probed.now + 24 * 3600 * SECOND
    while probed.now < end:
        probed.next_timer()
        probed.segment(".", ack=1, wnd=0)
    assert receiver.state == probed.state == "ESTABLISHED"


@pytest.mark.requirement("SHLD-20")
def test_soft_errors_are_a_bit_that_a_program_need_not_look_at() -> None:
    # SHLD-20: nothing is called, and a connection whose program never asks goes on as before.
    peer = sender()
    peer.send(b"x")
    for _ in range(100):
        peer.conn.handle_icmp(peer.now, icmp.HOST_UNREACHABLE, peer.conn.tcb.iss + 1)
    assert peer.conn.poll_events() & EVENT_SOFT_ERROR
    assert peer.conn.poll_events() == 0
    peer.segment(".", ack=2)
    assert peer.state == "ESTABLISHED"
    assert peer.conn.error == 0


@pytest.mark.requirement("SHLD-21")
def test_the_diffserv_field_can_change_during_a_connection() -> None:
    # SHLD-21.
    hosts = Hosts()
    client, _, _ = hosts.connected()
    client.set_option(hosts.now, "tos", 0x28)
    hosts.wire.seen.clear()
    client.send(hosts.now, b"x")
    hosts.run()
    packets = hosts.wire.sent_by(hosts.a)
    assert packets
    assert {packet[1] for packet in packets} == {0x28}


@pytest.mark.requirement("SHLD-27", "SHLD-28", "MAY-16")
def test_successive_pushes_are_one() -> None:
    # SHLD-27, SHLD-28: what many writes left is cut into full segments; PSH stands at the end.
    peer = sender(wnd=0)
    for _ in range(25):
        assert peer.conn.send(peer.now, bytes(100)) == 100
    peer.output()
    out = peer.segment(".", ack=1, wnd=65535)
    assert [len(seg.payload) for seg in out] == [1000, 1000, 500]
    assert [bool(seg.flags & PSH) for seg in out] == [False, False, True]


@pytest.mark.requirement("SHLD-5", "SHLD-6", "MAY-3")
def test_the_mss_is_told_in_every_syn() -> None:
    # SHLD-5, MAY-3; SHLD-6: the interface's own MTU, the default of 536 included.
    for mtu, mss in ((1500, 1460), (576, 536)):
        active = ScriptedPeer(mtu=mtu)
        [syn] = active.open()
        assert syn.mss == mss
        passive = ScriptedPeer(mtu=mtu)
        passive.listen()
        [answer] = passive.segment("S", seq=0)
        assert (flags_of(answer), answer.mss) == ("S.", mss)


@pytest.mark.requirement("MUST-30", "MUST-62")
def test_urgent_data_is_pointed_at_again_when_it_is_sent_again() -> None:
    # MUST-30, MUST-62.
    peer = sender()
    peer.conn.send_urgent(peer.now, b"now")
    first = peer.output()[0]
    again = peer.next_timer()[0]
    for seg in (first, again):
        assert (bool(seg.flags & URG), seg.urgent) == (True, 3)


@pytest.mark.requirement("MUST-55")
def test_a_quench_over_the_wire_changes_nothing() -> None:
    # MUST-55 with MUST-54: the message is found to be of the connection, and dropped.
    peer = sender()
    peer.send(bytes(MSS))
    before = peer.conn.info(peer.now)
    assert not peer.conn.handle_icmp(peer.now, icmp.SOURCE_QUENCH, peer.conn.tcb.iss + 1)
    assert peer.conn.info(peer.now) == before


@pytest.mark.requirement("MUST-4")
def test_a_syn_sent_by_a_stack_carries_the_options_in_use() -> None:
    # MUST-4, MUST-14: as bytes on the wire.
    hosts = Lone()
    hosts.b.connect(0, A4, 80)
    [packet] = hosts.take()
    syn = segment_of(packet)
    assert (syn.mss, syn.sack_permitted, syn.has_ts, syn.wscale >= 0) == (1460, True, True, True)


@pytest.mark.requirement("keepalive-count")
def test_the_keepalive_count_is_the_programs() -> None:
    # Issue section 3: "keep-alive (interval, count, off by default)".
    for count in (1, 4):
        config = TcpConfig(
            keepalive=True, keepalive_idle=60 * SECOND, keepalive_interval=SECOND, keepalive_count=count
        )
        peer = ScriptedPeer(config)
        peer.establish()
        probes = [seg for seg in peer.advance(120 * SECOND) if flags_of(seg) == "."]
        assert len(probes) == count
        assert peer.conn.error == errno.ETIMEDOUT


def test_text_of_a_syn_comes_before_text_that_came_out_of_order() -> None:
    # RFC 9293 section 3.10.7.2: what came with the SYN waits for ESTABLISHED, however that is reached.
    peer = ScriptedPeer()
    peer.listen()
    peer.segment("S", seq=0, mss=MSS, data=b"hello")
    peer.segment(".", seq=11, ack=1, data=b"end")
    assert peer.received == b"hello"
    peer.segment(".", seq=6, ack=1, data=b"there")
    assert peer.received == b"hellothereend"
