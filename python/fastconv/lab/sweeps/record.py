"""Records of the sweeps on disk."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fastconv.errors import ArgumentError
from fastconv.lab.sweeps.algorithms import AlgorithmMap
from fastconv.lab.sweeps.blocking import BlockingSweep
from fastconv.lab.sweeps.checked import revive
from fastconv.lab.sweeps.conv_blocking import ConvBlocking
from fastconv.lab.sweeps.scaling import SizeSweep, ThreadSweep
from fastconv.lab.sweeps.sparse import SparseSweep
from fastconv.lab.sweeps.stairs import Staircase
from fastconv.lab.sweeps.tiles import TileSweep

KINDS: dict[str, type[Any]] = {
    "staircase": Staircase,
    "blocking": BlockingSweep,
    "tiles": TileSweep,
    "algorithms": AlgorithmMap,
    "conv_blocking": ConvBlocking,
    "threads": ThreadSweep,
    "sizes": SizeSweep,
    "sparse": SparseSweep,
}


def read(path: str | Path) -> dict[str, Any]:
    """Read the results of a file that ``fastconv sweep ... --json FILE`` wrote, by name.

    Raises
    ------
    ArgumentError
        If it holds none, or something else.
    """
    try:
        record = json.loads(Path(path).read_text("utf-8"))
        results = {name: revive(kind, record[name]) for name, kind in KINDS.items() if name in record}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ArgumentError(f"{path}: expected a record of fastconv sweep, got {error!r}") from None
    if not results:
        raise ArgumentError(f"{path}: expected a record of fastconv sweep, got none of {', '.join(KINDS)}")
    return results


def rows(results: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the results' tables as flat rows: the name of the result, then what it has one of a row."""
    return [{"result": name, **row} for name, result in results.items() for row in _rows(asdict(result), "")]


def _rows(record: Mapping[str, Any], prefix: str) -> Iterator[dict[str, Any]]:
    """Yield a row for each record of the first list of records within one, under the outer's figures."""
    outer: dict[str, Any] = {}
    inner: Sequence[Mapping[str, Any]] = ()
    for key, value in record.items():
        if isinstance(value, dict):
            outer |= {f"{prefix}{key}.{name}": one for name, one in value.items() if key != "setting"}
        elif isinstance(value, list | tuple) and value and isinstance(value[0], dict):
            inner = value
        else:
            plain = " ".join(map(str, value)) if isinstance(value, list | tuple) else value
            outer[f"{prefix}{key}"] = plain
    if not inner:
        yield outer
    for one in inner:
        for row in _rows(one, ""):
            yield {**outer, **row}
