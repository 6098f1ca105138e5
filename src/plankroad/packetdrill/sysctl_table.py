"""The table of sysctl names, and of files under /proc/sys and /sys, as choices of the stack.

Each entry reads and writes text as Linux does. Values that mean something the stack does not do are refused by name;
what has no bearing on it is kept and given back, with the reason in the table. Meanings: Linux's documentation,
Documentation/networking/ip-sysctl.rst.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Final

from plankroad.packetdrill.errors import ScriptError
from plankroad.packetdrill.machine import Machine
from plankroad.packetdrill.sysctl_entries import (
    Absent,
    Call,
    Choice,
    Fixed,
    Flag,
    NoBearing,
    Number,
    Policy,
    ReadOnly,
    Sysctl,
    to_number,
)
from plankroad.tcp.cc.registry import names
from plankroad.units import MICROSECOND, MILLISECOND, SECOND


def _triple(text: str) -> tuple[int, int, int]:
    values = [to_number(one) for one in text.split()]
    if len(values) != 3 or not 0 < values[0] <= values[1] <= values[2]:
        raise ScriptError(
            f'"{text}" must be three numbers, none smaller than the one before: least, first and largest'
        )
    return values[0], values[1], values[2]


def _read_buffers(kind: str) -> Callable[[Machine], str]:
    def read(machine: Machine) -> str:
        config = machine.stack.config.tcp
        least = machine.values.get(f"{kind} least", "4096")
        return f"{least}\t{getattr(config, kind + '_start')}\t{getattr(config, kind + '_max')}"

    return read


def _write_buffers(kind: str) -> Callable[[Machine, str], None]:
    def write(machine: Machine, text: str) -> None:
        least, start, most = _triple(text)
        machine.set_tcp(**{kind + "_start": max(start, 1024), kind + "_max": max(most, 1024)})
        machine.values[f"{kind} least"] = str(least)

    return write


# tcp_fastopen, bits: ip-sysctl.rst.
TFO_CLIENT: Final = 0x1
TFO_SERVER: Final = 0x2
TFO_CLIENT_NO_COOKIE: Final = 0x4
TFO_SERVER_NO_COOKIE: Final = 0x200
TFO_ALL_LISTENERS: Final = 0x400


def _read_fast_open(machine: Machine) -> str:
    return machine.values.get("tcp_fastopen", "1")


def _write_fast_open(machine: Machine, text: str) -> None:
    value = to_number(text)
    machine.policy.fast_open_client = bool(value & TFO_CLIENT)
    machine.policy.fast_open_server = bool(value & TFO_SERVER)
    machine.policy.fast_open_listeners = bool(value & TFO_ALL_LISTENERS)
    machine.set_tcp(
        fast_open_send_cookieless=bool(value & TFO_CLIENT_NO_COOKIE),
        fast_open_accept_cookieless=bool(value & TFO_SERVER_NO_COOKIE),
    )
    machine.values["tcp_fastopen"] = str(value)


def _read_fast_open_key(machine: Machine) -> str:
    return machine.values.get("tcp_fastopen_key", "00000000-00000000-00000000-00000000")


def key_bytes(text: str) -> bytes:
    """A key as `tcp_fastopen_key` has it: four numbers of 32 bits in hexadecimal, each with its low octet first."""
    words = text.split("-")
    try:
        if len(words) != 4:
            raise ValueError
        return b"".join(int(word, 16).to_bytes(4, "little") for word in words)
    except (ValueError, OverflowError):
        raise ScriptError(f"{text!r} must be four hexadecimal numbers of 32 bits with - between them") from None


def _write_fast_open_key(machine: Machine, text: str) -> None:
    keys = [key_bytes(one) for one in text.split(",")]
    if len(keys) > 2:
        raise ScriptError("there are two keys at most: the one in use, and the one before")
    machine.stack.set_fast_open_key(keys[0], keys[1] if len(keys) == 2 else b"")
    machine.values["tcp_fastopen_key"] = text.strip()


def _read_blackhole(machine: Machine) -> str:
    return str(machine.stack.fast_open.blackhole // SECOND)


def _write_blackhole(machine: Machine, text: str) -> None:
    machine.stack.fast_open.blackhole = to_number(text) * SECOND
    machine.stack.fast_open.blackhole_until = 0


def _read_retries(machine: Machine) -> str:
    return machine.values.get("tcp_retries2", "15")


def _write_retries(machine: Machine, text: str) -> None:
    count = to_number(text)
    config = machine.stack.config.tcp
    # ip-sysctl.rst: "the actual timeout ... is the hypothetical timeout" that so many doublings of the least RTO make.
    total = 0
    timeout = config.min_rto
    for _ in range(count + 1):
        total += timeout
        timeout = min(2 * timeout, config.max_rto)
    machine.set_tcp(r2=total)
    machine.values["tcp_retries2"] = str(count)


def _read_syn_retries(machine: Machine) -> str:
    return str(machine.policy.syn_retries)


def _write_syn_retries(machine: Machine, text: str) -> None:
    count = to_number(text)
    machine.set_tcp(syn_retries=count)
    machine.policy.syn_retries = count


_COOKIES: Final = {
    0: {"syn_cookies": False, "syn_backlog": 1024},
    1: {"syn_cookies": True, "syn_backlog": 1024},
    2: {"syn_cookies": True, "syn_backlog": 0},
}


def _read_port_range(machine: Machine) -> str:
    ports = machine.stack.tcp_ports
    return f"{ports.first}\t{ports.first + ports.number - 1}"


def _write_port_range(machine: Machine, text: str) -> None:
    values = [to_number(one) for one in text.split()]
    if len(values) != 2 or not 1 <= values[0] <= values[1] <= 65535:
        raise ScriptError(f'"{text}" must be two ports, the first not above the last')
    for ports in (machine.stack.tcp_ports, machine.stack.udp.allocator):
        ports.first = values[0]
        ports.number = values[1] - values[0] + 1
    machine.set_stack(first_port=values[0], last_port=values[1])


def _write_ttl(machine: Machine, text: str) -> None:
    value = to_number(text)
    machine.set_stack(ttl=value)
    machine.set_tcp(ttl=value)


def _congestion_control(machine: Machine, text: str) -> None:
    name = "newreno" if text.strip() == "reno" else text.strip()
    if name not in names():
        raise ScriptError(f"there is no congestion control {name!r} here; there are {', '.join(names())}")
    machine.set_tcp(congestion_control=name)


def _read_base_mss(machine: Machine) -> str:
    return str(machine.stack.config.tcp.mtu_base - 40)


def _write_base_mss(machine: Machine, text: str) -> None:
    # The sysctl is the MSS for IPv4 without options.
    machine.set_tcp(mtu_base=max(576, to_number(text) + 40))


_SUPER: Final = "how Linux makes super-segments; what is on the wire is what counts here"
_ACCOUNTING: Final = "how Linux accounts for memory"
_CHECKED: Final = "what Linux tells the administrator about"

_IPV4: Final[dict[str, Sysctl]] = {
    # Options and segments
    "tcp_timestamps": Flag("timestamps", (1, 2)),
    "tcp_sack": Flag("sack"),
    "tcp_dsack": Flag("dsack"),
    "tcp_window_scaling": Flag("window_scaling"),
    "tcp_ecn": Choice(
        {
            0: {"ecn": "off", "accurate_ecn": False},
            1: {"ecn": "on", "accurate_ecn": False},
            2: {"ecn": "passive", "accurate_ecn": False},
            3: {"ecn": "accecn", "accurate_ecn": True},
            4: {"ecn": "on", "accurate_ecn": True},
            5: {"ecn": "passive", "accurate_ecn": True},
        }
    ),
    "tcp_ecn_option": Choice(
        {
            0: {"accurate_ecn_options": "never"},
            1: {"accurate_ecn_options": "due"},
            2: {"accurate_ecn_options": "always"},
            3: {"accurate_ecn_options": "always"},
        }
    ),
    "tcp_ecn_option_beacon": NoBearing("3", "options go where counters moved, or always"),
    "tcp_ecn_fallback": Fixed("1", "a SYN goes without the flags when two with them are lost (RFC 3168 6.1.1.1)"),
    "tcp_mtu_probing": Choice(
        {0: {"mtu_probing": "off"}, 1: {"mtu_probing": "black_hole"}, 2: {"mtu_probing": "on"}}
    ),
    "tcp_base_mss": Call(_read_base_mss, _write_base_mss),
    "tcp_mtu_probe_floor": Fixed("48", "the least size is RFC 8899's BASE_PLPMTU, or 512 bytes"),
    "tcp_min_snd_mss": Fixed("48", "tcp.handshake names the least MSS"),
    "tcp_probe_interval": Fixed("600", "the raise timer of RFC 8899 is ten minutes"),
    "tcp_probe_threshold": NoBearing("8", "the range that is not worth a probe is a 64th of the size here"),
    # Buffers and windows
    "tcp_rmem": Call(_read_buffers("rcv_buf"), _write_buffers("rcv_buf")),
    "tcp_wmem": Call(_read_buffers("snd_buf"), _write_buffers("snd_buf")),
    "tcp_moderate_rcvbuf": Fixed("1", "a receive buffer of fixed size is the program's choice (SO_RCVBUF)"),
    "tcp_adv_win_scale": NoBearing("1", _ACCOUNTING),
    "tcp_app_win": NoBearing("31", _ACCOUNTING),
    "tcp_mem": NoBearing("93912\t125218\t187824", _ACCOUNTING),
    "tcp_shrink_window": Fixed("0", "the right edge of a window never moves left (RFC 9293 section 3.8.6, SHLD-14)"),
    "tcp_workaround_signed_windows": Fixed("0", "windows are unsigned"),
    "tcp_collapse_max_bytes": NoBearing("0", _ACCOUNTING),
    "tcp_notsent_lowat": Policy("notsent_lowat"),
    # Congestion control and recovery
    "tcp_congestion_control": Call(lambda machine: machine.stack.config.tcp.congestion_control, _congestion_control),
    "tcp_available_congestion_control": ReadOnly(lambda machine: " ".join(names())),
    "tcp_allowed_congestion_control": NoBearing("cubic reno bbr", "any algorithm may be chosen here"),
    "tcp_slow_start_after_idle": Flag("idle_restart"),
    "tcp_early_retrans": Flag("tail_loss_probes", (3, 4)),
    "tcp_recovery": Fixed("1", "RACK (RFC 8985) finds losses", ("0x1",)),
    "tcp_frto": Flag("frto", (2, 1)),
    "tcp_fack": NoBearing("0", "Linux itself has no use for it since version 4.15"),
    "tcp_reordering": Fixed("3", "DupThresh of RFC 6675"),
    "tcp_max_reordering": NoBearing("300", "the reordering window is one of time (RFC 8985)"),
    "tcp_retrans_collapse": NoBearing("1", _SUPER),
    "tcp_thin_linear_timeouts": Fixed("0", "timeouts double (RFC 6298 (5.5))"),
    "tcp_pacing_ss_ratio": Fixed("200", "the rate in slow start is twice the window a round trip"),
    "tcp_pacing_ca_ratio": Fixed(
        "120", "the rate in congestion avoidance is a fifth more than the window a round trip"
    ),
    "tcp_rto_min_us": Number("min_rto", MICROSECOND),
    "tcp_rto_max_ms": Number("max_rto", MILLISECOND),
    "tcp_min_rtt_wlen": Fixed("300", "for how long the least round trip holds (tcp.rtt)"),
    "tcp_comp_sack_delay_ns": NoBearing("1000000", "every segment out of order is acknowledged at once (RFC 5681)"),
    "tcp_comp_sack_nr": NoBearing("44", "every segment out of order is acknowledged at once (RFC 5681)"),
    "tcp_comp_sack_slack_ns": NoBearing("100000", "every segment out of order is acknowledged at once (RFC 5681)"),
    "tcp_comp_sack_rtt_percent": NoBearing("33", "every segment out of order is acknowledged at once (RFC 5681)"),
    "tcp_reflect_tos": Fixed("0", "the TOS is the program's (RFC 9293, MUST-48)"),
    "tcp_no_metrics_save": NoBearing("0", "nothing but path MTU and Fast Open cookies is kept of a destination"),
    "tcp_no_ssthresh_metrics_save": NoBearing("1", "nothing but path MTU and Fast Open cookies is kept"),
    "tcp_min_tso_segs": Number("push_bursts"),
    "tcp_tso_win_divisor": NoBearing("3", _SUPER),
    "tcp_tso_rtt_log": NoBearing("9", _SUPER),
    "tcp_limit_output_bytes": NoBearing("4194304", "there is no queue of the device's below the stack"),
    "tcp_autocorking": NoBearing("1", "there is no queue of the device's below the stack"),
    "tcp_backlog_ack_defer": NoBearing("1", "a batch of packets is answered together in any case"),
    "tcp_low_latency": NoBearing("0", "Linux itself has no use for it since version 4.14"),
    # Opening, waiting, closing
    "tcp_syn_retries": Call(_read_syn_retries, _write_syn_retries),
    "tcp_synack_retries": Number("synack_retries"),
    "tcp_syn_linear_timeouts": Fixed(
        "0", "timeouts double (RFC 6298 (5.5)); the profile of Linux's scripts has 0 too"
    ),
    "tcp_syncookies": Choice(_COOKIES),
    "tcp_max_syn_backlog": Number("syn_backlog"),
    "tcp_abort_on_overflow": Fixed("0", "a full accept queue lets the peer send its ACK again"),
    "tcp_retries1": Number("r1"),
    "tcp_retries2": Call(_read_retries, _write_retries),
    "tcp_orphan_retries": NoBearing("0", "R2 and the linger time end a connection that its program left"),
    "tcp_max_orphans": NoBearing("8192", _ACCOUNTING),
    "tcp_keepalive_time": Number("keepalive_idle", SECOND),
    "tcp_keepalive_intvl": Number("keepalive_interval", SECOND),
    "tcp_keepalive_probes": Number("keepalive_count"),
    "tcp_fin_timeout": Number("fin_timeout", SECOND),
    "tcp_max_tw_buckets": NoBearing("8192", _ACCOUNTING),
    "tcp_tw_reuse": Fixed("2", "TIME-WAIT is taken over by the rules of RFC 6191", ("0", "1")),
    "tcp_tw_reuse_delay": Fixed("1000", "RFC 6191: a second later"),
    "tcp_rfc1337": Fixed("1", "a reset never ends TIME-WAIT (RFC 1337)", ("0",)),
    "tcp_stdurg": Fixed("0", "the urgent pointer is RFC 6093's"),
    "tcp_migrate_req": NoBearing("0", "there is one listener an address and port"),
    "tcp_challenge_ack_limit": NoBearing("2147483647", "the limit is each connection's (RFC 5961 section 10)"),
    # Fast Open
    "tcp_fastopen": Call(_read_fast_open, _write_fast_open),
    "tcp_fastopen_key": Call(_read_fast_open_key, _write_fast_open_key),
    "tcp_fastopen_blackhole_timeout_sec": Call(_read_blackhole, _write_blackhole),
    # IP
    "ip_forward": Call(
        lambda machine: str(int(machine.stack.config.forwarding)),
        lambda machine, text: machine.set_stack(forwarding=bool(to_number(text))),
    ),
    "ip_default_ttl": Call(lambda machine: str(machine.stack.config.ttl), _write_ttl),
    "ip_local_port_range": Call(_read_port_range, _write_port_range),
    "ip_nonlocal_bind": NoBearing("0", "IP_FREEBIND is what the program asks for"),
    "ip_no_pmtu_disc": Fixed("0", "path MTU discovery is always on"),
    "icmp_echo_ignore_all": Call(
        lambda machine: str(int(not machine.stack.config.echo)),
        lambda machine, text: machine.set_stack(echo=not to_number(text)),
    ),
    "icmp_ratelimit": NoBearing("1000", "the limits are StackConfig's icmp_rate and icmp_peer_rate"),
    "icmp_ratemask": NoBearing("6168", "the limits are StackConfig's icmp_rate and icmp_peer_rate"),
    "conf.all.rp_filter": NoBearing("0", "a source is checked by the rules of RFC 1122 only"),
    "conf.default.rp_filter": NoBearing("0", "a source is checked by the rules of RFC 1122 only"),
    "conf.tun0.rp_filter": NoBearing("0", "a source is checked by the rules of RFC 1122 only"),
    "tcp_fastopen_cookies": Absent(),
}

_OTHERS: Final[dict[str, Sysctl]] = {
    "net.core.somaxconn": Policy("somaxconn"),
    "net.core.wmem_max": Policy("wmem_max"),
    "net.core.rmem_max": Policy("rmem_max"),
    "net.core.wmem_default": Number("udp_snd_buf", stack=True),
    "net.core.rmem_default": Number("udp_rcv_buf", stack=True),
    "net.core.netdev_max_backlog": Number("loopback_queue", stack=True),
    "net.core.default_qdisc": NoBearing("pfifo_fast", "a device that is there already has its own (tc)"),
    "net.core.optmem_max": NoBearing("131072", _ACCOUNTING),
    "net.core.high_order_alloc_disable": NoBearing("0", _ACCOUNTING),
    "net.ipv6.auto_flowlabels": NoBearing("1", "flow labels are 0 (RFC 6437 section 3: no policy to set them)"),
    "net.ipv6.flowlabel_reflect": Fixed("0", "flow labels are 0"),
    "net.ipv6.conf.all.accept_dad": NoBearing("1", "a link without Ethernet has no addresses to check"),
    "net.ipv6.conf.all.disable_ipv6": Fixed("0", "both families are there"),
    "net.ipv6.conf.default.disable_ipv6": Fixed("0", "both families are there"),
    "net.ipv6.bindv6only": NoBearing("0", "IPV6_V6ONLY is what the program asks for"),
}

#: Files outside of /proc/sys.
_FILES: Final[dict[str, Sysctl]] = {
    "/sys/module/tcp_cubic/parameters/hystart_detect": Fixed(
        "3", "the first slow start of cubic is HyStart++'s (RFC 9406)", ("2",)
    ),
    "/sys/module/tcp_cubic/parameters/hystart": Fixed("1", "the first slow start of cubic is HyStart++'s (RFC 9406)"),
}


def sysctl_path(name: str) -> str:
    """The file under /proc/sys of a sysctl: `net.ipv4.tcp_sack` and `net/ipv4/tcp_sack` are both names of it."""
    return "/proc/sys/" + (name if "/" in name else name.replace(".", "/"))


@functools.cache
def table() -> dict[str, Sysctl]:
    """All entries by path."""
    entries = {sysctl_path("net.ipv4." + name): entry for name, entry in _IPV4.items()}
    entries.update({sysctl_path(name): entry for name, entry in _OTHERS.items()})
    entries.update(_FILES)
    return entries
