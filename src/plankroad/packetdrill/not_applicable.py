"""What scripts ask for and the stack really has no counterpart for: such a script is `not_applicable`, with the reason.

Only what stands here makes a script so. An option is listed where a stack in the program's own process cannot mean
anything by it, not where it is merely not there.
"""

from __future__ import annotations

from typing import Final

from plankroad.testing import abi

_SO_ZEROCOPY: Final = 60
_SO_TIMESTAMPING: Final = (37, 65)

#: (level, option) of setsockopt -> why.
OPTIONS: Final[dict[tuple[int, int], str]] = {
    (abi.SOL_SOCKET, _SO_ZEROCOPY): (
        "SO_ZEROCOPY is about pages of a process that a kernel sends from; here program and stack share their memory"
    ),
    **{
        (abi.SOL_SOCKET, option): (
            "SO_TIMESTAMPING tells when a kernel's queues and devices had a packet; none lie between stack and link"
        )
        for option in _SO_TIMESTAMPING
    },
}


def reason(kind: str, arguments: tuple[object, ...]) -> str:
    """Why a script with this system call cannot apply; "" where it can."""
    if kind == "setsockopt" and len(arguments) > 2:
        level, option = arguments[1], arguments[2]
        if isinstance(level, int) and isinstance(option, int):
            return OPTIONS.get((level, option), "")
    return ""
