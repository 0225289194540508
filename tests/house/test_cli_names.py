"""The command line on what models and files may hold: odd names, odd numbers, several outputs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastconv
from fastconv.cli import main, output
from fastconv.cli.run import file_names
from fastconv.graph.ir import Graph, Node, TensorInfo
from fastconv.graph.model import Model

X = np.linspace(-1, 1, 12, dtype=np.float32).reshape(1, 3, 2, 2)


def save(path: Path, nodes: list[tuple[str, str, dict[str, Any]]]) -> None:
    """Save a model whose nodes each make an output of that name of the one input x."""
    made = tuple(Node(op, f"n{i}", ("x",), (name,), attrs) for i, (op, name, attrs) in enumerate(nodes))
    outputs = tuple(TensorInfo(name, (), np.dtype(np.float32)) for _, name, _ in nodes)
    info = TensorInfo("x", (1, 3, 2, 2), np.dtype(np.float32))
    Model(Graph("\x1b[31mred", made, (info,), outputs, {})).save(path)


def strictly(text: str) -> Any:
    def refuse(constant: str) -> None:
        raise ValueError(constant)

    return json.loads(text, parse_constant=refuse)


def test_each_output_has_a_file_of_its_own_and_numbers_are_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(
        tmp_path / "m.fcm", [("Relu", "a/b", {}), ("Neg", "a_b", {}), ("Log", "A_B", {}), ("Abs", "../c", {})]
    )
    np.save(tmp_path / "x.npy", X)
    arguments = ["run", f"{tmp_path}/m.fcm", "--input", f"x={tmp_path}/x.npy", "--output-dir", str(tmp_path)]
    assert main([*arguments, "--seconds", "0.01", "--json"]) == 0
    found = strictly(capsys.readouterr().out)["outputs"]
    with np.errstate(all="ignore"):
        expected = [np.maximum(X, 0), -X, np.log(X), np.abs(X)]
    files = [Path(entry["file"]) for entry in found]
    assert len(set(files)) == 4
    assert {file.parent for file in files} == {tmp_path}
    for file, wanted in zip(files, expected, strict=True):
        np.testing.assert_allclose(np.load(file), wanted, rtol=1e-6)
    assert found[2]["mean"] is None  # of NaN


def test_file_names() -> None:
    names = ["a\0b", "a\x1bb", "..", "", "x" * 500, "é" * 300]
    found = file_names(names)
    assert len(set(found)) == len(names)
    assert all("/" not in name and name.isprintable() and len(name.encode()) < 255 for name in found)


def test_names_do_not_reach_a_terminal_with_their_escapes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(tmp_path / "m.fcm", [("Relu", "\x1b]0;title\x07", {})])
    np.save(tmp_path / "x.npy", X)
    arguments = ["run", f"{tmp_path}/m.fcm", "--input", f"x={tmp_path}/x.npy", "--seconds", "0.01"]
    assert main(arguments) == 0
    assert main(["profile", f"{tmp_path}/m.fcm", "--count"]) == 0
    assert main([*arguments[:2], "--input", f"\x1b[2J={tmp_path}/x.npy"]) == 2
    told = capsys.readouterr()
    assert "\x1b" not in told.out + told.err
    assert r"\x1b]0;title\x07" in told.out
    model = fastconv.load(tmp_path / "m.fcm")
    assert "\x1b" not in model.explain(X.shape) + repr(model)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x93NUMPY",
        b"\x93NUMPY\x01\x00\x10\x00{'descr': ((((((",
        b"\x80\x04N.",
        b"PK\x03\x04",
        bytes(99),
    ],
)
def test_rubbish_for_an_array(content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(tmp_path / "m.fcm", [("Relu", "y", {})])
    (tmp_path / "x.npy").write_bytes(content)
    assert main(["run", f"{tmp_path}/m.fcm", "--input", f"x={tmp_path}/x.npy"]) == 2
    told = capsys.readouterr().err
    assert told.startswith("fastconv: --input x: expected")
    assert len(told.splitlines()) == 1


def test_a_nul_in_a_name(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["run", "a\0b.onnx"], ["classify", "a\0b.png"], ["convert", "m.onnx", "-o", "a\0b"]):
        assert main(arguments) == 2
        assert "expected an argument without NUL" in capsys.readouterr().err


def test_standard_output_that_is_closed_or_full() -> None:
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    cases = [
        *(("info", end, env) for end in (">&-", "> /dev/full", ">&- 2>&-") for env in (buffered, None)),
        *((command, "> /dev/full", buffered) for command in ("--version", "info --help", "explain --help")),
    ]
    for command, end, env in cases:
        line = f"{sys.executable} -m fastconv {command} {end}"
        done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, timeout=60, env=env)
        assert done.returncode == 2, (line, done)
        assert len(done.stderr.splitlines()) == (1 if "2>" not in end else 0), (line, done)


def test_classifiers_of_two_outputs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = tmp_path / "x.png"
    pytest.importorskip("PIL.Image").new("RGB", (2, 2), (10, 200, 30)).save(image)
    save(tmp_path / "alike.fcm", [("Flatten", "logits", {}), ("Flatten", "same", {})])
    assert main(["classify", str(image), "--model", f"{tmp_path}/alike.fcm", "--json"]) == 0
    assert len(strictly(capsys.readouterr().out)["images"][0]["top"]) > 1
    save(tmp_path / "other.fcm", [("Flatten", "logits", {}), ("Relu", "features", {})])
    assert main(["classify", str(image), "--model", f"{tmp_path}/other.fcm"]) == 2
    assert "got outputs of several shapes: logits (1, 12), features (1, 3, 2, 2)" in capsys.readouterr().err


def test_numbers_that_json_has_not() -> None:
    record = {"a": [float("nan"), (1.5, float("inf"))], "b": {"c": float("-inf")}}
    assert strictly(output.as_json(record, 1)) == {"a": [None, [1.5, None]], "b": {"c": None}}
