"""docs/adding.md says how many files a change takes: an example of each kind is in as many."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "adding.md").read_text()
CODE = sorted(
    path
    for folder in ("csrc", "cmake", "python", "CMakeLists.txt")
    for path in ([ROOT / folder] if (ROOT / folder).is_file() else (ROOT / folder).rglob("*"))
    if path.suffix in {".h", ".def", ".cpp", ".cmake", ".txt", ".py", ".pyi"}
)
ROW = re.compile(r"^\| ([^|]+?) \| ([^|]+?) \| `([^`]+)`[^|]*\|$", re.MULTILINE)
ROWS = {example: (kind, count) for kind, count, example in ROW.findall(PAGE)}
LISTED = re.compile(r"^`([^`]+)` is in:\n\n((?:- .*\n)+)", re.MULTILINE)

# What says that a file has a part in the example, where that is not its name: in the file's path or its code.
SIGNS = {
    "fill_table<8, 6, 4>": "fill_table<8, 6, 4>",
    "avx512": r"\bavx512f\b|^csrc/(?:simd/\w+_avx512\.h|kernels/isa/avx512\.cpp)\n",
    "avx512_vnni": r"(?:\b|dot_)avx512_vnni\b",
    "neon": r"\basimd\b|core/cpu_arm\.cpp|^csrc/(?:simd/\w+_neon\.h|kernels/isa/neon\.cpp)\n",
    "GridSample": "(?i)grid_?sample",
    "Trilu": r"(?i)\btrilu\b",
    "shufflenet": "shufflenet",
}


def files_of(sign: str) -> set[str]:
    """Return the files whose path or code, comments of C++ and CMake left out, has a pattern."""
    found = set()
    for path in CODE:
        name, text = path.relative_to(ROOT).as_posix(), path.read_text()
        comments = r"//[^\n]*" if path.suffix in {".h", ".def", ".cpp"} else r"^\s*#[^\n]*"
        if re.search(sign, name + "\n" + re.sub(comments, "", text, flags=re.MULTILINE)):
            found.add(name)
    return found


def test_every_row_has_an_example() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| ")][1:]
    assert len(rows) == len(ROWS) >= 10
    assert [example for example, _ in LISTED.findall(PAGE)] == list(ROWS)


@pytest.mark.parametrize("example", ROWS)
def test_an_example_is_in_as_many_files(example: str) -> None:
    kind, count = ROWS[example]
    (lines,) = (lines for name, lines in LISTED.findall(PAGE) if name == example)
    listed = re.findall(r"^- `([^`]+)`", lines, re.MULTILINE)
    assert sorted(listed) == sorted(files_of(SIGNS.get(example, rf"\b{example}\b")))
    assert len(listed) == int(re.findall(r"\d+", count)[-1]), f"{kind}: what the table says"
