"""A script's text becomes the tree that it should; text that is no script is refused with its place and what was
expected, and raises nothing else."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from plankroad.packetdrill import syntax
from plankroad.packetdrill.errors import BadScriptError
from plankroad.packetdrill.parser import parse_script
from plankroad.packetdrill.syntax import (
    ABSOLUTE,
    ABSOLUTE_RANGE,
    ACK,
    AE,
    ANY,
    CE,
    CWR,
    ECE,
    ECT0,
    ECT01,
    ECT1,
    FIN,
    NOT_ECT,
    PSH,
    RELATIVE,
    RELATIVE_RANGE,
    RST,
    SYN,
    URG,
    Array,
    Binary,
    Call,
    Code,
    Command,
    Event,
    EventTime,
    Icmp,
    Integer,
    IpFields,
    Location,
    Member,
    Option,
    Packet,
    Ports,
    Quote,
    SequenceRange,
    String,
    Struct,
    Symbol,
    Syscall,
    Tcp,
    TcpOption,
    Udp,
    Unary,
    Wild,
)

from .wiring import packet_of

pytestmark = pytest.mark.either

AT = Location("t", 1)
MS = 1_000_000


def event_of(text: str) -> Event:
    (event,) = parse_script(text, "t").events
    return event


def call_of(text: str) -> Syscall:
    action = event_of("0 " + text).action
    assert isinstance(action, Syscall)
    return action


def tcp_of(text: str) -> Tcp:
    body = packet_of("< " + text).body
    assert isinstance(body, Tcp)
    return body


# Times.


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("0", EventTime(ABSOLUTE, 0, 0)),
        ("1.5", EventTime(ABSOLUTE, 1500 * MS, 1500 * MS)),
        (".25", EventTime(ABSOLUTE, 250 * MS, 250 * MS)),
        ("+0", EventTime(RELATIVE, 0, 0)),
        ("+.1", EventTime(RELATIVE, 100 * MS, 100 * MS)),
        ("+ 0.000001", EventTime(RELATIVE, 1000, 1000)),
        ("0.123456789", EventTime(ABSOLUTE, 123456789, 123456789)),
        ("*", EventTime(ANY, 0, 0)),
        ("0.1~0.25", EventTime(ABSOLUTE_RANGE, 100 * MS, 250 * MS)),
        ("+.1~+.25", EventTime(RELATIVE_RANGE, 100 * MS, 250 * MS)),
    ],
)
def test_times(text: str, time: EventTime) -> None:
    for action in ("< . 1:1(0) ack 1 win 2", "> . 1:1(0) ack 1", "close(3) = 0", "`true`", "%{ pass }%"):
        assert event_of(f"{text} {action}").time == time


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [
        ("0...0.2", 0, 200 * MS),
        ("0.1...0.2", 100 * MS, 200 * MS),
        ("+0...0.2", 0, 200 * MS),
        ("+.1....3", 100 * MS, 300 * MS),
        ("+0 ... +0.2", 0, 200 * MS),
        ("1...1", 1000 * MS, 1000 * MS),
    ],
)
def test_blocking_calls_have_an_end(text: str, start: int, end: int) -> None:
    event = event_of(f"{text} read(3, ..., 10) = 10")
    assert isinstance(event.action, Syscall)
    assert (event.time.start, event.action.end) == (start, end)
    assert event_of("0 read(3, ..., 10) = 10").action.end is None  # type: ignore[union-attr]


# Packets.


@pytest.mark.parametrize(
    ("text", "flags", "ace"),
    [
        ("S", SYN, None),
        ("S.", SYN | ACK, None),
        (".", ACK, None),
        ("P.", PSH | ACK, None),
        ("FP.", FIN | PSH | ACK, None),
        ("F.", FIN | ACK, None),
        ("R", RST, None),
        ("R.", RST | ACK, None),
        ("-", 0, None),
        ("U.", URG | ACK, None),
        ("SEW", SYN | ECE | CWR, None),
        ("SEWA", SYN | ECE | CWR | AE, None),
        ("SE.", SYN | ECE | ACK, None),
        ("EAP.", ECE | AE | PSH | ACK, None),
        ("W.", CWR | ACK, None),
        ("SA.", SYN | AE | ACK, None),
        ("5.", ACK, 5),
        ("0.", ACK, 0),
        ("P7.", PSH | ACK, 7),
        (".5", ACK, 5),
        ("P.5", PSH | ACK, 5),
        ("S3", SYN, 3),
    ],
)
def test_flags(text: str, flags: int, ace: int | None) -> None:
    tcp = tcp_of(f"{text} 1:1(0) ack 1 win 5")
    assert (tcp.flags, tcp.ace) == (flags, ace)


def test_the_fields_of_a_segment() -> None:
    assert tcp_of("P. 1:11(10) ack 7 win 65535 urg 3") == Tcp(
        PSH | ACK, SequenceRange(1, 11, 10), None, 7, 65535, 3, []
    )
    assert tcp_of("R 4294967290:4(10)") == Tcp(RST, SequenceRange(4294967290, 4, 10))
    assert tcp_of("80 > 4000 S 0:0(0) win 1").ports == Ports(80, 4000)
    assert tcp_of("80 -> 4000 S 0:0(0) win 1").ports == Ports(80, 4000)
    assert packet_of("> . 1:1(0) ack 1 <...>").body == Tcp(ACK, SequenceRange(1, 1, 0), None, 1, options=None)


@pytest.mark.parametrize(
    ("text", "option"),
    [
        ("nop", TcpOption("nop")),
        ("eol", TcpOption("eol")),
        ("sackOK", TcpOption("sackOK")),
        ("mss 1460", TcpOption("mss", (1460,))),
        ("wscale 7", TcpOption("wscale", (7,))),
        ("sack 1:2", TcpOption("sack", (1, 2))),
        ("sack 1:2 3:4 5:6", TcpOption("sack", (1, 2, 3, 4, 5, 6))),
        ("TS val 1 ecr 4294967295", TcpOption("TS", (1, 4294967295))),
        ("FO", TcpOption("FO")),
        ("FO 12345678", TcpOption("FO", data=b"\x12\x34\x56\x78")),
        ("FO abcd1234", TcpOption("FO", data=b"\xab\xcd\x12\x34")),
        ("FO 0e12", TcpOption("FO", data=b"\x0e\x12")),
        ("FOEXP", TcpOption("FOEXP")),
        ("FOEXP 3021b9d889017eeb", TcpOption("FOEXP", data=bytes.fromhex("3021b9d889017eeb"))),
        ("md5 000102030405060708090a0b0c0d0e0f", TcpOption("md5", data=bytes(range(16)))),
        ("ECN", TcpOption("ECN")),
        ("ECN e1b 1 ceb 0 e0b 2", TcpOption("ECN", (1, 0, 2), names=("e1b", "ceb", "e0b"))),
        ("ECN e0b 16777215", TcpOption("ECN", (16777215,), names=("e0b",))),
        ("raw fd00", TcpOption("raw", data=b"\xfd\x00")),
    ],
)
def test_options(text: str, option: TcpOption) -> None:
    assert tcp_of(f". 1:1(0) ack 1 win 2 <{text}>").options == [option]
    assert tcp_of(f". 1:1(0) ack 1 win 2 <nop, {text} ,nop>").options == [
        TcpOption("nop"),
        option,
        TcpOption("nop"),
    ]


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("[ect0]", IpFields(ecn=ECT0)),
        ("[ect1]", IpFields(ecn=ECT1)),
        ("[ce]", IpFields(ecn=CE)),
        ("[noecn]", IpFields(ecn=NOT_ECT)),
        ("[ect01]", IpFields(ecn=ECT01)),
        ("(ect0)", IpFields(ecn=ECT0)),
        ("[tos 0x10]", IpFields(tos=16)),
        ("[tos 16]", IpFields(tos=16)),
        ("[ttl 63]", IpFields(ttl=63)),
        ("[flowlabel 0xabcde]", IpFields(flow_label=0xABCDE)),
        ("[ect0, flowlabel 0x1]", IpFields(ecn=ECT0, flow_label=1)),
        ("[tos 0x2,ttl 1,flowlabel 0x1]", IpFields(tos=2, ttl=1, flow_label=1)),
    ],
)
def test_ip_fields(text: str, fields: IpFields) -> None:
    assert packet_of(f"> {text} . 1:1(0) ack 1").ip == fields
    assert packet_of(f"> {text} udp (1)").ip == fields
    assert packet_of(f"> {text} icmp echo_reply").ip == fields


def test_bad_checksums_are_for_packets_to_inject() -> None:
    assert packet_of("< [bad_sum, bad_ip_sum] udp (1)").ip == IpFields(bad_ip_checksum=True, bad_checksum=True)


@pytest.mark.parametrize(
    ("text", "body"),
    [
        ("udp (1000)", Udp(1000)),
        ("udp 53 > 4000 (1000)", Udp(1000, Ports(53, 4000))),
        ("icmp unreachable", Icmp("unreachable")),
        ("icmp unreachable host_unreachable", Icmp("unreachable", "host_unreachable")),
        ("icmp 3 4 mtu 1200", Icmp("3", "4", 1200)),
        (
            "icmp unreachable frag_needed mtu 1200 [1:1461(1460)]",
            Icmp("unreachable", "frag_needed", 1200, None, Quote("tcp", SequenceRange(1, 1461, 1460))),
        ),
        ("icmp packet_too_big mtu 1280", Icmp("packet_too_big", None, 1280)),
        ("icmp time_exceeded [udp (8)]", Icmp("time_exceeded", None, None, None, Quote("udp", None, 8))),
        ("icmp echo_request id 77 [raw (56)]", Icmp("echo_request", None, None, 77, Quote("raw", None, 56))),
    ],
)
def test_datagrams_and_messages(text: str, body: Udp | Icmp) -> None:
    assert packet_of("< " + text).body == body


# System calls and expressions.


def test_a_system_call() -> None:
    assert call_of("write(4, ..., 1000) = -1 EAGAIN (Resource temporarily unavailable)") == Syscall(
        "write",
        [Integer(4, "4", AT), Wild(AT), Integer(1000, "1000", AT)],
        Integer(-1, "-1", AT),
        "EAGAIN",
        "Resource temporarily unavailable",
        None,
        "write(4, ..., 1000) = -1 EAGAIN (Resource temporarily unavailable)",
        AT,
    )
    assert call_of("fcntl(3, F_GETFL) = 0x2 (flags O_RDWR)").note == "flags O_RDWR"
    assert call_of("write(4, ..., 1) = -1 EPIPE(Broken Pipe)").errno == "EPIPE"
    assert call_of("accept(3, ..., ...) = ...").result == Wild(AT)
    assert call_of("fork() = 0").arguments == []


@pytest.mark.parametrize(
    ("text", "expression"),
    [
        ("...", Wild(AT)),
        ("10", Integer(10, "10", AT)),
        ("-10", Integer(-10, "-10", AT)),
        ("0xff", Integer(255, "0xff", AT)),
        ("0755", Integer(755, "0755", AT)),
        ("SOCK_STREAM", Symbol("SOCK_STREAM", AT)),
        ("~O_RDWR", Unary("~", Symbol("O_RDWR", AT), AT)),
        ('"abc"', String("abc", False, AT)),
        ('"a\\x00\\"\\n\\101"', String('a\x00"\nA', False, AT)),
        ('"abc"...', String("abc", True, AT)),
        ("A|B", Binary("|", Symbol("A", AT), Symbol("B", AT), AT)),
        ("A|B&C", Binary("|", Symbol("A", AT), Binary("&", Symbol("B", AT), Symbol("C", AT), AT), AT)),
        ("(A|B)&C", Binary("&", Binary("|", Symbol("A", AT), Symbol("B", AT), AT), Symbol("C", AT), AT)),
        ("A|B|C", Binary("|", Binary("|", Symbol("A", AT), Symbol("B", AT), AT), Symbol("C", AT), AT)),
        ("1<<4", Binary("<<", Integer(1, "1", AT), Integer(4, "4", AT), AT)),
        ("htons(80)", Call("htons", [Integer(80, "80", AT)], AT)),
        ("[]", Array([], AT)),
        ("[1, ...]", Array([Integer(1, "1", AT), Wild(AT)], AT)),
        ("{}", Struct([], AT)),
        (
            "{events=EPOLLIN, fd=4}",
            Struct(
                [Member("events", Symbol("EPOLLIN", AT), None, AT), Member("fd", Integer(4, "4", AT), None, AT)], AT
            ),
        ),
        (
            "{..., 1000}",
            Struct([Member("", Wild(AT), None, AT), Member("", Integer(1000, "1000", AT), None, AT)], AT),
        ),
        (
            "{msg_iov(1)=[...], msg_name(...)=...}",
            Struct(
                [
                    Member("msg_iov", Array([Wild(AT)], AT), Integer(1, "1", AT), AT),
                    Member("msg_name", Wild(AT), Wild(AT), AT),
                ],
                AT,
            ),
        ),
        (
            "{f=htons(1)}",
            Struct([Member("f", Call("htons", [Integer(1, "1", AT)], AT), None, AT)], AT),
        ),
    ],
)
def test_expressions(text: str, expression: syntax.Expression) -> None:
    assert call_of(f"f({text}) = 0").arguments == [expression]
    assert call_of(f"f(1,{text} , 2) = {text}").result == expression


# Whole scripts.


def test_a_whole_script() -> None:
    script = parse_script(
        """// A script.
--mtu=1400 // why
--ip_version=ipv6
--flag
--text="a b"

`one
 two`

/* nothing
0 close(1) = 0
*/
0.5 `sysctl -w a=b`
+0 %{
assert 1 == 1  # }
}%
`last`
""",
        "t",
    )
    where = Location("t", 1)
    assert script.options == [
        Option("mtu", "1400", where),
        Option("ip_version", "ipv6", where),
        Option("flag", "", where),
        Option("text", "a b", where),
    ]
    assert script.init == [Command("one\n two", where)]
    assert script.cleanup == [Command("last", where)]
    assert [event.action for event in script.events] == [
        Command("sysctl -w a=b", where),
        Code("\nassert 1 == 1  # }\n", where),
    ]
    assert [str(event.where) for event in script.events] == ["t:13:1", "t:14:1"]
    assert str(script.events[1].action.where) == "t:14:4"


def test_events_may_stand_in_one_line_or_go_over_several() -> None:
    script = parse_script("0 close(3) = 0 +.1 close(4)\n=\n-1 EBADF +0 < . 1:1(0)\n ack 1 win 5 +0 > R 1:1(0)", "t")
    assert [type(event.action) for event in script.events] == [Syscall, Syscall, Packet, Packet]


def test_an_empty_script_is_one() -> None:
    for text in ("", "\n", "// nothing", "/* */", "#define A b\n"):
        assert parse_script(text, "t").events == []


# Defines.


def test_defines() -> None:
    script = parse_script(
        """--define=GIVEN=12
#define MSS 1460
#define TWICE MSS,nop,nop
#define RTT .1
+RTT < S 0:0(0) win GIVEN <mss TWICE>
#undef MSS
#ifdef MSS
not a script
#else
+RTT `MSS` // MSS
#endif
#ifndef ELSE
0 f("MSS", MSSES) = 0
#endif
""",
        "t",
        {"ELSE": "1", "RTT": "0.2"},
    )
    assert [event.time.start for event in script.events] == [200 * MS, 200 * MS]
    assert script.events[0].action.text == "< S 0:0(0) win 12 <mss 1460,nop,nop>"
    assert script.events[1].action.text == "MSS"
    assert script.defines["RTT"] == "0.2"
    # It is carried out already, so it is none of the script's options.
    assert script.options == []


def test_places_are_those_of_the_file_behind_defines_too() -> None:
    with pytest.raises(BadScriptError, match=re.escape('t:2:26: found "oops", expected')):
        parse_script("#define A 4294967295\n0 < . A:A(0) ack A win 5 oops", "t", {"AA": "1"})
    text = "#define LONG 4294967295\n+0 < . 1:1(0) ack LONG win 7 what"
    with pytest.raises(BadScriptError, match=re.escape('t:2:30: found "what", expected')):
        parse_script(text, "t")
    with pytest.raises(BadScriptError, match=re.escape("t:2:25: found")):
        parse_script("#define LONG 4294967295\n+0 < . 1:1(0) ack 1 win LONG", "t")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("#defin A", "t:1:1: found #defin, expected #define"),
        ("#", "t:1:1: found #, expected"),
        ("#define", "t:1:1: found '' after #define, expected a name"),
        ("#define 1 2", "expected a name"),
        ("#define A(x) 2", "expected a space and the text"),
        ("#ifdef A B\n#endif", "expected one name"),
        ("\n #ifdef A\n", "t:2:1: found no #endif for this line"),
        ("#else", "expected an #ifdef"),
        ("#endif", "expected an #ifdef"),
        ("#ifdef A\n#else\n#else\n#endif", "t:3:1: found a second #else"),
        ("#undef A b", "expected nothing"),
        ("#define A " + "x" * 5000, "expected at most 4096"),
    ],
)
def test_bad_directives(text: str, message: str) -> None:
    with pytest.raises(BadScriptError, match=re.escape(message)):
        parse_script(text, "t")


def test_defines_cannot_grow_without_bound() -> None:
    lines = ["#define A0 xxxxxxxxxx"] + [f"#define A{i} A{i - 1} A{i - 1}" for i in range(1, 40)]
    with pytest.raises(BadScriptError, match="expected at most 4096"):
        parse_script("\n".join(lines), "t")


# Errors.


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("close(3) = 0", 't:1:1: found "close", expected a time (0.1, +.1, 0.1~0.2, +.1~+.2 or *)'),
        ("0", "t:1:2: found end of the script, expected a packet (< or >), a system call"),
        ("0 0 close(3) = 0", 't:1:3: found "0", expected a packet'),
        ("+.1~.2 > . 1:1(0) ack 1", 't:1:5: found ".2", expected "+" before the end'),
        (".1~+.2 > . 1:1(0) ack 1", 't:1:4: found "+", expected a time in seconds without +'),
        (".2~.1 > . 1:1(0) ack 1", "ends before it starts"),
        ("0.2...0.1 close(3) = 0", "returns before it begins"),
        ("*...1 close(3) = 0", "its time is a range or *"),
        ("99999999999 close(3) = 0", "expected a time of at most"),
        ("0 close 3", 't:1:3: found "close", expected a packet'),
        ("0 close(3 4) = 0", 't:1:11: found "4", expected "," or ")" after an argument'),
        ("0 close(3)", 'expected "=" and the result'),
        ("0 close(3) = ", "expected a value"),
        ("0 close(3) = -1 EBADF (oops", "expected a note that ends with )"),
        ("0 close(3) = 0 whatever", 't:1:16: found "whatever", expected the name of an error'),
        ("0 close([) = 0", "expected a value"),
        ("0 close({a=1) = 0", '"," or "}" after a member'),
        ("0 close({1=2}) = 0", '"," or "}" after a'),
        ("0 close(" + "9" * 30 + ") = 0", "at most 24 digits"),
        ("0 f(" + "[" * 100 + "]" * 100 + ") = 0", "at most 40 expressions"),
        ("0 f(" + "-" * 1000 + "A) = 0", "at most 40 expressions"),
        ("0 icmp unreachable", "expected < or > before a packet"),
        ("0 < X 1:1(0)", 't:1:5: found "X", expected TCP flags'),
        ("0 < SS 1:1(0)", "expected TCP flags"),
        ("0 < 8 1:1(0)", "expected TCP flags"),
        ("0 < 55. 1:1(0)", "expected TCP flags"),
        ("0 < 5E. 1:1(0)", "expected either letters"),
        ("0 < . 1", 'expected ":"'),
        ("0 < . 1:2", 'expected "("'),
        ("0 < . 1:2(2)", 't:1:7: found "1:2(2)", expected 1:3(2)'),
        ("0 < . 4294967296:1(1)", "at most 4294967295"),
        ("0 < . 1:99001(99000)", "expected 65495 at most"),
        ("0 < . 1:1(0) ack", "expected the acknowledgement number"),
        ("0 < . 1:1(0) ack 1 win 65536", "at most 65535"),
        ("0 < . 1:1(0) ack 1 win 1 <...>", "the TCP options of a packet to inject"),
        ("0 > . 1:1(0) ack 1 <... ,nop>", 'expected ">"'),
        ("0 > . 1:1(0) ack 1 <>", "expected a TCP option"),
        ("0 > . 1:1(0) ack 1 <nop", 'expected "," or ">"'),
        ("0 > . 1:1(0) ack 1 <what>", 'found "what", expected a TCP option'),
        ("0 > . 1:1(0) ack 1 <mss X>", 'found "X", expected the MSS'),
        ("0 > . 1:1(0) ack 1 <TS 1 2>", 'expected "val"'),
        ("0 > . 1:1(0) ack 1 <sack>", "expected SACK blocks"),
        ("0 > . 1:1(0) ack 1 <FO 123>", "two for each byte"),
        ("0 > . 1:1(0) ack 1 <FO TFO_COOKIE>", 'found "TFO_COOKIE", expected the bytes of FO'),
        ("0 > . 1:1(0) ack 1 <ECN ceb 1>", "in the order e0b ceb e1b"),
        ("0 > . 1:1(0) ack 1 <ECN e0b 1 e0b 1>", "in the order e0b ceb e1b"),
        ("0 > . 1:1(0) ack 1 <ECN x 1>", "expected e0b, ceb or e1b"),
        ("0 > . 1:1(0) ack 1 <raw>", "expected the option's bytes"),
        ("0 > . 1:1(0) ack 1 <" + ",".join(["mss 1"] * 11) + ">", "found TCP options of 44 bytes"),
        ("0 > [ect] . 1:1(0)", 'found "ect", expected noecn'),
        ("0 > [ect0, ce] . 1:1(0)", "one word for each field"),
        ("0 > [ect0, tos 0x1] . 1:1(0)", "one word for each field"),
        ("0 > [tos 256] . 1:1(0)", "at most 255"),
        ("0 > [bad_sum] . 1:1(0)", "whose checksums must be right"),
        ("0 < [ect01] . 1:1(0)", "expected ect0 or ect1"),
        ("0 > [ect0 . 1:1(0)", "expected an IP field"),
        ("0 < 70000 > 1 . 1:1(0)", "expected two ports up to 65535"),
        ("0 < gre: . 1:1(0)", "tunnels are not in this runner's language"),
        ("0 < ipv4 1.1.1.1 > 2.2.2.2: . 1:1(0)", "tunnels are not"),
        ("0 < udp 5", 'expected "("'),
        ("0 < udp (70000)", "at most 65507"),
        ("0 < icmp", "expected the type"),
        ("0 < icmp unreachable [what]", "expected what is quoted"),
        ("0 < icmp unreachable frag_needed mtu", "expected the MTU"),
        ('0 f("abc) = 0', "t:1:5: found the start of a string, expected its end"),
        ("0 `abc", "t:1:3: found the start of a command, expected its end `"),
        ("0 %{ abc }", "found the start of a code, expected its end }%"),
        ("/* abc", "found the start of a comment, expected its end */"),
        ("0 close(3) = 0\n`a`\n0 close(3) = 0", 't:3:1: found "0", expected the end of the script'),
        ("0 close(3) = 0\n--mtu=5", 'found "-", expected a time'),
        ("--", 'found "--", expected an option'),
        ("--define=1", 'found "--define=1", expected --define=NAME=text'),
        ("--define", 'found "--define", expected --define=NAME=text'),
        ("0 \x00", "expected a packet"),
        ("0 é", "expected a packet"),
    ],
)
def test_bad_text_says_where_and_what_was_expected(text: str, message: str) -> None:
    with pytest.raises(BadScriptError) as error:
        parse_script(text, "t")
    assert message in str(error.value)
    assert re.match(r"t:\d+:\d+: found ", str(error.value))
    assert error.value.where is not None


WORDS = """
0 +.1 * ~ ... < > . P. S SEWA 5. 1:1(0) 0:0(0) ack win urg mss nop TS val ecr sack sackOK FO FOEXP ECN e0b raw
[ect0] [tos 0x1] udp icmp unreachable (10) [1:1(0)] <...> <nop> close(3) = 0 -1 EAGAIN { } [ ] ( ) , | ` %{ }%
" // /* */ #define #ifdef #else #endif --mtu=5 A 0x12 \\
"""


@given(st.lists(st.sampled_from([*WORDS.split(), "\n"]), max_size=40))
@example(["\n", "#ifdef", "A", "\n"])
def test_text_of_a_scripts_words_is_read_or_refused(words: list[str]) -> None:
    refused_or_read(" ".join(words))


@given(st.text(max_size=200))
@example("\ud800")
@example('0 f("\ud800") = 0')
@example("٣ close(3) = 0")
@example("0 > . ٣:٣(٠) ack 1")
@example("0 < icmp ٣")
def test_any_text_is_read_or_refused(text: str) -> None:
    refused_or_read(text)


def refused_or_read(text: str) -> None:
    message = "t:1:1: found"
    try:
        parse_script(text, "t", {"A": "x y"})
    except BadScriptError as error:
        message = str(error)
    assert re.match(r"t:\d+:\d+: found", message)


MUCH = {
    "comments": "/*" * 20000,
    "code": "%{" * 20000,
    "commands": "`" * 20001,
    "strings": '"' * 20001,
    "backslashes": "\\" * 20000,
    "signs": "0 f(" + "-" * 20000,
    "directives": "#ifdef A\n" * 20000,
    "letters": "a" * 100000,
    "options": "0 < . 1:1(0) <" + "nop," * 20000,
    "structures": "0 f(" + "{a=" * 20000,
    "fields": "0 > " + "[ect0]" * 20000,
    "numbers": "1." * 20000,
    "operators": "0 f(A|" * 20000,
    "defines": "#define X A\n" * 2000 + "X " * 20000,
}


@pytest.mark.timeout(20)
@pytest.mark.parametrize("kind", MUCH)
def test_much_bad_text_is_refused_soon(kind: str) -> None:
    refused_or_read(MUCH[kind])
