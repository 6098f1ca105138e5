"""Ephemeral ports by RFC 6056 algorithm 4."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest

from plankroad.tcp.ports import PortAllocator

SECRET = bytes(range(100, 116))
HOST = b"\x0a\x00\x00\x01"
PEER = b"\x0a\x00\x00\x02"


def free(port: int) -> bool:
    return False


def within(taken: set[int]) -> Callable[[int], bool]:
    return lambda port: port in taken


@pytest.mark.requirement("ephemeral-ports")
def test_successive_ports_towards_one_destination_increase_and_repeat_only_after_the_whole_range() -> None:
    # RFC 6056 section 3.3.4.
    ports = PortAllocator(SECRET)
    got = [ports.allocate(HOST, PEER, 80, free) for _ in range(2 * 28232)]
    assert set(got) == set(range(32768, 61000))
    assert got[:28232] == got[28232:]
    start = got[0]
    assert got[:1000] == [32768 + (start - 32768 + i) % 28232 for i in range(1000)]


def test_sequences_of_other_destinations_begin_elsewhere_and_go_on_by_themselves() -> None:
    ports = PortAllocator(SECRET)
    peers = [bytes([10, 1, i, j]) for i in range(10) for j in range(20)]
    first = {peer: ports.allocate(HOST, peer, 80, free) for peer in peers}
    assert len(set(first.values())) > 190
    # Connections to one destination advance few of the others (those that share its slot of the table).
    for _ in range(1000):
        ports.allocate(HOST, PEER, 80, free)
    moved = [p for p in peers if (ports.allocate(HOST, p, 80, free) - first[p]) % 28232 > 10]
    assert len(moved) < 10


@pytest.mark.requirement("ephemeral-ports")
def test_the_sequence_depends_on_the_secret_the_addresses_and_the_remote_port() -> None:
    def first(secret: bytes, local: bytes, remote: bytes, port: int) -> int:
        return PortAllocator(secret).allocate(local, remote, port, free)

    values = {
        first(SECRET, HOST, PEER, 80),
        first(SECRET[::-1], HOST, PEER, 80),
        first(SECRET, PEER, HOST, 80),
        first(SECRET, HOST, PEER, 81),
        first(SECRET, HOST + bytes(12), PEER + bytes(12), 80),
    }
    assert len(values) == 5


def test_ports_in_use_are_passed_over() -> None:
    ports = PortAllocator(SECRET, 50000, 50009)
    taken: set[int] = set()
    for _ in range(10):
        port = ports.allocate(HOST, PEER, 80, within(taken))
        assert port not in taken
        taken.add(port)
    assert taken == set(range(50000, 50010))


def test_a_range_used_up_is_an_error_for_that_destination_alone() -> None:
    ports = PortAllocator(SECRET, 50000, 50009)
    with pytest.raises(OSError, match="every local port from 50000 to 50009 is in use") as caught:
        ports.allocate(HOST, PEER, 80, within(set(range(65536))))
    assert caught.value.errno == errno.EADDRNOTAVAIL
    assert 50000 <= ports.allocate(HOST, PEER, 81, free) <= 50009
    # One port free again: it is found wherever it is.
    assert ports.allocate(HOST, PEER, 80, within(set(range(65536)) - {50003})) == 50003


def test_a_call_asks_once_or_twice_with_100000_connections_in_use() -> None:
    ports = PortAllocator(SECRET)
    in_use: set[tuple[bytes, int]] = set()
    asked = 0

    def taken(peer: bytes) -> Callable[[int], bool]:
        def check(port: int) -> bool:
            nonlocal asked
            asked += 1
            return (peer, port) in in_use

        return check

    # Four destinations with 25,000 each: nearly 90 % of what their range holds.
    for n in range(100_000):
        peer = bytes([10, 0, 0, n % 4])
        in_use.add((peer, ports.allocate(HOST, peer, 80, taken(peer))))
    assert len(in_use) == 100_000
    assert asked <= 110_000


@pytest.mark.parametrize(("first", "last"), [(0, 10), (10, 9), (60000, 65536)])
def test_a_bad_range_is_refused(first: int, last: int) -> None:
    with pytest.raises(ValueError, match="no range of ports"):
        PortAllocator(SECRET, first, last)


def test_a_short_secret_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 16 bytes"):
        PortAllocator(b"short")
