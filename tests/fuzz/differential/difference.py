"""One step at which the two hosts differ, with what led to it; and what an explanation is."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from typing import Final

from tests.fuzz.differential.dialogue import CLOSE, PACKET, Step
from tests.fuzz.differential.hosts import Seen
from tests.fuzz.differential.peer import Answer

from plankroad.wire.segment import ACK, FIN, RST, SYN

#: Fields of an answer that may differ for reasons of their own.
_SEVERAL: Final = ("seq", "ts_ecr", "sack")


class Difference:
    """One step at which the two differ. `said`: what Linux answered to the steps before it."""

    def __init__(
        self,
        index: int,
        steps: list[Step],
        ours: list[Answer],
        linux: list[Answer],
        our_program: Seen,
        linux_program: Seen,
        said: list[list[Answer]],
    ) -> None:
        self.index = index
        self.steps = steps
        self.step = steps[index]
        self.before = steps[:index]
        self.ours = ours
        self.linux = linux
        self.our_program = our_program
        self.linux_program = linux_program
        self.said = said[:index]

    def is_packet(self) -> bool:
        """Is it about the answer to a packet, and do the programs see the same?"""
        return self.step.kind == PACKET and self.our_program.key() == self.linux_program.key()

    def one_each(self) -> tuple[Answer, Answer] | None:
        """Our answer and Linux's, where both have exactly one."""
        return (self.ours[0], self.linux[0]) if len(self.ours) == len(self.linux) == 1 else None

    def differ_in(self, *names: str) -> bool:
        """Have both one answer each, which differ in these fields at most?"""
        pair = self.one_each()
        if pair is None:
            return False
        ours, linux = pair
        every = ("flags", "seq", "length", "ack", "zero", "sack", "ts_ecr", "options", "urgent")
        return all(getattr(ours, name) == getattr(linux, name) for name in every if name not in names)

    def acked(self) -> int:
        """The last number that Linux acknowledged before: our RCV.NXT, as it is the same up to here."""
        for answers in reversed(self.said):
            for answer in reversed(answers):
                if isinstance(answer.ack, int) and not answer.flags & RST:
                    return answer.ack
        return 0

    def linux_acknowledges(self) -> bool:
        """Is Linux's answer a bare acknowledgement?"""
        return len(self.linux) == 1 and self.linux[0].flags == ACK and not self.linux[0].length

    def closed_at(self) -> int:
        """The step before with which the FIN of a program that has closed its socket was acknowledged, or -1: the host
        is in FIN-WAIT-2 from there, with nobody to read.
        """
        end = self.sent()
        closes = [at for at, step in enumerate(self.before) if step.kind == CLOSE]
        acks = [
            at
            for at, step in enumerate(self.before)
            if step.kind == PACKET and step.flags & ACK and step.ack == end and not step.broken
        ]
        sent_fin = any(answer.flags & FIN for answers in self.said for answer in answers)
        return max(closes[0], acks[0]) if closes and acks and sent_fin else -1

    def in_time_wait(self) -> bool:
        """Have both ends sent a FIN, and both been acknowledged?"""
        sent_fin = any(answer.flags & FIN for answers in self.said for answer in answers)
        end = self.sent()
        acked = any(step.kind == PACKET and step.ack == end and not step.broken for step in self.before)
        return sent_fin and acked and self.ended()

    def by_field(self) -> list[Difference]:
        """One for each of these fields in which the answers differ, the others made equal; none where more differs."""
        pair = self.one_each()
        if pair is None or not self.differ_in(*_SEVERAL):
            return []
        found = []
        for name in _SEVERAL:
            if getattr(pair[0], name) != getattr(pair[1], name):
                ours = copy(pair[1])
                setattr(ours, name, getattr(pair[0], name))
                found.append(
                    Difference(
                        self.index,
                        self.steps,
                        [ours],
                        self.linux,
                        self.our_program,
                        self.linux_program,
                        [*self.said, self.linux],
                    )
                )
        return found

    def sent(self) -> int:
        """The end of what Linux had sent before: SND.NXT."""
        end = 1
        for answers in self.said:
            for answer in answers:
                if answer.flags & SYN:
                    end = 1
                elif isinstance(answer.seq, int) and not answer.flags & RST:
                    end = max(end, answer.seq + answer.length + bool(answer.flags & FIN))
        return end

    def is_open(self) -> bool:
        """Was the handshake of the last SYN,ACK over?"""
        wanted: int | str | None = None
        over = True
        for step, answers in zip(self.before, self.said, strict=True):
            if step.kind == PACKET and not over and step.flags & (SYN | ACK | RST) == ACK and not step.broken:
                over = step.seq == wanted and step.ack == 1
            for answer in answers:
                if answer.flags & SYN:
                    wanted, over = answer.ack, False
        return over

    def contradicts(self) -> bool:
        """Has the peer sent a FIN and text behind it?"""
        steps = [step for step in [*self.before, self.step] if step.kind == PACKET and not step.broken]
        ends = [
            step.seq + step.length + (1 << 20 if step.from_edge else 0)
            for step in steps
            if step.length or step.flags & FIN
        ]
        return any(end > fin for fin in self.fins() for end in ends)

    def ended(self) -> bool:
        """Did the peer send a FIN that was taken?"""
        acked = self.acked()
        return any(
            step.kind == PACKET
            and step.flags & FIN
            and not step.broken
            and not step.from_edge
            and step.seq + step.length + 1 == acked
            for step in self.before
        )

    def fins(self) -> set[int]:
        """The sequence numbers of all FINs that the peer has sent, this step's too."""
        return {
            step.seq + step.length
            for step in [*self.before, self.step]
            if step.kind == PACKET and step.flags & FIN and not step.broken and not step.flags & RST
        }


class Explanation:
    """See the module."""

    def __init__(self, name: str, reason: str, applies: Callable[[Difference], bool], parts: bool = False) -> None:
        self.name = name
        self.reason = reason
        self.applies = applies
        self.parts = parts
