"""The benchmark's page in the guides: made of JSON files, so that no figure in it is typed."""

from __future__ import annotations

from .compose import compose

__all__ = ["compose"]
