"""ARP (RFC 826) on a neighbour cache: requests, replies, announcements, conflicts (RFC 5227)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from plankroad.ip.address_check import check_arp
from plankroad.ip.neighbour_entry import DELAY, FAILED, INCOMPLETE, PERMANENT, PROBE
from plankroad.ip.nud import learn
from plankroad.ip.solicit import ZERO_MAC, send_arp
from plankroad.wire.address import IPV4_ANY, is_broadcast, is_loopback, is_multicast
from plankroad.wire.arp import ARP_REPLY, ARP_REQUEST, ArpPacket, parse_arp
from plankroad.wire.errors import BadPacket

if TYPE_CHECKING:
    from plankroad.ip.neighbour import NeighbourCache


def acceptable(arp: ArpPacket) -> bool:
    """Whether the sender's addresses are those of a host (RFC 1812 section 3.3.2: not broadcast or multicast)."""
    mac = arp.sender_mac
    ip = arp.sender_ip
    if mac[0] & 1 or mac == ZERO_MAC:
        return False
    return not (is_multicast(ip) or is_broadcast(ip) or is_loopback(ip)) and arp.operation in (ARP_REQUEST, ARP_REPLY)


def handle_arp_packet(cache: NeighbourCache, now: int, frame: bytes, start: int) -> None:
    """The packet reception of RFC 826, after the checks of RFC 5227."""
    counters = cache.counters
    counters.arp_received += 1
    try:
        arp = parse_arp(frame, start)
    except BadPacket:
        counters.bad_arp += 1
        return
    if not acceptable(arp):
        counters.bad_arp += 1
        return
    interface = cache.interface
    # Own packets that a hub sent back (RFC 5227 section 2.1.1).
    if arp.sender_mac == interface.mac:
        return
    if check_arp(cache, now, arp):
        return
    sender = arp.sender_ip
    for_us = interface.owns(arp.target_ip)
    if sender != IPV4_ANY and not interface.is_broadcast(sender):
        entry = cache.entries.get(sender)
        # RFC 826: "If the pair <protocol type, sender protocol address> is already in my translation table, update
        # the sender hardware address field of the entry". A reply to us confirms it; anything else is hearsay.
        if entry is not None:
            asked = entry.state in (INCOMPLETE, DELAY, PROBE, FAILED)
            answer = arp.operation == ARP_REPLY and arp.target_mac == interface.mac and asked
            if entry.state != PERMANENT:
                learn(cache, now, entry, arp.sender_mac, answer)
        # Where we are the target, what is not in the table is added (RFC 826). Only of requests: a reply that nobody
        # asked for makes no entry; and only of hosts that are on this link.
        elif for_us and arp.operation == ARP_REQUEST and interface.on_link(sender) is not None:
            entry = cache.create(now, sender)
            learn(cache, now, entry, arp.sender_mac, False)
    if for_us and arp.operation == ARP_REQUEST:
        send_arp(cache, arp.sender_mac, ARP_REPLY, arp.target_ip, arp.sender_mac, sender)
