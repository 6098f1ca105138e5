"""Addresses as programs see them: the tuples of the socket module."""

from __future__ import annotations

import socket
from typing import Any

from plankroad.wire.address import IPV4_ANY, IPV6_ANY, bytes_to_ip


def socket_name(address: bytes, port: int) -> tuple[Any, ...]:
    """`(host, port)` for IPv4, `(host, port, flow information, scope)` for IPv6, as `getsockname` gives them.

    No address at all (`b""`) is IPv6's unspecified one.
    """
    if len(address) == 4:
        return (bytes_to_ip(address), port)
    return (bytes_to_ip(address or IPV6_ANY), port, 0, 0)


def family_of(address: bytes) -> socket.AddressFamily:
    """AF_INET or AF_INET6."""
    return socket.AF_INET if len(address) == 4 else socket.AF_INET6


def any_address(family: int) -> bytes:
    """0.0.0.0 or ::."""
    return IPV4_ANY if family == socket.AF_INET else IPV6_ANY
