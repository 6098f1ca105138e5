"""A network in virtual time: `Network` and what it is made of, at hand under short names.

The names are imported when they are first asked for, so that a part of the simulator can be used without the others.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from plankroad.sim.conditions import Burst
    from plankroad.sim.disciplines import CoDel, Discipline, FqCodel, Pie, Red
    from plankroad.sim.errors import DeadlockError, RunawayError
    from plankroad.sim.host import Host
    from plankroad.sim.link import Link
    from plankroad.sim.loop import SimulatedLoop
    from plankroad.sim.pipe import Observer
    from plankroad.sim.queue_delay import QueueDelay
    from plankroad.sim.rules import Rule
    from plankroad.sim.topology import Network
    from plankroad.sim.view import PacketView

__all__ = [
    "Burst",
    "CoDel",
    "DeadlockError",
    "Discipline",
    "FqCodel",
    "Host",
    "Link",
    "Network",
    "Observer",
    "PacketView",
    "Pie",
    "QueueDelay",
    "Red",
    "Rule",
    "RunawayError",
    "SimulatedLoop",
]

_HOMES = {
    "Burst": "conditions",
    "CoDel": "disciplines",
    "DeadlockError": "errors",
    "Discipline": "disciplines",
    "FqCodel": "disciplines",
    "Host": "host",
    "Link": "link",
    "Network": "topology",
    "Observer": "pipe",
    "PacketView": "view",
    "Pie": "disciplines",
    "QueueDelay": "queue_delay",
    "Red": "disciplines",
    "Rule": "rules",
    "RunawayError": "errors",
    "SimulatedLoop": "loop",
}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{home}"), name)
