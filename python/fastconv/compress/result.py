"""What every function of this package that changes a network gives back."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, ClassVar

from fastconv.exporters.onnx import to_file
from fastconv.graph.ir import Graph
from fastconv.graph.model import Model


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
