"""Files of tensors and primitives that execute nothing and notice damage.

They are torch archives, read with ``weights_only=True``. Each carries a digest of its own content,
since torch reads flipped bits without complaint.
"""

from __future__ import annotations

import hashlib
import itertools
import pickle
import shutil
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import torch
from torch import nn

from p2p_runtime.errors import CheckpointError
from p2p_runtime.files import atomic_file

__all__ = [
    "digest", "load_tensors", "load_weights", "read_tensors", "shape_differences", "write_tensors",
]  # fmt: skip

WEIGHTS_ALONE = (
    "save the network's weights alone, torch.save(network.state_dict(), FILE), and give that file"
)

DAMAGE = (
    *(OSError, EOFError, ValueError, LookupError, RuntimeError, AttributeError, TypeError),
    *(AssertionError, struct.error, zipfile.BadZipFile),
)
"""What torch raises on damaged files; files of before torch 1.6 have no checksums."""


def write_tensors(
    path: Path, content: dict[str, Any], *, schema: int, keep_previous: bool = False
) -> None:
    """Write tensors, primitives, and dicts and lists of them, in one step.

    With ``keep_previous``, what stood at ``path`` is kept as ``<name>.previous.pt``.

    Raises:
        OutputError: it cannot be written; what stood at ``path`` still does.
    """
    content = {"schema": schema, **content}
    with atomic_file(path) as file:
        _save({**content, "sha256": digest(content)}, file)
        if keep_previous and path.exists():
            previous = path.with_suffix(".previous.pt")
            previous.unlink(missing_ok=True)
            try:
                previous.hardlink_to(path)
            except OSError:  # a file system without hard links
                shutil.copyfile(path, previous)


def _save(content: dict[str, Any], file: IO[bytes]) -> None:
    """Write as torch does, which hides the disk's error behind one of its own."""
    try:
        torch.save(content, file)
    except RuntimeError as error:
        cause = error.__context__
        if isinstance(cause, OSError):
            raise cause from error
        raise


def read_tensors(path: Path, *, schema: int, what: str = "checkpoint") -> dict[str, Any]:
    """Read and verify what :func:`write_tensors` wrote, onto the CPU; ``what`` is for messages.

    Raises:
        CheckpointError: it is missing, broken, altered, unsafe, or of another schema.
    """
    if not path.is_file():
        raise CheckpointError(f"{what} {path} does not exist or is not a file")
    if not zipfile.is_zipfile(path):  # torch would try its old formats, bare pickles among them
        raise CheckpointError(
            f"{path} is not a whole {what} file: empty, cut short, or something else; "
            "nothing in it was executed"
        )
    content = load_tensors(path, what)
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} is not a {what} of p2p-train")
    if "schema" not in content:
        raise CheckpointError(
            f"{path} was not written by p2p-train, so it is no {what} of it; if it is a generator "
            "of pytorch-CycleGAN-and-pix2pix, give it to p2p-export "
            "--from-pytorch-cyclegan-and-pix2pix"
        )
    if content.get("schema") != schema:
        raise CheckpointError(
            f"{path} has {what} schema {content.get('schema')!r}; this version reads {schema}"
        )
    expected = content.pop("sha256", None)
    if digest(content) != expected:
        raise CheckpointError(f"{path} is damaged: its content does not match its sha256")
    return content


def load_tensors(path: Path, what: str) -> Any:
    """Read any torch file that holds tensors and primitives alone, onto the CPU.

    Raises:
        CheckpointError: it is broken, or holds more, which is not executed.
    """
    if _is_program(path):  # torch's own advice is to switch this protection off
        raise CheckpointError(f"{path} is a TorchScript program, not a {what}: {WEIGHTS_ALONE}")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} is not a safe {what}: it holds more than tensors and primitives, a whole "
            f"network for example; nothing in it was executed; {WEIGHTS_ALONE}"
        ) from error
    except DAMAGE as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"{path} cannot be read as a {what}: {reason}") from error


def _is_program(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("/constants.pkl") for name in archive.namelist())
    except (OSError, zipfile.BadZipFile):  # torch's older format, or damage, which torch tells
        return False


def load_weights(module: nn.Module, state: dict[str, Any], what: str) -> None:
    """Load a state dict; raise a CheckpointError with the first names or shapes that differ."""
    if differences := shape_differences(module.state_dict(), state):
        raise CheckpointError(f"the {what} does not fit the checkpoint: {differences}")
    module.load_state_dict(state)


def shape_differences(expected: dict[str, torch.Tensor], found: dict[str, Any]) -> str:
    """Return how the names and shapes of two state dicts differ; empty when they do not.

    The text lists the first three differences and counts the others.
    """
    differences = [f"{key} is missing" for key in expected if key not in found]
    differences += [f"{key} is unknown" for key in found if key not in expected]
    differences += [
        f"{key} has shape {tuple(found[key].shape)}, not {tuple(value.shape)}"
        for key, value in expected.items()
        if key in found and found[key].shape != value.shape
    ]
    more = f"; and {len(differences) - 3} more" if len(differences) > 3 else ""
    return "; ".join(differences[:3]) + more


def digest(content: Any) -> str:
    """Return the sha256 of tensors, primitives, and dicts and lists of them, as hex."""
    sha256 = hashlib.sha256()
    for piece in _pieces(content):
        sha256.update(piece)
    return sha256.hexdigest()


def _pieces(value: Any) -> Iterator[Any]:
    """Yield what is hashed: tensors by bytes, containers in order, each with type and length."""
    if isinstance(value, torch.Tensor):
        yield f"tensor {value.dtype} {tuple(value.shape)}".encode()
        yield value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data
    elif isinstance(value, dict):
        yield f"dict {len(value)}".encode()
        for item in itertools.chain.from_iterable(value.items()):
            yield from _pieces(item)
    elif isinstance(value, list | tuple):
        yield f"list {len(value)}".encode()
        for item in value:
            yield from _pieces(item)
    elif isinstance(value, float):
        yield b"float" + struct.pack("<d", value)
    else:
        yield f"{type(value).__name__} {value!r}".encode()
