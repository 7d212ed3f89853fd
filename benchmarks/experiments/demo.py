"""``make demo``: from drawn pairs to a translated video, with the commands that a user types."""

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

__all__ = ["DemoSizes", "main", "run_demo"]

FOLDER = Path("demo")
MARKER = ".made-by-make-demo"
CLIP_SEED = 5000
"""Seed of a street that is not among the pairs."""
SHOWN = 4
"""Number of frames on the contact sheet."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DemoSizes:
    """The sizes of the demo; the defaults take under five minutes on two CPU cores.

    Attributes:
        pairs: number of training pairs; a tenth as many for validation.
        side_px: height and width of pairs and generator.
        steps: number of training steps.
        frames: number of frames in the video.
        clip_px: height and width of the video.
        timed_frames: timed frames per backend.
        backends: what to time, as ``p2p-bench --backends`` takes it; empty for all.
    """

    pairs: int = 300
    side_px: int = 128
    steps: int = 1500
    frames: int = 60
    clip_px: int = 256
    timed_frames: int = 40
    backends: str = ""

    def commands(self) -> list[list[str]]:
        """Return the commands to type in the demo's folder, without ``p2p-``."""
        size = ["--image-size", f"{self.side_px}", "--ngf", "16", "--ndf", "16"]
        # Streets are lit from the left and traffic keeps right, so a mirrored pair is wrong.
        pace = ["--batch-size", "4", "--max-steps", f"{self.steps}", "--no-flip"]
        # A narrow generator cannot overfit in so few steps, so there is no dropout.
        haste = ["--lr", "0.0004", "--dropout", "0", "--freeze-batchnorm", "0.8"]
        last = ["--checkpoint", "run/checkpoints/last.pt"]
        show = ["--side-by-side", "--overwrite"]
        timed = ["--frames", f"{self.timed_frames}"]
        timed += ["--backends", self.backends] if self.backends else []
        return [
            ["run", "--demo"],  # the model and the clip of the package
            ["train", "--data", "pairs", "--run-dir", "run", *size, *pace, *haste],
            # The best L1 is that of an early, blurred epoch; texture costs L1.
            ["export", "run/checkpoints/last.pt", "--int8", "--calibration", "pairs/train"],
            ["run", "--video", "seg.mp4", "--model", "run/export", *show],
            ["bench", "--model", "run/export", *last, *timed],
        ]


def run_demo(folder: Path, sizes: DemoSizes) -> None:
    """Run the demo in ``folder``, which is emptied first.

    Raises:
        ConfigError: the folder holds something else.
        P2PError: a command failed.
    """
    from p2p_train.scenes import write_clip, write_dataset

    _start_afresh(folder)
    click.echo(f"drawing {sizes.pairs} pairs of street scenes, and a drive as a label video")
    write_dataset(folder / "pairs", sizes.pairs, height=sizes.side_px, width=sizes.side_px)
    side = sizes.clip_px
    write_clip(folder / "seg.mp4", sizes.frames, height=side, width=side, seed=CLIP_SEED)
    for arguments in sizes.commands():
        _run(arguments, folder)
    _write_contact_sheet(folder, sizes)
    click.echo(
        f"\na first look, the shipped model:    {folder}/demo-translated.mp4\n"
        f"the video, labels beside pictures: {folder}/seg-translated.mp4\n"
        f"some frames, and the real streets:  {folder}/contact-sheet.png\n"
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


def _run(command: list[str], folder: Path) -> None:
    """Print a command and run it in the demo's folder."""
    name, *arguments = command
    click.echo(f"\n{folder}$ p2p-{name} {' '.join(arguments)}")
    program = Path(sysconfig.get_path("scripts")) / f"p2p-{name}"
    done = subprocess.run([program, *arguments], cwd=folder, check=False)
    if done.returncode != 0:
        raise P2PError(f"p2p-{name} ended with exit code {done.returncode}")


def _write_contact_sheet(folder: Path, sizes: DemoSizes) -> None:
    """Write some frames of the video: label map, generated picture, and the drawn street."""
    import numpy as np

    from p2p_runtime.files import write_picture
    from p2p_runtime.video.sources import open_source
    from p2p_train.scenes import draw_scene
    from p2p_train.scenes.draw import FRAME_RATE
    from p2p_train.training.curves import sample_grid

    with contextlib.closing(open_source(str(folder / "seg-translated.mp4"))) as source:
        frames = [frame.image for frame in source]
    shown = np.linspace(0, len(frames) - 1, SHOWN).round().astype(int)
    both = np.stack([frames[index] for index in shown])  # (N, H, 2 W, 3): labels, pictures
    sources, generated = np.split(both, 2, axis=2)
    streets = [
        draw_scene(CLIP_SEED, sizes.clip_px, sizes.clip_px, index / FRAME_RATE)[1]
        for index in shown
    ]
    columns = {"input": sources, "generated": generated, "target": np.stack(streets)}
    sheet = sample_grid(columns)
    write_picture(folder / "contact-sheet.png", sheet)


@click.command(cls=P2PCommand)
def main() -> None:
    """Draw street scenes, train on them, export, translate a video; all in demo/."""
    setup_logging()
    for module, extra in (("torch", "export"), ("onnx", "export"), ("onnxruntime", "cpu")):
        require_extra(module, extra)
    run_demo(FOLDER, DemoSizes())


if __name__ == "__main__":
    main()
