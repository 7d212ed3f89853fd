"""The command ``python -m p2p_ros2.bag``: translate the label images of a MCAP file."""

from __future__ import annotations

from pathlib import Path

import click

from p2p_runtime.console import P2PCommand, option, require_extra, setup_logging
from p2p_runtime.errors import MissingExtraError

__all__ = ["main"]

_EXAMPLES = """\b
Examples:
  python -m p2p_ros2.bag drive.mcap drive-photos.mcap --topic /camera/labels
  python -m p2p_ros2.bag in.mcap out.mcap --topic /carla/ego/semantic/image --ids carla
"""


@click.command(cls=P2PCommand, epilog=_EXAMPLES)
@click.argument("source", metavar="IN.mcap", type=click.Path(path_type=Path))
@click.argument("output", metavar="OUT.mcap", type=click.Path(path_type=Path))
@option(
    "--topic",
    required=True,
    metavar="NAME",
    group="Topics",
    help="Topic of the labels: sensor_msgs/msg/Image, or CompressedImage in PNG.",
)
@option(
    "--photo-topic",
    metavar="NAME",
    group="Topics",
    help="Topic of the photos.  [default: that of the labels and /photo]",
)
@option(
    "--model",
    metavar="FILE|FOLDER",
    group="Model",
    help="As for p2p-run.  [default: newest export under runs/, else the bundled model]",
)
@option("--device", metavar="DEVICE", default="auto", group="Model", help="As for p2p-run.")
@option(
    "--ids",
    metavar="NAME|FILE.json",
    group="Labels",
    help="Numbering of class ids, as for p2p-run.  [default: labels are colours]",
)
@option(
    "--repair-labels/--no-repair-labels",
    default=True,
    group="Labels",
    help="Undo the blur of codecs: give each pixel its most likely class.",
)
def main(
    source: Path,
    output: Path,
    topic: str,
    photo_topic: str | None,
    model: str | None,
    device: str,
    ids: str | None,
    repair_labels: bool,
) -> None:
    """Copy a MCAP file, and add a photo to each label image of a topic.

    Everything else is copied as it is. The photos have the times and headers of their labels.
    """
    setup_logging()
    require_extra("onnxruntime", "cpu")
    try:
        from .mcap_file import translate_file
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"this command needs {error.name}, which is not installed; "
            "type: pip install mcap mcap-ros2-support"
        ) from error
    from p2p_runtime import Translator

    from .translation import Translation

    with Translator.load(model, device=device, repair_labels=repair_labels) as translator:
        photos = photo_topic or f"{topic.rstrip('/')}/photo"
        count = translate_file(source, output, Translation(translator, ids), topic, photos)
    click.echo(f"{output}: {count} on {photos}")


if __name__ == "__main__":
    main()
