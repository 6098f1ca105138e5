"""What is inside IPv6 hop-by-hop and destination options headers (RFC 8200 section 4.2)."""

from __future__ import annotations

from typing import Final

from plankroad.wire.errors import BadPacket

IP6OPT_PAD1: Final = 0x00
IP6OPT_PADN: Final = 0x01
IP6OPT_TUNNEL_LIMIT: Final = 0x04
IP6OPT_ROUTER_ALERT: Final = 0x05
IP6OPT_JUMBO: Final = 0xC2
IP6OPT_HOME_ADDRESS: Final = 0xC9

# What the two highest bits of an option's type say of a node that does not recognize it.
ACTION_SKIP: Final = 0  #: go on as if it were not there
ACTION_DISCARD: Final = 1  #: discard the packet
ACTION_REPORT: Final = 2  #: discard it and send a Parameter Problem, code 2, whatever its destination
ACTION_REPORT_UNICAST: Final = 3  #: the same, unless its destination was multicast


class Ipv6Option:
    """One option but padding: its type, the offset in the buffer of its type byte, and its data."""

    __slots__ = ("data", "kind", "offset")

    def __init__(self, kind: int, data: bytes, offset: int = 0) -> None:
        self.kind = kind
        self.data = data
        self.offset = offset


def option_action(kind: int) -> int:
    """One of the `ACTION_` values."""
    return kind >> 6 & 3


def option_may_change(kind: int) -> bool:
    """Whether the option's data may change on the way to the destination: the third highest bit."""
    return kind & 0x20 != 0


def parse_ipv6_options(buf: bytes, start: int, end: int) -> list[Ipv6Option]:
    """The options, without padding, of the hop-by-hop or destination options header in `buf[start:end]`.

    `start` and `end` are as in `Ipv6Header.extensions`. Raises BadPacket where an option runs past the header's end.
    """
    if start < 0 or end > len(buf) or end - start < 8:
        raise BadPacket("IPv6 options header is truncated")
    found: list[Ipv6Option] = []
    i = start + 2
    while i < end:
        kind = buf[i]
        if kind == IP6OPT_PAD1:
            i += 1
            continue
        if i + 2 > end:
            raise BadPacket("IPv6 option is truncated")
        after = i + 2 + buf[i + 1]
        if after > end:
            raise BadPacket("IPv6 option is truncated")
        if kind != IP6OPT_PADN:
            found.append(Ipv6Option(kind, buf[i + 2 : after], i))
        i = after
    return found


def find_unrecognized(options: list[Ipv6Option], known: frozenset[int]) -> Ipv6Option | None:
    """The first option of an unknown type that forbids to go on (RFC 8200 section 4.2); see `option_action`."""
    for option in options:
        if option.kind not in known and option_action(option.kind) != ACTION_SKIP:
            return option
    return None


def padding(length: int) -> bytes:
    """So many bytes of padding: Pad1 for one, else PadN. At most 257."""
    if length == 0:
        return b""
    if length == 1:
        return b"\x00"
    return bytes([IP6OPT_PADN, length - 2]) + bytes(length - 2)


def build_options_header(next_header: int, options: list[Ipv6Option]) -> bytes:
    """A hop-by-hop or destination options header: the options in their order, padded to a multiple of 8.

    An option of type PadN is taken as it is: alignment is for the caller. Raises ValueError where an option has more
    than 255 bytes of data or the header more than 2048.
    """
    body = b""
    for option in options:
        if len(option.data) > 255:
            raise ValueError("an IPv6 option has at most 255 bytes of data")
        body += b"\x00" if option.kind == IP6OPT_PAD1 else bytes([option.kind, len(option.data)]) + option.data
    body += padding(-(len(body) + 2) & 7)
    units = (len(body) + 2) // 8 - 1
    if units > 255:
        raise ValueError("an IPv6 options header has at most 2048 bytes")
    return bytes([next_header, units]) + body


def build_router_alert6(value: int = 0) -> Ipv6Option:
    """A router alert (RFC 2711): 0 for MLD, 1 for RSVP, 2 for active networks."""
    return Ipv6Option(IP6OPT_ROUTER_ALERT, bytes([value >> 8 & 0xFF, value & 0xFF]))
