"""The command ``p2p-run``: translate a label video on this device."""

from __future__ import annotations

from p2p_runtime import starting  # noqa: F401  # isort: skip  # first: Ctrl-C is quiet from here

import os
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from . import __version__
from .app.options import run_options
from .console import P2PCommand, require_extra, setup_logging
from .errors import ConfigError, StoppedError
from .interrupts import StopRequest, leave

if TYPE_CHECKING:
    from .app.run import RunOptions

__all__ = ["main", "program"]

ANSWER_S = 1.5
"""Seconds after which a signal ends a run that blocks within a library."""

_EXAMPLES = """\b
Examples:
  p2p-run --demo
  p2p-run seg.mp4
  p2p-run seg.mp4 --model runs/city-1/export --side-by-side
  p2p-run a.png b.png
  p2p-run pairs/ --input-side right
  p2p-run labels/ --ids cityscapes-train --output photos/
  p2p-run rtsp://camera/labels --output city.mp4 --output rtsp://server/city
  p2p-run rtsp://camera/labels --view 8080
  p2p-run --streams cameras.toml --report run.json
  segmenter | p2p-run - --size 640x360 --ids own --output city.mp4
  p2p-run --video seg.mp4 --device cuda --report run.json --strict
  p2p-run 'in/**/*.mp4' --output out/ --workers 2
  p2p-run --doctor
"""


@click.command(cls=P2PCommand, epilog=_EXAMPLES)
@run_options
@click.version_option(__version__, prog_name="p2p-run")
@click.pass_context
def main(
    context: click.Context,
    /,
    *,
    verbose: bool,
    doctor: bool,
    demo: bool,
    strict: bool,
    inputs: tuple[str, ...],
    video: str | None,
    **options: Any,
) -> None:
    """Translate a label video into photos with an exported model.

    INPUT is what --video takes; give either. Several pictures may be given.

    Figures go to stdout, progress and warnings to stderr.
    """
    started_s = time.perf_counter()
    setup_logging(verbose)
    if doctor:
        context.exit(_doctor())
    if video is not None:
        if inputs not in ((), (video,)):
            raise click.UsageError("INPUT and --video name two sources; give one of them")
        inputs = (video,)
    if demo:
        inputs = _fill_in_demo(inputs, options)
    if not inputs and options["streams"] is None:
        raise ConfigError("give a video, folder, camera or stream, or try --demo")
    require_extra("onnxruntime", "cpu")
    # Matrices are small here, and OpenBLAS sends SIGINT where it cannot have its threads.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    with StopRequest(grace_s=ANSWER_S) as stop:
        from .app.run import RunOptions

        wanted = RunOptions(inputs=inputs, **options, verbose=verbose, started_s=started_s)
        try:
            check = _translate(wanted, context, stop)
        except StoppedError:
            context.exit(stop.exit_code)
        if stop.requested:
            context.exit(stop.exit_code)
        check(strict=strict)


def _translate(options: RunOptions, context: click.Context, stop: StopRequest) -> partial[None]:
    """Translate what there is, and return what fails if some of it was lost."""
    if options.streams is not None:
        from .app.streams import check_streams, translate_streams

        return partial(check_streams, translate_streams(options.streams, options, context, stop))
    from .app.run import translate_video
    from .translate.pipeline import check_losses
    from .video.sources import SourceKind, parse_source

    spec = parse_source(*options.inputs)
    if spec.kind is SourceKind.TREE:
        from .app.fleet import translate_tree

        return partial(translate_tree(options, spec, stop).check)
    return partial(check_losses, translate_video(options, spec, stop))


def program() -> None:
    """Run the command and end the process; :func:`main` is for callers that continue."""
    try:
        main()
    except SystemExit as leaving:
        leave(leaving)
        raise


def _fill_in_demo(inputs: tuple[str, ...], options: dict[str, Any]) -> tuple[str, ...]:
    """Return the bundled clip, and set the bundled model, side by side."""
    from .translate.discover import DEMO_MODELS

    if inputs:
        raise ConfigError("--demo has its own video; give either --demo or an input")
    options.update(model=options["model"] or str(DEMO_MODELS), side_by_side=True)
    return (str(DEMO_MODELS / "demo.mp4"),)


def _doctor() -> int:
    from .app.doctor import examine

    findings = examine()
    click.echo("\n".join(map(str, findings)))
    return 0 if all(finding.healthy for finding in findings) else 1


if __name__ == "__main__":
    program()
