"""Measurements kept in files, so that they are made once for a machine: JSON objects, a key for each.

A file is named by an environment variable, or lies in ``fastconv`` of ``XDG_CACHE_HOME`` (by default
``~/.cache``).
"""

from __future__ import annotations

import json
import os
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def file_of(name: str, variable: str) -> Path:
    """Return where the measurements of a name are kept, or where an environment variable says."""
    if named := os.environ.get(variable):
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fastconv" / f"{name}.json"


def read(path: Path, kind: type) -> dict[str, Any]:
    """Return the values of a kind that a file holds; one that cannot be read, or is not ours, holds none."""
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(content, dict):
        return {}
    return {key: value for key, value in content.items() if isinstance(value, kind)}


def add(path: Path, found: Mapping[str, Any], kind: type) -> None:
    """Add results of a kind to a file; readers see the old one or the new one, whole."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps({**read(path, kind), **found}, indent=1, sort_keys=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as file:
            file.write(text)
        Path(file.name).replace(path)
    except OSError as error:
        warnings.warn(f"measurements are not kept: {error}", RuntimeWarning, stacklevel=2)
