"""A profile as one HTML page that needs no network: the machine, the roofline with every layer, the table.

Points of the roofline tell their layer when the pointer rests on them; a click on a table's head sorts it.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fastconv._text import counted
from fastconv.lab.draw.canvas import svg
from fastconv.lab.draw.layers import FAMILIES, LEAST, family_of
from fastconv.lab.draw.roofline import LEVEL_COLOURS
from fastconv.lab.draw.sweeps import PLOTS
from fastconv.lab.profile.layers import Profile
from fastconv.lab.sweeps.text import LINES

WIDTH, HEIGHT = 960, 480
LEFT, RIGHT, TOP, BOTTOM = 70, 20, 20, 50  # margins
MOST = 512  # FLOP/byte
LOWEST = 0.1  # GFLOP/s

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; color: #222; }}
body {{ margin: 2em auto; max-width: 1500px; padding: 0 1em; }}
h1, h2 {{ font-weight: 600; }}
table {{ border-collapse: collapse; font-size: 12px; display: block; overflow-x: auto; margin-bottom: 1em; }}
th, td {{ padding: 2px 8px; text-align: right; white-space: nowrap; border-bottom: 1px solid #eee; }}
th.text, td.text {{ text-align: left; }}
table.sortable th {{ cursor: pointer; background: #f6f6f6; }}
th[aria-sort]::after {{ content: " \\2193"; }}
th[aria-sort=ascending]::after {{ content: " \\2191"; }}
svg {{ width: 100%; max-width: 1100px; height: auto; }}
pre {{ font-size: 12px; overflow-x: auto; }}
svg text {{ font-size: 12px; fill: #444; }}
</style>
</head>
<body>
{body}
<script>
for (const head of document.querySelectorAll("table.sortable th")) head.addEventListener("click", () => {{
  const body = head.closest("table").tBodies[0], column = head.cellIndex;
  const up = head.getAttribute("aria-sort") === "descending";
  for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", up ? "ascending" : "descending");
  const key = row => {{
    const value = row.cells[column].dataset.value ?? row.cells[column].textContent;
    return value !== "" && !isNaN(value) ? Number(value) : value;
  }};
  const order = (a, b) => a < b ? -1 : a > b ? 1 : 0;
  const rows = [...body.rows].sort((a, b) => (up ? 1 : -1) * order(key(a), key(b)));
  body.append(...rows);
}});
</script>
</body>
</html>
"""


def report(
    profile: Profile,
    *,
    bench: Mapping[str, Any] | None = None,
    sweeps: Mapping[str, Any] | None = None,
    pictures: Mapping[str, str] | None = None,
) -> str:
    """Write a page about a profile.

    Parameters
    ----------
    profile : Profile
        From :func:`fastconv.profile`.
    bench : mapping, optional
        A record of ``fastconv bench model --json``, for a comparison with other engines.
    sweeps : mapping of str to result, optional
        Results of :mod:`fastconv.sweep` by the names that its records have: each is drawn and printed.
    pictures : mapping of str to str, optional
        Further pictures by title, as SVG documents: those of ``fastconv sweep --plot``.

    Returns
    -------
    str
        An HTML document without references to anything outside of it.

    Examples
    --------
    >>> from fastconv.models import resnet18
    >>> from fastconv.profiler import profile
    >>> model = resnet18(resnet18.random_weights())
    >>> page = report(profile(model, (1, 3, 64, 64), seconds=0.1))
    >>> page.startswith("<!DOCTYPE html>"), "https://" in page
    (True, False)
    """
    sections = [
        _summary(profile),
        "<h2>The roofline</h2>",
        _roofline(profile),
        "<h2>Layers</h2>",
        profile.html(),
    ]
    if bench is not None:
        sections += ["<h2>Beside other engines</h2>", _comparison(bench)]
    for name, result in (sweeps or {}).items():
        sections += _sweep(name, result)
    for title, picture in (pictures or {}).items():
        sections += [f"<h2>{html.escape(title)}</h2>", _inner(picture)]
    return _PAGE.format(title=html.escape(f"{profile.model}: profile"), body="\n".join(sections))


def _summary(profile: Profile) -> str:
    roof, totals = profile.roofline, profile.totals
    levels = ", ".join(f"{level} {roof.gbs(level):.0f}" for level in roof.levels)
    facts = {
        "network": f"{profile.model}: {totals['params']:,} parameters, {totals['macs'] / 1e9:.3f} G MACs,"
        f" {totals['bytes'] / 1e6:.1f} MB that must move",
        "machine": f"{roof.cpu}, {roof.peak.tier}, {counted(roof.peak.threads, 'thread')}",
        "roofs": f"FMA peak {roof.peak.gflops:.1f} GFLOP/s; GB/s: {levels}",
        "time": f"{totals['run_ms']:.3f} ms, the sum of the layers {totals['ms']:.3f}, at the roofs"
        f" {totals['ideal_ms']:.3f} ({totals['share']:.0%}); best of {totals['runs']} runs",
        "memory": profile.moved,
    }
    rows = "".join(
        f'<tr><th class="text">{key}</th><td class="text">{html.escape(text)}</td></tr>'
        for key, text in facts.items()
    )
    doubts = "".join(f"<p>Doubtful: {html.escape(text)}</p>" for text in roof.warnings())
    return f"<h1>{html.escape(profile.model)}</h1><table>{rows}</table>{doubts}"


def _x(intensity: float) -> float:
    at = math.log2(min(max(intensity, LEAST), MOST) / LEAST) / math.log2(MOST / LEAST)
    return LEFT + at * (WIDTH - LEFT - RIGHT)


def _y(gflops: float, highest: float) -> float:
    at = math.log10(min(max(gflops, LOWEST), highest) / LOWEST) / math.log10(highest / LOWEST)
    return HEIGHT - BOTTOM - at * (HEIGHT - TOP - BOTTOM)


def _roofline(profile: Profile) -> str:
    roof = profile.roofline
    peak, highest = roof.peak.gflops, 4 * roof.peak.gflops
    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="roofline">']

    def line(x1: float, y1: float, x2: float, y2: float, colour: str, width: float = 1.0) -> None:
        parts.append(
            f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
            f' stroke="{colour}" stroke-width="{width}"/>'
        )

    def text(x: float, y: float, content: str, anchor: str = "middle", colour: str = "#444") -> None:
        parts.append(
            f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" style="fill:{colour}">'
            f"{html.escape(content)}</text>"
        )

    for power in range(int(math.log2(LEAST)), int(math.log2(MOST)) + 1, 2):
        line(_x(2.0**power), TOP, _x(2.0**power), HEIGHT - BOTTOM, "#eee")
        text(_x(2.0**power), HEIGHT - BOTTOM + 18, f"{2.0**power:g}" if power >= 0 else f"1/{2**-power}")
    for power in range(int(math.log10(LOWEST)), int(math.log10(highest)) + 1):
        line(LEFT, _y(10.0**power, highest), WIDTH - RIGHT, _y(10.0**power, highest), "#eee")
        text(LEFT - 8, _y(10.0**power, highest) + 4, f"{10.0**power:g}", "end")
    text((LEFT + WIDTH) / 2, HEIGHT - 10, "arithmetic intensity, FLOP/byte; vertical: GFLOP/s")
    for i, level in enumerate(roof.levels):
        ridge, gbs, colour = roof.ridge(level), roof.gbs(level), LEVEL_COLOURS[level]
        start = max(LEAST, LOWEST / gbs)
        line(_x(start), _y(gbs * start, highest), _x(ridge), _y(peak, highest), colour, 2)
        text(WIDTH - RIGHT, HEIGHT - BOTTOM - 90 + 18 * i, f"{level} {gbs:.0f} GB/s", "end", colour)
    first = min(roof.ridge(level) for level in roof.levels)
    line(_x(first), _y(peak, highest), WIDTH - RIGHT, _y(peak, highest), "#000", 2)
    text(WIDTH - RIGHT, _y(peak, highest) - 6, f"FMA peak {peak:.0f} GFLOP/s", "end", "#000")
    total = sum(layer.ms for layer in profile.layers)
    for layer in profile.layers:
        colour = next(c for label, c, _ in FAMILIES if label == family_of(layer))
        intensity = layer.executed_flops / layer.bytes
        radius = max(3.0, 60 * math.sqrt(layer.ms / total / math.pi))
        told = (
            f"{layer.name}\n{layer.op} {layer.algorithm}\n{layer.ms:.3f} ms, {layer.gbs:.1f} GB/s,"
            f" {layer.executed_gflops:.1f} GFLOP/s executed, {layer.gflops:.1f} useful\n"
            f"{layer.share:.0%} of {layer.roof}, {layer.lost_ms:.3f} ms lost"
        )
        parts.append(
            f'<circle class="layer" cx="{_x(intensity):.1f}" cy="{_y(layer.executed_gflops, highest):.1f}"'
            f' r="{radius:.1f}" fill="{colour}" fill-opacity="0.7" stroke="#fff">'
            f"<title>{html.escape(told)}</title></circle>"
        )
    for i, (label, colour, _) in enumerate(FAMILIES):
        parts.append(f'<circle cx="{LEFT + 15}" cy="{TOP + 11 + 18 * i}" r="5" fill="{colour}"/>')
        text(LEFT + 26, TOP + 15 + 18 * i, label, "start")
    return "".join([*parts, "</svg>"])


_SWEEPS = {"algorithms": "Algorithms of its layers", "conv_blocking": "Block sizes of its layers"}


def _sweep(name: str, result: Any) -> list[str]:
    """Return the picture and the lines of a sweep."""
    lines = "\n".join(LINES[name](result))
    return [
        f"<h2>{html.escape(_SWEEPS.get(name, name))}</h2>",
        _inner(svg(PLOTS[name](result))),
        f"<pre>{html.escape(lines)}</pre>",
    ]


def _inner(document: str) -> str:
    """Return an SVG document as an element of a page: without what stands before it."""
    return document[max(document.find("<svg"), 0) :]


def _comparison(bench: Mapping[str, Any]) -> str:
    """Return the best peer's time over fastconv's for each network of a bench record."""
    rows: list[Sequence[str]] = []
    for case in bench["cases"]:
        contest = case["contests"].get("network")
        if contest is None:
            continue
        times = {name: f"{engine['min_ms']:.2f}" for name, engine in case["engines"].items()}
        ours, peer = (times.get(name, "") for name in (contest["ours"], contest["best_peer"]))
        ratio = "" if contest["ratio"] is None else f"{contest['ratio']:.2f}"
        rows.append((case["name"], str(case["threads"]), ours, contest["best_peer"] or "", peer, ratio))
    heads = ("network", "threads", "fastconv ms", "best peer", "its ms", "ratio")
    parts = [_table(heads, rows)]
    if len(bench["cases"]) == 1:  # one network: there is room for all of them
        (case,) = bench["cases"]
        fastest = sorted(case["engines"].items(), key=lambda item: float(item[1]["min_ms"]))
        all_of_them = [(name, f"{e['min_ms']:.2f}", f"{e['median_ms']:.2f}") for name, e in fastest]
        parts.append(_table(("engine", "best ms", "median ms"), all_of_them))
        for name, why in case["failed"].items():
            parts.append(f"<p>{html.escape(name)} failed: {html.escape(' '.join(why.split()))}</p>")
    return "".join(parts)


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    body = "".join("<tr>" + "".join(f"<td>{html.escape(c)}</td>" for c in row) + "</tr>" for row in rows)
    head = "".join(f"<th>{h}</th>" for h in heads)
    return f'<table class="sortable"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
