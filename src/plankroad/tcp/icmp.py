"""What an ICMP error means to TCP: RFC 9293 section 3.9.2.2, RFC 1122 section 4.2.3.9, hardened by RFC 5927."""

from __future__ import annotations

import errno
from typing import Final

from plankroad.endpoint import EVENT_SOFT_ERROR
from plankroad.tcp.constants import CLOSED, LISTEN, SYN_RECEIVED, SYN_SENT, TIME_WAIT
from plankroad.tcp.ending import end_connection
from plankroad.tcp.fastopen import on_too_big
from plankroad.tcp.seq import unwrap
from plankroad.tcp.tcb import Tcb

# Kinds of error, the same for ICMP and ICMPv6; who parses the message translates.
NETWORK_UNREACHABLE: Final = 0
HOST_UNREACHABLE: Final = 1
PROTOCOL_UNREACHABLE: Final = 2
PORT_UNREACHABLE: Final = 3
FRAGMENTATION_NEEDED: Final = 4
SOURCE_ROUTE_FAILED: Final = 5
ADMIN_PROHIBITED: Final = 6
TIME_EXCEEDED: Final = 7
PARAMETER_PROBLEM: Final = 8
SOURCE_QUENCH: Final = 9


def errno_of(kind: int) -> int:
    """The errno under which a program hears of an ICMP error, as Linux translates them."""
    if kind == NETWORK_UNREACHABLE:
        return errno.ENETUNREACH
    if kind in (HOST_UNREACHABLE, TIME_EXCEEDED, ADMIN_PROHIBITED):
        return errno.EHOSTUNREACH
    if kind == PROTOCOL_UNREACHABLE:
        return errno.ENOPROTOOPT
    if kind == PORT_UNREACHABLE:
        return errno.ECONNREFUSED
    if kind == FRAGMENTATION_NEEDED:
        return errno.EMSGSIZE
    if kind == SOURCE_ROUTE_FAILED:
        return errno.EOPNOTSUPP
    if kind == PARAMETER_PROBLEM:
        return errno.EPROTO
    return 0


def handle_icmp(t: Tcb, now: int, kind: int, seq: int) -> bool:
    """An ICMP error quotes a segment of this connection, whose sequence number was `seq` (-1: not quoted).

    Returns whether the message is credible: its sequence number is one that is in flight. Only then may a
    FRAGMENTATION_NEEDED change the path MTU.
    """
    if kind == SOURCE_QUENCH:
        # RFC 9293 section 3.9.2.2: "TCP implementations MUST silently discard any received ICMP Source Quench
        # messages (MUST-55)."
        t.counters.source_quench_ignored += 1
        return False
    if t.state in (CLOSED, LISTEN, TIME_WAIT):
        return False
    # RFC 5927 section 4.1: "TCP SHOULD check that the TCP sequence number contained in the payload of the ICMP
    # error message is within the range SND.UNA =< SEG.SEQ < SND.NXT."
    # Until the handshake is over our SYN is in flight, even where data has gone out behind it (RFC 7413 section 3).
    least = t.iss if t.state == SYN_RECEIVED else t.snd_una
    if seq < 0 or not least <= unwrap(seq, t.snd_una) < t.snd_max:
        t.counters.icmp_rejected += 1
        return False
    if kind == FRAGMENTATION_NEEDED:
        if t.fast_open:
            on_too_big(t)
        return True
    if t.config.syn_soft_error_retries < 0 and t.state in (SYN_SENT, SYN_RECEIVED):
        # RFC 5461 section 4.1, without waiting for a second attempt.
        t.counters.icmp_hard_errors += 1
        end_connection(t, now, errno_of(kind))
        return True
    hard = kind in (PROTOCOL_UNREACHABLE, PORT_UNREACHABLE)
    if hard and t.state == SYN_SENT:
        # RFC 9293 section 3.9.2.2: "These are hard error conditions, so TCP implementations SHOULD abort the
        # connection (SHLD-26)."
        t.counters.icmp_hard_errors += 1
        end_connection(t, now, errno_of(kind))
        return True
    # In a synchronized state RFC 5927 section 5.2 takes hard errors for soft ones: a blind attacker can send them.
    # RFC 9293 section 3.9.2.2: "a TCP implementation MUST NOT abort the connection (MUST-56), and it SHOULD make the
    # information available to the application (SHLD-25)."
    t.counters.icmp_soft_errors += 1
    t.soft_error = errno_of(kind)
    t.events |= EVENT_SOFT_ERROR
    return True
