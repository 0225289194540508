"""The counting contract: parameters, MACs, FLOPs and bytes, against arithmetic and against other counters."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

import fastconv
from fastconv import _core
from fastconv.errors import ArgumentError, UnsupportedOpError
from fastconv.graph import compile as compiler
from fastconv.graph.ir import GraphBuilder
from fastconv.graph.model import Model
from fastconv.models import MODELS
from fastconv.profiler import PUBLISHED, count, work_of, zoo


def one_layer(op: str, shape: tuple[int, ...], *constants: tuple[int, ...], **attrs: Any) -> fastconv.Model:
    b = GraphBuilder("one", {})
    x = b.input("x", shape)
    names = [b.constant(f"c{i}", np.ones(s, np.float32)) for i, s in enumerate(constants)]
    b.output(b.add(op, x, *names, **attrs), "y")
    return Model(b.build())


# op, input, constants, attributes; parameters, MACs, FLOPs, elements moved
CASES: list[tuple[str, tuple[int, ...], list[tuple[int, ...]], dict[str, Any], tuple[int, int, int, int]]] = [
    ("Conv", (1, 8, 6, 6), [(16, 8, 3, 3), (16,)], {"pads": [1] * 4},
     (1168, 36 * 16 * 72, 2 * 36 * 16 * 72, 8 * 36 + 16 * 36 + 1168)),
    ("Conv", (2, 8, 6, 6), [(8, 1, 3, 3)], {"group": 8, "strides": [2, 2], "pads": [1] * 4},
     (72, 2 * 9 * 8 * 9, 4 * 9 * 8 * 9, 2 * 8 * 36 + 2 * 8 * 9 + 72)),
    ("ConvTranspose", (1, 4, 5, 5), [(4, 6, 2, 2)], {"strides": [2, 2]},
     (96, 4 * 25 * 6 * 4, 2 * 4 * 25 * 6 * 4, 2 * 100 + 600 + 96)),  # x is read for each of a tile's two rows
    ("ConvTranspose", (1, 4, 5, 5), [(4, 6, 2, 2)], {"strides": [2, 2], "pads": [1, 1, 1, 1]},
     (96, 4 * 25 * 6 * 4, 2 * 4 * 25 * 6 * 4, 100 + 384 + 96)),
    ("Gemm", (3, 10), [(10, 7), (7,)], {}, (77, 210, 420, 30 + 21 + 77)),
    ("Gemm", (3, 10), [(7, 10)], {"transB": 1}, (70, 210, 420, 30 + 21 + 70)),
    ("MatMul", (2, 5, 8), [(8, 4)], {}, (32, 320, 640, 80 + 40 + 32)),
    ("Relu", (1, 3, 4, 4), [], {}, (0, 0, 48, 96)),
    ("Mul", (1, 3, 4, 4), [(3, 1, 1)], {}, (3, 0, 48, 96 + 3)),
    ("PRelu", (1, 3, 4, 4), [(3, 1, 1)], {}, (3, 0, 96, 96 + 3)),
    ("BatchNormalization", (1, 3, 4, 4), [(3,)] * 4, {}, (6, 0, 96, 96 + 6)),
    ("MaxPool", (1, 3, 8, 8), [], {"kernel_shape": [2, 2], "strides": [2, 2]}, (0, 0, 48 * 4, 192 + 48)),
    ("AveragePool", (1, 3, 8, 8), [], {"kernel_shape": [3, 3]}, (0, 0, 108 * 9, 192 + 108)),
    ("GlobalAveragePool", (1, 3, 8, 8), [], {}, (0, 0, 192, 195)),
    ("Softmax", (2, 5), [], {}, (0, 0, 50, 20)),
    ("LRN", (1, 3, 4, 4), [], {"size": 3}, (0, 0, 48 * 7, 96)),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=[f"{c[0]}{c[1]}" for c in CASES])
def test_one_layer(case: Any) -> None:
    op, shape, constants, attrs, expected = case
    found = count(one_layer(op, shape, *constants, **attrs))
    layers = [layer for layer in found.layers if not layer.op.startswith("copy")]
    assert len(layers) == (2 if op == "ConvTranspose" and "pads" not in attrs else 1)
    sums = [(layer.params, layer.macs, layer.flops, layer.bytes // 4) for layer in layers]
    assert tuple(map(sum, zip(*sums, strict=True))) == expected
    assert found.params == expected[0]
    for layer in layers:
        assert layer.param_bytes == 4 * layer.params
        assert layer.intensity == layer.flops / layer.bytes
    copies = [other for other in found.layers if other not in layers]
    assert all(other.flops == 0 and other.bytes > 0 for other in copies)


def test_executed_work_is_what_the_kernel_does() -> None:
    lanes = _core.cpu_info()["tiers"]["lanes"][_core.active_tier()]
    whole = -(-20 // lanes) * lanes
    found = count(one_layer("Conv", (1, 8, 6, 6), (20, 8, 1, 1)))
    layer = next(layer for layer in found.layers if layer.macs)
    assert layer.executed_flops == 2 * 36 * 8 * whole  # vectors that are not full
    b = GraphBuilder("winograd", {})
    x = b.add("Relu", b.input("x", (1, 64, 56, 56)))
    w = b.constant("w", np.ones((64, 64, 3, 3), np.float32))
    b.output(b.add("Conv", x, w, pads=[1] * 4))
    winograd = next(layer for layer in count(Model(b.build())).layers if layer.macs)
    assert winograd.algorithm == "winograd_f4"
    assert winograd.flops == 4 * winograd.executed_flops
    assert winograd.predicted_bytes - winograd.bytes == 4 * 64 * 64 * (36 - 9)  # weights, transformed
    b = GraphBuilder("sparse", {})
    few = (np.random.default_rng(0).random((256, 256, 1, 1)) < 0.05).astype(np.float32)
    b.output(b.add("Conv", b.input("x", (1, 256, 28, 28)), b.constant("w", few)))
    sparse = next(layer for layer in count(Model(b.build())).layers if layer.macs)
    assert sparse.algorithm == "sparse_planes"
    assert sparse.executed_flops == 2 * 28 * 28 * np.count_nonzero(few)


def test_recurrent_layers() -> None:
    """Products with the inputs, a step for each direction, and those with the states."""
    steps, n, features, h = 5, 2, 8, 6
    found = count(one_layer("LSTM", (steps, n, features), (2, 4 * h, features), (2, 4 * h, h), (2, 8 * h),
                            direction="bidirectional"))  # fmt: skip
    products = [layer for layer in found.layers if layer.macs]
    assert [layer.macs for layer in products] == [steps * n * 4 * h * features, steps * n * 4 * h * h] * 2
    rows = 4 * (steps * n * (features + 4 * h) + 4 * h * features)
    assert [layer.bytes for layer in products[::2]] == [rows] * 2


@pytest.mark.parametrize("ic", [8, 700])
def test_quantised_layers(ic: int) -> None:
    """Their weights, of a byte each, come after scales and zero points."""
    b = GraphBuilder("quantised", {})
    scale = b.constant("scale", np.array(0.5, np.float32))
    zero = b.constant("zero", np.array(3, np.uint8))
    signed = b.constant("signed", np.array(0, np.int8))
    w = b.constant("w", np.full((6, ic, 3, 3), 100, np.int8))
    bias = b.constant("bias", np.ones(6, np.int32))
    x = b.add("QuantizeLinear", b.input("x", (1, ic, 5, 5)), scale, zero)
    y = b.add("QLinearConv", x, scale, zero, w, scale, signed, scale, zero, bias)
    b.output(b.add("DequantizeLinear", y, scale, zero), "y", (1, 6, 3, 3))
    (product,) = (layer for layer in count(Model(b.build())).layers if layer.macs)
    assert product.macs == 9 * 6 * ic * 9
    assert product.bytes == ic * 25 + 6 * 9 + 6 * ic * 9 + 4 * 6


def test_what_has_no_rule_is_an_error() -> None:
    (step,) = one_layer("Relu", (1, 3, 4, 4))._planned(()).steps
    with pytest.raises(UnsupportedOpError, match="expected a kind of step that is counted, got 'fft'"):
        work_of(step._replace(kind="fft"), {}, 8)


def test_shared_weights_count_once() -> None:
    b = GraphBuilder("shared", {})
    w = b.constant("w", np.ones((4, 4, 1, 1), np.float32))
    b.output(b.add("Conv", b.add("Conv", b.input("x", (1, 4, 5, 5)), w), w))
    found = count(Model(b.build()))
    assert found.params == 16
    assert found.totals["macs"] == 2 * 16 * 25


@pytest.mark.parametrize("batch", [1, 6])
def test_a_batch_in_parts_counts_as_a_whole(
    batch: int, num_threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    architecture = MODELS["mobilenet_v2"]
    model = architecture(architecture.random_weights(num_classes=10))
    single = count(model, (1, 3, 64, 64)).totals
    assert num_threads == fastconv.get_num_threads()
    monkeypatch.setattr(compiler, "_cache_bytes", lambda: 1 << 20)
    found = count(model, (batch, 3, 64, 64)).totals
    assert found["macs"] == batch * single["macs"]
    assert found["flops"] == batch * single["flops"]
    assert found["params"] == single["params"]


def test_resnet50() -> None:
    """The figures that everybody knows: 4.09 G multiply-accumulates, 25.56 M parameters."""
    architecture = MODELS["resnet50"]
    found = count(architecture(architecture.random_weights()), (1, 3, 224, 224))
    assert found.params == 25_557_032
    assert found.totals["macs"] == 4_089_184_256
    assert sum(layer.params for layer in found.layers) == found.params
    assert "4.09 G" in str(found)
    rows = found.rows()
    assert len(rows) == len(found.layers)
    assert {"name", "op", "params", "macs", "flops", "bytes", "intensity", "param_bytes"} <= set(rows[0])
    assert found._repr_html_().count("<tr>") == len(rows) + 1


@pytest.mark.slow
def test_published_figures() -> None:
    """Within the last digit that is printed, but for what the table says of auxiliary heads."""
    names = []
    for name, counted, published in zoo():
        names.append(name)
        macs = counted.totals["macs"] / 1e9
        assert abs(macs - published.gmacs) < max(0.006, 0.03 * published.gmacs), (name, macs)
        if published.params is not None and "auxiliary" not in published.source:
            assert abs(counted.params / 1e6 - published.params) < max(0.006, 0.02 * published.params), name
    assert set(names) == set(PUBLISHED) & set(MODELS)


@pytest.mark.torch
@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2"])
def test_torch_modules_have_the_same_work(name: str, torchvision: Any) -> None:
    """An independent count: hooks on torchvision's convolutions and linear layers."""
    torch = pytest.importorskip("torch")
    module = getattr(torchvision.models, name)().eval()
    macs = 0

    def hook(layer: Any, _: Any, output: Any) -> None:
        nonlocal macs
        per_output = layer.weight[0].numel()
        macs += output.numel() * per_output

    for layer in module.modules():
        if isinstance(layer, (torch.nn.Conv2d, torch.nn.Linear)):
            layer.register_forward_hook(hook)
    with torch.no_grad():
        module(torch.zeros(1, 3, 224, 224))
    model = MODELS[name]({k: v.numpy() for k, v in module.state_dict().items()})
    found = count(model, (1, 3, 224, 224))
    assert found.totals["macs"] == macs
    assert found.params == sum(p.numel() for p in module.parameters())


def test_a_shape_is_needed() -> None:
    b = GraphBuilder("open", {})
    b.output(b.add("Relu", b.input("x", ("batch", 3, None, None))))
    with pytest.raises(ArgumentError, match="shapes: expected the input shapes"):
        count(Model(b.build()))


def test_whatever_runs_is_counted() -> None:
    """Of ONNX's own node tests: each has steps that have a rule, or it is refused by name."""
    pytest.importorskip("onnx")
    import conformance

    counted, refused = 0, []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the cases' own arithmetic
        cases = conformance.load_model_tests(kind="node")
    for case in cases:
        inputs = case.data_sets[0][0]
        try:
            model = fastconv.load(case.model)
            model(*(conformance.as_array(x) for x in inputs))
        except fastconv.FastconvError:
            continue  # not a matter of counting
        try:
            counts = fastconv.count(model)
        except UnsupportedOpError as error:
            refused.append(f"{case.name}: {error}")
            continue
        counted += 1
        assert all(layer.flops >= 2 * layer.macs >= 0 for layer in counts.layers), case.name
    assert counted > 1400
    assert all("w: expected weights of the model" in text for text in refused), refused
