"""Files: only plain ones are read, and a name holds its old content or its new one, whole, at any time."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO

from fastconv import _platform
from fastconv.errors import ArgumentError, DTypeError, ModelError

KINDS = {
    stat.S_IFREG: "a file",
    stat.S_IFDIR: "a folder",
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def kind_of(found: os.stat_result) -> str:
    """Return what something of a file system is, with its article."""
    return KINDS.get(stat.S_IFMT(found.st_mode), "something else")


def path_of(source: str | os.PathLike[str], name: str = "source") -> Path:
    """Return the path that the argument `name` is; ModelError where no file can have it."""
    try:
        path = Path(source)
    except TypeError:  # of an object whose path is bytes, or none
        raise DTypeError(f"{name}: expected a path of text, got {type(source).__name__}") from None
    if "\0" in str(path):
        raise ModelError(f"{name}: expected a path, got {str(path)[:200]!r}, which holds a NUL")
    return path


def open_plain(path: Path) -> BufferedReader:
    """Open a file for reading; ModelError where it is a pipe or a device, which might never answer.

    What a device does when it is opened is not found out: one looks before, and again at what was opened.
    """
    _check_plain(path, path.stat())
    file = os.fdopen(os.open(path, _platform.READ), "rb")
    try:
        _check_plain(path, os.fstat(file.fileno()))
    except ModelError:
        file.close()
        raise
    return file


def _check_plain(path: Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise ModelError(f"{path}: expected a file, got {kind_of(found)}")


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a new file that takes the place of whatever file has a name, once all of it is on the disk.

    Where the body raises nothing has changed. ArgumentError where the name, or what it is a link to, is
    anything but a file.
    """
    import secrets  # in here: it loads OpenSSL, and few write a file

    for follow in (False, True):
        with suppress(FileNotFoundError):
            found = path.stat(follow_symlinks=follow)
            if not stat.S_ISREG(found.st_mode) and not (stat.S_ISLNK(found.st_mode) and not follow):
                raise ArgumentError(f"path: expected the name of a file, got {path}, {kind_of(found)}")
    temporary = path.with_name(f".fastconv-{secrets.token_hex(8)}.tmp")
    descriptor = os.open(temporary, _platform.NEW, 0o666)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    with suppress(OSError):  # of file systems that cannot
        _platform.sync_folder(path.parent)
