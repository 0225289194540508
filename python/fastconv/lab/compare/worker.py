"""The process of one variant: ``python -m fastconv.lab.compare.worker VARIANT THREADS``.

Reads one JSON request a line and answers each with one line:

- ``{"prepare": case, "output": path}`` makes the case ready, runs it once and saves the result as .npy;
- ``{"time": seconds, "warmup": n}`` runs it n times untimed, then for about that long:
  ``{"min", "median", "calls", "times"}``, of a network the time of each call;
- a failure is ``{"error": "ValueError: ..."}``, and the worker goes on.

:class:`fastconv.lab.compare.suite.Worker` is the other end.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from dataclasses import asdict, replace
from typing import Any, TextIO

import numpy as np

from fastconv import _platform
from fastconv.lab.compare.cases import Case, Prepared
from fastconv.lab.compare.engines import prepare
from fastconv.timing import time_calls


def serve(variant: str, threads: int, requests: TextIO, replies: TextIO) -> None:
    """Answer requests until there are no more."""
    prepared: Prepared | None = None
    for line in requests:
        request = json.loads(line)
        try:
            if "prepare" in request:
                prepared = None  # free the last case first
                case = Case(**request["prepare"])
                prepared = prepare(variant, case, threads)
                np.save(request["output"], prepared.to_numpy(prepared.run()))
                reply: dict[str, Any] = {
                    "saved_macs": prepared.saved_macs,
                    "algorithm": prepared.algorithm,
                    "other_macs": dict(prepared.other_macs),
                }
            else:
                if prepared is None:
                    raise RuntimeError("time: expected a prepared case, got none")
                found = time_calls(prepared.run, request["time"], request.get("warmup", 1))
                reply = asdict(found if case.kind == "model" else replace(found, times=()))
        except Exception as error:
            reply = {"error": f"{type(error).__name__}: {error}"}
        replies.write(json.dumps(reply) + "\n")
        replies.flush()


def main() -> None:
    """Serve on standard input and output; whatever the engine prints goes to standard error."""
    _platform.end_with_parent()
    variant, threads = sys.argv[1:]
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    with contextlib.suppress(KeyboardInterrupt):
        serve(variant, int(threads), sys.stdin, replies)


if __name__ == "__main__":
    main()
