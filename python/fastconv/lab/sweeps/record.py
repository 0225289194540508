"""Records of the sweeps on disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fastconv.errors import ArgumentError
from fastconv.lab.sweeps.algorithms import AlgorithmMap
from fastconv.lab.sweeps.blocking import BlockingSweep
from fastconv.lab.sweeps.checked import revive
from fastconv.lab.sweeps.conv_blocking import ConvBlocking
from fastconv.lab.sweeps.scaling import SizeSweep, ThreadSweep
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
