"""Fuzzing by coverage: its files are right to begin with, and what is no error of ours stops it."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

import fastconv
from adversarial import coverage

pytest.importorskip("onnx")


@pytest.mark.parametrize("name", coverage.FORMATS)
def test_the_seeds_are_right(name: str) -> None:
    if name == "safetensors":
        pytest.importorskip("safetensors")
    seeds, tried = coverage.FORMATS[name]
    files = seeds()
    assert files
    for data in files[:20]:
        tried(data)
        coverage.try_file(name, data[: len(data) // 2])


def test_compiled_models_get_past_their_hash() -> None:
    data = bytearray(coverage.seeds_fcm()[0])
    at = data.index(b'"arrays"')
    data[at : at + 8] = b'"arrayz"'
    with pytest.raises(fastconv.ModelError, match="damaged"):
        fastconv.load(bytes(data))
    with pytest.raises(fastconv.ModelError, match="arrays"):
        coverage.try_compiled(bytes(data))


def test_other_errors_are_faults(monkeypatch: pytest.MonkeyPatch) -> None:
    def fault(data: bytes) -> None:
        raise KeyError(data)

    monkeypatch.setitem(coverage.FORMATS, "npz", (list, fault))
    with pytest.raises(KeyError):
        coverage.try_file("npz", b"")


def test_the_command(tmp_path: Path) -> None:
    command = [sys.executable, "-m", coverage.__name__, "npz", "--seconds", "1", "--keep", str(tmp_path)]
    run = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[1])
    if importlib.util.find_spec("atheris") is None:
        assert "pip install atheris" in run.stderr
        assert run.returncode != 0
    else:
        assert run.returncode == 0, run.stderr
        assert list(tmp_path.iterdir()) == []
