"""The classic networks: equal, as ONNX, to what ONNX Runtime makes of them (torch: test_state_dicts.py)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fastconv import models
from fastconv.errors import ModelError, ShapeError
from fastconv.graph.model import Model
from fastconv.importers.weights import read_weights
from fastconv.models.network import Net

pytestmark = pytest.mark.model

# Images are as small as they may be, and odd: the windows of ceil_mode are not all whole then.
SIZES = {
    "inception_v3": 107,
    "squeezenet1_1": 99,
    "shufflenet_v1": 97,
    "shufflenet_v2_x0_5": 97,
    "mobilenet_v3_small": 97,
}
AUXILIARY = {"googlenet": "aux1.conv.bn.weight", "inception_v3": "AuxLogits.fc.bias"}


def image(name: str, rng: np.random.Generator) -> np.ndarray[Any, np.dtype[np.float32]]:
    return rng.standard_normal((2, 3, SIZES[name], SIZES[name]), np.float32)


def assert_close(y: np.ndarray[Any, Any], expected: np.ndarray[Any, Any]) -> None:
    assert y.shape == expected.shape
    assert np.ptp(expected) > 1e-2  # the outputs tell classes apart
    assert np.abs(y - expected).max() < 1e-4 * np.abs(expected).max()


# ---------------------------------------------------------------- against torch


@pytest.mark.torch
@pytest.mark.slow
def test_shufflenet_v1(rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch")
    weights = models.shufflenet_v1.random_weights(num_classes=10, seed=1)
    net = shufflenet_v1_module(num_classes=10).eval()
    net.load_state_dict({k: torch.from_numpy(w) for k, w in weights.items()}, strict=True)
    x = image("shufflenet_v1", rng)
    with torch.no_grad():
        expected = net(torch.from_numpy(x)).numpy()
    assert_close(models.shufflenet_v1(weights)(x), expected)


def shufflenet_v1_module(num_classes: int) -> Any:
    """Return ShuffleNet 1x with three groups as the paper's figures 1 and 2 and table 1 have it."""
    torch = pytest.importorskip("torch")
    nn, functional = torch.nn, torch.nn.functional

    class Unit(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self, ic: int, oc: int, stride: int, groups: int) -> None:
            super().__init__()
            inner, self.stride = oc // 4, stride
            rest = oc - ic if stride == 2 else oc
            self.conv1 = nn.Conv2d(ic, inner, 1, groups=groups, bias=False)
            self.bn1 = nn.BatchNorm2d(inner)
            self.conv2 = nn.Conv2d(inner, inner, 3, stride, 1, groups=inner, bias=False)
            self.bn2 = nn.BatchNorm2d(inner)
            self.conv3 = nn.Conv2d(inner, rest, 1, groups=3, bias=False)
            self.bn3 = nn.BatchNorm2d(rest)

        def forward(self, x: Any) -> Any:
            y = functional.channel_shuffle(self.bn1(self.conv1(x)).relu(), 3)
            y = self.bn3(self.conv3(self.bn2(self.conv2(y))))
            if self.stride == 1:
                return (x + y).relu()
            return torch.cat([functional.avg_pool2d(x, 3, 2, 1), y], 1).relu()

    class ShuffleNet(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.conv1, self.bn1 = nn.Conv2d(3, 24, 3, 2, 1, bias=False), nn.BatchNorm2d(24)
            self.stage2 = nn.Sequential(Unit(24, 240, 2, 1), *(Unit(240, 240, 1, 3) for _ in range(3)))
            self.stage3 = nn.Sequential(Unit(240, 480, 2, 3), *(Unit(480, 480, 1, 3) for _ in range(7)))
            self.stage4 = nn.Sequential(Unit(480, 960, 2, 3), *(Unit(960, 960, 1, 3) for _ in range(3)))
            self.fc = nn.Linear(960, num_classes)

        def forward(self, x: Any) -> Any:
            y = functional.max_pool2d(self.bn1(self.conv1(x)).relu(), 3, 2, 1)
            return self.fc(self.stage4(self.stage3(self.stage2(y))).mean((2, 3)))

    return ShuffleNet()


# ---------------------------------------------------------------- against ONNX Runtime


@pytest.mark.ort
@pytest.mark.parametrize("name", SIZES)
def test_the_graph_is_onnx(name: str, rng: np.random.Generator) -> None:
    ort = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    from fastconv.exporters.onnx import to_proto

    graph = models.MODELS[name].graph(models.MODELS[name].random_weights(num_classes=10, seed=2))
    options = ort.SessionOptions()
    options.log_severity_level = 3
    data = to_proto(graph).SerializeToString()
    session = ort.InferenceSession(data, options, ["CPUExecutionProvider"])
    x = image(name, rng)
    (expected,) = session.run(None, {"input": x})
    assert_close(Model(graph)(x), expected)


# ---------------------------------------------------------------- on its own


def zeros(name: str) -> dict[str, np.ndarray[Any, Any]]:
    shapes = models.MODELS[name].define({}, 3).shapes
    return {key: np.zeros(shape, np.float32) for key, shape in shapes.items()}


@pytest.mark.parametrize("name", ["alexnet", "vgg16", "vgg19"])
def test_the_size_of_the_image_is_declared(name: str) -> None:
    assert models.MODELS[name].graph(zeros(name)).inputs[0].shape == ("batch", 3, 224, 224)


def test_images_of_another_size_are_refused() -> None:
    with pytest.raises(ShapeError, match="224"):
        models.alexnet(zeros("alexnet"))(np.zeros((1, 3, 192, 192), np.float32))


@pytest.mark.parametrize("name", AUXILIARY)
def test_keys_of_auxiliary_classifiers_are_ignored(name: str) -> None:
    weights = zeros(name) | {AUXILIARY[name]: np.zeros(128, np.float32)}
    models.MODELS[name].graph(weights)
    with pytest.raises(ModelError, match=rf"{name}: unexpected keys: aux3\.fc1\.weight "):
        models.MODELS[name].graph(weights | {"aux3.fc1.weight": np.zeros((1, 1), np.float32)})


@pytest.mark.parametrize("name", AUXILIARY)
def test_the_preprocessing_is_what_transform_input_makes_of_torchvisions(name: str) -> None:
    architecture = models.MODELS[name]
    side = round(architecture.size / 0.875)
    photo = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    x = models.preprocess(photo, architecture.size)
    mean, std = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
    expected = x * (std / 0.5)[:, None, None] + ((mean - 0.5) / 0.5)[:, None, None]
    np.testing.assert_allclose(architecture.preprocess(photo), expected, rtol=0, atol=1e-5)


def test_channels_are_taken_joined_and_shuffled(rng: np.random.Generator) -> None:
    net = Net("tiny", in_channels=6)
    parts = net.channels(net.input, 0, 2), net.channels(net.input, 2, 6)
    net.output(net.flatten(net.shuffle(net.concat(*parts[::-1]), 3), pixels=20))
    x = rng.standard_normal((2, 6, 4, 5), np.float32)
    y = Model(net.graph(read_weights({})))(x)
    np.testing.assert_array_equal(y, x[:, [2, 4, 0, 3, 5, 1]].reshape(2, 120))
