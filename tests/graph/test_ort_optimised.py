"""What ONNX Runtime's optimiser writes into the models that it saves, against it and against float64."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastconv
from fastconv.errors import ModelError, ShapeError, UnsupportedOpError
from fastconv.testing import reference

pytestmark = pytest.mark.ort

Array = np.ndarray[Any, Any]
MICROSOFT = {"domain": "com.microsoft", "opset": 17}


def f32(rng: np.random.Generator, *shape: int) -> Array:
    return rng.standard_normal(shape).astype(np.float32)


@pytest.fixture
def check(check_node: Any) -> Any:
    """Return a function that compares a node with ONNX Runtime, and with what it is in float64."""

    def check(op: str, inputs: list[Array | None], exact: Array, **options: Any) -> None:
        options = {**MICROSOFT, **options}
        check_node(op, inputs, **options)
        check_node(op, inputs, expected=[np.asarray(exact, np.float64).astype(np.float32)], **options)

    return check


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def gelu(x: Array) -> Array:
    return x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))) / 2


ACTIVATIONS: dict[str, tuple[dict[str, float], Callable[[Array], Array]]] = {
    "Relu": ({}, lambda x: np.maximum(x, 0)),
    "Sigmoid": ({}, sigmoid),
    "Tanh": ({}, np.tanh),
    "LeakyRelu": ({"alpha": 0.3}, lambda x: np.where(x < 0, np.float32(0.3) * x, x)),
    "HardSigmoid": ({"alpha": 0.3, "beta": 0.4}, lambda x: np.clip(0.3 * x + 0.4, 0, 1)),
}


@pytest.mark.parametrize("activation", ["", "Clip", *ACTIVATIONS])
@pytest.mark.parametrize("parts", ["x w", "x w b", "x w b z", "x w - z"])
def test_fused_conv(activation: str, parts: str, check: Any, rng: np.random.Generator) -> None:
    x, w, b = f32(rng, 2, 4, 9, 8), f32(rng, 6, 2, 3, 3), f32(rng, 6)
    z = f32(rng, 2, 6, 5, 4)
    attrs: dict[str, Any] = {"strides": [2, 2], "pads": [1, 1, 1, 1], "group": 2, "kernel_shape": [3, 3]}
    y = reference.conv(x, w, b if "b" in parts else None, stride=2, padding=1, groups=2)
    y = y + z if "z" in parts else y
    if activation == "Clip":
        attrs |= {"activation": activation, "activation_params": [-0.5, 1.5]}
        y = np.clip(y, -0.5, 1.5)
    elif activation:
        parameters, function = ACTIVATIONS[activation]
        attrs |= {"activation": activation}
        if parameters:
            attrs["activation_params"] = list(parameters.values())
        y = function(y)
    values = {"x": x, "w": w, "b": b, "z": z, "-": None}
    check("FusedConv", [values[name] for name in parts.split()], y, **attrs)


@pytest.mark.parametrize("activation", ["Elu", "Selu", "Softplus", *ACTIVATIONS])
def test_fused_gemm(activation: str, check: Any, rng: np.random.Generator) -> None:
    a, b, c = f32(rng, 7, 5), f32(rng, 6, 7), f32(rng, 6)
    functions: dict[str, Any] = ACTIVATIONS | {
        "Elu": ({"alpha": 0.7}, lambda x: np.where(x < 0, 0.7 * np.expm1(x), x)),
        "Selu": ({"alpha": 1.5, "gamma": 1.2}, lambda x: 1.2 * np.where(x < 0, 1.5 * np.expm1(x), x)),
        "Softplus": ({}, lambda x: np.logaddexp(x, 0)),
    }
    parameters, function = functions[activation]
    attrs = {f"activation_{name}": value for name, value in parameters.items()}
    product = 0.5 * (a.T.astype(np.float64) @ b.T) + 2.0 * c
    options = {"transA": 1, "transB": 1, "alpha": 0.5, "beta": 2.0, "activation": activation, **attrs}
    check("FusedGemm", [a, b, c], function(product), **options)


@pytest.mark.parametrize("transposed", [(0, 0, 0, 0), (1, 0, 0, 0), (0, 1, 0, 0), (1, 1, 1, 1), (0, 1, 1, 0)])
def test_fused_matmul(
    transposed: tuple[int, ...], check: Any, check_node: Any, rng: np.random.Generator
) -> None:
    a, b = f32(rng, 2, 3, 5, 7), f32(rng, 2, 3, 7, 4)
    stored = []
    for x, swapped, batch in zip((a, b), transposed[:2], transposed[2:], strict=True):
        x = np.swapaxes(x, -1, -2) if swapped else x
        stored.append(np.ascontiguousarray(np.moveaxis(x, -2, 0) if batch else x))
    names = ("transA", "transB", "transBatchA", "transBatchB")
    attrs = dict(zip(names, transposed, strict=True))
    check("FusedMatMul", stored, 0.25 * (a.astype(np.float64) @ b), alpha=0.25, **attrs)
    if not any(transposed[2:]):  # a constant matrix is packed
        matrix = b[0, 0].T.copy() if transposed[1] else b[0, 0]
        check(
            "FusedMatMul", [stored[0], matrix], -1.5 * (a.astype(np.float64) @ b[0, 0]), alpha=-1.5, **attrs
        )
        double = [v.astype(np.float64) for v in stored]
        exact = 0.25 * (a.astype(np.float64) @ b.astype(np.float64))
        options = {**MICROSOFT, **attrs, "outputs": [np.float64], "rtol": 1e-14}
        check_node("FusedMatMul", double, expected=[exact], alpha=0.25, **options)


def test_gelus(check: Any, rng: np.random.Generator) -> None:
    x, b = f32(rng, 2, 3, 40) * 3, f32(rng, 40)
    wide = x.astype(np.float64)

    def by_tanh(v: Array) -> Array:
        return v * (1 + np.tanh(math.sqrt(2 / math.pi) * (v + 0.044715 * v**3))) / 2

    check("Gelu", [x], gelu(wide))
    check("BiasGelu", [x, b], gelu(wide + b))
    check("FastGelu", [x], by_tanh(wide))
    check("FastGelu", [x, b], by_tanh(wide + b))
    check("QuickGelu", [x], wide * sigmoid(np.float32(1.702) * wide))
    check("QuickGelu", [x], wide * sigmoid(wide), alpha=1.0)


def normalised(x: Array, epsilon: float, *, rms: bool = False) -> Array:
    centred = x if rms else x - x.mean(-1, keepdims=True)
    return np.asarray(centred / np.sqrt((centred**2).mean(-1, keepdims=True) + epsilon))


@pytest.mark.parametrize("skip_shape", [(2, 5, 16), (1, 5, 16), (5, 16)])
def test_skip_normalisations(skip_shape: tuple[int, ...], check: Any, rng: np.random.Generator) -> None:
    x, skip = f32(rng, 2, 5, 16), f32(rng, *skip_shape)
    gamma, beta, bias = f32(rng, 16), f32(rng, 16), f32(rng, 16)
    wide = x.astype(np.float64) + skip
    check("SkipLayerNormalization", [x, skip, gamma], normalised(wide, 1e-12) * gamma)
    epsilon = 1e-3
    scaled = normalised(wide, epsilon) * gamma + beta
    check("SkipLayerNormalization", [x, skip, gamma, beta], scaled, epsilon=epsilon)
    scaled = normalised(wide + bias, epsilon) * gamma + beta
    check("SkipLayerNormalization", [x, skip, gamma, beta, bias], scaled, epsilon=epsilon)
    simplified = "SkipSimplifiedLayerNormalization"
    rms = normalised(wide + bias, epsilon, rms=True) * gamma
    check(simplified, [x, skip, gamma, bias], rms, epsilon=epsilon)
    check(simplified, [x, skip, gamma], normalised(wide, 1e-12, rms=True) * gamma)


def test_the_sum_of_a_skip_is_an_output(onnx: Any, runtime: Any, rng: np.random.Generator) -> None:
    text = """
    <ir_version: 8, opset_import: ["": 17, "com.microsoft": 1]>
    g (float[2,5,16] x, float[2,5,16] s, float[16] g, float[16] b) => (float[2,5,16] y, float[2,5,16] t) {
        y, , , t = com.microsoft.SkipLayerNormalization <epsilon = 0.001> (x, s, g, b, b)
    }"""
    model = onnx.parser.parse_model(text)
    feeds = {"x": f32(rng, 2, 5, 16), "s": f32(rng, 2, 5, 16), "g": f32(rng, 16), "b": f32(rng, 16)}
    got = fastconv.load(model).run(None, feeds)
    for ours, theirs in zip(got, runtime(model, feeds), strict=True):
        np.testing.assert_allclose(ours, theirs, 1e-5, 1e-5)
    np.testing.assert_allclose(got[1], feeds["x"] + feeds["b"] + feeds["s"], 1e-6, 1e-6)


def test_simplified_layer_normalisation(check: Any, rng: np.random.Generator) -> None:
    x, scale = f32(rng, 2, 5, 16), f32(rng, 16)
    exact = normalised(x.astype(np.float64), 1e-5, rms=True) * scale
    check("SimplifiedLayerNormalization", [x, scale], exact, domain="", axis=-1, stash_type=1)


@pytest.mark.parametrize("mask", [True, False])
@pytest.mark.parametrize("segments", [True, False])
def test_embedding(mask: bool, segments: bool, check_node: Any, rng: np.random.Generator) -> None:
    ids = rng.integers(0, 9, (2, 5)).astype(np.int32)
    kinds = rng.integers(0, 2, (2, 5)).astype(np.int32)
    words, places, of_kinds = f32(rng, 9, 16), f32(rng, 7, 16), f32(rng, 2, 16)
    gamma, beta = f32(rng, 16), f32(rng, 16)
    shown = (rng.random((2, 5)) < 0.5).astype(np.int32)
    x = words[ids].astype(np.float64) + places[:5] + (of_kinds[kinds] if segments else 0)
    y = (normalised(x, 1e-12) * gamma + beta).astype(np.float32)
    lengths = shown.sum(1).astype(np.int32) if mask else np.zeros(2, np.int32)
    inputs = [ids, kinds if segments else None, words, places, of_kinds if segments else None, gamma, beta]
    inputs += [shown] if mask else []
    options = {**MICROSOFT, "outputs": [np.float32, np.int32]}
    check_node("EmbedLayerNormalization", inputs, **options)
    check_node("EmbedLayerNormalization", inputs, expected=[y, lengths], **options)


@pytest.mark.torch
def test_saved_networks(runtime: Any, onnx: Any, tmp_path: Path, rng: np.random.Generator) -> None:
    """What a session saves at ORT_ENABLE_EXTENDED runs, as does what is saved of that; ALL is refused."""
    ort = pytest.importorskip("onnxruntime")
    nn = pytest.importorskip("torch.nn")
    torch = pytest.importorskip("torch")

    class Net(nn.Module):  # type: ignore[name-defined,misc]
        def __init__(self) -> None:
            super().__init__()
            self.convs = nn.ModuleList(nn.Conv2d(8, 8, 3, padding=1) for _ in range(8))
            acts = (nn.LeakyReLU(0.2), nn.ReLU6(), nn.Hardsigmoid(), nn.Sigmoid(), nn.Tanh(), nn.GELU())
            self.acts = nn.ModuleList([*acts, nn.SiLU(), nn.ReLU()])
            self.linear, self.head = nn.Linear(8, 16), nn.Linear(16, 3)
            self.norm, self.wide = nn.LayerNorm(16), nn.Linear(16, 16)

        def forward(self, x: Any) -> Any:
            for conv, act in zip(self.convs, self.acts, strict=True):
                x = act(conv(x))
            x = torch.relu(self.convs[0](x) + x)
            rows = self.linear(x.flatten(2).transpose(1, 2))
            rows = self.norm(rows + torch.nn.functional.gelu(self.wide(rows)))
            weights = (rows @ rows.transpose(1, 2) * 0.25).softmax(-1)
            return torch.relu(self.head((weights @ rows).mean(1)))

    torch.manual_seed(0)
    path = tmp_path / "net.onnx"
    x = f32(rng, 2, 8, 6, 6)
    with pytest.warns():
        torch.onnx.export(
            Net().eval(), (torch.from_numpy(x),), str(path), opset_version=17, dynamo=False, input_names=["x"]
        )
    (expected,) = runtime(onnx.load(path), {"x": x})

    def saved(level: str) -> Path:
        options = ort.SessionOptions()
        options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, level)
        options.optimized_model_filepath = str(tmp_path / f"{level}.onnx")
        options.log_severity_level = 3
        ort.InferenceSession(str(path), options, ["CPUExecutionProvider"])
        return Path(options.optimized_model_filepath)

    optimised = saved("ORT_ENABLE_EXTENDED")
    operators = {node.op_type for node in onnx.load(optimised).graph.node}
    joined = {"FusedConv", "FusedMatMul", "FusedGemm", "Gelu", "QuickGelu", "SkipLayerNormalization"}
    assert joined - {"FusedGemm"} <= operators, operators
    model = fastconv.load(optimised)
    np.testing.assert_allclose(model(x), expected, 1e-5, 1e-5)
    np.testing.assert_allclose(fastconv.load(optimised, passes="none")(x), expected, 1e-5, 1e-5)
    assert fastconv.count(model).layers
    model.save(tmp_path / "net.fcm", packed=True)
    np.testing.assert_array_equal(fastconv.load(tmp_path / "net.fcm")(x), model(x))
    with pytest.raises(UnsupportedOpError, match="ORT_ENABLE_EXTENDED instead of ORT_ENABLE_ALL"):
        fastconv.load(saved("ORT_ENABLE_ALL"))


@pytest.mark.parametrize(
    ("node", "error", "message"),
    [
        (
            'FusedConv <activation = "Clip", activation_params = [0.0]> (x, x)',
            ModelError,
            "2 numbers for Clip",
        ),
        (
            'FusedConv <activation = "Relu", activation_params = [0.0]> (x, x)',
            ModelError,
            "0 numbers for Relu",
        ),
        ('FusedConv <activation = "Cos"> (x, x)', UnsupportedOpError, "activation: expected one of Relu"),
        ("FusedConv <activation = 3> (x, x)", UnsupportedOpError, "activation: expected one of Relu"),
        ('FusedConv <activation = "Relu", stride = [1]> (x, x)', UnsupportedOpError, "'stride'"),
        ("FusedConv (x)", ModelError, "at most 4 inputs"),
        ("Gelu (x, x)", ModelError, "at most 1 inputs"),
        ("Gelu <alpha = 1.0> (x)", UnsupportedOpError, "got 'alpha'"),
        ("QuickGelu <alpha = [1.0]> (x)", ModelError, "attribute alpha"),
        ("SkipLayerNormalization (x, x)", ModelError, r"among them those at \[0, 1, 2\]"),
        ("EmbedLayerNormalization (x, x, x, x, , x, x)", ModelError, "segment ids and their vectors"),
        ("FusedMatMul (x, x)", ShapeError, "inner sizes"),
    ],
)
def test_refusals(node: str, error: type[Exception], message: str, onnx: Any) -> None:
    text = f"""
    <ir_version: 8, opset_import: ["": 17, "com.microsoft": 1]>
    g (float[2,3,4,5] x) => (float y) {{ y = com.microsoft.{node} }}"""
    with pytest.raises(error, match=message):
        fastconv.load(onnx.parser.parse_model(text))(np.zeros((2, 3, 4, 5), np.float32))
