"""Networks that are no classifiers of photos: each kind in small, as text detectors and readers are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastconv
from fastconv.cli import main
from fastconv.compress import Optimized, Quantized, optimize, quantize
from fastconv.compress.agreement import signal_to_noise
from fastconv.compress.samples import samples_of
from fastconv.errors import ShapeError
from fastconv.exporters.onnx import to_file
from fastconv.graph.ir import Graph, GraphBuilder
from fastconv.graph.model import Model

pytest.importorskip("onnx")

Array = np.ndarray[Any, Any]
Data = Array | dict[str, Array]
Make = Callable[..., Quantized | Optimized]
BOTH = pytest.mark.parametrize("make", [quantize, optimize])


class Builder(GraphBuilder):
    """Draws weights, and gives each constant a name."""

    def __init__(self) -> None:
        super().__init__("net", {})
        self.rng = np.random.default_rng(0)

    def weights(self, *shape: int) -> str:
        values = self.rng.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))
        return self.given(values.astype(np.float32))

    def given(self, values: Any) -> str:
        return self.constant(f"c{len(self.constants)}", np.asarray(values))


def classifier(batch: int | str) -> Graph:
    """Images of a batch that may be fixed, which the reshaping in its middle then is too."""
    b = Builder()
    y = b.input("x", (batch, 3, 8, 8))
    y = b.add("Relu", b.add("Conv", y, b.weights(8, 3, 3, 3), pads=[1] * 4, strides=[2, 2]))
    y = b.add("Reshape", y, b.given([batch if isinstance(batch, int) else 0, 128]))
    y = b.add("Relu", b.add("Gemm", y, b.weights(16, 128), transB=1))
    b.output(b.add("Gemm", y, b.weights(4, 16), transB=1), "y", (batch, 4))
    return b.build()


def detector() -> Graph:
    """Images of any size; maps of scores, and boxes in pixels whose shape follows from that of a value."""
    b = Builder()
    y = b.input("x", ("batch", 3, "h", "w"))
    y = b.add("Relu", b.add("Conv", y, b.weights(8, 3, 3, 3), pads=[1] * 4, strides=[2, 2]))
    scores = b.add("Sigmoid", b.add("Conv", y, b.weights(2, 8, 1, 1), name="scores"))
    boxes = b.add("Mul", b.add("Conv", y, b.weights(4, 8, 1, 1), name="boxes"), b.given(np.float32(100)))
    shape = b.add("Concat", b.add("Shape", boxes, start=0, end=1), b.given([4, -1]), axis=0)
    boxes = b.add("Transpose", b.add("Reshape", boxes, shape), perm=[0, 2, 1])
    b.output(scores, "s", ("batch", 2, None, None))
    b.output(boxes, "b", ("batch", None, 4))
    return b.build()


def suppressing_detector() -> Graph:
    """One image at a time, and in the end as many boxes as are left."""
    b = Builder()
    y = b.input("x", (1, 3, 16, 16))
    y = b.add("Relu", b.add("Conv", y, b.weights(8, 3, 3, 3), pads=[1] * 4, strides=[4, 4]))
    scores = b.add("Sigmoid", b.add("Conv", y, b.weights(1, 8, 1, 1)))
    scores = b.add("Reshape", scores, b.given([1, 1, 16]))
    boxes = b.add("Reshape", b.add("Conv", y, b.weights(4, 8, 1, 1)), b.given([1, 4, 16]))
    boxes = b.add("Transpose", boxes, perm=[0, 2, 1])
    limits = [b.given(np.array([n], t)) for n, t in ((20, np.int64), (0.5, np.float32), (0.5, np.float32))]
    b.output(b.add("NonMaxSuppression", boxes, scores, *limits), "kept", (None, 3))
    b.output(boxes, "b", (1, 16, 4))
    return b.build()


def reader() -> Graph:
    """Lines of text of any width: a class for each column."""
    b = Builder()
    y = b.input("x", ("batch", 1, 16, "width"))
    y = b.add("Conv", y, b.weights(8, 1, 16, 3), pads=[0, 1, 0, 1], strides=[16, 2])
    y = b.add("Transpose", b.add("Squeeze", b.add("HardSwish", y), b.given([2])), perm=[0, 2, 1])
    y = b.add("MatMul", y, b.weights(8, 12))
    y = b.add("Add", y, b.given(b.rng.standard_normal(12).astype(np.float32)))
    b.output(b.add("Softmax", y, axis=-1), "p", ("batch", None, 12))
    return b.build()


def word_network() -> Graph:
    """Whole numbers, which stand for words."""
    b = Builder()
    b.input("ids", ("batch", 5))
    y = b.add("Gather", b.given(b.rng.standard_normal((20, 8)).astype(np.float32)), "ids", axis=0)
    b.output(b.add("Relu", b.add("MatMul", y, b.weights(8, 16))), "y", ("batch", 5, 16))
    graph = b.build()
    return replace(graph, inputs=(graph.inputs[0]._replace(dtype=np.dtype(np.int64)),))


def sound_network() -> Graph:
    """Sound, and a state beside it."""
    b = Builder()
    y, state = b.input("x", ("batch", 1, "t")), b.input("state", ("batch", 4))
    y = b.add("Relu", b.add("Conv", y, b.weights(6, 1, 8), strides=[4]))
    y = b.add("Concat", b.add("Squeeze", b.add("GlobalAveragePool", y), b.given([2])), state, axis=1)
    b.output(b.add("Gemm", y, b.weights(3, 10), transB=1), "y", ("batch", 3))
    return b.build()


def noise(*shape: int) -> Array:
    return np.random.default_rng(1).standard_normal(shape, np.float32)


KINDS: dict[str, tuple[Callable[[], Graph], Data]] = {
    "images one by one": (lambda: classifier(1), noise(8, 3, 8, 8)),
    "images in fours": (lambda: classifier(4), noise(8, 3, 8, 8)),
    "a detector": (detector, noise(6, 3, 24, 40)),
    "a reader": (reader, noise(6, 1, 16, 40)),
    "words": (word_network, np.random.default_rng(1).integers(0, 20, (8, 5))),
    "sound": (sound_network, {"x": noise(6, 1, 64), "state": noise(6, 4)}),
}


def runs(graph: Graph, data: Data) -> list[dict[str, Array]]:
    """Return the inputs of each run: one sample, or as many as the network is written for."""
    arrays = data if isinstance(data, dict) else {graph.inputs[0].name: data}
    count = graph.inputs[0].shape[0]
    size = count if isinstance(count, int) else 1
    length = len(next(iter(arrays.values())))
    return [{name: x[i : i + size] for name, x in arrays.items()} for i in range(0, length, size)]


def losses(graph: Graph, data: Data, run: Callable[[dict[str, Array]], Sequence[Array]]) -> list[float]:
    """Return the power of each output's error as a share of the output's."""
    model = Model(graph)
    both = [(model.run(None, feeds), run(feeds)) for feeds in runs(graph, data)]
    sums = np.zeros((2, len(graph.outputs)))
    for expected, got in both:
        for i, (a, b) in enumerate(zip(expected, got, strict=True)):
            sums[:, i] += np.square(a, dtype=np.float64).sum(), np.square(b.astype(np.float64) - a).sum()
    return list(sums[1] / sums[0])


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_quantised(kind: str) -> None:
    define, data = KINDS[kind]
    found = quantize(define(), data)
    lost = losses(define(), data, lambda feeds: found.model().run(None, feeds))
    assert max(lost) < 0.01
    said = [10 ** (-output.snr / 10) for output in found.report.outputs]
    np.testing.assert_allclose(said, lost, rtol=1e-3)
    assert all(layer.elements.startswith("u8 x s8") for layer in found.report.layers)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_keeps_to_its_budget(kind: str) -> None:
    """In each of its results."""
    define, data = KINDS[kind]
    found = optimize(define(), data, budget=0.001)
    lost = losses(define(), data, lambda feeds: found.model().run(None, feeds))
    assert max(lost) <= 0.001
    assert found.chosen.loss == pytest.approx(max(lost), rel=1e-3, abs=1e-9)
    (words,) = found.words()
    assert "as a share of the power of its numbers as they are" in words
    assert ("which loses most of 2" in words) == (kind == "a detector")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.ort
def test_onnx_runtime_runs_every_kind(kind: str, tmp_path: Path) -> None:
    ort = pytest.importorskip("onnxruntime")
    define, data = KINDS[kind]
    quantize(define(), data).save(tmp_path / "net.onnx")
    session = ort.InferenceSession(tmp_path / "net.onnx", providers=["CPUExecutionProvider"])
    assert max(losses(define(), data, lambda feeds: session.run(None, feeds))) < 0.01


@pytest.mark.parametrize("batch", [1, 4])
def test_a_fixed_batch_is_rounded_as_well_as_a_free_one(batch: int) -> None:
    x = noise(8, 3, 8, 8)
    fixed, free = (quantize(classifier(n), x) for n in (batch, "batch"))
    y = np.concatenate([fixed.model()(x[i : i + batch]) for i in range(0, 8, batch)])
    np.testing.assert_allclose(y, free.model()(x), rtol=1e-4, atol=1e-5)


def test_samples_that_fill_no_run() -> None:
    graph = classifier(4)
    taken = samples_of(noise(11, 3, 8, 8), graph)
    assert len(taken) == 8
    assert [len(feeds["x"]) for feeds in taken.batches(1)] == [4, 4]
    assert len(taken.first(1)) == 4
    assert len(taken.beyond(1)) == 4
    with pytest.raises(ShapeError, match="data: expected at least 4 samples, as each run takes, got 3"):
        quantize(graph, noise(3, 3, 8, 8))


@BOTH
def test_as_many_boxes_as_are_left(make: Make) -> None:
    """Where 8 bits leave others, nothing of that result is as it was: floats alone keep to a budget."""
    graph, x = suppressing_detector(), noise(6, 3, 16, 16)
    found = make(graph, x)
    kept, boxes = found.report.outputs
    same = all(
        len(Model(graph).run(["kept"], {"x": one})[0]) == len(found.model().run(["kept"], {"x": one})[0])
        for one in x[:, None]
    )
    if make is optimize:
        assert same
        assert found.report.layers[0].elements == "f32"
    else:
        assert not same
        assert kept.snr < 20 < boxes.snr


def test_agreement_of_the_columns_of_a_reader() -> None:
    graph, x = reader(), noise(6, 1, 16, 40)
    found = quantize(graph, x)
    a, b = Model(graph)(x), found.model()(x)
    (said,) = found.report.outputs
    assert said.top1 == pytest.approx((a.argmax(2) == b.argmax(2)).mean())
    assert said.probability == pytest.approx(np.abs(a - b).max(), rel=1e-5)


@pytest.mark.parametrize("command", ["quantize", "optimize"])
def test_the_commands_take_arrays_for_them(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    define, data = KINDS["a detector"]
    to_file(define(), tmp_path / "net.onnx")
    np.save(tmp_path / "x.npy", data)
    given = [command, str(tmp_path / "net.onnx"), "--data", str(tmp_path / "x.npy")]
    assert main([*given, "-o", str(tmp_path / "y.onnx")]) == 0
    said = capsys.readouterr().out
    assert "output 's': SNR" in said
    assert "output 'b': SNR" in said
    if command == "optimize":
        assert "a budget of 1.000%: the power of the error in output" in said


@pytest.mark.torch
def test_a_module_of_torch() -> None:
    """As docs/quantize.md says it: in the mode of use, on what its forward() gets."""
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    steps = [torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.BatchNorm2d(8), torch.nn.ReLU()]
    module = torch.nn.Sequential(*steps, torch.nn.Flatten(), torch.nn.Linear(512, 4)).eval()
    x = noise(8, 3, 8, 8)
    result = quantize(fastconv.from_torch(module, torch.zeros(1, 3, 8, 8)), x)
    with torch.no_grad():
        expected = module(torch.from_numpy(x)).numpy()
    assert signal_to_noise(expected, result.model()(x)) > 25
    assert {layer.elements for layer in result.report.layers} == {"u8 x s8 > u8", "u8 x s8 > f32"}
