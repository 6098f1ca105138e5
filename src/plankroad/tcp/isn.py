"""Initial sequence numbers (RFC 6528) and timestamp offsets (RFC 7323 section 5.4) that nobody outside can guess."""

from __future__ import annotations

from hashlib import blake2s
from typing import Final

from plankroad.compat import mypyc_attr
from plankroad.units import MICROSECOND

#: RFC 9293 section 3.4.1: M is a clock that ticks "roughly every 4 microseconds".
ISN_TICK: Final = 4 * MICROSECOND
#: RFC 6528 section 3: "Key lengths of 128 bits should be adequate."
MIN_SECRET: Final = 16


def derive_key(secret: bytes) -> bytes:
    """A key for `keyed_hash` from a secret of any length of at least 16 bytes; ValueError if it is shorter."""
    if len(secret) < MIN_SECRET:
        raise ValueError(f"the secret must have at least {MIN_SECRET} bytes, not {len(secret)}")
    # 32 bytes is as much as BLAKE2s takes for a key.
    return secret if len(secret) <= 32 else blake2s(secret).digest()


def connection_id(local_addr: bytes, local_port: int, remote_addr: bytes, remote_port: int) -> bytes:
    """The four-tuple as bytes, no two the same: both addresses have one length and the ports have two bytes each."""
    return local_addr + remote_addr + (local_port << 16 | remote_port).to_bytes(4, "big")


def keyed_hash(key: bytes, purpose: bytes, data: bytes) -> int:
    """32 pseudorandom bits; `purpose` (up to 8 bytes) keeps the uses of one key apart."""
    return int.from_bytes(blake2s(data, digest_size=4, key=key, person=purpose).digest(), "big")


@mypyc_attr(allow_interpreted_subclasses=True)
class IsnGenerator:
    """ISN = M + F(localip, localport, remoteip, remoteport, secretkey) (RFC 9293 section 3.4.1, SHLD-1, MUST-8)."""

    __slots__ = ("key",)

    def __init__(self, secret: bytes) -> None:
        """`secret`: at least 16 bytes, known to nobody else. ValueError if it is shorter."""
        self.key: bytes = derive_key(secret)

    def isn(self, now: int, local_addr: bytes, local_port: int, remote_addr: bytes, remote_port: int) -> int:
        """The 32-bit initial sequence number for a connection opened at `now` (nanoseconds).

        For one four-tuple it grows by one every 4 microseconds, so that a new incarnation starts above the old one.
        """
        f = keyed_hash(self.key, b"isn", connection_id(local_addr, local_port, remote_addr, remote_port))
        return (now // ISN_TICK + f) & 0xFFFFFFFF

    def ts_offset(self, local_addr: bytes, local_port: int, remote_addr: bytes, remote_port: int) -> int:
        """32 bits to add to the timestamp clock of a connection.

        RFC 7323 section 5.4: "The same function with a different secret key can be used to generate the
        per-connection timestamp offset." It depends on the four-tuple alone, so the timestamps of a new incarnation
        are later than the old one's (RFC 6191).
        """
        return keyed_hash(self.key, b"ts", connection_id(local_addr, local_port, remote_addr, remote_port))
