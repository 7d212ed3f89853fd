"""The processes that train together, as torchrun starts them; usually one.

Gradients are averaged by one flat all-reduce a network and step. DistributedDataParallel would
overlap that with the backward pass, but wants one forward pass for each backward pass, and the
discriminator runs twice: on real and on generated images.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import distributed

__all__ = ["Distributed", "join_distributed"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Distributed:
    """This process among those that train together; the one of rank 0 logs, validates and saves."""

    rank: int = 0
    world_size: int = 1

    def average_gradients(self, network: torch.nn.Module) -> None:
        """Replace each gradient of a network by its mean over the processes; all must call this."""
        if self.world_size == 1:
            return
        gradients = [p.grad for p in network.parameters() if p.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        distributed.all_reduce(flat)
        flat /= self.world_size
        parts = torch.split(flat, [gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))

    def any(self, flag: bool) -> bool:
        """Say whether ``flag`` is set in any process; all must call this."""
        return any(map(bool, self.gather(torch.tensor(float(flag)))))

    def gather(self, tensor: torch.Tensor) -> list[torch.Tensor]:
        """Return the processes' CPU tensors, in the order of the ranks; all must call this."""
        if self.world_size == 1:
            return [tensor]
        device = torch.device("cuda" if distributed.get_backend() == "nccl" else "cpu")
        gathered = [torch.empty_like(tensor, device=device) for _ in range(self.world_size)]
        distributed.all_gather(gathered, tensor.to(device))
        return [one.cpu() for one in gathered]


@contextlib.contextmanager
def join_distributed(device: torch.device) -> Iterator[Distributed]:
    """Join the processes that torchrun started, over NCCL on GPUs and Gloo on CPUs.

    Without torchrun's variables in the environment, this process is alone.

    All leave together: Gloo's threads hold a collective's tensors for some time, even after
    ``destroy_process_group``, and abort the process where the interpreter has ended by then (torch
    2.14, one run in thirty). A barrier holds no tensors of Python's.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Distributed()
        return
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Distributed(rank=distributed.get_rank(), world_size=distributed.get_world_size())
        distributed.barrier()
    finally:
        distributed.destroy_process_group()
