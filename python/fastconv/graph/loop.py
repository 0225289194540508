"""Loop and Scan: a graph that runs many times, each time on what the time before it left.

Here is what they mean, in terms of a function that runs the body once; its programs are made by
:mod:`fastconv.graph.staged`. How many rounds there are is known when they are over: they are counted in all
loops of a run together, however they lie within each other, and what they collect is held against the budget.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

import numpy as np

from fastconv.errors import ModelError, ShapeError, UnsupportedOpError
from fastconv.graph.ir import Graph, Node, TensorInfo
from fastconv.graph.value import Array, normalized_axis

MAX_ROUNDS = 1 << 17  # of all loops in a run: each takes some 30 microseconds at least

RunBody = Callable[[Sequence[Array]], Sequence[Array]]
Check = Callable[[int], None]

_rounds: ContextVar[list[int] | None] = ContextVar("rounds", default=None)  # so far, in the run at hand


def is_loop(node: Node) -> bool:
    """Whether a node is a Loop or a Scan."""
    return not node.domain and node.op in ("Loop", "Scan")


def body_of(node: Node) -> Graph:
    """Return the graph that a loop runs, after its inputs and outputs are known to be as many as it needs."""
    body: Graph = node.attrs["body"]
    if node.op == "Scan" and node.opset < 9:
        raise UnsupportedOpError(f"expected a Scan of opset 9 or later, got one of {node.opset}")
    if node.op == "Scan":
        scanned = node.attrs["num_scan_inputs"]
        states = len(body.inputs) - scanned
        if scanned < 1 or states < 0:
            raise ModelError(f"num_scan_inputs: expected 1 to {len(body.inputs)}, got {scanned}")
        given, least, results = len(body.inputs), states, len(body.outputs)
    else:
        states = len(body.inputs) - 2
        if states < 0:
            raise ModelError(
                f"body: expected inputs for the round, the condition and the values that are carried,"
                f" got {len(body.inputs)}"
            )
        given, least, results = len(body.inputs), 1 + states, len(body.outputs) - 1
    if len(body.outputs) < least:
        raise ModelError(f"body: expected at least {least} outputs, got {len(body.outputs)}")
    if len(node.inputs) < given or "" in node.inputs[given - states if node.op == "Loop" else 0 : given]:
        raise ModelError(f"expected {given} inputs, as the body has, got {list(node.inputs)}")
    if len(node.outputs) > results:
        raise ModelError(f"expected at most {results} outputs, as the body has, got {len(node.outputs)}")
    return body


def repeat(node: Node, value: Callable[[str], Array], run: RunBody, check: Check) -> list[Array]:
    """Run a loop and return its outputs.

    ``value`` returns the array that has a name, ``run`` runs the body, ``check`` refuses so many bytes.
    """
    with _counted():
        return (_scan if node.op == "Scan" else _loop)(node, value, run, check)


@contextmanager
def _counted() -> Iterator[None]:
    """Count rounds from 0, unless this is inside of another loop."""
    if _rounds.get() is not None:
        yield
        return
    token = _rounds.set([0])
    try:
        yield
    finally:
        _rounds.reset(token)


def _count() -> None:
    rounds = _rounds.get()
    assert rounds is not None
    rounds[0] += 1
    if rounds[0] > MAX_ROUNDS:
        raise ModelError(f"expected at most {MAX_ROUNDS} rounds of all loops in a run, got more")


class _Collected:
    """The values that each round adds to an output."""

    def __init__(self, info: TensorInfo, axis: int = 0, backwards: bool = False) -> None:
        self.info, self.axis, self.backwards = info, axis, backwards
        self.arrays: list[Array] = []

    def add(self, array: Array) -> int:
        """Add the value of a round, and return its bytes."""
        first = self.arrays[0] if self.arrays else array
        if array.shape != first.shape or array.dtype != first.dtype:
            raise ShapeError(
                f"output {self.info.name!r} of the body: expected shape {first.shape} of {first.dtype}"
                f" in each round, got {array.shape} of {array.dtype}"
            )
        self.arrays.append(array)
        return array.nbytes

    def stacked(self) -> Array:
        """Return all of them; of none as much of the shape as the body declares."""
        if not self.arrays:
            shape = [n if isinstance(n, int) else 0 for n in self.info.shape]
            axis = normalized_axis("scan_output_axes", self.axis, len(shape) + 1)
            return np.zeros((*shape[:axis], 0, *shape[axis:]), self.info.dtype)
        axis = normalized_axis("scan_output_axes", self.axis, self.arrays[0].ndim + 1)
        return np.stack(self.arrays[::-1] if self.backwards else self.arrays, axis)


def _loop(node: Node, value: Callable[[str], Array], run: RunBody, check: Check) -> list[Array]:
    body = body_of(node)
    states = len(body.inputs) - 2
    trips, condition, *initial = node.inputs[: 2 + states]
    most = _scalar("M", value(trips), "iu") if trips else None
    going = bool(_scalar("cond", value(condition), "b")) if condition else True
    carried = [value(name) for name in initial]
    collected = [_Collected(info) for info in body.outputs[1 + states :]]
    n = held = 0
    while going and (most is None or n < most):
        _count()
        counter, before = np.array(n, np.int64), np.array(going)
        given = [_as_declared(a, info) for a, info in zip((counter, before), body.inputs[:2], strict=True)]
        again, *results = run([*given, *carried])
        going = bool(_scalar("condition of the body", again, "b"))
        carried = list(results[:states])
        held += sum(c.add(a) for c, a in zip(collected, results[states:], strict=True))
        check(2 * held)  # they are copied when they are stacked
        n += 1
    return [*carried, *(c.stacked() for c in collected)]


def _as_declared(scalar: Array, info: TensorInfo) -> Array:
    """Return a scalar, as a vector of one where a body declares it as such."""
    return scalar.reshape(1) if info.shape == (1,) else scalar


def _scalar(name: str, array: Array, kinds: str) -> int:
    if array.size != 1 or array.dtype.kind not in kinds:
        kind = "bool" if kinds == "b" else "integer"
        raise ShapeError(f"{name}: expected one {kind}, got shape {array.shape} of {array.dtype}")
    return int(array.reshape(()))


def _scan(node: Node, value: Callable[[str], Array], run: RunBody, check: Check) -> list[Array]:
    body = body_of(node)
    scanned: int = node.attrs["num_scan_inputs"]
    states = len(body.inputs) - scanned
    carried, sequences = ([value(name) for name in names] for names in (
        node.inputs[:states], node.inputs[states : len(body.inputs)]
    ))  # fmt: skip
    axes = _ints(node, "scan_input_axes", scanned)
    axes = [normalized_axis("scan_input_axes", a, s.ndim) for a, s in zip(axes, sequences, strict=True)]
    backwards = _ints(node, "scan_input_directions", scanned)
    lengths = {s.shape[axis] for s, axis in zip(sequences, axes, strict=True)}
    if len(lengths) != 1:
        raise ShapeError(f"scan inputs: expected one length of all, got {sorted(lengths)}")
    (length,) = lengths
    outputs = body.outputs[states:]
    options = (_ints(node, f"scan_output_{name}", len(outputs)) for name in ("axes", "directions"))
    collected = [_Collected(info, axis, bool(d)) for info, axis, d in zip(outputs, *options, strict=True)]
    held = 0
    for n in range(length):
        _count()
        slices = [
            np.take(s, length - 1 - n if back else n, axis)
            for s, axis, back in zip(sequences, axes, backwards, strict=True)
        ]
        results = run([*carried, *map(np.asarray, slices)])
        carried = list(results[:states])
        held += sum(c.add(a) for c, a in zip(collected, results[states:], strict=True))
        check(2 * held)
    return [*carried, *(c.stacked() for c in collected)]


def _ints(node: Node, name: str, count: int) -> list[int]:
    """Return an attribute that has a number for each of so many; zeros where it is not given."""
    found = list(node.attrs.get(name) or [0] * count)
    if len(found) != count:
        raise ShapeError(f"{name}: expected {count} integers, got {found}")
    return found
