"""The IPv6 header and extension headers (RFC 8200)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plankroad.wire import ipv6_options as o
from plankroad.wire.errors import BadPacket
from plankroad.wire.ipv6 import (
    MAX_EXTENSION_HEADERS,
    build_destination,
    build_fragment,
    build_hop_by_hop,
    build_ipv6,
    build_routing,
    chain_complete,
    is_extension_header,
    parse_ipv6,
    parse_routing,
    upper_layer,
)

A = b"\xfd" + bytes(14) + b"\x01"
B = b"\xfd" + bytes(14) + b"\x02"
TCP = 6
UDP = 17


def packet(protocol: int, payload: bytes) -> bytes:
    return build_ipv6(A, B, protocol, len(payload)) + payload


@given(
    st.binary(min_size=16, max_size=16),
    st.binary(min_size=16, max_size=16),
    st.sampled_from([1, 4, 6, 17, 41, 47, 50, 51, 58, 59, 132, 135, 139, 140, 255]),
    st.integers(0, 255),
    st.integers(0, 255),
    st.integers(0, 0xFFFFF),
    st.integers(0, 100),
    st.integers(0, 20),
    st.integers(0, 20),
)
def test_what_is_built_is_parsed_equal(
    src: bytes, dst: bytes, protocol: int, hops: int, tc: int, flow: int, length: int, before: int, padding: int
) -> None:
    head = build_ipv6(src, dst, protocol, length, hops, tc, flow)
    assert len(head) == 40
    h = parse_ipv6(b"x" * before + head + bytes(length + padding), before)
    assert (h.src, h.dst, h.hop_limit, h.traffic_class, h.flow_label) == (src, dst, hops, tc, flow)
    assert (h.next_header, h.protocol, h.protocol_offset) == (protocol, protocol, before + 6)
    assert (h.payload_length, h.payload_start, h.payload_end) == (length, before + 40, before + 40 + length)
    assert (h.extensions, h.fragmented, h.fragment_start) == ([], False, -1)


def test_defaults() -> None:
    h = parse_ipv6(build_ipv6(A, B, TCP, 0))
    assert (h.hop_limit, h.traffic_class, h.flow_label) == (64, 0, 0)


def test_the_walk_over_every_extension_header() -> None:
    hop = build_hop_by_hop(60, [o.build_router_alert6(0)])
    first = build_destination(43, [o.Ipv6Option(0x1E, b"abc")])
    routing = build_routing(44, 4, 0, bytes(20))
    fragment = build_fragment(60, 0, False, 0xDEADBEEF)
    second = build_destination(UDP, [])
    p = packet(0, hop + first + routing + fragment + second + b"12345678")
    h = parse_ipv6(p)
    assert h.extensions == [(0, 40, 48), (60, 48, 56), (43, 56, 80), (44, 80, 88), (60, 88, 96)]
    assert (h.next_header, h.protocol, h.protocol_offset, h.payload_start) == (0, UDP, 88, 96)
    # RFC 6946: offset 0 and M 0 is a whole packet.
    assert (h.fragmented, h.fragment_start, h.fragment_next, h.fragment_ident) == (False, 80, 56, 0xDEADBEEF)
    assert [(x.kind, x.data, x.offset) for x in o.parse_ipv6_options(p, 40, 48)] == [(5, b"\0\0", 42)]
    assert [(x.kind, x.data, x.offset) for x in o.parse_ipv6_options(p, 48, 56)] == [(0x1E, b"abc", 50)]
    assert o.parse_ipv6_options(p, 88, 96) == []
    r = parse_routing(p, 56, 80)
    assert (r.next_header, r.routing_type, r.segments_left, r.data) == (44, 4, 0, bytes(20))


@pytest.mark.parametrize(("offset", "more"), [(0, True), (8, True), (65528, False), (1232, True)])
def test_the_walk_ends_at_a_fragment(offset: int, more: bool) -> None:
    """What follows the header of a fragment is its part of the packet; only the first begins with headers."""
    hop = build_hop_by_hop(44, [])
    p = packet(0, hop + build_fragment(60, offset, more, 7) + bytes(16))
    h = parse_ipv6(p)
    assert (h.fragmented, h.fragment_offset, h.more_fragments, h.fragment_ident) == (True, offset, more, 7)
    assert (h.protocol, h.protocol_offset, h.payload_start) == (60, 48, 56)
    assert (h.fragment_start, h.fragment_next) == (48, 40)


def test_reserved_bits_of_a_fragment_header_are_ignored() -> None:
    """RFC 8200 section 4.5: both reserved fields are "ignored on reception"."""
    p = bytearray(packet(44, build_fragment(TCP, 1480, True, 1) + bytes(8)))
    p[41] = 0xFF
    p[43] |= 6
    h = parse_ipv6(bytes(p))
    assert (h.fragment_offset, h.more_fragments) == (1480, True)


def test_a_hop_by_hop_header_out_of_place_is_not_recognized() -> None:
    """RFC 8200 section 4: "a Next Header value of zero in any header other than an IPv6 header" is for code 1."""
    p = packet(60, build_destination(0, []) + build_hop_by_hop(TCP, []) + bytes(20))
    h = parse_ipv6(p)
    assert (h.protocol, h.protocol_offset, h.payload_start) == (0, 40, 48)
    p = packet(0, build_hop_by_hop(0, []) + build_hop_by_hop(TCP, []))
    assert parse_ipv6(p).protocol == 0


def test_a_second_fragment_header_is_refused() -> None:
    with pytest.raises(BadPacket, match="second"):
        parse_ipv6(packet(44, build_fragment(44, 0, False, 1) + build_fragment(TCP, 0, False, 1)))


def test_long_chains_are_refused() -> None:
    """RFC 8504 section 5.3: a host may limit the number of extension headers."""
    chain = build_destination(60, []) * (MAX_EXTENSION_HEADERS - 1) + build_destination(TCP, [])
    h = parse_ipv6(packet(60, chain + bytes(20)))
    assert (h.protocol, len(h.extensions)) == (TCP, MAX_EXTENSION_HEADERS)
    with pytest.raises(BadPacket, match="too many"):
        parse_ipv6(packet(60, build_destination(60, []) + chain + bytes(20)))
    assert upper_layer(build_destination(60, []) + chain + bytes(20), 0, 8 * 33 + 20, 60) == (60, -1)


def test_every_truncation_is_refused() -> None:
    chain = build_hop_by_hop(43, []) + build_routing(44, 4, 0, bytes(12)) + build_fragment(60, 0, False, 1)
    chain += build_destination(59, [])
    p = packet(0, chain)
    assert parse_ipv6(p).protocol == 59
    for n in range(len(p)):
        with pytest.raises(BadPacket):
            parse_ipv6(p[:n])
        if n > 40:
            with pytest.raises(BadPacket, match="extension header is truncated"):
                parse_ipv6(build_ipv6(A, B, 0, n - 40) + p[40:n])


def test_wrong_versions_are_refused() -> None:
    for version in range(16):
        if version != 6:
            with pytest.raises(BadPacket, match="version"):
                parse_ipv6(bytes([version << 4]) + packet(TCP, b"")[1:])


@pytest.mark.parametrize(
    ("protocol", "need"),
    [(TCP, 20), (UDP, 8), (58, 8), (132, 1), (59, 0)],
)
def test_a_first_fragment_must_hold_the_whole_chain(protocol: int, need: int) -> None:
    """RFC 8200 section 4.5, RFC 7112 section 5."""
    chain = build_destination(43, []) + build_routing(protocol, 4, 0, bytes(4)) + bytes(need)
    assert chain_complete(chain, 0, len(chain), 60)
    assert upper_layer(chain, 0, len(chain), 60) == (protocol, 16)
    for n in range(len(chain)):
        assert not chain_complete(chain[:n], 0, n, 60)


def test_an_authentication_header_is_walked_over_in_a_quote_but_not_on_receipt() -> None:
    ah = bytes([TCP, 4]) + bytes(22) + bytes(20)
    assert upper_layer(ah, 0, len(ah), 51) == (TCP, 24)
    assert parse_ipv6(packet(51, ah)).protocol == 51


def test_no_upper_layer_is_looked_for_in_a_later_fragment() -> None:
    assert upper_layer(build_fragment(TCP, 8, True, 1) + bytes(20), 0, 28, 44) == (TCP, -1)
    assert upper_layer(build_fragment(TCP, 2048, False, 1) + bytes(20), 0, 28, 44) == (TCP, -1)
    assert upper_layer(build_fragment(TCP, 0, True, 1) + bytes(20), 0, 28, 44) == (TCP, 8)


def test_which_headers_are_walked_over() -> None:
    assert [kind for kind in range(256) if is_extension_header(kind)] == [0, 43, 44, 60]


@given(st.lists(st.tuples(st.integers(2, 255), st.binary(max_size=30)), max_size=12), st.integers(0, 255))
def test_options_built_are_parsed_equal(pairs: list[tuple[int, bytes]], next_header: int) -> None:
    built = build_hop_by_hop(next_header, [o.Ipv6Option(kind, data) for kind, data in pairs])
    assert len(built) % 8 == 0
    assert len(built) == 8 * (built[1] + 1)
    assert built[0] == next_header
    assert [(x.kind, x.data) for x in o.parse_ipv6_options(built, 0, len(built))] == pairs


def test_padding() -> None:
    """RFC 8200 section 4.2: Pad1 for one byte, PadN for more."""
    assert [o.padding(n) for n in range(5)] == [b"", b"\0", b"\1\0", b"\1\1\0", b"\1\2\0\0"]
    built = o.build_options_header(59, [o.Ipv6Option(0, b""), o.Ipv6Option(1, b"\0\0"), o.Ipv6Option(0x1E, b"")])
    assert built == b"\x3b\x01\x00\x01\x02\x00\x00\x1e\x00\x01\x05" + bytes(5)
    assert len(o.parse_ipv6_options(built, 0, 16)) == 1


@pytest.mark.parametrize("inside", [b"\x1e\x05abcd", b"\0\0\0\0\0\x1e", b"\x01\x05\0\0\0\0", b"\x1e\x03abc\x1e"])
def test_options_past_the_end_are_refused(inside: bytes) -> None:
    with pytest.raises(BadPacket, match="option is truncated"):
        o.parse_ipv6_options(b"\x3b\x00" + inside, 0, 8)


@pytest.mark.parametrize(("start", "end"), [(0, 7), (0, 9), (-8, 0), (8, 8)])
def test_options_headers_outside_of_the_buffer_are_refused(start: int, end: int) -> None:
    with pytest.raises(BadPacket, match="truncated"):
        o.parse_ipv6_options(bytes(8), start, end)
    with pytest.raises(BadPacket, match="truncated"):
        parse_routing(bytes(8), start, end)


def test_what_an_unrecognized_option_asks_for() -> None:
    """RFC 8200 section 4.2: the two highest bits; section 4.2 too: the third says that data may change."""
    assert [o.option_action(k) for k in (0x1E, 0x5E, 0x9E, 0xDE)] == [
        o.ACTION_SKIP,
        o.ACTION_DISCARD,
        o.ACTION_REPORT,
        o.ACTION_REPORT_UNICAST,
    ]
    assert o.option_may_change(0x3E)
    assert not o.option_may_change(0x1E)
    assert not o.option_may_change(0xDF)
    options = [o.Ipv6Option(0x1E, b"", 2), o.Ipv6Option(0xC2, b"", 4), o.Ipv6Option(0x5E, b"", 6)]
    found = o.find_unrecognized(options, frozenset({0xC2}))
    assert found is options[2]
    assert o.find_unrecognized(options, frozenset({0xC2, 0x5E})) is None


def test_what_cannot_be_built_is_refused() -> None:
    with pytest.raises(ValueError, match="too long"):
        build_ipv6(A, B, 6, 65536)
    with pytest.raises(ValueError, match="16 bytes"):
        build_ipv6(A[:4], B, 6, 0)
    with pytest.raises(ValueError, match="multiple of 8"):
        build_routing(6, 4, 0, bytes(5))
    with pytest.raises(ValueError, match="2048"):
        build_routing(6, 4, 0, bytes(2052))
    for offset in (4, -8, 65536):
        with pytest.raises(ValueError, match="fragment offset"):
            build_fragment(6, offset, False, 0)
    with pytest.raises(ValueError, match="255"):
        build_hop_by_hop(6, [o.Ipv6Option(9, bytes(256))])
    with pytest.raises(ValueError, match="2048"):
        build_hop_by_hop(6, [o.Ipv6Option(9, bytes(255))] * 8)
    assert len(build_hop_by_hop(6, [o.Ipv6Option(9, bytes(255))] * 7 + [o.Ipv6Option(9, bytes(245))])) == 2048
