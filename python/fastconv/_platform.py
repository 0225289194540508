"""What operating systems do differently, each with what is done where a system has it not.

Only here, and in the counters of ``lab/profile/counters.py``, is asked what the system has;
``csrc/core/platform.h`` is the same of the compiled half.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import subprocess  # takes long to import, and a model that runs needs none


def _flags(*names: str) -> int:
    """Return those of the names of ``os`` that this system has, together."""
    found = 0
    for name in names:
        found |= getattr(os, name, 0)
    return found


# Never waits for a pipe, never becomes a terminal, is not inherited, and its bytes are those of the file.
READ = _flags("O_RDONLY", "O_NONBLOCK", "O_NOCTTY", "O_CLOEXEC", "O_BINARY")
NEW = _flags("O_WRONLY", "O_CREAT", "O_EXCL", "O_NOFOLLOW", "O_CLOEXEC", "O_BINARY")  # none that is there
_FOLDER = _flags("O_RDONLY", "O_DIRECTORY", "O_CLOEXEC")
# Whether a file can be opened from an open folder, and without following a link.
HAS_OPENAT = {os.open, os.stat} <= os.supports_dir_fd and hasattr(os, "O_NOFOLLOW")

Check = Callable[[str, bool, os.stat_result], None]


def open_below(folder: Path, parts: Sequence[str], check: Check) -> int:
    """Open a file for reading whose path starts in a folder; the caller closes it.

    Parameters
    ----------
    folder : Path
        Where the path starts.
    parts : sequence of str
        The names on the way, the file's the last; none is ``..``.
    check : callable
        Is called with each name, whether it is the last, and what was found there, before it is opened and
        again of what was opened, and raises unless the one may be entered and the other read. A symbolic link
        is found as such.

    Returns
    -------
    int
        The file's descriptor.

    Raises
    ------
    OSError
        Where there is no such file, or where it changes meanwhile.
    """
    return _by_folders(folder, parts, check) if HAS_OPENAT else _by_path(folder, parts, check)


def _by_folders(folder: Path, parts: Sequence[str], check: Check) -> int:
    """Open each part from the folder before it, so that none can be exchanged for a link on the way."""
    at = os.open(folder, _FOLDER)
    for i, part in enumerate(parts):
        last = i == len(parts) - 1
        try:  # a device does something when it is opened, so one looks first, and again at what was opened
            check(part, last, os.stat(part, dir_fd=at, follow_symlinks=False))
            opened = os.open(part, READ | os.O_NOFOLLOW, dir_fd=at)
        finally:
            os.close(at)
        at = opened
        try:
            check(part, last, os.fstat(at))
        except BaseException:
            os.close(at)
            raise
    return at


def _by_path(folder: Path, parts: Sequence[str], check: Check) -> int:
    """Open the whole path, and look at each part of it before and after: the file must be the one seen."""

    def seen() -> os.stat_result:
        path = folder
        for i, part in enumerate(parts):
            path = path / part
            found = path.lstat()
            if ":" in part or getattr(found, "st_reparse_tag", False):
                raise OSError(errno.EINVAL, "a stream or a junction of Windows")
            check(part, i == len(parts) - 1, found)
        return found

    before = seen()
    file = os.open(folder.joinpath(*parts), READ)
    try:
        if not os.path.samestat(before, os.fstat(file)) or not os.path.samestat(before, seen()):
            raise OSError(errno.EBUSY, "one that was exchanged while it was opened")
    except BaseException:
        os.close(file)
        raise
    return file


def read_at(file: int, nbytes: int, offset: int) -> memoryview:
    """Return some bytes of an open file from an offset on, at most so many; the file's position moves."""
    os.lseek(file, offset, os.SEEK_SET)
    return memoryview(os.read(file, nbytes))


def sync_folder(folder: Path) -> None:
    """Write a folder's names to the disk; OSError where the system or its file system cannot."""
    descriptor = os.open(folder, _FOLDER)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def forbid(address: int, nbytes: int) -> None:
    """Make a page of memory one that ends the process where it is touched; OSError where that cannot be."""
    if not hasattr(mmap, "MAP_PRIVATE"):
        raise OSError(errno.ENOSYS, "mprotect: expected a POSIX system, got Windows")
    protect = ctypes.CDLL(None, use_errno=True).mprotect
    nothing_allowed = 0
    if protect(ctypes.c_void_p(address), ctypes.c_size_t(nbytes), nothing_allowed) != 0:
        raise OSError(ctypes.get_errno(), "mprotect failed")


def suspend(process: subprocess.Popen[str]) -> None:
    """Stop a process until :func:`resume`, or leave it waiting for its input where there are no signals."""
    if hasattr(signal, "SIGSTOP"):
        process.send_signal(signal.SIGSTOP)


def resume(process: subprocess.Popen[str]) -> None:
    """Let a suspended process go on."""
    if hasattr(signal, "SIGCONT"):
        process.send_signal(signal.SIGCONT)


def end_with_parent() -> None:
    """Ask Linux to end this process with its parent: a suspended one would not see the end of its input."""
    pr_set_pdeathsig = 1
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
