"""A batch of no images, as a detector that finds nothing gives the network after it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastconv

IMAGES = (0, 8, 5, 6)


def ints(*values: int) -> Any:
    return np.array(values, np.int64)


def floats(*values: float) -> Any:
    return np.array(values, np.float32)


CASES: dict[str, tuple[str, list[Any], dict[str, Any], tuple[int, ...]]] = {
    f"resize {mode} by {name}": ("Resize", [None, *given], {"mode": mode}, (0, 8, 10, 9))
    for mode in ("nearest", "linear", "cubic")
    for name, given in (
        ("scales", [floats(1, 1, 2, 1.5)]),
        ("sizes", [None, ints(0, 8, 10, 9)]),
    )
}
CASES |= {
    f"pad {mode}": ("Pad", [ints(0, 0, 1, 2, 0, 0, 3, 4)], {"mode": mode}, (0, 8, 9, 12))
    for mode in ("constant", "edge", "reflect")
}
CASES |= {
    "mean": ("ReduceMean", [ints(2, 3)], {"keepdims": 0}, (0, 8)),
    "max": ("GlobalMaxPool", [], {}, (0, 8, 1, 1)),
    "group normalisation": (
        "GroupNormalization",
        [np.ones(8, np.float32), np.zeros(8, np.float32)],
        {"num_groups": 2},
        IMAGES,
    ),
    "transposed convolution": (
        "ConvTranspose",
        [np.ones((8, 3, 2, 2), np.float32)],
        {"strides": [2, 2]},
        (0, 3, 10, 12),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_operators(name: str, node_model: Any) -> None:
    op, further, attrs, expected = CASES[name]
    x = np.zeros(IMAGES, np.float32)
    constant = range(1, 1 + len(further))
    model, _ = node_model(op, [x, *further], constant=constant, opset=21, **attrs)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "N"
    loaded = fastconv.load(model)
    assert loaded(x).shape == expected
    if "sizes" not in name:
        assert loaded(np.ones((2, *IMAGES[1:]), np.float32)).shape == (2, *expected[1:])
    assert loaded(x).shape == expected


def test_what_is_resized_must_have_elements(node_model: Any) -> None:
    x = np.zeros((2, 3, 0, 4), np.float32)
    model, feeds = node_model("Resize", [x, None, None, ints(2, 3, 5, 4)], constant=[3])
    with pytest.raises(
        fastconv.ShapeError, match=r"x: expected at least 1 element along what is resized, got"
    ):
        fastconv.load(model).run(None, feeds)


def test_dynamic_quantisation(node_model: Any) -> None:
    outputs = [np.dtype(np.uint8), np.dtype(np.float32), np.dtype(np.uint8)]
    model, feeds = node_model("DynamicQuantizeLinear", [np.zeros((0, 4), np.float32)], outputs=outputs)
    y, scale, zero = fastconv.load(model).run(None, feeds)
    assert (y.shape, scale, zero) == ((0, 4), 1, 0)
