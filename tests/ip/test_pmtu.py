"""Path MTU: RFC 1191, RFC 1981 and RFC 8201."""

from __future__ import annotations

import pytest

from plankroad.ip.pmtu import PathMtuCache, plateau_below
from plankroad.units import NEVER, SECOND
from plankroad.wire.address import ip_to_bytes as ip

V4 = ip("10.0.0.1")
V6 = ip("fd00::1")


def test_initially_the_path_has_the_mtu_of_the_first_hop() -> None:
    cache = PathMtuCache()
    assert cache.get(0, V4, 1500) == 1500
    assert cache.next_timeout() == NEVER


@pytest.mark.parametrize("dst", [V4, V6])
def test_a_message_lowers_and_never_raises(dst: bytes) -> None:
    # RFC 8201 section 4: "A node must not increase its estimate"
    cache = PathMtuCache()
    assert cache.update(0, dst, 1400, 1500)
    assert cache.get(0, dst, 1500) == 1400
    generation = cache.generation
    assert not cache.update(1, dst, 1450, 1500)
    assert not cache.update(1, dst, 1400, 1500)
    assert not cache.update(1, dst, 9000, 1500)
    assert cache.generation == generation
    assert cache.get(1, dst, 1500) == 1400
    assert cache.update(2, dst, 1300, 1500)
    assert cache.get(2, dst, 1500) == 1300
    # A smaller link counts for itself.
    assert cache.get(2, dst, 1280) == 1280


def test_a_message_that_says_what_the_link_has_is_ignored() -> None:
    cache = PathMtuCache()
    assert not cache.update(0, V4, 1500, 1500)
    assert cache.get(0, V4, 9000) == 9000


def test_ipv6_messages_below_1280_are_discarded() -> None:
    # RFC 8201 section 4
    cache = PathMtuCache()
    assert not cache.update(0, V6, 1279, 1500)
    assert cache.get(0, V6, 1500) == 1500
    assert cache.update(0, V6, 1280, 1500)
    assert cache.get(0, V6, 1500) == 1280


def test_ipv4_has_a_floor() -> None:
    cache = PathMtuCache()
    assert cache.update(0, V4, 68, 1500)
    assert cache.get(0, V4, 1500) == 552
    low = PathMtuCache(floor_ipv4=68)
    assert low.update(0, V4, 100, 1500)
    assert low.get(0, V4, 1500) == 100


def test_below_the_floor_packets_may_be_fragmented() -> None:
    cache = PathMtuCache()
    assert cache.dont_fragment(V4)
    assert cache.update(0, V4, 552, 1500)
    assert cache.dont_fragment(V4)
    generation = cache.generation
    # No smaller, but there is something to tell, once.
    assert cache.update(0, V4, 300, 1500)
    assert cache.generation > generation
    assert not cache.update(0, V4, 200, 1500)
    assert cache.get(0, V4, 1500) == 552
    assert not cache.dont_fragment(V4)
    cache.handle_timeout(600 * SECOND)
    assert cache.dont_fragment(V4)
    # A link that is narrower than the floor already.
    assert cache.update(0, V4, 200, 400)
    assert cache.get(0, V4, 400) == 400
    assert not cache.dont_fragment(V4)


def test_routers_that_say_nothing_make_us_try_the_next_plateau() -> None:
    # RFC 1191 section 5
    cache = PathMtuCache(floor_ipv4=68)
    assert cache.update(0, V4, 0, 1500, 1499)
    assert cache.get(0, V4, 1500) == 1492
    assert cache.update(0, V4, 0, 1500, 1400)
    assert cache.get(0, V4, 1500) == 1006
    # The packet was smaller than the estimate: below the packet.
    assert cache.update(0, V4, 0, 1500, 600)
    assert cache.get(0, V4, 1500) == 508


def test_the_total_length_of_old_bsd_routers_is_corrected() -> None:
    # RFC 1191 section 5: "If the Total Length field returned is not less than the current PMTU estimate, it must be
    # reduced by 4 times the value of the returned Header Length field."
    cache = PathMtuCache(floor_ipv4=68)
    assert cache.update(0, V4, 0, 1500, 1520, 20)
    assert cache.get(0, V4, 1500) == 1492
    assert cache.update(0, V4, 0, 1500, 1492 + 60, 60)
    assert cache.get(0, V4, 1500) == 1006


@pytest.mark.parametrize(
    ("length", "plateau"), [(1500, 1492), (1492, 1006), (65536, 65535), (69, 68), (68, 68), (1, 68)]
)
def test_plateaus(length: int, plateau: int) -> None:
    assert plateau_below(length) == plateau


def test_an_estimate_is_forgotten_after_ten_minutes() -> None:
    # RFC 8201 section 4: "The recommended setting for this timer is twice its minimum value (10 minutes)."
    cache = PathMtuCache()
    cache.update(0, V4, 1400, 1500)
    cache.update(60 * SECOND, V6, 1400, 1500)
    assert cache.next_timeout() == 600 * SECOND
    assert cache.handle_timeout(600 * SECOND - 1) == []
    assert cache.get(600 * SECOND - 1, V4, 1500) == 1400
    assert cache.handle_timeout(600 * SECOND) == [V4]
    assert cache.get(600 * SECOND, V4, 1500) == 1500
    assert cache.get(600 * SECOND, V6, 1500) == 1400
    assert cache.next_timeout() == 660 * SECOND


def test_an_estimate_that_is_too_old_does_not_count_though_no_timer_ran() -> None:
    cache = PathMtuCache()
    cache.update(0, V4, 1400, 1500)
    generation = cache.generation
    assert cache.get(600 * SECOND, V4, 1500) == 1500
    assert cache.generation > generation


def test_a_decrease_begins_a_new_lifetime_and_the_same_again_does_not() -> None:
    cache = PathMtuCache()
    cache.update(0, V4, 1400, 1500)
    cache.update(0, V6, 1400, 1500)
    cache.update(100 * SECOND, V4, 1300, 1500)
    assert not cache.update(200 * SECOND, V6, 1400, 1500)
    assert cache.handle_timeout(600 * SECOND) == [V6]
    assert cache.next_timeout() == 700 * SECOND


def test_the_lifetime_may_be_infinite() -> None:
    # RFC 8201 section 5.3
    cache = PathMtuCache(lifetime=NEVER)
    cache.update(5, V4, 1400, 1500)
    assert cache.next_timeout() == NEVER
    assert cache.get(10**17, V4, 1500) == 1400


def test_the_cache_is_bounded() -> None:
    cache = PathMtuCache(limit=3)
    for i in range(10):
        cache.update(i, bytes([10, 0, 0, i]), 1400, 1500)
    assert len(cache.entries) == 3
    assert cache.get(10, bytes([10, 0, 0, 9]), 1500) == 1400
    assert cache.get(10, bytes([10, 0, 0, 0]), 1500) == 1500


def test_numbers_that_the_rfcs_forbid_are_refused() -> None:
    with pytest.raises(ValueError, match="5 minutes"):
        PathMtuCache(lifetime=299 * SECOND)
    with pytest.raises(ValueError, match="68"):
        PathMtuCache(floor_ipv4=67)
    with pytest.raises(ValueError, match="1 or more"):
        PathMtuCache(limit=0)
