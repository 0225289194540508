"""Networks by what a person writes: the name of an architecture, a model's file, or a file of weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from fastconv._files import path_of
from fastconv._text import did_you_mean
from fastconv.errors import ArgumentError, ModelError
from fastconv.graph.ir import Graph
from fastconv.graph.model import Model
from fastconv.importers import load
from fastconv.importers.compiled import is_compiled_file
from fastconv.importers.tensors import Weights
from fastconv.importers.weights import read_weights
from fastconv.models import MODELS
from fastconv.models.architecture import Architecture

EXPECTED = (
    "an architecture's name, an .onnx or .fcm file, or weights of an architecture (.pth, .safetensors, .npz,"
    " a folder of .npy)"
)


@dataclass(frozen=True)
class NetworkSource:
    """Where a network comes from.

    Attributes
    ----------
    name : str
        What was asked for.
    architecture : Architecture or None
        None for a file that has its own graph.
    random : bool
        Whether the weights are drawn at random, as they are where a name is all that was given.
    model : callable
        Makes the model; takes the options of :class:`fastconv.Model`.
    graph : callable
        Returns the graph before any pass; of a compiled file after them.
    """

    name: str
    architecture: Architecture | None
    random: bool
    model: Callable[..., Model]
    graph: Callable[[], Graph]

    def shapes(self, model: Model) -> list[tuple[int, ...]]:
        """Return the shape of each input: the architecture's, or the declared one, a batch of one image.

        Sizes that the model leaves open are 0.
        """
        if self.architecture is not None:
            return [(1, 3, self.architecture.size, self.architecture.size)]
        sizes = [tuple(n if isinstance(n, int) else 0 for n in info.shape) for info in model.inputs]
        return [(shape[0] or 1, *shape[1:]) if shape else shape for shape in sizes]


def find_network(name: str, architecture: str | None = None, *, verify: bool = False) -> NetworkSource:
    """Return the network that a name or a path stands for.

    Parameters
    ----------
    name : str
        The name of an architecture, whose weights are random then; or the path of an ``.onnx`` or ``.fcm``
        file, or of weights.
    architecture : str, optional
        Whose weights a file holds; by default that of which names and shapes are.
    verify : bool
        As for :func:`fastconv.load`.

    Raises
    ------
    ArgumentError
        Where it is none of these; the nearest name is suggested.
    ModelError
        Where a file of weights is of no known architecture.

    Examples
    --------
    >>> find_network("squeezenet1_1").architecture.size
    224
    """
    path = path_of(name, "MODEL")
    graph_file = path.suffix.lower() in (".onnx", ".fcm") or is_compiled_file(path)
    if architecture is not None and (name in MODELS or graph_file):
        got = "the name of one" if name in MODELS else "a file with its own graph"
        raise ArgumentError(f"--architecture: expected weights beside it, got {name!r}, {got}")
    if name in MODELS:
        return _of(name, MODELS[name], MODELS[name].random_weights(), random=True)
    if graph_file:
        opened = partial(load, path, verify=verify)
        return NetworkSource(name, None, False, opened, lambda: opened().source_graph())
    if not path.exists() and not path.suffix:
        raise ArgumentError(f"MODEL: expected {EXPECTED}, got {name!r}{did_you_mean(name, MODELS)}")
    if architecture is None:
        held = read_weights(path, fitting=fitting)
        return _of(name, architecture_of(name, held), held, random=False)
    chosen = architecture_named(architecture)
    return _of(name, chosen, read_weights(path, fitting=chosen.fitting), random=False)


def _of(name: str, architecture: Architecture, weights: Mapping[str, Any], *, random: bool) -> NetworkSource:
    graph = partial(architecture.graph, weights)
    return NetworkSource(name, architecture, random, partial(Model, graph), graph)


def architecture_named(name: str) -> Architecture:
    """Return an architecture by its name; ArgumentError with the nearest one where there is none."""
    if name not in MODELS:
        raise ArgumentError(
            f"--architecture: expected a name of fastconv.models, got {name!r}{did_you_mean(name, MODELS)}"
        )
    return MODELS[name]


def fitting(shapes: Mapping[str, tuple[int, ...]]) -> int:
    """Return how many shapes of weights are those of the architecture that they fit best."""
    return max(architecture.fitting(shapes) for architecture in MODELS.values())


def architecture_of(name: str, weights: Weights) -> Architecture:
    """Return the architecture that weights are of; ``name``, their file's, starts the message if of none."""
    misfits = {a.name: a.define(weights.shapes, None).misfits(weights.shapes) for a in MODELS.values()}
    named = [name for name, found in misfits.items() if not (found.missing or found.unexpected)]
    if named:  # ResNet-50 and ResNeXt-50 have the same names, as have ShuffleNet v2's widths: shapes decide
        return MODELS[min(named, key=lambda name: len(misfits[name].wrong))]
    raise ModelError(f"{name}: expected the weights of one of {', '.join(MODELS)}, got other names of arrays")


def shapes_for(
    source: NetworkSource, model: Model, given: Sequence[Sequence[int]] | None, batch: int | None
) -> list[tuple[int, ...]]:
    """Return the shapes to run a model on: those given or declared, with a batch in front of each.

    ArgumentError where sizes are left open.
    """
    shapes = [tuple(shape) for shape in given or source.shapes(model)]
    if any(0 in shape for shape in shapes):
        raise ArgumentError(
            f"--input-shape: expected one for each input, as {model!r} leaves sizes open, got none"
        )
    return shapes if batch is None else [(batch, *shape[1:]) for shape in shapes]
