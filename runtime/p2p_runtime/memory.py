"""The memory of this process: what it holds, what is free, and how library pages are dropped."""

from __future__ import annotations

import ctypes
import mmap
import resource
import sys
from collections.abc import Iterator
from pathlib import Path

from .cpus import control_groups, text_of
from .errors import ConfigError

__all__ = [
    "anon_rss_mib", "check_memory", "free_bytes", "generator_bytes", "peak_rss_mib",
    "unmap_libraries",
]  # fmt: skip

MEMINFO = Path("/proc/meminfo")
_MADV_DONTNEED = 4
_PAGE_BYTES = 8
_TOP = slice(7 if sys.byteorder == "little" else 0, None, _PAGE_BYTES)
"""Size of a page's entry in the kernel's page map, and in many of them the byte with its state."""


def free_bytes() -> int | None:
    """Return the memory in bytes that this process can still take; None if nothing tells (macOS).

    It is what the system calls available, and what each control group leaves; pages of files that
    were not used lately count as free.
    """
    rows = (line.split() for line in text_of(MEMINFO).splitlines())
    free = [int(row[1]) << 10 for row in rows if row[0] == "MemAvailable:"]
    files = {
        2: ("memory.max", "memory.current", "inactive_file"),
        1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    }
    for version, group in control_groups("memory"):
        limit, used, kind = files[version]
        figures = [text_of(group / name).strip() for name in (limit, used)]
        if all(map(str.isdecimal, figures)):
            pages = dict(line.split() for line in text_of(group / "memory.stat").splitlines())
            free.append(int(figures[0]) - int(figures[1]) + int(pages.get(kind, 0)))
    return min(free, default=None)


def generator_bytes(channels: int, width: int, height: int) -> int:
    """Return about what a generator takes for one frame in fp32, besides its weights.

    Measured in torch and in ONNX Runtime, at widths 16 and 64 and 1024 and 2048 px.

    Args:
        channels: of its first layer.
        width, height: in pixels.
    """
    return (60 + 10 * channels) * width * height


def check_memory(needed: int, what: str, remedy: str) -> None:
    """Raise a ConfigError if ``what`` needs more bytes than are free: the system would kill us."""
    free = free_bytes()
    if free is not None and needed > free:
        raise ConfigError(
            f"{what} takes about {needed / 2**30:.1f} GiB of memory, and "
            f"{free / 2**30:.1f} GiB are free; {remedy}"
        )


def peak_rss_mib() -> float:
    """Return the peak resident memory of this process in MiB, including library pages."""
    peak = _status_mib("VmHWM")
    if peak is not None:  # Linux's getrusage includes what the parent held when it forked
        return peak
    unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def anon_rss_mib() -> float | None:
    """Return the anonymous resident memory in MiB; None where the system does not report it.

    The rest is mostly unchanged pages of libraries, which processes share and which the system
    drops when memory is short.
    """
    return _status_mib("RssAnon")


def unmap_libraries() -> None:
    """Drop the library pages that only the start needed (Linux).

    Pages that are needed again come back from the page cache. Only read-only file mappings are
    dropped, and none with a page that the loader or a debugger changed, since no file holds that
    page. Nothing happens where the system does not report changed pages.
    """
    maps, pagemap = Path("/proc/self/maps"), Path("/proc/self/pagemap")
    if not (maps.is_file() and pagemap.is_file()):
        return
    try:
        pages = pagemap.open("rb", buffering=0)
    except PermissionError:  # on some kernels, only root may read it
        return
    madvise = ctypes.CDLL(None).madvise
    madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    with pages:
        for start, end in _read_only_files(maps.read_text(encoding="utf-8", errors="replace")):
            pages.seek(start // mmap.PAGESIZE * _PAGE_BYTES)
            content = pages.read((end - start) // mmap.PAGESIZE * _PAGE_BYTES)
            if _is_unchanged_file(content[_TOP]):
                madvise(start, end - start, _MADV_DONTNEED)


def _read_only_files(maps: str) -> Iterator[tuple[int, int]]:
    """Yield start and end of each private, read-only mapping of a file."""
    for line in maps.splitlines():
        addresses, permissions, _, _, inode = line.split(maxsplit=5)[:5]
        if permissions in ("r--p", "r-xp") and inode != "0":
            start, end = addresses.split("-")
            yield int(start, 16), int(end, 16)


def _is_unchanged_file(pages: bytes) -> bool:
    """Return whether there are pages and all are the file's own; see the kernel's pagemap.rst."""
    states = {page >> 5 for page in {*pages}}  # bit 2: here, 1: swapped, 0: of a file
    # A system that does not report pages says 0 for each.
    return states <= {0b000, 0b001, 0b101} and 0b101 in states


def _status_mib(name: str) -> float | None:
    status = Path("/proc/self/status")
    if not status.is_file():
        return None
    for line in status.read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / 1024
    return None
