"""What fastconv is running on: instruction set tiers, caches, threads and the build."""

from __future__ import annotations

import sys
from typing import Any, Literal, overload

from fastconv import _core
from fastconv.errors import ArgumentError


def _is_command() -> bool:
    """Whether this process is the command ``fastconv``, which says what is wrong in one line."""
    from pathlib import Path  # in here: few come here, and it takes long to import

    return Path(sys.argv[0]).stem == "fastconv" or sys.orig_argv[1:3] == ["-m", "fastconv"]


try:
    _core.initialize()  # FASTCONV_ISA and FASTCONV_NUM_THREADS; at import, where a typing error is noticed
except ArgumentError as error:
    if not _is_command():
        raise
    sys.stderr.write(f"fastconv: {error}\n")
    raise SystemExit(2) from None


@overload
def show_config(mode: Literal["text"] = "text") -> None: ...
@overload
def show_config(mode: Literal["dict"]) -> dict[str, Any]: ...
def show_config(mode: Literal["text", "dict"] = "text") -> dict[str, Any] | None:
    """Show the processor, the instruction set tiers, the caches, the threads and the build.

    Parameters
    ----------
    mode : {"text", "dict"}, optional
        Print to standard output, or return the same as a dictionary.

    Returns
    -------
    dict or None
        With ``mode="dict"``: ``version``, ``cpu``, ``tiers`` (``built`` into this package, ``found`` on this
        processor, the one ``used``, and the ``extensions`` found), ``caches`` (bytes), ``threads``
        (``default`` and ``used``), ``build``.

    Raises
    ------
    ArgumentError
        If `mode` is another word.

    Notes
    -----
    The environment variable ``FASTCONV_ISA`` caps the tier; it is read when fastconv is imported.

    Examples
    --------
    >>> import fastconv
    >>> config = fastconv.show_config(mode="dict")
    >>> config["tiers"]["used"] in config["tiers"]["built"]
    True
    """
    if mode not in ("text", "dict"):
        raise ArgumentError(f"mode: expected 'text' or 'dict', got {mode!r}")
    info = _core.cpu_info()
    config: dict[str, Any] = {
        "version": _core.__version__,
        "cpu": info["model"],
        "tiers": info["tiers"],
        "caches": info["caches"],
        "threads": {"default": info["default_threads"], "used": _core.get_num_threads()},
        "build": info["build"],
    }
    if mode == "dict":
        return config
    sys.stdout.write(_as_text(config))
    return None


def _as_text(config: dict[str, Any]) -> str:
    tiers, caches, threads, build = (config[key] for key in ("tiers", "caches", "threads", "build"))
    marks = {name: "found" if name in tiers["found"] else "not on this CPU" for name in tiers["built"]}
    marks[tiers["used"]] = "used"
    emulated = f", {', '.join(build['emulated'])} emulated" if build["emulated"] else ""
    rows = {
        "fastconv": config["version"],
        "cpu": config["cpu"],
        "tiers": ", ".join([*(f"{name} ({mark})" for name, mark in marks.items()), *tiers["extensions"]]),
        "caches": ", ".join(f"{level.upper()} {size // 1024} KiB" for level, size in caches.items()),
        "threads": f"{threads['used']} (default {threads['default']})",
        "build": f"{build['compiler']}, {build['platform']}{emulated}",
    }
    return "".join(f"{name + ':':10}{value}\n" for name, value in rows.items())
