"""Interfaces, addresses and routes, as the program sets them up. `Stack` has the same methods and their rules."""

from __future__ import annotations

from plankroad.ip.interface import MAX_MTU, MIN_MTU, Interface
from plankroad.ip.neighbour import NeighbourCache
from plankroad.ip.routes import ROUTE_CONNECTED, Route
from plankroad.stack.host import Host
from plankroad.stack.tcp_output import refresh
from plankroad.wire.address import in_prefix, ip_to_bytes, network_of, parse_prefix


def add_interface(
    host: Host, name: str, mtu: int, ethernet: bool, mac: bytes, tx_csum: bool, gso_max_size: int
) -> Interface:
    """A new interface, up, without addresses."""
    index = len(host.interfaces)
    interface = Interface(index, name, mtu, ethernet, mac, tx_csum, gso_max_size)
    if host.config.forwarding:
        interface.set_forwarding(True)
    host.interfaces.append(interface)
    host.on_link4.append(Route(bytes(4), 0, b"", interface, origin=ROUTE_CONNECTED))
    host.on_link6.append(Route(bytes(16), 0, b"", interface, origin=ROUTE_CONNECTED))
    if ethernet:
        interface.neighbours = NeighbourCache(
            interface, host.routes, host.rng, host.config.neighbours, host.counters.icmp
        )
        host.ethernets.append(interface)
    host.generation += 1
    return interface


def add_address(host: Host, interface: Interface, address: str) -> None:
    """Give an interface an address, and the route to its subnet."""
    ip, prefix_len = parse_prefix(address)
    interface.add_address(ip, prefix_len)
    if prefix_len < len(ip) * 8:
        for route in host.routes.find(network_of(ip, prefix_len), prefix_len):
            if route.interface is interface and not route.gateway and route.metric == 0:
                break
        else:
            host.routes.add(Route(ip, prefix_len, b"", interface, origin=ROUTE_CONNECTED))
    host.routes.invalidate()
    host.sources.clear()


def check_address(host: Host, now: int, interface: Interface, address: str) -> None:
    """Give an interface an address once it is known that no other host has it."""
    neighbours = interface.neighbours
    if neighbours is None:
        raise ValueError(f"{interface.name} is no Ethernet interface: nobody there can have the same address")
    add_address(host, interface, address)
    neighbours.start_address_check(now, parse_prefix(address)[0])


def autoconfigure(host: Host, now: int, interface: Interface) -> None:
    """Follow the routers of the link."""
    neighbours = interface.neighbours
    if neighbours is None:
        raise ValueError(f"{interface.name} is no Ethernet interface: it has no routers to ask")
    neighbours.start_router_discovery(now)
    host.generation += 1


def remove_address(host: Host, interface: Interface, address: str) -> None:
    """Take an address away, with its last address the subnet's route too."""
    ip, _ = parse_prefix(address)
    held = interface.by_ip.get(ip)
    if held is None:
        raise ValueError(f"{interface.name} does not have {address}")
    prefix_len = held.prefix_len
    interface.remove_address(ip)
    shared = False
    for other in interface.addresses:
        if other.prefix_len == prefix_len and in_prefix(other.ip, ip, prefix_len):
            shared = True
    if not shared:
        for route in host.routes.find(network_of(ip, prefix_len), prefix_len):
            if route.interface is interface and route.origin == ROUTE_CONNECTED:
                host.routes.remove(route)
    host.routes.invalidate()
    host.sources.clear()


def add_route(
    host: Host, prefix: str, gateway: str | None, interface: Interface | None, metric: int, weight: int
) -> Route:
    """Add a route."""
    network, prefix_len = parse_prefix(prefix)
    hop = b"" if gateway is None else ip_to_bytes(gateway)
    if interface is None:
        if not hop:
            raise ValueError("a route needs a gateway or an interface")
        for candidate in host.interfaces:
            if candidate.on_link(hop) is not None:
                interface = candidate
                break
        else:
            raise ValueError(f"no interface has an address in the subnet of {gateway}; name the interface")
    if hop and host.owner(hop) is not None:
        raise ValueError(f"{gateway} is this host itself")
    route = Route(network, prefix_len, hop, interface, metric, weight)
    host.routes.add(route)
    return route


def set_interface_up(host: Host, now: int, interface: Interface, up: bool) -> None:
    """A link works, or does not."""
    if interface.up == up:
        return
    interface.up = up
    host.generation += 1
    host.routes.invalidate()
    host.sources.clear()
    neighbours = interface.neighbours
    if neighbours is not None:
        if up:
            neighbours.start_again(now)
        else:
            neighbours.clear()


def set_mtu(host: Host, now: int, interface: Interface, mtu: int) -> None:
    """What the link takes has changed."""
    if not MIN_MTU <= mtu <= MAX_MTU:
        raise ValueError(f"MTU of {interface.name} is not within {MIN_MTU} to {MAX_MTU}: {mtu}")
    if mtu == interface.mtu:
        return
    interface.mtu = mtu
    if interface.neighbours is not None:
        # A router's MTU option is held against what the link takes.
        interface.neighbours.router_discovery.link_mtu = mtu
    host.generation += 1
    # What is in flight may be too large now: no timer has to find out.
    for path in list(host.paths.values()):
        if path.interface is interface and path.mtu > mtu:
            refresh(host, now, path)
