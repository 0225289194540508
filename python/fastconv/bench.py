"""Benchmarks against other libraries: interleaved, a process an engine, results checked before they count.

``fastconv bench`` and ``python -m fastconv.bench`` are the usual way in; :class:`Suite` is the same for
programs.
"""

from __future__ import annotations

import sys

from fastconv.lab.compare import (
    KINDS,
    TIMEOUT,
    BenchError,
    Case,
    Result,
    Suite,
    as_csv,
    as_record,
    batched,
    capped,
    distinct,
    find_cases,
    find_tables,
    given,
    header,
    installed_peers,
    missing_peers,
    row,
    summarize,
    summary_lines,
    tables,
)

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

if __name__ == "__main__":
    from fastconv.cli import main

    sys.exit(main(["bench", *sys.argv[1:]]))
