"""Injected packets: on the wire as written, and read back the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plankroad.packetdrill import icmp_names
from plankroad.packetdrill.errors import BadScriptError
from plankroad.packetdrill.flow import Flow, pattern
from plankroad.packetdrill.options import options_bytes, options_text, parse_options
from plankroad.packetdrill.packets import build
from plankroad.packetdrill.parser import parse_script
from plankroad.packetdrill.seen import packet_text, see, to_script
from plankroad.packetdrill.syntax import (
    ACK,
    INBOUND,
    Icmp,
    IpFields,
    Location,
    Packet,
    Quote,
    SequenceRange,
    Tcp,
    TcpOption,
    Udp,
)
from plankroad.wire.errors import BadPacket
from plankroad.wire.icmp import parse_icmp
from plankroad.wire.ipv4 import parse_ipv4
from plankroad.wire.ipv6 import parse_ipv6
from plankroad.wire.quoted import parse_quoted
from plankroad.wire.tcp import parse_tcp, tcp_checksum_ok
from plankroad.wire.udp import udp_checksum_ok

from .wiring import ISN, LOCAL, LOCAL_PORT, PEER_ISN, REMOTE, REMOTE_PORT, flow_of, packet_of, sent

pytestmark = pytest.mark.either

U32 = st.integers(0, 0xFFFFFFFF)
U16 = st.integers(0, 0xFFFF)


def injected(text: str, version: int = 4, **settings: int) -> bytes:
    return build(packet_of("< " + text), flow_of(version, **settings))


# By the parsers of the stack itself.


@pytest.mark.parametrize("version", [4, 6])
def test_a_segment_is_one_for_the_stack_s_own_parser(version: int) -> None:
    text = "[ect1, ttl 9] P. 1:11(10) ack 1001 win 77 urg 3 <nop,nop,TS val 5 ecr 6,sack 2001:3001>"
    packet = injected(text, version, scale_echoes=True, first_script_ts=1, first_wire_ts=101)
    if version == 4:
        ip4 = parse_ipv4(packet)
        assert (ip4.src, ip4.dst, ip4.tos, ip4.ttl) == (REMOTE[4], LOCAL[4], 1, 9)
        start, end = ip4.payload_start, ip4.payload_end
    else:
        ip6 = parse_ipv6(packet)
        assert (ip6.src, ip6.dst, ip6.traffic_class, ip6.hop_limit) == (REMOTE[6], LOCAL[6], 1, 9)
        start, end = 40, len(packet)
    assert tcp_checksum_ok(packet, start, end, REMOTE[version], LOCAL[version])
    segment = parse_tcp(packet, start, end)
    assert (segment.src_port, segment.dst_port) == (REMOTE_PORT, LOCAL_PORT)
    assert (segment.seq, segment.ack) == (PEER_ISN + 1, (ISN + 1001) & 0xFFFFFFFF)
    assert (segment.flags, segment.wnd, segment.urgent) == (0x18, 77, 3)
    assert (segment.ts_val, segment.ts_ecr) == (5, 106)
    assert segment.sack == [((ISN + 2001) & 0xFFFFFFFF, (ISN + 3001) & 0xFFFFFFFF)]
    assert segment.payload == pattern(0, 10)


def test_what_is_left_out_is_nothing() -> None:
    seen = see(injected("R 1:1(0)"))
    assert (seen.ack, seen.window, seen.urgent, seen.options, seen.tos, seen.ttl) == (0, 0, 0, b"", 0, 64)
    # An ACK without a number acknowledges the number 0: the SYN's own.
    assert see(injected(". 1:1(0) win 5")).ack == ISN


def test_digits_are_the_three_bits_of_ace() -> None:
    for ace in range(8):
        assert see(injected(f"{ace}. 1:1(0) ack 1 win 9")).flags == ACK | ace << 6


def test_data_is_that_of_its_place_in_the_stream() -> None:
    flow = flow_of(handshake=False)
    assert see(build(packet_of("< S 7:107(100) win 9"), flow)).data == pattern(7, 100)
    assert see(injected(". 101:201(100) ack 1 win 9")).data == pattern(100, 100)
    whole = b"".join([see(injected(f". {1 + i}:{98 + i}(97) ack 1 win 9")).data for i in range(0, 970, 97)])
    assert whole == pattern(0, 970)


def test_ports_may_be_named() -> None:
    seen = see(injected("7 > 9 S 0:0(0) win 1"))
    assert (seen.source, seen.destination) == (7, 9)
    seen = see(injected("udp 7 > 9 (3)"))
    assert (seen.source, seen.destination) == (7, 9)


@pytest.mark.parametrize("version", [4, 6])
def test_a_datagram(version: int) -> None:
    packet = injected("udp (100)", version)
    start = 20 if version == 4 else 40
    assert udp_checksum_ok(packet, start, len(packet), REMOTE[version], LOCAL[version])
    seen = see(packet)
    assert (seen.source, seen.destination, seen.length, seen.bad) == (REMOTE_PORT, LOCAL_PORT, 100, "")


@pytest.mark.parametrize(
    ("text", "version", "type_code", "rest"),
    [
        ("icmp unreachable", 4, (3, 0), 0),
        ("icmp unreachable host_unreachable", 4, (3, 1), 0),
        ("icmp unreachable frag_needed mtu 1200", 4, (3, 4), 1200),
        ("icmp time_exceeded exceeded_frag_time", 4, (11, 1), 0),
        ("icmp source_quench", 4, (4, 0), 0),
        ("icmp parameter_problem missing_option", 4, (12, 1), 0),
        ("icmp 3 13", 4, (3, 13), 0),
        ("icmp unreachable port_unreachable", 6, (1, 4), 0),
        ("icmp packet_too_big mtu 1280", 6, (2, 0), 1280),
        ("icmp time_exceeded exceeded_hop_limit", 6, (3, 0), 0),
    ],
)
def test_an_icmp_error_quotes_what_the_stack_sent(
    text: str, version: int, type_code: tuple[int, int], rest: int
) -> None:
    for quote, start, length in ((" [1001:2461(1460)]", 1001, 1460), (" [0:0(0)]", 0, 0), ("", 0, 0)):
        packet = injected(text + quote, version)
        seen = see(packet)
        assert seen.bad == ""
        assert (seen.icmp_type, seen.icmp_code) == type_code
        assert seen.rest == rest
        quoted = parse_quoted(seen.data)
        assert (quoted.src, quoted.dst) == (LOCAL[version], REMOTE[version])
        assert (quoted.src_port, quoted.dst_port) == (LOCAL_PORT, REMOTE_PORT)
        assert quoted.seq == (ISN + start) & 0xFFFFFFFF
        assert quoted.total_length == (20 if version == 4 else 40) + 20 + length
    if version == 4:
        assert parse_icmp(packet, 20, len(packet)).type == type_code[0]


def test_other_things_quoted() -> None:
    udp = parse_quoted(see(injected("icmp unreachable port_unreachable [udp (100)]")).data)
    assert (udp.protocol, udp.src_port, udp.dst_port, udp.total_length) == (17, LOCAL_PORT, REMOTE_PORT, 128)
    raw = parse_quoted(see(injected("icmp unreachable protocol_unreachable [raw (50)]")).data)
    assert (raw.protocol, raw.total_length) == (255, 70)
    echo = see(injected("icmp echo_request id 7 [raw (56)]"))
    assert (echo.icmp_type, echo.rest, echo.length) == (8, 7 << 16, 56)


def test_a_message_about_the_mtu_is_remembered() -> None:
    flow = flow_of(mtu=1500)
    build(packet_of("< icmp unreachable frag_needed mtu 1200 [1:1461(1460)]"), flow)
    assert flow.segment_size(0) == 1160
    build(packet_of("< icmp unreachable frag_needed mtu 1400 [1:1461(1460)]"), flow)
    build(packet_of("< icmp unreachable host_unreachable mtu 600 [1:1461(1460)]"), flow)
    assert flow.segment_size(12) == 1148


# Checksums, right and wrong.


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize(
    "text", [". 1:11(10) ack 1 win 9", "udp (11)", "icmp unreachable [udp (1)]", "icmp echo_request"]
)
def test_checksums_are_right_but_where_the_script_wants_them_wrong(version: int, text: str) -> None:
    assert see(injected(text, version)).bad == ""
    assert "checksum" in see(injected("[bad_sum] " + text, version)).bad
    if version == 4:
        bad = see(injected("[bad_ip_sum] " + text))
        assert bad.bad == "wrong IPv4 header checksum"
        packet = injected("[bad_ip_sum] " + text)
        with pytest.raises(BadPacket, match="checksum"):
            parse_ipv4(packet)


@given(st.integers(0, 300), st.integers(1, 0xFFFF), st.booleans())
def test_a_bad_checksum_is_never_by_chance_the_right_one(length: int, port: int, udp: bool) -> None:
    text = f"udp {port} > 1 ({length})" if udp else f"{port} > 1 . 1:{1 + length}({length}) ack 1 win 1"
    assert see(injected("[bad_sum] " + text)).bad == "wrong checksum"
    assert see(injected(text)).bad == ""


# Initial numbers.


def test_a_client_s_initial_number_is_the_script_s_own() -> None:
    flow = flow_of(handshake=False)
    assert see(build(packet_of("< S 1000:1000(0) win 5 <mss 900>"), flow)).seq == 1000
    assert (flow.remote_isn, flow.peer_mss) == (1000, 900)
    assert see(build(packet_of("< . 1:1(0) ack 1 win 5"), flow)).seq == 1001
    # Another SYN on the same connection changes nothing.
    assert see(build(packet_of("< S 77:77(0) win 5 <mss 800>"), flow)).seq == 77
    assert (flow.remote_isn, flow.peer_mss) == (1000, 900)


def test_a_server_s_initial_number_is_that_of_the_syn_ack_taken() -> None:
    flow = flow_of(handshake=False, active=True)
    flow.syn_expected(0, ISN)
    flow.matched(0x02)
    build(packet_of("< S. 9:9(0) ack 99 win 5 <mss 700>"), flow)
    build(packet_of("< S. 500:500(0) ack 1 win 5 <mss 1000>"), flow)
    assert (flow.remote_isn, flow.peer_mss) == (500, 1000)
    flow.matched(ACK)
    build(packet_of("< S. 9:9(0) ack 1 win 5"), flow)
    assert flow.remote_isn == 500


def test_a_segment_before_any_handshake_is_as_written() -> None:
    seen = see(build(packet_of("< . 5:5(0) ack 77 win 5"), flow_of(handshake=False)))
    assert (seen.seq, seen.ack) == (5, 77)


@pytest.mark.parametrize(
    ("answer", "agreed"),
    [
        ("S.", False),
        ("SE.", False),
        ("SW.", True),
        ("SEW.", True),
        ("SA.", True),
        ("SAW.", True),
        ("SEA.", False),
        ("SEWA.", False),
    ],
)
def test_accurate_ecn_is_agreed_on_in_the_syn_ack(answer: str, agreed: bool) -> None:
    # RFC 9768 table 2.
    server = flow_of(handshake=False)
    build(packet_of("< SEWA 0:0(0) win 5"), server)
    server.matched(see(sent(f"{answer} 0:0(0) ack 1")).flags)
    assert server.acc_ecn is agreed
    client = flow_of(handshake=False, active=True)
    client.syn_expected(0, ISN)
    build(packet_of(f"< {answer} 0:0(0) ack 1 win 5"), client)
    assert client.acc_ecn is agreed


# What cannot be built.


@pytest.mark.parametrize(
    ("text", "version", "message"),
    [
        (". 1:1(0) ack 1 win 1 <nop,nop,TS val 1 ecr 77>", 4, "found ecr 77, expected the TS val of a packet"),
        ("[flowlabel 0x1] . 1:1(0) ack 1 win 1", 4, 'found "flowlabel" in an IPv4 packet'),
        ("[bad_ip_sum] . 1:1(0) ack 1 win 1", 6, 'found "bad_ip_sum" in an IPv6 packet'),
        ("icmp packet_too_big mtu 1280", 4, 'found "packet_too_big", expected a type of ICMP over IPv4: echo_reply'),
        ("icmp unreachable frag_needed", 6, 'found "frag_needed", expected a code of unreachable: no_route'),
        ("icmp 256", 4, "expected a type"),
        ("icmp unreachable frag_needed mtu 70000", 4, "at most 65535"),
        ("udp (65507)", 4, ""),
        (". 1:65496(65495) ack 1 win 1 <nop>", 4, "found a packet of 65539 bytes"),
    ],
)
def test_what_cannot_be_built_is_refused(text: str, version: int, message: str) -> None:
    if not message:
        assert see(injected(text, version)).bad == ""
        return
    with pytest.raises(BadScriptError) as error:
        injected(text, version)
    assert message in str(error.value)
    assert str(error.value).startswith("t:1:3: ")


# Built and read back.


def options() -> st.SearchStrategy[list[TcpOption]]:
    hexes = st.binary(max_size=16)
    names = st.sampled_from([("e0b", "ceb", "e1b"), ("e1b", "ceb", "e0b")])
    u24 = st.integers(0, 0xFFFFFF)
    one = st.one_of(
        st.sampled_from([TcpOption("nop"), TcpOption("eol"), TcpOption("sackOK")]),
        U16.map(lambda value: TcpOption("mss", (value,))),
        st.integers(0, 255).map(lambda value: TcpOption("wscale", (value,))),
        st.lists(U32, min_size=1, max_size=3).map(
            lambda numbers: TcpOption("sack", tuple(n for number in numbers for n in (number, number ^ 1)))
        ),
        st.tuples(U32, U32).map(lambda values: TcpOption("TS", values)),
        hexes.map(lambda data: TcpOption("FO", data=data)),
        hexes.map(lambda data: TcpOption("FOEXP", data=data)),
        hexes.map(lambda data: TcpOption("md5", data=data)),
        st.tuples(names, st.lists(u24, max_size=3)).map(
            lambda pair: TcpOption("ECN", tuple(pair[1]), names=pair[0][: len(pair[1])])
        ),
        st.binary(max_size=9).map(lambda data: TcpOption("raw", data=bytes([253, 2 + len(data)]) + data)),
    )
    return st.lists(one, max_size=6).filter(lambda chosen: len(options_bytes(chosen)) <= 40)


@given(options())
def test_options_are_read_back_as_they_were_written(chosen: list[TcpOption]) -> None:
    data = options_bytes(chosen)
    assert len(data) % 4 == 0
    back = parse_options(data)
    assert back[: len(chosen)] == chosen
    assert all(option == TcpOption("eol") for option in back[len(chosen) :])
    if back:
        assert packet_of(f"< . 1:1(0) ack 1 win 1 <{options_text(back)}>").body.options == back  # type: ignore[union-attr]


@given(st.binary(max_size=40))
def test_any_bytes_of_options_are_told_and_mean_the_same_bytes(data: bytes) -> None:
    padded = data + bytes(-len(data) % 4)
    assert options_bytes(parse_options(padded)) == padded


@st.composite
def packets(draw: st.DrawFn, version: int) -> Packet:
    ip = IpFields(None, draw(st.integers(0, 255)), draw(st.integers(0, 255)), None)
    if version == 6:
        ip.flow_label = draw(st.integers(0, 0xFFFFF))
    body: Tcp | Udp | Icmp
    start, length = draw(U32), draw(st.integers(0, 2000))
    seq = SequenceRange(start, (start + length) & 0xFFFFFFFF, length)
    kind = draw(st.integers(0, 5))
    if kind <= 2:
        flags = draw(st.integers(0, 0x1FF))
        ack = draw(U32) if flags & ACK else None
        urgent = draw(st.integers(1, 0xFFFF)) if draw(st.booleans()) else None
        body = Tcp(flags, seq, None, ack, draw(U16), urgent, draw(options()))
        body.options = parse_options(options_bytes(body.options or []))
    elif kind == 3:
        body = Udp(length)
    else:
        type_name = draw(st.sampled_from(sorted(icmp_names.TYPES[version])))
        number = icmp_names.TYPES[version][type_name]
        codes = icmp_names.CODES.get((version, number), {})
        by_number = {code: name for name, code in reversed(codes.items())}
        code = draw(st.sampled_from(sorted(by_number))) if codes else 0
        body = Icmp(type_name, by_number.get(code) if codes else None)
        if (version, number, code) == (4, 3, 4) or (version, number) == (6, 2):
            body.mtu = draw(U16)
        if number in icmp_names.ECHO[version]:
            body.ident = draw(U16)
            body.quote = Quote("raw", None, length)
        elif number in icmp_names.ERRORS[version]:
            quotes = [Quote("tcp", seq), Quote("udp", None, length), Quote("raw", None, length)]
            body.quote = draw(st.sampled_from(quotes))
    return Packet(INBOUND, body, ip, "", Location("t", 1))


@pytest.mark.parametrize("version", [4, 6])
@given(data=st.data())
def test_packets_are_read_back_as_they_were_written(version: int, data: st.DataObject) -> None:
    packet = data.draw(packets(version))
    flow = flow_of(version)
    # Echoes are written as they are.
    flow.scale_echoes, flow.first_script_ts = True, 0
    seen = see(build(packet, flow))
    assert seen.bad == ""
    back = to_script(seen, flow, INBOUND)
    assert back is not None
    assert (back.body, back.ip) == (packet.body, packet.ip)
    # And as text: what is told is what a script would have said.
    (event,) = parse_script("0 " + packet_text(back), "t").events
    assert isinstance(event.action, Packet)
    assert (event.action.body, event.action.ip) == (packet.body, packet.ip)


@given(st.binary(max_size=120))
def test_any_bytes_are_seen_or_refused(data: bytes) -> None:
    told: str | None = ""
    try:
        packet = to_script(see(data), flow_of())
        told = packet.text if packet is not None else None
    except BadPacket:
        told = None
    assert told is None or told.startswith("> ")


@given(st.binary(max_size=80), st.sampled_from([0x45, 0x46, 0x60]), st.sampled_from([1, 6, 17, 58]))
def test_bytes_that_begin_well_are_seen_or_refused(data: bytes, first: int, protocol: int) -> None:
    packet = bytearray(bytes(60) + data)
    packet[0] = first
    packet[9 if first < 0x60 else 6] = protocol
    packet[32] = packet[52] = 0x50
    told = ""
    try:
        found = to_script(see(bytes(packet)), flow_of(6 if first == 0x60 else 4))
        told = found.text if found is not None else "refused"
    except BadPacket:
        told = "refused"
    assert told == "refused" or told.startswith("> ")


def test_flows_know_nothing_of_each_other() -> None:
    one, two = flow_of(), Flow(LOCAL[4], REMOTE[4], 1, 2)
    one.note_timestamp(1, 2)
    assert two.timestamps == {}
    assert two.first_script_ts is None
