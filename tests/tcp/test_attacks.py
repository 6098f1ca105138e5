"""What a stranger may not do: RFC 5961, RFC 7323 (PAWS), RFC 5927, RFC 1337."""

from __future__ import annotations

import errno

import pytest

from plankroad.endpoint import EVENT_SOFT_ERROR
from plankroad.tcp import icmp
from plankroad.tcp.config import TcpConfig
from plankroad.testing.scripted import ScriptedPeer, flags_of
from plankroad.units import MILLISECOND, SECOND
from plankroad.wire.segment import Segment


def established(ts: bool = False, **options: object) -> ScriptedPeer:
    config = TcpConfig()
    for name, value in options.items():
        setattr(config, name, value)
    peer = ScriptedPeer(config)
    peer.establish(ts=ts)
    return peer


@pytest.mark.requirement("reset-and-syn-checks")
def test_only_the_exact_sequence_number_resets() -> None:
    # RFC 5961 section 3.2.
    peer = established()
    [challenge] = peer.segment("R", seq=100)
    assert (flags_of(challenge), challenge.ack) == (".", 1)
    assert peer.state == "ESTABLISHED"
    assert peer.segment("R", seq=-5) == []
    assert peer.segment("R", seq=100_000_000) == []
    assert peer.state == "ESTABLISHED"
    peer.segment("R", seq=1)
    assert peer.state == "CLOSED"
    assert peer.conn.error == errno.ECONNRESET


@pytest.mark.requirement("reset-and-syn-checks")
def test_a_reset_outside_of_the_window_is_dropped_in_silence_though_its_text_reaches_in() -> None:
    # RFC 5961 section 3.2, 1): it is the sequence number that counts, RCV.NXT < SEG.SEQ < RCV.NXT+RCV.WND.
    peer = established()
    peer.segment("P.", seq=1, ack=1, data=bytes(10))
    assert peer.segment("R", seq=10, data=b"text") == []
    edge = peer.conn.tcb.rcv_adv - peer.conn.tcb.irs
    assert peer.segment("R", seq=edge) == []
    [challenge] = peer.segment("R", seq=edge - 1)
    assert flags_of(challenge) == "."
    assert peer.counters.resets_ignored == 2
    assert peer.state == "ESTABLISHED"


@pytest.mark.requirement("SHLD-2")
def test_a_reset_may_carry_data() -> None:
    # SHLD-2.
    peer = established()
    peer.segment("R.", seq=1, ack=1, data=b"go away")
    assert peer.state == "CLOSED"
    assert peer.received == b""


@pytest.mark.requirement("reset-and-syn-checks")
def test_a_syn_is_challenged_wherever_it_lies() -> None:
    # RFC 5961 section 4.2.
    peer = established()
    for seq in (1, 100, -100_000, 100_000_000):
        [challenge] = peer.segment("S", seq=seq)
        assert (flags_of(challenge), challenge.ack) == (".", 1)
    assert peer.state == "ESTABLISHED"


@pytest.mark.requirement("MAY-12")
def test_an_acknowledgement_out_of_range_brings_no_data_in() -> None:
    # RFC 5961 section 5.2 (MAY-12).
    peer = established()
    for ack in (100_000, -200_000):
        [challenge] = peer.segment(".", seq=1, ack=ack, data=b"injected")
        assert challenge.ack == 1
    assert peer.received == b""
    assert peer.counters.ack_out_of_range == 2


def test_an_old_acknowledgement_within_the_window_is_harmless() -> None:
    peer = established()
    peer.send(bytes(1000))
    peer.segment(".", seq=1, ack=1001)
    peer.segment(".", seq=1, ack=1, data=b"late")
    assert peer.received == b"late"


def test_an_acknowledgement_from_before_our_syn_is_refused() -> None:
    """RFC 5961 section 5.2 allows for MAX.SND.WND octets below SND.UNA; but no octet was sent before the SYN."""
    peer = established()
    [challenge] = peer.segment(".", seq=1, ack=0, data=b"forged")
    assert peer.received == b""
    assert (challenge.seq, challenge.ack) == (1, 1)


def test_what_is_refused_for_its_acknowledgement_does_not_set_the_timestamp_clock() -> None:
    """Or whoever guesses a sequence number could make the peer's own segments look old (RFC 7323 section 5.3)."""
    peer = ScriptedPeer()
    peer.establish(ts=True)
    good = peer.ts_clock()
    peer.segment(".", seq=1, ack=100_000, data=b"forged", ts_val=(good + (1 << 30)) & 0xFFFFFFFF)
    peer.segment("R", seq=0, data=b"xx", ts_val=(good + (1 << 30)) & 0xFFFFFFFF)
    peer.segment(".", seq=1, ack=1, data=b"true")
    assert peer.received == b"true"


@pytest.mark.requirement("challenge-acks")
def test_challenges_are_throttled_for_each_connection_alone() -> None:
    # RFC 5961 section 7 and 10.
    peer = established(challenge_ack_limit=3)
    answers = sum(len(peer.segment("S", seq=50)) for _ in range(20))
    assert answers == 3
    assert peer.counters.challenge_acks_throttled == 17
    other = established(challenge_ack_limit=3)
    assert len(other.segment("S", seq=50)) == 1
    peer.advance(SECOND)
    assert len(peer.segment("S", seq=50)) == 1


def test_two_ends_that_disagree_do_not_acknowledge_each_other_for_ever() -> None:
    peer = established()
    answers = sum(len(peer.segment(".", seq=10_000_000, ack=1)) for _ in range(1000))
    assert answers <= peer.config.challenge_ack_limit


@pytest.mark.requirement("paws")
def test_an_old_timestamp_marks_an_old_duplicate() -> None:
    # RFC 7323 section 5.3 R1.
    peer = established(ts=True)
    now = peer.ts_clock()
    peer.segment(".", seq=1, ack=1, data=b"new", ts_val=now)
    [ack] = peer.segment(".", seq=4, ack=1, data=b"old", ts_val=now - 1)
    assert ack.ack == 4
    assert peer.received == b"new"
    assert peer.counters.paws_rejected == 1


def test_new_data_rejected_by_its_timestamp_is_not_reported_as_received() -> None:
    # Only what is held may be in a SACK block: a late segment, overtaken by a retransmission, is not.
    peer = established(ts=True)
    now = peer.ts_clock()
    peer.segment(".", seq=1, ack=1, data=bytes(100), ts_val=now + 5)
    [ack] = peer.segment(".", seq=201, ack=1, data=bytes(100), ts_val=now)
    assert (ack.ack, ack.sack) == (101, [])
    [ack] = peer.segment(".", seq=1, ack=1, data=bytes(100), ts_val=now)
    assert ack.sack == [(1, 101)]


def test_a_reset_needs_no_timestamp() -> None:
    # RFC 7323 section 5.2.
    peer = established(ts=True)
    peer.segment("R", seq=1, ts_val=1)
    assert peer.state == "CLOSED"


def test_a_segment_without_the_agreed_timestamp_is_dropped() -> None:
    # RFC 7323 section 3.2.
    peer = established(ts=True)
    peer.ts = False
    assert peer.segment(".", seq=1, ack=1, data=b"x") == []
    assert peer.received == b""
    assert peer.counters.paws_rejected == 1
    # "A TCP MUST NOT abort a TCP connection because any segment lacks an expected TSopt."
    peer.ts = True
    peer.segment(".", seq=1, ack=1, data=b"x")
    assert peer.received == b"x"


def test_a_reset_without_the_agreed_timestamp_is_a_reset() -> None:
    # RFC 7323 section 3.2: "a non-<RST> segment".
    peer = established(ts=True)
    peer.ts = False
    peer.segment("R", seq=1)
    assert peer.state == "CLOSED"


@pytest.mark.requirement("challenge-acks")
@pytest.mark.parametrize("seq", [-100_000_000, 1, 50])
@pytest.mark.parametrize("flags", ["S", "S."])
def test_a_syn_without_the_agreed_timestamp_is_challenged(flags: str, seq: int) -> None:
    # RFC 5961 section 4. A peer that began anew answers the challenge by a reset, and its next SYN comes through.
    peer = established(ts=True)
    peer.ts = False
    [challenge] = peer.segment(flags, seq=seq, ack=1, mss=1460)
    assert (flags_of(challenge), challenge.seq, challenge.ack, challenge.has_ts) == (".", 1, 1, True)
    assert peer.state == "ESTABLISHED"
    peer.segment("R", seq=1)
    assert peer.state == "CLOSED"


def test_a_syn_that_comes_again_without_its_timestamp_is_answered_as_before() -> None:
    # Some senders leave options out once a SYN seems lost.
    peer = ScriptedPeer()
    peer.listen()
    peer.ts = True
    [first] = peer.segment("S", seq=0, mss=1460)
    peer.ts = False
    [again] = peer.segment("S", seq=0, mss=1460)
    assert (flags_of(again), again.seq, again.ack) == (flags_of(first), first.seq, first.ack)


@pytest.mark.requirement("paws")
def test_timestamps_are_not_compared_after_24_days_of_silence() -> None:
    # RFC 7323 section 5.5.
    peer = established(ts=True)
    peer.advance(25 * 24 * 3600 * SECOND)
    peer.segment(".", seq=1, ack=1, data=b"x", ts_val=1)
    assert peer.received == b"x"


@pytest.mark.requirement("rttm")
def test_the_echoed_timestamp_is_that_of_the_segment_that_advanced_the_window() -> None:
    # RFC 7323 section 4.3: of two segments acknowledged together the earlier one's, of a hole's filling its own.
    peer = established(ts=True, quick_acks=0)
    base = peer.ts_clock()
    peer.segment(".", seq=1, ack=1, data=bytes(1448), ts_val=base + 1, poll=False)
    [ack] = peer.segment(".", seq=1449, ack=1, data=bytes(1448), ts_val=base + 2)
    assert ack.ts_ecr == base + 1
    [gap] = peer.segment(".", seq=3897, ack=1, data=bytes(100), ts_val=base + 3)
    assert gap.ts_ecr == base + 1
    [filled] = peer.segment(".", seq=2897, ack=1, data=bytes(1000), ts_val=base + 4)
    assert filled.ts_ecr == base + 4


@pytest.mark.requirement("timestamp-offset")
def test_timestamps_differ_between_connections() -> None:
    # RFC 7323 section 5.4.
    assert (
        len({ScriptedPeer().isn.ts_offset(b"\x0a\x00\x00\x01", port, b"\x0a\x00\x00\x02", 80) for port in range(50)})
        == 50
    )


@pytest.mark.requirement("MUST-7")
def test_illegal_option_lengths_are_survived() -> None:
    # MUST-7.
    peer = established()
    seg = Segment(
        80, 40000, (peer.peer_iss + 1) & 0xFFFFFFFF, (peer.conn.tcb.iss + 1) & 0xFFFFFFFF, 0x10, 1000, b"data"
    )
    seg.bad_options = True
    peer.raw(seg)
    # What came before the bad option was read; the segment itself is as good as any.
    assert peer.state == "ESTABLISHED"
    assert peer.received == b"data"


# ICMP


def test_a_port_unreachable_refuses_an_attempt_to_connect() -> None:
    # SHLD-26.
    peer = ScriptedPeer()
    peer.open()
    assert peer.conn.handle_icmp(peer.now, icmp.PORT_UNREACHABLE, peer.conn.tcb.iss)
    assert peer.state == "CLOSED"
    assert peer.conn.error == errno.ECONNREFUSED


@pytest.mark.requirement("SHLD-26")
def test_an_established_connection_takes_hard_errors_for_soft() -> None:
    # RFC 5927 section 5.2.
    peer = established()
    peer.send(b"x")
    peer.conn.handle_icmp(peer.now, icmp.PORT_UNREACHABLE, peer.conn.tcb.iss + 1)
    peer.output()
    assert peer.state == "ESTABLISHED"
    assert peer.events & EVENT_SOFT_ERROR
    assert peer.conn.soft_error == errno.ECONNREFUSED


@pytest.mark.requirement("MUST-47")
@pytest.mark.parametrize(
    ("kind", "error"),
    [
        (icmp.NETWORK_UNREACHABLE, errno.ENETUNREACH),
        (icmp.HOST_UNREACHABLE, errno.EHOSTUNREACH),
        (icmp.TIME_EXCEEDED, errno.EHOSTUNREACH),
        (icmp.PARAMETER_PROBLEM, errno.EPROTO),
    ],
)
def test_soft_errors_do_not_end_a_connection_but_explain_its_end(kind: int, error: int) -> None:
    # MUST-47, MUST-56, SHLD-25.
    peer = established(r2=100 * SECOND)
    peer.send(b"x")
    assert peer.conn.handle_icmp(peer.now, kind, peer.conn.tcb.iss + 1)
    assert peer.state == "ESTABLISHED"
    assert peer.conn.soft_error == error
    peer.advance(300 * SECOND)
    assert peer.state == "CLOSED"
    assert peer.conn.error == error


def test_an_attempt_to_connect_ends_after_a_standing_soft_error() -> None:
    # RFC 5461 section 4.1; docs/deviations.md.
    peer = ScriptedPeer()
    peer.open()
    peer.conn.handle_icmp(peer.now, icmp.HOST_UNREACHABLE, peer.conn.tcb.iss)
    assert peer.state == "SYN_SENT"
    peer.advance(20 * SECOND)
    assert peer.state == "CLOSED"
    assert peer.conn.error == errno.EHOSTUNREACH


@pytest.mark.requirement("icmp-checks")
def test_messages_about_octets_not_in_flight_are_forged() -> None:
    # RFC 5927 section 4.1.
    peer = established()
    peer.send(bytes(100))
    iss = peer.conn.tcb.iss
    for seq in (iss, iss + 101, iss + 100_000, -1):
        assert not peer.conn.handle_icmp(peer.now, icmp.HOST_UNREACHABLE, seq)
        assert not peer.conn.handle_icmp(peer.now, icmp.FRAGMENTATION_NEEDED, seq, 600)
    assert peer.conn.soft_error == 0
    assert peer.counters.icmp_rejected == 8
    assert peer.conn.handle_icmp(peer.now, icmp.FRAGMENTATION_NEEDED, iss + 50, 600)


def test_source_quench_is_discarded() -> None:
    # MUST-55.
    peer = established()
    peer.send(bytes(100))
    cwnd = peer.conn.tcb.cc.cwnd
    assert not peer.conn.handle_icmp(peer.now, icmp.SOURCE_QUENCH, peer.conn.tcb.iss + 1)
    assert peer.conn.tcb.cc.cwnd == cwnd
    assert peer.conn.soft_error == 0


def test_progress_clears_a_soft_error() -> None:
    peer = established()
    peer.send(bytes(100))
    peer.conn.handle_icmp(peer.now, icmp.HOST_UNREACHABLE, peer.conn.tcb.iss + 1)
    peer.advance(10 * MILLISECOND)
    peer.segment(".", ack=101)
    assert peer.conn.soft_error == 0


@pytest.mark.requirement("reassembly-memory")
def test_segments_of_any_kind_leave_memory_bounded() -> None:
    peer = established(rcv_buf=5000)
    peer.reads = False
    for i in range(3000):
        peer.segment(".", seq=3 + 2 * i, ack=1, data=b"x")
    t = peer.conn.tcb
    assert t.reassembly.memory() + t.rcv_queued <= 2 * 5000 + 200
