"""The runner is not lenient: beside each script that passes stands one that differs in one thing and fails for it."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

import pytest

from plankroad.packetdrill.outcome import FAILED, PASSED, Outcome
from plankroad.packetdrill.suite import RunOptions, run_text

#: A connection to the program's server: 4 is its descriptor.
SERVER = """
0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3
+0 bind(3, ..., ...) = 0
+0 listen(3, 1) = 0
+0 < S 0:0(0) win 65535 <mss 1000,sackOK,nop,wscale 7>
+0 > S. 0:0(0) ack 1 <...>
+.1 < . 1:1(0) ack 1 win 1000
+0 accept(3, ..., ...) = 4
"""

#: The same, with timestamps.
SERVER_TS = """
0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3
+0 bind(3, ..., ...) = 0
+0 listen(3, 1) = 0
+0 < S 0:0(0) win 65535 <mss 1000,sackOK,TS val 700 ecr 0,nop,wscale 7>
+0 > S. 0:0(0) ack 1 <mss 1460,sackOK,TS val 100 ecr 700,nop,wscale 10>
+.1 < . 1:1(0) ack 1 win 1000 <nop,nop,TS val 800 ecr 100>
+0 accept(3, ..., ...) = 4
"""

#: The program's own connection, which has sent its SYN: 3 is its descriptor.
SYN_SENT = """
0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3
+0 fcntl(3, F_SETFL, O_RDWR|O_NONBLOCK) = 0
+0 connect(3, ..., ...) = -1 EINPROGRESS (Operation now in progress)
+0 > S 0:0(0) <mss 1460,sackOK,TS val 1 ecr 0,nop,wscale 10>
"""


class Case(NamedTuple):
    """A script that passes, `before` and `good`; it fails where `old` becomes `new`, and `said` is said of it."""

    before: str
    good: str
    old: str
    new: str
    said: str


CASES: Final[dict[str, Case]] = {
    "flags": Case(
        SERVER,
        "+0 write(4, ..., 10) = 10\n+0 > P. 1:11(10) ack 1",
        "> P. 1:11",
        "> . 1:11",
        r"flags +\. +P\. +<--",
    ),
    "sequence number": Case(
        SERVER,
        "+0 write(4, ..., 10) = 10\n+0 > P. 1:11(10) ack 1",
        "1:11(10)",
        "2:12(10)",
        r"sequence +2:12\(10\) +1:11\(10\) +<--",
    ),
    "length": Case(
        SERVER,
        "+0 write(4, ..., 10) = 10\n+0 > P. 1:11(10) ack 1",
        "1:11(10)",
        "1:12(11)",
        r"sequence +1:12\(11\) +1:11\(10\) +<--",
    ),
    "acknowledgement": Case(
        SERVER,
        "+0 write(4, ..., 10) = 10\n+0 > P. 1:11(10) ack 1",
        "1:11(10) ack 1",
        "1:11(10) ack 2",
        "ack +2 +1 +<--",
    ),
    "window": Case(
        SERVER,
        "+0 < P. 1:11(10) ack 1 win 1000\n+0 > . 1:1(0) ack 11 win 255",
        "win 255",
        "win 256",
        "window +256 +255 +<--",
    ),
    "urgent pointer": Case(
        SERVER,
        "+0 send(4, ..., 10, MSG_OOB) = 10\n+0 > PU. 1:11(10) ack 1 urg 10",
        "urg 10",
        "urg 9",
        "urgent +9 +10 +<--",
    ),
    "ports": Case(
        SERVER,
        "+0 close(4) = 0\n+0 > 8080 > 40000 F. 1:1(0) ack 1",
        "8080 > 40000 F",
        "8080 > 40001 F",
        "missing|ports",
    ),
    "option mss": Case(
        SYN_SENT,
        "+0 close(3) = 0",
        "mss 1460",
        "mss 1459",
        "options +mss 1459",
    ),
    "option wscale": Case(
        SYN_SENT,
        "+0 close(3) = 0",
        "wscale 10",
        "wscale 9",
        "wscale 9 .*wscale 10 +<--",
    ),
    "option sackOK": Case(
        SYN_SENT,
        "+0 close(3) = 0",
        "sackOK,TS",
        "nop,nop,TS",
        "options .*<--",
    ),
    "order of options": Case(
        SYN_SENT,
        "+0 close(3) = 0",
        "mss 1460,sackOK",
        "sackOK,mss 1460",
        "options .*<--",
    ),
    "option padding": Case(
        SYN_SENT,
        "+0 close(3) = 0",
        "nop,wscale 10",
        "wscale 10,nop",
        "options .*<--",
    ),
    "an option too many": Case(
        SERVER,
        "+0 write(4, ..., 10) = 10\n+0 > P. 1:11(10) ack 1",
        "1:11(10) ack 1",
        "1:11(10) ack 1 <nop,nop>",
        "options +nop,nop +none +<--",
    ),
    "an option that is not expected": Case(
        SYN_SENT,
        "+0 close(3) = 0",
        " <mss 1460,sackOK,TS val 1 ecr 0,nop,wscale 10>",
        "",
        "options +none +mss .*<--",
    ),
    "option sack": Case(
        SERVER,
        "+0 < P. 11:21(10) ack 1 win 1000\n+0 > . 1:1(0) ack 1 <nop,nop,sack 11:21>",
        "sack 11:21",
        "sack 11:22",
        "sack 11:22 +nop,nop,sack 11:21 +<--",
    ),
    "echoed timestamp": Case(
        SERVER_TS,
        "+0 write(4, ..., 10) = 10\n+0 > P. 1:11(10) ack 1 <nop,nop,TS val 200 ecr 800>",
        "TS val 200 ecr 800",
        "TS val 200 ecr 801",
        "ecr 801 .*ecr 800 +<--",
    ),
    "timestamp's clock": Case(
        "--tcp_ts_tick_usecs=1000\n" + SERVER_TS,
        "+0 write(4, ..., 10) = 10\n+0 > P. 1:11(10) ack 1 <nop,nop,TS val 200 ecr 800>",
        "TS val 200 ecr 800",
        "TS val 205 ecr 800",
        "TS val 205 .*TS val 200 .*<--",
    ),
    "ecn field": Case(
        SERVER,
        "+0 close(4) = 0\n+0 > [noecn] F. 1:1(0) ack 1",
        "[noecn]",
        "[ect0]",
        "ecn +ect0 +noecn +<--",
    ),
    "ttl": Case(
        SERVER,
        "+0 close(4) = 0\n+0 > [ttl 64] F. 1:1(0) ack 1",
        "[ttl 64]",
        "[ttl 63]",
        "ttl +63 +64 +<--",
    ),
    "tos": Case(
        SERVER + "+0 setsockopt(4, SOL_IP, IP_TOS, [4], 4) = 0\n",
        "+0 close(4) = 0\n+0 > [tos 0x4] F. 1:1(0) ack 1",
        "[tos 0x4]",
        "[tos 0x8]",
        "tos +0x8 +0x4 +<--",
    ),
    "a packet that is missing": Case(
        SERVER,
        "+0 write(4, ..., 10) = 10\n+0 > P. 1:11(10) ack 1",
        "> P. 1:11(10) ack 1",
        "> P. 1:11(10) ack 1\n+0 > P. 11:21(10) ack 1",
        "a packet is missing",
    ),
    "the rest of a packet": Case(
        SERVER,
        "+0 write(4, ..., 1500) = 1500\n+0 > P. 1:1501(1500) ack 1",
        "1:1501(1500)",
        "1:2501(2500)",
        "is missing|sequence",
    ),
    "a packet more in between": Case(
        SERVER,
        "+0 write(4, ..., 1500) = 1500\n+0 > . 1:1001(1000) ack 1\n+0 > P. 1001:1501(500) ack 1",
        "+0 > . 1:1001(1000) ack 1\n",
        "",
        r"sequence +1001:1501\(500\) +1:1001\(1000\) +<--",
    ),
    "a packet more at the end": Case(
        SERVER,
        "+0 write(4, ..., 1500) = 1500\n+0 > . 1:1001(1000) ack 1\n+0 > P. 1001:1501(500) ack 1",
        "\n+0 > P. 1001:1501(500) ack 1",
        "",
        "at the end a packet is left that nobody expected",
    ),
    "a packet that comes after the last event": Case(
        SERVER + "+0 < P. 1:11(10) ack 1 win 1000\n",
        "+0 > . 1:1(0) ack 11\n+.3 write(4, ..., 1) = 1\n+0 > P. 1:2(1) ack 11",
        "+0 > . 1:1(0) ack 11\n",
        "",
        "ack|sequence",
    ),
    "the order of packets": Case(
        SERVER,
        "+0 write(4, ..., 1500) = 1500\n+0 > . 1:1001(1000) ack 1\n+0 > P. 1001:1501(500) ack 1",
        "+0 > . 1:1001(1000) ack 1\n+0 > P. 1001:1501(500) ack 1",
        "+0 > P. 1001:1501(500) ack 1\n+0 > . 1:1001(1000) ack 1",
        r"sequence +1001:1501\(500\) +1:1001\(1000\) +<--",
    ),
    "segments as they are cut": Case(
        "--strict_segments\n" + SERVER,
        "+0 write(4, ..., 1500) = 1500\n+0 > . 1:1001(1000) ack 1\n+0 > P. 1001:1501(500) ack 1",
        "+0 > . 1:1001(1000) ack 1\n+0 > P. 1001:1501(500) ack 1",
        "+0 > P. 1:1501(1500) ack 1",
        "sequence .*<--",
    ),
    "push on the last piece": Case(
        SERVER,
        "+0 write(4, ..., 2500) = 2500\n+0 > P. 1:2501(2500) ack 1",
        "> P. 1:2501",
        "> . 1:2501",
        r"flags +\. +P\. +<--",
    ),
    "a packet of another protocol": Case(
        SERVER,
        "+0 close(4) = 0\n+0 > F. 1:1(0) ack 1",
        "> F. 1:1(0) ack 1",
        "> udp (10)",
        "UDP",
    ),
    "too early": Case(
        SERVER,
        "+0 write(4, ..., 10) = 10\n+0 > P. 1:11(10) ack 1",
        "+0 > P.",
        "+.2 > P.",
        "too early",
    ),
    "too late": Case(
        SERVER + "+0 write(4, ..., 10) = 10\n+0 > P. 1:11(10) ack 1\n",
        "+.25~+.35 > P. 1:11(10) ack 1",
        "+.25~+.35",
        "+.1",
        "missing by",
    ),
    "out of a range": Case(
        SERVER + "+0 write(4, ..., 10) = 10\n+0 > P. 1:11(10) ack 1\n",
        "+.2~+.4 > P. 1:11(10) ack 1",
        "+.2~+.4",
        "+.5~+.6",
        "too early",
    ),
    "the tolerance": Case(
        "--tolerance_usecs=100000\n"
        "\n"
        "0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3\n"
        "+0 bind(3, ..., ...) = 0\n"
        "+0 listen(3, 1) = 0\n"
        "+0 < S 0:0(0) win 65535 <mss 1000,sackOK,nop,wscale 7>\n"
        "+0 > S. 0:0(0) ack 1 <...>\n"
        "+.1 < . 1:1(0) ack 1 win 1000\n"
        "+0 accept(3, ..., ...) = 4\n"
        "+0 write(4, ..., 10) = 10\n"
        "+0 > P. 1:11(10) ack 1\n",
        "+.25 > P. 1:11(10) ack 1",
        "--tolerance_usecs=100000",
        "--tolerance_usecs=1000\n--tolerance_percent=0",
        "missing by|too",
    ),
    "an absolute time": Case(
        SERVER,
        "+0 write(4, ..., 10) = 10\n.1 > P. 1:11(10) ack 1",
        ".1 > P.",
        ".3 > P.",
        "too early",
    ),
    "return value": Case(
        SERVER,
        "+0 write(4, ..., 10) = 10\n+0 > P. 1:11(10) ack 1",
        "= 10",
        "= 9",
        "write returned 10, expected 9",
    ),
    "read length": Case(
        SERVER + "+0 < P. 1:11(10) ack 1 win 1000\n+0 > . 1:1(0) ack 11\n",
        "+0 read(4, ..., 100) = 10",
        "= 10",
        "= 11",
        "read returned 10, expected 11",
    ),
    "data that is read": Case(
        SERVER + "+0 < P. 1:4(3) ack 1 win 1000\n+0 > . 1:1(0) ack 4\n",
        r'+0 read(4, "\x00\x01\x02", 100) = 3',
        r'"\x00\x01\x02"',
        r'"\x00\x01\x03"',
        "the data",
    ),
    "errno": Case(
        SERVER + "+0 fcntl(4, F_SETFL, O_NONBLOCK) = 0\n",
        "+0 read(4, ..., 100) = -1 EAGAIN (Resource temporarily unavailable)",
        "EAGAIN (Resource temporarily unavailable)",
        "EPIPE (Broken pipe)",
        "read failed with EAGAIN, expected EPIPE",
    ),
    "an error that does not come": Case(
        SERVER,
        "+0 close(4) = 0\n+0 > F. 1:1(0) ack 1",
        "= 0\n+0 >",
        "= -1 EBADF\n+0 >",
        "close returned 0",
    ),
    "success that does not come": Case(
        SERVER,
        "+0 close(7) = -1 EBADF (Bad file descriptor)",
        "= -1 EBADF (Bad file descriptor)",
        "= 0",
        "close returned -1 EBADF, expected 0",
    ),
    "a call that waits and must not": Case(
        SERVER,
        "+0...0.100 read(4, ..., 100) = 10\n+.1 < P. 1:11(10) ack 1 win 1000\n+0 > . 1:1(0) ack 11",
        "+0...0.100 read",
        "+0 read",
        "read waits, but was to return at once",
    ),
    "a call that returns too early": Case(
        SERVER,
        "+0...0.100 read(4, ..., 100) = 10\n+.1 < P. 1:11(10) ack 1 win 1000\n+0 > . 1:1(0) ack 11",
        "0...0.100 read",
        "0...0.200 read",
        "read returned at the wrong time.*too early",
    ),
    "a call that returns too late": Case(
        SERVER,
        "+0...0.100 read(4, ..., 100) = 10\n+.1 < P. 1:11(10) ack 1 win 1000\n+0 > . 1:1(0) ack 11",
        "0...0.100 read",
        "0...0.050 read",
        "read (still waits|returned at the wrong time)",
    ),
    "a call that was to wait and does not": Case(
        SERVER,
        "+0...0.100 read(4, ..., 100) = 10\n+.1 < P. 1:11(10) ack 1 win 1000\n+0 > . 1:1(0) ack 11",
        "+0...0.100 read(4, ..., 100) = 10\n+.1 < P. 1:11(10) ack 1 win 1000\n+0 > . 1:1(0) ack 11",
        "+0 < P. 1:11(10) ack 1 win 1000\n+0 > . 1:1(0) ack 11\n+0...0.100 read(4, ..., 100) = 10",
        "read returned at the wrong time",
    ),
    "a call that never returns": Case(
        SERVER,
        "+0...0.100 read(4, ..., 100) = 10\n+.1 < P. 1:11(10) ack 1 win 1000\n+0 > . 1:1(0) ack 11",
        "+.1 < P. 1:11(10) ack 1 win 1000\n+0 > . 1:1(0) ack 11",
        "",
        "read still waits",
    ),
    "the value of an option": Case(
        SERVER,
        "+0 getsockopt(4, SOL_TCP, TCP_NODELAY, [0], [4]) = 0",
        "[0], [4]",
        "[1], [4]",
        "the option",
    ),
    "the size of an option": Case(
        SERVER,
        "+0 getsockopt(4, SOL_SOCKET, SO_LINGER, {onoff=0, linger=0}, [8]) = 0",
        "[8]",
        "[9]",
        "has 8 bytes, expected 9",
    ),
    "a member of an option": Case(
        SERVER + "+0 setsockopt(4, SOL_SOCKET, SO_LINGER, {onoff=1, linger=5}, 8) = 0\n",
        "+0 getsockopt(4, SOL_SOCKET, SO_LINGER, {onoff=1, linger=5}, [8]) = 0",
        "{onoff=1, linger=5}, [8]",
        "{onoff=1, linger=6}, [8]",
        "linger",
    ),
    "the number of an ioctl": Case(
        SERVER + "+0 < P. 1:11(10) ack 1 win 1000\n+0 > . 1:1(0) ack 11\n",
        "+0 ioctl(4, SIOCINQ, [10]) = 0",
        "[10]",
        "[11]",
        "the number",
    ),
    "events of poll": Case(
        SERVER,
        "+0 poll([{fd=4, events=POLLIN|POLLOUT, revents=POLLOUT}], 1, 0) = 1",
        "revents=POLLOUT",
        "revents=POLLIN|POLLOUT",
        r"expected POLLIN\|POLLOUT, got POLLOUT",
    ),
    "events of epoll": Case(
        SERVER + "+0 epoll_create(1) = 5\n+0 epoll_ctl(5, EPOLL_CTL_ADD, 4, {events=EPOLLOUT, fd=4}) = 0\n",
        "+0 epoll_wait(5, {events=EPOLLOUT, fd=4}, 1, 0) = 1",
        "epoll_wait(5, {events=EPOLLOUT",
        "epoll_wait(5, {events=EPOLLIN",
        "event 1: expected POLLIN, got POLLOUT",
    ),
    "data of epoll": Case(
        SERVER + "+0 epoll_create(1) = 5\n+0 epoll_ctl(5, EPOLL_CTL_ADD, 4, {events=EPOLLOUT, fd=4}) = 0\n",
        "+0 epoll_wait(5, {events=EPOLLOUT, fd=4}, 1, 0) = 1",
        "epoll_wait(5, {events=EPOLLOUT, fd=4}",
        "epoll_wait(5, {events=EPOLLOUT, fd=3}",
        "data of event 1: expected 3, got 4",
    ),
    "a control message": Case(
        SERVER + "+0 setsockopt(4, SOL_TCP, TCP_INQ, [1], 4) = 0\n"
        "+0 < P. 1:11(10) ack 1 win 1000\n"
        "+0 > . 1:1(0) ack 11\n",
        "+0 recvmsg(4, {msg_name(...)=..., msg_iov(1)=[{..., 4}], msg_flags=0, "
        "msg_control=[{cmsg_level=SOL_TCP, cmsg_type=TCP_CM_INQ, cmsg_data=6}]}, 0) = 4",
        "cmsg_data=6",
        "cmsg_data=7",
        "cmsg_data",
    ),
    "a control message that is not there": Case(
        SERVER + "+0 < P. 1:11(10) ack 1 win 1000\n+0 > . 1:1(0) ack 11\n",
        "+0 recvmsg(4, {msg_name(...)=..., msg_iov(1)=[{..., 4}], msg_flags=0, msg_control=[]}, 0) = 4",
        "msg_control=[]",
        "msg_control=[{cmsg_level=SOL_TCP, cmsg_type=TCP_CM_INQ, cmsg_data=6}]",
        "msg_control",
    ),
    "the flags of a message": Case(
        SERVER + "+0 < P. 1:11(10) ack 1 win 1000\n+0 > . 1:1(0) ack 11\n",
        "+0 recvmsg(4, {msg_name(...)=..., msg_iov(1)=[{..., 4}], msg_flags=0}, 0) = 4",
        "msg_flags=0",
        "msg_flags=MSG_TRUNC",
        "msg_flags",
    ),
    "the name of a peer": Case(
        SERVER.rsplit("+0 accept", 1)[0],
        '+0 accept(3, {sa_family=AF_INET, sin_port=htons(40000), sin_addr=inet_addr("192.0.2.1")}, [16]) = 4',
        "192.0.2.1",
        "192.0.2.2",
        "the name is",
    ),
    "an assertion": Case(
        SERVER,
        "+0 %{ assert 1 + 1 == 2 }%",
        "== 2",
        "== 3",
        "the assertion is false",
    ),
    "an assertion's variables last": Case(
        SERVER + "+0 %{ seen = 4 }%\n",
        "+0 %{ assert seen == 4, seen }%",
        "assert seen == 4",
        "assert seen == 5",
        "the assertion is false: 4",
    ),
    "code that fails otherwise": Case(
        SERVER,
        "+0 %{ x = 1 / 1 }%",
        "1 / 1",
        "1 / 0",
        "ZeroDivisionError",
    ),
    "a command that fails": Case(
        SERVER,
        "+0 `true`",
        "`true`",
        "`false`",
        "the command ended with status 1",
    ),
    "udp length": Case(
        "0 socket(..., SOCK_DGRAM, IPPROTO_UDP) = 3\n+0 connect(3, ..., ...) = 0\n+0 send(3, ..., 100, 0) = 100\n",
        "+0 > udp (100)",
        "udp (100)",
        "udp (101)",
        "length +101 +100 +<--",
    ),
    "icmp": Case(
        "0 socket(..., SOCK_DGRAM, IPPROTO_UDP) = 3\n+0 bind(3, ..., ...) = 0\n+0 close(3) = 0\n+0 < udp (100)\n",
        "+0 > icmp unreachable port_unreachable",
        "port_unreachable",
        "host_unreachable",
        "icmp .*host_unreachable",
    ),
}


def run(text: str) -> Outcome:
    """The script on a stack as it is."""
    return run_text(text, "case.pkt", RunOptions())


@pytest.mark.parametrize("name", CASES)
def test_what_is_right_passes(name: str) -> None:
    case = CASES[name]
    outcome = run(case.before + case.good + "\n")
    assert outcome.status == PASSED, outcome.text()


@pytest.mark.parametrize("name", CASES)
def test_what_differs_in_one_thing_fails_for_it(name: str) -> None:
    case = CASES[name]
    text = case.before + case.good + "\n"
    assert case.old in text
    before, _, after = text.rpartition(case.old)
    outcome = run(before + case.new + after)
    assert outcome.status == FAILED
    assert re.search(case.said, outcome.text()), outcome.text()
    assert outcome.line > 0
