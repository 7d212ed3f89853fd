"""The commands in what surrounds them: closed descriptors, full disks, other users, limits."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from p2p_runtime.cli import main as run_main
from p2p_runtime.model.bundle import ModelBundle
from p2p_runtime.translate.discover import DEMO_MODELS
from terminal import MODULES, as_nobody, on_terminal, with_shell, words_of
from toy_pairs import write_pairs


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize("closed", ["0<&-", "1>&-", "2>&-", "0<&- 1>&- 2>&-"])
def test_fault_107_closed_descriptors_are_no_trouble(
    name: str, closed: str, tmp_path: Path
) -> None:
    """Whatever is closed, --help ends well and a typing error is exit 2."""
    for flag, code in (("--help", 0), ("--nonsense", 2)):
        done = with_shell(f'exec "$@" {closed}', words_of(name, flag), tmp_path)
        assert (done.returncode, "Traceback" in done.stderr) == (code, False), done.stderr


@pytest.mark.parametrize("closed", ["0<&-", "1>&-", "2>&-", "0<&- 1>&- 2>&-"])
def test_fault_107_a_video_is_whole_with_closed_descriptors(closed: str, tmp_path: Path) -> None:
    """No message lands in the video because the file took the number of stderr."""
    words = words_of("p2p-run", "--demo", "--max-frames", 2, "--threads", 1, "--output", "o.mp4")
    done = with_shell(f'exec "$@" {closed}', words, tmp_path)
    assert done.returncode == 0, done.stderr
    import av

    with av.open(str(tmp_path / "o.mp4")) as film:
        assert sum(1 for _ in film.decode(video=0)) == 2


@pytest.mark.parametrize("name", MODULES)
def test_a_working_folder_that_was_removed_is_one_line(name: str, tmp_path: Path) -> None:
    """Each command says so, before a library fails on it in words of its own."""
    script = 'mkdir gone && cd gone && rmdir ../gone && exec "$@"'
    done = with_shell(script, words_of(name), tmp_path)
    assert done.returncode == 2, done.stderr
    assert done.stderr == "error: the working folder was removed; change to another one\n"


def work(name: str, workplace: Path, place: Path) -> list[str]:
    """Return the words that export a tiny run, describe the file, or time two of its files."""
    (place / "run").symlink_to(workplace / "runs" / "data-1")
    flags: dict[str, list[object]] = {
        "p2p-export": ["run", "--output", "new"],
        "p2p-export --inspect": ["--inspect", "run/export/model-fp32.onnx"],
        "p2p-bench": [
            "--model",
            "run/export",
            "--backends",
            "fp32,fp16",
            "--frames",
            2,
            "--threads",
            1,
        ],
    }
    return words_of(name.partition(" ")[0], *flags[name])


WORK = ("p2p-export", "p2p-export --inspect", "p2p-bench")


@pytest.mark.parametrize("name", WORK)
def test_fault_106_results_are_no_wider_than_a_terminal(
    name: str, workplace: Path, tmp_path: Path
) -> None:
    """On 80 columns, no line of a result wraps; the story on stderr has no traceback."""
    words = ["sh", "-c", 'exec "$@" >out.txt', "sh", *work(name, workplace, tmp_path)]
    code, drawn = on_terminal(words, folder=tmp_path)
    assert (code, "Traceback" in drawn) == (0, False), drawn
    lines = (tmp_path / "out.txt").read_text().splitlines()
    assert len(lines) > 3
    assert max(map(len, lines)) < 80, "\n".join(lines)


@pytest.mark.parametrize("name", ["p2p-export", "p2p-bench"])
@pytest.mark.parametrize("closed", ["2>&-", "0<&- 1>&- 2>&-"])
def test_fault_107_files_are_whole_with_closed_descriptors(
    name: str, closed: str, workplace: Path, tmp_path: Path
) -> None:
    """No message lands in a model or a table because the file took the number of stderr."""
    done = with_shell(f'exec "$@" {closed}', work(name, workplace, tmp_path), tmp_path)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    if name == "p2p-bench":
        rows = json.loads((tmp_path / "bench.json").read_text())["rows"]
        assert [row["name"] for row in rows] == ["fp32", "fp16"]
    else:
        ModelBundle.load(tmp_path / "new" / "model-fp32.onnx")
        assert json.loads((tmp_path / "new" / "parity.json").read_text())


@pytest.mark.parametrize("name", MODULES)
def test_fault_107_a_full_stdout_is_one_line(name: str, tmp_path: Path) -> None:
    """Results that cannot be printed are exit 3, for --version as for long texts."""
    for flag in ("--help", "--version") if name == "p2p-run" else ("--help",):
        done = with_shell('exec "$@" >/dev/full', words_of(name, flag), tmp_path)
        assert done.stderr == "error: cannot write to stdout: No space left on device\n"
        assert done.returncode == 3


def test_fault_107_figures_that_cannot_be_printed(tmp_path: Path) -> None:
    """The video is whole, the exit code says that the figures are not."""
    words = words_of("p2p-run", "--demo", "--max-frames", 2, "--threads", 1)
    done = with_shell('exec "$@" >/dev/full', words, tmp_path)
    assert (done.returncode, "Traceback" in done.stderr) == (3, False)
    assert done.stderr.splitlines()[-1].startswith("error: cannot write to stdout")
    assert (tmp_path / "demo-translated.mp4").stat().st_size > 0


@pytest.fixture(scope="module")
def rights() -> Iterator[Path]:
    """A folder in which nobody may look at ``shut``, ``*-shut`` and write into ``open`` only."""
    folder = Path(tempfile.mkdtemp(prefix="rights-"))
    folder.chmod(0o755)
    shutil.copy(DEMO_MODELS / "demo.mp4", folder / "seg.mp4")
    for place in ("models", "shut"):
        shutil.copytree(DEMO_MODELS, folder / place)
    for place in ("open", "closed"):
        (folder / place).mkdir()
    write_pairs(folder / "data" / "train", 4)
    write_pairs(folder / "data-shut" / "train", 4)
    write_pairs(folder / "one-shut" / "train", 4)
    sorted((folder / "one-shut" / "train").iterdir())[1].chmod(0)
    for name in ("seg-shut.mp4", "model-shut-fp32.onnx", "palette-shut.json", "last-shut.pt"):
        (folder / name).write_bytes(b"x")
        (folder / name).chmod(0o600)
    for name in ("shut", "data-shut"):
        (folder / name).chmod(0o700)
    (folder / "open").chmod(0o777)
    yield folder
    shutil.rmtree(folder)


RUN = ("p2p-run", "seg.mp4", "--max-frames", 1, "--threads", 1, "--model")
TRAIN = (
    *("p2p-train", "--image-size", 32, "--num-downs", 4, "--ngf", 4, "--ndf", 4, "--batch-size", 2),
    *("--max-steps", 1, "--device", "cpu", "--run-dir"),
)
NOT_READ = [
    (("p2p-run", "seg-shut.mp4", "--model", "models"), "seg-shut.mp4"),
    (("p2p-run", "shut/demo.mp4", "--model", "models"), "shut/demo.mp4"),
    (("p2p-run", "shut", "--model", "models"), "shut"),
    (("p2p-run", "shut/*.png", "--model", "models"), "shut/*.png"),
    ((*RUN, "shut"), "shut"),
    ((*RUN, "shut/demo-int8.onnx"), "shut/demo-int8.onnx"),
    ((*RUN, "model-shut-fp32.onnx"), "model-shut-fp32.onnx"),
    ((*TRAIN, "open/a", "--data", "data-shut"), "data-shut"),
    ((*TRAIN, "open/b", "--data", "one-shut"), "one-shut/train"),
    ((*TRAIN, "open/c", "--data", "data", "--palette", "palette-shut.json"), "palette-shut.json"),
    ((*TRAIN, "open/d", "--data", "data", "--config", "shut/config.json"), "shut/config.json"),
    (("p2p-train", "--resume", "shut"), "shut"),
    (("p2p-train", "score", "last-shut.pt"), "last-shut.pt"),
    (("p2p-export", "last-shut.pt"), "last-shut.pt"),
    (("p2p-export", "shut"), "shut"),
    (("p2p-bench", "--model", "shut"), "shut"),
]
NOT_WRITTEN = [
    ((*RUN, "models", "--output", "closed/o.mp4"), "closed/o.mp4"),
    ((*RUN, "models", "--output", "shut/o.mp4"), "shut/o.mp4"),
    ((*RUN, "models", "--output", "shut/pictures"), "shut/pictures"),
    ((*RUN, "models", "--output", "closed"), "closed"),
    ((*RUN, "models", "--output", "null:", "--report", "shut/r.json"), "shut"),
    ((*TRAIN, "closed/run", "--data", "data"), "closed/run"),
    ((*TRAIN, "shut/run", "--data", "data"), "shut/run"),
    (("p2p-train", "--data", "data", "--inspect", "--run-dir", "closed"), "closed"),
]


def test_fault_108_132_nobody_is_told_what_may_not_be_read_or_written(rights: Path) -> None:
    """One line names the path; exit 2 for what is read, 3 for what is written."""
    cases = [*((*case, 2) for case in NOT_READ), *((*case, 3) for case in NOT_WRITTEN)]
    results = as_nobody([words for words, _, _ in cases], rights)
    assert len(results) == len(cases)
    for (words, path, code), (exit_code, stderr, exception) in zip(cases, results, strict=True):
        assert exit_code == code, (words, stderr, exception)
        assert path in stderr.splitlines()[-1], (words, stderr)
        assert "Traceback" not in stderr


@pytest.mark.parametrize(
    ("error", "line", "code"),
    [
        (PermissionError(13, "Permission denied", "{}/new"), "cannot write {}/new", 3),
        (OSError(28, "No space left on device", "{}/there"), "cannot write {}/there", 3),
        (OSError(36, "File name too long", "{}/" + "x" * 300), "cannot read {}/x", 2),
        (PermissionError(13, "Permission denied", b"{}/new"), "cannot write {}/new", 3),
    ],
)
def test_fault_132_what_no_command_foresaw_is_one_line(
    error: OSError, line: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last net names the path and tells reading from writing."""
    (tmp_path / "there").touch()
    name = error.filename.replace(*(part if isinstance(error.filename, str) else part.encode()
                                    for part in ("{}", str(tmp_path))))  # fmt: skip
    raised = OSError(error.errno, error.strerror, name)
    monkeypatch.setattr("p2p_runtime.cli._doctor", lambda: (_ for _ in ()).throw(raised))
    result = CliRunner().invoke(run_main, ["--doctor"])
    assert result.exit_code == code
    assert result.stderr.startswith(f"error: {line.format(tmp_path)}")


def test_fault_132_a_defect_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what the file system refuses is caught; a file that should be there is a defect."""
    raised = FileNotFoundError(2, "No such file or directory", "gone")
    monkeypatch.setattr("p2p_runtime.cli._doctor", lambda: (_ for _ in ()).throw(raised))
    assert CliRunner().invoke(run_main, ["--doctor"]).exception is raised


MISSING = {
    "libGL.so.1": "apt-get install libgl1",
    "libgthread-2.0.so.0": "opencv-python-headless",
    "libxcb.so.1": "apt-get install libgl1",  # the first that OpenCV 5 misses
    "libz.so.1": "install what contains it",
}


@pytest.mark.parametrize("library", MISSING)
def test_fault_112_a_missing_library_is_one_line(library: str, tmp_path: Path) -> None:
    """OpenCV without libGL, as in slim containers: the remedy, and the doctor goes on."""
    (tmp_path / "cv2").mkdir()
    (tmp_path / "cv2" / "__init__.py").write_text(
        f"raise ImportError('{library}: cannot open shared object file: No such file')\n"
    )
    start = f"PYTHONPATH={tmp_path}:$PYTHONPATH exec "
    done = with_shell(f'{start} "$@"', words_of("p2p-run", "--demo"), tmp_path)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert MISSING[library] in line
    doctor = with_shell(f'{start} "$@"', words_of("p2p-run", "--doctor"), tmp_path)
    assert (doctor.returncode, doctor.stderr) == (1, "")
    assert doctor.stdout.count(MISSING[library]) == 1
    assert "video encoder: libx264" in doctor.stdout  # it went on
    if library == "libGL.so.1":
        for name in ("p2p-train", "p2p-bench", "p2p-export"):
            (tmp_path / "data").mkdir(exist_ok=True)
            words = words_of(name, *({"p2p-train": ["--data", "data"]}.get(name, [])))
            done = with_shell(f'{start} "$@"', words, tmp_path)
            assert (done.returncode, "Traceback" in done.stderr) == (2, False), done.stderr


@pytest.mark.parametrize("pattern", ["a**", "[", "**/x", "***", "x/**y/*.png", "[]*", "?*["])
def test_fault_140_odd_patterns_are_one_line(pattern: str, tmp_path: Path) -> None:
    """A pattern that Python does not take, or that matches nothing."""
    result = CliRunner().invoke(run_main, [f"{tmp_path}/{pattern}", "--output", "null:"])
    assert result.exit_code == 2
    last = result.stderr.splitlines()[-1]
    assert "is not a pattern of file names" in last or "no picture matches" in last


@pytest.mark.parametrize("limit_mib", [300, 350])
def test_fault_140_a_limit_of_the_address_space_is_named(limit_mib: int, tmp_path: Path) -> None:
    """Not the batch is to blame, but the shell's limit."""
    script = f'ulimit -v {limit_mib * 1024}; exec "$@"'
    done = with_shell(script, words_of("p2p-run", "--demo"), tmp_path)
    assert done.returncode in (1, 2)
    assert f"the address space is limited to {limit_mib} MiB (ulimit -v)" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("processes", [1, 2])
def test_fault_140_a_limit_of_processes_is_named(
    processes: int, rights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenBLAS would interrupt the process, and a thread that cannot start is no lack of memory."""
    monkeypatch.setattr("terminal.AS_NOBODY", LIMITED.format(processes=processes))
    ((exit_code, stderr, _),) = as_nobody([(*RUN, "models", "--output", "null:")], rights)
    last = stderr.splitlines()[-1]
    assert last.startswith("error: no more threads can be started")
    assert f"limited to {processes} (ulimit -u)" in last
    assert exit_code == 1


LIMITED = """
import os, resource
os.environ.pop("OMP_NUM_THREADS")  # it would hold for OpenBLAS, too
resource.setrlimit(resource.RLIMIT_NPROC, ({processes}, {processes}))
import json, sys
import click.testing
from p2p_runtime.cli import main
done = click.testing.CliRunner().invoke(main, json.loads(sys.argv[1])[0][1:])
print(json.dumps([done.exit_code, done.stderr, repr(done.exception)]))
"""
