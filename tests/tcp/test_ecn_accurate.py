"""Accurate ECN feedback once it is agreed: RFC 9768 section 3.2 and its appendix A."""

from __future__ import annotations

import random
from typing import cast

import pytest

from plankroad.tcp.cc.base import AckSample, CongestionControl
from plankroad.tcp.cc.registry import register
from plankroad.tcp.config import TcpConfig
from plankroad.tcp.ecnstate import Ecn
from plankroad.testing.scripted import ScriptedPeer
from plankroad.units import MILLISECOND, SECOND
from plankroad.wire.segment import ACE, ACE_SHIFT, Segment
from plankroad.wire.tcp import options_length

NOT_ECT, ECT1, ECT0, CE = 0, 1, 2, 3
MSS = 1460
Counters = tuple[int, int, int]


def ace(seg: Segment) -> int:
    return (seg.flags & ACE) >> ACE_SHIFT


def letters(value: int) -> str:
    """The flags that hold `value` in the ACE field."""
    return "".join(letter for letter, bit in (("e", 4), ("W", 2), ("E", 1)) if value & bit)


def accurate(option: Counters | None = (1, 0, 1), ts: bool = False, **settings: object) -> ScriptedPeer:
    """A client with accurate ECN; `option`: on the SYN,ACK. The handshake's last ACK is sent."""
    config = TcpConfig(ecn="accecn", nagle="off", quick_acks=0)
    for name, value in settings.items():
        setattr(config, name, value)
    peer = ScriptedPeer(config)
    peer.open()
    peer.advance(100 * MILLISECOND)
    peer.ts = ts
    (ack,) = peer.segment("S.W", seq=0, ack=1, mss=MSS, sack_ok=True, wscale=0, accecn=option)
    assert peer.state == "ESTABLISHED"
    assert ace(ack) == 2
    return peer


def state(peer: ScriptedPeer) -> Ecn:
    e = peer.conn.tcb.ecn
    assert e is not None
    return e


def arrive(peer: ScriptedPeer, marks: list[int], seq: int, size: int = MSS, gso: int = 0) -> list[Segment]:
    """Data segments with these marks, one after another; the answers."""
    out: list[Segment] = []
    for i, mark in enumerate(marks):
        out += peer.segment(".eE", seq=seq + i * size, ack=1, data=b"d" * size, tos=mark, gso_size=gso)
    return out


# --- the receiver: counters and the ACE field ------------------------------------------------------------------------


def test_counters_begin_where_the_rfc_wants_them() -> None:
    """RFC 9768 section 3.2.1."""
    e = Ecn()
    assert (e.r_cep, e.r_e0b, e.r_e1b, e.r_ceb) == (5, 1, 1, 0)
    assert (e.s_cep, e.s_e0b, e.s_e1b, e.s_ceb) == (5, 1, 1, 0)


def test_every_acceptable_packet_counts_and_payload_by_its_mark() -> None:
    """RFC 9768 section 3.2."""
    peer = accurate()
    arrive(peer, [ECT0, ECT0, CE, ECT1, NOT_ECT, CE], seq=1, size=100)
    e = state(peer)
    assert (e.r_cep, e.r_e0b, e.r_e1b, e.r_ceb) == (7, 201, 101, 200)
    # Control packets count as packets. Retransmissions that are acceptable count; those that are not do not.
    peer.segment(".eE", seq=601, ack=1, tos=CE)
    assert (e.r_cep, e.r_ceb) == (8, 200)
    peer.segment(".eE", seq=501, ack=1, data=b"d" * 200, tos=CE)
    assert (e.r_cep, e.r_ceb) == (9, 400)
    peer.segment(".eE", seq=1, ack=1, data=b"d" * 100, tos=CE)
    peer.segment(".eE", seq=9_000_001, ack=1, data=b"d" * 100, tos=CE)
    assert (e.r_cep, e.r_ceb) == (9, 400)
    info = peer.conn.info(peer.now)
    assert (info["received_ce"], info["received_ce_bytes"]) == (4, 400)
    assert "accecn ecnseen" in str(info["options"])


@pytest.mark.parametrize(("size", "packets"), [(1000, 1), (1001, 1), (45_000, 45), (44_001, 45), (500, 1)])
def test_a_super_segment_counts_its_packets(size: int, packets: int) -> None:
    """What the link joined was so many packets, all with the same mark."""
    peer = accurate()
    (ack,) = peer.segment(".eE", seq=1, ack=1, data=b"d" * size, tos=CE, gso_size=1000 if size > 1001 else 0)
    assert state(peer).r_cep == 5 + packets
    assert ace(ack) == (5 + packets) & 7
    assert ack.accecn == (1, size, 1)
    assert peer.counters.ecn_ce_received == packets


def test_every_segment_has_the_latest_count() -> None:
    """RFC 9768 section 3.2.2: data, retransmissions and probes too."""
    peer = accurate()
    (seg,) = peer.send(b"x" * 100)
    assert ace(seg) == 5
    arrive(peer, [CE], seq=1)
    (again,) = [s for s in peer.advance(2 * SECOND) if s.payload][:1]
    assert (again.payload, ace(again)) == (b"x" * 100, 6)
    arrive(peer, [CE] * 3, seq=1 + MSS)
    (seg,) = peer.close()
    assert ace(seg) == (5 + 4) & 7


def test_a_mark_after_none_is_acknowledged_at_once() -> None:
    """RFC 9768 section 3.2.2.5.1, change-triggered ACKs."""
    peer = accurate()
    assert arrive(peer, [ECT0], seq=1) == []
    (ack,) = arrive(peer, [CE], seq=1 + MSS)
    assert ace(ack) == 6
    assert ack.accecn == (1 + MSS, MSS, -1)
    # The previous packet may be of any kind.
    assert arrive(peer, [CE], seq=1 + 2 * MSS, size=100) == []
    peer.segment(".eE", seq=101 + 2 * MSS, ack=1)
    (ack,) = arrive(peer, [CE], seq=101 + 2 * MSS, size=100)
    assert ace(ack) == 8 & 7


def test_two_marks_are_acknowledged_where_data_is_unacknowledged() -> None:
    """RFC 9768 section 3.2.2.5.1, increment-triggered ACKs: n is 2, and 3 without data."""
    peer = accurate()
    assert len(arrive(peer, [CE], seq=1, size=10)) == 1
    assert arrive(peer, [CE], seq=11, size=10) == []
    assert len(arrive(peer, [CE], seq=21, size=10)) == 1
    assert [ace(seg) for seg in peer.advance(SECOND)] == []


def test_acks_of_acks_come_for_each_third_mark_and_have_no_sack_blocks() -> None:
    """RFC 9768 section 3.2.2.5.1."""
    peer = accurate()
    peer.segment(".eE", seq=1 + MSS, ack=1, data=b"d" * MSS)  # out of order: SACK blocks are at hand
    out = [peer.segment(".eE", seq=1, ack=1, tos=CE) for _ in range(9)]
    assert [len(sent) for sent in out] == [0, 0, 1] * 3
    assert [ace(sent[0]) for sent in out if sent] == [0, 3, 6]
    assert all(seg.sack == [] for sent in out for seg in sent)
    (ack,) = peer.segment(".eE", seq=1 + 3 * MSS, ack=1, data=b"d" * MSS)
    assert len(ack.sack) == 2


# --- the receiver: options -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("marks", "option"),
    [
        ([ECT0, ECT0], (1 + 2 * MSS, 0, -1)),
        ([ECT1, ECT1], (-1, 0, 1 + 2 * MSS)),
        ([ECT1, CE], (-1, MSS, 1 + MSS)),
        ([ECT0, ECT1], (1 + MSS, 0, 1 + MSS)),
        ([NOT_ECT, NOT_ECT], None),
    ],
)
def test_an_option_has_every_counter_that_ever_changed(marks: list[int], option: Counters | None) -> None:
    """RFC 9768 section 3.2.3.3, recommended simple scheme; orders 0 and 1."""
    peer = accurate()
    (ack,) = arrive(peer, marks, seq=1)
    assert ack.accecn == option


def test_an_option_comes_only_when_a_counter_has_moved() -> None:
    """RFC 9768 section 3.2.3.3: "on every scheduled ACK if any byte counter has incremented since the last ACK"."""
    peer = accurate()
    (first,) = arrive(peer, [ECT0, ECT0], seq=1)
    assert first.accecn is not None
    (second,) = arrive(peer, [NOT_ECT, NOT_ECT], seq=1 + 2 * MSS)
    assert second.accecn is None
    (third,) = arrive(peer, [NOT_ECT, ECT0], seq=1 + 4 * MSS)
    assert third.accecn == (1 + 3 * MSS, 0, -1)


def test_counters_are_told_modulo_two_to_the_24() -> None:
    peer = accurate()
    state(peer).r_e0b = (1 << 24) - 1
    (ack,) = arrive(peer, [ECT0, ECT0], seq=1)
    assert ack.accecn == (2 * MSS - 1, 0, -1)


@pytest.mark.parametrize("ts", [False, True])
def test_sack_has_precedence_and_leaves_room_for_marks(ts: bool) -> None:
    """RFC 9768 section 3.2.3.3: an option must leave "space for two SACK blocks"."""
    peer = accurate(ts=ts)
    out: list[Segment] = []
    for i in range(1, 6):
        out = arrive(peer, [ECT0], seq=1 + 2 * i * MSS)
    (ack,) = out
    assert options_length(ack) <= 40
    assert (len(ack.sack), ack.accecn is None) == ((3, True) if ts else (4, True))
    (ack,) = arrive(peer, [CE], seq=1 + 12 * MSS)
    assert options_length(ack) <= 40
    assert ack.accecn is not None
    assert ack.accecn[1] == MSS
    assert len(ack.sack) == (2 if ts else 3)


def test_full_data_segments_are_not_cut_for_an_option() -> None:
    """It goes by itself behind them, if it tells of marks."""
    peer = accurate()
    peer.send(b"x" * 10)
    peer.segment(".eE", seq=1, ack=11)
    arrive(peer, [ECT0], seq=1)
    out = peer.send(b"x" * (2 * MSS))
    assert [(len(seg.payload), seg.accecn) for seg in out] == [(MSS, None), (MSS, None)]
    peer.segment(".eE", seq=1 + MSS, ack=11, data=b"d" * MSS, tos=CE, poll=False)
    peer.conn.send(peer.now, b"x" * (2 * MSS))
    out = peer.output()
    assert [(len(seg.payload), seg.accecn, ace(seg)) for seg in out] == [
        (MSS, None, 6),
        (MSS, None, 6),
        (0, (1 + MSS, MSS, -1), 6),
    ]


def test_a_small_data_segment_takes_the_option_along() -> None:
    peer = accurate()
    peer.send(b"x" * 10)
    peer.segment(".eE", seq=1, ack=11)
    arrive(peer, [ECT0], seq=1)
    room = 8
    (seg,) = peer.send(b"x" * (MSS - room))
    assert seg.accecn == (1 + MSS, 0, -1)
    assert len(seg.payload) + options_length(seg) == MSS


def test_options_end_where_the_first_data_with_one_is_lost() -> None:
    """RFC 9768 section 3.2.3.2.2; the ACE field goes on."""
    peer = accurate()
    (first,) = peer.send(b"x" * 100)
    assert first.accecn is not None
    again = [seg for seg in peer.advance(2 * SECOND) if seg.payload]
    assert again
    assert all(seg.accecn is None for seg in again)
    peer.segment(".eE", seq=1, ack=101)
    (ack,) = arrive(peer, [ECT0, CE], seq=1)
    assert (ack.accecn, ace(ack)) == (None, 6)


def test_options_end_where_acks_with_them_do_not_arrive() -> None:
    """RFC 9768 section 3.2.3.2.2: "detecting whether the acknowledged data always reappears as a retransmission"."""
    peer = accurate()
    seq = 1
    with_option = 0
    for _ in range(5):
        (ack,) = arrive(peer, [ECT0, ECT0], seq=seq)
        with_option += ack.accecn is not None
        arrive(peer, [NOT_ECT, NOT_ECT], seq=seq)  # once more
        seq += 2 * MSS
    assert with_option < 5
    (ack,) = arrive(peer, [ECT0, ECT0], seq=seq)
    assert ack.accecn is None


def test_a_few_spurious_retransmissions_do_not_end_options() -> None:
    peer = accurate()
    for i in range(20):
        arrive(peer, [ECT0, ECT0], seq=1 + 2 * i * MSS)
    arrive(peer, [NOT_ECT] * 3, seq=1)
    (ack,) = arrive(peer, [ECT0, ECT0], seq=1 + 40 * MSS)
    assert ack.accecn is not None


def test_no_super_segments_while_ace_has_the_bit_that_cutting_clears() -> None:
    """RFC 9768 section 3.3.4: "to allow TSO only as long as the CWR flag in the TCP header is not set"."""
    peer = accurate()
    peer.conn.tcb.gso_max = 60_000
    (seg,) = peer.send(b"x" * (4 * MSS))
    assert seg.gso_size == MSS
    arrive(peer, [CE], seq=1)  # r.cep is 6: 0b110
    assert [seg.gso_size for seg in peer.send(b"x" * (4 * MSS))] == [0] * 4
    peer.segment(".eE", seq=1 + MSS, ack=1 + 8 * MSS)
    arrive(peer, [CE] * 2, seq=1 + MSS)  # 8: 0b000
    seg, ack = peer.send(b"x" * (4 * MSS))
    assert (ace(seg), seg.gso_size) == (0, MSS)
    assert ack.accecn == (1, 3 * MSS, 1)


# --- the sender ------------------------------------------------------------------------------------------------------


class Watcher(CongestionControl):
    """Keeps what it is told, and has a large window."""

    def __init__(self, smss: int, initial_window: int) -> None:
        super().__init__(smss, initial_window)
        self.ecn_by_sample = True
        self.cwnd = 400 * smss
        self.marked: list[int] = []

    def on_ack(self, sample: AckSample) -> None:
        self.marked.append(sample.ce_bytes)

    def on_congestion(self, now: int, signal: int, in_flight: int) -> None:
        pass

    def avoid_congestion(self, sample: AckSample, acked: int) -> None:
        raise NotImplementedError


register("test-accurate-watcher", Watcher)


def watched(option: Counters | None = (1, 0, 1), ts: bool = False) -> ScriptedPeer:
    """A sender with plenty in flight, whose algorithm keeps what it hears."""
    peer = accurate(option, ts, congestion_control="test-accurate-watcher")
    peer.wnd = 65535
    peer.conn.tcb.snd_wnd = 1 << 20
    peer.conn.tcb.max_snd_wnd = 1 << 20
    peer.send(b"x" * (100 * MSS))
    return peer


def marked(peer: ScriptedPeer) -> list[int]:
    return cast(Watcher, peer.conn.tcb.cc).marked


def feed(peer: ScriptedPeer, cep: int, segments: int, option: Counters | None = None) -> None:
    """An ACK of the first `segments` segments, with ACE for `cep` and an option."""
    peer.segment("." + letters(cep & 7), seq=1, ack=1 + segments * MSS, accecn=option, wnd=65535, poll=False)


def test_the_option_tells_marked_octets_exactly() -> None:
    """RFC 9768 section 3.2.3.1."""
    peer = watched()
    feed(peer, 5, 2, (1 + 2 * MSS, 0, -1))
    feed(peer, 6, 4, (1 + 3 * MSS, 1000, -1))
    feed(peer, 6, 6, (1 + 5 * MSS, 1000, -1))
    feed(peer, 8, 8, (1 + 5 * MSS, 1000 + 2 * MSS, -1))
    assert marked(peer) == [0, 1000, 0, 2 * MSS]
    e = state(peer)
    assert (e.s_cep, e.s_ceb, e.s_e0b, e.s_e1b) == (8, 1000 + 2 * MSS, 1 + 5 * MSS, 1)
    assert peer.conn.info(peer.now)["delivered_ce_bytes"] == 1000 + 2 * MSS


def test_the_counters_of_the_appendix() -> None:
    """RFC 9768 appendix A.1: s.ceb is 33,554,433 and ECEB is 1461."""
    peer = watched()
    e = state(peer)
    e.s_ceb = 33_554_433
    feed(peer, 6, 1, (1 + MSS, 1461, -1))
    assert e.s_ceb == 33_555_893


def test_ace_alone_tells_packets() -> None:
    """RFC 9768 section 3.2.2.2, appendix A.3: a mark is worth a segment."""
    peer = watched(option=None)
    for cep, segments in ((5, 2), (6, 4), (6, 6), (8, 8), (12, 12)):
        feed(peer, cep, segments)
    assert marked(peer) == [0, MSS, 0, 2 * MSS, 4 * MSS]
    assert state(peer).s_cep == 12


@pytest.mark.parametrize(
    ("packets", "delta", "expected"),
    [
        # RFC 9768 appendix A.2.1: "it would still be safe to assume 2 CE marks"; "there could have been 10".
        (9, 2, 2),
        (10, 2, 10),
        (7, 2, 2),
        (8, 0, 8),
        (7, 0, 0),
        (15, 7, 15),
        (14, 7, 7),
        (3, 5, 5),  # more than it acknowledges: control packets
    ],
)
def test_without_options_a_run_of_lost_acks_is_read_as_a_wrap(packets: int, delta: int, expected: int) -> None:
    """RFC 9768 section 3.2.2.5.2, "taking the safest likely case under the prevailing conditions"."""
    peer = watched(option=None)
    feed(peer, 5, 2)
    feed(peer, 5 + delta, 2 + packets)
    assert state(peer).s_cep == 5 + expected


def test_where_acks_are_always_for_many_packets_the_least_wrap_is_taken() -> None:
    """RFC 9768 appendix A.2.1: "if the moving average of newlyAckedPkt was well below 8"."""
    peer = watched(option=None)
    for i in range(1, 9):
        feed(peer, 5, 7 * i)
    feed(peer, 7, 56 + 20)
    assert state(peer).s_cep == 7


def test_with_options_a_wrap_is_read_from_the_octets() -> None:
    """RFC 9768 section 3.2.3.2.5: ACE is reconciled with the option."""
    peer = watched()
    feed(peer, 5, 2, (1 + 2 * MSS, 0, -1))
    feed(peer, 5 + 16, 30, (1 + 14 * MSS, 16 * MSS, -1))
    feed(peer, 5 + 16 + 2, 50, (1 + 32 * MSS, 18 * MSS, -1))
    assert state(peer).s_cep == 5 + 18
    assert marked(peer) == [0, 16 * MSS, 2 * MSS]
    # No option, though there are some: it would have come if a counter had moved.
    feed(peer, 5 + 18, 70)
    assert state(peer).s_cep == 5 + 18


def test_what_ace_told_first_is_not_told_again_by_the_option() -> None:
    """A data segment without room has ACE, the ACK behind it the option."""
    peer = watched()
    feed(peer, 5, 2, (1 + 2 * MSS, 0, -1))
    feed(peer, 6, 4)
    feed(peer, 6, 6, (1 + 5 * MSS, MSS, -1))
    assert marked(peer) == [0, MSS, 0]
    assert state(peer).s_cep == 6
    assert peer.counters.ecn_mangled == 0


@pytest.mark.parametrize("ts", [False, True])
def test_an_ack_that_was_overtaken_is_ignored(ts: bool) -> None:
    """RFC 9768 sections 3.2.2.2 and 3.2.3.1, appendix A.1."""
    peer = watched(ts=ts)
    old = peer.ts_clock()
    peer.advance(20 * MILLISECOND)
    feed(peer, 7, 10, (1 + 8 * MSS, 2 * 1400, -1))
    peer.segment(
        "." + letters(5), seq=1, ack=1 + 4 * MSS, accecn=(1 + 4 * MSS, 0, -1), ts_val=old if ts else -1, poll=False
    )
    assert (state(peer).s_cep, state(peer).s_ceb) == (7, 2 * 1400)
    assert sum(marked(peer)) == 2 * 1400


def test_an_ack_of_an_ack_is_news_by_its_timestamp() -> None:
    """RFC 9768 appendix A.1: newlyAckedT."""
    peer = watched(ts=True)
    feed(peer, 5, 2, (1 + 2 * MSS, 0, -1))
    peer.advance(20 * MILLISECOND)
    feed(peer, 6, 2)
    assert state(peer).s_cep == 6


def test_one_reduction_a_round_trip_and_none_undone() -> None:
    """RFC 9768 section 3.1.5: "obliged to respond appropriately"; CWR is not set (it is a bit of ACE)."""
    peer = accurate(initial_window=40)
    peer.send(b"x" * (40 * MSS))
    t = peer.conn.tcb
    before = t.cc.cwnd
    feed(peer, 6, 2, (1 + MSS, MSS, -1))
    reduced = t.cc.cwnd
    assert reduced < before
    for i in range(3, 40):
        feed(peer, 6 + i - 2, i, (1 + MSS, (i - 1) * MSS, -1))
    assert t.cc.cwnd == reduced
    assert peer.counters.ecn_reductions == 1
    assert peer.counters.ecn_echoes_received == 38
    assert all(ace(seg) == 5 for seg in peer.output())


def test_the_window_does_not_grow_by_an_ack_with_marks() -> None:
    """RFC 3168 section 6.1.2 with RFC 9768 section 4."""
    peer = accurate(initial_window=10)
    peer.send(b"x" * (60 * MSS))
    feed(peer, 6, 2, (1 + MSS, MSS, -1))
    peer.advance(MILLISECOND)
    t = peer.conn.tcb
    peer.output()
    end = (t.snd_nxt - t.iss - 1) // MSS
    feed(peer, 6, end, (1 + 9 * MSS, MSS, -1))  # the end of the round
    peer.output()
    before = t.cc.cwnd
    feed(peer, 6, end + 1, (1 + 10 * MSS, MSS, -1))
    grown = t.cc.cwnd
    assert grown >= before
    e = state(peer)
    e.reduced_at = t.snd_nxt  # as if it had been reduced a moment ago
    feed(peer, 7, end + 2, (1 + 10 * MSS, 2 * MSS, -1))
    assert t.cc.cwnd == grown


# --- paths and peers that mangle -------------------------------------------------------------------------------------


def test_an_ace_of_zero_at_the_beginning_ends_marking_and_belief() -> None:
    """RFC 9768 section 3.2.2.4; feedback is still given."""
    peer = accurate()
    peer.send(b"x" * (10 * MSS))
    cwnd = peer.conn.tcb.cc.cwnd
    peer.segment(".", seq=1, ack=1 + 2 * MSS)
    for i in range(3, 9):
        peer.segment("." + letters(i), seq=1, ack=1 + i * MSS)
    assert peer.counters.ecn_mangled == 1
    assert peer.counters.ecn_reductions == 0
    assert peer.conn.tcb.cc.cwnd >= cwnd
    peer.segment(".eE", seq=1, ack=1 + 10 * MSS)
    assert [seg.tos for seg in peer.send(b"y" * MSS)] == [NOT_ECT]
    (ack,) = arrive(peer, [CE], seq=1)
    assert ace(ack) == 6


@pytest.mark.parametrize("option", [(0, 0, 1), (1, 0, 0), (0, 0, 0)])
def test_options_that_were_zeroed_are_ignored(option: Counters) -> None:
    """RFC 9768 section 3.2.3.2.4."""
    peer = watched(option)
    feed(peer, 6, 2, (0, 0, 0))
    feed(peer, 6, 4, (0, 50 * MSS, 0))
    assert marked(peer) == [MSS, 0]
    assert state(peer).s_ceb == 0


def test_marked_octets_without_a_marked_packet_end_marking() -> None:
    """RFC 9768 section 3.2.3.2.5: "MUST disable sending ECN-capable packets"."""
    peer = accurate()
    peer.send(b"x" * (4 * MSS))
    feed(peer, 5, 4, (1 + 3 * MSS, MSS, -1))
    assert peer.counters.ecn_mangled == 1
    assert [seg.tos for seg in peer.send(b"y" * MSS)] == [NOT_ECT]


def test_marked_octets_of_a_whole_cycle_are_no_mangling() -> None:
    """Eight packets, all marked: ACE is what it was."""
    peer = watched()
    feed(peer, 13, 8, (1, 8 * MSS, -1))
    assert state(peer).s_cep == 13
    assert peer.counters.ecn_mangled == 0


def rounds(peer: ScriptedPeer, count: int, report: str) -> None:
    """`count` rounds of ten segments, all acknowledged at the end of each; `report`: what the receiver saw."""
    t = peer.conn.tcb
    zero, ce, cep = 1, 0, 5
    for _ in range(count):
        assert peer.conn.send(peer.now, b"x" * (10 * MSS)) == 10 * MSS
        for _ in range(40):
            peer.output()
            octets = t.snd_nxt - t.snd_una
            if not octets:
                break
            peer.advance(20 * MILLISECOND)
            option: Counters | None = None
            if report == "marked":
                ce += octets
                cep += (octets + MSS - 1) // MSS
                option = (zero, ce & 0xFFFFFF, -1)
            elif report == "ect":
                zero += octets
                option = (zero, ce, -1)
            peer.segment("." + letters(cep & 7), seq=1, ack=t.snd_nxt - t.iss, accecn=option, poll=False)


def test_marks_on_everything_are_mangling() -> None:
    """RFC 9768 section 3.2.2.3: "the feedback for every packet it sends for the first three or four rounds"."""
    peer = accurate()
    rounds(peer, 8, "marked")
    assert peer.counters.ecn_mangled == 1
    assert not state(peer).may_mark
    before = peer.counters.ecn_reductions
    cwnd = peer.conn.tcb.cc.cwnd
    rounds(peer, 4, "marked")
    assert peer.counters.ecn_reductions == before
    assert peer.conn.tcb.cc.cwnd >= cwnd
    assert [seg.tos for seg in peer.send(b"x")] == [NOT_ECT]


def test_a_path_that_bleaches_is_found() -> None:
    """RFC 9768 section 3.2.2.3: "either ECT codepoint transitions to not-ECT"; options came in the handshake."""
    peer = accurate(option=(1, 0, 1))
    rounds(peer, 8, "nothing")
    assert peer.counters.ecn_bleached == 1
    assert [seg.tos for seg in peer.send(b"x")] == [NOT_ECT]


@pytest.mark.parametrize(("option", "report"), [((1, 0, 1), "ect"), (None, "nothing")])
def test_a_clean_path_and_one_without_options_are_not_taken_for_bleached(
    option: Counters | None, report: str
) -> None:
    peer = accurate(option)
    rounds(peer, 12, report)
    assert peer.counters.ecn_bleached == peer.counters.ecn_mangled == 0
    assert [seg.tos for seg in peer.send(b"x")] == [ECT0]


@pytest.mark.parametrize("seed", range(20))
def test_feedback_that_lies_harms_none_but_its_peer(seed: int) -> None:
    """Any ACE and any option on any ACK: the window keeps its floor, marks never exceed what arrived."""
    rng = random.Random(seed)
    print("seed", seed)
    peer = accurate(rng.choice([None, (1, 0, 1), (0, 5, 9)]), ts=rng.random() < 0.5)
    t = peer.conn.tcb
    for _ in range(300):
        if len(t.snd_buf) < 20 * MSS:
            peer.conn.send(peer.now, b"x" * (10 * MSS))
        peer.output()
        peer.advance(rng.choice([1, 5, 30]) * MILLISECOND)
        ack = rng.randint(t.snd_una - t.iss, t.snd_nxt - t.iss)
        fields = [rng.choice([-1, 0, 1, rng.randrange(1 << 24)]) for _ in range(3)]
        option = None if rng.random() < 0.3 else cast(Counters, tuple(fields))
        sack = [(ack + MSS, ack + 2 * MSS)] if rng.random() < 0.2 else None
        peer.segment("." + letters(rng.randrange(8)), seq=1, ack=ack, accecn=option, sack=sack, tos=rng.randrange(4))
        e = state(peer)
        assert t.cc.cwnd >= t.snd_mss
        assert t.cc.ssthresh >= 2 * t.snd_mss
        assert 0 <= e.ce_octets <= t.delivered
    # And in the end everything is acknowledged.
    for _ in range(1000):
        peer.advance(30 * MILLISECOND)
        peer.segment("." + letters(rng.randrange(8)), seq=1, ack=t.snd_nxt - t.iss)
        if not len(t.snd_buf):
            break
    assert len(t.snd_buf) == 0
