"""Convolutions as pickles: with their filters, options and measured algorithms; copies; damaged ones."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastconv
from fastconv import Conv2d, tuning
from fastconv.conv import reopened

RNG = np.random.default_rng(0)
W = RNG.standard_normal((8, 6, 3, 3), dtype=np.float32)
BIAS = RNG.standard_normal(8, dtype=np.float32)
POINTWISE = RNG.standard_normal((8, 6, 1, 1), dtype=np.float32)
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {"w": W},
    "of every option": {
        "w": W[:, :3], "bias": BIAS, "stride": (2, 1), "padding": (1, 0, 2, 1), "dilation": [1, 2],
        "groups": 2, "activation": ("leaky_relu", 0.25), "precision": "exact", "threads": 1, "layout": "NHWC",
    },
    "same, of fewer parameters": {"w": W, "padding": "same", "activation": "hardsigmoid"},
    "pixels": {"w": POINTWISE, "bias": BIAS, "activation": "relu6"},
    "an algorithm by name": {"w": W, "padding": 1, "algorithm": "im2col", "activation": ("clamp", -1.0)},
    "strided filters": {"w": W.transpose(0, 1, 3, 2)[:, :, ::-1], "activation": "gelu"},
}  # fmt: skip


def image(layout: str = "NCHW") -> np.ndarray[Any, np.dtype[np.float32]]:
    x = np.random.default_rng(1).standard_normal((2, 6, 14, 17), dtype=np.float32)
    return x if layout == "NCHW" else np.ascontiguousarray(x.transpose(0, 2, 3, 1))


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_a_pickle_gives_the_same_bits(options: dict[str, Any], protocol: int) -> None:
    conv = Conv2d(**options)
    again = pickle.loads(pickle.dumps(conv, protocol))
    assert type(again) is Conv2d
    assert again is not conv
    x = image(options.get("layout", "NCHW"))
    residual = np.random.default_rng(2).standard_normal(conv.out_shape(x.shape), dtype=np.float32)
    np.testing.assert_array_equal(again(x, residual=residual), conv(x, residual=residual))
    assert again.explain(x.shape) == conv.explain(x.shape)
    assert repr(again) == repr(conv)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(again))(x), conv(x))


def test_the_filters_travel_to_another_process(tmp_path: Path) -> None:
    conv = Conv2d(W, BIAS, padding=1, activation="relu")
    (tmp_path / "conv").write_bytes(pickle.dumps(conv))
    np.save(tmp_path / "x.npy", image())
    code = (
        "import pickle, sys, numpy as np; conv = pickle.load(open(sys.argv[1] + '/conv', 'rb'));"
        "np.save(sys.argv[1] + '/y.npy', conv(np.load(sys.argv[1] + '/x.npy')))"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, timeout=60)
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), conv(image()))


def test_what_the_caller_changes_later_is_not_pickled() -> None:
    w, bias, stride = W.copy(), BIAS.copy(), np.array([1, 1])
    conv = Conv2d(w, bias, stride)
    expected = conv(image())
    w[...] = 0
    bias[...] = 0
    stride[...] = 2
    np.testing.assert_array_equal(conv(image()), expected)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(conv))(image()), expected)


def test_the_number_of_threads_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the process's is where the pickle is opened."""
    used: list[int] = []
    run = fastconv.conv.run

    def noting(*arguments: Any) -> Any:
        used.append(fastconv.get_num_threads())
        return run(*arguments)

    conv = pickle.loads(pickle.dumps(Conv2d(W, threads=3)))
    monkeypatch.setattr(fastconv.conv, "run", noting)
    conv(image())
    assert used == [3]


def test_measured_algorithms_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy in another process rounds as the original does, whatever would be measured there."""
    monkeypatch.setenv("FASTCONV_TUNING", str(tmp_path / "tuning.json"))
    conv = Conv2d(W, padding=1, tune=True)
    monkeypatch.setattr(tuning, "best_algorithm", lambda *_, **__: "im2col")
    expected = conv(image())
    pickled = pickle.dumps(conv)

    def measured(*_: Any, **__: Any) -> str:
        raise AssertionError("measured again")

    monkeypatch.setattr(tuning, "best_algorithm", measured)
    again = pickle.loads(pickled)
    assert again.algorithm_for(image().shape) == "im2col"
    np.testing.assert_array_equal(again(image()), expected)
    with pytest.raises(AssertionError, match="measured again"):
        again(image()[:, :, :9])
    assert tuning.RESULTS.read() == {}


def test_copies_are_the_object_itself() -> None:
    conv = Conv2d(W)
    assert copy.copy(conv) is conv
    assert copy.deepcopy(conv) is conv
    assert copy.deepcopy({"a": [conv]})["a"][0] is conv


class Narrow(Conv2d):
    """A kind of convolution of a caller's."""


def test_a_subclass_stays_one() -> None:
    assert type(pickle.loads(pickle.dumps(Narrow(W)))) is Narrow


RIGHT = Conv2d(W).__reduce__()[1][1]
DAMAGED: dict[str, tuple[Any, type[Exception], str]] = {
    "another kind": ((dict, RIGHT), fastconv.ModelError, "expected a pickle of its kind, got <class 'dict'>"),
    "no kind": (("Conv2d", RIGHT), fastconv.ModelError, "expected a pickle of its kind, got 'Conv2d'"),
    "no arguments": ((Conv2d, [W]), fastconv.ModelError, "expected a pickle with its arguments"),
    "no filters": ((Conv2d, {"bias": None}), fastconv.ModelError, "expected a pickle with its arguments"),
    "one more": ((Conv2d, RIGHT | {"best": 1}), fastconv.ModelError, "expected a pickle with its arguments"),
    "doubles": ((Conv2d, RIGHT | {"w": W.astype(np.float64)}), fastconv.DTypeError, "^w: expected"),
    "objects": ((Conv2d, RIGHT | {"w": W.astype(object)}), fastconv.DTypeError, "^w: expected"),
    "a matrix": ((Conv2d, RIGHT | {"w": W[0, 0]}), fastconv.ShapeError, "^w: expected 4 dim"),
    "a long bias": ((Conv2d, RIGHT | {"bias": W.reshape(-1)}), fastconv.ShapeError, "^bias: expected"),
    "no groups": ((Conv2d, RIGHT | {"groups": 0}), fastconv.ArgumentError, "^groups: expected"),
    "text for stride": ((Conv2d, RIGHT | {"stride": "12"}), fastconv.DTypeError, "^stride: expected"),
    "no layout": ((Conv2d, RIGHT | {"layout": None}), fastconv.ArgumentError, "^layout: expected"),
    "an algorithm": ((Conv2d, RIGHT | {"algorithm": "best"}), fastconv.ArgumentError, "^algorithm: expected"),
    "no threads": ((Conv2d, RIGHT | {"threads": 0}), fastconv.ArgumentError, "^threads: expected"),
    "an activation": ((Conv2d, RIGHT | {"activation": 7}), fastconv.ArgumentError, "^activation: expected"),
}


class Damaged:
    """Pickles as whatever it is told to."""

    def __init__(self, *reduced: Any) -> None:
        self.reduced = reduced

    def __reduce__(self) -> tuple[Any, ...]:
        return self.reduced


@pytest.mark.parametrize(("given", "error", "message"), DAMAGED.values(), ids=DAMAGED)
def test_damaged_pickles(given: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        pickle.loads(pickle.dumps(Damaged(reopened, given)))


@pytest.mark.parametrize(
    "state",
    [
        {(1, 2, 6, 14): "im2col"},
        {(1, 2, 6, 14, 17.0): "im2col"},
        {(1, 2, 6, 14, 17): "best"},
        {(1, 2, 6, 14, 17): None},
        {"threads": "im2col"},
        {"_conv": None},
        ["im2col"],
        "x" * 1000,
    ],
)
@pytest.mark.parametrize("tune", [True, False])
def test_a_state_that_is_none(state: Any, tune: bool) -> None:
    with pytest.raises(fastconv.ModelError, match=r"^Conv2d: expected a pickle with the algorithms"):
        pickle.loads(pickle.dumps(Damaged(reopened, (Conv2d, RIGHT | {"tune": tune}), state)))


def test_an_object_that_was_not_made_takes_no_state() -> None:
    with pytest.raises(fastconv.ModelError, match=r"^Conv2d: expected a pickle with the algorithms"):
        pickle.loads(pickle.dumps(Damaged(object.__new__, (Conv2d,), {(1, 2, 6, 14, 17): "im2col"})))
