"""What was sent and is not acknowledged: byte ranges with their fate (RFC 6675's scoreboard, RFC 2018's marks).

Data is accounted by ranges, never by packet: a range is what one transmission carried, which may be a super-segment,
and a SACK block splits it where it must. Ranges are sorted, follow each other without gaps and cover
[SND.UNA, SND.NXT); a FIN is the last octet of the last range.
"""

from __future__ import annotations

from typing import Final

from plankroad.tcp.constants import DUP_THRESH

_COMPACT_AT: Final = 64


class Sent:
    """Octets [start, end), last sent at `sent_at`.

    `lost` and `retransmitted` both set: declared lost, sent again, and that copy is in flight.
    `ever_retransmitted`: no round-trip sample may come from it (Karn's algorithm).
    """

    __slots__ = ("end", "ever_retransmitted", "lost", "retransmitted", "sacked", "sent_at", "start")

    def __init__(self, start: int, end: int, sent_at: int) -> None:
        self.start: int = start
        self.end: int = end
        self.sent_at: int = sent_at
        self.sacked: bool = False
        self.lost: bool = False
        self.retransmitted: bool = False
        self.ever_retransmitted: bool = False


class Scoreboard:
    """The ranges, and sums over them kept up to date."""

    __slots__ = (
        "_head",
        "acked_ever_retransmitted",
        "acked_first_sent_at",
        "acked_last_sent_at",
        "high_sacked",
        "lost",
        "lost_mark",
        "ranges",
        "retransmit_hint",
        "retransmitted",
        "sacked",
    )

    def __init__(self) -> None:
        self.ranges: list[Sent] = []
        self._head: int = 0
        self.sacked: int = 0  # octets in sacked ranges
        self.lost: int = 0  # octets in lost ranges, retransmitted or not
        self.retransmitted: int = 0  # octets in ranges whose retransmission is in flight
        self.high_sacked: int = 0  # end of the highest sacked range
        self.lost_mark: int = 0  # all unsacked ranges below are marked lost
        self.retransmit_hint: int = 0  # no lost and not retransmitted range below
        # What the last `ack` took away:
        self.acked_first_sent_at: int = -1  # earliest and latest transmission of an octet sent only once
        self.acked_last_sent_at: int = -1
        self.acked_ever_retransmitted: bool = False

    def begin(self, seq: int) -> None:
        """Nothing is outstanding; the next octet sent will be `seq`."""
        self.high_sacked = seq
        self.lost_mark = seq
        self.retransmit_hint = seq

    def head(self) -> int:
        """Index in `ranges` of the range at SND.UNA."""
        return self._head

    def is_empty(self) -> bool:
        """Is nothing outstanding?"""
        return self._head == len(self.ranges)

    def first(self) -> Sent | None:
        """The range at SND.UNA."""
        return self.ranges[self._head] if self._head < len(self.ranges) else None

    def add(self, start: int, end: int, now: int) -> None:
        """[start, end) was sent for the first time; `start` is where the last range ended."""
        self.ranges.append(Sent(start, end, now))

    def find(self, seq: int) -> int:
        """Index of the first range that ends after `seq`."""
        ranges = self.ranges
        low = self._head
        high = len(ranges)
        while low < high:
            middle = (low + high) >> 1
            if ranges[middle].end <= seq:
                low = middle + 1
            else:
                high = middle
        return low

    def ack(self, upto: int) -> None:
        """Everything below `upto` is acknowledged."""
        ranges = self.ranges
        head = self._head
        count = len(ranges)
        self.acked_first_sent_at = -1
        self.acked_last_sent_at = -1
        self.acked_ever_retransmitted = False
        while head < count:
            sent = ranges[head]
            if sent.start >= upto:
                break
            end = min(sent.end, upto)
            length = end - sent.start
            if sent.sacked:
                self.sacked -= length
            elif sent.ever_retransmitted:
                self.acked_ever_retransmitted = True
            else:
                if self.acked_first_sent_at < 0:
                    self.acked_first_sent_at = sent.sent_at
                self.acked_last_sent_at = sent.sent_at
            if sent.lost:
                self.lost -= length
            if sent.retransmitted:
                self.retransmitted -= length
            if end < sent.end:
                sent.start = end
                break
            head += 1
        self._head = head
        if head >= _COMPACT_AT or head == count:
            del ranges[:head]
            self._head = 0
        if self.high_sacked < upto:
            self.high_sacked = upto
        if self.lost_mark < upto:
            self.lost_mark = upto
        if self.retransmit_hint < upto:
            self.retransmit_hint = upto

    def sack(self, left: int, right: int, most: int = 1 << 20) -> int:
        """[left, right) arrived at the peer; returns how many of its octets were not known to have arrived.

        Where there are `most` ranges already none is split any more, and one that is covered in part stays as it is:
        a peer that reports single octets does not get one segment for each of the others.
        """
        ranges = self.ranges
        i = self.find(left)
        fresh = 0
        while i < len(ranges):
            sent = ranges[i]
            if sent.start >= right:
                break
            if not sent.sacked:
                if (sent.start < left or sent.end > right) and len(ranges) - self._head >= most:
                    i += 1
                    continue
                if sent.start < left:
                    self._split(i, left)
                    i += 1
                    sent = ranges[i]
                if sent.end > right:
                    self._split(i, right)
                length = sent.end - sent.start
                fresh += length
                sent.sacked = True
                self.sacked += length
                if sent.lost:
                    sent.lost = False
                    self.lost -= length
                if sent.retransmitted:
                    sent.retransmitted = False
                    self.retransmitted -= length
                i = self._merge(i)
            i += 1
        if fresh and right > self.high_sacked:
            self.high_sacked = min(right, ranges[-1].end)
        return fresh

    def mark_lost(self, smss: int) -> int:
        """Mark what RFC 6675's IsLost () says of; returns the octets newly marked.

        RFC 6675 section 4: "The routine returns true when either DupThresh discontiguous SACKed sequences have
        arrived above 'SeqNum' or more than (DupThresh - 1) * SMSS bytes with sequence numbers greater than 'SeqNum'
        have been SACKed."
        """
        ranges = self.ranges
        i = self.find(self.high_sacked - 1)
        octets = 0
        blocks = 0
        limit = -1
        while i >= self._head:
            if i < len(ranges) and ranges[i].sacked:
                octets += ranges[i].end - ranges[i].start
                blocks += 1
                if blocks >= DUP_THRESH or octets > (DUP_THRESH - 1) * smss:
                    limit = ranges[i].start
                    break
            i -= 1
            if i < len(ranges) and i >= self._head and ranges[i].end <= self.lost_mark:
                # All below is marked already.
                return 0
        if limit <= self.lost_mark:
            return 0
        fresh = 0
        j = self.find(self.lost_mark)
        while j < i:
            sent = ranges[j]
            if not sent.sacked and not sent.lost:
                fresh += self._lose(sent)
            j += 1
        self.lost_mark = limit
        return fresh

    def mark_first_lost(self, length: int) -> int:
        """Mark the first `length` unsacked octets from SND.UNA lost; returns the octets newly marked."""
        i = self._head
        if i >= len(self.ranges):
            return 0
        sent = self.ranges[i]
        if sent.sacked or sent.lost:
            return 0
        if sent.end - sent.start > length:
            self._split(i, sent.start + length)
        return self._lose(sent)

    def mark_all_lost(self) -> int:
        """All that is not sacked is lost, retransmissions too (a timeout); returns the octets in it."""
        total = 0
        for i in range(self._head, len(self.ranges)):
            sent = self.ranges[i]
            if not sent.sacked:
                sent.retransmitted = False
                if not sent.lost:
                    sent.lost = True
                    self.lost += sent.end - sent.start
                total += sent.end - sent.start
        self.retransmitted = 0
        if self._head < len(self.ranges):
            self.retransmit_hint = self.ranges[self._head].start
            self.lost_mark = self.ranges[-1].end
        return total

    def unmark_lost(self) -> None:
        """The losses were no losses (a spurious timeout): what was not sent again is in flight after all."""
        for i in range(self._head, len(self.ranges)):
            sent = self.ranges[i]
            if sent.lost:
                sent.lost = False
                self.lost -= sent.end - sent.start
        if self._head < len(self.ranges):
            self.lost_mark = self.ranges[self._head].start

    def forget_sacks(self) -> None:
        """The peer reneged: turn all SACK marks off (RFC 2018 section 8)."""
        for i in range(self._head, len(self.ranges)):
            self.ranges[i].sacked = False
        self.sacked = 0
        if self._head < len(self.ranges):
            self.high_sacked = self.ranges[self._head].start

    def next_lost(self) -> Sent | None:
        """The first lost range that was not sent again: rule (1) of RFC 6675's NextSeg ()."""
        if self.lost == 0:
            return None
        ranges = self.ranges
        i = self.find(self.retransmit_hint)
        while i < len(ranges):
            sent = ranges[i]
            if sent.lost and not sent.retransmitted:
                self.retransmit_hint = sent.start
                return sent
            i += 1
        if ranges:
            self.retransmit_hint = ranges[-1].end
        return None

    def next_hole(self, above: int) -> Sent | None:
        """The first unsacked range from `above` on and below the highest sacked one: rule (3) of NextSeg ()."""
        ranges = self.ranges
        i = self.find(above)
        while i < len(ranges):
            sent = ranges[i]
            if sent.start >= self.high_sacked:
                return None
            if not sent.sacked and not sent.retransmitted:
                return sent
            i += 1
        return None

    def last_unsacked(self, length: int) -> Sent | None:
        """A range of up to `length` octets at the end, for the rescue of rule (4), if nothing there was sent again."""
        if self._head == len(self.ranges):
            return None
        i = len(self.ranges) - 1
        sent = self.ranges[i]
        if sent.sacked or sent.retransmitted:
            return None
        if sent.end - sent.start > length:
            self._split(i, sent.end - length)
            sent = self.ranges[i + 1]
        return sent

    def resent(self, sent: Sent, length: int, now: int) -> None:
        """The first `length` octets of `sent` were sent again.

        A range sent again that is not deemed lost is in the pipe twice, as RFC 6675 section 4 SetPipe () has it.
        """
        if length < sent.end - sent.start:
            self._split(self.find(sent.start), sent.start + length)
        if not sent.retransmitted:
            sent.retransmitted = True
            self.retransmitted += sent.end - sent.start
        sent.ever_retransmitted = True
        sent.sent_at = now

    def _lose(self, sent: Sent) -> int:
        length = sent.end - sent.start
        sent.lost = True
        self.lost += length
        if sent.start < self.retransmit_hint:
            self.retransmit_hint = sent.start
        return length

    def _split(self, i: int, seq: int) -> None:
        """Cut range `i` in two at `seq`."""
        sent = self.ranges[i]
        rest = Sent(seq, sent.end, sent.sent_at)
        rest.sacked = sent.sacked
        rest.lost = sent.lost
        rest.retransmitted = sent.retransmitted
        rest.ever_retransmitted = sent.ever_retransmitted
        sent.end = seq
        self.ranges.insert(i + 1, rest)

    def _merge(self, i: int) -> int:
        """Join sacked range `i` with sacked neighbours; returns its index afterwards."""
        ranges = self.ranges
        sent = ranges[i]
        if i + 1 < len(ranges) and ranges[i + 1].sacked:
            sent.end = ranges[i + 1].end
            del ranges[i + 1]
        if i > self._head and ranges[i - 1].sacked:
            ranges[i - 1].end = sent.end
            del ranges[i]
            i -= 1
        return i
