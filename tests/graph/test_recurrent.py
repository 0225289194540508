"""Recurrent layers beside ONNX Runtime, in every form that ONNX gives them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastconv
from fastconv.errors import ModelError, ShapeError, UnsupportedOpError

onnx = pytest.importorskip("onnx")
pytestmark = pytest.mark.ort

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
T, N, F, H = 5, 3, 4, 6


def layer(op: str, rng: np.random.Generator, optional: str = "", **attrs: Any) -> tuple[Any, dict[str, Any]]:
    """A model of one layer, and its feeds; ``optional`` names the inputs beyond x, w and r."""
    d = 2 if attrs.get("direction") == "bidirectional" else 1
    gates = GATES[op]
    shapes = {"x": (T, N, F), "w": (d, gates * H, F), "r": (d, gates * H, H), "b": (d, 2 * gates * H)}
    shapes |= {"h": (d, N, H), "c": (d, N, H), "p": (d, 3 * H)}
    feeds = {name: rng.standard_normal(shape, np.float32) / 2 for name, shape in shapes.items()}
    feeds["s"] = np.array([T, 2, 4], np.int32)
    order = [*"xwrbsh", *("cp" if op == "LSTM" else "")]
    names = [name if name in "xwr" + optional else "" for name in order]
    while not names[-1]:
        names.pop()
    outputs = ["y", "y_h", *(["y_c"] if op == "LSTM" else [])]
    node = onnx.helper.make_node(op, names, outputs, hidden_size=H, **attrs)
    info = onnx.helper.make_tensor_value_info
    kind = {name: 6 if name == "s" else 1 for name in names}
    graph = onnx.helper.make_graph(
        [node],
        "layer",
        [info(name, kind[name], feeds[name].shape) for name in names if name],
        [info(name, 1, None) for name in outputs],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 14)], ir_version=8)
    return model, {name: feeds[name] for name in names if name}


def agree(model: Any, feeds: dict[str, Any], witness: Any = None) -> None:
    """Compare with what ONNX Runtime gives for the model, or for another form of it."""
    ort = pytest.importorskip("onnxruntime")
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1  # several quantise the rows of a batch apart
    witness = (witness or model).SerializeToString()
    session = ort.InferenceSession(witness, options, providers=["CPUExecutionProvider"])
    expected = session.run(None, feeds)
    for got, wanted in zip(fastconv.load(model).run(None, feeds), expected, strict=True):
        assert got.shape == wanted.shape
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("optional", ["", "b", "bs", "bshc", "bhc"])
@pytest.mark.parametrize("op", GATES)
def test_layers(op: str, optional: str, direction: str, rng: np.random.Generator) -> None:
    agree(*layer(op, rng, optional, direction=direction))


@pytest.mark.parametrize("reset", [0, 1])
def test_gru_resets_before_or_after_the_product(reset: int, rng: np.random.Generator) -> None:
    agree(*layer("GRU", rng, "b", linear_before_reset=reset))


def test_lstm_with_peepholes_and_clip(rng: np.random.Generator) -> None:
    agree(*layer("LSTM", rng, "bhcp", clip=0.5))


def test_functions_by_name(rng: np.random.Generator) -> None:
    agree(*layer("LSTM", rng, "b", activations=["HardSigmoid", "Tanh", "LeakyRelu"],
                 activation_alpha=[0.3, 0.1], activation_beta=[0.4]))  # fmt: skip
    agree(*layer("RNN", rng, "b", activations=["Relu"]))
    model, _ = layer("RNN", rng, activations=["Sine"])
    with pytest.raises(UnsupportedOpError, match="activations: expected names among"):
        fastconv.load(model)


def quantised_layer(rng: np.random.Generator, h: int, dtype: Any, columns: bool, **attrs: Any) -> Any:
    """A DynamicQuantizeLSTM as ONNX Runtime's quantiser writes it, with its weights, and its feeds."""
    d = 2 if attrs.get("direction") == "bidirectional" else 1
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max + 1
    size = (d, 4 * h) if columns else (d,)
    constants = {
        "w": rng.integers(low, high, (d, F, 4 * h)).astype(dtype),
        "r": rng.integers(low, high, (d, h, 4 * h)).astype(dtype),
        "b": rng.standard_normal((d, 8 * h), np.float32) / 2,
        **{name: rng.uniform(0.2, 0.4, size).astype(np.float32) / (F * 64) for name in ("ws", "rs")},
        **{name: np.full(size, 0 if dtype == np.int8 else 131, dtype) for name in ("wz", "rz")},
    }
    feeds = {"x": rng.standard_normal((T, N, F), np.float32), "h": rng.standard_normal((d, N, h), np.float32)}
    feeds["c"] = rng.standard_normal((d, N, h), np.float32)
    names = ["x", "w", "r", "b", "", "h", "c", "", "ws", "wz", "rs", "rz"]
    node = onnx.helper.make_node(
        "DynamicQuantizeLSTM", names, ["y", "y_h", "y_c"], domain="com.microsoft", hidden_size=h, **attrs
    )
    info = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [node],
        "layer",
        [info(name, 1, array.shape) for name, array in feeds.items()],
        [info(name, 1, None) for name in ("y", "y_h", "y_c")],
        [onnx.numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    opsets = [onnx.helper.make_opsetid("", 14), onnx.helper.make_opsetid("com.microsoft", 1)]
    return onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8), feeds


def unsigned(model: Any) -> Any:
    """The same network with its signed weights and zero points moved up by 128.

    ONNX Runtime multiplies u8 by u8 exactly on every processor, and u8 by s8 only where there is VNNI.
    """
    twin = onnx.ModelProto()
    twin.CopyFrom(model)
    for tensor in twin.graph.initializer:
        if tensor.data_type == onnx.TensorProto.INT8:
            moved = (onnx.numpy_helper.to_array(tensor).astype(np.int16) + 128).astype(np.uint8)
            tensor.CopyFrom(onnx.numpy_helper.from_array(moved, tensor.name))
    return twin


@pytest.mark.parametrize("columns", [False, True])
@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
def test_quantised_lstm(direction: str, dtype: Any, columns: bool, rng: np.random.Generator) -> None:
    model, feeds = quantised_layer(rng, H, dtype, columns, direction=direction)
    agree(model, feeds, unsigned(model))


@pytest.mark.parametrize("h", [16, 700])  # 700: sums that f32 does not hold exactly
def test_quantised_lstm_of_any_size(h: int, rng: np.random.Generator) -> None:
    model, feeds = quantised_layer(rng, h, np.int8, False)
    agree(model, feeds, unsigned(model))


def test_quantised_lstm_without_scales(rng: np.random.Generator) -> None:
    model, _ = quantised_layer(rng, H, np.int8, False)
    del model.graph.node[0].input[8:]
    with pytest.raises(ModelError, match="w_scale, w_zero_point, r_scale, r_zero_point: expected all four"):
        fastconv.load(model)
    model, _ = quantised_layer(rng, H, np.int8, False)
    model.graph.node[0].input[10] = "b"
    with pytest.raises(ShapeError, match=r"r_scale: expected shape .*, got \(1, 48\)"):
        fastconv.load(model)


def test_an_unread_first_output(rng: np.random.Generator) -> None:
    model, feeds = layer("LSTM", rng, "b")
    model.graph.node[0].output[0] = ""
    del model.graph.output[0]
    agree(model, feeds)


def test_batch_first(rng: np.random.Generator) -> None:
    """layout=1, which ONNX Runtime has not: the same as transposing around layout=0."""
    model, feeds = layer("GRU", rng, "bh")
    expected = fastconv.load(model).run(None, feeds)
    model.graph.node[0].attribute.append(onnx.helper.make_attribute("layout", 1))
    for info in model.graph.input:
        if info.name in "xh":
            shape = info.type.tensor_type.shape
            shape.dim[0].dim_value, shape.dim[1].dim_value = shape.dim[1].dim_value, shape.dim[0].dim_value
    swapped = {name: a.swapaxes(0, 1) if name in "xh" else a for name, a in feeds.items()}
    y, h = fastconv.load(model).run(None, swapped)
    np.testing.assert_array_equal(y, expected[0].transpose(2, 0, 1, 3))
    np.testing.assert_array_equal(h, expected[1].transpose(1, 0, 2))


def test_shapes_that_do_not_fit(rng: np.random.Generator) -> None:
    model, _ = layer("GRU", rng, "b")
    model.graph.input[3].type.tensor_type.shape.dim[1].dim_value = 7
    with pytest.raises(ShapeError, match=r"node 'GRU_0' .GRU.: b: expected shape \(1, 36\), got \(1, 7\)"):
        fastconv.load(model)


@pytest.mark.parametrize(
    "equation",
    [
        *("ij,jk->ik", "bij,bjk", "...ij->...ji", "ii->i", "i,i", "bchw,oc->bohw", "...c,cd->...d", "ij->"),
        *("bhid,bhjd->bhij", "bhij,bhjd->bihd", "ij,kj->ki", "i,j->ji", "i,i->", "bhw,hwc->cb", "bc,bc->cb"),
        *("bij,jk->bk", "ij,ji->i"),  # a letter of one term is summed over
    ],
)
def test_einsum(equation: str, rng: np.random.Generator) -> None:
    sizes = dict(zip("bcdhijkow", (2, 3, 4, 5, 4, 4, 6, 7, 2), strict=True))
    terms = equation.split("->")[0].split(",")
    arrays = [
        rng.standard_normal([n for part in t.replace("...", "bh") for n in [sizes[part]]], np.float32)
        for t in terms
    ]
    names = [f"x{i}" for i in range(len(arrays))]
    info = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Einsum", names, ["y"], equation=equation)],
        "einsum",
        [info(name, 1, a.shape) for name, a in zip(names, arrays, strict=True)],
        [info("y", 1, None)],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 14)], ir_version=8)
    agree(model, dict(zip(names, arrays, strict=True)))


def test_einsum_of_two_matrices_is_no_call_of_numpy(rng: np.random.Generator) -> None:
    info = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Einsum", ["q", "k"], ["y"], equation="bhid,bhjd->bhij")],
        "attention",
        [info(name, 1, (1, 2, 9, 4)) for name in ("q", "k")],
        [info("y", 1, None)],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 14)], ir_version=8)
    loaded = fastconv.load(model)
    assert "einsum" not in str(loaded.explain())
    q, k = rng.standard_normal((2, 1, 2, 9, 4)).astype(np.float32)
    np.testing.assert_allclose(
        loaded.run(None, {"q": q, "k": k})[0], q @ k.swapaxes(2, 3), rtol=1e-5, atol=1e-5
    )
