"""Benchmarks of networks of 8 bits: what is compared, and which peaks it is held against."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

import fastconv
from fastconv import bench
from fastconv.cli import main
from fastconv.graph.ir import GraphBuilder
from fastconv.lab.compare import engines
from fastconv.lab.compare.cases import Case
from fastconv.lab.compare.record import as_record
from fastconv.lab.compare.suite import Result, Timing, check_rates
from fastconv.lab.draw.bench import draw
from fastconv.roofline import Peak, Roof, RoofError

pytestmark = pytest.mark.peers

ROOT = Path(__file__).parents[2]


def test_a_network_of_8_bits_is_held_against_the_peaks_of_its_parts() -> None:
    """Of 1000 useful operations Winograd saves 300 and does 100, 200 are of f32, and 400 of bytes remain."""
    case = bench.quantised(bench.find_cases("model", ["resnet18"])[0])
    narrow = Peak("avx2", 1, 400.0, 400.0, 1, "int8", "vpdpbusd")
    roof = Roof.of(Peak("avx2", 1, 100.0, 100.0, 1), [narrow], again=False)
    other = {"int16": 100 * 10**6, "f32": 200 * 10**6}
    ideal_ms = 400 / 400 + 100 / 200 + 200 / 100

    def result(ms: float, **peers: Timing) -> Result:
        ours = Timing(ms, ms, 0.0, 300 * 10**6, "", other)
        return Result(case, 1, 1000 * 10**6, {"fastconv": ours, **peers}, {})

    slow = result(2 * ideal_ms, ort=Timing(10.0, 10.0, 0.0))
    assert slow.share("fastconv", roof) == pytest.approx(0.5)
    assert slow.share("ort", roof) == pytest.approx(1000 / 400 / 10)  # of which all is of bytes
    assert " 50.0 " in bench.row(slow, roof)
    engines = slow.as_dict(roof)["engines"]
    assert engines["fastconv"]["percent_of_peak"] == pytest.approx(50)
    assert engines["fastconv"]["executed_gflops"] == pytest.approx(700 / (2 * ideal_ms))
    check_rates(slow, roof)
    check_rates(result(ideal_ms, ort=Timing(0.1, 0.1, 0.0)), roof)  # a peer may have other instructions
    with pytest.raises(RoofError, match=r"resnet18 int8: fastconv: .* peak of int8 vpdpbusd of 400.0 GOP/s"):
        check_rates(result(0.9 * ideal_ms), roof)
    # A file of the user's, of which only a run tells that it has layers of 8 bits.
    given = bench.given("net.onnx", (1, 3, 8, 8))
    parts = {"int8": 400 * 10**6, "int16": 100 * 10**6}
    ours = Timing(ideal_ms, ideal_ms, 0.0, 300 * 10**6, "", parts)
    file = Result(given, 1, 1000 * 10**6, {"fastconv": ours, "ort": Timing(0.1, 0.1, 0.0)}, {})
    assert file.share("fastconv", roof) == pytest.approx(1)
    check_rates(file, roof)
    assert "int8" in as_record("model", {"t": [given]}, [file], [roof], rounds=1)["peaks"]["1"]


def test_records_and_pictures_have_the_peak_of_bytes(tmp_path: Path) -> None:
    case = bench.quantised(bench.find_cases("model", ["resnet18"])[0])
    narrow = Peak("avx2", 1, 400.0, 400.0, 1, "int8", "vpdpbusd")
    roof = Roof.of(Peak("avx2", 1, 100.0, 100.0, 1), [narrow], again=False)
    result = Result(case, 1, 1000 * 10**6, {"fastconv": Timing(5.0, 5.0, 0.0)}, {})
    record = as_record("model", {"t": [case]}, [result], [roof], rounds=1)
    facts = record["peaks"]["1"]
    assert facts["gflops"] == 100.0
    assert facts["int8"] == {"gops": 400.0, "instruction": "vpdpbusd"}
    assert facts["int16"] == {"gops": 200.0, "instruction": "vpdpwssd"}
    spec = importlib.util.spec_from_file_location("bench_report_integers", ROOT / "bench" / "report.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert "measured FMA peak 1T 100 GFLOP/s (int8 400 GOP/s);" in script.provenance(record)
    floats = Result(
        bench.find_cases("model", ["resnet18"])[0], 1, 10, {"fastconv": Timing(5.0, 5.0, 0.0)}, {}
    )
    assert "int8" not in as_record("model", {"t": [floats.case]}, [floats], [roof], rounds=1)["peaks"]["1"]
    pytest.importorskip("matplotlib")
    draw([record], tmp_path / "bench.svg")
    assert "measured peak of int8 vpdpbusd" in (tmp_path / "bench.svg").read_text()


def test_networks_of_8_bits(tmp_path, rng):
    """ONNX Runtime's quantiser writes a file whose meaning in float64 is what fastconv gives."""
    pytest.importorskip("onnxruntime")
    from fastconv.exporters.onnx import to_proto
    from fastconv.lab.compare.quantised import expected_quantised, quantise

    b = GraphBuilder("small", {})
    w = b.constant("w", rng.normal(size=(8, 3, 3, 3)).astype(np.float32))
    bias = b.constant("b", rng.normal(size=8).astype(np.float32))
    y = b.add("Relu", b.add("Conv", b.input("x", (1, 3, 9, 9)), w, bias, pads=[1] * 4))
    b.output(b.add("GlobalAveragePool", y), "y", (1, 8, 1, 1))
    path = tmp_path / "net.onnx"
    path.write_bytes(to_proto(b.build()).SerializeToString())
    x = rng.normal(size=(1, 3, 9, 9)).astype(np.float32)
    quantise(path, x, rng)
    model = fastconv.load(path)
    expected = expected_quantised(path, x)
    assert "integer_conv" in model.explain()
    case = Case(
        "model", "small int8", {"model": "small", "batch": 1, "dtype": "int8", "folder": str(tmp_path)}
    )
    path.rename(tmp_path / "model.onnx")
    np.save(tmp_path / "x.npy", x)
    prepared = engines.prepare("fastconv", case, 1)
    assert (prepared.saved_macs, prepared.other_macs) == (0, {})  # all of it are products of bytes
    np.testing.assert_allclose(model(x), expected, atol=np.ptp(expected) / 100)


def test_a_network_of_8_bits_in_turns(tmp_path, rng):
    """All the way: written, quantised, checked, timed, and held against the peak of bytes."""
    pytest.importorskip("onnxruntime")
    from fastconv.exporters.onnx import to_proto

    b = GraphBuilder("small", {})
    y = b.input("x", (1, 3, 24, 24))
    for i, (oc, ic) in enumerate(((32, 3), (32, 32))):
        w = b.constant(f"w{i}", rng.normal(size=(oc, ic, 3, 3)).astype(np.float32))
        y = b.add("Relu", b.add("Conv", y, w, pads=[1] * 4))
    b.output(b.add("GlobalAveragePool", y), "y", (1, 32, 1, 1))
    path = tmp_path / "small.onnx"
    path.write_bytes(to_proto(b.build()).SerializeToString())
    case = bench.quantised(bench.given(str(path), (1, 3, 24, 24)))
    with bench.Suite("model", rounds=2, seconds=0.001) as suite:
        result = suite.compare(case)
        (timing,) = result.timings.values()
        share = result.share("fastconv", suite.roof)
        assert bench.row(result, suite.roof).split()[-1] == f"{100 * share:.1f}"  # "% roof"
    assert 0 < share < 1
    assert result.flops == 2 * 24 * 24 * 9 * (32 * 3 + 32 * 32)
    int16 = timing.other_flops.get("int16", 0)  # of the second layer, where Winograd pays
    assert set(timing.other_flops) <= {"int16"}
    assert int16 < result.flops
    assert (timing.saved_flops > 0) == (int16 > 0)


def test_dtype_is_for_networks(capsys):
    assert main(["bench", "conv", "--dtype", "int8"]) == 2
    assert "--dtype: expected none beside kind 'conv'" in capsys.readouterr().err
