"""What a Fast Open client remembers of servers (RFC 7413 section 4.1.3): cookies, and where not to try again yet."""

from __future__ import annotations

from typing import Final

from plankroad.tcp.counters import TcpCounters
from plankroad.units import SECOND

#: How long Fast Open rests on a path after its first failure; each further one in a row doubles it.
REST_FIRST: Final = 60 * SECOND
#: At most this long.
REST_MOST: Final = 24 * 3600 * SECOND

#: So many different destinations in a row that answered a SYN only once it was a plain one, or nothing any more behind
#: it, and the fault is near us.
BLACKHOLE_PATHS: Final = 3
#: How often the rest of the whole host doubles at most.
_BLACKHOLE_DOUBLINGS: Final = 6

#: A server whose cookies are never the right ones next time (it sees us under changing addresses, say): after so many
#: SYNs in a row whose data it left out, each answered with another cookie, that is a failure too.
REJECTIONS: Final = 3


class FastOpenCookie:
    """A cookie to send, in which form, and with how much data.

    `cookie`: empty to ask for one. `mss`: the server's, 0 = not known. `exp`: the experimental form of the option.
    `rejected`: SYNs in a row with a cookie of this server whose data it did not take. `bare`: data goes without any
    option (section 7.3).
    """

    __slots__ = ("bare", "cookie", "exp", "mss", "rejected")

    def __init__(self, cookie: bytes, exp: bool, mss: int) -> None:
        self.cookie: bytes = cookie
        self.exp: bool = exp
        self.mss: int = mss
        self.rejected: int = 0
        self.bare: bool = False


class _Rest:
    """A path on which Fast Open failed `count` times in a row, and until when it is not tried there.

    `exp`: ask in the experimental form next time, for the registered one was not answered.
    """

    __slots__ = ("count", "exp", "until")

    def __init__(self) -> None:
        self.count: int = 0
        self.until: int = 0
        self.exp: bool = False


class FastOpenCache:
    """One a host. Cookies are by client and server address; failures by these and the server's port, since a cookie
    is good for all ports of a server while each has Fast Open or not (section 4.1.3.1).

    Bounded: of each kind `limit` are kept, those used last. 0: there is no Fast Open. `blackhole`: nanoseconds that the
    whole host rests after failures towards several destinations in a row, doubled each time; 0: it never does.
    `failures`: so many in a row make a path rest.
    """

    __slots__ = (
        "_cookies",
        "_failed",
        "_rests",
        "blackhole",
        "blackhole_count",
        "blackhole_until",
        "counters",
        "failures",
        "limit",
    )

    def __init__(self, counters: TcpCounters, limit: int, blackhole: int, failures: int = 1) -> None:
        self.failures: int = failures
        self.counters: TcpCounters = counters
        self.limit: int = limit
        self.blackhole: int = blackhole
        self.blackhole_until: int = 0
        self.blackhole_count: int = 0
        self._cookies: dict[tuple[bytes, bytes], FastOpenCookie] = {}
        self._rests: dict[tuple[bytes, bytes, int], _Rest] = {}
        self._failed: list[bytes] = []  # destinations that failed since anything worked

    def __len__(self) -> int:
        return len(self._cookies)

    def clear(self) -> None:
        """Forget everything."""
        self._cookies.clear()
        self._rests.clear()
        self._failed.clear()
        self.blackhole_until = 0
        self.blackhole_count = 0

    def cookie_of(self, local: bytes, remote: bytes) -> bytes:
        """The cookie that is kept for this pair of addresses, b"" where there is none."""
        found = self._cookies.get((local, remote))
        return b"" if found is None else found.cookie

    def known(self) -> list[tuple[bytes, bytes, FastOpenCookie]]:
        """Local address, remote address and what is kept of it, the one used last at the end."""
        return [(key[0], key[1], entry) for key, entry in self._cookies.items()]

    def find(self, now: int, local: bytes, remote: bytes, port: int) -> FastOpenCookie | None:
        """What the next SYN to this port should carry; None: nothing, Fast Open rests here."""
        if self.limit <= 0 or now < self.blackhole_until:
            return None
        rest = self._rests.get((local, remote, port))
        if rest is not None and now < rest.until:
            return None
        key = (local, remote)
        found = self._cookies.pop(key, None)
        if found is not None:
            # The one used last is the last to be forgotten.
            self._cookies[key] = found
            return found
        return FastOpenCookie(b"", rest is not None and rest.exp, 0)

    def learn(self, local: bytes, remote: bytes, cookie: bytes, exp: bool, mss: int) -> None:
        """A SYN-ACK brought a cookie: "the client should cache at most one (most recently received) cookie per client
        and server IP address pair"; `mss` as it named it, or 0.
        """
        if self.limit <= 0:
            return
        key = (local, remote)
        old = self._cookies.pop(key, None)
        entry = FastOpenCookie(cookie, exp, mss)
        if old is not None:
            entry.rejected = old.rejected
        elif len(self._cookies) >= self.limit:
            del self._cookies[next(iter(self._cookies))]
        self._cookies[key] = entry

    def learn_mss(self, local: bytes, remote: bytes, mss: int) -> None:
        """A SYN-ACK told an MSS."""
        found = self._cookies.get((local, remote))
        if found is not None:
            found.mss = mss

    def learn_bare(self, local: bytes, remote: bytes, mss: int) -> None:
        """`learn_mss` where no cookie was asked for, nor is one kept."""
        if mss and (local, remote) not in self._cookies:
            self.learn(local, remote, b"", False, mss)
        elif mss:
            self.learn_mss(local, remote, mss)

    def worked(self, local: bytes, remote: bytes, port: int) -> None:
        """The SYN with the option came through and was answered as it should be."""
        self._rests.pop((local, remote, port), None)
        self._failed.clear()
        self.blackhole_count = 0
        found = self._cookies.get((local, remote))
        if found is not None:
            found.rejected = 0

    def rejected(self, now: int, local: bytes, remote: bytes, port: int, renewed: bool) -> None:
        """A SYN-ACK did not acknowledge the data of the SYN; `renewed`: it brought a cookie in place of the old one."""
        found = self._cookies.get((local, remote))
        if found is not None:
            found.rejected += 1
            if renewed and found.rejected < REJECTIONS:
                return
        self.failed(now, local, remote, port, False)

    def failed(self, now: int, local: bytes, remote: bytes, port: int, lost: bool) -> None:
        """Section 4.1.3.1: "For any negative responses, the client SHOULD disable Fast Open on the specific path ... at
        least temporarily." `lost`: there was no response, as from a middlebox that drops such SYNs.
        """
        if self.limit <= 0:
            return
        key = (local, remote, port)
        rest = self._rests.pop(key, None)
        if rest is None:
            rest = _Rest()
            if len(self._rests) >= self.limit:
                del self._rests[next(iter(self._rests))]
        elif now > rest.until + REST_MOST:
            # That was long ago.
            rest.count = 0
        self._rests[key] = rest
        rest.count += 1
        rest.until = now
        if rest.count >= self.failures:
            rest.until = now + min(REST_FIRST << min(rest.count - self.failures, 20), REST_MOST)
        if lost:
            self._lost(now, remote)

    def unanswered(self, now: int, local: bytes, remote: bytes, port: int, exp: bool) -> None:
        """A request for a cookie was answered without one: the server has none to give, or knows the other form only.

        Section 4.2.1: "only attempt another cookie request after a certain period".
        """
        self.failed(now, local, remote, port, False)
        rest = self._rests.get((local, remote, port))
        if rest is not None:
            rest.exp = not exp

    def _lost(self, now: int, remote: bytes) -> None:
        """Is it us? A firewall near this host fails towards everybody."""
        if remote not in self._failed:
            self._failed.append(remote)
        if self.blackhole and len(self._failed) >= BLACKHOLE_PATHS:
            self._failed.clear()
            self.blackhole_until = now + (self.blackhole << min(self.blackhole_count, _BLACKHOLE_DOUBLINGS))
            self.blackhole_count += 1
            self.counters.fast_open_blackhole += 1
