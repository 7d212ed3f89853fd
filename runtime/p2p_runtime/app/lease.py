"""Leases on outputs, so that many processes share a tree, on disks that may not know locks.

A lease is a file beside the output that its owner creates (``O_EXCL``, which NFS keeps, too) and
touches every few seconds. One whose owner is dead is not replaced, which others might do at the
same time: the next owner creates the file of the next number.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import socket
import tempfile
import threading
from pathlib import Path
from typing import Any

from p2p_runtime.errors import OutputError
from p2p_runtime.files import reason

__all__ = ["Lease", "take_lease"]

BEAT_S, STALE_S = 5.0, 60.0
"""Interval of the touches, and the age from which on an owner on another machine counts as dead."""


class Lease:
    """An output that this process alone may write, until the block ends.

    Attributes:
        part: where it is written before it is complete; removed with the lease.
    """

    def __init__(self, output: Path, number: int, descriptor: int) -> None:
        self._output, self._number, self._descriptor = output, number, descriptor
        self.part = _part(output, number)
        self._over = threading.Event()
        self._beating = threading.Thread(target=self._beat, name="lease", daemon=True)

    def __enter__(self) -> Lease:
        for number in range(1, self._number):  # what is done is not looked at again
            with contextlib.suppress(OSError):
                _part(self._output, number).unlink()
        self._beating.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._beating.join()
        for number in range(1, self._number + 1):  # those of dead owners, too
            for path in (_part(self._output, number), _place(self._output, number)):
                with contextlib.suppress(OSError):
                    path.unlink()
        os.close(self._descriptor)

    @property
    def lost(self) -> bool:
        """Whether another process took over, because this one did not run for a while."""
        removed = os.fstat(self._descriptor).st_nlink == 0
        return removed or _place(self._output, self._number + 1).exists()

    def _beat(self) -> None:
        while not self._over.wait(BEAT_S):
            with contextlib.suppress(OSError):
                os.utime(self._descriptor)


def take_lease(output: Path) -> Lease | None:
    """Return the lease on an output, or None if a process that lives has it.

    Raises:
        OutputError: the folder cannot be written.
    """
    # First, since a lease without an owner is stale by its age alone.
    owner = json.dumps(_owner(os.getpid())).encode()
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        for number in itertools.count(1):
            try:
                descriptor = os.open(
                    _place(output, number), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666
                )
            except FileExistsError:
                if not _is_stale(_place(output, number)):
                    return None
            else:
                os.write(descriptor, owner)
                return Lease(output, number, descriptor)
    except OSError as error:
        raise OutputError(f"cannot write {output}: {reason(error)}") from error
    raise AssertionError("numbers do not end")


def _place(output: Path, number: int) -> Path:
    return output.with_name(f".{output.name}.{number}.lease")


def _part(output: Path, number: int) -> Path:
    return output.with_name(f".{output.name}.{number}.part{output.suffix}")


def _owner(pid: int) -> dict[str, Any]:
    """Return what tells a process of this machine from all others, also of later ones."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    machine = [socket.gethostname()]  # containers share boots, and may share names
    with contextlib.suppress(OSError):
        machine += [
            boot.read_text(encoding="ascii").strip(),
            str(Path("/proc/self/ns/pid").readlink()),
        ]
    return {"machine": machine, "pid": pid, "started": _started(pid)}


def _started(pid: int) -> str | None:
    """Return the time stamp of a process's start; None if it is dead."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    state, *fields = stat.rpartition(")")[2].split()
    return None if state in "ZX" else fields[18]  # the 22nd of proc(5)


def _is_stale(place: Path) -> bool:
    try:
        owner = json.loads(place.read_bytes())
        here = isinstance(owner, dict) and owner["machine"] == _owner(0)["machine"]
        if here:
            return bool(_started(int(owner["pid"])) != owner["started"])
    except FileNotFoundError:
        return True  # it was just given back
    except (OSError, ValueError, KeyError, TypeError):
        pass  # it was just created, or written half: only its age tells
    with tempfile.TemporaryFile(dir=place.parent) as now:  # by the clock of the disk's server
        try:
            return os.fstat(now.fileno()).st_mtime - place.stat().st_mtime > STALE_S
        except FileNotFoundError:
            return True
