"""`tcp_info`: what Linux tells of a connection, under the same names, of ours."""

from __future__ import annotations

from typing import Final

from plankroad.tcp.cc.base import INITIAL_SSTHRESH
from plankroad.tcp.constants import (
    CLOSED,
    CWR,
    ESTABLISHED,
    FAST_OPEN_ACTIVE,
    FAST_OPEN_PASSIVE,
    LOSS,
    MAX_WIND_SHIFT,
    RECOVERY,
    STATE_NAMES,
    TIMER_NAMES,
)
from plankroad.tcp.ecnstate import CLASSIC, NOT_ECN
from plankroad.tcp.limits import BUSY, RWND_LIMITED, SNDBUF_LIMITED, spent
from plankroad.tcp.memory import held_by
from plankroad.tcp.tcb import Tcb
from plankroad.units import MICROSECOND, NEVER, SECOND

_CA_NAMES: Final = {RECOVERY: "recovery", LOSS: "loss", CWR: "cwr"}


def tcp_info(t: Tcb, now: int) -> dict[str, int | str]:
    """Times are microseconds unless the name says `_ms`; windows and sizes are bytes, `snd_cwnd` and the counts of
    segments are segments of `snd_mss`, as in Linux's struct tcp_info. `memory`: all that the connection holds, bytes.
    With classic ECN little is known of marks: `delivered_ce_bytes` is an estimate then, and the others are 0.
    """
    mss = t.snd_mss
    board = t.scoreboard
    unacked, sacked, lost, retrans = _counts(t)
    min_rtt = t.rtt.min_rtt if t.rtt.samples else 0
    timers = {TIMER_NAMES[i]: when for i, when in enumerate(t.timers) if when != NEVER}
    options = []
    if t.ts_ok:
        options.append("ts")
    if t.sack_ok:
        options.append("sack")
    if t.ws_ok:
        options.append(f"wscale:{t.snd_wind_shift},{min(t.rcv_wind_shift, MAX_WIND_SHIFT)}")
    e = t.ecn
    if e is not None and e.mode != NOT_ECN:
        options.append("ecn" if e.mode == CLASSIC else "accecn")
        if e.seen:
            options.append("ecnseen")
    if t.fast_open in (FAST_OPEN_ACTIVE, FAST_OPEN_PASSIVE) and t.syn_data and not t.syn_data_end:
        options.append("fast_open")
    return {
        "state": STATE_NAMES[t.state],
        "ca_state": _CA_NAMES.get(t.congestion, "disorder" if t.dup_acks or board.sacked else "open"),
        "congestion_control": t.config.congestion_control,
        "options": " ".join(options),
        "snd_wscale": t.snd_wind_shift,
        "rcv_wscale": t.rcv_wind_shift,
        "retransmits": t.retries,
        "probes": t.probes,
        "backoff": t.rtt.backoff,
        "rto": t.rtt.rto() // MICROSECOND,
        "ato": t.config.delayed_ack // MICROSECOND,
        "snd_mss": mss,
        "rcv_mss": t.rcv_mss,
        "advmss": min(t.link_mss, t.config.max_segment) if t.config.max_segment else t.link_mss,
        "pmtu": t.path_mss + (40 if len(t.local_addr) == 4 else 60),
        "unacked": unacked,
        "sacked": sacked,
        "lost": lost,
        "retrans": retrans,
        "rtt": t.rtt.srtt // MICROSECOND,
        "rttvar": t.rtt.rttvar // MICROSECOND,
        "min_rtt": min_rtt // MICROSECOND,
        # What has no bound yet is told as it is, as Linux does.
        "snd_ssthresh": t.cc.ssthresh // mss if t.cc.ssthresh < INITIAL_SSTHRESH else INITIAL_SSTHRESH,
        "snd_cwnd": max(t.window() // mss, 1),
        "snd_wnd": t.snd_wnd,
        "rcv_wnd": max(0, t.rcv_adv - t.rcv_nxt),
        "rcv_rtt": t.rcv_space.rtt // MICROSECOND,
        "rcv_space": t.rcv_buf,
        "snd_buf": t.snd_buf_limit,
        "rcv_ooopack": len(t.reassembly.intervals),
        "memory": held_by(t),
        "notsent_bytes": max(0, t.snd_buf.end - max(t.snd_nxt, t.snd_buf.start)),
        "bytes_sent": t.bytes_sent,
        "bytes_acked": t.bytes_acked,
        "bytes_received": t.bytes_received,
        "bytes_retrans": t.bytes_retransmitted,
        "segs_out": t.segments_sent,
        "segs_in": t.segments_received,
        "total_retrans": t.retransmitted_segments,
        "total_rto": t.timeouts,
        "dsack_dups": t.dsacks_received,
        "reordering": t.rack.reordering,
        "reord_seen": t.rack.reordered,
        "delivered": _delivered(t, mss),
        "delivered_ce": e.s_cep - 5 if e is not None else 0,
        "delivered_ce_bytes": e.ce_octets if e is not None else 0,
        "delivered_e0_bytes": e.s_e0b - 1 if e is not None else 0,
        "delivered_e1_bytes": e.s_e1b - 1 if e is not None else 0,
        "received_e0_bytes": e.r_e0b - 1 if e is not None else 0,
        "received_e1_bytes": e.r_e1b - 1 if e is not None else 0,
        "received_ce": e.r_cep - 5 if e is not None else 0,
        "received_ce_bytes": e.r_ceb if e is not None else 0,
        "pacing_rate": t.pacing_rate,
        "delivery_rate": t.delivery_rate,
        "delivery_rate_app_limited": int(t.app_limited > 0),
        # Before there was any, since the connection was established.
        "last_data_recv": (now - max(t.last_text, t.established_at)) // 1_000_000 if t.established_at >= 0 else 0,
        "busy_time": sum([spent(t, now, kind) for kind in (BUSY, RWND_LIMITED, SNDBUF_LIMITED)]) // MICROSECOND,
        "rwnd_limited": spent(t, now, RWND_LIMITED) // MICROSECOND,
        "sndbuf_limited": spent(t, now, SNDBUF_LIMITED) // MICROSECOND,
        "last_data_sent": (now - t.last_sent) // 1_000_000 if t.last_sent >= 0 else 0,
        "last_ack_recv": (now - t.last_received) // 1_000_000,
        "last_data_sent_ms": (now - t.last_sent) // 1_000_000 if t.last_sent >= 0 else -1,
        "last_segment_received_ms": (now - t.last_received) // 1_000_000,
        "timer": " ".join(f"{name}:{(when - now) / SECOND:.3f}s" for name, when in timers.items()),
    }


def _syn_arrived(t: Tcb) -> bool:
    """The peer has acknowledged our SYN."""
    return t.state >= ESTABLISHED or (t.state == CLOSED and t.snd_una > t.iss)


def _delivered(t: Tcb, mss: int) -> int:
    """Segments known to have arrived; our SYN is one of them, with the data that the peer took of it."""
    if not _syn_arrived(t):
        return _segments(t.delivered, mss)
    return 1 + _segments(t.delivered if t.passive else t.delivered - t.syn_data, mss)


def _counts(t: Tcb) -> tuple[int, int, int, int]:
    """Segments in flight or lost, of these selectively acknowledged, lost, and sent again and on their way.

    A range counts for the segments that it was sent as, so that two small ones are two. Without SACK duplicate ACKs
    tell what has left the network.
    """
    mss = t.snd_mss
    board = t.scoreboard
    unacked = 0
    sacked = _segments(t.reno_sacked, mss)
    lost = 0
    retrans = 0
    for sent in board.ranges[board.head() :]:
        count = sent.segments if sent.sacked else _segments(sent.end - sent.start, mss)
        unacked += count
        if sent.sacked:
            sacked += count
        if sent.lost:
            lost += count
        if sent.retransmitted:
            retrans += count
    if t.snd_nxt > t.snd_una and unacked == 0:
        # A SYN, or a SYN,ACK.
        unacked = 1
    return unacked, sacked, lost, retrans


def _segments(octets: int, mss: int) -> int:
    return (octets + mss - 1) // mss
