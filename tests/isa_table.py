"""The rows of cmake/isa.cmake, for tests of what is made of them."""

from __future__ import annotations

import platform
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Row:
    """What the table says of a tier or an extension; ``flags`` are its parents' too."""

    name: str
    extension: bool
    parent: str
    processors: str
    features: tuple[str, ...]
    flags: tuple[str, ...]

    def is_of(self, machine: str) -> bool:
        return re.fullmatch(self.processors, machine) is not None


def read_rows() -> dict[str, Row]:
    rows: dict[str, Row] = {}
    for line in re.findall(r'^ *"(.*)"$', (ROOT / "cmake" / "isa.cmake").read_text(), re.MULTILINE):
        fields = ("" if field == "-" else field for field in re.split(r" *: *", line))
        name, kind, parent, processors, features, facts, flags = fields
        above = rows[parent].flags if parent else ()
        own = (*shlex.split(flags), *(f"-DFASTCONV_{fact.upper()}" for fact in facts.split()))
        known = (name, kind == "extension", parent, processors, tuple(features.split()))
        rows[name] = Row(*known, flags=(*above, *own))
    return rows


ROWS = read_rows()
# Those of this machine, parents first.
HERE = {name: row for name, row in ROWS.items() if row.is_of(platform.machine())}
TIERS = [name for name, row in HERE.items() if not row.extension]
EXTENSIONS = {name: row.parent for name, row in HERE.items() if row.extension}
