"""`tcp_info` of a kernel's connection, as scripts know it.

Source: struct tcp_info in Linux's include/uapi/linux/tcp.h.
"""

from __future__ import annotations

import struct
from typing import Final

#: The fields in their order, each with its format; the two bit fields are taken apart below.
_FIELDS: Final = (
    "B:state B:ca_state B:retransmits B:probes B:backoff B:options B:wscales B:flags "
    "I:rto I:ato I:snd_mss I:rcv_mss I:unacked I:sacked I:lost I:retrans I:fackets "
    "I:last_data_sent I:last_ack_sent I:last_data_recv I:last_ack_recv "
    "I:pmtu I:rcv_ssthresh I:rtt I:rttvar I:snd_ssthresh I:snd_cwnd I:advmss I:reordering "
    "I:rcv_rtt I:rcv_space I:total_retrans Q:pacing_rate Q:max_pacing_rate Q:bytes_acked Q:bytes_received "
    "I:segs_out I:segs_in I:notsent_bytes I:min_rtt I:data_segs_in I:data_segs_out "
    "Q:delivery_rate Q:busy_time Q:rwnd_limited Q:sndbuf_limited I:delivered I:delivered_ce "
    "Q:bytes_sent Q:bytes_retrans I:dsack_dups I:reord_seen I:rcv_ooopack I:snd_wnd I:rcv_wnd I:rehash "
    "H:total_rto H:total_rto_recoveries I:total_rto_time"
)


def tcp_info(raw: bytes) -> dict[str, int]:
    """What getsockopt(TCP_INFO) gave, by the names `tcpi_...`, without what an older kernel does not have."""
    found: dict[str, int] = {}
    offset = 0
    for field in _FIELDS.split():
        code, _, name = field.partition(":")
        size = struct.calcsize("=" + code)
        if offset + size > len(raw):
            break
        (found["tcpi_" + name],) = struct.unpack_from("=" + code, raw, offset)
        offset += size
    scales, flags = found.pop("tcpi_wscales", 0), found.pop("tcpi_flags", 0)
    found["tcpi_snd_wscale"], found["tcpi_rcv_wscale"] = scales & 0xF, scales >> 4
    found["tcpi_delivery_rate_app_limited"] = flags & 1
    found["tcpi_fastopen_client_fail"] = flags >> 1 & 3
    return found
