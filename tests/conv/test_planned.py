"""Planned convolutions of every rank, transposed ones too: against float64, torch and the functions."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

import fastconv
from fastconv.testing import reference, tolerance

LAYOUTS = {1: ("NCW", "NWC"), 2: ("NCHW", "NHWC"), 3: ("NCDHW", "NDHWC")}
RANKS = (1, 2, 3)


def normal(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def arrays(spatial: int, *, transposed: bool = False) -> tuple[Any, Any, Any]:
    x = normal(2, 6, *(9, 8, 7)[:spatial])
    w = normal(*((6, 4) if transposed else (8, 3)), *(3, 2, 3)[:spatial], seed=1)
    return x, w, normal(8, seed=2)


def planned(name: str, spatial: int) -> Any:
    return getattr(fastconv, f"{name}{spatial}d")


@pytest.mark.parametrize("spatial", RANKS)
@pytest.mark.parametrize("last", [False, True])
def test_a_planned_convolution_is_the_reference(spatial: int, last: bool) -> None:
    x, w, bias = arrays(spatial)
    geometry: dict[str, Any] = {"stride": 2, "padding": 1, "groups": 2}
    expected = reference.epilogue(reference.conv(x, w, bias, **geometry), None, "relu")
    magnitude = reference.conv_magnitude(x, w, bias, **geometry)
    layout = LAYOUTS[spatial][last]
    conv = planned("Conv", spatial)(w, bias, **geometry, activation="relu", layout=layout)
    given = np.ascontiguousarray(np.moveaxis(x, 1, -1)) if last else x
    y = conv(given)
    assert y.shape == conv.out_shape(given.shape)
    found = np.moveaxis(y, -1, 1) if last else y
    assert (np.abs(found - expected) <= tolerance.sum_bound(magnitude, w[0].size + 1)).all()
    again = pickle.loads(pickle.dumps(conv))
    np.testing.assert_array_equal(again(given), y)
    out = np.empty_like(y)
    assert conv(given, out=out) is out
    np.testing.assert_array_equal(out, y)


@pytest.mark.parametrize("spatial", RANKS)
@pytest.mark.parametrize("last", [False, True])
def test_a_transposed_one_is_the_reference(spatial: int, last: bool) -> None:
    x, w, bias = arrays(spatial, transposed=True)
    geometry: dict[str, Any] = {"stride": 2, "padding": 1, "groups": 2, "output_padding": 1}
    expected = reference.conv_transpose(x, w, bias, **geometry)
    magnitude = reference.conv_transpose_magnitude(x, w, bias, **geometry)
    layout = LAYOUTS[spatial][last]
    conv = planned("ConvTranspose", spatial)(w, bias, **geometry, layout=layout)
    given = np.ascontiguousarray(np.moveaxis(x, 1, -1)) if last else x
    y = conv(given)
    found = np.moveaxis(y, -1, 1) if last else y
    assert (np.abs(found - expected) <= tolerance.sum_bound(magnitude, w[:, 0].size + 1)).all()
    function = getattr(fastconv, f"conv_transpose{spatial}d")
    np.testing.assert_array_equal(function(given, w, bias, **geometry, layout=layout), y)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(conv))(given), y)


@pytest.mark.torch
@pytest.mark.parametrize("spatial", RANKS)
def test_names_and_meanings_are_those_of_torch(spatial: int) -> None:
    torch = pytest.importorskip("torch")
    x, w, bias = arrays(spatial, transposed=True)
    options: dict[str, Any] = {"stride": 3, "padding": 1, "output_padding": 1, "groups": 2, "dilation": 2}
    theirs = getattr(torch.nn.functional, f"conv_transpose{spatial}d")
    expected = theirs(*(torch.from_numpy(a).double() for a in (x, w, bias)), **options)
    ours = planned("ConvTranspose", spatial)(w, bias, **options)(x)
    np.testing.assert_allclose(ours, expected.numpy(), rtol=1e-4, atol=1e-4)


def test_explain_answers_without_a_shape() -> None:
    conv = fastconv.Conv2d(normal(64, 64, 3, 3), padding=1)
    before = conv.explain()
    for size in (7, 56, 224):
        assert f"  {size}x{size}: {conv.algorithm_for((1, 64, size, size))}" in before.splitlines()
    x = normal(1, 64, 14, 14)
    conv(x)
    after = conv.explain()
    assert "as for the last call's input (1, 64, 14, 14)" in after
    assert after.splitlines()[1:] == conv.explain(x.shape).splitlines()[1:]
    integers = fastconv.QConv2d(np.ones((64, 64, 3, 3), np.int8), padding=1)
    assert f"  56x56: {integers.algorithm_for((1, 64, 56, 56))}" in integers.explain().splitlines()
    integers(np.ones((1, 64, 14, 14), np.uint8))
    assert "as for the last call's input (1, 64, 14, 14)" in integers.explain()
    one_by_one = fastconv.Conv2d(normal(8, 3, 1, 1), layout="NHWC")
    assert one_by_one.explain().startswith(f"algorithm {one_by_one.algorithm}")


@pytest.mark.parametrize("name", ["Conv1d", "Conv3d", "ConvTranspose1d", "ConvTranspose3d"])
def test_what_is_wrong_is_named(name: str) -> None:
    kind = getattr(fastconv, name)
    spatial = int(name[-2])
    with pytest.raises(fastconv.ShapeError, match=rf"w: expected {spatial + 2} dimensions"):
        kind(normal(3, 3))
    conv = kind(normal(4, 4, *(3,) * spatial))
    with pytest.raises(fastconv.ShapeError, match=rf"x: expected {spatial + 2} dimensions"):
        conv(normal(1, 4))
    with pytest.raises(fastconv.ArgumentError, match="layout: expected"):
        kind(normal(4, 4, *(3,) * spatial), layout="NCHW")
