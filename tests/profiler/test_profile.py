"""Rooflines, and layers timed against them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastconv
from fastconv import _core
from fastconv.cli import main
from fastconv.errors import ArgumentError
from fastconv.graph.ir import GraphBuilder
from fastconv.graph.model import Model
from fastconv.profiler import Profile, plot_losses, plot_profile, profile
from fastconv.roofline import (
    Bandwidth,
    Peak,
    RoofError,
    Roofline,
    bandwidth,
    dtypes,
    measure_roofline,
    plot_rooflines,
    working_sets,
)


@pytest.fixture(autouse=True)
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Keep measurements in a file of the test's own."""
    monkeypatch.setenv("FASTCONV_ROOFLINE", str(tmp_path / "roofline.json"))
    return tmp_path / "roofline.json"


def roofline(gflops: float = 100.0) -> Roofline:
    """A machine of round numbers: 100 GFLOP/s; 400, 200, 50 and 10 GB/s."""
    capacities = {"L1": 32 << 10, "L2": 512 << 10, "L3": 8 << 20}
    bands = tuple(
        Bandwidth(level, op, "avx2", 1, 0, gbs if op == "read" else gbs / 2, gbs / 2, 3)
        for level, gbs in (("L1", 400.0), ("L2", 200.0), ("L3", 50.0), ("DRAM", 10.0))
        for op in ("read", "write", "copy")
    )
    return Roofline("a processor", Peak("avx2", 1, gflops, 0.9 * gflops, 5), bands, capacities)


# -- the machine ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("op", ["read", "write", "copy"])
def test_bandwidth(op: str, tier: str, num_threads: int) -> None:
    for level in ("L1", "DRAM"):
        found = bandwidth(level, op, seconds=0.004)
        assert (found.tier, found.threads, found.op, found.level) == (tier, num_threads, op, level)
        assert found.gbs >= found.median > 0
        assert 0 <= found.spread < 1
        assert found.bytes == working_sets(num_threads)[level]


def test_working_sets_are_of_their_level() -> None:
    caches = _core.cpu_info()["caches"]
    for threads in (1, 2, 16):
        sets = working_sets(threads)
        assert sets["L1"] < caches["l1d"] < sets["L2"] < caches["l2"] < sets["L3"]
        assert sets["DRAM"] * threads > caches["l3"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"level": "L9"}, "level: expected one of L1"),
        ({"level": "L1", "op": "erase"}, "op: expected read, write or copy, got erase"),
        ({"level": "L1", "tier": "mmx"}, "tier: expected"),
        ({"level": "L1", "threads": 0}, "threads: expected 1 to 4096, got 0"),
        ({"level": "L1", "seconds": 0}, "seconds: expected more than 0, got 0"),
    ],
)
def test_bandwidth_refuses(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        bandwidth(**arguments)


@pytest.mark.parametrize("size", [0, 3, 1 << 40])
def test_impossible_working_sets(size: int) -> None:
    with pytest.raises(ArgumentError, match="bytes: expected 4 to"):
        _core.bandwidth(_core.active_tier(), "read", size, 1, 0.001)


def test_a_roofline_is_measured_once(file: Path) -> None:
    first = measure_roofline(threads=1, seconds=0.002)
    assert first.levels[0] == "L1"
    assert first.levels[-1] == "DRAM"
    again = measure_roofline(threads=1, seconds=0.002)
    assert (again.bandwidths, again.narrow) == (first.bandwidths, first.narrow)
    assert again.peak.gflops >= first.peak.gflops
    assert {p.dtype for p in first.peaks} == set(dtypes())
    fresh = measure_roofline(threads=1, seconds=0.002, refresh=True)
    assert fresh.bandwidths != first.bandwidths
    assert len(json.loads(file.read_text())) == 1
    for damage in ("", "[]", json.dumps({next(iter(json.loads(file.read_text()))): {"peak": 1}})):
        file.write_text(damage)
        assert measure_roofline(threads=1, seconds=0.002).levels == first.levels


def test_bound_is_the_slower_of_compute_and_memory() -> None:
    roof = roofline()
    assert [roof.level_of(n) for n in (1 << 10, 1 << 18, 1 << 22, 1 << 30)] == ["L1", "L2", "L3", "DRAM"]
    assert roof.ridge("L2") == 0.5
    narrow = replace(roof, narrow=(Peak("avx2", 1, 400.0, 400.0, 5, "int8", "vpdpbusd"),))
    assert [narrow.ridge("L2", name) for name in ("f32", "int8", "int16")] == [0.5, 2.0, 1.0]
    assert [narrow.bound(1e9, 1, name).seconds for name in ("f32", "int8", "int16")] == [1e-2, 2.5e-3, 5e-3]
    for flops, size, name, seconds in (
        (1e9, 1 << 10, "compute", 1e-2),
        (1e3, 4 << 20, "L3", (4 << 20) / 50e9),
        (1e3, 1 << 30, "DRAM", (1 << 30) / 10e9),
    ):
        bound = roof.bound(flops, size)
        assert bound.roof == name
        assert bound.seconds == pytest.approx(seconds)


def test_doubts_are_told() -> None:
    roof = roofline()
    noisy = replace(roof, peak=Peak("avx2", 1, 100.0, 60.0, 5))
    assert any("the FMA peak" in text and "40%" in text for text in noisy.warnings())
    noisy = replace(roof, narrow=(Peak("avx2", 1, 400.0, 200.0, 5, "int8", "vpmaddubsw"),))
    assert any("the int8 vpmaddubsw" in text and "50%" in text for text in noisy.warnings())
    assert not any("the FMA peak" in text for text in roof.warnings())


# -- the network ---------------------------------------------------------------------------------------------


def network() -> Model:
    rng = np.random.default_rng(3)
    b = GraphBuilder("net", {})
    y = b.input("x", ("batch", 3, 32, 32))
    for i, (oc, ic, group) in enumerate(((32, 3, 1), (32, 1, 32), (64, 32, 1))):
        w = b.constant(f"w{i}", rng.standard_normal((oc, ic, 3, 3)).astype(np.float32))
        y = b.add("Relu", b.add("Conv", y, w, group=group, pads=[1] * 4, name=f"conv{i}"))
    b.output(b.add("GlobalAveragePool", y))
    return Model(b.build())


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Profile:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FASTCONV_ROOFLINE", str(tmp_path_factory.mktemp("roof") / "roofline.json"))
        return profile(network(), threads=1, seconds=0.05)


def test_profile(found: Profile) -> None:
    assert found.runs >= 5
    assert found.run_ms > 0
    assert 0.5 < found.coverage <= 1  # of a run of a fifth of a millisecond, most of it is steps
    assert found.overhead > -1
    assert found.params == 32 * 27 + 32 * 9 + 64 * 32 * 9
    layers = [layer for layer in found.layers if layer.macs]
    assert [layer.name.split()[0] for layer in layers] == ["conv0", "conv1", "conv2"]
    for layer in found.layers:
        assert 0 < layer.ms <= layer.median_ms
        assert layer.roof == "compute" or layer.roof in found.roofline.levels
        assert layer.share == pytest.approx(layer.ideal_ms / layer.ms)
        assert layer.lost_ms == pytest.approx(layer.ms - layer.ideal_ms)
    totals = found.totals
    assert totals["ms"] == pytest.approx(sum(layer.ms for layer in found.layers))
    assert totals["macs"] == 32 * 32 * (32 * 27 + 32 * 9 + 64 * 32 * 9)
    assert json.loads(json.dumps(found.as_dict()))["totals"]["params"] == found.params
    assert totals["counted_bytes"] == found.traffic.bytes
    assert (totals["counted_bytes"] is None) == totals["counted"].startswith("perf_event_open: E")
    assert [layer.lost_ms for layer in found.sorted_by("lost_ms")] == sorted(
        (layer.lost_ms for layer in found.layers), reverse=True
    )
    table = found.table()
    assert table.splitlines()[-1].split()[0] == "total"
    assert all(layer.name in table for layer in found.layers)
    assert found._repr_html_().startswith("<table")


def test_a_planted_unit_is_found() -> None:
    """A peak in the wrong unit, a thousandth of the real one: no layer may pass."""
    with pytest.raises(RoofError, match="layer 'conv"):
        profile(network(), threads=1, seconds=0.01, roofline=roofline(gflops=0.1))


def test_inputs(num_threads: int) -> None:
    model = network()
    x = np.zeros((3, 3, 32, 32), np.float32)
    roof = roofline(1e6)
    for inputs in ((x,), (x.shape,)):
        assert profile(model, *inputs, seconds=0.01, roofline=roof).layers[0].input == x.shape
    assert fastconv.get_num_threads() == num_threads
    with pytest.raises(ArgumentError, match="inputs: expected 1 arrays or shapes, got 2"):
        profile(model, x, x)


# -- pictures and commands -----------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_pictures(found: Profile, suffix: str, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from matplotlib.figure import Figure

    for i, figure in enumerate(
        (plot_profile(found), plot_losses(found, layers=2), plot_rooflines([roofline(), roofline(50)]))
    ):
        assert isinstance(figure, Figure)
        figure.savefig(tmp_path / f"{i}.{suffix}")
        assert (tmp_path / f"{i}.{suffix}").stat().st_size > 1000
    axes = Figure().subplots()
    assert plot_rooflines([roofline()], axes) is axes.figure
    with pytest.raises(ArgumentError, match="rooflines: expected at least one, got none"):
        plot_rooflines([])


def test_command(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    small = ["mobilenet_v2", "--input-shape", "1,3,64,64", "--threads", "1", "--seconds", "0.05"]
    picture = tmp_path / "layers.svg"
    assert main(["profile", *small, "--sort", "lost", "--plot", str(picture)]) == 0
    out = capsys.readouterr().out
    assert "FMA peak" in out
    assert "fastest run" in out
    assert "MB compulsory" in out
    assert ("MB counted" in out) != ("not counted: perf_event_open: E" in out)
    assert picture.read_text().startswith("<?xml")
    assert main(["profile", *small, "--json", "--batch", "2"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert {"params", "macs", "flops", "bytes", "ms"} <= set(record["totals"])
    assert record["layers"][0]["input"] == [2, 3, 64, 64]
    assert record["version"] == fastconv.__version__
    assert {"date", "git_sha"} <= set(record)
    assert main(["profile", *small, "--count"]) == 2
    assert "--threads: expected none beside --count" in capsys.readouterr().err
    assert main(["profile", *small[:3], "--count"]) == 0
    assert "FLOP/B" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "expected a model or --zoo, got neither"),
        (["resnet50", "--zoo"], "expected a model or --zoo, got both"),
        (["resnet5O"], "MODEL: expected an architecture's name, an .onnx or .fcm file"),
    ],
)
def test_command_refuses(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profile", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_roofline_command(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    tier, picture = _core.active_tier(), tmp_path / "roofs.svg"
    command = ["roofline", "--threads", "1", "--tiers", tier, "--seconds", "0.004"]
    assert main([*command, "--plot", str(picture)]) == 0
    out = capsys.readouterr().out
    assert all(f"{level} copy" in out for level in working_sets(1))
    for dtype, instruction in _core.peak_instructions(tier).items():
        assert dtype == "f32" or f"{dtype} {instruction}" in out
        assert dtype == "f32" or f"{dtype} {instruction}" in picture.read_text()
    ridges = [line for line in out.splitlines() if "FLOP/byte" in line]
    assert len(ridges) == len(working_sets(1))
    assert all(("int8" in line) == ("int8" in dtypes(tier)) for line in ridges)
    assert picture.exists()
    assert main([*command, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert {b["level"] for b in record["bandwidths"]} == set(working_sets(1))
    assert [(p["tier"], p["dtype"]) for p in record["peaks"]] == [(tier, dtype) for dtype in dtypes(tier)]
    assert {p["instruction"] for p in record["peaks"]} == set(_core.peak_instructions(tier).values())
    assert main([*command, "--plot", str(tmp_path / "roofs.bmp2")]) == 2
    assert "--plot" in capsys.readouterr().err
