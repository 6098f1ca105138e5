"""ping and traceroute: `AsyncStack.ping`, `AsyncStack.traceroute`, and the `Pinger` below them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Final

from plankroad.aio.errors import os_error
from plankroad.stack.ping import ECHO_REPLY, PingReply
from plankroad.units import SECOND
from plankroad.wire.address import bytes_to_ip

if TYPE_CHECKING:
    from plankroad.aio.driver import Driver

#: Payload of a request, as of the usual ping.
DATA_SIZE: Final = 56


class PingResult:
    """What became of one echo request.

    `seq` counts from 1. `address`: who answered, "" where nobody did. `round_trip`: seconds, None without an answer.
    `ttl`: time to live or hop limit of the answer. `size`: bytes of its payload. `error`: an OSError where a router or
    the host reported one (its `address` is then the reporter's), or where the request could not be sent.
    """

    __slots__ = ("address", "error", "reached", "round_trip", "seq", "size", "ttl")

    def __init__(self, seq: int) -> None:
        self.seq = seq
        self.address = ""
        self.round_trip: float | None = None
        self.ttl = 0
        self.size = 0
        self.error: OSError | None = None
        self.reached = False  # it was the destination itself that answered

    @property
    def answered(self) -> bool:
        """An echo reply came."""
        return self.round_trip is not None and self.error is None

    def __repr__(self) -> str:
        if self.error is not None:
            return f"<PingResult {self.seq}: {self.error} from {self.address or 'here'}>"
        if self.round_trip is None:
            return f"<PingResult {self.seq}: no answer>"
        return f"<PingResult {self.seq}: {self.address} in {self.round_trip * 1000:.3f} ms, ttl {self.ttl}>"


class Hop:
    """A step of a route: the answers to the requests that were sent with this time to live (`ttl`)."""

    __slots__ = ("results", "ttl")

    def __init__(self, ttl: int, results: list[PingResult]) -> None:
        self.ttl = ttl
        self.results = results

    @property
    def addresses(self) -> list[str]:
        """Who answered, each once, in order."""
        return list(dict.fromkeys(result.address for result in self.results if result.address))

    @property
    def reached(self) -> bool:
        """The destination is at this distance."""
        return any(result.reached for result in self.results)

    def __repr__(self) -> str:
        return f"<Hop {self.ttl}: {', '.join(self.addresses) or 'no answer'}>"


class Pinger:
    """Echo requests with one identifier; an async context manager. `probe` may be called many times at once."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._endpoint = driver.stack.open_ping()
        self._endpoint.owner = self
        self._waiting: dict[int, asyncio.Future[PingReply]] = {}
        self._seq = 0

    async def __aenter__(self) -> Pinger:
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the identifier back. Requests that wait are given up."""
        self._endpoint.owner = None
        self._endpoint.close(self._driver.scheduler.now())
        self._driver.push()
        for future in self._waiting.values():
            future.cancel()

    async def probe(
        self,
        address: bytes,
        *,
        ttl: int = 0,
        size: int = DATA_SIZE,
        timeout: float = 1.0,
        dont_fragment: bool = False,
    ) -> PingResult:
        """Send one request and wait for what comes of it, `timeout` seconds at most."""
        self._seq += 1
        result = PingResult(self._seq)
        seq = self._seq & 0xFFFF
        future: asyncio.Future[PingReply] = asyncio.get_running_loop().create_future()
        self._waiting[seq] = future
        data = bytes(i & 0xFF for i in range(size))
        try:
            self._endpoint.send(
                self._driver.scheduler.now(), address, seq, data, ttl=ttl, dont_fragment=dont_fragment
            )
            self._driver.push()
            reply = await asyncio.wait_for(future, timeout)
        except TimeoutError:
            return result
        except OSError as exc:
            result.error = exc
            return result
        finally:
            del self._waiting[seq]
        result.address = bytes_to_ip(reply.addr)
        result.round_trip = (reply.received_at - reply.sent_at) / SECOND
        result.ttl = reply.ttl
        result.size = len(reply.data)
        # A group or a broadcast address is answered by somebody's own address.
        result.reached = reply.kind == ECHO_REPLY or reply.addr == address
        if reply.kind != ECHO_REPLY:
            result.error = os_error(reply.errno)
        return result

    def handle_events(self, events: int) -> None:
        """See `EventHandler`."""
        while (reply := self._endpoint.poll_reply()) is not None:
            future = self._waiting.get(reply.seq)
            if future is not None and not future.done():
                future.set_result(reply)


async def ping(
    driver: Driver,
    address: bytes,
    *,
    count: int | None = None,
    interval: float = 1.0,
    timeout: float = 1.0,
    ttl: int = 0,
    size: int = DATA_SIZE,
    dont_fragment: bool = False,
) -> AsyncGenerator[PingResult, None]:
    """A request every `interval` seconds, `count` of them (None: without end), and what became of each, in order."""
    _check(size, ttl)
    if interval < 0 or timeout <= 0:
        raise ValueError("interval must not be negative, timeout must be above 0")
    loop = asyncio.get_running_loop()
    async with Pinger(driver) as pinger:
        sent = 0
        due = loop.time()
        while count is None or sent < count:
            await asyncio.sleep(max(0.0, due - loop.time()))
            yield await pinger.probe(address, ttl=ttl, size=size, timeout=timeout, dont_fragment=dont_fragment)
            sent += 1
            due += interval


async def traceroute(
    driver: Driver,
    address: bytes,
    *,
    max_hops: int = 30,
    probes: int = 3,
    timeout: float = 1.0,
    size: int = DATA_SIZE,
) -> AsyncGenerator[Hop, None]:
    """The routers on the way, one `Hop` after the other, until the destination answers or refuses, or `max_hops`."""
    _check(size, max_hops)
    if probes < 1 or timeout <= 0:
        raise ValueError("probes must be at least 1, timeout must be above 0")
    async with Pinger(driver) as pinger:
        for ttl in range(1, max_hops + 1):
            requests = [pinger.probe(address, ttl=ttl, size=size, timeout=timeout) for _ in range(probes)]
            hop = Hop(ttl, list(await asyncio.gather(*requests)))
            yield hop
            if hop.reached:
                return


def _check(size: int, ttl: int) -> None:
    if not 0 <= size <= 65507:
        raise ValueError(f"size must be from 0 to 65507, not {size}")
    if not 0 <= ttl <= 255:
        raise ValueError(f"a time to live is from 1 to 255, not {ttl}")
