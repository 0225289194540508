"""Achieved against peak: a bar for each case, with the roof as a line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fastconv._text import counted
from fastconv.lab.compare.engines import CONTESTS
from fastconv.lab.draw.canvas import save


def draw(records: Sequence[Mapping[str, Any]], path: str | Path) -> None:
    """Draw records into a file: GFLOP/s of useful work by case, the executed part of it full.

    Useful work above the roof is what Winograd saves: the pale top of a bar.
    """
    from matplotlib.figure import Figure

    panels = [(record, threads) for record in records for threads in record["threads"]]
    heights = [2 + 0.3 * len({case["name"] for case in record["cases"]}) for record, _ in panels]
    figure = Figure(figsize=(9, sum(heights)), layout="constrained")
    axes = figure.subplots(len(panels), 1, squeeze=False, height_ratios=heights)
    for (record, threads), axis in zip(panels, axes[:, 0], strict=True):
        _panel(axis, record, threads)
    save(figure, path, "--plot")


def _panel(axis: Any, record: Mapping[str, Any], threads: int) -> None:
    contest = CONTESTS[record["kind"]][0]
    cases = [case for case in record["cases"] if case["threads"] == threads]
    at = range(len(cases))

    def rates(key: str, which: str) -> list[float]:
        names = [contest.ours if which == "ours" else c["contests"][contest.name][which] for c in cases]
        return [c["engines"].get(n, {}).get(key, 0.0) for c, n in zip(cases, names, strict=True)]

    above, below = [i - 0.2 for i in at], [i + 0.2 for i in at]
    axis.barh(above, rates("gflops", "ours"), 0.4, color="#9ecae1", label="fastconv, useful")
    axis.barh(above, rates("executed_gflops", "ours"), 0.4, color="#2171b5", label="fastconv, executed")
    axis.barh(below, rates("gflops", "best_peer"), 0.4, color="#bdbdbd", label="best peer")
    peak = record["peaks"][str(threads)]
    axis.axvline(peak["gflops"], color="black", label="measured FMA peak")
    if "int8" in peak:
        label = f"measured peak of int8 {peak['int8']['instruction']}, GOP/s"
        axis.axvline(peak["int8"]["gops"], color="black", linestyle="--", label=label)
    axis.set_yticks(at, [case["name"] for case in cases], fontsize=8)
    axis.invert_yaxis()
    axis.set_xlabel("GFLOP/s")
    where = f"{counted(threads, 'thread')}, {record['tier']}"
    axis.set_title(f"{', '.join(record['tables'])}: {where}", fontsize=10)
    axis.legend(fontsize=8)
