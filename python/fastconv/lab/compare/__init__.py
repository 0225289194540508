"""Benchmarks against other libraries: interleaved, a process an engine, results checked before they count.

A :class:`Suite` has the engines' processes for one kind of case and number of threads.
"""

from __future__ import annotations

from fastconv.lab.compare.cases import (
    KINDS,
    Case,
    batched,
    distinct,
    find_cases,
    find_tables,
    given,
    quantised,
    tables,
)
from fastconv.lab.compare.engines import capped, installed_peers, missing_peers, reading_int8
from fastconv.lab.compare.record import as_csv, as_record, header, row, rows, summarize, summary_lines
from fastconv.lab.compare.suite import TIMEOUT, BenchError, Result, Suite

__all__ = [
    "KINDS",
    "TIMEOUT",
    "BenchError",
    "Case",
    "Result",
    "Suite",
    "as_csv",
    "as_record",
    "batched",
    "capped",
    "distinct",
    "find_cases",
    "find_tables",
    "given",
    "header",
    "installed_peers",
    "missing_peers",
    "quantised",
    "reading_int8",
    "row",
    "rows",
    "summarize",
    "summary_lines",
    "tables",
]
