"""What a call of a model is given beside the values: inputs by name, and arrays for its outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fastconv._arguments import checked_output, shown
from fastconv._foreign import imported, maker_for
from fastconv.errors import ArgumentError
from fastconv.graph.ir import TensorInfo
from fastconv.graph.value import Array


def in_order(infos: Sequence[TensorInfo], inputs: Sequence[Any], named: Mapping[str, Any]) -> list[Any]:
    """Return the arrays for all inputs in their order, the first by position, the others by name."""
    names = [info.name for info in infos]
    if not named and len(inputs) == len(names):
        return list(inputs)
    missing = [name for name in names[len(inputs) :] if name not in named]
    if len(inputs) > len(names) or (missing and not named):
        raise ArgumentError(f"inputs: expected {len(names)} arrays, got {len(inputs)}")
    unknown = [name for name in named if name not in names[len(inputs) :]]
    if unknown or missing:
        raise ArgumentError(
            f"inputs: expected {len(names)} arrays, by position or by the names {names},"
            f" got {len(inputs)} and the names {list(named)}"
        )
    return [*inputs, *(named[name] for name in names[len(inputs) :])]


class Receivers:
    """The arrays that a caller gives for outputs, by the index of the output."""

    def __init__(self, infos: Sequence[TensorInfo], out: Any) -> None:
        names = [info.name for info in infos]
        if out is None:
            self._given: dict[int, Any] = {}
        elif isinstance(out, Mapping):
            for name in out:
                if name not in names:
                    raise ArgumentError(f"out: expected names among {names}, got {shown(name)}")
            self._given = {names.index(name): array for name, array in out.items()}
        elif len(names) == 1:
            self._given = {0: out}
        else:
            raise ArgumentError(f"out: expected a mapping from names among {names}, got {shown(out)}")
        self._views = {
            i: array if maker_for(array) is None else imported("out", array)
            for i, array in self._given.items()
        }

    def places(
        self, shapes: Sequence[tuple[int, ...]], dtypes: Sequence[np.dtype[Any]], inputs: Sequence[Array]
    ) -> dict[int, Array]:
        """Check the arrays against the outputs' shapes and types, and return them by the index of each."""
        taken = list(inputs)
        for i, view in self._views.items():
            taken.append(checked_output(view, shapes[i], taken, dtype=dtypes[i]))
        return self._views

    def receive(self, outputs: list[Array], inputs: Sequence[Array]) -> None:
        """Copy the outputs that were computed elsewhere to where they are wanted."""
        shapes, dtypes = [y.shape for y in outputs], [y.dtype for y in outputs]
        for i, view in self.places(shapes, dtypes, inputs).items():
            if outputs[i] is not view:
                np.copyto(view, outputs[i])

    def results(self, outputs: Sequence[Array], first: Any) -> list[Any]:
        """Return the arrays that were given, and the other outputs as arrays of the first input's library."""
        make = maker_for(first)
        return [
            self._given[i] if i in self._given else output if make is None else make(output)
            for i, output in enumerate(outputs)
        ]
