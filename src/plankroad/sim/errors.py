"""How a simulation can fail."""

from __future__ import annotations


class RunawayError(RuntimeError):
    """A limit was passed: virtual time, the number of events, or turns of the loop without time moving."""


class DeadlockError(RuntimeError):
    """Nothing is scheduled any more and nothing will ever happen, but the program waits."""
