"""From host names to addresses: what `create_connection` and its like look names up with."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable, Mapping

from plankroad.aio.names import any_address
from plankroad.wire.address import IPV6_LOOPBACK, bytes_to_ip, ip_to_bytes

_LOCALHOST = ("::1", "127.0.0.1")


class Resolver:
    """Base of resolvers. A resolver of your own needs `resolve` only; it is not asked about numeric addresses."""

    async def resolve(self, host: str) -> list[str]:
        """Addresses of `host`, IPv4 and IPv6, the preferred one first.

        Raises `socket.gaierror` (EAI_NONAME) for a name that does not exist.
        """
        raise NotImplementedError


class HostsResolver(Resolver):
    """A table, as /etc/hosts is; names compare without case. The table may be changed while it is in use.

    `fallback` is asked about names that are not in the table.
    """

    def __init__(
        self, hosts: Mapping[str, str | Iterable[str]] | None = None, fallback: Resolver | None = None
    ) -> None:
        self._table: dict[str, list[str]] = {}
        self._fallback = fallback
        for name, addresses in (hosts or {}).items():
            self.add(name, addresses)

    def add(self, name: str, addresses: str | Iterable[str]) -> None:
        """Give a name its addresses. Raises ValueError for what is no numeric address."""
        listed = [addresses] if isinstance(addresses, str) else list(addresses)
        for address in listed:
            ip_to_bytes(address)
        self._table[_canonical(name)] = listed

    def remove(self, name: str) -> None:
        """Forget a name."""
        self._table.pop(_canonical(name), None)

    async def resolve(self, host: str) -> list[str]:
        found = self._table.get(_canonical(host))
        if found is not None:
            return list(found)
        # RFC 6761 section 6.3: localhost and its sub-domains are the loopback addresses.
        if _canonical(host) == "localhost" or _canonical(host).endswith(".localhost"):
            return list(_LOCALHOST)
        if self._fallback is not None:
            return await self._fallback.resolve(host)
        raise socket.gaierror(
            socket.EAI_NONAME, f"Name or service not known: {host!r} (no such name in the hosts table)"
        )


class SystemResolver(Resolver):
    """The operating system's resolver: names are looked up through the kernel's network, not through the stack."""

    async def resolve(self, host: str) -> list[str]:
        infos = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
        return list(dict.fromkeys(str(info[4][0]) for info in infos))


async def lookup(resolver: Resolver, host: object, family: int, *, passive: bool) -> list[bytes]:
    """Addresses for `host` as `getaddrinfo` gives them, of `family` (AF_UNSPEC for both), as 4 or 16 bytes.

    None and "" stand for every local address (`passive`) or for the loopback addresses. Raises `socket.gaierror`
    where there is no address, and ValueError for a family that is neither AF_INET, AF_INET6 nor AF_UNSPEC.
    """
    if family not in (socket.AF_UNSPEC, socket.AF_INET, socket.AF_INET6):
        raise ValueError(f"family must be AF_INET, AF_INET6 or AF_UNSPEC, not {family!r}")
    if host is None or host == "":
        if passive:
            found = [any_address(socket.AF_INET), any_address(socket.AF_INET6)]
        else:
            found = [IPV6_LOOPBACK, b"\x7f\0\0\x01"]
    else:
        text = host.decode("ascii") if isinstance(host, bytes) else str(host)
        try:
            found = [ip_to_bytes(text.partition("%")[0])]
        except ValueError:
            found = [ip_to_bytes(address) for address in await resolver.resolve(text)]
    length = {socket.AF_INET: 4, socket.AF_INET6: 16}.get(socket.AddressFamily(family), 0)
    chosen = [address for address in found if not length or len(address) == length]
    if not chosen:
        shown = ", ".join(bytes_to_ip(address) for address in found) or "no address"
        raise socket.gaierror(socket.EAI_ADDRFAMILY, f"no address of this family for {host!r}: it has {shown}")
    return chosen


def port_number(port: object) -> int:
    """A port from an int, digits or a service's name; None is 0.

    Raises `socket.gaierror` for an unknown service and OverflowError for a number that is no port, as sockets do.
    """
    if port is None or port == "":
        return 0
    if isinstance(port, bytes):
        port = port.decode("ascii")
    if isinstance(port, str):
        if port.isascii() and port.isdigit():
            port = int(port)
        else:
            try:
                port = socket.getservbyname(port)
            except OSError:
                raise socket.gaierror(socket.EAI_SERVICE, f"Servname not supported: {port!r}") from None
    if not isinstance(port, int):
        raise TypeError(f"a port is an int or a str, not {type(port).__name__!r}")
    if not 0 <= port <= 65535:
        raise OverflowError(f"port must be 0-65535, not {port}")
    return port


def _canonical(name: str) -> str:
    return name.rstrip(".").lower()
