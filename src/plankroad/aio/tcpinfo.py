"""`TCP_INFO`: Linux's `struct tcp_info` (include/uapi/linux/tcp.h), from `Connection.info`.

`Connection.info` names its fields as the struct does, with or without `tcpi_`; what it does not have is 0.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Final

from plankroad.tcp.constants import STATE_NAMES

#: Fields in order: name and struct code. Two bit fields are made in `pack_tcp_info`.
_FIELDS: Final = (
    ("state", "B"),
    ("ca_state", "B"),
    ("retransmits", "B"),
    ("probes", "B"),
    ("backoff", "B"),
    ("options", "B"),
    ("wscale", "B"),
    ("delivery_rate_app_limited", "B"),
    ("rto", "I"),
    ("ato", "I"),
    ("snd_mss", "I"),
    ("rcv_mss", "I"),
    ("unacked", "I"),
    ("sacked", "I"),
    ("lost", "I"),
    ("retrans", "I"),
    ("fackets", "I"),
    ("last_data_sent", "I"),
    ("last_ack_sent", "I"),
    ("last_data_recv", "I"),
    ("last_ack_recv", "I"),
    ("pmtu", "I"),
    ("rcv_ssthresh", "I"),
    ("rtt", "I"),
    ("rttvar", "I"),
    ("snd_ssthresh", "I"),
    ("snd_cwnd", "I"),
    ("advmss", "I"),
    ("reordering", "I"),
    ("rcv_rtt", "I"),
    ("rcv_space", "I"),
    ("total_retrans", "I"),
    ("pacing_rate", "Q"),
    ("max_pacing_rate", "Q"),
    ("bytes_acked", "Q"),
    ("bytes_received", "Q"),
    ("segs_out", "I"),
    ("segs_in", "I"),
    ("notsent_bytes", "I"),
    ("min_rtt", "I"),
    ("data_segs_in", "I"),
    ("data_segs_out", "I"),
    ("delivery_rate", "Q"),
    ("busy_time", "Q"),
    ("rwnd_limited", "Q"),
    ("sndbuf_limited", "Q"),
    ("delivered", "I"),
    ("delivered_ce", "I"),
    ("bytes_sent", "Q"),
    ("bytes_retrans", "Q"),
    ("dsack_dups", "I"),
    ("reord_seen", "I"),
    ("rcv_ooopack", "I"),
    ("snd_wnd", "I"),
)

_STRUCT: Final = struct.Struct("=" + "".join(code for _, code in _FIELDS))
_LIMITS: Final = {"B": 0xFF, "I": 0xFFFFFFFF, "Q": 0xFFFFFFFFFFFFFFFF}

#: TCPI_OPT_: timestamps, SACK, window scaling, ECN, ECT or CE seen, data in the SYN.
_OPTION_BITS: Final = {"ts": 1, "sack": 2, "wscale": 4, "ecn": 8, "accecn": 8, "ecnseen": 16, "fast_open": 32}

#: The states' numbers in Linux (include/net/tcp_states.h).
_LINUX_STATES: Final = {
    "ESTABLISHED": 1,
    "SYN_SENT": 2,
    "SYN_RECEIVED": 3,
    "SYN_RECV": 3,
    "FIN_WAIT_1": 4,
    "FIN_WAIT1": 4,
    "FIN_WAIT_2": 5,
    "FIN_WAIT2": 5,
    "TIME_WAIT": 6,
    "CLOSED": 7,
    "CLOSE": 7,
    "CLOSE_WAIT": 8,
    "LAST_ACK": 9,
    "LISTEN": 10,
    "CLOSING": 11,
}


#: TCP_CA_ numbers (include/uapi/linux/tcp.h).
_CA_STATES: Final = {"open": 0, "disorder": 1, "cwr": 2, "recovery": 3, "loss": 4}

#: Members that newer kernels have behind the others.
_NEWER: Final = (
    "received_ce",
    "delivered_e1_bytes",
    "delivered_e0_bytes",
    "delivered_ce_bytes",
    "received_e1_bytes",
    "received_e0_bytes",
    "received_ce_bytes",
    "total_rto",
)


def pack_tcp_info(info: Mapping[str, int | str]) -> bytes:
    """The struct, in this machine's byte order; values that do not fit are cut to the largest."""
    values: list[int] = []
    for name, code in _FIELDS:
        if name == "wscale":
            # The first of two 4-bit fields has the low bits on little-endian machines.
            value = (_number(info, "snd_wscale") & 15) | (_number(info, "rcv_wscale") & 15) << 4
        else:
            value = _value(info, name)
        values.append(min(max(value, 0), _LIMITS[code]))
    return _STRUCT.pack(*values)


def tcp_info_members(info: Mapping[str, int | str]) -> dict[str, int]:
    """The struct's members as numbers, by their names with `tcpi_`."""
    members: dict[str, int] = {}
    for name, code in _FIELDS:
        if name == "wscale":
            members["tcpi_snd_wscale"] = _number(info, "snd_wscale") & 15
            members["tcpi_rcv_wscale"] = _number(info, "rcv_wscale") & 15
        else:
            members["tcpi_" + name] = min(max(_value(info, name), 0), _LIMITS[code])
    for name in _NEWER:
        members["tcpi_" + name] = max(_number(info, name), 0)
    return members


def _value(info: Mapping[str, int | str], name: str) -> int:
    if name == "state":
        return _state(info)
    if name == "options":
        return _options(info)
    if name == "ca_state":
        value = info.get("tcpi_ca_state", info.get("ca_state", 0))
        return _CA_STATES.get(value, 0) if isinstance(value, str) else value
    return _number(info, name)


def _number(info: Mapping[str, int | str], name: str) -> int:
    value = info.get("tcpi_" + name, info.get(name, 0))
    return int(value) if isinstance(value, int) else 0


def _options(info: Mapping[str, int | str]) -> int:
    value = info.get("options", 0)
    if isinstance(value, int):
        return value
    return sum(_OPTION_BITS.get(word.partition(":")[0], 0) for word in value.split())


def _state(info: Mapping[str, int | str]) -> int:
    value = info.get("tcpi_state", info.get("state", 0))
    if isinstance(value, str):
        return _LINUX_STATES.get(value, 7)
    return _LINUX_STATES[STATE_NAMES[value]]
