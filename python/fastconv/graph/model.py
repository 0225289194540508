"""The user's face of a graph: call it, look inside."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from fastconv._arguments import check_precision, flag
from fastconv._files import path_of
from fastconv._log import tell
from fastconv._text import printable
from fastconv._threads import as_count, threads_of
from fastconv._types import Precision
from fastconv.errors import ArgumentError
from fastconv.graph.batch import one_by_one
from fastconv.graph.budget import MAX_BYTES
from fastconv.graph.compile import Executable, Shape
from fastconv.graph.given import Receivers, in_order
from fastconv.graph.ir import Graph, TensorInfo, with_inputs
from fastconv.graph.options import (
    check_input_shape,
    checked_feeds,
    checked_input,
    checked_max_bytes,
    checked_names,
    checked_passes,
    checked_shape,
    checked_values,
    declared_shapes,
)
from fastconv.graph.prepare import prepare
from fastconv.graph.program import Layer, MemoryUse, Program
from fastconv.graph.save import CODED, write_compiled
from fastconv.graph.session import Session
from fastconv.graph.staged import Plan, Staged
from fastconv.graph.table import table
from fastconv.graph.value import Array


class Model:
    """A network ready to run.

    Parameters
    ----------
    graph : Graph, or function without arguments that returns one
        What an importer or a model definition built. Nothing else should hold the graph that a function
        returns: each of its weights is then freed as soon as it is packed. A graph is kept as it is, beside
        the packed weights, and a function to be called again, by :meth:`save` and to be pickled.
    passes : str or sequence of str
        ``"default"``, ``"none"``, or the names of the graph passes to run.
    precision : {"fast", "exact", "bf16"}, optional
        As for :func:`fastconv.conv2d`; by default what a compiled model was saved with, or "fast".
    tune : bool
        Take the algorithms that are measured to be the fastest here (:mod:`fastconv.tuning`): the first
        program for given input shapes takes seconds, unless they are on disk from an earlier time. Which
        algorithm runs, and so how results are rounded, then depends on the machine and on the threads; and
        the plain weights are kept beside the packed ones.
    max_bytes : int or None
        The memory that the model may take beyond the size of its own weights, 2 GiB by default: constants
        that are computed, packed weights, intermediate tensors and the outputs of a run. None: any.
    threads : int, optional
        How many threads its runs use, from whichever thread or context they come; a block of
        :func:`fastconv.threads` around a run goes before it. By default what
        :func:`fastconv.get_num_threads` says when it runs.

    Raises
    ------
    UnsupportedOpError
        Where the graph holds an operator, or a form of one, that does not run; it names the node.
    MemoryLimitError
        Where the graph needs more than ``max_bytes``; nothing of that size has been allocated then.
    ModelError
        Where the graph is malformed.

    Notes
    -----
    A batch whose tensors are too large for the cache runs in parts, and with several threads each may take a
    part of its own (:mod:`fastconv.graph.split`); the results are the same bit for bit.

    A program is made for each new set of input shapes and kept (the last eight); weights are packed once
    for all of them; where images may have any size, once for each algorithm that some size wants. Calls from
    several threads are safe.

    A model can be pickled: what it was made of is, a graph or a function, and its options; a model of
    :func:`fastconv.load` or :mod:`fastconv.models` that came from a file is its path and hash. Copies are the
    model itself, which nothing changes.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.graph.ir import GraphBuilder
    >>> b = GraphBuilder("tiny", {"w": np.ones((4, 3, 1, 1), np.float32)})
    >>> x = b.input("x", ("batch", 3, None, None))
    >>> b.output(b.add("Relu", b.add("Conv", x, "w")), "y", ("batch", 4, None, None))
    >>> model = Model(b.build())
    >>> model(np.ones((2, 3, 8, 8), np.float32)).shape
    (2, 4, 8, 8)
    """

    def __init__(
        self,
        graph: Graph | Callable[[], Graph],
        *,
        passes: str | Sequence[str] = "default",
        precision: Precision | None = None,
        tune: bool = False,
        max_bytes: int | None = MAX_BYTES,
        threads: int | None = None,
    ) -> None:
        if precision is not None:
            check_precision(precision)
        passes, max_bytes = checked_passes(passes), checked_max_bytes(max_bytes)
        tune = flag("tune", tune)
        self._threads = None if threads is None else as_count("threads", threads)
        self._remake = partial(
            type(self), graph, passes=passes, precision=precision, tune=tune, max_bytes=max_bytes,
            threads=self._threads,
        )  # fmt: skip
        self._variant: tuple[tuple[frozenset[Any], tuple[str, ...]], Model] | None = None
        self._session = Session(partial(prepare, graph, passes, max_bytes), precision, tune)
        self._plan_declared()  # now: errors come at load time, and weights are packed before the first call

    def _plan_declared(self) -> None:
        shapes = declared_shapes(self.inputs)
        if shapes is not None:
            with threads_of(self._threads):
                self._session.plan(shapes)

    def release_memory(self) -> None:
        """Drop what runs have left behind: programs and arenas. Weights stay packed.

        The next run of a shape plans it again. For a process that has run larger inputs than it will again.

        Examples
        --------
        >>> from fastconv.models import squeezenet1_1
        >>> model = squeezenet1_1(squeezenet1_1.random_weights())
        >>> y = model(np.ones((8, 3, 64, 64), np.float32))
        >>> model.release_memory()
        """
        self._session.release()
        self._plan_declared()

    def __reduce__(self) -> tuple[Callable[[], Model], tuple[()]]:
        return self._remake, ()

    def __copy__(self) -> Model:
        return self

    def __deepcopy__(self, memo: object) -> Model:
        return self

    # -- running ---------------------------------------------------------------------------------------------

    @property
    def inputs(self) -> tuple[TensorInfo, ...]:
        """Name, shape (a string or None where any size is taken) and dtype of each input."""
        return self._session.graph.inputs

    @property
    def outputs(self) -> tuple[TensorInfo, ...]:
        """Name, shape and dtype of each output."""
        return self._session.graph.outputs

    def __call__(self, *inputs: Any, out: Any = None, **named: Any) -> Any:
        """Run on arrays in the order of :attr:`inputs`, or by their names.

        Parameters
        ----------
        *inputs : array, of the dtypes in :attr:`inputs`
            Any strides; anything with ``__dlpack__`` or ``__array__``, or lists of numbers. The batch, and
            every dimension that is symbolic in :attr:`inputs`, may have any size.
        out : array, or mapping of str to array, optional
            Receives the output, or those of its names; it may not overlap an input.
        **named : array
            Inputs after those by position, by their names.

        Returns
        -------
        array or tuple of arrays
            The output, or a tuple where the model has several: `out`, or arrays of the first input's library
            (torch tensors for a torch tensor), over the memory that was computed.
        """
        results = self._run(in_order(self.inputs, inputs, named), out)
        return results[0] if len(results) == 1 else tuple(results)

    def run(self, output_names: Sequence[str] | None, feeds: Mapping[str, Any]) -> list[Array]:
        """Run on named arrays.

        Parameters
        ----------
        output_names : sequence of str or None
            Which outputs to return, in which order; None returns all. Any value of the graph as it was given
            can be asked for by its name in the place of an output: a layer's result, before or after its
            activation. It is computed by a model of its own, which has other fusions, so that results may
            differ by rounding.
        feeds : mapping of str to array
            An array for each input, and for such weights as an ONNX file (IR 4 and later) lists among them.

        Returns
        -------
        list of arrays
        """
        names, feeds = [info.name for info in self.inputs], checked_feeds(feeds)
        known = [info.name for info in self.outputs]
        wanted = checked_names(output_names, known)
        unknown, missing = sorted(set(feeds) - set(names)), [n for n in names if n not in feeds]
        inner = tuple(dict.fromkeys(wanted)) if set(wanted) - set(known) else ()
        if (unknown or inner) and not missing:
            variant = self._varied(frozenset(unknown), inner)
            if variant is not None:
                return variant.run(output_names, feeds)
        if unknown or missing:
            raise ArgumentError(f"feeds: expected arrays for {names}, got {sorted(feeds)}")
        results = dict(zip(known, self._run([feeds[n] for n in names]), strict=True))
        return [results[name] for name in wanted]

    def _varied(self, given: frozenset[Any], inner: tuple[str, ...]) -> Model | None:
        """Return this model with some constants as inputs; None where they are not to be overridden.

        Its outputs are the values ``inner``, if any are named.
        """
        key = given, inner
        variant = self._variant
        if variant is None or variant[0] != key:
            graph = with_inputs(self.source_graph(), given) if given else self.source_graph()
            if graph is None:
                return None
            if inner:
                graph = checked_values(graph, inner)
            variant = self._variant = key, type(self)(graph, **self._remake.keywords)
        return variant[1]

    def source_graph(self) -> Graph:
        """Return the graph that the model was made of, before any pass; one of a file is read again.

        Examples
        --------
        >>> from fastconv.models import squeezenet1_1
        >>> model = squeezenet1_1(squeezenet1_1.random_weights())
        >>> model.source_graph().nodes[0].op
        'Conv'
        """
        source = self._remake.args[0]
        graph: Graph = source() if callable(source) else source
        return graph

    def _run(self, inputs: Sequence[Any], out: Any = None) -> list[Any]:
        arrays = [checked_input(info, x) for info, x in zip(self.inputs, inputs, strict=True)]
        receivers = Receivers(self.outputs, out)
        with threads_of(self._threads):
            outputs = self._outputs_of(arrays, receivers)
        if out is not None:
            receivers.receive(outputs, arrays)
        return receivers.results(outputs, inputs[0] if inputs else None)

    def _outputs_of(self, arrays: list[Array], receivers: Receivers) -> list[Array]:
        shapes = tuple(a.shape for a in arrays)
        executable = self._session.plan(shapes)
        mixes = isinstance(executable, Executable) and not executable.independent
        if mixes and any(i.shape[:1] == (1,) != s[:1] for i, s in zip(self.inputs, shapes, strict=True)):
            return one_by_one(self._run, arrays)
        arrays = [np.asarray(a, order="C") for a in arrays]  # ascontiguousarray makes scalars vectors
        if os.environ.get("FASTCONV_VERBOSE", "0") not in ("", "0"):
            outputs, seconds = executable.run_profiled(arrays)
            tell(table(self._session.graph.name, executable, seconds))
            return outputs
        if isinstance(executable, Staged):  # whose outputs depend on more than shapes
            return executable.run(arrays)
        places = receivers.places(executable.output_shapes, executable.output_dtypes, arrays)
        return executable.run(arrays, places)

    # -- saving ----------------------------------------------------------------------------------------------

    def save(
        self,
        path: str | os.PathLike[str],
        *shapes: Sequence[int],
        packed: bool | None = None,
        coded: bool | None = None,
    ) -> None:
        """Write the compiled model to a file that :func:`fastconv.load` opens in milliseconds.

        With packed weights its first run is as fast as any other, and processes that run it share all weights
        in memory (docs/format.md).

        Parameters
        ----------
        path : path
            Of the file, by custom ``.fcm``; one that exists is replaced.
        *shapes : sequence of int
            The shape of each input: planned first, so that the file holds the packed weights that it needs.
            None: those planned so far, which is enough where the model declares its sizes.
        packed : bool, optional
            Whether the packed weights are written too, for this version and instruction set tier, or the
            plain ones alone, which are about half the size and are packed by each process that opens the
            file. By default where shapes are given.
        coded : bool, optional
            Whether to write the smallest file in the place of the one that opens fastest: weights that repeat
            few values, as :func:`fastconv.compress.share` makes them, and those of 8 bits are written in
            Huffman codes, without loss, and none are packed. By default where the name ends in ``.fcz``.

        Raises
        ------
        ArgumentError
            Where the path is that of anything but a file.
        ModelError
            Where plain weights, freed once they were packed, are read again from the file or the arrays
            that the model was made of, and these have changed.

        Examples
        --------
        >>> import tempfile, fastconv
        >>> from fastconv.models import squeezenet1_1
        >>> x = np.ones((1, 3, 64, 64), np.float32)
        >>> model = squeezenet1_1(squeezenet1_1.random_weights())
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     model.save(f"{folder}/net.fcm", x.shape)
        ...     same = fastconv.load(f"{folder}/net.fcm")
        >>> bool((same(x) == model(x)).all())
        True
        """
        target = path_of(path, "path")
        packed = bool(shapes) if packed is None else flag("packed", packed)
        coded = target.suffix.lower() == CODED if coded is None else flag("coded", coded)
        if shapes:
            self._planned(shapes)
        write_compiled(target, self._session.compiled(packed and not coded), coded=coded)

    # -- looking inside --------------------------------------------------------------------------------------

    def program(self, *shapes: Sequence[int]) -> Program:
        """Return what runs for given input shapes: the steps, their weights and shapes.

        Parameters
        ----------
        *shapes : sequence of int
            The shape of each input; none: those of the last run.

        Returns
        -------
        Program
            To be read and timed; nothing of the model is changed by it.

        Raises
        ------
        ArgumentError, ShapeError
            Where the shapes are not those of the inputs, or none is given and none was planned.
        """
        session = self._session
        return Program(session.parameters, self._planned(shapes), session.constants)

    def _planned(self, shapes: Sequence[Sequence[int]]) -> Plan:
        """Return the program for given input shapes, or the one used last."""
        if shapes and len(shapes) != len(self.inputs):
            raise ArgumentError(f"shapes: expected {len(self.inputs)}, got {len(shapes)}")
        wanted = tuple(checked_shape("shapes", shape) for shape in shapes or self.planned_shapes)
        for info, shape in zip(self.inputs, wanted, strict=True):
            check_input_shape(info, shape)
        with threads_of(self._threads):
            return self._session.plan(wanted)

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The nodes that have parameters, in the order in which they run."""
        return self._session.layers

    @property
    def name(self) -> str:
        """The graph's name."""
        return self._session.graph.name

    @property
    def planned_shapes(self) -> tuple[Shape, ...]:
        """The input shapes planned or used last; ArgumentError before there are any."""
        return self._session.last_shapes

    @property
    def parameters(self) -> int:
        """Number of learned parameters of the graph as it was given, before any pass; shared ones once."""
        found = {name: n for own in self._session.parameters.values() for name, n in own.items()}
        return sum(found.values())

    def memory(self, *shapes: Sequence[int]) -> MemoryUse:
        """Memory of the intermediate tensors of one run.

        Parameters
        ----------
        *shapes : sequence of int
            The shape of each input; none: those of the last run.
        """
        plan = self._planned(shapes).memory
        return MemoryUse(plan.arena, plan.total, plan.lower_bound)

    def explain(self, *shapes: Sequence[int]) -> str:
        """Return a table of the program, a line for each step.

        The columns are the algorithm and the register tile of its kernel, what it reads and writes, where its
        output and its workspace lie (``offset+bytes`` in the arena, ``input`` or ``output``), and the nodes
        that it came from. The first line has the number of threads and the size of the arena. Where a batch
        runs in parts, lines after it say which steps on how many images; offsets are in the part's memory
        then, and ``carried`` tensors pass from the parts to the steps after them, which run once.

        Parameters
        ----------
        *shapes : sequence of int
            The shape of each input; none: those of the last run.

        Notes
        -----
        With ``FASTCONV_VERBOSE=1`` in the environment every run tells the same table, with the milliseconds
        that each step took in front: to the logger ``fastconv`` where the program has set up logging, and on
        standard error where not.
        """
        return table(self._session.graph.name, self._planned(shapes))

    def __repr__(self) -> str:
        """Name, inputs and outputs."""
        ends = [", ".join(f"{i.name}{list(i.shape)}" for i in infos) for infos in (self.inputs, self.outputs)]
        return printable(f"<Model {self._session.graph.name!r}: {' -> '.join(ends)}>")
