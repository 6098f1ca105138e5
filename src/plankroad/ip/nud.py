"""An entry's way through the states of neighbour unreachability detection (RFC 4861 section 7.3), for ARP too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from plankroad.ip.neighbour_entry import DELAY, FAILED, INCOMPLETE, PERMANENT, PROBE, REACHABLE, STALE, Neighbour
from plankroad.ip.redirect import forget_redirects
from plankroad.ip.solicit import send_arp_request, send_solicitation
from plankroad.wire.packet import Packet

if TYPE_CHECKING:
    from plankroad.ip.neighbour import NeighbourCache


def begin(cache: NeighbourCache, now: int, entry: Neighbour, packet: Packet) -> None:
    """Begin to ask for a neighbour because of a packet."""
    head = packet.head
    if len(entry.ip) == 4:
        source = head[12:16] if len(head) >= 20 and head[0] >> 4 == 4 else b""
    else:
        source = head[8:24] if len(head) >= 40 and head[0] >> 4 == 6 else b""
    entry.source = source if cache.interface.owns(source) else b""
    # RFC 1122 section 2.3.2.1: "The recommended maximum rate is 1 per second per destination."
    wait = entry.last_solicit + cache.retrans_timer
    if entry.last_solicit >= 0 and now < wait:
        cache.start_timer(entry, wait)
    else:
        solicit(cache, now, entry)


def solicit(cache: NeighbourCache, now: int, entry: Neighbour) -> None:
    """Ask once, all or (while the MAC address is still believed) the neighbour alone; then wait RetransTimer."""
    entry.probes += 1
    entry.last_solicit = now
    if len(entry.ip) == 4:
        send_arp_request(cache, entry)
    else:
        send_solicitation(cache, entry)
    cache.start_timer(entry, now + cache.retrans_timer)


def neighbour_timeout(cache: NeighbourCache, now: int, entry: Neighbour) -> None:
    """An entry's timer ran out (RFC 4861 section 7.3.3)."""
    state = entry.state
    if state == INCOMPLETE:
        if entry.probes < cache.config.multicast_solicits:
            solicit(cache, now, entry)
        else:
            unreachable(cache, now, entry)
    elif state == DELAY:
        entry.state = PROBE
        entry.probes = 0
        solicit(cache, now, entry)
    elif state == PROBE:
        if entry.probes < cache.config.unicast_solicits:
            solicit(cache, now, entry)
        else:
            unreachable(cache, now, entry)
    elif state == FAILED:
        # RFC 1122 section 3.3.1.4: a gateway is asked after only while there is something to send. Asking before a
        # packet depends on it spares that packet the wait.
        if cache.last_use > now - cache.config.dead_gateway_retry:
            cache.ask_for(entry)
            solicit(cache, now, entry)
        else:
            cache.drop(entry)


def unreachable(cache: NeighbourCache, now: int, entry: Neighbour) -> None:
    """A neighbour did not answer: its packets fail; routes through it are avoided while there are others."""
    cache.counters.failed += 1
    cache.counters.unreachable_dropped += len(entry.packets)
    cache.failed.extend(entry.packets)
    cache.empty_queue(entry)
    cache.incomplete.pop(entry.ip, None)
    forget_redirects(cache.routes, entry.ip, cache.interface)
    # RFC 4861 section 7.3.3: "... the entry is deleted", so that next-hop determination is done again.
    if entry.gateway_dead or cache.routes.set_gateway_reachable(entry.ip, cache.interface, False):
        entry.gateway_dead = True
        entry.state = FAILED
        entry.mac = b""
        cache.start_timer(entry, now + cache.config.dead_gateway_retry)
    else:
        cache.drop(entry)


def learn(cache: NeighbourCache, now: int, entry: Neighbour, mac: bytes, confirmed: bool) -> None:
    """Set a neighbour's MAC address. `confirmed`: it answered us, so it is REACHABLE; else STALE where that is new.

    A changed address without confirmation, or one for a neighbour that was being asked for, makes it STALE; the
    same address says nothing new (RFC 4861 sections 7.2.3 and 7.2.5).
    """
    if entry.state == PERMANENT:
        return
    waited = entry.state in (INCOMPLETE, FAILED)
    changed = entry.mac != mac
    entry.mac = mac
    if confirmed:
        entry.state = REACHABLE
        entry.timer = 0
        entry.reachable_until = now + cache.current_reachable_time(now)
    elif waited or changed:
        entry.state = STALE
        entry.timer = 0
    if waited:
        cache.incomplete.pop(entry.ip, None)
        cache.counters.resolved += 1
        if entry.gateway_dead:
            entry.gateway_dead = False
            cache.routes.set_gateway_reachable(entry.ip, cache.interface, True)
        if entry.packets:
            if entry.state == STALE:
                # Packets are about to be sent to it.
                entry.state = DELAY
                entry.probes = 0
                cache.start_timer(entry, now + cache.config.delay_first_probe)
            cache.flush_queue(entry)
