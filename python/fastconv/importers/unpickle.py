"""Importers: an interpreter for the part of pickle that builds plain containers; it never runs foreign code.

Called by the ``.pth`` reader (torch.py). A pickle is a program for a stack machine, and ``pickle.load`` lets
it call anything that Python can import. Here only the opcodes that build containers are decoded and
evaluated, and a global is looked up in the caller's table instead of being imported: any other opcode or
global is a ModelError that names it.
"""

from __future__ import annotations

import pickletools
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Any

from fastconv.errors import ModelError

_MAX_PICKLE = 1 << 21  # one byte of pickle can cost 100 bytes of memory; ResNet-152's takes 150 KB

_OPCODES = {opcode.code.encode("latin-1"): opcode for opcode in pickletools.opcodes}
_NUMBERS = ("BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT")
_STRINGS = ("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINSTRING", "SHORT_BINSTRING")
_PUSH_NEW: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
}
_CONTAINERS = ("MARK", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "APPEND", "APPENDS", "SETITEM", "SETITEMS")
_MEMO = ("MEMOIZE", "BINPUT", "LONG_BINPUT", "BINGET", "LONG_BINGET")
_CALLS = ("GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD", "BINPERSID")
_ALLOWED = {"PROTO", "FRAME", "STOP", *_NUMBERS, *_STRINGS, *_PUSH_NEW, *_CONTAINERS, *_MEMO, *_CALLS}


@dataclass(frozen=True)
class Function:
    """A global that a pickle may call, and what stands in for it."""

    call: Callable[..., Any]


def interpret(
    stream: IO[bytes],
    allowed: Mapping[str, object],
    load_persistent: Callable[[object], object] | None = None,
) -> Any:
    """Evaluate one pickle and return its value.

    Parameters
    ----------
    stream
        Positioned at the pickle; afterwards just behind it.
    allowed
        Stands in for Python's globals, by dotted name: values, and :class:`Function` for what may be called.
    load_persistent
        Turns a persistent id into an object; without it a persistent id is an error.

    Returns
    -------
    object
        Numbers, strings, tuples, lists, dicts, and what the two tables provide.

    Raises
    ------
    ModelError
        At the first opcode or global that is not allowed, and at operands of the wrong type. A pickle that is
        malformed in other ways raises ValueError or LookupError.
    """
    stack: list[Any] = []
    below: list[list[Any]] = []  # the stacks under each MARK
    memo: dict[int, Any] = {}
    for name, arg in _decode(stream):
        if name in _NUMBERS or name in _STRINGS:
            stack.append(arg)
        elif name in _PUSH_NEW:
            stack.append(_PUSH_NEW[name]())
        elif name in ("BINPUT", "LONG_BINPUT"):
            memo[arg] = stack[-1]
        elif name == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(memo[arg])
        elif name == "MARK":
            below.append(stack)
            stack = []
        elif name in ("TUPLE", "APPENDS", "SETITEMS"):
            items, stack = stack, below.pop()
            if name == "TUPLE":
                stack.append(tuple(items))
            else:
                _fill(name, stack[-1], items)
        elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
            stack.append(tuple(_pop(stack, int(name[-1]))))
        elif name in ("APPEND", "SETITEM"):
            items = _pop(stack, 1 if name == "APPEND" else 2)
            _fill(f"{name}S", stack[-1], items)
        elif name == "GLOBAL":
            stack.append(_look_up(allowed, *arg))
        elif name == "STACK_GLOBAL":
            stack.append(_look_up(allowed, *_pop(stack, 2)))
        elif name == "REDUCE":
            function, arguments = _pop(stack, 2)
            if not isinstance(function, Function) or not isinstance(arguments, tuple):
                raise ModelError(f"opcode REDUCE: expected a call, got {type(function).__name__}")
            stack.append(function.call(*arguments))
        elif name == "BUILD":  # sets attributes; torch gives a state dict a `_metadata`, which is not needed
            target, state = _pop(stack, 2)
            if not isinstance(target, OrderedDict) or not isinstance(state, dict):
                raise ModelError(f"opcode BUILD: expected an OrderedDict, got {type(target).__name__}")
            stack.append(target)
        elif name == "BINPERSID":
            if load_persistent is None:
                raise ModelError("persistent id: expected none in this part of the file")
            stack.append(load_persistent(stack.pop()))
    return stack.pop()


def _decode(stream: IO[bytes]) -> Iterator[tuple[str, Any]]:
    """Yield the name and the argument of each opcode up to STOP."""
    start = stream.tell()
    name = ""
    while name != "STOP":
        code = stream.read(1)
        if not code:
            raise ModelError("the pickle is truncated")
        name = _OPCODES[code].name if code in _OPCODES else f"{code!r}"
        if name not in _ALLOWED:
            raise ModelError(f"opcode {name} is not one that a state dict is made of; nothing was run")
        if stream.tell() - start > _MAX_PICKLE:
            raise ModelError(f"expected a pickle of at most {_MAX_PICKLE} bytes, got a longer one")
        argument = _OPCODES[code].arg
        if name == "GLOBAL":  # two lines
            yield name, [stream.readline().decode().rstrip("\n") for _ in range(2)]
        else:
            yield name, argument.reader(stream) if argument else None


def _look_up(allowed: Mapping[str, object], module: object, name: object) -> object:
    path = f"{module}.{name}" if isinstance(module, str) and isinstance(name, str) else "<not a string>"
    if path not in allowed:
        raise ModelError(
            f"global {path} is not one that a state dict is made of; nothing was run. "
            "A file saved with torch.save(model.state_dict(), path) can be read"
        )
    return allowed[path]


def _pop(stack: list[Any], count: int) -> list[Any]:
    if len(stack) < count:
        raise ModelError("the pickle takes more from its stack than it has put there")
    items = stack[-count:]
    del stack[-count:]
    return items


def set_item(target: dict[Any, Any], key: object, value: object) -> None:
    """Set an item of a dict, whose key is a string or a number of a usual size.

    Nested tuples can take exponential time to hash, and numbers beyond 2^61 can be chosen to have one hash.
    """
    if type(key) not in (str, int, float) or (type(key) is int and abs(key) >= 1 << 60):
        raise ModelError(
            f"expected a string or a number below 2^60 as a dict's key, got {type(key).__name__}"
        )
    target[key] = value


def _fill(name: str, target: object, items: list[Any]) -> None:
    if name == "APPENDS" and isinstance(target, list):
        target.extend(items)
    elif name == "SETITEMS" and isinstance(target, dict):
        for key, value in zip(items[::2], items[1::2], strict=True):
            set_item(target, key, value)
    else:
        raise ModelError(f"opcode {name}: expected a container, got {type(target).__name__}")
