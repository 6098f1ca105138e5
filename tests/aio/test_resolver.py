"""Names to addresses."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from plankroad.aio.connect import interleave_families
from plankroad.aio.resolver import HostsResolver, Resolver, SystemResolver, lookup, port_number

A4, B4 = b"\x0a\0\0\1", b"\x0a\0\0\2"
A6, B6 = bytes(15) + b"\7", bytes(15) + b"\x08"


def find(resolver: Resolver, host: Any, family: int = socket.AF_UNSPEC, *, passive: bool = False) -> list[bytes]:
    return asyncio.run(lookup(resolver, host, family, passive=passive))


class Refuses(Resolver):
    """Must not be asked."""

    async def resolve(self, host: str) -> list[str]:
        raise AssertionError(host)


def test_numeric_addresses_are_not_looked_up() -> None:
    assert find(Refuses(), "10.0.0.1") == [A4]
    assert find(Refuses(), b"10.0.0.1") == [A4]
    assert find(Refuses(), "::7") == [A6]
    assert find(Refuses(), "fe80::1%eth0")[0][:2] == b"\xfe\x80"


def test_no_host_is_every_local_address_or_loopback() -> None:
    for host in (None, ""):
        assert find(Refuses(), host, passive=True) == [bytes(4), bytes(16)]
        assert find(Refuses(), host) == [bytes(15) + b"\1", b"\x7f\0\0\1"]
    assert find(Refuses(), None, socket.AF_INET, passive=True) == [bytes(4)]


def test_the_hosts_table() -> None:
    resolver = HostsResolver({"Server.Test": ["10.0.0.1", "::7"], "other": "10.0.0.2"})
    assert find(resolver, "server.test") == [A4, A6]
    assert find(resolver, "SERVER.TEST.") == [A4, A6]
    assert find(resolver, "server.test", socket.AF_INET6) == [A6]
    assert find(resolver, "other") == [B4]
    resolver.add("late", "::8")
    assert find(resolver, "late") == [B6]
    resolver.remove("late")
    with pytest.raises(socket.gaierror) as caught:
        find(resolver, "late")
    assert caught.value.errno == socket.EAI_NONAME
    assert "late" in str(caught.value)
    with pytest.raises(ValueError, match="not an address"):
        resolver.add("bad", "not an address")


def test_localhost_needs_no_entry() -> None:
    for name in ("localhost", "LOCALHOST.", "app.localhost"):
        assert find(HostsResolver(), name) == [bytes(15) + b"\1", b"\x7f\0\0\1"]


def test_the_fallback_is_asked_last() -> None:
    resolver = HostsResolver({"a": "10.0.0.1"}, fallback=HostsResolver({"a": "10.0.0.9", "b": "10.0.0.2"}))
    assert find(resolver, "a") == [A4]
    assert find(resolver, "b") == [B4]


def test_the_systems_resolver() -> None:
    assert find(SystemResolver(), "localhost", socket.AF_INET) == [b"\x7f\0\0\1"]


def test_a_family_without_address_is_an_error() -> None:
    with pytest.raises(socket.gaierror, match="no address of this family"):
        find(Refuses(), "10.0.0.1", socket.AF_INET6)
    with pytest.raises(ValueError, match="family"):
        find(Refuses(), "10.0.0.1", socket.AF_UNIX)


def test_ports() -> None:
    assert [port_number(port) for port in (None, "", 0, 80, "80", b"80", "http", 65535)] == [
        0,
        0,
        0,
        80,
        80,
        80,
        80,
        65535,
    ]
    with pytest.raises(OverflowError):
        port_number(65536)
    with pytest.raises(OverflowError):
        port_number(-1)
    with pytest.raises(socket.gaierror):
        port_number("no such service")
    with pytest.raises(TypeError):
        port_number(1.5)


def test_families_alternate() -> None:
    # RFC 8305 section 4
    assert interleave_families([A6, B6, A4, B4], 1) == [A6, A4, B6, B4]
    assert interleave_families([A6, B6, A4, B4], 2) == [A6, B6, A4, B4]
    assert interleave_families([A4, B4], 1) == [A4, B4]
    assert interleave_families([A6, A4, B4], 1) == [A6, A4, B4]
    assert interleave_families([], 1) == []
