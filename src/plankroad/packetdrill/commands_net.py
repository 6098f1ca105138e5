"""`ip`, `tc`, `ethtool`, and what looks at the stack: `nstat`, `ss`, /proc/net/tcp."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from plankroad.ip.routes import Route
from plankroad.packetdrill.errors import ScriptError, ShellError, UnknownCommandError
from plankroad.packetdrill.machine import Machine
from plankroad.packetdrill.shell import Result
from plankroad.packetdrill.shell_arithmetic import number
from plankroad.packetdrill.sysctl_entries import ReadOnly, Sysctl
from plankroad.tcp.constants import STATE_NAMES
from plankroad.wire.address import bytes_to_ip, ip_to_bytes, network_of, parse_prefix

if TYPE_CHECKING:
    from plankroad.ip.interface import Interface
    from plankroad.stack.counters import StackCounters


class _Words:
    """The words of a command, taken one by one."""

    def __init__(self, name: str, words: list[str]) -> None:
        self.name = name
        self.words = words
        self.at = 0

    def more(self) -> bool:
        return self.at < len(self.words)

    def take(self, what: str) -> str:
        if not self.more():
            raise ScriptError(f"{self.name}: {what} is expected at the end")
        self.at += 1
        return self.words[self.at - 1]

    def take_number(self, what: str) -> int:
        word = self.take(what)
        try:
            return number(word)
        except ShellError:
            raise ScriptError(f"{self.name}: {word!r} must be a number: {what}") from None

    def unknown(self, word: str) -> UnknownCommandError:
        return UnknownCommandError(f"{self.name}: {word!r} is not known here")


# --- ip ---------------------------------------------------------------------------------------------------------------


def ip(machine: Machine, words: list[str], stdin: str) -> Result:
    """`ip [-4|-6|-family F] OBJECT COMMAND...`; objects: tcp_metrics, route, address, link."""
    rest = list(words[1:])
    while rest and rest[0].startswith("-"):
        option = rest.pop(0)
        if option in ("-family", "-f"):
            if not rest or rest.pop(0) not in ("inet", "inet6"):
                raise UnknownCommandError(f"ip: {option} takes inet or inet6 here")
        elif option not in ("-4", "-6", "-o"):
            raise UnknownCommandError(f"ip: the option {option} is not known here")
    if not rest:
        raise ScriptError("ip: an object is expected (route, address, link, tcp_metrics)")
    name = rest.pop(0)
    for objects, handler in _OBJECTS:
        if name in objects:
            return handler(machine, _Words(f"ip {name}", rest))
    raise UnknownCommandError(f"ip: the object {name!r} is not known here")


def _metrics(machine: Machine, words: _Words) -> Result:
    """What is kept of destinations: Fast Open cookies, with the MSS beside them, and path MTUs."""
    action = words.take("show, flush or delete") if words.more() else "show"
    if action in ("flush", "delete", "del"):
        where = words.take("an address or all") if words.more() else "all"
        if where != "all" or words.more():
            raise words.unknown(where if where != "all" else words.take(""))
        machine.stack.fast_open.clear()
        return Result()
    if action in ("show", "list", "lst"):
        out = ""
        for local, remote, entry in machine.stack.fast_open.known():
            cookie = entry.cookie.hex()
            out += f"{bytes_to_ip(remote)} fo_mss {entry.mss} fo_cookie {cookie} source {bytes_to_ip(local)}\n"
        return Result(out=out)
    raise words.unknown(action)


def _interface(machine: Machine, words: _Words) -> Interface:
    name = words.take("the name of a device")
    interface = machine.interface(name)
    if interface is None:
        raise ScriptError(f'{words.name}: Cannot find device "{name}"')
    return interface


def _prefix(text: str) -> tuple[bytes, int]:
    if text == "default":
        return bytes(4), 0
    try:
        network, length = parse_prefix(text)
    except ValueError as error:
        raise ScriptError(str(error)) from None
    return network_of(network, length), length


def _address(words: _Words, what: str) -> bytes:
    text = words.take(what)
    try:
        return ip_to_bytes(text)
    except ValueError as error:
        raise ScriptError(f"{words.name}: {error}") from None


_NO_BEARING_METRICS: Final = ("proto", "protocol", "scope", "pref", "table")


def _route(machine: Machine, words: _Words) -> Result:
    action = words.take("add, change, replace or delete") if words.more() else "show"
    if action in ("show", "list"):
        return Result(out="".join(_route_text(route) + "\n" for route in machine.stack.routes.routes()))
    if action not in ("add", "change", "chg", "replace", "append", "delete", "del"):
        raise words.unknown(action)
    prefix, length = _prefix(words.take("a destination"))
    gateway = b""
    source = b""
    interface: Interface | None = None
    numbers = {"metric": 0, "mtu": 0, "advmss": 0, "initcwnd": 0, "weight": 1}
    while words.more():
        word = words.take("")
        if word == "via":
            gateway = _address(words, "a gateway")
        elif word == "src":
            source = _address(words, "a source address")
        elif word == "dev":
            interface = _interface(machine, words)
        elif word == "onlink":
            pass
        elif word in numbers:
            if words.more() and words.words[words.at] == "lock":
                # The number is a bound; here, as ever, ICMP may make it less and nothing makes it more.
                words.at += 1
            numbers[word] = words.take_number(word)
        elif word in _NO_BEARING_METRICS:
            words.take(word)
        else:
            raise words.unknown(word)
    if prefix == bytes(4) and len(gateway) == 16:
        prefix = bytes(16)
    routes = machine.stack.routes
    old = [route for route in routes.find(prefix, length) if interface is None or route.interface is interface]
    if action in ("delete", "del"):
        if not old:
            return Result(2, "", "RTNETLINK answers: No such process\n")
        for route in old:
            routes.remove(route)
        return Result()
    if action == "add" and old:
        return Result(2, "", "RTNETLINK answers: File exists\n")
    if action in ("change", "chg") and not old and machine.stack.routes.lookup(prefix) is None:
        return Result(2, "", "RTNETLINK answers: No such file or directory\n")
    if interface is None:
        through = machine.stack.routes.lookup(gateway or prefix)
        if through is None:
            return Result(2, "", "RTNETLINK answers: Network is unreachable\n")
        interface = through.interface
    if action != "append":
        for route in old:
            routes.remove(route)
    try:
        made = Route(prefix, length, gateway, interface, numbers["metric"], numbers["weight"], source, numbers["mtu"])
        made.adv_mss = numbers["advmss"]
        made.initial_window = numbers["initcwnd"]
        routes.add(made)
    except ValueError as error:
        raise ScriptError(f"{words.name}: {error}") from None
    return Result()


def _route_text(route: Route) -> str:
    text = "default" if route.prefix_len == 0 else f"{bytes_to_ip(route.prefix)}/{route.prefix_len}"
    if route.gateway:
        text += f" via {bytes_to_ip(route.gateway)}"
    text += f" dev {route.interface.name}"
    for name, value in (
        ("metric", route.metric),
        ("mtu", route.mtu),
        ("advmss", route.adv_mss),
        ("initcwnd", route.initial_window),
    ):
        if value:
            text += f" {name} {value}"
    return text


def _addr(machine: Machine, words: _Words) -> Result:
    action = words.take("add or delete") if words.more() else "show"
    if action in ("show", "list"):
        out = ""
        for interface in machine.stack.interfaces:
            for address in interface.addresses:
                family = "inet" if len(address.ip) == 4 else "inet6"
                out += f"{interface.name} {family} {bytes_to_ip(address.ip)}/{address.prefix_len}\n"
        return Result(out=out)
    if action not in ("add", "delete", "del", "replace", "change"):
        raise words.unknown(action)
    text = words.take("an address")
    device: Interface | None = None
    while words.more():
        word = words.take("")
        if word == "dev":
            device = _interface(machine, words)
        elif word in ("broadcast", "brd", "scope"):
            words.take(word)
        elif word != "nodad":
            raise words.unknown(word)
    if device is None:
        raise ScriptError(f"{words.name}: the device is missing: dev NAME")
    full = text if "/" in text else text + ("/128" if ":" in text else "/32")
    try:
        held = parse_prefix(full)[0] in device.by_ip
        if action in ("delete", "del"):
            if not held:
                return Result(2, "", "RTNETLINK answers: Cannot assign requested address\n")
            machine.stack.remove_address(device, full)
        elif held and action == "add":
            return Result(2, "", "RTNETLINK answers: File exists\n")
        elif not held:
            machine.stack.add_address(device, full)
    except ValueError as error:
        raise ScriptError(f"{words.name}: {error}") from None
    return Result()


def _link(machine: Machine, words: _Words) -> Result:
    action = words.take("set") if words.more() else "show"
    if action == "show":
        return Result(
            out="".join(
                f"{one.name} mtu {one.mtu} state {'UP' if one.up else 'DOWN'}\n" for one in machine.stack.interfaces
            )
        )
    if action != "set":
        raise words.unknown(action)
    if words.more() and words.words[words.at] == "dev":
        words.at += 1
    interface = _interface(machine, words)
    while words.more():
        word = words.take("")
        if word in ("up", "down"):
            machine.stack.set_interface_up(machine.clock(), interface, word == "up")
        elif word == "mtu":
            try:
                machine.stack.set_mtu(machine.clock(), interface, words.take_number("mtu"))
            except ValueError as error:
                raise ScriptError(f"{words.name}: {error}") from None
        elif word in ("txqueuelen", "qlen"):
            machine.set_stack(output_queue=words.take_number(word))
        elif word in ("multicast", "allmulticast", "arp"):
            words.take("on or off")
        else:
            raise words.unknown(word)
    return Result()


_OBJECTS: Final[tuple[tuple[tuple[str, ...], Callable[[Machine, _Words], Result]], ...]] = (
    (("tcp_metrics", "tcpmetrics"), _metrics),
    (("route", "ro", "r"), _route),
    (("address", "addr", "a"), _addr),
    (("link", "l"), _link),
)


# --- tc, ethtool ------------------------------------------------------------------------------------------------------

#: Queues that let packets go as they come. Packets never wait in one here: the link of a script has no rate.
_FIFOS: Final = ("pfifo", "bfifo", "pfifo_fast", "noqueue", "mq")


def tc(machine: Machine, words: list[str], stdin: str) -> Result:
    """`tc qdisc add|replace|change|delete dev D root KIND [limit N]...`.

    `fq` paces what TCP sends: `TcpConfig.pacing`. A queue of length 0 lets nothing through.
    """
    w = _Words("tc", list(words[1:]))
    first = w.take("an object")
    if first != "qdisc":
        raise w.unknown(first)
    action = w.take("add, replace or delete") if w.more() else "show"
    if action in ("show", "list"):
        return Result(out="".join(f"qdisc {kind} dev {name} root\n" for name, kind in machine.qdiscs.items()))
    if action not in ("add", "replace", "change", "delete", "del"):
        raise w.unknown(action)
    device: Interface | None = None
    kind = ""
    limit = -1
    while w.more():
        word = w.take("")
        if word == "dev":
            device = _interface(machine, w)
        elif word in ("root",):
            continue
        elif word in ("handle", "parent"):
            w.take(word)
        elif not kind:
            kind = word
        elif word == "limit":
            limit = w.take_number("limit")
        elif kind == "fq":
            # Its options say how flows share the queue: there is one flow, and no queue.
            if w.more():
                w.take(word)
        else:
            raise w.unknown(word)
    if device is None:
        raise ScriptError("tc: the device is missing: dev NAME")
    if action in ("delete", "del"):
        if device.name not in machine.qdiscs:
            return Result(2, "", "Error: Cannot delete qdisc with handle of zero.\n")
        del machine.qdiscs[device.name]
        _apply_qdisc(machine, "noqueue", -1)
        return Result()
    if kind not in (*_FIFOS, "fq"):
        raise w.unknown(kind or "a qdisc without a kind")
    if action == "add" and device.name in machine.qdiscs:
        return Result(2, "", "Error: Exclusivity flag on, cannot modify.\n")
    machine.qdiscs[device.name] = kind
    _apply_qdisc(machine, kind, limit)
    return Result()


def _apply_qdisc(machine: Machine, kind: str, limit: int) -> None:
    machine.set_tcp(pacing=kind == "fq")
    machine.queue_closed = limit == 0


def ethtool(machine: Machine, words: list[str], stdin: str) -> Result:
    """`ethtool -K D FEATURE on|off...`: offloads.

    They have no bearing: Linux's TCP makes super-segments for any device, and what cuts them is not seen on the wire.
    """
    w = _Words("ethtool", list(words[1:]))
    option = w.take("-K")
    if option not in ("-K", "--features", "--offload"):
        raise w.unknown(option)
    _interface(machine, w)
    while w.more():
        feature = w.take("a feature")
        if feature not in ("tso", "gso", "gro", "lro", "tx", "rx", "sg", "ufo", "tx-checksumming"):
            raise w.unknown(feature)
        state = w.take("on or off")
        if state not in ("on", "off"):
            raise w.unknown(state)
    return Result()


# --- counters ---------------------------------------------------------------------------------------------------------

#: Linux's names (net/ipv4/proc.c is what administrators read) and the counters here that mean the same.
_NSTAT: Final[tuple[tuple[str, Callable[[StackCounters], int]], ...]] = (
    ("IpInReceives", lambda c: c.ip.received),
    ("IpInDelivers", lambda c: c.ip.delivered),
    ("IpOutRequests", lambda c: c.ip.sent),
    ("IpInHdrErrors", lambda c: c.ip.bad_header),
    ("IpOutNoRoutes", lambda c: c.ip.no_route),
    ("IcmpInMsgs", lambda c: c.icmp.received),
    ("IcmpOutMsgs", lambda c: c.icmp.sent),
    ("TcpActiveOpens", lambda c: c.tcp.active_opens),
    ("TcpPassiveOpens", lambda c: c.tcp.passive_opens),
    ("TcpAttemptFails", lambda c: c.tcp.attempt_fails),
    ("TcpEstabResets", lambda c: c.tcp.established_resets),
    ("TcpInSegs", lambda c: c.tcp.segments_received),
    ("TcpOutSegs", lambda c: c.tcp.segments_sent - c.tcp.retransmitted),
    ("TcpRetransSegs", lambda c: c.tcp.retransmitted),
    ("TcpInErrs", lambda c: c.tcp.bad_checksum + c.tcp.bad_header),
    ("TcpInCsumErrors", lambda c: c.tcp.bad_checksum),
    ("TcpOutRsts", lambda c: c.tcp.resets_sent),
    ("TcpExtSyncookiesSent", lambda c: c.tcp.syn_cookies_sent),
    ("TcpExtSyncookiesRecv", lambda c: c.tcp.syn_cookies_accepted),
    ("TcpExtSyncookiesFailed", lambda c: c.tcp.syn_cookies_failed),
    ("TcpExtListenOverflows", lambda c: c.tcp.accept_queue_overflow),
    ("TcpExtListenDrops", lambda c: c.tcp.accept_queue_overflow + c.tcp.syn_queue_overflow),
    ("TcpExtOutOfWindowIcmps", lambda c: c.tcp.icmp_rejected),
    ("TcpExtPAWSEstab", lambda c: c.tcp.paws_rejected),
    ("TcpExtDelayedACKs", lambda c: c.tcp.delayed_acks),
    ("TcpExtTCPSackRecovery", lambda c: c.tcp.recoveries_sack),
    ("TcpExtTCPRenoRecovery", lambda c: c.tcp.recoveries_newreno),
    ("TcpExtTCPSACKReneging", lambda c: c.tcp.sack_reneging),
    ("TcpExtTCPFastRetrans", lambda c: c.tcp.retransmitted_fast),
    ("TcpExtTCPSlowStartRetrans", lambda c: c.tcp.retransmitted_timeout),
    ("TcpExtTCPTimeouts", lambda c: c.tcp.timeouts),
    ("TcpExtTCPLossProbes", lambda c: c.tcp.tail_loss_probes),
    ("TcpExtTCPLossProbeRecovery", lambda c: c.tcp.tail_loss_repaired),
    ("TcpExtTCPDSACKUndo", lambda c: c.tcp.undone_dsack),
    ("TcpExtTCPSpuriousRTOs", lambda c: c.tcp.undone_frto),
    ("TcpExtTCPDSACKOldSent", lambda c: c.tcp.dsack_sent),
    ("TcpExtTCPDSACKRecv", lambda c: c.tcp.dsack_received),
    ("TcpExtTCPOFOQueue", lambda c: c.tcp.out_of_order_received),
    ("TcpExtTCPOFODrop", lambda c: c.tcp.out_of_order_dropped),
    ("TcpExtTCPChallengeACK", lambda c: c.tcp.challenge_acks),
    ("TcpExtTCPWinProbe", lambda c: c.tcp.zero_window_probes),
    ("TcpExtTCPToZeroWindowAdv", lambda c: c.tcp.zero_windows_sent),
    ("TcpExtTCPKeepAlive", lambda c: c.tcp.keepalive_probes),
    ("TcpExtTCPAbortOnTimeout", lambda c: c.tcp.retransmission_giveups + c.tcp.user_timeouts + c.tcp.keepalive_drops),
    ("TcpExtTCPAbortOnData", lambda c: c.tcp.data_after_close),
    ("TcpExtTCPMTUPSuccess", lambda c: c.tcp.mtu_probes_succeeded),
    ("TcpExtTCPMTUPFail", lambda c: c.tcp.mtu_probes_failed),
    ("TcpExtTCPFastOpenActive", lambda c: c.tcp.fast_open_active),
    ("TcpExtTCPFastOpenActiveFail", lambda c: c.tcp.fast_open_rejected + c.tcp.fast_open_syn_lost),
    ("TcpExtTCPFastOpenPassive", lambda c: c.tcp.fast_open_passive),
    ("TcpExtTCPFastOpenPassiveFail", lambda c: c.tcp.fast_open_cookie_invalid),
    ("TcpExtTCPFastOpenListenOverflow", lambda c: c.tcp.fast_open_queue_full),
    ("TcpExtTCPFastOpenCookieReqd", lambda c: c.tcp.fast_open_cookie_requests),
    ("TcpExtTCPFastOpenBlackhole", lambda c: c.tcp.fast_open_blackhole),
)


def nstat(machine: Machine, words: list[str], stdin: str) -> Result:
    """`nstat [-a] [-z] [-s] [-n] [NAME...]`: counters that grew since `nstat` was called last.

    -a: since the beginning; -z: those that did not grow, too; -s: do not remember; -n: say nothing. A name may end
    in *.
    """
    flags: set[str] = set()
    wanted: list[str] = []
    for word in words[1:]:
        if word.startswith("-"):
            for letter in word[1:]:
                if letter not in "azsnr":
                    raise UnknownCommandError(f"nstat: the option -{letter} is not known here")
                flags.add(letter)
        else:
            wanted.append(word)
    known = [name for name, _ in _NSTAT]
    for name in wanted:
        if not name.endswith("*") and name not in known:
            raise UnknownCommandError(f"nstat: the counter {name} is not known here")
    if "r" in flags:
        machine.nstat_history.clear()
    out = "#plankroad\n"
    for name, count in _NSTAT:
        total = count(machine.stack.counters)
        value = total if "a" in flags else total - machine.nstat_history.get(name, 0)
        chosen = not wanted or any(name.startswith(one[:-1]) if one.endswith("*") else name == one for one in wanted)
        if chosen and (value or "z" in flags):
            out += f"{name:<32}{value:<16} 0.0\n"
        if "s" not in flags:
            machine.nstat_history[name] = total
    return Result(out="" if "n" in flags else out)


# --- sockets ----------------------------------------------------------------------------------------------------------

#: Linux's numbers of the states (include/net/tcp_states.h), as /proc/net/tcp has them, and `ss`'s names.
_STATES: Final = {
    "ESTABLISHED": (1, "ESTAB"),
    "SYN_SENT": (2, "SYN-SENT"),
    "SYN_RECEIVED": (3, "SYN-RECV"),
    "FIN_WAIT_1": (4, "FIN-WAIT-1"),
    "FIN_WAIT_2": (5, "FIN-WAIT-2"),
    "TIME_WAIT": (6, "TIME-WAIT"),
    "CLOSED": (7, "UNCONN"),
    "CLOSE_WAIT": (8, "CLOSE-WAIT"),
    "LAST_ACK": (9, "LAST-ACK"),
    "LISTEN": (10, "LISTEN"),
    "CLOSING": (11, "CLOSING"),
}


def _sockets(machine: Machine) -> list[tuple[str, bytes, int, bytes, int, int, int]]:
    """State, local address and port, remote address and port, octets to be read and to be acknowledged."""
    found: list[tuple[str, bytes, int, bytes, int, int, int]] = []
    for (local, port), listener in machine.stack.listeners.items():
        if not listener.closed:
            # The wildcard of both families is IPv6's.
            own = local or bytes(16)
            found.append(("LISTEN", own, port, bytes(len(own)), 0, len(listener.ready), listener.backlog))
    for (local, port, remote, remote_port), path in machine.stack.connections.items():
        t = path.connection.tcb
        unacked = max(0, t.snd_buf.end - t.snd_buf.start)
        found.append((STATE_NAMES[t.state], local, port, remote, remote_port, t.rcv_queued, unacked))
    return found


def _proc_address(address: bytes) -> str:
    """As /proc/net/tcp has it: words of 32 bits in the machine's order, which is the one of most machines."""
    return "".join(address[i : i + 4][::-1].hex().upper() for i in range(0, len(address), 4))


def _proc_tcp(size: int) -> Callable[[Machine], str]:
    def read(machine: Machine) -> str:
        out = "  sl  local_address rem_address   st tx_queue rx_queue"
        for i, (state, local, port, remote, remote_port, unread, unacked) in enumerate(
            one for one in _sockets(machine) if len(one[1]) == size
        ):
            out += (
                f"\n{i:4}: {_proc_address(local)}:{port:04X} {_proc_address(remote)}:{remote_port:04X} "
                f"{_STATES[state][0]:02X} {unacked:08X}:{unread:08X}"
            )
        return out

    return read


def _ss_name(address: bytes, port: int) -> str:
    host = "*" if not any(address) else bytes_to_ip(address)
    return f"{f'[{host}]' if len(address) == 16 and host != '*' else host}:{port if port else '*'}"


def ss(machine: Machine, words: list[str], stdin: str) -> Result:
    """`ss [-t] [-l] [-a] [-n] [-H]`: the TCP sockets; without -l and -a those that do not listen."""
    flags: set[str] = set()
    for word in words[1:]:
        if not word.startswith("-") or word.startswith("--"):
            raise UnknownCommandError(f"ss: {word!r} is not known here")
        for letter in word[1:]:
            if letter not in "tlanH46":
                raise UnknownCommandError(f"ss: the option -{letter} is not known here")
            flags.add(letter)
    out = "" if "H" in flags else "State      Recv-Q Send-Q Local Address:Port Peer Address:Port\n"
    for state, local, port, remote, remote_port, unread, unacked in _sockets(machine):
        listens = state == "LISTEN"
        if ("l" in flags and not listens) or (listens and not flags & {"l", "a"}):
            continue
        if (flags & {"4", "6"}) and ("4" if len(local) == 4 else "6") not in flags:
            continue
        out += (
            f"{_STATES[state][1]:<10} {unread:<6} {unacked:<6} {_ss_name(local, port)} "
            f"{_ss_name(remote, remote_port)}\n"
        )
    return Result(out=out)


COMMANDS: Final = {"ip": ip, "tc": tc, "ethtool": ethtool, "nstat": nstat, "ss": ss}

FILES: Final[dict[str, Sysctl]] = {
    "/proc/net/tcp": ReadOnly(_proc_tcp(4)),
    "/proc/net/tcp6": ReadOnly(_proc_tcp(16)),
}
