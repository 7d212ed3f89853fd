"""What stands in a street, and where: everything follows from the seed, block by block."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["BLOCK_M", "Building", "Street", "Thing"]

BLOCK_M = 24.0
VIEW_M = 150.0
CROSSING_M = 9.0
"""Width of a side street; it opens at the near end of its block."""
LAP_M = 160.0
"""Oncoming traffic comes back at the far end of the view after so many metres."""

Kind = Literal["bus", "car", "cyclist", "lamp", "person", "sign", "traffic light", "tree", "truck"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Building:
    """A house front along the street.

    Attributes:
        side: -1 on the left, 1 on the right.
        start_m, end_m: from where to where along the street.
        storeys: decides its height, its style and its colours.
    """

    side: int
    start_m: float
    end_m: float
    storeys: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Thing:
    """Anything that stands or moves in the street.

    Attributes:
        kind: what it is.
        x_m, z_m: where the middle of its near end touches the ground.
        heading: 1 faces away from the camera, -1 towards it.
        variant: 0-1, picks size and colour within its kind.
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
        seed: decides all that stands in it.
        road_m: half of the road's width.
        verge_m: strip of grass between road and pavement, often none.
        pavement_m: width of each pavement.
        green: share of the blocks that are parks.
        crossing_every, crossing_at: which blocks open with a side street.
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
        """Lay a street out."""
        random = np.random.default_rng(seed)
        return cls(
            seed=seed,
            road_m=float(random.uniform(3.6, 6.0)),
            verge_m=float(random.choice([0.0, 0.0, 1.6])),
            pavement_m=float(random.uniform(2.6, 4.5)),
            green=float(random.choice([0.1, 0.25, 0.6])),
            crossing_every=int(random.integers(3, 6)),
            crossing_at=int(random.integers(0, 3)),
            speed_m_s=float(random.uniform(5.0, 9.0)),
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
        """Say whether a block opens with a side street."""
        opened: NDArray[np.bool_] = np.asarray(block) % self.crossing_every == self.crossing_at
        return opened

    def is_green(self, block: int, side: int) -> bool:
        """Say whether a park lies there instead of houses."""
        return bool(self._random(block, side, 0).random() < self.green)

    def blocks(self, camera_m: float) -> range:
        """Return the blocks in view, nearest first."""
        first = int(np.floor(camera_m / BLOCK_M))
        return range(first - 1, first + int(VIEW_M / BLOCK_M) + 1)

    def start_of(self, block: int) -> float:
        """Return where a block's houses begin, behind its side street if it has one."""
        return block * BLOCK_M + (CROSSING_M if self.opens(block) else 0.0)

    def buildings(self, block: int) -> Iterator[Building]:
        """Yield the houses of a block, far ones first."""
        start, end = self.start_of(block), (block + 1) * BLOCK_M
        for side in (-1, 1):
            if self.is_green(block, side):
                continue
            random = self._random(block, side, 1)
            cut = start + (end - start) * float(random.uniform(0.35, 0.65))
            near, far = (int(n) for n in random.integers(2, 8, 2))
            yield Building(side=side, start_m=cut, end_m=end, storeys=far)
            yield Building(side=side, start_m=start, end_m=cut, storeys=near)

    def things(self, camera_m: float, time_s: float) -> list[Thing]:
        """Return all that stands or moves in view, far ones first."""
        found = [thing for block in self.blocks(camera_m) for thing in self._block(block, time_s)]
        found += self._traffic(camera_m, time_s)
        return sorted(found, key=lambda thing: -thing.z_m)

    def _block(self, block: int, time_s: float) -> Iterator[Thing]:
        start, end = self.start_of(block) + 1.0, (block + 1) * BLOCK_M
        for side in (-1, 1):
            random = self._random(block, side, 2)
            kerb = side * (self.kerb_m + 0.45)
            yield Thing(kind="lamp", x_m=kerb, z_m=start + 0.5, heading=-side)
            if self.opens(block):
                kind: Kind = "traffic light" if random.random() < 0.7 else "sign"
                yield Thing(kind=kind, x_m=kerb, z_m=block * BLOCK_M - 1.2, variant=random.random())
            elif random.random() < 0.4:
                yield Thing(kind="sign", x_m=kerb, z_m=start + 8, variant=random.random())
            for place in np.arange(start + 4, end, 8.0):
                if random.random() < 0.5:
                    x_m = kerb + side * 0.3
                    yield Thing(kind="tree", x_m=x_m, z_m=place, variant=random.random())
            yield from self._park(block, side)
            yield from self._parked(random, side, start, end)
            yield from self._walkers(random, side, start, time_s)

    def _park(self, block: int, side: int) -> Iterator[Thing]:
        random = self._random(block, side, 3)
        if not self.is_green(block, side):
            return
        for place in np.arange(self.start_of(block) + 3, (block + 1) * BLOCK_M, 4.5):
            away = self.front_m + float(random.uniform(2.5, 8))
            variant = 0.5 + random.random() / 2
            yield Thing(kind="tree", x_m=side * away, z_m=place, variant=variant)

    def _parked(
        self, random: np.random.Generator, side: int, start: float, end: float
    ) -> Iterator[Thing]:
        if not self.has_parking or random.random() < 0.3:
            return
        for place in np.arange(start + 2, end - 5, 6.2):
            if random.random() < 0.55:
                x_m = side * (self.road_m - 1.05)
                yield Thing(kind="car", x_m=x_m, z_m=place, heading=side, variant=random.random())

    def _walkers(
        self, random: np.random.Generator, side: int, start: float, time_s: float
    ) -> Iterator[Thing]:
        for _ in range(int(random.integers(0, 4))):
            heading = int(random.choice([-1, 1]))
            pace = float(random.uniform(0.9, 1.5))
            place = start + float(random.uniform(0, 12)) + heading * pace * time_s
            x_m = side * (self.kerb_m + float(random.uniform(0.9, self.pavement_m - 0.4)))
            phase = random.random() + 1.8 * pace * time_s
            yield Thing(
                kind="person",
                x_m=x_m,
                z_m=place,
                heading=heading,
                variant=random.random(),
                phase=phase,
            )

    def _traffic(self, camera_m: float, time_s: float) -> Iterator[Thing]:
        """Cars of the own lane swim along; oncoming ones and a cyclist have their own speed."""
        random = self._random(0, 0, 4)
        vehicles: list[Kind] = ["car", "car", "car", "truck", "bus"]
        ahead = float(random.uniform(9, 26))
        for _ in range(int(random.integers(0, 4))):
            swing = 1.5 * np.sin(0.5 * time_s + ahead)
            kind = vehicles[int(random.integers(0, 5))]
            yield Thing(
                kind=kind, x_m=self.lane_m, z_m=camera_m + ahead + swing, variant=random.random()
            )
            ahead += float(random.uniform(14, 35))
        for _ in range(int(random.integers(1, 5))):
            closing = self.speed_m_s + float(random.uniform(6, 10))
            ahead = (float(random.uniform(0, LAP_M)) - closing * time_s) % LAP_M - 8.0
            kind = vehicles[int(random.integers(0, 5))]
            variant = random.random()
            yield Thing(
                kind=kind, x_m=-self.lane_m, z_m=camera_m + ahead, heading=-1, variant=variant
            )
        if random.random() < 0.6:
            place = float(random.uniform(8, 20)) + 4.0 * time_s
            yield Thing(kind="cyclist", x_m=self.road_m - 0.5, z_m=place, phase=2.0 * time_s)

    def _random(self, block: int, side: int, topic: int) -> np.random.Generator:
        return np.random.default_rng((self.seed, block + 1000, side + 1, topic))
