"""Why plankroad and Linux may answer differently: each difference that is no defect, with the words that allow it.

An explanation is a predicate on one step and a reason; they are in `reasons`, by subject. What none of them explains is
a failure. `parts`: afterwards the two hosts are in different states, so the rest of the dialogue is not compared.
"""

from __future__ import annotations

from typing import Final

from tests.fuzz.differential.difference import Explanation
from tests.fuzz.differential.reasons.ending import ENDING
from tests.fuzz.differential.reasons.flow import FLOW
from tests.fuzz.differential.reasons.opening import OPENING
from tests.fuzz.differential.reasons.options import OPTIONS
from tests.fuzz.differential.reasons.wide import WIDE

EXPLANATIONS: Final[tuple[Explanation, ...]] = (*OPENING, *OPTIONS, *ENDING, *FLOW, *WIDE)
