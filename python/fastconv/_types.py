"""Types of what the public functions take, for those who check theirs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray


class Exporter(Protocol):
    """An array of any library: numpy's, torch's, those of the array API standard."""

    def __dlpack__(self, *args: Any, **kwargs: Any) -> Any:
        """Return the memory of the array."""

    def __dlpack_device__(self) -> tuple[Any, Any]:
        """Return where that memory is."""


Numbers: TypeAlias = list[Any] | tuple[Any, ...]
ArrayLike: TypeAlias = Exporter | Numbers

if TYPE_CHECKING:
    import typing_extensions

    # The kind of the first array, which the result has; of numbers in lists it is numpy's.
    Given = typing_extensions.TypeVar("Given", bound=Exporter, default=NDArray[np.float32])
else:
    Given = TypeVar("Given")

Padding: TypeAlias = int | tuple[int, ...] | list[int] | Literal["same", "valid"]
PaddingMode: TypeAlias = Literal["zeros", "reflect", "replicate", "circular"]
Precision: TypeAlias = Literal["fast", "exact", "bf16"]
Layout1d: TypeAlias = Literal["NCW", "NWC"]
Layout2d: TypeAlias = Literal["NCHW", "NHWC"]
Layout3d: TypeAlias = Literal["NCDHW", "NDHWC"]
ActivationName: TypeAlias = Literal[
    "relu", "relu6", "clamp", "leaky_relu", "sigmoid", "silu", "hardsigmoid", "hardswish", "gelu",
    "gelu_tanh", "mish", "tanh", "elu",
]  # fmt: skip
Activation: TypeAlias = (
    ActivationName
    | tuple[ActivationName]
    | tuple[ActivationName, float]
    | tuple[ActivationName, float, float]
    | None
)
