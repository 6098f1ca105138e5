"""Waiting for the kernel's news of an address (the requests themselves are tested against the kernel)."""

from __future__ import annotations

import socket
import struct

import pytest
from tests.link.packets import DST6, SRC6

from plankroad.link import netlink


def route_news(address: bytes, kind: int = 24, prefix_length: int = 128, route_type: int = 2) -> bytes:
    """An RTM_NEWROUTE (rtnetlink(7)) of a local route."""
    body = struct.pack("=BBBBBBBBI", socket.AF_INET6, prefix_length, 0, 0, 255, 2, 0, route_type, 0)
    body += struct.pack("=HH", 4 + len(address), 1) + address
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 0, 0) + body


def test_only_the_local_route_of_the_address_ends_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(netlink, "_LIMIT", 0.05)
    kernel, news = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with kernel, news:
        for other in (
            route_news(DST6),
            route_news(SRC6, kind=25),
            route_news(SRC6, prefix_length=64),
            route_news(SRC6, route_type=1),
        ):
            kernel.send(other)
        with pytest.raises(TimeoutError, match="fd00::1 to use"):
            netlink._wait_for_local_route(news, SRC6)
        kernel.send(route_news(SRC6))
        netlink._wait_for_local_route(news, SRC6)
