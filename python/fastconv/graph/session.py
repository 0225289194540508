"""The engine of a model: its graph after the passes, its weights, and the programs made for them."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import replace

from fastconv import _core
from fastconv.errors import ArgumentError
from fastconv.graph.budget import Budget
from fastconv.graph.compile import Shape
from fastconv.graph.ir import CompiledGraph, Graph, all_nodes
from fastconv.graph.kept import Kept
from fastconv.graph.options import check_batch
from fastconv.graph.plans import Plans
from fastconv.graph.program import Layer, layer_of
from fastconv.graph.save import check_same
from fastconv.graph.staged import Plan, Staged, plan
from fastconv.graph.value import Constant

MAX_PROGRAMS = 8  # input shapes whose programs are kept; a program is small, its arena is shared


class Session:
    """Programs for any input shapes, on weights that are packed once; safe from several threads.

    Parameters
    ----------
    prepare : callable
        Returns the graph after its passes and the budget that they took from; called again by
        :meth:`compiled`, for weights that were freed once they were packed.
    precision : {"fast", "exact", "bf16"}, optional
        By default what the graph says.
    tune : bool
        Whether algorithms are those measured to be the fastest.
    """

    def __init__(
        self,
        prepare: Callable[[], tuple[CompiledGraph, Budget]],
        precision: str | None = None,
        tune: bool = False,
    ) -> None:
        self._prepare = prepare
        graph, budget = prepare()
        self.parameters = graph.parameters
        self.constants = {name: Constant(array) for name, array in graph.constants.items()}
        self.graph = Graph(graph.name, graph.nodes, graph.inputs, graph.outputs, {})
        reads = Counter(name for node in all_nodes(graph.nodes) for name in node.inputs)
        reads.update(info.name for info in graph.outputs)  # a weight that is a result too is not released
        sizes = (n for info in graph.inputs for n in info.shape[1:])
        self.plans = Plans(
            precision=precision or graph.precision,
            fixed=all(isinstance(n, int) for n in sizes),
            tune=tune,
            reads={id(constant): reads[name] for name, constant in self.constants.items()},
            budget=budget,
            kept=Kept(budget),
            keep=graph.keep,
            stored=graph.packed_by_output(),
        )
        self.pool = _core.ArenaPool()
        self.programs: OrderedDict[tuple[int, tuple[Shape, ...]], Plan] = OrderedDict()

    def plan(self, shapes: tuple[Shape, ...]) -> Plan:
        """Return the program for input shapes, made now or kept from before."""
        key = (_core.get_num_threads(), shapes)  # workspaces are sized for the threads at planning
        with self.plans.lock:
            kept = self.plans.kept
            kept.in_use = 0
            program: Plan | None = kept.get(self.programs, key)
            if program is None:
                program = plan(self.graph, self.constants, shapes, self.plans, self.pool)
                if not isinstance(program, Staged):  # whose outputs depend on more than shapes
                    check_batch(self.graph.inputs, self.graph.outputs, shapes, program.output_shapes)
                kept.add(self.programs, key, program, MAX_PROGRAMS)
            return program

    @property
    def last_shapes(self) -> tuple[Shape, ...]:
        """The input shapes planned or used last; ArgumentError before there are any."""
        with self.plans.lock:
            last = next(reversed(self.programs), None)
        if last is None:
            raise ArgumentError("shapes: expected the input shapes, as no program is planned yet, got none")
        return last[1]

    def release(self) -> None:
        """Drop all programs and arenas."""
        with self.plans.lock:
            self.plans.kept.in_use = 0
            while self.plans.kept.reclaim():
                pass
            self.pool = _core.ArenaPool()

    @property
    def precision(self) -> str:
        """As given, or as the graph says."""
        return self.plans.precision

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The nodes that have parameters, in the order in which they run."""
        packed = dict(self.plans.packed)
        found = (layer_of(node, self.constants, packed) for node in self.graph.nodes)
        return tuple(layer for layer in found if layer is not None)

    def compiled(self, packed: bool) -> CompiledGraph:
        """Return the graph after its passes with all weights; those freed once packed are made again."""
        with self.plans.lock:  # no other thread packs weights, and frees them
            if any(constant.released for constant in self.constants.values()):
                graph, budget = self._prepare()
                again = Session(lambda: (replace(graph, keep=True), budget), self.precision)
                for _, shapes in self.programs:
                    again.plan(shapes)
                check_same(self.plans.packed_weights(), again.plans.packed_weights())
                return again.compiled(packed)
            return CompiledGraph(
                *(self.graph.name, self.graph.nodes, self.graph.inputs, self.graph.outputs),
                {name: constant.array for name, constant in self.constants.items()},
                precision=self.precision,
                parameters=self.parameters,
                packed=self.plans.packed_weights() if packed else (),
            )
