"""Local functions of an ONNX model, written out where they are called (by ``onnx.inliner``)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from fastconv.errors import ModelError
from fastconv.graph.ir import MAX_DEPTH

MAX_NODES = 20_000  # that calls may expand to
MAX_BYTES = 256 << 20  # that the constants in functions may take, once for each call

Key = tuple[str, str, str]  # domain, name, and overload (of IR 10 on)


class Size(NamedTuple):
    """How large a list of nodes is, with all that it calls."""

    nodes: int = 1
    nbytes: int = 0


def all_nodes(nodes: Iterable[Any], source: str) -> Iterator[Any]:
    """Yield NodeProtos, and those of the graphs that are their attributes, however deep; without recursion.

    Graphs that lie deeper within each other than whoever reads them may follow are refused.
    """
    waiting = [(node, 0) for node in nodes]
    while waiting:
        node, depth = waiting.pop()
        if depth > MAX_DEPTH:
            raise ModelError(f"{source}: expected graphs at most {MAX_DEPTH} within each other, got more")
        yield node
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                waiting += [(inner, depth + 1) for inner in graph.node]


def inlined(proto: Any, source: str) -> Any:
    """Return a ModelProto without local functions.

    Functions that call each other in a circle, or expand beyond all measure, are refused here: the inliner
    would follow them. A call counts wherever it stands, in a branch too.
    """
    if not proto.functions:
        return proto
    bodies: dict[Key, Any] = {}
    for function in proto.functions:
        key = _key(function, function.name)
        if key in bodies:  # which of the two is called the inliners do not agree on
            raise ModelError(f"{source}: expected one function {function.name!r} of a domain, got two")
        bodies[key] = function.node
    calls = {key: [_key(n, n.op_type) for n in all_nodes(body, source)] for key, body in bodies.items()}
    own = {key: sum(n.ByteSize() for n in body) for key, body in bodies.items()}
    sizes: dict[Key, Size] = {}
    for key in bodies:
        _measure(key, calls, own, sizes, source)
    whole = _size([_key(n, n.op_type) for n in all_nodes(proto.graph.node, source)], 0, sizes)
    if whole.nodes > MAX_NODES:
        raise ModelError(f"{source}: expected local functions of at most {MAX_NODES} nodes, got more")
    if whole.nbytes > MAX_BYTES:
        raise ModelError(f"{source}: expected local functions of at most {MAX_BYTES} bytes, got more")
    from onnx import inliner

    try:
        return inliner.inline_local_functions(proto)
    except Exception as error:  # of the C++ inliner
        raise ModelError(f"{source}: expected functions that can be written out, got: {error}") from error


def _key(proto: Any, name: str) -> Key:
    """Return what a function is called by: the two names of ONNX's own domain are one."""
    domain = "" if proto.domain == "ai.onnx" else proto.domain
    return domain, name, getattr(proto, "overload", "")  # which the package knows since 1.16


def _size(called: Iterable[Key], nbytes: int, sizes: dict[Key, Size]) -> Size:
    """Return the size of nodes that take ``nbytes`` themselves; numbers beyond the limits stay small."""
    found = [sizes.get(key, Size()) for key in called]
    return Size(
        min(sum(size.nodes for size in found), MAX_NODES + 1),
        min(nbytes + sum(size.nbytes for size in found), MAX_BYTES + 1),
    )


def _measure(
    start: Key, calls: dict[Key, list[Key]], own: dict[Key, int], sizes: dict[Key, Size], source: str
) -> None:
    """Measure what a function expands to, after those it calls; without recursion."""
    if start in sizes:
        return
    path: dict[Key, Iterator[Key]] = {}  # what is being measured, each with what it calls and is not seen yet
    following: Key | None = start
    while following is not None or path:
        if following is None:
            key, left = next(reversed(path.items()))
            following = next((called for called in left if called in calls and called not in sizes), None)
            if following is None:
                sizes[key] = _size(calls[key], own[key], sizes)
                del path[key]
        elif following in path:
            raise ModelError(
                f"{source}: expected functions that end, got {following[1]!r}, which calls itself"
            )
        else:
            path[following], following = iter(calls[following]), None
