"""Small helpers for the tests of the simulator."""

from __future__ import annotations

import pytest

from plankroad.sim.events import Simulator


@pytest.fixture
def sim() -> Simulator:
    return Simulator()
