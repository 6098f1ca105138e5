"""Counters: every one of them is in as_dict."""

from __future__ import annotations

import pytest

from plankroad.ip.counters import IcmpCounters, IpCounters, NeighbourCounters


@pytest.mark.parametrize("kind", [IpCounters, IcmpCounters, NeighbourCounters])
def test_as_dict_has_every_counter(kind: type[IpCounters | IcmpCounters | NeighbourCounters]) -> None:
    counters = kind()
    # A compiled class has no slots of its own.
    names: tuple[str, ...] = getattr(kind, "__slots__", ()) or getattr(kind, "__mypyc_attrs__", ())
    assert len(names) > 10
    for i, name in enumerate(names):
        assert getattr(counters, name) == 0
        setattr(counters, name, i + 1)
    assert counters.as_dict() == {name: i + 1 for i, name in enumerate(names)}
