"""Commands of scripts: each acts on the stack, and what is not known is an error that names it."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from plankroad.packetdrill import commands_net, commands_sysctl, commands_text, sysctl_table
from plankroad.packetdrill.commands import Commands
from plankroad.packetdrill.errors import ScriptError, UnknownCommandError
from plankroad.packetdrill.machine import Machine
from plankroad.packetdrill.sysctl_entries import Absent, Fixed, NoBearing, ReadOnly
from plankroad.packetdrill.sysctl_table import sysctl_path, table
from plankroad.stack.config import StackConfig
from plankroad.stack.stack import Stack
from plankroad.testing.abi import AF_INET, SOCK_STREAM
from plankroad.testing.call import SockName
from plankroad.testing.syscalls import SyscallTable
from plankroad.units import MILLISECOND, SECOND
from plankroad.wire.address import ip_to_bytes

NOW = 1000 * SECOND


class Host:
    """A stack with a device, a program on it, and its commands."""

    def __init__(self, directory: Path | None = None, extensions: tuple[Path, ...] = ()) -> None:
        self.now = NOW
        self.stack = Stack(StackConfig(), Random(1), bytes(16))
        self.interface = self.stack.add_interface("tun0", 1500)
        self.stack.add_address(self.interface, "192.168.0.1/16")
        self.stack.add_route("0.0.0.0/0", gateway="192.168.0.2", interface=self.interface)
        self.table = SyscallTable(self.stack, lambda: self.now, lambda: None)
        self.machine = Machine(self.stack, lambda: self.now, self.table, directory, self.sleep)
        self.commands = Commands(self.machine, extensions, pid=4711)

    def sleep(self, duration: int) -> None:
        self.now += duration

    def run(self, text: str) -> str:
        """The output of a command that must succeed."""
        result = self.commands.run(text)
        assert result.status == 0, (text, result)
        return result.out

    def status(self, text: str) -> int:
        return self.commands.run(text).status

    def sysctl(self, name: str) -> str:
        return self.run(f"sysctl -n {name}").strip()


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


# sysctl: each entry of the table

#: sysctl -> (value, what of the host shows it, what that is then). Each of the table's acting entries has a line.
ACTS = {
    "net.ipv4.tcp_timestamps": ("0", "tcp.timestamps", False),
    "net.ipv4.tcp_sack": ("0", "tcp.sack", False),
    "net.ipv4.tcp_dsack": ("0", "tcp.dsack", False),
    "net.ipv4.tcp_window_scaling": ("0", "tcp.window_scaling", False),
    "net.ipv4.tcp_ecn": ("1", "tcp.ecn", "on"),
    "net.ipv4.tcp_ecn_option": ("2", "tcp.accurate_ecn_options", "always"),
    "net.ipv4.tcp_mtu_probing": ("2", "tcp.mtu_probing", "on"),
    "net.ipv4.tcp_base_mss": ("1000", "tcp.mtu_base", 1040),
    "net.ipv4.tcp_rmem": ("4096 540000 15728640", "tcp.rcv_buf_start", 540000),
    "net.ipv4.tcp_wmem": ("4096 50000 4194304", "tcp.snd_buf_start", 50000),
    "net.ipv4.tcp_notsent_lowat": ("4000", "policy.notsent_lowat", 4000),
    "net.ipv4.tcp_congestion_control": ("reno", "tcp.congestion_control", "newreno"),
    "net.ipv4.tcp_slow_start_after_idle": ("0", "tcp.idle_restart", False),
    "net.ipv4.tcp_early_retrans": ("0", "tcp.tail_loss_probes", False),
    "net.ipv4.tcp_frto": ("0", "tcp.frto", False),
    "net.ipv4.tcp_rto_min_us": ("300000", "tcp.min_rto", 300 * MILLISECOND),
    "net.ipv4.tcp_rto_max_ms": ("90000", "tcp.max_rto", 90 * SECOND),
    "net.ipv4.tcp_min_tso_segs": ("10", "tcp.push_bursts", 10),
    "net.ipv4.tcp_syn_retries": ("1", "tcp.syn_retries", 1),
    "net.ipv4.tcp_synack_retries": ("2", "tcp.synack_retries", 2),
    "net.ipv4.tcp_syncookies": ("2", "tcp.syn_backlog", 0),
    "net.ipv4.tcp_max_syn_backlog": ("7", "tcp.syn_backlog", 7),
    "net.ipv4.tcp_retries1": ("4", "tcp.r1", 4),
    # 0.2 + 0.4 + 0.8 + 1.6 s
    "net.ipv4.tcp_retries2": ("3", "tcp.r2", 3 * SECOND),
    "net.ipv4.tcp_keepalive_time": ("60", "tcp.keepalive_idle", 60 * SECOND),
    "net.ipv4.tcp_keepalive_intvl": ("5", "tcp.keepalive_interval", 5 * SECOND),
    "net.ipv4.tcp_keepalive_probes": ("3", "tcp.keepalive_count", 3),
    "net.ipv4.tcp_fin_timeout": ("9", "tcp.fin_timeout", 9 * SECOND),
    "net.ipv4.tcp_fastopen": ("0x204", "tcp.fast_open_send_cookieless", True),
    "net.ipv4.tcp_fastopen_key": ("a0bf63f7-ed803d81-cd641d30-cebc4a90", "stack.fast_open_keys._epoch", -2),
    "net.ipv4.tcp_fastopen_blackhole_timeout_sec": ("5", "stack.fast_open.blackhole", 5 * SECOND),
    "net.ipv4.ip_forward": ("1", "stack.config.forwarding", True),
    "net.ipv4.ip_default_ttl": ("33", "tcp.ttl", 33),
    "net.ipv4.ip_local_port_range": ("2000 2999", "stack.tcp_ports.number", 1000),
    "net.ipv4.icmp_echo_ignore_all": ("1", "stack.config.echo", False),
    "net.core.somaxconn": ("3", "policy.somaxconn", 3),
    "net.core.wmem_max": ("9999", "policy.wmem_max", 9999),
    "net.core.rmem_max": ("9998", "policy.rmem_max", 9998),
    "net.core.wmem_default": ("9997", "stack.config.udp_snd_buf", 9997),
    "net.core.rmem_default": ("9996", "stack.config.udp_rcv_buf", 9996),
    "net.core.netdev_max_backlog": ("77", "stack.config.loopback_queue", 77),
}


def look(host: Host, path: str) -> object:
    first, *rest = path.split(".")
    found: object = {"tcp": host.stack.config.tcp, "policy": host.machine.policy, "stack": host.stack}[first]
    for name in rest:
        found = getattr(found, name)
    return found


def test_each_entry_that_acts_is_shown_to_act() -> None:
    acting = {path for path, entry in table().items() if not isinstance(entry, Fixed | NoBearing | Absent | ReadOnly)}
    assert acting == {sysctl_path(name) for name in ACTS}


@pytest.mark.parametrize("name", ACTS)
def test_a_sysctl_acts_and_is_told(host: Host, name: str) -> None:
    value, where, expected = ACTS[name]
    assert look(host, where) != expected
    before = host.sysctl(name)
    host.run(f'sysctl -q -w {name}="{value}"')
    assert look(host, where) == expected
    if name != "net.ipv4.tcp_congestion_control":
        assert host.sysctl(name).split() == [str(int(one, 16)) if "x" in one else one for one in value.split()]
    # What was told can be written back, and is what it was.
    host.run(f'sysctl -q {name}="{before}"')
    assert host.sysctl(name) == before


@pytest.mark.parametrize(
    ("value", "ecn", "accurate"),
    [
        (0, "off", False),
        (1, "on", False),
        (2, "passive", False),
        (3, "accecn", True),
        (4, "on", True),
        (5, "passive", True),
    ],
)
def test_tcp_ecn(host: Host, value: int, ecn: str, accurate: bool) -> None:
    host.run(f"sysctl -q net.ipv4.tcp_ecn={value}")
    tcp = host.stack.config.tcp
    assert (tcp.ecn, tcp.accurate_ecn) == (ecn, accurate)


@pytest.mark.parametrize(
    ("value", "client", "server", "listeners", "send", "accept"),
    [
        (0x0, False, False, False, False, False),
        (0x1, True, False, False, False, False),
        (0x3, True, True, False, False, False),
        (0x402, False, True, True, False, False),
        (0x70403, True, True, True, False, False),
        (0x207, True, True, False, True, True),
    ],
)
def test_tcp_fastopen(
    host: Host, value: int, client: bool, server: bool, listeners: bool, send: bool, accept: bool
) -> None:
    host.run(f"sysctl -q net.ipv4.tcp_fastopen={value:#x}")
    policy, tcp = host.machine.policy, host.stack.config.tcp
    assert (policy.fast_open_client, policy.fast_open_server, policy.fast_open_listeners) == (
        client,
        server,
        listeners,
    )
    assert (tcp.fast_open_send_cookieless, tcp.fast_open_accept_cookieless) == (send, accept)


def test_a_listener_has_fast_open_as_tcp_fastopen_says(host: Host) -> None:
    def queue(value: int, port: int) -> int:
        host.run(f"sysctl -q net.ipv4.tcp_fastopen={value:#x}")
        fd = host.table.start("socket", AF_INET, SOCK_STREAM, 0).value
        host.table.start("bind", fd, SockName(AF_INET, bytes(4), port))
        assert host.table.start("listen", fd, 5).value == 0
        listener = host.table.connection(fd).listener
        assert listener is not None
        return listener.fast_open_queue

    assert queue(0x402, 1) == 5
    assert queue(0x2, 2) == 0
    assert queue(0x400, 3) == 0


def test_the_key_of_fast_open_is_read_as_linux_reads_it(host: Host) -> None:
    """Each of the four numbers has its low octet first."""
    assert sysctl_table.key_bytes("a0bf63f7-ed803d81-cd641d30-cebc4a90") == bytes.fromhex(
        "f763bfa0813d80ed301d64cd904abcce"
    )
    with pytest.raises(ScriptError, match=r"net\.ipv4\.tcp_fastopen_key=abc"):
        host.run("sysctl net.ipv4.tcp_fastopen_key=abc")


@pytest.mark.parametrize("path", [path for path, entry in table().items() if isinstance(entry, Fixed)])
def test_what_the_stack_always_does_takes_no_other_value(host: Host, path: str) -> None:
    entry = host.machine.sysctls[path]
    assert entry.reason
    before = entry.read(host.machine)
    host.run(f"echo {before} > {path}")
    with pytest.raises(ScriptError, match="not one that the stack can act on"):
        host.run(f"echo 12345678 > {path}")


@pytest.mark.parametrize("path", [path for path, entry in table().items() if isinstance(entry, NoBearing)])
def test_what_has_no_bearing_has_a_reason_and_keeps_its_value(host: Host, path: str) -> None:
    assert host.machine.sysctls[path].reason
    host.run(f"echo 3 > {path}")
    assert host.run(f"cat {path}") == "3\n"


def test_sysctl_is_read_and_written_in_all_its_forms(host: Host) -> None:
    assert host.run("sysctl net.ipv4.tcp_sack") == "net.ipv4.tcp_sack = 1\n"
    assert host.run("sysctl net/ipv4/tcp_sack=0 net.ipv4.tcp_dsack = 0") == (
        "net.ipv4.tcp_sack = 0\nnet.ipv4.tcp_dsack = 0\n"
    )
    assert host.run("sysctl -qw net.ipv4.tcp_sack=1") == ""
    assert host.stack.config.tcp.sack
    assert host.run("cat /proc/sys/net/ipv4/tcp_dsack") == "0\n"
    host.run("echo 1 > /proc/sys/net/ipv4/tcp_dsack")
    assert host.stack.config.tcp.dsack


def test_a_name_that_linux_does_not_have_fails_as_there(host: Host) -> None:
    assert host.status("sysctl -q net.ipv4.tcp_fastopen_cookies=0 &> /dev/null") == 255
    host.stack.fast_open.learn(b"aaaa", b"bbbb", b"cookie12", False, 1460)
    host.run("sysctl -q net.ipv4.tcp_fastopen_cookies=0 &> /dev/null || ip tcp_metrics flush all &> /dev/null")
    assert len(host.stack.fast_open) == 0
    assert host.status("sysctl -e -q net.foo.bar=1") == 0


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("sysctl net.foo.bar=1", "net.foo.bar"),
        ("sysctl -z net.ipv4.tcp_sack", "-z"),
        ("frobnicate --all", "'frobnicate'"),
        ("./no/such/file", "no/such/file"),
        ("/usr/bin/frobnicate", "frobnicate"),
        ("../common/frobnicate.py x", "frobnicate.py"),
        ("ip rule add x", "'rule'"),
        ("ip route frob 10.0.0.0/8", "'frob'"),
        ("ip route add 10.0.0.0/8 dev tun0 frob 3", "'frob'"),
        ("ip -z route", "-z"),
        ("ip tcp_metrics flush 1.2.3.4", "1.2.3.4"),
        ("ip link set tun0 frob", "'frob'"),
        ("tc filter add dev tun0", "'filter'"),
        ("tc qdisc add dev tun0 root netem delay 1ms", "'delay'"),
        ("tc qdisc add dev tun0 root frob", "'frob'"),
        ("ethtool -S tun0", "-S"),
        ("ethtool -K tun0 frob on", "'frob'"),
        ("nstat -q", "-q"),
        ("nstat TcpExtFrob", "TcpExtFrob"),
        ("ss -tulpn", "-u"),
        ("grep -P x", "-P"),
        ("cat -A /dev/null", "-A"),
        ("test a -frob b", "-frob"),
        ("dd frob=1", "frob=1"),
        ("rm -i x", "-i"),
        ("set -k", "-k"),
        ("exit 1", "exit"),
    ],
)
def test_what_is_not_known_is_an_error_that_names_it(host: Host, text: str, what: str) -> None:
    with pytest.raises(UnknownCommandError, match=what.replace("[", r"\[")):
        host.commands.run(text)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("sysctl net.ipv4.tcp_sack=2", "net.ipv4.tcp_sack=2"),
        ("sysctl net.ipv4.tcp_sack=yes", "no number"),
        ("sysctl net.ipv4.tcp_rmem=3", "three numbers"),
        ("sysctl net.ipv4.tcp_keepalive_probes=0", "keepalive_count"),
        ("sysctl net.ipv4.tcp_congestion_control=frob", "frob"),
        ("sysctl net.ipv4.tcp_available_congestion_control=x", "read only"),
        ("echo 1 > /proc/sys/net/ipv4/frob", "/proc/sys/net/ipv4/frob"),
        ("sysctl", "no name"),
        ("a 'b", "quote"),
        ("cat < no.such", "no.such"),
        ("ip link set eth7 up", "eth7"),
        ("ip route add 300.0.0.0/8 dev tun0", "300.0.0.0"),
        ("ip addr add 10.0.0.1/24", "dev"),
        ("tc qdisc add root pfifo", "dev"),
        ("dd if=/dev/zero of=x", "count"),
        ("[ a = b", "closing"),
        ("sleep soon", "seconds"),
    ],
)
def test_what_cannot_be_carried_out_says_why(host: Host, text: str, what: str) -> None:
    with pytest.raises(ScriptError, match=what):
        host.commands.run(text)


# Script files


def test_a_file_of_commands_is_read_by_the_same_tables(tmp_path: Path) -> None:
    (tmp_path / "common").mkdir()
    (tmp_path / "tests").mkdir()
    (tmp_path / "common" / "defaults.sh").write_text(
        "#!/bin/bash\n# Values\n\nip tcp_metrics flush all > /dev/null 2>&1\n"
        'sysctl -q net.ipv4.tcp_rmem="4096 540000 $((15*1024*1024))"\n'
        "tc qdisc add dev tun0 root pfifo\n"
    )
    host = Host(tmp_path / "tests")
    host.run("../common/defaults.sh\n sysctl -q net.ipv4.tcp_sack=0")
    tcp = host.stack.config.tcp
    assert (tcp.rcv_buf_start, tcp.rcv_buf_max, tcp.sack) == (540_000, 15 * 1024 * 1024, False)
    # A second time: there is a queue already, as the status of the last command says.
    assert host.status(". ../common/defaults.sh") == 2


def test_a_script_file_has_arguments_and_errors_name_it(tmp_path: Path) -> None:
    (tmp_path / "one.sh").write_text("#!/bin/sh\necho $# $1 $2\n")
    (tmp_path / "bad.sh").write_text("#!/bin/sh\nfrobnicate\n")
    (tmp_path / "program").write_text("#!/usr/bin/env perl\nprint 1;\n")
    host = Host(tmp_path)
    assert host.run("./one.sh a 'b c'") == "2 a b c\n"
    with pytest.raises(UnknownCommandError, match=r"bad\.sh.*frobnicate"):
        host.run("sh bad.sh")
    with pytest.raises(UnknownCommandError, match="perl"):
        host.run("./program")


def test_set_sysctls_writes_a_file_that_sets_them_back(host: Host) -> None:
    before = host.sysctl("net.ipv4.tcp_wmem")
    host.run(
        "../../common/set_sysctls.py \\\n /proc/sys/net/ipv4/tcp_timestamps=0 \\\n"
        ' /proc/sys/net/ipv4/tcp_wmem="4096 50000 4194304"'
    )
    assert not host.stack.config.tcp.timestamps
    assert host.stack.config.tcp.snd_buf_start == 50_000
    host.run("/tmp/sysctl_restore_${PPID}.sh")
    assert host.stack.config.tcp.timestamps
    assert host.sysctl("net.ipv4.tcp_wmem") == before
    with pytest.raises(UnknownCommandError, match="/proc/sys/net/frob"):
        host.run("set_sysctls.py /proc/sys/net/frob=1")


# ip, tc, ethtool


def test_tcp_metrics_are_cookies(host: Host) -> None:
    host.stack.fast_open.learn(ip_to_bytes("192.168.0.1"), ip_to_bytes("192.0.2.1"), b"\xab\xcd\x12\x34", False, 1460)
    assert host.run("ip tcp_metrics show") == "192.0.2.1 fo_mss 1460 fo_cookie abcd1234 source 192.168.0.1\n"
    assert host.run("ip tcp_metrics flush all") == ""
    assert host.run("ip tcp_metrics") == ""


def test_ip_route_changes_the_table(host: Host) -> None:
    routes = host.stack.routes
    host.run("ip route change 192.0.2.1 via 192.168.0.2 dev tun0 advmss 600 mtu lock 640 initcwnd 11")
    route = routes.lookup(ip_to_bytes("192.0.2.1"))
    assert route is not None
    assert (route.prefix_len, route.gateway, route.mtu) == (32, ip_to_bytes("192.168.0.2"), 640)
    assert (route.adv_mss, route.initial_window) == (600, 11)
    connection = host.stack.connect(NOW, ip_to_bytes("192.0.2.1"), 80)
    t = connection.tcb
    assert (t.link_mss, t.path_mss, t.initial_window) == (600, 600, 11)
    assert "192.0.2.1/32 via 192.168.0.2 dev tun0 mtu 640 advmss 600 initcwnd 11" in host.run("ip route")
    host.run("ip route replace 192.0.2.1 via 192.168.0.2 dev tun0 advmss 1460 mtu lock 1500")
    route = routes.lookup(ip_to_bytes("192.0.2.1"))
    assert route is not None
    assert (route.mtu, route.adv_mss, route.initial_window) == (1500, 1460, 0)
    host.run("ip route del 192.0.2.1")
    route = routes.lookup(ip_to_bytes("192.0.2.1"))
    assert route is not None
    assert route.prefix_len == 0
    host.run("ip -6 route add 2001:db8::/32 via fe80::1 dev tun0 metric 7")
    route = routes.lookup(ip_to_bytes("2001:db8::1"))
    assert route is not None
    assert route.metric == 7
    host.run("ip ro add 10.0.0.0/8 dev tun0 src 192.168.0.1")
    assert host.stack.source_of(ip_to_bytes("10.1.1.1")) == ip_to_bytes("192.168.0.1")


def test_ip_route_fails_where_the_kernel_would(host: Host) -> None:
    assert host.status("ip route del 1.2.3.4") == 2
    host.run("ip route add 1.2.3.4 dev tun0")
    assert host.status("ip route add 1.2.3.4 dev tun0") == 2


def test_ip_addr_and_link_change_the_device(host: Host) -> None:
    host.run("ip addr add 10.9.8.7/24 dev tun0")
    assert host.stack.owner(ip_to_bytes("10.9.8.7")) is host.interface
    assert "tun0 inet 10.9.8.7/24" in host.run("ip addr show")
    assert host.status("ip addr add 10.9.8.7/24 dev tun0") == 2
    host.run("ip -6 addr add fd00::7/64 dev tun0 nodad")
    host.run("ip addr del 10.9.8.7/24 dev tun0")
    assert host.stack.owner(ip_to_bytes("10.9.8.7")) is None
    assert host.status("ip addr del 10.9.8.7/24 dev tun0") == 2
    host.run("ip link set dev tun0 mtu 1280")
    assert host.interface.mtu == 1280
    host.run("ip link set tun0 down")
    assert not host.interface.up
    host.run("ip link set tun0 up txqueuelen 50")
    assert host.interface.up
    assert host.stack.config.output_queue == 50
    assert host.run("ip link show") == "tun0 mtu 1280 state UP\n"


def test_a_fair_queue_paces(host: Host) -> None:
    """Linux's fq spreads what TCP sends by its pacing rate; other queues don't."""
    host.run("tc qdisc add dev tun0 root pfifo")
    assert not host.stack.config.tcp.pacing
    assert host.status("tc qdisc add dev tun0 root pfifo") == 2
    host.run("tc qdisc replace dev tun0 root fq")
    assert host.stack.config.tcp.pacing
    assert host.run("tc qdisc show") == "qdisc fq dev tun0 root\n"
    host.run("tc qdisc replace dev tun0 root pfifo limit 0")
    assert host.machine.queue_closed
    host.run("tc qdisc delete dev tun0 root")
    assert not host.machine.queue_closed
    assert host.status("tc qdisc delete dev tun0 root 2>/dev/null") == 2


def test_offloads_change_nothing_on_the_wire(host: Host) -> None:
    before = host.interface.gso_max_size
    host.run("ethtool -K tun0 gso off tso off")
    assert host.interface.gso_max_size == before


# Looking


def test_nstat_tells_what_grew_since_it_was_asked_last(host: Host) -> None:
    tcp = host.stack.counters.tcp
    tcp.icmp_rejected = 2
    assert host.run("nstat -s | grep TcpExtOutOfWindowIcmps").split() == ["TcpExtOutOfWindowIcmps", "2", "0.0"]
    host.run("nstat > /dev/null")
    assert host.status("nstat | grep TcpExtOutOfWindowIcmps > /dev/null") == 1
    tcp.icmp_rejected = 5
    assert host.run("nstat 'TcpExtOutOf*'").split()[1:3] == ["TcpExtOutOfWindowIcmps", "3"]
    assert host.run("nstat -az TcpExtTCPTimeouts").split()[1:3] == ["TcpExtTCPTimeouts", "0"]
    assert host.run("nstat -n") == ""


@pytest.mark.parametrize("name", [name for name, _ in commands_net._NSTAT])
def test_each_counter_of_nstat_is_one_of_the_stacks(host: Host, name: str) -> None:
    count = dict(commands_net._NSTAT)[name]
    counters = host.stack.counters
    grown = []
    for group in (counters.ip, counters.icmp, counters.tcp):
        for field in group.as_dict():
            before = count(counters)
            setattr(group, field, getattr(group, field) + 1)
            if count(counters) == before + 1:
                grown.append(field)
    assert grown


def test_sockets_are_seen_as_by_administrators(host: Host) -> None:
    assert host.status('grep " 0A " /proc/net/tcp /proc/net/tcp6 | grep ":1F90"') == 1
    host.stack.listen(NOW, ip_to_bytes("192.168.0.1"), 8080)
    host.stack.connect(NOW, ip_to_bytes("192.0.2.1"), 80, local_port=1234)
    assert "0100A8C0:1F90 00000000:0000 0A" in host.run('grep " 0A " /proc/net/tcp /proc/net/tcp6 | grep ":1F90"')
    assert "0100A8C0:04D2 010200C0:0050 02" in host.run("cat /proc/net/tcp")
    assert host.run("ss -tHl").split() == ["LISTEN", "0", "128", "192.168.0.1:8080", "*:*"]
    assert host.run("ss -Hn").split()[0] == "SYN-SENT"
    assert len(host.run("ss -Hta").splitlines()) == 2
    assert host.run("ss -Hta6") == ""


# Text and files


@pytest.mark.parametrize(
    ("text", "out"),
    [
        ("echo a  b", "a b\n"),
        ("echo -n a", "a"),
        (r"echo -e 'a\tb'", "a\tb\n"),
        (r"printf '%s-%d %%\n' x 3", "x-3 %\n"),
        (r"printf '%s,' a b", "a,b,"),
        ("echo a > f; echo b >> f; cat f", "a\nb\n"),
        ("echo a | cat - ", "a\n"),
        (r"printf 'a 1\nb 2\n' | grep b", "b 2\n"),
        (r"printf 'a 1\nb 2\n' | grep -v b", "a 1\n"),
        (r"printf 'a 1\nb 2\n' | grep -c .", "2\n"),
        (r"printf 'a 1\nb 2\n' | grep -n '[[:digit:]]$' | head -1", "1:a 1\n"),
        (r"printf 'abc\n' | grep -o 'b\|x'", "b\n"),
        (r"printf 'a+b\n' | grep 'a+b'", "a+b\n"),
        (r"printf 'aab\n' | grep -E '^a+b$'", "aab\n"),
        (r"printf 'aab\n' | egrep '^a+b$'", "aab\n"),
        (r"printf 'a.c\n' | grep -F 'a.c'", "a.c\n"),
        (r"printf 'AB\n' | grep -i ab", "AB\n"),
        (r"printf 'a b\n' | grep -w b", "a b\n"),
        (r"printf '1\n2\n3\n' | tail -n 1", "3\n"),
        (r"printf '1\n2\n3\n' | wc -l", "3\n"),
        (r"printf 'a:b:c\n' | cut -d: -f1,3", "a:c\n"),
        ("seq 2 4", "2\n3\n4\n"),
        ("/bin/dd bs=1 count=5 if=/dev/zero of=/tmp/testfile status=none; wc -c /tmp/testfile", "5\n"),
        ("x=5; echo $((x+1))", "6\n"),
    ],
)
def test_text(host: Host, text: str, out: str) -> None:
    assert host.run(text) == out


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("true", 0),
        (":", 0),
        ("false", 1),
        ("[ a = a ]", 0),
        ("[ a != a ]", 1),
        ("test 3 -gt 2 -a 2 -le 2", 0),
        ("test 3 -lt 2 -o a = b", 1),
        ("[ ! -z '' ]", 1),
        ("[ -n x ]", 0),
        ("[ ]", 1),
        ("echo x > f; [ -f f -a -s f ]", 0),
        ("[ -e nothing ]", 1),
        ("[ -e /proc/sys/net/ipv4/tcp_sack ]", 0),
        ("cat nothing", 1),
        ("echo a | grep -q b", 1),
        ("grep a nothing", 2),
        ("rm nothing", 1),
        ("rm -f nothing", 0),
        ("touch f; rm f; [ -e f ]", 1),
        ("touch f; chmod u+x f", 0),
        ("chmod u+x g", 1),
        ("[ $(cat /proc/sys/net/ipv4/tcp_sack) -eq 1 ]", 0),
    ],
)
def test_status(host: Host, text: str, status: int) -> None:
    assert host.status(text) == status


def test_sleep_lets_time_go_on(host: Host) -> None:
    host.run("sleep 0.25; sleep 1s")
    assert host.now == NOW + 1250 * MILLISECOND


def test_nothing_is_written_outside(host: Host, tmp_path: Path) -> None:
    (tmp_path / "real").write_text("before")
    host.run("echo after > real; rm -f real; touch other; dd if=/dev/zero of=third bs=1 count=1")
    assert (tmp_path / "real").read_text() == "before"
    assert [path.name for path in tmp_path.iterdir()] == ["real"]


def test_files_that_commands_write_are_those_that_the_program_opens(host: Host) -> None:
    host.run("dd bs=1 count=5 if=/dev/zero of=/tmp/testfile")
    assert host.table.start("open", "/tmp/testfile", 0).value >= 3


# Extension


def test_a_python_file_adds_commands_and_sysctls(tmp_path: Path) -> None:
    extension = tmp_path / "bsd.py"
    extension.write_text(
        "from plankroad.packetdrill.shell import Result\n"
        "from plankroad.packetdrill.sysctl_entries import Flag\n"
        "def arp(machine, words, stdin):\n    return Result(out=' '.join(words) + stdin)\n"
        "COMMANDS = {'arp': arp}\n"
        "SYSCTLS = {'net.inet.tcp.sack.enable': Flag('sack')}\n"
    )
    host = Host(tmp_path, (extension,))
    assert host.run("echo in | arp -a") == "arp -ain\n"
    host.run("sysctl -q net.inet.tcp.sack.enable=0")
    assert not host.stack.config.tcp.sack


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("x = 1", "neither COMMANDS nor SYSCTLS"),
        ("COMMANDS = {'a': 3}", "'a'"),
        ("SYSCTLS = {'a': 3}", "'a'"),
        ("1 / 0", "ZeroDivisionError"),
    ],
)
def test_a_bad_python_file_is_refused(tmp_path: Path, text: str, what: str) -> None:
    (tmp_path / "bad.py").write_text(text)
    with pytest.raises(ScriptError, match=what):
        Host(tmp_path, (tmp_path / "bad.py",))
    with pytest.raises(ScriptError, match=r"missing\.py"):
        Host(tmp_path, (tmp_path / "missing.py",))


def test_every_command_of_the_tables_is_used_here() -> None:
    """So that none is there that nothing was asked of."""
    text = Path(__file__).read_text(encoding="utf-8")
    for name in {**commands_text.COMMANDS, **commands_sysctl.COMMANDS, **commands_net.COMMANDS}:
        assert f"{name} " in text or f'"{name}"' in text, name
