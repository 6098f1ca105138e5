"""Congestion control algorithms by name."""

from __future__ import annotations

from plankroad.tcp.cc.base import CongestionControl
from plankroad.tcp.cc.bbr import Bbr
from plankroad.tcp.cc.cubic import Cubic
from plankroad.tcp.cc.dctcp import Dctcp
from plankroad.tcp.cc.ledbat import Ledbat
from plankroad.tcp.cc.newreno import NewReno
from plankroad.tcp.cc.vegas import Vegas

_algorithms: dict[str, type[CongestionControl]] = {
    "bbr": Bbr,
    "cubic": Cubic,
    "dctcp": Dctcp,
    "ledbat": Ledbat,
    "newreno": NewReno,
    "reno": NewReno,
    "vegas": Vegas,
}


def register(name: str, cls: type[CongestionControl]) -> None:
    """Make `cls` known as `name`. TypeError if it is no subclass of `CongestionControl`; ValueError if the name is
    empty or belongs to another class.
    """
    if not isinstance(cls, type) or not issubclass(cls, CongestionControl):
        raise TypeError(f"{cls!r} is not a subclass of CongestionControl")
    if not name:
        raise ValueError("a congestion control algorithm needs a name")
    known = _algorithms.get(name)
    if known is not None and known is not cls:
        raise ValueError(f"congestion control {name!r} is already registered")
    _algorithms[name] = cls


def create(name: str, smss: int, initial_window: int) -> CongestionControl:
    """A new instance of the algorithm `name`; `smss` and `initial_window` in bytes. ValueError if it is unknown."""
    cls = _algorithms.get(name)
    if cls is None:
        raise ValueError(f"unknown congestion control {name!r}; known: {', '.join(names())}")
    return cls(smss, initial_window)


def names() -> list[str]:
    """The registered names, sorted."""
    return sorted(_algorithms)
