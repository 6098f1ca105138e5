"""`tcp_info` as scripts see it."""

from __future__ import annotations

import pytest

from plankroad.aio.tcpinfo import tcp_info_members
from plankroad.packetdrill.suite import RunOptions, run_text

SERVER = """
0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3
+0 bind(3, ..., ...) = 0
+0 listen(3, 1) = 0
+0 < S 0:0(0) win 32792 <mss 1000,sackOK,nop,nop,nop,wscale 7>
+0 > S. 0:0(0) ack 1 <...>
+.1 < . 1:1(0) ack 1 win 320
+0 accept(3, ..., ...) = 4
"""


def passes(text: str) -> None:
    outcome = run_text(SERVER + text, "info.pkt", RunOptions("linux", strict_end=False))
    assert outcome.passed, outcome.text()


def test_a_script_sees_counts_of_segments_and_the_congestion_state() -> None:
    passes(
        """
+0 write(4, ..., 10000) = 10000
+0 > P. 1:10001(10000) ack 1
+0 %{
assert tcpi_state == 1
assert tcpi_ca_state == TCP_CA_Open
assert tcpi_unacked == 10 and tcpi_sacked == 0 and tcpi_lost == 0 and tcpi_retrans == 0
assert tcpi_snd_cwnd == 10 and tcpi_snd_ssthresh == TCP_INFINITE_SSTHRESH
assert tcpi_delivered == 1
assert tcpi_snd_mss == 1000 and tcpi_advmss == 1460
assert tcpi_snd_wscale == 7 and tcpi_rcv_wscale == 7
assert tcpi_rtt == 100000 and tcpi_min_rtt == 100000
assert tcpi_options == TCPI_OPT_SACK | TCPI_OPT_WSCALE, tcpi_options
}%
+.1 < . 1:1(0) ack 1 win 320 <sack 1001:2001,nop,nop>
+0 %{ assert tcpi_ca_state == TCP_CA_Disorder and tcpi_sacked == 1 and tcpi_delivered == 2 }%
+0 < . 1:1(0) ack 1 win 320 <sack 1001:3001,nop,nop>
+0 < . 1:1(0) ack 1 win 320 <sack 1001:4001,nop,nop>
+0 > . 1:1001(1000) ack 1
+0 %{
assert tcpi_ca_state == TCP_CA_Recovery
assert tcpi_sacked == 3 and tcpi_lost == 1 and tcpi_retrans == 1
assert tcpi_snd_ssthresh == 7 and tcpi_snd_cwnd == 7
assert tcpi_reordering == 3 and tcpi_reord_seen == 0
}%
+.1 < . 1:1(0) ack 10001 win 320
+0 %{ assert tcpi_ca_state == TCP_CA_Open and tcpi_unacked == 0 and tcpi_snd_cwnd == 7 }%
"""
    )


def test_a_script_sees_timeouts_and_what_came_last() -> None:
    passes(
        """
+0 < P. 1:11(10) ack 1 win 320
+0 > . 1:1(0) ack 11
+.250 %{ assert tcpi_last_data_recv == 250 and tcpi_bytes_received == 10 }%
+0 write(4, ..., 100) = 100
+0 > P. 1:101(100) ack 11
+.3 > P. 1:101(100) ack 11
+.3 > P. 1:101(100) ack 11
+0 %{
assert tcpi_ca_state == TCP_CA_Loss and tcpi_backoff == 1 and tcpi_retransmits == 1
assert tcpi_snd_cwnd == 1 and tcpi_total_retrans == 2
}%
"""
    )


@pytest.mark.parametrize(
    ("state", "number"), [("ESTABLISHED", 1), ("SYN_SENT", 2), ("CLOSED", 7), ("CLOSE_WAIT", 8), ("LISTEN", 10)]
)
def test_states_have_linux_numbers(state: str, number: int) -> None:
    assert tcp_info_members({"state": state})["tcpi_state"] == number


def test_words_become_numbers_and_what_is_missing_is_zero() -> None:
    members = tcp_info_members(
        {
            "ca_state": "loss",
            "options": "ts sack wscale:7,8 accecn ecnseen fast_open",
            "snd_wscale": 7,
            "rcv_wscale": 8,
        }
    )
    assert members["tcpi_ca_state"] == 4
    assert members["tcpi_options"] == 63
    assert (members["tcpi_snd_wscale"], members["tcpi_rcv_wscale"]) == (7, 8)
    assert members["tcpi_busy_time"] == 0
    assert all(name.startswith("tcpi_") for name in members)


@pytest.mark.parametrize("option", ["SO_ZEROCOPY", "SO_TIMESTAMPING"])
def test_what_the_stack_has_no_counterpart_for_makes_a_script_not_applicable(option: str) -> None:
    text = SERVER + f"+0 setsockopt(4, SOL_SOCKET, {option}, [1], 4) = 0\n"
    outcome = run_text(text, "not.pkt", RunOptions("linux"))
    assert outcome.status == "not_applicable"
    assert option in outcome.why
