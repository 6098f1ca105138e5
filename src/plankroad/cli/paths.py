"""`plankroad paths`: TCP on a grid of paths, in virtual time."""

from __future__ import annotations

import contextlib
import importlib.util
import json
from collections.abc import Callable, Iterator
from typing import Any, Final

import click
from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from plankroad._build import is_compiled, version
from plankroad.cli.errors import Failure, one_line
from plankroad.cli.paths_page import page
from plankroad.paths.against import SHARE, cost, measure_against, measure_sharing, shared_cells, summary
from plankroad.paths.cell import Cell, parse_field
from plankroad.paths.grid import AXES, GRIDS, effort, span, split_list
from plankroad.paths.ground import KernelError, check_ground
from plankroad.paths.linux import why_not
from plankroad.paths.measure import measure
from plankroad.paths.pool import CellError, cores, load_file
from plankroad.paths.report import table, write_csv
from plankroad.paths.result import Result
from plankroad.paths.series import Series
from plankroad.paths.virtual import check

#: Columns that the table may have. Where a terminal has fewer, lines wrap: better than figures that are cut.
WIDTH: Final = 400

#: Cells that get plots, unless one says how many.
PLOTS: Final = 100

#: Real seconds a packet that the bottleneck carries, about, on one core: pure and compiled.
PURE_COST: Final = 150e-6
COMPILED_COST: Final = 30e-6

#: Seconds from which on a build that is not compiled is worth a word.
LONG: Final = 60

_AXIS_HELP: Final = {
    "rate": "Of the bottleneck, as 50Mbit.",
    "rtt": "Round trip of the path itself, as 40ms.",
    "loss": "Share of data packets lost at random, as 1% or 0.01.",
    "burst": "Loss in bursts, share:length as 1%:8 (packets in the mean), or none.",
    "reorder": "Packets held back, share:time as 1%:5ms, or none.",
    "queue": "Before the bottleneck: 1bdp, 1/4bdp, 64KiB, 100packets, codel, fq_codel, pie or red.",
    "algorithm": "Congestion control by name; cubic+newreno: the flows of a cell take them in turn.",
    "flows": "Connections at the same time.",
    "seconds": "How long a cell takes; with --bytes how long it may take.  [then: 600]",
    "bytes": "Each flow carries so much, as 10MB; 0: as much as it can in the time.",
    "seed": "Of all that is left to chance: the same seed, the same figures.",
}


def read_axis(ctx: click.Context, param: click.Parameter, text: str | None) -> list[str] | None:
    """The values of an option that spans an axis; each is looked at, so that the error names the option."""
    if text is None:
        return None
    assert param.name is not None
    try:
        values = split_list(text, param.name)
        for value in values:
            parse_field(param.name, value)
    except ValueError as exc:
        raise click.BadParameter(str(exc).removeprefix(f"{param.name}: "), ctx, param) from None
    return values


def axis_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """One option an axis, in the order of the axes."""
    for axis, default in reversed(AXES.items()):
        command = click.option(
            f"--{axis}", metavar="LIST", callback=read_axis, help=f"{_AXIS_HELP[axis]}  [default: {default}]"
        )(command)
    return command


@click.command(short_help="Measure TCP on a grid of paths, in virtual time.")
@axis_options
@click.option("--ecn", is_flag=True, help="Both ends take part in explicit congestion notification.")
@click.option("--grid", type=click.Choice(list(GRIDS)), help="What the options above are added to; see above.")
@click.option("--full", is_flag=True, help="The same as --grid full: many hours.")
@click.option(
    "--seeds", type=click.IntRange(1, 1000), default=1, show_default=True, help="Median over so many seeds."
)
@click.option("--jobs", type=click.IntRange(1, 1000), help="Runs at the same time.  [default: one a core]")
@click.option(
    "--load",
    type=click.Path(exists=True, dir_okay=False, readable=True),
    metavar="FILE.py",
    help="Import a file that registers congestion control of your own.",
)
@click.option(
    "--against",
    type=click.Choice(["linux"]),
    help="Measure each cell with the kernel's TCP, too, in real time up to 100 Mbit/s. Needs Linux and root.",
)
@click.option(
    "--sharing",
    type=click.Choice(["linux"]),
    help="Every second flow of a cell is the kernel's, in the same queue, in real time. Needs Linux and root.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a cell, in one line each, no table.")
@click.option("--csv", "csv_file", type=click.Path(dir_okay=False), metavar="FILE", help="Write the table there.")
@click.option(
    "--html", "html_file", type=click.Path(dir_okay=False), metavar="FILE", help="Write table and plots in one page."
)
@click.option(
    "--plots", type=click.IntRange(0), default=PLOTS, show_default=True, help="So many cells get plots in the page."
)
@click.pass_context
def paths(
    ctx: click.Context,
    /,
    ecn: bool,
    grid: str | None,
    full: bool,
    seeds: int,
    jobs: int | None,
    load: str | None,
    against: str | None,
    sharing: str | None,
    as_json: bool,
    csv_file: str | None,
    html_file: str | None,
    plots: int,
    **axes: list[str] | None,
) -> None:
    """Measure TCP on paths of every kind, in virtual time.

    A cell is one path and what is sent over it: a sender, a bottleneck of a rate with a queue before it, a round trip,
    faults, a receiver. Each option of the first group takes one value or several with commas between them, which span a
    grid. Options that are not given have their default; where none is given, the small grid runs. With --grid they
    replace the values that this grid has: `--grid small --algorithm mine`.

    Shown for each cell: goodput (bytes in order, at the program); the share of the link used for it; segments sent
    again; retransmission timeouts; segments sent again though they had arrived; delay in the queue; with several flows
    Jain's index after they came to terms, and how long that took. docs/paths.md tells exactly what is counted.

    \b
    plankroad paths --rate 50Mbit --rtt 40ms --loss 0.01 --queue 1bdp --algorithm cubic --flows 1 --seconds 20 --json
    plankroad paths --loss 0,0.1%,1%,3% --algorithm cubic,newreno --seeds 5
    plankroad paths --rate 100Mbit --flows 2 --algorithm cubic+newreno --seconds 60 --html page.html
    sudo plankroad paths --rate 1Mbit,10Mbit --rtt 10ms,100ms --loss 0,1% --against linux --seeds 3
    """
    chosen = {axis: values for axis, values in axes.items() if values is not None}
    if full and grid not in (None, "full"):
        raise click.UsageError(f"--full and --grid {grid} are two grids; give one of them.", ctx)
    which = "full" if full else grid or ("one" if set(chosen) - {"seconds", "seed"} or ecn else "small")
    if against and sharing:
        raise click.UsageError("--against measures side by side, --sharing together; give one of them.", ctx)
    if sharing and html_file is not None:
        raise click.UsageError("--sharing has no plots; leave --html out.", ctx)
    kernel = against is not None or sharing is not None
    load_own(load)
    try:
        cells = span(which, chosen, ecn)
        for cell in cells:
            check(cell)
        if sharing:
            cells = shared_cells(cells)
        if kernel:
            check_ground()
    except KernelError as exc:
        raise Failure(str(exc)) from None
    except ValueError as exc:
        raise click.UsageError(str(exc), ctx) from None
    for file in (csv_file, html_file):
        if file is not None:
            with one_line(), open(file, "a", encoding="utf-8"):
                pass  # better told now than after an hour
    if html_file is not None and importlib.util.find_spec("plotly") is None:
        raise Failure("--html needs plotly, which is not installed: pip install 'plankroad[paths]'")
    kernel_jobs = jobs or 0
    jobs = min(jobs or cores(), len(cells) * seeds)
    traced = frozenset(range(min(plots, len(cells)))) if html_file is not None else frozenset[int]()
    if not sharing:
        announce(cells, seeds, jobs)
    if kernel:
        announce_kernel(cells, seeds)
    results: dict[int, Result] = {}
    series: dict[int, Series] = {}
    interrupted = False
    with progress(cells, seeds, not sharing, kernel) as (after_run, after_kernel):
        try:
            found: Iterator[tuple[int, Result, Series | None]]
            if sharing:
                found = measure_sharing(cells, seeds, kernel_jobs, load, after_kernel)
            elif against:
                found = measure_against(cells, seeds, jobs, traced, load, after_run, after_kernel, kernel_jobs)
            else:
                found = measure(cells, seeds, jobs, traced, load, after_run)
            for number, result, rows in found:
                results[number] = result
                if rows is not None:
                    series[number] = rows
                if as_json:
                    print_ready(results, number)
        except (CellError, KernelError) as exc:
            raise Failure(str(exc)) from None
        except KeyboardInterrupt:
            interrupted = True
    ordered = [results[number] for number in sorted(results)]
    if not as_json and ordered:
        show(ordered)
    for line in summary(ordered) if against else ():
        click.echo(line, err=as_json)
    if interrupted:
        click.echo(f"Interrupted after {len(ordered)} of {len(cells)} cells; no file was written.", err=True)
        raise click.Abort
    write_files(ordered, series, csv_file, html_file)


def load_own(load: str | None) -> None:
    """Import the user's file. Failure in one line where it cannot be, or brings nothing."""
    if load is None:
        return
    try:
        new = load_file(load)
    except Exception as exc:
        raise Failure(f"--load {load}: {type(exc).__name__}: {exc}") from exc
    if not new:
        raise Failure(
            f"--load {load}: it registers no congestion control; call plankroad.tcp.cc.registry.register(name, cls)"
        )


def announce(cells: list[Cell], seeds: int, jobs: int) -> None:
    """What will be done, by which build, on standard error."""
    total = seeds * sum(effort(cell) for cell in cells)
    runs = f"{len(cells)} cells" if len(cells) > 1 else "1 cell"
    if seeds > 1:
        runs += f" with {seeds} seeds each"
    click.echo(f"{version()}: {runs}, {jobs} at a time.", err=True)
    seconds = total * (COMPILED_COST if is_compiled() else PURE_COST) / jobs
    if seconds > LONG:
        text = f"This may take {duration(seconds)}."
        if not is_compiled():
            text += f" A compiled build would take {duration(total * COMPILED_COST / jobs)}: `make paths` makes one."
        click.echo(text, err=True)


def announce_kernel(cells: list[Cell], seeds: int) -> None:
    """How long the kernel takes, which cannot be hurried."""
    possible = [cell for cell in cells if not why_not(cell)]
    seconds = seeds * sum(cell.seconds * cost(cell) for cell in possible) / (SHARE * cores())
    longest = max((cell.seconds for cell in possible), default=0.0)
    click.echo(
        f"Linux in real time: {seeds * len(possible)} runs, {duration(max(seconds, longest))} at most.", err=True
    )


def duration(seconds: float) -> str:
    """About how long, in words."""
    if seconds < 90:
        return f"about {max(1, round(seconds / 10)) * 10} seconds"
    return f"about {round(seconds / 60)} minutes" if seconds < 5400 else f"about {round(seconds / 3600)} hours"


AfterRun = Callable[[Cell], None] | None


@contextlib.contextmanager
def progress(
    cells: list[Cell], seeds: int, virtual: bool = True, kernel: bool = False
) -> Iterator[tuple[AfterRun, AfterRun]]:
    """A bar on standard error, where that is a terminal, for runs in virtual time, and one for those of a kernel; and
    what moves each on after a run.
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        yield None, None
        return
    # The bar moves with the packets, as cells differ a thousandfold; the count is that of runs.
    columns = (
        TextColumn("{task.description}{task.fields[runs]} of {task.fields[all]}"),
        BarColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[last]}"),
    )
    with Progress(*columns, console=console, transient=True) as bar:

        def mover(text: str, size: Callable[[Cell], float]) -> AfterRun:
            task = bar.add_task(text, total=seeds * sum(map(size, cells)), runs=0, all=seeds * len(cells), last="")
            count = 0

            def move(cell: Cell) -> None:
                nonlocal count
                count += 1
                bar.update(task, advance=size(cell), runs=count, last=cell.describe())

            return move

        yield (
            mover("" if not kernel else "ours ", effort) if virtual else None,
            mover("Linux ", kernel_effort) if kernel else None,
        )


def kernel_effort(cell: Cell) -> float:
    """What a cell of the kernel moves the bar by: nothing where it is not measured."""
    return 0.0 if why_not(cell) else cell.seconds * cost(cell)


def print_ready(results: dict[int, Result], number: int) -> None:
    """Print the objects that are due now that cell `number` is there: they come in the order of the cells."""
    if any(before not in results for before in range(number)):
        return
    while number in results:
        click.echo(json.dumps(results[number].as_dict()))
        number += 1


def show(results: list[Result]) -> None:
    """The table, on standard output."""
    console = Console(highlight=False, width=WIDTH)
    columns, rows = table(results)
    picture = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for column in columns:
        picture.add_column(column.heading, justify="right" if column.number else "left", no_wrap=True)
    for row in rows:
        picture.add_row(*row)
    console.print(picture)
    for result in results:
        for note in result.notes:
            console.print(f"{result.cell.describe()}: {note}", markup=False, soft_wrap=True)


def write_files(
    results: list[Result],
    series: dict[int, Series],
    csv_file: str | None,
    html_file: str | None,
) -> None:
    """The files that were asked for."""
    if csv_file is not None:
        with one_line(), open(csv_file, "w", encoding="utf-8", newline="") as stream:
            write_csv(results, stream)
        click.echo(f"The table is in {csv_file}.", err=True)
    if html_file is not None:
        with one_line(), open(html_file, "w", encoding="utf-8") as stream:
            stream.write(page(results, series, version()))
        click.echo(f"Table and plots are in {html_file}.", err=True)
