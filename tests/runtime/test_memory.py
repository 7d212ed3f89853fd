"""How much memory a process is said to hold."""

from __future__ import annotations

import ctypes
import mmap
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from commands import python
from p2p_runtime import cpus, memory
from p2p_runtime.engines.ort import OrtEngine
from p2p_runtime.errors import ConfigError
from p2p_runtime.memory import (
    anon_rss_mib,
    free_bytes,
    generator_bytes,
    peak_rss_mib,
    unmap_libraries,
)
from p2p_runtime.model.bundle import ModelBundle

SIZE = 64 << 20

ON_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells it")


def test_peak_memory_knows_what_was_freed() -> None:
    """The peak stays when the memory goes."""
    before = peak_rss_mib()
    np.ones(int(before + 64) << 17)  # 8 bytes each: as many MiB, touched and freed at once
    assert peak_rss_mib() > before + 32


@ON_LINUX
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


@pytest.mark.parametrize(
    ("own", "files", "free"),
    [
        ("", {}, 3072),
        ("0::/a\n", {"a/memory.max": "max", "a/memory.current": "1"}, 3072),
        ("0::/a\n", {"a/memory.max": "5000", "a/memory.current": "4000"}, 1000),
        ("0::/a\n", {"memory.max": "5000", "memory.current": "4900",
                     "memory.stat": "anon 7\ninactive_file 300\n"}, 400),
        ("4:memory:/b\n", {"memory/b/memory.limit_in_bytes": "900",
                           "memory/b/memory.usage_in_bytes": "200",
                           "memory/b/memory.stat": "total_inactive_file 50\n"}, 750),
    ],
)  # fmt: skip
def test_free_memory_is_what_system_and_container_leave(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: str, files: dict[str, str], free: int
) -> None:
    """The least of both counts, and pages of files that were not used lately are free."""
    for name, content in {"own": own, "info": "MemFree: 1 kB\nMemAvailable: 3 kB\n"}.items():
        (tmp_path / name).write_text(content)
    for name, content in files.items():
        path = tmp_path / "groups" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    monkeypatch.setattr(cpus, "CGROUPS", tmp_path / "groups")
    for module, name, file in ((cpus, "OWN_CGROUP", "own"), (memory, "MEMINFO", "info")):
        monkeypatch.setattr(module, name, tmp_path / file)
    assert free_bytes() == free
    for module, name in ((cpus, "OWN_CGROUP"), (memory, "MEMINFO")):
        monkeypatch.setattr(module, name, tmp_path / "none")
    assert free_bytes() is None


def test_a_model_that_no_memory_holds_is_one_line(
    monkeypatch: pytest.MonkeyPatch, make_bundle: Callable[..., Path]
) -> None:
    """Told before ONNX Runtime starts, with need and rest; a byte more, and it runs."""
    bundle = ModelBundle.load(make_bundle())
    bundle = replace(bundle, info=replace(bundle.info, generator={"ngf": 10**6}))
    needed = generator_bytes(10**6, bundle.contract.width, bundle.contract.height)
    monkeypatch.setattr(memory, "free_bytes", lambda: needed)
    OrtEngine(bundle, threads=1).close()
    monkeypatch.setattr(memory, "free_bytes", lambda: needed - 1)
    figures = f"about {needed / 2**30:.1f} GiB of memory, and {needed / 2**30:.1f} GiB are free"
    with pytest.raises(ConfigError, match=figures):
        OrtEngine(bundle, threads=1)


@ON_LINUX
def test_libraries_are_let_go_and_come_back() -> None:
    """What importing needed is no longer resident, and the libraries still work."""
    program = """
from pathlib import Path

import av, cv2, numpy, onnxruntime

from p2p_runtime.memory import unmap_libraries

def of_files():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) >> 10 for line in lines if line.startswith("RssFile:"))

before = of_files()
unmap_libraries()
print(before, of_files())
image = cv2.resize(numpy.arange(12, dtype=numpy.uint8).reshape(2, 2, 3), (64, 64))
assert image.shape == (64, 64, 3) and onnxruntime.get_available_providers()
assert av.CodecContext.create("h264", "r").name == "h264"
"""
    before, after = map(int, python(program).split())
    assert after < before / 2


@ON_LINUX
@pytest.mark.parametrize("told", [True, False])
def test_a_changed_page_of_a_file_stays(
    told: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loader writes addresses into libraries and then protects them: no file has those.

    A system that says nothing of its pages must not be taken to say that none was changed.
    """
    if not told:
        told_of = memory._is_unchanged_file
        monkeypatch.setattr(memory, "_is_unchanged_file", lambda pages: told_of(bytes(len(pages))))
    path = tmp_path / "library.so"
    path.write_bytes(b"\0" * mmap.PAGESIZE)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY) as page:
        page[:7] = b"changed"
        address = ctypes.addressof(ctypes.c_char.from_buffer(page))
        mprotect = ctypes.CDLL(None).mprotect
        mprotect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
        assert mprotect(address, mmap.PAGESIZE, mmap.PROT_READ) == 0
        unmap_libraries()
        assert page[:7] == b"changed"
    assert path.read_bytes()[:7] == b"\0" * 7
