"""Why plankroad and Linux may answer differently: each difference that is no defect, with the words that allow it.

An explanation is a predicate on one step and a reason; they are in `reasons`, by subject. What none of them explains is
a failure. `parts`: afterwards the two hosts are in different states, so the rest of the dialogue is not compared.
"""

from __future__ import annotations

from typing import Final

from tests.fuzz.differential.difference import Difference, Explanation
from tests.fuzz.differential.reasons.ending import ENDING
from tests.fuzz.differential.reasons.flow import FLOW
from tests.fuzz.differential.reasons.opening import OPENING
from tests.fuzz.differential.reasons.options import OPTIONS
from tests.fuzz.differential.reasons.wide import WIDE

EXPLANATIONS: Final[tuple[Explanation, ...]] = (*OPENING, *OPTIONS, *ENDING, *FLOW, *WIDE)


def explain(difference: Difference) -> list[Explanation]:
    """Why: one reason, or one for each field in which the answers differ; none where there is none."""
    reason = next((one for one in EXPLANATIONS if one.applies(difference)), None)
    if reason is not None:
        return [reason]
    reasons = [next((one for one in EXPLANATIONS if one.applies(field)), None) for field in difference.by_field()]
    return [reason for reason in reasons if reason is not None] if None not in reasons else []
