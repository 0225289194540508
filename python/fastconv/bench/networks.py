"""The networks that are timed: one graph and input for every engine, from seeds or installed files."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fastconv.bench.cases import OPEN_NSFW, Case
from fastconv.graph.ir import Graph
from fastconv.importers.onnx import from_file
from fastconv.models import MODELS, opennsfw_model

IMAGE_SIZE = 224


def network(case: Case) -> tuple[Graph, npt.NDArray[np.float32]]:
    """Return a network's graph, before any pass, and an input of one image.

    The weights of an architecture of :mod:`fastconv.models` are random, and the same in every process;
    open_nsfw, half-width ResNet-50 as an ONNX file, has its own.
    """
    name = case.parameters["model"]
    if name == OPEN_NSFW:
        graph = from_file(opennsfw_model())
    else:
        graph = MODELS[name].graph(MODELS[name].random_weights())
    batch, *rest = graph.inputs[0].shape
    shape = [batch if isinstance(batch, int) else 1, *(n if isinstance(n, int) else IMAGE_SIZE for n in rest)]
    return graph, case.rng.standard_normal(shape, np.float32)
