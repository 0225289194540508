"""The benchmark harness: what it compares is the same computation, and it refuses what cannot be true."""

from __future__ import annotations

import csv
import importlib.util
import io
import json
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from fastconv import bench
from fastconv.errors import ArgumentError
from fastconv.lab.compare import engines, worker
from fastconv.lab.compare.cases import Case, conv_arrays, gemm_arrays
from fastconv.lab.compare.expected import expected
from fastconv.lab.compare.layer_work import executed_macs
from fastconv.lab.compare.network_names import NETWORKS
from fastconv.lab.compare.networks import torchvision_module, written
from fastconv.lab.compare.record import as_record
from fastconv.lab.compare.suite import BenchError, Result, Timing, Worker, Workers, check_rates, compare_case
from fastconv.lab.draw.bench import draw
from fastconv.lab.sweeps import picks
from fastconv.roofline import Roof, RoofError, peak_fma
from fastconv.testing.shapes import CONV_TABLES, GEMM_TABLES, ConvLayer, GemmShape

pytestmark = pytest.mark.peers

ROOT = Path(__file__).parents[2]
GEMM = Case.of(GemmShape(5, 7, 9))
CONV = Case.of(ConvLayer("tiny", 3, 4, (6, 5), (3, 3), stride=2, padding=(0, 1, 1, 1)))
UP = Case.of(
    ConvLayer("up", 4, 6, (5, 4), (3, 3), 2, (1, 1, 1, 1), groups=2, transposed=True, output_padding=1)
)
DEEP = Case.of(ConvLayer("deep", 3, 4, (4, 6, 5), (1, 3, 3), padding=(0, 1, 1, 0, 1, 1)))
SIGNS = Case("xnor", "signs", asdict(ConvLayer("signs", 40, 9, (6, 5), (3, 3), padding=(1, 1, 1, 1))))
SHORT = {"rounds": 2, "seconds": 0.001}


# ---- cases -----------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [*CONV_TABLES["singles"], *CONV_TABLES["misc"], GemmShape(1, 2, 3)])
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
    assert list(bench.find_tables("conv", ["stems", "64>64@56 k3"])) == ["stems", "cases"]
    assert set(bench.find_tables("conv", ["all"])) == {*CONV_TABLES, "xnor"}
    assert {case.kind for case in bench.find_cases("conv", ["xnor"])} == {"xnor"}
    assert [case.name for case in bench.find_cases("model", ["vgg16", "resnet18"])] == ["vgg16", "resnet18"]
    for kind, name in (("conv", "nothing"), ("pool", "")):
        with pytest.raises(ArgumentError):
            bench.find_cases(kind, [name])


def test_tables_of_kinds() -> None:
    counts = {"resnet50": 23, "depthwise_odd": 10, "stems": 5}
    assert {name: len(CONV_TABLES[name]) for name in counts} == counts
    depthwise = [layer for layer in CONV_TABLES["mobilenet_v2"] if layer.groups > 1]
    assert {layer.name for layer in depthwise} <= {layer.name for layer in CONV_TABLES["depthwise"]}
    assert all(layer.groups == layer.ic for layer in CONV_TABLES["depthwise"] + CONV_TABLES["depthwise_odd"])
    assert all(1 < layer.groups < layer.ic for layer in CONV_TABLES["grouped"])
    assert {layer.spatial for layer in CONV_TABLES["misc"]} == {2, 3}
    assert len(set(GEMM_TABLES["mixed"])) == 18
    assert set(GEMM_TABLES["squares"]) < set(GEMM_TABLES["mixed"])


@pytest.mark.torch
@pytest.mark.parametrize(
    ("table", "name"),
    [
        *(("resnet50", "resnet50"), ("vgg16", "vgg16"), ("mobilenet_v2", "mobilenet_v2")),
        *(("mobilenet_v3", "mobilenet_v3_large"), ("resnext50", "resnext50_32x4d")),
        *(("squeezenet", "squeezenet1_1"), ("shufflenet_v2", "shufflenet_v2_x1_0")),
        ("inception_v3", "inception_v3"),
    ],
)
def test_tables_agree_with_torchvision(table: str, name: str) -> None:
    torch = pytest.importorskip("torch")
    if importlib.util.find_spec("torchvision") is None:
        pytest.skip("torchvision is not installed")
    module, seen = torchvision_module(name), set()

    def look(layer: Any, inputs: tuple[Any, ...], _: Any) -> None:
        shape = (tuple(layer.weight.shape), layer.stride[0], layer.padding, layer.groups)
        seen.add((tuple(inputs[0].shape[2:]), *shape))

    for layer in module.modules():
        if isinstance(layer, torch.nn.Conv2d):
            layer.register_forward_hook(look)
    with torch.no_grad():
        module(torch.zeros(1, 3, *[NETWORKS[name].image] * 2))
    rows = {
        (layer.size, layer.w_shape, layer.stride, tuple(low for low, _ in layer.pads), layer.groups)
        for layer in CONV_TABLES[table]
    }
    spatial = {row for row in seen if row[0] != (1, 1)}  # not those of squeeze-and-excite
    assert rows <= seen if table == "inception_v3" else rows == spatial


# ---- engines ---------------------------------------------------------------------------------


@pytest.mark.parametrize("case", [GEMM, CONV, UP, DEEP, SIGNS], ids=lambda case: case.name)
@pytest.mark.parametrize(
    "engine",
    [
        "fastconv",
        "numpy",
        pytest.param("ort", marks=pytest.mark.ort),
        pytest.param("torch", marks=pytest.mark.torch),
        "openvino",
    ],
)
def test_engines_compute_the_same(case: Case, engine: str) -> None:
    pytest.importorskip(engines.ENGINES[engine].package)
    for variant in engines.variants(case.kind, 1, [engine]):
        prepared = engines.prepare(variant, case, 1)
        y = prepared.to_numpy(prepared.run())
        want = expected(case).output
        np.testing.assert_allclose(y, want, rtol=1e-4, atol=1e-5 * max(1, np.abs(want).max()))


@pytest.mark.model
@pytest.mark.parametrize(
    ("engine", "batch"),
    [
        ("fastconv", 2),
        pytest.param("ort", 2, marks=pytest.mark.ort),
        pytest.param("torch", 2, marks=pytest.mark.torch),
        ("openvino", 2),
        ("ncnn", 1),  # knows no batch
        ("mnn", 2),
    ],
)
def test_engines_run_the_same_network(engine: str, batch: int, tmp_path: Path) -> None:
    pytest.importorskip(engines.ENGINES[engine].package)
    pytest.importorskip("onnx")
    if engine == "ncnn":
        pytest.importorskip("pnnx")
    case = written(bench.batched(bench.find_cases("model", ["mobilenet_v1"])[0], batch), tmp_path)
    want = expected(case)
    assert 1.1e9 < want.flops / batch < 1.2e9
    for variant in engines.variants("model", 1, [engine]):
        prepared = engines.prepare(variant, case, 1)
        y = prepared.to_numpy(prepared.run())
        assert np.abs(y - want.output).max() < 1e-3 * np.abs(want.output).max()


def test_only_more_than_one_thread_can_spin() -> None:
    assert engines.variants("conv", 1, ["ort"]) == ["ort"]
    assert engines.variants("conv", 2, ["ort"]) == ["ort/spin", "ort/sleep"]
    assert engines.variants("gemm", 2, ["ort"]) == ["ort/packed_spin", "ort/packed_sleep"]
    assert engines.variants("conv", 1, ["numpy"]) == []


def test_engines_are_capped_alike() -> None:
    assert engines.environment("fastconv", 2, "avx2")["FASTCONV_ISA"] == "avx2"
    assert engines.environment("numpy", 1, "avx2")["OPENBLAS_CORETYPE"] == "Haswell"
    assert "FASTCONV_ISA" not in engines.environment("fastconv/prepacked", 1, None, {})
    assert bench.capped(["numpy", "torch", "ort"]) == (["numpy", "torch"], ["ort"])


def test_a_shell_does_not_slow_a_peer_down() -> None:
    shell = {
        "OPENBLAS_CORETYPE": "Haswell",
        "ONEDNN_MAX_CPU_ISA": "SSE41",
        "FASTCONV_ISA": "ref",
        "HOME": "/",
    }
    kept = engines.environment("numpy", 1, None, shell)
    assert {name for name in shell if name in kept} == {"FASTCONV_ISA", "HOME"}


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
    assert prepared == {"saved_macs": 0, "algorithm": "", "other_macs": {}}
    assert 0 < timed["min"] <= timed["median"]
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), expected(GEMM).output, rtol=1e-5, atol=1e-5)


def test_a_worker_that_ends_is_an_error() -> None:
    with Workers(["numpy"], 1) as workers:
        assert "error" in workers["numpy"].ask(time=0.001)  # nothing is prepared
        workers["numpy"]._process.kill()
        with pytest.raises(BenchError, match="numpy: expected an answer, got the worker ended"):
            workers["numpy"].ask(time=0.001)
        assert "error" in workers["numpy"].ask(time=0.001)  # a new process


def test_a_worker_that_hangs_is_an_error() -> None:
    with Workers(["numpy"], 1, timeout=0.001) as workers, pytest.raises(BenchError, match="none in 0"):
        workers["numpy"].ask(time=0.001)


# ---- comparison ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def record() -> dict[str, Any]:
    """Two tiny matrix products against numpy."""
    tables = {"tiny": [GEMM, Case.of(GemmShape(8, 8, 8))]}
    with bench.Suite("gemm", peers=["numpy"], **SHORT) as suite:
        results = [suite.compare(case) for case in tables["tiny"]]
        first = results[0]
        assert set(first.timings) == {"fastconv", "numpy"}
        assert first.ratio() == first.timings["numpy"].min_ms / first.timings["fastconv"].min_ms
        assert first.gflops("numpy") < suite.roof.peak.gflops
        assert bench.row(first, suite.roof).startswith("5x7x9")
    return as_record("gemm", tables, results, [suite.roof], rounds=2)


def test_record(record: dict[str, Any]) -> None:
    record = json.loads(json.dumps(record))
    assert record["packages"]["numpy"] == np.__version__
    assert record["tables"] == {"tiny": ["5x7x9", "8x8x8"]}
    assert record["cases"][1]["engines"]["fastconv"]["error"] < 1e-5
    assert record["cases"][1]["contests"]["plain"]["best_peer"] == "numpy"
    summary, *_ = bench.summarize([record])
    ratios = [case["contests"]["plain"]["ratio"] for case in record["cases"]]
    assert summary["geomean"] == pytest.approx(np.sqrt(np.prod(ratios)))
    assert summary["worst"] == min(ratios)
    assert any(line.startswith("tiny") for line in bench.summary_lines([record]))
    assert bench.summary_lines([]) == []


def test_csv(record: dict[str, Any]) -> None:
    rows = list(csv.DictReader(io.StringIO(bench.as_csv([record]))))
    assert [(row["name"], row["engine"]) for row in rows[:2]] == [("5x7x9", "fastconv"), ("5x7x9", "numpy")]
    assert float(rows[0]["min_ms"]) > 0


def test_plot(record: dict[str, Any], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    for name in ("a.svg", "b.svg", "c.png"):
        draw([record], tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert (tmp_path / "c.png").stat().st_size > 1000


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


@pytest.mark.parametrize("error", [0.1, float("nan")])
def test_a_wrong_result_is_not_timed(error: float) -> None:
    workers = {"fastconv": FakeWorker(), "numpy": FakeWorker(error=error)}
    result = compare_case(GEMM, workers, Roof(1), **SHORT)
    assert set(result.timings) == {"fastconv"}
    assert result.failed["numpy"].startswith("wrong")


def test_a_rate_above_the_roof_is_a_bug() -> None:
    with pytest.raises(RoofError, match="5x7x9: fastconv: expected at most the measured FMA peak"):
        compare_case(GEMM, {"fastconv": FakeWorker(seconds=1e-12)}, Roof(1), **SHORT)
    # Nobody knows how much of the work a peer with Winograd does.
    compare_case(GEMM, {"fastconv": FakeWorker(), "mnn": FakeWorker(seconds=1e-12)}, Roof(1), **SHORT)


def test_a_failure_is_a_cell() -> None:
    workers = {"fastconv": FakeWorker(), "ort/packed": FakeWorker(refuses=True)}
    result = compare_case(GEMM, workers, Roof(1), **SHORT)
    assert result.failed == {"ort/packed": "ValueError: not my kind"}
    assert result.ratio() is None
    assert bench.row(result, Roof(1)).endswith("failed: ort/packed")
    result = compare_case(GEMM, {"fastconv": FakeWorker(refuses=True)}, Roof(1), **SHORT)
    assert "failed" in bench.row(result, Roof(1))


def test_executed_work_is_held_against_the_roof() -> None:
    layer = ConvLayer("3x3", 64, 64, (56, 56), (3, 3), padding=(1, 1, 1, 1))
    direct = layer.macs
    inside = 56 * 3 - 2  # of the 168 taps of a row or column
    assert executed_macs(layer, "implicit") == 64 * 64 * inside**2
    assert executed_macs(layer, "winograd_f4") * 4 == direct  # 36 products for the 144 of a tile
    assert executed_macs(layer, "winograd_f2") * 9 == direct * 4  # 16 for 36
    five = ConvLayer("5x5", 8, 8, (8, 8), (5, 5), padding=(2, 2, 2, 2))
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
    check_rates(Result(case, 1, 2 * direct, {"fastconv": Timing(**timing, saved_flops=saved)}, {}), roof)
    with pytest.raises(RoofError, match="3x3: fastconv: expected at most the measured FMA peak"):
        check_rates(Result(case, 1, 2 * direct, {"fastconv": Timing(**timing)}, {}), roof)


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
    sys.modules[spec.name] = module  # where dataclasses look for it
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def report() -> ModuleType:
    return script("report")


def test_pick_times_every_algorithm_but_the_reference() -> None:
    timed = picks.time_layer(CONV, rounds=1, seconds=0.001)
    assert timed.pick in timed.times
    assert "reference" not in timed.times
    assert len(timed.times) > 1


def test_pick_runs_as_a_command() -> None:
    """A layer and what was timed of it on a line, and how many picks lag."""
    command = [sys.executable, str(ROOT / "bench" / "pick.py"), "240>60@28 k1 g3", "--rounds", "1"]
    done = subprocess.run([*command, "--seconds", "0.001"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("240>60@28 k1 g3")
    assert " of 1 picks lose more than 5 %" in done.stdout


def test_pick_repeats_what_is_suspicious() -> None:
    calls = []

    def measure(_case: Case, rounds: int, _seconds: float) -> Any:
        calls.append(rounds)
        slow = {"a": 2.0, "b": 1.0} if len(calls) == 1 else {"a": 1.0, "b": 1.0}
        return picks.Timed("a", slow)

    assert picks.judge(CONV, 5.0, 3, 0.001, measure=measure).lag == 0.0  # it was noise
    assert calls == [3, 12]
    assert picks.Timed("a", {"a": 1.2, "b": 1.0}).lag == pytest.approx(20.0)


def test_report(report: ModuleType, record: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps([record, {**record, "kind": "model", "cases": []}]))
    records = report.read_records(tmp_path)
    page = "above\n<!-- bench:begin -->\nold\n<!-- bench:end -->\nbelow\n"
    text = report.updated(page, records, ("summary", "cases"))
    assert text.startswith("above\n")
    assert text.endswith("\nbelow\n")
    assert "old" not in text
    assert "| gemm tiny |" in text
    assert "| 5x7x9 |" in text
    assert report.updated(text, records, ("summary", "cases")) == text
    other = {**record, "tier": "other", "cpu": "another machine"}
    text = report.updated(page, [record, other], ("summary",))
    for tier, cpu in (
        (record["tier"], record["cpu"]),
        ("other", "another machine"),
    ):  # none without its machine
        part = text.partition(f"by table, {tier}\n")[2].partition("###")[0]
        assert f"| {tier} |" in part
        assert f"{cpu}, tier {tier}, measured" in part
    with pytest.raises(ValueError, match="bench:begin"):
        report.updated("no markers", records, ("summary",))
