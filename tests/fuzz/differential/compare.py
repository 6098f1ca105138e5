"""The same dialogue with both hosts, and what differs; `explained.py` says which differences have a reason.

A dialogue is compared step by step up to the first difference after which the two hosts cannot be in the same state.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import Final

from tests.fuzz.differential.dialogue import PACKET, Step, dialogue
from tests.fuzz.differential.difference import Difference, Explanation
from tests.fuzz.differential.explained import explain
from tests.fuzz.differential.hosts import HOST, PORT, LinuxHost, OurHost, Seen
from tests.fuzz.differential.peer import Answer, Peer

#: Seconds of real time after which the kernel's timers may have had a say: the dialogue is held once more.
PATIENCE: Final = 0.7
#: So often.
ATTEMPTS: Final = 20


class Turn:
    """A step, and what a host and its program made of it."""

    __slots__ = ("answers", "seen")

    def __init__(self, answers: list[Answer], seen: Seen) -> None:
        self.answers = answers
        self.seen = seen


class Verdict:
    """What came of a dialogue: differences with their explanations, and one without, which is a failure."""

    def __init__(self, seed: int, steps: list[Step]) -> None:
        self.seed = seed
        self.steps = steps
        self.ours: list[Turn] = []
        self.linux: list[Turn] = []
        self.explained: list[Explanation] = []
        self.compared = 0
        self.unexplained: Difference | None = None

    def judge(self) -> None:
        """Find the differences, and their explanations."""
        self.explained.clear()
        self.compared, self.unexplained = 0, None
        said = [turn.answers for turn in self.linux]
        for index, (ours, linux) in enumerate(zip(self.ours, self.linux, strict=True)):
            self.compared += 1
            if ours.answers == linux.answers and ours.seen.key() == linux.seen.key():
                continue
            difference = Difference(index, self.steps, ours.answers, linux.answers, ours.seen, linux.seen, said)
            reasons = explain(difference)
            if not reasons:
                self.unexplained = difference
                return
            self.explained += reasons
            if any(reason.parts for reason in reasons):
                return

    def story(self) -> str:
        """The dialogue, what Linux said to each step and, where it is not the same, what we said."""
        lines = [f"seed {self.seed}"]
        for index, step in enumerate(self.steps):
            bad = self.unexplained is not None and self.unexplained.index == index
            lines.append(f"{'! ' if bad else '  '}{index:2} > {step}")
            linux, ours = self.linux[index], self.ours[index]
            same = linux.answers == ours.answers
            for answer in linux.answers:
                lines.append(f"         {'both' if same else 'linux'} < {answer}")
            if not same:
                if not linux.answers:
                    lines.append("         linux silent")
                for answer in ours.answers:
                    lines.append(f"         ours  < {answer}")
                if not ours.answers:
                    lines.append("         ours  silent")
            if linux.seen.key() == ours.seen.key():
                if str(linux.seen):
                    lines.append(f"         both programs: {linux.seen}")
            else:
                lines.append(f"         programs: linux {linux.seen or 'nothing'}, ours {ours.seen or 'nothing'}")
        return "\n".join(lines)


class Differential:
    """Holds dialogues with both hosts. `again`: how many had to be repeated because the machine was busy."""

    def __init__(self, linux: LinuxHost) -> None:
        self.linux = linux
        self.source = 0
        self.again = 0
        self.dialogues = 0
        self.steps = 0
        self.explained: Counter[str] = Counter()

    def run(self, seed: int) -> Verdict:
        """The dialogue of a seed. Raises AssertionError where a host sends what its program did not write."""
        return self.compare(seed, dialogue(seed))

    def compare(self, seed: int, steps: list[Step]) -> Verdict:
        """A dialogue. Raises TimeoutError where the machine is too busy to hold one in time."""
        verdict = Verdict(seed, steps)
        ours = OurHost()
        verdict.ours = hold(ours, steps, self._peer())
        for _ in range(ATTEMPTS):
            begin = time.monotonic()
            verdict.linux = hold(self.linux, steps, self._peer())
            if time.monotonic() - begin < PATIENCE:
                break
            self.again += 1
        else:
            raise TimeoutError(f"seed {seed}: no dialogue ended within {PATIENCE} s, {ATTEMPTS} times")
        verdict.judge()
        self.dialogues += 1
        self.steps += verdict.compared
        self.explained.update(explanation.name for explanation in verdict.explained)
        return verdict

    def _peer(self) -> Peer:
        """A four-tuple that was not used before."""
        self.source += 1
        number = self.source % 60_000
        address = bytes([10, 66, 1 + self.source // 60_000 % 250, 2])
        return Peer(HOST, PORT, address, 1024 + number)


def hold(host: OurHost | LinuxHost, steps: list[Step], peer: Peer) -> list[Turn]:
    """One dialogue with one host."""
    host.begin()
    turns = []
    for index, step in enumerate(steps):
        seen = Seen()
        packets = host.send(peer.packet(step)) if step.kind == PACKET else host.program(step, seen)
        try:
            turns.append(Turn(peer.answers([packet for packet in packets if peer.is_mine(packet)]), seen))
        except AssertionError as error:
            before = "\n".join(str(one) for one in steps[: index + 1])
            raise AssertionError(f"{type(host).__name__}: {error}, after\n{before}") from None
    host.end(peer.reset())
    return turns
