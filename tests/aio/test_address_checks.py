"""Addresses of `open_link` on Ethernet, asked after before they are used (RFC 4862 section 5.4, RFC 5227)."""

from __future__ import annotations

import asyncio

import pytest
from tests.aio.nets import run_virtual

from plankroad.aio.open import open_link
from plankroad.ip.interface import ADDRESS_DUPLICATE, ADDRESS_PREFERRED, ADDRESS_TENTATIVE
from plankroad.ip.neighbour_entry import NeighbourConfig
from plankroad.link.memory import MemoryLink
from plankroad.stack.config import StackConfig
from plankroad.wire.address import ip_to_bytes

ADDRESSES = ["10.0.0.1/24", "fd00::1/64"]


async def states(first: StackConfig, second: StackConfig, seconds: float) -> list[set[int]]:
    """Two stacks on one link, the second with the same addresses a minute later; the states of each one's, `seconds`
    after it began."""
    ends = MemoryLink.pair(ethernet=True)
    found: list[set[int]] = []
    one = open_link(ends[0], address=ADDRESSES, config=first)
    await asyncio.sleep(seconds)
    found.append({address.state for address in one.driver.stack.interfaces[0].addresses})
    await asyncio.sleep(60)
    other = open_link(ends[1], address=ADDRESSES, config=second)
    await asyncio.sleep(seconds)
    found.append({address.state for address in other.driver.stack.interfaces[0].addresses})
    await asyncio.gather(one.aclose(), other.aclose())
    return found


def test_they_are_used_when_nobody_else_has_them() -> None:
    checked = StackConfig(check_addresses=True)
    assert run_virtual(states(checked, StackConfig(), 0.0)) == [{ADDRESS_TENTATIVE}, {ADDRESS_PREFERRED}]
    assert run_virtual(states(checked, StackConfig(), 10.0))[0] == {ADDRESS_PREFERRED}


def test_they_are_not_used_when_another_host_has_them() -> None:
    checked = StackConfig(check_addresses=True)
    assert run_virtual(states(StackConfig(), checked, 10.0)) == [{ADDRESS_PREFERRED}, {ADDRESS_DUPLICATE}]


def test_without_the_choice_they_are_used_at_once() -> None:
    assert run_virtual(states(StackConfig(), StackConfig(), 0.0)) == [{ADDRESS_PREFERRED}, {ADDRESS_PREFERRED}]


def test_the_numbers_of_neighbour_discovery_are_those_of_the_configuration() -> None:
    numbers = NeighbourConfig()
    numbers.check_probes_ipv4 = numbers.check_probes_ipv6 = 0
    config = StackConfig(check_addresses=True, neighbours=numbers)
    # No probes: nothing to wait for.
    assert run_virtual(states(config, config, 0.0)) == [{ADDRESS_PREFERRED}, {ADDRESS_PREFERRED}]
    numbers.cache_limit = 0
    with pytest.raises(ValueError, match="neighbour cache"):
        config.validate()


def test_a_connection_waits_for_no_check_on_other_links() -> None:
    async def main() -> bytes:
        ends = MemoryLink.pair()
        config = StackConfig(check_addresses=True)
        async with open_link(ends[0], address="10.0.0.1/24", config=config) as stack:
            return stack.driver.stack.source_of(ip_to_bytes("10.0.0.9"))

    assert run_virtual(main()) == ip_to_bytes("10.0.0.1")
