"""The page of `plankroad paths --html`: one file that needs no network, with a table to sort and plots of each cell.

The plots are drawn by plotly when a cell is opened, so that a page of many cells opens at once. plotly is an extra,
`plankroad[paths]`; it is imported only where there is something to plot.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from plankroad.paths.cell import Cell
from plankroad.paths.report import table
from plankroad.paths.result import Result
from plankroad.paths.series import Series
from plankroad.units import MILLISECOND, SECOND

#: Goodput is the mean over a round trip, but over not less than this.
LEAST_SMOOTHING: Final = 100 * MILLISECOND

_NUMBER: Final = re.compile(r"-?[0-9]+(?:\.[0-9]+)?")


def page(results: Sequence[Result], series: Mapping[int, Series], version: str) -> str:
    """The page. `series` by the number of the result; those without get no plots. ImportError without plotly."""
    plots = {number: plotted(results[number].cell, rows) for number, rows in sorted(series.items())}
    columns, rows = table(results)
    head = "".join(
        f'<th class="{"n" if column.number else "t"}">{html.escape(column.heading).replace(chr(10), "<br>")}</th>'
        for column in columns
    )
    body = []
    for number, (result, texts) in enumerate(zip(results, rows, strict=True)):
        fields = "".join(
            f'<td class="{"n" if column.number else "t"}" data-key="{sort_key(place, text, result)}">'
            f"{html.escape(text)}</td>"
            for place, (column, text) in enumerate(zip(columns, texts, strict=True))
        )
        opens = f' data-cell="{number}" tabindex="0" class="opens"' if number in plots else ""
        note = f'<td class="t note">{html.escape("; ".join(result.notes))}</td>' if any_notes(results) else ""
        body.append(f"<tr{opens}>{fields}{note}</tr>")
    if any_notes(results):
        head += "<th>notes</th>"
    hint = "Choose a row for its plots over time. " if plots else ""
    return "".join(
        [
            '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width">',
            f"<title>TCP on {len(results)} paths</title><style>{STYLE}</style></head><body>",
            f"<h1>TCP on {len(results)} path{'s' if len(results) != 1 else ''}</h1>",
            f"<p>{html.escape(version)}. {hint}Choose a heading to sort; docs/paths.md tells what is counted.</p>",
            f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{"".join(body)}</tbody></table></div>',
            f'<script type="application/json" id="plots">{embedded(plots)}</script>',
            f"<script>{plotly_source()}</script>" if plots else "",
            f"<script>{SCRIPT}</script></body></html>\n",
        ]
    )


def any_notes(results: Sequence[Result]) -> bool:
    """Whether there is a column of notes."""
    return any(result.notes for result in results)


def sort_key(place: int, text: str, result: Result) -> str:
    """What a field is sorted by: the rate as it is, else the first number in it, else its text."""
    if place == 0:
        return str(result.cell.rate)
    match = _NUMBER.match(text)
    return match[0] if match else html.escape(text, quote=True)


def embedded(found: object) -> str:
    """JSON that can stand within a script element."""
    return json.dumps(found, separators=(",", ":")).replace("<", "\\u003c")


def plotly_source() -> str:
    """plotly's own script, all of it."""
    from plotly.offline import get_plotlyjs  # noqa: PLC0415  an extra, and large

    source: str = get_plotlyjs()
    # Within a script element nothing may look like its end.
    return source.replace("</script", "<\\/script")


def plotted(cell: Cell, series: Series) -> dict[str, Any]:
    """What the page needs to draw a cell: numbers with few digits. Seconds, kB, ms, Mbit/s."""
    count = len(series.queue)
    smooth = max(1, max(LEAST_SMOOTHING, cell.rtt) // series.step)
    drops = [late - early for early, late in zip([0, *series.drops], series.drops, strict=False)]
    return {
        "title": cell.describe(),
        "step": series.step / SECOND,
        "count": count,
        "rate": cell.rate / 1e6,
        "rtt": cell.rtt / MILLISECOND,
        "limit": cell.queue_bytes / 1e3,
        "queue": [round(size / 1e3, 1) for size in series.queue],
        "drops": [[place, dropped] for place, dropped in enumerate(drops) if dropped],
        "flows": [
            {
                "name": flow.algorithm if cell.flows == 1 else f"{number} {flow.algorithm}",
                "cwnd": [round(size / 1e3, 1) for size in flow.cwnd],
                "ssthresh": [round(size / 1e3, 1) for size in flow.ssthresh],
                "in_flight": [round(size / 1e3, 1) for size in flow.in_flight],
                "rtt": [round(time / MILLISECOND, 2) for time in flow.rtt],
                "srtt": [round(time / MILLISECOND, 2) for time in flow.srtt],
                "goodput": [
                    round(_rate(flow.delivered, place, smooth, series.step) / 1e6, 3) for place in range(count)
                ],
            }
            for number, flow in enumerate(series.flows)
        ],
    }


def _rate(delivered: Sequence[int], place: int, smooth: int, step: int) -> float:
    """Bit/s over the last `smooth` rows up to `place`."""
    before = delivered[place - smooth] if place >= smooth else 0
    rows = min(smooth, place + 1)
    return (delivered[place] - before) * 8 * SECOND / (rows * step)


STYLE: Final = """
:root { color-scheme: light dark; --line: #d5d9de; --soft: #f2f4f7; --ink: #1c2733; --paper: #fff; --mark: #dceaff; }
@media (prefers-color-scheme: dark) {
  :root { --line: #38424d; --soft: #1d242c; --ink: #dde3ea; --paper: #12171d; --mark: #24384f; }
}
body { font: 15px/1.45 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 1.5rem 2rem; }
h1 { font-size: 1.35rem; margin: 0 0 .3rem; }
p { margin: 0 0 1rem; max-width: 60rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .86rem; font-variant-numeric: tabular-nums; }
th { position: sticky; top: 0; background: var(--soft); cursor: pointer; vertical-align: bottom; font-weight: 600; }
th, td { padding: .28rem .65rem; border-bottom: 1px solid var(--line); white-space: nowrap; }
th[aria-sort=ascending]::after { content: " \\25B2"; font-size: .7em; }
th[aria-sort=descending]::after { content: " \\25BC"; font-size: .7em; }
.n { text-align: right; }
.t { text-align: left; }
td.note { white-space: normal; min-width: 16rem; }
tr.opens { cursor: pointer; }
tr.opens:hover, tr.open { background: var(--mark); }
tr.plot td { padding: 0; }
tr.plot div.box { width: min(94vw, 84rem); height: 60rem; }
"""

SCRIPT: Final = r"""
"use strict";
const plots = JSON.parse(document.getElementById("plots").textContent);
const body = document.querySelector("tbody");

function close(row) {
  row.classList.remove("open");
  const below = row.nextElementSibling;
  if (below && below.classList.contains("plot")) { Plotly.purge(below.querySelector("div")); below.remove(); }
}

function open(row) {
  const below = document.createElement("tr");
  below.className = "plot";
  const field = below.insertCell();
  field.colSpan = row.cells.length;
  const box = field.appendChild(document.createElement("div"));
  box.className = "box";
  row.classList.add("open");
  row.after(below);
  draw(box, plots[row.dataset.cell]);
}

for (const row of document.querySelectorAll("tr.opens")) {
  const turn = () => row.classList.contains("open") ? close(row) : open(row);
  row.addEventListener("click", turn);
  row.addEventListener("keydown", event => { if (event.key === "Enter") turn(); });
}

// The page of one cell shows its plots; "page.html#cell-3" those of cell 3.
addEventListener("load", () => {
  const rows = [...document.querySelectorAll("tr.opens")];
  const wanted = rows.find(row => location.hash === "#cell-" + row.dataset.cell) || (rows.length === 1 && rows[0]);
  if (wanted) { open(wanted); wanted.scrollIntoView(); }
});

document.querySelectorAll("th").forEach((head, place) => head.addEventListener("click", () => {
  const up = head.getAttribute("aria-sort") !== "ascending";
  document.querySelectorAll("th").forEach(other => other.removeAttribute("aria-sort"));
  head.setAttribute("aria-sort", up ? "ascending" : "descending");
  const rows = [...body.rows].filter(row => !row.classList.contains("plot"));
  rows.forEach(close);
  const key = row => row.cells[place].dataset.key || row.cells[place].textContent;
  rows.sort((a, b) => {
    const x = key(a), y = key(b), order = x - y;
    return (up ? 1 : -1) * (Number.isNaN(order) ? x.localeCompare(y) : order);
  });
  rows.forEach(row => body.append(row));
}));

function draw(box, cell) {
  const style = getComputedStyle(document.documentElement);
  const ink = style.getPropertyValue("--ink"), line = style.getPropertyValue("--line");
  const time = Array.from({length: cell.count}, (_, row) => +((row + 1) * cell.step).toFixed(6));
  const colours = ["#2f7ed8", "#e4572e", "#2a9d5c", "#9b5de5", "#d99a00", "#00a5b5", "#c2407f", "#7a6a53"];
  const traces = [];
  const add = (panel, y, name, colour, more) => traces.push(Object.assign({
    type: "scatter", mode: "lines", x: time, y, name, xaxis: "x", yaxis: "y" + (panel > 1 ? panel : ""),
    line: {width: 1.4, color: colour}, showlegend: false,
  }, more));
  cell.flows.forEach((flow, number) => {
    const colour = colours[number % colours.length], group = {legendgroup: flow.name};
    const pale = {line: {width: 1, color: colour, dash: "dot"}, opacity: .6};
    add(1, flow.cwnd.map(v => v || null), "cwnd " + flow.name, colour, group);
    add(1, flow.ssthresh.map(v => v || null), "ssthresh " + flow.name, colour, {...group, ...pale});
    add(2, flow.in_flight, "in flight " + flow.name, colour, group);
    add(3, flow.rtt.map(v => v || null), "RTT " + flow.name, colour, {...group, ...pale});
    add(3, flow.srtt.map(v => v || null), "smoothed RTT " + flow.name, colour, group);
    add(5, flow.goodput, "goodput " + flow.name, colour, group);
    traces.push({x: [null], y: [null], name: flow.name, legendgroup: flow.name, mode: "lines", line: {color: colour}});
  });
  add(4, cell.queue, "queue", ink, {line: {width: 1.2, color: ink}});
  add(4, cell.drops.map(([row]) => cell.queue[row]), "dropped", "#d62839", {
    x: cell.drops.map(([row]) => time[row]), text: cell.drops.map(([, count]) => count + " dropped"),
    mode: "markers", marker: {symbol: "x", size: 6, color: "#d62839"}, hovertemplate: "%{text}<extra></extra>",
  });
  const axis = (title, bottom) => ({
    title: {text: title, font: {size: 12}}, domain: [bottom, bottom + .165], rangemode: "tozero", gridcolor: line,
    zerolinecolor: line, automargin: true,
  });
  const level = (panel, value, text) => ({
    type: "line", xref: "paper", x0: 0, x1: 1, yref: "y" + panel, y0: value, y1: value,
    line: {color: "#888", width: 1, dash: "dash"},
    label: {text, font: {size: 10, color: "#888"}, textposition: "end", yanchor: "top"},
  });
  const shapes = [level(3, cell.rtt, "of the path"), level(5, cell.rate, "rate")];
  if (cell.limit) shapes.push(level(4, cell.limit, "limit"));
  Plotly.newPlot(box, traces, {
    title: {text: cell.title, font: {size: 14}, x: 0, xanchor: "left", xref: "paper"}, hovermode: "x",
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)", font: {color: ink, family: "system-ui, sans-serif"},
    modebar: {bgcolor: "rgba(0,0,0,0)", color: "#999", activecolor: ink},
    margin: {l: 70, r: 20, t: 50, b: 60}, legend: {orientation: "h", y: -.05, yanchor: "top"},
    showlegend: cell.flows.length > 1, shapes,
    xaxis: {title: {text: "seconds"}, anchor: "y5", range: [0, cell.count * cell.step], gridcolor: line},
    yaxis: axis("cwnd, ssthresh<br>kB", .835), yaxis2: axis("in flight<br>kB", .625),
    yaxis3: axis("RTT<br>ms", .415), yaxis4: axis("queue<br>kB", .205), yaxis5: axis("goodput<br>Mbit/s", 0),
  }, {responsive: true, displaylogo: false});
}
"""
