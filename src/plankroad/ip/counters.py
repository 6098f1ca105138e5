"""Counters of the internet layer, named after causes: plain ints, to be incremented where the cause is."""

from __future__ import annotations


class IpCounters:
    """What happened to IP packets, of both families (compare RFC 4293's ipSystemStatsTable).

    Received: `received`, `received_bytes`; delivered to a transport: `delivered`; passed on: `forwarded`.
    Sent by this host: `sent`, `sent_bytes`. Everything else is a packet or datagram that was not, by cause.
    """

    __slots__ = (
        "bad_address",
        "bad_header",
        "bad_option",
        "delivered",
        "forwarded",
        "fragmentation_failed",
        "fragmented",
        "fragments_created",
        "fragments_duplicate",
        "fragments_overlapping",
        "fragments_received",
        "fragments_refused",
        "interface_down",
        "looped_back",
        "neighbour_queue_full",
        "neighbour_unreachable",
        "no_forwarding",
        "no_route",
        "not_for_us",
        "output_queue_full",
        "path_mtu_decreased",
        "path_mtu_expired",
        "path_mtu_ignored",
        "path_mtu_probed",
        "reassembled",
        "reassembly_evicted",
        "reassembly_failed",
        "reassembly_timeout",
        "received",
        "received_broadcast",
        "received_bytes",
        "received_multicast",
        "redirects_applied",
        "redirects_ignored",
        "sent",
        "sent_bytes",
        "source_routed",
        "too_big",
        "ttl_exceeded",
        "unknown_protocol",
    )

    def __init__(self) -> None:
        self.received: int = 0
        self.received_bytes: int = 0
        self.received_broadcast: int = 0
        self.received_multicast: int = 0
        self.delivered: int = 0
        self.forwarded: int = 0
        self.looped_back: int = 0  #: sent to an own address, never on a link
        self.sent: int = 0
        self.sent_bytes: int = 0
        self.bad_header: int = 0  #: no well-formed header, wrong lengths or header checksum
        self.bad_address: int = 0  #: a source or destination that no packet may have here
        self.bad_option: int = 0
        self.source_routed: int = 0  #: refused because of its source route
        self.not_for_us: int = 0  #: for another host, and this one is no router
        self.no_forwarding: int = 0  #: not to be passed on: link-local, broadcast, martian
        self.unknown_protocol: int = 0
        self.no_route: int = 0
        self.interface_down: int = 0
        self.ttl_exceeded: int = 0
        self.too_big: int = 0  #: larger than the next link takes, and not to be fragmented
        self.output_queue_full: int = 0
        self.neighbour_queue_full: int = 0
        self.neighbour_unreachable: int = 0
        self.fragmented: int = 0  #: datagrams cut into fragments
        self.fragments_created: int = 0
        self.fragmentation_failed: int = 0
        self.fragments_received: int = 0
        self.fragments_duplicate: int = 0
        self.fragments_overlapping: int = 0
        self.fragments_refused: int = 0  #: malformed, tiny, too many, past 65535, or of a refused datagram
        self.reassembled: int = 0
        self.reassembly_failed: int = 0  #: datagrams given up for what their fragments were
        self.reassembly_timeout: int = 0
        self.reassembly_evicted: int = 0  #: datagrams given up for want of memory
        self.path_mtu_decreased: int = 0
        self.path_mtu_ignored: int = 0
        self.path_mtu_expired: int = 0
        self.path_mtu_probed: int = 0
        self.redirects_applied: int = 0
        self.redirects_ignored: int = 0

    def as_dict(self) -> dict[str, int]:
        """All counters by name."""
        return {
            "received": self.received,
            "received_bytes": self.received_bytes,
            "received_broadcast": self.received_broadcast,
            "received_multicast": self.received_multicast,
            "delivered": self.delivered,
            "forwarded": self.forwarded,
            "looped_back": self.looped_back,
            "sent": self.sent,
            "sent_bytes": self.sent_bytes,
            "bad_header": self.bad_header,
            "bad_address": self.bad_address,
            "bad_option": self.bad_option,
            "source_routed": self.source_routed,
            "not_for_us": self.not_for_us,
            "no_forwarding": self.no_forwarding,
            "unknown_protocol": self.unknown_protocol,
            "no_route": self.no_route,
            "interface_down": self.interface_down,
            "ttl_exceeded": self.ttl_exceeded,
            "too_big": self.too_big,
            "output_queue_full": self.output_queue_full,
            "neighbour_queue_full": self.neighbour_queue_full,
            "neighbour_unreachable": self.neighbour_unreachable,
            "fragmented": self.fragmented,
            "fragments_created": self.fragments_created,
            "fragmentation_failed": self.fragmentation_failed,
            "fragments_received": self.fragments_received,
            "fragments_duplicate": self.fragments_duplicate,
            "fragments_overlapping": self.fragments_overlapping,
            "fragments_refused": self.fragments_refused,
            "reassembled": self.reassembled,
            "reassembly_failed": self.reassembly_failed,
            "reassembly_timeout": self.reassembly_timeout,
            "reassembly_evicted": self.reassembly_evicted,
            "path_mtu_decreased": self.path_mtu_decreased,
            "path_mtu_ignored": self.path_mtu_ignored,
            "path_mtu_expired": self.path_mtu_expired,
            "path_mtu_probed": self.path_mtu_probed,
            "redirects_applied": self.redirects_applied,
            "redirects_ignored": self.redirects_ignored,
        }


class IcmpCounters:
    """What ICMP and ICMPv6 messages came and went."""

    __slots__ = (
        "bad_checksum",
        "bad_message",
        "echo_replies_received",
        "echo_replies_sent",
        "echo_requests_ignored",
        "echo_requests_received",
        "echo_requests_sent",
        "errors_not_allowed",
        "errors_rate_limited",
        "errors_sent",
        "errors_unmatched",
        "ignored",
        "neighbour_advertisements_received",
        "neighbour_advertisements_sent",
        "neighbour_solicitations_received",
        "neighbour_solicitations_sent",
        "packet_too_big_received",
        "packet_too_big_sent",
        "parameter_problem_received",
        "parameter_problem_sent",
        "received",
        "redirect_received",
        "router_advertisements_received",
        "router_solicitations_sent",
        "sent",
        "source_quench_received",
        "time_exceeded_received",
        "time_exceeded_sent",
        "timestamp_replies_sent",
        "timestamp_requests_received",
        "unknown_type",
        "unreachable_received",
        "unreachable_sent",
    )

    def __init__(self) -> None:
        self.received: int = 0
        self.sent: int = 0
        self.bad_checksum: int = 0
        self.bad_message: int = 0  #: truncated, or not valid where and how it came
        self.unknown_type: int = 0
        self.ignored: int = 0
        self.echo_requests_received: int = 0
        self.echo_requests_sent: int = 0
        self.echo_requests_ignored: int = 0  #: to a broadcast or multicast address, or switched off
        self.echo_replies_received: int = 0
        self.echo_replies_sent: int = 0
        self.timestamp_requests_received: int = 0
        self.timestamp_replies_sent: int = 0
        self.unreachable_received: int = 0
        self.unreachable_sent: int = 0
        self.packet_too_big_received: int = 0  #: and IPv4's fragmentation needed
        self.packet_too_big_sent: int = 0
        self.time_exceeded_received: int = 0
        self.time_exceeded_sent: int = 0
        self.parameter_problem_received: int = 0
        self.parameter_problem_sent: int = 0
        self.source_quench_received: int = 0
        self.redirect_received: int = 0
        self.errors_sent: int = 0
        self.errors_not_allowed: int = 0  #: not sent: RFC 1122 section 3.2.2, RFC 4443 section 2.4 (e)
        self.errors_rate_limited: int = 0
        self.errors_unmatched: int = 0  #: about a packet of no connection or socket of this host
        self.neighbour_solicitations_received: int = 0
        self.neighbour_solicitations_sent: int = 0
        self.neighbour_advertisements_received: int = 0
        self.neighbour_advertisements_sent: int = 0
        self.router_advertisements_received: int = 0
        self.router_solicitations_sent: int = 0

    def as_dict(self) -> dict[str, int]:
        """All counters by name."""
        return {
            "received": self.received,
            "sent": self.sent,
            "bad_checksum": self.bad_checksum,
            "bad_message": self.bad_message,
            "unknown_type": self.unknown_type,
            "ignored": self.ignored,
            "echo_requests_received": self.echo_requests_received,
            "echo_requests_sent": self.echo_requests_sent,
            "echo_requests_ignored": self.echo_requests_ignored,
            "echo_replies_received": self.echo_replies_received,
            "echo_replies_sent": self.echo_replies_sent,
            "timestamp_requests_received": self.timestamp_requests_received,
            "timestamp_replies_sent": self.timestamp_replies_sent,
            "unreachable_received": self.unreachable_received,
            "unreachable_sent": self.unreachable_sent,
            "packet_too_big_received": self.packet_too_big_received,
            "packet_too_big_sent": self.packet_too_big_sent,
            "time_exceeded_received": self.time_exceeded_received,
            "time_exceeded_sent": self.time_exceeded_sent,
            "parameter_problem_received": self.parameter_problem_received,
            "parameter_problem_sent": self.parameter_problem_sent,
            "source_quench_received": self.source_quench_received,
            "redirect_received": self.redirect_received,
            "errors_sent": self.errors_sent,
            "errors_not_allowed": self.errors_not_allowed,
            "errors_rate_limited": self.errors_rate_limited,
            "errors_unmatched": self.errors_unmatched,
            "neighbour_solicitations_received": self.neighbour_solicitations_received,
            "neighbour_solicitations_sent": self.neighbour_solicitations_sent,
            "neighbour_advertisements_received": self.neighbour_advertisements_received,
            "neighbour_advertisements_sent": self.neighbour_advertisements_sent,
            "router_advertisements_received": self.router_advertisements_received,
            "router_solicitations_sent": self.router_solicitations_sent,
        }


class NeighbourCounters:
    """What one interface's neighbour cache did."""

    __slots__ = (
        "address_conflicts",
        "arp_received",
        "arp_replies_sent",
        "arp_requests_sent",
        "bad_arp",
        "bad_ndp",
        "duplicate_addresses",
        "evicted",
        "failed",
        "nd_received",
        "queue_dropped",
        "resolved",
        "unreachable_dropped",
    )

    def __init__(self) -> None:
        self.resolved: int = 0
        self.failed: int = 0  #: neighbours that did not answer
        self.evicted: int = 0
        self.queue_dropped: int = 0  #: packets that a neighbour's full queue pushed out, or that were evicted with it
        self.unreachable_dropped: int = 0  #: packets whose neighbour did not answer
        self.arp_received: int = 0
        self.arp_requests_sent: int = 0
        self.arp_replies_sent: int = 0
        self.bad_arp: int = 0
        self.nd_received: int = 0
        self.bad_ndp: int = 0
        self.address_conflicts: int = 0  #: another host used an address of ours
        self.duplicate_addresses: int = 0  #: addresses given up because another host had them

    def as_dict(self) -> dict[str, int]:
        """All counters by name."""
        return {
            "resolved": self.resolved,
            "failed": self.failed,
            "evicted": self.evicted,
            "queue_dropped": self.queue_dropped,
            "unreachable_dropped": self.unreachable_dropped,
            "arp_received": self.arp_received,
            "arp_requests_sent": self.arp_requests_sent,
            "arp_replies_sent": self.arp_replies_sent,
            "bad_arp": self.bad_arp,
            "nd_received": self.nd_received,
            "bad_ndp": self.bad_ndp,
            "address_conflicts": self.address_conflicts,
            "duplicate_addresses": self.duplicate_addresses,
        }
