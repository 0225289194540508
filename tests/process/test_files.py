"""What is no file is not waited for, not replaced, and not followed; an interrupted write leaves nothing."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastconv
from fastconv import _files
from fastconv._measured import Results
from fastconv.errors import ArgumentError, ModelError
from fastconv.graph.ir import GraphBuilder
from fastconv.graph.model import Model
from fastconv.importers.weights import read_weights


def model() -> Model:
    b = GraphBuilder("tiny", {"w": np.ones((4, 3, 1, 1), np.float32)})
    b.output(b.add("Conv", b.input("x", ("batch", 3, 8, 8)), "w"), "y", ("batch", 4, 8, 8))
    return Model(b.build())


READERS: dict[str, Callable[[Path], Any]] = {
    "load": fastconv.load,
    "read_weights": read_weights,
    "resnet18": fastconv.models.resnet18,
    "preprocess": fastconv.models.preprocess,
}


@pytest.mark.parametrize("suffix", [".onnx", ".fcm", ".pth"])
@pytest.mark.parametrize("reader", READERS)
def test_a_pipe_is_not_waited_for(reader: str, suffix: str, tmp_path: Path) -> None:
    """Nobody writes to it: a reader that opens it as a file waits until somebody does."""
    pytest.importorskip("PIL" if reader == "preprocess" else "numpy")
    path = tmp_path / f"model{suffix}"
    os.mkfifo(path)
    message = "got a pipe" if (reader, suffix) != ("load", ".pth") else "got a pipe|file of weights"
    with pytest.raises(ModelError, match=message):
        READERS[reader](path)


@pytest.mark.parametrize("reader", READERS)
def test_a_device_is_not_read(reader: str, tmp_path: Path) -> None:
    pytest.importorskip("PIL" if reader == "preprocess" else "numpy")
    path = tmp_path / "zeros.onnx"
    path.symlink_to("/dev/zero")
    with pytest.raises(ModelError, match="expected a file, got a device"):
        READERS[reader](path)


def test_save_replaces_files_alone(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    link = tmp_path / "link.fcm"
    link.symlink_to("/dev/null")
    (tmp_path / "folder").mkdir()
    before = {path.name: path.lstat().st_ino for path in tmp_path.iterdir()}
    for name, kind in (("pipe", "a pipe"), ("link.fcm", "a device"), ("folder", "a folder")):
        with pytest.raises(ArgumentError, match=f"path: expected the name of a file, got .*{kind}"):
            model().save(tmp_path / name)
    assert {path.name: path.lstat().st_ino for path in tmp_path.iterdir()} == before


def test_save_writes_a_new_file_of_the_usual_mode(tmp_path: Path) -> None:
    path = tmp_path / "net.fcm"
    old = os.umask(0o027)
    try:
        model().save(path)
    finally:
        os.umask(old)
    assert path.stat().st_mode & 0o777 == 0o640
    assert [file.name for file in tmp_path.iterdir()] == ["net.fcm"]
    x = np.ones((1, 3, 8, 8), np.float32)
    np.testing.assert_array_equal(fastconv.load(path)(x), np.full((1, 4, 8, 8), 3))


def test_what_is_renamed_is_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    sync, rename = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda file: (done.append("sync"), sync(file)))
    monkeypatch.setattr(
        Path, "replace", lambda path, target: (done.append("rename"), rename(path, target))[1]
    )
    with _files.replacing(tmp_path / "file") as file:
        file.write(b"content")
    assert done == ["sync", "rename", "sync"]  # the file before, its folder after


def test_an_interrupted_write_leaves_what_there_was(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with contextlib.suppress(KeyboardInterrupt), _files.replacing(path) as file:
        file.write(b"new")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_no_name_is_followed_that_somebody_else_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A link that waits under the name of the temporary file is not written through."""
    monkeypatch.setattr("secrets.token_hex", lambda _: "known")
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / ".fastconv-known.tmp").symlink_to(victim)
    with pytest.raises(FileExistsError), _files.replacing(tmp_path / "file"):
        pass
    assert victim.read_text() == "precious"


@pytest.mark.parametrize("content", [b"[" * 100_000, b'{"a": [[[]]], "b": "x"}', b"\xff", b"[1", b"7"])
def test_rubbish_in_a_file_of_measurements(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = Results("test", "FASTCONV_TEST_RESULTS", str)
    path = tmp_path / "results.json"
    monkeypatch.setenv("FASTCONV_TEST_RESULTS", str(path))
    path.write_bytes(content)
    assert set(results.read()) <= {"b"}
    results.add({"key": "value"})
    assert results.read()["key"] == "value"
    assert list(tmp_path.iterdir()) == [path]


def test_measurements_are_not_kept_in_a_pipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = Results("test", "FASTCONV_TEST_RESULTS", str)
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.setenv("FASTCONV_TEST_RESULTS", str(tmp_path / "pipe"))
    assert results.read() == {}
    with pytest.warns(RuntimeWarning, match="are not kept: .*a pipe"):
        results.add({"key": "value"})


IMPORT = """
import importlib
for name in ("_interpreters", "_xxsubinterpreters"):
    try:
        interpreters = importlib.import_module(name)
        break
    except ImportError:
        continue
other = interpreters.create()
try:
    error = interpreters.run_string(other, "import fastconv")
except Exception as raised:
    error = raised
print("refused" if "main interpreter of a process" in str(error) else error)
import fastconv
print(fastconv.relu(__import__("numpy").ones(1, "f")))
"""


def test_a_subinterpreter_is_refused() -> None:
    """It would wait for ever for a lock that the main interpreter has."""
    done = subprocess.run(
        [sys.executable, "-c", IMPORT], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.split("\n")[:2] == ["refused", "[1.]"], done
