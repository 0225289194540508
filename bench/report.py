"""Write the tables of README.md and docs/bench.md and the figure docs/bench.svg from bench/results/*.json.

    fastconv bench conv --threads 1,2 --json bench/results/conv.json
    python bench/report.py

Everything between the two marker lines of a page is replaced; nothing there is written by hand. README.md has
whole networks, docs/bench.md everything. ``--check`` writes nothing and exits with 1 when a page does not say
what the results say.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS, FIGURE = ROOT / "bench" / "results", ROOT / "docs" / "bench.svg"
# The kinds of results that a page shows.
PAGES = {ROOT / "README.md": ("model",), ROOT / "docs" / "bench.md": ("model", "conv", "gemm")}
BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"
TITLES = {"gemm": "Matrix products, M x N x K", "conv": "Single convolutions", "model": "Whole networks"}

Record = dict[str, Any]


def read_records(folder: Path = RESULTS) -> list[Record]:
    """Read all results, networks first; a file holds one record or a list of them."""
    records: list[Record] = []
    for path in sorted(folder.glob("*.json")):
        content = json.loads(path.read_text())
        records += content if isinstance(content, list) else [content]
    return sorted(records, key=lambda record: list(TITLES)[::-1].index(record["kind"]))


def geometric_mean(ratios: Sequence[float]) -> float:
    return math.exp(sum(map(math.log, ratios)) / len(ratios))


def _ours(case: Record) -> Record:
    """The numbers of our fastest variant."""
    mine = [numbers for name, numbers in case["engines"].items() if name.partition("/")[0] == "fastconv"]
    return min(mine, key=lambda numbers: numbers["min_ms"])


def _cells(case: Record | None) -> list[str]:
    """Time, share of the peak, the best peer and the ratio of one case on one number of threads."""
    if case is None:
        return [""] * 4
    ours = _ours(case)
    cells = [f"{ours['min_ms']:.3g}", f"{ours['percent_of_peak']:.0f} %"]
    peer = case["best_peer"]
    if peer is None:
        return [*cells, "", ""]
    return [*cells, f"{case['engines'][peer]['min_ms']:.3g} ({peer})", f"**{case['ratio']:.2f}**"]


def table(record: Record) -> str:
    """One record as Markdown: a row for each case, four columns for each number of threads."""
    counts = sorted({case["threads"] for case in record["cases"]})
    rows: dict[str, dict[int, Record]] = {}
    for case in record["cases"]:
        rows.setdefault(case["name"], {})[case["threads"]] = case
    head = ["case"]
    for count in counts:
        label = f"{count} thread" + "s" * (count > 1)
        head += [f"{label}: fastconv ms", "of peak", "best peer ms", "ratio"]
    lines = [head, ["---", *["---:"] * (len(head) - 1)]]
    lines += [
        [name, *(cell for count in counts for cell in _cells(by_threads.get(count)))]
        for name, by_threads in rows.items()
    ]
    means = ["geometric mean of the ratios"]
    for count in counts:
        ratios = [c["ratio"] for c in record["cases"] if c["threads"] == count and c["ratio"] is not None]
        means += ["", "", "", f"**{geometric_mean(ratios):.2f}**" if ratios else ""]
    lines.append(means)

    packages = ", ".join(f"{name} {version}" for name, version in record["packages"].items())
    roofs = ", ".join(f"{count}T {peak['gflops']:.0f} GFLOP/s" for count, peak in record["peaks"].items())
    return "\n".join(
        [
            f"### {TITLES[record['kind']]}",
            "",
            *("| " + " | ".join(cells) + " |" for cells in lines),
            "",
            f"{record['cpu']}, tier {record['tier']}, measured FMA peak {roofs}; "
            f"best of {record['rounds']} interleaved rounds; {packages}; "
            f"{record['date']}, commit {record['git_sha']}.",
        ]
    )


def updated(page: str, records: Iterable[Record]) -> str:
    """The text of a page with the tables of the records between its markers."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise SystemExit(f"page: expected the lines {BEGIN} and {END}")
    intro = "Ratio: the best peer's time over fastconv's, from interleaved rounds: above 1, fastconv wins."
    body = "\n\n".join([intro, *(table(record) for record in records)])
    return f"{before}{BEGIN}\n{body}\n{END}{after}"


def draw(records: Sequence[Record], path: Path) -> None:
    """Draw the ratio of every case as a bar, a panel for each record."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "fastconv"  # the same file from the same results
    from matplotlib import pyplot as plt

    heights = [len({case["name"] for case in record["cases"]}) + 2 for record in records]
    figure, axes = plt.subplots(
        len(records), 1, figsize=(8, 0.32 * sum(heights) + 1), height_ratios=heights, squeeze=False,
        layout="constrained",
    )  # fmt: skip
    for record, axis in zip(records, axes[:, 0], strict=True):
        names = list(dict.fromkeys(case["name"] for case in record["cases"]))
        counts = sorted({case["threads"] for case in record["cases"]})
        for i, count in enumerate(counts):
            cases = [c for c in record["cases"] if c["threads"] == count and c["ratio"] is not None]
            at = [names.index(case["name"]) + 0.8 * (i + 0.5) / len(counts) - 0.4 for case in cases]
            label = f"{count} thread" + "s" * (count > 1)
            axis.barh(at, [case["ratio"] for case in cases], height=0.8 / len(counts), label=label)
        axis.axvline(1.0, color="black", linewidth=1)
        axis.set_yticks(range(len(names)), names, fontsize=8)
        axis.invert_yaxis()
        axis.set_title(TITLES[record["kind"]], fontsize=10)
        axis.set_xlabel(
            "best peer's time / fastconv's time (right of the line, fastconv is faster)", fontsize=8
        )
        axis.legend(fontsize=8)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="only compare the pages with the results")
    args = parser.parse_args()
    records = read_records()
    if not records:
        raise SystemExit("bench/results: expected *.json files, found none")
    stale = False
    for path, kinds in PAGES.items():
        page = path.read_text()
        text = updated(page, [record for record in records if record["kind"] in kinds])
        stale = stale or text != page
        if not args.check:
            path.write_text(text)
    if args.check:
        return int(stale)
    draw(records, FIGURE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
