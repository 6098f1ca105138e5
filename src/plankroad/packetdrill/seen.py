"""`Seen`: a packet from the wire taken apart as far as scripts can speak of it, and told in a script's words."""

from __future__ import annotations

from plankroad.packetdrill import icmp_names
from plankroad.packetdrill.flow import Flow
from plankroad.packetdrill.options import options_text, parse_options
from plankroad.packetdrill.syntax import (
    ACK,
    CE,
    CWR,
    ECT0,
    ECT1,
    FIN,
    FLAG_LETTERS,
    NOT_ECT,
    OPT_SACK,
    OPT_TIMESTAMP,
    OUTBOUND,
    PSH,
    QUOTE_RAW,
    QUOTE_TCP,
    QUOTE_UDP,
    SYN,
    Icmp,
    IpFields,
    Location,
    Packet,
    Ports,
    Quote,
    SequenceRange,
    Tcp,
    TcpOption,
    Udp,
)
from plankroad.wire.checksum import ones_sum, pseudo_sum
from plankroad.wire.constants import PROTO_ICMP, PROTO_ICMPV6, PROTO_TCP, PROTO_UDP
from plankroad.wire.errors import BadPacket
from plankroad.wire.quoted import Quoted, parse_quoted

_U32 = 0xFFFFFFFF
ECN_WORDS = {NOT_ECT: "noecn", ECT0: "ect0", ECT1: "ect1", CE: "ce"}
NOWHERE = Location("", 0, 0)


class Seen:
    """One IP packet. Which fields hold something depends on `protocol`.

    `bad`: what is wrong with its lengths and checksums, "" for nothing. `ip_options`: bytes of options or extension
    headers. `ports` are 0 where there are none. `length` is that of the transport's data; `ends_burst`: it is the last
    piece of a super-segment. TCP: `flags` (nine bits), `reserved` (the three before them), `seq`, `ack`, `window`,
    `urgent`, `options` as bytes. ICMP: `icmp_type`, `icmp_code`, `rest` (the 32 bits behind the checksum), `quoted`.
    """

    __slots__ = (
        "ack",
        "bad",
        "data",
        "destination",
        "dst",
        "ends_burst",
        "flags",
        "flow_label",
        "icmp_code",
        "icmp_type",
        "ip_options",
        "length",
        "options",
        "protocol",
        "quoted",
        "reserved",
        "rest",
        "seq",
        "source",
        "src",
        "tos",
        "ttl",
        "urgent",
        "version",
        "window",
    )

    def __init__(self, version: int, src: bytes, dst: bytes, protocol: int) -> None:
        self.version = version
        self.src = src
        self.dst = dst
        self.protocol = protocol
        self.bad = ""
        self.tos = 0
        self.ttl = 0
        self.flow_label = 0
        self.ip_options = 0
        self.source = 0
        self.destination = 0
        self.data = b""
        self.length = 0
        self.ends_burst = False
        self.flags = 0
        self.reserved = 0
        self.seq = 0
        self.ack = 0
        self.window = 0
        self.urgent = 0
        self.options = b""
        self.icmp_type = -1
        self.icmp_code = -1
        self.rest = 0
        self.quoted: Quoted | None = None

    def cut(self, size: int, piece_cwr: bool) -> tuple[Seen, Seen]:
        """The first `size` bytes of data as a segment of their own, and the rest, as segmentation offload would cut.

        FIN and PSH go with the rest; CWR with the first alone unless `piece_cwr` (accurate ECN has it in all).
        """
        first, rest = self._copy(), self._copy()
        first.data, rest.data = self.data[:size], self.data[size:]
        first.length, rest.length = size, self.length - size
        first.ends_burst, rest.ends_burst = False, True
        first.flags &= ~(FIN | PSH)
        if not piece_cwr:
            rest.flags &= ~CWR
        rest.seq = (self.seq + size) & _U32
        return first, rest

    def _copy(self) -> Seen:
        other = Seen(self.version, self.src, self.dst, self.protocol)
        for name in Seen.__slots__:
            setattr(other, name, getattr(self, name))
        return other


def see(packet: bytes) -> Seen:
    """Take `packet` apart. Raises BadPacket where it is no IP packet or too short for its headers.

    Wrong checksums and lengths that contradict each other are no error here but in `Seen.bad`.
    """
    version = packet[0] >> 4 if packet else 0
    if version == 4:
        seen, start, end = _see4(packet)
    elif version == 6:
        seen, start, end = _see6(packet)
    else:
        raise BadPacket("no IP packet")
    if seen.protocol in {PROTO_TCP, PROTO_UDP, PROTO_ICMPV6}:
        covered = packet[start:end]
        total = ones_sum(covered, pseudo_sum(seen.src, seen.dst, seen.protocol, len(covered)))
        # A UDP checksum of 0 over IPv4 says that there is none.
        none = seen.protocol == PROTO_UDP and seen.version == 4 and covered[6:8] == b"\0\0"
        if total != 0xFFFF and not none:
            seen.bad = seen.bad or "wrong checksum"
    elif seen.protocol == PROTO_ICMP and ones_sum(packet[start:end]) != 0xFFFF:
        seen.bad = seen.bad or "wrong ICMP checksum"
    _see_transport(seen, packet, start, end)
    return seen


def _see4(packet: bytes) -> tuple[Seen, int, int]:
    header = (packet[0] & 15) << 2
    if header < 20 or len(packet) < header:
        raise BadPacket("IPv4 header is truncated")
    seen = Seen(4, packet[12:16], packet[16:20], packet[9])
    seen.tos = packet[1]
    seen.ttl = packet[8]
    seen.ip_options = header - 20
    total = packet[2] << 8 | packet[3]
    if ones_sum(packet[:header]) != 0xFFFF:
        seen.bad = "wrong IPv4 header checksum"
    elif total != len(packet):
        seen.bad = f"IPv4 total length {total} in a packet of {len(packet)}"
    elif packet[6] & 0x3F or packet[7]:
        seen.bad = "a fragment"
    return seen, header, min(max(total, header), len(packet))


def _see6(packet: bytes) -> tuple[Seen, int, int]:
    if len(packet) < 40:
        raise BadPacket("IPv6 header is truncated")
    seen = Seen(6, packet[8:24], packet[24:40], packet[6])
    seen.tos = (packet[0] & 15) << 4 | packet[1] >> 4
    seen.flow_label = int.from_bytes(packet[1:4], "big") & 0xFFFFF
    seen.ttl = packet[7]
    length = packet[4] << 8 | packet[5]
    if length + 40 != len(packet):
        seen.bad = f"IPv6 payload length {length} in a packet of {len(packet)}"
    return seen, 40, min(40 + length, len(packet))


def _see_transport(seen: Seen, packet: bytes, start: int, end: int) -> None:
    available = end - start
    if seen.protocol == PROTO_TCP:
        if available < 20:
            raise BadPacket("TCP header is truncated")
        header = packet[start + 12] >> 4 << 2
        if header < 20 or header > available:
            raise BadPacket("TCP data offset points outside of the segment")
        seen.source = packet[start] << 8 | packet[start + 1]
        seen.destination = packet[start + 2] << 8 | packet[start + 3]
        seen.seq = int.from_bytes(packet[start + 4 : start + 8], "big")
        seen.ack = int.from_bytes(packet[start + 8 : start + 12], "big")
        seen.reserved = packet[start + 12] >> 1 & 7
        seen.flags = (packet[start + 12] & 1) << 8 | packet[start + 13]
        seen.window = packet[start + 14] << 8 | packet[start + 15]
        seen.urgent = packet[start + 18] << 8 | packet[start + 19]
        seen.options = packet[start + 20 : start + header]
        seen.data = packet[start + header : end]
    elif seen.protocol == PROTO_UDP:
        if available < 8:
            raise BadPacket("UDP header is truncated")
        seen.source = packet[start] << 8 | packet[start + 1]
        seen.destination = packet[start + 2] << 8 | packet[start + 3]
        length = packet[start + 4] << 8 | packet[start + 5]
        if length != available:
            seen.bad = seen.bad or f"UDP length {length} in a datagram of {available}"
        seen.data = packet[start + 8 : end]
    elif seen.protocol == (PROTO_ICMP if seen.version == 4 else PROTO_ICMPV6):
        if available < 8:
            raise BadPacket("ICMP message is truncated")
        seen.icmp_type = packet[start]
        seen.icmp_code = packet[start + 1]
        seen.rest = int.from_bytes(packet[start + 4 : start + 8], "big")
        seen.data = packet[start + 8 : end]
        if seen.icmp_type in icmp_names.ERRORS[seen.version]:
            try:
                seen.quoted = parse_quoted(seen.data)
            except BadPacket as error:
                seen.bad = seen.bad or str(error)
    else:
        seen.data = packet[start:end]
    seen.length = len(seen.data)


def to_script(seen: Seen, flow: Flow, direction: str = OUTBOUND) -> Packet | None:
    """`seen`, which went in `direction`, as a script of `flow` would write it; None for a protocol it has no word for.

    Nothing is left out that the language can say, but ports and addresses, which are the flow's.
    """
    body: Tcp | Udp | Icmp
    ip = IpFields(None, seen.tos, seen.ttl, seen.flow_label if seen.version == 6 else None)
    if seen.protocol == PROTO_TCP:
        body = _tcp(seen, flow, direction)
    elif seen.protocol == PROTO_UDP:
        body = Udp(seen.length)
    elif seen.icmp_type >= 0:
        body = _icmp(seen, flow, direction)
    else:
        return None
    packet = Packet(direction, body, ip, "", NOWHERE)
    packet.text = packet_text(packet)
    return packet


def _tcp(seen: Seen, flow: Flow, direction: str) -> Tcp:
    syn = seen.flags & SYN != 0
    if direction == OUTBOUND:
        start = flow.local_to_script(seen.seq, syn)
        ack = flow.remote_to_script(seen.ack, syn) if seen.flags & ACK else seen.ack
    else:
        start = flow.remote_to_script(seen.seq, syn)
        ack = flow.local_to_script(seen.ack, syn) if seen.flags & ACK else seen.ack
    seq = SequenceRange(start, (start + seen.length) & _U32, seen.length)
    options = options_to_script(parse_options(seen.options), flow, direction, syn)
    shown_ack = ack if seen.flags & ACK or ack else None
    return Tcp(seen.flags, seq, None, shown_ack, seen.window, seen.urgent or None, options)


def options_to_script(options: list[TcpOption], flow: Flow, direction: str, syn: bool) -> list[TcpOption]:
    """Options of the wire with the script's SACK blocks, and the stack's timestamps as far as they are known."""
    told: list[TcpOption] = []
    for option in options:
        if option.name == OPT_SACK:
            convert = flow.remote_to_script if direction == OUTBOUND else flow.local_to_script
            told.append(TcpOption(OPT_SACK, tuple([convert(value, syn) for value in option.values])))
        elif option.name == OPT_TIMESTAMP and direction == OUTBOUND:
            value, echo = option.values
            told.append(TcpOption(OPT_TIMESTAMP, (flow.timestamp_to_script(value), echo)))
        elif option.name == OPT_TIMESTAMP:
            value, echo = option.values
            # An echo stands for the timestamp that the script had for it.
            known = [script for script, wire in flow.timestamps.items() if wire == echo]
            told.append(TcpOption(OPT_TIMESTAMP, (value, known[-1] if known else echo)))
        else:
            told.append(option)
    return told


def _icmp(seen: Seen, flow: Flow, direction: str) -> Icmp:
    words = icmp_names.type_text(seen.version, seen.icmp_type, seen.icmp_code).split()
    icmp = Icmp(words[0], words[1] if len(words) > 1 else None)
    kind = (seen.icmp_type, seen.icmp_code)
    if (seen.version == 4 and kind == icmp_names.FRAGMENTATION_NEEDED) or (
        seen.version == 6 and seen.icmp_type == icmp_names.PACKET_TOO_BIG
    ):
        icmp.mtu = seen.rest & 0xFFFF if seen.version == 4 else seen.rest
    if seen.icmp_type in icmp_names.ECHO[seen.version]:
        icmp.ident = seen.rest >> 16
        icmp.quote = Quote(QUOTE_RAW, None, seen.length)
    elif seen.quoted is not None:
        icmp.quote = quote_of(seen.quoted, flow, direction)
    return icmp


def quote_of(quoted: Quoted, flow: Flow, direction: str) -> Quote:
    """What an ICMP error that went in `direction` quotes, in the script's words."""
    header = 20 if quoted.version == 4 else 40
    length = max(0, quoted.total_length - header)
    if quoted.protocol == PROTO_TCP and quoted.seq >= 0:
        # The quoted packet went the other way than the error. Its TCP header may be cut off: 20 bytes are assumed.
        convert = flow.remote_to_script if direction == OUTBOUND else flow.local_to_script
        start = convert(quoted.seq)
        size = max(0, length - 20)
        return Quote(QUOTE_TCP, SequenceRange(start, (start + size) & _U32, size))
    if quoted.protocol == PROTO_UDP:
        return Quote(QUOTE_UDP, None, max(0, length - 8))
    return Quote(QUOTE_RAW, None, length)


def flags_text(flags: int, ace: int | None = None) -> str:
    """`P.`, `SEW`, `5.`; `-` for none."""
    letters = "".join([letter for letter, bit in _LETTERS if flags & bit])
    if ace is not None:
        letters += str(ace)
    return letters + ("." if flags & ACK else "") or "-"


#: In the order that a dump shows them; the dot comes last.
_LETTERS = [(letter, FLAG_LETTERS[letter]) for letter in "SFRPUEWA"]


def range_text(seq: SequenceRange) -> str:
    return f"{seq.start}:{seq.end}({seq.length})"


def packet_text(packet: Packet) -> str:
    """`packet` as a script would write it, from its fields."""
    parts = [packet.direction]
    fields = ip_text(packet.ip)
    if fields:
        parts.append(f"[{fields}]")
    body = packet.body
    if isinstance(body, Tcp):
        parts += _ports_text(body.ports) + _tcp_text(body)
    elif isinstance(body, Udp):
        parts += ["udp", *_ports_text(body.ports), f"({body.length})"]
    else:
        parts.append(icmp_text(body))
    return " ".join(parts)


def ip_text(ip: IpFields) -> str:
    parts: list[str] = []
    if ip.ecn is not None:
        parts.append(ECN_WORDS.get(ip.ecn, "ect01"))
    if ip.tos is not None:
        parts.append(f"tos 0x{ip.tos:x}")
    if ip.ttl is not None:
        parts.append(f"ttl {ip.ttl}")
    if ip.flow_label is not None:
        parts.append(f"flowlabel 0x{ip.flow_label:x}")
    if ip.bad_ip_checksum:
        parts.append("bad_ip_sum")
    if ip.bad_checksum:
        parts.append("bad_sum")
    return ", ".join(parts)


def _ports_text(ports: Ports | None) -> list[str]:
    return [f"{ports.source} > {ports.destination}"] if ports is not None else []


def _tcp_text(tcp: Tcp) -> list[str]:
    parts = [flags_text(tcp.flags, tcp.ace), range_text(tcp.seq)]
    if tcp.ack is not None:
        parts.append(f"ack {tcp.ack}")
    if tcp.win is not None:
        parts.append(f"win {tcp.win}")
    if tcp.urg is not None:
        parts.append(f"urg {tcp.urg}")
    if tcp.options is None:
        parts.append("<...>")
    elif tcp.options:
        parts.append(f"<{options_text(tcp.options)}>")
    return parts


def icmp_text(icmp: Icmp) -> str:
    parts = ["icmp", icmp.icmp_type]
    if icmp.code is not None:
        parts.append(icmp.code)
    if icmp.mtu is not None:
        parts.append(f"mtu {icmp.mtu}")
    if icmp.ident is not None:
        parts.append(f"id {icmp.ident}")
    if icmp.quote is not None:
        quote = icmp.quote
        inner = range_text(quote.seq) if quote.seq is not None else f"{quote.kind} ({quote.length})"
        parts.append(f"[{inner}]")
    return " ".join(parts)


def seen_text(seen: Seen, flow: Flow) -> str:
    """A packet from the stack in a script's words, without what a script seldom says; for messages."""
    packet = to_script(seen, flow)
    if packet is None:
        return f"> protocol {seen.protocol} ({seen.length} bytes)"
    packet.ip = IpFields(seen.tos & 3 or None)
    text = packet_text(packet)
    if (seen.source, seen.destination) != (flow.local_port, flow.remote_port) and seen.icmp_type < 0:
        text += f"  (ports {seen.source} > {seen.destination})"
    return text + (f"  ({seen.bad})" if seen.bad else "")
