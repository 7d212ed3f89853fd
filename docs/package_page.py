"""What a package index shows: the README with absolute links, and the project's addresses.

hatchling calls the hook when it builds. It needs the repository's address, ``home`` in
``pyproject.toml``.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

__all__ = ["PackagePage", "absolute_links"]


class PackagePage(MetadataHookInterface):
    """Fills in ``readme`` and ``urls``."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Add both to the metadata; without an address, the README as it is and no URLs."""
        home: str = self.config["home"]
        text = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        if home:
            text = absolute_links(text, home)
            metadata["urls"] = {
                "Source": home,
                "Documentation": f"{home}/blob/HEAD/docs/index.md",
                "Changelog": f"{home}/blob/HEAD/CHANGELOG.md",
                "Issues": f"{home}/issues",
            }
        metadata["readme"] = {"content-type": "text/markdown", "text": text}


def absolute_links(text: str, home: str) -> str:
    """Return a page of the repository with links that work elsewhere; pictures as raw files."""
    relative = r"(?![a-z]+:|#)([^)\s]+)\)"
    text = re.sub(rf"(!\[[^]]*\]\(){relative}", rf"\1{home}/raw/HEAD/\2)", text)
    return re.sub(rf"((?<!!)\[[^]]*\]\(){relative}", rf"\1{home}/blob/HEAD/\2)", text)
