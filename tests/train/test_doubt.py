"""A run that learned nothing says so; one that learns does not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from PIL import Image

from commands import p2p_train
from p2p_train.training import recorder
from p2p_train.training.recorder import find_doubt, spread
from toy_pairs import SIDE_PX, draw_pair

Record = dict[str, float]


def log(**values: float) -> list[Record]:
    """Return the lines of a run's log that all say the same."""
    line = {
        "val_l1": 0.2, "mean_image_l1": 0.28, "images_seen": 20_000.0,
        "discriminator_real": 0.5, "discriminator_fake": 0.5,
    }  # fmt: skip
    return [{**line, **values} for _ in range(4)]


@pytest.mark.parametrize(
    ("records", "generated", "said"),
    [
        (log(), 20.0, None),
        (log(), 0.1, "all generated samples are alike"),
        (log(discriminator_real=0.0, discriminator_fake=1e-4), 20.0, "the discriminator has won"),
        (log(discriminator_real=0.0), 20.0, None),
        (log(val_l1=0.3), 20.0, "never below that of the mean photo"),
        (log(val_l1=0.3, images_seen=500.0), 20.0, None),
        ([*log(val_l1=0.3), *log()[:1]], 20.0, None),
    ],
)
def test_fault_93_what_shows_that_nothing_was_learned(
    records: list[Record], generated: float, said: str | None
) -> None:
    """Samples that are alike, a discriminator that is never wrong, L1 above the mean photo's."""
    found = find_doubt(records, generated, 40.0)
    assert (found is None) == (said is None)
    assert said is None or said in str(found)


def test_the_spread_is_that_between_pictures() -> None:
    """Equal pictures have none, whatever they show."""
    one = np.random.default_rng(0).integers(0, 256, (1, 8, 8, 3), np.uint8)
    assert spread(np.concatenate([one, one])) == 0
    assert spread(np.concatenate([one, 255 - one])) > 10


def run(more: str, tmp_path: Path) -> Result:
    """Train a tiny run of four epochs."""
    tiny = "--image-size 32 --batch-size 4 --ngf 4 --ndf 4 --device cpu --workers 0 --epochs 4"
    return p2p_train(tiny, more, "--run-dir", tmp_path / "run")


def test_fault_93_the_run_says_so_during_and_at_its_end(data: Path, tmp_path: Path) -> None:
    """Inputs that do not differ make one picture for all: said once, and before "next"."""
    for path in data.glob("*/*.png"):
        pair = draw_pair(int(path.stem))
        pair[:, SIDE_PX:] = draw_pair(0)[:, SIDE_PX:]
        Image.fromarray(pair).save(path)
    result = run(f"--data {data} --dropout 0", tmp_path)
    assert result.stderr.count("all generated samples are alike") == 1
    lines = result.stdout.splitlines()
    assert lines[0].startswith("look before you export: all generated samples are alike")
    assert lines[-1].startswith("next:")


def test_a_run_that_learns_says_nothing(data: Path, tmp_path: Path) -> None:
    """With the usual rate, even a few steps differ by input."""
    result = run(f"--data {data} --lr 2e-3 --dropout 0", tmp_path)
    assert "look before you export" not in result.stdout
    assert recorder.LOOKED_AT_FROM <= 4
