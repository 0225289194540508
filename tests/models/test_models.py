"""The model definitions: equal to torchvision's and timm's networks, clear about weights that do not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastconv import models
from fastconv.errors import ArgumentError, ModelError

RNG = np.random.default_rng(0)


def relative_error(got: np.ndarray[Any, Any], expected: np.ndarray[Any, Any]) -> float:
    return float(np.abs(got - expected).max() / np.abs(expected).max())


# ---------------------------------------------------------------- against torch (more in test_state_dicts.py)


def compare(net: Any, architecture: models.Architecture, path: Path) -> None:
    torch = pytest.importorskip("torch")
    torch.save(net.state_dict(), path)
    x = RNG.standard_normal((2, next(net.parameters()).shape[1], 65, 65), np.float32)
    with torch.no_grad():
        expected = net(torch.from_numpy(x)).numpy()
    assert relative_error(architecture(path)(x), expected) < 1e-4


@pytest.mark.torch
@pytest.mark.model
@pytest.mark.slow
@pytest.mark.parametrize(
    ("reference", "ours", "options"),
    [
        ("mobilenetv1_125", "mobilenet_v1", {"num_classes": 5, "in_chans": 1}),
        ("mobilenetv2_140", "mobilenet_v2", {"num_classes": 7}),
        ("resnet18", "resnet18", {"in_chans": 4}),
    ],
)
def test_timm_widths_and_key_names(
    reference: str, ours: str, options: dict[str, int], timm: Any, randomised: Any, tmp_path: Path
) -> None:
    net = randomised(lambda: timm.create_model(reference, **options))
    compare(net, models.MODELS[ours], tmp_path / "weights.pth")


@pytest.mark.torch
@pytest.mark.model
@pytest.mark.slow
def test_torchvision_width_multiplier(torchvision: Any, randomised: Any, tmp_path: Path) -> None:
    net = randomised(lambda: torchvision.models.mobilenet_v2(weights=None, width_mult=0.35, num_classes=7))
    compare(net, models.mobilenet_v2, tmp_path / "weights.pth")


# ---------------------------------------------------------------- without torch


def weights_of(name: str) -> dict[str, np.ndarray[Any, Any]]:
    return {
        key: np.zeros(shape, np.float32) for key, shape in models.MODELS[name].define({}, 3).shapes.items()
    }


@pytest.mark.model
@pytest.mark.parametrize(
    "name", [name for name in models.MODELS if name not in ("resnet101", "resnet152", "vgg16_bn", "vgg19")]
)
def test_random_weights_run(name: str) -> None:
    model = models.MODELS[name](models.MODELS[name].random_weights(num_classes=3), num_classes=3)
    declared = model.inputs[0].shape[2]
    size = declared if isinstance(declared, int) else 75  # Inception v3 takes no less
    y = model(RNG.standard_normal((2, 3, size, size), np.float32))
    assert y.shape == (2, 3)
    assert np.isfinite(y).all()
    assert not np.allclose(y[0], y[1])


def test_the_names_are_listed() -> None:
    names = models.list()
    assert names == sorted(models.MODELS)
    assert all(getattr(models, name) is models.MODELS[name] for name in names)


def test_random_weights_follow_the_seed() -> None:
    first, again, other = (models.mobilenet_v1.random_weights(seed=seed) for seed in (1, 1, 2))
    assert all(np.array_equal(first[key], again[key]) for key in first)
    assert not np.array_equal(first["conv_stem.weight"], other["conv_stem.weight"])


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("resnet18", 11_689_512),
        ("resnet34", 21_797_672),
        ("resnet50", 25_557_032),
        ("resnet101", 44_549_160),
        ("resnet152", 60_192_808),
        ("resnext50_32x4d", 25_028_904),
        ("alexnet", 61_100_840),
        ("vgg16", 138_357_544),
        ("vgg16_bn", 138_365_992),
        ("vgg19", 143_667_240),
        ("googlenet", 6_624_904),
        ("inception_v3", 23_834_568),
        ("squeezenet1_0", 1_248_424),
        ("squeezenet1_1", 1_235_496),
        ("mobilenet_v1", 4_231_976),
        ("mobilenet_v2", 3_504_872),
        ("mobilenet_v3_large", 5_483_032),
        ("mobilenet_v3_small", 2_542_856),
        ("shufflenet_v2_x0_5", 1_366_792),
        ("shufflenet_v2_x1_0", 2_278_604),
        ("shufflenet_v2_x1_5", 3_503_624),
        ("shufflenet_v2_x2_0", 7_393_996),
        ("efficientnet_lite0", 4_652_008),
        ("efficientnet_lite1", 5_416_680),
        ("efficientnet_lite2", 6_092_072),
        ("efficientnet_lite3", 8_197_096),
        ("efficientnet_lite4", 13_006_568),
    ],
)
def test_numbers_of_parameters_are_the_published_ones(name: str, parameters: int) -> None:
    shapes = models.MODELS[name].define({}, 1000).shapes
    learned = [np.prod(shape) for key, shape in shapes.items() if "running" not in key]
    assert sum(learned) == parameters


@pytest.mark.parametrize("name", models.MODELS)
def test_every_missing_key_is_named(name: str) -> None:
    weights = weights_of(name)
    for key in list(weights)[::17]:
        rest = {k: v for k, v in weights.items() if k != key}
        with pytest.raises(ModelError, match=rf"{name}: missing keys: {key} "):
            models.MODELS[name].graph(rest)


@pytest.mark.parametrize("name", models.MODELS)
def test_every_wrong_shape_is_named(name: str) -> None:
    weights = weights_of(name)
    # Only witnesses: a ResNet's width, the channels of the image and the number of classes are their shapes.
    stem, *_, classifier = (key for key in weights if key.endswith(".weight"))
    for key in list(weights)[1::13]:
        shape = weights[key].shape
        if key not in (stem, classifier):
            wrong = np.zeros((shape[0] + 1, *shape[1:]), np.float32)
            with pytest.raises(ModelError) as caught:
                models.MODELS[name].graph(weights | {key: wrong})
            expected = f"{name}: {key}: expected shape {shape}, got {wrong.shape} (in the mapping)"
            assert str(caught.value) == expected


@pytest.mark.parametrize(
    ("name", "stem"),
    [("mobilenet_v3_small", "conv_stem.weight"), ("efficientnet_lite0", "conv_stem.weight"),
     ("vgg16", "pre_logits.fc2.bias")],
)  # fmt: skip
def test_missing_keys_are_timms_where_others_are(name: str, stem: str) -> None:
    shapes = models.MODELS[name].define({stem: (1,)}, 3).shapes
    weights = {key: np.zeros(shape, np.float32) for key, shape in shapes.items()}
    models.MODELS[name].graph(weights)
    for key in [key for key in weights if key != stem][::17]:
        rest = {k: v for k, v in weights.items() if k != key}
        with pytest.raises(ModelError, match=rf"{name}: missing keys: {key} "):
            models.MODELS[name].graph(rest)


def test_the_same_weights_under_timms_names(rng: np.random.Generator) -> None:
    """Which names are timm's is written out here; that they are is seen beside timm itself, where it is."""
    ours = weights_of("mobilenet_v2")
    names = list(models.mobilenet_v2.define({"conv_stem.weight": (32, 3, 3, 3)}, 1000).shapes)
    blocks = [f"blocks.{stage}.{i}" for stage, n in enumerate((1, 2, 3, 4, 3, 3, 1)) for i in range(n)]
    layers = [("conv_stem", "bn1"), (f"{blocks[0]}.conv_dw", f"{blocks[0]}.bn1")]
    layers.append((f"{blocks[0]}.conv_pw", f"{blocks[0]}.bn2"))
    for block in blocks[1:]:
        layers += [
            (f"{block}.conv_{part}", f"{block}.bn{i + 1}") for i, part in enumerate(("pw", "dw", "pwl"))
        ]
    layers.append(("conv_head", "bn2"))
    parts = ("weight", "bias", "running_mean", "running_var")
    expected = [key for conv, bn in layers for key in (f"{conv}.weight", *(f"{bn}.{p}" for p in parts))]
    assert names == [*expected, "classifier.weight", "classifier.bias"]
    x = rng.standard_normal((1, 3, 65, 65), np.float32)
    theirs = dict(zip(names, ours.values(), strict=True))
    np.testing.assert_array_equal(models.mobilenet_v2(theirs)(x), models.mobilenet_v2(ours)(x))


def test_many_problems_are_listed_up_to_five() -> None:
    with pytest.raises(ModelError) as caught:
        models.resnet50.graph(weights_of("resnet18"))
    message = str(caught.value)
    assert "layer1.0.conv1.weight: expected shape (64, 64, 1, 1), got (64, 64, 3, 3)" in message
    assert "missing keys: layer1.0.conv3.weight" in message
    assert " more" in message
    assert len(message) < 1500


def test_unexpected_keys_are_named_and_batch_counts_ignored() -> None:
    weights: dict[str, Any] = weights_of("mobilenet_v2")
    weights["features.0.1.num_batches_tracked"] = np.int64(3)
    models.mobilenet_v2.graph(weights)
    with pytest.raises(ModelError, match=r"mobilenet_v2: unexpected keys: ema\.weight \(in the mapping\)"):
        models.mobilenet_v2.graph(weights | {"ema.weight": np.zeros(3, np.float32)})


def test_integer_weights_are_refused() -> None:
    weights = weights_of("resnet18") | {"bn1.bias": np.zeros(64, np.int64)}
    with pytest.raises(ModelError, match=r"resnet18: bn1\.bias: expected a floating-point array, got int64"):
        models.resnet18.graph(weights)


def test_the_number_of_classes_can_be_demanded() -> None:
    weights = weights_of("resnet18")
    assert models.resnet18.graph(weights).outputs[0].shape == ("batch", 3)
    with pytest.raises(ModelError, match=r"fc\.weight: expected shape \(10, 512\), got \(3, 512\)"):
        models.resnet18.graph(weights, num_classes=10)
    with pytest.raises(ArgumentError, match="num_classes: expected an integer of at least 1"):
        models.resnet18.graph(weights, num_classes=0)


@pytest.mark.parametrize("shape", [(), (0,), (64,), (64, 3, 3, 3), (0, 0, 7, 7)])
def test_a_stem_of_any_shape_is_a_typed_error(shape: tuple[int, ...]) -> None:
    for name in models.MODELS:
        weights = weights_of(name)
        stem = next(iter(weights))
        if shape != weights[stem].shape:
            with pytest.raises(ModelError, match=name):
                models.MODELS[name].graph(weights | {stem: np.zeros(shape, np.float32)})


def test_a_narrow_resnet_is_recognised_by_its_stem() -> None:
    shapes = models.resnet50.define({"conv1.weight": (32, 1, 7, 7), "fc.weight": (2, 1024)}, None).shapes
    assert shapes["conv1.weight"] == (32, 1, 7, 7)
    assert shapes["layer4.2.conv3.weight"] == (1024, 256, 1, 1)
    assert shapes["fc.weight"] == (2, 1024)


def test_the_graph_is_named_after_the_modules() -> None:
    graph = models.resnet18.graph(weights_of("resnet18"))
    names = [node.name for node in graph.nodes]
    assert "layer1.0.conv1" in names
    assert len(names) == len(set(names))
    assert graph.inputs[0].shape == ("batch", 3, "height", "width")
