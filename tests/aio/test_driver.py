"""The driver: what it hands where, and when. The stack is a fake here: a list of what it was asked."""

from __future__ import annotations

import errno
import random
from collections import deque
from collections.abc import Callable
from typing import Any, cast

import pytest
from tests.stack.net import A4, B4, segment_of, tcp

from plankroad.aio import driver as driver_module
from plankroad.aio.driver import MAX_HELD, MAX_ROUNDS, Driver
from plankroad.aio.scheduler import Scheduler
from plankroad.endpoint import EVENT_READABLE, Endpoint
from plankroad.ip.interface import Interface
from plankroad.link.base import Link
from plankroad.stack.config import StackConfig
from plankroad.stack.stack import Stack
from plankroad.units import NEVER
from plankroad.wire.packet import Packet
from plankroad.wire.segment import ACK, SYN, Segment


class FakeScheduler(Scheduler):
    """A clock that stands still and a list of what is to be called."""

    def __init__(self) -> None:
        self.time = 1000
        self.timer: Callable[[], None] | None = None
        self.armed: list[int] = []
        self.soon: deque[Callable[[], None]] = deque()
        self.readers: dict[int, Callable[[], None]] = {}
        self.writers: dict[int, Callable[[], None]] = {}

    def now(self) -> int:
        return self.time

    def bind(self, callback: Callable[[], None]) -> None:
        self.timer = callback

    def set_timer(self, when: int) -> None:
        self.armed.append(when)

    def call_soon(self, callback: Callable[[], None]) -> None:
        self.soon.append(callback)

    def watch_readable(self, fd: int, callback: Callable[[], None] | None) -> None:
        if callback is None:
            self.readers.pop(fd, None)
        else:
            self.readers[fd] = callback

    def watch_writable(self, fd: int, callback: Callable[[], None] | None) -> None:
        if callback is None:
            self.writers.pop(fd, None)
        else:
            self.writers[fd] = callback

    def run(self) -> None:
        """Call what waits, and what that makes wait."""
        while self.soon:
            self.soon.popleft()()


class FakeStack:
    """Packets to send, endpoints with events, a deadline; and a log of calls."""

    def __init__(self) -> None:
        self.log: list[Any] = []
        self.to_send: deque[Packet] = deque()
        self.ready: deque[Endpoint] = deque()
        self.deadline = NEVER
        self.interfaces: list[Interface] = []

    def add_interface(self, name: str, mtu: int, **kwds: Any) -> Interface:
        interface = Interface(len(self.interfaces), name, mtu, **kwds)
        self.interfaces.append(interface)
        return interface

    def set_interface_up(self, now: int, interface: Interface, up: bool) -> None:
        self.log.append(("up", interface.index, up))

    def receive(self, now: int, packet: Packet) -> None:
        self.log.append(("receive", packet.interface, packet.head))

    def poll_transmit(self, now: int) -> Packet | None:
        return self.to_send.popleft() if self.to_send else None

    def poll_local(self, now: int) -> None:
        self.log.append("local")

    def next_timeout(self) -> int:
        return self.deadline

    def handle_timeout(self, now: int) -> None:
        self.log.append("timeout")

    def poll_endpoint(self) -> Endpoint | None:
        return self.ready.popleft() if self.ready else None


class FakeLink(Link):
    """A link whose room is set by the test."""

    def __init__(self, name: str = "fake", fd: int = -1) -> None:
        super().__init__(name, 1500)
        self.fd = fd
        self.room = 1000
        self.sent: list[bytes] = []
        self.arrived: deque[list[Packet]] = deque()
        self.notify: Callable[[], None] | None = None
        self.failure: OSError | None = None
        self.closed = False

    def fileno(self) -> int:
        return self.fd

    def set_notify(self, callback: Callable[[], None] | None) -> None:
        self.notify = callback

    def receive(self) -> list[Packet]:
        if self.failure is not None:
            raise self.failure
        return self.arrived.popleft() if self.arrived else []

    def send(self, packet: Packet) -> bool:
        if not self.room:
            return False
        self.room -= 1
        self.sent.append(packet.head)
        return True

    def close(self) -> None:
        self.closed = True


class Owner:
    """An owner that does what the test says, and keeps what it was told."""

    def __init__(self, action: Callable[[], None] | None = None) -> None:
        self.action = action
        self.told: list[int] = []

    def handle_events(self, events: int) -> None:
        self.told.append(events)
        if self.action is not None:
            self.action()


def build(*links: FakeLink) -> tuple[Driver, FakeStack, FakeScheduler]:
    scheduler = FakeScheduler()
    stack = FakeStack()
    driver = Driver(cast("Any", stack), scheduler)
    for link in links:
        driver.attach(link)
    scheduler.run()
    return driver, stack, scheduler


def endpoint(owner: Owner | None) -> Endpoint:
    made = Endpoint()
    made.owner = owner
    made.events = EVENT_READABLE
    return made


def test_a_batch_is_handed_in_before_anything_is_sent() -> None:
    link = FakeLink(fd=7)
    _, stack, scheduler = build(link)
    order: list[str] = []
    stack.receive = lambda now, packet: order.append("receive")  # type: ignore[method-assign]
    stack.poll_transmit = lambda now: order.append("transmit")  # type: ignore[method-assign]
    link.arrived.append([Packet(b"a"), Packet(b"b"), Packet(b"c")])
    scheduler.readers[7]()
    assert order == ["receive", "receive", "receive", "transmit"]


def test_packets_carry_the_index_of_their_interface() -> None:
    first, second = FakeLink("a"), FakeLink("b")
    _, stack, scheduler = build(first, second)
    second.arrived.append([Packet(b"x", interface=99)])
    assert second.notify is not None
    second.notify()
    scheduler.run()
    assert stack.log == [("receive", 1, b"x")]
    stack.to_send.extend([Packet(b"0", interface=0), Packet(b"1", interface=1)])
    Driver.flush(_)
    assert (first.sent, second.sent) == ([b"0"], [b"1"])


def test_a_notification_uses_no_link_before_the_next_turn() -> None:
    link = FakeLink()
    _, stack, scheduler = build(link)
    link.arrived.append([Packet(b"x")])
    assert link.notify is not None
    link.notify()
    link.notify()
    assert stack.log == []
    assert len(scheduler.soon) == 1
    scheduler.run()
    assert stack.log == [("receive", 0, b"x")]


def test_all_batches_of_a_link_without_descriptor_are_taken() -> None:
    link = FakeLink()
    _, stack, scheduler = build(link)
    link.arrived.extend([Packet(bytes([i]))] for i in range(100))
    assert link.notify is not None
    link.notify()
    scheduler.run()
    assert [entry[2] for entry in stack.log] == [bytes([i]) for i in range(100)]


def test_output_of_an_event_leaves_in_the_same_flush() -> None:
    link = FakeLink()
    driver, stack, _ = build(link)

    def write() -> None:
        stack.to_send.append(Packet(b"answer"))
        driver.push()

    stack.ready.append(endpoint(Owner(write)))
    driver.flush()
    assert link.sent == [b"answer"]


def test_a_write_from_inside_an_event_does_not_recurse() -> None:
    link = FakeLink()
    driver, stack, _ = build(link)
    depth = 0
    deepest = 0

    def chain() -> None:
        nonlocal depth, deepest
        depth += 1
        deepest = max(deepest, depth)
        if len(owner.told) < 10:
            stack.ready.append(endpoint(owner))
            stack.to_send.append(Packet(b"more"))
        driver.push()
        driver.flush()
        depth -= 1

    owner = Owner(chain)
    stack.ready.append(endpoint(owner))
    driver.flush()
    assert deepest == 1
    assert len(owner.told) == 10
    assert len(link.sent) == 9


def test_push_sends_at_once_and_leaves_events_for_the_next_turn() -> None:
    link = FakeLink()
    driver, stack, scheduler = build(link)
    owner = Owner()
    stack.ready.append(endpoint(owner))
    stack.to_send.append(Packet(b"now"))
    driver.push()
    assert link.sent == [b"now"]
    assert owner.told == []
    scheduler.run()
    assert owner.told == [EVENT_READABLE]


def test_endless_work_lets_the_loop_have_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver_module, "MAX_EVENTS", 10)
    driver, stack, scheduler = build(FakeLink())
    owner = Owner(lambda: stack.ready.append(endpoint(owner)))
    stack.ready.append(endpoint(owner))
    driver.flush()
    told = len(owner.told)
    assert told <= (MAX_ROUNDS + 1) * 10
    assert len(scheduler.soon) == 1
    scheduler.soon.popleft()()
    assert len(owner.told) == 2 * told


def test_events_without_an_owner_stay_raised() -> None:
    driver, stack, _ = build(FakeLink())
    waiting = endpoint(None)
    stack.ready.append(waiting)
    driver.flush()
    assert waiting.poll_events() == EVENT_READABLE


def test_a_handler_that_fails_stops_no_other(caplog: pytest.LogCaptureFixture) -> None:
    driver, stack, _ = build(FakeLink())

    def fail() -> None:
        raise ZeroDivisionError("no")

    after = Owner()
    stack.ready.extend([endpoint(Owner(fail)), endpoint(after)])
    driver.flush()
    assert after.told == [EVENT_READABLE]
    assert "ZeroDivisionError" in caplog.text


def test_an_interrupt_in_a_handler_leaves_the_driver_usable() -> None:
    driver, stack, scheduler = build(FakeLink())

    def interrupt() -> None:
        raise KeyboardInterrupt

    after = Owner()
    stack.ready.extend([endpoint(Owner(interrupt)), endpoint(after)])
    with pytest.raises(KeyboardInterrupt):
        driver.flush()
    scheduler.run()
    assert after.told == [EVENT_READABLE]


@pytest.mark.parametrize("fd", [-1, 5])
def test_a_full_link_gets_the_same_packet_again_when_it_has_room(fd: int) -> None:
    link = FakeLink(fd=fd)
    driver, stack, scheduler = build(link)
    link.room = 2
    packets = [Packet(bytes([i])) for i in range(6)]
    stack.to_send.extend(packets)
    driver.flush()
    assert link.sent == [b"\0", b"\1"]
    # The rest stays in the stack, which knows how to bound it; one packet is held.
    assert list(stack.to_send) == packets[3:]
    assert driver.counters()["packets_held"] == 1
    link.room = 3
    if fd >= 0:
        scheduler.writers[fd]()
    else:
        assert link.notify is not None
        link.notify()
        scheduler.run()
    assert link.sent == [bytes([i]) for i in range(5)]
    link.room = 10
    if fd >= 0:
        scheduler.writers[fd]()
        assert not scheduler.writers
    else:
        link.notify()  # type: ignore[misc]
        scheduler.run()
    assert link.sent == [bytes([i]) for i in range(6)]
    assert driver.counters()["packets_held"] == 0


def test_a_full_link_does_not_stop_another_and_what_it_holds_is_bounded() -> None:
    full, free = FakeLink("full"), FakeLink("free")
    driver, stack, _ = build(full, free)
    full.room = 0
    for _ in range(MAX_HELD + 10):
        stack.to_send.append(Packet(b"f", interface=0))
    stack.to_send.append(Packet(b"g", interface=1))
    driver.flush()
    assert free.sent == [b"g"]
    counters = driver.counters()
    assert counters["packets_held"] == MAX_HELD
    assert counters["packets_dropped"] == 10


def test_the_timer_is_told_only_of_changes() -> None:
    driver, stack, scheduler = build(FakeLink())
    stack.deadline = 5000
    driver.flush()
    driver.flush()
    driver.push()
    assert scheduler.armed == [5000]
    stack.deadline = 4000
    driver.flush()
    assert scheduler.armed == [5000, 4000]
    stack.deadline = NEVER
    driver.flush()
    assert scheduler.armed == [5000, 4000, NEVER]


def test_the_timer_leads_to_the_stack_and_is_set_again() -> None:
    link = FakeLink()
    driver, stack, scheduler = build(link)
    stack.deadline = 1000
    driver.flush()
    stack.to_send.append(Packet(b"again"))
    assert scheduler.timer is not None
    scheduler.timer()
    assert stack.log == ["timeout"]
    assert link.sent == [b"again"]
    assert scheduler.armed == [1000, 1000]


def test_a_device_that_fails_takes_its_interface_down(caplog: pytest.LogCaptureFixture) -> None:
    link = FakeLink(fd=3)
    driver, stack, scheduler = build(link)
    link.failure = OSError(errno.ENODEV, "No such device")
    scheduler.readers[3]()
    assert stack.log == [("up", 0, False)]
    assert not scheduler.readers
    assert driver.links == []
    assert "No such device" in caplog.text


def test_a_detached_link_is_not_used_any_more() -> None:
    link, other = FakeLink(fd=3), FakeLink()
    driver, stack, scheduler = build(link, other)
    link.room = 0
    stack.to_send.append(Packet(b"x", interface=0))
    driver.flush()
    assert scheduler.writers
    driver.detach(link)
    assert not scheduler.readers
    assert not scheduler.writers
    assert ("up", 0, False) in stack.log
    stack.to_send.extend([Packet(b"y", interface=0), Packet(b"z", interface=1)])
    driver.flush()
    assert (link.sent, other.sent) == ([], [b"z"])
    assert not link.closed


def test_a_closed_driver_does_nothing() -> None:
    link = FakeLink(fd=3)
    driver, stack, scheduler = build(link)
    driver.close()
    driver.close()
    stack.to_send.append(Packet(b"x"))
    driver.deliver(Packet(b"y"))
    driver.flush()
    driver.push()
    assert stack.log == []
    assert link.sent == []
    assert not scheduler.readers


def test_a_link_with_a_descriptor_needs_a_scheduler_that_watches() -> None:
    class Bare(FakeScheduler):
        watch_readable = Scheduler.watch_readable

    driver = Driver(cast("Any", FakeStack()), Bare())
    with pytest.raises(NotImplementedError, match="cannot watch file descriptors"):
        driver.attach(FakeLink(fd=4))


@pytest.mark.requirement("MUST-58", "MUST-59")
def test_all_packets_of_a_batch_are_handed_in_before_any_acknowledgement_leaves() -> None:
    scheduler = FakeScheduler()
    stack = Stack(StackConfig(), random.Random(1), bytes(16))
    driver = Driver(stack, scheduler)
    link = FakeLink()
    interface = driver.attach(link)
    stack.add_address(interface, "10.0.0.2/24")
    stack.listen(scheduler.now(), b"", 80)
    scheduler.run()

    def arrive(*segments: Segment) -> list[Segment]:
        link.sent.clear()
        link.arrived.append([Packet(tcp(seg, A4, B4)) for seg in segments])
        assert link.notify is not None
        link.notify()
        scheduler.run()
        return [segment_of(data) for data in link.sent]

    [answer] = arrive(Segment(9, 80, 99, 0, SYN, 60000))
    ack = answer.seq + 1 & 0xFFFFFFFF
    assert arrive(Segment(9, 80, 100, ack, ACK, 60000)) == []
    out = arrive(*[Segment(9, 80, 100 + 500 * i, ack, ACK, 60000, bytes(500)) for i in range(8)])
    assert [seg.ack for seg in out] == [4100]
