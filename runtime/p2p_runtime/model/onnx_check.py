"""A safety check of ONNX files, made before any inference library opens them.

An ONNX file is a protobuf message that can make a library open other files or allocate absurd
amounts of memory. This walker refuses such files; it needs neither onnx nor protobuf. The field
numbers are those of https://github.com/onnx/onnx/blob/main/onnx/onnx.proto.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from p2p_runtime.documents import read_file
from p2p_runtime.errors import BundleError, ContractError

__all__ = ["inspect_onnx", "payload_sha256"]

ALLOWED_DOMAINS = ("", "ai.onnx", "com.microsoft")
"""Domains of the operators built into ONNX Runtime; com.microsoft has its integer kernels."""

MAX_ELEMENTS, MAX_RANK = 1 << 31, 64
"""Maximum number of elements and of dimensions of a declared tensor, far above any generator's."""

MAX_FILE_BYTES, MAX_FIELDS = (1 << 31) - 1, 300_000
"""Maximum size of a file (protobuf's own), and number of fields: checking them takes a second."""

GROWING = frozenset({
    "ConstantOfShape", "EyeLike", "Expand", "OneHot", "Range", "RandomNormal", "RandomUniform",
    "Scan", "Tile", "Upsample",
})  # fmt: skip
"""Operators that make much out of a few bytes, while a model is loaded; no generator has any."""

MAX_DEPTH, MAX_SMALL_BYTES = 48, 64 << 20
"""Maximum nesting of messages, and maximum size of a name or a metadata value."""

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_GRAPH, _METADATA_PROPS, _EXTERNAL = 7, 14, 1


@dataclass(frozen=True, kw_only=True, slots=True)
class OnnxSummary:
    """The outline of a model file, with its bytes and their hex SHA-256.

    Attributes:
        metadata: the model's ``metadata_props``.
        op_types: the count of each operator, including subgraphs and functions.
        fields_left: as many items as fields may follow.
        payload_sha256: of all but the metadata, see :func:`payload_sha256`.
    """

    metadata: dict[str, str]
    op_types: dict[str, int]
    fields_left: Iterator[int]
    payload_sha256: str = ""
    sha256: str = ""
    content: bytes = b""


def inspect_onnx(path: Path) -> OnnxSummary:
    """Return an ONNX file's outline, or refuse the file.

    Raises:
        BundleError: the file is missing, not a file, empty, text, truncated or malformed, or it
            refers to other files, custom operators, or tensors of absurd size.
    """
    content = _read(path)
    view = memoryview(content)
    try:
        summary = OnnxSummary(metadata={}, op_types={}, fields_left=iter(range(MAX_FIELDS)))
        _check_message(summary, "model", view, 0)
        if not any(item.number == _GRAPH for item in _fields(view)):
            raise BundleError("it holds no graph")
    except BundleError as error:
        raise BundleError(f"{path} is not a usable ONNX model: {error}") from error
    payload, whole = _digests(view)
    return replace(summary, payload_sha256=payload, sha256=whole, content=content)


def payload_sha256(model_bytes: bytes | memoryview) -> str:
    """Return the hex SHA-256 of a serialised ONNX model without its ``metadata_props``.

    It covers the raw bytes, tags included, of all other top-level fields in file order, so it can
    be stored in the metadata.

    Raises:
        BundleError: the bytes are not a protobuf message.
    """
    return _digests(memoryview(model_bytes))[0]


def _digests(view: memoryview) -> tuple[str, str]:
    """Return the hex SHA-256 of all but the metadata, and of all; the weights are hashed once."""
    whole = payload = hashlib.sha256()  # one until metadata come, as a rule behind the weights
    for item in _fields(view):
        content = view[item.start : item.end]
        if item.number != _METADATA_PROPS:
            payload.update(content)
        elif whole is payload:
            whole = payload.copy()
        if whole is not payload:
            whole.update(content)
    return payload.hexdigest(), whole.hexdigest()


class _Field(NamedTuple):
    """One field of a message: its start (at the tag), its end, and its value."""

    number: int
    wire_type: int
    start: int
    end: int
    value: int  # of a varint; for bytes, their start


# Fields of each kind of message that are messages, and their kind.
_CHILDREN: dict[str, dict[int, str]] = {
    "model": {7: "graph", 14: "entry", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute", 12: "value"},
    "graph": {1: "node", 5: "tensor", 11: "value", 12: "value", 13: "value", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {
        5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 14: "type", 15: "type",
        22: "sparse", 23: "sparse",
    },
    "sparse": {1: "tensor", 2: "tensor"},
    "value": {2: "type"},
    "type": {1: "tensor_type", 4: "wrapped", 8: "tensor_type", 9: "wrapped"},
    "wrapped": {1: "type"},  # sequence and optional; maps need refused operators
    "tensor_type": {2: "shape"},
    "shape": {1: "dim"},
}  # fmt: skip


# Fields of each kind of message whose values are read, and their wire type. Of TensorProto 13, a
# message, only the presence matters.
_SCALARS: dict[str, dict[int, int]] = {
    "node": {4: _BYTES, 7: _BYTES},
    "function": {1: _BYTES, 10: _BYTES},
    "entry": {1: _BYTES, 2: _BYTES},
    "tensor": {13: _BYTES, 14: _VARINT},
    "dim": {1: _VARINT},
}
_DIMS = {"tensor": 1, "sparse": 3}


def _check_message(
    summary: OnnxSummary, kind: str, view: memoryview, depth: int
) -> dict[int, list[int | str]]:
    """Check a message and all below it; return its scalar fields by number.

    Every occurrence of a field is checked, since parsers merge them.
    """
    if depth > MAX_DEPTH:
        raise BundleError(f"its graphs nest deeper than {MAX_DEPTH} levels")
    children, scalars = _CHILDREN.get(kind, {}), _SCALARS.get(kind, {})
    own: dict[int, list[int | str]] = {}
    dims: list[int] = []
    for item in _fields(view):
        if next(summary.fields_left, None) is None:
            raise BundleError(f"it has more than {MAX_FIELDS} fields")
        if item.number in children:
            _expect(item, _BYTES, kind)
            inner = view[item.value : item.end]
            child = _check_message(summary, children[item.number], inner, depth + 1)
            dims += [int(value) for value in child.get(1, [])] if kind == "shape" else []
        elif item.number == _DIMS.get(kind):
            dims += _integers(view, item)
        elif item.number in scalars:
            _expect(item, scalars[item.number], kind)
            own.setdefault(item.number, []).append(_scalar(view, item))
        if len(dims) > MAX_RANK:
            raise BundleError(f"it declares a tensor with more than {MAX_RANK} sides")
    _check_dims(dims)
    _check_scalars(summary, kind, own)
    return own


def _check_scalars(summary: OnnxSummary, kind: str, own: dict[int, list[int | str]]) -> None:
    """Refuse a message for its scalar fields, or enter it in the summary."""
    if kind == "tensor" and (_EXTERNAL in own.get(14, []) or 13 in own):
        raise BundleError("it keeps tensors in other files (external data); save it as one file")
    if kind == "node":
        name = _last(own, 4)
        for domain in own.get(7, [""]):
            _check_domain(str(domain), f"operator {name!r}")
        if name in GROWING:
            raise BundleError(f"operator {name!r} could fill the memory; no generator needs it")
        summary.op_types[name] = summary.op_types.get(name, 0) + 1
    elif kind == "function":
        _check_domain(_last(own, 10), f"function {_last(own, 1)!r}")
    elif kind == "entry":
        key = _last(own, 1)
        if key in summary.metadata:
            raise BundleError(f"its metadata holds {key!r} twice")
        summary.metadata[key] = _last(own, 2)


def _read(path: Path) -> bytes:
    if not path.exists():
        raise BundleError(f"model {path} does not exist")
    try:
        content = read_file(path, MAX_FILE_BYTES)
    except ContractError as error:
        raise BundleError(f"cannot read model {path}: {error}") from error
    if not content:
        raise BundleError(f"{path} is empty; copy or export it again")
    head = content[:512].decode("utf-8", errors="surrogateescape")  # not printable
    if all(character.isprintable() or character in "\t\r\n" for character in head):
        raise BundleError(f"{path} is a text file, not an ONNX model")
    return content


def _fields(view: memoryview) -> Iterator[_Field]:
    position, size = 0, len(view)
    while position < size:
        start = position
        tag, position = _varint(view, position)
        number, wire_type = tag >> 3, tag & 7
        value = position
        if wire_type == _VARINT:
            value, position = _varint(view, position)
        elif wire_type == _BYTES:
            length, value = _varint(view, position)
            position = value + length
        elif wire_type in (_FIXED64, _FIXED32):
            position += 8 if wire_type == _FIXED64 else 4
        else:
            raise BundleError("it is damaged, or not ONNX (unknown wire type)")
        if number == 0:
            raise BundleError("it is damaged, or not ONNX (field number 0)")
        if position > size:
            raise BundleError(f"it is truncated ({position - size} bytes are missing)")
        yield _Field(number, wire_type, start, position, value)


def _varint(view: memoryview, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(view):
            raise BundleError("it is truncated (it ends within a number)")
        byte = view[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & (1 << 64) - 1, position
    raise BundleError("it is damaged, or not ONNX (a number without end)")


def _integers(view: memoryview, item: _Field) -> list[int]:
    """Return a repeated integer, packed or not."""
    if item.wire_type == _VARINT:
        return [item.value]
    _expect(item, _BYTES, "tensor")
    values: list[int] = []
    packed, position = view[item.value : item.end], 0
    while position < len(packed) and len(values) <= MAX_RANK:
        value, position = _varint(packed, position)
        values.append(value)
    return values


def _scalar(view: memoryview, item: _Field) -> int | str:
    if item.wire_type == _VARINT:
        return item.value
    if item.end - item.value > MAX_SMALL_BYTES:
        raise BundleError(f"it holds a text of {item.end - item.value} bytes")
    return bytes(view[item.value : item.end]).decode("utf-8", errors="replace")


def _expect(item: _Field, wire_type: int, kind: str) -> None:
    if item.wire_type != wire_type:
        raise BundleError(f"it is damaged, or not ONNX (field {item.number} of a {kind})")


def _check_dims(dims: list[int]) -> None:
    elements = 1
    for side in dims:
        elements *= max(side, 1)  # a negative side reads as one of 2**63 or more
        if elements > MAX_ELEMENTS:
            raise BundleError(f"it declares a tensor with sides {dims[:8]}, which is absurd")


def _check_domain(domain: str, what: str) -> None:
    if domain not in ALLOWED_DOMAINS:
        allowed = ", ".join(map(repr, ALLOWED_DOMAINS[1:]))
        raise BundleError(f"{what} is of domain {domain!r}; only {allowed} are allowed")


def _last(own: dict[int, list[int | str]], number: int) -> str:
    return str(own.get(number, [""])[-1])
