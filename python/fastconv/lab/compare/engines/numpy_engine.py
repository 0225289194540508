"""numpy: matrix products by the BLAS that its wheel ships (OpenBLAS). It has no convolutions."""

from __future__ import annotations

import numpy as np

from fastconv.lab.compare.cases import Case, Prepared, gemm_arrays


def prepare(case: Case, mode: str, threads: int) -> Prepared:  # noqa: ARG001
    """Prepare a matrix product; OpenBLAS takes its threads from the environment of the process."""
    a, b = gemm_arrays(case)
    out = np.empty((a.shape[0], b.shape[1]), np.float32)
    return Prepared(lambda: np.matmul(a, b, out=out))
