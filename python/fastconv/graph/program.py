"""What may be seen of a model: its layers, the memory of a run, and the steps for given input shapes."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from fastconv import _core
from fastconv.graph.compile import Shape, Stage
from fastconv.graph.context import Step
from fastconv.graph.ir import Node
from fastconv.graph.staged import Plan, Staged
from fastconv.graph.value import F32, Array, Constant


class Layer(NamedTuple):
    """A node with parameters.

    ``bytes`` is what the parameters occupy: packed, once the first input shape is planned. ``algorithm`` is
    empty before that, and for nodes that have no choice.
    """

    name: str
    op: str
    algorithm: str
    parameters: int
    shapes: Mapping[str, Shape]
    bytes: int


class MemoryUse(NamedTuple):
    """Bytes of a program's intermediate tensors: in the arena, without sharing, and the least possible.

    Those of a batch that runs in parts are what its parts need.
    """

    arena_bytes: int
    tensor_bytes: int
    lower_bound_bytes: int


@dataclass(frozen=True)
class Program:
    """The public view of a model's program; see :meth:`fastconv.Model.program`.

    Attributes
    ----------
    parameters : mapping of str to mapping
        For each node of the graph as it was given, its learned parameters: their sizes by name.
    """

    parameters: Mapping[str, Mapping[str, int]]
    _plan: Plan = field(repr=False)
    _constants: Mapping[str, Constant] = field(repr=False)

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The steps in the order in which they run, in groups that run equally often."""
        return self._plan.stages

    @property
    def steps(self) -> tuple[Step, ...]:
        """The steps of all stages, in the order of the times that :meth:`run_profiled` returns."""
        return self._plan.steps

    @property
    def waits_for_values(self) -> bool:
        """Whether its later steps depend on values, and no run has been there to give any."""
        return isinstance(self._plan, Staged) and not self._plan.seconds

    @property
    def bound(self) -> Mapping[str, Array]:
        """The values that its steps were made for, by name, where they depend on values."""
        if not isinstance(self._plan, Staged) or self.waits_for_values:
            return {}
        return {name: constant.array for name, constant in self._plan.bound.items()}

    @property
    def weights(self) -> Mapping[str, Shape]:
        """The shapes of the constants that its nodes read, by name."""
        return {name: constant.shape for name, constant in self.constants.items()}

    @property
    def constants(self) -> Mapping[str, Constant]:
        """The constants that its nodes read, by name; arrays of f32 that were packed may be gone."""
        return {**self._constants, **{name: Constant(array) for name, array in self.bound.items()}}

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """Run on C-contiguous arrays of the planned shapes and of the graph's dtypes."""
        return self._plan.run(inputs)

    def run_profiled(self, inputs: Sequence[Array]) -> tuple[list[Array], list[float]]:
        """Run, and return the seconds of each step too."""
        return self._plan.run_profiled(inputs)


def layer_of(
    node: Node, constants: Mapping[str, Constant], packed: Mapping[tuple[str, Hashable], _core.Conv]
) -> Layer | None:
    """Return a node as a layer, None where it has no parameters; ``packed`` are the model's, by node."""
    named = {name: constants[name] for name in node.inputs if name in constants}
    weights = {name: c for name, c in named.items() if c.dtype == F32 and c.shape}
    if not weights:
        return None
    convs = [conv for (output, _), conv in packed.items() if output == node.outputs[0]]
    sizes = [4 * math.prod(c.shape) for c in weights.values()]
    return Layer(
        node.name,
        node.op,
        convs[0].algorithm() if convs else "",
        sum(sizes) // 4,
        {name: c.shape for name, c in weights.items()},
        sum(conv.packed_bytes for conv in convs) or sum(sizes),
    )
