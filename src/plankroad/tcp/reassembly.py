"""Segments that arrived out of order, held as sorted intervals until the gap before them is filled (SHLD-31).

Memory is bounded whatever the peer sends: octets by the window, pieces by joining neighbours, intervals by a limit.
What was held first stays: a later copy of the same octets never replaces it.
"""

from __future__ import annotations

from typing import Final

#: What an interval costs besides its octets, in the accounting of memory: 225 bytes as measured by tracemalloc on
#: CPython 3.11, 170 compiled.
INTERVAL_COST: Final = 256
#: A piece this small is joined with its neighbour.
_JOIN_BELOW: Final = 4096
#: Blocks of the SACK option that fit in a segment at most (RFC 2018 section 3).
MAX_SACK_BLOCKS: Final = 4


class Interval:
    """Octets [start, end) in pieces that follow each other."""

    __slots__ = ("end", "pieces", "start")

    def __init__(self, start: int, data: bytes) -> None:
        self.start: int = start
        self.end: int = start + len(data)
        self.pieces: list[bytes] = [data]

    def extend(self, data: bytes) -> None:
        """Put `data` at the end, joining small pieces."""
        pieces = self.pieces
        if len(pieces[-1]) + len(data) <= _JOIN_BELOW:
            pieces[-1] += data
        else:
            pieces.append(data)
        self.end += len(data)

    def prepend(self, data: bytes) -> None:
        """Put `data` before what is there, joining small pieces."""
        pieces = self.pieces
        if len(pieces[0]) + len(data) <= _JOIN_BELOW:
            pieces[0] = data + pieces[0]
        else:
            pieces.insert(0, data)

    def join(self, other: Interval) -> None:
        """Take over the pieces of the interval that follows; the two where they meet are joined if small."""
        pieces = self.pieces
        following = other.pieces
        if len(pieces[-1]) + len(following[0]) <= _JOIN_BELOW:
            following[0] = pieces.pop() + following[0]
        # The shorter list moves: a peer that fills a window from its end to its beginning, hole by hole, would have
        # the longer one copied with each segment.
        if len(pieces) < len(following):
            following[0:0] = pieces
            self.pieces = following
        else:
            pieces.extend(following)


class Reassembly:
    """Intervals above RCV.NXT, sorted and apart from each other."""

    __slots__ = ("intervals", "octets", "recent")

    def __init__(self) -> None:
        self.intervals: list[Interval] = []
        self.octets: int = 0
        self.recent: list[Interval] = []  # the latest to change first: the order of SACK blocks

    def memory(self) -> int:
        """Octets held and what holding them costs."""
        return self.octets + INTERVAL_COST * len(self.intervals)

    def find(self, seq: int) -> int:
        """Index of the first interval that ends after `seq`."""
        intervals = self.intervals
        low = 0
        high = len(intervals)
        while low < high:
            middle = (low + high) >> 1
            if intervals[middle].end <= seq:
                low = middle + 1
            else:
                high = middle
        return low

    def insert(self, start: int, data: bytes, limit: int) -> int:
        """Hold `data`, which begins at `start`; returns how many octets were new.

        Where that would take `memory()` past `limit`, nothing is held.
        """
        end = start + len(data)
        intervals = self.intervals
        if self.octets + len(data) + INTERVAL_COST * (len(intervals) + 1) > limit:
            return 0
        # The first interval that touches [start, end): one that ends exactly at `start` counts.
        i = self.find(start - 1)
        if i == len(intervals) or intervals[i].start > end:
            fresh = Interval(start, data)
            intervals.insert(i, fresh)
            self.octets += len(data)
            self._touch(fresh)
            return len(data)
        first = intervals[i]
        added = 0
        if start < first.start:
            # Data before the first one it touches: the interval grows downwards.
            gap = first.start - start
            first.prepend(data[:gap])
            first.start = start
            added += gap
        while first.end < end:
            nxt = intervals[i + 1] if i + 1 < len(intervals) else None
            if nxt is None or nxt.start > end:
                piece = data[first.end - start :]
                first.extend(piece)
                added += len(piece)
                break
            if nxt.start > first.end:
                piece = data[first.end - start : nxt.start - start]
                first.extend(piece)
                added += len(piece)
            first.join(nxt)
            first.end = nxt.end
            del intervals[i + 1]
            if nxt in self.recent:
                self.recent.remove(nxt)
        else:
            # It ends inside or at the end of `first`; a neighbour that begins right there is joined.
            if i + 1 < len(intervals) and intervals[i + 1].start == first.end:
                nxt = intervals[i + 1]
                first.join(nxt)
                first.end = nxt.end
                del intervals[i + 1]
                if nxt in self.recent:
                    self.recent.remove(nxt)
        self.octets += added
        self._touch(first)
        return added

    def pop(self, rcv_nxt: int) -> list[bytes]:
        """Take out what follows `rcv_nxt` without a gap, as pieces in order; octets before it are cut off."""
        out: list[bytes] = []
        intervals = self.intervals
        while intervals and intervals[0].start <= rcv_nxt:
            first = intervals.pop(0)
            if first in self.recent:
                self.recent.remove(first)
            self.octets -= first.end - first.start
            skip = rcv_nxt - first.start
            for piece in first.pieces:
                if skip >= len(piece):
                    skip -= len(piece)
                    continue
                out.append(piece[skip:] if skip else piece)
                skip = 0
            rcv_nxt = max(rcv_nxt, first.end)
        return out

    def clear(self) -> None:
        """Forget everything."""
        self.intervals.clear()
        self.recent.clear()
        self.octets = 0

    def covering(self, start: int, end: int) -> Interval | None:
        """The interval that holds all of [start, end), if one does."""
        i = self.find(start)
        if i < len(self.intervals):
            interval = self.intervals[i]
            if interval.start <= start and end <= interval.end:
                return interval
        return None

    def sack_blocks(self, count: int) -> list[tuple[int, int]]:
        """Up to `count` blocks, absolute, the one with the latest segment first.

        RFC 2018 section 4: "The first SACK block MUST specify the contiguous block of data containing the segment
        which triggered this ACK"; "The data receiver SHOULD include as many distinct SACK blocks as possible" and
        "SHOULD be filled out by repeating the most recently reported SACK blocks".
        """
        blocks = [(interval.start, interval.end) for interval in self.recent[:count]]
        if len(blocks) < count and len(self.intervals) > len(self.recent):
            for interval in self.intervals:
                if interval not in self.recent:
                    blocks.append((interval.start, interval.end))
                    if len(blocks) == count:
                        break
        return blocks

    def touch(self, interval: Interval) -> None:
        """A segment inside `interval` arrived again: it is reported first."""
        self._touch(interval)

    def _touch(self, interval: Interval) -> None:
        recent = self.recent
        if recent and recent[0] is interval:
            return
        if interval in recent:
            recent.remove(interval)
        recent.insert(0, interval)
        if len(recent) > MAX_SACK_BLOCKS:
            recent.pop()
