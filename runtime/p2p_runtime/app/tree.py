"""A tree of videos: which of them this process translates, where to, and what became of each."""

from __future__ import annotations

import csv
import io
import logging
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Literal

from p2p_runtime.errors import ConfigError, LossesError, SourceError
from p2p_runtime.files import write_text
from p2p_runtime.video.sources import SourceSpec, root_of

__all__ = ["Row", "Tree", "TreeReport", "find_tree", "parse_shard"]

_log = logging.getLogger(__name__)

Status = Literal["translated", "done before", "in work elsewhere", "stopped", "failed"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """What became of a video: its frames in the output, and what was lost or why it failed."""

    input: str
    output: str
    status: Status
    frames: int = 0
    seconds: float = 0.0
    losses: str = ""
    reason: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tree:
    """The videos of this process below ``root``, and the same tree of translations, ``folder``."""

    root: Path
    paths: tuple[Path, ...]
    folder: Path
    table: Path

    def output_of(self, path: Path) -> Path:
        """Return where a video's translation goes."""
        return self.folder / path.relative_to(self.root).with_suffix(".mp4")


@dataclass(frozen=True, kw_only=True, slots=True)
class TreeReport:
    """A finished run over a tree: its rows, and the CSV file with them."""

    rows: Sequence[Row]
    table: Path

    def save(self) -> None:
        """Write the CSV file; raise an OutputError if that fails."""
        text = io.StringIO()
        writer = csv.DictWriter(text, [field.name for field in fields(Row)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(row) for row in self.rows)
        write_text(self.table, text.getvalue())

    def to_table(self) -> str:
        """Return files and frames by status; the log has the reasons of those that failed."""
        lines = [f"{'':<18}{'files':>8}{'frames':>10}"]
        for status in ("translated", "done before", "in work elsewhere", "stopped", "failed"):
            if rows := [row for row in self.rows if row.status == status]:
                lines.append(f"{status:<18}{len(rows):>8}{sum(row.frames for row in rows):>10}")
        return "\n".join([*lines, f"each in {self.table}"])

    def check(self, *, strict: bool) -> None:
        """Raise a LossesError if videos failed, or lost frames or colours although ``strict``."""
        if failed := [row for row in self.rows if row.status == "failed"]:
            raise LossesError(f"{len(failed)} of {len(self.rows)} videos failed; see {self.table}")
        lossy = [row for row in self.rows if row.losses]
        if lossy and strict:
            raise LossesError(f"{len(lossy)} videos have losses, see {self.table}")


def find_tree(spec: SourceSpec, output: Path, shard: str | None) -> Tree:
    """Decide which videos of a tree this process translates, and where they go.

    Raises:
        ConfigError: the shard is none, or the output is the tree itself.
        SourceError: two videos would become one file.
    """
    root = root_of(spec.text)
    if output.resolve() == root.resolve():
        raise ConfigError(f"{output} is the folder of the inputs; name another with --output")
    own = output.resolve()
    paths = [path for path in spec.paths if own not in path.resolve().parents]
    number, count = parse_shard(shard, os.environ)
    name = "fleet.csv" if count == 1 else f"fleet-{number}-of-{count}.csv"
    tree = Tree(
        root=root, paths=tuple(paths[number - 1 :: count]), folder=output, table=output / name
    )
    places: dict[Path, Path] = {}
    for path in paths:
        if (other := places.setdefault(tree.output_of(path), path)) is not path:
            raise SourceError(f"{other} and {path.name} would both become {tree.output_of(path)}")
    return tree


def parse_shard(text: str | None, environment: Mapping[str, str]) -> tuple[int, int]:
    """Return which part of how many is meant, from 1; the environment of a job says what is open.

    Raises:
        ConfigError: it is no part.
    """
    match = re.fullmatch(r"(?:(\d{1,9})/)?(\d{1,9})", text) if text is not None else None
    if text is not None and match is None:
        raise ConfigError(f"--shard {text} is not I/N or N, such as 3/40")
    if match and match[1]:
        number, count = int(match[1]), int(match[2])
    else:
        number, count = _shard_of_job(int(match[2]) if match else None, environment)
    if not 1 <= number <= count:
        raise ConfigError(f"there is no shard {number}/{count}; they count from 1/{count}")
    return number, count


def _shard_of_job(count: int | None, environment: Mapping[str, str]) -> tuple[int, int]:
    try:
        if "SLURM_ARRAY_TASK_ID" in environment:
            name = "SLURM_ARRAY_TASK_ID"
            step = int(environment.get("SLURM_ARRAY_TASK_STEP", 1))
            first = int(environment["SLURM_ARRAY_TASK_MIN"])
            number = (int(environment[name]) - first) // step + 1
            count = count or int(environment["SLURM_ARRAY_TASK_COUNT"])
        elif "JOB_COMPLETION_INDEX" in environment:
            name = "JOB_COMPLETION_INDEX"
            number = int(environment[name]) + 1
            if count is None:
                raise ConfigError(f"{name} is set; give the number of completions as --shard N")
        elif count is None:
            return 1, 1
        else:
            raise ConfigError(f"which of {count} shards? write --shard 1/{count}")
    except (KeyError, ValueError) as error:
        raise ConfigError(f"the shard cannot be read from {name}; give --shard I/N") from error
    _log.info("shard %d of %d, by %s", number, count, name)
    return number, count
