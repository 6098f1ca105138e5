"""The packets of a script: `< [ect0] P. 1:1001(1000) ack 1 win 257 <nop,nop,TS val 100 ecr 200>` and its kin."""

from __future__ import annotations

import re
from typing import Final

from plankroad.packetdrill.lexer import HEX, INT, WORD, Lexer
from plankroad.packetdrill.options import options_length
from plankroad.packetdrill.syntax import (
    AE,
    CE,
    CWR,
    ECE,
    ECT0,
    ECT01,
    ECT1,
    FLAG_LETTERS,
    INBOUND,
    NOT_ECT,
    OPT_ACC_ECN,
    OPT_EOL,
    OPT_FAST_OPEN,
    OPT_FAST_OPEN_EXP,
    OPT_MD5,
    OPT_MSS,
    OPT_NOP,
    OPT_RAW,
    OPT_SACK,
    OPT_SACK_OK,
    OPT_TIMESTAMP,
    OPT_WSCALE,
    OUTBOUND,
    QUOTE_RAW,
    QUOTE_TCP,
    QUOTE_UDP,
    Icmp,
    IpFields,
    Packet,
    Ports,
    Quote,
    SequenceRange,
    Tcp,
    TcpOption,
    Udp,
)

_U32: Final = 0xFFFFFFFF
_U24: Final = 0xFFFFFF
_U16: Final = 0xFFFF
#: What an IP packet can hold, options and all: a length beyond is a mistake.
_MOST_DATA: Final = 65495

_FLAGS: Final = re.compile(r"[^\s<\[(]+")
_PORTS: Final = re.compile(r"([0-9]+)\s*-?>\s*([0-9]+)(?=[\s(])", re.ASCII)
_DIGITS: Final = re.compile(r"[0-9a-fA-F]+(?![0-9A-Za-z_])", re.ASCII)
_ECN_WORDS: Final = {"noecn": NOT_ECT, "ect0": ECT0, "ect1": ECT1, "ect01": ECT01, "ce": CE}
_TUNNELS: Final = frozenset(["ipv4", "ipv6", "gre", "GREv0", "mpls", "encap", "psp"])
_FLAG_WORDS: Final = "TCP flags (F S R P . U E W A, one digit 0 to 7 for E, W and A together, or - for none)"
_OPTION_WORDS: Final = "a TCP option (mss nop eol wscale sackOK sack TS FO FOEXP md5 ECN raw)"
_MOST_OPTION_BYTES: Final = 40


def parse_packet(lex: Lexer) -> Packet:
    """The packet whose `<` or `>` is at hand."""
    start = lex.start
    where = lex.where()
    direction = INBOUND if lex.accept("<") else OUTBOUND
    if direction == OUTBOUND:
        lex.expect(">")
    ip = IpFields()
    if lex.at("[") or lex.at("("):
        ip = _ip_fields(lex, direction)
    if lex.kind == WORD and lex.text in _TUNNELS:
        raise lex.fail("a TCP, UDP or ICMP packet (tunnels are not in this runner's language)")
    body: Tcp | Udp | Icmp
    if lex.accept("udp"):
        body = _udp(lex)
    elif lex.accept("icmp"):
        body = _icmp(lex)
    else:
        body = _tcp(lex, direction)
    text = " ".join(lex.source.text[start : lex.last_end].split())
    return Packet(direction, body, ip, text, where)


def _ip_fields(lex: Lexer, direction: str) -> IpFields:
    """`[ect0]`, `(tos 0x10, flowlabel 0x5)`."""
    close = "]" if lex.text == "[" else ")"
    lex.advance()
    fields = IpFields()
    seen: set[str] = set()
    while True:
        start = lex.start
        name = lex.word("an IP field (noecn ect0 ect1 ect01 ce tos ttl flowlabel bad_ip_sum bad_sum)")
        group = "tos" if name in _ECN_WORDS else name
        if group in seen:
            raise lex.error(start, f'found "{name}", expected one word for each field of the IP header')
        seen.add(group)
        if name in _ECN_WORDS:
            fields.ecn = _ECN_WORDS[name]
            if fields.ecn == ECT01 and direction == INBOUND:
                raise lex.error(start, 'found "ect01" in a packet to inject, expected ect0 or ect1')
        elif name == "tos":
            fields.tos = lex.integer("the TOS or traffic class", 255)
        elif name == "ttl":
            fields.ttl = lex.integer("the TTL or hop limit", 255)
        elif name == "flowlabel":
            fields.flow_label = lex.integer("the flow label", 0xFFFFF)
        elif name in {"bad_ip_sum", "bad_sum"}:
            if direction == OUTBOUND:
                raise lex.error(start, f'found "{name}" in an expected packet, whose checksums must be right')
            if name == "bad_sum":
                fields.bad_checksum = True
            else:
                fields.bad_ip_checksum = True
        else:
            raise lex.error(start, f'found "{name}", expected noecn, ect0, ect1, ect01, ce, tos, ttl or flowlabel')
        lex.accept(",")
        if lex.accept(close):
            return fields


def _ports(lex: Lexer) -> Ports | None:
    start = lex.start
    text = lex.raw(_PORTS)
    if text is None:
        return None
    numbers = [part for part in re.split(r"[^0-9]+", text) if part]
    ports = [int(number) if len(number) <= 5 else _U16 + 1 for number in numbers]
    if max(ports) > _U16:
        raise lex.error(start, f'found "{text}", expected two ports up to {_U16}')
    return Ports(ports[0], ports[1])


def _sequence(lex: Lexer) -> SequenceRange:
    start = lex.start
    first = lex.integer("a sequence range start:end(length)", _U32)
    lex.expect(":", '":" of a sequence range start:end(length)')
    end = lex.integer("the end of the sequence range", _U32)
    lex.expect("(", '"(" of a sequence range start:end(length)')
    length = lex.integer("the length of the data", 1 << 20)
    lex.expect(")")
    if (first + length) & _U32 != end:
        right = (first + length) & _U32
        raise lex.error(start, f'found "{first}:{end}({length})", expected {first}:{right}({length})')
    return SequenceRange(first, end, length)


def _tcp(lex: Lexer, direction: str) -> Tcp:
    ports = _ports(lex)
    flags, ace = _flags(lex)
    if lex.kind != INT:
        raise lex.fail("a sequence range start:end(length)")
    start = lex.start
    seq = _sequence(lex)
    if direction == INBOUND and seq.length > _MOST_DATA:
        raise lex.error(
            start, f"found {seq.length} bytes of data in a packet to inject, expected {_MOST_DATA} at most"
        )
    tcp = Tcp(flags, seq, ace, ports=ports)
    if lex.accept("ack"):
        tcp.ack = lex.integer("the acknowledgement number", _U32)
    if lex.accept("win"):
        tcp.win = lex.integer("the window as on the wire", _U16)
    if lex.accept("urg"):
        tcp.urg = lex.integer("the urgent pointer", _U16)
    if lex.at("<"):
        # `<` may also be the next packet's, but that has a time before it.
        tcp.options = _options(lex, direction)
    return tcp


def _flags(lex: Lexer) -> tuple[int, int | None]:
    start = lex.start
    text = lex.raw(_FLAGS)
    if text is None:
        raise lex.fail(_FLAG_WORDS)
    if text == "-":
        return 0, None
    flags = 0
    ace: int | None = None
    for letter in text:
        bit = FLAG_LETTERS.get(letter, 0)
        if letter in "01234567" and ace is None:
            ace = int(letter)
        elif not bit or flags & bit:
            raise lex.error(start, f'found "{text[:30]}", expected {_FLAG_WORDS}')
        flags |= bit
    if ace is not None and flags & (ECE | CWR | AE):
        raise lex.error(start, f'found "{text}", expected either letters E, W, A or one digit for them')
    return flags, ace


def _options(lex: Lexer, direction: str) -> list[TcpOption] | None:
    """`<mss 1460,nop>`; None for `<...>`."""
    start = lex.start
    lex.advance()
    if lex.at("..."):
        if direction == INBOUND:
            raise lex.fail("the TCP options of a packet to inject")
        lex.advance()
        lex.expect(">")
        return None
    options: list[TcpOption] = []
    while True:
        options.append(_option(lex))
        if lex.accept(">"):
            break
        lex.expect(",", '"," or ">" after a TCP option')
    length = options_length(options)
    if length > _MOST_OPTION_BYTES:
        raise lex.error(start, f"found TCP options of {length} bytes, expected at most {_MOST_OPTION_BYTES}")
    return options


def _option(lex: Lexer) -> TcpOption:
    start = lex.start
    name = lex.word(_OPTION_WORDS)
    if name in {OPT_EOL, OPT_NOP, OPT_SACK_OK}:
        return TcpOption(name)
    if name == OPT_MSS:
        return TcpOption(name, (lex.integer("the MSS", _U16),))
    if name == OPT_WSCALE:
        return TcpOption(name, (lex.integer("the window scale", 255),))
    if name == OPT_SACK:
        return TcpOption(name, _sack_blocks(lex))
    if name == OPT_TIMESTAMP:
        lex.expect("val", '"val" and the timestamp')
        value = lex.integer("the timestamp", _U32)
        lex.expect("ecr", '"ecr" and the echoed timestamp')
        return TcpOption(name, (value, lex.integer("the echoed timestamp", _U32)))
    if name in {OPT_FAST_OPEN, OPT_FAST_OPEN_EXP, OPT_MD5}:
        data = b"" if lex.at(",") or lex.at(">") else _hex(lex, f"the bytes of {name} in hexadecimal digits")
        return TcpOption(name, data=data)
    if name == OPT_RAW:
        return TcpOption(name, data=_hex(lex, "the option's bytes in hexadecimal digits"))
    if name == OPT_ACC_ECN:
        return _acc_ecn(lex)
    raise lex.error(start, f'found "{name}", expected {_OPTION_WORDS}')


def _sack_blocks(lex: Lexer) -> tuple[int, ...]:
    numbers: list[int] = []
    while lex.kind in {INT, HEX}:
        numbers.append(lex.integer("the start of a SACK block", _U32))
        lex.expect(":", '":" of a SACK block start:end')
        numbers.append(lex.integer("the end of a SACK block", _U32))
    if not numbers:
        raise lex.fail("SACK blocks start:end")
    return tuple(numbers)


def _acc_ecn(lex: Lexer) -> TcpOption:
    """`ECN e1b 1 ceb 0 e0b 1`: the order of RFC 9768 section 3.2.3 is told by the first field, e0b or e1b."""
    names: list[str] = []
    values: list[int] = []
    while lex.kind == WORD:
        start = lex.start
        name = lex.word("e0b, ceb or e1b")
        if name not in {"e0b", "ceb", "e1b"}:
            raise lex.error(start, f'found "{name}", expected e0b, ceb or e1b')
        names.append(name)
        values.append(lex.integer("a counter of 24 bits", _U24))
    orders = (("e0b", "ceb", "e1b"), ("e1b", "ceb", "e0b"))
    if not any(tuple(names) == order[: len(names)] for order in orders):
        raise lex.fail("counters in the order e0b ceb e1b or e1b ceb e0b, the last ones left out or not")
    return TcpOption(OPT_ACC_ECN, tuple(values), names=tuple(names))


def _hex(lex: Lexer, what: str) -> bytes:
    start = lex.start
    text = lex.raw(_DIGITS)
    if text is None:
        raise lex.fail(what)
    if len(text) & 1:
        raise lex.error(start, f'found "{text[:80]}", expected {what}, two for each byte')
    return bytes.fromhex(text)


def _udp(lex: Lexer) -> Udp:
    ports = _ports(lex)
    lex.expect("(", '"(" and the length of the data')
    length = lex.integer("the length of the data", 65507)
    lex.expect(")")
    return Udp(length, ports)


def _icmp(lex: Lexer) -> Icmp:
    if lex.kind not in {WORD, INT}:
        raise lex.fail("the type of the ICMP message")
    icmp = Icmp(lex.text)
    lex.advance()
    if lex.kind in {WORD, INT} and lex.text not in {"mtu", "id"}:
        icmp.code = lex.text
        lex.advance()
    if lex.accept("mtu"):
        icmp.mtu = lex.integer("the MTU", _U32)
    if lex.accept("id"):
        icmp.ident = lex.integer("the identifier of the echo message", _U16)
    if lex.accept("["):
        icmp.quote = _quote(lex)
        lex.expect("]")
    return icmp


def _quote(lex: Lexer) -> Quote:
    for kind in (QUOTE_UDP, QUOTE_RAW):
        if lex.accept(kind):
            lex.expect("(", '"(" and the length of the data')
            length = lex.integer("the length of the data", 65507)
            lex.expect(")")
            return Quote(kind, None, length)
    if lex.kind != INT:
        raise lex.fail("what is quoted: start:end(length), udp (length) or raw (length)")
    return Quote(QUOTE_TCP, _sequence(lex))
