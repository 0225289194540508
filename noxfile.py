"""Developers' sessions: ``nox`` runs the first three, ``nox -s conformance`` (or another name) another."""

from __future__ import annotations

import subprocess
from pathlib import Path

import nox

nox.options.sessions = ["tests", "lint", "types"]
nox.options.default_venv_backend = "venv"

KERNEL_TESTS = ("tests/kernels", "tests/conv", "tests/gemm")


def install(session: nox.Session, **defines: str) -> None:
    """Install the package with CMake definitions, built in a folder of the session's own."""
    settings = [f"-Cbuild-dir={session.create_tmp()}/build"]
    settings += [f"-Ccmake.define.{name}={value}" for name, value in defines.items()]
    session.install(".[test]", *settings)


@nox.session
def tests(session: nox.Session) -> None:
    """The test suite, with the packages of the ``test`` extra; torch tests run where torch is installed."""
    install(session)
    session.run("pytest", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Format and spelling."""
    session.install(*nox.project.dependency_groups(nox.project.load_toml(), "lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("codespell")
    sources = [str(path) for path in Path("csrc").rglob("*.*") if path.suffix in {".h", ".cpp"}]
    session.run("clang-format", "--dry-run", "-Werror", *sources)


@nox.session
def types(session: nox.Session) -> None:
    """Types of the package, strictly."""
    session.install(*nox.project.dependency_groups(nox.project.load_toml(), "lint"), "numpy>=2.1")
    session.run("mypy")


@nox.session
def conformance(session: nox.Session) -> None:
    """ONNX's own backend tests; writes docs/conformance.md, or compares with it: ``-- --check``."""
    install(session)
    session.run("python", "-m", "fastconv.testing.conformance", "docs/conformance.md", *session.posargs)


@nox.session
def sanitize(session: nox.Session) -> None:
    """Kernel tests under AddressSanitizer and UndefinedBehaviorSanitizer."""
    install(session, FASTCONV_SANITIZE="address,undefined", CMAKE_BUILD_TYPE="RelWithDebInfo")
    runtime = subprocess.run(
        ["g++", "-print-file-name=libasan.so"], capture_output=True, text=True, check=True
    )
    session.env["LD_PRELOAD"] = runtime.stdout.strip()  # Python itself is not built with it
    session.env["ASAN_OPTIONS"] = "detect_leaks=0"  # Python's own allocations at exit
    session.env["UBSAN_OPTIONS"] = "halt_on_error=1,print_stacktrace=1"
    session.run("pytest", *(session.posargs or KERNEL_TESTS))


@nox.session
def emulate_avx512(session: nox.Session) -> None:
    """Kernel tests of the avx512 tier on any x86 processor; needs the SIMDe headers (libsimde-dev)."""
    install(session, FASTCONV_EMULATE_AVX512="ON")
    session.env["FASTCONV_ISA"] = "avx512"
    session.run("pytest", *(session.posargs or KERNEL_TESTS))
