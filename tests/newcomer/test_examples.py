"""The programs of ``examples/`` run as they are, each in a folder and a process of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
TELLS = {  # what each says, as whoever reads it would look for
    "first_convolution": "gives (1, 2, 64, 64)",
    "photos": "compiled: ",
    "roofline": "layers.svg, report.html",
    "where_is_the_time": "Bound by ",
}


@pytest.mark.model
@pytest.mark.parametrize("name", TELLS)
def test_an_example_runs(name: str, tmp_path: Path) -> None:
    path = EXAMPLES / f"{name}.py"
    environment = {**os.environ, "FASTCONV_ROOFLINE": str(tmp_path / "roofline.json")}
    done = subprocess.run(
        [sys.executable, str(path)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    missing = re.search(r"^(?:ModuleNotFoundError|.*MissingPackageError): .*", done.stderr, re.M)
    if missing:
        pytest.skip(missing[0])
    assert done.returncode == 0, done.stderr
    assert TELLS[name] in done.stdout
    assert (
        f"examples/{name}.py" in path.read_text().partition('"""')[2].partition('"""')[0]
    )  # how it is started
