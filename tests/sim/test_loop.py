"""The asyncio event loop in virtual time."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import os
import random
import signal
import socket
import threading
import time
import types
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import pytest

from plankroad.aio.resolver import HostsResolver
from plankroad.sim import executor as executor_module
from plankroad.sim.errors import DeadlockError, RunawayError
from plankroad.sim.events import Simulator
from plankroad.sim.loop import SimulatedLoop
from plankroad.units import SECOND

T = TypeVar("T")


def run(main: Callable[[SimulatedLoop], Coroutine[Any, Any, T]], **kwds: Any) -> T:
    """Run `main(loop)` in a loop of its own."""
    sim = kwds.pop("sim", None) or Simulator()
    debug = kwds.pop("debug", None)

    async def start() -> T:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimulatedLoop)
        return await main(loop)

    with asyncio.Runner(loop_factory=lambda: SimulatedLoop(sim, **kwds), debug=debug) as runner:
        return runner.run(start())


def test_sleeping_an_hour_takes_no_time() -> None:
    async def main(loop: SimulatedLoop) -> float:
        await asyncio.sleep(3600)
        await asyncio.sleep(365 * 86400)
        return loop.time()

    start = time.perf_counter()
    assert run(main) == 3600 + 365 * 86400
    assert time.perf_counter() - start < 5


def test_tasks_wake_in_order_of_their_deadlines() -> None:
    async def main(loop: SimulatedLoop) -> list[tuple[float, str]]:
        log: list[tuple[float, str]] = []

        async def sleeper(name: str, delay: float) -> None:
            await asyncio.sleep(delay)
            log.append((loop.time(), name))

        await asyncio.gather(sleeper("a", 0.3), sleeper("b", 0.1), sleeper("c", 0.2), sleeper("d", 0.1))
        return log

    assert run(main) == [(0.1, "b"), (0.1, "d"), (0.2, "c"), (0.3, "a")]


def test_a_timer_is_never_early_on_the_clock_of_the_loop() -> None:
    seed = random.SystemRandom().randrange(1 << 30)
    print(f"seed {seed}")
    rng = random.Random(seed)

    async def main(loop: SimulatedLoop) -> None:
        for _ in range(300):
            when = loop.time() + rng.random() * 10 ** rng.randrange(-9, 7)
            woken = loop.create_future()
            loop.call_at(when, woken.set_result, None)
            await woken
            assert loop.time() >= when

    run(main)


def test_waiting_for_a_deadline_in_a_loop_ends() -> None:
    async def main(loop: SimulatedLoop) -> int:
        await asyncio.sleep(1e7 / 3)
        deadline = loop.time() + 0.7
        turns = 0
        while loop.time() < deadline:
            turns += 1
            await asyncio.sleep((deadline - loop.time()) * 0.9)
        return turns

    assert run(main) < 100


def test_time_outs_are_virtual() -> None:
    async def main(loop: SimulatedLoop) -> float:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.sleep(1000), 100)
        async with asyncio.timeout(50):
            await asyncio.sleep(10)
        return loop.time()

    assert run(main) == 110


def test_cancelled_timers_do_not_hold_the_clock() -> None:
    async def main(loop: SimulatedLoop) -> tuple[float, int]:
        handles = [loop.call_later(1000 + i, print) for i in range(10_000)]
        for handle in handles:
            handle.cancel()
        await asyncio.sleep(1)
        return loop.time(), len(loop.simulator.heap)

    now, heap = run(main)
    assert now == 1
    assert heap < 200


def test_the_simulator_runs_below_the_loop() -> None:
    sim = Simulator()

    async def main(loop: SimulatedLoop) -> list[object]:
        log: list[object] = []
        sim.call_at(2 * SECOND, log.append, "event")
        sim.call_at(2 * SECOND, loop.call_soon, log.append, "made ready by an event")
        loop.call_at(2.0, log.append, "timer")
        await asyncio.sleep(3)
        return log

    assert run(main, sim=sim) == ["event", "made ready by an event", "timer"]
    assert sim.now == 3 * SECOND


def test_packets_move_while_a_task_polls_without_waiting() -> None:
    sim = Simulator()

    async def main(loop: SimulatedLoop) -> int:
        seen: list[int] = []
        sim.call_at(0, lambda: sim.call_in(0, seen.append, 1))
        turns = 0
        while not seen:
            turns += 1
            await asyncio.sleep(0)
        return turns

    assert run(main, sim=sim) < 5


def test_a_deadlock_names_the_tasks_and_where_they_wait() -> None:
    async def stuck_inside() -> None:
        await asyncio.get_running_loop().create_future()

    async def main(loop: SimulatedLoop) -> None:
        task = asyncio.create_task(stuck_inside(), name="the stuck one")
        await asyncio.sleep(5)
        await task

    with pytest.raises(DeadlockError) as caught:
        run(main)
    text = str(caught.value)
    assert "at 5.000000000 s nothing is scheduled" in text
    assert "the stuck one" in text
    assert "stuck_inside" in text
    assert "test_loop.py" in text


def test_a_loop_that_runs_for_ever_with_nothing_to_do_is_a_deadlock() -> None:
    loop = SimulatedLoop(Simulator())
    with pytest.raises(DeadlockError, match="No task waits"):
        loop.run_forever()
    loop.close()


def test_polling_without_time_moving_is_a_runaway() -> None:
    async def main(loop: SimulatedLoop) -> None:
        await asyncio.sleep(1)
        while True:
            await asyncio.sleep(0)

    with pytest.raises(RunawayError, match=r"time stands still at 1\.000000000 s"):
        run(main, max_turns=1000)


def test_the_limits_of_the_simulator_end_a_run() -> None:
    async def main(loop: SimulatedLoop) -> None:
        while True:
            await asyncio.sleep(1)

    with pytest.raises(RunawayError, match="virtual time"):
        run(main, sim=Simulator(last_moment=100 * SECOND))
    with pytest.raises(RunawayError, match="200 events"):
        run(main, sim=Simulator(max_events=200))


def test_threads_hold_the_clock() -> None:
    async def main(loop: SimulatedLoop) -> tuple[float, list[str]]:
        log: list[str] = []

        async def ticker() -> None:
            for _ in range(3):
                await asyncio.sleep(0.001)
                log.append("tick")

        ticking = asyncio.create_task(ticker())
        inside = threading.Event()

        def work() -> str:
            inside.wait(0.05)  # real time: the clock has to stand still
            log.append("work")
            return threading.current_thread().name

        name = await asyncio.to_thread(work)
        assert name.startswith("asyncio")
        assert log == ["work"]
        now = loop.time()
        await ticking
        return now, log

    assert run(main) == (0.0, ["work", "tick", "tick", "tick"])


def test_results_of_threads_come_in_the_order_in_which_they_were_started() -> None:
    async def main(loop: SimulatedLoop) -> list[int]:
        order: list[int] = []
        second_done = threading.Event()

        def work(number: int) -> int:
            if number == 0:
                second_done.wait(5)
            elif number == 1:
                second_done.set()
            return number

        async def one(number: int) -> None:
            order.append(await loop.run_in_executor(None, work, number))

        await asyncio.gather(*(one(i) for i in range(4)))
        return order

    assert run(main) == [0, 1, 2, 3]


def test_exceptions_and_context_come_through_threads() -> None:
    var: contextvars.ContextVar[str] = contextvars.ContextVar("var")

    async def main(loop: SimulatedLoop) -> str:
        var.set("here")
        with pytest.raises(ZeroDivisionError):
            await loop.run_in_executor(None, lambda: 1 / 0)
        return await asyncio.to_thread(var.get)

    assert run(main) == "here"


def test_a_thread_may_call_back_into_the_loop_and_wait_for_it() -> None:
    async def answer() -> int:
        await asyncio.sleep(5)
        return 42

    async def main(loop: SimulatedLoop) -> tuple[int, float]:
        def work() -> int:
            return asyncio.run_coroutine_threadsafe(answer(), loop).result(10)

        return await asyncio.to_thread(work), loop.time()

    assert run(main) == (42, 5.0)


def test_a_thread_that_waits_for_a_callback_is_not_waited_for_for_ever(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(executor_module, "PATIENCE", 0.05)

    async def main(loop: SimulatedLoop) -> tuple[bool, float]:
        flag = threading.Event()
        loop.call_soon(loop.call_soon, flag.set)
        return await loop.run_in_executor(None, flag.wait, 10), loop.time()

    assert run(main) == (True, 0.0)
    assert "may not be reproducible" in caplog.text


def test_callbacks_from_other_threads_are_waited_for_before_a_deadlock_is_declared() -> None:
    async def main(loop: SimulatedLoop) -> str:
        future: asyncio.Future[str] = loop.create_future()
        thread = threading.Timer(0.05, loop.call_soon_threadsafe, (future.set_result, "from outside"))
        thread.start()
        return await future

    assert run(main) == "from outside"


def test_exceptions_in_callbacks_go_to_the_handler() -> None:
    async def main(loop: SimulatedLoop) -> list[dict[str, Any]]:
        contexts: list[dict[str, Any]] = []
        loop.set_exception_handler(lambda _, context: contexts.append(context))
        loop.call_soon(int, "no number")
        loop.call_later(1, int, "no number")
        await asyncio.sleep(2)
        return contexts

    assert [type(context["exception"]) for context in run(main)] == [ValueError, ValueError]


def test_debug_mode_measures_real_time_and_checks_threads(caplog: pytest.LogCaptureFixture) -> None:
    async def main(loop: SimulatedLoop) -> None:
        assert loop.get_debug()
        loop.slow_callback_duration = 0.02

        def slow() -> None:
            end = time.perf_counter() + 0.03
            while time.perf_counter() < end:
                pass

        loop.call_soon(slow)
        await asyncio.sleep(100)
        with pytest.raises(TypeError, match="coroutines cannot be used"):
            loop.call_soon(main)  # type: ignore[arg-type]
        with pytest.raises(RuntimeError, match="Non-thread-safe"):
            await asyncio.to_thread(loop.call_later, 1, print)

    run(main, debug=True)
    took = [record.getMessage() for record in caplog.records if "took" in record.getMessage()]
    assert sum(".slow() at" in text for text in took) == 1
    assert not any(text.endswith("took 100.000 seconds") for text in took)


def test_stop_ends_run_forever_at_that_moment() -> None:
    sim = Simulator()
    loop = SimulatedLoop(sim)
    log: list[int] = []
    for second in range(1, 10):
        sim.call_at(second * SECOND, log.append, second)
    sim.call_at(5 * SECOND, loop.stop)
    loop.run_forever()
    assert (log, loop.time()) == ([1, 2, 3, 4, 5], 5.0)
    loop.close()


def test_loops_follow_each_other_on_one_simulator() -> None:
    sim = Simulator()

    async def main(loop: SimulatedLoop) -> float:
        await asyncio.sleep(10)
        return loop.time()

    assert run(main, sim=sim) == 10
    assert run(main, sim=sim) == 20


def test_an_interrupt_cancels_the_main_task() -> None:
    async def main(loop: SimulatedLoop) -> None:
        loop.call_later(1, os.kill, os.getpid(), signal.SIGINT)
        try:
            while True:
                await asyncio.sleep(1)
        except asyncio.CancelledError:
            assert loop.time() <= 10_000
            raise

    with pytest.raises(KeyboardInterrupt):
        run(main)


def test_signal_handlers_are_called_by_the_loop() -> None:
    async def main(loop: SimulatedLoop) -> list[str]:
        log: list[str] = []
        loop.add_signal_handler(signal.SIGUSR1, log.append, "usr1")
        os.kill(os.getpid(), signal.SIGUSR1)
        for _ in range(1000):
            if log:
                break
            await asyncio.sleep(0.001)
        assert loop.remove_signal_handler(signal.SIGUSR1)
        assert not loop.remove_signal_handler(signal.SIGUSR1)
        return log

    assert run(main) == ["usr1"]


def test_asynchronous_generators_are_closed_at_the_end() -> None:
    closed: list[bool] = []

    async def numbers() -> Any:
        try:
            while True:
                yield 1
        finally:
            await asyncio.sleep(1)
            closed.append(True)

    async def main(loop: SimulatedLoop) -> None:
        generator = numbers()
        await generator.__anext__()
        loop.keep = generator  # type: ignore[attr-defined]

    run(main)
    assert closed == [True]


def test_names_of_the_network_are_resolved() -> None:
    resolver = HostsResolver({"server": ["10.0.0.2", "fd00::2"]})

    async def main(loop: SimulatedLoop) -> None:
        found = await loop.getaddrinfo("server", 80, type=socket.SOCK_STREAM)
        assert found == [
            (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("10.0.0.2", 80)),
            (socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("fd00::2", 80, 0, 0)),
        ]
        found = await loop.getaddrinfo("server", "80", family=socket.AF_INET)
        assert [info[1] for info in found] == [socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW]
        found = await loop.getaddrinfo(None, 0, type=socket.SOCK_DGRAM, flags=socket.AI_PASSIVE)
        assert [info[4][0] for info in found] == ["0.0.0.0", "::"]
        with pytest.raises(socket.gaierror) as caught:
            await loop.getaddrinfo("example.org", 80)
        assert caught.value.errno == socket.EAI_NONAME
        with pytest.raises(socket.gaierror):
            await loop.getaddrinfo("server", 80, flags=socket.AI_NUMERICHOST)
        assert (await loop.getaddrinfo("server", 1, flags=socket.AI_CANONNAME))[0][3] == "server"
        assert await loop.getnameinfo(("192.0.2.1", 80)) == ("192.0.2.1", "80")
        with pytest.raises(socket.gaierror):
            await loop.getnameinfo(("192.0.2.1", 80), socket.NI_NAMEREQD)

    run(main, resolver=resolver)


def test_the_kernels_sockets_are_refused_with_the_reason() -> None:
    async def main(loop: SimulatedLoop) -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            with pytest.raises(NotImplementedError, match="virtual time"):
                loop.add_reader(ours, print)
            with pytest.raises(NotImplementedError, match="virtual time"):
                await loop.sock_recv(ours, 1)
        with pytest.raises(NotImplementedError, match="virtual time"):
            await asyncio.create_subprocess_exec("true")
        with pytest.raises(RuntimeError, match="runs on no simulated host"):
            await asyncio.open_connection("10.0.0.1", 80)
        with pytest.raises(RuntimeError, match=r"host\.create_task"):
            await asyncio.start_server(lambda r, w: None, "10.0.0.1", 80)

    run(main)


def test_times_that_are_none() -> None:
    async def main(loop: SimulatedLoop) -> None:
        with pytest.raises(TypeError, match="when cannot be None"):
            loop.call_at(None, print)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="delay must not be None"):
            loop.call_later(None, print)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="must be a number"):
            loop.call_at(float("nan"), print)
        never = [loop.call_at(float("inf"), print), loop.call_later(float("inf"), print)]
        past = loop.create_future()
        loop.call_at(-5, past.set_result, None)
        await past
        assert loop.time() == 0
        for handle in never:
            handle.cancel()

    run(main)
    with pytest.raises(DeadlockError):
        run(lambda loop: asyncio.sleep(float("inf")))


def test_a_function_in_a_thread_may_end_in_any_way() -> None:
    def stop() -> None:
        raise StopIteration

    async def main(loop: SimulatedLoop) -> None:
        with pytest.raises(RuntimeError, match="StopIteration"):
            await loop.run_in_executor(None, stop)
        gate = threading.Event()
        with concurrent.futures.ThreadPoolExecutor(1) as one:
            first = loop.run_in_executor(one, gate.wait, 0.05)
            second = loop.run_in_executor(one, gate.wait, 0.05)
            second.cancel()
            assert await first is False
            with pytest.raises(asyncio.CancelledError):
                await second
        with pytest.raises(RuntimeError, match="after shutdown"):
            await loop.run_in_executor(one, print)

    run(main)


def test_work_in_another_process_holds_the_clock_too() -> None:
    async def main(loop: SimulatedLoop) -> tuple[int, float]:
        ticking = asyncio.create_task(asyncio.sleep(0.001))
        with concurrent.futures.ProcessPoolExecutor(1) as pool:
            result = await loop.run_in_executor(pool, pow, 2, 10)
        now = loop.time()
        await ticking
        return result, now

    assert run(main) == (1024, 0.0)


def test_signal_handlers_that_make_no_sense() -> None:
    async def main(loop: SimulatedLoop) -> None:
        with pytest.raises(TypeError, match="coroutines cannot be used"):
            loop.add_signal_handler(signal.SIGUSR1, main)  # type: ignore[arg-type]
        with pytest.raises(RuntimeError):
            loop.add_signal_handler(signal.SIGKILL, print)
        loop.add_signal_handler(signal.SIGUSR1, print)

    before = signal.getsignal(signal.SIGUSR1)
    run(main)
    assert signal.getsignal(signal.SIGUSR1) == before == signal.SIG_DFL  # closing the loop took it away


def test_a_running_loop_is_not_closed_and_a_closed_one_not_run() -> None:
    async def main(loop: SimulatedLoop) -> SimulatedLoop:
        with pytest.raises(RuntimeError, match="Cannot close a running"):
            loop.close()
        return loop

    loop = run(main)
    loop.close()
    with pytest.raises(RuntimeError, match="closed"):
        loop.call_later(1, print)
    with pytest.raises(RuntimeError, match="closed"):
        loop.run_forever()


REFUSED = [
    "sock_recv",
    "sock_recv_into",
    "sock_recvfrom",
    "sock_recvfrom_into",
    "sock_sendto",
    "sock_sendall",
    "sock_connect",
    "sock_accept",
    "connect_accepted_socket",
    "create_unix_connection",
    "create_unix_server",
    "connect_read_pipe",
    "connect_write_pipe",
    "subprocess_shell",
    "subprocess_exec",
]


@pytest.mark.parametrize("name", REFUSED)
def test_what_needs_real_time_is_refused_by_name(name: str) -> None:
    async def main(loop: SimulatedLoop) -> None:
        with pytest.raises(NotImplementedError, match=f"^{name} waits for the operating system"):
            await getattr(loop, name)()
        assert not loop.remove_reader(0)
        assert not loop.remove_writer(0)
        with pytest.raises(NotImplementedError, match=r"^add_writer"):
            loop.add_writer(0, print)

    run(main)


def test_a_task_that_never_started_is_named_in_a_deadlock() -> None:
    async def main(loop: SimulatedLoop) -> None:
        waiting = loop.create_future()

        @types.coroutine
        def old_style() -> Any:
            yield from waiting

        await old_style()

    with pytest.raises(DeadlockError, match="old_style"):
        run(main)


def test_no_such_type_of_socket() -> None:
    async def main(loop: SimulatedLoop) -> None:
        with pytest.raises(socket.gaierror, match="no such type"):
            await loop.getaddrinfo("127.0.0.1", 80, type=99)
        assert await loop.getnameinfo(("127.0.0.1", 80), socket.NI_NUMERICHOST) == ("127.0.0.1", "80")

    run(main)
