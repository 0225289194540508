"""Functions that are thin over kernels, against torch in float64; tests/adversarial has what they refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastconv

torch = pytest.importorskip("torch")
F = torch.nn.functional
pytestmark = pytest.mark.torch


def normal(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def wide(*arrays: Any) -> list[Any]:
    return [torch.from_numpy(np.ascontiguousarray(a)).double() for a in arrays]


def same(got: Any, expected: Any) -> None:
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, expected.numpy(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("spatial", [1, 2, 3])
def test_normalisations(spatial: int) -> None:
    x = 3 * normal(2, 12, *(5, 6, 4)[:spatial]) + 1
    for image in (x, x[:, ::-1].swapaxes(0, 1).swapaxes(0, 1), np.asfortranarray(x)):
        weight, bias = normal(12, seed=1), normal(12, seed=2)
        groups = F.group_norm(*wide(image), 3, *wide(weight, bias))
        same(fastconv.group_norm(image, 3, weight, bias), groups)
        same(fastconv.instance_norm(image), F.instance_norm(*wide(image)))
        last = normal(image.shape[-1], seed=3)
        same(fastconv.layer_norm(image, last), F.layer_norm(*wide(image), last.shape, *wide(last)))
    out = np.empty_like(x)
    assert fastconv.group_norm(x, 4, out=out) is out
    same(out, F.group_norm(*wide(x), 4))


@pytest.mark.parametrize("leading", [(), (7,), (2, 3, 4)])
def test_linear(leading: tuple[int, ...]) -> None:
    x, w, bias = normal(*leading, 33), normal(10, 33, seed=1), normal(10, seed=2)
    same(fastconv.linear(x, w, bias, activation="relu"), F.relu(F.linear(*wide(x, w, bias))))
    out = np.empty((*leading, 10), np.float32)
    assert fastconv.linear(x, w, out=out) is out
    same(out, F.linear(*wide(x, w)))


@pytest.mark.parametrize(("k", "stride", "padding"), [(2, None, 0), (3, 2, 1), (5, 1, 2)])
def test_pools_of_sequences(k: int, stride: int | None, padding: int) -> None:
    x = normal(2, 6, 23)
    same(fastconv.max_pool1d(x, k, stride, padding), F.max_pool1d(*wide(x), k, stride, padding))
    expected = F.avg_pool1d(*wide(x), k, stride, padding, True, False)
    same(fastconv.avg_pool1d(x, k, stride, padding, True, False), expected)
    last = np.ascontiguousarray(x.transpose(0, 2, 1))
    got = fastconv.max_pool1d(last, k, stride, padding, dilation=2, layout="NWC")
    same(got.transpose(0, 2, 1), F.max_pool1d(*wide(x), k, stride, padding, 2))
