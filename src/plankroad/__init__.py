"""plankroad: a complete TCP/IP stack in Python that runs inside your own process.

The names below are the face of the package. Each is imported from its room when it is first used, so that importing
the package, or one room of it, loads nothing else.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Final

from plankroad._build import __version__, is_compiled

if TYPE_CHECKING:
    from plankroad.aio.open import open_link, open_tun
    from plankroad.aio.stack import AsyncStack
    from plankroad.sim.topology import Network
    from plankroad.stack.config import StackConfig
    from plankroad.tcp.config import TcpConfig
    from plankroad.trace.eventlog import EventLog

__all__ = [
    "AsyncStack",
    "EventLog",
    "Network",
    "StackConfig",
    "TcpConfig",
    "__version__",
    "is_compiled",
    "open_link",
    "open_tun",
]

#: Where each name of the face lives.
_HOMES: Final = {
    "AsyncStack": "plankroad.aio.stack",
    "EventLog": "plankroad.trace.eventlog",
    "Network": "plankroad.sim.topology",
    "StackConfig": "plankroad.stack.config",
    "TcpConfig": "plankroad.tcp.config",
    "open_link": "plankroad.aio.open",
    "open_tun": "plankroad.aio.open",
}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'plankroad' has no attribute {name!r}")
    value: object = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
