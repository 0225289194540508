"""The library without Python: CMake builds it with tests of its own, which run on every tier of this machine.

``nox -s aarch64`` runs the same ones on 64-bit Arm, emulated.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

import fastconv
from fastconv import _core

ROOT = Path(__file__).parents[2]
BUILD = ROOT / "build" / "native"  # kept: a second run compiles what has changed

pytestmark = [
    pytest.mark.isa,
    pytest.mark.slow,
    pytest.mark.skipif(
        not (shutil.which("cmake") and shutil.which("ninja") and shutil.which(os.environ.get("CXX", "g++"))),
        reason="needs CMake, Ninja and a compiler",
    ),
]


def run(*command: str | Path) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "FASTCONV_ISA"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_library_passes_its_native_tests_on_every_tier() -> None:
    """Compiled with assertions, and the kernels in a fifth of the time that their usual optimisation takes.

    With the platform of other systems than Linux: the Python module and `nox -s aarch64` have Linux's.
    """
    emulated = fastconv.show_config("dict")["build"]["emulated"]
    found = _core.cpu_info()["tiers"]
    rows = [name for name in [*_core.tiers(), *found["extensions"]] if name not in emulated]
    defined = {
        "FASTCONV_BUILD_TIERS": ";".join(rows),
        "FASTCONV_PYTHON": "OFF",
        "FASTCONV_PORTABLE": "ON",
        "FASTCONV_OPTIMIZATION": "-O0",
        "CMAKE_BUILD_TYPE": "Debug",
        "CMAKE_CXX_FLAGS_DEBUG": "-O1",
    }
    definitions = [f"-D{name}={value}" for name, value in defined.items()]
    run("cmake", "-G", "Ninja", "-S", ROOT, "-B", BUILD, *definitions)
    run("cmake", "--build", BUILD)
    printed = run(BUILD / "native_tests")

    tiers = [tier for tier in _core.tiers() if tier not in emulated]
    assert f"in use: {tiers[-1]}\n" in printed
    results = re.findall(r"^(\w+), (\d) threads: (\d+) results$", printed, re.MULTILINE)
    assert [(tier, threads) for tier, threads, _ in results] == [
        (tier, threads) for tier in tiers for threads in "12"
    ]
    assert len({count for *_, count in results}) == 1
    assert re.search(r"^0 of \d+ results failed$", printed, re.MULTILINE)
