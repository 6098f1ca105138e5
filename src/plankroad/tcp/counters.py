"""TCP's counters, named after causes. Segments unless the name says otherwise."""

from __future__ import annotations

from typing import Final

_NAMES: Final = (
    "active_opens",
    "passive_opens",
    "attempt_fails",
    "established_resets",
    "segments_received",
    "segments_sent",
    "bytes_received",
    "bytes_sent",
    "bytes_retransmitted",
    "bad_checksum",
    "bad_header",
    "no_connection",
    "resets_sent",
    "resets_received",
    "resets_ignored",
    "retransmitted",
    "retransmitted_fast",
    "retransmitted_timeout",
    "retransmitted_path_mtu",
    "retransmitted_probe",
    "retransmitted_syn",
    "timeouts",
    "spurious_recoveries",
    "reordering_seen",
    "tail_loss_probes",
    "tail_loss_repaired",
    "undone_dsack",
    "undone_eifel",
    "undone_frto",
    "lost_retransmissions",
    "recoveries_sack",
    "recoveries_newreno",
    "recoveries_loss",
    "duplicate_acks_received",
    "duplicate_acks_ignored",
    "duplicate_acks_sent",
    "delayed_acks",
    "sack_reneging",
    "dsack_sent",
    "dsack_received",
    "duplicates_received",
    "out_of_order_received",
    "out_of_order_dropped",
    "out_of_window",
    "paws_rejected",
    "ack_out_of_range",
    "challenge_acks",
    "challenge_acks_throttled",
    "zero_window_probes",
    "zero_windows_sent",
    "window_updates_sent",
    "receive_buffer_grown",
    "window_shrunk_by_peer",
    "keepalive_probes",
    "keepalive_drops",
    "user_timeouts",
    "retransmission_giveups",
    "syn_queue_overflow",
    "syn_queue_recycled",
    "accept_queue_overflow",
    "syn_cookies_sent",
    "syn_cookies_accepted",
    "syn_cookies_failed",
    "time_wait_entered",
    "time_wait_reused",
    "time_wait_overflow",
    "orphans_overflow",
    "persist_timeouts",
    "memory_out_of_order_shed",
    "memory_time_wait_shed",
    "memory_half_open_shed",
    "memory_connections_shed",
    "stalled_connections_shed",
    "simultaneous_opens",
    "icmp_soft_errors",
    "icmp_hard_errors",
    "icmp_rejected",
    "source_quench_ignored",
    "data_after_close",
    "urgent_received",
    "idle_restarts",
    "mtu_probes_sent",
    "mtu_probes_succeeded",
    "mtu_probes_failed",
    "mtu_black_holes",
    "fast_open_active",
    "fast_open_cookies_received",
    "fast_open_rejected",
    "fast_open_syn_lost",
    "fast_open_blackhole",
    "fast_open_passive",
    "fast_open_cookie_requests",
    "fast_open_cookie_invalid",
    "fast_open_queue_full",
    "ecn_classic",
    "ecn_accurate",
    "ecn_refused",
    "ecn_fallbacks",
    "ecn_ce_received",
    "ecn_echoes_received",
    "ecn_reductions",
    "ecn_mangled",
    "ecn_bleached",
)


class TcpCounters:
    """One a stack, shared by its connections."""

    __slots__ = (
        "accept_queue_overflow",
        "ack_out_of_range",
        "active_opens",
        "attempt_fails",
        "bad_checksum",
        "bad_header",
        "bytes_received",
        "bytes_retransmitted",
        "bytes_sent",
        "challenge_acks",
        "challenge_acks_throttled",
        "data_after_close",
        "delayed_acks",
        "dsack_received",
        "dsack_sent",
        "duplicate_acks_ignored",
        "duplicate_acks_received",
        "duplicate_acks_sent",
        "duplicates_received",
        "ecn_accurate",
        "ecn_bleached",
        "ecn_ce_received",
        "ecn_classic",
        "ecn_echoes_received",
        "ecn_fallbacks",
        "ecn_mangled",
        "ecn_reductions",
        "ecn_refused",
        "established_resets",
        "fast_open_active",
        "fast_open_blackhole",
        "fast_open_cookie_invalid",
        "fast_open_cookie_requests",
        "fast_open_cookies_received",
        "fast_open_passive",
        "fast_open_queue_full",
        "fast_open_rejected",
        "fast_open_syn_lost",
        "icmp_hard_errors",
        "icmp_rejected",
        "icmp_soft_errors",
        "idle_restarts",
        "keepalive_drops",
        "keepalive_probes",
        "lost_retransmissions",
        "memory_connections_shed",
        "memory_half_open_shed",
        "memory_out_of_order_shed",
        "memory_time_wait_shed",
        "mtu_black_holes",
        "mtu_probes_failed",
        "mtu_probes_sent",
        "mtu_probes_succeeded",
        "no_connection",
        "orphans_overflow",
        "out_of_order_dropped",
        "out_of_order_received",
        "out_of_window",
        "passive_opens",
        "paws_rejected",
        "persist_timeouts",
        "receive_buffer_grown",
        "recoveries_loss",
        "recoveries_newreno",
        "recoveries_sack",
        "reordering_seen",
        "resets_ignored",
        "resets_received",
        "resets_sent",
        "retransmission_giveups",
        "retransmitted",
        "retransmitted_fast",
        "retransmitted_path_mtu",
        "retransmitted_probe",
        "retransmitted_syn",
        "retransmitted_timeout",
        "sack_reneging",
        "segments_received",
        "segments_sent",
        "simultaneous_opens",
        "source_quench_ignored",
        "spurious_recoveries",
        "stalled_connections_shed",
        "syn_cookies_accepted",
        "syn_cookies_failed",
        "syn_cookies_sent",
        "syn_queue_overflow",
        "syn_queue_recycled",
        "tail_loss_probes",
        "tail_loss_repaired",
        "time_wait_entered",
        "time_wait_overflow",
        "time_wait_reused",
        "timeouts",
        "undone_dsack",
        "undone_eifel",
        "undone_frto",
        "urgent_received",
        "user_timeouts",
        "window_shrunk_by_peer",
        "window_updates_sent",
        "zero_window_probes",
        "zero_windows_sent",
    )

    def __init__(self) -> None:
        self.active_opens: int = 0
        self.passive_opens: int = 0
        self.attempt_fails: int = 0
        self.established_resets: int = 0
        self.segments_received: int = 0
        self.segments_sent: int = 0
        self.bytes_received: int = 0
        self.bytes_sent: int = 0
        self.bytes_retransmitted: int = 0
        self.bad_checksum: int = 0
        self.bad_header: int = 0
        self.no_connection: int = 0
        self.resets_sent: int = 0
        self.resets_received: int = 0
        self.resets_ignored: int = 0
        self.retransmitted: int = 0
        self.retransmitted_fast: int = 0
        self.retransmitted_timeout: int = 0
        self.retransmitted_path_mtu: int = 0
        self.retransmitted_probe: int = 0
        self.retransmitted_syn: int = 0
        self.timeouts: int = 0
        self.spurious_recoveries: int = 0
        self.reordering_seen: int = 0
        self.tail_loss_probes: int = 0
        self.tail_loss_repaired: int = 0
        self.undone_dsack: int = 0
        self.undone_eifel: int = 0
        self.undone_frto: int = 0
        self.lost_retransmissions: int = 0
        self.recoveries_sack: int = 0
        self.recoveries_newreno: int = 0
        self.recoveries_loss: int = 0
        self.duplicate_acks_received: int = 0
        self.duplicate_acks_ignored: int = 0
        self.duplicate_acks_sent: int = 0
        self.delayed_acks: int = 0
        self.sack_reneging: int = 0
        self.dsack_sent: int = 0
        self.dsack_received: int = 0
        self.duplicates_received: int = 0
        self.out_of_order_received: int = 0
        self.out_of_order_dropped: int = 0
        self.out_of_window: int = 0
        self.paws_rejected: int = 0
        self.ack_out_of_range: int = 0
        self.challenge_acks: int = 0
        self.challenge_acks_throttled: int = 0
        self.zero_window_probes: int = 0
        self.zero_windows_sent: int = 0
        self.window_updates_sent: int = 0
        self.receive_buffer_grown: int = 0
        self.window_shrunk_by_peer: int = 0
        self.keepalive_probes: int = 0
        self.keepalive_drops: int = 0
        self.user_timeouts: int = 0
        self.retransmission_giveups: int = 0
        self.syn_queue_overflow: int = 0
        self.syn_queue_recycled: int = 0
        self.accept_queue_overflow: int = 0
        self.syn_cookies_sent: int = 0
        self.syn_cookies_accepted: int = 0
        self.syn_cookies_failed: int = 0
        self.time_wait_entered: int = 0
        self.time_wait_reused: int = 0
        self.time_wait_overflow: int = 0
        self.orphans_overflow: int = 0
        self.persist_timeouts: int = 0
        self.memory_out_of_order_shed: int = 0
        self.memory_time_wait_shed: int = 0
        self.memory_half_open_shed: int = 0
        self.memory_connections_shed: int = 0
        self.stalled_connections_shed: int = 0
        self.simultaneous_opens: int = 0
        self.icmp_soft_errors: int = 0
        self.icmp_hard_errors: int = 0
        self.icmp_rejected: int = 0
        self.source_quench_ignored: int = 0
        self.data_after_close: int = 0
        self.urgent_received: int = 0
        self.idle_restarts: int = 0
        self.mtu_probes_sent: int = 0
        self.mtu_probes_succeeded: int = 0
        self.mtu_probes_failed: int = 0
        self.mtu_black_holes: int = 0
        self.fast_open_active: int = 0
        self.fast_open_cookies_received: int = 0
        self.fast_open_rejected: int = 0
        self.fast_open_syn_lost: int = 0
        self.fast_open_blackhole: int = 0
        self.fast_open_passive: int = 0
        self.fast_open_cookie_requests: int = 0
        self.fast_open_cookie_invalid: int = 0
        self.fast_open_queue_full: int = 0
        self.ecn_classic: int = 0
        self.ecn_accurate: int = 0
        self.ecn_refused: int = 0
        self.ecn_fallbacks: int = 0
        self.ecn_ce_received: int = 0
        self.ecn_echoes_received: int = 0
        self.ecn_reductions: int = 0
        self.ecn_mangled: int = 0
        self.ecn_bleached: int = 0

    def as_dict(self) -> dict[str, int]:
        """Every counter by its name."""
        return {name: getattr(self, name) for name in _NAMES}
