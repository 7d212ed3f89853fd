"""The videos of a folder and its subfolders, or of a pattern; their suffixes tell them."""

from __future__ import annotations

from pathlib import Path

from p2p_runtime.errors import SourceError

__all__ = ["SUFFIXES", "VIDEO_SUFFIXES", "find_videos", "matches", "root_of"]

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
VIDEO_SUFFIXES = (
    ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".ts", ".m2ts", ".mpg", ".mpeg", ".flv",
    ".ogv", ".wmv", ".mxf",
)  # fmt: skip


def find_videos(text: str) -> tuple[Path, ...]:
    """Return the videos of a folder or pattern by name; none if it has pictures, or neither.

    A folder with pictures of its own is one of pictures, whatever its subfolders hold. Hidden
    files are left out.

    Raises:
        SourceError: there are pictures among the videos.
    """
    paths = sorted(path for path in _listed(text) if not path.name.startswith("."))
    videos = [path for path in paths if path.suffix.lower() in VIDEO_SUFFIXES and path.is_file()]
    pictures = (path for path in paths if path.suffix.lower() in SUFFIXES and path.is_file())
    if videos and (picture := next(pictures, None)):
        raise SourceError(
            f"{text} has both videos ({videos[0]}) and pictures ({picture}); name one kind by a "
            f"pattern, such as '{root_of(text)}/**/*{videos[0].suffix}'"
        )
    return tuple(videos)


def _listed(text: str) -> list[Path]:
    folder = Path(text)
    if not folder.is_dir():
        return matches(text)
    try:
        top = list(folder.iterdir())
    except OSError:  # who opens it says why
        return []
    if any(path.suffix.lower() in SUFFIXES for path in top):
        return top
    return list(folder.rglob("*"))


def matches(pattern: str) -> list[Path]:
    """Return what matches a glob; raise a SourceError if it is none."""
    path = Path(pattern)
    try:
        return list(Path(path.anchor).glob(str(path.relative_to(path.anchor))))
    except (OSError, ValueError, NotImplementedError, IndexError) as error:
        raise SourceError(f"{pattern!r} is not a pattern of file names: {error}") from error


def root_of(text: str) -> Path:
    """Return a folder itself, or the folder of a pattern above its first wildcard."""
    path = Path(text)
    if path.is_dir():
        return path
    while set(str(path)) & set("*?["):
        path = path.parent
    return path
