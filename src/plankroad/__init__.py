"""plankroad: a complete TCP/IP stack in Python that runs inside your own process."""

from __future__ import annotations

from plankroad._build import is_compiled

__version__ = "0.1.0"

__all__ = ["__version__", "is_compiled"]
