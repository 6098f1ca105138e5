"""Times, rates and sizes as people write them."""

from __future__ import annotations

import pytest

from plankroad.sim.quantity import parse_fraction, parse_rate, parse_size, parse_time


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("20ms", 20_000_000),
        ("1.5s", 1_500_000_000),
        ("250us", 250_000),
        ("250µs", 250_000),
        ("7ns", 7),
        ("2min", 120_000_000_000),
        ("1h", 3_600_000_000_000),
        (".5 ms", 500_000),
        ("1e-3s", 1_000_000),
        (0.02, 20_000_000),
        (3, 3_000_000_000),
        (0, 0),
        ("9007199254740993ns", 9007199254740993),  # more digits than a float has
    ],
)
def test_times(value: float | str, expected: int) -> None:
    assert parse_time(value) == expected


@pytest.mark.parametrize("value", ["", "ms", "20 parsecs", "-1ms", -0.1, float("nan"), float("inf"), "1e30s", 10**12])
def test_what_is_no_time_is_refused_by_name(value: float | str) -> None:
    with pytest.raises(ValueError, match=r"^delay: "):
        parse_time(value, "delay")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("100Mbit/s", 100_000_000),
        ("1.5 Gbit/s", 1_500_000_000),
        ("64kbit", 64_000),
        ("10Mbps", 10_000_000),
        ("12MB/s", 96_000_000),
        ("9600", 9600),
        (1_000_000, 1_000_000),
        (2.5e6, 2_500_000),
        (None, 0),
        ("unlimited", 0),
        (0, 0),
    ],
)
def test_rates(value: float | str | None, expected: int) -> None:
    assert parse_rate(value) == expected


@pytest.mark.parametrize("value", ["fast", "100Mbyte", -1, 0.5, float("nan"), "10Xbit/s"])
def test_what_is_no_rate_is_refused_by_name(value: float | str) -> None:
    with pytest.raises(ValueError, match=r"^rate: "):
        parse_rate(value)


def test_sizes() -> None:
    assert parse_size("64KiB") == 65536
    assert parse_size("1.5MB") == 1_500_000
    assert parse_size(9000) == 9000
    for bad in ("big", "-1", -1):
        with pytest.raises(ValueError, match=r"^queue: "):
            parse_size(bad, "queue")


def test_fractions() -> None:
    assert parse_fraction(0.25, "loss") == 0.25
    assert parse_fraction(1, "loss") == 1.0
    for bad in (1.5, -0.1, float("nan"), "5%"):
        with pytest.raises(ValueError, match=r"^loss: .* number from 0 to 1"):
            parse_fraction(bad, "loss")  # type: ignore[arg-type]
