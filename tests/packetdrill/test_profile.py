"""Profiles: every key is a choice of the stack, and what is not known is an error."""

from __future__ import annotations

from pathlib import Path

import pytest

from plankroad.packetdrill.errors import ScriptError
from plankroad.packetdrill.ground import Settings
from plankroad.packetdrill.grounds import virtual_ground
from plankroad.packetdrill.profile import TIMES, built_in, load_profile, parse_profile
from plankroad.packetdrill.suite import RunOptions, run_text
from plankroad.stack.config import StackConfig
from plankroad.tcp.config import TcpConfig
from plankroad.units import MILLISECOND, SECOND

pytestmark = pytest.mark.either


def test_linux_is_built_in_and_every_key_of_it_acts() -> None:
    assert "linux" in built_in()
    profile = load_profile("linux")
    config = profile.stack_config()
    plain = StackConfig()
    ground = virtual_ground(Settings(), "linux", [], Path())
    for name, value in profile.tcp.items():
        assert getattr(config.tcp, name) == value
        assert getattr(ground.stack.config.tcp, name) == value
    for name, value in profile.stack.items():
        assert getattr(ground.stack.config, name) == value
    for name, value in profile.sockets.items():
        assert getattr(ground.table.policy, name) == value
    assert ground.interface.gso_max_size == profile.link["gso_max_size"]
    # A key that says what is so in any case would be noise.
    same = [name for name, value in profile.tcp.items() if getattr(plain.tcp, name) == value]
    assert same == ["ecn"]


def test_without_a_profile_the_stack_is_as_it_is() -> None:
    assert load_profile("").stack_config().tcp == TcpConfig()


def test_values_have_their_units() -> None:
    profile = parse_profile(
        '[tcp]\nmin_rto = "300ms"\nrcv_buf_max = "6MiB"\nsnd_buf = 5000\nlinger = -1\nsack = false\n'
        'nagle = "off"\n[stack]\nicmp_rate = 7\nfast_open_blackhole = "1h"\n[sockets]\nsomaxconn = 9\n'
        "[link]\ngso_max_size = 30000\n",
        "mine",
    )
    assert profile.tcp == {
        "min_rto": 300 * MILLISECOND,
        "rcv_buf_max": 6 << 20,
        "snd_buf": 5000,
        "linger": -1,
        "sack": False,
        "nagle": "off",
    }
    assert profile.stack == {"icmp_rate": 7, "fast_open_blackhole": 3600 * SECOND}
    assert profile.sockets == {"somaxconn": 9}
    assert profile.link == {"gso_max_size": 30000}


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("[tcp]\nmin_rtt = 3", "'min_rtt'"),
        ("[stack]\ntcp = 3", "'tcp'"),
        ("[udp]\nx = 3", r"\[udp\]"),
        ("tcp = 3", "tcp must be a table"),
        ("[tcp", "mine: "),
        ("[tcp]\nmin_rto = 200", "with a unit"),
        ('[tcp]\nmin_rto = "soon"', "min_rto"),
        ("[tcp]\nsack = 1", "true or false"),
        ("[tcp]\nsnd_buf = true", "snd_buf"),
        ("[tcp]\nsnd_buf = 1.5", "whole number"),
        ('[tcp]\nsnd_buf = "much"', "snd_buf"),
        ("[tcp]\nnagle = 3", "text"),
        ('[tcp]\nnagle = "sometimes"', "nagle"),
        ("[tcp]\ninitial_window = 0", "initial_window"),
        ("[stack]\nfirst_port = 0", "first_port"),
        ("[sockets]\nfast_open_client = 1", "true or false"),
        ("[link]\nspeed = 1", "'speed'"),
        ("[link]\ngso_max_size = 70000", "gso_max_size"),
    ],
)
def test_what_is_not_known_or_not_right_is_an_error(text: str, what: str) -> None:
    with pytest.raises(ScriptError, match=what):
        parse_profile(text, "mine")


def test_a_profile_is_a_name_or_a_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('[tcp]\nmin_rto = "1s"\n')
    ground = virtual_ground(Settings(), str(file), [], tmp_path)
    assert ground.stack.config.tcp.min_rto == SECOND
    for name, what in (("windows", "built in: linux"), (str(tmp_path / "no.toml"), "cannot be read")):
        with pytest.raises(ScriptError, match=what):
            load_profile(name)


def test_a_host_that_pushes_its_bursts_is_known_to_do_so(tmp_path: Path) -> None:
    """So that the runner expects PSH at the end of each of them."""
    file = tmp_path / "mine.toml"
    for count, pushes in ((0, False), (2, True)):
        file.write_text(f"[tcp]\npush_bursts = {count}\n")
        assert virtual_ground(Settings(), str(file), [], tmp_path).settings.pushes_bursts == pushes


@pytest.mark.parametrize(
    ("second", "passes"), [("P. 2001:4001(2000)", True), (". 2001:4001(2000)", False), ("P. 2001:3001(1000)", False)]
)
def test_with_a_profile_psh_stands_where_a_super_segment_ends_and_nowhere_else(second: str, passes: bool) -> None:
    """What is sent, two segments at once, is [1, 2001) and [2001, 4001), each with PSH at its end."""
    text = f"""
        0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3
       +0 bind(3, ..., ...) = 0
       +0 listen(3, 1) = 0
       +0 < S 0:0(0) win 65535 <mss 1000>
       +0 > S. 0:0(0) ack 1 <mss 1460>
      +.1 < . 1:1(0) ack 1 win 65535
       +0 accept(3, ..., ...) = 4
       +0 write(4, ..., 6000) = 6000
       +0 > P. 1:2001(2000) ack 1
       +0 > {second} ack 1
    """
    assert run_text(text, "mine.pkt", RunOptions("linux", strict_end=False)).passed == passes
    # In one expected segment they are where they are.
    whole = text[: text.index("+0 > P.")] + "+0 > P. 1:6001(6000) ack 1"
    assert run_text(whole, "mine.pkt", RunOptions("linux")).passed
    assert not run_text(whole.replace("P. 1:6001", ". 1:6001"), "mine.pkt", RunOptions("linux")).passed


def test_the_fields_that_are_times_are_those_with_nanoseconds() -> None:
    """A new field of a configuration has to be told apart: its default shows it, but for those that are 0."""
    zero = {"user_timeout", "linger"}
    for config in (TcpConfig(), StackConfig()):
        for name in config.__dataclass_fields__:
            value = getattr(config, name)
            if isinstance(value, int) and not isinstance(value, bool) and name not in zero:
                assert (name in TIMES) == (value >= MILLISECOND and value % 1_000_000 == 0), name
