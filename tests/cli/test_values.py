"""Values on the command line."""

from __future__ import annotations

import click
import pytest

from plankroad.cli.values import ADDRESS, FRACTION, RATE, SIZE, TIME, Quantity

pytestmark = pytest.mark.either


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (FRACTION, "5%", 0.05),
        (FRACTION, "0.05", 0.05),
        (FRACTION, "0", 0.0),
        (FRACTION, "100 %", 1.0),
        (TIME, "20ms", 20_000_000),
        (TIME, "2", 2_000_000_000),
        (RATE, "10Mbit/s", 10_000_000),
        (RATE, "unlimited", 0),
        (SIZE, "3MB", 3_000_000),
        (SIZE, "50000000", 50_000_000),
        (SIZE, "64KiB", 65536),
        (ADDRESS, "10.9.0.2/24", "10.9.0.2/24"),
        (ADDRESS, "fd09:0::2/64", "fd09::2/64"),
        (ADDRESS, "10.9.0.0/31", "10.9.0.0/31"),  # RFC 3021
    ],
)
def test_text_becomes_a_number_with_its_unit(kind: Quantity, text: str, value: object) -> None:
    assert kind.convert(text, None, None) == value


@pytest.mark.parametrize(
    ("kind", "text", "says"),
    [
        (FRACTION, "101%", "not from 0 % to 100 %"),
        (FRACTION, "-0.1", "not from 0 % to 100 %"),
        (FRACTION, "nan", "not from 0 % to 100 %"),
        (FRACTION, "much", "write 5% or 0.05"),
        (TIME, "soon", "write seconds"),
        (RATE, "fast", "100Mbit/s"),
        (RATE, "0", "write unlimited"),
        (RATE, "0Mbit/s", "write unlimited"),
        (SIZE, "-1", "write bytes"),
        (SIZE, "1.5e999", "number"),
        (ADDRESS, "10.9.0.2", "write for example 10.9.0.2/24"),
        (ADDRESS, "fd09::2", "write for example fd09::2/64"),
        (ADDRESS, "10.9.0.2/33", "no address with a prefix length"),
        (ADDRESS, "here/24", "no address with a prefix length"),
        (ADDRESS, "here", "no address with a prefix length"),
        (ADDRESS, "", "no address with a prefix length"),
        (ADDRESS, "127.0.0.1/8", "a loopback address"),
        (ADDRESS, "::1/128", "a loopback address"),
        (ADDRESS, "0.0.0.0/0", "the unspecified address"),
        (ADDRESS, "224.0.0.1/4", "a multicast address"),
        (ADDRESS, "10.9.0.0/24", "the address of 10.9.0.0/24 itself"),
        (ADDRESS, "10.9.0.255/24", "the broadcast address of 10.9.0.0/24"),
    ],
)
def test_what_makes_no_sense_is_a_usage_error(kind: Quantity, text: str, says: str) -> None:
    with pytest.raises(click.BadParameter, match=says) as caught:
        kind.convert(text, None, None)
    assert not caught.value.message.startswith(f"{kind.name}:")


def test_defaults_that_are_no_text_stay() -> None:
    assert SIZE.convert(7, None, None) == 7
