"""What connections, listeners and UDP endpoints have in common: they can ask to be looked at.

Nothing in the core calls back. An endpoint that has something to send, a changed deadline or an event for the
program puts itself on its owner's work list, once, and waits to be polled.
"""

from __future__ import annotations

from typing import Final

#: Bits of `Endpoint.poll_events`.
EVENT_CONNECTED: Final = 0x01  #: the connection reached ESTABLISHED
EVENT_READABLE: Final = 0x02  #: `receive` returns something that it did not return before
EVENT_WRITABLE: Final = 0x04  #: room in a send buffer that had refused data
EVENT_EOF: Final = 0x08  #: the peer's FIN was reached: no more bytes will come
EVENT_ERROR: Final = 0x10  #: the endpoint failed; `error` holds the errno
EVENT_CLOSED: Final = 0x20  #: the connection is CLOSED (or in TIME-WAIT): the program can forget it
EVENT_ACCEPT: Final = 0x40  #: a listener has a connection to accept
EVENT_URGENT: Final = 0x80  #: urgent data became pending or its end moved (RFC 9293 section 3.8.5)
EVENT_SOFT_ERROR: Final = 0x100  #: delivery trouble that does not end the connection; `soft_error` holds the errno


class Endpoint:
    """Base of everything that a stack polls.

    `owner` belongs to the user of the endpoint (the asyncio transport, say); the core never reads it.
    `work` is the list of the stack to which the endpoint belongs; a lone endpoint has one of its own.
    """

    __slots__ = ("error", "events", "owner", "queued", "soft_error", "work")

    def __init__(self, work: list[Endpoint] | None = None) -> None:
        self.work: list[Endpoint] = [] if work is None else work
        self.queued: bool = False
        self.events: int = 0
        self.error: int = 0
        self.soft_error: int = 0
        self.owner: object | None = None

    def wake(self) -> None:
        """Ask to be polled: for output, for a new deadline, for events."""
        if not self.queued:
            self.queued = True
            self.work.append(self)

    def poll_events(self) -> int:
        """The `EVENT_` bits raised since the last call."""
        events = self.events
        self.events = 0
        return events
