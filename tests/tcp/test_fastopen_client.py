"""TCP Fast Open, the client's side: RFC 7413 sections 4.1.3, 4.2.1 and 4.2.2, segment by segment."""

from __future__ import annotations

import errno

import pytest

from plankroad.endpoint import EVENT_CONNECTED, EVENT_ERROR
from plankroad.tcp.config import TcpConfig
from plankroad.tcp.constants import OPEN
from plankroad.tcp.counters import TcpCounters
from plankroad.tcp.fastopen_cache import FastOpenCache
from plankroad.tcp.icmp import ADMIN_PROHIBITED, FRAGMENTATION_NEEDED, PORT_UNREACHABLE
from plankroad.testing.scripted import ScriptedPeer, flags_of
from plankroad.units import MILLISECOND, SECOND
from plankroad.wire.segment import Segment
from plankroad.wire.tcp import options_length

COOKIE = b"cookie12"
REQUEST = b"GET / HTTP/1.0\r\n\r\n"
ALL = 1 + len(REQUEST)


class Client:
    """Connections of one client to one server, one after the other, with one memory."""

    def __init__(self, ipv6: bool = False) -> None:
        self.counters = TcpCounters()
        self.cache = FastOpenCache(self.counters, 16, 3600 * SECOND)
        self.ipv6 = ipv6
        self.now = 10 * SECOND

    def peer(self, config: TcpConfig | None = None, mtu: int = 1500) -> ScriptedPeer:
        """A connection, not opened yet."""
        made = ScriptedPeer(config, start=self.now, ipv6=self.ipv6, mtu=mtu, cache=self.cache)
        made.counters = self.counters
        made.conn.tcb.counters = self.counters
        return made

    def knows(self, cookie: bytes = COOKIE, mss: int = 1460, exp: bool = False) -> None:
        """A SYN-ACK brought this."""
        blank = ScriptedPeer(ipv6=self.ipv6)
        self.cache.learn(blank.local, blank.remote, cookie, exp, mss)

    def cookie(self) -> bytes:
        """What is remembered."""
        blank = ScriptedPeer(ipv6=self.ipv6)
        return self.cache.cookie_of(blank.local, blank.remote)

    def rests(self, after: int = 0) -> bool:
        """Is Fast Open to this server at rest, `after` nanoseconds from now?"""
        blank = ScriptedPeer(ipv6=self.ipv6)
        return self.cache.find(self.now + after, blank.local, blank.remote, 80) is None


def tried(client: Client, data: bytes = REQUEST, config: TcpConfig | None = None, mtu: int = 1500) -> ScriptedPeer:
    """A connection whose SYN with the cookie and `data` is out."""
    peer = client.peer(config, mtu)
    assert peer.open(fast_open=True) == []
    assert peer.conn.awaits_write()
    [syn] = peer.send(data)
    assert (flags_of(syn), syn.seq, syn.fast_open) == ("S", 0, client.cookie())
    assert data.startswith(syn.payload)
    return peer


def answer(peer: ScriptedPeer, ack: int, cookie: bytes | None = None, exp: bool = False) -> list[Segment]:
    return peer.segment("S.", seq=0, ack=ack, mss=1460, sack_ok=True, fast_open=cookie, fast_open_exp=exp)


# Asking for a cookie


def test_a_first_connection_asks_for_a_cookie_and_remembers_it() -> None:
    # RFC 7413 section 4.2.1.
    client = Client()
    peer = client.peer()
    [syn] = peer.open(fast_open=True)
    assert (flags_of(syn), syn.fast_open, syn.fast_open_exp, syn.payload) == ("S", b"", False, b"")
    assert not peer.conn.awaits_write()
    assert [flags_of(s) for s in answer(peer, 1, COOKIE)] == ["."]
    assert client.cookie() == COOKIE
    assert client.counters.fast_open_cookies_received == 1
    # The next one uses it.
    peer = tried(client)
    assert peer.state == "SYN_SENT"


def test_nothing_is_asked_for_unless_the_program_asked() -> None:
    # RFC 7413 section 2: implementations "MUST NOT use TFO by default".
    client = Client()
    client.knows()
    [syn] = client.peer().open()
    assert syn.fast_open is None


def test_a_cookie_comes_back_in_the_form_in_which_it_came() -> None:
    client = Client()
    peer = client.peer()
    peer.open(fast_open=True)
    answer(peer, 1, COOKIE, exp=True)
    peer = client.peer()
    peer.open(fast_open=True)
    [syn] = peer.send(REQUEST)
    assert (syn.fast_open, syn.fast_open_exp) == (COOKIE, True)


def test_a_server_without_cookies_is_not_asked_again_for_a_while_and_then_in_the_other_form() -> None:
    # Section 4.2.1: "only attempt another cookie request after a certain period".
    client = Client()
    peer = client.peer()
    peer.open(fast_open=True)
    answer(peer, 1)
    for passed, option in ((0, None), (59 * SECOND, None), (2 * SECOND, b"")):
        client.now += passed
        peer = client.peer()
        [syn] = peer.open(fast_open=True)
        assert syn.fast_open == option
    assert syn.fast_open_exp
    # No again: twice as long, and then the registered form.
    client.now = peer.now
    answer(peer, 1)
    assert client.rests(119 * SECOND)
    client.now += 121 * SECOND
    [syn] = client.peer().open(fast_open=True)
    assert (syn.fast_open, syn.fast_open_exp) == (b"", False)


def test_a_request_that_is_lost_is_repeated_without_the_option() -> None:
    # Section 4.2.1: "retransmit SYN and SYN-ACK packets without the cookie options on timeouts".
    client = Client()
    peer = client.peer()
    peer.open(fast_open=True)
    [again] = peer.advance(SECOND)
    assert (flags_of(again), again.fast_open) == ("S", None)
    answer(peer, 1)
    assert peer.state == "ESTABLISHED"
    assert client.counters.fast_open_syn_lost == 1
    client.now = peer.now
    assert client.rests(59 * SECOND)
    assert not client.rests(61 * SECOND)


# Data in the SYN


@pytest.mark.parametrize("ipv6", [False, True])
def test_data_that_the_syn_ack_acknowledges_is_done_with(ipv6: bool) -> None:
    client = Client(ipv6)
    client.knows()
    peer = tried(client)
    peer.advance(100 * MILLISECOND)
    out = answer(peer, ALL)
    assert [(flags_of(s), s.seq, s.payload) for s in out] == [(".", ALL, b"")]
    assert peer.state == "ESTABLISHED"
    t = peer.conn.tcb
    assert (t.snd_una, len(t.snd_buf), t.bytes_acked, t.bytes_sent) == (t.iss + ALL, 0, ALL - 1, ALL - 1)
    assert t.bytes_retransmitted == 0
    assert t.rtt.srtt == 100 * MILLISECOND
    assert client.counters.fast_open_active == 1
    assert "fast_open" in str(peer.conn.info(peer.now)["options"])
    # What follows goes the ordinary way.
    [data] = peer.send(b"more")
    assert (data.seq, data.payload) == (ALL, b"more")


def test_data_that_it_does_not_acknowledge_leaves_with_the_first_ack() -> None:
    # Section 4.2.2: "The client SHOULD retransmit any unacknowledged data in the first ACK packet".
    client = Client()
    client.knows()
    peer = tried(client)
    out = answer(peer, 1)
    assert [(flags_of(s), s.seq, s.ack, s.payload) for s in out] == [("P.", 1, 1, REQUEST)]
    assert client.counters.fast_open_rejected == 1
    t = peer.conn.tcb
    assert (t.bytes_sent, t.bytes_retransmitted) == (len(REQUEST), len(REQUEST))
    assert peer.segment(".", ack=ALL) == []


def test_what_is_acknowledged_in_part_is_sent_from_there() -> None:
    client = Client()
    client.knows()
    peer = tried(client)
    out = answer(peer, 5)
    assert [(s.seq, s.payload) for s in out] == [(5, REQUEST[4:])]
    assert client.counters.fast_open_active == 1
    assert peer.conn.tcb.syn_data == 4
    assert not client.rests()


def test_an_answer_may_come_with_the_syn_ack_and_before_it() -> None:
    client = Client()
    client.knows()
    peer = tried(client)
    # Before it: RFC 9293 section 3.10.7.3 has nothing to do with a segment without SYN; the server sends it again.
    assert peer.segment("P.", seq=1, ack=ALL, data=b"200 OK") == []
    peer.segment("S.", seq=0, ack=ALL, data=b"200", mss=1460)
    assert peer.received == b"200"
    peer.segment("P.", seq=4, ack=ALL, data=b" OK")
    assert peer.received == b"200 OK"


@pytest.mark.parametrize("ack", [0, ALL + 1, 5000])
def test_an_ack_of_what_was_not_sent_is_reset(ack: int) -> None:
    # RFC 9293 section 3.10.7.3: "If SEG.ACK =< ISS or SEG.ACK > SND.NXT, send a reset".
    client = Client()
    client.knows()
    peer = tried(client)
    assert [flags_of(s) for s in answer(peer, ack)] == ["R"]
    assert peer.state == "SYN_SENT"


@pytest.mark.parametrize(
    ("ipv6", "mss", "mtu", "limit"),
    [
        (False, 0, 1500, 536),
        (True, 0, 1500, 1220),
        (False, 1460, 1500, 1460),
        (False, 9000, 9040, 1460),
        (True, 9000, 9060, 1440),
        (False, 1460, 1000, 960),
        (False, 300, 1500, 300),
    ],
)
def test_the_data_of_a_syn_is_bounded(ipv6: bool, mss: int, mtu: int, limit: int) -> None:
    # Section 4.1.3: the cached MSS, at most 1460 or 1440; the default where it is not known. RFC 6691: less options.
    client = Client(ipv6)
    client.knows(mss=mss)
    peer = client.peer(mtu=mtu)
    peer.open(fast_open=True)
    [syn] = peer.send(bytes(5000))
    options = 4 + 12 + 4 + 12  # MSS, timestamps with SACK-permitted, window scale, the cookie with its padding
    assert len(syn.payload) == limit - options
    # The rest follows in the same breath as the first ACK.
    out = peer.segment("S.", seq=0, ack=1 + len(syn.payload), mss=1400, sack_ok=True)
    assert out[0].seq == 1 + len(syn.payload)
    assert sum(len(s.payload) for s in out) == 5000 - len(syn.payload)


def test_a_smaller_max_segment_bounds_it_too() -> None:
    client = Client()
    client.knows()
    peer = tried(client, bytes(5000), TcpConfig(max_segment=500))
    assert peer.conn.tcb.syn_data == 500 - 32


def test_options_that_leave_no_room_end_the_attempt() -> None:
    # Section 4.2.2: "If the SYN packet does not have enough option space for the Fast Open option, abort TFO and fall
    # back to the regular 3WHS."
    client = Client()
    client.knows(bytes(16))
    peer = client.peer(TcpConfig(user_timeout=60 * SECOND))
    peer.open(fast_open=True)
    [syn] = peer.send(REQUEST)
    assert (syn.fast_open, syn.payload, syn.user_timeout) == (None, b"", 60)
    out = answer(peer, 1)
    assert [s.payload for s in out] == [REQUEST]
    assert not client.rests()


def test_a_program_that_does_not_write_gets_its_syn_without_data() -> None:
    client = Client()
    client.knows()
    peer = client.peer(TcpConfig(fast_open_wait=5 * MILLISECOND))
    assert peer.open(fast_open=True) == []
    assert peer.advance(4 * MILLISECOND) == []
    [syn] = peer.advance(MILLISECOND)
    assert (syn.fast_open, syn.payload) == (COOKIE, b"")
    assert not peer.conn.awaits_write()
    assert peer.send(REQUEST) == []
    out = answer(peer, 1)
    assert [s.payload for s in out] == [REQUEST]
    # Nothing can be said of the cookie.
    assert (client.counters.fast_open_active, client.counters.fast_open_rejected) == (0, 0)
    assert not client.rests()


# Fall-back


def test_a_syn_that_is_lost_is_repeated_plain() -> None:
    # Section 4.2.2: "when the SYN timer fires, the client SHOULD retransmit a SYN packet without data and Fast Open
    # options."
    client = Client()
    client.knows()
    peer = tried(client)
    [again] = peer.advance(SECOND)
    assert (flags_of(again), again.seq, again.fast_open, again.payload) == ("S", 0, None, b"")
    # "If the SYN-ACK acknowledges only the initial sequence and does not carry a Fast Open cookie option, presumably it
    # is triggered by a retransmitted (regular) SYN".
    out = answer(peer, 1)
    assert [(s.seq, s.payload) for s in out] == [(1, REQUEST)]
    assert client.counters.fast_open_syn_lost == 1
    assert client.counters.fast_open_rejected == 0
    client.now = peer.now
    assert client.rests()


def test_an_answer_to_the_first_syn_that_comes_after_the_second_counts() -> None:
    client = Client()
    client.knows()
    peer = tried(client)
    peer.advance(SECOND)
    assert [s.payload for s in answer(peer, ALL)] == [b""]
    assert client.counters.fast_open_active == 1
    client.now = peer.now
    assert not client.rests()


def test_a_cookie_in_a_late_syn_ack_says_that_the_first_syn_came_through() -> None:
    client = Client()
    client.knows()
    peer = tried(client)
    peer.advance(SECOND)
    answer(peer, 1, b"newer123")
    assert client.cookie() == b"newer123"
    assert client.counters.fast_open_syn_lost == 0
    client.now = peer.now
    assert not client.rests()


def test_a_new_cookie_takes_the_place_of_one_that_expired() -> None:
    client = Client()
    client.knows()
    answer(tried(client), 1, b"newer123")
    assert client.cookie() == b"newer123"
    answer(tried(client), ALL)
    assert client.counters.fast_open_active == 1


def test_a_server_whose_cookies_are_never_right_is_left_alone() -> None:
    # Section 4.1.3.1: "Negative responses include the server not acknowledging the data in the SYN".
    client = Client()
    client.knows()
    for i in range(3):
        assert not client.rests()
        answer(tried(client), 1, b"cookie%02d" % i)
    assert client.rests(59 * SECOND)
    assert not client.rests(61 * SECOND)


def test_a_port_that_takes_no_data_rests_and_others_do_not() -> None:
    # "the client's cache should include remote port numbers, too."
    client = Client()
    client.knows()
    answer(tried(client), 1)
    blank = ScriptedPeer()
    assert client.rests()
    found = client.cache.find(client.now, blank.local, blank.remote, 81)
    assert found is not None
    assert found.cookie == COOKIE


def test_each_failure_in_a_row_doubles_the_rest_and_a_success_ends_it() -> None:
    client = Client()
    client.knows()
    for rest in (60, 120, 240, 480):
        answer(tried(client), 1)
        assert client.rests((rest - 1) * SECOND)
        client.now += (rest + 1) * SECOND
        assert not client.rests()
    answer(tried(client), ALL)
    answer(tried(client), 1)
    assert not client.rests(61 * SECOND)


def test_the_rest_is_at_most_a_day() -> None:
    client = Client()
    client.knows()
    for _ in range(40):
        answer(tried(client), 1)
        assert not client.rests(24 * 3600 * SECOND + 1)
        client.now += 24 * 3600 * SECOND + 1


def test_failures_of_long_ago_count_no_more() -> None:
    client = Client()
    client.knows()
    for _ in range(4):
        answer(tried(client), 1)
        client.now += 481 * SECOND
    client.now += 25 * 3600 * SECOND
    answer(tried(client), 1)
    assert client.rests(59 * SECOND)
    assert not client.rests(61 * SECOND)


def test_no_answer_at_all_is_a_failure() -> None:
    # Section 4.1.3.1: "(most importantly) no response (SYN-ACK) from the server at all".
    client = Client()
    client.knows()
    peer = tried(client)
    while peer.state != "CLOSED":
        peer.next_timer()
    assert (peer.state, peer.conn.error) == ("CLOSED", errno.ETIMEDOUT)
    client.now = peer.now
    assert client.rests()


@pytest.mark.parametrize("how", ["reset", "icmp"])
def test_a_refusal_is_a_failure(how: str) -> None:
    client = Client()
    client.knows()
    peer = tried(client)
    if how == "reset":
        peer.segment("R.", seq=0, ack=1)
    else:
        peer.conn.handle_icmp(peer.now, PORT_UNREACHABLE, peer.conn.tcb.iss)
        peer.output()
    assert (peer.state, peer.conn.error) == ("CLOSED", errno.ECONNREFUSED)
    assert peer.events & EVENT_ERROR
    assert client.rests()


def test_an_icmp_error_about_the_syn_waits_for_the_plain_one() -> None:
    client = Client()
    client.knows()
    peer = tried(client)
    peer.conn.handle_icmp(peer.now, ADMIN_PROHIBITED, peer.conn.tcb.iss)
    assert peer.output() == []
    [again] = peer.advance(SECOND)
    assert (again.fast_open, again.payload) == (None, b"")
    answer(peer, 1)
    client.now = peer.now
    assert client.rests()


def test_a_syn_too_large_for_the_path_is_repeated_at_once_and_no_failure() -> None:
    client = Client()
    client.knows()
    peer = tried(client, bytes(1400))
    assert peer.conn.handle_icmp(peer.now, FRAGMENTATION_NEEDED, peer.conn.tcb.iss)
    peer.conn.set_path_mtu(peer.now, 1000)
    [again] = peer.output()
    assert (flags_of(again), again.fast_open, again.payload) == ("S", None, b"")
    out = answer(peer, 1)
    assert [len(s.payload) for s in out] == [960, 440]
    assert not client.rests()


def test_a_program_that_gives_up_says_nothing_about_the_path() -> None:
    client = Client()
    client.knows()
    peer = tried(client)
    peer.conn.abort(peer.now)
    assert peer.state == "CLOSED"
    assert not client.rests()


def test_a_window_that_is_shut_holds_the_rest_back() -> None:
    client = Client()
    client.knows()
    peer = tried(client)
    peer.wnd = 0
    assert [s.payload for s in answer(peer, 1)] == [b""]
    out = peer.segment(".", ack=1, wnd=100)
    assert [(s.seq, s.payload) for s in out] == [(1, REQUEST)]


# The black hole


def silent_after(client: Client) -> ScriptedPeer:
    """The SYN's data was taken, and then nothing more arrives."""
    client.knows()
    peer = tried(client)
    answer(peer, ALL)
    peer.send(b"more")
    for _ in range(8):
        peer.next_timer()
    client.now = peer.now
    return peer


def test_a_path_that_falls_silent_behind_the_syn_rests() -> None:
    client = Client()
    silent_after(client)
    assert client.rests()


def test_a_path_that_falls_silent_later_does_not() -> None:
    client = Client()
    client.knows()
    peer = tried(client)
    answer(peer, ALL)
    peer.segment("P.", seq=1, ack=ALL, data=b"200 OK")
    peer.send(b"more")
    for _ in range(8):
        peer.next_timer()
    client.now = peer.now
    assert not client.rests()


def test_nor_does_one_that_carried_more_than_the_syn() -> None:
    # A program that only sends hears no data, but acknowledgements.
    client = Client()
    client.knows()
    peer = tried(client)
    answer(peer, ALL)
    peer.send(b"more")
    peer.segment(".", ack=ALL + 4)
    peer.send(b"and more")
    for _ in range(8):
        peer.next_timer()
    client.now = peer.now
    assert not client.rests()


def fail_towards(cache: FastOpenCache, now: int, last: int) -> None:
    cache.failed(now, b"\x0a\0\0\1", bytes([10, 0, 0, last]), 80, True)


def usable(cache: FastOpenCache, now: int) -> bool:
    return cache.find(now, b"\x0a\0\0\1", b"\x0a\0\0\xff", 443) is not None


def test_failures_towards_several_destinations_silence_the_host_longer_each_time() -> None:
    # Section 4.1.3.1 has it for a path; a firewall near the client is on all of them.
    counters = TcpCounters()
    cache = FastOpenCache(counters, 16, 3600 * SECOND)
    now = SECOND
    for round_, hours in enumerate((1, 2, 4, 8, 16, 32, 64, 64)):
        fail_towards(cache, now, 2)
        fail_towards(cache, now, 2)
        fail_towards(cache, now, 3)
        assert usable(cache, now)
        fail_towards(cache, now, 4)
        assert counters.fast_open_blackhole == round_ + 1
        assert not usable(cache, now + hours * 3600 * SECOND - 1)
        now += hours * 3600 * SECOND
        assert usable(cache, now)
    cache.worked(b"\x0a\0\0\1", b"\x0a\0\0\2", 80)
    for last in (2, 3, 4):
        fail_towards(cache, now, last)
    assert usable(cache, now + 3600 * SECOND)


def test_a_success_between_says_that_it_is_not_the_host() -> None:
    cache = FastOpenCache(TcpCounters(), 16, 3600 * SECOND)
    for last in (2, 3, 4, 5, 6):
        fail_towards(cache, SECOND, last)
        cache.worked(b"\x0a\0\0\1", b"\x0a\0\0\xee", 80)
    assert usable(cache, SECOND)
    # And it can be switched off.
    cache = FastOpenCache(TcpCounters(), 16, 0)
    for last in (2, 3, 4, 5, 6):
        fail_towards(cache, SECOND, last)
    assert usable(cache, SECOND)


# Closing early, both opening at once


def test_a_program_may_write_and_close_before_there_is_an_answer() -> None:
    for ack, first in ((ALL, b""), (1, REQUEST)):
        client = Client()
        client.knows()
        peer = tried(client)
        peer.conn.release(peer.now)
        assert peer.state == "SYN_SENT"
        with pytest.raises(BrokenPipeError):
            peer.conn.send(peer.now, b"more")
        # What the SYN brought in vain is sent again by itself.
        *data, fin = answer(peer, ack)
        assert (flags_of(fin), b"".join(seg.payload for seg in data)) == ("F.", first)
        peer.segment("F.", seq=1, ack=ALL + 1)
        assert peer.state == "TIME_WAIT"


def test_a_program_that_wrote_nothing_and_closes_leaves_no_trace() -> None:
    client = Client()
    client.knows()
    peer = client.peer()
    peer.open(fast_open=True)
    peer.conn.release(peer.now)
    assert peer.state == "CLOSED"
    assert peer.output() == []
    assert not client.rests()


def test_linger_of_nothing_resets_even_then() -> None:
    client = Client()
    client.knows()
    peer = tried(client, config=TcpConfig(linger=0))
    peer.conn.release(peer.now)
    assert peer.state == "CLOSED"


@pytest.mark.parametrize("ack", [1, ALL])
def test_both_may_open_at_once_with_data(ack: int) -> None:
    # Section 4.2.2: "The protocol remains the same because [RFC793] already supports both data in the SYN and
    # simultaneous open."
    client = Client()
    client.knows()
    peer = tried(client)
    [syn_ack] = peer.segment("S", seq=0, data=b"hello", mss=1460, fast_open=b"other123")
    assert (flags_of(syn_ack), syn_ack.payload, syn_ack.fast_open) == ("S.", b"", None)
    out = peer.segment("S.", seq=0, ack=ack, data=b"hello")
    assert peer.state == "ESTABLISHED"
    assert peer.received == b"hello"
    assert b"".join(s.payload for s in out) == (REQUEST if ack == 1 else b"")
    # The other end is no server: nothing is learnt of it.
    assert client.cookie() == COOKIE
    assert not client.rests()
    assert peer.events & EVENT_CONNECTED


# The memory


def test_the_memory_is_bounded_and_forgets_what_was_used_longest_ago() -> None:
    cache = FastOpenCache(TcpCounters(), 3, 0)
    local = b"\x0a\0\0\1"
    for last in range(3):
        cache.learn(local, bytes([10, 0, 0, last]), COOKIE, False, 1460)
    cache.find(0, local, b"\x0a\0\0\0", 80)
    cache.learn(local, b"\x0a\0\0\x09", COOKIE, False, 1460)
    assert len(cache) == 3
    assert cache.cookie_of(local, b"\x0a\0\0\0") == COOKIE
    assert cache.cookie_of(local, b"\x0a\0\0\1") == b""
    for port in range(1, 100):
        cache.failed(0, local, b"\x0a\0\0\0", port, False)
    assert len(cache._rests) == 3
    cache.clear()
    assert len(cache) == 0
    assert cache.find(0, local, b"\x0a\0\0\0", 99) is not None


def test_cookies_are_by_both_addresses() -> None:
    # Section 4.1.3: "For a multihomed client, the cookies are dependent on the client and server IP addresses."
    cache = FastOpenCache(TcpCounters(), 3, 0)
    cache.learn(b"\x0a\0\0\1", b"\x0a\0\0\2", COOKIE, False, 1460)
    assert cache.cookie_of(b"\x0a\0\0\3", b"\x0a\0\0\2") == b""


def test_a_memory_of_nothing_means_no_fast_open() -> None:
    cache = FastOpenCache(TcpCounters(), 0, 0)
    cache.learn(b"\x0a\0\0\1", b"\x0a\0\0\2", COOKIE, False, 1460)
    cache.failed(0, b"\x0a\0\0\1", b"\x0a\0\0\2", 80, True)
    assert cache.find(0, b"\x0a\0\0\1", b"\x0a\0\0\2", 80) is None
    assert len(cache) == 0
    peer = ScriptedPeer(cache=cache)
    [syn] = peer.open(fast_open=True)
    assert syn.fast_open is None


def test_the_mss_of_the_last_syn_ack_is_remembered() -> None:
    # Section 4.2.2: "If the SYN-ACK has a Fast Open option, an MSS option, or both, update the corresponding cookie and
    # MSS information in the cookie cache."
    client = Client()
    client.knows(mss=0)
    peer = tried(client)
    peer.segment("S.", seq=0, ack=ALL, mss=600)
    peer = client.peer()
    peer.open(fast_open=True)
    [syn] = peer.send(bytes(5000))
    assert len(syn.payload) == 600 - 32


# Without cookies


def test_without_cookies_the_first_connection_has_data_in_its_syn() -> None:
    # RFC 7413 section 7.3: no option, and what the server offers is not kept.
    client = Client()
    peer = client.peer(TcpConfig(fast_open_send_cookieless=True))
    assert peer.open(fast_open=True) == []
    [syn] = peer.send(REQUEST)
    assert (flags_of(syn), syn.fast_open, syn.payload) == ("S", None, REQUEST)
    assert [flags_of(s) for s in answer(peer, ALL, COOKIE)] == ["."]
    assert client.cookie() == b""
    assert client.counters.fast_open_active == 1


@pytest.mark.parametrize(("unknown", "expected"), [(0, 536), (1000, 1000), (65495, 1460)])
def test_the_data_of_a_syn_is_bounded_by_an_mss_that_is_not_known(unknown: int, expected: int) -> None:
    # Section 4.1.3: the default of 536 bytes, or what the program knows better; never more than the path's.
    client = Client()
    peer = client.peer(TcpConfig(fast_open_send_cookieless=True, fast_open_unknown_mss=unknown))
    peer.open(fast_open=True)
    [syn] = peer.send(bytes(5000))
    assert len(syn.payload) + options_length(syn) == expected


def test_the_data_of_a_syn_leaves_the_room_for_options_that_is_asked_for() -> None:
    client = Client()
    client.knows(mss=940)
    peer = tried(client, bytes(5000), TcpConfig(fast_open_option_room=40))
    assert peer.conn.tcb.syn_data == 900


def test_the_mss_of_a_server_without_cookies_is_remembered() -> None:
    client = Client()
    config = TcpConfig(fast_open_send_cookieless=True)
    peer = client.peer(config)
    peer.open(fast_open=True)
    peer.send(REQUEST)
    peer.segment("S.", seq=0, ack=ALL, mss=900, sack_ok=True)
    peer = client.peer(config)
    peer.open(fast_open=True)
    [syn] = peer.send(bytes(5000))
    assert len(syn.payload) + options_length(syn) == 900


def test_a_path_may_be_tried_again_after_a_failure() -> None:
    # Section 4.1.3.1 has it rest after any; `StackConfig.fast_open_failures` may ask for more of them.
    cache = FastOpenCache(TcpCounters(), 16, 0, 2)
    for rests in (False, True):
        cache.failed(0, b"aaaa", b"bbbb", 80, False)
        assert (cache.find(1, b"aaaa", b"bbbb", 80) is None) == rests
    assert cache.find(60 * SECOND, b"aaaa", b"bbbb", 80) is not None
    cache.worked(b"aaaa", b"bbbb", 80)
    cache.failed(0, b"aaaa", b"bbbb", 80, False)
    assert cache.find(1, b"aaaa", b"bbbb", 80) is not None


def test_what_the_answer_leaves_out_is_no_sign_of_congestion_and_heeds_the_window() -> None:
    client = Client()
    client.knows()
    peer = tried(client)
    [again] = answer(peer, 1)
    assert again.payload == REQUEST
    t = peer.conn.tcb
    assert t.congestion == OPEN
    assert t.cc.cwnd == t.cc.initial_window
    assert peer.counters.retransmitted == peer.counters.retransmitted_syn == 1
    # Karn: what acknowledges it is no sample.
    samples = t.rtt.samples
    peer.advance(50 * MILLISECOND)
    peer.segment(".", seq=1, ack=ALL)
    assert (t.rtt.samples, t.scoreboard.is_empty()) == (samples, True)
    # Another connection, whose server has no room yet.
    client = Client()
    client.knows()
    peer = tried(client)
    out = peer.segment("S.", seq=0, ack=1, mss=1460, wnd=0)
    assert [seg.payload for seg in out] == [b""]
    [again] = peer.segment(".", seq=1, ack=1, wnd=1000)
    assert again.payload == REQUEST


def test_the_data_of_a_syn_counts_as_one_segment_with_it() -> None:
    # As in Linux's tcpi_delivered.
    client = Client()
    client.knows()
    peer = tried(client)
    answer(peer, ALL)
    assert peer.conn.info(peer.now)["delivered"] == 1
    peer.send(b"x")
    peer.segment(".", seq=1, ack=ALL + 1)
    assert peer.conn.info(peer.now)["delivered"] == 2
