"""A tree of videos: what is done, by whom, and what is left alone."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from commands import P2P_RUN, Run
from guides import ROOT
from p2p_runtime.app import fleet
from p2p_runtime.app import lease as leases
from p2p_runtime.app.lease import take_lease
from p2p_runtime.app.tree import Row, Tree, parse_shard
from p2p_runtime.cli import main
from p2p_runtime.console import StatusLine
from p2p_runtime.errors import ConfigError
from terminal import surroundings
from toy_runtime import label_frame, write_video
from toy_slurm import missing, slurm

SCRIPTS = ROOT / "docs" / "fleet"


@pytest.fixture
def clips(tmp_path: Path) -> list[Path]:
    """Three short videos in two folders under ``in``."""
    return draw_clips(tmp_path / "in", 3)


def draw_clips(folder: Path, count: int, longer: int = 0) -> list[Path]:
    """Write short videos of several lengths and sizes, all so many frames longer."""
    paths = [folder / "ab"[index % 2] / f"clip{index}.mp4" for index in range(count)]
    for index, path in enumerate(paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        size_px, frames = 48 + 16 * (index % 3), 4 + longer + index % 5
        write_video(path, [label_frame(index + k, size_px) for k in range(frames)])
    return paths


def cut(path: Path) -> None:
    """Leave half of a file."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def rows_of(table: Path) -> dict[str, dict[str, str]]:
    """Return the rows of a CSV file by the name of the input."""
    with table.open(encoding="utf-8", newline="") as file:
        return {Path(row["input"]).name: row for row in csv.DictReader(file)}


def outputs_of(folder: Path) -> dict[str, bytes]:
    """Return the videos under a folder by relative path, hidden ones included."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*.mp4")}


def count(folder: Path) -> int:
    """Return how many there are, of which some may be gone before they could be read."""
    return sum(1 for _ in folder.rglob("*.mp4"))


@pytest.mark.parametrize("source", ["in", "in/**/*.mp4", "in/*/*.mp4"])
def test_a_tree_keeps_its_paths(
    toy_run: Run, clips: list[Path], tmp_path: Path, source: str
) -> None:
    """Each video has a translation under the same relative path, and a row."""
    result = toy_run(source, "--output", "out")
    assert set(outputs_of(tmp_path / "out")) == {"a/clip0.mp4", "b/clip1.mp4", "a/clip2.mp4"}
    rows = rows_of(tmp_path / "out/fleet.csv")
    assert [row["status"] for row in rows.values()] == ["translated"] * 3
    assert {name: row["frames"] for name, row in rows.items()}["clip2.mp4"] == "6"
    assert result.stdout.splitlines()[1].split() == ["translated", "3", "15"]


def test_a_broken_video_does_not_stop_the_others(
    toy_run: Run, clips: list[Path], tmp_path: Path
) -> None:
    """It is a row with its reason, the others are there, and the exit code is 5."""
    cut(clips[1])
    result = toy_run("in", "--output", "out", exit_code=5)
    assert set(outputs_of(tmp_path / "out")) == {"a/clip0.mp4", "a/clip2.mp4"}
    row = rows_of(tmp_path / "out/fleet.csv")["clip1.mp4"]
    assert (row["status"], row["reason"][:4]) == ("failed", "moov")
    assert "error: 1 of 3 videos failed; see out/fleet.csv" in result.stderr


def test_what_is_done_is_left_alone(toy_run: Run, clips: list[Path], tmp_path: Path) -> None:
    """A second run writes no video, also where an input got a new time and no new bytes."""
    toy_run("in", "--output", "out")
    files = {path: path.stat().st_ino for path in (tmp_path / "out").rglob("*.mp4")}
    os.utime(clips[0], (1, 1))
    result = toy_run("in", "--output", "out")
    assert result.stdout.splitlines()[1].split() == ["done", "before", "3", "15"]
    assert {path: path.stat().st_ino for path in (tmp_path / "out").rglob("*.mp4")} == files


@pytest.mark.parametrize("change", ["input", "options"])
def test_an_output_of_something_else_is_replaced_on_request_only(
    toy_run: Run, clips: list[Path], tmp_path: Path, change: str
) -> None:
    """With another input or other options, a video fails without --overwrite."""
    toy_run("in", "--output", "out")
    before = outputs_of(tmp_path / "out")
    flags = [] if change == "input" else ["--side-by-side"]
    if change == "input":
        write_video(clips[0], [label_frame(7)] * 3)
    result = toy_run("in", "--output", "out", *flags, exit_code=5)
    assert outputs_of(tmp_path / "out") == before
    assert "give --overwrite to replace it" in result.stderr
    toy_run("in", "--output", "out", "--overwrite", *flags)
    assert outputs_of(tmp_path / "out")["a/clip0.mp4"] != before["a/clip0.mp4"]


def test_somebody_elses_file_is_never_replaced(
    toy_run: Run, clips: list[Path], tmp_path: Path
) -> None:
    """A video without a description beside it stays, even with --overwrite."""
    other = tmp_path / "out/a/clip0.mp4"
    other.parent.mkdir(parents=True)
    other.write_bytes(b"mine")
    result = toy_run("in", "--output", "out", "--overwrite", exit_code=5)
    assert other.read_bytes() == b"mine"
    assert "move it away" in result.stderr


def test_processes_write_what_one_writes(toy_run: Run, clips: list[Path], tmp_path: Path) -> None:
    """With --workers 2, every byte is that of a run in one process, and nothing else is left."""
    cut(clips[1])
    toy_run("in", "--output", "one", exit_code=5)
    toy_run("in", "--output", "two", "--workers", "2", exit_code=5)
    assert outputs_of(tmp_path / "two") == outputs_of(tmp_path / "one")
    assert [path for path in (tmp_path / "two").rglob(".*")] == []
    assert rows_of(tmp_path / "two/fleet.csv")["clip1.mp4"]["status"] == "failed"


def test_a_tree_of_two_kinds_is_refused(
    toy_run: Run, clips: list[Path], pictures: Path, tmp_path: Path
) -> None:
    """Videos beside pictures are an error that names one of each."""
    shutil.copy(pictures / "frame0.png", tmp_path / "in/b")
    result = toy_run("in", "--output", "out", exit_code=2)
    assert "both videos (in/a/clip0.mp4) and pictures (in/b/frame0.png)" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("in", "--output", "in"), "is the folder of the inputs"),
        (("in", "--output", "out.mp4"), "name one folder"),
        (("in", "--report", "run.json"), "are for one source"),
        (("in/a/clip0.mp4", "--workers", "2"), "are for a tree of videos, not a video file"),
        (("in/a/clip0.mp4", "in/b/clip1.mp4"), "quote a pattern of videos"),
        (("in", "--shard", "0/3"), "count from 1/3"),
    ],
)
def test_what_a_tree_cannot_do_is_told(
    toy_run: Run, clips: list[Path], arguments: tuple[str, ...], message: str
) -> None:
    """Options that do not suit end in one line, before anything is written."""
    result = toy_run(*arguments, exit_code=2)
    assert message in result.stderr


@pytest.mark.parametrize("source", ["nothing", "nothing/**/*.mp4"])
def test_an_empty_tree_is_told(toy_run: Run, tmp_path: Path, source: str) -> None:
    """A folder or pattern without files is bad input, and videos are named as well as pictures."""
    (tmp_path / "nothing").mkdir()
    result = toy_run(source, "--output", "out", exit_code=2)
    assert "picture" in result.stderr and "and no video" in result.stderr


def test_outputs_below_the_inputs_are_no_inputs(
    toy_run: Run, clips: list[Path], tmp_path: Path
) -> None:
    """A second run over a tree that holds the output folder finds the same videos."""
    for _ in range(2):
        toy_run("**/*.mp4", "--output", "out")
    assert len(rows_of(tmp_path / "out/fleet.csv")) == 3


def test_shards_are_the_whole(toy_run: Run, clips: list[Path], tmp_path: Path) -> None:
    """Two shards have no video in common, and together all; each has a table."""
    for number in (1, 2):
        toy_run("in", "--output", "out", "--shard", f"{number}/2")
    first, second = (rows_of(tmp_path / f"out/fleet-{n}-of-2.csv") for n in (1, 2))
    assert len(first) + len(second) == len({*first, *second}) == 3


SLURM = {"SLURM_ARRAY_TASK_ID": "7", "SLURM_ARRAY_TASK_MIN": "5", "SLURM_ARRAY_TASK_COUNT": "4"}


@pytest.mark.parametrize(
    ("text", "environment", "shard"),
    [
        (None, {}, (1, 1)),
        ("3/40", SLURM, (3, 40)),
        (None, SLURM, (3, 4)),
        ("4", SLURM, (3, 4)),
        (None, {**SLURM, "SLURM_ARRAY_TASK_STEP": "2"}, (2, 4)),
        ("5", {"JOB_COMPLETION_INDEX": "0"}, (1, 5)),
    ],
)
def test_a_job_says_which_shard(
    text: str | None, environment: dict[str, str], shard: tuple[int, int]
) -> None:
    """The index is that of the Slurm array or Kubernetes job, unless it is given."""
    assert parse_shard(text, environment) == shard


@pytest.mark.parametrize(
    ("text", "environment"),
    [
        ("3 of 4", {}),
        ("5/4", {}),
        ("4", {}),
        (None, {"JOB_COMPLETION_INDEX": "0"}),
        (None, {**SLURM, "SLURM_ARRAY_TASK_ID": "12"}),
        (None, {"SLURM_ARRAY_TASK_ID": "12"}),
    ],
)
def test_no_shard_is_guessed(text: str | None, environment: dict[str, str]) -> None:
    """What is no shard, or leaves it open, is an error; so are arrays with gaps."""
    with pytest.raises(ConfigError, match="shard"):
        parse_shard(text, environment)


def test_a_lease_keeps_others_away_until_it_ends(tmp_path: Path) -> None:
    """A living owner's output is not given to another; what it left is removed with the lease."""
    lease = take_lease(tmp_path / "x.mp4")
    assert lease is not None
    with lease:
        lease.part.write_bytes(b"half")
        assert take_lease(tmp_path / "x.mp4") is None
        assert not lease.lost
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("machine", ["this", "another", "another, silent"])
def test_dead_owners_are_told_from_living_ones(tmp_path: Path, machine: str) -> None:
    """On this machine the process counts, elsewhere the age; the dead one's part is removed."""
    place, part = tmp_path / ".x.mp4.1.lease", tmp_path / ".x.mp4.1.part.mp4"
    owner = leases._owner(os.getpid()) | {"started": "1"}  # an earlier process of this number
    if machine != "this":
        owner["machine"] = ["elsewhere"]
    place.write_text(json.dumps(owner), encoding="utf-8")
    part.write_bytes(b"half")
    if machine == "another, silent":
        then_s = time.time() - leases.STALE_S - 5
        os.utime(place, (then_s, then_s))
    lease = take_lease(tmp_path / "x.mp4")
    assert (lease is None) == (machine == "another")
    if lease is not None:
        with lease:
            assert lease.part != part
        assert list(tmp_path.iterdir()) == []


def test_an_owner_that_slept_too_long_notices(tmp_path: Path) -> None:
    """Whose lease was taken over knows it before its output could appear."""
    lease = take_lease(tmp_path / "x.mp4")
    assert lease is not None
    with lease:
        (tmp_path / ".x.mp4.2.lease").write_text("{}", encoding="utf-8")
        assert lease.lost


def start(folder: Path, bundle: Path, *more: str) -> subprocess.Popen[bytes]:
    """Start the command over a tree, silent, in a group of its own."""
    words = [*P2P_RUN, "in", "--output", "out", "--model", str(bundle), *more]
    return subprocess.Popen(
        words, cwd=folder, env=surroundings(), stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip


@pytest.mark.slow
def test_killed_processes_cost_nothing(toy_run: Run, tmp_path: Path, bundle: Path) -> None:
    """40 videos, four processes, each killed twice; one more pass gives what one run gives.

    Nothing is torn, and no video that was complete is written again.
    """
    clips = draw_clips(tmp_path / "in", 40, longer=60)  # the kills come before the end
    cut(clips[20])
    toy_run("in", "--output", "undisturbed", exit_code=5)
    rng, complete = random.Random(0), {}
    for _ in range(2):
        running = [start(tmp_path, bundle) for _ in range(4)]
        until_s = time.monotonic() + 120
        before = count(tmp_path / "out")
        while count(tmp_path / "out") < before + 4 and time.monotonic() < until_s:
            time.sleep(0.05)
        for process in running:
            time.sleep(rng.uniform(0, 0.2))
            process.send_signal(signal.SIGKILL)
            process.wait()
        for path in (tmp_path / "out").rglob("[!.]*.mp4"):
            assert complete.setdefault(path, path.stat().st_ino) == path.stat().st_ino
    assert 0 < len(complete) < 39
    toy_run("in", "--output", "out", exit_code=5)
    assert outputs_of(tmp_path / "out") == outputs_of(tmp_path / "undisturbed")
    assert {path: path.stat().st_ino for path in complete} == complete
    rows = rows_of(tmp_path / "out/fleet.csv").values()
    assert sum(row["status"] == "done before" for row in rows) == len(complete)


def test_no_video_begins_with_what_was_learnt_of_another(toy_run: Run, tmp_path: Path) -> None:
    """A video that resembles the last one gets images of its own, as in a run of its own."""
    for index, name in enumerate(("in/1/a.mp4", "in/2/b.mp4")):
        (tmp_path / name).parent.mkdir(parents=True)
        write_video(tmp_path / name, [label_frame(3 * index)] * 4)
    for source, output in (("in", "both"), ("in/2", "alone")):
        toy_run(source, "--output", output, "--dedupe-threshold", "4000")
    both, alone = outputs_of(tmp_path / "both"), outputs_of(tmp_path / "alone")
    assert both["2/b.mp4"] == alone["b.mp4"]


@pytest.mark.parametrize("workers", ["1", pytest.param("2", marks=pytest.mark.slow)])
def test_a_signal_leaves_rows_and_no_torn_video(
    toy_run: Run, tmp_path: Path, bundle: Path, workers: str
) -> None:
    """Ctrl-C within the first videos: nothing has appeared, each has a row, and 130 is left."""
    (clip,) = draw_clips(tmp_path / "in", 1, longer=1000)
    for name in ("second.mp4", "third.mp4"):
        shutil.copy(clip, tmp_path / "in" / name)
    run = start(tmp_path, bundle, "--workers", workers)
    until_s = time.monotonic() + 60
    while not list(tmp_path.rglob(".*.part.mp4")) and time.monotonic() < until_s:
        time.sleep(0.02)
    run.send_signal(signal.SIGINT)
    assert run.wait(timeout=60) == 130
    rows = rows_of(tmp_path / "out/fleet.csv").values()
    assert [row["status"] for row in rows] == ["stopped"] * 3
    assert [path.name for path in (tmp_path / "out").rglob("*") if path.is_file()] == ["fleet.csv"]


@pytest.mark.slow
def test_a_process_that_dies_is_replaced(toy_run: Run, tmp_path: Path, bundle: Path) -> None:
    """Kill one of two processes of a run: its video is translated by another."""
    draw_clips(tmp_path / "in", 24)
    run = start(tmp_path, bundle, "--workers", "2")
    until_s = time.monotonic() + 120
    while not outputs_of(tmp_path / "out") and time.monotonic() < until_s:
        time.sleep(0.05)
    children = Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split()
    working = [
        pid for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]
    os.kill(int(working[0]), signal.SIGKILL)
    assert run.wait(timeout=300) == 0
    rows = rows_of(tmp_path / "out/fleet.csv").values()
    assert [row["status"] for row in rows] == ["translated"] * 24


def commands_on_path(folder: Path, bundle: Path, table: Path) -> dict[str, str]:
    """Return an environment in which `p2p-run` is found, with the toy model in ``runs``."""
    (folder / "runs/toy/export").mkdir(parents=True)
    shutil.copy(bundle, folder / "runs/toy/export/model-fp32.onnx")
    table.mkdir()
    script = table / "p2p-run"
    script.write_text(f'#!/bin/sh\nexec {" ".join(P2P_RUN)} "$@"\n', encoding="utf-8")
    script.chmod(0o755)
    return surroundings(PATH=f"{table}{os.pathsep}{os.environ['PATH']}")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("parallel") is None, reason="GNU parallel is not installed")
def test_gnu_parallel_translates_a_tree(toy_run: Run, tmp_path: Path, bundle: Path) -> None:
    """The script of the guide writes what one run writes, and fails as it does."""
    cut(draw_clips(tmp_path / "in", 12)[5])
    toy_run("in", "--output", "undisturbed", exit_code=5)
    environment = commands_on_path(tmp_path, bundle, tmp_path / "bin")
    done = subprocess.run(
        ["bash", SCRIPTS / "parallel.sh", "in", "out"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert outputs_of(tmp_path / "out") == outputs_of(tmp_path / "undisturbed"), done.stderr
    assert done.returncode == 1, "one of the eight shards has failed"


@pytest.mark.slow
@pytest.mark.skipif(bool(missing()), reason=missing())
def test_a_slurm_array_survives_kills(toy_run: Run, tmp_path: Path, bundle: Path) -> None:
    """40 videos, an array of four tasks, each killed; one more pass gives what one run gives."""
    draw_clips(tmp_path / "in", 40, longer=60)
    toy_run("in", "--output", "undisturbed")
    environment = commands_on_path(tmp_path, bundle, tmp_path / "bin")
    words = ["sbatch", "--wait", "--array=1-4", str(SCRIPTS / "slurm.sh"), "in", "out"]
    with slurm(tmp_path / "slurm") as more:
        first = subprocess.Popen(words, cwd=tmp_path, env=environment | more)
        rng, killed, until_s = random.Random(0), set[str](), time.monotonic() + 300
        while len(killed) < 4 and first.poll() is None and time.monotonic() < until_s:
            time.sleep(rng.uniform(0.1, 0.5))
            for lease in (tmp_path / "out").rglob(".*.lease"):  # its owner is within a video
                with contextlib.suppress(OSError, ValueError):
                    owner = str(json.loads(lease.read_text(encoding="utf-8"))["pid"])
                    if owner not in killed:
                        os.kill(int(owner), signal.SIGKILL)
                        killed.add(owner)
        assert first.wait(timeout=300) != 0, "killed tasks are no success"
        complete = {path: path.stat().st_ino for path in (tmp_path / "out").rglob("[!.]*.mp4")}
        assert len(killed) == 4 and len(complete) < 40
        assert (
            subprocess.run(words, cwd=tmp_path, env=environment | more, check=False).returncode == 0
        )
    assert outputs_of(tmp_path / "out") == outputs_of(tmp_path / "undisturbed")
    assert {path: path.stat().st_ino for path in complete} == complete
    assert len(list((tmp_path / "out").glob("fleet-*-of-4.csv"))) == 4


def test_the_manifest_of_kubernetes_counts_as_its_job_does() -> None:
    """It has Kubernetes' schema, it is indexed, and its shards are as many as its completions."""
    text = (SCRIPTS / "kubernetes.yaml").read_text(encoding="utf-8")
    job = yaml.safe_load(text)
    kubernetes_validate.validate(job, "1.31", strict=True)
    assert job["spec"]["completionMode"] == "Indexed"
    pod = job["spec"]["template"]["spec"]
    arguments = pod["containers"][0]["args"]
    options = main.make_context("p2p-run", list(arguments)).params
    assert options["shard"] == str(job["spec"]["completions"])
    assert {mount["name"] for mount in pod["containers"][0]["volumeMounts"]} == {
        volume["name"] for volume in pod["volumes"]
    }


def test_an_estimate_leaves_out_what_was_done_before(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Of 4 equal videos, 2 were done before and one took 10 s: 10 s are left, not 3.

    Half of the last one takes half of that.
    """
    paths = tuple(tmp_path / f"{number}.mp4" for number in range(4))
    for path in paths:
        path.write_bytes(b"same")
    now_s = [0.0]
    shown: list[tuple[str, ...]] = []
    monkeypatch.setattr(time, "monotonic", lambda: now_s[0])
    monkeypatch.setattr(StatusLine, "show", lambda _, *parts, share: shown.append(parts))
    tree = Tree(root=tmp_path, paths=paths, folder=tmp_path, table=tmp_path / "fleet.csv")
    show = fleet._progress(tree, StatusLine())
    for path in paths[:2]:
        show(Row(input=str(path), output="", status="done before", frames=5))
    now_s[0] = 10.0
    show(Row(input=str(paths[2]), output="", status="translated", frames=5))
    now_s[0] = 15.0
    show((str(paths[3]), 4, 0.5))
    assert shown == [
        ("file 0/4",),
        ("file 1/4",),
        ("file 2/4",),
        ("file 3/4, 0:00:10 left", "5 frames", "0.5 frames/s"),
        ("file 3/4, 0:00:05 left", "9 frames", "0.6 frames/s"),
    ]
