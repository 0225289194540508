"""What a malformed model is in the table of adversarial models, and the words that the table is written in.

Every model is small, and right but for the one thing that its case is about. The node that is wrong is
called ``suspect``, so that a case can ask for an error that names it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fastconv.errors import FastconvError

SUSPECT = "suspect"
X = (1, 3, 8, 8)  # shape of the input, unless a case says otherwise
FLOAT = 1  # onnx.TensorProto.FLOAT

#: One past what a 32-bit integer holds, and what a 64-bit one does when it is doubled twice.
BIG, HUGE = 1 << 31, 1 << 62


@dataclass(frozen=True)
class Case:
    """A malformed model: how to write it, and what has to be raised.

    ``build`` returns the model (a message or bytes), or writes into the empty folder that it is given and
    returns the path of the model there. ``text`` is a regular expression that the message has to match.
    """

    name: str
    build: Callable[[Path], Any]
    error: type[FastconvError]
    text: str

    def write(self, folder: Path) -> Path:
        """Write the model into a folder and return its path."""
        made = self.build(folder)
        if isinstance(made, Path):
            return made
        path = folder / "model.onnx"
        path.write_bytes(made if isinstance(made, bytes) else made.SerializeToString())
        return path


def suspect(
    op: str,
    error: type[FastconvError],
    build: Callable[..., Any],
    cases: Mapping[str, tuple[Mapping[str, Any], str]],
) -> Iterator[Case]:
    """Yield a case for each set of arguments to ``build``; the message names the node, then the text."""

    def case(name: str, arguments: Mapping[str, Any], text: str) -> Case:
        expected = rf"node '{SUSPECT}' \({re.escape(op)}\): .*{text}"
        return Case(f"{op}: {name}", lambda _: build(**arguments), error, expected)

    for name, (arguments, text) in cases.items():
        yield case(name, arguments, text)


def node(op: str, inputs: str = "x", outputs: str = "y", name: str = SUSPECT, **attributes: Any) -> Any:
    """Return a node; the names of its values are separated by spaces, ``_`` is an omitted one."""
    import onnx

    read, written = (["" if n == "_" else n for n in names.split()] for names in (inputs, outputs))
    return onnx.helper.make_node(op, read, written, name, **attributes)


def net(
    *nodes: Any,
    inputs: Mapping[str, Sequence[int | str]] | None = None,
    outputs: str = "y",
    opset: int = 13,
    **constants: Any,
) -> Any:
    """Return a model of nodes, f32 inputs (``x`` of shape :data:`X`) and constants."""
    from onnx import helper, numpy_helper

    inputs = {"x": X} if inputs is None else inputs
    graph = helper.make_graph(
        nodes,
        "adversarial",
        [helper.make_tensor_value_info(name, FLOAT, list(shape)) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, FLOAT, None) for name in outputs.split()],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def floats(*shape: int) -> Any:
    """Return ones of a shape."""
    return np.ones(shape, np.float32)


def ints(*values: int) -> Any:
    """Return a vector of 64-bit integers."""
    return np.array(values, np.int64)
