"""When an ICMP error may be sent, and the error packets themselves, for both families."""

from __future__ import annotations

from plankroad.ip.interface import Interface
from plankroad.wire.ipv4 import Ipv4Header
from plankroad.wire.ipv6 import Ipv6Header


def may_send_error_ipv4(packet: bytes, header: Ipv4Header, interface: Interface | None, link_broadcast: bool) -> bool:
    """Whether the received packet may be answered with an ICMP error."""
    return False


def may_send_error_ipv6(
    packet: bytes,
    header: Ipv6Header,
    link_multicast: bool,
    packet_too_big: bool = False,
    option_problem: bool = False,
) -> bool:
    """Whether the received packet may be answered with an ICMPv6 error."""
    return False


def build_error_ipv4(src: bytes, type_: int, code: int, rest: int, packet: bytes, header: Ipv4Header) -> bytes:
    """A whole IPv4 packet with the ICMP error about `packet`, to its source."""
    return b""


def build_error_ipv6(src: bytes, type_: int, code: int, rest: int, packet: bytes, header: Ipv6Header) -> bytes:
    """A whole IPv6 packet with the ICMPv6 error about `packet`, to its source."""
    return b""
