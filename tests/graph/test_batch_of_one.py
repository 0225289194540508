"""Graphs written for one image, given several: each image by itself, never a mixture."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastconv

SHAPE = (1, 4, 3, 3)


def cases(onnx: Any) -> dict[str, list[Any]]:
    make = onnx.helper.make_node
    fold = make("Reshape", ["x", "row"], ["r"])
    back = make("Reshape", ["s", "rows"], ["y"])
    return {
        "softmax of a row": [fold, make("Softmax", ["r"], ["s"], axis=1), back],
        "the row's parts": [
            fold,
            make("Split", ["r"], ["a", "b"], axis=1),
            make("Sub", ["a", "b"], ["s"]),
            back,
        ],
        "the row's mean": [
            *(fold, make("ReduceMean", ["r"], ["m"], axes=[1], keepdims=1)),
            *(make("Sub", ["r", "m"], ["s"]), back),
        ],
        "along the batch": [
            make("ReduceMax", ["x"], ["m"], axes=[0], keepdims=1),
            make("Sub", ["x", "m"], ["y"]),
        ],
        "cumulative sums": [fold, make("CumSum", ["r", "one"], ["s"]), back],
        "by themselves": [
            make("Relu", ["x"], ["a"]),
            *(
                make("GlobalAveragePool", ["a"], ["b"]),
                make("Flatten", ["b"], ["s"]),
                make("Exp", ["s"], ["y"]),
            ),
        ],
    }


@pytest.mark.parametrize(
    "name",
    [
        "softmax of a row",
        "the row's parts",
        "the row's mean",
        "along the batch",
        "cumulative sums",
        "by themselves",
    ],
)
@pytest.mark.parametrize("declared", ["nothing", "one"])
def test_images_are_not_mixed(name: str, declared: str, onnx: Any, make_model: Any) -> None:
    constants = {
        "row": np.array([1, -1], np.int64),
        "rows": np.array([-1, 6], np.int64),
        "one": np.array(1, np.int64),
    }
    proto = make_model(cases(onnx)[name], {"x": SHAPE}, constants)
    if declared == "one":
        shape = proto.graph.output[0].type.tensor_type.shape
        shape.dim.add().dim_value = 1
    model = fastconv.load(proto)
    x = np.random.default_rng(0).standard_normal((3, *SHAPE[1:])).astype(np.float32)
    alone = np.concatenate([model(x[i : i + 1]) for i in range(3)])
    np.testing.assert_array_equal(model(x), alone)
    np.testing.assert_array_equal(model(x[:2]), alone[: len(alone) // 3 * 2])
