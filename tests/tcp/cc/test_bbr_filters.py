"""The windowed maxima and minima of BBR."""

from __future__ import annotations

import random

from plankroad.tcp.cc.bbr_filters import CycleMax, RecentMin, RoundMax


def test_bandwidth_is_the_maximum_of_this_cycle_and_the_one_before_it() -> None:
    # draft-ietf-ccwg-bbr-06 section 5.5.6
    best = CycleMax()
    assert best.best() == 0
    best.update(100)
    best.update(70)
    assert best.best() == 100
    best.advance()
    best.update(50)
    assert best.best() == 100
    best.advance()
    assert best.best() == 50


def test_a_cycle_without_a_sample_forgets_nothing() -> None:
    best = CycleMax()
    best.update(100)
    for _ in range(5):
        best.advance()
    assert best.best() == 100


def test_a_maximum_over_rounds_is_that_of_the_whole_window_at_every_moment() -> None:
    # draft-ietf-ccwg-bbr-06 section 5.5.9
    for seed in range(20):
        rng = random.Random(seed)
        window = rng.choice((1, 2, 10))
        filtered = RoundMax()
        seen: list[tuple[int, int]] = []
        now = 0
        for _ in range(300):
            now += rng.choice((0, 0, 0, 1, 1, 3))
            value = rng.randrange(100)
            seen.append((now, value))
            expected = max(v for t, v in seen if t > now - window)
            assert filtered.update(value, now, window) == expected, f"seed {seed}"
            assert len(filtered.values) <= window


def test_the_recent_minimum_forgets_after_one_to_two_spans() -> None:
    recent = RecentMin()
    assert recent.best() == -1
    recent.update(50, 0, 10)
    recent.update(70, 5, 10)
    assert recent.best() == 50
    recent.update(80, 12, 10)
    assert recent.best() == 50
    recent.update(90, 23, 10)
    assert recent.best() == 80
