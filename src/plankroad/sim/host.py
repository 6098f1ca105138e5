"""What is at the ends of links: hosts and routers, each with a stack of its own, and switches."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
from collections.abc import Callable, Coroutine, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from plankroad.aio.driver import Driver
from plankroad.aio.scheduler import Scheduler
from plankroad.aio.stack import AsyncStack
from plankroad.ip.interface import Interface
from plankroad.link.base import Link as StackLink
from plankroad.sim.arrivals import Arrivals
from plankroad.sim.events import Event, Simulator
from plankroad.sim.loop import current_host
from plankroad.sim.pipe import Pipe, Sink
from plankroad.sim.quantity import parse_time
from plankroad.sim.rng import digest, stream
from plankroad.sim.routing import Attachment
from plankroad.sim.switch import Switch
from plankroad.stack.config import StackConfig
from plankroad.stack.stack import Stack
from plankroad.trace.eventlog import EventLog
from plankroad.units import NEVER
from plankroad.wire.address import bytes_to_ip
from plankroad.wire.packet import Packet

if TYPE_CHECKING:
    from plankroad.sim.link import Link
    from plankroad.sim.topology import Network

T = TypeVar("T")

#: The largest IP packet, and with it the largest super-segment that a stack gives to a simulated link.
MAX_IP_PACKET = 65535


class Node:
    """Something that links end at. `links` are those, in the order of their ports."""

    def __init__(self, network: Network, name: str, sink: Sink) -> None:
        self.network = network
        self.name = name
        self.sink = sink
        self.links: list[Link] = []

    def next_port(self) -> int:
        """The port that the next link will have."""
        return len(self.links)

    def attach(self, link: Link, pipe: Pipe) -> None:
        """A link is there; what goes out by it goes into `pipe`."""
        self.links.append(link)


class SwitchNode(Node):
    """An Ethernet switch: see `sim.switch.Switch`, which is `switch`. `lan` numbers the subnet its ports belong to."""

    def __init__(self, network: Network, name: str) -> None:
        self.switch = Switch(network.simulator)
        super().__init__(network, name, self.switch)
        self.subnets: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"<Switch {self.name}>"

    def attach(self, link: Link, pipe: Pipe) -> None:
        super().attach(link, pipe)
        self.switch.add_port(pipe)


class Timer(Event):
    """The timer of a `VirtualScheduler`. It may go off too early, and then sets itself anew."""

    def __init__(self, scheduler: VirtualScheduler) -> None:
        super().__init__()
        self.scheduler = scheduler

    def run(self) -> None:
        self.scheduler.fire()


class VirtualScheduler(Scheduler):
    """A driver's scheduler on the simulator's clock. Callbacks run in `context` where there is one.

    `arrivals` is told of the deadline, where there is such a one.
    """

    def __init__(self, simulator: Simulator, arrivals: Arrivals | None = None) -> None:
        self.simulator = simulator
        self.arrivals = arrivals
        self.context: contextvars.Context | None = None
        self._callback: Callable[[], None] | None = None
        self._timer = Timer(self)
        self._deadline = NEVER

    def now(self) -> int:
        return self.simulator.now

    def bind(self, callback: Callable[[], None]) -> None:
        self._callback = callback

    def set_timer(self, when: int) -> None:
        # Deadlines mostly move away, so the event is left to come early; only an earlier one is scheduled anew.
        self._deadline = when
        if self.arrivals is not None:
            self.arrivals.deadline = when
        if when < self._timer.when:
            self.simulator.schedule(self._timer, max(when, self.simulator.now))
        elif when >= NEVER:
            self.simulator.cancel(self._timer)  # or time would go on to a deadline that nobody has

    def fire(self) -> None:
        """The time of the event has come."""
        self._timer.when = NEVER
        deadline = self._deadline
        if deadline > self.simulator.now:
            self.set_timer(deadline)
            return
        self._deadline = NEVER
        if self.arrivals is not None:
            self.arrivals.deadline = NEVER
        if self._callback is not None:
            self.run(self._callback)

    def run(self, callback: Callable[..., object], *args: object) -> None:
        """Call `callback`, as if a task of the host did."""
        if self.context is None:
            callback(*args)
        else:
            self.context.run(callback, *args)

    def call_soon(self, callback: Callable[[], None]) -> None:
        self.simulator.call_in(0, self.run, callback)


class Port(StackLink):
    """A link's end as the host's stack sees it. Arrivals do not come by it: they are delivered to the driver."""

    def __init__(self, link: Link, pipe: Pipe, mtu: int, mac: bytes) -> None:
        super().__init__(link.name, mtu, ethernet=link.ethernet, mac=mac, tx_csum=True, gso_max_size=MAX_IP_PACKET)
        self.pipe = pipe

    def receive(self) -> list[Packet]:
        return []

    def send(self, packet: Packet) -> bool:
        """The queue before the link is the network's: a packet is always taken, and dropped there if it must be."""
        self.pipe.send(packet)
        return True

    def close(self) -> None:
        pass


class Host(Node):
    """A host, or with `StackConfig.forwarding` a router: a stack and its driver on the network's clock.

    `stack` is there for programs without asyncio: after a command call `driver.push()`, and have the endpoint's `owner`
    take its events (see `aio.driver`). `aio` has asyncio's signatures. `create_task` runs coroutines as programs of
    this host, for which asyncio's own functions (`asyncio.open_connection`, `asyncio.start_server`...) do the same.
    """

    def __init__(self, network: Network, name: str, config: StackConfig, log: EventLog | None) -> None:
        self.config = config
        self.stack = Stack(config, stream(network.seed, f"stack {name}"), digest(network.seed, f"secret {name}"), log)
        self.arrivals = Arrivals(network.simulator, self.stack, self._flush)
        super().__init__(network, name, self.arrivals)
        self.scheduler = VirtualScheduler(network.simulator, self.arrivals)
        self.driver = Driver(self.stack, self.scheduler)
        self.interfaces: list[Interface] = []
        self.attachments: list[Attachment] = []
        self.crashed = False
        self._face: AsyncStack | None = None
        self._context: contextvars.Context | None = None

    def __repr__(self) -> str:
        kind = "Router" if self.forwarding else "Host"
        return f"<{kind} {self.name} {', '.join(self.addresses)}{' crashed' if self.crashed else ''}>"

    @property
    def forwarding(self) -> bool:
        """Whether it is a router."""
        return self.config.forwarding

    @property
    def now(self) -> int:
        """The time in nanoseconds."""
        return self.network.simulator.now

    @property
    def addresses(self) -> list[str]:
        """All its addresses: IPv4 before IPv6, each in the order of its links. What its name resolves to."""
        found = [address for attachment in self.attachments for address, _ in attachment.addresses]
        return [bytes_to_ip(address) for size in (4, 16) for address in found if len(address) == size]

    @property
    def address(self) -> str:
        """Its first address. Raises ValueError where it has none yet."""
        if not self.addresses:
            raise ValueError(f"{self.name} has no address: link it to something first")
        return self.addresses[0]

    # Links

    def attach(self, link: Link, pipe: Pipe) -> None:
        super().attach(link, pipe)
        direction = link.direction(link.other_end(self))
        mac = b"\x02\0" + (link.number << 1 | (self is link.ends[1])).to_bytes(4, "big") if link.ethernet else b""
        interface = self.driver.attach(Port(link, pipe, direction.conditions.mtu, mac))
        self.interfaces.append(interface)
        self.arrivals.pipes.append(pipe)
        assert interface.index == len(self.links) - 1

    def send_through(self, link: Link, pipe: Pipe) -> None:
        """Let what this host sends by `link` enter `pipe` instead of the link's own; the end of `pipe` takes it on."""
        port = self.driver.link_of(self.interface_of(link))
        assert isinstance(port, Port)
        port.pipe = pipe
        self.arrivals.pipes[self.links.index(link)] = pipe

    def interface_of(self, link: Link) -> Interface:
        """The stack's interface at a link. Raises ValueError for a link that is not here."""
        for known, interface in zip(self.links, self.interfaces, strict=True):
            if known is link:
                return interface
        raise ValueError(f"{link.name} is no link of {self.name}; it has {', '.join(one.name for one in self.links)}")

    def _flush(self) -> None:
        """Something came in that programs or the timer must hear of."""
        self.scheduler.run(self.driver.flush)

    # Programs

    @property
    def aio(self) -> AsyncStack:
        """The asyncio face, on the running loop. A new one for each loop that the network is run by."""
        face = self._face
        loop = asyncio.get_running_loop()
        if face is None or face.loop is not loop:
            face = AsyncStack(self.driver, resolver=self.network.resolver, loop=loop)
            self._face = face
            self.scheduler.context = self.context()
        return face

    def context(self) -> contextvars.Context:
        """The context of this host's programs: in it, asyncio's functions mean this host."""
        if self._context is None:
            self._context = contextvars.copy_context()
            self._context.run(current_host.set, self)
        return self._context.copy()

    def create_task(self, coroutine: Coroutine[Any, Any, T], *, name: str | None = None) -> asyncio.Task[T]:
        """Start a program on this host, in the running loop."""
        loop = asyncio.get_running_loop()
        return loop.create_task(coroutine, name=name, context=self.context())

    @contextlib.contextmanager
    def here(self) -> Iterator[Host]:
        """Within the `with` block, asyncio's functions mean this host."""
        token = current_host.set(self)
        try:
            yield self
        finally:
            current_host.reset(token)

    def crash(self, at: float | str | None = None) -> None:
        """Vanish without a word, as when the power fails: nothing is sent or received any more, for good."""
        if at is not None:
            self.network.simulator.call_at(parse_time(at, "at"), self.crash)
            return
        if self.crashed:
            return
        self.crashed = True
        self.driver.close()
        for link in self.links:
            link.direction(self).pipe.nobody = True
            self.network.link_changed(link)
