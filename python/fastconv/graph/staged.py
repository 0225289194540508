"""Programs that depend on values: made in two halves, the second once the value is there.

A program is planned for shapes. Where a node needs the value itself of something that a run computes or is
given (the shape that a Reshape reads, the k of a TopK, the boxes of a NonMaxSuppression), the graph is cut
before that node: the first half computes what the second reads, and the second is compiled with the value as
a constant, and kept for the next time that it comes. The second half may be cut again.

A loop (:mod:`fastconv.graph.loop`) cuts the graph too: the first half computes what it reads, its body runs
as a program of its own, and the second half is compiled for the shapes that came of it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from fastconv import _core
from fastconv.errors import ArgumentError
from fastconv.graph.compile import Cut, Executable, Shape, Stage, compile_graph
from fastconv.graph.context import Step
from fastconv.graph.ir import Graph, Node, TensorInfo
from fastconv.graph.kept import Table
from fastconv.graph.loop import body_of, repeat
from fastconv.graph.memory import MemoryPlan
from fastconv.graph.plans import Plans
from fastconv.graph.registry import naming
from fastconv.graph.value import F32, Array, Constant

MAX_VALUES = 8  # for which a second half is kept
MAX_BODIES = 64  # programs of a loop's body: one that collects has other shapes in each round

Part = tuple[Executable, int]  # a program that a run is made of; if it is the body of a loop, how many rounds


class Staged:
    """A first half (None where nothing comes before), perhaps a loop, and a second one for each value.

    ``bound`` are the bytes of constants that were made for this program alone, ``carried`` those of its
    inputs that a program before it computes, and ``depth`` how many programs run before it.
    """

    def __init__(
        self,
        graph: Graph,
        constants: Mapping[str, Constant],
        shapes: Sequence[Shape],
        plans: Plans,
        pool: _core.ArenaPool,
        cut: Cut,
        *,
        bound: int = 0,
        carried: int = 0,
        depth: int = 0,
    ) -> None:
        constants = {**constants, **cut.constants}
        self._constants, self._plans, self._pool, self._depth = constants, plans, pool, depth
        self._needed = cut.name
        self._loop = _Loop(self, cut.after[0]) if cut.name is None else None
        after = cut.after if self._loop is None else cut.after[1:]
        self._inputs = [info.name for info in graph.inputs]
        self._computed = {*self._inputs} if depth else set()  # by the programs before this one
        self._first: Executable | None = None
        self._carried: list[str] = []
        self._rest = replace(graph, nodes=(*cut.before, *after))
        self.seconds: Table = OrderedDict()
        self.bodies: Table = OrderedDict()  # by the shapes and types of what a loop's body reads
        self._bound: dict[str, Constant] = {}
        self.threads = _core.get_num_threads()
        self.held = bound
        if cut.before if cut.name is None else cut.name not in self._inputs:
            written = {name for node in cut.before for name in node.outputs if name}
            self._carried = sorted(written & read_by(replace(graph, nodes=cut.after)))
            infos = tuple(TensorInfo(name, (), F32) for name in self._carried)
            first = replace(graph, nodes=cut.before, outputs=infos)
            self._first = compile_graph(first, constants, shapes, plans, pool, bound=bound, carried=carried)
            self.held = self._first.held
            self._rest = replace(graph, nodes=after)
        self._read = read_by(self._rest)

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """Run on C-contiguous arrays of the planned shapes and the graph's dtypes."""
        program: Plan = self
        while isinstance(program, Staged):  # a loop: there may be a thousand
            program, inputs = program.advance(inputs, None)
        return program.run(inputs)

    def run_profiled(self, inputs: Sequence[Array]) -> tuple[list[Array], list[float]]:
        """Run, and return the seconds of each step too."""
        program: Plan = self
        times: list[float] = []
        while isinstance(program, Staged):
            program, inputs = program.advance(inputs, times)
        outputs, later = program.run_profiled(inputs)
        return outputs, [*times, *later]

    def advance(self, inputs: Sequence[Array], times: list[float] | None) -> tuple[Plan, list[Array]]:
        """Run the first half, and return the program for the value that it computed, and its inputs.

        The seconds of each step are added to ``times``, if there is such a list.
        """
        values = dict(zip(self._inputs, inputs, strict=True))
        if self._first is not None:
            if times is None:
                computed = self._first.run(inputs)
            else:
                computed, seconds = self._first.run_profiled(inputs)
                times += seconds
            values |= zip(self._carried, computed, strict=True)
        if self._loop is not None:
            values |= self._loop.run(values, times)
        second, names = self._second(values)
        return second, [values[name] for name in names]

    def _second(self, values: Mapping[str, Array]) -> tuple[Plan, list[str]]:
        """Return the program for the needed value, and the names of its inputs."""
        known = {} if self._first is None else self._first.constant_outputs
        constant = {name for i, name in enumerate(self._carried) if i in known}
        if self._needed is not None:
            import hashlib  # in here: it loads OpenSSL, and few networks are cut

            constant.add(self._needed)
            key = hashlib.blake2b(_bytes(values[self._needed])).digest()
        else:
            assert self._loop is not None
            key = repr([(values[n].shape, values[n].dtype.str) for n in self._loop.outputs]).encode()
        names = [name for name in values if name not in constant and name in self._read]
        with self._plans.lock:
            kept = self._plans.kept
            kept.in_use = self._depth + 1
            second: Plan | None = kept.get(self.seconds, key)
            if second is None:
                infos = tuple(TensorInfo(name, values[name].shape, values[name].dtype) for name in names)
                bound = {name: Constant(values[name].copy()) for name in constant if name in self._read}
                self._bound = bound
                computed = self._computed.union(
                    self._carried, () if self._loop is None else self._loop.outputs
                )
                second = plan(
                    replace(self._rest, inputs=infos),
                    {**self._constants, **bound},
                    [values[name].shape for name in names],
                    self._plans,
                    self._pool,
                    bound=sum(value.array.nbytes for value in bound.values()),
                    carried=sum(values[name].nbytes for name in names if name in computed),
                    depth=self._depth + 1,
                )
                kept.add(self.seconds, key, second, MAX_VALUES)
            return second, names

    # -- what an Executable says of itself; of the value that came last --------------------------------------

    @property
    def tables(self) -> tuple[Table, ...]:
        """The programs that are kept for this one."""
        return self.seconds, self.bodies

    @property
    def parts(self) -> tuple[Part, ...]:
        """The programs that the last run was made of; ArgumentError before the first run."""
        found: list[Part] = []
        program: Plan = self
        while isinstance(program, Staged):
            if program._first is not None:
                found.append((program._first, 0))
            if program._loop is not None:
                found += program._loop.parts
            program = program._last()
        return (*found, (program, 0))

    @property
    def halves(self) -> tuple[Executable, ...]:
        """The programs of :attr:`parts`."""
        return tuple(program for program, _ in self.parts)

    def _last(self) -> Plan:
        """Return the second half that was used last."""
        last: Plan | None = next(reversed(self.seconds.values()), None)
        if last is None:
            what = "on a loop" if self._needed is None else f"on the value of {self._needed!r}"
            raise ArgumentError(f"shapes: expected a run before, as the program depends {what}")
        return last

    @property
    def bound(self) -> dict[str, Constant]:
        """The values that the second half was compiled for, and the constants of loops."""
        found: dict[str, Constant] = {}
        program: Plan = self
        while isinstance(program, Staged):
            found |= {} if program._loop is None else program._loop.constants
            following = program._last()
            found |= program._bound
            program = following
        return found

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The stages of the halves."""
        return tuple(
            stage._replace(times=stage.times * rounds, rounds=rounds) if rounds else stage
            for program, rounds in self.parts
            for stage in program.stages
        )

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


class _Loop:
    """A loop between the halves of a staged program; its bodies are kept with those."""

    def __init__(self, owner: Staged, node: Node) -> None:
        self._owner, self._node = owner, node
        self._body = body_of(node)
        self.outputs = [name for name in node.outputs if name]
        self.constants = {name: Constant(array) for name, array in self._body.constants.items()}
        defined = {info.name for info in self._body.inputs}.union(*(n.outputs for n in self._body.nodes))
        self._captured = sorted(read_by(self._body) - defined - self.constants.keys() - {""})
        self.parts: list[Part] = []  # of the last run

    def run(self, values: Mapping[str, Array], times: list[float] | None) -> dict[str, Array]:
        """Run it on values by name, and return its outputs; the seconds of all rounds are added to times."""
        outer = {name: values[name] for name in self._captured if name in values}
        found: dict[int, tuple[Executable, int, list[float]]] = {}

        def run_body(arrays: Sequence[Array]) -> list[Array]:
            inputs = [np.require(array, requirements="C") for array in (*arrays, *outer.values())]
            program = self._program(inputs, [*outer])
            seconds: list[float] = []
            if times is None:
                outputs = program.run(inputs)
            else:
                outputs, seconds = program.run_profiled(inputs)
            for part, rounds in program.parts if isinstance(program, Staged) else ((program, 0),):
                steps, count = len(part.steps), max(rounds, 1)
                _, before, sums = found.get(id(part), (part, 0, [0.0] * steps))
                taken = [a + b for a, b in zip(sums, seconds[:steps], strict=True)] if seconds else sums
                found[id(part)], seconds = (part, before + count, taken), seconds[steps:]
            return outputs

        with naming(self._node):
            results = repeat(self._node, self._value_in(values), run_body, self._check)
        self.parts = [(part, rounds) for part, rounds, _ in found.values()]
        if times is not None:
            times += [second for _, _, taken in found.values() for second in taken]
        return {name: array for name, array in zip(self._node.outputs, results, strict=False) if name}

    def _value_in(self, values: Mapping[str, Array]) -> Callable[[str], Array]:
        constants = self._owner._constants
        return lambda name: values[name] if name in values else constants[name].array

    def _check(self, nbytes: int) -> None:
        plans = self._owner._plans
        with plans.lock:  # where memory is short, programs are dropped
            plans.budget.check(nbytes)

    def _program(self, inputs: Sequence[Array], outer: Sequence[str]) -> Plan:
        """Return the body's program for arrays: its own inputs, and those of what it reads from outside."""
        owner = self._owner
        names = [*(info.name for info in self._body.inputs), *outer]
        key = tuple((array.shape, array.dtype.str) for array in inputs)
        with owner._plans.lock:
            kept = owner._plans.kept
            kept.in_use = max(kept.in_use, owner._depth + 1)
            program: Plan | None = kept.get(owner.bodies, key)
            if program is None:
                infos = [TensorInfo(n, a.shape, a.dtype) for n, a in zip(names, inputs, strict=True)]
                program = plan(
                    replace(self._body, inputs=tuple(infos)),
                    {**owner._constants, **self.constants},
                    [array.shape for array in inputs],
                    owner._plans,
                    owner._pool,
                    carried=sum(array.nbytes for array in inputs),
                    depth=owner._depth + 1,
                )
                kept.add(owner.bodies, key, program, MAX_BODIES)
            return program


def _bytes(array: Array) -> memoryview:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def read_by(graph: Graph) -> set[str]:
    """Return the names that a graph's nodes and outputs read."""
    return {info.name for info in graph.outputs}.union(*(node.inputs for node in graph.nodes))


def plan(
    graph: Graph,
    constants: Mapping[str, Constant],
    shapes: Sequence[Shape],
    plans: Plans,
    pool: _core.ArenaPool,
    *,
    bound: int = 0,
    carried: int = 0,
    depth: int = 0,
) -> Plan:
    """Compile a graph for input shapes, in two halves where it depends on a value; see :class:`Staged`."""
    try:
        return compile_graph(graph, constants, shapes, plans, pool, bound=bound, carried=carried)
    except Cut as found:
        cut = found.with_traceback(None)  # whose frames hold all that was lowered
    return Staged(graph, constants, shapes, plans, pool, cut, bound=bound, carried=carried, depth=depth)
