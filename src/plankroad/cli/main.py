"""`plankroad`: the command line. Each command is a module of this room, imported when it is used."""

from __future__ import annotations

import errno
import importlib
import os
import sys
from typing import Final, NoReturn

import click

from plankroad._build import version
from plankroad.cli.errors import Failure, describe

#: Where each command lives, and what `plankroad --help` says of it without importing it.
COMMANDS: Final = {
    "demo": ("plankroad.cli.demo:demo", "Carry a file through a bad simulated network, in virtual time."),
    "serve": ("plankroad.cli.serve:serve", "Serve a directory by HTTP on a TUN device."),
    "fetch": ("plankroad.cli.fetch:fetch", "Fetch a URL from a Linux server through a TUN device."),
    "ping": ("plankroad.cli.ping:ping", "Ask a host for echo replies through a TUN device."),
    "packetdrill": ("plankroad.cli.packetdrill:packetdrill", "Run packet scripts, in virtual time or on the kernel."),
    "paths": ("plankroad.cli.paths:paths", "Measure TCP on a grid of paths, in virtual time."),
    "trace": ("plankroad.cli.ping:trace", "List the routers on the way to a host."),
}

#: As a shell reports a program that a signal has ended: 128 and the signal's number, SIGINT's being 2.
INTERRUPTED: Final = 130


class LazyGroup(click.Group):
    """A group that imports a command when it is called, so that the others cost nothing."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        place = COMMANDS.get(cmd_name)
        if place is None:
            return None
        module, _, attribute = place[0].partition(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


def show_version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    """Print the version and which build it is."""
    if value and not ctx.resilient_parsing:
        click.echo(version())
        ctx.exit()


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=show_version,
    help="Show the version and whether this build is compiled.",
)
def cli() -> None:
    """plankroad: a complete TCP/IP stack in Python that runs inside your own process.

    Exit status: 0 done, 1 it failed, 2 wrong usage, 130 interrupted.
    """


def main() -> NoReturn:
    """Run the command line, and exit with its status. What a person can act on ends in one line, not in a traceback."""
    try:
        # What a command exits with is returned; a command that just ends returns None.
        status = cli.main(prog_name="plankroad", standalone_mode=False)
        if sys.stdout is not None:  # `plankroad ... >&-`
            sys.stdout.flush()
    except click.ClickException as exc:
        exc.show()
        sys.exit(exc.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(INTERRUPTED)
    except OSError as exc:
        # Of a closed standard output (`plankroad demo | head`) nobody wants to hear; a full disk is another matter.
        if exc.errno != errno.EPIPE:
            Failure(describe(exc)).show()
        try:
            sys.stdout.flush()
        except OSError:
            # What cannot be written must not be tried again at the exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    sys.exit(status if isinstance(status, int) else 0)
