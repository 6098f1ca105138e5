"""The send window that each host has in a dialogue: which segment's window counts.

RFC 9293 section 3.10.7.4, fifth: "If (SND.WL1 < SEG.SEQ or (SND.WL1 = SEG.SEQ and SND.WL2 =< SEG.ACK)), set SND.WND <-
SEG.WND" ... "The check here prevents using old segments to update the window". Plankroad does that to the letter, so
that one acknowledgement far ahead in its window keeps it from hearing the windows of all segments before that.

Linux hears the window of what acknowledges something new, whatever its number; may let the number go back with text
that comes in order and says the window of before; does not take a smaller window, unless it is zero, from the number
that the last one had; goes on to the window of what ends at RCV.NXT or begins at the right edge, which section 3.4 does
not call acceptable; and to that of a segment without the timestamp that was agreed to (RFC 7323 section 3.2 drops it).
"""

from __future__ import annotations

from typing import Final

from tests.fuzz.differential.dialogue import PACKET, Step
from tests.fuzz.differential.difference import Difference

from plankroad.wire.segment import ACK, FIN, RST, SYN

#: Where a number is put that is told by its distance from the edge of the host's window.
_EDGE: Final = 1 << 20
#: A number so far ahead of RCV.NXT that is not told by the edge is beyond it.
_FAR: Final = 1 << 18
#: Before any.
_NEVER: Final = -(1 << 40)


class SendWindows:
    """Right edges of the send windows after a step. `nxt`: SND.NXT before it.

    Two things are not seen from outside. `over`: Linux hears what begins at the edge of its window or crosses it; it
    does while nothing waits to be read. `back`: the number goes back with text in order; it does where that takes the
    quick path, for which memory must be set aside already.
    """

    def __init__(self, d: Difference, over: bool = True, back: bool = True) -> None:
        self.nxt = 1
        self._over = over
        self._back = back
        self._rcv_nxt = 1
        self._shift = 0
        self._ts_recent = _NEVER
        self._timestamps = False
        self._begin("")
        for step, answers in zip(d.before, d.said, strict=True):
            self._arrives(step)
            for answer in answers:
                if answer.flags & RST:
                    continue
                if answer.flags & SYN:
                    self._begin(answer.options)
                    shift = next((one.options[1] for one in d.before if one.options is not None), -1)
                    self._shift = shift if "wscale" in answer.options and shift > 0 else 0
                elif isinstance(answer.seq, int):
                    self.nxt = max(self.nxt, answer.seq + answer.length + bool(answer.flags & FIN))
                if isinstance(answer.ack, int):
                    self._rcv_nxt = answer.ack
        self._arrives(d.step)

    @property
    def ours(self) -> int:
        return self._our_una + self._our_wnd

    @property
    def acknowledged(self) -> int:
        """SND.UNA, ours."""
        return self._our_una

    @property
    def linux(self) -> int:
        return self._linux_una + self._linux_wnd

    def _begin(self, options: str) -> None:
        """A SYN,ACK with these options."""
        self.nxt = self._our_una = self._linux_una = 1
        self._our_wnd = self._linux_wnd = 0
        self._our_wl1 = self._our_wl2 = self._linux_wl1 = self._ts_recent = _NEVER
        self._timestamps = "ts" in options.split()

    def _arrives(self, step: Step) -> None:
        if step.kind != PACKET or step.broken or step.flags & (SYN | RST | ACK) != ACK or step.ack is None:
            return
        if not max(1, self._our_una - 65535) <= step.ack <= self.nxt:
            return  # refused
        if self._timestamps and step.ts is not None and step.ts < self._ts_recent:
            return  # dropped
        without = self._timestamps and step.ts is None
        length = step.length + bool(step.flags & FIN)
        seq = step.seq + (_EDGE if step.from_edge else 0)
        if step.from_edge:
            acceptable = step.seq < 0 or (step.seq == 0 and not length)
        else:
            acceptable = seq < self._rcv_nxt + _FAR and (seq >= self._rcv_nxt or seq + length > self._rcv_nxt)
        window = step.wnd << self._shift
        if acceptable and not without:
            if step.ts is not None and seq <= self._rcv_nxt:
                self._ts_recent = step.ts
            self._ours(seq, step.ack, window)
        if step.from_edge:
            heard = step.seq + length <= 0 or (step.seq <= 0 and self._over)
        else:
            heard = acceptable or (length > 0 and seq + length == self._rcv_nxt)
        if heard:
            self._linux(seq, step.ack, window, bool(step.length) and seq == self._rcv_nxt)

    def _ours(self, seq: int, ack: int, window: int) -> None:
        if ack < self._our_una:
            return
        self._our_una = ack
        if (self._our_wl1, self._our_wl2) <= (seq, ack):
            self._our_wnd, self._our_wl1, self._our_wl2 = window, seq, ack

    def _linux(self, seq: int, ack: int, window: int, in_order: bool) -> None:
        if ack < self._linux_una:
            return
        same = seq == self._linux_wl1 and (window > self._linux_wnd or window == 0)
        if ack > self._linux_una or seq > self._linux_wl1 or same:
            self._linux_una, self._linux_wnd, self._linux_wl1 = ack, window, seq
        elif self._back and in_order and window == self._linux_wnd:
            self._linux_wl1 = seq


def send_windows(d: Difference) -> list[SendWindows]:
    """All that they may be, each once."""
    found: dict[int, SendWindows] = {}
    for over in (True, False):
        for back in (True, False):
            windows = SendWindows(d, over, back)
            found.setdefault(windows.linux, windows)
    return list(found.values())
