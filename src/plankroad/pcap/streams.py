"""One direction of a TCP connection, put together again from captured segments; knows nothing of `tcp/`."""

from __future__ import annotations

from bisect import bisect_right


class Stream:
    """The bytes that one end sent, by their offset from its first data byte.

    `isn`: its initial sequence number, -1 where the capture began later; offset 0 is then the first byte seen.
    `fin`: the offset at which it said that no more comes, -1 if it did not. `reset`: it sent a RST.
    `segments`: with data; `duplicate_bytes`: sent more than once; `conflict_bytes`: sent again with other contents.
    """

    __slots__ = (
        "_chunks",
        "_latest",
        "_origin",
        "_starts",
        "conflict_bytes",
        "duplicate_bytes",
        "fin",
        "isn",
        "reset",
        "segments",
    )

    def __init__(self) -> None:
        self.isn = -1
        self.fin = -1
        self.reset = False
        self.segments = 0
        self.duplicate_bytes = 0
        self.conflict_bytes = 0
        self._origin = -1  # sequence number of offset 0
        self._latest = 0  # offset near which numbers are unwrapped
        # Pieces that do not overlap, ascending: their offsets and their bytes.
        self._starts: list[int] = []
        self._chunks: list[bytes] = []

    def synchronize(self, isn: int) -> None:
        """A SYN was seen: the first byte has the number after it."""
        self.isn = isn
        self._origin = (isn + 1) & 0xFFFFFFFF

    def offset(self, seq: int) -> int:
        """Where `seq` is in the stream: the nearest place to the latest segment's that it can mean."""
        if self._origin < 0:
            self._origin = seq
        return self._latest + (((seq - self._origin - self._latest + 0x80000000) & 0xFFFFFFFF) - 0x80000000)

    def add(self, seq: int, data: bytes) -> None:
        """A segment with `data` was sent."""
        start = self.offset(seq)
        self.segments += 1
        if self.isn >= 0 and start < 0:
            # Before the first byte: a keep-alive probe of a connection that sent nothing.
            self.duplicate_bytes += min(-start, len(data))
            data = data[-start:]
            start = 0
            if not data:
                return
        self._latest = max(self._latest, start)
        starts = self._starts
        chunks = self._chunks
        if not starts or start >= starts[-1] + len(chunks[-1]):
            starts.append(start)
            chunks.append(data)
            return
        self._fill(start, data)

    def _fill(self, start: int, data: bytes) -> None:
        """Put in what is new of `data`; what is there stays and is compared."""
        starts = self._starts
        chunks = self._chunks
        end = start + len(data)
        at = start
        i = max(bisect_right(starts, start) - 1, 0)
        while at < end:
            if i >= len(starts) or starts[i] >= end:
                starts.insert(i, at)
                chunks.insert(i, data[at - start :])
                return
            if starts[i] > at:
                starts.insert(i, at)
                chunks.insert(i, data[at - start : starts[i + 1] - start])
                at = starts[i + 1]
                i += 1
            stop = min(starts[i] + len(chunks[i]), end)
            if stop > at:
                old = chunks[i][at - starts[i] : stop - starts[i]]
                new = data[at - start : stop - start]
                self.duplicate_bytes += len(new)
                if old != new:
                    self.conflict_bytes += sum(a != b for a, b in zip(old, new, strict=True))
                at = stop
            i += 1

    def end(self, seq: int) -> None:
        """A FIN was sent: `seq` is its own number."""
        self.fin = self.offset(seq)

    def gaps(self) -> list[tuple[int, int]]:
        """The offsets [start, end) between the first byte and the last (or the FIN) that the capture does not have."""
        missing: list[tuple[int, int]] = []
        at = self._first()
        for start, chunk in zip(self._starts, self._chunks, strict=True):
            if start > at:
                missing.append((at, start))
            at = start + len(chunk)
        if self.fin > at:
            missing.append((at, self.fin))
        return missing

    def data(self) -> bytes:
        """The bytes from the first on, as far as they go without a gap."""
        at = self._first()
        found: list[bytes] = []
        for start, chunk in zip(self._starts, self._chunks, strict=True):
            if start != at:
                break
            found.append(chunk)
            at += len(chunk)
        return b"".join(found)

    def is_complete(self) -> bool:
        """From SYN to FIN with nothing missing."""
        return self.isn >= 0 and self.fin >= 0 and not self.gaps()

    def _first(self) -> int:
        if self.isn >= 0 or not self._starts:
            return 0
        return self._starts[0]
