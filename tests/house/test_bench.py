"""The benchmark harness: what it compares is the same computation, and it refuses what cannot be true."""

from __future__ import annotations

import importlib.util
import io
import json
from dataclasses import asdict, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from fastconv import bench
from fastconv.bench import engines, worker
from fastconv.bench.cases import Case, conv_arrays, gemm_arrays
from fastconv.bench.compare import BenchError, Result, Roof, Timing, Worker, Workers, compare_case
from fastconv.bench.executed import executed_macs
from fastconv.bench.expected import expected
from fastconv.bench.record import as_record, row
from fastconv.errors import ArgumentError
from fastconv.roofline import peak_fma
from fastconv.testing.shapes import CONV_TABLES, ConvLayer, GemmShape

ROOT = Path(__file__).parents[2]
GEMM = Case.of(GemmShape(5, 7, 9))
CONV = Case.of(ConvLayer("tiny", 3, 4, 6, 5, 3, 3, stride=2, padding=(0, 1, 1, 1)))
SHORT = {"rounds": 2, "seconds": 0.001}


# ---- cases -----------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [*CONV_TABLES["singles"], GemmShape(1, 2, 3)])
def test_a_case_survives_json(shape: ConvLayer | GemmShape) -> None:
    case = Case(**json.loads(json.dumps(asdict(Case.of(shape)))))
    assert shape == (case.layer if isinstance(shape, ConvLayer) else case.gemm)


def test_arrays_depend_on_the_case_alone() -> None:
    for first, second in zip(conv_arrays(CONV), conv_arrays(CONV), strict=True):
        np.testing.assert_array_equal(first, second)
    other = Case("gemm", "other", GEMM.parameters)
    assert (gemm_arrays(GEMM)[0] != gemm_arrays(other)[0]).any()


def test_cases_are_found_by_table_and_by_name() -> None:
    assert len(bench.find_cases("conv")) == len(CONV_TABLES["singles"])
    assert len(bench.find_cases("conv", ["resnet50", "singles", "64>64@56 k3"])) < len(
        CONV_TABLES["resnet50"]
    ) + len(CONV_TABLES["singles"])
    assert [case.name for case in bench.find_cases("model", ["resnet50"])] == ["resnet50"]
    for kind, name in (("conv", "nothing"), ("pool", "")):
        with pytest.raises(ArgumentError):
            bench.find_cases(kind, [name])


# ---- engines ---------------------------------------------------------------------------------


@pytest.mark.parametrize("case", [GEMM, CONV], ids=lambda case: case.kind)
@pytest.mark.parametrize(
    "engine",
    [
        "fastconv",
        "numpy",
        pytest.param("ort", marks=pytest.mark.ort),
        pytest.param("torch", marks=pytest.mark.torch),
    ],
)
def test_engines_compute_the_same(case: Case, engine: str) -> None:
    pytest.importorskip(engines.ENGINES[engine].package)
    for variant in engines.variants(case.kind, 1, [engine]):
        prepared = engines.prepare(variant, case, 1)
        y = prepared.to_numpy(prepared.run())
        np.testing.assert_allclose(y, expected(case).output, rtol=1e-4, atol=1e-5)


@pytest.mark.model
@pytest.mark.parametrize(
    "engine",
    ["fastconv", pytest.param("ort", marks=pytest.mark.ort), pytest.param("torch", marks=pytest.mark.torch)],
)
def test_engines_run_the_same_network(engine: str) -> None:
    pytest.importorskip(engines.ENGINES[engine].package)
    (case,) = bench.find_cases("model", ["mobilenet_v1"])
    want = expected(case)
    assert 1.1e9 < want.flops < 1.2e9
    for variant in engines.variants("model", 1, [engine]):
        prepared = engines.prepare(variant, case, 1)
        y = prepared.to_numpy(prepared.run())
        assert np.abs(y - want.output).max() < 1e-3 * np.abs(want.output).max()


def test_only_more_than_one_thread_can_spin() -> None:
    assert engines.variants("conv", 1, ["ort"]) == ["ort"]
    assert engines.variants("conv", 2, ["ort"]) == ["ort/spin", "ort/sleep"]
    assert engines.variants("conv", 1, ["numpy"]) == []


def test_peers_must_be_known() -> None:
    assert "numpy" in bench.installed_peers()
    with pytest.raises(ArgumentError, match="caffe"):
        bench.installed_peers(["caffe"])


# ---- worker ----------------------------------------------------------------------------------


def test_worker_answers_every_request(tmp_path: Path) -> None:
    requests: list[dict[str, Any]] = [
        {"time": 0.001},
        {"prepare": asdict(GEMM), "output": str(tmp_path / "y.npy")},
        {"time": 0.001},
        {"prepare": asdict(Case("gemm", "bad", {"m": 1})), "output": str(tmp_path / "z.npy")},
    ]
    replies = io.StringIO()
    worker.serve("numpy", 1, io.StringIO("".join(json.dumps(r) + "\n" for r in requests)), replies)
    early, prepared, timed, bad = map(json.loads, replies.getvalue().splitlines())
    assert "error" in early
    assert "TypeError" in bad["error"]
    assert prepared == {"saved_macs": 0, "algorithm": ""}
    assert 0 < timed["min"] <= timed["median"]
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), expected(GEMM).output, rtol=1e-5, atol=1e-5)


def test_a_worker_that_ends_is_an_error() -> None:
    with Workers(["numpy"], 1) as workers:
        workers["numpy"]._process.kill()
        with pytest.raises(BenchError, match="numpy: expected an answer"):
            workers["numpy"].ask(time=0.001)


# ---- comparison ------------------------------------------------------------------------------


def test_suite_compares_in_processes() -> None:
    seen = []
    results, peaks = bench.run_suite(
        [GEMM, Case.of(GemmShape(8, 8, 8))],
        peers=["numpy"],
        on_result=lambda result, roof: seen.append((result.case.name, roof.peak.threads)),
        **SHORT,
    )
    assert seen == [("5x7x9", 1), ("8x8x8", 1)]
    first = results[0]
    assert set(first.timings) == {"fastconv", "numpy"}
    assert first.ratio() == first.timings["numpy"].min_ms / first.timings["fastconv"].min_ms
    assert first.gflops("numpy") < peaks[0].gflops

    record = json.loads(json.dumps(as_record("gemm", results, peaks, rounds=2)))
    assert record["packages"]["numpy"] == np.__version__
    assert record["cases"][1]["engines"]["fastconv"]["error"] < 1e-5
    assert row(first, peaks[0].gflops).startswith("5x7x9")


class FakeWorker(Worker):
    """Answers without a process: a result off by `error`, each call as fast as `seconds`."""

    def __init__(self, *, error: float = 0.0, seconds: float = 1.0, refuses: bool = False) -> None:
        self.error, self.seconds, self.refuses = error, seconds, refuses

    def ask(self, **request: Any) -> dict[str, Any]:
        if self.refuses:
            return {"error": "ValueError: not my kind"}
        if "prepare" in request:
            np.save(request["output"], expected(GEMM).output + self.error)
            return {}
        return {"min": self.seconds, "median": self.seconds, "calls": 1}


def test_a_wrong_result_is_not_timed() -> None:
    workers = {"fastconv": FakeWorker(), "numpy": FakeWorker(error=0.1)}
    with pytest.raises(BenchError, match="numpy within"):
        compare_case(GEMM, workers, Roof(1), **SHORT)
    workers["numpy"].error = float("nan")
    with pytest.raises(BenchError, match="numpy within"):
        compare_case(GEMM, workers, Roof(1), **SHORT)


def test_a_rate_above_the_roof_is_a_bug() -> None:
    with pytest.raises(BenchError, match="below the measured FMA peak"):
        compare_case(GEMM, {"fastconv": FakeWorker(seconds=1e-12)}, Roof(1), **SHORT)


def test_a_peer_may_lack_a_case_and_fastconv_may_not() -> None:
    result = compare_case(GEMM, {"fastconv": FakeWorker(), "ort": FakeWorker(refuses=True)}, Roof(1), **SHORT)
    assert result.skipped == {"ort": "ValueError: not my kind"}
    assert result.ratio() is None
    with pytest.raises(BenchError, match="fastconv failed"):
        compare_case(GEMM, {"fastconv": FakeWorker(refuses=True)}, Roof(1), **SHORT)


def test_executed_work_is_held_against_the_roof() -> None:
    layer = ConvLayer("3x3", 64, 64, 56, 56, 3, 3, padding=(1, 1, 1, 1))
    direct = executed_macs(layer, "implicit")
    assert direct == layer.macs
    assert executed_macs(layer, "winograd_f4") * 4 == direct  # 36 products for the 144 of a tile
    assert executed_macs(layer, "winograd_f2") * 9 == direct * 4  # 16 for 36
    five = ConvLayer("5x5", 8, 8, 8, 8, 5, 5, padding=(2, 2, 2, 2))
    assert executed_macs(five, "winograd_f2") * 25 == five.macs * 9  # 36 for 100
    odd = layer.resized(7, 7)  # four tiles of 4x4 cover 8x8
    assert executed_macs(odd, "winograd_f4") == 4 * 36 * 64 * 64
    dilated = replace(odd, dilation=2, padding=(2, 2, 2, 2))  # rows 0, 2, 4, 6 and 1, 3, 5: a tile each
    assert executed_macs(dilated, "winograd_f4") == 4 * 36 * 64 * 64

    roof = Roof(1)
    above = 1e-6 * 2 * layer.macs / (1.5 * roof.peak.gflops)  # milliseconds, at 1.5 times the peak
    timing = {"min_ms": above, "median_ms": above, "error": 0.0}
    saved = 2 * (direct - executed_macs(layer, "winograd_f4"))
    case = Case.of(layer)
    roof.check(Result(case, 1, 2 * direct, {"fastconv": Timing(**timing, saved_flops=saved)}, {}))
    with pytest.raises(BenchError, match="below the measured FMA peak"):
        roof.check(Result(case, 1, 2 * direct, {"fastconv": Timing(**timing)}, {}))


# ---- peak ------------------------------------------------------------------------------------


@pytest.mark.isa
def test_peak_of_each_tier(tier: str) -> None:
    peak = peak_fma(threads=1, seconds=0.01)
    assert peak.tier == tier
    assert 0 <= peak.spread < 1
    assert 0.1 < peak.gflops < 10_000


@pytest.mark.parametrize("arguments", [{"tier": "mmx"}, {"threads": 0}, {"threads": 5000}, {"seconds": 0.0}])
def test_peak_refuses(arguments: dict[str, Any]) -> None:
    with pytest.raises(ArgumentError, match=next(iter(arguments))):
        peak_fma(**arguments)


# ---- report ----------------------------------------------------------------------------------


def script(name: str) -> ModuleType:
    """Import a script of bench/."""
    spec = importlib.util.spec_from_file_location(f"bench_{name}", ROOT / "bench" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def report() -> ModuleType:
    return script("report")


def test_pick_times_every_algorithm_but_the_reference() -> None:
    pick, times = script("pick").time_layer(CONV, rounds=1, seconds=0.001)
    assert pick in times
    assert "reference" not in times
    assert len(times) > 1


def a_case(name: str, threads: int, ratio: float) -> dict[str, Any]:
    ours, peer = {"min_ms": 2.0, "percent_of_peak": 80.0}, {"min_ms": 2.0 * ratio}
    engine_times = {"fastconv/prepacked": ours, "fastconv/function": {**ours, "min_ms": 3.0}, "numpy": peer}
    return {"name": name, "threads": threads, "engines": engine_times, "best_peer": "numpy", "ratio": ratio}


def a_record(kind: str) -> dict[str, Any]:
    return {
        "kind": kind,
        "cpu": "a processor",
        "tier": "ref",
        "rounds": 12,
        "date": "2026-01-01",
        "git_sha": "abc",
        "packages": {"numpy": "2.0"},
        "peaks": {"1": {"gflops": 100.0}, "2": {"gflops": 200.0}},
        "cases": [a_case("first", 1, 0.5), a_case("second", 1, 2.0), a_case("first", 2, 1.5)],
    }


def test_report_fills_the_space_between_the_markers(report: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "all.json").write_text(json.dumps([a_record("gemm"), a_record("model")]))
    records = report.read_records(tmp_path)
    assert [record["kind"] for record in records] == ["model", "gemm"]
    text = report.updated(f"above\n{report.BEGIN}\nold\n{report.END}\nbelow\n", records)
    assert text.startswith("above\n")
    assert text.endswith("\nbelow\n")
    assert "old" not in text
    assert "| first | 2 | 80 % | 1 (numpy) | **0.50** | 2 | 80 % | 3 (numpy) | **1.50** |" in text
    assert "| second | 2 | 80 % | 4 (numpy) | **2.00** |  |  |  |  |" in text
    assert "**1.00**" in text  # the geometric mean of 0.5 and 2
    assert report.updated(text, records) == text
    with pytest.raises(SystemExit, match="bench:begin"):
        report.updated("no markers", records)


@pytest.mark.skipif(importlib.util.find_spec("matplotlib") is None, reason="needs matplotlib")
def test_figure_is_the_same_every_time(report: ModuleType, tmp_path: Path) -> None:
    for name in ("a.svg", "b.svg"):
        report.draw([a_record("conv"), a_record("gemm")], tmp_path / name)
    assert (tmp_path / "a.svg").read_text() == (tmp_path / "b.svg").read_text()
