"""Congestion control: `CongestionControl` is what an algorithm is, `register` gives it a name.

`cubic` (RFC 9438) is the default. docs/congestion-control.md has them all, and one of a program's own.
"""

from __future__ import annotations

from plankroad.tcp.cc.base import ECN, LOSS, TIMEOUT, AckSample, CongestionControl
from plankroad.tcp.cc.registry import create, names, register

__all__ = ["ECN", "LOSS", "TIMEOUT", "AckSample", "CongestionControl", "create", "names", "register"]
