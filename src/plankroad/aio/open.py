"""The short way to a stack: `open_tun` and `open_link`."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import secrets
from collections.abc import Iterable, Mapping, Sequence
from ipaddress import ip_interface, ip_network
from typing import TYPE_CHECKING

from plankroad.aio.driver import Driver
from plankroad.aio.resolver import HostsResolver, Resolver
from plankroad.aio.scheduler import AsyncioScheduler
from plankroad.aio.stack import AsyncStack
from plankroad.link.tun import TunLink
from plankroad.stack.config import StackConfig
from plankroad.stack.stack import Stack

if TYPE_CHECKING:
    from plankroad.link.base import Link
    from plankroad.trace.eventlog import EventLog

logger = logging.getLogger("plankroad")

Addresses = str | Iterable[str]
Hosts = Mapping[str, str | Iterable[str]]


def open_link(
    link: Link,
    *,
    address: Addresses = (),
    gateway: Addresses = (),
    routes: Iterable[tuple[str, str | None]] = (),
    hosts: Hosts | None = None,
    resolver: Resolver | None = None,
    config: StackConfig | None = None,
    rng: random.Random | None = None,
    secret: bytes | None = None,
    log: EventLog | None = None,
) -> AsyncStack:
    """A stack on one link, on the running event loop; to be used with `async with`, which closes the link too.

        async with open_link(link, address="10.0.0.2/24") as stack: ...

    `address`: one or several, with their prefix length ("10.0.0.2/24", "fd00::2/64"); on Ethernet
    `StackConfig.check_addresses` says whether others are asked first if they have them. `gateway`: where everything
    else goes, one for each family. Without a gateway a link that is not Ethernet is taken to lead everywhere.
    `routes`: further pairs of prefix and gateway (None: on the link). `hosts`: names and their addresses; or `resolver`
    looks names up.
    `rng` and `secret` are for tests that need the same numbers again: ports and sequence numbers come from them.

    Raises RuntimeError without a running event loop, ValueError for addresses that are none; the link is then closed.
    """
    try:
        loop = asyncio.get_running_loop()
        if resolver is not None and hosts is not None:
            raise ValueError("give hosts or resolver, not both: HostsResolver(hosts, fallback=resolver) joins them")
        stack = Stack(
            StackConfig() if config is None else config,
            random.SystemRandom() if rng is None else rng,
            secrets.token_bytes(32) if secret is None else secret,
            log,
        )
        driver = Driver(stack, AsyncioScheduler(loop))
        interface = driver.attach(link)
        addresses = _listed(address)
        for one in addresses:
            if stack.config.check_addresses and link.ethernet:
                stack.check_address(driver.scheduler.now(), interface, one)
            else:
                stack.add_address(interface, one)
        gateways = _listed(gateway)
        for one in gateways:
            stack.add_route(_everything(one), gateway=one, interface=interface)
        if not gateways and not link.ethernet:
            for prefix in dict.fromkeys(_everything(one) for one in addresses):
                stack.add_route(prefix, gateway=None, interface=interface)
        for prefix, via in routes:
            stack.add_route(prefix, gateway=via, interface=interface)
        driver.push()
        logger.info("a stack with %s on %s", ", ".join(addresses) or "no address", link.name)
        return AsyncStack(driver, resolver=resolver or HostsResolver(hosts), loop=loop)
    except BaseException:
        link.close()
        raise


def open_tun(
    name: str = "",
    *,
    address: Addresses,
    kernel_address: Addresses | None = None,
    kernel_routes: Sequence[str] = (),
    mtu: int = 0,
    offload: bool = True,
    persistent: bool = False,
    gateway: Addresses = (),
    routes: Iterable[tuple[str, str | None]] = (),
    hosts: Hosts | None = None,
    resolver: Resolver | None = None,
    config: StackConfig | None = None,
    log: EventLog | None = None,
) -> AsyncStack:
    """A stack on a Linux TUN device, made and set up for it, and removed at the end.

        async with open_tun("plank0", address="10.0.0.2/24") as stack: ...

    `address` is the stack's, `kernel_address` that of the kernel's end. Without one the kernel gets the first other
    address of the stack's network (10.0.0.1 above), unless the device exists already: then it is taken as it is.
    The other arguments are those of `TunLink.open` and `open_link`. Raises as both do.
    """
    addresses = _listed(address)
    if not addresses:
        raise ValueError("a stack on a TUN device needs an address")
    if kernel_address is not None:
        kernel = _listed(kernel_address)
    elif name and os.path.exists(f"/sys/class/net/{name}"):
        kernel = []
    else:
        kernel = [other for other in (neighbour_address(one) for one in addresses) if other]
    link = TunLink.open(
        name, mtu=mtu, kernel_address=kernel, kernel_routes=kernel_routes, offload=offload, persistent=persistent
    )
    return open_link(
        link,
        address=addresses,
        gateway=gateway,
        routes=routes,
        hosts=hosts,
        resolver=resolver,
        config=config,
        log=log,
    )


def neighbour_address(address: str) -> str:
    """The first other host address of the network of `address` ("10.0.0.2/24" -> "10.0.0.1/24"); "" if none.

    Raises ValueError for text that is no address with a prefix length.
    """
    interface = ip_interface(address)
    network = ip_network(interface.network)
    length = network.prefixlen
    if length == network.max_prefixlen:
        return ""
    # The network and broadcast addresses of IPv4, and the subnet-router anycast address of IPv6, are no host's; a
    # network of two addresses has two hosts (RFC 3021, RFC 6164).
    first = 0 if length == network.max_prefixlen - 1 else 1
    for offset in (first, first + 1):
        other = network.network_address + offset
        if other != interface.ip:
            return f"{other}/{length}"
    return ""


def _listed(addresses: Addresses) -> list[str]:
    return [addresses] if isinstance(addresses, str) else list(addresses)


def _everything(address: str) -> str:
    """The prefix of all addresses of this one's family."""
    return "::/0" if ":" in address else "0.0.0.0/0"
