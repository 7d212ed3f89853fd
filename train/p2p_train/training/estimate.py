"""What a run takes on this machine, by two timed steps, and settings that fit pairs and machine."""

from __future__ import annotations

import logging
import math
import time
from bisect import bisect_right
from dataclasses import dataclass
from typing import Any

import torch

from p2p_runtime.errors import count_of
from p2p_train.config import TrainConfig
from p2p_train.data.dataset import PairBatch
from p2p_train.data.prepare import TrainingData
from p2p_train.devices import free_memory_bytes, peak_memory_mib
from p2p_train.networks.pixels import to_signal

from .state import TrainState
from .step import train_step

__all__ = [
    "AUTO_TIME_S", "Estimate", "fit_auto", "fit_batch", "round_steps", "time_steps", "total_steps",
]  # fmt: skip

logger = logging.getLogger(__name__)

AUTO_TIME_S = 20 * 60.0
"""Time that ``--recipe auto`` takes if none is given."""

VALIDATIONS = 60
"""Maximum number of validations in a run, in which an epoch may be a single step."""

TIMED_PAIRS = 4
"""Pairs of a timed step on a CPU, where a large one takes minutes and time grows with the pairs."""

RECORD_S = 1.5
"""Time in which curves and samples are drawn and checkpoints written, about."""

FEW_PAIRS = 400
"""Maximum number of pairs for which ``auto`` gives the L1 loss the weight that few need."""

AUTO_SHAPES = {
    "cpu": ((16, 4), (16, 2), (8, 2)),
    "gpu": ((64, 16), (64, 8), (32, 8), (32, 4), (16, 4), (16, 2)),
}
"""Width and pairs a step of ``auto``: the first that memory has room for, or the last."""

LONG_S = 2 * 3600.0
"""Time from which a shorter way is named."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """What a run takes.

    Attributes:
        step_s, validation_s: time of a step, and of a validation with all that it writes.
        memory_mib: peak memory, of the GPU or of this process.
        per_epoch: steps of an epoch.
    """

    step_s: float
    validation_s: float
    memory_mib: float
    checkpoints_mb: float
    per_epoch: int
    device: str

    def duration_s(self, steps: int) -> float:
        """Return the time of ``steps`` steps and the validations among them."""
        validations = math.ceil(steps / round_steps(steps, self.per_epoch))
        return steps * self.step_s + validations * self.validation_s

    def fit(self, config: TrainConfig, budget_s: float | None) -> TrainConfig:
        """Return ``config`` with no more steps than ``budget_s`` has time for; None has no end.

        The number is fixed here, once: schedules follow it, and a resumed run is exact.
        """
        if budget_s is None:
            return config
        possible = range(1, total_steps(config, self.per_epoch) + 1)
        steps = max(1, bisect_right(possible, budget_s, key=self.duration_s))
        return config.replace(max_steps=steps, epochs=math.ceil(steps / self.per_epoch))

    def describe(self, config: TrainConfig, first_step: int = 0) -> str:
        """Return a line about a run that has taken ``first_step`` steps before."""
        total = total_steps(config, self.per_epoch)
        if first_step >= total:
            done = f"nothing to train: step {first_step} is done"
            return f"{done}, and --max-steps or --epochs ends the run at {total}"
        duration_s = self.duration_s(total - first_step)
        line = (
            f"about {_rounded(duration_s)} on this {self.device}, {self.memory_mib / 1024:.1f} GB "
            f"of memory, {self.checkpoints_mb:.0f} MB of checkpoints"
        )
        if duration_s < LONG_S:
            return line
        return f"{line}; --recipe auto takes about {_rounded(AUTO_TIME_S)}, --time 2h two hours"


def time_steps(data: TrainingData, state: TrainState, *, halve: bool = False) -> Estimate:
    """Take two steps and time the second; on a CPU with few of the pairs.

    The state is changed. If processes train together, all call this.
    """
    device, optim = state.device, state.config.optim
    whole = min(optim.batch_size, len(data.train))
    share = max(1, whole // state.distributed.world_size)
    on_cpu = device.type == "cpu"
    count = min(share, TIMED_PAIRS) if on_cpu else share
    first = max(count // 2, min(count, 2))  # BatchNorm may need two values
    peaks_mib, step_s = [], 0.0
    for pairs in (first, count):
        start_s = time.monotonic()
        batch = PairBatch.join([data.train[0, index] for index in range(pairs)])
        if not on_cpu:  # other processes decode ahead
            start_s = time.monotonic()
        state.begin_step(2)
        losses = train_step(state, batch.to(device), halve_on_out_of_memory=halve)
        torch.stack([*losses.values()]).tolist()  # waits for the device
        step_s = time.monotonic() - start_s
        peaks_mib.append(peak_memory_mib(device))
    start_s = time.monotonic()
    with torch.inference_mode():
        state.generator(to_signal(batch.to(device).source)).sum().item()
    timed = torch.tensor([step_s, time.monotonic() - start_s]) / count
    pair_s, forward_s = state.distributed.gather(timed)[0].tolist()
    forward_s *= data.val.pixels / data.train.pixels  # validation is not cropped
    a_pair_mib = (peaks_mib[1] - peaks_mib[0]) / max(1, count - first)
    return Estimate(
        step_s=pair_s * share,
        validation_s=RECORD_S + forward_s * (len(data.val) + len(data.samples.source)),
        memory_mib=peaks_mib[1] + a_pair_mib * (share - count),
        checkpoints_mb=_checkpoints_mb(state),
        per_epoch=len(data.train) // whole,
        device=device.type.replace("cuda", "gpu").upper(),
    )


def _checkpoints_mb(state: TrainState) -> float:
    """Return the size of ``last.pt``, of the one before it and of ``best.pt``."""
    networks = filter(None, (state.generator, state.discriminator, state.average))
    weights = sum(t.nbytes for network in networks for t in network.state_dict().values())
    trained = [p for one in state.optimizers() for p in one.network.parameters()]
    moments = 2 * sum(p.nbytes for p in trained if p.requires_grad)  # Adam's
    return float(3 * weights + 2 * moments) / 1e6


def _rounded(duration_s: float) -> str:
    for unit_s, unit in ((3600, "h"), (60, "min")):
        if duration_s >= 2 * unit_s:
            return f"{duration_s / unit_s:.0f} {unit}"
    return f"{duration_s:.0f} s"


def total_steps(config: TrainConfig, per_epoch: int) -> int:
    """Return the steps of a run."""
    most = config.optim.epochs * per_epoch
    return min(most, config.optim.max_steps or most)


def round_steps(total: int, per_epoch: int) -> int:
    """Return the steps from one validation to the next: whole epochs of ``per_epoch`` steps."""
    return per_epoch * max(1, math.ceil(total / (per_epoch * VALIDATIONS)))


def fit_batch(config: TrainConfig, pairs: int, world_size: int) -> TrainConfig:
    """Return ``config`` with a batch of at most a quarter of the pairs, and say if that is less.

    Otherwise an epoch is a step or two. A batch is a multiple of ``world_size`` processes.
    """
    before, most = config.optim.batch_size, max(1, pairs // 4 // world_size) * world_size
    if before <= most:
        return config
    logger.warning(
        "%s a step, not %d, since there are only %d; --batch-size decides",
        count_of(most, "pair"),
        before,
        pairs,
    )
    return config.replace(batch_size=most)


def fit_auto(data: TrainingData, device: torch.device) -> dict[str, Any]:
    """Return the settings in which ``--recipe auto`` depends on pairs and machine, and say why."""
    pairs, labels, on_cpu = len(data.train), data.contract.palette is not None, device.type == "cpu"
    free, pixels = free_memory_bytes(device), data.train.pixels
    shapes = AUTO_SHAPES["cpu" if on_cpu else "gpu"]
    possible = (shape for shape in shapes if free is None or _auto_bytes(*shape, pixels) <= free)
    ngf, batch_size = next(possible, shapes[-1])
    found: dict[str, Any] = {"ngf": ngf, "batch_size": batch_size}
    found["lambda_l1"] = 20.0 if pairs <= FEW_PAIRS else 5.0
    if pairs <= FEW_PAIRS:  # the pattern loss would find the texture of the same pictures again
        found["lambda_pattern"] = 0.0
    if not labels:  # their detail passes through, and no label tells where surfaces are plain
        found |= {"num_downs": None, "lambda_pattern": 0.0}
    logger.info(
        "auto: width %d, %d pairs a step, L1 weight %.0f, for %d pairs of %s on a %s%s; flags win",
        ngf, batch_size, found["lambda_l1"],
        pairs, "label maps" if labels else "pictures", "CPU" if on_cpu else "GPU",
        "" if (ngf, batch_size) == shapes[0] else f" with {(free or 0) / 2**30:.1f} GB free",
    )  # fmt: skip
    return found


def _auto_bytes(ngf: int, batch_size: int, pixels: int) -> int:
    """Return about what training takes with the settings of ``auto``, measured on a CPU."""
    weights = 16 * 13_300 * ngf**2  # with gradients and Adam's two moments, 4 bytes each
    return (1 << 30) + weights + batch_size * pixels * (1000 + 8 * ngf)
