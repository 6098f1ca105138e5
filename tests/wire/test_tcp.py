"""The TCP header and its options (RFC 9293 section 3.1)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plankroad.wire.checksum import checksum, finish, pseudo_sum
from plankroad.wire.constants import PROTO_TCP
from plankroad.wire.errors import BadPacket
from plankroad.wire.segment import ACE, ACE_SHIFT, ACK, AE, CWR, ECE, PSH, SYN, Segment
from plankroad.wire.tcp import accecn_length, build_tcp, options_length, parse_tcp, tcp_checksum_ok

A4, B4 = b"\x0a\0\0\1", b"\xc0\0\x02\x63"
A6, B6 = b"\xfd" + bytes(14) + b"\1", b"\x20\x01\x0d\xb8" + bytes(11) + b"\2"
U32 = st.integers(0, 0xFFFFFFFF)
U16 = st.integers(0, 0xFFFF)
FIELDS = ["src_port", "dst_port", "seq", "ack", "flags", "wnd", "payload", "urgent", "gso_size"]
FIELDS += ["mss", "wscale", "sack_permitted", "has_ts", "ts_val", "ts_ecr", "sack", "user_timeout", "fast_open"]
FIELDS += ["fast_open_exp", "accecn"]
#: Every shape of the AccECN option (RFC 9768 table 5): EE0B, ECEB, EE1B.
ACCECN = [(1, 0, 1), (5, 1 << 23, 0xFFFFFF), (1, 2, -1), (1, -1, -1), (-1, -1, -1), (-1, 2, 3), (-1, -1, 3)]
FIELDS += ["md5", "ao", "bad_options"]


def with_options(options: bytes, flags: int = ACK, payload: bytes = b"") -> Segment:
    """What is parsed of a segment with just these options, padded with EOL."""
    options += bytes(-len(options) % 4)
    head = bytes(12) + bytes([(20 + len(options)) << 2, flags]) + bytes(6)
    segment = head + options + payload
    return parse_tcp(segment, 0, len(segment))


@st.composite
def segments(draw: st.DrawFn) -> Segment:
    seg = Segment(draw(U16), draw(U16), draw(U32), draw(U32), draw(st.integers(0, 511)), draw(U16))
    seg.payload = draw(st.binary(max_size=60))
    seg.urgent = draw(U16)
    if draw(st.booleans()):
        seg.has_ts, seg.ts_val, seg.ts_ecr = True, draw(U32), draw(U32)
    kind = draw(st.integers(0, 3))
    if kind == 1:
        seg.flags |= SYN
        seg.mss = draw(U16)
        seg.wscale = draw(st.integers(-1, 255))
        seg.sack_permitted = draw(st.booleans())
        if draw(st.booleans()):
            seg.fast_open = draw(st.sampled_from([b"", b"abcd", b"12345678", b"0123456789abcdef"]))
            seg.fast_open_exp = draw(st.booleans())
    elif kind == 2:
        seg.sack = draw(st.lists(st.tuples(U32, U32), max_size=3))
    if kind != 1 and len(seg.sack) < 3 and draw(st.booleans()):
        seg.user_timeout = draw(U16)
    if seg.flags & (SYN | ACK) != SYN and not seg.sack and options_length(seg) <= 28:
        seg.accecn = draw(st.sampled_from([None, *ACCECN]))
    return seg


def fields(seg: Segment) -> tuple[object, ...]:
    return tuple(getattr(seg, name) for name in FIELDS)


@pytest.mark.requirement("MUST-69")
@given(segments(), st.booleans(), st.integers(0, 40), st.integers(0, 10))
def test_what_is_built_is_parsed_equal(seg: Segment, six: bool, before: int, after: int) -> None:
    src, dst = (A6, B6) if six else (A4, B4)
    head = build_tcp(seg, src, dst)
    assert len(head) == 20 + options_length(seg)
    assert len(head) % 4 == 0
    end = before + len(head) + len(seg.payload)
    buf = b"\xee" * before + head + seg.payload + b"\xee" * after
    assert tcp_checksum_ok(buf, before, end, src, dst)
    back = parse_tcp(buf, before, end)
    assert fields(back) == fields(seg)


@pytest.mark.requirement("MUST-2")
@given(segments(), st.booleans())
def test_a_partial_checksum_finishes_to_the_same_bytes(seg: Segment, six: bool) -> None:
    src, dst = (A6, B6) if six else (A4, B4)
    partial = build_tcp(seg, src, dst, True)
    length = len(partial) + len(seg.payload)
    assert int.from_bytes(partial[16:18], "big") == pseudo_sum(src, dst, PROTO_TCP, length)
    assert finish(partial, seg.payload, 0, 16) == build_tcp(seg, src, dst)


@pytest.mark.requirement("MUST-3")
@given(segments(), st.data())
def test_any_flipped_bit_fails_the_checksum(seg: Segment, data: st.DataObject) -> None:
    """MUST-3: the receiver must check it."""
    whole = bytearray(build_tcp(seg, A4, B4) + seg.payload)
    bit = data.draw(st.integers(0, len(whole) * 8 - 1))
    whole[bit >> 3] ^= 1 << (bit & 7)
    assert not tcp_checksum_ok(bytes(whole), 0, len(whole), A4, B4)


@given(segments())
def test_other_addresses_fail_the_checksum(seg: Segment) -> None:
    """The pseudo-header protects against misrouted segments (RFC 9293 section 3.1)."""
    whole = build_tcp(seg, A4, B4) + seg.payload
    assert not tcp_checksum_ok(whole, 0, len(whole), A4, b"\xc0\0\x02\x64")


def test_checksum_of_a_full_size_segment() -> None:
    seg = Segment(1, 2, 3, 4, ACK | PSH, 5, bytes(range(256)) * 5 + b"odd")
    head = build_tcp(seg, A4, B4)
    blank = head[:16] + b"\0\0" + head[18:]
    pseudo = pseudo_sum(A4, B4, PROTO_TCP, len(head) + len(seg.payload))
    assert int.from_bytes(head[16:18], "big") == checksum(blank + seg.payload, pseudo)
    assert tcp_checksum_ok(head + seg.payload, 0, 20 + 1283, A4, B4)


def test_numbers_are_masked_on_exit() -> None:
    seg = Segment(1, 2, (7 << 32) + 5, (9 << 32) + 6, ACK, 0)
    seg.has_ts, seg.ts_val, seg.ts_ecr = True, (1 << 32) + 3, (2 << 32) + 4
    for sack in ([], [((1 << 32) + 1, (1 << 32) + 2)]):
        seg.sack = sack
        head = build_tcp(seg, A4, B4)
        assert tcp_checksum_ok(head, 0, len(head), A4, B4)
        back = parse_tcp(head, 0, len(head))
        assert (back.seq, back.ack, back.ts_val, back.ts_ecr) == (5, 6, 3, 4)
        assert back.sack == ([(1, 2)] if sack else [])


@pytest.mark.parametrize(("has_ts", "most"), [(False, 4), (True, 3)])
def test_as_many_sack_blocks_as_fit(has_ts: bool, most: int) -> None:
    """RFC 2018 section 3: 4 blocks fit, 3 with timestamps; the first are the ones that matter."""
    seg = Segment(1, 2, 3, 4, ACK, 5)
    seg.has_ts = has_ts
    seg.sack = [(n, n + 1) for n in range(0, 60, 10)]
    head = build_tcp(seg, A4, B4)
    assert len(head) - 20 == options_length(seg) <= 40
    assert parse_tcp(head, 0, len(head)).sack == seg.sack[:most]


def test_syn_options_are_aligned_and_in_the_usual_order() -> None:
    seg = Segment(1, 2, 3, 0, SYN, 65535)
    seg.mss, seg.sack_permitted, seg.wscale = 1460, True, 7
    seg.has_ts, seg.ts_val, seg.ts_ecr = True, 0x01020304, 0
    head = build_tcp(seg, A4, B4)
    assert head[20:].hex(" ") == "02 04 05 b4 04 02 08 0a 01 02 03 04 00 00 00 00 01 03 03 07"
    seg.has_ts = False
    assert build_tcp(seg, A4, B4)[20:].hex(" ") == "02 04 05 b4 01 01 04 02 01 03 03 07"


def test_data_segments_have_timestamps_then_sack() -> None:
    """RFC 7323 appendix A: NOP NOP Timestamps."""
    seg = Segment(1, 2, 3, 4, ACK, 5)
    seg.has_ts, seg.ts_val, seg.ts_ecr = True, 1, 2
    assert build_tcp(seg, A4, B4)[20:].hex(" ") == "01 01 08 0a 00 00 00 01 00 00 00 02"
    seg.sack = [(10, 20)]
    assert build_tcp(seg, A4, B4)[32:].hex(" ") == "01 01 05 0a 00 00 00 0a 00 00 00 14"


def test_no_room_for_even_one_sack_block() -> None:
    seg = Segment(1, 2, 3, 4, SYN, 5)
    seg.mss, seg.wscale, seg.has_ts, seg.fast_open, seg.sack = 1460, 7, True, bytes(12), [(1, 2)]
    head = build_tcp(seg, A4, B4)
    assert (len(head), options_length(seg)) == (56, 36)
    assert parse_tcp(head, 0, 56).sack == []


def test_a_pseudo_header_sum_that_is_a_multiple_of_65535_is_all_ones() -> None:
    """0 is no sum that anything but zeros has; a link may take a field of 0 for one that is not filled in."""
    fill = (0xFFFF - pseudo_sum(A4, bytes(4), PROTO_TCP, 20)).to_bytes(2, "big")
    assert build_tcp(Segment(1, 2, 3, 4, ACK, 5), A4, b"\0\0" + fill, True)[16:18] == b"\xff\xff"


def test_options_that_do_not_fit_are_refused() -> None:
    seg = Segment(1, 2, 3, 0, SYN, 5)
    seg.mss, seg.wscale, seg.has_ts, seg.fast_open = 1460, 7, True, bytes(16)
    assert len(build_tcp(seg, A4, B4)) == 60
    seg.user_timeout = 3
    with pytest.raises(ValueError, match="40 bytes"):
        build_tcp(seg, A4, B4)


@pytest.mark.requirement("MUST-4")
def test_every_option_is_read() -> None:
    seg = with_options(
        b"\x02\x04\x05\xb4\x03\x03\x0e\x04\x02\x08\x0a\0\0\0\1\0\0\0\2\x1c\x04\x80\x05\x22\x06abcd", SYN
    )
    assert (seg.mss, seg.wscale, seg.sack_permitted, seg.has_ts, seg.ts_val, seg.ts_ecr) == (
        1460,
        14,
        True,
        True,
        1,
        2,
    )
    assert (seg.user_timeout, seg.fast_open, seg.bad_options) == (0x8005, b"abcd", False)
    assert with_options(b"\x13\x12" + bytes(16)).md5
    assert with_options(b"\x1d\x10" + bytes(14)).ao
    assert with_options(b"\x05\x12" + bytes(range(16))).sack == [(0x00010203, 0x04050607), (0x08090A0B, 0x0C0D0E0F)]


@pytest.mark.requirement("MUST-64")
def test_options_can_begin_on_any_byte() -> None:
    """MUST-64: "alignment" is not to be relied on."""
    for n in range(8):
        seg = with_options(b"\x01" * n + b"\x08\x0a\0\0\0\1\0\0\0\2" + b"\x05\x0a\0\0\0\3\0\0\0\4")
        assert (seg.has_ts, seg.ts_val, seg.ts_ecr, seg.sack) == (True, 1, 2, [(3, 4)])


@pytest.mark.requirement("MUST-5", "MUST-6", "MUST-68")
def test_unknown_options_are_skipped() -> None:
    """MUST-6: an option that is not implemented is ignored, on any segment (MUST-5)."""
    seg = with_options(b"\xfd\x04\xde\xad\x1e\x0c" + bytes(10) + b"\x02\x04\x05\xb4")
    assert (seg.mss, seg.bad_options) == (1460, False)


@pytest.mark.requirement("MUST-4", "MUST-69")
def test_nothing_counts_behind_end_of_options() -> None:
    """MUST-69 has padding there; RFC 9293 section 3.2: End of Option List ends it."""
    seg = with_options(b"\x02\x04\x05\xb4\x00\x03\x03\x07")
    assert (seg.mss, seg.wscale, seg.bad_options) == (1460, -1, False)


@pytest.mark.requirement("MUST-7")
@pytest.mark.parametrize(
    "bad",
    [b"\x02\x00", b"\x02\x01", b"\xfd\x00", b"\x08\x29", b"\xfd\xff", b"\x08\x0a\0\0\0\0\0", b"\x01\x01\x01\x08"],
)
def test_an_illegal_length_ends_the_options(bad: bytes) -> None:
    """MUST-7: what came before is kept, and the loop ends."""
    options = b"\x02\x04\x05\xb4" + bad
    options = b"\x01" * (-len(options) % 4) + options
    seg = with_options(options)
    assert seg.bad_options
    assert (seg.mss, seg.has_ts) == (1460, False)


@pytest.mark.parametrize(
    "option",
    [
        b"\x02\x03\x05",
        b"\x02\x05\x05\xb4\x00",
        b"\x03\x02",
        b"\x03\x04\x01\x01",
        b"\x04\x03\x00",
        b"\x05\x02",
        b"\x05\x09" + bytes(7),
        b"\x05\x0b" + bytes(9),
        b"\x08\x09" + bytes(7),
        b"\x08\x0b" + bytes(9),
        b"\x13\x10" + bytes(14),
        b"\x1c\x03\x00",
        b"\x1d\x03\x00",
        b"\x22\x03a",
        b"\x22\x05abc",
        b"\x22\x07abcde",
        b"\x22\x14" + bytes(18),
        b"\xfe\x02",
        b"\xfe\x03\xf9",
        b"\xfe\x05\xf9\x89a",
        b"\xfe\x06\xf9\x89ab",
        b"\xfe\x09\xf9\x89abcde",
        b"\xfe\x16\xf9\x89" + bytes(18),
        b"\xfe\x08\xf9\x88abcd",
    ],
)
def test_a_known_option_with_another_length_is_skipped(option: bytes) -> None:
    seg = with_options(option + b"\xfd\x02", SYN)
    plain = with_options(b"", SYN)
    assert fields(seg) == fields(plain)


def test_a_fast_open_cookie_counts_in_a_syn_only() -> None:
    """RFC 7413 section 4.1.1: without SYN it must be ignored."""
    assert with_options(b"\x22\x06abcd", ACK).fast_open is None
    assert with_options(b"\x22\x02", SYN).fast_open == b""
    assert with_options(b"\xfe\x08\xf9\x89abcd", ACK).fast_open is None


def test_the_experimental_form_of_fast_open_is_told_apart() -> None:
    """RFC 6994: option 254 with the magic number 0xF989, as before kind 34 was registered (RFC 7413 section 10)."""
    seg = with_options(b"\xfe\x08\xf9\x89abcd", SYN)
    assert (seg.fast_open, seg.fast_open_exp) == (b"abcd", True)
    seg = with_options(b"\xfe\x04\xf9\x89", SYN)
    assert (seg.fast_open, seg.fast_open_exp) == (b"", True)
    # The registered form counts where both are there, in whichever order.
    for options in (b"\xfe\x08\xf9\x89abcd\x22\x06efgh", b"\x22\x06efgh\xfe\x08\xf9\x89abcd"):
        seg = with_options(options, SYN)
        assert (seg.fast_open, seg.fast_open_exp) == (b"efgh", False)
    made = Segment(1, 2, 3, 0, SYN, 5)
    made.fast_open, made.fast_open_exp = b"12345678", True
    assert build_tcp(made, A4, B4)[20:].hex(" ") == "fe 0c f9 89 31 32 33 34 35 36 37 38"


def test_reserved_bits_are_ignored() -> None:
    """RFC 9293 section 3.1: "must be ignored in received segments if the corresponding future features are not
    implemented"."""
    seg = bytearray(build_tcp(Segment(1, 2, 3, 4, ACK, 5), A4, B4))
    seg[12] |= 0x0E
    assert parse_tcp(bytes(seg), 0, 20).flags == ACK


def test_accurate_ecn_is_the_last_bit_before_the_old_flags() -> None:
    """RFC 9768 section 3.1.1: the flag at bit offset 7."""
    head = build_tcp(Segment(1, 2, 3, 4, AE | CWR | ECE | SYN, 5), A4, B4)
    assert head[12:14] == b"\x51\xc2"
    assert parse_tcp(head, 0, 20).flags == AE | CWR | ECE | SYN
    assert (ACE >> ACE_SHIFT, AE >> ACE_SHIFT, CWR >> ACE_SHIFT, ECE >> ACE_SHIFT) == (7, 4, 2, 1)


@pytest.mark.parametrize(
    ("counters", "option"),
    [
        ((0x010203, 0x040506, 0x070809), "01 ac 0b 01 02 03 04 05 06 07 08 09"),
        ((0x010203, 0x040506, -1), "ac 08 01 02 03 04 05 06"),
        ((0x010203, -1, -1), "01 01 01 ac 05 01 02 03"),
        ((-1, -1, -1), "01 01 ac 02"),
        ((-1, 0x040506, 0x070809), "ae 08 07 08 09 04 05 06"),
        ((-1, -1, 0x070809), "01 01 01 ae 05 07 08 09"),
    ],
)
def test_an_accecn_option_leaves_out_its_last_counters(counters: tuple[int, int, int], option: str) -> None:
    """RFC 9768 section 3.2.3, figure 4 and table 5."""
    seg = Segment(1, 2, 3, 4, ACK, 5)
    seg.accecn = counters
    head = build_tcp(seg, A4, B4)
    assert head[20:].hex(" ") == option
    assert accecn_length(counters) == len(head) - 20
    assert parse_tcp(head, 0, len(head)).accecn == counters


@pytest.mark.parametrize(
    ("option", "counters"),
    [
        ("ac 03 ff", (-1, -1, -1)),
        ("ac 07 00 00 01 ff ff", (1, -1, -1)),
        ("ae 0b 00 00 01 00 00 02 00 00 03", (3, 2, 1)),
        ("ac 0e 00 00 01 00 00 02 00 00 03 ff ff ff", (1, 2, 3)),
    ],
)
def test_an_accecn_option_of_another_length_has_the_counters_that_fit(
    option: str, counters: tuple[int, int, int]
) -> None:
    """RFC 9768 section 3.2.3: "MUST use those whole 3-octet fields that fit within the length"."""
    assert with_options(bytes.fromhex(option)).accecn == counters


def test_an_accecn_option_on_a_syn_is_ignored() -> None:
    """RFC 9768 section 3.2.3.2.1; on a SYN,ACK it is not."""
    option = b"\xac\x05\0\0\1"
    assert with_options(option, SYN).accecn is None
    assert with_options(option, SYN | ACK).accecn == (1, -1, -1)


def test_sack_blocks_take_the_room_that_accecn_leaves() -> None:
    seg = Segment(1, 2, 3, 4, ACK, 5)
    seg.has_ts = True
    seg.accecn = (1, 2, -1)
    seg.sack = [(10, 20), (30, 40), (50, 60)]
    head = build_tcp(seg, A4, B4)
    assert len(head) == 60 == 20 + options_length(seg)
    back = parse_tcp(head, 0, 60)
    assert (back.accecn, back.sack) == ((1, 2, -1), [(10, 20), (30, 40)])


@pytest.mark.parametrize(
    ("buf", "start", "end"),
    [
        (bytes(19), 0, 19),
        (bytes(12) + b"\x40" + bytes(20), 0, 33),
        (bytes(12) + b"\x60" + bytes(10), 0, 23),
        (bytes(12) + b"\x50" + bytes(7), 0, 21),
        (bytes(12) + b"\x50" + bytes(7), 1, 20),
        (bytes(12) + b"\x50" + bytes(7), -20, 0),
        (bytes(12) + b"\xf0" + bytes(46), 0, 59),
        (b"", 0, 0),
    ],
)
def test_truncated_headers_are_refused(buf: bytes, start: int, end: int) -> None:
    with pytest.raises(BadPacket, match=r"truncated|data offset|longer"):
        parse_tcp(buf, start, end)
