"""An expectation is met by what it says and by nothing else: for each kind one packet that must pass, and those that
differ in one thing and must not."""

from __future__ import annotations

import pytest

from plankroad.packetdrill.flow import pattern
from plankroad.packetdrill.match import (
    PUSHED_BURSTS,
    PUSHED_NEVER,
    PUSHED_UNSEEN,
    Arrival,
    Expectation,
    Row,
    compare,
    side_by_side,
)
from plankroad.packetdrill.packets import build
from plankroad.packetdrill.seen import see
from plankroad.wire.errors import BadPacket

from .wiring import ISN, LOCAL, PEER_ISN, REMOTE, flow_of, packet_of, sent

pytestmark = pytest.mark.either


def wrong(expected: str, came: bytes, version: int = 4, **settings: int) -> list[str]:
    """The names of what differs."""
    rows = compare(packet_of("> " + expected), see(came), flow_of(version, **settings))
    return [row.name for row in rows if not row.same]


#: What is expected, and what is sent: right, and each wrong with what it is wrong in.
CASES: list[tuple[str, str, list[tuple[str, str]]]] = [
    (
        "P. 1:1001(1000) ack 1",
        "P. 1:1001(1000) ack 1 win 65535",
        [
            ("flags", ". 1:1001(1000) ack 1"),
            ("flags", "FP. 1:1001(1000) ack 1"),
            ("flags", "UP. 1:1001(1000) ack 1"),
            ("flags", "EP. 1:1001(1000) ack 1"),
            ("flags", "WP. 1:1001(1000) ack 1"),
            ("flags", "AP. 1:1001(1000) ack 1"),
            ("flags ack", "P 1:1001(1000)"),
            ("sequence", "P. 2:1002(1000) ack 1"),
            ("sequence", "P. 0:1000(1000) ack 1"),
            ("sequence", "P. 1:1000(999) ack 1"),
            ("sequence", "P. 1:1002(1001) ack 1"),
            ("sequence", "P. 1:1(0) ack 1"),
            ("ack", "P. 1:1001(1000) ack 2"),
            ("ack", "P. 1:1001(1000) ack 0"),
            ("urgent", "P. 1:1001(1000) ack 1 urg 1"),
            ("options", "P. 1:1001(1000) ack 1 <nop,nop,nop,nop>"),
            ("options", "P. 1:1001(1000) ack 1 <nop,nop,TS val 1 ecr 0>"),
        ],
    ),
    (
        "S. 0:0(0) ack 501 <mss 1460,nop,nop,sackOK,nop,wscale 7>",
        "S. 0:0(0) ack 501 win 65535 <mss 1460,nop,nop,sackOK,nop,wscale 7>",
        [
            ("flags ack", "S 0:0(0) <mss 1460,nop,nop,sackOK,nop,wscale 7>"),
            ("flags ack", ". 0:0(0) ack 1 <mss 1460,nop,nop,sackOK,nop,wscale 7>"),
            ("ack", "S. 0:0(0) ack 500 <mss 1460,nop,nop,sackOK,nop,wscale 7>"),
            ("sequence", "S. 1:1(0) ack 501 <mss 1460,nop,nop,sackOK,nop,wscale 7>"),
            ("options", "S. 0:0(0) ack 501 <mss 1461,nop,nop,sackOK,nop,wscale 7>"),
            ("options", "S. 0:0(0) ack 501 <mss 1460,nop,nop,sackOK,nop,wscale 8>"),
            ("options", "S. 0:0(0) ack 501 <mss 1460,sackOK,nop,nop,nop,wscale 7>"),
            ("options", "S. 0:0(0) ack 501 <mss 1460,nop,nop,sackOK>"),
            ("options", "S. 0:0(0) ack 501 <nop,nop,sackOK,nop,wscale 7>"),
            ("options", "S. 0:0(0) ack 501 <mss 1460,nop,nop,sackOK,wscale 7,eol>"),
            ("options", "S. 0:0(0) ack 501 <mss 1460,nop,nop,sackOK,nop,wscale 7,nop,nop,nop,nop>"),
            ("options", "S. 0:0(0) ack 501"),
        ],
    ),
    (
        ". 1:1(0) ack 1 win 229",
        ". 1:1(0) ack 1 win 229",
        [("window", ". 1:1(0) ack 1 win 230"), ("window", ". 1:1(0) ack 1 win 0")],
    ),
    (
        ". 1:1(0) ack 1 <nop,nop,sack 1001:2001 3001:4001>",
        ". 1:1(0) ack 1 <nop,nop,sack 1001:2001 3001:4001>",
        [
            ("options", ". 1:1(0) ack 1 <nop,nop,sack 3001:4001 1001:2001>"),
            ("options", ". 1:1(0) ack 1 <nop,nop,sack 1001:2001>"),
            ("options", ". 1:1(0) ack 1 <nop,nop,sack 1001:2002 3001:4001>"),
            ("options", ". 1:1(0) ack 1 <nop,nop,sack 1000:2001 3001:4001>"),
            ("options", ". 1:1(0) ack 1 <sack 1001:2001 3001:4001,nop,nop>"),
        ],
    ),
    (
        ". 1:1(0) ack 1 <nop,nop,TS val 100 ecr 700>",
        ". 1:1(0) ack 1 <nop,nop,TS val 123456 ecr 700>",
        [
            ("options", ". 1:1(0) ack 1 <nop,nop,TS val 100 ecr 701>"),
            ("options", ". 1:1(0) ack 1 <TS val 100 ecr 700,nop,nop>"),
            ("options", ". 1:1(0) ack 1"),
        ],
    ),
    (
        "U. 1:11(10) ack 1 urg 5",
        "U. 1:11(10) ack 1 urg 5",
        [("urgent", "U. 1:11(10) ack 1 urg 6"), ("urgent", "U. 1:11(10) ack 1"), ("flags", ". 1:11(10) ack 1 urg 5")],
    ),
    ("R 1:1(0)", "R 1:1(0)", [("flags ack", "R. 1:1(0) ack 1"), ("ack", "R 1:1(0) ack 7"), ("sequence", "R 2:2(0)")]),
    ("- 1:1(0)", "- 1:1(0)", [("flags", "P 1:1(0)"), ("flags", "A 1:1(0)")]),
    (
        "5. 1:1(0) ack 1",
        "EA. 1:1(0) ack 1",
        [
            ("flags", "E. 1:1(0) ack 1"),
            ("flags", "EWA. 1:1(0) ack 1"),
            ("flags", "EAP. 1:1(0) ack 1"),
            ("flags", ". 1:1(0) ack 1"),
        ],
    ),
    (
        "EA. 1:1(0) ack 1",
        "5. 1:1(0) ack 1",
        [("flags", "4. 1:1(0) ack 1"), ("flags", "1. 1:1(0) ack 1"), ("flags", "7. 1:1(0) ack 1")],
    ),
    (
        ". 1:1(0) ack 1 <ECN e1b 1001 ceb 0,nop,nop,nop,nop>",
        ". 1:1(0) ack 1 <ECN e1b 1001 ceb 0,nop,nop,nop,nop>",
        [
            ("options", ". 1:1(0) ack 1 <ECN e1b 1002 ceb 0,nop,nop,nop,nop>"),
            ("options", ". 1:1(0) ack 1 <ECN e0b 1001 ceb 0,nop,nop,nop,nop>"),
            ("options", ". 1:1(0) ack 1 <ECN e1b 1001 ceb 0 e0b 1,nop>"),
            ("options", ". 1:1(0) ack 1 <ECN e1b 1001,nop,nop,nop,nop,nop,nop,nop>"),
        ],
    ),
    (
        "S 0:0(0) <FO 0123abcd,nop,nop>",
        "S 0:0(0) <FO 0123abcd,nop,nop>",
        [
            ("options", "S 0:0(0) <FO 0123abce,nop,nop>"),
            ("options", "S 0:0(0) <FO 0123ab,nop,nop,nop>"),
            ("options", "S 0:0(0) <FOEXP 0123abcd>"),
            ("options", "S 0:0(0) <FO,nop,nop>"),
        ],
    ),
    (
        ". 1:1(0) ack 1 <md5 000102030405060708090a0b0c0d0e0f,nop,nop>",
        ". 1:1(0) ack 1 <md5 000102030405060708090a0b0c0d0e0f,nop,nop>",
        [("options", ". 1:1(0) ack 1 <md5 000102030405060708090a0b0c0d0e10,nop,nop>")],
    ),
    (
        ". 1:1(0) ack 1 <raw fd04beef>",
        ". 1:1(0) ack 1 <raw fd04beef>",
        [("options", ". 1:1(0) ack 1 <raw fd04beee>"), ("options", ". 1:1(0) ack 1 <raw fc04beef>")],
    ),
    (
        "[ect0] . 1:1(0) ack 1",
        "[ect0, ttl 12] . 1:1(0) ack 1",
        [
            ("ecn", "[ect1] . 1:1(0) ack 1"),
            ("ecn", "[ce] . 1:1(0) ack 1"),
            ("ecn", "[noecn] . 1:1(0) ack 1"),
        ],
    ),
    ("[ect1] . 1:1(0) ack 1", "[ect1] . 1:1(0) ack 1", [("ecn", "[ect0] . 1:1(0) ack 1")]),
    ("[ect01] . 1:1(0) ack 1", "[ect1] . 1:1(0) ack 1", [("ecn", "[ce] . 1:1(0) ack 1"), ("ecn", ". 1:1(0) ack 1")]),
    ("[ce] . 1:1(0) ack 1", "[ce] . 1:1(0) ack 1", [("ecn", "[ect0] . 1:1(0) ack 1")]),
    ("[noecn] . 1:1(0) ack 1", "[tos 0x10] . 1:1(0) ack 1", [("ecn", "[ect0] . 1:1(0) ack 1")]),
    (
        "[tos 0x12] . 1:1(0) ack 1",
        "[tos 0x12] . 1:1(0) ack 1",
        [
            ("tos", "[tos 0x10] . 1:1(0) ack 1"),
            ("tos", "[tos 0x16] . 1:1(0) ack 1"),
            ("tos", "[ect0] . 1:1(0) ack 1"),
        ],
    ),
    ("[ttl 64] . 1:1(0) ack 1", ". 1:1(0) ack 1", [("ttl", "[ttl 63] . 1:1(0) ack 1")]),
    (
        "8081 > 40002 . 1:1(0) ack 1",
        "8081 > 40002 . 1:1(0) ack 1",
        [
            ("ports", "8080 > 40002 . 1:1(0) ack 1"),
            ("ports", "8081 > 40001 . 1:1(0) ack 1"),
            ("ports", ". 1:1(0) ack 1"),
        ],
    ),
    (
        ". 1:1(0) ack 1",
        ". 1:1(0) ack 1",
        [("ports", "8080 > 40002 . 1:1(0) ack 1"), ("ports", "80 > 40001 . 1:1(0) ack 1")],
    ),
    ("udp (100)", "udp (100)", [("length", "udp (99)"), ("length", "udp (0)"), ("packet", "R 1:1(0)")]),
    (". 1:1(0) ack 1 <nop,nop,nop,nop>", ". 1:1(0) ack 1 <nop,nop,nop,nop>", [("options", ". 1:1(0) ack 1")]),
    ("udp 53 > 4000 (100)", "udp 53 > 4000 (100)", [("ports", "udp 53 > 4001 (100)"), ("ports", "udp (100)")]),
    (
        "icmp unreachable port_unreachable",
        "icmp unreachable port_unreachable [udp (5)]",
        [
            ("icmp", "icmp unreachable host_unreachable [udp (5)]"),
            ("icmp", "icmp unreachable [udp (5)]"),
            ("icmp", "icmp time_exceeded [udp (5)]"),
            ("packet", ". 1:1(0) ack 1"),
        ],
    ),
    (
        "icmp unreachable frag_needed mtu 1400 [1:1001(1000)]",
        "icmp unreachable frag_needed mtu 1400 [1:1001(1000)]",
        [
            ("mtu", "icmp unreachable frag_needed mtu 1401 [1:1001(1000)]"),
            ("quote", "icmp unreachable frag_needed mtu 1400 [2:1002(1000)]"),
            ("quote", "icmp unreachable frag_needed mtu 1400 [udp (1000)]"),
        ],
    ),
    (
        "icmp unreachable [udp (100)]",
        "icmp unreachable [udp (100)]",
        [
            ("quote", "icmp unreachable [udp (101)]"),
            ("quote", "icmp unreachable [raw (108)]"),
            ("quote", "icmp unreachable [1:1(0)]"),
        ],
    ),
    (
        "icmp unreachable [raw (30)]",
        "icmp unreachable [raw (30)]",
        [("quote", "icmp unreachable [raw (31)]"), ("quote", "icmp unreachable [udp (22)]")],
    ),
    (
        "icmp echo_reply id 7 [raw (56)]",
        "icmp echo_reply id 7 [raw (56)]",
        [
            ("id", "icmp echo_reply id 8 [raw (56)]"),
            ("length", "icmp echo_reply id 7 [raw (55)]"),
            ("icmp", "icmp echo_request id 7 [raw (56)]"),
        ],
    ),
]
RIGHT = [(expected, came) for expected, came, _ in CASES]
WRONG = [(expected, came, names) for expected, _, bad in CASES for names, came in bad]


@pytest.mark.parametrize(("expected", "came"), RIGHT)
def test_what_is_expected_passes(expected: str, came: str) -> None:
    assert wrong(expected, sent(came)) == []


@pytest.mark.parametrize(("expected", "came", "names"), WRONG)
def test_what_differs_in_one_thing_does_not_pass(expected: str, came: str, names: str) -> None:
    assert wrong(expected, sent(came)) == names.split()


def test_any_options_pass_for_the_wildcard_and_nothing_else() -> None:
    for options in ("", " <mss 1460>", " <nop,nop,TS val 1 ecr 2>"):
        assert wrong(". 1:1(0) ack 1 <...>", sent(f". 1:1(0) ack 1{options}")) == []
    assert wrong(". 1:1(0) ack 1 <...>", sent(". 1:1(0) ack 2")) == ["ack"]


def test_padding_is_part_of_the_options() -> None:
    # RFC 9293 section 3.1: the padding is zeros; NOP is another byte.
    assert wrong(". 1:1(0) ack 1 <sackOK>", sent(". 1:1(0) ack 1 <sackOK,eol,eol>")) == []
    assert wrong(". 1:1(0) ack 1 <sackOK>", sent(". 1:1(0) ack 1 <sackOK,nop,nop>")) == ["options"]


@pytest.mark.parametrize("at", [0, 4, 8, 10, 16, 20, 30, 35, 36, 40])
def test_a_flipped_bit_anywhere_does_not_pass(at: int) -> None:
    packet = bytearray(sent("P. 1:11(10) ack 1"))
    assert wrong("P. 1:11(10) ack 1", bytes(packet)) == []
    packet[at] ^= 0x40
    try:
        seen = see(bytes(packet))
    except BadPacket:
        return
    rows = compare(packet_of("> P. 1:11(10) ack 1"), seen, flow_of())
    assert any(not row.same for row in rows)


@pytest.mark.parametrize(("version", "word"), [(4, "bad_ip_sum"), (4, "bad_sum"), (6, "bad_sum")])
def test_a_wrong_checksum_does_not_pass(version: int, word: str) -> None:
    for text in (". 1:2(1) ack 1", "udp (7)", "icmp echo_reply id 1 [raw (9)]"):
        came = sent(f"[{word}] {text}", version)
        assert wrong(text, came, version) == ["integrity"], text
        assert wrong(text, sent(text, version), version) == [], text


def test_reserved_bits_must_be_zero() -> None:
    packet = bytearray(sent(". 1:1(0) ack 1"))
    packet[32] |= 0x02
    value = int.from_bytes(packet[36:38], "big") - 0x0200
    packet[36:38] = (value if value > 0 else value + 0xFFFF).to_bytes(2, "big")
    assert wrong(". 1:1(0) ack 1", bytes(packet)) == ["reserved bits"]


def test_other_ends_do_not_pass() -> None:
    for first, second in ((LOCAL[4], REMOTE[4]), (REMOTE[4], LOCAL[4])):
        flow = flow_of()
        flow.local, flow.remote = first, second
        rows = compare(packet_of("> . 1:1(0) ack 1"), see(sent(". 1:1(0) ack 1")), flow)
        assert [row.name for row in rows if not row.same] == ([] if first == LOCAL[4] else ["addresses"])
    assert wrong(". 1:1(0) ack 1", sent(". 1:1(0) ack 1", 6), 4) == ["packet"]
    assert wrong(". 1:1(0) ack 1", sent(". 1:1(0) ack 1", 6), 6) == []


def test_ip_options_do_not_pass() -> None:
    packet = sent(". 1:1(0) ack 1")
    longer = bytearray(packet[:20] + b"\1\1\1\0" + packet[20:])
    longer[0], longer[3] = 0x46, longer[3] + 4
    longer[10:12] = b"\0\0"
    total = sum(int.from_bytes(longer[i : i + 2], "big") for i in range(0, 24, 2))
    longer[10:12] = (0xFFFF - (total % 65535)).to_bytes(2, "big")
    assert wrong(". 1:1(0) ack 1", bytes(longer)) == ["ip options"]


# Sequence numbers.


def test_the_first_syn_tells_the_initial_number_and_no_later_one_does() -> None:
    flow = flow_of(handshake=False, active=True)
    flow.local_port = 0
    syn = packet_of("> S 100:100(0)")
    assert all(row.same for row in compare(syn, see(sent("S 100:100(0)")), flow))
    assert (flow.script_isn, flow.live_isn) == (100, (ISN + 100) & 0xFFFFFFFF)
    assert flow.local_port == 8080
    assert all(row.same for row in compare(syn, see(sent("S 100:100(0)")), flow))
    assert [row.name for row in compare(syn, see(sent("S 101:101(0)")), flow) if not row.same] == ["sequence"]


def test_numbers_of_syns_are_absolute_and_all_others_relative() -> None:
    # With initial numbers 0 on the script's side and 500 on the peer's, whose first byte is 1 as well.
    flow = flow_of()
    assert all(row.same for row in compare(packet_of("> S. 0:0(0) ack 501"), see(sent("S. 0:0(0) ack 501")), flow))
    assert all(row.same for row in compare(packet_of("> . 1:1(0) ack 1"), see(sent(". 1:1(0) ack 1")), flow))
    wire = see(sent(". 1:1(0) ack 1"))
    assert (wire.seq, wire.ack) == ((ISN + 1) & 0xFFFFFFFF, PEER_ISN + 1)


def test_numbers_wrap() -> None:
    assert wrong(". 4294967295:9(10) ack 1", sent(". 4294967295:9(10) ack 1")) == []
    assert wrong(". 1001:2001(1000) ack 4294967295", sent(". 1001:2001(1000) ack 4294967295")) == []


# Timestamps.


def test_timestamps_are_compared_from_the_first_seen_on_where_the_tick_is_known() -> None:
    flow = flow_of(tick=1_000_000)

    def names(expected: int, came: int) -> list[str]:
        packet = packet_of(f"> . 1:1(0) ack 1 <nop,nop,TS val {expected} ecr 5>")
        rows = compare(packet, see(sent(f". 1:1(0) ack 1 <nop,nop,TS val {came} ecr 5>")), flow, tolerance=4_000_000)
        return [row.name for row in rows if not row.same]

    assert names(100, 4294967290) == []
    assert names(110, 4) == []
    assert names(110, 8) == []
    assert names(110, 9) == ["options"]
    assert names(110, 0) == []
    assert names(111, 0) == ["options"]


def test_an_echo_is_what_the_stack_really_sent() -> None:
    flow = flow_of()
    expected = packet_of("> . 1:1(0) ack 1 <nop,nop,TS val 100 ecr 5>")
    assert all(row.same for row in compare(expected, see(sent(". 1:1(0) ack 1 <nop,nop,TS val 7777 ecr 5>")), flow))
    echo = see(build(packet_of("< . 1:1(0) ack 1 win 9 <nop,nop,TS val 6 ecr 100>"), flow))
    assert int.from_bytes(echo.options[8:12], "big") == 7777


# Flow labels.


def test_flow_labels_are_compared_with_each_other() -> None:
    flow = flow_of(6)

    def same(expected: str, came: str) -> bool:
        rows = compare(packet_of(f"> [flowlabel {expected}] . 1:1(0) ack 1"), see(label(came)), flow)
        return all(row.same for row in rows)

    def label(number: str) -> bytes:
        return sent(f"[flowlabel {number}] . 1:1(0) ack 1", 6)

    assert not same("0x1", "0x0")
    assert same("0x1", "0x777")
    assert same("0x1", "0x777")
    assert not same("0x1", "0x778")
    assert not same("0x2", "0x777")
    flow.label_script, flow.label_wire = 1, 0x777
    assert same("0x2", "0x778")
    assert same("0x2", "0x778")
    assert same("0x0", "0x0")
    assert not same("0x0", "0x1")
    assert wrong("[flowlabel 0x0] . 1:1(0) ack 1", sent(". 1:1(0) ack 1")) == ["flowlabel"]
    assert wrong("[flowlabel 0x1] . 1:1(0) ack 1", sent(". 1:1(0) ack 1")) == ["flowlabel"]


# Super-segments.


def offer(
    expected: list[str], came: list[str], strict: bool = False, pushed: int = PUSHED_NEVER, **settings: int
) -> list[str]:
    """What is wrong where `came` is offered to the expectations in order; "missing" and "over" where one is left."""
    flow = flow_of(**settings)
    arrivals = [Arrival(0, see(sent(text))) for text in came]
    for text in expected:
        expectation = Expectation(packet_of("> " + text), flow, strict=strict, pushed=pushed)
        while not expectation.done:
            if not arrivals:
                return ["missing"]
            rest = expectation.offer(arrivals.pop(0))
            if expectation.failed:
                return [row.name for row in expectation.rows if not row.same]
            if rest is not None:
                arrivals.insert(0, rest)
    return ["over"] if arrivals else []


WHOLE = ["P. 1:4001(4000) ack 1"]
PIECES = [". 1:1461(1460) ack 1", ". 1461:2921(1460) ack 1", "P. 2921:4001(1080) ack 1"]


def test_a_super_segment_is_its_pieces_on_either_side() -> None:
    assert offer(WHOLE, WHOLE) == []
    assert offer(WHOLE, PIECES) == []
    assert offer(PIECES, WHOLE) == []
    assert offer(PIECES, PIECES) == []
    assert offer(["P. 1:4001(4000) ack 1", ". 1:1(0) ack 9"], [*PIECES, ". 1:1(0) ack 9"]) == []


@pytest.mark.parametrize(
    ("came", "names"),
    [
        # Cut elsewhere than at the MSS.
        ([". 1:1001(1000) ack 1", ". 1001:2001(1000) ack 1", "P. 2001:4001(2000) ack 1"], ["sequence"]),
        ([PIECES[0], ". 1461:1471(10) ack 1", "P. 1471:4001(2530) ack 1"], ["sequence"]),
        # PSH, FIN, ECN, urgent data, acknowledgements where they do not belong.
        (["P. 1:1461(1460) ack 1", *PIECES[1:]], ["flags"]),
        ([PIECES[0], "P. 1461:2921(1460) ack 1", PIECES[2]], ["flags"]),
        ([*PIECES[:2], ". 2921:4001(1080) ack 1"], ["flags"]),
        ([*PIECES[:2], "FP. 2921:4001(1080) ack 1"], ["flags"]),
        ([PIECES[0], "W. 1461:2921(1460) ack 1", PIECES[2]], ["flags"]),
        ([PIECES[0], ". 1461:2921(1460) ack 2", PIECES[2]], ["ack"]),
        ([PIECES[0], ". 1461:2921(1460) ack 1 <nop,nop,nop,nop>", PIECES[2]], ["options"]),
        # One missing, one twice, out of order.
        ([PIECES[0], PIECES[2]], ["flags", "sequence"]),
        ([PIECES[0], PIECES[0], *PIECES[1:]], ["sequence"]),
        ([PIECES[1], PIECES[0], PIECES[2]], ["sequence"]),
        (PIECES[:2], ["missing"]),
        ([*PIECES, PIECES[2]], ["over"]),
        # Together as long as expected, but not what is expected.
        ([*PIECES[:2], "P. 2921:4002(1081) ack 1"], ["sequence"]),
        ([*PIECES[:2], "P. 2921:4000(1079) ack 1"], ["sequence"]),
    ],
)
def test_pieces_that_are_not_those_of_the_super_segment_do_not_pass(came: list[str], names: list[str]) -> None:
    assert offer(WHOLE, came) == names


def test_super_segments_need_not_be_the_same_ones() -> None:
    assert offer(WHOLE, [". 1:2921(2920) ack 1", "P. 2921:4001(1080) ack 1"]) == []
    assert offer([". 1:2921(2920) ack 1", "P. 2921:4001(1080) ack 1"], WHOLE) == []
    assert offer(WHOLE, [PIECES[0], "P. 1461:4001(2540) ack 1"]) == []
    assert offer([PIECES[0], "P. 1461:4001(2540) ack 1"], [". 1:2921(2920) ack 1", PIECES[2]]) == []
    assert offer(WHOLE, ["P. 1:2921(2920) ack 1", "P. 2921:4001(1080) ack 1"]) == ["flags"]
    assert offer(WHOLE, [". 1:2922(2921) ack 1", "P. 2922:4001(1079) ack 1"]) == ["flags", "sequence"]


def test_a_host_that_pushes_its_super_segments_has_psh_where_one_ends_and_nowhere_else() -> None:
    pushed = ["P. 1:2921(2920) ack 1", PIECES[2]]
    assert offer(WHOLE, pushed) == ["flags"]
    assert offer(WHOLE, pushed, pushed=PUSHED_BURSTS) == []
    # It must be there.
    assert offer(WHOLE, [". 1:2921(2920) ack 1", PIECES[2]], pushed=PUSHED_BURSTS) == ["flags"]
    # A single segment has it only where the text says so.
    single = [PIECES[0], "P. 1461:2921(1460) ack 1", PIECES[2]]
    assert offer(WHOLE, PIECES, pushed=PUSHED_BURSTS) == []
    assert offer(WHOLE, single, pushed=PUSHED_BURSTS) == ["flags"]
    assert offer([PIECES[1]], ["P. 1461:2921(1460) ack 1"], pushed=PUSHED_BURSTS) == ["flags"]
    # Where nobody can tell what was a super-segment it may have been one.
    assert offer(WHOLE, single, pushed=PUSHED_UNSEEN) == offer(WHOLE, PIECES, pushed=PUSHED_UNSEEN) == []
    # The last piece is as the text has it, and nothing but PSH is another matter.
    assert offer(WHOLE, [*PIECES[:2], ". 2921:4001(1080) ack 1"], pushed=PUSHED_BURSTS) == ["flags"]
    assert offer(WHOLE, ["FP. 1:2921(2920) ack 1", PIECES[2]], pushed=PUSHED_BURSTS) == ["flags"]
    assert offer([PIECES[0], PIECES[1]], ["P. 1:2921(2920) ack 1"], pushed=PUSHED_BURSTS) == ["flags"]


def test_a_super_segment_that_is_not_all_the_pieces_does_not_pass() -> None:
    assert offer(PIECES, ["P. 1:3901(3900) ack 1"]) == ["sequence"]
    assert offer(PIECES, [". 1:4001(4000) ack 1"]) == ["flags"]
    assert offer(PIECES[:2], ["P. 1:4001(4000) ack 1"]) == ["over"]
    assert offer([PIECES[0], "P. 1461:2921(1460) ack 1", PIECES[2]], WHOLE) == ["flags"]


def test_cwr_belongs_to_the_first_piece_unless_accurate_ecn_counts() -> None:
    whole = ["WP. 1:2921(2920) ack 1"]
    first, second = "W. 1:1461(1460) ack 1", "P. 1461:2921(1460) ack 1"
    assert offer(whole, [first, second]) == []
    assert offer(whole, [first, "WP. 1461:2921(1460) ack 1"]) == ["flags"]
    assert offer(whole, [first, "WP. 1461:2921(1460) ack 1"], acc_ecn=True) == []
    assert offer(whole, [first, second], acc_ecn=True) == ["flags"]
    assert offer([first, second], whole) == []


def test_the_mss_in_force_is_that_of_the_peer_the_path_the_program_and_the_options() -> None:
    def pieces(size: int, options: str = "") -> list[str]:
        return [f". 1:{1 + size}({size}) ack 1{options}", f"P. {1 + size}:3001({3000 - size}) ack 1{options}"]

    ts = " <nop,nop,TS val 1 ecr 2>"
    assert offer(["P. 1:3001(3000) ack 1"], pieces(1600), peer_mss=1600, mtu=9000) == []
    assert offer(["P. 1:3001(3000) ack 1"], pieces(1600), peer_mss=1500, mtu=9000) == ["flags", "sequence"]
    assert offer(["P. 1:3001(3000) ack 1"], pieces(1760), peer_mss=8000, mtu=1800) == []
    assert offer(["P. 1:3001(3000) ack 1"], pieces(1700), peer_mss=8000, mtu=1800, mss_limit=1700) == []
    assert offer(["P. 1:3001(3000) ack 1" + ts], pieces(1588, ts), peer_mss=1600, mtu=9000) == []
    assert offer(["P. 1:3001(3000) ack 1" + ts], pieces(1600, ts), peer_mss=1600, mtu=9000) == ["flags", "sequence"]
    assert offer(["P. 1:3001(3000) ack 1 <...>"], pieces(1588, ts), peer_mss=1600, mtu=9000) == []


def test_strict_segments_are_not_cut() -> None:
    assert offer(WHOLE, WHOLE, strict=True) == []
    assert offer(WHOLE, PIECES, strict=True) == ["flags", "sequence"]
    assert offer(PIECES, WHOLE, strict=True) == ["flags", "sequence"]


def test_a_syn_with_data_is_never_cut() -> None:
    assert offer(["S 0:2000(2000)"], ["S 0:1460(1460)", ". 1461:2001(540) ack 1"]) == ["sequence"]


# ICMP.


def test_the_mtu_of_ipv6_has_32_bits() -> None:
    expected = "icmp packet_too_big mtu 66816 [1:1461(1460)]"
    assert wrong(expected, sent(expected, 6), 6) == []
    assert wrong(expected, sent(expected.replace("66816", "1280"), 6), 6) == ["mtu"]


def test_a_quote_must_be_one_of_a_packet_to_the_stack() -> None:
    expected = packet_of("> icmp unreachable port_unreachable [udp (5)]")
    came = see(sent("icmp unreachable port_unreachable [udp (5)]"))
    assert came.quoted is not None
    came.quoted.src, came.quoted.dst = came.quoted.dst, came.quoted.src
    assert [row.name for row in compare(expected, came, flow_of()) if not row.same] == ["quote"]
    came.quoted = None
    assert [row.name for row in compare(expected, came, flow_of()) if not row.same] == ["quote"]


def test_a_quote_that_is_none_does_not_pass() -> None:
    packet = sent("icmp unreachable port_unreachable [udp (5)]")
    short = bytearray(packet[:28] + bytes(8))
    short[2:4] = len(short).to_bytes(2, "big")
    seen = see(bytes(short))
    assert seen.quoted is None
    assert seen.bad != ""


# Ports.


def test_ports_that_the_text_names_are_compared_and_not_learned() -> None:
    flow = flow_of(local_port=0)
    rows = compare(packet_of("> 7 > 40001 S 0:0(0)"), see(sent("7777 > 40001 S 0:0(0)")), flow)
    assert Row("ports", "7 > 40001", "7777 > 40001", False) in rows
    assert flow.local_port == 0
    rows = compare(packet_of("> 7777 > 40001 S 0:0(0)"), see(sent("7777 > 40001 S 0:0(0)")), flow)
    assert Row("ports", "7777 > 40001", "7777 > 40001", True) in rows


def test_the_port_of_a_datagram_socket_is_learned_from_its_first_datagram() -> None:
    flow = flow_of(local_port=0)
    expected = packet_of("> udp (1)")
    assert all(row.same for row in compare(expected, see(sent("udp 7777 > 40001 (1)")), flow))
    assert flow.local_port == 7777
    assert not all(row.same for row in compare(expected, see(sent("udp 7778 > 40001 (1)")), flow))


# Data.


def test_data_of_a_syn_begins_the_stream_and_a_probe_may_have_any() -> None:
    flow = flow_of(handshake=False)
    flow.outgoing = pattern(0, 10)
    syn = see(sent("S 100:110(10) <FO,nop,nop>"))
    syn.data = pattern(0, 10)
    expected = packet_of("> S 100:110(10) <FO,nop,nop>")
    assert all(row.same for row in compare(expected, syn, flow))
    syn.data = pattern(1, 10)
    assert [row.name for row in compare(expected, syn, flow) if not row.same] == ["data"]
    # RFC 9293 section 3.8.4: a keep-alive may have one garbage octet.
    flow = flow_of()
    flow.outgoing = b""
    assert all(row.same for row in compare(packet_of("> . 0:1(1) ack 1"), see(sent(". 0:1(1) ack 1")), flow))


def test_data_is_compared_with_what_the_program_wrote() -> None:
    flow = flow_of()
    flow.outgoing = bytearray(pattern(0, 3000))
    expected = packet_of("> . 1001:2001(1000) ack 1")
    assert all(row.same for row in compare(expected, see(sent(". 1001:2001(1000) ack 1")), flow))
    flow.outgoing[1500] ^= 1
    rows = [row for row in compare(expected, see(sent(". 1001:2001(1000) ack 1")), flow) if not row.same]
    assert [row.name for row in rows] == ["data"]
    assert "1501" in rows[0].sent
    flow.outgoing = bytearray(pattern(0, 1500))
    assert not all(row.same for row in compare(expected, see(sent(". 1001:2001(1000) ack 1")), flow))


# Reports.


def test_the_report_shows_both_sides_and_marks_what_differs() -> None:
    expectation = Expectation(packet_of("> P. 1:11(10) ack 1 <nop,nop,TS val 100 ecr 2>"), flow_of())
    expectation.offer(Arrival(5, see(sent(". 1:11(10) ack 3 win 77 <nop,nop,TS val 9 ecr 2>"))))
    assert expectation.failed
    lines = expectation.report().splitlines()
    assert lines[0].split() == ["expected", "sent"]
    assert [line.split() for line in lines[1:]] == [
        ["flags", "P.", ".", "<--"],
        ["sequence", "1:11(10)", "1:11(10)"],
        ["ack", "1", "3", "<--"],
        ["options", "nop,nop,TS", "val", "100", "ecr", "2", "nop,nop,TS", "val", "100", "ecr", "2"],
    ]
    assert expectation.sent_text() == ["> . 1:11(10) ack 3 win 77 <nop,nop,TS val 100 ecr 2>"]


def test_what_is_not_there_is_told_as_none() -> None:
    rows = compare(packet_of("> . 1:1(0) ack 1 <nop>"), see(sent(". 1:1(0) ack 1")), flow_of())
    assert Row("options", "nop", "none", False) in rows
    rows = compare(packet_of("> . 1:1(0) ack 1"), see(sent(". 1:1(0) ack 1 <sackOK,nop,nop>")), flow_of())
    assert Row("options", "none", "sackOK,nop,nop", False) in rows


def test_a_table_has_straight_columns() -> None:
    rows = [Row("a", "x", "longer", True), Row("name", "much longer", "y", False)]
    lines = side_by_side(rows).splitlines()
    assert [line.index(word) for line, word in zip(lines, ("sent", "longer", "y "), strict=True)] == [19] * 3
