"""Measurements kept in files, so that they are made once for a machine: JSON objects, a key for each."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastconv._files import open_plain, replacing
from fastconv.errors import ArgumentError

MAX_BYTES = 16 << 20  # of a file of ours; an entry takes some hundreds


@dataclass(frozen=True)
class Results:
    """One kind of measurement and its file.

    Attributes
    ----------
    name : str
        Of the file, in ``fastconv`` of ``XDG_CACHE_HOME`` (by default ``~/.cache``), and in warnings.
    variable : str
        The environment variable that names another file.
    kind : type
        Of the values; others in the file are not ours.
    """

    name: str
    variable: str
    kind: type

    @property
    def path(self) -> Path:
        """Where they are kept."""
        if named := os.environ.get(self.variable):
            return Path(named)
        caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        return caches / "fastconv" / f"{self.name}.json"

    def read(self) -> dict[str, Any]:
        """Return what the file holds; one that cannot be read, or is not ours, holds nothing."""
        try:
            with open_plain(self.path) as file:
                text = file.read(MAX_BYTES + 1)
            content = json.loads(text) if len(text) <= MAX_BYTES else {}
        except (OSError, ValueError, RecursionError):  # RecursionError: of lists in lists
            return {}
        if not isinstance(content, dict):
            return {}
        return {key: value for key, value in content.items() if isinstance(value, self.kind)}

    def add(self, found: Mapping[str, Any]) -> None:
        """Add results to the file; readers see the old one or the new one, whole."""
        path = self.path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            text = json.dumps({**self.read(), **found}, indent=1, sort_keys=True)
            with replacing(path) as file:
                file.write(text.encode())
        except (OSError, ArgumentError) as error:
            warnings.warn(f"{self.name} results are not kept: {error}", RuntimeWarning, stacklevel=2)
