"""SYN cookies (RFC 4987 section 3.6): a listener that has no room left keeps its half-open connections in the
sequence numbers and timestamps that it sends.

A cookie is the server's initial sequence number:

    cookie = F1(four-tuple) + SEG.SEQ of the SYN + (count << 24) + ((F2(four-tuple, count) + index) mod 2**24)

`count` is a clock of 64 seconds, `index` stands for the peer's MSS. F1 and F2 are keyed hashes. As the peer's initial
sequence number and the clock are added, those of one four-tuple still grow from incarnation to incarnation.

A peer that sent a timestamp echoes ours, so its other options go into the six lowest bits of the timestamp: its
window shift (4 bits, 15 = no window scaling), SACK-permitted (1 bit) and ECN (1 bit). Without timestamps they are
lost, and the connection does without them. Nothing of this is secret: who changes the bits changes his own options.
"""

from __future__ import annotations

from typing import Final

from plankroad.tcp.isn import connection_id, derive_key, keyed_hash
from plankroad.units import SECOND

COOKIE_TICK: Final = 64 * SECOND
#: Ticks for which a cookie is good: one begun and one whole, so from 64 to 128 seconds.
COOKIE_AGE: Final = 2

#: Segment sizes that a cookie can tell, ascending. The peer's is rounded down to one of these.
#: IPv4: the least anyone offers, the default (RFC 9293 section 3.7.1), tunnels, PPPoE, Ethernet, jumbo frames.
MSS_IPV4: Final = (64, 536, 1220, 1360, 1400, 1440, 1460, 8960)
#: IPv6: likewise; 1220 is the default.
MSS_IPV6: Final = (64, 536, 1220, 1340, 1380, 1420, 1440, 8940)

OPTION_BITS: Final = 6
OPTION_MASK: Final = 0x3F
WSCALE_MASK: Final = 0x0F
NO_WSCALE: Final = 0x0F
SACK_BIT: Final = 0x10
ECN_BIT: Final = 0x20


def encode_options(ts: int, wscale: int, sack_permitted: bool, ecn: bool) -> int:
    """The timestamp clock (32 bits, before the connection's offset is added) with the options in its low bits.

    `wscale`: the peer's window shift, 0 to 14, or -1 without window scaling. The result is not later than `ts`, by
    less than 128 ticks, so what is sent after it is not older; as a measure of a round trip it is too coarse.
    """
    bits = NO_WSCALE if wscale < 0 else min(wscale, 14)
    if sack_permitted:
        bits |= SACK_BIT
    if ecn:
        bits |= ECN_BIT
    value = (ts & ~OPTION_MASK) | bits
    if value > ts:
        value -= 1 << OPTION_BITS
    return value & 0xFFFFFFFF


class CookieOptions:
    """What the peer's SYN had offered. `wscale`: -1 without window scaling."""

    __slots__ = ("ecn", "sack_permitted", "wscale")

    def __init__(self, wscale: int, sack_permitted: bool, ecn: bool) -> None:
        self.wscale = wscale
        self.sack_permitted = sack_permitted
        self.ecn = ecn


def decode_options(ts: int) -> CookieOptions:
    """What `encode_options` put into `ts`: TSecr of the peer's ACK less the connection's offset."""
    wscale = ts & WSCALE_MASK
    return CookieOptions(-1 if wscale == NO_WSCALE else wscale, ts & SACK_BIT != 0, ts & ECN_BIT != 0)


class SynCookies:
    """Makes cookies and knows its own again. Holds no state but the key."""

    __slots__ = ("key",)

    def __init__(self, secret: bytes) -> None:
        """`secret`: at least 16 bytes. ValueError if it is shorter."""
        self.key: bytes = derive_key(secret)

    def make(
        self,
        now: int,
        local_addr: bytes,
        local_port: int,
        remote_addr: bytes,
        remote_port: int,
        peer_isn: int,
        mss: int,
    ) -> int:
        """The sequence number of the SYN-ACK. `peer_isn`: SEG.SEQ of the SYN; `mss`: its MSS or the default."""
        conn = connection_id(local_addr, local_port, remote_addr, remote_port)
        count = now // COOKIE_TICK
        table = MSS_IPV4 if len(local_addr) == 4 else MSS_IPV6
        index = len(table) - 1
        while index > 0 and table[index] > mss:
            index -= 1
        base = keyed_hash(self.key, b"cookie1", conn) + peer_isn + (count << 24)
        return (base + ((self.hash2(conn, count) + index) & 0xFFFFFF)) & 0xFFFFFFFF

    def check(
        self,
        now: int,
        local_addr: bytes,
        local_port: int,
        remote_addr: bytes,
        remote_port: int,
        peer_isn: int,
        cookie: int,
    ) -> int:
        """The peer's MSS, rounded down, if `cookie` was made for this connection not long ago; otherwise 0.

        `peer_isn` is SEG.SEQ - 1 and `cookie` SEG.ACK - 1 of the ACK that ends the handshake, modulo 2**32. A
        guessed cookie passes with a probability of 2**-28.
        """
        conn = connection_id(local_addr, local_port, remote_addr, remote_port)
        count = now // COOKIE_TICK
        rest = (cookie - peer_isn - keyed_hash(self.key, b"cookie1", conn)) & 0xFFFFFFFF
        age = (count - (rest >> 24)) & 0xFF
        if age >= COOKIE_AGE or age > count:
            return 0
        index = (rest - self.hash2(conn, count - age)) & 0xFFFFFF
        table = MSS_IPV4 if len(local_addr) == 4 else MSS_IPV6
        return table[index] if index < len(table) else 0

    def hash2(self, conn: bytes, count: int) -> int:
        """F2: it changes with every tick of the clock."""
        return keyed_hash(self.key, b"cookie2", conn + count.to_bytes(8, "big"))
