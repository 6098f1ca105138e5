"""The `socket` of a datagram transport: names, options, groups; no I/O."""

from __future__ import annotations

import errno
import os
import socket
import struct
from typing import TYPE_CHECKING, Any, Final

from plankroad.aio.names import family_of, socket_name
from plankroad.aio.socketview import SocketView
from plankroad.aio.sockopt import (
    IPPROTO_IP,
    IPPROTO_IPV6,
    SO_REUSEADDR,
    SO_REUSEPORT,
    SOL_SOCKET,
    constant,
)

if TYPE_CHECKING:
    from plankroad.aio.driver import Driver
    from plankroad.udp.endpoint import UdpEndpoint

IP_ADD_MEMBERSHIP: Final = constant("IP_ADD_MEMBERSHIP", 35)
IP_DROP_MEMBERSHIP: Final = constant("IP_DROP_MEMBERSHIP", 36)
IPV6_JOIN_GROUP: Final = constant("IPV6_JOIN_GROUP", 20)
IPV6_LEAVE_GROUP: Final = constant("IPV6_LEAVE_GROUP", 21)

#: (level, option) -> (attribute of UdpEndpoint, smallest, largest)
_FIELDS: Final[dict[tuple[int, int], tuple[str, int, int]]] = {
    (SOL_SOCKET, constant("SO_BROADCAST", 6)): ("broadcast", 0, 1),
    (SOL_SOCKET, constant("SO_SNDBUF", 7)): ("snd_buf", 1, 1 << 30),
    (SOL_SOCKET, constant("SO_RCVBUF", 8)): ("rcv_buf", 1, 1 << 30),
    (IPPROTO_IP, constant("IP_TTL", 2)): ("ttl", -1, 255),
    (IPPROTO_IP, constant("IP_TOS", 1)): ("tos", 0, 255),
    (IPPROTO_IP, constant("IP_MTU_DISCOVER", 10)): ("pmtu", 0, 3),
    (IPPROTO_IP, constant("IP_MULTICAST_TTL", 33)): ("multicast_ttl", 0, 255),
    (IPPROTO_IP, constant("IP_MULTICAST_LOOP", 34)): ("multicast_loop", 0, 1),
    (IPPROTO_IPV6, constant("IPV6_UNICAST_HOPS", 16)): ("ttl", -1, 255),
    (IPPROTO_IPV6, constant("IPV6_TCLASS", 67)): ("tos", 0, 255),
    (IPPROTO_IPV6, constant("IPV6_MTU_DISCOVER", 23)): ("pmtu", 0, 3),
    (IPPROTO_IPV6, constant("IPV6_MULTICAST_IF", 17)): ("multicast_interface", -1, 1 << 30),
    (IPPROTO_IPV6, constant("IPV6_MULTICAST_HOPS", 18)): ("multicast_ttl", 0, 255),
    (IPPROTO_IPV6, constant("IPV6_MULTICAST_LOOP", 19)): ("multicast_loop", 0, 1),
}

_FLAGS: Final = ("broadcast", "multicast_loop")


class DatagramSocket(SocketView):
    """The socket of a `DatagramTransport`."""

    __slots__ = ("_driver", "_udp")

    type = socket.SOCK_DGRAM
    proto = constant("IPPROTO_UDP", 17)

    def __init__(self, endpoint: UdpEndpoint, driver: Driver) -> None:
        super().__init__(endpoint)
        self._udp = endpoint
        self._driver = driver

    @property
    def family(self) -> socket.AddressFamily:
        return family_of(self._udp.local_addr or self._udp.remote_addr)

    def getsockname(self) -> tuple[Any, ...]:
        return socket_name(self._udp.local_addr, self._udp.local_port)

    def getpeername(self) -> tuple[Any, ...]:
        if not self._udp.remote_addr:
            raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))
        return socket_name(self._udp.remote_addr, self._udp.remote_port)

    def _get(self, level: int, optname: int) -> int | bytes:
        if level == SOL_SOCKET and optname in (SO_REUSEADDR, SO_REUSEPORT):
            return int(self._udp.reuse)
        found = _FIELDS.get((level, optname))
        if found is None:
            return super()._get(level, optname)
        return int(getattr(self._udp, found[0]))

    def _set(self, level: int, optname: int, value: Any) -> None:
        if (level, optname) in ((IPPROTO_IP, IP_ADD_MEMBERSHIP), (IPPROTO_IP, IP_DROP_MEMBERSHIP)):
            self._member_v4(bytes(value), optname == IP_ADD_MEMBERSHIP)
            return
        if (level, optname) in ((IPPROTO_IPV6, IPV6_JOIN_GROUP), (IPPROTO_IPV6, IPV6_LEAVE_GROUP)):
            self._member_v6(bytes(value), optname == IPV6_JOIN_GROUP)
            return
        if level == SOL_SOCKET and optname in (SO_REUSEADDR, SO_REUSEPORT):
            return  # decided when the port was bound
        found = _FIELDS.get((level, optname))
        if found is None:
            super()._set(level, optname, value)
            return
        name, low, high = found
        number = value if isinstance(value, int) else int.from_bytes(bytes(value)[:4], "little")
        if not low <= number <= high:
            raise OSError(errno.EINVAL, f"{name} must be from {low} to {high}, not {number}")
        setattr(self._udp, name, bool(number) if name in _FLAGS else number)

    def _member_v4(self, request: bytes, join: bool) -> None:
        """`struct ip_mreq` (group, local address) or `ip_mreqn` (the same and an interface index)."""
        if len(request) < 8:
            raise OSError(
                errno.EINVAL, "IP_ADD_MEMBERSHIP takes 8 or 12 bytes: group, local address, interface index"
            )
        index = struct.unpack_from("i", request, 8)[0] if len(request) >= 12 else 0
        interface = index if index > 0 else self._interface_of(request[4:8])
        self._member(request[:4], interface, join)

    def _member_v6(self, request: bytes, join: bool) -> None:
        """`struct ipv6_mreq`: group and interface index."""
        if len(request) < 20:
            raise OSError(errno.EINVAL, "IPV6_JOIN_GROUP takes 20 bytes: group and interface index")
        index = struct.unpack_from("i", request, 16)[0]
        self._member(request[:16], index if index > 0 else -1, join)

    def _member(self, group: bytes, interface: int, join: bool) -> None:
        now = self._driver.scheduler.now()
        if join:
            self._udp.join(now, group, interface)
        else:
            self._udp.leave(now, group, interface)
        self._driver.push()

    def _interface_of(self, address: bytes) -> int:
        """Index of the interface with this address; -1, by route, for 0.0.0.0."""
        if not any(address):
            return -1
        for interface in self._driver.stack.interfaces:
            if interface.owns(address):
                return interface.index
        raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
