"""A host on the simulator's clock: its scheduler, its contexts, its loop."""

from __future__ import annotations

import asyncio
import warnings

import pytest

import plankroad.sim
from plankroad.sim.events import Simulator
from plankroad.sim.host import VirtualScheduler
from plankroad.sim.loop import SimulatedLoop, current_host
from plankroad.sim.topology import Network
from plankroad.units import NEVER


class Alarms:
    """Notes when the timer goes off."""

    def __init__(self, sim: Simulator) -> None:
        self.sim = sim
        self.times: list[int] = []

    def __call__(self) -> None:
        self.times.append(self.sim.now)


def test_the_timer_goes_off_once_at_the_last_deadline_set() -> None:
    sim = Simulator()
    scheduler = VirtualScheduler(sim)
    alarms = Alarms(sim)
    scheduler.bind(alarms)
    scheduler.set_timer(100)
    scheduler.set_timer(300)  # later: the event is left where it is
    scheduler.set_timer(200)
    assert sim.pending() == 1
    sim.run()
    assert alarms.times == [200]
    scheduler.set_timer(50)  # past: at once
    sim.run()
    assert alarms.times == [200, 200]
    scheduler.set_timer(400)
    scheduler.set_timer(NEVER)
    assert sim.pending() == 0
    sim.run()
    assert alarms.times == [200, 200]
    scheduler.set_timer(500)
    scheduler.close()
    sim.run()
    assert (alarms.times, sim.now) == ([200, 200], 200)


def test_a_timer_that_is_set_by_its_own_callback() -> None:
    sim = Simulator()
    scheduler = VirtualScheduler(sim)
    times: list[int] = []

    def again() -> None:
        times.append(sim.now)
        if len(times) < 3:
            scheduler.set_timer(sim.now + 10)

    scheduler.bind(again)
    scheduler.set_timer(10)
    sim.run()
    assert times == [10, 20, 30]


def test_call_soon_is_not_at_once_and_takes_no_time() -> None:
    sim = Simulator()
    scheduler = VirtualScheduler(sim)
    called: list[int] = []
    scheduler.call_soon(lambda: called.append(sim.now))
    assert not called
    sim.run()
    assert called == [0]


def two() -> Network:
    net = Network()
    net.link(net.host("a"), net.host("b"), delay="1ms")
    return net


def test_here_names_the_host_within_the_block_only() -> None:
    net = two()
    a, b = net.hosts

    async def main() -> None:
        assert current_host.get() is a
        with b.here():
            assert current_host.get() is b
            task = asyncio.create_task(inner())
        assert current_host.get() is a
        await task
        await a.create_task(inner_a(), name="on a")

    async def inner() -> None:
        await asyncio.sleep(1)
        assert current_host.get() is b

    async def inner_a() -> None:
        assert current_host.get() is a

    net.run(main(), host="a")
    assert current_host.get() is None


def test_a_runner_and_a_policy_take_the_networks_loops() -> None:
    net = two()

    async def main() -> float:
        assert isinstance(asyncio.get_running_loop(), SimulatedLoop)
        await asyncio.sleep(100)
        return net.now

    with asyncio.Runner(loop_factory=net.new_event_loop) as runner:
        assert runner.run(main()) == 100
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        asyncio.set_event_loop_policy(net.policy())
        try:
            assert asyncio.run(main()) == 200
        finally:
            asyncio.set_event_loop_policy(None)


def test_each_run_has_a_face_of_its_own() -> None:
    net = two()
    a, b = net.hosts

    async def main(port: int) -> bytes:
        with b.here():
            await asyncio.start_server(lambda r, w: w.write(b"hi"), "b", port)
        reader, writer = await asyncio.open_connection("b", port)
        greeting = await reader.readexactly(2)
        writer.close()
        return greeting

    assert net.run(main(80), host=a) == b"hi"
    assert net.run(main(81), host=a) == b"hi"


def test_a_switch_runs_no_program() -> None:
    net = Network()
    switch = net.switch("sw")
    assert "sw" in repr(switch)

    async def main() -> None: ...

    with pytest.raises(ValueError, match="sw is a switch"):
        net.run(main(), host="sw")


def test_what_things_are_shows_in_their_names() -> None:
    net = two()
    a, _ = net.hosts
    router = net.router("r")
    assert repr(a) == "<Host a 10.0.0.1, fd00::1>"
    assert repr(router).startswith("<Router r")
    link = net.links[0]
    assert repr(link) == "<Link a-b>"
    a.crash()
    a.crash()
    assert repr(link) == "<Link a-b down>"
    assert "crashed" in repr(a)
    with pytest.raises(ValueError, match="a-b is no link of r"):
        router.interface_of(link)


def test_the_short_names_lead_to_the_real_ones() -> None:
    assert plankroad.sim.Network is Network
    for name in plankroad.sim.__all__:
        assert getattr(plankroad.sim, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = plankroad.sim.Nothing
