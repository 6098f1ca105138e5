"""States, timers and sizes of TCP that more than one file names."""

from __future__ import annotations

from typing import Final

# Connection states, RFC 9293 section 3.3.2, in the order in which a connection goes through them.
CLOSED: Final = 0
LISTEN: Final = 1
SYN_SENT: Final = 2
SYN_RECEIVED: Final = 3
ESTABLISHED: Final = 4
FIN_WAIT_1: Final = 5
FIN_WAIT_2: Final = 6
CLOSE_WAIT: Final = 7
CLOSING: Final = 8
LAST_ACK: Final = 9
TIME_WAIT: Final = 10

STATE_NAMES: Final = (
    "CLOSED",
    "LISTEN",
    "SYN_SENT",
    "SYN_RECEIVED",
    "ESTABLISHED",
    "FIN_WAIT_1",
    "FIN_WAIT_2",
    "CLOSE_WAIT",
    "CLOSING",
    "LAST_ACK",
    "TIME_WAIT",
)

# Indices of Tcb.timers.
TIMER_PROBE: Final = 0  #: RFC 8985 section 7: a tail loss probe is due; before the next, which it puts off
TIMER_REORDER: Final = 1  #: RFC 8985 section 6: the reordering window of a segment is over
TIMER_RETRANSMIT: Final = 2  #: RFC 6298: the oldest unacknowledged octet
TIMER_PERSIST: Final = 3  #: zero-window probes and the override of silly-window avoidance
TIMER_DELAYED_ACK: Final = 4  #: RFC 9293 section 3.8.6.3
TIMER_KEEPALIVE: Final = 5  #: RFC 9293 section 3.8.4
TIMER_TIME_WAIT: Final = 6  #: 2 MSL; in FIN_WAIT_2 the wait for the FIN of a peer nobody listens to any more
TIMER_USER: Final = 7  #: user timeout, RFC 9293 section 3.9.1.1
TIMER_LINGER: Final = 8  #: the program is gone and gave its last bytes this long
TIMER_CORK: Final = 9  #: corked bytes wait no longer than this
TIMER_PACING: Final = 10  #: the next burst may leave
TIMER_COUNT: Final = 11

TIMER_NAMES: Final = (
    "probe",
    "reorder",
    "retransmit",
    "persist",
    "delayed_ack",
    "keepalive",
    "time_wait",
    "user",
    "linger",
    "cork",
    "pacing",
)

#: Duplicate acknowledgements that mean loss (RFC 5681 section 3.2, RFC 6675 section 2: DupThresh).
DUP_THRESH: Final = 3

#: Largest window shift (RFC 7323 section 2.3).
MAX_WIND_SHIFT: Final = 14

#: TCP header without options.
HEADER_LEN: Final = 20

#: Options of a segment that carries timestamps: NOP NOP TS (RFC 7323 appendix A).
TIMESTAMP_LEN: Final = 12

#: After this long without a segment TS.Recent says nothing any more (RFC 7323 section 5.5: 24 days).
PAWS_IDLE_LIMIT: Final = 24 * 24 * 3600 * 1_000_000_000

# Congestion states of the sender.
OPEN: Final = 0  #: nothing is known to be lost
RECOVERY: Final = 1  #: fast recovery (RFC 5681, RFC 6582, RFC 9937)
LOSS: Final = 2  #: after a retransmission timeout
RESIZE: Final = 3  #: segments that were too large for the path are sent again; no sign of congestion
CWR: Final = 4  #: the window was reduced because of congestion marks; nothing is known to be lost (RFC 3168)

# Fast Open on this connection (RFC 7413).
FAST_OPEN_NONE: Final = 0
FAST_OPEN_WAITING: Final = 1  #: there is a cookie, and the SYN waits for the program's first write
FAST_OPEN_ASKING: Final = 2  #: the SYN asks for a cookie
FAST_OPEN_TRYING: Final = 3  #: the SYN brings a cookie, and data if there was some
FAST_OPEN_ACTIVE: Final = 4  #: the peer took data of our SYN
FAST_OPEN_FAILED: Final = 5  #: it did not, or nothing is known of it
FAST_OPEN_PASSIVE: Final = 6  #: the peer's SYN brought a good cookie: its data is with the program
