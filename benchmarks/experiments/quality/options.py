"""``python -m experiments.quality.options``: what each training option is worth, at equal steps.

Trains one run per option, scores its last checkpoint as it ships, and shows them side by side.
Runs that are already there are not trained again, so it can be stopped and started.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import click

from experiments.quality.scores import table
from p2p_runtime.console import P2PCommand, setup_logging
from p2p_runtime.errors import P2PError

__all__ = ["VARIANTS", "main"]

COMMON = ("--batch-size", "4", "--precision", "auto", "--samples", "4")
FREEZE = ("--freeze-norm", "0.75")

VARIANTS: dict[str, tuple[str, ...]] = {
    "seed recipe": (),
    "seed recipe, another seed": ("--seed", "1"),
    "freeze-norm 0.75": FREEZE,
    "norm-min-px 8": ("--norm-min-px", "8"),
    "ema 0.999": ("--ema", "0.999"),
    "ema 0.999, freeze-norm 0.75": ("--ema", "0.999", *FREEZE),
    "ema 0.999, estimate-norm 512": ("--ema", "0.999", "--estimate-norm", "512"),
    "norm instance": ("--norm", "instance"),
    "lr-decay": ("--lr-decay",),
    "lr-decay, freeze-norm 0.75": ("--lr-decay", *FREEZE),
    "gan-loss lsgan": ("--gan-loss", "lsgan"),
    "gan-loss hinge": ("--gan-loss", "hinge"),
    "spectral-norm": ("--spectral-norm",),
    "two time-scales": ("--lr", "1e-4", "--lr-discriminator", "4e-4"),
    "consistency 10": ("--consistency", "10"),
    "dropout 0": ("--dropout", "0"),
}
"""Name of each run and its flags beyond :data:`COMMON`; the defaults are the seed's."""


def _run(*arguments: str) -> None:
    """Run a part of ``p2p-train`` in a process of its own, as a user would."""
    command = [sys.executable, "-m", "p2p_train", *arguments]
    done = subprocess.run(command, check=False)
    if done.returncode:
        raise P2PError(f"p2p-train {' '.join(arguments)} ended with exit code {done.returncode}")


def _folder(root: Path, name: str) -> Path:
    return root / name.replace(",", "").replace(" ", "-")


@click.command(cls=P2PCommand)
@click.option("--data", metavar="DIR", default="data", show_default=True, help="The pairs.")
@click.option("--judge", metavar="FILE.pt", required=True, help="From p2p-train judge.")
@click.option("--clip", metavar="DIR|VIDEO", required=True, help="Label maps, for flicker.")
@click.option("--clip-photos", metavar="DIR|VIDEO", required=True)
@click.option("--runs", type=click.Path(path_type=Path), default=Path("runs/options"))
@click.option("--only", metavar="NAME", multiple=True, help="Not all of the runs.")
@click.option("--epochs", metavar="N", default="4", show_default=True)
@click.option("--image-size", metavar="H[XW]", default="128", show_default=True)
@click.option("--width", metavar="N", default="16", show_default=True, help="ngf and ndf.")
@click.option("--json", "output", metavar="FILE", type=click.Path(path_type=Path), default=None)
@click.option("--picture", metavar="FILE.jpg", type=click.Path(path_type=Path), default=None)
def main(
    data: str,
    judge: str,
    clip: str,
    clip_photos: str,
    runs: Path,
    only: tuple[str, ...],
    epochs: str,
    image_size: str,
    width: str,
    output: Path | None,
    picture: Path | None,
) -> None:
    """Train each option alone at equal steps, and score all of them."""
    setup_logging()

    from experiments.pictures.streets import draw_streets
    from p2p_bench.machine import describe_machine
    from p2p_runtime.files import write_json, write_picture

    chosen = {name: flags for name, flags in VARIANTS.items() if not only or name in only}
    size = ("--epochs", epochs, "--image-size", image_size, "--ngf", width, "--ndf", width)
    scores: dict[str, dict[str, Any]] = {}
    for name, flags in chosen.items():
        folder = _folder(runs, name)
        result, last = folder / "scores.json", folder / "checkpoints" / "last.pt"
        if not result.exists():
            go_on = ("--resume", str(folder)) if last.exists() else ("--run-dir", str(folder))
            _run("--data", data, *COMMON, *size, *flags, *go_on)
            sight = ("--clip", clip, "--clip-photos", clip_photos)
            _run("score", str(last), "--judge", judge, *sight, "--json", str(result))
        scores[name] = json.loads(result.read_text())
    click.echo(table(scores))
    if output is not None:
        document = {
            "machine": describe_machine(None),
            "settings": {"epochs": epochs, "image_size": image_size, "ngf": width, "ndf": width},
            "flags": {name: " ".join((*COMMON, *flags)) for name, flags in chosen.items()},
            "scores": {
                name: {key: value for key, value in figures.items() if key != "checkpoint"}
                for name, figures in scores.items()
            },
        }
        write_json(output, document)
    if picture is not None:
        checkpoints = [_folder(runs, name) / "checkpoints" / "last.pt" for name in chosen]
        write_picture(picture, draw_streets(checkpoints, 2))


if __name__ == "__main__":
    main()
