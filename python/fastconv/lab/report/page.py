"""A profile as one HTML page that needs no network: the machine, the roofline with every layer, the table.

Points of the roofline tell their layer when the pointer rests on them; a table's heads are buttons that sort
it. The page fits telephones and follows the reader's choice of light or dark.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from fastconv._table import Table
from fastconv._text import counted
from fastconv.lab.draw.canvas import svg
from fastconv.lab.draw.svg_roofline import svg_roofline
from fastconv.lab.draw.sweeps import PLOTS
from fastconv.lab.profile.layers import Profile
from fastconv.lab.report.document import document, facts_table, wide
from fastconv.lab.sweeps.text import LINES


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
        wide(svg_roofline(profile)),
        "<h2>Layers</h2>",
        wide(profile.html()),
    ]
    if bench is not None:
        sections += ["<h2>Beside other engines</h2>", _comparison(bench)]
    for name, result in (sweeps or {}).items():
        sections += _sweep(name, result)
    for title, picture in (pictures or {}).items():
        sections += [f"<h2>{html.escape(title)}</h2>", wide(_inner(picture))]
    return document(f"{profile.model}: profile", sections)


def _summary(profile: Profile) -> str:
    roof, totals = profile.roofline, profile.totals
    facts = {
        "network": f"{profile.model}: {totals['params']:,} parameters, {totals['macs'] / 1e9:.3f} G MACs,"
        f" {totals['bytes'] / 1e6:.1f} MB that must move",
        "machine": f"{roof.cpu}, {roof.peak.tier}, {counted(roof.peak.threads, 'thread')}",
        "roofs": profile.roofs,
        "time": f"{totals['run_ms']:.3f} ms, the sum of the layers {totals['ms']:.3f}, at the roofs"
        f" {totals['ideal_ms']:.3f} ({totals['share']:.0%}); best of {totals['runs']} runs",
        "memory": profile.moved,
    }
    if totals["pairs"]:
        facts["weights of 8 bits"] = (
            f"{totals['saturating_pairs']:,} of {totals['pairs']:,} pairs"
            f" ({totals['saturating_share']:.1%}) would saturate in vpmaddubsw"
        )
    return f"<h1>{html.escape(profile.model)}</h1>{facts_table(facts)}{_doubts(profile)}"


def _doubts(profile: Profile) -> str:
    """Return a line that opens: what makes those roofs doubtful that this page draws."""
    roof = profile.roofline
    drawn = tuple(
        max((b for b in roof.bandwidths if b.level == at), key=lambda b: b.gbs) for at in roof.levels
    )
    doubts = replace(roof, narrow=profile.peaks[1:], bandwidths=drawn).warnings()
    if not doubts:
        return ""
    told = "".join(f"<li>{html.escape(text)}</li>" for text in doubts)
    roofs = "1 roof is" if len(doubts) == 1 else f"{len(doubts)} roofs are"
    return f"<details><summary>{roofs} doubtful: their samples differ</summary><ul>{told}</ul></details>"


_SWEEPS = {"algorithms": "Algorithms of its layers", "conv_blocking": "Block sizes of its layers"}


def _sweep(name: str, result: Any) -> list[str]:
    """Return the picture and the lines of a sweep."""
    lines = "\n".join(LINES[name](result))
    return [
        f"<h2>{html.escape(_SWEEPS.get(name, name))}</h2>",
        wide(_inner(svg(PLOTS[name](result)))),
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
    times_of = (("threads", ">"), ("fastconv ms", ">"), ("best peer", "<"), ("its ms", ">"), ("ratio", ">"))
    parts = [wide(Table(("network", "<"), *times_of).html(rows))]
    if len(bench["cases"]) == 1:  # one network: there is room for all of them
        (case,) = bench["cases"]
        fastest = sorted(case["engines"].items(), key=lambda item: float(item[1]["min_ms"]))
        all_of_them = [(name, f"{e['min_ms']:.2f}", f"{e['median_ms']:.2f}") for name, e in fastest]
        table = Table(("engine", "<"), ("best ms", ">"), ("median ms", ">"))
        parts.append(wide(table.html(all_of_them)))
        failures: dict[str, list[str]] = {}  # modes of one engine mostly fail alike
        for name, why in case["failed"].items():
            failures.setdefault(" ".join(why.split()), []).append(name)
        for why, names in failures.items():
            parts.append(f"<p>{html.escape(', '.join(names))} failed: {html.escape(why)}</p>")
    return "".join(parts)
