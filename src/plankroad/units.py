"""Time as the whole of plankroad counts it: integers of nanoseconds, passed in by whoever owns a clock."""

from __future__ import annotations

from typing import Final

NANOSECOND: Final = 1
MICROSECOND: Final = 1_000
MILLISECOND: Final = 1_000_000
SECOND: Final = 1_000_000_000

#: A deadline that never comes. It fits a compiled short integer (62 bits), so comparing with it is one instruction.
NEVER: Final = (1 << 62) - 1
