"""IPv4 options (RFC 791 section 3.1, RFC 1122 section 3.2.1.8, RFC 1812 sections 4.3.2.6 and 5.3.13)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plankroad.wire import ipv4_options as o
from plankroad.wire.errors import BadPacket

S, G1, G2, G3, D = (bytes([10, 0, 0, n]) for n in (1, 11, 12, 13, 99))
OWN = b"\xc0\0\x02\x01"


def route_of(options: bytes) -> o.RouteOption:
    route = o.find_source_route(options)
    assert route is not None
    return route


@pytest.mark.parametrize(("strict", "kind"), [(False, 131), (True, 137)])
def test_a_source_route_travels_and_is_reversed(strict: bool, kind: int) -> None:
    """RFC 1122 section 3.2.1.8 (c): sent as {>>G2, G3, D} to G1, received as {G1, G2, G3 >>}, reversed for MUST-53."""
    dst, options = o.build_source_route([G1, G2, G3], D, strict)
    assert dst == G1
    assert options == bytes([kind, 15, 4]) + G2 + G3 + D
    for here, following in ((G1, G2), (G2, G3), (G3, D)):
        route = route_of(options)
        assert not route.completed()
        dst, options = o.advance_source_route(options, route, here)
        assert dst == following
    route = route_of(options)
    assert route.completed()
    assert route.recorded() == [G1, G2, G3]
    back, reversed_options = o.reverse_route(route, S)
    assert back == G3
    assert reversed_options == bytes([kind, 15, 4]) + G2 + G1 + S


def test_a_return_route_is_correct_where_the_recorded_one_included_the_source() -> None:
    """RFC 1122 section 3.2.1.8 (c), case (B)."""
    received = o.RouteOption(o.IPOPT_LSRR, 16, [S, G1, G2])
    assert o.reverse_route(received, S) == (G2, bytes([131, 11, 4]) + G1 + S)


def test_a_route_without_hops_is_reversed_to_none() -> None:
    assert o.reverse_route(o.RouteOption(o.IPOPT_LSRR, 4, []), S) == (S, b"")
    assert o.reverse_route(o.RouteOption(o.IPOPT_LSRR, 8, [S]), S) == (S, b"")
    assert o.build_source_route([], D) == (D, b"")


def test_on_the_way_only_what_was_recorded_is_reversed() -> None:
    """RFC 1812 section 4.3.2.6: an ICMP error goes back by the portion recorded so far."""
    dst, options = o.build_source_route([G1, G2, G3], D)
    dst, options = o.advance_source_route(options, route_of(options), G1)
    assert dst == G2
    assert o.reverse_route(route_of(options), S) == (G1, bytes([131, 7, 4]) + S)


def test_a_completed_route_cannot_be_advanced() -> None:
    options = bytes([131, 7, 8]) + G1
    with pytest.raises(ValueError, match="completed"):
        o.advance_source_route(options, route_of(options), OWN)


def test_a_source_route_behind_other_options_is_found_and_advanced() -> None:
    options = b"\x01\x94\x04\x00\x00" + bytes([131, 7, 4]) + D + b"\x01"
    dst, changed = o.advance_source_route(options, route_of(options), OWN)
    assert dst == D
    assert changed == b"\x01\x94\x04\x00\x00" + bytes([131, 7, 8]) + OWN + b"\x01"
    assert o.find_source_route(b"\x94\x04\x00\x00") is None
    assert o.find_source_route(b"") is None


def test_ten_hops_do_not_fit() -> None:
    with pytest.raises(ValueError, match="9 addresses"):
        o.build_source_route([G1] * 10, D)
    assert len(o.build_source_route([G1] * 9, D)[1]) == 39


def test_record_route_is_filled_until_it_is_full() -> None:
    options = b"\x01" + o.build_record_route(2)
    once = o.record_route(options, G1)
    twice = o.record_route(once, G2)
    route = o.parse_route(o.parse_options(twice)[0])
    assert (route.offset, route.pointer, route.route) == (1, 12, [G1, G2])
    assert o.record_route(twice, G3) == twice
    assert o.parse_route(o.parse_options(once)[0]).recorded() == [G1]
    assert o.record_route(b"\x94\x04\x00\x00", G1) == b"\x94\x04\x00\x00"


def test_timestamps_alone() -> None:
    options = o.build_timestamp(o.TimestampOption(o.TIMESTAMP_ONLY, 5, 0, [(b"", 0), (b"", 0)]))
    options = o.record_timestamp(options, [OWN], 1000)
    options = o.record_timestamp(options, [OWN], 2000)
    stamp = o.parse_timestamp(o.parse_options(options)[0])
    assert stamp.recorded() == [(b"", 1000), (b"", 2000)]
    assert stamp.overflow == 0
    for n in range(1, 16):
        options = o.record_timestamp(options, [OWN], 3000)
        assert o.parse_timestamp(o.parse_options(options)[0]).overflow == n
    # RFC 791: "or the overflow count itself overflows, the original datagram is considered to be in error".
    with pytest.raises(BadPacket, match="overflow"):
        o.record_timestamp(options, [OWN], 3000)


def test_timestamps_with_addresses() -> None:
    before = b"\x01" + o.build_router_alert()
    options = before + o.build_timestamp(o.TimestampOption(o.TIMESTAMP_AND_ADDRESS, 5, 0, [(bytes(4), 0)])) + b"\x01"
    filled = o.record_timestamp(options, [OWN, G1], 77)
    assert filled == before + bytes([68, 12, 13, 1]) + OWN + (77).to_bytes(4, "big") + b"\x01"


def test_prespecified_timestamps_are_filled_by_their_owners_only() -> None:
    options = o.build_timestamp(o.TimestampOption(o.TIMESTAMP_PRESPECIFIED, 5, 0, [(G1, 0), (G2, 0)]))
    assert o.record_timestamp(options, [G2], 1) == options
    once = o.record_timestamp(options, [OWN, G1], 1)
    assert o.parse_timestamp(o.parse_options(once)[0]).recorded() == [(G1, 1)]
    twice = o.record_timestamp(once, [G2], 2)
    assert o.parse_timestamp(o.parse_options(twice)[0]).recorded() == [(G1, 1), (G2, 2)]
    assert o.record_timestamp(twice, [G3], 3) == twice


def test_no_timestamp_option_nothing_recorded() -> None:
    assert o.record_timestamp(b"\x01\x01", [OWN], 1) == b"\x01\x01"


def test_a_timestamp_option_that_is_too_long_is_refused() -> None:
    with pytest.raises(ValueError, match="40 bytes"):
        o.build_timestamp(o.TimestampOption(o.TIMESTAMP_ONLY, 5, 0, [(b"", 0)] * 10))


def test_router_alert() -> None:
    """RFC 2113 section 2.1."""
    assert o.build_router_alert() == b"\x94\x04\x00\x00"
    assert o.parse_router_alert(o.parse_options(o.build_router_alert(258))[0]) == 258


@pytest.mark.requirement("RFC1122-3.2.1.8-c")
def test_unknown_options_are_passed_on() -> None:
    """RFC 1122 section 3.2.1.8: all options but NOP and EOL go up, not understood ones too."""
    found = o.parse_options(b"\x01\x82\x05abc\x01\x1f\x02\x00\xff\xff")
    assert [(x.kind, x.offset, x.data) for x in found] == [(0x82, 1, b"abc"), (0x1F, 7, b"")]


def test_only_options_with_the_copied_flag_are_in_later_fragments() -> None:
    """RFC 791 section 3.1."""
    lsrr = bytes([131, 7, 4]) + D
    options = o.build_record_route(1) + lsrr + o.build_router_alert()
    assert o.copied_options(options) == lsrr + o.build_router_alert() + b"\x00"
    assert o.copied_options(o.build_record_route(1)) == b""


@pytest.mark.parametrize(
    ("options", "at"),
    [
        (b"\x07", 0),  # no length byte
        (b"\x01\x07\x00", 2),  # length 0
        (b"\x07\x01", 1),  # length 1
        (b"\x82\x05abcd"[:4], 1),  # past the end
        (b"\x07\x02", 1),  # no pointer
        (b"\x07\x08\x04" + bytes(5), 1),  # slots are 4 bytes
        (b"\x07\x07\x03" + bytes(4), 2),  # pointer below 4
        (b"\x07\x07\x05" + bytes(4), 2),  # pointer between slots
        (b"\x07\x07\x07" + bytes(4), 2),
        (b"\x44\x03\x05", 1),
        (b"\x44\x08\x04\x00" + bytes(4), 2),
        (b"\x44\x08\x07\x00" + bytes(4), 2),
        (b"\x44\x08\x05\x02" + bytes(4), 3),  # no such flag
        (b"\x44\x08\x05\x01" + bytes(4), 1),  # half a slot
        (b"\x94\x03\x00", 1),
        (b"\x83\x03\x04\x89\x03\x04", 3),  # RFC 1812 section 5.2.4.1: a second source route
    ],
)
def test_where_an_option_is_wrong(options: bytes, at: int) -> None:
    assert o.find_option_error(options) == at
    with pytest.raises(BadPacket, match=f"byte {at}$"):
        o.parse_options(options)


def test_full_routes_and_empty_ones_are_right() -> None:
    assert o.find_option_error(b"\x07\x07\x08" + bytes(4) + b"\x83\x03\x04" + b"\x44\x04\x05\x00") == -1
    assert o.find_option_error(b"\x00\x07\x00") == -1  # nothing counts behind End of Option List


@pytest.mark.parametrize(
    "data",
    [b"", b"\x05", b"\x04\x00" + bytes(4), b"\x05\x00" + bytes(3), b"\x05\x01" + bytes(4), b"\x07\x00" + bytes(4)],
)
def test_a_timestamp_that_is_wrong_inside_is_refused(data: bytes) -> None:
    with pytest.raises(BadPacket, match="timestamp"):
        o.parse_timestamp(o.Ipv4Option(68, 0, data))


@given(st.binary(max_size=40))
def test_any_options_parse_or_are_refused(options: bytes) -> None:
    error = o.find_option_error(options)
    assert -1 <= error < len(options)
    try:
        found = o.parse_options(options)
    except BadPacket:
        assert error >= 0
        return
    assert error == -1
    for option in found:
        assert options[option.offset] == option.kind
        if option.kind in (o.IPOPT_RECORD_ROUTE, o.IPOPT_LSRR, o.IPOPT_SSRR):
            route = o.parse_route(option)
            assert o.build_route(route) == options[option.offset : option.offset + 2 + len(option.data)]
            o.reverse_route(route, S)
        elif option.kind == o.IPOPT_TIMESTAMP:
            stamp = o.parse_timestamp(option)
            assert o.build_timestamp(stamp) == options[option.offset : option.offset + 2 + len(option.data)]
    assert len(o.copied_options(options)) <= len(options) + 3
    assert len(o.record_route(options, OWN)) == len(options)


@given(st.integers(0, 255), st.binary(max_size=38))
def test_any_single_option_is_taken_apart_or_refused(kind: int, data: bytes) -> None:
    option = o.Ipv4Option(kind, 0, data)
    for parse in (o.parse_route, o.parse_timestamp, o.parse_router_alert):
        try:
            parse(option)
        except BadPacket:
            continue
        assert o.find_option_error(bytes([kind, 2 + len(data)]) + data) in ({-1, 3} if kind == 68 else {-1})
