"""An asyncio event loop in virtual time.

Theory of operation. Ready callbacks run as in every asyncio loop. When there are none, the simulator's events run
(packets that arrive, timers of stacks, and the timers of asyncio programs, which are events too) until one of them
makes a callback ready; the clock jumps from event to event, so waiting costs nothing. Callbacks take no virtual time.
All timers are whole nanoseconds in the simulator's one heap: what happens, and in which order, depends on the program
and the seed alone.

What is different from a loop on the kernel:

- `loop.create_connection`, `create_server`, `create_datagram_endpoint` and all that is made of them
  (`asyncio.open_connection`, `asyncio.start_server`...) go to the simulated host on which the task runs: see
  `sim.host.Host.create_task` and `sim.topology.Network.run`. Names are those of the simulated network.
- The kernel's sockets, pipes and processes do not exist here: waiting for them would need real time.
- Threads hold the clock: see `sim.executor`.
- Where nothing is scheduled and the program waits nevertheless, `DeadlockError` tells which tasks wait and where. Where
  the loop turns and turns without time moving (a task that polls with `sleep(0)`), `RunawayError`.
- `time.time`, `time.monotonic` and `time.sleep` are the machine's: a program that is to live in virtual time asks
  `loop.time`. In debug mode a slow callback is one that takes long in real time.
"""

from __future__ import annotations

import asyncio
import collections
import concurrent.futures
import contextvars
import logging
import math
import signal
import socket
import threading
import time
import types
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final, NoReturn, Protocol, TypeVar, TypeVarTuple, Unpack

from plankroad.aio.resolver import HostsResolver, Resolver, lookup, port_number
from plankroad.sim.errors import DeadlockError, RunawayError
from plankroad.sim.events import Event, Simulator
from plankroad.sim.executor import Jobs
from plankroad.units import NEVER, SECOND
from plankroad.wire.address import bytes_to_ip, ip_to_bytes

if TYPE_CHECKING:
    from plankroad.aio.stack import AsyncStack

logger = logging.getLogger("asyncio")

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

#: Turns of the loop at one moment of virtual time before it is called a runaway.
MAX_TURNS: Final = 1_000_000

#: Events of the simulator between two looks at signals.
BATCH: Final = 1000

#: Seconds of real time that the loop, with nothing to do, waits for threads that it did not start.
THREAD_PATIENCE: Final = 5.0


class Place(Protocol):
    """Where a task runs: a simulated host."""

    name: str

    @property
    def aio(self) -> AsyncStack:
        """Its asyncio face."""


#: The host on which the current task runs; None outside of all hosts.
current_host: contextvars.ContextVar[Place | None] = contextvars.ContextVar("plankroad simulated host", default=None)


class Alarm(Event):
    """A timer of the loop."""

    def __init__(self, handle: asyncio.TimerHandle, ready: collections.deque[asyncio.Handle]) -> None:
        super().__init__()
        self.handle = handle
        self.ready = ready

    def run(self) -> None:
        self.ready.append(self.handle)


class AlarmHandle(asyncio.TimerHandle):
    """What `call_at` returns."""

    __slots__ = ("alarm",)
    alarm: Alarm | None


class SimulatedLoop(asyncio.BaseEventLoop):
    """See the text at the top. `simulator` goes on where it is; several loops may follow each other on it.

    `resolver` knows the names. `max_turns`: see `MAX_TURNS`. The limits of virtual time and of events are the
    simulator's.
    """

    _ready: collections.deque[asyncio.Handle]
    _stopping: bool
    _debug: bool
    _closed: bool
    _default_executor: concurrent.futures.Executor | None
    _executor_shutdown_called: bool
    _thread_id: int | None
    _current_handle: asyncio.Handle | None
    _clock_resolution: float
    _check_closed: Callable[[], None]
    _check_default_executor: Callable[[], None]
    _check_callback: Callable[[object, str], None]
    _check_thread: Callable[[], None]

    def __init__(self, simulator: Simulator, *, resolver: Resolver | None = None, max_turns: int = MAX_TURNS) -> None:
        super().__init__()
        self._clock_resolution = 1 / SECOND
        self.simulator = simulator
        self.resolver = HostsResolver() if resolver is None else resolver
        self.max_turns = max_turns
        self._jobs = Jobs()
        self._posts = 0  # callbacks that came from other threads
        self._moment = -1
        self._turns = 0
        self._signal_handlers: dict[int, asyncio.Handle] = {}

    # Time

    def time(self) -> float:
        """Virtual seconds since the simulation began."""
        return self.simulator.now / SECOND

    def call_at(
        self,
        when: float,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        if when is None:
            raise TypeError("when cannot be None")
        return self._call_at(_first_moment(when), when, callback, args, context)

    def call_later(
        self,
        delay: float,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        if delay is None:
            raise TypeError("delay must not be None")
        now = self.simulator.now
        if delay <= 0:
            moment = now
        elif delay >= NEVER / SECOND:
            moment = NEVER
        else:
            # Whoever waits for a part of a nanosecond is waiting for time to move.
            moment = now + max(round(delay * SECOND), 1)
        return self._call_at(moment, now / SECOND + delay, callback, args, context)

    def _call_at(
        self,
        moment: int,
        when: float,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        context: contextvars.Context | None,
    ) -> asyncio.TimerHandle:
        self._check_closed()
        if self._debug:
            self._check_thread()
            self._check_callback(callback, "call_at")
        timer = AlarmHandle(when, callback, args, self, context)
        traceback = getattr(timer, "_source_traceback", None)
        if traceback:
            del traceback[-1]
        timer.alarm = None
        if moment < NEVER:
            alarm = Alarm(timer, self._ready)
            timer.alarm = alarm
            self.simulator.schedule(alarm, max(moment, self.simulator.now))
        return timer

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        alarm = getattr(handle, "alarm", None)
        if alarm is not None:
            self.simulator.cancel(alarm)

    # Running

    def _run_once(self) -> None:
        """One turn: what happens at this moment, or else next, in the network; then the callbacks that are ready."""
        ready = self._ready
        sim = self.simulator
        if self._jobs:
            self._jobs.settle(ready)
        if ready or self._stopping:
            sim.run_batch(sim.now, BATCH, None)  # packets and callbacks of one moment take turns
        else:
            while not ready and not self._stopping:
                if not sim.run_batch(NEVER, BATCH, ready):
                    self._idle()
        if sim.now != self._moment:
            self._moment = sim.now
            self._turns = 0
        self._turns += 1
        if self._turns > self.max_turns:
            raise RunawayError(self._stuck_text())
        if self._debug:
            self._run_ready_slowly()
            return
        for _ in range(len(ready)):
            handle = ready.popleft()
            if not handle.cancelled():
                handle._run()

    def _run_ready_slowly(self) -> None:
        """The same with debug mode's watch on slow callbacks."""
        ready = self._ready
        for _ in range(len(ready)):
            handle = ready.popleft()
            if handle.cancelled():
                continue
            try:
                self._current_handle = handle
                start = time.perf_counter()
                handle._run()
                took = time.perf_counter() - start
                if took >= self.slow_callback_duration:
                    logger.warning("Executing %r took %.3f seconds", handle, took)
            finally:
                self._current_handle = None

    def stop(self) -> None:
        super().stop()
        if not self._ready and self.is_running():
            self.call_soon(_nothing)  # ends the batch of events under way

    def _idle(self) -> None:
        """Nothing is ready and nothing is scheduled."""
        if self._jobs:
            self._jobs.wait(None)
            self._jobs.settle(self._ready)
            return
        if threading.active_count() > 1 and self._jobs.wait(THREAD_PATIENCE):
            return
        if not self._ready:
            raise DeadlockError(self._deadlock_text())

    def _deadlock_text(self) -> str:
        tasks = sorted(asyncio.all_tasks(self), key=asyncio.Task.get_name)
        lines = [f"  {task.get_name()}: {_where(task)}" for task in tasks]
        return f"at {self.time():.9f} s nothing is scheduled any more: no packet is under way, no timer runs. " + (
            "These tasks wait for ever:\n" + "\n".join(lines) if lines else "No task waits."
        )

    def _stuck_text(self) -> str:
        names = sorted({repr(handle) for handle in self._ready})
        return (
            f"time stands still at {self.time():.9f} s: the loop made {self.max_turns} turns at this moment. A task "
            "that polls must wait for some time (`await asyncio.sleep(0.001)`), not for none. Ready: "
            + "; ".join(names[:5])
        )

    # Threads and signals

    def _write_to_self(self) -> None:
        """A callback was appended by `call_soon_threadsafe`."""
        self._jobs.posted(threading.get_ident())

    def run_in_executor(
        self, executor: concurrent.futures.Executor | None, func: Callable[[Unpack[Ts]], T], *args: *Ts
    ) -> asyncio.Future[T]:
        """Run `func(*args)` in a thread, which holds the clock: see `sim.executor`."""
        self._check_closed()
        if self._debug:
            self._check_callback(func, "run_in_executor")
        if executor is None:
            self._check_default_executor()
            executor = self._default_executor
            if executor is None:
                executor = concurrent.futures.ThreadPoolExecutor(thread_name_prefix="asyncio")
                self._default_executor = executor
        return self._jobs.submit(self, executor, func, args)

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """Wait for the functions in threads, in real time; `timeout` is not needed as no virtual time passes."""
        self._executor_shutdown_called = True
        executor = self._default_executor
        if executor is None:
            return
        while self._jobs:
            await asyncio.sleep(0)
        executor.shutdown(wait=True)

    def add_signal_handler(self, sig: int, callback: Callable[[Unpack[Ts]], object], *args: *Ts) -> None:
        """As on Unix: `callback` is called by the loop. Raises ValueError outside of the main thread."""
        if asyncio.iscoroutine(callback) or asyncio.iscoroutinefunction(callback):
            raise TypeError("coroutines cannot be used with add_signal_handler()")
        self._check_closed()
        handle = asyncio.Handle(callback, args, self, None)
        try:
            signal.signal(sig, self._on_signal)
        except (ValueError, OSError) as exc:
            raise RuntimeError(str(exc)) from None
        self._signal_handlers[sig] = handle

    def remove_signal_handler(self, sig: int) -> bool:
        """As on Unix: True if there was one."""
        if self._signal_handlers.pop(sig, None) is None:
            return False
        signal.signal(sig, signal.default_int_handler if sig == signal.SIGINT else signal.SIG_DFL)
        return True

    def _on_signal(self, sig: int, frame: types.FrameType | None) -> None:
        handle = self._signal_handlers.get(sig)
        if handle is not None and not handle.cancelled():
            self._ready.append(handle)
            self._write_to_self()

    def close(self) -> None:
        if self.is_running():
            raise RuntimeError("Cannot close a running event loop")
        if self._closed:
            return
        for sig in list(self._signal_handlers):
            self.remove_signal_handler(sig)
        super().close()

    # The network

    def _face(self) -> AsyncStack:
        host = current_host.get()
        if host is None:
            raise RuntimeError(
                "this task runs on no simulated host: start it with `host.create_task(...)` or "
                "`network.run(main(), host=...)`, or use `host.aio.open_connection(...)` and its like"
            )
        return host.aio

    async def create_connection(self, *args: Any, **kwds: Any) -> Any:
        """On the host of the current task: see `AsyncStack.create_connection`."""
        return await self._face().create_connection(*args, **kwds)

    async def create_server(self, *args: Any, **kwds: Any) -> Any:
        """On the host of the current task: see `AsyncStack.create_server`."""
        return await self._face().create_server(*args, **kwds)

    async def create_datagram_endpoint(self, *args: Any, **kwds: Any) -> Any:
        """On the host of the current task: see `AsyncStack.create_datagram_endpoint`."""
        return await self._face().create_datagram_endpoint(*args, **kwds)

    async def getaddrinfo(
        self,
        host: str | bytes | None,
        port: str | int | bytes | None,
        *,
        family: int = 0,
        type: int = 0,
        proto: int = 0,
        flags: int = 0,
    ) -> list[Any]:
        """As `socket.getaddrinfo`, with the names of the simulated network. Raises `socket.gaierror`."""
        number = port_number(port)
        resolver = _NUMERIC if flags & socket.AI_NUMERICHOST else self.resolver
        addresses = await lookup(resolver, host, family, passive=bool(flags & socket.AI_PASSIVE))
        canonical = str(host or "") if flags & socket.AI_CANONNAME else ""
        found: list[tuple[socket.AddressFamily, socket.SocketKind, int, str, tuple[Any, ...]]] = []
        for address in addresses:
            for kind, protocol in _KINDS:
                if type not in (0, kind) or (proto and protocol and proto != protocol):
                    continue
                text = bytes_to_ip(address)
                if len(address) == 4:
                    found.append((socket.AF_INET, kind, proto or protocol, canonical, (text, number)))
                else:
                    found.append((socket.AF_INET6, kind, proto or protocol, canonical, (text, number, 0, 0)))
                canonical = ""
        if not found:
            raise socket.gaierror(socket.EAI_SOCKTYPE, "no such type of socket here")
        return found

    async def getnameinfo(self, sockaddr: tuple[Any, ...], flags: int = 0) -> tuple[str, str]:
        """As `socket.getnameinfo`: the simulated host's name, or the address where it has none; the port's number."""
        address, port = str(sockaddr[0]), str(sockaddr[1])
        name = "" if flags & socket.NI_NUMERICHOST else self.name_of(bytes_to_ip(ip_to_bytes(address)))
        if not name and flags & socket.NI_NAMEREQD:
            raise socket.gaierror(socket.EAI_NONAME, f"no name for {address}")
        return name or address, port

    def name_of(self, address: str) -> str:
        """The name of the host that has an address; empty where it is nobody's."""
        names = getattr(self.resolver, "name_of", None)
        return str(names(address)) if names is not None else ""

    # What there is not

    def _refuse(self, what: str) -> NoReturn:
        raise NotImplementedError(
            f"{what} waits for the operating system, in real time; this loop runs in virtual time, where only "
            "simulated hosts exist. Use the network of a simulated host"
        )

    def add_reader(self, fd: Any, callback: Callable[[Unpack[Ts]], object], *args: *Ts) -> None:
        self._refuse("add_reader")

    def remove_reader(self, fd: Any) -> bool:
        return False

    def add_writer(self, fd: Any, callback: Callable[[Unpack[Ts]], object], *args: *Ts) -> None:
        self._refuse("add_writer")

    def remove_writer(self, fd: Any) -> bool:
        return False

    async def sock_recv(self, *args: Any, **kwds: Any) -> NoReturn:
        self._refuse("sock_recv")

    async def sock_recv_into(self, *args: Any, **kwds: Any) -> NoReturn:
        self._refuse("sock_recv_into")

    async def sock_recvfrom(self, *args: Any, **kwds: Any) -> NoReturn:
        self._refuse("sock_recvfrom")

    async def sock_recvfrom_into(self, *args: Any, **kwds: Any) -> NoReturn:
        self._refuse("sock_recvfrom_into")

    async def sock_sendto(self, *args: Any, **kwds: Any) -> NoReturn:
        self._refuse("sock_sendto")

    async def sock_sendall(self, *args: Any, **kwds: Any) -> NoReturn:
        self._refuse("sock_sendall")

    async def sock_connect(self, *args: Any, **kwds: Any) -> NoReturn:
        self._refuse("sock_connect")

    async def sock_accept(self, *args: Any, **kwds: Any) -> NoReturn:
        self._refuse("sock_accept")

    async def connect_accepted_socket(self, *args: Any, **kwds: Any) -> NoReturn:
        self._refuse("connect_accepted_socket")

    async def create_unix_connection(self, *args: Any, **kwds: Any) -> NoReturn:
        self._refuse("create_unix_connection")

    async def create_unix_server(self, *args: Any, **kwds: Any) -> NoReturn:
        self._refuse("create_unix_server")

    async def connect_read_pipe(self, *args: Any, **kwds: Any) -> NoReturn:
        self._refuse("connect_read_pipe")

    async def connect_write_pipe(self, *args: Any, **kwds: Any) -> NoReturn:
        self._refuse("connect_write_pipe")

    async def subprocess_shell(self, *args: Any, **kwds: Any) -> NoReturn:
        self._refuse("subprocess_shell")

    async def subprocess_exec(self, *args: Any, **kwds: Any) -> NoReturn:
        self._refuse("subprocess_exec")


_NUMERIC: Final = HostsResolver()
_KINDS: Final = (
    (socket.SOCK_STREAM, socket.IPPROTO_TCP),
    (socket.SOCK_DGRAM, socket.IPPROTO_UDP),
    (socket.SOCK_RAW, 0),
)


def _nothing() -> None:
    pass


def _first_moment(when: float) -> int:
    """The first nanosecond at which `loop.time()` is not less than `when`: a timer must not seem to be early."""
    if math.isnan(when):
        raise ValueError("a time must be a number")
    if when >= NEVER / SECOND:
        return NEVER
    moment = round(when * SECOND)
    step = 1
    while moment / SECOND < when:
        moment += step
        step *= 2
    return moment


def _where(task: asyncio.Task[Any]) -> str:
    """The innermost line at which a task waits."""
    coroutine: Any = task.get_coro()
    name = getattr(coroutine, "__qualname__", repr(coroutine))
    frame = None
    inner: Coroutine[Any, Any, Any] | Any = coroutine
    while inner is not None:
        found = getattr(inner, "cr_frame", None) or getattr(inner, "gi_frame", None)
        if found is None:
            break
        frame = found
        inner = getattr(inner, "cr_await", None) or getattr(inner, "gi_yieldfrom", None)
    if frame is None:
        return f"{name} (not started)"
    return f"{name}, waiting in {frame.f_code.co_qualname} ({frame.f_code.co_filename}:{frame.f_lineno})"
