"""The contents of a street: everything follows from the random seed, block by block."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["BLOCK_M", "CROSSING_M", "Building", "Kind", "Street", "Thing"]

BLOCK_M = 24.0
VIEW_M = 150.0
CROSSING_M = 9.0
"""Width of a side street, at the near end of its block."""

LAP_M = 160.0
"""Distance after which oncoming traffic reappears at the far end of the view."""

Kind = Literal["bus", "car", "cyclist", "lamp", "person", "sign", "traffic light", "tree", "truck"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Building:
    """A house front, left (-1) or right (1); ``storeys`` determines its height and its colours."""

    side: int
    start_m: float
    end_m: float
    storeys: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Thing:
    """Anything that stands or moves in the street.

    Attributes:
        x_m, z_m: position on the ground of the middle of its near end.
        heading: 1 faces away from the camera, -1 towards it.
        variant: size and colour within its kind, 0-1.
        phase: of its gait, in steps; 0 stands still.
    """

    kind: Kind
    x_m: float
    z_m: float
    heading: int = 1
    variant: float = 0.5
    phase: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Street:
    """An endless straight street, seen from a car in its right lane.

    Attributes:
        seed: determines everything in it.
        road_m: half of the road's width.
        verge_m: strip of grass between road and pavement, often none.
        pavement_m: width of each pavement.
        green: share of the blocks that are parks.
        crossing_every, crossing_at: period and offset of the blocks that open with a side street.
        speed_m_s: of the camera.
    """

    seed: int
    road_m: float
    verge_m: float
    pavement_m: float
    green: float
    crossing_every: int
    crossing_at: int
    speed_m_s: float

    @classmethod
    def from_seed(cls, seed: int) -> Street:
        """Return the street of a random seed."""
        rng = np.random.default_rng(seed)
        return cls(
            seed=seed,
            road_m=float(rng.uniform(3.6, 6.0)),
            verge_m=float(rng.choice([0.0, 0.0, 1.6])),
            pavement_m=float(rng.uniform(2.6, 4.5)),
            green=float(rng.choice([0.1, 0.25, 0.6])),
            crossing_every=int(rng.integers(3, 6)),
            crossing_at=int(rng.integers(0, 3)),
            speed_m_s=float(rng.uniform(5.0, 9.0)),
        )

    @property
    def kerb_m(self) -> float:
        """Distance from the middle of the road to the pavement."""
        return self.road_m + self.verge_m

    @property
    def front_m(self) -> float:
        """Distance from the middle of the road to the house fronts."""
        return self.kerb_m + self.pavement_m

    @property
    def lane_m(self) -> float:
        """Distance from the middle of the road to the middle of a lane, beside parked cars."""
        return (self.road_m - 2.1) / 2 if self.has_parking else self.road_m / 2

    @property
    def has_parking(self) -> bool:
        """Whether cars may stand at the kerb."""
        return self.road_m >= 4.6

    def opens(self, block: NDArray[np.int64] | int) -> NDArray[np.bool_]:
        """Return whether a block opens with a side street."""
        return np.asarray(np.asarray(block) % self.crossing_every == self.crossing_at)

    def is_green(self, block: int, side: int) -> bool:
        """Return whether there is a park in place of houses."""
        return bool(self._rng(block, side, 0).random() < self.green)

    def blocks(self, camera_m: float) -> range:
        """Return the blocks in view, nearest first."""
        first = int(np.floor(camera_m / BLOCK_M))
        return range(first - 1, first + int(VIEW_M / BLOCK_M) + 1)

    def start_of(self, block: int) -> float:
        """Return the position of a block's first house, behind its side street if it has one."""
        return block * BLOCK_M + (CROSSING_M if self.opens(block) else 0.0)

    def buildings(self, block: int) -> Iterator[Building]:
        """Yield the houses of a block, far to near on each side."""
        start, end = self.start_of(block), (block + 1) * BLOCK_M
        for side in (-1, 1):
            if self.is_green(block, side):
                continue
            rng = self._rng(block, side, 1)
            cut = start + (end - start) * float(rng.uniform(0.35, 0.65))
            near, far = (int(n) for n in rng.integers(2, 8, 2))
            yield Building(side=side, start_m=cut, end_m=end, storeys=far)
            yield Building(side=side, start_m=start, end_m=cut, storeys=near)

    def things(self, camera_m: float, time_s: float) -> list[Thing]:
        """Return everything that stands or moves in view, far things first."""
        found = [thing for block in self.blocks(camera_m) for thing in self._block(block, time_s)]
        found += self._traffic(camera_m, time_s)
        return sorted(found, key=lambda thing: -thing.z_m)

    def _block(self, block: int, time_s: float) -> Iterator[Thing]:
        start, end = self.start_of(block) + 1.0, (block + 1) * BLOCK_M
        for side in (-1, 1):
            rng = self._rng(block, side, 2)
            kerb = side * (self.kerb_m + 0.45)
            yield Thing(kind="lamp", x_m=kerb, z_m=start + 0.5, heading=-side)
            if self.opens(block):
                kind: Kind = "traffic light" if rng.random() < 0.7 else "sign"
                yield Thing(kind=kind, x_m=kerb, z_m=block * BLOCK_M - 1.2, variant=rng.random())
            elif rng.random() < 0.4:
                yield Thing(kind="sign", x_m=kerb, z_m=start + 8, variant=rng.random())
            for place in np.arange(start + 4, end, 8.0):
                if rng.random() < 0.5:
                    x_m = kerb + side * 0.3
                    yield Thing(kind="tree", x_m=x_m, z_m=place, variant=rng.random())
            if self.is_green(block, side):
                yield from self._park(block, side)
            if self.has_parking and rng.random() >= 0.3:
                for place in np.arange(start + 2, end - 5, 6.2):
                    if rng.random() < 0.55:
                        x_m, variant = side * (self.road_m - 1.05), rng.random()
                        yield Thing(kind="car", x_m=x_m, z_m=place, heading=side, variant=variant)
            yield from self._walkers(rng, side, start, time_s)

    def _park(self, block: int, side: int) -> Iterator[Thing]:
        rng = self._rng(block, side, 3)
        for place in np.arange(self.start_of(block) + 3, (block + 1) * BLOCK_M, 4.5):
            away = self.front_m + float(rng.uniform(2.5, 8))
            variant = 0.5 + rng.random() / 2
            yield Thing(kind="tree", x_m=side * away, z_m=place, variant=variant)

    def _walkers(
        self, rng: np.random.Generator, side: int, start: float, time_s: float
    ) -> Iterator[Thing]:
        for _ in range(int(rng.integers(0, 4))):
            heading = int(rng.choice([-1, 1]))
            pace = float(rng.uniform(0.9, 1.5))
            yield Thing(
                kind="person",
                heading=heading,
                z_m=start + float(rng.uniform(0, 12)) + heading * pace * time_s,
                x_m=side * (self.kerb_m + float(rng.uniform(0.9, self.pavement_m - 0.4))),
                phase=rng.random() + 1.8 * pace * time_s,
                variant=rng.random(),
            )

    def _traffic(self, camera_m: float, time_s: float) -> Iterator[Thing]:
        """Yield vehicles ahead in the camera's lane, oncoming ones, and a cyclist."""
        rng = self._rng(0, 0, 4)

        def vehicle(z_m: float, heading: int) -> Thing:
            kinds: list[Kind] = ["car", "car", "car", "truck", "bus"]
            kind, x_m = kinds[int(rng.integers(0, 5))], heading * self.lane_m
            return Thing(kind=kind, x_m=x_m, z_m=z_m, heading=heading, variant=rng.random())

        ahead = float(rng.uniform(9, 26))
        for _ in range(int(rng.integers(0, 4))):
            yield vehicle(camera_m + ahead + 1.5 * np.sin(0.5 * time_s + ahead), heading=1)
            ahead += float(rng.uniform(14, 35))
        for _ in range(int(rng.integers(1, 5))):
            closing = self.speed_m_s + float(rng.uniform(6, 10))
            ahead = (float(rng.uniform(0, LAP_M)) - closing * time_s) % LAP_M - 8.0
            yield vehicle(camera_m + ahead, heading=-1)
        if rng.random() < 0.6:
            place = float(rng.uniform(8, 20)) + 4.0 * time_s
            yield Thing(kind="cyclist", x_m=self.road_m - 0.5, z_m=place, phase=2.0 * time_s)

    def _rng(self, block: int, side: int, topic: int) -> np.random.Generator:
        return np.random.default_rng((self.seed, block + 1000, side + 1, topic))
