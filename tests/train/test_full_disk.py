"""A full or failing disk while a checkpoint is written: one error, the old file whole."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import IO, Any

import pytest
import torch

from p2p_runtime.errors import OutputError
from p2p_train.tensorfile import read_tensors, write_tensors


class _Failing:
    """A file whose write number ``nth`` and all later ones fail."""

    def __init__(self, file: IO[bytes], code: int, nth: int) -> None:
        self._file, self._code, self.left = file, code, nth

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> _Failing:
        return self

    def __exit__(self, *reason: object) -> None:
        self._file.close()

    def write(self, content: bytes) -> int:
        self.left -= 1
        if self.left < 0:
            raise OSError(self._code, os.strerror(self._code))
        return self._file.write(content)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
def test_fault_145_checkpoint_write_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """Whichever write fails, the error names the disk's, and the old file stays alone and whole."""
    path = tmp_path / "last.pt"
    write_tensors(path, {"weights": torch.zeros(9)}, schema=2)
    before, real = path.read_bytes(), os.fdopen

    def fdopen(handle: int, mode: str) -> _Failing:
        return _Failing(real(handle, mode), code, nth)

    monkeypatch.setattr(os, "fdopen", fdopen)
    nth = 0
    while True:
        try:
            write_tensors(path, {"weights": torch.ones(90_000)}, schema=2)
        except OutputError as error:
            assert os.strerror(code) in str(error)
            assert path.read_bytes() == before
            assert list(tmp_path.iterdir()) == [path]
        else:
            break
        nth += 1
        assert nth < 200
    monkeypatch.undo()
    assert nth > 0
    assert read_tensors(path, schema=2)["weights"].sum() == 90_000
