"""ISA objects are sealed: each tier's object exports its table, and nothing that could be linked elsewhere.

An inline function or template compiled with a tier's flags and left as a weak symbol can be the one copy that
the linker keeps for the whole library: an illegal instruction on every older processor (docs/dispatch.md).
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pytest

from fastconv import _core
from isa_table import HERE, ROWS, Row

ROOT = Path(__file__).parents[2]
CXX = os.environ.get("CXX", "g++")
ARM = "aarch64-linux-gnu-"  # what the names of a cross compiler and its tools begin with
# Each unit that a compiler here can make, with that compiler and the prefix of its tools.
UNITS = [(row, CXX, "") for row in HERE.values()]
if platform.machine() != "aarch64" and shutil.which(f"{ARM}g++"):
    UNITS += [(row, f"{ARM}g++", ARM) for row in ROWS.values() if row.is_of("aarch64")]

pytestmark = [
    pytest.mark.isa,
    pytest.mark.skipif(not (shutil.which(CXX) and shutil.which("nm")), reason="needs a compiler and nm"),
]


def run(*command: str | Path) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@dataclass(frozen=True)
class Unit:
    """A tier's object, and what reads it."""

    tier: str
    path: Path
    tools: str


@pytest.fixture(scope="module", params=UNITS, ids=lambda unit: f"{unit[2]}{unit[0].name}")
def unit(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Unit:
    """A unit, compiled as CMakeLists.txt does, but for -O0: nothing is inlined that need not be.

    Else a symbol would be missed that another compiler, or another use, leaves in the object.
    """
    row, compiler, tools = cast(tuple[Row, str, str], request.param)
    target = tmp_path_factory.mktemp("isa") / f"{row.name}.o"
    flags = [
        "-std=c++20",
        "-O0",
        "-fPIC",
        "-fvisibility=hidden",
        "-fno-lto",
        "-fno-exceptions",
        "-ffp-contract=off",
    ]
    source = ROOT / "csrc" / "kernels" / "isa" / f"{row.name}.cpp"
    run(compiler, *flags, *row.flags, f"-I{ROOT / 'csrc'}", "-c", source, "-o", target)
    return Unit(row.name, target, tools)


def test_every_row_has_a_unit() -> None:
    units = {path.stem for path in (ROOT / "csrc" / "kernels" / "isa").glob("*.cpp")}
    assert set(ROWS) == units


def test_only_the_table_is_exported(unit: Unit) -> None:
    listed = run(f"{unit.tools}nm", "--extern-only", "--defined-only", unit.path)
    symbols = [line.split()[1:] for line in listed.splitlines()]
    table = f"table_{unit.tier}"
    assert symbols == [["T", f"_ZN8fastconv{len(table)}{table}ERNS_11KernelTableE"]]


def test_nothing_of_cpp_is_called(unit: Unit) -> None:
    """C functions are one copy, in the C library; C++ functions would be copies with these flags."""
    listed = run(f"{unit.tools}nm", "--undefined-only", unit.path)
    undefined = [line.split()[-1] for line in listed.splitlines()]
    assert [name for name in undefined if name.startswith("_Z") or "cxa" in name or "guard" in name] == []


def test_nothing_runs_at_load(unit: Unit) -> None:
    sections = run(f"{unit.tools}objdump", "--section-headers", unit.path)
    assert ".init_array" not in sections
    assert ".ctors" not in sections


def test_the_extension_exports_three_functions() -> None:
    names = [
        line.split()[-1] for line in run("nm", "--dynamic", "--defined-only", _core.__file__).splitlines()
    ]
    assert [name for name in names if re.match("_ZNK?8fastconv", name)] == []
    functions = {name for name in names if not name.startswith("_")}  # a mangled one is an instance of std's
    assert functions == {"PyInit__core", "fastconv_get_num_threads", "fastconv_set_num_threads"}
