"""Real model servers, each in an environment of its own: Triton, and KServe's."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from p2p_export.targets.triton import write_triton
from p2p_runtime.translate.discover import DEMO_MODELS

pytestmark = pytest.mark.slow

TOYS = Path(__file__).parents[1] / "toys"
MODEL, CLIP = DEMO_MODELS / "demo-int8.onnx", DEMO_MODELS / "demo.mp4"
CLIENTS, FRAMES = 8, 12
Serve = Callable[[], "subprocess.Popen[bytes]"]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return a function that installs packages into an environment, or skips the test.

    The variable P2P_TEST_SERVERS names a folder that keeps the environments.
    """
    kept = os.environ.get("P2P_TEST_SERVERS")

    def install(name: str, *packages: str) -> Path:
        folder = (Path(kept) if kept else tmp_path_factory.mktemp("servers")) / name
        if not (folder / "installed").exists():
            subprocess.run([sys.executable, "-m", "venv", folder], check=True)
            words = [folder / "bin/python", "-m", "pip", "install", "--quiet", *packages]
            done = subprocess.run(words, capture_output=True, text=True, check=False)
            if done.returncode:
                pytest.skip(f"pip cannot install {name}: {done.stderr.strip().splitlines()[-1]}")
            (folder / "installed").touch()
        return folder

    return install


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on."""
    with contextlib.ExitStack() as stack:
        opened = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in opened:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in opened]


def get(port: int, path: str) -> str:
    """Return what a server says."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
        return answer.read().decode()


def wait_ready(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until a server has its model."""
    for _ in range(600):
        with contextlib.suppress(OSError):
            get(port, "/v2/models/street/ready")
            return
        assert process.poll() is None, log.read_text()
        time.sleep(0.2)
    raise AssertionError(log.read_text())


@contextlib.contextmanager
def ended(processes: list[subprocess.Popen[bytes]]) -> Iterator[None]:
    """End processes, with those that they started."""
    try:
        yield
    finally:
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def client(folder: Path, name: str, device: str, *words: object) -> subprocess.Popen[str]:
    """Start ``p2p-run`` on the clip."""
    command = [
        sys.executable, "-m", "p2p_runtime.cli", CLIP, "--model", MODEL, "--device", device,
        "--output", folder / f"{name}.mp4", "--report", folder / f"{name}.json", *words,
    ]  # fmt: skip
    return subprocess.Popen(
        list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def result(process: subprocess.Popen[str], exit_code: int = 0) -> str:
    """Wait for a command, and return what it said on stderr."""
    told = process.communicate(timeout=500)[1]
    assert process.returncode == exit_code, told
    return told


def test_triton(environment: Callable[..., Path], tmp_path: Path) -> None:
    """Eight clients get the pixels of a run here, in batches; what goes wrong is got over or told.

    The server is killed in the middle of a run and started again; it is slow, and has another
    model, or another version.
    """
    packages = environment("triton", "nvidia-pytriton==0.7.0", "onnxruntime", "numpy<2")
    site = next(packages.glob("lib/python*/site-packages"))
    server, python = site / "pytriton/tritonserver", site.parent.name.removeprefix("python")
    stub = "triton_python_backend_stub"
    shutil.copytree(server / "backends", tmp_path / "backends")
    shutil.copy(server / "python_backend_stubs" / python / stub, tmp_path / "backends/python")
    config = write_triton(MODEL, tmp_path / "models/street")
    text = config.read_text().replace('"onnxruntime"', '"python"').replace("model.onnx", "model.py")
    config.write_text(text)
    shutil.copy(TOYS / "triton_model.py", config.parent / "1/model.py")
    http, grpc, metrics = free_ports(3)
    log = tmp_path / "triton.log"
    started: list[subprocess.Popen[bytes]] = []

    def serve() -> subprocess.Popen[bytes]:
        with log.open("ab") as file:
            process = subprocess.Popen(
                [server / "bin/tritonserver", f"--model-repository={tmp_path / 'models'}",
                 f"--backend-directory={tmp_path / 'backends'}", f"--http-port={http}",
                 f"--grpc-port={grpc}", f"--metrics-port={metrics}"],
                stdout=file, stderr=file, start_new_session=True,
                env=os.environ | {"LD_LIBRARY_PATH": str(site / "nvidia_pytriton.libs"),
                                  "SERVER_PACKAGES": str(site), "OMP_NUM_THREADS": "1"},
            )  # fmt: skip
        started.append(process)
        wait_ready(http, process, log)
        return process

    def counted(name: str) -> int:
        found = re.search(
            rf'nv_inference_{name}{{model="street".*}} (\d+)', get(metrics, "/metrics")
        )
        assert found is not None
        return int(found[1])

    device, some = f"oip://127.0.0.1:{http}/street", ("--max-frames", FRAMES)
    result(client(tmp_path, "here", "cpu", *some))
    with ended(started):
        first = serve()
        names = [f"client{number}" for number in range(CLIENTS)]
        for process in [client(tmp_path, name, device, *some) for name in names]:
            assert "no p2p_sha256" not in result(process)
        for name in names:
            assert (tmp_path / f"{name}.mp4").read_bytes() == (tmp_path / "here.mp4").read_bytes()
            assert json.loads((tmp_path / f"{name}.json").read_text())["frames_out"] == FRAMES
        requests, executions = counted("request_success"), counted("exec_count")
        assert requests >= CLIENTS * (FRAMES + 1)
        assert executions < 0.8 * requests
        told = result(client(tmp_path, "version", f"{device}/7"), 4)
        assert "version 7 is not found" in told
        told = result(client(tmp_path, "slow", device, "--stall-timeout", 0.004), 4)
        assert "no answer within 0.004 s" in told
        other = shutil.copy(DEMO_MODELS / "demo-fp16.onnx", tmp_path)
        told = result(client(tmp_path, "other", device, "--model", other), 2)
        assert "its SHA-256 is" in told
        run = client(tmp_path, "killed", device)
        before = counted("request_success")
        while counted("request_success") < before + 10:
            time.sleep(0.05)
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()
        time.sleep(2)
        serve()
        result(client(tmp_path, "all", "cpu"))
        result(run)
    assert (tmp_path / "killed.mp4").read_bytes() == (tmp_path / "all.mp4").read_bytes()
    report = json.loads((tmp_path / "killed.json").read_text())
    assert report["frames_in"] == report["frames_out"]
    assert report["run"]["restarts"] >= 1


def test_kserve(environment: Callable[..., Path], tmp_path: Path) -> None:
    """KServe's own server speaks the protocol, too; it states no fingerprint, which is told."""
    packages = environment("kserve", "kserve", "onnxruntime")
    (port,) = free_ports(1)
    log = tmp_path / "kserve.log"
    with log.open("wb") as file:
        server = subprocess.Popen(
            [packages / "bin/python", TOYS / "kserve_model.py", MODEL, "256", "512",
             f"--http_port={port}"],
            stdout=file, stderr=file, start_new_session=True,
            env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": ""},
        )  # fmt: skip
    some = ("--max-frames", FRAMES)
    with ended([server]):
        wait_ready(port, server, log)
        told = result(client(tmp_path, "there", f"oip://127.0.0.1:{port}/street", *some))
        assert "states no p2p_sha256; the golden frame must do" in told
        result(client(tmp_path, "here", "cpu", *some))
    assert (tmp_path / "there.mp4").read_bytes() == (tmp_path / "here.mp4").read_bytes()
