"""What a packet script says, as a tree of plain objects: `parser.parse_script` makes it, the runner walks it.

Nothing here computes. Times are ints of nanoseconds, in the base that the event's `EventTime.kind` tells. Sequence and
acknowledgement numbers, timestamps and windows are those of the script's text, not those of the wire. A value the
text does not give is None, which for an expectation mostly means "not checked" (`match.py` has the rules), for an
injected packet the default (`packets.py`).

The classes compare by value, `where` left out, so a test can say what a text must become.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, TypeAlias

# Kinds of EventTime.
ABSOLUTE: Final = "absolute"  # `0.5`: from the script's start
RELATIVE: Final = "relative"  # `+0.5`: from the time of the event before
ANY: Final = "any"  # `*`: whenever it comes
ABSOLUTE_RANGE: Final = "absolute range"  # `0.5~0.7`
RELATIVE_RANGE: Final = "relative range"  # `+0.5~+0.7`: both from the time of the event before

# Directions of a Packet.
INBOUND: Final = "<"  # injected into the stack
OUTBOUND: Final = ">"  # expected from the stack

# TCP flag bits as on the wire (RFC 9293 section 3.1, RFC 9768 for AE), and their letters in scripts.
FIN: Final = 0x001
SYN: Final = 0x002
RST: Final = 0x004
PSH: Final = 0x008
ACK: Final = 0x010
URG: Final = 0x020
ECE: Final = 0x040
CWR: Final = 0x080
AE: Final = 0x100
FLAG_LETTERS: Final = {
    "F": FIN,
    "S": SYN,
    "R": RST,
    "P": PSH,
    ".": ACK,
    "U": URG,
    "E": ECE,
    "W": CWR,
    "A": AE,
}

# Values of IpFields.ecn, which are those of the IP header (RFC 3168 section 5); ECT01 is either of the two.
NOT_ECT: Final = 0
ECT1: Final = 1
ECT0: Final = 2
CE: Final = 3
ECT01: Final = -1


@dataclass(slots=True, frozen=True)
class Location:
    """A place in a script: `line` and `column` count from 1."""

    file: str
    line: int
    column: int = 1

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


# Expressions: arguments and results of system calls.


@dataclass(slots=True)
class Wild:
    """`...`: anything, or what the runner chooses (an address, a buffer)."""

    where: Location = field(compare=False)


@dataclass(slots=True)
class Integer:
    """`10`, `-1`, `0x8802`. `text` is how it is written."""

    value: int
    text: str
    where: Location = field(compare=False)


@dataclass(slots=True)
class Symbol:
    """A name such as `SOCK_STREAM` or `NULL`, not yet looked up."""

    name: str
    where: Location = field(compare=False)


@dataclass(slots=True)
class String:
    """`"text"` with the escapes undone, one char a byte (0 to 255). `open_end`: `...` follows, the rest is anything."""

    value: str
    open_end: bool
    where: Location = field(compare=False)


@dataclass(slots=True)
class Binary:
    """`left operator right`; operators are `|`, `&`, `^`, `<<` and `>>`, bound as in C; `|` is the usual one."""

    operator: str
    left: Expression
    right: Expression
    where: Location = field(compare=False)


@dataclass(slots=True)
class Unary:
    """`-X` or `~X` of a symbol or an expression in parentheses (a negative number is an `Integer`)."""

    operator: str
    operand: Expression
    where: Location = field(compare=False)


@dataclass(slots=True)
class Call:
    """`htons(80)`, `inet_addr("10.0.0.1")`, `inet6_addr("::1")`: a function in an expression."""

    name: str
    arguments: list[Expression]
    where: Location = field(compare=False)


@dataclass(slots=True)
class Array:
    """`[a, b]`: an array, or a value behind a pointer such as an option's value."""

    items: list[Expression]
    where: Location = field(compare=False)


@dataclass(slots=True)
class Member:
    """One part of a Struct: `name=value`, `name(selector)=value` (as `msg_iov(1)=[...]`), or a bare value.

    `name` is "" for a bare value, `selector` None where there is no parenthesis.
    """

    name: str
    value: Expression
    selector: Expression | None
    where: Location = field(compare=False)


@dataclass(slots=True)
class Struct:
    """`{name=value, ...}`: msghdr, pollfd, epoll_event, linger, sockaddr, cmsg, ...; also `{..., 1000}` (an iovec)."""

    members: list[Member]
    where: Location = field(compare=False)

    def get(self, name: str) -> Expression | None:
        """The value of the member `name`, None where there is none."""
        for member in self.members:
            if member.name == name:
                return member.value
        return None


Expression: TypeAlias = Wild | Integer | Symbol | String | Binary | Unary | Call | Array | Struct


# Packets.


@dataclass(slots=True)
class IpFields:
    """What stands in brackets before a packet: `[ect0]`, `[tos 0x10]`, `[ttl 63, flowlabel 0x1]`, `[noecn]`.

    None: not given. `ecn` and `tos` are not both given. `bad_ip_checksum`, `bad_checksum` (written `bad_ip_sum`,
    `bad_sum`): an injected packet gets a wrong checksum in its IPv4 or transport header.
    """

    ecn: int | None = None
    tos: int | None = None
    ttl: int | None = None
    flow_label: int | None = None
    bad_ip_checksum: bool = False
    bad_checksum: bool = False


@dataclass(slots=True)
class Ports:
    """`8080 > 40000` (or `8080 -> 40000`) before the flags: source and destination port of this packet."""

    source: int
    destination: int


@dataclass(slots=True)
class SequenceRange:
    """`start:end(length)` in the script's numbers; `end` is `start + length` modulo 2**32, the parser checks it."""

    start: int
    end: int
    length: int


# Names of TcpOption, as scripts write them.
OPT_EOL: Final = "eol"
OPT_NOP: Final = "nop"
OPT_MSS: Final = "mss"
OPT_WSCALE: Final = "wscale"
OPT_SACK_OK: Final = "sackOK"
OPT_SACK: Final = "sack"
OPT_TIMESTAMP: Final = "TS"
OPT_MD5: Final = "md5"
OPT_FAST_OPEN: Final = "FO"
OPT_FAST_OPEN_EXP: Final = "FOEXP"
OPT_ACC_ECN: Final = "ECN"
OPT_RAW: Final = "raw"


@dataclass(slots=True)
class TcpOption:
    """One TCP option. What `values`, `data` and `names` hold depends on `name`:

    | name | text | values | data, names |
    |---|---|---|---|
    | eol, nop, sackOK | `nop` | () | |
    | mss, wscale | `mss 1460` | (1460,) | |
    | sack | `sack 1:2 5:7` | (1, 2, 5, 7), the script's numbers | |
    | TS | `TS val 100 ecr 0` | (100, 0) | |
    | md5, FO, FOEXP | `FO 0123abcd`, `FO` | () | the digest or cookie; `b""` without |
    | ECN | `ECN e1b 1 ceb 0 e0b 1` | (1, 0, 1) | names ("e1b", "ceb", "e0b") |
    | raw | `raw fd0411` | () | the option's bytes, all of them, as they stand (an extension) |
    """

    name: str
    values: tuple[int, ...] = ()
    data: bytes = b""
    names: tuple[str, ...] = ()


@dataclass(slots=True)
class Tcp:
    """A TCP segment: `flags seq:end(length) [ack N] [win N] [urg N] [<options>]`.

    `flags` are the bits given by letters. `ace`: the three-bit ACE counter where it is written as a digit 0 to 7
    (RFC 9768: AE, CWR, ECE), else None; then `flags` holds none of these three. `options`: in the text's order; []
    where there are none in the text, which as an expectation means that the segment has none; None for `<...>`, any.
    """

    flags: int
    seq: SequenceRange
    ace: int | None = None
    ack: int | None = None
    win: int | None = None
    urg: int | None = None
    options: list[TcpOption] | None = field(default_factory=list)
    ports: Ports | None = None


@dataclass(slots=True)
class Udp:
    """`udp (length)`, or with ports `udp 53 > 4000 (length)`: a datagram with `length` bytes of data."""

    length: int
    ports: Ports | None = None


# What an Icmp quotes.
QUOTE_TCP: Final = "tcp"  # `[1:1461(1460)]`
QUOTE_UDP: Final = "udp"  # `[udp (1000)]`
QUOTE_RAW: Final = "raw"  # `[raw (1000)]`


@dataclass(slots=True)
class Quote:
    """The packet of the connection that an ICMP error is about: sent by us if the error comes in.

    `kind` is one of the QUOTE_ constants; `seq` for TCP, `length` (bytes of data) for the others.
    """

    kind: str
    seq: SequenceRange | None = None
    length: int = 0


@dataclass(slots=True)
class Icmp:
    """`icmp type [code] [mtu N] [id N] [quote]`; names as in `constants.icmp_type` and `icmp_code`, by IP version.

    `icmp_type` is `unreachable`, `packet_too_big`, `time_exceeded`, `echo_request`, ... or a number in text; `code` the
    same, None where not given. `mtu`: of `frag_needed` and `packet_too_big`. `ident`: of an echo message.
    `quote` None: an error quotes the newest packet of the connection's handshake, nothing more is said.
    """

    icmp_type: str
    code: str | None = None
    mtu: int | None = None
    ident: int | None = None
    quote: Quote | None = None


@dataclass(slots=True)
class Packet:
    """A packet, injected (`direction` INBOUND) or expected (OUTBOUND). `text` is as written, for messages."""

    direction: str
    body: Tcp | Udp | Icmp
    ip: IpFields
    text: str
    where: Location = field(compare=False)


# The other actions.


@dataclass(slots=True)
class Syscall:
    """`[...end] name(arguments) = result [ERRNO] [(note)]`.

    `end`: None for a call that must return at once; else it blocks, and must return at this time, in the same base
    as the event's time (absolute, or from the event before). `result`: `Wild` for `= ...`. `errno`: the name, such as
    "EAGAIN", or "". `note`: the words in parentheses, or "": only a comment.
    """

    name: str
    arguments: list[Expression]
    result: Expression
    errno: str
    note: str
    end: int | None
    text: str
    where: Location = field(compare=False)


@dataclass(slots=True)
class Command:
    """`` `command` ``: the shell's text between the backticks, as it stands; it may have several lines."""

    text: str
    where: Location = field(compare=False)


@dataclass(slots=True)
class Code:
    """`%{ code }%`: Python's text between the braces, as it stands; it may have several lines."""

    text: str
    where: Location = field(compare=False)


Action: TypeAlias = Packet | Syscall | Command | Code


@dataclass(slots=True)
class EventTime:
    """When an event is, or must come. `start` and `end` in ns; `end` equals `start` unless it is a range; 0 for ANY."""

    kind: str
    start: int
    end: int


@dataclass(slots=True)
class Event:
    """One line of the script: a time and what is done or expected then."""

    time: EventTime
    action: Action
    where: Location = field(compare=False)


@dataclass(slots=True)
class Option:
    """`--name=value` at the top of a script; `value` "" where there is none."""

    name: str
    value: str
    where: Location = field(compare=False)


@dataclass(slots=True)
class Script:
    """A whole script.

    `options`: its `--` lines, in order. `init`, `cleanup`: the commands without a time before the first and after
    the last event. `defines`: every define that was in force, those of the command line included.
    """

    file: str
    options: list[Option]
    init: list[Command]
    events: list[Event]
    cleanup: list[Command]
    defines: dict[str, str]
