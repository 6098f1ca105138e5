"""Token buckets for ICMP errors and other answers that a stranger can provoke.

RFC 4443 section 2.4 (f): an IPv6 node MUST limit the rate of the error messages it originates, a token bucket is
recommended; RFC 1812 section 4.3.2.8: routers SHOULD.
"""

from __future__ import annotations

from collections import OrderedDict
from random import Random

from plankroad.units import SECOND


class TokenBucket:
    """`rate` tokens a second, at most `burst` at a time; full at first.

    Kept as the time at which the bucket would be full again, so that an idle bucket needs no care.
    """

    __slots__ = ("burst", "full_at", "interval", "rate")

    def __init__(self, rate: int, burst: int) -> None:
        if rate < 0 or burst < 0:
            raise ValueError("rate and burst are 0 or more")
        self.rate = rate
        self.burst = burst
        #: Nanoseconds a token.
        self.interval: int = SECOND // rate if rate else 0
        self.full_at: int = 0

    def available(self, now: int) -> int:
        """Whole tokens in the bucket."""
        if self.rate == 0 or self.full_at <= now:
            return self.burst
        missing = (self.full_at - now + self.interval - 1) // self.interval
        return self.burst - missing if missing < self.burst else 0

    def take(self, now: int, count: int = 1) -> bool:
        """Take tokens if there are as many. A rate of 0 means no limit."""
        if self.rate == 0:
            return True
        if self.available(now) < count:
            return False
        start = self.full_at if self.full_at > now else now
        self.full_at = start + count * self.interval
        return True


class IcmpRateLimiter:
    """Whether an ICMP error may be sent now: a bucket for each destination, and one for all.

    `rate`, `burst`: all errors together, messages a second and at once. `peer_rate`, `peer_burst`: to one
    destination. A rate of 0 is no limit. `peers`: destinations remembered; the one asked for longest ago is
    forgotten first (its bucket was most likely full again).

    The bucket for all sometimes costs up to two tokens more, at random: its exact count would let a stranger
    count the errors sent to others, and so find a UDP client's port (CVE-2020-25705).
    """

    __slots__ = ("all", "buckets", "peer_burst", "peer_rate", "peers", "rng")

    def __init__(
        self,
        rng: Random,
        rate: int = 1000,
        burst: int = 50,
        peer_rate: int = 10,
        peer_burst: int = 6,
        peers: int = 1024,
    ) -> None:
        if peers < 1:
            raise ValueError("the limiter remembers 1 destination or more")
        if (rate and burst < 1) or (peer_rate and peer_burst < 1):
            raise ValueError("a burst of 0 would let nothing through")
        self.rng = rng
        self.all = TokenBucket(rate, burst)
        self.peer_rate = peer_rate
        self.peer_burst = peer_burst
        self.peers = peers
        self.buckets: OrderedDict[bytes, TokenBucket] = OrderedDict()

    def allow(self, now: int, dst: bytes) -> bool:
        """Whether an error to `dst` may be sent; if so it is counted."""
        # One destination's flood must not use up what the others may be sent, so its own bucket is asked first.
        if self.peer_rate:
            bucket = self.buckets.get(dst)
            if bucket is None:
                bucket = TokenBucket(self.peer_rate, self.peer_burst)
                if len(self.buckets) >= self.peers:
                    self.buckets.popitem(last=False)
                self.buckets[dst] = bucket
            else:
                self.buckets.move_to_end(dst)
            if bucket.available(now) < 1:
                return False
            if not self.take_from_all(now):
                return False
            return bucket.take(now)
        return self.take_from_all(now)

    def take_from_all(self, now: int) -> bool:
        """One token from the bucket for all, and by chance up to two more if it has them."""
        if not self.all.take(now):
            return False
        extra = self.rng.randrange(3)
        if extra and self.all.available(now) > extra:
            self.all.take(now, extra)
        return True
