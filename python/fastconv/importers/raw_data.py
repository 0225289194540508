"""The weights of an ONNX file where they lie: protobuf would copy them twice before they were arrays.

A protobuf message is a list of fields, each a key, ``number << 3 | type``, and a value; a string or a message
(type 2) is a length and as many bytes, numbers are varints of seven bits a byte
(https://protobuf.dev/programming-guides/encoding). :func:`detach` walks the one path
``ModelProto.graph.initializer.raw_data`` and leaves the rest to protobuf. ResNet-50 (98 MiB) is read in 3 ms
so, by protobuf in 190.
"""

from __future__ import annotations

from collections.abc import Iterator

from fastconv.importers.tensors import FileData

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # types
GRAPH, INITIALIZER, RAW_DATA = 7 << 3 | BYTES, 5 << 3 | BYTES, 9 << 3 | BYTES  # keys
Span = tuple[int, int]

LARGE = 4096  # bytes from which a copy is worth avoiding


def detach(data: FileData) -> tuple[FileData, dict[int, Span]]:
    """Take the large weights out of a ModelProto.

    Parameters
    ----------
    data : bytes or mmap
        The contents of a ``.onnx`` file, or anything else.

    Returns
    -------
    skeleton : bytes or mmap
        The same message with empty ``raw_data`` in their place.
    spans : dict of int to (int, int)
        Where the bytes of each begin and end, by the initializer's index; none where ``data`` is not written
        as encoders write, each field at most once, or not a message at all: protobuf then says what is wrong.
    """
    try:
        return _detach(memoryview(data))
    except (IndexError, ValueError):
        return data, {}


def _detach(data: memoryview) -> tuple[bytes, dict[int, Span]]:
    graph = None
    for key, start, value, end in _fields(data, 0, len(data)):
        if key == GRAPH:
            if graph is not None:
                raise ValueError("two graphs, which protobuf would merge")
            graph = start, value, end
    if graph is None:
        raise ValueError("no graph")
    start, value, end = graph
    inner, spans = _without_large_weights(data, value, end)
    return b"".join([data[:start], _field(GRAPH, inner), data[end:]]), spans


def _without_large_weights(data: memoryview, begin: int, end: int) -> tuple[bytes, dict[int, Span]]:
    pieces: list[bytes | memoryview] = []
    spans: dict[int, Span] = {}
    kept = begin  # what lies before it is in pieces
    index = -1
    for key, start, value, after in _fields(data, begin, end):
        if key != INITIALIZER:
            continue
        index += 1
        raw = [field for field in _fields(data, value, after) if field[0] == RAW_DATA]
        if len(raw) != 1 or raw[0][3] - raw[0][2] < LARGE:
            continue
        _, raw_start, raw_value, raw_end = raw[0]
        spans[index] = raw_value, raw_end
        tensor = b"".join([data[value:raw_start], _field(RAW_DATA, b""), data[raw_end:after]])
        pieces += [data[kept:start], _field(INITIALIZER, tensor)]
        kept = after
    return b"".join([*pieces, data[kept:end]]), spans


def _fields(data: memoryview, at: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield the fields in [at, end): key, start, and from where to where the value (of type 2) lies."""
    while at < end:
        start = at
        key, at = _varint(data, at)
        kind = key & 7
        value = at
        if kind == VARINT:
            _, at = _varint(data, at)
        elif kind == BYTES:
            size, value = _varint(data, at)
            at = value + size
        elif kind in (FIXED32, FIXED64):
            at += 4 if kind == FIXED32 else 8
        else:
            raise ValueError("a group, which nobody writes, or no message")
        if at > end:
            raise ValueError("a field beyond the end of its message")
        yield key, start, value, at


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    result = 0
    for shift in range(0, 70, 7):
        byte = data[at]
        at += 1
        result |= (byte & 127) << shift
        if byte < 128:
            return result, at
    raise ValueError("a number of more than ten bytes")


def _field(key: int, value: bytes) -> bytes:
    """Encode a field of type 2."""
    size, length = len(value), bytearray()
    while size > 127:
        length.append(size & 127 | 128)
        size >>= 7
    return bytes([key, *length, size]) + value
