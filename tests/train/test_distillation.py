"""Distillation: a student learns from a trained generator, and goes on exactly."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from test_loop import assert_equal, last
from test_loop import run as train_to
from test_step import batch, stacked

from commands import p2p_train
from p2p_runtime.errors import CheckpointError, ConfigError
from p2p_runtime.labels.palette import CITYSCAPES
from p2p_runtime.model.contract import PixelContract
from p2p_train.config import TrainConfig
from p2p_train.distillation import Teacher
from p2p_train.training.checkpoint import Checkpoint
from p2p_train.training.loss_networks import load_loss_networks
from p2p_train.training.state import TrainState
from p2p_train.training.step import train_step
from toy_pairs import SIDE_PX

MakeConfig = Callable[..., TrainConfig]
CPU = torch.device("cpu")
CONTRACT = PixelContract(height=SIDE_PX, width=SIDE_PX, palette=CITYSCAPES)
NAMES = [f"distil_{what}" for what in ("l1", "ssim", "feature", "style")]
ALL = {f"lambda_{name}": 1.0 for name in NAMES}


@pytest.fixture
def teacher_run(tiny: MakeConfig, tmp_path: Path) -> Path:
    """A run of a generator of eight channels, one epoch old."""
    train_to(tiny(ngf=8, epochs=1), tmp_path / "teacher")
    return tmp_path / "teacher"


@pytest.fixture
def student(tiny: MakeConfig, teacher_run: Path) -> MakeConfig:
    """Make a config of a student of four channels that learns everything from the teacher."""

    def make(**changes: object) -> TrainConfig:
        return tiny(**{"teacher": str(teacher_run), **ALL, **changes})

    return make


def taught(config: TrainConfig) -> TrainState:
    """Return a fresh student with its teacher."""
    return TrainState(config, CPU, teacher=teacher_of(config))


def teacher_of(config: TrainConfig) -> Teacher:
    """Load the teacher that a config names."""
    teacher, _ = load_loss_networks(config, CONTRACT, CPU)
    assert teacher is not None
    return teacher


def test_a_student_comes_nearer_to_its_teacher(student: MakeConfig) -> None:
    """Twenty steps bring each loss well down; the teacher does not learn."""
    config = student(gan_loss="none", lambda_l1=0, lr=2e-3)
    teacher = teacher_of(config)
    state = TrainState(config, CPU, teacher=teacher)
    before = [p.detach().clone() for p in teacher.generator.state_dict().values()]
    losses = [train_step(state, batch()) for _ in range(20)]
    for name in NAMES:
        assert losses[-1][name] < 0.8 * losses[0][name], name
    after = teacher.generator.state_dict().values()
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_losses_without_weight_are_not_computed(student: MakeConfig) -> None:
    """Only losses that count are computed and logged, and no discriminator is loaded for others."""
    config = student(**{**dict.fromkeys(ALL, 0.0), "lambda_distil_ssim": 2.0})
    assert teacher_of(config).discriminator is None
    state = taught(config)
    assert [name for name in train_step(state, batch()) if "distil" in name] == ["distil_ssim"]


def test_the_teacher_translates_in_eval_mode(student: MakeConfig, teacher_run: Path) -> None:
    """Twice the same image, without gradients."""
    teacher = teacher_of(student())
    source = torch.rand(2, 3, SIDE_PX, SIDE_PX) * 2 - 1
    one = teacher.translate(source)
    assert torch.equal(one, teacher.translate(source))
    assert not one.requires_grad


def test_in_bf16_only_convolutions_change_their_type(student: MakeConfig) -> None:
    """The teacher's convolutions are kept in bf16, its norms are not rounded."""
    generator = teacher_of(student(precision="bf16")).generator
    kinds = {type(m): m.weight.dtype for m in generator.modules() if hasattr(m, "weight")}
    assert kinds == {
        torch.nn.Conv2d: torch.bfloat16,
        torch.nn.BatchNorm2d: torch.float32,
        torch.nn.ConvTranspose2d: torch.bfloat16,
    }
    state = taught(student(precision="bf16"))
    assert stacked(train_step(state, batch())).isfinite().all()


@pytest.mark.parametrize("changes", [{}, {"gan_loss": "none"}])
def test_fault_05_a_distilled_run_resumes_bit_for_bit(
    student: MakeConfig, tmp_path: Path, changes: dict[str, object]
) -> None:
    """No bit differs from the uninterrupted run."""
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    train_to(student(**changes), whole)
    train_to(student(**changes, max_steps=3), broken)
    train_to(student(**changes), broken, resume_from=last(broken))
    assert_equal(last(whole).generator, last(broken).generator)
    assert_equal(last(whole).training, last(broken).training)


def test_a_run_without_discriminator_logs_and_keeps_none(
    student: MakeConfig, tmp_path: Path
) -> None:
    """No adversarial numbers in the log, no discriminator in the checkpoint, and curves."""
    train_to(student(gan_loss="none"), tmp_path / "run")
    line = json.loads((tmp_path / "run/log.jsonl").read_text().splitlines()[-1])
    assert not [name for name in line if "adversarial" in name or "discriminator" in name]
    assert line.keys() >= set(NAMES)
    training = last(tmp_path / "run").training
    assert sorted(training) == ["loss_networks", "optimizers", "rng_states"]
    assert len(training["optimizers"]) == 1
    assert (tmp_path / "run/curves.png").stat().st_size > 1000


def test_the_student_ships_alone(student: MakeConfig, tmp_path: Path) -> None:
    """The generator in the checkpoint is an ordinary one of the student's width."""
    train_to(student(epochs=1), tmp_path / "run")
    assert last(tmp_path / "run").generator["encoder.0.0.weight"].shape == (4, 3, 4, 4)


def test_a_resumed_run_refuses_another_teacher(
    student: MakeConfig, tiny: MakeConfig, tmp_path: Path
) -> None:
    """A teacher that went on learning is not the one that the run began with."""
    train_to(student(epochs=1), tmp_path / "run")
    train_to(tiny(ngf=8, epochs=1, seed=1), tmp_path / "other")
    with pytest.raises(CheckpointError, match="the teacher has other weights"):
        train_to(
            student(teacher=str(tmp_path / "other")),
            tmp_path / "run",
            resume_from=last(tmp_path / "run"),
        )


def test_a_teacher_of_another_size_is_refused(student: MakeConfig, tmp_path: Path) -> None:
    """Both sizes are named before anything is trained."""
    with pytest.raises(
        ConfigError, match="32x32 px with palette cityscapes, those of its student 64x64"
    ):
        train_to(student(image_size=(64, 64)), tmp_path / "run")


def test_a_teacher_without_discriminator_teaches_by_its_image(
    student: MakeConfig, tmp_path: Path
) -> None:
    """The message names the losses that need a discriminator; the others work."""
    train_to(student(gan_loss="none", epochs=1), tmp_path / "second")
    grandchild = {"teacher": str(tmp_path / "second")}
    with pytest.raises(CheckpointError, match="--lambda-distil-feature 0"):
        teacher_of(student(**grandchild))
    image_losses = {"lambda_distil_feature": 0.0, "lambda_distil_style": 0.0}
    state = taught(student(**grandchild, **image_losses))
    assert stacked(train_step(state, batch())).isfinite().all()


def test_features_pass_gradients_to_the_image(student: MakeConfig) -> None:
    """They are of several scales, and gradients reach the image."""
    teacher = teacher_of(student())
    image = torch.rand(1, 3, SIDE_PX, SIDE_PX, requires_grad=True)
    features = teacher.features(torch.zeros_like(image), image)
    assert len(features) == 3
    sum(f.float().sum() for f in features).backward()  # type: ignore[union-attr]
    assert image.grad is not None
    assert image.grad.abs().sum() > 0


def test_students_of_other_shapes_learn(student: MakeConfig) -> None:
    """Fewer downsamplings still have levels to compare."""
    state = taught(student(num_downs=4))
    assert stacked(train_step(state, batch())).isfinite().all()


def test_micro_batches_learn_what_the_whole_batch_learns(student: MakeConfig) -> None:
    """The distances of halves average to those of the whole where they are plain means."""
    settings = {
        "norm": "instance",
        "dropout": 0.0,
        "lambda_distil_style": 0.0,
    }
    plain = {"lambda_distil_feature": 0.0}
    one = train_step(taught(student(**settings, **plain)), batch())
    two = train_step(taught(student(**settings, **plain, micro_batch=2)), batch())
    torch.testing.assert_close(stacked(one), stacked(two), rtol=1e-4, atol=1e-5)


def test_there_must_be_something_to_learn_from() -> None:
    """Without adversary, L1 and teacher, the config is refused."""
    with pytest.raises(ConfigError, match="nothing to learn from"):
        TrainConfig.of(gan_loss="none", lambda_l1=0)


def test_the_recipe_and_its_flags_as_people_type_them(
    teacher_run: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--recipe student learns from --teacher alone; without a teacher it says what is missing."""
    monkeypatch.chdir(tmp_path)
    common = f"--data {data} --image-size 32 --batch-size 4 --ngf 4 --device cpu --workers 0"
    line = f"--recipe student --max-steps 1 --run-dir run {common}"
    refused = p2p_train(line, exit_code=2)
    assert "nothing to learn from" in refused.stderr
    p2p_train(line, "--teacher", teacher_run)
    loss = last(Path("run")).config.loss
    assert (loss.teacher, loss.gan_loss, loss.lambda_l1) == (str(teacher_run), "none", 0)


def test_fault_07_a_damaged_teacher_is_named(
    student: MakeConfig, teacher_run: Path, tmp_path: Path
) -> None:
    """A teacher that cannot be read ends the run at its start."""
    path = teacher_run / "checkpoints" / "best.pt"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r"best\.pt"):
        train_to(student(), tmp_path / "run")
    assert not (tmp_path / "run" / "log.jsonl").exists()
    with pytest.raises(CheckpointError):
        Checkpoint.load(path)
