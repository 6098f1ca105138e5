"""Reassembly of fragments of both families, bounded in memory and time."""

from __future__ import annotations

from plankroad.ip.counters import IpCounters
from plankroad.units import NEVER, SECOND
from plankroad.wire.ipv4 import Ipv4Header
from plankroad.wire.ipv6 import Ipv6Header


class FragmentTable:
    """Datagrams whose fragments have not all come. `problem_code`, `problem_pointer`: of the last `add_ipv6`."""

    __slots__ = ("counters", "problem_code", "problem_pointer")

    def __init__(
        self,
        counters: IpCounters,
        ipv4_lifetime: int = 30 * SECOND,
        ipv6_lifetime: int = 60 * SECOND,
        limit: int = 4 << 20,
        source_limit: int = 1 << 20,
        max_fragments: int = 256,
    ) -> None:
        self.counters = counters
        #: Where the fragment calls for an ICMPv6 Parameter Problem: its code, else -1; and its pointer.
        self.problem_code: int = -1
        self.problem_pointer: int = 0

    def add_ipv4(self, now: int, buf: bytes, header: Ipv4Header) -> bytes | None:
        """Take in a fragment; the whole packet where it was the last that was missing."""
        return None

    def add_ipv6(self, now: int, buf: bytes, header: Ipv6Header) -> bytes | None:
        """Take in a fragment; the whole packet (without fragment header) where it was the last that was missing."""
        return None

    def next_timeout(self) -> int:
        """When `handle_timeout` has something to give up."""
        return NEVER

    def handle_timeout(self, now: int) -> list[bytes]:
        """Give up what is too old; the first fragments (whole IP packets, as received) of those datagrams whose first
        fragment came: each calls for an ICMP time exceeded (fragment reassembly), built from it."""
        return []
