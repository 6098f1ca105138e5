"""Agreeing on explicit congestion notification: RFC 3168 section 6.1.1, RFC 9768 section 3.1."""

from __future__ import annotations

import errno

import pytest

from plankroad.tcp.cc.base import CongestionControl
from plankroad.tcp.cc.registry import register
from plankroad.tcp.config import TcpConfig
from plankroad.tcp.ecnstate import ACCECN, CLASSIC, NOT_ECN
from plankroad.testing.pair import Pair
from plankroad.testing.scripted import ScriptedPeer, flags_of
from plankroad.units import MILLISECOND, SECOND
from plankroad.wire.segment import ACE, ACE_SHIFT, Segment
from plankroad.wire.tcp import options_length

NOT_ECT, ECT1, ECT0, CE = 0, 1, 2, 3
DATA = b"x" * 1000


def mode(peer: ScriptedPeer) -> int:
    e = peer.conn.tcb.ecn
    return NOT_ECN if e is None else e.mode


def options(peer: ScriptedPeer) -> str:
    return str(peer.conn.info(peer.now)["options"])


def bits(seg: Segment) -> str:
    """(AE,CWR,ECE) as the RFC writes them."""
    return f"{(seg.flags & ACE) >> ACE_SHIFT:03b}"


def letters(ace: str) -> str:
    return "".join(letter for letter, bit in zip("eWE", ace, strict=True) if bit == "1")


def client(
    ecn: str, answer: str, tos: int = 0, accecn: tuple[int, int, int] | None = None
) -> tuple[ScriptedPeer, Segment]:
    """A connection that asked, and got a SYN,ACK with the flags `answer`; and the ACK it sent."""
    peer = ScriptedPeer(TcpConfig(ecn=ecn, nagle="off"))
    peer.open()
    peer.advance(100 * MILLISECOND)
    (ack,) = peer.segment("S." + letters(answer), seq=0, ack=1, mss=1460, sack_ok=True, tos=tos, accecn=accecn)
    assert peer.state == "ESTABLISHED"
    return peer, ack


def server(ecn: str, syn: str, tos: int = 0) -> tuple[ScriptedPeer, Segment]:
    """A connection that a SYN with the flags `syn` made; and the SYN,ACK it sent."""
    peer = ScriptedPeer(TcpConfig(ecn=ecn, nagle="off"))
    peer.listen()
    (answer,) = peer.segment("S" + letters(syn), seq=0, mss=1460, sack_ok=True, tos=tos)
    assert flags_of(answer)[:2] == "S."
    return peer, answer


def ect(peer: ScriptedPeer) -> bool:
    """Is new data sent as ECN-capable?"""
    (seg,) = peer.send(DATA)
    return seg.tos == ECT0


@pytest.mark.parametrize(("ecn", "flags"), [("off", "000"), ("passive", "000"), ("on", "011"), ("accecn", "111")])
def test_a_syn_asks_for_what_is_configured(ecn: str, flags: str) -> None:
    """RFC 3168 section 6.1.1: an ECN-setup SYN; RFC 9768 section 3.1.1."""
    peer = ScriptedPeer(TcpConfig(ecn=ecn))
    (syn,) = peer.open()
    assert bits(syn) == flags
    assert syn.tos == NOT_ECT  # RFC 3168: "A host MUST NOT set ECT on SYN or SYN-ACK packets."
    assert syn.accecn is None  # RFC 9768 section 3.2.3.2.1


@pytest.mark.parametrize(
    ("answer", "expected", "mangled"),
    [
        # RFC 9768 table 2, its rows in order.
        ("010", ACCECN, False),
        ("011", ACCECN, True),  # our SYN, sent as not-ECT, came with ECT(1)
        ("100", ACCECN, True),
        ("110", ACCECN, True),
        ("101", ACCECN, False),  # reserved: section 3.1.3
        ("001", CLASSIC, False),
        ("000", NOT_ECN, False),
        ("111", NOT_ECN, False),  # broken: our flags reflected
    ],
)
def test_a_client_that_asked_for_accurate_ecn_takes_what_the_server_has(
    answer: str, expected: int, mangled: bool
) -> None:
    """RFC 9768 section 3.1.2, table 2."""
    peer, _ = client("accecn", answer)
    assert mode(peer) == expected
    assert peer.counters.ecn_mangled == int(mangled)
    assert peer.counters.ecn_refused == int(expected == NOT_ECN)
    assert peer.counters.ecn_classic == int(expected == CLASSIC)
    assert peer.counters.ecn_accurate == int(expected == ACCECN)
    assert (
        options(peer).split()[1:] == [["ecn"], ["accecn"]][expected - 1] if expected else "ecn" not in options(peer)
    )
    # Section 3.2.2.3: where the handshake shows mangling the client is advised to send not-ECT.
    assert ect(peer) == (expected != NOT_ECN and not mangled)


def test_a_congested_syn_is_answered_by_a_smaller_window() -> None:
    """RFC 9768 section 3.2.2.2: "the TCP Client still triggers the congestion control actions", s.cep stays."""
    calm, _ = client("accecn", "010")
    peer, _ = client("accecn", "110")
    assert peer.conn.tcb.cc.cwnd < calm.conn.tcb.cc.cwnd
    assert peer.conn.tcb.ecn is not None
    assert peer.conn.tcb.ecn.s_cep == 5


@pytest.mark.parametrize(
    ("answer", "expected"), [("001", CLASSIC), ("101", CLASSIC), ("000", 0), ("011", 0), ("111", 0)]
)
def test_a_client_that_asked_for_classic_ecn(answer: str, expected: int) -> None:
    """RFC 3168 section 6.1.1: "a SYN-ACK packet with only the ECE flag set but the CWR flag not set"."""
    peer, ack = client("on", answer)
    assert mode(peer) == expected
    assert bits(ack) == "000"
    assert ect(peer) == (expected == CLASSIC)


@pytest.mark.parametrize("ecn", ["off", "passive"])
@pytest.mark.parametrize("answer", ["001", "010", "111"])
def test_a_client_that_did_not_ask_gets_none(ecn: str, answer: str) -> None:
    peer, ack = client(ecn, answer)
    assert mode(peer) == NOT_ECN
    assert bits(ack) == "000"
    assert not ect(peer)


@pytest.mark.parametrize("ecn", ["passive", "on", "accecn"])
@pytest.mark.parametrize(
    ("syn", "tos", "answer", "expected"),
    [
        # RFC 9768 table 2: the first block, by the IP-ECN field of the SYN; the third.
        ("111", NOT_ECT, "010", ACCECN),
        ("111", ECT1, "011", ACCECN),
        ("111", ECT0, "100", ACCECN),
        ("111", CE, "110", ACCECN),
        ("011", NOT_ECT, "001", CLASSIC),
        ("000", NOT_ECT, "000", NOT_ECN),
        ("000", CE, "000", NOT_ECN),
        # Section 3.1.3: any other combination is as (1,1,1).
        ("001", NOT_ECT, "010", ACCECN),
        ("010", NOT_ECT, "010", ACCECN),
        ("100", NOT_ECT, "010", ACCECN),
        ("101", NOT_ECT, "010", ACCECN),
        ("110", ECT0, "100", ACCECN),
    ],
)
def test_a_server_agrees_to_what_the_syn_asks_for(ecn: str, syn: str, tos: int, answer: str, expected: int) -> None:
    """RFC 9768 sections 3.1.1 to 3.1.3."""
    peer, syn_ack = server(ecn, syn, tos)
    assert bits(syn_ack) == answer
    assert mode(peer) == expected
    assert syn_ack.tos == NOT_ECT
    assert syn_ack.accecn == ((1, 0, 1) if expected == ACCECN else None)


def test_a_fast_open_cookie_goes_before_an_accecn_option() -> None:
    """RFC 9768 section 3.2.3.2.1: it may be omitted "due to insufficient option space"; section 3.2.3: or be empty."""
    peer = ScriptedPeer(TcpConfig(fast_open_queue=1))
    peer.listen()
    peer.ts = True
    (syn_ack,) = peer.segment("SeWE", seq=0, mss=1460, sack_ok=True, wscale=7, fast_open=b"")
    assert len(syn_ack.fast_open or b"") == 8
    assert syn_ack.accecn == (-1, -1, -1)
    assert options_length(syn_ack) == 36


@pytest.mark.parametrize("syn", ["011", "111", "100"])
def test_a_server_that_is_off_agrees_to_nothing(syn: str) -> None:
    peer, syn_ack = server("off", syn)
    assert bits(syn_ack) == "000"
    assert mode(peer) == NOT_ECN


@pytest.mark.parametrize(
    ("tos", "ace", "r_cep"), [(NOT_ECT, "010", 5), (ECT1, "011", 5), (ECT0, "100", 5), (CE, "110", 6)]
)
def test_the_last_ack_of_the_handshake_tells_how_the_syn_ack_came(tos: int, ace: str, r_cep: int) -> None:
    """RFC 9768 section 3.2.2.1, table 3."""
    peer, ack = client("accecn", "010", tos)
    assert bits(ack) == ace
    assert ack.accecn == (1, 0, 1)  # section 3.2.3.2.1: a test of the path
    assert peer.conn.tcb.ecn is not None
    assert peer.conn.tcb.ecn.r_cep == r_cep
    # From here on it is a counter; and the first data has an option too.
    first, *_ = peer.send(DATA)
    assert bits(first) == f"{r_cep:03b}"
    assert first.accecn == (1, 0, 1)
    second, *_ = peer.send(DATA)
    assert second.accecn is None


def test_that_ack_goes_before_data_that_waits() -> None:
    """RFC 9768 section 3.2.2.1: "it SHOULD first send a pure ACK"."""
    peer = ScriptedPeer(TcpConfig(ecn="accecn"))
    peer.open()
    peer.conn.send(peer.now, DATA)
    ack, data = peer.segment("S.W", seq=0, ack=1, mss=1460, sack_ok=True)
    assert (flags_of(ack), ack.payload) == (".W", b"")
    assert (bits(data), data.payload) == ("101", DATA)


def test_a_repeated_syn_ack_is_answered_by_how_it_came_itself() -> None:
    """RFC 9768 section 3.2.2.1: "the pure ACK of any retransmitted SYN/ACK"; section 3.2.2.2: r.cep goes up once."""
    peer, _ = client("accecn", "010")
    for _ in range(2):
        (ack,) = peer.segment("S.W", seq=0, ack=1, mss=1460, sack_ok=True, tos=CE)
        assert bits(ack) == "110"
    (ack,) = peer.segment("S.W", seq=0, ack=1, mss=1460, sack_ok=True, tos=ECT0)
    assert bits(ack) == "100"
    assert peer.conn.tcb.ecn is not None
    assert peer.conn.tcb.ecn.r_cep == 6


@pytest.mark.parametrize(
    ("ace", "s_cep", "sends_ect", "responds"),
    [
        # RFC 9768 table 4.
        ("000", 5, False, False),
        ("001", 5, True, True),
        ("010", 5, True, True),
        ("011", 5, False, True),
        ("100", 5, False, True),
        ("101", 5, True, True),
        ("110", 6, False, True),
        ("111", 5, True, True),
    ],
)
def test_a_server_reads_the_last_ack_of_the_handshake(ace: str, s_cep: int, sends_ect: bool, responds: bool) -> None:
    """RFC 9768 section 3.2.2.1, table 4; section 3.2.2.3: our SYN,ACK was not-ECT, and should have come so."""
    peer, _ = server("passive", "111")
    assert peer.segment("." + letters(ace), seq=1, ack=1, accecn=(1, 0, 1)) == []
    e = peer.conn.tcb.ecn
    assert peer.state == "ESTABLISHED"
    assert e is not None
    assert (e.mode, e.s_cep, e.responds) == (ACCECN, s_cep, responds)
    assert ect(peer) == sends_ect
    assert peer.counters.ecn_mangled == int(not sends_ect)


def test_a_congested_syn_ack_is_answered_by_a_smaller_window() -> None:
    """RFC 9768 section 3.2.2.2: "The TCP Server then triggers the congestion control actions"."""
    peer, _ = server("passive", "111")
    window = peer.conn.tcb.cc.cwnd
    peer.segment(".eW", seq=1, ack=1)
    assert peer.conn.tcb.cc.cwnd < window


def test_data_on_the_last_ack_has_the_counter() -> None:
    """RFC 9768 section 3.2.2.1: the handshake encoding is on pure ACKs only."""
    peer, _ = server("passive", "111")
    peer.segment(".eW", seq=1, ack=1, data=b"early")
    e = peer.conn.tcb.ecn
    assert e is not None
    assert (e.s_cep, e.may_mark, bytes(peer.received)) == (6, True, b"early")


def test_an_accurate_syn_goes_without_after_two_tries() -> None:
    """RFC 9768 section 3.1.4.1: one more time, then with the flags cleared and the same sequence number."""
    peer = ScriptedPeer(TcpConfig(ecn="accecn"))
    syns = peer.open() + peer.next_timer() + peer.next_timer() + peer.next_timer()
    assert [bits(syn) for syn in syns] == ["111", "111", "000", "000"]
    assert {syn.seq for syn in syns} == {0}
    assert peer.counters.ecn_fallbacks == 1
    # An answer to an earlier one: the mode of the first SYN,ACK counts, and a client may set ECT.
    peer.segment("S.W", seq=0, ack=1, mss=1460, sack_ok=True)
    assert mode(peer) == ACCECN
    assert ect(peer)


def test_a_classic_syn_goes_without_after_two_tries_and_then_nothing_is_marked() -> None:
    """RFC 3168 section 6.1.1.1; section 6.1.1: ECT only if it "has sent no non-ECN-setup SYN"."""
    peer = ScriptedPeer(TcpConfig(ecn="on"))
    syns = peer.open() + peer.next_timer() + peer.next_timer()
    assert [bits(syn) for syn in syns] == ["011", "011", "000"]
    peer.segment("S.E", seq=0, ack=1, mss=1460, sack_ok=True)
    assert mode(peer) == CLASSIC
    assert not ect(peer)


def test_an_accurate_syn_ack_goes_without_option_then_without_flags() -> None:
    """RFC 9768 section 3.2.3.2.2; section 3.1.5: then it stays in the mode and sets no ECT."""
    peer, first = server("passive", "111")
    again = peer.next_timer() + peer.next_timer()
    assert [bits(seg) for seg in [first, *again]] == ["010", "010", "000"]
    assert [seg.accecn for seg in [first, *again]] == [(1, 0, 1), None, None]
    peer.segment(".W", seq=1, ack=1)
    assert mode(peer) == ACCECN
    assert not ect(peer)
    assert peer.counters.ecn_fallbacks == 1


def test_a_syn_ack_tells_of_the_latest_syn() -> None:
    """RFC 9768 section 3.1.5: "MUST feed back the IP-ECN field on the latest valid SYN"."""
    peer, _ = server("passive", "111")
    (again,) = peer.segment("SeWE", seq=0, mss=1460, sack_ok=True, tos=CE)
    assert (bits(again), again.accecn) == ("110", None)


def test_a_syn_without_flags_forbids_marking_to_an_accurate_server() -> None:
    """RFC 9768 section 3.1.5: it SHOULD answer with an AccECN SYN/ACK, and MUST NOT set ECT."""
    peer, _ = server("passive", "111")
    (again,) = peer.segment("S", seq=0, mss=1460, sack_ok=True)
    assert bits(again) == "010"
    peer.segment(".W", seq=1, ack=1)
    assert mode(peer) == ACCECN
    assert not ect(peer)


def test_a_server_without_ecn_stays_so() -> None:
    """RFC 9768 section 3.1.5: "even if the SYN is offering to negotiate"."""
    peer, _ = server("passive", "000")
    (again,) = peer.segment("SeWE", seq=0, mss=1460, sack_ok=True)
    assert bits(again) == "000"


@pytest.mark.parametrize(("first", "second"), [("111", "011"), ("011", "111")])
def test_a_syn_of_each_kind_resets(first: str, second: str) -> None:
    """RFC 9768 section 3.1.5: "MUST reset the connection with a RST packet"."""
    peer, _ = server("passive", first)
    (reset,) = peer.segment("S" + letters(second), seq=0, mss=1460, sack_ok=True)
    assert flags_of(reset)[0] == "R"
    assert peer.state == "CLOSED"
    assert peer.conn.error == errno.ECONNRESET


@pytest.mark.parametrize(
    ("ours", "theirs", "answer", "expected"),
    [
        ("accecn", "111", "010", ACCECN),
        ("accecn", "011", "001", CLASSIC),
        ("on", "111", "001", CLASSIC),  # the peer read (0,1,1) and does the same
        ("on", "011", "001", CLASSIC),
        ("passive", "111", "000", NOT_ECN),  # it read (0,0,0)
        ("accecn", "000", "000", NOT_ECN),
    ],
)
def test_simultaneous_open(ours: str, theirs: str, answer: str, expected: int) -> None:
    """RFC 9768 section 3.1.2: "the same feedback mode as it would have entered had it been a responding host"."""
    peer = ScriptedPeer(TcpConfig(ecn=ours))
    peer.open()
    (syn_ack,) = peer.segment("S" + letters(theirs), seq=0, mss=1460, sack_ok=True)
    assert bits(syn_ack) == answer
    out = peer.segment("S." + letters(answer), seq=0, ack=1, mss=1460, sack_ok=True)
    assert peer.state == "ESTABLISHED"
    assert mode(peer) == expected
    # No handshake encoding: the other end may be established, and reads a counter.
    assert [bits(seg) for seg in out] == (["101"] if expected == ACCECN else ["000"])
    assert ect(peer) == (expected != NOT_ECN)


@pytest.mark.requirement("SHLD-8")
@pytest.mark.parametrize("a", ["off", "passive", "on", "accecn"])
@pytest.mark.parametrize("b", ["off", "passive", "on", "accecn"])
def test_two_of_us_agree(a: str, b: str) -> None:
    pair = Pair(TcpConfig(ecn=a), TcpConfig(ecn=b))
    pair.connect()
    pair.a.send(b"x" * 100_000)
    pair.run()
    expected = {"off": NOT_ECN, "passive": NOT_ECN, "on": CLASSIC, "accecn": ACCECN}[a] if b != "off" else NOT_ECN
    for end in (pair.a, pair.b):
        e = end.conn.tcb.ecn
        assert (NOT_ECN if e is None else e.mode) == expected
    sent = [seg for _, seg in pair.a.sent if seg.payload]
    assert {seg.tos for seg in sent} == {ECT0 if expected else NOT_ECT}
    assert {seg.tos for _, seg in pair.b.sent} == {NOT_ECT}
    assert pair.b.received == b"x" * 100_000
    assert pair.a_counters.ecn_mangled == pair.b_counters.ecn_mangled == pair.a_counters.ecn_bleached == 0


# --- SYN cookies -----------------------------------------------------------------------------------------------------


def cookie_server(config: TcpConfig) -> ScriptedPeer:
    config.syn_backlog = 0
    peer = ScriptedPeer(config)
    peer.listen()
    return peer


def test_classic_ecn_survives_a_cookie_in_the_timestamp() -> None:
    peer = cookie_server(TcpConfig())
    peer.ts = True
    (reply,) = peer.segment("SWE", seq=0, mss=1460, sack_ok=True)
    assert bits(reply) == "001"
    peer.segment(".", seq=1, absolute_ack=(reply.seq + 1) & 0xFFFFFFFF, ts_ecr=reply.ts_val)
    assert peer.state == "ESTABLISHED"
    assert mode(peer) == CLASSIC
    assert ect(peer)


def test_without_timestamps_a_cookie_refuses_classic_ecn() -> None:
    """Better none than one that only the other end believes in."""
    peer = cookie_server(TcpConfig())
    (reply,) = peer.segment("SWE", seq=0, mss=1460, sack_ok=True)
    assert bits(reply) == "000"
    peer.segment(".", seq=1, absolute_ack=(reply.seq + 1) & 0xFFFFFFFF)
    assert mode(peer) == NOT_ECN
    assert not ect(peer)


@pytest.mark.parametrize("ts", [False, True])
@pytest.mark.parametrize(("tos", "answer"), [(NOT_ECT, "010"), (ECT1, "011"), (ECT0, "100"), (CE, "110")])
def test_accurate_ecn_survives_a_cookie_without_any_memory(ts: bool, tos: int, answer: str) -> None:
    """RFC 9768 section 5.1: the ACE field of the ACK tells that it was agreed to."""
    peer = cookie_server(TcpConfig())
    peer.ts = ts
    (reply,) = peer.segment("SeWE", seq=0, mss=1460, sack_ok=True, tos=tos)
    assert bits(reply) == answer
    assert reply.accecn == (1, 0, 1)
    assert options_length(reply) <= 40
    peer.segment(".W", seq=1, absolute_ack=(reply.seq + 1) & 0xFFFFFFFF, ts_ecr=reply.ts_val)
    e = peer.conn.tcb.ecn
    assert e is not None
    assert (e.mode, e.s_cep) == (ACCECN, 5)
    (seg,) = peer.send(DATA)
    assert (seg.tos, bits(seg)) == (ECT0, "101")


@pytest.mark.parametrize("ace", ["000", "001"])
def test_other_acks_of_a_cookie_are_not_accurate_ecn(ace: str) -> None:
    """RFC 9768 section 5.1: "these values indicate that the TCP Client did not request support for AccECN"."""
    peer = cookie_server(TcpConfig())
    (reply,) = peer.segment("S", seq=0, mss=1460)
    peer.segment("." + letters(ace), seq=1, absolute_ack=(reply.seq + 1) & 0xFFFFFFFF)
    assert mode(peer) == NOT_ECN


@pytest.mark.parametrize("syn", ["111", "011"])
def test_a_cookie_agrees_to_nothing_where_ecn_is_off(syn: str) -> None:
    peer = cookie_server(TcpConfig(ecn="off"))
    peer.ts = True
    (reply,) = peer.segment("S" + letters(syn), seq=0, mss=1460, sack_ok=True)
    assert bits(reply) == "000"


# --- configuration ---------------------------------------------------------------------------------------------------


class Marked(CongestionControl):
    """An algorithm that lives by marks."""

    def __init__(self, smss: int, initial_window: int) -> None:
        super().__init__(smss, initial_window)
        self.wants_ecn = True
        self.ecn_by_sample = True

    def avoid_congestion(self, sample: object, acked: int) -> None:
        self.cwnd += self.smss * acked // self.cwnd


register("test-wants-ecn", Marked)


@pytest.mark.parametrize(("ecn", "flags"), [("passive", "111"), ("off", "000"), ("on", "011"), ("accecn", "111")])
def test_an_algorithm_that_wants_ecn_asks_for_it(ecn: str, flags: str) -> None:
    peer = ScriptedPeer(TcpConfig(ecn=ecn, congestion_control="test-wants-ecn"))
    (syn,) = peer.open()
    assert bits(syn) == flags


def test_wrong_values_are_refused() -> None:
    with pytest.raises(ValueError, match='\'yes\'; it must be "off", "passive"'):
        TcpConfig(ecn="yes").validate()
    for tos in (1, 2, 3, 0xB9):
        with pytest.raises(ValueError, match="lower two bits"):
            TcpConfig(tos=tos).validate()
    TcpConfig(tos=0xB8).validate()


def test_marking_is_switched_off_and_on_while_a_connection_lives() -> None:
    peer, _ = client("on", "001")
    peer.conn.set_option(peer.now, "ecn", "off")
    assert not ect(peer)
    peer.conn.set_option(peer.now, "ecn", "on")
    assert ect(peer)
    other, _ = client("passive", "001")
    other.conn.set_option(other.now, "ecn", "on")
    assert not ect(other)  # never agreed


def test_the_diffserv_field_stays_beside_the_mark() -> None:
    peer = ScriptedPeer(TcpConfig(ecn="on", tos=0xB8))
    peer.open()
    peer.segment("S.E", seq=0, ack=1, mss=1460)
    (seg,) = peer.send(DATA)
    assert seg.tos == 0xB8 | ECT0


def test_a_syn_in_time_wait_negotiates_anew() -> None:
    """RFC 3168 section 6.1.1: "it should ignore any previous state about the negotiation of ECN"."""
    peer, _ = client("accecn", "010")
    peer.close()
    peer.segment("F.eE", seq=1, ack=2)
    assert peer.state == "TIME_WAIT"
    peer.advance(SECOND)
    again = Segment(80, 40000, peer.peer_iss + 100_000, 0, 0x02, 65535)
    assert peer.conn.may_reuse(peer.now, again)
