"""The send buffer: what the program wrote and the peer has not acknowledged, keyed by sequence number.

Chunks are kept as they came, as immutable bytes: nothing is copied when data is written, and one slice is taken when a
segment is cut out of it (none where the segment is the whole chunk).
"""

from __future__ import annotations

from typing import Final

#: A write this small is put behind the last chunk rather than into a chunk of its own.
_JOIN_BELOW: Final = 4096
#: Released chunks are removed from the lists when this many have gathered.
_COMPACT_AT: Final = 64


class SendBuffer:
    """Octets [start, end) of the stream, by absolute sequence number.

    `records`: where records of the program's end that are not all acknowledged, ascending; no segment goes beyond one.
    """

    __slots__ = ("_chunks", "_cursor", "_head", "_offsets", "end", "records", "start")

    def __init__(self, start: int) -> None:
        self.start: int = start
        self.end: int = start
        self.records: list[int] = []
        self._chunks: list[bytes] = []
        self._offsets: list[int] = []  # sequence number of each chunk's first octet
        self._head: int = 0  # index of the first chunk that still holds something
        self._cursor: int = 0  # index of the chunk that the last slice came from

    def __len__(self) -> int:
        return self.end - self.start

    def append(self, data: bytes) -> None:
        """Put `data` behind what is there."""
        chunks = self._chunks
        last = len(chunks) - 1
        if last >= self._head and len(data) + len(chunks[last]) <= _JOIN_BELOW:
            chunks[last] += data
        else:
            chunks.append(data)
            self._offsets.append(self.end)
        self.end += len(data)

    def end_record(self) -> None:
        """What is put behind from now on belongs to another record."""
        records = self.records
        if self.end > self.start and (not records or records[-1] < self.end):
            records.append(self.end)

    def stop_after(self, seq: int) -> int:
        """How far a segment that begins at `seq` may reach: to the end of its record, or of all."""
        for at in self.records:
            if at > seq:
                return at
        return self.end

    def release(self, upto: int) -> None:
        """Forget the octets before `upto`: they are acknowledged."""
        if upto <= self.start:
            return
        chunks = self._chunks
        offsets = self._offsets
        head = self._head
        while head < len(chunks) and offsets[head] + len(chunks[head]) <= upto:
            chunks[head] = b""
            head += 1
        self.start = upto
        while self.records and self.records[0] <= upto:
            del self.records[0]
        self._head = head
        if head >= _COMPACT_AT or head == len(chunks):
            del chunks[:head]
            del offsets[:head]
            self._head = 0
            self._cursor = max(0, self._cursor - head)

    def cut(self, end: int) -> None:
        """Take the octets from `end` on back out: none of them was sent."""
        if end >= self.end:
            return
        chunks = self._chunks
        offsets = self._offsets
        while len(chunks) > self._head and offsets[-1] >= end:
            del chunks[-1]
            del offsets[-1]
        if len(chunks) > self._head:
            chunks[-1] = chunks[-1][: end - offsets[-1]]
        self.end = end
        while self.records and self.records[-1] > end:
            del self.records[-1]
        self._cursor = self._head

    def slice(self, start: int, length: int) -> bytes:
        """The `length` octets from `start`; all of them must be in the buffer."""
        chunks = self._chunks
        offsets = self._offsets
        i = self._find(start)
        self._cursor = i
        chunk = chunks[i]
        skip = start - offsets[i]
        if skip + length <= len(chunk):
            if skip == 0 and length == len(chunk):
                return chunk
            return chunk[skip : skip + length]
        parts = [chunk[skip:] if skip else chunk]
        left = length - (len(chunk) - skip)
        while left > 0:
            i += 1
            chunk = chunks[i]
            if len(chunk) > left:
                chunk = chunk[:left]
            parts.append(chunk)
            left -= len(chunk)
        self._cursor = i
        return b"".join(parts)

    def _find(self, seq: int) -> int:
        """Index of the chunk that holds `seq`: usually that of the last slice, or the next."""
        offsets = self._offsets
        i = self._cursor
        count = len(offsets)
        if self._head <= i < count and offsets[i] <= seq:
            if i + 1 == count or seq < offsets[i + 1]:
                return i
            if i + 2 == count or seq < offsets[i + 2]:
                return i + 1
        low = self._head
        high = count
        while high - low > 1:
            middle = (low + high) >> 1
            if offsets[middle] <= seq:
                low = middle
            else:
                high = middle
        return low
