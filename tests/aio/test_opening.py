"""`open_link` and what `open_tun` makes of its arguments."""

from __future__ import annotations

import pytest
from tests.aio.nets import run_virtual

from plankroad.aio.open import neighbour_address, open_link
from plankroad.aio.stack import AsyncStack
from plankroad.link.memory import MemoryLink


def test_the_kernels_end_of_a_network() -> None:
    assert neighbour_address("10.0.0.2/24") == "10.0.0.1/24"
    assert neighbour_address("10.0.0.1/24") == "10.0.0.2/24"
    assert neighbour_address("10.0.0.4/31") == "10.0.0.5/31"
    assert neighbour_address("10.0.0.5/31") == "10.0.0.4/31"
    assert neighbour_address("10.0.0.5/32") == ""
    assert neighbour_address("fd00::2/64") == "fd00::1/64"
    with pytest.raises(ValueError, match="10"):
        neighbour_address("10.0.0.300/24")


def test_open_link_closes_the_link_where_it_fails() -> None:
    async def main() -> None:
        link = MemoryLink.pair()[0]
        with pytest.raises(ValueError, match=r"."):
            open_link(link, address="nonsense")
        assert link._peer is None

    run_virtual(main())
    with pytest.raises(RuntimeError, match="event loop"):
        open_link(MemoryLink.pair()[0], address="10.0.0.1/24")


def test_gateways_and_routes() -> None:
    async def main() -> None:
        link, _ = MemoryLink.pair(ethernet=True)
        async with open_link(
            link,
            address=["10.0.0.2/24", "fd00::2/64"],
            gateway=["10.0.0.1", "fd00::1"],
            routes=[("192.0.2.0/24", "10.0.0.3"), ("198.51.100.0/24", None)],
        ) as stack:
            assert isinstance(stack, AsyncStack)
            routes = {(r.prefix, r.prefix_len): r.gateway for r in stack.stack.routes.routes()}
            assert routes[bytes(4), 0] == b"\x0a\0\0\1"
            assert routes[bytes(16), 0][-1] == 1
            assert routes[b"\xc0\0\2\0", 24] == b"\x0a\0\0\3"
            assert routes[b"\xc6\x33\x64\0", 24] == b""

    run_virtual(main())
