"""What the demo prints when it is over: a table, or one JSON object."""

from __future__ import annotations

from typing import Any, Final

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from plankroad.cli.demo_scenario import Outcome, Weather, equal

#: What the causes are called in a table.
DROPS: Final = {
    "random": "random loss",
    "burst": "burst loss",
    "queue": "queue full",
    "cut": "route dead",
    "mtu": "too large",
    "rule": "by rule",
    "invalid": "not sendable",
    "nobody": "nobody there",
}
RETRANSMISSIONS: Final = {
    "fast": "fast",
    "timeout": "after a timeout",
    "probe": "tail loss probe",
    "syn": "SYN",
    "path_mtu": "for a smaller path MTU",
}


def as_dict(outcome: Outcome, weather: Weather) -> dict[str, Any]:
    """The object of `--json`. Counts are of packets on all links, or of segments that TCP sent again."""
    return {
        "sha256_sent": outcome.sha256_sent,
        "sha256_received": outcome.sha256_received,
        "sha256_at_server": outcome.sha256_at_server,
        "equal": equal(outcome),
        "bytes": outcome.bytes,
        "bytes_back": outcome.bytes_back,
        "virtual_seconds": round(outcome.virtual_seconds, 9),
        "transfer_seconds": round(outcome.transfer_seconds, 9),
        "real_seconds": round(outcome.real_seconds, 3),
        "packets": outcome.packets,
        "dropped": sum(outcome.dropped.values()),
        "dropped_by_cause": outcome.dropped,
        "corrupted": outcome.corrupted,
        "corrupted_caught": {"ip": outcome.caught_ip, "tcp": outcome.caught_tcp},
        "duplicated": outcome.duplicated,
        "reordered": outcome.reordered,
        "retransmitted": sum(outcome.retransmitted.values()),
        "retransmitted_by_cause": outcome.retransmitted,
        "route_packets": {"north": outcome.packets_north, "south": outcome.packets_south},
        "route_cut_at": round(outcome.cut_at, 9) if outcome.cut_at >= 0 else None,
        "route_healed_at": round(outcome.healed_at, 9) if outcome.healed_at >= 0 else None,
        "seed": weather.seed,
        "trace_hash": outcome.trace_hash,
    }


def print_table(console: Console, outcome: Outcome, weather: Weather) -> None:
    """The closing table."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    table.add_row("bytes", f"{outcome.bytes:,} there, {outcome.bytes_back:,} back")
    table.add_row("virtual time", _virtual(outcome))
    table.add_row("real time", f"{outcome.real_seconds:.2f} s")
    table.add_row("routes", _routes(outcome))
    dropped = sum(outcome.dropped.values())
    table.add_row("packets", f"{outcome.packets:,} on all links, seed {weather.seed}, trace {outcome.trace_hash}")
    table.add_row("  dropped", _by_cause(dropped, outcome.dropped, DROPS))
    caught = {"ip": outcome.caught_ip, "tcp": outcome.caught_tcp}
    names = {"ip": "found by IP's checksum", "tcp": "found by TCP's"}
    table.add_row("  damaged", _by_cause(outcome.corrupted, caught, names))
    table.add_row("  doubled", f"{outcome.duplicated:,}")
    table.add_row("  overtaken", f"{outcome.reordered:,}")
    again = sum(outcome.retransmitted.values())
    share = f" of {outcome.segments:,} segments"
    table.add_row("retransmitted", _by_cause(again, outcome.retransmitted, RETRANSMISSIONS, share))
    good = equal(outcome)
    table.add_row("SHA-256 sent", outcome.sha256_sent)
    table.add_row("  at server", outcome.sha256_at_server or "none")
    table.add_row("  back", outcome.sha256_received or "none")
    verdict = Text("equal", "bold green") if good else Text("NOT EQUAL", "bold red")
    table.add_row("", verdict)
    console.print(table)


def print_part(console: Console, title: str, ladder: str) -> None:
    """A ladder under its title."""
    console.print(f"[bold]{escape(title)}[/bold]")
    for line in ladder.splitlines():
        style = "red" if " lost: " in line else "yellow" if line.endswith(" retransmission") else ""
        console.print(Text(line, style), soft_wrap=True)
    console.print()


def _virtual(outcome: Outcome) -> str:
    text = f"{outcome.virtual_seconds:.3f} s"
    if outcome.bytes and outcome.transfer_seconds:
        rate = outcome.bytes * 8 / outcome.transfer_seconds / 1e6
        text += f", {rate:.2f} Mbit/s each way at once"
    return text


def _routes(outcome: Outcome) -> str:
    text = f"{outcome.packets_north:,} packets north, {outcome.packets_south:,} south"
    if outcome.cut_at >= 0:
        text += f"; north died at {outcome.cut_at:.3f} s"
        if outcome.healed_at >= 0:
            text += f", healed at {outcome.healed_at:.3f} s"
    return text


def _by_cause(total: int, causes: dict[str, int], names: dict[str, str], share: str = "") -> str:
    listed = ", ".join(f"{names.get(cause, cause)} {count:,}" for cause, count in causes.items() if count)
    return f"{total:,}{share}" + (f": {listed}" if listed and total else "")
