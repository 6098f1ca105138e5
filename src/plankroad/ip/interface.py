"""`Interface`: one attachment of the host to a link, with its addresses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from plankroad.units import NEVER
from plankroad.wire.address import (
    IPV4_ANY,
    IPV4_BROADCAST,
    IPV6_ALL_NODES,
    IPV6_ALL_ROUTERS,
    in_prefix,
    is_broadcast,
    is_directed_broadcast,
    is_multicast,
    solicited_node,
)

if TYPE_CHECKING:
    from plankroad.ip.neighbour import NeighbourCache

#: The states of an address (RFC 4862 section 2; IPv4 by RFC 5227 section 2.1).
ADDRESS_TENTATIVE: Final = 0  #: uniqueness is being verified: not to be used
ADDRESS_PREFERRED: Final = 1  #: may be used without restriction
ADDRESS_DEPRECATED: Final = 2  #: still valid; discouraged for new communication
ADDRESS_DUPLICATE: Final = 3  #: found to be another host's: not to be used

#: RFC 1112 section 4: the group of all hosts on a link.
IPV4_ALL_HOSTS: Final = b"\xe0\x00\x00\x01"

#: The largest and smallest MTU an interface may have (RFC 791 sections 3.1 and 3.2).
MAX_MTU: Final = 65535
MIN_MTU: Final = 68


class InterfaceAddress:
    """An address of an interface and the length of its subnet's prefix in bits.

    `preferred_until` and `valid_until` are times (RFC 4862 section 5.5.4); `NEVER` for what was set by hand.
    `automatic`: made from a router's prefix (RFC 4862 section 5.5.3).
    """

    __slots__ = ("automatic", "ip", "preferred_until", "prefix_len", "state", "valid_until")

    def __init__(self, ip: bytes, prefix_len: int, state: int = ADDRESS_PREFERRED) -> None:
        if len(ip) not in (4, 16):
            raise ValueError("an IP address has 4 or 16 bytes")
        if not 0 <= prefix_len <= len(ip) * 8:
            raise ValueError(f"no prefix length for {len(ip)} bytes of address: {prefix_len}")
        self.ip = ip
        self.prefix_len = prefix_len
        self.state = state
        self.preferred_until: int = NEVER
        self.valid_until: int = NEVER
        self.automatic: bool = False

    def usable(self) -> bool:
        """Whether it may be a source, and packets to it are for this host."""
        return self.state in (ADDRESS_PREFERRED, ADDRESS_DEPRECATED)


class Interface:
    """An interface. All fields may be read; `addresses` and `groups` are changed by the methods below only.

    `index` is the stack's number for it, as in `Packet.interface`. `mtu` is of IP packets, without a link header.
    `ethernet`: packets go out as Ethernet frames, to next hops found by `neighbours`; `mac` is then of 6 bytes.
    `tx_csum`, `gso_max_size`: what the link takes (see `wire.packet`).
    `up`: whoever changes it tells the routes (`RouteTable.invalidate`).
    `forwarding`: packets that come in here for others are passed on: the host is a router (`set_forwarding`).
    `hop_limit`: that of IPv6 packets sent, where a router has told one (RFC 4861 section 4.2); 0 = not told.
    `groups` are the multicast groups listened to, with the number of times each was joined. The groups of all hosts,
    of the solicited nodes of own addresses and, for a router, of all routers are among them by themselves.
    """

    __slots__ = (
        "addresses",
        "broadcasts",
        "by_ip",
        "ethernet",
        "forwarding",
        "groups",
        "gso_max_size",
        "hop_limit",
        "index",
        "mac",
        "mtu",
        "name",
        "neighbours",
        "tx_csum",
        "up",
    )

    def __init__(
        self,
        index: int,
        name: str,
        mtu: int,
        ethernet: bool = False,
        mac: bytes = b"",
        tx_csum: bool = False,
        gso_max_size: int = 0,
    ) -> None:
        if not MIN_MTU <= mtu <= MAX_MTU:
            raise ValueError(f"MTU of {name} is not within {MIN_MTU} to {MAX_MTU}: {mtu}")
        if ethernet and (len(mac) != 6 or mac[0] & 1):
            raise ValueError(f"an Ethernet interface needs a unicast MAC address of 6 bytes: {name}")
        self.index = index
        self.name = name
        self.mtu = mtu
        self.ethernet = ethernet
        self.mac = mac
        self.tx_csum = tx_csum
        self.gso_max_size = gso_max_size
        self.up: bool = True
        self.forwarding: bool = False
        self.hop_limit: int = 0
        self.addresses: list[InterfaceAddress] = []
        self.by_ip: dict[bytes, InterfaceAddress] = {}
        self.broadcasts: set[bytes] = {IPV4_BROADCAST, IPV4_ANY}
        # RFC 1122 section 3.3.7: a host SHOULD join the all-hosts group at startup; RFC 4861 section 7.2.1.
        self.groups: dict[bytes, int] = {IPV4_ALL_HOSTS: 1, IPV6_ALL_NODES: 1}
        self.neighbours: NeighbourCache | None = None

    def add_address(self, ip: bytes, prefix_len: int, state: int = ADDRESS_PREFERRED) -> InterfaceAddress:
        """Give the interface an address. Raises ValueError for a bad one, and for one that it has already."""
        if ip in self.by_ip:
            raise ValueError(f"{self.name} has this address already")
        if is_multicast(ip) or is_broadcast(ip) or is_directed_broadcast(ip, ip, prefix_len) or not any(ip):
            raise ValueError("a broadcast, multicast or unspecified address is no interface's own")
        address = InterfaceAddress(ip, prefix_len, state)
        self.addresses.append(address)
        self.by_ip[ip] = address
        self._find_broadcasts()
        if len(ip) == 16:
            self.join(solicited_node(ip))
        return address

    def remove_address(self, ip: bytes) -> bool:
        """Take an address away; False where the interface does not have it."""
        address = self.by_ip.pop(ip, None)
        if address is None:
            return False
        self.addresses.remove(address)
        self._find_broadcasts()
        if len(ip) == 16:
            self.leave(solicited_node(ip))
        return True

    def set_forwarding(self, forwarding: bool) -> None:
        """Make the host a router on this interface, or no longer one."""
        if forwarding and not self.forwarding:
            self.join(IPV6_ALL_ROUTERS)
        elif self.forwarding and not forwarding:
            self.leave(IPV6_ALL_ROUTERS)
        self.forwarding = forwarding

    def owns(self, ip: bytes) -> bool:
        """Whether packets to `ip` are for this interface: a unicast address of its own that may be used."""
        address = self.by_ip.get(ip)
        return address is not None and address.usable()

    def on_link(self, ip: bytes) -> InterfaceAddress | None:
        """The usable address whose subnet `ip` is in, the longest prefix first; None where there is none."""
        best: InterfaceAddress | None = None
        for address in self.addresses:
            if (
                address.usable()
                and (best is None or address.prefix_len > best.prefix_len)
                and in_prefix(ip, address.ip, address.prefix_len)
            ):
                best = address
        return best

    def is_broadcast(self, ip: bytes) -> bool:
        """Whether `ip` is an IPv4 broadcast address here: 255.255.255.255 or a subnet's.

        RFC 1122 section 3.3.6: a host recognises all forms; both all ones and all zeros in the host part count.
        """
        return ip in self.broadcasts

    def _find_broadcasts(self) -> None:
        """All of them, kept as a set since every packet's source and destination are looked up."""
        found = {IPV4_BROADCAST, IPV4_ANY}
        for address in self.addresses:
            host_bits = 32 - address.prefix_len
            if len(address.ip) == 4 and host_bits > 1:
                # A /31 has no broadcast address (RFC 3021), nor has a single host.
                ones = (1 << host_bits) - 1
                base = int.from_bytes(address.ip, "big") & ~ones
                found.add(base.to_bytes(4, "big"))
                found.add((base | ones).to_bytes(4, "big"))
        self.broadcasts = found.difference(self.by_ip)

    def join(self, group: bytes) -> bool:
        """Listen to a multicast group once more; True where the interface did not listen to it before."""
        if not is_multicast(group):
            raise ValueError("no multicast address")
        count = self.groups.get(group, 0)
        self.groups[group] = count + 1
        return count == 0

    def leave(self, group: bytes) -> bool:
        """Undo one `join`; True where it was the last."""
        count = self.groups.get(group, 0)
        if count > 1:
            self.groups[group] = count - 1
            return False
        return self.groups.pop(group, 0) == 1
