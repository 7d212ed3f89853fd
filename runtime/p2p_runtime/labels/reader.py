"""Whether the pictures of a source hold colours or class ids, and how ids become colours.

Ids pass for very dark colours, and ids of another numbering for other classes. Both make a picture
that looks as if it had been translated, so both are looked for, and nothing is guessed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from p2p_runtime.errors import ConfigError, ContractError, SourceError

from .ids import ClassIds, IdLayout, Shares, choices, ids_of, load_ids, look_like_ids, tags_of
from .palette import Palette
from .yuv import YuvFrame, to_bgr

__all__ = ["LabelReader", "Labels"]

Labels = Literal["auto", "colour", "ids"]

_LOOKED_AT = 3
"""Number of pictures after which colours are no longer suspected."""

_log = logging.getLogger(__name__)


class LabelReader:
    """Reads the label maps of one source for a model with a palette.

    Args:
        palette: the model's classes and colours.
        labels: ``auto`` decides by the first pictures.
        ids: numbering of class ids, as ``--ids`` takes it; None for the one of the training data,
            or one that is recognised.
        trained: numbering of the ids that the model was trained on, or None.
        expected: shares of the classes in label maps of the same kind; None for those of streets.

    Attributes:
        numbering: the numbering of the ids that were read; None for colours.
        warning: why the numbering is likely wrong, or None.

    Raises:
        ConfigError: there is no such numbering.
    """

    def __init__(
        self,
        palette: Palette,
        *,
        labels: Labels = "auto",
        ids: str | None = None,
        trained: ClassIds | None = None,
        expected: Shares | None = None,
    ) -> None:
        if labels == "colour" and ids is not None:
            raise ConfigError("--ids names a numbering of class ids; leave --labels colour out")
        self._palette, self._labels, self._expected = palette, labels, expected
        self._named = None if ids is None else load_ids(ids, palette)
        self._trained = trained
        self._holds_ids: bool | None = True if labels == "ids" or ids is not None else None
        self._looked, self._compared = 0, False
        self.numbering: ClassIds | None = None
        self.warning: str | None = None

    @property
    def wants_ids(self) -> bool:
        """Whether ids were asked for, or found."""
        return self._holds_ids is True

    @property
    def decided(self) -> bool:
        """Whether the source is known to hold ids, or colours."""
        return self._holds_ids is not None

    def check_lossy(self, picture: NDArray[np.uint8] | YuvFrame, name: str) -> None:
        """Refuse a picture of a lossy codec that was made from class ids.

        ``picture`` is (H, W, 3) BGR or 4:2:0; ``name`` begins the SourceError.
        """
        if self._holds_ids:
            raise SourceError(
                f"{name} is stored by a lossy codec, which does not keep class ids; store them as "
                "PNG, or as FFV1 in a video, or leave --labels ids and --ids out if it has colours"
            )
        if not self._is_suspect(lambda: look_like_ids(to_bgr(picture), lossy=True)):
            return
        raise SourceError(
            f"{name} looks like class ids that a lossy codec has altered; store them as PNG, or as "
            "FFV1 in a video, and name their numbering with --ids"
        )

    def __call__(self, pixels: NDArray[Any], name: str) -> NDArray[np.uint8] | None:
        """Return class ids in the palette's colours, (H, W, 3) uint8 BGR; None for colours.

        The pixels were decoded without loss: (H, W), (H, W, 3) BGR or (H, W, 4) BGRA, uint8 or
        uint16.

        Raises:
            SourceError: these are ids although colours were asked for, or the reverse; nobody
                says in which numbering; or an id has no class in it.
        """
        if self._is_suspect(lambda: look_like_ids(pixels), lambda: _is_plain(pixels)):
            if self._labels == "colour":
                raise SourceError(
                    f"{name} holds class ids, not colours; leave --labels colour out, "
                    f"and {choices()}"
                )
            self._holds_ids = True
        if not self._holds_ids:
            if not self.decided and ids_of(pixels) is None and tags_of(pixels) is not None:
                raise SourceError(
                    f"{name} looks like a picture of CARLA's instance camera, with class ids in "
                    "red; give --ids carla, or --labels colour if it has colours"
                )
            return None
        ids = ids_of(pixels)
        if ids is None and self._named is not None:
            ids = tags_of(pixels)
        if ids is None:
            raise SourceError(
                f"{name} holds colours, not class ids; leave --labels ids and --ids out"
            )
        if self.numbering is None:
            self._choose(ids, name)
        assert self.numbering is not None
        if not self._compared and not _is_plain(ids):
            self._compare(self.numbering, ids, name)
        try:
            return self._palette.paint(self.numbering.to_classes(ids, self._palette))
        except ContractError as error:
            better = self._better(ids)
            hint = f"; they look like --ids {better.name}" if better else ""
            raise SourceError(f"{name}: {error}{hint}") from error

    def _is_suspect(
        self, looks_like_ids: Callable[[], bool], is_plain: Callable[[], bool] = lambda: False
    ) -> bool:
        """Ask about the first pictures, but for plain ones, until one shows what is held."""
        if self._holds_ids is not None:
            return False
        if looks_like_ids():
            return True
        self._looked += not is_plain()
        if self._looked == _LOOKED_AT:
            self._holds_ids = False
        return False

    def _choose(self, ids: NDArray[Any], name: str) -> None:
        self.numbering = self._named or self._trained
        if self.numbering is None:
            self.numbering = self._better(ids)
            if self.numbering is None:
                raise SourceError(f"{name} holds class ids, and only you know whose; {choices()}")
            _log.info("class ids of %s recognised", self.numbering.name)
            self._compared = True
            return
        _log.info("class ids of %s: %s", self.numbering.name, self.numbering.summary())

    def _compare(self, chosen: ClassIds, ids: NDArray[Any], name: str) -> None:
        """Warn if the first picture with several classes looks like another numbering."""
        self._compared = True
        if (better := self._better(ids)) is not None and self._paints_unlike(better, ids):
            self.warning = (
                f"the class ids of {name} look like {better.name}, not {chosen.name}; "
                f"try --ids {better.name}"
            )
            _log.warning("%s", self.warning)

    def _better(self, ids: NDArray[Any]) -> ClassIds | None:
        layout = IdLayout()
        layout.add(ids)
        return layout.best(self._palette, self._expected)

    def _paints_unlike(self, other: ClassIds, ids: NDArray[Any]) -> bool:
        assert self.numbering is not None
        try:
            painted = self.numbering.to_classes(ids, self._palette)
        except ContractError:
            return False  # an error of its own
        return not np.array_equal(painted, other.to_classes(ids, self._palette))


def _is_plain(pixels: NDArray[Any]) -> bool:
    return bool((pixels == pixels[0, 0]).all())
