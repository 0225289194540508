"""Data and networks that cannot be quantised, or not well: both functions and the commands say so."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastconv.cli import main
from fastconv.compress import optimize, quantize
from fastconv.errors import ArgumentError, DTypeError, FastconvError, ShapeError
from fastconv.exporters.onnx import to_file
from fastconv.graph.ir import Graph, GraphBuilder
from fastconv.graph.model import Model

pytest.importorskip("onnx")

Array = np.ndarray[Any, Any]
Make = Callable[..., Any]
# Without bf16, of which it depends on the processor whether it is tried, and so on what is remarked.
BOTH = pytest.mark.parametrize(
    "make", [quantize, partial(optimize, elements=("int8",))], ids=["quantize", "optimize"]
)


def two_layers(sign: int = 1) -> Graph:
    """Return a network whose first layer, with a sign of -1, gives zeros for images that are not negative."""
    ones = np.ones((4, 3, 1, 1), np.float32)
    b = GraphBuilder("two", {"w": sign * ones, "v": np.ones((2, 4, 1, 1), np.float32)})
    y = b.add("Relu", b.add("Conv", b.input("x", ("batch", 3, 32, 32)), "w"))
    b.output(b.add("Conv", y, "v"), "y", ("batch", 2, 32, 32))
    return b.build()


def bad_data(images: Array) -> dict[str, tuple[Any, type[FastconvError], str]]:
    nan, infinite = images.copy(), images.copy()
    nan[1, 0, 2, 3], infinite[0, 1, 2, 3] = np.nan, np.inf
    large = np.copysign(np.float32(3e38), images)
    return {
        "none": (images[:0], ArgumentError, "data: expected at least one sample, got none"),
        "no sample": ([], ArgumentError, "data: expected at least one sample, got none"),
        "channels": (images[:, :2], ShapeError, r"data: expected samples of shape \(3, .*got \(2, 32, 32\)"),
        "rank": (images[0, 0], ShapeError, r"data: expected samples of shape .* got \(32,\)"),
        "words": (np.array(["a", "b"]), DTypeError, r"data: expected float32 for input 'x', got <U1"),
        "NaN": (nan, ArgumentError, "data: expected finite numbers for input 'x', got NaN"),
        "infinite": (infinite, ArgumentError, "data: expected finite numbers for input 'x', got an infinity"),
        "too large": (large, ArgumentError, "data: expected finite results, got NaN or infinity in value"),
        "name": ({"y": images}, ArgumentError, r"data: expected arrays for \['x'\], got \['y'\]"),
        "number": (3, DTypeError, "data: expected a path, arrays, or mappings from inputs to arrays, got 3"),
    }


@BOTH
@pytest.mark.parametrize("case", list(bad_data(np.zeros((2, 3, 4, 4), np.float32))))
def test_data_that_are_refused(mobile: Callable[..., Graph], images: Array, make: Make, case: str) -> None:
    data, error, message = bad_data(images[:2])[case]
    with np.errstate(over="ignore", invalid="ignore"), pytest.raises(error, match=message):
        make(mobile(), data)


@BOTH
def test_networks_that_are_quantised_already(mobile: Callable[..., Graph], images: Array, make: Make) -> None:
    quantised = quantize(mobile(), images[:2])
    for model in (quantised.graph, quantised.model()):
        with pytest.raises(ArgumentError, match=r"model: expected a network of floats, .* quantised already"):
            make(model, images[:2])


@BOTH
def test_what_is_to_be_checked_is_refused_by_its_own_name_and_first(
    mobile: Callable[..., Graph], images: Array, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fastconv.compress.rounding.observe", None)  # nothing is measured before
    with pytest.raises(ShapeError, match=r"check: expected samples of shape"):
        make(mobile(), images, check=images[:, :1])
    with pytest.raises(ShapeError, match=r"labels: expected 3, one a sample, got 2"):
        make(mobile(), images, check=images[:3], labels=[1, 2])


def test_all_samples_that_have_labels_are_checked(images: Array) -> None:
    """However many: of others 300 are enough."""
    b = GraphBuilder("means", {"w": np.eye(3, dtype=np.float32)})
    y = b.add("Flatten", b.add("GlobalAveragePool", b.input("x", ("batch", 3, None, None))))
    b.output(b.add("Gemm", y, "w"), "y", ("batch", 3))
    many = np.tile(images[:, :, :4, :4], (20, 1, 1, 1))
    labels = many.mean((2, 3)).argmax(1).tolist()
    (with_labels,) = quantize(b.build(), images, check=many, labels=labels).report.outputs
    assert with_labels.samples == 480
    assert with_labels.accuracy is not None
    assert with_labels.accuracy[0] == 1
    (without,) = quantize(b.build(), images, check=many).report.outputs
    assert without.samples == 300


@BOTH
def test_few_samples_are_said_to_be_few(images: Array, make: Make) -> None:
    said = make(two_layers(), images[:1]).report
    assert "ranges are those of 1 sample, which is few" in str(said)
    many = np.concatenate([images, images])
    assert make(two_layers(), many, check=images[:1]).report.remarks == ()


@BOTH
def test_constant_values_are_named(images: Array, make: Make) -> None:
    """A value that is nothing but zeros has a scale all the same, and the network its result."""
    data = np.abs(np.concatenate([images, images]))
    found = make(two_layers(-1), data)
    assert np.array_equal(found.model()(data), Model(two_layers(-1))(data))
    (remark,) = found.report.remarks
    assert re.match(r"2 values had one number alone in all samples \('Relu_\d:out', 'y'\)", remark)


@BOTH
def test_photos_as_they_are_are_said_to_be_so(images: Array, make: Make) -> None:
    pixels = np.clip(images * 50 + 128, 0, 255)
    with pytest.warns(UserWarning, match=r"data: input 'x' has values from .* before they are scaled"):
        make(two_layers(), pixels[:4])


def turned(op: str) -> Graph:
    """Return a network of images whose channels are last, and an operator before the first layer."""
    b = GraphBuilder("turned", {"w": np.ones((2, 3, 1, 1), np.float32), "c": np.float32(255)})
    x = b.input("x", ("batch", 8, 8, 3))
    x = b.add("Transpose", b.add(op, x, "c") if op else x, perm=[0, 3, 1, 2])
    b.output(b.add("Conv", x, "w"), "y", ("batch", 2, 8, 8))
    return b.build()


def test_photos_are_known_behind_a_transpose_but_not_where_the_network_scales_them(images: Array) -> None:
    pixels = np.clip(images[:4, :, :8, :8] * 50 + 128, 0, 255).transpose(0, 2, 3, 1)
    with pytest.warns(UserWarning, match=r"data: input 'x' has values from"):
        quantize(turned(""), pixels)
    quantize(turned("Div"), pixels)  # warnings are errors here


@pytest.mark.parametrize("command", ["quantize", "optimize"])
def test_the_commands_say_it_in_a_line(
    images: Array, tmp_path: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    to_file(two_layers(), tmp_path / "net.onnx")
    given = [command, str(tmp_path / "net.onnx"), "-o", str(tmp_path / "y.onnx"), "--data"]
    for case, (data, _, message) in bad_data(images[:2]).items():
        if isinstance(data, np.ndarray) and case != "words":
            np.save(tmp_path / "x.npy", data)
            with np.errstate(over="ignore", invalid="ignore"):
                assert main([*given, str(tmp_path / "x.npy")]) == 2
            (line,) = capsys.readouterr().err.splitlines()
            assert line.startswith(f"fastconv: {message.partition(':')[0]}: ")
    np.save(tmp_path / "x.npy", np.clip(images[:2] * 50 + 128, 0, 255))
    assert main([*given, str(tmp_path / "x.npy")]) == 0
    said = capsys.readouterr()
    assert "warning: data: input 'x' has values from 0 to 255" in said.err
    assert "ranges are those of 2 samples, which is few" in said.out
