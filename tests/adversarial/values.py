"""Malformed models: operators on shapes, indices and constants, arithmetic, normalisation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from adversarial.case import HUGE, Case, X, floats, ints, net, node, suspect
from fastconv.errors import FastconvError

Cases = Mapping[str, tuple[Mapping[str, Any], str]]


def apply(op: str, *, x: tuple[int, ...] = X, opset: int = 13, outputs: str = "y", **given: Any) -> Any:
    """Return a model of one node of ``x``: arrays are further inputs, None is an omitted one."""
    arrays = {name: value for name, value in given.items() if value is None or isinstance(value, np.ndarray)}
    attributes = {name: value for name, value in given.items() if name not in arrays}
    read = " ".join(["x", *("_" if value is None else name for name, value in arrays.items())])
    constants: dict[str, Any] = {name: value for name, value in arrays.items() if value is not None}
    return net(
        node(op, read, outputs, **attributes),
        inputs={"x": x},
        opset=opset,
        outputs=outputs.split()[0],
        **constants,
    )


def made(op: str, *, opset: int = 13, **given: Any) -> Any:
    """Return a model that adds to ``x`` what one node makes of constants alone."""
    arrays: dict[str, Any] = {
        name: value for name, value in given.items() if isinstance(value, np.ndarray | np.generic)
    }
    attributes = {name: value for name, value in given.items() if name not in arrays}
    return net(
        node(op, " ".join(arrays), "made", **attributes),
        node("Add", "x made", name="sum"),
        inputs={"x": (1,)},
        opset=opset,
        **arrays,
    )


APPLIED: Mapping[str, Cases] = {
    "Reshape": {
        "two dimensions left open": ({"shape": ints(-1, -1)}, "shape"),
        "a negative dimension": ({"shape": ints(1, -2, 96)}, "shape"),
        "another number of elements": ({"shape": ints(7, 7)}, "shape"),
        "dimensions that overflow": ({"shape": ints(HUGE, 4)}, "shape"),
        "0 beyond the dimensions": ({"shape": ints(1, 3, 8, 8, 0)}, "shape"),
        "a matrix as shape": ({"shape": ints(1, 192).reshape(1, 2)}, "shape"),
        "floats as shape": ({"shape": floats(2)}, "shape"),
    },
    "Flatten": {
        "axis 5": ({"axis": 5}, "axis"),
        "axis -5": ({"axis": -5}, "axis"),
        "axis 2^62": ({"axis": HUGE}, "axis"),
    },
    "Transpose": {
        "axes twice": ({"perm": [0, 1, 1, 3]}, "perm"),
        "three axes": ({"perm": [0, 1, 2]}, "perm"),
        "an axis out of range": ({"perm": [0, 1, 2, 7]}, "perm"),
    },
    "Squeeze": {
        "a dimension of 3": ({"axes": ints(1)}, "axes"),
        "an axis out of range": ({"axes": ints(9)}, "axes"),
        "an axis twice": ({"axes": ints(0, 0)}, "axes"),
    },
    "Unsqueeze": {
        "an axis out of range": ({"axes": ints(9)}, "axes"),
        "an axis twice": ({"axes": ints(0, 0)}, "axes"),
        "more dimensions than there can be": ({"axes": ints(*range(80))}, "."),
        "no axes": ({}, "."),
    },
    "Slice": {
        "step 0": ({"starts": ints(0), "ends": ints(4), "axes": ints(2), "steps": ints(0)}, "steps"),
        "an axis out of range": ({"starts": ints(0), "ends": ints(4), "axes": ints(7)}, "axes"),
        "an axis twice": ({"starts": ints(0, 0), "ends": ints(4, 4), "axes": ints(2, 2)}, "axes"),
        "lists of different lengths": ({"starts": ints(0, 0), "ends": ints(4)}, "starts"),
        "more starts than dimensions": ({"starts": ints(*[0] * 9), "ends": ints(*[1] * 9)}, "axes"),
        "floats": ({"starts": floats(1), "ends": floats(1)}, "starts"),
    },
    "Gather": {
        "an index out of range": ({"i": ints(3), "axis": 1}, "indices"),
        "a negative index out of range": ({"i": ints(-4), "axis": 1}, "indices"),
        "an index of 2^62": ({"i": ints(HUGE), "axis": 1}, "indices"),
        "floats as indices": ({"i": floats(2), "axis": 1}, "indices"),
        "an axis out of range": ({"i": ints(0), "axis": 4}, "axis"),
    },
    "Split": {
        "sizes that do not add up": ({"split": ints(1, 1), "axis": 1, "outputs": "y z"}, "split"),
        "a negative size": ({"split": ints(4, -1), "axis": 1, "outputs": "y z"}, "split"),
        "sizes that wrap around": ({"split": ints(HUGE, HUGE), "axis": 1, "outputs": "y z"}, "split"),
        "other outputs than sizes": ({"split": ints(1, 1, 1), "axis": 1, "outputs": "y z"}, "split"),
        "an axis out of range": ({"axis": 4, "outputs": "y z"}, "axis"),
        "0 parts": ({"axis": 1, "num_outputs": 0, "opset": 18}, "."),
        "-1 parts": ({"axis": 1, "num_outputs": -1, "opset": 18}, "."),
    },
    "Concat": {
        "an axis out of range": ({"w": floats(*X), "axis": 4}, "axis"),
        "other dimensions": ({"w": floats(1, 3, 8, 9), "axis": 1}, "shapes"),
        "another rank": ({"w": floats(3, 8, 8), "axis": 1}, "shapes"),
        "an axis of 2^62": ({"w": floats(*X), "axis": HUGE}, "axis"),
    },
    "Expand": {
        "a shape that does not fit": ({"shape": ints(1, 2, 8, 8)}, "shape"),
        "a negative dimension": ({"shape": ints(-1, 3, 8, 8)}, "."),
    },
    "Tile": {
        "a negative number": ({"repeats": ints(1, 1, -1, 1)}, "."),
        "another length": ({"repeats": ints(2, 2)}, "."),
    },
    "Pad": {
        "more cut than there is": ({"pads": ints(0, 0, -9, 0, 0, 0, 0, 0)}, "pads"),
        "another length": ({"pads": ints(1, 1)}, "pads"),
        "an unknown mode": ({"pads": ints(*[0] * 8), "mode": "best"}, "mode"),
        "a reflection beyond the image": ({"pads": ints(0, 0, 8, 0, 0, 0, 0, 0), "mode": "reflect"}, "pads"),
        "a cut of -2^62": ({"pads": ints(0, 0, -HUGE, 0, 0, 0, 0, 0)}, "pads"),
    },
    "Cast": {"an unknown type": ({"to": 99}, "to"), "no type": ({}, "to"), "strings": ({"to": 8}, "to")},
    "Clip": {"a vector as limit": ({"low": floats(3)}, "min")},
    "PRelu": {"a slope that does not fit": ({"slope": floats(7)}, "shapes")},
    "Add": {"shapes that do not fit": ({"b": floats(7)}, "shapes")},
    "Gemm": {
        "an image": ({"w": floats(8, 4)}, "dimensions"),
        "other inner sizes": ({"x": (2, 5), "w": floats(4, 3)}, "inner"),
        "a bias that does not fit": ({"x": (2, 4), "w": floats(4, 3), "c": floats(5)}, "."),
    },
    "MatMul": {
        "other inner sizes": ({"w": floats(7, 3)}, "inner"),
        "a scalar": ({"w": np.array(1, np.float32)}, "dimension"),
        "batches that do not fit": ({"x": (2, 3, 4), "w": floats(5, 4, 2)}, "shapes"),
    },
    "BatchNormalization": {
        "statistics of other channels": (
            {"s": floats(3), "b": floats(3), "m": floats(4), "v": floats(4)},
            "expected shape",
        ),
        "statistics of rank 2": (
            {"s": floats(3, 1), "b": floats(3, 1), "m": floats(3, 1), "v": floats(3, 1)},
            "expected shape",
        ),
        "missing statistics": ({"s": floats(3), "b": floats(3)}, "inputs"),
    },
    "InstanceNormalization": {"other channels": ({"s": floats(4), "b": floats(4)}, ".")},
    "LRN": {
        "size 0": ({"size": 0}, "size"),
        "size negative": ({"size": -3}, "size"),
        "size 2^62": ({"size": HUGE}, "size"),
        "no size": ({}, "size"),
    },
    "Softmax": {
        "axis 4": ({"axis": 4}, "axis"),
        "axis -5": ({"axis": -5}, "axis"),
        "axis 2^62": ({"axis": HUGE}, "axis"),
    },
    "ReduceMean": {
        "an axis out of range": ({"axes": [7]}, "axes"),
        "an axis twice": ({"axes": [2, 2]}, "axes"),
        "axes that are not integers": ({"axes": [1.0]}, "axes"),
    },
    "ArgMax": {"an axis out of range": ({"axis": 7}, ".")},
    "TopK": {
        "k negative": ({"k": ints(-1), "outputs": "y i"}, "."),
        "k beyond the dimension": ({"k": ints(100), "outputs": "y i"}, "."),
        "k 2^62": ({"k": ints(HUGE), "outputs": "y i"}, "."),
    },
    "Relu": {"two inputs": ({"b": floats(1)}, "inputs")},
    "QuantizeLinear": {"scales of other channels": ({"s": floats(7), "z": np.zeros(7, np.uint8)}, ".")},
    "Dropout": {"training": ({"r": np.array(0.5, np.float32), "t": np.array(True)}, "training")},
}

MADE: Mapping[str, Cases] = {
    "ConstantOfShape": {
        "a negative dimension": ({"shape": ints(-1)}, "shape"),
        "several values": ({"shape": ints(4), "value": None}, "value"),
        "floats as shape": ({"shape": floats(2)}, "shape"),
        "a matrix as shape": ({"shape": ints(1, 1).reshape(1, 2)}, "shape"),
        "dimensions that overflow": ({"shape": ints(HUGE, HUGE)}, "shape"),
    },
    "Range": {
        "delta 0": ({"a": ints(0), "b": ints(9), "c": ints(0)}, "delta"),
        "NaN": ({"a": floats(1), "b": np.array([np.nan], np.float32), "c": floats(1)}, "."),
        "infinity": ({"a": floats(1), "b": np.array([np.inf], np.float32), "c": floats(1)}, "."),
        "an empty limit": ({"a": ints(0), "b": ints(), "c": ints(1)}, "."),
    },
    "Constant": {"nothing": ({}, "attributes"), "a value of text": ({"value_string": "x"}, "value_string")},
    "Gather": {"an index beyond a constant": ({"table": floats(4), "i": ints(4)}, "indices")},
    "Concat": {"other ranks": ({"a": ints(1), "b": ints(1, 1).reshape(1, 2), "axis": 0}, ".")},
    "OneHot": {
        "depth negative": ({"i": ints(0), "d": ints(-1), "v": floats(2)}, "."),
    },
}  # fmt: skip


def made_cases() -> Iterator[Case]:
    """Yield the cases of operators that make constants."""
    from onnx import numpy_helper

    for op, cases in MADE.items():
        full = dict(cases)
        if op == "ConstantOfShape":
            arguments, text = full["several values"]
            full["several values"] = {**arguments, "value": numpy_helper.from_array(floats(3))}, text
        yield from suspect(
            op, FastconvError, made, {name: ({"op": op, **a}, text) for name, (a, text) in full.items()}
        )


def large(op: str, inputs: str, value: int | None = None, **attributes: Any) -> Any:
    """Return a model of a node that reads ``whole``, a number 2^28 times, and a ``row`` of 2^10 floats."""
    from onnx import numpy_helper

    made_of = {} if value is None else {"value": numpy_helper.from_array(np.array([value], np.int64))}
    return net(
        node("ConstantOfShape", "size", "whole", name="whole", **made_of),
        node(op, inputs, "made", **attributes),
        node("ReduceMax", "made", "most", name="most", keepdims=0),
        node("Add", "x most", name="sum"),
        inputs={"x": (1,)},
        size=ints(1 << 28),
        row=floats(1 << 10),
    )


#: Larger than any memory, by what an operator makes of a constant or of an input.
BOMBS: Mapping[str, Cases] = {
    "ConstantOfShape": {
        "2^40 elements": ({"shape": ints(1 << 40)}, "."),
        "2^33 elements": ({"shape": ints(1 << 11, 1 << 11, 1 << 11)}, "."),
    },
    "Range": {
        "2^40 elements": ({"a": ints(0), "b": ints(1 << 40), "c": ints(1)}, "."),
        "2^62 elements": ({"a": ints(-HUGE), "b": ints(HUGE), "c": ints(1)}, "."),
        "a tiny delta": ({"a": floats(1), "b": 9 * floats(1), "c": 1e-12 * floats(1)}, "."),
    },
    "Expand": {"a constant to 2^40": ({"a": floats(1), "shape": ints(1 << 20, 1 << 20)}, ".")},
    "Tile": {"a constant to 2^40": ({"a": floats(1), "repeats": ints(1 << 40)}, ".")},
    "OneHot": {"depth 2^40": ({"i": ints(0), "d": ints(1 << 40), "v": floats(2)}, ".")},
    "Pad": {"a constant to 2^40": ({"a": floats(1), "pads": ints(0, 1 << 40)}, ".")},
    "Mul": {
        "a product of vectors of 2^16": (
            {"a": floats(1 << 16).reshape(-1, 1), "b": floats(1 << 16).reshape(1, -1)},
            ".",
        )
    },
    "MatMul": {
        "a product of vectors of 2^16": (
            {"a": floats(1 << 16).reshape(-1, 1), "b": floats(1 << 16).reshape(1, -1)},
            ".",
        )
    },
    "Gather": {
        "2^20 indices of rows of 2^10": ({"a": floats(2, 1 << 10), "i": np.zeros(1 << 20, np.int64)}, ".")
    },
}

APPLIED_BOMBS: Mapping[str, Cases] = {
    "Expand": {
        "the input to 2^40": ({"x": (1, 1), "shape": ints(1 << 20, 1 << 20)}, "."),
        "the input to 2^30": ({"x": (1, 1), "shape": ints(1 << 15, 1 << 15)}, "."),
    },
    "Tile": {
        "the input 2^40 times": ({"x": (1, 1), "repeats": ints(1 << 20, 1 << 20)}, "."),
        "the input 2^30 times": ({"x": (1, 1), "repeats": ints(1 << 15, 1 << 15)}, "."),
    },
    "Pad": {
        "2^40 pixels": ({"pads": ints(0, 0, 1 << 20, 1 << 20, 0, 0, 0, 0)}, "."),
        "2^62 pixels": ({"pads": ints(0, 0, HUGE, 0, 0, 0, 0, 0)}, "."),
    },
    "MatMul": {"weights of 2^33 results": ({"x": (1 << 17, 1), "w": floats(1, 1 << 16)}, ".")},
}

#: A constant of 2^28 elements costs nothing while it is one number, repeated; what is made of it does.
LARGE_BOMBS: Mapping[str, Cases] = {
    "Concat": {"2^28 numbers three times": ({"inputs": "whole whole whole", "axis": 0}, ".")},
    "Reshape": {"2^28 numbers as a shape": ({"inputs": "row whole", "value": 1}, "shape")},
    "Slice": {"2^28 numbers as starts": ({"inputs": "row whole whole", "value": 1}, "starts")},
    "Pad": {"2^28 numbers as pads": ({"inputs": "row whole", "value": 1}, "pads")},
    "Unsqueeze": {"2^28 numbers as axes": ({"inputs": "row whole", "value": 1}, "axes")},
    "Tile": {"2^28 numbers as repeats": ({"inputs": "row whole", "value": 1}, "repeats")},
    "Gather": {"2^28 numbers as indices": ({"inputs": "row whole", "value": 1}, ".")},
}


def value_cases() -> Iterator[Case]:
    """Yield every case of this file."""
    yield from made_cases()
    tables = ((APPLIED, apply), (BOMBS, made), (APPLIED_BOMBS, apply), (LARGE_BOMBS, large))
    for table, build in tables:
        for op, cases in table.items():
            of_op = {name: ({"op": op, **arguments}, text) for name, (arguments, text) in cases.items()}
            yield from suspect(op, FastconvError, build, of_op)
