"""The same scenario over the kernel's sockets under asyncio and over ours gives the same callbacks in the same order.

A scenario waits on events of its protocols, or turns the loop until a socket has what it must have; it never sleeps.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.aio import scenarios_datagrams, scenarios_ends, scenarios_opening, scenarios_transports
from tests.aio.nets import kernel_net, plank_net, run, run_virtual
from tests.aio.scenario import SCENARIOS, Scenario, play

PARTS = (scenarios_ends, scenarios_transports, scenarios_opening, scenarios_datagrams)


def test_every_part_registered_its_scenarios() -> None:
    assert {function.__module__ for function in SCENARIOS} == {part.__name__ for part in PARTS}


@pytest.fixture(scope="module")
def over_the_kernel() -> dict[str, tuple[Any, list[str]]]:
    """Results of the kernel's sockets, each scenario played once."""
    return {}


@pytest.mark.parametrize("runner", [run_virtual, run], ids=["virtual", "real"])
@pytest.mark.parametrize("function", SCENARIOS, ids=lambda function: function.__name__)
def test_as_over_the_kernels_sockets(
    function: Scenario, runner: Callable[..., Any], over_the_kernel: dict[str, tuple[Any, list[str]]]
) -> None:
    name = function.__name__
    if name not in over_the_kernel:
        over_the_kernel[name] = run(play(function, kernel_net))
    got, told = runner(play(function, plank_net))
    assert got == over_the_kernel[name][0]
    assert told == over_the_kernel[name][1]
