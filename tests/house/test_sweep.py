"""The sweeps: all variants compute one product, the models count as they say, pictures can be drawn."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastconv
from fastconv import _core, sweep
from fastconv.cli import main
from fastconv.errors import ArgumentError, ShapeError
from fastconv.lab.compare.suite import BenchError
from fastconv.lab.sweeps import checked, text, tiles
from fastconv.lab.sweeps.blocking import predict_traffic
from fastconv.lab.sweeps.record import read
from fastconv.lab.timing import in_turns
from fastconv.roofline import Peak, Roof, RoofError
from fastconv.testing import reference, tolerance
from fastconv.testing.shapes import GemmShape

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "bench" / "results" / "sweeps"
every_tier = pytest.mark.usefixtures("tier")
SHORT: dict[str, Any] = {"rounds": 1, "seconds": 1e-5}
ODD_SHAPES = [(1, 1, 1), (7, 5, 3), (13, 17, 19), (29, 67, 300), (65, 24, 129), (3, 130, 70), (150, 40, 65)]


@pytest.fixture(scope="module")
def roof() -> Roof:
    return Roof(1)


def integers(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.integers(-4, 5, shape).astype(np.float32)


def guarded(m: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    """An (m, n) result within a larger array of NaN, so that what is written beside it shows."""
    whole = np.full(m * n + 128, np.nan, np.float32)
    return whole, whole[64 : 64 + m * n].reshape(m, n)


# ---- products ----------------------------------------------------------------------------------------


@every_tier
@pytest.mark.parametrize("shape", ODD_SHAPES, ids=str)
def test_every_step_is_the_product(shape, num_threads, rng):  # noqa: ARG001
    m, n, k = shape
    a, b = integers(rng, m, k), integers(rng, k, n)
    for name, idea in _core.stair_steps():
        whole, out = guarded(m, n)
        _core.stair_run(name, a, b, out)
        np.testing.assert_array_equal(out, a @ b, name)
        assert np.isnan(whole[:64]).all(), name
        assert np.isnan(whole[64 + m * n :]).all(), name
        assert idea
    whole, out = guarded(m, n)
    _core.PackedMatrix(b).multiply(a, out)
    np.testing.assert_array_equal(out, a @ b)


@every_tier
@pytest.mark.parametrize("name", ["naive", "reordered", "packed", "register tile", "register tile, packed"])
def test_steps_are_within_rounding(name, rng):
    a, b = rng.standard_normal((37, 700), np.float32), rng.standard_normal((700, 53), np.float32)
    out = np.empty((37, 53), np.float32)
    _core.stair_run(name, a, b, out)
    bound = tolerance.sum_bound(reference.gemm_magnitude(a, b), 700)
    tolerance.assert_within(out, reference.gemm(a, b), bound)


@every_tier
@pytest.mark.parametrize(
    "shape", [(1, 1, 1), (4, 33, 7), (13, 17, 19), (61, 83, 129), (300, 70, 300)], ids=str
)
@pytest.mark.parametrize(
    "sizes",
    [(1, 1, 1), (5, 3, 7), (6, 16, 16), (7, 100, 20), (16, 64, 24), (1000, 7, 40), (10**9,) * 3],
    ids=str,
)
def test_any_blocking_is_the_product(shape, sizes, num_threads, rng):  # noqa: ARG001
    m, n, k = shape
    a, b = integers(rng, m, k), integers(rng, k, n)
    whole, out = guarded(m, n)
    _core.gemm_blocked(a, b, out, *sizes)
    np.testing.assert_array_equal(out, a @ b)
    assert np.isnan(whole[:64]).all()
    assert np.isnan(whole[64 + m * n :]).all()


@every_tier
@pytest.mark.parametrize("shape", [(70, 90, 300), (130, 40, 2100)], ids=str)
def test_shipped_blocking_gives_the_bits_of_gemm(shape, rng):
    """The product's own path with its own sizes: threads, MC and NC change no bit, KC alone does."""
    m, n, k = shape
    a, b = rng.standard_normal((m, k), np.float32), rng.standard_normal((k, n), np.float32)
    shipped = _core.gemm_blockings(k)["shipped"]
    for sizes in (shipped, (7, shipped[1], 48)):
        for threads in (1, 2):
            out = np.empty((m, n), np.float32)
            with fastconv.threads(threads):
                _core.gemm_blocked(a, b, out, *sizes)
            np.testing.assert_array_equal(out, fastconv.gemm(a, b))


@every_tier
def test_blocking_on_real_numbers_is_within_rounding(rng):
    a, b = rng.standard_normal((61, 500), np.float32), rng.standard_normal((500, 83), np.float32)
    bound = tolerance.sum_bound(reference.gemm_magnitude(a, b), 500)
    for sizes in ((5, 3, 7), (12, 130, 32), (61, 500, 83)):
        out = np.empty((61, 83), np.float32)
        _core.gemm_blocked(a, b, out, *sizes)
        tolerance.assert_within(out, reference.gemm(a, b), bound, sizes)


@every_tier
def test_every_tile_is_the_product(rng):
    for width, most in _core.register_tiles():
        for rows in range(1, most + 1):
            a, b = integers(rng, rows, 21), integers(rng, 21, width)
            whole, out = guarded(rows, width)
            _core.tile_run(a, b, out, 2)
            np.testing.assert_array_equal(out, a @ b)
            assert np.isnan(whole[64 + rows * width :]).all()


def test_products_refuse_what_does_not_fit():
    a, b, out = (np.ones((4, 4), np.float32) for _ in range(3))
    with pytest.raises(ArgumentError, match="name"):
        _core.stair_run("faster", a, b, out)
    with pytest.raises(ShapeError, match="out"):
        _core.stair_run("naive", a, b, np.ones((4, 5), np.float32))
    with pytest.raises(ShapeError, match="b"):
        _core.stair_run("naive", a, np.ones((5, 4), np.float32), out)
    with pytest.raises(ArgumentError, match="contiguous"):
        _core.stair_run("naive", np.ones((4, 8), np.float32)[:, ::2], b, out)
    with pytest.raises(ShapeError, match="empty"):
        _core.stair_run("naive", np.ones((0, 4), np.float32), b, np.ones((0, 4), np.float32))
    for sizes in ((0, 1, 1), (1, -1, 1), (1, 1, 0)):
        with pytest.raises(ArgumentError, match="MC, KC, NC"):
            _core.gemm_blocked(a, b, out, *sizes)
    with pytest.raises(ShapeError, match="panel"):
        _core.tile_run(a, np.ones((4, 3), np.float32), np.ones((4, 3), np.float32), 1)
    width, most = _core.register_tiles()[0]
    tall = np.ones((most + 1, 2), np.float32)
    with pytest.raises(ShapeError, match="rows"):
        _core.tile_run(tall, np.ones((2, width), np.float32), np.ones((most + 1, width), np.float32), 1)
    with pytest.raises(ArgumentError, match="repeats"):
        _core.tile_run(a, b, out, 0)
    with pytest.raises(ShapeError, match="a"):
        _core.PackedMatrix(b).multiply(np.ones((2, 3), np.float32), np.ones((2, 4), np.float32))
    with pytest.raises(TypeError, match="float32"):
        _core.PackedMatrix(np.ones((2, 2)))


# ---- sweeps ------------------------------------------------------------------------------------------


def test_staircase_times_every_step_and_numpy(roof):
    found = sweep.staircase((24, 20, 28), **SHORT, roof=roof)
    names = [step.name for step in found.steps]
    assert names == [*dict(_core.stair_steps()), "gemm", "gemm, B prepacked", "numpy"]
    for step in found.steps:
        assert step.gflops == pytest.approx(2 * 24 * 20 * 28 / step.seconds * 1e-9)
        assert step.calls >= 1
        assert step.idea
    assert found.step("gemm").name == "gemm"


def test_slow_variants_are_timed_once(roof):
    calls = []

    def never(_seconds: float) -> Any:
        calls.append(1)

    times = in_turns({"slow": never}, roof, rounds=3, seconds=1.0, first={"slow": 2.0})
    assert (times["slow"].min, times["slow"].calls, calls) == (2.0, 1, [])


def test_wrong_results_and_impossible_rates_raise():
    a = b = np.ones((3, 3), np.float32)
    expected = checked.Expected(a, b)
    expected.check("right", a @ b)
    for wrong in (a @ b + np.float32(0.1), np.full((3, 3), np.nan, np.float32), np.ones((2, 3), np.float32)):
        with pytest.raises(BenchError, match="variant"):
            expected.check("variant", wrong)
    with pytest.raises(BenchError, match="variant"):  # what an earlier one left does not count
        checked.checked_product("variant", lambda: None, a @ b, expected)

    low = Roof.of(Peak("ref", 1, 1e-9, 1e-9, 1), again=False)
    for measured in (
        lambda: sweep.staircase((8, 8, 8), **SHORT, peer=False, roof=low),
        lambda: sweep.sweep_blocking((8, 8, 8), **SHORT, roof=low),
        lambda: sweep.sweep_tiles(**SHORT, roof=low),
        lambda: sweep.sweep_algorithms(sweep.square_layers([4], [4]), **SHORT, roof=low),
    ):
        with pytest.raises(RoofError, match="peak"):
            measured()


def test_blocking_marks_the_shipped_and_the_textbook_sizes(roof):
    found = sweep.sweep_blocking((70, 60, 50), **SHORT, roof=roof)
    assert {found.shipped, found.textbook} <= {c.sizes for c in found.candidates}
    assert found.best.loss == 0 <= min(c.loss for c in found.candidates)
    assert all(c.mc <= 70 and c.nc <= 60 and c.kc <= 50 for c in found.candidates)
    assert -1 <= found.rank_correlation("l2") <= 1


CACHES = {"l1d": 32768, "l2": 524288, "l3": 2**25}


def test_traffic_counts_what_its_notes_say():
    n = 1024
    matrix = 4 * n * n
    # A panel of B, 256 x 16, is half of L1; a block of A, 252 x 256, half of L2.
    t = predict_traffic((n, n, n), (252, 256, n), 6, 16, CACHES)
    assert t.l1 == matrix * (n // 16 + math.ceil(n / 252) + 7 + 2)
    assert t.l2 == matrix * (1 + math.ceil(n / 252) + 7 + 2)
    assert t.l3 == 3 * matrix
    deep = predict_traffic((n, n, n), (252, n, n), 6, 16, CACHES)  # neither fits
    assert deep.l1 == matrix * (n // 16 + math.ceil(n / 6) + 1 + 2)
    assert deep.l2 == matrix * (n // 16 + math.ceil(n / 252) + 1 + 2)
    small_l3 = predict_traffic((n, n, n), (252, 256, n // 2), 6, 16, {**CACHES, "l3": 2**20})
    assert small_l3.l3 == matrix * (2 + 1 + 7)


def test_traffic_is_least_for_one_block():
    everything = predict_traffic((32, 32, 32), (32, 32, 32), 6, 16, CACHES)
    for sizes in ((6, 32, 32), (32, 8, 32), (32, 32, 16), (6, 8, 16)):
        other = predict_traffic((32, 32, 32), sizes, 6, 16, CACHES)
        assert other.l1 >= everything.l1
        assert other.l2 >= everything.l2


@every_tier
def test_tiles_cover_rows_and_columns():
    found = sweep.sweep_tiles(**SHORT)
    assert [(t.width, t.rows) for t in found.tiles] == [
        (width, rows) for width, most in _core.register_tiles() for rows in range(1, most + 1)
    ]
    assert found.best.share <= 1.02
    assert "whole panels" in found.columns[str(found.main[1])]
    for width, most in _core.register_tiles():
        for m in range(1, 3 * most + 1):
            heights = tiles.even_tiles(m, most)
            assert sum(heights) == m
            assert max(heights) <= most
            assert max(heights) - min(heights) <= 1
            assert all(m in found.at(rows, width).heights for rows in heights)


def test_panels_hold_all_columns():
    nr = _core.register_tiles()[1][0]
    for n in range(1, 5 * nr):
        widths = _core.panel_widths(n)
        assert n <= sum(widths) < n + nr // 2
    with pytest.raises(ArgumentError, match="N"):
        _core.panel_widths(0)


def test_algorithms_over_a_grid_and_a_list(roof):
    grid = sweep.sweep_algorithms(sweep.square_layers([5, 8], [4, 8]), **SHORT, title="grid", roof=roof)
    assert grid.is_grid
    assert sum(grid.wins().values()) == 4
    for layer in grid.layers:
        assert layer.lag >= 0
        assert layer.best in layer.gflops
        assert "reference" not in layer.milliseconds
        assert layer.gflops["implicit"] >= layer.executed["implicit"]  # padding is not multiplied
    alone = sweep.sweep_algorithms(sweep.square_layers([6], [8], kernel=5, groups=8), **SHORT, roof=roof)
    assert alone.layers[0].name == "8>8@6 k5 g8"
    mixed = replace(grid, layers=grid.layers[:3])
    assert not mixed.is_grid


@pytest.mark.parametrize(
    ("arguments", "named"), [({"groups": 3}, "groups"), ({"kernel": 0}, "layers"), ({"groups": -1}, "layers")]
)
def test_layers_that_cannot_be(arguments, named):
    with pytest.raises(ArgumentError, match=named):
        sweep.square_layers([8], [16], **arguments)
    with pytest.raises(ArgumentError, match="layers"):
        sweep.sweep_algorithms([])


def test_even_kernels_keep_the_size():
    assert [layer.out for layer in sweep.square_layers([9], [4], kernel=4)] == [(9, 9)]


@pytest.mark.parametrize("shape", [(0, 4, 4), (4, -1, 4)])
def test_products_that_cannot_be(shape):
    for run in (sweep.staircase, sweep.sweep_blocking):
        with pytest.raises(ArgumentError, match="shape"):
            run(shape)


BLOCKED_LAYERS = [*sweep.square_layers([9], [40], kernel=1), *sweep.square_layers([20], [32], groups=32)]


# ---- records, pictures, the command ------------------------------------------------------------------


@pytest.fixture(scope="module")
def results(roof: Roof) -> dict[str, Any]:
    """One of every kind."""
    return {
        "staircase": sweep.staircase((16, 16, 16), **SHORT, peer=False, roof=roof),
        "blocking": sweep.sweep_blocking((40, 40, 40), **SHORT, roof=roof),
        "tiles": sweep.sweep_tiles(**SHORT, roof=roof),
        "algorithms": sweep.sweep_algorithms(sweep.square_layers([5, 8], [4, 8]), **SHORT, roof=roof),
        "conv_blocking": sweep.sweep_conv_blocking(BLOCKED_LAYERS, **SHORT, title="some", roof=roof),
        "threads": sweep.sweep_threads([GemmShape(8, 8, 8)], [1], **SHORT),
        "sizes": sweep.sweep_sizes(**SHORT, factor=0.05, roof=roof),
        "sparse": sweep.sweep_sparse(sweep.square_layers([4], [32]), zeros=(0.0, 0.9), **SHORT, roof=roof),
    }


def test_zeros_break_even_between_two_shares(roof):
    found = sweep.sweep_sparse(
        sweep.square_layers([4], [32], kernel=1), ["single"], (0.0, 0.5), **SHORT, roof=roof
    )
    one = replace(found.layers[0], dense_seconds=1.0, seconds=({"a": 2.0, "b": 3.0}, {"a": 2.0, "b": 2 / 3}))
    assert one.gains == (0.5, 1.5)
    assert one.break_even == 0.25
    assert replace(one, dense_seconds=3.0).break_even == 0
    assert replace(one, dense_seconds=0.1).break_even is None
    for bad in ({"zeros": (0.5, 0.2)}, {"zeros": (0.5, 1.0)}, {"patterns": ["2x4"]}, {"layers": []}):
        with pytest.raises(ArgumentError):
            sweep.sweep_sparse(**bad, **SHORT, roof=roof)


def test_records_come_back_as_they_were(results, tmp_path):
    path = tmp_path / "record.json"
    path.write_text(json.dumps({name: asdict(result) for name, result in results.items()}))
    assert read(path) == results


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"tiles": {}}', '{"tiles": 3}'])
def test_records_that_are_none(content, tmp_path):
    path = tmp_path / "record.json"
    path.write_text(content)
    with pytest.raises(ArgumentError, match=r"record\.json"):
        read(path)


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_pictures(results, suffix, tmp_path):
    plot = pytest.importorskip("fastconv.lab.draw.sweeps")
    pytest.importorskip("matplotlib")
    files = plot.draw(results, tmp_path / f"a.{suffix}")
    assert [file.name for file in files] == [f"a-{name}.{suffix}" for name in results]
    for file in files:
        head = file.read_bytes()[:400]
        assert head.startswith(b"\x89PNG") if suffix == "png" else b"<svg" in head or b"<?xml" in head
    again = plot.draw({"tiles": results["tiles"]}, tmp_path / f"b.{suffix}")
    assert again[0].read_bytes() == (tmp_path / f"a-tiles.{suffix}").read_bytes()


def test_pictures_in_an_axis_of_the_callers(results):
    figure_module = pytest.importorskip("matplotlib.figure")
    from fastconv.sweep import plot

    layers = replace(results["algorithms"], layers=results["algorithms"].layers[:3])
    for name, result in {**results, "layers": layers}.items():
        if name == "sizes":  # four panels
            continue
        figure = figure_module.Figure()
        axis = figure.subplots()
        assert plot.PLOTS.get(name, plot.plot_algorithms)(result, ax=axis) is figure
        assert axis.has_data() or axis.images


def test_lines_fit_every_result(results):
    for name, result in results.items():
        lines = list(text.LINES[name](result))
        assert len(lines) > 2, name
        assert all(line == line.rstrip() for line in lines)


def test_command_gemm(tmp_path, capsys):
    record = tmp_path / "gemm.json"
    small = ["--shape", "24x24x24", "--rounds", "1", "--seconds", "1e-5", "--no-numpy"]
    assert main(["sweep", "gemm", *small, "--json", str(record)]) == 0
    printed = capsys.readouterr().out
    assert "naive" in printed
    assert "shipped" in printed
    content = json.loads(record.read_text())
    assert content["experiment"] == "gemm"
    assert set(content) == {"experiment", "staircase", "blocking", "tiles"}
    assert set(content["staircase"]["steps"][0]) == {"name", "idea", "seconds", "median", "calls", "gflops"}
    candidate = content["blocking"]["candidates"][0]
    assert {"mc", "kc", "nc", "seconds", "gflops", "loss", "traffic"} <= set(candidate)
    assert set(candidate["traffic"]) == {"l1", "l2", "l3"}

    assert main(["sweep", "draw", str(record)]) == 0
    assert capsys.readouterr().out == printed
    pytest.importorskip("matplotlib")
    assert main(["sweep", "draw", str(record), "--only", "tiles", "--plot", str(tmp_path / "t.svg")]) == 0
    assert (tmp_path / "t.svg").is_file()


def test_command_conv(capsys):
    turns = ["--rounds", "1", "--seconds", "1e-5"]
    grid = ["--sizes", "5", "--channels", "8,16", "--kernel", "3", "--groups", "depthwise"]
    assert main(["sweep", "conv", *grid, *turns, "--json"]) == 0
    layers = json.loads(capsys.readouterr().out)["algorithms"]["layers"]
    assert [layer["name"] for layer in layers] == ["8>8@5 k3 g8", "16>16@5 k3 g16"]
    assert main(["sweep", "conv", "--layers", "256>256@14 k3", *turns]) == 0
    printed = capsys.readouterr().out
    assert "256>256@14 k3" in printed
    assert "the shipped sizes are within" in printed
    small = ["--sizes", "9", "--channels", "40", "--kernel", "1"]
    for only, result in (("blocking", "conv_blocking"), ("algorithms", "algorithms")):
        assert main(["sweep", "conv", "--only", only, *small, *turns, "--json"]) == 0
        assert set(json.loads(capsys.readouterr().out)) == {"experiment", result}


def test_commands_threads_and_size(capsys):
    turns = ["--rounds", "1", "--seconds", "1e-5", "--json"]
    assert main(["sweep", "size", "--factor", "0.05", *turns]) == 0
    assert len(json.loads(capsys.readouterr().out)["sizes"]["series"]) == 4
    assert main(["sweep", "threads", "--threads", "1", *turns]) == 0
    assert json.loads(capsys.readouterr().out)["threads"]["points"]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["conv", "--layers", "no-such-table"], 2),
        (["conv", "--layers", "resnet50", "--sizes", "7"], 2),
        (["conv", "--channels", "6", "--groups", "4"], 2),
        (["draw", "no-such-file.json"], 2),
    ],
)
def test_command_refuses(arguments, code, capsys):
    assert main(["sweep", *arguments]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("fastconv: ")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["gemm", "--shape", "3x4"],
        ["gemm", "--shape", "0x4x4"],
        ["conv", "--groups", "x"],
        ["gemm", "--rounds", "0"],
    ],
)
def test_command_refuses_impossible_numbers(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["sweep", *arguments])
    assert stopped.value.code == 2
    assert capsys.readouterr().err


def test_failed_measurements_are_no_traceback(monkeypatch, capsys):
    def fail(*_: Any, **__: Any) -> None:
        raise BenchError("naive: expected a product")

    monkeypatch.setattr("fastconv.lab.sweeps.staircase", fail)
    assert main(["sweep", "gemm", "--only", "staircase"]) == 1
    assert capsys.readouterr().err == "fastconv: naive: expected a product\n"


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*.json")), ids=lambda path: path.name)
def test_page_quotes_the_records(path):
    """docs/sweeps.md shows what ``fastconv sweep draw`` prints of the records that its pictures are of."""
    page = (ROOT / "docs" / "sweeps.md").read_text().splitlines()
    for name, result in read(path).items():
        lines = list(text.LINES[name](result))
        if name == "algorithms":
            lines = lines[-2:]
        elif name == "sizes":
            lines = [line for line in lines if "time ~" in line]
        assert [line for line in lines if line not in page] == [], f"{name} of {path.name}"
