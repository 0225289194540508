"""State dicts of torchvision's and timm's modules, from files: definitions take those that there are."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from fastconv import models
from fastconv.importers.weights import read_weights
from fastconv.testing.tolerance import assert_within

pytestmark = [pytest.mark.torch, pytest.mark.model, pytest.mark.slow]


class Reference(NamedTuple):
    """A module: the package that has it, its name there, the size of the image, options.

    ``deep`` says that float32 loses more than the others' bound in it, whoever computes it.
    """

    package: str
    name: str
    size: int = 65  # odd: the windows of ceil_mode are not all whole then
    options: dict[str, Any] = {}  # noqa: RUF012  # nobody writes to it
    deep: bool = False


NO_AUXILIARY = {"aux_logits": False, "init_weights": False}
REFERENCES: dict[str, list[Reference]] = {
    "alexnet": [Reference("torchvision", "alexnet", 224)],
    "vgg16": [Reference("torchvision", "vgg16", 224), Reference("timm", "vgg16", 224)],
    "vgg16_bn": [Reference("torchvision", "vgg16_bn", 224), Reference("timm", "vgg16_bn", 224)],
    "vgg19": [Reference("torchvision", "vgg19", 224), Reference("timm", "vgg19", 224)],
    "googlenet": [
        Reference("torchvision", "googlenet", 89, NO_AUXILIARY),
        Reference("torchvision", "googlenet", 89, {"init_weights": False}),  # its keys are there
    ],
    "inception_v3": [
        Reference("torchvision", "inception_v3", 107, {"init_weights": False}),
        Reference("timm", "inception_v3", 107),
    ],
    "resnet18": [Reference("torchvision", "resnet18"), Reference("timm", "resnet18")],
    "resnet34": [Reference("torchvision", "resnet34"), Reference("timm", "resnet34")],
    "resnet50": [Reference("torchvision", "resnet50"), Reference("timm", "resnet50")],
    "resnet101": [Reference("torchvision", "resnet101"), Reference("timm", "resnet101")],
    "resnet152": [Reference("torchvision", "resnet152"), Reference("timm", "resnet152")],
    "resnext50_32x4d": [
        Reference("torchvision", "resnext50_32x4d"),
        Reference("timm", "resnext50_32x4d"),
    ],
    "squeezenet1_0": [Reference("torchvision", "squeezenet1_0", 97)],
    "squeezenet1_1": [Reference("torchvision", "squeezenet1_1", 99)],
    "mobilenet_v1": [Reference("timm", "mobilenetv1_100")],
    "mobilenet_v2": [
        Reference("torchvision", "mobilenet_v2"),
        Reference("timm", "mobilenetv2_100"),
        Reference("timm", "mobilenetv2_050"),
    ],
    "mobilenet_v3_large": [
        Reference("torchvision", "mobilenet_v3_large"),
        Reference("timm", "mobilenetv3_large_100"),
    ],
    "mobilenet_v3_small": [
        Reference("torchvision", "mobilenet_v3_small"),
        Reference("timm", "mobilenetv3_small_100"),
    ],
    "shufflenet_v1": [],  # neither has it
    "shufflenet_v2_x0_5": [Reference("torchvision", "shufflenet_v2_x0_5")],
    "shufflenet_v2_x1_0": [Reference("torchvision", "shufflenet_v2_x1_0")],
    "shufflenet_v2_x1_5": [Reference("torchvision", "shufflenet_v2_x1_5")],
    "shufflenet_v2_x2_0": [Reference("torchvision", "shufflenet_v2_x2_0")],
    **{f"efficientnet_lite{i}": [Reference("timm", f"efficientnet_lite{i}")] for i in range(4)},
    "efficientnet_lite4": [Reference("timm", "efficientnet_lite4", deep=True)],
}
CASES = [(name, reference) for name, references in REFERENCES.items() for reference in references]


def built(reference: Reference, torchvision: Any, timm: Any) -> Any:
    if reference.package == "timm":
        return timm.create_model(reference.name, num_classes=10, **reference.options)
    return getattr(torchvision.models, reference.name)(weights=None, num_classes=10, **reference.options)


@pytest.mark.parametrize(
    ("name", "reference"), CASES, ids=[f"{r.package}-{r.name}-{len(r.options)}" for _, r in CASES]
)
def test_the_outputs_are_the_modules(
    name: str,
    reference: Reference,
    torchvision: Any,
    timm: Any,
    randomised: Any,
    rng: np.random.Generator,
    tmp_path: Path,
) -> None:
    torch = pytest.importorskip("torch")
    safetensors = pytest.importorskip("safetensors.torch")
    net = randomised(lambda: built(reference, torchvision, timm))
    x = rng.standard_normal((2 if reference.size < 224 else 1, 3, reference.size, reference.size), np.float32)
    torch.save(net.state_dict(), tmp_path / "weights.pth")
    pth = models.MODELS[name](tmp_path / "weights.pth")(x)
    safetensors.save_file(net.state_dict(), tmp_path / "weights.safetensors")
    np.testing.assert_array_equal(models.MODELS[name](tmp_path / "weights.safetensors")(x), pth)
    with torch.no_grad():
        single = net(torch.from_numpy(x)).numpy()
        expected = net.double()(torch.from_numpy(x).double()).numpy()
    assert np.ptp(expected) > 1e-2  # the outputs tell classes apart
    allowed = 2e-5 * float(np.abs(expected).max())
    assert_within(pth, expected, 2 * float(np.abs(single - expected).max()) if reference.deep else allowed)


def test_every_definition_has_its_references() -> None:
    assert sorted(REFERENCES) == models.list()
    packages = {"torchvision", "timm"}
    for name, references in REFERENCES.items():
        keys = set(models.MODELS[name].keys.replace(" or ", " ").split())
        assert keys & packages == {reference.package for reference in references}, name


def test_tensors_of_any_kind_may_be_in_a_mapping() -> None:
    torch = pytest.importorskip("torch")
    values = torch.tensor([[1.5, -2.0], [0.25, 3.0]])
    tensors = {
        "parameter": torch.nn.Parameter(values),
        "transposed": values.T,
        **{str(dtype): values.to(dtype) for dtype in (torch.float16, torch.bfloat16, torch.float64)},
    }
    weights = read_weights(tensors)
    for name in tensors:
        expected = values.T if name == "transposed" else values
        assert weights[name].dtype == np.float32
        np.testing.assert_array_equal(weights[name], expected.numpy())
