"""`plankroad ping` and `plankroad trace`: echo requests on a stack of our own."""

from __future__ import annotations

import math
import socket
import time
from typing import TYPE_CHECKING

import click

from plankroad.cli.errors import Failure
from plankroad.cli.tun import Place, address_of, place, run, tun_options

if TYPE_CHECKING:
    from plankroad.aio.ping import Hop, PingResult

#: Of an echo request, before its data (RFC 792, RFC 4443 section 4.1).
HEADER = 8


class Statistics:
    """What ping sums up at the end. Times in seconds."""

    def __init__(self) -> None:
        self.sent = 0
        self.errors = 0
        self.times: list[float] = []

    def add(self, result: PingResult) -> None:
        """Count one request."""
        self.sent += 1
        if result.error is not None:
            self.errors += 1
        elif result.round_trip is not None:
            self.times.append(result.round_trip)

    def lines(self, host: str, elapsed: float) -> list[str]:
        """The last lines, as ping's."""
        lost = 100 * (self.sent - len(self.times)) / self.sent if self.sent else 0.0
        errors = f"+{self.errors} errors, " if self.errors else ""
        found = [
            f"--- {host} ping statistics ---",
            f"{self.sent} packets transmitted, {len(self.times)} received, {errors}{lost:.4g}% packet loss, "
            f"time {elapsed * 1000:.0f}ms",
        ]
        if self.times:
            mean = sum(self.times) / len(self.times)
            spread = math.sqrt(max(0.0, sum(one * one for one in self.times) / len(self.times) - mean * mean))
            numbers = (min(self.times), mean, max(self.times), spread)
            found.append("rtt min/avg/max/mdev = " + "/".join(f"{one * 1000:.3f}" for one in numbers) + " ms")
        return found


@click.command(short_help="Ask a host for echo replies through a TUN device.")
@click.argument("host")
@tun_options
@click.option("-c", "--count", type=click.IntRange(min=1), help="Stop after so many requests.  [default: Ctrl-C]")
@click.option(
    "-i", "--interval", type=click.FloatRange(0), default=1.0, show_default=True, help="Seconds between requests."
)
@click.option(
    "-W",
    "--timeout",
    type=click.FloatRange(0, min_open=True),
    default=1.0,
    show_default=True,
    help="Seconds that an answer is waited for.",
)
@click.option("-t", "--ttl", type=click.IntRange(1, 255), help="Time to live or hop limit.  [default: 64]")
@click.option(
    "-s", "--size", type=click.IntRange(0, 65507), default=56, show_default=True, help="Bytes of data in a request."
)
@click.option("-4", "family", flag_value=socket.AF_INET, type=int, help="IPv4 only.")
@click.option("-6", "family", flag_value=socket.AF_INET6, type=int, help="IPv6 only.")
def ping(
    host: str,
    tun: str,
    address: tuple[str, ...],
    mtu: int | None,
    count: int | None,
    interval: float,
    timeout: float,
    ttl: int | None,
    size: int,
    family: int | None,
) -> None:
    """Send echo requests to HOST with plankroad's own ICMP, on a TUN device.

    This machine answers at the first other address of plankroad's network: 10.97.0.1 unless --address says otherwise.
    The exit status is 1 where no answer came.
    """
    statistics = Statistics()
    where = place(tun, address, mtu)
    run(_ping(where, host, statistics, count, interval, timeout, ttl or 0, size, family or 0))
    if not statistics.times:
        raise click.exceptions.Exit(1)


async def _ping(
    where: Place,
    host: str,
    statistics: Statistics,
    count: int | None,
    interval: float,
    timeout: float,
    ttl: int,
    size: int,
    family: int,
) -> None:
    async with where.open() as stack:
        found = await address_of(stack, where, host, family)
        click.echo(f"PING {host} ({found}) {size} data bytes")
        begin = time.monotonic()
        try:
            async for result in stack.ping(found, count, interval=interval, timeout=timeout, ttl=ttl, size=size):
                statistics.add(result)
                click.echo(line_of(result))
        except ValueError as exc:
            raise Failure(str(exc)) from exc
        finally:
            click.echo()
            for line in statistics.lines(host, time.monotonic() - begin):
                click.echo(line)


def line_of(result: PingResult) -> str:
    """What became of one request, as ping says it."""
    if result.error is not None:
        whose = f"From {result.address}" if result.address else "ping"
        return f"{whose}: seq={result.seq} {result.error.strerror or result.error}"
    if result.round_trip is None:
        return f"no answer to seq={result.seq}"
    return (
        f"{result.size + HEADER} bytes from {result.address}: seq={result.seq} ttl={result.ttl} "
        f"time={result.round_trip * 1000:.3f} ms"
    )


@click.command(short_help="List the routers on the way to a host.")
@click.argument("host")
@tun_options
@click.option("-m", "--max-hops", type=click.IntRange(1, 255), default=30, show_default=True, help="Go no further.")
@click.option("-q", "--probes", type=click.IntRange(1, 10), default=3, show_default=True, help="Requests a hop.")
@click.option(
    "-W",
    "--timeout",
    type=click.FloatRange(0, min_open=True),
    default=1.0,
    show_default=True,
    help="Seconds that an answer is waited for.",
)
@click.option("-4", "family", flag_value=socket.AF_INET, type=int, help="IPv4 only.")
@click.option("-6", "family", flag_value=socket.AF_INET6, type=int, help="IPv6 only.")
def trace(
    host: str,
    tun: str,
    address: tuple[str, ...],
    mtu: int | None,
    max_hops: int,
    probes: int,
    timeout: float,
    family: int | None,
) -> None:
    """List the routers on the way to HOST, by echo requests that live for one hop, two hops and so on.

    The exit status is 1 where HOST was not reached.
    """
    reached: list[bool] = []
    run(_trace(place(tun, address, mtu), host, reached, max_hops, probes, timeout, family or 0))
    if not any(reached):
        raise click.exceptions.Exit(1)


async def _trace(
    where: Place, host: str, reached: list[bool], max_hops: int, probes: int, timeout: float, family: int
) -> None:
    async with where.open() as stack:
        found = await address_of(stack, where, host, family)
        click.echo(f"trace to {host} ({found}), {max_hops} hops at most")
        async for hop in stack.traceroute(found, max_hops=max_hops, probes=probes, timeout=timeout):
            reached.append(hop.reached)
            click.echo(line_of_hop(hop))


def line_of_hop(hop: Hop) -> str:
    """Who answered at this distance, and in which times; * for each request without an answer."""
    who = " ".join(hop.addresses)
    times = ["*" if result.round_trip is None else f"{result.round_trip * 1000:.3f} ms" for result in hop.results]
    return f"{hop.ttl:>3}  " + "  ".join([who, *times] if who else times)
