"""``python -m experiments.quality.options``: train each option alone at equal steps and score it.

Runs that exist are not trained again, so the study can be stopped and continued.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from experiments.harness import Document, data_option, input_option, segmenter_option, study
from experiments.quality.scores import scores_table
from p2p_runtime.errors import P2PError

__all__ = ["VARIANTS", "main", "table"]

COMMON = ("--batch-size", "4", "--precision", "auto", "--samples", "4", "--image-size", "128")
SIZE = ("--epochs", "3", "--ngf", "16", "--ndf", "16")
SMOKE_SIZE = ("--max-steps", "1", "--ngf", "2", "--ndf", "2")
FREEZE = ("--freeze-batchnorm", "0.75")

VARIANTS: dict[str, tuple[str, ...]] = {
    "classic recipe": (),
    "classic recipe, another seed": ("--seed", "1"),
    "freeze-batchnorm 0.75": FREEZE,
    "ema 0.999": ("--ema", "0.999"),
    "ema 0.999, freeze-batchnorm 0.75": ("--ema", "0.999", *FREEZE),
    "norm instance": ("--norm", "instance"),
    "lr-decay": ("--lr-decay",),
    "lr-decay, freeze-batchnorm 0.75": ("--lr-decay", *FREEZE),
    "gan-loss hinge": ("--gan-loss", "hinge"),
    "two time-scales": ("--lr", "1e-4", "--lr-discriminator", "4e-4"),
    "lambda-pattern 30": ("--lambda-pattern", "30"),
    "dropout 0": ("--dropout", "0"),
}
"""Name of each run, and its flags beyond :data:`COMMON` and :data:`SIZE`."""


def _train_command(*arguments: str) -> None:
    """Run ``p2p-train`` in a process of its own."""
    done = subprocess.run([sys.executable, "-m", "p2p_train", *arguments], check=False)
    if done.returncode:
        raise P2PError(f"p2p-train {' '.join(arguments)} ended with exit code {done.returncode}")


def _score(folder: Path, training: tuple[str, ...], scoring: tuple[str, ...]) -> dict[str, Any]:
    """Return the scores of a run, trained and scored now unless that was done before."""
    result, last = folder / "scores.json", folder / "checkpoints" / "last.pt"
    if not result.exists():
        where = ("--resume", str(folder)) if last.exists() else ("--run-dir", str(folder))
        _train_command(*training, *where)
        _train_command("score", str(last), *scoring, "--json", str(result))
    scores: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
    return {key: value for key, value in scores.items() if key != "checkpoint"}


def table(document: Document) -> str:
    """Return a row per option and one for the real photos."""
    return scores_table(document["scores"])


@study(
    "training-options",
    data_option(),
    segmenter_option(),
    input_option("--clip", "Label maps of a clip, for flicker.", required=False),
    input_option("--clip-photos", "Photos of the clip.", required=False),
    input_option("--runs", "Folder of the runs.  [default: a temporary one]", required=False),
    table=table,
)
def main(
    *,
    data: Path,
    segmenter: Path,
    clip: Path | None,
    clip_photos: Path | None,
    runs: Path | None,
    smoke: bool,
) -> Document:
    """Train each option alone at equal steps, and score all of them with one segmenter."""
    scoring = ["--segmenter", str(segmenter)]
    for flag, path in (("--clip", clip), ("--clip-photos", clip_photos)):
        scoring += [] if path is None else [flag, str(path)]
    size = SMOKE_SIZE if smoke else SIZE
    chosen = dict(list(VARIANTS.items())[: 1 if smoke else None])
    flags = {name: (*COMMON, *size, *extra) for name, extra in chosen.items()}
    with tempfile.TemporaryDirectory() as scratch:
        root = runs or Path(scratch)
        scores = {
            name: _score(
                root / name.replace(",", "").replace(" ", "-"),
                ("--data", str(data), *training),
                tuple(scoring),
            )
            for name, training in flags.items()
        }
    return {"flags": {name: " ".join(given) for name, given in flags.items()}, "scores": scores}


if __name__ == "__main__":
    main()
