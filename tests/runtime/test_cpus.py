"""How many CPUs may be used: affinity and quotas of containers."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from p2p_runtime import cpus
from p2p_runtime.cpus import cpu_quota, usable_cpus
from p2p_runtime.engines.ort import OrtEngine
from p2p_runtime.model.bundle import ModelBundle
from p2p_runtime.translate.workers import default_workers, threads_per_worker


def group(folder: Path, own: str, **files: str) -> tuple[Path, Path]:
    """Write control groups (names have ``__`` for ``/``); return what :func:`cpu_quota` takes."""
    (folder / "own").write_text(own)
    for name, content in files.items():
        path = folder / "groups" / name.replace("__", "/").replace("-", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return folder / "groups", folder / "own"


def place_groups(monkeypatch: pytest.MonkeyPatch, where: tuple[Path, Path]) -> None:
    """Let the groups and the own one be found there."""
    monkeypatch.setattr(cpus, "CGROUPS", where[0])
    monkeypatch.setattr(cpus, "OWN_CGROUP", where[1])


V1 = "3:cpu,cpuacct:/docker/1\n0::/\n"


@pytest.mark.parametrize(
    ("own", "files", "quota"),
    [
        ("0::/\n", {"cpu.max": "50000 100000\n"}, 1),
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "max 100000\n"}, None),
        ("0::/a/b\n", {"a__cpu.max": "100000 100000", "a__b__cpu.max": "max 100000"}, 1),
        ("0::/a/b\n", {"a__cpu.max": "300000 100000", "a__b__cpu.max": "400000 100000"}, 3),
        ("0::/../../other\n", {"cpu.max": "200000 100000"}, 2),
        (V1, {"cpu__cpu.cfs_quota_us": "25000", "cpu__cpu.cfs_period_us": "100000"}, 1),
        (
            V1,
            {
                "cpu,cpuacct__docker__1__cpu.cfs_quota_us": "400000",
                "cpu,cpuacct__docker__1__cpu.cfs_period_us": "100000",
            },
            4,
        ),
        (V1, {"cpu__cpu.cfs_quota_us": "-1", "cpu__cpu.cfs_period_us": "100000"}, None),
        ("0::/\n", {"cpu.max": "nonsense"}, None),
        ("", {}, None),
    ],
)
def test_fault_111_quotas_of_containers_count(
    own: str,
    files: dict[str, str],
    quota: int | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Both versions, the own group and those above it; rounded up; nonsense is no quota."""
    place_groups(monkeypatch, group(tmp_path, own, **files))
    assert cpu_quota() == quota
    cores = len(os.sched_getaffinity(0))
    assert usable_cpus() == min(cores, quota or cores)


def test_fault_111_threads_and_workers_keep_to_the_quota(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bundle: Path
) -> None:
    """On 32 cores with half a CPU, there is one worker with one thread."""
    place_groups(monkeypatch, group(tmp_path, "0::/\n", **{"cpu.max": "50000 100000"}))
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(32)))
    assert cpus.usable_cpus() == 1
    assert default_workers("cpu", None) == 1
    assert threads_per_worker(2, None) == 1
    seen: list[int] = []
    real = OrtEngine.__init__.__globals__["open_session"]

    def spy(bundle: ModelBundle, device: str, options: object) -> object:
        seen.append(options.intra_op_num_threads)  # type: ignore[attr-defined]  # onnxruntime's
        return real(bundle, device, options)

    monkeypatch.setitem(OrtEngine.__init__.__globals__, "open_session", spy)
    OrtEngine(ModelBundle.load(bundle)).close()
    assert seen == [1]
