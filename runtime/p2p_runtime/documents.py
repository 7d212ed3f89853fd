"""Files from outside that are read whole: regular, and of bounded size; JSON of bounded depth."""

from __future__ import annotations

import json
import math
import os
import re
import resource
import stat
from pathlib import Path
from typing import Any, NoReturn

from .errors import ContractError
from .files import reason

__all__ = ["ASSETS", "parse_json", "read_file", "read_json"]

ASSETS = Path(__file__).with_name("assets")
"""Folder of what the package ships besides code."""

MAX_JSON_BYTES, MAX_DEPTH, MAX_DIGITS = 64 << 20, 64, 18
"""Maximum size and nesting of a JSON document, and maximum digits of a whole number."""

_TOKENS = re.compile(r'"(?:[^"\\]|\\.)*"|[][{}]', re.DOTALL)
_STEPS = {"[": 1, "{": 1, "]": -1, "}": -1}


def read_file(path: Path, max_bytes: int) -> bytes:
    """Return the bytes of a regular file of ``max_bytes`` at most; all else is a ContractError."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise ContractError("it is not a regular file")
            if status.st_size > max_bytes:
                raise ContractError(f"it is over {max_bytes} bytes")
            # Under a limit of address space, reserving the most tells here that it is too little.
            limited = resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY
            return file.read(max_bytes if limited else status.st_size)
    except (OSError, ValueError) as error:  # ValueError: a NUL byte in the name
        raise ContractError(reason(error)) from error


def read_json(path: Path, kind: type = dict, max_bytes: int = MAX_JSON_BYTES) -> Any:
    """Return the JSON document in a file; raises what the two other functions do."""
    return parse_json(read_file(path, max_bytes), kind)


def parse_json(content: str | bytes, kind: type = dict) -> Any:
    """Return a JSON document of a ``kind``, for example ``dict``, from text or its bytes.

    Raises:
        ContractError: it is not JSON or of another kind, nests deeper than 64 levels, or holds a
            whole number of more than 18 digits or a number that is not finite.
    """
    try:
        text = (
            content if isinstance(content, str) else content.decode(json.detect_encoding(content))
        )
        depth = 0
        for token in _TOKENS.finditer(text):
            depth += _STEPS.get(token[0], 0)
            if depth > MAX_DEPTH:
                raise ContractError(f"it nests deeper than {MAX_DEPTH} levels")
        document = json.loads(text, parse_int=_whole, parse_float=_number, parse_constant=_refuse)
    except ValueError as error:
        raise ContractError(f"it is not JSON: {error}") from error
    if not isinstance(document, kind):
        raise ContractError(f"it holds a {type(document).__name__}, not a {kind.__name__}")
    return document


def _whole(digits: str) -> int:
    return int(digits) if len(digits.lstrip("-")) <= MAX_DIGITS else _refuse(digits)


def _number(text: str) -> float:
    return value if math.isfinite(value := float(text)) else _refuse(text)


def _refuse(text: str) -> NoReturn:
    raise ContractError(f"it holds a number that is too large, or none: {text:.20}")
