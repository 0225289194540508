"""Files stay short, say what they are, and name no machine."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
SUFFIXES = {".h", ".def", ".cpp", ".py", ".pyi", ".cmake", ".md", ".toml", ".txt", ".yaml"}
SKIPPED = {"build", "dist", ".git", ".nox", ".venv", "results", "__pycache__", ".hypothesis"}
ENVIRONMENTS = {file.parent.name for file in ROOT.glob("*/pyvenv.cfg")}  # a user's, under any name
FILES = sorted(
    path
    for path in ROOT.rglob("*")
    if path.is_file()
    and (path.suffix in SUFFIXES or path == ROOT / ".ci" / "run")
    and not (SKIPPED | ENVIRONMENTS) & set(path.relative_to(ROOT).parts)
)
LEVELS = dict(core=0, simd=1, kernels=2, gemm=3, conv=4, nn=4, coding=4, program=5, experiments=5, bindings=6)
CODE = [path for path in FILES if path.suffix in {".h", ".cpp", ".py"}]
MACHINE_PATH = re.compile(r"(?<![\w.}])/(?:" + "|".join(["work", "home", "root", "opt", "Users"]) + r")/\w")
UNFINISHED = re.compile(r"#\s*if 0\b|\b(?:TO" + r"DO|FIX" + r"ME|X" + r"XX)\b")


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_length() -> None:
    for path in CODE:
        limit = 600 if path.is_relative_to(ROOT / "csrc" / "kernels") else 500
        length = len(path.read_text().splitlines())
        assert length <= limit, f"{relative(path)} has {length} lines, more than {limit}: is there a seam?"


def test_names_no_machine_and_is_finished() -> None:
    for path in FILES:
        for number, line in enumerate(path.read_text().splitlines(), 1):
            where = f"{relative(path)}:{number}"
            assert not MACHINE_PATH.search(line), f"{where} names a path of one machine: {line}"
            assert not UNFINISHED.search(line), f"{where} is unfinished: {line}"


def test_cpp_file_opens_with_its_layer_and_role() -> None:
    for path in CODE:
        if path.is_relative_to(ROOT / "csrc"):
            opening = f"// L{LEVELS[path.relative_to(ROOT / 'csrc').parts[0]]}"
            pattern = rf"{opening} [\w-]+: "
            assert re.match(pattern, path.read_text()), (
                f"{relative(path)}: open with `{opening} <layer>: <role>`"
            )


def test_lines_of_documents_fit() -> None:
    """At most 100 columns, but for code, tables, and words that cannot be broken."""
    for path in FILES:
        if path.suffix != ".md":
            continue
        in_code = False
        for number, line in enumerate(path.read_text().splitlines(), 1):
            in_code ^= line.lstrip().startswith("```")
            free = in_code or line.startswith(("|", "![", "<!--"))
            assert free or len(line) <= 100 or len(line.split()) == 1, (
                f"{relative(path)}:{number} has {len(line)} columns, more than 100"
            )
