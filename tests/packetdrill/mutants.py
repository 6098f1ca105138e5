"""Scripts that must fail: one of a script's expectations altered at a time, one for each kind that it has.

A script that passes with an altered expectation shows nothing: it, or the runner, is lenient.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from plankroad.packetdrill import syntax
from plankroad.packetdrill.syntax import (
    ANY,
    OUTBOUND,
    Code,
    Event,
    Expression,
    Integer,
    Packet,
    Script,
    SequenceRange,
    Struct,
    Symbol,
    Syscall,
    Tcp,
    TcpOption,
    Udp,
    Wild,
)
from plankroad.units import MILLISECOND, SECOND

#: Calls whose arguments hold what is expected to come back, and the place of the argument.
_COMES_BACK = {"getsockopt": 3, "ioctl": 2, "poll": 0}

_U32 = 0xFFFFFFFF


def mutants(script: Script) -> Iterator[tuple[str, Script]]:
    """What was altered, in words, and the altered script: the last place of each kind."""
    done: set[str] = set()
    for at in range(len(script.events) - 1, -1, -1):
        event = script.events[at]
        for kind, alter in _KINDS.items():
            if kind in done:
                continue
            changed = alter(event, at == 0)
            if changed is not None:
                done.add(kind)
                events = [*script.events[:at], changed, *script.events[at + 1 :]]
                yield f"{kind}, line {event.where.line}", replace(script, events=events)


def _expected(event: Event) -> Packet | None:
    action = event.action
    return action if isinstance(action, Packet) and action.direction == OUTBOUND else None


def _tcp(event: Event, alter: Callable[[Tcp], Tcp | None]) -> Event | None:
    packet = _expected(event)
    if packet is None or not isinstance(packet.body, Tcp):
        return None
    body = alter(packet.body)
    return None if body is None else replace(event, action=replace(packet, body=body))


def _flags(event: Event, first: bool) -> Event | None:
    return _tcp(event, lambda tcp: replace(tcp, flags=tcp.flags ^ syntax.PSH))


def _sequence(event: Event, first: bool) -> Event | None:
    def alter(tcp: Tcp) -> Tcp | None:
        if tcp.flags & syntax.SYN:
            return None  # it is what the others are reckoned from
        seq = tcp.seq
        return replace(tcp, seq=SequenceRange((seq.start + 1) & _U32, (seq.end + 1) & _U32, seq.length))

    return _tcp(event, alter)


def _length(event: Event, first: bool) -> Event | None:
    def alter(tcp: Tcp) -> Tcp:
        seq = tcp.seq
        return replace(tcp, seq=SequenceRange(seq.start, (seq.end + 1) & _U32, seq.length + 1))

    return _tcp(event, alter)


def _ack(event: Event, first: bool) -> Event | None:
    return _tcp(event, lambda tcp: replace(tcp, ack=tcp.ack + 1) if tcp.ack is not None else None)


def _urgent(event: Event, first: bool) -> Event | None:
    return _tcp(event, lambda tcp: replace(tcp, urg=tcp.urg + 1) if tcp.urg is not None else None)


def _option_value(event: Event, first: bool) -> Event | None:
    def alter(tcp: Tcp) -> Tcp | None:
        options = tcp.options or []
        for at, option in enumerate(options):
            if option.values and not (option.name == syntax.OPT_TIMESTAMP and tcp.flags == syntax.SYN):
                # Of a timestamp the echo: what the host's clock says is not compared.
                values = (*option.values[:-1], option.values[-1] + 1)
                return replace(tcp, options=[*options[:at], replace(option, values=values), *options[at + 1 :]])
        return None

    return _tcp(event, alter)


def _option_more(event: Event, first: bool) -> Event | None:
    def alter(tcp: Tcp) -> Tcp | None:
        if tcp.options is None:
            return None
        return replace(tcp, options=[*tcp.options, *[TcpOption(syntax.OPT_NOP)] * 4])

    return _tcp(event, alter)


def _one_less(event: Event, first: bool) -> Event | None:
    """Instead of the packet nothing is expected: what comes is in somebody's way, or left at the end."""
    packet = _expected(event)
    if packet is None or first:
        return None
    # By the end of its time it has come.
    return Event(replace(event.time, start=event.time.end), Code("pass", event.where), event.where)


def _ip(event: Event, first: bool) -> Event | None:
    packet = _expected(event)
    if packet is None:
        return None
    ip = packet.ip
    if ip.ecn is not None:
        ip = replace(ip, ecn=syntax.CE)
    elif ip.tos is not None:
        ip = replace(ip, tos=ip.tos ^ 4)
    elif ip.ttl is not None:
        ip = replace(ip, ttl=ip.ttl - 1)
    else:
        return None
    return replace(event, action=replace(packet, ip=ip))


def _datagram(event: Event, first: bool) -> Event | None:
    packet = _expected(event)
    if packet is None or not isinstance(packet.body, Udp):
        return None
    return replace(event, action=replace(packet, body=replace(packet.body, length=packet.body.length + 1)))


def _later(event: Event, first: bool) -> Event | None:
    """The packet is expected later than it comes."""
    if _expected(event) is None or event.time.kind == ANY:
        return None
    time = event.time
    by = SECOND + (time.end - time.start) + time.start // 2
    return replace(event, time=replace(time, start=time.start + by, end=time.end + by))


def _earlier(event: Event, first: bool) -> Event | None:
    """The packet is expected earlier than it comes."""
    time = event.time
    if _expected(event) is None or time.kind == ANY or time.start < 100 * MILLISECOND:
        return None
    return replace(event, time=replace(time, start=time.start // 4, end=time.start // 2))


def _syscall(event: Event) -> Syscall | None:
    return event.action if isinstance(event.action, Syscall) else None


def _result(event: Event, first: bool) -> Event | None:
    call = _syscall(event)
    if call is None or not isinstance(call.result, Integer) or call.name in ("socket", "accept"):
        return None
    if call.errno:
        return replace(event, action=replace(call, result=replace(call.result, value=0), errno="", note=""))
    return replace(event, action=replace(call, result=replace(call.result, value=call.result.value + 1)))


def _errno(event: Event, first: bool) -> Event | None:
    call = _syscall(event)
    if call is None or not call.errno:
        return None
    return replace(event, action=replace(call, errno="ENOSYS"))


def _returns(event: Event, first: bool) -> Event | None:
    """A call that waits is to return later than it does."""
    call = _syscall(event)
    if call is None or call.end is None:
        return None
    return replace(event, action=replace(call, end=call.end + 600 * SECOND))


def _given_back(event: Event, first: bool) -> Event | None:
    call = _syscall(event)
    if call is None or call.name not in _COMES_BACK:
        return None
    at = _COMES_BACK[call.name]
    value = _other(call.arguments[at])
    if value is None:
        return None
    return replace(event, action=replace(call, arguments=[*call.arguments[:at], value, *call.arguments[at + 1 :]]))


def _other(expression: Expression) -> Expression | None:
    """Another value than is expected."""
    where = expression.where
    if isinstance(expression, Integer):
        return replace(expression, value=expression.value + 1)
    if isinstance(expression, Symbol):
        return Integer(99, "99", where)
    if isinstance(expression, syntax.Array) and expression.items:
        value = _other(expression.items[0])
        return None if value is None else replace(expression, items=[value, *expression.items[1:]])
    if isinstance(expression, Struct):
        members = list(expression.members)
        for at, member in enumerate(members):
            if member.name == "revents" and not isinstance(member.value, Wild):
                members[at] = replace(member, value=Integer(0x1000, "0x1000", where))
                return replace(expression, members=members)
    return None


def _code(event: Event, first: bool) -> Event | None:
    action = event.action
    if not isinstance(action, Code) or "==" not in action.text:
        return None
    head, _, tail = action.text.rpartition("==")
    return replace(event, action=replace(action, text=head + "!=" + tail))


_KINDS: dict[str, Callable[[Event, bool], Event | None]] = {
    "flags": _flags,
    "sequence": _sequence,
    "length": _length,
    "ack": _ack,
    "urgent pointer": _urgent,
    "an option's value": _option_value,
    "one option more": _option_more,
    "a packet not expected": _one_less,
    "an IP field": _ip,
    "a datagram's length": _datagram,
    "a later time": _later,
    "an earlier time": _earlier,
    "a call's result": _result,
    "a call's error": _errno,
    "when a call returns": _returns,
    "what a call gives back": _given_back,
    "an assertion": _code,
}
