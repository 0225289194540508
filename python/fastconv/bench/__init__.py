"""Benchmarks against other libraries: interleaved, a process an engine, results checked before they count.

``fastconv bench`` and ``python -m fastconv.bench`` are the usual way in; :class:`Suite` is the same for
programs.
"""

from __future__ import annotations

from fastconv.bench.cases import KINDS, Case, batched, distinct, find_cases, find_tables, given, tables
from fastconv.bench.compare import TIMEOUT, BenchError, Result, Suite
from fastconv.bench.engines import capped, installed_peers, missing_peers
from fastconv.bench.record import as_csv, as_record, header, row, summarize, summary_lines

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
    "row",
    "summarize",
    "summary_lines",
    "tables",
]
