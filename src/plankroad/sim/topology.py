"""`Network`: hosts, routers, switches and links, from a few lines of Python, in virtual time.

    net = Network(seed=1)
    client, server = net.host("client"), net.host("server")
    router = net.router("router")
    net.link(client, router, rate="100Mbit/s", delay="5ms")
    net.link(router, server, rate="10Mbit/s", delay="20ms", loss=0.01, queue=50)

    async def main() -> None:
        server.create_task(serve())
        reader, writer = await asyncio.open_connection("server", 80)

    net.run(main(), host=client)

Addresses: link number n has 10.x.y.0/24 and fd00:0:0:n::/64, where x.y is n; its first end is number 1, its second 2.
The ports of a switch share one such subnet (`sim.addressing`). Routes are the shortest paths; they are computed when
something is linked and, `detection` after a link was cut or healed, anew (`sim.convergence`).
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import os
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, BinaryIO, Final, TypeVar

from plankroad.ip.routes import MULTIPATH_PER_FLOW, MULTIPATH_PER_PACKET
from plankroad.link.capture import CaptureWriter
from plankroad.sim.addressing import AddressPlan, NetworkResolver, check_lan, listed
from plankroad.sim.capture import CaptureObserver, NetworkCapture
from plankroad.sim.conditions import Conditions
from plankroad.sim.convergence import Convergence
from plankroad.sim.events import LAST_MOMENT, Call, Simulator
from plankroad.sim.host import Host, Node, SwitchNode
from plankroad.sim.link import Link, add_up
from plankroad.sim.loop import MAX_TURNS, SimulatedLoop
from plankroad.sim.observe import TraceHash
from plankroad.sim.pipe import Observer
from plankroad.sim.quantity import parse_time
from plankroad.sim.rules import Rule
from plankroad.stack.config import StackConfig
from plankroad.trace.eventlog import EventLog
from plankroad.units import NEVER
from plankroad.wire.address import parse_prefix

T = TypeVar("T")

#: RFC 8200 section 5: a link with a smaller MTU is no IPv6 link.
IPV6_MIN_MTU: Final = 1280

#: Links, and with them subnets, that a network can have with addresses given by itself.
MAX_LINKS: Final = 1 << 16


class Network:
    """A simulated network. All that happens in it depends on the program and on `seed` alone.

    `ipv4`, `ipv6`: which addresses links get by themselves. `multipath`: what becomes of several equally short ways:
    None takes one of them, "flow" spreads flows over all, "packet" single packets, in turn. `detection`: how long
    after a link was cut or healed routers know of it (seconds or text); None: never, nothing is routed around.
    `max_time` (virtual seconds or text), `max_events` and `max_turns` are limits against programs that never end.
    `trace_hash`: keep a hash of every packet; see `trace_hash()`.
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        ipv4: bool = True,
        ipv6: bool = True,
        multipath: str | None = None,
        detection: float | str | None = "50ms",
        max_time: float | str | None = None,
        max_events: int | None = None,
        max_turns: int = MAX_TURNS,
        trace_hash: bool = False,
    ) -> None:
        if multipath not in (None, "flow", "packet"):
            raise ValueError(f"multipath: {multipath!r}; it is None, 'flow' or 'packet'")
        if not ipv4 and not ipv6:
            raise ValueError("a network without IPv4 and IPv6 has nothing to carry")
        self.seed = seed
        self.simulator = Simulator(
            LAST_MOMENT if max_time is None else parse_time(max_time, "max_time"),
            NEVER if max_events is None else max_events,
        )
        self.max_turns = max_turns
        self.multipath = multipath
        self.detection = -1 if detection is None else parse_time(detection, "detection")
        self.resolver = NetworkResolver(self)
        self.nodes: dict[str, Node] = {}
        self.links: list[Link] = []
        self._names: set[str] = set()
        self._link_names: set[str] = set()
        self._plan = AddressPlan((4,) * ipv4 + (16,) * ipv6)
        self.owners = self._plan.owners  # whose each address is
        self._convergence = Convergence(self)
        self._observers: list[Observer] = []
        self._captures: list[CaptureObserver] = []
        self._rules: list[Rule] = []
        self._hash: TraceHash | None = None
        if trace_hash:
            self._hash = TraceHash()
            self._observers.append(self._hash)

    # Building

    def host(self, name: str, config: StackConfig | None = None, *, log: EventLog | None = None) -> Host:
        """A new host. Raises ValueError for a name that is taken."""
        return self._add_host(name, config, False, log)

    def router(self, name: str, config: StackConfig | None = None, *, log: EventLog | None = None) -> Host:
        """A new router: a host that forwards. Raises ValueError for a name that is taken."""
        return self._add_host(name, config, True, log)

    def _add_host(self, name: str, config: StackConfig | None, forwarding: bool, log: EventLog | None) -> Host:
        self._check_name(name)
        settings = dataclasses.replace(config or StackConfig())
        settings.forwarding = settings.forwarding or forwarding
        if self.multipath is not None:
            settings.multipath = MULTIPATH_PER_PACKET if self.multipath == "packet" else MULTIPATH_PER_FLOW
        host = Host(self, name, settings, log)
        self.nodes[name] = host
        return host

    def switch(self, name: str, subnets: Iterable[str] | str = ()) -> SwitchNode:
        """A new Ethernet switch; what is linked to it is one LAN, with ARP and neighbour discovery.

        `subnets`: those of the LAN, for example ("192.168.0.0/16", "fd00:1::/64"); without them it gets its own. Raises
        ValueError for a name that is taken and for text that is no subnet.
        """
        self._check_name(name)
        node = SwitchNode(self, name)
        node.subnets = (subnets,) if isinstance(subnets, str) else tuple(subnets)
        for subnet in node.subnets:
            parse_prefix(subnet)
        self.nodes[name] = node
        return node

    def link(
        self,
        a: Node | str,
        b: Node | str,
        *,
        name: str | None = None,
        addresses: tuple[str | Iterable[str], str | Iterable[str]] | None = None,
        cost: int = 1,
        ethernet: bool = False,
        forward: dict[str, Any] | None = None,
        backward: dict[str, Any] | None = None,
        **conditions: Any,
    ) -> Link:
        """A new link between two nodes (or their names).

        Conditions, for both directions; `forward` (from `a` to `b`) and `backward` change them for one:
        `rate` bit/s or text ("10Mbit/s"), without one no packet ever waits; `delay`, `jitter` seconds or text ("20ms"),
        the jitter even, both ways, in order unless `jitter_reorders`; `mtu` bytes (1500); `carried_mtu`: larger packets
        vanish without a word; `overhead` bytes a packet; `queue` packets or text ("64KiB"), None no limit (1000
        packets), or a discipline: "red", "codel", "fq_codel", "pie" or an object of `sim.disciplines`; `mark` packets
        or text: from there on congestion experienced is marked (drop-tail only); `loss`, `duplicate`, `corrupt`
        and `reorder` probabilities, with `corrupt_bits` flipped (1) and `reorder_delay` to be held back;
        `burst` a `sim.conditions.Burst`.

        A link whose MTU is below 1280 gets IPv4 addresses only (RFC 8200 section 5).
        `addresses`: of the two ends, for example ("192.168.1.1/24", "192.168.1.2/24"), or several each. `cost`: for the
        shortest path. `ethernet`: frames with ARP and neighbour discovery, as links to a switch always have.
        Raises ValueError or TypeError for what makes no sense.
        """
        first, second = self._node(a), self._node(b)
        if first is second:
            raise ValueError(f"{first.name} cannot be linked to itself")
        if cost < 1:
            raise ValueError(f"cost: {cost} is less than 1")
        if len(self.links) >= MAX_LINKS:
            raise ValueError(f"a network has at most {MAX_LINKS} links")
        switched = isinstance(first, SwitchNode) or isinstance(second, SwitchNode)
        common = Conditions().changed(conditions)
        both = (common.changed(forward or {}), common.changed(backward or {}))
        check_lan(first, second)
        given = ((), ()) if addresses is None else (listed(addresses[0]), listed(addresses[1]))
        ipv6_fits = min(both[0].mtu, both[1].mtu) >= IPV6_MIN_MTU
        if not ipv6_fits and any(":" in text for texts in given for text in texts):
            raise ValueError(f"mtu: an IPv6 link carries {IPV6_MIN_MTU} bytes at least (RFC 8200 section 5)")
        label = self._link_name(first, second, name)
        subnets = self._plan.subnets_for(first, second, given)
        if not ipv6_fits:
            subnets = tuple(subnet for subnet in subnets if ":" not in subnet)
        # All that can be refused is refused before anything has changed.
        chosen = self._plan.choose((first, second), label, given, subnets)
        self._link_names.add(label)
        link = Link(
            self,
            label,
            len(self.links),
            (first, second),
            both,
            cost,
            ethernet or switched,
        )
        for node, direction in ((first, link.there), (second, link.back)):
            node.attach(link, direction.pipe)
        self.links.append(link)
        for observer in self._observers:
            link.there.pipe.observers.append(observer)
            link.back.pipe.observers.append(observer)
        for capture in self._captures:
            if capture.failed is None:
                self._add_to_capture(capture, link)
        for rule in self._rules:
            link.add_rule(rule)
        for node, pairs in zip((first, second), chosen, strict=True):
            if isinstance(node, Host):
                self._plan.give(node, link, pairs)
                self.resolver.add(node.name, node.addresses)
        self._convergence.add_link(link)
        return link

    # Looking

    @property
    def hosts(self) -> list[Host]:
        """All hosts and routers."""
        return [node for node in self.nodes.values() if isinstance(node, Host)]

    @property
    def now(self) -> float:
        """Virtual seconds since the beginning."""
        return self.simulator.now / 1e9

    def counters(self) -> dict[str, int]:
        """The counts of all links together: see `sim.pipe_counters.PipeCounters`."""
        return add_up([direction.pipe.counters for link in self.links for direction in (link.there, link.back)])

    def dropped(self) -> dict[str, int]:
        """Packets that the network lost, by cause; only causes that there were."""
        counters = self.counters()
        return {
            name.removeprefix("lost_"): count
            for name, count in counters.items()
            if name.startswith("lost_") and count
        }

    def trace_hash(self) -> str:
        """The hash of all that happened to packets up to now. Raises ValueError unless it was asked for."""
        if self._hash is None:
            raise ValueError("no hash was kept: make the network with trace_hash=True")
        return self._hash.hexdigest()

    def observe(self, observer: Observer) -> None:
        """Tell `observer` of every packet on every link, those to come included."""
        self._observers.append(observer)
        for link in self.links:
            link.there.pipe.observers.append(observer)
            link.back.pipe.observers.append(observer)

    def capture(self, target: str | os.PathLike[str] | BinaryIO | CaptureWriter) -> CaptureWriter:
        """Write every packet on every link to a pcapng file; close what is returned at the end (`with` does)."""
        writer: CaptureWriter
        if isinstance(target, CaptureWriter):
            writer = target
            observer = CaptureObserver(writer)
        else:
            writer = NetworkCapture(target, comment=f"plankroad simulation, seed {self.seed}")
            observer = CaptureObserver(writer)
            writer.on_close = functools.partial(self._end_capture, observer)
        self._captures.append(observer)
        for link in self.links:
            self._add_to_capture(observer, link)
        return writer

    # Packets by rule

    def add_rule(self, rule: Rule) -> Rule:
        """Put a rule on every link, those to come included: see `sim.rules.Rule` and `Link.rule`."""
        self._rules.append(rule)
        for link in self.links:
            link.add_rule(rule)
        return rule

    # Running

    def at(self, when: float | str, action: Callable[..., object], *args: object) -> Call:
        """Call `action(*args)` at a time (virtual seconds from the beginning, or text)."""
        return self.simulator.call_at(parse_time(when, "when"), action, *args)

    def new_event_loop(self) -> SimulatedLoop:
        """An event loop on this network's clock, for `asyncio.Runner(loop_factory=net.new_event_loop)`."""
        return SimulatedLoop(self.simulator, resolver=self.resolver, max_turns=self.max_turns)

    def policy(self) -> asyncio.AbstractEventLoopPolicy:
        """A policy whose loops are on this network's clock, for `asyncio.set_event_loop_policy`."""
        return _policy(self)

    def run(self, main: Coroutine[Any, Any, T], *, host: Host | str | None = None, debug: bool | None = None) -> T:
        """Run a coroutine to its end, as `asyncio.run`, in virtual time; as a program of `host` where one is given.

        May be called again: time goes on where it was. Raises `sim.errors.DeadlockError` and `RunawayError`.
        """
        try:
            self.refresh_routes()
            context = None if host is None else self._program_host(host).context()
        except BaseException:
            if asyncio.iscoroutine(main):
                main.close()
            raise
        with asyncio.Runner(debug=debug, loop_factory=self.new_event_loop) as runner:
            return runner.run(main, context=context)

    def run_until(self, when: float | str) -> None:
        """Let everything happen up to a time, without asyncio."""
        self.refresh_routes()
        self.simulator.run_until(parse_time(when, "when"))

    def run_for(self, duration: float | str) -> None:
        """Let everything happen for a while, without asyncio."""
        self.refresh_routes()
        self.simulator.run_until(self.simulator.now + parse_time(duration, "duration"))

    # Routes

    def refresh_routes(self) -> None:
        """Compute the routes anew if something was linked since. Done by itself when the network runs."""
        if self._convergence.stale:
            self._convergence.refresh()

    def link_changed(self, link: Link) -> None:
        """A link was cut or healed: routers will notice."""
        if self.detection >= 0:
            self.simulator.call_in(self.detection, self._convergence.detect, link)

    def mtu_changed(self, link: Link) -> None:
        """The interfaces at a link take packets of another size."""
        for node, direction in ((link.ends[0], link.there), (link.ends[1], link.back)):
            if isinstance(node, Host) and not node.crashed:
                node.stack.set_mtu(self.simulator.now, node.interface_of(link), direction.conditions.mtu)
                node.driver.push()

    # Inside

    def _node(self, node: Node | str) -> Node:
        if isinstance(node, Node):
            if node.network is not self:
                raise ValueError(f"{node.name} belongs to another network")
            return node
        found = self.nodes.get(node)
        if found is None:
            raise ValueError(f"no node named {node!r}; there are: {', '.join(self.nodes) or 'none'}")
        return found

    def _program_host(self, node: Host | str) -> Host:
        """The host that a program is to run on. Raises ValueError for an unknown name and for a switch."""
        found = self._node(node)
        if not isinstance(found, Host):
            raise ValueError(f"{found.name} is a switch: no program runs on it")
        return found

    def _check_name(self, name: str) -> None:
        if not name or any(c.isspace() for c in name) or name.strip(".") != name:
            raise ValueError(f"{name!r} is no name of a host; write letters, digits and hyphens")
        if name.lower() in self._names:
            raise ValueError(f"there is a node named {name!r} already")
        self._names.add(name.lower())

    def _link_name(self, first: Node, second: Node, name: str | None) -> str:
        candidate = name or f"{first.name}-{second.name}"
        if name is not None and name in self._link_names:
            raise ValueError(f"there is a link named {name!r} already")
        number = 1
        while candidate in self._link_names:
            number += 1
            candidate = f"{first.name}-{second.name}#{number}"
        return candidate

    def _end_capture(self, capture: CaptureObserver) -> None:
        capture.detach()
        if capture in self._captures:
            self._captures.remove(capture)

    def _add_to_capture(self, capture: CaptureObserver, link: Link) -> None:
        capture.add_link(link.name, link.ends[0].name, link.ends[1].name, link.there.pipe, link.back.pipe)


def _policy(net: Network) -> asyncio.AbstractEventLoopPolicy:
    class Policy(asyncio.DefaultEventLoopPolicy):
        def new_event_loop(self) -> asyncio.AbstractEventLoop:
            return net.new_event_loop()

    return Policy()
