"""Networks of 8 bits of networks of floats: what is written, what runs it, and how near it comes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastconv
from fastconv.compress import Quantized, quantize
from fastconv.compress.agreement import agreement, signal_to_noise
from fastconv.compress.prepare import prepared
from fastconv.compress.samples import samples_of
from fastconv.errors import ArgumentError, DTypeError, ModelError, ShapeError
from fastconv.exporters.onnx import to_file, to_proto
from fastconv.graph.ir import Graph, GraphBuilder, Node
from fastconv.graph.model import Model

onnx = pytest.importorskip("onnx")

Array = np.ndarray[Any, Any]
MakeGraph = Callable[..., Graph]


@pytest.fixture(scope="module")
def graph(mobile: MakeGraph) -> Graph:
    return mobile()


@pytest.fixture(scope="module")
def result(graph: Graph, images: Array) -> Quantized:
    return quantize(graph, images)


def kinds_of(result: Quantized, x: Array) -> list[str]:
    """The kinds of the steps that run for one sample."""
    stages = result.model().program((1, *x.shape[1:])).stages
    return [step.kind for stage in stages for step in stage.steps]


def test_it_is_near_the_float_network(graph: Graph, images: Array, result: Quantized) -> None:
    expected = Model(graph)(images)
    assert signal_to_noise(expected, result.model()(images)) > 25
    (output,) = result.report.outputs
    assert output.snr == pytest.approx(signal_to_noise(expected, result.model()(images)), abs=0.5)
    assert output.samples == 24
    assert output.top1 is not None
    assert output.top1 >= 0.9


def test_every_layer_runs_on_integers(images: Array, result: Quantized) -> None:
    kinds = kinds_of(result, images)
    assert kinds.count("integer_conv") == 6
    assert "conv" not in kinds
    # One conversion at the input; none between layers.
    assert kinds.count("quantize") == 1


def test_the_file_is_what_its_words_mean(result: Quantized, images: Array, tmp_path: Path) -> None:
    """Of the nodes as they are written, in floats: by the passes that make integers of them left out."""
    result.save(tmp_path / "net.onnx")
    integers = fastconv.load(tmp_path / "net.onnx")(images)
    floats = fastconv.load(tmp_path / "net.onnx", passes="none")(images)
    step = np.abs(floats).max() / 100
    assert np.abs(integers - floats).max() < step


@pytest.mark.ort
def test_onnx_runtime_runs_the_file(result: Quantized, images: Array, tmp_path: Path) -> None:
    ort = pytest.importorskip("onnxruntime")
    result.save(tmp_path / "net.onnx")
    session = ort.InferenceSession(str(tmp_path / "net.onnx"), providers=["CPUExecutionProvider"])
    (theirs,) = session.run(None, {"x": images})
    assert signal_to_noise(theirs, result.model()(images)) > 30


@pytest.mark.peers
def test_openvino_runs_the_file(result: Quantized, images: Array, tmp_path: Path) -> None:
    openvino = pytest.importorskip("openvino")
    result.save(tmp_path / "net.onnx")
    compiled = openvino.Core().compile_model(str(tmp_path / "net.onnx"), "CPU")
    theirs = compiled(images)[0]
    assert signal_to_noise(theirs, result.model()(images)) > 30


def test_no_pair_of_weights_saturates(graph: Graph, images: Array, result: Quantized) -> None:
    layers = [layer for layer in result.report.layers if layer.elements.startswith("u8")]
    assert sum(layer.saturating for layer in layers) == 0
    counted = fastconv.count(result.model(), images.shape)
    assert sum(layer.saturating_pairs for layer in counted.layers) == 0
    loose = quantize(graph, images, portable=False)
    counted = fastconv.count(loose.model(), images.shape)
    assert sum(layer.saturating_pairs for layer in counted.layers) > 0


def test_weights_biases_and_zero_points_are_as_quantisers_write_them(result: Quantized) -> None:
    dequantized = [node for node in result.graph.nodes if node.op == "DequantizeLinear"]
    types = {result.graph.constants[node.inputs[0]].dtype.name
             for node in dequantized if node.inputs[0] in result.graph.constants}  # fmt: skip
    assert types == {"int8", "int32"}
    for node in dequantized:
        array = result.graph.constants.get(node.inputs[0])
        if array is not None and array.dtype == np.int8:
            assert not result.graph.constants[node.inputs[2]].any()
            assert result.graph.constants[node.inputs[1]].shape == (array.shape[node.attrs["axis"]],)
    onnx.checker.check_model(to_proto(result.graph), full_check=True)


def test_correction_takes_the_mean_error_away(graph: Graph, images: Array) -> None:
    """Coarse weights shift the mean of a channel; its bias takes that back."""
    expected = Model(graph)(images)

    def shift(correct: bool) -> float:
        y = quantize(graph, images, correct=correct, equalize=False).model()(images)
        return float(np.abs((y - expected).mean(0)).sum())

    assert shift(True) < 0.5 * shift(False)


def test_layers_left_in_float(graph: Graph, images: Array) -> None:
    by_name = quantize(graph, images, exclude=["depthwise"])
    assert kinds_of(by_name, images).count("conv") == 1
    assert list(by_name.report.kept.values()) == ["excluded"]
    by_operator = quantize(graph, images, exclude_ops=["Conv"])
    assert kinds_of(by_operator, images).count("conv") == 5
    with pytest.raises(ArgumentError, match=r"exclude: expected names of nodes .*, got 'deep'"):
        quantize(graph, images, exclude=["deep"])


def test_everything_in_float_is_the_float_network(graph: Graph, images: Array) -> None:
    found = quantize(graph, images, exclude_ops=["Conv", "Gemm"])
    np.testing.assert_allclose(found.model()(images), Model(graph)(images), rtol=1e-4, atol=1e-5)


def test_it_is_the_same_each_time(graph: Graph, images: Array, result: Quantized) -> None:
    again = quantize(graph, images)
    assert to_proto(again.graph).SerializeToString() == to_proto(result.graph).SerializeToString()


def test_files_and_models_are_taken(graph: Graph, images: Array, tmp_path: Path) -> None:
    to_file(graph, tmp_path / "net.onnx")
    first = quantize(tmp_path / "net.onnx", images[:4])
    second = fastconv.quantize(fastconv.load(tmp_path / "net.onnx"), images[:4])
    assert to_proto(first.graph).SerializeToString() == to_proto(second.graph).SerializeToString()


def test_an_older_opset_is_brought_up(images: Array) -> None:
    text = """<ir_version: 7, opset_import: ["": 11]>
    old (float[N, 3, 32, 32] x) => (float[N, 4, 30, 30] y) { a = Conv(x, w) y = Relu(a) }"""
    model = onnx.parser.parse_model(text)
    w = np.random.default_rng(0).standard_normal((4, 3, 3, 3), np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(w, "w"))
    loaded = fastconv.load(model)
    found = quantize(loaded, images)
    assert {node.opset for node in found.graph.nodes} == {13}
    assert signal_to_noise(loaded(images), found.model()(images)) > 25


def test_products_with_a_sum_behind_them(images: Array) -> None:
    rng = np.random.default_rng(1)
    constants = {"w": rng.standard_normal((3072, 8)).astype(np.float32), "b": np.arange(8, dtype=np.float32)}
    b = GraphBuilder("matrix", constants)
    y = b.add("MatMul", b.add("Flatten", b.input("x", ("batch", 3, 32, 32))), "w", name="product")
    b.output(b.add("Add", y, "b", name="shift"), "y", ("batch", 8))
    found = quantize(b.build(), images)
    assert signal_to_noise(Model(b.build())(images), found.model()(images)) > 25
    assert kinds_of(found, images) == ["quantize", "integer_conv"]  # nothing is rounded behind it


def test_products_of_stacks_of_matrices(images: Array) -> None:
    rng = np.random.default_rng(2)
    constants = {"w": rng.standard_normal((32, 8)).astype(np.float32), "b": np.arange(8, dtype=np.float32)}
    b = GraphBuilder("stack", constants)
    y = b.add("MatMul", b.input("x", ("batch", 3, 32, 32)), "w", name="product")
    b.output(b.add("Add", y, "b", name="shift"), "y", ("batch", 3, 32, 8))
    found = quantize(b.build(), images)
    assert signal_to_noise(Model(b.build())(images), found.model()(images)) > 25
    assert [node.op for node in found.graph.nodes].count("MatMul") == 1


def test_preparing_changes_nothing(graph: Graph, images: Array) -> None:
    after = prepared(graph, samples_of(images, graph))
    np.testing.assert_allclose(Model(after)(images), Model(graph)(images), rtol=1e-4, atol=1e-5)
    assert "BatchNormalization" not in {node.op for node in after.nodes}


def test_a_quantised_network_is_refused(result: Quantized, images: Array) -> None:
    with pytest.raises(
        ArgumentError, match=r"expected a network of floats, got one that is quantised .*Linear"
    ):
        quantize(result.graph, images)


@pytest.mark.parametrize(
    ("model", "error", "message"),
    [
        (5, DTypeError, "model: expected a Model, a Graph or the path of a .onnx file, got 5"),
        ("weights.pth", ModelError, r"weights\.pth: expected a \.onnx file or a model, got '\.pth'"),
        ("missing.onnx", ModelError, r"missing\.onnx: expected a readable file"),
    ],
)
def test_models_that_are_none(model: Any, error: type[Exception], message: str, images: Array) -> None:
    with pytest.raises(error, match=message):
        quantize(model, images)


def test_options_that_are_wrong(graph: Graph, images: Array) -> None:
    with pytest.raises(ArgumentError, match=r"ranges: expected 'auto', .*, got 'best'"):
        quantize(graph, images, ranges="best")
    with pytest.raises(ShapeError, match="labels: expected 24, one a sample, got 2"):
        quantize(graph, images, labels=[1, 2])
    with pytest.raises(ArgumentError, match="data: expected at least one sample"):
        quantize(graph, images[:0])


def test_the_report(graph: Graph, images: Array) -> None:
    labels = Model(graph)(images).argmax(1)
    report = quantize(graph, images, labels=labels.tolist(), timed=True).report
    assert [layer.name for layer in report.layers] == [
        "stem",
        "expand",
        "depthwise",
        "project",
        "last",
        "classifier",
    ]
    assert all(layer.snr > 20 for layer in report.layers)
    assert all(layer.before and layer.after for layer in report.layers)
    assert report.outputs[0].accuracy is not None
    assert report.outputs[0].accuracy[0] == 1
    text = str(report)
    assert "depthwise" in text
    assert "accuracy 100.0% -> " in text
    assert set(report.as_dict()) == {"layers", "outputs", "kept", "remarks"}


def test_agreement_of_classifiers() -> None:
    a = np.array([[5.0, 1, 0, 0, 0, 0], [0, 5, 1, 0, 0, 0], [0, 0, 5, 1, 0, 0], [0, 0, 0, 5, 1, 0]])
    b = a.copy()
    b[0, :2] = 1, 5
    found = agreement("y", a, b)
    assert found.top1 == 0.75
    probability = np.exp(a) / np.exp(a).sum(1, keepdims=True)
    other = np.exp(b) / np.exp(b).sum(1, keepdims=True)
    assert found.kl == pytest.approx((probability * np.log(probability / other)).sum(1).mean(), rel=1e-6)
    assert found.probability == pytest.approx(np.abs(probability - other).max())
    assert agreement("y", a, a).snr == np.inf
    assert agreement("y", probability, other).kl == pytest.approx(found.kl, rel=1e-6)


def test_values_shared_by_several_readers_are_converted_once(result: Quantized) -> None:
    converted = [node.inputs[0] for node in result.graph.nodes if node.op == "QuantizeLinear"]
    assert len(set(converted)) == len(converted)
    assert all(isinstance(node, Node) for node in result.graph.nodes)


def test_a_budget_leaves_costly_layers_in_float(graph: Graph, images: Array, result: Quantized) -> None:
    reached = result.report.outputs[0].snr
    found = quantize(graph, images, min_snr=reached + 6)
    assert found.report.outputs[0].snr > reached + 5
    costly = [name for name, why in found.report.kept.items() if why == "it costs too much signal"]
    assert 0 < len(costly) < 6
    assert found.report.as_dict()["kept"]
    # Those that were named are the ones that cost most alone.
    alone = {y.name: y.alone for y in quantize(graph, images, sensitivity=True).report.layers}
    assert all(snr is not None and snr > reached - 1 for snr in alone.values())
    kept = {y.name for y in found.report.layers if y.elements == "f32"}
    assert min(alone, key=lambda name: alone[name] or 0.0) in kept


def test_a_budget_beyond_reach_leaves_floats(graph: Graph, images: Array) -> None:
    found = quantize(graph, images, min_snr=200)
    assert "integer_conv" not in kinds_of(found, images)


@pytest.mark.parametrize("flat", ["Flatten", "Reshape"])
def test_a_small_last_product_stays_in_float_with_the_mean_before_it(images: Array, flat: str) -> None:
    """So what is lost in it, and in its input, is nothing; a larger one is of bytes."""
    rng = np.random.default_rng(0)

    def network(classes: int) -> Graph:
        b = GraphBuilder("net", {"shape": np.array([0, -1])})
        for name, shape in (("w", (48, 3, 3, 3)), ("v", (64, 48, 3, 3)), ("u", (classes, 64))):
            b.constant(name, rng.standard_normal(shape, np.float32) / np.float32(np.sqrt(np.prod(shape[1:]))))
        y = b.add("Relu", b.add("Conv", b.input("x", ("batch", 3, 32, 32)), "w"))
        y = b.add("GlobalAveragePool", b.add("Relu", b.add("Conv", y, "v")), name="mean")
        y = b.add(flat, y, *(["shape"] if flat == "Reshape" else []))
        b.output(b.add("Gemm", y, "u", transB=1, name="classifier"), "y", ("batch", classes))
        return b.build()

    found = quantize(network(2), images)
    assert list(found.report.kept.values()) == ["its sums are results, and it is too small to gain"]
    written = [node.op for node in found.graph.nodes]
    assert written[written.index("GlobalAveragePool") :] == ["GlobalAveragePool", flat, "Gemm"]
    assert quantize(network(40), images).report.kept == {}
