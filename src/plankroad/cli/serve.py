"""`plankroad serve`: a directory by HTTP, on a stack of our own."""

from __future__ import annotations

import asyncio
import signal
from ipaddress import IPv6Address
from typing import Final

import click

from plankroad.cli.errors import one_line
from plankroad.cli.http import FileServer
from plankroad.cli.http_tree import Tree
from plankroad.cli.main import INTERRUPTED
from plankroad.cli.tun import Place, place, run, tun_options

#: Seconds that replies under way have to be finished after Ctrl-C.
GRACE: Final = 5.0

#: Connections that wait to be accepted.
BACKLOG: Final = 512


@click.command(short_help="Serve a directory by HTTP on a TUN device.")
@click.argument("directory", metavar="DIR", type=click.Path(exists=True, file_okay=False, readable=True))
@tun_options
@click.option("--port", type=click.IntRange(1, 65535), default=80, show_default=True, help="TCP port to listen on.")
@click.option("--quiet", "-q", is_flag=True, help="No access log.")
def serve(directory: str, tun: str, address: tuple[str, ...], mtu: int | None, port: int, quiet: bool) -> None:
    """Serve the files in DIR by HTTP/1.1, with plankroad's TCP/IP on a TUN device.

    Needs root, or a device that root has made for you. Ctrl-C finishes what is under way (within 5 seconds), closes
    every connection and removes the device.
    """
    where = place(tun, address, mtu)
    with one_line():
        tree = Tree(directory)
    run(_serve(tree, where, port, quiet))


async def _serve(tree: Tree, where: Place, port: int, quiet: bool) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    files = FileServer(tree, _say if not quiet else _nothing)
    async with where.open() as stack:
        server = await stack.start_server(files.handle, where.own_addresses(), port, backlog=BACKLOG)
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        name = stack.driver.links[0].name
        _say(f"Serving {tree.root} on {name} with plankroad; Ctrl-C ends it. Try:")
        for own in where.own_addresses():
            _say(f"  {curl_line(own, port, name)}")
        await stop.wait()
        # A second Ctrl-C does not wait any longer: connections are reset.
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stack.close)
        _say("Closing.")
        server.close()
        await files.stop(GRACE)
        if stack.closed:
            raise click.exceptions.Exit(INTERRUPTED)


def curl_line(address: str, port: int, device: str) -> str:
    """What to type to get the listing of the directory."""
    if ":" in address and IPv6Address(address).is_link_local:
        address += f"%25{device}"  # RFC 6874: which link it is on
    shown = f"'http://[{address}]" if ":" in address else f"http://{address}"
    end = "/'" if ":" in address else "/"
    return "curl " + shown + ("" if port == 80 else f":{port}") + end


def _say(line: str) -> None:
    click.echo(line)


def _nothing(line: str) -> None:
    pass
