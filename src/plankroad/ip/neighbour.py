"""The neighbours of an Ethernet interface: ARP for IPv4, neighbour discovery for IPv6.

Theory of operation. Both protocols feed one cache with the states of RFC 4861 section 7.3 (`ip.neighbour_entry`).
The stack asks it for a next hop's MAC address with `resolve`, and leaves the packet with `queue` where there is none
yet. What is to be sent is collected in `out` and taken by `poll_transmit`. Messages come in by `handle_arp`
(`ip.arp`) and `handle_ndp` (`ip.nd`); an entry's way through its states is in `ip.nud`; addresses are checked for
duplicates in `ip.address_check`, routers and prefixes are kept in `ip.router_discovery`.

A neighbour that is only remembered (REACHABLE, STALE) runs no timer: that its confirmation is too old is noticed when
it is used. All timers are in one heap of (time, number, kind, key); an item counts only while its owner's `timer` is
its number, so that stopping a timer costs nothing.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from heapq import heapify, heappop, heappush
from random import Random
from typing import Final

from plankroad.ip.address_check import AddressCheck, handle_check_timeout, start_check
from plankroad.ip.arp import handle_arp_packet
from plankroad.ip.counters import IcmpCounters, NeighbourCounters
from plankroad.ip.interface import ADDRESS_TENTATIVE, Interface
from plankroad.ip.nd import handle_nd_message
from plankroad.ip.neighbour_entry import (
    DELAY,
    FAILED,
    INCOMPLETE,
    PERMANENT,
    PROBE,
    REACHABLE,
    STALE,
    Neighbour,
    NeighbourConfig,
)
from plankroad.ip.nud import begin, neighbour_timeout
from plankroad.ip.router_discovery import RouterDiscovery
from plankroad.ip.routes import RouteTable
from plankroad.ip.solicit import ethernet_frame, send_arp_announcement, send_unsolicited_advertisement
from plankroad.units import NEVER, SECOND
from plankroad.wire.address import MAC_BROADCAST, is_multicast, multicast_mac
from plankroad.wire.packet import Packet

# Kinds of timers in the heap.
TIMER_NEIGHBOUR: Final = 0
TIMER_CHECK: Final = 1
TIMER_ROUTER: Final = 2

#: Frames of its own that wait to be taken; more are dropped (each of them answers or asks, and will come again).
MAX_OUT: Final = 4096

#: Eviction: how long a used neighbour is spared, and how many in a row are.
RECENTLY: Final = 10 * SECOND
SECOND_CHANCES: Final = 8

#: RFC 4861 section 6.3.4: a new random ReachableTime "at least once every few hours".
REACHABLE_TIME_RENEWAL: Final = 2 * 3600 * SECOND


def first_of(entries: OrderedDict[bytes, Neighbour]) -> Neighbour | None:
    """The first, None where there is none."""
    for entry in entries.values():
        return entry
    return None


class NeighbourCache:
    """The neighbours of one Ethernet interface, and its address checks and router discovery.

    `now` is in ns. Frames and packets have their `interface` set. Drained after any call: `poll_transmit` until None,
    `failures`, `poll_address_events`, then `next_timeout`.
    """

    __slots__ = (
        "address_events",
        "base_reachable_time",
        "checks",
        "config",
        "conflicts",
        "counters",
        "entries",
        "failed",
        "heap",
        "icmp",
        "incomplete",
        "interface",
        "last_use",
        "order",
        "out",
        "reachable_time",
        "renew_at",
        "retrans_timer",
        "rng",
        "router_discovery",
        "routes",
        "sequence",
        "waiting",
    )

    def __init__(
        self,
        interface: Interface,
        routes: RouteTable,
        rng: Random,
        config: NeighbourConfig | None = None,
        icmp: IcmpCounters | None = None,
    ) -> None:
        if not interface.ethernet:
            raise ValueError(f"{interface.name} is no Ethernet interface: it has no neighbours to find")
        self.interface = interface
        self.routes = routes
        self.rng = rng
        self.config: NeighbourConfig = NeighbourConfig() if config is None else config
        self.config.check()
        self.icmp: IcmpCounters = IcmpCounters() if icmp is None else icmp
        self.counters = NeighbourCounters()
        self.entries: dict[bytes, Neighbour] = {}
        #: Those that may be evicted: all but those set by hand, the one longest in the cache first.
        self.order: OrderedDict[bytes, Neighbour] = OrderedDict()
        #: Those that are INCOMPLETE, oldest first.
        self.incomplete: OrderedDict[bytes, Neighbour] = OrderedDict()
        self.checks: dict[bytes, AddressCheck] = {}
        #: When another host was last seen to use an own address.
        self.conflicts: dict[bytes, int] = {}
        self.heap: list[tuple[int, int, int, bytes]] = []
        self.sequence: int = 0
        self.out: deque[Packet] = deque()
        self.failed: list[Packet] = []
        self.address_events: list[tuple[bytes, int]] = []
        #: Bytes that wait for all neighbours together.
        self.waiting: int = 0
        self.last_use: int = -1
        self.retrans_timer: int = self.config.retrans_timer
        self.base_reachable_time: int = self.config.base_reachable_time
        self.reachable_time: int = 0
        self.renew_at: int = 0
        self.router_discovery = RouterDiscovery(interface.mtu)

    # What the stack asks for.

    def resolve(self, now: int, ip: bytes) -> bytes:
        """The MAC address (6 bytes) of next hop `ip`; multicast and broadcast addresses are mapped.

        b"" where it is not known yet: then `queue` the packet, which also begins to ask.
        """
        self.last_use = now
        entry = self.entries.get(ip)
        if entry is not None:
            entry.used = now
            state = entry.state
            if state == REACHABLE and now < entry.reachable_until:
                return entry.mac
            if state in (REACHABLE, STALE):
                # RFC 4861 section 7.3.3: "The first time a node sends a packet to a neighbor whose entry is STALE, the
                # sender changes the state to DELAY and sets a timer to expire in DELAY_FIRST_PROBE_TIME seconds."
                entry.state = DELAY
                entry.probes = 0
                self.start_timer(entry, now + self.config.delay_first_probe)
                return entry.mac
            return entry.mac if state not in (INCOMPLETE, FAILED) else b""
        if is_multicast(ip):
            return multicast_mac(ip)
        if len(ip) == 4 and self.interface.is_broadcast(ip):
            return MAC_BROADCAST
        return b""

    def queue(self, now: int, ip: bytes, packet: Packet) -> None:
        """Keep an IP packet until its next hop `ip` is resolved, and ask for that.

        It comes out of `poll_transmit` as a frame, or out of `failures`. The oldest packets are dropped where more wait
        for one neighbour than `queue_packets` or `queue_bytes`; its oldest, too, where more than `queue_bytes_total`
        wait for all. The latest one is always kept.
        """
        self.last_use = now
        entry = self.entries.get(ip)
        if entry is None:
            entry = self.create(now, ip)
            begin(self, now, entry, packet)
        elif entry.state == FAILED:
            self.ask_for(entry)
            begin(self, now, entry, packet)
        elif entry.state != INCOMPLETE:
            self.push_ip(entry.mac, packet)
            return
        config = self.config
        size = len(packet)
        entry.packets.append(packet)
        entry.packets_size += size
        self.waiting += size
        while len(entry.packets) > config.queue_packets or (
            len(entry.packets) > 1
            and (entry.packets_size > config.queue_bytes or self.waiting > config.queue_bytes_total)
        ):
            size = len(entry.packets.popleft())
            entry.packets_size -= size
            self.waiting -= size
            self.counters.queue_dropped += 1

    def send(self, now: int, ip: bytes, packet: Packet) -> None:
        """`resolve` and, as may be, frame or `queue` an IP packet."""
        mac = self.resolve(now, ip)
        if mac:
            self.push_ip(mac, packet)
        else:
            self.queue(now, ip, packet)

    def confirm(self, now: int, ip: bytes) -> None:
        """An upper layer had an answer from or by way of next hop `ip` (RFC 4861 section 7.3.1)."""
        entry = self.entries.get(ip)
        if entry is not None and REACHABLE <= entry.state <= PROBE:
            entry.state = REACHABLE
            entry.timer = 0
            entry.reachable_until = now + self.current_reachable_time(now)

    def add_static(self, ip: bytes, mac: bytes) -> None:
        """A neighbour set by hand: never asked for, changed or evicted. Raises ValueError for a wrong address."""
        if len(mac) != 6 or len(ip) not in (4, 16) or is_multicast(ip):
            raise ValueError("a neighbour has an IP address of 4 or 16 bytes and a MAC address of 6")
        entry = self.entries.get(ip)
        if entry is None:
            entry = Neighbour(ip, 0)
            self.entries[ip] = entry
        self.incomplete.pop(ip, None)
        self.order.pop(ip, None)
        entry.mac = mac
        entry.state = PERMANENT
        entry.timer = 0
        self.flush_queue(entry)

    def remove(self, ip: bytes) -> bool:
        """Forget a neighbour; False where it is not known. Packets that wait for it are dropped."""
        entry = self.entries.get(ip)
        if entry is None:
            return False
        self.drop(entry)
        return True

    def clear(self) -> None:
        """Forget all neighbours but those set by hand (the interface went down)."""
        for entry in list(self.entries.values()):
            if entry.state != PERMANENT:
                self.drop(entry)

    def start_again(self, now: int) -> None:
        """The interface came up: what it asked the link before reached nobody, or another link.

        RFC 5227 section 2.1 and RFC 4862 section 5.4: addresses whose check was not over are checked from the start;
        RFC 4861 section 6.3.7: "The interface is reinitialized after a temporary interface failure": routers are
        solicited again.
        """
        for ip in list(self.checks):
            address = self.interface.by_ip.get(ip)
            if address is not None and address.state == ADDRESS_TENTATIVE:
                start_check(self, now, ip)
            else:
                # It was being announced.
                del self.checks[ip]
                if address is not None and address.usable():
                    self.announce(now, ip)
        if self.router_discovery.started:
            self.router_discovery.start(self, now)

    def handle_arp(self, now: int, frame: bytes, start: int) -> None:
        """An ARP packet came in: `frame[start:]`, behind the Ethernet header."""
        handle_arp_packet(self, now, frame, start)

    def handle_ndp(
        self, now: int, packet: bytes, start: int, end: int, src: bytes, dst: bytes, hop_limit: int
    ) -> bool:
        """An ICMPv6 message of type 133 to 137 came in; False where it is not valid or not to be believed.

        `packet[start:end]` is the message, its checksum verified; `src`, `dst`, `hop_limit` are of its IPv6 header.
        """
        return handle_nd_message(self, now, packet, start, end, src, dst, hop_limit)

    def poll_transmit(self, now: int) -> Packet | None:
        """The next Ethernet frame to send; None when there is no more."""
        return self.out.popleft() if self.out else None

    def failures(self) -> list[Packet]:
        """IP packets (no frames), since the last call, whose neighbour did not answer: host unreachable."""
        if not self.failed:
            return []
        failed = self.failed
        self.failed = []
        return failed

    def poll_address_events(self) -> list[tuple[bytes, int]]:
        """(address, new `ADDRESS_` state) of own addresses whose state changed by itself, -1 for removed ones."""
        if not self.address_events:
            return []
        events = self.address_events
        self.address_events = []
        return events

    def next_timeout(self) -> int:
        """When `handle_timeout` is due; `NEVER` when nothing runs."""
        heap = self.heap
        while heap:
            when, number, kind, key = heap[0]
            if self.timer_runs(number, kind, key):
                return when
            heappop(heap)
        return NEVER

    def handle_timeout(self, now: int) -> None:
        """Do all that is due."""
        heap = self.heap
        while heap and heap[0][0] <= now:
            _, number, kind, key = heappop(heap)
            if not self.timer_runs(number, kind, key):
                continue
            if kind == TIMER_NEIGHBOUR:
                entry = self.entries[key]
                entry.timer = 0
                neighbour_timeout(self, now, entry)
            elif kind == TIMER_CHECK:
                handle_check_timeout(self, now, self.checks[key])
            else:
                self.router_discovery.timer = 0
                self.router_discovery.handle_timeout(self, now)

    # Addresses and routers of this host.

    def start_address_check(self, now: int, ip: bytes) -> None:
        """Make an address of the interface tentative and find out whether another host has it.

        RFC 4862 section 5.4, RFC 5227 section 2.1. The outcome is an address event. Raises ValueError for an address
        that the interface does not have.
        """
        start_check(self, now, ip)

    def start_router_discovery(self, now: int) -> None:
        """Give the interface a link-local address and ask for routers (RFC 4862 section 5, RFC 4861 section 6.3.7)."""
        self.router_discovery.start(self, now)

    def announce(self, now: int, ip: bytes) -> None:
        """Tell all neighbours that an address is here: they replace what they remembered of it.

        An ARP announcement (RFC 5227 section 2.3) or an unsolicited advertisement (RFC 4861 section 7.2.6).
        """
        if len(ip) == 4:
            send_arp_announcement(self, ip)
        else:
            send_unsolicited_advertisement(self, now, ip)

    # What the protocols do with the cache.

    def push(self, frame: Packet) -> None:
        """Have a frame sent."""
        if self.interface.up and len(self.out) < MAX_OUT:
            self.out.append(frame)
        else:
            self.counters.queue_dropped += 1

    def push_ip(self, mac: bytes, packet: Packet) -> None:
        """Have an IP packet sent to this MAC address."""
        self.push(ethernet_frame(packet, self.interface.mac, mac, self.interface.index))

    def create(self, now: int, ip: bytes) -> Neighbour:
        """A new entry, INCOMPLETE; the least useful one makes room for it if need be."""
        if len(self.order) >= self.config.cache_limit:
            self.evict(now)
        entry = Neighbour(ip, now)
        self.entries[ip] = entry
        self.order[ip] = entry
        self.ask_for(entry)
        return entry

    def ask_for(self, entry: Neighbour) -> None:
        """An entry becomes INCOMPLETE; if too many are, the oldest of these is given up."""
        entry.state = INCOMPLETE
        entry.probes = 0
        self.incomplete[entry.ip] = entry
        if len(self.incomplete) > self.config.incomplete_limit:
            # A scan of a subnet must not push out the neighbours that exist (RFC 6583).
            oldest = first_of(self.incomplete)
            if oldest is not None:
                self.counters.evicted += 1
                self.drop(oldest)

    def evict(self, now: int) -> None:
        """Forget one neighbour: one that was not used lately, else one that is asked for in vain.

        A recently used one that has come to the front gets a second chance, a few of them at a time: this is quick, and
        near to least recently used.
        """
        chances = SECOND_CHANCES
        victim = first_of(self.order)
        while victim is not None and now - victim.used < RECENTLY:
            if chances == 0:
                asked = first_of(self.incomplete)
                if asked is not None:
                    victim = asked
                break
            chances -= 1
            self.order.move_to_end(victim.ip)
            victim = first_of(self.order)
        if victim is not None:
            self.counters.evicted += 1
            self.drop(victim)

    def drop(self, entry: Neighbour) -> None:
        """Take an entry out; what waits for it is lost."""
        entry.timer = 0
        self.counters.queue_dropped += len(entry.packets)
        self.empty_queue(entry)
        self.incomplete.pop(entry.ip, None)
        self.order.pop(entry.ip, None)
        self.entries.pop(entry.ip, None)
        if entry.gateway_dead:
            # Nobody would remember to try it again.
            self.routes.set_gateway_reachable(entry.ip, self.interface, True)

    def flush_queue(self, entry: Neighbour) -> None:
        """Send what waited for a MAC address."""
        for packet in entry.packets:
            self.push_ip(entry.mac, packet)
        self.empty_queue(entry)

    def empty_queue(self, entry: Neighbour) -> None:
        """Nothing waits for this neighbour any more."""
        self.waiting -= entry.packets_size
        entry.packets.clear()
        entry.packets_size = 0

    def current_reachable_time(self, now: int) -> int:
        """ReachableTime: 0.5 to 1.5 times BaseReachableTime (RFC 4861 section 6.3.2)."""
        if now >= self.renew_at:
            base = self.base_reachable_time
            self.reachable_time = base // 2 + self.rng.randrange(base + 1)
            self.renew_at = now + REACHABLE_TIME_RENEWAL
        return self.reachable_time

    # Timers.

    def start_timer(self, entry: Neighbour, when: int) -> None:
        """Start a neighbour's timer, in place of one that runs."""
        entry.timer = self.add_timer(when, TIMER_NEIGHBOUR, entry.ip)

    def start_check_timer(self, check: AddressCheck, when: int) -> None:
        """Start the timer of an address check."""
        check.timer = self.add_timer(when, TIMER_CHECK, check.address.ip)

    def start_router_timer(self, when: int) -> None:
        """Start the one timer of router discovery; `NEVER` stops it."""
        self.router_discovery.timer = self.add_timer(when, TIMER_ROUTER, b"") if when < NEVER else 0

    def add_timer(self, when: int, kind: int, key: bytes) -> int:
        """Put an item into the heap; its number."""
        heap = self.heap
        # Items whose timer was stopped go when their time comes; before they are many more than the others, at once.
        if len(heap) > 64 and len(heap) > 4 * (len(self.incomplete) + len(self.entries) + len(self.checks)):
            # In place: `handle_timeout` may be at work on this very list.
            heap[:] = [item for item in heap if self.timer_runs(item[1], item[2], item[3])]
            heapify(heap)
        self.sequence += 1
        heappush(heap, (when, self.sequence, kind, key))
        return self.sequence

    def timer_runs(self, number: int, kind: int, key: bytes) -> bool:
        """Whether an item of the heap still counts."""
        if kind == TIMER_NEIGHBOUR:
            entry = self.entries.get(key)
            return entry is not None and entry.timer == number
        if kind == TIMER_CHECK:
            check = self.checks.get(key)
            return check is not None and check.timer == number
        return self.router_discovery.timer == number
