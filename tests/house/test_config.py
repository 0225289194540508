"""show_config and FASTCONV_ISA."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import fastconv
from fastconv import _core

ROOT = Path(__file__).parents[2]
TIERS, _, EXTENSIONS = (ROOT / "cmake" / "isa.cmake").read_text().partition("set(FASTCONV_ISA_EXTENSIONS")
TABLE = re.findall(r'^ *"(\w+) *:', TIERS, re.MULTILINE)


def import_with_isa(value: str) -> subprocess.CompletedProcess[str]:
    code = "import fastconv; print(fastconv.show_config(mode='dict')['tiers']['used'])"
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "FASTCONV_ISA": value},
        capture_output=True,
        text=True,
    )


def test_dict() -> None:
    config = fastconv.show_config(mode="dict")
    assert set(config) == {"version", "cpu", "tiers", "caches", "threads", "build"}
    tiers = config["tiers"]
    assert tiers["built"][0] == tiers["found"][0] == "ref"
    assert [name for name in TABLE if name in tiers["built"]] == tiers["built"]
    assert tiers["used"] == _core.active_tier()
    assert set(tiers["extensions"]) <= set(re.findall(r'^ *"(\w+) *:', EXTENSIONS, re.MULTILINE))
    assert 8 * 1024 <= config["caches"]["l1d"] <= config["caches"]["l2"]
    assert config["threads"]["used"] == fastconv.get_num_threads()
    assert re.match(r"(gcc|clang) \d+", config["build"]["compiler"])


def test_text(capsys: pytest.CaptureFixture[str]) -> None:
    assert fastconv.show_config() is None  # type: ignore[func-returns-value]
    printed = capsys.readouterr().out
    config = fastconv.show_config(mode="dict")
    for expected in (config["version"], config["cpu"], f"{config['tiers']['used']} (used)", "L1D "):
        assert expected in printed


def test_unknown_mode() -> None:
    with pytest.raises(fastconv.ArgumentError, match=r"^mode: expected 'text' or 'dict', got 'json'"):
        fastconv.show_config(mode="json")  # type: ignore[call-overload]


@pytest.mark.isa
@pytest.mark.parametrize("name", _core.tiers())
def test_isa_caps_the_tier(name: str) -> None:
    assert import_with_isa(name).stdout.strip() == name


@pytest.mark.isa
def test_isa_beyond_this_machine_is_a_cap_only() -> None:
    assert import_with_isa(TABLE[-1]).stdout.strip() == _core.tiers()[-1]


@pytest.mark.isa
def test_unknown_isa() -> None:
    run = import_with_isa("sse9")
    assert run.returncode != 0
    assert f"ArgumentError: FASTCONV_ISA: expected one of {', '.join(TABLE)}, got 'sse9'" in run.stderr


@pytest.mark.isa
def test_unknown_tier() -> None:
    with pytest.raises(fastconv.ArgumentError, match=r"^name: expected one of ref, .*, got 'sse9'"):
        _core.set_active_tier("sse9")
