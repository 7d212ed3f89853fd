"""What tests of every floor share: the repository, real data, the commands, one tiny run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

pytest_plugins = ["failing_disk", "toy_report", "toy_runtime"]

ROOT = Path(__file__).parents[1]
SHARED_DATA = ROOT.parent / "shared" / "data"
BIN = Path(sys.executable).parent

Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session", autouse=True)
def signals_reach_the_commands() -> None:
    """Let commands get the signals that nohup, or a shell's background jobs, would ignore."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def root() -> Path:
    """Return the repository's folder."""
    return ROOT


@pytest.fixture(scope="session")
def shared_data() -> Callable[[str], Path]:
    """Return a function that names a file of the real data, or skips the test without it."""

    def find(name: str) -> Path:
        if not (SHARED_DATA / name).exists():
            pytest.skip(f"real data {name} is not beside the repository")
        return SHARED_DATA / name

    return find


@pytest.fixture(scope="session")
def command() -> Command:
    """Return a function that runs an installed command as a user does, and returns what it said.

    One thread, so that a busy machine does not make threads wait for each other.
    """

    def run(
        *words: object, folder: Path, bin_folder: Path = BIN, exit_code: int = 0
    ) -> subprocess.CompletedProcess[str]:
        name, *arguments = map(str, words)
        done = subprocess.run(
            [bin_folder / name, *arguments],
            cwd=folder,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == exit_code, f"{words}\n{done.stdout}\n{done.stderr}"
        return done

    return run


@pytest.fixture(scope="session")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a working directory in which a user drew scenes, trained and exported.

    ``data/`` and ``seg.mp4`` (6 frames of 96x96) are drawn; ``p2p-train`` and ``p2p-export`` ran
    with few flags, in this process: the demo's test runs the installed commands. Tests must not
    change what is there.
    """
    from p2p_export import cli as export_cli
    from p2p_train import cli as train_cli
    from p2p_train.scenes import write_clip, write_dataset

    folder = tmp_path_factory.mktemp("workplace")
    write_dataset(folder / "data", 4, height=64, width=64)
    write_clip(folder / "seg.mp4", 6, height=96, width=96, seed=100)
    small = "--image-size 64 --num-downs 4 --ngf 8 --ndf 8 --batch-size 2 --max-steps 2"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for main, flags in ((train_cli.main, small), (export_cli.main, "--fp16")):
            done = CliRunner().invoke(main, flags.split(), catch_exceptions=False)
            assert done.exit_code == 0, done.output
    return folder
