"""What every function of this package that changes a network gives back."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from fastconv._files import path_of
from fastconv.compress.agreement import Agreement, agreement
from fastconv.compress.samples import Samples
from fastconv.exporters.onnx import to_file
from fastconv.graph.ir import Graph
from fastconv.graph.model import Model
from fastconv.graph.passes import PASSES

BATCH = 4
# Whole numbers stay what they are in a coded file, and become floats when it is opened.
WRITTEN = tuple(name for name in PASSES if name != "fold_weights")


@dataclass(frozen=True)
class Result:
    """A network that was made of another: its ``graph``, in ONNX's words, which any runtime can run."""

    graph: Graph
    _facts: ClassVar[dict[str, str]] = {}  # metadata of its file

    def model(self, **options: Any) -> Model:
        """Return the network ready to run; options are those of :class:`fastconv.Model`."""
        return Model(self.graph, **options)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the network as an ``.onnx`` file."""
        to_file(self.graph, path, metadata=self._facts)


class CodedResult(Result):
    """A network of few distinct weights, which may be whole numbers with scales: its file can be small."""

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the network: coded, where the name ends in ``.fcz``, or as an ``.onnx`` file."""
        target = path_of(path, "path")
        if target.suffix.lower() == ".onnx":
            super().save(target)
        else:
            self.model(passes=WRITTEN).save(target, coded=True)


def agreements(given: Graph, graph: Graph, samples: Samples) -> tuple[Agreement, ...]:
    """Return how far the results of two networks agree on samples, an output after another."""
    models = Model(given), Model(graph)
    runs = [[m.run(None, feeds) for feeds in samples.batches(BATCH)] for m in models]
    found = []
    for i, info in enumerate(given.outputs):
        expected, got = (np.concatenate([run[i] for run in side]) for side in runs)
        found.append(agreement(info.name, expected, got))
    return tuple(found)


def said(output: Agreement) -> str:
    """Return an agreement in words."""
    first = "" if output.top1 is None else f", same first class {output.top1:.1%}"
    return f"output {output.output!r}: SNR {output.snr:.1f} dB over {output.samples} samples{first}"
