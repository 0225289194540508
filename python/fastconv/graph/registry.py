"""The table of operators: one function each, values in, values out, attributes as keyword arguments.

``@op("Conv")`` enters a function ``conv(ctx, x, w, b=None, *, strides=None, ...)`` under its ONNX name. Its
signature is its specification: positional parameters are the inputs (optional ones default to None),
keyword-only parameters are the attributes with their ONNX defaults and, by annotation, their types. A
function with an ``activation`` parameter takes an activation fused into it. ``@activation_op("Elu")``
enters an elementwise function of one input, by the function from its attributes (and constant further
inputs) to an :class:`~fastconv.graph.ir.Activation`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np

from fastconv.errors import FastconvError, ModelError, UnsupportedOpError
from fastconv.graph.ir import Activation, Graph, Node, all_nodes
from fastconv.graph.value import Constant, Value

FASTCONV_DOMAIN = "fastconv"  # of the operators that passes write; "" is ONNX's own
MICROSOFT = "com.microsoft"  # of what ONNX Runtime's quantiser and optimiser write

OpFunction = Callable[..., "Value | tuple[Value, ...]"]
ActivationFunction = Callable[..., Activation | None]


@dataclass(frozen=True)
class OpSpec:
    """An entry of the table."""

    lower: OpFunction
    required: int  # inputs
    optional: int | None  # further inputs; None: any number
    named: int  # of both those that have a parameter of their own
    attributes: Mapping[str, inspect.Parameter]
    ignored: frozenset[str]  # attributes that may be present and change nothing
    activation: ActivationFunction | None = None  # of an activation_op
    any_dtype: bool = False  # takes float16 and bfloat16 as they are; to others they come as f32

    @cached_property
    def fusable(self) -> bool:
        """Whether the operator applies an activation to its result at no cost."""
        return self.activation is None and "activation" in inspect.signature(self.lower).parameters


# By domain and operator; a signature takes a while to read, and a network has a dozen operators of them all.
_TABLE: dict[tuple[str, str], Callable[[], OpSpec]] = {}
_LATER: list[Callable[[], None]] = []  # what enters the operators of few networks


def enter_later(enter: Callable[[], None]) -> Callable[[], None]:
    """Call a function, which imports modules, when an operator is asked for that is not in the table."""
    _LATER.append(enter)
    return enter


def op(
    name: str,
    domain: str = "",
    *,
    ignore: Sequence[str] = (),
    inputs: int | None = None,
    any_dtype: bool = False,
) -> Callable[[OpFunction], OpFunction]:
    """Enter a lowering function.

    Attributes named in ``ignore`` may be present and change nothing; ``inputs`` limits the inputs under
    this name; float16 and bfloat16 inputs come as f32 unless it takes ``any_dtype``.
    """
    limit = inputs

    def register(function: OpFunction) -> OpFunction:
        @cache
        def spec() -> OpSpec:
            inputs, variadic, attributes = _read_signature(function)
            inputs = inputs[1:][:limit]  # without ctx
            required = sum(p.default is p.empty for p in inputs)
            optional = None if variadic else len(inputs) - required
            ignored = frozenset(ignore)
            return OpSpec(function, required, optional, len(inputs), attributes, ignored, any_dtype=any_dtype)

        _enter(name, domain, spec)
        return function

    return register


def activation_op(
    name: str, domain: str = "", *, otherwise: OpFunction | None = None
) -> Callable[[ActivationFunction], ActivationFunction]:
    """Enter an elementwise function of one input; ``otherwise`` lowers those that no kernel has (None)."""

    def register(function: ActivationFunction) -> ActivationFunction:
        def lower(ctx: Any, x: Value, *constants: Value | None, **attrs: Any) -> Value | tuple[Value, ...]:
            for constant in constants:
                if constant is not None:
                    ctx.array("input", constant)  # a fused function's parameters are numbers of the plan
            activation = function(*constants, **attrs)
            if activation is None:
                assert otherwise is not None
                return otherwise(ctx, x, **attrs)
            value: Value = ctx.activate(x, activation)
            return value

        @cache
        def spec() -> OpSpec:
            inputs, _, attributes = _read_signature(function)
            ignored = frozenset({"consumed_inputs"})  # of opset 1
            return OpSpec(lower, 1, len(inputs), 1 + len(inputs), attributes, ignored, function)

        _enter(name, domain, spec)
        return function

    return register


def lookup(node: Node) -> OpSpec:
    """Return the table's entry for a node; UnsupportedOpError names the nearest operators there are."""
    entry = _entry(node.domain, node.op)
    if entry is None:
        names = sorted({name for domain, name in _TABLE if domain == node.domain} or {n for _, n in _TABLE})
        near = _nearest(node.op, names)
        hint = f"; the nearest supported: {', '.join(near)}" if near else ""
        raise UnsupportedOpError(
            f"{describe(node)}: expected a supported operator, got {node.op}"
            f" of domain {node.domain or 'ai.onnx'!r}, opset {node.opset}{hint}"
        )
    return entry()


def _enter_all() -> None:
    for enter in _LATER:
        enter()


def _entry(domain: str, name: str) -> Callable[[], OpSpec] | None:
    if (domain, name) not in _TABLE:
        _enter_all()
    return _TABLE.get((domain, name))


def _nearest(op: str, names: Sequence[str]) -> list[str]:
    """Return up to three names: those that begin like the operator, then those spelled like it."""
    import difflib  # in here: it takes long to import, and few ask for what there is not

    by_case = {name.lower(): name for name in names}
    wanted = op.lower()
    begins = [n for n in by_case if wanted and (wanted.startswith(n) or n.startswith(wanted))]
    similar = difflib.get_close_matches(wanted, by_case, n=3, cutoff=0.5)
    return [by_case[n] for n in dict.fromkeys([*begins, *similar])][:3]


def supported_ops() -> list[str]:
    """Names of the ONNX operators in the table."""
    _enter_all()
    return sorted(name for domain, name in _TABLE if not domain)


def describe(node: Node) -> str:
    """Name a node at the start of a message."""
    return f"node {node.name!r} ({node.op})"


@contextmanager
def naming(node: Node) -> Iterator[None]:
    """Make errors start with a node's name, and typed ones of those that malformed values end in."""
    try:
        yield
    except FastconvError as error:
        raise type(error)(f"{describe(node)}: {error}") from error
    except (ValueError, TypeError, IndexError, ArithmeticError) as error:
        raise ModelError(f"{describe(node)}: {error}") from error


def check_node(node: Node) -> OpSpec:
    """Check operator, inputs and attributes of a node and of its graphs; return its entry in the table."""
    for inner in all_nodes([node]):
        _check_one(inner)
    return lookup(node)


def _check_one(node: Node) -> None:
    """Check operator, input count, attribute names and attribute types."""
    spec = lookup(node)
    given = len(node.inputs)
    most = given if spec.optional is None else spec.required + spec.optional
    if spec.optional is None and "" in node.inputs[spec.named :]:
        raise ModelError(f"{describe(node)}: expected all inputs to be given, got {list(node.inputs)}")
    missing = sum(name == "" for name in node.inputs[: spec.required])
    if missing or not spec.required <= given <= most:
        expected = f"at least {spec.required}" if spec.optional is None else f"{spec.required} to {most}"
        raise ModelError(f"{describe(node)}: expected {expected} inputs, got {given - missing}")
    for name, value in node.attrs.items():
        if name in spec.ignored:
            continue
        parameter = spec.attributes.get(name)
        if parameter is None:
            raise UnsupportedOpError(
                f"{describe(node)}: expected attributes among {sorted(spec.attributes)}, got {name!r}"
            )
        if not _has_type(value, parameter.annotation):
            raise ModelError(
                f"{describe(node)}: attribute {name}: expected {parameter.annotation}, got {value!r:.80}"
            )
    for name, parameter in spec.attributes.items():
        if parameter.default is parameter.empty and name not in node.attrs:
            raise ModelError(f"{describe(node)}: attribute {name}: expected {parameter.annotation}, got none")


def attributes(node: Node, spec: OpSpec) -> dict[str, Any]:
    """Return the attributes that the node's function takes."""
    return {name: value for name, value in node.attrs.items() if name in spec.attributes}


def activation_of(node: Node, constants: Mapping[str, np.ndarray[Any, Any]]) -> Activation | None:
    """Return the elementwise function that a node is, or None where it is none or has run-time parameters."""
    spec = lookup(node)
    further = node.inputs[1:]
    if spec.activation is None or any(name and name not in constants for name in further):
        return None
    check_node(node)
    arguments = [Constant(constants[name]) if name else None for name in further]
    try:
        return spec.activation(*arguments, **attributes(node, spec))
    except FastconvError as error:
        raise type(error)(f"{describe(node)}: {error}") from error


def _enter(name: str, domain: str, spec: Callable[[], OpSpec]) -> None:
    if (domain, name) in _TABLE:
        raise ValueError(f"op {name!r} of domain {domain!r} is registered twice")
    _TABLE[domain, name] = spec


def _read_signature(
    function: Callable[..., Any],
) -> tuple[list[inspect.Parameter], bool, dict[str, inspect.Parameter]]:
    parameters = inspect.signature(function).parameters.values()
    inputs = [p for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    variadic = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    keywords = {p.name: p for p in parameters if p.kind is p.KEYWORD_ONLY and p.name != "activation"}
    return inputs, variadic, keywords


_TYPES: dict[str, Callable[[Any], bool]] = {
    "None": lambda v: v is None,
    "int": lambda v: isinstance(v, int),
    "float": lambda v: isinstance(v, (int, float)),
    "str": lambda v: isinstance(v, str),
    "Ints": lambda v: _is_sequence(v, int),
    "Floats": lambda v: _is_sequence(v, (int, float)),
    "Strings": lambda v: _is_sequence(v, str),
    "Array": lambda v: isinstance(v, np.ndarray),
    "Graph": lambda v: isinstance(v, Graph),
}


def _is_sequence(value: Any, item: type | tuple[type, ...]) -> bool:
    return isinstance(value, (list, tuple)) and all(isinstance(v, item) for v in value)


def _has_type(value: Any, annotation: str) -> bool:
    """Check against an annotation as the operators' files write it (a string: annotations are postponed)."""
    return any(_TYPES[name](value) for name in annotation.split(" | "))
