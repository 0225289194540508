"""Graph passes: graph in, graph out, before any shape is known.

Each is one function in :data:`PASSES`, by name and in order, and any of them can be left out: results then
differ by rounding alone. A pass joins two nodes only where nobody else reads the value between them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from fastconv.errors import ArgumentError
from fastconv.graph.branch import take_branches
from fastconv.graph.budget import Budget
from fastconv.graph.ir import Graph
from fastconv.graph.passes.bf16 import use_bf16
from fastconv.graph.passes.fold import fold_affine, fold_pad
from fastconv.graph.passes.fuse import (
    fuse_activation,
    fuse_gelu,
    fuse_integer_sums,
    fuse_quantization,
    fuse_residual,
    fuse_swish,
)
from fastconv.graph.passes.integers import prefer_unsigned, use_integers
from fastconv.graph.passes.merge import merge_branches
from fastconv.graph.passes.signs import use_signs
from fastconv.graph.passes.simplify import eliminate_dead, eliminate_identity, fold_constants, fold_weights
from fastconv.graph.passes.unroll import unroll_loops

GraphPass = Callable[..., Graph]

PASSES: Mapping[str, GraphPass] = {
    "eliminate_identity": eliminate_identity,
    "fold_constants": fold_constants,
    "take_branches": take_branches,
    "unroll_loops": unroll_loops,
    "fold_pad": fold_pad,
    "fuse_swish": fuse_swish,
    "fuse_gelu": fuse_gelu,
    "fuse_integer_sums": fuse_integer_sums,
    "prefer_unsigned": prefer_unsigned,
    "use_integers": use_integers,
    "fold_weights": fold_weights,
    "fuse_quantization": fuse_quantization,
    "use_bf16": use_bf16,
    "use_signs": use_signs,
    "fold_affine": fold_affine,
    "merge_branches": merge_branches,
    "fuse_residual": fuse_residual,
    "fuse_activation": fuse_activation,
    "eliminate_dead": eliminate_dead,
}


#: Passes that make constants, and take a budget for them.
SPENDING = ("fold_constants", "use_integers", "fold_weights", "fold_affine", "merge_branches")


def run_passes(graph: Graph, passes: str | Sequence[str] = "default", budget: Budget | None = None) -> Graph:
    """Run passes in their order: "default" (all), "none", or those that are named."""
    chosen = (
        {"default": tuple(PASSES), "none": ()}.get(passes, (passes,)) if isinstance(passes, str) else passes
    )
    for name in chosen:
        if name not in PASSES:
            known = ", ".join(("default", "none", *PASSES))
            raise ArgumentError(f"passes: expected names among {known}, got {name!r}")
    for name, function in PASSES.items():
        if name in chosen:
            with np.errstate(all="ignore"):  # weights may be infinite
                graph = function(graph, budget) if name in SPENDING else function(graph)
    return graph
