"""The folder of a network that every engine runs: the model, an input, the float64 result, its operations."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fastconv.lab.compare.cases import Case


@dataclass(frozen=True)
class NetworkFiles:
    """A folder that :func:`fastconv.lab.compare.networks.write` filled."""

    folder: Path

    @property
    def model(self) -> Path:
        """The ONNX file."""
        return self.folder / "model.onnx"

    @property
    def x(self) -> npt.NDArray[np.float32]:
        """The input."""
        return np.asarray(np.load(self.folder / "x.npy"))

    @property
    def expected(self) -> npt.NDArray[np.float64]:
        """The float64 result."""
        return np.asarray(np.load(self.folder / "expected.npy"))

    @property
    def flops(self) -> int:
        """Operations of the convolutions and products."""
        return int(json.loads((self.folder / "facts.json").read_text())["flops"])


def files_of(case: Case) -> NetworkFiles:
    """Return the files of a case that has been written."""
    return NetworkFiles(Path(case.parameters["folder"]))
