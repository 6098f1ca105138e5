"""The peer that holds a dialogue with a host: makes packets of steps, and answers comparable.

An answer is what a host sends, without what hosts choose: initial sequence number, timestamps, the size of windows
(only whether it is zero), PSH, where data is cut into segments.
"""

from __future__ import annotations

from typing import Final

from tests.fuzz.differential.dialogue import STREAM, Step, flag_letters

from plankroad.wire.constants import PROTO_TCP
from plankroad.wire.errors import BadPacket
from plankroad.wire.ipv4 import build_ipv4, parse_ipv4
from plankroad.wire.segment import ACK, FIN, PSH, RST, SYN, Segment
from plankroad.wire.tcp import build_tcp, parse_tcp, tcp_checksum_ok

MASK32: Final = 0xFFFFFFFF

#: What the peer begins with.
ISS: Final = 0xFFFF8000
TS: Final = 0xFFFFFF00

#: Numbers beyond this many octets from the start are told by their distance to the window's right edge.
FAR: Final = 30_000


class Answer:
    """A packet of the host, made comparable: see the module. `seq`, `ack`, `sack` are relative; `edge` as words."""

    __slots__ = ("ack", "flags", "length", "options", "sack", "seq", "ts_ecr", "urgent", "zero")

    def __init__(self, flags: int, seq: int | str, length: int, ack: int | str | None) -> None:
        self.flags = flags & ~PSH
        self.seq = seq
        self.length = length
        self.ack = ack
        self.zero = False
        self.sack: tuple[tuple[int | str, int | str], ...] = ()
        self.ts_ecr: int | None = None
        self.options = ""
        self.urgent = 0

    def key(self) -> tuple[object, ...]:
        """What is compared."""
        return (
            self.flags,
            self.seq,
            self.length,
            self.ack,
            self.zero,
            self.sack,
            self.ts_ecr,
            self.options,
            self.urgent,
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Answer) and self.key() == other.key()

    __hash__ = None  # type: ignore[assignment]

    def __str__(self) -> str:
        text = f"{flag_letters(self.flags)} {self.seq}({self.length})"
        if self.ack is not None:
            text += f" ack {self.ack}"
        if self.zero:
            text += " win 0"
        if self.options:
            text += f" <{self.options}>"
        if self.ts_ecr is not None:
            text += f" ecr {self.ts_ecr}"
        if self.sack:
            text += " sack " + " ".join(f"{left}:{right}" for left, right in self.sack)
        return text + (f" urg {self.urgent}" if self.urgent else "")


class Peer:
    """One dialogue with one host, at `host`:`port`, from `address`:`source`."""

    def __init__(self, host: bytes, port: int, address: bytes, source: int) -> None:
        self.host = host
        self.port = port
        self.address = address
        self.source = source
        self.iss = -1  # the host's
        self.edge = 0  # of its window, relative to our numbers
        self.scale = -1  # of its window field; -1 = none
        self.asked_scale = False
        self.last_ts = 0
        self.sent_to = 0  # relative end of what it has sent
        self.anchors: list[int] = []  # where the edge was when something was said by it
        self.named: dict[int, str] = {}  # the numbers that were said so
        self.repeated = 0  # packets of the host that only repeat octets

    def packet(self, step: Step) -> bytes:
        """The packet of a step."""
        base = self.edge if step.from_edge else 0
        if step.from_edge:
            self.anchors.append(base)
            for offset in range(step.seq, step.seq + step.length + 2):
                self.named[base + offset] = f"edge{offset:+d}"
        seq = (ISS + base + step.seq) & MASK32
        ack = 0 if step.ack is None else (max(self.iss, 0) + step.ack) & MASK32
        at = base + step.seq - 1 + (1 if step.flags & SYN else 0)
        payload = STREAM[at % 65536 : at % 65536 + step.length]
        seg = Segment(self.source, self.port, seq, ack, step.flags, step.wnd, payload)
        seg.urgent = step.urgent
        if step.options is not None:
            seg.mss, seg.wscale, seg.sack_permitted = step.options
            self.asked_scale = seg.wscale >= 0
        if step.ts is not None:
            seg.has_ts = True
            seg.ts_val = (TS + step.ts) & MASK32
            seg.ts_ecr = self.last_ts if step.flags & ACK else 0
        seg.sack = [
            ((max(self.iss, 0) + left) & MASK32, (max(self.iss, 0) + right) & MASK32) for left, right in step.sack
        ][: 3 if seg.has_ts else 4]
        head = build_tcp(seg, self.address, self.host)
        if step.broken:
            head = head[:16] + bytes([head[16] ^ 0x55]) + head[17:]
        return build_ipv4(self.address, self.host, PROTO_TCP, len(head) + len(payload), 64, step.tos) + head + payload

    def reset(self) -> bytes:
        """A RST that ends the connection, wherever it stands: with the number that the host waits for."""
        seg = Segment(self.source, self.port, (ISS + self.awaited) & MASK32, 0, RST, 0)
        head = build_tcp(seg, self.address, self.host)
        return build_ipv4(self.address, self.host, PROTO_TCP, len(head)) + head

    awaited = 0

    def is_mine(self, packet: bytes) -> bool:
        """Is it of this dialogue?"""
        return (
            packet[0] >> 4 == 4
            and packet[9] == PROTO_TCP
            and packet[16:20] == self.address
            and packet[22] << 8 | packet[23] == self.source
        )

    def answers(self, packets: list[bytes]) -> list[Answer]:
        """What the host said, comparable; data that is cut into segments in one piece, repeated octets left out."""
        found: list[Answer] = []
        for packet in packets:
            ip = parse_ipv4(packet)
            start, end = ip.payload_start, ip.payload_end
            if not tcp_checksum_ok(packet, start, end, ip.src, ip.dst):
                raise BadPacket("the host's own checksum is wrong")
            answer = self._answer(parse_tcp(packet, start, end))
            if answer is None:
                continue
            last = found[-1] if found else None
            if (
                last is not None
                and last.length
                and isinstance(last.seq, int)
                and answer.seq == last.seq + last.length
                and (answer.length or answer.flags & FIN)
            ):
                last.length += answer.length
                last.flags |= answer.flags
                continue
            found.append(answer)
        return found

    def _answer(self, seg: Segment) -> Answer | None:
        if seg.flags & SYN and seg.seq != self.iss:
            # The first, or a new incarnation.
            self.iss = seg.seq
            self.sent_to = 0
            self.edge = self.awaited = 0
            self.scale = seg.wscale if self.asked_scale else -1
        if seg.has_ts and not seg.flags & RST:
            self.last_ts = seg.ts_val
        seq = near(seg.seq - max(self.iss, 0))
        ack: int | str | None = None
        news = False
        if seg.flags & ACK:
            relative = near(seg.ack - ISS)
            news = relative > self.awaited
            if not seg.flags & RST:
                window = seg.wnd if seg.flags & SYN else seg.wnd << max(self.scale, 0)
                if relative + window > self.edge or self.edge == 0:
                    self.edge = relative + window
                self.awaited = relative
            ack = self.place(relative)
        stop = seq + seg.length()
        if seg.length() and stop <= self.sent_to and not seg.flags & (SYN | RST):
            # Text or FIN once more: when that happens is a matter of timers and recovery, which are measured elsewhere.
            # What it acknowledges may be news.
            self.repeated += 1
            if not news:
                return None
            seq, seg.payload, seg.flags = self.sent_to, b"", ACK
        if seg.length() and seg.seq != 0:
            if seg.payload:
                expected = STREAM[max(seq - 1, 0) : max(seq - 1, 0) + len(seg.payload)]
                if seg.payload != expected:
                    raise AssertionError(f"the host sent other octets than its program wrote, at {seq}")
            self.sent_to = max(self.sent_to, stop)
        answer = Answer(seg.flags, "0" if seg.seq == 0 and seg.flags & RST else seq, len(seg.payload), ack)
        answer.zero = seg.wnd == 0 and not seg.flags & RST
        if not seg.flags & RST:
            answer.sack = tuple(
                (self.place(near(left - ISS)), self.place(near(right - ISS))) for left, right in seg.sack
            )
        if seg.has_ts and not seg.flags & RST:
            answer.ts_ecr = near(seg.ts_ecr - TS)
        if seg.flags & SYN:
            names = (
                ("mss", seg.mss > 0),
                ("wscale", seg.wscale >= 0),
                ("sackOK", seg.sack_permitted),
                ("ts", seg.has_ts),
            )
            answer.options = " ".join(name for name, there in names if there)
        answer.urgent = seg.urgent
        return answer

    def place(self, relative: int) -> int | str:
        """A number of ours in the host's mouth; one that we named by the edge of its window, so too.

        By the words that we used: each host moves its edge by steps of its own, and so one number may be at another
        distance from the edge of before.
        """
        if relative in self.named:
            return self.named[relative]
        if relative > FAR and self.anchors:
            anchor = min(self.anchors, key=lambda one: abs(relative - one))
            if abs(relative - anchor) < FAR:
                return f"edge{relative - anchor:+d}"
        return relative


def near(value: int) -> int:
    """A difference of 32-bit numbers as the small signed one that it is."""
    return ((value + 0x80000000) & MASK32) - 0x80000000
