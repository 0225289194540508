"""show_config and FASTCONV_ISA."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

import fastconv
from fastconv import _core
from isa_table import EXTENSIONS, ROWS, TIERS


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
    assert tiers["built"] == TIERS
    assert tiers["used"] == _core.active_tier()
    assert set(tiers["extensions"]) <= set(EXTENSIONS)
    assert 8 * 1024 <= config["caches"]["l1d"] <= config["caches"]["l2"]
    assert config["threads"]["used"] == fastconv.get_num_threads()
    assert re.match(r"(gcc|clang) \d+", config["build"]["compiler"])
    assert config["build"]["platform"] in ("linux", "portable")


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
    assert import_with_isa(TIERS[-1]).stdout.strip() == _core.tiers()[-1]


@pytest.mark.isa
@pytest.mark.parametrize("name", ["sse9", *(name for name in ROWS if name not in TIERS)])
def test_what_is_no_tier_of_this_processor_family_is_an_error(name: str) -> None:
    """An extension is none, nor is a tier of another family."""
    run = import_with_isa(name)
    assert run.returncode != 0
    assert f"ArgumentError: FASTCONV_ISA: expected one of {', '.join(TIERS)}, got '{name}'" in run.stderr


@pytest.mark.isa
@pytest.mark.parametrize("name", EXTENSIONS)
def test_an_extension_has_no_table(name: str) -> None:
    with pytest.raises(fastconv.ArgumentError, match=f"^name: expected one of ref, .*, got '{name}'"):
        _core.set_active_tier(name)


@pytest.mark.isa
def test_unknown_tier() -> None:
    with pytest.raises(fastconv.ArgumentError, match=r"^name: expected one of ref, .*, got 'sse9'"):
        _core.set_active_tier("sse9")
