"""A neighbour, its states, and the numbers that rule them (RFC 4861 sections 5.1, 7.3 and 10)."""

from __future__ import annotations

from collections import deque
from typing import Final

from plankroad.units import MILLISECOND, SECOND
from plankroad.wire.packet import Packet

# The states of RFC 4861 section 7.3.2, used for ARP too: its cache is validated by unicast polls, as RFC 1122
# section 2.3.2.1 (2) proposes.
INCOMPLETE: Final = 0  #: its MAC address is being asked for
REACHABLE: Final = 1  #: known to have been reachable within the last ReachableTime
STALE: Final = 2  #: not known to be reachable any more; nothing is done until it is used
DELAY: Final = 3  #: used since: an upper layer has a moment to confirm that it is reachable
PROBE: Final = 4  #: being asked whether it is there
FAILED: Final = 5  #: a gateway that did not answer
PERMANENT: Final = 6  #: set by hand

STATE_NAMES: Final[list[str]] = ["INCOMPLETE", "REACHABLE", "STALE", "DELAY", "PROBE", "FAILED", "PERMANENT"]


def usable_mac(mac: bytes) -> bool:
    """Whether a link-layer address option holds the address of one station."""
    return len(mac) == 6 and not mac[0] & 1 and mac != b"\0\0\0\0\0\0"


class Neighbour:
    """An entry of a neighbour cache.

    `timer`: number of its item in the cache's heap, 0 where none runs. `probes`: solicitations sent in this state.
    `packets`: what waits for its MAC address, oldest first, `packets_size` bytes. `used`: when a packet was last
    sent to it. `gateway_dead`: the routes through it are marked (see `RouteTable.set_gateway_reachable`).
    """

    __slots__ = (
        "gateway_dead",
        "ip",
        "last_solicit",
        "mac",
        "packets",
        "packets_size",
        "probes",
        "reachable_until",
        "router",
        "source",
        "state",
        "timer",
        "used",
    )

    def __init__(self, ip: bytes, now: int) -> None:
        self.ip = ip
        self.mac: bytes = b""
        self.state: int = INCOMPLETE
        self.router: bool = False
        self.probes: int = 0
        self.timer: int = 0
        self.reachable_until: int = 0
        self.last_solicit: int = -1
        self.used: int = now
        #: Own address of the packet that made us ask (RFC 4861 section 7.2.2).
        self.source: bytes = b""
        self.packets: deque[Packet] = deque()
        self.packets_size: int = 0
        self.gateway_dead: bool = False


class NeighbourConfig:
    """Numbers of a neighbour cache. Times are in ns, in brackets the names of RFC 4861 section 10 and others.

    Raises ValueError, on `check`, for numbers that make no sense together.
    """

    __slots__ = (
        "accept_ra",
        "accept_redirects",
        "announce_interval",
        "announce_number",
        "announce_wait",
        "base_reachable_time",
        "cache_limit",
        "check_delay",
        "check_probes_ipv4",
        "check_probes_ipv6",
        "dead_gateway_retry",
        "defend_interval",
        "delay_first_probe",
        "incomplete_limit",
        "multicast_solicits",
        "probe_max",
        "probe_min",
        "queue_bytes",
        "queue_bytes_total",
        "queue_packets",
        "retrans_timer",
        "router_solicitation_interval",
        "router_solicitations",
        "unicast_solicits",
    )

    def __init__(self) -> None:
        #: Between solicitations (RetransTimer); RFC 1122 section 2.3.2.1: at most one ARP request a second.
        self.retrans_timer: int = SECOND
        #: Solicitations to all before a neighbour counts as not there (MAX_MULTICAST_SOLICIT).
        self.multicast_solicits: int = 3
        #: The same to the neighbour known (MAX_UNICAST_SOLICIT).
        self.unicast_solicits: int = 3
        #: How long a confirmation is good for, before it is made random by a half (REACHABLE_TIME).
        self.base_reachable_time: int = 30 * SECOND
        #: What upper layers have to confirm a stale neighbour (DELAY_FIRST_PROBE_TIME).
        self.delay_first_probe: int = 5 * SECOND
        #: Neighbours remembered, and of these such as are asked for (RFC 6583).
        self.cache_limit: int = 1024
        self.incomplete_limit: int = 256
        #: Packets, and bytes of them, that wait for one neighbour; the oldest is dropped first.
        self.queue_packets: int = 64
        self.queue_bytes: int = 256 << 10
        #: The same bytes for all neighbours together: a scan of a subnet must not cost as many times as much.
        self.queue_bytes_total: int = 4 << 20
        #: How long a dead gateway is left alone while others are used.
        self.dead_gateway_retry: int = 30 * SECOND
        #: Duplicate address detection: solicitations (DupAddrDetectTransmits of RFC 4862 section 5.1), 0 for none;
        #: ARP probes (PROBE_NUM of RFC 5227 section 1.1), 0 for none; the random wait before (PROBE_WAIT,
        #: MAX_RTR_SOLICITATION_DELAY).
        self.check_probes_ipv6: int = 1
        self.check_probes_ipv4: int = 3
        self.check_delay: int = SECOND
        #: RFC 5227 section 1.1: PROBE_MIN, PROBE_MAX, ANNOUNCE_WAIT, ANNOUNCE_NUM, ANNOUNCE_INTERVAL, DEFEND_INTERVAL.
        self.probe_min: int = SECOND
        self.probe_max: int = 2 * SECOND
        self.announce_wait: int = 2 * SECOND
        self.announce_number: int = 2
        self.announce_interval: int = 2 * SECOND
        self.defend_interval: int = 10 * SECOND
        #: MAX_RTR_SOLICITATIONS and RTR_SOLICITATION_INTERVAL.
        self.router_solicitations: int = 3
        self.router_solicitation_interval: int = 4 * SECOND
        #: Whether a host configures itself by router advertisements, and believes redirects.
        self.accept_ra: bool = True
        self.accept_redirects: bool = True

    def check(self) -> None:
        """Raises ValueError for numbers that make no sense."""
        if self.retrans_timer < MILLISECOND or self.base_reachable_time < MILLISECOND or self.delay_first_probe < 0:
            raise ValueError("retrans_timer and base_reachable_time are a millisecond or more")
        if self.multicast_solicits < 1 or self.unicast_solicits < 1:
            raise ValueError("a neighbour is asked once at least")
        if self.cache_limit < 1 or self.incomplete_limit < 1:
            raise ValueError("a neighbour cache holds 1 or more")
        # RFC 1122 section 2.3.2.2: "The link layer SHOULD save (rather than discard) at least one (the latest) packet
        # of each set of packets destined to the same unresolved IP address".
        if self.queue_packets < 1 or self.queue_bytes < 0 or self.queue_bytes_total < 0:
            raise ValueError("at least one packet waits for an unresolved neighbour")
        if self.check_probes_ipv4 < 0 or self.check_probes_ipv6 < 0 or self.check_delay < 0:
            raise ValueError("probes and waits are 0 or more")
        if not 0 <= self.probe_min <= self.probe_max:
            raise ValueError("probe_min and probe_max do not fit each other")
