"""Fragmentation (RFC 791 section 3.2, RFC 8200 section 4.5)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP, defragment

from plankroad.ip.fragment import CannotFragment, fragment_ipv4, fragment_ipv6
from plankroad.wire.address import ip_to_bytes as ip
from plankroad.wire.errors import BadPacket
from plankroad.wire.ipv4 import build_ipv4, parse_ipv4
from plankroad.wire.ipv4_options import build_record_route, build_router_alert, parse_options
from plankroad.wire.ipv6 import build_fragment, build_ipv6, build_routing, parse_ipv6
from plankroad.wire.ipv6_options import build_options_header

A4 = ip("10.0.0.1")
B4 = ip("10.0.0.2")
A6 = ip("fd00::1")
B6 = ip("fd00::2")


def packet4(
    payload: bytes, options: bytes = b"", dont_fragment: bool = False, more: bool = False, at: int = 0
) -> bytes:
    head = build_ipv4(A4, B4, 17, len(payload), 64, 0x20, 77, dont_fragment, more, at, options)
    return head + payload


def data(size: int) -> bytes:
    return bytes(i * 7 & 255 for i in range(size))


def test_what_fits_is_left_alone() -> None:
    packet = packet4(data(100), dont_fragment=True)
    assert fragment_ipv4(packet, 120) == [packet]
    # Padding is no part of the packet.
    assert fragment_ipv4(packet + bytes(50), 120) == [packet]
    six = build_ipv6(A6, B6, 17, 100) + data(100)
    assert fragment_ipv6(six, 140, 1) == [six]
    assert fragment_ipv6(six + bytes(9), 140, 1) == [six]


def test_ipv4_fragments_have_the_right_headers() -> None:
    payload = data(3000)
    fragments = fragment_ipv4(packet4(payload), 1500)
    headers = [parse_ipv4(f) for f in fragments]
    assert [len(f) for f in fragments] == [1500, 1500, 60]
    assert [(h.fragment_offset, h.more_fragments) for h in headers] == [(0, True), (1480, True), (2960, False)]
    for h in headers:
        assert (h.ident, h.tos, h.ttl, h.protocol, h.src, h.dst) == (77, 0x20, 64, 17, A4, B4)
    assert b"".join(f[20:] for f in fragments) == payload


def test_dont_fragment_is_obeyed() -> None:
    with pytest.raises(CannotFragment, match="Don't Fragment"):
        fragment_ipv4(packet4(data(100), dont_fragment=True), 100)


def test_only_copied_options_are_in_later_fragments() -> None:
    # RFC 791 section 3.1
    options = build_record_route(3) + build_router_alert()
    fragments = fragment_ipv4(packet4(data(200), options), 100)
    kinds = [[o.kind for o in parse_options(parse_ipv4(f).options)] for f in fragments]
    assert kinds[0] == [7, 148]
    assert len(kinds) > 2
    assert all(k == [148] for k in kinds[1:])
    assert b"".join(f[parse_ipv4(f).header_length :] for f in fragments) == data(200)
    assert all(len(f) <= 100 for f in fragments)


def test_a_fragment_is_cut_again() -> None:
    # RFC 791 section 3.2
    fragment = packet4(data(800), more=True, at=1600)
    pieces = [parse_ipv4(p) for p in fragment_ipv4(fragment, 420)]
    assert [(p.fragment_offset, p.more_fragments) for p in pieces] == [(1600, True), (2000, True)]
    last = [parse_ipv4(p) for p in fragment_ipv4(packet4(data(804), at=1600), 420)]
    assert [(p.fragment_offset, p.more_fragments) for p in last] == [(1600, True), (2000, True), (2400, False)]


def test_an_mtu_without_room_is_refused() -> None:
    with pytest.raises(CannotFragment, match="8 bytes"):
        fragment_ipv4(packet4(data(100)), 27)
    assert len(fragment_ipv4(packet4(data(100)), 28)) == 13
    with pytest.raises(BadPacket):
        fragment_ipv4(b"\x45" + bytes(100), 50)


def test_wrong_options_are_not_copied_about() -> None:
    with pytest.raises(CannotFragment, match="options"):
        fragment_ipv4(packet4(data(100), b"\x07\x50\x04\x00"), 60)


@given(st.integers(1, 4000), st.integers(28, 1500), st.booleans())
def test_scapy_puts_ipv4_fragments_together(size: int, mtu: int, options: bool) -> None:
    packet = packet4(data(size), build_router_alert() if options else b"")
    try:
        fragments = fragment_ipv4(packet, mtu)
    except CannotFragment:
        assert options
        assert mtu < 32
        return
    assert all(len(f) <= mtu for f in fragments)
    if len(fragments) > 1:
        whole = defragment(  # type: ignore[no-untyped-call]
            [IP(f) for f in fragments]
        )
        assert len(whole) == 1
        built = whole[0]
        del built.chksum, built.len
        assert bytes(built) == packet


def test_ipv6_fragments_have_the_right_headers() -> None:
    payload = data(3000)
    packet = build_ipv6(A6, B6, 17, 3000, 9, 0x20, 0x12345) + payload
    fragments = fragment_ipv6(packet, 1280, 0xDEADBEEF)
    headers = [parse_ipv6(f) for f in fragments]
    assert all(len(f) <= 1280 for f in fragments)
    assert [h.fragment_offset for h in headers] == [0, 1232, 2464]
    assert [h.more_fragments for h in headers] == [True, True, False]
    for h in headers:
        assert (h.fragment_ident, h.protocol, h.hop_limit, h.traffic_class, h.flow_label) == (
            0xDEADBEEF,
            17,
            9,
            0x20,
            0x12345,
        )
    assert b"".join(f[48:] for f in fragments) == payload


def test_ipv6_per_fragment_headers_are_in_every_fragment() -> None:
    # RFC 8200 section 4.5: up to and including the routing header, else the hop-by-hop options header
    hop = build_options_header(60, [])
    first_destination = build_options_header(43, [])
    routing = build_routing(60, 4, 0, bytes(4))
    last_destination = build_options_header(17, [])
    body = hop + first_destination + routing + last_destination + data(2000)
    packet = build_ipv6(A6, B6, 0, len(body)) + body
    fragments = fragment_ipv6(packet, 1280, 1)
    for i, fragment in enumerate(fragments):
        header = parse_ipv6(fragment)
        kinds = [kind for kind, _, _ in header.extensions]
        assert kinds == [0, 60, 43, 44]
        assert header.protocol == 60, i
    hop_only = build_options_header(17, []) + data(2000)
    packet = build_ipv6(A6, B6, 0, len(hop_only)) + hop_only
    for fragment in fragment_ipv6(packet, 1280, 1):
        assert [kind for kind, _, _ in parse_ipv6(fragment).extensions] == [0, 44]


def test_ipv6_packets_are_fragmented_once() -> None:
    # RFC 8200 section 5: only by the source
    body = build_fragment(17, 0, True, 5) + data(2000)
    with pytest.raises(CannotFragment, match="already"):
        fragment_ipv6(build_ipv6(A6, B6, 44, len(body)) + body, 1280, 1)


def test_all_headers_are_in_the_first_ipv6_fragment() -> None:
    # RFC 7112 section 5
    destination = build_options_header(6, [])
    long = destination[:1] + bytes([20]) + bytes(166)
    body = long + data(400)
    packet = build_ipv6(A6, B6, 60, len(body)) + body
    with pytest.raises(CannotFragment, match="first fragment"):
        fragment_ipv6(packet, 40 + 8 + 168 + 16, 1)
    assert len(fragment_ipv6(packet, 40 + 8 + 168 + 24, 1)) > 1
