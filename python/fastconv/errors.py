"""Typed errors: everything fastconv raises about its input derives from :class:`FastconvError`.

A message names the argument, attribute or node first, then what was expected, then what came:
``w: expected ic/groups = 32 channels, got 64``.
"""

from __future__ import annotations


class FastconvError(Exception):
    """Base class of every error that fastconv raises about its input."""


class ArgumentError(FastconvError, ValueError):
    """An argument has the right type but an impossible value (a stride of 0, an unknown algorithm)."""


class ShapeError(FastconvError, ValueError):
    """Array shapes do not fit together."""


class DTypeError(FastconvError, TypeError):
    """An array has a dtype, byte order or type that the function does not take."""


class ModelError(FastconvError, ValueError):
    """A model file or a set of weights is malformed, truncated, or does not match its architecture."""


class UnsupportedOpError(ModelError):
    """A graph holds an operator, or a variant of one, that fastconv does not run."""


class MemoryLimitError(FastconvError, MemoryError):
    """A model asks for more memory than it may take (``max_bytes`` of :func:`fastconv.load`)."""


class MissingPackageError(FastconvError, ImportError):
    """An optional package is needed for this and is not installed; the message gives the pip command."""
