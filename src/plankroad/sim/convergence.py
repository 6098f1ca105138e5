"""What the routers of a simulated network know, and the routes that follow from it.

They know which links carry packets, but late: `Network` says when they notice. Whenever that changes, the routes of all
are computed anew (`sim.routing`), as if a routing protocol had converged, and only those that differ are changed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from plankroad.ip.routes import Route
from plankroad.sim.host import Host, SwitchNode
from plankroad.sim.routing import Attachment, Graph, Way, ways_of

if TYPE_CHECKING:
    from plankroad.sim.link import Link
    from plankroad.sim.topology import Network


class Convergence:
    """`known_up`: what is known of each link. `stale`: something was linked since the routes were computed."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.known_up: dict[Link, bool] = {}
        self.installed: dict[str, list[tuple[tuple[object, ...], Route]]] = {}
        self.stale = False

    def add_link(self, link: Link) -> None:
        """There is one more; it is known from the beginning."""
        self.known_up[link] = True
        if not self.stale:
            self.stale = True
            self.network.simulator.call_in(0, self.network.refresh_routes)

    def detect(self, link: Link) -> None:
        """The routers notice whether a link carries packets."""
        up = link.is_up()
        if self.known_up[link] == up:
            return
        self.known_up[link] = up
        for node in link.ends:
            if isinstance(node, SwitchNode) and not up:
                node.switch.forget(node.links.index(link))
        self.refresh()

    def refresh(self) -> None:
        """Compute all routes anew, and bring the hosts' to that."""
        self.stale = False
        attachments: list[Attachment] = []
        segments = self._segments()
        for host in self.network.hosts:
            for link, attachment in zip(host.links, host.attachments, strict=True):
                attachment.up = self.known_up[link]
                attachment.segment = segments[link.number]
                attachments.append(attachment)
        routers = [host.name for host in self.network.hosts if host.forwarding]
        graph = Graph(attachments, routers)
        for host in self.network.hosts:
            if host.crashed or not host.links:
                continue
            if len(host.links) > 1 or host.forwarding or self.known_up[host.links[0]]:
                for link, interface in zip(host.links, host.interfaces, strict=True):
                    host.stack.set_interface_up(self.network.simulator.now, interface, self.known_up[link])
                ways = ways_of(graph, host.name, self._sizes(host))
            else:
                # A host whose only link is dead has no other way to choose: its packets go there, and are lost.
                both = [one for one in attachments if one.number == host.links[0].number]
                for one in both:
                    one.up = True
                ways = ways_of(Graph(attachments, routers), host.name, self._sizes(host))
                for one in both:
                    one.up = False
            self._install(host, ways)
            host.driver.push()

    def _sizes(self, host: Host) -> list[int]:
        found = {len(address) for attachment in host.attachments for address, _ in attachment.addresses}
        return sorted(found)

    def _install(self, host: Host, ways: list[Way]) -> None:
        """Bring the host's routes to this, without touching those that stay."""
        wanted: dict[tuple[object, ...], Route] = {}
        for way in ways:
            hops = way.hops if self.network.multipath is not None else way.hops[:1]
            for mine, other in hops:
                interface = host.interfaces[host.attachments.index(mine)]
                gateway = other.gateway(len(way.prefix))
                key: tuple[object, ...] = (way.prefix, way.length, gateway, interface.index, way.cost)
                wanted[key] = Route(way.prefix, way.length, gateway, interface, way.cost)
        kept: list[tuple[tuple[object, ...], Route]] = []
        for known, route in self.installed.get(host.name, []):
            if known in wanted:
                del wanted[known]
                kept.append((known, route))
            else:
                host.stack.routes.remove(route)
        for added, route in wanted.items():
            host.stack.routes.add(route)
            kept.append((added, route))
        self.installed[host.name] = kept

    def _segments(self) -> dict[int, int]:
        """The number of the segment that each link is part of: its own, or that of the live switches it leads to."""
        nodes = self.network.nodes
        lan: dict[str, str] = {node.name: node.name for node in nodes.values() if isinstance(node, SwitchNode)}
        for link in self.network.links:
            first, second = link.ends
            if isinstance(first, SwitchNode) and isinstance(second, SwitchNode) and self.known_up[link]:
                lan[_root(lan, first.name)] = _root(lan, second.name)
        numbers: dict[str, int] = {}
        result: dict[int, int] = {}
        for link in self.network.links:
            switches = [node for node in link.ends if isinstance(node, SwitchNode)]
            if switches:
                root = _root(lan, switches[0].name)
                result[link.number] = numbers.setdefault(root, link.number)
            else:
                result[link.number] = link.number
        return result


def _root(parent: dict[str, str], name: str) -> str:
    while parent[name] != name:
        name = parent[name]
    return name
