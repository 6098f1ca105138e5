"""One bound on the memory of a stack, and what goes first where it is reached: the worst.

Theory of operation. Each time a connection was served and has nothing more to send, `account` compares what it holds
now with what it held then. That is one call a batch, not a segment, and no walk over connections. Between two calls a
connection can grow by what one batch of its packets brings.

Where the sum passes `StackConfig.memory`, `shed` frees an eighth of it, in this order:

1. data out of order, of those that hold most of it: nothing is lost, it is sent again (RFC 2018 section 8: "The data
   receiver is permitted to discard data in its queue that has not been acknowledged to the data sender");
2. datagrams whose fragments have not all come, the oldest first;
3. connections in TIME-WAIT, the oldest first, then half-open ones, likewise: no program knows of them;
4. connections with data, by byte-seconds: what they hold times how long they have made no progress;
5. connections without data, those first that were silent longest.

Progress is that an eighth of what is held got through: to the peer, or to the program. A peer that takes a byte now and
then makes none. Whoever is shed is told why; `memory_*` count it.

A walk over all connections costs as much as they are, and frees an eighth of the bound, of which each has a share of at
least `CONNECTION_COST`: so a received packet pays for a few steps of it, whatever the number of connections.

The numbers of connections in TIME-WAIT, and of those whose program is gone, are bounded here too.
"""

from __future__ import annotations

import errno
from typing import Final

from plankroad.stack.host import Host
from plankroad.stack.path import Path
from plankroad.stack.tcp_output import forget
from plankroad.tcp.connection import Connection
from plankroad.tcp.constants import CLOSED, FAST_OPEN_PASSIVE, SYN_RECEIVED, TIME_WAIT
from plankroad.tcp.ending import end_connection
from plankroad.tcp.memory import CONNECTION_COST, held_by
from plankroad.units import MILLISECOND, SECOND

#: Of what is held this part must get through to be progress: 1/8.
_PROGRESS_SHIFT: Final = 3


class Stalled:
    """A connection that makes no progress.

    `held`: bytes of memory. `duration`: ns since it last made some. `zero_window`: ns for which the peer has kept its
    window closed and answered probes (RFC 6429), -1 where it has not.
    """

    __slots__ = ("connection", "duration", "held", "zero_window")

    def __init__(self, connection: Connection, held: int, duration: int, zero_window: int) -> None:
        self.connection = connection
        self.held = held
        self.duration = duration
        self.zero_window = zero_window

    def __repr__(self) -> str:
        return f"<Stalled {self.connection.tcb.name()} for {self.duration // MILLISECOND} ms, {self.held} bytes>"


def account(host: Host, now: int, path: Path) -> None:
    """A connection was served: note what it holds now, and keep the bounds."""
    t = path.connection.tcb
    held = held_by(t)
    memory = host.memory
    done = t.snd_una + t.rcv_nxt - t.rcv_queued
    # Whoever held nothing before begins now.
    if path.held <= CONNECTION_COST or (done - path.done) << _PROGRESS_SHIFT >= held - CONNECTION_COST:
        path.done = done
        path.progress_at = now
    if held != path.held:
        memory.used += held - path.held
        path.held = held
    if t.state == TIME_WAIT:
        if not path.in_time_wait:
            path.in_time_wait = True
            leave_orphans(host, path)
            host.time_waits[path] = None
            if len(host.time_waits) > host.config.time_wait_limit:
                host.counters.tcp.time_wait_overflow += 1
                drop_oldest_time_wait(host, now)
    elif t.released and not path.orphan:
        path.orphan = True
        host.orphans[path] = None
        if len(host.orphans) > host.config.orphan_limit:
            shed_orphans(host, now)
    if memory.used + host.fragments.memory > memory.limit:
        shed(host, now)


def leave_orphans(host: Host, path: Path) -> None:
    """The connection is none of those without a program any more."""
    if path.orphan:
        path.orphan = False
        host.orphans.pop(path, None)


def drop_oldest_time_wait(host: Host, now: int) -> None:
    """Forget the connection that is in TIME-WAIT longest.

    It is the nearest to its end. A new incarnation of the same four-tuple begins above it, by the clock of initial
    sequence numbers (RFC 6528), and with later timestamps (RFC 7323 section 5.4), as RFC 6191 wants it.
    """
    path, _ = host.time_waits.popitem(last=False)
    path.in_time_wait = False
    connection = path.connection
    end_connection(connection.tcb, now, 0)
    connection.wake()
    forget(host, connection)


def shed_orphans(host: Host, now: int) -> None:
    """Too many connections whose program is gone: an eighth of them is reset, those that stand still longest."""
    ordered: list[tuple[int, int, Path]] = []
    for number, path in enumerate(host.orphans):
        ordered.append((path.progress_at, number, path))
    ordered.sort()
    for entry in ordered[: max(1, len(ordered) >> 3)]:
        path = entry[2]
        host.counters.tcp.orphans_overflow += 1
        leave_orphans(host, path)
        path.connection.shed(now, errno.ENOBUFS, "more connections without a program than StackConfig.orphan_limit")
        settle(host, path)


def settle(host: Host, path: Path) -> None:
    """What a connection holds has changed by our own doing: note it at once."""
    held = held_by(path.connection.tcb)
    host.memory.used += held - path.held
    path.held = held


def in_use(host: Host) -> int:
    """Bytes that connections and fragments hold."""
    return host.memory.used + host.fragments.memory


def shed(host: Host, now: int) -> None:
    """The bound is passed: free memory until an eighth of it is free."""
    limit = host.memory.limit
    enough = limit - (limit >> 3)
    log = host.log
    if log is not None:
        log.event(now, "stack", "memory", {"used": in_use(host), "limit": limit})
    shed_out_of_order(host, now, enough)
    if in_use(host) > enough:
        host.fragments.shed(max(0, enough - host.memory.used))
    while in_use(host) > enough and host.time_waits:
        host.counters.tcp.memory_time_wait_shed += 1
        drop_oldest_time_wait(host, now)
    if in_use(host) > enough:
        shed_half_open(host, now, enough)
    if in_use(host) > enough:
        shed_connections(host, now, enough)


def shed_out_of_order(host: Host, now: int, enough: int) -> None:
    """Data out of order goes, of the connections that hold most first."""
    ordered: list[tuple[int, int, Path]] = []
    number = 0
    for path in host.connections.values():
        octets = path.connection.tcb.reassembly.memory()
        if octets:
            ordered.append((-octets, number, path))
            number += 1
    ordered.sort()
    for entry in ordered:
        if in_use(host) <= enough:
            return
        path = entry[2]
        t = path.connection.tcb
        if t.state != SYN_RECEIVED:
            # What is not in a SACK block any more is sent again (RFC 2018 section 8).
            t.reassembly.clear()
            host.counters.tcp.memory_out_of_order_shed += 1
            settle(host, path)


def shed_half_open(host: Host, now: int, enough: int) -> None:
    """Connections go that nobody has seen yet, the oldest first, without a word."""
    for path in list(host.connections.values()):
        t = path.connection.tcb
        if t.state == SYN_RECEIVED and t.listener is not None and t.fast_open != FAST_OPEN_PASSIVE:
            host.counters.tcp.memory_half_open_shed += 1
            end_connection(t, now, errno.ENOBUFS)
            path.connection.wake()
            forget(host, path.connection)
            if in_use(host) <= enough:
                return


def shed_connections(host: Host, now: int, enough: int) -> None:
    """Connections go: those with data by byte-seconds, then the silent ones."""
    ordered: list[tuple[int, int, Path]] = []
    number = 0
    for path in host.connections.values():
        if path.connection.tcb.state != CLOSED:
            still = now - path.progress_at
            load = path.held - CONNECTION_COST
            score = load * (still + MILLISECOND) if load > 0 else -path.progress_at
            ordered.append((-score, number, path))
            number += 1
    ordered.sort()
    for entry in ordered:
        path = entry[2]
        still = now - path.progress_at
        reason = (
            f"StackConfig.memory is used up: this connection held {path.held} bytes and made no progress for "
            f"{still // SECOND}.{still % SECOND // (SECOND // 10)} s"
        )
        host.counters.tcp.memory_connections_shed += 1
        path.connection.shed(now, errno.ENOBUFS, reason)
        settle(host, path)
        # Its RST is still to be sent; what is left of it is none of the account's.
        host.memory.used -= path.held
        path.held = 0
        if in_use(host) <= enough:
            return


def stalled(host: Host, now: int, least: int, zero_window: bool) -> list[Stalled]:
    """Connections that hold data and have made no progress for `least` ns or more, the longest first.

    `zero_window`: only those whose peers keep their windows closed for that long (RFC 6429).
    """
    found: list[tuple[int, int, Stalled]] = []
    number = 0
    for path in host.connections.values():
        t = path.connection.tcb
        held = held_by(t)
        if held <= CONNECTION_COST or t.state in (CLOSED, TIME_WAIT):
            continue
        duration = now - path.progress_at
        closed = now - t.persist_since if t.probes else -1
        counts = closed if zero_window else duration
        if counts >= max(least, 0):
            found.append((-counts, number, Stalled(path.connection, held, duration, closed)))
            number += 1
    found.sort()
    return [entry[2] for entry in found]


def shed_stalled(host: Host, now: int, least: int, zero_window: bool, most: int) -> int:
    """Reset up to `most` of `stalled` (-1: all), the longest first; returns how many."""
    count = 0
    for one in stalled(host, now, least, zero_window):
        if count == most:
            break
        if zero_window:
            reason = f"the peer kept its window closed for {one.zero_window // SECOND} s"
        else:
            reason = f"the connection made no progress for {one.duration // SECOND} s"
        one.connection.shed(now, errno.ETIMEDOUT, f"{reason}, and the program gave it up")
        host.counters.tcp.stalled_connections_shed += 1
        path = host.paths.get(one.connection)
        if path is not None:
            settle(host, path)
        count += 1
    return count


def memory_use(host: Host) -> dict[str, int]:
    """Bytes by what they are for, counted now, beside the bound and the sum that is kept."""
    send = receive = out_of_order = 0
    for path in host.connections.values():
        t = path.connection.tcb
        send += len(t.snd_buf)
        receive += t.rcv_queued
        out_of_order += t.reassembly.memory()
    fragments = host.fragments.memory
    used = in_use(host)
    return {
        "limit": host.memory.limit,
        "used": used,
        "send": send,
        "receive": receive,
        "out_of_order": out_of_order,
        "fragments": fragments,
        "overhead": used - send - receive - out_of_order - fragments,
    }
