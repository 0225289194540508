"""Write the tables of README.md and docs/bench.md and the figure docs/bench.svg from bench/results/*.json.

    fastconv bench conv vgg16 --threads 1,2 --json bench/results/conv-vgg16.json
    python bench/report.py

Everything between the two marker lines of a page is replaced; nothing there is written by hand. README.md
has the means of the networks' ratios, docs/bench.md all that was measured of them, a row for each table of
layers, and every case. ``--check`` writes nothing and exits with 1 when a page does not say what the results
say.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fastconv._text import counted, markdown, paragraph, replace_between
from fastconv.lab.compare.engines import CONTESTS
from fastconv.lab.compare.record import geometric_mean, summarize
from fastconv.lab.draw.canvas import axes, save

ROOT = Path(__file__).parents[1]
RESULTS, FIGURE = ROOT / "bench" / "results", ROOT / "docs" / "bench.svg"
PAGES = {
    ROOT / "README.md": ("means",),
    ROOT / "docs" / "bench.md": ("overview", "summary", "networks", "int8", "cases"),
}
KINDS = {"model": "Whole networks", "conv": "Convolutions", "gemm": "Matrix products"}

INT8 = """### Networks of 8 bits, {tier}

The same QDQ file for all, weights of s8 with a scale for each channel and activations of u8. An
error is the largest difference from the file's meaning in float64, over the largest result; engines
that add pairs of products in 16 bits are off by more than a rounding, and far off where weights are
random numbers, as those of the networks with seeded weights are."""

Record = dict[str, Any]


def read_records(folder: Path = RESULTS) -> list[Record]:
    """Read all results, networks first; a file holds one record or a list of them."""
    records: list[Record] = []
    for path in sorted(folder.glob("*.json")):
        content = json.loads(path.read_text())
        records += content if isinstance(content, list) else [content]
    return sorted(records, key=lambda record: list(KINDS).index(record["kind"]))


def summary(records: Iterable[Record]) -> str:
    """A row for each table, contest and tier: geometric mean and worst case at each number of threads."""
    rows = [row for row in summarize(records) if row["kind"] != "model"]
    counts = sorted({row["threads"] for row in rows})
    table = [["table", "contest", "tier", "cases"]]
    for count in counts:
        table[0] += [f"{counted(count, 'thread')}: geomean", "worst"]
    grouped: dict[tuple[str, ...], dict[int, Record]] = {}
    for row in rows:
        name = f"{row['kind']} {row['table']}" if row["kind"] == "gemm" else row["table"]
        grouped.setdefault((name, row["contest"], row["tier"]), {})[row["threads"]] = row
    for key, by_threads in grouped.items():
        cells = [*key, str(max(row["cases"] for row in by_threads.values()))]
        for count in counts:
            row = by_threads.get(count)
            cells += ["", ""] if row is None else [
                f"**{row['geomean']:.2f}**", f"{row['worst']:.2f} ({row['worst_case']})"
            ]  # fmt: skip
        table.append(cells)
    return markdown(table, left=3)


def _case_cells(case: Record | None, contest: str) -> list[str]:
    """Time, useful rate, share of the peak, the best peer and the ratio of one case."""
    if case is None:
        return [""] * 4
    outcome = case["contests"][contest]
    ours, peer = case["engines"].get(outcome["ours"]), outcome["best_peer"]
    cells = ["failed", ""] if ours is None else [f"{ours['min_ms']:.3g}", f"{ours['percent_of_peak']:.0f} %"]
    cells.append("" if peer is None else f"{case['engines'][peer]['min_ms']:.3g} ({peer})")
    return [*cells, "" if outcome["ratio"] is None else f"**{outcome['ratio']:.2f}**"]


def cases(record: Record) -> str:
    """One record: a row for each case, four columns for each number of threads."""
    contest = CONTESTS[record["kind"]][0].name
    rows: dict[str, dict[int, Record]] = {}
    for case in record["cases"]:
        rows.setdefault(case["name"], {})[case["threads"]] = case
    table = [["case"]]
    for count in record["threads"]:
        table[0] += [f"{counted(count, 'thread')}: ms", "of peak", "best peer ms", "ratio"]
    table += [
        [name, *(cell for count in record["threads"] for cell in _case_cells(by.get(count), contest))]
        for name, by in rows.items()
    ]
    means = ["geometric mean of the ratios", ""]
    for count in record["threads"]:
        ratios = [by[count]["contests"][contest]["ratio"] for by in rows.values() if count in by]
        known = [ratio for ratio in ratios if ratio is not None]
        means += ["", "", "", f"**{geometric_mean(known):.2f}**" if known else ""]
    table.append(means)
    return markdown(table) + "\n\n" + provenance(record)


def provenance(record: Record) -> str:
    """On what, with what and when a record was measured."""
    packages = ", ".join(f"{name} {version}" for name, version in record["packages"].items())
    roofs = ", ".join(_peak(count, peak) for count, peak in record["peaks"].items())
    text = (
        f"{record['cpu']}, tier {record['tier']}, measured FMA peak {roofs}; best of {record['rounds']} "
        f"interleaved rounds; {packages}; {record['date']}, commit {record['git_sha']}."
    )
    return paragraph(text)


def _peak(threads: str, peak: Mapping[str, Any]) -> str:
    """The FMA peak of a number of threads, and of networks of 8 bits that of bytes."""
    narrow = f" (int8 {peak['int8']['gops']:.0f} GOP/s)" if "int8" in peak else ""
    return f"{threads}T {peak['gflops']:.0f} GFLOP/s{narrow}"


def overview(records: Sequence[Record]) -> str:
    """The ratios of the networks alone: a row for each, and columns for each tier and number of threads."""
    contest = CONTESTS["model"][0].name
    columns = [
        (tier, count, [case for record in measured for case in record["cases"] if case["threads"] == count])
        for tier, measured in by_tier(records).items()
        for count in sorted({count for record in measured for count in record["threads"]})
    ]
    names = list(dict.fromkeys(case["name"] for *_, cases in columns for case in cases))
    single = [name for name in names if " x" not in name]
    table = [["network", *(f"{tier}, {counted(count, 'thread')}" for tier, count, _ in columns)]]
    for name in single:
        found = [next((case for case in cases if case["name"] == name), None) for *_, cases in columns]
        table.append([name, *(_overview_cell(case, contest) for case in found)])
    batches = [name for name in names if name not in single]
    for title, group in (("geometric mean", single), ("the same in batches of 8", batches)):
        means = [title]
        for *_, cases in columns:
            ratios = [case["contests"][contest]["ratio"] for case in cases if case["name"] in group]
            means.append(f"**{geometric_mean(ratios):.2f}**" if ratios else "")
        table.append(means)
    return markdown(table)


def means(networks: Sequence[Record], of_bytes: Sequence[Record]) -> str:
    """The geometric means of the networks' ratios: a row for each kind, as `overview` has the columns."""
    contest = CONTESTS["model"][0].name
    everything = [*networks, *of_bytes]
    columns = [
        (tier, count)
        for tier, measured in by_tier(everything).items()
        for count in sorted({count for record in measured for count in record["threads"]})
    ]
    kinds: dict[str, tuple[Sequence[Record], bool]] = {
        "networks, one image": (networks, False),
        "the same in batches of 8": (networks, True),
        "networks of 8 bits, one image": (of_bytes, False),
    }
    table = [["", *(f"{tier}, {counted(count, 'thread')}" for tier, count in columns)]]
    for title, (records, batches) in kinds.items():
        cells = [title]
        for tier, count in columns:
            ratios = [
                case["contests"][contest]["ratio"]
                for record in records
                for case in record["cases"]
                if (record["tier"], case["threads"], " x" in case["name"]) == (tier, count, batches)
            ]
            known = [ratio for ratio in ratios if ratio is not None]
            cells.append(f"{geometric_mean(known):.2f}" if known else "")
        table.append(cells)
    return markdown(table)


def _overview_cell(case: Record | None, contest: str) -> str:
    outcome = case and case["contests"][contest]
    return f"{outcome['ratio']:.2f} ({outcome['best_peer']})" if outcome else ""


def merged(records: Sequence[Record]) -> list[Record]:
    """Join the records of one place and time, such as networks that were run one by one."""
    joined: dict[tuple[str, ...], Record] = {}
    for record in records:
        place = tuple(str(record[key]) for key in ("cpu", "tier", "git_sha", "rounds", "threads", "packages"))
        into = joined.setdefault(place, {**record, "cases": [], "peaks": dict(record["peaks"])})
        into["cases"] += record["cases"]
        for count, peak in record["peaks"].items():
            into["peaks"][count] = max(into["peaks"][count], peak, key=lambda p: p["gflops"])
    return list(joined.values())


def is_int8(record: Record) -> bool:
    """Whether a record is of networks of 8 bits."""
    return any(case["parameters"].get("dtype") == "int8" for case in record["cases"])


def int8_networks(record: Record) -> str:
    """Networks of 8 bits: times and the best peer's, and how far each engine's result is from float64."""
    engines = sorted({name.partition("/")[0] for case in record["cases"] for name in case["engines"]})
    engines.sort(key=lambda name: name != "fastconv")
    rows: dict[str, dict[int, Record]] = {}
    for case in record["cases"]:
        rows.setdefault(case["name"].removesuffix(" int8"), {})[case["threads"]] = case
    table = [["network", "weights"]]
    for count in record["threads"]:
        table[0] += [f"{counted(count, 'thread')}: ms", "best peer ms", "ratio"]
    table[0] += [f"error of {name}" for name in engines]
    contest = CONTESTS["model"][0].name
    for name, by in rows.items():
        cells = [name, *{case["parameters"]["weights"] for case in by.values()}]
        for count in record["threads"]:
            time, _, peer, ratio = _case_cells(by.get(count), contest)
            cells += [time, peer, ratio]
        for engine in engines:
            errors = [
                timing["error"]
                for case in by.values()
                for variant, timing in case["engines"].items()
                if variant.partition("/")[0] == engine
            ]
            cells.append(f"{100 * max(errors):.2g} %" if errors else "")
        table.append(cells)
    means = ["geometric mean of the ratios"]
    for count in record["threads"]:
        ratios = [by[count]["contests"][contest]["ratio"] for by in rows.values() if count in by]
        known = [ratio for ratio in ratios if ratio is not None]
        means += ["", "", f"**{geometric_mean(known):.2f}**" if known else ""]
    table.append(means + [""] * len(engines))
    return markdown(table) + "\n\n" + provenance(record)


def by_tier(records: Iterable[Record]) -> dict[str, list[Record]]:
    """The records of each tier, the fastest first."""
    tiers: dict[str, list[Record]] = {}
    for record in records:
        tiers.setdefault(record["tier"], []).append(record)
    roof = {
        tier: max(peak["gflops"] for record in measured for peak in record["peaks"].values())
        for tier, measured in tiers.items()
    }
    return dict(sorted(tiers.items(), key=lambda item: -roof[item[0]]))


def sections(records: Sequence[Record], wanted: Iterable[str]) -> list[str]:
    """The parts of a page: "means", "overview", "summary", "networks", "int8", "cases"."""
    of_bytes = merged([record for record in records if is_int8(record)])
    networks = merged([record for record in records if record["kind"] == "model" and not is_int8(record)])
    layers = [record for record in records if record["kind"] != "model"]
    parts = []
    for part in wanted:
        if part == "overview":
            latest = list({record["tier"]: provenance(record) for record in networks}.values())
            parts += ["### Whole networks, the ratios alone", overview(networks), *latest]
        elif part == "means":
            parts.append(means(networks, of_bytes))
        elif part == "summary":
            for tier, measured in by_tier(layers).items():
                versions = dict.fromkeys(map(provenance, merged(measured)))
                parts += [f"### Layers and matrix products by table, {tier}", summary(measured), *versions]
        elif part == "networks":
            for tier, measured in by_tier(networks).items():
                for record in measured:
                    parts += [f"### Whole networks, {tier}", cases(record)]
        elif part == "int8":
            for tier, measured in by_tier(of_bytes).items():
                for record in measured:
                    parts += [INT8.format(tier=tier), int8_networks(record)]
        elif part == "cases":
            for record in layers:
                parts += [f"### {KINDS[record['kind']]}: {', '.join(record['tables'])}", cases(record)]
    return parts


def updated(page: str, records: Sequence[Record], wanted: Iterable[str]) -> str:
    """The text of a page with the tables of the records between its markers."""
    what = "Ratio: the best peer's time over fastconv's, from interleaved rounds: above 1, fastconv wins."
    if "cases" in wanted:
        what += " The share of the peak is that of the work executed."
    return replace_between(page, "bench", "\n\n".join([paragraph(what), *sections(records, wanted)]))


def draw(records: Sequence[Record], path: Path) -> None:
    """Draw the geometric mean of every table, a bar for each number of threads."""
    floats = [record for record in records if not is_int8(record)]
    rows = [row for row in summarize(floats) if row["contest"] == CONTESTS[row["kind"]][0].name]
    rows.sort(key=lambda row: (row["tier"], row["kind"] != "model", -row["geomean"]))
    names = list(dict.fromkeys(f"{row['table']} ({row['tier']})" for row in rows))
    counts = sorted({row["threads"] for row in rows})
    figure, axis = axes(None, 8, 1.5 + 0.3 * len(names))
    for i, count in enumerate(counts):
        mine = [row for row in rows if row["threads"] == count]
        at = [
            names.index(f"{row['table']} ({row['tier']})") + 0.8 * (i + 0.5) / len(counts) - 0.4
            for row in mine
        ]
        axis.barh(at, [row["geomean"] for row in mine], 0.8 / len(counts), label=counted(count, "thread"))
    axis.axvline(1.0, color="black", linewidth=1)
    axis.set_yticks(range(len(names)), names, fontsize=8)
    axis.invert_yaxis()
    axis.set_xlabel("best peer's time / fastconv's time, geometric mean of the table", fontsize=8)
    axis.legend(fontsize=8)
    save(figure, path)


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
    for path, wanted in PAGES.items():
        page = path.read_text()
        text = updated(page, records, wanted)
        stale = stale or text != page
        if not args.check:
            path.write_text(text)
    if args.check:
        return int(stale)
    draw(records, FIGURE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
