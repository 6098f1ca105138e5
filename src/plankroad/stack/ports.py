"""The port table: who listens where, for TCP and for UDP.

A bound address is b"" (any, both families), all zeros (any of one family) or one of the host's own. What comes in is
looked up most specific first: at most three dict lookups, whatever the number of ports.
"""

from __future__ import annotations

import errno

from plankroad.tcp.ports import PortAllocator
from plankroad.udp.endpoint import UdpEndpoint, os_error

ANY4 = bytes(4)
ANY6 = bytes(16)


def overlap(a: bytes, b: bytes) -> bool:
    """Whether two bound addresses may be meant by one destination."""
    if not a or not b or a == b:
        return True
    if len(a) != len(b):
        return False
    return a in (ANY4, ANY6) or b in (ANY4, ANY6)


class PortProbe:
    """Whether a port is taken, as `PortAllocator.allocate` asks."""

    __slots__ = ("local", "ports")

    def __init__(self, ports: BoundPorts, local: bytes) -> None:
        self.ports = ports
        self.local = local

    def in_use(self, port: int) -> bool:
        """Something is bound to the port at an address that overlaps."""
        return self.ports.conflict(self.local, port)


class BoundPorts:
    """Which addresses are bound at each port, however many times."""

    __slots__ = ("bound",)

    def __init__(self) -> None:
        self.bound: dict[int, dict[bytes, int]] = {}

    def conflict(self, local: bytes, port: int) -> bool:
        """Whether an address that overlaps is bound at the port.

        As on Linux, the wildcard and a specific address exclude each other too: a server must not be robbed of part of
        its connections by a second one.
        """
        addresses = self.bound.get(port)
        if addresses is None:
            return False
        if local in addresses or b"" in addresses:
            return True
        if not local:
            return True
        if len(local) == 4:
            if ANY4 in addresses:
                return True
            wild = local == ANY4
        else:
            if ANY6 in addresses:
                return True
            wild = local == ANY6
        if wild:
            # Only a wildcard has to look through the specific addresses.
            for address in addresses:
                if len(address) == len(local):
                    return True
        return False

    def add(self, local: bytes, port: int) -> None:
        """Bind once more."""
        addresses = self.bound.get(port)
        if addresses is None:
            addresses = {}
            self.bound[port] = addresses
        addresses[local] = addresses.get(local, 0) + 1

    def remove(self, local: bytes, port: int) -> None:
        """Undo one `add`."""
        addresses = self.bound.get(port)
        if addresses is None:
            return
        count = addresses.get(local, 0)
        if count > 1:
            addresses[local] = count - 1
            return
        addresses.pop(local, 0)
        if not addresses:
            del self.bound[port]


class UdpPorts:
    """UDP endpoints by local address and port, and by four-tuple where they are connected."""

    __slots__ = ("allocator", "bound", "connected", "endpoints")

    def __init__(self, allocator: PortAllocator) -> None:
        self.allocator = allocator
        self.bound: BoundPorts = BoundPorts()
        self.endpoints: dict[tuple[bytes, int], list[UdpEndpoint]] = {}
        self.connected: dict[tuple[bytes, int, bytes, int], list[UdpEndpoint]] = {}

    def allocate(self, local: bytes, remote: bytes, remote_port: int) -> int:
        """A free ephemeral port. Raises OSError with EADDRINUSE where there is none."""
        probe = PortProbe(self.bound, local)
        try:
            return self.allocator.allocate(local, remote, remote_port, probe.in_use)
        except OSError:
            raise os_error(errno.EADDRINUSE) from None

    def bind(self, endpoint: UdpEndpoint) -> None:
        """Enter the endpoint under its local address and port.

        Raises OSError with EADDRINUSE where the port is taken, unless everyone there allows `reuse`.
        """
        if self.bound.conflict(endpoint.local_addr, endpoint.local_port) and not self.all_reuse(endpoint):
            raise os_error(errno.EADDRINUSE)
        self.enter(endpoint)

    def enter(self, endpoint: UdpEndpoint) -> None:
        """`bind` without asking: the endpoint has the port already and changes its address."""
        local = endpoint.local_addr
        port = endpoint.local_port
        self.bound.add(local, port)
        self.endpoints.setdefault((local, port), []).append(endpoint)

    def all_reuse(self, endpoint: UdpEndpoint) -> bool:
        """Whether the endpoint and all those it overlaps with allow to share the port (SO_REUSEADDR)."""
        if not endpoint.reuse:
            return False
        addresses = self.bound.bound.get(endpoint.local_port)
        if addresses is None:
            return True
        for address in addresses:
            if overlap(address, endpoint.local_addr):
                for other in self.endpoints.get((address, endpoint.local_port), []):
                    if not other.reuse:
                        return False
        return True

    def connect(self, endpoint: UdpEndpoint, local: bytes) -> None:
        """Enter a connected endpoint, whose local address towards its peer is `local`, under its four-tuple."""
        key = (local, endpoint.local_port, endpoint.remote_addr, endpoint.remote_port)
        self.connected.setdefault(key, []).append(endpoint)

    def disconnect(self, endpoint: UdpEndpoint, local: bytes) -> None:
        """Undo `connect`."""
        key = (local, endpoint.local_port, endpoint.remote_addr, endpoint.remote_port)
        there = self.connected.get(key)
        if there is not None and endpoint in there:
            there.remove(endpoint)
            if not there:
                del self.connected[key]

    def unbind(self, endpoint: UdpEndpoint) -> None:
        """Undo `bind`."""
        key = (endpoint.local_addr, endpoint.local_port)
        there = self.endpoints.get(key)
        if there is None or endpoint not in there:
            return
        there.remove(endpoint)
        if not there:
            del self.endpoints[key]
        self.bound.remove(endpoint.local_addr, endpoint.local_port)

    def find(self, local: bytes, port: int, remote: bytes, remote_port: int) -> UdpEndpoint | None:
        """Whom a datagram to a unicast address is for: the most specific; of several that share, the latest."""
        connected = self.connected.get((local, port, remote, remote_port))
        if connected is not None:
            return connected[-1]
        found = latest_unconnected(self.endpoints.get((local, port)))
        if found is None:
            found = latest_unconnected(self.endpoints.get((ANY4 if len(local) == 4 else ANY6, port)))
            if found is None:
                found = latest_unconnected(self.endpoints.get((b"", port)))
        return found

    def find_all(self, local: bytes, port: int, remote: bytes, remote_port: int) -> list[UdpEndpoint]:
        """All whom a datagram to a group or broadcast address may be for (RFC 1122 section 4.1.3.5: each gets one)."""
        found: list[UdpEndpoint] = []
        addresses = self.bound.bound.get(port)
        if addresses is None:
            return found
        for address in addresses:
            # An endpoint that is bound to one unicast address does not hear what is sent to all.
            if address and address != local and address not in (ANY4, ANY6):
                continue
            if address and len(address) != len(local):
                continue
            for endpoint in self.endpoints.get((address, port), []):
                if endpoint.remote_addr and (endpoint.remote_addr != remote or endpoint.remote_port != remote_port):
                    continue
                found.append(endpoint)
        return found


def latest_unconnected(endpoints: list[UdpEndpoint] | None) -> UdpEndpoint | None:
    """The endpoint that was bound last among those that hear anyone."""
    if endpoints is None:
        return None
    for i in range(len(endpoints) - 1, -1, -1):
        if not endpoints[i].remote_addr:
            return endpoints[i]
    return None
