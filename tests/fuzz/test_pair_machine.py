"""Two live stacks, driven by hypothesis: programs, network and time take turns, and what always holds is checked.

`tests/fuzz/world.py` says what that is. The budget is seconds; PLANKROAD_FUZZ=100 is a hundred times that, with new
examples in each run where PLANKROAD_EXPLORE=1 is set. A failure prints the acts that lead to it, and the packets.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from tests.fuzz.feed import Feed
from tests.fuzz.programs import OPTIONS, SIZES, TIMES, config_from
from tests.fuzz.world import World
from tests.volume import volume

BUDGET = int(os.environ.get("PLANKROAD_FUZZ", "1"))

FLOWS = st.integers(0, 2)
SIDES = st.integers(0, 1)
PLACES = st.integers(0, 30)


class PairMachine(RuleBasedStateMachine):
    """Rules are what a program, the network and the clock may do."""

    world: World

    @initialize(
        choices=st.tuples(st.binary(max_size=16), st.binary(max_size=16)),
        ipv6=st.booleans(),
        mtu=st.booleans(),
        connected=st.integers(0, 3),
    )
    def begin(self, choices: tuple[bytes, bytes], ipv6: bool, mtu: bool, connected: int) -> None:
        configs = (config_from(Feed(choices[0])), config_from(Feed(choices[1])))
        self.world = World(0, configs, ipv6, 1280 if mtu else 1500)
        self.told(self.world.open)
        if connected:
            # Most stories are of the middle of a connection.
            self.told(self.world.carry, 6)
            self.told(self.world.write, 0, connected & 1, 10_000)

    def told(self, act: object, *values: object) -> None:
        """Do it; a failure tells the story so far."""
        try:
            act(*values)  # type: ignore[operator]
        except Exception as error:
            raise AssertionError(f"{type(error).__name__}: {error}\n{self.world.tell()}") from error

    # Programs

    @precondition(lambda self: len(self.world.flows) < 3)
    @rule()
    def open(self) -> None:
        self.told(self.world.open)

    @rule(flow=FLOWS, side=SIDES, size=st.sampled_from(SIZES), urgent=st.booleans())
    def write(self, flow: int, side: int, size: int, urgent: bool) -> None:
        self.told(self.world.write, flow, side, size, urgent)

    @rule(side=SIDES, size=st.sampled_from(SIZES))
    def write_first(self, side: int, size: int) -> None:
        self.told(self.world.write, 0, side, size)

    @rule(flow=FLOWS, side=SIDES, limit=st.sampled_from((1, 1000, 1 << 30)))
    def read(self, flow: int, side: int, limit: int) -> None:
        self.told(self.world.read, flow, side, limit)

    @rule(flow=FLOWS, side=SIDES, how=st.integers(0, 9))
    def end(self, flow: int, side: int, how: int) -> None:
        # A story that ends soon tells little.
        if how < 3:
            self.told(self.world.close, flow, side)
        elif how == 8:
            self.told(self.world.abort, flow, side)
        elif how == 9:
            self.told(self.world.release, flow, side)

    @rule(flow=FLOWS, side=SIDES, option=st.sampled_from(OPTIONS))
    def set_option(self, flow: int, side: int, option: tuple[str, int | bool | str]) -> None:
        self.told(self.world.set_option, flow, side, *option)

    # The network

    @rule(count=st.integers(1, 20))
    def carry(self, count: int) -> None:
        self.told(self.world.carry, count)

    @rule()
    def carry_all(self) -> None:
        self.told(self.world.carry, 100)

    @rule(place=PLACES)
    def deliver(self, place: int) -> None:
        self.told(self.world.deliver, place)

    @rule(place=PLACES)
    def drop(self, place: int) -> None:
        self.told(self.world.drop, place)

    @rule(place=PLACES)
    def duplicate(self, place: int) -> None:
        self.told(self.world.duplicate, place)

    @rule(place=PLACES, recipe=st.binary(min_size=1, max_size=16), keep=st.booleans())
    def change(self, place: int, recipe: bytes, keep: bool) -> None:
        self.told(self.world.change, place, Feed(recipe), keep)

    @rule(place=PLACES, at=st.integers(0, 12_000))
    def corrupt(self, place: int, at: int) -> None:
        self.told(self.world.corrupt, place, at)

    @rule(place=PLACES, before=st.sampled_from((0, 1, 1000)), after=st.sampled_from((0, 1, 1000)))
    def send_again_in_other_pieces(self, place: int, before: int, after: int) -> None:
        self.told(self.world.resegment, place, before, after)

    @rule(side=SIDES, mtu=st.sampled_from((1500, 1280, 9000)))
    def set_mtu(self, side: int, mtu: int) -> None:
        self.told(self.world.set_mtu, side, mtu)

    # Time

    @rule(duration=st.sampled_from(TIMES))
    def wait(self, duration: int) -> None:
        self.told(self.world.advance, duration)

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.told(self.world.finish)


TestPairMachine = PairMachine.TestCase
TestPairMachine.settings = settings(
    max_examples=volume(600, 100) * BUDGET,
    stateful_step_count=40,
    suppress_health_check=list(HealthCheck),
    # A story is told as it was found: shrinking it may take longer than a test has. PLANKROAD_FUZZ asks for it.
    phases=[phase for phase in Phase if phase is not Phase.shrink or "PLANKROAD_FUZZ" in os.environ],
)
