"""How long a network and each of its layers take, as they run here: what a layer of 8 bits gains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fastconv.graph.model import Model
from fastconv.timing import time_calls

Array = npt.NDArray[Any]

RUNS = 7  # of which the fastest counts, step by step
ROUNDS, SECONDS = 4, 0.03  # turns of two networks that are compared, and their length


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


def bf16_layers(model: Model, feeds: Mapping[str, Array]) -> set[str]:
    """Return the names of the nodes whose products are of bf16, in a model of that precision.

    What a program that waits for values will do nobody knows before: an empty set.
    """
    program = model.program(*(feeds[info.name].shape for info in model.inputs))
    if program.waits_for_values:
        return set()
    steps = (step for stage in program.stages for step in stage.steps)
    return {step.node.name for step in steps if step.algorithm == "bf16"}


def milliseconds(model: Model, feeds: Mapping[str, Array]) -> float:
    """Return how long the fastest of some runs takes."""
    return 1e3 * _fastest(model, feeds)


def ratio(model: Model, reference: Model, feeds: Mapping[str, Array], rounds: int = ROUNDS) -> float:
    """Return how long a network takes as a share of what another takes."""
    taken, base = in_turns((model, reference), feeds, rounds)
    return taken / base


def in_turns(models: Sequence[Model], feeds: Mapping[str, Array], rounds: int = ROUNDS) -> list[float]:
    """Return how many milliseconds the fastest call of each network takes.

    They are called in turns, so that a clock that changes changes for all.
    """
    turns = [[_fastest(one, feeds) for one in models] for _ in range(rounds)]
    return [1e3 * float(taken) for taken in np.min(turns, 0)]


def _fastest(model: Model, feeds: Mapping[str, Array]) -> float:
    return time_calls(lambda: model.run(None, feeds), SECONDS).min
