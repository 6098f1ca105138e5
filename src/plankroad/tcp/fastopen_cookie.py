"""Cookies of a Fast Open server (RFC 7413 section 4.1.2): made from a key, known again, kept nowhere.

    cookie = MAC(key, client address, server address), cut to the length that is configured

The MAC is BLAKE2s, or, where servers of another kind share the address, SipHash as Linux uses it, with 8 octets.

The key changes every `lifetime`, and a cookie of the key before is still good (property 5 of section 4.1.2), so a
cookie lives for one to two lifetimes. A key of the user's own, for several servers behind one address (section 6.3.4),
stays until another is set.
"""

from __future__ import annotations

from hashlib import blake2s
from hmac import compare_digest
from typing import Final

from plankroad.tcp.isn import derive_key
from plankroad.tcp.siphash import siphash

# What a cookie is.
COOKIE_NONE: Final = -1  #: there is none, or nobody looks at it
COOKIE_BAD: Final = 0
COOKIE_GOOD: Final = 1
#: Good, and made with the key before: whoever brought it needs a new one.
COOKIE_OLD: Final = 2

# What cookies are made with, `StackConfig.fast_open_mac`.
MAC_BLAKE2: Final = "blake2s"
MAC_SIPHASH: Final = "siphash"

#: Octets of a cookie by SipHash.
_SIPHASH_COOKIE: Final = 8

#: RFC 7413 section 4.1.1: "Cookie: 0, or 4 to 16 bytes"; "The number MUST be even."
MIN_COOKIE: Final = 4
MAX_COOKIE: Final = 16


class FastOpenKeys:
    """GetCookie and IsCookieValid of RFC 7413 section 4.1.2. One a host."""

    __slots__ = ("_epoch", "_key", "_old_key", "_secret", "lifetime", "mac")

    def __init__(self, secret: bytes, lifetime: int, mac: str = MAC_BLAKE2) -> None:
        """`secret`: at least 16 bytes, from which all keys come; `lifetime`: nanoseconds a key makes cookies, 0 = for
        ever; `mac`: MAC_BLAKE2 or MAC_SIPHASH. ValueError if the secret is shorter.
        """
        self.mac: str = mac
        self._secret: bytes = derive_key(secret)
        self.lifetime: int = lifetime
        self._epoch: int = -1  # of _key; -2: the keys are the user's
        self._key: bytes = b""
        self._old_key: bytes = b""

    def set_key(self, key: bytes, previous: bytes = b"") -> None:
        """Make cookies with `key` from now on; those made with `previous` are good too. No more change by themselves.

        Both of at least 16 bytes (`previous` may be empty), for SipHash of 16; ValueError if one is not.
        """
        if self.mac == MAC_SIPHASH:
            # It is the other servers' key too, and stays as it is.
            if len(key) != 16 or len(previous) not in (0, 16):
                raise ValueError("a key for SipHash cookies must be of 16 bytes")
            self._old_key = previous
            self._key = key
        else:
            fresh = derive_key(key)
            self._old_key = derive_key(previous) if previous else b""
            self._key = fresh
        self._epoch = -2

    def cookie(self, now: int, client: bytes, server: bytes, length: int) -> bytes:
        """The cookie for a client's address at a server's, `length` bytes (even, 4 to 16; SipHash has 8)."""
        self._rotate(now)
        return self._make(self._key, client, server, length)

    def check(self, now: int, client: bytes, server: bytes, cookie: bytes) -> int:
        """COOKIE_GOOD, COOKIE_OLD or COOKIE_BAD."""
        length = len(cookie)
        if length < MIN_COOKIE or length > MAX_COOKIE or length & 1:
            return COOKIE_BAD
        if self.mac == MAC_SIPHASH and length != _SIPHASH_COOKIE:
            return COOKIE_BAD
        self._rotate(now)
        # The time must not tell how much of a guess was right.
        if compare_digest(cookie, self._make(self._key, client, server, length)):
            return COOKIE_GOOD
        if self._old_key and compare_digest(cookie, self._make(self._old_key, client, server, length)):
            return COOKIE_OLD
        return COOKIE_BAD

    def _rotate(self, now: int) -> None:
        if self._epoch == -2:
            return
        epoch = now // self.lifetime if self.lifetime else 0
        if epoch != self._epoch:
            self._epoch = epoch
            self._key = self._key_of(epoch)
            self._old_key = self._key_of(epoch - 1) if epoch > 0 else b""

    def _key_of(self, epoch: int) -> bytes:
        size = 16 if self.mac == MAC_SIPHASH else 32
        return blake2s(epoch.to_bytes(8, "big"), digest_size=size, key=self._secret, person=b"tfo key").digest()

    def _make(self, key: bytes, client: bytes, server: bytes, length: int) -> bytes:
        if self.mac == MAC_SIPHASH:
            return siphash(key, client + server)
        return _mac(key, client, server, length)


def _mac(key: bytes, client: bytes, server: bytes, length: int) -> bytes:
    # Both addresses are of one family, so no two pairs make the same octets.
    return blake2s(client + server, digest_size=length, key=key, person=b"tfo").digest()
