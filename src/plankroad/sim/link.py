"""A link of the simulated network: two pipes, what they are like, and when that changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from plankroad.sim.conditions import Conditions
from plankroad.sim.events import Simulator
from plankroad.sim.faults import Corruption, Duplication, Fault, GilbertElliott, RandomLoss, Reordering
from plankroad.sim.pipe import Pipe, Sink
from plankroad.sim.pipe_counters import PipeCounters
from plankroad.sim.quantity import parse_time
from plankroad.sim.queue import DropTail, Queue
from plankroad.sim.queue_delay import QueueDelay
from plankroad.sim.rng import stream
from plankroad.sim.rules import Rule, RuleList
from plankroad.sim.view import PacketView
from plankroad.units import NEVER

if TYPE_CHECKING:
    from plankroad.sim.host import Node
    from plankroad.sim.topology import Network


class Direction:
    """One direction: its pipe, its conditions, and the faults that follow from them.

    The random streams belong to the direction and to a kind of fault, and go on when a probability changes.
    """

    def __init__(
        self,
        simulator: Simulator,
        seed: int,
        name: str,
        number: int,
        sink: Sink,
        port: int,
        conditions: Conditions,
        ethernet: bool,
    ) -> None:
        self.conditions = Conditions()
        self._drop_tail = DropTail()
        self._queue_rng = stream(seed, f"queue {name}")
        self.pipe = Pipe(
            simulator, name, number, sink, port, stream(seed, f"jitter {name}"), self._drop_tail, ethernet=ethernet
        )
        self.rules = RuleList(name, ethernet, stream(seed, f"rules {name}"))
        self._loss = RandomLoss(0.0, stream(seed, f"loss {name}"))
        self._burst = GilbertElliott(0.0, 1.0, 1.0, 0.0, stream(seed, f"burst {name}"))
        self._duplicate = Duplication(0.0, stream(seed, f"duplicate {name}"))
        self._corrupt = Corruption(0.0, 1, stream(seed, f"corrupt {name}"), stream(seed, f"corrupt places {name}"))
        self._reorder = Reordering(0.0, 0, stream(seed, f"reorder {name}"))
        self.apply(conditions)

    @property
    def queue(self) -> Queue:
        """The queue that is in force."""
        return self.pipe.queue

    def apply(self, conditions: Conditions) -> None:
        """Let these conditions hold from now on."""
        discipline = conditions.discipline
        pipe = self.pipe
        pipe.rate = conditions.rate
        pipe.delay = conditions.delay
        pipe.jitter = conditions.jitter
        pipe.jitter_reorders = conditions.jitter_reorders
        pipe.mtu = conditions.carried_mtu or conditions.mtu
        pipe.overhead = conditions.overhead
        self._drop_tail.max_packets = conditions.queue_packets
        self._drop_tail.max_bytes = conditions.queue_bytes
        self._drop_tail.mark_packets = conditions.mark_packets
        self._drop_tail.mark_bytes = conditions.mark_bytes
        if discipline != self.conditions.discipline:
            pipe.set_queue(self._drop_tail if discipline is None else discipline.make(self._queue_rng))
        self.conditions = conditions
        self._loss.probability = conditions.loss
        burst = conditions.burst
        if burst is not None:
            self._burst.enter = burst.enter
            self._burst.leave = burst.leave
            self._burst.bad_loss = burst.bad_loss
            self._burst.good_loss = burst.good_loss
        self._duplicate.probability = conditions.duplicate
        self._corrupt.probability = conditions.corrupt
        self._corrupt.bits = conditions.corrupt_bits
        self._reorder.probability = conditions.reorder
        self._reorder.extra = conditions.reorder_delay
        self.arrange()

    def measure_queue(self) -> QueueDelay:
        """Measure from now on how long packets wait before this direction; see `sim.queue_delay.QueueDelay`.

        May be asked for several times: each measures from its beginning. It ends by `pipe.queue_observers.remove(it)`.
        """
        measure = QueueDelay()
        self.pipe.queue_observers.append(measure)
        return measure

    def arrange(self) -> None:
        """Put the faults that there are in their order; none that never strikes, as each costs time."""
        conditions = self.conditions
        before: list[Fault] = []
        self.rules.rules = [rule for rule in self.rules.rules if not rule.removed]
        if self.rules.rules:
            before.append(self.rules)
        if conditions.loss:
            before.append(self._loss)
        if conditions.burst is not None:
            before.append(self._burst)
        if conditions.duplicate:
            before.append(self._duplicate)
        behind: list[Fault] = []
        if conditions.corrupt:
            behind.append(self._corrupt)
        if conditions.reorder:
            behind.append(self._reorder)
        self.pipe.before = before
        self.pipe.behind = behind


class Link:
    """A link between two nodes. Made by `Network.link`; everything about it may be changed while the network runs.

    `ends` are the nodes, `there` the direction from the first to the second, `back` the other one. Where a method takes
    `toward`, it means the direction that ends at this node (or its name), or both with None. Where it takes `at`, that
    is a time on the network's clock (seconds, or text as "1.5s"); None is now.
    """

    def __init__(
        self,
        network: Network,
        name: str,
        number: int,
        ends: tuple[Node, Node],
        conditions: tuple[Conditions, Conditions],
        cost: int,
        ethernet: bool,
    ) -> None:
        self.network = network
        self.name = name
        self.number = number
        self.ends = ends
        self.cost = cost
        self.ethernet = ethernet
        first, second = ends
        mark = name.removeprefix(f"{first.name}-{second.name}")
        sim, seed = network.simulator, network.seed
        self.there = Direction(
            sim,
            seed,
            f"{first.name}->{second.name}{mark}",
            number * 2,
            second.sink,
            second.next_port(),
            conditions[0],
            ethernet,
        )
        self.back = Direction(
            sim,
            seed,
            f"{second.name}->{first.name}{mark}",
            number * 2 + 1,
            first.sink,
            first.next_port(),
            conditions[1],
            ethernet,
        )

    def __repr__(self) -> str:
        return f"<Link {self.name}{'' if self.is_up() else ' down'}>"

    # Up and down

    def is_up(self) -> bool:
        """Whether it carries packets both ways and there is somebody at both ends."""
        pipes = (self.there.pipe, self.back.pipe)
        return not any(pipe.down or pipe.nobody for pipe in pipes)

    def cut(self, toward: Node | str | None = None, at: float | str | None = None) -> None:
        """Carry nothing more; what waits or is under way is lost."""
        chosen = self._directions(toward)
        self._do(at, lambda: self._switch(chosen, True))

    def heal(self, toward: Node | str | None = None, at: float | str | None = None) -> None:
        """Undo `cut`."""
        chosen = self._directions(toward)
        self._do(at, lambda: self._switch(chosen, False))

    def flap(
        self,
        down: float | str,
        up: float | str,
        times: int = 1,
        at: float | str | None = None,
        toward: Node | str | None = None,
    ) -> None:
        """Be cut for `down` and healed for `up`, `times` in a row, beginning `at`."""
        down_for, up_for = parse_time(down, "down"), parse_time(up, "up")
        if times < 1 or not down_for or not up_for:
            raise ValueError("a link flaps 1 or more times, for times above 0")
        chosen = self._directions(toward)
        sim = self.network.simulator
        start = sim.now if at is None else parse_time(at, "at")
        for i in range(times):
            begin = start + i * (down_for + up_for)
            sim.call_at(begin, self._switch, chosen, True)
            sim.call_at(begin + down_for, self._switch, chosen, False)

    def _switch(self, chosen: list[Direction], down: bool) -> None:
        for direction in chosen:
            if down:
                direction.pipe.cut()
            else:
                direction.pipe.heal()
        self.network.link_changed(self)

    # Conditions

    def set(self, toward: Node | str | None = None, at: float | str | None = None, **conditions: Any) -> None:
        """Change conditions; their names are those of `Network.link`. Raises ValueError or TypeError at once."""
        chosen = self._directions(toward)
        for direction in chosen:
            direction.conditions.changed(conditions)

        def change() -> None:
            for direction in chosen:
                direction.apply(direction.conditions.changed(conditions))
            if "mtu" in conditions:
                self.network.mtu_changed(self)

        self._do(at, change)

    def rule(
        self,
        action: str,
        condition: Callable[[PacketView], object] | None = None,
        *,
        toward: Node | str | None = None,
        delay: float | str = 0,
        copies: int = 1,
        bits: int = 1,
        skip: int = 0,
        count: int | None = None,
        start: float | str = 0,
        end: float | str | None = None,
        note: str = "",
    ) -> Rule:
        """Add a packet rule behind those that are there: see `sim.rules.Rule`. Times in seconds or as text."""
        rule = Rule(
            action,
            condition,
            delay=parse_time(delay, "delay"),
            copies=copies,
            bits=bits,
            skip=skip,
            count=count,
            start=parse_time(start, "start"),
            end=NEVER if end is None else parse_time(end, "end"),
            note=note,
        )
        self.add_rule(rule, toward)
        return rule

    def add_rule(self, rule: Rule, toward: Node | str | None = None) -> None:
        """Add a rule that was made before; one rule may be on many links, and counts on all of them."""
        for direction in self._directions(toward):
            direction.rules.rules.append(rule)
            direction.arrange()

    # Looking

    def counters(self) -> dict[str, int]:
        """The counts of both directions together: see `sim.pipe_counters.PipeCounters`."""
        return add_up([self.there.pipe.counters, self.back.pipe.counters])

    def direction(self, toward: Node | str) -> Direction:
        """The direction that ends at a node. Raises ValueError for a node that is at neither end."""
        name = toward if isinstance(toward, str) else toward.name
        if name == self.ends[1].name:
            return self.there
        if name == self.ends[0].name:
            return self.back
        raise ValueError(
            f"{name} is not at an end of {self.name}; there are {self.ends[0].name} and {self.ends[1].name}"
        )

    def other_end(self, node: Node) -> Node:
        """Who is at the other end."""
        return self.ends[1] if node is self.ends[0] else self.ends[0]

    # Inside

    def _directions(self, toward: Node | str | None) -> list[Direction]:
        return [self.there, self.back] if toward is None else [self.direction(toward)]

    def _do(self, at: float | str | None, action: Callable[[], None]) -> None:
        if at is None:
            action()
        else:
            self.network.simulator.call_at(parse_time(at, "at"), action)


def add_up(counters: list[PipeCounters]) -> dict[str, int]:
    """The sum of each count."""
    total: dict[str, int] = dict.fromkeys(PipeCounters().as_dict(), 0)
    for one in counters:
        for name, value in one.as_dict().items():
            total[name] += value
    return total
