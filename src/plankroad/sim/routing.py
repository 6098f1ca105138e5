"""Shortest paths: what a link-state routing protocol would have the routers install.

The graph is made of nodes (hosts and routers) and segments (a point-to-point link, or the switches of a LAN with their
links), joined by attachments. To leave a node by an attachment costs what the attachment's link costs; to come from a
segment into a node costs nothing, as in OSPF (RFC 2328 section 2.1).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from heapq import heappop, heappush

#: A way to leave a node: the attachment it leaves by, and the neighbour's at the same segment.
Hop = tuple["Attachment", "Attachment"]


class Attachment:
    """An interface of `node` at a segment. `segment` is a number, the same for all that can speak directly at present.

    `addresses` are (address, prefix length), both families. `up`: whether its link carries packets, both ways.
    """

    __slots__ = ("addresses", "cost", "node", "number", "segment", "up")

    def __init__(self, node: str, number: int, cost: int, addresses: list[tuple[bytes, int]]) -> None:
        self.node = node
        self.number = number
        self.cost = cost
        self.addresses = addresses
        self.segment: int = -1
        self.up: bool = True

    def gateway(self, size: int) -> bytes:
        """Its first address of `size` bytes; b"" where it has none."""
        for address, _ in self.addresses:
            if len(address) == size:
                return address
        return b""


class Graph:
    """The network as the routers know it. `forwarding`: the nodes that pass packets on."""

    def __init__(self, attachments: Iterable[Attachment], forwarding: Iterable[str]) -> None:
        self.forwarding = set(forwarding)
        self.at_node: dict[str, list[Attachment]] = {}
        self.at_segment: dict[int, list[Attachment]] = {}
        self.all = list(attachments)
        for attachment in self.all:
            self.at_node.setdefault(attachment.node, []).append(attachment)
            if attachment.up:
                self.at_segment.setdefault(attachment.segment, []).append(attachment)

    def neighbours(self, node: str) -> list[Hop]:
        """All ways to leave a node."""
        return [
            (mine, other)
            for mine in self.at_node.get(node, [])
            if mine.up
            for other in self.at_segment[mine.segment]
            if other.node != node
        ]

    def paths_from(self, source: str, size: int) -> dict[str, tuple[int, list[Hop]]]:
        """For each node that can be reached: the cost, and the first hops of all cheapest paths.

        `size`: 4 or 16, for the family that all on the way must have an address of. Dijkstra's algorithm (RFC 2328
        section 16.1); nodes that do not forward are ends of paths only.
        """
        best: dict[str, tuple[int, list[Hop]]] = {source: (0, [])}
        done: set[str] = set()
        heap: list[tuple[int, str]] = [(0, source)]
        while heap:
            cost, node = heappop(heap)
            if node in done:
                continue
            done.add(node)
            if node != source and node not in self.forwarding:
                continue
            hops = best[node][1]
            for hop in self.neighbours(node):
                mine, other = hop
                if not mine.gateway(size) or not other.gateway(size):
                    continue
                total = cost + mine.cost
                known = best.get(other.node)
                first = [hop] if node == source else hops
                if known is None or total < known[0]:
                    best[other.node] = (total, list(first))
                    heappush(heap, (total, other.node))
                elif total == known[0]:
                    known[1].extend(one for one in first if one not in known[1])
        return best


class Way:
    """A route to be installed at a node: `prefix`/`length` by `hops`, all equally good, at `cost`."""

    __slots__ = ("cost", "hops", "length", "prefix")

    def __init__(self, prefix: bytes, length: int, cost: int, hops: list[Hop]) -> None:
        self.prefix = prefix
        self.length = length
        self.cost = cost
        self.hops = hops


def network(address: bytes, length: int) -> bytes:
    """The address with the host bits cleared."""
    bits = len(address) * 8 - length
    return (int.from_bytes(address, "big") >> bits << bits).to_bytes(len(address), "big")


def ways_of(graph: Graph, node: str, sizes: Sequence[int]) -> list[Way]:
    """The routes of a node beyond its own subnets.

    A node with one neighbour that forwards, and no other way out, has a default route by it. All others have a route to
    each subnet, and to each address whose own link is down while its owner can still be reached by another.
    """
    result: list[Way] = []
    leaving = graph.neighbours(node)
    for size in sizes:
        usable = [hop for hop in leaving if hop[0].gateway(size) and hop[1].gateway(size)]
        routers = [hop for hop in usable if hop[1].node in graph.forwarding]
        if node not in graph.forwarding and len(routers) == 1 and len({hop[0].number for hop in usable}) == 1:
            result.append(Way(bytes(size), 0, routers[0][0].cost, routers))
            continue
        if not routers:
            continue
        result += _ways(graph, node, size)
    return result


def _ways(graph: Graph, node: str, size: int) -> list[Way]:
    paths = graph.paths_from(node, size)
    mine = {
        (network(address, length), length)
        for attachment in graph.at_node.get(node, [])
        if attachment.up
        for address, length in attachment.addresses
    }
    found: dict[tuple[bytes, int], Way] = {}
    for attachment in graph.all:
        known = paths.get(attachment.node)
        if known is None or not known[1]:
            continue
        cost, hops = known
        for address, length in attachment.addresses:
            if len(address) != size:
                continue
            key = (network(address, length), length) if attachment.up else (address, size * 8)
            if key in mine:
                continue
            way = found.get(key)
            if way is None or cost < way.cost:
                found[key] = Way(key[0], key[1], cost, list(hops))
            elif cost == way.cost:
                way.hops.extend(hop for hop in hops if hop not in way.hops)
    # In one and the same order for every run: that of the graph.
    return [found[key] for key in sorted(found, key=lambda key: (-key[1], key[0]))]
