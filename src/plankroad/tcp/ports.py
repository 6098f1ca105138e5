"""Ephemeral ports: RFC 6056 section 3.3.4, algorithm 4 (double hash)."""

from __future__ import annotations

import errno
from collections.abc import Callable
from hashlib import blake2s
from typing import Final

from plankroad.tcp.isn import derive_key, keyed_hash

#: Linux's range. RFC 6056 section 3.2 asks for as much as is not in use otherwise, (1024-65535) at the most.
FIRST_PORT: Final = 32768
LAST_PORT: Final = 60999
#: Increments are kept apart in this many spaces: the larger, the less one destination tells of another.
TABLE_LENGTH: Final = 1024


class PortAllocator:
    """Picks local ports that increase for one destination and look random across destinations.

    A port that was just used towards a destination comes back there only after the whole range, so that its
    TIME-WAIT (at either end) is not run into; yet a port seen at one destination does not tell of those used at
    others. One call costs two hashes and, while most of the range is free, one question or a few: the same with 10
    and with 100,000 connections.
    """

    __slots__ = ("first", "key", "number", "table")

    def __init__(self, secret: bytes, first: int = FIRST_PORT, last: int = LAST_PORT) -> None:
        """`secret`: at least 16 bytes. `first` to `last`: the range, both included. ValueError if either is bad."""
        if not 1 <= first <= last <= 65535:
            raise ValueError(f"no range of ports: {first} to {last}")
        self.key: bytes = derive_key(secret)
        self.first: int = first
        self.number: int = last - first + 1
        #: Entries that were used; the others are still what `_entry` makes them.
        self.table: dict[int, int] = {}

    def allocate(self, local: bytes, remote: bytes, remote_port: int, in_use: Callable[[int], bool]) -> int:
        """A port for a connection from `local` to (`remote`, `remote_port`); addresses of 4 or 16 bytes.

        `in_use(port)`: check_suitable_port of the RFC, turned round: True if that four-tuple, or the port itself,
        is taken. Raises OSError(EADDRNOTAVAIL) when the whole range is in use for this destination.
        """
        destination = local + remote + remote_port.to_bytes(2, "big")
        offset = keyed_hash(self.key, b"portoff", destination)
        index = keyed_hash(self.key, b"portidx", destination) % TABLE_LENGTH
        table = self.table
        first = self.first
        number = self.number
        step = table.get(index, -1)
        if step < 0:
            step = self._entry(index)
        for _ in range(number):
            port = first + (offset + step) % number
            step += 1
            if not in_use(port):
                table[index] = step
                return port
        raise OSError(
            errno.EADDRNOTAVAIL,
            f"every local port from {first} to {first + number - 1} is in use towards this destination",
        )

    def _entry(self, index: int) -> int:
        """RFC 6056: "for(i = 0; i < TABLE_LENGTH; i++) table[i] = random() % 65536;", for the one that is asked for."""
        digest = blake2s((index >> 4).to_bytes(2, "big"), key=self.key, person=b"porttab").digest()
        at = (index & 15) << 1
        return digest[at] << 8 | digest[at + 1]
