"""Faults that are not left to chance: an ordered list of rules, each with a condition, an action and a number of times.

    drop the third data segment:       Rule(DROP, lambda view: view.tcp is not None and view.payload, skip=2, count=1)
    let all handshakes pass unharmed:  Rule(PASS, lambda view: view.tcp is not None and view.tcp.flags & SYN)

Each packet is shown to the rules in their order. The first one whose condition holds, and which has not been used up,
decides; those after it do not see the packet.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Final

from plankroad.sim.fate import DELAYED, LOST_RULE
from plankroad.sim.faults import Fault, Transit, flip_bits
from plankroad.sim.view import PacketView
from plankroad.units import NEVER

PASS: Final = "pass"  #: carried as it is: neither later rules nor the link's random faults touch it
DELAY: Final = "delay"  #: held back by `delay`; later packets overtake it
DROP: Final = "drop"
DUPLICATE: Final = "duplicate"  #: arrives `copies` more times
CORRUPT: Final = "corrupt"  #: `bits` of it are flipped

ACTIONS: Final = (PASS, DELAY, DROP, DUPLICATE, CORRUPT)


class Rule:
    """What to do to the packets that fulfil a condition.

    `condition` gets a `PacketView` and answers whether the rule is for it; None is for all packets.
    `skip`: how many that fulfil it are let go first; `count`: how often the rule acts, then it is used up (None: no
    limit). `start`, `end`: the times (ns) between which it acts. `note`: added to the comment in a capture.
    `seen` counts the packets that fulfilled the condition, `hits` those on which it acted.

    A rule is switched off by `remove`, or at the end of a `with` block.
    """

    __slots__ = (
        "action",
        "bits",
        "condition",
        "copies",
        "count",
        "delay",
        "end",
        "hits",
        "note",
        "removed",
        "seen",
        "skip",
        "start",
    )

    def __init__(
        self,
        action: str,
        condition: Callable[[PacketView], object] | None = None,
        *,
        delay: int = 0,
        copies: int = 1,
        bits: int = 1,
        skip: int = 0,
        count: int | None = None,
        start: int = 0,
        end: int = NEVER,
        note: str = "",
    ) -> None:
        if action not in ACTIONS:
            raise ValueError(f"no such action: {action!r}; there are {', '.join(ACTIONS)}")
        if action == DELAY and delay <= 0:
            raise ValueError("a rule that delays needs a delay above 0")
        if copies < 1 or bits < 1:
            raise ValueError("copies and bits are 1 or more")
        if skip < 0 or (count is not None and count < 1):
            raise ValueError("skip is 0 or more, count 1 or more (None: no limit)")
        if end <= start:
            raise ValueError("the rule's end is not after its start")
        self.action = action
        self.condition = condition
        self.delay = delay
        self.copies = copies
        self.bits = bits
        self.skip = skip
        self.count: int = NEVER if count is None else count
        self.start = start
        self.end = end
        self.note = note
        self.seen: int = 0
        self.hits: int = 0
        self.removed: bool = False

    def remove(self) -> None:
        """Switch the rule off for good."""
        self.removed = True

    def __enter__(self) -> Rule:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.remove()

    def matches(self, now: int, view: PacketView) -> bool:
        """Whether the rule acts on this packet, which is counted."""
        if self.removed or self.hits >= self.count or not self.start <= now < self.end:
            return False
        if self.condition is not None and not self.condition(view):
            return False
        self.seen += 1
        if self.seen <= self.skip:
            return False
        self.hits += 1
        return True


class RuleList(Fault):
    """The rules of a pipe, in order. `name` and `ethernet` are the pipe's; `rng` says which bits are flipped."""

    __slots__ = ("ethernet", "name", "rng", "rules")

    def __init__(self, name: str, ethernet: bool, rng: Random) -> None:
        self.name = name
        self.ethernet = ethernet
        self.rng = rng
        self.rules: list[Rule] = []

    def apply(self, now: int, transit: Transit) -> None:
        view = PacketView(now, self.name, transit.packet, self.ethernet)
        for rule in self.rules:
            if rule.matches(now, view):
                self._act(rule, transit)
                return

    def _act(self, rule: Rule, transit: Transit) -> None:
        action = rule.action
        if rule.note:
            transit.add_note(rule.note)
        if action == PASS:
            transit.exempt = True
        elif action == DROP:
            transit.lose(LOST_RULE)
        elif action == DELAY:
            transit.extra += rule.delay
            transit.overtaken = True
            transit.fate |= DELAYED
        elif action == DUPLICATE:
            transit.copies += rule.copies
        else:
            flip_bits(transit, rule.bits, self.rng)
