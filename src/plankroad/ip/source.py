"""Which of its addresses a host sends from: RFC 6724 for IPv6, the same rules where they apply for IPv4.

Rules 4 (home addresses) and 7 (temporary addresses) have nothing to choose from here: no address is of these kinds.
"""

from __future__ import annotations

from typing import Final

from plankroad.ip.interface import ADDRESS_DEPRECATED, Interface, InterfaceAddress
from plankroad.wire.address import in_prefix, is_link_local, is_loopback, is_multicast

# Scopes as in multicast addresses (RFC 6724 section 3.1, RFC 7346).
SCOPE_INTERFACE_LOCAL: Final = 1
SCOPE_LINK_LOCAL: Final = 2
SCOPE_SITE_LOCAL: Final = 5
SCOPE_GLOBAL: Final = 14


def scope(ip: bytes) -> int:
    """The scope of an address (RFC 6724 sections 3.1 and 3.2).

    Private IPv4 addresses are global; 169.254.0.0/16 and 127.0.0.0/8 are link-local, and so is ::1 (section 3.4).
    """
    if len(ip) == 4:
        if is_multicast(ip):
            # RFC 2365 section 8: 224.0.0.0/24 is link-local, 239.255.0.0/16 local (site), the rest wider.
            if ip[0] == 224 and ip[1] == 0 and ip[2] == 0:
                return SCOPE_LINK_LOCAL
            return SCOPE_SITE_LOCAL if ip[0] == 239 and ip[1] == 255 else SCOPE_GLOBAL
        return SCOPE_LINK_LOCAL if is_link_local(ip) or is_loopback(ip) else SCOPE_GLOBAL
    if ip[0] == 0xFF:
        return ip[1] & 0x0F
    if is_link_local(ip) or is_loopback(ip):
        return SCOPE_LINK_LOCAL
    # Site-local addresses, fec0::/10, are deprecated but keep their scope (section 3.1).
    if ip[0] == 0xFE and ip[1] & 0xC0 == 0xC0:
        return SCOPE_SITE_LOCAL
    return SCOPE_GLOBAL


class Policy:
    """A row of the policy table (RFC 6724 section 2.1)."""

    __slots__ = ("label", "precedence", "prefix", "prefix_len")

    def __init__(self, prefix: bytes, prefix_len: int, precedence: int, label: int) -> None:
        self.prefix = prefix
        self.prefix_len = prefix_len
        self.precedence = precedence
        self.label = label


#: The default policy table of RFC 6724 section 2.1, longest prefix first.
POLICIES: Final[list[Policy]] = [
    Policy(bytes(15) + b"\x01", 128, 50, 0),  # ::1
    Policy(bytes(10) + b"\xff\xff" + bytes(4), 96, 35, 4),  # ::ffff:0:0/96
    Policy(bytes(16), 96, 1, 3),  # ::/96
    Policy(b"\x20\x01" + bytes(14), 32, 5, 5),  # 2001::/32, Teredo
    Policy(b"\x20\x02" + bytes(14), 16, 30, 2),  # 2002::/16, 6to4
    Policy(b"\x3f\xfe" + bytes(14), 16, 1, 12),  # 3ffe::/16
    Policy(b"\xfe\xc0" + bytes(14), 10, 1, 11),  # fec0::/10
    Policy(b"\xfc" + bytes(15), 7, 3, 13),  # fc00::/7, unique local
    Policy(bytes(16), 0, 40, 1),  # ::/0
]


def policy_of(ip: bytes) -> Policy:
    """The row of the policy table for an address; IPv4 addresses are looked up as IPv4-mapped ones."""
    if len(ip) == 4:
        ip = bytes(10) + b"\xff\xff" + ip
    for policy in POLICIES:
        if in_prefix(ip, policy.prefix, policy.prefix_len):
            return policy
    return POLICIES[-1]


def common_prefix_len(a: bytes, b: bytes) -> int:
    """How many leading bits two addresses of a family share; of IPv6 addresses only the first 64 bits count.

    RFC 6724 section 2.2: the comparison is on the prefix of the source address, not on its interface identifier.
    """
    if len(a) == 16:
        a = a[:8]
        b = b[:8]
    return len(a) * 8 - (int.from_bytes(a, "big") ^ int.from_bytes(b, "big")).bit_length()


def better_source(a: InterfaceAddress, b: InterfaceAddress, dst: bytes, a_outgoing: bool, b_outgoing: bool) -> bool:
    """Whether `a` is a better source than `b` for packets to `dst` (RFC 6724 section 5).

    `a_outgoing`, `b_outgoing`: the address belongs to the interface the packet leaves by.
    """
    # Rule 1: prefer same address.
    if dst in (a.ip, b.ip):
        return a.ip == dst
    # Rule 2: prefer appropriate scope.
    a_scope = scope(a.ip)
    b_scope = scope(b.ip)
    if a_scope != b_scope:
        wanted = scope(dst)
        if a_scope < b_scope:
            return a_scope >= wanted
        return b_scope < wanted
    # Rule 3: avoid deprecated addresses.
    a_deprecated = a.state == ADDRESS_DEPRECATED
    if a_deprecated != (b.state == ADDRESS_DEPRECATED):
        return not a_deprecated
    # Rule 5: prefer outgoing interface.
    if a_outgoing != b_outgoing:
        return a_outgoing
    if len(dst) == 4:
        # RFC 1122 section 3.3.4.3: an address of the network or subnet of the destination first.
        a_subnet = a.prefix_len if in_prefix(dst, a.ip, a.prefix_len) else -1
        b_subnet = b.prefix_len if in_prefix(dst, b.ip, b.prefix_len) else -1
        # An address first in its list is its interface's primary one: bits in common outside of a shared subnet say
        # nothing about IPv4 topology, so rule 8 is not applied to them.
        return a_subnet > b_subnet
    # Rule 6: prefer matching label.
    wanted_label = policy_of(dst).label
    a_label = policy_of(a.ip).label == wanted_label
    if a_label != (policy_of(b.ip).label == wanted_label):
        return a_label
    # Rule 8: use longest matching prefix, of at most the source's own prefix length (section 2.2).
    a_common = min(common_prefix_len(a.ip, dst), a.prefix_len)
    b_common = min(common_prefix_len(b.ip, dst), b.prefix_len)
    return a_common > b_common


def select_source(dst: bytes, interface: Interface, others: list[Interface] | None = None) -> bytes:
    """The address to send from to `dst` through `interface`; b"" where no address fits.

    Candidates are the usable addresses of `interface`. Where it has none of the family but link-local ones that do
    not reach `dst`, the addresses of `others` are candidates too (an unnumbered link: RFC 1122 section 3.3.4.2,
    weak model; RFC 6724 section 4 allows the same for routers).
    """
    best: InterfaceAddress | None = None
    for address in interface.addresses:
        if (
            len(address.ip) == len(dst)
            and address.usable()
            and (best is None or better_source(address, best, dst, True, True))
        ):
            best = address
    if others is not None and (best is None or scope(best.ip) < scope(dst)):
        best_outgoing = best is not None
        for other in others:
            if other is interface or not other.up:
                continue
            for address in other.addresses:
                if (
                    len(address.ip) == len(dst)
                    and address.usable()
                    and scope(address.ip) >= scope(dst)
                    and not is_loopback(address.ip)
                    and (best is None or better_source(address, best, dst, False, best_outgoing))
                ):
                    best = address
                    best_outgoing = False
    return b"" if best is None else best.ip


def sort_destinations(destinations: list[bytes], sources: list[bytes]) -> list[bytes]:
    """Destinations in the order in which to try them (RFC 6724 section 6).

    `sources`, as long: what `select_source` gives for each, b"" where it cannot be reached. The order of a resolver
    is kept between destinations that the rules do not tell apart (rule 10). Rules 3 to 5 and 7 have no case here.
    """
    if len(destinations) != len(sources):
        raise ValueError("one source for each destination")
    order: list[int] = []
    for i in range(len(destinations)):
        at = len(order)
        while at > 0 and better_destination(
            destinations[i], sources[i], destinations[order[at - 1]], sources[order[at - 1]]
        ):
            at -= 1
        order.insert(at, i)
    return [destinations[i] for i in order]


def better_destination(a: bytes, a_source: bytes, b: bytes, b_source: bytes) -> bool:
    """Whether destination `a` is to be tried before `b`."""
    # Rule 1: avoid unusable destinations.
    if not a_source or not b_source:
        return a_source != b"" and b_source == b""
    # Rule 2: prefer matching scope.
    a_scope = scope(a)
    b_scope = scope(b)
    a_match = a_scope == scope(a_source)
    if a_match != (b_scope == scope(b_source)):
        return a_match
    a_policy = policy_of(a)
    b_policy = policy_of(b)
    # Rule 5: prefer matching label.
    a_match = a_policy.label == policy_of(a_source).label
    if a_match != (b_policy.label == policy_of(b_source).label):
        return a_match
    # Rule 6: prefer higher precedence.
    if a_policy.precedence != b_policy.precedence:
        return a_policy.precedence > b_policy.precedence
    # Rule 8: prefer smaller scope.
    if a_scope != b_scope:
        return a_scope < b_scope
    # Rule 9: use longest matching prefix; only between addresses of one family, and not of IPv4.
    if len(a) == 16 and len(b) == 16:
        return common_prefix_len(a, a_source) > common_prefix_len(b, b_source)
    return False
