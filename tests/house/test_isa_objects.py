"""ISA objects are sealed: each tier's object exports its table, and nothing that could be linked elsewhere.

An inline function or template compiled with a tier's flags and left as a weak symbol can be the one copy that
the linker keeps for the whole library: an illegal instruction on every older processor (docs/dispatch.md).
"""

from __future__ import annotations

import os
import platform
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from fastconv import _core

ROOT = Path(__file__).parents[2]
CXX = os.environ.get("CXX", "g++")
ROW = re.compile(r'^ *"(\w+) *: *(\S+) *: *(.*)"$', re.MULTILINE)
TIERS = {
    tier: flags
    for tier, processors, flags in ROW.findall((ROOT / "cmake" / "isa.cmake").read_text())
    if re.fullmatch(processors, platform.machine())
}

pytestmark = [
    pytest.mark.isa,
    pytest.mark.skipif(not (shutil.which(CXX) and shutil.which("nm")), reason="needs a compiler and nm"),
]


def run(*command: str | Path) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module", params=TIERS)
def isa_object(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A tier's name and its object, compiled as CMakeLists.txt does."""
    tier: str = request.param
    target = tmp_path_factory.mktemp("isa") / f"{tier}.o"
    flags = [
        "-std=c++20",
        "-O3",
        "-fPIC",
        "-fvisibility=hidden",
        "-fno-lto",
        "-fno-exceptions",
        "-ffp-contract=off",
    ]
    source = ROOT / "csrc" / "kernels" / "isa" / f"{tier}.cpp"
    run(CXX, *flags, *shlex.split(TIERS[tier]), f"-I{ROOT / 'csrc'}", "-c", source, "-o", target)
    return tier, target


def test_every_tier_has_a_unit() -> None:
    units = {path.stem for path in (ROOT / "csrc" / "kernels" / "isa").glob("*.cpp")}
    assert set(TIERS) <= units


def test_only_the_table_is_exported(isa_object: tuple[str, Path]) -> None:
    tier, path = isa_object
    symbols = [line.split()[1:] for line in run("nm", "--extern-only", "--defined-only", path).splitlines()]
    assert symbols == [["T", f"_ZN8fastconv{len('table_' + tier)}table_{tier}ERNS_11KernelTableE"]]


def test_nothing_of_cpp_is_called(isa_object: tuple[str, Path]) -> None:
    """C functions are one copy, in the C library; C++ functions would be copies with these flags."""
    undefined = [line.split()[-1] for line in run("nm", "--undefined-only", isa_object[1]).splitlines()]
    assert [name for name in undefined if name.startswith("_Z") or "cxa" in name or "guard" in name] == []


def test_nothing_runs_at_load(isa_object: tuple[str, Path]) -> None:
    sections = run("objdump", "--section-headers", isa_object[1])
    assert ".init_array" not in sections
    assert ".ctors" not in sections


def test_the_extension_exports_three_functions() -> None:
    names = [
        line.split()[-1] for line in run("nm", "--dynamic", "--defined-only", _core.__file__).splitlines()
    ]
    assert [name for name in names if re.match("_ZNK?8fastconv", name)] == []
    functions = {name for name in names if not name.startswith("_")}  # a mangled one is an instance of std's
    assert functions == {"PyInit__core", "fastconv_get_num_threads", "fastconv_set_num_threads"}
