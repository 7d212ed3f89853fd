"""``make demo``: from nothing to a translated video, with the commands that a user types.

Everything is made here: the pairs and the label video are drawn, the generator is trained on
them for a few minutes, exported, proven, timed, and translates the video.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sysconfig
from dataclasses import dataclass
from pathlib import Path

import click

from p2p_runtime.console import P2PCommand, require_extra, setup_logging
from p2p_runtime.errors import ConfigError, P2PError

__all__ = ["Plan", "main", "run_demo"]

FOLDER = Path("demo")
MARKER = ".made-by-make-demo"
CLIP_SEED = 5000
"""A street that is not among the pairs."""
SHOWN = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """How large the demo is; the defaults take under five minutes on two CPU cores.

    Attributes:
        pairs: pairs to train on; a tenth as many for validation.
        side_px: height and width of pairs and generator.
        steps: of training.
        frames: length of the video.
        clip_px: height and width of the video.
        timed_frames: frames a backend for the benchmark.
    """

    pairs: int = 300
    side_px: int = 128
    steps: int = 1500
    frames: int = 60
    clip_px: int = 256
    timed_frames: int = 40

    def commands(self) -> list[list[str]]:
        """Return what a user would type in the demo's folder, without ``p2p-``."""
        size = ["--image-size", f"{self.side_px}", "--ngf", "16", "--ndf", "16"]
        # Streets are lit from the left and drive on the right: their mirror images are wrong.
        pace = ["--batch-size", "4", "--max-steps", f"{self.steps}", "--no-flip"]
        # The generator is narrow and the time short: nothing to overfit, so no dropout.
        haste = ["--lr", "0.0004", "--dropout", "0", "--freeze-norm", "0.8"]
        last = ["--checkpoint", "run/checkpoints/last.pt"]
        show = ["--side-by-side", "--overwrite"]
        return [
            ["run", "--demo"],  # a first look, with the model and the clip of the package
            ["train", "--data", "pairs", "--run-dir", "run", *size, *pace, *haste],
            # The least L1 is an early, blurred epoch's: texture that is not the photo's own costs.
            ["export", "run/checkpoints/last.pt", "--int8", "--calibration", "pairs/train"],
            ["run", "--video", "seg.mp4", "--model", "run/export", *show],
            ["bench", "--model", "run/export", *last, "--frames", f"{self.timed_frames}"],
        ]


def run_demo(folder: Path, plan: Plan) -> None:
    """Make the demo afresh in ``folder``.

    Raises:
        ConfigError: the folder holds something that is not a demo.
        P2PError: a command failed; it has said why.
    """
    from p2p_train.scenes import write_clip, write_dataset

    _start_afresh(folder)
    click.echo(f"drawing {plan.pairs} pairs of street scenes, and a drive as a label video")
    write_dataset(folder / "pairs", plan.pairs, height=plan.side_px, width=plan.side_px)
    side = plan.clip_px
    write_clip(folder / "seg.mp4", plan.frames, height=side, width=side, seed=CLIP_SEED)
    for words in plan.commands():
        _run(words, folder)
    _write_contact_sheet(folder, plan)
    click.echo(
        f"\na first look, the shipped model:    {folder}/demo-translated.mp4\n"
        f"the video, labels beside pictures: {folder}/seg-translated.mp4\n"
        f"some of its frames, and the truth:  {folder}/contact-sheet.png\n"
        f"the losses:                         {folder}/run/curves.png\n"
        f"held-out streets:                   {folder}/run/samples/latest.png\n"
        f"milliseconds a frame:               {folder}/bench.png"
    )


def _start_afresh(folder: Path) -> None:
    if folder.exists() and any(folder.iterdir()) and not (folder / MARKER).exists():
        raise ConfigError(f"{folder}/ holds something else; move it away, the demo goes there")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / MARKER).touch()


def _run(words: list[str], folder: Path) -> None:
    """Run one command in the demo's folder, after showing it as it would be typed."""
    name, *arguments = words
    click.echo(f"\n{folder}$ p2p-{name} {' '.join(arguments)}")
    program = Path(sysconfig.get_path("scripts")) / f"p2p-{name}"
    done = subprocess.run([program, *arguments], cwd=folder, check=False)
    if done.returncode != 0:
        raise P2PError(f"p2p-{name} ended with exit code {done.returncode}")


def _write_contact_sheet(folder: Path, plan: Plan) -> None:
    """Show some frames of the video: the labels, what was made of them, and the street itself."""
    import numpy as np

    from p2p_runtime.files import write_picture
    from p2p_runtime.video.sources import open_source
    from p2p_train.scenes import draw_scene
    from p2p_train.scenes.draw import FRAME_RATE
    from p2p_train.training.runlog import sample_grid

    with contextlib.closing(open_source(str(folder / "seg-translated.mp4"))) as source:
        frames = [frame.image for frame in source]
    shown = np.linspace(0, len(frames) - 1, SHOWN).round().astype(int)
    both = np.stack([frames[index] for index in shown])  # (N, H, 2 W, 3): labels, pictures
    sources, generated = np.split(both, 2, axis=2)
    streets = [
        draw_scene(CLIP_SEED, plan.clip_px, plan.clip_px, index / FRAME_RATE)[1] for index in shown
    ]
    sheet = sample_grid(sources, generated, np.stack(streets))
    write_picture(folder / "contact-sheet.png", sheet)


@click.command(cls=P2PCommand)
def main() -> None:
    """Draw street scenes, train on them, export, translate a video; all in demo/."""
    setup_logging()
    for module, extra in (("torch", "export"), ("onnx", "export"), ("onnxruntime", "cpu")):
        require_extra(module, extra)
    run_demo(FOLDER, Plan())


if __name__ == "__main__":
    main()
