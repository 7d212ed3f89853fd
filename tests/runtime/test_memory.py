"""How much memory a process is said to hold."""

from __future__ import annotations

import mmap
import sys
from pathlib import Path

import numpy as np
import pytest

from p2p_runtime.memory import anon_rss_mib, peak_rss_mib

SIZE = 64 << 20


def test_peak_memory_knows_what_was_freed() -> None:
    """The peak stays when the memory goes."""
    before = peak_rss_mib()
    np.ones(int(before + 64) << 17)  # 8 bytes each: as many MiB, touched and freed at once
    assert peak_rss_mib() > before + 32


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells it")
def test_pages_of_files_are_not_counted_as_own(tmp_path: Path) -> None:
    """Memory that was written to counts; a file that was mapped and read does not."""
    before = anon_rss_mib()
    assert before is not None
    path = tmp_path / "file.bin"
    with path.open("wb") as file:
        file.truncate(SIZE)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as pages:
        assert not any(pages[:: mmap.PAGESIZE])
        mapped = anon_rss_mib()
    assert mapped is not None
    assert mapped < before + 16
    with mmap.mmap(-1, SIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as own:
        own[:: mmap.PAGESIZE] = b"1" * (SIZE // mmap.PAGESIZE)
        written = anon_rss_mib()
    assert written is not None
    assert written > mapped + 48
