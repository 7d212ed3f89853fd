"""`p2p-run`: translate a label video on this device."""

from __future__ import annotations

import time
from typing import Any

import click

from . import __version__
from .app.options import model_flags, report_flags, sink_flags, source_flags
from .console import P2PCommand, require_extra, setup_logging
from .errors import ConfigError, StoppedError
from .interrupts import StopRequest, leave

__all__ = ["main", "program"]

_EXAMPLES = """\b
Examples:
  p2p-run --demo
  p2p-run --video seg.mp4
  p2p-run --video seg.mp4 --model runs/city-1/export --side-by-side
  p2p-run --video labels/ --labels ids --output photos/
  p2p-run --video rtsp://camera/labels --output city.mp4 --output rtsp://server/city
  segmenter | p2p-run --video - --size 640x360 --labels ids --output city.mp4
  p2p-run --video seg.mp4 --device cuda --report run.json --strict
  p2p-run --doctor
"""


@click.command(cls=P2PCommand, epilog=_EXAMPLES)
@source_flags
@model_flags
@sink_flags
@report_flags
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
    **flags: Any,
) -> None:
    """Translate a label video into photos, frame by frame, with an exported generator.

    The figures go to stdout, progress and warnings to stderr.
    """
    started_s = time.perf_counter()
    setup_logging(verbose)
    if doctor:
        context.exit(_doctor())
    if demo:
        _fill_in_demo(flags)
    if flags["video"] is None:
        raise ConfigError(
            "name a video, a folder, a camera or a stream with --video, or try --demo"
        )
    require_extra("onnxruntime", "cpu")
    with StopRequest() as stop:
        from .app.run import RunOptions, translate_video
        from .translate.pipeline import check_losses
        from .video.sinks import STDOUT

        try:
            report = translate_video(RunOptions(**flags, started_s=started_s), stop)
        except StoppedError:
            context.exit(stop.exit_code)
        click.echo(report.to_table(), err=STDOUT in flags["output"])  # frames own stdout
        if stop.requested:
            context.exit(stop.exit_code)
        check_losses(report, strict=strict)


def program() -> None:
    """Run the command and end the process; ``main`` alone is for callers that go on."""
    try:
        main()
    except SystemExit as leaving:
        leave(leaving)
        raise


def _fill_in_demo(flags: dict[str, Any]) -> None:
    """Set what a first look needs: the package's video and model, and both sides of the frames."""
    from .app.discover import DEMO_MODELS, DEMO_VIDEO

    if flags["video"] is not None:
        raise ConfigError("--demo brings its own video; leave one of --demo and --video out")
    flags.update(video=str(DEMO_VIDEO), side_by_side=True)
    if flags["model"] is None:
        flags["model"] = str(DEMO_MODELS)


def _doctor() -> int:

    from .app.doctor import examine

    findings = examine()
    for finding in findings:
        click.echo(str(finding))
    return 0 if all(finding.healthy for finding in findings) else 1


if __name__ == "__main__":
    program()
