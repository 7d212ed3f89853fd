"""Break each guard once and see its test fail: ``python tests/guards/run.py [WORD ...]``.

The tables beside this file list guards. Each names a file, a text in it that occurs once, what
takes its place, and the tests that must then fail. Words choose the guards whose name or file
holds one of them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
FLOORS = ("runtime", "train", "export", "benchmarks")


@dataclass(frozen=True, slots=True)
class Guard:
    """A check in the shipped code, and the tests that notice when it is gone.

    Attributes:
        name: what is guarded against, starting with the numbers of its faults, if it has any.
        file: path from the repository's root.
        old, new: a text that occurs once in the file, and what takes its place.
        tests: pytest's names of the tests.
    """

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


def read_guards() -> list[Guard]:
    """Return the guards of all tables."""
    tables = sorted(Path(__file__).parent.glob("*.toml"))
    rows = [row for table in tables for row in tomllib.loads(table.read_text("utf-8"))["guard"]]
    return [Guard(**row | {"tests": tuple(row["tests"])}) for row in rows]


def survives(guard: Guard, copy: Path) -> bool:
    """Break a guard in a copy of the repository; return whether its tests still pass."""
    path = copy / guard.file
    whole = path.read_text(encoding="utf-8")
    if whole.count(guard.old) != 1:
        raise SystemExit(f"{guard.name}: {guard.file} does not hold its text once")
    path.write_text(whole.replace(guard.old, guard.new), encoding="utf-8")
    try:
        return _passes(guard.tests, copy)
    finally:
        path.write_text(whole, encoding="utf-8")


def _passes(tests: tuple[str, ...], copy: Path) -> bool:
    search = os.pathsep.join(str(copy / floor) for floor in FLOORS)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-m", "", *tests],
        cwd=copy,
        env={**os.environ, "PYTHONPATH": search, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode > 1:  # neither passed nor failed: no such test, or a broken table
        raise SystemExit(f"pytest could not run {' '.join(tests)}:\n{done.stdout}{done.stderr}")
    return done.returncode == 0


def main(words: list[str]) -> int:
    """Break the chosen guards, one after the other; return 1 if a test did not notice."""
    guards = [g for g in read_guards() if not words or any(w in g.name + g.file for w in words)]
    missed = []
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "main"
        copy.parent.chmod(0o755)  # some tests run the code as another user
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".*", "runs", "demo", "dist"))
        (Path(folder) / "shared").symlink_to(ROOT.parent / "shared")
        for guard in guards:
            if not _passes(guard.tests, copy):
                raise SystemExit(f"{guard.name}: its tests fail even with the guard")
            lives = survives(guard, copy)
            missed += [guard.name] * lives
            print(f"{'MISSED ' if lives else 'noticed'}  {guard.name}", flush=True)  # noqa: T201  # a script
    print(f"{len(guards) - len(missed)} of {len(guards)} guards: their tests notice")  # noqa: T201
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
