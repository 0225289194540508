"""Programs that depend on values: made in two halves, the second once the value is there.

A program is planned for shapes. Where a node needs the value itself of something that a run computes or is
given (the shape that a Reshape reads, the k of a TopK, the boxes of a NonMaxSuppression), the graph is cut
before that node: the first half computes what the second reads, and the second is compiled with the value as
a constant, and kept for the next time that it comes. The second half may be cut again.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from fastconv import _core
from fastconv.errors import ArgumentError
from fastconv.graph.compile import Cut, Executable, Shape, Stage, compile_graph
from fastconv.graph.context import Plans, Step
from fastconv.graph.ir import Graph, TensorInfo
from fastconv.graph.memory import MemoryPlan
from fastconv.graph.value import F32, Array, Constant

MAX_VALUES = 8  # for which a second half is kept


class Staged:
    """A first half (None where the value is an input of the graph), and a second one for each value."""

    def __init__(
        self,
        graph: Graph,
        constants: Mapping[str, Constant],
        shapes: Sequence[Shape],
        plans: Plans,
        pool: _core.ArenaPool,
        cut: Cut,
    ) -> None:
        constants = {**constants, **cut.constants}
        self._constants, self._plans, self._pool = constants, plans, pool
        self._needed = cut.name
        self._inputs = [info.name for info in graph.inputs]
        self._first: Executable | None = None
        self._carried: list[str] = []
        self._rest = replace(graph, nodes=(*cut.before, *cut.after))
        self._seconds: OrderedDict[bytes, Plan] = OrderedDict()
        self._bound: dict[str, Constant] = {}
        self.threads = _core.get_num_threads()
        if cut.name in self._inputs:
            return
        written = {name for node in cut.before for name in node.outputs if name}
        read = {info.name for info in graph.outputs}.union(*(node.inputs for node in cut.after))
        self._carried = sorted(written & read)
        infos = tuple(TensorInfo(name, (), F32) for name in self._carried)
        first = replace(graph, nodes=cut.before, outputs=infos)
        self._first = compile_graph(first, constants, shapes, plans, pool)
        self._rest = replace(graph, nodes=cut.after)

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """Run on C-contiguous arrays of the planned shapes and the graph's dtypes."""
        values = dict(zip(self._inputs, inputs, strict=True))
        if self._first is not None:
            values |= zip(self._carried, self._first.run(inputs), strict=True)
        second, names = self._second(values)
        return second.run([values[name] for name in names])

    def run_profiled(self, inputs: Sequence[Array]) -> tuple[list[Array], list[float]]:
        """Run, and return the seconds of each step too."""
        values = dict(zip(self._inputs, inputs, strict=True))
        seconds: list[float] = []
        if self._first is not None:
            carried, seconds = self._first.run_profiled(inputs)
            values |= zip(self._carried, carried, strict=True)
        second, names = self._second(values)
        outputs, later = second.run_profiled([values[name] for name in names])
        return outputs, [*seconds, *later]

    def _second(self, values: Mapping[str, Array]) -> tuple[Plan, list[str]]:
        """Return the program for the needed value, and the names of its inputs."""
        known = {} if self._first is None else self._first.constant_outputs
        constant = {self._needed, *(name for i, name in enumerate(self._carried) if i in known)}
        names = [name for name in values if name not in constant]
        needed = values[self._needed]
        key = hashlib.blake2b(np.ascontiguousarray(needed).reshape(-1).view(np.uint8).data).digest()
        with self._plans.lock:
            if key not in self._seconds:
                infos = tuple(TensorInfo(name, values[name].shape, values[name].dtype) for name in names)
                bound = {name: Constant(values[name].copy()) for name in constant}
                self._bound = bound
                self._seconds[key] = plan(
                    replace(self._rest, inputs=infos),
                    {**self._constants, **bound},
                    [values[name].shape for name in names],
                    self._plans,
                    self._pool,
                )
            self._seconds.move_to_end(key)
            while len(self._seconds) > MAX_VALUES:
                self._seconds.popitem(last=False)
            return self._seconds[key], names

    # -- what an Executable says of itself; of the value that came last --------------------------------------

    @property
    def halves(self) -> tuple[Plan, ...]:
        """The programs that the last run was made of; ArgumentError before the first run."""
        last = next(reversed(self._seconds.values()), None)
        if last is None:
            raise ArgumentError(
                f"shapes: expected a run before, as the program depends on the value of {self._needed!r}"
            )
        return (last,) if self._first is None else (self._first, last)

    @property
    def bound(self) -> dict[str, Constant]:
        """The values that the second half was compiled for."""
        last = self.halves[-1]
        return {**self._bound, **(last.bound if isinstance(last, Staged) else {})}

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The stages of the halves."""
        return tuple(stage for half in self.halves for stage in half.stages)

    @property
    def steps(self) -> tuple[Step, ...]:
        """The steps of the halves."""
        return tuple(step for half in self.halves for step in half.steps)

    @property
    def memory(self) -> MemoryPlan:
        """The memory of both halves; they run one after the other."""
        plans = [half.memory for half in self.halves]
        return MemoryPlan(
            {},
            max(p.arena for p in plans),
            sum(p.total for p in plans),
            max(p.lower_bound for p in plans),
        )

    @property
    def output_shapes(self) -> tuple[Shape, ...]:
        """The shapes of the outputs."""
        return self.halves[-1].output_shapes

    split = None


Plan = Executable | Staged


def plan(
    graph: Graph,
    constants: Mapping[str, Constant],
    shapes: Sequence[Shape],
    plans: Plans,
    pool: _core.ArenaPool,
) -> Plan:
    """Compile a graph for input shapes, in two halves where it depends on a value."""
    try:
        return compile_graph(graph, constants, shapes, plans, pool)
    except Cut as cut:
        return Staged(graph, constants, shapes, plans, pool, cut)
