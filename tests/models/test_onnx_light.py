"""The nine whole networks in the onnx package.

With their weights of 0.02 and the expected outputs that come with them, and with random weights, which show
the errors of layout that equal weights hide, against ONNX Runtime.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastconv
from fastconv.errors import ShapeError

onnx = pytest.importorskip("onnx")

FOLDER = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
NAMES = [
    "bvlc_alexnet",
    "densenet121",
    "inception_v1",
    "inception_v2",
    "resnet50",
    "shufflenet",
    "squeezenet",
    "vgg19",
    "zfnet512",
]
FIXED_BATCH = {"bvlc_alexnet", "inception_v1", "inception_v2", "resnet50", "shufflenet", "vgg19", "zfnet512"}

pytestmark = pytest.mark.model


def read(name: str) -> Any:
    return onnx.load(FOLDER / f"light_{name}.onnx")


def input_name(model: Any) -> str:
    constants = {t.name for t in model.graph.initializer}
    (name,) = [i.name for i in model.graph.input if i.name not in constants]
    return str(name)


@pytest.mark.parametrize("name", NAMES)
def test_expected_output(name: str) -> None:
    """The input is that of onnx.backend.test: a ramp from 0 to 1."""
    size = 3 * 224 * 224
    x = (np.arange(size).reshape(1, 3, 224, 224) / size).astype(np.float32)
    expected = onnx.numpy_helper.to_array(onnx.load_tensor(FOLDER / f"light_{name}_output_0.pb"))
    y = fastconv.load(FOLDER / f"light_{name}.onnx")(x)
    assert y.shape == expected.shape
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-7)


def roles(model: Any) -> Iterator[tuple[str, str, tuple[int, ...]]]:
    """Name, role and shape of each weight, by the node that reads it; most come from ConstantOfShape."""
    shapes = {
        t.name: tuple(int(n) for n in onnx.numpy_helper.to_array(t))
        for t in model.graph.initializer
        if t.data_type == onnx.TensorProto.INT64
    }
    made = {n.output[0]: shapes[n.input[0]] for n in model.graph.node if n.op_type == "ConstantOfShape"}
    made |= {t.name: tuple(t.dims) for t in model.graph.initializer if t.data_type == onnx.TensorProto.FLOAT}
    for node in model.graph.node:
        inputs = list(node.input)
        if node.op_type == "BatchNormalization":
            named = zip(inputs[1:], ("scale", "shift", "shift", "variance"), strict=True)
        elif node.op_type in ("Conv", "Gemm"):
            named = zip(inputs[1:], ("filter", "shift"), strict=False)
        else:  # a scale (Mul) or a shift (Add) that an Unsqueeze shapes first
            reader = [n.op_type for n in model.graph.node if node.output[0] in n.input][:1]
            role = "scale" if node.op_type == "Mul" or reader == ["Mul"] else "shift"
            named = zip(inputs, [role] * len(inputs), strict=True)
        for value, role in named:
            if value in made:
                yield value, role, made.pop(value)
    assert not made.keys() & {name for node in model.graph.node for name in node.input}


def randomised(name: str, seed: int) -> Any:
    """The network with weights as of He et al., arXiv:1502.01852: activations neither vanish nor overflow."""
    model, rng = read(name), np.random.default_rng(seed)
    weights = {}
    for value, role, shape in roles(model):
        if role == "filter":
            values = rng.standard_normal(shape, np.float32) * np.float32((2 / np.prod(shape[1:])) ** 0.5)
        elif role == "shift":
            values = rng.standard_normal(shape, np.float32) * np.float32(0.1)
        else:
            values = rng.uniform(0.5, 1.5, shape).astype(np.float32)
        weights[value] = onnx.numpy_helper.from_array(values, value)
    kept_nodes = [n for n in model.graph.node if n.output[0] not in weights]
    kept_tensors = [t for t in model.graph.initializer if t.name not in weights]
    del model.graph.node[:], model.graph.initializer[:]
    model.graph.node.extend(kept_nodes)
    model.graph.initializer.extend([*kept_tensors, *weights.values()])
    return model


@pytest.mark.ort
@pytest.mark.parametrize("name", NAMES)
def test_random_weights(name: str, rng: np.random.Generator) -> None:
    ort = pytest.importorskip("onnxruntime")
    proto = randomised(name, 1)
    data = proto.SerializeToString()
    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(data, options, ["CPUExecutionProvider"])
    model = fastconv.load(data)
    x = rng.standard_normal((2, 3, 224, 224)).astype(np.float32)
    one = [session.run(None, {input_name(proto): x[i : i + 1]})[0] for i in range(2)]
    assert np.ptp(one[0]) > 1e-3  # the outputs tell classes apart
    for i in range(2):
        y = model(x[i : i + 1])
        np.testing.assert_allclose(y, one[i], rtol=1e-4, atol=1e-4 * np.abs(one[i]).max())
    if name in FIXED_BATCH:
        with pytest.raises(ShapeError):
            model(x)
    else:
        together = model(x)
        np.testing.assert_array_equal(together[0], model(x[:1])[0])
        np.testing.assert_array_equal(together[1], model(x[1:])[0])


@pytest.mark.ort
@pytest.mark.parametrize("name", ["squeezenet", "shufflenet"])
def test_without_passes(name: str, rng: np.random.Generator) -> None:
    proto = randomised(name, 2)
    x = rng.standard_normal((1, 3, 224, 224)).astype(np.float32)
    expected = fastconv.load(proto)(x)
    y = fastconv.load(proto, passes="none")(x)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())
