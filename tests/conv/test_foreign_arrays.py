"""Arrays whose memory is not what they stand for: masked ones, torch's lazy negatives and conjugates."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import fastconv
from fastconv.importers.weights import read_weights

X = np.arange(48, dtype=np.float32).reshape(1, 3, 4, 4)
W = np.ones((2, 3, 3, 3), np.float32)


def masked(x, count=1):
    mask = np.zeros(x.shape, bool)
    mask.reshape(-1)[:count] = True
    return np.ma.array(x, mask=mask)


def test_masked_elements_are_refused():
    for call, name, count in (
        (lambda: fastconv.conv2d(masked(X), W), "x", 48),
        (lambda: fastconv.conv2d(X, masked(W)), "w", 54),
        (lambda: fastconv.Conv2d(masked(W)), "w", 54),
        (lambda: fastconv.relu(masked(X)), "x", 48),
        (lambda: fastconv.gemm(masked(X[0, 0]), X[0, 0]), "a", 16),
        (lambda: fastconv.relu(X, out=masked(X.copy())), "out", 48),
    ):
        message = f"^{name}: expected an array without masked elements, got 1 of {count}"
        with pytest.raises(fastconv.DTypeError, match=message):
            call()
    with pytest.raises(fastconv.DTypeError, match=r"features.0.weight: expected an array without masked"):
        read_weights({"features.0.weight": masked(W)})


def test_a_mask_that_hides_nothing_is_taken():
    want = fastconv.conv2d(X, W)
    np.testing.assert_array_equal(fastconv.conv2d(masked(X, 0), np.ma.array(W)), want)


@pytest.mark.torch
def test_lazy_tensors_are_refused():
    torch = pytest.importorskip("torch")
    conjugate = torch.complex(torch.zeros(X.shape), -torch.from_numpy(X)).conj()
    assert conjugate.imag.is_neg()
    assert torch.equal(conjugate.imag, torch.from_numpy(X))
    message = r"x: expected numbers as they lie in memory, got a tensor for resolve_neg\(\)"
    with pytest.raises(fastconv.DTypeError, match=message):
        fastconv.conv2d(conjugate.imag, W)
    with pytest.raises(fastconv.DTypeError, match=r"x: .*resolve_conj\(\)"):
        fastconv.conv2d(conjugate, W)
    np.testing.assert_array_equal(fastconv.conv2d(conjugate.imag.resolve_neg(), W), fastconv.conv2d(X, W))


@pytest.mark.torch
def test_lazy_tensors_in_files_are_refused(tmp_path: Path):
    torch = pytest.importorskip("torch")
    lazy = torch.complex(torch.zeros(3), torch.ones(3)).conj().imag
    torch.save({"w": lazy}, tmp_path / "lazy.pth")
    with pytest.raises(
        fastconv.ModelError, match=r"a tensor: expected its numbers as they are, got one .* neg"
    ):
        read_weights(tmp_path / "lazy.pth")
    torch.save({"w": lazy.resolve_neg()}, tmp_path / "plain.pth")
    np.testing.assert_array_equal(read_weights(tmp_path / "plain.pth")["w"], [-1, -1, -1])
