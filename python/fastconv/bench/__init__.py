"""Benchmarks against other libraries: interleaved, a process an engine, results checked before they count.

``fastconv bench`` and ``python -m fastconv.bench`` are the usual way in; :func:`run_suite` is the same for
programs.
"""

from __future__ import annotations

from fastconv.bench.cases import KINDS, Case, find_cases
from fastconv.bench.compare import BenchError, Result, Roof, run_suite
from fastconv.bench.engines import installed_peers
from fastconv.bench.record import as_record, header, row

__all__ = [
    "KINDS",
    "BenchError",
    "Case",
    "Result",
    "Roof",
    "as_record",
    "find_cases",
    "header",
    "installed_peers",
    "row",
    "run_suite",
]
