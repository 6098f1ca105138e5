"""`Flow`: one conversation of a script, and how its numbers become those of the wire and back.

A script's numbers are those a packet dump would show. In a segment with SYN, sequence and acknowledgement numbers are
absolute. In all others they are relative to the initial sequence numbers: 1 is the first byte of data. The script
chooses the remote side's initial number, which is on the wire as it is written; the stack chooses its own, and a flow
learns it from the first SYN that the stack sends, which stands for the number the script wrote there.

Timestamps: those of the remote side are the script's. The stack's are whatever its clock says: each one expected is
remembered with what came, and an echo of it in an injected packet becomes what came.
"""

from __future__ import annotations

from typing import Final

from plankroad.packetdrill.errors import BadScriptError
from plankroad.packetdrill.syntax import ACK, AE, CWR, ECE, OPT_MSS, RST, SYN, Location, TcpOption

_U32: Final = 0xFFFFFFFF
#: Of a peer that sends no MSS option: RFC 9293 section 3.7.1 (MUST-15).
_DEFAULT_MSS: Final = {4: 536, 6: 1220}
_IP_HEADER: Final = {4: 20, 6: 40}
_TCP_HEADER: Final = 20

#: The data that a script's packets carry, by its place in the stream: a period that divides no size in use.
_PERIOD: Final = 251
_PATTERN: Final = bytes(range(_PERIOD)) * (1 + 66048 // _PERIOD)


def pattern(offset: int, length: int) -> bytes:
    """The `length` bytes (up to 65536) at `offset` of the stream that injected packets carry."""
    start = offset % _PERIOD
    return _PATTERN[start : start + length]


class Flow:
    """The state of one conversation, kept by `packets.build` and `match`.

    `local` and `remote` are addresses, 4 or 16 bytes each. `active`: the stack opens it. `local_port` 0: not known, the
    first packet from the stack tells. `mtu` is the path's, in bytes; `mss_limit` an upper bound of the program
    (TCP_MAXSEG) or of the configuration to the size of segments, 0 for none.

    `tick` is how long one unit of the stack's timestamps is, in ns; 0: its timestamps are not compared.
    `scale_echoes`: an echo of a timestamp that was never expected is reckoned from the first one.
    `outgoing`, if not None, is every byte that the stack's program has written: expected data is compared with it.
    """

    __slots__ = (
        "acc_ecn",
        "active",
        "established",
        "first_script_ts",
        "first_wire_ts",
        "label_script",
        "label_wire",
        "live_isn",
        "local",
        "local_port",
        "mss_limit",
        "mtu",
        "offered",
        "outgoing",
        "peer_mss",
        "remote",
        "remote_isn",
        "remote_port",
        "scale_echoes",
        "script_isn",
        "tick",
        "timestamps",
        "version",
    )

    def __init__(
        self,
        local: bytes,
        remote: bytes,
        local_port: int,
        remote_port: int,
        active: bool = False,
        mtu: int = 1500,
        tick: int = 0,
        scale_echoes: bool = False,
    ) -> None:
        self.version = 4 if len(local) == 4 else 6
        self.local = local
        self.remote = remote
        self.local_port = local_port
        self.remote_port = remote_port
        self.active = active
        self.mtu = mtu
        self.tick = tick
        self.scale_echoes = scale_echoes
        self.mss_limit = 0
        self.outgoing: bytes | bytearray | None = None
        #: Initial sequence numbers, None as long as they are not known.
        self.remote_isn: int | None = None
        self.script_isn: int | None = None
        self.live_isn: int | None = None
        self.established = False
        #: Initial number and MSS of a SYN after that which the connection began with, until it is answered.
        self.offered: tuple[int, int] | None = None
        #: Whether AccECN was agreed on (RFC 9768 section 3.1.1); None before the SYN/ACK.
        self.acc_ecn: bool | None = None
        self.peer_mss = 0
        #: The stack's timestamps: from the script's number to the wire's.
        self.timestamps: dict[int, int] = {}
        self.first_script_ts: int | None = None
        self.first_wire_ts = 0
        #: Flow labels: the script's latest and what stood for it.
        self.label_script = 0
        self.label_wire = 0

    # Sequence numbers: `remote` ones are the script's own, `local` ones the stack's.

    def _remote_offset(self, syn: bool) -> int:
        return 0 if syn or self.remote_isn is None else self.remote_isn

    def _local_offset(self, syn: bool) -> int:
        if self.live_isn is None:
            return 0
        return self.live_isn - (self.script_isn or 0) if syn else self.live_isn

    def remote_to_wire(self, number: int, syn: bool = False) -> int:
        return (number + self._remote_offset(syn)) & _U32

    def remote_to_script(self, number: int, syn: bool = False) -> int:
        return (number - self._remote_offset(syn)) & _U32

    def local_to_wire(self, number: int, syn: bool = False) -> int:
        return (number + self._local_offset(syn)) & _U32

    def local_to_script(self, number: int, syn: bool = False) -> int:
        return (number - self._local_offset(syn)) & _U32

    # What is learned from packets.

    def injected(self, flags: int, seq: int, options: list[TcpOption]) -> None:
        """A segment of the remote side is about to be injected; `seq` is the script's number."""
        if not flags & SYN:
            return
        if self.remote_isn is not None and not self.active and not flags & ACK:
            self.offered = (seq, self._mss_of(options)) if seq != self.remote_isn else None
        # The first one counts. To a stack that opens, a SYN/ACK may come again until one was taken.
        if self.remote_isn is None or (self.active and flags & ACK and not self.established):
            self.remote_isn = seq
            self.peer_mss = self._mss_of(options)
            if self.active and flags & ACK:
                self._agree(flags)

    @staticmethod
    def _mss_of(options: list[TcpOption]) -> int:
        return next((option.values[0] for option in options if option.name == OPT_MSS), 0)

    def syn_expected(self, script_seq: int, wire_seq: int, wire_ack: int = 0) -> None:
        """The stack sent a SYN where one was expected: the numbers stand for each other.

        Only the first counts, and one that answers a later SYN of the peer's with another initial number: then a new
        incarnation of the connection begins, and all numbers are reckoned from its own.
        """
        if self.offered is not None and wire_ack == (self.offered[0] + 1) & _U32:
            self.remote_isn, self.peer_mss = self.offered
            self.offered = None
            self.live_isn = None
            self.established = False
            self.timestamps.clear()
            self.first_script_ts = None
        if self.live_isn is None:
            self.script_isn = script_seq
            self.live_isn = wire_seq

    def matched(self, flags: int) -> None:
        """A segment of the stack was what the script expects."""
        if flags & SYN:
            if flags & ACK and not self.active:
                self._agree(flags)
        elif flags & ACK and not flags & RST and self.remote_isn is not None:
            self.established = True

    def _agree(self, flags: int) -> None:
        # RFC 9768 table 2: of the eight combinations in a SYN/ACK these four say that AccECN is understood.
        self.acc_ecn = flags & (AE | CWR | ECE) in (CWR, CWR | ECE, AE, AE | CWR)

    def too_big(self, mtu: int) -> None:
        """An ICMP message says that the path takes packets of `mtu` bytes."""
        self.mtu = min(self.mtu, mtu)

    # Segments.

    def segment_size(self, option_bytes: int) -> int:
        """The MSS in force: bytes of data in a full segment with TCP options of `option_bytes`.

        RFC 9293 section 3.7.1: "Eff.snd.MSS = min(SendMSS+20, MMS_S) - TCPhdrsize - IPoptionsize" (MUST-16).
        """
        size = min(self.peer_mss or _DEFAULT_MSS[self.version], self.mtu - _IP_HEADER[self.version] - _TCP_HEADER)
        if self.mss_limit:
            size = min(size, self.mss_limit)
        return max(1, size - option_bytes)

    # Timestamps.

    def note_timestamp(self, script: int, wire: int) -> None:
        """The stack sent `wire` where the script has `script`."""
        self.timestamps[script] = wire
        if self.first_script_ts is None:
            self.first_script_ts = script
            self.first_wire_ts = wire

    def timestamp_to_script(self, wire: int) -> int:
        """What `wire` of the stack's clock is in the script's numbers, reckoned from the first one seen."""
        if self.first_script_ts is None:
            return wire
        return (self.first_script_ts + wire - self.first_wire_ts) & _U32

    def echo_to_wire(self, script: int, where: Location | None) -> int:
        """What an injected segment echoes where the script writes `script`.

        Raises BadScriptError where no timestamp stands for it: a peer echoes what it was sent.
        """
        if script in self.timestamps:
            return self.timestamps[script]
        if self.scale_echoes and self.first_script_ts is not None:
            return (self.first_wire_ts + script - self.first_script_ts) & _U32
        raise BadScriptError(
            where, f"found ecr {script}, expected the TS val of a packet from the stack, or --tcp_ts_ecr_scaled"
        )
