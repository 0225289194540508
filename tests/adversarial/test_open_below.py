"""How files that a model names are opened: from folder to folder, and by their path where a system cannot."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import fastconv
from adversarial.case import Case
from adversarial.files import LOCATIONS, data, file_cases, write
from fastconv import _platform
from fastconv.errors import ModelError
from fastconv.importers.onnx import from_file

CASES = list(file_cases())


@pytest.fixture
def by_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """Open as on Windows."""
    monkeypatch.setattr(_platform, "HAS_OPENAT", False)


def test_linux_opens_from_folder_to_folder() -> None:
    assert _platform.HAS_OPENAT


@pytest.mark.usefixtures("by_path")
@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_what_is_refused_is_so_by_path_too(case: Case, tmp_path: Path) -> None:
    with pytest.raises(case.error, match=case.text):
        fastconv.load(case.write(tmp_path))


@pytest.mark.usefixtures("by_path")
@pytest.mark.parametrize("name", ["w.bin", "sub/deeper/w.bin", "./w.bin"])
def test_a_plain_file_is_read_by_path_too(name: str, tmp_path: Path) -> None:
    data(tmp_path / name)
    path = write(tmp_path, [("location", name)])
    assert from_file(path).constants["w"].tobytes() == (tmp_path / name).read_bytes()


@pytest.mark.parametrize("openat", [True, False])
@pytest.mark.parametrize("exchanged", ["w.bin", "sub"])
def test_a_link_that_comes_between_looking_and_opening(
    openat: bool, exchanged: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Just before a file is opened its name, or that of its folder, becomes a link to a secret."""
    monkeypatch.setattr(_platform, "HAS_OPENAT", openat)
    data(tmp_path / "secret" / "w.bin")
    data(tmp_path / "model" / "sub" / "w.bin")
    path = write(tmp_path / "model", [("location", "sub/w.bin")])
    target = {"sub": "../secret", "w.bin": "../../secret/w.bin"}[exchanged]
    name = tmp_path / "model" / ("sub" if exchanged == "sub" else "sub/w.bin")
    really_open, looked = os.open, []

    def exchange_and_open(file: str | Path, *args: int, **where: int) -> int:
        if Path(file).name == (exchanged if openat else "w.bin") and not looked:
            looked.append(name.rename(tmp_path / "before"))
            name.symlink_to(target)
        return really_open(file, *args, **where)

    monkeypatch.setattr(os, "open", exchange_and_open)
    with pytest.raises(ModelError, match=r"symbolic link|exchanged|Not a directory|Too many levels"):
        fastconv.load(path)
    assert looked


@pytest.mark.usefixtures("by_path")
def test_a_stream_of_windows_is_no_file(tmp_path: Path) -> None:
    data(tmp_path / "ww:stream")
    with pytest.raises(ModelError, match="a stream or a junction"):
        fastconv.load(write(tmp_path, [("location", "ww:stream")]))


def test_every_case_of_a_location_is_among_them() -> None:
    assert len(CASES) > len(LOCATIONS)
