"""Classic explicit congestion notification once it is agreed: RFC 3168 sections 6.1.2 to 6.1.6, and RFC 8257's echo."""

from __future__ import annotations

import pytest

from plankroad.tcp.cc.base import AckSample, CongestionControl
from plankroad.tcp.cc.registry import register
from plankroad.tcp.config import TcpConfig
from plankroad.testing.scripted import ScriptedPeer, flags_of
from plankroad.units import MILLISECOND, SECOND
from plankroad.wire.segment import Segment

NOT_ECT, ECT1, ECT0, CE = 0, 1, 2, 3
MSS = 1460


def classic(**options: object) -> ScriptedPeer:
    """A connection with classic ECN; it began as the client."""
    config = TcpConfig(ecn="on", nagle="off", quick_acks=0)
    for name, value in options.items():
        setattr(config, name, value)
    peer = ScriptedPeer(config)
    peer.open()
    peer.advance(100 * MILLISECOND)
    peer.segment("S.E", seq=0, ack=1, mss=MSS, sack_ok=True, wscale=0)
    assert peer.state == "ESTABLISHED"
    return peer


def cwnd(peer: ScriptedPeer) -> int:
    return peer.conn.tcb.cc.cwnd


def data(out: list[Segment]) -> list[Segment]:
    return [seg for seg in out if seg.payload]


# --- the receiver ----------------------------------------------------------------------------------------------------


@pytest.mark.requirement("SHLD-8")
def test_the_echo_goes_on_until_cwr() -> None:
    """RFC 3168 section 6.1.3."""
    peer = classic()
    peer.segment(".", seq=1, ack=1, data=b"a" * MSS, tos=ECT0)
    (ack,) = peer.segment(".", seq=1 + MSS, ack=1, data=b"b" * MSS, tos=CE)
    assert flags_of(ack) == ".E"
    peer.segment(".", seq=1 + 2 * MSS, ack=1, data=b"c" * MSS, tos=ECT0)
    (ack,) = peer.segment(".", seq=1 + 3 * MSS, ack=1, data=b"d" * MSS, tos=ECT0)
    assert flags_of(ack) == ".E"
    # On data of ours too.
    (seg,) = peer.send(b"answer")
    assert flags_of(seg) == "P.E"
    (ack,) = peer.segment(".W", seq=1 + 4 * MSS, ack=7, data=b"e" * MSS, tos=ECT0)  # at once: its window may be small
    assert flags_of(ack) == "."
    (seg,) = peer.send(b"answer")
    assert flags_of(seg) == "P."
    assert peer.counters.ecn_ce_received == 1
    assert "ecnseen" in str(peer.conn.info(peer.now)["options"])


def test_a_mark_on_the_segment_with_cwr_begins_a_new_echo() -> None:
    """RFC 3168 erratum 3639: CWR is processed first, then CE."""
    peer = classic()
    peer.segment(".", seq=1, ack=1, data=b"a" * MSS, tos=CE)
    (ack,) = peer.segment(".W", seq=1 + MSS, ack=1, data=b"b" * MSS, tos=CE)
    assert flags_of(ack) == ".E"


def test_marks_on_anything_but_data_in_the_window_are_not_echoed() -> None:
    """RFC 3168 section 6.1.3: "a CE data packet"; 6.1.5: it "SHOULD ignore the ECN field on arriving data packets that
    are outside of the receiver's current window"."""
    peer = classic()
    peer.segment(".", seq=1, ack=1, data=b"a" * MSS)
    peer.segment(".", seq=1, ack=1, tos=CE)
    (ack,) = peer.segment(".", seq=1, ack=1, data=b"a" * MSS, tos=CE)  # all of it acknowledged before
    assert flags_of(ack) == "."
    (ack,) = peer.segment(".", seq=1 + 10_000_000, ack=1, data=b"a" * MSS, tos=CE)
    assert flags_of(ack) == "."


def test_a_marked_segment_out_of_order_is_echoed() -> None:
    peer = classic()
    (ack,) = peer.segment(".", seq=1 + MSS, ack=1, data=b"a" * MSS, tos=CE)
    assert flags_of(ack) == ".E"


def test_a_marked_window_probe_is_answered_with_the_echo() -> None:
    """RFC 3168 section 6.1.6: "the receiver SHOULD respond to the ECN indications"."""
    peer = classic()
    peer.segment(".", seq=1, ack=1, data=b"a", tos=CE)
    (ack,) = peer.advance(SECOND)
    assert flags_of(ack) == ".E"


def test_without_ecn_marks_are_not_echoed() -> None:
    """RFC 3168 section 6.1.1.1: ECT is no sign that the other end takes part."""
    peer = ScriptedPeer(TcpConfig(quick_acks=0))
    peer.establish()
    peer.segment(".", seq=1, ack=1, data=b"a" * MSS, tos=CE)
    (ack,) = peer.segment(".", seq=1 + MSS, ack=1, data=b"a" * MSS, tos=CE)
    assert flags_of(ack) == "."
    assert peer.counters.ecn_ce_received == 0


# --- the sender ------------------------------------------------------------------------------------------------------


def test_new_data_is_marked_and_nothing_else() -> None:
    """RFC 3168 section 6.1.2; 6.1.4: no pure ACK; 6.1.5: no retransmission."""
    peer = classic()
    sent = peer.send(b"x" * (4 * MSS))
    assert [seg.tos for seg in sent] == [ECT0] * 4
    acks = peer.segment(".", seq=1, ack=1, data=b"a" * MSS) + peer.segment(".", seq=1 + MSS, ack=1, data=b"b" * MSS)
    assert [(seg.tos, seg.payload) for seg in acks] == [(NOT_ECT, b"")]
    again = data(peer.advance(3 * SECOND))
    assert again
    assert {seg.tos for seg in again} == {NOT_ECT}
    assert peer.segment(".", seq=1 + 2 * MSS, ack=1 + 4 * MSS) == []
    (fresh,) = peer.send(b"y" * 500)
    assert fresh.tos == ECT0
    fin = peer.close()
    assert [(flags_of(seg), seg.tos) for seg in fin] == [("F.", NOT_ECT)]


def test_a_window_probe_is_not_marked() -> None:
    """RFC 3168 section 6.1.6: neither ECT nor CWR."""
    peer = classic()
    peer.send(b"x" * MSS)
    peer.segment(".E", seq=1, ack=1 + MSS, wnd=0)
    peer.send(b"y" * MSS)
    (probe,) = peer.next_timer()
    assert (len(probe.payload), probe.tos, flags_of(probe)) == (1, NOT_ECT, "P.")
    # When the window opens the octet goes once more, with the rest: new data, and the first after the reduction.
    (seg,) = peer.segment(".", seq=1, ack=1 + MSS, wnd=65535)
    assert (seg.tos, flags_of(seg)) == (ECT0, "P.W")


@pytest.mark.requirement("SHLD-8")
def test_one_reduction_a_round_trip_and_cwr_on_the_next_new_data() -> None:
    """RFC 3168 section 6.1.2."""
    peer = classic()
    peer.send(b"x" * (40 * MSS))
    before = cwnd(peer)
    flight = peer.conn.tcb.snd_nxt
    out = peer.segment(".E", seq=1, ack=1 + 2 * MSS)
    assert cwnd(peer) < before
    reduced = cwnd(peer)
    assert peer.counters.ecn_reductions == 1
    # PRR lets some out at once; the first of it, and no other, has CWR.
    for i in range(3, 11):
        out += peer.segment(".E", seq=1, ack=1 + i * MSS)
        assert cwnd(peer) == reduced, "one reduction a window of data, and no growth while it lasts"
    flags = [flags_of(seg) for seg in data(out)]
    assert "W" in flags[0]
    assert not any("W" in flag for flag in flags[1:])
    assert peer.counters.ecn_reductions == 1
    assert peer.counters.ecn_echoes_received == 9
    assert peer.conn.tcb.snd_una >= flight
    # A round later a mark counts again, and CWR is sent again.
    (first_new,) = data(out)[:1]
    out = peer.segment(".E", seq=1, ack=first_new.seq + MSS)
    assert peer.counters.ecn_reductions == 2
    assert cwnd(peer) < reduced
    out += peer.segment(".", seq=1, ack=peer.conn.tcb.snd_nxt - peer.conn.tcb.iss)
    assert sum("W" in flags_of(seg) for seg in data(out)) == 1


def test_an_echo_for_ever_leaves_the_window_at_its_floor() -> None:
    """A peer that never stops echoing gets a slow connection, not a stalled one."""
    peer = classic()
    assert peer.conn.send(peer.now, b"x" * (100 * MSS)) == 100 * MSS
    t = peer.conn.tcb
    out = peer.output()
    for _ in range(2000):
        if t.snd_una == t.snd_buf.end and not t.snd_buf:
            break
        peer.advance(10 * MILLISECOND)
        out = peer.segment(".E", seq=1, ack=t.snd_nxt - t.iss)
        assert t.cc.cwnd >= MSS
        assert t.cc.ssthresh >= 2 * MSS
    assert t.snd_una - t.iss == 1 + 100 * MSS
    assert t.cc.cwnd <= 2 * MSS
    assert out == []


def test_a_mark_in_the_window_of_a_loss_costs_nothing_more() -> None:
    """RFC 3168 section 6.1.2: "only once in response to a series of dropped and/or CE packets"; CWR tells of it."""
    peer = classic()
    peer.send(b"x" * (20 * MSS))
    out: list[Segment] = []
    for i in range(2, 7):
        out += peer.segment(".", seq=1, ack=1, sack=[(1 + MSS, 1 + i * MSS)])
    t = peer.conn.tcb
    assert peer.counters.recoveries_sack == 1
    reduced = t.cc.ssthresh
    out += peer.segment(".E", seq=1, ack=1, sack=[(1 + MSS, 1 + 8 * MSS)])
    out += peer.segment(".E", seq=1, ack=1, sack=[(1 + MSS, 1 + 10 * MSS)])
    assert peer.counters.ecn_reductions == 0
    assert t.cc.ssthresh == reduced
    fresh = [seg for seg in data(out) if seg.seq >= 1 + 10 * MSS]
    assert "W" in flags_of(fresh[0])
    assert sum("W" in flags_of(seg) for seg in data(out)) == 1


def test_a_loss_in_the_window_of_a_mark_costs_nothing_more() -> None:
    """RFC 3168 section 6.1.2, the other way round."""
    peer = classic()
    peer.send(b"x" * (20 * MSS))
    t = peer.conn.tcb
    peer.segment(".E", seq=1, ack=1 + MSS)
    assert peer.counters.ecn_reductions == 1
    reduced = t.cc.ssthresh
    for i in range(4, 9):
        peer.segment(".E", seq=1, ack=1 + MSS, sack=[(1 + 2 * MSS, 1 + i * MSS)])
    assert peer.counters.recoveries_sack == 1
    assert t.cc.ssthresh == reduced


def test_cwr_is_not_set_on_a_retransmission() -> None:
    """RFC 3168 section 6.1.2: "the CWR bit in the TCP header SHOULD NOT be set on retransmitted packets"."""
    peer = classic()
    peer.send(b"x" * (4 * MSS))
    again = peer.advance(2 * SECOND)
    assert peer.counters.timeouts >= 1
    assert again
    assert not any("W" in flags_of(seg) for seg in again)
    peer.segment(".", seq=1, ack=1 + 4 * MSS)
    (fresh,) = peer.send(b"y" * 500)
    assert "W" in flags_of(fresh)


def test_an_echo_is_not_undone() -> None:
    """A DSACK takes a recovery back; a mark was one."""
    peer = classic()
    peer.send(b"x" * (20 * MSS))
    t = peer.conn.tcb
    peer.segment(".E", seq=1, ack=1 + MSS)
    reduced = t.cc.cwnd
    assert not t.cc.undo_possible
    t.cc.on_spurious(peer.now)
    assert t.cc.cwnd == reduced


def test_an_old_ack_with_an_echo_changes_nothing_twice() -> None:
    peer = classic()
    peer.send(b"x" * (20 * MSS))
    peer.segment(".E", seq=1, ack=1 + 4 * MSS)
    reduced = cwnd(peer)
    for _ in range(5):
        peer.segment(".E", seq=1, ack=1 + 2 * MSS)
    assert cwnd(peer) == reduced
    assert peer.counters.ecn_reductions == 1


# --- algorithms that answer marks themselves -------------------------------------------------------------------------


class Watcher(CongestionControl):
    """Keeps what it is told."""

    def __init__(self, smss: int, initial_window: int) -> None:
        super().__init__(smss, initial_window)
        self.wants_ecn = True
        self.ecn_by_sample = True
        self.signals: list[int] = []
        self.marked: list[tuple[int, int]] = []

    def on_ack(self, sample: AckSample) -> None:
        self.marked.append((sample.newly_delivered, sample.ce_bytes))

    def on_congestion(self, now: int, signal: int, in_flight: int) -> None:
        self.signals.append(signal)

    def avoid_congestion(self, sample: AckSample, acked: int) -> None:
        raise NotImplementedError


register("test-watcher", Watcher)


def test_ecn_by_sample_gets_octets_and_no_signal() -> None:
    """RFC 8257 section 3.3: "If the ECE flag is set, update the bytes marked"; CWR is as per RFC 3168."""
    peer = classic(congestion_control="test-watcher")
    peer.send(b"x" * (10 * MSS))
    peer.segment(".", seq=1, ack=1 + 2 * MSS)
    peer.segment(".E", seq=1, ack=1 + 4 * MSS)
    peer.segment(".E", seq=1, ack=1 + 5 * MSS)
    peer.segment(".", seq=1, ack=1 + 7 * MSS)
    cc = peer.conn.tcb.cc
    assert isinstance(cc, Watcher)
    assert cc.marked == [(2 * MSS, 0), (2 * MSS, 2 * MSS), (MSS, MSS), (2 * MSS, 0)]
    assert cc.signals == []
    assert peer.counters.ecn_reductions == 0
    out = peer.send(b"y" * MSS)
    assert [flags_of(seg) for seg in out] == ["P.W"]


def test_exact_feedback_changes_with_each_mark_and_acknowledges_what_was_before() -> None:
    """RFC 8257 section 3.2: "one for previously unacknowledged packets and another acknowledging the most recently
    received packet"."""
    peer = classic(congestion_control="test-watcher")
    assert peer.segment(".", seq=1, ack=1, data=b"a" * MSS, tos=ECT0) == []  # an ACK for two
    out = peer.segment(".", seq=1 + MSS, ack=1, data=b"b" * MSS, tos=CE)
    assert [(flags_of(seg), seg.ack) for seg in out] == [(".", 1 + MSS), (".E", 1 + 2 * MSS)]
    assert peer.segment(".", seq=1 + 2 * MSS, ack=1, data=b"c" * MSS, tos=CE) == []
    # CWR does not end it: the next mark, or none, does.
    out = peer.segment(".W", seq=1 + 3 * MSS, ack=1, data=b"d" * MSS, tos=ECT0)
    assert [(flags_of(seg), seg.ack) for seg in out] == [(".E", 1 + 3 * MSS), (".", 1 + 4 * MSS)]
    # The right edge of the window is the same in both, but for what its scale cannot tell.
    shift = peer.conn.tcb.rcv_wind_shift
    edges = [seg.ack + (seg.wnd << shift) for seg in out]
    assert edges[1] - (1 << shift) < edges[0] <= edges[1]


def test_exact_feedback_of_a_batch() -> None:
    """What arrives in one batch is still told apart."""
    peer = classic(congestion_control="test-watcher")
    marks = [ECT0, ECT0, CE, CE, ECT0, CE]
    for i, mark in enumerate(marks):
        peer.segment(".", seq=1 + i * MSS, ack=1, data=b"a" * MSS, tos=mark, poll=False)
    out = peer.output()
    assert [(flags_of(seg), (seg.ack - 1) // MSS) for seg in out] == [(".", 2), (".E", 4), (".", 5), (".E", 6)]


@pytest.mark.parametrize("count", [100])
def test_a_batch_that_alternates_is_bounded(count: int) -> None:
    peer = classic(congestion_control="test-watcher")
    for i in range(count):
        peer.segment(".", seq=1 + i * 100, ack=1, data=b"a" * 100, tos=CE if i % 2 else ECT0, poll=False)
    out = peer.output()
    assert len(out) <= 17
    assert out[-1].ack == 1 + count * 100
