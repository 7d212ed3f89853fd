"""Files from outside that are read whole: regular, of bounded size, and JSON of bounded depth.

Python's own reader of JSON takes numbers of any length, infinity, and nesting until its stack ends.
"""

from __future__ import annotations

import json
import math
import os
import re
import stat
from pathlib import Path
from typing import Any, NoReturn

from .errors import ContractError
from .files import reason

__all__ = ["MAX_JSON_BYTES", "parse_json", "read_file", "read_json"]

MAX_JSON_BYTES = 64 << 20
"""Maximum size of a JSON document; a bundle's metadata hold the golden frame."""

MAX_DEPTH, MAX_DIGITS = 64, 18
"""Maximum nesting of a JSON document, and maximum number of digits of a whole number."""

_TOKENS = re.compile(r'"(?:[^"\\]|\\.)*"|[][{}]', re.DOTALL)


def read_file(path: Path, max_bytes: int) -> bytes:
    """Return the bytes of a regular file; pipes and devices are refused, never waited for.

    Raises:
        ContractError: it is no regular file, or larger than ``max_bytes``.
        OSError: it cannot be read.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ContractError("it is not a regular file")
        content = file.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise ContractError(f"it is over {max_bytes} bytes")
    return content


def read_json(path: Path, kind: type = dict, max_bytes: int = MAX_JSON_BYTES) -> Any:
    """Return the JSON document in a file, see :func:`parse_json`.

    Raises:
        ContractError: it cannot be read, or what :func:`parse_json` raises.
    """
    try:
        return parse_json(read_file(path, max_bytes), kind)
    except (OSError, ValueError) as error:  # ValueError: a NUL byte in the name
        raise ContractError(reason(error)) from error


def parse_json(content: str | bytes, kind: type = dict) -> Any:
    """Return a JSON document from outside.

    Args:
        content: the text, or its bytes in UTF-8, UTF-16 or UTF-32, with or without a mark.
        kind: what it must be, for example ``dict``.

    Raises:
        ContractError: it is not JSON or not of ``kind``, nests deeper than 64 levels, or holds a
            whole number of more than 18 digits or a number that is not finite.
    """
    try:
        if isinstance(content, bytes):
            content = content.decode(json.detect_encoding(content))
        _check_depth(content)
        document = json.loads(
            content, parse_int=_integer, parse_float=_number, parse_constant=_refuse
        )
    except ValueError as error:
        raise ContractError(f"it is not JSON: {error}") from error
    if not isinstance(document, kind):
        raise ContractError(f"it holds {_NAMES.get(type(document), 'a value')}, not {_NAMES[kind]}")
    return document


_NAMES: dict[type, str] = {
    dict: "an object", list: "a list", str: "a text", int: "a number", float: "a number"
}  # fmt: skip


def _check_depth(text: str) -> None:
    depth = 0
    for token in _TOKENS.finditer(text):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(token[0], 0)
        if depth > MAX_DEPTH:
            raise ContractError(f"it nests deeper than {MAX_DEPTH} levels")


def _integer(digits: str) -> int:
    if len(digits.lstrip("-")) > MAX_DIGITS:
        raise ContractError(f"it holds a number of {len(digits)} digits")
    return int(digits)


def _number(text: str) -> float:
    if not math.isfinite(value := float(text)):
        _refuse(text)
    return value


def _refuse(text: str) -> NoReturn:
    raise ContractError(f"it holds {text:.20}, which is not a finite number")
