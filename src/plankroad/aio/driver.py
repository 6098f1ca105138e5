"""The driver: one stack, its links, one timer. It moves packets, hands out events and keeps the clock; no asyncio.

A wake-up (packets on a link, the timer, room on a link) is done in one go, by `flush`:

    all that arrived -> stack.receive; events -> owners; stack.poll_transmit -> link.send; again until quiet; timer

Events come first, so that what a program answers leaves together with the acknowledgement of what it answers.

A program's command (a write, a close) is followed by `push`: its packets leave at once, but no event is handed out
from inside the program's own call; a `flush` is scheduled for those.
"""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING, Final, Protocol, cast

from plankroad.aio.scheduler import Scheduler
from plankroad.endpoint import Endpoint
from plankroad.units import NEVER

if TYPE_CHECKING:
    from plankroad.ip.interface import Interface
    from plankroad.link.base import Link
    from plankroad.stack.stack import Stack
    from plankroad.wire.packet import Packet

logger = logging.getLogger("plankroad")

#: Rounds of output and events in one flush; what is left (two programs on one stack can feed each other for ever)
#: is done in another turn of the loop.
MAX_ROUNDS: Final = 64

#: Endpoints whose events are handed out in one round, before output is polled again.
MAX_EVENTS: Final = 1000

#: Batches taken from one link in one wake-up.
MAX_BATCHES: Final = 8

#: Packets held for a link that is full, where another link of the stack must not be made to wait for it.
MAX_HELD: Final = 1000


class EventHandler(Protocol):
    """What `Endpoint.owner` must be for a driver."""

    def handle_events(self, events: int) -> None:
        """`EVENT_` bits that were raised; called from a loop's callback, never from inside a command."""


class Attachment:
    """A link at its interface: the packets that wait for it and what became of them."""

    __slots__ = ("blocked", "driver", "fd", "held", "interface", "link", "noted", "packets_dropped")

    def __init__(self, driver: Driver, link: Link, interface: Interface) -> None:
        self.driver = driver
        self.link = link
        self.interface = interface
        self.fd: int = link.fileno()
        self.held: deque[Packet] = deque()  # refused or behind one that was; the first is to be offered again
        self.blocked: bool = False  # the link refused and has not told of room since
        self.noted: bool = False  # a call of `on_notify` is under way
        self.packets_dropped: int = 0  # the link was full, and so was `held`; or it failed

    def on_readable(self) -> None:
        """The link's descriptor is readable."""
        self.driver.pump(self)

    def on_writable(self) -> None:
        """The link's descriptor is writable again."""
        self.driver.resume(self)

    def on_notify(self) -> None:
        """A link without a descriptor has packets, or room. This comes from anywhere: only take note."""
        if not self.noted:
            self.noted = True
            self.driver.scheduler.call_soon(self.on_turn)

    def on_turn(self) -> None:
        """The turn of the loop that `on_notify` asked for."""
        self.noted = False
        self.driver.resume(self)
        self.driver.pump(self)


class Driver:
    """Runs `stack` on `scheduler`. Links are attached and detached while it runs.

    Not thread-safe: everything happens on the scheduler's loop.
    """

    __slots__ = (
        "_again",
        "_armed",
        "_attachments",
        "_blocked",
        "_flushing",
        "_pending",
        "_scheduled",
        "closed",
        "flushes",
        "scheduler",
        "stack",
    )

    def __init__(self, stack: Stack, scheduler: Scheduler) -> None:
        self.stack = stack
        self.scheduler = scheduler
        self.closed: bool = False
        self.flushes: int = 0
        self._attachments: dict[int, Attachment] = {}  # by interface index
        self._blocked: int = 0  # attachments that hold packets
        self._flushing: bool = False
        self._again: bool = False
        self._scheduled: bool = False
        self._pending: Endpoint | None = None  # taken from the stack by `push`, to be looked at by `flush`
        self._armed: int = NEVER
        scheduler.bind(self._on_timer)

    # Links

    def attach(self, link: Link, name: str = "") -> Interface:
        """Give the stack an interface on `link`; returns the interface, which has no address yet."""
        interface = self.stack.add_interface(
            name or link.name,
            link.mtu,
            ethernet=link.ethernet,
            mac=link.mac,
            tx_csum=link.tx_csum,
            gso_max_size=link.gso_max_size,
        )
        attachment = Attachment(self, link, interface)
        self._attachments[interface.index] = attachment
        if attachment.fd >= 0:
            self.scheduler.watch_readable(attachment.fd, attachment.on_readable)
        else:
            link.set_notify(attachment.on_notify)
            attachment.on_notify()  # for what arrived before
        return interface

    def detach(self, link: Link) -> None:
        """Stop using `link`: its interface goes down. The link is not closed. Unknown links are ignored."""
        for index, attachment in list(self._attachments.items()):
            if attachment.link is link:
                del self._attachments[index]
                self._unwatch(attachment)
                self.stack.set_interface_up(self.scheduler.now(), attachment.interface, False)
                self.push()

    @property
    def links(self) -> list[Link]:
        """The links that are attached."""
        return [attachment.link for attachment in self._attachments.values()]

    def link_of(self, interface: Interface) -> Link | None:
        """The link at `interface`, None where there is none (loopback)."""
        attachment = self._attachments.get(interface.index)
        return None if attachment is None else attachment.link

    # Wake-ups

    def deliver(self, packet: Packet) -> None:
        """Hand one packet in (`packet.interface` says where) and do all that follows from it."""
        if self.closed:
            return
        self.stack.receive(self.scheduler.now(), packet)
        self.flush()

    def pump(self, attachment: Attachment) -> None:
        """Hand in what waits on a link, batch by batch, each followed by its output."""
        link = attachment.link
        index = attachment.interface.index
        stack = self.stack
        for _ in range(MAX_BATCHES):
            if self.closed or self._attachments.get(index) is not attachment:
                return
            try:
                packets = link.receive()
            except OSError as exc:
                self._fail(attachment, exc)
                return
            if not packets:
                return
            now = self.scheduler.now()
            for packet in packets:
                packet.interface = index
                stack.receive(now, packet)
            self.flush()
        if attachment.fd < 0:
            attachment.on_notify()

    def resume(self, attachment: Attachment) -> None:
        """A link that was full may take packets again."""
        if not attachment.blocked:
            return
        attachment.blocked = False
        self._blocked -= 1
        if attachment.fd >= 0:
            self.scheduler.watch_writable(attachment.fd, None)
        held = attachment.held
        while held:
            packet = held.popleft()
            if not self._offer(attachment, packet):
                return
        self.flush()

    def flush(self) -> None:
        """Output, events to `endpoint.owner`, the timer; until nothing is left to do.

        To be called from a loop's callback. From inside an event it only notes that the round is not finished.
        """
        if self._flushing:
            self._again = True
            return
        if self.closed:
            return
        self._flushing = True
        self.flushes += 1
        done = False
        try:
            self._dispatch()
            for _ in range(MAX_ROUNDS):
                self._again = False
                self._transmit()
                if not self._dispatch() and not self._again:
                    done = True
                    break
        finally:
            self._flushing = False
            if not done:
                self._schedule()
        self._arm()

    def push(self) -> None:
        """Send what a program's command made: packets now, events in the loop's next turn."""
        if self._flushing:
            self._again = True
            return
        if self.closed:
            return
        self._transmit()
        if self._pending is None:
            self._pending = self.stack.poll_endpoint()
        if self._pending is not None:
            self._schedule()
        self._arm()

    def close(self) -> None:
        """Stop: no packet is taken or sent any more, the timer is disarmed. Links are let go of, not closed."""
        if self.closed:
            return
        self.closed = True
        for attachment in self._attachments.values():
            self._unwatch(attachment)
        self._attachments.clear()
        self.scheduler.close()

    def counters(self) -> dict[str, int]:
        """What happened to packets between stack and links."""
        return {
            "flushes": self.flushes,
            "packets_held": sum(len(a.held) for a in self._attachments.values()),
            "packets_dropped": sum(a.packets_dropped for a in self._attachments.values()),
        }

    # Inside

    def _transmit(self) -> None:
        """Poll the stack dry, or until all links are full: then what is for them waits in the stack."""
        stack = self.stack
        attachments = self._attachments
        now = self.scheduler.now()
        while not self._blocked or self._blocked < len(attachments):
            packet = stack.poll_transmit(now)
            if packet is None:
                return
            attachment = attachments.get(packet.interface)
            if attachment is None:
                continue  # a link that was detached
            if attachment.blocked:
                if len(attachment.held) < MAX_HELD:
                    attachment.held.append(packet)
                else:
                    attachment.packets_dropped += 1
                continue
            self._offer(attachment, packet)
        stack.poll_local(now)

    def _offer(self, attachment: Attachment, packet: Packet) -> bool:
        """Give a packet to its link. False: the link is full, and keeps it waiting in front of the others."""
        try:
            if attachment.link.send(packet):
                return True
        except OSError as exc:
            attachment.packets_dropped += 1
            self._fail(attachment, exc)
            return True
        attachment.held.appendleft(packet)
        attachment.blocked = True
        self._blocked += 1
        if attachment.fd >= 0:
            self.scheduler.watch_writable(attachment.fd, attachment.on_writable)
        return False

    def _dispatch(self) -> bool:
        """Hand events to their owners. True if there was one."""
        stack = self.stack
        handled = False
        for _ in range(MAX_EVENTS):
            endpoint = self._pending
            if endpoint is None:
                endpoint = stack.poll_endpoint()
                if endpoint is None:
                    return handled
            else:
                self._pending = None
            owner = endpoint.owner
            if owner is not None:  # otherwise they stay raised, for the owner to come: see `TcpTransport.start`
                events = endpoint.poll_events()
                if events:
                    handled = True
                    try:
                        cast("EventHandler", owner).handle_events(events)
                    except Exception:
                        logger.exception("an event of %r was not handled", owner)
        return True

    def _arm(self) -> None:
        when = self.stack.next_timeout()
        if when != self._armed:
            self._armed = when
            self.scheduler.set_timer(when)

    def _on_timer(self) -> None:
        self._armed = NEVER
        if self.closed:
            return
        self.stack.handle_timeout(self.scheduler.now())
        self.flush()

    def _schedule(self) -> None:
        if not self._scheduled and not self.closed:
            self._scheduled = True
            self.scheduler.call_soon(self._on_scheduled)

    def _on_scheduled(self) -> None:
        self._scheduled = False
        self.flush()

    def _unwatch(self, attachment: Attachment) -> None:
        if attachment.fd >= 0:
            self.scheduler.watch_readable(attachment.fd, None)
            if attachment.blocked:
                self.scheduler.watch_writable(attachment.fd, None)
        else:
            attachment.link.set_notify(None)
        if attachment.blocked:
            attachment.blocked = False
            self._blocked -= 1
        attachment.held.clear()

    def _fail(self, attachment: Attachment, exc: OSError) -> None:
        """The device has gone: as with a cable pulled out, the interface goes down and stays."""
        logger.error("link %s failed, its interface is down: %s", attachment.link.name, exc)
        if self._attachments.pop(attachment.interface.index, None) is not None:
            self._unwatch(attachment)
            self.stack.set_interface_up(self.scheduler.now(), attachment.interface, False)
