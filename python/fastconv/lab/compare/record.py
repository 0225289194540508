"""Results as files to keep (JSON, CSV) and as a table to read."""

from __future__ import annotations

import datetime
import importlib.metadata
import math
import platform
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fastconv import _core
from fastconv._table import Table
from fastconv._table import as_csv as csv_of
from fastconv.lab.compare.cases import Case
from fastconv.lab.compare.engines import CONTESTS, ENGINES
from fastconv.lab.compare.suite import OURS, Result
from fastconv.lab.machine import Roof
from fastconv.lab.machine.setting import git_sha


def geometric_mean(ratios: Sequence[float]) -> float:
    """Return the geometric mean.

    >>> geometric_mean([0.5, 2.0])
    1.0
    """
    return math.exp(sum(map(math.log, ratios)) / len(ratios))


def as_record(
    kind: str,
    tables: Mapping[str, Iterable[Case]],
    results: Sequence[Result],
    roofs: Iterable[Roof],
    *,
    rounds: int,
    isa: str | None = None,
) -> dict[str, Any]:
    """Return everything that a results file holds.

    Parameters
    ----------
    kind : str
        ``"gemm"``, ``"conv"`` or ``"model"``.
    tables : mapping of str to iterable of Case
        Which cases make which table.
    results : sequence of Result
        What was measured.
    roofs : iterable of Roof
        One for each number of threads.
    rounds : int
        How many turns each variant had.
    isa : str, optional
        What all engines were capped at.

    Returns
    -------
    dict
        Plain values, ready for :func:`json.dump`.
    """
    by_threads = {roof.peak.threads: roof for roof in roofs}
    engines = {OURS} | {name.partition("/")[0] for result in results for name in result.timings}
    return {
        "kind": kind,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "git_sha": git_sha(),
        "cpu": _core.cpu_info()["model"],
        "tier": isa or _core.active_tier(),
        "capped": isa is not None,
        "threads": sorted(by_threads),
        "packages": {
            "python": platform.python_version(),
            **{ENGINES[name].package: _version(ENGINES[name].package) for name in sorted(engines)},
        },
        "rounds": rounds,
        "peaks": {
            str(threads): _facts(roof, [result for result in results if result.threads == threads])
            for threads, roof in by_threads.items()
        },
        "tables": {name: [case.name for case in cases] for name, cases in tables.items()},
        "cases": [result.as_dict(by_threads[result.threads]) for result in results],
    }


def _facts(roof: Roof, results: Sequence[Result]) -> dict[str, Any]:
    """Return the FMA peak, and those of other arithmetic that results are held against."""
    peak = roof.peak
    facts: dict[str, Any] = {"gflops": peak.gflops, "tier": peak.tier, "spread": peak.spread}
    if any(result.is_mixed for result in results):
        narrow = {name: other for name, other in roof.peaks.items() if other.dtype == name != "f32"}
        facts |= {name: {"gops": p.gflops, "instruction": p.instruction} for name, p in narrow.items()}
    return facts


def _version(name: str) -> str:
    return _core.__version__ if name == OURS else importlib.metadata.version(name)


CSV_COLUMNS = (
    *("kind", "name", "threads", "engine", "algorithm", "min_ms", "median_ms", "p95_ms", "p99_ms"),
    *("images_per_second", "gflops", "executed_gflops", "percent_of_peak", "failed"),
)


def rows(records: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return records as flat rows: one for each case, number of threads and variant."""
    found: list[dict[str, Any]] = []
    for record in records:
        for case in record["cases"]:
            where = {"kind": record["kind"], "name": case["name"], "threads": case["threads"]}
            for engine, numbers in case["engines"].items():
                found.append({**where, **numbers, "engine": engine})
            for engine, reason in case["failed"].items():
                found.append({**where, "engine": engine, "failed": reason})
    return [{name: row.get(name) for name in CSV_COLUMNS} for row in found]


def as_csv(records: Iterable[Mapping[str, Any]]) -> str:
    """Return records as CSV: a line for each case, number of threads and variant."""
    return csv_of(rows(records))


_TIMES = ("case", "<30"), ("T", ">2"), ("min ms", ">8"), ("median", ">8")
_LATENCIES = ("p95", ">8"), ("p99", ">8"), ("image/s", ">8")  # of networks
_RATES = (
    *(("GFLOP/s", ">7"), ("% roof", ">6")),
    *(("algorithm", "<12"), ("best peer", "<20"), ("ms", ">8"), ("ratio", ">5")),
)
FAILED_CELL = "failed"


def header(kind: str) -> str:
    """Return the head of the table of results."""
    return _table(kind).head()


def _table(kind: str) -> Table:
    latencies = _LATENCIES if kind == "model" else ()
    return Table(*_TIMES, *latencies, *_RATES, *((contest.name, ">20") for contest in CONTESTS[kind][1:]))


def row(result: Result, roof: Roof) -> str:
    """Return one result as a line under :func:`header`; a ratio is the best peer's time over ours.

    GFLOP/s are of useful work; the share of the roof is that of the executed work, each part of it against
    the peak of its arithmetic.
    """
    first, *others = CONTESTS[result.case.kind]
    cells: list[Any] = [result.case.name, result.threads]
    us, peer, ratio = result.timings.get(first.ours), result.best_peer(first), result.ratio(first)
    if us is None:
        cells += [FAILED_CELL, *[""] * (7 if result.is_network else 4)]
    else:
        share = 100 * result.share(first.ours, roof)
        cells += [f"{us.min_ms:.4f}", f"{us.median_ms:.4f}"]
        if result.is_network:
            cells += ["" if ms is None else f"{ms:.4f}" for ms in (us.p95_ms, us.p99_ms)]
            cells.append(f"{result.images_per_second(first.ours):.1f}")
        cells += [f"{result.gflops(first.ours):.1f}", f"{share:.1f}", us.algorithm]
    cells += [peer or "", f"{result.timings[peer].min_ms:.4f}" if peer else ""]
    cells.append("" if ratio is None else f"{ratio:.2f}")
    ratios = [result.ratio(contest) for contest in others]
    text = _table(result.case.kind).line([*cells, *("" if r is None else f"{r:.2f}" for r in ratios)])
    failed = sorted(set(result.failed))
    return text + (f"  failed: {', '.join(failed)}" if failed else "")


def summarize(records: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return geometric mean and worst case of each table, contest and number of threads in records."""
    rows = []
    for record in records:
        for contest in CONTESTS[record["kind"]]:
            for table, names in record["tables"].items():
                for threads in record["threads"]:
                    ratios = {
                        case["name"]: case["contests"][contest.name]["ratio"]
                        for case in record["cases"]
                        if case["name"] in names and case["threads"] == threads
                    }
                    known = {name: ratio for name, ratio in ratios.items() if ratio is not None}
                    if known:
                        worst = min(known, key=lambda name: known[name])
                        rows.append(
                            {
                                "kind": record["kind"],
                                "tier": record["tier"],
                                "table": table,
                                "contest": contest.name,
                                "threads": threads,
                                "cases": len(known),
                                "missing": len(ratios) - len(known),
                                "geomean": geometric_mean(list(known.values())),
                                "worst": known[worst],
                                "worst_case": worst,
                            }
                        )
    return rows


def summary_lines(records: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return :func:`summarize` as lines to print: none where nothing was compared."""
    rows = summarize(records)
    if not rows:
        return []
    table = Table(
        *(("table", "<20"), ("contest", "<20"), ("T", ">2"), ("cases", ">5"), ("geomean", ">7")),
        *(("worst", ">6"), ("worst case", "<")),
    )
    return table.lines(
        (r["table"], r["contest"], r["threads"], r["cases"], f"{r['geomean']:.2f}", f"{r['worst']:.2f}",
         r["worst_case"])
        for r in rows
    )  # fmt: skip
