"""What an operator's function writes to while a graph is lowered: buffers and steps.

A step is one call of a method of ``_core.Program``; its tensors say which buffers it reads and writes,
which is all that the memory plan needs. Every helper returns the value it wrote. :class:`Plans` holds what
outlives a lowering: the packed convolutions, shared by the programs of all input shapes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fastconv import _core
from fastconv.errors import ShapeError, UnsupportedOpError
from fastconv.graph.ir import NO_ACTIVATION, Activation, Node, PackedWeights
from fastconv.graph.value import (
    F32,
    Array,
    Constant,
    Tensor,
    Value,
    channels_last_order,
    dense_strides,
    reshape_strides,
)

MAX_RANK = 6  # csrc/core/types.h
MAX_ELEMENTS = 1 << 31  # of one tensor: 8 GiB; a shape beyond it is a broken file, not a network
MAX_CONSTANT = 1 << 28  # elements of a constant that an operator makes

# Activations of constants that are not f32 (shape arithmetic).
_CONSTANT_FUNCTIONS: dict[str, Callable[[Array], Array]] = {
    "abs": np.abs,
    "neg": np.negative,
    "sqrt": np.sqrt,
    "exp": np.exp,
}
_CONSTANT_BINARY: dict[str, Callable[[Array, Array], Array]] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": lambda a, b: np.trunc(a / b).astype(a.dtype) if a.dtype.kind in "iu" else a / b,
    "min": np.minimum,
    "max": np.maximum,
    "pow": lambda a, b: np.power(a, b).astype(a.dtype),
}


@dataclass
class Buffer:
    """Memory that tensors are views of; ``kind`` says whose it is and ``index`` which of that kind."""

    kind: str  # arena, input, output or constant
    size: int
    index: int = 0
    array: Array | None = None


@dataclass(frozen=True)
class Step:
    """One call of ``_core.Program.<kind>(*inputs, output, *params)``."""

    kind: str
    inputs: tuple[Tensor | None, ...]
    output: Tensor
    params: tuple[Any, ...]
    node: Node
    algorithm: str

    def tensors(self) -> Iterator[Tensor]:
        """Return every view that the step reads or writes, its workspace included."""
        yield from (t for t in (*self.inputs, self.output, *self.params) if isinstance(t, Tensor))


@dataclass
class Plans:
    """Packed convolutions by node and parameters, and which weights went into them."""

    # Only algorithms as accurate as a sum of products: fastconv.conv2d's precision="exact".
    exact: bool = False
    # The sizes of all images are known: a convolution chooses its algorithm once, and keeps no plain weights.
    fixed: bool = False
    # Algorithms are the ones measured to be the fastest (fastconv.tuning), for each shape and thread count.
    tune: bool = False
    # By the first output of the node, and by parameters.
    packed: dict[tuple[str, Hashable], _core.Conv] = field(default_factory=dict)
    # By the id of a weight's Constant: the first outputs of the nodes that packed it.
    users: dict[int, set[str]] = field(default_factory=dict)
    # By the same: how many nodes read it.
    reads: Mapping[int, int] = field(default_factory=dict)
    # Plain weights stay, as constants that cost nothing: plans refer to them, and to stored weights.
    keep: bool = False
    # By the first output of the node: its weights as an earlier plan packed them.
    stored: Mapping[str, Sequence[PackedWeights]] = field(default_factory=dict)

    def packed_weights(self) -> tuple[PackedWeights, ...]:
        """Return the weights of each node by algorithm; whatever its other parameters, they are the same."""
        found = {
            (output, algorithm, conv.packing): tuple(arrays)
            for (output, _), conv in self.packed.items()
            for algorithm, arrays in conv.packed().items()
        }
        return tuple(PackedWeights(*key, arrays) for key, arrays in found.items())


@dataclass(frozen=True)
class Concatenation:
    """A concatenation along channels: where each of its inputs could be written in the first place."""

    output: str
    shape: tuple[int, ...]
    parts: tuple[tuple[str, int, int], ...]  # value name, first channel, channels


class Context:
    """The program under construction.

    ``placements`` maps a value's name to the tensor that it should be written to; the first result of that
    value's node that has the same shape goes there. It is a hint: who gives it compares what came.
    """

    def __init__(self, plans: Plans) -> None:
        self.plans = plans
        self.placements: dict[str, Tensor] = {}
        self.concatenations: list[Concatenation] = []
        self.node = Node("", "", (), ())
        self.buffers: list[Buffer] = []
        self.steps: list[Step] = []
        self._constants: dict[int, tuple[Constant, Tensor]] = {}

    def fork(self, steps: Sequence[Step], buffers: Sequence[Buffer]) -> Context:
        """Return a context that holds these steps, on buffers of its own."""
        other = Context(self.plans)
        other.steps, other.buffers = list(steps), list(buffers)
        return other

    @property
    def opset(self) -> int:
        """The version of the operator set that the current node belongs to."""
        return self.node.opset

    # -- values ----------------------------------------------------------------------------------------------

    def empty(self, shape: Sequence[int], order: Sequence[int] | None = None) -> Tensor:
        """Return a dense tensor in a new buffer, its axes in memory in the given order (row-major)."""
        shape = tuple(int(n) for n in shape)
        size = math.prod(shape)
        if size > MAX_ELEMENTS or any(n < 0 for n in shape):
            raise ShapeError(f"result: expected at most {MAX_ELEMENTS} elements, got shape {shape}")
        self.buffers.append(Buffer("arena", size))
        order = range(len(shape)) if order is None else order
        return Tensor(len(self.buffers) - 1, shape, dense_strides(shape, order))

    def result(self, shape: Sequence[int], order: Sequence[int] | None = None) -> Tensor:
        """Return where to write the current node's result: like :meth:`empty` unless it is placed."""
        placed = self.placements.get(self.node.outputs[0])
        if placed is not None and placed.shape == tuple(shape):
            return self.placements.pop(self.node.outputs[0])
        return self.empty(shape, order)

    def image(self, shape: Sequence[int]) -> Tensor:
        """Return where to write a result that should be channels-last."""
        return self.result(shape, channels_last_order(len(shape)))

    def external(self, kind: str, index: int, shape: Sequence[int]) -> Tensor:
        """Return a graph's input or output: row-major memory of the caller's."""
        tensor = self.empty(shape)
        self.buffers[tensor.buffer] = Buffer(kind, tensor.size, index)
        return tensor

    def tensor(self, value: Value) -> Tensor:
        """Return a value as something that a step can read: a constant gets a buffer."""
        if isinstance(value, Tensor):
            return value
        if value.dtype != F32:
            raise UnsupportedOpError(f"expected float32 values, got a constant of {value.dtype}")
        if id(value) not in self._constants:
            tensor = self.empty(value.shape)
            array = np.ascontiguousarray(value.array)
            self.buffers[tensor.buffer] = Buffer("constant", tensor.size, array=array)
            self._constants[id(value)] = value, tensor
        return self._constants[id(value)][1]

    def array(self, name: str, value: Value) -> Array:
        """Return the array of a value that must be a constant; ``name`` starts the message."""
        if isinstance(value, Tensor):
            raise UnsupportedOpError(f"{name}: expected a constant, got a value computed at run time")
        return value.array

    def ints(self, name: str, value: Value) -> list[int]:
        """Return a constant vector (or scalar) of integers."""
        array = self.array(name, value)
        if array.ndim > 1 or array.dtype.kind not in "iu":
            raise ShapeError(
                f"{name}: expected a vector of integers, got shape {array.shape} of {array.dtype}"
            )
        return [int(n) for n in array.reshape(-1)]

    # -- steps -----------------------------------------------------------------------------------------------

    def emit(
        self, kind: str, inputs: Sequence[Tensor | None], output: Tensor, *params: Any, algorithm: str = ""
    ) -> Tensor:
        """Append a step and return its output; a step that would write nothing is left out."""
        step = Step(kind, tuple(inputs), output, params, self.node, algorithm)
        for tensor in step.tensors():
            if len(tensor.shape) > MAX_RANK:
                raise UnsupportedOpError(f"expected at most {MAX_RANK} dimensions, got shape {tensor.shape}")
        if output.size:
            self.steps.append(step)
        return output

    def copy(self, x: Tensor, y: Tensor) -> Tensor:
        """Copy between views of equal shapes."""
        return self.emit("copy", (x,), y)

    def reshape(self, x: Value, shape: Sequence[int]) -> Value:
        """Reshape: a view where the strides allow it, else one copy step."""
        view = x.reshape(shape)
        if view is not None:
            return view
        x = self.tensor(x)
        # A channels-last result keeps an image an image where the old shape can be written through it (a
        # channel shuffle is then one strided copy); through a row-major result every shape can.
        orders = [tuple(range(len(shape)))]
        if len(shape) in (4, 5) and x.strides[-1] != 1:
            orders.insert(0, channels_last_order(len(shape)))
        order = next(o for o in orders if reshape_strides(shape, dense_strides(shape, o), x.shape))
        result = self.empty(shape, order)
        target = result.reshape(x.shape)
        assert target is not None
        self.copy(x, target)
        return result

    def activate(self, x: Value, activation: Activation) -> Value:
        """Elementwise function of one value."""
        if activation == NO_ACTIVATION:
            return x
        if isinstance(x, Constant) and x.dtype != F32:
            function = _CONSTANT_FUNCTIONS.get(activation.kind)
            if function is None:
                raise UnsupportedOpError(f"expected float32 values, got a constant of {x.dtype}")
            return Constant(function(x.array))
        x = self.tensor(x)
        return self.emit("activate", (x,), self.result(x.shape, x.order()), *activation)

    def binary(self, op: str, a: Value, b: Value, activation: Activation = NO_ACTIVATION) -> Value:
        """Elementwise function of two values, broadcast as numpy does."""
        if isinstance(a, Constant) and isinstance(b, Constant):
            return self.activate(Constant(np.asarray(_CONSTANT_BINARY[op](a.array, b.array))), activation)
        shape = broadcast_shapes(a.shape, b.shape)
        a, b = self.tensor(a), self.tensor(b)
        like = a if a.shape == shape else b
        order = like.order() if like.shape == shape else None
        return self.emit(
            "binary",
            (a.broadcast_to(shape), b.broadcast_to(shape)),
            self.result(shape, order),
            op,
            *activation,
        )

    def convolve(self, conv: _core.Conv, x: Tensor, residual: Tensor | None, y: Tensor) -> Tensor:
        """Run a packed convolution (or fully connected layer)."""
        return self.emit("conv", (x, residual), y, conv, algorithm=conv.algorithm(x.shape))

    def pack(self, weight: Value, key: Hashable, build: Callable[..., _core.Conv]) -> _core.Conv:
        """Return the packed convolution of the current node and ``key``, built on first use.

        ``build`` gets the array of the weight and, by algorithm, the same as packed before.
        """
        if isinstance(weight, Tensor):
            raise UnsupportedOpError("w: expected a constant, got a value computed at run time")
        name = self.node.outputs[0]
        if (name, key) not in self.plans.packed:
            stored = self.plans.stored.get(name, ())
            here = _core.packing_id()
            self.plans.packed[name, key] = build(
                weight.array, stored={p.algorithm: p.arrays[0] for p in stored if p.packing == here}
            )
            self.plans.users.setdefault(id(weight), set()).add(name)
        return self.plans.packed[name, key]

    def release_packed(self, inputs: Sequence[Value | None]) -> None:
        """Drop the arrays of those of a node's weights that every node that reads them has packed."""
        for value in inputs:
            packed = self.plans.users.get(id(value), ())
            kept = self.plans.tune or self.plans.keep
            if packed and len(packed) == self.plans.reads.get(id(value)) and not kept:
                assert isinstance(value, Constant)
                value.release()


def broadcast_shapes(*shapes: tuple[int, ...]) -> tuple[int, ...]:
    """Return numpy's broadcast shape, with the shapes in the error."""
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError:
        raise ShapeError(f"expected shapes that broadcast, got {' and '.join(map(str, shapes))}") from None
