"""The fastest network within a budget: what the search chooses by given times, and what is written."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
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
from fastconv.compress.candidates import BF16, BYTES, FLOAT, Candidates, Times
from fastconv.compress.ranges import RANGES
from fastconv.compress.rounding import observed_network, rounded_network
from fastconv.compress.samples import samples_of
from fastconv.compress.search import Point, front, search
from fastconv.errors import ArgumentError, DTypeError, ShapeError
from fastconv.exporters.onnx import to_file, to_proto
from fastconv.graph.ir import Graph, GraphBuilder
from fastconv.graph.model import Model
from fastconv.graph.passes import run_passes

pytest.importorskip("onnx")

Array = np.ndarray[Any, Any]
MakeGraph = Callable[..., Graph]
LAYERS = 6  # of the fixture's network


class Known:
    """Candidates of which all is known, in the place of :class:`Candidates`: times and noises by kind."""

    def __init__(
        self, times: Mapping[str, list[float]], noises: Mapping[str, list[float]], edge: float = 0
    ) -> None:
        self.layers = tuple(f"layer{i}" for i in range(len(times[FLOAT])))
        self.kinds = tuple(times)
        self.times, self.edge = times, edge
        self.noises = {FLOAT: [0.0] * len(self.layers), **noises}

    def choices(self, layer: str) -> tuple[str, ...]:
        assert layer in self.layers
        return self.kinds

    def all_of(self, kind: str) -> tuple[str, ...]:
        return (kind,) * len(self.layers)

    def layer_ms(self, kind: str) -> Mapping[str, float]:
        return dict(zip(self.layers, self.times[kind], strict=True))

    def ms(self, kinds: tuple[str, ...]) -> float:
        changes = sum((a == BYTES) != (b == BYTES) for a, b in itertools.pairwise(kinds))
        return sum(self.times[kind][i] for i, kind in enumerate(kinds)) + self.edge * changes

    def again(self, kinds: tuple[str, ...], rounds: int) -> float:
        assert rounds > 1
        return self.ms(kinds)

    def loss(self, kinds: tuple[str, ...]) -> float:
        return sum(self.noises[kind][i] for i, kind in enumerate(kinds))


def two_kinds(before: list[float], after: list[float], noise: list[float], edge: float = 0) -> Known:
    return Known({FLOAT: before, BYTES: after}, {BYTES: noise}, edge)


def searched(known: Known, budget: float) -> list[Point]:
    alone = {
        kind: {name: -10 * np.log10(n) for name, n in zip(known.layers, noise, strict=True)}
        for kind, noise in known.noises.items()
        if kind != FLOAT
    }
    return search(known, alone, budget)  # type: ignore[arg-type]


TIMES = st.lists(st.floats(0.1, 10), min_size=5, max_size=5)
NOISES = st.lists(st.floats(1e-6, 1e-2), min_size=5, max_size=5)


@settings(max_examples=60, deadline=None)
@given(st.lists(TIMES, min_size=3, max_size=3), NOISES, st.floats(0, 1), st.floats(0, 0.03))
def test_never_slower_than_a_network_of_one_kind_and_within_the_budget(
    times: list[list[float]], noise: list[float], edge: float, budget: float
) -> None:
    kinds = FLOAT, BF16, BYTES
    noises = {BYTES: noise, BF16: [n / 100 for n in noise]}
    known = Known(dict(zip(kinds, times, strict=True)), noises, edge)
    chosen = searched(known, budget)[0]
    ends = [known.all_of(kind) for kind in kinds]
    assert chosen.loss <= budget
    assert chosen.ms <= min(known.ms(kinds) for kinds in ends if known.loss(kinds) <= budget)


def test_each_layer_is_what_is_faster_where_nothing_else_counts() -> None:
    known = two_kinds([3, 1, 3, 1, 3], [1, 2, 1, 2, 1], [1e-6] * 5)
    assert searched(known, 0.1)[0].kinds == (BYTES, FLOAT, BYTES, FLOAT, BYTES)
    times = {FLOAT: [3.0, 1, 3, 1, 3], BF16: [2.0, 2, 1, 3, 1], BYTES: [1.0, 3, 2, 3, 2]}
    three = Known(times, {BF16: [1e-7] * 5, BYTES: [1e-6] * 5})
    assert searched(three, 0.1)[0].kinds == (BYTES, FLOAT, BF16, FLOAT, BF16)


def test_edges_that_cost_more_than_a_layer_gains_are_left_out() -> None:
    known = two_kinds([3, 1.9, 3, 1.9, 3], [1, 2, 1, 2, 1], [1e-6] * 5, 0.5)
    assert searched(known, 0.1)[0].kinds == (BYTES,) * 5


def test_what_gains_most_for_what_it_loses_is_taken_first() -> None:
    known = two_kinds([4, 4, 4], [1, 3, 2], [0.02, 0.001, 0.004])
    assert searched(known, 0.005)[0].kinds == (FLOAT, BYTES, BYTES)


def test_layers_whose_bytes_are_beyond_the_budget_are_of_bf16() -> None:
    times = {FLOAT: [4.0, 4, 4], BF16: [2.0, 2, 2], BYTES: [1.0, 1, 1]}
    known = Known(times, {BF16: [1e-5] * 3, BYTES: [0.02, 0.001, 0.001]})
    assert searched(known, 0.005)[0].kinds == (BF16, BYTES, BYTES)
    assert searched(known, 5e-5)[0].kinds == (BF16, BF16, BF16)
    assert searched(known, 0)[0].kinds == (FLOAT, FLOAT, FLOAT)
    assert searched(known, 0.1)[0].kinds == (BYTES, BYTES, BYTES)


def test_without_bytes_layers_are_of_floats_and_bf16() -> None:
    known = Known({FLOAT: [4.0, 1, 4], BF16: [2.0, 2, 2]}, {BF16: [1e-5] * 3})
    assert searched(known, 0.01)[0].kinds == (BF16, FLOAT, BF16)


def test_the_front_has_no_point_that_another_beats() -> None:
    points = searched(two_kinds([4, 4, 4], [1, 3, 2], [0.02, 0.001, 0.004]), 1.0)
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
    """Its loss is that of the network which is written."""
    expected = Model(mobile())(images)
    some = list(itertools.product((FLOAT, BYTES), repeat=LAYERS))
    some += itertools.islice(itertools.product((BF16, BYTES, FLOAT), repeat=LAYERS), 0, None, 29)
    for kinds in some:
        graph = candidates.graph(kinds)
        got = Model(graph)(images)
        assert signal_to_noise(expected, got) > 25
        noise = (
            np.square(got.astype(np.float64) - expected).sum() / np.square(expected, dtype=np.float64).sum()
        )
        assert candidates.loss(kinds) == pytest.approx(noise, rel=0.02, abs=1e-9)
        writers = {node.outputs[0]: node.op for node in graph.nodes}
        of_weights = [writers.get(n.inputs[1], "") for n in graph.nodes if n.op in ("Conv", "Gemm")]
        assert of_weights.count("DequantizeLinear") == kinds.count(BYTES)
        assert of_weights.count("Cast") == kinds.count(BF16)


@pytest.fixture(scope="module")
def timed(candidates: Candidates) -> dict[str, Any]:
    """A record by which the stem is the fastest in floats, the second layer in bf16, the others in 8 bits.

    The third, which is depthwise, is never in bf16.
    """
    names = candidates.layers
    ms = {"f": [1.0, 3, 2, 2, 2, 2], "b": [2.0, 1, 0, 2, 2, 2], "i": [2.0, 2, 1, 1, 1, 1]}
    networks = {}
    for key in map("".join, itertools.product("fbi", repeat=len(names))):
        total = sum(ms[letter][i] for i, letter in enumerate(key))
        networks |= {key: total, f"{key}*10": total}
    layers = {
        kind: {name: ms[letter][i] for i, name in enumerate(names) if ms[letter][i]}
        for kind, letter in ((FLOAT, "f"), (BF16, "b"), (BYTES, "i"))
    }
    return {"layers": layers, "networks": networks}


@pytest.fixture(scope="module")
def result(mobile: MakeGraph, images: Array, timed: dict[str, Any]) -> Optimized:
    return optimize(mobile(), images, budget=0.01, times=timed)


def test_recorded_times_decide(result: Optimized) -> None:
    assert result.chosen.kinds == (FLOAT, BF16, *[BYTES] * (LAYERS - 2))
    assert result.chosen.ms == LAYERS
    assert result.chosen.loss <= 0.01
    assert (result.chosen.in_bf16, result.chosen.in_bytes) == (1, LAYERS - 2)
    first, second, *others = (layer.elements for layer in result.report.layers)
    assert (first, second) == ("f32", "bf16")
    assert all(text.startswith("u8 x s8") for text in others)
    assert [cost.kind for cost in result.costs] == list(result.chosen.kinds)


def test_a_layer_of_bf16_has_numbers_of_bf16_in_the_file(result: Optimized) -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    narrow = [array for array in result.graph.constants.values() if array.dtype == ml_dtypes.bfloat16]
    assert [array.shape for array in narrow] == [(32, 16, 1, 1)]
    assert [node.op for node in run_passes(result.graph).nodes].count("Bf16Conv") == 1


@pytest.mark.parametrize(
    ("elements", "kinds"),
    [
        (["int8"], (FLOAT, *[BYTES] * (LAYERS - 1))),
        ({"bf16"}, (FLOAT, BF16, *[FLOAT] * (LAYERS - 2))),
    ],
    ids=["int8", "bf16"],
)
def test_what_is_tried_can_be_said(
    elements: Any, kinds: tuple[str, ...], mobile: MakeGraph, images: Array, timed: dict[str, Any]
) -> None:
    found = optimize(mobile(), images[:8], times=timed, elements=elements)
    assert found.chosen.kinds == kinds
    assert {kind for point in found.points for kind in point.kinds} <= {FLOAT, *elements}


def test_a_network_of_an_older_opset_is_written_in_one_that_has_bf16(images: Array) -> None:
    rng = np.random.default_rng(0)
    b = GraphBuilder(
        "old", {f"w{i}": rng.standard_normal((8, c, 3, 3), np.float32) for i, c in ((0, 3), (1, 8))}
    )
    y = b.add("Relu", b.add("Conv", b.input("x", ("batch", 3, 32, 32)), "w0"))
    b.output(b.add("Conv", y, "w1"), "y", ("batch", 8, 28, 28))
    graph = b.build()
    graph = replace(graph, nodes=tuple(replace(node, opset=11) for node in graph.nodes))
    layers = ["Conv_0:out", "y"]
    networks = {"ff": 4.0, "fb": 3.0, "bf": 3.0, "bb": 2.0}
    times = {
        "layers": {FLOAT: dict.fromkeys(layers, 2.0), BF16: dict.fromkeys(layers, 1.0)},
        "networks": networks | {f"{key}*10": ms for key, ms in networks.items()},
    }
    found = optimize(graph, images[:2], times=times, elements=["bf16"])
    assert found.chosen.kinds == (BF16, BF16)
    assert [opset.version for opset in to_proto(found.graph).opset_import] == [13]
    assert signal_to_noise(Model(graph)(images), found.model()(images)) > 40


def test_it_is_said_where_bf16_was_not_tried(mobile: MakeGraph, images: Array, timed: dict[str, Any]) -> None:
    none = {**timed, "layers": {**timed["layers"], BF16: {}}}
    found = optimize(mobile(), images[:8], times=none)
    assert found.chosen.kinds == (FLOAT, *[BYTES] * (LAYERS - 1))
    assert any("no layer was tried in bf16" in line for line in found.lines())
    assert found.times["layers"][BF16] == {}


def test_the_same_record_gives_the_same_file(mobile: MakeGraph, images: Array, result: Optimized) -> None:
    again = optimize(mobile(), images, budget=0.01, times=json.loads(json.dumps(result.times)))
    assert to_proto(again.graph).SerializeToString() == to_proto(result.graph).SerializeToString()
    assert again.times == result.times


def test_no_budget_is_the_float_network(mobile: MakeGraph, images: Array, timed: dict[str, Any]) -> None:
    found = optimize(mobile(), images, budget=0, times=timed)
    assert found.chosen.kinds == (FLOAT,) * LAYERS
    np.testing.assert_allclose(found.model()(images), Model(mobile())(images), rtol=1e-4, atol=1e-5)


def test_layers_that_are_excluded_are_never_bytes(mobile: MakeGraph, images: Array) -> None:
    found = optimize(mobile(), images[:4], exclude=["depthwise"], elements=["int8"])
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


@pytest.mark.parametrize(("suffix", "elements"), [(".onnx", "bf16,int8"), (".fcm", "bf16")])
def test_the_command(
    suffix: str,
    elements: str,
    mobile: MakeGraph,
    images: Array,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    to_file(mobile(), tmp_path / "net.onnx")
    np.save(tmp_path / "x.npy", images)
    out, times = tmp_path / f"out{suffix}", tmp_path / "times.json"
    given = ["optimize", str(tmp_path / "net.onnx"), "--data", str(tmp_path / "x.npy"), "-o", str(out)]
    given += ["--elements", elements]
    assert main([*given, "--budget", "1%", "--times", str(times), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["chosen"]["loss"] <= 0.01
    assert signal_to_noise(Model(mobile())(images[:1]), fastconv.load(out)(images[:1])) > 15
    assert main([*given, "--times", str(times)]) == 0
    text = capsys.readouterr().out
    assert "chosen" in text
    assert ("all in 8 bits" in text) == ("int8" in elements)


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
    with pytest.raises(ArgumentError, match=r"elements: expected some of bf16, int8, got \['f16'\]"):
        optimize(graph, images, elements=["f16"])
    with pytest.raises(ArgumentError, match=r"elements: expected some of bf16, int8, got \[\]"):
        optimize(graph, images, elements=[])
    with pytest.raises(DTypeError, match=r"elements: expected a collection of names, got 'int8'"):
        optimize(graph, images, elements="int8")
    given = ["optimize", "net.onnx", "--data", str(tmp_path), "-o"]
    assert main([*given, str(tmp_path / "net.txt")]) == 2
    assert main([*given, str(tmp_path / "net.onnx"), "--elements", "f64"]) == 2
