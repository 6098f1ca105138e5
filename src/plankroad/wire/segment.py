"""`Segment`: a TCP segment (RFC 9293 section 3.1) with its options taken apart."""

from __future__ import annotations

from typing import Final

FIN: Final = 0x01
SYN: Final = 0x02
RST: Final = 0x04
PSH: Final = 0x08
ACK: Final = 0x10
URG: Final = 0x20
ECE: Final = 0x40
CWR: Final = 0x80
AE: Final = 0x100  #: accurate ECN (RFC 9768 section 3.1.1), the last bit of the octet before the others

#: The three bits as the ACE field of RFC 9768 section 3.2.2: a counter modulo 8, `flags >> ACE_SHIFT & 7`.
ACE: Final = AE | CWR | ECE
ACE_SHIFT: Final = 6


class Segment:
    """One TCP segment, as it is on the wire: sequence numbers are 32-bit values, the window is not scaled.

    Options that are absent: `mss` 0, `wscale` -1, `sack_permitted` False, `has_ts` False, `sack` empty,
    `user_timeout` -1, `fast_open` None, `accecn` None.

    `flags`: nine bits, from FIN to AE.
    `user_timeout` is the option's 16 bits as they stand: granularity bit and value (RFC 5482 section 3.1).
    `fast_open` is the cookie (RFC 7413), empty in a request for one; `fast_open_exp`: in the option's older form.
    `accecn`: the counters EE0B, ECEB and EE1B (RFC 9768 section 3.2.3), modulo 2**24, each -1 where the option leaves
    it out. Those left out are the last ones: EE1B, or EE1B and ECEB, of order 0; EE0B, or EE0B and ECEB, of order 1; or
    all. An option with all three is sent in order 0.
    `md5` and `ao`: the option is there (RFC 2385, RFC 5925); its content is not looked at.
    `bad_options`: an option's length was illegal (0, 1 or past the header); what came before it was read (MUST-7).
    `payload` may be larger than the MSS: `gso_size` is then the size of the segments it stands for, else 0.
    `tos`: the IPv4 type of service or IPv6 traffic class it came with, or is to be sent with.
    """

    __slots__ = (
        "accecn",
        "ack",
        "ao",
        "bad_options",
        "dst_port",
        "fast_open",
        "fast_open_exp",
        "flags",
        "gso_size",
        "has_ts",
        "md5",
        "mss",
        "payload",
        "sack",
        "sack_permitted",
        "seq",
        "src_port",
        "tos",
        "ts_ecr",
        "ts_val",
        "urgent",
        "user_timeout",
        "wnd",
        "wscale",
    )

    def __init__(
        self,
        src_port: int,
        dst_port: int,
        seq: int,
        ack: int,
        flags: int,
        wnd: int,
        payload: bytes = b"",
    ) -> None:
        self.src_port = src_port
        self.dst_port = dst_port
        self.seq = seq
        self.ack = ack
        self.flags = flags
        self.wnd = wnd
        self.payload = payload
        self.urgent: int = 0
        self.mss: int = 0
        self.wscale: int = -1
        self.sack_permitted: bool = False
        self.has_ts: bool = False
        self.ts_val: int = 0
        self.ts_ecr: int = 0
        self.sack: list[tuple[int, int]] = []
        self.user_timeout: int = -1
        self.fast_open: bytes | None = None
        self.fast_open_exp: bool = False
        self.accecn: tuple[int, int, int] | None = None
        self.md5: bool = False
        self.ao: bool = False
        self.bad_options: bool = False
        self.gso_size: int = 0
        self.tos: int = 0

    def length(self) -> int:
        """SEG.LEN: octets of data and, counted as one each, SYN and FIN (RFC 9293 section 3.3.1)."""
        n = len(self.payload)
        if self.flags & SYN:
            n += 1
        if self.flags & FIN:
            n += 1
        return n
