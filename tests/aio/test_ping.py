"""Ping and traceroute."""

from __future__ import annotations

import asyncio
import socket

import pytest
from tests.aio.nets import Net, with_net


def test_ping_tells_the_round_trip() -> None:
    async def main(net: Net) -> None:
        results = [result async for result in net.client.ping("server.test", 3, interval=2.0)]
        assert [result.seq for result in results] == [1, 2, 3]
        assert all(result.answered and result.address == "10.0.0.1" and result.ttl == 64 for result in results)
        assert asyncio.get_running_loop().time() >= 4
        (result,) = [r async for r in net.client.ping("server.test", 1, family=socket.AF_INET6, size=3000)]
        assert result.answered
        assert result.address == "fd00::1"
        assert result.size == 3000

    with_net(main)


def test_ping_without_answer() -> None:
    async def main(net: Net) -> None:
        results = [result async for result in net.client.ping("10.0.0.77", 2, timeout=3.0)]
        assert [(result.answered, result.round_trip) for result in results] == [(False, None)] * 2
        with pytest.raises(ValueError, match="size"):
            _ = [result async for result in net.client.ping("10.0.0.1", 2, size=-1)]

    with_net(main)


def test_traceroute_ends_at_the_destination() -> None:
    async def main(net: Net) -> None:
        hops = [hop async for hop in net.client.traceroute(net.host)]
        assert [(hop.ttl, hop.addresses, hop.reached) for hop in hops] == [(1, ["10.0.0.1"], True)]
        assert len(hops[0].results) == 3

    with_net(main)
