"""Rates, times and sizes as people write them, as the integers that the simulator counts with."""

from __future__ import annotations

import math
import re
from typing import Final

from plankroad.units import NEVER, SECOND

_NUMBER: Final = re.compile(r"\s*([0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?|\.[0-9]+)\s*([A-Za-zµμ/]*)\s*")

#: Nanoseconds.
_TIMES: Final = {
    "": SECOND,
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "μs": 1_000,
    "ms": 1_000_000,
    "s": SECOND,
    "sec": SECOND,
    "min": 60 * SECOND,
    "h": 3600 * SECOND,
    "d": 86400 * SECOND,
}

#: Powers of ten before "bit/s"; the prefixes of rates are never binary.
_RATE_PREFIXES: Final = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}

#: Bytes.
_SIZES: Final = {
    "": 1,
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "kib": 1 << 10,
    "mib": 1 << 20,
    "gib": 1 << 30,
}


def parse_time(value: float | str, what: str = "time") -> int:
    """Nanoseconds from a number of seconds, or from text with a unit: "20ms", "1.5 s", "250us", "2min", "1h".

    Raises ValueError, naming `what`, for anything else, for less than nothing and for more than 146 years.
    """
    if isinstance(value, str):
        match = _NUMBER.fullmatch(value)
        factor = _TIMES.get(match[2]) if match else None
        if match is None or factor is None:
            raise ValueError(
                f"{what}: {value!r} is no time; write seconds as a number, or text such as '20ms', '1.5s' or '250us'"
            )
        exact = match[1].isdigit()
        result = int(match[1]) * factor if exact else round(_finite(float(match[1]), what) * factor)
    elif isinstance(value, int):
        result = value * SECOND
    else:
        result = round(_finite(value, what) * SECOND)
    if not 0 <= result < NEVER:
        raise ValueError(f"{what}: {value!r} is not within 0 s and 146 years")
    return result


def parse_rate(value: float | str | None, what: str = "rate") -> int:
    """Bits per second from a number of them, or from text: "100Mbit/s", "1.5 Gbit/s", "64kbit", "12MB/s" (bytes).

    0 stands for no limit; so do None and "unlimited". Raises ValueError, naming `what`, for anything else.
    """
    if value is None or value == "unlimited":
        return 0
    if isinstance(value, str):
        match = _NUMBER.fullmatch(value)
        factor = _rate_factor(match[2]) if match else 0
        if match is None or not factor:
            raise ValueError(
                f"{what}: {value!r} is no rate; write bits per second as a number, or text such as '100Mbit/s'"
            )
        number = _finite(float(match[1]), what) * factor
    else:
        number = _finite(value, what)
    if number < 0 or 0 < number < 1:
        raise ValueError(f"{what}: {value!r} is less than 1 bit/s; leave it out (or None) for a link without a limit")
    return round(number)


def _rate_factor(unit: str) -> int:
    for suffix, bits in (("bit/s", 1), ("bps", 1), ("bit", 1), ("B/s", 8)):
        if unit.endswith(suffix):
            return _RATE_PREFIXES.get(unit[: -len(suffix)].lower(), 0) * bits
    return 0 if unit else 1


def parse_size(value: int | str, what: str = "size") -> int:
    """Bytes from a number of them, or from text: "64KiB", "1.5MB". Raises ValueError, naming `what`."""
    if isinstance(value, str):
        match = _NUMBER.fullmatch(value)
        factor = _SIZES.get(match[2].lower()) if match else None
        if match is None or factor is None:
            raise ValueError(
                f"{what}: {value!r} is no size; write bytes as a number, or text such as '64KiB' or '1MB'"
            )
        result = round(_finite(float(match[1]), what) * factor)
    else:
        result = value
    if result < 0:
        raise ValueError(f"{what}: {value!r} is less than nothing")
    return result


def parse_length(value: int | str | None, what: str, least: int) -> tuple[int, int]:
    """Packets and bytes from a number of packets (`least` or more), or from text with a unit ("64KiB").

    One of the two is 0; both are for None. Raises ValueError, naming `what`.
    """
    if value is None:
        return 0, 0
    if isinstance(value, str) and not value.strip().isdigit():
        size = parse_size(value, what)
        if size < least:
            raise ValueError(f"{what}: {value!r} is less than {least} byte")
        return 0, size
    if not isinstance(value, (int, str)):
        raise ValueError(
            f"{what}: {value!r} is no length; write packets as a number, or bytes as text such as '64KiB'"
        )
    packets = int(value)
    if packets < least:
        raise ValueError(
            f"{what}: {value!r} packets; a queue holds {least} or more (the one in transmission), None: no limit"
        )
    return packets, 0


def parse_fraction(value: float, what: str) -> float:
    """A probability. Raises ValueError, naming `what`, unless it is a number from 0 to 1."""
    if isinstance(value, (int, float)) and 0 <= value <= 1:
        return float(value)
    raise ValueError(f"{what}: {value!r} is no probability; write a number from 0 to 1 (0.05 for 5 %)")


def _finite(value: float, what: str) -> float:
    if not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"{what}: {value!r} is no number that one can count with")
    return float(value)
