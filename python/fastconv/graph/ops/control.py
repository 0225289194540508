"""Control flow. A branch takes the node's place once the condition is known: :mod:`fastconv.graph.branch`."""

from __future__ import annotations

from fastconv.errors import UnsupportedOpError
from fastconv.graph.context import Context
from fastconv.graph.ir import Graph
from fastconv.graph.registry import op
from fastconv.graph.value import Value


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
