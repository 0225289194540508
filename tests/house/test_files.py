"""Files stay short, say what they are, and name no machine."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SUFFIXES = {".h", ".cpp", ".py", ".pyi", ".cmake", ".md", ".toml", ".txt", ".yaml"}
SKIPPED = {"build", "dist", ".git", ".nox", ".venv", "results", "__pycache__", ".hypothesis"}
FILES = sorted(
    path
    for path in ROOT.rglob("*")
    if path.is_file()
    and (path.suffix in SUFFIXES or path == ROOT / ".ci" / "run")
    and not SKIPPED & set(path.relative_to(ROOT).parts)
)
LEVELS = dict(core=0, simd=1, kernels=2, gemm=3, conv=4, nn=4, program=5, experiments=5, bindings=6)
CODE = [path for path in FILES if path.suffix in {".h", ".cpp", ".py"}]
MACHINE_PATH = re.compile(r"(?<![\w.}])/(?:" + "|".join(["work", "home", "root", "opt", "Users"]) + r")/\w")
UNFINISHED = re.compile(r"#\s*if 0\b|\b(?:TO" + r"DO|FIX" + r"ME|X" + r"XX)\b")


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", CODE, ids=relative)
def test_length(path: Path) -> None:
    limit = 600 if path.is_relative_to(ROOT / "csrc" / "kernels") else 500
    assert len(path.read_text().splitlines()) <= limit, "is there a seam?"


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_names_no_machine_and_is_finished(path: Path) -> None:
    for number, line in enumerate(path.read_text().splitlines(), 1):
        assert not MACHINE_PATH.search(line), f"line {number} names a path of one machine: {line}"
        assert not UNFINISHED.search(line), f"line {number} is unfinished: {line}"


@pytest.mark.parametrize("path", [p for p in CODE if p.is_relative_to(ROOT / "csrc")], ids=relative)
def test_cpp_file_opens_with_its_layer_and_role(path: Path) -> None:
    level = LEVELS[path.relative_to(ROOT / "csrc").parts[0]]
    assert re.match(rf"// L{level} [\w-]+: ", path.read_text()), f"open with `// L{level} <layer>: <role>`"
