"""`plankroad fetch`: a file by HTTP from a Linux server, on a stack of our own."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import stat
import sys
import time
from collections.abc import Callable, Iterator
from typing import BinaryIO, Final

import click
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from plankroad.cli.errors import Failure, describe
from plankroad.cli.http_client import Download, get
from plankroad.cli.tun import Place, address_of, place, run, tun_options

#: Bytes that are written to the file at once.
WRITE: Final = 1 << 20

#: Seconds between two pictures of the progress bar.
REFRESH: Final = 0.1


@click.command(short_help="Fetch a URL from a Linux server through a TUN device.")
@click.argument("url")
@click.option("-o", "--output", required=True, type=click.Path(dir_okay=False), help="File to write; - is stdout.")
@tun_options
@click.option(
    "--timeout",
    type=click.FloatRange(0, min_open=True),
    default=30.0,
    show_default=True,
    help="Seconds that the server may let us wait.",
)
def fetch(url: str, output: str, tun: str, address: tuple[str, ...], mtu: int | None, timeout: float) -> None:
    """Fetch URL by HTTP with plankroad's TCP/IP on a TUN device.

    This machine is the first other address of plankroad's network: http://10.97.0.1:8000/ is a server here that listens
    on all addresses, unless --address says otherwise. Servers elsewhere are reached where this machine forwards.

    The file appears when it is complete; an error leaves nothing behind.
    """
    run(_fetch(url, output, place(tun, address, mtu), timeout))


async def _fetch(url: str, output: str, where: Place, timeout: float) -> None:
    async with where.open() as stack:
        download = await get(stack, url, timeout, lambda host: address_of(stack, where, host))
        try:
            if download.status != 200:
                raise Failure(
                    f"{download.url.text}: the server answered {download.status} {download.reason}".rstrip()
                )
            await _save(download, output)
        finally:
            await download.close()


async def _save(download: Download, output: str) -> None:
    digest = hashlib.sha256()
    size = 0
    begin = time.monotonic()
    waiting: list[bytes] = []
    held = 0
    with target(output) as file, progress_bar(download.length) as move:
        async for data in download.body():
            digest.update(data)
            waiting.append(data)
            held += len(data)
            size += len(data)
            if held >= WRITE:
                # Disks may be slow: the stack goes on meanwhile.
                await asyncio.to_thread(write, file, waiting)
                waiting, held = [], 0
                move(size)
        await asyncio.to_thread(write, file, waiting)
    seconds = time.monotonic() - begin
    rate = f" ({size * 8 / seconds / 1e6:,.0f} Mbit/s)" if seconds else ""
    click.echo(f"{size:,} bytes in {seconds:.2f} s{rate}, SHA-256 {digest.hexdigest()}", err=True)


def write(file: BinaryIO, pieces: list[bytes]) -> None:
    """Write all of them, whole."""
    for piece in pieces:
        view = memoryview(piece)
        while view:
            view = view[file.write(view) :]
    file.flush()


@contextlib.contextmanager
def target(output: str) -> Iterator[BinaryIO]:
    """Where to write. A file gets its name when all of it is there; what is no ordinary file is written to as it is."""
    if output == "-":
        yield sys.stdout.buffer
        return
    try:
        special = not stat.S_ISREG(os.stat(output).st_mode)
    except FileNotFoundError:
        special = False
    except OSError as exc:
        raise Failure(describe(exc)) from exc
    name = output if special else f"{output}.part"
    try:
        file = open(name, "wb")  # noqa: SIM115 - closed below, before it is renamed
    except OSError as exc:
        raise Failure(describe(exc)) from exc
    try:
        with file:
            yield file
        if not special:
            os.replace(name, output)
    except BaseException:
        if not special:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name)
        raise


@contextlib.contextmanager
def progress_bar(size: int | None) -> Iterator[Callable[[int], None]]:
    """A bar on standard error, where that is a terminal; what moves it."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda done: None
        return
    columns = (TextColumn("fetching"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console, auto_refresh=False, transient=True) as bar:
        task = bar.add_task("", total=size)
        due = 0.0

        def move(done: int) -> None:
            nonlocal due
            if time.monotonic() >= due:
                bar.update(task, completed=done, refresh=True)
                due = time.monotonic() + REFRESH

        yield move
