"""Socket names between a program of one address family and the stack: mapped addresses, wildcards."""

from __future__ import annotations

import errno

from plankroad.aio.sockopt import os_error
from plankroad.stack.ports import ANY4, ANY6
from plankroad.testing.abi import AF_INET, AF_INET6
from plankroad.testing.call import SockName
from plankroad.wire.address import IPV4_MAPPED_PREFIX


def to_wire(family: int, name: SockName, v6only: bool = False) -> tuple[bytes, int]:
    """The address (4 or 16 bytes) and port that the stack means by `name`, for a socket of `family`.

    An IPv4-mapped IPv6 address is the IPv4 address (RFC 4291 section 2.5.5.2, RFC 3493 section 3.7). Raises OSError:
    EAFNOSUPPORT for another family's name, EINVAL for one of a wrong length, ENETUNREACH for a mapped address on a
    socket that speaks IPv6 only.
    """
    if name.family != family:
        raise os_error(errno.EAFNOSUPPORT)
    address = name.address
    if len(address) != (4 if family == AF_INET else 16):
        raise os_error(errno.EINVAL)
    if len(address) == 16 and address[:12] == IPV4_MAPPED_PREFIX:
        if v6only:
            raise os_error(errno.ENETUNREACH)
        address = address[12:]
    return address, name.port


def from_wire(family: int, address: bytes, port: int) -> SockName:
    """What getsockname and the like give to a socket of `family`; b"" is the unspecified address."""
    if family == AF_INET:
        return SockName(AF_INET, address if len(address) == 4 else ANY4, port)
    if len(address) == 4:
        address = ANY6 if address == ANY4 else IPV4_MAPPED_PREFIX + address
    return SockName(AF_INET6, address or ANY6, port)


def wildcard(family: int, v6only: bool, address: bytes) -> bytes:
    """The stack's wildcard for a socket of `family` bound to the unspecified `address`: b"" is both families."""
    if family == AF_INET or len(address) == 4:
        return ANY4
    return ANY6 if v6only else b""
