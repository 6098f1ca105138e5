"""Identification of packets that are or may be fragmented: unique for long, and not to be guessed.

RFC 7739 section 5.3: an offset that is a keyed hash of the two addresses plus one of many counters, chosen by another
keyed hash. A stranger cannot tell the offset, and no counter counts all the host's packets; yet between two
addresses the values follow each other, so none comes again before all others.
"""

from __future__ import annotations

from hashlib import blake2b
from random import Random
from typing import Final

COUNTERS: Final = 8192
PAIRS: Final = 1024


class PacketIdent:
    """Identification fields for one host. `secret` is a key of 16 bytes or more, of which up to 64 are used."""

    __slots__ = ("counters", "pairs", "rng", "secret")

    def __init__(self, secret: bytes, rng: Random) -> None:
        if len(secret) < 16:
            raise ValueError("the secret has 16 bytes or more")
        self.secret = secret[:64]
        self.rng = rng
        #: Section 5.3: "Each counter should be initialized to a pseudo-random value". Done when it is first used.
        self.counters: dict[int, int] = {}
        #: (offset, counter's number) of the address pairs in use, to spare the hashes.
        self.pairs: dict[bytes, tuple[int, int]] = {}

    def ipv6(self, src: bytes, dst: bytes) -> int:
        """32 bits for the fragment header of a packet from `src` to `dst`."""
        return self.following(src + dst, dst[:8]) & 0xFFFFFFFF

    def ipv4(self, src: bytes, dst: bytes, protocol: int) -> int:
        """16 bits for the header of a packet that may be fragmented.

        RFC 6864 section 4.3: no value comes twice within a datagram's lifetime for the same addresses and protocol,
        as long as fewer than 65536 of these are sent in it.
        """
        return self.following(src + dst + bytes([protocol]), dst) & 0xFFFF

    def following(self, pair: bytes, destination: bytes) -> int:
        """The pair's next value, not cut to size yet."""
        known = self.pairs.get(pair)
        if known is None:
            digest = blake2b(pair, digest_size=8, key=self.secret, person=b"offset").digest()
            offset = int.from_bytes(digest, "big")
            digest = blake2b(
                pair[: len(destination)] + destination, digest_size=8, key=self.secret, person=b"counter"
            ).digest()
            known = (offset, int.from_bytes(digest, "big") % COUNTERS)
            if len(self.pairs) >= PAIRS:
                # All can be computed again.
                self.pairs.clear()
            self.pairs[pair] = known
        offset, index = known
        count = self.counters.get(index, -1)
        if count < 0:
            count = self.rng.getrandbits(32)
        self.counters[index] = count + 1 & 0xFFFFFFFF
        return offset + count
