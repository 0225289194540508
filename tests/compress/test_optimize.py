"""The fastest network within a budget: what the search chooses by given times, and what is written."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastconv
from fastconv.cli import main
from fastconv.compress import Optimized, optimize, quantize
from fastconv.compress.agreement import signal_to_noise
from fastconv.compress.candidates import BYTES, FLOAT, Candidates, Times
from fastconv.compress.ranges import RANGES
from fastconv.compress.rounding import observed_network, rounded_network
from fastconv.compress.samples import samples_of
from fastconv.compress.search import Point, front, search
from fastconv.errors import ArgumentError, DTypeError, ShapeError
from fastconv.exporters.onnx import to_file, to_proto
from fastconv.graph.ir import Graph
from fastconv.graph.model import Model

pytest.importorskip("onnx")

Array = np.ndarray[Any, Any]
MakeGraph = Callable[..., Graph]
LAYERS = 6  # of the fixture's network


class Known:
    """Candidates of which all is known, in the place of :class:`Candidates`."""

    def __init__(self, before: list[float], after: list[float], noise: list[float], edge: float) -> None:
        self.layers = tuple(f"layer{i}" for i in range(len(before)))
        self.before, self.after, self.noise, self.edge = before, after, noise, edge

    def all_of(self, kind: str) -> tuple[str, ...]:
        return (kind,) * len(self.layers)

    def layer_ms(self, kind: str) -> Mapping[str, float]:
        return dict(zip(self.layers, self.before if kind == FLOAT else self.after, strict=True))

    def ms(self, kinds: tuple[str, ...]) -> float:
        each = zip(self.before, self.after, kinds, strict=True)
        changes = sum(a != b for a, b in itertools.pairwise(kinds))
        return sum(b if kind == FLOAT else a for b, a, kind in each) + self.edge * changes

    def again(self, kinds: tuple[str, ...], rounds: int) -> float:
        assert rounds > 1
        return self.ms(kinds)

    def loss(self, kinds: tuple[str, ...]) -> float:
        return sum(n for n, kind in zip(self.noise, kinds, strict=True) if kind == BYTES)


def searched(known: Known, budget: float) -> list[Point]:
    alone = {name: -10 * np.log10(n) for name, n in zip(known.layers, known.noise, strict=True)}
    return search(known, alone, budget)  # type: ignore[arg-type]


TIMES = st.lists(st.floats(0.1, 10), min_size=5, max_size=5)
NOISES = st.lists(st.floats(1e-6, 1e-2), min_size=5, max_size=5)


@settings(max_examples=60, deadline=None)
@given(TIMES, TIMES, NOISES, st.floats(0, 1), st.floats(0, 0.03))
def test_never_slower_than_a_network_of_one_kind_and_within_the_budget(
    before: list[float], after: list[float], noise: list[float], edge: float, budget: float
) -> None:
    known = Known(before, after, noise, edge)
    chosen = searched(known, budget)[0]
    ends = [known.all_of(kind) for kind in (FLOAT, BYTES)]
    assert chosen.loss <= budget
    assert chosen.ms <= min(known.ms(kinds) for kinds in ends if known.loss(kinds) <= budget)


def test_each_layer_is_what_is_faster_where_nothing_else_counts() -> None:
    known = Known([3, 1, 3, 1, 3], [1, 2, 1, 2, 1], [1e-6] * 5, 0)
    assert searched(known, 0.1)[0].kinds == (BYTES, FLOAT, BYTES, FLOAT, BYTES)


def test_edges_that_cost_more_than_a_layer_gains_are_left_out() -> None:
    known = Known([3, 1.9, 3, 1.9, 3], [1, 2, 1, 2, 1], [1e-6] * 5, 0.5)
    assert searched(known, 0.1)[0].kinds == (BYTES,) * 5


def test_what_gains_most_for_what_it_loses_is_taken_first() -> None:
    known = Known([4, 4, 4], [1, 3, 2], [0.02, 0.001, 0.004], 0)
    assert searched(known, 0.005)[0].kinds == (FLOAT, BYTES, BYTES)


def test_the_front_has_no_point_that_another_beats() -> None:
    points = searched(Known([4, 4, 4], [1, 3, 2], [0.02, 0.001, 0.004], 0), 1.0)
    found = front(points)
    assert [p.ms for p in found] == sorted(p.ms for p in found)
    assert [p.loss for p in found] == sorted((p.loss for p in found), reverse=True)
    assert found[0].kinds == (BYTES,) * 3
    assert found[-1].kinds == (FLOAT,) * 3


@pytest.fixture(scope="module")
def candidates(mobile: MakeGraph, images: Array) -> Candidates:
    graph = mobile()
    samples = samples_of(images, graph)
    network = observed_network(graph, samples, (), (), equalize=True)
    rounded = rounded_network(network, samples, RANGES, portable=True, compensate=True, correct=True)
    return Candidates(network.graph, rounded, samples, Times(), ((), ()))


def test_any_mixture_of_kinds_is_near_the_float_network(
    mobile: MakeGraph, images: Array, candidates: Candidates
) -> None:
    """Of the 64 there are; its loss is that of the network which is written."""
    expected = Model(mobile())(images)
    for kinds in itertools.product((FLOAT, BYTES), repeat=LAYERS):
        graph = candidates.graph(kinds)
        got = Model(graph)(images)
        assert signal_to_noise(expected, got) > 25
        noise = (
            np.square(got.astype(np.float64) - expected).sum() / np.square(expected, dtype=np.float64).sum()
        )
        assert candidates.loss(kinds) == pytest.approx(noise, rel=0.02, abs=1e-9)
        integers = sum(node.op in ("Conv", "Gemm") and node.inputs[1] not in graph.constants
                       for node in graph.nodes)  # fmt: skip
        assert integers == kinds.count(BYTES)


@pytest.fixture(scope="module")
def timed(candidates: Candidates) -> dict[str, Any]:
    """A record by which all layers but the stem are faster in 8 bits."""
    names = candidates.layers

    def ms(i: int, kind: str) -> float:
        return 2.0 if (kind == FLOAT) == (i != 0) else 1.0

    networks = {}
    for key in map("".join, itertools.product("fi", repeat=len(names))):
        total = sum(ms(i, FLOAT if letter == "f" else BYTES) for i, letter in enumerate(key))
        networks |= {key: total, f"{key}*10": total}
    layers = {kind: {name: ms(i, kind) for i, name in enumerate(names)} for kind in (FLOAT, BYTES)}
    return {"layers": layers, "networks": networks}


@pytest.fixture(scope="module")
def result(mobile: MakeGraph, images: Array, timed: dict[str, Any]) -> Optimized:
    return optimize(mobile(), images, budget=0.01, times=timed)


def test_recorded_times_decide(result: Optimized) -> None:
    assert result.chosen.kinds == (FLOAT, *[BYTES] * (LAYERS - 1))
    assert result.chosen.ms == LAYERS
    assert result.chosen.loss <= 0.01
    elements = [layer.elements for layer in result.report.layers]
    assert elements[0] == "f32"
    assert all(text.startswith("u8 x s8") for text in elements[1:])


def test_the_same_record_gives_the_same_file(mobile: MakeGraph, images: Array, result: Optimized) -> None:
    again = optimize(mobile(), images, budget=0.01, times=json.loads(json.dumps(result.times)))
    assert to_proto(again.graph).SerializeToString() == to_proto(result.graph).SerializeToString()
    assert again.times == result.times


def test_no_budget_is_the_float_network(mobile: MakeGraph, images: Array, timed: dict[str, Any]) -> None:
    found = optimize(mobile(), images, budget=0, times=timed)
    assert found.chosen.kinds == (FLOAT,) * LAYERS
    np.testing.assert_allclose(found.model()(images), Model(mobile())(images), rtol=1e-4, atol=1e-5)


def test_layers_that_are_excluded_are_never_bytes(mobile: MakeGraph, images: Array) -> None:
    found = optimize(mobile(), images[:4], exclude=["depthwise"])
    assert len(found.layers) == LAYERS - 1
    assert "excluded" in found.report.kept.values()


def test_its_own_times_keep_to_the_budget_too(mobile: MakeGraph, images: Array) -> None:
    found = optimize(mobile(), images, budget=1e-5)
    assert found.chosen.loss <= 1e-5
    assert any("all in float" in line for line in found.lines())


@pytest.mark.ort
def test_onnx_runtime_runs_the_file(result: Optimized, images: Array, tmp_path: Path) -> None:
    ort = pytest.importorskip("onnxruntime")
    result.save(tmp_path / "net.onnx")
    session = ort.InferenceSession(str(tmp_path / "net.onnx"), providers=["CPUExecutionProvider"])
    (theirs,) = session.run(None, {"x": images})
    assert signal_to_noise(theirs, result.model()(images)) > 30


@pytest.mark.parametrize("suffix", [".onnx", ".fcm"])
def test_the_command(
    suffix: str, mobile: MakeGraph, images: Array, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    to_file(mobile(), tmp_path / "net.onnx")
    np.save(tmp_path / "x.npy", images)
    out, times = tmp_path / f"out{suffix}", tmp_path / "times.json"
    given = ["optimize", str(tmp_path / "net.onnx"), "--data", str(tmp_path / "x.npy"), "-o", str(out)]
    assert main([*given, "--budget", "1%", "--times", str(times), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["chosen"]["loss"] <= 0.01
    assert signal_to_noise(Model(mobile())(images[:1]), fastconv.load(out)(images[:1])) > 15
    assert main([*given, "--times", str(times)]) == 0
    text = capsys.readouterr().out
    assert "chosen" in text
    assert "all in 8 bits" in text


def test_what_is_refused(mobile: MakeGraph, images: Array, tmp_path: Path) -> None:
    graph = mobile()
    with pytest.raises(ArgumentError, match=r"budget: expected a share from 0 up to 1, got 20"):
        optimize(graph, images, budget=20)
    with pytest.raises(DTypeError, match="budget: expected a number"):
        optimize(graph, images, budget="1%")  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match=r"times: expected a record of times"):
        optimize(graph, images, times={"layers": {}})
    with pytest.raises(ArgumentError, match=r"data: expected at least one sample, got none"):
        optimize(graph, images[:0])
    with pytest.raises(ShapeError, match=r"data: expected samples of shape"):
        optimize(graph, images[:, :2])
    with pytest.raises(ArgumentError, match=r"data: expected finite numbers .*, got NaN"):
        optimize(graph, np.full_like(images, np.nan))
    with pytest.raises(ArgumentError, match=r"quantised already"):
        optimize(quantize(graph, images[:4]).graph, images)
    assert main(["optimize", "net.onnx", "--data", str(tmp_path), "-o", str(tmp_path / "net.txt")]) == 2
