"""What `plankroad ping` and `plankroad trace` print."""

from __future__ import annotations

import asyncio
import re
from typing import cast

import pytest

from plankroad.aio.errors import os_error
from plankroad.aio.ping import Hop, PingResult
from plankroad.aio.stack import AsyncStack
from plankroad.cli.errors import Failure
from plankroad.cli.ping import Statistics, line_of, line_of_hop
from plankroad.cli.serve import curl_line
from plankroad.cli.tun import DEFAULT_ADDRESSES, address_of, place

pytestmark = pytest.mark.either


def result(seq: int, round_trip: float | None = None, errno: int = 0, address: str = "10.0.0.1") -> PingResult:
    made = PingResult(seq)
    made.round_trip = round_trip
    made.address = address
    made.ttl = 64
    made.size = 56
    if errno:
        made.error = os_error(errno)
    return made


def test_a_line_for_each_outcome() -> None:
    assert line_of(result(1, 0.0012345)) == "64 bytes from 10.0.0.1: seq=1 ttl=64 time=1.234 ms"
    assert line_of(result(2)) == "no answer to seq=2"
    assert line_of(result(3, 0.01, 113)) == "From 10.0.0.1: seq=3 No route to host"
    assert line_of(result(4, None, 90, "")) == "ping: seq=4 Message too long"


def test_statistics_as_ping_has_them() -> None:
    statistics = Statistics()
    for one in (result(1, 0.001), result(2, 0.003), result(3), result(4, 0.5, 113)):
        statistics.add(one)
    lines = statistics.lines("host", 3.2)
    assert lines[1] == "4 packets transmitted, 2 received, +1 errors, 50% packet loss, time 3200ms"
    # The same shape as iputils', for programs that read it.
    numbers = re.fullmatch(r"rtt min/avg/max/mdev = ([\d.]+)/([\d.]+)/([\d.]+)/([\d.]+) ms", lines[2])
    assert numbers is not None
    assert [float(one) for one in numbers.groups()] == [1.0, 2.0, 3.0, 1.0]


def test_statistics_of_nothing() -> None:
    assert Statistics().lines("host", 0) == [
        "--- host ping statistics ---",
        "0 packets transmitted, 0 received, 0% packet loss, time 0ms",
    ]


def test_a_line_for_each_hop() -> None:
    assert line_of_hop(Hop(1, [result(1, 0.001), result(2, 0.002)])) == "  1  10.0.0.1  1.000 ms  2.000 ms"
    silent = [result(1, address=""), result(2, address="")]
    assert line_of_hop(Hop(12, silent)) == " 12  *  *"
    assert line_of_hop(Hop(3, [result(1, 0.001), result(2, 0.001, address="10.0.0.9")])).startswith(
        "  3  10.0.0.1 10.0.0.9"
    )


def test_the_curl_line_can_be_typed() -> None:
    assert curl_line("10.9.0.2", 80, "tun0") == "curl http://10.9.0.2/"
    assert curl_line("10.9.0.2", 8080, "tun0") == "curl http://10.9.0.2:8080/"
    # A shell would take the brackets.
    assert curl_line("fd09::2", 80, "tun0") == "curl 'http://[fd09::2]/'"
    assert curl_line("fd09::2", 8080, "tun0") == "curl 'http://[fd09::2]:8080/'"
    # RFC 6874: a link-local address needs its link.
    assert curl_line("fe80::2", 80, "tun0") == "curl 'http://[fe80::2%25tun0]/'"


def test_where_plankroad_and_the_kernel_are() -> None:
    here = place("", (), None)
    assert here.addresses == DEFAULT_ADDRESSES
    assert here.own_addresses() == ["10.97.0.2", "fd00:97::2"]
    assert here.kernel_addresses() == ["10.97.0.1", "fd00:97::1"]
    assert place("t", ("10.0.0.1/24",), None).kernel_addresses() == ["10.0.0.2"]
    assert place("t", ("10.0.0.1/32",), None).kernel_addresses() == []
    # RFC 8200 section 5: no IPv6 below 1280 bytes.
    assert place("", (), 1279).own_addresses() == ["10.97.0.2"]
    assert place("", (), 1280).own_addresses() == ["10.97.0.2", "fd00:97::2"]


def test_a_host_without_a_name_is_told() -> None:
    with pytest.raises(Failure, match="no host was named"):
        asyncio.run(address_of(cast(AsyncStack, None), place("", (), None), ""))
