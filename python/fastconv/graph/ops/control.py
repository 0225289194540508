"""Control flow. What these stand for takes their place in the graph, or runs between two programs.

A branch is taken once the condition is known (:mod:`fastconv.graph.branch`); a loop cuts the graph
(:mod:`fastconv.graph.staged`). Here are their inputs and attributes.
"""

from __future__ import annotations

from fastconv.errors import UnsupportedOpError
from fastconv.graph.context import Context
from fastconv.graph.ir import Graph
from fastconv.graph.registry import op
from fastconv.graph.value import Ints, Value


@op("If")
def if_(
    ctx: Context,
    condition: Value,
    *captured: Value,  # noqa: ARG001  (what the branches read; the importer adds them, for the passes to see)
    then_branch: Graph,  # noqa: ARG001
    else_branch: Graph,  # noqa: ARG001
) -> Value:
    """Ask for the condition: the node is replaced where it is known, and is never lowered itself."""
    ctx.array("condition", condition)
    raise UnsupportedOpError("expected a branch in the node's place")


@op("Loop")
def loop(
    ctx: Context,  # noqa: ARG001
    trips: Value | None = None,  # noqa: ARG001
    condition: Value | None = None,  # noqa: ARG001
    *values: Value,  # noqa: ARG001  (those that are carried, and what the body reads besides)
    body: Graph,  # noqa: ARG001
) -> Value:
    """Refuse what cannot wait for a run: a loop is no step of a program."""
    raise UnsupportedOpError("expected a place between two programs")


@op("Scan")
def scan(
    ctx: Context,  # noqa: ARG001
    *values: Value,  # noqa: ARG001
    body: Graph,  # noqa: ARG001
    num_scan_inputs: int,  # noqa: ARG001
    scan_input_axes: Ints | None = None,  # noqa: ARG001
    scan_input_directions: Ints | None = None,  # noqa: ARG001
    scan_output_axes: Ints | None = None,  # noqa: ARG001
    scan_output_directions: Ints | None = None,  # noqa: ARG001
) -> Value:
    """Refuse what cannot wait for a run: a loop is no step of a program."""
    raise UnsupportedOpError("expected a place between two programs")
