"""Local functions of an ONNX model, written out where they are called (by ``onnx.inliner``)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fastconv.errors import ModelError

MAX_NODES = 20_000  # that calls may expand to


def inlined(proto: Any, source: str) -> Any:
    """Return a ModelProto without local functions.

    Functions that call each other in a circle, or expand beyond all measure, are refused here: the inliner
    would follow them.
    """
    if not proto.functions:
        return proto
    bodies = {(f.domain, f.name): f.node for f in proto.functions}
    sizes: dict[tuple[str, str], int] = {}
    for key in bodies:
        _measure(key, bodies, sizes, source)
    if _size(proto.graph.node, sizes) > MAX_NODES:
        raise ModelError(f"{source}: expected local functions of at most {MAX_NODES} nodes, got more")
    from onnx import inliner

    try:
        return inliner.inline_local_functions(proto)
    except Exception as error:  # of the C++ inliner
        raise ModelError(f"{source}: expected functions that can be written out, got: {error}") from error


def _size(nodes: Iterable[Any], sizes: dict[tuple[str, str], int]) -> int:
    return sum(sizes.get((node.domain, node.op_type), 1) for node in nodes)


def _measure(
    start: tuple[str, str],
    bodies: dict[tuple[str, str], Any],
    sizes: dict[tuple[str, str], int],
    source: str,
) -> None:
    """Count the nodes that a function expands to, after those it calls; without recursion."""
    path = [start]
    while path:
        key = path[-1]
        called = {(n.domain, n.op_type) for n in bodies[key]} & bodies.keys() - sizes.keys()
        if not called:
            sizes[key] = min(_size(bodies[key], sizes), MAX_NODES + 1)
            path.pop()
            continue
        following = min(called)
        if following in path:
            raise ModelError(
                f"{source}: expected functions that end, got {following[1]!r}, which calls itself"
            )
        path.append(following)
