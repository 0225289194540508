"""Arrays of other libraries: taken as numpy's over their memory, and made of numpy's, without a copy.

torch and whatever follows the array API standard are known; of any other exporter of ``__dlpack__`` or
``__array__`` the results are numpy's.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastconv.errors import DTypeError, MissingPackageError


def imported(name: str, x: Any) -> NDArray[Any]:
    """Return an array of another library as numpy's, over the same memory where that can be shown.

    Raises DTypeError, which begins with ``name``, where it is none, or not on the CPU.
    """
    for bit in ("is_neg", "is_conj"):  # of torch: the memory that __dlpack__ shows is not what it stands for
        lazy = getattr(x, bit, None)
        if callable(lazy) and lazy() is True:
            resolve = bit.replace("is", "resolve")
            raise DTypeError(f"{name}: expected numbers as they lie in memory, got a tensor for {resolve}()")
    try:
        if _is_tensor(x):
            return _of_tensor(name, x)
        if hasattr(x, "__dlpack__"):
            return np.from_dlpack(x)
        if hasattr(x, "__array__"):
            return np.asarray(x)
    except MissingPackageError:
        raise
    except Exception as error:  # whatever the exporter raises: a tensor on a GPU, one that requires grad
        raise DTypeError(f"{name}: expected an array, got {type(x).__name__} and: {error}") from error
    raise DTypeError(f"{name}: expected an array (__dlpack__ or __array__), got {type(x).__name__}")


def maker_for(x: Any) -> Callable[[NDArray[Any]], Any] | None:
    """Return what makes arrays of x's library of numpy's, over their memory; None where numpy's will do."""
    if isinstance(x, np.ndarray):
        return None
    if _is_tensor(x):
        return _tensor
    if hasattr(x, "__dlpack__") and hasattr(x, "__array_namespace__"):
        from_dlpack: Callable[[NDArray[Any]], Any] | None
        from_dlpack = getattr(x.__array_namespace__(), "from_dlpack", None)
        return None if from_dlpack is np.from_dlpack else from_dlpack
    return None


def _torch() -> Any:
    """Return torch where somebody has imported it: else nothing is a tensor."""
    return sys.modules.get("torch")


def _is_tensor(x: Any) -> bool:
    tensor = getattr(_torch(), "Tensor", None)
    return tensor is not None and isinstance(x, tensor)


def _of_tensor(name: str, x: Any) -> NDArray[Any]:
    torch = _torch()
    if x.requires_grad and not torch.is_grad_enabled():  # nobody asks for gradients of what is computed
        x = x.detach()
    if x.dtype is not torch.bfloat16 or x.requires_grad:
        return np.from_dlpack(x)
    try:
        import ml_dtypes
    except ImportError as error:
        raise MissingPackageError(f"{name}: bfloat16 needs a package: pip install ml_dtypes") from error
    return np.from_dlpack(x.view(torch.int16)).view(ml_dtypes.bfloat16)  # numpy's DLPack lacks bfloat16


def _tensor(y: NDArray[Any]) -> Any:
    torch = _torch()
    if y.dtype.name == "bfloat16":
        return torch.from_dlpack(y.view(np.int16)).view(torch.bfloat16)
    return torch.from_dlpack(y)
