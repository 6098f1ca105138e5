"""Neighbour discovery messages and their options (RFC 4861 section 4), checked by its sections 6.1, 7.1 and 8.1."""

from __future__ import annotations

from typing import Final

from plankroad.wire.address import is_link_local, is_multicast, is_unspecified
from plankroad.wire.constants import (
    ICMPV6_NEIGHBOR_ADVERTISEMENT,
    ICMPV6_NEIGHBOR_SOLICITATION,
    ICMPV6_REDIRECT,
    ICMPV6_ROUTER_ADVERTISEMENT,
    ICMPV6_ROUTER_SOLICITATION,
)
from plankroad.wire.errors import BadPacket
from plankroad.wire.icmp import IcmpMessage
from plankroad.wire.icmpv6 import build_icmpv6

NDP_OPT_SOURCE_MAC: Final = 1
NDP_OPT_TARGET_MAC: Final = 2
NDP_OPT_PREFIX: Final = 3
NDP_OPT_REDIRECTED: Final = 4
NDP_OPT_MTU: Final = 5
NDP_OPT_NONCE: Final = 14  #: RFC 3971 section 5.3.2; found among `NdpOptions.other`
NDP_OPT_RDNSS: Final = 25  #: RFC 8106; found among `NdpOptions.other`

#: What the hop limit of every neighbour discovery packet must be.
NDP_HOP_LIMIT: Final = 255

#: A lifetime of this many seconds never ends (RFC 4861 section 4.6.2).
INFINITE_LIFETIME: Final = 0xFFFFFFFF


class PrefixInfo:
    """The prefix information option (RFC 4861 section 4.6.2). Lifetimes are in seconds."""

    __slots__ = ("autonomous", "on_link", "preferred_lifetime", "prefix", "prefix_len", "valid_lifetime")

    def __init__(
        self,
        prefix: bytes,
        prefix_len: int,
        on_link: bool,
        autonomous: bool,
        valid_lifetime: int,
        preferred_lifetime: int,
    ) -> None:
        self.prefix = prefix
        self.prefix_len = prefix_len
        self.on_link = on_link
        self.autonomous = autonomous
        self.valid_lifetime = valid_lifetime
        self.preferred_lifetime = preferred_lifetime


class NdpOptions:
    """The options of one message. What is absent is empty, `mtu` 0.

    `source_mac`, `target_mac`: Ethernet addresses of 6 bytes. `redirected`: as much as there is of the packet that
    caused a redirect. `other`: (type, what follows the length byte) of options that are none of RFC 4861's, or have
    not the length that theirs has; receivers ignore those.
    """

    __slots__ = ("mtu", "other", "prefixes", "redirected", "source_mac", "target_mac")

    def __init__(self, source_mac: bytes = b"", target_mac: bytes = b"") -> None:
        self.source_mac = source_mac
        self.target_mac = target_mac
        self.mtu: int = 0
        self.prefixes: list[PrefixInfo] = []
        self.redirected: bytes = b""
        self.other: list[tuple[int, bytes]] = []


class NdpMessage:
    """Base of the five messages. `type` is the ICMPv6 type."""

    __slots__ = ("options", "type")

    def __init__(self, type: int, options: NdpOptions) -> None:
        self.type = type
        self.options = options


class RouterSolicitation(NdpMessage):
    """RFC 4861 section 4.1."""

    __slots__ = ()

    def __init__(self, options: NdpOptions) -> None:
        super().__init__(ICMPV6_ROUTER_SOLICITATION, options)


class RouterAdvertisement(NdpMessage):
    """RFC 4861 section 4.2. `lifetime` is in seconds, `reachable_time` and `retrans_timer` in milliseconds.

    `preference` are the two bits of RFC 4191 section 2.2: 0 medium, 1 high, 3 low.
    """

    __slots__ = ("hop_limit", "lifetime", "managed", "other_config", "preference", "reachable_time", "retrans_timer")

    def __init__(
        self,
        hop_limit: int,
        managed: bool,
        other_config: bool,
        preference: int,
        lifetime: int,
        reachable_time: int,
        retrans_timer: int,
        options: NdpOptions,
    ) -> None:
        super().__init__(ICMPV6_ROUTER_ADVERTISEMENT, options)
        self.hop_limit = hop_limit
        self.managed = managed
        self.other_config = other_config
        self.preference = preference
        self.lifetime = lifetime
        self.reachable_time = reachable_time
        self.retrans_timer = retrans_timer


class NeighborSolicitation(NdpMessage):
    """RFC 4861 section 4.3."""

    __slots__ = ("target",)

    def __init__(self, target: bytes, options: NdpOptions) -> None:
        super().__init__(ICMPV6_NEIGHBOR_SOLICITATION, options)
        self.target = target


class NeighborAdvertisement(NdpMessage):
    """RFC 4861 section 4.4."""

    __slots__ = ("override", "router", "solicited", "target")

    def __init__(self, target: bytes, router: bool, solicited: bool, override: bool, options: NdpOptions) -> None:
        super().__init__(ICMPV6_NEIGHBOR_ADVERTISEMENT, options)
        self.target = target
        self.router = router
        self.solicited = solicited
        self.override = override


class Redirect(NdpMessage):
    """RFC 4861 section 4.5: packets to `destination` are to go by way of `target`, or to it if they are the same."""

    __slots__ = ("destination", "target")

    def __init__(self, target: bytes, destination: bytes, options: NdpOptions) -> None:
        super().__init__(ICMPV6_REDIRECT, options)
        self.target = target
        self.destination = destination


def is_ndp(type: int) -> bool:
    """Whether an ICMPv6 type is one of the five."""
    return ICMPV6_ROUTER_SOLICITATION <= type <= ICMPV6_REDIRECT


def parse_ndp(message: IcmpMessage, src: bytes, dst: bytes, hop_limit: int) -> NdpMessage:
    """The neighbour discovery message in an ICMPv6 message whose checksum is verified; `src` to `hop_limit` are its
    IPv6 header's.

    Raises BadPacket for any of which RFC 4861 says that it must be silently discarded. What only a host with state
    can check is left to it: that a redirect comes from the current first hop.
    """
    # RFC 4861 sections 6.1 to 8.1: "The IP Hop Limit field has a value of 255, i.e., the packet could not possibly
    # have been forwarded by a router." "ICMP Code is 0."
    if hop_limit != NDP_HOP_LIMIT:
        raise BadPacket("neighbour discovery: hop limit is not 255")
    if message.code != 0:
        raise BadPacket("neighbour discovery: code is not 0")
    kind = message.type
    body = message.body
    rest = message.rest
    if kind == ICMPV6_NEIGHBOR_SOLICITATION:
        target = _address(body, 0)
        options = _parse_options(body, 16)
        # Section 7.1.1.
        if is_multicast(target):
            raise BadPacket("neighbour solicitation: target is multicast")
        if is_unspecified(src):
            if dst[:13] != b"\xff\x02\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\xff":
                raise BadPacket("neighbour solicitation: from :: but not to a solicited-node address")
            if options.source_mac:
                raise BadPacket("neighbour solicitation: from :: with a source link-layer address")
        return NeighborSolicitation(target, options)
    if kind == ICMPV6_NEIGHBOR_ADVERTISEMENT:
        target = _address(body, 0)
        options = _parse_options(body, 16)
        # Section 7.1.2.
        if is_multicast(target):
            raise BadPacket("neighbour advertisement: target is multicast")
        solicited = rest & 0x40000000 != 0
        if solicited and is_multicast(dst):
            raise BadPacket("neighbour advertisement: solicited but sent to multicast")
        return NeighborAdvertisement(target, rest & 0x80000000 != 0, solicited, rest & 0x20000000 != 0, options)
    if kind == ICMPV6_ROUTER_ADVERTISEMENT:
        # Section 6.1.2.
        if not is_link_local(src):
            raise BadPacket("router advertisement: source is not link-local")
        if len(body) < 8:
            raise BadPacket("router advertisement is truncated")
        return RouterAdvertisement(
            rest >> 24,
            rest & 0x800000 != 0,
            rest & 0x400000 != 0,
            rest >> 19 & 3,
            rest & 0xFFFF,
            int.from_bytes(body[0:4], "big"),
            int.from_bytes(body[4:8], "big"),
            _parse_options(body, 8),
        )
    if kind == ICMPV6_ROUTER_SOLICITATION:
        options = _parse_options(body, 0)
        # Section 6.1.1.
        if is_unspecified(src) and options.source_mac:
            raise BadPacket("router solicitation: from :: with a source link-layer address")
        return RouterSolicitation(options)
    if kind == ICMPV6_REDIRECT:
        # Section 8.1.
        if not is_link_local(src):
            raise BadPacket("redirect: source is not link-local")
        target = _address(body, 0)
        destination = _address(body, 16)
        if is_multicast(destination):
            raise BadPacket("redirect: destination is multicast")
        if target != destination and not is_link_local(target):
            raise BadPacket("redirect: target is neither link-local nor the destination")
        return Redirect(target, destination, _parse_options(body, 32))
    raise BadPacket("no neighbour discovery message")


def _address(body: bytes, at: int) -> bytes:
    if len(body) < at + 16:
        raise BadPacket("neighbour discovery message is truncated")
    return body[at : at + 16]


def _parse_options(body: bytes, i: int) -> NdpOptions:
    """The options in `body` from `i` on. Each is at least 8 bytes, so that this ends."""
    options = NdpOptions()
    end = len(body)
    while i < end:
        # RFC 4861 section 4.6: "Nodes MUST silently discard an ND packet that contains an option with length zero."
        if i + 2 > end or body[i + 1] == 0:
            raise BadPacket("neighbour discovery option has length zero")
        kind = body[i]
        length = body[i + 1] << 3
        if i + length > end:
            raise BadPacket("neighbour discovery option is truncated")
        if kind == NDP_OPT_SOURCE_MAC and length == 8:
            options.source_mac = body[i + 2 : i + 8]
        elif kind == NDP_OPT_TARGET_MAC and length == 8:
            options.target_mac = body[i + 2 : i + 8]
        elif kind == NDP_OPT_PREFIX and length == 32 and body[i + 2] <= 128:
            flags = body[i + 3]
            options.prefixes.append(
                PrefixInfo(
                    body[i + 16 : i + 32],
                    body[i + 2],
                    flags & 0x80 != 0,
                    flags & 0x40 != 0,
                    int.from_bytes(body[i + 4 : i + 8], "big"),
                    int.from_bytes(body[i + 8 : i + 12], "big"),
                )
            )
        elif kind == NDP_OPT_REDIRECTED:
            options.redirected = body[i + 8 : i + length]
        elif kind == NDP_OPT_MTU and length == 8:
            options.mtu = int.from_bytes(body[i + 4 : i + 8], "big")
        else:
            options.other.append((kind, body[i + 2 : i + length]))
        i += length
    return options


def build_options(options: NdpOptions) -> bytes:
    """The options as bytes, in the order of their types; `redirected` and `other` are padded with zeros to 8."""
    out = b""
    if options.source_mac:
        out += b"\x01\x01" + options.source_mac
    if options.target_mac:
        out += b"\x02\x01" + options.target_mac
    for info in options.prefixes:
        flags = (0x80 if info.on_link else 0) | (0x40 if info.autonomous else 0)
        out += bytes([NDP_OPT_PREFIX, 4, info.prefix_len, flags])
        out += (info.valid_lifetime << 64 | info.preferred_lifetime << 32).to_bytes(12, "big") + info.prefix
    if options.redirected:
        quoted = options.redirected + bytes(-len(options.redirected) & 7)
        out += bytes([NDP_OPT_REDIRECTED, 1 + len(quoted) // 8]) + bytes(6) + quoted
    if options.mtu:
        out += b"\x05\x01\x00\x00" + options.mtu.to_bytes(4, "big")
    for kind, data in options.other:
        padded = data + bytes(-(len(data) + 2) & 7)
        out += bytes([kind, (2 + len(padded)) // 8]) + padded
    return out


def build_router_solicitation(src: bytes, dst: bytes, message: RouterSolicitation) -> bytes:
    """The whole ICMPv6 message."""
    return build_icmpv6(src, dst, message.type, 0, 0, build_options(message.options))


def build_router_advertisement(src: bytes, dst: bytes, message: RouterAdvertisement) -> bytes:
    """The whole ICMPv6 message."""
    flags = (0x80 if message.managed else 0) | (0x40 if message.other_config else 0) | message.preference << 3
    rest = message.hop_limit << 24 | flags << 16 | message.lifetime
    body = (message.reachable_time << 32 | message.retrans_timer).to_bytes(8, "big")
    return build_icmpv6(src, dst, message.type, 0, rest, body + build_options(message.options))


def build_neighbor_solicitation(src: bytes, dst: bytes, target: bytes, source_mac: bytes = b"") -> bytes:
    """The whole ICMPv6 message. From :: (duplicate address detection) it must have no `source_mac`."""
    return build_icmpv6(src, dst, ICMPV6_NEIGHBOR_SOLICITATION, 0, 0, target + build_options(NdpOptions(source_mac)))


def build_neighbor_advertisement(
    src: bytes,
    dst: bytes,
    target: bytes,
    target_mac: bytes = b"",
    router: bool = False,
    solicited: bool = False,
    override: bool = False,
) -> bytes:
    """The whole ICMPv6 message."""
    rest = (0x80000000 if router else 0) | (0x40000000 if solicited else 0) | (0x20000000 if override else 0)
    body = target + build_options(NdpOptions(b"", target_mac))
    return build_icmpv6(src, dst, ICMPV6_NEIGHBOR_ADVERTISEMENT, 0, rest, body)


def build_redirect(src: bytes, dst: bytes, message: Redirect) -> bytes:
    """The whole ICMPv6 message."""
    body = message.target + message.destination + build_options(message.options)
    return build_icmpv6(src, dst, message.type, 0, 0, body)
