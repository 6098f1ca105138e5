"""Neighbour discovery messages and the checks that RFC 4861 demands."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plankroad.wire import ndp
from plankroad.wire.address import IPV6_ALL_NODES, IPV6_ALL_ROUTERS, IPV6_ANY, ip_to_bytes, solicited_node
from plankroad.wire.errors import BadPacket
from plankroad.wire.icmp import IcmpMessage
from plankroad.wire.icmpv6 import parse_icmpv6

LL1, LL2 = ip_to_bytes("fe80::1"), ip_to_bytes("fe80::2")
GLOBAL = ip_to_bytes("2001:db8::5")
MAC = b"\x02\0\0\0\0\1"
U32 = st.integers(0, 0xFFFFFFFF)
IP6 = st.binary(min_size=16, max_size=16)


def through(built: bytes, src: bytes, dst: bytes, hop_limit: int = 255) -> ndp.NdpMessage:
    return ndp.parse_ndp(parse_icmpv6(built, 0, len(built), src, dst), src, dst, hop_limit)


@st.composite
def options(draw: st.DrawFn) -> ndp.NdpOptions:
    opts = ndp.NdpOptions(draw(st.sampled_from([b"", MAC])), draw(st.sampled_from([b"", MAC])))
    opts.mtu = draw(U32)
    for _ in range(draw(st.integers(0, 2))):
        opts.prefixes.append(
            ndp.PrefixInfo(
                draw(IP6), draw(st.integers(0, 128)), draw(st.booleans()), draw(st.booleans()), draw(U32), 9
            )
        )
    opts.redirected = draw(st.binary(min_size=8, max_size=8)) * draw(st.integers(0, 3))
    opts.other = [(ndp.NDP_OPT_NONCE, draw(st.binary(min_size=6, max_size=6))), (ndp.NDP_OPT_RDNSS, bytes(22))]
    return opts


def flat(opts: ndp.NdpOptions) -> tuple[object, ...]:
    names = ("prefix", "prefix_len", "on_link", "autonomous", "valid_lifetime", "preferred_lifetime")
    prefixes = [tuple(getattr(info, name) for name in names) for info in opts.prefixes]
    return opts.source_mac, opts.target_mac, opts.mtu, prefixes, opts.redirected, opts.other


@given(options())
def test_router_solicitation(opts: ndp.NdpOptions) -> None:
    built = ndp.build_router_solicitation(LL1, IPV6_ALL_ROUTERS, ndp.RouterSolicitation(opts))
    back = through(built, LL1, IPV6_ALL_ROUTERS)
    assert isinstance(back, ndp.RouterSolicitation)
    assert flat(back.options) == flat(opts)


@given(
    options(),
    st.integers(0, 255),
    st.booleans(),
    st.booleans(),
    st.integers(0, 3),
    st.integers(0, 65535),
    U32,
    U32,
)
def test_router_advertisement(
    opts: ndp.NdpOptions, hops: int, managed: bool, other: bool, pref: int, life: int, reach: int, retrans: int
) -> None:
    message = ndp.RouterAdvertisement(hops, managed, other, pref, life, reach, retrans, opts)
    back = through(ndp.build_router_advertisement(LL1, IPV6_ALL_NODES, message), LL1, IPV6_ALL_NODES)
    assert isinstance(back, ndp.RouterAdvertisement)
    assert (back.hop_limit, back.managed, back.other_config, back.preference) == (hops, managed, other, pref)
    assert (back.lifetime, back.reachable_time, back.retrans_timer) == (life, reach, retrans)
    assert flat(back.options) == flat(opts)


def test_neighbor_solicitation() -> None:
    dst = solicited_node(GLOBAL)
    back = through(ndp.build_neighbor_solicitation(LL1, dst, GLOBAL, MAC), LL1, dst)
    assert isinstance(back, ndp.NeighborSolicitation)
    assert (back.target, back.options.source_mac, back.options.target_mac) == (GLOBAL, MAC, b"")
    # Duplicate address detection (RFC 4862 section 5.4.2): from ::, without an option.
    back = through(ndp.build_neighbor_solicitation(IPV6_ANY, dst, GLOBAL), IPV6_ANY, dst)
    assert isinstance(back, ndp.NeighborSolicitation)
    assert (back.target, back.options.source_mac) == (GLOBAL, b"")


@given(st.booleans(), st.booleans(), st.booleans())
def test_neighbor_advertisement(router: bool, solicited: bool, override: bool) -> None:
    built = ndp.build_neighbor_advertisement(LL2, LL1, GLOBAL, MAC, router, solicited, override)
    # Section 4.4: the 29 reserved bits must be zero.
    assert built[4:8] == bytes([router << 7 | solicited << 6 | override << 5, 0, 0, 0])
    back = through(built, LL2, LL1)
    assert isinstance(back, ndp.NeighborAdvertisement)
    assert (back.target, back.options.target_mac, back.options.source_mac) == (GLOBAL, MAC, b"")
    assert (back.router, back.solicited, back.override) == (router, solicited, override)


@given(options())
def test_redirect(opts: ndp.NdpOptions) -> None:
    back = through(ndp.build_redirect(LL1, GLOBAL, ndp.Redirect(LL2, GLOBAL, opts)), LL1, GLOBAL)
    assert isinstance(back, ndp.Redirect)
    assert (back.target, back.destination) == (LL2, GLOBAL)
    assert flat(back.options) == flat(opts)
    # The target is the destination itself where that is a neighbour.
    back = through(ndp.build_redirect(LL1, GLOBAL, ndp.Redirect(GLOBAL, GLOBAL, opts)), LL1, GLOBAL)
    assert isinstance(back, ndp.Redirect)


def test_the_redirected_packet_is_padded_to_eight() -> None:
    opts = ndp.NdpOptions()
    opts.redirected = b"123456789"
    assert ndp.build_options(opts) == b"\x04\x03" + bytes(6) + b"123456789" + bytes(7)


MULTI = ip_to_bytes("ff02::99")
SLLA = b"\x01\x01" + MAC


@pytest.mark.parametrize(
    ("type_", "rest", "body", "src", "dst", "text"),
    [
        # RFC 4861 section 7.1.1
        (135, 0, MULTI, LL1, LL2, "target is multicast"),
        (135, 0, GLOBAL[:15], LL1, LL2, "truncated"),
        (135, 0, GLOBAL, IPV6_ANY, LL2, "solicited-node"),
        (135, 0, GLOBAL, IPV6_ANY, IPV6_ALL_NODES, "solicited-node"),
        (135, 0, GLOBAL + SLLA, IPV6_ANY, solicited_node(GLOBAL), "source link-layer"),
        # section 7.1.2
        (136, 0, MULTI, LL1, LL2, "target is multicast"),
        (136, 0, GLOBAL[:15], LL1, LL2, "truncated"),
        (136, 0x40000000, GLOBAL, LL1, IPV6_ALL_NODES, "solicited"),
        # section 6.1.1
        (133, 0, SLLA, IPV6_ANY, IPV6_ALL_ROUTERS, "source link-layer"),
        # section 6.1.2
        (134, 0, bytes(8), GLOBAL, IPV6_ALL_NODES, "link-local"),
        (134, 0, bytes(7), LL1, IPV6_ALL_NODES, "truncated"),
        # section 8.1
        (137, 0, LL2 + GLOBAL, GLOBAL, GLOBAL, "source is not link-local"),
        (137, 0, LL2 + GLOBAL[:15], LL1, GLOBAL, "truncated"),
        (137, 0, LL2 + MULTI, LL1, GLOBAL, "destination is multicast"),
        (137, 0, ip_to_bytes("2001:db8::6") + GLOBAL, LL1, GLOBAL, "neither"),
        (128, 0, GLOBAL, LL1, LL2, "no neighbour discovery"),
        (138, 0, GLOBAL, LL1, LL2, "no neighbour discovery"),
    ],
)
def test_what_must_be_discarded(type_: int, rest: int, body: bytes, src: bytes, dst: bytes, text: str) -> None:
    with pytest.raises(BadPacket, match=text):
        ndp.parse_ndp(IcmpMessage(type_, 0, rest, body), src, dst, 255)


FIXED = [(133, b""), (134, bytes(8)), (135, GLOBAL), (136, GLOBAL), (137, LL2 + GLOBAL)]


@pytest.mark.parametrize(("type_", "body"), FIXED)
def test_what_every_message_must_have(type_: int, body: bytes) -> None:
    """RFC 4861 sections 6.1 to 8.1: hop limit 255, code 0, no option of length zero."""
    assert ndp.is_ndp(type_)
    ndp.parse_ndp(IcmpMessage(type_, 0, 0, body), LL1, LL2, 255)
    with pytest.raises(BadPacket, match="hop limit"):
        ndp.parse_ndp(IcmpMessage(type_, 0, 0, body), LL1, LL2, 254)
    with pytest.raises(BadPacket, match="code"):
        ndp.parse_ndp(IcmpMessage(type_, 1, 0, body), LL1, LL2, 255)
    with pytest.raises(BadPacket, match="length zero"):
        ndp.parse_ndp(IcmpMessage(type_, 0, 0, body + b"\x01\x00" + MAC), LL1, LL2, 255)
    with pytest.raises(BadPacket, match="option is truncated"):
        ndp.parse_ndp(IcmpMessage(type_, 0, 0, body + b"\x01\x02" + MAC), LL1, LL2, 255)


@pytest.mark.parametrize(
    "option",
    [
        b"\x01\x02" + bytes(14),  # a link-layer address that is not Ethernet's
        b"\x03\x01" + bytes(6),
        b"\x03\x04\x81" + bytes(29),  # a prefix of 129 bits
        b"\x05\x02" + bytes(14),
        b"\xfe\x01" + bytes(6),
    ],
)
def test_options_that_are_not_understood_are_ignored(option: bytes) -> None:
    """RFC 4861 section 4.6: "MUST silently ignore any options they do not recognize"."""
    back = ndp.parse_ndp(IcmpMessage(133, 0, 0, option + SLLA), LL1, LL2, 255)
    opts = back.options
    assert (opts.source_mac, opts.mtu, opts.prefixes) == (MAC, 0, [])
    assert opts.other == [(option[0], option[2:])]


@given(st.sampled_from([t for t, _ in FIXED]), U32, st.binary(max_size=100), st.integers(0, 3))
def test_any_bytes_parse_or_are_refused(type_: int, rest: int, body: bytes, where: int) -> None:
    src = [LL1, GLOBAL, IPV6_ANY, MULTI][where]
    try:
        message = ndp.parse_ndp(IcmpMessage(type_, 0, rest, body), src, LL2, 255)
    except BadPacket:
        return
    assert message.type == type_
