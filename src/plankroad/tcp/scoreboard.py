"""What was sent and is not acknowledged: byte ranges with their fate (RFC 6675's scoreboard, RFC 2018's marks).

Data is accounted by ranges, never by packet: a range is what one transmission carried, which may be a super-segment,
and a SACK block splits it where it must. Ranges are sorted, follow each other without gaps and cover
[SND.UNA, SND.NXT); a FIN is the last octet of the last range.

Those that are in flight are also threaded in the order in which they were last sent (RFC 8985 section 6.2, step 5:
"a separate doubly linked list ordered by Segment.xmit_ts"), so that looking for losses costs as much as it finds.
"""

from __future__ import annotations

from typing import Final

_COMPACT_AT: Final = 64


class Sent:
    """Octets [start, end), last sent at `sent_at`.

    `lost` and `retransmitted` both set: declared lost, sent again, and that copy is in flight.
    `ever_retransmitted`: no round-trip sample may come from it (Karn's algorithm).
    `segments`: how many segments a sacked range stands for. `in_order`: it is threaded between `older` and `newer`.
    The rest is what `rate` remembers of the moment of transmission; see there.
    """

    __slots__ = (
        "app_limited",
        "delivered",
        "delivered_at",
        "end",
        "ever_retransmitted",
        "first_sent_at",
        "in_order",
        "lost",
        "lost_before",
        "newer",
        "older",
        "retransmitted",
        "sacked",
        "segments",
        "sent_at",
        "start",
        "tx_in_flight",
    )

    def __init__(self, start: int, end: int, sent_at: int) -> None:
        self.start: int = start
        self.end: int = end
        self.sent_at: int = sent_at
        self.sacked: bool = False
        self.lost: bool = False
        self.retransmitted: bool = False
        self.ever_retransmitted: bool = False
        self.segments: int = 0
        self.in_order: bool = False
        self.older: Sent | None = None
        self.newer: Sent | None = None
        self.delivered: int = 0
        self.delivered_at: int = 0
        self.first_sent_at: int = 0
        self.tx_in_flight: int = 0
        self.lost_before: int = 0
        self.app_limited: bool = False


class Scoreboard:
    """The ranges, and sums over them kept up to date."""

    __slots__ = (
        "_head",
        "ack_limit",
        "acked_ever_retransmitted",
        "acked_first_sent_at",
        "acked_last_sent_at",
        "acked_resent_at",
        "fack",
        "fresh_losses",
        "high_sacked",
        "lost",
        "newest",
        "newest_end",
        "newest_retransmitted",
        "newest_sent_at",
        "next_deadline",
        "oldest",
        "original_start",
        "rack_end",
        "rack_sent_at",
        "ranges",
        "reordered",
        "reordered_from",
        "retransmit_hint",
        "retransmitted",
        "sack_limit",
        "sacked",
        "sacked_segments",
        "youngest",
    )

    def __init__(self) -> None:
        self.ranges: list[Sent] = []
        self._head: int = 0
        self.sacked: int = 0  # octets in sacked ranges
        self.sacked_segments: int = 0  # segments that they stand for
        self.lost: int = 0  # octets in lost ranges, retransmitted or not
        self.retransmitted: int = 0  # octets in ranges whose retransmission is in flight
        self.high_sacked: int = 0  # end of the highest sacked range: RACK.fack
        self.retransmit_hint: int = 0  # no lost and not retransmitted range below
        self.oldest: Sent | None = None  # in flight, first and last in the order of sending
        self.youngest: Sent | None = None
        # Ranges that were found lost and not yet told of.
        self.fresh_losses: list[Sent] = []
        # When the next range in flight will count as lost, if nothing more is heard of it; set by `detect_lost`.
        self.next_deadline: int = 0

        # Of ranges sent again, those sent later than this cannot be what the ACK that is being taken in answers,
        # cumulatively and selectively.
        self.ack_limit: int = 0
        self.sack_limit: int = 0
        # What that ACK says; `begin_ack` clears it.
        self.fack: int = 0
        self.newest: Sent | None = None  # the delivered range that was sent last
        self.newest_sent_at: int = -1
        self.newest_end: int = 0
        self.newest_retransmitted: bool = False
        self.rack_sent_at: int = -1  # the same among those of which RACK knows which transmission arrived
        self.rack_end: int = 0
        self.reordered: bool = False  # an original below what had arrived before
        self.reordered_from: int = 0  # the lowest of them begins here
        self.original_start: int = -1  # start of the lowest delivered range that was sent only once
        self.acked_first_sent_at: int = -1  # earliest and latest transmission of an octet sent only once
        self.acked_last_sent_at: int = -1
        self.acked_resent_at: int = -1  # the earliest retransmission of octets that are acknowledged, SACK aside
        self.acked_ever_retransmitted: bool = False

    def begin(self, seq: int) -> None:
        """Nothing is outstanding; the next octet sent will be `seq`."""
        self.high_sacked = seq
        self.retransmit_hint = seq

    def clear(self) -> None:
        """The connection is over."""
        for sent in self.ranges:
            sent.older = None
            sent.newer = None
        self.ranges.clear()
        self.fresh_losses.clear()
        self._head = 0
        self.oldest = None
        self.youngest = None
        self.newest = None
        self.sacked = 0
        self.sacked_segments = 0
        self.lost = 0
        self.retransmitted = 0

    def head(self) -> int:
        """Index in `ranges` of the range at SND.UNA."""
        return self._head

    def is_empty(self) -> bool:
        """Is nothing outstanding?"""
        return self._head == len(self.ranges)

    def first(self) -> Sent | None:
        """The range at SND.UNA."""
        return self.ranges[self._head] if self._head < len(self.ranges) else None

    def add(self, start: int, end: int, now: int) -> Sent:
        """[start, end) was sent for the first time; `start` is where the last range ended."""
        sent = Sent(start, end, now)
        self.ranges.append(sent)
        sent.in_order = True
        youngest = self.youngest
        if youngest is None:
            self.oldest = sent
        else:
            youngest.newer = sent
            sent.older = youngest
        self.youngest = sent
        return sent

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

    # --- what an ACK says ------------------------------------------------------------------------------------------

    def begin_ack(self) -> None:
        """An ACK is taken in."""
        self.fack = self.high_sacked
        self.newest = None
        self.newest_sent_at = -1
        self.rack_sent_at = -1
        self.reordered = False
        self.original_start = -1
        self.acked_first_sent_at = -1
        self.acked_last_sent_at = -1
        self.acked_resent_at = -1
        self.acked_ever_retransmitted = False

    def ack(self, upto: int) -> int:
        """Everything below `upto` is acknowledged; returns how many of its octets had not been reported by SACK."""
        ranges = self.ranges
        head = self._head
        count = len(ranges)
        fresh = 0
        while head < count:
            sent = ranges[head]
            if sent.start >= upto:
                break
            end = sent.end
            if end > upto:
                end = upto
            length = end - sent.start
            if sent.sacked:
                self.sacked -= length
            else:
                fresh += length
                if sent.ever_retransmitted:
                    self.acked_ever_retransmitted = True
                    if self.acked_resent_at < 0 or sent.sent_at < self.acked_resent_at:
                        self.acked_resent_at = sent.sent_at
                else:
                    if self.acked_first_sent_at < 0:
                        self.acked_first_sent_at = sent.sent_at
                    self.acked_last_sent_at = sent.sent_at
                self._deliver(sent, end, self.ack_limit)
            if sent.lost:
                self.lost -= length
            if sent.retransmitted:
                self.retransmitted -= length
            if end < sent.end:
                sent.start = end
                break
            if sent.in_order:
                self._unthread(sent)
            self.sacked_segments -= sent.segments
            head += 1
        self._head = head
        if head >= _COMPACT_AT or head == count:
            del ranges[:head]
            self._head = 0
        if self.high_sacked < upto:
            self.high_sacked = upto
        if self.retransmit_hint < upto:
            self.retransmit_hint = upto
        return fresh

    def sack(self, left: int, right: int, smss: int, most: int = 1 << 20) -> int:
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
                self._deliver(sent, sent.end, self.sack_limit)
                sent.sacked = True
                self.sacked += length
                sent.segments = (length + smss - 1) // smss
                self.sacked_segments += sent.segments
                if sent.lost:
                    sent.lost = False
                    self.lost -= length
                if sent.retransmitted:
                    sent.retransmitted = False
                    self.retransmitted -= length
                if sent.in_order:
                    self._unthread(sent)
                i = self._merge(i)
            i += 1
        if fresh and right > self.high_sacked:
            self.high_sacked = min(right, ranges[-1].end)
        return fresh

    def _deliver(self, sent: Sent, end: int, limit: int) -> None:
        """Octets up to `end` of a range are known to have arrived: what RACK and the rate sample want to know."""
        at = sent.sent_at
        known = True
        if sent.ever_retransmitted:
            # RFC 8985 section 6.2, step 2: is it the last transmission that this ACK answers?
            known = at <= limit
        else:
            # Step 3: "Else if Segment.end_seq < RACK.fack AND Segment.retransmitted is FALSE:
            # RACK.reordering_seen = TRUE". Within one ACK the order is that of the numbers.
            if end < self.fack and (not self.reordered or sent.start < self.reordered_from):
                self.reordered = True
                self.reordered_from = sent.start
            if self.original_start < 0 or sent.start < self.original_start:
                self.original_start = sent.start
        if at > self.newest_sent_at or (at == self.newest_sent_at and end > self.newest_end):
            self.newest = sent
            self.newest_sent_at = at
            self.newest_end = end
            self.newest_retransmitted = sent.ever_retransmitted
        if known and (at > self.rack_sent_at or (at == self.rack_sent_at and end > self.rack_end)):
            self.rack_sent_at = at
            self.rack_end = end

    # --- losses ----------------------------------------------------------------------------------------------------

    def detect_lost(self, xmit_ts: int, end_seq: int, wait: int, now: int) -> int:
        """RACK_detect_loss (): lose what was sent before (`xmit_ts`, `end_seq`), and `wait` ago or longer.

        Returns the octets newly lost. `next_deadline` is when the next such range will have waited that long, -1
        where there is none.
        """
        fresh = 0
        self.next_deadline = -1
        sent = self.oldest
        while sent is not None:
            at = sent.sent_at
            if at > xmit_ts:
                break
            newer = sent.newer
            if at == xmit_ts and sent.end >= end_seq:
                # Of those sent at one time the others come later in the order: a burst must not be walked through with
                # each ACK. One that was sent again after it, in the same instant, is found by the next.
                break
            if at + wait > now:
                self.next_deadline = at + wait
                break
            fresh += self._lose(sent)
            sent = newer
        return fresh

    def mark_first_lost(self, length: int) -> int:
        """Mark the first `length` unsacked octets from SND.UNA lost; returns the octets newly marked."""
        i = self._head
        if i >= len(self.ranges):
            return 0
        sent = self.ranges[i]
        if sent.sacked or (sent.lost and not sent.retransmitted):
            return 0
        if sent.end - sent.start > length:
            self._split(i, sent.start + length)
        return self._lose(sent)

    def mark_old_lost(self, before: int) -> int:
        """The first range, and each that was last sent `before` then or at that time, is lost; returns the octets."""
        fresh = 0
        first = self.first()
        if first is not None and first.in_order:
            fresh += self._lose(first)
        sent = self.oldest
        while sent is not None and sent.sent_at <= before:
            newer = sent.newer
            fresh += self._lose(sent)
            sent = newer
        return fresh

    def mark_all_lost(self) -> int:
        """All that is not sacked is lost, retransmissions too; returns the octets newly lost."""
        fresh = 0
        sent = self.oldest
        while sent is not None:
            newer = sent.newer
            fresh += self._lose(sent)
            sent = newer
        return fresh

    def unmark_lost(self) -> None:
        """The losses were no losses (a spurious timeout): what was not sent again is in flight after all."""
        for i in range(self._head, len(self.ranges)):
            sent = self.ranges[i]
            if sent.lost:
                sent.lost = False
                self.lost -= sent.end - sent.start
        self._thread_all()

    def forget_sacks(self) -> None:
        """The peer reneged: turn all SACK marks off (RFC 2018 section 8)."""
        for i in range(self._head, len(self.ranges)):
            sent = self.ranges[i]
            sent.sacked = False
            sent.segments = 0
        self.sacked = 0
        self.sacked_segments = 0
        if self._head < len(self.ranges):
            self.high_sacked = self.ranges[self._head].start
        self._thread_all()

    def next_lost(self) -> Sent | None:
        """The first lost range that was not sent again."""
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

    def last(self, length: int) -> Sent | None:
        """A range of up to `length` octets at the end, for a tail loss probe; None where it arrived."""
        if self._head == len(self.ranges):
            return None
        i = len(self.ranges) - 1
        sent = self.ranges[i]
        if sent.sacked:
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
        if sent.in_order:
            self._unthread(sent)
        self._thread(sent)

    def _lose(self, sent: Sent) -> int:
        """A range in flight, or its retransmission, is lost."""
        length = sent.end - sent.start
        if sent.retransmitted:
            sent.retransmitted = False
            self.retransmitted -= length
        if not sent.lost:
            sent.lost = True
            self.lost += length
        if sent.start < self.retransmit_hint:
            self.retransmit_hint = sent.start
        if sent.in_order:
            self._unthread(sent)
        self.fresh_losses.append(sent)
        return length

    # --- the order of sending --------------------------------------------------------------------------------------

    def _thread(self, sent: Sent) -> None:
        """`sent` was sent now: the youngest."""
        sent.in_order = True
        youngest = self.youngest
        sent.older = youngest
        sent.newer = None
        if youngest is None:
            self.oldest = sent
        else:
            youngest.newer = sent
        self.youngest = sent

    def _unthread(self, sent: Sent) -> None:
        older = sent.older
        newer = sent.newer
        if older is None:
            self.oldest = newer
        else:
            older.newer = newer
        if newer is None:
            self.youngest = older
        else:
            newer.older = older
        sent.older = None
        sent.newer = None
        sent.in_order = False

    def _thread_all(self) -> None:
        """Build the order anew."""
        flying: list[tuple[int, int, Sent]] = []
        for i in range(self._head, len(self.ranges)):
            sent = self.ranges[i]
            sent.in_order = False
            sent.older = None
            sent.newer = None
            if not sent.sacked and (not sent.lost or sent.retransmitted):
                flying.append((sent.sent_at, i, sent))
        self.oldest = None
        self.youngest = None
        flying.sort()
        for entry in flying:
            self._thread(entry[2])

    # --- ranges ----------------------------------------------------------------------------------------------------

    def _split(self, i: int, seq: int) -> None:
        """Cut range `i` in two at `seq`."""
        sent = self.ranges[i]
        rest = Sent(seq, sent.end, sent.sent_at)
        rest.sacked = sent.sacked
        rest.lost = sent.lost
        rest.retransmitted = sent.retransmitted
        rest.ever_retransmitted = sent.ever_retransmitted
        rest.delivered = sent.delivered
        rest.delivered_at = sent.delivered_at
        rest.first_sent_at = sent.first_sent_at
        rest.tx_in_flight = sent.tx_in_flight
        rest.lost_before = sent.lost_before
        rest.app_limited = sent.app_limited
        sent.end = seq
        self.ranges.insert(i + 1, rest)
        if sent.in_order:
            newer = sent.newer
            rest.in_order = True
            rest.older = sent
            rest.newer = newer
            sent.newer = rest
            if newer is None:
                self.youngest = rest
            else:
                newer.older = rest

    def _merge(self, i: int) -> int:
        """Join sacked range `i` with sacked neighbours; returns its index afterwards."""
        ranges = self.ranges
        sent = ranges[i]
        if i + 1 < len(ranges) and ranges[i + 1].sacked:
            sent.end = ranges[i + 1].end
            sent.segments += ranges[i + 1].segments
            sent.tx_in_flight = max(sent.tx_in_flight, ranges[i + 1].tx_in_flight)
            del ranges[i + 1]
        if i > self._head and ranges[i - 1].sacked:
            ranges[i - 1].end = sent.end
            ranges[i - 1].segments += sent.segments
            # Should the peer renege, the whole is one range again.
            ranges[i - 1].tx_in_flight = max(ranges[i - 1].tx_in_flight, sent.tx_in_flight)
            del ranges[i]
            i -= 1
        return i
