"""From a graph and concrete input shapes to a program.

The graph is lowered by calling each node's function on the values before it
(:mod:`fastconv.graph.context`), so shapes are known as a side effect. When it concatenates channels it is
lowered a second time: the shapes are known by then, and the parts are written to their place in the result
instead of being copied there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

import fastconv.graph.ops  # noqa: F401  (fills the table of operators)
from fastconv import _core
from fastconv.errors import FastconvError, ModelError, UnsupportedOpError
from fastconv.graph.context import Buffer, Concatenation, Context, Plans, Step
from fastconv.graph.ir import NO_ACTIVATION, Graph, Node
from fastconv.graph.memory import Lifetime, MemoryPlan, plan_memory
from fastconv.graph.registry import attributes, check_node, describe, lookup
from fastconv.graph.value import Array, Constant, Tensor, Value, channels_last_order

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Executable:
    """A program for one set of input shapes, with what is known of it on the Python side."""

    program: _core.Program
    steps: tuple[Step, ...]
    memory: MemoryPlan
    output_shapes: tuple[Shape, ...]
    constant_outputs: Mapping[int, Array]  # outputs that are known without running
    buffers: tuple[Buffer, ...]
    threads: int

    def place(self, tensor: Tensor) -> str:
        """Return where a tensor's buffer lies: offset+bytes in the arena, or outside of it."""
        buffer = self.buffers[tensor.buffer]
        if buffer.kind != "arena":
            return buffer.kind
        return f"{4 * self.memory.offsets.get(tensor.buffer, 0)}+{4 * buffer.size}"

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """Run on C-contiguous f32 arrays of the planned shapes."""
        outputs, computed = self._allocate()
        self.program.run(inputs, computed)
        return outputs

    def run_profiled(self, inputs: Sequence[Array]) -> tuple[list[Array], list[float]]:
        """Run, and return the seconds of each step too."""
        outputs, computed = self._allocate()
        seconds = self.program.run_profiled(inputs, computed)
        return outputs, seconds

    def _allocate(self) -> tuple[list[Array], list[Array]]:
        outputs = [
            self.constant_outputs[i].copy() if i in self.constant_outputs else np.empty(shape, np.float32)
            for i, shape in enumerate(self.output_shapes)
        ]
        return outputs, [array for i, array in enumerate(outputs) if i not in self.constant_outputs]


def compile_graph(
    graph: Graph,
    constants: Mapping[str, Constant],
    shapes: Sequence[Shape],
    plans: Plans,
    pool: _core.ArenaPool,
) -> Executable:
    """Compile a graph for input shapes; ``plans`` and ``pool`` are shared by all programs of a model.

    The graph's nodes have passed ``check_node``, once for all shapes.
    """
    ctx = Context(plans)
    values = _lower(ctx, graph, constants, shapes)
    if ctx.concatenations:
        found = ctx.concatenations
        ctx = Context(plans)
        _place(ctx, found)
        values = _lower(ctx, graph, constants, shapes)
    for info in graph.outputs:
        _check_computed(values, info.name, f"output {info.name!r}")
    return _finish(ctx, [values[info.name] for info in graph.outputs], pool)


def evaluate(node: Node, constants: Mapping[str, Array]) -> list[Array] | None:
    """Return the outputs of a node whose inputs are all constants, or None where it cannot run on its own."""
    values: dict[str, Value] = {name: Constant(constants[name]) for name in node.inputs if name}
    ctx = Context(Plans(exact=True))
    try:
        check_node(node)
        _lower_node(ctx, node, values)
        results = [values[name] for name in node.outputs if name in values]
        executable = _finish(ctx, results, _core.ArenaPool()) if ctx.steps else None
    except FastconvError:  # if it is an error, it comes again when the graph is compiled
        return None
    return executable.run([]) if executable else [v.array for v in results if isinstance(v, Constant)]


# -- lowering ------------------------------------------------------------------------------------------------


def _lower(
    ctx: Context, graph: Graph, constants: Mapping[str, Constant], shapes: Sequence[Shape]
) -> dict[str, Value]:
    values: dict[str, Value] = dict(constants)
    for i, (info, shape) in enumerate(zip(graph.inputs, shapes, strict=True)):
        values[info.name] = ctx.external("input", i, shape)
    for node in graph.nodes:
        _lower_node(ctx, node, values)
    return values


def _lower_node(ctx: Context, node: Node, values: dict[str, Value]) -> None:
    """Call a node's function; an error starts with the node's name."""
    spec = lookup(node)
    ctx.node = node
    fused = {} if node.activation == NO_ACTIVATION else {"activation": node.activation}
    for name in filter(None, node.inputs):
        _check_computed(values, name, describe(node))
    inputs = [values[name] if name else None for name in node.inputs]
    try:
        with np.errstate(all="ignore"):  # constants may overflow, as they would at run time
            result = spec.lower(ctx, *inputs, **attributes(node, spec), **fused)
    except FastconvError as error:
        raise type(error)(f"{describe(node)}: {error}") from error
    except (ValueError, TypeError, IndexError, ArithmeticError) as error:
        raise ModelError(f"{describe(node)}: {error}") from error
    outputs = result if isinstance(result, tuple) else (result,)
    for name, value in zip(node.outputs, outputs, strict=False):
        if name:
            values[name] = value


def _check_computed(values: Mapping[str, Value], name: str, where: str) -> None:
    """Refuse an optional output (a pooling's indices, a dropout's mask) where somebody reads it."""
    if name not in values:
        raise UnsupportedOpError(
            f"{where}: expected a value that is computed, got the optional output {name!r}"
        )


def _place(ctx: Context, concatenations: Sequence[Concatenation]) -> None:
    """Give the parts of concatenations their places, the last first: its parts may be such too.

    Where the parts lie side by side already, in a later concatenation that holds them all, that place serves
    both: a block of a DenseNet, whose every layer adds to what went before, is one buffer.
    """
    for c in reversed(concatenations):
        whole = ctx.placements.get(c.output) or _side_by_side(ctx.placements, c)
        if whole is None:
            whole = ctx.empty(c.shape, channels_last_order(len(c.shape)))
        ctx.placements[c.output] = whole
        for name, start, channels in c.parts:
            ctx.placements.setdefault(name, whole.slice(1, start, 1, channels))


def _side_by_side(placements: Mapping[str, Tensor], c: Concatenation) -> Tensor | None:
    """Return the place of a concatenation's result that its parts' places make up, if they do."""
    first = placements.get(c.parts[0][0])
    if first is None:
        return None
    whole = replace(first, shape=c.shape)
    fits = (placements.get(name) == whole.slice(1, start, 1, channels) for name, start, channels in c.parts)
    return whole if all(fits) else None


# -- emission ------------------------------------------------------------------------------------------------


def _finish(ctx: Context, results: Sequence[Value], pool: _core.ArenaPool) -> Executable:
    """Turn the steps of a context into a program with these results."""
    outputs: list[Value] = []
    for value in results:
        if isinstance(value, Tensor):
            value = _as_output(ctx, value, sum(isinstance(v, Tensor) for v in outputs))
        outputs.append(value)
    steps = tuple(_bind(ctx, step) for step in ctx.steps)
    memory = plan_memory(_lifetimes(ctx, steps))
    return Executable(
        _emit(ctx, steps, memory, pool),
        steps,
        memory,
        tuple(value.shape for value in outputs),
        {i: value.array for i, value in enumerate(outputs) if isinstance(value, Constant)},
        tuple(ctx.buffers),
        _core.get_num_threads(),
    )


def _as_output(ctx: Context, value: Tensor, index: int) -> Tensor:
    """Return a result in row-major memory of the caller's: copied, unless it is a buffer of its own."""
    buffer = ctx.buffers[value.buffer]
    if buffer.kind == "arena" and value.is_row_major() and value.offset == 0 and value.size == buffer.size:
        ctx.buffers[value.buffer] = Buffer("output", buffer.size, index)
        return value
    ctx.node = Node("Output", f"output {index}", (), ())
    return ctx.copy(value, ctx.external("output", index, value.shape))


def _bind(ctx: Context, step: Step) -> Step:
    """Fix a convolution to its final shapes and strides, and give it its workspace."""
    if step.kind != "conv":
        return step
    (x, residual), y = step.inputs, step.output
    assert x is not None
    residual_view = None if residual is None else (residual.shape, residual.strides)
    planned = _core.PlannedConv(step.params[0], (x.shape, x.strides), residual_view, (y.shape, y.strides))
    return replace(step, params=(planned, ctx.empty((planned.workspace,))))


def _lifetimes(ctx: Context, steps: Sequence[Step]) -> dict[int, Lifetime]:
    """From which step to which the buffers of the arena hold something."""
    lives: dict[int, Lifetime] = {}
    for i, step in enumerate(steps):
        for tensor in step.tensors():
            buffer = ctx.buffers[tensor.buffer]
            if buffer.kind == "arena" and buffer.size:
                first = lives[tensor.buffer].first if tensor.buffer in lives else i
                lives[tensor.buffer] = Lifetime(buffer.size, first, i)
    return lives


def _emit(ctx: Context, steps: Sequence[Step], memory: MemoryPlan, pool: _core.ArenaPool) -> _core.Program:
    by_index = sorted(ctx.buffers, key=lambda b: b.index)
    sizes = {kind: [b.size for b in by_index if b.kind == kind] for kind in ("input", "output")}
    program = _core.Program(pool, memory.arena, sizes["input"], sizes["output"])
    first = {"input": 1, "output": 1 + len(sizes["input"])}  # slots: the arena, inputs, outputs, constants
    slots: dict[int, int] = {}

    def operand(tensor: Tensor) -> tuple[int, int, Shape, Shape]:
        buffer = ctx.buffers[tensor.buffer]
        if buffer.kind == "arena":
            return 0, memory.offsets.get(tensor.buffer, 0) + tensor.offset, tensor.shape, tensor.strides
        if tensor.buffer not in slots:
            if buffer.array is not None:
                slots[tensor.buffer] = program.add_constant(buffer.array)
            else:
                slots[tensor.buffer] = first[buffer.kind] + buffer.index
        return slots[tensor.buffer], tensor.offset, tensor.shape, tensor.strides

    for step in steps:
        arguments = (
            operand(a) if isinstance(a, Tensor) else a for a in (*step.inputs, step.output, *step.params)
        )
        getattr(program, step.kind)(*arguments)
    return program
