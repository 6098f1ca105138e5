"""`plankroad demo`: a file goes through a bad network and comes back."""

from __future__ import annotations

import contextlib
import json
import os
import stat
import time
from collections.abc import Callable, Iterator
from typing import Final

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from plankroad._build import version
from plankroad.cli.demo_report import as_dict, print_part, print_table
from plankroad.cli.demo_scenario import Demo, Source, Weather, equal
from plankroad.cli.errors import Failure, describe, one_line
from plankroad.cli.values import FRACTION, RATE, SIZE, TIME

DEFAULT_BYTES: Final = 3_000_000

#: Columns of the drawings: a ladder needs 72, and is hard to follow in more than 120.
LEAST_WIDTH: Final = 72
MOST_WIDTH: Final = 120
DEFAULT_WIDTH: Final = 100

#: Real seconds between two pictures of the progress bar.
REFRESH: Final = 0.1


@click.command(short_help="Carry a file through a bad simulated network.")
@click.argument("file", required=False, type=click.Path(exists=True, dir_okay=False, readable=True))
@click.option("--bytes", "size", type=SIZE, help=f"Send so many random bytes.  [default: {DEFAULT_BYTES}]")
@click.option("--rate", type=RATE, default="20Mbit/s", show_default=True, help="Of each route; unlimited: no limit.")
@click.option("--delay", type=TIME, default="20ms", show_default=True, help="Of each route, one way.")
@click.option("--loss", type=FRACTION, default="2%", show_default=True, help="Packets that a route loses.")
@click.option("--reorder", type=FRACTION, default="1%", show_default=True, help="Packets that others overtake.")
@click.option("--duplicate", type=FRACTION, default="1%", show_default=True, help="Packets that arrive twice.")
@click.option("--corrupt", type=FRACTION, default="0.5%", show_default=True, help="Packets with a bit flipped.")
@click.option("--seed", type=int, default=1, show_default=True, help="Of all that is random: the same, the same run.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
@click.option("--pcap", type=click.Path(dir_okay=False, writable=True), help="Write all packets there, as pcapng.")
@click.pass_context
def demo(
    ctx: click.Context,
    file: str | None,
    size: int | None,
    rate: int,
    delay: int,
    loss: float,
    reorder: float,
    duplicate: float,
    corrupt: float,
    seed: int,
    as_json: bool,
    pcap: str | None,
) -> None:
    """Carry FILE, or random bytes, through a bad network and back, in virtual time.

    A client and a server stand on either side of two routers with two routes between them. In the middle of the
    transfer one route dies, and heals. Shown are a segment's way through the layers, the handshake, a loss and its
    recovery, the close, and what the network and TCP did; the exit status is 1 unless SHA-256 is equal on all sides.

    Rates are written as 20Mbit/s, times as 20ms, sizes as 3MB or 64KiB, shares as 2% or 0.02.
    """
    if file is not None and size is not None:
        raise click.UsageError("Give FILE or --bytes, not both.", ctx)
    weather = Weather(rate, delay, loss, reorder, duplicate, corrupt, seed)
    with contextlib.ExitStack() as stack:
        source = stack.enter_context(opened(file, DEFAULT_BYTES if size is None else size, seed))
        progress = stack.enter_context(progress_bar(source.size))
        play = Demo(weather, source, progress)
        try:
            outcome = play.run(pcap)
        except OSError as exc:
            if exc.filename:
                raise Failure(describe(exc)) from exc
            raise Failure(f"after {play.net.now:.3f} virtual seconds: {describe(exc)}") from exc
    if as_json:
        click.echo(json.dumps(as_dict(outcome, weather)))
    else:
        show(play, pcap)
    ctx.exit(0 if equal(outcome) else 1)


@contextlib.contextmanager
def opened(file: str | None, size: int, seed: int) -> Iterator[Source]:
    """What is to be sent: the file as long as it is now, or `size` random bytes."""
    if file is None:
        yield Source(size, seed=seed)
        return
    with one_line():
        if not stat.S_ISREG(os.stat(file).st_mode):
            raise Failure(f"{file}: not a regular file; how long it is must be known before it is sent")
    with one_line(), open(file, "rb") as stream:
        yield Source(os.fstat(stream.fileno()).st_size, stream)


@contextlib.contextmanager
def progress_bar(size: int) -> Iterator[Callable[[int, float], None] | None]:
    """A bar on standard error, where that is a terminal; what moves it."""
    console = Console(stderr=True)
    if not console.is_terminal or not size:
        yield None
        return
    columns = (
        TextColumn("there and back"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[now]:.2f} virtual seconds"),
    )
    # Without a thread of its own: the virtual clock does not like to be watched.
    with Progress(*columns, console=console, auto_refresh=False, transient=True) as bar:
        task = bar.add_task("", total=size, now=0.0)
        due = 0.0

        def move(done: int, now: float) -> None:
            nonlocal due
            if time.monotonic() >= due:
                bar.update(task, completed=done, now=now, refresh=True)
                due = time.monotonic() + REFRESH

        yield move


def show(play: Demo, pcap: str | None) -> None:
    """The ladders and the closing table, on standard output."""
    console = Console(highlight=False)
    width = DEFAULT_WIDTH
    if console.is_terminal:
        width = max(LEAST_WIDTH, min(MOST_WIDTH, console.width))
    else:
        console.width = width
    ascii_only = not console.encoding.lower().startswith("utf")
    console.print(version(), markup=False, soft_wrap=True)
    console.print(scene(play.weather, ascii_only), markup=False, soft_wrap=True, end="\n\n")
    if journey := play.journey.drawn():
        print_part(console, "One segment through the layers", journey)
    for title, ladder in play.watcher.drawings(width, ascii_only):
        print_part(console, title, ladder)
    print_table(console, play.outcome, play.weather)
    if pcap is not None:
        console.print(
            f"\nAll packets are in {pcap}, with a comment on each that was dropped or damaged.", markup=False
        )


def scene(weather: Weather, ascii_only: bool) -> str:
    """The network in two lines."""
    picture = "client ── west ══ north and south ══ east ── server"
    rate = f"{weather.rate / 1e6:g} Mbit/s" if weather.rate else "no limit of rate"
    faults = {
        "lost": weather.loss,
        "overtaken": weather.reorder,
        "doubled": weather.duplicate,
        "damaged": weather.corrupt,
    }
    shares = ", ".join(f"{share * 100:g} % {name}" for name, share in faults.items() if share) or "no faults"
    if ascii_only:
        picture = picture.replace("─", "-").replace("═", "=")
    return f"{picture}\neach route: {rate}, {weather.delay / 1e6:g} ms; {shares}"
