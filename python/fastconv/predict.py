"""Folders of photos to Parquet files, in many worker processes: what the recipes of examples/scale share.

An engine (Ray Data, Dask, Spark, joblib, a pool of processes) hands out paths and moves results. A
:class:`Predictor` is what a worker does with them, :func:`pending` what is left to do after an interruption,
and :func:`write_part` how an engine without a writer of its own keeps results. docs/scale.md shows them at
work. Pyarrow is imported where a table is made.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from fastconv._files import path_of, replacing
from fastconv.errors import ArgumentError, MissingPackageError
from fastconv.importers import load

Array = npt.NDArray[Any]
SUFFIXES = (".jpg", ".jpeg", ".png")


@dataclass(frozen=True)
class Predictor:
    """Predict what is in photos, a row for each; one that cannot be read is a row with its error.

    It can be pickled, and opens its model in the process that calls it, once for all calls there: a worker of
    any engine has one model. A ``.fcm`` file is mapped, so that the workers of a machine share its weights.
    A subclass that overrides :meth:`open`, :meth:`row` and ``columns`` predicts something else.

    Parameters
    ----------
    model : str
        The path of a model that :func:`fastconv.load` reads, by custom a ``.fcm`` file.
    preprocess : callable
        Path of a photo to the model's input, float32, a batch of one; such as
        ``fastconv.models.resnet50.preprocess``.
    threads : int
        Of every call. One, where there is a worker for each core.

    Examples
    --------
    >>> from fastconv.models import resnet50
    >>> predictor = Predictor("resnet50.fcm", resnet50.preprocess)
    >>> [row] = predictor.rows(["no-such.jpg"])
    >>> row["label"], row["error"]
    (None, "FileNotFoundError: [Errno 2] No such file or directory: 'no-such.jpg'")
    """

    columns: ClassVar[Mapping[str, str]] = {"label": "int32", "score": "float32"}

    model: str
    preprocess: Callable[[str], Array] = field(repr=False, compare=False)
    threads: int = 1

    def open(self) -> Callable[[Array], Any]:
        """Return the model, a function of one input."""
        return load(self.model, threads=self.threads)

    def row(self, y: Array) -> dict[str, Any]:
        """Return what is kept of the model's output for a photo, a value for each of ``columns``."""
        scores = y.reshape(-1)
        label = int(scores.argmax())
        return {"label": label, "score": float(scores[label])}

    def rows(self, paths: Iterable[str]) -> list[dict[str, Any]]:
        """Return a row for each path: "path", the values of ``columns``, and "error", one of them None."""
        return [self._row(path) for path in paths]

    def __call__(self, paths: Iterable[str]) -> Any:
        """Return the rows as a ``pyarrow.Table``, whose types do not depend on what they hold.

        Raises
        ------
        MissingPackageError
            Where pyarrow is not installed.
        """
        return _pyarrow().Table.from_pylist(self.rows(paths), schema=self.schema)

    @property
    def schema(self) -> Any:
        """Names and types of the columns, as a ``pyarrow.Schema``."""
        pa = _pyarrow()
        types = {"path": "string", **self.columns, "error": "string"}
        return pa.schema([(name, pa.type_for_alias(kind)) for name, kind in types.items()])

    def _row(self, path: str) -> dict[str, Any]:
        empty: dict[str, Any] = {"path": path, **dict.fromkeys(self.columns), "error": None}
        try:
            x = self.preprocess(path)
        except Exception as error:  # whatever it is about one photo among millions, the others go on
            return empty | {"error": f"{type(error).__name__}: {error}"}
        model = _opened(self, *_identity(self.model))  # an error here is of the job, and ends it
        try:
            return empty | self.row(np.asarray(model(x)))
        except Exception as error:
            return empty | {"error": f"{type(error).__name__}: {error}"}


@lru_cache(maxsize=1)  # a worker has one model, whichever copies of a predictor it is sent
def _opened(predictor: Predictor, *_identity: int) -> Callable[[Array], Any]:
    return predictor.open()


def _identity(path: str) -> tuple[int, ...]:
    """Return what tells a file from one that replaces it."""
    found = path_of(path, "model").stat()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def pending(
    images: str | os.PathLike[str], out: str | os.PathLike[str], suffixes: Sequence[str] = SUFFIXES
) -> list[str]:
    """Return the photos of a folder that the results do not hold yet.

    Parts that an interruption cut short have no rows that can be read, and are removed: nobody may be writing
    to the folder.

    Parameters
    ----------
    images : path
        A folder of photos, in folders of any depth.
    out : path
        The folder of the results: Parquet files with a column "path". It need not exist.
    suffixes : sequence of str
        How the names of photos end, in lower case.

    Returns
    -------
    list of str
        Absolute paths, without links in that of the folder, sorted.

    Raises
    ------
    ArgumentError
        Where ``images`` is not a folder.
    MissingPackageError
        Where there are results and pyarrow is not installed.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Path(folder, "cat.jpg").touch()
    ...     [Path(path).name for path in pending(folder, f"{folder}/out")]
    ['cat.jpg']
    """
    folder = path_of(images, "images").resolve()
    if not folder.is_dir():
        raise ArgumentError(f"images: expected a folder, got {folder}")
    found = {str(path) for path in folder.rglob("*") if path.suffix.lower() in suffixes}
    for part in path_of(out, "out").glob("*.parquet"):
        found -= _paths(part)
    return sorted(found)


def _paths(part: Path) -> set[str]:
    pa, parquet = _pyarrow(), _parquet()
    try:
        return set(parquet.read_table(part, columns=["path"])["path"].to_pylist())
    except pa.ArrowInvalid:  # it has no end, where Parquet says what it holds
        part.unlink()
        return set()


def write_part(table: Any, out: str | os.PathLike[str]) -> Path:
    """Write a table as a Parquet file of its own in a folder, which is there as a whole or not at all.

    Parameters
    ----------
    table : pyarrow.Table
    out : path
        The folder; it is made where there is none.

    Returns
    -------
    Path
        Of the file, under a name that no other has.

    Raises
    ------
    MissingPackageError
        Where pyarrow is not installed.
    """
    folder = path_of(out, "out")
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f"part-{secrets.token_hex(8)}.parquet"
    with replacing(part) as file:
        _parquet().write_table(table, file)
    return part


def _pyarrow() -> Any:
    try:
        import pyarrow
    except ImportError as error:
        raise MissingPackageError("tables of results need pyarrow: pip install pyarrow") from error
    return pyarrow


def _parquet() -> Any:
    _pyarrow()
    import pyarrow.parquet

    return pyarrow.parquet
