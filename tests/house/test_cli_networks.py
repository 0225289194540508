"""The command line as somebody meets it who has but a network: names, files, formats, refusals."""

from __future__ import annotations

import csv
import io
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

import fastconv
from fastconv import _core
from fastconv.cli import main
from fastconv.lab import compare

NET = "squeezenet1_1"
SMALL = ["--input-shape", "1,3,64,64"]
QUICK = [*SMALL, "--seconds", "0.01"]

Say = Callable[..., tuple[int, str, str]]


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Say:
    def run(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main([str(a) for a in arguments])
        told = capsys.readouterr()
        return code, told.out, told.err

    return run


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same network with the same weights, as every kind of file."""
    folder = tmp_path_factory.mktemp("files")
    architecture = fastconv.models.squeezenet1_1
    weights = architecture.random_weights()
    found = {name: folder / f"net.{name}" for name in ("npz", "fcm")}
    np.savez(found["npz"], **weights)
    architecture(weights).save(found["fcm"])
    if _has("onnx"):
        from fastconv.exporters.onnx import to_proto

        found["onnx"] = folder / "net.onnx"
        proto = to_proto(architecture.graph(weights), {"input": (1, 3, 64, 64)})
        found["onnx"].write_bytes(proto.SerializeToString())
    return found


def _has(package: str) -> bool:
    import importlib.util

    return importlib.util.find_spec(package) is not None


@pytest.mark.parametrize("command", ["run", "explain", "profile --count", "convert"])
def test_every_command_takes_every_kind_of_model(
    command: str, files: dict[str, Path], tmp_path: Path, say: Say
) -> None:
    more = {"run": QUICK, "convert": ["-o", tmp_path / "x.fcm"]}.get(command, SMALL)
    for model in (NET, *files.values()):
        code, shown, told = say(*command.split(), model, *more)
        assert (code, told) == (0, ""), (model, told)
        assert shown


@pytest.mark.parametrize("command", ["run", "explain", "profile", "bench model"])
def test_the_nearest_name_is_suggested(command: str, say: Say) -> None:
    code, _, told = say(*command.split(), "resnet5")
    assert code == 2
    assert "did you mean 'resnet50'?" in told
    if command != "bench model":
        _, _, told = say(*command.split(), "none.npz", "--architecture", "vgg_16")
        assert "did you mean 'vgg16'?" in told


def test_run_times_random_inputs(files: dict[str, Path], tmp_path: Path, say: Say) -> None:
    arguments = (files["npz"], "--batch", 2, "--threads", 1, "--warmup", 1, "--seconds", 0.05, "--json")
    code, shown, _ = say("run", *arguments, "--output-dir", tmp_path)
    found = json.loads(shown)
    assert code == 0
    assert found["inputs"] == {"input": [2, 3, 224, 224]}
    times = [found[key] for key in ("milliseconds", "median_ms", "p95_ms", "p99_ms")]
    assert times == sorted(times)
    assert found["images_per_second"] == pytest.approx(2000 / found["median_ms"])
    expected = fastconv.models.squeezenet1_1(files["npz"])
    x = np.random.default_rng(0).standard_normal((2, 3, 224, 224), dtype=np.float32)
    np.testing.assert_array_equal(np.load(tmp_path / "output.npy"), expected(x))


def test_bench_takes_a_file(files: dict[str, Path], tmp_path: Path, say: Say) -> None:
    if "onnx" not in files:
        pytest.skip("needs onnx")
    arguments = (files["onnx"], "--rounds", 2, "--peers", "", "--json", tmp_path / "a.json")
    code, shown, _ = say("bench", "model", *arguments, "--markdown", tmp_path / "a.md")
    assert code == 0
    assert "image/s" in shown
    (case,) = json.loads((tmp_path / "a.json").read_text())["cases"]
    timing = case["engines"]["fastconv"]
    assert timing["min_ms"] <= timing["median_ms"] <= timing["p95_ms"] <= timing["p99_ms"]
    assert (tmp_path / "a.md").read_text().startswith("| kind | name |")
    code, _, told = say("bench", "model", files["fcm"], "--rounds", 1, "--peers", "")
    assert code == 1
    assert "fastconv failed: net" in told


def test_batches_and_names_of_files() -> None:
    (case,) = compare.find_cases("model", ["nets/small.onnx"])
    assert compare.batched(case, 4).name == "small x4"


@pytest.mark.parametrize(
    "command",
    [["info"], ["explain", NET, *SMALL], ["profile", NET, "--count", *SMALL], ["run", NET, *QUICK]],
)
def test_every_table_has_three_forms(command: list[str], say: Say) -> None:
    _, shown, _ = say(*command, "--json")
    assert json.loads(shown)
    _, shown, _ = say(*command, "--csv")
    rows = list(csv.reader(io.StringIO(shown)))
    assert len(rows) > 1
    assert len({len(row) for row in rows}) == 1
    _, shown, _ = say(*command, "--markdown")
    lines = shown.splitlines()
    assert lines[1].startswith("| --- |")
    assert len(lines) == len(rows) + 1
    with pytest.raises(SystemExit):
        main([*command, "--csv", "--json"])


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["profile", NET, "--count", "--plot", "x.svg"], "--plot"),
        (["profile", NET, "--count", "--sort", "lost"], "--sort"),
        (["profile", "--zoo", "--threads", "1"], "--threads"),
        (["bench", "conv", "--batch", "2"], "--batch"),
        (["bench", "--list", "--csv", "x.csv"], "--csv"),
        (["bench"], "kind"),
        (["sweep", "gemm", "--only", "tiles", "--shape", "8x8x8"], "--shape"),
        (["sweep", "conv", "--layers", "singles", "--groups", "depthwise"], "--groups"),
        (["explain", NET, "--seconds", "1"], "--seconds"),
        (["run", NET, "--architecture", NET], "--architecture"),
    ],
)
def test_what_would_be_ignored_is_refused(arguments: list[str], named: str, say: Say) -> None:
    code, shown, told = say(*arguments)
    assert (code, shown) == (2, "")
    assert named in told


@pytest.mark.parametrize(
    "arguments",
    [
        ["bench", "conv", "--json", "{}/x.json"],
        ["bench", "conv", "--csv", "{}/x.csv"],
        ["bench", "conv", "--plot", "x.bmpx"],
        ["sweep", "threads", "--plot", "x.bmpx"],
        ["sweep", "size", "--markdown", "{}/x.md"],
        ["profile", NET, "--plot", "{}/x.svg"],
        ["profile", NET, "--trace", "x.txt"],
        ["roofline", "--plot", "x.bmpx"],
        ["report", NET, "-o", "{}/x.html"],
        ["explain", NET, "--graph", "x.png"],
        ["convert", NET, "-o", "x.onnx"],
        ["convert", NET, "-o", "{}/x.fcm"],
    ],
)
def test_outputs_are_checked_before_anything_is_measured(
    arguments: list[str], tmp_path: Path, say: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("Suite", "installed_peers"):
        monkeypatch.setattr(compare, name, None)  # what is measured would fail otherwise
    missing = tmp_path / "missing"
    code, shown, told = say(*(a.format(missing) for a in arguments))
    assert (code, shown) == (2, "")
    assert "expected a folder that exists" in told or "expected a file ending in" in told
    assert not list(tmp_path.iterdir())


def test_a_trace_has_the_steps_and_what_threads_did(tmp_path: Path, say: Say) -> None:
    code, _, _ = say("profile", NET, *QUICK, "--threads", 2, "--trace", tmp_path / "t.json")
    assert code == 0
    found = json.loads((tmp_path / "t.json").read_text())
    events = [event for event in found["traceEvents"] if event["ph"] == "X"]
    steps = [event for event in events if event["tid"] == 0]
    model = fastconv.models.squeezenet1_1(fastconv.models.squeezenet1_1.random_weights())
    assert len(steps) == found["otherData"]["runs"] * len(model.program((1, 3, 64, 64)).steps)
    assert all(a["ts"] + a["dur"] <= b["ts"] + 1e-3 for a, b in itertools.pairwise(steps))
    shares = [event for event in events if event["tid"] != 0]
    threads = {event["tid"] for event in shares}
    assert threads
    for thread in threads:  # one thing at a time, within the runs
        mine = sorted((e["ts"], e["ts"] + e["dur"]) for e in shares if e["tid"] == thread)
        assert all(a[1] <= b[0] + 1e-3 for a, b in itertools.pairwise(mine))
    assert _core.stop_share_trace() is not None


def test_a_graph_is_drawn(tmp_path: Path, say: Say) -> None:
    for suffix in ("svg", "mmd", "md"):
        code, _, _ = say("explain", NET, *QUICK, "--graph", tmp_path / f"g.{suffix}")
        assert code == 0
    model = fastconv.models.squeezenet1_1(fastconv.models.squeezenet1_1.random_weights())
    steps = model.program((1, 3, 64, 64)).steps
    root = ElementTree.fromstring((tmp_path / "g.svg").read_text())
    boxes = [e for e in root.iter("{http://www.w3.org/2000/svg}g")]
    assert len(boxes) == len(steps)
    text = (tmp_path / "g.mmd").read_text()
    assert f"```mermaid\n{text.splitlines()[0]}" in (tmp_path / "g.md").read_text()
    # Fire modules: two convolutions read what the squeeze before them wrote, the next reads both.
    edges = [line.split(" --> ") for line in text.splitlines() if "-->" in line]
    read = {target: [a for a, b in edges if b == target] for _, target in edges}
    assert max(len(sources) for sources in read.values()) == 2
    assert len(read) == len(steps) - 1


@pytest.mark.parametrize(("variable", "value"), [("FASTCONV_ISA", "foo"), ("FASTCONV_NUM_THREADS", "0")])
def test_a_wrong_variable_is_one_line(variable: str, value: str) -> None:
    environment = {**os.environ, variable: value}
    done = subprocess.run(
        [sys.executable, "-m", "fastconv", "info"], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"fastconv: {variable}: expected")
    library = subprocess.run([sys.executable, "-c", "import fastconv"], env=environment, capture_output=True)
    assert b"ArgumentError" in library.stderr


def test_what_is_odd_is_said(say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    _, _, told = say("run", NET, *QUICK, "--threads", 4000)
    assert "note: --threads 4000: threads take turns" in told
    monkeypatch.setenv("FASTCONV_ISA", "avx1024")
    _, _, told = say("info")
    assert "note: FASTCONV_ISA=avx1024" in told


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["--version"])
    assert stopped.value.code == 0
    assert capsys.readouterr().out == f"fastconv {fastconv.__version__}\n"


def test_a_shell_is_told_the_commands() -> None:
    pytest.importorskip("argcomplete")
    code = "import os, sys; os.dup2(1, 8); from fastconv.cli import main; main([])"
    completing = {
        "_ARGCOMPLETE": "1",
        "COMP_LINE": "fastconv pro",
        "COMP_POINT": "12",
        "_ARGCOMPLETE_IFS": "\n",
    }
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **completing}, capture_output=True, text=True
    )
    assert "profile" in done.stdout.split()
