"""Tensors of an ONNX model that lie in files beside it. Only here is a file opened because a model names it.

A model may come from anyone, so what it names must be a plain file below one folder, reached without a link:
each part of the path must be what it is expected to be before and after it is opened
(:func:`fastconv._platform.open_below`). What was refused elsewhere only after a report: paths through ``..``
and symbolic links (CVE-2022-25882, CVE-2024-27318), hard links, devices, and sums that wrap around.
"""

from __future__ import annotations

import bisect
import os
import re
import stat
from collections.abc import Sequence
from pathlib import Path

from fastconv import _platform
from fastconv._files import KINDS, kind_of
from fastconv.errors import ModelError
from fastconv.importers.tensors import map_part

Span = tuple[int, int]

KEYS = ("location", "offset", "length", "checksum")
NUMBER = re.compile("[0-9]{1,19}")  # of a 64-bit size
FOREIGN = re.compile(r"[A-Za-z]:|.*\\", re.DOTALL)  # drives and separators of another system
SMALL = 4096  # bytes up to which a copy is cheaper than a mapping of its own


class ExternalData:
    """The files that one model may read: those below a folder, or none."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._views: dict[tuple[int, int], dict[Span, memoryview]] = {}  # by device and inode, by place
        self._places: dict[tuple[int, int], list[Span]] = {}  # sorted

    def read(self, where: str, fields: Sequence[tuple[str, str]], nbytes: int) -> memoryview:
        """Return the bytes of a tensor, mapped: what is never read costs nothing.

        Parameters
        ----------
        where : str
            Starts the message of an error.
        fields : sequence of (str, str)
            Keys and values of its ``external_data``. ``checksum`` is of the whole file and not looked at.
        nbytes : int
            What the tensor's shape and type need.

        Raises
        ------
        ModelError
            Where the fields are not understood, the file is not one that the model may read, it does not hold
            that many bytes, or another tensor has a part of them: what many tensors take is never more than
            the files that they are in.
        """
        where = f"{where}: external data"
        if self._folder is None:
            raise ModelError(
                f"{where}: expected a folder that the files lie in, got none; load the model by its path,"
                " or pass external_data=folder"
            )
        given = dict(fields)
        unknown = [key for key in given if key not in KEYS]
        if unknown or len(given) != len(fields) or "location" not in given:
            raise ModelError(
                f"{where}: expected location and at most {', '.join(KEYS[1:])}, each once,"
                f" got {[key for key, _ in fields]}"
            )
        offset, length = (self._number(where, key, given.get(key)) for key in ("offset", "length"))
        if length is not None and length != nbytes:
            raise ModelError(f"{where}: length: expected {nbytes} bytes for shape and type, got {length}")
        location = given["location"]
        try:
            file = _open(self._folder, location)
            try:
                return self._part(file, offset or 0, nbytes)
            finally:
                os.close(file)
        except ModelError as error:
            raise ModelError(f"{where}: location {location!r:.80}: {error}") from error
        except (OSError, ValueError) as error:  # ValueError: no name of a file, or shorter than a moment ago
            reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
            raise ModelError(f"{where}: location {location!r:.80}: expected a file, got: {reason}") from error

    @staticmethod
    def _number(where: str, key: str, text: str | None) -> int | None:
        if text is None:
            return None
        if not NUMBER.fullmatch(text):
            raise ModelError(f"{where}: {key}: expected a number of bytes, got {text!r:.80}")
        return int(text)

    def _part(self, file: int, offset: int, nbytes: int) -> memoryview:
        found = os.fstat(file)
        if offset > found.st_size or nbytes > found.st_size - offset:
            raise ModelError(
                f"expected {nbytes} bytes from offset {offset} on, got a file of {found.st_size}"
            )
        if not nbytes:
            return memoryview(b"")
        identity, span = (found.st_dev, found.st_ino), (offset, offset + nbytes)
        views, places = self._views.setdefault(identity, {}), self._places.setdefault(identity, [])
        if span not in views:
            at = bisect.bisect(places, span)
            for begin, end in places[max(0, at - 1) : at + 1]:
                if begin < span[1] and span[0] < end:
                    raise ModelError(
                        f"expected tensors that do not overlap, got bytes {span[0]} to {span[1]}"
                        f" beside {begin} to {end}"
                    )
            places.insert(at, span)
            views[span] = _platform.read_at(file, nbytes, offset) if nbytes < SMALL else map_part(file, *span)
        return views[span]


def _open(folder: Path, location: str) -> int:
    """Open the file at a location below a folder; the caller closes it."""
    parts = [part for part in location.split("/") if part != "."]
    if "\0" in location or FOREIGN.match(location) or not {"", ".."}.isdisjoint(parts) or not parts:
        raise ModelError("expected a relative path that stays inside the model's folder")
    return _platform.open_below(folder, parts, _check)


def _check(name: str, last: bool, found: os.stat_result) -> None:
    kind = stat.S_IFREG if last else stat.S_IFDIR
    if stat.S_IFMT(found.st_mode) != kind:
        raise ModelError(f"expected {name!r} to be {KINDS[kind]}, got {kind_of(found)}")
    if kind == stat.S_IFREG and found.st_nlink > 1:
        raise ModelError(
            f"expected {name!r} to be a file of one name, got a hard link (one of {found.st_nlink}); copy it"
        )
