"""Sequence ladders: the segments of a connection drawn as arrows between its two ends, top to bottom in time.

    time (s) client                                                         server
    0.000000 │── SYN  seq 0  mss 1460 sackOK ts ws 7  win 65535 ────────────────▶│
    0.020134 │◀───── SYN ACK  seq 0  ack 1  mss 1460 sackOK ts ws 7  win 65160 ──│

Sequence and acknowledgement numbers are relative to each side's first, windows in bytes where the scale was seen.
"""

from __future__ import annotations

from typing import Final

from plankroad.units import SECOND
from plankroad.wire.segment import ACE, ACE_SHIFT, ACK, AE, CWR, ECE, FIN, PSH, RST, SYN, URG, Segment

#: Directions.
RIGHT: Final = 0  #: from the left end to the right end
LEFT: Final = 1

_FLAGS: Final = (
    (SYN, "SYN"),
    (FIN, "FIN"),
    (RST, "RST"),
    (PSH, "PSH"),
    (ACK, "ACK"),
    (URG, "URG"),
    (ECE, "ECE"),
    (CWR, "CWR"),
    (AE, "AE"),
)


class Step:
    """One segment of a ladder. `seq`, `ack`, `sack` are relative and do not wrap; `wnd` is scaled if it can be.

    `dropped`: why it never arrived, empty if it did. `note`: anything else worth a word.
    `retransmission`: some of its sequence space had been sent before.
    """

    __slots__ = (
        "ack",
        "direction",
        "dropped",
        "flags",
        "length",
        "note",
        "options",
        "retransmission",
        "sack",
        "seq",
        "time",
        "wnd",
    )

    def __init__(self, time: int, direction: int, flags: int, seq: int, length: int) -> None:
        self.time = time
        self.direction = direction
        self.flags = flags
        self.seq = seq
        self.length = length
        self.ack: int = -1
        self.wnd: int = 0
        self.sack: list[tuple[int, int]] = []
        self.options: str = ""
        self.dropped: str = ""
        self.note: str = ""
        self.retransmission: bool = False

    def end(self) -> int:
        """The sequence number after it: SYN and FIN count one each (RFC 9293 section 3.4)."""
        n = self.seq + self.length
        if self.flags & SYN:
            n += 1
        if self.flags & FIN:
            n += 1
        return n

    def label(self) -> str:
        """What stands on the arrow."""
        names = [name for bit, name in _FLAGS if self.flags & bit]
        parts = [" ".join(names) if names else "no flags"]
        if self.length:
            parts.append(f"{self.seq}:{self.seq + self.length} ({self.length})")
        elif self.flags & (SYN | FIN | RST):
            parts.append(f"seq {self.seq}")
        if self.ack >= 0:
            parts.append(f"ack {self.ack}")
        if self.options:
            parts.append(self.options)
        for start, end in self.sack:
            parts.append(f"sack {start}:{end}")
        # Last, as it is the first to go where the line is too short.
        if not self.flags & RST:
            parts.append(f"win {self.wnd}")
        return "  ".join(parts)

    def is_plain(self) -> bool:
        """Data or an acknowledgement with nothing to remark on: several in a row say no more than one."""
        return (
            not self.flags & (SYN | FIN | RST | URG | ECE | CWR)
            and not self.dropped
            and not self.note
            and not self.retransmission
        )


class _Side:
    """What is known of the segments that one end has sent."""

    __slots__ = ("ecn", "highest", "known", "near", "shift", "start")

    def __init__(self) -> None:
        self.ecn = 0  # the ECN flags of its SYN
        self.known = False
        self.start = 0  # wire number that is relative 0
        self.near = 0  # a relative number close to the latest
        self.highest = 0  # relative number after the last sent
        self.shift = -1  # window shift offered, -1 unknown or none

    def relative(self, value: int, sent: bool) -> int:
        """The unbounded relative number nearest to the latest one; the first number seen is relative 0.

        `sent`: this end sent the number itself; what the other end says of it may be nonsense.
        """
        if not self.known:
            self.known = True
            self.start = value
        offset = (value - self.start - self.near + 0x80000000) & 0xFFFFFFFF
        result = self.near + offset - 0x80000000
        if sent:
            self.near = max(self.near, result)
        return result


class Ladder:
    """Collects the segments of one connection and draws them."""

    __slots__ = ("accecn", "left", "right", "scaling", "sides", "steps")

    def __init__(self, left: str, right: str) -> None:
        """`left`, `right`: names of the two ends."""
        self.left = left
        self.right = right
        self.steps: list[Step] = []
        self.sides: list[_Side] = [_Side(), _Side()]
        self.scaling = False
        self.accecn = False  # accurate ECN was agreed: three flags are a counter in what has no SYN

    def add(self, now: int, direction: int, seg: Segment, dropped: str = "", note: str = "") -> Step:
        """`seg` was sent at `now` (nanoseconds) towards `direction` (RIGHT or LEFT); segments come in order of time.

        `dropped`: the reason why the network did not deliver it. `note`: what stands beside the arrow.
        """
        side = self.sides[direction]
        other = self.sides[1 - direction]
        length = len(seg.payload)
        step = Step(now, direction, seg.flags, side.relative(seg.seq, True), length)
        if seg.flags & ACK:
            step.ack = other.relative(seg.ack, False)
        for start, end in seg.sack:
            step.sack.append((other.relative(start, False), other.relative(end, False)))
        if seg.flags & SYN:
            side.shift = seg.wscale
            # RFC 7323 section 2.2: both must have sent the option. A window in a SYN is never scaled.
            self.scaling = side.shift >= 0 and other.shift >= 0
            step.wnd = seg.wnd
            # RFC 9768 section 3.1.2, table 2.
            if not seg.flags & ACK:
                self.accecn = False
                side.ecn = seg.flags & ACE
            else:
                self.accecn = other.ecn == ACE and seg.flags & ACE not in (0, ECE, ACE)
        else:
            step.wnd = seg.wnd << side.shift if self.scaling else seg.wnd
        step.options = _options(seg)
        if self.accecn and not seg.flags & SYN:
            step.flags &= ~ACE
            step.options = f"{step.options} ace {seg.flags >> ACE_SHIFT & 7}".lstrip()
        end = step.end()
        step.retransmission = end > step.seq and step.seq < side.highest
        side.highest = max(side.highest, end)
        step.dropped = dropped
        step.note = note
        self.steps.append(step)
        return step

    # --- choosing --------------------------------------------------------------------------------------------------

    def handshake(self) -> tuple[int, int]:
        """The steps [first, last) up to the first data, with one more; (0, 0) if there is none."""
        last = 0
        for i in range(len(self.steps)):
            last = i + 1
            if self.steps[i].length:
                break
        return 0, last

    def recovery(self, skip: int = 0) -> tuple[int, int]:
        """The steps from before the first data segment that was lost to the acknowledgement that ends its recovery.

        `skip`: pass over that many losses. (0, 0) if there is none. Without an end the steps run to the last.
        """
        for i in range(len(self.steps)):
            lost = self.steps[i]
            if not lost.dropped or not lost.length:
                continue
            if skip > 0:
                skip -= 1
                continue
            for j in range(i + 1, len(self.steps)):
                step = self.steps[j]
                if step.direction != lost.direction and step.ack >= lost.end() and not step.dropped:
                    return max(i - 1, 0), j + 1
            return max(i - 1, 0), len(self.steps)
        return 0, 0

    def closing(self) -> tuple[int, int]:
        """The steps from before the first FIN or RST to the last of all; (0, 0) if there is none."""
        for i in range(len(self.steps)):
            if self.steps[i].flags & (FIN | RST):
                return max(i - 1, 0), len(self.steps)
        return 0, 0

    # --- drawing ---------------------------------------------------------------------------------------------------

    def draw(
        self, first: int = 0, last: int = -1, *, width: int = 100, collapse: int = 6, ascii_only: bool = False
    ) -> str:
        """The steps [first, last) as text; `last` -1 = to the end.

        `width`: columns, at least 72. Of a run of more than `collapse` plain steps the first half of that number and
        the last third are drawn, with a line between that sums up the others; 0 draws all. ValueError if `width` is
        too small.
        """
        if width < 72:
            raise ValueError(f"a ladder needs at least 72 columns, not {width}")
        if last < 0:
            last = len(self.steps)
        pen = _Pen(width, ascii_only)
        lines = [pen.head(self.left, self.right)]
        i = first
        while i < last:
            run = i
            while run < last and self.steps[run].is_plain():
                run += 1
            if collapse and run - i > collapse:
                begin = i + max(collapse // 2, 1)
                end = max(run - max(collapse // 3, 1), begin)
                while i < begin:
                    lines.extend(pen.arrow(self.steps[i]))
                    i += 1
                lines.append(pen.gap(self.steps[begin:end]))
                i = end
            if run == i:
                run = i + 1
            while i < run:
                lines.extend(pen.arrow(self.steps[i]))
                i += 1
        return "\n".join(lines)


def _options(seg: Segment) -> str:
    """The options worth showing: all of a SYN's, and the rare ones elsewhere."""
    parts: list[str] = []
    if seg.mss:
        parts.append(f"mss {seg.mss}")
    if seg.sack_permitted:
        parts.append("sackOK")
    if seg.flags & SYN and seg.has_ts:
        parts.append("ts")
    if seg.wscale >= 0:
        parts.append(f"ws {seg.wscale}")
    if seg.user_timeout >= 0:
        parts.append("uto")
    if seg.fast_open is not None:
        parts.append("tfo")
    if seg.accecn is not None:
        parts.append("accecn " + "/".join("-" if n < 0 else str(n) for n in seg.accecn))
    if seg.md5:
        parts.append("md5")
    if seg.ao:
        parts.append("ao")
    if seg.flags & URG:
        parts.append(f"urg +{seg.urgent}")
    return " ".join(parts)


_TIME_WIDTH: Final = 12
_NOTE_WIDTH: Final = 18


class _Pen:
    """The columns of a drawing: time, a rail, the lane between, a rail, notes."""

    __slots__ = ("cross", "dash", "dots", "lane", "left_head", "rail", "right_head", "width")

    def __init__(self, width: int, ascii_only: bool) -> None:
        self.width = width
        self.lane = width - _TIME_WIDTH - 3 - _NOTE_WIDTH
        self.rail = "|" if ascii_only else "│"
        self.dash = "-" if ascii_only else "─"
        self.right_head = ">" if ascii_only else "▶"
        self.left_head = "<" if ascii_only else "◀"
        self.cross = "X" if ascii_only else "✗"
        self.dots = ":" if ascii_only else "⋮"

    def head(self, left: str, right: str) -> str:
        """The names over their rails."""
        room = self.lane + 2
        right = right[: room - 2]
        left = left[: max(room - len(right) - 1, 0)]
        return f"{'time (s)':>{_TIME_WIDTH}} {left}{right.rjust(room - len(left))}"

    def arrow(self, step: Step) -> list[str]:
        """The line of a step, and more where its note needs them."""
        text = step.label()
        # Dashes enough to see an arrow: two before, two after, spaces, a head.
        room = self.lane - 8
        if len(text) > room:
            text = text[: room - 1] + ("~" if self.dash == "-" else "…")
        body = f" {text} "
        if step.dropped:
            # It stops two thirds of the way, or where its text ends.
            reach = max(self.lane * 2 // 3, len(body) + 4)
            shaft = self.dash * 2 + body
            shaft = shaft + self.dash * (reach - len(shaft) - 1) + self.cross
            lane = shaft.ljust(self.lane)
            if step.direction == LEFT:
                shaft = body + self.dash * 2
                shaft = self.cross + self.dash * (reach - len(shaft) - 1) + shaft
                lane = shaft.rjust(self.lane)
        elif step.direction == RIGHT:
            shaft = self.dash * 2 + body
            lane = shaft + self.dash * (self.lane - len(shaft) - 1) + self.right_head
        else:
            shaft = body + self.dash * 2
            lane = self.left_head + self.dash * (self.lane - len(shaft) - 1) + shaft
        notes: list[str] = []
        if step.dropped:
            notes.append(f"lost: {step.dropped}")
        if step.retransmission:
            notes.append("retransmission")
        if step.note:
            notes.append(step.note)
        wrapped = _wrap("; ".join(notes), _NOTE_WIDTH - 1)
        time = f"{step.time // SECOND}.{step.time % SECOND // 1000:06d}"
        lines = [f"{time:>{_TIME_WIDTH}} {self.rail}{lane}{self.rail} {wrapped[0]}".rstrip()]
        for more in wrapped[1:]:
            lines.append(f"{'':{_TIME_WIDTH}} {self.rail}{'':{self.lane}}{self.rail} {more}")
        return lines

    def gap(self, steps: list[Step]) -> str:
        """One line for many plain steps."""
        counts = [0, 0]
        size = [0, 0]
        acks = 0
        for step in steps:
            if step.length:
                counts[step.direction] += 1
                size[step.direction] += step.length
            else:
                acks += 1
        parts: list[str] = []
        for direction in (RIGHT, LEFT):
            if counts[direction]:
                head = self.right_head if direction == RIGHT else self.left_head
                parts.append(f"{head} {counts[direction]:,} x data, {size[direction]:,} bytes")
        if acks:
            parts.append(f"{acks:,} x ACK")
        text = f"{self.dots} {'; '.join(parts)} {self.dots}"
        return f"{self.dots:>{_TIME_WIDTH}} {self.rail}{text:^{self.lane}}{self.rail}"


def _wrap(text: str, width: int) -> list[str]:
    """Lines of at most `width`, broken at spaces where there are any; at least one line."""
    lines: list[str] = []
    line = ""
    for word in text.split():
        rest = word
        if line and len(line) + 1 + len(rest) <= width:
            line += " " + rest
            continue
        if line:
            lines.append(line)
        while len(rest) > width:
            lines.append(rest[:width])
            rest = rest[width:]
        line = rest
    lines.append(line)
    return lines
