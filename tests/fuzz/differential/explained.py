"""Why plankroad and Linux may answer differently: each difference that is no defect, with the words that allow it.

An explanation is a predicate on one step and a reason. What none of them explains is a failure. `parts`: afterwards
the two hosts are in different states, so the rest of the dialogue is not compared.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from tests.fuzz.differential.dialogue import Step
from tests.fuzz.differential.hosts import Seen
from tests.fuzz.differential.peer import Answer


class Difference:
    """One step at which the two differ. `said`: what Linux answered to each step so far."""

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


class Explanation:
    """See the module."""

    def __init__(self, name: str, reason: str, applies: Callable[[Difference], bool], parts: bool = False) -> None:
        self.name = name
        self.reason = reason
        self.applies = applies
        self.parts = parts


EXPLANATIONS: Final[tuple[Explanation, ...]] = ()
