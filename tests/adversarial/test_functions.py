"""Public functions with adversarial arguments: an error that names one of them, or the right result."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest

import fastconv
from adversarial import functions
from adversarial.sandbox import Sandbox
from fastconv.importers.weights import read_weights

COUNT = 240
SECONDS = 120  # a guard against hangs

# What is no function of arrays, and where it is tried instead.
OTHERS = {
    "algorithms": "has no argument",
    "count": "test_what_is_no_model",
    "from_torch": "test_what_is_no_model",
    "get_num_threads": "has no argument",
    "load": "test_what_is_no_model, test_malformed.py",
    "optimize": "test_what_is_no_model, tests/compress",
    "profile": "test_what_is_no_model",
    "quantize": "test_what_is_no_model, tests/compress",
    "set_num_threads": "test_numbers_of_threads",
    "show_config": "has no argument",
    "threads": "test_numbers_of_threads",
}
FUNCTIONS = [
    name for name in fastconv.__all__ if name not in OTHERS and inspect.isroutine(getattr(fastconv, name))
]


@pytest.mark.parametrize("name", [*FUNCTIONS, *functions.PLANNED])
def test_adversarial_arguments(name: str, sandbox: Sandbox) -> None:
    outcome = sandbox.run(functions.try_function, name, COUNT, seconds=SECONDS, memory=functions.MEMORY * 4)
    assert not outcome.signal, outcome
    assert not outcome.error, outcome.message
    assert outcome.peak_bytes < functions.MEMORY, outcome
    ends = outcome.value
    assert sum(ends.values()) >= COUNT
    assert ends["ran"] > COUNT // 4  # some calls mean something
    assert ends["DTypeError"] + ends.get("ArgumentError", 0) > COUNT // 10  # and others are wrong


def test_an_unknown_function_or_argument_is_refused() -> None:
    with pytest.raises(LookupError, match="erode2d: no strategy"):
        functions.family("erode2d")
    with pytest.raises(LookupError, match="sharpness: no strategy"):
        functions.hostile_value(None, "sharpness", {})


def test_what_is_wrong_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Functions that do what none may: each is told, with the arguments."""
    x = np.ones(3, np.float32)

    def told(function: Any, **arguments: Any) -> str:
        monkeypatch.setattr(fastconv, "relu", function)
        with pytest.raises(Exception) as caught:
            functions.try_call("relu", {"x": x.copy(), **arguments})
        return f"{type(caught.value).__name__}: {caught.value}"

    def changes(x: Any, **_: Any) -> Any:
        y = x.copy()
        x[0] = 7
        return y

    def raises(error: Exception) -> Any:
        def function(*_: Any, **__: Any) -> Any:
            raise error

        return function

    assert functions.try_call("relu", {"x": x}) == "ran"
    assert "x was changed" in told(changes)
    assert "names no argument" in told(raises(fastconv.ShapeError("wrong")))
    assert "not for a large result" in told(raises(MemoryError()))
    assert "expected shape" in told(lambda x, **_: x[:2].copy())
    assert "expected float32" in told(lambda x, **_: x.astype(np.float64))
    assert "expected\n" in told(lambda x, **_: x + 1)
    assert "the result is not out" in told(lambda x, **_: x.copy(), out=x.copy())
    assert "IndexError" in told(lambda x, **_: x[5])


def assert_names_n(error: Exception) -> None:
    assert str(error).startswith("n: ")


@pytest.mark.parametrize("function", [fastconv.set_num_threads, fastconv.threads])
def test_numbers_of_threads(function: Any) -> None:
    before = fastconv.get_num_threads()
    for value in (*functions.OBJECTS, *functions.INTEGER_VALUES, *functions.NUMBER_VALUES):
        try:
            result = function(value)
            if result is not None:
                with result:
                    pass
        except fastconv.FastconvError as error:
            assert_names_n(error)
        assert 1 <= fastconv.get_num_threads() <= 4096
        fastconv.set_num_threads(before)


@pytest.mark.parametrize(
    "function",
    [
        *(fastconv.load, fastconv.count, fastconv.profile, fastconv.from_torch),
        *(fastconv.quantize, fastconv.optimize),
    ],
)
def test_what_is_no_model(function: Any) -> None:
    arguments: tuple[Any, ...] = ()
    values = [
        *functions.OBJECTS,
        *functions.INTEGER_VALUES,
        b"",
        b"\x08",
        b"\0" * 100,
        "/",
        "\0.onnx",
        "\0.fcm",
    ]
    if function is fastconv.from_torch:  # which takes a second each time, where torch is installed
        arguments, values = (None,), [None, "x", 3, object]
    if function in (fastconv.quantize, fastconv.optimize):
        arguments = (np.zeros((1, 3, 8, 8), np.float32),)
    for value in values:
        with pytest.raises((fastconv.FastconvError, FileNotFoundError)):
            function(value, *arguments)


def test_a_path_that_no_file_can_have() -> None:
    for path in ("\0", "weights\0.pth"):
        with pytest.raises(fastconv.ModelError, match="source: expected a path"):
            read_weights(path)


def test_flags_are_true_or_false() -> None:
    x = np.ones((1, 1, 4, 4), np.float32)
    assert fastconv.max_pool2d(x, 2, ceil_mode=np.bool_(True)).shape == (1, 1, 2, 2)
    assert fastconv.max_pool2d(x, 3, ceil_mode=1).shape == (1, 1, 2, 2)  # type: ignore[arg-type]
    for value in (None, 2, 0.0, "no", x):
        with pytest.raises(fastconv.DTypeError, match="ceil_mode: expected True or False"):
            fastconv.max_pool2d(x, 2, ceil_mode=value)


def test_messages_show_values_of_any_length() -> None:
    x = np.ones((1, 1, 4, 4), np.float32)
    with pytest.raises(fastconv.ArgumentError, match=r"groups: .* got int that cannot be shown"):
        fastconv.conv2d(x, x, groups=10**5000)
    with pytest.raises(fastconv.ArgumentError, match=r"layout: .* got 'xxx") as caught:
        fastconv.conv2d(x, x, layout="x" * 10_000)
    assert len(str(caught.value)) < 300
    with pytest.raises(fastconv.ArgumentError, match=r"scale_factor: .* got inf"):
        fastconv.interpolate(x, scale_factor=1e308)


@pytest.mark.parametrize("method", ["out_shape", "algorithm_for", "explain"])
@pytest.mark.parametrize(
    ("kind", "dtype"),
    [(fastconv.Conv2d, np.float32), (fastconv.QConv2d, np.int8), (fastconv.XnorConv2d, np.float32)],
)
def test_shapes_of_a_planned_convolution(method: str, kind: Any, dtype: Any) -> None:
    conv = kind(np.ones((4, 3, 3, 3), dtype))
    for value in (
        *functions.OBJECTS,
        *functions.INTEGER_VALUES,
        (1, 3, 8, -8),
        (1, 3, 8, 1 << 62),
        (1, 3, 2, 2),
    ):
        if value is None and method == "explain":
            continue
        with pytest.raises(fastconv.FastconvError):
            getattr(conv, method)(value)


def overlaid(shape: tuple[int, ...], strides: tuple[int, ...]) -> Any:
    return np.lib.stride_tricks.as_strided(np.zeros(64, np.float32), shape, strides)


def test_an_output_whose_elements_overlap_is_refused() -> None:
    x = np.ones((3, 4), np.float32)
    for strides in ((4, 4), (8, 4), (12, 4), (0, 4), (2, 16), (16, 12)):
        with pytest.raises(fastconv.ArgumentError, match="out: expected"):
            fastconv.relu(x, out=overlaid((3, 4), strides))
    for strides in ((16, 4), (4, 12), (64, 8), (8, 24)):
        out = overlaid((3, 4), strides)
        assert fastconv.relu(x, out=out) is out
        assert (out == 1).all()


def test_a_result_that_no_array_holds() -> None:
    x, w = np.zeros((0, 1, 3, 3, 3), np.float32), np.ones((1, 1, 3, 3, 3), np.float32)
    with pytest.raises(fastconv.ShapeError, match="out: expected a result that an array can hold"):
        fastconv.conv3d(x, w, padding=(1 << 31) - 1)
    with pytest.raises(fastconv.ShapeError, match="out: expected a result that an array can hold"):
        fastconv.matmul(np.zeros((1 << 31, 0), np.float32), np.zeros((0, 1 << 31), np.float32))
