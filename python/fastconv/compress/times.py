"""How long each layer of a network takes, as it runs here: what a layer of 8 bits gains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from fastconv.graph.model import Model

Array = npt.NDArray[Any]

RUNS = 7  # of which the fastest counts, step by step


def layer_times(model: Model, feeds: Mapping[str, Array], runs: int = RUNS) -> dict[str, float]:
    """Return the milliseconds of each node's steps by the node's name.

    Those of nodes that others have taken in are theirs. A program that waits for values has no steps to time:
    an empty mapping.
    """
    arrays = [np.ascontiguousarray(feeds[info.name]) for info in model.inputs]
    program = model.program(*(array.shape for array in arrays))
    if program.waits_for_values or program.bound:
        return {}
    steps = [step for stage in program.stages for step in stage.steps]
    seconds = np.min([program.run_profiled(arrays)[1] for _ in range(runs)], 0)
    found: dict[str, float] = {}
    for step, taken in zip(steps, seconds, strict=True):
        found[step.node.name] = found.get(step.node.name, 0.0) + 1e3 * float(taken)
    return found
