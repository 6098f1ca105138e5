"""SYN cookies (RFC 4987 section 3.6)."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plankroad.tcp.cookies import MSS_IPV4, MSS_IPV6, SynCookies, decode_options, encode_options
from plankroad.units import SECOND

SECRET = bytes(range(50, 82))
A4, B4 = b"\xc0\x00\x02\x01", b"\xc0\x00\x02\x02"
A6, B6 = bytes(15) + b"\x01", bytes(15) + b"\x02"
TICK = 64 * SECOND

u32 = st.integers(0, 2**32 - 1)
u16 = st.integers(0, 65535)


@given(
    v6=st.booleans(),
    now=st.integers(0, 2**60),
    wait=st.integers(0, TICK),
    ports=st.tuples(u16, u16),
    isn=u32,
    mss=st.integers(1, 65535),
)
def test_a_cookie_gives_back_the_mss_rounded_down(
    v6: bool, now: int, wait: int, ports: tuple[int, int], isn: int, mss: int
) -> None:
    cookies = SynCookies(SECRET)
    local, remote = (A6, B6) if v6 else (A4, B4)
    cookie = cookies.make(now, local, ports[0], remote, ports[1], isn, mss)
    assert 0 <= cookie < 2**32
    got = cookies.check(now + wait, local, ports[0], remote, ports[1], isn, cookie)
    table = MSS_IPV6 if v6 else MSS_IPV4
    assert got == max((m for m in table if m <= mss), default=table[0])


@pytest.mark.parametrize("mss", [536, 1460])
def test_usual_sizes_are_not_rounded(mss: int) -> None:
    cookies = SynCookies(SECRET)
    assert cookies.check(0, A4, 80, B4, 5000, 7, cookies.make(0, A4, 80, B4, 5000, 7, mss)) == mss
    assert cookies.check(0, A6, 80, B6, 5000, 7, cookies.make(0, A6, 80, B6, 5000, 7, 1440)) == 1440


def test_a_cookie_ends_with_the_tick_after_its_own() -> None:
    cookies = SynCookies(SECRET)
    made = 1000 * TICK + TICK // 2
    cookie = cookies.make(made, A4, 80, B4, 5000, 7, 1460)
    assert cookies.check(1002 * TICK - 1, A4, 80, B4, 5000, 7, cookie) == 1460
    assert cookies.check(1002 * TICK, A4, 80, B4, 5000, 7, cookie) == 0
    # Nor is one from the future good, nor one from 256 ticks ago, where the eight bits of the clock are equal.
    assert cookies.check(999 * TICK, A4, 80, B4, 5000, 7, cookie) == 0
    assert cookies.check(made + 256 * TICK, A4, 80, B4, 5000, 7, cookie) == 0


def test_another_connection_or_another_sequence_number_or_another_secret_is_refused() -> None:
    cookies = SynCookies(SECRET)
    cookie = cookies.make(0, A4, 80, B4, 5000, 7, 1460)
    assert cookies.check(0, A4, 80, B4, 5000, 7, cookie) == 1460
    assert cookies.check(0, A4, 80, B4, 5001, 7, cookie) == 0
    assert cookies.check(0, A4, 81, B4, 5000, 7, cookie) == 0
    assert cookies.check(0, A4, 80, A4, 5000, 7, cookie) == 0
    assert cookies.check(0, B4, 80, B4, 5000, 7, cookie) == 0
    assert cookies.check(0, A4, 80, B4, 5000, 7 + 100, cookie) == 0
    assert SynCookies(SECRET[::-1]).check(0, A4, 80, B4, 5000, 7, cookie) == 0


@pytest.mark.requirement("syn-cookies")
def test_guessing_is_hopeless() -> None:
    seed = 4987
    print(f"seed {seed}")
    rng = random.Random(seed)
    cookies = SynCookies(SECRET)
    for now in (5 * TICK, 0):
        assert not any(cookies.check(now, A4, 80, B4, 5000, 7, rng.getrandbits(32)) for _ in range(10_000))


def test_later_incarnations_get_larger_sequence_numbers() -> None:
    # RFC 9293 section 3.4.1: as the peer's ISN and the clock grow, so does ours.
    cookies = SynCookies(SECRET)
    isn = 1_000_000
    old = cookies.make(0, A4, 80, B4, 5000, isn, 1460)
    for tick in range(1, 60):
        isn += 16_000_000  # what a clock of 4 microseconds counts in 64 seconds
        new = cookies.make(tick * TICK, A4, 80, B4, 5000, isn, 1460)
        assert (new - old) % 2**32 < 2**31
        old = new


@given(ts=u32, wscale=st.integers(-1, 14), sack=st.booleans(), ecn=st.booleans())
def test_options_survive_in_the_timestamp_which_is_never_later_than_the_clock(
    ts: int, wscale: int, sack: bool, ecn: bool
) -> None:
    value = encode_options(ts, wscale, sack, ecn)
    options = decode_options(value)
    assert (options.wscale, options.sack_permitted, options.ecn) == (wscale, sack, ecn)
    assert 0 <= value < 2**32
    assert 0 <= (ts - value) % 2**32 < 128


def test_an_illegal_window_shift_is_taken_as_14() -> None:
    # RFC 7323 section 2.3.
    assert decode_options(encode_options(1 << 20, 200, False, False)).wscale == 14
