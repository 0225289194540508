"""What is timed: a case is a matrix product, convolution or network, with input that all engines make alike.

A case travels to the engines' processes as JSON and its arrays do not: they are drawn again from the case's
own seed.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fastconv._text import did_you_mean
from fastconv.errors import ArgumentError
from fastconv.lab.compare.network_names import NETWORKS, available_networks, is_trained
from fastconv.models import MODELS
from fastconv.testing.shapes import CONV_TABLES, GEMM_TABLES, ConvLayer, GemmShape
from fastconv.xnor import binarized

Array = npt.NDArray[np.float32]

KINDS = ("gemm", "conv", "model")
DEFAULT_TABLES = {"gemm": ("mixed",), "conv": ("singles",), "model": ("default",)}
ALL = "all"  # every table of a kind


@dataclass(frozen=True)
class Case:
    """One thing to time.

    Attributes
    ----------
    kind : str
        ``"gemm"``, ``"conv"``, ``"model"``, or ``"xnor"``, a convolution of signs: a table of ``"conv"``.
    name : str
        Unique within a run.
    parameters : mapping
        The fields of a :class:`~fastconv.testing.shapes.GemmShape` or
        :class:`~fastconv.testing.shapes.ConvLayer`; for a model its name, and the shape of its input where
        the caller gave one.
    """

    kind: str
    name: str
    parameters: Mapping[str, Any]

    @classmethod
    def of(cls, shape: ConvLayer | GemmShape) -> Case:
        """Make the case of a layer or matrix product.

        >>> Case.of(GemmShape(64, 64, 64)).name
        '64x64x64'
        """
        return cls("conv" if isinstance(shape, ConvLayer) else "gemm", shape.name, asdict(shape))

    @property
    def is_int8(self) -> bool:
        """Whether it is a network of 8 bits."""
        return self.parameters.get("dtype") == "int8"

    @property
    def arithmetic(self) -> str:
        """Which peak is a roof for it, unless an engine says otherwise of a part of it."""
        return "int8" if self.is_int8 else "f32"

    @property
    def layer(self) -> ConvLayer:
        """The convolution."""
        fields: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in self.parameters.items()
        }
        return ConvLayer(**fields)

    @property
    def gemm(self) -> GemmShape:
        """The matrix product."""
        return GemmShape(**self.parameters)

    @property
    def rng(self) -> np.random.Generator:
        """A generator seeded by the name: the same numbers in every process, others in every case."""
        return np.random.default_rng(zlib.crc32(f"{self.kind} {self.name}".encode()))


def gemm_arrays(case: Case) -> tuple[Array, Array]:
    """Draw A (m, k) and B (k, n)."""
    shape, rng = case.gemm, case.rng
    a = rng.standard_normal((shape.m, shape.k), np.float32)
    return a, rng.standard_normal((shape.k, shape.n), np.float32)


def conv_arrays(case: Case) -> tuple[Array, Array, Array]:
    """Draw x (n, ic, ...), w (oc, ic / groups, ...) and bias (oc,).

    Of signs x is 1 and -1, and w a number and its negative in each filter: every engine can multiply these.
    """
    layer, rng = case.layer, case.rng
    x = rng.standard_normal(layer.x_shape, np.float32)
    w = rng.standard_normal(layer.w_shape, np.float32)  # (ic, oc / groups, ...) where transposed
    if case.kind == "xnor":
        x, w = np.copysign(np.float32(1), x), binarized(w)
    return x, w, rng.standard_normal(layer.oc, np.float32)


def tables(kind: str) -> dict[str, list[Case]]:
    """Return the tables of a kind by name.

    >>> len(tables("conv")["resnet50"])
    23
    """
    if kind == "model":
        available = available_networks()
        cases = {name: Case("model", name, {"model": name, "batch": 1}) for name in NETWORKS}
        default = [cases[name] for name in available]
        return {"default": default, **{name: [case] for name, case in cases.items()}}
    if kind not in KINDS:
        raise ArgumentError(f"kind: expected one of {', '.join(KINDS)}, got {kind!r}")
    shapes: Mapping[str, Iterable[ConvLayer | GemmShape]] = CONV_TABLES if kind == "conv" else GEMM_TABLES
    found = {table: [Case.of(shape) for shape in rows] for table, rows in shapes.items()}
    if kind == "conv":
        whole = [layer for layer in CONV_TABLES["resnet50"] if layer.kernel == (3, 3) and layer.stride == 1]
        found["xnor"] = [Case("xnor", f"{layer.name} signs", asdict(layer)) for layer in whole]
    return found


def find_tables(kind: str, names: Iterable[str] = ()) -> dict[str, list[Case]]:
    """Look up tables by name; "all" is every one, and single cases make a table, "cases", of their own.

    A network may also be any architecture of :mod:`fastconv.models`, or the path of a model's file.

    Raises
    ------
    ArgumentError
        If a name is neither a table nor a case; the nearest one is suggested.
    """
    known = tables(kind)
    names = tuple(names) or DEFAULT_TABLES[kind]
    if ALL in names:
        return {"default": known["default"]} if kind == "model" else known
    singles = {case.name: case for rows in known.values() for case in rows}
    found: dict[str, list[Case]] = {}
    for name in names:
        if name in known:
            found[name] = known[name]
        elif name in singles:
            found.setdefault("cases", []).append(singles[name])
        elif kind == "model" and (name in MODELS or Path(name).suffix or Path(name).exists()):
            found.setdefault("cases", []).append(Case("model", Path(name).stem, {"model": name, "batch": 1}))
        else:
            near = did_you_mean(name, (*known, *singles, *(MODELS if kind == "model" else ())))
            file = ", a model's file" if kind == "model" else ""
            expected = f"a {kind} case{file} or one of {', '.join(known)}"
            raise ArgumentError(f"names: expected {expected}, got {name!r}{near}")
    if kind == "model":  # a table of one is no table: the networks asked for make one
        return {"networks" if names != DEFAULT_TABLES[kind] else "default": distinct(found)}
    return found


def distinct(found: Mapping[str, Iterable[Case]]) -> list[Case]:
    """Return the cases of some tables, each once."""
    return list({case.name: case for rows in found.values() for case in rows}.values())


def find_cases(kind: str, names: Iterable[str] = ()) -> list[Case]:
    """Look up the cases to time.

    Parameters
    ----------
    kind : str
        ``"gemm"``, ``"conv"`` or ``"model"``.
    names : iterable of str, optional
        Names of tables or of single cases; the default selection of the kind when empty.

    Returns
    -------
    list of Case
        In the order of the names, each case once.

    Raises
    ------
    ArgumentError
        If a name is neither a table nor a case.

    Examples
    --------
    >>> [case.name for case in find_cases("gemm", ["64x64x64", "128x128x128"])]
    ['64x64x64', '128x128x128']
    """
    return distinct(find_tables(kind, names))


def batched(case: Case, batch: int) -> Case:
    """Return a network on a batch of images; batches other than 1 are part of its name."""
    name = case.name + (f" x{batch}" if batch > 1 else "")
    return Case("model", name, {**case.parameters, "batch": batch})


def quantised(case: Case) -> Case:
    """Return a network in 8 bits, as ONNX Runtime's quantiser writes it.

    >>> quantised(find_cases("model", ["resnet18"])[0]).name
    'resnet18 int8'
    """
    weights = "trained" if is_trained(case.parameters["model"]) else "seeded"
    return Case("model", f"{case.name} int8", {**case.parameters, "dtype": "int8", "weights": weights})


def given(model: str, shape: Iterable[int], architecture: str | None = None) -> Case:
    """Return the case of a network of :mod:`fastconv.models`, with random weights, or of a file.

    ``architecture`` is whose weights the file holds, where it holds nothing else.

    >>> given("nets/small.onnx", (2, 3, 32, 32)).name
    'small x2'
    """
    shape = list(shape)
    name = model if model in MODELS else Path(model).stem
    batch = f" x{shape[0]}" if shape and shape[0] > 1 else ""
    parameters = {"model": model, "batch": shape[0] if shape else 1, "shape": shape}
    if architecture is not None:
        parameters["architecture"] = architecture
    return Case("model", name + batch, parameters)


def network_flops(name: str) -> int:
    """Return the operations of one image's convolutions in a network of the shapes' tables.

    >>> network_flops("resnet50")
    8174272512
    """
    return sum(2 * layer.macs * layer.count for layer in CONV_TABLES[name])


@dataclass(frozen=True)
class Prepared:
    """A case made ready by an engine.

    Attributes
    ----------
    run : callable
        Computes the case once, and nothing else: this is what is timed. Returns the engine's kind of array.
    to_numpy : callable
        Turns that array into numpy's, NCHW for a convolution.
    saved_macs : int
        The multiply-accumulates that the algorithm saves, of its useful ones (layer_work.py).
    other_macs : mapping of str to int
        Those that it does in another arithmetic than the case's, by its name.
    algorithm : str
        What runs, where the engine says so.
    """

    run: Callable[[], Any]
    to_numpy: Callable[[Any], npt.NDArray[Any]] = np.asarray
    saved_macs: int = 0
    algorithm: str = ""
    other_macs: Mapping[str, int] = field(default_factory=dict)
