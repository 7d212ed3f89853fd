"""Drawn street scenes: pairs of label map and photo without a download or a licence.

The world is a street in metres (:mod:`.street`) that a pinhole camera (:mod:`.geometry`) drives
through. Every polygon is painted into the label map and into the photo at once (:mod:`.canvas`), so
that the two agree to the pixel.
"""

from __future__ import annotations

from .draw import draw_scene, write_clip, write_dataset

__all__ = ["draw_scene", "write_clip", "write_dataset"]
