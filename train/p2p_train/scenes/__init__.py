"""Procedural street scenes: pairs of label map and picture that the project draws itself.

They need no download and no licence, so the demo, the tests and the guides can use them. The
world is a street in metres (:mod:`.street`) that a pinhole camera (:mod:`.camera`) drives through;
every polygon is painted twice at once, into the label map and into the picture (:mod:`.canvas`),
so the two always agree to the pixel.
"""

from __future__ import annotations

from .draw import draw_scene
from .files import write_clip, write_dataset

__all__ = ["draw_scene", "write_clip", "write_dataset"]
