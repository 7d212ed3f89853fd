"""How much memory this process holds."""

from __future__ import annotations

import ctypes
import mmap
import resource
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["anon_rss_mib", "peak_rss_mib", "unmap_libraries"]

_MADV_DONTNEED = 4
_PAGE_BITS = np.dtype(np.uint64)


def peak_rss_mib() -> float:
    """Return the most memory that was resident so far, in MiB; pages of libraries count."""
    peak = _status_mib("VmHWM")
    if peak is not None:  # Linux's getrusage includes what the parent held when it forked
        return peak
    unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def anon_rss_mib() -> float | None:
    """Return the resident memory that is no file's, in MiB; None where the system does not tell.

    The rest are mostly pages of libraries, unchanged: processes share them, and the system drops
    them when memory is short. How many of them count as resident is the kernel's choice: Linux
    6.18 maps them by the pieces in which the page cache holds a file, of up to 2 MiB.
    """
    return _status_mib("RssAnon")


def unmap_libraries() -> None:
    """Let go of library pages that only starting needed; for Linux.

    What is needed again comes back from the page cache when it is touched, so a process that has
    started holds what it runs. Only read-only mappings of files are let go, and none of which a
    page was changed, by the loader or by a debugger: that page is nowhere else. Where the system
    does not tell which are, nothing happens.
    """
    maps, pagemap = Path("/proc/self/maps"), Path("/proc/self/pagemap")
    if not (maps.is_file() and pagemap.is_file()):
        return
    try:
        pages = pagemap.open("rb", buffering=0)
    except PermissionError:  # some kernels tell root alone
        return
    madvise = ctypes.CDLL(None).madvise
    madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    with pages:
        for start, end in _read_only_files(maps.read_text(encoding="utf-8", errors="replace")):
            pages.seek(start // mmap.PAGESIZE * _PAGE_BITS.itemsize)
            content = pages.read((end - start) // mmap.PAGESIZE * _PAGE_BITS.itemsize)
            if _holds_nothing_else(np.frombuffer(content, _PAGE_BITS)):
                madvise(start, end - start, _MADV_DONTNEED)


def _read_only_files(maps: str) -> Iterator[tuple[int, int]]:
    """Return start and end of each private mapping of a file that cannot be written to."""
    for line in maps.splitlines():
        addresses, permissions, _, _, inode = line.split(maxsplit=5)[:5]
        if permissions in ("r--p", "r-xp") and inode != "0":
            start, end = addresses.split("-")
            yield int(start, 16), int(end, 16)


def _holds_nothing_else(pages: NDArray[np.uint64]) -> bool:
    """Tell whether pages are there, and each is the file's own; see the kernel's pagemap.rst."""
    here, swapped, of_file = ((pages >> np.uint64(bit)) & np.uint64(1) for bit in (63, 62, 61))
    # A system that knows nothing of its pages says 0 for each.
    return bool(here.any() and not swapped.any() and not (here > of_file).any())


def _status_mib(name: str) -> float | None:
    status = Path("/proc/self/status")
    if not status.is_file():
        return None
    for line in status.read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / 1024
    return None
