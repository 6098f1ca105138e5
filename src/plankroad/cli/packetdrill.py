"""`plankroad packetdrill`: packet scripts, run on plankroad's stack in virtual time or on the kernel of the machine."""

from __future__ import annotations

import json
import re
import sys
import time
from collections import Counter
from typing import Any, Final

import click

from plankroad.packetdrill.errors import ScriptError
from plankroad.packetdrill.ground import IPV4, IPV6, MAPPED
from plankroad.packetdrill.outcome import FAILED, NOT_APPLICABLE, PASSED, Outcome
from plankroad.packetdrill.profile import load_profile
from plankroad.packetdrill.suite import LINUX, RunOptions, find_scripts, run_files
from plankroad.paths.ground import check_ground

_NAME: Final = re.compile(r"[A-Za-z_]\w*")

#: Options of scripts that the command line knows too.
_SCRIPT_OPTIONS: Final = (
    ("local_ip", "ADDRESS", "Of the host under test."),
    ("remote_ip", "ADDRESS", "Of the peer that the script plays."),
    ("mtu", "BYTES", "Of the link."),
    ("tolerance_usecs", "N", "How far a packet or a return may be off its time."),
    ("seed", "N", "Of what the stack leaves to chance."),
)


def _read_defines(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for value in values:
        name, _, text = value.partition("=")
        if not _NAME.fullmatch(name):
            raise click.BadParameter(f"{value!r}: it is NAME=VALUE, or NAME for one that is only defined")
        found[name] = text
    return found


def _script_options(command: Any) -> Any:
    for name, metavar, text in reversed(_SCRIPT_OPTIONS):
        flags = dict.fromkeys((f"--{name}", f"--{name.replace('_', '-')}"))
        command = click.option(*flags, name, metavar=metavar, help=text)(command)
    return command


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="FILES_OR_FOLDERS...")
@click.option("--json", "as_json", is_flag=True, help="Print one object instead of lines.")
@click.option("--profile", default="", metavar="NAME|FILE", help="What the scripts assume that no RFC says.")
@click.option(
    "--define", "-D", "defines", multiple=True, callback=_read_defines, metavar="A=B", help="As #define A B."
)
@click.option(
    "--commands",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False),
    metavar="FILE.py",
    help="Tell what commands in backticks mean.",
)
@click.option(
    "--against", type=click.Choice([LINUX]), help="Run on the kernel of this machine, in real time (needs root)."
)
@click.option("--jobs", "-j", type=click.IntRange(1, 1024), help="Processes at once.  [all cores; kernel: 6 a core]")
@click.option(
    "--ip-version", "--ip_version", type=click.Choice([IPV4, MAPPED, IPV6]), default=IPV4, show_default=True
)
@click.option(
    "--strict-end", is_flag=True, help="A packet that is left at the end and was not expected is a failure."
)
@click.option("--verbose", "-v", is_flag=True, help="A line for scripts that passed too.")
@_script_options
def packetdrill(
    paths: tuple[str, ...],
    as_json: bool,
    profile: str,
    defines: dict[str, str],
    commands: tuple[str, ...],
    against: str | None,
    jobs: int | None,
    ip_version: str,
    strict_end: bool,
    verbose: bool,
    **script_options: str | None,
) -> int:
    """Run packet scripts (.pkt) on plankroad's stack in virtual time, or on the kernel.

    Exit status: 0 all passed, 1 one failed, 2 wrong usage.
    """
    try:
        files = find_scripts(paths)
    except FileNotFoundError as exc:
        raise click.UsageError(f"{exc.filename}: no such file or directory") from None
    if not files:
        raise click.UsageError("there is no .pkt file below what was given")
    if against == LINUX and (profile or commands):
        raise click.UsageError("--profile and --commands are for plankroad's stack; the kernel is what it is")
    try:
        load_profile(profile)
    except ScriptError as exc:
        raise click.UsageError(str(exc)) from None
    if against == LINUX:
        try:
            check_ground()
        except OSError as exc:
            raise click.ClickException(str(exc)) from None
    options = RunOptions(
        profile,
        commands,
        defines,
        [(name, value) for name, value in script_options.items() if value is not None],
        against or RunOptions().against,
        strict_end,
        ip_version,
    )
    begun = time.perf_counter()
    outcomes: list[Outcome] = []
    for outcome in run_files(files, options, jobs or 0):
        outcomes.append(outcome)
        if not as_json and (verbose or not outcome.passed):
            click.echo(outcome.text())
    counts = Counter(outcome.status for outcome in outcomes)
    if as_json:
        json.dump(report(outcomes), sys.stdout, indent=2)
        click.echo()
    else:
        seconds = time.perf_counter() - begun
        click.echo(
            f"{counts[PASSED]} passed, {counts[FAILED]} failed, {counts[NOT_APPLICABLE]} not applicable; "
            f"{len(outcomes)} scripts in {seconds:.1f} s"
        )
    return 1 if counts[FAILED] else 0


def report(outcomes: list[Outcome]) -> dict[str, Any]:
    """What `--json` prints."""
    counts = Counter(outcome.status for outcome in outcomes)
    return {
        "passed": counts[PASSED],
        "failed": counts[FAILED],
        "not_applicable": counts[NOT_APPLICABLE],
        "scripts": [outcome.as_dict() for outcome in outcomes],
    }
