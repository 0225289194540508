"""Layers of 8 bits: their counts against numpy's, the peak that they are held against, what pages tell."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastconv
from fastconv import _core
from fastconv.cli import main
from fastconv.graph.ir import GraphBuilder
from fastconv.graph.model import Model
from fastconv.lab.profile.counting import macs_by_arithmetic, saved_macs
from fastconv.profiler import LayerCount, LayerProfile, count, plot_profile, profile, report
from fastconv.roofline import Bandwidth, Peak, RoofError, Roofline

Array = np.ndarray[Any, np.dtype[Any]]


class Network:
    """Builds a graph in QDQ form, as quantisers write it: layers read and write what passes through bytes."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.b = GraphBuilder("bytes", {})
        self.constants: dict[str, Array] = {}
        self.value = self.passed(self.b.input("x", shape))

    def constant(self, array: Array) -> str:
        name = f"c{len(self.constants)}"
        self.constants[name] = array
        return self.b.constant(name, array)

    def passed(self, value: str) -> str:
        scale, zero = self.constant(np.float32(0.05)), self.constant(np.uint8(7))
        return self.b.add("DequantizeLinear", self.b.add("QuantizeLinear", value, scale, zero), scale, zero)

    def layer(self, op: str, w: Array, bias: Array | None = None, **attrs: Any) -> None:
        zero = self.constant(w.dtype.type(0))
        names = [self.b.add("DequantizeLinear", self.constant(w), self.constant(np.float32(0.01)), zero)]
        if bias is not None:
            scale = self.constant(np.float32(0.05) * np.float32(0.01))
            none = self.constant(np.int32(0))
            names.append(self.b.add("DequantizeLinear", self.constant(bias), scale, none))
        self.value = self.passed(self.b.add(op, self.value, *names, **attrs))

    def apply(self, op: str, *inputs: str, **attrs: Any) -> None:
        self.value = self.passed(self.b.add(op, self.value, *inputs, **attrs))

    def model(self, *shape: int) -> Model:
        self.b.output(self.value, "y", shape)
        return Model(self.b.build())


def integers(rng: np.random.Generator, *shape: int, dtype: type = np.int8) -> Array:
    info = np.iinfo(dtype)
    return rng.integers(info.min, info.max, shape, dtype, endpoint=True)


def saturates(w0: int, w1: int) -> bool:
    """Whether the sum of two products leaves 16 bits, for some pixels: the largest and the least decide."""
    sums = [x0 * w0 + x1 * w1 for x0 in (0, 255) for x1 in (0, 255)]
    return max(sums) > 32767 or min(sums) < -32768


def pairs_of(w: Array) -> tuple[int, int]:
    """Count the pairs of input channels of weights with those second, one by one."""
    numbers = w.astype(int) - (128 if w.dtype == np.uint8 else 0)
    columns = numbers.reshape(*w.shape[:2], -1)
    found = [
        saturates(columns[o, i, tap], columns[o, i + 1, tap])
        for o in range(w.shape[0])
        for tap in range(columns.shape[2])
        for i in range(0, w.shape[1] - 1, 2)
    ]
    return sum(found), len(found)


def products_of(shape: tuple[int, ...], w: Array, stride: int, pad: int) -> int:
    """Return the multiply-accumulates of a convolution: the size of all windows that its outputs see."""
    x = np.empty((*shape[:2], *(n + 2 * pad for n in shape[2:])), np.uint8)
    windows = np.lib.stride_tricks.sliding_window_view(x, w.shape[2:], (2, 3))
    seen: int = windows[:, :, ::stride, ::stride].size
    return seen * w.shape[0] * w.shape[1] // shape[1]


def layers_of(found: Any) -> list[Any]:
    return [layer for layer in found.layers if layer.op.startswith("integer_conv")]


# in and out channels, groups, size, kernel, stride; whether there is a bias; the weights' type
CONVOLUTIONS = [
    (3, 20, 1, 11, 3, 2, True, np.int8),
    (16, 24, 1, 6, 1, 1, False, np.int8),
    (8, 12, 2, 7, 3, 1, True, np.uint8),
    (10, 5, 1, 5, 5, 1, True, np.int8),
    (16, 16, 16, 9, 3, 1, True, np.int8),
]


@pytest.mark.parametrize("case", CONVOLUTIONS, ids=lambda c: f"{c[0]}>{c[1]}g{c[2]}")
def test_a_convolution(case: Any, rng: np.random.Generator) -> None:
    ic, oc, groups, size, k, stride, has_bias, dtype = case
    shape, w = (2, ic, size, size), integers(rng, oc, ic // groups, k, k, dtype=dtype)
    bias = integers(rng, oc, dtype=np.int32) // 1000 if has_bias else None
    net = Network(shape)
    net.layer("Conv", w, bias, group=groups, strides=[stride] * 2, pads=[k // 2] * 4)
    out = (size + 2 * (k // 2) - k) // stride + 1
    (layer,) = layers_of(count(net.model(2, oc, out, out)))
    assert layer.macs == products_of(shape, w, stride, k // 2)
    x, y = np.empty(shape, np.uint8), np.empty((2, oc, out, out), np.uint8)
    assert layer.bytes == x.nbytes + w.nbytes + y.nbytes + (0 if bias is None else bias.nbytes)
    assert (layer.saturating_pairs, layer.pairs) == pairs_of(w)
    assert (layer.pairs == 0) == (groups == ic)  # one channel has no neighbour
    assert layer.saturating_share == (layer.saturating_pairs / layer.pairs if layer.pairs else 0)
    assert layer.elements == f"u8 x {'s8' if dtype == np.int8 else 'u8'} > u8"
    assert (layer.algorithm, layer.arithmetic) == ("depthwise" if groups == ic else "dense", "int8")
    assert layer.tile
    # Each group of a product fills vectors of its own; of a depthwise layer they share them.
    lanes = _core.cpu_info()["tiers"]["lanes"][_core.active_tier()]
    filled = [oc] if groups == ic else [oc // groups] * groups
    executed = sum(-(-n // lanes) * lanes for n in filled) * (ic // groups) * k * k * 2 * out * out
    assert (layer.flops, layer.executed_flops) == (2 * layer.macs, 2 * executed)
    assert layer.params == w.size + (0 if bias is None else bias.size)
    assert layer.param_bytes == w.nbytes + (0 if bias is None else bias.nbytes)


@pytest.mark.parametrize("op", ["Gemm", "Gemm of rows", "MatMul"])
def test_a_product(op: str, rng: np.random.Generator) -> None:
    w = integers(rng, 13, 10)
    net = Network((3, 10))
    if op == "Gemm of rows":
        net.layer("Gemm", w, integers(rng, 13, dtype=np.int32) // 1000, transB=1)
    else:
        net.layer(op, np.ascontiguousarray(w.T))
    (layer,) = layers_of(count(net.model(3, 13)))
    assert layer.macs == 3 * 13 * 10
    assert (layer.saturating_pairs, layer.pairs) == pairs_of(w)
    assert layer.bytes == 3 * 10 + 13 * 10 + 3 * 13 + (4 * 13 if op == "Gemm of rows" else 0)


def test_weights_at_the_edge() -> None:
    """Sums of 128 and of -128 are safe, and so are any two weights of different signs."""
    w = np.array([[64, 64, -64, -64, 127, -128, -64, -65, 127, 2, 64, 65]], np.int8)
    net = Network((1, 12))
    net.layer("Gemm", w, transB=1)
    (layer,) = layers_of(count(net.model(1, 1)))
    assert (layer.saturating_pairs, layer.pairs) == (3, 6)


def winograd(rng: np.random.Generator, size: int = 18) -> Model:
    """A layer whose weights are small enough for F(4x4, 3x3), and large enough to pay."""
    net = Network((1, 64, size, size))
    net.layer("Conv", integers(rng, 64, 64, 3, 3) // 4, pads=[1] * 4)
    return net.model(1, 64, size, size)


@pytest.mark.parametrize("size", [16, 18])
def test_winograd_executes_a_quarter(size: int, rng: np.random.Generator) -> None:
    model = winograd(rng, size)
    (layer,) = layers_of(count(model))
    assert (layer.algorithm, layer.arithmetic) == ("winograd_f4", "int16")
    tiles = sum(1 for _ in np.ndindex(-(-size // 4), -(-size // 4)))
    assert layer.executed_flops == 2 * tiles * 36 * 64 * 64
    assert layer.macs == size * size * 64 * 64 * 9
    program = model.program((1, 64, size, size))
    assert saved_macs(program) == layer.macs - tiles * 36 * 64 * 64
    assert macs_by_arithmetic(program) == {"int16": tiles * 36 * 64 * 64}


def test_steps_that_do_not_multiply() -> None:
    """Their bytes are those of their elements, and they are steps of bytes."""
    net = Network((1, 6, 8, 8))
    net.apply("Sigmoid")
    net.apply("Add", net.value)
    net.apply("GlobalAveragePool")
    model = net.model(1, 6, 1, 1)
    found = {layer.op.split()[0]: layer for layer in count(model).layers}
    size = 6 * 8 * 8
    assert {layer.arithmetic for layer in found.values()} == {"int8"}
    assert found["quantize"].bytes == 4 * size + size + 5  # a scale and a zero point beside them
    assert found["quantize"].elements == "f32 > u8"
    assert found["lookup"].bytes == size + 256 + size
    assert found["lookup"].elements == found["quantized_avg_pool2d"].elements == "u8"
    assert found["quantized_avg_pool2d"].bytes == size + 6
    assert found["dequantize"].elements == "u8 > f32"
    assert all(layer.pairs == 0 for layer in found.values())


def test_layers_of_f32_are_what_they_were(rng: np.random.Generator) -> None:
    b = GraphBuilder("wide", {})
    w = b.constant("w", rng.standard_normal((4, 4, 1, 1)).astype(np.float32))
    b.output(b.add("Conv", b.input("x", (1, 4, 5, 5)), w), "y")
    found = count(Model(b.build()))
    assert {(one.elements, one.arithmetic, one.pairs) for one in found.layers} == {("f32", "f32", 0)}
    assert "saturating" not in str(found)
    assert "saturating" not in found.html()
    assert found.totals["param_bytes"] == 4 * found.params == 64


# -- roofs ---------------------------------------------------------------------------------------------------


def machine(instruction: str, int8: float = 4e6, f32: float = 1e6) -> Roofline:
    """A machine of round numbers whose memory is too fast to bind."""
    bands = tuple(
        Bandwidth(level, op, "avx2", 1, 0, 1e9, 1e9, 3)
        for level in ("L1", "DRAM")
        for op in ("read", "write", "copy")
    )
    narrow = (Peak("avx2", 1, int8, int8, 5, "int8", instruction),) if instruction else ()
    return Roofline("a processor", Peak("avx2", 1, f32, f32, 5), bands, {"L1": 1 << 15}, narrow)


@pytest.mark.parametrize(
    ("instruction", "int8", "int16"), [("vpdpbusd", 4e6, 2e6), ("vpmaddubsw", 4e6, 4e6), ("", 1e6, 1e6)]
)
def test_each_layer_is_held_against_its_own_peak(
    instruction: str, int8: float, int16: float, rng: np.random.Generator
) -> None:
    """Products of bytes against that of bytes, Winograd's against that of 16 bits, others against FMAs."""
    net = Network((1, 64, 16, 16))
    net.layer("Conv", integers(rng, 64, 64, 3, 3) // 4, pads=[1] * 4)
    net.layer("Conv", integers(rng, 32, 64, 1, 1))
    last = net.constant(rng.standard_normal((8, 32, 1, 1)).astype(np.float32))
    net.b.output(net.b.add("Conv", net.value, last), "y", (1, 8, 16, 16))
    found = profile(Model(net.b.build()), threads=1, seconds=0.01, roofline=machine(instruction, 4e6))
    peaks = {"f32": 1e6, "int8": int8, "int16": int16}
    products = [layer for layer in found.layers if layer.macs]
    assert [layer.arithmetic for layer in products] == ["int16", "int8", "f32"]
    for layer in products:
        assert layer.roof == "compute"
        assert layer.ideal_ms == pytest.approx(layer.executed_flops / peaks[layer.arithmetic] * 1e-6)
    drawn = {"vpdpbusd": ["f32", "int8", "int16"], "vpmaddubsw": ["f32", "int8"], "": ["f32"]}[instruction]
    assert [peak.dtype for peak in found.peaks] == drawn
    assert found.as_dict()["machine"]["peaks"] == {name: peaks[name] for name in drawn}


def test_a_planted_unit_is_found(rng: np.random.Generator) -> None:
    """A peak of bytes in the wrong unit: no layer may pass, though it is below the FMA peak."""
    net = Network((1, 16, 8, 8))
    net.layer("Conv", integers(rng, 16, 16, 1, 1))
    with pytest.raises(RoofError, match=r"layer .* at most the measured peak of int8 vpdpbusd of"):
        profile(net.model(1, 16, 8, 8), threads=1, seconds=0.01, roofline=machine("vpdpbusd", 1e-3))


# -- what is told --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def found() -> fastconv.profiler.Profile:
    return profile(winograd(np.random.default_rng(5)), seconds=0.01, threads=1, roofline=machine("vpdpbusd"))


def test_a_table_and_a_record(found: Any) -> None:
    (layer,) = layers_of(found)
    assert isinstance(layer, LayerProfile)
    head, *lines = found.table().splitlines()
    (line,) = (line for line in lines if "integer_conv" in line)
    assert "u8 x s8 > u8" in line
    assert layer.tile in line
    told = f"{layer.saturating_pairs} ({layer.saturating_share:.1%})"
    assert told in line
    # Under their heads: the totals too.
    assert lines[-1][: head.index("saturating") + len("saturating")].endswith(told)
    record = json.loads(json.dumps(found.as_dict()))
    (row,) = (row for row in record["layers"] if row["op"] == "integer_conv")
    for field in ("elements", "tile", "arithmetic", "pairs", "saturating_pairs", "saturating_share"):
        assert row[field] == getattr(layer, field)
    assert record["totals"]["saturating_pairs"] == layer.saturating_pairs
    assert record["totals"]["pairs"] == layer.pairs


def test_a_page_and_a_picture(found: Any) -> None:
    (layer,) = layers_of(found)
    page = report(found)
    assert "u8 x s8 &gt; u8" in page
    assert f"{layer.saturating_pairs} of {layer.pairs} pairs of weights would saturate" in page
    for roof in ("FMA peak", "int8 vpdpbusd", "int16 vpdpwssd"):
        assert f">{roof} " in page, roof  # a line of the picture
    assert "GOP/s executed" in page
    assert f"{layer.saturating_pairs:,} of {layer.pairs:,} pairs" in page  # of the whole network
    assert "would saturate in vpmaddubsw" in page
    pytest.importorskip("matplotlib")
    figure = plot_profile(found)
    labels = [text.get_text() for text in figure.axes[0].texts]
    assert {"int8 vpdpbusd 4000000 GOP/s", "int16 vpdpwssd 2000000 GOP/s"} <= set(labels)


def test_a_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], rng: np.random.Generator) -> None:
    pytest.importorskip("onnx")
    from fastconv.exporters.onnx import to_proto

    net = Network((1, 6, 5, 5))
    w = integers(rng, 8, 6, 3, 3)
    net.layer("Conv", w)
    net.b.output(net.value, "y", (1, 8, 3, 3))
    path = tmp_path / "bytes.onnx"
    path.write_bytes(to_proto(net.b.build()).SerializeToString())
    assert main(["profile", str(path), "--count"]) == 0
    text = capsys.readouterr().out
    saturating, pairs = pairs_of(w)
    assert f"{saturating} ({saturating / pairs:.1%})" in text
    assert main(["profile", str(path), "--count", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["totals"]["saturating_share"] == saturating / pairs
    fields = set(LayerCount.__dataclass_fields__)
    assert fields <= set(record["layers"][0])
