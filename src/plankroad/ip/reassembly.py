"""Reassembly of fragments of both families, bounded in memory and time (RFC 791 section 3.2, RFC 8200 section 4.5).

Theory of operation. A datagram is known by source, destination, identification and, for IPv4, protocol. Its parts are
kept in a list sorted by offset, so that a fragment is placed by bisection and looks at its two neighbours only.
RFC 5722 and RFC 8200 section 4.5: fragments of one datagram never overlap unless somebody plays a trick, so one that
does ends it: its parts are thrown away, and the bare entry stays until its time is over to swallow what else comes.
The same rule is applied to IPv4 (RFC 6274 section 4.1.1.4 on why). An exact duplicate is no overlap.

Every fragment is charged with its bytes and what keeping it costs, to its source and to the table; who is over its
limit loses its oldest datagram. Datagrams of a family all live equally long, so the oldest is the next to expire.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import OrderedDict
from typing import Final

from plankroad.ip.counters import IpCounters
from plankroad.units import NEVER, SECOND
from plankroad.wire.checksum import checksum
from plankroad.wire.constants import (
    ECN_CE,
    ECN_NOT_ECT,
    ICMPV6_ERRONEOUS_HEADER,
    ICMPV6_INCOMPLETE_HEADER_CHAIN,
    PROTO_TCP,
)
from plankroad.wire.ipv4 import Ipv4Header
from plankroad.wire.ipv6 import Ipv6Header, chain_complete

#: What an entry and a part are charged with besides their bytes. By tracemalloc on CPython 3.11 an entry of a source of
#: its own takes 1,010 bytes, one of a source that is there already 590, a part 90.
ENTRY_COST: Final = 1024
PART_COST: Final = 128


class Datagram:
    """A datagram whose fragments have not all come. Offsets are in bytes."""

    __slots__ = (
        "deadline",
        "ecn_seen",
        "ends",
        "first",
        "head",
        "ipv4",
        "key",
        "memory",
        "parts",
        "received",
        "refused",
        "source",
        "starts",
        "total",
    )

    def __init__(self, key: bytes, source: bytes, deadline: int) -> None:
        self.key = key
        self.source = source
        self.ipv4: bool = len(source) == 4
        self.deadline = deadline
        self.memory: int = ENTRY_COST
        self.starts: list[int] = []
        self.ends: list[int] = []
        self.parts: list[bytes] = []
        self.received: int = 0
        #: Bytes of data in the whole; -1 until the last fragment came.
        self.total: int = -1
        #: The headers that go before the data, from the fragment with offset 0.
        self.head: bytes = b""
        #: That fragment as it came: an ICMP time exceeded quotes it.
        self.first: bytes = b""
        #: One bit for each ECN codepoint seen.
        self.ecn_seen: int = 0
        #: Nothing more is taken in: see the theory of operation.
        self.refused: bool = False


class Source:
    """What one source address has in the table: bytes charged, and its datagrams, oldest first."""

    __slots__ = ("datagrams", "memory")

    def __init__(self) -> None:
        self.memory: int = 0
        self.datagrams: OrderedDict[bytes, Datagram] = OrderedDict()


class FragmentTable:
    """Datagrams whose fragments have not all come, of both families.

    `ipv4_lifetime`, `ipv6_lifetime`: ns from the first fragment that came. RFC 8200 wants 60 seconds; for IPv4
    RFC 1122 section 3.3.2 recommends 60 to 120 and hosts use 30. `limit` and `source_limit`: bytes charged, in all
    and to one source address. `max_fragments`: of one datagram.
    `ipv4_max_size`: the largest IPv4 datagram put together (EMTU_R of RFC 1122 section 3.3.2), 576 at least.

    After `add_ipv6`, `problem_code` is -1, or the code of the ICMPv6 Parameter Problem that the fragment calls for,
    with `problem_pointer`.
    """

    __slots__ = (
        "counters",
        "expired",
        "ipv4",
        "ipv4_lifetime",
        "ipv4_max_size",
        "ipv6",
        "ipv6_lifetime",
        "limit",
        "max_fragments",
        "memory",
        "problem_code",
        "problem_pointer",
        "source_limit",
        "sources",
    )

    def __init__(
        self,
        counters: IpCounters,
        ipv4_lifetime: int = 30 * SECOND,
        ipv6_lifetime: int = 60 * SECOND,
        limit: int = 4 << 20,
        source_limit: int = 1 << 20,
        max_fragments: int = 256,
        ipv4_max_size: int = 65535,
    ) -> None:
        if ipv4_lifetime <= 0 or ipv6_lifetime <= 0:
            raise ValueError("a reassembly timeout is more than 0")
        if not ENTRY_COST <= source_limit <= limit:
            raise ValueError("limit and source_limit do not fit each other")
        if max_fragments < 2:
            raise ValueError("a fragmented datagram has 2 fragments or more")
        if not 576 <= ipv4_max_size <= 65535:
            raise ValueError("RFC 1122 section 3.3.2: datagrams of 576 bytes at least are reassembled")
        self.counters = counters
        self.ipv4_lifetime = ipv4_lifetime
        self.ipv6_lifetime = ipv6_lifetime
        self.limit = limit
        self.source_limit = source_limit
        self.max_fragments = max_fragments
        self.ipv4_max_size = ipv4_max_size
        self.memory: int = 0
        self.ipv4: OrderedDict[bytes, Datagram] = OrderedDict()
        self.ipv6: OrderedDict[bytes, Datagram] = OrderedDict()
        self.sources: dict[bytes, Source] = {}
        self.expired: list[bytes] = []
        self.problem_code: int = -1
        self.problem_pointer: int = 0

    def __len__(self) -> int:
        """Datagrams in the table."""
        return len(self.ipv4) + len(self.ipv6)

    def add_ipv4(self, now: int, buf: bytes, header: Ipv4Header) -> bytes | None:
        """Take in a fragment; the whole packet where it was the last that was missing.

        `buf` and `header` as from `parse_ipv4`. A packet that is no fragment comes back as it is.
        """
        start = header.fragment_offset
        if start == 0 and not header.more_fragments:
            return buf[header.offset : header.payload_end]
        counters = self.counters
        counters.fragments_received += 1
        data = buf[header.payload_start : header.payload_end]
        size = len(data)
        end = start + size
        # RFC 791: all fragments but the last have a multiple of 8 bytes. One without data would repeat for ever.
        if size == 0 or (header.more_fragments and size & 7) or end + header.header_length > self.ipv4_max_size:
            counters.fragments_refused += 1
            return None
        # RFC 1858 and RFC 3128: a TCP header that is cut within its first 16 bytes is made to
        # slip through a filter. No link has an MTU that small.
        if header.protocol == PROTO_TCP and (start == 8 or (start == 0 and size < 16)):
            counters.fragments_refused += 1
            return None
        key = header.src + header.dst + bytes([header.protocol, header.ident >> 8, header.ident & 0xFF])
        datagram = self.datagram(now, key, header.src, self.ipv4, self.ipv4_lifetime)
        if not self.insert(datagram, start, end, data, header.more_fragments):
            return None
        if start == 0:
            datagram.head = buf[header.offset : header.payload_start]
            datagram.first = buf[header.offset : header.payload_end]
            self.charge(datagram, len(datagram.first))
        datagram.ecn_seen |= 1 << (header.tos & 3)
        if datagram.received != datagram.total:
            self.make_room(datagram)
            return None
        self.remove(datagram)
        head = datagram.head
        total = len(head) + datagram.total
        ecn = combined_ecn(datagram.ecn_seen, head[1] & 3)
        if total > self.ipv4_max_size or ecn < 0:
            counters.reassembly_failed += 1
            return None
        counters.reassembled += 1
        out = (
            head[:1]
            + bytes([head[1] & 0xFC | ecn, total >> 8, total & 0xFF])
            + head[4:6]
            + bytes([head[6] & 0x40, 0, head[8], head[9]])
        )
        value = checksum(out + head[12:])
        return out + bytes([value >> 8, value & 0xFF]) + head[12:] + b"".join(datagram.parts)

    def add_ipv6(self, now: int, buf: bytes, header: Ipv6Header) -> bytes | None:
        """Take in a fragment; the whole packet, without fragment header, where it was the last that was missing.

        `buf` and `header` as from `parse_ipv6`. An atomic fragment comes back without its fragment header, whatever
        else is in the table (RFC 6946 section 4); a packet without that header as it is.
        """
        self.problem_code = -1
        if header.fragment_start < 0:
            return buf[header.offset : header.payload_end]
        counters = self.counters
        counters.fragments_received += 1
        start = header.fragment_offset
        body = header.fragment_start + 8
        size = header.payload_end - body
        end = start + size
        head_length = header.fragment_start - header.offset
        if header.more_fragments and size & 7:
            # "... that fragment must be discarded and an ICMP Parameter Problem, Code 0, message should be sent to
            # the source of the fragment, pointing to the Payload Length field of the fragment packet."
            self.problem_code = ICMPV6_ERRONEOUS_HEADER
            self.problem_pointer = 4
            counters.fragments_refused += 1
            return None
        if head_length - 40 + end > 65535:
            # "... pointing to the Fragment Offset field of the fragment packet."
            self.problem_code = ICMPV6_ERRONEOUS_HEADER
            self.problem_pointer = head_length + 2
            counters.fragments_refused += 1
            return None
        first_kind = buf[header.fragment_start]
        if start == 0 and not chain_complete(buf, body, header.payload_end, first_kind):
            # "If the first fragment does not include all headers through an Upper-Layer header, then that fragment
            # should be discarded and an ICMP Parameter Problem, Code 3, message should be sent to the source of the
            # fragment, with the Pointer field set to zero."
            self.problem_code = ICMPV6_INCOMPLETE_HEADER_CHAIN
            self.problem_pointer = 0
            counters.fragments_refused += 1
            return None
        named_at = header.fragment_next - header.offset
        if start == 0 and not header.more_fragments:
            # RFC 6946 section 4: processed "in isolation from any other packets/fragments".
            head = ipv6_head(buf[header.offset : header.fragment_start], named_at, first_kind)
            counters.reassembled += 1
            return whole_ipv6(head, buf[body : header.payload_end], buf[header.offset + 1] >> 4 & 3)
        if size == 0:
            counters.fragments_refused += 1
            return None
        data = buf[body : header.payload_end]
        key = header.src + header.dst + header.fragment_ident.to_bytes(4, "big")
        datagram = self.datagram(now, key, header.src, self.ipv6, self.ipv6_lifetime)
        if not self.insert(datagram, start, end, data, header.more_fragments):
            return None
        if start == 0:
            datagram.head = ipv6_head(buf[header.offset : header.fragment_start], named_at, first_kind)
            datagram.first = buf[header.offset : header.payload_end]
            self.charge(datagram, len(datagram.first))
        datagram.ecn_seen |= 1 << (header.traffic_class & 3)
        if datagram.received != datagram.total:
            self.make_room(datagram)
            return None
        self.remove(datagram)
        head = datagram.head
        ecn = combined_ecn(datagram.ecn_seen, head[1] >> 4 & 3)
        if len(head) - 40 + datagram.total > 65535 or ecn < 0:
            counters.reassembly_failed += 1
            return None
        counters.reassembled += 1
        return whole_ipv6(head, b"".join(datagram.parts), ecn)

    def next_timeout(self) -> int:
        """When `handle_timeout` has something to give up; `NEVER` with an empty table."""
        if self.expired:
            return 0
        when = NEVER
        for datagram in self.ipv4.values():
            when = datagram.deadline
            break
        for datagram in self.ipv6.values():
            return min(when, datagram.deadline)
        return when

    def handle_timeout(self, now: int) -> list[bytes]:
        """Give up what is too old.

        The fragments with offset 0 (whole IP packets, as they came) of those datagrams of which one was there: each
        calls for an ICMP time exceeded, code 1, about it (RFC 1122 section 3.3.2, RFC 8200 section 4.5).
        """
        self.expire(self.ipv4, now)
        self.expire(self.ipv6, now)
        expired = self.expired
        self.expired = []
        return expired

    # Within.

    def datagram(
        self, now: int, key: bytes, source_addr: bytes, table: OrderedDict[bytes, Datagram], lifetime: int
    ) -> Datagram:
        """The datagram of this key, new where it is not there or its time is over."""
        found = table.get(key)
        if found is not None:
            if found.deadline > now:
                return found
            self.give_up(found)
        found = Datagram(key, source_addr, now + lifetime)
        table[key] = found
        source = self.sources.get(source_addr)
        if source is None:
            source = Source()
            self.sources[source_addr] = source
        source.datagrams[key] = found
        source.memory += found.memory
        self.memory += found.memory
        return found

    def insert(self, datagram: Datagram, start: int, end: int, data: bytes, more: bool) -> bool:
        """Place a fragment; False where it is not taken, and the datagram is not complete by it."""
        counters = self.counters
        if datagram.refused:
            counters.fragments_refused += 1
            self.make_room(datagram)
            return False
        starts = datagram.starts
        ends = datagram.ends
        i = bisect_left(starts, start)
        count = len(starts)
        if (
            i < count
            and starts[i] == start
            and ends[i] == end
            and more == (end != datagram.total)
            and datagram.parts[i] == data
        ):
            counters.fragments_duplicate += 1
            return False
        # RFC 8200 section 4.5: "If any of the fragments being reassembled overlap with any other fragments being
        # reassembled for the same packet, reassembly of that packet must be abandoned and all the fragments that have
        # been received for that packet must be discarded, and no ICMP error messages should be sent." RFC 5722
        # section 4 says so of those not yet received, too. Two different ends are the same contradiction.
        if (
            (i > 0 and ends[i - 1] > start)
            or (i < count and starts[i] < end)
            or (datagram.total >= 0 and (not more or end > datagram.total))
            or (not more and count > 0 and ends[count - 1] > end)
        ):
            counters.fragments_overlapping += 1
            self.refuse(datagram)
            return False
        if count >= self.max_fragments:
            counters.fragments_refused += 1
            self.refuse(datagram)
            return False
        if not more:
            datagram.total = end
        starts.insert(i, start)
        ends.insert(i, end)
        datagram.parts.insert(i, data)
        datagram.received += end - start
        self.charge(datagram, len(data) + PART_COST)
        return True

    def charge(self, datagram: Datagram, amount: int) -> None:
        """Note that a datagram needs so much more memory, or less."""
        datagram.memory += amount
        self.memory += amount
        self.sources[datagram.source].memory += amount

    def make_room(self, datagram: Datagram) -> None:
        """Evict until the limits hold: the oldest of the same source, then the oldest of all."""
        source = self.sources[datagram.source]
        while source.memory > self.source_limit:
            for oldest in source.datagrams.values():
                self.evict(oldest)
                break
        self.shed(self.limit)

    def shed(self, limit: int) -> None:
        """Evict the oldest until no more than `limit` bytes are charged."""
        while self.memory > limit:
            victim: Datagram | None = None
            for oldest in self.ipv4.values():
                victim = oldest
                break
            for oldest in self.ipv6.values():
                # Of two families, the one that has lived longer: deadlines less lifetimes are when they came.
                if victim is None or oldest.deadline - self.ipv6_lifetime < victim.deadline - self.ipv4_lifetime:
                    victim = oldest
                break
            if victim is None:
                return
            self.evict(victim)

    def evict(self, datagram: Datagram) -> None:
        """Give a datagram up for want of memory."""
        self.remove(datagram)
        if not datagram.refused:
            self.counters.reassembly_evicted += 1

    def refuse(self, datagram: Datagram) -> None:
        """Throw away what came, and swallow what else will come."""
        self.counters.reassembly_failed += 1
        datagram.refused = True
        datagram.starts = []
        datagram.ends = []
        datagram.parts = []
        datagram.received = 0
        datagram.first = b""
        datagram.head = b""
        self.charge(datagram, ENTRY_COST - datagram.memory)
        self.make_room(datagram)

    def remove(self, datagram: Datagram) -> None:
        """Take a datagram out of the table."""
        if datagram.ipv4:
            del self.ipv4[datagram.key]
        else:
            del self.ipv6[datagram.key]
        source = self.sources[datagram.source]
        del source.datagrams[datagram.key]
        source.memory -= datagram.memory
        self.memory -= datagram.memory
        if not source.datagrams:
            del self.sources[datagram.source]

    def give_up(self, datagram: Datagram) -> None:
        """A datagram's time is over."""
        self.remove(datagram)
        if datagram.refused:
            return
        self.counters.reassembly_timeout += 1
        if datagram.first:
            self.expired.append(datagram.first)

    def expire(self, table: OrderedDict[bytes, Datagram], now: int) -> None:
        """Give up what is too old in one family."""
        while table:
            for datagram in table.values():
                if datagram.deadline > now:
                    return
                self.give_up(datagram)
                break


def combined_ecn(seen: int, first: int) -> int:
    """The ECN codepoint of a reassembled packet, -1 where it must be dropped (RFC 3168 section 5.3).

    `seen` has one bit for each codepoint among the fragments; `first` is that of the fragment with offset 0.
    """
    if seen & 1 << ECN_CE:
        return -1 if seen & 1 << ECN_NOT_ECT else ECN_CE
    return first


def ipv6_head(head: bytes, named_at: int, kind: int) -> bytes:
    """The headers before the fragment header, their last next-header byte (at `named_at`) made `kind`."""
    return head[:named_at] + bytes([kind]) + head[named_at + 1 :]


def whole_ipv6(head: bytes, data: bytes, ecn: int) -> bytes:
    """The reassembled packet: payload length and ECN codepoint put into the header."""
    length = len(head) - 40 + len(data)
    return (
        head[:1]
        + bytes([head[1] & 0xCF | ecn << 4])
        + head[2:4]
        + bytes([length >> 8, length & 0xFF])
        + head[6:]
        + data
    )
