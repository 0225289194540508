"""prune: the channels that matter least go, in multiples, and what reads them makes good for them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastconv
import small_networks
from fastconv import models
from fastconv.cli import main
from fastconv.compress import prune
from fastconv.compress.channels import traced
from fastconv.compress.refit import refitted
from fastconv.compress.samples import Samples
from fastconv.errors import ArgumentError
from fastconv.exporters.onnx import to_file
from fastconv.graph.ir import Graph
from fastconv.profiler import count

pytest.importorskip("onnx")

Array = np.ndarray[Any, Any]


@pytest.mark.parametrize("keep", [0.7, 0.4])
def test_a_share_of_the_multiplications_is_left_in_multiples(keep: float) -> None:
    graph = models.resnet18.graph(models.resnet18.random_weights())
    shape = (1, 3, 64, 64)
    result = prune(graph, keep, multiple=8, shapes=[shape])
    before, after = (count(fastconv.Model(g), shape).totals["macs"] for g in (graph, result.graph))
    assert keep - 0.05 < after / before <= keep
    written = [after for before, after in result.report.channels.values() if before != 1000]
    assert all(n % 8 == 0 for n in written)
    assert min(written) >= 8
    x = np.random.default_rng(0).standard_normal((2, *shape[1:]), np.float32)
    assert result.model()(x).shape == (2, 1000)


def chain() -> Graph:
    b = small_networks.Builder("chain")
    x = b.conv(b.input("x", ("batch", 3, 8, 8)), (8, 3, 3, 3), "first")
    b.output(b.conv(b.add("Relu", b.norm(x, 8)), (4, 8, 3, 3), "last"), "y", ("batch", 4, 8, 8))
    return b.build()


def channels_left(graph: Graph, by: str, data: Array | None = None) -> list[int]:
    """Which of the filters of the first layer are left."""
    before = graph.constants[graph.nodes[0].inputs[1]]
    result = prune(graph, 0.5, by=by, data=data, multiple=1)
    (first,) = (node for node in result.graph.nodes if node.name == "first")
    after = result.graph.constants[first.inputs[1]]
    return [next(i for i, w in enumerate(before) if (w == row).all()) for row in after]


@pytest.mark.parametrize("by", ["norm", "scale", "error"])
def test_what_matters_is_left(by: str) -> None:
    """Four of eight channels are made to matter less, in the way that is looked at."""
    graph, few = chain(), [0, 3, 4, 6]
    first, norm, _, last = graph.nodes[:4]
    if by == "norm":
        graph.constants[first.inputs[1]][few] *= 0.1
    elif by == "scale":
        graph.constants[norm.inputs[1]][few] *= 0.1
    else:
        graph.constants[last.inputs[1]][:, few] *= 0.1
    data = np.random.default_rng(0).standard_normal((8, 3, 8, 8), np.float32) if by == "error" else None
    assert channels_left(graph, by, data) == [1, 2, 5, 7]


def test_layers_make_good_for_channels_that_others_know() -> None:
    """Two channels that are the sum and the difference of two others are not missed at all."""
    b = small_networks.Builder("dependent")
    x = b.conv(b.input("x", ("batch", 3, 8, 8)), (6, 3, 3, 3), "first")
    b.output(b.conv(x, (4, 6, 3, 3), "last", pads=[0] * 4), "y", ("batch", 4, 6, 6))
    graph = b.build()
    for name in graph.nodes[0].inputs[1:]:
        array = graph.constants[name]
        array[4], array[5] = array[0] + array[1], array[2] - array[3]
    x = np.random.default_rng(0).standard_normal((16, 3, 8, 8), np.float32)
    trace = traced(graph, [(1, 3, 8, 8)])
    gone = trace.channels[graph.nodes[0].outputs[0]].sets[4:].tolist()
    fitted = refitted(trace, gone, Samples({"x": x}))
    assert not fitted.constants[fitted.nodes[1].inputs[1]][:, 4:].any()
    expected, got = fastconv.Model(graph)(x), fastconv.Model(fitted)(x)
    # Without a fit the error is as large as the result; what is left is the damping's.
    assert np.square(got - expected).mean() < 1e-3 * np.square(expected).mean()


def test_data_make_it_better(mobile: Callable[..., Graph], images: Array) -> None:
    graph = mobile()
    plain = prune(graph, 0.6, by="norm", multiple=2, shapes=[(1, 3, 32, 32)]).model()
    fitted = prune(graph, 0.6, data=images, multiple=2)
    expected = fastconv.Model(graph)(images)
    errors = [np.square(m(images) - expected).mean() for m in (plain, fitted.model())]
    assert errors[1] < 0.5 * errors[0]
    (output,) = fitted.report.outputs
    signal = np.square(expected.astype(np.float64)).sum() / np.square(fitted.model()(images) - expected).sum()
    assert output.snr == pytest.approx(10 * np.log10(signal), abs=0.1)


def test_the_command(
    mobile: Callable[..., Graph], images: Array, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    to_file(mobile(), tmp_path / "net.onnx")
    np.save(tmp_path / "x.npy", images)
    out = tmp_path / "small.onnx"
    given = ["prune", str(tmp_path / "net.onnx"), "--keep", "0.6", "--multiple", "2", "-o", str(out)]
    assert main([*given, "--data", str(tmp_path / "x.npy")]) == 0
    assert "SNR" in capsys.readouterr().out
    assert main([*given, "--input-shape", "1,3,32,32", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["macs"][1] <= 0.6 * record["macs"][0]
    assert fastconv.load(out)(images[:2]).shape == (2, 10)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"keep": 1.0}, "keep: expected a share above 0 and below 1, got 1.0"),
        ({"keep": 0.5, "by": "taste"}, "by: expected 'norm', 'scale', 'error', got 'taste'"),
        ({"keep": 0.5, "by": "error"}, "data: expected samples for by='error', got none"),
        ({"keep": 0.5, "multiple": 0}, "multiple: expected"),
        ({"keep": 0.001, "multiple": 4}, "keep: expected at least the "),
    ],
)
def test_bad_input(options: dict[str, Any], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ArgumentError) as error:
        prune(chain(), **options)
    assert message in str(error.value)
    assert main(["prune", "net.onnx", "--keep", "0.5", "-o", "small.fcm"]) == 2
    assert "--output: expected a file ending in .onnx" in capsys.readouterr().err
