"""Packetization layer path MTU discovery: RFC 4821, and RFC 8899's state machine as far as it applies to TCP.

Classical discovery (RFC 1191, RFC 8201) needs ICMP messages that many paths do not deliver: packets above some size
vanish without a word, a black hole. So the sender finds out by itself what arrives. A probe is one packet of new data
larger than the others; when it is acknowledged, segments become as large, when it alone is lost, the path is narrower.

    DISABLED    classical discovery only; timeouts are watched
    SEARCHING   packets of the effective size arrive (they are the BASE phase's proof); larger ones are tried
    COMPLETE    nothing worth while is left to try; in ten minutes the search begins again, upwards

Timeouts in a row that hit large segments only bring the size down to the base, in every state (RFC 4821 section 7.7,
RFC 8899 section 4.3). Sizes here are those of IP packets, as search_low, search_high and eff_pmtu of RFC 4821 section
7.1; search_low always equals eff_pmtu, which is `path_mss` and the headers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from plankroad.tcp.config import MTU_PROBING_ON
from plankroad.tcp.constants import DUP_THRESH, HEADER_LEN, OPEN, TIMESTAMP_LEN
from plankroad.units import NEVER, SECOND

if TYPE_CHECKING:
    from plankroad.tcp.tcb import Tcb

# Plpmtud.state
DISABLED: Final = 0
SEARCHING: Final = 1
COMPLETE: Final = 2

# How a path MTU became known, `searched` below and in the cache.
TOLD: Final = 0  #: by an interface, a route or ICMP
SEARCH_OPEN: Final = 1  #: found by probing; larger ones are not tried out
SEARCH_DONE: Final = 2  #: found by probing, and larger ones do not arrive

#: RFC 8899 section 5.1.2, MAX_PROBES: losses of a size, by themselves, after which it counts as too large.
MAX_PROBES: Final = 3

#: RFC 4821 section 7.3: when probing has converged, "a timer SHOULD be set ... recommended to be 10 minutes".
RAISE_TIMER: Final = 600 * SECOND

#: Timeouts in a row that say "black hole" where no large segment is known to have arrived meanwhile. See
#: docs/deviations.md; with news of one the RFC's R1 (`TcpConfig.r1`) counts.
BLACK_HOLE_TIMEOUTS: Final = 2

#: RFC 8200 section 5; below this a packet of IPv4 would be all header. RFC 4821 section 7.7 would go down to 68.
LEAST_IPV6: Final = 1280
LEAST_IPV4: Final = 512

#: Segments that must follow a probe, so that its loss shows by theirs having arrived (RFC 4821 section 7.4).
_FOLLOWING: Final = DUP_THRESH

#: RFC 4821 section 7.6.2 spaces failures as losses would be: by as many round trips as there are packets in cwnd. On
#: long fast paths CUBIC comes back from a loss sooner than that, within about as much time.
_LONGEST_PAUSE: Final = 30 * SECOND

#: RFC 4821 section 7.3: "it may be appropriate to probe at certain common or expected MTU sizes". Tunnels of several
#: kinds, PPPoE, Ethernet, FDDI, jumbo frames, and RFC 1191's plateaus above.
COMMON_SIZES: Final[list[int]] = [
    576,
    1006,
    1280,
    1400,
    1420,
    1454,
    1476,
    1480,
    1492,
    1500,
    2002,
    4352,
    8166,
    9000,
    17914,
    32000,
    65535,
]


class Plpmtud:
    """The search of one connection. Bytes of IP packets; absolute sequence numbers; ns.

    `base`: the size that arrives nearly everywhere. `link_mtu`: what the first hop carries. `high`: search_high, the
    greatest size that may arrive. `told`: what ICMP and the first hop say.
    `top`: `high` is tried first, without halving. `failures`: losses of the size that is
    being tried. `size`: of the last probe, octets [`start`, `end`), `end` -1 when none is in flight. `answered`: ICMP
    has said already that it is too large. `suspect`: a black hole was inferred and not yet proved. `reduced_at`: how
    many timeouts in a row there were when the size was last taken down. `shared`: the size that other connections know
    of, 0 none. `ssthresh`, `cwnd`: before the timeouts. `suspended`: routers may cut our packets up, and a probe proves
    nothing.
    """

    __slots__ = (
        "answered",
        "base",
        "cwnd",
        "end",
        "failures",
        "high",
        "link_mtu",
        "reduced_at",
        "shared",
        "size",
        "ssthresh",
        "start",
        "state",
        "suspect",
        "suspended",
        "told",
        "top",
    )

    def __init__(self, base: int, link_mtu: int, told: int) -> None:
        self.state: int = DISABLED
        self.base: int = base
        self.link_mtu: int = link_mtu
        self.high: int = link_mtu
        self.told: int = told
        self.top: bool = True
        self.failures: int = 0
        self.size: int = 0
        self.start: int = 0
        self.end: int = -1
        self.answered: bool = False
        self.suspect: bool = False
        self.reduced_at: int = 0
        self.ssthresh: int = 0
        self.cwnd: int = 0
        self.shared: int = 0
        self.suspended: bool = False


def begin(t: Tcb, path_mtu: int, link_mtu: int) -> Plpmtud:
    """The state of a new connection."""
    ipv6 = len(t.local_addr) == 16
    p = Plpmtud(max(t.config.mtu_base, LEAST_IPV6) if ipv6 else t.config.mtu_base, link_mtu, path_mtu)
    if t.config.mtu_probing == MTU_PROBING_ON:
        # Section 7.2: "using a small initial eff_pmtu will avoid the costly timeouts required for black hole
        # detection".
        p.state = SEARCHING
        p.high = path_mtu
        t.path_mss = min(path_mtu, p.base) - header_length(t)
        t.mtu_probe_at = 0
    return p


def header_length(t: Tcb) -> int:
    """IP and TCP header without options."""
    return (20 if len(t.local_addr) == 4 else 40) + HEADER_LEN


def effective_mtu(t: Tcb) -> int:
    """eff_pmtu: what ordinary packets keep to. The peer's MSS may make them smaller still."""
    return t.path_mss + header_length(t)


def _payload(t: Tcb, size: int) -> int:
    """Octets of data in a packet of `size` bytes."""
    return size - header_length(t) - (TIMESTAMP_LEN if t.ts_ok else 0)


def _limit(t: Tcb, p: Plpmtud) -> int:
    """RFC 4821 section 7.2: the largest packet that the flow could send at all."""
    mss = t.peer_mss
    if t.config.max_segment:
        mss = min(mss, t.config.max_segment)
    return min(p.link_mtu, mss + header_length(t))


def _next_size(t: Tcb, p: Plpmtud) -> int:
    """The size to try next, 0 where the range is too small to be worth a probe."""
    low = effective_mtu(t)
    high = min(p.high, _limit(t, p))
    if high - low < max(8, low >> 6):
        return 0
    if p.top:
        return high
    middle = (low + high + 1) >> 1
    best = middle
    nearest = (high - low) >> 2
    for size in COMMON_SIZES:
        distance = size - middle if size > middle else middle - size
        if low < size <= high and distance <= nearest:
            best = size
            nearest = distance
    return best


def _pause(t: Tcb) -> int:
    """Until the next probe, after one that failed (RFC 4821 section 7.6.2)."""
    return min(max(1, t.cc.cwnd // t.snd_mss) * max(t.rtt.srtt, 1), _LONGEST_PAUSE)


def _event(t: Tcb, now: int, what: str, size: int) -> None:
    if t.log is not None:
        t.log.event(
            now, t.name(), "path mtu", {"what": what, "size": size, "mtu": effective_mtu(t), "mss": t.snd_mss}
        )


# --- probing ----------------------------------------------------------------------------------------------------------


def probe_length(t: Tcb, now: int, available: int, usable: int, room: int) -> int:
    """Octets of new data that go out as a probe now: 0 for none, -1 for one that waits for more room in cwnd.

    Asked when `mtu_probe_at` has passed, nothing is lost or held out of order at the peer, and new data may be sent.
    `available`: octets to send, `usable`: that the peer's window takes, `room`: that cwnd takes.
    """
    p = t.plpmtud
    if p is None or p.end >= 0 or p.suspended or p.state == DISABLED:
        t.mtu_probe_at = NEVER
        return 0
    board = t.scoreboard
    if board.lost or board.sacked:
        return 0
    if p.state == COMPLETE:
        # "When the timer expires, search_high should be reset to its initial value" (section 7.3).
        p.state = SEARCHING
        p.high = _limit(t, p)
        p.top = True
        p.failures = 0
    size = _next_size(t, p)
    if size == 0:
        _complete(t, now, p)
        return 0
    length = _payload(t, size)
    # RFC 4821 section 7.4: "the sender SHOULD have enough data queued and sufficient receiver window to send the probe
    # plus at least Tcprexmtthresh additional segments."
    needed = length + _FOLLOWING * t.snd_mss
    if available < needed or usable < needed or t.cc.cwnd < needed:
        return 0
    if room < length:
        # "MAY delay sending non-probes": what is in flight will make room, and smaller segments would use it up.
        return -1
    p.size = size
    return length


def repair_length(t: Tcb, lost: int, room: int) -> int:
    """After what looked like a black hole: octets of the `lost` next ones that go out again in a packet of the old
    size, 0 for none. It was an outage if that arrives, and the proof of the contrary costs one packet.

    RFC 8899 section 4.1 allows probes with data that is to be sent anyway; what follows tells of its loss.
    """
    p = t.plpmtud
    if p is None or not p.suspect or p.end >= 0 or p.suspended or not t.sack_ok:
        return 0
    size = _next_size(t, p)
    if size == 0:
        return 0
    length = _payload(t, size)
    if lost < length or room < length + 2 * t.snd_mss:
        return 0
    p.size = size
    return length


def on_probe_sent(t: Tcb, now: int, start: int, end: int) -> None:
    """The probe of `probe_length` has left as [start, end)."""
    p = t.plpmtud
    if p is None:
        return
    p.start = start
    p.end = end
    p.answered = False
    t.mtu_probe_at = NEVER
    t.mtu_watch = end
    t.counters.mtu_probes_sent += 1
    _event(t, now, "probe", p.size)


def on_acked(t: Tcb, now: int) -> None:
    """SND.UNA has reached `mtu_watch`: the probe arrived, or all that was in flight when a black hole was found."""
    t.mtu_watch = NEVER
    p = t.plpmtud
    if p is None:
        return
    if 0 <= p.end <= t.snd_una:
        p.end = -1
        p.failures = 0
        p.suspect = False
        t.counters.mtu_probes_succeeded += 1
        # RFC 4821 section 7.6.1: "Set search_low to the probe size. If the probe size is larger than the eff_pmtu,
        # raise eff_pmtu to the probe size."
        if p.size > effective_mtu(t):
            t.path_mss = p.size - header_length(t)
            t.update_mss()
        _event(t, now, "larger", p.size)
        _go_on(t, now, p, now)
    elif p.suspect:
        if t.scoreboard.is_empty():
            # Smaller packets arrive. Whether larger ones do nobody will know from this connection soon: it has nothing
            # to probe with.
            _share(t, p)
        else:
            t.mtu_watch = t.snd_nxt


def only_probe_lost(t: Tcb, now: int) -> bool:
    """Losses were found: is the probe among them? Returns whether it is all that is lost, before and behind it.

    RFC 4821 section 7.6.2: "In this case alone, the loss SHOULD NOT be interpreted as congestion signal."
    """
    p = t.plpmtud
    if p is None or p.end < 0:
        return False
    among = False
    # One that repairs what a timeout left is sent when nothing else is in flight.
    alone = t.congestion == OPEN or p.suspect
    for sent in t.scoreboard.fresh_losses:
        if p.start <= sent.start and sent.end <= p.end:
            among = True
        else:
            alone = False
    if not among:
        return False
    _on_probe_lost(t, now, alone)
    return alone


def _on_probe_lost(t: Tcb, now: int, alone: bool) -> None:
    """The probe in flight is lost; `alone`: nothing else is."""
    p = t.plpmtud
    if p is None:
        return
    p.end = -1
    t.mtu_watch = NEVER
    if not alone:
        # Section 7.6.4: "the state variables eff_pmtu, search_low, and search_high SHOULD NOT be updated, and the
        # same-sized probe SHOULD be attempted again as soon as the probing preconditions are met".
        t.mtu_probe_at = now
        if p.suspect:
            t.mtu_watch = t.snd_nxt
        return
    _failed(t, now, p, now + _pause(t))


def _failed(t: Tcb, now: int, p: Plpmtud, again: int) -> None:
    t.counters.mtu_probes_failed += 1
    if p.answered:
        # ICMP gave the size that is next, and no loss was needed to know.
        again = now + t.rtt.srtt
    else:
        p.failures += 1
        if p.failures >= MAX_PROBES:
            # Section 7.6.2: "set search_high to the probe size minus one".
            p.high = p.size - 1
            p.failures = 0
            p.top = False
    _event(t, now, "too large", p.size)
    if p.suspect and p.failures == 0:
        # It was a black hole. RFC 1191 section 6.5: what is resent because of its size is no sign of congestion. The
        # threshold of before the timeouts comes back; the window does not: slow start leads up to it.
        p.suspect = False
        t.cc.ssthresh = max(t.cc.ssthresh, p.ssthresh)
        _share(t, p)
    _go_on(t, now, p, again)


def _go_on(t: Tcb, now: int, p: Plpmtud, again: int) -> None:
    if _next_size(t, p) == 0:
        _complete(t, now, p)
    else:
        t.mtu_probe_at = again


def _complete(t: Tcb, now: int, p: Plpmtud) -> None:
    """The search has converged."""
    p.state = COMPLETE
    p.suspect = False
    t.mtu_probe_at = now + RAISE_TIMER
    found = effective_mtu(t)
    if found >= min(p.told, _limit(t, p)) and t.config.mtu_probing != MTU_PROBING_ON:
        # All that the flow can send arrives: it was a false alarm, or the path has healed.
        p.state = DISABLED
        t.mtu_probe_at = NEVER
        t.path_mss = p.told - header_length(t)
    if found < _limit(t, p) or (p.shared and p.shared != found):
        _share(t, p)
    _event(t, now, "found", found)


def _share(t: Tcb, p: Plpmtud) -> None:
    """Other connections to the same destination are to know of the size in force; the stack tells them."""
    p.shared = effective_mtu(t)
    t.mtu_found = p.shared


# --- black holes ------------------------------------------------------------------------------------------------------


def on_timeout(t: Tcb, now: int) -> bool:
    """The retransmission timer expired, for the `retries`th time in a row, and congestion control has heard of it.

    True: this looks like a black hole. Segments are smaller now, and all that is outstanding is to be sent again.
    """
    p = t.plpmtud
    if p is None:
        return False
    first = t.scoreboard.first()
    if p.end >= 0:
        # Section 7.6.3: "A time interval that is five times the non-timeout failure case is RECOMMENDED."
        leads = first is not None and first.start == p.start
        p.end = -1
        t.mtu_watch = t.snd_nxt if p.suspect else NEVER
        again = now + 5 * max(_pause(t), t.rtt.rto())
        if leads:
            _failed(t, now, p, again)
        else:
            t.mtu_probe_at = again
    if p.suspended or first is None:
        return False
    if t.retries <= p.reduced_at:
        p.reduced_at = 0
    current = min(effective_mtu(t), _limit(t, p))
    smaller = _smaller(t, p, current)
    length = _payload(t, smaller)
    if smaller >= current or min(first.end - first.start, t.snd_mss) <= length:
        return False
    enough = max(t.config.r1, BLACK_HOLE_TIMEOUTS) if _large_arrived(t, length) else BLACK_HOLE_TIMEOUTS
    if t.retries - p.reduced_at < enough:
        return False
    _reduce(t, now, p, current, smaller)
    return True


def _smaller(t: Tcb, p: Plpmtud, current: int) -> int:
    """RFC 4821 section 7.7: the base; "upon additional successive timeouts ... halved"."""
    if current > p.base:
        return p.base
    return max(LEAST_IPV4, current >> 1) if len(t.local_addr) == 4 else LEAST_IPV6


def _large_arrived(t: Tcb, length: int) -> bool:
    """Does the peer hold, out of order, a segment with more than `length` octets?"""
    board = t.scoreboard
    for i in range(board.head(), len(board.ranges)):
        sent = board.ranges[i]
        if sent.sacked and sent.end - sent.start > length:
            return True
    return False


def _reduce(t: Tcb, now: int, p: Plpmtud, current: int, smaller: int) -> None:
    """A black hole: smaller segments from now on, and then what is larger is tried again."""
    t.counters.mtu_black_holes += 1
    p.reduced_at = t.retries
    p.state = SEARCHING
    if not p.suspect:
        p.high = current
        p.ssthresh = t.cc.prior_ssthresh
        p.cwnd = t.cc.prior_cwnd
    # It may have been an outage: one probe of the old size shows, and it has failed often enough if it fails.
    p.top = True
    p.failures = MAX_PROBES - 1
    p.suspect = True
    t.path_mss = smaller - header_length(t)
    t.update_mss()
    t.mtu_watch = t.snd_nxt
    t.mtu_probe_at = now
    _event(t, now, "black hole", smaller)


def on_spurious(t: Tcb, now: int) -> None:
    """The timeouts were a mistake: what was sent in the old size is arriving, only late."""
    p = t.plpmtud
    if p is None or not p.suspect:
        return
    if p.end >= 0:
        p.end = -1
    t.mtu_watch = NEVER
    t.path_mss = min(p.high, _limit(t, p)) - header_length(t)
    t.update_mss()
    # Smaller segments took the remembered window down with them.
    t.cc.cwnd = max(t.cc.cwnd, p.cwnd)
    t.cc.ssthresh = max(t.cc.ssthresh, p.ssthresh)
    _complete(t, now, p)


# --- news from outside ------------------------------------------------------------------------------------------------


def path_changed(t: Tcb, now: int, mtu: int, link_mtu: int, searched: int) -> None:
    """The host thinks that the path carries `mtu`, and knows it in the way that `searched` says.

    `link_mtu`: what the first hop carries, 0 as before. What is smaller is believed at once; what is larger only where
    classical discovery reigns or where it was proved by probes: else it is the size to try next.
    """
    p = t.plpmtud
    size = header_length(t)
    if p is None:
        t.path_mss = mtu - size
        t.update_mss()
        return
    if link_mtu:
        p.link_mtu = link_mtu
    if searched == TOLD:
        p.told = mtu
    current = effective_mtu(t)
    if p.state != DISABLED:
        if mtu == current:
            return
        if mtu > current and searched == TOLD:
            p.high = mtu
            p.top = True
            p.failures = 0
            p.state = SEARCHING
            if p.end >= 0:
                p.answered = p.size > mtu
            else:
                t.mtu_probe_at = now
            return
    elif searched == TOLD:
        t.path_mss = mtu - size
        t.update_mss()
        return
    t.path_mss = mtu - size
    t.update_mss()
    if searched != TOLD:
        p.shared = mtu
    if p.end >= 0:
        p.end = -1
        t.mtu_watch = NEVER
    p.suspect = False
    if searched == SEARCH_OPEN:
        p.state = SEARCHING
        p.high = p.link_mtu
        p.top = True
        p.failures = MAX_PROBES - 1
        t.mtu_probe_at = now
    else:
        p.state = COMPLETE
        t.mtu_probe_at = now + RAISE_TIMER


def on_packet_too_big(t: Tcb, mtu: int) -> None:
    """A credible ICMP message names `mtu`. RFC 8899 section 4.6.2, PLPMTU < PL_PTB_SIZE < PROBED_SIZE: "The PL can use
    the reported PL_PTB_SIZE from the PTB message as the next search point". Smaller ones come by `path_changed`."""
    p = t.plpmtud
    if p is not None and p.end >= 0 and effective_mtu(t) < mtu < p.size:
        p.high = mtu
        p.top = True
        p.failures = 0
        p.answered = True


def suspend(t: Tcb, now: int, on: bool) -> None:
    """Routers may (not) cut up our packets from now on."""
    p = t.plpmtud
    if p is None or p.suspended == on:
        return
    p.suspended = on
    if not on and p.state != DISABLED:
        t.mtu_probe_at = now
