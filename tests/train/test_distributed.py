"""Several processes that train together, over Gloo on the CPU."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import torch

from commands import finished
from p2p_train.training.checkpoint import Checkpoint, make_generator

FLAGS = (
    "--image-size 32 --batch-size 4 --ngf 4 --ndf 4 --device cpu --workers 0 --max-steps 4 "
    "--norm instance --dropout 0 --seed 3"
)


def p2p_train(data: Path, run_dir: Path, processes: int, flags: str = FLAGS) -> str:
    """Run ``p2p-train`` under torchrun, or alone; return all that it wrote."""
    where = ("--data", str(data), "--run-dir", str(run_dir))
    return torchrun(processes, "-m", "p2p_train", *where, *flags.split())


def torchrun(processes: int, *program: str) -> str:
    """Run a program in several processes, or one without torchrun; return all that it wrote."""
    launcher = ["-m", "torch.distributed.run", f"--nproc-per-node={processes}", "--standalone"]
    words = [sys.executable, *(launcher if processes > 1 else []), *program]
    done = finished(*words, timeout=170, env={**os.environ, "OMP_NUM_THREADS": "1"})
    return done.stdout + done.stderr


def assert_learned_alike(one: Checkpoint, two: Checkpoint) -> None:
    """Two runs went the same way: apart by a hundredth of the way at most.

    Weight by weight would be too strict: where a gradient is nearly zero, rounding decides its
    sign, and Adam steps as far for a small gradient as for a large one.
    """
    torch.manual_seed(one.config.data.seed)
    initial = dict(make_generator(one.config).state_dict())
    names = [name for name, weights in initial.items() if weights.is_floating_point()]
    way = sum(float((one.generator[name] - initial[name]).square().sum()) for name in names)
    apart = sum(float((one.generator[name] - two.generator[name]).square().sum()) for name in names)
    assert way > 0
    assert apart < 1e-4 * way  # of squares


def test_two_processes_learn_what_one_learns(data: Path, tmp_path: Path) -> None:
    """The same global batch gives the same weights, up to rounding; one process logs and saves."""
    p2p_train(data, tmp_path / "one", 1)
    log = p2p_train(data, tmp_path / "two", 2)
    one, two = (Checkpoint.load(tmp_path / name / "checkpoints/last.pt") for name in ("one", "two"))
    assert_learned_alike(one, two)
    assert log.count("steps 0 to 4") == 1
    assert log.count("4 steps done") == 1
    lines = (tmp_path / "two/log.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [2, 4]
    assert len(two.training["rng_states"]) == 2


def test_two_processes_learn_from_a_teacher_what_one_learns(data: Path, tmp_path: Path) -> None:
    """Each process has the teacher answer its own share; plain means average to the whole's."""
    p2p_train(data, tmp_path / "teacher", 1)
    parts = " ".join(f"--lambda-distil-{what} 0" for what in ("feature", "style"))
    flags = f"{FLAGS} --gan-loss none --lambda-l1 0 --teacher {tmp_path / 'teacher'} {parts}"
    p2p_train(data, tmp_path / "one", 1, flags)
    p2p_train(data, tmp_path / "two", 2, flags)
    one, two = (Checkpoint.load(tmp_path / name / "checkpoints/last.pt") for name in ("one", "two"))
    assert_learned_alike(one, two)


def test_nobody_leaves_before_all_are_done(tmp_path: Path) -> None:
    """A process that had ended while the first one saves might be torn down in mid-collective."""
    script = tmp_path / "leave.py"
    script.write_text(
        "import sys, time, torch\n"
        "from pathlib import Path\n"
        "from p2p_train.training.distributed import join_distributed\n"
        "with join_distributed(torch.device('cpu')) as group:\n"
        "    if group.rank == 0:\n"
        "        time.sleep(1)\n"
        "        Path(sys.argv[1]).touch()\n"
        "assert Path(sys.argv[1]).exists(), 'left early'\n"
    )
    torchrun(2, str(script), str(tmp_path / "saved"))
