"""Token buckets (RFC 4443 section 2.4 (f), RFC 1812 section 4.3.2.8)."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plankroad.ip.rate_limit import IcmpRateLimiter, TokenBucket
from plankroad.units import MILLISECOND, SECOND


def test_a_bucket_gives_its_burst_and_then_its_rate() -> None:
    bucket = TokenBucket(10, 3)
    assert [bucket.take(0) for _ in range(4)] == [True, True, True, False]
    assert not bucket.take(99 * MILLISECOND)
    assert bucket.take(100 * MILLISECOND)
    assert not bucket.take(100 * MILLISECOND)
    assert bucket.available(10 * SECOND) == 3


def test_a_rate_of_zero_is_no_limit() -> None:
    bucket = TokenBucket(0, 0)
    assert all(bucket.take(0) for _ in range(100))
    limiter = IcmpRateLimiter(random.Random(1), 0, 0, 0, 0)
    assert all(limiter.allow(0, b"abcd") for _ in range(100))


@given(st.integers(1, 1000), st.integers(1, 20), st.lists(st.integers(0, SECOND), max_size=60))
def test_no_more_than_burst_and_rate_in_any_time(rate: int, burst: int, waits: list[int]) -> None:
    bucket = TokenBucket(rate, burst)
    now = 0
    taken = 0
    for wait in waits:
        now += wait
        while bucket.take(now):
            taken += 1
        assert taken <= burst + now // bucket.interval


def test_one_destination_does_not_use_up_what_others_get() -> None:
    limiter = IcmpRateLimiter(random.Random(1), rate=1000, burst=50, peer_rate=1, peer_burst=5)
    assert sum(limiter.allow(0, b"aaaa") for _ in range(1000)) == 5
    assert limiter.allow(0, b"bbbb")


def test_all_together_are_limited() -> None:
    limiter = IcmpRateLimiter(random.Random(1), rate=10, burst=50, peer_rate=1, peer_burst=5)
    sent = sum(limiter.allow(0, i.to_bytes(4, "big")) for i in range(1000))
    # One to three tokens each.
    assert 16 <= sent <= 50


def test_the_global_count_is_not_exact() -> None:
    # CVE-2020-25705: an exact count tells a stranger what was sent to others
    counts = set()
    for seed in range(20):
        limiter = IcmpRateLimiter(random.Random(seed), rate=10, burst=50)
        counts.add(sum(limiter.allow(0, i.to_bytes(4, "big")) for i in range(1000)))
    assert len(counts) > 3


def test_destinations_remembered_are_bounded() -> None:
    limiter = IcmpRateLimiter(random.Random(1), 0, 0, 1, 1, peers=8)
    for i in range(100):
        assert limiter.allow(0, i.to_bytes(4, "big"))
    assert len(limiter.buckets) == 8
    assert not limiter.allow(0, (99).to_bytes(4, "big"))


def test_bad_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="0 or more"):
        TokenBucket(-1, 1)
    with pytest.raises(ValueError, match="burst of 0"):
        IcmpRateLimiter(random.Random(1), 10, 0)
    with pytest.raises(ValueError, match="1 destination"):
        IcmpRateLimiter(random.Random(1), peers=0)
