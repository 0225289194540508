"""From a graph and concrete input shapes to a program.

The graph is lowered by calling each node's function on the values before it
(:mod:`fastconv.graph.context`), so shapes are known as a side effect. When it concatenates channels it is
lowered a second time: the shapes are known by then, and the parts are written to their place in the result
instead of being copied there.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

import fastconv.graph.ops  # noqa: F401  (fills the table of operators)
from fastconv import _core
from fastconv.errors import FastconvError, MemoryLimitError, UnsupportedOpError
from fastconv.graph.bf16_results import store_bf16
from fastconv.graph.branch import branch_of, is_branch
from fastconv.graph.budget import Budget, new_bytes
from fastconv.graph.context import Buffer, Concatenation, Context, Step, ValueNeeded
from fastconv.graph.in_place import write_in_place
from fastconv.graph.ir import NO_ACTIVATION, Graph, Node, TensorInfo
from fastconv.graph.kept import Table
from fastconv.graph.loop import body_of, is_loop
from fastconv.graph.memory import Lifetime, MemoryPlan, alive, lifetimes_of, plan_memory
from fastconv.graph.packing import release_packed
from fastconv.graph.plans import Plans
from fastconv.graph.registry import attributes, check_node, describe, lookup, naming
from fastconv.graph.split import Split, choose_split, independent_steps, part_of, touched
from fastconv.graph.value import F32, U8, Array, Constant, Tensor, Value, channels_last_order, is_storage

Shape = tuple[int, ...]


class Cut(Exception):
    """The second of two lists of nodes begins with one that needs the value of a name, which a run computes.

    Or, where the name is None, with a loop, which is run between two programs. ``constants`` are those of
    branches that have been taken.
    """

    def __init__(
        self,
        name: str | None,
        before: Sequence[Node],
        after: Sequence[Node],
        constants: Mapping[str, Constant],
    ) -> None:
        super().__init__(f"node {after[0].name!r} needs {name or 'a program of its own'!r}")
        self.name, self.before, self.after, self.constants = name, tuple(before), tuple(after), constants


class Stage(NamedTuple):
    """Steps that run one after another, ``times`` times in a run of the program: once, or for each part."""

    program: _core.Program
    steps: tuple[Step, ...]
    memory: MemoryPlan
    buffers: tuple[Buffer, ...]
    carried: frozenset[int] = frozenset()  # buffers that pass from the parts of a batch to the rest
    images: int = 1  # of a part
    times: int = 1
    rounds: int = 0  # of a loop that it is the body of, as the last run had them; ``times`` has them too

    def place(self, tensor: Tensor) -> str:
        """Return where a tensor's buffer lies: offset+bytes in the stage's memory, or outside of it."""
        buffer = self.buffers[tensor.buffer]
        if tensor.buffer in self.carried:
            return "carried"
        if buffer.kind != "arena":
            return buffer.kind
        return f"{self.memory.offsets.get(tensor.buffer, 0)}+{buffer.nbytes}"


class Executable(NamedTuple):
    """A program for one set of input shapes, with what is known of it on the Python side."""

    program: _core.Program | _core.BatchProgram
    stages: tuple[Stage, ...]  # those of the parts of a batch, a stage for each size; the last is the rest
    memory: MemoryPlan
    output_shapes: tuple[Shape, ...]
    output_dtypes: tuple[np.dtype[Any], ...]
    constant_outputs: Mapping[int, Array]  # outputs that are known without running
    threads: int
    split: Split | None = None
    held: int = 0  # bytes of constants that are there for this program alone
    tables: tuple[Table, ...] = ()  # of programs that it keeps itself: none, see Staged
    independent: bool = True  # whether each image of a batch is known to be computed by itself

    @property
    def steps(self) -> tuple[Step, ...]:
        """The steps of all stages, in the order of the times that ``run_profiled`` returns."""
        return tuple(step for stage in self.stages for step in stage.steps)

    def run(self, inputs: Sequence[Array], places: Mapping[int, Array] | None = None) -> list[Array]:
        """Run on C-contiguous arrays of the planned shapes and the graph's dtypes.

        Outputs are computed in the arrays of ``places``, by their index, where these are contiguous.
        """
        outputs, computed = self._allocate(places or {})
        self.program.run(inputs, computed)
        return outputs

    def run_profiled(self, inputs: Sequence[Array]) -> tuple[list[Array], list[float]]:
        """Run, and return the seconds of each step too."""
        outputs, computed = self._allocate({})
        seconds = self.program.run_profiled(inputs, computed)
        return outputs, seconds

    def _allocate(self, places: Mapping[int, Array]) -> tuple[list[Array], list[Array]]:
        outputs = []
        for i, (shape, dtype) in enumerate(zip(self.output_shapes, self.output_dtypes, strict=True)):
            if i in self.constant_outputs:
                outputs.append(self.constant_outputs[i].copy())
            elif i in places and places[i].flags.c_contiguous:
                outputs.append(places[i])
            else:
                outputs.append(np.empty(shape, dtype))
        return outputs, [array for i, array in enumerate(outputs) if i not in self.constant_outputs]


def compile_graph(
    graph: Graph,
    constants: Mapping[str, Constant],
    shapes: Sequence[Shape],
    plans: Plans,
    pool: _core.ArenaPool,
    *,
    bound: int = 0,
    carried: int = 0,
) -> Executable:
    """Compile a graph for input shapes; ``plans`` and ``pool`` are shared by all programs of a model.

    ``bound`` are the bytes of constants that are there for this program alone, ``carried`` those of inputs
    that another program of the model computes: both are in memory when it runs. The graph's nodes have passed
    ``check_node``, once for all shapes. Raises :class:`Cut` where a node needs a value that only a run can
    tell.
    """
    ctx = Context(plans)
    ctx.budget.spend(bound + carried)
    values = _lower(ctx, graph, constants, shapes)
    if ctx.concatenations:
        found = ctx.concatenations
        ctx = Context(plans)
        ctx.budget.spend(bound + carried)
        _place(ctx, found)
        values = _lower(ctx, graph, constants, shapes)
    for info in graph.outputs:
        _check_computed(values, info.name, f"output {info.name!r}")
    batches = {shape[0] if shape else 1 for shape in shapes}
    batch = batches.pop() if len(batches) == 1 else 1
    results = [_declared(ctx, values[info.name], info) for info in graph.outputs]
    executable = _finish(ctx, results, pool, batch)
    return executable._replace(held=ctx.budget.taken - carried)


def evaluate(node: Node, constants: Mapping[str, Array], budget: Budget) -> list[Array] | None:
    """Return the outputs of a node whose inputs are all constants, or None where it cannot run on its own.

    What the outputs take is spent.
    """
    inputs = {name: constants[name] for name in node.inputs if name}
    values: dict[str, Value] = {name: Constant(array) for name, array in inputs.items()}
    ctx = Context(Plans(precision="exact", budget=budget.fork()))
    try:
        check_node(node)
        _lower_node(ctx, node, values)
        results = [values[name] for name in node.outputs if name in values]
        executable = _finish(ctx, results, _core.ArenaPool()) if ctx.steps else None
        arrays = executable.run([]) if executable else [v.array for v in results if isinstance(v, Constant)]
        budget.spend(new_bytes(arrays, inputs.values()))
    except (FastconvError, ValueNeeded):  # if it is an error, it comes again when the graph is compiled
        return None
    return arrays


def lowered_values(graph: Graph, shapes: Sequence[Shape]) -> dict[str, Value]:
    """Return what is known of each value of a graph for input shapes: its shape, of constants what they hold.

    Raises UnsupportedOpError where a run alone can tell.
    """
    constants = {name: Constant(array) for name, array in graph.constants.items()}
    for node in graph.nodes:
        check_node(node)
    try:
        return _lower(Context(Plans()), graph, constants, shapes)
    except Cut as cut:
        node = cut.after[0]
        raise UnsupportedOpError(
            f"{describe(node)}: expected shapes that follow from those of the inputs, got one of a run"
        ) from None


# -- lowering ------------------------------------------------------------------------------------------------


def _lower(
    ctx: Context, graph: Graph, constants: Mapping[str, Constant], shapes: Sequence[Shape]
) -> dict[str, Value]:
    values: dict[str, Value] = dict(constants)
    for i, (info, shape) in enumerate(zip(graph.inputs, shapes, strict=True)):
        values[info.name] = ctx.external("input", i, shape, info.dtype)
    waiting = list(reversed(graph.nodes))
    lowered: list[Node] = []
    of_branches: dict[str, Constant] = {}
    while waiting:
        node = waiting.pop()
        condition = values.get(node.inputs[0]) if is_branch(node) else None
        if isinstance(condition, Constant):
            inner, known = branch_of(node, condition.array)
            waiting += reversed(inner)
            of_branches |= {name: Constant(array) for name, array in known.items()}
            values |= of_branches
            continue
        if is_loop(node):
            with naming(node):
                body_of(node)
            raise Cut(None, lowered, [node, *reversed(waiting)], of_branches)
        if not _fold(node, values, ctx.budget):
            try:
                _lower_node(ctx, node, values)
            except ValueNeeded as needed:
                names = [n for n in node.inputs if n and ctx.wide(values[n]) == needed.value]
                if not names:  # an intermediate result of the node's own
                    raise UnsupportedOpError(f"{describe(node)}: expected a constant, got {needed}") from None
                raise Cut(names[0], lowered, [node, *reversed(waiting)], of_branches) from None
        lowered.append(node)
    return values


def _fold(node: Node, values: dict[str, Value], budget: Budget) -> bool:
    """Compute a node whose inputs are all known by now: shape arithmetic."""
    inputs = {name: values.get(name) for name in node.inputs if name}
    if not all(isinstance(value, Constant) for value in inputs.values()):
        return False
    constants = {name: value.array for name, value in inputs.items() if isinstance(value, Constant)}
    results = evaluate(node, constants, budget)
    if results is None or len(results) != sum(map(bool, node.outputs)):
        return False
    values.update(zip(filter(None, node.outputs), map(Constant, results), strict=True))
    return True


def _declared(ctx: Context, value: Value, info: TensorInfo) -> Value:
    """Return an output as the graph declares it where that is a type of storage; it was computed in f32."""
    return ctx.cast(value, info.dtype) if is_storage(info.dtype) and value.dtype == F32 else value


def _lower_node(ctx: Context, node: Node, values: dict[str, Value]) -> None:
    """Call a node's function; an error starts with the node's name."""
    spec = lookup(node)
    ctx.node = node
    fused = {} if node.activation == NO_ACTIVATION else {"activation": node.activation}
    for name in filter(None, node.inputs):
        _check_computed(values, name, describe(node))
    inputs = [values[name] if name else None for name in node.inputs]
    if not spec.any_dtype:
        inputs = [None if value is None else ctx.wide(value) for value in inputs]
    with naming(node), np.errstate(all="ignore"):  # constants may overflow, as they would at run time
        result = spec.lower(ctx, *inputs, **attributes(node, spec), **fused)
    release_packed(ctx, inputs)
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
            whole = ctx.empty(c.shape, channels_last_order(len(c.shape)), c.dtype)
        ctx.placements[c.output] = whole
        for name, start, channels in c.parts:
            if name:
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


def _finish(ctx: Context, results: Sequence[Value], pool: _core.ArenaPool, batch: int = 1) -> Executable:
    """Turn the steps of a context into a program with these results."""
    outputs: list[Value] = []
    for value in results:
        if isinstance(value, Tensor):
            value = _as_output(ctx, value, sum(isinstance(v, Tensor) for v in outputs))
        outputs.append(value)
    _check_memory(ctx, ctx.steps, arena=0)  # the outputs alone, with all the steps that may write them
    ctx.steps, ctx.buffers = store_bf16(ctx.steps, ctx.buffers)
    ctx.steps = write_in_place(ctx.steps, ctx.buffers)
    threads = _core.get_num_threads()
    split, independent = None, True
    if batch > 1:
        rows = [value.shape[:1] for value in outputs if isinstance(value, Tensor)]
        independent = all(row and row[0] % batch == 0 for row in rows)
        independent &= independent_steps(ctx.steps, ctx.buffers, batch) == len(ctx.steps)
        lifetimes = lifetimes_of(ctx.steps, ctx.buffers)
        split = choose_split(ctx.steps, ctx.buffers, lifetimes, batch, threads, _cache_bytes())
    program: _core.Program | _core.BatchProgram
    stages: tuple[Stage, ...]
    if split is None:
        stage = _stage(ctx, pool, threads)
        stages, program, memory = (stage,), stage.program, stage.memory
    else:
        program, stages, memory = _split_stages(ctx, pool, batch, split, threads)
        _check_memory(ctx, ctx.steps, memory.arena)
    return Executable(
        program,
        stages,
        memory,
        tuple(value.shape for value in outputs),
        tuple(value.dtype for value in outputs),
        {i: value.array for i, value in enumerate(outputs) if isinstance(value, Constant)},
        threads,
        split,
        independent=independent,
    )


def _stage(
    ctx: Context,
    pool: _core.ArenaPool,
    threads: int,
    carried: frozenset[int] = frozenset(),
    images: int = 1,
    times: int = 1,
) -> Stage:
    """Bind the steps of a context, plan their memory and emit them."""
    _check_memory(ctx, ctx.steps)  # before convolutions are bound, which makes tables for large images
    steps = tuple(_bind(ctx, step, threads) for step in ctx.steps)
    memory = plan_memory(lifetimes_of(steps, ctx.buffers))
    _check_memory(ctx, steps, memory.arena)
    return Stage(_emit(ctx, steps, memory, pool), steps, memory, tuple(ctx.buffers), carried, images, times)


def _check_memory(ctx: Context, steps: Sequence[Step], arena: int | None = None) -> None:
    """Refuse an arena (in bytes, or one of what is alive at once) and outputs that are too large.

    The error starts with the node that writes the most, if there is one.
    """
    if arena is None:
        arena = max(alive(lifetimes_of(steps, ctx.buffers), len(steps)), default=0)
    scratch = max(map(_scratch, steps), default=0)
    try:
        ctx.budget.check(arena + scratch + sum(b.nbytes for b in ctx.buffers if b.kind == "output"))
    except MemoryLimitError as error:
        if not steps:
            raise
        node = max(steps, key=lambda step: step.output.nbytes + _scratch(step)).node
        raise MemoryLimitError(f"{describe(node)}: {error}") from error


def _scratch(step: Step) -> int:
    """Return the bytes that numpy takes while a step runs."""
    return step.params[0].scratch if step.kind == "call" else 0


def _split_stages(
    ctx: Context, pool: _core.ArenaPool, batch: int, split: Split, threads: int
) -> tuple[_core.BatchProgram, tuple[Stage, ...], MemoryPlan]:
    """Make a program for each size of part and one for the rest, and join them."""
    first, last = ctx.steps[: split.steps], ctx.steps[split.steps :]
    both = touched(first) & touched(last)
    carried = [i for i in sorted(both) if ctx.buffers[i].kind == "arena"]
    inputs, outputs = (sum(b.kind == kind for b in ctx.buffers) for kind in ("input", "output"))

    def stage(part: Context, kind: str, index: int, threads: int, images: int = 1, times: int = 1) -> Stage:
        """Make a stage that has the carried buffers as further inputs or outputs."""
        for i, buffer in enumerate(carried):
            part.buffers[buffer] = replace(part.buffers[buffer], kind=kind, index=index + i)
        return _stage(part, pool, threads, frozenset(carried), images, times)

    rest = stage(ctx.fork(last, ctx.buffers), "input", inputs, threads)
    program = _core.BatchProgram(pool, rest.program, batch, split.lanes)
    parts: dict[int, Stage] = {}
    for images in split.images:
        if images not in parts:
            part = ctx.fork(*part_of(first, ctx.buffers, batch, images))
            limit = 1 if split.lanes > 1 else threads
            parts[images] = stage(part, "output", outputs, limit, images, split.images.count(images))
        program.add_part(parts[images].program, images)
    kept = plan_memory({i: Lifetime(ctx.buffers[i].nbytes, 0, 0) for i in carried}).arena
    largest = max((stage.memory for stage in parts.values()), key=lambda plan: plan.arena)
    memory = MemoryPlan(
        {},
        kept + max(split.lanes * largest.arena, rest.memory.arena),
        kept + split.lanes * largest.total + rest.memory.total,
        kept + max(split.lanes * largest.lower_bound, rest.memory.lower_bound),
    )
    return program, (*parts.values(), rest), memory


@functools.cache
def _cache_bytes() -> int:
    """Return a quarter of the last cache: the rest is for weights, for other cores, and for other machines.

    A virtual machine sees all of a cache that it has a share of. On a Zen 3 with 32 MiB, batches of eight,
    MobileNet V2 took 75 ms with a quarter and 89 with a half, EfficientNet-B0 122 and 165; an eighth was as
    good as a quarter.
    """
    caches = _core.cpu_info()["caches"]
    return int(max(caches["l2"], caches["l3"])) // 4


def _as_output(ctx: Context, value: Tensor, index: int) -> Tensor:
    """Return a result in row-major memory of the caller's: copied, unless it is a buffer of its own."""
    buffer = ctx.buffers[value.buffer]
    if buffer.kind == "arena" and value.is_row_major() and value.offset == 0 and value.size == buffer.size:
        ctx.buffers[value.buffer] = Buffer("output", buffer.size, index, dtype=buffer.dtype)
        return value
    ctx.node = Node("Output", f"output {index}", (), ())
    return ctx.copy(value, ctx.external("output", index, value.shape, value.dtype))


def _bind(ctx: Context, step: Step, threads: int) -> Step:
    """Fix a convolution to its final shapes and strides, and give it its workspace for as many threads."""
    if not step.is_convolution:
        return step
    (x, residual), y = step.inputs, step.output
    assert x is not None
    views = _view(x), _view(y)
    planned: _core.PlannedConv | _core.PlannedIntegerConv
    with naming(step.node):
        if step.kind == "conv":
            added = None if residual is None else _view(residual)
            planned = _core.PlannedConv(step.params[0], views[0], added, views[1], threads)
        else:
            planned = _core.PlannedIntegerConv(step.params[0], *views, threads)
    return step._replace(params=(planned, ctx.empty((planned.workspace,), dtype=U8)))


def _view(tensor: Tensor) -> _core.PlanView:
    return tensor.shape, tensor.strides, tensor.dtype


def _emit(ctx: Context, steps: Sequence[Step], memory: MemoryPlan, pool: _core.ArenaPool) -> _core.Program:
    by_index = sorted(ctx.buffers, key=lambda b: b.index)
    sizes = {kind: [b.nbytes for b in by_index if b.kind == kind] for kind in ("input", "output")}
    program = _core.Program(pool, memory.arena, sizes["input"], sizes["output"])
    first = {"input": 1, "output": 1 + len(sizes["input"])}  # slots: the arena, inputs, outputs, constants
    slots: dict[int, int] = {}

    def operand(tensor: Tensor) -> _core.PlanOperand:
        buffer = ctx.buffers[tensor.buffer]
        offset = tensor.offset * tensor.dtype.itemsize
        if buffer.kind == "arena":
            offset += memory.offsets.get(tensor.buffer, 0)
            return 0, offset, tensor.shape, tensor.strides, tensor.dtype
        if tensor.buffer not in slots:
            if buffer.array is not None:
                slots[tensor.buffer] = program.add_constant(buffer.array)
            else:
                slots[tensor.buffer] = first[buffer.kind] + buffer.index
        return slots[tensor.buffer], offset, tensor.shape, tensor.strides, tensor.dtype

    for step in steps:
        with naming(step.node):
            if step.kind == "call":
                tensors = (*step.inputs, step.output)
                program.call([operand(t) for t in tensors if t is not None], *step.params)
                continue
            arguments = (
                operand(a) if isinstance(a, Tensor) else a for a in (*step.inputs, step.output, *step.params)
            )
            getattr(program, step.kind)(*arguments)
    return program
