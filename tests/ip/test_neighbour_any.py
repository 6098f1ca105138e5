"""Whatever comes in whatever order: the neighbour cache raises nothing, stays bounded, and its invariants hold."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from plankroad.ip.neighbour_entry import (
    DELAY,
    FAILED,
    INCOMPLETE,
    PROBE,
    NeighbourConfig,
)
from plankroad.ip.routes import Route
from plankroad.units import SECOND
from plankroad.wire.address import ip_to_bytes as ip
from plankroad.wire.packet import Packet

if TYPE_CHECKING:
    from .conftest import Bench

relaxed = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)


@relaxed
@given(st.binary(max_size=120), st.integers(0, 40))
def test_any_bytes_are_survived(make_bench: Callable[..., Bench], data: bytes, start: int) -> None:
    bench = make_bench()
    bench.cache.start_router_discovery(bench.now)
    bench.cache.handle_arp(bench.now, data, start)
    bench.cache.handle_arp(bench.now, b"\0\1\x08\0\6\4" + data, 0)
    for kind in range(133, 138):
        message = bytes([kind, 0, 0, 0]) + data
        for src in (ip("fe80::2"), bytes(16), ip("fd00::2")):
            bench.cache.handle_ndp(bench.now, message, 0, len(message), src, ip("fe80::1"), 255)
    bench.run(bench.now + 10 * SECOND)
    assert len(bench.cache.entries) <= 10


def check(bench: Bench) -> None:
    cache = bench.cache
    running = {item[3] for item in cache.heap if item[2] == 0 and cache.timer_runs(item[1], item[2], item[3])}
    for key, entry in cache.entries.items():
        assert entry.ip == key
        assert (entry.state in (INCOMPLETE, DELAY, PROBE, FAILED)) == (key in running), entry.state
        assert (entry.state == INCOMPLETE) == (key in cache.incomplete)
        assert (len(entry.mac) == 6) == (entry.state not in (INCOMPLETE, FAILED))
        assert not entry.packets or entry.state == INCOMPLETE
        assert entry.packets_size == sum(len(p) for p in entry.packets)
        assert len(entry.packets) <= cache.config.queue_packets
        assert entry.gateway_dead or entry.state != FAILED
    assert len(cache.order) <= cache.config.cache_limit
    assert len(cache.incomplete) <= cache.config.incomplete_limit
    assert set(cache.order) == set(cache.entries)
    dead = {e.ip for e in cache.entries.values() if e.gateway_dead}
    for route in bench.routes.routes():
        assert route.reachable == (route.gateway not in dead)


def drive(bench: Bench, seed: int) -> list[bytes]:
    """A random history; the frames that were sent."""
    rng = random.Random(seed)
    for i in (2, 3):
        bench.routes.add(Route(bytes(4), 0, bytes([10, 0, 0, i]), bench.interface, i))
        bench.routes.add(Route(bytes(16), 0, ip(f"fe80::{i}"), bench.interface, i))
    frames: list[bytes] = []
    handed = 0
    for _ in range(150):
        i = rng.randrange(2, 12)
        peer = bytes([10, 0, 0, i]) if rng.random() < 0.5 else ip(f"fe80::{i:x}")
        mac = bytes([2, 0, 0, 0, rng.randrange(2), i])
        what = rng.randrange(8)
        if what <= 2:
            if bench.cache.resolve(bench.now, peer) == b"":
                head = (bytes([0x45]) if len(peer) == 4 else bytes([0x60])) + bytes(rng.randrange(39, 300))
                bench.cache.queue(bench.now, peer, Packet(head, b"", 3))
                handed += 1
        elif what == 3:
            if len(peer) == 4:
                bench.arp(rng.choice([1, 2]), mac, peer, b"\x02\0\0\0\0\x01", rng.choice([ip("10.0.0.1"), peer]))
            else:
                bench.advertise(peer, mac, solicited=rng.random() < 0.5, override=rng.random() < 0.5)
        elif what == 4 and len(peer) == 16:
            bench.solicit(ip("fe80::1"), peer, mac)
        elif what == 5:
            bench.cache.confirm(bench.now, peer)
        elif what == 6:
            bench.run(bench.now + rng.choice([SECOND // 2, SECOND, 6 * SECOND, 50 * SECOND]))
        elif rng.random() < 0.1:
            bench.cache.remove(peer)
        frames += bench.frames()
        check(bench)
    bench.run(bench.now + 3600 * SECOND)
    check(bench)
    assert bench.idle()
    assert bench.cache.resolve(bench.now, ip("10.0.0.99")) == b""
    return frames + bench.frames()


@relaxed
@given(st.integers(0, 2**32))
def test_invariants_hold_through_any_history(make_bench: Callable[..., Bench], seed: int) -> None:
    config = NeighbourConfig()
    config.cache_limit = 6
    config.incomplete_limit = 3
    config.queue_packets = 2
    drive(make_bench(config), seed)


def test_the_same_seed_gives_the_same_frames(make_bench: Callable[..., Bench]) -> None:
    for seed in range(5):
        first = drive(make_bench(), seed)
        assert len(first) > 20
        assert drive(make_bench(), seed) == first
