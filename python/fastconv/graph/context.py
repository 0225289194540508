"""What an operator's function writes to while a graph is lowered: buffers and steps.

A step is one call of a method of ``_core.Program``; its tensors say which buffers it reads and writes,
which is all that the memory plan needs. Every helper returns the value it wrote. What outlives a lowering is
in :mod:`fastconv.graph.plans`, and what nodes make of constants in :mod:`fastconv.graph.packing`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from fastconv import _core
from fastconv.errors import DTypeError, ShapeError, UnsupportedOpError
from fastconv.graph.call import Call, checked_result, converted
from fastconv.graph.functions import BINARY, activation_of
from fastconv.graph.ir import NO_ACTIVATION, Activation, Node
from fastconv.graph.plans import Plans
from fastconv.graph.value import (
    BF16,
    BYTES,
    F32,
    Array,
    Constant,
    Tensor,
    Value,
    channels_last_order,
    dense_strides,
    is_storage,
    reshape_strides,
    size_of,
)

Shape = tuple[int, ...]

MAX_RANK = 6  # csrc/core/types.h
# What elements are moved as, by their size.
MOVED = {n: np.dtype(f"u{n}") for n in (1, 2, 8)} | {4: F32}
MAX_CONSTANT = 1 << 28  # elements of a constant that an operator makes
MAX_INTS = 1 << 16  # numbers in an input that is a shape, a list of axes or the like


class ValueNeeded(Exception):
    """A plan depends on a value that is computed at run time; caught by what makes programs."""

    def __init__(self, value: Tensor) -> None:
        super().__init__("a value computed at run time")
        self.value = value


@dataclass
class Buffer:
    """Memory that tensors are views of; ``kind`` says whose it is and ``index`` which of that kind."""

    kind: str  # arena, input, output or constant
    size: int  # elements
    index: int = 0
    array: Array | None = None
    dtype: np.dtype[Any] = F32

    @property
    def nbytes(self) -> int:
        """Bytes of the elements."""
        return self.size * self.dtype.itemsize


class Step(NamedTuple):
    """One call of ``_core.Program.<kind>(*inputs, output, *params)``."""

    kind: str
    inputs: tuple[Tensor | None, ...]
    output: Tensor
    params: tuple[Any, ...]
    node: Node
    algorithm: str
    # Why a convolution is not one of bf16, where that was allowed.
    stays_f32: str = ""

    @property
    def is_convolution(self) -> bool:
        """Whether its parameters are a convolution, and once it is bound a workspace."""
        return self.kind in ("conv", "integer_conv")

    def tensors(self) -> Iterator[Tensor]:
        """Return every view that the step reads or writes, its workspace included."""
        yield from (t for t in (*self.inputs, self.output, *self.params) if isinstance(t, Tensor))


class Concatenation(NamedTuple):
    """A concatenation along channels: where each of its inputs could be written in the first place."""

    output: str
    shape: tuple[int, ...]
    parts: tuple[tuple[str, int, int], ...]  # value name, first channel, channels
    dtype: np.dtype[Any]


class Context:
    """The program under construction.

    ``placements`` maps a value's name to the tensor that it should be written to; the first result of that
    value's node that has the same shape goes there. It is a hint: who gives it compares what came.
    """

    def __init__(self, plans: Plans) -> None:
        self.plans = plans
        self.budget = plans.budget.fork()
        self.placements: dict[str, Tensor] = {}
        self.concatenations: list[Concatenation] = []
        self.node = Node("", "", (), ())
        self.buffers: list[Buffer] = []
        self.steps: list[Step] = []
        self._constants: dict[int, tuple[Constant, Tensor]] = {}
        self._wide: dict[Tensor, Tensor] = {}
        self._rounds = False

    def fork(self, steps: Sequence[Step], buffers: Sequence[Buffer]) -> Context:
        """Return a context that holds these steps, on buffers of its own."""
        other = Context(self.plans)
        other.steps, other.buffers, other.budget = list(steps), list(buffers), self.budget
        return other

    @contextmanager
    def rounding(self) -> Iterator[None]:
        """Have convolutions of the current node round their input to bf16, whatever the algorithm."""
        self._rounds = True
        try:
            yield
        finally:
            self._rounds = False

    @property
    def precision(self) -> str:
        """Which algorithms are accurate enough for the current node, as fastconv.conv2d has it."""
        return "bf16" if self._rounds and self.plans.precision == "fast" else self.plans.precision

    @property
    def opset(self) -> int:
        """The version of the operator set that the current node belongs to."""
        return self.node.opset

    # -- values ----------------------------------------------------------------------------------------------

    def empty(
        self, shape: Sequence[int], order: Sequence[int] | None = None, dtype: np.dtype[Any] = F32
    ) -> Tensor:
        """Return a dense tensor in a new buffer, its axes in memory in the given order (row-major)."""
        shape = tuple(int(n) for n in shape)
        size = size_of(shape)
        self.buffers.append(Buffer("arena", size, dtype=dtype))
        order = range(len(shape)) if order is None else order
        return Tensor(len(self.buffers) - 1, shape, dense_strides(shape, order), dtype=dtype)

    def result(
        self, shape: Sequence[int], order: Sequence[int] | None = None, dtype: np.dtype[Any] = F32
    ) -> Tensor:
        """Return where to write the current node's result: like :meth:`empty` unless it is placed."""
        placed = self.placements.get(self.node.outputs[0])
        if placed is not None and placed.shape == tuple(shape) and placed.dtype == dtype:
            return self.placements.pop(self.node.outputs[0])
        return self.empty(shape, order, dtype)

    def image(self, shape: Sequence[int], dtype: np.dtype[Any] = F32) -> Tensor:
        """Return where to write a result that should be channels-last."""
        return self.result(shape, channels_last_order(len(shape)), dtype)

    def external(self, kind: str, index: int, shape: Sequence[int], dtype: np.dtype[Any] = F32) -> Tensor:
        """Return a graph's input or output: row-major memory of the caller's."""
        tensor = self.empty(shape, dtype=dtype)
        self.buffers[tensor.buffer] = Buffer(kind, tensor.size, index, dtype=dtype)
        return tensor

    def tensor(self, value: Value) -> Tensor:
        """Return an f32 value as something that a kernel can read: a constant gets a buffer."""
        if value.dtype != F32:
            raise UnsupportedOpError(f"expected float32 values, got {value.dtype}")
        return self.typed(value)

    def typed(self, value: Value) -> Tensor:
        """Return a value of any dtype as something that a step can read."""
        if isinstance(value, Tensor):
            return value
        if id(value) not in self._constants:
            tensor = self.empty(value.shape, dtype=value.dtype)
            if not value.array.flags.c_contiguous:
                self.budget.spend(tensor.nbytes)
            array = np.ascontiguousarray(value.array).reshape(value.shape)
            self.buffers[tensor.buffer] = Buffer("constant", tensor.size, array=array, dtype=value.dtype)
            self._constants[id(value)] = value, tensor
        return self._constants[id(value)][1]

    def wide(self, value: Value) -> Value:
        """Return a value to compute with: float16 and bfloat16 ones become f32, once."""
        if not is_storage(value.dtype):
            return value
        if isinstance(value, Constant):
            return self.cast(value, F32)
        if value not in self._wide:
            wide = self.cast(value, F32)
            assert isinstance(wide, Tensor)
            self._wide[value] = wide
        return self._wide[value]

    def cast(self, value: Value, dtype: np.dtype[Any]) -> Value:
        """Return a value in another dtype, as numpy converts it."""
        if value.dtype == dtype:
            return value
        has_kernel = {value.dtype.name, dtype.name} == {"float32", "bfloat16"}
        if has_kernel and isinstance(value, Tensor) and len(value.shape) <= MAX_RANK:
            return self.cast_bf16(value, dtype)
        if "V" in (value.dtype.kind, dtype.kind):  # a type that is not numpy's own
            return self.call(lambda x: x.astype(dtype), [value], value.shape, dtype, "cast")
        return self.call(converted, [value], value.shape, dtype, "cast", into=True)

    def cast_bf16(self, x: Tensor, dtype: np.dtype[Any]) -> Tensor:
        """Return numbers of bf16 as that type or as f32; those of f32 are rounded to it."""
        y = self.empty(x.shape, x.order(), dtype)
        self.emit("cast", (_of_kernels(x),), _of_kernels(y), integers=True)
        return y

    def array(self, name: str, value: Value) -> Array:  # noqa: ARG002
        """Return the array of a value that the plan depends on; ``name`` says which it is."""
        if isinstance(value, Tensor):
            raise ValueNeeded(value)
        return value.array

    def ints(self, name: str, value: Value) -> list[int]:
        """Return a vector (or scalar) of integers that the plan depends on."""
        if len(value.shape) > 1 or math.prod(value.shape) > MAX_INTS or value.dtype.kind not in "iu":
            raise ShapeError(
                f"{name}: expected a vector of at most {MAX_INTS} integers,"
                f" got shape {value.shape} of {value.dtype}"
            )
        return [int(n) for n in self.array(name, value).reshape(-1)]

    # -- steps -----------------------------------------------------------------------------------------------

    def emit(
        self,
        kind: str,
        inputs: Sequence[Tensor | None],
        output: Tensor,
        *params: Any,
        algorithm: str = "",
        stays_f32: str = "",
        integers: bool = False,
    ) -> Tensor:
        """Append a step and return its output; a step that would write nothing is left out.

        One of ``integers`` has operands that are not f32, which the program checks itself.
        """
        step = Step(kind, tuple(inputs), output, params, self.node, algorithm, stays_f32)
        for tensor in step.tensors():
            if tensor.dtype != F32 and not integers:
                raise UnsupportedOpError(f"expected float32 values, got {tensor.dtype}")
            if len(tensor.shape) > MAX_RANK:
                raise UnsupportedOpError(f"expected at most {MAX_RANK} dimensions, got shape {tensor.shape}")
        if output.size:
            self.steps.append(step)
        return output

    def call(
        self,
        function: Callable[..., Any],
        inputs: Sequence[Value],
        shape: Sequence[int],
        dtype: np.dtype[Any],
        name: str = "",
        *,
        scratch: int = 0,
        into: bool = False,
    ) -> Value:
        """Compute with numpy what has no kernel: ``function`` of arrays, at once where all are constants.

        The result has this shape and dtype. Errors that the function raises at run time name the node. It
        takes ``scratch`` bytes beside the result while it runs, which the budget must have. One that works
        ``into`` an array gets the result as its ``out``, which saves a copy.
        """
        size = size_of(shape)
        name = name or self.node.op.lower()
        arrays = [value.array for value in inputs if isinstance(value, Constant)]
        if len(arrays) == len(inputs):
            if not size:  # no function is asked for nothing, which may take it as long as for something
                return Constant(np.zeros(shape, dtype))
            self.budget.check(size * dtype.itemsize + scratch)
            self.budget.spend(size * dtype.itemsize)
            if into:
                made = np.empty(shape, dtype)
                function(*arrays, out=made)
                return Constant(made)
            return Constant(checked_result(function(*arrays), tuple(shape), dtype))
        tensors = tuple(self.typed(value) for value in inputs)
        like = next((t for t in tensors if t.shape == tuple(shape)), None)  # an image stays one
        result = self.empty(shape, None if like is None else like.order(), dtype)
        if result.size:
            call = Call(function, self.node, name, scratch + (0 if into else result.nbytes), into)
            self.steps.append(Step("call", tensors, result, (call,), self.node, name))
        return result

    def copy(self, x: Tensor, y: Tensor) -> Tensor:
        """Copy between views of equal shapes and dtypes."""
        if x.dtype.kind not in "OSU" and x.dtype.itemsize in MOVED and len(x.shape) <= MAX_RANK:
            self.emit("copy", (as_moved(x),), as_moved(y), integers=True)
        elif y.size:
            call = Call(lambda a: a, self.node, "copy")
            self.steps.append(Step("call", (x,), y, (call,), self.node, "copy"))
        return y

    def fill(self, y: Tensor, number: float) -> Tensor:
        """Write one number to every element."""
        if y.dtype == F32 and len(y.shape) <= MAX_RANK:
            return self.emit("fill", (), y, number)
        return self.copy(self.typed(Constant(np.asarray(number).astype(y.dtype))).broadcast_to(y.shape), y)

    def lookup(
        self, function: Callable[[Array], Array], x: Value, dtype: np.dtype[Any], name: str = ""
    ) -> Value:
        """Apply a function of single values to 8-bit ones: it is asked once for all 256 of them."""
        if isinstance(x, Constant) or len(x.shape) > MAX_RANK:
            return self.call(function, [x], x.shape, dtype, name)
        numbers = np.arange(256, dtype=np.uint8).view(x.dtype)
        with np.errstate(all="ignore"):
            table = checked_result(function(numbers), numbers.shape, dtype).view(np.uint8)
        y = self.result(x.shape, x.order(), dtype)
        return self.emit("lookup", (x, self.typed(Constant(table))), y, integers=True)

    def reshape(self, x: Value, shape: Sequence[int]) -> Value:
        """Reshape: a view where the strides allow it, else one copy step."""
        size_of(shape)
        if isinstance(x, Constant) and not x.array.flags.c_contiguous:
            self.budget.spend(math.prod(shape) * x.dtype.itemsize)  # numpy copies what is not a view
        view = x.reshape(shape)
        if view is not None:
            return view
        x = self.typed(x)
        # A channels-last result keeps an image an image where the old shape can be written through it (a
        # channel shuffle is then one strided copy); through a row-major result every shape can.
        orders = [tuple(range(len(shape)))]
        if len(shape) in (4, 5) and x.strides[-1] != 1:
            orders.insert(0, channels_last_order(len(shape)))
        order = next(o for o in orders if reshape_strides(shape, dense_strides(shape, o), x.shape))
        result = self.empty(shape, order, x.dtype)
        target = result.reshape(x.shape)
        assert target is not None
        self.copy(x, target)
        return result

    def activate(self, x: Value, activation: Activation) -> Value:
        """Elementwise function of one value."""
        if activation == NO_ACTIVATION:
            return x
        if activation.kind == "fake_quantize":  # of integers and of f64 too it makes f32
            x = self.cast(x, F32)
        if x.dtype in BYTES:
            return self.lookup(activation_of(activation, x.dtype), x, x.dtype, activation.kind)
        if x.dtype != F32:
            return self.call(activation_of(activation, x.dtype), [x], x.shape, x.dtype, activation.kind)
        x = self.tensor(x)
        return self.emit("activate", (x,), self.result(x.shape, x.order()), *activation)

    def binary(self, op: str, a: Value, b: Value, activation: Activation = NO_ACTIVATION) -> Value:
        """Elementwise function of two values of one dtype, broadcast as numpy does."""
        shape = broadcast_shapes(a.shape, b.shape)
        if a.dtype != b.dtype:
            raise DTypeError(f"expected two values of one element type, got {a.dtype} and {b.dtype}")
        constant = isinstance(a, Constant) and isinstance(b, Constant)
        if constant or a.dtype != F32 or len(shape) > MAX_RANK:
            into = isinstance(BINARY[op], np.ufunc)
            return self.activate(self.call(BINARY[op], [a, b], shape, a.dtype, op, into=into), activation)
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
        algorithm = conv.algorithm(x.shape)
        plain = algorithm != "bf16"
        asked = plain and (self._rounds or self.plans.precision == "bf16")
        reason = conv.explain(x.shape)["rejected"]["bf16"] if asked else ""
        if plain and self._rounds:
            x = self.cast_bf16(x, F32)
        return self.emit("conv", (x, residual), y, conv, algorithm=algorithm, stays_f32=reason)


def _of_kernels(tensor: Tensor) -> Tensor:
    """Return a tensor with the type that kernels have for its elements, if that is bf16."""
    return replace(tensor, dtype=BF16) if tensor.dtype.name == "bfloat16" else tensor


def as_moved(tensor: Tensor) -> Tensor:
    """Return the same memory as elements of the type that kernels move those of their size as."""
    return replace(tensor, dtype=MOVED[tensor.dtype.itemsize])


def broadcast_shapes(*shapes: tuple[int, ...]) -> tuple[int, ...]:
    """Return numpy's broadcast shape, with the shapes in the error."""
    try:
        return np.broadcast_shapes(*shapes)
    except (ValueError, RuntimeError):  # RuntimeError: more dimensions than numpy has
        raise ShapeError(f"expected shapes that broadcast, got {' and '.join(map(str, shapes))}") from None
