"""Addresses of a simulated network: who gets which, and the names of hosts.

Link number n has 10.x.y.0/24 and fd00:0:0:n::/64, where x.y is n; its first end is number 1, its second 2. The ports of
a switch share one such subnet.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from plankroad.aio.resolver import HostsResolver
from plankroad.ip.interface import MAX_MTU, Interface
from plankroad.sim.host import Host, Node, SwitchNode
from plankroad.sim.routing import Attachment, network
from plankroad.wire.address import bytes_to_ip, ip_to_bytes, link_local_of, parse_prefix

if TYPE_CHECKING:
    from plankroad.sim.link import Link
    from plankroad.sim.topology import Network


class NetworkResolver(HostsResolver):
    """The names of the network's hosts, both ways."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self._network = network

    async def resolve(self, host: str) -> list[str]:
        try:
            return await super().resolve(host)
        except socket.gaierror:
            known = ", ".join(node.name for node in self._network.hosts) or "none"
            raise socket.gaierror(
                socket.EAI_NONAME, f"no host named {host!r} in the simulated network; there are: {known}"
            ) from None

    def name_of(self, address: str) -> str:
        """Whose address it is; empty for nobody's."""
        try:
            return self._network.owners.get(ip_to_bytes(address), "")
        except ValueError:
            return ""


class AddressPlan:
    """Subnets of links and addresses of hosts. `owners`: whose each address is. `families`: 4, 16 or both."""

    def __init__(self, families: tuple[int, ...]) -> None:
        self.families = families
        self.owners: dict[bytes, str] = {}
        self.subnets = 0  # how many were given

    def subnets_for(self, first: Node, second: Node, given: tuple[tuple[str, ...], ...]) -> tuple[str, ...]:
        """The subnets of a new link, where addresses are not given; those of its LAN if it leads to one."""
        switches = [node for node in (first, second) if isinstance(node, SwitchNode)]
        if len(switches) == 2:
            return ()
        if not switches:
            if given[0] or given[1]:
                _check_given(first, second, given)
                return ()
            return self._new_subnets()
        lan = lan_of(switches[0])
        for node in lan:
            if node.subnets:
                return node.subnets
        switches[0].subnets = self._new_subnets()
        return switches[0].subnets

    def _new_subnets(self) -> tuple[str, ...]:
        number = self.subnets
        self.subnets += 1
        found: list[str] = []
        if 4 in self.families:
            found.append(f"10.{number >> 8}.{number & 255}.0/24")
        if 16 in self.families:
            found.append(f"fd00:0:0:{number:x}::/64")
        return tuple(found)

    def choose(
        self, ends: tuple[Node, Node], link: str, given: tuple[tuple[str, ...], ...], subnets: tuple[str, ...]
    ) -> list[list[tuple[bytes, int]]]:
        """The addresses of a new link's two ends, with the lengths of their prefixes. Raises ValueError."""
        alone = not any(isinstance(node, SwitchNode) for node in ends)
        taken = dict(self.owners)
        chosen: list[list[tuple[bytes, int]]] = []
        for i, node in enumerate(ends):
            pairs: list[tuple[bytes, int]] = []
            if isinstance(node, Host):
                texts = list(given[i])
                if not texts:
                    for subnet in subnets:
                        base, length = parse_prefix(subnet)
                        texts.append(_free_address(base, length, taken, i + 1 if alone else 1, link))
                interface = Interface(0, link, MAX_MTU)
                for text in texts:
                    address, length = parse_prefix(text)
                    if address in taken:
                        raise ValueError(f"{bytes_to_ip(address)} is taken already, by {taken[address]}")
                    try:
                        interface.add_address(address, length)
                    except ValueError as exc:
                        raise ValueError(f"{text}: {exc}") from None
                    taken[address] = node.name
                    pairs.append((address, length))
            chosen.append(pairs)
        return chosen

    def give(self, host: Host, link: Link, pairs: list[tuple[bytes, int]]) -> None:
        """Let a host have the addresses that were chosen for its end of a link."""
        interface = host.interface_of(link)
        for address, length in pairs:
            self.owners[address] = host.name
            host.stack.add_address(interface, f"{bytes_to_ip(address)}/{length}")
        if link.ethernet and any(len(address) == 16 for address, _ in pairs):
            host.stack.add_address(interface, f"{bytes_to_ip(link_local_of(interface.mac))}/64")
        host.attachments.append(Attachment(host.name, link.number, link.cost, pairs))


def _check_given(first: Node, second: Node, given: tuple[tuple[str, ...], ...]) -> None:
    """Addresses of two ends that are given are of the same subnets. Raises ValueError."""
    sides = [{network(*parse_prefix(text)): parse_prefix(text)[1] for text in texts} for texts in given]
    if sides[0] != sides[1]:
        raise ValueError(
            f"addresses of {first.name} and {second.name} are not of the same subnets: "
            f"{', '.join(given[0]) or 'none'} and {', '.join(given[1]) or 'none'}"
        )


def lan_of(switch: SwitchNode) -> list[SwitchNode]:
    """All switches that are linked with this one, itself included, whether the links are up or not."""
    found = [switch]
    for node in found:
        for link in node.links:
            other = link.other_end(node)
            if isinstance(other, SwitchNode) and other not in found:
                found.append(other)
    return found


def check_lan(first: Node, second: Node) -> None:
    """Whether two nodes may be linked, if both are switches. Raises ValueError."""
    if not isinstance(first, SwitchNode) or not isinstance(second, SwitchNode):
        return
    here, there = lan_of(first), lan_of(second)
    if second in here:
        raise ValueError(
            f"{first.name} and {second.name} are linked already: frames would go round for ever (there is no "
            "spanning tree)"
        )
    if any(node.subnets for node in here) and any(node.subnets for node in there):
        raise ValueError(
            f"{first.name} and {second.name} have subnets of their own: link switches before their hosts"
        )


def listed(addresses: str | Iterable[str]) -> tuple[str, ...]:
    """One or several, as several."""
    return (addresses,) if isinstance(addresses, str) else tuple(addresses)


def _free_address(base: bytes, length: int, taken: Mapping[bytes, str], first: int, link: str) -> str:
    """The first free address of a subnet from number `first` on, with the subnet's length."""
    size = len(base)
    start = int.from_bytes(network(base, length), "big")
    last = (1 << (size * 8 - length)) - (2 if size == 4 else 1)
    number = first
    while number <= last:
        address = (start + number).to_bytes(size, "big")
        if address not in taken:
            return f"{bytes_to_ip(address)}/{length}"
        number += 1
    raise ValueError(
        f"no address is left in {bytes_to_ip(network(base, length))}/{length} for {link}; give the switch a larger "
        "subnet: net.switch(name, subnets=('10.128.0.0/16', ...))"
    )
