"""`p2p-run` as a user meets it: exit codes, single lines, signals, pipes."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from click.testing import Result
from numpy.typing import NDArray

from commands import P2P_RUN, Run, finished, python
from p2p_runtime.app import doctor
from p2p_runtime.errors import BundleError
from p2p_runtime.files import write_picture
from p2p_runtime.labels.yuv import YuvFrame
from p2p_runtime.translate import discover
from p2p_runtime.translate.preprocess import Preprocessor

Image = NDArray[np.uint8]
DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "camvid_clip"


def one_error_line(result: Result) -> str:
    """Return the error line, having checked that it is the only one, without a traceback."""
    lines = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, result.stderr
    assert "Traceback" not in result.stderr
    return lines[0]


def test_a_video_is_translated_next_to_the_user(
    p2p_run: Run,
    bundle: Path,
    video: Path,
    tmp_path: Path,
    read_frames: Callable[[Path], list[Image]],
) -> None:
    """Without --output the video lands in the working directory; the figures on stdout."""
    result = p2p_run("--video", video, "--model", bundle, "--report", "run.json")
    *stages, line = result.stdout.splitlines()
    assert [words.split()[0] for words in stages[:2]] == ["stage", "decode"]
    assert re.fullmatch(
        r"20 frames in [\d.]+ s, [\d.]+ frames/s, written to seg-translated.mp4", line
    )
    assert len(read_frames(tmp_path / "seg-translated.mp4")) == 20
    run = json.loads((tmp_path / "run.json").read_text())["run"]
    assert (run["precision"], run["device"]) == ("fp32", "cpu")
    assert {"onnxruntime", "opencv", "av", "p2p_runtime"} <= set(run)


@pytest.mark.parametrize("named_twice", [False, True])
def test_the_input_needs_no_flag(
    p2p_run: Run, bundle: Path, video: Path, named_twice: bool
) -> None:
    """A bare INPUT means --video INPUT; both may name the same source."""
    flags = ("--video", video) if named_twice else ()
    result = p2p_run(video, *flags, "--model", bundle, "--output", "null:")
    assert len(result.stdout.splitlines()) == 1
    assert result.stdout.startswith("20 frames in ")


def test_another_aspect_than_the_models_is_said(
    p2p_run: Run, bundle: Path, video: Path, tmp_path: Path
) -> None:
    """Wide frames are squeezed into a square model, in words; frames of its aspect are not."""
    wide = np.zeros((32, 64, 3), np.uint8)
    write_picture(tmp_path / "wide.png", wide)
    write_picture(tmp_path / "square.png", wide[:, :32])
    done = p2p_run("wide.png", "--model", bundle, "--output", "null:")
    assert "frames of 64x32 px are stretched to the model's 64x64, and back" in done.stderr
    done = p2p_run("square.png", "--model", bundle, "--output", "null:")
    assert "stretched" not in done.stderr


def test_two_inputs_are_a_usage_error(p2p_run: Run) -> None:
    """INPUT and --video that differ end with the usage, and nothing is read."""
    result = p2p_run("one.mp4", "--video", "two.mp4", exit_code=2)
    assert result.stderr.startswith("Usage: ")
    assert "INPUT and --video name two sources" in result.stderr


def test_the_help_shows_the_input(p2p_run: Run) -> None:
    """The usage line has INPUT, and a sentence says what it is."""
    text = p2p_run("--help").stdout
    assert "[OPTIONS] [INPUT]" in text
    assert "INPUT is what --video takes" in text


@pytest.mark.parametrize(("flags", "yuv"), [((), True), (("--no-repair-labels",), False)])
def test_label_videos_are_left_in_yuv(
    p2p_run: Run,
    bundle: Path,
    video: Path,
    monkeypatch: pytest.MonkeyPatch,
    flags: tuple[str, ...],
    yuv: bool,
) -> None:
    """Label repair is given what the codec stored; without repair there is nothing to gain."""
    pictures: list[object] = []
    admit = Preprocessor.admit
    monkeypatch.setattr(
        Preprocessor, "admit", lambda self, task: pictures.append(task.picture) or admit(self, task)
    )
    p2p_run("--video", video, "--model", bundle, "--output", "null:", *flags)
    assert [isinstance(picture, YuvFrame) for picture in pictures] == [yuv] * 20


def test_the_demo_needs_nothing_but_the_package(p2p_run: Run) -> None:
    """Labels and pictures side by side, from the clip and the model of the package."""
    p2p_run("--demo", "--max-frames", "3")
    with av.open("demo-translated.mp4") as film:
        stream = film.streams.video[0]
        assert (stream.width, stream.height) == (1024, 256)
        assert sum(1 for _ in film.decode(stream)) == 3


def test_side_by_side_is_twice_as_wide(
    p2p_run: Run,
    bundle: Path,
    video: Path,
    tmp_path: Path,
    read_frames: Callable[[Path], list[Image]],
) -> None:
    """The video holds input and output."""
    p2p_run(
        "--video", video, "--model", bundle, "--output", "o.mkv", "--side-by-side",
        "--max-frames", 2,
    )  # fmt: skip
    assert [frame.shape for frame in read_frames(tmp_path / "o.mkv")] == [(48, 128, 3)] * 2


@pytest.mark.parametrize(
    ("arguments", "exit_code", "message"),
    [
        ([], 2, "give a video, folder, camera or stream, or try --demo"),
        (["--demo", "--video", "seg.mp4"], 2, "has its own video"),
        (["--demo", "seg.mp4"], 2, "has its own video"),
        (["--video", "seg.mp4", "--drop", "latest"], 2, "needs a live source"),
        (["--video", "no.mp4"], 2, "'no.mp4' does not exist"),
        (
            ["--video", "rtsp://me:pw@127.0.0.1:9/"],
            6,
            "rtsp://***@127.0.0.1:9/: Connection refused",
        ),
        (["--video", "-"], 2, "raw frames on stdin need --size WxH"),
        (["--video", "seg.mp4", "--size", "64x48"], 2, "not for a video file"),
        (["--video", "seg.mp4", "--fps", "9"], 2, "--fps is for raw frames on stdin"),
        (["--video", "seg.mp4", "--output", "ftp://me:pw@x/"], 3, "ftp://***@x/: ftp is not known"),
        (["--video", "seg.mp4", "--model", "no.onnx"], 2, "no.onnx does not exist"),
        (["--video", "seg.mp4", "--output", "seg.mp4"], 3, "is an input"),
        (["--video", "seg.mp4", "--output", "no/out.mp4"], 3, "No such file or directory"),
        (["--video", "seg.mp4", "--output", "out.wmv"], 3, ".wmv is not known"),
        (["--video", "seg.mp4", "--report", "model-fp32.onnx/r.json"], 3, "cannot write in"),
        (["--video", "seg.mp4", "--report", "-"], 3, "a report is a file"),
        (["--video", "seg.mp4", "--labels", "ids"], 2, "lossy codec"),
    ],
)
def test_mistakes_are_one_line_and_an_exit_code(
    p2p_run: Run,
    bundle: Path,
    video: Path,
    arguments: list[str],
    exit_code: int,
    message: str,
) -> None:
    """Every mistake is told before or instead of work, with the documented exit code."""
    if "--model" not in arguments:
        arguments = [*arguments, "--model", str(bundle)]
    result = p2p_run(*arguments, exit_code=exit_code)
    assert message in one_error_line(result)


def test_fault_51_a_missing_device_is_exit_4(
    p2p_run: Run, bundle: Path, video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CUDA without CUDA lists what there is."""
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CPUExecutionProvider"])
    result = p2p_run("--video", video, "--model", bundle, "--device", "cuda", exit_code=4)
    assert "offers cpu" in one_error_line(result)


def test_fault_59_strict_is_exit_5(p2p_run: Run, bundle: Path, lossless: Path) -> None:
    """A truncated video is translated as far as it goes; --strict makes that exit 5."""
    content = lossless.read_bytes()
    lossless.write_bytes(content[: len(content) // 2])
    words = ("--video", lossless, "--model", bundle)
    assert "of 20 frames" in p2p_run(*words).stderr
    result = p2p_run(*words, "--overwrite", "--strict", exit_code=5)
    assert "could not be read" in one_error_line(result)


def test_fault_73_an_output_is_not_replaced_unasked(
    p2p_run: Run, bundle: Path, video: Path
) -> None:
    """A second run needs --overwrite."""
    arguments = ("--video", video, "--model", bundle)
    p2p_run(*arguments)
    assert "give --overwrite" in one_error_line(p2p_run(*arguments, exit_code=3))
    p2p_run(*arguments, "--overwrite")


def test_fault_80_show_needs_a_display(
    p2p_run: Run, bundle: Path, video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a display, --show is refused instead of ending the process."""
    monkeypatch.setattr(sys, "platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    result = p2p_run("--video", video, "--model", bundle, "--show", exit_code=2)
    assert "--show needs a display" in one_error_line(result)


def test_a_folder_becomes_a_folder(
    p2p_run: Run, bundle: Path, pictures: Path, tmp_path: Path
) -> None:
    """A folder of pictures gives a folder of PNGs of the same names."""
    p2p_run("--video", pictures, "--model", bundle)
    names = {path.name for path in (tmp_path / "labels-translated").iterdir()}
    assert names == {path.name for path in pictures.iterdir()}


@pytest.mark.parametrize(
    ("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["INT", "TERM"]
)
def test_fault_78_a_signal_finishes_the_file(
    bundle: Path,
    save_video: Callable[..., Path],
    frames: list[Image],
    tmp_path: Path,
    read_frames: Callable[[Path], list[Image]],
    number: signal.Signals,
    exit_code: int,
) -> None:
    """After Ctrl-C or a kill the file is whole, the report is printed, the exit code tells."""
    big = [np.kron(frame, np.ones((10, 10, 1), np.uint8)) for frame in frames]
    video, output = save_video("long.mp4", big * 10), tmp_path / "out.mp4"
    with subprocess.Popen(
        [*P2P_RUN, "--video", video, "--model", bundle, "--output", output, "--threads", "1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        while not (output.exists() and output.stat().st_size > 0):
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
        process.send_signal(number)
        stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == exit_code, stderr
    count = int(stdout.split()[0])
    assert 0 < count < 200
    assert len(read_frames(output)) == count
    assert "Traceback" not in stderr


def test_fault_79_a_closed_pipe_leaves_no_traceback(bundle: Path, video: Path) -> None:
    """When the reader of stdout has gone, the command ends quietly with 141."""
    read_end, write_end = os.pipe()
    os.close(read_end)
    result = subprocess.run(
        [*P2P_RUN, "--video", video, "--model", bundle],
        stdout=write_end,
        stderr=subprocess.PIPE,
        text=True,
        cwd=video.parent,
        timeout=60,
        check=False,
    )
    os.close(write_end)
    assert result.returncode == 141, result.stderr
    assert "Traceback" not in result.stderr
    assert "Exception" not in result.stderr


def test_fault_79_a_closed_pipe_shows_even_without_a_flush() -> None:
    """Text that is still buffered at the end of a command is no surprise, either."""
    code = (
        "import sys, click\n"
        "from p2p_runtime.console import P2PCommand\n"
        "@click.command(cls=P2PCommand)\n"
        "def main(): sys.stdout.write('result')\n"
        "main()\n"
    )
    read_end, write_end = os.pipe()
    os.close(read_end)
    result = subprocess.run(
        [sys.executable, "-c", code],
        stdout=write_end,
        stderr=subprocess.PIPE,
        timeout=60,
        check=False,
    )
    os.close(write_end)
    assert (result.returncode, result.stderr) == (141, b"")


@pytest.mark.parametrize(
    "surroundings",
    [
        {"LC_ALL": "C"},
        {"HOME": "/proc", "TMPDIR": "/no/such/folder", "XDG_CACHE_HOME": "/proc/cache"},
    ],
)
def test_fault_84_nothing_around_it_is_needed(
    bundle: Path, video: Path, surroundings: dict[str, str]
) -> None:
    """Neither HOME, which nothing is kept in, nor a locale or a temporary folder."""
    environment = {"PATH": "/usr/bin:/bin", **surroundings}
    finished(*P2P_RUN, video, "--model", bundle, env=environment, cwd=video.parent)


@pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("unshare") is None, reason="unshare needs root"
)
def test_fault_56_no_network_is_needed(bundle: Path, video: Path) -> None:
    """Where there is not even a loopback, a file is translated like anywhere else."""
    result = subprocess.run(
        ["unshare", "-n", *P2P_RUN, "--video", video, "--model", bundle],
        capture_output=True,
        text=True,
        cwd=video.parent,
        timeout=60,
        check=False,
    )
    if "unshare failed" in result.stderr:
        pytest.skip("this machine gives no network namespace")
    assert result.returncode == 0, result.stderr


@pytest.mark.skipif(
    os.geteuid() != 0 or not (shutil.which("strace") and shutil.which("unshare")),
    reason="needs root, strace and unshare",
)
def test_fault_56_no_network_socket_is_opened(bundle: Path, video: Path, tmp_path: Path) -> None:
    """A run that waits for a slow reader opens no internet socket, though ONNX Runtime would.

    Its telemetry begins after some seconds. So a second run, which begins later and may send it,
    lives until it asks for a socket; neither has a network.
    """

    def start(name: str, **variables: str) -> tuple[subprocess.Popen[bytes], Path]:
        trace = tmp_path / name
        wrapped = ["unshare", "-n", "strace", "-f", "-e", "trace=socket", "-o", str(trace)]
        kept = {k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"}
        process = subprocess.Popen(
            [*wrapped, *P2P_RUN, "--video", video, "--model", bundle, "--output", "-"],
            env=kept | variables,
            stdout=subprocess.PIPE,
            cwd=tmp_path,
        )
        assert process.stdout is not None
        if not process.stdout.read(1):  # a frame comes out, so the model is open
            pytest.skip("this machine gives no network namespace, or strace may not trace")
        return process, trace

    run, trace = start("run.txt")
    with run:
        sender, sent = start("sender.txt", ORT_DISABLE_TELEMETRY="0")
        with sender:
            for _ in range(600):
                if "AF_INET" in sent.read_text():
                    break
                time.sleep(0.1)
            else:
                pytest.skip("this onnxruntime sends nothing")
        run.communicate()
    assert run.returncode == 0
    assert "exited with 0" in trace.read_text()
    assert "AF_INET" not in trace.read_text()


def test_help_is_light(tmp_path: Path) -> None:
    """--help shows examples and imports none of the heavy libraries."""
    code = (
        "import sys\n"
        "from p2p_runtime.cli import main\n"
        "try:\n"
        "    main(['--help'])\n"
        "finally:\n"
        "    heavy = {'cv2', 'numpy', 'av', 'onnxruntime', 'torch'} & set(sys.modules)\n"
        "    assert not heavy, heavy\n"
    )
    assert "p2p-run --video seg.mp4" in python(code)


def test_a_run_imports_only_what_a_device_has(bundle: Path, video: Path) -> None:
    """It loads no torch, onnx or plotting library, nor what only other runs need."""
    code = (
        "import sys\n"
        "from p2p_runtime.cli import main\n"
        "main(sys.argv[1:], standalone_mode=False)\n"
        "heavy = {'torch', 'onnx', 'matplotlib', 'PIL', 'rich', 'torchvision', 'scipy'}\n"
        "others = 'app.fleet model.trt_manifest tls video.sinks.images video.sinks.push '\n"
        "others += 'video.sources.captures video.sources.images video.view'\n"
        "heavy |= {f'p2p_runtime.{name}' for name in others.split()}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    python(code, "--video", video, "--model", bundle, cwd=video.parent)


def _export(runs: Path, run: str, precisions: str, age_s: float) -> None:
    folder = runs / run / "export"
    folder.mkdir(parents=True)
    for precision in precisions.split():
        path = folder / f"model-{precision}.onnx"
        path.write_bytes(b"x")
        os.utime(path, (1e9 - age_s, 1e9 - age_s))


@pytest.mark.parametrize(
    ("device", "expected"), [("cpu", "model-int8.onnx"), ("cuda", "model-fp16.onnx")]
)
def test_the_newest_export_and_its_best_precision_are_found(
    tmp_path: Path, device: str, expected: str
) -> None:
    """int8 on a CPU, fp16 on a GPU, of the run that was exported last."""
    _export(tmp_path, "old", "fp32 fp16 int8", age_s=100)
    _export(tmp_path, "new", "fp32 fp16 int8", age_s=1)
    found = discover.find_bundle(None, device, runs=tmp_path)
    assert found == tmp_path / "new" / "export" / expected


def test_what_counts_is_when_a_model_was_exported(tmp_path: Path) -> None:
    """Whichever run or file is the newest is taken, wherever it stands in its folder."""
    for run in ("a", "b", "c"):
        _export(tmp_path, run, "fp32", age_s=50)
    for now_s, run in enumerate(("b", "a", "c"), start=2_000_000_000):
        path = tmp_path / run / "export" / "model-fp32.onnx"
        os.utime(path, (now_s, now_s))
        assert discover.find_bundle(None, "cpu", runs=tmp_path) == path
    for now_s, name in enumerate(("y-int8.onnx", "x-int8.onnx", "z-int8.onnx"), start=10):
        (tmp_path / name).write_bytes(b"x")
        os.utime(tmp_path / name, (now_s, now_s))
        assert discover.find_bundle(str(tmp_path), "cpu").name == name


def test_fp32_is_taken_where_nothing_faster_is_there(tmp_path: Path) -> None:
    """A folder with only fp32 serves every device."""
    _export(tmp_path, "run", "fp32", age_s=1)
    for device in ("cpu", "cuda"):
        found = discover.find_bundle(str(tmp_path / "run" / "export"), device)
        assert found.name == "model-fp32.onnx"


def test_without_any_model_the_user_is_told_what_to_type(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No export and no demo is an error with the commands; the demo is found where it exists."""
    monkeypatch.setattr(discover, "DEMO_MODELS", tmp_path / "assets")
    with pytest.raises(BundleError, match="p2p-train, then p2p-export"):
        discover.find_bundle(None, "cpu", runs=tmp_path / "runs")
    with pytest.raises(BundleError, match=r"holds no model-fp32\.onnx"):
        discover.find_bundle(str(tmp_path), "cpu")
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets" / "demo-int8.onnx").write_bytes(b"x")
    found = discover.find_bundle(None, "cpu", runs=tmp_path / "runs")
    assert found.name == "demo-int8.onnx"


def test_the_doctor_finds_this_machine_healthy(p2p_run: Run) -> None:
    """Versions, devices and codec on stdout, exit 0."""
    result = p2p_run("--doctor")
    assert "libx264" in result.stdout
    assert "onnxruntime" in result.stdout


@pytest.mark.parametrize(
    ("installed", "message"),
    [
        ({"onnxruntime", "onnxruntime-gpu"}, "pip uninstall -y onnxruntime onnxruntime-gpu"),
        (set(), "onnxruntime is not installed"),
    ],
)
def test_fault_53_the_doctor_names_clashing_wheels(
    p2p_run: Run,
    monkeypatch: pytest.MonkeyPatch,
    installed: set[str],
    message: str,
) -> None:
    """Both wheels, or none, is told with the pip line that mends it, and exit 1."""
    real = doctor.installed_version

    def version(name: str) -> str | None:
        if name in doctor.ONNXRUNTIMES:
            return "1.0" if name in installed else None
        return real(name)

    monkeypatch.setattr(doctor, "installed_version", version)
    assert message in p2p_run("--doctor", exit_code=1).stdout


@pytest.mark.skipif(not DATA.is_dir(), reason="the CamVid clip is not on this machine")
def test_a_real_label_video_is_translated_whole(p2p_run: Run, bundle: Path) -> None:
    """All 101 frames of the CamVid clip come through, with colours near the palette."""
    result = p2p_run("--video", DATA / "seg.mp4", "--model", bundle, "--strict")
    assert result.stdout.startswith("101 frames in ")


@pytest.mark.skipif(not DATA.is_dir(), reason="the CamVid clip is not on this machine")
@pytest.mark.parametrize("limit_mib", [100, 180, 340, 420, 560, 700, 1000, 1500, 2000])
def test_fault_82_too_little_memory_is_one_line(
    bundle: Path, tmp_path: Path, limit_mib: int
) -> None:
    """Wherever the memory ends, in a library, a thread's stack or a frame: exit 1, no traceback."""
    result = subprocess.run(
        ["bash", "-c", f'ulimit -v {limit_mib * 1024}; exec "$@"', "p2p-run", *P2P_RUN,
         "--video", DATA / "seg.mp4", "--model", bundle, "--output", "null:"],
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=60,
        check=False,
    )  # fmt: skip
    assert "Traceback" not in result.stderr
    assert result.returncode in ((1,) if limit_mib < 700 else (0, 1)), result.stderr
    if result.returncode:
        last = result.stderr.splitlines()[-1]
        assert "error: not enough memory" in last or "annot allocate memory" in last
