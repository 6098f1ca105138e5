"""Whether another host has an address of ours: duplicate address detection (RFC 4862 section 5.4) and IPv4 address
conflict detection (RFC 5227), on a neighbour cache."""

from __future__ import annotations

from typing import TYPE_CHECKING

from plankroad.ip.interface import (
    ADDRESS_DEPRECATED,
    ADDRESS_DUPLICATE,
    ADDRESS_PREFERRED,
    ADDRESS_TENTATIVE,
    InterfaceAddress,
)
from plankroad.ip.solicit import (
    send_arp_announcement,
    send_arp_probe,
    send_dad_solicitation,
    send_unsolicited_advertisement,
)
from plankroad.wire.address import IPV4_ANY, is_link_local, is_unspecified
from plankroad.wire.arp import ARP_REQUEST, ArpPacket
from plankroad.wire.ndp import NDP_OPT_NONCE, NeighborAdvertisement, NeighborSolicitation

if TYPE_CHECKING:
    from plankroad.ip.neighbour import NeighbourCache


class AddressCheck:
    """One address whose uniqueness is being found out, or that is being announced.

    `probes`, `announcements`: how many are still to be sent. `nonce`: what our own solicitations are known by
    (RFC 7527 section 4.1). `timer`: see `ip.neighbour`.
    """

    __slots__ = ("address", "announcements", "nonce", "probes", "timer")

    def __init__(self, address: InterfaceAddress, probes: int, announcements: int, nonce: bytes) -> None:
        self.address = address
        self.probes = probes
        self.announcements = announcements
        self.nonce = nonce
        self.timer: int = 0


def start_check(cache: NeighbourCache, now: int, ip: bytes) -> None:
    """Make an address tentative and begin to probe, after a random wait; with no probes it is used at once."""
    address = cache.interface.by_ip.get(ip)
    if address is None:
        raise ValueError(f"{cache.interface.name} does not have this address")
    config = cache.config
    ipv4 = len(ip) == 4
    probes = config.check_probes_ipv4 if ipv4 else config.check_probes_ipv6
    nonce = b"" if ipv4 else cache.rng.getrandbits(48).to_bytes(6, "big")
    check = AddressCheck(address, probes, config.announce_number if ipv4 else 0, nonce)
    cache.checks[ip] = check
    address.state = ADDRESS_TENTATIVE
    if probes == 0:
        handle_check_timeout(cache, now, check)
    else:
        # RFC 5227 section 2.1.1 and RFC 4862 section 5.4.2: a random delay, so that hosts switched on together do not
        # all speak at once.
        cache.start_check_timer(check, now + cache.rng.randrange(config.check_delay + 1))


def handle_check_timeout(cache: NeighbourCache, now: int, check: AddressCheck) -> None:
    """The next probe, the end of the check, or the next announcement."""
    config = cache.config
    address = check.address
    ip = address.ip
    check.timer = 0
    if cache.interface.by_ip.get(ip) is not address:
        # It was taken away meanwhile.
        del cache.checks[ip]
        return
    if not cache.interface.up:
        # Nobody can answer: it is begun anew when the interface comes up.
        return
    if check.probes > 0:
        check.probes -= 1
        if len(ip) == 16:
            send_dad_solicitation(cache, ip, check.nonce)
            # RFC 4862 section 5.4: unique if nothing was heard within RetransTimer after the last solicitation.
            cache.start_check_timer(check, now + cache.retrans_timer)
            return
        send_arp_probe(cache, ip)
        wait = config.announce_wait
        if check.probes > 0:
            wait = config.probe_min + cache.rng.randrange(config.probe_max - config.probe_min + 1)
        cache.start_check_timer(check, now + wait)
        return
    if address.state == ADDRESS_TENTATIVE:
        address.state = ADDRESS_PREFERRED if address.preferred_until > now else ADDRESS_DEPRECATED
        cache.address_events.append((ip, address.state))
    if check.announcements > 0:
        # "The host may begin legitimately using the IP address immediately after sending the first of the two ARP
        # Announcements".
        check.announcements -= 1
        send_arp_announcement(cache, ip)
        if check.announcements > 0:
            cache.start_check_timer(check, now + config.announce_interval)
            return
    del cache.checks[ip]


def stop_check(cache: NeighbourCache, ip: bytes) -> None:
    """The address is taken away."""
    check = cache.checks.pop(ip, None)
    if check is not None:
        check.timer = 0


def duplicate(cache: NeighbourCache, address: InterfaceAddress) -> None:
    """Another host has a tentative address: it is not used (RFC 4862 section 5.4.5, RFC 5227 section 2.1.1)."""
    stop_check(cache, address.ip)
    address.state = ADDRESS_DUPLICATE
    cache.counters.duplicate_addresses += 1
    cache.address_events.append((address.ip, ADDRESS_DUPLICATE))
    # RFC 4862 section 5.4.5: of a link-local address made from the hardware address, "IP operation on the interface
    # SHOULD be disabled": another station has our MAC address.
    if len(address.ip) == 16 and address.automatic and is_link_local(address.ip):
        cache.router_discovery.disable(cache)


def conflict(cache: NeighbourCache, now: int, ip: bytes) -> None:
    """Another host uses an address of ours that is in use: defend it, but once in a while only.

    RFC 5227 section 2.4 (c): one announcement, and none within DEFEND_INTERVAL after. It is kept in any case; whoever
    set it up sees the counter. IPv6 leaves open what to do (RFC 4862 section 5.4.4), so the same is done.
    """
    cache.counters.address_conflicts += 1
    last = cache.conflicts.get(ip, -1)
    if last >= 0 and now - last < cache.config.defend_interval:
        return
    cache.conflicts[ip] = now
    if len(ip) == 4:
        send_arp_announcement(cache, ip)
    else:
        send_unsolicited_advertisement(cache, now, ip)


def check_arp(cache: NeighbourCache, now: int, arp: ArpPacket) -> bool:
    """Look for a conflict in an ARP packet of another station; True where there was one."""
    by_ip = cache.interface.by_ip
    address = by_ip.get(arp.sender_ip)
    if address is not None:
        if address.state == ADDRESS_TENTATIVE:
            duplicate(cache, address)
            return True
        if address.usable():
            conflict(cache, now, address.ip)
            return True
    if arp.sender_ip == IPV4_ANY and arp.operation == ARP_REQUEST:
        address = by_ip.get(arp.target_ip)
        if address is not None and address.state == ADDRESS_TENTATIVE:
            # Both probe for it at once.
            duplicate(cache, address)
            return True
    return False


def check_solicitation(cache: NeighbourCache, message: NeighborSolicitation, src: bytes) -> None:
    """A solicitation for a tentative address (RFC 4862 section 5.4.3); it is never answered."""
    address = cache.interface.by_ip.get(message.target)
    if address is None or not is_unspecified(src):
        # "the solicitation's sender is performing address resolution on the target; the solicitation should be
        # silently ignored."
        return
    check = cache.checks.get(message.target)
    if check is not None:
        for kind, data in message.options.other:
            # RFC 7527 section 4.2: our own solicitation, sent back by the link.
            if kind == NDP_OPT_NONCE and data == check.nonce:
                return
    duplicate(cache, address)


def check_advertisement(cache: NeighbourCache, now: int, message: NeighborAdvertisement, mac: bytes) -> None:
    """An advertisement for an address of ours (RFC 4862 section 5.4.4)."""
    address = cache.interface.by_ip.get(message.target)
    if address is None:
        return
    if address.state == ADDRESS_TENTATIVE:
        duplicate(cache, address)
    elif address.usable() and mac and mac != cache.interface.mac:
        conflict(cache, now, address.ip)
