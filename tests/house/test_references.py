"""What comments and documents name is there: files, modules, commands, functions."""

from __future__ import annotations

import ast
import importlib
import io
import re
import subprocess
import tokenize
from collections.abc import Iterator
from functools import cache
from itertools import product
from pathlib import Path

import pytest

from fastconv.cli import build_parser

ROOT = Path(__file__).parents[2]
# The names of others' tests, names of their time, and those of other tools: its own blocks run in tests.
UNCHECKED = {"docs/conformance.md", "CHANGELOG.md", "docs/coming_from.md"}


def tracked() -> list[str]:
    """Return the files of the checkout, or of the source distribution that has no history."""
    try:
        listed = subprocess.run(
            ["git", "-C", str(ROOT), "ls-files"], capture_output=True, text=True, check=True
        )
        return listed.stdout.splitlines()
    except (OSError, subprocess.CalledProcessError):
        folders = ("csrc", "python", "tests", "docs", "bench", "cmake")
        found = [*ROOT.glob("*.*"), *(p for folder in folders for p in (ROOT / folder).rglob("*.*"))]
        return [path.relative_to(ROOT).as_posix() for path in found if "__pycache__" not in path.parts]


FILES = tracked()
CPP = [name for name in FILES if name.endswith((".h", ".cpp"))]
HERE = Path(__file__).relative_to(ROOT).as_posix()  # whose examples name what is nowhere
PYTHON = [name for name in FILES if name.endswith(".py") and name != HERE]
PAGES = [name for name in FILES if name.endswith(".md") and name not in UNCHECKED]

TOKEN = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|[^/"]+|.', re.DOTALL)
Text = tuple[int, str]  # from which line on


def cpp_parts(text: str) -> tuple[list[Text], str]:
    """Return the comments of a C++ file, and its code without them."""
    comments, code = [], []
    for found in TOKEN.finditer(text):
        if found.group().startswith(("//", "/*")):
            comments.append((text.count("\n", 0, found.start()) + 1, found.group()))
        else:
            code.append(found.group())
    return comments, "".join(code)


def python_comments(text: str) -> Iterator[Text]:
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and node.body:
            first = node.body[0]
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                yield first.lineno, str(first.value.value)


@cache
def prose(name: str) -> list[Text]:
    """Return what a file says to people: a page all of it, code its comments and docstrings."""
    text = (ROOT / name).read_text()
    if name in CPP:
        return cpp_parts(text)[0]
    return list(python_comments(text)) if name in PYTHON else [(1, text)]


@cache
def code_words() -> set[str]:
    """Return every word of the code and the build, but for this file, comments and docstrings."""
    texts = [cpp_parts((ROOT / name).read_text())[1] for name in CPP]
    others = (".pyi", ".cmake", ".toml", "CMakeLists.txt", ".ci/run")
    texts += [(ROOT / name).read_text() for name in FILES if name.endswith(others)]
    for name in PYTHON:
        docstrings = {text for _, text in prose(name)}
        for token in tokenize.generate_tokens(io.StringIO((ROOT / name).read_text()).readline):
            if token.type == tokenize.NAME or token.string.strip("\"'") not in docstrings:
                texts.append(token.string)
    return set(re.findall(r"\w+", " ".join(texts)))


def mentions(name: str, pattern: str) -> Iterator[tuple[int, str]]:
    for line, text in prose(name):
        for found in re.finditer(pattern, text):
            yield line + text.count("\n", 0, found.start()), found.group(1)


SOURCE = r"(?<![\w/.{*>-])((?:[\w.-]+/)*[\w-]+(?:\.[\w-]+)*\.(?:h|cpp|pyi?|md|cmake|toml))\b(?![\w/*-]|\.\w)"
FOLDER = r"`((?:csrc|python/fastconv|tests|docs|bench|cmake)/[\w/.{},-]+?)/?`"


def test_files_exist() -> None:
    known = {"/".join(path.split("/")[i:]) for path in FILES for i in range(path.count("/") + 1)}
    folders = {path.rsplit("/", n)[0] for path in FILES for n in range(1, path.count("/") + 1)}
    for name in (*CPP, *PYTHON, *PAGES):
        for line, path in mentions(name, SOURCE):
            assert path in known, f"{name}:{line}: {path} is no file"
        for line, path in mentions(name, FOLDER):
            for one in spelt_out(path):
                assert one in known or one in folders, f"{name}:{line}: {one} is neither file nor folder"


def spelt_out(path: str) -> list[str]:
    """Return the paths that braces stand for.

    >>> spelt_out("a/{b,c}.py")
    ['a/b.py', 'a/c.py']
    """
    parts = [part.split(",") for part in re.split(r"[{}]", path)]
    return ["".join(chosen) for chosen in product(*parts)]


def test_modules_and_their_names_exist() -> None:
    """``fastconv.part.name``, wherever it is written, and ``python -m fastconv...``."""
    for name in (*PYTHON, *PAGES):
        for line, dotted in mentions(name, r"(?<![\w./])(fastconv(?:\.[A-Za-z_]\w*)+)"):
            # A host, and files, look the same.
            assert dotted.endswith((".org", ".json", ".fcm", ".onnx")) or exists(dotted), (
                f"{name}:{line}: {dotted}"
            )


@cache
def exists(dotted: str) -> bool:
    """Return whether there is a module, or a name in one; what is about a package that is absent may be."""
    found = importlib.import_module("fastconv")
    for part in dotted.split(".")[1:]:
        if not hasattr(found, part):
            missing = import_fails(f"{found.__name__}.{part}")
            if missing:
                return not missing.startswith("fastconv")
        found = getattr(found, part)
    return True


def import_fails(name: str) -> str:
    """Import a module; return the name of the one that is not there, or nothing."""
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        return error.name or name
    return ""


@pytest.mark.parametrize("name", PAGES)
def test_commands_exist(name: str) -> None:
    (commands,) = (a.choices for a in build_parser()._actions if a.choices)
    for line, command in mentions(name, r"(?:^|`|&& )fastconv ([a-z]+)"):
        assert command in commands, f"line {line}: fastconv has no command {command}"
    sessions = {node.name for node in ast.parse((ROOT / "noxfile.py").read_text()).body
                if isinstance(node, ast.FunctionDef)}  # fmt: skip
    for line, wanted in mentions(name, r"nox -s ([a-z_0-9 ]+?)(?= --|`|\n|\s{2,}|\)|#)"):
        assert set(wanted.split()) <= sessions, f"line {line}: noxfile.py has no session {wanted}"


# What other languages and libraries have and our code does not: words that explain what was not taken.
FOREIGN = {"gil_scoped_release", "pthread_exit", "shared_mutex", "set_flush_denormal"}


def test_names_in_comments_exist() -> None:
    """Those with an underscore, called with (), or constants: what a comment sends its reader to."""
    pattern = r"(?<![\w/.-])([a-z][a-z0-9]*_\w+|\w+(?=\(\))|k[A-Z]\w+)\b(?![\w/]*\.(?:h|cpp|inl|py|md)\b)"
    known = code_words() | FOREIGN
    for name in CPP:
        for line, word in mentions(name, pattern):
            assert word in known, f"{name}:{line}: nothing is called {word}"


@pytest.mark.parametrize("name", PAGES)
def test_names_in_pages_exist(name: str) -> None:
    for line, dotted in mentions(name, r"`([A-Za-z_][\w.]*_[\w.]*|[A-Z]+[a-z]+[A-Z]\w*)(?:\([^`]*\))?`"):
        for word in dotted.strip(".").split("."):
            known = word in code_words() or word in FOREIGN or word.startswith(("_", "test_"))
            assert known or any(f"/{dotted}" in path for path in FILES), f"line {line}: nothing is {dotted}"


def test_references_are_found() -> None:
    text = "Read `csrc/core/none` and gemm/none.cpp (fastconv.none.x); `a/<b>.h` is a pattern."
    assert re.findall(SOURCE, text) == ["gemm/none.cpp"]
    assert re.findall(FOLDER, text) == ["csrc/core/none"]
    comments, code = cpp_parts('int a;  // b\nconst char* c = "// d";')
    assert comments == [(1, "// b")]
    assert "// d" in code
