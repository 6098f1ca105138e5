"""`plankroad paths`: what it prints and writes, and what it says to wrong use."""

from __future__ import annotations

import csv
import html.parser
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from tests.paths.test_pool import OWN

from plankroad.cli.main import cli

#: A cell that takes a moment.
QUICK = ["--rate", "1Mbit", "--rtt", "20ms", "--seconds", "2"]


def paths(*words: str) -> Result:
    return CliRunner().invoke(cli, ["paths", *words])


def objects(*words: str) -> list[dict[str, Any]]:
    result = paths(*words, "--json")
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def timeless(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in one.items() if name != "real_s"} for one in found]


def test_one_cell_is_one_object_with_what_is_promised() -> None:
    words = "--rate 5Mbit --rtt 40ms --loss 0.01 --queue 1bdp --algorithm cubic --flows 1 --seconds 2 --seed 1"
    (found,) = objects(*words.split())
    for name in ("goodput_bps", "utilisation", "retransmitted_bytes", "rtos", "spurious", "queue_delay_ms", "jain"):
        assert isinstance(found[name], int | float), name
    assert 0 < found["goodput_bps"] < 5e6
    assert found["cell"]["rate_bps"] == 5_000_000
    assert found["cell"]["queue_bytes"] == found["cell"]["bdp_bytes"] == 25_000
    assert found["completion_s"] is found["linux"] is found["kept_real_time"] is None
    assert len(found["per_flow"]) == 1


def test_objects_come_in_the_order_of_the_cells_whatever_the_jobs() -> None:
    words = [*QUICK, "--loss", "0,2%", "--algorithm", "cubic,newreno"]
    alone = objects(*words, "--jobs", "1")
    order = [(one["cell"]["loss"], one["cell"]["algorithm"]) for one in alone]
    assert order == [(0, "cubic"), (0, "newreno"), (0.02, "cubic"), (0.02, "newreno")]
    assert timeless(objects(*words, "--jobs", "2")) == timeless(alone)


def test_the_same_seed_gives_the_same_table_whatever_the_jobs() -> None:
    words = [*QUICK, "--loss", "1%,3%", "--seeds", "2"]
    first = paths(*words, "--jobs", "1")
    assert first.exit_code == 0, first.output
    assert paths(*words, "--jobs", "2").stdout == first.stdout
    assert paths(*words, "--jobs", "1", "--seed", "5").stdout != first.stdout
    for heading in ("goodput", "RTOs", "spurious", "queue ms"):
        assert heading in first.stdout
    assert first.stdout.count("cubic") == 2
    assert "2 cells with 2 seeds each, 1 at a time" in first.stderr


def test_the_median_is_taken_over_seeds() -> None:
    words = [*QUICK, "--loss", "3%"]
    (middle,) = objects(*words, "--seeds", "3")
    single = sorted(one["goodput_bps"] for one in objects(*words, "--seed", "1,2,3"))
    assert middle["goodput_bps"] == single[1]
    assert middle["seeds"] == [1, 2, 3]


def test_columns_appear_where_they_say_something() -> None:
    assert "Jain" not in paths(*QUICK).stdout
    several = paths(*QUICK, "--flows", "2", "--burst", "1%:4", "--reorder", "1%:5ms", "--bytes", "20kB").stdout
    for heading in ("Jain", "burst", "reorder", "bytes", "done"):
        assert heading in several


def test_the_table_is_written_as_csv(tmp_path: Path) -> None:
    file = tmp_path / "table.csv"
    result = paths(*QUICK, "--loss", "0,1%", "--csv", str(file))
    assert result.exit_code == 0, result.output
    with file.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [float(row["loss"]) for row in rows] == [0, 0.01]
    assert all(float(row["goodput_bps"]) > 0 and row["convergence_s"] == "" for row in rows)


class Page(html.parser.HTMLParser):
    """What a page asks of the network, its cells, and its data."""

    def __init__(self) -> None:
        super().__init__()
        self.outside: list[str] = []
        self.rows = 0
        self.opens = 0
        self.data = ""
        self._reading = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.outside += [str(given[name]) for name in ("src", "href") if name in given]
        self.outside += [tag] if tag in ("link", "img", "iframe") else []
        self.rows += tag == "tr"
        self.opens += "data-cell" in given
        self._reading = given.get("id") == "plots"

    def handle_data(self, data: str) -> None:
        if self._reading:
            self.data += data
            self._reading = False


def read_page(file: Path) -> Page:
    page = Page()
    page.feed(file.read_text(encoding="utf-8"))
    return page


def test_the_page_needs_no_network_and_has_the_plots(tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    result = paths(*QUICK, "--flows", "1,2", "--loss", "0,1%", "--html", str(file), "--plots", "3")
    assert result.exit_code == 0, result.output
    page = read_page(file)
    assert page.outside == []
    assert page.rows == 1 + 4
    assert page.opens == 3
    plots = json.loads(page.data)
    assert sorted(plots) == ["0", "1", "2"]
    assert [len(plots[number]["flows"]) for number in "012"] == [1, 2, 1]
    one = plots["0"]
    assert one["count"] * one["step"] == pytest.approx(2)
    for row in (one["queue"], *(one["flows"][0][name] for name in ("cwnd", "in_flight", "rtt", "srtt", "goodput"))):
        assert len(row) == one["count"]
        assert max(row) > 0
    # What the program got in the last tenth of a second is about what the path carries.
    assert one["flows"][0]["goodput"][-1] == pytest.approx(0.96, abs=0.1)
    assert "Plotly" in file.read_text(encoding="utf-8")


def test_a_page_without_plots_is_small(tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    assert paths(*QUICK, "--html", str(file), "--plots", "0").exit_code == 0
    assert file.stat().st_size < 20_000
    assert read_page(file).opens == 0


def test_a_missing_plot_library_is_told_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "plotly" else find(name, *rest)
    )
    result = paths("--full", "--html", str(tmp_path / "page.html"))
    assert result.exit_code == 1
    assert result.stderr == ("Error: --html needs plotly, which is not installed: pip install 'plankroad[paths]'\n")


def test_an_algorithm_of_ones_own_is_loaded(tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    file.write_text(OWN.format(number="cli"))
    found = objects(*QUICK, "--load", str(file), "--algorithm", "timidcli,newreno", "--jobs", "2")
    assert found[0]["goodput_bps"] == found[1]["goodput_bps"]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("x = 1", "it registers no congestion control; call plankroad.tcp.cc.registry.register(name, cls)"),
        ("def", "SyntaxError: invalid syntax"),
        ("import nothing_like_it", "ModuleNotFoundError: No module named 'nothing_like_it'"),
    ],
)
def test_a_file_that_cannot_be_loaded_is_told_in_one_line(tmp_path: Path, text: str, complaint: str) -> None:
    file = tmp_path / "own.py"
    file.write_text(text)
    result = paths(*QUICK, "--load", str(file))
    assert result.exit_code == 1
    assert complaint in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--rate", "fast"], "Invalid value for '--rate': 'fast' is no rate; write bits per second"),
        (["--rate", "1Mbit,"], "Invalid value for '--rate': '1Mbit,' has an empty place"),
        (["--rate", "unlimited"], "rate: 0 bit/s is not within 8 kbit/s and 100 Gbit/s"),
        (["--loss", "2"], "Invalid value for '--loss': '2' is not from 0 % to 100 %"),
        (["--queue", "sfq"], "Invalid value for '--queue': 'sfq' is not understood; write 1bdp"),
        (["--burst", "3"], "Invalid value for '--burst': '3' is not understood"),
        (["--algorithm", "qubic"], "algorithm: there is no 'qubic'; there are"),
        (["--flows", "0"], "flows: 0 is not within 1 and 1000"),
        (["--jobs", "0"], "Invalid value for '--jobs'"),
        (["--full", "--grid", "small"], "--full and --grid small are two grids"),
        (["--load", "/nowhere.py"], "'/nowhere.py' does not exist"),
        (["somewhere"], "Got unexpected extra argument (somewhere)"),
    ],
)
def test_wrong_use_is_told(words: list[str], complaint: str) -> None:
    result = paths(*words)
    assert result.exit_code == 2
    assert complaint in " ".join(result.stderr.split())
    assert result.stdout == ""


def test_a_file_that_cannot_be_written_is_told_before_anything_runs(tmp_path: Path) -> None:
    result = paths("--full", "--csv", str(tmp_path / "no" / "table.csv"))
    assert result.exit_code == 1
    assert result.stderr.endswith("table.csv: No such file or directory\n")


def test_an_interrupt_ends_all_processes_and_shows_what_there_is(tmp_path: Path) -> None:
    words = ["paths", *QUICK[:4], "--seconds", "1,86400", "--jobs", "2"]
    process = subprocess.Popen(
        [sys.executable, "-m", "plankroad", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        cwd=tmp_path,
    )
    try:
        # As a terminal does it: to the whole group, once the workers are there.
        assert process.stderr is not None
        process.stderr.readline()
        wait_for(lambda: len(group(process.pid)) >= 3)
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 130, err
        assert "Interrupted after " in err
        assert "Traceback" not in out + err
        # The tracker of multiprocessing notices a moment later that nobody is left.
        wait_for(lambda: not group(process.pid))
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until it holds; a minute is too long."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it does not come"
        time.sleep(0.05)


def group(number: int) -> list[int]:
    """The processes of a group."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                fields = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[2]) == number and fields[0] != "Z":
                found.append(int(name))
    return found


def test_the_help_tells_of_every_axis() -> None:
    result = paths("--help")
    assert result.exit_code == 0
    for axis in (
        "rate",
        "rtt",
        "loss",
        "burst",
        "reorder",
        "queue",
        "algorithm",
        "flows",
        "seconds",
        "bytes",
        "seed",
    ):
        assert f"--{axis} LIST" in result.stdout
