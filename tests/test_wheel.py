"""The wheel, installed as on a device: without torch, into an environment of its own."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import av
import pytest

from commands import finished

MISSING = ("torch", "torchvision", "onnx", "matplotlib", "PIL", "rich")


@pytest.fixture(scope="module")
def wheel(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the built wheel."""
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, root]
    done = subprocess.run(build, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def device(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the programs of a fresh environment with ``wheel[cpu]`` and nothing else."""
    folder = tmp_path_factory.mktemp("device")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    pip = [sys.executable, "-m", "pip", "--python", folder / "bin" / "python", "install", "--quiet"]
    finished(*pip, f"{wheel}[cpu]", timeout=600)
    return folder / "bin"


def test_wheel_holds_the_packages_and_nothing_else(wheel: Path):
    """All four packages with their types and their two licences; no tests, no data, no caches."""
    names = zipfile.ZipFile(wheel).namelist()
    packages = {"p2p_runtime", "p2p_train", "p2p_export", "p2p_bench"}
    tops = {name.partition("/")[0] for name in names}
    (metadata,) = tops - packages
    assert metadata.endswith(".dist-info")
    assert {f"{package}/py.typed" for package in packages} <= set(names)
    weights = "p2p_runtime/assets/LICENSE-WEIGHTS"
    pages = {"p2p_runtime/assets/page.css", "p2p_train/metrics/page.html"}
    assert {weights, "p2p_export/targets/web.html", *pages} <= set(names)
    licences = {f"{metadata}/licenses/LICENSE", f"{metadata}/licenses/runtime/{weights}"}
    assert licences <= set(names)
    films = [name for name in names if name.endswith((".pyc", ".pt", ".mp4"))]
    assert films == ["p2p_runtime/assets/demo.mp4"]


@pytest.mark.slow
@pytest.mark.parametrize("module", MISSING)
def test_the_device_has_no(device: Path, module: str):
    """What only a workstation needs was not installed."""
    code = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({module!r}) is None)"
    assert subprocess.run([device / "python", "-c", code], check=False).returncode == 1


@pytest.mark.slow
def test_the_device_translates_a_drawn_video(device, workplace, command, tmp_path: Path):
    """p2p-run writes every frame of a video."""
    model = workplace / "runs" / "data-1" / "export"
    words = ("p2p-run", "--video", workplace / "seg.mp4", "--model", model)
    command(*words, folder=tmp_path, bin_folder=device)
    assert count_frames(tmp_path / "seg-translated.mp4") == 6


@pytest.mark.slow
def test_the_device_has_a_model_from_the_start(device, workplace, command, tmp_path: Path):
    """Where nothing was trained or named, p2p-run takes the model that the wheel brings."""
    command("p2p-run", "--video", workplace / "seg.mp4", folder=tmp_path, bin_folder=device)
    assert count_frames(tmp_path / "seg-translated.mp4") == 6


@pytest.mark.slow
def test_the_device_shows_a_demo_at_once(device, command, tmp_path: Path):
    """The wheel brings a model and a clip: one word after the installation, there is a film."""
    command("p2p-run", "--demo", folder=tmp_path, bin_folder=device)
    assert count_frames(tmp_path / "demo-translated.mp4") == 75


@pytest.mark.slow
def test_the_device_translates_a_real_video(device, workplace, shared_data, command, tmp_path):
    """p2p-run writes all 101 frames of a real drive."""
    clip, model = shared_data("camvid_clip/seg.mp4"), workplace / "runs" / "data-1" / "export"
    command("p2p-run", "--video", clip, "--model", model, folder=tmp_path, bin_folder=device)
    assert count_frames(tmp_path / "seg-translated.mp4") == 101


@pytest.mark.slow
@pytest.mark.parametrize(("name", "extra"), [("p2p-train", "train"), ("p2p-export", "export")])
def test_a_workstation_command_names_its_extra(device, name: str, extra: str, command, tmp_path):
    """One line says what to install."""
    said = command(name, folder=tmp_path, bin_folder=device, exit_code=2).stderr
    assert f'pip install "pix2pix-edge[{extra}]"' in said


def count_frames(path: Path) -> int:
    """Return how many frames of a video can be decoded."""
    with av.open(path) as container:
        return sum(1 for _ in container.decode(video=0))
