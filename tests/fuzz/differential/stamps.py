"""TS.Recent in a dialogue: which segment's timestamp each host would echo.

RFC 7323 section 5.3, R3: "If an arriving segment satisfies SEG.TSval >= TS.Recent and SEG.SEQ <= Last.ACK.sent (see
Section 4.3), then record its timestamp in TS.Recent". Plankroad does, where the ACK is one that section 5.2 of RFC 5961
lets in. Linux may leave out a segment whose ACK is older than SND.UNA, and those of a closed socket in FIN-WAIT-2.
"""

from __future__ import annotations

from tests.fuzz.differential.dialogue import PACKET, Step
from tests.fuzz.differential.difference import Difference

from plankroad.wire.segment import ACK, FIN, RST, SYN


class Stamps:
    """After a step: `ours`, and those that Linux may have: it is not known of each segment that it could leave out."""

    def __init__(self, d: Difference) -> None:
        self.ours = 0
        self.linux: set[int] = set()
        self._una = 1
        self._nxt = 1
        self._rcv_nxt = 1
        left_out = d.closed_at()
        for index, (step, answers) in enumerate(zip(d.before, d.said, strict=True)):
            self._arrives(step, 0 <= left_out < index)
            for answer in answers:
                if answer.flags & RST:
                    continue
                if answer.flags & SYN:
                    self._una = self._nxt = 1
                elif isinstance(answer.seq, int):
                    self._nxt = max(self._nxt, answer.seq + answer.length + bool(answer.flags & FIN))
                if isinstance(answer.ack, int):
                    self._rcv_nxt = answer.ack
                if answer.ts_ecr is not None:
                    self.ours = answer.ts_ecr
                    self.linux = {answer.ts_ecr}
        self._arrives(d.step, 0 <= left_out < d.index)

    def _arrives(self, step: Step, left_out: bool) -> None:
        if step.kind != PACKET or step.broken or step.flags & (SYN | RST | ACK) != ACK:
            return
        if step.ts is None or step.ack is None or not max(1, self._una - 65535) <= step.ack <= self._nxt:
            return
        behind = step.from_edge and step.seq + step.length > 0
        if step.ts < self.ours or behind or (not step.from_edge and step.seq + step.length < self._rcv_nxt):
            return  # refused, or before the window: see "the timestamp of a duplicate"
        if not step.from_edge and step.seq <= self._rcv_nxt:
            self.ours = step.ts
            self.linux = self.linux | {step.ts} if left_out or step.ack < self._una else {step.ts}
        self._una = max(self._una, step.ack)
