"""The simulator's pipes on the real clock, between descriptors that real packets come from and go to.

Theory of operation. Virtual time is the time since `origin` on the monotonic clock. The emulator waits until a
descriptor is readable or the next event is due, whichever is first, and for the last moments without sleeping: a
process is never woken at the very moment it asked for. Each packet it reads enters its pipe at the time at which it
was read, after all that was due before; when it arrives at the pipe's end it is written to the descriptor there. What
happens to it in between (queue, rate, loss, delay, order) is the simulator's own code with the simulator's own random
streams, so it is what happens in virtual time. An event that comes late is late by itself: those after it are not
pushed back, as their times were reckoned from the pipe's clock and not from the moment at which they were handled.

How late things were is in `Timing`, which tells whether the emulator kept real time.
"""

from __future__ import annotations

import ctypes
import gc
import os
import select
import time
from array import array
from collections.abc import Sequence
from typing import Final

from plankroad.sim.events import Simulator
from plankroad.sim.pipe import Pipe, Sink
from plankroad.units import MILLISECOND
from plankroad.wire.packet import Packet

#: Nanoseconds before an event in which the emulator does not sleep any more: as many as it was woken too late of late,
#: within these limits.
LEAST_SPIN: Final = 20_000
MOST_SPIN: Final = 150_000

#: But for no more than this of each `SPIN_WINDOW`. The kernel takes the processor away for 50 ms from what runs before
#: all others for 95 % of a second (sched(7), sched_rt_runtime_us), and at high rates the next event is always near.
SPIN_WINDOW: Final = 100 * MILLISECOND
SPIN_ALLOWED: Final = 25 * MILLISECOND

#: It wakes at least this often, to see whether it is woken in time.
HEARTBEAT: Final = 5 * MILLISECOND

#: Packets read from one descriptor before the others have their turn.
BATCH: Final = 64

#: Longer than any packet of the devices that are emulated between.
READ_SIZE: Final = 65536

#: The share of events that may be late.
LATE_SHARE: Final = 0.01

_PR_SET_TIMERSLACK: Final = 29
_PRIORITY: Final = 20


class Clock:
    """The real clock, and waiting by it. Tests of starvation put another in its place."""

    def now(self) -> int:
        """Nanoseconds on the monotonic clock, which all processes of the machine share."""
        return time.monotonic_ns()

    def wait(self, fds: Sequence[int], limit: int) -> Sequence[int]:
        """Those of `fds` that are readable, once there is one or after `limit` nanoseconds."""
        return select.select(fds, (), (), limit / 1e9)[0]


class Timing:
    """How well the emulator kept real time.

    `late`: by how many nanoseconds each arrival, each packet of a simulated host that steps out into real time
    (`doorstep`), and each heartbeat where nothing arrived, was late. `unread`: how long, at most, each packet that was
    read had been waiting to be. `dropped`: packets that a device could not keep.
    """

    __slots__ = ("dropped", "late", "unread")

    def __init__(self) -> None:
        self.late: array[int] = array("q")
        self.unread: array[int] = array("q")
        self.dropped: int = 0

    def quantile(self, share: float) -> int:
        """The lateness, in nanoseconds, that this share of all events did not exceed; 0 without any."""
        if not self.late:
            return 0
        ordered = sorted(self.late)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]

    def late_share(self, limit: int) -> float:
        """The share of events, or of packets read where that is larger, that were late by more than `limit` ns."""
        shares = [sum(1 for one in some if one > limit) / len(some) for some in (self.late, self.unread) if some]
        return max(shares, default=0.0)

    def kept(self, rtt: int) -> bool:
        """Whether a path with this round trip (ns) was what it should be.

        No more than 1 % of the events, and of the packets read, were later than 1 ms or 5 % of the round trip,
        whichever is more; none was later than 20 ms or half a round trip; and no device dropped a packet.
        """
        if self.dropped:
            return False
        worst = max(max(self.late, default=0), max(self.unread, default=0))
        if worst > max(20 * MILLISECOND, rtt // 2):
            return False
        return self.late_share(max(MILLISECOND, rtt // 20)) <= LATE_SHARE

    def describe(self) -> str:
        """What went wrong where `kept` is False, in words."""
        return (
            f"the emulator did not keep real time: events were up to {max(self.late, default=0) / 1e6:.3g} ms late, "
            f"99 % of them within {self.quantile(0.99) / 1e6:.3g} ms; packets waited up to "
            f"{max(self.unread, default=0) / 1e6:.3g} ms to be read, {self.dropped} were dropped by a device"
        )

    def as_dict(self) -> dict[str, float]:
        """Milliseconds by name, for a report."""
        return {
            "events": len(self.late),
            "late_p50_ms": self.quantile(0.5) / 1e6,
            "late_p99_ms": self.quantile(0.99) / 1e6,
            "late_max_ms": max(self.late, default=0) / 1e6,
            "unread_max_ms": max(self.unread, default=0) / 1e6,
            "device_drops": self.dropped,
        }


class Port:
    """A descriptor that packets come from, and the pipe that they go into. `empty_at`: when it was last seen empty."""

    __slots__ = ("empty_at", "fd", "pipe")

    def __init__(self, fd: int, pipe: Pipe) -> None:
        self.fd = fd
        self.pipe = pipe
        self.empty_at: int = 0


class DeviceSink(Sink):
    """The end of pipes whose packets leave by a descriptor: they are written the moment they arrive."""

    __slots__ = ("emulator", "fd")

    def __init__(self, emulator: Emulator, fd: int) -> None:
        self.emulator = emulator
        self.fd = fd

    def arrive(self, packet: Packet, port: int) -> None:
        emulator = self.emulator
        emulator.timing.late.append(emulator.clock.now() - emulator.origin - emulator.simulator.now)
        try:
            os.write(self.fd, packet.head)
        except OSError:
            # The device has no room, is down or gone: on a sound path it never is, so the run does not count.
            emulator.timing.dropped += 1


class Emulator:
    """Runs a simulator by the real clock. Add pipes' entries with `add_port`; their ends are `DeviceSink`s.

    `stop_fds`: the run ends when one of them is readable.
    """

    def __init__(self, simulator: Simulator, clock: Clock | None = None) -> None:
        self.simulator = simulator
        self.clock = clock or Clock()
        self.origin = 0
        self.timing = Timing()
        self.stop_fds: list[int] = []
        self.ports: dict[int, Port] = {}

    def add_port(self, fd: int, pipe: Pipe) -> None:
        """Let the packets that can be read from `fd`, which must not block, go into `pipe`."""
        self.ports[fd] = Port(fd, pipe)

    def run(self, origin: int, until: int) -> bool:
        """Emulate from now until virtual time `until`, where virtual time 0 is `origin` on the clock.

        True when it was stopped before, by one of `stop_fds`. What was under way when it ends stays so.
        """
        self.origin = origin
        freed = gc.isenabled()
        gc.collect()
        gc.freeze()
        gc.disable()
        try:
            return self._loop(until)
        finally:
            gc.unfreeze()
            if freed:
                gc.enable()

    def _loop(self, until: int) -> bool:
        clock, origin, sim, timing = self.clock, self.origin, self.simulator, self.timing
        fds = [*self.ports, *self.stop_fds]
        ports = list(self.ports.values())
        now = clock.now() - origin
        spin = MOST_SPIN
        spun = window = 0
        for port in ports:
            port.empty_at = now
        while now < until:
            due = min(sim.next_time(), until)
            if now - window >= SPIN_WINDOW:
                window = now
                spun = 0
            margin = spin if spun < SPIN_ALLOWED else 0
            wake = min(due - margin, now + HEARTBEAT)
            before = now
            pause = max(0, wake - now)
            readable = clock.wait(fds, pause)
            now = woken = clock.now() - origin
            if not pause:
                spun += now - before
            elif not readable:
                over = now - wake
                if wake < due - margin:
                    timing.late.append(over)
                spin = min(MOST_SPIN, max(LEAST_SPIN, over, spin - spin // 16))
            if now >= sim.now:
                sim.run_until(min(now, until))
            if not readable:
                for port in ports:
                    port.empty_at = woken
                continue
            for port in ports:
                if port.fd not in readable:
                    port.empty_at = woken
                    continue
                waited = before - port.empty_at
                for _ in range(BATCH):
                    try:
                        data = os.read(port.fd, READ_SIZE)
                    except BlockingIOError:
                        port.empty_at = clock.now() - origin
                        break
                    now = clock.now() - origin
                    timing.unread.append(max(0, waited) + now - woken)
                    if now >= until:
                        break
                    if now > sim.now:
                        sim.run_until(now)
                    port.pipe.send(Packet(data))
            for fd in self.stop_fds:
                if fd in readable:
                    return True
        sim.run_until(until)
        return False


class Hurry:
    """A block in which this thread runs before all others that are not in such a block, as far as that is allowed."""

    def __init__(self, priority: int = _PRIORITY) -> None:
        self.priority = priority
        self._before: tuple[int, int] | None = None

    def __enter__(self) -> Hurry:
        # Without this the kernel lets a sleeping process sleep up to 50 us longer, to save power.
        ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)
        try:
            scheduler, parameter = os.sched_getscheduler(0), os.sched_getparam(0)
            os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(self.priority))
            self._before = (scheduler, parameter.sched_priority)
        except OSError:
            # A container may forbid it. Whether real time was kept without it is measured, not hoped.
            self._before = None
        return self

    def __exit__(self, *exc: object) -> None:
        if self._before is not None:
            os.sched_setscheduler(0, self._before[0], os.sched_param(self._before[1]))
        ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, 0, 0, 0, 0)
