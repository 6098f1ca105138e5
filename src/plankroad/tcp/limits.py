"""What holds sending back, and for how long: tcp_info's busy_time, rwnd_limited and sndbuf_limited.

A connection is busy while the program's data waits or is on its way. Within that time it may be the peer's window that
stops it, or a send buffer that is too small for what cwnd would let go.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from plankroad.tcp.tcb import Tcb

IDLE: Final = 0
BUSY: Final = 1
RWND_LIMITED: Final = 2
SNDBUF_LIMITED: Final = 3


class Limits:
    """`kind`: what is so since `since` (ns); `spent`: nanoseconds by kind before that."""

    __slots__ = ("kind", "since", "spent")

    def __init__(self) -> None:
        self.kind: int = IDLE
        self.since: int = 0
        self.spent: list[int] = [0, 0, 0, 0]


def account(t: Tcb, now: int) -> None:
    """To be called when there is nothing more to send now, and when all is over."""
    limits = t.limits
    kind = _kind(t)
    if kind != limits.kind:
        limits.spent[limits.kind] += now - limits.since
        limits.kind = kind
        limits.since = now


def spent(t: Tcb, now: int, kind: int) -> int:
    """Nanoseconds of `kind` so far."""
    limits = t.limits
    return limits.spent[kind] + (now - limits.since if limits.kind == kind else 0)


def _kind(t: Tcb) -> int:
    end = t.snd_buf.end
    if end <= t.snd_una:
        return IDLE
    unsent = end - t.snd_nxt
    room = t.window() - t.pipe()
    if unsent > 0:
        wanted = min(unsent, t.snd_mss)
        return RWND_LIMITED if t.snd_una + t.snd_wnd - t.snd_nxt < wanted <= room else BUSY
    return SNDBUF_LIMITED if t.send_blocked and room >= t.snd_mss else BUSY
