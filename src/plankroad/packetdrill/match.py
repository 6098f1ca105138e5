"""Is what the stack sent what the script expects?

Compared are: the addresses and ports; every checksum and length; the nine TCP flags (or the ACE counter where a digit
stands for it) and that the reserved bits are zero; sequence number, length of the data, acknowledgement number, urgent
pointer; the TCP options byte for byte, padding included. What the text leaves out means:

| not in the text | then |
|---|---|
| `ack N` | the field must be 0 (relative to the initial sequence number if the ACK flag is there) |
| `win N` | any window |
| `urg N` | the field must be 0 |
| `<...>` with nothing in it | there must be no options |
| `[...]` fields of the IP header | any value |
| ports | those of the flow |
| ICMP: the code | 0; `mtu`, `id`, the quoted packet: any |

`<...>` takes any options. Of a timestamp option TSecr is compared; TSval where the script says how long a tick is
(`--tcp_ts_tick_usecs`): it must be as far from the first one seen as the script's is, within the tolerance. Flow labels
are compared with each other: equal ones in the script must be equal, different ones different.

A script may have one segment where the wire has several, cut at the MSS, and the wire one super-segment (a device with
segmentation offload) where the script has several. Both are cut at the MSS in force and compared piece by piece: PSH
and FIN belong to the last, CWR (unless AccECN is in use) to the first. Nothing else is forgiven, and this not where
`strict` (`--strict_segments`) is asked for. A host that pushes each of its super-segments (`Settings.pushes_bursts`)
must have PSH on the piece that ends one, be it before the script's last piece, and there alone; only where nobody can
tell which pieces those are, as on a kernel's device, PSH before the last piece is not looked at.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final, NamedTuple

from plankroad.packetdrill import icmp_names
from plankroad.packetdrill.flow import Flow
from plankroad.packetdrill.options import options_bytes, options_text, parse_options
from plankroad.packetdrill.packets import icmp_numbers, ports_of
from plankroad.packetdrill.seen import (
    ECN_WORDS,
    Seen,
    flags_text,
    options_to_script,
    quote_of,
    range_text,
    seen_text,
)
from plankroad.packetdrill.syntax import (
    ACK,
    AE,
    CWR,
    ECE,
    ECT0,
    ECT01,
    ECT1,
    FIN,
    OPT_SACK,
    OPT_TIMESTAMP,
    PSH,
    QUOTE_TCP,
    RST,
    SYN,
    Icmp,
    Packet,
    Quote,
    SequenceRange,
    Tcp,
    TcpOption,
    Udp,
)
from plankroad.wire.address import bytes_to_ip
from plankroad.wire.constants import PROTO_ICMP, PROTO_ICMPV6, PROTO_TCP, PROTO_UDP

_U32: Final = 0xFFFFFFFF
_ACE: Final = AE | CWR | ECE
_ACE_SHIFT: Final = 6
_PROTOCOLS: Final = {PROTO_TCP: "TCP", PROTO_UDP: "UDP", PROTO_ICMP: "ICMP", PROTO_ICMPV6: "ICMPv6"}


#: Which pieces before the last of an expected segment have PSH: none; those that end a super-segment of the host's; or
#: any, for it is not known which those are.
PUSHED_NEVER: Final = 0
PUSHED_BURSTS: Final = 1
PUSHED_UNSEEN: Final = 2


class Row(NamedTuple):
    """One thing compared: its name, what is expected and what was sent in words, and whether it is right."""

    name: str
    expected: str
    sent: str
    same: bool


class Arrival(NamedTuple):
    """A packet from the stack, or what is left of one: when it came, and what it is."""

    time: int
    seen: Seen


class Expectation:
    """One expected packet, to which arrivals are offered until it is `done` or `rows` tell that it is not met.

        expectation = Expectation(packet, flow)
        while not expectation.done:
            rest = expectation.offer(arrival)     # what of it is to be looked at next, here or by the next
            if expectation.failed: print(expectation.report())

    `tolerance` (ns) is for timestamps; `pushed` is a PUSHED_ constant. `rows` are the comparison of the arrival offered
    last.
    """

    __slots__ = ("_left", "arrivals", "done", "flow", "packet", "pushed", "rows", "strict", "tolerance")

    def __init__(
        self, packet: Packet, flow: Flow, tolerance: int = 4_000_000, strict: bool = False, pushed: int = 0
    ) -> None:
        self.packet = packet
        self.flow = flow
        self.tolerance = tolerance
        self.strict = strict
        self.pushed = pushed
        self.done = False
        self.rows: list[Row] = []
        self.arrivals: list[Arrival] = []
        #: What of the packet has not come yet.
        self._left = packet

    @property
    def failed(self) -> bool:
        return any(not row.same for row in self.rows)

    def offer(self, arrival: Arrival) -> Arrival | None:
        """Compare `arrival`, or its first piece where it is a super-segment; the rest of it is to be offered next."""
        piece, seen, rest = self._pair(arrival.seen)
        self.arrivals.append(Arrival(arrival.time, seen))
        self.rows = compare(piece, seen, self.flow, self.tolerance)
        if self.failed:
            return None
        left = self._left.body
        if isinstance(left, Tcp):
            self.flow.matched(seen.flags)
            size = seen.length
            if size < left.seq.length:
                start = (left.seq.start + size) & _U32
                seq = SequenceRange(start, left.seq.end, left.seq.length - size)
                flags = left.flags if self.flow.acc_ecn else left.flags & ~CWR
                self._left = replace(self._left, body=replace(left, seq=seq, flags=flags))
            else:
                self.done = True
        else:
            self.done = True
        return Arrival(arrival.time, rest) if rest is not None else None

    def _pair(self, seen: Seen) -> tuple[Packet, Seen, Seen | None]:
        """What is to be compared now: a piece of what is expected, a piece of what was sent, and what is over of it."""
        left = self._left
        tcp = left.body
        if not isinstance(tcp, Tcp) or seen.protocol != PROTO_TCP or self.strict or (tcp.flags | seen.flags) & SYN:
            return left, seen, None
        wanted = tcp.seq.length
        if seen.length == wanted:
            return left, seen, None
        # The options of the text or, where it takes any, those that came.
        options = len(seen.options) if tcp.options is None else len(options_bytes(tcp.options))
        size = self.flow.segment_size(options)
        rest: Seen | None = None
        if seen.length > size:
            seen, rest = seen.cut(size, bool(self.flow.acc_ecn))
        if wanted > size:
            seq = SequenceRange(tcp.seq.start, (tcp.seq.start + size) & _U32, size)
            pushed = 0
            if self.pushed == PUSHED_UNSEEN:
                pushed = seen.flags & PSH
            elif self.pushed == PUSHED_BURSTS and seen.ends_burst and rest is None:
                pushed = PSH
            left = replace(left, body=replace(tcp, seq=seq, flags=tcp.flags & ~(PSH | FIN) | pushed))
        return left, seen, rest

    def report(self) -> str:
        """What was expected and what came, side by side, differences marked."""
        return side_by_side(self.rows)

    def sent_text(self) -> list[str]:
        """The arrivals in a script's words."""
        return [seen_text(arrival.seen, self.flow) for arrival in self.arrivals]


def side_by_side(rows: list[Row]) -> str:
    """A table of the rows; `<--` stands behind those that differ."""
    table = [("", "expected", "sent", "")]
    table += [(row.name, row.expected, row.sent, "" if row.same else "<--") for row in rows]
    widths = [max(len(line[column]) for line in table) for column in range(3)]
    lines = [
        f"{name:<{widths[0]}}  {expected:<{widths[1]}}  {sent:<{widths[2]}}  {mark}".rstrip()
        for name, expected, sent, mark in table
    ]
    return "\n".join(lines)


def compare(packet: Packet, seen: Seen, flow: Flow, tolerance: int = 4_000_000) -> list[Row]:
    """Everything that an expectation says of one packet on the wire, in order."""
    rows: list[Row] = []
    body = packet.body
    kind = _kind(body, flow.version)
    if seen.version != flow.version or seen.protocol != kind:
        sent = _PROTOCOLS.get(seen.protocol, f"protocol {seen.protocol}")
        rows.append(
            Row("packet", f"{_PROTOCOLS[kind]} over IPv{flow.version}", f"{sent} over IPv{seen.version}", False)
        )
        return rows
    if seen.bad:
        rows.append(Row("integrity", "right", seen.bad, False))
    _address(rows, packet, seen, flow)
    _ip(rows, packet, seen, flow)
    if isinstance(body, Tcp):
        _tcp(rows, body, seen, flow, tolerance)
    elif isinstance(body, Udp):
        rows.append(Row("length", str(body.length), str(seen.length), body.length == seen.length))
    else:
        _icmp(rows, packet, body, seen, flow)
    return rows


def _kind(body: Tcp | Udp | Icmp, version: int) -> int:
    if isinstance(body, Tcp):
        return PROTO_TCP
    if isinstance(body, Udp):
        return PROTO_UDP
    return PROTO_ICMP if version == 4 else PROTO_ICMPV6


def _address(rows: list[Row], packet: Packet, seen: Seen, flow: Flow) -> None:
    """Addresses and ports; only shown where they differ, or the text has ports."""
    body = packet.body
    if (seen.src, seen.dst) != (flow.local, flow.remote):
        rows.append(
            Row(
                "addresses",
                f"{bytes_to_ip(flow.local)} > {bytes_to_ip(flow.remote)}",
                f"{bytes_to_ip(seen.src)} > {bytes_to_ip(seen.dst)}",
                False,
            )
        )
    if isinstance(body, Icmp):
        return
    if not flow.local_port and body.ports is None and (seen.protocol != PROTO_TCP or seen.flags & SYN):
        # The port that the stack chose for a conversation it opens.
        flow.local_port = seen.source
    ports = ports_of(body.ports, flow.local_port, flow.remote_port)
    same = ports == (seen.source, seen.destination)
    if body.ports is not None or not same:
        rows.append(Row("ports", f"{ports[0]} > {ports[1]}", f"{seen.source} > {seen.destination}", same))


def _ip(rows: list[Row], packet: Packet, seen: Seen, flow: Flow) -> None:
    ip = packet.ip
    if ip.ecn is not None:
        ecn = seen.tos & 3
        same = ecn in {ECT0, ECT1} if ip.ecn == ECT01 else ecn == ip.ecn
        rows.append(Row("ecn", ECN_WORDS.get(ip.ecn, "ect0 or ect1"), ECN_WORDS[ecn], same))
    if ip.tos is not None:
        rows.append(Row("tos", f"0x{ip.tos:x}", f"0x{seen.tos:x}", ip.tos == seen.tos))
    if ip.ttl is not None:
        rows.append(Row("ttl", str(ip.ttl), str(seen.ttl), ip.ttl == seen.ttl))
    if seen.ip_options:
        rows.append(Row("ip options", "none", f"{seen.ip_options} bytes", False))
    if ip.flow_label is not None:
        _flow_label(rows, ip.flow_label, seen, flow)


def _flow_label(rows: list[Row], label: int, seen: Seen, flow: Flow) -> None:
    """RFC 6437 leaves the value to the sender: what can be said is which packets have one, and the same."""
    sent = f"0x{seen.flow_label:x}"
    if seen.version == 4:
        rows.append(Row("flowlabel", f"0x{label:x}", "none, it is IPv4", False))
    elif label == 0:
        rows.append(Row("flowlabel", "0x0", sent, seen.flow_label == 0))
    elif seen.flow_label == 0:
        rows.append(Row("flowlabel", "one", sent, False))
    elif flow.label_script == label:
        rows.append(Row("flowlabel", f"0x{flow.label_wire:x} again", sent, seen.flow_label == flow.label_wire))
    elif flow.label_script:
        same = seen.flow_label != flow.label_wire
        rows.append(Row("flowlabel", f"another than 0x{flow.label_wire:x}", sent, same))
        flow.label_script, flow.label_wire = label, seen.flow_label
    else:
        rows.append(Row("flowlabel", "any but 0", sent, True))
        flow.label_script, flow.label_wire = label, seen.flow_label


def _tcp(rows: list[Row], tcp: Tcp, seen: Seen, flow: Flow, tolerance: int) -> None:
    if tcp.flags & seen.flags & SYN:
        flow.syn_expected(tcp.seq.start, seen.seq, seen.ack if seen.flags & ACK else 0)
    syn = seen.flags & SYN != 0
    if tcp.ace is not None:
        ace = (seen.flags & _ACE) >> _ACE_SHIFT
        same = ace == tcp.ace and seen.flags & ~_ACE == tcp.flags
        rows.append(Row("flags", flags_text(tcp.flags, tcp.ace), flags_text(seen.flags & ~_ACE, ace), same))
    else:
        rows.append(Row("flags", flags_text(tcp.flags), flags_text(seen.flags), tcp.flags == seen.flags))
    if seen.reserved:
        rows.append(Row("reserved bits", "0", str(seen.reserved), False))
    start = flow.local_to_script(seen.seq, syn)
    seq = SequenceRange(start, (start + seen.length) & _U32, seen.length)
    rows.append(Row("sequence", range_text(tcp.seq), range_text(seq), seq == tcp.seq))
    ack = flow.remote_to_script(seen.ack, syn) if seen.flags & ACK else seen.ack
    expected_ack = tcp.ack or 0
    rows.append(Row("ack", str(expected_ack), str(ack), ack == expected_ack))
    if tcp.win is not None:
        rows.append(Row("window", str(tcp.win), str(seen.window), tcp.win == seen.window))
    urgent = tcp.urg or 0
    if urgent or seen.urgent:
        rows.append(Row("urgent", str(urgent), str(seen.urgent), urgent == seen.urgent))
    if tcp.options is not None:
        rows.append(_options(tcp.options, seen, flow, syn, tolerance))
    if flow.outgoing is not None and seen.length and seq == tcp.seq and not seen.flags & RST:
        # A probe of what was acknowledged before may have any byte (RFC 9293 section 3.8.4), at the SYN's number too.
        offset = start - (flow.script_isn or 0) if syn else start - 1
        data = bytes(flow.outgoing[offset : offset + seen.length]) if offset >= 0 else seen.data
        if data != seen.data:
            first = next((i for i in range(len(data)) if data[i] != seen.data[i]), len(data))
            rows.append(Row("data", "what was written", f"differs from byte {start + first}", False))


def _options(options: list[TcpOption], seen: Seen, flow: Flow, syn: bool, tolerance: int) -> Row:
    came = parse_options(seen.options)
    on_wire: list[TcpOption] = []
    right = True
    for i, option in enumerate(options):
        if option.name == OPT_SACK:
            blocks = tuple([flow.remote_to_wire(value, syn) for value in option.values])
            on_wire.append(TcpOption(OPT_SACK, blocks))
        elif option.name == OPT_TIMESTAMP and i < len(came) and came[i].name == OPT_TIMESTAMP:
            value, echo = option.values
            wire = came[i].values[0]
            flow.note_timestamp(value, wire)
            right = right and _timestamp_in_time(value, wire, flow, tolerance)
            on_wire.append(TcpOption(OPT_TIMESTAMP, (wire, echo)))
        else:
            on_wire.append(option)
    right = right and options_bytes(on_wire) == seen.options
    told = options_to_script(came, flow, ">", syn)
    if not flow.tick:
        # The value was not compared: the script's own is shown.
        for i, option in enumerate(told):
            if option.name == OPT_TIMESTAMP and i < len(options) and options[i].name == OPT_TIMESTAMP:
                told[i] = TcpOption(OPT_TIMESTAMP, (options[i].values[0], option.values[1]))
    return Row("options", options_text(options) or "none", options_text(told) or "none", right)


def _timestamp_in_time(value: int, wire: int, flow: Flow, tolerance: int) -> bool:
    if not flow.tick:
        return True
    off = (flow.timestamp_to_script(wire) - value) & _U32
    if off > _U32 >> 1:
        off = _U32 + 1 - off
    return off * flow.tick <= tolerance


def _icmp(rows: list[Row], packet: Packet, icmp: Icmp, seen: Seen, flow: Flow) -> None:
    type_, code = icmp_numbers(icmp, flow.version, packet.where)
    expected = icmp_names.type_text(flow.version, type_, code)
    sent = icmp_names.type_text(flow.version, seen.icmp_type, seen.icmp_code)
    rows.append(Row("icmp", expected, sent, (type_, code) == (seen.icmp_type, seen.icmp_code)))
    if icmp.mtu is not None:
        mtu = seen.rest & 0xFFFF if flow.version == 4 else seen.rest
        rows.append(Row("mtu", str(icmp.mtu), str(mtu), icmp.mtu == mtu))
    if icmp.ident is not None:
        rows.append(Row("id", str(icmp.ident), str(seen.rest >> 16), icmp.ident == seen.rest >> 16))
    if icmp.quote is None:
        return
    if type_ not in icmp_names.ERRORS[flow.version]:
        rows.append(Row("length", str(icmp.quote.length), str(seen.length), icmp.quote.length == seen.length))
        return
    if seen.quoted is None:
        rows.append(Row("quote", _quote_text(icmp.quote), "none", False))
        return
    quote = quote_of(seen.quoted, flow, packet.direction)
    same = quote == icmp.quote
    if quote.kind == icmp.quote.kind == QUOTE_TCP and quote.seq is not None and icmp.quote.seq is not None:
        # How long the TCP header of the quoted packet is, is not told: where it starts is.
        same = quote.seq.start == icmp.quote.seq.start
    ends = (seen.quoted.src, seen.quoted.dst) == (flow.remote, flow.local)
    rows.append(Row("quote", _quote_text(icmp.quote), _quote_text(quote), same and ends))


def _quote_text(quote: Quote) -> str:
    return range_text(quote.seq) if quote.seq is not None else f"{quote.kind} ({quote.length})"
