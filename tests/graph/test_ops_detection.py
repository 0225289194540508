"""RoiAlign, MaxRoiPool and NonMaxSuppression, against ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastconv

pytestmark = pytest.mark.ort

Array = np.ndarray[Any, Any]


def boxes(rng: np.random.Generator, count: int, size: float) -> Array:
    corners = np.sort(rng.uniform(0, size, (count, 2, 2)), axis=1)
    return corners.reshape(count, 4).astype(np.float32)


@pytest.mark.parametrize("mode", ["avg", "max"])
@pytest.mark.parametrize("ratio", [0, 1, 3])
@pytest.mark.parametrize("transform", ["half_pixel", "output_half_pixel", None])
def test_roi_align(
    mode: str, ratio: int, transform: str | None, check_node: Any, rng: np.random.Generator
) -> None:
    x = rng.standard_normal((2, 3, 10, 12)).astype(np.float32)
    rois = np.concatenate([boxes(rng, 6, 22), [[-3, -2, 40, 50], [5, 5, 5.2, 5.3]]]).astype(np.float32)
    images = rng.integers(0, 2, len(rois))
    options: dict[str, Any] = {"output_height": 3, "output_width": 4, "spatial_scale": 0.5}
    if transform:
        options["coordinate_transformation_mode"] = transform
    opset = 16 if transform else 10
    check_node("RoiAlign", [x, rois, images], opset=opset, mode=mode, sampling_ratio=ratio, **options)


@pytest.mark.parametrize("scale", [1.0, 0.37])
def test_max_roi_pool(scale: float, check_node: Any, rng: np.random.Generator) -> None:
    x = rng.standard_normal((2, 3, 10, 12)).astype(np.float32)
    corners = np.concatenate([boxes(rng, 8, 11 / scale), [[-4, -3, 30, 40], [20, 20, 25, 25]]])
    images = rng.integers(0, 2, (len(corners), 1))
    rois = np.concatenate([images, corners], axis=1).astype(np.float32)
    check_node("MaxRoiPool", [x, rois], opset=13, pooled_shape=[3, 2], spatial_scale=scale)


@pytest.mark.parametrize("center", [0, 1])
@pytest.mark.parametrize("most", [0, 3, 100])
@pytest.mark.parametrize("overlap", [None, 0.0, 0.3, 0.8])
def test_non_max_suppression(
    center: int, most: int, overlap: float | None, check_node: Any, rng: np.random.Generator
) -> None:
    given = np.stack([boxes(rng, 30, 1) for _ in range(2)])
    given[:, ::3] = given[:, ::3][..., [2, 3, 0, 1]]  # the corners may be any two opposite ones
    if center:
        given = np.abs(given)
    scores = np.round(rng.uniform(0, 1, (2, 3, 30)), 1).astype(np.float32)  # many are equal
    limits = [np.array([most]), None if overlap is None else np.array([overlap], np.float32)]
    for least in (None, 0.4):
        inputs = [given, scores, *limits, None if least is None else np.array([least], np.float32)]
        while inputs[-1] is None:
            inputs.pop()
        options = {"opset": 11, "center_point_box": center}
        check_node("NonMaxSuppression", inputs, outputs=[np.int64], **options)


def test_what_follows_a_suppression_has_its_shape(onnx: Any, rng: np.random.Generator) -> None:
    # The boxes are computed: the graph is cut before them; what follows is planned for each number of rows.
    helper, TensorProto = onnx.helper, onnx.TensorProto
    nodes = [
        helper.make_node("Add", ["boxes", "shift"], ["moved"]),
        helper.make_node("NonMaxSuppression", ["moved", "scores", "most", "overlap"], ["chosen"]),
        helper.make_node("Cast", ["chosen"], ["rows"], to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", ["rows"], ["total"], keepdims=0),
    ]
    infos = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("boxes", [1, 8, 4]), ("scores", [1, 1, 8]))
    ]
    constants = [
        onnx.numpy_helper.from_array(array, name)
        for name, array in (
            ("shift", np.float32(0.25).reshape(1)),
            ("most", np.array([8])),
            ("overlap", np.array([0.5], np.float32)),
        )
    ]
    outputs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in ("rows", "total")]
    graph = helper.make_graph(nodes, "test", infos, outputs, constants)
    model = fastconv.load(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8))
    apart = np.stack([np.array([i, i, i + 1, i + 1], np.float32) for i in range(8)])[None]
    same = np.broadcast_to(apart[:, :1], apart.shape)
    scores = rng.permutation(8).astype(np.float32).reshape(1, 1, 8)
    for case, count in ((apart, 8), (same, 1), (apart, 8)):
        rows, total = model.run(None, {"boxes": np.ascontiguousarray(case), "scores": scores})
        expected = np.argsort(-scores[0, 0])[:count]
        np.testing.assert_array_equal(rows, np.stack([0 * expected, 0 * expected, expected], axis=1))
        assert total == expected.sum()


@pytest.mark.parametrize(
    ("op", "inputs", "attrs", "message"),
    [
        (
            "RoiAlign",
            [np.ones((1, 1, 4, 4)), np.ones((2, 4)), np.array([0, 3])],
            {},
            "images: expected 0 to 0, got 0 to 3",
        ),
        (
            "RoiAlign",
            [np.ones((1, 1, 4, 4)), np.full((1, 4), [0, 0, 1e30, 1e30]), np.array([0])],
            {},
            "rois: expected at most",
        ),
        ("RoiAlign", [np.ones((1, 1, 4, 4)), np.ones((2, 4)), np.array([0])], {}, "x, rois, batch_indices"),
        ("MaxRoiPool", [np.ones((1, 1, 4, 4)), np.full((1, 5), np.nan)], {"pooled_shape": [2, 2]}, "finite"),
        ("NonMaxSuppression", [np.ones((1, 3, 4)), np.ones((1, 1, 2))], {}, "boxes, scores: expected"),
    ],
)
def test_what_does_not_fit_is_refused(
    op: str, inputs: Any, attrs: Any, message: str, node_model: Any
) -> None:
    arrays = [a.astype(np.float32) if a.dtype == np.float64 else a for a in inputs]
    model, feeds = node_model(op, arrays, opset=16, **attrs)
    with pytest.raises(fastconv.FastconvError, match=f"node 'node' .*{message}"):
        fastconv.load(model).run(None, feeds)
