"""``fastconv quantize``: a file of 8 bits of a file and a folder of photos."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastconv
from fastconv.cli import main
from fastconv.compress.agreement import signal_to_noise
from fastconv.compress.samples import photo_reader, samples_of
from fastconv.errors import ArgumentError, ShapeError
from fastconv.exporters.onnx import to_file
from fastconv.graph.ir import Graph, GraphBuilder, TensorInfo
from fastconv.models import preprocess

pytest.importorskip("onnx")

Array = np.ndarray[Any, Any]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five photos, in two folders, and a file that is none."""
    pillow = pytest.importorskip("PIL.Image")
    rng = np.random.default_rng(0)
    (tmp_path / "photos" / "more").mkdir(parents=True)
    for i, name in enumerate(("a.png", "b.jpg", "c.PNG", "more/d.png", "more/e.bmp")):
        pixels = rng.integers(0, 256, (40 + i, 60, 3), dtype=np.uint8)
        pillow.fromarray(pixels).save(tmp_path / "photos" / name)
    (tmp_path / "photos" / "notes.txt").write_text("no photo")
    return tmp_path / "photos"


@pytest.fixture
def network(mobile: Callable[..., Graph], tmp_path: Path) -> Path:
    path = tmp_path / "net.onnx"
    to_file(mobile(), path)
    return path


def test_a_folder_of_photos(
    network: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "int8.onnx"
    assert main(["quantize", str(network), "--data", str(folder), "--size", "32", "-o", str(out)]) == 0
    said = capsys.readouterr().out
    assert "depthwise" in said
    assert "SNR" in said
    x = preprocess([str(path) for path in sorted(folder.rglob("*.*")) if path.suffix != ".txt"], 32)
    y = fastconv.load(network)(x)
    assert signal_to_noise(y, fastconv.load(out)(x)) > 15


def test_an_array_and_json(
    network: Path, images: Array, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "x.npy", images)
    out = tmp_path / "int8.onnx"
    given = ["quantize", str(network), "--data", str(tmp_path / "x.npy"), "-o", str(out), "--json"]
    assert main([*given, "--exclude", "depthwise", "--samples", "8"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["outputs"][0]["samples"] == 8
    assert record["bytes"] == out.stat().st_size
    elements = {layer["name"]: layer["elements"] for layer in record["layers"]}
    assert elements["depthwise"] == "f32"
    assert elements["stem"] == "u8 x s8 > u8"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--exclude", "nothing"], "exclude: expected names of nodes"),
        (["-o", "net.fcm"], "--output: expected a file ending in .onnx"),
        (["--data", "nowhere"], "nowhere: expected a folder of photos or a .npy file"),
    ],
)
def test_bad_input(
    network: Path,
    images: Array,
    tmp_path: Path,
    more: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    np.save(tmp_path / "x.npy", images[:2])
    given = ["quantize", str(network), "--data", str(tmp_path / "x.npy"), "-o", str(tmp_path / "y.onnx")]
    assert main([*given, *more]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


def test_photos_are_read_as_they_are_said_to_be(folder: Path) -> None:
    planes = TensorInfo("x", ("n", 3, 24, 24), np.dtype(np.float32))
    rows = TensorInfo("x", ("n", 24, 24, 3), np.dtype(np.float32))
    path = folder / "a.png"
    options: dict[str, Any] = {"mean": (1, 2, 3), "std": (4, 5, 6), "crop": 1.0}
    expected = preprocess(path, 24, **options)
    np.testing.assert_array_equal(photo_reader(planes, **options)(path), expected)
    np.testing.assert_array_equal(photo_reader(planes, order="bgr", **options)(path), expected[:, ::-1])
    np.testing.assert_array_equal(photo_reader(rows, **options)(path), expected.transpose(0, 2, 3, 1))
    with pytest.raises(ShapeError, match=r"input 'x', which is no photo"):
        photo_reader(TensorInfo("x", ("n", 5), np.dtype(np.float32)))
    with pytest.raises(ShapeError, match=r"input 'x', which is not square"):
        photo_reader(TensorInfo("x", ("n", 3, 24, 32), np.dtype(np.float32)))
    with pytest.raises(ShapeError, match=r"input 'x', of which one side alone is known"):
        photo_reader(TensorInfo("x", ("n", 3, 48, None), np.dtype(np.float32)))
    assert (
        photo_reader(TensorInfo("x", ("n", 3, 24, None), np.dtype(np.float32)), size=24)(path).shape[2] == 24
    )
    with pytest.raises(ArgumentError, match="order: expected 'rgb' or 'bgr', got 'rbg'"):
        photo_reader(planes, order="rbg")


def test_of_many_photos_some_are_taken(folder: Path) -> None:
    b = GraphBuilder("net", {})
    b.output(b.add("Relu", b.input("x", ("batch", 3, 16, 16))), "y", ("batch", 3, 16, 16))
    assert len(samples_of(folder, b.build())) == 5
    few = samples_of(folder, b.build(), limit=2)
    expected = preprocess([folder / "a.png", folder / "c.PNG"], 16)
    np.testing.assert_array_equal(few.arrays["x"], expected)
