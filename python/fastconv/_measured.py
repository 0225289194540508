"""Measurements kept in files, so that they are made once for a machine: JSON objects, a key for each."""

from __future__ import annotations

import json
import os
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


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
            content = json.loads(self.path.read_text("utf-8"))
        except (OSError, ValueError):
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
            with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as file:
                file.write(text)
            Path(file.name).replace(path)
        except OSError as error:
            warnings.warn(f"{self.name} results are not kept: {error}", RuntimeWarning, stacklevel=2)
