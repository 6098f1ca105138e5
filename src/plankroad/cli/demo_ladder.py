"""Watches a connection go over the simulated network and keeps of it what is worth drawing: the handshake, one loss and
its recovery, the close. What it keeps is bounded, however long the transfer.

A segment is seen when it leaves its host, and again when a route has carried it or lost it. The two are matched by the
moment at which the router between took it: the access links send one packet after the other, so no two of one direction
have the same.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Final

from plankroad.sim.fate import CORRUPTED, DUPLICATE, HELD_BACK, LOST_MASK, describe
from plankroad.sim.link import Link
from plankroad.sim.pipe import Observer, Pipe
from plankroad.trace.ladder import LEFT, RIGHT, Ladder, Step
from plankroad.wire.constants import PROTO_TCP
from plankroad.wire.errors import BadPacket
from plankroad.wire.ipv4 import parse_ipv4
from plankroad.wire.packet import Packet
from plankroad.wire.segment import FIN, RST
from plankroad.wire.tcp import parse_tcp

#: Segments that are remembered for what may become of them.
MEMORY: Final = 1024

#: Steps of the stretch in which a recovery is looked for.
STRETCH: Final = 400

#: Lines of a recovery that is good enough to stop looking for a shorter one.
GOOD_LINES: Final = 12

#: Steps among which the best recovery is taken, if none is good.
SEARCH: Final = 6000

#: Lines of a drawing, its head included; of a longer one the middle is left out.
MOST_LINES: Final = 32

#: Steps of a close, and those before it that it needs to be understood.
CLOSE_STEPS: Final = 200
BEFORE_CLOSE: Final = 2

#: RFC 791 section 3.1, RFC 9293 section 3.1.
_PROTOCOL_AT: Final = 9
_FLAGS_AT: Final = 13


class Seen:
    """A segment that left its host at `sent`. `step`: the rung that it became, once it did."""

    __slots__ = ("data", "direction", "fate", "sent", "step")

    def __init__(self, sent: int, direction: int, data: bytes) -> None:
        self.sent = sent
        self.direction = direction
        self.data = data
        self.fate = -1
        self.step: Step | None = None


class Watcher(Observer):
    """`left` and `right` are the names of the hosts. Three ladders come of it; `drawings` has them as text."""

    __slots__ = ("_access", "_best", "_best_lines", "_closing", "_count", "_ladder", "_pending", "_recent", "_start")

    def __init__(self, left: str, right: str) -> None:
        self._ladder = Ladder(left, right)
        self._access: dict[int, int] = {}
        self._pending: dict[tuple[int, int], Seen] = {}
        self._recent: deque[Seen] = deque(maxlen=16)
        self._start: list[Step] = []  # the handshake
        self._best: list[Step] = []
        self._best_lines = 0
        self._count = 0
        self._closing = False

    def attach(self, from_left: Pipe, from_right: Pipe, routes: Iterable[Link]) -> None:
        """`from_left`, `from_right`: the pipes by which the hosts send. `routes`: where things happen to packets; their
        first end is on the left.
        """
        self._access = {from_left.number: RIGHT, from_right.number: LEFT}
        from_left.observers.append(self)
        from_right.observers.append(self)
        for route in routes:
            route.there.pipe.observers.append(self)
            route.back.pipe.observers.append(self)

    def packet(self, pipe: Pipe, now: int, sent: int, packet: Packet, fate: int, note: str) -> None:
        direction = self._access.get(pipe.number, -1)
        if direction >= 0:
            self._leaves(direction, now, sent, packet.head, fate)
        elif not fate & DUPLICATE:
            # The number of a link's second direction, which goes left, is odd.
            self._crosses((LEFT if pipe.number & 1 else RIGHT, sent), fate)

    # What is seen

    def _leaves(self, direction: int, now: int, sent: int, data: bytes, fate: int) -> None:
        flags_at = (data[0] & 15) * 4 + _FLAGS_AT
        if data[_PROTOCOL_AT] != PROTO_TCP or len(data) <= flags_at:
            return
        seen = Seen(sent, direction, data)
        if fate & LOST_MASK:
            seen.fate = fate
        else:
            if len(self._pending) >= MEMORY:
                del self._pending[next(iter(self._pending))]
            self._pending[direction, now] = seen
        if data[flags_at] & (FIN | RST) and not self._closing:
            self._begin_close()
        if self._closing or self._searching():
            self._draw(seen)
        else:
            self._recent.append(seen)

    def _crosses(self, key: tuple[int, int], fate: int) -> None:
        seen = self._pending.pop(key, None)
        if seen is None:
            return
        seen.fate = fate
        step = seen.step
        if step is not None:
            mark(step, fate)
            if step.ack >= 0 and not step.dropped and not self._closing and self._searching():
                self._look_for_recovery(step)

    # What is kept

    def _searching(self) -> bool:
        """Whether a recovery, or a better one, is still looked for."""
        return not self._best or (self._best_lines > GOOD_LINES and self._count < SEARCH)

    def _draw(self, seen: Seen) -> None:
        steps = self._ladder.steps
        if self._closing and len(steps) >= CLOSE_STEPS:
            del steps[CLOSE_STEPS // 2]  # a close under terrible loss: its middle is more of the same
        try:
            header = parse_ipv4(seen.data)
            segment = parse_tcp(seen.data, header.payload_start, header.payload_end)
        except BadPacket:
            return
        step = self._ladder.add(seen.sent, seen.direction, segment)
        seen.step = step
        if seen.fate >= 0:
            mark(step, seen.fate)
        self._count += 1
        if not self._start or not any(one.length for one in self._start):
            self._start.append(step)
        if not self._closing and len(steps) > STRETCH:
            del steps[: STRETCH // 4]

    def _look_for_recovery(self, answer: Step) -> None:
        """Does `answer`, an acknowledgement that arrived, end a recovery that is the best to show up to now?"""
        steps = self._ladder.steps
        for i, lost in enumerate(steps):
            if (
                not lost.dropped
                or not lost.length
                or lost.retransmission
                or lost.direction == answer.direction
                or answer.ack < lost.end()
            ):
                continue
            last = steps.index(answer) + 1
            if any(one.ack >= lost.end() and one.direction == answer.direction for one in steps[i : last - 1]):
                continue  # that was the end already
            first = max(i - 1, 0)
            if not any(one.retransmission and one.direction == lost.direction for one in steps[i + 1 : last]):
                continue
            chosen = in_order(steps[first:last])
            lines = self._lines(chosen)
            if not self._best or lines < self._best_lines:
                self._best, self._best_lines = chosen, lines
            return

    def _begin_close(self) -> None:
        self._closing = True
        if self._searching():
            # The steps before are in the ladder already.
            del self._ladder.steps[: -BEFORE_CLOSE or None]
            return
        self._ladder.steps.clear()
        for seen in list(self._recent)[-BEFORE_CLOSE:]:
            self._draw(seen)

    # What is shown

    def drawings(self, width: int, ascii_only: bool) -> list[tuple[str, str]]:
        """Title and ladder of each part that there was."""
        parts = [("The handshake", in_order(self._start))]
        if self._best:
            parts.append(("A loss and its recovery", self._best))
        if self._closing:
            parts.append(("The close", in_order(self._ladder.steps)))
        return [(title, self._drawn(steps, width, ascii_only)) for title, steps in parts if steps]

    def _drawn(self, steps: list[Step], width: int, ascii_only: bool) -> str:
        ladder = Ladder(self._ladder.left, self._ladder.right)
        ladder.steps = steps
        lines = ladder.draw(width=width, ascii_only=ascii_only).split("\n")
        left_out = len(lines) - MOST_LINES
        if left_out > 0:
            half = MOST_LINES // 2
            dots = "..." if ascii_only else "⋮"
            lines[half:-half] = [f"{dots} {left_out} more lines {dots}".center(width).rstrip()]
        return "\n".join(lines)

    def _lines(self, steps: list[Step]) -> int:
        ladder = Ladder(self._ladder.left, self._ladder.right)
        ladder.steps = steps
        return ladder.draw(ascii_only=True).count("\n")


def mark(step: Step, fate: int) -> None:
    """Write on a rung what a route did to it."""
    if fate & LOST_MASK:
        step.dropped = describe(fate & LOST_MASK, "").removeprefix("dropped: ")
    elif fate & CORRUPTED:
        step.dropped = "damaged"
    elif fate & HELD_BACK:
        step.note = "held back"


def in_order(steps: list[Step]) -> list[Step]:
    """By the time of sending: the two directions are seen after ways that differ."""
    return sorted(steps, key=lambda step: step.time)
