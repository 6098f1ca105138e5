"""The path MTU of each destination, learnt from ICMP (RFC 1191, RFC 8201).

Whether a message is to be believed is decided before, by the connection or socket whose packet it quotes
(RFC 5927 section 7.2, RFC 8201 section 4); here is only what is remembered of it, and for how long.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from plankroad.units import NEVER, SECOND

#: RFC 1191 table 7-1: MTUs that links have, for routers that do not say theirs.
PLATEAUS: Final[list[int]] = [65535, 32000, 17914, 8166, 4352, 2002, 1492, 1006, 508, 296, 68]

IPV6_FLOOR: Final = 1280


def plateau_below(length: int) -> int:
    """The greatest plateau below `length`; 68 where there is none (RFC 1191 section 5)."""
    for plateau in PLATEAUS:
        if plateau < length:
            return plateau
    return 68


class PathMtu:
    """What is known of one path: the MTU, and when it is forgotten.

    `below_floor`: a message said less than the floor. Packets go out as large as the floor then, to be fragmented.
    `searched`: 0: a message said so; else packets of this size were seen to arrive, and 2: larger ones were not.
    """

    __slots__ = ("below_floor", "expires", "mtu", "searched")

    def __init__(self, mtu: int, expires: int, below_floor: bool, searched: int = 0) -> None:
        self.mtu = mtu
        self.expires = expires
        self.below_floor = below_floor
        self.searched = searched


class PathMtuCache:
    """Path MTUs by destination address, of both families.

    `lifetime`: how long an estimate is kept, ns; 10 minutes by RFC 1191 section 6.3 and RFC 8201 section 4, never
    below 5 minutes; `NEVER` keeps it for good (RFC 8201 section 5.3).
    `floor_ipv4`: no message makes an IPv4 path narrower than this; 552 as other hosts do, 68 at least (RFC 791).
    `limit`: destinations remembered; the one updated longest ago is forgotten first.
    `generation` grows whenever an estimate changed or was forgotten.

    All estimates live equally long and each update puts its destination last, so the first is the next to expire:
    neither storing nor expiring costs more with more destinations.
    """

    __slots__ = ("entries", "floor_ipv4", "generation", "lifetime", "limit")

    def __init__(self, lifetime: int = 600 * SECOND, floor_ipv4: int = 552, limit: int = 4096) -> None:
        if lifetime < 300 * SECOND:
            raise ValueError("RFC 8201 section 4: a path MTU is kept for 5 minutes at least")
        if not 68 <= floor_ipv4 <= 65535:
            raise ValueError("the floor of IPv4 path MTUs is 68 at least (RFC 791)")
        if limit < 1:
            raise ValueError("the path MTU cache holds 1 or more")
        self.lifetime = lifetime
        self.floor_ipv4 = floor_ipv4
        self.limit = limit
        self.generation: int = 1
        self.entries: OrderedDict[bytes, PathMtu] = OrderedDict()

    def get(self, now: int, dst: bytes, link_mtu: int) -> int:
        """The largest IP packet, in bytes, that goes to `dst` unfragmented as far as is known.

        `link_mtu` is the first hop's. RFC 8201 section 5.2: initially it is the path's.
        """
        entry = self.entries.get(dst)
        if entry is None:
            return link_mtu
        if entry.expires <= now:
            del self.entries[dst]
            self.generation += 1
            return link_mtu
        return entry.mtu if entry.mtu < link_mtu else link_mtu

    def dont_fragment(self, dst: bytes) -> bool:
        """Whether IPv4 packets to `dst` that follow path MTU discovery are sent with Don't Fragment.

        Not where the path is said to be narrower than the floor: with the bit, nothing would ever get through.
        Of an estimate that has expired `get` takes notice.
        """
        entry = self.entries.get(dst)
        return entry is None or not entry.below_floor

    def update(
        self,
        now: int,
        dst: bytes,
        mtu: int,
        link_mtu: int = 65535,
        packet_length: int = 0,
        header_length: int = 20,
    ) -> bool:
        """Take in a believed "fragmentation needed" or "packet too big"; True where the estimate became smaller
        (or `dont_fragment` false): who sends on this path is to be told.

        `mtu` is what the message says, 0 from routers older than RFC 1191; `packet_length` and `header_length` are
        then those of the quoted packet, and the next plateau is tried. An estimate is never made larger.
        """
        current = self.get(now, dst, link_mtu)
        below_floor = False
        if len(dst) == 16:
            # RFC 8201 section 4: "If a node receives a Packet Too Big message reporting a next-hop MTU that is less
            # than the IPv6 minimum link MTU, it must discard it."
            if mtu < IPV6_FLOOR:
                return False
        else:
            if mtu < 68:
                # RFC 1191 section 5. 4.2BSD's routers quote the total length with the header's added: "If the Total
                # Length field returned is not less than the current PMTU estimate, it must be reduced by 4 times the
                # value of the returned Header Length field."
                length = packet_length if packet_length > 0 else current
                if packet_length >= current and packet_length > header_length:
                    length = packet_length - header_length
                mtu = plateau_below(min(length, current))
            if mtu < self.floor_ipv4:
                below_floor = True
                mtu = min(self.floor_ipv4, current)
        # RFC 8201 section 4: "A node must not increase its estimate of the Path MTU in response to the contents of a
        # Packet Too Big message." A message that says what is known does not prolong it either: it may be stale.
        entry = self.entries.get(dst)
        if mtu >= current and (not below_floor or (entry is not None and entry.below_floor)):
            return False
        expires = now + self.lifetime if self.lifetime < NEVER - now else NEVER
        if entry is None:
            if len(self.entries) >= self.limit:
                self.entries.popitem(last=False)
            self.entries[dst] = PathMtu(mtu, expires, below_floor)
        else:
            entry.mtu = mtu
            entry.below_floor = below_floor
            entry.expires = expires
            entry.searched = 0
            self.entries.move_to_end(dst)
        self.generation += 1
        return True

    def found(self, now: int, dst: bytes, mtu: int, link_mtu: int, searched: int) -> None:
        """Probing (RFC 4821) has shown that packets of `mtu` bytes arrive; `searched` as in `PathMtu`.

        Unlike a message it may make the estimate larger, and it prolongs one that is as it was.
        """
        entry = self.entries.get(dst)
        if mtu >= link_mtu:
            if entry is not None:
                del self.entries[dst]
                self.generation += 1
            return
        expires = now + self.lifetime if self.lifetime < NEVER - now else NEVER
        if entry is None:
            if len(self.entries) >= self.limit:
                self.entries.popitem(last=False)
            self.entries[dst] = PathMtu(mtu, expires, False, searched)
        else:
            entry.mtu = mtu
            entry.below_floor = False
            entry.expires = expires
            entry.searched = searched
            self.entries.move_to_end(dst)
        self.generation += 1

    def next_timeout(self) -> int:
        """When `handle_timeout` has something to forget; `NEVER` if nothing is kept."""
        for entry in self.entries.values():
            return entry.expires
        return NEVER

    def handle_timeout(self, now: int) -> list[bytes]:
        """Forget what is too old; the destinations for which larger packets may be tried again."""
        expired: list[bytes] = []
        for dst, entry in self.entries.items():
            if entry.expires > now:
                break
            expired.append(dst)
        for dst in expired:
            del self.entries[dst]
        if expired:
            self.generation += 1
        return expired
