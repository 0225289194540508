"""A graph that comes from a file, as a function that reads it and that can be pickled."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from fastconv._files import open_plain
from fastconv.errors import ModelError
from fastconv.graph.ir import Graph

_SETTLED = 2_000_000_000  # nanoseconds after which a write shows in a file's times, however coarse they are
_MOST = 64
_hashes: dict[tuple[int, ...], str] = {}  # of the files that this process has read, by their versions


class GraphFile:
    """A function that returns the graph of a file. Pickled it is the file's path and SHA-256, not its bytes.

    Parameters
    ----------
    read : callable
        What reads the file: path to graph.
    path : path
    sha256 : str
        Of the file that it must be, or empty.

    Raises
    ------
    ModelError
        When called, where the file is another than ``sha256`` says; when pickled, where it has changed since
        the call. Both name it.

    Notes
    -----
    A file is hashed once in a process, as long as its number, size and times stay: a worker that is sent a
    model with each task does not read all of it each time.
    """

    def __init__(self, read: Callable[[Path], Graph], path: str | os.PathLike[str], sha256: str = "") -> None:
        self._read, self._path, self._sha256 = read, Path(path), sha256
        self._version: tuple[int, ...] | None = None  # of the file that was read

    def __call__(self) -> Graph:
        """Read the file."""
        self._version = self._version_now()
        if self._sha256:
            found = self._hash()
            if found != self._sha256:
                raise ModelError(
                    f"{self._path}: expected the file with SHA-256 {self._sha256}, from which the model was"
                    f" made, got one with {found}"
                )
        return self._read(self._path)

    def __reduce__(self) -> tuple[type[GraphFile], tuple[Callable[[Path], Graph], Path, str]]:
        # Hashed now, not when the file is read: loading a model is not slower for it. That it is still the
        # same file is known from its number, size and time, which every writer changes.
        if not self._sha256:
            found = self._hash()
            if self._version_now() != self._version:
                raise ModelError(
                    f"{self._path}: expected the file as it was when the model was loaded, got one that has"
                    f" changed since, with SHA-256 {found}; load it again"
                )
            self._sha256 = found
        return type(self), (self._read, self._path.absolute(), self._sha256)

    def _version_now(self) -> tuple[int, ...] | None:
        try:
            s = self._path.stat()
        except OSError:  # whoever reads it says so, better
            return None
        return s.st_dev, s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns

    def _hash(self) -> str:
        import hashlib  # in here: it loads OpenSSL, and few pickle a model

        before = self._version_now()
        if before is not None and before in _hashes:
            return _hashes[before]
        try:
            with open_plain(self._path) as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise ModelError(f"{self._path}: expected a readable file, got {error.strerror}") from error
        same = before is not None and before == self._version_now()
        if before is not None and same and max(before[3:]) + _SETTLED < time.time_ns():
            if len(_hashes) >= _MOST:
                _hashes.clear()
            _hashes[before] = found
        return found
